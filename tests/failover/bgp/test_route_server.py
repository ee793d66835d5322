"""The lab's route server against plain FRR: what a device announces is in the route tables, and nothing else."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.namespace import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.failover.bgp.frr import Frr
    from tests.failover.bgp.route_server import RouteServer
    from tests.failover.region.region import Region

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(120)]

PREFIX, PREFIX6, OTHER = "192.168.10.7/32", "fd00:10::7/128", "192.168.10.8/32"
ONE, TWO, THREE = "10.0.0.11", "10.0.0.12", "10.0.2.13"
#: Who speaks with which endpoint, and with BFD or without.
PEERS = (("a1", ONE, 65001, True), ("a2", ONE, 65001, True), ("a1", TWO, 65002, True), ("b1", THREE, 65003, True))
SLOW = ("a2", TWO, 65002, False)

DEVICE = """frr defaults traditional
bgp route-map delay-timer 0
route-map BEST permit 10
 set metric 5
exit
route-map WORSE permit 10
 set metric 50
exit
route-map LONG permit 10
 set as-path prepend {asn}
exit
bfd
 profile vpc
  transmit-interval 300
  receive-interval 300
 exit
exit
router bgp {asn}
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart-disable
{neighbors} address-family ipv6 unicast
{activate} exit-address-family
exit
"""
NEIGHBOR = """ neighbor {endpoint} remote-as 64512
 neighbor {endpoint} timers connect 1
 neighbor {endpoint} update-source {address}
 neighbor {endpoint} interface eth0
"""


class Room:
    """The region with its route server, and three devices that announce what a test tells them."""

    def __init__(self, region: Region, server: RouteServer) -> None:
        from tests.failover.bgp.frr import Frr

        self.region, self.server = region, server
        self.machines = {machine.address: machine for machine in region.machines}
        self.devices: dict[str, Frr] = {address: Frr(machine.inside) for address, machine in self.machines.items()}
        self.numbers = {peer.address: peer.asn for peer in server.peers}

    def start(self, address: str) -> None:
        mine = [peer for peer in self.server.peers if peer.address == address]
        neighbors = activate = ""
        for peer in mine:
            endpoint = self.server.endpoints[peer.endpoint].address
            neighbors += NEIGHBOR.format(endpoint=endpoint, address=address)
            neighbors += f" neighbor {endpoint} bfd profile vpc\n" if peer.bfd else ""
            activate += f"  neighbor {endpoint} activate\n"
        asn = self.numbers[address]
        self.devices[address].start(DEVICE.format(asn=asn, neighbors=neighbors, activate=activate))

    def announce(self, address: str, how: str = "", prefix: str = PREFIX) -> None:
        self._network(address, f"network {prefix}{' route-map ' if how else ''}{how}")

    def withdraw(self, address: str, prefix: str = PREFIX) -> None:
        self._network(address, f"no network {prefix}")

    def _network(self, address: str, line: str) -> None:
        family = "ipv6" if "::" in line else "ipv4"
        self.devices[address].configure(f"router bgp {self.numbers[address]}", f"address-family {family} unicast", line)

    def routes(self, prefix: str = PREFIX) -> dict[str, tuple[str, str]]:
        """Table -> the address of the device that the API's route goes to, and the route's origin."""
        enis = {self.region.ids[f"eni{each.number}"]: each.address for each in self.region.machines}
        found = {}
        text = self.region.ask("DescribeRouteTables")
        for table in self.region.ids["tables"]:
            rows = text.partition(f"<routeTableId>{table}</routeTableId>")[2].partition("</routeSet>")[0]
            for row in re.findall(r"<item>.*?</item>", rows, re.DOTALL):
                if f">{prefix}<" in row:
                    fields = dict(re.findall(r"<(networkInterfaceId|origin)>(.*?)<", row))
                    found[table] = (enis[fields["networkInterfaceId"]], fields["origin"])
        return found

    def wait(self, owner: str, prefix: str = PREFIX) -> float:
        """Until the FIB has this device, or none; returns the time that it took."""
        began = time.monotonic()
        wait_until(lambda: self.server.fib().get(prefix, "") == owner, f"{owner or 'no device'} has {prefix}")
        return time.monotonic() - began

    def wait_chosen(self, address: str) -> None:
        """Until FRR itself prefers this device, at the endpoint that hears two of them."""
        endpoint = self.server.endpoints["a1"]
        wait_until(lambda: endpoint.chosen().get(PREFIX) == address, f"FRR chooses {address}")

    def settle(self) -> None:
        wait_until(self.server.settled, "every peer has its sessions", 30)


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.failover.bgp.route_server import Peer, RouteServer
    from tests.failover.region.region import region
    from tests.lab import packages

    try:
        tree = packages.tree("frr")
    except packages.Unavailable as why:
        pytest.skip(str(why))
    peers = [Peer(*each) for each in (*PEERS, SLOW)]
    with region(lambda _region, _machine: None, tree) as found, RouteServer(found, tree, peers) as server:
        room = Room(found, server)
        for address in room.devices:
            room.start(address)
        server.propagate(*found.ids["tables"])
        room.settle()
        yield room
        names = [endpoint.namespace.name for endpoint in server.endpoints.values()]
    assert [] == [name for name in names if (NAMES / name).exists()]


@pytest.fixture(autouse=True)
def nothing_announced(room: Room) -> Iterator[None]:
    """Each test begins with every session up and no route, and no test's route is there after it."""
    room.settle()
    yield
    room.server.rib.persist = 0.0
    for address, device in room.devices.items():
        if device.runs("bgpd"):
            running = device.say("bgpd", "enable", "show running-config")[1]
            for prefix in re.findall(r"^  network (\S+)", running, re.MULTILINE):
                room.withdraw(address, prefix)
    wait_until(lambda: not room.server.fib(), "nothing is announced")
    room.server.propagate(*room.region.ids["tables"])


def test_a_route_is_in_the_tables_while_it_is_announced(room: Room) -> None:
    """With the device's interface as target and the origin `Advertisement`, for both families; then it is gone."""
    tables = room.region.ids["tables"]
    for prefix in (PREFIX, PREFIX6):
        room.announce(ONE, prefix=prefix)
        room.wait(ONE, prefix)
        wait_until(lambda prefix=prefix: room.routes(prefix), "it is in the tables")  # type: ignore[misc]
        assert dict.fromkeys(tables, (ONE, "Advertisement")) == room.routes(prefix)
    assert {PREFIX, PREFIX6} == room.server.ever
    # Both endpoints have heard the device.
    assert {"a1", "a2"} == {path.endpoint for path in room.server.rib.paths}
    room.withdraw(ONE)
    room.wait("")
    wait_until(lambda: not room.routes(), "it is in no table")
    assert dict.fromkeys(tables, (ONE, "Advertisement")) == room.routes(PREFIX6)


def test_the_routers_of_the_region_follow_the_route(room: Room) -> None:
    """What the client outside sends to the address arrives at the device with the better path."""
    holders = [room.machines[address].namespace for address in (ONE, THREE)]
    for each in holders:
        each.ip("address add 192.168.10.7/32 dev lo")
    for address, how, name in ((THREE, "WORSE", "node3"), (ONE, "BEST", "node1")):
        room.announce(address, how)
        wait_until(lambda name=name: room.region.who("192.168.10.7", timeout=0.3) == name, f"{name} answers")  # type: ignore[misc]
    for each in holders:
        each.ip("address delete 192.168.10.7/32 dev lo")


def test_the_path_with_the_better_med_wins_whichever_comes_first(room: Room) -> None:
    """FRR chooses the same one among the peers of one endpoint."""
    for first, second in ((ONE, TWO), (TWO, ONE)):
        room.announce(first, "WORSE")
        room.wait(first)
        room.announce(second, "BEST")
        room.wait(second)
        room.wait_chosen(second)
        room.withdraw(second)
        room.wait(first)
        room.withdraw(first)
        room.wait("")


def test_the_path_with_the_longer_as_path_loses_whatever_its_med_is(room: Room) -> None:
    """The standby of AWS's example prepends its number; it has the address when the other path is gone."""
    room.announce(ONE, "LONG")
    room.wait(ONE)
    room.announce(TWO, "WORSE")
    room.wait(TWO)
    room.wait_chosen(TWO)
    room.withdraw(TWO)
    room.wait(ONE)


def test_only_the_tables_with_propagation_have_the_route(room: Room) -> None:
    """Enabled and disabled while the route is there."""
    first, second = room.region.ids["tables"]
    room.server.propagate(first)
    room.announce(ONE)
    for named in ([first], [second], [first, second], []):
        room.server.propagate(*named)
        wait_until(lambda named=named: sorted(room.routes()) == sorted(named), "the tables follow")  # type: ignore[misc]
    assert ONE == room.server.fib()[PREFIX]


def test_a_static_route_is_stronger_and_stays_as_it_was(room: Room) -> None:
    """The propagated one takes its place when it is deleted."""
    first, second = room.region.ids["tables"]
    target = {"RouteTableId": first, "DestinationCidrBlock": OTHER}
    room.region.fake.ask("CreateRoute", **target, NetworkInterfaceId=room.region.ids["eni2"])
    room.announce(ONE, prefix=OTHER)
    wait_until(lambda: second in room.routes(OTHER), "the other table follows")
    assert (TWO, "CreateRoute") == room.routes(OTHER)[first]
    assert {(first, OTHER)} == room.server.rejected
    room.region.fake.ask("DeleteRoute", **target)
    wait_until(lambda: room.routes(OTHER).get(first) == (ONE, "Advertisement"), "it is installed")
    assert set() == room.server.rejected


@pytest.mark.parametrize("how", ["link", "stopped", "bfdd"])
def test_bfd_finds_a_dead_device_and_its_route_goes(room: Room, how: str) -> None:
    """Long before a hold time: a lost network, processes that hang, or a bfdd that was killed."""
    room.announce(ONE, "BEST")
    room.announce(TWO, "WORSE")
    room.wait(ONE)
    device, machine = room.devices[ONE], room.machines[ONE]
    if how == "link":
        room.region.part(machine)
    elif how == "stopped":
        device.send(signal.SIGSTOP)
    else:
        device.end("bfdd")
    seconds = room.wait(TWO)
    print(f"route server: BFD 300 ms x 3, {how}: the other device after {seconds:.2f} s")
    if how == "link":
        room.region.mend(machine)
    elif how == "stopped":
        device.send(signal.SIGCONT)
    else:
        device.start()
    room.wait(ONE)


def test_without_bfd_a_dead_device_has_its_route_until_the_hold_time(room: Room) -> None:
    """Both sessions of the device hear nothing any more; the one with BFD alone has noticed."""
    room.announce(TWO)
    wait_until(lambda: len(room.server.rib.paths) == 2, "both endpoints have it")
    room.region.part(room.machines[TWO])
    wait_until(lambda: len(room.server.rib.paths) == 1, "one session has ended")
    assert ["a2"] == [path.endpoint for path in room.server.rib.paths]
    assert ("a2", TWO) in room.server.sessions()
    assert TWO == room.server.fib()[PREFIX]
    room.region.mend(room.machines[TWO])


def test_a_bgpd_that_ends_in_order_takes_its_routes_along_at_once(room: Room) -> None:
    """It says so itself (a Cease), and BFD has nothing to find. Started again, it has its sessions again."""
    room.announce(ONE)
    room.wait(ONE)
    room.devices[ONE].end("bgpd", how=signal.SIGTERM)
    room.wait("")
    room.start(ONE)


def test_the_death_of_one_endpoint_loses_no_route(room: Room) -> None:
    """The device has a session with a second one: the route was never away."""
    room.announce(ONE)
    room.wait(ONE)
    wait_until(lambda: len(room.server.rib.paths) == 2, "both endpoints have it")
    room.server.endpoints["a1"].frr.end()
    wait_until(lambda: len(room.server.rib.paths) == 1, "one is gone")
    assert dict.fromkeys(room.region.ids["tables"], ONE) == {t: eni for t, (eni, _) in room.routes().items()}
    room.server.start("a1")
    wait_until(lambda: len(room.server.rib.paths) == 2, "both endpoints have it again")


def test_persisted_routes_outlast_all_sessions_and_then_their_time(room: Room) -> None:
    """Every device dies; a first one comes back without a route, and the old route stays until the time is over."""
    room.server.rib.persist = 1.5
    room.announce(ONE)
    room.wait(ONE)
    # The one with the route last: while another one has a session, nothing persists.
    for address in (TWO, THREE, ONE):
        room.devices[address].end("bgpd")
    wait_until(lambda: not room.server.sessions(), "no session is left")
    assert ONE == room.server.fib()[PREFIX]
    assert dict.fromkeys(room.region.ids["tables"], (ONE, "Advertisement")) == room.routes()
    room.start(TWO)
    wait_until(room.server.sessions, "the first session is back")
    assert ONE == room.server.fib()[PREFIX]
    room.wait("")
    for address in (ONE, THREE):
        room.start(address)


def test_a_device_hears_no_route_from_the_endpoints(room: Room) -> None:
    """Not even those of other devices."""
    room.announce(ONE)
    room.wait(ONE)
    for device in (room.devices[TWO], room.devices[THREE]):
        assert {} == device.ask("bgpd", "show bgp ipv4 unicast json")[0].get("routes", {})
