"""How a command declares itself, and what its handler gets.

A command module, in full::

    from barque.cli.command import Command, Flag, Invocation

    def _stop(call: Invocation) -> int:
        for name in call.args:
            call.client.post(f"/containers/{name}/stop", query={"t": call.flags["timeout"]})
            print(name)
        return 0

    STOP = Command(
        "[OPTIONS] CONTAINER [CONTAINER...]",
        _stop,
        minimum=1,
        flags=(
            Flag("signal", "string", "Signal to send to the container", short="s"),
            Flag("timeout", "int", "Seconds to wait before killing the container", short="t"),
        ),
    )

and one row in :mod:`barque.cli.registry`. Flags are parsed by :mod:`barque.cli.parser`.
"""

from __future__ import annotations

from barque.errors import BarqueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from barque.client.http import Client
    from barque.client.settings import Settings

UNBOUNDED = -1


class CommandError(BarqueError):
    """A command failed: the message goes to stderr as it stands, ``code`` to the shell.

    An empty message prints nothing (the command has printed what there was to say).
    """

    def __init__(self, message: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Flag:
    """One option of a command.

    ``kind`` is one of the names in :data:`barque.cli.values.KINDS`; it decides how text
    becomes a value, whether the option may be repeated, and what help shows. Without
    ``default`` an option that was not given has the kind's zero value: False, "", 0, [] or
    {} (:meth:`Flags.changed` tells "not given" from "given as zero").

    ``check`` is called with each parsed value and returns the one to keep (for ``list``
    kinds: with each item); it raises :class:`BarqueError` to refuse it. ``target`` names the
    option whose value this one sets (``net`` sets ``network``). ``shown`` replaces the kind
    in help. ``hidden`` options work but are not listed.
    """

    __slots__ = (
        "check",
        "default",
        "hidden",
        "kind",
        "name",
        "short",
        "shown",
        "target",
        "usage",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        usage: str,
        *,
        short: str = "",
        default: Any = None,
        check: Callable[[Any], Any] | None = None,
        target: str = "",
        shown: str = "",
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.usage = usage
        self.short = short
        self.default = default
        self.check = check
        self.target = target
        self.shown = shown
        self.hidden = hidden


class Flags:
    """The values of a command's options, by long name: ``flags["no-trunc"]``."""

    __slots__ = ("_changed", "_values")

    def __init__(self, values: dict[str, Any], changed: set[str]) -> None:
        self._values = values
        self._changed = changed

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def changed(self, name: str) -> bool:
        """True if the option stood on the command line."""
        return name in self._changed


class Command:
    """What a command takes and which function carries it out.

    ``usage`` is what stands behind the name in its usage line: ``[OPTIONS] CONTAINER``.
    Further usage lines follow after a newline, each without the program's name.
    ``minimum`` and ``maximum`` bound the number of positional arguments (``UNBOUNDED``: no
    limit). With ``interspersed`` False options end at the first positional argument, as for
    run, create and exec. ``description`` replaces the registry's summary in its help.

    ``handler`` returns the exit code, and raises :class:`CommandError`,
    :class:`barque.client.errors.ClientError` or any other :class:`BarqueError`; main prints
    it. ``failure_code`` is the exit code of errors from the engine (run: 125).
    ``program_prefix``: errors are printed as ``barque: MESSAGE`` and followed by a pointer to
    ``--help``, as run does.
    """

    __slots__ = (
        "description",
        "failure_code",
        "flags",
        "handler",
        "interspersed",
        "maximum",
        "minimum",
        "program_prefix",
        "usage",
    )

    def __init__(
        self,
        usage: str,
        handler: Callable[[Invocation], int],
        *,
        flags: Sequence[Flag] = (),
        minimum: int = 0,
        maximum: int = UNBOUNDED,
        interspersed: bool = True,
        description: str = "",
        failure_code: int = 1,
        program_prefix: bool = False,
    ) -> None:
        self.usage = usage
        self.handler = handler
        self.flags = flags
        self.minimum = minimum
        self.maximum = maximum
        self.interspersed = interspersed
        self.description = description
        self.failure_code = failure_code
        self.program_prefix = program_prefix


class Invocation:
    """One call of a command: what the user typed, and the way to the engine.

    ``name`` is the command as the user called it, without the program (``ps``,
    ``container ls``). ``settings`` are the global options, the environment and the user's
    configuration file.
    """

    __slots__ = ("_client", "args", "command", "flags", "name", "settings")

    def __init__(
        self, command: Command, name: str, flags: Flags, args: list[str], settings: Settings
    ) -> None:
        self.command = command
        self.name = name
        self.flags = flags
        self.args = args
        self.settings = settings
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The engine's client: made at the first use, connected at its first request."""
        if self._client is None:
            self._client = self.settings.open_client()
        return self._client

    def close(self) -> None:
        """Close the connections that the command left open."""
        if self._client is not None:
            self._client.close()


def each(names: Sequence[str], action: Callable[[str], None]) -> int:
    """Call ``action`` for every name; print each error and go on; 1 if any failed.

    ``action`` prints what it has to print on success. (Source: cli.md "Multi-object
    commands".)
    """
    from barque.cli.report import print_error  # noqa: PLC0415 - only commands on many objects

    code = 0
    for name in names:
        try:
            action(name)
        except BarqueError as error:
            print_error(error)
            code = 1
    return code
