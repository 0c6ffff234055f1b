"""Every key of dockerd's daemon.json is served, warned of or refused; docs say which."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from barque.daemon.config import Config, Options, load_config
from barque.daemon.foreign import FOREIGN, set_aside
from barque.errors import InvalidArgument
from support.dockerd_keys import KEYS

RENAMED = {"host-gateway-ip"}
SERVED = {field.encode_name for field in msgspec.structs.fields(Options)} | RENAMED
DOCUMENT = Path(__file__).parents[3] / "docs" / "conformance.md"


def load(tmp_path: Path, contents: dict[str, Any]) -> Config:
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(contents))
    return load_config(["--config-file", str(path)])


def test_no_key_of_dockerd_is_unknown() -> None:
    assert KEYS - SERVED - set(FOREIGN) == set()
    assert SERVED & set(FOREIGN) == set(), "what is served needs no excuse"


def test_the_document_says_what_becomes_of_each_key() -> None:
    section = DOCUMENT.read_text().partition("\n## daemon.json\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|", section, re.MULTILINE))
    expected = {key: "works" if key in KEYS else "barque's own" for key in SERVED}
    expected |= {key: entry.state for key, entry in FOREIGN.items()}
    assert rows == expected


def test_what_is_relied_on_is_refused_all_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(tmp_path, {"selinux-enabled": True, "iptables": False, "debug": True})
    text = str(caught.value)
    assert "selinux-enabled: SELinux labels are not implemented" in text
    assert "iptables: barque has a table of its own in nftables" in text


def test_what_changes_nothing_is_warned_of(tmp_path: Path) -> None:
    config = load(tmp_path, {"live-restore": False, "userland-proxy": True, "debug": True})
    assert config.debug
    assert [text.rpartition("ignored: ")[2] for text in config.warnings] == [
        "live-restore: containers always outlive the engine",
        "userland-proxy: ports are published without a proxy",
    ]


@pytest.mark.parametrize("key", sorted(FOREIGN))
def test_what_barque_does_anyway_needs_no_words(key: str) -> None:
    for value in FOREIGN[key].fine:
        assert set_aside({key: value}, "f") == ({}, [])


def test_true_is_not_one() -> None:
    with pytest.raises(InvalidArgument):
        set_aside({"selinux-enabled": 0}, "f")


def test_the_old_name_of_the_hosts_address(tmp_path: Path) -> None:
    config = load(tmp_path, {"host-gateway-ip": "10.0.0.1"})
    assert config.network.host_gateway_ips == ["10.0.0.1"]
    both = {"host-gateway-ip": "10.0.0.1", "host-gateway-ips": ["10.0.0.2"]}
    with pytest.raises(InvalidArgument, match="don't match any configuration option"):
        load(tmp_path, both)
