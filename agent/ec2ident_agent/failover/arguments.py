"""The command line: every verb with its options, and the place of the configuration that each option overrides.

`verb` of the parsed options names the verb: `route ensure`, `takeover`.
"""

from __future__ import annotations

import argparse
import functools

from ec2ident.program import DRY_RUN, JSON, columns
from ec2ident.program.arguments import Parser, Version
from ec2ident.program.exit_codes import ACTING_LEGEND

from . import settings
from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: The verbs that an administrator runs, with other permissions than the nodes have.
FOR_VERBS = ("route delete", "eni create", "dns zone")

#: The options of every verb: name, the word for the value, help. A flag has no word.
SHARED = (
    ("--config", "FILE", f"default {settings.PATH}"),
    ("--region", "NAME", "default: AWS_REGION, then the metadata service"),
    ("--instance", "ID", "the node to move to; default: this one"),
    ("--profile", "NAME", "profile of the shared AWS configuration"),
    ("--role-arn", "ARN", "assume this role"),
    ("--external-id", "ID", "the external id that the role asks for"),
    ("--endpoint", "URL", "in place of the regional endpoints, for all services"),
    ("--proxy", "URL", "for the API over TLS; default HTTPS_PROXY; `none` for no proxy"),
    ("--ca-bundle", "FILE", "certificates that the endpoints are verified with"),
    ("--deadline", "SECONDS", "for the whole command"),
    ("--state-dir", "DIR", "the journal of ec2ident-agent"),
    ("--agent-config", "FILE", "the configuration of ec2ident-agent"),
    ("--json", "", JSON),
)


def parser() -> Parser:
    """The parser of the whole command line."""
    lines = columns([(f"{name} {metavar}".rstrip(), text) for name, metavar, text in SHARED])
    top = Parser(
        prog="ec2ident-failover",
        description="Move a service to this node. The result goes to stdout, the log to stderr.",
        epilog="\n".join(["options of every verb:", *lines, "", ACTING_LEGEND]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=Version)
    verbs = top.add_subparsers(required=True)
    _route_parser(verbs)
    _eni_parser(verbs)
    _assigned_parser(verbs)
    _dns_parser(verbs)
    found = _verb(verbs, "takeover", "move a whole service to this node", words="SERVICE", slow=True)
    found.add_argument("service", metavar="SERVICE", help="of the configuration")
    _acting(found)
    found.add_argument("--force", action="store_true", help="detach by force at once; may harm the old instance")
    found.add_argument("--no-local", action="store_true", help="do not change this node's addresses and interfaces")
    found = _verb(
        verbs, "release", "let a service go: what a stop does, for all of its parts", words="SERVICE", slow=True
    )
    found.add_argument("service", metavar="SERVICE", help="of the configuration")
    _dry_run(found)
    found.add_argument("--no-local", action="store_true", help="do not change this node's addresses")
    found.add_argument("--local", action="store_true", help="only this node's addresses, without the API")
    _engine_parsers(verbs)
    text = "show all parts of a service; exit code 1 if one is not as it should be on this node"
    found = _verb(verbs, "status", text, words="SERVICE", aliases=("show",))
    found.add_argument("service", metavar="SERVICE", help="of the configuration")
    found.add_argument("--metrics", default="", metavar="FILE", help="also write metrics for Prometheus's collector")
    found.set_defaults(no_local=False)
    found = _verb(verbs, "policy", "print the minimal IAM policy for this configuration")
    found.add_argument("--account", metavar="ID", help="default: as configured, else of the credentials")
    found.add_argument("--release", action="store_true", help="also what `release` needs")
    found.add_argument("--node-role", action="store_true", help="in its place: what the nodes need to assume roles")
    found.add_argument("--role", default="", metavar="ARN", help="in its place: the policy of this role of a part")
    found.add_argument("--trust", default="", metavar="ARN", help="in its place: the trust policy of this role")
    found.add_argument("--principal", default="", metavar="ARN", help="the nodes' own role; default: as asked of STS")
    found.add_argument("--all", action="store_true", help="in its place: every policy of both sides, as a list")
    found.add_argument(
        "--for",
        dest="for_verb",
        default="",
        choices=FOR_VERBS,
        metavar="VERB",
        help="what one verb needs, of: " + ", ".join(FOR_VERBS),
    )
    found.add_argument("--subnet", default="", metavar="ID", help="of `eni create`")
    found.add_argument("--group", action="append", default=[], metavar="ID", help="security group of `eni create` *")
    found.add_argument("--vpc", default="", metavar="ID", help="of `dns zone`")
    _bind_parser(verbs)
    found = _verb(verbs, "bgp", "print frr.conf of this node, which announces overlay addresses", words="[SERVICE]")
    found.add_argument("service", nargs="?", default="", metavar="SERVICE", help="default: all of the configuration")
    found.add_argument("--address", default="", metavar="ADDRESS", help="this node's, which the route server names")
    found.add_argument("--install", action="store_true", help="write it to /etc/frr/frr.conf; FRR is not restarted")
    found.add_argument("--check", action="store_true", help="with --install: only compare; exit code 1 if it differs")
    _dry_run(found)
    return top


#: Options that override a key of the same name at the top of the configuration.
TOP = (
    "region",
    "profile",
    "role_arn",
    "external_id",
    "endpoint",
    "proxy",
    "ca_bundle",
    "instance",
    "deadline",
    "account",
)

#: Options that override a key of a service, by the first word of their verb.
KEYS = {
    "route": {
        "overlay": "overlay",
        "device": "device",
        "table": "route.tables",
        "tag": "route.tag",
        "vpc": "route.vpc",
        "eni": "route.eni",
        "keep_check": "route.source_dest_check",
        "table_role_arn": "route.role_arn",
        "table_external_id": "route.external_id",
    },
    "eni": {name: f"eni.{name}" for name in ("id", "tag", "address", "index", "grace")},
    "dns": {
        **{name: f"dns.{name}" for name in ("zone", "name", "vpc", "ttl", "resolver")},
        "value": "dns.values",
        "public": "dns.public",
        "zone_role_arn": "dns.role_arn",
        "zone_external_id": "dns.external_id",
        "no_wait": "dns.wait",
    },
    "private": {"address": "private.addresses", "eni": "private.eni"},
    "eip": {"allocation": "eip.allocation", "eni": "eip.eni", "address": "eip.address"},
}
#: Options that describe a service by themselves, and are refused beside the name of one.
INSTEAD = {
    "route": ("overlay", "table", "tag", "vpc"),
    "eni": ("id", "tag", "address"),
    "dns": ("zone", "name", "vpc"),
    "private": ("address",),
    "eip": ("allocation",),
}
#: Of INSTEAD, those of which exactly one is needed.
CHOICE = {
    "route": ("table", "tag", "vpc"),
    "eni": ("id", "tag", "address"),
    "dns": ("zone",),
    "private": ("address",),
    "eip": ("allocation",),
}
#: Of INSTEAD, those that are all needed without the name of a service.
NEEDED = {"route": ("overlay",), "eni": (), "dns": ("zone", "name"), "private": ("address",), "eip": ("allocation",)}


#: Options without a value, and what each says of its key.
FLAGS: dict[str, bool | str] = {"keep_check": "leave", "no_wait": False, "public": True}


def flag(name: str) -> str:
    """The option as the user writes it."""
    return f"--{name.replace('_', '-')}"


def _described_by(part: str) -> str:
    """The options that describe a service by themselves."""
    choice = [flag(name) for name in CHOICE[part] if name not in NEEDED[part]]
    return " and ".join([*map(flag, NEEDED[part]), *([f"one of {', '.join(choice)}"] if choice else [])])


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
            raise UsageError(f"{part}: name a service, or give {_described_by(part)}")
        values["service", "", part], names[f"service..{part}"] = {}, ", ".join(map(flag, CHOICE[part]))
    for name, key in KEYS[part].items():
        place, value = ("service", options.service, *key.split(".")), getattr(options, name, None)
        if name in FLAGS:
            value = FLAGS[name] if value else None
        if value not in (None, "", []):
            values[place] = value
        if place in values or not options.service:
            names[".".join(place)] = flag(name)
    return values, names


@functools.cache
def _shared() -> Parser:
    """The options of every verb, made once: argparse takes longer for them in each verb than for all others."""
    found = Parser(add_help=False)
    for option, metavar, _ in SHARED:
        if option == "--deadline":
            found.add_argument(option, type=float, metavar=metavar, help=argparse.SUPPRESS)
        elif metavar:
            found.add_argument(option, metavar=metavar, help=argparse.SUPPRESS)
        else:
            found.add_argument(option, action="store_true", help=argparse.SUPPRESS)
    return found


def _verb(
    verbs: Any, name: str, text: str, *, words: str = "", slow: bool = False, aliases: tuple[str, ...] = ()
) -> Parser:
    found: Parser = verbs.add_parser(
        name,
        aliases=aliases,
        usage=" ".join(f"%(prog)s {words} [OPTION...]".split()),
        help=text,
        description=f"{text[:1].upper()}{text[1:]}.",
        epilog="* may be given more than once. Options of every verb: ec2ident-failover --help",
        parents=[_shared()],
    )
    found.set_defaults(verb=found.prog.partition(" ")[2], slow=slow, expect="", dry_run=False)
    return found


def _group(verbs: Any, name: str, text: str) -> Any:
    return verbs.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.").add_subparsers(required=True)


def _acting(found: Parser) -> None:
    _dry_run(found)
    found.add_argument(
        "--expect", default="", metavar="OWNER", help="only if this instance, ENI or `nobody` is the owner"
    )


def _dry_run(found: Parser) -> None:
    found.add_argument("--dry-run", "--plan", dest="dry_run", action="store_true", help=DRY_RUN)


def _service(found: Parser) -> None:
    found.add_argument("service", nargs="?", default="", metavar="SERVICE", help="of the configuration, or by options")


def _route_parser(verbs: Any) -> None:
    group = _group(verbs, "route", "an overlay route in its route tables")
    texts = {
        "status": "show where the route points; exit code 1 if not to this node",
        "ensure": "point the route to this node in all of its tables",
        "delete": "remove the route from its tables",
    }
    for name, text in texts.items():
        found = _verb(group, name, text, words="[SERVICE]", aliases=("show",) if name == "status" else ())
        _service(found)
        found.add_argument("--overlay", action="append", default=[], metavar="CIDR", help="destination of the route *")
        found.add_argument("--table", action="append", default=[], metavar="ID", help="a route table *")
        found.add_argument("--tag", default="", metavar="KEY=VALUE", help="all route tables with this tag")
        found.add_argument("--vpc", default="", metavar="ID", help="all route tables of this VPC")
        found.add_argument("--eni", default="", metavar="ID", help="default: the one of --device, else the first one")
        found.add_argument("--device", default="", metavar="IF", help="the interface of this node that has the address")
        found.add_argument("--table-role-arn", default="", metavar="ARN", help="assume this role for the tables alone")
        found.add_argument("--table-external-id", default="", metavar="ID", help="the external id that it asks for")
        found.add_argument("--keep-check", action="store_true", help="do not switch the source/destination check off")
        if name != "status":
            _acting(found)


def _eni_parser(verbs: Any) -> None:
    group = _group(verbs, "eni", "an ENI that moves")
    for name, text in (
        ("status", "show where the ENI is attached; exit code 1 if not to this node"),
        ("move", "attach the ENI to this node"),
    ):
        found = _verb(group, name, text, words="[SERVICE]", slow=True, aliases=("show",) if name == "status" else ())
        _service(found)
        found.add_argument("--id", default="", metavar="ID", help="id of the ENI")
        found.add_argument("--tag", default="", metavar="KEY=VALUE", help="the ENI with this tag")
        found.add_argument("--address", default="", metavar="ADDRESS", help="the ENI with this address")
    _acting(found)
    found.add_argument("--index", type=int, metavar="N", help="device index; default: the first free one")
    found.add_argument("--grace", type=float, metavar="SECONDS", help="before a hanging detach is forced; default 30")
    found.add_argument("--force", action="store_true", help="detach by force at once; may harm the old instance")
    found.add_argument("--no-local", action="store_true", help="do not wait for the interface and apply its profile")
    found = _verb(group, "create", "create an ENI, or find the one that has the address")
    found.add_argument("--subnet", required=True, metavar="ID", help="where the interface is created")
    found.add_argument("--address", default="", metavar="ADDRESS", help="default: any free one")
    found.add_argument("--group", action="append", default=[], metavar="ID", help="security group *")
    found.add_argument("--description", default="", metavar="TEXT", help="description of the interface")
    found.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="tag of the interface *")
    _dry_run(found)


def _assigned_parser(verbs: Any) -> None:
    for part, text in (("private", "secondary private addresses"), ("eip", "an Elastic IP")):
        group = _group(verbs, part, f"{text}, of one ENI at a time")
        for name, help_ in (
            ("status", "show which ENI has it; exit code 1 if not this node's"),
            ("ensure", "assign it to this node's ENI"),
        ):
            found = _verb(group, name, help_, words="[SERVICE]", aliases=("show",) if name == "status" else ())
            _service(found)
            if part == "private":
                found.add_argument("--address", action="append", default=[], help="address, or prefix (/28, /80) *")
            else:
                found.add_argument("--allocation", default="", metavar="ID", help="the Elastic IP (eipalloc-...)")
                found.add_argument("--address", default="", help="the private address; default: the primary one")
            found.add_argument("--eni", default="", metavar="ID", help="default: the first interface of the node")
        _acting(found)


def _dns_parser(verbs: Any) -> None:
    group = _group(verbs, "dns", "a name in a hosted zone")
    for name, text in (
        ("status", "compare the records with this node; exit code 1 if they differ"),
        ("ensure", "write the records that differ; wait until all name servers have them"),
    ):
        found = _verb(group, name, text, words="[SERVICE]", slow=True, aliases=("show",) if name == "status" else ())
        _service(found)
        found.add_argument("--zone", default="", metavar="ZONE", help="the hosted zone: its id, ARN or name")
        found.add_argument("--public", action="store_true", help="the zone may be a public one")
        found.add_argument("--name", default="", metavar="NAME", help="the name of the records")
        found.add_argument(
            "--value", action="append", default=[], metavar="ADDRESS", help="default: an address of this node *"
        )
        found.add_argument("--vpc", default="", metavar="ID", help="refuse a zone of another VPC")
        found.add_argument("--ttl", type=int, metavar="SECONDS", help="default 10")
        found.add_argument("--zone-role-arn", default="", metavar="ARN", help="assume this role for the zone alone")
        found.add_argument("--zone-external-id", default="", metavar="ID", help="the external id that it asks for")
        found.add_argument("--resolver", default="", metavar="ADDRESS", help="confirm with this resolver; ADDRESS#PORT")
    _dry_run(found)
    found.add_argument("--no-wait", action="store_true", help="do not wait for the name servers")
    found = _verb(group, "wait", "wait until all name servers have a change", words="CHANGE", slow=True)
    found.add_argument("change", metavar="CHANGE", help="the id that `dns ensure` shows")
    found = _verb(group, "zone", "make sure that a VPC has a private zone, and DNS switched on")
    found.add_argument("--name", required=True, metavar="NAME", help="name of the zone")
    found.add_argument("--vpc", required=True, metavar="ID", help="the VPC")
    found.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="tag of a zone made here *")
    _dry_run(found)


def _engine_parsers(verbs: Any) -> None:
    text = "hold a service while its leader key says so, and release it when that cannot be asked"
    found = _verb(verbs, "hold", text, words="SERVICE", slow=True)
    found.add_argument("service", metavar="SERVICE", help="of the configuration, with a table hold")
    found = _verb(verbs, "callback", "what patroni and repmgr call", words="ENGINE SERVICE WORD...", slow=True)
    found.add_argument("engine", metavar="ENGINE", choices=("patroni", "repmgr"), help="patroni or repmgr")
    found.add_argument("service", metavar="SERVICE", help="of the configuration")
    found.add_argument("words", metavar="WORD", nargs="*", help="as the engine gives them")


def _bind_parser(verbs: Any) -> None:
    found = _verb(verbs, "bind", "print named.conf of a forwarder for resolvers outside the VPC")
    found.add_argument("--client", action="append", default=[], metavar="CIDR", help="clients that may ask *")
    found.add_argument(
        "--zone",
        action="append",
        default=[],
        metavar="NAME",
        help="default: configured names without first label, and EC2's own *",
    )
    found.add_argument(
        "--forwarder", action="append", default=[], metavar="ADDRESS", help="the VPC's resolver; ADDRESS#PORT *"
    )
    found.add_argument(
        "--corporate",
        nargs="?",
        const="bind",
        metavar="KIND",
        help="in its place: lines for the resolvers outside: bind, unbound or dnsmasq; --forwarder is then this BIND",
    )
    found.add_argument("--listen", action="append", default=[], metavar="ADDRESS", help="where BIND listens *")
    found.add_argument("--port", type=int, default=53, metavar="N", help="default %(default)s")
    found.add_argument("--directory", default="/var/cache/bind", metavar="DIR", help="default %(default)s")
    found.add_argument("--log", metavar="FILE", help="of the queries; default: queries.log in DIR")
