"""POST /containers/create."""

from __future__ import annotations

from typing import Any

from barque.api import decode
from barque.api.contracts import Engine
from barque.api.http import Call, Reply, reply_json
from barque.api.stats import kernel_memory_warnings
from barque.errors import InvalidArgument
from barque.models.api import (
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    Mount,
    NetworkingConfig,
)

_CONSOLE_SIZE_SINCE = 42
_CREATE_MOUNTPOINT_SINCE = 42
_ANNOTATIONS_SINCE = 43
_SEVERAL_ENDPOINTS_SINCE = 44
_START_INTERVAL_SINCE = 44
_SUBPATH_SINCE = 45
_IMAGE_MOUNTS_SINCE = 48
_GW_PRIORITY_SINCE = 48


class ContainerCreate:
    """Create."""

    def __init__(self, engine: Engine) -> None:
        self._containers = engine.containers

    async def create(self, call: Call) -> Reply:
        """Create a container of the body's Config, HostConfig and NetworkingConfig."""
        document = await call.json()
        if document is None:
            raise InvalidArgument("config cannot be empty in order to create a container")
        warnings = kernel_memory_warnings(document.get("HostConfig"), call.minor)
        config, host, networking = parse_create(document, call.minor)
        created = await self._containers.create(
            call.text("name") or None, config, host, networking, call.text("platform") or None
        )
        return reply_json({"Id": created.id, "Warnings": created.warnings + warnings}, status=201)


def parse_create(
    document: dict[str, Any], minor: int
) -> tuple[ContainerConfig, HostConfig, NetworkingConfig]:
    """Read the body as API version 1.``minor`` means it. Raises InvalidArgument."""
    host_document = decode.take_field(document, "HostConfig")
    networking_document = decode.take_field(document, "NetworkingConfig")
    config = decode.convert(document, ContainerConfig)
    host = decode.convert(host_document, HostConfig, field="HostConfig")
    networking = decode.convert(networking_document, NetworkingConfig, field="NetworkingConfig")
    _apply_version(config, host, networking, minor)
    _move_mac_address(config, host, networking)
    return config, host, networking


def _apply_version(
    config: ContainerConfig, host: HostConfig, networking: NetworkingConfig, minor: int
) -> None:
    """Ignore or refuse what the version did not have yet."""
    if minor < _CONSOLE_SIZE_SINCE:
        host.console_size = None
    if minor < _ANNOTATIONS_SINCE:
        host.annotations = None
    if minor < _START_INTERVAL_SINCE and config.healthcheck is not None:
        config.healthcheck.start_interval = 0
    endpoints = networking.endpoints_config or {}
    if minor < _SEVERAL_ENDPOINTS_SINCE and len(endpoints) > 1:
        raise InvalidArgument(
            "Container cannot be created with multiple network endpoints: "
            + ", ".join(sorted(endpoints))
        )
    if minor < _GW_PRIORITY_SINCE:
        for endpoint in endpoints.values():
            endpoint.gw_priority = 0
    for mount in host.mounts or ():
        _apply_version_to_mount(mount, minor)


def _apply_version_to_mount(mount: Mount, minor: int) -> None:
    bind, volume = mount.bind_options, mount.volume_options
    if bind is not None:
        if minor < _CREATE_MOUNTPOINT_SINCE:
            bind.create_mountpoint = False
        if minor < _START_INTERVAL_SINCE and mount.read_only:
            bind.read_only_non_recursive = True
    if minor < _SUBPATH_SINCE and volume is not None and volume.subpath:
        raise InvalidArgument("VolumeOptions.Subpath needs API v1.45 or later")
    if minor < _IMAGE_MOUNTS_SINCE and mount.type == "image":
        raise InvalidArgument("Mount type image needs API v1.48 or later")


def _move_mac_address(
    config: ContainerConfig, host: HostConfig, networking: NetworkingConfig
) -> None:
    """Give a container-wide MAC address to the main network's endpoint, where it belongs."""
    if not config.mac_address:
        return
    if networking.endpoints_config is None:
        networking.endpoints_config = {}
    endpoints = networking.endpoints_config
    main = host.network_mode if host.network_mode not in {"", "default"} else "bridge"
    endpoint = endpoints.setdefault(main, EndpointSettings())
    if endpoint.mac_address and endpoint.mac_address != config.mac_address:
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address for "
            f"the main network {main}, or should be left empty"
        )
    endpoint.mac_address = config.mac_address
