"""An interface (ENI) that moves to an instance: found exactly, detached with patience, attached to a free index.

Each turn of the loop in `move` looks first and then does one thing, so that it does not matter who did what in the
meantime: two movers end with one owner, and the other one is told.
"""

from __future__ import annotations

from ec2ident.value import Value

from .aws import actions
from .aws.deadline import all_of
from .aws.response import address as normal_address
from .aws.response import is_a
from .errors import ApiError, FailoverError, Kind, OutOfTimeError, RefusedError, UsageError
from .route_tables import check_tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .aws.actions import Call
    from .aws.client import Api
    from .aws.model import Instance, Interface

#: Device indexes that are tried; 0 is the primary interface's for ever.
INDEXES = range(1, 64)

#: Seconds between two looks while something is attaching or detaching.
LOOK_EVERY = 0.25

#: An instance in these states takes no interface.
NOT_READY = ("pending", "shutting-down", "terminated", "stopping")


class Find(Value):
    """Which interface: by id, by a tag `KEY=VALUE`, or by one of its addresses; exactly."""

    id: str = ""
    tag: str = ""
    address: str = ""

    def filters(self) -> Mapping[str, Sequence[str]]:
        if self.id:
            return {"network-interface-id": [self.id]}
        if self.tag:
            key, _, value = self.tag.partition("=")
            return {f"tag:{key}": [value]}
        name = "ipv6-addresses.ipv6-address" if ":" in self.address else "addresses.private-ip-address"
        return {name: [self.address]}

    def fits(self, eni: Interface) -> bool:
        """The service's filters know wildcards; this does not."""
        if self.id:
            return eni.id == self.id
        return bool(self.tag) or self.address in (*eni.addresses, *eni.ipv6)

    def __str__(self) -> str:
        return self.id or (f"tag {self.tag}" if self.tag else f"address {self.address}")


def check_find(find: Find) -> Find:
    """Raises UsageError unless exactly one way is given, with an id or address that can be one."""
    if sum(map(bool, (find.id, find.tag, find.address))) != 1:
        raise UsageError("interface: give either an id, or a tag KEY=VALUE, or an address")
    if find.id and not is_a("interface", find.id):
        raise UsageError(f"interface: {find.id!r} is no id of an interface (eni-…)")
    if find.tag:
        check_tag("interface", find.tag)
    if find.address:
        try:
            return Find(address=normal_address(find.address))
        except FailoverError as error:
            raise UsageError(f"interface: {error}") from None
    return find


def find(api: Api, wanted: Find) -> Interface:
    """The one interface. Raises UsageError for none, and for several."""
    found: tuple[Interface, ...] = api.pages(lambda token: actions.describe_interfaces(wanted.filters(), token))
    fits = [eni for eni in found if wanted.fits(eni)]
    if len(fits) > 1:
        said = ", ".join(f"{eni.id} in {eni.vpc}" for eni in fits)
        raise UsageError(f"interface: {wanted} is {len(fits)} interfaces: {said}; name one by its id")
    if not fits:
        raise UsageError(f"interface: no {wanted} in {api.access.region} (is it in another region or account?)")
    return fits[0]


def instance_of(api: Api, instance: str) -> Instance:
    if not is_a("instance", instance):
        raise UsageError(f"instance: {instance!r} is no id of an instance (i-…)")
    found: tuple[tuple[Instance, ...], str] = api.call(actions.describe_instance(instance))
    if len(found[0]) != 1 or found[0][0].id != instance:
        raise UsageError(f"instance: no {instance} in {api.access.region}")
    return found[0][0]


def look(api: Api, wanted: Find, instance: str) -> tuple[Interface, Instance]:
    """The interface and the instance, at the same time."""
    works: list[Callable[[], object]] = [lambda: find(api, wanted), lambda: instance_of(api, instance)]
    eni, there = all_of(works)
    return eni, there  # type: ignore[return-value]


def here(eni: Interface, instance: str) -> bool:
    return eni.holder == instance and eni.attachment is not None and eni.attachment.status == "attached"


def check(eni: Interface, instance: Instance, *, expect: str = "", index: int | None = None) -> None:
    """Raises RefusedError or UsageError for a move that cannot be, before anything is touched. Pure."""
    if eni.holder == instance.id:
        return
    if eni.zone != instance.zone:
        raise UsageError(f"availability zone: {eni.id} is in {eni.zone} ({instance.id} is in {instance.zone})")
    if instance.state in NOT_READY:
        raise RefusedError(f"{instance.id}: is {instance.state} (must be running or stopped)")
    if eni.attachment and eni.attachment.index == 0:
        raise UsageError(f"{eni.id}: is the primary interface of {eni.holder}, which can never be detached")
    if expect and eni.holder and eni.holder != expect:
        raise RefusedError(f"owner: {eni.id} is attached to {eni.holder} (expected {expect}); nothing was changed")
    if eni.attachment and not eni.holder:
        raise UsageError(f"{eni.id}: is held by a service of AWS, not by an instance")
    free_index(instance, index)


def free_index(instance: Instance, wanted: int | None) -> int:
    """The wanted device index, or the first free one. Raises RefusedError where it is taken."""
    if wanted is None:
        free = next((index for index in INDEXES if index not in instance.interfaces), None)
        if free is None:
            raise RefusedError(f"device index: {instance.id} has none free from {INDEXES[0]} to {INDEXES[-1]}")
        return free
    if wanted in instance.interfaces:
        taken = instance.interfaces[wanted]
        raise RefusedError(f"device index: {wanted} of {instance.id} is taken by {taken}")
    return wanted


def plan(eni: Interface, instance: Instance, *, index: int | None = None, force: bool = False) -> tuple[Call, ...]:
    """The calls of a move that goes undisturbed. Pure."""
    if eni.holder == instance.id:
        return ()
    found = [actions.attach(eni.id, instance.id, free_index(instance, index), eni.owner)]
    if eni.attachment:
        found.insert(0, actions.detach(eni.attachment.id, eni.id, eni.holder, eni.owner, force=force))
    return tuple(found)


def permission(eni: Interface, instance: Instance, *, index: int | None = None) -> Call:
    """What asks, before the detach, whether the attach will be allowed. Pure."""
    return actions.attach(eni.id, instance.id, free_index(instance, index), eni.owner, dry=True)


class Mover:
    """One move, from a first look to the interface attached."""

    def __init__(
        self, api: Api, eni: Interface, instance: Instance, *, index: int | None, grace: float, force: bool
    ) -> None:
        self.api, self.deadline = api, api.deadline
        self.instance, self.index, self.grace, self.force = instance, index, grace, force
        self.first = eni
        self.detaching_since: float | None = None
        self.asked: set[tuple[str, bool]] = set()
        #: Did we take it from somebody?
        self.detached = False

    def run(self) -> Interface:
        """Raises RefusedError when another mover was quicker, OutOfTimeError, ApiError."""
        eni = self.first
        while not here(eni, self.instance.id):
            try:
                self._turn(eni)
            except ApiError as error:
                if error.kind not in (Kind.WAIT, Kind.LOOK) and not self._index_taken(error):
                    raise
                self.api.log(f"{error.action}: {error.code}: looking again")
            self.deadline.pause(LOOK_EVERY, self._state(eni))
            try:
                eni = find(self.api, Find(id=eni.id))
            except OutOfTimeError as error:
                # What the interface was doing says more than which look at it was the last.
                raise OutOfTimeError(f"{self._state(eni)}: {error}") from None
        return eni

    def _state(self, eni: Interface) -> str:
        phase = eni.attachment.status if eni.attachment else eni.status
        return f"{eni.id}: {phase}{f' ({eni.holder})' if eni.holder else ''} (wanted attached to {self.instance.id})"

    def _turn(self, eni: Interface) -> None:
        held = eni.attachment
        if held is None or held.status == "detached":
            return self._attach(eni)
        if held.instance == self.instance.id and held.status != "detaching":
            return None
        if held.instance not in (self.first.holder, self.instance.id):
            raise RefusedError(
                f"{eni.id}: another mover was quicker: it is {held.status} to {held.instance} "
                f"(wanted {self.instance.id}, was {self.first.holder or 'free'})"
            )
        return self._detach(eni)

    def _detach(self, eni: Interface) -> None:
        """Once without force; with it at once when asked for, else after the grace."""
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
            # One that is refused, as while it is still attaching there, was not asked.
            self.api.call(actions.detach(eni.attachment.id, eni.id, eni.holder, eni.owner, force=force))
            self.asked.add(ask)
            self.detached = True

    def _attach(self, eni: Interface) -> None:
        index = free_index(self.instance, self.index)
        self.api.call(actions.attach(eni.id, self.instance.id, index, eni.owner))

    def _index_taken(self, error: ApiError) -> bool:
        """Somebody attached another interface meanwhile: look which index is free now."""
        if error.code != "InvalidParameterValue" or "device index" not in error.message or self.index is not None:
            return False
        self.instance = instance_of(self.api, self.instance.id)
        return True


def move(
    api: Api,
    eni: Interface,
    instance: Instance,
    *,
    index: int | None = None,
    expect: str = "",
    grace: float = 30.0,
    force: bool = False,
) -> Interface:
    """Attach the interface to the instance, from wherever it is. Already there is nothing to do.

    `grace` is how many seconds a detach may hang before it is forced; `force` forces it at once. A forced detach may
    leave the old instance's device index unusable until it is stopped and started ("DetachNetworkInterface").
    Raises RefusedError, UsageError, ApiError, OutOfTimeError.
    """
    check(eni, instance, expect=expect, index=index)
    try:
        if eni.attachment and eni.holder != instance.id:
            _permitted(api, permission(eni, instance, index=index))
        return _run(Mover(api, eni, instance, index=index, grace=grace, force=force))
    except OutOfTimeError as error:
        raise OutOfTimeError(f"{error}; run it again to go on from there") from None


def _run(mover: Mover) -> Interface:
    """As `Mover.run`; where the attach is refused after the detach, the log says how to give it back."""
    try:
        return mover.run()
    except ApiError:
        eni = mover.first
        if mover.detached and eni.attachment:
            back = actions.attach(eni.id, eni.holder, eni.attachment.index, eni.owner)
            mover.api.log(f"{eni.id}: detached from {eni.holder} and attached to nobody; to undo: {back}")
        raise


def _permitted(api: Api, dry: Call) -> None:
    """Raises ApiError where the attach will be refused: after the detach, nobody would have the interface."""
    try:
        api.call(dry)
    except ApiError as error:
        if error.kind in (Kind.DENIED, Kind.QUOTA):
            raise


def create(api: Api, subnet: str, address: str, groups: Sequence[str], description: str, token: str) -> Interface:
    """A new interface. Where the address is already held by one in this subnet, that one: the verb may be repeated."""
    for what, text in (("subnet", subnet), *(("group", group) for group in groups)):
        if not is_a(what, text):
            raise UsageError(f"{what}: {text!r} is no id of a {what}")
    if address:
        address = check_find(Find(address=address)).address
        found: tuple[Interface, ...] = api.pages(
            lambda page: actions.describe_interfaces({**Find(address=address).filters(), "subnet-id": [subnet]}, page)
        )
        if len(found) == 1 and address in (*found[0].addresses, *found[0].ipv6):
            held = found[0].attachment
            if held and held.index == 0:
                said = f"{found[0].id}, the primary interface of {held.instance}, which can never move"
                raise RefusedError(f"address: {address} is held by {said}")
            return found[0]
    made: Interface = api.call(actions.create_interface(subnet, address, groups, description, token))
    return made
