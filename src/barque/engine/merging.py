"""A container's config at create: the image's under the client's.

Source: the Engine API's ContainerConfig; dockerd's daemon/commit.go for its rules.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig
from barque.models.image import Healthcheck, ImageConfig


class Merged(NamedTuple):
    """A config with the image's defaults in it, and the command split into path and rest."""

    config: ContainerConfig
    path: str
    args: list[str]


def merge_image(config: ContainerConfig, image: ImageConfig | None) -> Merged:
    """Merge by docker's rules; neither argument is changed. ``None``: no image (scratch).

    Raises InvalidArgument ``no command specified``.
    """
    entrypoint, cmd = _words(config.entrypoint), _words(config.cmd)
    changes: dict[str, object] = {"labels": config.labels or {}}
    if image is not None:
        defaults = image.config
        if not entrypoint:
            if not cmd:
                cmd = defaults.cmd
            if entrypoint is None:
                entrypoint = defaults.entrypoint
        changes = {
            "user": config.user or defaults.user,
            "working_dir": config.working_dir or defaults.working_dir,
            "stop_signal": config.stop_signal or defaults.stop_signal,
            "env": _merge_env(config.env, defaults.env),
            "labels": {**(defaults.labels or {}), **(config.labels or {})},
            "exposed_ports": _union(config.exposed_ports, defaults.exposed_ports),
            "volumes": _union(config.volumes, defaults.volumes),
            "healthcheck": _merge_healthcheck(config.healthcheck, defaults.healthcheck),
        }
    if entrypoint == [""]:
        entrypoint = None
    command = [*(entrypoint or ()), *(cmd or ())]
    if not command:
        raise InvalidArgument("no command specified")
    merged = msgspec.structs.replace(config, entrypoint=entrypoint, cmd=cmd, **changes)
    return Merged(merged, command[0], command[1:])


def _words(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value


def _merge_healthcheck(user: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    """Take each field that the user left out from the image."""
    if user is None or image is None:
        return user or image
    return Healthcheck(
        test=user.test or image.test,
        interval=user.interval or image.interval,
        timeout=user.timeout or image.timeout,
        start_period=user.start_period or image.start_period,
        start_interval=user.start_interval or image.start_interval,
        retries=user.retries or image.retries,
    )


def _merge_env(user: list[str] | None, image: list[str] | None) -> list[str] | None:
    """Put the image's variables behind the user's, those apart that the user gives."""
    if not user or not image:
        return user or image
    given = {entry.partition("=")[0] for entry in user}
    return [*user, *(entry for entry in image if entry.partition("=")[0] not in given)]


def _union(
    user: dict[str, object] | None, image: dict[str, object] | None
) -> dict[str, object] | None:
    return {**image, **(user or {})} if image else user
