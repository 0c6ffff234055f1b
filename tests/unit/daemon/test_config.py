"""barqued's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from barque.daemon.config import (
    DEFAULT_HOST,
    Config,
    load_config,
    parse_size,
    parse_ulimit,
)
from barque.errors import InvalidArgument
from barque.runtime import capabilities


def load(tmp_path: Path, contents: Any = None, *flags: str) -> Config:
    path = tmp_path / "daemon.json"
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents or {}))
    return load_config(["--config-file", str(path), *flags])


def test_defaults(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.hosts == (DEFAULT_HOST,)
    assert config.data_root == Path("/var/lib/barque")
    assert config.pidfile == Path("/run/barque/barqued.pid")
    assert config.default_shm_size_bytes == 64 << 20
    assert config.network.device
    assert not config.tls


def test_flags_and_file_give_the_same(tmp_path: Path) -> None:
    contents = {
        "data-root": "/d",
        "exec-root": "/e",
        "hosts": ["unix:///a", "tcp://:1"],
        "debug": True,
        "labels": ["a=b"],
        "log-opts": {"max-size": "1m"},
        "icc": False,
        "mtu": 1400,
        "dns": ["1.1.1.1"],
        "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}],
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}},
        "default-shm-size": "1g",
        "storage-driver": "overlay2",
        "registry-mirrors": ["https://m.example/"],
        "insecure-registries": ["lab:5000", "10.1.2.3/8"],
        "max-concurrent-downloads": 6,
        "max-concurrent-uploads": 7,
        "max-download-attempts": 8,
    }
    flags = (
        "--data-root /d --exec-root=/e -H unix:///a --host tcp://:1 -D --label a=b "
        "--log-opt max-size=1m --icc=false --mtu 1400 --dns 1.1.1.1 "
        "--default-address-pool base=10.0.0.0/8,size=24 --default-ulimit nofile=1:2 "
        "--default-shm-size 1g -s overlay2 --registry-mirror https://m.example "
        "--insecure-registry lab:5000 --insecure-registry 10.0.0.0/8 "
        "--max-concurrent-downloads 6 --max-concurrent-uploads 7 --max-download-attempts 8"
    ).split()
    config = load(tmp_path, contents)
    assert config == load(tmp_path, {}, *flags)
    assert config.storage_driver == "overlay"
    assert config.log_level == "debug"
    assert config.network.default_address_pools[0].size == 24
    assert config.default_ulimits[0].hard == 2
    assert config.default_shm_size_bytes == 1 << 30


@pytest.mark.parametrize(
    ("contents", "flags", "message"),
    [
        ({"foo": 1, "bar": 2}, (), "don't match any configuration option: bar, foo"),
        ({"debug": False}, ("-D",), r"debug: \(from flag: True, from file: False\)"),
        ({"debug": "x"}, (), "Expected `bool`"),
        ("{", (), "invalid configuration file"),
        ("[]", (), "must be a JSON object"),
        ({}, ("--log-level", "loud"), "choose one of debug, info"),
        ({}, ("--storage-driver", "zfs"), "choose one of overlay"),
        ({}, ("--log-driver", "syslog"), "choose one of json-file"),
        ({}, ("--label", "x"), "a label is key=value"),
        ({}, ("--data-root", "relative"), "absolute path"),
        ({}, ("--data-root", "/"), "other than /"),
        ({}, ("--mtu", "1"), "mtu 1"),
        ({}, ("--bip", "x"), "bip"),
        ({}, ("--default-shm-size", "x"), "invalid size"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, contents: Any, flags: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        load(tmp_path, contents, *flags)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="does not exist"):
        load_config(["--config-file", str(tmp_path / "none")])
    assert load(tmp_path, "  ").hosts == (DEFAULT_HOST,)
    with pytest.raises(InvalidArgument, match="cannot read"):
        load_config(["--config-file", str(tmp_path)])


def test_the_command_line_refuses_unknown_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in (["--nope"], ["--default-ulimit", "x"], ["--log-opt", "x"], ["--icc=maybe"]):
        with pytest.raises(SystemExit):
            load(tmp_path, {}, *flags)
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        load_config(["--version"])
    assert leaving.value.code == 0
    assert "barqued version" in capsys.readouterr().out


def test_sizes_and_ulimits() -> None:
    assert parse_size("64m") == parse_size("64MiB") == 64 << 20
    assert parse_size("1.5k") == 1536
    assert parse_size(7) == parse_size("7b") == 7
    assert parse_ulimit("nofile=5").hard == 5
    assert parse_ulimit("core=-1").soft == -1
    for wrong in ("x", "nofile=", "nofile=3:2", "nofile=-1:2"):
        with pytest.raises(InvalidArgument):
            parse_ulimit(wrong)


def test_what_containers_are_allowed(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.default_pids_limit, config.no_new_privileges) == (4096, False)
    assert config.default_capabilities == capabilities.DEFAULT
    contents = {
        "default-pids-limit": -1,
        "default-capabilities": ["chown", "NET_RAW"],
        "default-ipc-mode": "shareable",
        "default-cgroupns-mode": "host",
        "no-new-privileges": True,
    }
    flags = (
        "--default-pids-limit -1 --default-capabilities chown,NET_RAW --no-new-privileges "
        "--default-ipc-mode shareable --default-cgroupns-mode host"
    )
    config = load(tmp_path, contents)
    assert config == load(tmp_path, {}, *flags.split())
    assert config.default_capabilities == ("CAP_CHOWN", "CAP_NET_RAW")
    assert load(tmp_path, {}, "--default-capabilities", "docker").default_capabilities == (
        capabilities.DOCKER
    )


@pytest.mark.parametrize(
    "contents",
    [
        {"default-pids-limit": 0},
        {"default-pids-limit": -2},
        {"default-capabilities": "all of them"},
        {"default-capabilities": ["fly"]},
        {"default-ipc-mode": "host"},
        {"default-cgroupns-mode": "shared"},
    ],
)
def test_nobody_is_allowed_what_makes_no_sense(tmp_path: Path, contents: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"default-|capability"):
        load(tmp_path, contents)
