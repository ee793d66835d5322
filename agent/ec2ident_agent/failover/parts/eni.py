"""An ENI that moves to an instance: found exactly, detached with patience, attached to a free index.

Each turn of the loop in `Mover` reads the state first and then does one thing, so earlier steps may have been done by
another process. Of two concurrent movers one wins, and the other gets MoveRefusedError.

What is read may be old (see `consistency`), and an attach cannot be repeated to find out. So "attached here" is
believed if the attachment is the one that our own attach returned, if the kernel of this node shows the ENI, or if no
other answer came for so long that an old one is excluded.
"""

from __future__ import annotations

from ec2ident.value import Value, replace
from ec2ident_agent.errors import ConfigError
from ec2ident_agent.failover.aws import actions, consistency, forms
from ec2ident_agent.failover.aws.deadline import both
from ec2ident_agent.failover.aws.model import NetworkInterface
from ec2ident_agent.failover.errors import ApiError, ErrorKind, MoveRefusedError, OutOfTimeError, UsageError
from ec2ident_agent.failover.selectors import EniSelector

from .part import Finding, Planned, Release, warnings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ec2ident_agent.failover.agent_bridge import AgentBridge
    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import Ec2Instance
    from ec2ident_agent.failover.session import Session
    from ec2ident_agent.failover.settings import EniSettings

    from .part import PartSight

#: Device indexes to try. Index 0 always belongs to the primary interface.
INDEXES = range(1, 64)

#: Seconds between two looks while the ENI is attaching or detaching.
LOOK_EVERY = 0.25

#: Seconds by which the clock of this node may differ from EC2's, which also counts whole seconds only.
SKEW = 1.0

#: An instance in one of these states accepts no ENI.
NOT_READY = ("shutting-down", "terminated", "stopping")


class EniSight(Value):
    """What one look showed: the ENI that moves, and the instance that it moves to."""

    interface: NetworkInterface
    instance: Ec2Instance
    warnings: tuple[str, ...] = ()
    #: The only owner that it may be taken from; "" for any.
    expect: str = ""


def find(api: Api, wanted: EniSelector) -> NetworkInterface:
    """Read the one ENI that is meant. Raises UsageError if there is none, or more than one."""
    found: tuple[NetworkInterface, ...] = api.pages(lambda token: actions.describe_interfaces(wanted.filters(), token))
    fits = [eni for eni in found if wanted.fits(eni)]
    if len(fits) > 1:
        said = ", ".join(f"{eni.id} in {eni.vpc}" for eni in fits)
        raise UsageError(f"interface: {wanted} is {len(fits)} interfaces: {said}; name one by its id")
    if not fits:
        raise UsageError(f"interface: no {wanted} in {api.access.region} (is it in another region or account?)")
    return fits[0]


def instance_of(api: Api, instance: str) -> Ec2Instance:
    """Read an instance. Raises UsageError if it does not exist."""
    forms.named("instance", forms.identifier("instance"), instance)
    found: tuple[tuple[Ec2Instance, ...], str] = api.call(actions.describe_instance(instance))
    if len(found[0]) != 1 or found[0][0].id != instance:
        raise UsageError(f"instance: no {instance} in {api.access.region}")
    return found[0][0]


def look(api: Api, wanted: EniSelector, instance: str) -> EniSight:
    """Read the ENI and the instance at the same time. Raises UsageError for what does not exist.

    An instance that EC2 still calls pending runs already where this program runs on it, so that is waited out.
    """
    while True:
        eni, there = both(lambda: find(api, wanted), lambda: instance_of(api, instance))
        if there.state != "pending":
            return EniSight(eni, there, _warnings(eni))
        api.deadline.pause(4 * LOOK_EVERY, f"{instance}: is pending (must be running or stopped)")


def _warnings(eni: NetworkInterface) -> tuple[str, ...]:
    """What does not prevent the move, but will end the service. Pure."""
    held = eni.attachment
    if held is None or not held.deleted_with_instance:
        return ()
    change = f"aws ec2 modify-network-interface-attribute --network-interface-id {eni.id} --attachment"
    said = f"DeleteOnTermination is on: EC2 deletes it together with {eni.holder}; to keep it"
    return (f"{eni.id}: {said}: {change} AttachmentId={held.id},DeleteOnTermination=false",)


def here(eni: NetworkInterface, instance: str) -> bool:
    """Whether the ENI is attached to the instance, and not just on the way."""
    return eni.holder == instance and eni.attachment is not None and eni.attachment.status == "attached"


def check(eni: NetworkInterface, instance: Ec2Instance, *, expect: str = "", index: int | None = None) -> None:
    """Raises MoveRefusedError or UsageError for an impossible move, before anything is changed. Pure."""
    if eni.holder == instance.id:
        return
    if eni.zone != instance.zone:
        raise UsageError(f"availability zone: {eni.id} is in {eni.zone} ({instance.id} is in {instance.zone})")
    if instance.state in NOT_READY:
        raise MoveRefusedError(f"{instance.id}: is {instance.state} (must be running or stopped)")
    if eni.attachment and eni.attachment.place == (0, 0):
        raise UsageError(f"{eni.id}: is the primary interface of {eni.holder}, which can never be detached")
    if expect and eni.holder and eni.holder != expect:
        raise MoveRefusedError(f"owner: {eni.id} is attached to {eni.holder} (expected {expect}); nothing was changed")
    if eni.attachment and not eni.holder:
        raise UsageError(f"{eni.id}: is held by a service of AWS, not by an instance")
    free_index(instance, index)


def free_index(instance: Ec2Instance, wanted: int | None) -> int:
    """The wanted device index, or the first free one. Raises MoveRefusedError if it is taken."""
    if wanted is None:
        free = next((index for index in INDEXES if index not in instance.interfaces), None)
        if free is None:
            raise MoveRefusedError(f"device index: {instance.id} has none free from {INDEXES[0]} to {INDEXES[-1]}")
        return free
    if wanted in instance.interfaces:
        taken = instance.interfaces[wanted]
        raise MoveRefusedError(f"device index: {wanted} of {instance.id} is taken by {taken}")
    return wanted


def plan(
    eni: NetworkInterface, instance: Ec2Instance, *, index: int | None = None, force: bool = False
) -> tuple[ApiCall, ...]:
    """The calls of a move without another mover. Pure."""
    if eni.holder == instance.id:
        return ()
    found = [actions.attach(eni.id, instance.id, free_index(instance, index), eni.owner)]
    if eni.attachment:
        found.insert(0, actions.detach(eni.attachment.id, eni.id, eni.holder, eni.owner, force=force))
    return tuple(found)


def permission(eni: NetworkInterface, instance: Ec2Instance, *, index: int | None = None) -> ApiCall:
    """The dry run that asks, before the detach, whether the attach is allowed. Pure."""
    return actions.attach(eni.id, instance.id, free_index(instance, index), eni.owner, dry=True)


class Mover:
    """One move, from a first look to the interface attached.

    `present` says whether the kernel of the target shows the ENI; None if the target is another node.
    """

    def __init__(
        self,
        api: Api,
        sight: EniSight,
        *,
        index: int | None,
        grace: float,
        force: bool,
        present: Callable[[str], bool] | None = None,
    ) -> None:
        self.api, self.deadline = api, api.deadline
        self.instance, self.index, self.grace, self.force = sight.instance, index, grace, force
        self.first, self.expect, self.present = sight.interface, sight.expect, present
        #: An attachment that is older than the move itself is not that of another mover.
        self._began = api.moment(SKEW)
        self.detaching_since: float | None = None
        self.asked: set[tuple[str, bool]] = set()
        #: Whether this move detached the ENI.
        self.detached = False
        #: The id of the attachment that this move made, if the response arrived.
        self.made = ""
        #: When the last look began, since when every look has shown the ENI here, and when the last write ended.
        self._looked = self._wrote = self.deadline.used
        self._here_since: float | None = None

    def run(self) -> NetworkInterface:
        """Return the attached ENI. Raises MoveRefusedError if another mover was faster, OutOfTimeError, ApiError."""
        eni = self.first
        self._start(eni)
        while not self._certain(eni):
            try:
                self._turn(eni)
            except ApiError as error:
                if error.kind not in (ErrorKind.WAIT, ErrorKind.LOOK) and not self._index_taken(error):
                    raise
                self.api.log(f"{error.action}: {error.code}: looking again")
            eni = self._shown(eni)
            if self.first.holder == self.instance.id != eni.holder and not (self.asked or self.made):
                # The first look was old: another instance has the ENI, and the move starts here.
                self._start(eni)
        return eni

    def _shown(self, eni: NetworkInterface) -> NetworkInterface:
        """The ENI as the next look shows it. A look that does not show it is old, unless all do for SETTLED seconds."""
        began = self.deadline.used
        while True:
            self.deadline.pause(LOOK_EVERY, self._state(eni))
            self._looked = self.deadline.used
            try:
                return find(self.api, EniSelector(id=eni.id))
            except OutOfTimeError as error:
                # The last known state of the ENI helps more than the name of the last call.
                raise OutOfTimeError(f"{self._state(eni)}: {error}") from None
            except UsageError:
                if self._looked - began >= consistency.SETTLED:
                    raise

    def _start(self, eni: NetworkInterface) -> None:
        """Check that the ENI can move from where it is, and ask whether the attach is allowed before the detach."""
        self.first = eni
        check(eni, self.instance, expect=self.expect, index=self.index)
        if eni.attachment and eni.holder != self.instance.id:
            _permitted(self.api, permission(eni, self.instance, index=self.index))

    def _certain(self, eni: NetworkInterface) -> bool:
        """Whether the ENI is attached here, and the look that says so is certainly not old."""
        if not here(eni, self.instance.id):
            self._here_since = None
            return False
        assert eni.attachment
        if eni.attachment.id == self.made or (self.present and self.present(eni.mac)):
            return True
        if self._here_since is None:
            self._here_since = self._looked
        return self._looked - self._here_since >= consistency.SETTLED

    def _state(self, eni: NetworkInterface) -> str:
        phase = eni.attachment.status if eni.attachment else eni.status
        return f"{eni.id}: {phase}{f' ({eni.holder})' if eni.holder else ''} (wanted attached to {self.instance.id})"

    def _turn(self, eni: NetworkInterface) -> None:
        held, before = eni.attachment, self.first.attachment
        settled = self._looked - self._wrote >= consistency.SETTLED
        if self.made and (held is None or held.id in (self.made, before.id if before else "")):
            # The attach is done, and not seen yet.
            return None
        if held is None or held.status == "detached":
            return self._attach(eni)
        if held.instance == self.instance.id and held.status != "detaching":
            return None
        if self.made or held.instance not in (self.first.holder, self.instance.id):
            if not self.made and "" < held.since < self._began:
                # The first look was old: that instance had the ENI already, and the move starts there.
                return self._start(eni)
            if not settled:
                return None
            raise MoveRefusedError(
                f"{eni.id}: another mover was quicker: it is {held.status} to {held.instance} "
                f"(wanted {self.instance.id}, was {self.first.holder or 'free'})"
            )
        return self._detach(eni)

    def _detach(self, eni: NetworkInterface) -> None:
        """Detach without force first; with force at once if that was asked for, else after the grace."""
        assert eni.attachment
        force = self.force
        if eni.attachment.status == "detaching":
            if self.detaching_since is None:
                self.detaching_since = self.deadline.used
            force = force or self.deadline.used - self.detaching_since >= self.grace
            if not force:
                return
        ask = (eni.attachment.id, force)
        if ask not in self.asked:
            # A detach that is refused, as while the ENI is still attaching there, is asked for again.
            self.api.call(actions.detach(eni.attachment.id, eni.id, eni.holder, eni.owner, force=force))
            self.asked.add(ask)
            self.detached, self._wrote = True, self.deadline.used

    def _attach(self, eni: NetworkInterface) -> None:
        index = free_index(self.instance, self.index)
        self.made = self.api.call(actions.attach(eni.id, self.instance.id, index, eni.owner))
        self._wrote = self.deadline.used

    def _index_taken(self, error: ApiError) -> bool:
        """Another ENI was attached meanwhile, or this one by a call without an answer: read which index is free now."""
        if error.code != "InvalidParameterValue" or "device index" not in error.message:
            return False
        instance = instance_of(self.api, self.instance.id)
        if self.index is not None:
            return instance.interfaces.get(self.index) in (None, self.first.id)
        self.instance = instance
        return True


def move(
    api: Api,
    sight: EniSight,
    *,
    index: int | None = None,
    expect: str = "",
    grace: float = 30.0,
    force: bool = False,
    present: Callable[[str], bool] | None = None,
) -> NetworkInterface:
    """Attach the ENI to the instance, from wherever it is. If it is there already, nothing is done.

    `grace` is the number of seconds that a detach may hang before it is forced; `force` forces it at once. After a
    forced detach the device index may be unusable until the old instance is stopped and started (EC2 API Reference,
    "DetachNetworkInterface"). `present` says whether the kernel of the instance shows an interface with a MAC address.
    Raises MoveRefusedError, UsageError, ApiError, OutOfTimeError.
    """
    sight = replace(sight, expect=expect or sight.expect)
    mover = Mover(api, sight, index=index, grace=grace, force=force, present=present)
    try:
        return mover.run()
    except OutOfTimeError as error:
        raise OutOfTimeError(f"{error}; run it again to go on from there") from None
    except ApiError:
        eni = mover.first
        if mover.detached and eni.attachment:
            # The attach was refused after the detach.
            back = actions.attach(eni.id, eni.holder, eni.attachment.index, eni.owner)
            api.log(f"{eni.id}: detached from {eni.holder} and not attached to any instance; to undo: {back}")
        raise


def _permitted(api: Api, dry: ApiCall) -> None:
    """Raises ApiError if the attach will be refused: after the detach, no instance would have the ENI."""
    try:
        api.call(dry)
    except ApiError as error:
        # DryRunOperation means yes; that the ENI is still in use passes by itself. Everything else will be so later.
        if error.kind not in (ErrorKind.LOOK, ErrorKind.WAIT):
            raise


#: The key of the tag by which an ENI that `eni create` made is found again; its value is the token.
MADE = "ec2ident"


class Creation(Value):
    """An ENI that is wanted: the one that there is, or the call that creates it."""

    call: ApiCall
    found: NetworkInterface | None = None


def creation(
    api: Api,
    subnet: str,
    address: str,
    groups: Sequence[str] = (),
    description: str = "",
    tags: Sequence[str] = (),
) -> Creation:
    """Look for the ENI in this subnet that has the address, or without an address for the one that the same verb made.

    `tags` are texts KEY=VALUE. The client token is made from what is asked, so the call may be repeated as long as EC2
    remembers it, and the ENI is found by its tag afterwards. Raises UsageError, MoveRefusedError for a primary
    interface with the address, ApiError.
    """
    forms.named("subnet", forms.identifier("subnet"), subnet)
    for group in groups:
        forms.named("group", forms.identifier("group"), group)
    pairs = dict(forms.named("tag", forms.tag, each).partition("=")[::2] for each in tags)
    address = forms.named("address", forms.address, address) if address else ""
    token = _token(subnet, address, sorted(groups), description, sorted(pairs.items()))
    call = actions.create_interface(subnet, address, groups, description, token, tags={**pairs, MADE: token})
    wanted = EniSelector(address=address) if address else EniSelector(tag=f"{MADE}={token}")
    filters = {**wanted.filters(), "subnet-id": [subnet]}
    found: tuple[NetworkInterface, ...] = api.pages(lambda page: actions.describe_interfaces(filters, page))
    fits = [one for one in found if wanted.fits(one)]
    if len(fits) != 1:
        return Creation(call)
    held = fits[0].attachment
    if held and held.place == (0, 0):
        said = f"{fits[0].id}, the primary interface of {held.instance}, which can never move"
        raise MoveRefusedError(f"address: {address} is held by {said}")
    return Creation(call, fits[0])


def _token(*asked: object) -> str:
    """A client token for EC2, 64 characters at most, from what is asked."""
    import hashlib
    import json

    return f"ec2ident-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:40]}"


def create(api: Api, wanted: Creation) -> NetworkInterface:
    """Return the ENI, created if there is none. Raises ApiError; MoveRefusedError if EC2 remembers a deleted one."""
    if wanted.found:
        return wanted.found
    made: NetworkInterface = api.call(wanted.call)
    # With the token of an ENI that was deleted since, EC2 gives the answer of then.
    filters, began = EniSelector(id=made.id).filters(), api.deadline.used
    while True:
        looked = api.deadline.used
        seen: tuple[NetworkInterface, ...] = api.pages(lambda page: actions.describe_interfaces(filters, page))
        if seen:
            return seen[0]
        said = f"{made.id}: was created by an earlier run and deleted since; to create another, change the description"
        if looked - began >= consistency.SETTLED:
            raise MoveRefusedError(said)
        api.deadline.pause(LOOK_EVERY, said)


# The part


class EniPart(Value):
    """An ENI that moves. With `here`, this node then waits for the interface and applies the agent's profile to it."""

    settings: EniSettings
    here: AgentBridge | None = None
    force: bool = False

    name = "eni"

    def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> EniSight:
        """Read the ENI and the instance."""
        return look(session.api_for(self.settings), self.settings.find, session.instance)

    def decide(self, sight: EniSight, expect: str = "") -> EniSight:
        """Check that the ENI can move. See `check`."""
        check(sight.interface, sight.instance, expect=expect, index=self.settings.index)
        return replace(sight, expect=expect)

    def plan(self, decision: EniSight) -> tuple[Planned, ...]:
        """The dry run, detach and attach, and the waiting."""
        moving, there = decision.interface, decision.instance
        if moving.holder == there.id:
            return ()
        found = [Planned(str(call)) for call in plan(moving, there, index=self.settings.index, force=self.force)]
        if moving.attachment:
            found.insert(0, Planned(str(permission(moving, there, index=self.settings.index)), "allowed?"))
        until = actions.describe_interfaces(EniSelector(id=moving.id).filters())
        found.append(Planned(str(until), "until it is attached:"))
        if self.here:
            found.append(Planned("ec2ident-agent apply", f"wait for {moving.mac}, then:"))
        return tuple(found)

    def run(self, session: Session, decision: EniSight) -> Iterator[Finding]:
        """Move the ENI and apply its profile. A profile that cannot be applied is a warning."""
        was, there = decision.interface, decision.instance
        moving = move(
            session.api_for(self.settings),
            decision,
            index=self.settings.index,
            grace=self.settings.grace,
            force=self.force,
            present=self.here.shows if self.here else None,
        )
        same = was.attachment and moving.attachment and was.attachment.id == moving.attachment.id
        said = "is here already" if same and here(was, there.id) else f"attached to {there.id}"
        yield Finding(f"{moving.id}: {said}", moving)
        if self.here:
            device = self.here.device(moving.mac, session.deadline)
            try:
                problem = self.here.apply(device)
                yield Finding(problem or f"{device}: {moving.id}, profile applied", warning=bool(problem))
            except ConfigError as error:
                yield Finding(f"{device}: no profile applied: {error}", warning=True)

    def undo(self, decision: EniSight, findings: Sequence[Finding]) -> tuple[str, ...]:
        """The detach from here, and the attach to the previous instance."""
        was, there = decision.interface, decision.instance
        found = []
        for now in (each.value for each in findings if not here(was, there.id)):
            if isinstance(now, NetworkInterface) and now.attachment:
                found.append(actions.detach(now.attachment.id, now.id, there.id, now.owner))
        if found and was.attachment:
            found.append(actions.attach(was.id, was.holder, was.attachment.index, was.owner))
        return tuple(map(str, found))

    def verify(self, session: Session) -> Iterator[Finding]:
        """Look whether the ENI is attached to the instance."""
        found = find(session.api_for(self.settings), self.settings.find)
        yield from warnings_of(_warnings(found))
        holder = f"at {found.holder}" if found.holder else "not attached to an instance"
        yield Finding(f"{found.id}: is {holder}", found, int(not here(found, session.instance)))

    def release(self, session: Session) -> Iterator[Release]:
        """Nothing: the ENI stays attached until another node takes it, and its traffic ends with the service."""
        return iter(())
