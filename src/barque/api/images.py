"""Images: list, inspect, history, tag, remove, import, load, pull, prune."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from barque.api.contracts import Engine
from barque.api.errors import explain
from barque.api.filters import get_flag, parse_filters
from barque.api.http import EMPTY, JSON, Call, Reply, Response, Stream, reply_json
from barque.api.image_filters import LIST_KEYS, PRUNE_KEYS, get_created_ns, match_tags, select
from barque.api.parameters import NS_PER_S, parse_platform_object
from barque.api.registries import pull
from barque.errors import InvalidArgument, NotImplementedHere
from barque.images.record import Image
from barque.models.api import ContainerConfig
from barque.models.ids import ImageId

_UNTAGGED_AS_EMPTY_SINCE = 43
_VIRTUAL_SIZE_UNTIL = 44
_CONTAINER_CONFIG_UNTIL = 45
_CONTAINERS_SINCE = 51
_ZERO_TIME = "0001-01-01T00:00:00Z"


class Images:
    """Operations on images."""

    def __init__(self, engine: Engine) -> None:
        self._images = engine.images
        self._containers = engine.containers
        self._system = engine.system

    async def list_images(self, call: Call) -> Reply:
        """List images, newest first."""
        filters = parse_filters(call.text("filters"), LIST_KEYS)
        bounds = {
            key: self._images.get(filters[key][0])
            for key in ("before", "since")
            if filters.get(key)
        }
        images = select(self._images.list(), filters, bounds)
        globs = filters.get("reference")
        if globs:
            images = [msgspec.structs.replace(i, tags=match_tags(i.tags, globs)) for i in images]
        return reply_json([self._summarise(image, call) for image in images])

    def _summarise(self, image: Image, call: Call) -> dict[str, Any]:
        tags: list[str] = list(image.tags)
        digests: list[str] = list(image.digests)
        if not tags and not digests and call.minor < _UNTAGGED_AS_EMPTY_SINCE:
            tags, digests = ["<none>:<none>"], ["<none>@<none>"]
        summary: dict[str, Any] = {
            "Containers": self._count_users(image.id) if call.minor >= _CONTAINERS_SINCE else -1,
            "Created": get_created_ns(image) // NS_PER_S,
            "Id": image.id,
            "Labels": image.config.config.labels,
            "ParentId": image.parent,
            "RepoDigests": digests,
            "RepoTags": tags,
            "SharedSize": self._images.measure_shared(image) if call.flag("shared-size") else -1,
            "Size": image.size,
        }
        if call.minor < _VIRTUAL_SIZE_UNTIL:
            summary["VirtualSize"] = image.size
        return summary

    def summarise_usage(self, image: Image, call: Call) -> dict[str, Any]:
        """Return the entry of an image in the disk usage."""
        usage = {
            "Containers": self._count_users(image.id),
            "SharedSize": self._images.measure_shared(image),
        }
        return self._summarise(image, call) | usage

    def _count_users(self, image_id: ImageId) -> int:
        return sum(record.image_id == image_id for record in self._containers.list())

    def list_users(self, image_id: ImageId) -> list[tuple[str, bool]]:
        """Return the short ids of the image's containers, and whether each runs."""
        return [
            (record.id[:12], record.state.running)
            for record in self._containers.list()
            if record.image_id == image_id
        ]

    async def inspect(self, call: Call) -> Reply:
        """Describe an image."""
        document = render_image(self._images.get(call.name), call.minor)
        document["GraphDriver"]["Name"] = self._system.facts().storage_driver
        return reply_json(document)

    async def history(self, call: Call) -> Reply:
        """Show how the image came to be, newest step first."""
        return reply_json(self._images.history(call.name))

    async def tag(self, call: Call) -> Reply:
        """Give an image another name."""
        repo = call.text("repo")
        if not repo:
            raise InvalidArgument("invalid reference format: repo is required to tag an image")
        self._images.tag(call.name, repo, call.text("tag"))
        return Reply(EMPTY, status=201)

    async def remove(self, call: Call) -> Reply:
        """Remove a name, and the image with its last name."""
        removed = await self._images.remove(
            call.name,
            force=call.flag("force"),
            prune=not call.flag("noprune"),
            users=self.list_users,
        )
        return reply_json(removed)

    async def create(self, call: Call) -> Response:
        """Pull an image (``fromImage``), or import a root file system (``fromSrc=-``)."""
        if call.text("fromImage"):
            return await pull(call, self._images.exchange)
        source = call.text("fromSrc")
        if not source:
            raise InvalidArgument("one of fromImage and fromSrc is required")
        if source != "-":
            raise NotImplementedHere(
                "importing from a URL is not implemented by barque yet: give the archive itself"
            )
        image = await self._images.import_image(
            call.chunks(),
            repo=call.text("repo"),
            tag=call.text("tag"),
            message=call.text("message") or "Imported from -",
            changes=call.texts("changes"),
            platform=call.text("platform"),
        )
        stream = Stream(call, JSON)
        await stream.write(msgspec.json.encode({"status": image.id}) + b"\r\n")
        return stream.end()

    async def load(self, call: Call) -> Response:
        """Load a docker archive or an OCI layout. Errors are told in the stream."""
        progress = self._images.load(
            call.chunks(),
            quiet=call.flag("quiet", default=True),
            platform=parse_platform_object(call.text("platform")),
        )
        stream = Stream(call, JSON)
        async with aclosing(_with_error(progress)) as messages:
            async for message in messages:
                await stream.write(msgspec.json.encode(message) + b"\r\n")
        return stream.end()

    async def prune(self, call: Call) -> Reply:
        """Remove unused images: dangling ones, or all with ``dangling=false``."""
        filters = parse_filters(call.text("filters"), PRUNE_KEYS)
        dangling_only = get_flag(filters, "dangling", default=True)
        filters.pop("dangling", None)
        deleted, reclaimed_bytes = await self._images.prune(
            match=lambda image: bool(select([image], filters, {})),
            dangling_only=dangling_only,
            users=self.list_users,
        )
        return reply_json(
            {"ImagesDeleted": list(deleted) or None, "SpaceReclaimed": reclaimed_bytes}
        )


async def _with_error(messages: AsyncGenerator[dict[str, Any]]) -> AsyncGenerator[dict[str, Any]]:
    """Pass messages on; a failure becomes the last of them."""
    try:
        async with aclosing(messages):
            async for message in messages:
                yield message
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        yield {"errorDetail": {"message": str(explained)}, "error": str(explained)}


def render_image(image: Image, minor: int) -> dict[str, Any]:
    """Return the image as inspect shows it."""
    config = image.config
    history = config.history or []
    document: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": image.parent,
        "Comment": history[-1].comment if history else "",
        "Created": image.created or (_ZERO_TIME if minor < _VIRTUAL_SIZE_UNTIL else ""),
        "DockerVersion": "",
        "Author": config.author,
        "Config": render_image_config(image),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "GraphDriver": {"Data": None, "Name": ""},
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": _ZERO_TIME},
    }
    if config.variant:
        document["Variant"] = config.variant
    if config.os_version:
        document["OsVersion"] = config.os_version
    if minor < _VIRTUAL_SIZE_UNTIL:
        document["VirtualSize"] = image.size
    if minor < _CONTAINER_CONFIG_UNTIL:
        document["Container"] = ""
        document["ContainerConfig"] = msgspec.to_builtins(ContainerConfig())
    return document


def render_image_config(image: Image) -> dict[str, Any]:
    """Return ``Config`` of an image, empty fields included as clients up to 1.51 expect."""
    run = image.config.config
    document: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": run.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": run.env,
        "Cmd": run.cmd,
        "Image": "",
        "Volumes": run.volumes,
        "WorkingDir": run.working_dir,
        "Entrypoint": run.entrypoint,
        "OnBuild": run.on_build,
        "Labels": run.labels,
    }
    optional = {
        "ExposedPorts": run.exposed_ports,
        "Healthcheck": run.healthcheck,
        "StopSignal": run.stop_signal,
        "Shell": run.shell,
    }
    return document | {name: value for name, value in optional.items() if value}
