"""What the real service refuses or delays, and moto does not. Codes and texts: EC2 API Reference, "Error codes"."""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.ec2.models import ec2_backends

from . import cloud
from .request import RefusalError, Request

DESTINATIONS = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
TARGETS = (
    "CarrierGatewayId",
    "EgressOnlyInternetGatewayId",
    "GatewayId",
    "InstanceId",
    "LocalGatewayId",
    "NatGatewayId",
    "NetworkInterfaceId",
    "TransitGatewayId",
    "VpcEndpointId",
    "VpcPeeringConnectionId",
)

#: These have no DryRun; every other EC2 write has.
NO_DRY_RUN = {
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
    "AssignIpv6Addresses",
    "UnassignIpv6Addresses",
    "ModifyVpcAttribute",
}
PREFIXES = {"RouteTableId": "rtb", "NetworkInterfaceId": "eni", "InstanceId": "i", "AttachmentId": "eni-attach"}
NOT_RUNNING = ("pending", "stopping", "shutting-down", "terminated")


def backend_of(request: Request, account: str = cloud.ACCOUNT) -> Any:
    return ec2_backends[account][request.region]


def dry_run(request: Request) -> None:
    if request.form.get("DryRun") != "true":
        return
    if request.action in NO_DRY_RUN:
        raise RefusalError("UnknownParameter", "The parameter DryRun is not recognized")
    raise RefusalError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def malformed(request: Request) -> None:
    """Ids that cannot be ids have codes of their own."""
    import re

    names = {
        "RouteTableId": "InvalidRouteTableId.Malformed",
        "NetworkInterfaceId": "InvalidNetworkInterfaceId.Malformed",
        "InstanceId": "InvalidInstanceID.Malformed",
        "AttachmentId": "InvalidNetworkInterfaceAttachmentId.Malformed",
    }
    for name, code in names.items():
        for value in [*request.numbered(name), *([request.form[name]] if name in request.form else [])]:
            if not re.fullmatch(rf"{PREFIXES[name]}-[0-9a-f]{{8,17}}", value):
                raise RefusalError(code, f'Invalid id: "{value}"')


def interface(backend: Any, eni_id: str) -> Any:
    eni = backend.enis.get(eni_id)
    if not eni:
        raise RefusalError("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{eni_id}' does not exist")
    return eni


def instance_of(backend: Any, instance_id: str) -> Any:
    for reservation in backend.reservations.values():
        for instance in reservation.instances:
            if instance.id == instance_id:
                return instance
    raise RefusalError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")


def by_attachment(backend: Any, attachment_id: str) -> Any:
    for eni in backend.enis.values():
        if eni.attachment_id == attachment_id:
            return eni
    raise RefusalError("InvalidAttachmentID.NotFound", f"The attachment ID '{attachment_id}' does not exist")


def route(request: Request, backend: Any) -> None:
    """CreateRoute and ReplaceRoute; an instance as target becomes its one interface."""
    form = request.form
    table = backend.route_tables.get(form.get("RouteTableId", ""))
    if not table:
        raise RefusalError(
            "InvalidRouteTableID.NotFound", f"The routeTable ID '{form.get('RouteTableId')}' does not exist"
        )
    given = [form[name] for name in DESTINATIONS if name in form]
    targets = [name for name in TARGETS if name in form]
    if len(given) != 1 or len(targets) != 1:
        raise RefusalError(
            "InvalidParameterCombination", "exactly one destination and exactly one target must be given"
        )
    destination = given[0]
    if "DestinationPrefixListId" not in form:
        _destination(destination, table, backend)
    there = any(destination in _destinations_of(known) for known in cloud.routes(table))
    if request.action == "CreateRoute" and there:
        raise RefusalError("RouteAlreadyExists", f"The route identified by {destination} already exists.")
    if request.action == "ReplaceRoute" and not there:
        text = f"There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
        raise RefusalError("InvalidParameterValue", text)
    if "InstanceId" in form:
        instance = instance_of(backend, form["InstanceId"])
        if len(instance.nics) != 1:
            text = f"There are multiple interfaces attached to instance '{instance.id}'."
            raise RefusalError("InvalidInstanceID", f"{text} Please specify an interface ID for the operation instead.")
        form["NetworkInterfaceId"] = cloud.nic0(instance).id
        del form["InstanceId"]
    if "NetworkInterfaceId" in form:
        interface(backend, form["NetworkInterfaceId"])


def _destinations_of(known: Any) -> tuple[str | None, ...]:
    prefix = known.destination_prefix_list
    return known.destination_cidr_block, known.destination_ipv6_cidr_block, prefix.id if prefix else None


def _destination(text: str, table: Any, backend: Any) -> None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise RefusalError("InvalidParameterValue", f"Value ({text}) is not a valid CIDR block: {error}") from error
    inside = [
        ipaddress.ip_network(cidr)
        for known in cloud.routes(table)
        if known.local
        for cidr in (known.destination_cidr_block or known.destination_ipv6_cidr_block,)
    ]
    if not any(cidr.version == network.version and network.subnet_of(cidr) for cidr in inside):  # type: ignore[arg-type]
        return
    subnets = [
        block
        for subnet in backend.describe_subnets(filters={"vpc-id": [table.vpc_id]})
        for block in (subnet.cidr_block, *(a["ipv6CidrBlock"] for a in subnet.ipv6_cidr_block_associations.values()))
    ]
    if text not in subnets:
        raise RefusalError(
            "InvalidParameterValue", f"The destination CIDR block {text} is inside the VPC and is not a subnet"
        )


def attach(request: Request, backend: Any) -> None:
    form = request.form
    eni = interface(backend, form["NetworkInterfaceId"])
    instance = instance_of(backend, form["InstanceId"])
    if instance._state.name in NOT_RUNNING:
        text = (
            f"The instance '{instance.id}' is not in a state from which it can be attached to: {instance._state.name}"
        )
        raise RefusalError("IncorrectState", text)
    if eni.attachment_id:
        raise RefusalError("InvalidNetworkInterface.InUse", f"Interface: [{eni.id}] in use.")
    if eni.availability_zone != instance._placement.zone:
        text = "You may not attach a network interface to an instance if they are not in the same availability zone"
        raise RefusalError("InvalidParameterCombination", text)
    index = form.get("DeviceIndex", "")
    if index in {str(taken) for taken in instance.nics}:
        text = f"Instance '{instance.id}' already has an interface attached at device index '{index}'."
        raise RefusalError("InvalidParameterValue", text)
    if len(instance.nics) >= LIMITS.get(instance.instance_type, 3):
        raise RefusalError("AttachmentLimitExceeded", f"Interface count {len(instance.nics) + 1} exceeds the limit")


#: Interfaces for each instance type (EC2 User Guide); three for those not named.
LIMITS = {"t3.micro": 2, "m5.large": 3, "m5.xlarge": 4}


def detach(request: Request, backend: Any, seconds: float) -> None:
    eni = by_attachment(backend, request.form["AttachmentId"])
    if str(eni.device_index) == "0":
        text = f"The network interface at device index 0 cannot be detached from instance '{eni.instance.id}'"
        raise RefusalError("OperationNotPermitted", text)
    if getattr(eni, "fake_phase", None) != "detaching" or request.form.get("Force") == "true":
        cloud.begin(eni, "detaching", 0 if request.form.get("Force") == "true" else seconds)


def modify_instance(request: Request, backend: Any) -> None:
    checked = request.form.get("SourceDestCheck.Value") or request.form.get("Attribute") == "sourceDestCheck"
    instance = instance_of(backend, request.form["InstanceId"])
    if checked and len(instance.nics) > 1:
        text = f"There are multiple interfaces attached to instance '{instance.id}'."
        raise RefusalError("InvalidInstanceID", f"{text} Please specify an interface ID for the operation instead.")


def delete_interface(request: Request, backend: Any) -> None:
    eni = interface(backend, request.form["NetworkInterfaceId"])
    if eni.attachment_id:
        raise RefusalError("InvalidNetworkInterface.InUse", f"Interface: [{eni.id}] in use.")


def assign(request: Request, backend: Any) -> None:
    """An address or a prefix has one holder: it is refused, or an IPv4 address with AllowReassignment is taken."""
    mine = interface(backend, request.form["NetworkInterfaceId"])
    six = request.action == "AssignIpv6Addresses"
    if six and not mine.subnet.ipv6_cidr_block_associations:
        raise RefusalError("InvalidParameterValue", f"The subnet {mine.subnet.id} has no IPv6 CIDR block")
    reassign = request.form.get("AllowReassignment") == "true"
    for key in keys_of(request):
        _in_subnet(key.partition("/")[0], mine.subnet)
        for eni in backend.enis.values():
            if eni is mine or key not in held_by(eni):
                continue
            primary = any(item["PrivateIpAddress"] == key and item.get("Primary") for item in eni.private_ip_addresses)
            if six or "/" in key or not reassign or primary:
                raise RefusalError("Resource.AlreadyAssigned", f"The address {key} is already assigned to {eni.id}")
            lose(eni, key)
        if "/" in key:
            mine.fake_prefixes = [*dict.fromkeys([*getattr(mine, "fake_prefixes", []), key])]


def keys_of(request: Request) -> list[str]:
    """The addresses and prefixes of an assignment."""
    return [
        key
        for name in ("PrivateIpAddress", "Ipv6Addresses", "Ipv4Prefix", "Ipv6Prefix")
        for key in request.numbered(name)
    ]


def held_by(eni: Any) -> list[str]:
    """The addresses and prefixes of an interface."""
    return [
        *(item["PrivateIpAddress"] for item in eni.private_ip_addresses),
        *eni.ipv6_addresses,
        *getattr(eni, "fake_prefixes", ()),
    ]


def lose(eni: Any, key: str) -> None:
    eni.private_ip_addresses[:] = [item for item in eni.private_ip_addresses if item["PrivateIpAddress"] != key]
    eni.ipv6_addresses[:] = [each for each in eni.ipv6_addresses if each != key]
    eni.fake_prefixes = [each for each in getattr(eni, "fake_prefixes", ()) if each != key]


def _in_subnet(address: str, subnet: Any) -> None:
    blocks = [subnet.cidr_block, *(a["ipv6CidrBlock"] for a in subnet.ipv6_cidr_block_associations.values())]
    wanted = ipaddress.ip_address(address)
    if not any(wanted in ipaddress.ip_network(block) for block in blocks):
        text = f"Address does not fall within the subnet's address range: {address}"
        raise RefusalError("InvalidParameterValue", text)


def unassign(request: Request, backend: Any) -> None:
    """Only what is there and is not the primary address can be unassigned."""
    eni = interface(backend, request.form["NetworkInterfaceId"])
    for key in keys_of(request):
        if key not in held_by(eni):
            text = f"Some of [{key}] are not assigned to interface {eni.id}"
            raise RefusalError("InvalidParameterValue", text)
        if any(item["PrivateIpAddress"] == key and item.get("Primary") for item in eni.private_ip_addresses):
            raise RefusalError("InvalidParameterValue", f"{key} is the primary address of {eni.id}")
        lose(eni, key)


def associate(request: Request, backend: Any) -> None:
    """An Elastic IP goes to a private address of the interface; from another one only with AllowReassociation."""
    form = request.form
    eni = interface(backend, form["NetworkInterfaceId"])
    found = [each for each in backend.addresses if each.allocation_id == form.get("AllocationId")]
    if not found:
        raise RefusalError(
            "InvalidAllocationID.NotFound", f"The allocation ID '{form.get('AllocationId')}' does not exist"
        )
    wanted = form.get("PrivateIpAddress") or eni.private_ip_address
    if wanted not in held_by(eni):
        raise RefusalError("InvalidParameterValue", f"{wanted} is not an address of {eni.id}")
    if found[0].eni not in (None, eni) and form.get("AllowReassociation") != "true":
        text = f"resource {found[0].allocation_id} is already associated with {found[0].association_id}"
        raise RefusalError("Resource.AlreadyAssociated", text)
    found[0].fake_private = wanted
    # moto does not understand the word "false".
    form["AllowReassociation"] = "true"


def create_interface(request: Request, backend: Any) -> None:
    """An address belongs to one interface and to the subnet."""
    address = request.form.get("PrivateIpAddress")
    wanted = request.form.get("SubnetId", "")
    subnet = next((each for each in backend.describe_subnets() if each.id == wanted), None)
    if subnet is None:
        raise RefusalError("InvalidSubnetID.NotFound", f"The subnet ID '{wanted}' does not exist")
    known = {group.id for group in backend.describe_security_groups()}
    for group in request.numbered("SecurityGroupId"):
        if group not in known:
            raise RefusalError("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
    if address and ipaddress.ip_address(address) not in ipaddress.ip_network(subnet.cidr_block):
        raise RefusalError(
            "InvalidParameterValue", f"Address does not fall within the subnet's address range: {address}"
        )
    for eni in backend.enis.values():
        if address and address in [item["PrivateIpAddress"] for item in eni.private_ip_addresses]:
            raise RefusalError("InvalidIPAddress.InUse", f"Address {address} is in use.")


CHECKS = {
    "CreateRoute": route,
    "ReplaceRoute": route,
    "AttachNetworkInterface": attach,
    "ModifyInstanceAttribute": modify_instance,
    "DeleteNetworkInterface": delete_interface,
    "AssignPrivateIpAddresses": assign,
    "AssignIpv6Addresses": assign,
    "UnassignPrivateIpAddresses": unassign,
    "UnassignIpv6Addresses": unassign,
    "AssociateAddress": associate,
    "CreateNetworkInterface": create_interface,
}


def check(request: Request, account: str) -> None:
    """Raises RefusalError where the real service would refuse, moto would not."""
    if request.service != "ec2":
        return
    malformed(request)
    if request.action in CHECKS:
        CHECKS[request.action](request, backend_of(request, account))
