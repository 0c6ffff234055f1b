"""``info``: the engine and its machine at a glance (Engine API: SystemInfo)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.units import binary_size
from barque.client.errors import ApiError
from barque.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_USAGE_EXIT = 64


def _truth(value: Any) -> str:
    return "true" if value else "false"


def _joined(value: Any) -> str:
    return " ".join(value or ())


def show_server(info: dict[str, Any]) -> list[str]:
    """The engine's part of the text, a line each, without indentation of its own."""
    lines: list[str] = []

    def line(name: str, value: Any, *, always: bool = False) -> None:
        if always or value not in ("", None):
            lines.append(f" {name}: {'' if value is None else value}")

    line("Containers", info.get("Containers", 0))
    line(" Running", info.get("ContainersRunning", 0))
    line(" Paused", info.get("ContainersPaused", 0))
    line(" Stopped", info.get("ContainersStopped", 0))
    line("Images", info.get("Images", 0))
    line("Server Version", info.get("ServerVersion"))
    line("Storage Driver", info.get("Driver"))
    lines += [f"  {name}: {value}" for name, value in info.get("DriverStatus") or ()]
    lines += [f" {name}: {value}" for name, value in info.get("SystemStatus") or ()]
    line("Logging Driver", info.get("LoggingDriver"))
    line("Cgroup Driver", info.get("CgroupDriver"))
    line("Cgroup Version", info.get("CgroupVersion"))
    lines += _plugins(info)
    line("Swarm", (info.get("Swarm") or {}).get("LocalNodeState"), always=True)
    if info.get("Runtimes"):
        line("Runtimes", _joined(info["Runtimes"]))
        line("Default Runtime", info.get("DefaultRuntime"), always=True)
    if info.get("OSType") == "linux":
        line("Init Binary", info.get("InitBinary"), always=True)
        for name, key in (("containerd", "Containerd"), ("runc", "Runc"), ("init", "Init")):
            commit = (info.get(f"{key}Commit") or {}).get("ID", "")
            line(f"{name} version", commit, always=True)
        lines += _security_options(info.get("SecurityOptions") or ())
    line("Kernel Version", info.get("KernelVersion"))
    line("Operating System", info.get("OperatingSystem"))
    line("OSType", info.get("OSType"))
    line("Architecture", info.get("Architecture"))
    line("CPUs", info.get("NCPU", 0))
    line("Total Memory", binary_size(info.get("MemTotal", 0)))
    line("Name", info.get("Name"))
    line("ID", info.get("ID"))
    line("Docker Root Dir", info.get("DockerRootDir"), always=True)
    line("Debug Mode", _truth(info.get("Debug")))
    if info.get("Debug"):
        line(" File Descriptors", info.get("NFd", 0))
        line(" Goroutines", info.get("NGoroutines", 0))
        line(" System Time", info.get("SystemTime"), always=True)
        line(" EventsListeners", info.get("NEventsListener", 0))
    line("HTTP Proxy", info.get("HttpProxy"))
    line("HTTPS Proxy", info.get("HttpsProxy"))
    line("No Proxy", info.get("NoProxy"))
    if info.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in info["Labels"])]
    line("Experimental", _truth(info.get("ExperimentalBuild")))
    lines += _registries(info.get("RegistryConfig") or {})
    line("Live Restore Enabled", _truth(info.get("LiveRestoreEnabled")))
    line("Product License", info.get("ProductLicense"))
    if info.get("DefaultAddressPools"):
        lines.append(" Default Address Pools:")
        lines += [
            f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in info["DefaultAddressPools"]
        ]
    return lines


def _plugins(info: dict[str, Any]) -> list[str]:
    plugins = info.get("Plugins") or {}
    lines = [
        " Plugins:",
        f"  Volume: {_joined(plugins.get('Volume'))}",
        f"  Network: {_joined(plugins.get('Network'))}",
    ]
    if plugins.get("Authorization"):
        lines.append(f"  Authorization: {_joined(plugins['Authorization'])}")
    lines.append(f"  Log: {_joined(plugins.get('Log'))}")
    if info.get("CDISpecDirs"):
        lines += [" CDI spec directories:", *(f"  {path}" for path in info["CDISpecDirs"])]
    if info.get("DiscoveredDevices"):
        lines.append(" Discovered Devices:")
        lines += [f"  {each['Source']}: {each['ID']}" for each in info["DiscoveredDevices"]]
    return lines


def _security_options(options: Any) -> list[str]:
    """``name=seccomp,profile=builtin`` as a heading and its profile."""
    if not options:
        return []
    lines = [" Security Options:"]
    for option in options:
        pairs = [part.partition("=")[::2] for part in option.split(",")]
        if len(pairs) == 1 and not pairs[0][1]:
            lines.append(f"  {pairs[0][0]}")
            continue
        lines += [f"  {value}" for key, value in pairs if key == "name"]
        lines += [f"   Profile: {value}" for key, value in pairs if key == "profile"]
    return lines


def _registries(config: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    indexes = config.get("IndexConfigs") or {}
    networks = config.get("InsecureRegistryCIDRs") or ()
    if indexes or networks:
        lines.append(" Insecure Registries:")
        lines += [f"  {each['Name']}" for each in indexes.values() if not each.get("Secure")]
        lines += [f"  {network}" for network in networks]
    if config.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {mirror}" for mirror in config["Mirrors"])]
    return lines


def _info(call: Invocation) -> int:
    from barque.cli.version import client_version  # noqa: PLC0415 - only here

    layout = call.flags["format"]
    if layout:
        return _info_by_template(call, layout)
    own = client_version()
    text = f"Client:\n Version:    {own['Version']}\n Context:    {own['Context']}\n"
    sys.stdout.write(f"{text} Debug Mode: false\n\nServer:\n")
    sys.stdout.flush()
    try:
        info = call.client.get("/info")
    except ApiError as error:
        raise CommandError(f"ERROR: {error}\nerrors pretty printing info") from None
    sys.stdout.write("\n".join(show_server(info)) + "\n\n")
    sys.stdout.flush()
    sys.stderr.write("".join(f"{warning}\n" for warning in info.get("Warnings") or ()))
    return 0


def _info_by_template(call: Invocation, layout: str) -> int:
    from barque.cli.inspection import parse_template  # noqa: PLC0415 - only for templates
    from barque.cli.shapes import typed  # noqa: PLC0415 - only for templates
    from barque.cli.template import TemplateError  # noqa: PLC0415 - only for templates
    from barque.cli.version import client_version  # noqa: PLC0415 - only here

    try:
        template = parse_template("{{json .}}" if layout == "json" else layout)
    except InvalidArgument as error:
        raise CommandError(str(error), _USAGE_EXIT) from None
    info: dict[str, Any] = call.client.get("/info")
    info["ClientInfo"] = {
        "Debug": False,
        **client_version(),
        "Plugins": [],
        "Warnings": None,
    }
    try:
        text = template.execute(typed(info, "system.dockerInfo"))
    except TemplateError as error:
        sys.stdout.write("\n")
        raise CommandError(str(error)) from None
    sys.stdout.write(text + "\n")
    return 0


INFO = Command(
    "[OPTIONS]",
    _info,
    maximum=0,
    flags=(Flag("format", "string", "Format output: 'json', a Go template", short="f"),),
)
