"""The region over BGP: nodes with FRR as `ec2ident-failover bgp` configures it, and the route server that hears them.

Node 1 is in zone a and speaks with two endpoints there, node 3 in zone b with one. Each has two services: `db`, which
only the holder announces, and `web`, which both nodes announce. The route tables have no route of the API's to either
address. The endpoints send some routes, which no node may take.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

from tests.failover.bgp.frr import Frr
from tests.failover.bgp.route_server import ASN, PLACES, Peer, RouteServer
from tests.failover.region.addresses import API_HOST, API_PORT, OVERLAY
from tests.failover.region.load import Load
from tests.failover.region.region import command, from_checkout, region
from tests.lab import packages
from tests.lab.enclosure import wait_until
from tests.lab.eni import Eni

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.failover.cluster.pair import Machine
    from tests.failover.region.region import Region

DB, WEB = OVERLAY, "192.168.10.6"
NODE_ASN = 65001
#: The endpoints of a node, by its number.
ENDPOINTS = {1: ("a1", "a2"), 3: ("b1",)}
#: What the endpoints send.
SENT = ("0.0.0.0/0", "10.0.0.0/8", "203.0.113.0/24")

SETTINGS = """region = "{region}"
endpoint = "http://{api}"
deadline = 15
{services}"""
SERVICE = """
[service.{name}]
overlay = "{overlay}"
device = "eth0"
[service.{name}.bgp]
asn = {asn}
endpoint_asn = {endpoint_asn}
endpoints = [{endpoints}]
address = "{address}"
announce = "{announce}"
tables = [{tables}]
"""


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f'"{each}"' for each in words)


def settings(found: Region, machine: Machine) -> str:
    """The node's failover.toml. It names no instance: what needs one asks the metadata service."""
    endpoints = tuple(Eni(each, *PLACES[each]).address for each in ENDPOINTS[machine.number])
    same = {
        "asn": NODE_ASN,
        "endpoint_asn": ASN,
        "endpoints": _quoted(endpoints),
        "address": machine.address,
        "tables": _quoted(found.ids["tables"]),
    }
    each = (("db", DB, "holder"), ("web", WEB, "both"))
    services = "".join(SERVICE.format(name=name, overlay=to, announce=how, **same) for name, to, how in each)
    return SETTINGS.format(region=found.ids["region"], api=f"{API_HOST}:{API_PORT}", services=services)


def equip(found: Region, machine: Machine) -> None:
    """What a node with BGP has at boot."""
    from_checkout(found, machine)
    if machine.number in ENDPOINTS:
        machine.inside.write("/etc/ec2ident/failover.toml", settings(found, machine))
        written = subprocess.run(command(machine, "ec2ident-failover", "bgp"), capture_output=True, text=True)
        assert written.returncode == 0, written.stderr
        Frr(machine.inside).start(written.stdout)


class Nodes:
    """Use it as a context manager: the whole region, in which `first` holds both services."""

    def __init__(self) -> None:
        self._inside = ExitStack()

    def __enter__(self) -> Self:
        tree = packages.tree("frr")
        with ExitStack() as stack:
            self.region = stack.enter_context(region(equip, tree))
            self.first, _, self.second = self.region.machines
            self.frr = {machine.name: Frr(machine.inside) for machine in (self.first, self.second)}
            peers = [
                Peer(endpoint, machine.address, NODE_ASN)
                for machine in (self.first, self.second)
                for endpoint in ENDPOINTS[machine.number]
            ]
            self.server = stack.enter_context(RouteServer(self.region, tree, peers, send=SENT))
            for table in self.region.ids["tables"]:
                self.region.fake.ask("DeleteRoute", RouteTableId=table, DestinationCidrBlock=f"{DB}/32")
            self.server.propagate(*self.region.ids["tables"])
            self.start()
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._inside.close()

    def start(self) -> None:
        """The first node holds `db` and has the better path of `web`; the second one stands by. Does what lacks."""
        wait_until(self.server.settled, "every node has its sessions", 40)
        # An endpoint learns the new route a little later, so its answer must not decide whether a release follows.
        if not self._holds(self.second, WEB) or self._length(self.second, WEB) < 2:
            self.tell(self.second, "takeover", "web")
            self.tell(self.second, "release", "web")
        if self._holds(self.second, DB):
            self.tell(self.second, "release", "db")
        for name, address in (("web", WEB), ("db", DB)):
            if not self._holds(self.first, address) or self._length(self.first, address) != 1:
                self.tell(self.first, "takeover", name)
        self.wait(self.first, DB, WEB)
        wait_until(lambda: self._length(self.second, WEB) > 1, "the second node stands by")

    def _holds(self, machine: Machine, address: str) -> bool:
        return f" {address}/32 " in machine.addresses()

    def _length(self, machine: Machine, address: str) -> int:
        """Of the node's AS path to the address as the endpoints have heard it; 0 without one."""
        mine = (machine.address, f"{address}/32")
        lengths = [len(path.as_path) for path in self.server.rib.paths if (path.peer, path.prefix) == mine]
        return max(lengths, default=0)

    def tell(self, machine: Machine, *words: str) -> str:
        """Run `ec2ident-failover` there; it must succeed."""
        done = subprocess.run(command(machine, "ec2ident-failover", *words), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{machine.name}: {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait(self, machine: Machine, *addresses: str) -> None:
        """Until the client hears this node at the addresses."""
        for each in addresses:
            wait_until(
                lambda each=each: self.region.who(each, timeout=0.3) == machine.name,  # type: ignore[misc]
                f"{machine.name} answers at {each}: {self.server.rib.paths}",
                30,
            )

    def load(self, address: str, rate: int = 1000) -> Load:
        """The client's requests."""
        return Load(self.region.client.command, address, rate=rate)
