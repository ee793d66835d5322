"""What IAM is asked about for each call: ARNs with their condition keys (Service Authorization Reference)."""

from __future__ import annotations

import re
from typing import Any

from . import gate, names
from .iam import Resource
from .request import RefusalError, Request


def partition(region: str) -> str:
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc", "us-iso-": "aws-iso"}
    return next((name for start, name in prefixes.items() if region.startswith(start)), "aws")


def resources(request: Request, account: str, backend: Any) -> list[Resource]:
    if request.service == "route53":
        return _route53(request)
    if request.service == "sts":
        return [(request.form.get("RoleArn", "*"), _present("sts:ExternalId", request.form.get("ExternalId")))]
    stem = f"arn:{partition(request.region)}:ec2:{request.region}:{account}:"
    return [(stem + tail if tail else "*", keys) for tail, keys in _ec2(request, backend, account)]


def _present(name: str, value: str | None) -> dict[str, list[str]]:
    return {name: [value]} if value else {}


def _table(request: Request, backend: Any, account: str) -> Resource:
    table_id = request.form.get("RouteTableId", "")
    table = backend.route_tables.get(table_id)
    vpc = f"arn:{partition(request.region)}:ec2:{request.region}:{account}:vpc/{table.vpc_id}" if table else None
    return f"route-table/{table_id}", {"ec2:RouteTableID": [table_id], **_present("ec2:Vpc", vpc), **_tags(table)}


def _tags(thing: Any) -> dict[str, list[str]]:
    tags = thing.get_tags() if thing is not None else []
    return {f"{prefix}:ResourceTag/{t['key']}": [t["value"]] for t in tags for prefix in ("ec2", "aws")}


def _interface(eni_id: str, backend: Any) -> Resource:
    eni = backend.enis.get(eni_id)
    keys: dict[str, list[str]] = {"ec2:NetworkInterfaceID": [eni_id], **_tags(eni)}
    return f"network-interface/{eni_id}", keys


def _attributes(form: dict[str, str]) -> dict[str, list[str]]:
    """`ec2:Attribute` names what is set, and `ec2:Attribute/NAME` its value."""
    given = {name.removesuffix(".Value"): value for name, value in form.items() if name.endswith(".Value")}
    return {
        **_present("ec2:Attribute", next(iter(given), None)),
        **{f"ec2:Attribute/{n}": [v] for n, v in given.items()},
    }


def _instance(instance_id: str) -> Resource:
    return f"instance/{instance_id}", {"ec2:InstanceID": [instance_id]}


def _ec2(request: Request, backend: Any, account: str) -> list[Resource]:
    form, action = request.form, request.action
    if action in ("CreateRoute", "ReplaceRoute", "DeleteRoute"):
        return [_table(request, backend, account)]
    if action == "AttachNetworkInterface":
        return [_instance(form.get("InstanceId", "")), _interface(form.get("NetworkInterfaceId", ""), backend)]
    if action == "DetachNetworkInterface":
        try:
            eni = gate.by_attachment(backend, form.get("AttachmentId", ""))
        except RefusalError:
            return [("instance/*", {}), ("network-interface/*", {})]
        return [_instance(eni.instance.id), _interface(eni.id, backend)]
    if action == "AssociateAddress":
        eni = _interface(form.get("NetworkInterfaceId", ""), backend)
        return [(f"elastic-ip/{form.get('AllocationId', '')}", {}), eni]
    assigning = action.endswith(("assignPrivateIpAddresses", "assignIpv6Addresses")) or action.startswith("Assign")
    if assigning or action in ("ModifyNetworkInterfaceAttribute", "DeleteNetworkInterface"):
        tail, keys = _interface(form.get("NetworkInterfaceId", ""), backend)
        return [(tail, {**keys, **_attributes(form)})]
    if action == "ModifyInstanceAttribute":
        return [_instance(form.get("InstanceId", ""))]
    if action in ("ModifyVpcAttribute", "DescribeVpcAttribute"):
        return [(f"vpc/{form.get('VpcId', '')}", {})]
    if action == "CreateNetworkInterface":
        groups: list[Resource] = [(f"security-group/{group}", {}) for group in request.numbered("SecurityGroupId")]
        return [(f"subnet/{form.get('SubnetId', '')}", {}), ("network-interface/*", {}), *groups]
    if action == "CreateTags":
        keys = {"ec2:CreateAction": [form["ec2:CreateAction"]]} if "ec2:CreateAction" in form else {}
        return [(f"network-interface/{request.form.get('ResourceId.1', '*')}", keys)]
    return [("", {"ec2:Region": [request.region]})]


def _octal(name: str) -> str:
    """Condition values spell odd characters in octal: `*` is `\\052`."""
    return re.sub(r"[^a-z0-9._-]", lambda match: f"\\{ord(match[0]):03o}", names.normal(name))


def _route53(request: Request) -> list[Resource]:
    stem = f"arn:{partition(request.region)}:route53:::"
    if request.action == "GetChange":
        return [(f"{stem}change/{request.id}", {})]
    if request.action == "ChangeResourceRecordSets":
        prefix = "route53:ChangeResourceRecordSets"
        changes = names.changes_of(request)
        return [
            (
                f"{stem}hostedzone/{request.id}",
                {
                    f"{prefix}NormalizedRecordNames": [
                        _octal(names.text(c, "ResourceRecordSet/Name")) for c in changes
                    ],
                    f"{prefix}RecordTypes": [names.text(c, "ResourceRecordSet/Type") for c in changes],
                    f"{prefix}Actions": [names.text(c, "Action") for c in changes],
                },
            )
        ]
    if request.action == "AssociateVPCWithHostedZone":
        # It also needs ec2:DescribeVpcs on the caller's side; that is a second action, checked by the server.
        return [(f"{stem}hostedzone/{request.id}", {})]
    if request.id:
        return [(f"{stem}hostedzone/{request.id}", {})]
    return [("*", {})]
