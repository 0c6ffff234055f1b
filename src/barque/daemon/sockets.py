"""The sockets that barqued listens on: unix, tcp with TLS, and those systemd hands over."""

from __future__ import annotations

import errno
import grp
import os
import socket
import ssl
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from barque.api.server import Listener
from barque.daemon.config import Config
from barque.errors import FailedPrecondition, InvalidArgument

BACKLOG = 512
DEFAULT_GROUP = "docker"

_FIRST_PASSED_FD = 3
_PLAIN_PORT, _TLS_PORT = 2375, 2376
_MAX_UNIX_PATH_BYTES = 107
_PROBE_S = 2.0


def open_listeners(config: Config, environment: Mapping[str, str] | None = None) -> list[Listener]:
    """Open a listener for every host of ``config``; on failure, none.

    ``environment`` (default: the process's) holds what systemd says of passed sockets.
    Raises InvalidArgument for an address that makes no sense and for tcp without mutual TLS,
    FailedPrecondition for one that is taken.
    """
    environment = os.environ if environment is None else environment
    listeners: list[Listener] = []
    with ExitStack() as undo:
        for host in config.hosts:
            for listener in _open(host, config, environment):
                undo.callback(listener.socket.close)
                listeners.append(listener)
        undo.pop_all()
    return listeners


def _open(host: str, config: Config, environment: Mapping[str, str]) -> list[Listener]:
    scheme, found, address = host.partition("://")
    if not found:
        raise InvalidArgument(f"invalid host {host!r}: give unix://PATH, tcp://HOST:PORT or fd://")
    match scheme:
        case "unix":
            return [Listener(open_unix(Path(address), config.group))]
        case "tcp":
            context = make_tls_context(config) if config.tls else None
            if not (config.tlsverify or config.insecure_tcp):
                raise InvalidArgument(
                    f"refusing to listen on {host} without mutual TLS: whoever reaches the port "
                    "would be root on this machine. Give --tlsverify with --tlscacert, --tlscert "
                    "and --tlskey, or, if you mean it, --insecure-tcp"
                )
            return [Listener(open_tcp(address, tls=config.tls), context)]
        case "fd":
            return [Listener(s) for s in take_passed_sockets(address, environment)]
        case _:
            raise InvalidArgument(f"invalid host {host!r}: unknown scheme {scheme}://")


def open_unix(path: Path, group: str) -> socket.socket:
    """Listen on ``path``, readable and writable for root and ``group`` only (0660).

    ``group`` "" is docker's, where there is one. A stale socket is replaced. Raises
    FailedPrecondition if another engine listens there or the path is no socket.
    """
    if not path.is_absolute():
        raise InvalidArgument(f"invalid host unix://{path}: the path must be absolute")
    if len(os.fsencode(path)) > _MAX_UNIX_PATH_BYTES:
        raise InvalidArgument(
            f"invalid host unix://{path}: unix sockets' paths have at most "
            f"{_MAX_UNIX_PATH_BYTES} bytes"
        )
    gid = _find_group(group)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        if gid is not None:
            os.chown(path, -1, gid)
        path.chmod(0o660)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise FailedPrecondition(f"cannot listen on unix://{path}: {error.strerror}") from error
    return listening


def _find_group(name: str) -> int | None:
    """Return the gid of a group's name or number. Raises InvalidArgument."""
    try:
        return grp.getgrnam(name or DEFAULT_GROUP).gr_gid
    except KeyError:
        if not name:
            return None
        if name.isdigit():
            return int(name)
        raise InvalidArgument(
            f"group {name} not found: create it or give another --group"
        ) from None


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FailedPrecondition(
            f"cannot listen on unix://{path}: the path exists and is no socket; remove it or "
            "give another --host"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except (TimeoutError, BlockingIOError):
            pass  # it is listened on, by somebody who is too busy to take us
    raise FailedPrecondition(
        f"cannot listen on unix://{path}: another engine is already listening there; stop it or "
        "give another --host"
    )


def open_tcp(address: str, *, tls: bool) -> socket.socket:
    """Listen on ``host:port``; default port 2376 with TLS, 2375 without.

    Raises InvalidArgument or FailedPrecondition.
    """
    host, port = _parse_address(address, _TLS_PORT if tls else _PLAIN_PORT)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        text = (
            "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        )
        raise FailedPrecondition(f"cannot listen on tcp://{address}: {text}") from error
    return listening


def _parse_address(address: str, default_port: int) -> tuple[str, int]:
    address = address.rstrip("/")
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidArgument(f"invalid host tcp://{address}: give [IPV6]:PORT")
        port = rest[1:]
    else:
        host, _, port = address.partition(":")
    if port and not (port.isdigit() and int(port) <= 65535):
        raise InvalidArgument(f"invalid host tcp://{address}: give HOST:PORT")
    return host or "127.0.0.1", int(port) if port else default_port


def take_passed_sockets(name: str, environment: Mapping[str, str]) -> list[socket.socket]:
    """Take the listening sockets that systemd passed: all, or those of one name or number.

    Source: sd_listen_fds(3). Raises FailedPrecondition if there are none.
    """
    count = int(environment.get("LISTEN_FDS", "0") or "0")
    if environment.get("LISTEN_PID") != str(os.getpid()) or count <= 0:
        raise FailedPrecondition(
            f"cannot listen on fd://{name}: no sockets were passed; start barqued through its "
            "systemd socket unit or give another --host"
        )
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    passed = []
    for index in range(count):
        fd = _FIRST_PASSED_FD + index
        known_as = {str(fd), names[index] if index < len(names) else ""}
        if name in {"", "*"} or name in known_as:
            os.set_inheritable(fd, False)
            passed.append(socket.socket(fileno=fd))
    if not passed:
        raise FailedPrecondition(f"cannot listen on fd://{name}: no passed socket has this name")
    return passed


def make_tls_context(config: Config) -> ssl.SSLContext:
    """Return the server's TLS context; with ``tlsverify`` it demands a client certificate.

    Raises InvalidArgument naming the option that is missing or the file that is wrong.
    """
    for key in ("tlscert", "tlskey", *(("tlscacert",) if config.tlsverify else ())):
        if not getattr(config, key):
            raise InvalidArgument(f"TLS needs --{key}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tlscert, config.tlskey)
        if config.tlsverify:
            context.load_verify_locations(config.tlscacert)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(
            f"cannot use the TLS files {config.tlscert}, {config.tlskey}, {config.tlscacert}: "
            f"{error}"
        ) from error
    return context
