"""What a VPC does between interfaces: routers of the subnets, the mapping of addresses, and the source check.

There is no shared wire. Each interface has a link of its own to the router, which answers ARP and neighbour discovery
for all, knows which address belongs to which interface, and drops a packet that comes in by another one. That is
EC2's source check, and here it stays on also for overlay addresses: a packet may only come from the interface to which
its source is routed. (EC2 wants the check off there, and then lets every source out; so what answers here, answers
there.)
"Amazon VPC User Guide", "Route tables"; "Amazon EC2 User Guide", "source/destination checking". What else is modelled
here stands with its source, or as an assumption, in docs/testing.md, "What the lab assumes of a VPC".
"""

from __future__ import annotations

import itertools
from ipaddress import ip_address

from .eni import METADATA, OUTSIDE, OUTSIDE6, ROUTER6, Eni
from .namespace import Namespace


class Router(Namespace):
    """The VPC's side of every link."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        #: Our ends of the links have numbers that the other ends never have: where both have the same, the kernel takes
        #: the link for no virtual one, and lets it wait up to a second before it carries packets.
        self._indices = itertools.count(1000)
        #: IPv6 source -> the port that it may come in by.
        self._sources: dict[str, str] = {}
        #: The interfaces that have a link now.
        self._plugged: list[Eni] = []

    def set_up(self) -> None:
        self.sysctl(
            {
                "ipv4/ip_forward": 1,
                "ipv6/conf/all/forwarding": 1,
                "ipv6/conf/all/proxy_ndp": 1,
                # The source check of IPv4: the kernel's strict reverse path filter.
                "ipv4/conf/all/rp_filter": 1,
                "ipv4/conf/default/proxy_arp": 1,
                # fe80:ec2::1 is the only link-local address of a VPC's router.
                "ipv6/conf/default/addr_gen_mode": 1,
            }
        )
        self.ip(*(f"address add {address} dev lo" for address in METADATA))

    def plug_outside(self, client: Namespace) -> None:
        """Give a client outside of the VPC its link, addresses and routes."""
        self.ip(
            f"link add outside index {next(self._indices)} type veth peer name eth0 netns {client.name}",
            "address add 203.0.113.1/24 dev outside",
            "address add 2001:db8:113::1/64 dev outside nodad",
            # Without one the kernel cannot ask for a neighbour on behalf of others, and forgets the client in seconds.
            "address add fe80::1/64 dev outside nodad",
            "link set outside up",
        )
        client.ip(
            f"address add {OUTSIDE}/24 dev eth0",
            f"address add {OUTSIDE6}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 203.0.113.1",
            "route add default via 2001:db8:113::1",
        )
        self._make_quick("outside")
        self.wait_running("outside")
        client.wait_running("eth0")

    def plug(self, eni: Eni, machine: Namespace, device: str) -> None:
        """Give a machine the link of an interface: there it appears down and bare, here it is ready."""
        port = port_of(eni)
        index = next(self._indices)
        self.ip(
            f"link add {port} index {index} type veth peer name {device} address {eni.mac} netns {machine.name}",
            f"address add {eni.router}/24 dev {port} noprefixroute",
            f"address add {ROUTER6}/10 dev {port} nodad",
            f"address add {eni.in_subnet6(1)}/64 dev {port} nodad noprefixroute",
            # The router's end first: the machine's end then has a carrier from the moment it comes up.
            f"link set {port} up",
            f"route add {eni.address}/32 dev {port} src {eni.router}",
            f"route add {eni.address6}/128 dev {port}",
        )
        self._make_quick(port)
        # IPv6 has no reverse path filter: each port has a list of sources, and a black hole for the others.
        self.ip(f"-6 rule add iif {port} priority 200 blackhole")
        self._let_source_pass(eni.address6, port)
        for other in self._beside(eni):
            # ARP is answered for all that is routed elsewhere; neighbour discovery for each that is named.
            self.ip(
                f"neigh add proxy {other.address6} dev {port}", f"neigh add proxy {eni.address6} dev {port_of(other)}"
            )
        self._plugged.append(eni)

    def _beside(self, eni: Eni) -> list[Eni]:
        """The other interfaces of its subnet."""
        return [other for other in self._plugged if other.subnet6 == eni.subnet6]

    def wait_for(self, eni: Eni) -> None:
        """Wait until an interface's link carries packets at this end."""
        self.wait_running(port_of(eni))

    def configure(self, machine: Namespace, device: str, eni: Eni, metric: int) -> None:
        """Add in a machine what a lease and an advertisement bring; what is there already stays."""
        machine.ip(f"link set {device} up")
        # Nothing comes in by itself after this, so that a snapshot is stable at once.
        self.wait_for(eni)
        machine.wait_running(device)
        machine.ip(
            f"address replace {eni.address}/24 dev {device} metric {metric}",
            f"route replace default via {eni.router} dev {device} proto dhcp metric {metric}",
            f"address replace fe80::{eni.subnet_number:x}:{eni.host:x}/64 dev {device} nodad",
            f"address replace {eni.address6}/128 dev {device} nodad",
            f"route replace default via {ROUTER6} dev {device} proto ra metric {metric}",
        )

    def _make_quick(self, port: str) -> None:
        """Ask for neighbours often: a machine answers only a moment after it has its IPv6 address.

        And answer on behalf of others at once, which the kernel delays by up to 0.8 s.
        """
        often = {"retrans_time_ms": 50, "mcast_solicit": 20}
        settings = {
            f"{family}/neigh/{port}/{name}": value for family in ("ipv4", "ipv6") for name, value in often.items()
        }
        at_once = {f"{family}/neigh/{port}/proxy_delay": 0 for family in ("ipv4", "ipv6")}
        self.sysctl({**at_once, **settings})

    def unplug(self, eni: Eni) -> None:
        """Take the link away, with every route that leads there."""
        port = port_of(eni)
        self.ip(f"link delete {port}", f"-6 rule delete iif {port} priority 200")
        self._plugged.remove(eni)
        self.ip(*(f"neigh delete proxy {eni.address6} dev {port_of(other)}" for other in self._beside(eni)))
        for address in [address for address, by in self._sources.items() if by == port]:
            self._forget_source(address)

    def route(self, address: str, eni: Eni) -> None:
        """Route one more address to an interface, in place of where it was routed before."""
        bits = ip_address(address).max_prefixlen
        via = eni.address6 if bits == 128 else eni.address
        self.ip(f"route replace {address}/{bits} via {via} dev {port_of(eni)} onlink")
        if bits == 128:
            self._let_source_pass(address, port_of(eni))

    def _let_source_pass(self, address: str, port: str) -> None:
        if address in self._sources:
            self._forget_source(address)
        self.ip(f"-6 rule add from {address} iif {port} lookup main priority 100")
        self._sources[address] = port

    def _forget_source(self, address: str) -> None:
        self.ip(f"-6 rule delete from {address} iif {self._sources.pop(address)} priority 100")


def port_of(eni: Eni) -> str:
    """The router's end of an interface's link."""
    return f"to-{eni.name}"
