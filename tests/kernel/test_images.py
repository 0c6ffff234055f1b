"""The image service on a real file system: import, load, remove, and what is left after."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import json
import lzma
import os
import subprocess
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from barque.errors import Conflict, InvalidArgument, NotFound
from barque.images.record import Image, get_chain_ids
from barque.images.tar import Limits
from barque.models.ids import ImageId
from barque.snapshots.directories import DirectorySnapshotter
from barque.snapshots.overlay import OverlaySnapshotter
from barque.snapshots.vfs import VfsSnapshotter
from support.images import (
    IS_ROOT,
    NEEDS_ROOT,
    Store,
    digest,
    make_config,
    make_docker_archive,
    make_oci_archive,
    make_tar,
    stream,
)

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)

BASE = make_tar([("dir", "etc", None), ("file", "etc/a", "base"), ("file", "etc/b", "base")])
TOP = make_tar([("file", "etc/.wh.b", ""), ("file", "etc/a", "top")])
OTHER = make_tar([("file", "other", "other")])
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.fixture(params=[OverlaySnapshotter, VfsSnapshotter], ids=lambda kind: kind.driver)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    kind: type[DirectorySnapshotter] = request.param
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    store = Store(tmp_path / "data", kind)
    yield store
    store.database.close()
    named = [thread.name for thread in threading.enumerate()]
    assert not [name for name in named if name in ("unpack-layer", "decompress", "stage-archive")]
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1, threads


def run_import(store: Store, content: bytes, **options: Any) -> Image:
    return asyncio.run(store.images.import_image(stream(content), **options))


def run_load(store: Store, content: bytes, **options: Any) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        options.setdefault("quiet", True)
        return [line async for line in store.images.load(stream(content), **options)]

    return asyncio.run(collect())


def run_remove(
    store: Store,
    ref: str,
    users: list[tuple[str, bool]] | None = None,
    **options: bool,
) -> list[dict[str, str]]:
    options = {"force": False, "prune": True, **options}
    return asyncio.run(store.images.remove(ref, users=lambda _id: users or [], **options))


def read(store: Store, image: Image, name: str) -> str | None:
    """Read a file of the image as a container would see it (its whiteouts aside)."""
    mount = store.snapshotter.view(f"view-{name}", image.chain_id)
    store.snapshotter.remove(f"view-{name}")
    for directory in mount.lower or [mount.source]:
        path = Path(directory) / name
        if path.is_char_device():
            return None
        if path.exists():
            return path.read_text()
    return None


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_import(store: Store, compression: str) -> None:
    content = COMPRESSORS[compression](BASE)
    image = run_import(store, content, repo="base", tag="1", changes=['CMD ["x"]', "USER me"])
    assert image.tags == ["base:1"]
    assert image.config.rootfs.diff_ids == [digest(BASE)]
    assert image.chain_id == digest(BASE)
    assert image.config.config.cmd == ["x"]
    assert image.config.config.user == "me"
    assert image.size == 8
    assert read(store, image, "etc/a") == "base"
    (layer,) = image.layers
    assert store.content.read(layer.digest) == content
    assert layer.media_type.endswith(f"tar+{compression}" if compression else "v1.tar")
    assert digest(store.content.read(image.config_digest)) == image.id
    manifest = json.loads(store.content.read(image.manifest_digest))
    assert manifest["config"]["digest"] == image.id
    assert [entry["digest"] for entry in manifest["layers"]] == [layer.digest]
    (line,) = store.images.history("base:1")
    assert (line.id, line.comment, line.size, line.tags) == (
        image.id, "Imported from -", 8, ["base:1"]
    )  # fmt: skip
    assert len(store.leftovers()) == 4


def test_import_options(store: Store) -> None:
    image = run_import(store, BASE, message="hello", platform="linux/arm64/v8")
    assert image.tags == []
    assert (image.config.os, image.config.architecture) == ("linux", "arm64")
    assert store.images.history(image.id)[0].comment == "hello"


def test_an_empty_stream_is_an_empty_layer(store: Store) -> None:
    image = run_import(store, b"", repo="empty")
    assert image.size == 0


def broken(content: bytes) -> AsyncGenerator[bytes]:
    async def give() -> AsyncGenerator[bytes]:
        yield content
        raise ConnectionResetError("gone")

    return give()


@pytest.mark.parametrize(
    "content",
    [
        BASE[:700],
        gzip.compress(BASE)[:-20],
        b"not an archive " * 100,
        make_tar([("file", "a", "x"), ("link", "b", "nothing")]),
        make_tar([("symlink", ".", "/etc")]),
    ],
)
def test_a_failed_import_leaves_nothing(store: Store, content: bytes) -> None:
    with pytest.raises(InvalidArgument):
        run_import(store, content, repo="x")
    assert store.images.list() == []
    assert store.leftovers() == []


def test_an_import_that_breaks_off_leaves_nothing(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="broke off: gone"):
        asyncio.run(store.images.import_image(broken(BASE[:1500])))
    assert store.leftovers() == []


@pytest.mark.parametrize(
    "options",
    [{"repo": "UPPER"}, {"repo": "a", "tag": "-"}, {"changes": ["RUN x"]}, {"platform": "a/b/c/d"}],
)
def test_bad_options_are_refused_before_anything_is_read(
    store: Store, options: dict[str, Any]
) -> None:
    async def never() -> AsyncGenerator[bytes]:
        raise AssertionError("was read")
        yield b""

    with pytest.raises(InvalidArgument):
        asyncio.run(store.images.import_image(never(), **options))
    assert store.leftovers() == []


@pytest.mark.parametrize(
    "content",
    [b"", BASE[:600], gzip.compress(make_tar([("file", "f", os.urandom(99_999))]))[:50_000]],
)
def test_an_import_that_is_given_up_leaves_nothing(store: Store, content: bytes) -> None:
    async def stall() -> AsyncGenerator[bytes]:
        if content:
            yield content
        await asyncio.sleep(3600)

    async def give_up() -> None:
        task = asyncio.ensure_future(store.images.import_image(stall()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(give_up(), 20))
    assert store.leftovers() == []


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_bad_archive_is_refused_while_the_client_still_sends(
    store: Store, compress: Callable[[bytes], bytes]
) -> None:
    async def stall() -> AsyncGenerator[bytes]:
        yield compress(make_tar([("symlink", ".", "/etc")]) + os.urandom(100_000))[:60_000]
        await asyncio.sleep(3600)

    async def refused() -> None:
        with pytest.raises(InvalidArgument):
            await store.images.import_image(stall())

    asyncio.run(asyncio.wait_for(refused(), 20))
    assert store.leftovers() == []


def test_the_loop_is_not_held_up(store: Store) -> None:
    content = make_tar([("file", f"f{number}", b"x" * 20_000) for number in range(2000)])

    async def measure() -> int:
        task = asyncio.ensure_future(store.images.import_image(stream(content)))
        turns = 0
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        await task
        return turns

    assert asyncio.run(measure()) > 20


def test_layers_are_shared(store: Store) -> None:
    first, second = run_import(store, BASE, repo="a"), run_import(store, BASE, repo="b")
    assert first.id != second.id
    assert first.chain_id == second.chain_id
    assert len(store.snapshotter.walk()) == 1
    run_remove(store, "a")
    assert read(store, second, "etc/a") == "base"
    run_remove(store, "b")
    assert store.leftovers() == []


ARCHIVES: dict[str, bytes] = {
    "docker": make_docker_archive(
        [(["app:1", "reg.example.com/app:2"], [BASE, TOP], make_config([BASE, TOP]))]
    ),
    "docker, compressed layers": make_docker_archive(
        [(["app:1", "reg.example.com/app:2"], [gzip.compress(BASE, mtime=0), lzma.compress(TOP)],
          make_config([BASE, TOP]))]
    ),
}  # fmt: skip


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_load_a_docker_archive(store: Store, kind: str, compression: str) -> None:
    content = COMPRESSORS[compression](ARCHIVES[kind])
    assert run_load(store, content) == [
        {"stream": "Loaded image: app:1\n"},
        {"stream": "Loaded image: reg.example.com/app:2\n"},
    ]
    image = store.images.get("app:1")
    assert image.id == digest(make_config([BASE, TOP]))
    assert image.tags == ["app:1", "reg.example.com/app:2"]
    assert image.chain_id == get_chain_ids([digest(BASE), digest(TOP)])[1]
    assert (read(store, image, "etc/a"), read(store, image, "etc/b")) == ("top", None)
    assert [line.created_by for line in store.images.history("app:1")] == ["step 1", "step 0"]
    assert len(store.leftovers()) == 6


@pytest.mark.parametrize(
    ("name", "said", "tags"),
    [
        ("docker.io/library/app:1", "Loaded image: app:1\n", ["app:1"]),
        (None, f"Loaded image ID: {digest(make_config([BASE, TOP]))}\n", []),
    ],
)
def test_load_an_oci_layout(store: Store, name: str | None, said: str, tags: list[str]) -> None:
    archive = make_oci_archive([(name, [gzip.compress(BASE), TOP], make_config([BASE, TOP]))])
    assert run_load(store, archive) == [{"stream": said}]
    (image,) = store.images.list()
    assert image.tags == tags
    assert (read(store, image, "etc/a"), read(store, image, "etc/b")) == ("top", None)


def test_progress_unless_quiet(store: Store) -> None:
    lines = run_load(store, ARCHIVES["docker"], quiet=False)
    progress = [line for line in lines if "progressDetail" in line]
    assert {line["status"] for line in progress} == {"Loading layer"}
    assert {line["id"] for line in progress} == {digest(BASE)[7:19], digest(TOP)[7:19]}
    assert progress[-1]["progressDetail"] == {"current": len(TOP), "total": len(TOP)}


def test_several_images_and_a_moved_tag(store: Store) -> None:
    run_load(store, make_docker_archive([(["app:1"], [OTHER], make_config([OTHER]))]))
    old = store.images.get("app:1")
    archive = make_docker_archive(
        [
            (["app:1"], [BASE], make_config([BASE])),
            (None, [BASE, TOP], make_config([BASE, TOP])),
        ]
    )
    assert run_load(store, archive) == [
        {
            "stream": f"The image app:1 already exists, renaming the old one with ID {old.id} "
            "to empty string\n"
        },
        {"stream": "Loaded image: app:1\n"},
        {"stream": f"Loaded image ID: {digest(make_config([BASE, TOP]))}\n"},
    ]
    assert store.images.get(old.id).tags == []
    assert len(store.snapshotter.walk()) == 3
    assert run_load(store, archive)[0] == {"stream": "Loaded image: app:1\n"}


def test_an_image_without_layers(store: Store) -> None:
    run_load(store, make_docker_archive([(["scratchy"], [], make_config([]))]))
    image = store.images.get("scratchy")
    assert (image.chain_id, image.size) == ("", 0)


def tamper(layers: list[bytes], config: bytes) -> bytes:
    return make_docker_archive([(["good"], [BASE], make_config([BASE])), (["bad"], layers, config)])


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (tamper([OTHER], make_config([TOP])), "diff ID"),
        (tamper([BASE, OTHER], make_config([BASE])), "layers length mismatch: expected 1, got 2"),
        (tamper([BASE], b"{}"), "invalid image config"),
        (tamper([BASE], b"nonsense"), "invalid image config"),
        (tamper([BASE[:700]], make_config([BASE[:700]])), "invalid tar archive"),
        (tamper([BASE] * 128, make_config([BASE] * 128)), "max depth exceeded"),
        (make_docker_archive([(["UPPER"], [BASE], make_config([BASE]))]), "must be lowercase"),
        (make_tar([("file", "x", "y")]), "does not contain a manifest.json"),
        (b"", "does not contain a manifest.json"),
        (make_tar([("file", "repositories", "{}")]), "docker before 1.10"),
        (make_tar([("file", "manifest.json", "[")]), "invalid archive: manifest.json"),
        (make_tar([("file", "manifest.json", '[{"Config":"x"}]')]), "mentioned, but not in it"),
        (make_tar([("file", "manifest.json", '[{"Config":"../../etc/passwd"}]')]), "not in it"),
        (make_tar([("symlink", "manifest.json", "/etc/passwd")]), "does not contain"),
        (make_tar([("symlink", "manifest.json", "manifest.json")]), "does not contain"),
        (make_tar([("file", "index.json", '{"schemaVersion":2,"manifests":[]}')]), "no image"),
        (ARCHIVES["docker"][:5000], "invalid tar archive"),
        (gzip.compress(ARCHIVES["docker"])[:-9], "invalid gzip data"),
    ],
)  # fmt: skip
def test_a_failed_load_leaves_nothing(store: Store, archive: bytes, message: str) -> None:
    (line,) = run_load(store, archive)
    assert message in line["error"]
    assert line["errorDetail"] == {"message": line["error"]}
    assert store.images.list() == []
    assert store.leftovers() == []


def test_a_blob_that_lies_is_refused(store: Store) -> None:
    archive = make_oci_archive([("x", [BASE], make_config([BASE]))])
    at = archive.index(b"base")
    (line,) = run_load(store, archive[:at] + b"evil" + archive[at + 4 :])
    assert "invalid archive: the blob" in line["error"]
    assert store.leftovers() == []


@pytest.mark.parametrize("nested", [False, True])
def test_the_image_for_the_platform_is_chosen(store: Store, nested: bool) -> None:
    archive = make_oci_archive(
        [("x", [OTHER], make_config([OTHER])), ("x", [BASE], make_config([BASE]))],
        ["linux/s390x", "linux/arm64"],
        nested=nested,
    )
    assert run_load(store, archive, platform="linux/arm64") == [
        {"stream": "Loaded image: x:latest\n"}
    ]
    assert store.images.get("x").id == digest(make_config([BASE]))
    if nested:
        (line,) = run_load(store, archive, platform="linux/riscv64")
        assert "no matching manifest for linux/riscv64" in line["error"]


def test_a_load_that_is_given_up_leaves_nothing(store: Store) -> None:
    async def give_up() -> None:
        lines = store.images.load(stream(ARCHIVES["docker"]), quiet=False)
        async for line in lines:
            assert line["status"] == "Loading layer"
            break
        await lines.aclose()

    asyncio.run(give_up())
    assert store.leftovers() == []


def test_links_between_layers(store: Store) -> None:
    config = make_config([BASE, BASE])
    manifest = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]
    for kind, target in (("symlink", "../a/layer.tar"), ("link", "a/layer.tar")):
        archive = make_tar(
            [
                ("file", "c.json", config),
                ("file", "a/layer.tar", BASE),
                (kind, "b/layer.tar", target),
                ("file", "manifest.json", json.dumps(manifest)),
            ]
        )
        assert run_load(store, archive) == [{"stream": "Loaded image: x:1\n"}]
        run_remove(store, "x:1")
    assert store.leftovers() == []


def test_names_and_ids(store: Store) -> None:
    image = run_import(store, BASE, repo="app", tag="1")
    store.images.tag("app:1", "reg.example.com/team/app", "v2")
    short = image.id.removeprefix("sha256:")
    for ref in ("app:1", "docker.io/library/app:1", "reg.example.com/team/app:v2", image.id,
                short, short[:12], f"sha256:{short[:4]}", f"app@{image.id}"):  # fmt: skip
        assert store.images.get(ref).id == image.id, ref
    for ref, shown in (("app", "app:latest"), ("nope:1", "nope:1"), ("f" * 64, "f" * 64)):
        assert store.images.find(ref) is None
        with pytest.raises(NotFound, match=f"No such image: {shown}"):
            store.images.get(ref)
    with pytest.raises(InvalidArgument):
        store.images.get("Not A Name")
    with pytest.raises(NotFound):
        store.images.tag("nope", "x", "")


def test_a_name_wins_over_an_id_prefix(store: Store) -> None:
    image = run_import(store, BASE)
    other = run_import(store, OTHER, repo=image.id[7:13])
    assert store.images.get(image.id[7:13]).id == other.id


def test_a_tag_moves(store: Store) -> None:
    first, second = run_import(store, BASE, repo="x"), run_import(store, OTHER, repo="y")
    store.images.tag("y", "x", "")
    assert store.images.get(first.id).tags == []
    assert store.images.get(second.id).tags == ["x:latest", "y:latest"]


def test_all_is_there_after_a_restart(store: Store) -> None:
    run_load(store, ARCHIVES["docker"])
    run_import(store, OTHER, repo="other")
    before = store.images.list()
    store.database.close()
    again = Store(store.root, type(store.snapshotter))
    again.snapshotter.recover()
    again.images.recover()
    assert again.images.list() == before
    assert len(again.leftovers()) == len(store.leftovers()) == 10
    store.database = again.database


def test_recovery_clears_what_a_killed_engine_left(store: Store) -> None:
    kept = run_import(store, BASE, repo="kept")
    files = store.leftovers()
    store.content.add(b"an orphan")
    store.content.ingest().write(b"half")
    store.snapshotter.prepare("unpack-1", "")
    store.snapshotter.prepare("making", "")
    store.snapshotter.commit("sha256:orphan", "making", 5)
    store.images.recover()
    assert store.leftovers() == files
    assert read(store, kept, "etc/a") == "base"


def test_removing_a_name_and_the_last_one(store: Store) -> None:
    run_load(store, ARCHIVES["docker"])
    image = store.images.get("app:1")
    assert run_remove(store, "app:1") == [{"Untagged": "app:1"}]
    assert run_remove(store, "reg.example.com/app:2") == [
        {"Untagged": "reg.example.com/app:2"},
        {"Deleted": image.id},
        {"Deleted": image.layers[1].chain_id},
        {"Deleted": image.layers[0].chain_id},
    ]
    assert store.leftovers() == []
    with pytest.raises(NotFound, match="No such image: app:1"):
        run_remove(store, "app:1")


def test_removing_by_id(store: Store) -> None:
    run_load(store, ARCHIVES["docker"])
    image = store.images.get("app:1")
    short = image.short_id
    with pytest.raises(Conflict) as caught:
        run_remove(store, short)
    assert str(caught.value) == (
        f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple "
        "repositories"
    )
    records = run_remove(store, short, force=True)
    assert records[:3] == [
        {"Untagged": "app:1"},
        {"Untagged": "reg.example.com/app:2"},
        {"Deleted": image.id},
    ]
    assert store.leftovers() == []


@pytest.mark.parametrize(
    ("users", "by_id", "force", "text"),
    [
        ([("c" * 12, True)], False, False,
         ('conflict: unable to remove repository reference "x" (must force) - container '
          "cccccccccccc is using its referenced image {id}")),
        ([("c" * 12, False)], True, False,
         ("conflict: unable to delete {id} (must be forced) - image is being used by stopped"
          " container cccccccccccc")),
        ([("d" * 12, False), ("c" * 12, True)], True, True,
         ("conflict: unable to delete {id} (cannot be forced) - image is being used by running"
          " container cccccccccccc")),
    ],
)  # fmt: skip
def test_images_in_use(
    store: Store, users: list[tuple[str, bool]], by_id: bool, force: bool, text: str
) -> None:
    image = run_import(store, BASE, repo="x")
    with pytest.raises(Conflict) as caught:
        run_remove(store, image.short_id if by_id else "x", users, force=force)
    assert str(caught.value) == text.format(id=image.short_id)
    assert store.images.get("x").id == image.id


def test_forcing_a_name_off_an_image_in_use(store: Store) -> None:
    image = run_import(store, BASE, repo="x")
    assert run_remove(store, "x", [("c" * 12, True)], force=True) == [{"Untagged": "x:latest"}]
    assert store.images.get(image.id).tags == []


def test_layers_under_a_container_stay_until_it_goes(store: Store) -> None:
    image = run_import(store, BASE, repo="x")
    store.snapshotter.prepare("container", image.chain_id)
    records = run_remove(store, "x", [("c" * 12, False)], force=True)
    assert records == [{"Untagged": "x:latest"}, {"Deleted": image.id}]
    assert store.snapshotter.find(image.chain_id) is not None
    store.images.sweep()
    assert store.snapshotter.find(image.chain_id) is not None
    store.snapshotter.remove("container")
    store.images.sweep()
    assert store.leftovers() == []


def test_prune(store: Store) -> None:
    run_import(store, BASE, repo="named")
    dangling = run_import(store, OTHER)
    used = run_import(store, make_tar([("file", "u", "used")]))

    def users(image: ImageId) -> list[tuple[str, bool]]:
        return [("c" * 12, False)] if image == used.id else []

    def prune(**options: Any) -> tuple[list[dict[str, str]], int]:
        options = {"match": lambda _image: True, "users": users, **options}
        return asyncio.run(store.images.prune(**options))

    assert prune(match=lambda _image: False, dangling_only=True) == ([], 0)
    assert prune(dangling_only=True) == (
        [{"Deleted": dangling.id}, {"Deleted": dangling.chain_id}], 5
    )  # fmt: skip
    records, freed = prune(dangling_only=False)
    assert records[0] == {"Untagged": "named:latest"}
    assert freed == 8
    assert [image.id for image in store.images.list()] == [used.id]


def test_listeners_are_told(store: Store) -> None:
    told: list[tuple[str, str]] = []
    store.images.listener = lambda action, _image, name: told.append((action, name))
    image = run_import(store, BASE, repo="x")
    store.images.tag("x", "y", "")
    run_remove(store, "y")
    run_remove(store, "x")
    run_load(store, make_docker_archive([(["z"], [BASE], make_config([BASE]))]))
    assert told == [
        ("import", "x:latest"),
        ("tag", "y:latest"),
        ("untag", "y:latest"),
        ("untag", "x:latest"),
        ("delete", image.id),
        ("load", "z:latest"),
    ]


def test_two_imports_of_one_layer_at_once(store: Store) -> None:
    async def both() -> None:
        await asyncio.gather(
            store.images.import_image(stream(BASE), repo="a"),
            store.images.import_image(stream(BASE), repo="b"),
        )

    asyncio.run(both())
    assert len(store.images.list()) == 2
    assert len(store.snapshotter.walk()) == 1


def test_removing_while_loading_the_same(store: Store) -> None:
    async def both() -> list[dict[str, Any]]:
        async def load() -> list[dict[str, Any]]:
            lines = store.images.load(stream(ARCHIVES["docker"], 100), quiet=True)
            return [line async for line in lines]

        await store.images.import_image(stream(BASE), repo="same")
        loading = asyncio.ensure_future(load())
        await asyncio.sleep(0.01)
        await store.images.remove("same", force=False, prune=True, users=lambda _id: [])
        return await loading

    assert asyncio.run(both())[0] == {"stream": "Loaded image: app:1\n"}
    image = store.images.get("app:1")
    assert read(store, image, "etc/a") == "top"
    assert all(store.content.has(layer.digest) for layer in image.layers)


def test_limits_are_heeded(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", limits=Limits(total_bytes=7))
    with pytest.raises(InvalidArgument, match="more than the 7 bytes allowed"):
        run_import(store, BASE)
    assert store.leftovers() == []
    store.database.close()


def test_alpine(store: Store) -> None:
    path = Path(os.environ.get("BARQUE_TEST_IMAGES", "")) / "alpine-3.20-rootfs.tar.gz"
    if not path.is_file():
        pytest.skip("needs BARQUE_TEST_IMAGES to name a folder with alpine-3.20-rootfs.tar.gz")
    image = run_import(store, path.read_bytes(), repo="alpine")
    assert "Alpine" in (read(store, image, "etc/alpine-release") or "") or image.size > 1 << 20
    reference = store.root / "reference"
    reference.mkdir()
    subprocess.run(["tar", "xpzf", path, "-C", reference], check=True)
    tree = store.snapshotter.view("v", image.chain_id).source
    done = subprocess.run(
        ["diff", "-r", "--no-dereference", tree, reference],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    # dev holds the image's device nodes, which diff does not compare.
    differences = [line for line in done.stdout.splitlines() if not line.startswith("File ")]
    assert differences == []
