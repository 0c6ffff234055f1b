from __future__ import annotations

from pathlib import Path

import pytest

from barque.content.digests import digest_bytes, parse_digest
from barque.content.store import ContentStore
from barque.errors import InvalidArgument, NotFound


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def ingests(store: ContentStore) -> list[Path]:
    return list(store._ingest.iterdir())


def test_a_blob_is_found_by_its_digest(store: ContentStore) -> None:
    with store.ingest() as ingest:
        ingest.write(b"hello ")
        ingest.write(memoryview(b"world"))
        digest = ingest.commit(digest_bytes(b"hello world"), 11)
    assert store.read(digest) == b"hello world"
    assert store.get_size(digest) == 11
    assert list(store.walk()) == [digest]
    assert ingests(store) == []


@pytest.mark.parametrize(("digest", "size"), [(digest_bytes(b"other"), None), (None, 6)])
def test_what_is_not_as_announced_is_dropped(
    store: ContentStore, digest: str | None, size: int | None
) -> None:
    with store.ingest() as ingest:
        ingest.write(b"hello")
        with pytest.raises(InvalidArgument):
            ingest.commit(parse_digest(digest) if digest else None, size)
    assert list(store.walk()) == []
    assert ingests(store) == []


def test_an_ingest_that_is_left_leaves_nothing(store: ContentStore) -> None:
    with store.ingest() as ingest:
        ingest.write(b"hello")
    assert ingests(store) == []


def test_the_same_content_twice_is_one_blob(store: ContentStore) -> None:
    assert store.add(b"x") == store.add(b"x")
    assert len(list(store.walk())) == 1


def test_deleted_means_gone_at_once_and_the_space_later(store: ContentStore) -> None:
    digest = store.add(b"hello")
    assert store.delete(digest) == 5
    assert store.delete(digest) == 0
    assert not store.has(digest)
    with pytest.raises(NotFound):
        store.open(digest)
    assert len(ingests(store)) == 1
    store.reap()
    assert ingests(store) == []


def test_recovery_clears_what_a_killed_engine_was_writing(store: ContentStore) -> None:
    store.ingest().write(b"half")
    store.recover()
    assert ingests(store) == []


@pytest.mark.parametrize(
    "digest", ["", "sha256:../../etc", "md5:" + "0" * 32, "sha256:" + "A" * 64]
)
def test_only_digests_are_looked_up(store: ContentStore, digest: str) -> None:
    with pytest.raises(InvalidArgument):
        store.open(digest)


def test_a_document_has_a_limit(store: ContentStore) -> None:
    digest = store.add(b"x" * 100)
    with pytest.raises(InvalidArgument):
        store.read(digest, limit=99)
