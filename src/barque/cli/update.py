"""``update``: new limits for containers, also while they run."""

from __future__ import annotations

import sys

from barque.cli.command import UNBOUNDED, Command, CommandError, Flag, Invocation
from barque.cli.container_body import limits, parse_restart_policy
from barque.cli.container_flags import RESOURCE_FLAGS
from barque.cli.report import print_error
from barque.client.http import quote_segment
from barque.errors import BarqueError


def _update(call: Invocation) -> int:
    flags = call.flags
    if not any(flags.changed(flag.name) for flag in UPDATE.flags):
        raise CommandError("you must provide one or more flags when using this command")
    restart = {"Name": "", "MaximumRetryCount": 0}
    if flags["restart"]:
        restart = parse_restart_policy(flags["restart"])
    body = {
        **limits(flags),
        "CgroupParent": "",
        "BlkioWeightDevice": None,
        "BlkioDeviceReadBps": None,
        "BlkioDeviceWriteBps": None,
        "BlkioDeviceReadIOps": None,
        "BlkioDeviceWriteIOps": None,
        "Devices": None,
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "MemorySwappiness": None,
        "OomKillDisable": None,
        "PidsLimit": flags["pids-limit"] if flags.changed("pids-limit") else None,
        "Ulimits": None,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "RestartPolicy": restart,
    }
    code = 0
    warnings: list[str] = []
    for name in call.args:
        try:
            answer = call.client.post(f"/containers/{quote_segment(name)}/update", body=body)
        except BarqueError as error:
            print_error(error)
            code = 1
        else:
            sys.stdout.write(f"{name}\n")
            warnings.extend((answer or {}).get("Warnings") or ())
    for warning in warnings:
        sys.stdout.write(f"{warning}\n")
    return code


UPDATE = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _update,
    minimum=1,
    maximum=UNBOUNDED,
    flags=(
        *RESOURCE_FLAGS,
        Flag("restart", "string", "Restart policy to apply when a container exits"),
    ),
)
