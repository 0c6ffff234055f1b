"""Runs inside a container, by an interpreter shown there: tries things, prints what came of them.

``python probe.py NAME...`` prints one JSON object, name to outcome: ``ok``, the name of the
errno, or for a death the signal. Names are those of ``ACTIONS``, or ``read:PATH``, ``write:PATH``
(opens, writes nothing), ``list:PATH``, ``block:MAJOR:MINOR``. Every attempt is made by a child of its own.
It needs nothing but the standard library, and no other module of the tests.

What only root of the host could do is asked for with arguments that cannot work (a null address,
a missing file): EPERM and ENOSYS are a refusal, anything else means that the kernel looked at
the arguments.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)
_MACHINE = os.uname().machine
_NUMBERS = {
    "x86_64": {
        "add_key": 248, "bpf": 321, "clone": 56, "clone3": 435, "fanotify_init": 300,
        "fsopen": 430, "init_module": 175, "io_uring_setup": 425, "iopl": 172, "kcmp": 312,
        "keyctl": 250, "mount": 165, "open_by_handle_at": 304, "open_tree": 428,
        "perf_event_open": 298, "personality": 135, "pivot_root": 155, "quotactl": 179,
        "reboot": 169, "request_key": 249, "sethostname": 170, "setns": 308,
        "settimeofday": 164, "swapon": 167, "syslog": 103, "umount2": 166, "unshare": 272,
        "userfaultfd": 323,
    },
    "aarch64": {
        "add_key": 217, "bpf": 280, "clone": 220, "clone3": 435, "fanotify_init": 262,
        "fsopen": 430, "init_module": 105, "io_uring_setup": 425, "kcmp": 272, "keyctl": 219,
        "mount": 40, "open_by_handle_at": 265, "open_tree": 428, "perf_event_open": 241,
        "personality": 92, "pivot_root": 41, "quotactl": 60, "reboot": 142, "request_key": 218,
        "sethostname": 161, "setns": 268, "settimeofday": 170, "swapon": 224, "syslog": 116,
        "umount2": 39, "unshare": 97, "userfaultfd": 282,
    },
}[_MACHINE]  # fmt: skip
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_AF_ALG, _AF_VSOCK = 38, 40


def _call(name: str, *arguments: int | bytes | None) -> int:
    return _number(_NUMBERS[name], *arguments)


def _number(number: int, *arguments: int | bytes | None) -> int:
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = _LIBC.syscall(ctypes.c_long(number), *converted)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _compat(number: int, *registers: int) -> int:
    """The 32-bit system call ``number``, from a 64-bit program: ``int 0x80``."""
    code = b"\x53"  # push rbx
    values = (number, *registers)
    for opcode, value in zip(b"\xb8\xbb\xb9\xba", values, strict=False):  # eax, ebx, ecx, edx
        code += bytes((opcode,)) + struct.pack("<I", value & 0xFFFFFFFF)
    code += b"\xcd\x80\x5b\x48\x98\xc3"  # int 0x80; pop rbx; cdqe; ret
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result: int = ctypes.CFUNCTYPE(ctypes.c_long)(address)()
    if -4096 < result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _compat_socket(family: int) -> int:
    """``socket`` by the i386 ``socketcall``, whose arguments a filter cannot see."""
    map_32bit = 0x40
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_32bit)
    page.write(struct.pack("<3I", family, socket.SOCK_STREAM if family == _AF_VSOCK else 5, 0))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return _compat(102, 1, address)


def _clone_new_user() -> None:
    pid = _call("clone", _NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _open_by_handle() -> None:
    """The handle of inode 2, the root of many file systems ("shocker", 2014)."""
    handle = struct.pack("=Ii", 8, 1) + struct.pack("=Q", 2)
    root = os.open("/", os.O_RDONLY)
    _call("open_by_handle_at", root, handle, os.O_RDONLY)


def _mount_cgroup() -> None:
    """A hierarchy of one's own, in which limits could be lifted (CVE-2022-0492)."""
    where = b"/tmp"
    try:
        _call("mount", b"cgroup", where, b"cgroup", 0, b"memory")
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EBUSY}:
            raise
        _call("mount", b"cgroup", where, b"cgroup2", 0, None)


def _memory_device() -> None:
    os.mknod("/tmp/mem", 0o20600, os.makedev(1, 1))
    os.close(os.open("/tmp/mem", os.O_RDONLY))


ACTIONS: dict[str, Callable[[], object]] = {
    "socket AF_ALG": lambda: socket.socket(_AF_ALG, socket.SOCK_SEQPACKET, 0),
    "socket AF_VSOCK": lambda: socket.socket(_AF_VSOCK, socket.SOCK_STREAM, 0),
    "socket AF_PACKET": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "socket raw": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "32-bit socketcall AF_ALG": lambda: _compat_socket(_AF_ALG),
    "32-bit socketcall AF_VSOCK": lambda: _compat_socket(_AF_VSOCK),
    "32-bit keyctl": lambda: _compat(288, 0, -3, 0),
    "32-bit unshare": lambda: _compat(310, _NEWUSER),
    "x32 keyctl": lambda: _number(0x40000000 | _NUMBERS["keyctl"], 0, -3, 0),
    "io_uring_setup": lambda: _call("io_uring_setup", 4, bytes(120)),
    "keyctl": lambda: _call("keyctl", 0, -3, 0),
    "add_key": lambda: _call("add_key", b"user", b"probe", b"x", 1, -2),
    "request_key": lambda: _call("request_key", b"user", b"probe", None, 0),
    "userfaultfd": lambda: _call("userfaultfd", 1),
    "bpf": lambda: _call("bpf", 0, struct.pack("=4I", 2, 4, 4, 1) + bytes(100), 116),
    "perf_event_open": lambda: _call(
        "perf_event_open", struct.pack("=IIQ", 1, 112, 0) + bytes(96), 0, -1, -1, 0
    ),
    "mount tmpfs": lambda: _call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None),
    "mount procfs anew": lambda: _call("mount", b"proc", b"/tmp", b"proc", 0, None),
    "mount a cgroup hierarchy": _mount_cgroup,
    "remount /sys read-write": lambda: _call("mount", b"", b"/sys", None, 0x20 | 0x1000, None),
    "umount a mask": lambda: _call("umount2", b"/proc/keys", 0),
    "umount /proc/sys": lambda: _call("umount2", b"/proc/sys", 0),
    "fsopen": lambda: _call("fsopen", b"tmpfs", 0),
    "open_tree": lambda: _call("open_tree", -100, b"/", 1),
    "pivot_root": lambda: _call("pivot_root", b"/nowhere", b"/nowhere"),
    "unshare user": lambda: _call("unshare", _NEWUSER),
    "unshare mount": lambda: _call("unshare", _NEWNS),
    "clone user": _clone_new_user,
    "clone3": lambda: _call("clone3", None, 0),
    "setns": lambda: _call("setns", os.open("/proc/self/ns/uts", os.O_RDONLY), 0),
    "sethostname": lambda: _call("sethostname", b"owned", 5),
    "open_by_handle_at": _open_by_handle,
    "init_module": lambda: _call("init_module", None, 0, b""),
    "iopl": lambda: _call("iopl", 3),
    "kcmp": lambda: _call("kcmp", os.getpid(), os.getpid(), 0, 0, 0),
    "personality": lambda: _call("personality", 0x0040000),
    "quotactl": lambda: _call("quotactl", 0x80000600, b"/nowhere", 0, None),
    "reboot": lambda: _call("reboot", 1, 2, 3, 0),
    "settimeofday": lambda: _call("settimeofday", 1, 0),
    "swapon": lambda: _call("swapon", b"/nowhere", 0),
    "syslog": lambda: _call("syslog", 10, None, 0),
    "fanotify_init": lambda: _call("fanotify_init", 0, 0),
    "unknown number": lambda: _number(2000),
    "memory device": _memory_device,
}


def _read(path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        if not file.read(1):
            raise OSError(errno.ENODATA, "nothing there")


def _write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def _list(path: str) -> None:
    if not os.listdir(path):
        raise OSError(errno.ENODATA, "nothing there")


def _block(number: str) -> None:
    """A node of the disk with this number, and its first byte."""
    major, _, minor = number.partition(":")
    os.mknod("/tmp/disk", 0o60600, os.makedev(int(major), int(minor)))
    _read("/tmp/disk")


_BY_PATH: dict[str, Callable[[str], object]] = {
    "read": _read,
    "write": _write,
    "list": _list,
    "block": _block,
}


def find(name: str) -> Callable[[], object]:
    """The action of this name."""
    kind, colon, path = name.partition(":")
    if colon and kind in _BY_PATH:
        return lambda: _BY_PATH[kind](path)
    return ACTIONS[name]


def attempt(action: Callable[[], object]) -> str:
    """What comes of ``action`` in a child of its own."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            said = "ok"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, str(error))
        except BaseException as error:  # noqa: BLE001 - is to be shown, whatever it is
            said = repr(error)
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    return said or signal.Signals(os.WTERMSIG(status)).name


def main() -> None:
    """Try all that the command line names."""
    names = sys.argv[1:]
    print(json.dumps({name: attempt(find(name)) for name in names}))  # noqa: T201


if __name__ == "__main__":
    main()
