"""What plain listings must not import: each of these costs more than the listing itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "argparse asyncio collections dataclasses datetime decimal email enum functools http inspect "
    "ipaddress json logging msgspec pathlib re rich shutil socket ssl subprocess tempfile typing "
    "urllib aiohttp barque.cli.template barque.cli.shapes"
).split()

PROGRAM = """
import sys
before = set(sys.modules)
from barque.cli.registry import find_command, find_path
path, _, _ = find_path(sys.argv[1].split())
command = find_command(path)
from barque.client.settings import Settings
import barque.cli.parser
{more}
print(*sorted(set(sys.modules) - before))
"""

LISTINGS = {
    "ps": """
from barque.cli.rows.containers import *
rows = [ContainerRow({"Id": "a", "Names": ["/x"], "Command": "sh"}, truncate=True)]
from barque.cli.listing import render
render(CONTAINERS, rows, "", DEFAULT)
""",
    "images": """
from barque.cli.rows.images import *
rows = image_rows([{"Id": "a", "RepoTags": ["x:1"], "Created": 1, "Size": 1}],
    truncate=True, digests=False, need_digest=False)
from barque.cli.listing import render
render(IMAGES, rows, "", DEFAULT)
""",
    "logs": "",
    "volume ls": "import barque.cli.rows.volumes",
    "network ls": "import barque.cli.rows.networks",
}


@pytest.mark.parametrize("command", LISTINGS)
def test_nothing_heavy_is_imported(command: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path = {sys.path!r}\n" + PROGRAM.format(more=LISTINGS[command]),
            command,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(done.stdout.split())
    assert "barque.cli.listing" in imported or command == "logs"
    assert not imported & set(HEAVY)
