"""The command line of ``barque-runtime``: runc's, flag by flag. Source: runc(8) and its pages."""

from __future__ import annotations

import argparse
import re

from barque.errors import InvalidArgument

DEFAULT_ROOT = "/run/barque-runtime"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise InvalidArgument(f"{message}: see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``command`` names the one that was given."""
    parser = _Parser(prog="barque-runtime", description="an OCI runtime in Python")
    parser.add_argument("--root", default=DEFAULT_ROOT, help="directory of the containers' state")
    parser.add_argument("--log", default="", help="file that errors are written to")
    parser.add_argument("--log-format", default="text", choices=("text", "json"))
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--systemd-cgroup", action="store_true")
    parser.add_argument("--rootless", default="auto", choices=("true", "false", "auto"))
    parser.add_argument("--criu", default="", help=argparse.SUPPRESS)
    parser.add_argument("-v", "--version", action="store_true")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    create = commands.add_parser("create", help="create a container")
    _add_creation(create)
    run = commands.add_parser("run", help="create and start a container")
    _add_creation(run)
    run.add_argument("-d", "--detach", action="store_true")
    run.add_argument("--keep", action="store_true", help="do not delete it when it ends")
    run.add_argument("--no-subreaper", action="store_true")
    _add(commands, "start", "run the program of a created container")
    _add(commands, "state", "print the state of a container")
    kill = _add(commands, "kill", "send a signal to a container")
    kill.add_argument("signal", nargs="?", default="SIGTERM")
    kill.add_argument("-a", "--all", action="store_true")
    delete = _add(commands, "delete", "remove a container")
    delete.add_argument("-f", "--force", action="store_true")
    _add(commands, "pause", "freeze all processes of a container")
    _add(commands, "resume", "let the processes of a container go on")
    _add_exec(commands)
    listing = commands.add_parser("list", help="list containers")
    listing.add_argument("-f", "--format", default="table", choices=("table", "json"))
    listing.add_argument("-q", "--quiet", action="store_true")
    processes = commands.add_parser("ps", help="list the processes of a container")
    processes.add_argument("-f", "--format", default="table", choices=("table", "json"))
    processes.add_argument("id")
    processes.add_argument("arguments", nargs=argparse.REMAINDER)
    _add_update(commands)
    events = _add(commands, "events", "print resource usage and out-of-memory events")
    events.add_argument("--interval", default=5.0, type=parse_duration, help="such as 1m30s")
    events.add_argument("--stats", action="store_true")
    spec = commands.add_parser("spec", help="write a config.json to begin with")
    spec.add_argument("-b", "--bundle", default=".")
    commands.add_parser("features", help="print what this runtime can do")
    return parser


def _add(
    commands: argparse._SubParsersAction[_Parser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text)
    parser.add_argument("id")
    return parser


def _add_creation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("-b", "--bundle", default=".")
    parser.add_argument("--console-socket", default="")
    parser.add_argument("--pid-file", default="")
    parser.add_argument("--no-pivot", action="store_true")
    parser.add_argument("--no-new-keyring", action="store_true")
    parser.add_argument("--preserve-fds", type=int, default=0)


def _add_exec(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("exec", help="run a further process in a container")
    parser.add_argument("--console-socket", default="")
    parser.add_argument("--cwd", default="")
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("-t", "--tty", action="store_true")
    parser.add_argument("-u", "--user", default="")
    parser.add_argument("-g", "--additional-gids", type=int, action="append", default=[])
    parser.add_argument("-p", "--process", default="")
    parser.add_argument("-d", "--detach", action="store_true")
    parser.add_argument("--pid-file", default="")
    parser.add_argument("--process-label", default="")
    parser.add_argument("--apparmor", default="")
    parser.add_argument("--no-new-privs", action="store_true")
    parser.add_argument("-c", "--cap", action="append", default=[])
    parser.add_argument("--preserve-fds", type=int, default=0)
    parser.add_argument("--cgroup", default="")
    parser.add_argument("--ignore-paused", action="store_true")
    parser.add_argument("id")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


def _add_update(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("update", help="change the limits of a container")
    parser.add_argument("-r", "--resources", default="", help="a file, or - for standard input")
    for flag in (
        *("--blkio-weight", "--cpu-period", "--cpu-quota", "--cpu-burst", "--cpu-rt-period"),
        *("--cpu-rt-runtime", "--cpu-share", "--cpu-idle", "--memory", "--memory-reservation"),
        *("--memory-swap", "--pids-limit"),
    ):
        parser.add_argument(flag, type=parse_size if "memory" in flag else int)
    parser.add_argument("--cpuset-cpus", default="")
    parser.add_argument("--cpuset-mems", default="")
    parser.add_argument("id")


def parse_duration(text: str) -> float:
    """Seconds: Go's notation, such as ``1m30s`` or ``500ms``. Raises InvalidArgument unless > 0."""
    parts = re.findall(r"([0-9]*\.?[0-9]+)(ms|us|ns|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"{text!r} is not a duration such as 5s, 500ms or 1m30s")
    duration_s = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if duration_s <= 0:
        raise InvalidArgument("duration interval must be greater than 0")
    return duration_s


_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def parse_size(text: str) -> int:
    """Bytes: a number with k, m, g or t behind it, or -1."""
    units = {"k": 10, "m": 20, "g": 30, "t": 40}
    word = text.lower().removesuffix("b").removesuffix("i")
    shift = units.get(word[-1:], 0)
    return int(word[:-1] if shift else word) << shift
