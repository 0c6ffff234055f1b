"""Barque with a defence taken out, to show that an attack is one.

Nothing in barque can be switched off for tests. So this file is a program of its own: it imports
barque, replaces what ``WEAKENINGS`` says, and becomes the spawner or ``barque-runtime``::

    python -I weakenings.py spawner|runtime NAME,NAME... ARGUMENT...

Some defences stand behind faults that barque does not have today (a descriptor left open, an
import after the root was entered). These faults are planted, as ``plant …``, in the strong and
in the weak build alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

LEAKED_FD = 200
PLANTED_MODULE = "barque_planted"
PLANTED_CODEC = "planted-codec"
PLANTED_ADDRESS = "\0barque-planted"


def _plant_descriptor() -> None:
    """A descriptor of the host's root, open in all that the spawner forks, kept over execve."""
    from barque.shim import spawner

    def freeze_and_leak(freeze: Callable[[], None] = spawner.freeze_heap) -> None:
        freeze()
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(fd, LEAKED_FD, inheritable=True)
        os.close(fd)

    spawner.freeze_heap = freeze_and_leak


def _plant_lazy_import() -> None:
    """An import and an unknown codec, when the container's root is the root."""
    from barque.runtime import process

    def find(name: str, path: str, real: Any = process.find_executable) -> str:
        try:
            __import__(PLANTED_MODULE)
        except ImportError:
            pass  # as where the barrier stands
        try:
            "".encode(PLANTED_CODEC)
        except LookupError:
            pass  # likewise
        return str(real(name, path))

    process.find_executable = find


def _plant_abstract_socket() -> None:
    """A listener in the abstract namespace of the host's network (CVE-2020-15257)."""
    import socket

    from barque.shim import spawner

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(PLANTED_ADDRESS)
    listener.listen()

    def close_from(
        first: int, *, keep: tuple[int, ...] = (), real: Any = spawner.kp.close_from
    ) -> None:
        real(first, keep=(*keep, listener.fileno()))

    spawner.kp.close_from = close_from


def _keep_descriptors() -> None:
    from barque.runtime import process

    process.close_from = lambda first, *, keep=(): None


def _trust_cwd() -> None:
    from barque.runtime import process

    process.enter_cwd = os.chdir


def _keep_imports() -> None:
    from barque.shim import spawner

    spawner.close_imports = lambda: None


def _keep_groups() -> None:
    os.setgroups = lambda groups: None


def _use_procfs_of_the_container() -> None:
    from barque.runtime import init

    def set_names(spec: Any, proc: int, reporter: Any, real: Any = init._set_names) -> None:
        theirs = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        real(spec, theirs, reporter)
        os.close(theirs)

    init._set_names = set_names


def _trust_null() -> None:
    from barque.runtime.rootfs import Root

    Root._open_null = lambda self: self.open("/dev/null")  # type: ignore[method-assign]


def _follow_links_of_kernel_mounts() -> None:
    from barque.runtime.rootfs import Root

    Root._open_kernels_place = Root.make_directory  # type: ignore[method-assign]


def _resolve_strings() -> None:
    """Paths of the root as plain strings below its mount point, as before openat2."""
    from barque.errors import KernelError
    from barque.runtime.rootfs import Root

    def open_by_string(self: Any, path: str, flags: int = os.O_PATH) -> int:
        try:
            return os.open(f"{self._mount_point}{path}", flags | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError("open", error.errno or 0, path) from None

    Root.open = open_by_string  # type: ignore[method-assign]


def _take_any_sysctl() -> None:
    from barque.runtime import init

    def set_sysctl(proc: int, name: str, value: str) -> None:
        path = name.translate(init._SYSCTL_PATH)
        fd = os.open(f"sys/{path}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        os.write(fd, value.encode())
        os.close(fd)

    init._set_sysctl = set_sysctl


def _be_dumpable() -> None:
    from barque.kernel import process

    process.set_dumpable = lambda *, dumpable: None


def _take_any_id() -> None:
    from barque.runtime import users

    users._is_id = str.isdecimal

    def as_in_c(change: Callable[..., None]) -> Callable[..., None]:
        """Past Python, which refuses what would mean -1."""
        return lambda *ids: change(*(-1 if id_ == 2**32 - 1 else id_ for id_ in ids))

    os.setresuid = as_in_c(os.setresuid)
    os.setresgid = as_in_c(os.setresgid)
    os.setgroups = lambda groups: None


def _prefer_names() -> None:
    """Look numbers up as names first (CVE-2016-3697)."""
    from barque.runtime import users

    users._number = lambda text, what: None


def _read_without_end() -> None:
    from barque.runtime import users

    users._LIMIT_BYTES = 1 << 40


def _inherit_capabilities() -> None:
    """As docker did until 2022: all that is bounding is inheritable."""
    from barque.runtime import process

    real = process.change_identity

    def change_identity(spec: Any, identity: Any) -> None:
        sets = spec.capabilities
        sets.inheritable = list(sets.bounding)
        real(spec, identity)

    process.change_identity = change_identity


def _stay_unsealed() -> None:
    from barque.runtime.command import main

    main.run_sealed = lambda module, arguments: None


WEAKENINGS: dict[str, Callable[[], None]] = {
    "plant a descriptor": _plant_descriptor,
    "plant a lazy import": _plant_lazy_import,
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
        )
    finally:
        os.close(memfd)
        theirs.close()
    return Spawner(process, ours)


def main() -> None:
    """Be the program that the command line names, weakened."""
    program, names = sys.argv[1], sys.argv[2]
    del sys.argv[1:3]
    for name in filter(None, names.split(",")):
        WEAKENINGS[name]()
    if program == "spawner":
        from barque.shim.spawner import main as run
    else:
        from barque.runtime.command.main import main as run
    run()


if __name__ == "__main__":
    main()
