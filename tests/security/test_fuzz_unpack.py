"""A few seconds of what ``scripts/fuzz-unpack`` does for an hour, always with the same archives."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from barque.errors import FailedPrecondition
from barque.models.launch import RootfsMount
from barque.snapshots.views import open_view
from support.archive_grammar import CORPUS, archives, compressed
from support.images import END, IS_ROOT, NEEDS_ROOT, make_member, make_pax
from support.unpack_oracle import JUSTIFIED, Finding, Oracle, is_justified

pytestmark = pytest.mark.skipif(not IS_ROOT, reason=NEEDS_ROOT)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    base = tmp_path_factory.mktemp("oracle")
    (base / "upper").mkdir()
    (base / "below").mkdir()
    mount = RootfsMount(type="overlay", upper=f"{base}/upper", lower=[f"{base}/below"])
    try:
        with open_view(mount):
            pass
    except FailedPrecondition as error:
        pytest.skip(str(error))
    return Oracle(base)


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_drawn_archives(oracle: Oracle, data: st.DataObject) -> None:
    archive = data.draw(archives())
    oracle.check(archive, data.draw(compressed(archive)))


def test_a_difference_is_found(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_member(b"f", kind=b"Z") + END
    oracle.check(archive, archive)
    monkeypatch.setattr("support.unpack_oracle.JUSTIFIED", ())
    with pytest.raises(Finding, match=r"only barque refuses it: .*unknown type"):
        oracle.check(archive, archive)
    odd = make_pax({b"mtime": b""}) + make_member(b"f") + END
    with pytest.raises(Finding, match="only GNU tar refuses it"):
        oracle.check(odd, odd)


def test_paths_that_only_barque_can_make(oracle: Oracle) -> None:
    name = b"/".join([b"n" * 254] * 20)
    archive = make_pax({b"path": name}) + make_member(b"f", b"x") + END
    oracle.check(archive, archive)


def test_what_the_fuzzer_starts_from() -> None:
    assert len(CORPUS) > 200
    assert all(one.why for one in JUSTIFIED)
    assert is_justified("ours", "invalid tar archive: 'f' is of the unknown type 'Z'")
    assert not is_justified("theirs", "invalid tar archive: 'f' is of the unknown type 'Z'")
