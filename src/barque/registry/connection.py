"""HTTP to one registry: authorised, redirected, retried; bounded in bytes and time.

Redirects are followed by hand: credentials stay with the registry's own origin, and https
never becomes http, unless both hosts are insecure by configuration.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

import barque
from barque.registry.auth import (
    Authorizer,
    Credentials,
    TokenReply,
    TokenRequest,
    parse_challenges,
)
from barque.registry.config import RegistryConfig
from barque.registry.endpoints import (
    Endpoint,
    find_proxy,
    is_insecure,
    make_tls_context,
)
from barque.registry.errors import Damaged, RegistryError, Unreachable, parse_error

Body = Callable[[], AsyncIterator[bytes]]
"""Makes the body anew for each attempt."""

_AGENT = f"barque/{barque.__version__} (linux)"
_CONNECT_S = 15.0
_SILENCE_S = 60.0
_DOCUMENT_S = 60.0
_MAX_ERROR_BYTES = 64 << 10
_MAX_REDIRECTS = 5
_ATTEMPTS = 4
_PAUSE_S = 0.25
_MAX_PAUSE_S = 30.0
_BUFFER = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class Answer:
    """A reply whose body was not read yet."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.url = str(response.url)
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises Damaged if it has more than ``limit`` bytes."""
        length = self._response.content_length
        parts = bytearray()
        if length is None or length <= limit:
            async for part in self._response.content.iter_any():
                parts += part
                if len(parts) > limit:
                    break
            else:
                return bytes(parts)
        raise Damaged(f"{self.url}: the answer has more than the {limit} bytes allowed here")

    def pieces(self) -> AsyncIterator[bytes]:
        """Give the body as it arrives."""
        return self._response.content.iter_any()

    def challenges(self) -> list[str]:
        """Return the WWW-Authenticate headers."""
        return self._response.headers.getall("WWW-Authenticate", [])


class Connection:
    """A registry's endpoint. An async context manager; use it on the loop.

    ``insecure`` tells that the registry is so by configuration, or on this machine.
    """

    def __init__(
        self, endpoint: Endpoint, credentials: Credentials, config: RegistryConfig
    ) -> None:
        self.endpoint = endpoint
        self._config = config
        self._insecure = not endpoint.verify or endpoint.url.startswith("http://")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.authorizer = Authorizer(
            endpoint.host, credentials, self._fetch_token, self._allows_plain
        )
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=16),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_S, connect=_CONNECT_S * 4, sock_read=_SILENCE_S
            ),
            headers={"User-Agent": _AGENT},
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            read_bufsize=_BUFFER,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._http.close()

    def _allows_plain(self, host: str) -> bool:
        own = self._insecure and host == self.endpoint.host
        return own or is_insecure(host, self._config)

    def _get_context(self, url: str) -> ssl.SSLContext:
        host = urlsplit(url).netloc
        if host not in self._contexts:
            own = host == self.endpoint.host
            verify = self.endpoint.verify if own else not is_insecure(host, self._config)
            self._contexts[host] = make_tls_context(host, self._config, verify=verify)
        return self._contexts[host]

    @asynccontextmanager
    async def request(
        self,
        method: str,
        target: str,
        *,
        scopes: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        expect: Sequence[int] = (200,),
    ) -> AsyncIterator[Answer]:
        """Send a request and give the answer, whose status is one of ``expect``.

        ``target`` is a path, or a URL that the registry gave. Requests without a body are
        repeated while the registry is busy. Raises RegistryError, Unreachable.
        """
        url = urljoin(self.endpoint.url, target)
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._authorised(method, url, scopes, headers or {}, body) as answer:
                    if answer.status in expect:
                        yield answer
                        return
                    error = await self._explain(answer)
                    pause_s = find_pause(answer.status, answer.headers, attempt)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
                raise _describe(method, url, failure) from failure
            if body is not None or pause_s is None or attempt >= _ATTEMPTS:
                raise error
            await asyncio.sleep(pause_s)

    async def _explain(self, answer: Answer) -> RegistryError:
        async with asyncio.timeout(_DOCUMENT_S):
            try:
                content = await answer.read(_MAX_ERROR_BYTES)
            except Damaged:
                content = b""
        return parse_error(answer.status, content)

    @asynccontextmanager
    async def _authorised(
        self,
        method: str,
        url: str,
        scopes: Sequence[str],
        headers: Mapping[str, str],
        body: Body | None,
    ) -> AsyncIterator[Answer]:
        authorization = self.authorizer.get_header(scopes)
        async with self._redirected(method, url, headers, body, authorization) as answer:
            ours = _origin(answer.url) == _origin(self.endpoint.url)
            if answer.status != 401 or not ours:
                yield answer
                return
            challenges = parse_challenges(answer.challenges())
        authorization = await self.authorizer.answer(challenges, scopes)
        async with self._redirected(method, url, headers, body, authorization) as answer:
            yield answer

    @asynccontextmanager
    async def _redirected(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        authorization: str,
    ) -> AsyncIterator[Answer]:
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_url(url)
            async with self._send(method, url, headers, body, authorization) as response:
                location = response.headers.get("Location", "")
                if response.status not in _REDIRECTS or not location or body is not None:
                    yield Answer(response)
                    return
                url = urljoin(url, location)
        raise RegistryError(f"{method} {url}: more than {_MAX_REDIRECTS} redirects were refused")

    def _check_url(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "https" or url.startswith(f"{self.endpoint.url}/"):
            return
        if parts.scheme == "http" and self._insecure and self._allows_plain(parts.netloc):
            return
        raise RegistryError(
            f"the registry sends us to {url[:200]!r}, which was refused: it is neither https nor "
            "on a host of insecure-registries"
        )

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        authorization: str,
    ) -> aiohttp.client._RequestContextManager:  # no public name
        sent = {"Accept-Encoding": "identity", **headers}
        if authorization and _origin(url) == _origin(self.endpoint.url):
            sent["Authorization"] = authorization
        return self._http.request(
            method,
            URL(url, encoded=True),
            headers=sent,
            data=body() if body is not None else None,
            allow_redirects=False,
            ssl=self._get_context(url) if url.startswith("https:") else False,
            proxy=find_proxy(url),
        )

    async def _fetch_token(self, request: TokenRequest) -> TokenReply:
        """Ask a realm for a token: no redirect is followed, as credentials are on the way."""
        try:
            async with (
                asyncio.timeout(_DOCUMENT_S),
                self._http.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    data=request.form or None,
                    allow_redirects=False,
                    ssl=self._get_context(request.url) if request.url[:6] == "https:" else False,
                    proxy=find_proxy(request.url),
                ) as response,
            ):
                answer = Answer(response)
                return TokenReply(answer.status, await answer.read(_MAX_ERROR_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            raise _describe(request.method, request.url.partition("?")[0], failure) from failure


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def find_pause(status: int, headers: Mapping[str, str], attempt: int) -> float | None:
    """Return how long to wait before asking again, in seconds; None: asking is of no use."""
    if status not in _AGAIN:
        return None
    wanted = headers.get("Retry-After", "")
    if wanted.isdigit():
        return float(wanted) if int(wanted) <= _MAX_PAUSE_S else None
    return _PAUSE_S * 2.0 ** (attempt - 1)


def _describe(method: str, url: str, failure: BaseException) -> Unreachable:
    shown = f'{method.title()} "{url.partition("?")[0]}"'
    if isinstance(failure, TimeoutError):
        return Unreachable(f"{shown}: no answer in time: is the registry up, and reachable?")
    if isinstance(failure, aiohttp.ClientConnectorError):
        reason = _reason(failure.__cause__ or failure.os_error)
        return Unreachable(f"{shown}: cannot connect to {failure.host}:{failure.port}: {reason}")
    return Unreachable(f"{shown}: {str(failure) or type(failure).__name__}")


def _reason(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number and number > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(number).lower()
    return (isinstance(error, OSError) and error.strerror) or str(error)


class Pace:
    """Tells when a transfer has become so slow that it must be taken for an attack or a fault."""

    _WINDOW_S = 60.0
    _LEAST_BYTES = 60 << 10

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bytes = 0

    def add(self, size: int) -> None:
        """Count bytes. Raises Unreachable at less than 1 KiB a second over a minute."""
        self._bytes += size
        now = time.monotonic()
        if now - self._began >= self._WINDOW_S:
            if self._bytes < self._LEAST_BYTES:
                raise Unreachable(f"only {self._bytes} bytes came in {self._WINDOW_S:.0f} s")
            self._began, self._bytes = now, 0
