from __future__ import annotations

import pytest

from barque.engine.propagation import _find_mount, root_propagation
from barque.errors import InvalidArgument

TABLE = """\
20 1 8:1 / / rw - ext4 /dev/vda rw
21 20 0:5 / /srv rw shared:7 - tmpfs tmpfs rw
22 21 0:6 / /srv/with\\040space rw master:7 propagate_from:2 - tmpfs tmpfs rw
23 20 0:7 / /srvother rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", ("/", "")),
        ("/srv", ("/srv", "shared:7")),
        ("/srv/a/b", ("/srv", "shared:7")),
        ("/srv/with space/x", ("/srv/with space", "master:7 propagate_from:2")),
        ("/srvother", ("/srvother", "")),
        ("/srvoth", ("/", "")),
    ],
)
def test_the_mount_that_holds_a_path(path: str, found: tuple[str, str]) -> None:
    assert _find_mount(path, TABLE) == found


def test_private_binds_ask_nothing() -> None:
    assert root_propagation([]) == ""
    assert root_propagation([("/not/looked/at", "rprivate"), ("/nor/this", "")]) == ""


@pytest.mark.parametrize(("word", "kind"), [("rshared", "shared"), ("slave", "shared or slave")])
def test_a_source_that_shares_nothing_is_refused(word: str, kind: str) -> None:
    _require_private_proc()
    message = f"^path /proc is mounted on /proc but it is not a {kind} mount$"
    with pytest.raises(InvalidArgument, match=message):
        root_propagation([("/proc", word)])


def _require_private_proc() -> None:
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        point, optional = _find_mount("/proc", table.read())
    if point != "/proc" or optional:
        pytest.skip("needs a host whose /proc is a private mount")
