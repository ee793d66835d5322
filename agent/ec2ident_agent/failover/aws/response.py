"""The responses of the API, from XML to values. This is the only module that knows their fields. Pure and strict.

Sources: EC2 API Reference 2016-11-15, Route 53 API Reference 2013-04-01, STS API Reference 2011-06-15. A missing
field, or a malformed id, address or number raises MalformedResponseError.
"""

from __future__ import annotations

import re

from ec2ident_agent.failover.errors import MalformedResponseError

from .model import (
    Attachment,
    CallerIdentity,
    Change,
    Credentials,
    Ec2Instance,
    ElasticAddress,
    HostedZone,
    NetworkInterface,
    RecordSet,
    RouteTable,
    VpcRoute,
)
from .xml import Element, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

_TARGETS = [
    "gatewayId",
    "natGatewayId",
    "transitGatewayId",
    "vpcPeeringConnectionId",
    "egressOnlyInternetGatewayId",
    "carrierGatewayId",
    "localGatewayId",
    "coreNetworkArn",
    "odbNetworkArn",
    "ipAddress",
]

#: What a gateway route table is associated with, in place of subnets.
_ENTRANCES = ("gatewayId", "publicIpv4Pool")

SHAPES = {
    "table": r"rtb-[0-9a-f]{8,17}",
    "interface": r"eni-[0-9a-f]{8,17}",
    "allocation": r"eipalloc-[0-9a-f]{8,17}",
    "association": r"eipassoc-[0-9a-f]{8,17}",
    "attachment": r"(?:eni|ela)-attach-[0-9a-f]{8,17}",
    "instance": r"i-[0-9a-f]{8,17}",
    "subnet": r"subnet-[0-9a-f]{8,17}",
    "group": r"sg-[0-9a-f]{8,17}",
    "vpc": r"vpc-[0-9a-f]{8,17}",
    "account": r"\d{12}",
    "zone": r"[A-Z0-9]{1,32}",
    "change": r"[A-Za-z0-9-]{1,64}",
    "mac": r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}",
    "region": r"[a-z]{2,6}(?:-[a-z]{2,})+-\d{1,2}",
    "place": r"[a-z0-9-]{1,64}",
    "word": r"[A-Za-z-]{1,32}",
}


def is_a(shape: str, text: str) -> bool:
    """Whether a text has the form of such an id; `shape` is a key of SHAPES."""
    return re.fullmatch(SHAPES[shape], text, re.ASCII) is not None


def _id(node: Element, path: str, shape: str) -> str:
    text = node.get(path)
    if not is_a(shape, text):
        article = "an" if shape[0] in "aeiou" else "a"
        raise MalformedResponseError(f"{path}: {text[:64]!r} is not {article} {shape} id")
    return text


def _maybe_id(node: Element, path: str, shape: str) -> str:
    return _id(node, path, shape) if node.maybe(path) else ""


def _number(node: Element, path: str, high: int) -> int:
    text = node.get(path)
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) > high:
        raise MalformedResponseError(f"{path}: {text[:32]!r} is not a number from 0 to {high}")
    return int(text)


def _bool(node: Element, path: str) -> bool:
    text = node.get(path)
    if text not in ("true", "false"):
        raise MalformedResponseError(f"{path}: {text[:32]!r} is neither true nor false")
    return text == "true"


def network(text: str) -> str:
    """A CIDR block in its normal spelling. Raises MalformedResponseError, also for host bits."""
    import ipaddress

    try:
        return str(ipaddress.ip_network(_unscoped(text)))
    except ValueError as error:
        raise MalformedResponseError(f"not a CIDR block: {str(error)[:120]}") from None


def address(text: str) -> str:
    """An IP address in its normal spelling. Raises MalformedResponseError."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(_unscoped(text)))
    except ValueError:
        raise MalformedResponseError(f"not an IP address: {text[:64]!r}") from None


def _unscoped(text: str) -> str:
    """Refuse a scope: ipaddress accepts any text after a %, and the API cannot know an interface of this machine."""
    if "%" in text:
        raise ValueError(f"{text[:64]!r} has a scope")
    return text


def _next(node: Element) -> str:
    return node.maybe("nextToken") or ""


def _name_tag(node: Element) -> str:
    tags = {item.maybe("key"): item.maybe("value") for item in node.all("tagSet/item")}
    return tags.get("Name") or ""


# EC2


def tables(answer: Element) -> tuple[tuple[RouteTable, ...], str]:
    """DescribeRouteTables: the tables, and the token of the next page or an empty text."""
    return tuple(_table(item) for item in answer.all("routeTableSet/item")), _next(answer)


def _table(item: Element) -> RouteTable:
    routes = tuple(route for found in _understood(item.all("routeSet/item"), _route) for route in found)
    return RouteTable(
        _id(item, "routeTableId", "table"),
        _id(item, "vpcId", "vpc"),
        _maybe_id(item, "ownerId", "account"),
        routes,
        _name_tag(item),
        next((text for row in item.all("associationSet/item") for text in map(row.maybe, _ENTRANCES) if text), ""),
    )


def _route(row: Element) -> tuple[VpcRoute, ...]:
    """A row, or nothing if its destination is not a CIDR block. What has an unknown form belongs to another owner."""
    text = row.maybe("destinationCidrBlock") or row.maybe("destinationIpv6CidrBlock")
    try:
        destination = network(text or "")
    except MalformedResponseError:
        return ()
    eni = _known_id(row, "networkInterfaceId", "interface")
    names = _TARGETS if eni else (*_TARGETS, "networkInterfaceId", "instanceId")
    other = next((text for text in (row.maybe(name) for name in names) if text), "")
    route = VpcRoute(
        destination,
        eni,
        _known_id(row, "instanceId", "instance") if eni else "",
        _known_id(row, "instanceOwnerId", "account"),
        "".join(c for c in other[:64] if c.isprintable()),
        "".join(c for c in row.get("state")[:32] if c.isprintable()),
        row.maybe("origin") in ("EnableVgwRoutePropagation", "Advertisement"),
    )
    return (route,)


def _understood(
    items: Iterable[Element], read: Callable[[Element], T], instead: Callable[[Element], T | None] = lambda _: None
) -> tuple[T, ...]:
    """The rows that can be read. One of another form is passed over, or stands as `instead` says; it hides no other.

    If no row can be read, the first one's MalformedResponseError is raised: that is not the same as no rows.
    """
    found: list[T | None] = []
    failed: list[MalformedResponseError] = []
    for item in items:
        try:
            found.append(read(item))
        except MalformedResponseError as error:
            failed.append(error)
            found.append(instead(item))
    if failed and len(failed) == len(found):
        raise failed[0]
    return tuple(each for each in found if each is not None)


def _known_id(node: Element, path: str, shape: str) -> str:
    """An id, or "" if it is absent or of a form that this version does not know."""
    text = node.maybe(path) or ""
    return text if is_a(shape, text) else ""


def interfaces(answer: Element) -> tuple[tuple[NetworkInterface, ...], str]:
    """DescribeNetworkInterfaces."""
    return _understood(answer.all("networkInterfaceSet/item"), _interface), _next(answer)


def created_interface(answer: Element) -> NetworkInterface:
    """CreateNetworkInterface."""
    found = answer.find("networkInterface")
    if found is None:
        raise MalformedResponseError("CreateNetworkInterface: no networkInterface in the answer")
    return _interface(found)


def _interface(item: Element) -> NetworkInterface:
    primary = item.maybe("privateIpAddress")
    every = [primary, *(row.maybe("privateIpAddress") for row in item.all("privateIpAddressesSet/item"))]
    attached = item.find("attachment")
    return NetworkInterface(
        _id(item, "networkInterfaceId", "interface"),
        _id(item, "status", "word"),
        _id(item, "availabilityZone", "place"),
        _id(item, "subnetId", "subnet"),
        _id(item, "vpcId", "vpc"),
        _maybe_id(item, "ownerId", "account"),
        _id(item, "macAddress", "mac"),
        _bool(item, "sourceDestCheck"),
        tuple(dict.fromkeys(address(text) for text in every if text)),
        tuple(address(row.get("ipv6Address")) for row in item.all("ipv6AddressesSet/item")),
        _attachment(attached) if attached is not None and attached.maybe("attachmentId") else None,
        item.maybe("description") or "",
        tuple(
            network(row.get(f"ipv{version}Prefix"))
            for version in (4, 6)
            for row in item.all(f"ipv{version}PrefixSet/item")
        ),
        tuple(
            (address(row.get("privateIpAddress")), allocation)
            for row in item.all("privateIpAddressesSet/item")
            for allocation in [_known_id(row, "association/allocationId", "allocation")]
            if allocation
        ),
    )


def _attachment(node: Element) -> Attachment:
    return Attachment(
        _id(node, "attachmentId", "attachment"),
        _maybe_id(node, "instanceId", "instance"),
        _number(node, "deviceIndex", 255),
        _number(node, "networkCardIndex", 255) if node.maybe("networkCardIndex") else 0,
        _id(node, "status", "word"),
        node.maybe("deleteOnTermination") == "true",
        _moment(node.maybe("attachTime") or ""),
    )


def _moment(text: str) -> str:
    """A time of the API in seconds, in a form that sorts; "" for any other form."""
    found = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?=[.Z])", text, re.ASCII)
    return found[0] if found and text.endswith("Z") else ""


def instances(answer: Element) -> tuple[tuple[Ec2Instance, ...], str]:
    """DescribeInstances."""
    found = [item for group in answer.all("reservationSet/item") for item in group.all("instancesSet/item")]
    return tuple(map(_instance, found)), _next(answer)


def _instance(item: Element) -> Ec2Instance:
    rows = item.all("networkInterfaceSet/item")
    # Each network card has indexes of its own; these are those of the first card.
    first = [row for row in rows if (row.maybe("attachment/networkCardIndex") or "0") == "0"]
    attached = dict(_understood(first, _place))
    return Ec2Instance(
        _id(item, "instanceId", "instance"),
        _id(item, "instanceState/name", "word"),
        _id(item, "placement/availabilityZone", "place"),
        _maybe_id(item, "vpcId", "vpc"),
        attached,
    )


def _place(row: Element) -> tuple[int, str]:
    return _number(row, "attachment/deviceIndex", 255), _id(row, "networkInterfaceId", "interface")


def attachment_id(answer: Element) -> str:
    """AttachNetworkInterface."""
    return _id(answer, "attachmentId", "attachment")


def assigned(answer: Element) -> None:
    """The four calls that assign and unassign: what they list is read back from the ENI."""


def elastic_addresses(answer: Element) -> tuple[ElasticAddress, ...]:
    """DescribeAddresses. Addresses without an allocation id (EC2-Classic) are left out."""
    return tuple(
        ElasticAddress(
            _id(item, "allocationId", "allocation"),
            item.maybe("publicIp") or "",
            _maybe_id(item, "networkInterfaceId", "interface"),
            _known_id(item, "instanceId", "instance"),
            address(item.get("privateIpAddress")) if item.maybe("privateIpAddress") else "",
            _known_id(item, "networkInterfaceOwnerId", "account"),
        )
        for item in answer.all("addressesSet/item")
        if item.maybe("allocationId")
    )


def association_id(answer: Element) -> str:
    """AssociateAddress."""
    return _id(answer, "associationId", "association")


def done(answer: Element) -> None:
    """The writes that answer only `true`."""
    if answer.maybe("return") not in (None, "true"):
        raise MalformedResponseError(f"{answer.tag}: return is {answer.maybe('return')!r} (expected true)")


def vpc_attribute(name: str) -> Callable[[Element], bool]:
    """DescribeVpcAttribute of `enableDnsSupport` or `enableDnsHostnames`."""
    return lambda answer: _bool(answer, f"{name}/value")


# Route 53


def hosted_zone(answer: Element) -> HostedZone:
    """GetHostedZone, CreateHostedZone."""
    node = answer.find("HostedZone")
    if node is None:
        raise MalformedResponseError(f"{answer.tag}: no HostedZone in the answer")
    rows = [*answer.all("VPCs/VPC"), *answer.all("VPC")]
    vpcs = tuple((_id(row, "VPCId", "vpc"), _id(row, "VPCRegion", "region")) for row in rows)
    return _zone(node, vpcs)


def _zone(node: Element, vpcs: tuple[tuple[str, str], ...] = ()) -> HostedZone:
    identity = node.get("Id").replace("/hostedzone/", "")
    if not is_a("zone", identity):
        raise MalformedResponseError(f"Id: {identity[:64]!r} is not a zone id")
    private, reference = node.maybe("Config/PrivateZone") == "true", node.maybe("CallerReference") or ""
    return HostedZone(identity, name(node.get("Name")), private, vpcs, reference)


def zones(answer: Element) -> tuple[HostedZone, ...]:
    """ListHostedZonesByName: one page, which starts at the requested name."""
    return _understood(answer.all("HostedZones/HostedZone"), _zone)


def zone_tags(answer: Element) -> dict[str, str]:
    """ListTagsForResource."""
    return {tag.get("Key"): tag.maybe("Value") or "" for tag in answer.all("ResourceTagSet/Tags/Tag")}


def nothing(answer: Element) -> None:
    """The writes with an answer without fields: its root says which call it answers."""


def change(answer: Element) -> Change:
    """ChangeResourceRecordSets, GetChange, and every other answer with a ChangeInfo."""
    identity = answer.get("ChangeInfo/Id").replace("/change/", "")
    if not is_a("change", identity):
        raise MalformedResponseError(f"ChangeInfo/Id: {identity[:64]!r} is not a change id")
    status = answer.get("ChangeInfo/Status")
    if status not in ("PENDING", "INSYNC"):
        raise MalformedResponseError(f"ChangeInfo/Status: {status[:32]!r} is neither PENDING nor INSYNC")
    return Change(identity, status)


def records(answer: Element) -> tuple[RecordSet, ...]:
    """ListResourceRecordSets. Alias records have no values."""
    return _understood(answer.all("ResourceRecordSets/ResourceRecordSet"), _records, _odd_records)


def _odd_records(node: Element) -> RecordSet | None:
    """What is not understood must not be replaced either."""
    said, kind = node.maybe("Name"), node.maybe("Type")
    return RecordSet(name(said), kind, 0, (), "of an unknown form") if said and kind else None


def _records(node: Element) -> RecordSet:
    kind = node.get("Type")
    values = tuple(_rdata(kind, row.get("Value")) for row in node.all("ResourceRecords/ResourceRecord"))
    more = [each for each in node.children if each.tag not in ("Name", "Type", "TTL", "ResourceRecords")]
    return RecordSet(
        name(node.get("Name")),
        kind,
        _number(node, "TTL", 2**31 - 1) if node.maybe("TTL") else 0,
        values,
        " ".join(f"{each.tag} {each.maybe('DNSName') or each.text.strip()}".strip()[:80] for each in more),
    )


def _rdata(kind: str, text: str) -> str:
    """An address in its normal spelling; the service stores it as it was written."""
    try:
        return address(text) if kind in ("A", "AAAA") else text
    except MalformedResponseError:
        return text


def name(text: str) -> str:
    """A DNS name in a form to compare: lower case, without the final dot, octal escapes such as `\\052` resolved."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text).rstrip(".").lower()


# STS


def credentials(answer: Element) -> Credentials:
    """AssumeRole."""
    stem = "AssumeRoleResult/Credentials/"
    return Credentials(
        answer.get(f"{stem}AccessKeyId"), answer.get(f"{stem}SecretAccessKey"), answer.get(f"{stem}SessionToken")
    )


def caller(answer: Element) -> CallerIdentity:
    """GetCallerIdentity."""
    return CallerIdentity(
        _id(answer, "GetCallerIdentityResult/Account", "account"), answer.get("GetCallerIdentityResult/Arn")[:2048]
    )


# Errors


def error(data: bytes) -> tuple[str, str] | None:
    """Code and message in the body of an error, of any of the three services; None if the body is not an error.

    The message may quote the signed request, with a session token in it: see `redaction.redacted`.
    """
    try:
        root = parse(data)
        for path in ("Errors/Error", "Error"):
            # The first one, if there are several.
            found = next(root.all(path), None)
            if found is not None:
                return found.get("Code")[:128], (found.maybe("Message") or "")[:8192]
        # InvalidChangeBatch has a list instead of one message.
        said = "; ".join(node.text.strip() for node in root.all("Messages/Message"))
    except MalformedResponseError:
        return None
    return (root.tag, said[:8192]) if root.tag == "InvalidChangeBatch" else None
