"""Which entry of an index is pulled, and what reference is meant."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path

import pytest

from barque.content.store import ContentStore
from barque.errors import InvalidArgument, NotFound
from barque.images.exchange import parse_source, strip_scheme
from barque.images.flights import Status
from barque.images.layers import Metered
from barque.images.progress import render
from barque.images.push import compress
from barque.images.selection import choose
from barque.models.image import OCI_MANIFEST, Descriptor, Index, Platform

DIGEST = "sha256:" + "ab" * 32


def index(*platforms: str) -> Index:
    entries = []
    for number, text in enumerate(platforms):
        system, architecture, variant = (*text.split("/"), "", "")[:3]
        platform = Platform(os=system, architecture=architecture, variant=variant)
        entry = Descriptor(OCI_MANIFEST, DIGEST, number, platform=platform if text else None)
        entries.append(entry)
    return Index(2, entries)


@pytest.mark.parametrize(
    ("platforms", "wanted", "chosen"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        (["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v6", 2),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", 1),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),
        (["windows/amd64", "linux/amd64/v3", "linux/amd64/v2"], "linux/amd64/v2", 2),
    ],
)
def test_the_best_is_chosen(platforms: list[str], wanted: str, chosen: int) -> None:
    system, architecture, variant = (*wanted.split("/"), "")[:3]
    asked = Platform(os=system, architecture=architecture, variant=variant)
    assert choose(index(*platforms), asked).size == chosen


def test_attestations_are_no_images() -> None:
    attestation = Descriptor(
        OCI_MANIFEST, DIGEST, 0, annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )
    with pytest.raises(NotFound, match="no matching manifest for linux/amd64"):
        choose(Index(2, [attestation]), Platform(os="linux", architecture="amd64"))


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("alpine", "3.20", "docker.io/library/alpine:3.20"),
        ("alpine:3.19", "", "docker.io/library/alpine:3.19"),
        ("alpine", "", "docker.io/library/alpine"),
        ("r:5000/a/b", DIGEST, f"r:5000/a/b@{DIGEST}"),
        (f"alpine@{DIGEST}", "", f"docker.io/library/alpine@{DIGEST}"),
    ],
)
def test_sources(name: str, tag: str, expected: str) -> None:
    assert str(parse_source(name, tag)) == expected


@pytest.mark.parametrize(("name", "tag"), [("", ""), ("A", "1"), ("a", "b c"), ("a", "md5:12")])
def test_sources_that_are_none(name: str, tag: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_source(name, tag)


def test_servers() -> None:
    assert strip_scheme("https://r.example/v2/") == "r.example"
    assert strip_scheme("r:5000") == "r:5000"


def test_messages_are_docker_s() -> None:
    assert render("abc", Status("Waiting")) == {
        "status": "Waiting",
        "progressDetail": {},
        "id": "abc",
    }
    assert render("abc", Status("Downloading", 1, 2))["progressDetail"] == {
        "current": 1,
        "total": 2,
    }


def test_compression_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    content = b"".join(b"line %d\n" % number for number in range(200_000))
    digests = []
    for piece in (1 << 20, 999):

        class Slow:
            def __init__(self, size: int) -> None:
                self.file, self.size = BytesIO(content), size

            def read(self, size: int) -> bytes:
                return self.file.read(min(size, self.size))

        with store.ingest() as ingest:
            compress(Metered(Slow(piece), threading.Event()), ingest)
            digests.append(ingest.digest)
            head = ingest.open().read(10)
    assert head[4:8] == bytes(4), "a time is in it"
    assert digests[0] == digests[1]
