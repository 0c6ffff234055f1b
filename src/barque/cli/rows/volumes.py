"""The columns of ``volume ls`` (wire: Volume of the Engine API)."""

from __future__ import annotations

from barque.cli.listing import Listing, join_labels
from barque.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Volume = dict[str, Any]


def _links(volume: Volume) -> str:
    usage = volume.get("UsageData")
    return "N/A" if usage is None else str(usage.get("RefCount", 0))


def _size(volume: Volume) -> str:
    usage = volume.get("UsageData")
    return "N/A" if usage is None else human_size(usage.get("Size", 0))


def _label(volume: Volume, key: str) -> str:
    return str((volume.get("Labels") or {}).get(key, ""))


def _not_clustered(_volume: Volume) -> str:
    return "N/A"  # only volumes of a cluster have these


VOLUMES = Listing(
    "*formatter.volumeContext",
    {
        "Availability": ("AVAILABILITY", _not_clustered),
        "Driver": ("DRIVER", lambda volume: volume.get("Driver", "")),
        "Group": ("GROUP", _not_clustered),
        "Labels": ("LABELS", lambda volume: join_labels(volume.get("Labels"))),
        "Links": ("LINKS", _links),
        "Mountpoint": ("MOUNTPOINT", lambda volume: volume.get("Mountpoint", "")),
        "Name": ("VOLUME NAME", lambda volume: volume.get("Name", "")),
        "Scope": ("SCOPE", lambda volume: volume.get("Scope", "")),
        "Size": ("SIZE", _size),
        "Status": ("STATUS", _not_clustered),
    },
    {"Label": _label},
)

DEFAULT = ("Driver", "Name")

RAW = "name: {{.Name}}\ndriver: {{.Driver}}\n"
