from __future__ import annotations

from pathlib import Path

import pytest

from barque.engine.devices import (
    device_rules,
    find_device_number,
    find_devices,
    parse_device_rule,
)
from barque.errors import InvalidArgument
from barque.models import oci
from barque.models.api import DeviceMapping


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("c 1:3 mr", oci.DeviceRule(allow=True, type="c", major=1, minor=3, access="mr")),
        ("b 8:* rwm", oci.DeviceRule(allow=True, type="b", major=8, access="rwm")),
        ("a *:* rwm", oci.DeviceRule(allow=True, type="a", access="rwm")),
    ],
)
def test_rules(text: str, rule: oci.DeviceRule) -> None:
    assert parse_device_rule(text) == rule


@pytest.mark.parametrize("text", ["", "c 1:3", "d 1:3 r", "c 1:3 x", "c -1:3 r", "c 1:3 r\n"])
def test_bad_rules(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid device cgroup rule format: '"):
        parse_device_rule(text)


def test_a_device_comes_under_another_name() -> None:
    mapping = DeviceMapping(path_on_host="/dev/null", path_in_container="/dev/hole")
    (device,) = find_devices(mapping)
    assert (device.type, device.path, device.major, device.minor) == ("c", "/dev/hole", 1, 3)
    assert device_rules([device], "r") == [
        oci.DeviceRule(allow=True, type="c", major=1, minor=3, access="r")
    ]


def test_a_link_to_a_device_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    (device,) = find_devices(DeviceMapping(path_on_host=str(tmp_path / "link")))
    assert (device.path, device.minor) == (str(tmp_path / "link"), 5)


@pytest.mark.skipif(not Path("/dev/pts").is_dir(), reason="needs devpts on /dev/pts")
def test_a_directory_gives_the_devices_below_it() -> None:
    mapping = DeviceMapping(path_on_host="/dev/pts", path_in_container="/dev/terminals")
    assert "/dev/terminals/ptmx" in [device.path for device in find_devices(mapping)]


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, problem in (
        (tmp_path / "file", "not a device"),
        (tmp_path / "gone", "no such file or directory"),
        (tmp_path, "not a device node"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            find_devices(DeviceMapping(path_on_host=str(path)))
        assert str(caught.value).startswith(
            f'error gathering device information while adding custom device "{path}": '
        )
        assert problem in str(caught.value) or problem == "not a device"


def test_the_mode_and_the_inner_path_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="invalid device mode: rwx"):
        find_devices(DeviceMapping(path_on_host="/dev/null", cgroup_permissions="rwx"))
    with pytest.raises(InvalidArgument, match="hole is not an absolute path"):
        find_devices(DeviceMapping(path_on_host="/dev/null", path_in_container="hole"))


def test_a_limit_needs_a_block_device() -> None:
    with pytest.raises(InvalidArgument, match="stat /dev/nowhere: no such file or directory"):
        find_device_number("/dev/nowhere")
    with pytest.raises(InvalidArgument, match="/dev/null is not a block device"):
        find_device_number("/dev/null")
