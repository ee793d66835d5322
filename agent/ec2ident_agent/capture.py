"""Which addresses of other interfaces a rule's source would take, and the sources that take none. Pure.

Interfaces may share a subnet: `from SUBNET` for one of them would send the answers of all others by its table, and the
VPC drops a packet if its source is not an address of the ENI that it leaves by ("source/destination check", Amazon VPC
User Guide). So a default source is the subnet only as long as no other interface has an address in it.
"""

from __future__ import annotations

from ec2ident.value import replace

from .errors import RefusedError, UnknownFactError
from .inet import contains, covers, link_local, network_of
from .items import OURS, Address, Rule, family, version_of
from .profile import LOOPBACK, kernel_facts
from .state.owned import INTERFACE, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .desired import FactsByDevice
    from .items import Item, Observed
    from .profile import Overlay, Profile, Section
    from .state.owned import Owner, State

    #: A device, and an address or a network of it.
    Neighbour = tuple[str, str]

#: The table of the node's own addresses, and what tells a rule for all packets of IPv6 from one of IPv4.
LOCAL, INET6 = 255, ("inet6",)
#: Lengths of prefixes that are one address.
ALONE = ("32", "128")
ALONE_LENGTHS = ("/32", "/128")


class CapturedError(RefusedError):
    """An owner would take the packets of another interface: `what` of it, and what to do about it."""

    def __init__(self, owner: Owner, what: str, other: Neighbour, advice: str) -> None:
        self.owner = owner
        self.why = f"{what} would take the packets of {other[0]}, which has {other[1]}; {advice}"
        super().__init__(f"{owner}: {self.why}")


class BeforeLocalError(RefusedError):
    """An owner's rules come before the table local is asked: the node would not take packets to its own addresses."""

    def __init__(self, owner: Owner, rule: Rule, local: Rule) -> None:
        self.owner = owner
        first = f"its rules from priority {rule.priority} on come before the table local (priority {local.priority})"
        where = f"[interface.{owner.name}]" if owner.kind == INTERFACE else "its interface's section"
        do = f"write priority = {local.priority + 2} or more in {where}"
        self.why = f"{first}, so this node's own addresses would not answer to these sources; {do}"
        super().__init__(f"{owner}: {self.why}")


class LocalTable:
    """The rules by which the kernel asks the table local, and what comes before them. Built once for a look.

    They are at priority 0, but amazon-vpc-cni moves them to 20 and Cilium to 100. Of equal priorities the kernel
    evaluates first what was added first.
    """

    def __init__(self, observed: Observed) -> None:
        rules = [(seen.item, seen.extra) for seen in observed.seen if isinstance(seen.item, Rule)]
        #: Of each family the rule, and its place among all rules.
        self._first: dict[int, tuple[int, Rule]] = {}
        for place, (rule, extra) in enumerate(rules):
            if rule.table == LOCAL and not rule.source and not rule.destination and extra in ((), INET6):
                version = 6 if extra else 4
                if version not in self._first or rule.priority < self._first[version][1].priority:
                    self._first[version] = place, rule
        #: The places of the rules that are there, if they matter.
        self._places: dict[Rule, int] = {}
        if any(rule.priority for _, rule in self._first.values()):
            self._places = {rule: place for place, (rule, _) in reversed([*enumerate(rules)])}

    def check(self, owner: Owner, items: Iterable[Item]) -> None:
        """Raises BeforeLocalError for a rule that the kernel would evaluate first."""
        for item in items if self._places else ():
            if isinstance(item, Rule) and version_of(item) in self._first:
                place, first = self._first[version_of(item)]
                if (item.priority, self._places.get(item, place)) < (first.priority, place):
                    raise BeforeLocalError(owner, item, first)


class Neighbourhood:
    """Which interface has which addresses, as the kernel and the metadata service say.

    Built once for a look. The agent's own overlay addresses and those of the loopback device, which sends nothing, are
    not in it: before Linux 5.18 an address shows no protocol, so the journal says which are the agent's.
    """

    def __init__(self, observed: Observed, facts: FactsByDevice, state: State) -> None:
        self.observed, self.facts = observed, facts
        #: The address without its length -> the devices that have it, each with what it has there.
        self._hosts: dict[str, list[Neighbour]] = {}
        records = state.follow(observed).records
        added = {record.item.identity for record in records if isinstance(record.item, Address)}
        for seen in observed.seen:
            item = seen.item
            if isinstance(item, Address) and item.device != LOOPBACK and seen.protocol != OURS:
                if seen.protocol is None and item.identity in added:
                    continue
                self._hosts.setdefault(item.address.partition("/")[0], []).append((item.device, item.address))
        self._ranges: list[Neighbour] = []
        #: Prefixes that are delegated to an interface: every address in them is its own.
        self._delegated: list[Neighbour] = []
        for device, known in facts.items():
            self._ranges += [(device, each) for each in (*(known.addresses or ()), *(known.subnets or ()))]
            self._delegated += [(device, each) for each in known.addresses or () if not each.endswith(ALONE_LENGTHS)]

    def others(self, source: str, device: str) -> list[Neighbour]:
        """The other interfaces with an address in `source`, a range in it, or a delegated prefix around it."""
        host, _, length = source.partition("/")
        if length in ALONE:
            there = [*self._hosts.get(host, []), *(each for each in self._delegated if contains(each[1], host))]
        else:
            there = [each for host, some in self._hosts.items() if contains(source, host) for each in some]
        there = [*there, *(each for each in self._ranges if covers(source, each[1]))]
        return [each for each in there if each[0] != device]

    def taken(self, source: str, device: str, mine: Sequence[str] = ()) -> Neighbour | None:
        """The first other interface that would lose packets to a rule for `source`, or None.

        `mine` are the interface's own addresses and delegated prefixes: an address in them counts as its own on every
        device, such as a bridge. Subnets of a VPC do not nest, so a network inside the interface's own subnet is a
        container's and not an ENI's.
        """
        found = self.others(source, device)
        networks = self._networks(device) if found else []
        for other in found:
            host, _, length = other[1].partition("/")
            nested = (
                length not in ALONE
                and other not in self._delegated
                and any(int(length) > int(network.partition("/")[2]) and covers(network, host) for network in networks)
            )
            if not nested and not any(contains(own, host) for own in mine):
                return other
        return None

    def networks_of(self, device: str) -> list[str]:
        """What tells a device's subnets: by the metadata service, and by its addresses in the kernel.

        An IPv4 address of its own (/32) tells none, since it may be an overlay address; of IPv6, which DHCP gives
        without a network, every address but a link-local one does.
        """
        known = self.facts.get(device)
        said = [*((known.subnets if known else None) or ())]
        found = [each for some in self._hosts.values() for name, each in some if name == device]
        six = [each for each in found if family(each) == 6 and not link_local(each.partition("/")[0])]
        return said or [*self._networks(device), *six]

    def _networks(self, device: str) -> list[str]:
        """The networks of a device's addresses, as far as the kernel knows them."""
        found = (each for some in self._hosts.values() for name, each in some if name == device)
        return [network_of(each) for each in found if family(each) == 4 and not each.endswith("/32")]


def own_sources(profile: Profile, section: Section, around: Neighbourhood) -> Profile:
    """The profile with sources that take no other interface's packets.

    In place of a subnet that another interface shares stand the interface's own addresses. Raises CapturedError for a
    configured source that holds another interface's address, and for a configured subnet that is wider than the
    interface's own; UnknownFactError while the interface has no address in a shared subnet.
    """
    device, owner = profile.device, interface(profile.name)
    found: list[str] = []
    for source in profile.sources:
        if not around.others(source, device):
            found.append(source)
            continue
        known = kernel_facts(device, around.observed)
        mine = profile.addresses or known.addresses or ()
        other = around.taken(source, device, mine)
        if other is None:
            found.append(source)
            continue
        if source in section.sources:
            raise CapturedError(owner, f"source {source}", other, "write the interface's own addresses")
        subnets = (around.facts[device].subnets if device in around.facts else None) or known.subnets or ()
        narrower = [each for each in subnets if each != source and covers(source, each)]
        if narrower:
            advice = f"write the interface's own subnet, {', '.join(narrower)}"
            raise CapturedError(owner, f"subnet {source}", other, advice)
        own = [each for each in mine if covers(source, each)]
        if not own:
            shared = f"{source} is also {other[0]}'s, and {device} has no address in it yet"
            raise UnknownFactError(owner, f"source unknown: {shared}; write source = … in [interface.{profile.name}]")
        found += own
    sources = tuple(dict.fromkeys(found))
    return profile if sources == profile.sources else replace(profile, sources=sources)


def check_overlay(overlay: Overlay, profiles: Iterable[Profile], around: Neighbourhood) -> None:
    """Raises CapturedError for an overlay address that another interface has: its rules would take its packets."""
    device = next((each.device for each in profiles if each.carries(overlay)), "")
    other = around.taken(overlay.address, device) if device else None
    if other:
        what = f"its address on {overlay.device}, routed to {device},"
        raise CapturedError(overlay.owner, what, other, "choose an address that no interface has")
