"""What the engine does with registries, as streams of docker's progress messages."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from barque.content.digests import digest_bytes
from barque.errors import InvalidArgument, PermissionDenied
from barque.images.flights import Status
from barque.images.platform import parse_platform
from barque.images.progress import Message, Report, follow
from barque.images.pull import Pulls, explained
from barque.images.push import Pushes
from barque.images.record import decode_config
from barque.images.reference import DEFAULT_DOMAIN, Reference, parse_reference, parse_tag_target
from barque.images.selection import MAX_CONFIG_BYTES
from barque.models.image import Manifest, Platform
from barque.registry.auth import Credentials
from barque.registry.client import Repository, check_login, open_repository
from barque.registry.config import RegistryConfig
from barque.registry.documents import Document, is_attestation, parse, probe
from barque.registry.errors import Damaged, RegistryError
from barque.registry.transfer import download

_HUB_SERVERS = ("", "https://index.docker.io/v1/", "index.docker.io", "docker.io")
_MAX_RESULTS = 100
Listener = Callable[[str, str, str], None]


class Exchange:
    """Pull, push, and questions to registries. Use on the loop's thread.

    ``tell`` hears of (``pull`` or ``push``, image id, familiar name).
    """

    def __init__(
        self, pulls: Pulls, pushes: Pushes, config: RegistryConfig, tell: Listener
    ) -> None:
        self._pulls = pulls
        self._pushes = pushes
        self._tell = tell
        self.config = config

    def pull(
        self, name: str, tag: str, *, platform: str, credentials: Credentials
    ) -> AsyncGenerator[Message, None]:
        """Pull an image; without any tag, all of the repository.

        ``tag`` may be a digest. Gives the objects of docker's progress stream and raises what
        went wrong. Close it to give up: nothing half done is left. Raises InvalidArgument at
        once for names that are none.
        """
        reference = parse_source(name, tag)
        wanted = parse_platform(platform) if platform else None

        async def work(say: Callable[[Message], None], report: Report) -> None:
            if reference.tag or reference.digest:
                await self._pull(reference, credentials, wanted, say, report)
                return
            for found in await self._pulls.list_tags(reference, credentials):
                one = Reference(reference.domain, reference.path, found)
                await self._pull(one, credentials, wanted, say, report)

        return follow(work)

    async def _pull(
        self,
        reference: Reference,
        credentials: Credentials,
        platform: Platform | None,
        say: Callable[[Message], None],
        report: Report,
    ) -> None:
        def note(name: str, status: Status) -> None:
            if name:
                report(name, status)
            else:
                say({"status": status.text, "id": reference.tag or reference.digest})

        pulled = await self._pulls.pull(reference, credentials, platform, note)
        self._tell("pull", pulled.image_id, reference.familiar)
        say({"status": f"Digest: {pulled.digest}"})
        if pulled.warning:
            say({"status": f"WARNING: {pulled.warning}\n"})
        news = "Downloaded newer image for" if pulled.changed else "Image is up to date for"
        say({"status": f"Status: {news} {reference.familiar}"})

    def push(
        self, name: str, tag: str, *, credentials: Credentials
    ) -> AsyncGenerator[Message, None]:
        """Push the image of a tag, or of all tags of the repository. As ``pull`` otherwise."""
        reference = parse_tag_target(name, tag) if tag else parse_reference(name)
        if reference.digest:
            raise InvalidArgument("cannot push a digest reference")

        async def work(say: Callable[[Message], None], report: Report) -> None:
            for named, image in await self._pushes.push(reference, credentials, say, report):
                self._tell("push", image.id, named.familiar)

        return follow(work)

    async def login(self, credentials: Credentials) -> str:
        """Check credentials for their server; return an identity token, or "".

        Raises PermissionDenied if they are refused, Unreachable.
        """
        server = credentials.serveraddress
        domain = DEFAULT_DOMAIN if server in _HUB_SERVERS else strip_scheme(server)
        try:
            return await check_login(domain, credentials, self.config)
        except RegistryError as error:
            if error.is_denied:
                raise PermissionDenied(str(error)) from error
            raise

    async def look_up(self, name: str, credentials: Credentials) -> dict[str, Any]:
        """Say what a registry has under a name: its descriptor and platforms.

        Raises NotFound, RegistryError, Unreachable, Damaged.
        """
        reference = parse_reference(name)
        wanted = reference if reference.digest else reference.stored
        async with self._pulls.open(wanted, credentials) as (repository, top):
            platforms = await _list_platforms(repository, top)
        kind = top.media_type or probe(top.content, "").media_type
        return {
            "Descriptor": {"mediaType": kind, "digest": top.digest, "size": len(top.content)},
            "Platforms": platforms,
        }

    async def inspect_manifest(
        self, name: str, credentials: Credentials, *, insecure: bool = False
    ) -> dict[str, Any]:
        """Return what a registry has under a name: all manifests, each with its bytes.

        ``insecure`` allows what an insecure registry is allowed, this once. Raises NotFound,
        RegistryError, Unreachable, Damaged.
        """
        reference = parse_reference(name)
        reference = reference if reference.digest else reference.stored
        wanted = reference.digest or reference.tag
        config = self.config
        if insecure:
            hosts = (*config.insecure, reference.domain)
            config = msgspec.structs.replace(config, insecure=hosts)
        with explained(reference):
            async with open_repository(
                reference.domain,
                reference.path,
                credentials,
                config,
                lambda repository: repository.get_manifest(wanted),
            ) as (repository, top):
                found = parse(top)
                if isinstance(found, Manifest):
                    own = await _read_platform(repository, found)
                    entry = _describe_manifest(reference.familiar, top, own)
                    return {"IsIndex": False, "Manifests": [entry]}
                entries = []
                for each in found.manifests:
                    document = await repository.get_manifest(each.digest, each.size)
                    platform = msgspec.to_builtins(each.platform) if each.platform else None
                    shown = f"{reference.familiar.partition('@')[0]}@{each.digest}"
                    entries.append(_describe_manifest(shown, document, platform))
        return {"IsIndex": True, "Manifests": entries}

    async def search(self, term: str, limit: int, credentials: Credentials) -> list[dict[str, Any]]:
        """Search a registry: by docker's search API, else in its catalogue.

        ``term`` may begin with a host. Raises RegistryError, Unreachable.
        """
        first, slash, rest = term.partition("/")
        if not slash or not ("." in first or ":" in first or first == "localhost"):
            first, rest = "index.docker.io", term
        domain = "index.docker.io" if first == DEFAULT_DOMAIN else first

        async def find(repository: Repository) -> list[dict[str, Any]]:
            try:
                return await repository.search(rest, limit or _MAX_RESULTS)
            except RegistryError as error:
                if error.status not in {404, 405, 400}:
                    raise
            names = await repository.list_repositories()
            return [_describe_result(domain, name) for name in names if rest in name]

        try:
            async with open_repository(domain, "", credentials, self.config, find) as (_, found):
                return found[: limit or _MAX_RESULTS]
        except RegistryError as error:
            if error.is_missing:
                raise RegistryError(
                    f"{domain} cannot be searched: it has neither /v1/search nor a catalogue",
                    status=error.status,
                ) from error
            raise


def _describe_result(domain: str, name: str) -> dict[str, Any]:
    return {
        "name": f"{domain}/{name}",
        "description": "",
        "star_count": 0,
        "is_official": False,
        "is_automated": False,
    }


async def _list_platforms(repository: Repository, top: Document) -> list[dict[str, Any]]:
    found = parse(top)
    if not isinstance(found, Manifest):
        return [
            msgspec.to_builtins(one.platform)
            for one in found.manifests
            if one.platform is not None and not is_attestation(one)
        ]
    return [await _read_platform(repository, found)]


async def _read_platform(repository: Repository, manifest: Manifest) -> dict[str, Any]:
    """Return what machine an image is for, as its config says."""
    size = min(manifest.config.size, MAX_CONFIG_BYTES)
    pieces = download(repository, manifest.config.digest, size, 1, lambda _pause_s: None)
    async with aclosing(pieces):
        content = b"".join([piece async for piece in pieces])
    if digest_bytes(content) != manifest.config.digest:
        raise Damaged(f"image config verification failed for digest {manifest.config.digest}")
    config = decode_config(content)
    platform = Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    found: dict[str, Any] = msgspec.to_builtins(platform)
    return found


def _describe_manifest(
    shown: str, document: Document, platform: dict[str, Any] | None
) -> dict[str, Any]:
    kind = document.media_type or msgspec.json.decode(document.content).get("mediaType", "")
    descriptor = {"mediaType": kind, "digest": document.digest, "size": len(document.content)}
    if platform is not None:
        descriptor["platform"] = platform
    return {"Ref": shown, "Descriptor": descriptor, "Raw": b64encode(document.content).decode()}


def parse_source(name: str, tag: str) -> Reference:
    """Read ``fromImage`` and ``tag``, which may hold a digest; neither: all tags. Pure.

    Raises InvalidArgument.
    """
    reference = parse_reference(name)
    if not tag:
        return reference
    text = f"{reference.name}@{tag}" if ":" in tag else f"{reference.name}:{tag}"
    return parse_reference(text)


def strip_scheme(server: str) -> str:
    """Return the host, with port, of a server's address. Pure."""
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]
