"""A VPC route server in the region: endpoints that speak BGP, and route tables that follow what they hear.

    with region(equip, tree) as found, RouteServer(found, [Peer("a1", "10.0.0.11", 65001)]) as server:
        server.propagate(*found.ids["tables"])

Each endpoint is FRR (zebra, bfdd, bgpd) with an interface of its own in a subnet; a thread reads what they have heard
fifty times a second, chooses the best routes (`rib.py`) and writes them into the fake's route tables. The routers of
the region forward by those tables, as they do for routes that a program created.

From the "Amazon VPC User Guide", "Dynamic routing in your VPC with VPC Route Server", and the EC2 API's reference:

- An endpoint is in a subnet; one for each session with a device is recommended, and two in each subnet. A peer is a
  session between one endpoint and a device's address (IPv4). The device starts it. Routes may be IPv4 and IPv6.
- The liveness of a peer is `bgp-keepalive` or `bfd` (here: `bfd=False` or `True`).
- The FIB is written to the route tables with propagation enabled, with the device's interface as target; their origin
  in DescribeRouteTables is `Advertisement`. When BFD loses a device its routes are withdrawn.

Assumed: AWS does not say it, and it was not tried on EC2:

- BFD is single hop (RFC 5881), asynchronous, at 300 ms × 3, as it is for Direct Connect.
- An endpoint offers FRR's usual hold time (180 s); the device's shorter one counts (RFC 4271, 4.2).
- An endpoint sends no route. (`send` makes it send some, to see what a node does with them.)
- An endpoint does not keep the routes of a device that restarts (RFC 4724), and accepts every prefix.
- The target is the interface with the *peer's* address, whatever next hop the device has announced.
- A static route of the same destination is stronger, and the propagated one is rejected, as it is documented for routes
  that a virtual private gateway propagates.
- A route table follows at once. AWS gives no figure.
- What is between two interfaces of a VPC does not count as a hop: packets arrive with the TTL that they left with.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple

from tests.failover.fake import cloud
from tests.lab.enclosure import Enclosure
from tests.lab.eni import Eni
from tests.lab.namespace import LabError, Namespace, unique
from tests.lab.vpc import make_quick

from .frr import Frr
from .rib import Path, Rib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path as File
    from typing import Any

    from typing_extensions import Self

    from tests.failover.region.region import Region

#: The Amazon side.
ASN = 64512
#: Two endpoints in the first subnet of each zone: name -> subnet and host number.
PLACES = {"a1": (0, 201), "a2": (0, 202), "b1": (2, 201), "b2": (2, 202)}
#: Seconds between two looks at the endpoints.
EVERY = 0.02

#: The routers take one hop off each packet. BGP between neighbours leaves with a TTL of 1 and BFD with one of 255.
SAME_TTL = """table ip vpc_hops {
    chain before { type filter hook prerouting priority 0; ip ttl 1 ip ttl set 2; }
    chain between { type filter hook forward priority 0; ip ttl 254 ip ttl set 255; }
}
"""

HEAD = """frr defaults traditional
hostname {name}
bgp route-map delay-timer 0
ip nht resolve-via-default
ipv6 nht resolve-via-default
bfd
 profile vpc
  transmit-interval {interval}
  receive-interval {interval}
  detect-multiplier 3
 exit
exit
route-map SILENCE deny 10
exit
router bgp {asn}
 bgp router-id {address}
 bgp always-compare-med
 bgp graceful-restart-disable
 no bgp ebgp-requires-policy
 no bgp network import-check
"""
NEIGHBOR = """ neighbor {peer.address} remote-as {peer.asn}
 neighbor {peer.address} passive
 neighbor {peer.address} update-source {address}
 neighbor {peer.address} interface eth0
"""
BFD = """ neighbor {peer.address} bfd profile vpc
"""
FAMILY = """ address-family {family} unicast
{lines} exit-address-family
"""


class Peer(NamedTuple):
    """A device as one endpoint knows it."""

    endpoint: str
    address: str
    asn: int
    bfd: bool = True


class Endpoint:
    """One endpoint: a namespace in a subnet of the region, with FRR in it."""

    def __init__(self, name: str, tree: File) -> None:
        self.name = name
        self.eni = Eni(f"rs-{name}", *PLACES[name])
        self.address = self.eni.address
        self.namespace = Namespace(unique(f"rs-{name}"))
        self.inside = Enclosure(self.namespace, tree)
        self.frr = Frr(self.inside)

    def configuration(self, peers: Iterable[Peer], interval: int, send: Sequence[str] = ()) -> str:
        """For FRR. `send`: prefixes that it announces."""
        mine = [peer for peer in peers if peer.endpoint == self.name]
        parts = [HEAD.format(name=f"rs-{self.name}", asn=ASN, address=self.address, interval=interval)]
        for peer in mine:
            parts.append(NEIGHBOR.format(peer=peer, address=self.address))
            parts += [BFD.format(peer=peer)] if peer.bfd else []
        for family, colon in (("ipv4", False), ("ipv6", True)):
            sent = [prefix for prefix in send if (":" in prefix) == colon]
            lines = [f"  network {prefix}\n" for prefix in sent]
            for peer in mine:
                lines.append(f"  neighbor {peer.address} activate\n")
                lines += [] if sent else [f"  neighbor {peer.address} route-map SILENCE out\n"]
            parts.append(FAMILY.format(family=family, lines="".join(lines)))
        return "".join([*parts, "exit\n"])

    def heard(self) -> tuple[list[Path], int]:
        """The paths of the peers with a session, and how many sessions there are; nothing if bgpd does not run."""
        families = ("ipv4", "ipv6")
        commands = [f"show bgp {family} unicast json" for family in families]
        try:
            # The sessions after the routes: a session's end is seen no later than the end of its routes.
            *tables, summary = self.frr.ask("bgpd", *commands, "show bgp ipv4 unicast summary json")
        except OSError:
            return [], 0
        up = {peer for peer, row in summary.get("peers", {}).items() if row["state"] == "Established"}
        rows = [row for table in tables for each in table.get("routes", {}).values() for row in each]
        return [self._path(row) for row in rows if row["peerId"] in up and row.get("valid")], len(up)

    def _path(self, row: dict[str, Any]) -> Path:
        as_path = tuple(int(word) for word in row["path"].split())
        return Path(row["network"], row["peerId"], self.name, as_path, row.get("metric", 0))

    def chosen(self) -> dict[str, str]:
        """What FRR itself says is the best of its paths: prefix -> peer."""
        rows = self.frr.ask("bgpd", "show bgp ipv4 unicast json")[0]["routes"]
        return {prefix: row["peerId"] for prefix, each in rows.items() for row in each if row.get("bestpath")}

    def live(self) -> set[str]:
        """The peers with which BFD is up."""
        rows = json.loads(self.frr.say("bfdd", "enable", "show bfd peers json")[1])
        return {row["peer"] for row in rows if row["status"] == "up"}


class RouteServer:
    """Use it as a context manager, inside the region's.

    `persist`: seconds that routes stay (AWS: minutes), 0 for not at all; `interval`: of BFD, in milliseconds; `send`:
    prefixes that the endpoints announce.
    """

    def __init__(
        self,
        region: Region,
        tree: File,
        peers: Sequence[Peer],
        *,
        persist: float = 0.0,
        interval: int = 300,
        send: Sequence[str] = (),
    ) -> None:
        self.region, self.peers, self.interval, self.send = region, peers, interval, send
        self.endpoints = {name: Endpoint(name, tree) for name in dict.fromkeys(peer.endpoint for peer in peers)}
        self.rib = Rib(persist)
        #: Every prefix that an endpoint has ever heard.
        self.ever: set[str] = set()
        #: Table and prefix of the routes that could not be installed: a static one is there.
        self.rejected: set[tuple[str, str]] = set()
        self._tables: set[str] = set()
        self._written: dict[tuple[str, str], str] = {}
        self._lock, self._over, self._inside = threading.RLock(), threading.Event(), ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.region.router.read("nft", SAME_TTL)
            for endpoint in self.endpoints.values():
                self._set_up(endpoint, stack)
            follow = threading.Thread(target=self._follow, daemon=True)
            follow.start()
            stack.callback(follow.join)
            stack.callback(self._over.set)
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._inside.close()

    def _set_up(self, endpoint: Endpoint, stack: ExitStack) -> None:
        Namespace.add_all(endpoint.namespace)
        stack.callback(Namespace.remove_all, endpoint.namespace)
        make_quick(endpoint.namespace, bare=False)
        self.region.connect(endpoint.eni, endpoint.namespace)
        stack.callback(self.region.disconnect, endpoint.eni)
        stack.enter_context(endpoint.inside)
        self.start(endpoint.name)

    # What a test asks for

    def start(self, name: str) -> None:
        """Start an endpoint's daemons."""
        endpoint = self.endpoints[name]
        endpoint.frr.start(endpoint.configuration(self.peers, self.interval, self.send))

    def propagate(self, *tables: str) -> None:
        """The route tables that follow from here on (EnableRouteServerPropagation and the opposite)."""
        with self._lock:
            self._tables = set(tables)

    def sessions(self) -> set[tuple[str, str]]:
        """Endpoint and peer of the sessions that are up."""
        found = set()
        for endpoint in self.endpoints.values():
            summary = endpoint.frr.ask("bgpd", "show bgp ipv4 unicast summary json")[0].get("peers", {})
            found |= {(endpoint.name, peer) for peer, row in summary.items() if row["state"] == "Established"}
        return found

    def settled(self) -> bool:
        """Every peer has its session, and BFD where it is wanted."""
        wanted = {(peer.endpoint, peer.address) for peer in self.peers}
        live = {(endpoint.name, peer) for endpoint in self.endpoints.values() for peer in endpoint.live()}
        return self.sessions() == wanted and live == {(peer.endpoint, peer.address) for peer in self.peers if peer.bfd}

    def fib(self) -> dict[str, str]:
        """Prefix -> address of the device that has it."""
        with self._lock:
            return {prefix: path.peer for prefix, path in self.rib.fib().items()}

    # What it does

    def _follow(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  told at the end; the lab cannot go on
                self.region.broken.append(error)
                return

    def _look(self) -> None:
        heard, sessions = [], 0
        for endpoint in self.endpoints.values():
            paths, up = endpoint.heard()
            heard += paths
            sessions += up
        with self._lock:
            self.ever |= {path.prefix for path in heard}
            self.rib.hear(heard, sessions, time.monotonic())
            self._write(self.rib.fib())

    def _write(self, fib: dict[str, Path]) -> None:
        """Make the propagated routes of the tables those of the FIB."""
        fake = self.region.fake
        with fake.lock:
            owners = {eni.private_ip_address: eni.id for eni in fake.backend.enis.values()}
            wanted = {(table, prefix): owners[path.peer] for table in self._tables for prefix, path in fib.items()}
            if wanted == self._written:
                return
            for table, prefix in self._written.keys() - wanted.keys():
                fake.ask("DeleteRoute", RouteTableId=table, **_destination(prefix))
            free = {place for place in wanted if place in self._written or self._route(*place) is None}
            self.rejected = wanted.keys() - free
            for table, prefix in free:
                eni, before = wanted[table, prefix], self._written.get((table, prefix))
                if before != eni:
                    action = "ReplaceRoute" if before else "CreateRoute"
                    fake.ask(action, RouteTableId=table, NetworkInterfaceId=eni, **_destination(prefix))
                    self._mark(table, prefix)
            self._written = {place: wanted[place] for place in free}

    def _route(self, table: str, prefix: str) -> Any:
        """moto's route of a destination, or None."""
        rows = cloud.routes(self.region.fake.backend.route_tables[table])
        there = [row for row in rows if prefix in (row.destination_cidr_block, row.destination_ipv6_cidr_block)]
        return there[0] if there else None

    def _mark(self, table: str, prefix: str) -> None:
        route = self._route(table, prefix)
        if route is None:
            raise LabError(f"{table}: the fake refuses a route to {prefix}")
        route.fake_advertised = True


def _destination(prefix: str) -> dict[str, str]:
    return {"DestinationIpv6CidrBlock" if ":" in prefix else "DestinationCidrBlock": prefix}
