"""The distribution-spec, against our registry and, to check the table, Debian's."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest
from yarl import URL

from barque.registry.server.auth import read_htpasswd
from support.registry import DISTRIBUTION, own_registry, run_distribution
from support.spec_cases import CASES, NAMES, Ask, Case, format_table

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


async def play(address: str, case: Case) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        location = ""
        for number, ask in enumerate(case.requests):
            what = f"{case.shows}: request {number}, {ask.method} {ask.path}"
            location = await send(http, address, ask, location, what)


async def send(
    http: aiohttp.ClientSession, address: str, ask: Ask, location: str, what: str
) -> str:
    path = ask.path.format(location=location, **NAMES)
    if "?" in location and ask.path.startswith("{location}?"):
        path = path.replace("?digest=", "&digest=")
    url = URL(urljoin(f"http://{address}", path), encoded=True)
    async with http.request(ask.method, url, data=ask.body, headers=ask.headers) as reply:
        # Distribution announces a blob's length for its 416, too: read what is needed only.
        reads = ask.content is not None or ask.code or ask.keys
        content = await reply.read() if reads else b""
        wanted = ask.status if isinstance(ask.status, tuple) else (ask.status,)
        assert reply.status in wanted, f"{what}: {reply.status} {content!r}"
        for name, value in ask.expect.items():
            text = reply.headers.get(name, "")
            if name == "Content-Type":
                text = text.partition(";")[0]
            assert text == value.format(**NAMES), f"{what}: {name}"
        if ask.content is not None:
            assert content == ask.content, what
        if ask.code:
            assert json.loads(content)["errors"][0]["code"] == ask.code, what
        document = json.loads(content) if ask.keys else {}
        assert {key: document.get(key) for key in ask.keys} == ask.keys, what
        if "Location" not in reply.headers:
            return location
        return urljoin(f"http://{address}", reply.headers["Location"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.category}: {case.shows}")
def test_ours(case: Case, tmp_path: Path) -> None:
    async def test() -> None:
        async with own_registry(tmp_path) as address:
            await play(address, case)

    asyncio.run(test())
    assert list((tmp_path / "ingest").iterdir()) == [], "an upload was left behind"


@pytest.mark.skipif(shutil.which(DISTRIBUTION) is None, reason=f"needs {DISTRIBUTION}")
def test_the_table_is_right_about_distribution(tmp_path: Path) -> None:
    """Debian's is of spec 1.0, and lists repositories and uploads in its own ways."""
    cases = [case for case in CASES if not case.since_1_1 and not case.ours]
    failed = []
    for number, case in enumerate(cases):
        root = tmp_path / str(number)
        root.mkdir()
        with run_distribution(root) as address:
            try:
                asyncio.run(play(address, case))
            except AssertionError as error:
                failed.append(str(error).splitlines()[0])
    assert not failed, "\n".join(failed)


def test_the_page_lists_the_table() -> None:
    assert format_table() in PAGE.read_text(), (
        "docs/conformance.md: paste spec_cases.format_table()"
    )


def test_passwords_are_asked_for(tmp_path: Path) -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    (tmp_path / "htpasswd").write_text(f"# users\nme:{hashed}\n")

    async def test() -> None:
        passwords = read_htpasswd(tmp_path / "htpasswd")
        async with (
            own_registry(tmp_path / "root", passwords) as address,
            aiohttp.ClientSession() as http,
        ):
            for given, status in (
                ("", 401),
                ("Basic !", 401),
                ("Bearer x", 401),
                (encode("me:wrong"), 401),
                (encode("you:secret"), 401),
                (encode("me:secret"), 200),
                (encode("me:secret"), 200),
            ):
                headers = {"Authorization": given}
                async with http.get(f"http://{address}/v2/", headers=headers) as reply:
                    assert reply.status == status
                    assert ("WWW-Authenticate" in reply.headers) is (status == 401)

    asyncio.run(test())


def test_a_read_only_registry_and_a_blob_too_large(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            own_registry(tmp_path / "a", read_only=True) as address,
            own_registry(tmp_path / "b", max_blob_bytes=1000) as small,
            aiohttp.ClientSession() as http,
        ):
            async with http.post(f"http://{address}/v2/x/blobs/uploads/") as reply:
                assert reply.status == 405
            for body in (b"x" * 2000, _stream(b"x" * 2000)):
                async with http.post(f"http://{small}/v2/x/blobs/uploads/") as reply:
                    location = urlsplit(reply.headers["Location"]).path
                async with http.patch(f"http://{small}{location}", data=body) as reply:
                    assert reply.status == 413

    asyncio.run(test())


def encode(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


async def _stream(content: bytes):  # type: ignore[no-untyped-def]
    yield content


def test_a_restart_keeps_content_and_drops_the_rest(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.shows == "a manifest; its digest is told")
    unfinished = Case("", "", [Ask("POST", "/v2/repo/blobs/uploads/", 202)])

    async def test() -> None:
        async with own_registry(tmp_path) as address:
            await play(address, case)
            await play(address, unfinished)
            (tmp_path / "blobs" / "sha256" / ("ab" * 32)).write_bytes(b"an orphan")
            (tmp_path / "ingest" / "left").write_bytes(b"of a killed registry")
        async with own_registry(tmp_path) as address:
            keys = {"tags": ["one", "two"]}
            await play(address, Case("", "", [Ask("GET", "/v2/repo/tags/list", 200, keys=keys)]))

    asyncio.run(test())
    assert list((tmp_path / "ingest").iterdir()) == []
    assert not (tmp_path / "blobs" / "sha256" / ("ab" * 32)).exists()
