"""What watch does at each look: against a kernel in memory and a clock that is a number."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ec2ident.value import replace
from ec2ident_agent.cli import Command
from ec2ident_agent.items import OURS, Address, Route, Rule, Seen
from ec2ident_agent.kernel.events import Deletion, Heard
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.kernel.protocol import Failure
from ec2ident_agent.node import Node as Agent
from ec2ident_agent.options import parse_command_line
from ec2ident_agent.profile import kernel_facts
from ec2ident_agent.watch.backoff import FlapDamper
from ec2ident_agent.watch.loop import ConfigFollower, program_name
from ec2ident_agent.watch.reconciler import Reconciler
from ec2ident_agent.watch.sd_notify import Supervisor
from tests.lab.recipe import NAMELESS as CONFIGURATION
from tests.lab.recipe import without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ec2ident_agent.items import Item, Observed, Step
    from ec2ident_agent.node import FactsOf
    from ec2ident_agent.watch.event import WatchEvent

RULE = Rule("10.0.1.0/24", 100, 100)
DEFAULT = Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")
OVERLAY = Address("eth0", "192.168.10.10/32", "eth0:1")
ALL = {RULE, DEFAULT, Route("10.0.1.0/24", "eth1", 100), OVERLAY}


class Node:
    """A node under watch, and time."""

    def __init__(self, directory: Path, configuration: str = CONFIGURATION, kernel: FakeKernel | None = None) -> None:
        self.now = 1000.0
        self.kernel = kernel or FakeKernel("eth0", "eth1")
        self.config = directory / "agent.toml"
        self.write(configuration)
        self.state = directory / "state"
        self.files = ("--config", str(self.config), "--state-dir", str(self.state))
        self.said: list[str] = []
        self.loud: list[str] = []
        self.events: list[WatchEvent] = []
        self.blamed: list[dict[Item, str]] = []
        self.known: tuple[str, str] | None = None
        node = self.agent(kernel_facts)
        self.follower = ConfigFollower(node.config_path, node.configuration)
        self.watch = Reconciler(node, self.follower, self.tell, self.blame, lambda: self.now)
        self.watch.look()

    def write(self, text: str) -> None:
        self.config.write_text(text)
        self.config.chmod(0o644)

    def run(self, *words: str) -> Command:
        names = ("--names-dir", str(self.config.parent / "names"))
        return Command(parse_command_line([*words, *self.files, *names]), kernel=self.kernel)

    def agent(self, facts: FactsOf | None = None) -> Agent:
        """The node as an object, as the watch and a hook have it."""
        names = str(self.config.parent / "names")
        return Agent(str(self.config), state_dir=str(self.state), names_dir=names, facts=facts, kernel=self.kernel)

    def tell(self, event: WatchEvent) -> None:
        self.events.append(event)
        self.said += [event.text] if event.text else []
        self.loud += [event.text] if event.loud else []

    def blame(self, lost: Mapping[Item, str], observed: Observed) -> dict[Item, tuple[str, str]]:
        self.blamed.append(dict(lost))
        return dict.fromkeys(lost, self.known) if self.known else {}

    def look(self, after: float = 1.0) -> None:
        self.now += after
        self.watch.look()

    def ours(self) -> set[Item]:
        return {seen.item for seen in self.kernel.seen if seen.protocol == OURS}

    def lose_ours(self, item: Item) -> None:
        self.kernel.seen = [seen for seen in self.kernel.seen if seen.item != item or seen.protocol != OURS]

    def lose(self, item: Item) -> None:
        self.kernel.seen = [seen for seen in self.kernel.seen if seen.item != item]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_first_look_adds_what_the_configuration_says(node: Node) -> None:
    """A service that starts on a node where nothing was applied yet."""
    assert ALL == node.ours()
    assert "4 items: in order" == node.watch.state


@pytest.mark.parametrize("item", sorted(ALL, key=str), ids=str)
def test_what_another_program_deletes_is_added_again(node: Node, item: Item) -> None:
    """And said as the command that does the same."""
    node.said.clear()
    node.lose(item)

    node.look()

    assert ALL == node.ours()
    assert [item.command("add")] == node.said


def test_with_nothing_lost_nothing_is_said_written_or_locked(node: Node) -> None:
    """The echo of our own repair is a look and no more."""
    (node.config.parent / "state" / "lock").unlink()
    node.said.clear()

    node.look()

    assert [] == node.said
    assert not (node.config.parent / "state" / "lock").exists()


def test_a_detached_interface_leaves_no_rule_and_comes_back(node: Node) -> None:
    """The kernel leaves the rule behind; the overlay on the other interface is not touched."""
    node.kernel.unplug("eth1")
    node.look()
    assert {OVERLAY} == node.ours()

    node.kernel.plug("eth1")
    node.look()
    assert ALL == node.ours()


def test_a_link_that_is_down_waits_and_is_not_a_fight(node: Node) -> None:
    """Its routes are added when it comes up."""
    node.kernel.link_down("eth1")
    for _ in range(20):
        node.look()
    assert {RULE, OVERLAY} == node.ours()

    node.kernel.link_up("eth1")
    node.look()
    assert ALL == node.ours()


@pytest.mark.parametrize("seen", [True, False], ids=["looked at", "only heard of"])
def test_a_link_that_flaps_is_not_a_fight(node: Node, seen: bool) -> None:
    """The kernel took the routes; resting would leave the rule without them. A rival there is one after all."""
    for _ in range(3 * FlapDamper.LIMIT):
        node.kernel.link_down("eth1")
        if seen:
            node.look(0.2)
        else:
            node.watch.heard(Heard(True, down=frozenset({"eth1", "veth7"})), str)
        node.kernel.link_up("eth1")
        node.look(0.2)
        assert ALL == node.ours()
    assert [] == node.loud

    assert FlapDamper.LIMIT == fight(node, DEFAULT, FlapDamper.LIMIT + 4)
    assert 1 == len(node.loud)


def test_what_a_command_holds_is_repaired_too(node: Node) -> None:
    """The cluster engine's overlay, which no configuration names."""
    assert 0 == node.run("overlay", "add", "192.168.10.11", "--device", "eth1").run()
    held = next(item for item in node.ours() if isinstance(item, Address) and item.device == "eth1")

    node.lose(held)
    node.look()

    assert held in node.ours()


# -- which owner may remove it


def test_what_revert_took_off_stays_off_until_the_next_apply(node: Node) -> None:
    """An administrator's word, and a hook's when the interface goes down, is not undone a moment later."""
    assert 0 == node.run("revert", "eth1").run()
    node.look()
    node.look(60)
    assert {OVERLAY} == node.ours()

    assert 0 == node.run("revert", "--all").run()
    node.look()
    assert set() == node.ours()

    assert 0 == node.run("apply").run()
    node.lose(RULE)
    node.look()
    assert ALL == node.ours()


def test_a_deleted_overlay_stays_deleted_until_it_is_added(node: Node) -> None:
    """The cluster engine moved it to another node: two that answer for it would be worse than none."""
    node.run("overlay", "del", "192.168.10.10").run()
    node.look()
    assert ALL - {OVERLAY} == node.ours()

    node.run("overlay", "add", "192.168.10.10").run()
    node.lose(OVERLAY)
    node.look()
    assert ALL == node.ours()


def test_another_device_of_that_name_was_not_reverted(node: Node) -> None:
    """A hook took the profile away as the interface went; no hook knows of the one that came."""
    node.run("revert", "eth1").run()
    node.kernel.unplug("eth1")
    node.kernel.plug("eth1")

    node.look()

    assert ALL == node.ours()


def test_what_was_reverted_while_its_link_was_down_comes_with_the_link(node: Node) -> None:
    """A hook that runs late; but an overlay that was deleted stays deleted, whatever becomes of its link."""
    node.kernel.link_down("eth1")
    node.kernel.link_down("eth0")
    node.run("revert", "eth1").run()
    node.run("overlay", "del", "192.168.10.10").run()
    node.kernel.link_up("eth1")
    node.kernel.link_up("eth0")

    node.look()

    assert ALL - {OVERLAY} == node.ours()


def test_an_apply_of_one_is_about_no_other(node: Node) -> None:
    """`apply eth1` does not bring back the overlay that was reverted."""
    node.run("revert", "--all").run()
    node.run("apply", "eth1").run()

    node.look()

    assert ALL - {OVERLAY} == node.ours()


def test_a_hook_brings_back_its_own_profile_and_no_more(node: Node) -> None:
    """A neighbour's renewed lease does not ask for what was reverted; nor may an overlay be on two nodes."""
    node.run("revert", "--all").run()

    for event, there in (("eth0", frozenset()), ("eth9", frozenset()), ("eth1", ALL - {OVERLAY})):
        node.agent().interface_up(event)
        assert there == node.ours()
        node.look()
        assert there == node.ours()
    node.run("apply").run()
    assert ALL == node.ours()


def test_a_suppression_file_that_is_damaged_suppresses_nothing(node: Node) -> None:
    """The configuration's word counts then."""
    node.run("revert", "eth1").run()
    (node.state / "suppressed").write_bytes(b"\xff\x00")

    node.look()

    assert ALL == node.ours()


def test_a_name_that_is_not_there_and_a_rename_are_said(node: Node) -> None:
    """In the state at once, and in the log after ten seconds: an interface may be attached at any time. The renamed
    interface is found again under its new name when the configuration names it so, or by an alternative name.
    """
    node.write(CONFIGURATION.replace("interface.eth1", "interface.eht1"))
    node.look(2)
    node.look(2)
    assert {OVERLAY} == node.ours()
    assert "1 item: eht1: its interface is not on this node" == node.watch.state
    for _ in range(3):
        node.look(10)
    assert 1 == sum("eht1: its interface is not on this node" in line for line in node.loud)

    node.write(CONFIGURATION)
    node.look(2)
    node.look(2)
    assert "4 items: in order" == node.watch.state
    renamed = [replace(link, name="ens6") if link.name == "eth1" else link for link in node.kernel.links]
    node.kernel.links = renamed
    node.kernel.flush_table(100)
    node.look()
    assert "1 item: eth1: its interface is not on this node" == node.watch.state
    node.kernel.links = [replace(link, alternatives=("eth1",)) if link.name == "ens6" else link for link in renamed]
    node.look()
    assert {RULE, replace(DEFAULT, device="ens6")} <= node.ours()


# -- one does not keep the others


def test_a_conflict_of_one_owner_stops_it_alone(node: Node) -> None:
    """Another program's route in eth1's table: it is said once, and the overlay is repaired all the same."""
    theirs = Seen(Route("0.0.0.0/0", "eth1", 100, "10.0.1.7"), 4)
    node.kernel.flush_table(100)
    node.kernel.add(theirs)
    node.lose(OVERLAY)
    node.said.clear()

    for _ in range(3):
        node.look()

    assert {RULE, OVERLAY} == node.ours()
    assert theirs in node.kernel.seen
    assert 1 == sum("table 100 holds a foreign route" in line for line in node.said)
    assert "foreign route" in node.watch.state

    node.kernel.seen.remove(theirs)
    node.look()
    assert ALL == node.ours()


class Stubborn(FakeKernel):
    """A kernel that refuses one item as long as it is told to."""

    refused: Item | None = None
    attempts = 0

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        bad = [step for step in steps if step.item == self.refused and step.verb == "add"]
        self.attempts += bool(bad)
        return super().do([step for step in steps if step not in bad]) + [
            Failure(step, 101, "Nexthop has invalid gateway") for step in bad
        ]


def test_what_the_kernel_refuses_is_tried_again_later_and_the_others_are_added(tmp_path: Path) -> None:
    """All of a profile or nothing of it; said once; and no storm of attempts, each of which would wake us again."""
    kernel = Stubborn("eth0", "eth1")
    kernel.refused = DEFAULT
    node = Node(tmp_path, kernel=kernel)
    for _ in range(60):
        node.look(0.1)

    assert {OVERLAY} == node.ours()
    assert 3 == kernel.attempts  # at once, after 1 s, after 2 s more
    assert 1 == sum(line.startswith("ip route add default") and ": " in line for line in node.said)  # the complaint
    assert 1 == sum(line.startswith("ip rule add") for line in node.said)

    kernel.refused = None
    node.look(8)
    assert ALL == node.ours()
    assert "4 items: in order" == node.watch.state


# -- fights


class Rival(FakeKernel):
    """A kernel on which another program deletes an item just after it was added, as long as it is told to."""

    deletes: Item | None = None

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        failures = super().do(steps)
        if self.deletes in {step.item for step in steps if step.verb == "add"}:
            self.seen = [seen for seen in self.seen if seen.item != self.deletes]
        return failures


@pytest.mark.parametrize("item", sorted(ALL, key=str), ids=str)
def test_what_is_deleted_before_it_is_read_back_is_said_and_added_later(tmp_path: Path, item: Item) -> None:
    """Another program is as quick as the repair: the reading back shows it, and the watch goes on."""
    kernel = Rival("eth0", "eth1")
    node = Node(tmp_path, kernel=kernel)
    kernel.deletes = item
    node.lose(item)

    node.look()

    assert any("reading back shows otherwise" in line for line in node.loud)
    assert {item} == ALL - node.ours()
    kernel.deletes = None
    for _ in range(10):
        node.look(5.0)
    assert ALL == node.ours()
    assert "4 items: in order" == node.watch.state


def fight(node: Node, item: Item, times: int, every: float = 0.2) -> int:
    """How often it was added again."""
    laid = 0
    for _ in range(times):
        node.lose(item)
        node.look(every)
        laid += item in node.ours()
    return laid


def test_a_rival_wins_loudly_and_over_one_item_alone(node: Node) -> None:
    """Named by what was seen, with the setting that stops it; everything else is repaired as before."""
    node.known = ("systemd-networkd", "ManageForeignRoutingPolicyRules=no in [Network] of FILE")
    node.watch.heard(Heard(True, (Deletion(Seen(RULE, OURS), 77),)), {77: "systemd-network"}.get)  # type: ignore[arg-type]

    assert FlapDamper.LIMIT + 2 == fight(node, RULE, 30)  # for 4 s; two rests have ended

    (line,) = node.loud
    assert (
        "deleted again 10 times within 60 s, so repairs wait for 1, then 2, 4 … 60 s:"
        " from 10.0.1.0/24 table 100 priority 100: by systemd-network (process 77)."
        " Prevent it: ManageForeignRoutingPolicyRules=no in [Network] of FILE"
    ) == line
    assert [{RULE: "systemd-network"}] == node.blamed
    assert "4 items: 1 of them deleted again and again, so the next repair waits" == node.watch.state
    node.lose(OVERLAY)
    node.kernel.flush_table(100)
    node.look()
    assert ALL - {RULE} == node.ours()


def test_after_a_rest_it_is_tried_again(node: Node) -> None:
    """The rival may be gone. The look comes by itself."""
    fight(node, RULE, 12)
    assert RULE not in node.ours()
    assert node.watch.debounce.due <= node.now + FlapDamper.FIRST
    node.look(FlapDamper.FIRST)

    assert ALL == node.ours()


@pytest.mark.parametrize("asked", [True, False])
def test_the_administrator_may_ask_for_another_try(node: Node, asked: bool) -> None:
    """SIGHUP; and without it the item stays away."""
    fight(node, RULE, 12)
    if asked:
        node.watch.anew()
        node.follower.anew()
    node.look(0.1)

    assert asked == (RULE in node.ours())


def test_an_unknown_rival_is_named_as_far_as_it_was_seen(node: Node) -> None:
    """A program of the administrator's own, or none at all."""
    fight(node, RULE, 12)
    assert node.loud[-1].endswith("by no program that is known for it; ip monitor shows when")

    node.watch.heard(Heard(True, (Deletion(Seen(OVERLAY, OURS), 5),)), lambda _: "cleanup.sh")
    fight(node, OVERLAY, 12)
    assert node.loud[-1].endswith(": by cleanup.sh (process 5)")


def test_who_is_known_for_it_is_named_beside_another_who_was_seen(node: Node) -> None:
    """wg-quick runs ip: both names help."""
    node.known = ("wg-quick", "Table = off")
    node.watch.heard(Heard(True, (Deletion(Seen(RULE, OURS), 5),)), lambda _: "ip")
    fight(node, RULE, 12)
    assert node.loud[-1].endswith(": by ip (process 5); wg-quick is known for it. Prevent it: Table = off")

    fight(node, OVERLAY, 12)
    assert node.loud[-1].endswith(": by wg-quick, most likely. Prevent it: Table = off")


def test_several_items_of_one_rival_are_one_line(node: Node) -> None:
    """A flush of the table takes them all, and the journal of the system is for people. The node is read once for all:
    that takes a hundredth of a second and more, and hooks wait meanwhile.
    """
    for _ in range(12):
        node.kernel.flush_table(100)
        node.look(0.2)

    assert 1 == len(node.loud)
    assert " and 1 more: by no program" in node.loud[0]
    assert [{item for item in ALL if isinstance(item, Route)}] == [set(lost) for lost in node.blamed]


def test_a_flush_that_is_over_is_one_rival_s(node: Node) -> None:
    """Its program is gone before its last deletion is read of: the number is the same, so the name is."""
    names = iter(["ip", "", ""])
    for item in (DEFAULT, Route("10.0.1.0/24", "eth1", 100)):
        node.watch.heard(Heard(True, (Deletion(Seen(item, OURS), 5),)), lambda _: next(names))
    node.watch.heard(Heard(True, (Deletion(Seen(RULE, OURS), 6),)), lambda _: next(names))
    for _ in range(12):
        node.kernel.flush_table(100)
        node.lose(RULE)
        node.look(0.2)

    assert ["by ip (process 5)", "by no program that is known for it; ip monitor shows when"] == sorted(
        line.rpartition(": ")[2] for line in node.loud
    )


def test_a_slow_rival_is_named_and_never_wins(node: Node) -> None:
    """Once a minute: each time it is repaired."""
    assert 60 == fight(node, RULE, 60, every=60)

    assert ["deleted again 10 times within 3600 s" in line for line in node.loud] == [True]


def test_a_rival_that_never_ends_is_one_loud_line_an_hour(node: Node) -> None:
    """For two hours: some 130 repairs, each for a moment, and no more lines than help."""
    repaired = fight(node, RULE, 7200, every=1)

    assert 120 <= repaired <= 140
    assert 2 == len(node.loud)


def test_an_item_of_a_profile_that_changed_is_another_one(node: Node) -> None:
    """What rests is forgotten when no owner wants it any more."""
    fight(node, RULE, 12)
    node.write(CONFIGURATION.replace("= 100\n", "= 100\npriority = 99\n"))
    node.look()
    node.look(2)

    assert {replace(RULE, priority=99), *(ALL - {RULE})} == node.ours()
    assert "4 items: in order" == node.watch.state


# -- the configuration


def test_a_configuration_that_changed_counts_when_it_has_come_to_rest(node: Node) -> None:
    """An editor that empties the file first takes nothing off."""
    node.write("")
    node.look(0.1)
    node.look(0.5)
    assert ALL == node.ours()
    node.write(CONFIGURATION.replace("192.168.10.10", "192.168.10.12"))
    node.look(0.2)
    assert ALL == node.ours()

    assert node.follower.edition.next() <= node.now + 1
    node.look(1)

    assert (ALL - {OVERLAY}) | {replace(OVERLAY, address="192.168.10.12/32")} == node.ours()


@pytest.mark.parametrize("broken", ["[interface.eth1", "[interface.eth1]\nsubmet = '10.0.1.0/24'\n", None])
def test_a_configuration_that_is_broken_is_said_and_the_last_good_one_kept(node: Node, broken: str | None) -> None:
    """Wrong, misspelt, or gone: nothing that works is removed, and what is lost is repaired."""
    if broken is None:
        node.config.unlink()
    else:
        node.write(broken)
    node.look(0.1)
    node.lose(RULE)
    node.look(2)
    node.look(2)

    assert ALL == node.ours()
    assert 1 == sum(line.endswith("the last configuration that was right stays in force") for line in node.loud)

    node.write("")
    node.look(0.1)
    node.look(2)
    assert set() == node.ours()
    assert "0 items: in order" == node.watch.state


def test_on_request_the_configuration_is_read_at_once(node: Node) -> None:
    """SIGHUP."""
    node.write("")
    node.follower.anew()
    node.look(0)

    assert set() == node.ours()


def test_a_fact_that_is_not_known_yet_keeps_what_is_there(tmp_path: Path) -> None:
    """The subnet is learned from the interface's address; when that goes, the profile stays."""
    node = Node(tmp_path, without(CONFIGURATION, "subnet", "router"))
    assert {OVERLAY} == node.ours()
    address = Seen(Address("eth1", "10.0.1.10/24"), 3)
    node.kernel.add(address)
    node.look()
    assert ALL == node.ours()

    node.lose(address.item)
    node.look()

    assert ALL == node.ours()
    assert "subnet unknown" in node.watch.state
    assert [] == node.loud  # an attach has such moments
    node.look(10)
    node.look(10)
    assert ["subnet unknown" in line for line in node.loud] == [True]


# -- what may go wrong


def test_a_look_that_fails_is_said_once_and_tried_again(node: Node) -> None:
    """Another command holds the lock, or the journal is damaged: nothing ends, and a second later is another look."""
    journal = node.state / "journal"
    good = journal.read_bytes()
    journal.write_bytes(good[:-3])
    node.lose(RULE)
    node.loud.clear()
    for _ in range(3):
        node.look(0.1)
    assert RULE not in node.ours()
    assert 1 == len(node.loud)
    assert node.watch.debounce.due < node.now + 5

    journal.write_bytes(good)
    node.look()
    assert ALL == node.ours()


def test_a_journal_that_was_lost_is_written_again(node: Node) -> None:
    """Another program emptied /run: what is there and configured is owned again, so that a revert finds it."""
    (node.state / "journal").unlink()
    node.look()
    node.said.clear()
    node.look()

    assert [] == node.said
    assert 0 == node.run("revert", "--all").run()
    assert set() == node.ours()


def test_memory_is_bounded_by_what_is_wished(node: Node) -> None:
    """However often and by whomever something is deleted."""
    for number in range(300):
        item = Rule(f"10.9.{number % 250}.0/24", 100, 100)
        node.watch.heard(
            Heard(
                True,
                (
                    Deletion(Seen(item, OURS), number),
                    Deletion(Seen(RULE, OURS), number),
                ),
            ),
            str,
        )
        node.lose(RULE)
        node.look(0.5)

    assert {RULE} >= set(node.watch.seen)
    assert all(len(known) <= len(ALL) for known in vars(node.watch.damper).values())


FOREIGN = Seen(Rule("10.0.1.0/24", 100, 100), 201), Seen(Address("eth1", "10.0.1.10/24"), 3)
THINGS = {
    "lose the rule": lambda node: node.lose_ours(RULE),
    "lose the overlay": lambda node: node.lose_ours(OVERLAY),
    "flush": lambda node: node.kernel.flush_table(100),
    "down": lambda node: node.kernel.link_down("eth1"),
    "up": lambda node: node.kernel.link_up("eth1"),
    "detach": lambda node: node.kernel.unplug("eth1"),
    "attach": lambda node: node.kernel.observe().link("eth1") or node.kernel.plug("eth1"),
    "revert": lambda node: node.run("revert", "eth1").run(),
    "apply": lambda node: node.run("apply").run(),
    "hold": lambda node: node.run("overlay", "add", "192.168.10.11", "--device", "eth0").run(),
    "let go": lambda node: node.run("overlay", "del", "192.168.10.11").run(),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(THINGS)), st.sampled_from((0.1, 0.7, 5.0, 100.0))), max_size=40))
@settings(max_examples=40, deadline=None)
def test_whatever_happens_it_ends_in_order(happened: list[tuple[str, float]]) -> None:
    """Any things in any order: when they are over and applied once more, all is there, and so is what is others'."""
    with TemporaryDirectory() as directory:
        node = Node(Path(directory))
        for seen in FOREIGN:
            node.kernel.add(seen)
        for thing, wait in happened:
            THINGS[thing](node)
            node.look(wait)
        THINGS["attach"](node)
        THINGS["up"](node)
        node.run("apply").run()
        node.look(FlapDamper.LONGEST)

        held = {item for item in node.ours() if isinstance(item, Address)} - {OVERLAY}
        names = [thing for thing, _ in happened if thing in ("hold", "let go")]
        assert ALL | held == node.ours()
        assert bool(held) == (names[-1:] == ["hold"])
        assert FOREIGN[0] in node.kernel.seen
        assert (FOREIGN[1] in node.kernel.seen) == ("detach" not in [thing for thing, _ in happened])
        node.said.clear()
        node.look()
        assert [] == node.said


# -- the supervisor


@pytest.mark.parametrize("abstract", [False, True])
def test_the_supervisor_is_told_each_thing_once(open_path: Path, abstract: bool) -> None:
    """sd_notify(3), with a socket in the file system and with an abstract one."""
    path = f"@ec2ident-{os.getpid()}" if abstract else str(open_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + path[1:] if abstract else path)
        heard.settimeout(10)
        supervisor = Supervisor({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())})
        supervisor.status("in order\nSTOPPING=1")
        supervisor.status("in order\nSTOPPING=1")
        supervisor.ready()
        supervisor.alive()
        supervisor.stopping()

        assert 15 == supervisor.interval
        told = [heard.recv(100) for _ in range(4)]
        assert [b"STATUS=in order STOPPING=1", b"READY=1", b"WATCHDOG=1", b"STOPPING=1"] == told


def test_a_supervisor_who_is_busy_is_waited_for_but_not_for_ever(open_path: Path) -> None:
    """The supervisor's queue is full; once it reads on, it gets the state. One that never does delays nothing."""
    path = str(open_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others,
    ):
        heard.bind(path)
        heard.settimeout(10)
        others.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                others.sendto(b"STATUS=I too", path)
        supervisor = Supervisor({"NOTIFY_SOCKET": path})
        supervisor.alive()  # comes back

        speaking = Thread(target=supervisor.ready)
        speaking.start()
        speaking.join(0.05)
        while heard.recv(100) != b"READY=1":
            pass
        speaking.join()


def test_without_a_supervisor_nothing_is_told() -> None:
    """In the foreground; and where the one who started us is gone, or watches another process."""
    for environ in ({}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}):
        supervisor = Supervisor(environ)
        supervisor.ready()
        assert 0 == supervisor.interval


def test_a_program_has_the_name_that_the_kernel_has_for_it() -> None:
    """The kernel itself, this program and one that is gone have none."""
    assert program_name(os.getppid())
    assert ["", "", ""] == [program_name(number) for number in (0, os.getpid(), 1 << 30)]
