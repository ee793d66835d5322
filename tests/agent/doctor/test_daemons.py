"""The doctor under real network managers: what it foretells is what goes, before its advice and after.

No hook of the agent's is installed and nothing watches, so whatever a manager takes away stays away.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.managers import Manager, Networkd, NetworkManager
from tests.lab.packages import Unavailable
from tests.lab.recipe import BOTH_FAMILIES, without
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.full]

TOP = Path(__file__).parents[3]
PROGRAM = "/usr/local/bin/ec2ident-agent"
CONFIGURATION = without(BOTH_FAMILIES, "table_name", "priority")

RULES = {"from 10.0.1.0/24 table 100 priority 100", "from 2001:db8:ec2:1::/64 table 100 priority 100"}
ROUTES = {"10.0.1.0/24 dev eth1 table 100 scope link", "default via 10.0.1.1 dev eth1 table 100"}
ROUTES6 = {
    "2001:db8:ec2:1::/64 dev eth1 table 100 metric 1024",
    "default via fe80:ec2::1 dev eth1 table 100 metric 1024",
}
OVERLAY = {"192.168.10.10/32 dev eth0 label eth0:1"}


def made(kind: type[Manager]) -> Iterator[Manager]:
    try:
        with Vpc(bare=True) as vpc, kind(vpc) as manager:
            program = f'#!/bin/sh\nPYTHONPATH="{TOP}:{TOP}/agent" exec "{sys.executable}" -m ec2ident_agent "$@"\n'
            manager.machine.write(PROGRAM, program, 0o755)
            manager.machine.write("/etc/ec2ident/agent.toml", CONFIGURATION)
            manager.attach("eth1")
            yield manager
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def networkd() -> Iterator[Manager]:
    yield from made(Networkd)


@pytest.fixture
def network_manager() -> Iterator[Manager]:
    yield from made(NetworkManager)


def foretold(manager: Manager, who: str, event: str) -> set[str]:
    """What the doctor says will go at an event, and nothing spares."""
    done = manager.run(PROGRAM, "doctor", "--json")
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)["threats"]
    mine = [each for each in found if each["who"] == who and each["event"].startswith(event)]
    return {plain(item) for each in mine if each["state"] != "prevented" for item in each["items"]}


def lost(manager: Manager, event: str, interface: str) -> set[str]:
    """What of the agent's is missing when a manager has come to rest after an event."""
    manager.settle()
    done = manager.run(PROGRAM, "apply")
    assert 0 == done.returncode, done.stderr
    getattr(manager, event)(interface)
    manager.settle()
    return missing(manager)


def missing(manager: Manager) -> set[str]:
    done = manager.run(PROGRAM, "status", "--json")
    assert done.returncode in (0, 1), done.stderr
    items = json.loads(done.stdout)["items"]
    return {plain(each["item"]) for each in items if each["state"] not in ("ok", "unserved")}


def plain(item: str) -> str:
    """A route without the metrics that it takes from main's default route, which the manager sets."""
    return item.partition(" mtu ")[0]


def test_networkd_takes_what_the_doctor_says_and_after_the_fix_it_does_not(networkd: Networkd) -> None:
    """Rules, overlay and IPv6 routes survive; IPv4 routes go with their lease's address, as the doctor says too."""
    who = "systemd-networkd"
    anew = {name: f"it configures {name} anew" for name in ("eth0", "eth1")}
    assert RULES == lost(networkd, "attach", "eth2")
    assert RULES <= foretold(networkd, who, "it configures an interface that is attached")
    networkd.detach("eth2")
    assert RULES | OVERLAY == lost(networkd, "reconfigure", "eth0")
    assert RULES | ROUTES | ROUTES6 == lost(networkd, "reconfigure", "eth1")
    assert ROUTES == lost(networkd, "restart", "eth1")
    assert OVERLAY == foretold(networkd, who, anew["eth0"]) - RULES
    assert ROUTES | ROUTES6 == foretold(networkd, who, anew["eth1"])
    assert ROUTES == foretold(networkd, who, "it is restarted")

    done = networkd.run(PROGRAM, "doctor", "--fix")
    assert 0 == done.returncode, done.stderr
    assert RULES <= foretold(networkd, who, "it configures"), "written, and not yet read"
    networkd.restart("eth1")

    assert set() == lost(networkd, "reconfigure", "eth0")
    assert ROUTES == lost(networkd, "reconfigure", "eth1")
    assert set() == lost(networkd, "restart", "eth1")
    assert ROUTES == foretold(networkd, who, "it configures")
    assert set() == foretold(networkd, who, "it is restarted")

    assert 0 == networkd.run(PROGRAM, "doctor", "--unfix").returncode
    networkd.restart("eth1")
    assert RULES | OVERLAY == lost(networkd, "reconfigure", "eth0")


def test_networkmanager_takes_what_the_doctor_says_and_spares_what_it_does_not_manage(
    network_manager: NetworkManager,
) -> None:
    """A reapply costs the overlay, a modify the routes of its link, and nothing costs rules."""
    assert OVERLAY == lost(network_manager, "reapply", "eth0")
    assert OVERLAY == foretold(network_manager, "NetworkManager", "nmcli device reapply")
    assert ROUTES == lost(network_manager, "modify", "eth1") & ROUTES
    assert ROUTES | ROUTES6 == foretold(network_manager, "NetworkManager", "nmcli device modify")

    conf = "[keyfile]\nunmanaged-devices=interface-name:eth1\n"
    network_manager.machine.write("/etc/NetworkManager/conf.d/50-eth1.conf", conf)
    network_manager.machine.read("nmcli", "general", "reload")
    state = ("nmcli", "-g", "GENERAL.STATE", "device", "show", "eth1")
    wait_until(lambda: network_manager.machine.read(*state).startswith("10 "), "eth1 is unmanaged")
    network_manager.settle()
    # It set the link down and took the addresses along: what it does not manage, another program has to configure.
    network_manager.vpc.node.ip("link set eth1 up", "address replace 10.0.1.10/24 dev eth1")
    network_manager.settle()
    done = network_manager.run(PROGRAM, "apply")
    assert 0 == done.returncode, done.stderr
    assert set() == foretold(network_manager, "NetworkManager", "nmcli device modify")

    network_manager.machine.run("nmcli", "device", "reapply", "eth1")
    network_manager.machine.run("nmcli", "device", "modify", "eth1", "+ipv4.addresses", "10.0.1.100/24")
    network_manager.settle()
    assert set() == missing(network_manager)
