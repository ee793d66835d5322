"""`/etc/ec2ident/failover.toml`: strict, because a misspelt key that is passed over is a service that does not move.

    region   = "eu-west-1"            # default: AWS_REGION, then the metadata service
    instance = "i-…"                  # this node; default: the board tag, then the metadata service
    deadline = 20                     # seconds for one action; default 20, for one with an interface or a name 120
    attempt  = 5                      # seconds for one try of one call
    profile = "…"  role_arn = "…"  external_id = "…"  endpoint = "https://…"  ca_bundle = "/…"
    account = "123456789012"          # for `policy`: the account, the nodes, and the interfaces that carry traffic
    instances = ["i-…", "i-…"]
    interfaces = ["eni-…", "eni-…"]

    [service.db]                      # as many as there are; any of its parts may be absent
    overlay = ["192.168.10.5/32"]     # addresses that this node holds while it has the service
    device  = "eth0"                  # where; default: as the agent's configuration says
    label   = "eth0:1"

    [service.db.route]                # the overlay's route
    tables = ["rtb-…", "rtb-…"]       # or  tag = "KEY=VALUE"  or  vpc = "vpc-…"
    eni    = "eni-…"                  # default: this node's first interface
    source_dest_check = "off"         # or "leave"

    [service.db.eni]
    id = "eni-…"                      # or  tag = "KEY=VALUE"  or  address = "10.0.1.5"
    index = 1                         # default: the first free one
    grace = 30                        # seconds before a hanging detach is forced

    [service.db.dns]
    zone = "Z…"
    name = "db.example.corp"
    values = ["10.0.0.11"]            # default: the overlay addresses, else the address of this node
    ttl = 10
    wait = true                       # until every name server has it
    resolver = "10.0.0.2"             # asked at the end to confirm
    vpc = "vpc-…"                     # refuse a zone that is not associated with it

A file of its own: the agent neither knows nor needs failover, and may be configured by somebody else.
"""

from __future__ import annotations

import os

from ec2ident.value import Value, replace
from ec2ident_agent import strict_toml

from .dns import server_of, zone_id
from .eni import Find, check_find
from .errors import FailoverError, UsageError
from .route_tables import Select, check_select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PATH = "/etc/ec2ident/failover.toml"


class RoutePart(Value):
    select: Select
    eni: str = ""
    check: bool = True


class EniPart(Value):
    find: Find
    index: int | None = None
    grace: float = 30.0


class DnsPart(Value):
    zone: str
    name: str
    values: tuple[str, ...] = ()
    ttl: int = 10
    wait: bool = True
    resolver: str = ""
    vpc: str = ""


class Service(Value):
    """What moves together."""

    name: str
    overlay: tuple[str, ...] = ()
    device: str = ""
    label: str = ""
    route: RoutePart | None = None
    eni: EniPart | None = None
    dns: DnsPart | None = None


class Settings(Value):
    """All that the configuration says. An empty text or None means: not said."""

    region: str = ""
    instance: str = ""
    deadline: float | None = None
    attempt: float = 5.0
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    endpoint: str = ""
    ca_bundle: str = ""
    account: str = ""
    instances: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()

    def service(self, name: str, path: str = "the configuration") -> Service:
        """The one of that name; `path` is what the error says it is not in. Raises UsageError."""
        for each in self.services:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.services) or "none"
        raise UsageError(f"service: no [service.{name}] in {path} (known: {known})")


class _Reader:
    """One table of the file. Each key is taken once, by its type; what is left over at the end is an error."""

    def __init__(self, where: str, table: Any) -> None:
        if not isinstance(table, dict):
            raise UsageError(f"{where}: is no table")
        self.where, self.left = where, dict(table)

    def _take(self, key: str, kinds: tuple[type, ...], default: Any, said: str) -> Any:
        value = self.left.pop(key, default)
        if value is default:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"{self.where}{key}: {strict_toml.shown(value)} is no {said}")
        return value

    def text(self, key: str) -> str:
        found: str = self._take(key, (str,), "", "text")
        return found

    def boolean(self, key: str, default: bool) -> bool:
        found: bool = self._take(key, (bool,), default, "true or false")
        return found

    def number(self, key: str, default: Any, low: float, high: float) -> Any:
        found = self._take(key, (int, float), default, "number")
        if found is not default and not low <= found <= high:
            raise UsageError(f"{self.where}{key}: {found} is not from {low:g} to {high:g}")
        return found

    def whole(self, key: str, default: Any, low: int, high: int) -> Any:
        found = self.number(key, default, low, high)
        if isinstance(found, float):
            raise UsageError(f"{self.where}{key}: {found} is no whole number")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, or one text."""
        value = self._take(key, (str, list), (), "list of texts")
        found = (value,) if isinstance(value, str) else tuple(value)
        if not all(isinstance(each, str) and each for each in found):
            raise UsageError(f"{self.where}{key}: {strict_toml.shown(value)} is no list of texts")
        return found

    def table(self, key: str) -> _Reader | None:
        value = self.left.pop(key, None)
        return None if value is None else _Reader(f"{self.where}{key}.", value)

    def end(self) -> None:
        if self.left:
            raise UsageError(f"{self.where}{min(self.left)}: no such key")


def load(path: str, *, required: bool) -> Settings:
    """The configuration; an empty one when there is no file and none is `required`.

    Raises ConfigError with file and key, RefusedError for a file that another user could write, UnknownError for one
    that cannot be read.
    """
    found = strict_toml.load(path, required=required)
    if found is None:
        return Settings()
    try:
        return from_table(found)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def parse(data: bytes) -> Settings:
    """The configuration in these bytes. Pure. Raises ConfigError with the line or the key."""
    return from_table(strict_toml.parse("the configuration", data))


def from_table(table: Mapping[str, Any]) -> Settings:
    """The configuration in these values. Pure. Raises ConfigError with the key."""
    top = _Reader("", table)
    services = top.table("service")
    found = Settings(
        region=region(top.text("region")),
        instance=_id("instance", top.text("instance")),
        deadline=top.number("deadline", None, 0.1, 3600),
        attempt=float(top.number("attempt", 5.0, 0.1, 600)),
        profile=top.text("profile"),
        role_arn=role(top.text("role_arn")),
        external_id=top.text("external_id"),
        endpoint=_endpoint(top.text("endpoint")),
        ca_bundle=top.text("ca_bundle"),
        account=_id("account", top.text("account")),
        instances=tuple(_id("instance", each) for each in top.texts("instances")),
        interfaces=tuple(_id("interface", each) for each in top.texts("interfaces")),
        services=_services(services) if services else (),
    )
    top.end()
    return found


def _services(every: _Reader) -> tuple[Service, ...]:
    found = []
    for name in list(every.left):
        table = every.table(name)
        assert table
        found.append(_service(name, table))
    return tuple(found)


def _service(name: str, table: _Reader) -> Service:
    route, eni, dns = table.table("route"), table.table("eni"), table.table("dns")
    found = Service(
        name,
        tuple(overlay(each) for each in table.texts("overlay")),
        table.text("device"),
        table.text("label"),
        _route(route) if route else None,
        _eni(eni) if eni else None,
        _dns(dns) if dns else None,
    )
    table.end()
    if found.route and not found.overlay:
        raise UsageError(f"{table.where}overlay: a route needs an overlay address")
    if not (found.overlay or found.eni or found.dns):
        raise UsageError(f"service.{name}: nothing to move; write overlay, eni or dns")
    return found


def _route(table: _Reader) -> RoutePart:
    check = table.text("source_dest_check") or "off"
    if check not in ("off", "leave"):
        raise UsageError(f"{table.where}source_dest_check: {check!r} is neither off nor leave")
    select = Select(table.texts("tables"), table.text("tag"), table.text("vpc"))
    found = RoutePart(check_select(select), _id("interface", table.text("eni")), check == "off")
    table.end()
    return found


def _eni(table: _Reader) -> EniPart:
    find = check_find(Find(table.text("id"), table.text("tag"), table.text("address")))
    found = EniPart(find, table.whole("index", None, 1, 255), float(table.number("grace", 30.0, 0, 3600)))
    table.end()
    return found


def flagged(part: EniPart, **given: float | None) -> EniPart:
    """With what flags say instead, which are read as strictly. Raises UsageError."""
    table = _Reader("", {name: value for name, value in given.items() if value is not None})
    index, grace = table.whole("index", part.index, 1, 255), table.number("grace", part.grace, 0, 3600)
    return replace(part, index=index, grace=float(grace))


def _dns(table: _Reader) -> DnsPart:
    resolver = table.text("resolver")
    found = DnsPart(
        zone_id(table.text("zone")),
        table.text("name"),
        table.texts("values"),
        table.whole("ttl", 10, 0, 2**31 - 1),
        table.boolean("wait", True),
        server_of(resolver) if resolver else "",
        vpc(table.text("vpc")),
    )
    table.end()
    if not found.name:
        raise UsageError(f"{table.where}name: is missing")
    return found


def overlay(text: str) -> str:
    """An overlay address as the CIDR block of its route; a single address becomes a /32 or /128. Raises UsageError."""
    from .aws.response import network

    try:
        return network(text)
    except FailoverError as error:
        raise UsageError(f"overlay: {error}") from None


def _id(shape: str, text: str) -> str:
    from .aws.response import is_a

    if text and not is_a(shape, text):
        raise UsageError(f"{shape}: {text!r} is no id of one")
    return text


def region(text: str) -> str:
    from .aws.response import is_a

    if text and not is_a("region", text):
        raise UsageError(f"region: {text!r} is no name of a region")
    return text


def vpc(text: str) -> str:
    return _id("vpc", text)


def role(text: str) -> str:
    import re

    if text and not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,576}", text, re.ASCII):
        raise UsageError(f"role_arn: {text!r} is no ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)")
    return text


def _endpoint(text: str) -> str:
    from .aws.client import check_endpoint

    return check_endpoint(text) if text else ""


def path_from(environ: Mapping[str, str] | None = None) -> str:
    """The configuration file that the environment (by default the process's) names, or the usual one."""
    return (os.environ if environ is None else environ).get("EC2IDENT_FAILOVER_CONFIG", PATH)
