"""How each owner stands after a look, and the metrics that say so. Pure.

docs/operators.md has the table of the metrics.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.exposition import COUNTER, GAUGE, Family, single

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ec2ident_agent.engine import Report
    from ec2ident_agent.items import Item


class OwnerStanding(Value):
    """One owner: how many items it should have, how many of them differ, and how many repairs of those wait."""

    owner: str
    items: int = 0
    drift: int = 0
    given_up: int = 0
    refused: bool = False
    unknown: bool = False
    absent: bool = False


class LookCount(Value):
    """The looks of one process: how many there were, and when the last complete one ended and how long it took."""

    looks: int = 0
    #: Seconds since 1970; None before the first complete look.
    at: float | None = None
    seconds: float = 0.0
    complete: bool = False
    configuration_valid: bool = True


def standings(report: Report, missing: Collection[Item], left: Collection[Item]) -> tuple[OwnerStanding, ...]:
    """Every owner, by the report of a look, what is missing after it, and the items that it left alone."""
    refused = {refusal.owner for refusal in report.refusals if refusal.owner}
    unknown, absent = {each.owner for each in report.unknown}, {*report.absent}
    items: dict[object, dict[Item, None]] = {owner: {} for owner in (*refused, *unknown, *absent)}
    for each in report.desired:
        items.setdefault(each.owner, {}).update(dict.fromkeys(each.items))
    found = []
    for owner, mine in items.items():
        differing = [item for item in mine if item in missing]
        waiting = sum(item in left for item in differing)
        states = (owner in refused, owner in unknown, owner in absent)
        found.append(OwnerStanding(str(owner), len(mine), len(differing), waiting, *states))
    return tuple(sorted(found, key=lambda each: each.owner))


def families(
    version: str, count: LookCount, owners: Sequence[OwnerStanding] | None, repairs: Mapping[str, int]
) -> tuple[Family, ...]:
    """All metrics of watch. `owners` is None after a look that could not be completed: then nothing is said of them."""
    known = owners or ()

    def gauge(name: str, text: str, value: Callable[[OwnerStanding], float], some: Sequence[OwnerStanding]) -> Family:
        samples = tuple(({"owner": each.owner}, float(value(each))) for each in some)
        return Family(f"ec2ident_agent_{name}", GAUGE, text, samples)

    told = [each for each in known if each.items]
    when = (
        (single("ec2ident_agent_last_look_timestamp_seconds", GAUGE, "When the last complete look ended.", count.at),)
        if count.at is not None
        else ()
    )
    return (
        Family("ec2ident_agent_info", GAUGE, "The version that watches.", (({"version": version}, 1.0),)),
        single("ec2ident_agent_looks_total", COUNTER, "Looks at the node since watch started.", count.looks),
        *when,
        single("ec2ident_agent_last_look_duration_seconds", GAUGE, "How long the last look took.", count.seconds),
        single("ec2ident_agent_last_look_complete", GAUGE, "1 if the last look could be completed.", count.complete),
        single(
            "ec2ident_agent_configuration_valid",
            GAUGE,
            "0 while the configuration file is wrong or gone, and the last one that was right is in force.",
            count.configuration_valid,
        ),
        gauge("items", "Rules, routes, addresses and table names that the owner should have.", lambda e: e.items, told),
        gauge("drift_items", "Items that differ after the last look.", lambda e: e.drift, told),
        gauge(
            "given_up_items",
            "Items that differ and that watch leaves alone for now: they are deleted again and again, or refused.",
            lambda e: e.given_up,
            told,
        ),
        gauge(
            "refused", "1 if nothing of the owner is changed, or a part of it is refused.", lambda e: e.refused, known
        ),
        gauge("unknown", "1 if a fact of the owner is unknown.", lambda e: e.unknown, known),
        gauge("absent", "1 if the interface of the owner is not on the node.", lambda e: e.absent, known),
        Family(
            "ec2ident_agent_repairs_total",
            COUNTER,
            "Items that were lost and that watch added again.",
            tuple(({"owner": owner}, float(number)) for owner, number in sorted(repairs.items())),
        ),
    )
