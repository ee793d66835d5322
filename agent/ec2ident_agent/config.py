"""What `/etc/ec2ident/agent.toml` may say. Pure. Strict, because a misspelt key that is ignored is a missing route.

[interface.eth1]            # one for each attached ENI; or any name, with  mac = "06:…"
mac        = "06:…"         # the interface with this MAC address, whatever its name is
subnet     = "10.0.1.0/24"  # or a list, for both families
router     = "10.0.1.1"     # default: the subnet's first address
table      = 100            # default: 23600 + 100 × network card + device number
table_name = "MYHA"         # written to rt_tables.d/ec2ident.conf
priority   = 100            # of its policy rules; default: 100; with split 23600 and the two after it
scheme     = "by-source"    # or "split"
source     = ["10.0.1.10"]  # which sources use the table; default: the subnets, or the interface's addresses
vpc        = "10.0.0.0/16"  # split only: the address ranges of the VPC; default: from the metadata service
routes     = ["10.50.0.0/16", "10.60.0.0/16 via 10.0.1.254 mtu 1500"]  # further routes in the table
mtu        = 1500           # of the default route; default: as main's default route by this interface has it
advmss     = 1460           # the same for the segment size that TCP announces
addresses  = "report"       # or "hold": add the ENI's secondary addresses that no other program adds

[[overlay]]                 # one for each overlay address that this node always holds
address = "192.168.10.10/32"  # of IPv4 or IPv6; required
device  = "eth0"            # the interface that holds it; required
label   = "eth0:1"          # default: the next free DEVICE:N
via     = "eth1"            # the interface it is routed to; default: its device
"""

from __future__ import annotations

from ec2ident.program.spelling import no_such

from .errors import ConfigError
from .profile import BY_SOURCE, HOLD, PRIORITY, REPORT, Config, ExtraRoute, Overlay, Section, check_label
from .strict_toml import parse as parse_toml
from .strict_toml import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def parse(path: str, data: bytes) -> Config:
    """The configuration in these bytes. Pure. Raises ConfigError with one line that says where and what."""
    tables = parse_toml(path, data)
    for key in tables:
        if key not in ("interface", "overlay"):
            raise ConfigError(f"{tables.where(key)}: {no_such('key', key, ('interface', 'overlay'))}")
    interfaces, overlays = tables.get("interface", {}), tables.get("overlay", [])
    if not isinstance(interfaces, dict) or not all(isinstance(each, dict) for each in interfaces.values()):
        raise ConfigError(f"{tables.where('interface')}: interface: write a table for each, [interface.eth1]")
    if not isinstance(overlays, list) or not all(isinstance(each, dict) for each in overlays):
        raise ConfigError(f"{tables.where('overlay')}: overlay: write [[overlay]] for each address")
    place: tuple[str | int, ...] = ()
    sections, addresses = [], []
    try:
        for name, keys in interfaces.items():
            place = ("interface", name)
            sections.append(section(name, keys))
        for number, keys in enumerate(overlays):
            place = ("overlay", number)
            addresses.append(overlay(keys))
        place = ()
        config = Config(tuple(sections), tuple(addresses))
        _check_once(config)
    except _KeyError as wrong:
        raise ConfigError(f"{tables.where(*place, wrong.key)}: {wrong}") from None
    except ConfigError as wrong:
        raise ConfigError(f"{tables.where(*place)}: {wrong}") from None
    return config


class _KeyError(ConfigError):
    """One key of a table is wrong."""

    def __init__(self, text: str, key: str) -> None:
        super().__init__(text)
        self.key = key


def section(name: str, keys: Mapping[str, Any]) -> Section:
    """`[interface.NAME]`, or the same from flags. Raises ConfigError."""
    from .inet import vpc_router
    from .items import family
    from .profile import check_routers, check_routes

    where = f"interface.{name}"
    fields = _read(where, keys, _INTERFACE)
    if not fields.get("mac"):
        _device(where, name)
    elif not name.isprintable() or name.startswith("-"):
        # revert is told it, and reads --all otherwise.
        raise ConfigError(f"{where!r}: not a name")
    subnets, routers = fields.get("subnets", ()), fields.get("routers", ())
    first = next((subnet for subnet in subnets if family(subnet) == 4), "")
    if first and not any(family(router) == 4 for router in routers):
        fields["routers"] = routers = (*routers, vpc_router(first))
    if subnets:
        check_routers(name, subnets, routers)
    found = Section(name, **fields)
    if subnets:
        try:
            check_routes(found, subnets)
        except ConfigError as wrong:
            raise _KeyError(f"interface.{wrong}", "routes") from None
        for each in found.routes:
            version = family(each.destination)
            if not each.via and version not in map(family, (*routers, *subnets)):
                why = f"{where}: routes: {each.destination}: the interface has no router of IPv{version}"
                raise _KeyError(f"{why}; write via ROUTER, or router = …", "routes")
    return found


def overlay(keys: Mapping[str, Any]) -> Overlay:
    """`[[overlay]]`, or the same from flags. Raises ConfigError."""
    where = f"overlay {keys.get('address', '')}".strip()
    for key in ("address", "device"):
        if key not in keys:
            raise ConfigError(f"{where}: {key} is missing")
    found = Overlay(**_read(where, keys, _OVERLAY))
    check_label(found)
    return found


def _check_once(config: Config) -> None:
    # One table in two sections is refused where the desired state is made: that stops one of the two alone.
    seen: dict[tuple[str, object], str] = {}
    for each in config.sections:
        for what, value in (("table_name", each.table_name), ("mac", each.mac)):
            if value and seen.setdefault((what, value), each.name) != each.name:
                raise ConfigError(f"{what} {value} is claimed by {seen[what, value]} and by {each.name}")
    addresses = [each.address for each in config.overlays]
    for address in addresses:
        if addresses.count(address) > 1:
            raise ConfigError(f"overlay {address} is there twice")


# -- one value at a time ----------------------------------------------------------------------------------------------


def _read(
    where: str, keys: Mapping[str, Any], known: Mapping[str, tuple[str, Callable[[str, Any], Any]]]
) -> dict[str, Any]:
    fields = {}
    for key, value in keys.items():
        if key not in known:
            raise _KeyError(f"{where}: {no_such('key', key, known)}", key)
        field, reader = known[key]
        try:
            fields[field] = reader(f"{where}: {key}", value)
        except ConfigError as wrong:
            raise _KeyError(str(wrong), key) from None
    return fields


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} = {shown(value)}: not a text")
    return value


def _number(low: int, high: int) -> Callable[[str, Any], int]:
    def read(where: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"{where} = {shown(value)}: not a number from {low} to {high}")
        return value

    return read


def _table(where: str, value: Any) -> int:
    found = _number(1, 0xFFFFFFFF)(where, value)
    if found in (253, 254, 255):
        name = {253: "default", 254: "main", 255: "local"}[found]
        raise ConfigError(f"{where} = {found}: that is the kernel's own table {name}; choose another number")
    return found


def _many(reader: Callable[[str], str]) -> Callable[[str, Any], tuple[str, ...]]:
    def read(where: str, value: Any) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ConfigError(f"{where} = []: empty; leave the key out for the default")
        try:
            return tuple(dict.fromkeys(reader(_text(where, each)) for each in values))
        except ValueError as wrong:
            raise ConfigError(f"{where}: {wrong}") from None

    return read


def _prefix(text: str) -> str:
    from .inet import prefix

    found = prefix(text)
    if found.endswith("/0"):
        raise ValueError(f"{text}: that is everything, not a subnet")
    return found


#: The smallest MTU of each family (RFC 791 and RFC 8200), and the largest packet.
SMALLEST, LARGEST = {4: 68, 6: 1280}, 65535


def _routes(where: str, value: Any) -> tuple[ExtraRoute, ...]:
    """`"DESTINATION [via ROUTER] [mtu N] [advmss N]"`, in the words of `ip route`, or a list of them."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ConfigError(f"{where} = []: empty; leave the key out for none")
    found: dict[str, ExtraRoute] = {}
    for each in values:
        try:
            route = _extra_route(_text(where, each))
        except ValueError as wrong:
            raise ConfigError(f"{where} = {shown(each)}: {wrong}") from None
        if found.setdefault(route.destination, route) != route:
            raise ConfigError(f"{where}: {route.destination} is there twice, with different routes")
    return tuple(found.values())


def _extra_route(text: str) -> ExtraRoute:
    """Raises ValueError with the reason."""
    from .inet import is_unicast
    from .items import DEFAULT, family

    destination, *words = text.split()
    if destination in ("default", *DEFAULT.values()):
        raise ValueError("the default route goes through the interface's router; write router = …")
    destination = _prefix(destination)
    if not is_unicast(destination):
        raise ValueError(f"{destination}: no network that a router leads to")
    given: dict[str, Any] = {}
    for name, word in zip(words[::2], [*words[1::2], ""]):
        if name not in ("via", "mtu", "advmss"):
            raise ValueError(no_such("word", name, ("via", "mtu", "advmss")))
        if name in given or not word:
            raise ValueError(f"{name}: given twice" if name in given else f"{name}: needs a value")
        given[name] = _host(word) if name == "via" else word
    version = family(destination)
    if "via" in given and family(given["via"]) != version:
        raise ValueError(f"router {given['via']} is not IPv{version}")
    low = {"mtu": SMALLEST[version], "advmss": 1}
    for name in given.keys() & low.keys():
        number = given[name]
        if not (number.isascii() and number.isdigit() and low[name] <= int(number[:9]) <= LARGEST):
            raise ValueError(f"{name} {number}: not a number from {low[name]} to {LARGEST}")
        given[name] = int(number)
    return ExtraRoute(destination, **given)


def _host(text: str) -> str:
    from .inet import host

    return host(text)


def _single(where: str, value: Any) -> str:
    from .inet import single

    try:
        return single(_text(where, value))
    except ValueError as wrong:
        raise ConfigError(f"{where}: {wrong}") from None


def _mac(where: str, value: Any) -> str:
    from .inet import is_mac

    mac = _text(where, value).lower()
    if not is_mac(mac):
        raise ConfigError(
            f"{where} = {shown(value)}: not a MAC address, six pairs of hexadecimal digits with colons between"
        )
    return mac


def _device(where: str, value: Any) -> str:
    from .inet import is_link_name

    name = _text(where, value)
    if not is_link_name(name):
        raise ConfigError(f"{where}: {name!r} is not the name of a network interface")
    return name


def _table_name(where: str, value: Any) -> str:
    name = _text(where, value)
    plain = all(c.isascii() and (c.isalnum() or c in "_.-") for c in name)
    if not plain or len(name) > 64 or name.isdigit() or name in ("main", "local", "default", "unspec", "all"):
        raise ConfigError(
            f"{where} = {shown(value)}: not a table's name: letters, digits, _ . - and not a number or a reserved name"
        )
    return name


def _scheme(where: str, value: Any) -> str:
    # The word that configurations written before the first release may hold.
    scheme = BY_SOURCE if value == "seed" else value
    if scheme not in PRIORITY:
        raise ConfigError(f"{where} = {shown(value)}: not a scheme (known: {', '.join(PRIORITY)})")
    return str(scheme)


def _addresses(where: str, value: Any) -> str:
    if value not in (REPORT, HOLD):
        raise ConfigError(f"{where} = {shown(value)}: not {REPORT} or {HOLD}")
    return str(value)


def _label(where: str, value: Any) -> str:
    return _text(where, value)


#: Key to field and reader.
_INTERFACE: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "mac": ("mac", _mac),
    "subnet": ("subnets", _many(_prefix)),
    "router": ("routers", _many(_host)),
    "table": ("table", _table),
    "table_name": ("table_name", _table_name),
    # 0 is the local table's, and after 32765 main has answered already.
    "priority": ("priority", _number(1, 32763)),
    "scheme": ("scheme", _scheme),
    "source": ("sources", _many(_prefix)),
    "vpc": ("vpc", _many(_prefix)),
    "routes": ("routes", _routes),
    # One number for both families, and 1280 is IPv6's smallest.
    "mtu": ("mtu", _number(SMALLEST[6], LARGEST)),
    "advmss": ("advmss", _number(1, LARGEST)),
    "addresses": ("addresses", _addresses),
}
_OVERLAY: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "address": ("address", _single),
    "device": ("device", _device),
    "label": ("label", _label),
    "via": ("via", _device),
}
