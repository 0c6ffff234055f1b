"""Which engine is meant, and how it is reached."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from barque.client import start as start_module
from barque.client.endpoint import parse_endpoint
from barque.client.errors import CannotConnect, ClientError
from barque.client.settings import Settings
from barque.client.start import start_engine


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("unix:///x/y.sock", "unix:///x/y.sock", "localhost"),
        ("tcp://h:99", "tcp://h:99", "h:99"),
        ("tcp://h", "tcp://h", "h:2375"),
        ("h:99", "tcp://h:99", "h:99"),
        ("tcp://[::1]:99", "tcp://[::1]:99", "[::1]:99"),
        ("tcp://::1", "tcp://::1", "[::1]:2375"),
        ("https://h/", "https://h/", "h:2375"),
        ("ssh://u@h:2222", "ssh://u@h:2222", "localhost"),
    ],
)
def test_addresses(text: str, url: str, host: str) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.url, endpoint.host) == (url, host)


@pytest.mark.parametrize("text", ["unix://", "ftp://x", "tcp://h:x", "tcp://[::1", "tcp://h:99999"])
def test_impossible_addresses(text: str) -> None:
    with pytest.raises(ClientError):
        parse_endpoint(text)


@pytest.mark.parametrize("text", ["ssh://", "ssh://a:b@h", "ssh://-oProxyCommand=x"])
def test_ssh_takes_no_options_for_hosts(text: str) -> None:
    with pytest.raises(ClientError, match="ssh://"):
        parse_endpoint(text).connect()


def test_precedence(tmp_path: Path) -> None:
    name = "there"
    meta = tmp_path / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    document = {"Name": name, "Endpoints": {"docker": {"Host": "tcp://context:1"}}}
    (meta / "meta.json").write_text(json.dumps(document))
    environment: dict[str, str] = {"DOCKER_CONFIG": str(tmp_path)}

    def url(**options: str) -> str:
        return Settings(environment, **options).endpoint.url  # type: ignore[arg-type]

    assert url() == "unix:///run/barque.sock"
    environment["DOCKER_CONTEXT"] = name
    assert url() == "tcp://context:1"
    environment["DOCKER_HOST"] = "tcp://docker:1"
    assert url() == "tcp://docker:1"
    environment["BARQUE_HOST"] = "tcp://barque:1"
    assert url() == "tcp://barque:1"
    assert url(context=name) == "tcp://context:1"
    assert url(context="default") == "unix:///run/barque.sock"
    assert url(host="tcp://flag:1") == "tcp://flag:1"
    with pytest.raises(ClientError, match="context not found"):
        url(context="nowhere")


def test_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "detachKeys": "ctrl-a",
                "proxies": {
                    "default": {"httpProxy": "http://p", "noProxy": "a,b"},
                    "tcp://other:1": {"httpsProxy": "http://q"},
                },
            }
        )
    )
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    settings = Settings(environment)
    assert settings.detach_keys == "ctrl-a"
    assert settings.proxy_variables() == {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "NO_PROXY": "a,b",
        "no_proxy": "a,b",
    }
    other = Settings(environment, host="tcp://other:1")
    assert other.proxy_variables() == {"HTTPS_PROXY": "http://q", "https_proxy": "http://q"}


@pytest.mark.parametrize("content", ["{", "[]", "1"])
def test_a_broken_configuration_names_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ClientError, match=r"config\.json"):
        _ = Settings({"DOCKER_CONFIG": str(tmp_path)}).config


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts an engine")

LISTENER = """
import socket, sys, time
print("engine", sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
listener.settimeout(10)
while True:
    connection, _ = listener.accept()
    if connection.recv(1) == b"q":
        break
    connection.close()
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(start_module, "_LOG", str(tmp_path / "log"))
    monkeypatch.setattr(start_module, "_LOCK", str(tmp_path / "lock"))
    return tmp_path


@needs_root
def test_one_engine_is_started_by_many_commands(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(places / "engine.sock")
    monkeypatch.setattr(start_module, "_command", lambda: [sys.executable, "-c", LISTENER, path])
    threads = [threading.Thread(target=start_engine, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"q")
    os.wait()
    assert (places / "log").read_text() == f"engine {path}\n"


@needs_root
def test_an_engine_that_fails_is_quoted(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys; sys.exit('the pool is empty')"
    monkeypatch.setattr(start_module, "_command", lambda: [sys.executable, "-c", program])
    with pytest.raises(CannotConnect, match="the engine did not start: the pool is empty"):
        start_engine(str(places / "engine.sock"))
