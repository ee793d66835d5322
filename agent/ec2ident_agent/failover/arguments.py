"""The command line: every verb with its options, and the place of the configuration that each option overrides.

`verb` of the parsed options names the verb: `route ensure`, `takeover`.
"""

from __future__ import annotations

from ec2ident.arguments import Parser, Version

from . import settings
from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any


def parser(description: str) -> Parser:
    """The parser of the whole command line."""
    top = Parser(prog="ec2ident-failover", description=description)
    top.add_argument("--version", action=Version)
    verbs = top.add_subparsers(required=True)
    _route_parser(verbs)
    _eni_parser(verbs)
    _dns_parser(verbs)
    found = _verb(verbs, "policy", "print the minimal IAM policy for this configuration")
    found.add_argument("--account", help="default: the configured one, else that of the credentials")
    found.add_argument("--node-role", action="store_true", help="print what the nodes need to assume role_arn instead")
    _bind_parser(verbs)
    found = _verb(verbs, "takeover", "move a whole service to this node, in the right order", slow=True)
    found.add_argument("service")
    _acting(found)
    found.add_argument("--force", action="store_true", help="detach by force at once; may harm the old instance")
    found.add_argument("--no-local", action="store_true", help="do not change addresses and interfaces of this node")
    return top


#: Options that override a key of the same name at the top of the configuration.
TOP = ("region", "profile", "role_arn", "external_id", "endpoint", "ca_bundle", "instance", "deadline", "account")

#: Options that override a key of a service, by the first word of their verb.
KEYS = {
    "route": {
        "overlay": "overlay",
        "table": "route.tables",
        "tag": "route.tag",
        "vpc": "route.vpc",
        "eni": "route.eni",
        "keep_check": "route.source_dest_check",
    },
    "eni": {name: f"eni.{name}" for name in ("id", "tag", "address", "index", "grace")},
    "dns": {
        **{name: f"dns.{name}" for name in ("zone", "name", "vpc", "ttl", "resolver")},
        "value": "dns.values",
        "no_wait": "dns.wait",
    },
}
#: Options that describe a service by themselves, and are refused beside the name of one.
INSTEAD = {"route": ("overlay", "table", "tag", "vpc"), "eni": ("id", "tag", "address"), "dns": ("zone", "name", "vpc")}
#: Of INSTEAD, those of which exactly one is needed.
CHOICE = {"route": ("table", "tag", "vpc"), "eni": ("id", "tag", "address"), "dns": ("zone",)}
#: Of INSTEAD, those that are all needed without the name of a service.
NEEDED = {"route": ("overlay",), "eni": (), "dns": ("zone", "name")}


def flag(name: str) -> str:
    """The option as the user writes it."""
    return f"--{name.replace('_', '-')}"


def places(options: argparse.Namespace) -> tuple[dict[tuple[str, ...], Any], dict[str, str]]:
    """What the options say at which place of the configuration, and the option of each place. Pure.

    Without the name of a service the options describe one with an empty name. Raises UsageError.
    """
    values: dict[tuple[str, ...], Any] = {}
    names = {}
    for key in TOP:
        if getattr(options, key, None) is not None:
            values[(key,)], names[key] = getattr(options, key), flag(key)
    part = options.verb.partition(" ")[0]
    if part not in KEYS or "service" not in options:
        return values, names
    given = [name for name in INSTEAD[part] if getattr(options, name)]
    if options.service and given:
        raise UsageError(f"{', '.join(map(flag, given))}: not together with a service of the configuration")
    if not options.service:
        if not all(getattr(options, name) for name in NEEDED[part]):
            raise UsageError(f"{part}: name a service, or give {' and '.join(map(flag, NEEDED[part]))}")
        values["service", "", part], names[f"service..{part}"] = {}, ", ".join(map(flag, CHOICE[part]))
    for name, key in KEYS[part].items():
        place, value = ("service", options.service, *key.split(".")), getattr(options, name, None)
        if name in ("keep_check", "no_wait"):
            value = {"keep_check": "leave", "no_wait": False}[name] if value else None
        if value not in (None, "", []):
            values[place] = value
        if place in values or not options.service:
            names[".".join(place)] = flag(name)
    return values, names


def _verb(verbs: Any, name: str, text: str, *, slow: bool = False) -> Parser:
    found: Parser = verbs.add_parser(name, help=text, description=text)
    found.set_defaults(verb=found.prog.partition(" ")[2], slow=slow, expect="", plan=False)
    shared = found.add_argument_group("everywhere")
    shared.add_argument("--config", metavar="FILE", help=f"default {settings.PATH}")
    shared.add_argument("--region", help="default: AWS_REGION, then the metadata service")
    shared.add_argument("--instance", metavar="ID", help="the node to move to; default: this one")
    shared.add_argument("--profile", help="profile of the shared AWS configuration")
    shared.add_argument("--role-arn", metavar="ARN", help="assume this role; it may be in another account")
    shared.add_argument("--external-id", metavar="ID")
    shared.add_argument("--endpoint", metavar="URL", help="use it for all services, instead of the regional ones")
    shared.add_argument("--ca-bundle", metavar="FILE")
    shared.add_argument("--deadline", type=float, metavar="SECONDS", help="time for the whole action")
    shared.add_argument("--state-dir", metavar="DIR", help="state directory of ec2ident-agent")
    shared.add_argument("--agent-config", metavar="FILE", help="configuration of ec2ident-agent")
    shared.add_argument("--json", action="store_true")
    return found


def _acting(found: Parser) -> None:
    _planned(found)
    found.add_argument(
        "--expect",
        default="",
        metavar="OWNER",
        help="move only if this instance or interface is the owner, or `nobody`",
    )


def _planned(found: Parser) -> None:
    found.add_argument(
        "--plan", action="store_true", help="print what would be done; exit 1 if there is something to do"
    )


def _route_parser(verbs: Any) -> None:
    group = verbs.add_parser("route", help="an overlay route in its route tables").add_subparsers(required=True)
    texts = {
        "ensure": "point the route to this node in all of its tables",
        "show": "show where the route points; exit 1 if not to this node",
        "delete": "remove the route from its tables",
    }
    for name, text in texts.items():
        found = _verb(group, name, text)
        found.add_argument(
            "service", nargs="?", default="", help="a service of the configuration; or describe one by options"
        )
        found.add_argument("--overlay", action="append", default=[], metavar="CIDR")
        found.add_argument("--table", action="append", default=[], metavar="ID")
        found.add_argument("--tag", default="", metavar="KEY=VALUE", help="all route tables with this tag")
        found.add_argument("--vpc", default="", metavar="ID", help="all route tables of this VPC")
        found.add_argument("--eni", default="", metavar="ID", help="target; default: the first interface of the node")
        found.add_argument("--keep-check", action="store_true", help="do not switch the source/destination check off")
        if name != "show":
            _acting(found)


def _eni_parser(verbs: Any) -> None:
    group = verbs.add_parser("eni", help="an ENI that moves").add_subparsers(required=True)
    found = _verb(group, "create", "create an ENI, or find the one that has the address")
    found.add_argument("--subnet", required=True, metavar="ID")
    found.add_argument("--address", default="")
    found.add_argument("--group", action="append", default=[], metavar="ID", help="security group")
    found.add_argument("--description", default="")
    for name, text in (
        ("show", "show where the ENI is; exit 1 if not at this node"),
        ("move", "attach the ENI to this node"),
    ):
        found = _verb(group, name, text, slow=True)
        found.add_argument("service", nargs="?", default="", help="a service of the configuration; or give one of:")
        found.add_argument("--id", default="")
        found.add_argument("--tag", default="", metavar="KEY=VALUE")
        found.add_argument("--address", default="", help="an address of the ENI")
    _acting(found)
    found.add_argument("--index", type=int, help="device index; default: the first free one")
    found.add_argument(
        "--grace", type=float, metavar="SECONDS", help="time before a hanging detach is forced; default 30"
    )
    found.add_argument("--force", action="store_true", help="detach by force at once; may harm the old instance")
    found.add_argument("--no-local", action="store_true", help="do not wait for the interface and apply its profile")


def _dns_parser(verbs: Any) -> None:
    group = verbs.add_parser("dns", help="a name in a private hosted zone").add_subparsers(required=True)
    for name, text in (
        ("show", "compare the records; exit 1 if they differ"),
        ("ensure", "write the records that differ, and wait until every name server has them"),
    ):
        found = _verb(group, name, text, slow=True)
        found.add_argument(
            "service", nargs="?", default="", help="a service of the configuration; or describe one by options"
        )
        found.add_argument("--zone", default="", metavar="ID")
        found.add_argument("--name", default="")
        found.add_argument(
            "--value", action="append", default=[], metavar="ADDRESS", help="default: an address of this node"
        )
        found.add_argument("--vpc", default="", metavar="ID", help="refuse a zone that is not associated with it")
        found.add_argument("--ttl", type=int)
        found.add_argument("--resolver", default="", metavar="ADDRESS[#PORT]", help="ask this resolver to confirm")
    _planned(found)
    found.add_argument("--no-wait", action="store_true")
    found = _verb(group, "zone", "make sure that a VPC has a private zone, and DNS switched on")
    found.add_argument("--name", required=True)
    found.add_argument("--vpc", required=True, metavar="ID")


def _bind_parser(verbs: Any) -> None:
    found = _verb(verbs, "bind", "print named.conf of a forwarder for resolvers outside the VPC")
    found.add_argument("--client", action="append", default=[], metavar="CIDR", help="clients that may send queries")
    found.add_argument(
        "--zone", action="append", default=[], help="default: the configured records' names without their first label"
    )
    found.add_argument(
        "--forwarder", action="append", default=[], metavar="ADDRESS[#PORT]", help="the resolver of the VPC"
    )
    found.add_argument("--listen", action="append", default=[], metavar="ADDRESS")
    found.add_argument("--port", type=int, default=53)
    found.add_argument("--directory", default="/var/cache/bind", help="where BIND may write; default %(default)s")
    found.add_argument("--log", metavar="FILE", help="log of the queries; default queries.log in that directory")
