"""userns-remap, as dockerd reads it."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from barque.daemon.remap import load_remap
from barque.errors import BarqueError
from barque.models.oci import IdMapping

NOBODY = pwd.getpwuid(65534)
GROUP = grp.getgrgid(65534).gr_name


def load(directory: Path, text: str, lines: str) -> list[tuple[int, int, int]]:
    path = directory / "subids"
    path.write_text(lines)
    ids = load_remap(text, path, path)
    assert ids is not None
    assert [m.size for m in ids.uids] == [m.size for m in ids.gids]
    return [(m.container_id, m.host_id, m.size) for m in ids.uids]


def test_nothing_is_nothing() -> None:
    assert load_remap("") is None
    assert load_remap("root") is None


@pytest.mark.parametrize(
    "text",
    [f"{NOBODY.pw_name}:{GROUP}", "65534", "65534:65534", f"{NOBODY.pw_name}:65534"],
)
def test_users(tmp_path: Path, text: str) -> None:
    lines = f"{NOBODY.pw_name}:100000:65536\n{GROUP}:100000:65536\nx:1:1\n"
    assert load(tmp_path, text, lines)[0] == (0, 100000, 65536)


def test_by_number_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "subids"
    path.write_text("65534:100000:10\n65534:300000:20\n")
    groups = tmp_path / "subgids"
    groups.write_text(f"{GROUP}:7:30\n")
    ids = load_remap("65534", path, groups)
    assert ids is not None
    assert ids.uids == [
        IdMapping(container_id=0, host_id=100000, size=10),
        IdMapping(container_id=10, host_id=300000, size=20),
    ]
    assert ids.gids == [IdMapping(container_id=0, host_id=7, size=30)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:b:c", 'invalid user/group specification in --userns-remap: "a:b:c"'),
        ("nonesuch", 'error during uid lookup for "nonesuch"'),
        ("4000000", "uid 4000000 has no entry in /etc/passwd"),
        ("65534:nonesuch", 'error during groupname lookup for "nonesuch"'),
        ("65534:4000000", "gid 4000000 has no entry in /etc/group"),
    ],
)
def test_errors_in_dockerds_words(text: str, said: str) -> None:
    with pytest.raises(BarqueError, match=said):
        load_remap(text)


def test_the_missing_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text("someone:100000:65536\n")
    with pytest.raises(BarqueError) as raised:
        load_remap("65534", path, path)
    assert str(raised.value) == (
        f'can\'t create ID mappings: no subuid ranges found for user "{NOBODY.pw_name}": add the '
        f"line {NOBODY.pw_name}:165536:65536 to {os.fspath(path)}"
    )
