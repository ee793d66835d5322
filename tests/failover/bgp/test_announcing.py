"""Real FRR on two nodes and on an endpoint: what a take-over, a release and each fault of FRR do to an announcement."""

from __future__ import annotations

import signal
import time

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.packages import Unavailable, tree

from .node import ASN, BLOCK, BLOCK6, Device, Subnet, commands, findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(120)]

WEB = "192.168.10.6/32"
WORST = 2**32 - 1
SUCCESS, GENERIC, NOT_RUNNING = 0, 1, 7


@pytest.fixture(scope="module")
def room() -> Iterator[Subnet]:
    """The subnet, made once."""
    try:
        with Subnet(tree("frr")) as found:
            yield found
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def subnet(room: Subnet) -> Iterator[Subnet]:
    """Nothing is announced, and every daemon runs; so it is afterwards."""
    yield room
    for each in room.all:
        each.frr.start()
    for node in room.nodes:
        for service, block in (("db", BLOCK), ("web", WEB)):
            if node.holds(block):
                assert node.failover("release", service, "--local").returncode == 0
        if node.holds(WEB):
            node.namespace.ip(f"address del {WEB} dev eth0")
    room.wait_established(*room.nodes)
    wait_until(lambda: not room.heard() and not room.heard("ipv6"), f"nothing is announced: {room.heard()}")


def take(node: Device, service: str = "db") -> None:
    done = node.failover("takeover", service)
    assert done.returncode == 0, done.stderr


def test_a_takeover_announces_and_a_release_withdraws(subnet: Subnet) -> None:
    """Both families; the address is held first, and both are gone afterwards. The plan is what is done."""
    one = subnet.nodes[0]
    plan = one.failover("takeover", "db", "--dry-run")
    assert plan.returncode == 1
    lines = commands(plan.stdout)
    held = [number for number, line in enumerate(lines) if " address add " in line]
    said = [number for number, line in enumerate(lines) if line.startswith("vtysh ")]
    assert len(held) == len(said) == 2
    assert max(held) < min(said)
    assert not subnet.heard()

    take(one)

    assert one.holds()
    assert one.holds(BLOCK6)
    assert subnet.best() == subnet.best(BLOCK6) == one.address
    assert one.failover("status", "db").returncode == 0

    plan = one.failover("release", "db", "--dry-run")
    lines = commands(plan.stdout)
    assert [line.split()[0] for line in lines] == ["vtysh", "vtysh", "ip", "ip"]
    assert subnet.best() == one.address

    done = one.failover("release", "db")

    assert done.returncode == 0, done.stderr
    assert not one.holds()
    subnet.until_best(None)
    subnet.until_best(None, BLOCK6)
    assert one.failover("status", "db").returncode == 1
    assert one.failover("release", "db").returncode == 0


def test_a_planned_move(subnet: Subnet, capsys: pytest.CaptureFixture[str]) -> None:
    """Take over there, then release here: a moment with two announcements, of which the later is preferred."""
    one, two = subnet.nodes
    take(one)
    began = time.monotonic()
    take(two)
    taken = time.monotonic() - began
    moved = subnet.until_best(two)

    metrics = subnet.heard()[BLOCK]
    assert metrics[two.address][0] < metrics[one.address][0]
    assert one.failover("release", "db", "--local").returncode == 0
    wait_until(lambda: set(subnet.heard()[BLOCK]) == {two.address}, "the first node has withdrawn")
    with capsys.disabled():
        print(f"\nplanned move: take-over {taken:.3f} s in all, and the endpoint has it {moved:.3f} s later")


def test_two_masters_after_a_partition(subnet: Subnet) -> None:
    """Both hold it, and both announce: the one that took over later is preferred, whatever came back last."""
    one, two = subnet.nodes
    take(one)
    subnet.endpoint.namespace.ip(f"link set to{one.host} down")
    subnet.until_best(None)
    time.sleep(1)
    take(two)

    subnet.endpoint.namespace.ip(f"link set to{one.host} up")
    subnet.wait_established(one)
    wait_until(lambda: len(subnet.heard().get(BLOCK, {})) == 2, "both announce it")

    assert subnet.best() == two.address


def test_nothing_else_goes_out_and_nothing_comes_in(subnet: Subnet) -> None:
    """Not even what an administrator configures besides, and without a prefix list FRR sends nothing (RFC 8212).

    What a wider list lets out is named by `status`.
    """
    one = subnet.nodes[0]
    before = one.namespace.read("ip", "route")
    take(one)
    family = [f"router bgp {ASN}", "address-family ipv4 unicast"]
    filtered = "neighbor 10.0.1.11 prefix-list EC2IDENT-OUT out"
    try:
        one.frr.configure(*family, "network 10.0.1.0/24", "redistribute connected")
        time.sleep(1)
        assert set(subnet.heard()) == {BLOCK}
        assert "10.0.1.0/24" in one.frr.ask("bgpd", "show bgp ipv4 unicast json")[0]["routes"]
        assert "203.0.113.0/24" not in one.frr.ask("bgpd", "show bgp ipv4 unicast json")[0]["routes"]

        one.frr.configure(*family, f"no {filtered}")
        wait_until(lambda: not subnet.heard(), "without the prefix list nothing goes out")
        status = one.failover("status", "db", "--json")
        assert status.returncode == 1
        assert any("no prefix list" in finding["text"] for finding in findings(status))

        one.frr.configure("ip prefix-list EC2IDENT-OUT seq 1 permit any", *family, filtered)
        wait_until(lambda: "10.0.1.0/24" in subnet.heard(), "a wider list lets more out")
        status = one.failover("status", "db", "--json")
        assert any("also announces 10.0.1.0/24" in finding["text"] for finding in findings(status))
    finally:
        one.frr.configure(*family, filtered, "no network 10.0.1.0/24", "no redistribute connected")
        one.frr.configure("no ip prefix-list EC2IDENT-OUT seq 1 permit any")
    wait_until(lambda: set(subnet.heard()) == {BLOCK}, "the address alone is announced again")
    assert [line for line in one.namespace.read("ip", "route").splitlines() if line not in before] == []


def test_a_daemon_that_ends_has_withdrawn(subnet: Subnet) -> None:
    """Stopped or killed. A release succeeds without it, and its next start announces what this node holds: all of it
    before the release, and nothing afterwards.
    """
    one = subnet.nodes[0]
    take(one)
    one.frr.end("bgpd", how=signal.SIGTERM)
    subnet.until_best(None)
    status = one.failover("status", "db")
    assert status.returncode == 1
    assert "does not run" in status.stdout
    assert one.holds()
    refused = one.failover("takeover", "db")
    assert refused.returncode == 4
    assert "does not run" in refused.stderr

    one.frr.start()
    subnet.until_best(one)
    assert subnet.heard()[BLOCK][one.address] == (WORST, 1)
    status = one.failover("status", "db", "--json")
    assert status.returncode == 0
    assert any("take over again" in finding["text"] for finding in findings(status))

    one.frr.end(how=signal.SIGKILL)
    subnet.until_best(None)
    done = one.failover("release", "db", "--local")
    assert done.returncode == 0, done.stderr
    assert not one.holds()
    one.frr.start()
    subnet.wait_established(one)
    time.sleep(1)
    assert not subnet.heard()


def test_a_daemon_that_hangs_is_unknown_and_a_stop_succeeds(subnet: Subnet) -> None:
    """A look cannot tell (3), and a deep monitor takes that for running. The stop removes the address in its time."""
    one = subnet.nodes[0]
    take(one)
    one.frr.send(signal.SIGSTOP, "bgpd")
    try:
        assert one.failover("status", "db").returncode == 3
        assert one.agent("monitor", level=10) == SUCCESS
        assert one.agent("stop") == SUCCESS
        assert not one.holds()
    finally:
        one.resume("bgpd")
    subnet.until_best(None)


def test_the_agent_of_pacemaker(subnet: Subnet) -> None:
    """A probe and a plain monitor ask the kernel, a deep one FRR too. A stop succeeds whatever FRR does, or the engine
    would fence this node; a start without FRR fails.
    """
    one = subnet.nodes[0]
    assert one.agent("monitor", probe=True) == NOT_RUNNING
    assert one.agent("start") == SUCCESS
    assert subnet.best() == subnet.best(BLOCK6) == one.address
    assert one.agent("monitor") == one.agent("monitor", level=10) == SUCCESS

    family = [f"router bgp {ASN}", "address-family ipv4 unicast"]
    one.frr.configure(*family, f"no network {BLOCK}")
    assert one.agent("monitor") == SUCCESS
    assert one.agent("monitor", level=10) == GENERIC
    assert one.agent("stop") == SUCCESS
    assert not one.holds()
    subnet.until_best(None, BLOCK6)
    assert one.agent("monitor") == NOT_RUNNING

    one.frr.end("bgpd")
    assert one.agent("start", seconds=3) == GENERIC
    assert not one.holds()
    assert one.agent("stop") == one.agent("stop", asn="x", address="y") == SUCCESS


def test_a_configuration_that_is_not_this_one_is_refused_before_anything_changes(subnet: Subnet) -> None:
    """Another number, or an endpoint that FRR does not know: exit 2, and the address is not held."""
    one = subnet.nodes[0]
    right = one.inside.text("/etc/ec2ident/failover.toml")
    for old, new, said in (
        ("endpoint_asn = 65000", "endpoint_asn = 65009", "differ"),
        ('endpoints = "10.0.1.11"', 'endpoints = ["10.0.1.11", "10.0.1.12"]', "no neighbor 10.0.1.12"),
    ):
        one.inside.write("/etc/ec2ident/failover.toml", right.replace(old, new))
        done = one.failover("takeover", "db")
        one.inside.write("/etc/ec2ident/failover.toml", right)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert not one.holds()


def test_both_announce_and_the_death_of_a_node_is_enough(subnet: Subnet, capsys: pytest.CaptureFixture[str]) -> None:
    """The second node's path is longer until the first one is gone. No program acts, and no API is asked."""
    one, two = subnet.nodes
    subnet.wait_established(one, two, bfd=True)
    two.namespace.ip(f"address add {WEB} dev eth0")
    subnet.until_best(two, WEB)
    assert subnet.heard()[WEB][two.address] == (WORST, 4)
    take(one, "web")
    subnet.until_best(one, WEB)
    assert two.failover("status", "web").returncode == 1

    subnet.endpoint.namespace.ip(f"link set to{one.host} down")
    seconds = subnet.until_best(two, WEB)
    subnet.endpoint.namespace.ip(f"link set to{one.host} up")
    with capsys.disabled():
        print(f"\nboth announce: {seconds:.3f} s from the cut to the other node (BFD 300 ms x 3)")

    subnet.until_best(one, WEB)
    assert one.failover("release", "web").returncode == 0
    assert one.holds(WEB)
    wait_until(lambda: subnet.heard()[WEB][one.address] == (WORST, 4), "the path of the first node is the longer one")
