"""The API server: listeners, dispatch, errors, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import msgspec
from aiohttp import web

from barque.api.attach import Attach
from barque.api.checking import Checks
from barque.api.connection import Connections
from barque.api.container_archive import ContainerArchive
from barque.api.container_create import ContainerCreate
from barque.api.container_files import ContainerFiles
from barque.api.container_inspect import ContainerInspect
from barque.api.container_list import ContainerList
from barque.api.container_logs import ContainerLogs
from barque.api.containers import Containers
from barque.api.contracts import Engine, Settings
from barque.api.disk_usage import DiskUsage
from barque.api.errors import explain, get_status
from barque.api.events import EventStream
from barque.api.execs import Execs
from barque.api.http import (
    JSON,
    TEXT,
    Call,
    Handler,
    Reply,
    Response,
    Written,
    decode_path,
)
from barque.api.image_archives import ImageArchives
from barque.api.images import Images
from barque.api.networks import Networks
from barque.api.operations import NOT_A_MANAGER, OPERATIONS, Operation, State
from barque.api.registries import Registries
from barque.api.router import Router
from barque.api.stats import Stats, Update
from barque.api.system import System
from barque.api.tasks import Background
from barque.api.tls import TlsFront
from barque.api.versions import OLDEST, split_version
from barque.api.volumes import Volumes
from barque.errors import InvalidArgument, NotImplementedHere, Unavailable

_MAX_LINE_BYTES = 1 << 16
"""Filters and credentials make long request lines and headers."""

_BACKLOG = 512

_log = logging.getLogger("barque.api")


class Listener(NamedTuple):
    """A bound stream socket, whose ownership passes to the server, and its TLS context."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None


def make_handlers(
    engine: Engine, settings: Settings, background: Background
) -> Mapping[str, Handler]:
    """Return the handler of every operation that works, by operation id."""
    containers = Containers(engine)
    container_list = ContainerList(engine)
    files = ContainerFiles(engine)
    archive = ContainerArchive(engine)
    execs = Execs(engine, background)
    images = Images(engine)
    registries = Registries(engine)
    archives = ImageArchives(engine)
    system = System(engine, settings)
    volumes = Volumes(engine)
    networks = Networks(engine)
    return {
        "ContainerList": container_list.list_containers,
        "ContainerCreate": ContainerCreate(engine).create,
        "ContainerInspect": ContainerInspect(engine, settings).inspect,
        "ContainerTop": containers.top,
        "ContainerLogs": ContainerLogs(engine).logs,
        "ContainerStats": Stats(engine).stats,
        "ContainerUpdate": Update(engine).update,
        "ContainerResize": containers.resize,
        "ContainerStart": containers.start,
        "ContainerStop": containers.stop,
        "ContainerRestart": containers.restart,
        "ContainerKill": containers.kill,
        "ContainerRename": containers.rename,
        "ContainerPause": containers.pause,
        "ContainerUnpause": containers.unpause,
        "ContainerAttach": Attach(engine, background).attach,
        "ContainerWait": containers.wait,
        "ContainerDelete": containers.remove,
        "ContainerPrune": containers.prune,
        "ContainerChanges": files.changes,
        "ContainerExport": files.export,
        "ContainerArchiveInfo": archive.info,
        "ContainerArchive": archive.get,
        "PutContainerArchive": archive.put,
        "ImageCommit": files.commit,
        "ContainerExec": execs.create,
        "ExecStart": execs.start,
        "ExecResize": execs.resize,
        "ExecInspect": execs.inspect,
        "ImageList": images.list_images,
        "ImageCreate": images.create,
        "ImageInspect": images.inspect,
        "ImageHistory": images.history,
        "ImageTag": images.tag,
        "ImageDelete": images.remove,
        "ImageLoad": images.load,
        "ImagePrune": images.prune,
        "ImagePush": registries.push,
        "ImageSearch": registries.search,
        "SystemAuth": registries.login,
        "DistributionInspect": registries.look_up,
        "ImageGet": archives.get,
        "ImageGetAll": archives.get_all,
        "SystemInfo": system.info,
        "SystemVersion": system.version,
        "SystemPing": system.ping,
        "SystemPingHead": system.ping,
        "SystemEvents": EventStream(engine).follow,
        "BarqueManifestInspect": registries.manifest,
        "BarqueSystemCheck": Checks(engine).check,
        "SystemDataUsage": DiskUsage(engine, container_list, images).report,
        "PluginList": system.plugins,
        "PluginInspect": system.plugin,
        "VolumeList": volumes.list_volumes,
        "VolumeCreate": volumes.create,
        "VolumeInspect": volumes.inspect,
        "VolumeDelete": volumes.remove,
        "VolumePrune": volumes.prune,
        "NetworkList": networks.list_networks,
        "NetworkListSlash": networks.list_networks,
        "NetworkInspect": networks.inspect,
        "NetworkCreate": networks.create,
        "NetworkDelete": networks.remove,
        "NetworkConnect": networks.connect,
        "NetworkDisconnect": networks.disconnect,
        "NetworkPrune": networks.prune,
    }


class ApiServer:
    """The Engine API on its listeners. Made by ``serve``; ``close`` ends it."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._background = Background()
        self._handlers = make_handlers(engine, settings, self._background)
        self._router = Router(OPERATIONS)
        self._http = Connections(
            cast("web.RequestHandler", self._handle),  # type: ignore[arg-type]  # replies by shape
            access_log=None,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            auto_decompress=False,
            tcp_keepalive=False,
            logger=_log,
        )
        self._servers: list[asyncio.Server] = []

    async def listen(self, listener: Listener) -> None:
        """Serve ``listener`` until ``close``."""
        loop = asyncio.get_running_loop()
        if listener.tls is not None:
            front = TlsFront(listener.tls, self._http)
            server = await asyncio.start_server(
                front.accept, sock=listener.socket, backlog=_BACKLOG
            )
        elif listener.socket.family == socket.AF_UNIX:
            server = await loop.create_unix_server(
                self._http, sock=listener.socket, backlog=_BACKLOG
            )
        else:
            server = await loop.create_server(self._http, sock=listener.socket, backlog=_BACKLOG)
        self._servers.append(server)

    async def close(self, grace_s: float = 5.0) -> None:
        """Take no more connections, end the endless replies, and give the others ``grace_s``."""
        for server in self._servers:
            server.close()
        self._http.pre_shutdown()
        self._http.cancel_streaming()
        await self._http.shutdown(grace_s)
        await self._background.close()

    async def _handle(self, request: web.BaseRequest) -> Response:
        """Answer one request. Every error becomes a status here."""
        message = request._message  # noqa: SLF001 - the parsed head; the properties are slow
        method = message.method
        path = decode_path(message.path)
        if method == "OPTIONS":
            return Reply()
        try:
            minor, rest = split_version(path)
        except InvalidArgument as error:
            return _refuse_version(error, path)
        call = Call(request, method, rest, minor)
        try:
            operation, call.name = self._router.find(method, rest)
            handler = self._handlers.get(operation.id)
            return await (handler(call) if handler is not None else _decline(operation))
        except ConnectionError:
            _log.debug("%s %s: the client went away", method, path)
            return Written()
        except Exception as error:  # noqa: BLE001 - logged, and told to the client
            explained = explain(error)
            if explained is not None:
                status = get_status(explained)
                if status >= 500 and not isinstance(explained, (NotImplementedHere, Unavailable)):
                    _log.error("%s %s: %s", method, path, explained)
                return _finish(call, status, str(explained))
            _log.exception("%s %s failed", method, path)
            return _finish(call, 500, f"internal error: {type(error).__name__}: {error}")


async def _decline(operation: Operation) -> Response:
    """Say why an operation without a handler does not work."""
    if operation.state is State.SWARM:
        raise Unavailable(NOT_A_MANAGER)
    raise NotImplementedHere(
        f"{operation.id} ({operation.method} {operation.path}: {operation.summary}) "
        "is not implemented by barque yet"
    )


def _refuse_version(error: InvalidArgument, path: str) -> Reply:
    """A client older than 1.24 reads plain text, as dockerd gives it."""
    numbers = path[2:].partition("/")[0].split(".")
    old = len(numbers) > 1 and numbers[0] == "1" and numbers[1].isdigit()
    if old and int(numbers[1]) < OLDEST:
        return Reply(f"{error}\n".encode(), status=400, content_type=TEXT)
    return make_error(400, str(error))


def make_error(status: int, message: str) -> Reply:
    """Reply with an error body; 304 has none."""
    body = b"" if status == 304 else msgspec.json.encode({"message": message}) + b"\n"
    return Reply(body, status=status, content_type=JSON)


def _finish(call: Call, status: int, message: str) -> Response:
    """Reply with an error, or, when the reply has begun, break it off visibly."""
    transport = call.connection.transport
    if transport is None:
        return Written()
    if call.stream is not None:
        transport.abort()
        return Written()
    return make_error(status, message)


async def serve(listeners: Sequence[Listener], engine: Engine, config: Settings) -> ApiServer:
    """Serve the Engine API on ``listeners``, which the server owns from now on."""
    server = ApiServer(engine, config)
    for listener in listeners:
        await server.listen(listener)
    return server
