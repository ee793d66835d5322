"""How Sphinx builds the manual (scripts/site): the repository's pages as they are, and the API from its docstrings.

Sphinx, because it is well kept (MkDocs 1 has had no release since August 2024), and MyST reads the pages unchanged, so
that their links lead to the same places here and in the repository.

The order of the pages is that of docs/index.md: its headings are the parts, and each page stands where the whole page,
not a heading in it, is linked first.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS.parent / "agent")]

project = "ec2ident"
author = "the ec2ident maintainers"
project_copyright = "Apache-2.0"
(version,) = re.findall(r'^__version__ = "(.+)"$', (DOCS.parent / "ec2ident" / "__init__.py").read_text("utf-8"), re.M)
release = version

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# The repository is the source, so that links between pages are the same there and here.
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/api.rst", "examples/**.md"]
myst_heading_anchors = 4

# Docstrings are written as Markdown: `name` is code.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_title = f"ec2ident {version}"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False


def parts() -> dict[str, list[str]]:
    """Each part of the manual with its pages."""
    index, found, seen = (DOCS / "index.md").read_text("utf-8"), {"The manual": ["docs/index"]}, {"README"}
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", index, re.M | re.S):
        for link in re.findall(r"\]\(([\w./-]+)\.(?:md|rst)\)", text):
            page = link[3:] if link.startswith("../") else f"docs/{link}"
            if page not in seen:
                found.setdefault(title, []).append(page)
            seen.add(page)
            if page == "examples/README":
                more = sorted((DOCS.parent / "examples").glob("*/**/README.md"))
                found[title] += [path.relative_to(DOCS.parent).with_suffix("").as_posix() for path in more]
    return found


def contents(app: Sphinx, name: str, source: list[str]) -> None:
    """The parts stand beside each page: toctrees of the first page, which it does not show itself."""
    if name == root_doc:
        app.env.note_dependency(str(DOCS / "index.md"))
        for title, pages in parts().items():
            source[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""])


def blocks(_: Sphinx, __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
    """An indented block below a line that ends with a colon is code, as in Markdown."""
    for number, line in enumerate(lines[:-2]):
        if line.endswith(":") and not lines[number + 1] and lines[number + 2].startswith("    "):
            lines[number] += ":"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", contents)
    app.connect("autodoc-process-docstring", blocks)
