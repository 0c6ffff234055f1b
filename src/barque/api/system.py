"""The engine itself: ping, version, info, disk usage."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import barque
from barque.api.contracts import Engine, Settings
from barque.api.http import TEXT, Call, Reply, reply_json
from barque.api.versions import NEWEST, OLDEST, format_version
from barque.engine.runtimes import Runtimes
from barque.errors import NotFound
from barque.registry.config import HUB, RegistryConfig

_PING_HEADERS = (
    "Builder-Version: 1\r\n"
    "Cache-Control: no-cache, no-store, must-revalidate\r\n"
    "Pragma: no-cache\r\n"
    "Swarm: inactive\r\n"
)
INDEX_SERVER = "https://index.docker.io/v1/"
_EXPECTED_COMMITS_UNTIL = 49
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class System:
    """Operations on the engine itself."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def ping(self, call: Call) -> Reply:  # noqa: ARG002 - a handler
        """Answer OK."""
        return Reply(b"OK", content_type=TEXT, headers=_PING_HEADERS)

    async def version(self, call: Call) -> Reply:
        """Show versions; the first component is the engine, as clients expect."""
        del call
        facts = self._engine.system.facts()
        architecture = _GO_ARCHITECTURES.get(facts.architecture, facts.architecture)
        common = {
            "ApiVersion": format_version(NEWEST),
            "MinAPIVersion": format_version(OLDEST),
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": architecture,
            "KernelVersion": facts.kernel_version,
        }
        engine = {
            "Name": "Engine",
            "Version": barque.__version__,
            "Details": common | {"BuildTime": "", "Experimental": "false"},
        }
        python = {"Name": "python", "Version": platform.python_version(), "Details": {}}
        return reply_json(
            {
                "Platform": {"Name": "barque"},
                "Components": [engine, python],
                "Version": barque.__version__,
                **common,
                "BuildTime": "",
            }
        )

    async def info(self, call: Call) -> Reply:
        """Describe the engine and its host."""
        facts = self._engine.system.facts()
        states = [record.state.status for record in self._engine.containers.list()]
        running = states.count("running") + states.count("restarting")
        document: dict[str, Any] = {
            "ID": facts.id,
            "Containers": len(states),
            "ContainersRunning": running,
            "ContainersPaused": states.count("paused"),
            "ContainersStopped": len(states) - running - states.count("paused"),
            "Images": len(self._engine.images.list()),
            "Driver": facts.storage_driver,
            "DriverStatus": facts.storage_status,
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["json-file", "none"],
            },
            "MemoryLimit": facts.cgroups.memory_limit,
            "SwapLimit": facts.cgroups.swap_limit,
            "CpuCfsPeriod": facts.cgroups.cpu_cfs,
            "CpuCfsQuota": facts.cgroups.cpu_cfs,
            "CPUShares": facts.cgroups.cpu_shares,
            "CPUSet": facts.cgroups.cpuset,
            "PidsLimit": facts.cgroups.pids,
            "IPv4Forwarding": facts.ipv4_forwarding,
            "Debug": self._settings.debug,
            "NFd": len(os.listdir("/proc/self/fd")),
            "OomKillDisable": facts.cgroups.oom_kill_disable,
            "NGoroutines": 0,
            "SystemTime": _format_now(),
            "LoggingDriver": self._settings.log_driver,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": str(facts.cgroups.version),
            "NEventsListener": 0,
            "KernelVersion": facts.kernel_version,
            "OperatingSystem": facts.operating_system,
            "OSVersion": facts.os_version,
            "OSType": "linux",
            "Architecture": facts.architecture,
            "IndexServerAddress": INDEX_SERVER,
            "RegistryConfig": _describe_registries(self._settings.registries),
            "NCPU": facts.cpus,
            "MemTotal": facts.memory_bytes,
            "GenericResources": None,
            "DockerRootDir": str(self._settings.data_root),
            "HttpProxy": "",
            "HttpsProxy": "",
            "NoProxy": "",
            "Name": facts.hostname,
            "Labels": list(self._settings.labels),
            "ExperimentalBuild": False,
            "ServerVersion": barque.__version__,
            "Runtimes": _describe_runtimes(self._settings.runtimes),
            "DefaultRuntime": self._settings.runtimes.default,
            "Swarm": {
                "NodeID": "",
                "NodeAddr": "",
                "LocalNodeState": "inactive",
                "ControlAvailable": False,
                "Error": "",
                "RemoteManagers": None,
            },
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": "barque",
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": barque.__version__},
            "InitCommit": {"ID": barque.__version__},
            "SecurityOptions": facts.security_options,
            "Warnings": [*facts.warnings, *self._warn_of_obstacles()] or None,
        }  # fmt: skip
        if call.minor < _EXPECTED_COMMITS_UNTIL:
            for commit in ("ContainerdCommit", "RuncCommit", "InitCommit"):
                document[commit]["Expected"] = document[commit]["ID"]
        return reply_json(document)

    def _warn_of_obstacles(self) -> list[str]:
        return [f"WARNING: {text}" for text in self._engine.networks.obstacles]

    async def plugin(self, call: Call) -> Reply:
        """Inspect a plugin: there is none. ``docker inspect`` asks, too."""
        raise NotFound(f'plugin "{call.name}" not found')

    async def plugins(self, call: Call) -> Reply:
        """List plugins: there are none."""
        del call
        return reply_json([])


def _describe_runtimes(runtimes: Runtimes) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name, runtime in runtimes.describe().items():
        described[name] = {"path": runtime.path}
        if runtime.args:
            described[name]["runtimeArgs"] = runtime.args
    return described


def _describe_registries(config: RegistryConfig) -> dict[str, Any]:
    def describe(name: str, *, secure: bool) -> dict[str, Any]:
        official = name == HUB
        return {
            "Name": name,
            "Mirrors": [f"{mirror}/" for mirror in config.mirrors] if official else [],
            "Secure": secure,
            "Official": official,
        }

    indexes = {HUB: describe(HUB, secure=True)}
    indexes |= {host: describe(host, secure=False) for host in config.insecure_hosts}
    return {
        "InsecureRegistryCIDRs": config.insecure_networks,
        "IndexConfigs": indexes,
        "Mirrors": [f"{mirror}/" for mirror in config.mirrors],
    }


def _format_now() -> str:
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos:09d}Z"
