"""A name in a private hosted zone: compare, UPSERT, wait until every name server has it, let a resolver confirm."""

from __future__ import annotations

from functools import partial

from ec2ident.value import Value, replace
from ec2ident_agent.failover.aws import actions, forms
from ec2ident_agent.failover.aws.deadline import both, each
from ec2ident_agent.failover.aws.model import RecordSet
from ec2ident_agent.failover.aws.response import name as normal
from ec2ident_agent.failover.errors import ApiError, ApiUnknownError, FailoverError, OutOfTimeError, UsageError

from .carrier import carrier
from .part import Finding, Planned, Release, warnings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import Change, HostedZone, NetworkInterface
    from ec2ident_agent.failover.session import Session
    from ec2ident_agent.failover.settings import DnsSettings

    from .part import PartSight

#: Seconds between two looks at a change. A change takes 20 to 60 seconds, and the account has 5 calls a second.
LOOK_EVERY = 2.0


class DnsDifference(Value):
    """What one name and type should say, and what the zone says."""

    wanted: RecordSet
    found: RecordSet | None

    def __bool__(self) -> bool:
        """Whether there is anything to change."""
        return self.found is None or (self.found.ttl, sorted(self.found.values)) != (
            self.wanted.ttl,
            sorted(self.wanted.values),
        )

    def __str__(self) -> str:
        return f"{self.wanted.name} {self.wanted.type}: {_says(self.found)} (wanted {_says(self.wanted)})"


def _says(records: RecordSet | None) -> str:
    return f"{' '.join(sorted(records.values))} ttl {records.ttl}" if records else "no record"


def wanted(name: str, values: Sequence[str], ttl: int) -> tuple[RecordSet, ...]:
    """The record sets: A for the IPv4 addresses and AAAA for the IPv6 ones. Raises UsageError. Pure."""
    from ec2ident_agent.failover.dns.resolver import question

    question(normal(name), "A", 0)
    try:
        addresses = tuple(dict.fromkeys(map(forms.single, values)))
    except FailoverError as error:
        raise UsageError(f"record {name}: {error}") from None
    if not addresses:
        raise UsageError(f"record {name}: no address for it")
    if not 0 <= ttl <= 2**31 - 1:
        raise UsageError(f"record {name}: ttl {ttl} is not from 0 to 2147483647")
    split = {kind: tuple(each for each in addresses if (":" in each) == (kind == "AAAA")) for kind in ("A", "AAAA")}
    return tuple(RecordSet(normal(name), kind, ttl, found) for kind, found in split.items() if found)


def check_zone(zone: HostedZone, name: str, *, vpc: str = "", public: bool = False) -> None:
    """Raises UsageError for the wrong zone: public (unless that is wanted), of another domain or VPC. Pure."""
    if not (zone.private or public):
        said = "is public: a private address would be shown to the world"
        raise UsageError(f"zone: {zone.id} ({zone.name}) {said} (if that is wanted: public)")
    if not (normal(name) == zone.name or normal(name).endswith(f".{zone.name}")):
        raise UsageError(f"zone: {zone.id} is {zone.name} (the record is {normal(name)})")
    if vpc and vpc not in {each for each, _ in zone.vpcs}:
        said = ", ".join(each for each, _ in zone.vpcs) or "none"
        raise UsageError(f"zone: {zone.id} is associated with {said} (not with {vpc})")


def compare(api: Api, zone: str, records: Sequence[RecordSet]) -> tuple[DnsDifference, ...]:
    """Read what the zone says of each wanted record set.

    Raises UsageError for a record that an UPSERT would destroy: an alias, one with a routing policy, a CNAME.
    """

    def one(wanted: RecordSet) -> DnsDifference:
        # The list starts at the next name where this one does not exist.
        listed: tuple[RecordSet, ...] = api.call(actions.list_records(zone, wanted.name, wanted.type))
        same = [found for found in listed if (found.name, found.type) == (wanted.name, wanted.type)]
        for found in same:
            if found.special:
                said = f"has more than values ({found.special}); it must not be replaced"
                raise UsageError(f"record {wanted.name} {wanted.type}: {said}")
        for found in listed:
            if (found.name, found.type) == (wanted.name, "CNAME"):
                said = f"is a CNAME of {' '.join(found.values)}; it must not be replaced"
                raise UsageError(f"record {wanted.name}: {said}")
        return DnsDifference(wanted, same[0] if same else None)

    return tuple(each(one, records))


def zone_id(api: Api, zone: str, *, vpc: str = "", public: bool = False) -> str:
    """The id of a zone that is given by its id, or by its name with a final dot.

    Of several zones of that name it is the one that is associated with `vpc`. Raises UsageError for none or several.
    """
    if not zone.endswith("."):
        return zone
    listed: tuple[HostedZone, ...] = api.call(actions.zones_by_name(normal(zone)))
    same = [found for found in listed if found.name == normal(zone) and found.private != public]
    if len(same) > 1 and vpc:
        every: list[HostedZone] = each(lambda one: api.call(actions.get_zone(one.id)), same)
        same = [found for found in every if vpc in {associated for associated, _ in found.vpcs}] or same
    if len(same) != 1:
        said = f"{len(same)} {'public' if public else 'private'} zones have the name {normal(zone)}"
        raise UsageError(f"zone: {said}: {', '.join(found.id for found in same) or 'none'}; name it by its id")
    return same[0].id


class DnsSight(Value):
    """What one look showed."""

    zone: str
    differences: tuple[DnsDifference, ...]
    warnings: tuple[str, ...] = ()
    interface: NetworkInterface | None = None


def look(
    api: Api, zone: str, records: Sequence[RecordSet], *, vpc: str = "", own: str = "", public: bool = False
) -> DnsSight:
    """Check the zone and compare the records, at the same time.

    The zone must be associated with `vpc`. Without that, a zone that is not associated with the node's VPC `own` is a
    warning: the rules of a resolver may still lead to it.
    """

    def checked() -> tuple[str, ...]:
        found: HostedZone = api.call(actions.get_zone(zone))
        check_zone(found, records[0].name, vpc=vpc, public=public)
        vpcs = [associated for associated, _ in found.vpcs]
        if not own or vpc or own in vpcs or not found.private:
            return ()
        return (f"zone: {zone} is associated with {', '.join(vpcs) or 'none'}, not with this node's {own}",)

    warnings, differences = both(checked, lambda: compare(api, zone, records))
    return DnsSight(zone, differences, warnings)


def plan(zone: str, differences: Sequence[DnsDifference]) -> tuple[ApiCall, ...]:
    """One batch with all records, if any of them differs. Pure."""
    return (batch(zone, differences),) if any(differences) else ()


def batch(zone: str, differences: Sequence[DnsDifference]) -> ApiCall:
    """The call that writes all records, also those that do not differ: the list may be old. Pure."""
    return actions.change_records(zone, "UPSERT", [difference.wanted for difference in differences])


def undo(zone: str, differences: Sequence[DnsDifference]) -> tuple[ApiCall, ...]:
    """The calls that restore what was found. Pure."""
    changed = [difference for difference in differences if difference]
    before = [difference.found for difference in changed if difference.found]
    new = [difference.wanted for difference in changed if not difference.found]
    found = [actions.change_records(zone, "UPSERT", before)] if before else []
    return (*found, *([actions.change_records(zone, "DELETE", new)] if new else []))


def upsert(api: Api, zone: str, differences: Sequence[DnsDifference]) -> Change:
    """Write the batch. The change is usually not INSYNC yet."""
    change: Change = api.call(batch(zone, differences))
    return change


def wait(api: Api, change: Change, *, every: float = LOOK_EVERY, first: float | None = None) -> Change:
    """Wait until every name server has it: look after `first` seconds, then after `every`.

    Raises OutOfTimeError with the id of the change, which itself goes on.
    """
    pause = every if first is None else first
    while change.status != "INSYNC":
        try:
            api.deadline.pause(pause, "")
            pause = every
            change = api.call(actions.get_change(change.id))
        except OutOfTimeError:
            # The pause or the call: either way the user needs the id of the change.
            raise OutOfTimeError(
                f"change {change.id}: still {change.status}: not within {api.deadline.seconds:g} s; "
                f"it goes on: aws route53 get-change --id {change.id}"
            ) from None
    return change


def confirm(
    api: Api, server: str, records: Sequence[RecordSet], number: Callable[[], int], *, once: bool = False
) -> tuple[DnsDifference, ...]:
    """Compare what a resolver says: `once`, or else until it agrees or the deadline passes.

    A cache keeps the old answer for its TTL. `number` makes the ids of the queries.
    """
    from ec2ident_agent.failover.dns.resolver import ask

    while True:
        found = []
        for wanted in records:
            code, answers = ask(server, wanted.name, wanted.type, api.deadline, number())
            if code == "SERVFAIL" and not once and api.deadline.left >= LOOK_EVERY:
                # The zone's name servers may not have answered the resolver.
                found.append(DnsDifference(wanted, None))
                continue
            if code not in ("NOERROR", "NXDOMAIN"):
                raise ApiUnknownError(f"resolver {server}: {code} for {wanted.name} {wanted.type}")
            # The resolver counts the TTL down, so it is not compared.
            values = tuple(address for address, _ in answers)
            found.append(DnsDifference(wanted, replace(wanted, values=values) if values else None))
        if once or not any(found) or api.deadline.left < LOOK_EVERY:
            return tuple(found)
        api.deadline.pause(LOOK_EVERY / 2, f"resolver {server}")


# The part


class RecordOutcome(Value):
    """The result for one name and type: `verb` is upserted or right."""

    verb: str
    wanted: RecordSet
    found: RecordSet | None

    def __str__(self) -> str:
        return f"{self.verb}: {self.wanted}"


class DnsPart(Value):
    """A name in a private hosted zone. Without `values` it points to the ENI of the service, or of the node."""

    settings: DnsSettings
    values: tuple[str, ...] = ()

    name = "dns"

    def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> DnsSight:
        """Check the zone, and compare the records."""
        own = self._own(session, earlier)
        wanted, vpc = self._wanted(own), own.vpc if own else ""
        zone, public = self._zone(session, vpc), self.settings.public
        return look(session.api_for(self.settings), zone, wanted, vpc=self.settings.vpc, own=vpc, public=public)

    def _zone(self, session: Session, own: str = "") -> str:
        found = self.settings
        return zone_id(session.api_for(self.settings), found.zone, vpc=found.vpc or own, public=found.public)

    def _own(self, session: Session, earlier: Sequence[PartSight]) -> NetworkInterface | None:
        """The ENI that gives the default address; read only if it is needed and no earlier part has seen it."""
        seen = next((sight.interface for sight in earlier if sight.interface), None)
        return seen if seen or self.values else carrier(session.api(), "", session.instance)[0]

    def _wanted(self, own: NetworkInterface | None) -> tuple[RecordSet, ...]:
        return wanted(
            self.settings.name, self.values or ((own.addresses or own.ipv6)[:1] if own else ()), self.settings.ttl
        )

    def decide(self, sight: DnsSight, expect: str = "") -> DnsSight:
        """A record has no owner, so `expect` does not apply."""
        return sight

    def plan(self, decision: DnsSight) -> tuple[Planned, ...]:
        """The batch, and the waiting."""
        found = [Planned(str(call)) for call in plan(decision.zone, decision.differences)]
        if not found:
            again = batch(decision.zone, decision.differences)
            return (Planned(str(again), "written again, as the look may be old:"),)
        if self.settings.wait:
            found.append(Planned(str(actions.get_change("CHANGE")), "until it is INSYNC:"))
        return tuple(found)

    def run(self, session: Session, decision: DnsSight) -> Iterator[Finding]:
        """Write the records, wait for what differed, and let the resolver confirm."""
        api = session.api_for(self.settings)
        for difference in filter(None, decision.differences):
            key = ("record", decision.zone, difference.wanted.name, difference.wanted.type)
            session.remember(key, (*_fields(difference.wanted), *_fields(difference.found)))
        change = upsert(api, decision.zone, decision.differences)
        for difference in decision.differences:
            verb = "upserted" if difference else "right"
            done = RecordOutcome(verb, difference.wanted, difference.found)
            yield Finding(str(done), done)
        yield Finding(f"change {change.id}: {change.status}")
        if any(decision.differences) and self.settings.wait and change.status != "INSYNC":
            yield Finding(f"change {change.id}: {wait(api, change).status}")
        yield from self._resolved(api, [difference.wanted for difference in decision.differences])

    def _resolved(self, api: Api, wanted: Sequence[RecordSet], *, once: bool = False) -> Iterator[Finding]:
        if not self.settings.resolver:
            return
        import random

        random_ = random.SystemRandom()
        for seen in confirm(api, self.settings.resolver, wanted, lambda: random_.randrange(65536), once=once):
            yield Finding(f"resolver {self.settings.resolver}: {seen}", exit=int(bool(seen)))

    def undo(self, decision: DnsSight, findings: Sequence[Finding]) -> tuple[str, ...]:
        """The calls that restore the records."""
        written = any(isinstance(each.value, RecordOutcome) for each in findings)
        return tuple(map(str, undo(decision.zone, decision.differences))) if written else ()

    def verify(self, session: Session) -> Iterator[Finding]:
        """Compare the records, and ask the resolver once; with `session.advise` also check the zone."""
        if session.advise:
            sight = self.look(session)
        else:
            own = self._own(session, ())
            zone = self._zone(session, own.vpc if own else "")
            sight = DnsSight(zone, compare(session.api_for(self.settings), zone, self._wanted(own)))
        yield from warnings_of(sight.warnings)
        for difference in sight.differences:
            yield Finding(str(difference), difference, int(bool(difference)))
        yield from self._resolved(
            session.api_for(self.settings), [difference.wanted for difference in sight.differences], once=True
        )

    def release(self, session: Session) -> Iterator[Release]:
        """Put each record back that a move of this service changed, if it still says what that move wrote."""
        for (zone, name, kind), found in session.memory.all("record"):
            old, new = _record(name, kind, found[:2]), _record(name, kind, found[2:])
            if old:
                call = actions.exchange_records(zone, old, new)
                yield Release(
                    (str(call),), partial(_put_back, session, session.api_for(self.settings), call, (zone, name, kind))
                )


def _fields(records: RecordSet | None) -> tuple[str, str]:
    return (str(records.ttl), " ".join(records.values)) if records else ("", "")


def _record(name: str, kind: str, fields: Sequence[str]) -> RecordSet | None:
    """The inverse of `_fields`."""
    return RecordSet(name, kind, int(fields[0]), tuple(fields[1].split())) if fields[0].isdigit() else None


def _put_back(session: Session, api: Api, call: ApiCall, key: tuple[str, str, str]) -> Iterator[Finding]:
    try:
        change: Change = api.call(call)
        yield Finding(f"{key[1]} {key[2]}: as before; change {change.id}: {change.status}", change)
    except ApiError as error:
        # InvalidInput is what older endpoints answer for the same.
        if error.code not in ("InvalidChangeBatch", "InvalidInput", "NoSuchHostedZone"):
            raise
        yield Finding(f"{key[1]} {key[2]}: changed since by another program, and left as it is")
    session.memory.forget("record", *key)
