"""Changes, export and commit over the wire."""

from __future__ import annotations

import asyncio

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
