"""The calls, golden: what goes over the wire, the command that does the same, and the ARNs to allow."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.client import _wire
from ec2ident_agent.failover.aws.model import RecordSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.failover.aws.actions import ApiCall

TABLE, ENI, NODE = "rtb-0123456789abcdef0", "eni-0123456789abcdef0", "i-0123456789abcdef0"
STEM = "arn:aws-cn:ec2:cn-north-1:123456789012:"

GOLDEN = {
    "describe tables": (
        actions.describe_tables({"route-table-id": [TABLE, "rtb-1"]}, "page2"),
        f"aws ec2 describe-route-tables --filters Name=route-table-id,Values={TABLE},rtb-1",
        {
            "Filter.1.Name": "route-table-id",
            "Filter.1.Value.1": TABLE,
            "Filter.1.Value.2": "rtb-1",
            "NextToken": "page2",
        },
        ("*",),
    ),
    "replace": (
        actions.replace_route(TABLE, "123456789012", "192.168.10.5/32", ENI),
        (
            f"aws ec2 replace-route --route-table-id {TABLE} --destination-cidr-block 192.168.10.5/32"
            f" --network-interface-id {ENI}"
        ),
        {"RouteTableId": TABLE, "DestinationCidrBlock": "192.168.10.5/32", "NetworkInterfaceId": ENI},
        (f"{STEM}route-table/{TABLE}",),
    ),
    "create IPv6": (
        actions.create_route(TABLE, "", "fd00::5/128", ENI),
        (
            f"aws ec2 create-route --route-table-id {TABLE} --destination-ipv6-cidr-block fd00::5/128"
            f" --network-interface-id {ENI}"
        ),
        {"RouteTableId": TABLE, "DestinationIpv6CidrBlock": "fd00::5/128", "NetworkInterfaceId": ENI},
        (f"arn:aws-cn:ec2:cn-north-1:*:route-table/{TABLE}",),
    ),
    "detach by force": (
        actions.detach("eni-attach-1", ENI, NODE, "123456789012", force=True),
        "aws ec2 detach-network-interface --attachment-id eni-attach-1 --force",
        {"AttachmentId": "eni-attach-1", "Force": "true"},
        (f"{STEM}instance/{NODE}", f"{STEM}network-interface/{ENI}"),
    ),
    "attach": (
        actions.attach(ENI, NODE, 2, "123456789012"),
        f"aws ec2 attach-network-interface --network-interface-id {ENI} --instance-id {NODE} --device-index 2",
        {"NetworkInterfaceId": ENI, "InstanceId": NODE, "DeviceIndex": "2"},
        (f"{STEM}instance/{NODE}", f"{STEM}network-interface/{ENI}"),
    ),
    "check off": (
        actions.source_dest_check(ENI, "123456789012", False),
        f"aws ec2 modify-network-interface-attribute --network-interface-id {ENI} --no-source-dest-check",
        {"NetworkInterfaceId": ENI, "SourceDestCheck.Value": "false"},
        (f"{STEM}network-interface/{ENI}",),
    ),
    "create interface": (
        actions.create_interface("subnet-1", "10.0.1.5", ["sg-1", "sg-2"], "it's here", "token", "123456789012"),
        (
            "aws ec2 create-network-interface --subnet-id subnet-1 --client-token token --private-ip-address 10.0.1.5"
            """ --groups sg-1 sg-2 --description 'it'"'"'s here'"""
        ),
        {
            "SubnetId": "subnet-1",
            "ClientToken": "token",
            "PrivateIpAddress": "10.0.1.5",
            "Description": "it's here",
            "SecurityGroupId.1": "sg-1",
            "SecurityGroupId.2": "sg-2",
        },
        (
            f"{STEM}subnet/subnet-1",
            f"{STEM}network-interface/*",
            f"{STEM}security-group/sg-1",
            f"{STEM}security-group/sg-2",
        ),
    ),
    "VPC attribute": (
        actions.modify_vpc("vpc-1", "enableDnsHostnames"),
        "aws ec2 modify-vpc-attribute --vpc-id vpc-1 --enable-dns-hostnames",
        {"VpcId": "vpc-1", "EnableDnsHostnames.Value": "true"},
        ("arn:aws-cn:ec2:cn-north-1:*:vpc/vpc-1",),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_an_ec2_call_on_the_wire_and_as_a_command(name: str) -> None:
    """The form of the EC2 Query API, beside what a person would type, beside what IAM is asked about."""
    call, command, form, arns = GOLDEN[name]
    query, body = _wire(call)

    assert command == str(call)
    assert {"Action": call.action, "Version": "2016-11-15", **form} == dict(parse_qsl(body.decode()))
    assert "" == query
    assert arns == call.arns("aws-cn", "cn-north-1")


def test_records_are_xml_in_the_order_of_the_schema() -> None:
    """Name, Type, TTL, ResourceRecords; and characters of XML are escaped."""
    records = [RecordSet("a&b.example", "A", 10, ("10.0.0.1", "10.0.0.2"))]
    call = actions.change_records("Z1", "UPSERT", records)

    assert ("POST", "/2013-04-01/hostedzone/Z1/rrset/") == (call.method, call.path)
    assert (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/">'
        "<ChangeBatch><Changes><Change><Action>UPSERT</Action><ResourceRecordSet><Name>a&amp;b.example</Name>"
        "<Type>A</Type><TTL>10</TTL><ResourceRecords><ResourceRecord><Value>10.0.0.1</Value></ResourceRecord>"
        "<ResourceRecord><Value>10.0.0.2</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change>"
        "</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    ) == call.body
    assert ("arn:aws-us-gov:route53:::hostedzone/Z1",) == call.arns("aws-us-gov", "us-gov-west-1")


def test_a_query_is_sorted_and_percent_encoded() -> None:
    """As the signature wants it."""
    query, body = _wire(actions.list_records("Z1", "*.a b.example", "A"))

    assert ("maxitems=10&name=%2A.a%20b.example&type=A", b"") == (query, body)


def test_only_changes_say_that_they_change() -> None:
    """What is logged as done, and printed by a plan."""
    looks: list[ApiCall] = [
        actions.describe_tables({}),
        actions.describe_interfaces({}),
        actions.describe_instance(NODE),
        actions.describe_vpc_attribute("vpc-1", "enableDnsSupport"),
        actions.get_zone("Z1"),
        actions.zones_by_name("a"),
        actions.list_records("Z1", "a", "A"),
        actions.get_change("C1"),
        actions.assume_role("arn", "name"),
        actions.caller_identity(),
    ]

    assert [False] * len(looks) == [call.writes for call in looks]
    assert all(GOLDEN[name][0].writes for name in GOLDEN if name != "describe tables")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (actions.caller_identity(), "*"),
        (actions.assume_role("arn:aws:iam::123456789012:role/r", "name"), "arn:aws:iam::123456789012:role/r"),
        (actions.zones_by_name("a"), "*"),
        (actions.describe_instance(NODE), "*"),
    ],
)
def test_a_policy_without_a_resource_of_its_own_allows_all(call: ApiCall, expected: str) -> None:
    """Where IAM checks no resource, a policy can name `*` only; a role is its own ARN."""
    assert (expected,) == call.arns("aws", "us-east-1")
