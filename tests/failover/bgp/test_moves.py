"""A service over BGP under traffic: a client outside asks while nodes, FRR, the API and the metadata service fail."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.packages import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.failover.bgp.nodes import Nodes
    from tests.failover.cluster.pair import Machine
    from tests.failover.region.load import Load

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(180)]

DB, WEB = "192.168.10.5", "192.168.10.6"
#: Seconds of silence that no busy machine reaches; docs/traffic.md has what was measured.
BOUND = 10


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.failover.bgp.nodes import Nodes

    try:
        with Nodes() as found:
            yield found
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture(autouse=True)
def as_at_the_start(nodes: Nodes) -> Iterator[None]:
    """Through every test: the endpoints have heard the two addresses, and nothing else."""
    nodes.start()
    yield
    assert {f"{DB}/32", f"{WEB}/32"} == nodes.server.ever


@contextmanager
def asked(nodes: Nodes, address: str, what: str, owner: Machine) -> Iterator[Load]:
    """While a client asks, something happens; in the end this node answers, and the longest silence is told."""
    client = nodes.load(address, rate=200)
    with client:
        since = time.monotonic()
        yield client
        nodes.wait(owner, address)
        # Answers after the move count too.
        time.sleep(0.3)
    seen = client.seen
    print(f"BGP under traffic: {what}: {seen.lost(since)} lost, {seen.silence(since):.2f} s silent")
    assert owner.name == seen.owner()
    assert BOUND > seen.silence(since)


def test_without_power_the_other_node_answers_where_both_announce(nodes: Nodes) -> None:
    """BFD at 300 ms × 3 finds the node dead, and no program runs for the move. Booted anew, it stands by."""
    one, two = nodes.first, nodes.second
    with asked(nodes, WEB, "power off, both announce", two):
        nodes.region.cut(one)
    assert {f"{WEB}/32": two.address} == nodes.server.fib()
    assert "" == nodes.region.who(DB, timeout=0.3)
    nodes.region.restore(one)
    wait_until(nodes.server.settled, "its sessions are back", 40)
    # `db` stays where no node holds it: FRR announces what the node holds.
    assert f"{DB}/32" not in nodes.server.fib()


def test_frr_that_was_killed_has_withdrawn_and_started_again_announces_what_the_node_holds(nodes: Nodes) -> None:
    """Where both announce the other node answers; of the holder nothing answers until its FRR is back, by itself."""
    one, two = nodes.first, nodes.second
    frr = nodes.frr[one.name]
    with asked(nodes, WEB, "FRR killed, both announce", two):
        frr.end()
    assert "" == nodes.region.who(DB, timeout=0.3)
    frr.start()
    nodes.wait(one, DB)
    wait_until(nodes.server.settled, "its sessions are back", 40)
    assert {f"{DB}/32": one.address, f"{WEB}/32": two.address} == nodes.server.fib()


def test_after_a_partition_the_later_takeover_has_the_address(nodes: Nodes) -> None:
    """Both nodes announce it then, and hold it: the metric is made of the time of the take-over."""
    one, two = nodes.first, nodes.second
    with asked(nodes, WEB, "cut off, both announce", two):
        nodes.region.part(one)
    with asked(nodes, DB, "cut off, and a take-over", two):
        nodes.tell(two, "takeover", "db")
    nodes.region.mend(one)
    wait_until(nodes.server.settled, "its sessions are back", 40)
    wait_until(lambda: len(_peers(nodes, DB)) == 2, "both announce it")
    assert two.address == nodes.server.fib()[f"{DB}/32"]
    assert "node3" == nodes.region.who(DB)
    # The release of the one that lost changes nothing for the client.
    with asked(nodes, DB, "the release of the former holder", two) as client:
        nodes.tell(one, "release", "db")
        wait_until(lambda: _peers(nodes, DB) == {two.address}, "one announces it")
    assert 0 == client.seen.lost(0)
    nodes.tell(two, "release", "db")


def _peers(nodes: Nodes, address: str) -> set[str]:
    return {path.peer for path in nodes.server.rib.paths if path.prefix == f"{address}/32"}


def test_a_planned_move_asks_neither_the_api_nor_the_metadata_service(nodes: Nodes) -> None:
    """There and back, in both orders: the new holder first, and the former one first, as a cluster engine does it.

    Both are silent. As no call is made, it does not matter whether the API hangs, throttles or denies.
    """
    one, two = nodes.first, nodes.second
    fake, services = nodes.region.fake, nodes.region.metadata.values()
    rules = [(each, each.behave("silence")) for each in services]
    fake.fault(hang=True)
    calls = len(fake.journal)
    with asked(nodes, DB, "planned move, take-over first", two) as client:
        nodes.tell(two, "takeover", "db")
        nodes.tell(one, "release", "db")
    assert 0 == client.seen.lost(0)
    with asked(nodes, DB, "planned move, release first", one):
        nodes.tell(two, "release", "db")
        nodes.tell(one, "takeover", "db")
    with asked(nodes, WEB, "a release where both announce", two) as client:
        nodes.tell(one, "release", "web")
    assert 0 == client.seen.lost(0)
    assert calls == len(fake.journal)
    fake.faults.clear()
    for service, rule in rules:
        service.forget(rule)


def test_nothing_else_goes_out_and_nothing_comes_in(nodes: Nodes) -> None:
    """A person adds routes to FRR by hand, and the endpoints send some: the prefix lists hold both back."""
    one = nodes.first
    more = ("router bgp 65001", "address-family ipv4 unicast")
    nodes.frr[one.name].configure(*more, "redistribute connected", "redistribute kernel", "network 10.0.0.0/24")
    # A later change of what may go out proves that the routes before it were judged.
    nodes.tell(one, "release", "db")
    wait_until(lambda: f"{DB}/32" not in nodes.server.fib(), "it is withdrawn")
    for machine in (one, nodes.second):
        heard = nodes.frr[machine.name].ask("bgpd", "show bgp ipv4 unicast json")[0]["routes"]
        assert [] == [prefix for prefix, rows in heard.items() if any(row["peerId"] != "(unspec)" for row in rows)]
        assert "proto bgp" not in machine.namespace.snapshot()
    nodes.frr[one.name].configure(
        *more, "no redistribute connected", "no redistribute kernel", "no network 10.0.0.0/24"
    )


def test_after_a_release_the_node_and_the_tables_are_as_before(nodes: Nodes) -> None:
    """Every address, rule and route of the node, and every route table, to the letter."""
    one = nodes.first
    nodes.tell(one, "release", "db")
    wait_until(lambda: f"{DB}/32" not in nodes.server.fib(), "it is withdrawn")
    before = [one.namespace.snapshot(), nodes.region.ask("DescribeRouteTables")]
    nodes.tell(one, "takeover", "db")
    nodes.wait(one, DB)
    assert before != [one.namespace.snapshot(), nodes.region.ask("DescribeRouteTables")]
    nodes.tell(one, "release", "db")
    wait_until(lambda: f"{DB}/32" not in nodes.server.fib(), "it is withdrawn again")
    assert before == [one.namespace.snapshot(), nodes.region.ask("DescribeRouteTables")]
