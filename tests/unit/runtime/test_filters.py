"""Compiled filters that barque-runtime keeps: found again, and believed only where they may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from barque.models import oci
from barque.runtime import seccomp
from barque.runtime.command import filters
from barque.runtime.seccomp import compile_filter

WRONG = b"\x06\x00\x00\x00\x00\x00\xff\x7f"  # allows everything


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> oci.Seccomp:
    monkeypatch.setattr(seccomp, "_compiled", seccomp._Compiled())
    return oci.Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=[oci.Syscall(names=["mount"], action="SCMP_ACT_ERRNO")],
    )


def kept(root: Path) -> list[Path]:
    return sorted((root / "@seccomp").iterdir())


def forget() -> None:
    seccomp._compiled.profile = None


def prepared(root: Path, profile: oci.Seccomp) -> bytes:
    """What is loaded for ``profile`` after it was prepared, by a process that knows nothing."""
    forget()
    filters.prepare_filter(str(root), profile)
    return compile_filter(profile)


def test_a_filter_is_kept_and_taken_from_there(tmp_path: Path, profile: oci.Seccomp) -> None:
    code = compile_filter(profile)
    root = tmp_path / "root"
    assert prepared(root, profile) == code
    (path,) = kept(root)
    assert path.read_bytes() == code
    path.write_bytes(WRONG)
    assert prepared(root, profile) == WRONG  # it is not compiled again


def test_another_profile_has_another_filter(tmp_path: Path, profile: oci.Seccomp) -> None:
    first = prepared(tmp_path, profile)
    profile.syscalls[0].names.append("umount2")
    assert prepared(tmp_path, profile) != first
    assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_others_may_write_is_not_believed(
    tmp_path: Path, profile: oci.Seccomp, what: str
) -> None:
    code = prepared(tmp_path, profile)
    (path,) = kept(tmp_path)
    path.write_bytes(WRONG)
    (path if what == "file" else path.parent).chmod(0o777)
    assert prepared(tmp_path, profile) == code


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which root may")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_is_another_users_is_not_believed(
    tmp_path: Path, profile: oci.Seccomp, what: str
) -> None:
    code = prepared(tmp_path, profile)
    (path,) = kept(tmp_path)
    path.write_bytes(WRONG)
    os.chown(path if what == "file" else path.parent, 1000, 1000)
    assert prepared(tmp_path, profile) == code


def test_links_are_not_followed(tmp_path: Path, profile: oci.Seccomp) -> None:
    code = prepared(tmp_path, profile)
    (path,) = kept(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(WRONG)
    path.unlink()
    path.symlink_to(elsewhere)
    assert prepared(tmp_path, profile) == code
    assert elsewhere.read_bytes() == WRONG


def test_what_is_kept_has_an_end(
    tmp_path: Path, profile: oci.Seccomp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "_MOST", 3)
    for number in range(10):
        profile.syscalls[0].errno_ret = number + 1
        prepared(tmp_path, profile)
        assert 1 <= len(kept(tmp_path)) <= 3


def test_nothing_is_kept_where_nothing_can_be(tmp_path: Path, profile: oci.Seccomp) -> None:
    code = compile_filter(profile)
    root = tmp_path / "file"
    root.write_text("")
    assert prepared(root, profile) == code


def test_no_profile_is_no_filter(tmp_path: Path) -> None:
    filters.prepare_filter(str(tmp_path), None)
    assert not (tmp_path / "@seccomp").exists()
