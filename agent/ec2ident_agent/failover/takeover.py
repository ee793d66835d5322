"""One verb for a whole service: interface, overlay address, route, name, in the order that leaves no half of it alone.

Everything is looked at and decided before anything is touched, so that a refusal costs nothing. Then:

1. the interface moves, as everything else may need it, and the agent lays its profile;
2. the overlay address is held here: traffic must not arrive before somebody answers;
3. the route moves, in all tables at once;
4. the name moves, which takes longest.

If no table could be moved the address is let go of again, so that two nodes never answer for it; what cannot be undone
without a second outage (an interface, some of the tables) stays, and the next run goes on from there. For those who
would rather go back, the log says how.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.errors import AgentError, ConfigError

from . import dns, eni, route
from .aws import actions
from .aws.model import Instance, Interface
from .errors import RefusedError, UnknownError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .agent_bridge import AgentBridge
    from .aws.client import Api
    from .errors import FailoverError
    from .settings import Service

    Say = Callable[[str], object]


class Decision(Value):
    """What is to be done, decided from one look. A part that the service has not is None."""

    service: Service
    instance: str
    interface: tuple[Interface, Instance] | None = None
    route: tuple[route.Sight, tuple[route.Move, ...]] | None = None
    names: tuple[dns.Difference, ...] | None = None
    address: str = ""
    force: bool = False


class Takeover:
    """One service to one node. `here` is the local side, None where the target is another node than this."""

    def __init__(self, api: Api, service: Service, instance: str, here: AgentBridge | None, say: Say) -> None:
        self.api, self.service, self.instance, self.here, self.say = api, service, instance, here, say
        #: Why parts of it did not move.
        self.failures: tuple[FailoverError, ...] = ()
        #: What takes back what was done so far, as a person would type it; the last step first.
        self.undo: list[str] = []

    # 0. Look and decide

    def decide(self, *, expect: str = "", force: bool = False) -> Decision:
        """Looks only. Raises what speaks against the move, before anything is touched."""
        service = self.service
        found = Decision(
            service,
            self.instance,
            self._interface(expect) if service.eni else None,
            self._route(expect) if service.route else None,
            force=force,
        )
        return self._with_names(found) if service.dns else found

    def _interface(self, expect: str) -> tuple[Interface, Instance]:
        part = self.service.eni
        assert part
        found = eni.look(self.api, part.find, self.instance)
        # An interface can own a route, but no other interface.
        eni.check(*found, expect="" if expect.startswith("eni-") else expect, index=part.index)
        return found

    def _route(self, expect: str) -> tuple[route.Sight, tuple[route.Move, ...]]:
        part, overlay = self.service.route, self.service.overlay
        assert part
        sight = route.look(self.api, part.select, overlay, eni=part.eni, instance=self.instance, others=False)
        for warning in route.warnings(sight, overlay):
            self.say(f"warning: {warning}")
        return sight, route.decide(sight, overlay, expect=expect)

    def _with_names(self, found: Decision) -> Decision:
        from ec2ident.value import replace

        part = self.service.dns
        assert part
        values = part.values or self.service.overlay
        own = found.interface[0] if found.interface else found.route[0].interface if found.route else None
        if own is None and not values:
            own = route.carrier(self.api, "", self.instance)
        wanted = dns.wanted(part.name, values or (own.addresses[:1] if own else ()), part.ttl)
        return replace(found, names=dns.look(self.api, part.zone, wanted, vpc=part.vpc, own=own.vpc if own else ""))

    # The plan, printed

    def plan(self, found: Decision) -> tuple[str, ...]:
        """Every call and every `ip` line, in order; what only looks, asks or waits stands behind a #."""
        lines = (
            *self._plan_interface(found),
            *map(str, self._address_steps()),
            *self._plan_route(found),
            *self._plan_names(found),
        )
        return (*(f"# look: {look}" for look in sorted(self.api.looks)), *lines) if lines else ()

    def _plan_interface(self, found: Decision) -> Iterator[str]:
        part = self.service.eni
        if not part or not found.interface or found.interface[0].holder == self.instance:
            return
        moving = found.interface[0]
        if moving.attachment:
            yield f"# allowed? {eni.permission(*found.interface, index=part.index)}"
        yield from map(str, eni.plan(*found.interface, index=part.index, force=found.force))
        yield f"# until it is attached: {actions.describe_interfaces(eni.Find(id=moving.id).filters())}"
        if self.here:
            yield f"# wait for {moving.mac}, then: ec2ident-agent apply"

    def _plan_route(self, found: Decision) -> Iterator[str]:
        if not self.service.route or not found.route:
            return
        yield from map(str, route.plan(*found.route, check=self.service.route.check))
        if any(move.call() for move in found.route[1]):
            yield f"# read back: {actions.describe_tables(route.tables_of(found.route[1]).filters())}"

    def _plan_names(self, found: Decision) -> Iterator[str]:
        part = self.service.dns
        if not part or found.names is None:
            return
        change = dns.plan(part.zone, found.names)
        yield from map(str, change)
        if change and part.wait:
            yield f"# until it is INSYNC: {actions.get_change('CHANGE')}"

    def _address_steps(self) -> Sequence[object]:
        if not self.here:
            return ()
        service = self.service
        return [step for each in service.overlay for step in self.here.plan(each, service.device, service.label)]

    # Do

    def run(self, found: Decision) -> int:
        """In the order of the module's first lines. Returns the exit code; raises what ended it."""
        code = 4
        try:
            self._move_interface(found)
            held = self._hold()
            # A name that points to half a service helps nobody; the next run gets to it.
            code = self._move_route(found, held) or self._move_names(found)
        finally:
            # A resolver that says otherwise (1) has the old answer in its cache.
            for line in self.undo if code > 1 else ():
                self.say(f"to undo: {line}")
        return code

    def _move_interface(self, found: Decision) -> None:
        """1."""
        if not found.interface:
            return
        part, (moving, target) = self.service.eni, found.interface
        assert part
        if eni.here(moving, self.instance):
            self.say(f"{moving.id}: is here already")
        else:
            was = moving.attachment
            moving = eni.move(self.api, moving, target, index=part.index, grace=part.grace, force=found.force)
            self.say(f"{moving.id}: attached to {self.instance}")
            if was:
                self.undo.insert(0, str(actions.attach(moving.id, was.instance, was.index, moving.owner)))
            if moving.attachment:
                self.undo.insert(0, str(actions.detach(moving.attachment.id, moving.id, self.instance, moving.owner)))
        if self.here:
            settle(self.here, moving, self.api.deadline, self.say)

    def _hold(self) -> list[str]:
        """2. Returns the addresses that were not here before."""
        held: list[str] = []
        for each in self.service.overlay if self.here else ():
            assert self.here
            try:
                if self.here.hold(each, self.service.device, self.service.label):
                    held.append(each)
                    self.undo.insert(0, _release(each))
                    self.say(f"{each}: held here")
            except AgentError:
                self._let_go(held)
                raise
        return held

    def _let_go(self, held: Sequence[str]) -> None:
        for each in held:
            assert self.here
            self.here.release(each)
            self.undo.remove(_release(each))
            self.say(f"{each}: let go of again")

    def _move_route(self, found: Decision, held: Sequence[str]) -> int:
        """3."""
        if not found.route:
            return 0
        assert self.service.route
        result = route.ensure(self.api, *found.route, check=self.service.route.check)
        for outcome in result.outcomes:
            self.say(str(outcome))
        self.undo[:0] = map(str, route.undo(found.route[1], result.outcomes))
        if result.check_switched_off:
            self.say(f"{result.eni}: source/destination check switched off")
            self.undo.insert(0, str(actions.source_dest_check(result.eni, found.route[0].interface.owner, True)))
        self.failures = tuple(each.error for each in result.outcomes if each.error)
        points_here = any(each.verb in ("created", "replaced", "right") for each in result.outcomes)
        # A call without an answer may have been done: then somebody should answer here.
        unsure = any(isinstance(error, UnknownError) for error in self.failures)
        if result.failed and not points_here and not unsure:
            self._let_go(held)
            raise RefusedError("route: moved in no table; the address is not held here either") from self.failures[0]
        if result.failed:
            self.say(f"route: {len(result.failed)} of {len(result.outcomes)} not moved; run it again to go on")
        return result.exit

    def _move_names(self, found: Decision) -> int:
        """4."""
        part = self.service.dns
        if not part or found.names is None:
            return 0
        change = dns.upsert(self.api, part.zone, found.names)
        self.undo[:0] = map(str, dns.undo(part.zone, found.names))
        for difference in found.names:
            self.say(f"{'upserted' if difference else 'right'}: {difference.wanted}")
        if change:
            self.say(f"change {change.id}: {change.status}")
            if part.wait and change.status != "INSYNC":
                self.say(f"change {change.id}: {dns.wait(self.api, change).status}")
        return _confirmed(self.api, part.resolver, found.names, self.say) if part.resolver else 0


def _release(address: str) -> str:
    return f"ec2ident-agent overlay del {address}"


def _confirmed(api: Api, resolver: str, names: Sequence[dns.Difference], say: Say) -> int:
    import random

    number = random.SystemRandom()
    seen = dns.confirm(api, resolver, [each.wanted for each in names], lambda: number.randrange(65536))
    for each in seen:
        say(f"resolver {resolver}: {each}")
    return int(any(seen))


def settle(here: AgentBridge, moving: Interface, deadline: object, say: Say) -> None:
    """Wait for the interface to show up, and let the agent apply its profile. Without one configured, say so."""
    device = here.device(moving.mac, deadline)  # type: ignore[arg-type]
    try:
        problem = here.apply(device)
    except ConfigError as error:
        say(f"warning: {device}: no profile applied: {error}")
        return
    say(f"warning: {problem}" if problem else f"{device}: {moving.id}, profile applied")
