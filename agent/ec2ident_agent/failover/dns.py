"""A name in a private hosted zone: compare, UPSERT, wait until every name server has it, ask a resolver to confirm."""

from __future__ import annotations

from ec2ident.value import Value

from .aws import actions
from .aws.deadline import all_of
from .aws.model import Records
from .aws.response import is_a, network
from .aws.response import name as normal
from .errors import FailoverError, OutOfTimeError, UnknownError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .aws.actions import Call
    from .aws.client import Api
    from .aws.model import Change, Zone

#: Seconds between two looks at a change. It takes some 20 to 60 seconds, and the account has few calls a second.
LOOK_EVERY = 2.0


class Difference(Value):
    """What a name should say, and what it says: of one type."""

    wanted: Records
    found: Records | None

    def __bool__(self) -> bool:
        """Is there anything to change?"""
        return self.found is None or (self.found.ttl, sorted(self.found.values)) != (
            self.wanted.ttl,
            sorted(self.wanted.values),
        )

    def __str__(self) -> str:
        return f"{self.wanted.name} {self.wanted.type}: {_says(self.found)} (wanted {_says(self.wanted)})"


def _says(records: Records | None) -> str:
    return f"{' '.join(sorted(records.values))} ttl {records.ttl}" if records else "no record"


def wanted(name: str, values: Sequence[str], ttl: int) -> tuple[Records, ...]:
    """The record sets, an A for the IPv4 addresses and an AAAA for the IPv6 ones. Raises UsageError."""
    from .resolver import question

    question(normal(name), "A", 0)
    try:
        addresses = tuple(dict.fromkeys(map(_single, values)))
    except FailoverError as error:
        raise UsageError(f"record {name}: {error}") from None
    if not addresses:
        raise UsageError(f"record {name}: no address for it")
    if not 0 <= ttl <= 2**31 - 1:
        raise UsageError(f"record {name}: ttl {ttl} is not from 0 to 2147483647")
    split = {kind: tuple(each for each in addresses if (":" in each) == (kind == "AAAA")) for kind in ("A", "AAAA")}
    return tuple(Records(normal(name), kind, ttl, found) for kind, found in split.items() if found)


def _single(text: str) -> str:
    """An address, or the one of a block that is no more than one."""
    host, _, length = network(text).partition("/")
    if length != ("128" if ":" in host else "32"):
        raise UsageError(f"{text} is a whole network; name its addresses")
    return host


def check_zone(zone: Zone, name: str, *, vpc: str = "") -> None:
    """Raises UsageError for a zone that is not ours: public, without the name, or of another VPC. Pure."""
    if not zone.private:
        raise UsageError(f"zone: {zone.id} ({zone.name}) is public: a private address would be shown to the world")
    if not (normal(name) == zone.name or normal(name).endswith(f".{zone.name}")):
        raise UsageError(f"zone: {zone.id} is {zone.name} (the record is {normal(name)})")
    if vpc and vpc not in {each for each, _ in zone.vpcs}:
        said = ", ".join(each for each, _ in zone.vpcs) or "none"
        raise UsageError(f"zone: {zone.id} is associated with {said} (not with {vpc})")


def zone_id(text: str) -> str:
    """`Z…` or `/hostedzone/Z…`. Raises UsageError."""
    found = text.replace("/hostedzone/", "")
    if not is_a("zone", found):
        raise UsageError(f"zone: {text!r} is no id of a hosted zone (Z…)")
    return found


def compare(api: Api, zone: str, records: Sequence[Records]) -> tuple[Difference, ...]:
    """What the zone says of each wanted record set. The list starts at the next one where there is none."""

    def one(each: Records) -> Difference:
        listed: tuple[Records, ...] = api.call(actions.list_records(zone, each.name, each.type))
        same = [found for found in listed if (found.name, found.type) == (each.name, each.type)]
        for found in same:
            if found.special:
                raise UsageError(
                    f"record {each.name} {each.type}: has more than values ({found.special}); not ours to replace"
                )
        for found in listed:
            if (found.name, found.type) == (each.name, "CNAME"):
                raise UsageError(f"record {each.name}: is a CNAME of {' '.join(found.values)}; not ours to replace")
        return Difference(each, same[0] if same else None)

    return tuple(all_of([lambda each=each: one(each) for each in records]))  # type: ignore[misc]


def look(api: Api, zone: str, records: Sequence[Records], *, vpc: str = "", own: str = "") -> tuple[Difference, ...]:
    """The zone is checked and the records are compared, at the same time.

    The zone must be associated with `vpc`. Without that, one that is not with our `own` is warned of: a resolver's
    rules may well lead to it.
    """

    def checked() -> None:
        found: Zone = api.call(actions.get_zone(zone))
        check_zone(found, records[0].name, vpc=vpc)
        vpcs = [each for each, _ in found.vpcs]
        if own and not vpc and own not in vpcs:
            api.log(f"warning: zone: {zone} is associated with {', '.join(vpcs) or 'none'}, not with this node's {own}")

    works: list[Callable[[], object]] = [checked, lambda: compare(api, zone, records)]
    found: tuple[Difference, ...] = all_of(works)[1]  # type: ignore[assignment]
    return found


def plan(zone: str, differences: Sequence[Difference]) -> tuple[Call, ...]:
    """One batch for all that differs. Pure."""
    changes = [difference.wanted for difference in differences if difference]
    return (actions.change_records(zone, "UPSERT", changes),) if changes else ()


def undo(zone: str, differences: Sequence[Difference]) -> tuple[Call, ...]:
    """The calls that put back what was found. Pure."""
    changed = [each for each in differences if each]
    before = [each.found for each in changed if each.found]
    new = [each.wanted for each in changed if not each.found]
    found = [actions.change_records(zone, "UPSERT", before)] if before else []
    return (*found, *([actions.change_records(zone, "DELETE", new)] if new else []))


def upsert(api: Api, zone: str, differences: Sequence[Difference]) -> Change | None:
    """Write what differs. None where nothing does; not yet INSYNC as a rule."""
    found: Change | None = None
    for call in plan(zone, differences):
        found = api.call(call)
    return found


def wait(api: Api, change: Change, *, every: float = LOOK_EVERY) -> Change:
    """Until every name server has it. Raises OutOfTimeError with the change's id: the change itself goes on."""
    while change.status != "INSYNC":
        try:
            api.deadline.pause(every, "")
            change = api.call(actions.get_change(change.id))
        except OutOfTimeError:
            # Whichever of the two it was: the change counts, not the question.
            raise OutOfTimeError(
                f"change {change.id}: still {change.status}: not within {api.deadline.seconds:g} s; "
                f"it goes on: aws route53 get-change --id {change.id}"
            ) from None
    return change


def confirm(
    api: Api, server: str, records: Sequence[Records], number: Callable[[], int], *, once: bool = False
) -> tuple[Difference, ...]:
    """What a resolver says: unless `once`, until that is what is wanted or the deadline comes.

    A cache keeps the old answer for its TTL.
    """
    from .resolver import ask

    while True:
        found = []
        for each in records:
            code, answers = ask(server, each.name, each.type, api.deadline, number())
            if code not in ("NOERROR", "NXDOMAIN"):
                raise UnknownError(f"resolver {server}: {code} for {each.name} {each.type}")
            # The resolver counts the TTL down, so it is not compared.
            values = tuple(address for address, _ in answers)
            found.append(Difference(each, Records(each.name, each.type, each.ttl, values) if values else None))
        if once or not any(found) or api.deadline.left < LOOK_EVERY:
            return tuple(found)
        api.deadline.pause(LOOK_EVERY / 2, f"resolver {server}")


def zone(api: Api, name: str, vpc: str, region: str, token: str) -> tuple[str, tuple[str, ...]]:
    """A private zone of this name for the VPC, which has both DNS attributes on. Returns its id, and what was done.

    What is right already is left alone. Raises UsageError where the name is several private zones, none of the VPC.
    """
    if not is_a("vpc", vpc):
        raise UsageError(f"VPC: {vpc!r} is no id of a VPC (vpc-…)")
    name = normal(name)
    listed: tuple[Zone, ...] = api.call(actions.zones_by_name(name))
    ids = [each.id for each in listed if each.name == name and each.private]
    same: list[Zone] = all_of([lambda each=each: api.call(actions.get_zone(each)) for each in ids])  # type: ignore[misc]
    # Two zones of one name are never of the same VPC.
    ours = [each for each in same if vpc in {known for known, _ in each.vpcs}]
    if len(same) > 1 and not ours:
        raise UsageError(f"zone: {name} is {len(same)} private zones, none of {vpc}: {', '.join(ids)}")
    said = [f"{vpc}: {attribute} switched on" for attribute in _attributes(api, vpc)]
    if ours:
        return ours[0].id, tuple(said)
    if not same:
        made: Zone = api.call(actions.create_zone(name, vpc, region, token))
        return made.id, (*said, f"{made.id}: created, associated with {vpc}")
    api.call(actions.associate_zone(same[0].id, vpc, region))
    return same[0].id, (*said, f"{same[0].id}: associated with {vpc}")


def _attributes(api: Api, vpc: str) -> list[str]:
    names = ("enableDnsSupport", "enableDnsHostnames")
    on = all_of([lambda each=each: api.call(actions.describe_vpc_attribute(vpc, each)) for each in names])  # type: ignore[misc]
    changed = [name for name, value in zip(names, on) if not value]
    # enableDnsHostnames needs enableDnsSupport, so one after the other.
    for each in changed:
        api.call(actions.modify_vpc(vpc, each))
    return changed


def server_of(text: str) -> str:
    """`ADDRESS[#PORT]` of a resolver. Raises UsageError."""
    from .aws.response import address

    host, mark, port = text.partition("#")
    try:
        good = address(host)
    except FailoverError as error:
        raise UsageError(f"resolver: {error}") from None
    if mark and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"resolver: {text!r} is not ADDRESS[#PORT]")
    return f"{good}#{port}" if port else good
