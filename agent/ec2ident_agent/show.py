"""What people and scripts are shown: a report as a table or as JSON."""

from __future__ import annotations

from ec2ident.command import log, safe, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .engine import Report
    from .items import Item

    Row = tuple[str, str, str]

__all__ = ["as_dict", "log", "rows", "safe", "say", "table"]

#: States that are as they should be: the interface of something that is absent may come at any time.
FINE = ("ok", "absent")


def rows(report: Report, unknown: Sequence[str] = ()) -> list[Row]:
    """State, owner and text of every item, owner by owner; what is nobody's wish comes last.

    `unknown` are lines that begin with an owner: why nothing can be told of him.
    """
    difference = report.difference
    states: dict[Item, str] = dict.fromkeys(difference.present, "ok")
    states.update((item, "missing") for item in difference.missing)
    states.update((item, "waiting") for item in report.waiting)
    states.update((item, "no name") for item in difference.unnamed)
    in_the_way = [("conflict", report.owner(each.item), str(each)) for each in difference.conflicts]
    untold = [("unknown", owner, why) for owner, _, why in (line.partition(": ") for line in unknown)]
    found: list[Row] = []
    for wish in report.wishes:
        mine = [row for row in (*in_the_way, *untold) if row[1] == wish.owner]
        if not (wish.items or mine):
            mine.append(("absent", wish.owner, "its interface is not on this node"))
        for item in wish.items:
            state = states.get(item, "")
            state = "refused" if state == "missing" and wish.owner in report.refused else state
            mine += [(state, wish.owner, str(item))] if state else []
        found += mine
    found += [row for row in untold if row not in found]
    return found + [("leftover", "-", str(item)) for item in difference.leftover]


def table(report: Report, unknown: Sequence[str] = ()) -> list[str]:
    """For people: a line for each item, and the verdict."""
    found = rows(report, unknown)
    if not found:
        return ["in order: nothing is configured, and nothing of ours is there"]
    first, second = (max(len(row[column]) for row in found) for column in (0, 1))
    lines = [f"{state:{first}}  {owner:{second}}  {text}" for state, owner, text in found]
    counts: dict[str, int] = {}
    for state, _, _ in found:
        if state not in FINE:
            counts[state] = counts.get(state, 0) + 1
    verdict = "could not tell" if unknown else "drift" if counts else "in order"
    return [*lines, f"{verdict}: {', '.join(f'{count} {state}' for state, count in counts.items())}".rstrip(": ")]


def as_dict(report: Report, unknown: Sequence[str]) -> dict[str, object]:
    """For scripts: every item, what apply would do, whom it would refuse and why, and what could not be told."""
    return {
        "in_order": report.in_order and not unknown,
        "items": [{"state": state, "owner": owner, "item": text} for state, owner, text in rows(report, unknown)],
        "steps": [str(step) for step in report.difference.steps],
        "refused": list(report.refusals),
        "unknown": list(unknown),
    }
