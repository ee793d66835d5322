"""Requests lost while a node fails: a client at 1,000 requests a second, for each way to move a service.

Two nodes under Pacemaker and Corosync, with a 1 s token and fencing, have the services; the client is outside. The
overlay route and the name move between zones, the ENI and the private address between two nodes of one zone. What
nodes announce by BGP (`bgp`) moves between zones without an engine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import NamedTuple

from tests.failover.cluster.fencing import Fenced
from tests.failover.cluster.pair import PACKAGES
from tests.failover.region.addresses import API_HOST, API_PORT, ENI, NAME, OVERLAY, PRIVATE, RESOLVER
from tests.failover.region.load import Load
from tests.failover.region.plot import Curve, plot
from tests.failover.region.region import AGENT, TTL, region, start_python
from tests.lab import packages
from tests.lab.enclosure import wait_until
from tests.lab.isolate import isolate
from tests.lab.namespace import LabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tests.failover.cluster.pair import Machine
    from tests.failover.region.load import Seen
    from tests.failover.region.region import Region


class Way(NamedTuple):
    """A way to move a service: what the client asks, the agent's parameters, and the nodes that can have it."""

    name: str
    target: str
    agent: str
    parameters: Callable[[dict[str, Any]], dict[str, str]]
    nodes: tuple[int, int]


WAYS = (
    Way(
        "overlay route", OVERLAY, "overlay", lambda ids: {"address": OVERLAY, "tables": ",".join(ids["tables"])}, (1, 3)
    ),
    Way("name", NAME, "dns", lambda ids: {"zone": ids["zone"], "name": NAME, "ttl": str(TTL)}, (1, 3)),
    Way("private address", PRIVATE, "private", lambda ids: {"addresses": PRIVATE, "device": "eth0"}, (1, 2)),
    Way("ENI", ENI, "eni", lambda ids: {"id": ids["service_eni"]}, (1, 2)),
)


def _partition(found: Region, active: Machine) -> None:
    found.isolate(True)


#: What happens to the active node.
FAULTS: dict[str, Callable[[Region, Machine], None]] = {
    "power off": lambda found, active: found.cut(active),
    "hang": lambda found, active: found.hang(active),
    "cut off from the network": lambda found, active: found.part(active),
    "partition between the nodes": _partition,
}
#: The engine moves the services; no node fails.
PLANNED = "planned move"
EVENTS = (*FAULTS, PLANNED)
#: The name in --ways of what moves without an engine.
BGP = "bgp"

#: Seconds of traffic before a fault, and after the service has moved (a name's old address is used until its TTL).
BEFORE, AFTER = 2.0, 2.0
#: Seconds until a move is over, at the most.
PATIENCE = 60

OPERATIONS = "op start timeout=60s interval=0 op stop timeout=20s interval=0 op monitor interval=10s timeout=20s"
CONFIGURATION = """primitive st stonith:fence_lab params pcmk_host_list="{hosts}" pcmk_host_check=static-list
{primitives}
rsc_defaults resource-stickiness=1000
property stonith-enabled=true stonith-action=off stonith-timeout=30s no-quorum-policy=ignore \\
    priority-fencing-delay=3
"""
HEAD = ("fault", "what moves", "answers afterwards", "requests lost", "longest silence")


class Measured(NamedTuple):
    """What the client saw of one fault and one way, and when the fault was (monotonic seconds)."""

    fault: str
    way: str
    seen: Seen
    since: float

    def row(self) -> tuple[str, ...]:
        seen, since = self.seen, self.since
        return (self.fault, self.way, seen.owner(), str(seen.lost(since)), f"{seen.silence(since):.2f} s")

    def curve(self) -> Curve:
        return Curve(self.fault, self.way, tuple((each.sent - self.since, each.node) for each in self.seen.requests))


class Traffic:
    """One pair of nodes with the services that can move between them."""

    def __init__(self, found: Region, ways: Sequence[Way], cluster: Fenced) -> None:
        self.region, self.ways, self.cluster = found, ways, cluster
        self.active, self.other = cluster.machines.values()

    def configure(self) -> None:
        """A resource for each way, all on the first node."""
        same = {"region": self.region.ids["region"], "endpoint": f"http://{API_HOST}:{API_PORT}"}
        lines = []
        for way in self.ways:
            given = {**way.parameters(self.region.ids), **same}
            parameters = " ".join(f'{name}="{value}"' for name, value in given.items())
            # The node with the services survives a partition.
            lines.append(
                f"primitive {way.agent} ocf:ec2ident:{way.agent} params {parameters} {OPERATIONS} meta priority=10"
            )
            lines.append(f"location prefer-{way.agent} {way.agent} 100: {self.active.name}")
        hosts = " ".join(self.cluster.machines)
        self.cluster.configure(CONFIGURATION.format(hosts=hosts, primitives="\n".join(lines)))
        wait_until(lambda: self.runs_on(self.active), "the services run", PATIENCE)

    def runs_on(self, machine: Machine) -> bool:
        return all(self.cluster.runs(way.agent, machine.name) for way in self.ways)

    def answers(self, machine: Machine) -> bool:
        """Whether the client gets an answer from there, by every way."""
        addresses = [
            self.region.records_of().get(NAME, [""])[0] if way.agent == "dns" else way.target for way in self.ways
        ]
        return all(self.region.who(address, timeout=0.3) == machine.name for address in addresses)

    def measure(self, fault: str) -> list[Measured]:
        """The fault, until the services answer again and the client has noticed; then all is as before."""
        wait_until(lambda: self.answers(self.active), f"{self.active.name} answers", PATIENCE)
        self.cluster.rest()
        with ExitStack() as stack:
            clients = []
            for way in self.ways:
                resolver = RESOLVER if way.agent == "dns" else ""
                clients.append(stack.enter_context(Load(self.region.client.command, way.target, resolver=resolver)))
            time.sleep(BEFORE)
            since = time.monotonic()
            self._happen(fault)
            left = self.other if fault == PLANNED else self._survivor()
            self._await(left, fault)
            # The client may have asked for the name just before the fault.
            time.sleep(AFTER + (TTL if any(way.agent == "dns" for way in self.ways) else 0))
        found = [Measured(fault, way.name, client.seen, since) for way, client in zip(self.ways, clients)]
        self._mend(left)
        return found

    def _happen(self, fault: str) -> None:
        if fault == "power off":
            self.cluster.power_off(self.active.name)
        elif fault == PLANNED:
            for way in self.ways:
                self.cluster.move(self.other.name, resource=way.agent)
        else:
            FAULTS[fault](self.region, self.active)

    def _survivor(self) -> Machine:
        wait_until(lambda: len(self.cluster.alive) < 2, "one node is fenced", PATIENCE)
        left = [*self.cluster.alive.values()]
        if not left:
            raise LabError("each node fenced the other one")
        return left[0]

    def _await(self, left: Machine, fault: str) -> None:
        """Until the survivor answers. Raises LabError with what the engine says of it."""
        lives = self.cluster.alive
        try:
            wait_until(lambda: left.name not in lives or self.answers(left), f"{left.name} answers: {fault}", PATIENCE)
        except LabError as error:
            said = left.inside.run("crm_mon", "-1", "--failcounts", "--fence-history=3").stdout
            raise LabError(f"{error}\n{said}") from None
        if left.name not in lives:
            raise LabError(f"{fault}: {left.name}, the survivor, was fenced too")

    def _mend(self, left: Machine) -> None:
        """Both nodes are up, and the first one has the services."""
        gone = self.active if left is self.other else self.other
        if left is self.active:
            self.region.isolate(False)
        if gone.name not in self.cluster.alive:
            self.cluster.power_on(gone.name)
        for way in self.ways if left is self.other else ():
            self.cluster.move(self.active.name, resource=way.agent)
        wait_until(lambda: self.runs_on(self.active), "the services are back", PATIENCE)
        self.cluster.rest()
        for way in self.ways if left is self.other else ():
            self.cluster.clear(resource=way.agent)


def equip(found: Region, machine: Machine) -> None:
    """A node of a cluster: the agents as they are installed, and the agent's watch for the ENI."""
    machine.prepare()
    machine.inside.write("/etc/ec2ident/agent.toml", AGENT)
    start_python(machine, "ec2ident_agent.cli", "watch", log="watch")


def announced(faults: Sequence[str]) -> list[Measured]:
    """Every fault for what nodes announce by BGP."""
    from tests.failover.bgp.traffic import run as run_bgp

    measured = []
    for each in run_bgp(faults):
        measured.append(Measured(*each))
        print(f"| {' | '.join(measured[-1].row())} |", flush=True)
    return measured


def run(ways: Sequence[Way], faults: Sequence[str]) -> list[Measured]:
    """Every fault for every way; ways between the same nodes in one cluster, at the same time."""
    if not ways:
        return []
    tree = packages.tree(*PACKAGES, "python3-requests")
    measured: list[Measured] = []
    for nodes in dict.fromkeys(way.nodes for way in ways):
        here = [way for way in ways if way.nodes == nodes]
        with ExitStack() as stack:
            found = stack.enter_context(region(equip, tree))
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            cluster = Fenced(found, directory, [found.machines[number - 1] for number in nodes])
            for machine in cluster.machines.values():
                cluster.boot(machine)
            stack.enter_context(cluster.plugs())
            cluster.wait_online()
            traffic = Traffic(found, here, cluster)
            traffic.configure()
            for fault in faults:
                measured += traffic.measure(fault)
                for each in measured[-len(here) :]:
                    print(f"| {' | '.join(each.row())} |", flush=True)
    return measured


def table(measured: Sequence[Measured]) -> list[str]:
    """Lines of Markdown."""
    rows = [each.row() for each in sorted(measured, key=lambda each: EVENTS.index(each.fault))]
    return [f"| {' | '.join(each)} |" for each in (HEAD, ["---"] * len(HEAD), *rows)]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the table; write it and the plot where asked."""
    parser = argparse.ArgumentParser(
        prog="scripts/lab traffic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ways", default=",".join([*(way.agent for way in WAYS), BGP]), metavar="LIST", help="default %(default)s"
    )
    parser.add_argument("--faults", default=",".join(EVENTS), metavar="LIST", help='default "%(default)s"')
    parser.add_argument("--table", type=Path, metavar="FILE", help="put the table in the place of the one in FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the picture (SVG)")
    options = parser.parse_args(argv)
    if os.geteuid():
        print("traffic: needs root: the cluster's daemons have users of their own", file=sys.stderr)
        return 2
    asked = options.ways.split(",")
    try:
        packages.tree(*PACKAGES, "python3-requests")
        packages.tree("frr")
    except packages.Unavailable as why:
        print(f"traffic: {why}", file=sys.stderr)
        return 2
    isolate()
    ways = [way for way in WAYS if way.agent in asked]
    faults = [fault for fault in EVENTS if fault in options.faults.split(",")]
    measured = run(ways, faults) + (announced(faults) if BGP in asked else [])
    lines = [
        *table(measured),
        "",
        f"{date.today()}, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.",
    ]
    print("\n".join(lines))
    if options.table:
        before, _, rest = options.table.read_text(encoding="utf-8").partition(f"| {' | '.join(HEAD)} |")
        after = rest.partition("processors.")[2]
        options.table.write_text(before + "\n".join(lines) + after, encoding="utf-8")
    if options.plot:
        options.plot.write_text(plot([each.curve() for each in measured], EVENTS), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
