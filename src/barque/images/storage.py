"""Where an engine keeps its images: what all that makes, pulls and checks them works on."""

from __future__ import annotations

from typing import NamedTuple

from barque.content.store import ContentStore
from barque.images.catalog import Catalog
from barque.images.garbage import Garbage
from barque.images.tar import Limits
from barque.snapshots.contract import Snapshotter


class Storage(NamedTuple):
    """Records, blobs, unpacked layers; what clears them, and how much a layer may hold."""

    catalog: Catalog
    content: ContentStore
    snapshotter: Snapshotter
    garbage: Garbage
    limits: Limits
