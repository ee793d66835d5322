"""The whole of it: three nodes in two zones, the API, the routers, a metadata service each, a resolver, a client.

    client 203.0.113.9 ── routers ──┬── 10.0.0.0/24, zone a ── node1 10.0.0.11, node2 10.0.0.12
                             │      ├── 10.0.1.0/24, zone a ── 10.0.1.5, the ENI that moves, where it is attached
                             │      └── 10.0.2.0/24, zone b ── node3 10.0.2.13
                             └── the API 10.99.0.254:5001, the VPC's resolver 10.0.0.2

Two nodes share a zone, because an ENI and a private address cannot leave their zone; an overlay route and a name can.
A thread reads the fake's state a hundred times a second, and makes the routers forward by it: links come and go with
attachments, each subnet follows its own route table, and the check of source and destination is the interface's. The
client enters by a transit gateway in zone b, so it follows that zone's table.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress

from ec2ident.testing import Instance, MetadataService
from ec2ident.testing.server import listeners
from ec2ident.value import replace
from tests.failover.cluster.pair import TOP, Lab, Machine
from tests.failover.dns.stub_dns import servers
from tests.failover.environment import ENVIRONMENT
from tests.failover.fake import Fake, cloud, forwarding, names
from tests.failover.region.addresses import API_HOST, API_PORT, METADATA, NAME, RESOLVER
from tests.lab.echo import heard
from tests.lab.enclosure import ENVIRONMENT as INSIDE
from tests.lab.enclosure import Enclosure
from tests.lab.eni import OUTSIDE, OUTSIDE6, Eni
from tests.lab.namespace import LabError, Namespace, unique
from tests.lab.router import Router, port_of
from tests.lab.vpc import Machine as Client
from tests.lab.vpc import make_quick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from typing_extensions import Self

    from ec2ident.testing import Interface
    from tests.failover.fake.forwarding import Attached, Forwarding

    Equip = Callable[["Region", Machine], object]

#: Seconds between two looks at the fake's state.
EVERY = 0.01
#: Priorities of the routers' policy rules: what is cut off, what may not hear each other, a subnet's own table.
CUT, APART, SUBNET, ANY_SOURCE = 5, 10, 50, 150

#: Where a node has the programs. An ordinary user's node cannot change /usr/local.
BIN = "/run/bin"
PROGRAMS = {
    "ec2ident": "ec2ident.cli",
    "ec2ident-agent": "ec2ident_agent.cli",
    "ec2ident-failover": "ec2ident_agent.failover.cli",
    "ec2ident-ocf": "ec2ident_agent.failover.pacemaker.agent",
}


class VpcRouter(Router):
    """The routers of all subnets: a kernel's routing table for each of the VPC's that a subnet has."""

    def set_up(self) -> None:
        super().set_up()
        # The check is each interface's own.
        self.sysctl({"ipv4/conf/all/rp_filter": 0})
        self.ip(f"address add {API_HOST}/32 dev lo", f"address add {RESOLVER}/32 dev lo")

    def follow(self, device: str, subnet: int) -> None:
        """What comes in by a device follows the table of a subnet."""
        self.ip(*(f"{family} rule add iif {device} lookup {100 + subnet} priority {SUBNET}" for family in ("-4", "-6")))

    def forget(self, device: str) -> None:
        """The opposite."""
        self.ip(*(f"{family} rule delete iif {device} priority {SUBNET}" for family in ("-4", "-6")))

    def check(self, eni: Eni, on: bool) -> None:
        """Whether an interface may only speak as itself (the kernel's reverse path filter; a black hole in IPv6)."""
        port = port_of(eni)
        self.sysctl({f"ipv4/conf/{port}/rp_filter": int(on)})
        rule = f"iif {port} lookup main priority {ANY_SOURCE}"
        if not on:
            self.ip(f"-6 rule add {rule}")
        else:
            with suppress(LabError):  # there is no such rule yet
                self.ip(f"-6 rule delete {rule}")


class Region(Lab):
    """Use it as a context manager. `equip` installs the programs under test on a node that boots."""

    def __init__(self, equip: Equip, tree: Path | None = None) -> None:
        self.router = VpcRouter(unique("router"))
        self.client = Client(unique("client"), OUTSIDE, OUTSIDE6)
        self.equip = equip
        machines = []
        for number, address in ((1, "10.0.0.11"), (2, "10.0.0.12"), (3, "10.0.2.13")):
            node = Namespace(unique(f"node{number}"))
            machines.append(Machine(number, node, Enclosure(node, tree), address))
        super().__init__(self.router, machines, {})
        self.metadata: dict[str, MetadataService] = {}
        #: Errors of the thread that follows the fake: with one of them the lab proves nothing.
        self.broken: list[Exception] = []
        self._powered: dict[str, ExitStack] = {}
        self._enis: dict[str, Eni] = {}
        self._plugged: dict[str, Attached] = {}
        self._routes: dict[tuple[int, str], str] = {}
        self._wires, self._over, self._inside = threading.RLock(), threading.Event(), ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(Namespace.remove_all, self.router, self.client)
            Namespace.add_all(self.router, self.client)
            self.router.set_up()
            self.router.plug_outside(self.client)
            self.router.follow("outside", 2)
            with self.router.entered():
                self.fake = stack.enter_context(Fake(API_HOST, API_PORT))
                resolver = servers(RESOLVER, 53, self.records_of, lambda: self.ttl)
            for each in resolver:
                threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
                stack.callback(each.server_close)
                stack.callback(each.shutdown)
            self.ids.update(self.fake.lab.as_dict())
            stack.callback(self._end)
            for machine in self.machines:
                self.restore(machine)
            follow = threading.Thread(target=self._follow, daemon=True)
            follow.start()
            stack.callback(follow.join)
            stack.callback(self._over.set)
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._inside.close()

    def _end(self) -> None:
        for machine in self.machines:
            if machine.name in self._powered:
                self.cut(machine)

    # The nodes

    def restore(self, machine: Machine) -> None:
        """Boot a node: its interfaces as DHCP configures them, its metadata service, the programs, the service."""
        with ExitStack() as stack, self._wires:
            Namespace.add_all(machine.namespace)
            stack.callback(Namespace.remove_all, machine.namespace)
            make_quick(machine.namespace, bare=False)
            machine.namespace.ip(f"address add {METADATA}/32 dev lo")
            first = self._described(self.ids[f"eni{machine.number}"], 0, machine.address)
            instance = Instance(region=self.ids["region"], instance_id=self.ids[machine.name], interfaces=(first,))
            with machine.namespace.entered():
                sockets = listeners([METADATA], 80)
            service = stack.enter_context(MetadataService(instance, listeners=sockets))
            self.metadata[machine.name] = service
            self._powered[machine.name] = stack.pop_all()
        self._look()
        stack = self._powered[machine.name]
        stack.enter_context(machine.inside)
        # Stopped processes would not hear that their power is gone.
        stack.callback(_signal, machine, signal.SIGKILL)
        self.equip(self, machine)
        start_python(machine, "tests.failover.region.service", machine.name, log="service")

    def cut(self, machine: Machine) -> None:
        """The power of a node: its links and every process at once. What the API says of it stays."""
        with self._wires:
            for eni in [eni for eni, has in self._plugged.items() if has.instance == self.ids[machine.name]]:
                self._unplug(eni)
            self._powered.pop(machine.name).close()

    def powered(self, machine: Machine) -> bool:
        """Whether a node has power."""
        return machine.name in self._powered

    def hang(self, machine: Machine) -> None:
        """Every process of a node stops; its kernel goes on and answers pings."""
        for _ in range(2):  # the second time for what was started meanwhile
            _signal(machine, signal.SIGSTOP)

    def part(self, machine: Machine) -> None:
        """A node loses the network: what it sends by any interface arrives nowhere, and it hears nothing."""
        with self._wires:
            self.router.ip(*(f"rule add {each} priority {CUT} blackhole" for each in self._selectors(machine)))

    def mend(self, machine: Machine) -> None:
        """The opposite of `part`."""
        self._heal(self._selectors(machine))

    def _heal(self, selectors: list[str]) -> None:
        for selector in selectors:
            with suppress(LabError):  # it was not parted
                self.router.ip(f"rule delete {selector} priority {CUT}")

    def _selectors(self, machine: Machine) -> list[str]:
        """Rules' selectors of all that an instance sends and receives, by the interfaces that it has."""
        mine = [self._enis[eni] for eni, has in self._plugged.items() if has.instance == self.ids[machine.name]]
        return [each for eni in mine for each in _selectors(eni)]

    def connect(self, eni: Eni, machine: Namespace) -> None:
        """Give a machine that AWS itself has in a subnet its interface."""
        with self._wires:
            self.router.plug(eni, machine, "eth0")
            self.router.follow(port_of(eni), eni.subnet_number)
            self.router.configure(machine, "eth0", eni, 512)

    def disconnect(self, eni: Eni) -> None:
        """The opposite."""
        with self._wires:
            self.router.forget(port_of(eni))
            self.router.unplug(eni)

    def isolate(self, on: bool) -> None:
        """Nodes that do not hear each other, and all reach the API and the client."""
        addresses = [machine.address for machine in self.machines]
        pairs = [(one, other) for one in addresses for other in addresses if one != other]
        verb = "add" if on else "delete"
        ending = " blackhole" if on else ""
        self.router.ip(*(f"rule {verb} from {a} to {b} priority {APART}{ending}" for a, b in pairs))

    def who(self, address: str, *, timeout: float = 2.0) -> str:
        """The name of the node that answers the client at an address, or ""."""
        return (heard(self.client, address, source=self.client.address, timeout=timeout) or b"").decode()

    def holder(self, eni: str) -> str:
        """The instance that has an interface, or ""."""
        with self.fake.lock:
            found = forwarding.of(self.fake.backend).attached.get(eni)
            return found.instance if found else ""

    # The resolver

    def records_of(self) -> dict[str, list[str]]:
        """Every name of the private zone, as the VPC's resolver knows it: with no delay of propagation."""
        with self.fake.lock:
            found = self.fake._zone(self.ids["zone"]).rrsets
            return {names.normal(each.name): list(each.records) for each in found}

    @property
    def ttl(self) -> int:
        """The least time to live of the zone's addresses, in seconds."""
        with self.fake.lock:
            found = self.fake._zone(self.ids["zone"]).rrsets
            return min((int(each.ttl) for each in found if names.kind_of(each) in ("A", "AAAA")), default=60)

    # What the routers do

    def _follow(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  told at the end; the lab cannot go on
                self.broken.append(error)
                return

    def _look(self) -> None:
        with self._wires:
            with self.fake.lock:
                cloud.settle_all()
                now = forwarding.of(self.fake.backend)
                for eni in self.fake.backend.enis.values():
                    eni.mac_address = self._eni(eni.id, eni.private_ip_address).mac
            self._become(now)

    def _eni(self, identity: str, address: str = "") -> Eni:
        """The interface's place in the lab, by its first address."""
        if identity not in self._enis:
            known = {self.ids[f"eni{each.number}"]: each.name for each in self.machines}
            known[self.ids["service_eni"]] = "service"
            subnet, host = address.split(".")[2:]
            self._enis[identity] = Eni(known.get(identity, f"eni{len(self._enis)}"), int(subnet), int(host))
        return self._enis[identity]

    def _become(self, now: Forwarding) -> None:
        nodes = {self.ids[machine.name]: machine for machine in self.machines if machine.name in self._powered}
        wanted = {eni: has for eni, has in now.attached.items() if has.instance in nodes}
        for eni, has in list(self._plugged.items()):
            if eni not in wanted or wanted[eni][:3] != has[:3]:
                self._unplug(eni)
        # An address that moves is taken away at one interface before it is given to another.
        for eni, has in wanted.items():
            if eni in self._plugged:
                self._withdraw(has)
        for eni, has in sorted(wanted.items(), key=lambda each: each[1].device):
            if eni not in self._plugged:
                self._plug(has, nodes[has.instance])
            before = self._plugged[eni]
            if before != has:
                self._change(before, has, nodes[has.instance].name)
        self._route(now)

    def _described(self, identity: str, index: int, address: str = "") -> Interface:
        """As the metadata service shows an interface; the fake's subnets have IPv4 alone."""
        found = self._eni(identity, address).described()
        return replace(found, device_number=index, interface_id=identity, ipv6s=(), subnets_ipv6=(), vpc_cidrs_ipv6=())

    def _plug(self, has: Attached, machine: Machine) -> None:
        eni, device = self._enis[has.eni], f"eth{has.device}"
        if has.device:
            self.metadata[machine.name].attach(self._described(has.eni, has.device))
        self.router.plug(eni, machine.namespace, device)
        self.router.follow(port_of(eni), eni.subnet_number)
        self.router.configure(machine.namespace, device, eni, 512 + has.device)
        # A new link has no address but its first, and its check is on.
        self._plugged[has.eni] = has._replace(addresses=(eni.address,), check=True)
        self.router.check(eni, True)

    def _unplug(self, identity: str) -> None:
        eni, has = self._enis[identity], self._plugged.pop(identity)
        self.router.forget(port_of(eni))
        self.router.check(eni, True)
        self.router.unplug(eni)
        # After the link: a node that was parted must not be heard once more. It could also fence the other node in
        # that moment, as its attempts go on until its power is gone, and then no node has the services.
        self._heal(_selectors(eni))
        # The kernel took the routes with the link.
        self._routes = {place: target for place, target in self._routes.items() if target != identity}
        for machine in self.machines:
            if has.device and self.ids[machine.name] == has.instance:
                self.metadata[machine.name].detach(eni.mac)

    def _withdraw(self, has: Attached) -> None:
        """Addresses that an interface has no longer."""
        gone = [each for each in self._plugged[has.eni].addresses if each not in has.addresses]
        self.router.ip(*(f"route delete {each}/32 dev {port_of(self._enis[has.eni])}" for each in gone))

    def _change(self, before: Attached, has: Attached, node: str) -> None:
        """Addresses and the check of an interface that stays where it is."""
        eni = self._enis[has.eni]
        for each in has.addresses:
            if each not in before.addresses:
                self.router.route(each, eni)
        if before.addresses != has.addresses:
            self.metadata[node].assign(eni.mac, private_ips=has.addresses)
        if before.check != has.check:
            self.router.check(eni, has.check)
        self._plugged[has.eni] = has

    def _route(self, now: Forwarding) -> None:
        """A route leads on where its interface carries packets, and takes those that are not to its own addresses."""
        tables = {self.ids["subnet_a"]: 0, self.ids["subnet_a2"]: 1, self.ids["subnet_b"]: 2}
        wanted = {
            (tables[subnet], destination): eni
            for (subnet, destination), eni in now.routes.items()
            if subnet in tables and eni in self._plugged and not self._plugged[eni].check
        }
        for (number, destination), eni in wanted.items():
            if self._routes.get((number, destination)) != eni:
                to, six = self._enis[eni], ":" in destination
                via = to.address6 if six else to.address
                family = "-6" if six else "-4"
                target = f"via {via} dev {port_of(to)} onlink table {100 + number}"
                self.router.ip(f"{family} route replace {destination} {target}")
        for number, destination in self._routes.keys() - wanted.keys():
            self.router.ip(f"{'-6' if ':' in destination else '-4'} route delete {destination} table {100 + number}")
        self._routes = wanted


def _selectors(eni: Eni) -> list[str]:
    return [f"iif {port_of(eni)}", f"to {eni.address}"]


def _signal(machine: Machine, number: int) -> None:
    for pid in machine.namespace.pids():
        with suppress(ProcessLookupError):
            os.kill(pid, number)


# Equipment


def python_environment() -> dict[str, str]:
    """So that a node runs this checkout with this Python."""
    return {**ENVIRONMENT, "AWS_EC2_METADATA_DISABLED": "false", "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}


def start_python(machine: Machine, module: str, *arguments: str, log: str) -> None:
    """Start a module of this checkout as a daemon on a node."""
    machine.inside.start(sys.executable, "-B", "-m", module, *arguments, log=log, env=python_environment())


def command(machine: Machine, *argv: str) -> list[str]:
    """The command line that runs a command on a node, with the programs of `from_checkout` on its path."""
    return machine.inside.command("env", f"PATH={BIN}:{INSIDE['PATH']}", *argv)


def from_checkout(region: Region, machine: Machine) -> None:
    """The programs of this checkout under their names, configured, with the agent's watch running."""
    variables = "".join(f"export {name}='{value}'\n" for name, value in python_environment().items())
    for name, module in PROGRAMS.items():
        text = f'#!/bin/sh\n{variables}exec {sys.executable} -B -m {module} "$@"\n'
        machine.inside.write(f"{BIN}/{name}", text, 0o755)
    machine.inside.write("/etc/ec2ident/agent.toml", AGENT)
    machine.inside.write("/etc/ec2ident/failover.toml", configuration(region, machine))
    start_python(machine, "ec2ident_agent.cli", "watch", log="watch")


#: The ENI that moves is the second interface wherever it is; what to configure there the metadata service knows.
AGENT = "[interface.eth1]\n"


def configuration(region: Region, machine: Machine) -> str:
    """A service for each way to move one: an overlay route, an ENI, a name."""
    ids: dict[str, Any] = region.ids
    tables = ", ".join(f'"{each}"' for each in ids["tables"])
    return f"""\
region = "{ids["region"]}"
endpoint = "http://{API_HOST}:{API_PORT}"
instance = "{ids[machine.name]}"

[service.overlay]
overlay = "192.168.10.5"
device = "eth0"
[service.overlay.route]
tables = [{tables}]

[service.eni.eni]
id = "{ids["service_eni"]}"

[service.name.dns]
zone = "{ids["zone"]}"
name = "{NAME}"
values = "{machine.address}"
ttl = {TTL}
"""


#: Seconds that a client may use the name's address; the product's default.
TTL = 10


@contextmanager
def region(equip: Equip = from_checkout, tree: Path | None = None) -> Iterator[Region]:
    """A whole region, while it lasts. Raises the error that its thread ended with, also in place of what followed."""
    with Region(equip, tree) as found:
        try:
            yield found
        finally:
            if found.broken:
                raise found.broken[0]
