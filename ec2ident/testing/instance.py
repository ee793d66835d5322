"""The instance that the metadata service describes: plain values, with sensible names for all that is not given."""

from __future__ import annotations

import ipaddress
from datetime import datetime

from ec2ident.regions.partitions import Partition
from ec2ident.value import Value, as_dict, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    V = TypeVar("V", bound=Value)


class Interface(Value):
    """One network interface (ENI), as `meta-data/network/interfaces/macs/MAC/` describes it.

    Addresses are text; the first of `private_ips` is the primary one. Empty ids are derived from the MAC. `subnet` is
    the IPv4 block; None stands for 10.0.0.0/24, or for none where `private_ips` is empty. An interface in a subnet with
    IPv6 alone has no IPv4 block and no private IPv4 address, and both items are 404. `network_card` None means an
    instance type with one card, where the key does not exist. An empty list answers 404.
    """

    mac: str = "06:00:00:00:00:00"
    subnet: str | None = None
    private_ips: tuple[str, ...] = ("10.0.0.10",)
    device_number: int = 0
    network_card: int | None = None
    subnets_ipv6: tuple[str, ...] = ()
    ipv6s: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    prefixes_ipv6: tuple[str, ...] = ()
    public_ip: str = ""
    vpc_cidrs: tuple[str, ...] = ("10.0.0.0/16",)
    vpc_cidrs_ipv6: tuple[str, ...] = ()
    interface_id: str = ""
    subnet_id: str = ""
    vpc_id: str = ""
    security_groups: tuple[str, ...] = ("default",)

    def __post_init__(self) -> None:
        digits = "".join(character for character in self.mac.lower() if character in "0123456789abcdef")
        if len(digits) != 12:
            raise ValueError(f"mac: {self.mac!r} is not six bytes in hex, such as 06:00:00:00:00:01")
        if not self.private_ips and not self.ipv6s:
            raise ValueError(f"{self.mac}: an interface has at least one address")
        if self.subnet is None:
            self.__dict__["subnet"] = "10.0.0.0/24" if self.private_ips else ""
        if bool(self.subnet) != bool(self.private_ips):
            raise ValueError(
                f"{self.mac}: subnet {self.subnet!r} with private_ips {self.private_ips!r} (EC2 has both or neither: a "
                "subnet with IPv6 alone has no IPv4 block and gives no private IPv4 address)"
            )
        for address in (*self.private_ips, *self.ipv6s):
            ipaddress.ip_address(address)
        for network in (
            *([self.subnet] if self.subnet else []),
            *self.subnets_ipv6,
            *self.prefixes,
            *self.prefixes_ipv6,
            *self.vpc_cidrs,
        ):
            ipaddress.ip_network(network)
        derived = {"interface_id": f"eni-0{digits:0>16}", "subnet_id": f"subnet-0{digits:0>16}"}
        self.__dict__["vpc_id"] = self.vpc_id or "vpc-0123456789abcdef0"
        for name, value in derived.items():
            self.__dict__[name] = getattr(self, name) or value


class Instance(Value):
    """What the service says of the machine: identity, place, interfaces. Derive another with `ec2ident.value.replace`.

    The first interface is the primary one. `pending_time` is the launch, as the identity document writes it. `role` is
    the name of the instance profile's role; None means that there is none and `iam/` answers 404. `user_data` None and
    empty `tags` answer 404, as on EC2.
    """

    region: str = "eu-west-1"
    availability_zone: str = ""
    availability_zone_id: str = ""
    account_id: str = "123456789012"
    instance_id: str = "i-0123456789abcdef0"
    instance_type: str = "m5.large"
    architecture: str = "x86_64"
    image_id: str = "ami-0123456789abcdef0"
    pending_time: str = "2026-01-02T03:04:05Z"
    interfaces: tuple[Interface, ...] = (Interface(),)
    role: str | None = "ec2ident-testing"
    user_data: bytes | None = None
    public_key: str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f testing"
    tags: tuple[tuple[str, str], ...] = ()
    billing_products: tuple[str, ...] = ()
    marketplace_product_codes: tuple[str, ...] = ()
    life_cycle: str = "on-demand"

    def __post_init__(self) -> None:
        Partition.of(self.region)
        if not self.interfaces:
            raise ValueError("an instance has at least one interface")
        datetime.strptime(self.pending_time, "%Y-%m-%dT%H:%M:%SZ")
        macs = [interface.mac for interface in self.interfaces]
        if len(set(macs)) != len(macs):
            raise ValueError(f"two interfaces with one MAC: {', '.join(macs)}")
        self.__dict__["availability_zone"] = self.availability_zone or f"{self.region}a"
        self.__dict__["availability_zone_id"] = self.availability_zone_id or f"{_short(self.region)}-az1"

    @property
    def primary(self) -> Interface:
        """The interface with device number 0, the first one."""
        return self.interfaces[0]

    @property
    def private_ip(self) -> str:
        """The address in the identity document; empty where the primary interface has IPv6 alone."""
        return self.primary.private_ips[0] if self.primary.private_ips else ""

    @property
    def partition(self) -> Partition:
        """The AWS partition of the instance's region."""
        return Partition.of(self.region)

    @property
    def local_hostname(self) -> str:
        """The private DNS name: of the address, or of the instance id where the subnet has IPv6 alone."""
        return hostname(self.private_ip or self.instance_id, self.region)

    def interface(self, mac: str) -> Interface:
        """The interface with this MAC. Raises KeyError when there is none."""
        for interface in self.interfaces:
            if interface.mac == mac:
                return interface
        raise KeyError(mac)

    def attach(self, interface: Interface) -> Instance:
        """The instance with one more interface."""
        return replace(self, interfaces=(*self.interfaces, interface))

    def detach(self, mac: str) -> Instance:
        """The instance without this interface. Raises KeyError when it has none with this MAC."""
        gone = self.interface(mac)
        return replace(self, interfaces=tuple(interface for interface in self.interfaces if interface != gone))

    def assign(self, mac: str, **changes: Any) -> Instance:
        """The instance with fields of one interface changed: `assign(mac, private_ips=("10.0.0.10", "10.0.0.11"))`."""
        old = self.interface(mac)
        if "subnet" not in changes and bool(old.subnet) != bool(changes.get("private_ips", old.subnet)):
            changes["subnet"] = None  # the subnet goes with the last IPv4 address, and comes with the first
        new = replace(old, **changes)
        return replace(self, interfaces=tuple(new if interface == old else interface for interface in self.interfaces))


def _short(region: str) -> str:
    """A region as the ids of its zones abbreviate it: `apse2` for ap-southeast-2."""
    area, *words = region.split("-")
    corners = {"northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw"}
    return area + "".join(corners.get(word, word[:1]) for word in words)


def hostname(private_ip_or_id: str, region: str) -> str:
    """The private DNS name of an address, or of an instance id: us-east-1 has a zone of its own.

    An instance in a subnet with IPv6 alone has the name of its id ("EC2 instance hostnames and domains").
    """
    zone = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    by_address = f"ip-{private_ip_or_id.replace('.', '-')}"
    return f"{private_ip_or_id if private_ip_or_id.startswith('i-') else by_address}.{zone}"


def from_dict(data: Mapping[str, Any]) -> Instance:
    """An instance from JSON data: the fields by name, interfaces as a list of objects. Raises ValueError."""
    interfaces = data.get("interfaces")
    plain = {name: value for name, value in data.items() if name != "interfaces"}
    if interfaces is not None:
        plain["interfaces"] = [interface_from_dict(interface) for interface in interfaces]
    if isinstance(plain.get("tags"), dict):
        plain["tags"] = list(plain["tags"].items())
    if isinstance(plain.get("user_data"), str):
        plain["user_data"] = plain["user_data"].encode()
    return checked(Instance, plain)


def interface_from_dict(data: Mapping[str, Any]) -> Interface:
    """An interface from JSON data: the fields by name. Raises ValueError."""
    return checked(Interface, data)


def to_dict(instance: Instance) -> dict[str, Any]:
    """The instance as JSON data: what `from_dict` reads."""
    plain: dict[str, Any] = as_dict(instance)
    plain["interfaces"] = [as_dict(interface) for interface in instance.interfaces]
    plain["tags"] = dict(instance.tags)
    plain["user_data"] = None if instance.user_data is None else instance.user_data.decode("utf-8", "replace")
    return plain


def checked(cls: type[V], data: Mapping[str, Any]) -> V:
    """A value of this class from JSON data. Raises ValueError that names the fields that it does not have."""
    unknown = sorted(set(data) - set(cls._fields))
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)} (it has {', '.join(cls._fields)})")
    try:
        return cls(**{name: _frozen(value) for name, value in data.items()})
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value
