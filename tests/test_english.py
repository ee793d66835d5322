"""Plain English: the words that CONTRIBUTING keeps out of comments, docstrings, messages and documents."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent

#: What to avoid, and what to write in its place.
AVOIDED = {
    r"somebody|someone|nobody|anybody|everybody|whoever|whose|whom": "name the owner, another process, the kernel",
    r"he|him|his|she|hers?": "a program or a node is a thing: it, its",
    r"ours|theirs": "say who owns it: the agent's, another program's",
    r"(?:lays?|laid|laying)(?! out)": "add, apply, install",
    r"(?:take|takes|taken|took|taking) (?:it |them |that )?off": "remove, revert",
    r"(?<!there )(?:is|are|was) no (?!longer|more|such)\w+": "say what it is: is not, has no",
    r"hears? of": "a program is told, reads, runs after: say which",
    r"in vain": "say what did not happen: was not answered, found nothing",
    r"the latter|thereof|thereby|hereby|whereupon": "name the thing again",
    r"(?:not|never|no) (?:un\w+able|without)": "two negatives: say it the other way round",
}
#: Names in the expressions of f-strings, and words with a fixed meaning elsewhere: removed before the search.
TERMS = re.compile(r"\{[^{}]*\}|nobody:|:nobody|as nobody|user nobody|`nobody`|\"nobody\"|\bOURS\b")
#: The licence is not our text, and this file must name what it forbids.
EXEMPT = {"LICENSE", "tests/test_english.py", "CONTRIBUTING.md"}


def prose(path: Path) -> list[tuple[int, str]]:
    """The text of a file that people read, by line number."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        kept, inside = [], False
        for number, line in enumerate(text.splitlines(), 1):
            inside ^= line.startswith("```")
            if not inside:
                kept.append((number, line))
        return kept
    if path.suffix == ".py" or text.startswith("#!/usr/bin/env python3"):
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        wanted = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
        return [
            (token.start[0] + offset, line)
            for token in tokens
            if token.type in wanted
            for offset, line in enumerate(token.string.splitlines())
        ]
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("#")]


@cache
def lines() -> list[tuple[str, int, str]]:
    """Every line of prose of this project, without the terms that have a fixed meaning."""
    return [(name, number, TERMS.sub("", line)) for name in files() for number, line in prose(TOP / name)]


def files() -> list[str]:
    """The tracked files with text of this project."""
    found = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=False).stdout.split()
    return [
        name
        for name in found
        if name not in EXEMPT
        and "/vectors/" not in name
        and "/certificates/" not in name
        and ("." not in Path(name).name or name.endswith((".py", ".md", ".sh", ".toml", ".service")))
    ]


@pytest.mark.parametrize("avoided", sorted(AVOIDED))
def test_the_text_is_plain_english(avoided: str) -> None:
    """A reader who knows AWS and Linux but not this project understands each sentence at first reading."""
    pattern = re.compile(rf"(?<![\w-])(?:{avoided})(?![\w-])", re.IGNORECASE)
    found = [f"{name}:{number}: {line.strip()[:100]}" for name, number, line in lines() if pattern.search(line)]

    assert [] == found, f"{len(found)} lines; instead: {AVOIDED[avoided]}"
