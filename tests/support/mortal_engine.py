"""barqued that notes each step by which it changes what it keeps, and can die before one.

A step is a system call, or a statement of its database, that changes something below the
data root; it is named by what it does, with random parts left out: ``rename ingest to blob``.
Steps are found by Python's audit hook and sqlite's trace, so the engine itself knows nothing of
this, and no step can be forgotten that goes through Python's own functions.

Run as a program with barqued's flags. ``MORTAL_ROOT`` is the data root. Steps count while the
file ``MORTAL_ARM`` exists; each is appended to the file ``MORTAL_RECORD``. Where the file names a
step, ``NAME#NUMBER``, the process kills itself before it.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
import threading
from collections import Counter
from typing import Any

_NAMES = {
    "os.mkdir": "mkdir",
    "os.remove": "remove",
    "os.rmdir": "rmdir",
    "os.link": "link",
    "os.symlink": "symlink",
    "os.rename": "rename",
    "open": "create",
}
_PLACES = (
    (r"content/ingest/deleted-.*", "deleted blob"),
    (r"content/ingest/partial-.*", "partial"),
    (r"content/ingest/.*", "ingest"),
    (r"content/blobs/\w+/.+", "blob"),
    (r"snapshots/\w+/\d+", "snapshot"),
    (r"snapshots/\w+/\d+/\w+", "directory of snapshot"),
    (r"trash/.*", "trash"),
    (r"containers/.*", "container"),
    (r"volumes/.*", "volume"),
)
_STATEMENT = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM) (\w+)|COMMIT", re.IGNORECASE)


def name_event(event: str, arguments: tuple[Any, ...], root: str) -> str:
    """Return the step's name, "" for what is none."""
    verb = _NAMES.get(event)
    if verb is None:
        return ""
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
        return ""
    places = [_find_place(path, root) for path in arguments[: 2 if event == "os.rename" else 1]]
    return f"{verb} {' to '.join(places)}" if all(places) else ""


def _find_place(path: object, root: str) -> str:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    text = os.fsdecode(path)
    if not text.startswith("/"):
        return "inside"  # below a directory's descriptor: in a layer or in the trash
    if not text.startswith(f"{root}/"):
        return ""
    for pattern, name in _PLACES:
        if re.fullmatch(pattern, text[len(root) + 1 :]):
            return name
    return ""


def name_statement(statement: str) -> str:
    """Return the step's name, "" for a statement that changes nothing."""
    found = _STATEMENT.match(statement.strip())
    if found is None:
        return ""
    return f"database: {found[1].split()[0].lower()} {found[2]}" if found[1] else "database: commit"


class Mortal:
    """Counts steps and dies before the one that it is told."""

    def __init__(self, root: str, arm: str, record: str) -> None:
        self._root = root
        self._arm = arm
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._kill: str | None = None
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def step(self, name: str) -> None:
        if not name:
            return
        with self._lock:
            if not os.path.exists(self._arm):
                self._kill = None
                return
            if self._kill is None:
                with open(self._arm) as file:
                    self._kill = file.read()
                self._seen.clear()
            self._seen[name] += 1
            os.write(self._record, f"{name}\n".encode())
            if self._kill == f"{name}#{self._seen[name]}":
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NAMES:
            self.step(name_event(event, arguments, self._root))

    def follow(self, connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(lambda statement: self.step(name_statement(statement)))


def main() -> int:
    mortal = Mortal(
        os.environ["MORTAL_ROOT"],
        os.environ["MORTAL_ARM"],
        os.environ["MORTAL_RECORD"],
    )
    from barque.content.store import Ingest
    from barque.daemon.main import main as run_engine
    from barque.images import layers
    from barque.kernel.files import sync_file_system

    connect = sqlite3.connect

    def connect_followed(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        mortal.follow(connection)
        return connection

    def before(name: str, function: Any) -> Any:
        def run(*arguments: Any) -> Any:
            mortal.step(name)
            return function(*arguments)

        return run

    sqlite3.connect = connect_followed  # type: ignore[assignment]
    os.fsync = before("sync file", os.fsync)
    vars(layers)["sync_file_system"] = before("sync layer", sync_file_system)
    Ingest.write = before("write ingest", Ingest.write)  # type: ignore[method-assign]
    sys.addaudithook(mortal.hear)
    return run_engine()


if __name__ == "__main__":
    sys.exit(main())
