"""Answers are hostile: what is not exactly right is MalformedError, never a guess and never another exception."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent.failover.aws import response
from ec2ident_agent.failover.aws.model import RecordSet, RouteTable, VpcRoute
from ec2ident_agent.failover.aws.xml import DEPTH, parse
from ec2ident_agent.failover.errors import MalformedResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROW = (
    "<item><destinationCidrBlock>192.168.10.5/32</destinationCidrBlock><instanceId>i-0a1b2c3d</instanceId>"
    "<instanceOwnerId>123456789012</instanceOwnerId><networkInterfaceId>eni-0a1b2c3d</networkInterfaceId>"
    "<origin>CreateRoute</origin><state>blackhole</state></item>"
)
TABLES = (
    '<DescribeRouteTablesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>x</requestId>'
    "<routeTableSet><item><routeTableId>rtb-0a1b2c3d</routeTableId><vpcId>vpc-0a1b2c3d</vpcId>"
    f"<ownerId>123456789012</ownerId><routeSet>{ROW}</routeSet><tagSet/></item></routeTableSet>"
    "<nextToken>t</nextToken></DescribeRouteTablesResponse>"
)


def test_a_table_with_its_routes() -> None:
    """All fields that we use, and the token of the next page."""
    found, token = response.tables(parse(TABLES.encode()))
    route = VpcRoute("192.168.10.5/32", "eni-0a1b2c3d", "i-0a1b2c3d", "123456789012", "", "blackhole")

    assert (RouteTable("rtb-0a1b2c3d", "vpc-0a1b2c3d", "123456789012", (route,)),) == found
    assert "t" == token


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rtb-0a1b2c3d", "rtb-xyz", "routeTableId: 'rtb-xyz' is not a table id"),
        ("<routeTableId>rtb-0a1b2c3d</routeTableId>", "", "no routeTableId in the answer"),
        ("vpc-0a1b2c3d", "vpc-0a1b2c3d; rm -rf", "is not a vpc id"),
        ("<state>blackhole</state>", "", "no state in the answer"),
        ("<requestId>x</requestId>", "<routeTableSet/>", "2 times routeTableSet"),
        ("123456789012</ownerId>", "12345678901２</ownerId>", "is not an account id"),
    ],
)
def test_a_wrong_field_is_refused(old: str, new: str, said: str) -> None:
    """One field away from right, each with its own message; digits of other scripts do not count as digits."""
    assert old in TABLES
    with pytest.raises(MalformedResponseError, match=said):
        response.tables(parse(TABLES.replace(old, new, 1).encode()))


@pytest.mark.parametrize(
    ("old", "new", "holder"),
    [
        ("192.168.10.5/32", "everywhere", None),
        ("192.168.10.5/32", "192.168.10.5/24", None),
        ("i-0a1b2c3d", "mi-0a1b2c3d", "eni-0a1b2c3d"),
        ("123456789012</instanceOwnerId>", "amazon-aws</instanceOwnerId>", "i-0a1b2c3d"),
        ("eni-0a1b2c3d", "vpcx-1", "vpcx-1"),
        ("<networkInterfaceId>eni-0a1b2c3d</networkInterfaceId>", "<ipAddress>10.0.0.1</ipAddress>", "10.0.0.1"),
    ],
)
def test_a_row_of_an_unknown_form_does_not_block_the_table(old: str, new: str, holder: str | None) -> None:
    """It is passed over, or belongs to an owner that is not known; the other rows are read."""
    assert old in TABLES
    other = ROW.replace("192.168.10.5/32", "192.168.10.6/32")
    answer = TABLES.replace(old, new, 1).replace("</routeSet>", f"{other}</routeSet>")
    ((table,), _) = response.tables(parse(answer.encode()))
    route = table.route("192.168.10.5/32")

    assert holder == (route.holder if route else None)
    assert table.route("192.168.10.6/32")


@pytest.mark.parametrize("origin", ["EnableVgwRoutePropagation", "Advertisement"])
def test_the_static_row_of_two_is_ours(origin: str) -> None:
    """A gateway or a route server propagates the same destination; only the static route can be replaced."""
    assert "<origin>CreateRoute</origin>" in ROW
    propagated = ROW.replace("CreateRoute<", f"{origin}<").replace("eni-0a1b2c3d", "eni-0000000b")
    ((table,), _) = response.tables(parse(TABLES.replace(ROW, propagated + ROW).encode()))
    route = table.route("192.168.10.5/32")

    assert route
    assert ("eni-0a1b2c3d", False) == (route.eni, route.propagated)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not xml",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b'<?xml version="1.0" encoding="no-such-thing"?><a/>',
        b"\xff\xfe\x00<",
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b"<a>&undefined;</a>",
        b"<a>" * (DEPTH + 1) + b"</a>" * (DEPTH + 1),
    ],
    ids=range(12),
)
def test_what_is_not_plain_xml_is_refused(data: bytes) -> None:
    """No DTD, no entities, no depth without end, no encodings of its own."""
    with pytest.raises(MalformedResponseError, match="XML"):
        parse(data)


def test_a_bomb_of_entities_is_not_expanded() -> None:
    """Ten levels of ten would be gigabytes; the DOCTYPE alone ends it."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    with pytest.raises(MalformedResponseError, match="DOCTYPE"):
        parse(f'<!DOCTYPE a [<!ENTITY e0 "x">{levels}]><a>&e9;</a>'.encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"<a>{text}</a>".encode()))
def test_no_input_raises_anything_else(data: bytes) -> None:
    """A value, or MalformedError."""
    readers = (response.tables, response.interfaces, response.instances, response.change, response.hosted_zone)
    for read in readers:
        with suppress(MalformedResponseError):
            read(parse(data))
    response.error(data)


def test_the_largest_ttl_is_read_and_one_second_more_is_malformed() -> None:
    """RFC 2181, 8: a TTL is a number from 0 to 2147483647."""
    row = "<ResourceRecordSet><Name>a.example.</Name><Type>A</Type><TTL>{}</TTL></ResourceRecordSet>"
    answer = f"<r><ResourceRecordSets>{row}</ResourceRecordSets></r>"

    assert 2147483647 == response.records(parse(answer.format(2147483647).encode()))[0].ttl
    with pytest.raises(MalformedResponseError, match="TTL: '2147483648' is not a number from 0 to 2147483647"):
        response.records(parse(answer.format(2147483648).encode()))


def test_an_interface_needs_no_attachment() -> None:
    """Absent is absent, for an address of the other family too."""
    item = (
        "<networkInterfaceId>eni-0a1b2c3d</networkInterfaceId><status>available</status><subnetId>subnet-0a1b2c3d"
        "</subnetId><vpcId>vpc-0a1b2c3d</vpcId><availabilityZone>eu-west-1a</availabilityZone>"
        "<macAddress>06:00:00:00:00:01</macAddress><sourceDestCheck>true</sourceDestCheck><ipv6AddressesSet><item>"
        "<ipv6Address>2001:DB8:0::1</ipv6Address></item></ipv6AddressesSet>"
    )
    data = f"<x><networkInterfaceSet><item>{item}</item></networkInterfaceSet></x>".encode()
    ((eni,), _) = response.interfaces(parse(data))

    assert (None, "", (), ("2001:db8::1",), True) == (eni.attachment, eni.holder, eni.addresses, eni.ipv6, eni.check)


def test_names_are_compared_in_one_spelling() -> None:
    r"""Route 53 gives lower case, a final dot, and `*` as `\052`."""
    assert "*.example.corp" == response.name("\\052.Example.corp.")
    data = (
        b"<r><ResourceRecordSets><ResourceRecordSet><Name>\\052.example.corp.</Name><Type>A</Type><TTL>5</TTL>"
        b"<ResourceRecords><ResourceRecord><Value>10.0.0.1</Value></ResourceRecord></ResourceRecords>"
        b"</ResourceRecordSet></ResourceRecordSets></r>"
    )
    assert (RecordSet("*.example.corp", "A", 5, ("10.0.0.1",)),) == response.records(parse(data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<Response><Errors><Error><Code>A</Code><Message>m</Message></Error></Errors></Response>", ("A", "m")),
        (b"<ErrorResponse><Error><Type>Sender</Type><Code>B</Code></Error></ErrorResponse>", ("B", "")),
        (
            b"<Response><Errors><Error><Code>A</Code></Error><Error><Code>B</Code></Error></Errors></Response>",
            ("A", ""),
        ),
        (
            b"<InvalidChangeBatch><Messages><Message>x</Message><Message>y</Message></Messages></InvalidChangeBatch>",
            ("InvalidChangeBatch", "x; y"),
        ),
        (b"<html><body>Bad gateway</body></html>", None),
        (b"oops", None),
    ],
)
def test_the_three_forms_of_an_error(data: bytes, expected: tuple[str, str] | None) -> None:
    """EC2's, Route 53's and STS's, the list of a change batch; anything else is none."""
    assert expected == response.error(data)


def test_a_write_that_answers_only_true_is_done_by_nothing_else() -> None:
    """Some answers have no `return`; one that says false is not a success."""
    for text in (b"<r/>", b"<r><return>true</return></r>"):
        response.done(parse(text))
    with pytest.raises(MalformedResponseError, match=r"return is 'false' \(expected true\)"):
        response.done(parse(b"<r><return>false</return></r>"))


# Rows of another form


def rows(*items: str, action: str = "DescribeNetworkInterfaces", inside: str = "networkInterfaceSet") -> Any:
    items_ = "".join(f"<item>{item}</item>" for item in items)
    return parse(f"<{action}Response><{inside}>{items_}</{inside}></{action}Response>".encode())


ENI = (
    "<networkInterfaceId>eni-0a1b2c3d</networkInterfaceId><status>in-use</status><subnetId>subnet-0a1b2c3d</subnetId>"
    "<availabilityZone>us-east-1a</availabilityZone><vpcId>vpc-0a1b2c3d</vpcId><ownerId>123456789012</ownerId>"
    "<macAddress>02:00:00:00:00:01</macAddress><sourceDestCheck>true</sourceDestCheck>"
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("123456789012", "amazon-elb"),
        ("eni-0a1b2c3d", "xni-1"),
        ("02:00:00:00:00:01", "?"),
        ("in-use", "in use 7"),
        ("us-east-1a", "A Zone"),
        ("<sourceDestCheck>true</sourceDestCheck>", ""),
    ],
)
def test_an_interface_of_another_form_hides_no_other(old: str, new: str) -> None:
    """It is passed over; if it is the only one, it is malformed and not absent."""
    found, _ = response.interfaces(rows(ENI.replace(old, new), ENI))
    assert ["eni-0a1b2c3d"] == [each.id for each in found]
    with pytest.raises(MalformedResponseError, match=r"\w"):
        response.interfaces(rows(ENI.replace(old, new)))
    assert ((), "") == response.interfaces(rows())


def test_a_route_in_an_unknown_state_blocks_no_other() -> None:
    """Nor does one without a state."""
    head = "<routeTableId>rtb-0a1b2c3d</routeTableId><vpcId>vpc-0a1b2c3d</vpcId>"
    row = "<item><destinationCidrBlock>{}</destinationCidrBlock><networkInterfaceId>eni-0a1b2c3d</networkInterfaceId>"
    row += "{}</item>"
    every = row.format("10.0.0.1/32", "<state>new state-9!</state>") + row.format("10.0.0.2/32", "")
    every += row.format("10.0.0.3/32", "<state>active</state>")
    (table,), _ = response.tables(
        rows(f"{head}<routeSet>{every}</routeSet>", action="DescribeRouteTables", inside="routeTableSet")
    )
    assert ["new state-9!", "active"] == [each.state for each in table.routes]


def test_an_instance_with_an_interface_of_another_form_has_the_others() -> None:
    """As one that is being attached, without an index yet."""
    item = (
        "<instancesSet><item><instanceId>i-0a1b2c3d</instanceId><instanceState><name>running</name></instanceState>"
        "<placement><availabilityZone>us-east-1a</availabilityZone></placement><networkInterfaceSet>"
        "<item><networkInterfaceId>eni-00000001</networkInterfaceId></item>"
        "<item><networkInterfaceId>eni-00000002</networkInterfaceId><attachment><deviceIndex>1</deviceIndex></attachment>"
        "</item></networkInterfaceSet></item></instancesSet>"
    )
    ((found,), _) = response.instances(rows(item, action="DescribeInstances", inside="reservationSet"))
    assert {1: "eni-00000002"} == found.interfaces


def test_a_record_that_is_not_understood_is_special() -> None:
    """So that no move replaces it."""
    record = "<ResourceRecordSet><Name>db.corp.</Name><Type>A</Type><TTL>{}</TTL></ResourceRecordSet>"
    text = f"<R><ResourceRecordSets>{record.format('1e3')}{record.format(10)}</ResourceRecordSets></R>"
    odd, plain = response.records(parse(text.encode()))
    assert ("of an unknown form", "") == (odd.special, plain.special)


def test_an_elastic_address_keeps_what_the_answer_says_of_it() -> None:
    """One without an allocation id is of EC2-Classic, and is passed over; a public address may be absent."""
    ids = "<allocationId>eipalloc-0a1b2c3{}</allocationId>"
    items = (f"<publicIp>203.0.113.1</publicIp>{ids.format(1)}", ids.format(2), "<publicIp>203.0.113.3</publicIp>")
    found = response.elastic_addresses(rows(*items, action="DescribeAddresses", inside="addressesSet"))
    assert ["203.0.113.1", ""] == [each.public for each in found]


def test_a_change_has_an_id_and_a_status() -> None:
    """Each is refused in another form."""
    text = "<R><ChangeInfo><Id>/change/C0123456789ABC</Id><Status>PENDING</Status></ChangeInfo></R>"
    found = response.change(parse(text.encode()))
    assert ("C0123456789ABC", "PENDING") == (found.id, found.status)
    for old, new in (("C0123456789ABC", "../x"), ("PENDING", "DONE")):
        with pytest.raises(MalformedResponseError, match=r"ChangeInfo/(Id|Status): "):
            response.change(parse(text.replace(old, new).encode()))
