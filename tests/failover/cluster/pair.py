"""The fake API in one namespace, and machines with the agents installed in others, on one bridge."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

from tests.failover.environment import ENVIRONMENT
from tests.lab import packages
from tests.lab.enclosure import Enclosure, wait_until
from tests.lab.namespace import Namespace, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

TOP = Path(__file__).parents[3]
LIBRARY, PROGRAMS = "/usr/local/lib/ec2ident", "/usr/local/bin"
API = "http://10.99.0.254:5001"
PACKAGES = ("pacemaker", "corosync", "pacemaker-cli-utils", "crmsh", "resource-agents", "libxml2-utils", "psmisc")

COROSYNC = """totem {
    version: 2
    cluster_name: lab
    transport: knet
    crypto_cipher: none
    crypto_hash: none
    token: 1000
}
nodelist {
%s}
quorum {
    provider: corosync_votequorum
    two_node: 1
    wait_for_all: 0
}
system {
    sched_rr: no
}
logging {
    to_stderr: yes
    to_syslog: no
    to_logfile: no
    timestamp: on
}
"""
NODE = """    node {
        ring0_addr: %s
        name: %s
        nodeid: %d
    }
"""

#: Private places of the cluster's daemons, with their owners; then the users: an unpacked package does not create them.
PREPARE = """
set -eu
getent group haclient >/dev/null || echo haclient:x:990: >>/etc/group
getent passwd hacluster >/dev/null || echo hacluster:x:990:990::/nonexistent:/usr/sbin/nologin >>/etc/passwd
mkdir -p /run/resource-agents /run/crm /run/lock /dev/shm
mount -t tmpfs -o mode=1777 shm /dev/shm
for each in cib pengine blackbox cores; do mkdir -p /var/lib/pacemaker/$each; done
mkdir -p /var/lib/corosync /var/log/pacemaker /var/log/crmsh
chown -R hacluster:haclient /run/crm /var/lib/pacemaker /var/log/pacemaker
chmod 750 /run/crm
hostname %s
"""


class Machine:
    """A node: its network, its private files, and the agents as `ec2ident-agent install --ocf` installs them."""

    def __init__(self, number: int, namespace: Namespace, inside: Enclosure, address: str = "") -> None:
        self.number, self.name, self.namespace, self.inside = number, f"node{number}", namespace, inside
        self.address = address or f"10.99.0.{number}"

    def prepare(self) -> None:
        library = self.inside.path(LIBRARY)
        library.mkdir(parents=True)
        spec = find_spec("pyroute2")
        assert spec
        assert spec.origin
        sources = (TOP / "ec2ident", TOP / "agent/ec2ident_agent", Path(spec.origin).parent)
        for source in sources:
            shutil.copytree(source, library / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("ec2ident-agent", "ec2ident-ocf"):
            text = (TOP / "agent/bin" / name).read_text().replace("#!/usr/bin/env python3", "#!/usr/bin/python3")
            text = text.replace("import sys\n", f"import sys\nsys.path.insert(0, {LIBRARY!r})\n", 1)
            self.inside.write(f"{PROGRAMS}/{name}", text, 0o755)
        self.inside.read("sh", "-c", PREPARE % self.name)
        self.inside.read(f"{PROGRAMS}/ec2ident-agent", "install", "--ocf", "--program", f"{PROGRAMS}/ec2ident-agent")

    def addresses(self) -> str:
        return self.namespace.read("ip", "-o", "address", "show", "dev", "eth0")

    def answers(self, address: str) -> bool:
        return f" {address}/32 " in self.addresses()


class Lab:
    """All of it."""

    def __init__(self, api: Namespace, machines: list[Machine], ids: dict[str, Any]) -> None:
        self.api, self.machines, self.ids = api, machines, ids

    def control(self, verb: str, **given: Any) -> Any:
        """A verb of the fake's own, such as `fault`."""
        with self.api.entered():
            data = None if verb == "journal" else json.dumps(given).encode()
            with urllib.request.urlopen(f"{API}/_fake/{verb}", data, timeout=10) as answer:
                return json.loads(answer.read() or b"null")

    def cut(self, machine: Machine) -> None:
        """The power of a machine, at once and whole. The addresses stay with it, as nothing stopped them."""
        machine.namespace.ip("link set eth0 down")
        machine.inside.close()

    def restore(self, machine: Machine) -> None:
        """Its power is back: nothing runs there, and its first interface is as DHCP configures it."""
        machine.namespace.ip(
            "address flush dev eth0",
            f"address add {machine.address}/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.99.0.254",
        )
        machine.inside.__enter__()
        machine.prepare()

    def isolate(self, on: bool) -> None:
        """Nodes that do not hear each other, and both reach the API."""
        for machine in self.machines:
            self.api.ip(f"link set v{machine.number} type bridge_slave isolated {'on' if on else 'off'}")

    def ask(self, action: str, **form: str) -> str:
        """An answer of the EC2 API, but for its request's id."""
        body = urlencode({"Action": action, "Version": "2016-11-15", **form}).encode()
        return self._read("ec2", urllib.request.Request(API, body))

    def records(self, zone: str) -> str:
        """All record sets of a zone."""
        return self._read("route53", urllib.request.Request(f"{API}/2013-04-01/hostedzone/{zone}/rrset"))

    def _read(self, service: str, request: urllib.request.Request) -> str:
        scope = f"Credential=T/20260101/us-east-1/{service}/aws4_request, x"
        request.add_header("Authorization", f"AWS4-HMAC-SHA256 {scope}")
        with self.api.entered(), urllib.request.urlopen(request, timeout=10) as answer:
            return re.sub("<requestId>.*?</requestId>", "", answer.read().decode())

    def owners(self) -> set[str]:
        """The interfaces that the overlay's route goes to, over all tables."""
        text = self.ask("DescribeRouteTables")
        rows = re.findall(r"<destinationCidrBlock>192\.168\.10\.5/32<.*?</item>", text, re.DOTALL)
        return {eni for row in rows for eni in re.findall(r"<networkInterfaceId>(.*?)<", row)}


@contextmanager
def lab(count: int, *names: str) -> Iterator[Lab]:
    """The API and so many machines, with these packages."""
    tree = packages.tree(*(names or PACKAGES))
    api = Namespace(unique("aws"))
    nodes = [Namespace(unique(f"n{number}")) for number in range(1, count + 1)]
    with ExitStack() as stack:
        Namespace.add_all(api, *nodes)
        stack.callback(Namespace.remove_all, api, *nodes)
        api.ip("link add br0 type bridge", "address add 10.99.0.254/24 dev br0", "link set br0 up")
        for number, node in enumerate(nodes, 1):
            api.ip(
                f"link add v{number} type veth peer name eth0 netns {node.name}",
                f"link set v{number} master br0 up",
            )
            node.ip(
                f"address add 10.99.0.{number}/24 dev eth0", "link set eth0 up", "route add default via 10.99.0.254"
            )
        command = (sys.executable, "-m", "tests.failover.fake", "--host", "10.99.0.254", "--port", "5001")
        fake = api.start(*command, stdout=subprocess.PIPE, cwd=TOP)
        stack.callback(_end, fake)
        assert fake.stdout
        ids = json.loads(fake.stdout.readline())["lab"]
        machines = []
        for number, node in enumerate(nodes, 1):
            machines.append(Machine(number, node, stack.enter_context(Enclosure(node, tree))))
            machines[-1].prepare()
        yield Lab(api, machines, ids)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


def start_engine(machine: Machine, members: Sequence[Machine], **more: str) -> None:
    """Corosync and Pacemaker; `more` goes into their environment, which the agents inherit."""
    inside = machine.inside
    nodes = "".join(NODE % (each.address, each.name, each.number) for each in members)
    inside.write("/etc/corosync/corosync.conf", COROSYNC % nodes)
    hosts = "".join(f"{each.address} {each.name}\n" for each in members)
    inside.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
    inside.start("corosync", "-f", log="corosync")
    member = ("corosync-cmapctl", "-g", f"runtime.members.{machine.number}.status")
    wait_until(lambda: inside.run(*member).returncode == 0, "corosync is up")
    environment = {
        **ENVIRONMENT,
        "PCMK_ipc_type": "socket",
        "PCMK_logfacility": "none",
        "PCMK_logfile": "/var/log/pacemaker/pacemaker.log",
        **more,
    }
    inside.start("pacemakerd", log="pacemakerd", env=environment)
