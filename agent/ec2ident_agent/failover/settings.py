"""The settings of failover, read strictly: if a misspelt key were ignored, a service would not move.

They are mappings that come from `/etc/ec2ident/failover.toml`, from flags, or from the OCF parameters of a Pacemaker
agent; one reader checks all of them, and its errors name what the user wrote. The whole file:

    region   = "eu-west-1"            # default: AWS_REGION, then the metadata service
    instance = "i-…"                  # this node; default: the board tag, then the metadata service
    deadline = 20                     # seconds for one action; default 20, or 120 where an ENI or a name moves
    attempt  = 5                      # seconds for one attempt of one API call
    profile = "…"                     # profile of the shared AWS configuration
    role_arn = "…"  external_id = "…" # assume this role; the external id that it asks for
    endpoint = "https://…"            # in place of the regional endpoints, for all services
    ca_bundle = "/…"                  # certificates that the endpoints are verified with
    proxy = "http://HOST:PORT"        # for the API over TLS; default HTTPS_PROXY; "none" for no proxy
    use_fips_endpoint = true          # default: AWS_USE_FIPS_ENDPOINT, then the profile's key
    use_dualstack_endpoint = true     # default: AWS_USE_DUALSTACK_ENDPOINT, then the profile's key
    on_move = ["/usr/local/bin/moved"]  # run after each move, for 10 s at most; EC2IDENT_SERVICE and its like say what
    account = "123456789012"          # for `policy`: the account
    instances = ["i-…", "i-…"]        # for `policy`: the nodes
    interfaces = ["eni-…", "eni-…"]   # for `policy`: the interfaces that carry the traffic

    [endpoints]                       # in place of the regional endpoint of one service; default: `endpoint`
    ec2 = "https://…"  route53 = "https://…"  sts = "https://…"  # of the service of that name

    [service.db]                      # any number of services; each of their parts is optional
    overlay = ["192.168.10.5/32"]     # addresses that the node holds while it has the service
    device  = "eth0"                  # the interface that holds them; the route goes to its ENI; default: as
                                      # the agent's configuration says
    label   = "eth0:1"                # label of the address; default: the next free one

    [service.db.route]                # the route to the overlay addresses
    tables = ["rtb-…", "rtb-…"]       # or  tag = "KEY=VALUE"  or  vpc = "vpc-…"
    eni    = "eni-…"                  # default: the ENI of `device`, else the first one of the node
    source_dest_check = "off"         # switched off on the interface that carries the traffic; or "leave"
    role_arn = "…"  external_id = "…" # to read and change the tables alone, as in a shared VPC; also for eni and dns

    [service.db.bgp]                  # in place of the route: FRR announces the overlay to a VPC Route Server
    asn = 65001                       # this node's autonomous system; the same one on all nodes
    endpoint_asn = 65000              # the route server's
    endpoints = ["10.0.1.11", "10.0.1.12"]  # its endpoints in this node's subnet, for `bgp`; default: as FRR has them
    address = "10.0.1.10"             # this node's: the route server's peer; default: as the kernel chooses
    liveness = "bfd"                  # or "bgp-keepalive", as the route server has it
    announce = "holder"               # or "both": the other node announces a longer path
    prepend = 3                       # how often the longer path has the own ASN once more
    tables = ["rtb-…"]                # or  tag = "KEY=VALUE"  or  vpc = "vpc-…": what `status` reads of the API
    eni = "eni-…"                     # what these tables should show; default: an ENI of this instance

    [service.db.eni]                  # an ENI that moves with the service
    id = "eni-…"                      # or  tag = "KEY=VALUE"  or  address = "10.0.1.5"
    index = 1                         # default: the first free one
    grace = 30                        # seconds before a hanging detach is forced

    [service.db.private]              # secondary private addresses, which move between the ENIs of a subnet
    addresses = ["10.0.1.50"]         # or IPv6 addresses, or delegated prefixes (/28, /80)
    eni = "eni-…"                     # default: the ENI of the service's device, else the node's first interface

    [service.db.eip]                  # an Elastic IP
    allocation = "eipalloc-…"         # id of its allocation
    eni = "eni-…"                     # as above
    address = "10.0.1.50"             # the private address that it goes to; default: the primary one

    [service.db.dns]                  # a name in a private hosted zone
    zone = "Z…"                       # or its ARN, or its name, such as "example.corp"
    name = "db.example.corp"          # the name of the records
    values = ["10.0.0.11"]            # default: the overlay addresses, else the private ones, else the node's own
    ttl = 10                          # seconds
    wait = true                       # until every name server has it
    resolver = "10.0.0.2"             # asked at the end to confirm
    vpc = "vpc-…"                     # refuse a zone that is not associated with it
    public = false                    # true: the zone may be a public one

    [service.db.hold]                 # for `ec2ident-failover hold`
    leader = "http://127.0.0.1:8008/primary"  # 200 is yes, 503 is no; or  command = ["…", "…"], exit code 0 or 1
    ca = "/etc/patroni/ca.pem"        # for https
    every = 1                         # seconds between two questions
    timeout = 1                       # seconds for one
    release_after = 10                # seconds for which a yes counts

The file is separate from the agent's, because the agent does not need failover and may have another administrator.
"""

from __future__ import annotations

import os

from ec2ident.value import Value
from ec2ident_agent import strict_toml

from .aws import forms
from .aws.endpoints import checked_proxy
from .errors import UsageError
from .selectors import EniSelector, TableSelector, check_one
from .table_reader import TableReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .leader.question import Url
    from .table_reader import Said

PATH = "/etc/ec2ident/failover.toml"


class RouteSettings(Value):
    """The route to the overlay addresses. `check`: switch the source/destination check off where it is on."""

    select: TableSelector
    eni: str = ""
    check: bool = True
    role_arn: str = ""
    external_id: str = ""


class BgpSettings(Value):
    """What this node's FRR announces. `endpoints` are those of the route server, and `address` is its peer: this node.

    Without `endpoints` they are all neighbors of FRR with `endpoint_asn`. `tables` are only read, to verify; None asks
    nothing of the API.
    """

    asn: int
    endpoint_asn: int
    endpoints: tuple[str, ...] = ()
    address: str = ""
    bfd: bool = True
    both: bool = False
    prepend: int = 3
    tables: TableSelector | None = None
    eni: str = ""


class EniSettings(Value):
    """An ENI that moves. `index` None means the first free one; `grace` is in seconds."""

    find: EniSelector
    index: int | None = None
    grace: float = 30.0
    role_arn: str = ""
    external_id: str = ""


class PrivateSettings(Value):
    """Secondary private addresses or prefixes. They go to `eni`, or to the service's device or the first interface."""

    addresses: tuple[str, ...]
    eni: str = ""

    @property
    def single(self) -> tuple[str, ...]:
        """The addresses, without the prefixes, which belong to no device."""
        return tuple(each for each in self.addresses if "/" not in each)


class EipSettings(Value):
    """An Elastic IP. `address` is the private address of the ENI that it goes to; "" for the primary one."""

    allocation: str
    eni: str = ""
    address: str = ""


class DnsSettings(Value):
    """A name in a hosted zone; `public` says in which kind. `zone` is an id, or a name with a final dot."""

    zone: str
    name: str
    values: tuple[str, ...] = ()
    ttl: int = 10
    wait: bool = True
    resolver: str = ""
    vpc: str = ""
    public: bool = False
    role_arn: str = ""
    external_id: str = ""


class HoldSettings(Value):
    """Which question says that this node may hold the service, and how long a yes counts. Times are in seconds."""

    leader: Url | None = None
    command: tuple[str, ...] = ()
    ca: str = ""
    every: float = 1.0
    timeout: float = 1.0
    release_after: float = 10.0


class Service(Value):
    """The parts that move together."""

    name: str
    overlay: tuple[str, ...] = ()
    device: str = ""
    label: str = ""
    route: RouteSettings | None = None
    eni: EniSettings | None = None
    dns: DnsSettings | None = None
    private: PrivateSettings | None = None
    eip: EipSettings | None = None
    hold: HoldSettings | None = None
    bgp: BgpSettings | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """What a name points to by default: the overlay addresses, else the private ones."""
        return self.overlay or (self.private.single if self.private else ())


class Settings(Value):
    """Everything that is configured. An empty text or None means: not given."""

    region: str = ""
    instance: str = ""
    deadline: float | None = None
    attempt: float = 5.0
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    endpoint: str = ""
    ca_bundle: str = ""
    proxy: str = ""
    fips: bool | None = None
    dual_stack: bool | None = None
    #: Pairs of a service's name and its endpoint.
    endpoints: tuple[tuple[str, str], ...] = ()
    #: What is run after each move.
    on_move: tuple[str, ...] = ()
    account: str = ""
    instances: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()

    def service(self, name: str, path: str = "the configuration") -> Service:
        """Return the service of that name. Raises UsageError, which says that it is not in `path`."""
        for each in self.services:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.services) or "none"
        raise UsageError(f"service: no [service.{name}] in {path} (known: {known})")


def path_from(environ: Mapping[str, str] | None = None) -> str:
    """The configuration file that the environment (by default the process's) names, or the usual one."""
    return (os.environ if environ is None else environ).get("EC2IDENT_FAILOVER_CONFIG", PATH)


def load(path: str, *, required: bool) -> strict_toml.Tables:
    """The tables of the configuration; none if the file is missing and not `required`.

    Raises ConfigError with file and line, RefusedError for a file that another user could write, UnknownError for one
    that cannot be read.
    """
    return strict_toml.load(path, required=required) or strict_toml.Tables({}, path, "")


def parse(data: bytes) -> Settings:
    """The settings of a TOML text. Raises ConfigError with the line or the key. Pure."""
    tables = strict_toml.parse("the configuration", data)
    return read(tables, lambda place: f"{tables.where(*place.split('.'))}: {place}")


def with_places(found: Mapping[str, Any], places: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """The tables with other values at some places, such as ("service", "db", "dns", "ttl"). Pure.

    A place inside of what is not a table is dropped: the reader reports that instead.
    """
    result = dict(found)
    for (head, *tail), value in places.items():
        if not tail:
            result[head] = value
        elif isinstance(result.setdefault(head, {}), dict):
            result[head] = with_places(result[head], {tuple(tail): value})
    return result


def read(found: Mapping[str, Any], said: Said = str) -> Settings:
    """The settings of these tables. Raises UsageError; `said` gives the user's name of a place. Pure."""
    top = TableReader("", dict(found), said)
    services, endpoints = top.table("service"), top.table("endpoints")
    settings = Settings(
        region=top.text("region", forms.region),
        instance=top.text("instance", forms.identifier("instance")),
        deadline=top.number("deadline", None, 0.1, 3600),
        attempt=float(top.number("attempt", 5.0, 0.1, 600)),
        profile=top.text("profile"),
        role_arn=top.text("role_arn", forms.role),
        external_id=top.text("external_id"),
        endpoint=top.text("endpoint", forms.endpoint),
        ca_bundle=top.text("ca_bundle"),
        proxy=top.text("proxy", checked_proxy),
        fips=top.switch("use_fips_endpoint"),
        dual_stack=top.switch("use_dualstack_endpoint"),
        endpoints=_endpoints(endpoints) if endpoints else (),
        on_move=_command(top, "on_move"),
        account=top.text("account", forms.identifier("account")),
        instances=top.texts("instances", forms.identifier("instance")),
        interfaces=top.texts("interfaces", forms.identifier("interface")),
        services=tuple(_service(name, services.table(name)) for name in list(services.left)) if services else (),
    )
    top.end()
    return settings


def _command(table: TableReader, key: str) -> tuple[str, ...]:
    """A command by its absolute path: the search path of a cluster engine is another one than a shell's."""
    found = table.texts(key)
    if found and not found[0].startswith("/"):
        raise UsageError(f"{table.name(key)}: {found[0][:64]!r} is not an absolute path")
    return found


def _endpoints(table: TableReader) -> tuple[tuple[str, str], ...]:
    found = tuple((name, table.text(name, forms.endpoint)) for name in ("ec2", "route53", "sts"))
    table.end()
    return tuple(pair for pair in found if pair[1])


def _role(table: TableReader) -> tuple[str, str]:
    """The role of a part, and its external id: the last keys of its table.

    Raises UsageError for a key that is left then, and for an external id without a role.
    """
    role, external = table.text("role_arn", forms.role), table.text("external_id")
    table.end()
    if external and not role:
        raise UsageError(f"{table.name('external_id')}: is of no use without {table.name('role_arn')}")
    return role, external


def _service(name: str, table: TableReader | None) -> Service:
    assert table
    route, eni, dns = table.table("route"), table.table("eni"), table.table("dns")
    private, eip, hold = table.table("private"), table.table("eip"), table.table("hold")
    bgp = table.table("bgp")
    found = Service(
        name,
        table.texts("overlay", forms.overlay),
        table.text("device", forms.device),
        table.text("label"),
        _route(route) if route else None,
        _eni(eni) if eni else None,
        _dns(dns) if dns else None,
        _private(private) if private else None,
        _eip(eip) if eip else None,
        _hold(hold) if hold else None,
        _bgp(bgp) if bgp else None,
    )
    table.end()
    if found.route and not found.overlay:
        raise UsageError(f"{table.name('overlay')}: a route needs an overlay address")
    if bgp:
        _check_announced(found, table, bgp)
    if not (found.overlay or found.eni or found.dns or found.private or found.eip):
        raise UsageError(f"{table.said(table.path)}: nothing to move; write overlay, eni, private, eip or dns")
    return found


def _select(table: TableReader) -> TableSelector:
    tables = table.texts("tables", forms.identifier("table"))
    return TableSelector(tables, table.text("tag", forms.tag), table.text("vpc", forms.identifier("vpc")))


def _interface(table: TableReader) -> str:
    return table.text("eni", forms.identifier("interface"))


def _route(table: TableReader) -> RouteSettings:
    check, select, eni = table.one("source_dest_check", ("off", "leave")), _select(table), _interface(table)
    found = RouteSettings(select, eni, check == "off", *_role(table))
    check_one(select, table.one_of(select._fields))
    return found


def _bgp(table: TableReader) -> BgpSettings:
    liveness, announce = table.one("liveness", ("bfd", "bgp-keepalive")), table.one("announce", ("holder", "both"))
    asn, endpoint_asn = (int(table.whole(key, 0, 1, 2**32 - 1)) for key in ("asn", "endpoint_asn"))
    endpoints = table.texts("endpoints", forms.ipv4)
    address, prepend = table.text("address", forms.ipv4), table.whole("prepend", 3, 1, 10)
    select, eni = _select(table), _interface(table)
    table.end()
    table.require(asn=asn, endpoint_asn=endpoint_asn)
    if asn == endpoint_asn:
        raise UsageError(f"{table.name('asn')}: {asn} is the route server's number too: a peer has another one")
    if len({*endpoints}) < len(endpoints) or address in endpoints:
        raise UsageError(f"{table.name('endpoints')}: an address is there twice, or is this node's own one")
    asked = select if select.tables or select.tag or select.vpc else None
    if asked:
        check_one(select, table.one_of(select._fields))
    return BgpSettings(
        asn, endpoint_asn, endpoints, address, liveness == "bfd", announce == "both", prepend, asked, eni
    )


def _check_announced(found: Service, table: TableReader, bgp: TableReader) -> None:
    """Raises UsageError for a service that FRR cannot announce."""
    if not found.overlay:
        raise UsageError(f"{table.name('overlay')}: bgp needs an overlay address")
    for each in found.overlay:
        forms.named(table.name("overlay"), forms.single, each)
    if found.route:
        said = "a route that the API wrote has priority over what a route server writes; remove one of the two"
        raise UsageError(f"{bgp.said(bgp.path)}: together with a route: {said}")


def _eni(table: TableReader) -> EniSettings:
    find = EniSelector(
        table.text("id", forms.identifier("interface")),
        table.text("tag", forms.tag),
        table.text("address", forms.address),
    )
    index, grace = table.whole("index", None, 1, 255), float(table.number("grace", 30.0, 0, 3600))
    found = EniSettings(find, index, grace, *_role(table))
    check_one(find, table.one_of(find._fields))
    return found


def _private(table: TableReader) -> PrivateSettings:
    addresses = table.texts("addresses", forms.assignable)
    found = PrivateSettings(addresses, _interface(table))
    table.end()
    table.require(addresses=addresses)
    return found


def _eip(table: TableReader) -> EipSettings:
    allocation = table.text("allocation", forms.identifier("allocation"))
    found = EipSettings(allocation, _interface(table), table.text("address", forms.address))
    table.end()
    table.require(allocation=allocation)
    return found


def _dns(table: TableReader) -> DnsSettings:
    found = DnsSettings(
        table.text("zone", forms.zone),
        table.text("name"),
        table.texts("values", forms.single),
        table.whole("ttl", 10, 0, 2**31 - 1),
        table.boolean("wait", True),
        table.text("resolver", forms.server),
        table.text("vpc", forms.identifier("vpc")),
        table.boolean("public", False),
        *_role(table),
    )
    table.require(zone=found.zone, name=found.name)
    return found


def _hold(table: TableReader) -> HoldSettings:
    from .leader.question import url

    text, command, ca = table.text("leader"), table.texts("command"), table.text("ca")
    every, timeout = (float(table.number(key, 1.0, 0.1, 60)) for key in ("every", "timeout"))
    release_after = float(table.number("release_after", 10.0, 0.5, 3600))
    table.end()
    if bool(text) == bool(command):
        raise UsageError(f"{table.said(table.path)}: write one of leader, command")
    try:
        leader = url(text) if text else None
    except ValueError as error:
        raise UsageError(f"{table.name('leader')}: {text[:64]!r} {error}") from None
    found = HoldSettings(leader, command, ca, every, timeout, release_after)
    if found.release_after <= every + timeout:
        said = f"{found.release_after:g} is not more than every + timeout ({every + timeout:g})"
        raise UsageError(f"{table.name('release_after')}: {said}: one lost answer would end the service")
    return found
