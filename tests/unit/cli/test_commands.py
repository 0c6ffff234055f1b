"""Commands that change something, and what they ask of the engine."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command_line import run
from support.fake_documents import answers
from support.fake_engine import FakeEngine, Reply, document, problem

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path / "docker.sock", answers()).serving() as engine:
        yield engine


def _stream(*messages: object) -> Reply:
    return Reply(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))


def test_volume_create(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["POST", "/volumes/create"] = document({"Name": "data"}, 201)
    assert (
        run(engine, "volume", "create", "-o", "type=nfs", "--label", "a=b", "--label", "c", "data")
        == 0
    )
    assert capsys.readouterr().out == "data\n"
    assert json.loads(engine.requests[0].body) == {
        "Name": "data",
        "Driver": "local",
        "DriverOpts": {"type": "nfs"},
        "Labels": {"a": "b", "c": ""},
    }


def test_volume_rm_goes_on_after_an_error(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["DELETE", "/volumes/a"] = Reply(b"", 204)
    engine.answers["DELETE", "/volumes/c"] = Reply(b"", 204)
    assert run(engine, "volume", "rm", "a", "b", "c") == 1
    shown = capsys.readouterr()
    assert shown.out == "a\nc\n"
    assert shown.err == "Error response from daemon: get b: no such volume\n"


def test_network_create_sorts_addresses_into_subnets(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["POST", "/networks/create"] = document({"Id": "n1", "Warning": "careful"}, 201)
    words = "network create --subnet 10.1.0.0/16 --subnet fd00::/64 --gateway fd00::1"
    words += " --ip-range 10.1.2.0/24 --aux-address printer=10.1.0.9 --ipv6 net"
    assert run(engine, *words.split()) == 0
    shown = capsys.readouterr()
    assert shown.out == "n1\n"
    assert shown.err == "WARNING: careful\n"
    body = json.loads(engine.requests[0].body)
    assert body["IPAM"]["Config"] == [
        {
            "Subnet": "10.1.0.0/16",
            "IPRange": "10.1.2.0/24",
            "AuxiliaryAddresses": {"printer": "10.1.0.9"},
        },
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]
    assert body["EnableIPv6"] is True
    assert "EnableIPv4" not in body


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--gateway 10.0.0.1", "every ip-range or gateway must have a corresponding subnet"),
        ("--subnet 10.0.0.0/8 --gateway 11.0.0.1", "no matching subnet for gateway 11.0.0.1"),
        ("--subnet 10.0.0.0/8 --subnet 10.1.0.0/16", "multiple overlapping subnet configuration"),
        ("--subnet nonsense", "invalid address"),
    ],
)
def test_network_create_refuses(
    engine: FakeEngine, capsys: Capture, words: str, message: str
) -> None:
    assert run(engine, "network", "create", *words.split(), "net") == 1
    assert message in capsys.readouterr().err
    assert engine.requests == []


def test_rmi(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["DELETE", "/images/a:1"] = document(
        [{"Untagged": "a:1"}, {"Deleted": "sha256:1"}]
    )
    assert run(engine, "rmi", "a:1", "b") == 1
    shown = capsys.readouterr()
    assert shown.out == "Untagged: a:1\nDeleted: sha256:1\n"
    assert run(engine, "rmi", "-f", "a:1", "b") == 0
    assert engine.requests[-2].query == {"force": "1"}


def test_tag(engine: FakeEngine) -> None:
    engine.answers["POST", "/images/a/tag"] = Reply(b"", 201)
    assert run(engine, "tag", "a", "localhost:5000/team/b") == 0
    assert engine.requests[0].query == {"repo": "localhost:5000/team/b", "tag": "latest"}


def test_pull(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["POST", "/images/create"] = _stream(
        {"status": "Pulling from library/alpine", "id": "latest"}, {"status": "Status: new"}
    )
    assert run(engine, "pull", "alpine") == 0
    assert capsys.readouterr().out == (
        "Using default tag: latest\n"
        "latest: Pulling from library/alpine\n"
        "Status: new\n"
        "docker.io/library/alpine:latest\n"
    )
    assert engine.requests[0].query == {"fromImage": "alpine", "tag": "latest"}
    assert run(engine, "pull", "-q", "ghcr.io/x/y@sha256:1") == 0
    assert capsys.readouterr().out == "ghcr.io/x/y@sha256:1\n"
    assert engine.requests[1].query == {"fromImage": "ghcr.io/x/y", "tag": "sha256:1"}


def test_pull_fails_with_the_streams_error(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["POST", "/images/create"] = _stream({"errorDetail": {"message": "denied"}})
    assert run(engine, "pull", "-q", "alpine") == 1
    assert capsys.readouterr() == ("", "denied\n")


def test_what_the_engine_has_not_says_so(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["POST", "/images/x/push"] = problem(501, "image push is not implemented")
    assert run(engine, "push", "x:1") == 1
    assert capsys.readouterr().err == "Error response from daemon: image push is not implemented\n"


def test_import_and_load(engine: FakeEngine, capsys: Capture, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(b"tar" * 100000)
    engine.answers["POST", "/images/create"] = _stream({"status": "sha256:9"})
    assert (
        run(engine, "import", "-c", "CMD sh", "-c", "ENV a=b", "-m", "hi", str(archive), "a:1") == 0
    )
    assert capsys.readouterr().out == "sha256:9\n"
    request = engine.requests[0]
    assert request.body == archive.read_bytes()
    assert request.query["fromSrc"] == "-"
    assert (request.query["repo"], request.query["tag"]) == ("a", "1")
    engine.answers["POST", "/images/load"] = _stream({"stream": "Loaded image: a:1\n"})
    assert run(engine, "load", "-i", str(archive)) == 0
    assert capsys.readouterr().out == "Loaded image: a:1\n"
    assert run(engine, "load", "-i", "/nowhere") == 1
    assert capsys.readouterr().err == "open /nowhere: no such file or directory\n"


def test_save_is_whole_or_not_at_all(engine: FakeEngine, tmp_path: Path) -> None:
    target = tmp_path / "out" / "x.tar"
    target.parent.mkdir()
    engine.answers["GET", "/images/get"] = Reply(b"tar", 200, "application/x-tar")
    assert run(engine, "save", "-o", str(target), "a", "b") == 0
    assert target.read_bytes() == b"tar"
    engine.answers["GET", "/images/get"] = problem(501, "image save is not implemented")
    assert run(engine, "save", "-o", str(target.parent / "y.tar"), "a") == 1
    assert list(target.parent.iterdir()) == [target]


def test_prune_asks_first(
    engine: FakeEngine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {"ContainersDeleted": ["a", "b"], "SpaceReclaimed": 1500}
    engine.answers["POST", "/containers/prune"] = document(report)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(engine, "container", "prune") == 1
    assert engine.requests == []
    question = (
        "WARNING! This will remove all stopped containers.\n"
        "Are you sure you want to continue? [y/N] "
    )
    assert capsys.readouterr() == (question, "container prune has been cancelled\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("Y\n"))
    assert run(engine, "container", "prune", "--filter", "until=1h") == 0
    assert capsys.readouterr().out == (
        question + "Deleted Containers:\na\nb\n\nTotal reclaimed space: 1.5kB\n"
    )
    assert json.loads(engine.requests[0].query["filters"]) == {"until": {"1h": True}}


def test_system_prune(engine: FakeEngine, capsys: Capture) -> None:
    engine.answers["POST", "/containers/prune"] = document({"ContainersDeleted": None})
    engine.answers["POST", "/networks/prune"] = document({"NetworksDeleted": ["n"]})
    engine.answers["POST", "/volumes/prune"] = document({"VolumesDeleted": [], "SpaceReclaimed": 0})
    images = {"ImagesDeleted": [{"Untagged": "a:1"}, {"Deleted": "sha256:1"}], "SpaceReclaimed": 5}
    engine.answers["POST", "/images/prune"] = document(images)
    assert run(engine, "system", "prune", "-f", "-a", "--volumes") == 0
    assert capsys.readouterr().out == (
        "Deleted Networks:\nn\n\n"
        "Deleted Images:\nuntagged: a:1\ndeleted: sha256:1\n\n"
        "Total reclaimed space: 5B\n"
    )


def test_formats_of_the_configuration(engine: FakeEngine, capsys: Capture) -> None:
    formats = {"psFormat": "{{.Names}}", "imagesFormat": "{{.ID}}", "volumesFormat": "{{.Driver}}"}
    (engine.socket.parent / "config.json").write_text(json.dumps(formats))
    run(engine, "ps")
    run(engine, "volume", "ls")
    assert capsys.readouterr().out == "web\nnfs\nlocal\n"
    run(engine, "ps", "-q")
    assert capsys.readouterr().out == "4f1e5b0c9d8a\n"


def test_credentials_of_the_configuration() -> None:
    from barque.cli.credentials import find_credentials

    def known(config: dict[str, object], host: str) -> object:
        return json.loads(base64.urlsafe_b64decode(find_credentials(config, host)))

    auth = base64.b64encode(b"me:pa:ss").decode()
    config: dict[str, object] = {
        "auths": {
            "https://index.docker.io/v1/": {"auth": auth},
            "ghcr.io": {"identitytoken": "t"},
            "broken.io": {"auth": "%%%"},
        },
        "credHelpers": {"helped.io": "there-is-no-such-helper"},
    }
    assert known(config, "docker.io") == {"username": "me", "password": "pa:ss"}
    assert known(config, "ghcr.io") == {"identitytoken": "t"}
    for host in ("broken.io", "helped.io", "unknown.io"):
        assert known(config, host) == {}


def test_logs_of_both_streams(
    engine: FakeEngine, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(engine, "logs", "web") == 0
    assert capfdbinary.readouterr() == (b"out one\n\xff\xfebinary\nno newline", b"err one\n")


def test_stats_of_a_container_that_is_not_there(engine: FakeEngine, capsys: Capture) -> None:
    assert run(engine, "stats", "--no-stream", "nope", "web") == 1
    assert capsys.readouterr().err == "Error response from daemon: No such container: nope\n"


def test_bootstrap_busybox(engine: FakeEngine, capsys: Capture) -> None:
    if not Path("/bin/busybox").exists():
        pytest.skip("needs /bin/busybox of the package busybox-static")
    engine.answers["POST", "/images/create"] = _stream({"status": "sha256:b"})
    engine.answers["POST", "/images/b:1/tag"] = Reply(b"", 201)
    assert run(engine, "bootstrap", "busybox", "-t", "b:1", "-t", "b") == 0
    assert capsys.readouterr().out == "sha256:b\nCreated image: b:1\nCreated image: b\n"
    create, tag = engine.requests
    assert create.query["changes"] == 'CMD ["sh"]'
    assert (create.query["repo"], create.query["tag"]) == ("b", "1")
    assert b"bin/busybox" in create.body
    assert tag.query == {"repo": "b", "tag": "latest"}
    assert run(engine, "bootstrap", "gentoo") == 1
    assert "choose busybox, debian or debian:SUITE" in capsys.readouterr().err
