"""Hooks: programs that a spec has run at points of a container's life.

Each gets the container's state as JSON on stdin and exactly the environment that the spec
gives it. Source: runtime-spec config.md "POSIX-platform Hooks" and runtime.md "Lifecycle".
"""

from __future__ import annotations

import os
import select
import signal
import time

import msgspec

from barque.errors import FailedPrecondition, InvalidArgument
from barque.models import oci

_OUTPUT_BYTES = 4096
_DEFAULT_TIMEOUT_S = 120
"""A hook without a timeout may take this long: nothing here waits for ever."""

_encode = msgspec.json.Encoder().encode


def check_hooks(hooks: oci.Hooks | None) -> None:
    """Raise InvalidArgument for a hook that can never be run."""
    if hooks is None:
        return
    for phase in hooks.__struct_fields__:
        for hook in getattr(hooks, phase):
            if not hook.path.startswith("/"):
                raise InvalidArgument(f"{phase} hook path {hook.path!r} is not absolute")
            if hook.timeout is not None and hook.timeout <= 0:
                raise InvalidArgument(
                    f"{phase} hook {hook.path}: timeout {hook.timeout} is not above 0 seconds"
                )


def run_hooks(phase: str, hooks: list[oci.Hook], state: oci.State) -> None:
    """Run ``hooks`` one after the other. Raises FailedPrecondition at the first that fails.

    The programs are looked for in the calling process's root.
    """
    document = _encode(state)
    for number, hook in enumerate(hooks):
        _run(f"error running {phase} hook #{number} ({hook.path})", hook, document)


def _run(what: str, hook: oci.Hook, document: bytes) -> None:
    state_fd = os.memfd_create("state", os.MFD_CLOEXEC)
    os.write(state_fd, document)
    os.lseek(state_fd, 0, os.SEEK_SET)
    output, theirs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(output, False)
    environment = dict(entry.split("=", 1) for entry in hook.env if "=" in entry)
    actions = [(os.POSIX_SPAWN_DUP2, state_fd, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, theirs, number) for number in (1, 2)]
    try:
        pid = os.posix_spawn(
            hook.path,
            hook.args or [hook.path],
            environment,
            file_actions=actions,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which the interpreter ignores
        )
    except OSError as error:
        os.close(output)
        raise FailedPrecondition(f"{what}: {os.strerror(error.errno or 0).lower()}") from None
    finally:
        os.close(theirs)
        os.close(state_fd)
    try:
        _await(what, pid, output, hook.timeout or _DEFAULT_TIMEOUT_S)
    finally:
        os.close(output)


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
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.waitpid(pid, 0)
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
