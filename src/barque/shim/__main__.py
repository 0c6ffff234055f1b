"""``python -m barque.shim FD``: the spawner, with no more in memory than it needs.

Every fork copies the page tables of all that was ever loaded, and every end of a process takes
them down. msgspec does as well without typing_extensions, which brings inspect, ast and dis.
"""

import sys

sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # imports as if not installed

from barque.shim.spawner import main  # noqa: E402 - after the line above

main()
