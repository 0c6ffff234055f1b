"""``barque-runtime``: an OCI runtime, a drop-in for runc.

The program begins again from a sealed copy of the interpreter before it makes a process in a
container; see ``runtime.sealed``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from importlib.metadata import version

import msgspec

from barque.errors import BarqueError, Conflict, InvalidArgument, NotImplementedHere
from barque.kernel.process import become_subreaper
from barque.models import oci
from barque.runtime.command import control, execute
from barque.runtime.command.console import FORWARDED, Proxy
from barque.runtime.command.create import Options, create
from barque.runtime.command.events import follow_events, show_stats
from barque.runtime.command.features import features
from barque.runtime.command.follow import Process
from barque.runtime.command.parser import build_parser
from barque.runtime.command.resources import read_resources, update
from barque.runtime.command.state import Container, Store
from barque.runtime.sealed import run_sealed

_MAKES_PROCESSES = frozenset({"create", "run", "exec"})


def main() -> None:
    """The entry point: exit code 1 and a line on stderr or in the log for an error.

    255 for one of ``exec``, whose process may well exit with 1. Never a traceback.
    """
    arguments = argparse.Namespace(log="", log_format="text", command="")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would reap what we wait for
    try:
        build_parser().parse_args(namespace=arguments)
        code = _dispatch(arguments)
        sys.stdout.flush()
    except BarqueError as error:
        code = _report(arguments, str(error))
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        code = _report(arguments, where + os.strerror(error.errno or 0).lower())
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - a defect, told in the same words as other errors
        code = _report(arguments, f"internal error: {type(error).__name__}: {error}")
    os._exit(code)


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.version:
        print(f"barque-runtime version {version('barque')}\nspec: 1.2.0")  # noqa: T201
        return 0
    if arguments.systemd_cgroup:
        raise NotImplementedHere(
            "--systemd-cgroup: barque manages control groups itself; use the cgroupfs driver"
        )
    if arguments.command is None:
        build_parser().print_help()
        return 1
    if arguments.command in _MAKES_PROCESSES:
        run_sealed("barque.runtime.command.main", sys.argv[1:])
    return _COMMANDS[arguments.command](Store(arguments.root), arguments)


def _report(arguments: argparse.Namespace, message: str) -> int:
    """Tell of an error where the caller looks for it, in runc's shapes; the exit code for it."""
    text = f"{arguments.command} failed: {message}" if arguments.command else message
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if arguments.log:
        if arguments.log_format == "json":
            line = json.dumps({"level": "error", "msg": text, "time": now})
        else:
            line = f"time={json.dumps(now)} level=error msg={json.dumps(text)}"
        try:
            with open(arguments.log, "a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(line + "\n")
        except OSError as error:
            text += f" ({arguments.log}: {os.strerror(error.errno or 0).lower()})"
    os.write(2, f"barque-runtime: {text}\n".encode(errors="backslashreplace"))
    return 255 if arguments.command == "exec" else 1


def _creation(arguments: argparse.Namespace, *, detached: bool) -> Options:
    if arguments.no_pivot:
        raise NotImplementedHere(
            "--no-pivot is unsafe, and not there: use a root that is no initramfs"
        )
    return Options(
        bundle=arguments.bundle,
        console_socket=arguments.console_socket,
        pid_file=arguments.pid_file,
        preserve_fds=arguments.preserve_fds,
        new_keyring=not arguments.no_new_keyring,
        detached=detached,
    )


def _create(store: Store, arguments: argparse.Namespace) -> int:
    _, process = create(store, arguments.id, _creation(arguments, detached=True))
    _warn(process)
    return 0


def _run(store: Store, arguments: argparse.Namespace) -> int:
    if not (arguments.no_subreaper or arguments.detach):
        become_subreaper()
    options = _creation(arguments, detached=arguments.detach)
    container, process = create(store, arguments.id, options)
    _warn(process)
    if not arguments.detach:
        _hold_signals()
    try:
        control.start(container)
    except BaseException:
        control.end(container)
        control.destroy(container)
        raise
    if arguments.detach:
        return 0
    code = _stay(process)
    if not arguments.keep:
        control.destroy(container)
    return code


def _hold_signals() -> None:
    """Let signals wait until there is a process to pass them on to: see ``_stay``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)


def _stay(process: Process) -> int:
    """Stay in front of ``process`` until it ends; its exit status as a shell shows it."""

    def forward(number: int, _frame: object) -> None:
        try:
            signal.pidfd_send_signal(process.pidfd, number)
        except ProcessLookupError:
            return

    for number in FORWARDED:
        if number < signal.SIGRTMIN and number != signal.SIGPIPE:
            signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    if process.master >= 0:
        with Proxy(process.master) as proxy:
            signal.signal(signal.SIGWINCH, lambda *_: proxy.resize())
            proxy.pump(process.pidfd)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _warn(process: Process) -> None:
    for warning in process.warnings:
        sys.stderr.write(f"barque-runtime: {warning}\n")


def _exec(store: Store, arguments: argparse.Namespace) -> int:
    container = store.get(arguments.id)
    options = execute.Options(
        console_socket=arguments.console_socket,
        pid_file=arguments.pid_file,
        preserve_fds=arguments.preserve_fds,
        detached=arguments.detach,
        cgroup=arguments.cgroup,
        ignore_paused=arguments.ignore_paused,
    )
    if not arguments.detach:
        _hold_signals()
    process = execute.execute(container, _process(container, arguments), options)
    _warn(process)
    return 0 if arguments.detach else _stay(process)


def _process(container: Container, arguments: argparse.Namespace) -> oci.Process:
    """The process that the command line describes, with the container's as its ground."""
    first = container.record.spec.process or oci.Process()
    if arguments.process:
        return execute.read_process(arguments.process, first)
    words = arguments.arguments[1:] if arguments.arguments[:1] == ["--"] else arguments.arguments
    if not words:
        raise InvalidArgument("exec needs a command to run, or --process")
    process = msgspec.structs.replace(first, args=words, terminal=arguments.tty)
    process.env = [*first.env, *arguments.env]
    process.cwd = arguments.cwd or first.cwd
    if arguments.no_new_privs:
        process.no_new_privileges = True
    if arguments.apparmor:
        process.apparmor_profile = arguments.apparmor
    if arguments.process_label:
        process.selinux_label = arguments.process_label
    if arguments.user or arguments.additional_gids:
        process.user = _user(first.user, arguments)
    if arguments.cap:
        known = first.capabilities or oci.Capabilities()
        changed = ["bounding", "effective", "permitted"]
        if known.inheritable:  # without, nothing can be ambient
            changed.append("ambient")
        sets = {name: [*getattr(known, name), *arguments.cap] for name in changed}
        process.capabilities = msgspec.structs.replace(known, **sets)
    return process


def _user(first: oci.User, arguments: argparse.Namespace) -> oci.User:
    uid, colon, gid = arguments.user.partition(":")
    for number in (uid, gid):
        if number and not number.isdecimal():
            raise InvalidArgument(f"--user {arguments.user}: give numbers, UID[:GID]")
    return msgspec.structs.replace(
        first,
        uid=int(uid) if uid else first.uid,
        gid=int(gid) if colon and gid else first.gid,
        additional_gids=[*first.additional_gids, *arguments.additional_gids],
    )


def _start(store: Store, arguments: argparse.Namespace) -> int:
    control.start(store.get(arguments.id))
    return 0


def _kill(store: Store, arguments: argparse.Namespace) -> int:
    number = control.parse_signal(arguments.signal)
    control.kill(store.get(arguments.id), number, everybody=arguments.all)
    return 0


def _delete(store: Store, arguments: argparse.Namespace) -> int:
    control.delete(store, arguments.id, force=arguments.force)
    return 0


def _pause(store: Store, arguments: argparse.Namespace) -> int:
    control.pause(store.get(arguments.id))
    return 0


def _resume(store: Store, arguments: argparse.Namespace) -> int:
    control.resume(store.get(arguments.id))
    return 0


def _print(text: str) -> int:
    if text:
        sys.stdout.write(text + "\n")
    return 0


def _state(store: Store, arguments: argparse.Namespace) -> int:
    return _print(control.show_state(store.get(arguments.id)))


def _list(store: Store, arguments: argparse.Namespace) -> int:
    as_json = arguments.format == "json"
    return _print(control.show_list(store, as_json=as_json, quiet=arguments.quiet))


def _ps(store: Store, arguments: argparse.Namespace) -> int:
    container = store.get(arguments.id)
    as_json = arguments.format == "json"
    return _print(control.show_processes(container, arguments.arguments, as_json=as_json))


def _update(store: Store, arguments: argparse.Namespace) -> int:
    update(store.get(arguments.id), read_resources(arguments))
    return 0


def _events(store: Store, arguments: argparse.Namespace) -> int:
    container = store.get(arguments.id)
    if arguments.stats:
        show_stats(container)
    else:
        follow_events(container, arguments.interval)
    return 0


def _spec(_store: Store, arguments: argparse.Namespace) -> int:
    path = f"{arguments.bundle}/config.json"
    document = msgspec.json.format(msgspec.json.encode(control.default_document()), indent=4)
    try:
        with open(path, "xb") as file:
            file.write(document + b"\n")
    except FileExistsError:
        raise Conflict(f"File {path} exists. Remove it first") from None
    return 0


def _features(_store: Store, _arguments: argparse.Namespace) -> int:
    return _print(msgspec.json.format(msgspec.json.encode(features()), indent=2).decode())


_COMMANDS = {
    "create": _create,
    "run": _run,
    "start": _start,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
    "pause": _pause,
    "resume": _resume,
    "exec": _exec,
    "list": _list,
    "ps": _ps,
    "update": _update,
    "events": _events,
    "spec": _spec,
    "features": _features,
}


if __name__ == "__main__":
    main()
