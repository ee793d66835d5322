"""The calls of the API: their wire form, the ARNs that IAM checks, and the AWS CLI command that does the same. Pure.

`str(call)` is the command that a person could type; the plan, the log and the tests show this one text.
"""

from __future__ import annotations

import re

from ec2ident.value import Value, replace

from . import response
from .forms import is_plain_ipv4
from .model import RecordSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Field = tuple[str, ...]

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


def _words(name: str) -> str:
    """The AWS CLI's spelling of a name of the API: `DestinationIpv6CidrBlock` is `destination-ipv6-cidr-block`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def _form(service: str, action: str, read: Callable[[Any], Any], fields: Iterable[Field], **more: Any) -> ApiCall:
    """A call of EC2 or STS: each field is an option of the command.

    Where the option is not the field's name and value, a third text is what the command says, "" for nothing.
    """
    fields = tuple(fields)
    options = [each[2] if len(each) > 2 else f"--{_words(each[0])} {each[1]}" for each in fields]
    command = " ".join(filter(None, (_words(action), *options)))
    return ApiCall(service, action, read, command, tuple((each[0], each[1]) for each in fields), **more)


def _change(
    action: str,
    read: Callable[[Any], Any],
    fields: Iterable[Field],
    account: str,
    *resources: str,
    writes: bool = True,
    seen: bool = False,
    waits: bool = False,
) -> ApiCall:
    """A call of EC2 that changes these resources."""
    more = {"account": account, "resources": resources, "writes": writes, "seen": seen, "waits": waits}
    return _form("ec2", action, read, fields, **more)


def _filters(filters: Mapping[str, Sequence[str]], token: str = "") -> Iterator[Field]:
    said = "--filters " + " ".join(f"Name={name},Values={','.join(values)}" for name, values in filters.items())
    for number, (name, values) in enumerate(filters.items(), 1):
        yield f"Filter.{number}.Name", name, said if number == 1 else ""
        yield from ((f"Filter.{number}.Value.{place}", value, "") for place, value in enumerate(values, 1))
    if token:
        yield "NextToken", token, ""


# EC2: looking


def describe_tables(filters: Mapping[str, Sequence[str]], token: str = "") -> ApiCall:
    """Tables by filter. The filter `route-table-id` ignores ids that do not exist; a list of ids would fail."""
    return _form("ec2", "DescribeRouteTables", response.tables, _filters(filters, token), limit=LONG)


def describe_interfaces(filters: Mapping[str, Sequence[str]], token: str = "") -> ApiCall:
    """ENIs by filter."""
    return _form("ec2", "DescribeNetworkInterfaces", response.interfaces, _filters(filters, token), limit=LONG)


def describe_instance(instance: str) -> ApiCall:
    """One instance."""
    fields = [("InstanceId.1", instance, f"--instance-ids {instance}")]
    # 15 interfaces with 50 addresses each are half a megabyte.
    return _form("ec2", "DescribeInstances", response.instances, fields, limit=LONG)


def describe_vpc_attribute(vpc: str, attribute: str) -> ApiCall:
    """One attribute of a VPC: `enableDnsSupport` or `enableDnsHostnames`."""
    fields = (("VpcId", vpc), ("Attribute", attribute))
    return _form("ec2", "DescribeVpcAttribute", response.vpc_attribute(attribute), fields, resources=(f"vpc/{vpc}",))


def describe_addresses(allocation: str) -> ApiCall:
    """One Elastic IP, by filter: an id would fail where it does not exist."""
    return _form("ec2", "DescribeAddresses", response.elastic_addresses, _filters({"allocation-id": [allocation]}))


# EC2: changing


def _route(action: str, table: str, account: str, destination: str, eni: str = "") -> ApiCall:
    fields: list[Field] = [
        ("RouteTableId", table),
        (f"Destination{'Ipv6' if ':' in destination else ''}CidrBlock", destination),
    ]
    fields += [("NetworkInterfaceId", eni)] if eni else []
    return _change(action, response.done, fields, account, f"route-table/{table}", seen=True, waits=True)


def create_route(table: str, account: str, destination: str, eni: str) -> ApiCall:
    """A new route to an ENI."""
    return _route("CreateRoute", table, account, destination, eni)


def replace_route(table: str, account: str, destination: str, eni: str) -> ApiCall:
    """Another target for a route: always an ENI, because EC2 refuses an instance that has several."""
    return _route("ReplaceRoute", table, account, destination, eni)


def delete_route(table: str, account: str, destination: str) -> ApiCall:
    """Remove a route."""
    return _route("DeleteRoute", table, account, destination)


def source_dest_check(eni: str, account: str, on: bool) -> ApiCall:
    """Switch the source/destination check of an ENI: the instance's own flag cannot be set once it has two ENIs."""
    check = ("SourceDestCheck.Value", str(on).lower(), f"--{'' if on else 'no-'}source-dest-check")
    fields = (("NetworkInterfaceId", eni), check)
    resource = f"network-interface/{eni}"
    # A release does without a look.
    return _change("ModifyNetworkInterfaceAttribute", response.done, fields, account, resource, seen=not on)


def attach(eni: str, instance: str, index: int, account: str, *, dry: bool = False) -> ApiCall:
    """Attach an ENI. A `dry` call only asks whether that is allowed, and its response is an error in any case."""
    fields: list[Field] = [("NetworkInterfaceId", eni), ("InstanceId", instance), ("DeviceIndex", str(index))]
    fields += [("DryRun", "true", "--dry-run")] if dry else []
    checked = [f"instance/{instance}", f"network-interface/{eni}"]
    read, writes = response.attachment_id, not dry
    return _change("AttachNetworkInterface", read, fields, account, *checked, writes=writes, seen=True)


def detach(attachment: str, eni: str, instance: str, account: str, *, force: bool = False) -> ApiCall:
    """Detach an ENI; `eni` and `instance` serve only the message of a denied call."""
    fields: list[Field] = [("AttachmentId", attachment)]
    fields += [("Force", "true", "--force")] if force else []
    checked = [f"instance/{instance}", f"network-interface/{eni}"]
    return _change("DetachNetworkInterface", response.done, fields, account, *checked)


def _assignment(verb: str, eni: str, account: str, key: str, *, reassign: bool = False) -> ApiCall:
    """AssignPrivateIpAddresses and its three relatives: for one address, or for one delegated prefix."""
    version, prefix = ("6" if ":" in key else "4"), "/" in key
    many = "PrivateIpAddresses" if version == "4" else "Ipv6Addresses"
    field = f"Ipv{version}Prefix" if prefix else "Ipv6Addresses" if version == "6" else "PrivateIpAddress"
    option = f"--ipv{version}-prefixes" if prefix else f"--{_words(many)}"
    fields: list[Field] = [("NetworkInterfaceId", eni), (f"{field}.1", key, f"{option} {key}")]
    fields += [("AllowReassignment", "true", "--allow-reassignment")] if reassign else []
    resource, seen = f"network-interface/{eni}", verb == "Assign"
    return _change(f"{verb}{many}", response.assigned, fields, account, resource, seen=seen, waits=True)


def assign(eni: str, account: str, key: str, *, reassign: bool) -> ApiCall:
    """Assign a private address or a prefix; `reassign` takes an IPv4 address from its holder."""
    return _assignment("Assign", eni, account, key, reassign=reassign and is_plain_ipv4(key))


def unassign(eni: str, account: str, key: str) -> ApiCall:
    """Take a private address or a prefix from an ENI."""
    return _assignment("Unassign", eni, account, key)


def associate(allocation: str, eni: str, account: str, private: str = "", *, reassign: bool) -> ApiCall:
    """Associate an Elastic IP with an ENI, for its primary private address or for `private`."""
    fields: list[Field] = [("AllocationId", allocation), ("NetworkInterfaceId", eni)]
    fields += [("PrivateIpAddress", private)] if private else []
    fields += [("AllowReassociation", str(reassign).lower(), f"--{'' if reassign else 'no-'}allow-reassociation")]
    checked = [f"elastic-ip/{allocation}", f"network-interface/{eni}"]
    return _change("AssociateAddress", response.association_id, fields, account, *checked, seen=True, waits=True)


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
    import shlex

    fields: list[Field] = [("SubnetId", subnet), ("ClientToken", token)]
    if ":" in address:
        fields.append(("Ipv6Addresses.1.Ipv6Address", address, f"--ipv6-addresses Ipv6Address={address}"))
    elif address:
        fields.append(("PrivateIpAddress", address))
    for number, group in enumerate(groups, 1):
        fields.append((f"SecurityGroupId.{number}", group, "" if number > 1 else f"--groups {' '.join(groups)}"))
    if description:
        fields.append(("Description", description, f"--description {shlex.quote(description)}"))
    if tags:
        said = ",".join(f"{{Key={key},Value={value}}}" for key, value in tags.items())
        said = f"--tag-specifications {shlex.quote(f'ResourceType=network-interface,Tags=[{said}]')}"
        fields.append(("TagSpecification.1.ResourceType", "network-interface", said))
        for number, (key, value) in enumerate(tags.items(), 1):
            stem = f"TagSpecification.1.Tag.{number}"
            fields += [(f"{stem}.Key", key, ""), (f"{stem}.Value", value, "")]
    checked = [f"subnet/{subnet}", "network-interface/*", *(f"security-group/{group}" for group in groups)]
    return _change("CreateNetworkInterface", response.created_interface, fields, account, *checked)


def modify_vpc(vpc: str, attribute: str) -> ApiCall:
    """Switch one attribute on: `enableDnsSupport` or `enableDnsHostnames`."""
    switch = (f"{attribute[0].upper()}{attribute[1:]}.Value", "true", f"--{_words(attribute)}")
    return _change("ModifyVpcAttribute", response.done, [("VpcId", vpc), switch], "", f"vpc/{vpc}")


# Route 53

_DOCUMENT = '<?xml version="1.0" encoding="UTF-8"?><{0}Request xmlns="{1}">{2}</{0}Request>'


def _get(action: str, read: Callable[[Any], Any], words: str, path: str, resource: str = "", **more: Any) -> ApiCall:
    named = (resource,) if resource else ()
    command, path = f"{_words(action)} {words}", f"/{VERSIONS['route53']}/{path}"
    return ApiCall("route53", action, read, command, method="GET", path=path, resources=named, **more)


def _post(
    action: str, read: Callable[[Any], Any], words: str, path: str, inside: str, resource: str = "", **more: Any
) -> ApiCall:
    """A change that a document describes."""
    body = _DOCUMENT.format(action, _ROUTE53_NAMESPACE, inside)
    return replace(_get(action, read, words, path, resource, **more), method="POST", body=body, writes=True)


def get_zone(zone: str) -> ApiCall:
    """One hosted zone."""
    path = f"hostedzone/{zone}"
    return _get("GetHostedZone", response.hosted_zone, f"--id {zone}", path, path, limit=LONG)


def zones_by_name(name: str) -> ApiCall:
    """The hosted zones from this name on."""
    words, fields = f"--dns-name {name}", (("dnsname", name),)
    return _get("ListHostedZonesByName", response.zones, words, "hostedzonesbyname", fields=fields)


def list_records(zone: str, name: str, kind: str) -> ApiCall:
    """Record sets from this name and type on, or from the next one if there is none: the caller compares."""
    words = f"--hosted-zone-id {zone} --start-record-name {name} --start-record-type {kind}"
    resource, fields = f"hostedzone/{zone}", (("maxitems", "10"), ("name", name), ("type", kind))
    return _get("ListResourceRecordSets", response.records, words, f"{resource}/rrset", resource, fields=fields)


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
    words = f"--hosted-zone-id {zone} --change-batch '{json.dumps(batch)}'"
    inside, resource = f"<ChangeBatch><Changes>{changes}</Changes></ChangeBatch>", f"hostedzone/{zone}"
    return _post("ChangeResourceRecordSets", response.change, words, f"{resource}/rrset/", inside, resource)


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


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def get_change(change: str) -> ApiCall:
    """The status of a change."""
    return _get("GetChange", response.change, f"--id {change}", f"change/{change}", f"change/{change}")


def _vpc(vpc: str, region: str) -> tuple[str, str]:
    """A VPC, as the command and as the document name it."""
    return f"--vpc VPCRegion={region},VPCId={vpc}", f"<VPC><VPCRegion>{region}</VPCRegion><VPCId>{vpc}</VPCId></VPC>"


def create_zone(name: str, vpc: str, region: str, token: str) -> ApiCall:
    """Create a private zone; `token` makes it safe to send again."""
    said, vpc_xml = _vpc(vpc, region)
    words = f"--name {name} {said} --caller-reference {token}"
    words += " --hosted-zone-config Comment=ec2ident,PrivateZone=true"
    config = "<HostedZoneConfig><Comment>ec2ident</Comment><PrivateZone>true</PrivateZone></HostedZoneConfig>"
    inside = f"<Name>{_escape(name)}</Name>{vpc_xml}<CallerReference>{_escape(token)}</CallerReference>{config}"
    return _post("CreateHostedZone", response.hosted_zone, words, "hostedzone", inside)


def associate_zone(zone: str, vpc: str, region: str) -> ApiCall:
    """Associate a private zone with a further VPC."""
    (said, inside), resource = _vpc(vpc, region), f"hostedzone/{zone}"
    words = f"--hosted-zone-id {zone} {said}"
    return _post("AssociateVPCWithHostedZone", response.change, words, f"{resource}/associatevpc", inside, resource)


def list_zone_tags(zone: str) -> ApiCall:
    """The tags of a zone."""
    words, resource = f"--resource-type hostedzone --resource-id {zone}", f"hostedzone/{zone}"
    return _get("ListTagsForResource", response.zone_tags, words, f"tags/{resource}", resource)


def tag_zone(zone: str, tags: Mapping[str, str]) -> ApiCall:
    """Add tags to a zone, or change their values: CreateHostedZone itself takes none.

    The API reference says "an HTTP 200 response with an empty HTTP body".
    """
    import shlex

    rows = "".join(f"<Tag><Key>{_escape(k)}</Key><Value>{_escape(v)}</Value></Tag>" for k, v in tags.items())
    said = " ".join(shlex.quote(f"Key={key},Value={value}") for key, value in tags.items())
    words, resource = f"--resource-type hostedzone --resource-id {zone} --add-tags {said}", f"hostedzone/{zone}"
    inside = f"<AddTags>{rows}</AddTags>"
    return _post("ChangeTagsForResource", response.nothing, words, f"tags/{resource}", inside, resource, empty=True)


# STS


def assume_role(role: str, name: str, external: str = "") -> ApiCall:
    """Credentials of a role for 15 minutes, longer than any action may take. The command shows no external id."""
    fields: list[Field] = [("RoleArn", role), ("RoleSessionName", name), ("DurationSeconds", "900", "")]
    fields += [("ExternalId", external, "")] if external else []
    return _form("sts", "AssumeRole", response.credentials, fields, resources=(role,))


def caller_identity() -> ApiCall:
    """The account and the ARN of the node's own credentials."""
    return _form("sts", "GetCallerIdentity", response.caller, ())
