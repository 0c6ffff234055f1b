"""Between the host and the program no codec is looked up: that would be an import, which is closed.

Only UTF-8 is there from the start. Some files are on some hosts only (AppArmor's, say), so that
running the code on another shows nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import barque

SOURCE = Path(barque.__file__).parent
MODULES = sorted(
    path
    for package in ("runtime", "shim", "cgroups", "kernel")
    for path in (SOURCE / package).glob("*.py")
    if path != SOURCE / "runtime/resctrl.py"  # of barque-runtime's commands
)


def find_codecs(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "encoding" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_files_are_read_as_utf_8(module: Path) -> None:
    assert set(find_codecs(ast.parse(module.read_text()))) <= {"utf-8"}
