"""The keys of the two configuration files, read from the annotated files in the docstrings of the modules that check
them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ec2ident_agent import config
from ec2ident_agent.failover import settings

_HEADING = re.compile(r"\[{1,2}[a-z]\S*\]{1,2}")
_KEY = re.compile(r"(\w+)\s*=\s*(\[[^\]]*\]|\"[^\"]*\"|\S+)")


class Entry(NamedTuple):
    """Keys that one line sets, each with an example of its value, and what the line says of them."""

    keys: tuple[tuple[str, str], ...]
    text: str


class Table(NamedTuple):
    """A table of the file: its heading (empty for the top), what it is about, and its keys."""

    heading: str
    text: str
    entries: tuple[Entry, ...]


def agent() -> tuple[Table, ...]:
    """Of agent.toml."""
    return tables(config.__doc__ or "")


def failover() -> tuple[Table, ...]:
    """Of failover.toml."""
    return tables(settings.__doc__ or "")


def tables(docstring: str) -> tuple[Table, ...]:
    """The tables of the annotated file in a docstring. A line that is a comment alone continues the one before it."""
    found = [["", "", []]]
    for line in docstring.splitlines():
        before, _, after = line.strip().partition("# ") if _starts(line) else ("", "", "")
        text = " ".join(after.split())
        if _HEADING.match(before):
            found.append([before.strip(), text, []])
        elif keys := tuple(_KEY.findall(before)):
            found[-1][2].append(Entry(keys, text))
        elif text and found[-1][2]:
            last = found[-1][2].pop()
            found[-1][2].append(last._replace(text=f"{last.text} {text}"))
    return tuple(Table(heading, text, tuple(entries)) for heading, text, entries in found if entries)


def _starts(line: str) -> bool:
    """Whether a line of the docstring belongs to the file: a heading, a key or a comment."""
    return bool(re.match(r"\s*(\[|#|\w+\s+=\s|\w+\s*=\s)", line))
