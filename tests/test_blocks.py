"""What runs the blocks of commands in README and the docs. (tests/test_structure.py holds that each says so.)"""

from __future__ import annotations

from .blocks import SHELLS, TOP, blocks


def test_what_runs_a_block_is_a_file_of_tests_that_reads_the_page() -> None:
    """By the page's name, or by asking for all blocks that name the file."""
    wrong = []
    for block in blocks():
        if block.run:
            file = TOP / block.by
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
            names = (block.page.rpartition("/")[2], "run_by(__file__)", "tests.symptoms")
            if not any(name in text for name in names):
                wrong.append(f"{block}: {block.by}")

    assert [] == wrong


def test_the_search_finds_the_blocks() -> None:
    """Of each language, indented ones too, and without a language where a line begins with a prompt."""
    found = {block.page: 0 for block in blocks()}
    for block in blocks():
        found[block.page] += len(block.commands())

    assert {"sh", "console"} <= SHELLS
    assert {"README.md", "CONTRIBUTING.md", "docs/agent.md", "docs/trouble.md"} <= {*found}
    indented = [block for block in blocks() if block.page == "docs/install.md" and block.text.startswith("  ")]
    assert ["/opt/ec2ident/bin/pip", "install"] == indented[0].commands()[0][:2]
    assert all(found.values())
