"""The parameters of the Pacemaker agents in one table, and the metadata and settings made from it.

The metadata is the subset that both of its schemas accept: the DTD `ra-api-1.dtd` and the RELAX NG `metadata.rng` of
resource-agents.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ec2ident_agent.failover.settings import Settings


class Parameter(Value):
    """One parameter. `place` is the same key in failover.toml, in a service's table if it begins with a dot.

    `kinds` are the agents that have it, and `{table}` stands for the table of each.
    """

    name: str
    place: str
    kinds: tuple[str, ...]
    text: str
    type: str = "string"
    default: str = ""
    required: bool = False
    unique: bool = False


#: The version of the agents: of their parameters and of what they do.
VERSION = "1.0"

KINDS = ("overlay", "bgp", "eni", "private", "eip", "dns")
SHORT = {
    "overlay": "Overlay address with its routes in the VPC",
    "bgp": "Overlay address that FRR announces to a VPC Route Server",
    "eni": "Elastic network interface",
    "private": "Secondary private addresses of EC2",
    "eip": "Elastic IP address of EC2",
    "dns": "Name in a Route 53 hosted zone",
}
LONG = {
    "overlay": (
        "Holds an overlay address on this node and points its route, in all route tables, to this node's interface."
    ),
    "bgp": (
        "Holds an overlay address on this node, and has FRR announce it to the endpoints of a VPC Route Server, which"
        " points the route in all tables to this node's interface."
    ),
    "eni": "Attaches an elastic network interface to this node and applies its profile of ec2ident-agent.",
    "private": (
        "Assigns secondary private addresses or delegated prefixes to this node's interface, taking them from another"
        " node of the subnet. With interface= this node also holds the addresses."
    ),
    "eip": "Associates an Elastic IP address with this node's interface, taking it from another node.",
    "dns": "Points a name of a hosted zone to this node.",
}

#: The agents of an overlay address.
ROUTED = ("overlay", "bgp")

PARAMETERS = (
    Parameter(
        "address",
        ".overlay",
        ROUTED,
        "The overlay addresses, of both families, separated by commas or spaces; outside of the VPC's CIDR blocks.",
        required=True,
        unique=True,
    ),
    Parameter("asn", ".bgp.asn", ("bgp",), "The AS number of the nodes.", "integer", required=True),
    Parameter("endpoint_asn", ".bgp.endpoint_asn", ("bgp",), "That of the route server.", "integer", required=True),
    Parameter("tables", ".{table}.tables", ROUTED, "Ids of the route tables, separated by commas or spaces."),
    Parameter("table_tag", ".{table}.tag", ROUTED, "KEY=VALUE of the route tables, instead of their ids."),
    Parameter("vpc", ".{table}.vpc", ROUTED, "All route tables of this VPC, instead of their ids."),
    Parameter(
        "interface",
        ".device",
        ROUTED,
        "The device of the address and of the ENI that the route goes to.",
        default="eth0",
    ),
    Parameter("device", ".device", ("private",), "The device that holds them; default: another program does."),
    Parameter("label", ".label", ("overlay", "bgp", "private"), "The address's label, such as eth0:1."),
    Parameter(
        "eni",
        ".{table}.eni",
        ("overlay", "private", "eip"),
        "The ENI it goes to; default: that of the device, else the first one.",
    ),
    Parameter("table_role_arn", ".route.role_arn", ("overlay",), "The role for the tables alone, as in a shared VPC."),
    Parameter("table_external_id", ".route.external_id", ("overlay",), "The external id that this role requires."),
    Parameter(
        "addresses",
        ".private.addresses",
        ("private",),
        "The addresses or prefixes (/28, /80), separated by commas or spaces.",
        required=True,
        unique=True,
    ),
    Parameter("allocation_id", ".eip.allocation", ("eip",), "eipalloc-...", required=True, unique=True),
    Parameter("id", ".eni.id", ("eni",), "The id of the interface (eni-...).", unique=True),
    Parameter("tag", ".eni.tag", ("eni",), "KEY=VALUE of the interface, instead of its id."),
    Parameter(
        "private_address",
        ".{table}.address",
        ("eni", "eip"),
        "An address of the interface, instead of its id; or the one that the Elastic IP goes to.",
    ),
    Parameter("index", ".eni.index", ("eni",), "The device index; default: the first free one.", "integer"),
    Parameter("grace", ".eni.grace", ("eni",), "Seconds before a detach is forced.", "integer", "30"),
    Parameter("zone", ".dns.zone", ("dns",), "The id or the name of the hosted zone.", required=True),
    Parameter("name", ".dns.name", ("dns",), "The name of the record.", required=True, unique=True),
    Parameter("values", ".dns.values", ("dns",), "Its addresses; default: the first one of this node."),
    Parameter("zone_role_arn", ".dns.role_arn", ("dns",), "The role for the zone alone."),
    Parameter("zone_external_id", ".dns.external_id", ("dns",), "The external id that this role requires."),
    Parameter("ttl", ".dns.ttl", ("dns",), "Its time to live, in seconds.", "integer", "10"),
    Parameter("wait", ".dns.wait", ("dns",), "Wait until every name server has it.", "boolean", "true"),
    Parameter("public", ".dns.public", ("dns",), "Whether the zone is a public one.", "boolean", "false"),
    Parameter("region", "region", KINDS, "The region; default: the one that the metadata service names."),
    Parameter(
        "instance", "instance", KINDS, "This node's instance id. It differs on each node, so it is better not set."
    ),
    Parameter("profile", "profile", KINDS, "The profile of the shared AWS configuration."),
    Parameter("role_arn", "role_arn", KINDS, "The role to assume; it may be in another account."),
    Parameter("external_id", "external_id", KINDS, "The external id that the role requires."),
    Parameter("endpoint", "endpoint", KINDS, "The URL of the API, instead of the regional one."),
    Parameter("proxy", "proxy", KINDS, "http://HOST:PORT for the API over TLS; default: HTTPS_PROXY; none."),
    Parameter("use_fips_endpoint", "use_fips_endpoint", KINDS, "Ask the FIPS endpoints.", "boolean"),
    Parameter("use_dualstack_endpoint", "use_dualstack_endpoint", KINDS, "Ask the dual-stack endpoints.", "boolean"),
    Parameter("endpoint_ec2", "endpoints.ec2", KINDS, "The URL of EC2's API alone."),
    Parameter("endpoint_route53", "endpoints.route53", ("dns",), "The URL of Route 53's API alone."),
    Parameter("endpoint_sts", "endpoints.sts", KINDS, "The URL of STS's API alone."),
    Parameter("ca_bundle", "ca_bundle", KINDS, "PEM file of the certificate authorities to trust."),
    Parameter("attempt", "attempt", KINDS, "Seconds for one try of one call.", "integer", "5"),
    Parameter(
        "state_dir",
        "",
        KINDS,
        "The directory of the run state; the same as that of ec2ident-agent.",
        default="/run/ec2ident",
    ),
)

_LISTS = ("tables", "values", "address", "addresses")
_TRUE, _FALSE = ("yes", "true", "1", "ja", "on"), ("no", "false", "0", "nein", "off")


def given(kind: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The parameters of an agent that are set, and the defaults of the others: the engine does not fill them in."""
    found = {each.name: environ.get(f"OCF_RESKEY_{each.name}", "") or each.default for each in of(kind)}
    return {name: value.strip() for name, value in found.items() if value.strip()}


def of(kind: str) -> tuple[Parameter, ...]:
    """The parameters of an agent, each with its own place."""
    table = {"overlay": "route"}.get(kind, kind)
    mine = [(each, each.place.format(table=table)) for each in PARAMETERS if kind in each.kinds]
    return tuple(replace(each, place=f"service.s{place}" if place.startswith(".") else place) for each, place in mine)


def settings_of(kind: str, values: Mapping[str, str]) -> Settings:
    """The settings that these parameters describe. Raises UsageError that names the parameter. Pure."""
    from ec2ident_agent.failover.errors import UsageError
    from ec2ident_agent.failover.settings import read, with_places

    names, places = {}, {}
    for each in of(kind):
        if each.place:
            names[each.place] = each.name
            if each.name in values:
                places[tuple(each.place.split("."))] = _value(each, values[each.name])
        if each.required and each.name not in values:
            raise UsageError(f"{each.name}: is missing")
    for table in ("service.s.route", "service.s.eni", "service.s.bgp"):
        keys = [name for place, name in names.items() if place.rpartition(".")[0] == table]
        names[table] = ", ".join(keys[:3])
    return read(with_places({}, places), lambda place: names.get(place, place))


def _value(parameter: Parameter, text: str) -> str | int | bool | list[str]:
    from ec2ident_agent.failover.errors import UsageError

    if parameter.name in _LISTS:
        return text.replace(",", " ").split()
    if parameter.type == "integer":
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise UsageError(f"{parameter.name}: {text[:32]!r} is not a whole number")
        return int(text)
    if parameter.type == "boolean":
        if text.lower() not in _TRUE + _FALSE:
            raise UsageError(f"{parameter.name}: {text[:32]!r} is neither yes nor no")
        return text.lower() in _TRUE
    return text


#: Seconds for a start: a detach and the propagation of a record take longer than the other moves.
START = {"overlay": 30, "bgp": 30, "eni": 180, "private": 30, "eip": 30, "dns": 180}

#: Action, time-out in seconds, interval and depth: hints from which administrators write operations.
ACTIONS = (
    ("start", 30, "", ""),
    ("stop", 20, "", ""),
    ("monitor", 20, "10s", "0"),
    ("monitor", 30, "60s", "10"),
    ("validate-all", 5, "", ""),
    ("meta-data", 5, "", ""),
)


def metadata(kind: str) -> str:
    """The metadata of an agent. Pure: the engine asks for it without privileges and without parameters."""
    parameters = "".join(map(_parameter, of(kind)))
    actions = "".join(
        f'<action name="{name}" timeout="{START[kind] if name == "start" else seconds}s"'
        + (f' interval="{interval}" depth="{depth}"' if interval else "")
        + "/>\n"
        for name, seconds, interval, depth in ACTIONS
    )
    return (
        '<?xml version="1.0"?>\n<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">\n'
        f'<resource-agent name="{kind}" version="{VERSION}">\n<version>1.0</version>\n'
        f'<longdesc lang="en">{LONG[kind]} A stop needs neither the API nor the metadata service.</longdesc>\n'
        f'<shortdesc lang="en">{SHORT[kind]}</shortdesc>\n'
        f"<parameters>\n{parameters}</parameters>\n<actions>\n{actions}</actions>\n</resource-agent>\n"
    )


def _parameter(each: Parameter) -> str:
    default = f' default="{each.default}"' if each.default else ""
    return (
        f'<parameter name="{each.name}" unique="{int(each.unique)}" required="{int(each.required)}">\n'
        f'<longdesc lang="en">{each.text}</longdesc>\n<shortdesc lang="en">{each.name}</shortdesc>\n'
        f'<content type="{each.type}"{default}/>\n</parameter>\n'
    )
