"""What an event means, against the sequences of calls that were measured with the real managers."""

from __future__ import annotations

import sys

import pytest

from ec2ident_agent import cli, hook
from ec2ident_agent.doctor import threats
from ec2ident_agent.errors import JournalError
from ec2ident_agent.hook import ABSENT, APPLY, DOWN, EVENTS, GONE, NOTHING, REVERT, UP, Action, action, decide
from ec2ident_agent.install import layout
from ec2ident_agent.items import Address, Route, Rule
from ec2ident_agent.manager_names import known_name
from ec2ident_agent.state.journal import Journal
from ec2ident_agent.state.owned import COMMAND, CONFIG, Record, State, interface, overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from ec2ident_agent.state.owned import Owner

#: What becomes of the node: `added` has everything, `broken` has rules without routes, `clean` has nothing.
ADDED, BROKEN, CLEAN = "added", "broken", "clean"

#: Each: how it begins, then what happens in order (an event of the manager, or `=STATE`: what the kernel did meanwhile
#: to our items), with the state of the link at that moment, and how it must end.
SEQUENCES = {
    # ifupdown 0.8.41
    "ifupdown: ifup, both families": ("ifupdown", CLEAN, [("if-up.d", UP), ("if-up.d", UP)], ADDED),
    "ifupdown: ifdown": ("ifupdown", ADDED, [("if-down.d", UP), ("if-post-down.d", DOWN)], CLEAN),
    "ifupdown: ifdown, and watch repaired while the lease was released": (
        "ifupdown",
        ADDED,
        [("if-down.d", UP), ("=added", UP), ("=broken", DOWN), ("if-post-down.d", DOWN)],
        CLEAN,
    ),
    "ifupdown: ifdown of a device that is gone": ("ifupdown", BROKEN, [("if-down.d", ABSENT)], CLEAN),
    # NetworkManager 1.42.4
    "networkmanager: start, DHCP": (
        "networkmanager",
        CLEAN,
        [("dhcp4-change", UP), ("pre-up", UP), ("up", UP), ("dhcp6-change", UP)],
        ADDED,
    ),
    "networkmanager: reapply": ("networkmanager", BROKEN, [("reapply", UP)], ADDED),
    "networkmanager: modify takes the lease anew, and loses the routes after reapply": (
        "networkmanager",
        ADDED,
        [("reapply", UP), ("=broken", UP), ("dhcp4-change", UP)],
        ADDED,
    ),
    "networkmanager: connection up again": (
        "networkmanager",
        ADDED,
        [("pre-down", UP), ("down", UP), ("=broken", UP), ("dhcp4-change", UP), ("pre-up", UP), ("up", UP)],
        ADDED,
    ),
    "networkmanager: link down and up within the carrier wait": (
        "networkmanager",
        ADDED,
        [("=broken", DOWN), ("dhcp4-change", UP)],
        ADDED,
    ),
    "networkmanager: disconnect": ("networkmanager", ADDED, [("pre-down", UP), ("down", UP)], CLEAN),
    "networkmanager: restart": (
        "networkmanager",
        ADDED,
        [("dhcp4-change", UP), ("pre-up", UP), ("up", UP), ("dhcp6-change", UP)],
        ADDED,
    ),
    "networkmanager: detach": ("networkmanager", ADDED, [("=broken", ABSENT), ("down", ABSENT)], CLEAN),
    "networkmanager: a queued up for a device that is gone": (
        "networkmanager",
        ADDED,
        [("=broken", ABSENT), ("up", ABSENT), ("down", ABSENT)],
        CLEAN,
    ),
    # systemd-networkd 252 with networkd-dispatcher 2.2.3
    "networkd: reconfigure": (
        "networkd-dispatcher",
        ADDED,
        [
            ("=broken", UP),
            ("initialized", UP),
            ("degraded", UP),
            ("configuring", UP),
            ("routable", UP),
            ("configured", UP),
            ("configuring", UP),
            ("configured", UP),
        ],
        ADDED,
    ),
    "networkd: reconfigure that never leaves routable": (
        "networkd-dispatcher",
        ADDED,
        [("initialized", UP), ("=broken", UP), ("configuring", UP), ("configured", UP)],
        ADDED,
    ),
    "networkd: link down": ("networkd-dispatcher", ADDED, [("=broken", DOWN), ("off", DOWN)], CLEAN),
    "networkd: link down and up": (
        "networkd-dispatcher",
        ADDED,
        [
            ("=broken", DOWN),
            ("off", UP),
            ("no-carrier", UP),
            ("carrier", UP),
            ("configuring", UP),
            ("routable", UP),
            ("configured", UP),
        ],
        ADDED,
    ),
    "networkd: link down and up, with a watch that was quicker": (
        "networkd-dispatcher",
        ADDED,
        [("=broken", DOWN), ("=added", UP), ("off", UP)],
        ADDED,
    ),
    "networkd: detach": (
        "networkd-dispatcher",
        ADDED,
        [("=broken", ABSENT), ("off", ABSENT), ("linger", ABSENT)],
        CLEAN,
    ),
    "networkd: start-up triggers": ("networkd-dispatcher", CLEAN, [("configured", UP), ("routable", UP)], ADDED),
    "networkd: carrier lost": ("networkd-dispatcher", ADDED, [("no-carrier", UP), ("carrier", UP)], ADDED),
    "networkd: the late linger of an earlier device": ("networkd-dispatcher", ADDED, [("linger", UP)], ADDED),
    # From their sources
    "wicked: up, down": ("sysconfig", CLEAN, [("pre-up", DOWN), ("post-up", UP)], ADDED),
    "wicked: down": ("sysconfig", ADDED, [("pre-down", UP), ("=clean", DOWN), ("post-down", DOWN)], CLEAN),
    "wicked: only its post-down script is set": ("sysconfig", ADDED, [("=broken", DOWN), ("post-down", DOWN)], CLEAN),
    "sysconfig: up": ("sysconfig", CLEAN, [("if-up.d", UP)], ADDED),
    "sysconfig: down": ("sysconfig", ADDED, [("if-down.d", UP)], CLEAN),
    "network-scripts: up": ("network-scripts", CLEAN, [("up", UP)], ADDED),
    "network-scripts: down comes after the link": (
        "network-scripts",
        ADDED,
        [("=broken", DOWN), ("down", DOWN)],
        CLEAN,
    ),
    "udev: attach, and the link is not up yet": ("udev", CLEAN, [("add", DOWN)], CLEAN),
    "udev: attach": ("udev", CLEAN, [("add", UP)], ADDED),
    "udev: detach": ("udev", ADDED, [("=broken", ABSENT), ("remove", ABSENT)], CLEAN),
    "udev: shutdown stops the unit, the device is there": ("udev", ADDED, [("remove", UP)], ADDED),
    "dhclient: lease": ("dhclient", BROKEN, [("PREINIT", UP), ("BOUND", UP)], ADDED),
    "dhclient: renewal": ("dhclient", ADDED, [("RENEW", UP)], ADDED),
    "dhclient: expiry loses the routes": ("dhclient", ADDED, [("=broken", UP), ("EXPIRE", UP), ("PREINIT", UP)], ADDED),
    "dhclient: ifdown releases the lease after its hook": ("dhclient", CLEAN, [("RELEASE", UP), ("STOP", UP)], CLEAN),
}


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_after_each_sequence_of_events_the_state_is_right(name: str) -> None:
    """A link that is up has its profile; one that was taken down or away has no rule left that leads nowhere."""
    manager, state, happenings, end = SEQUENCES[name]

    for event, link in happenings:
        if event.startswith("="):
            state = event[1:]
        else:
            state = {APPLY: ADDED, REVERT: CLEAN, GONE: CLEAN, NOTHING: state}[decide(manager, event, link)]

    assert end == state


@pytest.mark.parametrize("manager", sorted(EVENTS))
def test_nothing_is_added_on_a_link_that_is_not_up(manager: str) -> None:
    """The kernel refuses a route through a link that is down, and a rule alone leads traffic astray."""
    assert [] == [
        (event, link) for event in EVENTS[manager] for link in (DOWN, ABSENT) if decide(manager, event, link) == APPLY
    ]


@pytest.mark.parametrize("manager", sorted(EVENTS))
@pytest.mark.parametrize("event", ["connectivity-change", "hostname", "dns-change", "vpn-up", "pre-up", "Up", ""])
def test_an_unknown_event_does_nothing(manager: str, event: str) -> None:
    """Managers invent new events; what we do not know is not a reason to act."""
    assert {NOTHING} == {decide(manager, event, link) for link in (UP, DOWN, ABSENT)}


# ---- the entry point


def sysfs(path: Path, **flags: str) -> str:
    for index, (name, value) in enumerate(flags.items(), start=7):
        (path / name).mkdir(parents=True)
        (path / name / "flags").write_text(f"{value}\n")
        (path / name / "ifindex").write_text(f"{index}\n")
    return str(path)


ETH1 = (
    Record(interface("eth1"), CONFIG, 7, Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")),
    Record(interface("eth1"), CONFIG, 0, Rule("10.0.1.0/24", 100, 100)),
)
SERVICE = (Record(interface("service"), CONFIG, 7, Route("0.0.0.0/0", "eth1", 101, "10.0.1.1")),)
OVERLAY = (Record(overlay("192.168.10.10/32"), CONFIG, 7, Address("eth1", "192.168.10.10/32", "eth1:1")),)
CLUSTER = (Record(overlay("192.168.10.11/32"), COMMAND, 7, Address("eth1", "192.168.10.11/32", "eth1:2")),)
BY_HAND = (Record(interface("eth1"), COMMAND, 7, Route("0.0.0.0/0", "eth1", 102, "10.0.1.1")),)
ETH10 = (Record(interface("eth10"), CONFIG, 8, Route("0.0.0.0/0", "eth10", 110, "10.0.2.1")),)


def test_an_interface_that_came_up_gets_the_whole_configuration(tmp_path: Path) -> None:
    """An overlay may be on this interface, and a route may have waited for it: apply, of no owner in particular."""
    found = action("networkmanager", "eth1", "up", str(tmp_path), sysfs=sysfs(tmp_path, eth1="0x1003"))

    assert Action(APPLY) == found


def test_flags_say_up_by_their_lowest_bit(tmp_path: Path) -> None:
    """0x1002 is an interface set down, 0x1003 the same one up; carrier is another bit and does not count."""
    path = sysfs(tmp_path, up="0x1003", down="0x1002", nocarrier="0x1", odd="what", empty="")

    assert [UP, DOWN, UP, ABSENT, ABSENT, ABSENT] == [
        hook.link_state(name, path) for name in ("up", "down", "nocarrier", "odd", "empty", "missing")
    ]


@pytest.mark.parametrize(
    ("state", "flags", "expected"),
    [
        (ETH1, {"eth1": "0x1003"}, (interface("eth1"),)),
        (ETH1, {}, (interface("eth1"),)),
        (SERVICE, {}, (interface("service"),)),
        (ETH10, {"eth1": "0x1003"}, ()),
        (OVERLAY, {"eth1": "0x1003"}, ()),
        (OVERLAY, {}, (overlay("192.168.10.10/32"),)),
        (CLUSTER, {}, ()),
        (BY_HAND, {"eth1": "0x1003"}, ()),
        ((*ETH1, *OVERLAY, *CLUSTER, *ETH10), {}, (interface("eth1"), overlay("192.168.10.10/32"))),
        ((), {"eth1": "0x1003"}, ()),
    ],
    ids=[
        "its profile",
        "its profile, device gone",
        "a profile named by MAC, device gone",
        "eth10 is another interface",
        "an overlay stays on a link that is only down",
        "an overlay of a device that is gone",
        "a cluster's address is the cluster's",
        "what was applied by flags is held until reverted",
        "all together",
        "nothing is the agent's",
    ],
)
def test_a_down_removes_what_the_configuration_added_there(
    tmp_path: Path, state: tuple[Record, ...], flags: dict[str, str], expected: tuple[Owner, ...]
) -> None:
    """By the journal, which still knows the names of an interface that is gone."""
    (tmp_path / "state").mkdir()
    Journal(str(tmp_path / "state")).write(State(state))
    links = sysfs(tmp_path / "sys", **flags)

    found = action("networkmanager", "eth1", "down", str(tmp_path / "state"), sysfs=links)

    assert (Action(REVERT, expected) if expected else Action(NOTHING)) == found


def test_a_renamed_interface_is_known_by_its_number(tmp_path: Path) -> None:
    """The journal has the old name; the index stays the same through a rename."""
    (tmp_path / "state").mkdir()
    Journal(str(tmp_path / "state")).write(State(ETH1))
    links = sysfs(tmp_path / "sys", ens6="0x1003")

    found = action("sysconfig", "ens6", "pre-down", str(tmp_path / "state"), sysfs=links)

    assert Action(REVERT, (interface("eth1"),)) == found


def test_a_damaged_journal_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """What it said is still there; to go on in silence would forget it."""
    (tmp_path / "journal").write_text("garbage")

    with pytest.raises(JournalError, match="damaged"):
        action("udev", "eth1", "remove", str(tmp_path), sysfs=sysfs(tmp_path / "sys", eth2="0x1"))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ifupdown"],
        ["ifupdown", "eth1"],
        ["nobody", "eth1", "up"],
        ["ifupdown", "", "if-up.d"],
        ["ifupdown", "--all", "if-up.d"],
        ["ifupdown", "eth0:1", "if-up.d"],
        ["ifupdown", "../eth1", "if-up.d"],
        ["ifupdown", "a name", "if-up.d"],
        ["ifupdown", "sixteen-letters!", "if-up.d"],
        ["ifupdown", "eth1", "if-up.d", "more"],
    ],
)
def test_wrong_arguments_are_told_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line, and nothing run."""
    assert 2 == cli.hook(words)
    assert capsys.readouterr().err.startswith("usage: ec2ident-agent hook ")


@pytest.mark.parametrize("manager", ["NetworkManager", "NETWORKMANAGER", "network-manager"])
def test_a_hook_is_called_by_the_manager_s_own_name(
    manager: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For an interface that does not exist there is nothing to do, and no usage is printed."""
    assert 0 == cli.hook(["--state-dir", str(tmp_path), manager, "eth1", "down"], sysfs=str(tmp_path))
    assert "" == capsys.readouterr().err


def test_no_two_managers_have_the_same_name() -> None:
    """Else a spelling would stand for two of them."""
    for known in (hook.EVENTS, layout.ROWS, threats.THREATS):
        assert len(known) == len({known_name(each.upper(), known) for each in known})
        assert all(each == known_name(each, known) for each in known)


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("networkd", "systemd-networkd"),
        ("systemd-networkd.service", "systemd-networkd"),
        ("networkmanager", "NetworkManager"),
        ("kernel", "the kernel"),
        ("vpc-cni", "amazon-vpc-cni"),
        ("networkd-dispatcher", "networkd-dispatcher"),
    ],
)
def test_the_doctor_knows_a_program_by_each_of_its_names(word: str, known: str) -> None:
    """`doctor --fix networkd` is `doctor --fix systemd-networkd`."""
    assert known == known_name(word, ["systemd-networkd", "NetworkManager", "the kernel", "amazon-vpc-cni"])


def test_a_hook_that_hangs_ends_itself(tmp_path: Path) -> None:
    """A manager waits for its hooks, some of them for ever; SIGALRM without a handler is the end of the process."""
    import subprocess

    code = "import time; from ec2ident_agent.hook import TimeLimit\nwith TimeLimit(1):\n    time.sleep(60)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, timeout=30, capture_output=True
    )

    assert -14 == done.returncode
