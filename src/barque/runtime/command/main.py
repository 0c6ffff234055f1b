"""``barque-runtime``: an OCI runtime, a drop-in for runc.

Before it makes a process in a container the program begins again from a sealed copy of the
interpreter; see ``runtime.sealed``. An engine runs it several times for each container, so a
command loads what it needs and nothing else: here, what every one of them needs.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the calls, without enumerations around them
import os
import sys

from barque.errors import BarqueError, NotImplementedHere
from barque.runtime.sealed import run_sealed

_COMMANDS = {
    "create": ("making", "create"),
    "run": ("making", "run"),
    "exec": ("making", "execute"),
    "start": ("steering", "start"),
    "state": ("steering", "state"),
    "kill": ("steering", "kill"),
    "delete": ("steering", "delete"),
    "pause": ("steering", "pause"),
    "resume": ("steering", "resume"),
    "list": ("showing", "list_"),
    "ps": ("showing", "ps"),
    "update": ("showing", "update"),
    "events": ("showing", "events"),
    "spec": ("showing", "spec"),
    "features": ("showing", "features"),
}
"""The module and function of each command: it takes the arguments and returns the exit code."""

_MAKES_PROCESSES = frozenset({"create", "run", "exec"})


class _Arguments:
    """What the command line says, or is taken to say when something is wrong with it."""

    log = ""
    log_format = "text"
    command: str | None = None
    version = False
    systemd_cgroup = False


def main() -> None:
    """The entry point: exit code 1 and a line on stderr or in the log for an error.

    255 for one of ``exec``, whose process may well exit with 1. Never a traceback.
    """
    arguments = _Arguments()
    try:
        if not _MAKES_PROCESSES.isdisjoint(sys.argv[1:]):  # or a name that is one of these words
            run_sealed("barque.runtime.command.main", sys.argv[1:])
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # ignored, it would reap what we wait for
        code = _dispatch(arguments)
        sys.stdout.flush()
    except BarqueError as error:
        code = _report(arguments, str(error))
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        code = _report(arguments, where + os.strerror(error.errno or 0).lower())
    except KeyboardInterrupt:
        code = 128 + _signal.SIGINT
    except Exception as error:  # noqa: BLE001 - a defect, told in the same words as other errors
        code = _report(arguments, f"internal error: {type(error).__name__}: {error}")
    os._exit(code)


def _dispatch(arguments: _Arguments) -> int:
    # msgspec would load this where it is installed: a fifth of all that a command loads, to find
    # what typing has as well. None makes it an ImportError.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    from barque.runtime.command.parser import ABSENT, build_parser  # noqa: PLC0415 - not before the seal

    parser = build_parser(sys.argv[1:])
    parser.parse_args(namespace=arguments)
    if arguments.version:
        from importlib.metadata import version  # noqa: PLC0415 - only when asked for

        print(f"barque-runtime version {version('barque')}\nspec: 1.2.0")  # noqa: T201
        return 0
    if arguments.systemd_cgroup:
        raise NotImplementedHere(
            "--systemd-cgroup: barque manages control groups itself; use the cgroupfs driver"
        )
    if arguments.command is None:
        parser.print_help()
        return 1
    if arguments.command in ABSENT:
        raise NotImplementedHere(
            "containers are not saved to disk and brought back: end this one and start another, "
            "or run it with runc or crun, built with CRIU"
        )
    module, function = _COMMANDS[arguments.command]
    # importlib.import_module would import warnings and types first.
    found = __import__(f"barque.runtime.command.{module}", fromlist=(function,))
    code: int = getattr(found, function)(arguments)
    return code


def _report(arguments: _Arguments, message: str) -> int:
    """Tell of an error where the caller looks for it, in runc's shapes; the exit code for it."""
    from barque.runtime.command.logfile import write_line  # noqa: PLC0415 - only after a mistake

    text = f"{arguments.command} failed: {message}" if arguments.command else message
    if arguments.log and (why := write_line(arguments.log, arguments.log_format, "error", text)):
        text += f" ({arguments.log}: {why})"
    os.write(2, f"barque-runtime: {text}\n".encode(errors="backslashreplace"))
    return 255 if arguments.command == "exec" else 1


if __name__ == "__main__":
    main()
