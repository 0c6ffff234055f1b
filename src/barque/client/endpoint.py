"""Where the engine listens, and how to get a connected socket to it.

Endpoints: ``unix:///run/barque.sock``, ``tcp://host:2375`` (with TLS 2376),
``ssh://user@host:22/path``. Sources: cli.md section 4; docker's ``--host``.

:mod:`socket` costs 1.5 ms to import, so a unix socket is made with the C module beneath it.
"""

from __future__ import annotations

import _socket

from barque.client.errors import CannotConnect, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_SOCKET = "/run/barque.sock"
_CONNECT_TIMEOUT_S = 30.0


class Tls:
    """Certificate files of a TLS endpoint; "" where there is none.

    With ``verify`` the engine's certificate must be signed by ``ca`` (or, without one, by an
    authority of this machine) and name the host.
    """

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, ca: str, cert: str, key: str, *, verify: bool) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


class Endpoint:
    """One engine's address.

    ``url`` is what messages show. ``connect`` opens a blocking socket that the caller
    closes; it raises :class:`CannotConnect`. ``host`` is the HTTP Host.
    """

    __slots__ = ("connect", "host", "is_network", "url")

    def __init__(
        self,
        url: str,
        connect: Callable[[], _socket.socket],
        *,
        host: str = "localhost",
        is_network: bool = False,
    ) -> None:
        self.url = url
        self.connect = connect
        self.host = host
        self.is_network = is_network


def parse_endpoint(
    url: str, tls: Tls | None = None, start: Callable[[str], None] | None = None
) -> Endpoint:
    """The endpoint that ``url`` names. Text without a scheme is a TCP ``host[:port]``.

    ``start``, for a unix socket, is called with its path when nothing listens there; it
    starts the engine, or raises. Raises :class:`ClientError` for text that is no endpoint.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "tcp", url
        url = f"tcp://{rest}"
    match scheme:
        case "unix":
            if not rest:
                raise ClientError(f"invalid engine address {url!r}: it names no path")
            return Endpoint(url, lambda: _connect_unix(url, rest, start))
        case "tcp" | "http" | "https":
            host, port = _split_host(url, rest, "2376" if tls else "2375")
            return Endpoint(
                url,
                lambda: _connect_tcp(url, host, port, tls),
                host=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                is_network=True,
            )
        case "ssh":
            return Endpoint(url, lambda: _connect_ssh(url, rest), is_network=False)
        case _:
            raise ClientError(
                f"unable to parse docker host `{url}`: "
                f"{scheme!r} is none of unix, tcp, http, https, ssh"
            )


def _connect_unix(url: str, path: str, start: Callable[[str], None] | None) -> _socket.socket:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        connection.close()
        if start is None:
            raise _nobody(url) from error
        start(path)
        return _connect_unix(url, path, None)
    except PermissionError as error:
        connection.close()
        raise CannotConnect(
            f"permission denied while trying to connect to the barque engine at {url}. "
            "Run the command as root or as a member of the socket's group"
        ) from error
    except OSError as error:
        connection.close()
        raise CannotConnect(f"cannot connect to {url}: {error.strerror or error}") from error
    return connection


def _connect_tcp(url: str, host: str, port: str, tls: Tls | None) -> _socket.socket:
    import socket  # noqa: PLC0415 - only for remote engines

    try:
        connection = socket.create_connection((host, int(port)), _CONNECT_TIMEOUT_S)
    except ConnectionRefusedError as error:
        raise _nobody(url) from error
    except OSError as error:
        raise CannotConnect(f"error during connect to {url}: {error.strerror or error}") from error
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if tls is None:
        return connection
    import ssl  # noqa: PLC0415 - only for TLS

    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key or None)
        return context.wrap_socket(connection, server_hostname=host)
    except OSError as error:  # ssl.SSLError is one
        connection.close()
        raise CannotConnect(f"error during connect to {url}: {error}") from error


def _connect_ssh(url: str, rest: str) -> _socket.socket:
    """A socket to ``barque system dial-stdio`` on the other machine, through ssh."""
    import os  # noqa: PLC0415 - only for ssh
    import socket  # noqa: PLC0415 - only for ssh

    where, _, path = rest.partition("/")
    user, _, address = where.rpartition("@")
    if not address or ":" in user or address.startswith("-"):
        raise ClientError(f"invalid engine address {url!r}: write ssh://[user@]host[:port][/path]")
    host, port = _split_host(url, address, "")
    command = ["ssh", *(["-l", user] if user else []), *(["-p", port] if port else [])]
    remote = ["barque", *(["--host", f"unix:///{path}"] if path else []), "system", "dial-stdio"]
    ours, theirs = socket.socketpair()
    end = theirs.fileno()
    try:
        # ssh belongs to this command; it ends when its standard input does.
        os.posix_spawnp(
            "ssh",
            [*command, "-T", "--", host, *remote],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, 0), (os.POSIX_SPAWN_DUP2, end, 1)],
        )
    except FileNotFoundError as error:
        ours.close()
        raise CannotConnect(f"cannot connect to {url}: the program ssh is not installed") from error
    finally:
        theirs.close()
    return ours


def _split_host(url: str, text: str, default_port: str) -> tuple[str, str]:
    text = text.partition("/")[0]
    if text.startswith("["):
        host, closed, after = text[1:].partition("]")
        port = after[1:] if after.startswith(":") else ""
        if not closed or (after and not after.startswith(":")):
            raise ClientError(f"invalid engine address {url!r}: the bracket is not closed")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    port = port or default_port
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ClientError(f"invalid engine address {url!r}: {port!r} is not a port")
    return host or "localhost", port


def _nobody(url: str) -> CannotConnect:
    return CannotConnect(
        f"Cannot connect to the barque engine at {url}. Is it running? Start it with: barqued"
    )
