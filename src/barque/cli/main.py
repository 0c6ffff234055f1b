"""The program ``barque``: from the command line to an exit code.

A command of barque shall not take longer than docker's, which is a compiled program; most
of ours is the start of the interpreter. So everything that not every command needs is
imported where it is needed (``tests/unit/cli`` holds a list of what may not be loaded), and
the process ends without taking the interpreter apart.
"""

from __future__ import annotations

import os
import sys

from barque.cli.command import UNBOUNDED, Command, CommandError, Flag, Flags, Invocation
from barque.cli.parser import HelpWanted, UsageError, parse
from barque.cli.registry import ABSENT, GROUPS, find_command, find_path
from barque.client.settings import Settings
from barque.errors import BarqueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "barque"
_LEVELS = ("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace")
_PREFIX_FROM = 125
_INTERRUPTED = 130
_BROKEN_PIPE = 141

GLOBAL_FLAGS = (
    Flag("config", "string", "Location of client config files (default ~/.docker)"),
    Flag(
        "context",
        "string",
        "Name of the context to use to connect to the daemon (overrides BARQUE_HOST and "
        "DOCKER_HOST)",
        short="c",
    ),
    Flag("debug", "bool", "Enable debug mode", short="D"),
    Flag("host", "list", "Daemon socket to connect to", short="H"),
    Flag(
        "log-level",
        "string",
        'Set the logging level ("debug", "info", "warn", "error", "fatal")',
        short="l",
        default="info",
    ),
    Flag("tls", "bool", "Use TLS; implied by --tlsverify"),
    Flag("tlscacert", "string", "Trust certs signed only by this CA"),
    Flag("tlscert", "string", "Path to TLS certificate file"),
    Flag("tlskey", "string", "Path to TLS key file"),
    Flag("tlsverify", "bool", "Use TLS and verify the remote"),
    Flag("version", "bool", "Print version information and quit", short="v"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code.

    Without ``arguments`` it is the program itself: it takes them from ``sys.argv`` and does
    not return, but ends the process.
    """
    if arguments is not None:
        return _flush(_guarded(arguments))
    code = _flush(_guarded(sys.argv[1:]))
    # Nothing is left to be undone, and the kernel takes memory back faster than we do.
    os._exit(code)


def _flush(code: int) -> int:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        return _leave_pipe()
    except OSError as error:
        _complain(f"write to standard output: {error.strerror}")
        return code or 1
    return code


def _leave_pipe() -> int:
    """Nobody reads our output: be silent, as a program is that SIGPIPE ends."""
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)
    return _BROKEN_PIPE


def _guarded(words: Sequence[str]) -> int:
    try:
        return _dispatch(words)
    except CommandError as error:
        if str(error):
            _complain(str(error))
        return error.code
    except BarqueError as error:
        _complain(str(error))
        return 1
    except BrokenPipeError:
        return _leave_pipe()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        signum = getattr(error, "signum", 0)  # signals.Interrupted, not imported for this
        if signum:
            return 128 + int(signum)
        raise


def _complain(message: str) -> None:
    # What was printed so far comes first, also where both go to the same file.
    _flush(0)
    sys.stderr.write(message + "\n")


def _dispatch(words: Sequence[str]) -> int:
    try:
        options = parse(GLOBAL_FLAGS, words, interspersed=False)
    except HelpWanted:
        return _show_program_help(sys.stdout)
    except UsageError as error:
        raise UsageError(
            f"{error}\n\nUsage:  {PROGRAM} [OPTIONS] COMMAND [ARG...]\n\n"
            f"Run '{PROGRAM} --help' for more information"
        ) from error
    flags, rest = options.flags, options.args
    if flags["version"]:
        return _show_version()
    if flags["log-level"] not in _LEVELS:
        raise CommandError(f"Unable to parse logging level: {flags['log-level']}")
    if not rest:
        return _show_program_help(sys.stderr)
    if rest[0] == "help":
        return _help(rest[1:])
    return _run(_settings(flags), rest)


def _settings(flags: Flags) -> Settings:
    hosts = flags["host"]
    if len(hosts) > 1:
        raise CommandError("unable to resolve docker endpoint: specify only one -H")
    if hosts and flags["context"]:
        raise CommandError("conflicting options: cannot specify both --host and --context")
    names = ("tls", "tlscacert", "tlscert", "tlskey", "tlsverify")
    return Settings(
        os.environ,
        host=hosts[0] if hosts else "",
        context=flags["context"],
        config_dir=flags["config"],
        tls={name: flags[name] for name in names if flags.changed(name)},
        debug=flags["debug"],
    )


def _run(settings: Settings, words: list[str]) -> int:
    found = find_path(words)
    if found is None:
        return _no_command(words)
    path, name, used = found
    command = find_command(path)
    try:
        parsed = parse(command.flags, words[used:], interspersed=command.interspersed)
    except HelpWanted as wanted:
        if wanted.short:
            sys.stdout.write("Flag shorthand -h has been deprecated, use --help\n")
        return _show_command_help(path, name)
    except UsageError as error:
        raise UsageError(f"{error}\n\n{_usage(command, name)}") from error
    _check_count(command, name, len(parsed.args))
    call = Invocation(command, name, parsed.flags, parsed.args, settings)
    try:
        return command.handler(call)
    except CommandError as error:
        if not str(error):
            raise
        raise CommandError(_decorated(call, str(error), error.code), error.code) from error
    except BarqueError as error:
        code = command.failure_code
        raise CommandError(_decorated(call, str(error), code), code) from error
    finally:
        call.close()


def _decorated(call: Invocation, message: str, code: int) -> str:
    """A message of run or create: with the program's name, and where to read on."""
    if not call.command.program_prefix or code < _PREFIX_FROM or code > 127:
        return message
    return f"{PROGRAM}: {message}\n\nRun '{PROGRAM} {call.name} --help' for more information"


def _usage(command: Command, name: str, verb: str = "Run") -> str:
    from barque.cli.help import usage_line  # noqa: PLC0415 - only after a mistake

    return f"{usage_line(command, name)}\n\n{verb} '{PROGRAM} {name} --help' for more information"


def _check_count(command: Command, name: str, count: int) -> None:
    low, high = command.minimum, command.maximum
    if count >= low and (high == UNBOUNDED or count <= high):
        return
    verb = "Run"
    if high == 0:
        wanted = "accepts no arguments"
    elif high == UNBOUNDED:
        wanted = f"requires at least {low} {_plural(low)}"
        verb = "See"
    elif low == high:
        wanted = f"requires {low} {_plural(low)}"
    elif low == 0:
        wanted = f"requires at most {high} {_plural(high)}"
    else:
        wanted = f"requires at least {low} and at most {high} {_plural(high)}"
    raise CommandError(f"{PROGRAM}: '{PROGRAM} {name}' {wanted}\n\n{_usage(command, name, verb)}")


def _plural(count: int) -> str:
    return "argument" if count == 1 else "arguments"


def _no_command(words: list[str]) -> int:
    """Groups without a command, commands that do not exist (here, or at all)."""
    first = words[0]
    second = words[1] if len(words) > 1 else ""
    for name in (f"{first} {second}", first):
        if name in ABSENT:
            raise CommandError(
                f"{PROGRAM}: '{PROGRAM} {name}' is not part of this version of barque"
            )
    if first not in GROUPS:
        raise CommandError(
            f"{PROGRAM}: unknown command: {PROGRAM} {first}\n\n"
            f"Run '{PROGRAM} --help' for more information"
        )
    more = f"Usage:  {PROGRAM} {first}\n\nRun '{PROGRAM} {first} --help' for more information"
    try:
        parse((), words[1:])
    except HelpWanted:
        return _show_group_help(first, sys.stdout)
    except UsageError as error:
        raise UsageError(f"{error}\n\n{more}") from error
    if not second:
        return _show_group_help(first, sys.stderr)
    raise CommandError(f"{PROGRAM}: unknown command: {PROGRAM} {first} {second}\n\n{more}")


def _help(words: list[str]) -> int:
    if not words:
        return _show_program_help(sys.stdout)
    found = find_path(words)
    if found is not None and found[2] == len(words):
        return _show_command_help(found[0], found[1])
    if words[0] in GROUPS and len(words) == 1:
        return _show_group_help(words[0], sys.stdout)
    raise CommandError(f"unknown help topic: {words[-1]}")


def _show_command_help(path: str, name: str) -> int:
    from barque.cli.help import command_help  # noqa: PLC0415 - only when asked for

    sys.stdout.write(command_help(path, name))
    return 0


def _show_group_help(group: str, out: object) -> int:
    from barque.cli.help import group_help  # noqa: PLC0415 - only when asked for

    print(group_help(group), end="", file=out)  # type: ignore[call-overload]
    return 0


def _show_program_help(out: object) -> int:
    from barque.cli.help import program_help  # noqa: PLC0415 - only when asked for

    print(program_help(GLOBAL_FLAGS), end="", file=out)  # type: ignore[call-overload]
    return 0


def _show_version() -> int:
    import barque  # noqa: PLC0415 - only when asked for

    sys.stdout.write(f"Barque version {barque.__version__}\n")
    return 0


if __name__ == "__main__":
    main()
