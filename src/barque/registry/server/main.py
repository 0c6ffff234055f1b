"""``python -m barque.registry.server.main``: what ``barque registry serve`` becomes."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import signal
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from barque.errors import BarqueError, InvalidArgument
from barque.registry.server.app import Registry
from barque.registry.server.auth import read_htpasswd
from barque.registry.server.engine import EngineContents
from barque.registry.server.storage import Contents, Storage

_GRACE_S = 5.0
DEFAULT_ADDRESS = "127.0.0.1:5000"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; leaves the program for one that is wrong."""
    parser = argparse.ArgumentParser(prog="barque registry serve", allow_abbrev=False)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("root", type=Path, nargs="?")
    place.add_argument("--engine", type=Path)
    parser.add_argument("--addr", default=DEFAULT_ADDRESS)
    parser.add_argument("--htpasswd", type=Path)
    parser.add_argument("--tlscert", type=Path)
    parser.add_argument("--tlskey", type=Path)
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--insecure-plain-http", action="store_true")
    return parser.parse_args(arguments)


def plan_listener(options: argparse.Namespace) -> tuple[str, int]:
    """Return host and port to listen at. Pure.

    Raises InvalidArgument for plain http that others than this machine could reach.
    """
    host, colon, port = options.addr.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"invalid address {options.addr!r}: give HOST:PORT")
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 - what an empty host means
    if bool(options.tlscert) != bool(options.tlskey):
        raise InvalidArgument("--tlscert and --tlskey belong together: give both")
    if options.tlscert is None and not _is_loopback(host) and not options.insecure_plain_http:
        raise InvalidArgument(
            f"{options.addr} can be reached from other machines, and plain http lets everybody on "
            "the way read and change images: give --tlscert and --tlskey, or, if you mean it, "
            "--insecure-plain-http"
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _open(options: argparse.Namespace) -> tuple[Contents, Storage | None]:
    """Return where to read, and where to write, if anywhere. Raises InvalidArgument."""
    if options.engine is not None:
        return EngineContents(options.engine), None
    storage = Storage(options.root)
    storage.recover()
    return storage, None if options.read_only else storage


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT. Raises InvalidArgument, OSError."""
    host, port = plan_listener(options)
    tls = None
    if options.tlscert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tlscert, options.tlskey)
    passwords = read_htpasswd(options.htpasswd) if options.htpasswd else None
    contents, storage = await asyncio.to_thread(_open, options)
    registry = Registry(contents, storage, passwords)
    runner = web.AppRunner(registry.make_app(), access_log=None, shutdown_timeout=_GRACE_S)
    await runner.setup()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        scheme = "https" if tls else "http"
        shown = runner.addresses[0]
        place = options.engine or options.root
        print(f"Serving {place} at {scheme}://{shown[0]}:{shown[1]}", flush=True)  # noqa: T201
        await stop.wait()
    finally:
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the registry in the foreground; return the exit status."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(options))
    except (BarqueError, OSError) as error:
        print(f"barque registry serve: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
