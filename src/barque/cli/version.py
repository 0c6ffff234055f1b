"""``version``: of this program and of the engine."""

from __future__ import annotations

import os
import sys

import barque
from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.table import layout as lay_out
from barque.cli.units import format_layout, parse_rfc3339
from barque.errors import BarqueError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_USAGE_EXIT = 64
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_ENGINE_DETAILS = (
    "ApiVersion",
    "MinAPIVersion",
    "GitCommit",
    "GoVersion",
    "Os",
    "Arch",
    "BuildTime",
    "Experimental",
)


def client_version(api_version: str = "") -> dict[str, Any]:
    """What the command line says of itself, in the form of docker's client."""
    system = os.uname()
    return {
        "Version": barque.__version__,
        "ApiVersion": api_version,
        "DefaultAPIVersion": api_version,
        "GitCommit": "",
        "GoVersion": f"python{sys.version.partition(' ')[0]}",
        "Os": system.sysname.lower(),
        "Arch": _MACHINES.get(system.machine, system.machine),
        "BuildTime": "",
        "Context": "default",
    }


def _show_time(text: str) -> str:
    """Go's ANSIC form of a build time; other texts as they are."""
    try:
        return format_layout("Mon Jan _2 15:04:05 2006", *parse_rfc3339(text))
    except InvalidArgument:
        return text


def _complete(server: dict[str, Any]) -> dict[str, Any]:
    """With an Engine component, which old engines do not list."""
    components = server.setdefault("Components", None) or []
    server["Components"] = components
    for component in components:
        if component.get("Name") == "Engine":
            details = component.setdefault("Details", {})
            if "BuildTime" in details:
                details["BuildTime"] = _show_time(details["BuildTime"])
            return server
    details = {name: str(server.get(name, "")) for name in _ENGINE_DETAILS}
    details["Experimental"] = "true" if server.get("Experimental") else "false"
    details["BuildTime"] = _show_time(details["BuildTime"])
    components.append({"Name": "Engine", "Version": server.get("Version", ""), "Details": details})
    return server


def _pairs(heading: str, indent: str, pairs: list[tuple[str, str]]) -> str:
    lines = "".join(f"{indent}{name}:\t{value}\n" for name, value in pairs if value)
    return f"{heading}\n{lines}"


def _show(client: dict[str, Any], server: dict[str, Any] | None) -> str:
    """The indented text; values stand in a column of their own."""
    text = _pairs(
        "Client:",
        " ",
        [
            ("Version", client["Version"]),
            ("API version", client["ApiVersion"]),
            ("Python version", client["GoVersion"].removeprefix("python")),
            ("OS/Arch", f"{client['Os']}/{client['Arch']}"),
            ("Context", client["Context"]),
        ],
    )
    if server is None:
        return text
    platform = (server.get("Platform") or {}).get("Name", "")
    text += f"\nServer:{f' {platform}' if platform else ''}\n"
    for component in server["Components"]:
        details = component.get("Details") or {}
        pairs = [("Version", str(component.get("Version", "")))]
        if component["Name"] == "Engine":
            minimum = details.get("MinAPIVersion", "")
            pairs += [
                ("API version", f"{details.get('ApiVersion', '')} (minimum version {minimum})"),
                ("Go version", details.get("GoVersion", "")),
                ("Git commit", details.get("GitCommit", "")),
                ("Built", details.get("BuildTime", "")),
                ("OS/Arch", f"{details.get('Os', '')}/{details.get('Arch', '')}"),
                ("Experimental", details.get("Experimental", "")),
            ]
        else:
            pairs += [(name, details[name]) for name in sorted(details)]
        text += _pairs(f" {component['Name']}:", "  ", pairs)
    return text


def _version(call: Invocation) -> int:
    layout = call.flags["format"]
    template = None
    if layout:
        from barque.cli.inspection import parse_template  # noqa: PLC0415 - only for templates

        try:
            template = parse_template("{{json .}}" if layout == "json" else layout, "version")
        except InvalidArgument as error:
            raise CommandError(str(error), _USAGE_EXIT) from None
    server: dict[str, Any] | None = None
    failure: BarqueError | None = None
    try:
        server = _complete(call.client.get("/version"))
    except BarqueError as error:
        failure = error
    client = client_version(str(server.get("ApiVersion", "")) if server else "")
    if template is None:
        sys.stdout.write(lay_out(_show(client, server), min_width=20, padding=1))
    else:
        from barque.cli.shapes import typed  # noqa: PLC0415 - only for templates

        both = typed({"Client": client, "Server": server}, "system.versionInfo")
        try:
            sys.stdout.write(template.execute(both))
        finally:
            sys.stdout.write("\n")
    if failure is not None:
        sys.stdout.flush()
        raise failure
    return 0


VERSION = Command(
    "[OPTIONS]",
    _version,
    maximum=0,
    flags=(Flag("format", "string", "Format output: 'json', a Go template", short="f"),),
)
