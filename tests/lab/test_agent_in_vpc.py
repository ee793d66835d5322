"""What the agent adds is judged by packets: a client from outside, from the VPC or from a container gets an answer."""

from __future__ import annotations

import pytest

from ec2ident_agent import cli
from tests.lab.echo import ask
from tests.lab.eni import Eni
from tests.lab.namespace import Namespace, unique
from tests.lab.vpc import Machine, Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Agent = Callable[..., int]

pytestmark = pytest.mark.root

OVERLAY = "192.168.10.10"
OVERLAY6 = "2001:db8:a0::10"

#: An interface with both families; what only one scheme wants comes after it.
INTERFACE = """
[interface.{name}]
subnet = ["{subnet}", "{subnet6}"]
router = ["{router}", "fe80:ec2::1"]
table = {table}
"""
SCHEMES = {
    "by-source": 'scheme = "by-source"\n',
    "split": 'scheme = "split"\nvpc = ["10.0.0.0/16", "2001:db8:ec2::/56"]\n',
}

every_scheme = pytest.mark.parametrize("scheme", sorted(SCHEMES))


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        made.attach("eth1")
        yield made


@pytest.fixture
def agent(vpc: Vpc, tmp_path: Path) -> Agent:
    """Runs a verb of ec2ident-agent inside the node; `configuration=` writes the file first."""

    def run(*verb: str, configuration: str | None = None) -> int:
        file = tmp_path / "agent.toml"
        if configuration is not None:
            file.write_text(configuration, encoding="utf-8")
            file.chmod(0o644)
        names = tmp_path / "rt_tables.d"
        names.mkdir(exist_ok=True)
        files = ["--config", str(file), "--state-dir", str(tmp_path / "state"), "--names-dir", str(names)]
        with vpc.node.entered():
            return cli.main([*verb, *files])

    return run


def profile(scheme: str, eni: Eni, table: int = 100, more: str = "") -> str:
    keys = {"name": eni.name, "subnet": eni.subnet, "subnet6": eni.subnet6, "router": eni.router, "table": table}
    return INTERFACE.format(**keys) + SCHEMES[scheme] + more


def configured(scheme: str, *overlays: str) -> str:
    return profile(scheme, Eni("eth1", 1, 10)) + "".join(f"\n[[overlay]]\n{overlay}\n" for overlay in overlays)


@every_scheme
@pytest.mark.parametrize("reverse_path", [1, *(pytest.param(other, marks=pytest.mark.full) for other in (0, 2))])
def test_an_interface_with_a_profile_answers(vpc: Vpc, agent: Agent, scheme: str, reverse_path: int) -> None:
    """From outside, by both families, with every reverse path setting of the node."""
    vpc.node.sysctl({f"ipv4/conf/{each}/rp_filter": reverse_path for each in ("all", "eth0", "eth1")})
    eth1 = vpc.enis["eth1"]
    assert not vpc.client.ask(eth1.address)

    assert agent("apply", configuration=configured(scheme)) == 0

    assert vpc.client.ask(eth1.address)
    assert vpc.client.ask(eth1.address6)


@every_scheme
def test_a_neighbour_in_the_first_subnet_gets_its_answer_from_the_second_interface(
    vpc: Vpc, agent: Agent, scheme: str
) -> None:
    """Without rules the answer leaves by eth0 with eth1's source, and the VPC drops it."""
    neighbour, eth1 = vpc.neighbour(0), vpc.enis["eth1"]
    assert neighbour.ask(vpc.enis["eth0"].address)
    assert not neighbour.ask(eth1.address)

    agent("apply", configuration=configured(scheme))

    assert neighbour.ask(eth1.address)
    assert neighbour.ask(eth1.address6)


@every_scheme
def test_neighbours_elsewhere_in_the_vpc_get_their_answers(vpc: Vpc, agent: Agent, scheme: str) -> None:
    """In the interface's own subnet, and in one where the node has none."""
    own, other = vpc.neighbour(1), vpc.neighbour(3)
    agent("apply", configuration=configured(scheme))

    assert own.ask(vpc.enis["eth1"].address)
    assert other.ask(vpc.enis["eth1"].address)


@pytest.fixture
def container(vpc: Vpc) -> Iterator[Namespace]:
    """A container on a bridge of the node, outside of the VPC's address range, as Docker makes them."""
    inside = Namespace(unique("container"))
    Namespace.add_all(inside)
    try:
        vpc.node.ip(
            "link add br0 type bridge",
            "address add 172.17.0.1/16 dev br0",
            "link set br0 up",
            "address add fd17::1/64 dev br0 nodad",
            f"link add c0 type veth peer name eth0 netns {inside.name}",
            "link set c0 master br0 up",
        )
        inside.ip("address add 172.17.0.2/16 dev eth0", "address add fd17::2/64 dev eth0 nodad", "link set eth0 up")
        inside.ip("route add default via 172.17.0.1", "-6 route add default via fd17::1")
        inside.wait_running("eth0")
        vpc.node.wait_running("c0")
        vpc.node.wait_running("br0")
        yield inside
    finally:
        Namespace.remove_all(inside)


@pytest.mark.parametrize(("scheme", "reached"), [("by-source", False), ("split", True)])
def test_a_container_reaches_the_second_interface_only_with_split(
    vpc: Vpc, agent: Agent, container: Namespace, scheme: str, reached: bool
) -> None:
    """The published recipe sends the answer to the router of eth1, who knows no bridge; that is what split is for."""
    eth1 = vpc.enis["eth1"]
    ours = [eth1.address, eth1.address6, OVERLAY, OVERLAY6]
    overlays = [f'address = "{overlay}"\ndevice = "eth1"' for overlay in (OVERLAY, OVERLAY6)]
    assert ask(container, eth1.address)
    assert ask(container, eth1.address6)

    agent("apply", configuration=configured(scheme, *overlays))

    patience = 2.0 if reached else 0.5
    assert [ask(container, address, timeout=patience) for address in ours] == [reached] * 4
    assert vpc.client.ask(eth1.address)
    assert ask(container, vpc.enis["eth0"].address)
    assert ask(container, vpc.enis["eth0"].address6)


@every_scheme
@pytest.mark.parametrize("overlay", [OVERLAY, OVERLAY6])
def test_an_overlay_answers_on_either_interface(vpc: Vpc, agent: Agent, scheme: str, overlay: str) -> None:
    """On eth1 it has a rule of its own: no rule from a subnet covers an address outside of the VPC."""
    agent("apply", configuration=configured(scheme, f'address = "{overlay}"\ndevice = "eth0"'))
    vpc.route(overlay, "eth0")
    assert vpc.client.ask(overlay)

    agent("apply", configuration=configured(scheme, f'address = "{overlay}"\ndevice = "eth1"'))
    vpc.route(overlay, "eth1")
    assert vpc.client.ask(overlay)
    assert vpc.neighbour(0).ask(overlay)


def answers(asking: Machine, *enis: Eni) -> list[bool]:
    """Whether each interface answers, at its IPv4 and at its IPv6 address."""
    return [asking.ask(address) for eni in enis for address in (eni.address, eni.address6)]


@every_scheme
def test_several_interfaces_answer_each_for_itself(vpc: Vpc, agent: Agent, scheme: str) -> None:
    """To the outside, and to neighbours in the first subnet, in each other's and in one where the node has none."""
    enis = [vpc.enis["eth0"], vpc.enis["eth1"], vpc.attach("eth2")]
    asking = [vpc.client, *map(vpc.neighbour, range(4))]

    configuration = "".join(profile(scheme, eni, table) for table, eni in enumerate(enis, 100))
    assert agent("apply", configuration=configuration) == 0

    assert [answers(machine, *enis) for machine in asking] == [[True] * 6] * 5


@every_scheme
def test_several_interfaces_in_one_subnet_answer_each_for_itself(vpc: Vpc, agent: Agent, scheme: str) -> None:
    """Rules from addresses, not from the subnet, tell them apart."""
    enis = [vpc.enis["eth0"], vpc.enis["eth1"], vpc.attach("eth2", subnet=1), vpc.attach("eth3", subnet=0)]
    source = 'source = ["{0.address}/32", "{0.address6}/128"]\n'
    asking = [vpc.client, vpc.neighbour(0), vpc.neighbour(1), vpc.neighbour(5)]

    profiles = (profile(scheme, eni, table, source.format(eni)) for table, eni in enumerate(enis, 100))
    assert agent("apply", configuration="".join(profiles)) == 0

    assert [answers(machine, *enis) for machine in asking] == [[True] * 8] * 4


@every_scheme
def test_the_first_interface_needs_a_profile_for_neighbours_of_the_second(vpc: Vpc, agent: Agent, scheme: str) -> None:
    """Main sends what is for eth1's subnet by eth1, also from eth0's address: dropped as spoofed."""
    eth0, eth1, neighbour = vpc.enis["eth0"], vpc.enis["eth1"], vpc.neighbour(1)
    agent("apply", configuration=profile(scheme, eth1))
    assert answers(neighbour, eth1) == [True, True]
    assert not neighbour.ask(eth0.address)

    agent("apply", configuration=profile(scheme, eth1) + profile(scheme, eth0, 101))

    # A moment later: the node still waits for an ARP answer to the address that was not its own there.
    assert neighbour.ask(eth0.address, timeout=20)
    assert answers(neighbour, eth0, eth1) == [True] * 4


@every_scheme
def test_an_interface_that_goes_takes_no_other_with_it(vpc: Vpc, agent: Agent, scheme: str) -> None:
    """Its table and its rules are its own: the others answer before and after the next apply."""
    eth1, eth2 = vpc.enis["eth1"], vpc.attach("eth2")
    agent("apply", configuration=profile(scheme, eth1, 101) + profile(scheme, eth2, 102))

    vpc.detach("eth1")

    assert answers(vpc.client, eth2) == [True, True]
    assert agent("apply") == 0
    assert answers(vpc.client, vpc.enis["eth0"], eth2) == [True] * 4
    assert "101" not in vpc.node.read("ip", "rule") + vpc.node.read("ip", "-6", "rule")


@every_scheme
def test_revert_leaves_the_node_as_it_was(vpc: Vpc, agent: Agent, scheme: str) -> None:
    """Every rule, route and address of both families, byte for byte; and eth1 is silent again."""
    before = vpc.node.snapshot()
    overlays = [f'address = "{OVERLAY}"\ndevice = "eth1"', f'address = "{OVERLAY6}"\ndevice = "eth0"']
    agent("apply", configuration=configured(scheme, *overlays))
    assert vpc.node.snapshot() != before

    assert agent("revert", "--all") == 0

    assert vpc.node.snapshot() == before
    assert not vpc.client.ask(vpc.enis["eth1"].address)


@every_scheme
def test_revert_after_a_detach_leaves_nothing(vpc: Vpc, agent: Agent, scheme: str) -> None:
    """Rules have no device, so the kernel leaves them behind; the next owner of the address must not find them."""
    eth1 = vpc.enis["eth1"]
    vpc.detach("eth1")
    before = vpc.node.snapshot()
    vpc.attach("eth1")
    agent("apply", configuration=configured(scheme))
    vpc.detach("eth1")
    assert vpc.node.snapshot() != before

    assert agent("revert", "--all") == 0

    assert vpc.node.snapshot() == before
    assert vpc.attach("eth1") == eth1
    assert agent("apply") == 0
    assert vpc.client.ask(eth1.address)


@pytest.mark.parametrize(
    "harm",
    [
        "route flush table 100",
        "link set eth1 down",
        "rule delete from 10.0.1.0/24 priority 100",
        f"address delete {OVERLAY}/32 dev eth0",
    ],
)
def test_what_another_program_removed_comes_back(vpc: Vpc, agent: Agent, harm: str) -> None:
    """status says drift and changes nothing, apply repairs, and the answers are back."""
    agent("apply", configuration=configured("by-source", f'address = "{OVERLAY}"\ndevice = "eth0"'))
    vpc.route(OVERLAY, "eth0")
    whole = vpc.node.snapshot()

    vpc.node.ip(harm)
    if harm.startswith("link"):
        vpc.configure("eth1")
    broken = vpc.node.snapshot()

    assert agent("status") == 1
    assert vpc.node.snapshot() == broken
    assert agent("apply") == 0
    assert sorted(vpc.node.snapshot().splitlines()) == sorted(whole.splitlines())
    assert vpc.client.ask(vpc.enis["eth1"].address)
    assert vpc.client.ask(OVERLAY)
