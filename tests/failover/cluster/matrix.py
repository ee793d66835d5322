"""What a cluster did under each fault, as a table at the end of a run."""

from __future__ import annotations

from datetime import date

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The names under which a test hands on a row, and what it knows of versions.
ROW, VERSION = "fault-row", "fault-version"

HEAD = (
    "fault",
    "reads of the API",
    "the service is on",
    "longest silence",
    "all of it there after",
    "stopped during it in",
    "answered at once",
)


def table(rows: Iterable[Sequence[str]], versions: Iterable[str]) -> list[str]:
    """Lines of Markdown."""
    lines = [f"| {' | '.join(each)} |" for each in (HEAD, ["---"] * len(HEAD), *rows)]
    return [*lines, "", f"{date.today()}, with {'; '.join(sorted(set(versions)))}."]
