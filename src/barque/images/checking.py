"""Is all there that the images consist of, is it right, and is nothing else there?

==========  =====================================  ===========================================
of a        it is wrong that                       repair
==========  =====================================  ===========================================
blob        its size or digest (of layers: deep)   removed: a pull or load brings it again
            is another
blob        nothing uses it                        removed
image       its config cannot be read, so that it  forgotten, with its names: a pull or load
            is not shown                           brings it again
image       a blob that it consists of is missing  none: a pull or load brings it
layer       its directory is missing, or (deep)    unpacked again from its blob; where that
            holds something else than its blob     cannot be, removed, and a pull or load
            unpacks to                             brings it again
layer       nothing uses it                        removed
leftover    a file or directory belongs to nothing removed
==========  =====================================  ===========================================

A damaged layer on which a container runs stays as it is: its files are open. What is being
made meanwhile is not taken for damage: it is held by leases, and leftovers are looked at twice.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from barque.errors import BarqueError, NotFound
from barque.images.catalog import get_blobs
from barque.images.feed import run_in_thread
from barque.images.findings import Finding, Holders, Tell
from barque.images.flights import Status
from barque.images.garbage import UNPACK_KEY, Lease
from barque.images.layers import Metered, Unpacked, unpack
from barque.images.progress import Report
from barque.images.record import Image, decode_config, get_chain_ids, shorten
from barque.images.storage import Storage
from barque.store.images import LayerRow

_SECOND_LOOK_S = 1.0
_BRING = "pull or load {} again"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer of images, by its chain ID."""

    row: LayerRow
    parent: str
    images: list[str]


class ImageCheck:
    """One check of all images. Use on the loop's thread; ``counts`` says what was looked at."""

    def __init__(
        self,
        storage: Storage,
        *,
        deep: bool,
        repair: bool,
        holders: Holders,
        tell: Tell,
        report: Report,
    ) -> None:
        self._catalog = storage.catalog
        self._content = storage.content
        self._snapshotter = storage.snapshotter
        self._garbage = storage.garbage
        self._limits = storage.limits
        self._deep = deep
        self._repair = repair
        self._holders = holders
        self._tell = tell
        self._report = report
        self._damaged: set[str] = set()
        """Blobs and layers that are not what they should be."""
        self.counts: dict[str, int] = {}

    async def run(self) -> None:
        """Check everything. Raises KernelError or OSError where something cannot be read."""
        strays = self._list_strays()
        began = asyncio.get_running_loop().time()
        await self._check_blobs()
        self._check_images()
        await self._check_layers()
        self._check_unused_layers()
        if strays:
            passed_s = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(0.0, _SECOND_LOOK_S - passed_s))
            await self._check_strays(strays)
        await asyncio.to_thread(self._content.reap)
        self._garbage.on_trash()

    def _progress(self, what: str, done: int, total: int) -> None:
        self.counts[what] = total
        self._report(what, Status("Checking", done, total, what))

    # Blobs

    async def _check_blobs(self) -> None:
        users = self._list_users()
        sizes = {
            layer.digest: layer.size
            for image in self._catalog.images.values()
            for layer in image.layers
        }
        digests = sorted(await asyncio.to_thread(lambda: list(self._content.walk())))
        for number, digest in enumerate(digests, 1):
            try:
                problem = await self._find_blob_problem(digest, sizes.get(digest))
            except NotFound:
                continue  # removed meanwhile
            if problem:
                self._damaged.add(digest)
                names = users.get(digest, [])
                repaired = self._repair and not names
                result = ""
                if self._repair:
                    self._content.delete(digest)
                    result = f"removed: {_bring(names)}" if names else "removed"
                self._found("blob", digest, problem, result, repaired=repaired)
            elif not self._garbage.is_blob_used(digest) and self._content.has(digest):
                if self._repair:
                    self._garbage.collect_blobs([digest])
                result = "removed" if self._repair else ""
                self._found("blob", digest, "nothing uses it", result, repaired=self._repair)
            self._progress("blobs", number, len(digests))

    async def _find_blob_problem(self, digest: str, size: int | None) -> str:
        found = self._content.get_size(digest)
        if size is not None and found != size:
            return f"it has {found} bytes, not {size}"
        if size is not None and not self._deep:
            return ""  # a layer: documents are read always
        whole = await run_in_thread(lambda stop: self._content.is_whole(digest, stop), "check-blob")
        return "" if whole else "its bytes have another digest"

    def _list_users(self) -> dict[str, list[str]]:
        users: dict[str, list[str]] = {}
        for image in self._catalog.images.values():
            for digest in get_blobs(image):
                users.setdefault(digest, []).append(_name(image))
        return users

    # Images

    def _check_images(self) -> None:
        for image_id, reason in list(self._catalog.unreadable.items()):
            result = ""
            if self._repair:
                self._catalog.forget(image_id)
                result = f"removed: {_bring([shorten(image_id)])}"
            self._found("image", image_id, f"it is not shown: {reason}", result, repaired=False)
        images = list(self._catalog.images.values())
        for number, image in enumerate(images, 1):
            for problem in self._find_image_problems(image):
                result = _bring([_name(image)]) if self._repair else ""
                self._found("image", _name(image), problem, result, repaired=False)
            self._progress("images", number, len(images))

    def _find_image_problems(self, image: Image) -> Iterable[str]:
        kinds = [("config", image.config_digest), ("manifest", image.manifest_digest)]
        kinds += [("layer", row.digest) for row in image.layers]
        for kind, digest in kinds:
            if not self._content.has(digest) and digest not in self._damaged:
                yield f"its {kind} {digest} is missing"
        if self._content.has(image.config_digest):
            try:
                decode_config(self._content.read(image.config_digest))
            except BarqueError as error:
                yield f"its config cannot be read: {error}"
        chain = [row.chain_id for row in image.layers]
        if chain != get_chain_ids(image.config.rootfs.diff_ids):
            yield "its layers are not those that its config names"

    # Layers

    async def _check_layers(self) -> None:
        layers = self._list_layers()
        for number, (chain_id, layer) in enumerate(layers.items(), 1):
            try:
                await self._check_layer(chain_id, layer)
            except NotFound:
                if self._catalog.chain_users[chain_id]:
                    raise
                # The image was removed meanwhile.
            self._progress("layers", number, len(layers))

    def _list_layers(self) -> dict[str, Layer]:
        """Return the layers of all images, each after the one that it stands on."""
        layers: dict[str, Layer] = {}
        for image in self._catalog.images.values():
            parent = ""
            for row in image.layers:
                layer = layers.setdefault(row.chain_id, Layer(row=row, parent=parent, images=[]))
                layer.images.append(_name(image))
                parent = row.chain_id
        return layers

    async def _check_layer(self, chain_id: str, layer: Layer) -> None:
        found = self._snapshotter.find(chain_id)
        stored = self._content.has(layer.row.digest) and layer.row.digest not in self._damaged
        if found is None:
            problem = "it is not unpacked"
        elif found.parent != layer.parent:
            problem = f"it stands on {found.parent or 'nothing'}, not on {layer.parent}"
        else:
            problem = self._snapshotter.find_damage(chain_id)
        if problem:
            self._damaged.add(chain_id)
        below = layer.parent not in self._damaged
        if stored and below and (self._repair if problem else self._deep):
            await self._unpack_again(chain_id, layer, problem)
        elif problem:
            result = ""
            if self._repair:
                result = self._drop(chain_id) or f"removed: {_bring(layer.images)}"
            self._found("layer", chain_id, problem, result, repaired=False)

    async def _unpack_again(self, chain_id: str, layer: Layer, problem: str) -> None:
        """Compare a layer with what its blob unpacks to, and put that in its place if need be."""
        lease = Lease(self._garbage)
        lease.hold_blob(layer.row.digest)
        if layer.parent:
            lease.hold_layer(layer.parent)
        try:
            with ExitStack() as undo:
                key = f"{UNPACK_KEY}check-{shorten(chain_id)}"
                try:
                    unpacked = await self._unpack(key, layer, undo)
                    if not problem:
                        problem = await self._compare(key, chain_id, layer, unpacked)
                except (BarqueError, OSError) as error:
                    self._damaged.add(chain_id)
                    problem = problem or f"its blob does not unpack: {error}"
                    result = f"kept: it cannot be made again: {error}" if self._repair else ""
                    self._found("layer", chain_id, problem, result, repaired=False)
                    return
                if not problem:
                    return
                if not self._repair:
                    self._found("layer", chain_id, problem, "", repaired=False)
                    return
                kept = self._drop(chain_id)
                if not kept:
                    self._snapshotter.commit(chain_id, key, unpacked.size_bytes)
                    undo.pop_all()
                    self._damaged.discard(chain_id)
                done = "unpacked again from its blob"
                self._found("layer", chain_id, problem, kept or done, repaired=not kept)
        finally:
            lease.release()

    async def _unpack(self, key: str, layer: Layer, undo: ExitStack) -> Unpacked:
        mount = await self._snapshotter.prepare_async(key, layer.parent)
        undo.callback(self._snapshotter.remove, key)

        def work(stop: threading.Event) -> Unpacked:
            with self._content.open(layer.row.digest) as file:
                return unpack(Metered(file, stop), mount, layer.parent, self._limits)

        unpacked = await run_in_thread(work, "check-layer")
        if unpacked.diff_id != layer.row.diff_id:
            raise NotFound(f"it has diff ID {unpacked.diff_id}, not {layer.row.diff_id}")
        return unpacked

    async def _compare(self, key: str, chain_id: str, layer: Layer, unpacked: Unpacked) -> str:
        recorded = self._snapshotter.stat(chain_id).size_bytes
        if {recorded, layer.row.unpacked_size} != {unpacked.size_bytes}:
            return f"its recorded size is {recorded}, but it unpacks to {unpacked.size_bytes} bytes"
        return await run_in_thread(
            lambda stop: self._snapshotter.find_difference(key, chain_id, stop), "check-layer"
        )

    def _drop(self, chain_id: str) -> str:
        """Remove a damaged layer, or say why it has to stay."""
        if self._snapshotter.find(chain_id) is None:
            return ""
        if holders := self._holders(chain_id):
            return f"kept: {', '.join(holders)} runs on it: stop it and check again"
        if self._garbage.is_layer_held(chain_id):
            return "kept: something is made of it just now: check again"
        self._snapshotter.drop(chain_id)
        return ""

    def _check_unused_layers(self) -> None:
        """Look for layers that no image, container or other layer uses."""
        for snapshot in reversed(self._snapshotter.walk()):
            if snapshot.kind != "committed" or self._garbage.is_layer_used(snapshot.key):
                continue
            if self._repair:
                self._garbage.collect_layers([snapshot.key])
            result = "removed" if self._repair else ""
            self._found("layer", snapshot.key, "nothing uses it", result, repaired=self._repair)

    # Leftovers

    def _list_strays(self) -> set[Path | str]:
        return {*self._content.list_strays(), *self._snapshotter.list_strays()}

    async def _check_strays(self, before: set[Path | str]) -> None:
        for stray in sorted(before & self._list_strays(), key=str):
            if self._repair and isinstance(stray, Path):
                await asyncio.to_thread(self._content.delete_stray, stray)
            elif self._repair and isinstance(stray, str):
                self._snapshotter.discard_stray(stray)
            name = str(stray) if isinstance(stray, Path) else f"snapshots/{stray}"
            result = "removed" if self._repair else ""
            self._found("leftover", name, "it belongs to nothing", result, repaired=self._repair)

    def _found(self, kind: str, name: str, problem: str, result: str, *, repaired: bool) -> None:
        finding = Finding(kind=kind, name=name, problem=problem, result=result, repaired=repaired)
        self._tell(finding)


def _name(image: Image) -> str:
    return next(iter([*image.tags, *image.digests]), image.short_id)


def _bring(names: list[str]) -> str:
    return _BRING.format(", ".join(dict.fromkeys(names)))
