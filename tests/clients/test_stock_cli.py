"""The stock docker command line against barque, and against dockerd to show that it is so.

Every case of ``support.cli_cases`` says what both engines answer. Without dockerd barque is
held to the table alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support import rootfs
from support.cases import Case, Outcome, describe_mismatch, root_is_full, run_script
from support.cli_cases import CASES
from support.engine import Engine, dockerd_is_here


@pytest.fixture(scope="module")
def reference() -> dict[str, Outcome]:
    """What dockerd said, by case."""
    return {}


@pytest.fixture(scope="module")
def archive(busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    return rootfs.write_docker_archive(busybox_tar, folder / "archive.tar", "loaded:1")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(
    case: Case,
    engine: Engine,
    reference: dict[str, Outcome],
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if case.full_root and engine.name == "dockerd" and not root_is_full():
        pytest.skip("dockerd needs every capability for this; root here lacks some")
    monkeypatch.setenv("TEST_ARCHIVE", str(archive))
    outcome = run_script(engine, case.script, tmp_path)
    if engine.name == "dockerd":
        reference[case.name] = outcome
    said = reference.get(case.name)
    mismatch = describe_mismatch(case, outcome, said.out if said else None)
    assert not mismatch, f"{engine.name}: {case.script}\n{mismatch}"


@pytest.mark.skipif(not dockerd_is_here(), reason="needs dockerd (docker.io) to compare with")
def test_the_table_was_held_against_dockerd(reference: dict[str, Outcome]) -> None:
    wanted = {case.name for case in CASES if root_is_full() or not case.full_root}
    assert set(reference) == wanted
