"""Taking over what a script or another program made: what is equal, what is not, and the way from one to the other."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node, adoption, interface
from ec2ident_agent.adoption import readable
from ec2ident_agent.config import parse
from ec2ident_agent.items import OURS, Address, Route, Rule, Seen, Step
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.show import rows
from ec2ident_agent.state.owned import ADOPTING
from tests.lab.recipe import CONFIGURATION, without

from .test_engine import Refusing

BOOT, STATIC, DHCP = 3, 4, 16
SUBNET, OUT = Route("10.0.1.0/24", "eth1", 100), Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")
RULE, OVERLAY = Rule("10.0.1.0/24", 100, 100), Address("eth0", "192.168.10.10/32", "eth0:1")
RECIPE = (Seen(SUBNET, BOOT), Seen(OUT, BOOT), Seen(RULE, 0), Seen(OVERLAY))


@pytest.fixture
def kernel() -> Refusing:
    """eth0 and eth1 with their addresses."""
    made = Refusing("eth0", "eth1")
    for number in (0, 1):
        made.add(Seen(Address(f"eth{number}", f"10.0.{number}.10/24"), DHCP))
    return made


@pytest.fixture
def node(kernel: Refusing, tmp_path: Path) -> Node:
    config = parse("agent.toml", without(CONFIGURATION, "table_name").encode())
    return Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)


def made(kernel: FakeKernel, *objects: Seen) -> None:
    for each in objects:
        kernel.add(each)


def ours(kernel: FakeKernel) -> set[object]:
    return {seen.item for seen in kernel.seen if seen.protocol == OURS}


def test_what_equals_is_taken_over_in_place(kernel: Refusing, node: Node) -> None:
    """Routes and the address are replaced where they stand; the rule is added before the other one is deleted."""
    made(kernel, *RECIPE)
    assert all("ec2ident-agent adopt takes it over" in each.why for each in node.status().refusals)

    report = node.adopt()

    assert {SUBNET, OUT, RULE, OVERLAY} == ours(kernel)
    replaced = [(step.item, step.protocol, step.before) for step in kernel.done if step.verb == "replace"]
    assert [(SUBNET, OURS, BOOT), (OUT, OURS, BOOT), (OVERLAY, OURS, None)] == replaced
    assert [Step("add", RULE), Step("del", RULE, 0)] == [step for step in kernel.done if step.item == RULE]
    assert ((), 4, True) == (report.near_misses, len(report.adopted), node.status().in_order)


def test_a_dry_run_changes_nothing(kernel: Refusing, node: Node) -> None:
    """It says what it would take over, with the object that is there."""
    made(kernel, *RECIPE)
    before = list(kernel.seen)

    report = node.adopt(dry_run=True)

    assert before == kernel.seen
    assert {*RECIPE} == {seen for each in report.adopted for seen in each.theirs}
    assert "adopting" in {state for state, _, _ in rows(report)}
    assert "ip rule del from 10.0.1.0/24 table 100 priority 100 protocol 0" in map(str, report.steps)
    assert "ip route replace default via 10.0.1.1 dev eth1 table 100 proto 236" in map(str, report.steps)
    assert not node.journal.read().records


def test_what_is_missing_is_added(kernel: Refusing, node: Node) -> None:
    """`adopt` is an apply: afterwards the node is as configured."""
    made(kernel, Seen(SUBNET, BOOT))
    node.adopt()
    assert node.status().in_order


def test_adopting_again_does_nothing(kernel: Refusing, node: Node) -> None:
    """And neither does it on a node that the agent alone has configured."""
    node.apply()
    kernel.done.clear()
    report = node.adopt()
    assert ([], (), ()) == (kernel.done, report.adopted, report.near_misses)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Seen(replace(RULE, priority=32765), 0), "priority is 32765, not 100"),
        (Seen(replace(RULE, table=101), 0), "table is 101, not 100"),
        (Seen(replace(RULE, source="10.0.1.10/32"), 0), "from is 10.0.1.10/32, not 10.0.1.0/24"),
        (Seen(replace(RULE, destination="10.0.0.0/16"), 0), "to is 10.0.0.0/16, not set in the configuration"),
        (Seen(RULE, 0, ("fwmark " + struct.pack("=I", 7).hex(),)), "fwmark is 0x7, not set in the configuration"),
        (Seen(RULE, 0, ("iif " + b"eth1\0".hex(),)), "iif is"),
        (Seen(replace(OUT, metric=101), DHCP), "metric is 101, not 0"),
        (Seen(replace(OUT, mtu=1500), BOOT), "mtu is 1500, not set in the configuration"),
        (Seen(replace(OUT, gateway="10.0.1.254"), BOOT), "gateway is 10.0.1.254, not 10.0.1.1"),
        (Seen(SUBNET, 2, ("src 0a00010a",)), "src is 10.0.1.10, not set in the configuration"),
        (Seen(replace(SUBNET, device="eth0"), BOOT), "device is eth0, not eth1"),
        (Seen(Route("10.9.0.0/16", "eth1", 100, "10.0.1.1"), BOOT), "no route of eth1 leads there"),
        (Seen(replace(OVERLAY, label="eth0:7")), "label is eth0:7, not eth0:1"),
        (Seen(replace(OVERLAY, address="192.168.10.10/24")), "address is 192.168.10.10/24, not 192.168.10.10/32"),
        (Seen(replace(OVERLAY, device="eth1", label="")), "device is eth1, not eth0; label is not set, not eth0:1"),
        (Seen(OVERLAY, None, ("leased",)), "leased is set, not set in the configuration"),
    ],
)
def test_what_differs_is_left_and_named_with_both_values(kernel: Refusing, node: Node, found: Seen, says: str) -> None:
    """One attribute is enough: the object stays what it is, and the report says what it is and what is wanted."""
    made(kernel, found)

    report = node.adopt()

    assert found in kernel.seen
    assert [says] == [each.reason[: len(says)] for each in report.near_misses]
    assert not report.adopted


@pytest.mark.parametrize(
    "stranger",
    [
        Seen(Rule("10.0.2.0/24", 200, 100), 0),
        Seen(Rule("", 52, 5270), BOOT),
        Seen(Route("0.0.0.0/0", "eth1", 200, "10.0.1.1"), BOOT),
        Seen(Address("eth0", "192.168.10.11/32", "eth0:2")),
    ],
)
def test_what_is_about_something_else_is_not_named(kernel: Refusing, node: Node, stranger: Seen) -> None:
    """Another subnet's rule at the same priority, tailscale's, another table, another address."""
    made(kernel, *RECIPE, stranger)
    assert () == node.adopt().near_misses
    assert stranger in kernel.seen


def test_an_address_without_a_label_gets_it_without_a_gap(kernel: Refusing, node: Node) -> None:
    """`ip address add X dev eth0:1` sets no label, and the kernel sets none later: lo has the address meanwhile."""
    made(kernel, Seen(replace(OVERLAY, label="")))
    loopback = Address("lo", OVERLAY.address)

    node.adopt()

    mine = [step for step in kernel.done if isinstance(step.item, Address)]
    assert [("add", loopback), ("del", replace(OVERLAY, label="")), ("add", OVERLAY), ("del", loopback)] == [
        (step.verb, step.item) for step in mine
    ]
    assert node.status().in_order


def test_an_address_that_another_device_has_too_needs_no_loopback(kernel: Refusing, node: Node) -> None:
    """keepalived's examples put the address on lo as well: it stays there."""
    there = Seen(Address("lo", OVERLAY.address))
    made(kernel, there, Seen(replace(OVERLAY, label="")))
    node.adopt()
    assert there in kernel.seen
    assert OVERLAY in ours(kernel)


def test_an_address_without_a_label_stays_where_lo_is_down(kernel: Refusing, node: Node) -> None:
    """Then it would be away for a moment: it is left, with the reason."""
    made(kernel, Seen(replace(OVERLAY, label="")))
    kernel.links = [replace(link, up=link.name != "lo") for link in kernel.links]
    report = node.adopt()
    assert ["lo is down, so the address would be away while its label is made"] == [
        each.reason for each in report.near_misses
    ]


def test_a_rule_of_the_agents_that_is_there_first_comes_last(kernel: Refusing, node: Node) -> None:
    """A removal with protocol 0, takes the first of the equal rules, never the one of the agent."""
    node.apply()
    made(kernel, Seen(RULE, 0))
    node.adopt()
    assert [Seen(RULE, OURS)] == [seen for seen in kernel.seen if seen.item == RULE]
    assert [("del", OURS), ("add", OURS), ("del", 0)] == [
        (step.verb, step.protocol) for step in kernel.done if step.item == RULE
    ][-3:]


def test_a_rule_is_not_taken_over_if_another_would_be_deleted_or_come_first(kernel: Refusing, node: Node) -> None:
    """A removal is a pattern, and a rule that is added comes behind those of its priority."""
    marked = Seen(RULE, 0, ("fwmark " + struct.pack("=I", 7).hex(),))
    made(kernel, marked, *RECIPE)
    assert any("the kernel would delete another rule in its place" in each.reason for each in node.adopt().near_misses)
    assert {marked, Seen(RULE, 0)} <= {*kernel.seen}


def test_a_rule_that_another_one_would_pass_is_left(kernel: Refusing, node: Node) -> None:
    """`from all lookup 77` stands behind it at the same priority."""
    passing = Seen(Rule("", 77, 100), BOOT)
    made(kernel, *RECIPE, passing)
    assert any("has the same priority, and would come first" in each.reason for each in node.adopt().near_misses)
    assert Seen(RULE, 0) in kernel.seen


def test_equal_rules_of_several_programs_are_all_taken_over(kernel: Refusing, node: Node) -> None:
    """A script that ran and a network manager: one rule is left, the agent's."""
    made(kernel, *RECIPE, Seen(RULE, STATIC))
    node.adopt()
    assert [Seen(RULE, OURS)] == [seen for seen in kernel.seen if seen.item == RULE]


def test_nothing_is_taken_over_of_an_owner_that_is_refused(kernel: Refusing, node: Node) -> None:
    """Another router in the table: eth1 stays as it is, and the overlay is taken over."""
    other = (Seen(replace(OUT, gateway="10.0.1.254"), BOOT),)
    made(kernel, *(each for each in RECIPE if each.item != OUT), *other)
    report = node.adopt()
    assert {OVERLAY} == ours(kernel)
    assert {interface("eth1")} == {each.owner for each in report.refusals}
    assert "gateway is 10.0.1.254, not 10.0.1.1" in {each.reason for each in report.near_misses}
    assert ADOPTING not in {record.origin for record in node.journal.read().records}


def test_a_step_that_fails_undoes_all_of_its_owner(kernel: Refusing, node: Node) -> None:
    """eth1's objects of the script are there again, with their protocols; the overlay is taken over."""
    made(kernel, *RECIPE)
    kernel.refuse = ("ip rule del from 10.0.1.0/24 table 100 priority 100 protocol 0",)
    report = node.adopt()
    assert ["eth1"] == [str(each.owner) for each in report.refusals]
    assert "protocol 0: Cannot allocate memory" in str(report.refusals[0])
    assert {each for each in RECIPE if each.item != OVERLAY} <= {*kernel.seen}
    assert {OVERLAY} == ours(kernel)
    node.revert(None)
    assert {each for each in RECIPE if each.item != OVERLAY} <= {*kernel.seen}


@pytest.mark.parametrize("verb", ["apply", "adopt", "interface_up"])
def test_the_next_apply_ends_what_was_begun(kernel: Refusing, node: Node, verb: str) -> None:
    """After a crash the journal names the intention: status shows it as drift, and an apply ends it."""
    made(kernel, *RECIPE)
    kernel.do = _crash_after(kernel, 2)  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        node.adopt()
    del kernel.do
    assert {Seen(SUBNET, OURS), Seen(OUT, OURS), Seen(RULE, 0), Seen(OVERLAY)} <= {*kernel.seen}
    status = node.status()
    assert (False, 2) == (status.in_order, len(status.adopted))

    node.interface_up("eth1") if verb == "interface_up" else getattr(node, verb)()

    assert {SUBNET, OUT, RULE, OVERLAY} == ours(kernel)
    assert [Seen(RULE, OURS)] == [seen for seen in kernel.seen if seen.item == RULE]
    assert node.status().in_order


def _crash_after(kernel: FakeKernel, number: int) -> Callable[..., object]:
    real = kernel.do

    def do(steps: list[Step]) -> object:
        real(steps[:number])
        raise KeyboardInterrupt

    return do


def test_a_revert_removes_ours_and_brings_nothing_back(kernel: Refusing, node: Node) -> None:
    """What was taken over is the agent's: it goes, as docs/agent.md says."""
    before = list(kernel.seen)
    made(kernel, *RECIPE)
    node.adopt()
    node.revert(None)
    assert before == kernel.seen


def test_where_the_kernel_keeps_no_protocol_the_journal_is_all(tmp_path: Path) -> None:
    """Rules and addresses of old kernels: not one step, and they are the agent's."""
    kernel = FakeKernel("eth0", "eth1", tags=False)
    made(kernel, *RECIPE)
    config = parse("agent.toml", without(CONFIGURATION, "table_name").encode())
    node = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    report = node.adopt()
    assert (4, ()) == (len(report.adopted), report.near_misses)
    assert {"replace"} == {step.verb for step in kernel.done}
    assert node.status().in_order
    node.revert(None)
    assert {SUBNET, OUT, RULE, OVERLAY}.isdisjoint(seen.item for seen in kernel.seen)


def test_a_label_is_not_made_where_the_kernel_keeps_no_protocol(tmp_path: Path) -> None:
    """The kernel could not show which program's the address is after a crash."""
    kernel = FakeKernel("eth0", "eth1", tags=False)
    made(kernel, Seen(replace(OVERLAY, label="")))
    config = parse("agent.toml", without(CONFIGURATION, "table_name").encode())
    node = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    assert ["this kernel cannot show which program's address it is while its label is made"] == [
        each.reason for each in node.adopt().near_misses
    ]


def test_a_held_profile_takes_over_as_well(kernel: Refusing, node: Node) -> None:
    """`apply eth1 --table …` added its own rule beside the script's: adopt ends with one."""
    given = replace(node.configuration(), overlays=())
    node.hold(given)
    node.config = replace(given, sections=())
    made(kernel, Seen(RULE, BOOT))
    node.adopt()
    assert [Seen(RULE, OURS)] == [seen for seen in kernel.seen if seen.item == RULE]
    assert node.status().in_order


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("src 0a00010a", "src 10.0.1.10"),
        ("fwmark " + struct.pack("=I", 7).hex(), "fwmark 0x7"),
        ("onlink", "onlink"),
        ("metrics 0800", "metrics 0800"),
    ],
)
def test_attributes_are_shown_as_people_write_them(word: str, text: str) -> None:
    """Where they are addresses and marks; others as they are."""
    assert text == readable(word)


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        (Rule("", 254, 99, "10.9.0.0/16"), Rule("10.0.1.0/24", 7, 50), True),
        (Rule("10.0.1.0/24", 100, 100), Rule("", 7, 50), True),
        (Rule("10.0.1.0/24", 100, 100), Rule("10.0.1.7/32", 7, 50), True),
        (Rule("10.0.1.7/32", 100, 100), Rule("10.0.1.0/24", 7, 50), True),
        (Rule("10.0.1.0/24", 100, 100), Rule("10.0.2.0/24", 7, 50), False),
        (Rule("fd00::/64", 100, 100), Rule("", 7, 50), False),
    ],
)
def test_rules_overlap_where_one_packet_may_match_both(wanted: Rule, there: Rule, expected: bool) -> None:
    """A rule without a source is for all packets of its family."""
    assert expected == adoption._overlap(wanted, Seen(there, 3))
