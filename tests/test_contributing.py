"""CONTRIBUTING's recipes: each file is where it says, and has the names that a change touches."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ec2ident_agent.failover.pacemaker.local_state import LOCAL_STATES
from ec2ident_agent.failover.pacemaker.parameters import KINDS
from ec2ident_agent.hook import EVENTS
from ec2ident_agent.install import layout

TOP = Path(__file__).parent.parent
RECIPES = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## Recipes\n")[2]
#: Recipe -> its rows: a file, and what is done there.
ROWS = {
    title: re.findall(r"^\| `([^`]+)` \| (.+) \|$", text, re.MULTILINE)
    for title, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", RECIPES, re.MULTILINE | re.DOTALL)
}
CELLS = [(file, what) for rows in ROWS.values() for file, what in rows]


def test_the_commonest_changes_have_a_recipe() -> None:
    """Each with the files that it touches."""
    wanted = {"A region's certificate", "A look-alike", "A network manager", "A part of a service for failover"}

    assert {*wanted, "A release"} <= {title for title, rows in ROWS.items() if rows}


@pytest.mark.parametrize(("file", "what"), CELLS, ids=[file for file, _ in CELLS])
def test_a_file_of_a_recipe_has_the_names_that_stand_beside_it(file: str, what: str) -> None:
    """A name that was moved is found here, and not by the next contributor. `x.py` is a file beside it."""
    assert (TOP / file).is_file()
    text = (TOP / file).read_text(encoding="utf-8")

    for name in re.findall(r"`([\w.]+)`", what):
        if name.endswith(".py"):
            assert (TOP / file).with_name(name).is_file()
        else:
            assert re.search(rf"\b{re.escape(name)}\b", text), name


def test_each_other_file_that_a_recipe_names_is_there() -> None:
    """In the text between the tables; a name with capitals stands for one that the reader chooses."""
    found = re.findall(r"`((?:\w+/)+[\w.-]*|scripts/[\w-]+)", RECIPES)
    # What is built is not there yet.
    named = {name for name in found if not re.search("[A-Z]{3}", name)} - {"dist/"}

    assert [] == sorted(name for name in named if not (TOP / name).exists())
    assert len(named) > 20


def test_each_manager_with_events_has_a_script_that_passes_them_on() -> None:
    """The rows that "A network manager" asks for belong together: a name in one table is a name in the other."""
    silent = []
    for name in EVENTS:
        sources = {row.source for row in layout.ROWS[name].rows if row.source} if name in layout.ROWS else set()
        texts = [(Path(layout.DATA) / source).read_text(encoding="utf-8") for source in sources]
        if not any(f"@HOOK@ {name} " in text for text in texts):
            silent.append(name)

    assert [] == silent


def test_each_manager_with_events_is_in_the_table_of_the_hooks() -> None:
    """docs/hooks.md says where its scripts are put: the folder, or the file where there is one for the whole node."""
    text = (TOP / "docs" / "hooks.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))

    for name in EVENTS:
        for row in layout.ROWS[name].rows:
            # Folders are written together, as if-{up,down}.d.
            folder = re.split(r"if-|pre-|/\w+\.d/|/\{", row.path.partition("/ec2ident")[0])[0]
            assert folder in table or row.path.rpartition("/")[2] in table, (name, row.path)


def test_the_agents_of_pacemaker_are_the_same_in_all_tables() -> None:
    """Parameters, what is looked at on the node, and the files that Pacemaker runs."""
    files = {row.source.rpartition("/")[2] for row in layout.ROWS["ocf"].rows if row.source.startswith("ocf/")}

    assert {*KINDS} == {*LOCAL_STATES} == files
    assert files == {path.name for path in (Path(layout.DATA) / "ocf").iterdir()}
