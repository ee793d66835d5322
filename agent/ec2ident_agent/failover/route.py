"""An overlay route in all of its route tables, to one ENI: look once, decide, write in parallel, read back.

`decide` is pure. EC2 has no compare-and-swap: `expect` is checked against the first Describe, and the second Describe
shows who owns the route in the end.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .aws import actions
from .aws.deadline import both, each, each_ended, together
from .aws.forms import NO_OWNER
from .errors import ApiError, ApiUnknownError, FailoverError, MoveRefusedError, UsageError
from .part import Finding, Planned
from .route_tables import describe, holders
from .selectors import TableSelector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .aws.actions import ApiCall
    from .aws.client import Api
    from .aws.deadline import Ended
    from .aws.model import NetworkInterface, RouteTable, VpcRoute
    from .part import PartSight
    from .session import Session
    from .settings import RouteSettings

#: The verbs of an outcome after which a table is read back.
WRITTEN = ("created", "replaced", "deleted")


class RouteMove(Value):
    """What to do in one table: create, replace, keep or delete; `before` is the route as it was."""

    table: RouteTable
    destination: str
    verb: str
    eni: str = ""
    before: VpcRoute | None = None
    #: The only owner that it may be taken from; "" for any.
    expect: str = ""

    def call(self) -> ApiCall | None:
        """The API call, None for keep."""
        table, owner = self.table.id, self.table.owner
        if self.verb == "create":
            return actions.create_route(table, owner, self.destination, self.eni)
        if self.verb == "replace":
            return actions.replace_route(table, owner, self.destination, self.eni)
        return actions.delete_route(table, owner, self.destination) if self.verb == "delete" else None


class RouteOutcome(Value):
    """The result in one table.

    `verb` is created, replaced, right, deleted, gone already, absent, other, missing or failed.
    """

    table: str
    destination: str
    verb: str
    before: str = ""
    now: str = ""
    error: FailoverError | None = None

    @property
    def exit(self) -> int:
        """0, 1 for a route that is absent or points elsewhere, else the exit code of the error."""
        return self.error.exit if self.error else int(self.verb in ("other", "absent"))

    def __str__(self) -> str:
        was = f", was {self.before}" if self.before and self.verb != "right" else ""
        tail = f": {self.error}" if self.error else f" -> {self.now}{was}" if self.now else was
        return " ".join(filter(None, (self.table, self.destination, self.verb))) + tail


class Result(Value):
    """The result of a whole verb."""

    outcomes: tuple[RouteOutcome, ...]
    #: The ENI of which the source/destination check was switched off.
    switched_off: str = ""

    @property
    def failed(self) -> tuple[RouteOutcome, ...]:
        """The outcomes with an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.error)

    @property
    def exit(self) -> int:
        """The greatest exit code of the outcomes."""
        return max((outcome.exit for outcome in self.outcomes), default=0)


class RouteSight(Value):
    """What one look showed: the tables, the ENI that is to carry the traffic, and the table ids that do not exist."""

    tables: tuple[RouteTable, ...]
    interface: NetworkInterface
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


# Looking


def look(
    api: Api,
    select: TableSelector,
    destinations: Sequence[str],
    *,
    eni: str = "",
    instance: str = "",
    others: bool = True,
) -> RouteSight:
    """Read the tables and the ENI at the same time; with `others` also which other tables hold the routes.

    The ENI is `eni`, or else the first one of `instance`. Raises UsageError for what does not exist, and the errors of
    a call.
    """

    def needed() -> tuple[tuple[RouteTable, ...], NetworkInterface]:
        return both(lambda: describe(api, select), lambda: carrier(api, eni, instance))

    elsewhere = destinations if others and not select.vpc else ()
    (tables, interface), holding = both(needed, lambda: each(lambda one: holders(api, one), elsewhere))
    ids, vpcs = {table.id for table in tables}, {table.vpc for table in tables}
    extra = {
        f"{table.id}: also holds {destination} -> {route.holder}"
        for destination, found in zip(elsewhere, holding)
        for table in found
        for route in [table.route(destination)]
        if route and table.vpc in vpcs and table.id not in ids
    }
    missing = tuple(table for table in select.tables if table not in ids)
    return RouteSight(tables, interface, missing, (*sorted(extra), *_warnings(tables, interface, destinations)))


def carrier(api: Api, eni: str, instance: str) -> NetworkInterface:
    """Read the ENI `eni`, or the first one of `instance`. Raises UsageError."""
    if not (eni or instance):
        raise UsageError("target: neither an interface nor an instance is given")
    if eni:
        filters = {"network-interface-id": [eni]}
    else:
        filters = {"attachment.instance-id": [instance], "attachment.device-index": ["0"]}
    found: tuple[NetworkInterface, ...] = api.pages(lambda token: actions.describe_interfaces(filters, token))
    # An instance with several network cards has an index 0 on each; the primary interface is on the first card.
    fits = [one for one in found if one.id == eni or (one.attachment and one.attachment.card == 0)]
    wanted = eni or f"first interface of {instance}"
    if not fits:
        raise UsageError(f"target: no {wanted} in {api.access.region} (is it in another region or account?)")
    if len(fits) > 1:
        raise UsageError(f"target: {', '.join(one.id for one in fits)}: each is the {wanted}; name one by its id")
    return fits[0]


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
    if any(table.vpc != eni.vpc for table in tables):
        found.append(f"{eni.id}: is in {eni.vpc}, not in the VPC of every table")
    return tuple(dict.fromkeys(found))


# Deciding


def decide(sight: RouteSight, destinations: Sequence[str], *, expect: str = "") -> tuple[RouteMove, ...]:
    """What to do in each table. Raises MoveRefusedError if any route has an owner other than `expect` and us. Pure."""
    eni = sight.interface.id
    return _guarded(_move(table, one, eni, expect) for table in sight.tables for one in destinations)


def removals(tables: Sequence[RouteTable], destinations: Sequence[str], *, expect: str = "") -> tuple[RouteMove, ...]:
    """What delete has to do in each table. Raises the errors of `decide`. Pure."""
    found = [(table, one, table.route(one)) for table in tables for one in destinations]
    return _guarded(
        RouteMove(table, one, "delete" if before else "keep", "", before, expect) for table, one, before in found
    )


def _move(table: RouteTable, destination: str, eni: str, expect: str) -> RouteMove:
    before = table.route(destination)
    # A black hole to the same ENI is kept: writing the same route again would not change its state.
    verb = "create" if before is None else "keep" if before.eni == eni else "replace"
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
        if move.expect and not _is(before, move.expect)
    ]
    if strangers:
        raise MoveRefusedError(f"owner: {', '.join(strangers)}; nothing was changed")
    return moves


def _is(route: VpcRoute, owner: str) -> bool:
    return owner != NO_OWNER and owner in (route.eni, route.instance)


def plan(sight: RouteSight, moves: Sequence[RouteMove], *, check: bool = True) -> tuple[ApiCall, ...]:
    """The calls that `ensure` will make, in order. Pure."""
    found = [call for call in (move.call() for move in moves) if call]
    if check and sight.interface.check:
        found.insert(0, actions.source_dest_check(sight.interface.id, sight.interface.owner, False))
    return tuple(found)


# Doing


def ensure(api: Api, sight: RouteSight, moves: Sequence[RouteMove], *, check: bool = True) -> Result:
    """Write in parallel, then read back. Every table is attempted; the result has an outcome for each.

    With `check` the source/destination check of the ENI is switched off if it is on: it drops all traffic to an
    address that is not the ENI's own.
    """
    eni = sight.interface
    switch = [lambda: api.call(actions.source_dest_check(eni.id, eni.owner, False))] if check and eni.check else []
    outcomes, switched = both(lambda: _written(api, moves), lambda: together(switch))
    outcomes = _confirmed(api, moves, outcomes)
    outcomes += [_missing(table, api.access.region) for table in sight.missing]
    failed = [ended for ended in switched if isinstance(ended, BaseException)]
    for error in failed:
        outcomes.append(RouteOutcome(eni.id, "source/destination check", "failed", "on", "on", _translate(error)))
    return Result(tuple(outcomes), eni.id if switched and not failed else "")


def delete(api: Api, select: TableSelector, destinations: Sequence[str], *, expect: str = "") -> Result:
    """Delete the route from every table, and read back. With `expect`, only from that owner."""
    tables = describe(api, select)
    moves = removals(tables, destinations, expect=expect)
    outcomes = _confirmed(api, moves, _written(api, moves))
    missing = [one for one in select.tables if one not in {table.id for table in tables}]
    return Result((*outcomes, *(_missing(one, api.access.region) for one in missing)))


def _written(api: Api, moves: Sequence[RouteMove]) -> list[RouteOutcome]:
    """Write everything that is to be written, at the same time."""
    doing = [move for move in moves if move.verb != "keep"]
    ended = dict(zip(doing, each_ended(lambda move: _write(api, move), doing)))
    return [_outcome(move, ended.get(move)) for move in moves]


def _write(api: Api, move: RouteMove) -> str:
    """Write one table. If another node was faster, create becomes replace and replace becomes create, once each."""
    call = move.call()
    assert call
    try:
        api.call(call)
    except ApiError as error:
        if move.verb == "create" and error.code == "RouteAlreadyExists":
            return _there_already(api, move)
        if move.verb == "replace" and error.code == "InvalidParameterValue" and "no route defined" in error.message:
            api.call(actions.create_route(move.table.id, move.table.owner, move.destination, move.eni))
            return "created"
        if move.verb == "delete" and error.code == "InvalidRoute.NotFound":
            return "gone already"
        raise
    return {"create": "created", "replace": "replaced", "delete": "deleted"}[move.verb]


def _there_already(api: Api, move: RouteMove) -> str:
    """Another node created the route first, or our own call did and its answer was lost."""
    if move.expect:
        select = TableSelector((move.table.id,))
        now = next((table.route(move.destination) for table in describe(api, select)), None)
        if now and now.eni == move.eni:
            return "created"
        if not now or not _is(now, move.expect):
            holder = now.holder if now else "an unknown owner"
            raise MoveRefusedError(f"another mover was quicker: it is {holder}'s (expected {move.expect})")
    api.call(actions.replace_route(move.table.id, move.table.owner, move.destination, move.eni))
    return "replaced"


def _outcome(move: RouteMove, ended: Ended[str] | None) -> RouteOutcome:
    table, destination, before = move.table.id, move.destination, move.before.holder if move.before else ""
    if ended is None:
        return RouteOutcome(table, destination, "right" if move.eni else "gone already", before, move.eni)
    if isinstance(ended, BaseException):
        return RouteOutcome(table, destination, "failed", before, before, _translate(ended))
    return RouteOutcome(table, destination, ended, before, "" if move.verb == "delete" else move.eni)


def _translate(error: BaseException) -> FailoverError:
    if isinstance(error, FailoverError):
        return error
    raise error


def _missing(table: str, region: str) -> RouteOutcome:
    error = UsageError(f"no such route table in {region} (is it in another region or account?)")
    return RouteOutcome(table, "", "missing", error=error)


def tables_of(moves: Sequence[RouteMove]) -> TableSelector:
    """The tables that are read back. Pure."""
    return TableSelector(tables=tuple(sorted({move.table.id for move in moves})))


def _confirmed(api: Api, moves: Sequence[RouteMove], outcomes: list[RouteOutcome]) -> list[RouteOutcome]:
    """Read back what was written. EC2 is eventually consistent, so a difference is looked at again, for a moment."""
    if not any(outcome.verb in WRITTEN for outcome in outcomes):
        return outcomes
    select = tables_of(moves)
    checked = [replace(outcome, error=ApiUnknownError("not read back yet")) for outcome in outcomes]
    for wait in (0.2, 0.4, 0.8, 1.6, 0.0):
        try:
            seen = {table.id: table for table in describe(api, select)}
            checked = [_checked(outcome, move, seen) for outcome, move in zip(outcomes, moves)]
            if not wait or not any(after.error and not before.error for after, before in zip(checked, outcomes)):
                return checked
            api.deadline.pause(wait, "reading back")
        except FailoverError as error:
            # An outcome that an earlier look confirmed stays confirmed.
            return [_unverified(was, error) if last.error else was for was, last in zip(outcomes, checked)]
    return outcomes


def _unverified(outcome: RouteOutcome, error: FailoverError) -> RouteOutcome:
    if outcome.verb not in WRITTEN:
        return outcome
    return replace(outcome, error=ApiUnknownError(f"written, but could not be read back: {error}"))


def _checked(outcome: RouteOutcome, move: RouteMove, seen: Mapping[str, RouteTable]) -> RouteOutcome:
    if outcome.error:
        return outcome
    table = seen.get(move.table.id)
    now = table.route(move.destination) if table else None
    if (now is not None and now.eni == move.eni) if move.eni else now is None:
        return outcome
    holder = now.holder if now else "nothing"
    said = f"{outcome.verb}, but reading back shows {holder} (expected {move.eni or 'nothing'})"
    said += ": another mover was later"
    return replace(outcome, verb="failed", now=holder, error=MoveRefusedError(said))


def undo(moves: Sequence[RouteMove], outcomes: Sequence[RouteOutcome]) -> tuple[ApiCall, ...]:
    """The calls that restore the previous state, if that was an ENI, or the absence of a route. Pure."""
    found = []
    for move, outcome in zip(moves, outcomes):
        table, before = move.table, move.before
        if outcome.verb == "created" or (outcome.verb == "replaced" and before is None):
            found.append(actions.delete_route(table.id, table.owner, move.destination))
        elif outcome.verb == "replaced" and before and before.eni:
            found.append(actions.replace_route(table.id, table.owner, move.destination, before.eni))
    return tuple(found)


def show(sight: RouteSight, destinations: Sequence[str]) -> Result:
    """Where the route points in each table, and whether that is the ENI. Pure."""
    outcomes = []
    for table in sight.tables:
        for one in destinations:
            route = table.route(one)
            verb = "absent" if route is None else "right" if route.eni == sight.interface.id else "other"
            verb = "other" if verb == "right" and route and route.state != "active" else verb
            outcomes.append(RouteOutcome(table.id, one, verb, "", f"{route.holder} ({route.state})" if route else ""))
    return Result((*outcomes, *(_missing(table, "this region") for table in sight.missing)))


# The part


class RouteDecision(Value):
    """What a look showed, and what is to be done about it."""

    sight: RouteSight
    moves: tuple[RouteMove, ...]


class RoutePart(Value):
    """The route to overlay addresses, in all of its tables."""

    settings: RouteSettings
    destinations: tuple[str, ...]

    name = "route"

    def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> RouteSight:
        """Read the tables and the ENI; with `session.advise` also the other tables that hold the routes."""
        instance = "" if self.settings.eni else session.instance
        return look(
            session.api(),
            self.settings.select,
            self.destinations,
            eni=self.settings.eni,
            instance=instance,
            others=session.advise,
        )

    def decide(self, sight: RouteSight, expect: str = "") -> RouteDecision:
        """See `decide` of this module."""
        return RouteDecision(sight, decide(sight, self.destinations, expect=expect))

    def plan(self, decision: RouteDecision) -> tuple[Planned, ...]:
        """The writes, and the reading back if a table is written."""
        found = [Planned(str(call)) for call in plan(decision.sight, decision.moves, check=self.settings.check)]
        if any(move.call() for move in decision.moves):
            found.append(Planned(str(actions.describe_tables(tables_of(decision.moves).filters())), "read back:"))
        return tuple(found)

    def run(self, session: Session, decision: RouteDecision) -> Iterator[Finding]:
        """Write and read back; a Finding for each table."""
        result = ensure(session.api(), decision.sight, decision.moves, check=self.settings.check)
        yield from findings(result.outcomes)
        if result.switched_off:
            yield Finding(f"{result.switched_off}: source/destination check switched off")

    def undo(self, decision: RouteDecision, findings: Sequence[Finding]) -> tuple[str, ...]:
        """The calls that restore the check and the previous routes."""
        outcomes = [each.value for each in findings if isinstance(each.value, RouteOutcome)]
        eni = decision.sight.interface
        switched = self.settings.check and eni.check and outcomes and all(each.table != eni.id for each in outcomes)
        checks = [actions.source_dest_check(eni.id, eni.owner, True)] if switched else []
        return tuple(map(str, (*checks, *undo(decision.moves, outcomes))))

    def verify(self, session: Session) -> Iterator[Finding]:
        """Look, and compare the route in each table."""
        sight = self.look(session)
        for warning in sight.warnings:
            yield Finding(f"warning: {warning}")
        eni = sight.interface
        if eni.check:
            said = "source/destination check is on: it drops what is not for its own addresses"
            yield Finding(f"warning: {eni.id}: {said}")
        else:
            yield Finding(f"{eni.id}: source/destination check is off, as it should be")
        yield from findings(show(sight, self.destinations).outcomes)


def findings(outcomes: Iterable[RouteOutcome]) -> Iterator[Finding]:
    """A Finding for each outcome. Pure."""
    for outcome in outcomes:
        yield Finding(str(outcome), outcome, outcome.exit, outcome.error)
