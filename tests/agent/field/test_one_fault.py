"""One family, one owner, one fault: what is wrong stops what it is about, and the rest goes on. On a real kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agent.conftest import Agent, ip, plug, refusing, snapshot

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

ETH1 = '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\ntable_name = "one"\n'
ETH2 = '[interface.eth2]\nsubnet = "10.0.2.0/24"\ntable = 200\n'
OVERLAY = '[[overlay]]\naddress = "192.168.10.10/32"\ndevice = "eth0"\n'
BOTH = '[interface.eth2]\nsubnet = ["10.0.2.0/24", "fd00:0:0:2::/64"]\nrouter = ["10.0.2.1", "fe80::1"]\ntable = 200\n'
#: What the kernel refuses of eth2.
WRONG = {
    "in IPv4": "ip route add default via 10.0.2.1 dev eth2 table 200",
    "in IPv6": "ip -6 route add default via fe80::1 dev eth2 table 200 metric 1024",
}


def rules(family: str = "") -> str:
    return ip("-N", family, "rule")


@pytest.mark.parametrize("family", WRONG)
def test_what_the_kernel_refuses_stops_that_family_of_that_interface(
    agent: Agent, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """eth1 and the overlay are applied, and eth2's other family; the next apply touches none of these."""
    plug("eth2", 2)
    before = snapshot()
    agent.write(ETH1 + BOTH + OVERLAY)
    refusing(monkeypatch, WRONG[family])

    assert 4 == agent("apply")

    assert f"ec2ident-agent: eth2: {WRONG[family]}: Cannot allocate memory" in agent.err
    assert "from 10.0.1.0/24 lookup 100" in rules()
    assert ("from 10.0.2.0/24 lookup 200" in rules()) == (family == "in IPv6")
    assert ("from fd00:0:0:2::/64 lookup 200" in rules("-6")) == (family == "in IPv4")
    assert "192.168.10.10/32" in ip("address show dev eth0")
    assert 1 == agent("status")
    assert 4 == agent("apply")
    assert not [line for line in agent.err.splitlines() if "10.0.1.0/24" in line or "192.168.10.10" in line]
    assert 0 == agent("revert", "--all")
    assert before == snapshot()


def test_a_router_that_is_the_interfaces_own_address_stops_ipv6_alone(agent: Agent) -> None:
    """A typing error, in the kernel's own words."""
    plug("eth2", 2)
    agent.write(BOTH.replace("fe80::1", "fd00:0:0:2::10"))

    assert 4 == agent("apply")

    assert "Gateway can not be a local address" in agent.err
    assert "from 10.0.2.0/24 lookup 200" in rules()
    assert "lookup 200" not in rules("-6")


def test_one_table_twice_stops_the_second_owner_alone(agent: Agent) -> None:
    """A wrong number in [interface.eth2]: eth1 has its table, and the overlay its address."""
    plug("eth2", 2)
    agent.write(ETH1 + ETH2.replace("200", "100") + OVERLAY)

    assert 4 == agent("apply")

    assert "eth2: table 100 is eth1's already" in agent.err
    assert "from 10.0.1.0/24 lookup 100" in rules()
    assert "10.0.2.0/24" not in rules()
    assert "192.168.10.10/32" in ip("address show dev eth0")
    assert 1 == agent("status")
    assert "ok       eth1" in agent.out


def test_status_calls_no_name_ok_inside_a_refused_interface(agent: Agent) -> None:
    """The name's line may be there from before; alone it is of no use."""
    agent.write(ETH1)
    assert 0 == agent("apply")
    ip("route flush table 100")
    ip("rule del from 10.0.1.0/24 lookup 100")
    ip("route add blackhole default table 100")

    assert 1 == agent("status")

    assert {"conflict", "refused", "drift:"} == {line.split()[0] for line in agent.out.splitlines()}


@pytest.mark.parametrize("how", ["configured", "held"])
def test_an_overlay_whose_device_is_not_there_is_not_in_order(agent: Agent, how: str) -> None:
    """The address gives no answer until the interface is attached again."""
    plug("eth2", 2)
    agent.write(OVERLAY.replace("eth0", "eth2") if how == "configured" else "")
    code = agent("apply") if how == "configured" else agent("overlay", "add", "192.168.10.10", "--device", "eth2")
    assert (0, 0) == (code, agent("status"))
    ip("link del eth2")

    assert 1 == agent("status")

    assert "absent  overlay 192.168.10.10/32" in agent.out
    assert agent.out.endswith("drift: 1 absent\n")


def test_doctor_speaks_of_what_is_there(agent: Agent, tmp_path: Path) -> None:
    """Before apply, and for an interface that is refused, nothing can be deleted: what is said is about later."""
    plug("eth2", 2)
    ip("route add blackhole default table 200")
    root = tmp_path / "root"
    (root / "etc/network").mkdir(parents=True)
    (root / "etc/network/interfaces").write_text("auto eth1 eth2\niface eth1 inet dhcp\niface eth2 inet dhcp\n")
    (root / "sbin").mkdir()
    (root / "sbin/ifquery").write_text("")
    agent.write(ETH1 + ETH2)
    assert 4 == agent("apply")

    agent("doctor", "--root", str(root))
    assert "the kernel deletes 2 routes of the agent's" in agent.out
    assert "the kernel would delete 2 routes of the agent's, once they are there" in agent.out

    agent("doctor", "--root", str(root), "--json")
    told = {item: each["there"] for each in json.loads(agent.out)["threats"] for item in each["items"]}
    assert told["default via 10.0.1.1 dev eth1 table 100"]
    assert not told["default via 10.0.2.1 dev eth2 table 200"]


@pytest.mark.parametrize("file", ["missing", "empty"])
def test_plan_without_a_configuration_says_so(agent: Agent, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty plan could also mean that all is done."""
    from ec2ident_agent import config_file

    agent.write("")
    if file == "missing":
        agent.config.unlink()
        monkeypatch.setattr(config_file, "PATH", str(agent.config))
        words = [each for each in agent.argv("plan") if each not in ("--config", str(agent.config))]
        monkeypatch.setattr(agent, "argv", lambda *_: words)

    assert 0 == agent("plan")

    assert (agent.out, f"nothing is configured: {agent.config}" in agent.err) == ("", True)
    assert ("does not exist" in agent.err) == (file == "missing")
