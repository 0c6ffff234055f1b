"""The command line of ``barque-runtime``: runc's, flag by flag. Source: runc(8) and its pages."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from barque.errors import InvalidArgument

DEFAULT_ROOT = "/run/barque-runtime"
ABSENT = ("checkpoint", "restore")
"""Commands of runc's that are known to be missing."""


class _Parser(argparse.ArgumentParser):
    def _get_formatter(self) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(self.prog, width=100)  # asking the terminal loads a lot

    def error(self, message: str) -> None:  # type: ignore[override]
        raise InvalidArgument(f"{message}: see {self.prog} --help")


def build_parser(words: list[str]) -> argparse.ArgumentParser:
    """The parser for a command line; ``command`` names the command that was given.

    It knows the commands that are among the ``words``; all of them where there are none.
    """
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
    for name in [name for name in _COMMANDS if name in words] or _COMMANDS:
        text, fill = _COMMANDS[name]
        fill(commands.add_parser(name, help=text))
    for name in ABSENT:  # whatever options they are given, --help among them, they are refused
        absent = commands.add_parser(name, prefix_chars="\0", add_help=False)
        absent.add_argument("words", nargs="*")
    return parser


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_creation(parser)
    parser.add_argument("-d", "--detach", action="store_true")
    parser.add_argument("--keep", action="store_true", help="do not delete it when it ends")
    parser.add_argument("--no-subreaper", action="store_true")


def _add_kill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("signal", nargs="?", default="SIGTERM")
    parser.add_argument("-a", "--all", action="store_true")


def _add_delete(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("-f", "--force", action="store_true")


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--format", default="table", choices=("table", "json"))
    parser.add_argument("-q", "--quiet", action="store_true")


def _add_ps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--format", default="table", choices=("table", "json"))
    parser.add_argument("id")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


def _add_events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("--interval", default=5.0, type=parse_duration, help="such as 1m30s")
    parser.add_argument("--stats", action="store_true")


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-b", "--bundle", default=".")


def _add_nothing(_parser: argparse.ArgumentParser) -> None:
    """For a command without arguments."""


def _add_creation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("-b", "--bundle", default=".")
    parser.add_argument("--console-socket", default="")
    parser.add_argument("--pid-file", default="")
    parser.add_argument("--no-pivot", action="store_true")
    parser.add_argument("--no-new-keyring", action="store_true")
    parser.add_argument("--preserve-fds", type=int, default=0)


def _add_exec(parser: argparse.ArgumentParser) -> None:
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


def _add_update(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-r", "--resources", default="", help="a file, or - for standard input")
    for flag in (
        *("--blkio-weight", "--cpu-period", "--cpu-quota", "--cpu-burst", "--cpu-rt-period"),
        *("--cpu-rt-runtime", "--cpu-share", "--cpu-idle", "--memory", "--memory-reservation"),
        *("--memory-swap", "--pids-limit"),
    ):
        parser.add_argument(flag, type=parse_size if "memory" in flag else int)
    parser.add_argument("--cpuset-cpus", default="")
    parser.add_argument("--cpuset-mems", default="")
    parser.add_argument("--l3-cache-schema", default="", help="such as L3:0=f0;1=f")
    parser.add_argument("--mem-bw-schema", default="", help="such as MB:0=20;1=70")
    parser.add_argument("id")


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "create": ("create a container", _add_creation),
    "run": ("create and start a container", _add_run),
    "start": ("run the program of a created container", _add_id),
    "state": ("print the state of a container", _add_id),
    "kill": ("send a signal to a container", _add_kill),
    "delete": ("remove a container", _add_delete),
    "pause": ("freeze all processes of a container", _add_id),
    "resume": ("let the processes of a container go on", _add_id),
    "exec": ("run a further process in a container", _add_exec),
    "list": ("list containers", _add_list),
    "ps": ("list the processes of a container", _add_ps),
    "update": ("change the limits of a container", _add_update),
    "events": ("print resource usage and out-of-memory events", _add_events),
    "spec": ("write a config.json to begin with", _add_spec),
    "features": ("print what this runtime can do", _add_nothing),
}
"""What each is for, and what adds its arguments."""


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
    """Bytes: a number with k, m, g or t behind it, or -1. Raises InvalidArgument."""
    units = {"k": 10, "m": 20, "g": 30, "t": 40}
    word = text.lower().removesuffix("b").removesuffix("i")
    shift = units.get(word[-1:], 0)
    try:
        return int(word[:-1] if shift else word) << shift
    except ValueError:
        raise InvalidArgument(f"{text!r} is not a size such as 64m, 1g or -1") from None
