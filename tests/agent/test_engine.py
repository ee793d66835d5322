"""Status, apply and revert on the kernel in memory: what only a strict fake can be made to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import engine
from ec2ident_agent.desired import Desired
from ec2ident_agent.engine import Look, Report
from ec2ident_agent.errors import ConfigError, KernelError
from ec2ident_agent.items import OURS, Address, Link, Route, Rule, Seen, Step, TableName
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.kernel.protocol import Failure
from ec2ident_agent.state.journal import Journal
from ec2ident_agent.state.owned import COMMAND, LEAVING, State, interface, overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.state.owned import Owner

SUBNET, OUT, RULE = (
    Route("10.0.1.0/24", "eth1", 100),
    Route("0.0.0.0/0", "eth1", 100, "10.0.1.1"),
    Rule("10.0.1.0/24", 100, 100),
)
ETH1 = Desired(interface("eth1"), (SUBNET, OUT, RULE))
OVERLAY = Desired(overlay("192.168.10.10/32"), (Address("eth0", "192.168.10.10/32", "eth0:1"),), COMMAND)


class Refusing(FakeKernel):
    """Refuses the steps that `when` picks, as a kernel under memory pressure would."""

    refuse: tuple[str, ...] = ()

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        failures = []
        for step in steps:
            refused = Failure(step, 12, "Cannot allocate memory")
            failures += [refused] if str(step) in self.refuse else super().do([step])
        return failures


@pytest.fixture
def kernel() -> Refusing:
    return Refusing("eth0", "eth1")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path))


def look(kernel: FakeKernel, journal: Journal) -> Look:
    return Look(kernel.observe(), journal.read())


def apply(kernel: FakeKernel, journal: Journal, *desired: Desired, everything: bool = True) -> list[str]:
    done: list[Step] = []
    engine.apply(desired, look(kernel, journal), kernel, journal, done.append, everything=everything)
    return [*map(str, done)]


def report_of(kernel: FakeKernel, journal: Journal, *desired: Desired) -> Report:
    return engine.apply(desired, look(kernel, journal), kernel, journal, lambda _: None)


def revert(kernel: FakeKernel, journal: Journal, *owners: Owner) -> None:
    engine.revert(owners or None, look(kernel, journal), kernel, journal, lambda _: None)


def test_what_is_logged_is_what_was_done(kernel: Refusing, journal: Journal) -> None:
    """Each line the command that one could have typed."""
    assert [str(Step("add", item)) for item in ETH1.items] == apply(kernel, journal, ETH1)
    assert [] == apply(kernel, journal, ETH1)


@pytest.mark.parametrize("failing", range(3))
def test_whichever_step_fails_all_are_undone(kernel: Refusing, journal: Journal, failing: int) -> None:
    """Rollback to what was there before this call; the first error in the kernel's words."""
    steps = [str(step) for step in engine.compare([ETH1], Look(kernel.observe(), State())).steps]
    before = set(kernel.seen)
    kernel.refuse = (steps[failing],)

    with pytest.raises(KernelError, match=rf"^{steps[failing]}: Cannot allocate memory$"):
        apply(kernel, journal, ETH1)

    assert before == set(kernel.seen)
    assert State() == journal.read()
    kernel.refuse = ()
    apply(kernel, journal, ETH1, OVERLAY)
    assert engine.compare([ETH1, OVERLAY], look(kernel, journal)).in_order


@pytest.mark.parametrize("failing", range(4))
def test_what_the_kernel_refuses_of_one_owner_stops_that_owner_alone(
    kernel: Refusing, journal: Journal, failing: int
) -> None:
    """Nothing of it is left, the others are applied without a moment without them, and the report has the reason."""
    steps = engine.compare([ETH1, OVERLAY], Look(kernel.observe(), State())).steps
    bad, good = (OVERLAY, ETH1) if steps[failing].item in OVERLAY.items else (ETH1, OVERLAY)
    before = set(kernel.seen)
    kernel.refuse = (str(steps[failing]),)
    done: list[Step] = []

    report = engine.apply([ETH1, OVERLAY], look(kernel, journal), kernel, journal, done.append)

    assert [f"{bad.owner}: {steps[failing]}: Cannot allocate memory"] == list(map(str, report.refusals))
    assert {*before, *(Seen(item, OURS) for item in good.items)} == set(kernel.seen)
    assert not any(Step("del", item) in done for item in good.items)
    assert set(good.items) <= {record.item for record in journal.read().records}
    revert(kernel, journal)
    assert before == set(kernel.seen)


def test_what_the_kernel_refuses_in_one_family_leaves_the_other(kernel: Refusing, journal: Journal) -> None:
    """A router of IPv6 that is not on the link: IPv4 answers. The overlay's rule for that table is not added either."""
    six = (Route("fd00:1::/64", "eth1", 100, metric=1024), Route("::/0", "eth1", 100, "fe80::1", 1024))
    both = Desired(interface("eth1"), (*ETH1.items, *six, Rule("fd00:1::/64", 100, 100)))
    guest = Desired(overlay("fd00:5::1/128"), (Address("eth1", "fd00:5::1/128"), Rule("fd00:5::1/128", 100, 100)))
    kernel.refuse = (str(Step("add", six[1])),)

    report = report_of(kernel, journal, both, guest)

    assert {*ETH1.items} == {seen.item for seen in kernel.seen if seen.protocol == OURS}
    assert [interface("eth1"), guest.owner] == [each.owner for each in report.refusals]
    assert "since it shares a table" in str(report.refusals[1])
    assert [] == apply(kernel, journal, ETH1)


def test_what_is_undone_is_owned_as_before(kernel: Refusing, journal: Journal) -> None:
    """The kernel refuses a change of eth1, and the overlay is added: the old rule is there, and a revert finds it."""
    before = set(kernel.seen)
    apply(kernel, journal, ETH1)
    changed = Desired(ETH1.owner, (SUBNET, OUT, replace(RULE, priority=99)))
    kernel.refuse = (str(Step("add", changed.items[2])),)

    report_of(kernel, journal, changed, OVERLAY)

    assert {*ETH1.items, *OVERLAY.items} == {seen.item for seen in kernel.seen if seen.protocol == OURS}
    revert(kernel, journal)
    assert before == set(kernel.seen)


def test_what_could_not_be_undone_stays_in_the_journal(kernel: Refusing, journal: Journal) -> None:
    """And is named; the next revert tries again."""
    kernel.refuse = (str(Step("add", RULE)), str(Step("del", SUBNET)))

    with pytest.raises(KernelError, match=r"and could not undo: ip route del 10\.0\.1\.0/24"):
        apply(kernel, journal, ETH1)

    assert SUBNET in {record.item for record in journal.read().records}
    kernel.refuse = ()
    revert(kernel, journal)
    assert OURS not in {seen.protocol for seen in kernel.seen}


def test_what_stays_after_a_refused_step_of_another_owner_stays_in_the_journal(
    kernel: Refusing, journal: Journal
) -> None:
    """Only the refused owner's steps were undone: a crash before the next attempt must not orphan the other's."""
    kernel.refuse = (str(Step("add", RULE)),)

    with pytest.raises(KernelError) as failed:
        engine.attempt([ETH1, OVERLAY], look(kernel, journal), kernel, journal, lambda _: None)

    assert failed.value.clean
    assert set(OVERLAY.items) == ours(kernel)
    assert set(OVERLAY.items) <= {record.item for record in journal.read().records}


def test_after_a_crash_the_next_apply_goes_on(kernel: Refusing, journal: Journal) -> None:
    """What a command had asked for before is still the agent's, but no longer wanted: two routers would contradict."""
    old = Desired(interface("eth1"), (SUBNET, OUT, RULE), COMMAND)
    new = Desired(interface("eth1"), (SUBNET, Route("0.0.0.0/0", "eth1", 100, "10.0.1.254"), RULE), COMMAND)
    apply(kernel, journal, old, everything=False)

    class Crash(Exception):  # noqa: N818  not an error of the project
        pass

    class Crashing(FakeKernel):
        def do(self, steps: Sequence[Step]) -> list[Failure]:
            raise Crash

    crashing = Crashing("eth0", "eth1")
    crashing.seen = kernel.seen
    with pytest.raises(Crash):
        apply(crashing, journal, new, everything=False)

    apply(kernel, journal)
    assert set(new.items) == {seen.item for seen in kernel.seen if seen.protocol == OURS}
    assert [] == apply(kernel, journal)


class Killed(Exception):  # noqa: N818  not an error of the project: SIGKILL, as a test can have it
    """The process ends here."""


class Breaking(FakeKernel):
    """After some steps the process is killed, or the kernel's socket fails: its answers are lost."""

    after: int | None = None
    error: type[Exception] = Killed

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        failures = []
        for step in steps:
            if self.after == 0:
                raise self.error("netlink: no answer: Connection reset by peer")
            self.after = None if self.after is None else self.after - 1
            failures += super().do([step])
        return failures


@pytest.mark.parametrize("tags", [True, False], ids=["tags", "no tags"])
@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize("error", [Killed, KernelError], ids=["killed", "the socket fails"])
def test_between_two_states_the_journal_names_both(
    journal: Journal, tags: bool, after: int, error: type[Exception]
) -> None:
    """From one profile to another, broken off after any number of steps: revert then removes all of it.

    Where the kernel keeps no tags only the journal says what is the agent's, so it names the old rule and the new one.
    """
    kernel = Breaking("eth0", "eth1", tags=tags)
    before = set(kernel.seen)
    apply(kernel, journal, ETH1, OVERLAY)
    changed = Desired(ETH1.owner, (SUBNET, replace(OUT, gateway="10.0.1.254"), Rule("10.0.1.0/24", 100, 200)))
    steps = engine.compare([changed], look(kernel, journal)).steps
    kernel.after, kernel.error = after, error
    if after < len(steps):
        with pytest.raises(error):
            apply(kernel, journal, changed)
        assert {step.item for step in steps} <= {record.item for record in journal.read().records}
    else:
        apply(kernel, journal, changed)

    kernel.after = None
    revert(kernel, journal)

    assert (before, State()) == (set(kernel.seen), journal.read())


def test_a_socket_that_fails_during_the_rollback_leaves_nothing_unknown(journal: Journal) -> None:
    """A step is refused, and then the kernel answers no more: what was added stays in the journal and is reverted."""

    class Refusing(Breaking):
        def do(self, steps: Sequence[Step]) -> list[Failure]:
            if any(step.verb == "del" for step in steps) and self.after is not None:
                raise KernelError("netlink: no answer: Connection reset by peer")
            refused = [step for step in steps if step.item == RULE and self.after is not None]
            done = super().do([step for step in steps if step not in refused])
            return [*done, *(Failure(step, 12, "Cannot allocate memory") for step in refused)]

    kernel = Refusing("eth0", "eth1", tags=False)
    before = set(kernel.seen)
    kernel.after = 99

    with pytest.raises(KernelError, match="no answer") as failed:
        apply(kernel, journal, ETH1)

    assert not failed.value.clean
    assert {SUBNET, OUT, RULE} == {record.item for record in journal.read().records}
    kernel.after = None
    revert(kernel, journal)
    assert (before, State()) == (set(kernel.seen), journal.read())


def test_revert_goes_on_past_failures_and_names_all_of_them(kernel: Refusing, journal: Journal) -> None:
    """What is left is in the journal, and only that."""
    apply(kernel, journal, ETH1, OVERLAY)
    kernel.refuse = (str(Step("del", RULE)), str(Step("del", SUBNET)))

    with pytest.raises(KernelError, match=r"ip rule del .*; ip route del 10\.0\.1\.0/24"):
        revert(kernel, journal)

    assert {RULE, SUBNET} == {record.item for record in journal.read().records}
    assert {RULE, SUBNET} == {seen.item for seen in kernel.seen if seen.protocol == OURS}
    kernel.refuse = ()
    revert(kernel, journal)
    assert State() == journal.read()


def test_a_removal_that_fails_is_recorded_once_for_each_owner(kernel: Refusing, journal: Journal) -> None:
    """The address of an overlay that its interface no longer wants as well, and has not been able to remove."""
    apply(kernel, journal, OVERLAY)
    (wanted,) = journal.read().records
    leaving = replace(wanted, owner=interface("eth0"), origin=LEAVING)
    journal.write(State((wanted, leaving)))
    kernel.refuse = (str(Step("del", wanted.item)),)

    with pytest.raises(KernelError, match="Cannot allocate memory"):
        revert(kernel, journal, OVERLAY.owner)

    assert [wanted, leaving] == sorted(journal.read().records, key=lambda record: record.origin)
    kernel.refuse = ()
    revert(kernel, journal)
    assert State() == journal.read()


def test_revert_of_one_leaves_the_others(kernel: Refusing, journal: Journal) -> None:
    """An owner is an interface or an overlay."""
    apply(kernel, journal, ETH1, OVERLAY)

    revert(kernel, journal, ETH1.owner)

    assert set(OVERLAY.items) == {seen.item for seen in kernel.seen if seen.protocol == OURS}
    assert {OVERLAY.owner} == {record.owner for record in journal.read().records}


@pytest.mark.parametrize("shows", [True, False])
def test_a_table_s_name_is_removed_once(kernel: Refusing, journal: Journal, shows: bool) -> None:
    """Whether it shows, or a crash left half of its file."""
    name = TableName(100, "MYHA")
    apply(kernel, journal, ETH1)
    now = look(kernel, journal)
    seen = (*now.observed.seen, *((Seen(name, OURS),) if shows else ()))
    records = (*now.state.records, replace(now.state.records[0], item=name))
    steps = engine.removals(None, Look(replace(now.observed, seen=seen), State(records)))

    assert [Step("del", name)] == [step for step in steps if step.item == name]
    assert len(ETH1.items) + 1 == len(steps)


def test_an_owner_without_items_is_absent_and_named_once(kernel: Refusing, journal: Journal) -> None:
    """Its interface is not on this node, so there is nothing that the interface could be needed for."""
    report = report_of(kernel, journal, Desired(interface("eth7"), ()), ETH1)

    assert () == report.without_device
    assert (interface("eth7"),) == report.absent


def test_what_two_ask_for_goes_with_the_second(kernel: Refusing, journal: Journal) -> None:
    """A secondary private address that is a source of its interface, and an overlay too: its rule is both's."""
    rule = Rule("10.0.1.77/32", 100, 100)
    eth1 = Desired(interface("eth1"), (*ETH1.items, rule))
    address = Desired(overlay("10.0.1.77/32"), (Address("eth1", "10.0.1.77/32", "eth1:1"), rule))
    for first, second in ((eth1, address), (address, eth1)):
        apply(kernel, journal, eth1, address)
        revert(kernel, journal, first.owner)

        ours = {seen.item for seen in kernel.seen if seen.protocol == OURS}
        assert set(second.items) == ours == {record.item for record in journal.read().records}
        revert(kernel, journal, second.owner)
        assert OURS not in {seen.protocol for seen in kernel.seen}
        assert State() == journal.read()


def test_what_another_owner_has_too_stays_where_one_owner_is_applied(kernel: Refusing, journal: Journal) -> None:
    """The overlay no longer asks for the rule, and the interface, of which nothing is said, has it."""
    rule = Rule("10.0.1.77/32", 100, 100)
    address = Desired(overlay("10.0.1.77/32"), (Address("eth1", "10.0.1.77/32", "eth1:1"), rule))
    apply(kernel, journal, replace(ETH1, items=(*ETH1.items, rule)), address)

    apply(kernel, journal, replace(address, items=address.items[:1]), everything=False)

    assert rule in {seen.item for seen in kernel.seen}


def test_what_the_journal_does_not_name_is_unlisted(kernel: Refusing, journal: Journal) -> None:
    """The agent's number on an object that this journal does not name: another state directory, or a lost journal."""
    apply(kernel, journal, ETH1)
    assert () == engine.unlisted(look(kernel, journal))
    lost, foreign = Seen(Rule("10.0.9.0/24", 9, 9), OURS), Seen(Rule("10.0.8.0/24", 8, 8), 3)
    for each in (lost, foreign):
        kernel.add(each)

    assert (lost,) == engine.unlisted(look(kernel, journal))


def test_what_a_command_asked_for_is_held(kernel: Refusing, journal: Journal) -> None:
    """An apply of the configuration leaves it, repairs it, and forgets it only when it is reverted."""
    apply(kernel, journal, OVERLAY, everything=False)
    apply(kernel, journal, ETH1)
    kernel.seen = [seen for seen in kernel.seen if seen.item not in OVERLAY.items]

    assert OVERLAY.items == engine.compare([ETH1], look(kernel, journal)).difference.missing
    apply(kernel, journal, ETH1)
    assert set(OVERLAY.items) <= {seen.item for seen in kernel.seen}


def test_a_kernel_that_accepts_and_does_not_keep_is_found_out(kernel: Refusing, journal: Journal) -> None:
    """Another manager was quicker, or an attribute was dropped: read back, not believed."""

    class Forgetful(FakeKernel):
        def do(self, steps: Sequence[Step]) -> list[Failure]:
            failures = super().do(steps)
            self.seen = [seen for seen in self.seen if seen.item != RULE]
            return failures

    with pytest.raises(KernelError, match="reading back shows otherwise: still to do: ip rule add from"):
        apply(Forgetful("eth0", "eth1"), journal, ETH1)


@pytest.mark.parametrize("tags", [True, False])
def test_with_and_without_tags_it_is_the_same(journal: Journal, tags: bool) -> None:
    """A kernel that keeps no protocol of rules and addresses: the journal says what is the agent's."""
    kernel = FakeKernel("eth0", "eth1", tags=tags)
    kernel.add(Seen(Rule("10.0.1.0/24", 100, 99), 3))
    before = set(kernel.seen)
    apply(kernel, journal, ETH1, OVERLAY)

    assert [] == apply(kernel, journal, ETH1, OVERLAY)
    revert(kernel, journal)
    assert before == set(kernel.seen)


def test_a_rule_like_the_agents_on_a_kernel_without_tags_is_a_conflict(journal: Journal) -> None:
    """There the two would be one and the same."""
    kernel = FakeKernel("eth0", "eth1", tags=False)
    kernel.add(Seen(RULE, 3))

    (refusal,) = report_of(kernel, journal, ETH1).refusals

    assert (ETH1.owner, True) == (refusal.owner, "a foreign object is there" in refusal.why)
    assert {Seen(RULE, None)} <= set(kernel.seen)


STRANGER = Seen(Route("0.0.0.0/0", "eth0", 100, "10.0.0.1"), 3)


def ours(kernel: FakeKernel) -> set[object]:
    return {seen.item for seen in kernel.seen if seen.protocol == OURS}


def test_a_foreign_item_in_the_way_of_one_stops_no_other(kernel: Refusing, journal: Journal) -> None:
    """Of eth1 nothing is added, of the others everything; the error names who, what and why, the report too."""
    kernel.add(STRANGER)

    report = report_of(kernel, journal, ETH1, OVERLAY)

    assert set(OVERLAY.items) == ours(kernel)
    assert frozenset({ETH1.owner}) == report.refused
    assert [True] == [
        str(each).startswith("eth1: table 100 holds a foreign route: default") for each in report.refusals
    ]
    assert {OVERLAY.owner} == {record.owner for record in journal.read().records}
    report = engine.compare([ETH1, OVERLAY], look(kernel, journal))
    assert ((), False, frozenset({ETH1.owner})) == (report.steps, report.in_order, report.refused)
    kernel.seen.remove(STRANGER)
    apply(kernel, journal, ETH1, OVERLAY)
    assert {*ETH1.items, *OVERLAY.items} == ours(kernel)


def test_of_a_refused_owner_nothing_is_touched(kernel: Refusing, journal: Journal) -> None:
    """Neither added nor removed nor forgotten: what the owner had stays until it can have all that it should."""
    apply(kernel, journal, ETH1)
    kernel.seen.remove(Seen(OUT, OURS))
    kernel.add(STRANGER)
    changed = Desired(
        interface("eth1"), (SUBNET, Route("0.0.0.0/0", "eth1", 100, "10.0.1.254"), Rule("10.0.1.0/24", 100, 200))
    )

    assert {ETH1.owner} == report_of(kernel, journal, changed, OVERLAY).refused

    assert {*ETH1.items, *OVERLAY.items} - {OUT} == ours(kernel)
    assert set(ETH1.items) == {record.item for record in journal.read().records if record.owner == ETH1.owner}
    kernel.seen.remove(STRANGER)
    apply(kernel, journal, changed, OVERLAY)
    assert {*changed.items, *OVERLAY.items} == ours(kernel)


def test_beside_a_refused_owner_one_that_is_no_longer_wanted_is_forgotten(kernel: Refusing, journal: Journal) -> None:
    """Its items are removed, and the journal names none of them afterwards."""
    apply(kernel, journal, Desired(OVERLAY.owner, OVERLAY.items))
    kernel.add(STRANGER)

    assert {ETH1.owner} == report_of(kernel, journal, ETH1).refused

    assert (set(), State()) == (ours(kernel), journal.read())


def test_who_has_a_table_in_common_with_a_refused_one_is_refused_too(kernel: Refusing, journal: Journal) -> None:
    """An overlay's rule would lead into it; another interface's routes would take the place of what is not touched."""
    apply(kernel, journal, ETH1)
    kernel.add(Seen(Route("10.0.1.0/24", "eth0", 101), 3))
    moved = Desired(interface("eth1"), tuple(replace(item, table=101) for item in (SUBNET, OUT, RULE)))
    follower = Desired(interface("eth0"), (Route("10.0.0.0/24", "eth0", 100), Rule("10.0.0.0/24", 100, 100)))
    routed = Desired(OVERLAY.owner, (*OVERLAY.items, Rule("192.168.10.10/32", 101, 100)))
    other = Desired(overlay("192.168.10.11/32"), (Address("eth0", "192.168.10.11/32", "eth0:2"),))

    refusals = report_of(kernel, journal, moved, follower, routed, other).refusals

    assert ["eth1: table 101 holds", "eth0: not changed eith", "overlay 192.168.10.10/"] == [
        str(each)[:22].strip() for each in refusals
    ]
    assert {*ETH1.items, *other.items} == ours(kernel)


def test_a_failure_beside_a_refusal_undoes_the_rest(kernel: Refusing, journal: Journal) -> None:
    """The kernel's words come first: this call did nothing, and the refused would have been told at its end."""
    kernel.add(STRANGER)
    before = set(kernel.seen)
    kernel.refuse = (str(Step("add", OVERLAY.items[0])),)

    with pytest.raises(KernelError, match="Cannot allocate memory"):
        apply(kernel, journal, ETH1, OVERLAY)

    assert (before, State()) == (set(kernel.seen), journal.read())


def test_one_table_has_one_owner(kernel: Refusing, journal: Journal) -> None:
    """Two default routes in one table would overwrite each other, whichever owner asked for them."""
    other = Desired(interface("eth0"), (Route("10.0.0.0/24", "eth0", 100),), COMMAND)
    with pytest.raises(ConfigError, match="table 100 is claimed by eth1 and by eth0"):
        apply(kernel, journal, ETH1, other)

    apply(kernel, journal, ETH1)
    with pytest.raises(ConfigError, match="table 100 is claimed by eth1 and by eth0"):
        apply(kernel, journal, other, everything=False)


def test_a_link_that_is_down_waits(kernel: Refusing, journal: Journal) -> None:
    """The kernel takes no route through it: neither an error, nor in order; the rest is added."""
    kernel.link_down("eth1")

    report = report_of(kernel, journal, ETH1, OVERLAY)

    assert (ETH1.items, False) == (report.waiting, report.in_order)
    assert set(OVERLAY.items) == {seen.item for seen in kernel.seen if seen.protocol == OURS}
    kernel.link_up("eth1")
    apply(kernel, journal, ETH1, OVERLAY)
    assert engine.compare([ETH1, OVERLAY], look(kernel, journal)).in_order


def test_a_link_that_is_gone_leaves_nothing(kernel: Refusing, journal: Journal) -> None:
    """Its rule leaks, and is removed by the next apply; what a command asked for comes back with the link."""
    held = Desired(interface("eth1"), ETH1.items, COMMAND)
    apply(kernel, journal, held, everything=False)
    kernel.unplug("eth1")
    assert RULE in {seen.item for seen in kernel.seen}

    apply(kernel, journal)
    assert OURS not in {seen.protocol for seen in kernel.seen}
    kernel.plug("eth1")
    apply(kernel, journal)
    assert set(ETH1.items) == {seen.item for seen in kernel.seen if seen.protocol == OURS}


def test_a_link_is_known_by_its_index(kernel: Refusing, journal: Journal) -> None:
    """After a rename what hangs on it is still the agent's, under its new name, also where no tag says so."""
    kernel = Refusing("eth0", "eth1", tags=False)
    apply(kernel, journal, OVERLAY, everything=False)
    kernel.links = [Link(each.index, each.name.replace("eth0", "ens5"), each.mac) for each in kernel.links]
    kernel.seen = [
        Seen(Address("ens5", "192.168.10.10/32", "ens5:1"), None) if seen.item in OVERLAY.items else seen
        for seen in kernel.seen
    ]

    revert(kernel, journal)

    assert "ens5" not in {getattr(seen.item, "device", None) for seen in kernel.seen}
    assert State() == journal.read()


def test_the_journal_names_an_item_of_two_owners_for_each_and_no_item_twice(kernel: Refusing, journal: Journal) -> None:
    """The short way, where every item has an identity of its own, gives what looking at every record gives."""
    mine, other = Address("eth1", "10.0.1.11/32"), Address("eth0", "192.168.10.11/32", "eth0:2")
    shared = Desired(overlay("10.0.1.11/32"), (mine,))
    holding = replace(ETH1, items=(*ETH1.items, mine))
    for desired in ([ETH1], [ETH1, OVERLAY], [holding, shared], [holding, replace(shared, items=(mine, mine, other))]):
        report = engine.compare(desired, look(kernel, journal))
        found = engine._owning(report, look(kernel, journal), True, ())
        named = dict.fromkeys((each.owner, item) for each in desired for item in each.items)
        assert [*named] == [(record.owner, record.item) for record in found.records]
