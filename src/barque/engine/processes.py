"""What ``ps`` shows of processes, read from /proc by our own code. Source: proc(5), ps(1).

Nothing of the container is run for it. Processes are the host's numbers; users are named by
the host's /etc/passwd, as ``docker top`` does.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from barque.errors import InvalidArgument

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_DAY_S = 86400


@dataclass(frozen=True)
class Machine:
    """What the figures of processes are relative to."""

    boot_time: float
    uptime_s: float
    memory_bytes: int
    now: float

    @classmethod
    def read(cls) -> Machine:
        """Look at the clocks."""
        now = time.time()
        uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        memory = os.sysconf("SC_PHYS_PAGES") * _PAGE
        return cls(now - uptime_s, uptime_s, memory, now)


@dataclass(frozen=True)
class Process:
    """One process, as its files in /proc tell."""

    pid: int
    name: str
    fields: list[str]
    """Of ``stat``, from the state on (field 3 is the first)."""
    status: dict[str, str]
    command: str
    machine: Machine

    def number(self, field: int) -> int:
        """Field ``field`` of ``stat``, numbered as in proc(5)."""
        return int(self.fields[field - 3])

    @property
    def started(self) -> float:
        """When it began, in seconds since 1970."""
        return self.machine.boot_time + self.number(22) / _TICKS

    @property
    def age_s(self) -> float:
        """For how long it has run."""
        return max(self.machine.uptime_s - self.number(22) / _TICKS, 0.0)

    @property
    def cpu_s(self) -> int:
        """Processor time in whole seconds."""
        return (self.number(14) + self.number(15)) // _TICKS

    @property
    def cpu_percent(self) -> float:
        """Processor time relative to its age."""
        ticks = self.number(14) + self.number(15)
        return 100 * ticks / _TICKS / self.age_s if self.age_s else 0.0

    @property
    def memory_percent(self) -> float:
        """Resident memory relative to the machine's."""
        return 100 * self.number(24) * _PAGE / self.machine.memory_bytes

    def id(self, kind: str, which: int) -> int:
        """A user or group id: ``kind`` Uid or Gid; ``which`` 0 real, 1 effective, 2 saved."""
        return int(self.status[kind].split()[which])


def read_process(pid: int, machine: Machine) -> Process | None:
    """Read a process, or None if it has ended."""
    directory = Path(f"/proc/{pid}")
    try:
        stat = (directory / "stat").read_text(errors="replace")
        status = (directory / "status").read_text(errors="replace")
        arguments = (directory / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    command = _show_command(arguments, name, fields[0])
    lines = (line.partition(":") for line in status.splitlines())
    return Process(
        pid=pid,
        name=name,
        fields=fields,
        status={key: value.strip() for key, _, value in lines},
        command=command,
        machine=machine,
    )


def _show_command(arguments: bytes, name: str, state: str) -> str:
    if state == "Z":
        return f"[{name}] <defunct>"
    text = arguments.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return "".join(char if char.isprintable() else "?" for char in text) or f"[{name}]"


@cache
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _user(process: Process) -> str:
    name = _user_name(process.id("Uid", 1))
    return name if len(name) <= 8 else name[:7] + "+"


def _terminal(process: Process) -> str:
    number = process.number(7) & 0xFFFFFFFF
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if 136 <= major <= 143:
        return f"pts/{minor + 256 * (major - 136)}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return "?"


def _start(process: Process) -> str:
    began = time.localtime(process.started)
    if process.machine.now - process.started < _DAY_S:
        if began.tm_mday == time.localtime(process.machine.now).tm_mday:
            return f"{began.tm_hour:02}:{began.tm_min:02}"
    elif began.tm_year != time.localtime(process.machine.now).tm_year:
        return str(began.tm_year)
    return f"{_MONTHS[began.tm_mon - 1]}{began.tm_mday:02}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _clock(seconds: int) -> str:
    days, rest = divmod(seconds, _DAY_S)
    shown = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{shown}" if days else shown


def _elapsed(process: Process) -> str:
    seconds = int(process.age_s)
    return f"{seconds // 60:02}:{seconds % 60:02}" if seconds < 3600 else _clock(seconds)


def _flags(process: Process) -> str:
    """The state with BSD's letters behind it."""
    flags = process.fields[0]
    nice = process.number(19)
    flags += "<" if nice < 0 else "N" if nice > 0 else ""
    flags += "L" if process.status.get("VmLck", "0 kB").split()[0] != "0" else ""
    flags += "s" if process.number(6) == process.pid else ""
    flags += "l" if process.number(20) > 1 else ""
    return flags + ("+" if process.number(8) == process.number(5) else "")


Column = tuple[str, Callable[[Process], str]]

_COLUMNS: dict[str, Column] = {
    "pid": ("PID", lambda p: str(p.pid)),
    "ppid": ("PPID", lambda p: str(p.number(4))),
    "pgid": ("PGID", lambda p: str(p.number(5))),
    "sid": ("SID", lambda p: str(p.number(6))),
    "user": ("USER", _user),
    "uid": ("UID", lambda p: str(p.id("Uid", 1))),
    "ruid": ("RUID", lambda p: str(p.id("Uid", 0))),
    "gid": ("GID", lambda p: str(p.id("Gid", 1))),
    "comm": ("COMMAND", lambda p: p.name),
    "args": ("COMMAND", lambda p: p.command),
    "cmd": ("CMD", lambda p: p.command),
    "state": ("S", lambda p: p.fields[0]),
    "stat": ("STAT", _flags),
    "tty": ("TT", _terminal),
    "time": ("TIME", lambda p: _clock(p.cpu_s)),
    "etime": ("ELAPSED", _elapsed),
    "etimes": ("ELAPSED", lambda p: str(int(p.age_s))),
    "start_time": ("START", _start),
    "lstart": ("STARTED", lambda p: time.ctime(p.started)),
    "pcpu": ("%CPU", lambda p: f"{p.cpu_percent:.1f}"),
    "pmem": ("%MEM", lambda p: f"{p.memory_percent:.1f}"),
    "vsz": ("VSZ", lambda p: str(p.number(23) // 1024)),
    "rss": ("RSS", lambda p: str(p.number(24) * _PAGE // 1024)),
    "nice": ("NI", lambda p: str(p.number(19))),
    "pri": ("PRI", lambda p: str(39 - p.number(18))),
    "nlwp": ("NLWP", lambda p: str(p.number(20))),
    "psr": ("PSR", lambda p: str(p.number(39))),
}
_SYNONYMS = {
    "tgid": "pid",
    "pgrp": "pgid",
    "session": "sid",
    "sess": "sid",
    "euser": "user",
    "uname": "user",
    "euid": "uid",
    "egid": "gid",
    "ucomm": "comm",
    "ucmd": "comm",
    "command": "args",
    "s": "state",
    "tname": "tty",
    "tt": "tty",
    "cputime": "time",
    "stime": "start_time",
    "bsdstart": "start_time",
    "%cpu": "pcpu",
    "%mem": "pmem",
    "vsize": "vsz",
    "rssize": "rss",
    "rsz": "rss",
    "ni": "nice",
    "thcount": "nlwp",
}
_HEADINGS = {"euser": "EUSER", "euid": "EUID", "egid": "EGID", "stime": "STIME", "tty": "TT"}

_FULL: tuple[Column, ...] = (
    ("UID", _user),
    _COLUMNS["pid"],
    _COLUMNS["ppid"],
    ("C", lambda p: str(min(int(p.cpu_percent), 99))),
    ("STIME", _start),
    ("TTY", _terminal),
    _COLUMNS["time"],
    _COLUMNS["cmd"],
)
_AUX: tuple[Column, ...] = (
    _COLUMNS["user"],
    _COLUMNS["pid"],
    _COLUMNS["pcpu"],
    _COLUMNS["pmem"],
    _COLUMNS["vsz"],
    _COLUMNS["rss"],
    ("TTY", _terminal),
    _COLUMNS["stat"],
    ("START", _start),
    ("TIME", lambda p: f"{p.cpu_s // 60}:{p.cpu_s % 60:02}"),
    _COLUMNS["args"],
)
_PLAIN: tuple[Column, ...] = (
    _COLUMNS["pid"],
    ("TTY", _terminal),
    _COLUMNS["time"],
    ("CMD", lambda p: p.name),
)
_FORMS = {
    frozenset("ef"): _FULL,
    frozenset("Af"): _FULL,
    frozenset("f"): _FULL,
    frozenset("e"): _PLAIN,
    frozenset("A"): _PLAIN,
    frozenset("aux"): _AUX,
    frozenset("au"): _AUX,
    frozenset("u"): _AUX,
    frozenset("ux"): _AUX,
    frozenset("auxw"): _AUX,
}


def find_columns(words: Sequence[str]) -> list[Column] | None:
    """Return the columns that these arguments of ps ask for, or None if we do not know them.

    Known are ``-ef``, ``-e``, ``aux`` and ``-o`` (``-eo``, ``-Ao``, ``axo``) with a list of
    columns. Raises InvalidArgument if the columns asked for lack the PID.
    """
    columns: list[Column] = []
    form: Sequence[Column] | None = _FULL if not words else None
    pending = list(words)
    while pending:
        word = pending.pop(0)
        letters = word.removeprefix("-")
        if letters.endswith("o") and not letters.strip("eAaxo"):
            if not pending:
                return None
            for name in pending.pop(0).split(","):
                column = _find_column(name)
                if column is None:
                    return None
                columns.append(column)
            continue
        form = _FORMS.get(frozenset(letters))
        if form is None:
            return None
    chosen = columns or list(form or ())
    if not any(title == "PID" for title, _ in chosen):
        raise InvalidArgument("Couldn't find PID field in ps output")
    return chosen


def _find_column(name: str) -> Column | None:
    column = _COLUMNS.get(_SYNONYMS.get(name, name))
    return (_HEADINGS.get(name, column[0]), column[1]) if column else None


def list_processes(pids: Sequence[int], columns: Sequence[Column]) -> list[list[str]]:
    """Return the columns of those processes that are alive. Call it from a thread."""
    machine = Machine.read()
    found = (read_process(pid, machine) for pid in sorted(pids))
    return [[show(process) for _, show in columns] for process in found if process is not None]
