"""Items as text, and the difference between wanted and there."""

from __future__ import annotations

import shlex

import pytest

from ec2ident.value import replace
from ec2ident_agent.items import (
    OURS,
    Address,
    Conflict,
    Difference,
    Link,
    Observed,
    Route,
    Rule,
    Seen,
    Step,
    TableName,
    diff,
    owner_test,
    shadows,
    word,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Item

NAME = TableName(100, "MYHA")
SUBNET = Route("10.0.1.0/24", "eth1", 100)
OUT = Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")
RULE = Rule("10.0.1.0/24", 100, 100)
OVERLAY = Address("eth0", "192.168.10.10/32", "eth0:1")
#: A kernel that keeps tags shows them somewhere.
TAGGED = (Seen(Rule("", 255, 0), 2), Seen(Address("lo", "::1/128"), 1))


def observed(*seen: Seen, tagged: bool = True) -> Observed:
    links = tuple(Link(index, name) for index, name in enumerate(("lo", "eth0", "eth1"), 1))
    return Observed(links, (*(TAGGED if tagged else ()), *seen))


def test_a_link_is_found_by_its_name() -> None:
    """And one that is not there is None."""
    there = observed()

    assert Link(3, "eth1") == there.link("eth1")
    assert there.link("eth2") is None


def test_only_tables_whose_routes_were_not_all_read_are_unread() -> None:
    """None stands for all tables."""
    assert {101} == Observed(tables=frozenset({100})).unread([100, 101])
    assert set() == Observed().unread([100])


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (Difference(steps=(Step("add", SUBNET),)), True),
        (Difference(conflicts=(Conflict(SUBNET, Seen(SUBNET, 4)),)), True),
        (Difference(present=(SUBNET,), foreign=(Seen(OUT, 4),)), False),
    ],
)
def test_a_step_or_a_conflict_is_a_difference(difference: Difference, expected: bool) -> None:
    """Each of them alone; what is there as wanted is none."""
    assert expected == bool(difference)


def steps(desired: list[Item], there: Observed, *owned: Item) -> list[str]:
    ours = owner_test(there, owned)
    return [str(step) for step in diff(desired, there, ours).steps]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (RULE, "ip rule add from 10.0.1.0/24 table 100 priority 100"),
        (SUBNET, "ip route add 10.0.1.0/24 dev eth1 table 100 scope link"),
        (OUT, "ip route add default via 10.0.1.1 dev eth1 table 100"),
        (OVERLAY, "ip address add 192.168.10.10/32 dev eth0 label eth0:1"),
        (Address("eth0", "fd00::1/128"), "ip -6 address add fd00::1/128 dev eth0 nodad"),
        (Route("::/0", "eth1", 7, "fe80::1", 1024), "ip -6 route add default via fe80::1 dev eth1 table 7 metric 1024"),
        (Route("fd00::/64", "eth1", 7, metric=1024), "ip -6 route add fd00::/64 dev eth1 table 7 metric 1024"),
        (Rule("fd00::/64", 7, 8, "fd00::/56"), "ip -6 rule add from fd00::/64 to fd00::/56 table 7 priority 8"),
        (Rule("10.0.1.10/32", 254, 9, suppress=0),
         "ip rule add from 10.0.1.10/32 table 254 suppress_prefixlength 0 priority 9"),
        (Rule("", 254, 9), "ip rule add from all table 254 priority 9"),
        (NAME, "echo '100 MYHA' >>/etc/iproute2/rt_tables.d/ec2ident.conf"),
    ],
)  # fmt: skip
def test_a_step_is_the_command_that_one_could_have_typed(item: Item, text: str) -> None:
    """The dry run, the log and this table are one text."""
    assert text == str(Step("add", item))


@pytest.mark.parametrize("name", ["eth0", "a'b", "$(reboot)", "x;y", 'q"', "ä"])
def test_an_odd_name_is_one_word_for_the_shell(name: str) -> None:
    """The kernel lets nearly anything into a device's name, and the log is there to be pasted."""
    assert [name] == shlex.split(word(name))
    assert name in shlex.split(str(Step("add", Route("10.0.0.0/8", name, 5))))


def test_additions_come_in_order_of_rank() -> None:
    """A name, then addresses, then links, then what goes through them, and rules last: nothing leads into the void."""
    wanted: list[Item] = [RULE, OUT, OVERLAY, SUBNET, NAME]

    assert [str(Step("add", item)) for item in (NAME, OVERLAY, SUBNET, OUT, RULE)] == steps(wanted, observed())


def test_removals_come_after_additions_and_in_reverse() -> None:
    """First the new way is there, then the old one goes, rule first."""
    old = [Seen(Route("10.0.2.0/24", "eth1", 102), OURS), Seen(Rule("10.0.2.0/24", 102, 100), OURS)]

    assert [
        str(Step("add", RULE)),
        "ip rule del from 10.0.2.0/24 table 102 priority 100",
        "ip route del 10.0.2.0/24 dev eth1 table 102 scope link",
    ] == steps([RULE], observed(*old), *(seen.item for seen in old))


def test_what_is_there_with_the_agents_number_needs_no_step() -> None:
    """Apply twice changes nothing the second time."""
    wanted: list[Item] = [RULE, OUT, OVERLAY, SUBNET, NAME]

    assert [] == steps(wanted, observed(*(Seen(item, OURS) for item in wanted)))


def test_what_changed_makes_room_for_its_successor() -> None:
    """The kernel takes another gateway for the same route: the agent's goes directly before the new one comes."""
    old = Route("0.0.0.0/0", "eth1", 100, "10.0.1.254")
    there = observed(Seen(SUBNET, OURS), Seen(old, OURS))

    assert [
        "ip route del default via 10.0.1.254 dev eth1 table 100",
        "ip route add default via 10.0.1.1 dev eth1 table 100",
    ] == steps([SUBNET, OUT], there, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [(["10.0.0.0/16"], [""]), ([""], ["10.0.0.0/16", "10.9.0.0/16"]), (["10.8.0.0/16"], ["10.9.0.0/16"])],
)
def test_a_rule_goes_before_one_that_differs_in_its_destination(old: list[str], new: list[str]) -> None:
    """The kernel takes a rule without a destination for one that is there with any: File exists."""
    mine, wanted = ([Rule("10.0.1.10/32", 100, 100, to) for to in each] for each in (old, new))
    elsewhere = [Rule("10.0.1.10/32", 100, 200), Rule("10.0.1.10/32", 101, 100), Rule("10.0.1.11/32", 100, 100)]
    there = observed(*(Seen(rule, OURS) for rule in (*mine, *elsewhere)))

    assert list(map(str, [
        *(Step("del", rule) for rule in mine), *(Step("add", rule) for rule in wanted),
        *(Step("del", rule) for rule in reversed(elsewhere)),
    ])) == steps([*wanted], there, *mine, *elsewhere)  # fmt: skip


def test_an_object_with_the_agents_number_that_the_journal_does_not_name_is_another_agents() -> None:
    """An agent with another state directory added it. One that equals a desired item is as good as added."""
    theirs = [Seen(Rule("10.0.2.0/24", 102, 100), OURS), Seen(Route("10.0.2.0/24", "eth2", 102), OURS)]
    other = Seen(Route("0.0.0.0/0", "eth1", 100, "10.0.1.254"), OURS)
    there = observed(*theirs, other, Seen(SUBNET, OURS), Seen(RULE, OURS))

    found = diff([SUBNET, OUT, RULE], there, owner_test(there, ()))

    assert (SUBNET, RULE) == found.present
    assert () == (*found.steps, *found.leftover)
    assert [other] == [conflict.seen for conflict in found.conflicts]


@pytest.mark.parametrize(
    "foreign",
    [
        Seen(RULE, 3),
        Seen(RULE, 4),
        Seen(RULE, OURS, ("fwmark 07000000",)),
        Seen(Rule("10.0.1.0/25", 100, 100), 3),
        Seen(Rule("10.0.1.0/24", 100, 101), 3),
        Seen(Rule("10.0.1.0/24", 101, 100), 3),
        Seen(Rule("10.0.1.0/24", 100, 100, "10.0.0.0/8"), 3),
        Seen(Address("eth1", "192.168.10.10/32", "eth1:1"), 0),
        Seen(Address("eth0", "192.168.10.10/24"), None),
        Seen(Address("eth0", "192.168.10.11/32"), None),
        Seen(Route("10.0.1.0/24", "eth1", 254), 2),
        Seen(Route("10.0.1.0/24", "eth1", 101), 3),
    ],
)
def test_a_near_miss_is_foreign(foreign: Seen) -> None:
    """One field away from the agent's: neither taken for it, nor in the way, nor removed."""
    wanted: list[Item] = [NAME, OVERLAY, SUBNET, OUT, RULE]

    assert [str(Step("add", item)) for item in wanted] == steps(wanted, observed(foreign))
    assert [] == steps([], observed(foreign), *wanted)


@pytest.mark.parametrize(
    "foreign",
    [
        Seen(Route("0.0.0.0/0", "eth1", 100, "10.0.1.1"), 3),
        Seen(Route("0.0.0.0/0", "eth0", 100, "10.0.0.1"), 4),
        Seen(Route("10.0.1.0/24", "eth0", 100), 3),
        Seen(Route("0.0.0.0/0", "", 100), 3, ("blackhole",)),
        Seen(OVERLAY, None),
        Seen(TableName(200, "MYHA"), 0),
    ],
)
def test_a_foreign_item_in_the_agents_place_is_a_conflict(foreign: Seen) -> None:
    """Shown, and not overwritten."""
    there = observed(foreign)

    found = diff([NAME, OVERLAY, SUBNET, OUT, RULE], there, owner_test(there, ()))

    assert [foreign] == [conflict.seen for conflict in found.conflicts]
    assert str(foreign) in str(found.conflicts[0])
    assert "''" not in str(foreign)
    assert [] == [step for step in found.steps if step.verb == "del"]


@pytest.mark.parametrize(
    "foreign",
    [
        Seen(Route("10.50.0.0/16", "eth1", 100, "10.0.1.1"), 3),
        Seen(Route("10.50.0.0/16", "eth0", 100, "10.0.0.1"), 3),
        Seen(Route("10.50.0.0/16", "", 100), 3, ("blackhole",)),
        Seen(Route("0.0.0.0/0", "", 100, "", 4278198272), 3, ("unreachable",)),
        Seen(Route("0.0.0.0/0", "eth1", 100, "10.0.1.254"), 3, ("tos 16",)),
    ],
)
def test_a_foreign_route_beside_ours_is_shown_and_left(foreign: Seen) -> None:
    """Peerings, on-premises networks, a fallback behind the default route: amazon-ec2-net-utils#82."""
    there = observed(foreign)

    found = diff([SUBNET, OUT, RULE], there, owner_test(there, ()))

    assert ((), (foreign,), 3) == (found.conflicts, found.foreign, len(found.steps))


def test_a_route_that_comes_before_ours_is_in_the_way() -> None:
    """IPv6 takes the lower metric, whichever program added it."""
    out = Route("::/0", "eth1", 100, "fe80::1", 1024)
    for metric, conflicts in ((512, 1), (1024, 1), (2048, 0)):
        there = observed(Seen(Route("::/0", "eth1", 100, "fe80::2", metric), 3))
        assert len(diff([out], there, owner_test(there, ())).conflicts) == conflicts


def test_a_table_that_another_program_uses_is_not_filled() -> None:
    """tailscale leads every packet into table 52: a default route there would take the whole node's packets."""
    route, rule = Seen(Route("100.64.0.7/32", "tailscale0", 52), 3), Seen(Rule("", 52, 5270), 3)
    mine: list[Item] = [replace(SUBNET, table=52), replace(OUT, table=52)]
    there = observed(route, rule)

    (conflict,) = diff(mine, there, owner_test(there, ())).conflicts
    assert str(conflict) == (
        "table 52 holds a foreign route: 100.64.0.7/32 dev tailscale0 table 52 scope link proto 3, and another program"
        " uses it: from all table 52 priority 5270 proto 3; choose another table"
    )
    some = (Seen(Rule("", 52, 50, "10.60.0.0/16"), 3), Seen(Rule("", 52, 50), 3, ("fwmark 07000000",)))
    for harmless in (
        (route,),
        (rule,),
        (route, *some),
        (replace(route, item=replace(route.item, device="eth1")), rule),
    ):
        there = observed(*harmless)
        assert () == diff(mine, there, owner_test(there, ())).conflicts
    vpn = Seen(Rule("", 52, 50), 3, ("not", "fwmark 07000000"))
    assert 1 == len(diff(mine, observed(route, vpn), owner_test(there, ())).conflicts)
    # What the agent has had routes in is its own: a repair is not refused.
    there = observed(route, rule)
    assert () == diff(mine, there, owner_test(there, ()), tables=[52]).conflicts


def test_a_name_that_another_program_gave_is_as_good() -> None:
    """100 MYHA in rt_tables is what the agent wants, whichever program wrote it; and it is not removed."""
    there = observed(Seen(NAME, 0))

    assert [] == steps([NAME], there)
    assert [] == steps([], there, NAME)


def test_where_no_tag_is_kept_the_journal_says_which_owner_it_has() -> None:
    """A kernel before 4.17 drops a rule's protocol, one before 5.18 an address's: no error, it is just not there."""
    old = observed(Seen(RULE, None), Seen(OVERLAY, None), tagged=False)

    assert [] == steps([RULE, OVERLAY], old, RULE, OVERLAY)
    assert [str(Step("del", RULE)), str(Step("del", OVERLAY))] == steps([], old, RULE, OVERLAY)
    assert [] == steps([], old)


def test_where_tags_are_kept_an_untagged_one_is_not_the_agents() -> None:
    """Another program replaced the agent's with the same: the journal's word does not make it the agent's."""
    assert [] == steps([], observed(Seen(OVERLAY, None)), OVERLAY)


def test_a_missing_name_that_cannot_be_written_is_not_drift() -> None:
    """Routing does not need it: said, and left."""
    there = Observed((Link(1, "eth1"),), (), names=False)

    found = diff([NAME], there, owner_test(there, ()))

    assert (NAME,) == found.unnamed
    assert not found
    # One that is in a file already is there, whether or not the agent could write it.
    there = replace(there, seen=(Seen(NAME, 0),))
    assert ((NAME,), ()) == ((found := diff([NAME], there, owner_test(there, ()))).present, found.unnamed)


def test_a_removal_that_would_hit_another_rule_first_is_known() -> None:
    """The kernel removes the first match, and a selector that is not named matches anything."""
    marked = Seen(RULE, OURS, ("fwmark 07000000",))

    assert {RULE: marked} == shadows([RULE, OVERLAY], observed(marked, Seen(RULE, OURS)))
    assert {} == shadows([RULE], observed(Seen(RULE, OURS), marked))
    assert {} == shadows([RULE], observed(Seen(RULE, 3, ("fwmark 07000000",)), Seen(RULE, OURS)))


def test_undoing_is_the_opposite() -> None:
    """A rollback is the same steps, backwards."""
    assert Step("del", RULE) == Step("add", RULE).undo()
    assert Step("add", RULE) == Step("del", RULE).undo()
