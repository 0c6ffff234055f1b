"""Who a process runs as, by the image's own files, which may be hostile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from barque.errors import InvalidArgument, KernelError
from barque.models.launch import UserNames
from barque.runtime.users import Identity, resolve

PASSWD = """\
root:x:0:0::/root:/bin/sh
app:x:1000:1001::/home/app:/bin/sh
1000:x:0:0::/evil:/bin/sh
2000:x:0:0::/evil:/bin/sh
\N{ARABIC-INDIC DIGIT ONE}:x:7:7::/:/bin/sh
wide:x:4294967295:0::/:/bin/sh
"""
GROUP = """\
root:x:0:
app:x:1001:
extra:x:1002:app
3000:x:0:app
1001:x:0:
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


def look_up(root: Path, user: str, *groups: str) -> Identity:
    def open_path(path: str, flags: int) -> int:
        try:
            return os.open(f"{root}{path}", flags)
        except OSError as error:
            raise KernelError("open", error.errno or errno.EIO, path) from None

    return resolve(UserNames(user=user, groups=list(groups)), open_path)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (0,), "/root")),
        ("app", Identity(1000, 1001, (1001, 1002, 0), "/home/app")),
        ("1000", Identity(1000, 1001, (1001, 1002, 0), "/home/app")),
        ("2000", Identity(2000, 0, (0,), "")),
        ("app:extra", Identity(1000, 1002, (1002,), "/home/app")),
        ("app:1001", Identity(1000, 1001, (1001,), "/home/app")),
        ("0:3000", Identity(0, 3000, (3000,), "/root")),
        ("5:6", Identity(5, 6, (6,), "")),
        ("\N{ARABIC-INDIC DIGIT ONE}", Identity(7, 7, (7,), "/")),
    ],
)
def test_users(root: Path, user: str, expected: Identity) -> None:
    """A number is an id, whatever the image calls its users."""
    assert look_up(root, user) == expected


def test_groups_by_number_and_name(root: Path) -> None:
    assert look_up(root, "5", "3000", "extra").groups == (0, 3000, 1002)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", "unable to find user nobody"),
        ("wide", "unable to find user wide"),
        ("-1", "unable to find user -1"),
        ("0:nogroup", "unable to find group nogroup"),
        ("0:-1", "unable to find group -1"),
        ("2147483648", "out of range"),
        ("4294967296", "out of range"),
        ("0:4294967295", "out of range"),
        ("9" * 5000, "out of range"),
    ],
)
def test_nobody(root: Path, user: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        look_up(root, user)
