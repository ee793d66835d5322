"""Output for people and scripts: a report as a table or as JSON."""

from __future__ import annotations

from ec2ident.program.frame import log, safe, say

from .items import Route
from .notes import NOT_HELD, UNSERVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .engine import Report
    from .items import Item

    Row = tuple[str, str, str]

__all__ = ["as_dict", "log", "rows", "safe", "say", "table"]

#: What is as it should be, and what is not the agent's to do and good to know: neither is drift.
FINE, KNOWN = ("ok", "foreign"), (UNSERVED, NOT_HELD)


def rows(report: Report) -> list[Row]:
    """State, owner and text of every item, owner by owner; leftovers that no owner wants come last."""
    difference = report.difference
    states: dict[Item, str] = dict.fromkeys(difference.present, "ok")
    states.update((item, "missing") for item in difference.missing)
    states.update((item, "waiting") for item in report.waiting)
    states.update((item, "no name") for item in difference.unnamed)
    states.update((each.item, "adopting") for each in report.adopted)
    in_the_way = [("conflict", report.owner(each.item), str(each)) for each in difference.conflicts]
    in_the_way += [("refused", each.owner, each.why) for each in report.harmful]
    in_the_way += [("taken", each.owner, str(each)) for each in report.taken]
    unknown = [("unknown", each.owner, each.why) for each in report.unknown]
    beside: dict[int, list[str]] = {}
    for seen in difference.foreign:
        beside.setdefault(getattr(seen.item, "table", 0), []).append(str(seen))
    found: list[Row] = []
    for desired in report.desired:
        owner = str(desired.owner)
        mine = [(state, owner, text) for state, of, text in (*in_the_way, *unknown) if of == desired.owner]
        if desired.owner in report.absent:
            mine.append(("absent", owner, "its interface is not on this node"))
        for item in desired.items:
            state = states.get(item, "")
            if desired.owner in report.refused and (state == "missing" or (state == "ok" and not item.rank)):
                # A name alone is of no use.
                state = "refused"
            mine += [(state, owner, str(item))] if state else []
        tables = dict.fromkeys(item.table for item in desired.items if isinstance(item, Route))
        found += [*mine, *(("foreign", owner, text) for table in tables for text in beside.pop(table, ()))]
    found += [(each.kind, str(each.owner), str(each)) for each in report.notes]
    return found + [("leftover", "-", str(item)) for item in difference.leftover]


def table(report: Report) -> list[str]:
    """For people: a line for each item, and the verdict."""
    found = rows(report)
    if not found:
        return ["in order: nothing is configured, and the agent has added nothing"]
    first, second = (max(len(row[column]) for row in found) for column in (0, 1))
    lines = [f"{state:{first}}  {owner:{second}}  {text}" for state, owner, text in found]
    counts: dict[str, int] = {}
    for state, _, _ in found:
        if state not in FINE:
            counts[state] = counts.get(state, 0) + 1
    known = {state: counts.pop(state) for state in KNOWN if state in counts}
    verdict = "could not tell" if report.unknown else "drift" if counts else "in order"
    return [*lines, "; ".join(filter(None, (f"{verdict}: {_listed(counts)}".rstrip(": "), _listed(known))))]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def as_dict(report: Report) -> dict[str, object]:
    """For scripts: every item, what apply would do, which owners it would refuse and why, and what is unknown."""
    return {
        "in_order": report.in_order and not report.unknown,
        "items": [{"state": state, "owner": owner, "item": text} for state, owner, text in rows(report)],
        "steps": [str(step) for step in report.steps],
        "refused": list(map(str, report.refusals)),
        "taken": list(map(str, report.taken)),
        "unknown": list(map(str, report.unknown)),
        "notes": list(map(str, report.notes)),
    }
