"""``update``: other limits for a container that runs. Source: runc-update(8)."""

from __future__ import annotations

import argparse
import sys

import msgspec

from barque.cgroups import open_cgroup
from barque.errors import Conflict, FailedPrecondition, InvalidArgument
from barque.models import oci
from barque.runtime.command.state import Container, class_of_service
from barque.runtime.resctrl import check_rdt


def read_resources(arguments: argparse.Namespace) -> oci.Resources:
    """What the command line, or the document that it names, asks for."""
    if arguments.resources:
        try:
            if arguments.resources == "-":
                text = sys.stdin.buffer.read()
            else:
                with open(arguments.resources, "rb") as file:
                    text = file.read()
            return msgspec.json.decode(text, type=oci.Resources)
        except (OSError, msgspec.DecodeError) as error:
            raise InvalidArgument(f"resources {arguments.resources}: {error}") from None
    pids, weight = arguments.pids_limit, arguments.blkio_weight
    return oci.Resources(
        memory=oci.Memory(
            limit=arguments.memory,
            reservation=arguments.memory_reservation,
            swap=arguments.memory_swap,
        ),
        cpu=oci.Cpu(
            shares=arguments.cpu_share,
            quota=arguments.cpu_quota,
            period=arguments.cpu_period,
            burst=arguments.cpu_burst,
            idle=arguments.cpu_idle,
            realtime_runtime=arguments.cpu_rt_runtime,
            realtime_period=arguments.cpu_rt_period,
            cpus=arguments.cpuset_cpus,
            mems=arguments.cpuset_mems,
        ),
        pids=oci.Pids(limit=pids) if pids is not None else None,
        block_io=oci.BlockIO(weight=weight) if weight is not None else None,
    )


def read_shares(arguments: argparse.Namespace) -> oci.IntelRdt:
    """What of caches and memory bandwidth the command line asks for. Raises InvalidArgument."""
    rdt = oci.IntelRdt(
        l3_cache_schema=arguments.l3_cache_schema, mem_bw_schema=arguments.mem_bw_schema
    )
    check_rdt(rdt)
    return rdt


def update(
    container: Container, resources: oci.Resources, shares: oci.IntelRdt | None = None
) -> None:
    """Change the limits that are given. Raises Conflict, FailedPrecondition, KernelError."""
    if container.status in {"creating", "stopped"}:
        raise Conflict("container not running")
    lines = [shares.l3_cache_schema, shares.mem_bw_schema] if shares else []
    service = class_of_service(container.record) if any(lines) else None
    if any(lines) and service is None:
        raise FailedPrecondition(
            "--l3-cache-schema and --mem-bw-schema: the container has no class of service of its "
            "own, what it may use is everybody's: create it with intelRdt in its config.json"
        )
    resources.devices = []  # as with runc: the container keeps those it was made with
    open_cgroup(container.record.cgroup).update(resources)
    if service is not None:
        service.update([line for line in lines if line])
