"""The agent under real network managers: after each event the desired state is there again within two seconds.

By the installed hooks alone, by the watch alone, and by both. What no hook can see is in the table `NOT_BY_HOOK`, with
the reason. At the end of a run all of it is shown as a table; `--matrix FILE` writes it.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.managers import Ifupdown, Manager, Networkd, NetworkManager
from tests.lab.packages import Unavailable
from tests.lab.recipe import BOTH_FAMILIES as CONFIGURATION
from tests.lab.vpc import Vpc

from .matrix import CELL, VERSION, Away, cell, items_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    Record = Callable[[str, object], None]
    Nodes = Callable[[str, str], "Node"]

pytestmark = [pytest.mark.root, pytest.mark.full]

TOP = Path(__file__).parent.parent.parent

#: The real ones. (Stand-ins for those that Debian does not have are tested with packets, in the laboratory.)
MANAGERS: dict[str, type[Manager]] = {
    "ifupdown": Ifupdown,
    "networkd": Networkd,
    "networkmanager": NetworkManager,
}
#: What tells their versions, in the first line.
VERSIONS = {
    "ifupdown": ("ifup --version", "dhclient --version"),
    "networkd": ("networkctl --version",),
    "networkmanager": ("echo NetworkManager $(NetworkManager --version)",),
}
PROGRAM = "/usr/local/bin/ec2ident-agent"
#: What the hooks' calls say, and what the watch says.
HOOKED, WATCHED = "/run/hooked.log", "/run/watch.log"

HOOKS, WATCH, BOTH = "hooks alone", "watch alone", "both"
KEEPERS = (HOOKS, WATCH, BOTH)

ITEMS = items_of(CONFIGURATION)

#: What the configuration adds for eth1, and for eth0, as a snapshot shows it.
PROFILE = (
    "from 10.0.1.0/24 lookup ",
    "from 2001:db8:ec2:1::/64 lookup ",
    "default via 10.0.1.1 dev eth1 table ",
    "default via fe80:ec2::1 dev eth1 table ",
)
OVERLAY = "inet 192.168.10.10/32"

#: Seconds from the moment at which the manager is done; what a busy machine is forgiven; when a test gives up.
SOON, TOLERANCE, PATIENCE = 2.0, 5.0, 30.0

#: (manager, event): why no hook is called for what the kernel does.
NOT_BY_HOOK = {
    ("ifupdown", "link_flap"): "ifupdown does not follow links; watch does",
}

#: All that happens to a node, in this order.
EVENTS = [
    (name, keeper, event, interface)
    for name, made in MANAGERS.items()
    for keeper in KEEPERS
    for event in ("attach", "attach eth2", *made.events, "detach")
    for interface in ("eth0", "eth1")
    if keeper != HOOKS or (name, event) not in NOT_BY_HOOK
    if interface == "eth1" or event in made.events
]


class Node:
    """A node with a network manager, and what keeps it: installed hooks, a watch that runs, or both."""

    def __init__(self, manager: Manager, keeper: str) -> None:
        self.manager, self.keeper = manager, keeper
        self.watch: subprocess.Popen[str] | None = None
        self.attached = ""

    def versions(self, name: str) -> str:
        """The first line that each program says of itself."""
        said = [self.manager.run("sh", "-c", f"{line} 2>&1").stdout for line in VERSIONS[name]]
        return ", ".join(text.splitlines()[0].strip() for text in said)

    def set_up(self) -> None:
        """The hooks were installed before eth1 is attached; apply is never typed."""
        program = (
            "#!/bin/sh\n"
            f'[ "$1" != hook ] || exec 2>>{HOOKED}\n'
            f'PYTHONPATH="{TOP}:{TOP}/agent" exec "{sys.executable}" -m ec2ident_agent "$@"\n'
        )
        self.manager.machine.write(PROGRAM, program, 0o755)
        if self.keeper != WATCH:
            self.agent("install", "--program", PROGRAM)
        self.manager.machine.write("/etc/ec2ident/agent.toml", CONFIGURATION)
        if self.keeper != HOOKS:
            self.watch = self.manager.machine.start(PROGRAM, "watch", log="watch")
            wait_until(lambda: "192.168.10.10" in self.manager.machine.text(WATCHED), "the watch has begun")

    def agent(self, *words: str, code: int = 0) -> str:
        done = self.manager.run(PROGRAM, *words)
        assert code == done.returncode, done.stderr
        return done.stdout

    def work_done(self) -> dict[str, int]:
        """How many items were added, and by which program."""
        logs = {"hook": HOOKED, "watch": WATCHED}
        found = {}
        for who, path in logs.items():
            lines = self.manager.machine.text(path).splitlines()
            found[who] = sum(line.startswith("[#]") and " add " in line for line in lines)
        return found

    def whole(self) -> bool:
        snapshot = self.manager.vpc.node.snapshot()
        return all(line in snapshot for line in (*PROFILE, OVERLAY))

    def left(self) -> list[str]:
        """What is there of eth1's profile, which goes with it; the overlay is eth0's."""
        snapshot = self.manager.vpc.node.snapshot()
        return [line for line in PROFILE if line in snapshot]

    def measure(self, event: Callable[[], object]) -> str:
        """Let something happen, and wait until all is there again, and stays; who mended it and for how long it lacked.

        Raises LabError when it takes much too long, and AssertionError when it takes too long.
        """
        work = self.work_done()
        with Away(self.manager.vpc.node, ITEMS) as away:
            event()
            done = time.monotonic()
            wait_until(lambda: not away.lacking(done), f"{away.lacking()} is there again", PATIENCE)
            self.manager.settle()
            settled = time.monotonic()
            wait_until(lambda: not away.lacking(settled), f"{away.lacking()} stays", PATIENCE)
        assert 0 == self.manager.run(PROGRAM, "status").returncode
        by = [who for who, count in self.work_done().items() if count > work[who]]
        assert away.back() - done <= SOON * TOLERANCE, f"by {by}, after {away.back() - done:.2f} s"
        return cell(by, away.total()) + (", late" if away.back() - done > SOON else "")

    def detach(self, name: str) -> tuple[float, str]:
        """Detach and attach again: after how long nothing of its profile was left, and how that came back."""
        self.manager.detach(name)
        begun = time.monotonic()
        try:
            wait_until(lambda: not self.left(), f"{self.left()} is gone", PATIENCE)
            took = time.monotonic() - begun
            assert OVERLAY in self.manager.vpc.node.snapshot()
        finally:
            again = self.measure(lambda: self.manager.attach(name))
        return took, again


@pytest.fixture(scope="module")
def node() -> Iterator[Nodes]:
    """Gives the node with this manager and this keeper, where eth1 was attached; one at a time."""
    with ExitStack() as stack:
        made: dict[tuple[str, str], Node] = {}

        def give(name: str, keeper: str) -> Node:
            if (name, keeper) not in made:
                made.clear()
                stack.close()
                try:
                    vpc = stack.enter_context(Vpc(bare=True))
                    manager = stack.enter_context(MANAGERS[name](vpc, renew_after=4))
                except Unavailable as why:
                    pytest.skip(str(why))
                node = Node(manager, keeper)
                node.set_up()
                node.attached = node.measure(lambda: manager.attach("eth1"))
                made[name, keeper] = node
            return made[name, keeper]

        yield give


@pytest.mark.parametrize(("name", "keeper", "event", "interface"), EVENTS)
def test_after_each_event_the_desired_state_is_there_again(
    node: Nodes, name: str, keeper: str, event: str, interface: str, record_property: Record
) -> None:
    """Whatever the manager deleted on the way; of an interface that goes no rule is left, and it comes back.

    An attached one gets its profile from the hooks or from the watch; apply is never typed. eth2 is an ENI that the
    configuration does not name: networkd deletes eth1's rules when it is attached.
    """
    there = node(name, keeper)

    def tell(event: str, text: str) -> None:
        record_property(CELL, (name, event, keeper, interface, text))

    record_property(VERSION, there.versions(name))
    if event == "attach":
        tell(event, there.attached)
    elif event == "attach eth2":
        there.agent("apply")
        try:
            tell(event, there.measure(lambda: there.manager.attach("eth2")))
        finally:
            there.manager.detach("eth2")
            there.manager.settle()
    elif event == "detach":
        there.agent("apply")
        took, again = there.detach(interface)
        tell(event, f"{took:.1f} s")
        tell("attach again", again)
        assert took <= SOON * TOLERANCE
    else:
        there.agent("apply")
        tell(event, there.measure(lambda: getattr(there.manager, event)(interface)))
    assert there.whole()


@pytest.mark.parametrize("name", sorted(MANAGERS))
def test_after_revert_and_uninstall_nothing_of_the_agents_is_left(name: str) -> None:
    """No file, no rule, no route, no address; and nothing of others is missing. The watch runs until it is stopped."""
    try:
        with Vpc(bare=True) as vpc, MANAGERS[name](vpc) as manager:
            manager.attach("eth1")
            manager.machine.write(PROGRAM, "", 0o755)
            files, network = listing(manager), manager.settle()
            node = Node(manager, BOTH)
            node.set_up()
            node.agent("apply")
            assert node.whole()

            node.agent("revert", "--all")
            assert network == manager.settle()
            assert node.watch
            manager.machine.stop(node.watch)
            manager.machine.path("/etc/ec2ident/agent.toml").unlink()
            node.agent("uninstall")
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


def test_what_a_hook_removes_the_watch_does_not_add_again(node: Nodes) -> None:
    """A disconnected device keeps its link: hook and watch must be of one mind, until it is connected again."""
    there = node("networkmanager", BOTH)
    there.agent("apply")
    assert there.manager.run("nmcli", "device", "disconnect", "eth1").returncode == 0
    wait_until(lambda: not there.left(), f"{there.left()} is gone", PATIENCE)
    there.manager.settle()
    assert [] == there.left()

    assert there.manager.run("nmcli", "--wait", "20", "device", "connect", "eth1").returncode == 0
    wait_until(there.whole, "all is there again", PATIENCE)


def test_one_who_keeps_deleting_is_named_with_what_stops_him(node: Nodes) -> None:
    """networkd, told to begin anew again and again: the watch slows down, and the advice is the doctor's."""
    there = node("networkd", WATCH)
    there.agent("apply")
    there.manager.machine.start(
        "sh", "-c", "for i in $(seq 60); do networkctl reconfigure eth0; sleep 0.7; done", log="rival"
    )
    wait_until(lambda: "so repairs wait" in there.manager.machine.text(WATCHED), "the watch slows down", 60)

    line = next(line for line in there.manager.machine.text(WATCHED).splitlines() if "so repairs wait" in line)
    assert "systemd-network" in line
    assert "ManageForeignRoutingPolicyRules=no" in line or "KeepConfiguration=static" in line


def test_ifup_calls_the_program_once_for_both_families(node: Nodes) -> None:
    """The second family's call finds that this very ifup was here already."""
    there = node("ifupdown", HOOKS)
    machine = there.manager.machine
    counting = f'#!/bin/sh\necho "$*" >>/run/calls\nexec {PROGRAM}.real "$@"\n'
    real = machine.text(PROGRAM)
    machine.write(f"{PROGRAM}.real", real, 0o755)
    machine.write(PROGRAM, counting, 0o755)
    try:
        there.manager.ifdown_ifup("eth1")  # type: ignore[attr-defined]
        calls = machine.text("/run/calls").splitlines()
    finally:
        machine.write(PROGRAM, real, 0o755)

    assert ["if-down.d", "if-post-down.d", "if-up.d"] == [
        line.split()[-1] for line in calls if line.startswith("hook ifupdown eth1 ")
    ]
