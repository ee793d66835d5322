"""A simulated VPC: a node with hot-pluggable interfaces, the routers of its subnets, and a client outside.

    client 203.0.113.9 ── router ──┬── 10.0.0.1  subnet 10.0.0.0/24 ── eth0 10.0.0.10 ─┐
                          │        └── 10.0.1.1  subnet 10.0.1.0/24 ── eth1 10.0.1.10 ─┴─ node
                          └── 169.254.169.254, fd00:ec2::254: room for a metadata service

As in a VPC there is no shared wire: each interface has a link of its own to the router, which answers ARP for
everybody, knows which address belongs to which interface, and drops a packet that comes in by another one. That is
EC2's source check, and here it stays on also for overlay addresses: a packet may only come from the interface to which
its source is routed. (EC2 wants the check off there, and then lets every source out; so what answers here, answers
there.) "Amazon VPC User Guide", "Route tables" and "Elastic network interfaces: source/destination checking".
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple

from .echo import Echo, ask
from .namespace import LabError, Namespace, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from ec2ident.testing import Instance, Interface, MetadataService

CIDR = "10.0.0.0/16"
CIDR6 = "2001:db8:ec2::/56"
#: "Subnet CIDR blocks": the first address of a subnet is its router's; the same link-local one in every subnet.
ROUTER6 = "fe80:ec2::1"
METADATA = ("169.254.169.254", "fd00:ec2::254")

OUTSIDE = "203.0.113.9"
OUTSIDE6 = "2001:db8:113::9"


class Eni(NamedTuple):
    """An elastic network interface: what the VPC knows of it, attached or not."""

    name: str
    subnet_number: int
    host: int
    mac: str

    @property
    def address(self) -> str:
        return f"10.0.{self.subnet_number}.{self.host}"

    @property
    def address6(self) -> str:
        return self.subnet_address6(self.host)

    def subnet_address6(self, host: int) -> str:
        return str(ip_address(f"2001:db8:ec2:{self.subnet_number:x}::{host:x}"))

    @property
    def subnet(self) -> str:
        return f"10.0.{self.subnet_number}.0/24"

    @property
    def subnet6(self) -> str:
        return str(ip_network(f"2001:db8:ec2:{self.subnet_number:x}::/64"))

    @property
    def router(self) -> str:
        return f"10.0.{self.subnet_number}.1"


def mac(subnet: int, host: int) -> str:
    """Locally administered, as Amazon's own begin with 02 to 0e."""
    return f"06:00:00:00:{subnet:02x}:{host:02x}"


class Client(Namespace):
    """A machine outside of the VPC."""

    def ask(self, address: str, *, timeout: float = 0.5) -> bool:
        """Whether the node answers at an address, from that very address, within `timeout` seconds."""
        return ask(self, address, source=OUTSIDE6 if ":" in address else OUTSIDE, timeout=timeout)


class Vpc:
    """The whole of it, while the `with` block lasts; afterwards nothing of it is left, whatever happened inside.

    The node begins with eth0, configured as DHCP would. With `bare=True` nothing is configured in the node, and its
    kernel parameters are the kernel's own, for network managers that do all of that themselves.
    """

    def __init__(self, *, bare: bool = False) -> None:
        self.bare = bare
        self.node = Namespace(unique("node"))
        self.router = Namespace(unique("router"))
        self.client = Client(unique("client"))
        self.enis: dict[str, Eni] = {}
        self._attached: dict[str, Eni] = {}
        #: The metadata service, once `serve_metadata` was called.
        self.metadata: MetadataService | None = None
        #: IPv6 source -> the interface that it may come from.
        self._sources: dict[str, str] = {}
        self._inside = ExitStack()

    def __enter__(self) -> Vpc:
        everything = (self.node, self.router, self.client)
        self._inside.callback(Namespace.remove_all, *everything)
        try:
            Namespace.add_all(*everything)
            self._set_up_router()
            self._set_up_node()
            self._inside.enter_context(Echo(self.node))
            self.attach("eth0")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process inside and remove the namespaces. Twice is fine."""
        self._inside.close()

    # The node's interfaces

    def attach(self, name: str, *, subnet: int | None = None, configured: bool | None = None, **late: float) -> Eni:
        """Attach an interface to the running node, and configure it unless the lab is bare.

        Its subnet is by default the number in its name. An interface that was detached comes back with the same MAC
        and addresses. The metadata service learns of it at once, or as late as `listed_after=` and `numbered_after=`
        (seconds) say.
        """
        eni = self.enis.get(name) or self._create(name, _number(name) if subnet is None else subnet)
        link = f"link add {_port(name)} type veth peer name {name} address {eni.mac} netns {self.node.name}"
        self.router.ip(
            link,
            f"address add {eni.router}/24 dev {_port(name)} noprefixroute",
            f"address add {ROUTER6}/10 dev {_port(name)} nodad",
            f"address add {eni.subnet_address6(1)}/64 dev {_port(name)} nodad noprefixroute",
            # The router's end first: the node's end then has a carrier from the moment it comes up.
            f"link set {_port(name)} up",
            f"route add {eni.address}/32 dev {_port(name)} src {eni.router}",
            f"route add {eni.address6}/128 dev {_port(name)}",
        )
        # The kernel delays ARP answers on behalf of others by up to 0.8 s; a VPC does not.
        self.router.sysctl({f"ipv4/neigh/{_port(name)}/proxy_delay": 0})
        self._let_source_pass(eni.name, eni.address6)
        self.router.ip(f"-6 rule add iif {_port(name)} priority 200 blackhole")
        self._attached[name] = eni
        if self.metadata:
            self.metadata.attach(_described(eni), **late)
        if configured if configured is not None else not self.bare:
            self.configure(name)
        return eni

    def detach(self, name: str) -> None:
        """Take an interface away from the running node, as a detach (or a forced one) does."""
        self.router.ip(f"link delete {_port(name)}")
        for address in [address for address, at in self._sources.items() if at == name]:
            self._forget_source(address)
        self.router.ip(f"-6 rule delete iif {_port(name)} priority 200")
        del self._attached[name]
        if self.metadata:
            self.metadata.detach(self.enis[name].mac)

    def configure(self, name: str) -> None:
        """Do in the node what DHCP and router advertisements would: link up, address, default route, both families."""
        eni = self.enis[name]
        metric = 512 + _number(name)
        self.node.ip(
            f"link set {name} up",
            f"address add {eni.address}/24 dev {name} metric {metric}",
            f"route add default via {eni.router} dev {name} proto dhcp metric {metric}",
            f"address add fe80::{eni.subnet_number:x}:{eni.host:x}/64 dev {name} nodad",
            f"address add {eni.address6}/128 dev {name} nodad",
            f"route add default via {ROUTER6} dev {name} proto ra metric {metric}",
        )
        self._settle(name)

    # The metadata service

    def serve_metadata(self, instance: Instance | None = None) -> MetadataService:
        """Start a metadata service that knows the attached interfaces, at both well-known addresses.

        `instance` gives everything else about the machine. The service ends with the lab.
        """
        from ec2ident.testing import Instance, MetadataService
        from ec2ident.testing.server import listeners
        from ec2ident.value import replace

        described = tuple(_described(eni) for eni in self._attached.values())
        with self.router.entered():
            sockets = listeners(METADATA, 80)
        service = MetadataService(replace(instance or Instance(), interfaces=described), listeners=sockets)
        self.metadata = self._inside.enter_context(service)
        return service

    # The VPC's routes

    def route(self, address: str, name: str) -> None:
        """Route an overlay address (or further address) to an interface, in place of where it was routed before."""
        eni, bits = self.enis[name], ip_address(address).max_prefixlen
        via = eni.address6 if bits == 128 else eni.address
        self.router.ip(f"route replace {address}/{bits} via {via} dev {_port(name)} onlink")
        if bits == 128:
            self._let_source_pass(name, address)

    def _let_source_pass(self, name: str, address: str) -> None:
        """IPv6 has no reverse path filter: each interface has a list of sources, and a black hole for the others."""
        if address in self._sources:
            self._forget_source(address)
        self.router.ip(f"-6 rule add from {address} iif {_port(name)} lookup main priority 100")
        self._sources[address] = name

    def _forget_source(self, address: str) -> None:
        self.router.ip(f"-6 rule delete from {address} iif {_port(self._sources.pop(address))} priority 100")

    def _create(self, name: str, subnet: int) -> Eni:
        host = 10 + sum(eni.subnet_number == subnet for eni in self.enis.values())
        self.enis[name] = Eni(name, subnet, host, mac(subnet, host))
        return self.enis[name]

    def _set_up_router(self) -> None:
        self.router.sysctl(
            {
                "ipv4/ip_forward": 1,
                "ipv6/conf/all/forwarding": 1,
                "ipv4/conf/all/rp_filter": 1,
                "ipv4/conf/default/proxy_arp": 1,
                # fe80:ec2::1 is the only link-local address of a VPC's router.
                "ipv6/conf/default/addr_gen_mode": 1,
            }
        )
        self.router.ip(
            *(f"address add {address} dev lo" for address in METADATA),
            f"link add outside type veth peer name eth0 netns {self.client.name}",
            "address add 203.0.113.1/24 dev outside",
            "address add 2001:db8:113::1/64 dev outside nodad",
            "link set outside up",
        )
        self.client.ip(
            f"address add {OUTSIDE}/24 dev eth0",
            f"address add {OUTSIDE6}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 203.0.113.1",
            "route add default via 2001:db8:113::1",
        )

    def _set_up_node(self) -> None:
        """IPv4 parameters of a new namespace are those of the machine that runs the lab: begin from known ones."""
        self.node.sysctl({"ipv4/ip_forward": 0, "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0})
        # IPv6 waits for neighbours that might have the same address, and up to a second before it asks for routers.
        quick = {"accept_dad": 0, "router_solicitation_delay": 0}
        # A link-local address that the kernel makes comes some time after the link: `configure` gives a fixed one.
        fixed = {} if self.bare else {"addr_gen_mode": 1}
        self.node.sysctl({f"ipv6/conf/default/{name}": value for name, value in {**quick, **fixed}.items()})

    def _settle(self, name: str, patience: float = 5.0) -> None:
        """Wait until IPv6 has seen the carrier: its multicast route is the last object to come, a moment after `up`."""
        deadline = time.monotonic() + patience
        with self.node.entered():
            while not _has_multicast_route(name):
                if time.monotonic() > deadline:
                    raise LabError(f"{name}: no carrier after {patience} s")
                time.sleep(0.001)


def _port(name: str) -> str:
    """The router's end of an interface's link."""
    return f"to-{name}"


def _described(eni: Eni) -> Interface:
    """The interface as the metadata service describes it."""
    from ec2ident.testing import Interface

    return Interface(
        mac=eni.mac,
        subnet=eni.subnet,
        private_ips=(eni.address,),
        device_number=_number(eni.name),
        subnets_ipv6=(eni.subnet6,),
        ipv6s=(eni.address6,),
        vpc_cidrs=(CIDR,),
        vpc_cidrs_ipv6=(CIDR6,),
    )


def _number(name: str) -> int:
    return int("".join(filter(str.isdigit, name)) or 0)


def _has_multicast_route(device: str) -> bool:
    table = Path("/proc/thread-self/net/ipv6_route").read_text(encoding="ascii")
    return any(line.startswith("ff00") and line.split()[-1] == device for line in table.splitlines())
