"""A simulated VPC: a node with hot-pluggable interfaces, the routers of its subnets, neighbours, a client outside.

    client 203.0.113.9 ── router ──┬── 10.0.0.1  subnet 10.0.0.0/24 ── eth0 10.0.0.10 ─┐
                          │        └── 10.0.1.1  subnet 10.0.1.0/24 ── eth1 10.0.1.10 ─┴─ node
                          └── 169.254.169.254, fd00:ec2::254: the metadata service, when it was started

Every part is a network namespace; what a VPC does in between is in `router`.
"""

from __future__ import annotations

from contextlib import ExitStack

from .echo import Echo, ask
from .eni import METADATA, OUTSIDE, OUTSIDE6, Eni
from .namespace import Namespace, unique
from .router import Router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from ec2ident.testing import Instance, MetadataService


class Machine(Namespace):
    """A machine that asks: the client outside of the VPC, or a neighbour of the node."""

    def __init__(self, name: str, address: str, address6: str) -> None:
        super().__init__(name)
        self.address = address
        self.address6 = address6

    def ask(self, address: str, *, timeout: float = 2.0) -> bool:
        """Whether the node answers at an address, from that very address, within `timeout` seconds."""
        return ask(self, address, source=self.address6 if ":" in address else self.address, timeout=timeout)


class Vpc:
    """The whole of it, while the `with` block lasts; afterwards nothing of it is left, whatever happened inside.

    The node begins with eth0, configured as DHCP would. With `bare=True` nothing is configured in the node, and its
    kernel makes link-local addresses as usual, for network managers that do all the rest themselves.
    """

    def __init__(self, *, bare: bool = False) -> None:
        self.bare = bare
        self.node = Namespace(unique("node"))
        self.router = Router(unique("router"))
        self.client = Machine(unique("client"), OUTSIDE, OUTSIDE6)
        #: Every interface that there ever was, by name; those of neighbours too.
        self.enis: dict[str, Eni] = {}
        #: The metadata service, once `serve_metadata` was called.
        self.metadata: MetadataService | None = None
        #: The interfaces that the node has now.
        self.attached: dict[str, Eni] = {}
        self._inside = ExitStack()

    def __enter__(self) -> Vpc:
        try:
            self._add(self.node, self.router, self.client)
            self.router.set_up()
            self.router.plug_outside(self.client)
            make_quick(self.node, bare=self.bare)
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
        eni = self.enis.get(name) or self._create(name, subnet)
        self.router.plug(eni, self.node, name)
        self.attached[name] = eni
        if self.metadata:
            self.metadata.attach(eni.described(), **late)
        if configured if configured is not None else not self.bare:
            self.configure(name)
        return eni

    def detach(self, name: str) -> None:
        """Take an interface away from the running node, as a detach (or a forced one) does."""
        eni = self.attached.pop(name)
        self.router.unplug(eni)
        if self.metadata:
            self.metadata.detach(eni.mac)

    def configure(self, name: str) -> None:
        """Do in the node what DHCP and router advertisements would: link up, address, default route, both families."""
        self.router.configure(self.node, name, self.enis[name], 512 + self.enis[name].number)

    # What is around it

    def route(self, address: str, name: str) -> None:
        """Route an overlay address, or a further one, to an interface of the node, wherever it was routed before."""
        self.router.route(address, self.enis[name])

    def neighbour(self, subnet: int) -> Machine:
        """Add another machine, with one interface, in a subnet of the VPC."""
        eni = self._create(f"n{len(self.enis)}", subnet)
        machine = Machine(unique(eni.name), eni.address, eni.address6)
        self._add(machine)
        make_quick(machine, bare=False)
        self.router.plug(eni, machine, "eth0")
        self.router.configure(machine, "eth0", eni, 512 + eni.number)
        return machine

    def serve_metadata(self, instance: Instance | None = None) -> MetadataService:
        """Start a metadata service that knows the node's interfaces, at both well-known addresses.

        `instance` gives everything else about the machine. The service ends with the lab.
        """
        from ec2ident.testing import Instance, MetadataService
        from ec2ident.testing.server import listeners
        from ec2ident.value import replace

        described = tuple(eni.described() for eni in self.attached.values())
        with self.router.entered():
            sockets = listeners(METADATA, 80)
        service = MetadataService(replace(instance or Instance(), interfaces=described), listeners=sockets)
        self.metadata = self._inside.enter_context(service)
        return service

    def _add(self, *namespaces: Namespace) -> None:
        self._inside.callback(Namespace.remove_all, *namespaces)
        Namespace.add_all(*namespaces)

    def _create(self, name: str, subnet: int | None) -> Eni:
        number = Eni(name, 0, 0).number if subnet is None else subnet
        host = 10 + sum(eni.subnet_number == number for eni in self.enis.values())
        self.enis[name] = Eni(name, number, host)
        return self.enis[name]


def make_quick(machine: Namespace, *, bare: bool) -> None:
    """Begin from known kernel parameters (a namespace has those of the machine that runs the lab), and do not wait.

    IPv6 waits for neighbours that might have the same address, and up to a second before it asks for routers.
    """
    known = {"ipv4/ip_forward": 0, "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0}
    quick = {"ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/router_solicitation_delay": 0}
    # A link-local address that the kernel makes comes some time after the link: `configure` gives a fixed one.
    fixed = {} if bare else {"ipv6/conf/default/addr_gen_mode": 1}
    machine.sysctl({**known, **quick, **fixed})
