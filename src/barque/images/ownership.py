"""Owners in archives that come out of a user namespace, or go into one.

Who looks at a container's files from the host sees the host's ids. In an archive stand those that
the container knows, in the owners and in file capabilities, which say whose root they are for.

Source: capabilities(7) "Namespaced file capabilities"; linux/capability.h, vfs_ns_cap_data.
"""

from __future__ import annotations

import struct

from barque.images.tar import Entry
from barque.models.idmap import IdMap, to_host, to_inside

_CAPABILITY = b"security.capability"
_REVISION_2, _REVISION_3, _REVISIONS = 0x02000000, 0x03000000, 0xFF000000
_SIZE_2, _SIZE_3 = 20, 24


def bring_out(entry: Entry, ids: IdMap) -> None:
    """Turn an entry with the host's ids into one with those of the container."""
    entry.uid, entry.gid = to_inside(ids.uids, entry.uid), to_inside(ids.gids, entry.gid)
    value = entry.xattrs.get(_CAPABILITY)
    if value is None or len(value) != _SIZE_3:
        return
    magic, root = struct.unpack_from("<I", value)[0], struct.unpack_from("<I", value, _SIZE_2)[0]
    if magic & _REVISIONS == _REVISION_3 and to_inside(ids.uids, root) == 0:
        magic = magic & ~_REVISIONS | _REVISION_2
        entry.xattrs[_CAPABILITY] = struct.pack("<I", magic) + value[4:_SIZE_2]


def bring_in(entry: Entry, ids: IdMap) -> None:
    """Turn an entry with the ids of the container into one with the host's."""
    entry.uid, entry.gid = to_host(ids.uids, entry.uid), to_host(ids.gids, entry.gid)
    value = entry.xattrs.get(_CAPABILITY)
    if value is None or len(value) != _SIZE_2:
        return
    magic = struct.unpack_from("<I", value)[0] & ~_REVISIONS | _REVISION_3
    root = struct.pack("<I", ids.root[0])
    entry.xattrs[_CAPABILITY] = struct.pack("<I", magic) + value[4:] + root
