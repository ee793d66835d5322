"""What other tools for the same job were seen to do wrong, done here: rows of the table in docs/testing.md.

Where another file has the test already the table names that one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ec2ident_agent.items import Route, TableName
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.kernel.table_names import NamedKernel
from ec2ident_agent.profile import Facts, Section, profile_items, resolve

from .conftest import Agent, ip, plug, snapshot

TOP = Path(__file__).parents[2]

SPLIT = """\
[interface.eth1]
subnet = "10.0.1.0/24"
table = 100
scheme = "split"
vpc = "10.0.0.0/16"
source = {}
"""


def test_the_table_names_tests_that_are_there() -> None:
    """A failure without a test, or with one that was renamed, is a promise that is not kept."""
    page = (TOP / "docs" / "testing.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.partition("## What others do wrong")[2])

    assert len(named) > 20
    assert [] == [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^def {name}\(", (TOP / path).read_text(encoding="utf-8"), re.MULTILINE)
    ]


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_an_administrators_rules_survive_whatever_goes(agent: Agent) -> None:
    """A foreign source, a whole subnet, a mark: none of it makes a rule the agent's to clean up."""
    theirs = [
        "rule add from 10.0.1.0/24 table 77 priority 50",
        "rule add from 192.168.77.0/24 table 77 priority 51",
        "rule add from 172.16.0.0/12 fwmark 7 table 77 priority 52",
    ]
    for each in theirs:
        ip(each)
    before = ip("rule")
    agent("apply")

    ip("link del eth1")
    assert 0 == agent("apply")
    assert before == ip("rule")
    plug("eth1", 1)
    assert (0, 0) == (agent("apply"), agent("revert", "--all"))
    assert before == ip("rule")


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_a_delegated_prefix_is_a_source_as_long_as_it_is_there(agent: Agent) -> None:
    """With its own length, not as its first address; and its rules go with it."""
    agent.write(SPLIT.format('["10.0.1.10/32", "10.0.1.208/28"]'))
    assert 0 == agent("apply")
    assert 3 == ip("rule").count("from 10.0.1.208/28 ")

    agent.write(SPLIT.format('["10.0.1.10/32"]'))
    assert 0 == agent("apply")
    assert "10.0.1.208" not in ip("rule")
    assert 3 == ip("rule").count("from 10.0.1.10 ")


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_a_lock_file_that_was_left_behind_locks_no_process_out(agent: Agent) -> None:
    """The lock is the kernel's and not the file's, whichever process number stands in it."""
    agent.state.mkdir()
    for number in ("4194304", str(os.getpid())):
        (agent.state / "lock").write_text(f"{number}\n")

        assert (0, "") == (agent("apply", "--wait", "0"), agent.err.partition("[#]")[0])
        assert 0 == agent("revert", "--all", "--wait", "0")


@pytest.mark.root
@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("events", "back"),
    [
        (("address del 10.0.1.10/24 dev eth1",), ("address add 10.0.1.10/24 dev eth1",)),
        (
            ("address add 10.0.1.20/24 dev eth1", "address del 10.0.1.10/24 dev eth1"),
            ("address add 10.0.1.10/24 dev eth1",),
        ),
        (("link set eth1 down", "link set eth1 up"), ("-6 address add fd00:0:0:1::10/64 dev eth1 nodad",)),
    ],
    ids=["a lease ends", "an address is replaced", "a link flaps"],
)
def test_what_the_kernel_drops_without_a_word_is_drift(
    agent: Agent, events: tuple[str, ...], back: tuple[str, ...]
) -> None:
    """The table's routes go and the rule stays: traffic would leave by the first interface, and no error says so."""
    agent("apply")
    for event in (*events, *back):
        ip(event)
    assert "" == ip("route show table 100")
    assert "dev eth0" in ip("route get 203.0.113.9 from 10.0.1.10")

    assert 1 == agent("status")
    assert 2 == agent.out.count("missing ")
    assert (0, 0) == (agent("apply"), agent("status"))
    assert "dev eth1" in ip("route get 203.0.113.9 from 10.0.1.10")


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_an_overlay_survives_a_flush_of_the_leases_label(agent: Agent) -> None:
    """dhclient-script flushes the label of the bare device when a lease changes, and DEVICE:0 for its alias."""
    agent("apply")

    for label in ("eth0", "eth0:0"):
        ip("-4 address flush dev eth0 label", label)

    assert "192.168.10.10/32 scope global eth0:1" in ip("address show dev eth0")


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_one_prefix_in_two_text_forms_is_one_rule(agent: Agent) -> None:
    """Otherwise it would be deleted and created again for ever."""
    text = '[interface.eth1]\nsubnet = ["10.0.1.0/24", "{}"]\nrouter = ["10.0.1.1", "{}"]\ntable = 100\n'
    agent.write(text.format("FD00:0000:0:1:0:0:0:0/64", "FE80:0::1"))
    assert 0 == agent("apply")
    applied = snapshot()

    agent.write(text.format("fd00:0:0:1::/64", "fe80::1"))
    assert (0, "") == (agent("apply"), agent.err)
    assert applied == snapshot()


@pytest.mark.parametrize("line", ["1000 MYHA # the agent's", "1000\tMYHA", "  1000  MYHA  ", "0x3e8 MYHA"])
def test_a_line_with_a_comment_is_a_name(tmp_path: Path, line: str) -> None:
    """As iproute2 reads it; a line that cannot be read has no name, and is not an error."""
    (tmp_path / "rt_tables").write_text(
        f"# reserved\n{line}\nMYHA 1000\n1e3 x\n0x x\n-5 x\n5\n\xff\n", encoding="latin-1"
    )

    names = NamedKernel(FakeKernel(), str(tmp_path / "rt_tables.d"), [str(tmp_path)]).names()

    assert [TableName(1000, "MYHA")] == [seen.item for seen in names]


@pytest.mark.parametrize("scheme", ["by-source", "split"])
def test_no_route_of_the_agents_is_in_main(scheme: str) -> None:
    """A default route there would take all traffic; and no rule of the agent's is about all of it."""
    section = Section("eth1", "", ("10.0.1.0/24", "fd00::/64"), ("10.0.1.1", "fe80::1"), 100, scheme=scheme)

    items = profile_items(
        resolve(section, Facts("eth1", vpc=("10.0.0.0/16", "fd00::/56"), addresses=("10.0.1.10/32",)))
    )

    assert {100} == {item.table for item in items if isinstance(item, Route)}
    assert all(getattr(item, "source", "one's own") for item in items)
