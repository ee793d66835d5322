"""Two agents with two state directories on one node, such as a cluster's and an administrator's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.conftest import Agent, snapshot

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

FIRST = """\
[interface.eth1]
subnet = "10.0.1.0/24"
table = 100
table_name = "first"
"""
SECOND = """\
[interface.eth0]
source = "10.0.0.10/32"
subnet = "10.0.0.0/24"
table = 200
table_name = "second"

[[overlay]]
address = "192.168.10.10/32"
device = "eth0"
"""


def second(directory: Path, first: Agent) -> Agent:
    """Another agent, with the same directory of table names."""
    (directory / "second").mkdir()
    made = Agent(directory / "second", first._capsys)
    made.names = first.names
    made.write(SECOND)
    return made


def test_two_agents_do_not_revert_each_others_objects(tmp_path: Path, agent: Agent) -> None:
    """Whatever the order: apply, revert and status of one are about its own objects alone."""
    agent.write(FIRST)
    other = second(tmp_path, agent)
    nothing = snapshot()
    assert 0 == agent("apply")
    first = snapshot()

    assert 0 == other("revert", "--all")
    assert first == snapshot()
    assert (0, 0, 0) == (other("apply"), other("status"), agent("status"))
    both = snapshot()
    assert "first" in (agent.names / "ec2ident.conf").read_text()
    assert (0, 0) == (agent("apply"), other("apply"))
    assert both == snapshot()

    assert 0 == other("revert", "--all")
    assert first == snapshot()
    assert 0 == other("revert", "--all")
    assert first == snapshot()
    assert "left in place" in other.err
    assert 0 == agent("status")
    assert "100\tfirst" in (agent.names / "ec2ident.conf").read_text()
    assert 0 == agent("revert", "--all")
    assert nothing == snapshot()


def test_one_table_of_two_agents_is_a_conflict(tmp_path: Path, agent: Agent) -> None:
    """The second one is refused as beside any other program, and nothing of the first one's is changed."""
    agent.write(FIRST)
    other = second(tmp_path, agent)
    other.write(SECOND.replace("200", "100").replace('"second"', '"first"'))
    assert 0 == agent("apply")

    assert 4 == other("apply")
    assert 0 == agent("status")
    assert 0 == other("revert", "--all")
    assert 0 == agent("status")
