"""The calls of the API: their wire form, the ARNs that IAM checks, and the AWS CLI command that does the same. Pure.

`str(call)` is the command that a person could type; the plan, the log and the tests show this one text.
"""

from __future__ import annotations

from ec2ident.value import Value

from . import response
from .forms import is_plain_ipv4
from .model import RecordSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

VERSIONS = {"ec2": "2016-11-15", "sts": "2011-06-15", "route53": "2013-04-01"}

#: The limit of a page of a list: 100 tables with 100 routes each are about 3 MB.
LONG = 8 << 20

_ROUTE53_NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"


class ApiCall(Value):
    """One request. `read` turns its response into a value."""

    service: str
    action: str
    read: Callable[[Any], Any]
    command: str
    #: Form fields of EC2 and STS, query fields of Route 53, without Action and Version.
    fields: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    path: str = "/"
    body: str = ""
    #: The resources that IAM checks: `route-table/rtb-…`, `hostedzone/Z…`; none if it supports `*` only.
    resources: tuple[str, ...] = ()
    #: The account of the resources, if it is known.
    account: str = ""
    writes: bool = False
    #: Whether the response serves only a warning, which must not take time from the move.
    advice: bool = False
    #: Whether a look has shown what the call names: that EC2 does not know it is then an old answer.
    seen: bool = False
    #: Whether to wait until what the call names is in the required state.
    waits: bool = False
    #: Whether a success may have no body.
    empty: bool = False
    #: The longest response that is read, in bytes.
    limit: int = 256 << 10

    @property
    def name(self) -> str:
        """The name in IAM policies: `ec2:ReplaceRoute`."""
        return f"{self.service}:{self.action}"

    def arns(self, partition: str, region: str) -> tuple[str, ...]:
        """The ARNs to allow, for a message. An unknown account is `*`."""
        if self.service == "route53":
            return tuple(f"arn:{partition}:route53:::{tail}" for tail in self.resources) or ("*",)
        if self.service == "sts":
            return self.resources or ("*",)
        stem = f"arn:{partition}:ec2:{region}:{self.account or '*'}"
        return tuple(f"{stem}:{tail}" for tail in self.resources) or ("*",)

    def __str__(self) -> str:
        return f"aws {self.service} {self.command}"


def _numbered(name: str, values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{name}.{number}", value) for number, value in enumerate(values, 1))


def _filters(filters: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for number, (name, values) in enumerate(filters.items(), 1):
        found += [(f"Filter.{number}.Name", name), *_numbered(f"Filter.{number}.Value", values)]
    return tuple(found)


def _filter_words(filters: Mapping[str, Sequence[str]]) -> str:
    return " ".join(f"Name={name},Values={','.join(values)}" for name, values in filters.items())


def _page(token: str) -> tuple[tuple[str, str], ...]:
    return (("NextToken", token),) if token else ()


# EC2: looking


def describe_tables(filters: Mapping[str, Sequence[str]], token: str = "") -> ApiCall:
    """Tables by filter. The filter `route-table-id` ignores ids that do not exist; a list of ids would fail."""
    return ApiCall(
        "ec2",
        "DescribeRouteTables",
        response.tables,
        f"describe-route-tables --filters {_filter_words(filters)}",
        _filters(filters) + _page(token),
        limit=LONG,
    )


def describe_interfaces(filters: Mapping[str, Sequence[str]], token: str = "") -> ApiCall:
    """ENIs by filter."""
    return ApiCall(
        "ec2",
        "DescribeNetworkInterfaces",
        response.interfaces,
        f"describe-network-interfaces --filters {_filter_words(filters)}",
        _filters(filters) + _page(token),
        limit=LONG,
    )


def describe_instance(instance: str) -> ApiCall:
    """One instance."""
    return ApiCall(
        "ec2",
        "DescribeInstances",
        response.instances,
        f"describe-instances --instance-ids {instance}",
        (("InstanceId.1", instance),),
        # 15 interfaces with 50 addresses each are half a megabyte.
        limit=LONG,
    )


def describe_vpc_attribute(vpc: str, attribute: str) -> ApiCall:
    """One attribute of a VPC: `enableDnsSupport` or `enableDnsHostnames`."""
    return ApiCall(
        "ec2",
        "DescribeVpcAttribute",
        response.vpc_attribute(attribute),
        f"describe-vpc-attribute --vpc-id {vpc} --attribute {attribute}",
        (("VpcId", vpc), ("Attribute", attribute)),
        resources=(f"vpc/{vpc}",),
    )


# EC2: changing


def _destination(destination: str) -> tuple[str, str]:
    six = ":" in destination
    return (
        ("DestinationIpv6CidrBlock", "--destination-ipv6-cidr-block")
        if six
        else (
            "DestinationCidrBlock",
            "--destination-cidr-block",
        )
    )


def _route(action: str, command: str, table: str, account: str, destination: str, eni: str = "") -> ApiCall:
    field, option = _destination(destination)
    target = f" --network-interface-id {eni}" if eni else ""
    return ApiCall(
        "ec2",
        action,
        response.done,
        f"{command} --route-table-id {table} {option} {destination}{target}",
        (("RouteTableId", table), (field, destination), *((("NetworkInterfaceId", eni),) if eni else ())),
        resources=(f"route-table/{table}",),
        account=account,
        writes=True,
        seen=True,
        waits=True,
    )


def create_route(table: str, account: str, destination: str, eni: str) -> ApiCall:
    """A new route to an ENI."""
    return _route("CreateRoute", "create-route", table, account, destination, eni)


def replace_route(table: str, account: str, destination: str, eni: str) -> ApiCall:
    """Another target for a route: always an ENI, because EC2 refuses an instance that has several."""
    return _route("ReplaceRoute", "replace-route", table, account, destination, eni)


def delete_route(table: str, account: str, destination: str) -> ApiCall:
    """Remove a route."""
    return _route("DeleteRoute", "delete-route", table, account, destination)


def source_dest_check(eni: str, account: str, on: bool) -> ApiCall:
    """Switch the source/destination check of an ENI: the instance's own flag cannot be set once it has two ENIs."""
    return ApiCall(
        "ec2",
        "ModifyNetworkInterfaceAttribute",
        response.done,
        f"modify-network-interface-attribute --network-interface-id {eni} --{'' if on else 'no-'}source-dest-check",
        (("NetworkInterfaceId", eni), ("SourceDestCheck.Value", "true" if on else "false")),
        resources=(f"network-interface/{eni}",),
        account=account,
        writes=True,
        # A release does without a look.
        seen=not on,
    )


def attach(eni: str, instance: str, index: int, account: str, *, dry: bool = False) -> ApiCall:
    """Attach an ENI. A `dry` call only asks whether that is allowed, and its response is an error in any case."""
    return ApiCall(
        "ec2",
        "AttachNetworkInterface",
        response.attachment_id,
        f"attach-network-interface --network-interface-id {eni} --instance-id {instance} --device-index {index}"
        + (" --dry-run" if dry else ""),
        (
            ("NetworkInterfaceId", eni),
            ("InstanceId", instance),
            ("DeviceIndex", str(index)),
            *((("DryRun", "true"),) if dry else ()),
        ),
        resources=(f"instance/{instance}", f"network-interface/{eni}"),
        account=account,
        writes=not dry,
        seen=True,
    )


def detach(attachment: str, eni: str, instance: str, account: str, *, force: bool = False) -> ApiCall:
    """Detach an ENI; `eni` and `instance` serve only the message of a denied call."""
    return ApiCall(
        "ec2",
        "DetachNetworkInterface",
        response.done,
        f"detach-network-interface --attachment-id {attachment}{' --force' if force else ''}",
        (("AttachmentId", attachment), *((("Force", "true"),) if force else ())),
        resources=(f"instance/{instance}", f"network-interface/{eni}"),
        account=account,
        writes=True,
    )


def _assignment(verb: str, eni: str, account: str, key: str, *, reassign: bool = False) -> ApiCall:
    """AssignPrivateIpAddresses and its three relatives: for one address, or for one delegated prefix."""
    version, prefix = ("6" if ":" in key else "4"), "/" in key
    action, command = ("PrivateIpAddresses", "private-ip") if version == "4" else ("Ipv6Addresses", "ipv6")
    field = f"Ipv{version}Prefix" if prefix else "Ipv6Addresses" if version == "6" else "PrivateIpAddress"
    option = f"--ipv{version}-prefixes" if prefix else f"--{command}-addresses"
    fields = (("NetworkInterfaceId", eni), (f"{field}.1", key), *((("AllowReassignment", "true"),) if reassign else ()))
    return ApiCall(
        "ec2",
        f"{verb}{action}",
        response.assigned,
        f"{verb.lower()}-{command}-addresses --network-interface-id {eni} {option} {key}"
        + (" --allow-reassignment" if reassign else ""),
        fields,
        resources=(f"network-interface/{eni}",),
        account=account,
        writes=True,
        seen=verb == "Assign",
        waits=True,
    )


def assign(eni: str, account: str, key: str, *, reassign: bool) -> ApiCall:
    """Assign a private address or a prefix; `reassign` takes an IPv4 address from its holder."""
    return _assignment("Assign", eni, account, key, reassign=reassign and is_plain_ipv4(key))


def unassign(eni: str, account: str, key: str) -> ApiCall:
    """Take a private address or a prefix from an ENI."""
    return _assignment("Unassign", eni, account, key)


def describe_addresses(allocation: str) -> ApiCall:
    """One Elastic IP, by filter: an id would fail where it does not exist."""
    return ApiCall(
        "ec2",
        "DescribeAddresses",
        response.elastic_addresses,
        f"describe-addresses --filters Name=allocation-id,Values={allocation}",
        _filters({"allocation-id": [allocation]}),
    )


def associate(allocation: str, eni: str, account: str, private: str = "", *, reassign: bool) -> ApiCall:
    """Associate an Elastic IP with an ENI, for its primary private address or for `private`."""
    return ApiCall(
        "ec2",
        "AssociateAddress",
        response.association_id,
        f"associate-address --allocation-id {allocation} --network-interface-id {eni}"
        + (f" --private-ip-address {private}" if private else "")
        + (" --allow-reassociation" if reassign else " --no-allow-reassociation"),
        (
            ("AllocationId", allocation),
            ("NetworkInterfaceId", eni),
            ("AllowReassociation", "true" if reassign else "false"),
            *((("PrivateIpAddress", private),) if private else ()),
        ),
        resources=(f"elastic-ip/{allocation}", f"network-interface/{eni}"),
        account=account,
        writes=True,
        seen=True,
        waits=True,
    )


def create_interface(
    subnet: str,
    address: str,
    groups: Sequence[str],
    description: str,
    token: str,
    account: str = "",
    tags: Mapping[str, str] | None = None,
) -> ApiCall:
    """Create an ENI. It is safe to send again: the same `token` returns the same ENI."""
    fields = [("SubnetId", subnet), ("ClientToken", token)]
    command = f"create-network-interface --subnet-id {subnet} --client-token {token}"
    if address:
        six = ":" in address
        fields.append(("Ipv6Addresses.1.Ipv6Address" if six else "PrivateIpAddress", address))
        command += f" --ipv6-addresses Ipv6Address={address}" if six else f" --private-ip-address {address}"
    if groups:
        command += f" --groups {' '.join(groups)}"
    if description:
        import shlex

        fields.append(("Description", description))
        command += f" --description {shlex.quote(description)}"
    if tags:
        import shlex

        fields.append(("TagSpecification.1.ResourceType", "network-interface"))
        for number, (key, value) in enumerate(tags.items(), 1):
            fields += [(f"TagSpecification.1.Tag.{number}.Key", key), (f"TagSpecification.1.Tag.{number}.Value", value)]
        said = ",".join(f"{{Key={key},Value={value}}}" for key, value in tags.items())
        command += f" --tag-specifications {shlex.quote(f'ResourceType=network-interface,Tags=[{said}]')}"
    return ApiCall(
        "ec2",
        "CreateNetworkInterface",
        response.created_interface,
        command,
        (*fields, *_numbered("SecurityGroupId", groups)),
        resources=(f"subnet/{subnet}", "network-interface/*", *(f"security-group/{group}" for group in groups)),
        account=account,
        writes=True,
    )


def modify_vpc(vpc: str, attribute: str) -> ApiCall:
    """Switch one attribute on: `enableDnsSupport` or `enableDnsHostnames`."""
    field = attribute[0].upper() + attribute[1:]
    option = {"enableDnsSupport": "--enable-dns-support", "enableDnsHostnames": "--enable-dns-hostnames"}[attribute]
    return ApiCall(
        "ec2",
        "ModifyVpcAttribute",
        response.done,
        f"modify-vpc-attribute --vpc-id {vpc} {option}",
        (("VpcId", vpc), (f"{field}.Value", "true")),
        resources=(f"vpc/{vpc}",),
        writes=True,
    )


# Route 53


def _zone_path(zone: str, tail: str = "") -> str:
    return f"/{VERSIONS['route53']}/hostedzone/{zone}{tail}"


def get_zone(zone: str) -> ApiCall:
    """One hosted zone."""
    return ApiCall(
        "route53",
        "GetHostedZone",
        response.hosted_zone,
        f"get-hosted-zone --id {zone}",
        method="GET",
        path=_zone_path(zone),
        resources=(f"hostedzone/{zone}",),
        limit=LONG,
    )


def zones_by_name(name: str) -> ApiCall:
    """The hosted zones from this name on."""
    return ApiCall(
        "route53",
        "ListHostedZonesByName",
        response.zones,
        f"list-hosted-zones-by-name --dns-name {name}",
        (("dnsname", name),),
        method="GET",
        path=f"/{VERSIONS['route53']}/hostedzonesbyname",
    )


def list_records(zone: str, name: str, kind: str) -> ApiCall:
    """Record sets from this name and type on, or from the next one if there is none: the caller compares."""
    return ApiCall(
        "route53",
        "ListResourceRecordSets",
        response.records,
        f"list-resource-record-sets --hosted-zone-id {zone} --start-record-name {name} --start-record-type {kind}",
        (("maxitems", "10"), ("name", name), ("type", kind)),
        method="GET",
        path=_zone_path(zone, "/rrset"),
        resources=(f"hostedzone/{zone}",),
    )


def change_records(zone: str, action: str, records: Sequence[RecordSet]) -> ApiCall:
    """One batch, which succeeds or fails as a whole. `action` is UPSERT or DELETE."""
    return _batch(zone, [(action, each) for each in records])


def exchange_records(zone: str, old: RecordSet, new: RecordSet | None) -> ApiCall:
    """Put `new` (None: nothing) in the place of exactly `old`. A zone that says anything else refuses the batch."""
    return _batch(zone, [("DELETE", old), *([("CREATE", new)] if new else [])])


def _batch(zone: str, pairs: Sequence[tuple[str, RecordSet]]) -> ApiCall:
    import json

    batch = {"Changes": [{"Action": action, "ResourceRecordSet": _as_json(each)} for action, each in pairs]}
    changes = "".join(f"<Change><Action>{action}</Action>{_as_xml(each)}</Change>" for action, each in pairs)
    return ApiCall(
        "route53",
        "ChangeResourceRecordSets",
        response.change,
        f"change-resource-record-sets --hosted-zone-id {zone} --change-batch '{json.dumps(batch)}'",
        path=_zone_path(zone, "/rrset/"),
        body=_document("ChangeResourceRecordSets", f"<ChangeBatch><Changes>{changes}</Changes></ChangeBatch>"),
        resources=(f"hostedzone/{zone}",),
        writes=True,
    )


def _as_json(records: RecordSet) -> dict[str, object]:
    values = [{"Value": value} for value in records.values]
    return {"Name": records.name, "Type": records.type, "TTL": records.ttl, "ResourceRecords": values}


def _as_xml(records: RecordSet) -> str:
    """The elements in the order of the schema, which the service requires."""
    values = "".join(f"<ResourceRecord><Value>{_escape(v)}</Value></ResourceRecord>" for v in records.values)
    return (
        f"<ResourceRecordSet><Name>{_escape(records.name)}</Name><Type>{records.type}</Type><TTL>{records.ttl}</TTL>"
        f"<ResourceRecords>{values}</ResourceRecords></ResourceRecordSet>"
    )


def _document(action: str, inside: str) -> str:
    root = f"{action}Request"
    return f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns="{_ROUTE53_NAMESPACE}">{inside}</{root}>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def get_change(change: str) -> ApiCall:
    """The status of a change."""
    return ApiCall(
        "route53",
        "GetChange",
        response.change,
        f"get-change --id {change}",
        method="GET",
        path=f"/{VERSIONS['route53']}/change/{change}",
        resources=(f"change/{change}",),
    )


def create_zone(name: str, vpc: str, region: str, token: str) -> ApiCall:
    """Create a private zone; `token` makes it safe to send again."""
    vpc_xml = f"<VPC><VPCRegion>{region}</VPCRegion><VPCId>{vpc}</VPCId></VPC>"
    config = "<HostedZoneConfig><Comment>ec2ident</Comment><PrivateZone>true</PrivateZone></HostedZoneConfig>"
    inside = f"<Name>{_escape(name)}</Name>{vpc_xml}<CallerReference>{_escape(token)}</CallerReference>{config}"
    return ApiCall(
        "route53",
        "CreateHostedZone",
        response.hosted_zone,
        f"create-hosted-zone --name {name} --vpc VPCRegion={region},VPCId={vpc} --caller-reference {token}"
        " --hosted-zone-config Comment=ec2ident,PrivateZone=true",
        path=f"/{VERSIONS['route53']}/hostedzone",
        body=_document("CreateHostedZone", inside),
        writes=True,
    )


def associate_zone(zone: str, vpc: str, region: str) -> ApiCall:
    """Associate a private zone with a further VPC."""
    vpc_xml = f"<VPC><VPCRegion>{region}</VPCRegion><VPCId>{vpc}</VPCId></VPC>"
    return ApiCall(
        "route53",
        "AssociateVPCWithHostedZone",
        response.change,
        f"associate-vpc-with-hosted-zone --hosted-zone-id {zone} --vpc VPCRegion={region},VPCId={vpc}",
        path=_zone_path(zone, "/associatevpc"),
        body=_document("AssociateVPCWithHostedZone", vpc_xml),
        resources=(f"hostedzone/{zone}",),
        writes=True,
    )


def _tags_path(zone: str) -> str:
    return f"/{VERSIONS['route53']}/tags/hostedzone/{zone}"


def list_zone_tags(zone: str) -> ApiCall:
    """The tags of a zone."""
    return ApiCall(
        "route53",
        "ListTagsForResource",
        response.zone_tags,
        f"list-tags-for-resource --resource-type hostedzone --resource-id {zone}",
        method="GET",
        path=_tags_path(zone),
        resources=(f"hostedzone/{zone}",),
    )


def tag_zone(zone: str, tags: Mapping[str, str]) -> ApiCall:
    """Add tags to a zone, or change their values: CreateHostedZone itself takes none.

    The API reference says "an HTTP 200 response with an empty HTTP body".
    """
    import shlex

    rows = "".join(f"<Tag><Key>{_escape(k)}</Key><Value>{_escape(v)}</Value></Tag>" for k, v in tags.items())
    said = " ".join(shlex.quote(f"Key={key},Value={value}") for key, value in tags.items())
    return ApiCall(
        "route53",
        "ChangeTagsForResource",
        response.nothing,
        f"change-tags-for-resource --resource-type hostedzone --resource-id {zone} --add-tags {said}",
        path=_tags_path(zone),
        body=_document("ChangeTagsForResource", f"<AddTags>{rows}</AddTags>"),
        resources=(f"hostedzone/{zone}",),
        writes=True,
        empty=True,
    )


# STS


def assume_role(role: str, name: str, external: str = "") -> ApiCall:
    """Credentials of a role for 15 minutes, longer than any action may take."""
    return ApiCall(
        "sts",
        "AssumeRole",
        response.credentials,
        f"assume-role --role-arn {role} --role-session-name {name}",
        (
            ("RoleArn", role),
            ("RoleSessionName", name),
            ("DurationSeconds", "900"),
            *((("ExternalId", external),) if external else ()),
        ),
        resources=(role,),
    )


def caller_identity() -> ApiCall:
    """The account and the ARN of the node's own credentials."""
    return ApiCall("sts", "GetCallerIdentity", response.caller, "get-caller-identity")
