"""Shares of caches: what is refused before anything is done, and how schemata compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from barque.errors import FailedPrecondition, InvalidArgument
from barque.models import oci
from barque.runtime.resctrl import ClassOfService, check_rdt


@pytest.mark.parametrize(
    ("rdt", "said"),
    [
        (oci.IntelRdt(clos_id=".."), "closID"),
        (oci.IntelRdt(clos_id="a/b"), "closID"),
        (oci.IntelRdt(schemata=["L3:0=f\nMB:0=10"]), "more than one line"),
        (oci.IntelRdt(mem_bw_schema="L3:0=f"), "does not begin with MB:"),
    ],
)
def test_what_cannot_be(rdt: oci.IntelRdt, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_rdt(rdt)


def test_the_root_is_a_class() -> None:
    check_rdt(oci.IntelRdt(clos_id="/", schemata=["L3:0=f"]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A resctrl tree with the class ``gold``."""
    gold = tmp_path / "gold"
    gold.mkdir()
    (gold / "schemata").write_text("    L3:0=7ff;1=00f\n    MB:0=100;1=100\n")
    (gold / "tasks").write_text("")
    return tmp_path


@pytest.mark.parametrize("line", ["L3:0=7ff", "L3:1=f", "L3:1=0F;0=7ff", "MB:0=100"])
def test_a_class_that_is_as_it_is_wanted(root: Path, line: str) -> None:
    service = ClassOfService(str(root), "c1", oci.IntelRdt(clos_id="gold", schemata=[line]))
    service.check()
    service.create()
    service.join(17)
    assert (root / "gold/tasks").read_text() == "17\n"
    service.remove()
    assert (root / "gold").is_dir(), "it belongs to whoever named it"


def test_shares_that_are_changed(root: Path) -> None:
    service = ClassOfService(str(root), "c1", oci.IntelRdt(clos_id="gold"))
    service.update(["MB:0=50"])
    assert (root / "gold/schemata").read_text().startswith("MB:0=50\n")


@pytest.mark.parametrize("line", ["L3:0=7f", "L3:2=7ff", "MB:0=10", "L2:0=7ff"])
def test_a_class_that_is_another(root: Path, line: str) -> None:
    service = ClassOfService(str(root), "c1", oci.IntelRdt(clos_id="gold", schemata=[line]))
    with pytest.raises(FailedPrecondition, match="use another name"):
        service.check()


def test_a_class_that_nobody_has_made(root: Path) -> None:
    with pytest.raises(FailedPrecondition, match="does not exist"):
        ClassOfService(str(root), "c1", oci.IntelRdt(clos_id="silver")).check()
    ClassOfService(str(root), "c1", oci.IntelRdt(clos_id="gold")).check()


def test_a_class_of_its_own_must_be_new(root: Path) -> None:
    with pytest.raises(FailedPrecondition, match="is there already"):
        ClassOfService(str(root), "gold", oci.IntelRdt(schemata=["MB:0=10"])).check()
    ClassOfService(str(root), "c1", oci.IntelRdt(schemata=["MB:0=10"])).check()
