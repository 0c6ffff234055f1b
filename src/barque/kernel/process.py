"""Processes, namespaces and their descriptors.

Source: clone(2), setns(2), unshare(2), prctl(2), pidfd_open(2), close_range(2), keyctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import sys

from barque.errors import KernelError
from barque.kernel.libc import check, function, syscall

_CLONE3, _CLOSE_RANGE, _PIDFD_GETFD = 435, 436, 438
CLONE = 56 if os.uname().machine == "x86_64" else 220
"""The number of clone(2)."""
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_RT_SIGACTION = 13 if os.uname().machine == "x86_64" else 134
_SIGACTION_SIZE, _SIGSET_SIZE = 32, 8  # struct sigaction and sigset_t as the kernel has them

CLONE_NEWTIME = 0x80
CLONE_FS = 0x200
CLONE_PIDFD = 0x1000
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

NAMESPACES = {
    "mount": (CLONE_NEWNS, "mnt"),
    "pid": (CLONE_NEWPID, "pid"),
    "network": (CLONE_NEWNET, "net"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "uts": (CLONE_NEWUTS, "uts"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "user": (CLONE_NEWUSER, "user"),
    "time": (CLONE_NEWTIME, "time"),
}
"""OCI namespace type to (clone flag, name under /proc/PID/ns)."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
_PR_SET_CHILD_SUBREAPER = 36
_KEYCTL_JOIN_SESSION_KEYRING = 1

_setns = function("setns", ctypes.c_int, ctypes.c_int)
_unshare = function("unshare", ctypes.c_int)
_setfsuid = function("setfsuid", ctypes.c_uint)
_setfsgid = function("setfsgid", ctypes.c_uint)
_prctl = function("prctl", ctypes.c_int, *(ctypes.c_ulong,) * 4)
_sethostname = function("sethostname", ctypes.c_char_p, ctypes.c_size_t)
_setdomainname = function("setdomainname", ctypes.c_char_p, ctypes.c_size_t)

_clone_args = struct.Struct("=11Q")  # struct clone_args


def clone_sibling(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Fork with new namespaces: (pid, pidfd) in the caller, (0, -1) in the child.

    The child's parent is the caller's own (CLONE_PARENT). ``cgroup`` is a descriptor of the
    version 2 group that it is born into, or -1. Only for a process with one thread. The child
    ends with ``os._exit`` or execve.
    """
    return _clone(flags | CLONE_PARENT, 0, cgroup, "the container's init")


def clone_child(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """As ``clone_sibling``, but the child is the caller's own: SIGCHLD tells of its end."""
    return _clone(flags, signal.SIGCHLD, cgroup, "a process of the container")


def branch() -> int:
    """Fork a sibling by clone(2): its pid in the caller, 0 in the sibling.

    A filter sees the flags of this call, so it may allow it; those of clone3 it cannot see. As
    ``clone_sibling`` otherwise.
    """
    return syscall("clone", CLONE, CLONE_PARENT)


def _clone(flags: int, exit_signal: int, cgroup: int, what: str) -> tuple[int, int]:
    pidfd = ctypes.c_int(-1)
    flags |= CLONE_PIDFD
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    address = ctypes.addressof(pidfd)
    args = _clone_args.pack(flags, address, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup, 0))
    pid = syscall("clone3", _CLONE3, args, len(args), path=what)
    return (pid, pidfd.value) if pid else (0, -1)


def fork() -> int:
    """Fork without the interpreter's own hooks, which have nothing to do with one thread.

    What they would write to stays shared with the parent. As ``clone3`` otherwise.
    """
    args = _clone_args.pack(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    return syscall("clone3", _CLONE3, args, len(args), path="a child process")


def clone3_is_filtered() -> bool:
    """Whether a seccomp filter keeps clone3 from us. The kernel refuses this call of no size."""
    try:
        syscall("clone3", _CLONE3, b"", 0)
    except KernelError as error:
        return error.errno in {errno.EPERM, errno.ENOSYS}
    return False


def setns(fd: int, flags: int = 0) -> None:
    """Join the namespace of a namespace descriptor, or those in ``flags`` of a pidfd."""
    check(_setns(fd, flags), "setns")


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(_unshare(flags), "unshare")


def set_filesystem_ids(uid: int, gid: int) -> None:
    """Whose the files are that the calling thread makes: setfsuid(2), setfsgid(2).

    Other ids than root's cost the effective capabilities that concern files.
    """
    _setfsgid(gid)
    _setfsuid(uid)


def open_namespace(pid: int, kind: str) -> int:
    """A descriptor of the namespace ``kind`` (OCI type) of a process that is our child."""
    return os.open(f"/proc/{pid}/ns/{NAMESPACES[kind][1]}", os.O_RDONLY | os.O_CLOEXEC)


def copy_descriptor(pidfd: int, fd: int) -> int:
    """The descriptor ``fd`` of another process as one of ours; the caller owns it (Linux 5.6).

    Needs the right to trace that process. Raises KernelError.
    """
    return syscall(
        "pidfd_getfd", _PIDFD_GETFD, pidfd, fd, 0, hint="CAP_SYS_PTRACE is needed for it"
    )


def die_with_parent(number: int) -> None:
    """Be sent the signal ``number`` when the parent ends; 0 is none. A change of user ends it."""
    check(_prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl", "PR_SET_PDEATHSIG")


def open_child(pid: int) -> int:
    """A pidfd of our child ``pid``. Raises ChildProcessError if it is none."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return os.pidfd_open(pid)


def end_child(pid: int, pidfd: int, timeout_s: float = 10.0) -> bool:
    """SIGKILL the child and reap it; whether it has ended in time. ``pidfd`` stays open."""
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = bool(poll.poll(timeout_s * 1000))
    if ended:
        os.waitpid(pid, 0)
    return ended


def restore_reserved_signals() -> None:
    """Set 32 and 33 to their default: the C library keeps them to itself, ignored or not."""
    default = bytes(_SIGACTION_SIZE)
    for number in (32, 33):
        syscall("rt_sigaction", _RT_SIGACTION, number, default, None, _SIGSET_SIZE)


def set_dumpable(*, dumpable: bool) -> None:
    """Whether others may trace this process or read its /proc entries."""
    check(_prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0), "prctl", "PR_SET_DUMPABLE")


def set_no_new_privileges() -> None:
    """Let no execve gain privileges from here on."""
    check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "PR_SET_NO_NEW_PRIVS")


def become_subreaper() -> None:
    """Be the parent of what descendants leave behind."""
    check(_prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl", "PR_SET_CHILD_SUBREAPER")


def set_keep_capabilities(*, keep: bool) -> None:
    """Keep permitted capabilities over a change of user id."""
    check(_prctl(_PR_SET_KEEPCAPS, int(keep), 0, 0, 0), "prctl", "PR_SET_KEEPCAPS")


class Title:
    """The command line that ps shows, written over the one the process was started with."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        self._start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end; see proc(5)
        self._size = end - self._start

    def set(self, text: str) -> None:
        """Show ``text``, cut to the room there is; its first 15 characters are the name."""
        data = text.encode()[: self._size - 1].ljust(self._size, b"\0")
        fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        os.pwrite(fd, data, self._start)
        os.close(fd)
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, data[:15])
        os.close(fd)


def set_host_name(name: str) -> None:
    """sethostname(2) in the current UTS namespace."""
    raw = name.encode()
    check(_sethostname(raw, len(raw)), "sethostname", name)


def set_domain_name(name: str) -> None:
    """setdomainname(2) in the current UTS namespace."""
    raw = name.encode()
    check(_setdomainname(raw, len(raw)), "setdomainname", name)


def new_session_keyring() -> None:
    """Leave the inherited session keyring for a new one. No keyrings in the kernel is fine.

    It has no name to be found by: a named one would be joined rather than made where another
    container has opened its own of that name to everybody.
    """
    number = _KEYCTL.get(os.uname().machine)
    if number is None:
        return
    try:
        syscall("keyctl", number, _KEYCTL_JOIN_SESSION_KEYRING, None)
    except KernelError as error:
        if error.errno not in _NO_KEYRING:
            raise


_NO_KEYRING = frozenset({38, 122})  # ENOSYS; EDQUOT: the user's key quota is used up


def close_from(first: int, *, keep: tuple[int, ...] = ()) -> None:
    """Close every descriptor from ``first`` up, but those in ``keep``."""
    start = first
    for fd in sorted(keep):
        if fd > start:
            syscall("close_range", _CLOSE_RANGE, start, fd - 1, 0)
        start = max(start, fd + 1)
    syscall("close_range", _CLOSE_RANGE, start, 0xFFFFFFFF, 0)


def assert_single_thread() -> None:
    """Forking with threads copies locks in unknown states: a defect, not a condition."""
    if "threading" in sys.modules and len(os.listdir("/proc/self/task")) != 1:
        raise AssertionError("fork with more than one thread")
