"""diff, commit, export, cp, save and load with the stock command line, beside dockerd."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine, dockerd_is_here

needs_dockerd = pytest.mark.skipif(not dockerd_is_here(), reason="needs dockerd (docker.io)")

BASE = """
mkdir -p /d && cd /d
mkdir -p dir/sub gone/deep opaque/old swap keep/in refill merge/a/b deep/er/est perm
for name in file chmod chown mtime same linked grown target suid dir/sub/file gone/deep/file \
  opaque/old/file opaque/top swap/in swapped keep/in/file refill/one refill/two both trunc \
  merge/a/b/old deep/er/est/file perm/file other many1 many2 many3 repl moved; do
  echo $name > $name; touch -t 200101010000 $name; done
ln -s file symlink; ln -s nowhere dangling; mkfifo fifo; mknod null c 1 3; ln linked linked2
"""

CHANGES = r"""
cd /d
echo x > added
mkdir -p newdir/below
echo x > dir/sub/more
echo longer and longer > grown
rm file
rm -rf gone
rm keep/in/file
chmod 600 chmod
chmod 4755 suid
chown 5:6 chown
touch -t 200505050000 mtime
touch -t 200505050000 merge
chmod 700 keep
chmod 711 perm
rm swapped; mkdir swapped; echo x > swapped/inside
rm -rf swap; echo file > swap
rm target; ln -s elsewhere target
ln -sf other symlink
ln -sf file dangling
rm both; echo something else > both
rm -rf opaque; mkdir opaque
rm -rf refill; mkdir refill; echo 2 > refill/two; echo 3 > refill/three
mv moved dir/moved
cp -a deep deep2; rm -rf deep
ln linked second
echo x > one; ln one two
echo brief > brief; rm brief
mkdir briefdir; rmdir briefdir
chmod 644 same
mknod zero c 1 5
rm null; mknod null c 1 5
rm fifo
mkfifo fifo2
echo x > "with space"
echo x > "new
line"
: > trunc
mkdir -p merge/a/b/new
rm many1 many2; echo new > many1
echo $(seq 1 500) > many3
mv repl repl2; mv repl2 repl
dd if=/dev/zero of=sparse bs=1 count=1 seek=1000000 2>/dev/null
mkdir /elsewhere; echo x > /elsewhere/file
rm -rf /var/nothing
echo x > /etc/added
"""
"""More than forty, none of which another one undoes."""


@pytest.fixture
def changed(engine: Engine) -> Iterator[str]:
    """A container ``changed`` of the image ``base``."""
    engine.docker("run", "--name", "making", "busybox", "sh", "-ec", BASE)
    archive = subprocess.run(
        ["docker", "export", "making"],
        env=engine.client_environment(),
        capture_output=True,
        check=True,
    )
    engine.cli("import", "-", "base", stdin=archive.stdout)
    engine.docker("run", "--name", "changed", "base", "sh", "-ec", CHANGES)
    yield "changed"
    engine.remove_containers()
    engine.cli("rmi", "-f", "base", "committed")


def read_top_layer(engine: Engine, image: str) -> dict[str, tuple[object, ...]]:
    """Return what the newest layer of an image holds, dates in whole seconds."""
    saved = subprocess.run(
        ["docker", "save", image],
        env=engine.client_environment(),
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        name = json.load(manifest)[0]["Layers"][-1]
        layer = archive.extractfile(name)
        assert layer is not None
        with tarfile.open(fileobj=io.BytesIO(layer.read())) as members:
            return {member.name: describe(member) for member in members}


def describe(member: tarfile.TarInfo) -> tuple[object, ...]:
    if os.path.basename(member.name).startswith(".wh."):
        return ("whiteout",)
    device = (member.devmajor, member.devminor) if member.isdev() else ()
    mode = member.mode & 0o7777  # dockerd repeats the type there
    return (member.type, mode, member.uid, member.gid, member.size, member.linkname, device)


SEEN: dict[str, object] = {}


def test_diff_and_the_layer_of_a_commit_are_dockers(engine: Engine, changed: str) -> None:
    diff = sorted(engine.docker("diff", changed).split("\n"))
    engine.docker("commit", changed, "committed")
    layer = read_top_layer(engine, "committed")
    assert "A /d/added" in diff
    assert layer["d/.wh.gone"] == ("whiteout",)
    assert layer["d/opaque/.wh..wh..opq"] == ("whiteout",)
    if engine.name == "dockerd":
        SEEN["diff"], SEEN["layer"] = diff, layer
    elif "diff" in SEEN:
        assert diff == SEEN["diff"]
        assert layer == SEEN["layer"]


def test_a_committed_image_has_the_changes(engine: Engine, changed: str) -> None:
    look = (
        "cd /d; find . -type d -exec stat -c '%n %f %u:%g' {} + | sort;"
        "find . ! -type d -exec stat -c '%n %f %u:%g %s %Y %t:%T' {} + | sort; cat refill/* swap"
    )
    engine.docker("commit", changed, "committed")
    theirs = engine.docker("run", "--rm", "committed", "sh", "-c", look)
    assert "swapped" in theirs
    exported = subprocess.run(
        ["docker", "export", changed],
        env=engine.client_environment(),
        capture_output=True,
        check=True,
    ).stdout
    engine.cli("import", "-", "base", stdin=exported)
    assert engine.docker("run", "--rm", "base", "sh", "-c", look) == theirs


def test_commit_says_what_docker_says(engine: Engine) -> None:
    engine.docker("run", "--name", "plain", "-e", "A=1", "--label", "l=1", "busybox", "true")
    image = engine.docker(
        "commit", "-a", "Me <me@x>", "-m", "why", "-c", "ENV B=2", "-c", 'CMD ["x"]',
        "-c", "EXPOSE 80", "-c", "USER nobody", "-c", "WORKDIR /w", "-c", "VOLUME /v",
        "-c", "ONBUILD RUN x", "-c", "LABEL m=2",
        "-c", "HEALTHCHECK --interval=5s CMD true", "-c", 'ENTRYPOINT ["e"]', "plain", "made:1",
    )  # fmt: skip
    [document] = json.loads(engine.docker("image", "inspect", "made:1"))
    assert document["Id"] == image
    assert (document["Author"], document["Comment"]) == ("Me <me@x>", "why")
    config = document["Config"]
    assert set(config["Env"]) >= {"A=1", "B=2"}
    assert (config["Cmd"], config["Entrypoint"]) == (["x"], ["e"])
    assert (config["User"], config["WorkingDir"]) == ("nobody", "/w")
    assert config["Labels"] == {"l": "1", "m": "2"}
    assert (config["Volumes"], config["ExposedPorts"]) == ({"/v": {}}, {"80/tcp": {}})
    assert config["OnBuild"] == ["RUN x"]
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000}
    history = engine.docker(
        "history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1"
    )
    assert history.split("\n")[0] == "true|why"
    [bad] = [engine.cli("commit", "-c", "RUN x", "plain")]
    assert bad.returncode == 1
    engine.docker("rm", "plain")
    assert "Untagged: made:1" in engine.docker("rmi", "made:1")


def test_a_running_container_is_paused_and_goes_on(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "running", "busybox", "sleep", "100")
    image = engine.docker("commit", "running")
    assert engine.docker("inspect", "-f", "{{.State.Status}}", "running") == "running"
    engine.docker("pause", "running")
    other = engine.docker("commit", "running")
    assert engine.docker("inspect", "-f", "{{.State.Status}}", "running") == "paused"
    engine.docker("unpause", "running")
    engine.docker("rm", "-f", "running")
    engine.docker("rmi", image, other)


COPIES = (
    "cp $W/single $C:/copy",
    "cp $C:/copy - | tar t",
    "cp $W/single $C:/real/dir/",
    "cp $W/single $C:/nodir/x",
    "cp $W/src $C:/newdir",
    "cp $W/src $C:/newdir",
    "cp $W/src/. $C:/newdir2",
    "cp $W/single $C:/abs/x",
    "cp $W/single $C:/rel",
    "cp $W/single $C:/dangling",
    "cp $C:/abs - | tar t",
    "cp -L $C:/abs - | tar t | sort",
    "cp $C:/abs/ - | tar t | sort",
    "cp $C:/abs/. - | tar t | sort",
    "cp $C:/esc $W/out/esc; readlink $W/out/esc",
    "cp -L $C:/esc $W/out/esc2; cat $W/out/esc2",
    "cp $C:/nothing $W/out",
    "cp $C:/real $W/out; find $W/out | sort | sed s@$W@@",
    "cp $C:/real/. $W/out; find $W/out | sort | sed s@$W@@",
    "cp $C:/real $W/out/new; find $W/out/new | sort | sed s@$W@@",
    "cp $W/src $C:/vol; docker cp $C:/vol - | tar t",
    "cp $W/single $C:/bind/in; cat $W/bind/in",
    "cp $C:/bind/. - | tar t | sort",
    "cp $W/src $C:/plain; docker cp $C:/plain - | tar tv --numeric-owner | cut -c1-30",
    "cp - $C:/real < $W/src.tar.gz; docker cp $C:/real - | tar t | sort",
    "cp - $C:/nowhere < $W/src.tar.gz",
    "cp - $C:/copy < $W/src.tar.gz",
    "cp $C:/bin/ls $C:/x",
)


@needs_dockerd
@pytest.mark.parametrize("program", ["docker", "barque"])
@pytest.mark.parametrize("state", ["running", "created", "exited"])
def test_copies_are_dockers(
    dockerd: Engine, barqued: Engine, state: str, program: str, tmp_path: Path
) -> None:
    if program == "barque" and state != "created":
        pytest.skip("the command line does not depend on the state")
    answers = []
    for engine in (dockerd, barqued):
        work = tmp_path / engine.name
        own = program if engine is barqued else "docker"
        answers.append(copy_all(engine, state, own, work))
        engine.remove_containers()
        engine.docker("volume", "rm", "copies")
    for theirs, ours in zip(*answers, strict=True):
        assert ours == theirs


def copy_all(engine: Engine, state: str, program: str, work: Path) -> list[tuple[str, int, str]]:
    (work / "src/sub").mkdir(parents=True)
    for name in ("out", "bind"):
        (work / name).mkdir()
    (work / "src/a").write_text("a")
    (work / "src/a").chmod(0o640)
    (work / "src/sub/b").write_text("b")
    (work / "single").write_text("single")
    (work / "bind/there").write_text("there")
    subprocess.run(["tar", "-C", work / "src", "-czf", work / "src.tar.gz", "."], check=True)
    setup = (
        "mkdir -p /real/dir; echo f >/real/dir/f; ln -s /real /abs; ln -s real/dir /rel;"
        "ln -s ../../../../real/dir/f /esc; ln -s /nowhere/x /dangling;"
        "echo me:x:1000:1001::/:/bin/sh >>/etc/passwd"
    )
    engine.docker("run", "--name", "setup", "busybox", "sh", "-c", setup)
    engine.docker("commit", "setup", "copies")
    create = ["-v", "copies:/vol", "-v", f"{work}/bind:/bind", "--user", "me", "copies"]
    if state == "running":
        engine.docker("run", "-d", "--name", "copied", *create, "sleep", "1000")
    else:
        engine.docker("create", "--name", "copied", *create, "true")
    if state == "exited":
        engine.docker("start", "-a", "copied")
    found = []
    environment = engine.client_environment() | {"W": str(work), "C": "copied"}
    command = shutil.which(program) or f"{Path(os.sys.executable).parent}/{program}"  # type: ignore[attr-defined]
    for line in COPIES:
        done = subprocess.run(
            ["bash", "-c", f"{command} {line}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        errors = [text for text in done.stderr.split("\n") if "level=error" not in text]
        text = (done.stdout + "\n".join(errors)).replace(str(work), "W").strip()
        found.append((line, done.returncode, text))
    engine.docker("rm", "-f", "copied", "setup")
    engine.docker("rmi", "-f", "copies")
    return found


@pytest.fixture
def saved(barqued: Engine, tmp_path: Path) -> Iterator[Path]:
    """An archive of two images that share a layer, one with two tags."""
    barqued.docker("run", "--name", "made", "busybox", "sh", "-c", "echo hi >/hi; rm /bin/yes")
    barqued.docker("commit", "made", "saved:v1")
    barqued.docker("tag", "saved:v1", "saved:v2")
    barqued.docker("save", "-o", str(tmp_path / "saved.tar"), "saved", "busybox:latest")
    yield tmp_path / "saved.tar"
    barqued.cli("rm", "made")
    barqued.docker("rmi", "-f", "saved:v1", "saved:v2")


@needs_dockerd
def test_dockerd_loads_what_was_saved(
    saved: Path, barqued: Engine, dockerd: Engine, busybox_tar: Path
) -> None:
    loaded = dockerd.docker("load", "-i", str(saved)).split("\n")
    for name in ("saved:v1", "saved:v2", "busybox:latest"):
        assert f"Loaded image: {name}" in loaded
    for name in ("saved:v1", "saved:v2", "busybox"):
        form = "{{.Id}} {{.RootFS.Layers}}"
        assert dockerd.docker("inspect", "-f", form, name) == barqued.docker(
            "inspect", "-f", form, name
        )
    assert dockerd.docker("run", "--rm", "saved:v1", "cat", "/hi") == "hi"
    again = subprocess.run(
        ["docker", "save", "saved"],
        env=dockerd.client_environment(),
        capture_output=True,
        check=True,
    ).stdout
    done = barqued.cli("load", stdin=again)
    assert "Loaded image: saved:v1" in done.stdout
    dockerd.docker("rmi", "-f", "saved:v1", "saved:v2", "busybox")
    dockerd.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox")  # its own again
    dockerd.docker("image", "prune", "-f")


@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
def test_skopeo_and_umoci_read_what_was_saved(saved: Path, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    one = json.loads(run("skopeo", "inspect", f"docker-archive:{saved}:saved:v1"))
    two = json.loads(run("skopeo", "inspect", f"oci-archive:{saved}:v1"))
    assert one["Layers"] == two["Layers"]
    run("skopeo", "copy", f"oci-archive:{saved}:v2", f"dir:{tmp_path / 'dir'}")
    layout = tmp_path / "layout"
    layout.mkdir()
    run("tar", "-C", str(layout), "-xf", str(saved))
    if shutil.which("umoci"):
        run("umoci", "unpack", "--image", f"{layout}:v1", str(tmp_path / "bundle"))
        root = tmp_path / "bundle/rootfs"
        assert (root / "hi").read_text() == "hi\n"
        assert not (root / "bin/yes").is_symlink()


@pytest.mark.skipif(not shutil.which("podman"), reason="needs podman")
def test_podman_loads_what_was_saved(saved: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="podman-") as root:  # it wants short paths
        podman = ["podman", "--root", f"{root}/root", "--runroot", f"{root}/run"]
        check_podman(podman, saved)


def check_podman(podman: list[str], saved: Path) -> None:
    subprocess.run([*podman, "load", "-i", saved], check=True, capture_output=True)
    listed = subprocess.run(
        [*podman, "images", "--format", "{{.Repository}}:{{.Tag}}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert {"localhost/saved:v1", "docker.io/library/saved:v1"} & set(listed.split())
    subprocess.run([*podman, "rmi", "-af"], check=True, capture_output=True)


def test_what_was_saved_is_loaded_as_it_was(saved: Path, barqued: Engine) -> None:
    before = barqued.docker("inspect", "saved:v1", "busybox")
    barqued.docker("rm", "made")
    barqued.docker("rmi", "-f", "saved:v1", "saved:v2")
    barqued.docker("load", "-i", str(saved))
    assert barqued.docker("inspect", "saved:v1", "busybox") == before
    second = saved.with_name("second.tar")
    barqued.docker("save", "-o", str(second), "saved", "busybox:latest")
    assert second.read_bytes() == saved.read_bytes()


def test_copied_files_belong_to_the_user_if_wanted(barqued: Engine, tmp_path: Path) -> None:
    """By the container's own passwd file; dockerd 20.10 asks the host's."""
    (tmp_path / "file").write_text("x")
    setup = "echo me:x:1000:1001::/:/bin/sh >>/etc/passwd"
    barqued.docker("run", "--name", "owner", "--user", "0", "busybox", "sh", "-c", setup)
    barqued.docker("commit", "-c", "USER me", "owner", "owned")
    barqued.docker("create", "--name", "copied", "owned")
    barqued.docker("cp", "-a", f"{tmp_path}/file", "copied:/owned")
    barqued.docker("cp", f"{tmp_path}/file", "copied:/kept")
    barqued.docker("commit", "copied", "owned:2")
    listed = barqued.docker("run", "--rm", "owned:2", "stat", "-c", "%u:%g", "/owned", "/kept")
    assert listed.split() == ["1000:1001", f"{os.getuid()}:{os.getgid()}"]
    barqued.docker("rm", "owner", "copied")
    barqued.docker("rmi", "owned", "owned:2")
