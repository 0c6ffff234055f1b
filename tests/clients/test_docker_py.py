"""docker-py, the Python SDK, does everyday things."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import rootfs
from support.engine import Engine

docker = pytest.importorskip("docker")


@pytest.fixture
def client(engine: Engine) -> Iterator[Any]:
    client = docker.DockerClient(base_url=engine.url, timeout=20)
    yield client
    client.close()


def test_run_and_collect(client: Any) -> None:
    assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"


def test_a_failure_carries_code_and_stderr(client: Any) -> None:
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run("busybox", ["sh", "-c", "echo oops >&2; exit 3"], stderr=True)
    assert caught.value.exit_status == 3
    assert caught.value.stderr == b"oops\n"


def test_life(client: Any) -> None:
    container = client.containers.run(
        "busybox",
        ["sh", "-c", "echo up; exec sleep 1000"],
        detach=True,
        name="c1",
        environment={"A": "1"},
        labels={"x": "y"},
        mem_limit="64m",
    )
    assert client.containers.get("c1").id == container.id
    assert [found.name for found in client.containers.list(filters={"label": "x=y"})] == ["c1"]
    assert next(iter(container.logs(stream=True))) == b"up\n"
    code, output = container.exec_run(["sh", "-c", "echo $A; exit 5"])
    assert (code, output) == (5, b"1\n")
    code, (out, err) = container.exec_run(["sh", "-c", "echo a; echo b >&2"], demux=True)
    assert (code, out, err) == (0, b"a\n", b"b\n")
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("c2")
    container.reload()
    assert container.name == "c2"
    assert container.attrs["HostConfig"]["Memory"] == 64 << 20
    assert container.top()["Processes"][0][-1] == "sleep 1000"
    container.kill("KILL")
    assert container.wait()["StatusCode"] == 137
    container.restart(timeout=0)
    container.stop(timeout=0)
    container.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("c2")


def test_stdin_over_a_socket(client: Any) -> None:
    container = client.containers.create("busybox", "cat", stdin_open=True, name="c1")
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    stream._sock.sendall(b"hello\n")
    assert stream.read(8 + 6) == b"\x01\0\0\0\0\0\0\x06hello\n"
    stream.close()


def test_events(client: Any) -> None:
    events = client.events(decode=True, filters={"type": "container"})
    client.containers.run("busybox", "true", name="c1", remove=True)
    actions = []
    for event in events:
        actions.append(event["Action"])
        if event["Action"] == "destroy":
            break
    events.close()
    assert [action for action in actions if action in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]


def test_images(client: Any, busybox_tar: Path, tmp_path: Path) -> None:
    archive = rootfs.write_docker_archive(busybox_tar, tmp_path / "archive.tar", "loaded:2")
    (image,) = client.images.load(archive.read_bytes())
    assert image.tags == ["loaded:2"]
    assert image.tag("other", "3")
    assert client.images.get("other:3").id == image.id
    assert client.containers.run("loaded:2", "echo hi", remove=True) == b"hi\n"
    client.images.remove("other:3")
    client.images.remove("loaded:2")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("loaded:2")


def test_what_the_engine_says_of_itself(client: Any) -> None:
    assert client.ping()
    assert client.info()["OSType"] == "linux"
    assert client.version()["Arch"] == "amd64"
    assert "bridge" in {network.name for network in client.networks.list()}


def test_files_and_images_of_a_container(client: Any) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "echo x >/new; rm /etc/group; sleep 1000"], detach=True
    )
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writing:
        entry = tarfile.TarInfo("put/file")
        entry.size = 4
        writing.addfile(entry, io.BytesIO(b"data"))
    assert container.put_archive("/tmp", archive.getvalue())
    chunks, found = container.get_archive("/tmp/put")
    assert (found["name"], found["mode"] >> 31) == ("put", 1)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as reading:
        assert reading.getnames() == ["put", "put/file"]
    with pytest.raises(docker.errors.NotFound):
        container.get_archive("/nothing")
    changes = {(change["Path"], change["Kind"]) for change in container.diff()}
    assert {("/new", 1), ("/etc", 0), ("/etc/group", 2), ("/tmp/put/file", 1)} <= changes
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as exported:
        names = {name.removeprefix("./") for name in exported.getnames()}
        assert {"new", "tmp/put/file"} <= names
        assert "etc/group" not in names
    image = container.commit(
        "sdk", "1", author="me", conf={"Cmd": ["cat", "/new"]}, changes="ENV A=b"
    )
    assert image.tags == ["sdk:1"]
    assert client.containers.run("sdk:1", remove=True) == b"x\n"
    saved = b"".join(image.save(named=True))
    container.remove(force=True)
    client.images.remove("sdk:1")
    [loaded] = client.images.load(saved)
    assert (loaded.id, loaded.tags) == (image.id, ["sdk:1"])
    assert "A=b" in loaded.attrs["Config"]["Env"]
    client.images.remove("sdk:1")
