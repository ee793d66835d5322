"""Real network managers do in the laboratory what they do on machines: what they spare, and which hooks they call.

Each expectation was measured by hand with the same versions; a test that fails here says that the laboratory, or a
newer manager, behaves in another way than the agent was built for.
"""

from __future__ import annotations

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.managers import MANAGERS, Ifupdown, Manager, NetworkScripts, Wicked
from tests.lab.packages import Unavailable
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

pytestmark = [pytest.mark.root, pytest.mark.full]

#: What an agent adds on a node: the line that adds it, and how a snapshot shows it.
FOREIGN = {
    "rule": (
        "rule add from 10.0.1.0/24 table 100 priority 100 protocol 201",
        "from 10.0.1.0/24 lookup 100 proto 201",
    ),
    "kernel's rule": (
        "rule add from 10.0.1.0/24 table 100 priority 101 protocol 2",
        "from 10.0.1.0/24 lookup 100 proto 2\n",
    ),
    "table": (
        "route add default via 10.0.1.1 dev eth1 table 100 protocol 201",
        "default via 10.0.1.1 dev eth1 table 100",
    ),
    "overlay": ("address add 192.168.10.10/32 dev eth0 label eth0:1", "inet 192.168.10.10/32"),
}

#: What takes them away again, as far as they are still there.
WIPE = (
    "rule delete priority 100",
    "rule delete priority 101",
    "route flush table 100",
    "address delete 192.168.10.10/32 dev eth0",
)

#: (manager, event, interface): the objects that it costs.
COSTS: dict[tuple[str, str, str], set[str]] = {
    ("networkd", "renew_lease", "eth1"): set(),
    ("networkd", "reload", "eth1"): set(),
    ("networkd", "reconfigure", "eth0"): {"rule", "overlay"},
    ("networkd", "reconfigure", "eth1"): {"rule", "table"},
    ("networkd", "link_flap", "eth1"): {"table"},
    # It gives its leases back, and the last address of eth1 takes the table with it.
    ("networkd", "restart", "eth1"): {"table"},
    ("networkmanager", "renew_lease", "eth1"): set(),
    ("networkmanager", "reapply", "eth0"): {"overlay"},
    ("networkmanager", "reapply", "eth1"): set(),
    ("networkmanager", "modify", "eth0"): {"overlay"},
    ("networkmanager", "modify", "eth1"): {"table"},
    ("networkmanager", "connection_up", "eth0"): {"overlay"},
    ("networkmanager", "connection_up", "eth1"): {"table"},
    ("networkmanager", "link_flap", "eth1"): {"table"},
    ("networkmanager", "restart", "eth1"): set(),
    ("ifupdown", "renew_lease", "eth1"): set(),
    ("ifupdown", "ifdown_ifup", "eth0"): set(),
    ("ifupdown", "ifdown_ifup", "eth1"): {"table"},
    ("ifupdown-static", "ifdown_ifup", "eth0"): {"overlay"},
    ("wicked", "ifdown_ifup", "eth1"): {"table"},
    ("network-scripts", "ifdown_ifup", "eth0"): {"overlay"},
}

#: Appends who was called, and for what, in the words of whichever manager calls.
LOG = """#!/bin/sh
echo "${IFACE:-$1} ${STATE:-${PHASE:-${2:-${0##*/}}}}${ADDRFAM:+ $ADDRFAM}${4:+ $4}" >>/run/calls
"""

#: Every place from which a manager calls hooks.
HOOKS = {
    "networkd": [
        f"/etc/networkd-dispatcher/{state}.d"
        for state in ("off", "carrier", "degraded", "routable", "configuring", "configured", "initialized", "linger")
    ],
    "networkmanager": [f"/etc/NetworkManager/dispatcher.d{sub}" for sub in ("", "/pre-up.d", "/pre-down.d")],
    "ifupdown": [f"/etc/network/if-{phase}.d" for phase in ("pre-up", "up", "down", "post-down")],
    "wicked": ["/etc/sysconfig/network/scripts"],
}

#: (manager, event): the calls for eth1 that tell it from other events, in this order, others between them.
CALLS = {
    ("networkd", "reload"): [],
    ("networkd", "renew_lease"): [],
    ("networkd", "reconfigure"): ["initialized", "configuring", "routable", "configured"],
    ("networkd", "link_flap"): ["off", "carrier", "configuring", "routable", "configured"],
    ("networkd", "detach"): ["off", "linger"],
    ("networkmanager", "reapply"): ["reapply"],
    ("networkmanager", "modify"): ["reapply", "dhcp4-change"],
    ("networkmanager", "connection_up"): ["pre-down", "down", "dhcp4-change", "pre-up", "up"],
    ("networkmanager", "link_flap"): ["dhcp4-change"],
    ("networkmanager", "detach"): ["down"],
    ("ifupdown", "ifdown_ifup"): ["pre-down inet", "post-down inet6", "pre-up inet", "post-up inet", "post-up inet6"],
    ("ifupdown", "link_flap"): [],
    ("wicked", "ifdown_ifup"): ["eth1 pre-down", "eth1 post-down", "eth1 pre-up", "eth1 post-up"],
    ("network-scripts", "ifdown_ifup"): ["ifdown-pre-local", "ifdown-local", "ifup-local"],
}


@pytest.fixture(scope="module")
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    """A node with eth0 and eth1, both up, and a hook that notes its calls wherever there is a place for one."""
    try:
        with Vpc(bare=True) as vpc, made(request.param, vpc) as manager:
            for directory in HOOKS.get(request.param, []):
                manager.hook(directory, "50-log", LOG)
            if isinstance(manager, NetworkScripts):
                for name in ("ifup-local", "ifdown-pre-local", "ifdown-local"):
                    manager.hook(manager.hooks, name, LOG)
            if isinstance(manager, Wicked):
                phases = ("PRE_UP", "POST_UP", "PRE_DOWN", "POST_DOWN")
                manager.ifcfg("eth1", **{f"{phase}_SCRIPT": "compat:suse:50-log" for phase in phases})
            manager.attach("eth1")
            yield manager
    except Unavailable as why:
        pytest.skip(str(why))


def made(name: str, vpc: Vpc) -> Manager:
    if name == "ifupdown-static":
        return Ifupdown(vpc, static=True)
    return MANAGERS[name](vpc, renew_after=8)


def lost(manager: Manager) -> set[str]:
    """Which of the foreign objects are gone, once the manager has come to rest."""
    return missing(manager.settle())


def missing(snapshot: str) -> set[str]:
    return {name for name, (_, shown) in FOREIGN.items() if shown not in snapshot}


def cases(table: Mapping[Any, object]) -> list[tuple[object, ...]]:
    return [(*key, value) for key, value in table.items()]


@pytest.mark.parametrize(("manager", "event", "interface", "cost"), cases(COSTS), indirect=["manager"])
def test_each_manager_deletes_what_it_did_when_measured(
    manager: Manager, event: str, interface: str, cost: set[str]
) -> None:
    """Of a tagged rule, a rule tagged as the kernel's, a table through eth1 and an overlay on eth0."""
    manager.settle(quiet=0.3)
    manager.vpc.node.ip(*(line for line, _ in FOREIGN.values()))
    assert missing(manager.vpc.node.snapshot()) == set()
    try:
        getattr(manager, event)(interface)
        assert lost(manager) == cost
    finally:
        for line in WIPE:
            manager.vpc.node.run("ip", *line.split())


@pytest.mark.parametrize(("manager", "event", "calls"), cases(CALLS), indirect=["manager"])
def test_each_manager_calls_the_hooks_it_did_when_measured(manager: Manager, event: str, calls: list[str]) -> None:
    """An installer writes the hook into the manager's own directory, and each event calls it so."""
    manager.settle(quiet=0.3)
    manager.machine.write("/run/calls", "")
    getattr(manager, event)("eth1")
    try:
        wait_until(lambda: in_order(calls, noted(manager)), f"calls {calls} (seen: {noted(manager)})", patience=30)
        manager.settle()
        assert bool(noted(manager)) == bool(calls)
    finally:
        recover(manager, event)


def noted(manager: Manager) -> list[str]:
    """The calls for eth1 so far."""
    lines = manager.machine.text("/run/calls").splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith("eth1 ")]


def in_order(wanted: list[str], seen: list[str]) -> bool:
    left = iter(seen)
    return all(each in left for each in wanted)


def recover(manager: Manager, event: str) -> None:
    """Bring the interface back where an event leaves it away, or its manager does not restore it."""
    if event == "detach":
        manager.attach("eth1")
    elif event == "link_flap" and isinstance(manager, Ifupdown):
        manager.ifdown_ifup("eth1")


@pytest.mark.parametrize("manager", sorted(MANAGERS), indirect=True)
def test_an_interface_comes_up_with_what_its_eni_has(manager: Manager) -> None:
    """By DHCP and router advertisements: the VPC's addresses and routers, in both families."""
    assert manager.configured("eth1")
    assert manager.vpc.client.ask(manager.vpc.enis["eth0"].address)
    assert manager.vpc.client.ask(manager.vpc.enis["eth0"].address6)
