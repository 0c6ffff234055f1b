"""Registries for tests: our own in the test's loop, and hostile ones of a few lines."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from barque.models.image import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from barque.registry.server.app import Registry
from barque.registry.server.auth import Passwords
from barque.registry.server.storage import Storage
from support.scale import patient

DISTRIBUTION = "docker-registry"
_LISTENING = "0A"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@asynccontextmanager
async def serving(handler: Handler | web.Application) -> AsyncIterator[str]:
    """Serve on a free port of this machine; give ``127.0.0.1:PORT``."""
    if isinstance(handler, web.Application):
        app = handler
    else:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def own_registry(
    root: Path, passwords: Passwords | None = None, *, read_only: bool = False, **options: Any
) -> AsyncIterator[str]:
    """Serve our own registry from ``root``."""
    storage = Storage(root)
    storage.recover()
    registry = Registry(storage, None if read_only else storage, passwords, **options)
    async with serving(registry.make_app()) as address:
        yield address


def _find_port(pid: int) -> int | None:
    """Return the port at which a process listens, if it does yet, and if it still runs."""
    try:
        links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:  # it opens and closes files meanwhile, or has ended
        return None
    for _, local, _, state, *_, inode in (line.split()[:10] for line in lines):
        if state == _LISTENING and f"socket:[{inode}]" in links:
            return int(local.partition(":")[2], 16)
    return None


@contextmanager
def _running(command: list[str]) -> Iterator[str]:
    """Run a registry until the block ends; give its address once it listens."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + patient(20)
            while (port := _find_port(process.pid)) is None:
                assert process.poll() is None, f"{command[0]} ended"
                assert time.monotonic() < deadline, f"{command[0]} does not listen"
                time.sleep(0.02)
            yield f"localhost:{port}"
        finally:
            process.terminate()


@contextmanager
def run_distribution(root: Path) -> Iterator[str]:
    """Run Debian's docker-registry on data in ``root``, at a port that it chooses."""
    config = root / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: 127.0.0.1:0}}\n"
    )
    with _running([DISTRIBUTION, "serve", str(config)]) as address:
        yield address


@contextmanager
def run_own(root: Path, *flags: str) -> Iterator[str]:
    """Run ``barque registry serve`` on ``root``, at a port that it chooses and tells."""
    program = str(Path(sys.executable).with_name("barque"))
    with subprocess.Popen(
        [program, "registry", "serve", "--addr", "127.0.0.1:0", *flags, str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 30)[0], f"{program} does not listen"
            port = process.stdout.readline().strip().rpartition(":")[2]
            assert port.isdigit(), f"{program} ended"
            yield f"localhost:{port}"
        finally:
            process.terminate()


class Shelf:
    """What a scripted registry has: blobs and manifests by path, and what it was asked."""

    def __init__(self) -> None:
        self.content: dict[str, tuple[bytes, str]] = {}
        self.requests: list[web.Request] = []
        self.sent_bytes = 0
        """Of large blobs."""

    def add_blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        name = digest(content)
        self.content[f"blobs/{name}"] = content, "application/octet-stream"
        return {"mediaType": media_type, "digest": name, "size": len(content)}

    def add_manifest(self, document: dict[str, Any], *names: str) -> dict[str, Any]:
        content = json.dumps(document).encode()
        for name in (*names, digest(content)):
            self.content[f"manifests/{name}"] = content, document["mediaType"]
        kind = document["mediaType"]
        return {"mediaType": kind, "digest": digest(content), "size": len(content)}

    def add_image(self, layers: list[bytes], *tags: str, **changes: Any) -> dict[str, Any]:
        """Add an image of uncompressed layers; ``changes`` go into its config."""
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        } | changes
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.add_blob(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [self.add_blob(layer, OCI_LAYER) for layer in layers],
        }
        return self.add_manifest(manifest, *tags)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer as a registry does that has one repository, by whatever name."""
        self.requests.append(request)
        if request.path == "/v2/":
            return web.Response()
        found = self.content.get("/".join(request.path.split("/")[-2:]))
        if found is None:
            code = "MANIFEST_UNKNOWN" if "manifests" in request.path else "BLOB_UNKNOWN"
            body = {"errors": [{"code": code, "message": "it is not here"}]}
            return web.json_response(body, status=404)
        content, kind = found
        start = 0
        if asked := request.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        if len(content) > 1 << 16:
            self.sent_bytes += len(content) - start
        headers = {"Content-Type": kind}
        if kind and "manifests" in request.path:
            headers["Docker-Content-Digest"] = digest(content)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return web.Response(body=content[start:], headers=headers, status=206 if start else 200)
