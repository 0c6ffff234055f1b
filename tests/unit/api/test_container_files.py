"""Changes, export and commit over the wire."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import quote

import pytest

from barque.errors import Conflict
from barque.models.api import ContainerConfig
from barque.snapshots.changes import Change, ChangeKind
from support.api_engine import IMAGE_ID, FakeEngine, serving


def test_changes_are_numbered() -> None:
    async def talk() -> None:
        engine = FakeEngine()
        async with serving(engine) as site:
            assert await site.get("/containers/x/changes") is None
            engine.files.found = [
                Change(b"etc", ChangeKind.MODIFIED),
                Change(b"etc/new\xff", ChangeKind.ADDED),
                Change(b"old", ChangeKind.DELETED),
            ]
            assert await site.get("/containers/x/changes") == [
                {"Path": "/etc", "Kind": 0},
                {"Path": "/etc/new\ufffd", "Kind": 1},
                {"Path": "/old", "Kind": 2},
            ]

    asyncio.run(talk())


def test_an_export_is_sent_as_it_comes() -> None:
    async def talk() -> None:
        async with serving() as site:
            answer = await site.send("GET", "/containers/x/export")
            assert (answer.status, answer.body) == (200, b"firstsecond")
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert (await site.send("GET", "/containers/missing/export")).status == 404

    asyncio.run(talk())


def test_an_export_that_fails_is_not_taken_for_a_whole_one() -> None:
    async def talk() -> None:
        engine = FakeEngine()
        engine.files.failure = Conflict("removed")
        async with serving(engine) as site:
            with pytest.raises((ValueError, EOFError, ConnectionError)):
                await site.send("GET", "/containers/x/export")

    asyncio.run(talk())


def test_commit_passes_all_on() -> None:
    async def talk() -> None:
        engine = FakeEngine()
        async with serving(engine) as site:
            answer = await site.send(
                "POST",
                "/commit?container=x&repo=a&tag=b&comment=c&author=d&pause=0&changes=CMD+x&changes=USER+y",
                {"Env": ["A=b"]},
            )
            assert (answer.status, answer.json()) == (201, {"Id": IMAGE_ID})
            assert engine.files.calls == [
                (
                    "commit",
                    "x",
                    {
                        "repo": "a",
                        "tag": "b",
                        "comment": "c",
                        "author": "d",
                        "pause": False,
                        "changes": ["CMD x", "USER y"],
                        "config": ContainerConfig(env=["A=b"]),
                    },
                )
            ]

    asyncio.run(talk())


def test_commit_needs_little() -> None:
    async def talk() -> None:
        engine = FakeEngine()
        async with serving(engine) as site:
            assert (await site.send("POST", "/commit")).status == 400
            assert (await site.send("POST", "/commit?container=x")).status == 201
            assert engine.files.calls[0][2]["pause"]
            assert engine.files.calls[0][2]["config"] is None

    asyncio.run(talk())


def test_a_path_is_described_in_a_header() -> None:
    async def talk() -> None:
        async with serving() as site:
            for method in ("HEAD", "GET"):
                answer = await site.send(method, "/containers/x/archive?path=/etc/f")
                assert answer.status == 200
                text = answer.headers["X-Docker-Container-Path-Stat"]
                assert json.loads(base64.b64decode(text)) == {
                    "name": "f\ufffd",
                    "size": 5,
                    "mode": 0o644,
                    "mtime": "2026-01-01T00:00:00Z",
                    "linkTarget": "/x",
                }
            assert (answer.body, answer.headers["Content-Type"]) == (
                b"firstsecond",
                "application/x-tar",
            )
            for method in ("HEAD", "GET", "PUT"):
                assert (await site.send(method, "/containers/x/archive")).status == 400
            for method in ("HEAD", "GET"):
                answer = await site.send(method, "/containers/x/archive?path=/missing")
                assert answer.status == 404

    asyncio.run(talk())


def test_an_archive_is_copied_in() -> None:
    engine = FakeEngine()

    async def talk() -> None:
        async with serving(engine) as site:
            query = "path=/d&noOverwriteDirNonDir=true&copyUIDGID=1"
            answer = await site.send("PUT", f"/containers/x/archive?{query}", b"tar")
            assert (answer.status, answer.body) == (200, b"")
            assert engine.files.calls == [
                ("write", "x", "/d", b"tar", {"keep_kinds": True, "as_user": True})
            ]

    asyncio.run(talk())


def test_images_are_saved_by_name() -> None:
    async def talk() -> None:
        async with serving() as site:
            answer = await site.send("GET", "/images/registry:5000/x/busybox:1/get")
            assert (answer.status, answer.body) == (200, f"{IMAGE_ID} \n".encode())
            platform = '{"os":"linux","architecture":"arm64","variant":"v8"}'
            query = f"names=busybox&names={IMAGE_ID}&platform={quote(platform)}"
            answer = await site.send("GET", f"/images/get?{query}")
            assert answer.body == f"{IMAGE_ID} linux/arm64/v8\n".encode() * 2
            assert answer.headers["Content-Type"] == "application/x-tar"
            assert (await site.send("GET", "/images/get")).status == 400
            assert (await site.send("GET", "/images/get?names=nothing")).status == 404
            assert (await site.send("GET", "/images/get?names=x&platform={")).status == 400

    asyncio.run(talk())
