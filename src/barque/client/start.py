"""Starting the engine when a command finds nobody at the default socket.

Only for the default socket, and only as root: whoever chose another engine wants that one.
A lock makes sure that of several commands at once only one starts it; the others wait for
it and find the socket open.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import sys
import time

from barque.client.errors import CannotConnect

_DEADLINE_S = 20.0
_LOCK = "/run/barque.start.lock"
_LOG = "/var/log/barque.log"
_LOG_SHOWN_BYTES = 2000


def start_engine(path: str) -> None:
    """Start ``barqued`` in the background and return once it listens at ``path``.

    Its output goes to /var/log/barque.log. Raises :class:`CannotConnect` if we are not root,
    if it ends before it listens (with the end of its log), or after 20 s.
    """
    if os.geteuid() != 0:
        raise CannotConnect(
            f"Cannot connect to the barque engine at unix://{path}. "
            "Is it running? Start it with: sudo barqued"
        )
    deadline = time.monotonic() + _DEADLINE_S
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(lock, deadline)
        if _listens(path):
            return  # another command has just started it
        start = _size_of_log()
        pid = _spawn()
        pause_s = 0.002
        while not _listens(path):
            if os.waitpid(pid, os.WNOHANG)[0]:
                if _listens(path):
                    return
                raise CannotConnect(f"the engine did not start: {_end_of_log(start)}")
            if time.monotonic() > deadline:
                raise CannotConnect(
                    f"the engine (pid {pid}) does not listen at unix://{path} "
                    f"{_DEADLINE_S:.0f} s after its start; see {_LOG}"
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)
    finally:
        os.close(lock)


def _lock(lock: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise CannotConnect(
                    f"another command has been starting the engine for {_DEADLINE_S:.0f} s "
                    f"(it holds {_LOCK}); see {_LOG}"
                ) from None
            time.sleep(0.02)
        else:
            return


def _listens(path: str) -> bool:
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _command() -> list[str]:
    """``barqued`` of this installation: beside this interpreter, else as a module."""
    script = f"{os.path.dirname(sys.executable)}/barqued"
    if os.access(script, os.X_OK):
        return [script]
    return [sys.executable, "-c", "from barque.daemon.main import main; raise SystemExit(main())"]


def _spawn() -> int:
    """The pid of a detached engine: own session, root directory, log, no standard input."""
    command = _command()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDONLY)
        log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execv(command[0], command)
    except BaseException as error:  # noqa: BLE001 - a forked child never returns
        os.write(2, f"cannot start {command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _size_of_log() -> int:
    try:
        return os.stat(_LOG).st_size
    except FileNotFoundError:
        return 0


def _end_of_log(start: int) -> str:
    """What the engine has said since ``start``, its last 2000 bytes."""
    size = _size_of_log()
    try:
        log = os.open(_LOG, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return f"{_LOG}: {error.strerror}"
    try:
        said = os.pread(log, _LOG_SHOWN_BYTES, max(start, size - _LOG_SHOWN_BYTES))
    finally:
        os.close(log)
    return said.decode("utf-8", "replace").strip() or f"it said nothing (see {_LOG})"
