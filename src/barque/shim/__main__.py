"""``python -m barque.shim FD``: the spawner, with no more in memory than it needs.

It begins twice: the second time where nothing can be written (see ``runtime.shield``), with the
way back as further arguments.

Every fork copies the page tables of all that was ever loaded, and every end of a process takes
them down. msgspec does as well without typing_extensions, which brings inspect, ast and dis.
"""

import os
import sys

sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # imports as if not installed

if len(sys.argv) == 2:
    from barque.runtime.shield import shield

    if home := shield():
        command = [sys.executable, "-I", "-m", "barque.shim", sys.argv[1], *map(str, home)]
        os.execve("/proc/self/exe", command, os.environ)

from barque.shim.spawner import main  # noqa: E402 - after the lines above

main()
