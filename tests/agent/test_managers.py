"""Installed hooks under real network managers: after each event the desired state is there again.

By the hooks alone: nothing watches here. What no hook can see is in the table `NOT_BY_HOOK`, with the reason.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.managers import Ifupdown, Manager, Networkd, NetworkManager
from tests.lab.packages import Unavailable
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.full]

TOP = Path(__file__).parent.parent.parent

#: The real ones. (Stand-ins for those that Debian does not have are tested with packets, in the laboratory.)
MANAGERS: dict[str, type[Manager]] = {
    "ifupdown": Ifupdown,
    "networkd": Networkd,
    "networkmanager": NetworkManager,
}
PROGRAM = "/usr/local/bin/ec2ident-agent"

CONFIGURATION = """\
[interface.eth1]
subnet = ["10.0.1.0/24", "2001:db8:ec2:1::/64"]
router = ["10.0.1.1", "fe80:ec2::1"]
table = 100
table_name = "MYHA"

[[overlay]]
address = "192.168.10.10/32"
device = "eth0"
label = "eth0:1"
"""

#: What the configuration lays, as a snapshot shows it.
OURS = (
    "from 10.0.1.0/24 lookup ",
    "from 2001:db8:ec2:1::/64 lookup ",
    "default via 10.0.1.1 dev eth1 table ",
    "default via fe80:ec2::1 dev eth1 table ",
    "inet 192.168.10.10/32",
)

#: Seconds from the moment at which the manager is done.
SOON = 2.0

#: (manager, event): why no hook is called for what the kernel does.
NOT_BY_HOOK = {
    ("ifupdown", "link_flap"): "ifupdown does not follow links; watch does",
}

EVENTS = [
    (name, event, interface)
    for name, made in MANAGERS.items()
    for event in made.events
    for interface in ("eth0", "eth1")
    if (name, event) not in NOT_BY_HOOK
]


@pytest.fixture(scope="module")
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    """A node whose hooks were laid by install before eth1 was attached."""
    try:
        with Vpc(bare=True) as vpc, MANAGERS[request.param](vpc, renew_after=8) as manager:
            set_up(manager)
            manager.attach("eth1")
            yield manager
    except Unavailable as why:
        pytest.skip(str(why))


def set_up(manager: Manager) -> None:
    program = f'#!/bin/sh\nPYTHONPATH="{TOP}:{TOP}/agent" exec "{sys.executable}" -m ec2ident_agent "$@"\n'
    manager.machine.write(PROGRAM, program, 0o755)
    agent(manager, "install", "--program", PROGRAM)
    manager.machine.write("/etc/ec2ident/agent.toml", CONFIGURATION)


def agent(manager: Manager, *words: str, code: int = 0) -> str:
    done = manager.run(PROGRAM, *words)
    assert code == done.returncode, done.stderr
    return done.stdout


def lacking(manager: Manager) -> list[str]:
    snapshot = manager.vpc.node.snapshot()
    return [line for line in OURS if line not in snapshot]


def left(manager: Manager) -> list[str]:
    """What is there of eth1's profile, which goes with it; the overlay is eth0's."""
    snapshot = manager.vpc.node.snapshot()
    return [line for line in OURS[:-1] if line in snapshot]


def soon(manager: Manager, what: str) -> None:
    """All of ours is there within two seconds, and stays when the manager has come to rest."""
    wait_until(lambda: not lacking(manager), f"{what}: {lacking(manager)} is there again", SOON)
    manager.settle()
    assert [] == lacking(manager)
    assert 0 == manager.run(PROGRAM, "status").returncode


@pytest.mark.parametrize("manager", sorted(MANAGERS), indirect=True)
def test_an_attached_interface_gets_its_profile(manager: Manager) -> None:
    """The manager configures it and calls; nobody types apply."""
    soon(manager, "attach")


@pytest.mark.parametrize(("manager", "event", "interface"), EVENTS, indirect=["manager"])
def test_after_each_event_the_desired_state_is_there_again(manager: Manager, event: str, interface: str) -> None:
    """Whatever the manager deleted on the way."""
    agent(manager, "apply")
    assert [] == lacking(manager)

    getattr(manager, event)(interface)

    soon(manager, event)


@pytest.mark.parametrize("manager", sorted(MANAGERS), indirect=True)
def test_a_detached_interface_leaves_no_rule_behind(manager: Manager) -> None:
    """The kernel takes the routes with the device and leaves the rules; and what comes back is laid again."""
    agent(manager, "apply")
    manager.detach("eth1")
    try:
        wait_until(lambda: not left(manager), f"{left(manager)} is gone", SOON)
        assert [OURS[-1]] == [line for line in OURS if line not in lacking(manager)]
    finally:
        manager.attach("eth1")
    soon(manager, "attached again")


@pytest.mark.parametrize("name", sorted(MANAGERS))
def test_after_revert_and_uninstall_nothing_of_ours_is_left(name: str) -> None:
    """No file, no rule, no route, no address; and nothing of others is missing."""
    try:
        with Vpc(bare=True) as vpc, MANAGERS[name](vpc) as manager:
            manager.attach("eth1")
            manager.machine.write(PROGRAM, "", 0o755)
            files, network = listing(manager), manager.settle()
            set_up(manager)
            agent(manager, "apply")
            assert [] == lacking(manager)

            manager.machine.path("/etc/ec2ident/agent.toml").unlink()
            agent(manager, "revert", "--all")
            agent(manager, "uninstall")
            manager.machine.write(PROGRAM, "", 0o755)

            assert network == manager.settle()
            assert files == listing(manager)
    except Unavailable as why:
        pytest.skip(str(why))


def listing(manager: Manager) -> list[str]:
    """Every path with its kind, mode, owner and link, and the content of each file by its sum."""
    found = manager.machine.read("find", "/etc", "/usr/local", "-printf", "%p %y %m %u %l\n").splitlines()
    sums = manager.machine.read("sh", "-c", "find /etc /usr/local -type f -exec cksum {} +").splitlines()
    return sorted([*found, *sums])


@pytest.mark.parametrize("manager", ["ifupdown"], indirect=True)
def test_ifup_calls_the_program_once_for_both_families(manager: Manager) -> None:
    """The second family's call finds that this very ifup was here already."""
    counting = f'#!/bin/sh\necho "$*" >>/run/calls\nexec {PROGRAM}.real "$@"\n'
    real = manager.machine.text(PROGRAM)
    manager.machine.write(f"{PROGRAM}.real", real, 0o755)
    manager.machine.write(PROGRAM, counting, 0o755)
    try:
        manager.ifdown_ifup("eth1")  # type: ignore[attr-defined]
        calls = manager.machine.text("/run/calls").splitlines()
    finally:
        manager.machine.write(PROGRAM, real, 0o755)

    assert ["if-down.d", "if-post-down.d", "if-up.d"] == [
        line.split()[-1] for line in calls if line.startswith("hook ifupdown eth1 ")
    ]
