"""From what is configured and what is known of an interface to the items that it should have. Pure.

`Section` and `Overlay` are what the configuration says, `Facts` what the node or the metadata service says; a `Profile`
is both together, complete and consistent. A fact that is None is unknown, which is never the same as "none".
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .errors import ConfigError, UnknownFactError
from .inet import contains, first_around, link_local, network_of, vpc_router
from .items import DEFAULT, KEPT, METRIC, OURS, Address, Observed, Route, Rule, TableName, family
from .state.owned import interface
from .state.owned import overlay as overlay_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeVar

    from .items import Item, Link
    from .state.owned import Owner

    T = TypeVar("T")
    LabelOf = Callable[["Overlay"], str]

#: Which packets the rules of an interface select; see `rules`.
BY_SOURCE, SPLIT = "by-source", "split"
#: The published recipe's priority, and for many interfaces one that leaves room on both sides: no software that we
#: know uses 23600 to 23602 (net-utils 10000 upwards, NetworkManager and SUSE 30200 upwards).
PRIORITY = {BY_SOURCE: 100, SPLIT: 23600}
#: What is done about addresses of the ENI that no program has brought up: said, or added.
REPORT, HOLD = "report", "hold"
#: The same for table numbers: our own base, then a hundred for each network card.
TABLE_BASE = 23600
MAIN, LOOPBACK = 254, "lo"
#: A VPC's router by IPv6, the same in every subnet: amazon-vpc-cni-k8s has it as a constant, and AWS's guides show it.
VPC_ROUTER6 = "fe80:ec2::1"


class ExtraRoute(Value):
    """A further route in an interface's table, such as to a peering; without `via`, through the interface's router."""

    destination: str
    via: str = ""
    mtu: int = 0
    advmss: int = 0


class Section(Value):
    """`[interface.NAME]`. A field that is empty, zero or negative was not written."""

    name: str
    mac: str = ""
    subnets: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    table: int = 0
    table_name: str = ""
    priority: int = -1
    scheme: str = BY_SOURCE
    sources: tuple[str, ...] = ()
    vpc: tuple[str, ...] = ()
    routes: tuple[ExtraRoute, ...] = ()
    mtu: int = 0
    advmss: int = 0
    addresses: str = REPORT


class Overlay(Value):
    """`[[overlay]]`: an address outside the VPC that this node answers for.

    `via` is the interface that the VPC routes it to, by its device or by the name of its section.
    """

    address: str
    device: str = ""
    label: str = ""
    via: str = ""

    @property
    def owner(self) -> Owner:
        """The owner of the address and of its rules."""
        return overlay_owner(self.address)


class Config(Value):
    """All that the configuration says."""

    sections: tuple[Section, ...] = ()
    overlays: tuple[Overlay, ...] = ()


class Facts(Value):
    """What is known of one interface. None means unknown; the metadata service and the kernel both speak this.

    `unknown` says why a fact is unknown, if the metadata service was asked: the kernel's facts do not replace it then.
    """

    device: str
    subnets: tuple[str, ...] | None = None
    routers: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    vpc: tuple[str, ...] | None = None
    table: int | None = None
    unknown: str = ""
    #: True for the instance's first interface (device number 0): the table main serves its address.
    primary: bool | None = None
    #: What is known of the instance's other interfaces, also of those that the configuration does not name. One that
    #: is not on this node goes by its MAC.
    others: tuple[Facts, ...] = ()


class Profile(Value):
    """What one interface should have: complete, consistent, canonical. `name` is its section's."""

    name: str
    device: str
    subnets: tuple[str, ...]
    routers: tuple[str, ...]
    table: int
    table_name: str
    priority: int
    scheme: str
    sources: tuple[str, ...]
    vpc: tuple[str, ...] = ()
    #: The interface's own addresses and delegated prefixes, as far as they are known.
    addresses: tuple[str, ...] = ()
    #: Networks of the subnet, or with split of the VPC, that are behind this node; and with split, networks outside of
    #: the VPC that main reaches by another ENI.
    behind: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    routes: tuple[ExtraRoute, ...] = ()
    #: The attributes of the default route of each family: version, mtu, advmss.
    metrics: tuple[tuple[int, int, int], ...] = ()
    #: The interface's addresses that the agent adds.
    held: tuple[str, ...] = ()

    def carries(self, overlay: Overlay) -> bool:
        """True if the overlay is routed to this interface."""
        return overlay.via in (self.device, self.name) if overlay.via else overlay.device == self.device


def default_table(card: int, number: int) -> int:
    """A table that stays the same whatever else is attached: a device number is unique on its network card."""
    return TABLE_BASE + 100 * card + number


def find_device(section: Section, observed: Observed) -> Link | None:
    """The link that a section is about: by MAC where it names one, which survives a rename and another slot."""
    return observed.device_of(section.mac) if section.mac else observed.link(section.name)


def kernel_facts(device: str, observed: Observed) -> Facts:
    """What the kernel says of an interface: its foreign addresses, their subnets (IPv4), and the routers of its
    default routes.

    IPv6 addresses of EC2 are /128 from DHCP, so the kernel does not know their subnet; the configuration or the
    metadata service must say.
    """
    mine = [seen for seen in observed.seen if getattr(seen.item, "device", None) == device]
    addresses = [seen.item.address for seen in mine if isinstance(seen.item, Address) and seen.protocol != OURS]
    networks = [network_of(each) for each in addresses if family(each) == 4 and not each.endswith("/32")]
    # Those of main first: where a manager keeps the interface's default route elsewhere, another table names it.
    routes = [seen.item for seen in mine if isinstance(seen.item, Route) and seen.protocol != OURS]
    ways = [each for each in routes if each.destination in DEFAULT.values()]
    routers = [each.gateway for each in sorted(ways, key=lambda each: each.table != MAIN)]
    six = any(family(each) == 6 for each in filter(None, routers))
    if not six and device != LOOPBACK and _has_vpc_router(observed):
        routers.append(VPC_ROUTER6)
    return Facts(
        device,
        subnets=tuple(dict.fromkeys(networks)) or None,
        routers=tuple(dict.fromkeys(filter(None, routers))) or None,
        addresses=tuple(dict.fromkeys(map(_alone, addresses))) or None,
    )


def _has_vpc_router(observed: Observed) -> bool:
    """True if the VPC's usual router is that of another interface: then it is this one's too."""
    routes = (seen.item for seen in observed.seen if isinstance(seen.item, Route) and seen.protocol != OURS)
    return any(each.gateway == VPC_ROUTER6 and each.destination == DEFAULT[6] for each in routes)


def _alone(address: str) -> str:
    """An address without its network, as a rule names it."""
    return f"{address.partition('/')[0]}/{128 if family(address) == 6 else 32}"


def without_the_service(section: Section, facts: Facts, kernel: Facts) -> Facts:
    """The same, with the kernel's word for what the metadata service could not say, as where there is none.

    IPv6 is left out while no router of the subnet has advertised itself: IPv4 need not wait for it. A source is the
    interface's own address where the kernel knows one: a subnet may be that of another interface too.
    """
    routed = any(family(router) == 6 for router in (*section.routers, *(facts.routers or ())))

    def usable(networks: Iterable[str] | None) -> tuple[str, ...] | None:
        return tuple(each for each in networks or () if family(each) == 4 or routed) or None

    subnets = usable(kernel.subnets if facts.subnets is None else facts.subnets)
    addresses: Iterable[str] | None = facts.addresses
    if addresses is None:
        addresses = _inside(section.subnets or subnets or (), kernel.addresses or ())
    return replace(facts, subnets=subnets, addresses=usable(addresses), unknown="")


def _inside(subnets: Iterable[str], addresses: Iterable[str]) -> Iterable[str]:
    """The addresses in each subnet; where there is none, the subnet."""
    for subnet in subnets:
        yield from [each for each in addresses if contains(subnet, each.partition("/")[0])] or [subnet]


def complete(section: Section) -> bool:
    """True if the section leaves nothing open, so that no facts are asked for."""
    said = section.subnets and section.table and (section.scheme == BY_SOURCE or section.vpc)
    routed = {*map(family, section.subnets)} <= {*map(family, section.routers)}
    return bool(said) and routed and section.addresses == REPORT


def resolve(section: Section, facts: Facts) -> Profile:
    """The complete profile. Raises ConfigError for a contradiction, UnknownFactError where a fact is missing."""
    name, why = section.name, facts.unknown
    subnets = section.subnets or _known(
        facts.subnets, name, "subnet", why or "the interface has no address with one yet"
    )
    table = section.table or _known(
        facts.table, name, "table", why or "its network card and device number are not known"
    )
    # What the configuration says in full was checked when it was read, and is not checked at every look.
    given = {*map(family, section.routers)}
    missing = [subnet for subnet in _one_each(subnets) if family(subnet) not in given]
    routers = (*section.routers, *(_router(name, subnet, facts) for subnet in missing))
    if not section.subnets or missing:
        check_routers(name, subnets, routers)
    sources, vpc = section.sources, section.vpc
    if section.scheme == SPLIT:
        sources = sources or (_known(facts.addresses, name, "source", why) if why else facts.addresses or subnets)
        vpc = vpc or _known(facts.vpc, name, "vpc", why or "the VPC's address ranges are not known")
    priority = section.priority if section.priority >= 0 else PRIORITY[section.scheme]
    sources = sources or subnets
    fixed = (table, section.table_name, priority, section.scheme)
    if not section.subnets:
        check_routes(section, subnets)
    profile = Profile(name, facts.device, subnets, routers, *fixed, sources, vpc, facts.addresses or ())
    if not (section.routes or section.mtu or section.advmss):
        return profile
    metrics = ((section.mtu, section.advmss),) if section.mtu or section.advmss else ()
    return replace(profile, routes=section.routes, metrics=tuple((n, *each) for n in (4, 6) for each in metrics))


def profile_items(profile: Profile) -> tuple[Item, ...]:
    """The table with its name, its link and its way out, and the rules that lead into it."""
    table, device = profile.table, profile.device
    items: list[Item] = [TableName(table, profile.table_name)] if profile.table_name else []
    items += [Address(device, address) for address in profile.held]
    items += [Route(subnet, device, table, metric=METRIC[family(subnet)]) for subnet in profile.subnets]
    metrics = {version: values for version, *values in profile.metrics}
    items += [
        Route(DEFAULT[version], device, table, router, METRIC[version], *metrics.get(version, ()))
        for router in profile.routers
        for version in [family(router)]
    ]
    routers = {family(router): router for router in profile.routers}
    for each in profile.routes:
        version = family(each.destination)
        via = each.via or routers.get(version, "")
        if via:
            items.append(Route(each.destination, device, table, via, METRIC[version], each.mtu, each.advmss))
    return (*items, *_to_what_is_behind(profile), *rules(profile, profile.sources))


def _to_what_is_behind(profile: Profile) -> Iterator[Rule]:
    """The rules by which main is asked for networks behind this node before the VPC's ranges are."""
    families = {family(source) for source in profile.sources}
    for network in profile.behind:
        if family(network) in families:
            yield Rule("", MAIN, max(profile.priority - 1, 0), destination=network, suppress=0)


def without_a_router(profile: Profile) -> tuple[ExtraRoute, ...]:
    """The further routes that need the interface's router of a family in which none is known."""
    routed = {family(router) for router in profile.routers}
    return tuple(each for each in profile.routes if not each.via and family(each.destination) not in routed)


def default_metrics(device: str, observed: Observed) -> dict[int, tuple[int, int]]:
    """The mtu and advmss of the interface's own default routes in main, by family, as other programs set them.

    AWS says to set the MTU by route where a link of 9001 bytes leads to an internet gateway or a VPN ("Network maximum
    transmission unit (MTU) for your EC2 instance", Amazon EC2 User Guide).
    """
    found: dict[int, Route] = {}
    for seen in observed.seen:
        route = seen.item
        if isinstance(route, Route) and route.table == MAIN and route.device == device and seen.protocol != OURS:
            version = family(route.destination)
            if route.destination == DEFAULT[version]:
                first = found.setdefault(version, route)
                found[version] = route if route.metric < first.metric else first
    return {version: (route.mtu, route.advmss) for version, route in found.items()}


def routed_hosts(observed: Observed) -> set[str]:
    """The addresses to which main has a route of their own: those of containers, on a node where main was read.

    amazon-vpc-cni and Cilium give secondary private addresses to pods, each with a route to the pod's device.
    """
    routes = (seen.item for seen in observed.seen if isinstance(seen.item, Route) and seen.item.table == MAIN)
    alone = (route.destination.partition("/") for route in routes if route.device and not route.gateway)
    return {host for host, _, length in alone if length in ("32", "128")}


def to_hold(profile: Profile, observed: Observed, mine: Iterable[Item], others: Iterable[str]) -> tuple[str, ...]:
    """The ENI's own addresses that no other program has brought up, without the `others`: overlay addresses.

    `mine` are the owner's items: before Linux 5.18 an address does not show which program added it.

    As amazon-ec2-net-utils adds them: alone, without a network. The first IPv4 address is the network manager's, which
    gets it by DHCP. An address with a route of its own, and a delegated prefix, are left to the container runtime.
    """
    owned = {item.identity for item in mine}
    there = {
        seen.item.address.partition("/")[0]
        for seen in observed.seen
        if isinstance(seen.item, Address)
        if not (seen.protocol in KEPT and seen.item.identity in owned)
    }
    alone = [each for each in profile.addresses if each.endswith(("/32", "/128"))]
    first = next((each for each in alone if family(each) == 4), "")
    skipped = {first, *others}
    there |= routed_hosts(observed)
    return tuple(each for each in alone if each not in skipped and each.partition("/")[0] not in there)


def with_metrics(profile: Profile, section: Section, observed: Observed, there: Iterable[Item]) -> Profile:
    """The profile with the mtu and advmss of its default routes: as configured, or else as main's have them.

    While main has no default route by the interface, as between two leases, those that are `there` stay.
    """
    if section.mtu or section.advmss:
        return profile
    known = default_metrics(profile.device, observed)
    for item in there:
        if isinstance(item, Route) and item.destination in DEFAULT.values():
            known.setdefault(family(item.destination), (item.mtu, item.advmss))
    metrics = tuple((version, *values) for version, values in sorted(known.items()) if any(values))
    return replace(profile, metrics=metrics) if metrics else profile


def rules(profile: Profile, sources: Iterable[str]) -> tuple[Rule, ...]:
    """The rules for packets from these sources.

    by-source: all packets from a source use the interface's table: the published recipe. Networks on the node itself,
    such as a container bridge, are not reached from these sources unless they are in the interface's own subnet.

    split: packets to the VPC use the interface's table, so that none leaves by another interface with the wrong
    source, and so do packets to the table's further routes and to what main would send by another ENI; then the main
    table's routes but for its default route, so that bridges and tunnels work; then the interface's table.
    """
    table, priority = profile.table, profile.priority
    # A rule into a table without a default route of its family leads nowhere.
    routed = {family(router) for router in profile.routers}
    sources = [source for source in sources if family(source) in routed]
    if profile.scheme == BY_SOURCE:
        return tuple(Rule(source, table, priority) for source in sources)
    found: list[Rule] = []
    for source in sources:
        further = (each.destination for each in profile.routes)
        own = dict.fromkeys((*profile.vpc, *further, *profile.elsewhere))
        found += [Rule(source, table, priority, destination=each) for each in own if family(each) == family(source)]
        found += [Rule(source, MAIN, priority + 1, suppress=0), Rule(source, table, priority + 2)]
    return tuple(found)


def overlay_items(overlay: Overlay, profiles: Iterable[Profile], label_of: LabelOf) -> tuple[Item, ...]:
    """The address, and where it is routed to an interface with a profile the rules that its answers need.

    `from SUBNET` never covers it: an overlay address lies outside the VPC by definition. `label_of` is what
    `free_labels` returns.
    """
    items: list[Item] = [Address(overlay.device, overlay.address, overlay.label or label_of(overlay))]
    for profile in profiles:
        if profile.carries(overlay):
            items += rules(profile, [overlay.address])
    return tuple(items)


def inside_vpc(profiles: Sequence[Profile | Section]) -> Callable[[Overlay], str]:
    """A function that tells the range of the VPC's own, as far as it is known, that an overlay address lies in; empty
    for none.

    A VPC delivers its own addresses to the ENI that has them: an overlay address there is never reached, unless it is
    one of the interface's own, a secondary private address or in a delegated prefix.
    """
    around = first_around(cidr for profile in profiles for cidr in (*profile.vpc, *profile.subnets))

    def inside(overlay: Overlay) -> str:
        host = overlay.address.partition("/")[0]
        network = around(host)
        mine = (each for each in profiles if network and isinstance(each, Profile) and each.carries(overlay))
        return "" if any(contains(own, host) for each in mine for own in each.addresses) else network

    return inside


def free_labels(observed: Observed) -> LabelOf:
    """A function that tells an overlay address the label it has already, or the next free DEVICE:N.

    From 1: DEVICE:0 is flushed by dhclient-script. None where the kernel would take none: a device's name may be as
    long as a label, and then it goes without.
    """
    labels: dict[str, dict[str, str]] = {}
    for seen in observed.seen:
        if isinstance(seen.item, Address):
            labels.setdefault(seen.item.device, {})[seen.item.address] = seen.item.label
    free: dict[str, str] = {}

    def label(overlay: Overlay) -> str:
        if family(overlay.address) == 6:
            return ""
        device = overlay.device
        there = labels.get(device, {})
        if there.get(overlay.address):
            return there[overlay.address]
        if device not in free:
            taken = set(there.values())
            free[device] = next(f"{device}:{n}" for n in range(1, len(taken) + 2) if f"{device}:{n}" not in taken)
        return free[device] if _fits(free[device]) else ""

    return label


def _fits(label: str) -> bool:
    """IFNAMSIZ, with the byte that ends it."""
    return len(label.encode("utf-8", "surrogateescape")) < 16


def check_label(overlay: Overlay) -> None:
    """Raises ConfigError for a label that the kernel would refuse, or that tools would take for another device's."""
    label, device = overlay.label, overlay.device
    if not label:
        return
    if family(overlay.address) == 6:
        raise ConfigError(f"{overlay.owner}: label {label!r}: an IPv6 address has no label")
    if not _fits(label):
        raise ConfigError(f"{overlay.owner}: label {label!r} is longer than 15 characters, the device's name included")
    if not label.startswith(f"{device}:") or label == f"{device}:" or any(c.isspace() or c < " " for c in label):
        raise ConfigError(f"{overlay.owner}: label {label!r} does not begin with its device: {device}:NAME")


def _known(fact: T | None, name: str, what: str, why: str) -> T:
    if fact is None:
        why = f"{what} unknown: {why}; write {what} = … in [interface.{name}], or --{what} …"
        raise UnknownFactError(interface(name), why)
    return fact


def _one_each(subnets: Iterable[str]) -> Iterable[str]:
    """One subnet of each family: it takes one default route."""
    return {family(subnet): subnet for subnet in reversed(tuple(subnets))}.values()


def _router(name: str, subnet: str, facts: Facts) -> str:
    if family(subnet) == 4:
        return vpc_router(subnet)
    known = [router for router in facts.routers or () if family(router) == 6]
    return _known(known[0] if known else None, name, "router", f"no router advertises itself for {subnet}")


def check_routers(name: str, subnets: Sequence[str], routers: Sequence[str]) -> None:
    """Raises ConfigError for a router that is not on the interface's own link."""
    for router in routers:
        inside = any(contains(subnet, router) for subnet in subnets if family(subnet) == family(router))
        if not inside and not (family(router) == 6 and link_local(router)):
            raise ConfigError(f"{name}: router {router} is not in its subnet {', '.join(subnets)}")
    if len({family(router) for router in routers}) < len(routers):
        raise ConfigError(f"{name}: more than one router of a family: {', '.join(routers)}")


def check_routes(section: Section, subnets: Sequence[str]) -> None:
    """Raises ConfigError for a further route through a router off the interface's link, or to its own subnet."""
    for each in section.routes:
        what = f"{section.name}: route {each.destination}"
        if each.destination in subnets:
            raise ConfigError(f"{what}: that is the interface's own subnet, which has its route already")
        if not each.via:
            continue
        on_link = any(contains(subnet, each.via) for subnet in subnets)
        if not on_link and not (family(each.via) == 6 and link_local(each.via)):
            raise ConfigError(f"{what}: router {each.via} is not in its subnet {', '.join(subnets)}")
        if each.via == each.destination.partition("/")[0]:
            raise ConfigError(f"{what}: its router is the destination itself")
