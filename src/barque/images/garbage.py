"""What no image uses any more, and what must not be taken for it.

An image that is being put together uses blobs and layers that no record mentions yet. It
holds them by a lease from before it finds or writes them until it is registered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from barque.content.store import ContentStore
from barque.images.catalog import Catalog
from barque.snapshots.contract import Snapshotter

UNPACK_KEY = "unpack-"
"""Keys of snapshots into which a layer is being unpacked begin with this."""


def _ignore() -> None:
    """Tell nobody."""


class Garbage:
    """Collects blobs and layers. Use on the loop's thread.

    ``on_trash`` may be set to be told that the snapshotter's trash may have something in it.
    """

    def __init__(self, catalog: Catalog, content: ContentStore, snapshotter: Snapshotter) -> None:
        self._catalog = catalog
        self._content = content
        self._snapshotter = snapshotter
        self._blob_leases: Counter[str] = Counter()
        self._chain_leases: Counter[str] = Counter()
        self.on_trash: Callable[[], None] = _ignore

    def is_blob_used(self, digest: str) -> bool:
        """Tell whether an image or a lease needs the blob."""
        return bool(self._catalog.blob_users[digest] or self._blob_leases[digest])

    def is_layer_held(self, chain_id: str) -> bool:
        """Tell whether an image in the making holds the layer."""
        return bool(self._chain_leases[chain_id])

    def is_layer_used(self, chain_id: str) -> bool:
        """Tell whether an image, a lease, a container or another layer needs the layer."""
        if self._catalog.chain_users[chain_id] or self._chain_leases[chain_id]:
            return True
        return any(snapshot.parent == chain_id for snapshot in self._snapshotter.walk())

    def collect_blobs(self, digests: Iterable[str], *, shelve: bool = False) -> int:
        """Delete those blobs that nothing uses; return how many bytes they had.

        With ``shelve`` large ones are kept for a pull that goes on where one broke off.
        """
        take = self._content.shelve if shelve else self._content.delete
        return sum(take(digest) for digest in set(digests) if not self.is_blob_used(digest))

    def collect_layers(self, chain_ids: Iterable[str]) -> list[str]:
        """Remove those layers that nothing uses; return their chain IDs, top layers first.

        A layer on which a container stands, or another layer, stays: see ``sweep``.
        """
        removed = []
        parents = Counter(snapshot.parent for snapshot in self._snapshotter.walk())
        wanted = set(chain_ids)
        for snapshot in reversed(self._snapshotter.walk()):
            key = snapshot.key
            if key not in wanted or snapshot.kind != "committed" or parents[key]:
                continue
            if self._catalog.chain_users[key] or self._chain_leases[key]:
                continue
            self._snapshotter.remove(key)
            parents[snapshot.parent] -= 1
            removed.append(key)
        if removed:
            self.on_trash()
        return removed

    def sweep(self) -> list[str]:
        """Remove every layer that nothing uses: those of images removed by force, once the
        last container on them is gone.
        """
        return self.collect_layers(
            snapshot.key for snapshot in self._snapshotter.walk() if snapshot.kind == "committed"
        )

    def recover(self) -> None:
        """Remove all that a killed engine left half done. Nothing may be under way."""
        for snapshot in self._snapshotter.walk():
            if snapshot.key.startswith(UNPACK_KEY):
                self._snapshotter.remove(snapshot.key)
        self.sweep()
        self.collect_blobs(list(self._content.walk()), shelve=True)


class Lease:
    """What one image in the making holds. ``release`` lets go and collects what is left."""

    def __init__(self, garbage: Garbage) -> None:
        self._garbage = garbage
        self._blobs: list[str] = []
        self._chains: list[str] = []

    def hold_blob(self, digest: str) -> None:
        """Keep the blob, there or to come."""
        self._garbage._blob_leases[digest] += 1  # noqa: SLF001 two halves of one thing
        self._blobs.append(digest)

    def hold_layer(self, chain_id: str) -> None:
        """Keep the layer, there or to come."""
        self._garbage._chain_leases[chain_id] += 1  # noqa: SLF001 two halves of one thing
        self._chains.append(chain_id)

    def release(self, *, shelve: bool = False) -> None:
        """Let go of all; what no image took over is deleted, or shelved if it is a blob."""
        self._garbage._blob_leases.subtract(self._blobs)  # noqa: SLF001 two halves of one thing
        self._garbage._chain_leases.subtract(self._chains)  # noqa: SLF001 two halves of one thing
        self._garbage.collect_layers(self._chains)
        self._garbage.collect_blobs(self._blobs, shelve=shelve)
        self._garbage.on_trash()  # what was being unpacked, and failed
        self._blobs, self._chains = [], []
