"""What the agent lays is judged by packets: who asks from outside, from the VPC or from a container gets an answer."""

from __future__ import annotations

import pytest

from ec2ident_agent import cli
from tests.lab.echo import ask
from tests.lab.namespace import Namespace, unique
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Agent = Callable[..., int]

pytestmark = pytest.mark.root

OVERLAY = "192.168.10.10"
OVERLAY6 = "2001:db8:a0::10"

#: eth1 with both families; what only one scheme wants comes after it.
INTERFACE = """
[interface.eth1]
subnet = ["10.0.1.0/24", "2001:db8:ec2:1::/64"]
router = ["10.0.1.1", "fe80:ec2::1"]
table = 100
"""
SCHEMES = {
    "seed": 'scheme = "seed"\n',
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


def configured(scheme: str, *overlays: str) -> str:
    return INTERFACE + SCHEMES[scheme] + "".join(f"\n[[overlay]]\n{overlay}\n" for overlay in overlays)


@every_scheme
@pytest.mark.parametrize("reverse_path", [0, 1, 2])
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
            f"link add c0 type veth peer name eth0 netns {inside.name}",
            "link set c0 master br0 up",
        )
        inside.ip("address add 172.17.0.2/16 dev eth0", "link set eth0 up", "route add default via 172.17.0.1")
        inside.wait_running("eth0")
        vpc.node.wait_running("c0")
        vpc.node.wait_running("br0")
        yield inside
    finally:
        Namespace.remove_all(inside)


@pytest.mark.parametrize(("scheme", "reached"), [("seed", False), ("split", True)])
def test_a_container_reaches_the_second_interface_only_with_split(
    vpc: Vpc, agent: Agent, container: Namespace, scheme: str, reached: bool
) -> None:
    """The published recipe sends the answer to the router of eth1, who knows no bridge; that is what split is for."""
    eth1 = vpc.enis["eth1"]
    assert ask(container, eth1.address)

    agent("apply", configuration=configured(scheme))

    assert ask(container, eth1.address) == reached
    assert vpc.client.ask(eth1.address)


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


def test_two_interfaces_in_one_subnet_answer_each_for_itself(vpc: Vpc, agent: Agent) -> None:
    """Rules from addresses, not from the subnet, tell them apart."""
    eth1, eth2 = vpc.enis["eth1"], vpc.attach("eth2", subnet=1)
    profile = '[interface.{0}]\nsubnet = "10.0.1.0/24"\ntable = {1}\nscheme = "split"\nvpc = "10.0.0.0/16"\n{2}\n'
    both = [(eth1, 100), (eth2, 101)]
    sources = [profile.format(eni.name, table, f'source = "{eni.address}/32"') for eni, table in both]

    assert agent("apply", configuration="\n".join(sources)) == 0

    assert [vpc.client.ask(eni.address) for eni, _ in both] == [True, True]
    assert [vpc.neighbour(0).ask(eni.address) for eni, _ in both] == [True, True]


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
def test_what_somebody_took_away_comes_back(vpc: Vpc, agent: Agent, harm: str) -> None:
    """status says drift and changes nothing, apply repairs, and the answers are back."""
    agent("apply", configuration=configured("seed", f'address = "{OVERLAY}"\ndevice = "eth0"'))
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
