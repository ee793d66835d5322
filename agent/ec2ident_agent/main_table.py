"""What the table main knows better than an interface's own table. Pure.

A VPC drops a packet if its source is not an address of the ENI that it leaves by. So a packet from an ENI's address may
leave by a bridge, a veth or a tunnel, as main says, but never by another ENI. The rules say that for whole ranges; here
are the exceptions, which main's routes tell:

- a network of the interface's subnet, with split of the VPC's ranges, that is behind this node, such as a delegated
  prefix on a bridge;
- with split, a network outside of these ranges that main reaches by another ENI, such as a peering by eth0.
"""

from __future__ import annotations

from ec2ident.value import replace

from .inet import covers
from .items import DEFAULT, OURS, Address, Route, Rule, family
from .profile import MAIN, SPLIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from .items import Observed
    from .profile import Profile

LOOPBACK = "lo"
#: Kinds of devices that are never an ENI (IFLA_INFO_KIND).
TUNNELS = frozenset(
    (
        "tun",
        "wireguard",
        "ppp",
        "gre",
        "gretap",
        "ipip",
        "sit",
        "ip6tnl",
        "ip6gre",
        "vti",
        "vti6",
        "xfrm",
        "vxlan",
        "geneve",
    )
)
#: No router forwards these, so a route for them says nothing about the VPC.
LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")


def beside_main(profile: Profile, observed: Observed, configured: Collection[str]) -> Profile:
    """The profile with the networks for which main's routes matter; `configured` are the devices with a section.

    With split a delegated prefix is always such a network, whether or not a bridge has it yet.
    """
    enis = eni_devices(observed, configured)
    best = list(_best(observed))
    split = profile.scheme == SPLIT
    delegated = [each for each in profile.addresses if not _alone(each)] if split else []
    behind = [*_widest(delegated), *_behind(profile.vpc if split else profile.subnets, profile, best, enis)]
    served = (*delegated, *_served(profile, observed))
    behind = [each for each in behind if each in delegated or not _inside(served, each)]
    elsewhere = _elsewhere(profile, best, enis, observed) if split else ()
    return replace(profile, behind=tuple(dict.fromkeys(behind)), elsewhere=tuple(dict.fromkeys(elsewhere)))


def _served(profile: Profile, observed: Observed) -> list[str]:
    """The networks for which another program's rule asks main already, before the interface's rules: those of pods.

    amazon-vpc-cni (512) and Cilium (20) add such a rule with each pod, so that pods come and go without the agent.
    """
    rules = (seen.item for seen in observed.seen if seen.protocol != OURS and not {*seen.extra} - {"inet6"})
    return [
        rule.destination
        for rule in rules
        if isinstance(rule, Rule) and rule.table == MAIN and rule.priority < profile.priority
        if rule.destination and not rule.source
    ]


def _behind(ranges: Iterable[str], profile: Profile, best: Iterable[Route], enis: Collection[str]) -> Iterator[str]:
    """The networks in these ranges that main reaches by a device other than an ENI. One that holds an ENI's subnet does
    not count: the interface's own routes are better there.
    """
    subnets = (*profile.subnets, *(route.destination for route in best if route.device in enis and not route.gateway))
    for route in best:
        wide = any(covers(route.destination, subnet) for subnet in subnets)
        if route.device not in enis and not wide and _inside(ranges, route.destination):
            yield route.destination


def _elsewhere(profile: Profile, best: Iterable[Route], enis: Collection[str], observed: Observed) -> Iterator[str]:
    """The networks outside of the VPC's ranges that main reaches by another ENI."""
    hosts = {seen.item.address.partition("/")[0] for seen in observed.seen if isinstance(seen.item, Address)}
    for route in best:
        network = route.destination
        own = _alone(network) and network.partition("/")[0] in hosts
        other = route.device in enis and route.device != profile.device
        if other and not own and not _inside((*profile.vpc, *LINK_LOCAL), network):
            yield network


def eni_devices(observed: Observed, configured: Collection[str]) -> frozenset[str]:
    """The devices that are, or may be, ENIs: network cards, what is configured, and what has a router.

    The kernel names the kind of a bridge, a veth or a tunnel, and none for a card. A tunnel may have a router too.
    """
    routes = (seen.item for seen in observed.seen if isinstance(seen.item, Route))
    routed = {route.device for route in routes if route.gateway and route.destination in DEFAULT.values()}
    cards = {link.name for link in observed.links if not link.kind and link.name != LOOPBACK}
    tunnels = {link.name for link in observed.links if link.kind in TUNNELS}
    return frozenset((*cards, *(routed - tunnels), *configured))


def _best(observed: Observed) -> Iterator[Route]:
    """Of main's routes to each destination the one that the kernel takes, without default routes."""
    found: dict[str, Route] = {}
    for seen in observed.seen:
        route = seen.item
        if not isinstance(route, Route) or route.table != MAIN or seen.protocol == OURS:
            continue
        if not route.device or route.device == LOOPBACK or route.destination in DEFAULT.values():
            continue
        other = found.get(route.destination)
        if other is None or route.metric < other.metric:
            found[route.destination] = route
    yield from found.values()


def _inside(networks: Iterable[str], destination: str) -> bool:
    return any(covers(network, destination) for network in networks)


def _widest(networks: Iterable[str]) -> list[str]:
    """The networks in no other one of them."""
    networks = list(networks)
    return [each for each in networks if not any(other != each and covers(other, each) for other in networks)]


def _alone(prefix: str) -> bool:
    return prefix.endswith("/128" if family(prefix) == 6 else "/32")
