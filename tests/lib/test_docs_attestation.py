"""What docs/attestation.md shows is what happens."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "attestation.md"


def test_the_examples_of_the_page_run() -> None:
    """All of them, in their order, with the output that the page shows."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")

    assert (0, True) == (failed, tried > 20)
