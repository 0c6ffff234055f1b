"""Hooks: programs that a spec has run at points of a container's life.

Each gets the container's state as JSON on stdin and exactly the environment that the spec
gives it. Where it begins is not said there; as with runc that is the bundle for those of the
runtime, the root file system for createContainer, the program's directory for startContainer.
It ends with who runs it: a command that was killed leaves nothing behind.
Source: runtime-spec config.md "POSIX-platform Hooks" and runtime.md "Lifecycle".
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import NoReturn

import msgspec

from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel.process import die_with_parent, end_child
from barque.models import oci

_OUTPUT_BYTES = 4096
_DEFAULT_TIMEOUT_S = 120
"""A hook without a timeout may take this long: nothing here waits for ever."""

_encode = msgspec.json.Encoder().encode


def check_hooks(hooks: oci.Hooks | None) -> None:
    """Raise InvalidArgument for a hook that can never be run."""
    if hooks is None:
        return
    names = zip(hooks.__struct_encode_fields__, hooks.__struct_fields__, strict=True)
    for phase, field in names:
        for hook in getattr(hooks, field):
            if not hook.path.startswith("/"):
                raise InvalidArgument(f"{phase} hook path {hook.path!r} is not absolute")
            if hook.timeout is not None and hook.timeout <= 0:
                raise InvalidArgument(
                    f"{phase} hook {hook.path}: timeout {hook.timeout} is not above 0 seconds"
                )


def allowance_s(hooks: list[oci.Hook]) -> float:
    """How long ``hooks`` may take together, in seconds."""
    return float(sum(hook.timeout or _DEFAULT_TIMEOUT_S for hook in hooks))


def run_hooks(phase: str, hooks: list[oci.Hook], state: oci.State, directory: str) -> None:
    """Run ``hooks`` one after the other in ``directory``, or in / if that is gone.

    Raises FailedPrecondition at the first that fails. The programs are looked for in the calling
    process's root. It has one thread.
    """
    document = _encode(state)
    for number, hook in enumerate(hooks):
        _run(f"error running {phase} hook #{number} ({hook.path})", hook, document, directory)


def _run(what: str, hook: oci.Hook, document: bytes, directory: str) -> None:
    state_fd = os.memfd_create("state", os.MFD_CLOEXEC)
    os.write(state_fd, document)
    os.lseek(state_fd, 0, os.SEEK_SET)
    output, theirs = os.pipe2(os.O_CLOEXEC)
    failed, tell = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(output, False)
    pid = os.fork()
    if pid == 0:
        try:
            _become(hook, (state_fd, theirs, theirs), directory)
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(127)
    for fd in (state_fd, theirs, tell):
        os.close(fd)
    try:
        if number := os.read(failed, 16):  # nothing: execve has closed it
            os.waitpid(pid, 0)
            raise FailedPrecondition(f"{what}: {os.strerror(int(number)).lower()}")
        _await(what, pid, output, hook.timeout or _DEFAULT_TIMEOUT_S)
    finally:
        os.close(failed)
        os.close(output)


def _become(hook: oci.Hook, stdio: tuple[int, int, int], directory: str) -> NoReturn:
    """In the child: the hook's surroundings, then the hook. Raises OSError."""
    try:
        die_with_parent(signal.SIGKILL)
    except KernelError as error:  # a filter, which startContainer hooks run under, may forbid it
        if error.errno not in _FILTERED:
            raise OSError(error.errno, error.syscall) from None
    try:
        os.chdir(directory)
    except FileNotFoundError:
        os.chdir("/")
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by the interpreter
        signal.signal(ignored, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    environment = dict(entry.split("=", 1) for entry in hook.env if "=" in entry)
    os.execve(hook.path, hook.args or [hook.path], environment)


_FILTERED = frozenset({1, 38})  # EPERM, ENOSYS


def _await(what: str, pid: int, output: int, timeout_s: int) -> None:
    deadline = time.monotonic() + timeout_s
    pidfd = os.pidfd_open(pid)
    said = b""
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(output, select.POLLIN)
        ended = False
        while not ended:
            left_ms = int((deadline - time.monotonic()) * 1000)
            ready = [fd for fd, _ in poll.poll(max(left_ms, 0))]
            if not ready:
                end_child(pid, pidfd)
                raise FailedPrecondition(f"{what}: killed, it took more than {timeout_s} s")
            ended = pidfd in ready
            if output in ready:
                chunk = _read(output)
                said = (said + chunk)[-_OUTPUT_BYTES:]
                if not chunk:
                    poll.unregister(output)
        said = (said + _read(output))[-_OUTPUT_BYTES:]
    finally:
        os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        how = f"exit status {code}" if code > 0 else f"signal {-code}"
        text = said.decode("utf-8", "replace").strip()
        raise FailedPrecondition(f"{what}: {how}{', output: ' + text if text else ''}")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""
