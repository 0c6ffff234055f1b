"""Listening sockets, and TLS in front of the server."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from barque.api.server import serve
from barque.daemon.config import Config, load_config
from barque.daemon.sockets import open_listeners, open_tcp, open_unix, take_passed_sockets
from barque.errors import FailedPrecondition, InvalidArgument
from support.api_engine import FakeEngine, FakeSettings, client_socket, make_record

T = TypeVar("T")


def configure(*flags: str) -> Config:
    return load_config(["--config-file", os.devnull, *flags])


def test_a_unix_socket_is_private_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "s.sock"
    first = open_unix(path, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with pytest.raises(FailedPrecondition, match="another engine is already listening"):
        open_unix(path, "")
    first.close()
    assert path.exists()
    open_unix(path, str(os.getgid())).close()
    assert path.stat().st_gid == os.getgid()


def test_what_cannot_be_listened_on_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(FailedPrecondition, match="is no socket"):
        open_unix(file, "")
    assert file.read_text() == "x"
    with pytest.raises(InvalidArgument, match="107 bytes"):
        open_unix(tmp_path / ("x" * 120), "")
    with pytest.raises(InvalidArgument, match="absolute"):
        open_unix(Path("x"), "")
    with pytest.raises(InvalidArgument, match="group no-such-group not found"):
        open_unix(tmp_path / "s", "no-such-group")
    for host in ("nothing", "http://x", "tcp://x:y", "tcp://[::1", "tcp://:99999"):
        with pytest.raises(InvalidArgument, match="invalid host"):
            open_listeners(configure("-H", host, "--insecure-tcp"))


def test_tcp_needs_mutual_tls_or_an_insecure_flag(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="--insecure-tcp"):
        open_listeners(configure("-H", f"unix://{tmp_path}/s", "-H", "tcp://127.0.0.1:0"))
    with pytest.raises(InvalidArgument, match="--tlscert"):
        open_listeners(configure("-H", "tcp://127.0.0.1:0", "--tlsverify"))
    (listener,) = open_listeners(configure("-H", "tcp://127.0.0.1:0", "--insecure-tcp"))
    port = listener.socket.getsockname()[1]
    with pytest.raises(FailedPrecondition, match="port is taken"):
        open_tcp(f"127.0.0.1:{port}", tls=False)
    listener.socket.close()


def test_passed_sockets_need_systemd() -> None:
    with pytest.raises(FailedPrecondition, match="no sockets were passed"):
        take_passed_sockets("", {})
    with pytest.raises(FailedPrecondition, match="no sockets were passed"):
        take_passed_sockets("", {"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "other"}
    with pytest.raises(FailedPrecondition, match="has this name"):
        take_passed_sockets("api", mine)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server's and a client's certificate, and a stranger's."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program to make certificates")
    directory = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for ca in ("ca", "stranger"):
        openssl("req", "-x509", *key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem",
                "-subj", f"/CN={ca}", "-days", "2")  # fmt: skip
    (directory / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    for name in ("server", "client"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("req", *key, *files, "-subj", f"/CN={name}")
        output = ("-out", f"{name}.pem", "-extfile", "ext")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, *output)
    return directory


def connect(certificates: Path, address: tuple[str, int], name: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    plain = socket.create_connection(address, timeout=10)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


class Bio:
    """A TLS client over memory, so that each direction can be ended on its own."""

    def __init__(
        self,
        context: ssl.SSLContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def flush(self) -> None:
        self._writer.write(self._outgoing.read())

    async def drive(self, step: Callable[[], T]) -> T:
        """Do ``step``, feeding it what arrives until it is satisfied."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                self._incoming.write(await self._reader.read(65536))
            finally:
                self.flush()


def test_mutual_tls_serves_known_clients_and_half_close_keeps_the_output(
    certificates: Path,
) -> None:
    config = configure(
        "-H", "tcp://127.0.0.1:0", "--tlsverify", "--tlscacert", str(certificates / "ca.pem"),
        "--tlscert", str(certificates / "server.pem"), "--tlskey", str(certificates / "server.key"),
    )  # fmt: skip
    (listener,) = open_listeners(config)
    address = listener.socket.getsockname()

    def ping() -> bytes:
        with connect(certificates, address, "client") as client:
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: client.recv(4096), b""))

    def intrude() -> str:
        try:
            with connect(certificates, address, "stranger") as client:
                client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
                return client.recv(100).decode()
        except OSError as error:
            return type(error).__name__

    async def scenario() -> None:
        engine = FakeEngine()
        engine.containers.add(make_record(1, name="c"))
        server = await serve([listener], engine, FakeSettings())
        assert (await asyncio.to_thread(ping)).endswith(b"\r\n\r\nOK")
        assert "200 OK" not in await asyncio.to_thread(intrude)
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        reader, writer = await asyncio.open_connection(*address)
        tls = Bio(context, reader, writer)
        await tls.drive(tls.session.do_handshake)
        request = b"POST /containers/c/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\nHost: x\r\n"
        tls.session.write(request + b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        head = await tls.drive(lambda: tls.session.read(4096))
        assert head.startswith(b"HTTP/1.1 101 UPGRADED")
        with client_socket(await engine.containers.clients.get()) as inner:
            loop = asyncio.get_running_loop()
            tls.session.write(b"input")
            with pytest.raises(ssl.SSLWantReadError):
                tls.session.unwrap()  # close_notify: the end of stdin
            tls.flush()
            assert await loop.sock_recv(inner, 100) == b"input"
            assert await loop.sock_recv(inner, 100) == b""
            await loop.sock_sendall(inner, b"output after the end of stdin")
            inner.shutdown(socket.SHUT_WR)
        output = await tls.drive(lambda: tls.session.read(4096))
        assert output == b"output after the end of stdin"
        writer.close()
        await server.close(1)

    asyncio.run(asyncio.wait_for(scenario(), 30))
