"""The pair under Pacemaker and Corosync with fencing: its plugs, its metadata services, and who answers when."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, contextmanager

from ec2ident.testing import Instance, MetadataService
from ec2ident.testing.server import listeners
from tests.lab.enclosure import wait_until

from .pair import API, start_engine
from .prober import Prober

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from tests.lab.enclosure import Enclosure

    from .pair import Lab, Machine

OVERLAY, NAME = "192.168.10.5", "db.awslab.mycompany.corp"
METADATA = "169.254.169.254"
#: The file with the board's tag. On an instance of EC2 it would name that instance, and not the node of this lab.
TAG = "/sys/devices/virtual/dmi/id/board_asset_tag"

#: A switch of the power: it asks for it by a file, and waits for the answer. The test holds the plug.
FENCE = """#!/bin/sh
action= plug=
while IFS='=' read -r key value; do
    case $key in action) action=$value ;; plug|port|nodename) [ "$plug" ] || plug=$value ;; esac
done
case $action in
    metadata) cat <<END
<?xml version="1.0"?>
<resource-agent name="@NAME@" shortdesc="lab"><longdesc>lab</longdesc><vendor-url/>
<parameters><parameter name="action" required="1"><content type="string" default="off"/></parameter>
<parameter name="region"><content type="string"/></parameter>
<parameter name="power_timeout"><content type="string"/></parameter>
<parameter name="plug" required="1" obsoletes="port"><content type="string"/></parameter></parameters>
<actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="list"/>
<action name="monitor"/><action name="metadata"/></actions></resource-agent>
END
    ;;
    status) [ -e @DIR@/$plug.done ] && exit 2 || exit 0 ;;
    off|reboot) touch @DIR@/$plug.off
        for _ in $(seq 100); do [ -e @DIR@/$plug.done ] && exit 0; sleep 0.1; done; exit 1 ;;
esac
exit 0
"""

OPERATIONS = """op start timeout=10s interval=0 op stop timeout=10s interval=0 op monitor interval=2s timeout=10s \\
    op monitor interval=5s timeout=5s OCF_CHECK_LEVEL=10"""

CONFIGURATION = f"""primitive st stonith:fence_lab params pcmk_host_list="node1 node2" pcmk_host_check=static-list
primitive net ocf:ec2ident:eni params id={{eni}} region=us-east-1 endpoint={API} \\
    {OPERATIONS}
primitive db ocf:ec2ident:overlay params address={OVERLAY} tables="{{tables}}" region=us-east-1 endpoint={API} \\
    {OPERATIONS} meta priority=10
primitive name ocf:ec2ident:dns params zone={{zone}} name={NAME} wait=no region=us-east-1 endpoint={API} \\
    {OPERATIONS}
group service net db name
location prefer service 100: node1
rsc_defaults resource-stickiness=1000
property stonith-enabled=true stonith-action=off stonith-timeout=30s no-quorum-policy=ignore \\
    priority-fencing-delay=3
"""


class Cluster:
    """Two nodes, one group of all three agents; node 1 is preferred."""

    def __init__(self, found: Lab, directory: Path) -> None:
        self.lab, self.directory = found, directory
        self.machines = {machine.name: machine for machine in found.machines}
        self.alive: dict[str, Machine] = {}
        self.metadata: list[MetadataService] = []
        self._over, self._inside = threading.Event(), ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for machine in self.machines.values():
                self._equip(machine, stack)
            for machine in self.machines.values():
                self.boot(machine)
            names = {_mac(machine): machine.name for machine in self.machines.values()}
            self.prober = stack.enter_context(Prober(self.lab.api, "br0", OVERLAY, names))
            watch = threading.Thread(target=self._hold_the_plugs, daemon=True)
            stack.callback(watch.join)
            stack.callback(self._over.set)
            watch.start()
            self.wait_online()
            # By now the kernel has heard its own IPv6 addresses.
            self.nothing = self.snapshots()
            self._configure()
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

    def boot(self, machine: Machine) -> None:
        fence = FENCE.replace("@DIR@", str(self.directory))
        for name in ("fence_lab", "fence_aws"):
            machine.inside.write(f"/usr/sbin/{name}", fence.replace("@NAME@", name), 0o755)
        machine.inside.read("sh", "-c", f"[ ! -e {TAG} ] || mount --bind /dev/null {TAG}")
        start_engine(machine, AWS_EC2_METADATA_DISABLED="false")
        self.alive[machine.name] = machine

    def _configure(self) -> None:
        ids = self.lab.ids
        text = CONFIGURATION.format(eni=ids["service_eni"], tables=",".join(ids["tables"]), zone=ids["zone"])
        self.anyone.write("/etc/lab.crm", text)
        self.crm("crm", "configure", "load", "update", "/etc/lab.crm")

    # The power

    def _hold_the_plugs(self) -> None:
        while not self._over.wait(0.05):
            for name in list(self.alive):
                if (self.directory / f"{name}.off").exists():
                    self.power_off(name)

    def power_off(self, name: str) -> None:
        """At once and whole. The addresses stay with the dead, as nobody stopped anything."""
        machine = self.alive.pop(name)
        machine.namespace.ip("link set eth0 down")
        machine.inside.close()
        (self.directory / f"{name}.done").touch()

    def power_on(self, name: str) -> None:
        """Boot it anew, and wait until both are online."""
        machine = self.machines[name]
        for each in ("off", "done"):
            (self.directory / f"{name}.{each}").unlink(missing_ok=True)
        machine.namespace.ip(
            "address flush dev eth0",
            f"address add 10.99.0.{machine.number}/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.99.0.254",
        )
        machine.inside.__enter__()
        machine.prepare()
        self.boot(machine)
        self.wait_online()

    # What a test asks for

    @property
    def anyone(self) -> Enclosure:
        return next(iter(self.alive.values())).inside

    def crm(self, *words: str) -> str:
        return self.anyone.read(*words)

    def rest(self) -> None:
        """Until the engine has nothing to do: a refresh that loses a first monitor holds it up for a minute."""
        self.crm("crm_resource", "--wait", "--timeout=40")

    def wait_online(self) -> None:
        both = "Online: [ node1 node2 ]"
        wait_until(lambda: both in self.anyone.run("crm_mon", "-1").stdout, "both nodes are online", 90)

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

    def move(self, name: str, *words: str) -> None:
        self.crm("crm_resource", "--move", "--resource", "service", "--node", name, *words)

    def clear(self) -> None:
        self.crm("crm_resource", "--clear", "--resource", "service")

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
        return f"<instanceId>{ids[name]}<" in interface and f">10.0.0.1{name[-1]}<" in record and self.shown(name)

    def shown(self, name: str) -> bool:
        """The engine itself is at rest with it: its last agent has started too."""
        said = self.anyone.run("crm_resource", "--locate", "--resource", "name").stdout
        return said.strip().endswith(f"is running on: {name}")

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
