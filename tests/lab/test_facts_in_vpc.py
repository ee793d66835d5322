"""A configuration of one line, and the metadata service for the rest: judged by packets, and by what fails."""

from __future__ import annotations

import pytest

from ec2ident_agent import cli
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ec2ident.testing import MetadataService

    Agent = Callable[..., int]

pytestmark = pytest.mark.root

SCHEMES = {"seed": "[interface.eth1]\n", "split": '[interface.eth1]\nscheme = "split"\n'}

every_scheme = pytest.mark.parametrize("scheme", sorted(SCHEMES))


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        yield made


@pytest.fixture
def service(vpc: Vpc) -> MetadataService:
    return vpc.serve_metadata()


@pytest.fixture
def agent(vpc: Vpc, tmp_path: Path) -> Agent:
    """Runs a verb of ec2ident-agent inside the node, with a configuration for a scheme."""

    def run(scheme: str, *verb: str) -> int:
        file = tmp_path / "agent.toml"
        file.write_text(SCHEMES[scheme], encoding="utf-8")
        file.chmod(0o644)
        files = ["--config", str(file), "--state-dir", str(tmp_path / "state"), "--names-dir", str(tmp_path)]
        with vpc.node.entered():
            return cli.main([*verb, *files])

    return run


@every_scheme
def test_one_line_is_a_whole_profile(vpc: Vpc, service: MetadataService, agent: Agent, scheme: str) -> None:
    """Subnets, routers and table are known, by both families; and the primary's interface still answers."""
    eth0, eth1 = vpc.enis["eth0"], vpc.attach("eth1")
    assert not vpc.client.ask(eth1.address)

    assert (0, 0) == (agent(scheme, "apply"), agent(scheme, "status"))

    assert [True] * 4 == [vpc.client.ask(at) for at in (eth1.address, eth1.address6, eth0.address, eth0.address6)]


@every_scheme
def test_a_service_that_learns_late_is_waited_for(
    vpc: Vpc, service: MetadataService, agent: Agent, scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The MAC is listed after a second, the device number is right after two, and each wait is said."""
    eth1 = vpc.attach("eth1", listed_after=1.0, numbered_after=2.0)

    assert 0 == agent(scheme, "apply")

    waits = [line for line in capsys.readouterr().err.splitlines() if "waiting for the metadata service" in line]
    assert 2 <= len(waits)
    assert all(" s of 10 s)" in line for line in waits)
    assert vpc.client.ask(eth1.address)


@every_scheme
def test_when_the_wait_is_over_nothing_is_laid_half(
    vpc: Vpc, service: MetadataService, agent: Agent, scheme: str
) -> None:
    """Could not tell: without a device number there is no table, and nobody guesses one."""
    vpc.attach("eth1", listed_after=600.0)
    before = vpc.node.snapshot()

    assert 3 == agent(scheme, "apply", "--wait", "1")

    assert before == vpc.node.snapshot()


FAILURES: dict[str, Callable[[MetadataService], object]] = {
    "500": lambda service: service.behave("status", status=500),
    "404": lambda service: service.behave("status", status=404),
    "time-outs": lambda service: service.behave("silence"),
    "late keys": lambda service: service.behave("hide", path="/(local-ipv4s|ipv6s|subnet-ipv4-cidr-block)$"),
    "not listed": lambda service: service.behave("hide", path="/macs/"),
    "token loss": lambda service: service.behave("unauthorized"),
    "nobody listens": lambda service: service.stop(),
}


@every_scheme
@pytest.mark.parametrize("failure", FAILURES)
def test_what_works_goes_on_to_work_while_the_service_fails(
    vpc: Vpc, service: MetadataService, agent: Agent, scheme: str, failure: str
) -> None:
    """Apply changes nothing, and repairs what somebody else flushed."""
    eth1 = vpc.attach("eth1")
    assert 0 == agent(scheme, "apply")
    before = vpc.node.snapshot()
    FAILURES[failure](service)

    assert agent(scheme, "apply", "--wait", "0") in (0, 3)
    assert before == vpc.node.snapshot()
    vpc.node.ip("route flush table 23601")
    assert not vpc.client.ask(eth1.address)
    assert agent(scheme, "apply", "--wait", "0") in (0, 3)
    assert vpc.client.ask(eth1.address)


def test_a_secondary_address_gets_its_rules_and_loses_them(vpc: Vpc, service: MetadataService, agent: Agent) -> None:
    """With split each address has its own; whoever puts it on the interface is the network manager or a container."""
    eth1 = vpc.attach("eth1")
    second = eth1.in_subnet(11)
    vpc.node.ip(f"address add {second}/32 dev eth1")
    vpc.route(second, "eth1")
    assert 0 == agent("split", "apply")
    assert not vpc.client.ask(second)

    service.assign(eth1.mac, private_ips=(eth1.address, second))
    assert 0 == agent("split", "apply")
    assert vpc.client.ask(second)
    service.assign(eth1.mac, private_ips=(eth1.address,))
    assert 0 == agent("split", "apply")

    assert not vpc.client.ask(second)
    assert vpc.client.ask(eth1.address)


def test_the_same_interface_in_another_slot_gets_another_table(
    vpc: Vpc, service: MetadataService, agent: Agent
) -> None:
    """Detached and attached again elsewhere: what was said of the earlier attach counts for nothing."""
    eth1 = vpc.attach("eth1")
    assert 0 == agent("seed", "apply")
    vpc.detach("eth1")
    assert 0 == agent("seed", "apply")
    vpc.attach("eth1")
    service.assign(eth1.mac, device_number=4)

    assert 0 == agent("seed", "apply")

    assert "lookup 23604" in vpc.node.read("ip", "rule")
    assert "lookup 23601" not in vpc.node.read("ip", "rule")
    assert vpc.client.ask(eth1.address)
