"""What the three programs share: the frame of `main`, exit codes, arguments, spelling, and the words of their help.

The words are here, since every program loads this package: the options that mean the same in each, and columns.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

JSON = "print the result for a program"
DRY_RUN = "only print what would be changed; exit code 1 if anything"
VERSION = "print the version"


def columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of two columns, indented by two. Pure."""
    width = max((len(first) for first, _ in rows), default=0)
    return [f"  {first:{width}}  {second}".rstrip() for first, second in rows]
