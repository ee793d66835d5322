"""A real cluster of two nodes with fencing: whatever goes wrong, one node answers, and the service comes back.

The nodes run all five agents in one group, and what they read of the API may be seconds old. A prober outside asks
all the time who answers for the overlay address. The tests run in this order; each leaves the pair as it found it,
and says so: `state` is every address, rule and route of both nodes, the route tables, and the names. What they saw is
a table at the end of the run.
"""

from __future__ import annotations

import re
import time

import pytest

from tests.failover.cluster.matrix import ROW, VERSION
from tests.failover.cluster.pair import PACKAGES, TOP, lab
from tests.lab.enclosure import wait_until
from tests.lab.packages import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.failover.cluster.engine import Cluster

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.failover.cluster.engine import Cluster

    try:
        # The agents read the metadata service with requests.
        with (
            lab(2, *PACKAGES, "pcs", "python3-requests") as found,
            Cluster(found, tmp_path_factory.mktemp("plugs"), request.config.getoption("--stale")) as made,
        ):
            yield made
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def cluster(pair: Cluster) -> Iterator[Cluster]:
    """The pair with the service on node 1, before and after; and never did two answer."""
    assert pair.running == pair.state()
    yield pair
    wait_until(lambda: pair.settled("node1"), "the service is on node 1 again", 40)
    pair.rest()
    wait_until(lambda: pair.running == pair.state(), "all is as it was", 20)
    assert [] == pair.prober.twice


@pytest.fixture
def row(cluster: Cluster, record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    """Note what was seen of a fault since a moment: who has the service, how soon, who answered, how soon a stop."""

    def note(fault: str, since: float, owner: str, settled: float | None, stop: float | None) -> None:
        who = len(max((each for when, each in cluster.prober.twice if when >= since), key=len, default="1"))
        figures = [f"{each:.1f} s" if each is not None else "" for each in (settled, stop)]
        reads = f"up to {cluster.stale:g} s old" if cluster.stale else "current"
        record_property(ROW, [fault, reads, owner, f"{cluster.prober.silence(since):.1f} s", *figures, str(who)])
        for name, option in (("pacemakerd", "--version"), ("corosync", "-v")):
            record_property(VERSION, cluster.crm(name, option).splitlines()[0].replace(" Cluster Engine, version", ""))

    return note


def stop_now(cluster: Cluster) -> float:
    """A stop now leaves nothing on any node that lives, changes nothing in the API, and no node is fenced.

    Returns its seconds; the caller starts the service again.
    """
    alive = set(cluster.alive)
    began = cluster.switch("Stopped")
    wait_until(lambda: not cluster.holders(), "no node holds the address")
    took = time.monotonic() - began
    wait_until(lambda: "NOT running" in _where(cluster), "the engine sees it stopped")
    bare = {each: cluster.nothing[each] for each in alive}
    wait_until(lambda: bare == cluster.snapshots(), "nothing is left on the nodes", 10)
    assert (alive, False) == (set(cluster.alive), _failed(cluster))
    return took


def _where(cluster: Cluster) -> str:
    done = cluster.anyone.run("crm_resource", "--locate", "--resource", "net")
    return done.stdout + done.stderr


def _failed(cluster: Cluster) -> bool:
    return "fail-count" in cluster.crm("crm_mon", "-1", "--failcounts")


FAULTS: dict[str, dict[str, Any]] = {
    "the API hangs": {"hang": True},
    "the API throttles": {"code": "RequestLimitExceeded", "status": 503},
    "the API denies everything": {"code": "UnauthorizedOperation", "status": 403},
    "one table denied": {"code": "UnauthorizedOperation", "status": 403, "match": {"RouteTableId": "second"}},
    "the metadata service is silent": {"metadata": True},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_moves_nothing_and_a_stop_during_it_is_exact(
    cluster: Cluster, row: Callable[..., None], fault: str
) -> None:
    """Monitors at both depths, and a probe of every node, restart nothing and write nothing."""
    rule = dict(FAULTS[fault])
    if "match" in rule:
        rule["match"] = {"RouteTableId": cluster.lab.ids["tables"][1]}
    since = time.monotonic()
    with cluster.fault(**rule):
        calls = len(cluster.lab.control("journal"))
        cluster.crm("crm_resource", "--refresh", "--resource", "service")
        # Long enough for a deep monitor of each agent to see the fault, and for the engine to act on it.
        time.sleep(7)
        cluster.rest()
        assert (["node1"], False) == (cluster.holders(), _failed(cluster))
        stopped = stop_now(cluster)
        made = {call["action"] for call in cluster.lab.control("journal")[calls:]}
        assert set() == {each for each in made if not each.startswith(("Describe", "List", "Get"))}
    row(fault, since, "node1, as before", None, stopped)
    cluster.switch("Started")


def test_a_planned_move_and_back(cluster: Cluster, row: Callable[..., None]) -> None:
    """One node answers at every moment; interface, routes and name follow."""
    for name in ("node2", "node1"):
        since = time.monotonic()
        cluster.move(name)
        wait_until(lambda name=name: cluster.settled(name), f"the service runs on {name}")  # type: ignore[misc]
        row(f"planned move to {name}", since, name, time.monotonic() - since, None)
        cluster.rest()
        cluster.clear()


def test_a_start_that_may_write_one_table_only_goes_back(cluster: Cluster, row: Callable[..., None]) -> None:
    """Node 2 is denied one table: the service returns to node 1 whole."""
    match = {"RouteTableId": cluster.lab.ids["tables"][1]}
    denied = {"code": "UnauthorizedOperation", "status": 403, "source": "10.99.0.2"}
    since = time.monotonic()
    with cluster.fault(action="ReplaceRoute", match=match, **denied):
        cluster.move("node2", "--lifetime", "PT10S")
        wait_until(lambda: _failed(cluster), "the start failed on node 2")
        wait_until(lambda: cluster.settled("node1"), "the service is back on node 1")
        row("move to a node that is denied one table", since, "node1", time.monotonic() - since, None)
    cluster.clear()
    cluster.crm("crm_resource", "--cleanup", "--resource", "service")


def test_a_power_off_brings_the_service_to_the_other_node(cluster: Cluster, row: Callable[..., None]) -> None:
    """The active node is gone without a word; the other fences it and has all of it."""
    since = time.monotonic()
    cluster.power_off("node1")
    wait_until(lambda: cluster.settled("node2"), "the service runs on node 2")
    took = time.monotonic() - since
    stopped = stop_now(cluster)
    row("power-off of the active node", since, "node2", took, stopped)
    cluster.switch("Started")
    wait_until(lambda: cluster.settled("node2"), "the service runs on node 2 again")
    cluster.power_on("node1")
    cluster.move("node1")
    wait_until(lambda: cluster.settled("node1"), "the service runs on node 1 again")
    cluster.clear()


def test_in_a_partition_one_node_survives_with_all_of_it(cluster: Cluster, row: Callable[..., None]) -> None:
    """Both reach the API; the active node wins the race of the fences. What it stops then is stopped."""
    since = time.monotonic()
    cluster.lab.isolate(True)
    wait_until(lambda: len(cluster.alive) == 1, "one node is fenced")
    survivor = next(iter(cluster.alive))
    wait_until(lambda: cluster.settled(survivor), "the survivor has all of it")
    took = time.monotonic() - since
    stopped = stop_now(cluster)
    row("partition, both reach the API", since, survivor, took, stopped)
    assert "node1" == survivor
    cluster.switch("Started")
    cluster.lab.isolate(False)
    cluster.power_on("node2")


def test_the_example_for_crmsh_loads(cluster: Cluster) -> None:
    """As it is, alone, into a configuration of its own. The lab has a switch under the name of fence_aws."""
    inside = cluster.anyone
    inside.write("/etc/example.crm", (TOP / "agent/ec2ident_agent/install/data/cluster/crmsh").read_text())
    done = inside.run(
        "sh", "-c", "crm -F cib new example empty && crm -c example configure load update /etc/example.crm"
    )
    assert (0, False) == (done.returncode, "ERROR" in done.stderr), done.stderr
    assert "fence" in inside.read("crm", "-c", "example", "configure", "show", "fence")


def test_the_example_for_pcs_loads(cluster: Cluster) -> None:
    """Line by line, into a file; the engine's own judge finds nothing to say about it."""
    inside = cluster.anyone
    inside.write("/etc/example.pcs", (TOP / "agent/ec2ident_agent/install/data/cluster/pcs").read_text())
    shadow = 'pcs() { command pcs -f /run/example.xml "$@"; }'
    text = f"set -e; {shadow}; cibadmin --empty >/run/example.xml; . /etc/example.pcs"
    done = inside.run("sh", "-c", text)
    assert (0, False) == (done.returncode, "Error" in done.stderr), done.stderr + done.stdout
    judged = inside.run("crm_verify", "--verbose", "--xml-file", "/run/example.xml")
    assert (0, "") == (judged.returncode, judged.stdout + judged.stderr)
    stored = inside.text("/run/example.xml")
    for each in ("fence", "db", "db-name", "service"):
        assert f'id="{each}"' in stored
    # A start that an API was away for is tried again, on both nodes, without a person.
    assert 'name="failure-timeout" value="120s"' in stored


@pytest.mark.parametrize("failing", ["node1", "node2"])
def test_the_service_of_the_example_stays_where_it_went(cluster: Cluster, failing: str) -> None:
    """The engine's own simulator: a node that comes back after its fencing does not cost a second outage."""
    inside = cluster.anyone

    def simulate(before: str, after: str, *happens: str) -> str:
        said = inside.read("crm_simulate", "--xml-file", before, "--simulate", "--save-output", after, *happens)
        found = re.findall(r"db\s+\(ocf:ec2ident:overlay\):\s+Started (\w+)", said.rpartition("Revised")[2])
        assert 1 == len(found), said
        return str(found[0])

    first = simulate("/run/example.xml", "/run/up.xml", "--node-up", "node1", "--node-up", "node2")
    assert first in ("node1", "node2")
    left = simulate("/run/up.xml", "/run/failed.xml", "--node-fail", failing)
    assert failing != left
    assert left == simulate("/run/failed.xml", "/run/again.xml", "--node-up", failing)
