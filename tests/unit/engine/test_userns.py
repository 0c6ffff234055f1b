"""Which ids a container gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from barque.engine.subids import Range, find_gap, map_ranges, parse_ranges
from barque.engine.userns import UserNamespaces, check_mode, join_ids, parse_map
from barque.errors import Conflict, FailedPrecondition, InvalidArgument
from barque.models.api import HostConfig
from barque.models.container import ContainerRecord
from barque.models.idmap import NOBODY, IdMap, to_host, to_inside
from barque.models.ids import ContainerId
from barque.models.oci import IdMapping
from support.spec import make_facts, make_record

REMAP = parse_map("map:0:100000:65536")


def chooser(directory: Path, subids: str = "", **changes: Any) -> UserNamespaces:
    path = directory / "subids"
    path.write_text(subids)
    facts = changes.pop("facts", make_facts())
    return UserNamespaces(facts, "overlay", subuid=path, subgid=path, **changes)


def container(name: str, ids: IdMap | None = None, mode: str = "") -> ContainerRecord:
    made = make_record(host=HostConfig(userns_mode=mode))
    return replace(made, id=ContainerId(name * 64), name=name, ids=ids)


def first(ids: IdMap | None) -> tuple[int, int]:
    assert ids is not None
    assert ids.uids == ids.gids
    return ids.uids[0].host_id, ids.uids[0].size


def test_ids_go_in_and_out() -> None:
    mappings = [
        IdMapping(container_id=0, host_id=1000, size=1),
        IdMapping(container_id=1, host_id=100000, size=65535),
    ]
    for inside, outside in ((0, 1000), (1, 100000), (65535, 165534)):
        assert to_host(mappings, inside) == outside
        assert to_inside(mappings, outside) == inside
    assert to_host(mappings, 65536) == NOBODY
    assert to_inside(mappings, 0) == NOBODY


def test_explicit_maps() -> None:
    ids = parse_map("map:0:100000:10,10:200000:5/0:300000:20")
    assert [(m.container_id, m.host_id, m.size) for m in ids.uids] == [
        (0, 100000, 10),
        (10, 200000, 5),
    ]
    assert ids.root == (100000, 300000)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("keep-id", "invalid userns mode: keep-id"),
        ("auto:size=0", "auto:size=N"),
        ("auto:uidmapping=1", "auto:size=N"),
        ("map:", "map:INSIDE:HOST:SIZE"),
        ("map:0:1", "map:INSIDE:HOST:SIZE"),
        ("map:0:-1:1", "map:INSIDE:HOST:SIZE"),
        ("map:1:100000:10", "uid 0, the root inside, is not mapped"),
        ("map:0:1:10/1:1:10", "gid 0"),
        ("map:0:100:10,5:500:10", "overlap inside"),
    ],
)
def test_modes_that_are_none(mode: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_mode(mode)


@pytest.mark.parametrize("mode", ["", "host", "private", "auto", "auto:size=1000", "map:0:5:1"])
def test_modes(mode: str) -> None:
    check_mode(mode)


def test_what_is_remapped(tmp_path: Path) -> None:
    plain, remapping = chooser(tmp_path), chooser(tmp_path, remap=REMAP)
    for mode, without, having in (
        ("", None, REMAP),
        ("host", None, None),
        ("map:0:5:1", parse_map("map:0:5:1"), parse_map("map:0:5:1")),
    ):
        host = HostConfig(userns_mode=mode)
        assert plain.choose(host, None, []) == without
        assert remapping.choose(host, None, []) == having
    private = HostConfig(userns_mode="private")
    assert remapping.choose(private, None, []) == REMAP
    assert first(plain.choose(private, None, [])) == (1_000_000, 65536)


def test_automatic_ranges_do_not_meet(tmp_path: Path) -> None:
    users = "someone:1065536:65536\n"
    namespaces = chooser(tmp_path, users, remap=parse_map("map:0:1000000:65536"))
    auto = HostConfig(userns_mode="auto")
    one = container("a", namespaces.choose(auto, None, []), "auto")
    assert first(one.ids) == (1_000_000 + 2 * 65536, 65536)
    small = HostConfig(userns_mode="auto:size=1000")
    two = container("b", namespaces.choose(small, None, [one]), "auto:size=1000")
    assert first(two.ids) == (1_000_000 + 3 * 65536, 1000)
    assert first(namespaces.choose(auto, None, [one, two]))[0] == 1_000_000 + 3 * 65536 + 1000
    assert namespaces.choose(auto, one.ids, [one, two]) == one.ids, "kept over starts"
    assert namespaces.choose(auto, None, [two]) == one.ids, "freed with its container"


def test_pools(tmp_path: Path) -> None:
    auto = HostConfig(userns_mode="auto")
    ours = chooser(tmp_path, "containers:5000000:70000\n")
    held = container("a", ours.choose(auto, None, []))
    assert first(held.ids)[0] == 5_000_000
    with pytest.raises(
        FailedPrecondition, match=r"no 65536 ids in a row are left.*5000000-5069999"
    ):
        ours.choose(auto, None, [held])
    assert first(chooser(tmp_path, pool="7000000:65536").choose(auto, None, []))[0] == 7_000_000
    with pytest.raises(FailedPrecondition, match="add a line like ci:2147483648:16777216 to"):
        chooser(tmp_path, pool="ci").choose(auto, None, [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privileged": True}, "privileged mode is incompatible with user namespaces.  You must"),
        ({"network_mode": "host"}, "cannot share the host's network namespace when user"),
        ({"pid_mode": "host"}, "cannot share PID namespace when user namespaces are enabled"),
        ({"security_opt": ["systemd=true"]}, "systemd=true is incompatible with user namespaces"),
    ],
)
def test_what_dockerd_refuses(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    namespaces = chooser(tmp_path, remap=REMAP)
    with pytest.raises(InvalidArgument, match=said):
        namespaces.choose(HostConfig(**changes), None, [])
    assert namespaces.choose(HostConfig(userns_mode="host", **changes), None, []) is None


def test_old_kernels_say_what_is_missing(tmp_path: Path) -> None:
    namespaces = chooser(
        tmp_path, remap=REMAP, facts=make_facts(kernel=(5, 15), kernel_release="5.15.0-x")
    )
    with pytest.raises(FailedPrecondition, match=r"since Linux 5\.19 .* this is 5\.15\.0-x"):
        namespaces.choose(HostConfig(), None, [])
    assert replace_driver(namespaces, "vfs").choose(HostConfig(), None, []) == REMAP


def replace_driver(namespaces: UserNamespaces, driver: str) -> UserNamespaces:
    return UserNamespaces(namespaces.facts, driver, namespaces.remap)


class TestSharedNamespaces:
    other = parse_map("map:0:200000:65536")

    def test_the_users_come_along(self) -> None:
        target = container("b", self.other)
        assert join_ids(container("a", REMAP), REMAP, [target]) == (self.other, target)

    def test_also_those_of_the_host(self) -> None:
        assert join_ids(container("a", REMAP), REMAP, [container("b")]) == (None, None)

    def test_without_targets(self) -> None:
        assert join_ids(container("a"), REMAP, []) == (REMAP, None)

    def test_who_keeps_to_the_host_does(self) -> None:
        mine = container("a", mode="host")
        assert join_ids(mine, None, [container("b", self.other)]) == (None, None)

    def test_what_does_not_fit(self) -> None:
        with pytest.raises(Conflict, match=r"containers b and c.*different user namespaces"):
            join_ids(container("a"), None, [container("b", self.other), container("c", REMAP)])
        with pytest.raises(Conflict, match=r'mode "auto".*leave --userns out'):
            join_ids(container("a", mode="auto"), REMAP, [container("b", self.other)])

    def test_privileges_do_not(self) -> None:
        mine = make_record(host=HostConfig(privileged=True))
        with pytest.raises(InvalidArgument, match="privileged mode is incompatible"):
            join_ids(mine, None, [container("b", self.other)])


class TestSubordinateIds:
    def test_lines(self) -> None:
        text = "a:100000:65536\n# no\n\nb:x:1\n1000:5:6:7\nb:300000:10\n"
        assert parse_ranges(text) == [("a", Range(100000, 65536)), ("b", Range(300000, 10))]

    def test_ranges_one_after_the_other(self) -> None:
        assert map_ranges([Range(100, 10), Range(500, 5)]) == [
            IdMapping(container_id=0, host_id=100, size=10),
            IdMapping(container_id=10, host_id=500, size=5),
        ]

    def test_gaps(self) -> None:
        pool = [Range(100, 100), Range(1000, 50)]
        assert find_gap(pool, [], 50) == Range(100, 50)
        assert find_gap(pool, [Range(100, 10), Range(150, 10)], 40) == Range(110, 40)
        assert find_gap(pool, [Range(100, 10), Range(150, 10)], 41) == Range(1000, 41)
        assert find_gap(pool, [Range(120, 10), Range(0, 115)], 60) == Range(130, 60)
        assert find_gap(pool, [Range(0, 2000)], 1) is None
        assert find_gap(pool, [], 101) is None
