"""The program as a whole: what it says, on which stream, with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from barque.cli.command import Flag
from barque.cli.main import main
from barque.cli.registry import COMMANDS, GROUPS, HIDDEN, find_command, names_of
from barque.cli.values import KINDS
from support.fake_daemon import CONTAINER_ID, FakeDaemon, Reply

Capture = pytest.CaptureFixture[str]
DOCKER = os.environ.get("BARQUE_TEST_DOCKER", "/usr/local/bin/docker")


def _gone(name: str) -> Reply:
    return Reply(404, {"message": f"No such container: {name}"})


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "docker.sock") as daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("BARQUE_HOST", raising=False)
        yield daemon


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("nope", 1, "", "barque: unknown command: barque nope\n\nRun 'barque --help' for"),
        (
            "container nope",
            1,
            "",
            (
                "barque: unknown command: barque container nope\n\nUsage:  barque container\n\n"
                "Run 'barque container --help' for more information\n"
            ),
        ),
        ("container", 0, "", "Usage:  barque container COMMAND\n\nManage containers\n"),
        ("container --help", 0, "Usage:  barque container COMMAND\n", ""),
        ("container nope --help", 0, "Usage:  barque container COMMAND\n", ""),
        ("", 0, "", "Usage:  barque [OPTIONS] COMMAND\n"),
        ("--help", 0, "Usage:  barque [OPTIONS] COMMAND\n", ""),
        ("help", 0, "Usage:  barque [OPTIONS] COMMAND\n", ""),
        ("help ps", 0, "Usage:  barque ps [OPTIONS]\n\nList containers\n", ""),
        ("help container list", 0, "Usage:  barque container ls [OPTIONS]\n", ""),
        ("help nope", 1, "", "unknown help topic: nope\n"),
        ("ps -h", 0, "Flag shorthand -h has been deprecated, use --help\nUsage:  barque ps", ""),
        ("--version", 0, "Barque version ", ""),
        ("-v nope", 0, "Barque version ", ""),
        (
            "--foo",
            125,
            "",
            (
                "unknown flag: --foo\n\nUsage:  barque [OPTIONS] COMMAND [ARG...]\n\n"
                "Run 'barque --help' for more information\n"
            ),
        ),
        (
            "ps --foo",
            125,
            "",
            (
                "unknown flag: --foo\n\nUsage:  barque ps [OPTIONS]\n\n"
                "Run 'barque ps --help' for more information\n"
            ),
        ),
        (
            "container run -m 1x x",
            125,
            "",
            (
                'invalid argument "1x" for "-m, --memory" flag: invalid suffix: \'x\'\n\n'
                "Usage:  barque container run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n"
                "Run 'barque container run --help' for more information\n"
            ),
        ),
        (
            "exec a",
            1,
            "",
            (
                "barque: 'barque exec' requires at least 2 arguments\n\n"
                "Usage:  barque exec [OPTIONS] CONTAINER COMMAND [ARG...]\n\n"
                "See 'barque exec --help' for more information\n"
            ),
        ),
        ("stop", 1, "", "barque: 'barque stop' requires at least 1 argument\n"),
        ("rename a b c", 1, "", "barque: 'barque rename' requires 2 arguments\n"),
        ("ps x", 1, "", "barque: 'barque ps' accepts no arguments\n"),
        (
            "port a b c",
            1,
            "",
            "barque: 'barque port' requires at least 1 and at most 2 arguments\n",
        ),
        ("swarm init", 1, "", "barque: 'barque swarm' is not part of this version of barque\n"),
        ("-l foo ps", 1, "", "Unable to parse logging level: foo\n"),
        ("-H a -H b ps", 1, "", "unable to resolve docker endpoint: specify only one -H\n"),
        ("-H unix:///nope/x ps", 1, "", "Cannot connect to the barque engine at unix:///nope/x."),
        (
            "-H unix:///nope/x run a",
            125,
            "",
            (
                "barque: Cannot connect to the barque engine at unix:///nope/x. Is it running? "
                "Start it with: barqued\n\nRun 'barque run --help' for more information\n"
            ),
        ),
        ("run -it x", 1, "", "the input device is not a TTY\n"),
        ("run -d -a stdin x", 1, "", "conflicting options: cannot specify both --attach and"),
        (
            "create --pull foo x",
            125,
            "",
            (
                'barque: invalid pull option: \'foo\': must be one of "always", "missing" or '
                "\"never\"\n\nRun 'barque create --help' for more information\n"
            ),
        ),
        (
            "run --restart always --rm x",
            125,
            "",
            "barque: conflicting options: cannot specify both --restart and --rm\n",
        ),
        ("run -p 99999:1 x", 125, "", "barque: invalid hostPort: 99999\n"),
        ("run --env-file /nope x", 125, "", "barque: open /nope: no such file or directory\n"),
        ("run --detach-keys foo x", 1, "", "invalid detach keys (foo): "),
        ("create x", 0, f"{CONTAINER_ID}\n", ""),
        ("run -d x", 0, f"{CONTAINER_ID}\n", ""),
        ("stop b", 0, "b\n", ""),
        ("stop a b c", 1, "b\nc\n", "Error response from daemon: No such container: a\n"),
        ("rm a b", 1, "b\n", "Error response from daemon: No such container: a\n"),
        ("rm -f a b", 0, "b\n", "Error response from daemon: No such container: a\n"),
        ("rm /b", 0, "/b\n", ""),
        (
            "start a b",
            1,
            "b\n",
            (
                "Error response from daemon: No such container: a\n"
                "Error: failed to start containers: a\n"
            ),
        ),
        ("start -a a b", 1, "", "you cannot start and attach multiple containers at once\n"),
        ("wait a b", 1, "0\n", "Error response from daemon: No such container: a\n"),
        ("rename b c", 0, "", ""),
        (
            "rename a b",
            1,
            "",
            (
                "Error response from daemon: No such container: a\n"
                "Error: failed to rename container named a\n"
            ),
        ),
        ("update b", 1, "", "you must provide one or more flags when using this command\n"),
        ("update -m 10m b", 0, "b\nslow\n", ""),
        ("commit b", 0, "sha256:" + "a" * 64 + "\n", ""),
        ("export b", 0, "tar", ""),
        ("cp b:/x -", 0, "tar", ""),
        ("cp b c", 1, "", "must specify at least one container source\n"),
        ("cp b:/x c:/x", 1, "", "copying between containers is not supported\n"),
        ("cp ./nothing b:/x", 1, "", "lstat ./nothing: no such file or directory\n"),
        ("cp b:/x /no/such/place", 1, "", "lstat /no/such: no such file or directory\n"),
    ],
)
def test_answers(
    daemon: FakeDaemon, capfd: Capture, line: str, code: int, out: str, err: str
) -> None:
    for operation in ("stop", "start", "wait", "rename", "update"):
        daemon.replies[f"POST /containers/a/{operation}"] = _gone("a")
    daemon.replies["DELETE /containers/a"] = _gone("a")
    daemon.replies["POST /containers/b/update"] = Reply(200, {"Warnings": ["slow"]})
    daemon.replies["GET /containers/b/export"] = Reply(200, b"tar")
    daemon.replies["GET /containers/b/archive"] = Reply(200, b"tar")
    assert main(line.split()) == code
    said = capfd.readouterr()
    assert said.out.startswith(out)
    assert said.err.startswith(err)
    assert bool(said.out) == bool(out)
    assert bool(said.err) == bool(err)


def test_a_missing_image_is_pulled(daemon: FakeDaemon, capfd: Capture) -> None:
    missing = Reply(404, {"message": "No such image: x:latest"})
    daemon.replies["POST /containers/create"] = [missing]
    daemon.replies["POST /images/create"] = Reply(200, {"status": "Pull complete"})
    assert main(["run", "-d", "--platform", "linux/arm64", "x"]) == 0
    said = capfd.readouterr()
    assert said.out == f"{CONTAINER_ID}\n"
    assert said.err.startswith("Unable to find image 'x:latest' locally\n")
    (pull,) = daemon.sent("POST", "/images/create")
    assert (pull.query["tag"], pull.query["platform"]) == ("latest", "linux/arm64")
    assert len(daemon.sent("POST", "/containers/create")) == 2


@pytest.mark.parametrize(("command", "code"), [("run", 125), ("create", 1)])
def test_an_image_that_cannot_be_pulled(
    daemon: FakeDaemon, capfd: Capture, command: str, code: int
) -> None:
    daemon.replies["POST /containers/create"] = Reply(404, {"message": "No such image: x:1"})
    daemon.replies["POST /images/create"] = Reply(501, {"message": "no pull here"})
    assert main([command, "-q", "x:1"]) == code
    assert "Error response from daemon: no pull here\n" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("exec /x: no such file or directory", 127),
        ("exec /x: permission denied", 126),
        ("exec /x: is a directory", 126),
        ("out of luck", 125),
    ],
)
def test_exit_codes_of_run(daemon: FakeDaemon, message: str, code: int) -> None:
    daemon.replies[f"POST /containers/{CONTAINER_ID}/start"] = Reply(500, {"message": message})
    assert main(["run", "-d", "x"]) == code


def test_the_id_goes_to_a_file(daemon: FakeDaemon, tmp_path: Path, capfd: Capture) -> None:
    path = tmp_path / "id"
    assert main(["create", "--cidfile", str(path), "x"]) == 0
    assert path.read_text() == CONTAINER_ID
    assert main(["run", "-d", "--cidfile", str(path), "x"]) == 125
    assert "container ID file found" in capfd.readouterr().err
    assert len(daemon.requests) == 1


def test_no_file_without_a_container(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.replies["POST /containers/create"] = Reply(409, {"message": "taken"})
    assert main(["create", "--cidfile", str(tmp_path / "id"), "x"]) == 1
    assert not (tmp_path / "id").exists()


def test_an_archive_appears_when_it_is_whole(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.replies["GET /containers/b/export"] = Reply(200, b"tar")
    assert main(["export", "-o", str(tmp_path / "out"), "b"]) == 0
    assert (tmp_path / "out").read_bytes() == b"tar"
    assert main(["export", "-o", str(tmp_path / "other"), "gone"]) == 1
    assert [entry.name for entry in tmp_path.iterdir() if "o" in entry.name[:2]] != ["other"]
    assert not list(tmp_path.glob("*.partial"))


def test_proxies_of_the_configuration(daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(
        '{"proxies": {"default": {"httpProxy": "http://p", "noProxy": "n"}}, '
        '"HttpHeaders": {"X-Mine": "yes"}}'
    )
    assert main(["create", "-e", "HTTP_PROXY=mine", "x"]) == 0
    request = daemon.requests[0]
    assert sorted(request.body["Env"]) == [
        "HTTP_PROXY=mine",
        "NO_PROXY=n",
        "http_proxy=http://p",
        "no_proxy=n",
    ]
    assert request.headers["x-mine"] == "yes"


def test_nobody_reads_the_output(daemon: FakeDaemon) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "barque", "ps"],
        stdout=write,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (141, b"")
    assert daemon.requests


FORBIDDEN = (
    "argparse asyncio collections contextlib dataclasses datetime decimal email enum functools "
    "http inspect ipaddress json logging msgspec pathlib re rich shutil signal socket ssl "
    "subprocess tempfile threading types typing urllib warnings aiohttp"
).split()


@pytest.mark.parametrize("words", [["ps"], ["run", "-d", "x"], ["stop", "x"], ["exec", "x", "y"]])
def test_a_command_loads_only_what_it_needs(daemon: FakeDaemon, words: list[str]) -> None:
    """What these modules cost at the start is more than the rest of the command."""
    program = (
        f"import sys; sys.path = {sys.path!r}\n"
        "before = set(sys.modules)\n"
        "from barque.cli.main import main\n"
        f"code = main({words!r})\n"
        "sys.stderr.write(' '.join(set(sys.modules) - before))\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        env={"DOCKER_HOST": daemon.url, "HOME": "/nonexistent"},
        check=True,
    )
    loaded = set(done.stderr.split())
    assert not loaded & set(FORBIDDEN)
    assert "barque.cli.main" in loaded


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help(path: str, capfd: Capture) -> None:
    for name in names_of(path):
        assert main([*name.split(), "--help"]) == 0
        text = capfd.readouterr().out
        assert text.startswith("Usage:  barque ")
        assert COMMANDS[path][2].split("\n")[0] in text or find_command(path).description in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_help_fits_the_terminal(
    width: int, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barque.cli.help._terminal_width", lambda: width)
    main(["run", "--help"])
    text = capfd.readouterr().out
    lines = text[text.index("Options:") :].splitlines()
    if width >= 80:
        assert max(len(line) for line in lines) < width + 6


def test_groups_list_their_commands(capfd: Capture) -> None:
    for group in GROUPS:
        main([group, "--help"])
        text = capfd.readouterr().out
        for path in COMMANDS:
            if path.startswith(f"{group} "):
                assert (f"\n  {path.split()[1]} " in text) == (path not in HIDDEN)


OWN = {"bootstrap", "completion", "registry serve", "system dial-stdio"}
NOT_HERE = {
    "image ls": {"tree"},  # images of several platforms
    "volume ls": {"cluster"},  # swarm's volumes
    "volume create": {
        "availability",
        "group",
        "limit-bytes",
        "required-bytes",
        "scope",
        "secret",
        "sharing",
        "topology-preferred",
        "topology-required",
        "type",
    },
}


def _docker_flags(path: str) -> dict[str, tuple[str, str]]:
    """Long name: (short name, kind) as docker's help shows them."""
    done = subprocess.run(
        [DOCKER, *path.split(), "--help"], capture_output=True, text=True, check=True
    )
    _, _, options = done.stdout.partition("Options:\n")
    found: dict[str, tuple[str, str]] = {}
    for line in options.splitlines():
        if not line.startswith(("  -", "      --")):
            continue
        head = line.strip().split("   ")[0]
        short = head[1] if head[1] != "-" else ""
        name, _, kind = head[head.index("--") + 2 :].partition(" ")
        found[name] = (short, kind.split("  ")[0])
    found.pop("help", None)
    return found


@pytest.mark.skipif(not Path(DOCKER).exists(), reason=f"needs docker's CLI 28 at {DOCKER}")
@pytest.mark.parametrize("path", sorted(set(COMMANDS) - OWN))
def test_flags_are_docker_s(path: str) -> None:
    def shown(flag: Flag) -> str:
        return flag.shown or KINDS[flag.kind].shown

    ours = {flag.name: (flag.short, shown(flag)) for flag in find_command(path).flags}
    theirs = _docker_flags(path)
    different = {name for name, value in theirs.items() if ours.get(name) != value}
    assert different == NOT_HERE.get(path, set())
