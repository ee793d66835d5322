"""Profiles from the metadata service, judged by packets: what it says is added, and its failures remove nothing.

The service is the shipped one, at its well-known address inside the simulated VPC; the kernel is a real one. What is
asked, read and remembered, item by item, is in tests/agent/test_facts.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent import cli
from tests.lab.enclosure import wait_until
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ec2ident.testing import MetadataService
    from tests.lab.eni import Eni

pytestmark = pytest.mark.root

TOP = Path(__file__).parents[2]

OVERLAY = "192.168.10.10"


class Node:
    """A node of a VPC with a metadata service, and the agent in it; what it said last is in `out` and `err`."""

    def __init__(self, vpc: Vpc, directory: Path, capsys: pytest.CaptureFixture[str] | None = None) -> None:
        self.vpc, self.directory = vpc, directory
        self.service = vpc.serve_metadata()
        self.config, self.state = directory / "agent.toml", directory / "state"
        self.capsys = capsys
        self.out = self.err = ""

    def write(self, text: str) -> None:
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(0o644)

    def files(self) -> list[str]:
        files = (("--config", self.config), ("--state-dir", self.state), ("--names-dir", self.directory / "names"))
        return [str(each) for option in files for each in option]

    def __call__(self, *words: str) -> int:
        with self.vpc.node.entered():
            code = cli.main([*words, *self.files()])
        self._heard()
        return code

    def lay(self, done: Callable[[], bool] = lambda: True) -> None:
        """Apply; and again where this machine is so busy that the service does not answer in time."""
        wait_until(lambda: self("apply") == 0 and done(), "everything is added", 30)

    def hook(self, interface: str) -> int:
        """As a manager calls it when an interface is up, but it does not wait. Our /sys shows other interfaces."""
        flags = self.directory / "sys" / interface / "flags"
        flags.parent.mkdir(parents=True, exist_ok=True)
        flags.write_text("0x1043\n", encoding="ascii")
        words = [*self.files(), "--wait", "0", "networkmanager", interface, "up"]
        with self.vpc.node.entered():
            code = cli.hook(words, sysfs=str(self.directory / "sys"))
        self._heard()
        return code

    def start(self, *words: str) -> subprocess.Popen[str]:
        """In a process of its own, which is not waited for."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
        argv = (sys.executable, "-m", "ec2ident_agent", *words, *self.files())
        return self.vpc.node.start(*argv, env=environment, stderr=subprocess.PIPE)

    def recover(self) -> None:
        """The service is EC2's again."""
        self.service.reset()
        self.service.stop()
        with self.vpc.router.entered():
            self.service.start()

    def forget(self) -> None:
        """What the service said last is lost, as by a crash before it was written down."""
        (self.state / "facts").unlink()

    def _heard(self) -> None:
        if self.capsys:
            self.out, self.err = self.capsys.readouterr()


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service may be asked, whatever this machine's administrator wants: it is asked inside the VPC only."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)


@pytest.fixture
def node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Node]:
    with Vpc() as vpc:
        vpc.attach("eth1")
        yield Node(vpc, tmp_path, capsys)


def assign(node: Node, eni: Eni, **changes: object) -> None:
    node.service.assign(eni.mac, **changes)


# What it says is added


@pytest.mark.parametrize("scheme", ["by-source", "split"])
def test_an_interface_of_which_nothing_is_written_but_its_name_answers(node: Node, scheme: str) -> None:
    """Subnets, routers, table, addresses and the VPC's ranges of both families are facts."""
    eth1, neighbour = node.vpc.enis["eth1"], node.vpc.neighbour(0)
    node.write(f'[interface.eth1]\nscheme = "{scheme}"\n')
    before = node.vpc.node.snapshot()
    assert not neighbour.ask(eth1.address)

    node.lay()

    assert node("status") == 0
    for machine in (node.vpc.client, neighbour):
        assert [machine.ask(address) for address in (eth1.address, eth1.address6)] == [True, True]
    assert "from all lookup main" in node.vpc.node.read("ip", "rule")
    assert node("revert", "--all") == 0
    assert node.vpc.node.snapshot() == before


def test_a_secondary_address_and_a_delegated_prefix_answer_while_they_are_assigned(node: Node) -> None:
    """Of two interfaces in one subnet, each answers for its own: the rules are from addresses, and go with them."""
    eth1, eth2 = node.vpc.enis["eth1"], node.vpc.attach("eth2", subnet=1)
    second, inside = eth1.in_subnet(40), eth1.in_subnet(50)
    assign(node, eth1, private_ips=(eth1.address, second), prefixes=(eth1.in_subnet(48) + "/28",))
    for address in (second, inside):
        node.vpc.node.ip(f"address add {address}/32 dev eth1")
        node.vpc.route(address, "eth1")
    node.write('[interface.eth1]\nscheme = "split"\n[interface.eth2]\nscheme = "split"\n')

    node.lay()

    answers = [node.vpc.client.ask(address) for address in (eth1.address, second, inside, eth2.address, eth2.address6)]
    assert answers == [True] * 5
    assign(node, eth1, private_ips=(eth1.address,), prefixes=())
    node.lay(lambda: second not in node.vpc.node.read("ip", "rule"))
    assert eth1.in_subnet(48) not in node.vpc.node.read("ip", "rule")
    assert [node.vpc.client.ask(address) for address in (eth1.address, eth2.address)] == [True, True]


# Whatever the service does


FAILURES: dict[str, Callable[[MetadataService], object]] = {
    "500": lambda service: service.behave("status", status=500),
    "404": lambda service: service.behave("status", status=404),
    "404 below every interface": lambda service: service.behave("status", status=404, path="/macs/."),
    "500 for an item": lambda service: service.behave("status", status=500, path="/(local-ipv4s|vpc-.*)$"),
    "silence": lambda service: service.behave("silence"),
    "silence after the listing": lambda service: service.behave("silence", path="/macs/."),
    "no listener": lambda service: service.stop(),
    "no token": lambda service: service.behave("status", status=500, path="/api/token$"),
    "a token is refused": lambda service: service.behave("unauthorized", path="/macs/"),
    "switched off": lambda service: service.behave("disabled"),
    "throttled": lambda service: service.behave("throttled"),
    "garbage": lambda service: service.behave("body", body="garbage"),
    "an empty listing": lambda service: service.behave("body", path="/macs/$", body=""),
    "cut short": lambda service: service.behave("cut"),
    "dripping": lambda service: service.behave("drip"),
    "a login page": lambda service: service.behave("captive-portal"),
}


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Two interfaces in one subnet and an overlay, added from facts and answering."""
    with pytest.MonkeyPatch.context() as patch, Vpc() as vpc:
        patch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
        vpc.attach("eth1")
        vpc.attach("eth2", subnet=1)
        vpc.route(OVERLAY, "eth1")
        node = Node(vpc, tmp_path_factory.mktemp("node"))
        node.write(
            '[interface.eth1]\nscheme = "split"\n[interface.eth2]\nscheme = "split"\n'
            f'[[overlay]]\naddress = "{OVERLAY}"\ndevice = "eth1"\n'
        )
        node.lay()
        yield node


def answering(node: Node) -> list[str]:
    """The addresses that answer the world outside; all that the node has."""
    enis = [node.vpc.enis[name] for name in ("eth0", "eth1", "eth2")]
    addresses = [OVERLAY, *(address for eni in enis for address in (eni.address, eni.address6))]
    return [address for address in addresses if not node.vpc.client.ask(address)]


#: Of each kind of failure one: error, lie, absence, no listener. The others take longer.
QUICK = {"500", "404 below every interface", "no listener", "garbage", "500 for an item"}
every_failure = pytest.mark.parametrize(
    "failure", [pytest.param(each, marks=[] if each in QUICK else [pytest.mark.full]) for each in FAILURES]
)
#: What is done while the service fails; nothing to say: a hook.
MOMENTS: tuple[tuple[str, ...], ...] = (("status",), ("apply",), (), ("plan",))


@pytest.mark.parametrize("forgotten", [False, True], ids=["remembered", "forgotten"])
@every_failure
def test_whatever_the_service_does_every_rule_and_route_stays(working: Node, failure: str, forgotten: bool) -> None:
    """At a look, an apply, a hook; and what another program removes meanwhile is added again."""
    node = working
    node.lay()
    whole = node.vpc.node.snapshot()
    FAILURES[failure](node.service)
    if forgotten:
        node.forget()
    try:
        for code in (node(*words, "--wait", "0") if words else node.hook("eth1") for words in MOMENTS):
            assert code in (0, 3)
            assert node.vpc.node.snapshot() == whole
        node.vpc.node.ip("route flush table 23601", f"rule del from {OVERLAY} lookup 23601")
        assert node("apply", "--wait", "0") in (0, 3)
        assert sorted(node.vpc.node.snapshot().splitlines()) == sorted(whole.splitlines())
        assert answering(node) == []
    finally:
        node.recover()
    node.lay()
    assert node("status") == 0


def test_without_a_service_two_interfaces_in_one_subnet_leave_each_other_alone(node: Node) -> None:
    """The kernel's address is the source then, and not the subnet: its rules would take the first one's packets."""
    eth0, eth2 = node.vpc.enis["eth0"], node.vpc.attach("eth2", subnet=0)
    node.service.stop()
    node.write('[interface.eth2]\nscheme = "split"\ntable = 102\nvpc = "10.0.0.0/16"\n')

    node.lay()

    assert [node.vpc.client.ask(eni.address) for eni in (eth0, eth2)] == [True, True]
    before = node.vpc.node.snapshot()
    node.recover()
    node.lay(lambda: eth2.address6 in node.vpc.node.read("ip", "-6", "rule"))
    assert set(before.splitlines()) <= set(node.vpc.node.snapshot().splitlines())
    assert [node.vpc.client.ask(each) for eni in (eth0, eth2) for each in (eni.address, eni.address6)] == [True] * 4


# A hot attach


def test_a_hot_attach_is_waited_for_and_said(node: Node) -> None:
    """The service lists it late, and its number reads 0 then, which is the first interface's; each wait is a line."""
    node.write('[interface.eth1]\nscheme = "split"\n[interface.eth2]\nscheme = "split"\n')
    node.lay()
    eth2 = node.vpc.attach("eth2")
    late = {
        "the interface is not listed (": node.service.behave("hide", path=f"/macs/{eth2.mac}/"),
        "device-number is 0, as": node.service.behave("body", path=f"/{eth2.mac}/device-number$", body="0"),
    }

    said = []
    with node.start("apply", "--wait", "60") as process:
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            for text in [text for text in late if text in line]:
                node.service.forget(late.pop(text))

    assert process.returncode == 0, said
    assert late == {}, said
    waits = [line for line in said if "eth2: waiting for the metadata service: the interface is not listed (" in line]
    assert waits, said
    assert all(line.endswith(" s of 60 s)\n") for line in waits), said
    assert [node.vpc.client.ask(address) for address in (eth2.address, eth2.address6)] == [True, True]


def test_a_hot_attach_while_the_service_fails_disturbs_no_other(node: Node) -> None:
    """What is not known is not guessed, and named; it is added as soon as the service is back."""
    node.write('[interface.eth1]\nscheme = "split"\n[interface.eth2]\nscheme = "split"\n')
    node.lay()
    node.service.behave("status", status=500)
    eth1, eth2 = node.vpc.enis["eth1"], node.vpc.attach("eth2")
    rules = node.vpc.node.read("ip", "rule")

    assert node.hook("eth2") == 3
    assert "eth2: table unknown: its network card and device number are not known; write table = " in node.err
    assert "(metadata service: /latest/api/token answers 500 after " in node.err
    assert node.vpc.node.read("ip", "rule") == rules
    assert [node.vpc.client.ask(eni.address) for eni in (eth1, eth2)] == [True, False]
    node.recover()
    wait_until(lambda: node.hook("eth2") == 0, "the hook adds it", 30)
    assert [node.vpc.client.ask(eni.address) for eni in (eth1, eth2)] == [True, True]


def test_a_detach_while_the_service_fails_leaves_no_rule(node: Node) -> None:
    """That an interface is gone the kernel says, and the facts do not matter then."""
    before = node.vpc.node.snapshot()
    node.write('[interface.eth1]\nscheme = "split"\n[interface.eth2]\nscheme = "split"\n')
    node.lay()
    node.service.stop()

    for name in ("eth1", "eth2"):
        if name in node.vpc.attached:
            node.vpc.detach(name)
    node.lay()

    assert "2360" not in node.vpc.node.read("ip", "rule") + node.vpc.node.read("ip", "-6", "rule")
    assert "lookup 23601" not in before


def test_once_it_was_said_an_overlay_moves_while_the_service_fails(node: Node) -> None:
    """A cluster moves an address in just such an hour, and its answers leave by the right interface."""
    node.write('[interface.eth1]\nscheme = "split"\n')
    node.lay()
    node.service.behave("silence")
    node.vpc.route(OVERLAY, "eth1")

    assert node("overlay", "add", OVERLAY, "--device", "eth1") == 0
    assert node.vpc.client.ask(OVERLAY)
    assert node("overlay", "del", OVERLAY) == 0
    assert not node.vpc.client.ask(OVERLAY)
