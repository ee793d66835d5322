"""The rules as the kernel evaluates them, and as `ip` shows them."""

from __future__ import annotations

import struct

import pytest

from ec2ident_agent.items import Rule, Seen
from ec2ident_agent.kernel.protocol import Query
from ec2ident_agent.selectors import describe, evaluated, in_order

GOTO = ("action 2", f"goto {struct.pack('=I', 300).hex()}")


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [(1, "icmp"), (6, "tcp"), (17, "udp"), (47, "47"), (58, "ipv6-icmp")],
)
def test_a_protocol_has_its_name(protocol: int, shown: str) -> None:
    """As in /etc/protocols, and as `ip rule` takes it; the others are numbers."""
    rule = Seen(Rule("", 77, 9000), 3, (f"ipproto {struct.pack('=B', protocol).hex()}",))

    assert f"from all ipproto {shown} lookup 77" in describe(rule)


@pytest.mark.parametrize(
    ("targets", "matched"),
    [
        ([Seen(Rule("", 7, 300), 3)], [7]),
        ([Seen(Rule("", 6, 300), 3, ("inet6",))], [5]),
        ([Seen(Rule("", 6, 300), 3, ("inet6",)), Seen(Rule("", 7, 300), 3)], [7]),
        ([], [5]),
    ],
)
def test_a_goto_leads_to_a_rule_of_its_family(targets: list[Seen], matched: list[int]) -> None:
    """The families have rules of their own: where IPv4 has none of that priority, the goto does nothing."""
    rules = [Seen(Rule("", 0, 100), 3, GOTO), Seen(Rule("", 5, 200), 3), *targets]
    found = [seen.item for seen, _, _ in evaluated(in_order(rules), Query("10.0.1.10", "198.51.100.1"))]

    assert matched == [item.table for item in found if isinstance(item, Rule)][:1]
