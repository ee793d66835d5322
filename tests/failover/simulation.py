"""Movers against a simulated, inconsistent EC2 on a virtual clock: nothing sleeps, and a seed decides everything.

Each mover runs the real take-over in a thread of its own, with the real retries of the client. Only one of them runs
at a time: a mover that sleeps gives the turn to the one that wakes first. Assumptions, as in `consistency`: a read
shows the table at one moment of the last `stale` seconds, a write is decided by the present, and its response is true.
"""

from __future__ import annotations

import heapq
import random
import threading

from ec2ident_agent.failover import consistency
from ec2ident_agent.failover.address import AddressPart
from ec2ident_agent.failover.aws.client import Access, Api, _PassingError
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.aws.model import Attachment, NetworkInterface, RouteTable, VpcRoute
from ec2ident_agent.failover.errors import ApiError, FailoverError
from ec2ident_agent.failover.part import exit_of
from ec2ident_agent.failover.route import RoutePart, RouteSight
from ec2ident_agent.failover.route_tables import describe
from ec2ident_agent.failover.selectors import TableSelector
from ec2ident_agent.failover.settings import RouteSettings
from ec2ident_agent.failover.takeover import Takeover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ec2ident_agent.failover.aws.actions import ApiCall

TABLE, OVERLAY = "rtb-0a1b2c3d", "192.168.10.5/32"
ENIS = ("eni-0000000a", "eni-0000000b", "eni-0000000c")
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
    """One route table, and everything that ever was in it."""

    def __init__(self, seed: int) -> None:
        self.random, self.clock = random.Random(seed), Clock()
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


class SimulatedApi(Api):
    """The real client, with its retries, in front of the world."""

    def __init__(self, world: World, run: str) -> None:
        clock = world.clock
        deadline = Deadline(DEADLINE, clock=lambda: clock.now, sleep=clock.sleep)
        super().__init__(Access("us-east-1"), deadline, environ={}, jitter=world.random.random)
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
        if call.action == "DescribeRouteTables":
            eni = world.at(world.clock.now - world.random.uniform(0.0, world.stale))
            rows = (VpcRoute(OVERLAY, eni),) if eni else ()
            return (RouteTable(TABLE, "vpc-1", "1", rows),), ""
        if call.action == "CreateRoute" and world.now:
            raise ApiError(call.name, "RouteAlreadyExists", "there is one", 400)
        if call.action == "ReplaceRoute" and not world.now:
            raise ApiError(call.name, "InvalidParameterValue", "There is no route defined for it", 400)
        world.write(fields["NetworkInterfaceId"], self.run)
        return None


class SimulatedRoute(RoutePart):
    """The real part. Its look asks one thing after the other, and so in an order that the seed decides."""

    def look(self, session: Any, earlier: Any = ()) -> RouteSight:
        held = Attachment("eni-attach-00000001", "i-0000000a", 0, 0, "attached")
        eni = NetworkInterface(
            session.eni, "in-use", "a", "subnet-1", "vpc-1", "1", "06:00:00:00:00:01", False, ("10.0.0.1",), (), held
        )
        return RouteSight(describe(session.api(), self.settings.select), eni)


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
        self.error: FailoverError | None = None
        bridge: Any = node
        session: Any = self
        route = SimulatedRoute(RouteSettings(TableSelector((TABLE,)), check=False), (OVERLAY,))
        takeover = Takeover(session, (AddressPart(bridge, (OVERLAY,)), route))
        try:
            self.exit = exit_of(takeover.run(takeover.decide()))
        except FailoverError as error:
            self.exit, self.error = error.exit, error
        self.ended, self.held = node.world.clock.now, node.held

    def api(self) -> Api:
        return self._api


def check(world: World, nodes: Sequence[Node]) -> None:
    """What holds of every schedule. Raises AssertionError."""
    for run in (run for node in nodes for run in node.runs):
        last = max((number for number, row in enumerate(world.history) if row[2] == run.name), default=None)
        overtaken = [row[0] for row in world.history[last + 1 :] if row[1] != run.eni] if last is not None else []
        if run.exit == 0:
            assert last is not None, f"{run.name}: says done and wrote nothing"
            seen = run.ended - world.stale - LATENCY
            assert not overtaken or overtaken[0] >= seen, f"{run.name}: says done, lost at {overtaken[0]}"
            assert run.held, f"{run.name}: says done without the address"
        if run.exit == 4:
            assert not run.held, f"{run.name}: another mover is confirmed, and the address is kept"
            assert overtaken, f"{run.name}: no other mover was later: {run.error}"
    final = max(nodes, key=lambda node: [row[2].startswith(node.name) for row in world.history].count(True))
    assert final  # Some mover always ran.
    writer = world.history[-1][2].partition(".")[0]
    for node in nodes:
        if node.name == writer:
            assert node.held, f"{node.name}: the route points here and the address is not held"


def simulate(seed: int) -> World:
    """Run one schedule and check it."""
    world = World(seed)
    nodes = [Node(world, eni, name) for eni, name in zip(ENIS, "abc")][: world.random.choice((2, 2, 3))]
    lives = [world.random.randrange(1, 4) for _ in nodes]
    world.clock.run([lambda node=node, times=times: node.live(times) for node, times in zip(nodes, lives)])  # type: ignore[misc]
    check(world, nodes)
    return world
