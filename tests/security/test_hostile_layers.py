"""The corpus of hostile archives, unpacked by hand in every way that there is.

Around the root lies a sanctuary: files, directories and links that must be exactly as before
after every archive, whether it was unpacked or refused. ``test_hostile_archives`` says what must
become of each; here also a lower layer sets traps, and one attack prepares for the next.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from barque.errors import InvalidArgument, KernelError
from barque.images.tar import Limits, Source
from barque.images.unpack import Layer, Whiteouts
from support.hostile_archives import BLOBS, CASES, Case
from support.images import IS_ROOT, NEEDS_ROOT, make_tar

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)

LIMITS = Limits(entries=1000, total_bytes=64 << 20, file_bytes=1 << 40)
PLAIN = [case for case in CASES if case not in BLOBS]


def survey(path: Path) -> dict[str, tuple[object, ...]]:
    """Describe everything below ``path`` except the root that is attacked."""
    found: dict[str, tuple[object, ...]] = {}
    pending = [path]
    while pending:
        current = pending.pop()
        status = current.lstat()
        content: object = b""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(current)
        elif stat.S_ISREG(status.st_mode):
            content = current.read_bytes()
        times = (status.st_mtime_ns, status.st_ctime_ns)
        found[str(current)] = (status.st_mode, status.st_nlink, status.st_uid, times, content)
        if stat.S_ISDIR(status.st_mode):
            pending += list(current.iterdir())
    return found


def attack(tmp_path: Path, archive: bytes, whiteouts: Whiteouts) -> None:
    outside, lower, root = (tmp_path / name for name in ("outside", "lower", "root"))
    for path in (outside, lower, root):
        path.mkdir()
    (outside / "secret").write_text("secret")
    (outside / "directory").mkdir()
    (outside / "directory" / "file").write_text("kept")
    (lower / "file").write_text("lower")
    (lower / "trap").symlink_to(outside)
    fixed = [outside, lower]
    before = [survey(path) for path in fixed], Path("/etc").stat(), tmp_path.stat().st_mtime_ns
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (root, lower)]
    try:
        layer = Layer(fds[0], whiteouts, tuple(fds[1:]), LIMITS)
        with suppress(InvalidArgument, KernelError):
            layer.apply(Source([archive]))
    finally:
        for fd in fds:
            os.close(fd)
    after = [survey(path) for path in fixed], Path("/etc").stat(), tmp_path.stat().st_mtime_ns
    assert after[0] == before[0]
    assert after[1].st_mtime_ns == before[1].st_mtime_ns
    assert after[2] == before[2], "something was made beside the root"


@pytest.mark.parametrize("whiteouts", list(Whiteouts))
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_nothing_outside_is_touched(tmp_path: Path, case: Case, whiteouts: Whiteouts) -> None:
    attack(tmp_path, case.build(str(tmp_path / "outside")), whiteouts)


@pytest.mark.parametrize("whiteouts", list(Whiteouts))
def test_attacks_one_after_the_other(tmp_path: Path, whiteouts: Whiteouts) -> None:
    """Every entry of every attack that is let pass in one archive."""
    items = [
        item
        for case in PLAIN
        if isinstance(case.content, list) and not isinstance(case.verdict, str)
        for item in case.placed(str(tmp_path / "outside"))
        if item[0] != "link"
    ]
    assert len(items) > 80
    attack(tmp_path, make_tar(items), whiteouts)
