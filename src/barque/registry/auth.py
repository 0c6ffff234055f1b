"""Proving to a registry who asks.

A registry answers 401 with challenges. ``Basic`` is answered with name and password;
``Bearer`` by fetching a token from the realm that the challenge names. What may go where:

===================  =====================================================================
name and password    to the registry they are for, and to its realm
identity token       to the realm only
realm                https on any host (Docker Hub's is another host than its registry); http
                     only if registry and realm are both insecure by configuration
token                to the registry that asked for it, never with a redirect
===================  =====================================================================

Sources: RFC 9110 section 11.6.1 (challenges), distribution's docs/spec/auth/token.md and
oauth.md.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec

from barque.content.documents import decode_document
from barque.errors import InvalidArgument
from barque.registry.errors import RegistryError, parse_error

CLIENT_ID = "barque"
_DEFAULT_TOKEN_S = 60
_LEEWAY_S = 10
_MAX_TOKEN_BYTES = 64 << 10
_CHALLENGE = re.compile(r"[\s,]*([A-Za-z][\w!#$%&'*+.^`|~-]*)(?=[\s,]|$)(?!\s*=)")
_PARAMETER = re.compile(
    r"\s*,?\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))"
)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What ``X-Registry-Auth`` holds; all empty: nobody in particular."""

    username: str = ""
    password: str = ""
    auth: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""

    def normalised(self) -> Credentials:
        """Return it with name and password taken out of ``auth`` where they stand there."""
        if self.username or not self.auth:
            return self
        try:
            name, _, password = base64.b64decode(self.auth).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return self
        return msgspec.structs.replace(self, username=name, password=password.strip("\0"))

    def __bool__(self) -> bool:
        return bool(self.username or self.identitytoken or self.registrytoken)


def decode_credentials(header: str) -> Credentials:
    """Read ``X-Registry-Auth``: base64url of JSON. As docker's, it takes nonsense for nothing."""
    text = header.strip().replace("+", "-").replace("/", "_").rstrip("=")
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        found = decode_document(content, Credentials)
    except (binascii.Error, InvalidArgument, ValueError):
        return Credentials()
    return found.normalised()


class Challenge(NamedTuple):
    """One challenge: ``scheme`` and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Parse all ``WWW-Authenticate`` headers of a reply; what cannot be read ends the list."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while match := _CHALLENGE.match(header, position):
            position = match.end()
            parameters: dict[str, str] = {}
            while pair := _PARAMETER.match(header, position):
                position = pair.end()
                quoted, plain = pair[2], pair[3]
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
                parameters[pair[1].lower()] = value
            found.append(Challenge(match[1].lower(), parameters))
    return found


class TokenRequest(NamedTuple):
    """How a token is asked for."""

    method: str
    url: str
    headers: dict[str, str]
    form: dict[str, str]


class TokenReply(NamedTuple):
    """What the realm answered; ``body`` is bounded."""

    status: int
    body: bytes


Sender = Callable[[TokenRequest], Awaitable[TokenReply]]
"""Sends a token request to a realm. Follows no redirect, and has a deadline."""


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: int = 0

    @property
    def text(self) -> str:
        return self.token or self.access_token


class Authorizer:
    """Answers the challenges of one registry with one set of credentials.

    ``is_insecure`` tells of a host (with port) whether plain http to it is allowed.
    Tokens are kept per realm, service and scopes until shortly before they expire.
    """

    def __init__(
        self,
        registry: str,
        credentials: Credentials,
        send: Sender,
        is_insecure: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._credentials = credentials
        self._send = send
        self._is_insecure = is_insecure
        self._kept: dict[tuple[str, ...], tuple[str, float]] = {}
        self._basic = False
        self.identity_token = ""
        """A token that may be kept instead of the password, if the realm gave one."""

    def get_header(self, scopes: Sequence[str]) -> str:
        """Return the ``Authorization`` to send at once, or "" if nothing was learnt yet."""
        if self._credentials.registrytoken:
            return f"Bearer {self._credentials.registrytoken}"
        if self._basic:
            return _encode_basic(self._credentials)
        token, expires = self._kept.get(tuple(sorted(scopes)), ("", 0.0))
        return f"Bearer {token}" if token and time.monotonic() < expires else ""

    async def answer(self, challenges: Sequence[Challenge], scopes: Sequence[str]) -> str:
        """Return the ``Authorization`` that answers one of the challenges.

        Raises RegistryError if none can be answered, or the realm refuses.
        """
        if self._credentials.registrytoken:
            raise RegistryError("unauthorized: the registry token was refused", status=401)
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return f"Bearer {await self._fetch(challenge.parameters, scopes)}"
            if challenge.scheme == "basic":
                if not self._credentials.username:
                    raise RegistryError("no basic auth credentials", status=401)
                if self._basic:
                    raise RegistryError("unauthorized: authentication required", status=401)
                self._basic = True
                return _encode_basic(self._credentials)
        raise RegistryError("unauthorized: authentication required", status=401)

    async def _fetch(self, parameters: Mapping[str, str], scopes: Sequence[str]) -> str:
        request = plan_token(
            parameters,
            scopes,
            self._credentials,
            plain_allowed=self._allows_plain(parameters["realm"]),
            offline=not scopes,
        )
        reply = await self._send(request)
        if reply.status != 200:
            error = parse_error(reply.status, reply.body)
            if reply.status == 401:
                error = RegistryError(
                    "unauthorized: incorrect username or password", status=401, code=error.code
                )
            raise error
        try:
            token = decode_document(reply.body, _Token)
        except InvalidArgument as error:
            raise RegistryError(f"the token server's answer is {error}") from error
        if not token.text or len(token.text) > _MAX_TOKEN_BYTES or not token.text.isascii():
            raise RegistryError("authorization server did not include a token in the response")
        self.identity_token = token.refresh_token or self.identity_token
        lifetime = max(token.expires_in or _DEFAULT_TOKEN_S, _DEFAULT_TOKEN_S)
        expires = time.monotonic() + lifetime - _LEEWAY_S
        self._kept[tuple(sorted(scopes))] = token.text, expires
        return token.text

    def _allows_plain(self, realm: str) -> bool:
        return self._is_insecure(self._registry) and self._is_insecure(urlsplit(realm).netloc)


def plan_token(
    parameters: Mapping[str, str],
    scopes: Sequence[str],
    credentials: Credentials,
    *,
    plain_allowed: bool,
    offline: bool = False,
) -> TokenRequest:
    """Say how to ask the realm of a challenge for a token. Pure.

    ``plain_allowed`` lets the realm be http; ``offline`` asks for an identity token, too.
    Raises RegistryError for a realm to which nothing may be sent.
    """
    realm = urlsplit(parameters["realm"])
    schemes = ("https", "http") if plain_allowed else ("https",)
    if realm.scheme not in schemes or not realm.hostname or "@" in realm.netloc:
        raise RegistryError(
            f"the registry sends us to {parameters['realm'][:200]!r} for a token, which was "
            "refused: credentials travel by https only; list both hosts in insecure-registries "
            "if this is meant",
            status=401,
        )
    fields = [("service", parameters["service"])] if "service" in parameters else []
    wanted = list(scopes)
    if not wanted and parameters.get("scope") and not offline:
        wanted = parameters["scope"].split()
    if credentials.identitytoken:
        form = dict(fields) | {
            "grant_type": "refresh_token",
            "client_id": CLIENT_ID,
            "refresh_token": credentials.identitytoken,
            "scope": " ".join(wanted),
        }
        return TokenRequest("POST", parameters["realm"], {}, form)
    fields += [("scope", scope) for scope in wanted]
    headers = {}
    if credentials.username:
        fields.append(("account", credentials.username))
        headers["Authorization"] = _encode_basic(credentials)
        if offline:
            fields += [("offline_token", "true"), ("client_id", CLIENT_ID)]
    joint = "&" if realm.query else "?"
    query = f"{joint}{urlencode(fields)}" if fields else ""
    return TokenRequest("GET", parameters["realm"] + query, headers, {})


def _encode_basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
