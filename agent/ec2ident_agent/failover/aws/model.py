"""The values of the API: route tables, ENIs, instances, hosted zones, record sets."""

from __future__ import annotations

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class VpcRoute(Value):
    """A row of a route table. Its target is the ENI `eni`, or anything else in `other`, `local` included."""

    destination: str
    eni: str = ""
    instance: str = ""
    owner: str = ""
    other: str = ""
    #: active, blackhole, filtered
    state: str = "active"
    #: Whether a virtual private gateway or a route server wrote it. It can be neither replaced nor deleted; a static
    #: route to the same destination stands beside it, and has priority.
    propagated: bool = False

    @property
    def holder(self) -> str:
        """The owner, for a message: the instance if one is attached, else the target itself."""
        return self.instance or self.eni or self.other


class RouteTable(Value):
    """A route table of a VPC."""

    id: str
    vpc: str
    #: The account that owns it: in a shared VPC not the instance's.
    owner: str
    routes: tuple[VpcRoute, ...] = ()
    name: str = ""
    #: The internet or virtual private gateway that the table belongs to, for a gateway route table.
    gateway: str = ""

    def route(self, destination: str) -> VpcRoute | None:
        """The route to exactly this destination; of several the static one, which alone can be replaced."""
        same = [route for route in self.routes if route.destination == destination]
        return next((route for route in same if not route.propagated), same[0] if same else None)

    @property
    def local(self) -> tuple[str, ...]:
        """The CIDR blocks of the VPC itself."""
        return tuple(route.destination for route in self.routes if route.other == "local")


class Attachment(Value):
    """The attachment of an ENI to an instance."""

    id: str
    #: Empty for an attachment that a service of AWS made.
    instance: str
    index: int
    card: int
    #: attaching, attached, detaching, detached
    status: str
    #: Whether EC2 deletes the ENI together with the instance.
    deleted_with_instance: bool = False
    #: When the attach began, in UTC ("2026-11-28T08:00:00"), "" if the answer does not say.
    since: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """The network card and the device index; the primary interface has (0, 0)."""
        return self.card, self.index


class NetworkInterface(Value):
    """An elastic network interface (ENI)."""

    id: str
    #: available, associated, attaching, in-use, detaching
    status: str
    zone: str
    subnet: str
    vpc: str
    owner: str
    mac: str
    check: bool
    addresses: tuple[str, ...]
    ipv6: tuple[str, ...] = ()
    attachment: Attachment | None = None
    description: str = ""
    #: The delegated prefixes, IPv4 and IPv6.
    prefixes: tuple[str, ...] = ()
    #: The Elastic IPs: pairs of private address and allocation id.
    elastic: tuple[tuple[str, str], ...] = ()

    @property
    def holder(self) -> str:
        """The instance that it is attached to, or ""."""
        return self.attachment.instance if self.attachment else ""

    def __str__(self) -> str:
        held = self.attachment
        where = f"{held.status} to {held.instance or 'a service of AWS'} index {held.index}" if held else self.status
        check = f"source/destination check {'on' if self.check else 'off'}"
        return f"{self.id} {','.join((*self.addresses, *self.ipv6))} {self.mac} {self.zone} {where}, {check}"


class ElasticAddress(Value):
    """An Elastic IP, and the ENI and private address that it is associated with, "" for none."""

    id: str
    public: str
    eni: str = ""
    instance: str = ""
    private: str = ""
    account: str = ""


class Ec2Instance(Value):
    """An EC2 instance."""

    id: str
    #: pending, running, shutting-down, terminated, stopping, stopped
    state: str
    zone: str
    vpc: str
    #: The attached ENIs by device index.
    interfaces: Mapping[int, str]


class HostedZone(Value):
    """A hosted zone of Route 53. `vpcs` are pairs of VPC id and region."""

    id: str
    name: str
    private: bool
    vpcs: tuple[tuple[str, str], ...] = ()
    #: What the request that created the zone gave to be recognised by.
    reference: str = ""


class RecordSet(Value):
    """All values of one name and type."""

    name: str
    type: str
    ttl: int
    values: tuple[str, ...]
    #: The features that an UPSERT of plain values would destroy: an alias, a routing policy, a health check.
    special: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.ttl} IN {self.type} {' '.join(self.values)}"


class Change(Value):
    """A change of records, which reaches the name servers some time later."""

    id: str
    #: PENDING, INSYNC
    status: str


class CallerIdentity(Value):
    """Which account and principal some credentials belong to."""

    account: str
    arn: str


class Credentials(Value):
    """Keys that sign requests. Their repr does not show the secrets."""

    key: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(key={self.key[:4]}…, secret=…)"
