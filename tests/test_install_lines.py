"""How to install: only what works today, in one place."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parent.parent
#: What pip would look up on an index: a bare name, with or without extras, quoted or not.
BY_NAME = re.compile(r"pipx? install (?:-\S+ )*['\"]?ec2ident(?![-\w./])")


def test_nothing_is_installed_by_a_name_that_no_index_has() -> None:
    """A stranger who registers the name on the index would run code on the machines of those who type such a line."""
    listed = [*(TOP / "docs").glob("*.md"), *TOP.glob("*.md"), *(TOP / "ec2ident").rglob("*.py")]
    listed += [path for path in (TOP / "agent").rglob("*") if path.is_file() and path.suffix != ".pyc"]

    found = [
        f"{path.relative_to(TOP)}: {line.strip()}"
        for path in listed
        for line in path.read_text(encoding="utf-8").splitlines()
        if BY_NAME.search(line) and "never `pip install ec2ident`" not in line
    ]

    assert [] == found


def test_the_search_finds_such_a_line() -> None:
    """Each form in which people write it; a wheel, a path and a checkout are not names."""
    for line in (
        "pip install ec2ident",
        "pip install 'ec2ident[failover]'",
        "pipx install ec2ident==0.1",
        'pip install -U "ec2ident"',
    ):
        assert BY_NAME.search(line), line
    for line in (
        "pip install .",
        "pip install './ec2ident-0.1.0-py3-none-any.whl[failover]'",
        "pip install ec2ident-0.1.0.whl",
    ):
        assert not BY_NAME.search(line), line


def test_the_files_that_the_page_names_have_the_version_of_this_checkout() -> None:
    """A page that names an old file would be found wrong by its first reader."""
    version = re.search(r'^__version__ = "(.+)"$', (TOP / "ec2ident/__init__.py").read_text(encoding="utf-8"), re.M)
    assert version

    named = re.findall(r"ec2ident[-_]([\d.]+)-(?:py3|\d)", (TOP / "docs/install.md").read_text(encoding="utf-8"))

    assert {version[1]} == {*named}


def pinned() -> dict[str, list[str]]:
    """The versions of each package in scripts/constraints.txt, each line with its hashes."""
    text = (TOP / "scripts/constraints.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        found.setdefault(line.partition("==")[0], []).append(line)
    return found


def test_each_library_is_pinned_by_version_and_hash() -> None:
    """What setup.py needs, with the extra for failover, and nothing that a hash does not hold."""
    needed = re.findall(r'^        "([\w-]+)[>=].*?",$', (TOP / "setup.py").read_text(encoding="utf-8"), re.M)
    first = needed[: needed.index("tomli") + 1]

    assert {"requests", "cryptography", "psutil", "pyroute2", "tomli"} == {*first}
    assert {*first, "botocore"} <= {*pinned()}
    for lines in pinned().values():
        for line in lines:
            assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^#]+?)?\s+(--hash=sha256:[0-9a-f]{64}\s*)+", line), line[:100]


def test_every_page_is_linked() -> None:
    """From README or from another page: a reader finds it."""
    pages = {path.name for path in (TOP / "docs").glob("*.md")}
    texts = [(TOP / "README.md").read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in (TOP / "docs").glob("*.md")]

    linked = {name for text in texts for name in re.findall(r"(?:\(|docs/|`)([a-z-]+\.md)\b", text)}

    assert set() == pages - linked


def test_the_index_has_every_page() -> None:
    """docs/index.md is the thread through all of them, and README leads to it."""
    text = (TOP / "docs/index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (TOP / "docs").glob("*.md")} - {"index.md"}

    assert set() == pages - {*re.findall(r"\]\(([a-z-]+\.md)", text)}
    assert "(docs/index.md)" in (TOP / "README.md").read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as they are made on GitHub."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_between_pages_leads_somewhere() -> None:
    """To a file that is there, and to a heading of it."""
    broken = []
    for page in (*(TOP / "docs").glob("*.md"), *TOP.glob("*.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            if "://" in target or target.startswith("mailto:"):
                continue
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.name}: {target}")

    assert [] == broken
