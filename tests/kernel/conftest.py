"""What the tests of barque-runtime share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundle import Runtime
from support.census import settle, take_at_rest
from support.rootfs import busybox_is_here, write_busybox_tar
from support.shims import make_root


@pytest.fixture(scope="session")
def oci_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system that nobody changes."""
    if os.getuid() != 0:
        pytest.skip("makes namespaces and mounts: needs root")
    if not busybox_is_here():
        pytest.skip("needs the package busybox-static")
    directory = tmp_path_factory.mktemp("oci")
    os.chmod(directory.parent, 0o755)  # user namespaces walk to it
    return make_root(directory / "rootfs", write_busybox_tar(directory / "root.tar"))


@pytest.fixture
def runtime(tmp_path: Path, oci_root: Path) -> Iterator[Runtime]:
    """``barque-runtime`` and a bundle; nothing may be left of what it has made."""
    before = take_at_rest()
    made = Runtime(tmp_path, oci_root)
    yield made
    made.close()
    assert settle(before) == []
