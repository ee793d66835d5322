"""An overlay route in all of its route tables, to one interface: look once, decide, write in parallel, look again.

`decide` is pure. EC2 has no compare-and-swap: `expect` is checked on what one Describe showed, and the second Describe
tells who has it in the end.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .aws import actions
from .aws.deadline import all_of, together
from .aws.response import is_a
from .errors import ApiError, FailoverError, RefusedError, UnknownError, UsageError
from .route_tables import Select, describe, holders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .aws.actions import Call
    from .aws.client import Api
    from .aws.model import Interface, Route, Table

#: In `expect`: there must be no route at all.
NOBODY = "nobody"

#: How a table ends in which something was written.
WRITTEN = ("created", "replaced", "deleted")


class Move(Value):
    """What is to do in one table: create, replace, keep, or delete; `before` is the route as it was."""

    table: Table
    destination: str
    verb: str
    eni: str = ""
    before: Route | None = None
    #: From whom alone it may be taken; from anybody where empty.
    expect: str = ""

    def call(self) -> Call | None:
        table, owner = self.table.id, self.table.owner
        if self.verb == "create":
            return actions.create_route(table, owner, self.destination, self.eni)
        if self.verb == "replace":
            return actions.replace_route(table, owner, self.destination, self.eni)
        return actions.delete_route(table, owner, self.destination) if self.verb == "delete" else None


class Outcome(Value):
    """How it ended in one table.

    `verb` is created, replaced, right, deleted, gone already, absent, other, missing or failed.
    """

    table: str
    destination: str
    verb: str
    before: str = ""
    now: str = ""
    error: FailoverError | None = None

    def __str__(self) -> str:
        was = f", was {self.before}" if self.before and self.verb != "right" else ""
        tail = f": {self.error}" if self.error else f" -> {self.now}{was}" if self.now else was
        return " ".join(filter(None, (self.table, self.destination, self.verb))) + tail


class Result(Value):
    """How a whole verb ended."""

    outcomes: tuple[Outcome, ...]
    warnings: tuple[str, ...] = ()
    eni: str = ""
    #: Was the source/destination check of the interface on, and is it off now?
    check_switched_off: bool = False

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(each for each in self.outcomes if each.error)

    @property
    def exit(self) -> int:
        """0, 1 for a show that found otherwise, or the gravest of the errors."""
        errors = [each.error.exit for each in self.outcomes if each.error]
        return max(errors, default=int(any(each.verb in ("other", "absent") for each in self.outcomes)))


class Sight(Value):
    """What one look showed: the tables, the interface, and the ids that are not there."""

    tables: tuple[Table, ...]
    interface: Interface
    missing: tuple[str, ...] = ()
    #: Other tables of the same VPCs that hold the route too.
    others: tuple[str, ...] = ()


# Looking


def look(
    api: Api, select: Select, destinations: Sequence[str], *, eni: str = "", instance: str = "", others: bool = True
) -> Sight:
    """The tables and the interface that is to carry the traffic, at the same time.

    `eni`, or else the first interface of `instance`. Raises UsageError for what is not there, and all that a call may.
    """
    works: list[Callable[[], object]] = [
        lambda: describe(api, select),
        lambda: carrier(api, eni, instance),
    ]
    if others and not select.vpc:
        works += [lambda each=each: holders(api, each) for each in destinations]  # type: ignore[misc]
    found: list[object] = all_of(works)
    tables: tuple[Table, ...] = found[0]  # type: ignore[assignment]
    missing = tuple(each for each in select.tables if each not in {table.id for table in tables})
    vpcs, ids = {table.vpc for table in tables}, {table.id for table in tables}
    extra = {
        f"{table.id}: also holds {destination} -> {route.holder}"
        for destination, holding in zip(destinations, found[2:])
        for table in holding  # type: ignore[attr-defined]
        for route in [table.route(destination)]
        if route and table.vpc in vpcs and table.id not in ids
    }
    return Sight(tables, found[1], missing, tuple(sorted(extra)))  # type: ignore[arg-type]


def carrier(api: Api, eni: str, instance: str) -> Interface:
    """The interface `eni`, or the first one of `instance`."""
    if not (eni or instance):
        raise UsageError("target: neither an interface nor an instance is given")
    if eni:
        filters = {"network-interface-id": [eni]}
    else:
        filters = {"attachment.instance-id": [instance], "attachment.device-index": ["0"]}
    found: tuple[Interface, ...] = api.pages(lambda token: actions.describe_interfaces(filters, token))
    # A machine with several network cards has an index 0 on each; the first card's is the primary interface.
    fits = [each for each in found if each.id == eni or (each.attachment and each.attachment.card == 0)]
    wanted = eni or f"first interface of {instance}"
    if not fits:
        raise UsageError(f"target: no {wanted} in {api.access.region} (is it in another region or account?)")
    if len(fits) > 1:
        raise UsageError(f"target: {', '.join(each.id for each in fits)}: each is the {wanted}; name one by its id")
    return fits[0]


# Deciding


def decide(sight: Sight, destinations: Sequence[str], *, expect: str = "") -> tuple[Move, ...]:
    """What to do in each table. Raises RefusedError for all when one table belongs to neither `expect` nor us. Pure."""
    eni = sight.interface.id
    return _guarded(_move(table, each, eni, expect) for table in sight.tables for each in destinations)


def removals(tables: Sequence[Table], destinations: Sequence[str], *, expect: str = "") -> tuple[Move, ...]:
    """What delete has to do in each table. Raises as `decide` does. Pure."""
    found = [(table, each, table.route(each)) for table in tables for each in destinations]
    return _guarded(
        Move(table, each, "delete" if before else "keep", "", before, expect) for table, each, before in found
    )


def _move(table: Table, destination: str, eni: str, expect: str) -> Move:
    before = table.route(destination)
    # A route to our own interface that is a black hole would stay one: writing it again changes nothing.
    verb = "create" if before is None else "keep" if before.eni == eni else "replace"
    return Move(table, destination, verb, eni, before, expect)


def _guarded(every: Iterable[Move]) -> tuple[Move, ...]:
    """The moves, unless one of them would take what is not ours to take."""
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
        raise RefusedError(f"owner: {', '.join(strangers)}; nothing was changed")
    return moves


def check_expect(text: str) -> str:
    """Raises UsageError for what can own nothing: it would be expected in vain."""
    if text and text != NOBODY and not is_a("instance", text) and not is_a("interface", text):
        raise UsageError(f"expect: {text!r} is neither an instance (i-…) nor an interface (eni-…) nor {NOBODY}")
    return text


def _is(route: Route, owner: str) -> bool:
    return owner != NOBODY and owner in (route.eni, route.instance)


def warnings(sight: Sight, destinations: Sequence[str]) -> tuple[str, ...]:
    """What is not wrong enough to stop, but will not work. Pure."""
    import ipaddress

    found = list(sight.others)
    eni = sight.interface
    if not eni.holder:
        found.append(f"{eni.id}: is attached to no instance: the route is a black hole")
    for table in sight.tables:
        for text in destinations:
            route, wanted = table.route(text), ipaddress.ip_network(text)
            if route and route.state == "blackhole":
                found.append(f"{table.id}: {text} -> {route.holder} is a black hole")
            for local in map(ipaddress.ip_network, table.local):
                if wanted.version == local.version and wanted.subnet_of(local):  # type: ignore[arg-type]
                    found.append(f"{table.id}: {text} lies inside the VPC's {local}: not an overlay address")
    if any(table.vpc != eni.vpc for table in sight.tables):
        found.append(f"{eni.id}: is in {eni.vpc}, not in the VPC of every table")
    return tuple(dict.fromkeys(found))


def plan(sight: Sight, moves: Sequence[Move], *, check: bool = True) -> tuple[Call, ...]:
    """The calls that are to be made, in order. Pure."""
    found = [call for call in (move.call() for move in moves) if call]
    if check and sight.interface.check:
        found.insert(0, actions.source_dest_check(sight.interface.id, sight.interface.owner, False))
    return tuple(found)


# Doing


def ensure(api: Api, sight: Sight, moves: Sequence[Move], *, check: bool = True) -> Result:
    """Write in parallel, then read back. Every table is attempted; the result says how each ended.

    With `check` the source/destination check of the interface is switched off where it is on: it would drop all
    traffic to an address that is not the interface's own.
    """
    eni = sight.interface
    switch = check and eni.check
    more = [lambda: api.call(actions.source_dest_check(eni.id, eni.owner, False))] if switch else []
    outcomes, ended = _do(api, moves, more)
    outcomes += [_missing(table, api.access.region) for table in sight.missing]
    failed = [each for each in ended if isinstance(each, BaseException)]
    outcomes += [Outcome(eni.id, "source/destination check", "failed", "on", "on", _translate(e)) for e in failed]
    return Result(tuple(outcomes), (), eni.id, switch and not failed)


def delete(api: Api, select: Select, destinations: Sequence[str], *, expect: str = "") -> Result:
    """Take the route out of every table, and read back. With `expect`, only from that owner."""
    tables = describe(api, select)
    outcomes, _ = _do(api, removals(tables, destinations, expect=expect))
    missing = [each for each in select.tables if each not in {table.id for table in tables}]
    return Result((*outcomes, *(_missing(each, api.access.region) for each in missing)))


def _do(
    api: Api, moves: Sequence[Move], more: Sequence[Callable[[], object]] = ()
) -> tuple[list[Outcome], list[object]]:
    """Write whatever is to be written, and do `more`, all at the same time. How each ended, confirmed by one look."""
    doing = [move for move in moves if move.verb != "keep"]
    works: list[Callable[[], object]] = [lambda move=move: _write(api, move) for move in doing]  # type: ignore[misc]
    ended = together([*works, *more])
    errors = dict(zip(doing, ended))
    outcomes = [_outcome(move, errors.get(move)) for move in moves]
    if any(each.verb in WRITTEN for each in outcomes):
        outcomes = _verify(api, moves, outcomes)
    return outcomes, ended[len(doing) :]


def _write(api: Api, move: Move) -> str:
    """One table. Where somebody was quicker, create becomes replace and replace create, once each."""
    try:
        api.call(move.call())  # type: ignore[arg-type]
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


def _there_already(api: Api, move: Move) -> str:
    """The route is somebody's who was quicker, or our own, made by a call whose answer was lost."""
    if move.expect:
        now = next((table.route(move.destination) for table in describe(api, Select((move.table.id,)))), None)
        if now and now.eni == move.eni:
            return "created"
        if not now or not _is(now, move.expect):
            holder = now.holder if now else "somebody"
            raise RefusedError(f"another mover was quicker: it is {holder}'s (expected {move.expect})")
    api.call(actions.replace_route(move.table.id, move.table.owner, move.destination, move.eni))
    return "replaced"


def _outcome(move: Move, ended: object) -> Outcome:
    before = move.before.holder if move.before else ""
    if move.verb == "keep":
        return Outcome(move.table.id, move.destination, "right" if move.eni else "gone already", before, move.eni)
    if isinstance(ended, BaseException):
        return Outcome(move.table.id, move.destination, "failed", before, before, _translate(ended))
    return Outcome(move.table.id, move.destination, str(ended), before, "" if move.verb == "delete" else move.eni)


def _translate(error: BaseException) -> FailoverError:
    if isinstance(error, FailoverError):
        return error
    raise error


def _missing(table: str, region: str) -> Outcome:
    error = UsageError(f"no such route table in {region} (is it in another region or account?)")
    return Outcome(table, "", "missing", error=error)


def tables_of(moves: Sequence[Move]) -> Select:
    """The tables that are read back. Pure."""
    return Select(tables=tuple(sorted({move.table.id for move in moves})))


def _verify(api: Api, moves: Sequence[Move], outcomes: list[Outcome]) -> list[Outcome]:
    """Read back. EC2 is eventually consistent, so what is not there yet is looked at again for a moment."""
    select = tables_of(moves)
    checked = [replace(each, error=UnknownError("not read back yet")) for each in outcomes]
    for wait in (0.2, 0.4, 0.8, 1.6, 0.0):
        try:
            seen = {table.id: table for table in describe(api, select)}
            checked = [_checked(outcome, move, seen) for outcome, move in zip(outcomes, moves)]
            if not wait or not any(a.error and not b.error for a, b in zip(checked, outcomes)):
                return checked
            api.deadline.pause(wait, "reading back")
        except FailoverError as error:
            # What an earlier look confirmed, it did.
            return [_unverified(each, error) if last.error else each for each, last in zip(outcomes, checked)]
    return outcomes


def _unverified(outcome: Outcome, error: FailoverError) -> Outcome:
    if outcome.verb not in WRITTEN:
        return outcome
    return replace(outcome, error=UnknownError(f"written, but could not be read back: {error}"))


def _checked(outcome: Outcome, move: Move, seen: Mapping[str, Table]) -> Outcome:
    if outcome.error:
        return outcome
    table = seen.get(move.table.id)
    now = table.route(move.destination) if table else None
    if (now is not None and now.eni == move.eni) if move.eni else now is None:
        return outcome
    holder = now.holder if now else "nothing"
    said = f"{outcome.verb}, but reading back shows {holder} (expected {move.eni or 'nothing'})"
    said += ": another mover was later"
    return replace(outcome, verb="failed", now=holder, error=RefusedError(said))


def undo(moves: Sequence[Move], outcomes: Sequence[Outcome]) -> tuple[Call, ...]:
    """The calls that put back what was there, where that was nothing or an interface. Pure."""
    found = []
    for move, outcome in zip(moves, outcomes):
        table, before = move.table, move.before
        if outcome.verb == "created" or (outcome.verb == "replaced" and before is None):
            found.append(actions.delete_route(table.id, table.owner, move.destination))
        elif outcome.verb == "replaced" and before and before.eni:
            found.append(actions.replace_route(table.id, table.owner, move.destination, before.eni))
    return tuple(found)


def show(sight: Sight, destinations: Sequence[str]) -> Result:
    """Where the route points in each table, and whether that is the interface. Pure."""
    outcomes = []
    for table in sight.tables:
        for each in destinations:
            route = table.route(each)
            verb = "absent" if route is None else "right" if route.eni == sight.interface.id else "other"
            verb = "other" if verb == "right" and route and route.state != "active" else verb
            outcomes.append(Outcome(table.id, each, verb, "", f"{route.holder} ({route.state})" if route else ""))
    said = list(warnings(sight, destinations))
    if sight.interface.check:
        said.append(f"{sight.interface.id}: source/destination check is on: it drops what is not for its own addresses")
    missing = tuple(_missing(table, "this region") for table in sight.missing)
    return Result((*outcomes, *missing), tuple(said), sight.interface.id)
