"""docs/situations.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[2] / "docs/situations.md").read_text(encoding="utf-8")


def named_in(path: Path) -> set[str]:
    """The tests in a file, as the page names them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {f"{path.name}::{each.name}" for each in tree.body if isinstance(each, ast.FunctionDef)}


def test_each_row_is_a_test() -> None:
    """A row without its test would be a claim alone."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    named = [re.search(r"`(test_\w+\.py::test_\w+)` \|$", row) for row in rows]

    assert len(rows) > 15
    assert set() == {found.group(1) if found else "" for found in named} - {
        name for path in HERE.glob("test_*.py") for name in named_in(path)
    }
