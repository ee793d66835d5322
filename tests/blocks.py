"""The command blocks of README, CONTRIBUTING, docs/ and examples/: what a reader types.

Before each block stands, as a comment, which file of tests runs it, or why none does:

    <!-- run: tests/agent/test_blocks.py -->
    <!-- not run: it installs on the machine -->
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).parent.parent
PAGES = tuple(
    sorted(
        path.relative_to(TOP).as_posix()
        for pattern in ("*.md", "docs/*.md", "examples/**/*.md")
        for path in TOP.glob(pattern)
    )
)
#: Languages of a shell. Another block is one too if a line begins with a prompt.
SHELLS = {"sh", "bash", "console", "bat", "powershell"}
_MARK = re.compile(r"<!-- (run|not run): (.+?) -->")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of commands: its page and line, whether a test runs it, and which one, or why not."""

    page: str
    line: int
    text: str
    run: bool
    by: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """Each command as words, without comments; of a console block what stands behind the prompts."""
        text = self.text.replace("\\\n", " ")
        if prompts := re.findall(r"^ *\$ (.*)$", text, re.MULTILINE):
            text = "\n".join(prompts)
        return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


@cache
def blocks() -> tuple[Block, ...]:
    """All of them, in the order of the pages."""
    found = []
    for page in PAGES:
        text = (TOP / page).read_text(encoding="utf-8")
        for fence in _FENCE.finditer(text):
            _, language, inside = fence.groups()
            if language in SHELLS or (not language and re.search(r"^ *\$ ", inside, re.MULTILINE)):
                before = text[: fence.start()].rstrip().rpartition("\n")[2].strip()
                mark = _MARK.fullmatch(before)
                line = text[: fence.start()].count("\n") + 1
                found.append(Block(page, line, inside, bool(mark and mark[1] == "run"), mark[2] if mark else ""))
    return tuple(found)


def run_by(file: str) -> list[Block]:
    """The blocks that a file of tests says to run: pass `__file__`."""
    name = Path(file).resolve().relative_to(TOP).as_posix()
    return [block for block in blocks() if block.run and block.by == name]
