"""The routers follow the fake's state, and what happens to a node is seen by the client; `scripts/lab` for a person."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.failover.cluster.pair import TOP
from tests.failover.region.addresses import ENI, NAME, OVERLAY, RESOLVER
from tests.failover.region.load import Load, Request, Seen
from tests.lab.enclosure import wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.failover.cluster.pair import Machine
    from tests.failover.region.region import Region

in_namespaces = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def whole() -> Iterator[Region]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.failover.region.region import region

    with region() as found:
        yield found


def takeover(service: str, machine: Machine) -> None:
    from tests.failover.region.region import command

    done = subprocess.run(command(machine, "ec2ident-failover", "takeover", service), capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr


class TestRegion:
    pytestmark = in_namespaces

    def test_an_overlay_address_is_where_the_route_of_the_clients_subnet_leads(self, whole: Region) -> None:
        """Zone b's table decides for the client, whatever the other one says."""
        one, _, three = whole.machines
        takeover("overlay", one)
        takeover("overlay", three)
        assert "node3" == whole.who(OVERLAY)
        for table, expected in zip(whole.ids["tables"], ("node3", "node1")):
            target = {"DestinationCidrBlock": f"{OVERLAY}/32", "NetworkInterfaceId": whole.ids["eni1"]}
            whole.fake.ask("ReplaceRoute", RouteTableId=table, **target)
            wait_until(lambda expected=expected: whole.who(OVERLAY) == expected, "the route is followed", 5)  # type: ignore[misc]

    def test_with_the_check_of_source_and_destination_no_packet_reaches_an_overlay_address(self, whole: Region) -> None:
        """The interface's own address goes on answering."""
        one = whole.machines[0]
        takeover("overlay", one)
        assert "node1" == whole.who(OVERLAY)
        eni = {"NetworkInterfaceId": whole.ids["eni1"]}
        whole.fake.ask("ModifyNetworkInterfaceAttribute", **eni, **{"SourceDestCheck.Value": "true"})
        wait_until(lambda: not whole.who(OVERLAY, timeout=0.3), "it is silent", 5)
        assert "node1" == whole.who(one.address)
        takeover("overlay", one)
        assert "node1" == whole.who(OVERLAY)

    def test_an_interface_answers_from_where_it_is_attached(self, whole: Region) -> None:
        """Also after a boot: the API still has it there, and the agent's watch applies its profile again."""
        one, two, _ = whole.machines
        takeover("eni", one)
        assert "node1" == whole.who(ENI)
        takeover("eni", two)
        assert "node2" == whole.who(ENI)
        whole.cut(two)
        assert "" == whole.who(ENI, timeout=0.3)
        whole.restore(two)
        wait_until(lambda: whole.who(ENI, timeout=0.5) == "node2", "it answers again", 20)

    def test_a_further_private_address_is_delivered(self, whole: Region) -> None:
        """As soon as the API has assigned it; the node itself must hold it."""
        one = whole.machines[0]
        one.namespace.ip("address add 10.0.0.77/32 dev eth0")
        assert "" == whole.who("10.0.0.77", timeout=0.3)
        eni = {"NetworkInterfaceId": whole.ids["eni1"], "PrivateIpAddress.1": "10.0.0.77"}
        whole.fake.ask("AssignPrivateIpAddresses", **eni)
        wait_until(lambda: whole.who("10.0.0.77", timeout=0.3) == "node1", "it is delivered", 5)
        other = {**eni, "NetworkInterfaceId": whole.ids["eni2"]}
        whole.machines[1].namespace.ip("address add 10.0.0.77/32 dev eth0")
        for target, expected in ((other, "node2"), (eni, "node1")):
            whole.ask("AssignPrivateIpAddresses", **target, AllowReassignment="true")
            wait_until(lambda name=expected: whole.who("10.0.0.77", timeout=0.3) == name, "it moves", 5)  # type: ignore[misc]
        whole.machines[1].namespace.ip("address delete 10.0.0.77/32 dev eth0")
        whole.fake.ask("UnassignPrivateIpAddresses", **eni)
        wait_until(lambda: not whole.who("10.0.0.77", timeout=0.3), "it is not delivered", 5)
        one.namespace.ip("address delete 10.0.0.77/32 dev eth0")

    @pytest.mark.parametrize("fault", ["cut", "hang", "part"])
    def test_a_client_sees_each_fault_and_the_move_that_ends_it(self, whole: Region, fault: str) -> None:
        """By address and by name: none is lost before the fault, and none after the answer that ends it."""
        one, _, three = whole.machines
        takeover("overlay", one)
        takeover("name", one)
        named = Load(whole.client.command, NAME, resolver=RESOLVER, rate=200)
        with Load(whole.client.command, OVERLAY, rate=200) as routed, named:
            wait_until(lambda: whole.who(OVERLAY) == "node1", "the service runs", 5)
            time.sleep(0.3)
            since = time.monotonic()
            getattr(whole, fault)(one)
            takeover("overlay", three)
            takeover("name", three)
            time.sleep(0.5)
        for seen in (routed.seen, named.seen):
            before = [each for each in seen.requests if each.sent < since - 0.1 and each.answered]
            assert {"node1"} == {each.node for each in before}
            assert 0 < seen.lost(since)
        assert "node3" == routed.seen.owner()
        assert 0 < routed.seen.silence(since) < float("inf")
        # The name's old address is in the client's cache.
        assert "node1" == named.seen.owner()
        if fault != "cut":
            whole.cut(one)
        whole.restore(one)

    def test_a_node_that_was_cut_off_is_not_heard_again_when_its_power_goes(self, whole: Region) -> None:
        """By none of its interfaces: in one moment of network it would fence the node that has just fenced it."""
        one = whole.machines[0]
        takeover("eni", one)
        with Load(whole.client.command, one.address) as first, Load(whole.client.command, ENI) as second:
            wait_until(lambda: "node1" == whole.who(ENI), "it answers", 5)
            time.sleep(0.5)
            whole.part(one)
            # What is on its way arrives or is lost.
            time.sleep(0.5)
            since = time.monotonic()
            time.sleep(0.3)
            whole.cut(one)
            time.sleep(0.3)
        for seen in (first.seen, second.seen):
            assert "node1" == seen.owner()
            assert [] == [each for each in seen.requests if each.sent > since and each.answered]
        whole.restore(one)

    def test_nodes_apart_do_not_hear_each_other_and_the_client_hears_both(self, whole: Region) -> None:
        """The partition of a cluster, in which each node reaches the API."""
        from tests.lab.echo import heard

        one, two, three = whole.machines
        assert heard(one.namespace, three.address, source=one.address)
        whole.isolate(True)
        assert not heard(one.namespace, three.address, source=one.address, timeout=0.3)
        assert not heard(two.namespace, one.address, source=two.address, timeout=0.3)
        assert ["node1", "node3"] == [whole.who(each.address) for each in (one, three)]
        whole.isolate(False)
        assert heard(one.namespace, three.address, source=one.address)


@pytest.mark.root
@pytest.mark.full
@pytest.mark.timeout(120)
def test_a_person_has_the_region_in_a_shell(tmp_path: Path) -> None:
    """`scripts/lab up`, a move, a client, a power cut, and `down`: then nothing of it is left, and it says so."""
    pytest.importorskip("moto", "5.1", reason="needs moto")
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}

    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        command: list[Any] = [sys.executable, "-B", "-m", "tests.failover.region.lab", *words]
        return subprocess.run(command, env=environ, cwd=TOP, capture_output=True, text=True, timeout=60)

    assert 3 == lab("status").returncode
    up = lab("up")
    assert 0 == up.returncode, up.stderr
    try:
        assert "It is up already.\n" == lab("up").stdout
        moved = lab("exec", "node3", "ec2ident-failover", "takeover", "overlay")
        assert (0, "overlay: is here\n") == (moved.returncode, moved.stdout)
        assert "0 without an answer; at the end node3 answers" in lab("load", OVERLAY, "0.5").stdout
        assert (0, "") == (lambda done: (done.returncode, done.stdout))(lab("power", "node3", "off"))
        assert ["node3  10.0.2.13  power off"] == [line for line in lab("status").stdout.splitlines() if "off" in line]
        assert 2 == lab("exec", "node3", "true").returncode
        assert 2 == lab("power", "node9", "off").returncode
        assert 7 == lab("exec", "node1", "sh", "-c", "exit 7").returncode
    finally:
        assert 0 == lab("down").returncode
    assert 3 == lab("exec", "client", "true").returncode
    (log,) = tmp_path.glob("*/*")
    assert ("log", "") == (log.name, log.read_text())


# What a client saw, counted


def seen(text: str) -> Seen:
    """A request for each letter, at seconds 0, 1, 2 …: `.` is lost, a digit is the node that answered."""
    requests = [(float(at), float(at) + 0.1, f"node{each}") for at, each in enumerate(text)]
    return Seen([Request(at, 0.0 if node == "node." else back, node) for at, back, node in requests])


@pytest.mark.parametrize(
    ("text", "since", "lost", "first", "silence", "owner"),
    [
        # Between two answers there is a second, also where none is lost.
        ("1111", 2, 0, 0, 1, "node1"),
        ("11..33", 2, 2, 2, 2, "node3"),
        # One gets through in between: the first answer is not yet the end of it.
        ("11.3...3", 2, 4, 1, 4, "node3"),
        ("11..", 2, 2, float("inf"), float("inf"), "node1"),
        ("....", 0, 4, float("inf"), float("inf"), "none"),
        # What was lost before does not count.
        ("1.1111", 2, 0, 0, 1, "node1"),
    ],
)
def test_what_was_lost_and_how_long(
    text: str, since: float, lost: int, first: float, silence: float, owner: str
) -> None:
    """Time to the first answer, the longest silence, and requests lost are three figures."""
    found = seen(text)
    assert (lost, first, silence, owner) == (
        found.lost(since),
        found.first(since),
        found.silence(since),
        found.owner(),
    )
