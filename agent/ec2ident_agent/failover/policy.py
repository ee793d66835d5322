"""The minimal IAM policy for the configuration: exact ARNs, record names and tags. Pure.

Actions, resources and condition keys are those of the Service Authorization Reference for EC2, Route 53 and STS. Route
53 requires names in lower case without the final dot, other characters in octal, and types and actions in capitals
("Using IAM policy conditions for fine-grained access control", Route 53 Developer Guide).
"""

from __future__ import annotations

from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .settings import DnsSettings, RouteSettings, Service, Settings

    Statement = Mapping[str, Any]


class _Arns:
    def __init__(self, partition: str, region: str, account: str) -> None:
        self.partition, self.region, self.account = partition, region, account

    def ec2(self, kind: str, ids: Iterable[str]) -> list[str]:
        stem = f"arn:{self.partition}:ec2:{self.region}:{self.account}:{kind}"
        return sorted({f"{stem}/{each}" for each in ids})

    def route53(self, tail: str) -> str:
        return f"arn:{self.partition}:route53:::{tail}"


def document(
    settings: Settings,
    region: str,
    account: str,
    *,
    zones: Mapping[str, str] | None = None,
    release: bool = False,
) -> dict[str, Any]:
    """The policy for every node of the cluster; with `release` also for the verb of that name.

    `zones` has the id of each zone that the settings name, because ARNs have ids. Raises UsageError if a needed setting
    is missing.
    """
    from ec2ident.regions.partitions import Partition

    arns = _Arns(Partition.of(region).name, region, account)
    statements: list[Statement] = []
    services = settings.services
    if not services:
        raise UsageError("policy: no [service.…] is configured")
    looks = _looks(services)
    if looks:
        statements.append(_allow("Look", sorted(looks), ["*"], {"StringEquals": {"ec2:Region": region}}))
    statements += _routes(services, arns)
    statements += _checks(services, settings.interfaces, arns, release)
    statements += _interfaces(services, settings.instances, arns)
    statements += _names(services, arns, zones or {}, release)
    if not statements:
        raise UsageError("policy: nothing to allow: no service has a route, eni or dns; an address alone needs no API")
    return {"Version": "2012-10-17", "Statement": statements}


def assume(role_arn: str, external_id: str = "") -> dict[str, Any]:
    """The policy that a node's own role needs to assume the configured role."""
    condition = {"StringEquals": {"sts:ExternalId": external_id}} if external_id else None
    return {"Version": "2012-10-17", "Statement": [_allow("Assume", ["sts:AssumeRole"], [role_arn], condition)]}


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str], condition: Any = None) -> Statement:
    found: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**found, "Condition": condition} if condition else found


def _looks(services: Sequence[Service]) -> set[str]:
    """The describe calls, which support no resource ARNs."""
    found = set()
    for each in services:
        if each.route:
            found |= {"ec2:DescribeRouteTables", "ec2:DescribeNetworkInterfaces"}
        if each.eni:
            found |= {"ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces"}
        if each.dns and not (each.dns.values or each.overlay):
            found.add("ec2:DescribeNetworkInterfaces")
    return found


def _routes(services: Sequence[Service], arns: _Arns) -> Iterable[Statement]:
    parts = {each.route for each in services if each.route}
    for number, part in enumerate(sorted(parts, key=lambda each: str(each.select))):
        yield _route(part, f"Routes{number or ''}", arns)


def _route(part: RouteSettings, sid: str, arns: _Arns) -> Statement:
    actions = ["ec2:CreateRoute", "ec2:ReplaceRoute"]
    select = part.select
    if select.tables:
        return _allow(sid, actions, arns.ec2("route-table", select.tables))
    if select.tag:
        key, _, value = select.tag.partition("=")
        condition = {"StringEquals": {f"aws:ResourceTag/{key}": value}}
    else:
        condition = {"ArnEquals": {"ec2:Vpc": arns.ec2("vpc", [select.vpc])[0]}}
    return _allow(sid, actions, arns.ec2("route-table", ["*"]), condition)


def _checks(services: Sequence[Service], interfaces: Sequence[str], arns: _Arns, release: bool) -> Iterable[Statement]:
    """Allow switching the source/destination check off, with `release` also on; no other change of the interface."""
    parts = [each.route for each in services if each.route and each.route.check]
    ids = {part.eni for part in parts if part.eni}
    if any(not part.eni for part in parts):
        if not interfaces:
            raise UsageError(
                'policy: interfaces = ["eni-…"] is missing: the first interfaces of the nodes, because'
                ' their source/destination check is switched off (or write source_dest_check = "leave")'
            )
        ids |= {*interfaces}
    if ids:
        condition = {"StringEquals": {"ec2:Attribute/SourceDestCheck": ["false", "true"] if release else "false"}}
        yield _allow("Check", ["ec2:ModifyNetworkInterfaceAttribute"], arns.ec2("network-interface", ids), condition)


def _interfaces(services: Sequence[Service], instances: Sequence[str], arns: _Arns) -> Iterable[Statement]:
    finds = [each.eni.find for each in services if each.eni]
    if not finds:
        return
    if not instances:
        raise UsageError('policy: instances = ["i-…"] is missing: the nodes that an interface moves between')
    actions = ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface"]
    # IAM checks the instance and the interface, and a statement must allow each of them.
    ids = [find.id for find in finds if find.id]
    yield _allow("Move", actions, [*arns.ec2("instance", instances), *arns.ec2("network-interface", ids)])
    for number, tag in enumerate(sorted({find.tag for find in finds if find.tag})):
        key, _, value = tag.partition("=")
        condition = {"StringEquals": {f"aws:ResourceTag/{key}": value}}
        yield _allow(f"MoveTagged{number or ''}", actions, arns.ec2("network-interface", ["*"]), condition)
    if any(find.address for find in finds):
        raise UsageError(
            "policy: an IAM policy cannot name an address; name the interface by id or tag in [service.….eni]"
        )


def _names(services: Sequence[Service], arns: _Arns, ids: Mapping[str, str], release: bool) -> Iterable[Statement]:
    parts = [each.dns for each in services if each.dns]
    if not parts:
        return
    zones = sorted({part.zone for part in parts})
    paths = sorted({arns.route53(f"hostedzone/{ids.get(zone, zone)}") for zone in zones})
    yield _allow("LookAtZone", ["route53:GetHostedZone", "route53:ListResourceRecordSets"], paths)
    for number, zone in enumerate(zones):
        names = sorted({normalized(part.name) for part in parts if part.zone == zone})
        kinds = sorted({kind for each in services if each.dns and each.dns.zone == zone for kind in _kinds(each)})
        prefix = "route53:ChangeResourceRecordSets"
        condition = {
            "ForAllValues:StringEquals": {
                f"{prefix}NormalizedRecordNames": names,
                f"{prefix}RecordTypes": kinds,
                f"{prefix}Actions": ["UPSERT", *(("CREATE", "DELETE") if release else ())],
            }
        }
        sid = f"ChangeRecords{number or ''}"
        yield _allow(
            sid, ["route53:ChangeResourceRecordSets"], [arns.route53(f"hostedzone/{ids.get(zone, zone)}")], condition
        )
    if ids:
        yield _allow("FindZone", ["route53:ListHostedZonesByName"], ["*"])
    if any(part.wait for part in parts):
        # The id of a change is not known in advance.
        yield _allow("WaitForChange", ["route53:GetChange"], [arns.route53("change/*")])


def _kinds(service: Service) -> set[str]:
    part: DnsSettings | None = service.dns
    values = (part.values if part else ()) or service.overlay
    return {"AAAA" if ":" in value else "A" for value in values} or {"A"}


def normalized(name: str) -> str:
    """The name of a record in the form of the condition key."""
    from .aws.response import name as normal

    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else f"\\{ord(c):03o}" for c in normal(name))
