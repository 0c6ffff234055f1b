"""Caches and memory bandwidth: Intel's Resource Director Technology, by the resctrl files.

A class of service is a directory of the resctrl file system with a ``schemata`` (what it may use)
and ``tasks`` (who is in it); a monitoring group is one below its ``mon_groups``. A container gets
the class that ``closID`` names, or one of its own by its id.

Source: runtime-spec config-linux.md "IntelRdt"; the kernel's filesystems/resctrl.rst.
"""

from __future__ import annotations

import os

from barque.errors import FailedPrecondition, InvalidArgument, KernelError
from barque.kernel.files import write_value
from barque.models import oci


def find_resctrl() -> str:
    """Where the resctrl file system is mounted. Raises FailedPrecondition if it is not."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields, _, rest = line.partition(" - ")
            if rest.startswith("resctrl "):
                return fields.split(" ")[4]
    raise FailedPrecondition(
        "intelRdt: the resctrl file system is not mounted on this host: mount it (mount -t resctrl "
        "resctrl /sys/fs/resctrl; it needs a processor with RDT), or leave intelRdt out"
    )


def check_rdt(rdt: oci.IntelRdt) -> None:
    """Raise InvalidArgument for what the specification does not allow."""
    if rdt.clos_id in {".", ".."} or (len(rdt.clos_id) > 1 and "/" in rdt.clos_id):
        raise InvalidArgument(f"invalid intelRdt.closID {rdt.clos_id!r}")
    for line in (rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata):
        if "\n" in line:
            raise InvalidArgument(f"intelRdt: {line!r} is more than one line")
    if rdt.mem_bw_schema and not rdt.mem_bw_schema.startswith("MB:"):
        raise InvalidArgument(f"intelRdt.memBwSchema {rdt.mem_bw_schema!r} does not begin with MB:")


class ClassOfService:
    """The class and the monitoring group of container ``id_``, below ``root``.

    ``root`` is where resctrl is mounted.
    """

    def __init__(self, root: str, id_: str, rdt: oci.IntelRdt) -> None:
        self._root = root
        self._rdt = rdt
        self._own = not rdt.clos_id
        self._directory = os.path.normpath(f"{root}/{(rdt.clos_id or id_).strip('/')}")
        self._monitor = f"{self._directory}/mon_groups/{id_}" if rdt.enable_monitoring else ""

    @property
    def _lines(self) -> list[str]:
        """What is to be in the schemata, in the order in which it is to be written."""
        rdt = self._rdt
        return [line for line in (rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata) if line]

    def check(self) -> None:
        """Raise FailedPrecondition for a class that is not as this container wants it.

        One with a name belongs to whoever made it, and where nothing is said of what it may use
        it must be there. One of the container's own must not: so what there is later is ours.
        """
        exists = os.path.isdir(self._directory)
        if self._own and exists:
            raise FailedPrecondition(
                f"intelRdt: {self._directory} is there already: remove it, or name it as closID"
            )
        if not self._own and not exists and not self._lines:
            raise FailedPrecondition(
                f"intelRdt: closID {self._rdt.clos_id!r} does not exist, and nothing is said of "
                "what it may use: make it beforehand, or give schemata"
            )
        if exists:
            self._compare()

    def create(self) -> None:
        """Make what is not there. Raises KernelError. Precondition: ``check`` has passed."""
        if not os.path.isdir(self._directory):
            self._mkdir(self._directory)
            for line in self._lines:
                self._write(f"{self._directory}/schemata", line)
        if self._monitor:
            self._mkdir(self._monitor)

    def _compare(self) -> None:
        with open(f"{self._directory}/schemata", encoding="ascii") as file:
            found = {_parse_schema(line) for line in file if line.strip()}
        for line in self._lines:
            kind, wanted = _parse_schema(line)
            there = {value for name, values in found if name == kind for value in values}
            if not wanted <= there:
                raise FailedPrecondition(
                    f"intelRdt: closID {self._rdt.clos_id!r} exists, and its schemata have not "
                    f"{line!r}: use another name, or change it beforehand"
                )

    def update(self, lines: list[str]) -> None:
        """Change what the class may use; nothing of it is checked beforehand. Raises KernelError.

        Who shares a class that was named has the new shares, too.
        """
        for line in lines:
            self._write(f"{self._directory}/schemata", line)

    def join(self, pid: int) -> None:
        """Move a process, which has one thread, into the class. Raises KernelError."""
        for directory in (self._directory, self._monitor):
            if directory:
                self._write(f"{directory}/tasks", str(pid))

    def remove(self) -> None:
        """Remove what ``create`` makes for this container alone. Idempotent. Raises KernelError."""
        for directory in (self._monitor, self._directory if self._own else ""):
            try:
                if directory:
                    os.rmdir(directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise KernelError("rmdir", error.errno or 0, directory) from None

    def _mkdir(self, path: str) -> None:
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            return
        except OSError as error:
            raise KernelError("mkdir", error.errno or 0, path, self._status()) from None

    def _write(self, path: str, line: str) -> None:
        try:
            write_value(path, f"{line}\n")
        except OSError as error:
            what = f"write {line!r} to"
            raise KernelError(what, error.errno or 0, path, self._status()) from None

    def _status(self) -> str:
        """What the kernel says of its last refusal."""
        try:
            with open(f"{self._root}/info/last_cmd_status", encoding="ascii") as file:
                said = file.read().strip()
        except OSError:
            return ""
        return "" if said == "ok" else said


def _parse_schema(line: str) -> tuple[str, frozenset[tuple[int, str]]]:
    """``L3:0=7f0;1=1f`` as its kind and what it says of each cache, however it is written."""
    kind, _, values = line.strip().partition(":")
    pairs = (word.partition("=") for word in values.split(";") if word)
    parsed = frozenset((int(cache), value.strip().lstrip("0").lower()) for cache, _, value in pairs)
    return kind.strip(), parsed
