"""An overlay route in all of its route tables, to one ENI: look once, decide, write in parallel, read back.

`decide` is pure. EC2 has no compare-and-swap: `expect` is checked against the first Describe, and reading back shows
who owns the route in the end. A Describe may be old (see `consistency`), so a route that is right is written again too.
"""

from __future__ import annotations

from ec2ident.value import Value, replace
from ec2ident_agent.failover.aws import actions, consistency
from ec2ident_agent.failover.aws.deadline import both, each, each_ended, together
from ec2ident_agent.failover.aws.model import RouteTable
from ec2ident_agent.failover.errors import (
    ApiError,
    ErrorKind,
    FailoverError,
    MoveRefusedError,
    UsageError,
    may_be_done,
)
from ec2ident_agent.failover.selectors import TableSelector

from . import source_dest_check
from .carrier import carrier, target_of
from .part import Finding, Planned, Release, is_owned, warnings_of
from .readback import Shown, Written, read_back
from .route_tables import describe, holders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.deadline import Ended
    from ec2ident_agent.failover.aws.model import NetworkInterface, VpcRoute
    from ec2ident_agent.failover.session import Device, Session
    from ec2ident_agent.failover.settings import RouteSettings

    from .part import PartSight
    from .readback import Confirmation

#: The verbs of an outcome after which a table is read back.
WRITTEN = ("created", "replaced", "right", "deleted")


#: The states in which a route carries no traffic; one that is not known is not one of them.
DEAD = ("blackhole", "filtered")


class RouteMove(Value):
    """What to do in one table: create, replace, keep or delete; `before` is the route as the first look showed it.

    A route to keep is written again, because the look may be old.
    """

    table: RouteTable
    destination: str
    verb: str
    eni: str = ""
    before: VpcRoute | None = None
    #: The only owner that it may be taken from; "" for any.
    expect: str = ""
    #: Whether a look has shown the table.
    seen: bool = True

    def call(self) -> ApiCall | None:
        """The API call; None for a route that is absent, and may be deleted only from the owner `expect`."""
        table, owner = self.table.id, self.table.owner
        if self.verb == "create":
            return actions.create_route(table, owner, self.destination, self.eni)
        if self.eni:
            return actions.replace_route(table, owner, self.destination, self.eni)
        if self.verb == "keep" and self.expect:
            return None
        return actions.delete_route(table, owner, self.destination)

    @property
    def changes(self) -> bool:
        """Whether the first look showed anything to change."""
        return self.verb != "keep"


class RouteOutcome(Value):
    """The result in one table.

    `verb` is created, replaced, right, deleted, gone already, absent, other, missing (no such table), foreign (a table
    of another VPC than the ENI's) or failed.
    """

    table: str
    destination: str
    verb: str
    before: str = ""
    now: str = ""
    error: FailoverError | None = None
    #: Whether the last look showed the route to the wanted ENI, whatever became of the call.
    here: bool = False

    @property
    def unusable(self) -> bool:
        """Whether no route of this table can ever point to the ENI: the settings are wrong, and not the move."""
        return self.verb in ("missing", "foreign")

    @property
    def exit(self) -> int:
        """0, 1 for a route that is absent or points elsewhere, else the exit code of the error."""
        return self.error.exit if self.error else int(self.verb in ("other", "absent"))

    def __str__(self) -> str:
        was = f", was {self.before}" if self.before and self.verb != "right" else ""
        tail = f": {self.error}" if self.error else f" -> {self.now}{was}" if self.now else was
        return " ".join(filter(None, (self.table, self.destination, self.verb))) + tail


class RouteSight(Value):
    """What one look showed: the tables, the ENI that is to carry the traffic, and the table ids that do not exist."""

    tables: tuple[RouteTable, ...]
    interface: NetworkInterface
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    #: For the messages.
    region: str = "this region"

    @property
    def usable(self) -> tuple[RouteTable, ...]:
        """The tables of the ENI's VPC: EC2 refuses a route to an ENI of another VPC."""
        return tuple(table for table in self.tables if table.vpc == self.interface.vpc)

    @property
    def unusable(self) -> tuple[RouteOutcome, ...]:
        """An outcome with an error for each table that is missing, or of another VPC."""
        foreign = [_foreign(table, self.interface) for table in self.tables if table not in self.usable]
        return (*foreign, *(_missing(table, self.region) for table in self.missing))


# Looking


def look(
    api: Api,
    select: TableSelector,
    destinations: Sequence[str],
    *,
    eni: str = "",
    instance: str = "",
    device: Device | None = None,
    others: bool = True,
    own: Api | None = None,
) -> RouteSight:
    """Read the tables and the ENI at the same time; with `others` also which other tables hold the routes.

    The ENI is `eni`, or else the one of `instance` that `device` is, or else its first one. Raises UsageError for what
    does not exist, and the errors of a call. `own` reads the ENI, by default `api` too: with the tables of a shared VPC
    in another account, it is the node's own.
    """

    def needed() -> tuple[tuple[RouteTable, ...], tuple[NetworkInterface, tuple[str, ...]]]:
        return both(lambda: describe(api, select), lambda: carrier(own or api, eni, instance, device))

    elsewhere = destinations if others and not select.vpc else ()

    def holding_too() -> tuple[list[tuple[RouteTable, ...]], tuple[str, ...]]:
        # A look that serves warnings only must not prevent the move.
        try:
            return each(lambda one: holders(api, one), elsewhere), ()
        except FailoverError as error:
            return [], (f"other tables with the route: cannot tell: {error}",)

    (tables, (interface, guessed)), (holding, unsure) = both(needed, holding_too)
    ids, vpcs = {table.id for table in tables}, {table.vpc for table in tables}
    extra = {
        f"{table.id}: also holds {destination} -> {route.holder}"
        for destination, found in zip(elsewhere, holding)
        for table in found
        for route in [table.route(destination)]
        if route and table.vpc in vpcs and table.id not in ids
    }
    missing = tuple(table for table in select.tables if table not in ids)
    warnings = (*guessed, *sorted(extra), *unsure, *_warnings(tables, interface, destinations))
    return RouteSight(tables, interface, missing, warnings, api.access.region)


def _warnings(tables: Sequence[RouteTable], eni: NetworkInterface, destinations: Sequence[str]) -> tuple[str, ...]:
    """What does not prevent the move, but will not work. Pure."""
    import ipaddress

    found = [] if eni.holder else [f"{eni.id}: is not attached to an instance: the route is a black hole"]
    for table in tables:
        blocks = [ipaddress.ip_network(local) for local in table.local]
        for text in destinations:
            route, wanted = table.route(text), ipaddress.ip_network(text)
            if route and route.state == "blackhole":
                found.append(f"{table.id}: {text} -> {route.holder} is a black hole")
            for local in blocks:
                if wanted.version == local.version and wanted.subnet_of(local):  # type: ignore[arg-type]
                    found.append(f"{table.id}: {text} lies inside the VPC's {local}: not an overlay address")
    return tuple(dict.fromkeys(found))


# Deciding


def decide(sight: RouteSight, destinations: Sequence[str], *, expect: str = "") -> tuple[RouteMove, ...]:
    """What to do in each usable table. Pure.

    Raises MoveRefusedError if any route has an owner other than `expect` and us, and UsageError for an unusable table
    if this is the first move, one without a route in any table. Where a route is already, the service runs: then
    refusing would make one wrong id an outage, so the move continues with the other tables.
    """
    eni = sight.interface.id
    moves = _guarded(_move(table, one, eni, expect) for table in sight.usable for one in destinations)
    if not any(move.before for move in moves):
        _require_usable(sight)
    return moves if expect else (*moves, *_unseen(sight, destinations))


def _unseen(sight: RouteSight, destinations: Sequence[str]) -> tuple[RouteMove, ...]:
    """The moves in tables that the look did not show: it may be old, and only the answer to a write is not. Pure."""
    tables = [RouteTable(table, sight.interface.vpc, "") for table in sight.missing]
    return tuple(
        RouteMove(table, one, "replace", sight.interface.id, seen=False) for table in tables for one in destinations
    )


def _require_usable(sight: RouteSight) -> None:
    """Raise UsageError if a table is missing, or of another VPC. Pure."""
    if sight.unusable:
        raise UsageError(f"tables: {'; '.join(map(str, sight.unusable))}; nothing was changed")


def removals(tables: Sequence[RouteTable], destinations: Sequence[str], *, expect: str = "") -> tuple[RouteMove, ...]:
    """What delete has to do in each table. Raises the errors of `decide`. Pure."""
    found = [(table, one, table.route(one)) for table in tables for one in destinations]
    return _guarded(
        RouteMove(table, one, "delete" if before else "keep", "", before, expect) for table, one, before in found
    )


def _move(table: RouteTable, destination: str, eni: str, expect: str) -> RouteMove:
    before = table.route(destination)
    verb = "create" if before is None or before.propagated else "keep" if before.eni == eni else "replace"
    return RouteMove(table, destination, verb, eni, before, expect)


def _guarded(every: Iterable[RouteMove]) -> tuple[RouteMove, ...]:
    """The moves, unless one of them would take a route that must not be taken."""
    moves = tuple(every)
    taken = [(move, move.before) for move in moves if move.before and move.verb != "keep"]
    for move, before in taken:
        if before.other == "local":
            raise UsageError(f"overlay: {move.destination} is the VPC's own block in {move.table.id}")
    strangers = [
        f"{move.table.id} {move.destination} -> {before.holder} (expected {move.expect})"
        for move, before in taken
        if move.expect and not is_owned(before, move.expect)
    ]
    if strangers:
        raise MoveRefusedError(f"owner: {', '.join(strangers)}; nothing was changed")
    return moves


# Doing


def ensure(
    api: Api, sight: RouteSight, moves: Sequence[RouteMove], *, check: bool = True, own: Api | None = None
) -> tuple[tuple[RouteOutcome, ...], str]:
    """Write in parallel, then read back. Every table is attempted, and has an outcome.

    With `check` the source/destination check of the ENI is switched off if it is on: it drops all traffic to an
    address that is not the ENI's own; `own` does that, by default `api` too. The second value is the ENI of which it
    was switched off, or "".
    """
    eni, mine = sight.interface, own or api
    switch = [lambda: mine.call(actions.source_dest_check(eni.id, eni.owner, False))] if check and eni.check else []
    outcomes, switched = both(lambda: _written(api, moves), lambda: together(switch))
    outcomes = _confirmed(api, moves, outcomes)
    gone = {move.table.id for move, outcome in zip(moves, outcomes) if not move.seen and _refused(outcome.error)}
    outcomes = [outcome for outcome in outcomes if outcome.table not in gone]
    told = {outcome.table for outcome in outcomes}
    outcomes += [each for each in sight.unusable if each.table not in told]
    failed = [ended for ended in switched if isinstance(ended, BaseException)]
    for error in failed:
        outcomes.append(RouteOutcome(eni.id, "source/destination check", "failed", "on", "on", _translate(error)))
    return tuple(outcomes), eni.id if switched and not failed else ""


def delete(
    api: Api, select: TableSelector, destinations: Sequence[str], *, expect: str = ""
) -> tuple[RouteOutcome, ...]:
    """Delete the route from every table, and read back. With `expect`, only from that owner."""
    tables = describe(api, select)
    moves = removals(tables, destinations, expect=expect)
    outcomes = _confirmed(api, moves, _written(api, moves))
    missing = [one for one in select.tables if one not in {table.id for table in tables}]
    return (*outcomes, *(_missing(one, api.access.region) for one in missing))


def _written(api: Api, moves: Sequence[RouteMove]) -> list[RouteOutcome]:
    """Write everything at the same time."""
    doing = [move for move in moves if move.call()]
    ended = dict(zip(doing, each_ended(lambda move: _write(api, move), doing)))
    return [_outcome(move, ended.get(move)) for move in moves]


def _write(api: Api, move: RouteMove) -> str:
    """Write one table; returns the verb of the outcome."""
    if move.eni:
        return _point(api, move)
    call = move.call()
    assert call
    try:
        api.call(call)
    except ApiError as error:
        if error.code == "InvalidRoute.NotFound":
            return "gone already"
        raise
    return "deleted"


def _point(api: Api, move: RouteMove) -> str:
    """Point the route to the ENI. While other movers create and delete it, create becomes replace and back."""
    table, owner, creating = move.table.id, move.table.owner, move.verb == "create"
    turns = 4
    while True:
        write = actions.create_route if creating else actions.replace_route
        turns -= 1
        try:
            api.call(replace(write(table, owner, move.destination, move.eni), seen=move.seen))
        except ApiError as error:
            there = creating and error.code == "RouteAlreadyExists"
            absent = not creating and _no_route(error)
            if not turns or not (there or absent):
                raise
            if there and move.expect and _owned_by_us(api, move):
                return "created"
            creating = absent
        else:
            return "created" if creating else "right" if move.verb == "keep" else "replaced"


def _no_route(error: ApiError) -> bool:
    """Whether a replace was refused because the table has no such route ("Error codes", EC2 API Reference)."""
    said = error.code == "InvalidParameterValue" and "no route defined" in error.message
    return said or error.code == "InvalidRoute.NotFound"


def _owned_by_us(api: Api, move: RouteMove) -> bool:
    """Whether the route that exists points to our ENI: another mover created it, or our own call without an answer did.

    If not, the expected owner has it. Raises MoveRefusedError for another owner, once a look that is not older than
    the call shows it.
    """
    select, began = TableSelector((move.table.id,)), api.deadline.used
    while True:
        looked = api.deadline.used
        now = next((table.route(move.destination) for table in describe(api, select)), None)
        if now and now.eni == move.eni:
            return True
        if now and is_owned(now, move.expect):
            return False
        holder = now.holder if now else "an unknown owner"
        said = f"another mover was quicker: it is {holder}'s (expected {move.expect})"
        if looked - began >= consistency.SETTLED:
            raise MoveRefusedError(said)
        api.deadline.pause(consistency.LONGEST_LOOK / 2, said)


def _outcome(move: RouteMove, ended: Ended[str] | None) -> RouteOutcome:
    table, destination, before = move.table.id, move.destination, move.before.holder if move.before else ""
    if ended is None:
        return RouteOutcome(table, destination, "gone already", before)
    if isinstance(ended, BaseException):
        ours = bool(move.eni and move.before and move.before.eni == move.eni)
        return RouteOutcome(table, destination, "failed", before, before, _translate(ended), ours)
    return RouteOutcome(table, destination, ended, before, move.eni, here=bool(move.eni))


def _translate(error: BaseException) -> FailoverError:
    if isinstance(error, FailoverError):
        return error
    raise error


def _refused(error: FailoverError | None) -> bool:
    """Whether the service does not know a table, or does not let it be written."""
    return isinstance(error, ApiError) and error.kind in (ErrorKind.CONFIGURATION, ErrorKind.DENIED)


def _missing(table: str, region: str) -> RouteOutcome:
    error = UsageError(f"no such route table in {region} (is it in another region or account?)")
    return RouteOutcome(table, "", "missing", error=error)


def _foreign(table: RouteTable, eni: NetworkInterface) -> RouteOutcome:
    error = UsageError(f"is a table of {table.vpc}, and {eni.id} is in {eni.vpc}: no route of it can point there")
    return RouteOutcome(table.id, "", "foreign", error=error)


def tables_of(moves: Sequence[RouteMove]) -> TableSelector:
    """The tables that are read back. Pure."""
    return TableSelector(tables=tuple(sorted({move.table.id for move in moves})))


def _confirmed(api: Api, moves: Sequence[RouteMove], outcomes: Sequence[RouteOutcome]) -> list[RouteOutcome]:
    """Read back what was written; see `read_back`."""
    if all(outcome.verb == "gone already" for outcome in outcomes):
        return [*outcomes]
    here: set[int] = set()

    def look() -> dict[int, Shown]:
        tables = {table.id: table for table in describe(api, tables_of(moves))}
        known = [(number, move) for number, move in enumerate(moves) if move.table.id in tables]
        found = {number: _seen(tables[move.table.id].route(move.destination)) for number, move in known}
        here.update(number for number, move in known if move.eni and found[number].owner == move.eni)
        return found

    written = {
        number: Written(move.eni, (_seen(move.before).owner,))
        for number, (move, outcome) in enumerate(zip(moves, outcomes))
        if outcome.verb in WRITTEN
    }
    confirmed = read_back(api.deadline, written, look)
    return [_read(each, confirmed.get(number), number in here) for number, each in enumerate(outcomes)]


def _seen(route: VpcRoute | None) -> Shown:
    return Shown(route.eni or route.other, route.holder) if route else Shown("")


def _read(outcome: RouteOutcome, found: Confirmation | None, here: bool) -> RouteOutcome:
    if found is None:
        # A refused call changes nothing, but the route may point here all the same.
        return replace(outcome, here=outcome.here or here)
    if isinstance(found.error, MoveRefusedError):
        return replace(outcome, verb="failed", now=found.now, error=found.error, here=False)
    return replace(outcome, error=found.error) if found.error else outcome


def undo(moves: Sequence[RouteMove], outcomes: Sequence[RouteOutcome]) -> tuple[ApiCall, ...]:
    """The calls that restore the previous state, if that was an ENI, or the absence of a route. Pure."""
    found = []
    for move, outcome in zip(moves, outcomes):
        table, before = move.table, move.before
        if not move.seen:
            # What was there before is not known.
            continue
        if outcome.verb == "created" or (outcome.verb == "replaced" and before is None):
            found.append(actions.delete_route(table.id, table.owner, move.destination))
        elif outcome.verb == "replaced" and before and before.eni:
            found.append(actions.replace_route(table.id, table.owner, move.destination, before.eni))
    return tuple(found)


def show(sight: RouteSight, destinations: Sequence[str]) -> tuple[RouteOutcome, ...]:
    """Where the route points in each table, and whether that is the ENI. Pure."""
    outcomes = []
    for table in sight.usable:
        for one in destinations:
            route = table.route(one)
            verb = "absent" if route is None else "right" if route.eni == sight.interface.id else "other"
            verb = "other" if verb == "right" and route and route.state in DEAD else verb
            outcomes.append(RouteOutcome(table.id, one, verb, "", f"{route.holder} ({route.state})" if route else ""))
    return (*outcomes, *sight.unusable)


# The part


class RouteDecision(Value):
    """What a look showed, and what is to be done about it."""

    sight: RouteSight
    moves: tuple[RouteMove, ...]


class RoutePart(Value):
    """The route to overlay addresses, in all of its tables."""

    settings: RouteSettings
    destinations: tuple[str, ...]
    #: The device that holds the addresses; "" if the agent's configuration says which.
    device: str = ""

    name = "route"

    def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> RouteSight:
        """Read the tables and the ENI; with `session.advise` also the other tables that hold the routes."""
        found = look(
            session.api_for(self.settings),
            self.settings.select,
            self.destinations,
            **target_of(session, self.settings.eni, self.device, self.destinations, earlier),
            others=session.advise,
            own=session.api(),
        )
        return replace(found, interface=source_dest_check.seen(session, found.interface))

    def decide(self, sight: RouteSight, expect: str = "") -> RouteDecision:
        """See `decide` of this module."""
        return RouteDecision(sight, decide(sight, self.destinations, expect=expect))

    def plan(self, decision: RouteDecision) -> tuple[Planned, ...]:
        """The writes, and the reading back if a table is written. Raises UsageError for an unusable table.

        A plan is for a person who can correct the settings, so it does not go on with the other tables.
        """
        _require_usable(decision.sight)
        eni, calls = decision.sight.interface, [(move, move.call()) for move in decision.moves]
        checks = [actions.source_dest_check(eni.id, eni.owner, False)] if self.settings.check and eni.check else []
        found = [Planned(str(call)) for call in (*checks, *(call for move, call in calls if move.changes)) if call]
        said = "written again, as the look may be old:"
        found += [Planned(str(call), said) for move, call in calls if call and not move.changes]
        if any(call for _, call in calls):
            found.append(Planned(str(actions.describe_tables(tables_of(decision.moves).filters())), "read back:"))
        return tuple(found)

    def run(self, session: Session, decision: RouteDecision) -> Iterator[Finding]:
        """Write and read back; a Finding for each table."""
        if self.settings.check:
            source_dest_check.needed_off(session, decision.sight.interface)
        api, own = session.api_for(self.settings), session.api()
        outcomes, switched_off = ensure(api, decision.sight, decision.moves, check=self.settings.check, own=own)
        yield from findings(outcomes)
        if switched_off:
            yield Finding(f"{switched_off}: source/destination check switched off")

    def undo(self, decision: RouteDecision, findings: Sequence[Finding]) -> tuple[str, ...]:
        """The calls that restore the previous routes, and then the check unless a route may stay here."""
        outcomes = [each.value for each in findings if isinstance(each.value, RouteOutcome)]
        eni = decision.sight.interface
        switched = self.settings.check and eni.check and outcomes and all(each.table != eni.id for each in outcomes)
        stays = any(_may_stay(each) for each in outcomes)
        checks = [actions.source_dest_check(eni.id, eni.owner, True)] if switched and not stays else []
        return tuple(map(str, (*undo(decision.moves, outcomes), *checks)))

    def verify(self, session: Session) -> Iterator[Finding]:
        """Look, and compare the route in each table."""
        sight = self.look(session)
        yield from warnings_of(sight.warnings)
        yield source_dest_check.finding(sight.interface)
        yield from findings(show(sight, self.destinations))

    def release(self, session: Session) -> Iterator[Release]:
        """What `source_dest_check` says. The routes stay until they move."""
        return source_dest_check.release(session)


def _may_stay(outcome: RouteOutcome) -> bool:
    """Whether the route may point here after `undo`: without the check switched off no traffic would pass."""
    written = outcome.verb in ("created", "replaced")
    return not written and (outcome.here or (outcome.error is not None and may_be_done(outcome.error)))


def findings(outcomes: Iterable[RouteOutcome]) -> Iterator[Finding]:
    """A Finding for each outcome. Pure."""
    for outcome in outcomes:
        yield Finding(str(outcome), outcome, outcome.exit, outcome.error, outcome.unusable)
