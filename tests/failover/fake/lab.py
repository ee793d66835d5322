"""What exists at the start: instances in two zones, route tables, an interface to move, a private zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

OVERLAY = "192.168.10.5/32"
OVERLAY6 = "fd00:10::5/128"
ZONE_NAME = "awslab.mycompany.corp"
RECORD = f"db.{ZONE_NAME}"

Send = Callable[..., "tuple[int, bytes]"]


@dataclass(frozen=True)
class Lab:
    """Ids of what exists at the start. The overlay route goes to node 2 in both tables; nodes 1 and 2 share a zone."""

    region: str
    account: str
    vpc: str
    vpc_cidr: str
    subnet_a: str
    subnet_a2: str
    subnet_b: str
    node1: str
    node2: str
    node3: str
    eni1: str
    eni2: str
    eni3: str
    service_eni: str
    service_address: str
    tables: tuple[str, str]
    group: str
    zone: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def lay(send: Send, region: str) -> Lab:
    """Make everything through moto's own wire form, so that this does not depend on moto's inside."""
    from moto.core.models import DEFAULT_ACCOUNT_ID

    def ec2(action: str, field: str = "", **form: str) -> str:
        status, body = send("ec2", "POST", "/", {"Action": action, "Version": "2016-11-15", **form})
        assert status == 200, body
        found = re.search(rf"<{field}>(.*?)</{field}>", body.decode()) if field else None
        return found[1] if found else ""

    def instance(subnet: str, address: str) -> tuple[str, str]:
        identity = ec2(
            "RunInstances",
            "instanceId",
            ImageId="ami-12c6146b",
            MinCount="1",
            MaxCount="1",
            InstanceType="m5.large",
            SubnetId=subnet,
            PrivateIpAddress=address,
        )
        found = {"Filter.1.Name": "attachment.instance-id", "Filter.1.Value.1": identity}
        return identity, ec2("DescribeNetworkInterfaces", "networkInterfaceId", **found)

    vpc = ec2("CreateVpc", "vpcId", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock="true")
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2("ModifyVpcAttribute", VpcId=vpc, **{f"{attribute}.Value": "true"})
    blocks = (("10.0.0.0/24", "a"), ("10.0.1.0/24", "a"), ("10.0.2.0/24", "b"))
    subnets = [
        ec2("CreateSubnet", "subnetId", VpcId=vpc, CidrBlock=cidr, AvailabilityZone=f"{region}{zone}")
        for cidr, zone in blocks
    ]
    nodes = [
        instance(subnets[0], "10.0.0.11"),
        instance(subnets[0], "10.0.0.12"),
        instance(subnets[2], "10.0.2.13"),
    ]
    group = ec2("CreateSecurityGroup", "groupId", GroupName="service", GroupDescription="service", VpcId=vpc)
    service = ec2(
        "CreateNetworkInterface",
        "networkInterfaceId",
        SubnetId=subnets[1],
        PrivateIpAddress="10.0.1.5",
        Description="service",
        **{"SecurityGroupId.1": group},
    )
    ec2("CreateTags", **{"ResourceId.1": service, "Tag.1.Key": "Service", "Tag.1.Value": "web"})
    tables = [_table(ec2, vpc, subnet, nodes[1][1]) for subnet in (subnets[0], subnets[2])]
    for _, eni in nodes:
        ec2("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, **{"SourceDestCheck.Value": "false"})
    return Lab(
        region,
        DEFAULT_ACCOUNT_ID,
        vpc,
        "10.0.0.0/16",
        subnets[0],
        subnets[1],
        subnets[2],
        nodes[0][0],
        nodes[1][0],
        nodes[2][0],
        nodes[0][1],
        nodes[1][1],
        nodes[2][1],
        service,
        "10.0.1.5",
        (tables[0], tables[1]),
        group,
        _zone(send, vpc, region),
    )


def _table(ec2: Callable[..., str], vpc: str, subnet: str, eni: str) -> str:
    table = ec2("CreateRouteTable", "routeTableId", VpcId=vpc)
    ec2("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    ec2("CreateTags", **{"ResourceId.1": table, "Tag.1.Key": "Service", "Tag.1.Value": "web"})
    ec2("CreateRoute", RouteTableId=table, DestinationCidrBlock=OVERLAY, NetworkInterfaceId=eni)
    return table


def _zone(send: Send, vpc: str, region: str) -> str:
    namespace = 'xmlns="https://route53.amazonaws.com/doc/2013-04-01/"'
    body = (
        f"<CreateHostedZoneRequest {namespace}><Name>{ZONE_NAME}</Name><VPC><VPCRegion>{region}</VPCRegion>"
        f"<VPCId>{vpc}</VPCId></VPC><CallerReference>lab</CallerReference><HostedZoneConfig><Comment>lab</Comment>"
        "<PrivateZone>true</PrivateZone></HostedZoneConfig></CreateHostedZoneRequest>"
    )
    status, answer = send("route53", "POST", "/2013-04-01/hostedzone", {}, body.encode())
    found = re.search(r"<Id>/hostedzone/(.*?)</Id>", answer.decode())
    assert status == 201, answer
    assert found, answer
    return found[1]
