"""barque-runtime under attack: its interpreter, its processes at the gate, its control groups.

As in test_hostile_starts.py each attack is shown to succeed on a weakened build. The interpreter
under attack is a copy, so that a success costs nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import sentinels, weakenings
from support.bundle import Runtime
from support.rootfs import busybox_is_here, write_busybox_tar
from support.shims import make_root
from support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces and mounts: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
]

SECRET = "what the caller of the runtime knows"
UNSEALED = "the interpreter is not sealed"
DUMPABLE = "processes are dumpable"

OVERWRITE = """\
#!/bin/sh
n=0
while [ $n -lt 30 ]; do
  if (echo owned > /proc/self/fd/9) 2>/tmp/why; then echo written; exit; fi
  grep -q "busy" /tmp/why || break
  n=$((n + 1)); sleep 0.1
done
echo refused
"""
"""Descriptor 9 is the interpreter. Nobody writes to what runs, so it waits for the runtime's end."""


def hostile_loader() -> bytes:
    """An ELF interpreter that keeps /proc/self/exe open as 9 and becomes /bin/sh /overwrite.

    The kernel runs it for every dynamic program, with the program's own /proc/self/exe.
    """
    code = bytes.fromhex(
        "b802000000"  # open(exe, O_RDONLY)
        "488d3d00000000"
        "31f60f05"
        "89c7be09000000b8210000000f05"  # dup2(., 9)
        "31c050"  # argv: 0,
        "488d050000000050"  # script,
        "488d050000000050"  # shell
        "4889e6"
        "488d3d00000000"  # execve(shell, argv, 0)
        "31d2b83b0000000f05"
        "89c7b83c0000000f05"  # exit
    )
    texts = [b"/proc/self/exe\0", b"/overwrite\0", b"/bin/sh\0"]
    offsets = {}
    end = len(code)
    for text in texts:
        offsets[text] = end
        end += len(text)
    patched = bytearray(code)
    wanted = iter([texts[0], texts[1], texts[2], texts[2]])
    at = 0
    while (at := _next_lea(code, at)) >= 0:
        patched[at + 3 : at + 7] = (offsets[next(wanted)] - (at + 7)).to_bytes(4, "little")
        at += 7
    body = bytes(patched) + b"".join(texts)
    start = 64 + 56
    size = start + len(body)
    header = (
        b"\x7fELF\2\1\1" + bytes(9)
        + b"".join(n.to_bytes(w, "little") for n, w in (
            (3, 2), (62, 2), (1, 4), (start, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2),
            (1, 2), (64, 2), (0, 2), (0, 2)))
        + b"".join(n.to_bytes(w, "little") for n, w in (
            (1, 4), (5, 4), (0, 8), (0, 8), (0, 8), (size, 8), (size, 8), (4096, 8)))
    )  # fmt: skip
    return header + body


def _next_lea(code: bytes, at: int) -> int:
    found = [i for i in (code.find(b"\x48\x8d\x3d", at), code.find(b"\x48\x8d\x05", at)) if i >= 0]
    return min(found, default=-1)


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    os.chmod(directory.parent, 0o755)  # user namespaces walk to it
    root = make_root(directory / "rootfs", write_busybox_tar(directory / "root.tar"))
    for name, content in (("overwrite", OVERWRITE), ("bin/shebang", "#!/proc/self/exe\n")):
        (root / name).write_text(content)
        (root / name).chmod(0o755)
    loader = root / "lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    loader.write_bytes(hostile_loader())
    loader.chmod(0o755)
    return root


def copy_interpreter(directory: Path) -> Path:
    """A virtual environment like ours, whose interpreter is a file of its own."""
    ours = Path(sys.prefix)
    copy = directory / "bin" / os.path.basename(sys.executable)
    copy.parent.mkdir(parents=True)
    shutil.copyfile(os.path.realpath(sys.executable), copy)
    copy.chmod(0o755)
    shutil.copyfile(ours / "pyvenv.cfg", directory / "pyvenv.cfg")
    (directory / "lib").symlink_to(ours / "lib")
    return copy


class Build:
    """barque-runtime with some defences out, run by an interpreter that may be spoiled."""

    def __init__(self, directory: Path, rootfs: Path, *weakened: str) -> None:
        directory.mkdir()
        self.interpreter = copy_interpreter(directory / "venv")
        names = ",".join(weakened)
        command = [str(self.interpreter), "-I", weakenings.__file__, "runtime", names]
        self.runtime = Runtime(directory, rootfs, command)
        self.log = directory / "log"


@pytest.fixture
def builds(tmp_path: Path, rootfs: Path) -> Iterator[list[Build]]:
    """Builds to be closed at the end."""
    made: list[Build] = []
    yield made
    for build in reversed(made):
        if build.interpreter.stat().st_size > 1000:
            build.runtime.close()
        else:
            shutil.copyfile(os.path.realpath(sys.executable), build.interpreter)
            build.runtime.close()


def overwrites_its_interpreter(build: Build, way: str) -> bool:
    """CVE-2019-5736 by the image's entry point, by a script's first line, or by an exec.

    An exec's own program is looked for by who is nobody in the container's /proc: it has no self.
    """
    runtime, log = build.runtime, build.log
    if way == "exec":
        runtime.create("sleep 100", log)
        runtime.call("start", "c1")
        with log.open("w") as file:
            process = runtime.start("exec", "-d", "c1", "/bin/shebang", into=file)
            assert process.wait(20) == 0
    else:
        program = "/proc/self/exe" if way == "entry point" else "/bin/shebang"
        runtime.spec["process"]["args"] = [program]
        runtime.create("", log)
        runtime.call("start", "c1")
    wait_until(lambda: log.read_text().strip() in {"written", "refused"}, "it has tried")
    return log.read_text().strip() == "written"


WAYS = ["entry point", "shebang", "exec"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader is x86-64 machine code")
@pytest.mark.parametrize("way", WAYS)
def test_interpreter_is_not_overwritten(
    tmp_path: Path, rootfs: Path, builds: list[Build], way: str
) -> None:
    build = Build(tmp_path / "strong", rootfs)
    builds.append(build)
    before = sentinels.look(interpreters=[build.interpreter])
    assert not overwrites_its_interpreter(build, way)
    assert sentinels.look(interpreters=[build.interpreter]).changed(before) == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader is x86-64 machine code")
@pytest.mark.parametrize("way", WAYS)
def test_unsealed_interpreter_is_overwritten(
    tmp_path: Path, rootfs: Path, builds: list[Build], way: str
) -> None:
    build = Build(tmp_path / "weak", rootfs, UNSEALED)
    builds.append(build)
    before = sentinels.look(interpreters=[build.interpreter])
    assert overwrites_its_interpreter(build, way)
    assert sentinels.look(interpreters=[build.interpreter]).changed(before) == [
        str(build.interpreter)
    ]


def sees_into_a_created_process(
    tmp_path: Path, rootfs: Path, builds: list[Build], monkeypatch: pytest.MonkeyPatch, *weak: str
) -> bool:
    """A pod's neighbour reads the memory of a process that has not become its program yet."""
    neighbour = Build(tmp_path / "neighbour", rootfs)
    builds.append(neighbour)
    spy = "cat /proc/[0-9]*/environ /proc/[0-9]*/maps 2>/dev/null"
    neighbour.runtime.create(f"while :; do {spy}; sleep 0.1; echo round; done", neighbour.log)
    neighbour.runtime.call("start", "c1")
    pid = neighbour.runtime.pid()
    monkeypatch.setenv("BARQUE_ATTACK_SECRET", SECRET)
    created = Build(tmp_path / "created", rootfs, *weak)
    builds.append(created)
    for namespace in created.runtime.spec["linux"]["namespaces"]:
        if namespace["type"] == "pid":
            namespace["path"] = f"/proc/{pid}/ns/pid"
    created.runtime.create("true", created.log)
    seen = neighbour.log.stat().st_size
    wait_until(lambda: _rounds_after(neighbour.log, seen) > 2, "the neighbour has looked")
    return SECRET in neighbour.log.read_text(errors="replace")


def _rounds_after(log: Path, offset: int) -> int:
    return log.read_bytes()[offset:].count(b"round")


def test_process_at_its_gate_is_not_seen_into(
    tmp_path: Path, rootfs: Path, builds: list[Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not sees_into_a_created_process(tmp_path, rootfs, builds, monkeypatch)


def test_dumpable_process_at_its_gate_is_seen_into(
    tmp_path: Path, rootfs: Path, builds: list[Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sees_into_a_created_process(tmp_path, rootfs, builds, monkeypatch, UNSEALED, DUMPABLE)


LIFT_LIMITS = """\
for f in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do
  [ -f $f ] && (echo 0 > $f) 2>/dev/null && echo wrote $f
done
for f in memory/memory.limit_in_bytes pids/pids.max devices/devices.allow memory.max pids.max; do
  [ -f /sys/fs/cgroup/$f ] || continue
  (cat /sys/fs/cgroup/$f > /tmp/now; [ -s /tmp/now ] || echo a > /tmp/now
   cat /tmp/now > /sys/fs/cgroup/$f) 2>/dev/null && echo wrote $f
done
mkdir -p /tmp/cg
if mount -t cgroup -o memory none /tmp/cg 2>/dev/null; then
  (echo -1 > /tmp/cg/memory.limit_in_bytes) 2>/dev/null && echo wrote its own mount
  (echo /bin/sh > /tmp/cg/release_agent) 2>/dev/null && echo wrote a release agent
fi
echo done
"""


def lifts_its_limits(runtime: Runtime, *, mapped: bool) -> bool:
    """Write to control groups that are mounted writable, and to a hierarchy of one's own."""
    linux = runtime.spec["linux"]
    if mapped:
        linux["namespaces"].append({"type": "user"})
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        linux["uidMappings"] = linux["gidMappings"] = mapping
    for mount in runtime.spec["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"] = [option for option in mount["options"] if option != "ro"]
    mounts = [m for m in runtime.spec["mounts"] if m["type"] == "cgroup"]
    assert mounts, "the bundle shows its control groups"
    for kind in ("bounding", "effective", "permitted"):
        runtime.spec["process"]["capabilities"][kind] = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
    runtime.spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    code, lines = runtime.run(LIFT_LIMITS)
    assert (code, lines[-1]) == (0, "done"), lines
    return any(line.startswith("wrote") for line in lines)


def test_limits_hold_in_a_user_namespace(tmp_path: Path, rootfs: Path, builds: list[Build]) -> None:
    """CVE-2022-0492: root of a user namespace is nobody to the control groups."""
    builds.append(Build(tmp_path / "mapped", rootfs))
    assert not lifts_its_limits(builds[0].runtime, mapped=True)


def test_limits_are_lifted_without_a_user_namespace(
    tmp_path: Path, rootfs: Path, builds: list[Build]
) -> None:
    builds.append(Build(tmp_path / "unmapped", rootfs))
    assert lifts_its_limits(builds[0].runtime, mapped=False)


def test_state_of_a_container_is_not_for_others(
    tmp_path: Path, rootfs: Path, builds: list[Build]
) -> None:
    """Its gate starts it, its state names what is signalled: neither is for users of the host."""
    builds.append(Build(tmp_path / "state", rootfs))
    runtime = builds[0].runtime
    runtime.create("true", builds[0].log)
    assert [path.name for path in runtime.root.iterdir()] == ["c1"]
    assert (runtime.root / "c1").stat().st_mode & 0o077 == 0
    assert runtime.root.stat().st_mode & 0o066 == 0
