from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.engine import sources
from barque.engine.mounts import (
    MountPlan,
    VolumeRequest,
    check_destination,
    clean_path,
    parse_bind,
    parse_mode,
    parse_mount,
    parse_volumes_from,
    resolve_mounts,
)
from barque.errors import BarqueError, InvalidArgument, NotFound, NotImplementedHere
from barque.models.api import (
    BindOptions,
    ContainerConfig,
    DriverConfig,
    HostConfig,
    Mount,
    TmpfsOptions,
    VolumeOptions,
)
from barque.models.container import MountPoint


class Lookup:
    """Volumes below /vol, and one other container."""

    def __init__(self, others: dict[str, list[MountPoint]] | None = None) -> None:
        self.others = others or {}

    def volume_path(self, name: str, /) -> str:
        return f"/vol/{name}/_data"

    def mounts_of(self, ref: str, /) -> list[MountPoint]:
        try:
            return self.others[ref]
        except KeyError:
            raise NotFound(f"No such container: {ref}") from None


def resolve(
    host: dict[str, Any] | None = None,
    volumes: dict[str, Any] | None = None,
    others: dict[str, list[MountPoint]] | None = None,
) -> MountPlan:
    numbers = count()
    return resolve_mounts(
        ContainerConfig(volumes=volumes),
        HostConfig(**(host or {})),
        Lookup(others),
        new_name=lambda: f"anon{next(numbers)}",
    )


@pytest.mark.parametrize(
    ("text", "point"),
    [
        (
            "/src:/dst",
            MountPoint(type="bind", source="/src", destination="/dst", propagation="rprivate"),
        ),
        (
            "/src/../a//b/:/dst/./x/:ro,rslave",
            MountPoint(
                type="bind",
                source="/a/b",
                destination="/dst/x",
                mode="ro,rslave",
                rw=False,
                propagation="rslave",
            ),
        ),
        (
            "/src:/dst:z,cached",
            MountPoint(
                type="bind",
                source="/src",
                destination="/dst",
                mode="z,cached",
                propagation="rprivate",
            ),
        ),
        (
            "data:/dst",
            MountPoint(
                type="volume",
                source="",
                destination="/dst",
                name="data",
                driver="local",
                mode="z",
                copy_up=True,
            ),
        ),
        (
            "data:/dst:ro,nocopy",
            MountPoint(
                type="volume",
                source="",
                destination="/dst",
                name="data",
                driver="local",
                mode="ro,nocopy",
                rw=False,
            ),
        ),
        (
            "/dst",
            MountPoint(
                type="volume",
                source="",
                destination="/dst",
                driver="local",
                anonymous=True,
                copy_up=True,
            ),
        ),
    ],
)
def test_binds(text: str, point: MountPoint) -> None:
    assert parse_bind(text) == point


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid volume specification: ''"),
        (":/dst", "invalid volume specification: ':/dst'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/dst:ro", "invalid volume specification: '/dst:ro'"),
        ("/a:/b:rw,ro", "invalid mode: rw,ro"),
        ("/a:/b:private,shared", "invalid mode: private,shared"),
        (
            "/a:/",
            (
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": "
                "invalid specification: destination can't be '/'"
            ),
        ),
        (
            "/a:b",
            (
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": "
                "invalid mount path: 'b' mount path must be absolute"
            ),
        ),
        (
            "vol:/b:rslave",
            (
                "invalid volume specification: 'vol:/b:rslave': invalid mount config for type "
                '"volume": field BindOptions must not be specified'
            ),
        ),
        (
            "/a:/b:nocopy",
            (
                "invalid volume specification: '/a:/b:nocopy': invalid mount config for type "
                '"bind": field VolumeOptions must not be specified'
            ),
        ),
    ],
)
def test_bad_binds(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_bind(text)
    assert str(caught.value) == message


def test_a_relative_source_is_explained() -> None:
    with pytest.raises(InvalidArgument, match="use absolute path"):
        parse_bind("./src:/dst")


@given(st.text(alphabet="/ab:ro,.z\0", max_size=24))
def test_a_bind_is_understood_or_refused(text: str) -> None:
    try:
        point = parse_bind(text)
    except BarqueError:
        return
    check_destination(point.destination)
    assert clean_path(point.destination) == point.destination
    assert not point.destination.startswith("//")


@given(st.text(alphabet="/.a", max_size=16))
def test_a_clean_path_stays_below_the_root(path: str) -> None:
    cleaned = clean_path(path)
    assert cleaned.startswith("/")
    assert ".." not in cleaned.split("/")
    assert clean_path(cleaned) == cleaned


def test_modes() -> None:
    assert parse_mode("") == {}
    assert parse_mode("ro,Z,rshared,nocopy,delegated") == {
        "access": "ro",
        "label": "Z",
        "propagation": "rshared",
        "copy": "nocopy",
        "consistency": "delegated",
    }


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ({"type": "bind", "source": "/tmp"}, "field Target must not be empty"),
        ({"type": "bind", "target": "/x"}, "field Source must not be empty"),
        (
            {"type": "bind", "source": "/", "target": "/"},
            "invalid specification: destination can't be '/'",
        ),
        (
            {"type": "bind", "source": "tmp", "target": "/x"},
            "invalid mount path: 'tmp' mount path must be absolute",
        ),
        (
            {
                "type": "bind",
                "source": "/",
                "target": "/x",
                "bind_options": BindOptions(propagation="public"),
            },
            "invalid propagation mode: public",
        ),
        (
            {
                "type": "bind",
                "source": "/",
                "target": "/x",
                "bind_options": BindOptions(
                    read_only_non_recursive=True, read_only_force_recursive=True
                ),
            },
            "mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive",
        ),
        (
            {
                "type": "bind",
                "source": "/",
                "target": "/x",
                "volume_options": VolumeOptions(),
            },
            "field VolumeOptions must not be specified",
        ),
        (
            {"type": "volume", "target": "/x", "bind_options": BindOptions()},
            "field BindOptions must not be specified",
        ),
        (
            {"type": "volume", "target": "/x", "volume_options": VolumeOptions(subpath="a")},
            "must not set Subpath when using anonymous volumes",
        ),
        (
            {"type": "tmpfs", "source": "a", "target": "/x"},
            "field Source must not be specified",
        ),
        (
            {"type": "tmpfs", "target": "/x", "tmpfs_options": TmpfsOptions(options=[["no"]])},
            "invalid option: no",
        ),
        ({"type": "npipe", "source": "a", "target": "/x"}, "mount type unknown"),
        ({"type": "", "target": "/x"}, "mount type unknown"),
    ],
)
def test_bad_mounts(mount: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_mount(Mount(**mount))
    assert str(caught.value) == f'invalid mount config for type "{mount["type"]}": {message}'


def test_a_part_of_a_volume_is_not_there_yet() -> None:
    options = VolumeOptions(subpath="a")
    with pytest.raises(NotImplementedHere, match='Subpath "a" of volume "data"'):
        parse_mount(Mount(type="volume", source="data", target="/x", volume_options=options))


def test_mounts(tmp_path: Path) -> None:
    source = str(tmp_path)
    options = BindOptions(propagation="rslave", non_recursive=True, read_only_non_recursive=True)
    assert parse_mount(
        Mount(type="bind", source=source, target="/x/", read_only=True, bind_options=options)
    ) == MountPoint(
        type="bind",
        source=source,
        destination="/x",
        rw=False,
        propagation="rslave",
        recursive=False,
        recursive_readonly=False,
    )
    assert parse_mount(
        Mount(type="tmpfs", target="/x", tmpfs_options=TmpfsOptions(size_bytes=4096))
    ) == MountPoint(type="tmpfs", source="", destination="/x", options=["size=4096"])


def test_a_plan_names_what_must_be_made(tmp_path: Path) -> None:
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.mkdir()
    options = VolumeOptions(
        labels={"a": "b"}, no_copy=True, driver_config=DriverConfig(options={"o": "p"})
    )
    plan = resolve(
        {
            "binds": [f"{there}:/there", f"{missing}:/missing", "data:/data", "/other"],
            "mounts": [
                Mount(type="volume", source="more", target="/more", volume_options=options),
                Mount(
                    type="bind",
                    source=f"{missing}/2",
                    target="/m2",
                    bind_options=BindOptions(create_mountpoint=True),
                ),
            ],
        },
        volumes={"/image": {}, "/data": {}},
    )
    assert plan.directories == [str(there), str(missing), f"{missing}/2"]
    asyncio.run(sources.ask(plan.required, sources.check))
    asyncio.run(sources.ask(plan.directories, sources.make))
    assert (missing / "2").is_dir()
    lacking = resolve({"mounts": [Mount(type="bind", source="/not/there", target="/x")]})
    with pytest.raises(
        InvalidArgument, match='type "bind": bind source path does not exist: /not/there'
    ):
        asyncio.run(sources.ask(lacking.required, sources.check))
    assert plan.volumes == [
        VolumeRequest("data"),
        VolumeRequest("anon0", anonymous=True),
        VolumeRequest("more", labels={"a": "b"}, options={"o": "p"}),
        VolumeRequest("anon1", anonymous=True),
    ]
    points = {point.destination: point for point in plan.points}
    assert list(points) == ["/there", "/missing", "/data", "/other", "/more", "/m2", "/image"]
    assert points["/data"].source == "/vol/data/_data"
    assert not points["/data"].anonymous
    assert not points["/more"].copy_up
    assert points["/image"].name == "anon1"
    assert points["/image"].anonymous
    assert points["/image"].copy_up
    assert points["/image"].mode == ""


@pytest.mark.parametrize(
    "host",
    [
        {"binds": ["/:/x", "/tmp:/x/"]},
        {"binds": ["/:/x"], "tmpfs": {"/x": ""}},
        {"binds": ["/:/x"], "mounts": [Mount(type="volume", target="/x")]},
        {"mounts": [Mount(type="tmpfs", target="/x")], "tmpfs": {"/x/": ""}},
    ],
)
def test_one_destination_has_one_mount(host: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"^Duplicate mount point: /x/?$"):
        resolve(host)


def test_a_volume_of_the_image_gives_way() -> None:
    plan = resolve({"tmpfs": {"/a": ""}, "binds": ["/:/b"]}, volumes={"/a": {}, "/b/": {}})
    assert [point.type for point in plan.points] == ["bind"]
    assert plan.volumes == []


def test_volumes_from_another_container() -> None:
    theirs = [
        MountPoint(type="bind", source="/a", destination="/a", propagation="rslave", mode="z"),
        MountPoint(
            type="volume",
            source="/vol/v/_data",
            destination="/v",
            name="v",
            driver="local",
            anonymous=True,
            copy_up=True,
        ),
        MountPoint(type="bind", source="/c", destination="/c"),
    ]
    plan = resolve(
        {"volumes_from": ["other:ro"], "binds": ["/mine:/c"]},
        volumes={"/v": {}},
        others={"other": theirs},
    )
    points = {point.destination: point for point in plan.points}
    assert set(points) == {"/a", "/v", "/c"}
    assert not points["/a"].rw
    assert points["/a"].propagation == "rslave"
    assert points["/v"].anonymous
    assert not points["/v"].copy_up
    assert points["/c"].source == "/mine"
    assert points["/c"].rw
    assert plan.volumes == []


def test_volumes_from_notations() -> None:
    assert parse_volumes_from("a") == ("a", True)
    assert parse_volumes_from("a:ro,z") == ("a", False)
    for text, message in (
        ("", "volumes-from specification cannot be an empty string"),
        ("a:fast", "invalid mode: fast"),
        ("a:rslave", "invalid mode: rslave"),
        ("a:nocopy", "invalid mode: nocopy"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            parse_volumes_from(text)
        assert str(caught.value) == message
    with pytest.raises(NotFound, match="No such container: gone"):
        resolve({"volumes_from": ["gone"]})
