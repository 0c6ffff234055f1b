"""Options and arguments of one command line, with the semantics of Go's pflag.

``--flag v``, ``--flag=v``, ``-f v``, ``-fv``, ``-f=v``, bundled short booleans (``-it``,
``-dp 80:80``). A boolean takes a value only after ``=``. ``--`` ends the options. For
commands that run a program options end at the first positional argument.

Source: https://pkg.go.dev/github.com/spf13/pflag and cli.md section 1. Messages are
pflag's, because scripts and people know them.
"""

from __future__ import annotations

from barque.cli.command import CommandError, Flag, Flags
from barque.cli.values import KINDS
from barque.errors import BarqueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from barque.cli.values import Kind

USAGE_CODE = 125


class UsageError(CommandError):
    """An option that does not exist or has an impossible value: exit code 125."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE_CODE)


class HelpWanted(CommandError):
    """``--help`` or ``-h`` stood among the options. ``short`` is True for ``-h``."""

    def __init__(self, *, short: bool) -> None:
        super().__init__("", 0)
        self.short = short


class Parsed:
    """What a command line holds: option values, positional arguments, what follows them.

    ``dash_at`` is the number of positional arguments before ``--``, -1 if there was none.
    """

    __slots__ = ("args", "dash_at", "flags")

    def __init__(self, flags: Flags, args: list[str], dash_at: int) -> None:
        self.flags = flags
        self.args = args
        self.dash_at = dash_at


def parse(flags: Sequence[Flag], words: Sequence[str], *, interspersed: bool = True) -> Parsed:
    """Read ``words`` as options of ``flags`` and positional arguments.

    Raises :class:`UsageError` with pflag's text, or :class:`HelpWanted`.
    """
    return _Parser(flags).run(words, interspersed=interspersed)


class _Parser:
    def __init__(self, flags: Sequence[Flag]) -> None:
        self._by_name = {flag.name: flag for flag in flags}
        self._by_short = {flag.short: flag for flag in flags if flag.short}
        self._values: dict[str, Any] = {}
        for flag in flags:
            if not flag.target:
                kind = KINDS[flag.kind]
                default = flag.default
                self._values[flag.name] = kind.zero() if default is None else default
        self._changed: set[str] = set()

    def run(self, words: Sequence[str], *, interspersed: bool) -> Parsed:
        args: list[str] = []
        dash_at = -1
        rest = iter(words)
        for word in rest:
            if word == "--":
                dash_at = len(args)
                args.extend(rest)
            elif word.startswith("--"):
                self._long(word, rest)
            elif word.startswith("-") and len(word) > 1:
                self._shorts(word, rest)
            else:
                args.append(word)
                if not interspersed:
                    args.extend(rest)
        return Parsed(Flags(self._values, self._changed), args, dash_at)

    def _long(self, word: str, rest: Iterator[str]) -> None:
        name, equals, text = word[2:].partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {word}")
        flag = self._by_name.get(name)
        if flag is None:
            if name == "help":
                raise HelpWanted(short=False)
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if flag.kind == "bool":
                text = "true"
            else:
                following = next(rest, None)
                if following is None:
                    raise UsageError(f"flag needs an argument: --{name}")
                text = following
        self._set(flag, text)

    def _shorts(self, word: str, rest: Iterator[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self._by_short.get(letter)
            if flag is None:
                if letter == "h":
                    raise HelpWanted(short=True)
                raise UsageError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
            if letters.startswith("=") and len(letters) > 1:
                self._set(flag, letters[1:])
                return
            if flag.kind == "bool":
                self._set(flag, "true")
                continue
            if letters:
                self._set(flag, letters)
                return
            following = next(rest, None)
            if following is None:
                raise UsageError(f"flag needs an argument: '{letter}' in {word}")
            self._set(flag, following)

    def _set(self, flag: Flag, text: str) -> None:
        name = flag.target or flag.name
        kind: Kind = KINDS[flag.kind]
        try:
            value = kind.parse(text)
            if flag.check and isinstance(value, list):
                value = [flag.check(item) for item in value]
            elif flag.check:
                value = flag.check(value)
            if kind.add is None:
                self._values[name] = value
            else:
                if name not in self._changed:
                    self._values[name] = kind.zero()
                kind.add(self._values[name], value)
        except BarqueError as error:
            option = f"-{flag.short}, --{flag.name}" if flag.short else f"--{flag.name}"
            shown = _go_quote(text)
            raise UsageError(f'invalid argument {shown} for "{option}" flag: {error}') from error
        self._changed.add(name)


def _go_quote(text: str) -> str:
    """``text`` as Go's ``%q`` shows it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'
