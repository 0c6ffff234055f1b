"""What an image made of a container runs by default.

Source: moby, ``daemon/commit.go``: what the caller gives comes first, the Dockerfile
instructions are applied to it, and what is not set then is the container's.
"""

from __future__ import annotations

from collections.abc import Sequence

from barque.errors import InvalidArgument
from barque.images.changes import apply_changes
from barque.models.api import ContainerConfig
from barque.models.image import RunConfig


def make_run_config(
    container: ContainerConfig, given: ContainerConfig | None, changes: Sequence[str]
) -> RunConfig:
    """Return the config of an image committed from a container with config ``container``.

    ``given`` is what the request's body asks for, ``changes`` are Dockerfile instructions.
    Raises InvalidArgument for a malformed one.
    """
    own = _convert(container)
    return _merge(apply_changes(_convert(given) if given else own, changes), own)


def _convert(config: ContainerConfig) -> RunConfig:
    return RunConfig(
        user=config.user,
        exposed_ports=config.exposed_ports,
        env=config.env,
        entrypoint=_split(config.entrypoint),
        cmd=_split(config.cmd),
        volumes=config.volumes,
        working_dir=config.working_dir,
        labels=config.labels,
        stop_signal=config.stop_signal,
        healthcheck=config.healthcheck,
        on_build=config.on_build,
        shell=config.shell,
    )


def _split(command: list[str] | str | None) -> list[str] | None:
    return [command] if isinstance(command, str) else command


def _merge(config: RunConfig, container: RunConfig) -> RunConfig:
    """Fill in from the container what ``config`` does not say."""
    config.user = config.user or container.user
    config.exposed_ports = {**(container.exposed_ports or {}), **(config.exposed_ports or {})}
    config.volumes = {**(container.volumes or {}), **(config.volumes or {})}
    config.labels = {**(container.labels or {}), **(config.labels or {})}
    config.env = _merge_environment(config.env or [], container.env or [])
    if not config.entrypoint:
        config.cmd = config.cmd or container.cmd
        config.entrypoint = container.entrypoint if config.entrypoint is None else None
    config.working_dir = config.working_dir or container.working_dir
    config.stop_signal = config.stop_signal or container.stop_signal
    config.healthcheck = config.healthcheck or container.healthcheck
    for name in ("exposed_ports", "volumes", "env"):
        setattr(config, name, getattr(config, name) or None)
    return config


def _merge_environment(own: list[str], container: list[str]) -> list[str]:
    names = {entry.partition("=")[0] for entry in own}
    return [*own, *(entry for entry in container if entry.partition("=")[0] not in names)]


def check_message(author: str, comment: str) -> None:
    """Raise InvalidArgument for texts that no image config should hold."""
    for name, text in (("author", author), ("comment", comment)):
        if len(text.encode(errors="surrogatepass")) > _MAX_TEXT_BYTES:
            raise InvalidArgument(f"the {name} is longer than the {_MAX_TEXT_BYTES} bytes allowed")


_MAX_TEXT_BYTES = 64 << 10
