"""Where our registry listens, and TLS between it and our client."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from barque.errors import InvalidArgument
from barque.registry.auth import Credentials
from barque.registry.client import Repository
from barque.registry.config import RegistryConfig
from barque.registry.connection import Connection
from barque.registry.endpoints import Endpoint
from barque.registry.errors import Unreachable
from barque.registry.server.auth import read_htpasswd
from barque.registry.server.main import parse_arguments, plan_listener


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/r"], ("127.0.0.1", 5000)),
        (["--addr", "127.0.0.2:80", "/r"], ("127.0.0.2", 80)),
        (["--addr", "localhost:80", "/r"], ("localhost", 80)),
        (["--addr", "[::1]:80", "/r"], ("::1", 80)),
        (["--addr", ":80", "--insecure-plain-http", "/r"], ("0.0.0.0", 80)),
        (["--addr", "0.0.0.0:80", "--tlscert", "c", "--tlskey", "k", "/r"], ("0.0.0.0", 80)),
    ],
)
def test_where_it_listens(arguments: list[str], expected: tuple[str, int]) -> None:
    assert plan_listener(parse_arguments(arguments)) == expected


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--addr", ":80"], "reached from other machines"),
        (["--addr", "0.0.0.0:80"], "reached from other machines"),
        (["--addr", "registry.example:80"], "reached from other machines"),
        (["--addr", "80"], "HOST:PORT"),
        (["--addr", "h:port"], "HOST:PORT"),
        (["--addr", "h:99999"], "HOST:PORT"),
        (["--tlscert", "c"], "belong together"),
    ],
)
def test_where_it_does_not(arguments: list[str], error: str) -> None:
    with pytest.raises(InvalidArgument, match=error):
        plan_listener(parse_arguments([*arguments, "/r"]))


@pytest.mark.parametrize("content", ["", "me:secret", "me:{SHA}x", "me", "me:$apr1$x"])
def test_password_files_that_protect_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(content)
    with pytest.raises(InvalidArgument):
        read_htpasswd(tmp_path / "users")
    with pytest.raises(InvalidArgument, match="cannot read"):
        read_htpasswd(tmp_path / "nowhere")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_certificates_are_verified_unless_the_registry_is_insecure(tmp_path: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")),
        ],
        check=True,
        capture_output=True,
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    config = RegistryConfig(certs_dirs=(str(tmp_path / "certs.d"),))

    async def ok(_request: web.Request) -> web.Response:
        return web.Response()

    async def ping(endpoint: Endpoint) -> None:
        async with Connection(endpoint, Credentials(), config) as connection:
            await Repository(connection, "", ()).ping()

    async def test() -> None:
        app = web.Application()
        app.router.add_get("/v2/", ok)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            with pytest.raises(Unreachable, match="certificate verify failed"):
                await ping(Endpoint(url, verify=True))
            await ping(Endpoint(url, verify=False))
            own = tmp_path / "certs.d" / urlsplit(url).netloc
            own.mkdir(parents=True)
            shutil.copy(tmp_path / "cert", own / "ca.crt")
            await ping(Endpoint(url, verify=True))
        finally:
            await runner.cleanup()

    asyncio.run(test())
