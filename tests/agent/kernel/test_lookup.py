"""The routing decision: the kernel in memory answers as the real one does, over the same rules and routes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ec2ident_agent.items import Route, Rule, family
from ec2ident_agent.kernel.change import NetlinkKernel
from ec2ident_agent.kernel.dump import observe
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.kernel.protocol import Query
from ec2ident_agent.selectors import describe, in_order, taker
from tests.agent.conftest import ip

pytestmark = pytest.mark.root

SOURCES = {4: ("10.0.0.10", "10.0.1.10"), 6: ("fd00:0:0:0::10", "fd00:0:0:1::10")}
NETWORKS = {4: ("10.0.1.0/24", "10.0.0.0/16", "10.0.0.10/32"), 6: ("fd00:0:0:1::/64", "fd00::/48")}
DESTINATIONS = {4: ("198.51.100.1", "203.0.113.5", "10.0.1.7"), 6: ("2001:db8::1", "2001:db8:5::5", "fd00:0:0:1::7")}
TARGETS = {4: ("203.0.113.0/24", "128.0.0.0/1"), 6: ("2001:db8:5::/48", "2000::/3")}
ROUTERS = {4: ("10.0.0.1", "10.0.1.1"), 6: ("fd00:0:0:0::1", "fd00:0:0:1::1")}

versions = st.sampled_from((4, 6))


@st.composite
def rules(draw: st.DrawFn) -> str:
    """A rule, as the words of `ip rule add`."""
    version = draw(versions)
    maybe = st.booleans()
    words = [f"-{version} rule add priority {draw(st.integers(1, 9))}"]
    words += ["not"] if draw(st.integers(0, 5)) == 0 else []
    words += [f"from {draw(st.sampled_from(NETWORKS[version]))}" if draw(maybe) else "from all"]
    words += [f"to {draw(st.sampled_from(TARGETS[version]))}"] if draw(maybe) else []
    words += [draw(st.sampled_from(("fwmark 0x5", "fwmark 0x1/0x3", "fwmark 0/0x4")))] if draw(maybe) else []
    words += [draw(st.sampled_from(("uidrange 0-0", "uidrange 1000-2000")))] if draw(maybe) else []
    words += [draw(st.sampled_from(("ipproto udp", "ipproto tcp", "sport 7", "dport 5-8")))] if draw(maybe) else []
    words += ["iif lo"] if draw(st.integers(0, 5)) == 0 else []
    lookups = [f"lookup {table}" for table in ("7", "8", "main", "7 suppress_prefixlength 0")]
    others = ["goto 8", "unreachable", "prohibit", "blackhole"]
    return " ".join((*words, draw(st.sampled_from(lookups * 2 + others))))


@st.composite
def routes(draw: st.DrawFn) -> str:
    """A route of table 7 or 8, as the words of `ip route add`."""
    version, where = draw(versions), draw(st.integers(0, 1))
    target = draw(st.sampled_from(("default", *TARGETS[version])))
    via = f"via {ROUTERS[version][where]} " if draw(st.booleans()) else ""
    return f"-{version} route add {target} {via}dev eth{where} table {draw(st.sampled_from((7, 8)))}"


@st.composite
def queries(draw: st.DrawFn) -> Query:
    version = draw(versions)
    return Query(
        draw(st.sampled_from(SOURCES[version])),
        draw(st.sampled_from(DESTINATIONS[version])),
        mark=draw(st.sampled_from((0, 1, 4, 5))),
        user=draw(st.sampled_from((0, 1500))),
        protocol=draw(st.sampled_from((6, 17))),
        source_port=draw(st.sampled_from((0, 7))),
        destination_port=draw(st.sampled_from((0, 6))),
    )


@pytest.fixture
def real(node: str) -> Iterator[NetlinkKernel]:
    kernel = NetlinkKernel()
    yield kernel
    kernel.close()


def clear(kernel: NetlinkKernel) -> None:
    """Remove what an example has added."""
    for seen in kernel.observe().seen:
        if isinstance(seen.item, Rule) and 0 < seen.item.priority < 10:
            six = family(seen.item.source or seen.item.destination or ":" * ("inet6" in seen.extra)) == 6
            ip(f"-{6 if six else 4} rule del priority {seen.item.priority}")
        elif isinstance(seen.item, Route) and seen.item.table in (7, 8):
            version = family(seen.item.destination)
            ip(f"-{version} route del {seen.item.destination} metric {seen.item.metric} table {seen.item.table}")


def as_canonical(query: Query) -> Query:
    from ipaddress import ip_address

    from ec2ident.value import replace

    return replace(query, source=str(ip_address(query.source)), destination=str(ip_address(query.destination)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(rules(), max_size=5, unique=True),
    st.lists(routes(), max_size=4, unique_by=lambda text: (text.split()[3], text.split()[-1], text[:2])),
    st.lists(queries(), min_size=1, max_size=6),
)
def test_both_kernels_decide_alike(
    real: NetlinkKernel, rules: list[str], routes: list[str], queries: list[Query]
) -> None:
    """The same device, router, table or error, and the rule that is named is one that gives this answer."""
    import contextlib

    for words in (*rules, *routes):
        with contextlib.suppress(AssertionError):  # one that is there already
            ip(words)
    try:
        seen = observe(real.channel, everything=True).seen
        fake = FakeKernel("eth0", "eth1")
        fake.seen = list(seen)
        asked = list(map(as_canonical, queries))
        answers = real.lookup(asked)
        assert answers == fake.lookup(asked)
        for query, answer in zip(asked, answers):
            rule = taker(in_order(seen), query, answer, seen)
            assert rule is not None or not answer.device
            assert rule is None or describe(rule)
    finally:
        clear(real)


def test_a_source_that_the_node_does_not_have_has_no_way(real: NetlinkKernel) -> None:
    """The kernel says so (Linux 6.18; EINVAL before); the other questions of the same send are answered."""
    none, some = Query("192.0.2.1", "10.0.0.7"), Query("10.0.0.10", "10.0.0.7")
    answers = real.lookup([none, *[some] * 200])

    assert answers[0].errno in (22, 101)
    assert {("eth0", "", 254)} == {(each.device, each.gateway, each.table) for each in answers[1:]}
    assert 200 == len(answers[1:])
