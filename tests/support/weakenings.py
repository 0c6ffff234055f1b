"""Barque with a defence taken out, to show that an attack is one.

Nothing in barque can be switched off for tests. So this file is a program of its own: it imports
barque, replaces what ``WEAKENINGS`` says, and becomes the spawner, the runtime or the engine::

    python -I weakenings.py spawner|runtime|engine NAME,NAME... ARGUMENT...

Some defences stand behind faults that barque does not have today (a descriptor left open, an
import after the root was entered). These faults are planted, as ``plant …``, in the strong and
in the weak build alike.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

LEAKED_FD = 200
PLANTED_MODULE = "barque_planted"
PLANTED_CODEC = "planted-codec"
PLANTED_ADDRESS = "\0barque-planted"


def _replace(where: str, name: str, make: Callable[[Any], Any]) -> None:
    """Put ``make(old)`` in the place of ``name`` of ``where``: a module, or one of its classes.

    Raises AttributeError where there is no such thing: the weakening is to be renewed then.
    """
    module, _, inner = where.partition(":")
    target = importlib.import_module(module)
    if inner:
        target = getattr(target, inner)
    setattr(target, name, make(getattr(target, name)))


def _plant_descriptor() -> None:
    """A descriptor of the host's root, open in all that the spawner forks, kept over execve."""

    def make(freeze: Any) -> Any:
        def freeze_and_leak() -> None:
            freeze()
            fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
            os.dup2(fd, LEAKED_FD, inheritable=True)
            os.close(fd)

        return freeze_and_leak

    _replace("barque.shim.spawner", "freeze_heap", make)


def _plant_lazy_import() -> None:
    """An import and an unknown codec, when the container's root is the root."""

    def make(real: Any) -> Any:
        def find(name: str, path: str) -> Any:
            with suppress(ImportError):  # as where the barrier stands
                __import__(PLANTED_MODULE)
            with suppress(LookupError):
                "".encode(PLANTED_CODEC)
            return real(name, path)

        return find

    _replace("barque.runtime.process", "find_executable", make)


def _plant_traceback() -> None:
    """A traceback, which shows lines of our source by the paths that it had on the host."""

    def make(real: Any) -> Any:
        def find(name: str, path: str) -> Any:
            try:
                int(PLANTED_CODEC)
            except ValueError:
                sys.__excepthook__(*sys.exc_info())
            return real(name, path)

        return find

    _replace("barque.runtime.process", "find_executable", make)


def _plant_abstract_socket() -> None:
    """A listener in the abstract namespace of the host's network (CVE-2020-15257)."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(PLANTED_ADDRESS)
    listener.listen()

    def make(real: Any) -> Any:
        return lambda first, *, keep=(): real(first, keep=(*keep, listener.fileno()))

    _replace("barque.kernel.process", "close_from", make)


def _keep_descriptors() -> None:
    _replace("barque.runtime.process", "close_from", lambda _: lambda first, *, keep=(): None)


def _trust_cwd() -> None:
    _replace("barque.runtime.process", "enter_cwd", lambda _: os.chdir)


def _keep_imports() -> None:
    _replace("barque.shim.spawner", "close_imports", lambda _: lambda: None)


def _keep_groups() -> None:
    _replace("os", "setgroups", lambda _: lambda groups: None)


def _use_procfs_of_the_container() -> None:
    def make(real: Any) -> Any:
        def set_names(spec: Any, _proc: int, reporter: Any) -> None:
            theirs = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
            real(spec, theirs, reporter)
            os.close(theirs)

        return set_names

    def write(proc_fd: int, path: str, value: str) -> None:
        with open(os.open(path, os.O_WRONLY, dir_fd=proc_fd), "w", encoding="utf-8") as file:
            file.write(value)

    _replace("barque.runtime.init", "_set_names", make)
    _replace("barque.runtime.init", "write_proc", lambda _: write)


def _trust_null() -> None:
    _replace("barque.runtime.rootfs:Root", "_open_null", lambda _: lambda r: r.open("/dev/null"))


def _follow_links_of_kernel_mounts() -> None:
    follow = "make_directory"
    _replace(
        "barque.runtime.rootfs:Root",
        "_open_kernels_place",
        lambda _: lambda root, path: getattr(root, follow)(path),
    )


def _resolve_strings() -> None:
    """Paths of the root as plain strings below its mount point, as before openat2."""
    from barque.errors import KernelError

    def open_by_string(root: Any, path: str, flags: int = os.O_PATH) -> int:
        try:
            return os.open(f"{root._mount_point}{path}", flags | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError("open", error.errno or 0, path) from None

    _replace("barque.runtime.rootfs:Root", "open", lambda _: open_by_string)


def _take_any_sysctl() -> None:
    from barque.runtime.init import _SYSCTL_PATH

    def set_sysctl(proc: int, name: str, value: str) -> None:
        fd = os.open(f"sys/{name.translate(_SYSCTL_PATH)}", os.O_WRONLY, dir_fd=proc)
        os.write(fd, value.encode())
        os.close(fd)

    _replace("barque.runtime.init", "_set_sysctl", lambda _: set_sysctl)


def _be_dumpable() -> None:
    _replace("barque.kernel.process", "set_dumpable", lambda _: lambda *, dumpable: None)


def _take_any_id() -> None:
    def make(change: Any) -> Any:
        """Past Python, which refuses what would mean -1 to the kernel."""
        return lambda *ids: change(*(-1 if id_ == 2**32 - 1 else id_ for id_ in ids))

    _replace("barque.runtime.users", "_is_id", lambda _: str.isdecimal)
    _replace("os", "setresuid", make)
    _replace("os", "setresgid", make)
    _replace("os", "setgroups", lambda _: lambda groups: None)


def _prefer_names() -> None:
    """Look numbers up as names (CVE-2016-3697)."""
    _replace("barque.runtime.users", "_number", lambda _: lambda text, what: None)


def _read_without_end() -> None:
    _replace("barque.runtime.users", "_LIMIT_BYTES", lambda _: 1 << 40)


def _inherit_capabilities() -> None:
    """As docker did until 2022: all that is bounding is inheritable."""

    def make(real: Any) -> Any:
        def change_identity(process: Any, identity: Any) -> None:
            process.capabilities.inheritable = list(process.capabilities.bounding)
            real(process, identity)

        return change_identity

    _replace("barque.runtime.process", "change_identity", make)


def _branch_at_once() -> None:
    """Have an exec in the container's PID namespace before it has changed in any way."""
    from barque.kernel import process as kp
    from barque.runtime.branch import Branch

    def make(real: Any) -> Any:
        def run(launch: Any, io: Any) -> None:
            kp.setns(io.init_pidfd, kp.CLONE_NEWPID)
            Branch(terminal=False, limits=[]).take(io.reporter)
            real(launch, io)

        return run

    def without_branch(real: Any) -> Any:
        return lambda *given, **named: real(*given, **{**named, "branch": None})

    _replace("barque.runtime.execs", "_run", make)
    _replace("barque.runtime.execs", "execute", without_branch)


def _take_any_descriptor() -> None:
    """Of whoever reports."""

    def make(real: Any) -> Any:
        return lambda end, *, descriptors: real(end, descriptors=True)

    for module in ("barque.kernel.seqpacket", "barque.runtime.reports"):
        _replace(module, "refuse_descriptors", lambda _: lambda end: None)
    _replace("barque.runtime.reports", "receive_from", make)


def _have_a_weak_spawner(*names: str) -> None:
    """For an engine: its spawner is weakened, too."""
    weak = partial(start_spawner, *names)
    _replace("barque.shim.launcher", "start_spawner", lambda _: weak)


def _stay_unsealed() -> None:
    _replace("barque.runtime.command.main", "run_sealed", lambda _: lambda module, arguments: None)


def _take_any_name() -> None:
    _replace("barque.engine.names", "_NAME", lambda _: re.compile(".*", re.DOTALL))


def _let_any_sysctl_pass() -> None:
    _replace("barque.engine.validate", "_check_sysctls", lambda _: lambda host: None)


def _log_as_it_comes() -> None:
    _replace("barque.daemon.wiring", "LineFormatter", lambda _: logging.Formatter)


def _keep_the_environment() -> None:
    """Give the spawner the engine's environment."""
    _replace("barque.shim.launcher", "_KEPT", lambda _: tuple(os.environ))


WEAKENINGS: dict[str, Callable[[], None]] = {
    "plant a descriptor": _plant_descriptor,
    "plant a lazy import": _plant_lazy_import,
    "plant a traceback": _plant_traceback,
    "plant an abstract socket": _plant_abstract_socket,
    "descriptors stay open": _keep_descriptors,
    "the working directory is trusted": _trust_cwd,
    "imports stay open": _keep_imports,
    "groups are kept": _keep_groups,
    "the container's procfs is written": _use_procfs_of_the_container,
    "any null device will do": _trust_null,
    "kernel mounts follow links": _follow_links_of_kernel_mounts,
    "paths are strings": _resolve_strings,
    "any sysctl is set": _take_any_sysctl,
    "processes are dumpable": _be_dumpable,
    "any number is an id": _take_any_id,
    "names before numbers": _prefer_names,
    "inheritable sets are full": _inherit_capabilities,
    "files are read without end": _read_without_end,
    "the environment is kept": _keep_the_environment,
    "any name will do": _take_any_name,
    "any sysctl passes": _let_any_sysctl_pass,
    "messages are logged as they come": _log_as_it_comes,
    "execs are branched off at once": _branch_at_once,
    "execs of the spawner are weak": partial(
        _have_a_weak_spawner, "execs are branched off at once"
    ),
    "reports bring descriptors": _take_any_descriptor,
    "shims take descriptors": partial(_have_a_weak_spawner, "reports bring descriptors"),
    "the interpreter is not sealed": _stay_unsealed,
}


def start_spawner(*names: str) -> Any:
    """As ``barque.shim.launcher.start_spawner``, weakened by ``names``."""
    from barque.kernel import seqpacket
    from barque.runtime.sealed import sealed_interpreter
    from barque.shim.launcher import Spawner

    ours, theirs = seqpacket.pair()
    memfd = sealed_interpreter()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", __file__, "spawner", ",".join(names), str(theirs.fileno())],
            executable=f"/proc/self/fd/{memfd}",
            pass_fds=(memfd, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            env={},
        )
    finally:
        os.close(memfd)
        theirs.close()
    return Spawner(process, ours)


def engine_program(*names: str) -> list[str]:
    """The command line of a barqued weakened by ``names``."""
    return [sys.executable, "-I", __file__, "engine", ",".join(names)]


def main() -> None:
    """Be the program that the command line names, weakened."""
    program, names = sys.argv[1], sys.argv[2]
    del sys.argv[1:3]
    for name in filter(None, names.split(",")):
        WEAKENINGS[name]()
    run: Callable[[], object]
    match program:
        case "spawner":
            from barque.shim.spawner import main as run
        case "runtime":
            from barque.runtime.command.main import main as run
        case _:
            from barque.daemon.main import main as run
    run()


if __name__ == "__main__":
    main()
