"""The addresses of the simulated VPC: what belongs to which interface is arithmetic, and known before it exists."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident.testing import Interface

CIDR = "10.0.0.0/16"
CIDR6 = "2001:db8:ec2::/56"
#: The first address of a subnet is its router's; by IPv6 it is the same link-local one in every subnet.
ROUTER6 = "fe80:ec2::1"
METADATA = ("169.254.169.254", "fd00:ec2::254")

OUTSIDE = "203.0.113.9"
OUTSIDE6 = "2001:db8:113::9"


class Eni(NamedTuple):
    """An elastic network interface: what the VPC knows of it, attached or not."""

    name: str
    subnet_number: int
    host: int

    @property
    def mac(self) -> str:
        """Locally administered, as Amazon's own are."""
        return f"06:00:00:00:{self.subnet_number:02x}:{self.host:02x}"

    @property
    def address(self) -> str:
        return self.in_subnet(self.host)

    @property
    def address6(self) -> str:
        return self.in_subnet6(self.host)

    @property
    def subnet(self) -> str:
        return f"10.0.{self.subnet_number}.0/24"

    @property
    def subnet6(self) -> str:
        return str(ip_network(f"2001:db8:ec2:{self.subnet_number:x}::/64"))

    @property
    def router(self) -> str:
        return self.in_subnet(1)

    def in_subnet(self, host: int) -> str:
        """Another IPv4 address of its subnet."""
        return f"10.0.{self.subnet_number}.{host}"

    def in_subnet6(self, host: int) -> str:
        """Another IPv6 address of its subnet."""
        return str(ip_address(f"2001:db8:ec2:{self.subnet_number:x}::{host:x}"))

    @property
    def number(self) -> int:
        """The number in its name, which is its device number too."""
        return int("".join(filter(str.isdigit, self.name)) or 0)

    def described(self) -> Interface:
        """The interface as the metadata service describes it."""
        from ec2ident.testing import Interface

        return Interface(
            mac=self.mac,
            subnet=self.subnet,
            private_ips=(self.address,),
            device_number=self.number,
            subnets_ipv6=(self.subnet6,),
            ipv6s=(self.address6,),
            vpc_cidrs=(CIDR,),
            vpc_cidrs_ipv6=(CIDR6,),
        )
