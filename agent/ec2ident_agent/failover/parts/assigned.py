"""What EC2 assigns to one ENI at a time: a private address or prefix of the subnet, an Elastic IP.

`private` and `eip` say how the assignment is read and written; this module is the move itself: look once, decide, write
in parallel, read back. A look may be old (see `consistency`), so what is right is written again too: these writes may
be repeated. Where one cannot take the assignment from its holder (an IPv6 address, a prefix), the holder is made to
lose it first, but only after the write was refused because of that holder: a denied call then costs nothing.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws import consistency
from ec2ident_agent.failover.aws.deadline import each_ended
from ec2ident_agent.failover.aws.forms import NO_OWNER
from ec2ident_agent.failover.errors import ApiError, FailoverError, MoveRefusedError, UsageError

from .carrier import carrier, target_of
from .part import Finding, Planned, Release, is_owned, warnings_of
from .readback import Confirmation, Shown, Written, read_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.deadline import Ended
    from ec2ident_agent.failover.aws.model import NetworkInterface
    from ec2ident_agent.failover.session import Session

    from .part import PartSight

    class Assignment(Protocol):
        """How one kind of assignment is read and written."""

        def holders(self, api: Api, eni: NetworkInterface) -> Mapping[str, Holder]:
            """Who has each key; keys without a holder are left out."""

        def warnings(self, eni: NetworkInterface) -> tuple[str, ...]:
            """What the ENI loses by the write."""

        def owner(self, eni: NetworkInterface) -> str:
            """The owner of a Holder that is as wanted."""

        def take(self, key: str, eni: NetworkInterface, *, reassign: bool) -> ApiCall:
            """The write. Without `reassign` it is refused if another ENI has the key."""

        def free(self, key: str, holder: Holder) -> ApiCall | None:
            """What makes a holder lose the key; None where `take` does that."""

        def give_back(self, key: str, holder: Holder) -> ApiCall:
            """The write that gives the key to the holder of before."""


#: The codes with which EC2 refuses to assign what another ENI has (EC2 API Reference, "Error codes").
TAKEN = ("Resource.AlreadyAssigned", "Resource.AlreadyAssociated", "InvalidIPAddress.InUse", "InvalidAddress.InUse")


class Holder(Value):
    """The ENI that has the assignment."""

    #: What is compared: the ENI, and for an Elastic IP also its private address.
    owner: str
    eni: str
    instance: str = ""
    account: str = ""
    subnet: str = ""
    #: Whether it is the ENI's primary address, which never moves.
    primary: bool = False

    def __str__(self) -> str:
        return self.instance or self.eni


class AssignedSight(Value):
    """What one look showed."""

    interface: NetworkInterface
    holders: Mapping[str, Holder]
    warnings: tuple[str, ...] = ()


class AssignMove(Value):
    """What to do for one key; `before` is the holder as the first look showed it."""

    key: str
    owner: str
    before: Holder | None = None
    expect: str = ""

    @property
    def changes(self) -> bool:
        """Whether the first look showed anything to change."""
        return self.before is None or self.before.owner != self.owner


class AssignDecision(Value):
    """What a look showed, and what is to be done about it."""

    sight: AssignedSight
    moves: tuple[AssignMove, ...]


class AssignOutcome(Value):
    """The result for one key: `verb` is assigned, right, other, absent or failed."""

    key: str
    verb: str
    before: str = ""
    now: str = ""
    error: FailoverError | None = None

    @property
    def exit(self) -> int:
        """0, 1 if another ENI or none has it, else the exit code of the error."""
        return self.error.exit if self.error else int(self.verb in ("other", "absent"))

    def __str__(self) -> str:
        was = f", was {self.before}" if self.before and self.verb == "assigned" else ""
        return f"{self.key} {self.verb}" + (f": {self.error}" if self.error else f" -> {self.now or 'no ENI'}{was}")


def decide(sight: AssignedSight, keys: Iterable[str], owner: str, expect: str = "") -> tuple[AssignMove, ...]:
    """What to do for each key. Pure.

    Raises MoveRefusedError for the primary address of an ENI, and for an owner other than `expect` and us; UsageError
    for an address of another subnet.
    """
    moves = tuple(AssignMove(key, owner, sight.holders.get(key), expect) for key in keys)
    for move in moves:
        _refuse_primary(move, move.before)
        subnet = move.before.subnet if move.before else ""
        if subnet not in ("", sight.interface.subnet):
            said = f"is of {subnet}, and {sight.interface.id} is in {sight.interface.subnet}"
            raise UsageError(f"{move.key}: {said}: a private address moves within its subnet")
    strangers = [
        f"{move.key} -> {move.before} (expected {expect})"
        for move in moves
        if expect and move.before and move.before.owner != owner and not is_owned(move.before, expect)
    ]
    if strangers:
        raise MoveRefusedError(f"owner: {', '.join(strangers)}; nothing was changed")
    return moves


def _refuse_primary(move: AssignMove, holder: Holder | None) -> None:
    if holder and holder.primary:
        said = f"is the primary address of {holder.eni}" + (f" ({holder.instance})" if holder.instance else "")
        raise MoveRefusedError(f"{move.key}: {said}, which never moves")


def _take(api: Api, kind: Assignment, eni: NetworkInterface, move: AssignMove) -> None:
    """Write one key. A holder that keeps the write from succeeding loses the key first."""
    refused: float | None = None
    while True:
        try:
            api.call(kind.take(move.key, eni, reassign=move.expect != NO_OWNER))
            return
        except ApiError as error:
            if not _taken(error):
                raise
            taken = error
        began = api.deadline.used
        refused = began if refused is None else refused
        holder = kind.holders(api, eni).get(move.key)
        settled = began - refused >= consistency.SETTLED
        if holder and holder.owner == move.owner:
            # Our own call without an answer, or an old look: another holder may be the reason of the refusal.
            if settled:
                return
        elif holder:
            _refuse_primary(move, holder)
            free = kind.free(move.key, holder)
            if move.expect and not is_owned(holder, move.expect):
                if settled:
                    raise MoveRefusedError(f"{move.key}: another mover was quicker: {holder} has it") from taken
            elif free is None:
                raise taken
            else:
                _free(api, free)
                continue
        api.deadline.pause(consistency.LONGEST_LOOK / 2, f"{move.key}: {taken}")


def _free(api: Api, call: ApiCall) -> None:
    """Make the holder lose it. If that fails because the look was old, the next write tells."""
    try:
        api.call(call)
    except ApiError as error:
        if error.code not in ("InvalidParameterValue", "InvalidNetworkInterfaceID.NotFound", "InvalidAddress.NotFound"):
            raise


def _taken(error: ApiError) -> bool:
    said = error.message.lower()
    worded = error.code == "InvalidParameterValue" and ("already" in said or "in use" in said)
    return error.code in TAKEN or worded


def ensure(api: Api, kind: Assignment, decision: AssignDecision) -> tuple[AssignOutcome, ...]:
    """Write every key, then read back. Each is attempted; each has an outcome."""
    eni, moves = decision.sight.interface, decision.moves
    ended = dict(zip((move.key for move in moves), each_ended(lambda move: _take(api, kind, eni, move), moves)))
    written = {
        move.key: Written(move.owner, ("", move.before.owner if move.before else ""))
        for move in moves
        if ended[move.key] is None
    }

    def owners() -> dict[str, Shown]:
        return {key: Shown(holder.owner) for key, holder in kind.holders(api, eni).items()}

    seen = read_back(api.deadline, written, owners) if written else {}
    return tuple(_outcome(move, ended[move.key], seen) for move in moves)


def _outcome(move: AssignMove, ended: Ended[None], seen: Mapping[str, Confirmation]) -> AssignOutcome:
    before = str(move.before or "")
    if isinstance(ended, FailoverError):
        return AssignOutcome(move.key, "failed", before, before, ended)
    if isinstance(ended, BaseException):
        raise ended
    found = seen[move.key]
    verb = "failed" if isinstance(found.error, MoveRefusedError) else "assigned" if move.changes else "right"
    return AssignOutcome(move.key, verb, before, found.now, found.error)


class AssignedPart(Value):
    """The part, for every kind of assignment."""

    name: str
    kind: Assignment
    keys: tuple[str, ...]
    #: The configured ENI, and the device that holds the addresses: "" for none.
    eni: str = ""
    device: str = ""

    def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> AssignedSight:
        """Read the ENI, and who has the keys."""
        eni, warnings = carrier(session.api(), **target_of(session, self.eni, self.device, (), earlier))
        return AssignedSight(eni, self.kind.holders(session.api(), eni), (*warnings, *self.kind.warnings(eni)))

    def decide(self, sight: AssignedSight, expect: str = "") -> AssignDecision:
        """See `decide` of this module."""
        return AssignDecision(sight, decide(sight, self.keys, self.kind.owner(sight.interface), expect))

    def plan(self, decision: AssignDecision) -> tuple[Planned, ...]:
        """The writes, and the reading back."""
        eni = decision.sight.interface
        found: list[Planned] = []
        for move in decision.moves:
            take = str(self.kind.take(move.key, eni, reassign=move.expect != NO_OWNER))
            free = self.kind.free(move.key, move.before) if move.before and move.changes else None
            found += [Planned(str(free))] if free else []
            found.append(Planned(take, "" if move.changes else "written again, as the look may be old:"))
        return tuple(found)

    def run(self, session: Session, decision: AssignDecision) -> Iterator[Finding]:
        """Write and read back; a Finding for each key."""
        yield from _findings(ensure(session.api(), self.kind, decision))

    def undo(self, decision: AssignDecision, findings: Sequence[Finding]) -> tuple[str, ...]:
        """The calls that give each key back to the ENI that had it."""
        done = {each.value.key for each in findings if isinstance(each.value, AssignOutcome) and not each.error}
        eni = decision.sight.interface
        ours = Holder(self.kind.owner(eni), eni.id, eni.holder, eni.owner)
        found: list[ApiCall | None] = []
        for move in decision.moves:
            if move.key in done and move.before and move.changes:
                found += [self.kind.free(move.key, ours), self.kind.give_back(move.key, move.before)]
        return tuple(str(call) for call in found if call)

    def verify(self, session: Session) -> Iterator[Finding]:
        """Look, and compare who has each key."""
        sight = self.look(session)
        yield from warnings_of(sight.warnings)
        yield from _findings(show(sight, self.keys, self.kind.owner(sight.interface)))

    def release(self, session: Session) -> Iterator[Release]:
        """Nothing: it stays assigned until another node takes it, so that one always has it."""
        return iter(())


def show(sight: AssignedSight, keys: Iterable[str], owner: str) -> tuple[AssignOutcome, ...]:
    """Who has each key, and whether that is as wanted. Pure."""
    found = []
    for key in keys:
        holder = sight.holders.get(key)
        verb = "absent" if holder is None else "right" if holder.owner == owner else "other"
        found.append(AssignOutcome(key, verb, "", str(holder or "")))
    return tuple(found)


def _findings(outcomes: Iterable[AssignOutcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        yield Finding(str(outcome), outcome, outcome.exit, outcome.error)
