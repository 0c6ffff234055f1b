"""Images that try to reach the host while their container is being built."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from barque.engine.shims import StartFailure
from barque.models import oci
from barque.models.ids import ContainerId
from barque.models.launch import CopyUp
from support.rootfs import busybox_is_here, write_busybox_tar
from support.shims import Harness, client, make_root, read_all
from support.shims import run as run_with

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces and mounts: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
]

Body = Callable[[Harness], Awaitable[None]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_root(tmp_path / "image", write_busybox_tar(tmp_path / "root.tar"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that no container was given."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "secret").write_text("untouched")
    return directory


def entries(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.mark.parametrize("place", ["proc", "sys"])
def test_kernel_file_systems_behind_links_are_refused(
    tmp_path: Path, image: Path, place: str
) -> None:
    (image / place).rmdir()
    (image / place).symlink_to("/tmp")

    async def body(h: Harness) -> None:
        with pytest.raises(StartFailure, match="is not a directory"):
            await h.start("link", h.launch("link", ["true"]))

    run_with(body, tmp_path, image)


def test_mount_points_behind_links_stay_inside(tmp_path: Path, image: Path, outside: Path) -> None:
    (image / "absolute").symlink_to(outside)
    (image / "climbing").symlink_to("../../../../../../.." + str(outside))
    volume = tmp_path / "volume"
    volume.mkdir()

    async def body(h: Harness) -> None:
        launch = h.launch("links", ["sh", "-c", f"echo in > {outside}/deep/file; ls {outside}"])
        for name in ("absolute", "climbing"):
            launch.spec.mounts = [
                *launch.spec.mounts,
                oci.Mount(
                    destination=f"/{name}/deep", type="bind", source=str(volume), options=["rbind"]
                ),
            ]
        ours, theirs = client()
        await h.start("links", launch, theirs)
        assert await read_all(ours) == b"deep\n"
        await h.exit("links")

    run_with(body, tmp_path, image)
    assert entries(outside) == {"secret": "untouched"}
    assert entries(volume) == {"file": "in\n"}


def test_working_directory_behind_a_link_is_made_inside(
    tmp_path: Path, image: Path, outside: Path
) -> None:
    (image / "out").symlink_to(outside)

    async def body(h: Harness) -> None:
        launch = h.launch("cwd", ["sh", "-c", "pwd; touch here"])
        assert launch.spec.process is not None
        launch.spec.process.cwd = "/out/new"
        ours, theirs = client()
        await h.start("cwd", launch, theirs)
        assert (await read_all(ours)).strip() == f"{outside}/new".encode()

    run_with(body, tmp_path, image)
    assert entries(outside) == {"secret": "untouched"}


def test_volume_is_filled_from_inside_only(tmp_path: Path, image: Path, outside: Path) -> None:
    (image / "data").symlink_to(outside)
    (image / "real").mkdir()
    (image / "real" / "link").symlink_to(outside / "secret")
    volumes = [tmp_path / "v1", tmp_path / "v2"]
    for volume in volumes:
        volume.mkdir()

    async def body(h: Harness) -> None:
        launch = h.launch("fill", ["true"])
        launch.copy_ups = [
            CopyUp(source="/data", target=str(volumes[0])),
            CopyUp(source="/real", target=str(volumes[1])),
        ]
        await h.start("fill", launch)
        await h.exit("fill")

    run_with(body, tmp_path, image)
    assert not list(volumes[0].iterdir())
    assert os.readlink(volumes[1] / "link") == str(outside / "secret")


def test_modules_and_codecs_of_the_image_are_never_run(tmp_path: Path, image: Path) -> None:
    """Wherever an interpreter would look, the image has a module that leaves a mark."""
    import sys

    mark = "open('/mark', 'w').write('run')\n"
    for entry in [p for p in sys.path if p.startswith("/")] + [os.path.dirname(os.__file__)]:
        target = image / entry.lstrip("/")
        (target / "encodings").mkdir(parents=True, exist_ok=True)
        for name in ("encodings/idna.py", "encodings/cp1252.py", "pwd.py", "traceback.py"):
            (target / name).write_text(mark)
    passwd = image / "etc" / "passwd"
    passwd.write_bytes(b"# -*- coding: cp1252 -*-\n\xff\xfe:x:1:1::/:\n" + passwd.read_bytes())

    async def body(h: Harness) -> None:
        ours, theirs = client()
        await h.start("mod", h.launch("mod", ["ls", "/"], user="nobody"), theirs)
        assert b"mark" not in (await read_all(ours)).split()
        await h.start("mod2", h.launch("mod2", ["sleep", "100"]))
        with pytest.raises(StartFailure):
            await h.exec("mod2", "x", ["missing"])
        out, passed = client()
        await h.exec("mod2", "y", ["ls", "/"], passed)
        assert b"mark" not in (await read_all(out)).split()
        await h.host.signal(ContainerId("mod2"), 9)
        await h.exit("mod2")

    run_with(body, tmp_path, image)


@pytest.mark.parametrize("what", ["huge", "fifo", "link", "directory", "device"])
def test_hostile_passwd(tmp_path: Path, image: Path, what: str) -> None:
    passwd = image / "etc" / "passwd"
    passwd.unlink()
    if what == "huge":
        with passwd.open("wb") as file:
            file.truncate(1 << 40)
    elif what == "fifo":
        os.mkfifo(passwd)
    elif what == "link":
        passwd.symlink_to("/etc/passwd")
    elif what == "directory":
        passwd.mkdir()
    else:
        os.mknod(passwd, 0o020666, os.makedev(1, 5))

    async def body(h: Harness) -> None:
        launch = h.launch("pw", ["true"])
        with pytest.raises(StartFailure):
            await h.start("pw", launch)

    run_with(body, tmp_path, image)


def test_interpreter_cannot_be_written_through_proc(tmp_path: Path, image: Path) -> None:
    """PID 1 of ``--init`` is our interpreter for the container's whole life."""
    script = (
        "exec 2>/dev/null; readlink /proc/1/exe; echo x > /proc/1/exe || echo refused;"
        "cat /proc/1/environ /proc/1/maps | wc -c"
    )

    async def body(h: Harness) -> None:
        ours, theirs = client()
        await h.start("exe", h.launch("exe", ["sh", "-c", script], init=True), theirs)
        assert (await read_all(ours)).decode().split() == ["refused", "0"]

    run_with(body, tmp_path, image)


def test_other_programs_of_the_image_are_not_used(tmp_path: Path, image: Path) -> None:
    """An image whose every tool is hostile still only runs what was asked for."""
    mark = "#!/bin/busybox sh\n/bin/busybox touch /mark\n"
    for name in ("ps", "ip", "mount", "gzip", "getent", "python3", "nft", "ldconfig"):
        path = image / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(mark)
        path.chmod(0o755)
    shutil.copytree(image / "bin", image / "sbin", symlinks=True)

    async def body(h: Harness) -> None:
        ours, theirs = client()
        await h.start("tools", h.launch("tools", ["busybox", "ls", "/"]), theirs)
        assert b"mark" not in (await read_all(ours)).split()

    run_with(body, tmp_path, image)
