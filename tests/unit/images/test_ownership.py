"""Owners on their way between a user namespace and an archive."""

from __future__ import annotations

import struct

from barque.images.ownership import bring_in, bring_out
from barque.images.tarwrite import make_entry
from barque.models.idmap import NOBODY, IdMap
from barque.models.oci import IdMapping

IDS = IdMap(
    uids=[IdMapping(container_id=0, host_id=100000, size=1000)],
    gids=[IdMapping(container_id=0, host_id=200000, size=1000)],
)
CAPABILITY = b"security.capability"
NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
NET_RAW_FOR_ROOT = struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 100000)


def test_owners() -> None:
    entry = make_entry(b"a", mode=0o644)
    entry.uid, entry.gid = 7, 8
    bring_in(entry, IDS)
    assert (entry.uid, entry.gid) == (100007, 200008)
    bring_out(entry, IDS)
    assert (entry.uid, entry.gid) == (7, 8)


def test_strangers_are_nobody() -> None:
    entry = make_entry(b"a", mode=0o644)
    entry.uid, entry.gid = 5, 5000
    bring_out(entry, IDS)
    assert (entry.uid, entry.gid) == (NOBODY, NOBODY)


def test_capabilities_name_their_root_outside_only() -> None:
    entry = make_entry(b"a", mode=0o755)
    entry.xattrs = {CAPABILITY: NET_RAW, b"user.a": b"b"}
    bring_in(entry, IDS)
    assert entry.xattrs == {CAPABILITY: NET_RAW_FOR_ROOT, b"user.a": b"b"}
    bring_out(entry, IDS)
    assert entry.xattrs == {CAPABILITY: NET_RAW, b"user.a": b"b"}


def test_capabilities_of_another_root_stay() -> None:
    other = NET_RAW_FOR_ROOT[:-4] + struct.pack("<I", 5)
    entry = make_entry(b"a", mode=0o755)
    entry.xattrs = {CAPABILITY: other}
    bring_out(entry, IDS)
    assert entry.xattrs == {CAPABILITY: other}
