"""What docs/trouble.md shows under each symptom: commands, and what they print."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parent.parent / "docs" / "trouble.md").read_text(encoding="utf-8")


def shown(symptom: str) -> list[tuple[str, str]]:
    """The commands of the console blocks below a heading, each with its output."""
    below = PAGE.split(f"\n## {symptom}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)
    return [pair for block in blocks for pair in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)]
