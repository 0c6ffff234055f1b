"""Help and usage texts, laid out as docker's. Imported only when one is shown."""

from __future__ import annotations

import os

from barque.cli.registry import COMMANDS, COMMON, GROUPS, HIDDEN, find_command, names_of
from barque.cli.values import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from barque.cli.command import Command, Flag

PROGRAM = "barque"
_DEFAULT_WIDTH = 80
_NARROWEST = 24
_SLOP = 5


def usage_line(command: Command, name: str) -> str:
    """``Usage:  barque run [OPTIONS] IMAGE ...``, further forms on lines of their own."""
    first, *others = command.usage.split("\n")
    lines = [f"Usage:  {PROGRAM} {name} {first}".rstrip()]
    lines.extend(f"\t{PROGRAM} {other}" for other in others)
    return "\n".join(lines)


def command_help(path: str, name: str) -> str:
    """The whole help of the command ``path``, called as ``name``."""
    command = find_command(path)
    parts = [usage_line(command, name), command.description or COMMANDS[path][2]]
    names = names_of(path)
    if len(names) > 1:
        parts.append("Aliases:\n  " + ", ".join(f"{PROGRAM} {other}" for other in names))
    flags = [flag for flag in command.flags if not flag.hidden]
    if flags:
        parts.append("Options:\n" + flag_lines(flags))
    return "\n\n".join(parts) + "\n"


def group_help(group: str) -> str:
    """The commands of ``container``, ``image`` and so on."""
    rows = [
        (path.partition(" ")[2], row[2])
        for path, row in COMMANDS.items()
        if path.startswith(f"{group} ") and path not in HIDDEN
    ]
    return (
        f"Usage:  {PROGRAM} {group} COMMAND\n\n{GROUPS[group]}\n\n"
        f"Commands:\n{_columns(sorted(rows))}\n"
        f"Run '{PROGRAM} {group} COMMAND --help' for more information on a command.\n"
    )


def program_help(flags: Sequence[Flag]) -> str:
    """What ``barque --help`` shows; ``flags`` are the global options."""
    short: dict[str, str] = {}
    for path, row in COMMANDS.items():
        for name in names_of(path):
            if " " not in name and path not in HIDDEN:
                short[name] = row[2]
    common = [(name, short.pop(name)) for name in COMMON]
    return (
        f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n\n"
        "A self-sufficient runtime for containers\n\n"
        f"Common Commands:\n{_columns(common)}\n"
        f"Management Commands:\n{_columns(sorted(GROUPS.items()))}\n"
        f"Commands:\n{_columns(sorted(short.items()))}\n"
        f"Global Options:\n{flag_lines(flags)}\n\n"
        f"Run '{PROGRAM} COMMAND --help' for more information on a command.\n"
    )


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"  {name:<11} {summary}\n" for name, summary in rows)


def flag_lines(flags: Sequence[Flag]) -> str:
    """The options, one or more lines each, wrapped to the terminal's width."""
    width = _terminal_width() - 1
    heads = [(_head(flag), flag) for flag in sorted(flags, key=lambda flag: flag.name)]
    column = max(len(head) for head, _ in heads) + 3
    return "\n".join(
        f"{head:<{column}}{_wrap(column, width, _with_default(flag))}" for head, flag in heads
    )


def _head(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    shown = flag.shown or KINDS[flag.kind].shown
    return f"  {short}--{flag.name} {shown}".rstrip()


def _with_default(flag: Flag) -> str:
    match flag.default:
        case None | False | "" | 0:
            return flag.usage
        case True:
            return f"{flag.usage} (default true)"
        case str():
            return f'{flag.usage} (default "{flag.default}")'
        case _:
            return f"{flag.usage} (default {flag.default})"


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(0).columns or _DEFAULT_WIDTH
    except OSError:
        return _DEFAULT_WIDTH


def _wrap(indent: int, width: int, text: str) -> str:
    """``text`` broken into lines as pflag does; a line may be 5 longer if it is the last."""
    room = width - indent
    margin = "\n" + " " * indent
    first = ""
    if room < _NARROWEST:
        indent = 16
        room = width - indent
        margin = first = "\n" + " " * indent
    if room < _NARROWEST:
        return text.replace("\n", margin)
    room -= _SLOP
    lines: list[str] = []
    while text:
        line, text = _first_line(room, text)
        lines.append(line.replace("\n", margin))
    return first + margin.join(lines)


def _first_line(room: int, text: str) -> tuple[str, str]:
    if len(text) <= room + _SLOP:
        return text, ""
    head = text[:room]
    blank = max(head.rfind(" "), head.rfind("\t"), head.rfind("\n"))
    if blank <= 0:
        return text, ""
    line_end = head.rfind("\n")
    if 0 < line_end < blank:
        blank = line_end
    return text[:blank], text[blank + 1 :]
