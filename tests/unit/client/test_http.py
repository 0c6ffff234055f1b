"""The HTTP client against a server that sends exactly what a test says."""

from __future__ import annotations

import _socket
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.client.errors import ApiError, CannotConnect, ClientError, ConnectionLost
from barque.client.http import Client, Connection, encode_filters, encode_query, quote
from barque.client.settings import Settings
from support.fake_daemon import FakeDaemon, Reply


class Script:
    """Accepts connections; on each answers the n-th request with the n-th text."""

    def __init__(self, path: Path, *connections: list[bytes]) -> None:
        self.received: list[bytes] = []
        self._connections = list(connections)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._path = str(path)
        self.closed = threading.Semaphore(0)
        """Released with each connection that was closed."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def connect(self) -> _socket.socket:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.connect(self._path)
        return connection

    def _serve(self) -> None:
        for answers in self._connections:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):
                for answer in answers:
                    request = connection.recv(1 << 16)
                    if not request:
                        break
                    self.received.append(request)
                    for byte in answer if len(answer) < 2000 else [answer]:
                        connection.sendall(bytes([byte]) if isinstance(byte, int) else byte)
            self.closed.release()

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[..., tuple[Client, Script]]]:
    opened: list[tuple[Client, Script]] = []

    def start(*connections: list[bytes]) -> tuple[Client, Script]:
        server = Script(tmp_path / f"s{len(opened)}", *connections)
        opened.append((Client(server.connect), server))
        return opened[-1]

    yield start
    for client, server in opened:
        client.close()
        server.close()


Start = Callable[..., tuple[Client, Script]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_json_answer_byte_by_byte(script: Start) -> None:
    client, server = script([b'HTTP/1.1 200 OK\r\nCONTENT-Length: 8\r\n\r\n{"a": 1}'])
    assert client.get("/x", query={"all": True, "none": None, "f": {"k": {"v": True}}}) == {"a": 1}
    head = server.received[0].split(b"\r\n")
    assert head[0] == b"GET /x?all=1&f=%7B%22k%22%3A%7B%22v%22%3Atrue%7D%7D HTTP/1.1"
    assert b"Host: localhost" in head


def test_chunks_with_extensions_and_trailers(script: Start) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'4;x=y\r\n{"a"\r\nA\r\n:1}\n{"b":2\r\n2\r\n}\n\r\n0\r\nTrailer: x\r\n\r\n'
    )
    client, server = script([answer, OK])
    assert list(client.request("GET", "/events").messages()) == [{"a": 1}, {"b": 2}]
    assert client.get("/next") == {}  # on the same connection
    assert len(server.received) == 2


def test_an_answer_until_the_end_of_the_connection(script: Start) -> None:
    client, _ = script([b"HTTP/1.1 200 OK\r\n\r\nhello"])
    assert client.request("GET", "/x").read() == b"hello"


def test_interim_answers_are_skipped(script: Start) -> None:
    client, _ = script([b"HTTP/1.1 100 Continue\r\n\r\n" + OK])
    assert client.get("/x") == {}


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_body(script: Start, status: int) -> None:
    client, _ = script([b"HTTP/1.1 %d X\r\n\r\n" % status, OK])
    assert client.post("/x") is None
    assert client.get("/y") == {}


def test_an_idle_connection_that_has_been_closed_is_replaced(script: Start) -> None:
    client, server = script([OK], [OK])
    assert client.get("/a") == {}
    assert server.closed.acquire(timeout=10)
    assert client.get("/b") == {}


def test_a_connection_is_not_shared_while_it_is_read(script: Start) -> None:
    client, _ = script(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"], [OK]
    )
    with client.request("GET", "/stream"):
        assert client.get("/other") == {}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"message":"No such container: x"}', "No such container: x"),
        (b"plain text\n", "plain text"),
        (b"{broken", "{broken"),
        (b"", "request returned 404 for /x without a message"),
    ],
)
def test_errors(script: Start, answer: bytes, message: str) -> None:
    client, _ = script([b"HTTP/1.1 404 X\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)])
    with pytest.raises(ApiError) as caught:
        client.get("/x")
    assert caught.value.status == 404
    assert caught.value.message.startswith(message)
    assert str(caught.value).startswith(f"Error response from daemon: {message}")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
    ],
)
def test_answers_that_break_off(script: Start, answer: bytes) -> None:
    client, _ = script([answer])
    with pytest.raises(ConnectionLost):
        client.get("/x")


def test_a_hijacked_connection_keeps_what_came_early(script: Start) -> None:
    client, _ = script([b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nearly"])
    connection, headers = client.hijack("/attach", body={"a": 1})
    received = b""
    while data := connection.receive():
        received += data
    connection.socket.close()
    assert received == b"early"
    assert headers["upgrade"] == "tcp"


def test_bodies_in_chunks(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        daemon.replies["POST /images/load"] = Reply(200, {"ok": True})
        client = Settings({"DOCKER_HOST": daemon.url}).open_client()
        pieces = [b"a" * 70000, b"", b"b"]
        answer = client.request("POST", "/images/load", data=pieces)
        assert answer.json() == {"ok": True}
        assert daemon.requests[0].body == b"".join(pieces)
        client.close()


def test_many_requests_keep_their_order(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        for number in range(120):
            daemon.replies[f"POST /{number}"] = Reply(200, number)
        daemon.replies["POST /7"] = Reply(409, {"message": "seven"})
        client = Settings({"DOCKER_HOST": daemon.url}).open_client()
        answers = [
            answer if isinstance(answer, ClientError) else answer.json()
            for answer in client.request_all([("POST", f"/{n}", None) for n in range(120)])
        ]
        assert str(answers.pop(7)) == "Error response from daemon: seven"
        assert answers == [n for n in range(120) if n != 7]
        client.close()


def test_nobody_listens(tmp_path: Path) -> None:
    client = Settings({"BARQUE_HOST": f"unix://{tmp_path}/none"}).open_client()
    with pytest.raises(CannotConnect, match="Is it running\\? Start it with: barqued"):
        client.get("/x")


@given(st.text())
def test_quoted_text_is_plain(text: str) -> None:
    from urllib.parse import unquote

    quoted = quote(text)
    assert quoted.isascii()
    assert unquote(quoted) == text


def test_queries() -> None:
    assert encode_query(None) == encode_query({"a": None}) == ""
    assert encode_query({"a": False, "b": ["x", "y z"], "c": 3}) == "?a=0&b=x&b=y%20z&c=3"
    assert encode_filters([]) is None
    assert encode_filters([("a", "1"), ("a", "2")]) == {"a": {"1": True, "2": True}}


def test_pending_bytes_come_first() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        theirs.sendall(b"head\r\n\r\nrest")
        assert connection.read_until(b"\r\n\r\n", 100) == b"head"
        theirs.sendall(b"more")
        assert connection.receive() == b"rest"
        assert connection.receive() == b"more"
