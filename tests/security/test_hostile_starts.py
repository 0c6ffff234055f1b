"""Starts and execs under attack, each against barque and against barque without one defence.

A row names the attack, the defences to be taken out (``support.weakenings``) and what makes an
attack a success. The strong build runs the same attack, planted faults included, and must not
be impressed; the weak build must fall. ``support.sentinels`` watches the host all along.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from barque.engine.shims import StartFailure
from barque.errors import BarqueError
from barque.models import oci
from barque.models.ids import ContainerId, ExecId
from barque.models.launch import ExecLaunch, UserNames
from support import sentinels, weakenings
from support.rootfs import busybox_is_here, write_busybox_tar
from support.shims import CGROUP_PARENT, Harness, client, make_root, read_all
from support.shims import run as run_with
from support.weakenings import (
    LEAKED_FD,
    PLANTED_CODEC,
    PLANTED_MODULE,
    start_spawner,
)

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces and mounts: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
]

SECRET = "what no container was given"


class Scene(NamedTuple):
    """Where an attack takes place: the image to be made hostile, and a directory of the host."""

    image: Path
    outside: Path
    shared: Path
    """A volume that others write to as well."""


Attack = Callable[[Scene, Harness], Awaitable[bool]]
"""Mounts the attack; tells whether it succeeded."""


class Row(NamedTuple):
    """``planted`` faults are in both builds, ``weakened`` defences are out in the weak one."""

    name: str
    attack: Attack
    weakened: tuple[str, ...]
    planted: tuple[str, ...] = ()
    host_changes: bool = False
    """The weak build lets the attack change what the sentinels watch."""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    image = make_root(tmp_path / "image", write_busybox_tar(tmp_path / "root.tar"))
    made = Scene(image, tmp_path / "outside", tmp_path / "shared")
    made.outside.mkdir()
    made.shared.mkdir()
    (made.outside / "secret").write_text(SECRET)
    return made


async def said_by(h: Harness, launch: object, name: str = "c") -> str:
    """The output of a container, to its end."""
    ours, theirs = client()
    await h.start(name, launch, theirs)  # type: ignore[arg-type]
    output = (await read_all(ours)).decode(errors="replace")
    await h.exit(name)
    return output


async def exec_in(h: Harness, process: oci.Process) -> str:
    """The output of an exec in a sleeping container; "" if it does not start."""
    if "c" not in h.host._shims:
        await h.start("c", h.launch("c", ["sleep", "100"]))
    ours, theirs = client()
    launch = ExecLaunch(process=process, names=UserNames(), cgroups_path=f"{CGROUP_PARENT}/c")
    try:
        await h.host.exec(
            ContainerId("c"), ExecId("x"), launch,
            tty=False, open_stdin=False, console_size=None, client=theirs,
        )  # fmt: skip
    except BarqueError as error:
        ours.close()
        output = str(error)
    else:
        output = (await read_all(ours)).decode(errors="replace")
        await h.exec_exit("x")
    await h.host.signal(ContainerId("c"), 9)
    await h.exit("c")
    return output


def bind(source: Path, destination: str) -> oci.Mount:
    return oci.Mount(destination=destination, type="bind", source=str(source), options=["rbind"])


async def start_in_leaked_directory(scene: Scene, h: Harness) -> bool:
    """CVE-2024-21626: WORKDIR names a descriptor that is open on its way to execve."""
    process = h.process(["cat", f".{scene.outside}/secret"])
    process.cwd = f"/proc/self/fd/{LEAKED_FD}"
    return SECRET in await exec_in(h, process)


async def read_through_leaked_descriptor(scene: Scene, h: Harness) -> bool:
    """The program looks for what it has inherited."""
    place = f"/proc/self/fd/{LEAKED_FD}{scene.outside}/secret"
    return SECRET in await said_by(h, h.launch("c", ["cat", place]))


async def run_a_module_of_the_image(scene: Scene, h: Harness) -> bool:
    """CVE-2019-14271: who enters a hostile root loads nothing there."""
    import sys

    mark = "import os; os.makedirs('/mark', exist_ok=True)\n"
    places = [p for p in sys.path if p.startswith("/")] + [os.path.dirname(os.__file__)]
    for place in places:
        target = scene.image / place.lstrip("/")
        (target / "encodings").mkdir(parents=True, exist_ok=True)
        (target / f"{PLANTED_MODULE}.py").write_text(mark)
        (target / "encodings" / f"{PLANTED_CODEC.replace('-', '_')}.py").write_text(mark)
    return "mark" in (await exec_in(h, h.process(["ls", "/"]))).split()


async def read_a_coding_cookie_of_the_image(scene: Scene, h: Harness) -> bool:
    """A traceback reads "our" source from the image, which says in what it is coded."""
    encodings = scene.image / os.path.dirname(os.__file__).lstrip("/") / "encodings"
    encodings.mkdir(parents=True)
    mark = "import os; os.makedirs('/mark', exist_ok=True)\n"
    (encodings / f"{PLANTED_CODEC.replace('-', '_')}.py").write_text(mark)
    source = scene.image / weakenings.__file__.lstrip("/")
    source.parent.mkdir(parents=True)
    source.write_text(f"# -*- coding: {PLANTED_CODEC} -*-\n" + "x\n" * 1000)
    return "mark" in (await exec_in(h, h.process(["ls", "/"]))).split()


async def keep_the_groups_of_the_engine(scene: Scene, h: Harness) -> bool:
    """CVE-2022-36109 and its kin: groups of whoever started the engine are the container's."""
    launch = h.launch("c", ["grep", "Groups", "/proc/self/status"], user="nobody")
    return "4242" in (await said_by(h, launch)).split()


async def redirect_what_procfs_is_told(scene: Scene, h: Harness) -> bool:
    """CVE-2025-52881, CVE-2019-16884: /proc is a volume, and what is written lands there."""
    place = scene.shared / "sys/net/ipv4"
    place.mkdir(parents=True)
    victim = place / "ip_unprivileged_port_start"
    victim.write_text("9")
    launch = h.launch("c", ["true"])
    launch.spec.linux.sysctl = {"net.ipv4.ip_unprivileged_port_start": "0"}
    launch.spec.linux.masked_paths = launch.spec.linux.readonly_paths = []
    launch.spec.mounts = [
        bind(scene.shared, "/proc") if mount.destination == "/proc" else mount
        for mount in launch.spec.mounts
    ]
    await said_by(h, launch)
    return victim.read_text() != "9"


async def swap_the_null_device(scene: Scene, h: Harness) -> bool:
    """CVE-2025-31133: a mask that shows another file of the kernel's."""
    (scene.shared / "null").symlink_to("/proc/sys/kernel/core_pattern")
    launch = h.launch("c", ["cat", "/proc/timer_list"])
    launch.spec.mounts = [m for m in launch.spec.mounts if not m.destination.startswith("/dev")]
    launch.spec.mounts.append(bind(scene.shared, "/dev"))
    try:
        said = await said_by(h, launch)
    except StartFailure:
        return False
    return said.strip() == Path("/proc/sys/kernel/core_pattern").read_text().strip()


async def move_the_console(scene: Scene, h: Harness) -> bool:
    """CVE-2025-52565: /dev is shared, and its console is a link, here to a file to be made.

    There is no weakened build: what is shown there is the terminal itself, by a descriptor that
    came from its other side (TIOCGPTPEER). A path to be swapped, /dev/pts/0, does not occur.
    """
    os.mknod(scene.shared / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (scene.shared / "console").symlink_to(scene.outside / "new")
    launch = h.launch("c", ["true"], tty=True)
    own = [m for m in launch.spec.mounts if m.destination == "/dev/pts"]
    others = [m for m in launch.spec.mounts if not m.destination.startswith("/dev")]
    launch.spec.mounts = [*others, bind(scene.shared, "/dev"), *own]
    await said_by(h, launch)
    return (scene.outside / "new").exists()


async def move_procfs(scene: Scene, h: Harness) -> bool:
    """CVE-2019-19921: an image's /proc is a link, and procfs is mounted where it leads."""
    (scene.image / "proc").rmdir()
    (scene.image / "proc").symlink_to("/tmp")
    try:
        return "self" in (await said_by(h, h.launch("c", ["ls", "/tmp"]))).split()
    except StartFailure:
        return False


async def mount_through_a_link(scene: Scene, h: Harness) -> bool:
    """CVE-2021-30465 without the race: a volume has a link where another is to be mounted."""
    (scene.shared / "link").symlink_to(scene.outside)
    launch = h.launch("c", ["true"])
    launch.spec.mounts = [
        *launch.spec.mounts,
        bind(scene.shared, "/data"),
        oci.Mount(destination="/data/link/new", type="tmpfs", source="tmpfs", options=[]),
    ]
    await said_by(h, launch)
    return (scene.outside / "new").exists()


async def climb_with_a_sysctl(scene: Scene, h: Harness) -> bool:
    """A name that begins as the container's own ends at the host's. It is set to what it is."""
    launch = h.launch("c", ["true"])
    value = Path("/proc/sys/vm/swappiness").read_text().strip()
    launch.spec.linux.sysctl = {"net.//.vm.swappiness": value}
    try:
        await said_by(h, launch)
    except StartFailure:
        return False
    return True


async def be_user_minus_one(scene: Scene, h: Harness) -> bool:
    """setresuid(-1) means no change."""
    try:
        said = await said_by(h, h.launch("c", ["id", "-u"], user=f"{2**32 - 1}:{2**32 - 1}"))
    except StartFailure:
        return False
    return said.strip() == "0"


async def be_a_user_named_like_a_number(scene: Scene, h: Harness) -> bool:
    """CVE-2016-3697: an orchestrator that wants user 1000 gets the image's idea of it."""
    with (scene.image / "etc/passwd").open("a") as file:
        file.write("1000:x:0:0::/root:/bin/sh\n")
    said = await said_by(h, h.launch("c", ["id", "-u"], user="1000"))
    return said.strip() == "0"


async def be_in_a_group_named_like_a_number(scene: Scene, h: Harness) -> bool:
    with (scene.image / "etc/group").open("a") as file:
        file.write("1000:x:0:\n")
    said = await said_by(h, h.launch("c", ["id", "-g"], user="nobody:1000"))
    return said.strip() == "0"


async def make_passwd_large(scene: Scene, h: Harness) -> bool:
    """A sparse passwd: 32 MiB here, as one of 4 GiB would take this machine's memory."""
    with (scene.image / "etc/passwd").open("ab") as file:
        file.truncate(32 << 20)
    try:
        await said_by(h, h.launch("c", ["true"]))
    except StartFailure:
        return False
    return True


async def reach_an_abstract_socket(scene: Scene, h: Harness) -> bool:
    """CVE-2020-15257: a container in the host's network sees all abstract sockets."""
    launch = h.launch("c", ["cat", "/proc/net/unix"])
    launch.spec.linux.namespaces = [n for n in launch.spec.linux.namespaces if n.type != "network"]
    names = [line.split()[-1] for line in (await said_by(h, launch)).splitlines()]
    barques = [name for name in names if name.startswith("@") and "barque" in name]
    return bool(barques)


async def inherit_capabilities(scene: Scene, h: Harness) -> bool:
    """CVE-2022-24769: a file's inheritable set meets one of the process that is not empty."""
    tool = scene.image / "bin/grep-with-caps"
    tool.write_bytes((scene.image / "bin/busybox").read_bytes())
    tool.chmod(0o755)
    net_bind = 1 << 10
    value = b"\x00\x00\x00\x02" + b"".join(n.to_bytes(4, "little") for n in (0, net_bind, 0, 0))
    os.setxattr(tool, "security.capability", value)
    command = "exec -a grep /bin/grep-with-caps CapPrm /proc/self/status"
    launch = h.launch("c", ["sh", "-c", command], user="nobody")
    said = await said_by(h, launch)
    assert said.startswith("CapPrm")
    return int(said.split()[1], 16) & net_bind != 0


ROWS = [
    Row("WORKDIR in a leaked directory", start_in_leaked_directory,
        ("descriptors stay open", "the working directory is trusted",
         "execs are branched off at once"), ("plant a descriptor",)),
    Row("an inherited directory", read_through_leaked_descriptor,
        ("descriptors stay open",), ("plant a descriptor",)),
    Row("modules of the image", run_a_module_of_the_image,
        ("imports stay open",), ("plant a lazy import",)),
    Row(
        "a coding cookie of the image",
        read_a_coding_cookie_of_the_image,
        ("imports stay open",),
        ("plant a traceback",),
    ),
    Row("groups of the engine", keep_the_groups_of_the_engine, ("groups are kept",)),
    Row("a volume as /proc", redirect_what_procfs_is_told,
        ("the container's procfs is written",)),
    Row("a swapped null device", swap_the_null_device, ("any null device will do",)),
    Row("abstract sockets in the host's network", reach_an_abstract_socket,
        ("plant an abstract socket",)),
    Row("inheritable capabilities", inherit_capabilities, ("inheritable sets are full",)),
    Row("/proc behind a link", move_procfs, ("kernel mounts follow links",)),
    Row("a mount behind a link", mount_through_a_link, ("paths are strings",), host_changes=True),
    Row("a climbing sysctl", climb_with_a_sysctl, ("any sysctl is set",)),
    Row("user -1", be_user_minus_one, ("any number is an id",)),
    Row("a user named 1000", be_a_user_named_like_a_number, ("names before numbers",)),
    Row("a group named 1000", be_in_a_group_named_like_a_number, ("names before numbers",)),
    Row("a large passwd", make_passwd_large, ("files are read without end",)),
]  # fmt: skip


def _name(row: Row) -> str:
    return row.name


def succeeds(row: Row, scene: Scene, tmp_path: Path, defences_out: tuple[str, ...]) -> bool:
    """Run the row's attack on a build without these defences."""
    result: list[bool] = []

    async def body(h: Harness) -> None:
        result.append(await row.attack(scene, h))

    groups = os.getgroups()
    os.setgroups([*groups, 4242])  # of whoever starts an engine
    try:
        start = partial(start_spawner, *row.planted, *defences_out)
        run_with(body, tmp_path, scene.image, start)
    finally:
        os.setgroups(groups)
    return result[0]


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_barque_stands(row: Row, scene: Scene, tmp_path: Path) -> None:
    before = sentinels.look(scene.outside)
    assert not succeeds(row, scene, tmp_path, ())
    assert sentinels.look(scene.outside).changed(before) == []


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_barque_without_its_defence_falls(row: Row, scene: Scene, tmp_path: Path) -> None:
    before = sentinels.look(scene.outside)
    assert succeeds(row, scene, tmp_path, row.weakened)
    assert bool(sentinels.look(scene.outside).changed(before)) == row.host_changes


def test_console_of_a_shared_dev(scene: Scene, tmp_path: Path) -> None:
    before = sentinels.look(scene.outside)
    assert not succeeds(Row("console", move_the_console, ()), scene, tmp_path, ())
    assert sentinels.look(scene.outside).changed(before) == []
