"""The manual as a site: each page has its place, and the reference has every public name. scripts/check builds it."""

from __future__ import annotations

import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOP = Path(__file__).parent.parent
PACKAGES = ("ec2ident", "ec2ident.admission", "ec2ident.testing", "ec2ident_agent")


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """What docs/conf.py says; it needs no Sphinx to be read."""
    return runpy.run_path(str(TOP / "docs" / "conf.py"))


def test_every_page_has_one_place(settings: dict[str, Any]) -> None:
    """README is the first; a page that docs/index.md does not link would be a warning of Sphinx's."""
    found = {path.relative_to(TOP) for folder in ("docs", "examples") for path in (TOP / folder).rglob("*.md")}
    found |= {path.relative_to(TOP) for path in TOP.glob("*.md")}
    wanted = {path.with_suffix("").as_posix() for path in found} | {"docs/api"}
    listed = [page for pages in settings["parts"]().values() for page in pages]

    assert sorted(wanted - {"README"}) == sorted(listed)


def test_the_parts_are_one_thread(settings: dict[str, Any]) -> None:
    """From the installation to the reference, as a reader meets them."""
    listed = [page for pages in settings["parts"]().values() for page in pages]
    thread = ("install", "detection", "attestation", "agent", "failover", "cluster", "trouble", "api", "design")
    places = [listed.index(f"docs/{page}") for page in thread]

    assert sorted(places) == places


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_public_name(package: str) -> None:
    """autodoc takes what `__all__` names, and passes over what has no docstring."""
    assert f".. automodule:: {package}\n" in (TOP / "docs" / "api.rst").read_text(encoding="utf-8")
    module = import_module(package)

    assert [] == [name for name in module.__all__ if not (getattr(module, name).__doc__ or "").strip()]


def test_a_block_below_a_colon_is_code(settings: dict[str, Any]) -> None:
    """Docstrings are Markdown, and Sphinx wants a second colon; text below other lines stays text."""
    lines = ["Say so:", "", "    code()", "", "Not here.", "", "    text", "Nor here:", "text", ""]

    settings["blocks"](None, "", "", None, None, lines)

    assert ["Say so::", *["", "    code()", "", "Not here.", "", "    text", "Nor here:", "text", ""]] == lines


def test_the_generator_is_pinned_by_hash() -> None:
    """Each line with a version and hashes, and what docs/requirements.in asks for is among them."""
    asked = re.findall(r"^(\w[\w-]*)", (TOP / "docs/requirements.in").read_text(encoding="utf-8"), re.MULTILINE)
    text = (TOP / "docs/requirements.txt").read_text(encoding="utf-8").replace("\\\n", " ")

    assert {"sphinx", "myst-parser", "furo"} == {*asked}
    assert {*asked} <= {line.partition("==")[0] for line in text.splitlines()}
    for line in text.splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^#]+?)?\s+(--hash=sha256:[0-9a-f]{64}\s*)+", line), line[:100]
