"""split beside containers, tunnels and peerings, judged by packets: everything that worked before goes on to work."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager

import pytest

from ec2ident_agent import cli
from tests.lab.echo import Echo, ask
from tests.lab.namespace import Namespace, unique
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

CONFIGURATION = '[interface.eth1]\nscheme = "split"\n'
PEER, TAILNET = "10.50.0.9", "100.64.0.9"


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        made.serve_metadata()
        made.attach("eth1")
        made.node.sysctl({"ipv4/ip_forward": 1})
        yield made


def run(vpc: Vpc, directory: Path, verb: str, text: str = CONFIGURATION) -> int:
    """Run a verb inside the node; the exit code."""
    file = directory / "agent.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
    files = ["--config", str(file), "--state-dir", str(directory / "state"), "--names-dir", str(directory / "names")]
    with vpc.node.entered():
        return cli.main([verb, *files])


@contextmanager
def pod(vpc: Vpc, name: str, *node: str, inside: tuple[str, ...]) -> Iterator[Namespace]:
    """A namespace behind the node by a veth `name`, with these commands on both ends, that answers to questions."""
    made = Namespace(unique(name))
    Namespace.add_all(made)
    try:
        vpc.node.ip(f"link add {name} type veth peer name eth0 netns {made.name}", f"link set {name} up", *node)
        made.ip("link set eth0 up", *inside)
        made.wait_running("eth0")
        vpc.node.wait_running(name)
        with Echo(made):
            yield made
    finally:
        Namespace.remove_all(made)


def bridged(vpc: Vpc, name: str, address: str, gateway: str) -> AbstractContextManager[Namespace]:
    """A container on br0."""
    inside = (f"address add {address} dev eth0", f"route add default via {gateway}")
    return pod(vpc, name, f"link set {name} master br0", inside=inside)


@pytest.mark.parametrize("scheme", ["split", "by-source"])
def test_a_bridge_with_a_delegated_prefix(vpc: Vpc, tmp_path: Path, scheme: str) -> None:
    """Docker with `--bip` in a prefix that is delegated to the ENI: outside, the VPC, the node and the pod reach each
    other, before and after apply.
    """
    eth1 = vpc.enis["eth1"]
    assert vpc.metadata
    vpc.metadata.assign(eth1.mac, prefixes=("10.0.1.208/28",))
    vpc.route("10.0.1.210", "eth1")
    vpc.node.ip("link add br0 type bridge", "link set br0 up", "address add 10.0.1.209/28 dev br0")
    with bridged(vpc, "c1", "10.0.1.210/28", "10.0.1.209") as container:
        vpc.node.wait_running("br0")
        assert run(vpc, tmp_path, "apply", CONFIGURATION.replace("split", scheme)) == 0

        assert vpc.client.ask("10.0.1.210")
        assert vpc.neighbour(0).ask("10.0.1.210")
        assert ask(container, "10.0.1.209")
        assert ask(container, eth1.address)
        assert ask(container, vpc.enis["eth0"].address)
        assert ask(vpc.node, "10.0.1.210", source=eth1.address)
        assert ask(vpc.node, "10.0.1.210")
        assert run(vpc, tmp_path, "status", CONFIGURATION.replace("split", scheme)) == 0


def test_a_network_of_the_vpc_that_is_routed_to_the_node(vpc: Vpc, tmp_path: Path) -> None:
    """A route of the VPC's table leads 10.0.99.0/24 to the ENI; the bridge has it, and 172.17.0.0/16 beside it."""
    eth1 = vpc.enis["eth1"]
    vpc.node.ip("link add br0 type bridge", "link set br0 up", "address add 10.0.99.1/24 dev br0")
    with bridged(vpc, "c1", "10.0.99.2/24", "10.0.99.1") as container:
        vpc.node.wait_running("br0")
        assert run(vpc, tmp_path, "apply") == 0

        assert ask(container, eth1.address)
        assert ask(vpc.node, "10.0.99.2", source=eth1.address)
        assert vpc.client.ask(eth1.address)
        assert vpc.neighbour(1).ask(eth1.address)


def test_pods_as_amazon_vpc_cni_makes_them(vpc: Vpc, tmp_path: Path) -> None:
    """A secondary address of eth1 behind a veth: `to POD lookup main` at 512, `from POD lookup 2` at 1536, which leads
    out by eth1. Neither status nor doctor calls these rules wrong.
    """
    eth1, address = vpc.enis["eth1"], "10.0.1.77"
    assert vpc.metadata
    vpc.metadata.assign(eth1.mac, private_ips=(eth1.address, address))
    vpc.route(address, "eth1")
    rules = (
        f"route add {address} dev eni77 scope link",
        f"rule add to {address} lookup main priority 512",
        f"rule add from {address} lookup 2 priority 1536",
        "route add default via 10.0.1.1 dev eth1 table 2",
        "route add 10.0.1.1 dev eth1 scope link table 2",
    )
    gateway = ("route add 169.254.1.1 dev eth0", "route add default via 169.254.1.1")
    vpc.node.sysctl({"ipv4/conf/default/proxy_arp": 1})
    with pod(vpc, "eni77", *rules, inside=(f"address add {address}/32 dev eth0", *gateway)) as container:
        vpc.node.ip("address add 169.254.1.1/32 dev eni77")
        assert run(vpc, tmp_path, "apply") == 0

        assert vpc.client.ask(address)
        assert vpc.neighbour(0).ask(address)
        assert ask(container, eth1.address)
        assert ask(vpc.node, address, source=eth1.address)
        assert vpc.client.ask(eth1.address)
        assert run(vpc, tmp_path, "status") == 0


def test_a_peering_by_the_first_interface(vpc: Vpc, tmp_path: Path) -> None:
    """main reaches 10.50.0.0/16 by eth0. The node goes on to use that for itself; answers from eth1's address leave by
    eth1, because the VPC drops them elsewhere.
    """
    vpc.client.ip(f"address add {PEER}/32 dev lo")
    vpc.router.ip(f"route add {PEER}/32 via {vpc.client.address}")
    vpc.node.ip("route add 10.50.0.0/16 via 10.0.0.1 dev eth0")
    with Echo(vpc.client):
        assert not ask(vpc.client, vpc.enis["eth1"].address, source=PEER, timeout=0.5)
        assert run(vpc, tmp_path, "apply") == 0

        for eni in vpc.attached.values():
            assert ask(vpc.client, eni.address, source=PEER)
            assert ask(vpc.node, PEER, source=eni.address)
        assert ask(vpc.node, PEER)
        assert run(vpc, tmp_path, "status") == 0


def test_a_tailnet_beside_split(vpc: Vpc, tmp_path: Path) -> None:
    """tailscale's rules at 5210 to 5270 and its table 52 with the peers' addresses: they are reached, also from eth1's
    address, and status is in order. With an exit node the table takes everything, and status says so.
    """
    eth1 = vpc.enis["eth1"]
    rules = (
        "address add 100.64.0.1/32 dev ts0",
        f"route add {TAILNET} dev ts0 table 52",
        "rule add fwmark 0x80000/0xff0000 lookup main priority 5210",
        "rule add lookup 52 priority 5270",
    )
    inside = (f"address add {TAILNET}/32 dev eth0", "route add default dev eth0")
    with pod(vpc, "ts0", *rules, inside=inside):
        assert run(vpc, tmp_path, "apply") == 0

        assert ask(vpc.node, TAILNET)
        assert ask(vpc.node, TAILNET, source=eth1.address)
        assert vpc.client.ask(eth1.address)
        assert run(vpc, tmp_path, "status") == 0

        vpc.node.ip("route add default dev ts0 table 52")
        assert not vpc.client.ask(eth1.address, timeout=0.5)
        assert run(vpc, tmp_path, "status") == 1
