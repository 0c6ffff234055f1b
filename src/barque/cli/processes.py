"""``top``, ``port`` and ``diff``: what a container runs, publishes and has changed."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Invocation
from barque.cli.listing import natural_key
from barque.cli.rows.containers import join_host_port
from barque.cli.table import layout
from barque.client.http import quote_segment

_CHANGE = ("C", "A", "D")  # by the API's kind: modified, added, deleted


def _top(call: Invocation) -> int:
    name, *options = call.args
    found = call.client.get(
        f"/containers/{quote_segment(name)}/top",
        query={"ps_args": " ".join(options) if options else None},
    )
    lines = [found["Titles"], *(found.get("Processes") or ())]
    sys.stdout.write(layout("".join("\t".join(line) + "\n" for line in lines), min_width=20))
    return 0


def _port(call: Invocation) -> int:
    name = call.args[0]
    container = call.client.get(f"/containers/{quote_segment(name)}/json")
    ports = (container.get("NetworkSettings") or {}).get("Ports") or {}
    lines: list[str] = []
    if len(call.args) > 1:
        wanted = call.args[1]
        number, _, protocol = wanted.partition("/")
        if not number.isdecimal() or not 0 < int(number) < 65536:
            raise CommandError(f"Error: invalid port ({number}): not a number from 1 to 65535")
        bindings = ports.get(f"{number}/{protocol or 'tcp'}")
        if not bindings:
            raise CommandError(f"Error: No public port '{wanted}' published for {name}")
        lines = [join_host_port(each["HostIp"], each["HostPort"]) for each in bindings]
    else:
        lines = [
            f"{port} -> {join_host_port(each['HostIp'], each['HostPort'])}"
            for port, bindings in ports.items()
            for each in bindings or ()
        ]
    lines.sort(key=natural_key)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _diff(call: Invocation) -> int:
    changes = call.client.get(f"/containers/{quote_segment(call.args[0])}/changes") or ()
    sys.stdout.write("".join(f"{_CHANGE[change['Kind']]} {change['Path']}\n" for change in changes))
    return 0


TOP = Command("CONTAINER [ps OPTIONS]", _top, minimum=1, interspersed=False)
PORT = Command("CONTAINER [PRIVATE_PORT[/PROTO]]", _port, minimum=1, maximum=2)
DIFF = Command("CONTAINER", _diff, minimum=1, maximum=1)
