"""Movers against a simulated, inconsistent EC2 on a virtual clock: nothing sleeps, and a seed decides everything.

What moves is a route, a private address of IPv4 (which EC2 takes from its holder) or of IPv6 (which the holder must
lose first), an Elastic IP, or an ENI.

Each mover runs the real take-over in a thread of its own, with the real retries of the client. Only one of them runs
at a time: a mover that sleeps gives the turn to the one that wakes first. Assumptions, as in `consistency`: a read
shows the table at one moment of the last `stale` seconds, a write is decided by the present, and its response is true.
"""

from __future__ import annotations

import heapq
import random
import threading
import time

from ec2ident.value import Value, replace
from ec2ident_agent.failover.aws import consistency
from ec2ident_agent.failover.aws.client import Access, Api, _PassingError
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.aws.model import (
    Attachment,
    Ec2Instance,
    ElasticAddress,
    NetworkInterface,
    RouteTable,
    VpcRoute,
)
from ec2ident_agent.failover.errors import ApiError, FailoverError
from ec2ident_agent.failover.parts.address import AddressPart
from ec2ident_agent.failover.parts.assigned import AssignedPart
from ec2ident_agent.failover.parts.eip import EipAssignment
from ec2ident_agent.failover.parts.eni import SKEW, EniPart, EniSight, find
from ec2ident_agent.failover.parts.part import exit_of
from ec2ident_agent.failover.parts.private import PrivateAssignment
from ec2ident_agent.failover.parts.route import RoutePart, RouteSight
from ec2ident_agent.failover.parts.route_tables import describe
from ec2ident_agent.failover.selectors import EniSelector, TableSelector
from ec2ident_agent.failover.settings import EipSettings, EniSettings, PrivateSettings, RouteSettings
from ec2ident_agent.failover.takeover import Takeover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.parts.part import AnyPart

TABLE, OVERLAY = "rtb-0a1b2c3d", "192.168.10.5/32"
ENIS = ("eni-0000000a", "eni-0000000b", "eni-0000000c")
EIP = "eipalloc-0a1b2c3d"
#: What moves, by kind; a route has no key.
KEYS = {"route": (), "address": ("10.0.0.50",), "address6": ("fd00::50",), "eip": (EIP,)}
#: The virtual time 0, in seconds since 1970.
EPOCH = 1_700_000_000.0
#: Seconds of one call at most, and of one action.
LATENCY, DEADLINE = 0.3, 20.0


class Clock:
    """The virtual time, which passes only while every mover sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._count = 0
        self._done = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Give the turn away for so long."""
        mine = self._add(seconds)
        self._next()
        mine.wait()

    def _add(self, seconds: float) -> threading.Event:
        self._count += 1
        event = threading.Event()
        heapq.heappush(self._sleepers, (self.now + max(0.0, seconds), self._count, event))
        return event

    def _next(self) -> None:
        if self._sleepers:
            self.now, _, event = heapq.heappop(self._sleepers)
            event.set()
        else:
            self._done.set()

    def run(self, works: Sequence[Callable[[], None]]) -> None:
        """Run all works from now on, until the last has ended."""
        broken: list[BaseException] = []

        def work(mine: threading.Event, what: Callable[[], None]) -> None:
            mine.wait()
            try:
                what()
            except BaseException as error:  # noqa: BLE001  raised below, in the thread of the test
                broken.append(error)
            self._next()

        threads = [threading.Thread(target=work, args=(self._add(0.0), what), daemon=True) for what in works]
        for thread in threads:
            thread.start()
        self._next()
        if not self._done.wait(60):
            raise AssertionError("the simulation hangs")
        for error in broken:
            raise error


class World:
    """One thing that moves between ENIs, and every owner that it ever had."""

    def __init__(self, seed: int, kind: str = "route") -> None:
        self.random, self.clock, self.kind = random.Random(seed), Clock(), kind
        #: Whether EC2 refuses to assign to an ENI what that ENI has: it is not documented.
        self.refuses_again = self.random.random() < 0.5
        #: Less than SETTLED together with the time of a call: that is what the move assumes.
        self.stale = self.random.choice((0.0, 0.3, 2.0, consistency.SETTLED - LATENCY))
        self.lost, self.throttled = (self.random.choice((0.0, 0.1, 0.5)) for _ in range(2))
        #: Moment, ENI or "", and the run that wrote it.
        self.history: list[tuple[float, str, str]] = []
        moment = -30.0
        for _ in range(self.random.randrange(1, 4)):
            self.history.append((moment, self.random.choice(("", *ENIS)), "before"))
            moment = self.random.uniform(moment, 0.0)

    def at(self, moment: float) -> str:
        """The ENI that the route pointed to at a moment."""
        return [eni for when, eni, _ in self.history if when <= moment or when == self.history[0][0]][-1]

    @property
    def now(self) -> str:
        """The ENI that the route points to."""
        return self.history[-1][1]

    def write(self, eni: str, run: str) -> None:
        self.history.append((self.clock.now, eni, run))


class Attached(Value):
    """The attachment of the ENI at a moment; `status` is attaching, attached, detaching, or "" while it is free."""

    instance: str = ""
    id: str = ""
    status: str = ""
    since: float = 0.0


class AttachmentWorld(World):
    """One ENI, which instances have in turn; attaching and detaching take their time."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, "eni")
        self.count = 0
        self.states: list[tuple[float, Attached]] = []
        owners, self.history = self.history, []
        for moment, eni, run in owners:
            self.change(Attached(), run, moment)
            if eni:
                self.change(Attached(eni, self.next_id(), "attached", moment), run, moment)

    def next_id(self) -> str:
        self.count += 1
        return f"eni-attach-{self.count:08x}"

    def state(self, moment: float) -> Attached:
        """The attachment at a moment."""
        return [found for when, found in self.states if when <= moment or when == self.states[0][0]][-1]

    def change(self, found: Attached, run: str, moment: float | None = None) -> None:
        """From a moment on, by default from now on."""
        when = self.clock.now if moment is None else moment
        self.states.append((when, found))
        self.history.append((when, found.instance if found.status in ("attaching", "attached") else "", run))

    @property
    def now(self) -> str:
        """The instance that has it, also while it is detached from there."""
        return self.state(self.clock.now).instance

    def act(self, call: ApiCall, fields: Mapping[str, str], run: str) -> Any:
        """Attach or detach, as EC2 decides by the present state."""
        present = self.state(self.clock.now)
        done = self.clock.now + self.random.choice((0.0, 0.5, 3.0))
        if call.action == "DetachNetworkInterface":
            if present.id != fields["AttachmentId"]:
                raise ApiError(call.name, "InvalidAttachmentID.NotFound", "there is none", 400)
            if present.status == "attaching":
                raise ApiError(call.name, "IncorrectState", "it is attaching", 400)
            if present.status == "attached":
                self.change(replace(present, status="detaching"), run)
                self.change(Attached(), run, done)
            return None
        if fields.get("DryRun"):
            raise ApiError(call.name, "DryRunOperation", "it would have succeeded", 412)
        if present.instance:
            raise ApiError(call.name, "InvalidNetworkInterface.InUse", "it is in use", 400)
        made = Attached(fields["InstanceId"], self.next_id(), "attaching", self.clock.now)
        self.change(made, run)
        self.change(replace(made, status="attached"), run, done)
        return made.id

    def described(self) -> NetworkInterface:
        """The ENI as it was at a moment of the last seconds."""
        then = self.state(self.clock.now - self.random.uniform(0.0, self.stale))
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(EPOCH + then.since))
        held = Attachment(then.id, then.instance, 1, 0, then.status, False, since) if then.instance else None
        return replace(interface("eni-0000000f"), attachment=held, status="in-use" if held else "available")


class SimulatedApi(Api):
    """The real client, with its retries, in front of the world."""

    def __init__(self, world: World, run: str) -> None:
        clock = world.clock
        deadline = Deadline(DEADLINE, clock=lambda: clock.now, sleep=clock.sleep)
        super().__init__(
            Access("us-east-1"), deadline, environ={}, jitter=world.random.random, now=lambda: EPOCH + clock.now
        )
        self.world, self.run = world, run

    def _once(self, call: ApiCall) -> Any:
        random_, clock = self.world.random, self.world.clock
        clock.sleep(min(random_.uniform(0.01, LATENCY / 2), self.deadline.left))
        if random_.random() < self.world.throttled:
            raise ApiError(call.name, "RequestLimitExceeded", "slow down", 503)
        found = self._done(call)
        clock.sleep(min(random_.uniform(0.01, LATENCY / 2), self.deadline.left))
        if random_.random() < self.world.lost:
            raise _PassingError("the answer is lost")
        return found

    def _done(self, call: ApiCall) -> Any:
        world, fields = self.world, dict(call.fields)
        if isinstance(world, AttachmentWorld):
            looks = call.action == "DescribeNetworkInterfaces"
            return ((world.described(),), "") if looks else world.act(call, fields, self.run)
        then = world.at(world.clock.now - world.random.uniform(0.0, world.stale))
        eni = fields.get("NetworkInterfaceId", "")
        if call.action == "DescribeRouteTables":
            rows = (VpcRoute(OVERLAY, then),) if then else ()
            return (RouteTable(TABLE, "vpc-1", "1", rows),), ""
        if call.action == "DescribeNetworkInterfaces":
            keys, own = KEYS[world.kind], fields["Filter.1.Value.1"]
            if fields["Filter.1.Name"] == "network-interface-id":
                return (interface(own, *(keys if own == then else ())),), ""
            return ((interface(then, *keys),) if then else ()), ""
        if call.action == "DescribeAddresses":
            return (ElasticAddress(EIP, "198.51.100.1", then, f"i-{then[4:]}" if then else "", "10.0.0.1"),)
        if call.action == "CreateRoute" and world.now:
            raise ApiError(call.name, "RouteAlreadyExists", "there is one", 400)
        if call.action == "ReplaceRoute" and not world.now:
            raise ApiError(call.name, "InvalidParameterValue", "There is no route defined for it", 400)
        if call.action == "AssignIpv6Addresses" and world.now and (world.now != eni or world.refuses_again):
            raise ApiError(call.name, "Resource.AlreadyAssigned", "it is already assigned", 400)
        if call.action == "UnassignIpv6Addresses":
            if world.now != eni:
                raise ApiError(call.name, "InvalidParameterValue", "it is not assigned to this ENI", 400)
            eni = ""
        world.write(eni, self.run)
        return None


def interface(eni: str, *more: str) -> NetworkInterface:
    """An ENI that an instance has, with an address of its own, and more."""
    four, six = (tuple(each for each in more if (":" in each) == version6) for version6 in (False, True))
    held = Attachment("eni-attach-00000001", f"i-{eni[4:]}", 0, 0, "attached")
    mac, addresses = "06:00:00:00:00:01", ("10.0.0.1", *four)
    return NetworkInterface(eni, "in-use", "a", "subnet-1", "vpc-1", "1", mac, False, addresses, six, held)


class SimulatedRoute(RoutePart):
    """The real part. Its look asks one thing after the other, and so in an order that the seed decides."""

    def look(self, session: Any, earlier: Any = ()) -> RouteSight:
        return RouteSight(describe(session.api(), self.settings.select), interface(session.eni))


class SimulatedPrivate(PrivateAssignment):
    """The real assignment, to the ENI of the simulated node."""

    def carrier(self, session: Any, earlier: Any) -> tuple[NetworkInterface, tuple[str, ...]]:
        return interface(session.eni), ()


class SimulatedEni(EniPart):
    """The real part. Its look asks one thing after the other."""

    def look(self, session: Any, earlier: Any = ()) -> EniSight:
        there = Ec2Instance(session.eni, "running", "a", "vpc-1", {0: "eni-00000001"})
        return EniSight(find(session.api(), self.settings.find), there)


class SimulatedEip(EipAssignment):
    """The real assignment, to the ENI of the simulated node."""

    def carrier(self, session: Any, earlier: Any) -> tuple[NetworkInterface, tuple[str, ...]]:
        return interface(session.eni), ()


def part_of(kind: str) -> AnyPart:
    """The real part that moves it."""
    if kind == "route":
        return SimulatedRoute(RouteSettings(TableSelector((TABLE,)), check=False), (OVERLAY,))
    if kind == "eni":
        return SimulatedEni(EniSettings(EniSelector(id="eni-0000000f"), grace=60.0))
    if kind == "eip":
        return AssignedPart("eip", SimulatedEip(EipSettings(EIP)), KEYS[kind])
    return AssignedPart("private", SimulatedPrivate(PrivateSettings(KEYS[kind])), KEYS[kind])


class Node:
    """A node with an ENI, and its side of the move: whether it holds the address, and when it released it."""

    def __init__(self, world: World, eni: str, name: str) -> None:
        self.world, self.eni, self.name = world, eni, name
        self.held = False
        self.runs: list[Run] = []

    def hold(self, address: str, device: str, label: str) -> tuple[str, ...]:
        new = () if self.held else (address,)
        self.held = True
        return new

    def release(self, address: str) -> None:
        """The address is never released while the route points here."""
        assert self.world.now != self.eni, f"{self.name}: released while the route points here"
        self.held = False

    def live(self, times: int) -> None:
        for number in range(times):
            self.world.clock.sleep(self.world.random.choice((0.0, 0.1, 1.0, 5.0)) * self.world.random.random())
            if self.world.random.random() < 0.3 and self.world.now != self.eni:
                # The engine stopped the resource here.
                self.held = False
            self.runs.append(Run(self, f"{self.name}.{number}"))


class Run:
    """One take-over, and what is to be said of it afterwards."""

    def __init__(self, node: Node, name: str) -> None:
        self.node, self.name, self.instance, self.eni = node, name, "", node.eni
        self.advise, self.log, self._api = False, lambda line: None, SimulatedApi(node.world, name)
        self.deadline, self.began = self._api.deadline, node.world.clock.now
        self.error: FailoverError | None = None
        bridge: Any = node
        session: Any = self
        part = part_of(node.world.kind)
        # The address that goes with an ENI is the ENI's own.
        address = () if node.world.kind == "eni" else (AddressPart(bridge, (OVERLAY,)),)
        takeover = Takeover(session, (*address, part))
        try:
            self.exit = exit_of(takeover.run(takeover.decide()))
        except FailoverError as error:
            self.exit, self.error = error.exit, error
        if node.world.kind == "eni":
            node.held = node.world.now == node.eni
        self.ended, self.held = node.world.clock.now, node.held

    def api(self, *_: str) -> Api:
        return self._api

    def api_for(self, _: object) -> Api:
        return self._api

    def device(self, *_: object) -> None:
        """Each node has one ENI, so no device tells which."""


def check(world: World, nodes: Sequence[Node]) -> None:
    """What holds of every schedule. Raises AssertionError."""
    for run in (run for node in nodes for run in node.runs):
        last = max((number for number, row in enumerate(world.history) if row[2] == run.name), default=None)
        later = world.history[last + 1 :] if last is not None else [r for r in world.history if r[0] >= run.began]
        overtaken = [row[0] for row in later if row[1] != run.eni]
        if run.exit == 0:
            seen = run.ended - world.stale - LATENCY
            moments = [seen, *(row[0] for row in world.history if seen < row[0] <= run.ended)]
            assert any(world.at(each) == run.eni for each in moments), f"{run.name}: says done, and it is not here"
            # Only what EC2 refuses to assign again is right without a write.
            assert last is not None or world.kind == "address6", f"{run.name}: says done and wrote nothing"
            assert not overtaken or overtaken[0] >= seen, f"{run.name}: says done, lost at {overtaken[0]}"
            assert run.held, f"{run.name}: says done without the address"
        if run.exit == 4:
            assert not run.held, f"{run.name}: another mover is confirmed, and the address is kept"
            assert overtaken, f"{run.name}: no other mover was later: {run.error}"
    writer = world.history[-1][2].partition(".")[0]
    for node in nodes:
        if node.name == writer and world.now == node.eni:
            assert node.held, f"{node.name}: it is here and the address is not held"


def check_attachments(world: AttachmentWorld, nodes: Sequence[Node]) -> None:
    """The same for an ENI, which is right without a write if every look of SETTLED seconds says so."""
    runs = [run for node in nodes for run in node.runs]
    for run in runs:
        seen = run.ended - world.stale - LATENCY
        moments = [seen, *(when for when, _ in world.states if seen < when <= run.ended)]
        states = [world.state(each) for each in moments]
        here = [state for state in states if (state.instance, state.status) == (run.eni, "attached")]
        if run.exit == 0:
            assert here, f"{run.name}: says done, and it is not here"
        if run.exit == 4:
            # An attach of another mover, which took its time, may have begun before this run.
            others = [
                row
                for row in world.states
                if run.began - 2 * SKEW <= row[0] <= run.ended and row[1].instance not in ("", run.eni)
            ]
            assert others, f"{run.name}: no other mover was later: {run.error}"
    if not world.now:
        (last,) = [run for run in runs if run.name == world.history[-1][2]]
        assert last.exit == 3, f"{last.name}: ended with {last.exit} and left the ENI free"


def simulate(seed: int, kind: str = "route") -> World:
    """Run one schedule and check it."""
    world = World(seed, kind) if kind != "eni" else AttachmentWorld(seed)
    nodes = [Node(world, eni, name) for eni, name in zip(ENIS, "abc")][: world.random.choice((2, 2, 3))]
    lives = [world.random.randrange(1, 4) for _ in nodes]
    world.clock.run([lambda node=node, times=times: node.live(times) for node, times in zip(nodes, lives)])  # type: ignore[misc]
    if isinstance(world, AttachmentWorld):
        check_attachments(world, nodes)
    else:
        check(world, nodes)
    return world
