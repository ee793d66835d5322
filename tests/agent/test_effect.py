"""What the kernel is asked, as values."""

from __future__ import annotations

import struct

import pytest

from ec2ident_agent.effect import Way, questions
from ec2ident_agent.items import Address, Observed, Rule, Seen
from ec2ident_agent.state.owned import interface

WAYS = [
    Way(interface("eth1"), Rule("10.0.1.0/24", 100, 10000), "eth1", "10.0.1.1"),
    Way(interface("eth1"), Rule("2600:1f14::/64", 100, 10000), "eth1", "fe80::1"),
]
ADDRESSES = [
    *("10.0.1.10/24", "192.168.10.10/32", "2600:1f14::10/128"),
    *("10.0.0.10/24", "10.0.1.77/32"),
]


def observed(*rules: Seen) -> Observed:
    """eth1 has the first three addresses, and eth0 the others: one of them in eth1's subnet."""
    there = [Seen(Address("eth1" if n < 3 else "eth0", each), 16) for n, each in enumerate(ADDRESSES)]
    return Observed((), (*there, *rules))


def test_a_subnets_sources_are_the_devices_addresses_in_it() -> None:
    """The node sends nothing from others; an address of another device in the subnet has rules of its own."""
    assert ["10.0.1.10", "2600:1f14::10"] == [query.source for _, query in questions(WAYS, observed())]


@pytest.mark.parametrize(("six", "protocol"), [(six, each) for six in (False, True) for each in (1, 6, 17, 47, 58)])
def test_a_rule_for_a_protocol_is_asked_about_where_the_kernel_answers(six: bool, protocol: int) -> None:
    """rtm_getroute_parse_ip_proto takes TCP, UDP, and ICMP of the family; for others it answers EINVAL."""
    extra = (*(("inet6",) if six else ()), f"ipproto {struct.pack('=B', protocol).hex()}")
    usual = questions(WAYS, observed())
    more = [each for each in questions(WAYS, observed(Seen(Rule("", 77, 9000), 3, extra))) if each not in usual]

    # What is always asked about is a packet of TCP.
    expected = protocol in ((17, 58) if six else (1, 17))
    assert [protocol] * expected == [query.protocol for _, query in more]


def test_an_inverted_rule_with_a_mark_takes_packets_without_it() -> None:
    """`not ipproto tcp fwmark 0/0xff` takes UDP, although the usual packet of TCP without a mark passes it."""
    mark = (f"fwmark {struct.pack('=I', 0).hex()}", f"fwmask {struct.pack('=I', 0xFF).hex()}")
    extra = (f"ipproto {struct.pack('=B', 6).hex()}", *mark)
    usual = questions(WAYS, observed())

    for inverted, protocols in ((("not",), [17]), ((), [])):
        asked = questions(WAYS, observed(Seen(Rule("", 77, 9000), 3, (*inverted, *extra))))
        assert protocols == [query.protocol for _, query in asked if query not in [each for _, each in usual]]
