"""What a move costs, beside Debian's `aws-vpc-move-ip` with Debian's AWS CLI, on the same fake API in the same run.

    failover.py             the agents' actions; needs root and Debian (packages are fetched, not installed); 3 minutes
    failover.py --quick     one round of each
    failover.py --cluster   a real pair under Pacemaker: planned moves, and the power cut; 5 minutes

The figures are for two route tables, in seconds of wall clock (and of the processor). Each is the best of its rounds,
because other work on the machine can only slow it; for the pair it is the median, because chance plays a part there.
The API is one bridge away, without latency: real figures are these plus round trips, of which aws-vpc-move-ip makes
more. It needs the metadata service for everything; on Nitro the agents here read the instance's id from the firmware,
and `start, metadata` is without that. No node of the pair is fenced: that would take the same time for both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP), str(TOP / "agent")]

from ec2ident.testing import Instance, Interface, MetadataService  # noqa: E402  the checkout's own, installed or not
from tests.failover.cluster import pair  # noqa: E402
from tests.failover.environment import ENVIRONMENT  # noqa: E402
from tests.lab.enclosure import wait_until  # noqa: E402
from tests.lab.packages import Unavailable  # noqa: E402

if TYPE_CHECKING:
    from typing import Any

    from tests.failover.cluster.pair import Lab, Machine

ADDRESS, REGION, METADATA = "192.168.10.5", "us-east-1", "169.254.169.254"
TOOLS = ("resource-agents", "awscli", "curl", "psmisc", "python3-requests")

#: What hangs longer is ended, and shown with a `>`.
PATIENCE = 30

#: The most that `ocf:ec2ident:overlay` may take, in seconds; a deep monitor also of the processor.
START, DEEP, DEEP_CPU, STOP, PLANNED, POWER = 0.35, 0.1, 0.1, 0.3, 0.6, 3.5

#: What is wrong with the world while an action runs: a behaviour of the metadata service, or a fault of the API.
FAULTS: dict[str, dict[str, Any]] = {
    "API denies": {"code": "UnauthorizedOperation", "status": 403},
    "API throttles": {"code": "RequestLimitExceeded", "status": 503},
    "API hangs": {"hang": True},
    "no metadata": {"metadata": "throttled"},
    "metadata hangs": {"metadata": "silence"},
}

#: A small process that starts an action, and tells what it took and its exit code.
_WATCH = """
import resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - began, used.ru_utime + used.ru_stime, done.returncode)
sys.stderr.write(done.stderr)
"""


class Cost(NamedTuple):
    """What an action took. `left`: the address is still on the node after a stop."""

    wall: float
    cpu: float
    code: int
    said: str
    left: bool = False

    def __str__(self) -> str:
        wall = f"> {PATIENCE}" if self.wall >= PATIENCE else f"{self.wall:.2f}"
        code = f", rc {self.code}" if self.code else ""
        return f"{wall} ({self.cpu:.2f}){code}{', not gone' if self.left else ''}"


class Agent(NamedTuple):
    """One of the two: where it lies, and how it is told the same."""

    provider: str
    type: str
    #: What makes a monitor look at the routes.
    deep: tuple[str, str]

    def parameters(self, found: Lab, machine: Machine | None) -> dict[str, str]:
        """The resource agent's parameters for this machine."""
        tables = ",".join(found.ids["tables"])
        if self.provider == "heartbeat":
            return {"ip": ADDRESS, "routing_table": tables, "interface": "eth0", "awscli": "/usr/local/bin/aws"}
        same = {"address": ADDRESS, "tables": tables, "interface": "eth0", "region": REGION, "endpoint": pair.API}
        return {**same, "instance": str(found.ids[machine.name])} if machine else same

    def command(self, action: str) -> list[str]:
        """The command line of one action."""
        return ["timeout", str(PATIENCE), f"/usr/lib/ocf/resource.d/{self.provider}/{self.type}", action]


OURS = Agent("ec2ident", "overlay", ("OCF_CHECK_LEVEL", "10"))
THEIRS = Agent("heartbeat", "aws-vpc-move-ip", ("OCF_RESKEY_monapi", "true"))


# The laboratory

#: Debian's AWS CLI does not take an endpoint from the environment.
CLI = f"""#!/bin/sh
export AWS_SHARED_CREDENTIALS_FILE=/etc/aws AWS_CONFIG_FILE=/etc/aws
exec /usr/bin/aws --endpoint-url {pair.API} "$@"
"""


@contextmanager
def laboratory(*packages: str) -> Iterator[Laboratory]:
    """The pair of nodes, with the AWS CLI on the fake API, and each with a metadata service."""
    with pair.lab(2, *TOOLS, *packages) as found, ExitStack() as stack:
        for machine in found.machines:
            machine.inside.write("/usr/local/bin/aws", CLI, 0o755)
            # As pip does.
            machine.inside.read("/usr/bin/python3", "-m", "compileall", "-q", pair.LIBRARY)
            keys = "".join(f"{name.lower()} = {value}\n" for name, value in ENVIRONMENT.items() if "KEY" in name)
            machine.inside.write("/etc/aws", f"[default]\nregion = {REGION}\n{keys}")
        services = {machine.name: stack.enter_context(metadata(found, machine)) for machine in found.machines}
        yield Laboratory(found, services)


@contextmanager
def metadata(found: Lab, machine: Machine) -> Iterator[MetadataService]:
    """A metadata service that only this node reaches, and that knows eth0 by the MAC address it really has."""
    machine.namespace.ip(f"address add {METADATA}/32 dev lo")
    mac = machine.namespace.read("cat", "/sys/class/net/eth0/address").strip()
    eth0 = Interface(mac=mac, interface_id=found.ids[f"eni{machine.number}"])
    instance = Instance(region=REGION, instance_id=found.ids[machine.name], interfaces=(eth0,))
    with machine.namespace.entered():
        service = MetadataService(instance, host=METADATA, port=80).start()
    with service:
        yield service


class Laboratory:
    """The nodes, and what is done to them."""

    def __init__(self, found: Lab, services: dict[str, MetadataService]) -> None:
        self.found, self.services = found, services

    def environment(self, agent: Agent, machine: Machine | None, more: dict[str, str]) -> dict[str, str]:
        """The environment in which Pacemaker would start the agent."""
        given = {f"OCF_RESKEY_{name}": value for name, value in agent.parameters(self.found, machine).items()}
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "OCF_ROOT": "/usr/lib/ocf",
            "OCF_RESOURCE_INSTANCE": "db",
            "OCF_RESKEY_CRM_meta_timeout": str(PATIENCE * 1000),
            "OCF_RESKEY_CRM_meta_interval": "10000",
            **ENVIRONMENT,
            **given,
            **more,
        }

    def act(self, agent: Agent, action: str, *, deep: bool = False, plain: bool = False) -> Cost:
        """One action on node 1. With `plain` both agents ask the metadata service which instance this is."""
        machine = self.found.machines[0]
        more = {**dict([agent.deep] if deep else ()), **({"AWS_EC2_METADATA_DISABLED": ""} if plain else {})}
        environment = self.environment(agent, None if plain else machine, more)
        watch = ["/usr/bin/python3", "-I", "-S", "-c", _WATCH, *agent.command(action)]
        done = machine.inside.run(*watch, env=environment, timeout=PATIENCE + 20)
        wall, cpu, code = done.stdout.split()
        return Cost(float(wall), float(cpu), int(code), done.stderr)

    def must(self, agent: Agent, action: str, **options: bool) -> Cost:
        """As `act`, of what has to succeed."""
        found = self.act(agent, action, **options)
        if found.code:
            raise SystemExit(f"{agent.type} {action}: exit code {found.code}\n{found.said}")
        return found

    def route_to(self, number: int) -> None:
        """All routes go to this node, whatever an agent thinks."""
        for table in self.found.ids["tables"]:
            target = {"RouteTableId": table, "NetworkInterfaceId": self.found.ids[f"eni{number}"]}
            form = {
                "Action": "ReplaceRoute",
                "Version": "2016-11-15",
                "DestinationCidrBlock": f"{ADDRESS}/32",
                **target,
            }
            head = {"Authorization": f"AWS4-HMAC-SHA256 Credential=T/20260101/{REGION}/ec2/aws4_request, x"}
            with self.found.api.entered():
                asked = urllib.request.Request(pair.API, urllib.parse.urlencode(form).encode(), head)
                urllib.request.urlopen(asked, timeout=10).close()

    @contextmanager
    def fault(self, rule: dict[str, Any]) -> Iterator[None]:
        """While the context lasts, the AWS API (or the metadata service) fails as `rule` says."""
        rule = dict(rule)
        behaviour = rule.pop("metadata", None)
        for service in self.services.values() if behaviour else ():
            service.behave(behaviour)
        if rule:
            self.found.control("fault", **rule)
        try:
            yield
        finally:
            self.found.control("clear")
            for service in self.services.values():
                service.reset()


# The tables


class Bench:
    """What was measured, and what of it missed its target."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.missed: list[str] = []

    def head(self, title: str) -> None:
        """Print a table's heading."""
        print(f"\n{title:<26} {'ocf:ec2ident':>24} {'aws-vpc-move-ip':>24} {'times':>6} {'target':>12}")

    def costs(self, name: str, own: list[Cost], peer: list[Cost], wall: float = 0, cpu: float = 0) -> None:
        """Print a line of seconds and CPU seconds, and record a missed target."""
        mine, other = best(own), best(peer)
        held = not mine.code and (not wall or mine.wall <= wall) and (not cpu or mine.cpu <= cpu)
        target = f"{wall:g}" + (f" ({cpu:g})" if cpu else "") if wall else ""
        self._print(name, str(mine), str(other), other.wall / mine.wall, target, held)

    def seconds(self, name: str, own: list[float], peer: list[float], most: float) -> None:
        """Print a line of seconds, and record a missed target."""
        mine, other = statistics.median(own), statistics.median(peer)
        worst = f"{mine:.2f}, worst {max(own):.2f}", f"{other:.2f}, worst {max(peer):.2f}"
        self._print(name, worst[0], worst[1], other / mine, f"{most:g}", mine <= most)

    def _print(self, name: str, own: str, peer: str, times: float, target: str, held: bool) -> None:
        answer = ("yes" if held else "NO") if target else ""
        print(f"{name:<26} {own:>24} {peer:>24} {times:>6.1f} {target:>12} {answer}", flush=True)
        if not held:
            self.missed.append(name)


def best(costs: list[Cost]) -> Cost:
    """The quickest, and the least of the processor: other work on the machine only ever slows."""
    return min(costs)._replace(cpu=min(cost.cpu for cost in costs))


def actions(here: Laboratory, bench: Bench) -> None:
    """Whole lives of both in turn, so that other work on the machine slows both."""
    rows = ("start", "start, metadata", "monitor", "deep monitor", "stop")
    found: dict[tuple[Agent, str], list[Cost]] = {(agent, row): [] for agent in (OURS, THEIRS) for row in rows}
    for _ in range(bench.rounds):
        for agent in (OURS, THEIRS):
            here.route_to(2)
            found[agent, "start"].append(here.must(agent, "start", deep=True))
            found[agent, "monitor"].append(here.must(agent, "monitor"))
            found[agent, "deep monitor"].append(here.must(agent, "monitor", deep=True))
            found[agent, "stop"].append(here.must(agent, "stop", deep=True))
        here.route_to(2)
        found[OURS, "start, metadata"].append(here.must(OURS, "start", plain=True))
        here.must(OURS, "stop")
    found[THEIRS, "start, metadata"] = found[THEIRS, "start"]
    targets = {"start": (START, 0.0), "deep monitor": (DEEP, DEEP_CPU), "stop": (STOP, 0.0)}
    bench.head("two tables, seconds (cpu)")
    for row in rows:
        bench.costs(row, found[OURS, row], found[THEIRS, row], *targets.get(row, (0.0, 0.0)))


def stops(here: Laboratory, bench: Bench) -> None:
    """With something wrong. The address of aws-vpc-move-ip is added by hand, which is quicker."""
    namespace = here.found.machines[0].namespace
    bench.head("stop, with")
    for name, rule in FAULTS.items():
        costs: dict[Agent, list[Cost]] = {OURS: [], THEIRS: []}
        for _ in range(bench.rounds):
            here.must(OURS, "start")
            costs[OURS].append(_stop(here, OURS, rule))
        here.route_to(1)
        namespace.ip(f"address add {ADDRESS}/32 dev eth0")
        costs[THEIRS].append(_stop(here, THEIRS, rule))
        bench.costs(name, costs[OURS], costs[THEIRS], STOP)


def _stop(here: Laboratory, agent: Agent, rule: dict[str, Any]) -> Cost:
    machine = here.found.machines[0]
    with here.fault(rule):
        found = here.act(agent, "stop", deep=True)
    if machine.answers(ADDRESS):
        machine.namespace.ip(f"address delete {ADDRESS}/32 dev eth0")
        return found._replace(left=True)
    return found


# Under a cluster engine

CONFIGURATION = """primitive db ocf:{provider}:{type} params {parameters} \\
    op start timeout=180s interval=0 op stop timeout=180s interval=0 op monitor interval=10s timeout=30s
location prefer db 100: node1
rsc_defaults resource-stickiness=1000
property stonith-enabled=false no-quorum-policy=ignore
"""


def clusters(bench: Bench) -> None:
    """A pair for each of the two, one after the other."""
    found = {agent: cluster(agent, bench.rounds) for agent in (OURS, THEIRS)}
    bench.head("under Pacemaker, seconds")
    for number, (name, most) in enumerate((("planned move", PLANNED), ("power cut", POWER))):
        bench.seconds(name, found[OURS][number], found[THEIRS][number], most)


def cluster(agent: Agent, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of planned moves, and of power cuts, until all routes and the address are at the other node."""
    moves: list[float] = []
    cuts: list[float] = []
    for _ in range(rounds):
        with laboratory(*pair.PACKAGES) as here:
            configure(here, agent)
            moves += [move(here, number) for number in (2, 1)]
            cuts.append(cut(here))
    return moves, cuts


def configure(here: Laboratory, agent: Agent) -> None:
    """Install the agent on the cluster's machines."""
    for machine in here.found.machines:
        # What a Nitro instance's firmware says of it.
        path = machine.inside.path(f"/usr/lib/ocf/resource.d/{OURS.provider}/{OURS.type}")
        tag = f"export OCF_RESKEY_instance={here.found.ids[machine.name]}\nunset "
        path.write_text(path.read_text().replace("unset ", tag, 1))
        pair.start_engine(machine, here.found.machines)
    inside = here.found.machines[0].inside
    both = "Online: [ node1 node2 ]"
    wait_until(lambda: both in inside.run("crm_mon", "-1").stdout, "both nodes are online", 120)
    parameters = " ".join(f'{name}="{value}"' for name, value in agent.parameters(here.found, None).items())
    text = CONFIGURATION.format(provider=agent.provider, type=agent.type, parameters=parameters)
    inside.write("/etc/bench.crm", text)
    inside.read("crm", "configure", "load", "update", "/etc/bench.crm")
    arrival(here, 1)


def arrival(here: Laboratory, number: int) -> None:
    """Wait until all routes and the address are at this node."""
    machine, eni = here.found.machines[number - 1], {here.found.ids[f"eni{number}"]}
    wait_until(lambda: machine.answers(ADDRESS) and here.found.owners() == eni, f"all of it at node {number}", 180)


def move(here: Laboratory, number: int) -> float:
    """Move the resource to a node; returns the seconds until the cluster is idle again."""
    inside = here.found.machines[0].inside
    inside.read("crm_resource", "--wait")
    began = time.monotonic()
    inside.read("crm_resource", "--move", "--resource", "db", "--node", f"node{number}")
    arrival(here, number)
    found = time.monotonic() - began
    inside.read("crm_resource", "--wait")
    inside.read("crm_resource", "--clear", "--resource", "db")
    return found


def cut(here: Laboratory) -> float:
    """The power of node 1."""
    machine = here.found.machines[0]
    machine.inside.read("crm_resource", "--wait")
    began = time.monotonic()
    machine.namespace.ip("link set eth0 down")
    machine.inside.close()
    arrival(here, 2)
    return time.monotonic() - began


def main() -> int:
    """Measure, print, and return exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--cluster", action="store_true", help="a real pair under Pacemaker instead")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("bench failover: needs root, for network namespaces of its own", file=sys.stderr)
        return 2
    bench = Bench(1 if options.quick else 3)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors: both are slower where others work")
    try:
        if options.cluster:
            clusters(bench)
        else:
            with laboratory() as here:
                actions(here, bench)
                stops(here, bench)
    except Unavailable as why:
        print(f"bench failover: {why}", file=sys.stderr)
        return 2
    print(f"\nmissed: {'; '.join(bench.missed)}" if bench.missed else "\nall figures hold")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
