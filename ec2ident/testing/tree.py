"""The tree of metadata items below `/latest/`, and how the service lists its directories."""

from __future__ import annotations

import json
import time

from .instance import hostname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .instance import Instance, Interface

#: The versions that the service knows ("Instance metadata categories"); all of them answer alike here.
VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01"),
    *("2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19"),
    *("2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03"),
    *("2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest"),
)

#: How long the credentials of the role last, in seconds; EC2's own last about six hours.
CREDENTIALS_LAST = 6 * 3600


def tree(instance: Instance, now: float) -> dict[str, bytes]:
    """Every item of the instance by its path below `/latest/`; `now` is seconds since the epoch.

    A key that ends in `/` is the text of a listing that is not simply the names below it.
    """
    items = {f"meta-data/{name}": text for name, text in _meta_data(instance, now).items()}
    found = {name: text.encode() for name, text in sorted(items.items())}
    if instance.user_data is not None:
        found["user-data"] = instance.user_data
    found["/"] = b"\n".join([b"dynamic", b"meta-data", *([b"user-data"] if "user-data" in found else [])])
    return found


def listing(items: Mapping[str, bytes], directory: str) -> bytes | None:
    """The names directly below a directory, one a line; directories end in `/`. None when nothing is there."""
    stem = f"{directory}/" if directory else ""
    special = items.get(stem or "/")
    if special is not None:
        return special
    names: dict[str, None] = {}
    for path in items:
        if path.startswith(stem) and path != stem:
            name, slash, _ = path[len(stem) :].partition("/")
            names[name + slash] = None
    return "\n".join(names).encode() if names else None


def _meta_data(instance: Instance, now: float) -> dict[str, str]:
    primary = instance.primary
    items = {
        "ami-id": instance.image_id,
        "ami-launch-index": "0",
        "ami-manifest-path": "(unknown)",
        "block-device-mapping/ami": "/dev/xvda",
        "block-device-mapping/root": "/dev/xvda",
        "events/maintenance/history": "[]",
        "events/maintenance/scheduled": "[]",
        "hibernation/configured": "false",
        "identity-credentials/ec2/info": _identity_info(instance, now),
        "instance-action": "none",
        "instance-id": instance.instance_id,
        "instance-life-cycle": instance.life_cycle,
        "instance-type": instance.instance_type,
        "mac": primary.mac,
        "metrics/vhostmd": '<?xml version="1.0" encoding="UTF-8"?>',
        "placement/availability-zone": instance.availability_zone,
        "placement/availability-zone-id": instance.availability_zone_id,
        "placement/region": instance.region,
        "profile": "default-hvm",
        "reservation-id": "r-0123456789abcdef0",
        "security-groups": "\n".join(primary.security_groups),
        "services/domain": instance.partition.dns_suffix,
        "services/partition": instance.partition.name,
        "system": "nitro",
    }
    items |= dict.fromkeys(("hostname", "local-hostname"), instance.local_hostname)
    if instance.private_ip:
        items["local-ipv4"] = instance.private_ip
    if primary.ipv6s:
        items["ipv6"] = primary.ipv6s[0]
    if primary.public_ip:
        items |= {"public-ipv4": primary.public_ip, "public-hostname": _public_hostname(primary.public_ip, instance)}
    if instance.public_key:
        items |= {"public-keys/": "0=testing", "public-keys/0/openssh-key": instance.public_key}
    if instance.role:
        items |= _iam(instance, instance.role, now)
    for key, value in instance.tags:
        items[f"tags/instance/{key}"] = value
    for interface in instance.interfaces:
        stem = f"network/interfaces/macs/{interface.mac}/"
        items |= {stem + name: text for name, text in _interface(instance, interface).items()}
    return items


def _interface(instance: Instance, interface: Interface) -> dict[str, str]:
    lists = {
        "ipv6s": interface.ipv6s,
        "local-ipv4s": interface.private_ips,
        "ipv4-prefix": interface.prefixes,
        "ipv6-prefix": interface.prefixes_ipv6,
        "security-groups": interface.security_groups,
        "security-group-ids": tuple(
            f"sg-0123456789abcde{number:02x}" for number, _ in enumerate(interface.security_groups)
        ),
        "subnet-ipv6-cidr-blocks": interface.subnets_ipv6,
        "vpc-ipv4-cidr-block": interface.vpc_cidrs[:1],
        "vpc-ipv4-cidr-blocks": interface.vpc_cidrs,
        "vpc-ipv6-cidr-blocks": interface.vpc_cidrs_ipv6,
    }
    items = {
        "device-number": str(interface.device_number),
        "interface-id": interface.interface_id,
        "mac": interface.mac,
        "owner-id": instance.account_id,
        "subnet-id": interface.subnet_id,
        "vpc-id": interface.vpc_id,
        **{name: "\n".join(values) for name, values in lists.items() if values},
    }
    if interface.network_card is not None:
        items["network-card"] = str(interface.network_card)
    if interface.subnet:
        items["subnet-ipv4-cidr-block"] = interface.subnet
    items["local-hostname"] = hostname((*interface.private_ips, instance.instance_id)[0], instance.region)
    if interface.public_ip:
        items["public-ipv4s"] = interface.public_ip
        items["public-hostname"] = _public_hostname(interface.public_ip, instance)
        items[f"ipv4-associations/{interface.public_ip}"] = interface.private_ips[0]
    return items


def _public_hostname(public_ip: str, instance: Instance) -> str:
    zone = "compute-1" if instance.region == "us-east-1" else f"{instance.region}.compute"
    return f"ec2-{public_ip.replace('.', '-')}.{zone}.{instance.partition.dns_suffix}"


def _iam(instance: Instance, role: str, now: float) -> dict[str, str]:
    """The instance profile, and credentials that no AWS endpoint would take."""
    profile = {
        "Code": "Success",
        "LastUpdated": _stamp(now),
        "InstanceProfileArn": f"arn:{instance.partition.name}:iam::{instance.account_id}:instance-profile/{role}",
        "InstanceProfileId": "AIPATESTINGTESTINGTES",
    }
    credentials = {
        "Code": "Success",
        "LastUpdated": _stamp(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIATESTINGTESTINGTE",
        "SecretAccessKey": "of-the-ec2ident-testing-service-only",
        "Token": "of-the-ec2ident-testing-service-only",
        "Expiration": _stamp(now + CREDENTIALS_LAST),
    }
    return {"iam/info": _json(profile), f"iam/security-credentials/{role}": _json(credentials)}


def _identity_info(instance: Instance, now: float) -> str:
    return _json({"Code": "Success", "LastUpdated": _stamp(now), "AccountId": instance.account_id})


def _json(data: Mapping[str, str]) -> str:
    return json.dumps(data, indent=2, separators=(",", " : "))


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
