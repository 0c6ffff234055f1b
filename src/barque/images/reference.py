"""Image references: ``[domain/]path[:tag][@digest]``, normalised as docker does.

Source: distribution/reference's grammar; the familiar form is what users write and see.
"""

from __future__ import annotations

import re

import msgspec

from barque.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_MAX_NAME = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    rf"(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_TAG_ALONE = re.compile(_TAG)
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


class Reference(msgspec.Struct, frozen=True, order=True):
    """A normalised reference; ``tag`` and ``digest`` are "" where not given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Return the whole form: ``docker.io/library/alpine:latest``."""
        return self.name + self._suffix

    @property
    def name(self) -> str:
        """The repository, with its domain."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as users write it: ``alpine``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        first, slash, rest = self.path.partition("/")
        if f"{first}/" == _OFFICIAL and "/" not in rest:
            return rest
        # docker.io/a.b/c must not turn into c on the host a.b.
        return self.name if slash and _looks_like_domain(first) else self.path

    @property
    def familiar(self) -> str:
        """The reference as users write it: ``alpine:latest``."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    @property
    def stored(self) -> Reference:
        """What the image store files it under: the digest alone decides where there is one,
        and a reference without tag and digest means ``latest``.
        """
        if self.digest:
            return Reference(self.domain, self.path, "", self.digest)
        return self if self.tag else Reference(self.domain, self.path, DEFAULT_TAG)


def parse_reference(text: str) -> Reference:
    """Parse and normalise. Raises InvalidArgument with docker's texts."""
    if _IDENTIFIER.fullmatch(text):
        raise InvalidArgument(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, rest = _split_domain(text)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidArgument(
            f"invalid reference format: repository name ({remote}) must be lowercase"
        )
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None:
        raise InvalidArgument("invalid reference format")
    if len(match["path"]) > _MAX_NAME:
        raise InvalidArgument(
            f"invalid reference format: repository name must not be more than {_MAX_NAME} "
            "characters"
        )
    digest = match["digest"] or ""
    if digest:
        _check_digest(digest)
    return Reference(match["domain"], match["path"], match["tag"] or "", digest)


def parse_tag_target(repository: str, tag: str) -> Reference:
    """Parse what an image shall be called: ``repository`` with, or beside, ``tag``.

    Raises InvalidArgument, also for a digest, which cannot be chosen, and for a name that
    would hide image ids.
    """
    reference = parse_reference(repository)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    if tag:
        if not _TAG_ALONE.fullmatch(tag):
            raise InvalidArgument("invalid tag format")
        reference = Reference(reference.domain, reference.path, tag)
    if reference.familiar_name == "sha256":
        raise InvalidArgument(
            'invalid reference format: the name "sha256" is kept for digests: choose another'
        )
    return reference.stored


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_domain = slash and _looks_like_domain(first)
    domain, path = (first, rest) if is_domain else (DEFAULT_DOMAIN, text)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _looks_like_domain(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost" or text.lower() != text


def _check_digest(digest: str) -> None:
    algorithm, _, digits = digest.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None:
        raise InvalidArgument("invalid reference format: unsupported digest algorithm")
    if len(digits) != length:
        raise InvalidArgument("invalid reference format: invalid checksum digest length")
    if digits.lower() != digits:
        raise InvalidArgument("invalid reference format: invalid checksum digest format")
