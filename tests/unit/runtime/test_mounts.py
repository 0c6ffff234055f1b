"""The mount plan."""

from __future__ import annotations

import pytest

from barque.kernel.mount import MOUNT_ATTR_NOEXEC, MOUNT_ATTR_RDONLY
from barque.models import oci
from barque.runtime.mounts import plain_path, plan_mounts

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def test_recursive_words_without_anything_below_are_plain_ones() -> None:
    mount = oci.Mount(destination="/a", type="tmpfs", options=["rro", "rnoexec"])
    bind = oci.Mount(destination="/b", type="bind", source="/", options=["rro"])
    made, bound = plan_mounts([mount, bind], oci.Linux())
    assert made.set == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC
    assert (made.recursive_set, made.recursive_clear) == (0, 0)
    assert (bound.set, bound.recursive_set) == (0, MOUNT_ATTR_RDONLY)


def test_steps_know_their_place() -> None:
    mount = oci.Mount(destination="/a", type="tmpfs")
    assert [step.number for step in plan_mounts([mount] * 3, oci.Linux())] == [0, 1, 2]


def test_new_file_systems_are_labelled_but_the_kernels_own() -> None:
    kinds = ("tmpfs", "devpts", "proc", "sysfs", "mqueue", "cgroup", "bind")
    mounts = [oci.Mount(destination="/a", type=kind, source="/x") for kind in kinds]
    steps = plan_mounts(mounts, oci.Linux(mount_label=LABEL))
    labelled = {step.fstype for step in steps if f"context={LABEL}" in step.options}
    assert labelled == {"tmpfs", "devpts"}
    assert not any(step.options for step in plan_mounts(mounts, oci.Linux()))


@pytest.mark.parametrize(
    ("path", "plain"),
    [("//proc", "/proc"), ("/proc/", "/proc"), ("/sys/../proc/./a", "/proc/a"), ("/", "/")],
)
def test_plain_paths(path: str, plain: str) -> None:
    assert plain_path(path) == plain
