"""A node with very many routes: the kernel is asked for the tables that matter, and nothing else is left out."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ec2ident_agent.items import DEFAULT, Route
from ec2ident_agent.kernel import dump
from tests.agent.conftest import Agent, ip, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ec2ident_agent.items import Observed, Seen

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]


@pytest.fixture
def channel() -> Iterator[dump.Channel]:
    made = dump.Channel()
    yield made
    made.close()


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few routes are many, so that each look asks table by table; of other programs' tables three are read."""
    monkeypatch.setattr(dump, "MANY", 2)
    monkeypatch.setattr(dump, "FIRST", 3)


def fill(table: int, count: int = 300) -> None:
    """Routes of another program, by eth0, all added by one process."""
    lines = [
        f"route add 10.{200 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32 via 10.0.0.1 dev eth0 table {table}"
        for number in range(count)
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)


def routes(observed: Observed, *tables: int) -> list[Seen]:
    return [each for each in observed.seen if isinstance(each.item, Route) and each.item.table in tables]


def test_a_table_that_is_asked_for_is_read_whole(channel: dump.Channel, many: None) -> None:
    """Rules, addresses and links too; of main the default routes, and of a table without a rule nothing."""
    fill(500, 30)
    fill(254, 30)
    fill(100, 20)
    ip("-6 route add default via fd00:0:0:1::1 dev eth1 table 100")
    ip("rule add from 10.0.1.0/24 lookup 100")
    ip("rule add lookup 600")
    ip("route add default via 10.0.0.1 dev eth0 table 600")
    everything = dump.observe(channel, everything=True)

    some = dump.observe(channel, {100})

    assert frozenset({100}) == some.tables
    assert routes(everything, 100) == routes(some, 100)
    assert 21 == len(routes(some, 100))
    assert [] == routes(some, 500)
    assert routes(everything, 600) == routes(some, 600)
    defaults = [each for each in routes(everything, 254) if each.item.destination in DEFAULT.values()]  # type: ignore[union-attr]
    assert defaults
    assert defaults == routes(some, 254)
    other = [[each for each in seen.seen if not isinstance(each.item, Route)] for seen in (everything, some)]
    assert other[0] == other[1]
    assert everything.links == some.links


def test_few_routes_are_read_whole(channel: dump.Channel) -> None:
    """As on nearly every node; there one dump costs less than one for each table."""
    found = dump.observe(channel, {100})

    assert found.tables is None
    assert frozenset() == found.unread([100, 200])


def test_the_default_route_of_a_long_table_is_among_the_first(channel: dump.Channel) -> None:
    """The kernel dumps IPv4 routes in the order of their keys, whatever their order in time."""
    ip("route del default")
    fill(254, 300)
    ip("route add default via 10.0.0.1 dev eth0 metric 7")
    ip("route add default via 10.0.0.2 dev eth0 metric 9")
    channel.many = True

    found = routes(dump.observe(channel), 254)

    assert [7, 9] == [each.item.metric for each in found if each.item.destination == DEFAULT[4]]  # type: ignore[union-attr]


def test_the_agent_does_the_same_among_many_routes(agent: Agent, many: None) -> None:
    """apply, status, revert, and a foreign route in the way: as on a node with few routes."""
    fill(500, 30)
    before = snapshot()
    assert (0, 0) == (agent("apply"), agent("status"))
    ip("route del default table 100")
    assert (1, 0, 0) == (agent("status"), agent("apply"), agent("status"))
    assert 0 == agent("revert", "--all")
    assert before == snapshot()

    ip("route add 0.0.0.0/0 via 10.0.1.7 dev eth1 table 100")
    assert 4 == agent("apply")
    assert "foreign" in agent.err


def test_a_table_that_is_known_after_the_look_is_read_in_another_look(
    agent: Agent, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`overlay` and flags name tables, and so do facts: what is desired was always read before it is compared."""
    asked: list[frozenset[int]] = []
    real = dump._routes

    def recorded(*arguments: object, **more: bool) -> object:
        asked.append(frozenset(arguments[1]))  # type: ignore[call-overload]
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(dump, "_routes", recorded)
    agent.write("")
    assert 0 == agent("apply", "eth1", "--subnet", "10.0.1.0/24", "--table", "700")
    assert frozenset({700}) == asked[-1]

    assert 0 == agent("status")
    assert Counter({frozenset({700}): 1}) == Counter(asked[-1:])


#: The command in a process of its own, and the most memory that it had, in KiB (getrusage(2)).
_PEAK = """
import resource, sys
sys.path[:0] = sys.argv[1:3]
from ec2ident_agent import cli
sys.argv = ["ec2ident-agent", *sys.argv[3:]]
code = cli.main()
print("peak", code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(agent: Agent, *words: str) -> tuple[int, int]:
    """Exit code and peak memory of a command."""
    top = Path(__file__).parents[3]
    argv = [sys.executable, "-I", "-c", _PEAK, str(top), str(top / "agent"), *agent.argv(*words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    _, code, size = done.stdout.splitlines()[-1].split()
    return int(code), int(size)


def test_an_apply_among_many_routes_needs_little_more_memory_than_a_status(agent: Agent) -> None:
    """Foreign routes are not kept: with 100,000 of them an apply had 204 MiB. Ratios, and of few routes too."""
    code, few = peak(agent, "status")
    assert 1 == code
    fill(254, 50_000)

    status, apply = peak(agent, "status"), peak(agent, "apply")

    assert (1, 0) == (status[0], apply[0])
    assert apply[1] < 1.5 * status[1]
    assert apply[1] < 2 * few
