"""The minimal IAM policy for the configuration: exact ARNs, record names and tags. Pure.

Actions, resources and condition keys are those of the Service Authorization Reference for EC2, Route 53 and STS. Route
53 requires names in lower case without the final dot, other characters in octal, and types and actions in capitals
("Using IAM policy conditions for fine-grained access control", Route 53 Developer Guide).
"""

from __future__ import annotations

from ec2ident.value import replace
from ec2ident_agent.failover.aws.forms import is_plain_ipv4
from ec2ident_agent.failover.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from ec2ident_agent.failover.settings import DnsSettings, RouteSettings, Service, Settings

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
    role: str = "",
) -> dict[str, Any]:
    """The policy for every node of the cluster; with `release` also for the verb of that name.

    With `role` it is the policy of that role of a part. `account` is that of the resources that this policy is about.
    `zones` has the id of each zone that the settings name, because ARNs have ids. Raises UsageError if a needed setting
    is missing.
    """
    arns = _arns(region, account)
    statements: list[Statement] = []
    if not settings.services:
        raise UsageError("policy: no [service.…] is configured")
    services = [_of_role(each, role) for each in settings.services]
    looks = _looks(services) | (
        {"ec2:DescribeNetworkInterfaces"} if not role and _carriers(settings.services) else set()
    )
    if looks:
        statements.append(_look(looks, region))
    statements += _routes(services, arns)
    if not role:
        statements += _checks(settings.services, settings.interfaces, arns, release)
    statements += _interfaces(services, settings.instances, arns)
    statements += _assigned(services, settings, arns)
    statements += _names(services, arns, zones or {}, release)
    if not role and not settings.role_arn:
        statements += _assumes(roles_of(settings))
    if not statements:
        raise UsageError(
            "policy: nothing to allow: no service has a route, eni, private, eip or dns, or bgp with tables; an address"
            " and an announcement need no API"
        )
    return _document(statements)


def roles_of(settings: Settings) -> dict[str, str]:
    """Every role that is assumed, with its external id: the one for all parts first. All by the node's own role."""
    found = {settings.role_arn: settings.external_id} if settings.role_arn else {}
    for each in settings.services:
        for part in (each.route, each.eni, each.dns):
            if part and part.role_arn:
                found[part.role_arn] = part.external_id
    return found


def assume(roles: Mapping[str, str]) -> dict[str, Any]:
    """The policy that a node's own role needs to assume these roles, each with its external id or ""."""
    return _document(_assumes(roles))


def trust(principal: str, external_id: str = "") -> dict[str, Any]:
    """The trust policy of a role that the nodes assume; `principal` is the ARN of the nodes' own role."""
    found: dict[str, Any] = {"Sid": "Nodes", "Effect": "Allow", "Principal": {"AWS": principal}}
    found["Action"] = "sts:AssumeRole"
    if external_id:
        found["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return _document([found])


def principal_of(caller: str) -> str:
    """The ARN of the role or user with these credentials, from that of GetCallerIdentity.

    Raises UsageError for another form. The path of a role is not in it.
    """
    import re

    assumed = re.fullmatch(r"arn:([a-z-]+):sts::(\d{12}):assumed-role/([\w+=,.@-]+)/.+", caller, re.ASCII)
    if assumed:
        return f"arn:{assumed[1]}:iam::{assumed[2]}:role/{assumed[3]}"
    if re.fullmatch(r"arn:[a-z-]+:iam::\d{12}:user/[\w+=,.@/-]+", caller, re.ASCII):
        return caller
    raise UsageError(f"policy: {caller[:128]} is not the role of a node; write --principal ARN")


def for_verb(settings: Settings, verb: str, region: str, account: str, **given: Any) -> dict[str, Any]:
    """The policy for a verb that an administrator runs: `route delete`, `eni create` or `dns zone`.

    `given` are the `subnet` and `groups` of the ENI, and the `vpc` of the zone. Raises UsageError.
    """
    arns = _arns(region, account)
    if verb == "route delete":
        found = [_look({"ec2:DescribeRouteTables"}, region), *_routes(settings.services, arns, ["ec2:DeleteRoute"])]
        if len(found) == 1:
            raise UsageError("policy: no [service.….route] is configured")
        return _document(found)
    if verb == "eni create":
        paths = arns.ec2("subnet", [_needed(given, "subnet")]) + arns.ec2("security-group", given.get("groups", ()))
        tags = {"StringEquals": {"ec2:CreateAction": "CreateNetworkInterface"}}
        every = arns.ec2("network-interface", ["*"])
        return _document(
            [
                _look({"ec2:DescribeNetworkInterfaces"}, region),
                _allow("Create", ["ec2:CreateNetworkInterface"], [*every, *paths]),
                _allow("Tag", ["ec2:CreateTags"], every, tags),
            ]
        )
    vpc = arns.ec2("vpc", [_needed(given, "vpc")])
    one = {"ForAllValues:StringEquals": {"route53:VPCs": [f"VPCId={given['vpc']},VPCRegion={region}"]}}
    zones = [arns.route53("hostedzone/*")]
    return _document(
        [
            # Route 53 itself asks with the caller's permissions whether the VPC exists.
            _look({"ec2:DescribeVpcs"}, region),
            _allow("Vpc", ["ec2:DescribeVpcAttribute", "ec2:ModifyVpcAttribute"], vpc),
            _allow("FindZone", ["route53:ListHostedZonesByName"], ["*"]),
            _allow("CreateZone", ["route53:CreateHostedZone"], ["*"], one),
            # The id of a zone is not known in advance.
            _allow("LookAtZone", ["route53:GetHostedZone", "route53:ListTagsForResource"], zones),
            # IAM's reference asks for a health check too, and so do checkers of policies. This one does not exist.
            _allow("TagZone", ["route53:ChangeTagsForResource"], [*zones, arns.route53("healthcheck/none")]),
            _allow("AssociateZone", ["route53:AssociateVPCWithHostedZone"], zones, one),
        ]
    )


def _needed(given: Mapping[str, Any], name: str) -> str:
    if not given.get(name):
        raise UsageError(f"policy: --{name} is missing")
    return str(given[name])


def _document(statements: Iterable[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _arns(region: str, account: str) -> _Arns:
    from ec2ident.regions.partitions import Partition

    return _Arns(Partition.of(region).name, region, account)


def _look(actions: Iterable[str], region: str) -> Statement:
    """The describe calls of EC2, which support no resource ARNs."""
    return _allow("Look", sorted(actions), ["*"], {"StringEquals": {"ec2:Region": region}})


def _assumes(roles: Mapping[str, str]) -> list[Statement]:
    return [
        _allow(
            f"Assume{number or ''}",
            ["sts:AssumeRole"],
            [role],
            {"StringEquals": {"sts:ExternalId": external}} if external else None,
        )
        for number, (role, external) in enumerate(roles.items())
    ]


def _of_role(service: Service, role: str) -> Service:
    """A service with the parts of a role alone; "" is the role of the parts that name none."""
    parts = {"route": service.route, "eni": service.eni, "dns": service.dns}
    kept = {name: part if part and part.role_arn == role else None for name, part in parts.items()}
    if role:
        # What is assigned to the node's ENI is changed with the node's own credentials.
        kept |= {"private": None, "eip": None, "bgp": None}
    return replace(service, **kept)


def _carriers(services: Sequence[Service]) -> bool:
    """Whether the ENI that carries the traffic is read, with the node's own credentials in every case."""
    return any(
        each.route or each.private or each.eip or (each.dns and not (each.dns.values or each.addresses))
        for each in services
    )


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str], condition: Any = None) -> Statement:
    found: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**found, "Condition": condition} if condition else found


def _looks(services: Sequence[Service]) -> set[str]:
    """The describe calls, which support no resource ARNs."""
    found = set()
    for each in services:
        if each.route or (each.bgp and each.bgp.tables):
            found.add("ec2:DescribeRouteTables")
        if each.eni:
            found |= {"ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces"}
        if each.eip:
            found.add("ec2:DescribeAddresses")
    return found


def _routes(
    services: Sequence[Service], arns: _Arns, actions: Sequence[str] = ("ec2:CreateRoute", "ec2:ReplaceRoute")
) -> Iterable[Statement]:
    parts = {each.route for each in services if each.route}
    for number, part in enumerate(sorted(parts, key=lambda each: str(each.select))):
        yield _route(part, f"Routes{number or ''}", actions, arns)


def _route(part: RouteSettings, sid: str, actions: Sequence[str], arns: _Arns) -> Statement:
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
            "policy: an IAM policy cannot name an address; name the interface by its id in [service.….eni]"
        )


def _assignees(enis: Sequence[str], settings: Settings, arns: _Arns) -> list[str]:
    """The ENIs that something is assigned to; those of all nodes, unless the settings name one."""
    if not all(enis) and not settings.interfaces:
        raise UsageError(
            'policy: interfaces = ["eni-…"] is missing: the interfaces of the nodes that an address is assigned to'
        )
    return arns.ec2("network-interface", [*filter(None, enis), *(() if all(enis) else settings.interfaces)])


def _assigned(services: Sequence[Service], settings: Settings, arns: _Arns) -> Iterable[Statement]:
    """Assign private addresses and prefixes; those that cannot be taken are unassigned from the other node first."""
    parts = [each.private for each in services if each.private]
    keys = [key for part in parts for key in part.addresses]
    plain = [is_plain_ipv4(key) for key in keys]
    actions = {f"ec2:{verb}{_IP[':' in key]}" for key in keys for verb in _verbs(key)}
    if parts:
        enis = [part.eni for part in parts]
        # What is unassigned is at another node's ENI.
        enis += [] if all(plain) else [""]
        yield _allow("Assign", sorted(actions), _assignees(enis, settings, arns))
    eips = [each.eip for each in services if each.eip]
    if eips:
        resources = arns.ec2("elastic-ip", [part.allocation for part in eips])
        resources += _assignees([part.eni for part in eips], settings, arns)
        # The instance is checked where the ENI is attached to one.
        resources += arns.ec2("instance", settings.instances or ["*"])
        yield _allow("Associate", ["ec2:AssociateAddress"], resources)


#: The second half of the names of the four actions, by whether it is IPv6.
_IP = {False: "PrivateIpAddresses", True: "Ipv6Addresses"}


def _verbs(key: str) -> tuple[str, ...]:
    return ("Assign",) if is_plain_ipv4(key) else ("Assign", "Unassign")


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
    values = (part.values if part else ()) or service.addresses
    return {"AAAA" if ":" in value else "A" for value in values} or {"A"}


def normalized(name: str) -> str:
    """The name of a record in the form of the condition key."""
    from ec2ident_agent.failover.aws.response import name as normal

    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else f"\\{ord(c):03o}" for c in normal(name))
