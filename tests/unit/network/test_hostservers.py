from __future__ import annotations

import os
from pathlib import Path

from barque.network.hostservers import HostServers


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = HostServers(str(path))
    assert servers() == ()
    path.write_text("nameserver 192.0.2.1\n")
    assert [server.address for server in servers()] == ["192.0.2.1"]
    new = tmp_path / "new"
    new.write_text("search example.com\nnameserver 192.0.2.2\nnameserver 2001:db8::2\n")
    os.replace(new, path)
    assert [server.address for server in servers()] == ["192.0.2.2", "2001:db8::2"]
    assert servers() is servers(), "an unchanged file is not read"
    path.unlink()
    assert servers() == ()
    assert not any(server.inside for server in servers())
