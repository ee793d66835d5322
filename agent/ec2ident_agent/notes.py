"""What a report says besides the agent's own items: interfaces that nothing serves, and addresses that no program has
brought up. Pure.

Neither is drift, because the configuration does not ask for it; but a node on which an ENI's address answers nothing is
not as its owner believes.
"""

from __future__ import annotations

from ec2ident.value import Value

from .inet import contains, covers, link_local, network_of
from .items import DEFAULT, OURS, Address, Route, Rule, family
from .profile import MAIN, find_device, routed_hosts
from .state.owned import interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from .desired import FactsByDevice
    from .items import Observed
    from .profile import Config, Profile
    from .state.owned import Owner

UNSERVED, NOT_HELD = "unserved", "not held"
#: Addresses that one line names.
SHOWN = 4


class Note(Value):
    """One thing to know: its kind (UNSERVED or NOT_HELD), what it is about, what it is, its effect and what to do."""

    kind: str
    owner: Owner
    what: str
    why: str
    do: str

    def __str__(self) -> str:
        return f"{self.what}; {self.do}"


def notes(config: Config, profiles: Iterable[Profile], facts: FactsByDevice, observed: Observed) -> tuple[Note, ...]:
    """All that there is to know about this node besides the agent's items."""
    return (*unserved(config, facts, observed), *not_held(profiles, observed))


def unserved(config: Config, facts: FactsByDevice, observed: Observed) -> Iterator[Note]:
    """Interfaces with an address, without a section, and without a rule of any program that leads their answers back.

    An interface counts if the metadata service lists it, or if main has a default route by it. The first interface is
    served by main, as long as main's routes lead out by it. It is the one with device number 0; where the service is
    not asked, it is the one of main's first default route. Its name does not tell: without persistent names eth1 may be
    the first one. A port of a bridge counts as the bridge.
    """
    main = [seen.item for seen in observed.seen if isinstance(seen.item, Route) and seen.item.table == MAIN]
    ways = [way for way in main if way.destination in DEFAULT.values() and way.gateway]
    there = {link.name for link in observed.links if not observed.over(link)}
    primary = next((device for device, known in facts.items() if known.primary), "")
    ways.sort(key=lambda way: (family(way.destination), way.metric))
    first = primary or (ways[0].device if ways else "")
    links = {link.name: section for section in config.sections for link in [find_device(section, observed)] if link}
    candidates = dict.fromkeys([*(way.device for way in ways), *(device for device in facts if device in there)])
    for device in (each for each in candidates if each not in links and each in there):
        addresses = [*_without_a_way_back(device, observed)]
        if device == first:
            asked = _families_of_main(observed)
            addresses = [each for each in addresses if family(each) not in asked or not _led_back(each, device, main)]
        hosts = [each.partition("/")[0] for each in addresses]
        if hosts:
            more = f" and {len(hosts) - SHOWN} more" if len(hosts) > SHOWN else ""
            what = f"{device} has {', '.join(hosts[:SHOWN])}{more}, and nothing leads the answers from there back by it"
            if primary in links:
                what += f"; {primary} of [interface.{links[primary].name}] is the first interface (device number 0)"
            other = first if first != device else ""
            why = f"they leave by {other or 'another interface'}, and the VPC drops them as spoofed"
            yield Note(UNSERVED, interface(device), what, why, f"write [interface.{device}]")


def _families_of_main(observed: Observed) -> set[int]:
    """The families of which a rule asks main for every packet, or no foreign rule was seen at all.

    systemd/systemd#41350 shows a node on which networkd has deleted the kernel's own rules.
    """
    foreign = [seen for seen in observed.seen if isinstance(seen.item, Rule) and seen.protocol != OURS]
    rules = [(seen.item, seen.extra, seen.version) for seen in foreign if isinstance(seen.item, Rule)]
    plain = [each for each in rules if each[1] in ((), ("inet6",)) and not (each[0].source or each[0].destination)]
    asked = {version for rule, _, version in plain if rule.table == MAIN and rule.suppress < 0}
    return asked | ({4, 6} - {version for _, _, version in rules})


def _led_back(address: str, device: str, main: Sequence[Route]) -> bool:
    """True if main leads answers from this address out by its device: to the world, and to neighbours in its subnet.

    Of IPv4 routes with one metric the kernel takes the one that it lists first. Of IPv6 routes it takes any.
    """
    version = family(address)
    networks = [network_of(address)] if version == 4 and not address.endswith("/32") else []
    for destination in (DEFAULT[version], *networks):
        routes = [way for way in main if way.destination == destination]
        if destination == DEFAULT[version]:
            # A route by a VPN is meant, and one with several routers has no device here.
            routes = [way for way in routes if way.gateway or not way.device]
        best = [way.device for way in routes if way.metric == min(each.metric for each in routes)]
        if best and not {device, ""} & {*(best[:1] if version == 4 else best)}:
            return False
    return True


def _without_a_way_back(device: str, observed: Observed) -> Iterator[str]:
    """The addresses of a device that are the source of no rule into a table, besides main, with a default route by it.

    A table without one leads nowhere, so that the packets fall to main: amazon-ec2-net-utils#132.
    """
    routes = [seen.item for seen in observed.seen if isinstance(seen.item, Route) and seen.item.table != MAIN]
    ways = {(way.table, way.destination) for way in routes if way.device in (device, "")}
    rules = [seen.item for seen in observed.seen if isinstance(seen.item, Rule) and seen.item.source]
    sources = [rule.source for rule in rules if (rule.table, DEFAULT[family(rule.source)]) in ways]
    for seen in observed.seen:
        if isinstance(seen.item, Address) and seen.item.device == device and seen.protocol != OURS:
            host = seen.item.address.partition("/")[0]
            if not link_local(host) and not any(contains(source, host) for source in sources):
                yield seen.item.address


def not_held(profiles: Iterable[Profile], observed: Observed) -> Iterator[Note]:
    """Addresses of a configured interface's ENI that are on no interface of this node, so that they answer nothing.

    An address is in use if a route leads to it alone, such as to a container. A delegated prefix is in use if an
    address or a route of the node lies in it.
    """
    hosts: set[str] | None = None
    for profile in profiles:
        if hosts is None:
            hosts = {each.item.address.partition("/")[0] for each in observed.seen if isinstance(each.item, Address)}
            hosts |= routed_hosts(observed)
        missing = [each for each in profile.addresses if each.endswith(ALONE) and each.partition("/")[0] not in hosts]
        missing = [each.partition("/")[0] for each in missing if each not in profile.held]
        if missing:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            one = len(missing) == 1
            what = f"{', '.join(missing[:SHOWN])}{more} {'belongs' if one else 'belong'} to its ENI and"
            what += f" {'is' if one else 'are'} on no interface of this node"
            why = f"packets to {'it' if one else 'them'} get no answer"
            do = f'write addresses = "hold" in [interface.{profile.name}], or let the network manager add them'
            yield Note(NOT_HELD, interface(profile.name), what, why, do)
        for prefix in _unused(profile, observed, hosts):
            what = f"{prefix} is delegated to its ENI, and no address or route of this node lies in it"
            do = "start the containers that use it, or add the addresses or the bridge"
            yield Note(NOT_HELD, interface(profile.name), what, "packets to it get no answer", do)


def _unused(profile: Profile, observed: Observed, hosts: Collection[str]) -> Iterator[str]:
    """Delegated prefixes in which no address and no route of this node lies.

    The routes of containers are in main. A look that has none of it but default routes has not read main, which is
    long on this node: then nothing is said.
    """
    main = [seen.item for seen in observed.seen if isinstance(seen.item, Route) and seen.item.table == MAIN]
    networks = {route.destination for route in main} - {*DEFAULT.values()}
    for prefix in profile.addresses if networks else ():
        if not prefix.endswith(ALONE) and not any(covers(prefix, each) for each in (*hosts, *networks)):
            yield prefix


#: Lengths of single addresses; what is shorter is a delegated prefix.
ALONE = ("/32", "/128")
