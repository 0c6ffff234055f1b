"""Archives and stores for the tests of images and snapshots."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import AsyncGenerator, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from barque.content.store import ContentStore
from barque.images.service import ImageService
from barque.images.tar import Limits
from barque.models.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.store.database import Database

Item = tuple[str, str, Any]
"""(kind, name, content or link target or device numbers)."""

IS_ROOT = os.geteuid() == 0
NEEDS_ROOT = "needs root: unpacking sets owners and makes devices"

_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def make_tar(
    items: Iterable[Item], tar_format: int = tarfile.PAX_FORMAT, **attributes: Any
) -> bytes:
    """Return an archive of ``items``; ``attributes`` are set on every TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for kind, name, value in items:
            info = tarfile.TarInfo(name)
            info.type = _TYPES[kind]
            info.mode = 0o755 if kind == "dir" else 0o644
            content = b""
            if kind == "file":
                content = value if isinstance(value, bytes) else str(value).encode()
                info.size = len(content)
            elif kind in ("symlink", "link"):
                info.linkname = value
            elif kind in ("char", "block"):
                info.devmajor, info.devminor = value
            for key, wanted in attributes.items():
                setattr(info, key, wanted)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_header(name: bytes, kind: bytes = b"0", size: bytes = b"0", **fields: bytes) -> bytes:
    """Return one raw header block with a right checksum; fields are raw bytes."""
    block = bytearray(512)
    places = {
        "mode": (100, 8, b"0000644\0"),
        "uid": (108, 8, b"0000000\0"),
        "gid": (116, 8, b"0000000\0"),
        "size": (124, 12, size),
        "mtime": (136, 12, b"00000000000\0"),
        "link": (157, 100, b""),
        "magic": (257, 8, b"ustar\x0000"),
        "major": (329, 8, b""),
        "minor": (337, 8, b""),
        "prefix": (345, 155, b""),
    }
    block[: len(name)] = name
    block[156:157] = kind
    for field, (at, length, default) in places.items():
        value = fields.get(field, default)[:length]
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def make_member(name: bytes, content: bytes = b"", kind: bytes = b"0", **fields: bytes) -> bytes:
    """Return a raw header and its padded content."""
    header = make_header(name, kind, b"%011o\0" % len(content), **fields)
    return header + content + bytes(-len(content) % 512)


def make_pax(records: dict[bytes, bytes]) -> bytes:
    """Return a raw extended header."""
    text = b""
    for key, value in records.items():
        record = b" %s=%s\n" % (key, value)
        length = len(record)
        while len(b"%d" % length) + len(record) != length:
            length = len(b"%d" % length) + len(record)
        text += b"%d%s" % (length, record)
    return make_member(b"PaxHeader", text, b"x")


END = bytes(1024)


async def stream(content: bytes, piece: int = 65536) -> AsyncGenerator[bytes]:
    """Give ``content`` in pieces."""
    for at in range(0, len(content), piece):
        yield content[at : at + piece]


class Store:
    """An image service on a directory of its own, and all that it stands on."""

    def __init__(
        self,
        root: Path,
        snapshotter: type[DirectorySnapshotter] = OverlaySnapshotter,
        limits: Limits | None = None,
    ) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.database = Database(root / "barque.db")
        self.content = ContentStore(root / "content")
        self.snapshotter = snapshotter(
            root / "snapshots" / snapshotter.driver, self.database, root / "trash"
        )
        self.images = ImageService(self.database, self.content, self.snapshotter, limits)

    def leftovers(self) -> list[str]:
        """Return every file and snapshot directory that is kept, the database aside."""
        self.content.reap()
        self.snapshotter.reap()
        blobs = [path.name for path in (self.root / "content").rglob("*") if path.is_file()]
        directory = self.root / "snapshots" / self.snapshotter.driver
        return sorted(blobs + [path.name for path in directory.iterdir()])


def digest(content: bytes) -> str:
    """Return the digest of ``content``."""
    return f"sha256:{sha256(content).hexdigest()}"


def make_config(layers: Iterable[bytes], **config: Any) -> bytes:
    """Return an image config for uncompressed ``layers``."""
    diff_ids = [digest(layer) for layer in layers]
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-05-06T07:08:09.123456789Z",
            "config": config or None,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": f"step {n}"} for n, _ in enumerate(diff_ids)],
        }
    ).encode()


def make_docker_archive(images: list[tuple[list[str] | None, list[bytes], bytes]]) -> bytes:
    """Return a ``docker save`` archive of (tags, layers as stored, config)."""
    items: dict[str, bytes] = {}
    manifest = []
    for tags, layers, config in images:
        name = f"{sha256(config).hexdigest()}.json"
        items[name] = config
        names = []
        for layer in layers:
            path = f"{sha256(layer).hexdigest()}/layer.tar"
            items[path] = layer
            names.append(path)
        manifest.append({"Config": name, "RepoTags": tags, "Layers": names})
    items["manifest.json"] = json.dumps(manifest).encode()
    return make_tar([("file", name, content) for name, content in items.items()])


def make_oci_archive(
    images: Sequence[tuple[str | None, list[bytes], bytes]],
    platforms: Sequence[str] = (),
    *,
    nested: bool = False,
) -> bytes:
    """Return an OCI layout of (containerd's image name, layers as stored, config).

    ``nested`` puts all of them into one index inside, under the first one's name.
    """
    blobs: dict[str, bytes] = {}

    def add(content: bytes, media_type: str) -> dict[str, Any]:
        blobs[f"blobs/sha256/{sha256(content).hexdigest()}"] = content
        return {"mediaType": media_type, "digest": digest(content), "size": len(content)}

    manifests = []
    for number, (name, layers, config) in enumerate(images):
        manifest = {
            "schemaVersion": 2,
            "config": add(config, OCI_CONFIG),
            "layers": [add(layer, OCI_LAYER) for layer in layers],
        }
        descriptor = add(json.dumps(manifest).encode(), OCI_MANIFEST)
        if platforms:
            system, _, architecture = platforms[number].partition("/")
            descriptor["platform"] = {"os": system, "architecture": architecture}
        if name:
            descriptor["annotations"] = {"io.containerd.image.name": name}
        manifests.append(descriptor)
    if nested:
        index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
        manifests = [add(index, OCI_INDEX) | {"annotations": manifests[0]["annotations"]}]
    items: list[Item] = [
        ("file", "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        ("file", "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()),
        *(("file", name, content) for name, content in blobs.items()),
    ]
    return make_tar(items)
