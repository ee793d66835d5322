"""The pair under Pacemaker and Corosync with fencing: its plugs, its metadata services, and who answers when."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, contextmanager

from ec2ident.testing import Instance, MetadataService
from ec2ident.testing.server import listeners
from tests.lab.enclosure import wait_until

from .fencing import Fenced
from .pair import API
from .prober import Prober

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from .pair import Lab, Machine

OVERLAY, NAME, PRIVATE = "192.168.10.5", "db.awslab.mycompany.corp", "10.0.0.50"
METADATA = "169.254.169.254"
OPERATIONS = """op start timeout=10s interval=0 op stop timeout=10s interval=0 op monitor interval=2s timeout=10s \\
    op monitor interval=5s timeout=5s OCF_CHECK_LEVEL=10"""

CONFIGURATION = f"""primitive st stonith:fence_lab params pcmk_host_list="node1 node2" pcmk_host_check=static-list
primitive net ocf:ec2ident:eni params id={{eni}} region=us-east-1 endpoint={API} \\
    {OPERATIONS}
primitive vip ocf:ec2ident:private params addresses={PRIVATE} device=eth0 region=us-east-1 endpoint={API} \\
    {OPERATIONS}
primitive eip ocf:ec2ident:eip params allocation_id={{eip}} region=us-east-1 endpoint={API} \\
    {OPERATIONS}
primitive db ocf:ec2ident:overlay params address={OVERLAY} tables="{{tables}}" region=us-east-1 endpoint={API} \\
    {OPERATIONS} meta priority=10
primitive name ocf:ec2ident:dns params zone={{zone}} name={NAME} wait=no region=us-east-1 endpoint={API} \\
    {OPERATIONS}
group service net vip db eip name
location prefer service 100: node1
rsc_defaults resource-stickiness=1000
property stonith-enabled=true stonith-action=off stonith-timeout=30s no-quorum-policy=ignore \\
    priority-fencing-delay=3
"""


class Cluster(Fenced):
    """Two nodes, one group of all five agents; node 1 is preferred. `stale`: how old their reads may be."""

    def __init__(self, found: Lab, directory: Path, stale: float = 0.0) -> None:
        super().__init__(found, directory)
        self.stale = stale
        answer = found.ask("AllocateAddress", Domain="vpc")
        self.eip = answer.partition("<allocationId>")[2].partition("<")[0]
        found.control("settings", stale=stale)
        self.metadata: list[MetadataService] = []
        self._inside = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for machine in self.machines.values():
                self._equip(machine, stack)
            for machine in self.machines.values():
                self.boot(machine)
            names = {_mac(machine): machine.name for machine in self.machines.values()}
            self.prober = stack.enter_context(Prober(self.lab.api, "br0", OVERLAY, names))
            stack.enter_context(self.plugs())
            self.wait_online()
            # By now the kernel has heard its own IPv6 addresses.
            self.nothing = self.snapshots()
            self.configure(self._wanted())
            wait_until(lambda: self.settled("node1"), "the service runs on node 1", 60)
            self.rest()
            self.running = self.state()
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._inside.close()

    # Setting up

    def _equip(self, machine: Machine, stack: ExitStack) -> None:
        """The interface that the service moves (a lab's API plugs none), and a metadata service."""
        service = self.lab.ids["service_eni"]
        mac = self.lab.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": service}).partition("<macAddress>")
        machine.namespace.ip(
            f"link add eth1 address {mac[2].partition('<')[0]} type veth peer name far1",
            "link set far1 up",
            "link set eth1 up",
            f"address add {METADATA}/32 dev lo",
        )
        machine.namespace.wait_running("eth1")
        with machine.namespace.entered():
            sockets = listeners([METADATA], 80)
        instance = Instance(region="us-east-1", instance_id=self.lab.ids[machine.name])
        self.metadata.append(stack.enter_context(MetadataService(instance, listeners=sockets)))

    def _wanted(self) -> str:
        ids = self.lab.ids
        tables = ",".join(ids["tables"])
        return CONFIGURATION.format(eni=ids["service_eni"], tables=tables, zone=ids["zone"], eip=self.eip)

    # What a test asks for

    @contextmanager
    def fault(self, **rule: object) -> Iterator[None]:
        """Of the API; `metadata=True` silences the metadata services instead."""
        if rule == {"metadata": True}:
            rules = [(service, service.behave("silence")) for service in self.metadata]
        else:
            rules = []
            self.lab.control("fault", **rule)
        try:
            yield
        finally:
            self.lab.control("clear")
            for service, behaviour in rules:
                service.forget(behaviour)

    def switch(self, role: str) -> float:
        """Stop or start the service; returns the time."""
        value = ("--set-parameter", "target-role", "--meta", "--parameter-value", role)
        began = time.monotonic()
        self.crm("crm_resource", "--resource", "service", *value)
        return began

    # What is so

    def holders(self) -> list[str]:
        return [name for name, machine in list(self.alive.items()) if machine.answers(OVERLAY)]

    def settled(self, name: str) -> bool:
        """The service runs there, and the API says so of the route, of the interface, and of the name."""
        ids = self.lab.ids
        if self.holders() != [name] or self.lab.owners() != {ids[f"eni{name[-1]}"]}:
            return False
        interface = self.lab.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": ids["service_eni"]})
        record = self.lab.records(ids["zone"])
        mine = self.lab.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": ids[f"eni{name[-1]}"]})
        if PRIVATE not in mine or ids[f"eni{name[-1]}"] not in self.lab.ask("DescribeAddresses"):
            return False
        return (
            f"<instanceId>{ids[name]}<" in interface and f">10.0.0.1{name[-1]}<" in record and self.runs("name", name)
        )

    def snapshots(self) -> dict[str, list[str]]:
        """Every address, rule and route of the nodes that live; sorted, as a boot brings links up in any order."""
        return {name: _sorted(machine.namespace.snapshot()) for name, machine in list(self.alive.items())}

    def state(self) -> dict[str, object]:
        """That, and all that the API has of tables, of the service's interface and of names."""
        return {**self.snapshots(), "tables": self.lab.ask("DescribeRouteTables"), "names": self.names()}

    def names(self) -> str:
        return self.lab.records(self.lab.ids["zone"])


def _sorted(text: str) -> list[str]:
    return sorted(text.splitlines())


def _mac(machine: Machine) -> bytes:
    """Of its eth0."""
    with machine.namespace.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        one.bind(("eth0", 0))
        return bytes(one.getsockname()[4])
