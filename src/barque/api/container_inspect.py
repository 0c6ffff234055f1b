"""GET /containers/{id}/json: one container, with every field that clients read."""

from __future__ import annotations

from typing import Any

import msgspec

from barque.api.container_views import render_mount
from barque.api.contracts import Engine, Settings
from barque.api.http import Call, Reply, reply_json
from barque.api.ports import map_ports
from barque.engine.facts import MASKED_PATHS, READONLY_PATHS
from barque.engine.security import parse_security_options
from barque.models.api import ContainerConfig, EndpointSettings, HostConfig
from barque.models.container import ContainerRecord, ContainerState

DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_BRIDGE = "bridge"

_SHOWN_AS_EMPTY_LISTS = (
    "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps", "Devices", "Dns", "DnsOptions", "DnsSearch", "Ulimits",
)  # fmt: skip
_OMITTED_WHEN_EMPTY = ("Annotations", "Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs")
_CONFIG_OMITTED_WHEN_EMPTY = (
    "ExposedPorts", "Healthcheck", "MacAddress", "NetworkDisabled", "Shell", "StopSignal",
    "StopTimeout",
)  # fmt: skip
_MAC_ADDRESS_UNTIL = 44
_GW_PRIORITY_SINCE = 48
_ALIASES_WITH_ID_UNTIL = 45


class ContainerInspect:
    """Inspect."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._containers = settings.data_root / "containers"

    async def inspect(self, call: Call) -> Reply:
        """Describe a container; ``size=1`` adds the sizes of its file system."""
        record = self._engine.containers.get(call.name)
        document = self._render(record, call.minor)
        if call.flag("size"):
            size_rw, size_root_fs = await self._engine.containers.size(record.id)
            document |= {"SizeRw": size_rw, "SizeRootFs": size_root_fs}
        return reply_json(document)

    def _render(self, record: ContainerRecord, minor: int) -> dict[str, Any]:
        state = record.state
        files = str(self._containers / record.id) if record.started_once else ""
        return {
            "Id": record.id,
            "Created": record.created,
            "Path": record.path,
            "Args": record.args,
            "State": render_state(state),
            "Image": record.image_id,
            "ResolvConfPath": files and f"{files}/resolv.conf",
            "HostnamePath": files and f"{files}/hostname",
            "HostsPath": files and f"{files}/hosts",
            "LogPath": record.log_path if record.started_once else "",
            "Name": "/" + record.name,
            "RestartCount": record.restart_count,
            "Driver": record.snapshotter,
            "Platform": record.platform,
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": parse_security_options(record.host_config.security_opt).apparmor,
            "ExecIDs": self._list_execs(record),
            "HostConfig": render_host_config(record.host_config),
            "GraphDriver": {"Data": None, "Name": record.snapshotter},
            "Mounts": [render_mount(mount) for mount in record.mounts],
            "Config": render_config(record.config, minor, record.networks),
            "NetworkSettings": render_network_settings(record, minor),
        }

    def _list_execs(self, record: ContainerRecord) -> list[str] | None:
        return list(self._engine.execs.of_container(record.id)) or None


def render_state(state: ContainerState) -> dict[str, Any]:
    """Return ``State``; ``Health`` is there for containers with a probe."""
    document: dict[str, Any] = {
        "Status": state.status,
        "Running": state.running,
        "Paused": state.paused,
        "Restarting": state.restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    }
    if (health := state.health) is not None:
        document["Health"] = {
            "Status": health.status,
            "FailingStreak": health.failing_streak,
            "Log": [
                {
                    "Start": probe.start,
                    "End": probe.end,
                    "ExitCode": probe.exit_code,
                    "Output": probe.output,
                }
                for probe in health.log
            ],
        }
    return document


def render_config(
    config: ContainerConfig, minor: int, networks: dict[str, EndpointSettings] | None = None
) -> dict[str, Any]:
    """Return ``Config``; what docker leaves out when it is empty is left out."""
    document: dict[str, Any] = msgspec.to_builtins(config)
    for name in _CONFIG_OMITTED_WHEN_EMPTY:
        if not document[name] and document[name] != 0:
            del document[name]
    if not config.network_disabled:
        document.pop("NetworkDisabled", None)
    if minor < _MAC_ADDRESS_UNTIL:
        macs = [endpoint.mac_address for endpoint in (networks or {}).values()]
        document["MacAddress"] = config.mac_address or next(filter(None, macs), "")
    else:
        document.pop("MacAddress", None)
    document["Labels"] = config.labels or {}
    return document


def render_host_config(host: HostConfig) -> dict[str, Any]:
    """Return ``HostConfig`` with the defaults that dockerd fills in."""
    document: dict[str, Any] = msgspec.to_builtins(host)
    for name in _SHOWN_AS_EMPTY_LISTS:
        if document[name] is None:
            document[name] = []
    for name in _OMITTED_WHEN_EMPTY:
        if not document[name] and document[name] is not False:
            del document[name]
    log = document["LogConfig"]
    document["LogConfig"] = {"Type": log["Type"] or "json-file", "Config": log["Config"] or {}}
    if not document["RestartPolicy"]["Name"]:
        document["RestartPolicy"]["Name"] = "no"
    document["NetworkMode"] = {"": DEFAULT_BRIDGE, "default": DEFAULT_BRIDGE}.get(
        host.network_mode, host.network_mode
    )
    document["PortBindings"] = document["PortBindings"] or {}
    document["IpcMode"] = host.ipc_mode or "private"
    document["ShmSize"] = host.shm_size or DEFAULT_SHM_BYTES
    document["Runtime"] = host.runtime or "runc"
    document["ConsoleSize"] = host.console_size or [0, 0]
    if not host.privileged:
        if host.masked_paths is None:
            document["MaskedPaths"] = MASKED_PATHS
        if host.readonly_paths is None:
            document["ReadonlyPaths"] = READONLY_PATHS
    document |= {"CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0}
    return document


def render_endpoint(
    endpoint: EndpointSettings, record: ContainerRecord, minor: int
) -> dict[str, Any]:
    """Return one of ``NetworkSettings.Networks``."""
    document: dict[str, Any] = msgspec.to_builtins(endpoint)
    if minor < _GW_PRIORITY_SINCE:
        del document["GwPriority"]
    if minor < _ALIASES_WITH_ID_UNTIL:
        del document["DNSNames"]
        if endpoint.aliases is not None and record.id[:12] not in endpoint.aliases:
            document["Aliases"] = [*endpoint.aliases, record.id[:12]]
    return document


def render_network_settings(record: ContainerRecord, minor: int) -> dict[str, Any]:
    """Return ``NetworkSettings``; its top level repeats the default bridge's endpoint."""
    bridge = record.networks.get(DEFAULT_BRIDGE, EndpointSettings())
    running = record.state.running and not record.state.restarting
    return {
        "Bridge": "",
        "SandboxID": record.sandbox_id,
        "SandboxKey": f"/proc/{record.state.pid}/ns/net" if running and record.state.pid else "",
        "Ports": map_ports(record),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.endpoint_id,
        "Gateway": bridge.gateway,
        "GlobalIPv6Address": bridge.global_ipv6_address,
        "GlobalIPv6PrefixLen": bridge.global_ipv6_prefix_len,
        "IPAddress": bridge.ip_address,
        "IPPrefixLen": bridge.ip_prefix_len,
        "IPv6Gateway": bridge.ipv6_gateway,
        "MacAddress": bridge.mac_address,
        "Networks": {
            name: render_endpoint(endpoint, record, minor)
            for name, endpoint in record.networks.items()
        },
    }
