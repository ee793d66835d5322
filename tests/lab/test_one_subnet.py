"""Several interfaces in one subnet, judged by packets: each address answers, from outside, in both families."""

from __future__ import annotations

import pytest

from ec2ident_agent import cli
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        made.serve_metadata()
        yield made


def apply(vpc: Vpc, directory: Path, text: str) -> int:
    """Run `apply` with this configuration inside the node; the exit code."""
    file = directory / "agent.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
    files = ["--config", str(file), "--state-dir", str(directory / "state"), "--names-dir", str(directory / "names")]
    with vpc.node.entered():
        return cli.main(["apply", *files])


def silent(vpc: Vpc) -> list[str]:
    """The addresses of the node's interfaces that do not answer."""
    addresses = [address for eni in vpc.attached.values() for address in (eni.address, eni.address6)]
    return [address for address in addresses if not vpc.client.ask(address)]


@pytest.mark.parametrize("cards", [False, True], ids=["one-card", "a-card-each"])
@pytest.mark.parametrize("scheme", ["by-source", "split"])
@pytest.mark.parametrize("count", [2, 3, pytest.param(8, marks=pytest.mark.full)])
def test_every_interface_answers(vpc: Vpc, tmp_path: Path, count: int, scheme: str, cards: bool) -> None:
    """All configured, and all but the first. With a card each, as on p4d and p5, device numbers repeat."""
    names = [f"eth{number}" for number in range(1, count)]
    for number, name in enumerate(names, 1):
        eni = vpc.attach(name, subnet=0)
        if cards:
            assert vpc.metadata
            vpc.metadata.assign(vpc.enis["eth0"].mac, network_card=0)
            vpc.metadata.assign(eni.mac, device_number=1, network_card=number)

    assert apply(vpc, tmp_path, "".join(f'[interface.{name}]\nscheme = "{scheme}"\n' for name in names)) == 0
    assert silent(vpc) == []

    assert apply(vpc, tmp_path, "".join(f'[interface.{name}]\nscheme = "{scheme}"\n' for name in ["eth0", *names])) == 0
    assert silent(vpc) == []


@pytest.mark.parametrize("scheme", ['"by-source"', '"split"\nvpc = ["10.0.0.0/16", "2001:db8:ec2::/56"]'])
def test_a_configuration_that_says_everything_does_not_lock_out_either(vpc: Vpc, tmp_path: Path, scheme: str) -> None:
    """The subnet that both share is written; the metadata service is not asked."""
    eth1 = vpc.attach("eth1", subnet=0)
    text = f"""
[interface.eth1]
subnet = ["{eth1.subnet}", "{eth1.subnet6}"]
router = ["{eth1.router}", "fe80:ec2::1"]
table = 100
scheme = {scheme}
"""
    assert apply(vpc, tmp_path, text) == 0
    assert silent(vpc) == []


def test_a_subnet_as_wide_as_the_vpc_is_refused(vpc: Vpc, tmp_path: Path) -> None:
    """It would take eth0's packets: exit 4, nothing is changed, and eth0 goes on to answer."""
    vpc.attach("eth1")
    assert apply(vpc, tmp_path, '[interface.eth1]\nsubnet = "10.0.0.0/16"\nrouter = "10.0.1.1"\ntable = 100\n') == 4
    assert vpc.client.ask(vpc.enis["eth0"].address)
    assert "lookup 100" not in vpc.node.run("ip", "rule", "show").stdout


def test_an_interface_without_an_address_keeps_what_it_gets_later(vpc: Vpc, tmp_path: Path) -> None:
    """eth0 has no address on the node when eth1 is applied, and the metadata service says that they share the subnet:
    eth0 answers as soon as it has its address, and nothing is applied in between.
    """
    vpc.attach("eth1", subnet=0)
    vpc.node.ip("address flush dev eth0", "-6 address flush dev eth0 scope global")

    assert apply(vpc, tmp_path, "[interface.eth1]\n") == 0
    vpc.configure("eth0")

    assert silent(vpc) == []


@pytest.mark.parametrize("scheme", ["by-source", "split"])
def test_secondary_addresses_that_are_held_answer(vpc: Vpc, tmp_path: Path, scheme: str) -> None:
    """An address that is assigned to the ENI, and that no network manager brings up, in both families; eth0's too."""
    eth1 = vpc.attach("eth1")
    assert vpc.metadata
    four, six = eth1.in_subnet(77), eth1.in_subnet6(0x77)
    vpc.metadata.assign(eth1.mac, private_ips=(eth1.address, four), ipv6s=(eth1.address6, six))
    vpc.route(four, "eth1")
    vpc.route(six, "eth1")
    before = vpc.node.run("ip", "address").stdout

    assert apply(vpc, tmp_path, f'[interface.eth1]\naddresses = "hold"\nscheme = "{scheme}"\n') == 0
    assert [vpc.client.ask(address) for address in (four, six)] == [True, True]
    assert silent(vpc) == []

    assert apply(vpc, tmp_path, f'[interface.eth1]\nscheme = "{scheme}"\n') == 0
    assert vpc.node.run("ip", "address").stdout == before
