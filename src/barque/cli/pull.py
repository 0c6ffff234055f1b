"""``pull`` and ``push``: images between a registry and the engine."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.rows.references import split_tag
from barque.client.http import quote_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from barque.client.http import Client

_HUB = "docker.io"
_UNTRUSTED = Flag(
    "disable-content-trust", "bool", "Skip image verification", default=True, hidden=True
)
"""Scripts still pass it. Signatures of Notary v1 are not verified, with or without it."""


def canonical(reference: str) -> str:
    """The full name: ``alpine:3.20`` is ``docker.io/library/alpine:3.20``."""
    host, slash, rest = reference.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = _HUB, reference
    if host == f"index.{_HUB}":
        host = _HUB
    if host == _HUB and "/" not in rest:
        rest = f"library/{rest}"
    return f"{host}/{rest}"


def registry_headers(client_config: dict[str, object], reference: str) -> dict[str, str]:
    """The header with what the configuration knows to log in to the image's registry."""
    from barque.cli.credentials import find_credentials  # noqa: PLC0415 - only with a registry

    host = canonical(reference).partition("/")[0]
    return {"X-Registry-Auth": find_credentials(client_config, host)}


def pull_image(
    client: Client,
    reference: str,
    *,
    headers: dict[str, str],
    platform: str = "",
    out: TextIO | None,
    all_tags: bool = False,
) -> None:
    """Have the engine pull ``reference`` (with tag or digest), progress on ``out`` if any.

    Raises :class:`CommandError` or :class:`barque.client.errors.ApiError`.
    """
    name, at, digest = reference.partition("@")
    if at:
        repository, tag = split_tag(name)[0], digest
    else:
        repository, tag = split_tag(name)
    query = {
        "fromImage": repository,
        "tag": None if all_tags else tag or "latest",
        "platform": platform or None,
    }
    with client.request("POST", "/images/create", query=query, headers=headers) as answer:
        _follow(answer.messages(), out)


def _follow(messages: object, out: TextIO | None) -> None:
    from io import StringIO  # noqa: PLC0415 - rarely quiet

    from barque.cli.progress import show_progress  # noqa: PLC0415 - run imports us

    show_progress(messages, StringIO() if out is None else out)  # type: ignore[arg-type]


def _pull(call: Invocation) -> int:
    flags = call.flags
    reference = call.args[0]
    named = split_tag(reference.partition("@")[0])[1] or "@" in reference
    if flags["all-tags"] and named:
        raise CommandError("tag can't be used with --all-tags/-a")
    if not named and not flags["all-tags"]:
        reference += ":latest"
        if not flags["quiet"]:
            sys.stdout.write("Using default tag: latest\n")
    pull_image(
        call.client,
        reference,
        headers=registry_headers(call.settings.config, reference),
        platform=flags["platform"],
        out=None if flags["quiet"] else sys.stdout,
        all_tags=flags["all-tags"],
    )
    sys.stdout.write(canonical(reference) + "\n")
    return 0


def _push(call: Invocation) -> int:
    flags = call.flags
    reference = call.args[0]
    repository, tag = split_tag(reference)
    if "@" in reference:
        raise CommandError("cannot push a digest reference")
    if flags["all-tags"] and tag:
        raise CommandError("tag can't be used with --all-tags/-a")
    if not tag and not flags["all-tags"]:
        tag = "latest"
        if not flags["quiet"]:
            sys.stdout.write("Using default tag: latest\n")
    query: dict[str, object] = {"tag": tag or None}
    if flags["platform"]:
        from barque.cli.images import parse_platform  # noqa: PLC0415 - rarely given

        query["platform"] = parse_platform(flags["platform"])
    headers = registry_headers(call.settings.config, reference)
    path = f"/images/{quote_image(repository)}/push"
    with call.client.request("POST", path, query=query, headers=headers) as answer:
        _follow(answer.messages(), None if flags["quiet"] else sys.stdout)
    if flags["quiet"]:
        sys.stdout.write(canonical(f"{repository}:{tag}" if tag else repository) + "\n")
    return 0


PULL = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    _pull,
    minimum=1,
    maximum=1,
    flags=(
        Flag("all-tags", "bool", "Download all tagged images in the repository", short="a"),
        _UNTRUSTED,
        Flag("platform", "string", "Set platform if server is multi-platform capable"),
        Flag("quiet", "bool", "Suppress verbose output", short="q"),
    ),
)

PUSH = Command(
    "[OPTIONS] NAME[:TAG]",
    _push,
    minimum=1,
    maximum=1,
    flags=(
        Flag("all-tags", "bool", "Push all tags of an image to the repository", short="a"),
        _UNTRUSTED,
        Flag("platform", "string", "Push a platform-specific manifest only"),
        Flag("quiet", "bool", "Suppress verbose output", short="q"),
    ),
)
