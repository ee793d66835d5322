"""The agent is installed on a node: packets find it by its hooks alone, and the stand-ins' events leave it in order.

What every event of the real managers does to it is in tests/agent.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lab.managers import MANAGERS, Manager, Wicked
from tests.lab.packages import Unavailable
from tests.lab.recipe import BOTH_FAMILIES, without
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.full]

TOP = Path(__file__).parents[2]
PROGRAM = "/usr/local/bin/ec2ident-agent"
LAUNCHER = f"""#!/bin/sh
PYTHONPATH='{TOP}:{TOP / "agent"}' exec '{sys.executable}' -m ec2ident_agent "$@"
"""

CONFIGURATION = without(BOTH_FAMILIES, "label")

STAND_INS = ("network-scripts", "wicked")

#: Of a link that flaps they hear nothing.
EVENTS = [(name, "ifdown_ifup", interface) for name in STAND_INS for interface in ("eth0", "eth1")]


class Node:
    """A node with a network manager and the agent installed, eth0 and eth1 up."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager

    def agent(self, *verb: str) -> int:
        return self.manager.run(PROGRAM, *verb).returncode

    def install(self) -> None:
        """Do what the installer does, and what it tells the administrator of a SUSE machine to do."""
        self.manager.machine.write(PROGRAM, LAUNCHER, 0o755)
        self.manager.machine.write("/etc/ec2ident/agent.toml", CONFIGURATION)
        self.manager.machine.read(PROGRAM, "install", "--program", PROGRAM)
        if isinstance(self.manager, Wicked):
            for name in ("eth0", "eth1"):
                script = f"compat:suse:ec2ident.{name}"
                self.manager.ifcfg(name, POST_UP_SCRIPT=script, POST_DOWN_SCRIPT=script)

    def files(self) -> str:
        """Every path that was changed in /etc, which is where an installation may write."""
        return self.manager.machine.read("find", "/run/changes/etc", "-printf", "%P %y %m\\n")


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    try:
        with Vpc(bare=True) as vpc, MANAGERS[request.param](vpc, renew_after=8) as manager:
            node = Node(manager)
            node.install()
            node.agent("apply")
            vpc.route("192.168.10.10", "eth0")
            yield node
    except Unavailable as why:
        pytest.skip(str(why))


def in_order(node: Node) -> str:
    """Once the manager has come to rest: what status says when something is not as it should be."""
    node.manager.settle()
    done = node.manager.run(PROGRAM, "status")
    return "" if done.returncode == 0 else f"exit {done.returncode}: {done.stdout}{done.stderr}"


@pytest.fixture
def whole(node: Node) -> Node:
    """With eth1 attached and everything in order, whatever an earlier test left."""
    if "eth1" not in node.manager.vpc.attached:
        node.manager.attach("eth1")
    node.manager.settle()
    node.agent("apply")
    return node


@pytest.mark.parametrize("node", sorted(MANAGERS), indirect=True)
def test_a_hot_attach_is_applied_by_the_hook(node: Node) -> None:
    """Apply is never called: the manager brings the interface up, and its hook does the rest."""
    manager = node.manager
    if "eth1" in manager.vpc.attached:
        manager.detach("eth1")
    eth1 = manager.attach("eth1")

    assert in_order(node) == ""
    assert manager.vpc.client.ask(eth1.address)
    assert manager.vpc.client.ask(eth1.address6)
    assert manager.vpc.client.ask("192.168.10.10")


@pytest.mark.parametrize(("node", "event", "interface"), EVENTS, indirect=["node"])
def test_after_each_event_the_node_is_in_order(whole: Node, event: str, interface: str) -> None:
    """What the manager deleted, its own hook has added again."""
    getattr(whole.manager, event)(interface)

    assert in_order(whole) == ""


@pytest.mark.parametrize("node", STAND_INS, indirect=True)
def test_a_detach_leaves_nothing_for_the_next_owner(whole: Node) -> None:
    """The kernel leaves the rules; the hook removes them."""
    whole.manager.detach("eth1")
    rest = whole.manager.settle()

    assert "lookup 100" not in rest
    assert "192.168.10.10" in rest


@pytest.mark.parametrize("node", STAND_INS, indirect=True)
def test_uninstall_and_revert_leave_what_was_there(whole: Node) -> None:
    """Files of /etc, rules, routes and addresses."""
    manager = whole.manager
    whole.agent("revert", "--all")
    manager.machine.read(PROGRAM, "uninstall")
    clean, files = manager.settle(), whole.files()

    whole.install()
    whole.agent("apply")
    assert manager.settle() != clean
    assert whole.agent("revert", "--all") == 0
    assert whole.agent("uninstall") == 0

    assert manager.settle() == clean
    assert whole.files() == files
    whole.install()
