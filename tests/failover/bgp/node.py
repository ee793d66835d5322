"""Two nodes and one endpoint of a route server in one subnet, each with its own FRR, and the programs under test."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.failover.environment import ENVIRONMENT
from tests.lab.enclosure import ENVIRONMENT as INSIDE
from tests.lab.enclosure import Enclosure, wait_until
from tests.lab.namespace import Namespace, unique

from .frr import Frr

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from typing_extensions import Self

TOP = Path(__file__).parents[3]
ENDPOINT, ASN, ENDPOINT_ASN = "10.0.1.11", 65001, 65000
BLOCK, BLOCK6 = "192.168.10.5/32", "fd00:99::5/128"

SETTINGS = """
instance = "i-0a1b2c3d4e5f6000{number}"
deadline = 15
[service.db]
overlay = ["192.168.10.5/32", "fd00:99::5/128"]
device = "eth0"
[service.db.bgp]
asn = 65001
endpoint_asn = 65000
endpoints = "10.0.1.11"
address = "10.0.1.{host}"
[service.web]
overlay = "192.168.10.6"
device = "eth0"
[service.web.bgp]
asn = 65001
endpoint_asn = 65000
endpoints = "10.0.1.11"
address = "10.0.1.{host}"
announce = "both"
"""

#: The endpoint accepts everything, so that a leak is seen, and sends two routes, so that a node could accept them.
SPEAKER = """
router bgp 65000
 bgp router-id 10.0.1.11
 bgp graceful-restart-disable
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 10.0.1.21 remote-as 65001
 neighbor 10.0.1.21 passive
 neighbor 10.0.1.21 bfd profile vpc
 neighbor 10.0.1.22 remote-as 65001
 neighbor 10.0.1.22 passive
 neighbor 10.0.1.22 bfd profile vpc
 address-family ipv4 unicast
  network 203.0.113.0/24
  network 10.0.1.21/32
  neighbor 10.0.1.21 default-originate
 exit-address-family
 address-family ipv6 unicast
  neighbor 10.0.1.21 activate
  neighbor 10.0.1.22 activate
 exit-address-family
exit
bfd
 profile vpc
  transmit-interval 300
  receive-interval 300
 exit
exit
"""


class Device:
    """One machine of the subnet."""

    def __init__(self, name: str, host: int, tree: Path) -> None:
        self.host, self.address = host, f"10.0.1.{host}"
        self.namespace = Namespace(unique(name))
        self.inside = Enclosure(self.namespace, tree)
        self.frr = Frr(self.inside)

    def failover(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `ec2ident-failover`."""
        path = {"PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
        command = (sys.executable, "-m", "ec2ident_agent.failover.cli", *words)
        return self.inside.run(*command, env={**INSIDE, **ENVIRONMENT, **path}, **options)

    def agent(self, action: str, *, level: int = 0, probe: bool = False, seconds: int = 8, **values: str) -> int:
        """Run one action of `ocf:ec2ident:bgp`, as the cluster engine does; returns its exit code."""
        mine = {"address": f"{BLOCK} {BLOCK6}", "asn": str(ASN), "endpoint_asn": str(ENDPOINT_ASN)}
        parameters = {**mine, "instance": f"i-0a1b2c3d4e5f600{self.host}", **values}
        environ = {
            **{f"OCF_RESKEY_{name}": value for name, value in parameters.items()},
            "OCF_RESOURCE_INSTANCE": "db",
            "OCF_CHECK_LEVEL": str(level),
            "OCF_RESKEY_CRM_meta_timeout": f"{seconds}000",
            "OCF_RESKEY_CRM_meta_interval": "0" if probe else "10000",
            "PYTHONPATH": f"{TOP}:{TOP / 'agent'}",
        }
        command = (sys.executable, "-m", "ec2ident_agent.failover.pacemaker.agent", "bgp", action)
        return self.inside.run(*command, env={**INSIDE, **ENVIRONMENT, **environ}).returncode

    def resume(self, daemon: str) -> None:
        """Let a daemon go on that was stopped with SIGSTOP. nsenter has stopped too, as its child did."""
        self.frr.send(signal.SIGCONT, daemon)
        for pid in self.namespace.pids():
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if Path(f"/proc/{parent}/comm").read_text() == "nsenter\n":
                os.kill(parent, signal.SIGCONT)

    def holds(self, block: str = BLOCK) -> bool:
        """Whether the kernel has the address."""
        return f" {block} " in self.namespace.read("ip", "-o", "address")


class Subnet:
    """Use it as a context manager; `nodes` are two, and `endpoint` hears what they announce."""

    def __init__(self, tree: Path) -> None:
        self.endpoint = Device("endpoint", 11, tree)
        self.nodes = [Device(f"node{number}", 20 + number, tree) for number in (1, 2)]
        self._stack = ExitStack()

    @property
    def all(self) -> list[Device]:
        return [self.endpoint, *self.nodes]

    def __enter__(self) -> Self:
        spaces = [each.namespace for each in self.all]
        with ExitStack() as stack:
            stack.callback(Namespace.remove_all, *spaces)
            Namespace.add_all(*spaces)
            self.endpoint.namespace.ip(
                "link add br0 type bridge", "link set br0 up", "address add 10.0.1.11/24 dev br0"
            )
            for node in self.nodes:
                port = f"to{node.host}"
                self.endpoint.namespace.ip(
                    f"link add {port} type veth peer name eth0 netns {node.namespace.name}",
                    f"link set {port} master br0 up",
                )
                node.namespace.ip(f"address add {node.address}/24 dev eth0", "link set eth0 up")
            for each in self.all:
                stack.enter_context(each.inside)
            self.endpoint.frr.start(SPEAKER)
            for number, node in enumerate(self.nodes, 1):
                node.inside.write("/etc/ec2ident/failover.toml", SETTINGS.format(number=number, host=node.host))
                written = node.failover("bgp")
                assert not written.returncode, written.stderr
                node.frr.start(written.stdout)
            self.wait_established(*self.nodes)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait_established(self, *nodes: Device, bfd: bool = False) -> None:
        """Until the endpoint has a session with these nodes, and with `bfd` also that, which takes longer."""
        for node in nodes:
            wait_until(lambda node=node: self._up(node, bfd), f"{node.address} is up")  # type: ignore[misc]

    def _up(self, node: Device, bfd: bool) -> bool:
        found = self.endpoint.frr.ask("bgpd", f"show bgp neighbors {node.address} json")[0][node.address]
        return found["bgpState"] == "Established" and (not bfd or found["peerBfdInfo"]["status"] == "Up")

    def heard(self, family: str = "ipv4") -> dict[str, dict[str, tuple[int, int]]]:
        """Prefix -> node -> metric and length of the path, as the endpoint has them."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for block, rows in self.endpoint.frr.ask("bgpd", f"show bgp {family} unicast json")[0]["routes"].items():
            for row in rows:
                if row["peerId"] in {node.address for node in self.nodes}:
                    found.setdefault(block, {})[row["peerId"]] = (row["metric"], len(row["path"].split()))
        return found

    def best(self, block: str = BLOCK) -> str:
        """The node that the endpoint prefers, or ""."""
        family = "ipv6" if ":" in block else "ipv4"
        rows = self.endpoint.frr.ask("bgpd", f"show bgp {family} unicast json")[0]["routes"].get(block, [])
        return next((str(row["peerId"]) for row in rows if row.get("bestpath")), "")

    def until_best(self, node: Device | None, block: str = BLOCK) -> float:
        """Wait until the endpoint prefers this node, or none; returns the seconds."""
        began, wanted = time.monotonic(), node.address if node else ""
        wait_until(lambda: self.best(block) == wanted, f"{wanted or 'no node'} has {block}: {self.heard()}")
        return time.monotonic() - began


def findings(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What `status --json` found of bgp."""
    answers = json.loads(done.stdout)
    return [finding for answer in answers if answer["part"] == "bgp" for finding in answer["findings"]]


def commands(text: str) -> list[str]:
    """The lines of a plan without its notes."""
    return [line for line in text.splitlines() if not re.match("#", line)]
