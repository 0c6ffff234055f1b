"""The processes of a container, as ``docker top`` shows them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from barque.cgroups.contract import Cgroup
from barque.engine.processes import find_columns, list_processes
from barque.errors import FailedPrecondition, InvalidArgument

PS_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Processes:
    """A table: a row of titles, and one row a process."""

    titles: list[str]
    rows: list[list[str]]


async def list_container_processes(cgroup: Cgroup, ps_args: str) -> Processes:
    """Return what ``ps ps_args`` would show of the processes in ``cgroup``.

    Usual arguments are answered by our own code; for others the host's ps is asked, if it has
    one. Raises InvalidArgument if ps does not understand them, or shows no PID.
    """
    words = ps_args.split() or ["-ef"]
    columns = find_columns(words)
    pids = await asyncio.to_thread(cgroup.pids)
    if columns is None:
        return await _ask_host(words, pids)
    rows = await asyncio.to_thread(list_processes, pids, columns)
    return Processes([title for title, _ in columns], rows)


async def _ask_host(words: Sequence[str], pids: Collection[int]) -> Processes:
    program = shutil.which("ps")
    if program is None:
        raise InvalidArgument(
            f"ps arguments {' '.join(words)!r}: without a ps program on this host, barque knows "
            "-ef, aux and -o with a list of columns"
        )
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), PS_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise FailedPrecondition(f"ps did not answer within {PS_TIMEOUT_S:.0f} s") from None
    if process.returncode:
        raise InvalidArgument(f"ps {' '.join(words)}: {errors.decode(errors='replace').strip()}")
    return parse_output(output.decode(errors="replace"), pids)


def parse_output(text: str, pids: Collection[int]) -> Processes:
    """Pick the rows of ``pids`` out of ps's output. Raises InvalidArgument without a PID column."""
    lines = text.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    index = titles.index("PID")
    rows = []
    for line in lines[1:]:
        cells = line.split(maxsplit=len(titles) - 1)
        if len(cells) > index and cells[index].isdecimal() and int(cells[index]) in pids:
            rows.append(cells)
    return Processes(titles, rows)
