"""New limits and another restart policy for a container, running or not.

An update is done wholly or not at all: the request is checked, the limits are set in the
kernel, which puts back the old ones if it refuses one, and then the record is replaced.

Source: the Engine API's ContainerUpdate; dockerd's container.UpdateContainer for the texts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from msgspec.structs import replace

from barque.engine.container_events import ContainerEvents
from barque.engine.defaults import ContainerDefaults
from barque.engine.facts import HostFacts
from barque.engine.handle import Handle
from barque.engine.limits import check_limits
from barque.engine.registry import Registry
from barque.engine.resources import build_resources
from barque.engine.tasks import Tasks
from barque.engine.validate import check_restart_policy
from barque.errors import BarqueError, Conflict, FailedPrecondition
from barque.models import oci
from barque.models.api import HostConfig, RestartPolicy
from barque.models.container import ContainerRecord

_NUMBERS = (
    "blkio_weight",
    "cpu_shares",
    "nano_cpus",
    "cpu_period",
    "cpu_quota",
    "cpu_realtime_period",
    "cpu_realtime_runtime",
    "cpuset_cpus",
    "cpuset_mems",
    "memory",
    "memory_swap",
    "memory_reservation",
)
_OPTIONAL = ("pids_limit", "memory_swappiness", "oom_kill_disable")
_DEVICES = (
    "blkio_weight_device",
    "blkio_device_read_bps",
    "blkio_device_write_bps",
    "blkio_device_read_i_ops",
    "blkio_device_write_i_ops",
)
_TOGETHER = (
    ("memory", "memory_swap"),
    ("nano_cpus", "cpu_period", "cpu_quota"),
    ("cpu_realtime_period", "cpu_realtime_runtime"),
)
"""Limits that the kernel keeps as one, or that bound each other: set if one of them changes."""
_FIXED = {
    "cgroup_parent": "CgroupParent",
    "devices": "Devices",
    "device_cgroup_rules": "DeviceCgroupRules",
    "device_requests": "DeviceRequests",
    "ulimits": "Ulimits",
}


@dataclass(frozen=True)
class Updating:
    """Changes containers' limits."""

    registry: Registry
    tasks: Tasks
    events: ContainerEvents
    facts: HostFacts
    defaults: ContainerDefaults

    async def update(self, handle: Handle, changes: HostConfig) -> list[str]:
        """Set what ``changes`` has (zero, empty and None are: leave it); return warnings.

        Raises InvalidArgument for limits that can never be, Conflict for those that do not go
        with the ones there are, FailedPrecondition if the kernel refuses; nothing is changed
        then.
        """
        warnings = check_limits(changes, self.facts, update=True)
        check_restart_policy(changes.restart_policy)
        warnings += [
            f"{shown} cannot be changed by an update: it stays as it is"
            for name, shown in _FIXED.items()
            if getattr(changes, name)
        ]
        async with self.tasks.locked(handle) as record:
            if record.state.removing or record.state.dead:
                raise _refused(record, 'container is marked for removal and cannot be "update"')
            merged = merge(record, changes)
            if handle.run is not None:
                await self._apply(
                    handle, changed_resources(record.host_config, merged, self.defaults)
                )
            self.registry.replace(handle, host_config=merged)
            self.events.publish(handle.record, "update")
        return warnings

    async def _apply(self, handle: Handle, wanted: oci.Resources) -> None:
        """Set the limits in the kernel. Its refusal names docker's flag."""
        run = handle.run
        try:
            await asyncio.to_thread(self.tasks.cgroup(handle).update, wanted)
        except BarqueError as error:
            if handle.run is not run:
                return  # it has ended meanwhile: the next start takes the new limits
            raise FailedPrecondition(f"Cannot update container {handle.id}: {error}") from error


def _refused(record: ContainerRecord, why: str) -> Conflict:
    return Conflict(f"Cannot update container {record.id}: {why}")


def merge(record: ContainerRecord, changes: HostConfig) -> HostConfig:
    """Return the container's host config with ``changes`` in it. Raises Conflict."""
    now = record.host_config
    for new, old, text in (
        (changes.nano_cpus, now.cpu_period, "Nano CPUs cannot be updated as CPU Period has"),
        (changes.nano_cpus, now.cpu_quota, "Nano CPUs cannot be updated as CPU Quota has"),
        (changes.cpu_period, now.nano_cpus, "CPU Period cannot be updated as NanoCPUs has"),
        (changes.cpu_quota, now.nano_cpus, "CPU Quota cannot be updated as NanoCPUs has"),
    ):
        if new > 0 and old > 0:
            raise _refused(record, f"Conflicting options: {text} already been set")
    if 0 <= now.memory_swap < changes.memory and changes.memory_swap == 0:
        raise _refused(
            record,
            "Memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time",
        )
    merged = replace(
        now,
        **{name: getattr(changes, name) for name in _NUMBERS + _DEVICES if getattr(changes, name)},
        **{name: value for name in _OPTIONAL if (value := getattr(changes, name)) is not None},
    )
    if 0 < merged.memory_swap < merged.memory:
        raise _refused(
            record, "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if changes.restart_policy.name:
        if now.auto_remove and changes.restart_policy.name != "no":
            raise _refused(
                record,
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            )
        policy = changes.restart_policy
        merged.restart_policy = RestartPolicy(
            name=policy.name, maximum_retry_count=policy.maximum_retry_count
        )
    return merged


def changed_resources(
    now: HostConfig, merged: HostConfig, defaults: ContainerDefaults
) -> oci.Resources:
    """Return those limits of ``merged`` that are others now, with what belongs to them.

    Raises InvalidArgument for a device that is none.
    """
    limits = _changed_limits(now, merged)
    resources = build_resources(limits)
    if limits.pids_limit is not None:
        pids_limit = defaults.choose_pids_limit(limits.pids_limit)
        resources.pids = oci.Pids(limit=pids_limit if pids_limit > 0 else -1)
    if limits.oom_kill_disable is not None:
        resources.memory = resources.memory or oci.Memory()
        resources.memory.disable_oom_killer = limits.oom_kill_disable
    return resources


def _changed_limits(now: HostConfig, merged: HostConfig) -> HostConfig:
    """Return a host config of nothing but what has changed.

    A device whose throttle or weight is gone gets one of zero, which is none.
    """
    changed = HostConfig()
    for name in _NUMBERS + _OPTIONAL:
        if getattr(merged, name) != getattr(now, name):
            setattr(changed, name, getattr(merged, name))
    for names in _TOGETHER:
        if any(getattr(merged, name) != getattr(now, name) for name in names):
            for name in names:
                setattr(changed, name, getattr(merged, name))
    for name in _DEVICES:
        new, old = getattr(merged, name), getattr(now, name)
        if new != old:
            kept = {device.path for device in new or ()}
            field = "weight" if name == "blkio_weight_device" else "rate"
            gone = [
                replace(device, **{field: 0}) for device in old or () if device.path not in kept
            ]
            setattr(changed, name, [*gone, *(new or ())])
    return changed
