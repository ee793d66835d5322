"""Desired state: which items each owner should have, from the configuration, the facts and one look at the node. Pure.

If a fact of an owner is unknown, the owner keeps the items that it has, since unknown never removes anything. It is
listed as `Unknown`.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .capture import BeforeLocalError, CapturedError, LocalTable, Neighbourhood, check_overlay, own_sources
from .errors import RefusedError, UnknownFactError
from .inet import covers
from .items import Address, Route, family, version_of
from .main_table import beside_main
from .notes import notes
from .profile import (
    HOLD,
    Facts,
    complete,
    find_device,
    free_labels,
    inside_vpc,
    kernel_facts,
    overlay_items,
    profile_items,
    resolve,
    to_hold,
    with_metrics,
    without_a_router,
    without_the_service,
)
from .state.owned import COMMAND, CONFIG, INTERFACE, OVERLAY, State, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from .items import Item, Link, Observed
    from .notes import Note
    from .profile import Config, Overlay, Profile, Section
    from .state.owned import Owner

    #: Device -> what is known of it. A device that is not in it is unknown altogether.
    FactsByDevice = Mapping[str, Facts]


class Desired(Value):
    """The items that one owner should have; none, for an interface that is not on this node. `origin`: who asks."""

    owner: Owner
    items: tuple[Item, ...]
    origin: str = CONFIG


class Unknown(Value):
    """A fact of an owner is unknown, so nothing of the owner's is changed; `why` says which fact, and what to do."""

    owner: Owner
    why: str

    def __str__(self) -> str:
        return f"{self.owner}: {self.why}"


class Refusal(Value):
    """Nothing of this owner's is changed, because that would harm something else; `why` says what."""

    owner: Owner | None
    why: str

    def __str__(self) -> str:
        return f"{self.owner}: {self.why}" if self.owner else self.why


class InsideVpc(Value):
    """An overlay address that lies in one of the VPC's own ranges, so the VPC does not deliver it to this node."""

    overlay: Overlay
    network: str

    def __str__(self) -> str:
        interface = self.overlay.via or self.overlay.device
        where = f"{self.overlay.owner} lies inside the VPC's own {self.network}"
        return f"{where}: it cannot be reached, unless {interface}'s ENI has it as a private address"


class DesiredState(Value):
    """What a node should have, and what could not be told."""

    desired: tuple[Desired, ...]
    unknown: tuple[Unknown, ...] = ()
    #: Owners that would take another interface's packets or table: what they have stays as it is.
    refusals: tuple[Refusal, ...] = ()
    #: What is not the agent's to do and good to know.
    notes: tuple[Note, ...] = ()
    #: The profiles of the configured interfaces that are on the node and of which everything is known.
    profiles: tuple[Profile, ...] = ()
    warnings: tuple[InsideVpc, ...] = ()

    @property
    def absent(self) -> tuple[Owner, ...]:
        """The owners that have no interface on this node: attached later, or misspelt."""
        known = {each.owner for each in self.refusals} | {each.owner for each in self.unknown}
        return tuple(each.owner for each in self.desired if not each.items and each.owner not in known)


def devices_to_ask(config: Config, observed: Observed) -> tuple[str, ...]:
    """The devices of which the configuration leaves something open, so their facts are needed."""
    links = (find_device(each, observed) for each in config.sections if not complete(each))
    return tuple(dict.fromkeys(link.name for link in links if link))


def _devices(config: Config, observed: Observed) -> frozenset[str]:
    """The devices that the configuration has a section for."""
    links = (find_device(each, observed) for each in config.sections)
    return frozenset(link.name for link in links if link)


def desired_state(config: Config, facts: FactsByDevice, observed: Observed, state: State) -> DesiredState:
    """What the configuration asks for. Raises ConfigError where the configuration and the facts contradict."""
    draft = _Draft(config, with_others(facts), observed, state)
    for section in config.sections:
        draft.add_interface(section)
    # After the interfaces: an overlay's rules follow from the profile that carries it.
    held = state.held()
    overlays = [named(each, observed) for each in config.overlays if each.owner not in held]
    for overlay in overlays:
        draft.add_overlay(overlay)
    draft.refuse_before_local()
    if not all(link.ipv6 for link in observed.links):
        draft.leave_out_disabled_ipv6()
    profiles = tuple(draft.profiles)
    about = notes(config, profiles, draft.facts, observed)
    warnings = _misplaced(overlays, profiles)
    return DesiredState(tuple(draft.found), tuple(draft.unknown), tuple(draft.refusals), about, profiles, warnings)


class _Draft:
    """A desired state in the making: one interface or overlay address after the other."""

    def __init__(self, config: Config, facts: FactsByDevice, observed: Observed, state: State) -> None:
        self.facts, self._observed, self._state = facts, observed, state
        self.found: list[Desired] = []
        self.unknown: list[Unknown] = []
        self.refusals: list[Refusal] = []
        self.profiles: list[Profile] = []
        #: Names of interfaces that keep what they have, by their devices and by their sections.
        self._unresolved: set[str] = set()
        self._owned = state.by_owner()
        self._tables = _claimed(config, state, self._owned)
        self._around = Neighbourhood(observed, facts, state)
        self._overlay_addresses = _overlay_addresses(config, state)
        self._enis = _devices(config, observed)
        self._label_of = free_labels(observed)
        #: Index of a link -> name of the first section that is about it.
        self._sections: dict[int, str] = {}

    def add_interface(self, section: Section) -> None:
        """The items of one section, or the present ones where a fact is unknown or the profile would harm another."""
        owner, link = interface(section.name), find_device(section, self._observed)
        if link is None:
            self.found.append(Desired(owner, ()))
            return
        there = self._owned.get(owner, ())
        try:
            _check_once(section, self._sections.setdefault(link.index, section.name), link.name)
            _check_port(interface(section.name), link, self._observed)
            check_subnets(section, link, self._around, self._state)
            profile = profile_of(section, link.name, self.facts, self._observed, self._enis, there, self._around)
            profile = own_sources(profile, section, self._around)
            _check_table(profile, self._tables)
        except UnknownFactError as wrong:
            self.unknown.append(Unknown(wrong.owner, wrong.why))
        except (AnotherSubnetError, CapturedError, TableClaimedError, SameInterfaceError, PortError) as wrong:
            self.refusals.append(Refusal(wrong.owner, wrong.why))
            if isinstance(wrong, AnotherSubnetError) and not wrong.same:
                there = ()
        else:
            if section.addresses == HOLD:
                profile = replace(profile, held=self._held(profile, owner, there))
            self.profiles.append(profile)
            self.unknown += [Unknown(owner, why) for why in _left_out(profile, section, self.facts)]
            self.found.append(Desired(owner, profile_items(profile)))
            return
        self._unresolved |= {link.name, section.name}
        self.found.append(Desired(owner, there))

    def _held(self, profile: Profile, owner: Owner, there: Collection[Item]) -> tuple[str, ...]:
        """The addresses of the ENI that the agent is to hold on the interface."""
        if profile.addresses:
            return to_hold(profile, self._observed, there, self._overlay_addresses)
        known = self.facts.get(profile.device)
        why = known.unknown if known else "the metadata service was not asked"
        self.unknown.append(Unknown(owner, f"addresses unknown: {why}; those that are there stay"))
        return tuple(item.address for item in there if isinstance(item, Address))

    def add_overlay(self, overlay: Overlay) -> None:
        """The items of one overlay address; the present ones stay where its interface keeps what it has."""
        present = self._owned.get(overlay.owner, ())
        items = overlay_items(overlay, self.profiles, self._label_of) if self._observed.link(overlay.device) else ()
        if items and (overlay.via or overlay.device) in self._unresolved:
            items = tuple(dict.fromkeys((*items, *present)))  # The rules that it has stay.
        carrier = next((each for each in self.profiles if each.carries(overlay)), None) if items else None
        version = family(overlay.address)
        if carrier and version not in map(family, carrier.routers):
            why = f"it has no rules: {carrier.device} has no router of IPv{version}"
            self.unknown.append(Unknown(overlay.owner, f"{why}; write router = … in [interface.{carrier.name}]"))
        try:
            check_overlay(overlay, self.profiles, self._around)
            _check_port(overlay.owner, self._observed.link(overlay.device), self._observed)
        except (CapturedError, PortError) as wrong:
            self.refusals.append(Refusal(wrong.owner, wrong.why))
            items = present
        self.found.append(Desired(overlay.owner, items))

    def refuse_before_local(self) -> None:
        """Owners of rules that would come before the table local keep what they have."""
        local = LocalTable(self._observed)
        for place, each in enumerate(self.found):
            try:
                local.check(each.owner, each.items)
            except BeforeLocalError as wrong:
                self.refusals.append(Refusal(wrong.owner, wrong.why))
                self.found[place] = replace(each, items=self._owned.get(each.owner, ()))

    def leave_out_disabled_ipv6(self) -> None:
        """Leave out the items of IPv6 on devices that have none."""
        possible = [_possible(each, self._observed) for each in self.found]
        self.refusals += [refusal for _, refusal in possible if refusal]
        self.found = [each for each, _ in possible]


def with_others(facts: FactsByDevice) -> FactsByDevice:
    """The same with what the metadata service says of the instance's other interfaces, under their devices."""
    found = dict(facts)
    for known in facts.values():
        for other in known.others:
            found.setdefault(other.device, other)
    return found


def _overlay_addresses(config: Config, state: State) -> frozenset[str]:
    """The addresses that overlays hold: an interface does not hold them too."""
    owners = [*(each.owner for each in config.overlays), *state.held()]
    return frozenset(owner.name for owner in owners if owner.kind == OVERLAY)


class SameInterfaceError(RefusedError):
    """Two sections are about one interface, such as by its name and by an alternative name: the first one counts."""

    def __init__(self, section: Section, other: str, device: str) -> None:
        self.owner = interface(section.name)
        self.why = f"it is {device}, as [interface.{other}] is; remove one of the two sections"
        super().__init__(f"{self.owner}: {self.why}")


def _check_once(section: Section, other: str, device: str) -> None:
    if other != section.name:
        raise SameInterfaceError(section, other, device)


class PortError(RefusedError):
    """An owner's interface is a port of a bridge, bond or team, which gets its packets and has the address."""

    def __init__(self, owner: Owner, device: str, over: Link) -> None:
        self.owner = owner
        self.why = f"{device} is a port of the {over.kind or 'device'} {over.name}, which gets its packets"
        what = f"[interface.{over.name}], with the addresses on" if owner.kind == INTERFACE else "device ="
        self.why += f"; write {what} {over.name}"
        super().__init__(f"{self.owner}: {self.why}")


def _check_port(owner: Owner, link: Link | None, observed: Observed) -> None:
    over = observed.over(link) if link else None
    if link and over:
        raise PortError(owner, link.name, over)


class AnotherSubnetError(RefusedError):
    """The section's subnet is not its interface's: another ENI has the name now, as after a stop and start."""

    def __init__(self, section: Section, device: str, known: Sequence[str], same: bool) -> None:
        self.owner = interface(section.name)
        #: True if the agent's routes are by the same device: then they stay.
        self.same = same
        wanted = ", ".join(each for each in section.subnets if family(each) == family(known[0]))
        self.why = f"its subnet {wanted} is not that of {device}, which has {', '.join(known[:4])}"
        self.why += f"; write the subnet of {device}, or mac = … if another interface is meant"
        super().__init__(f"{self.owner}: {self.why}")


def check_subnets(section: Section, link: Link, around: Neighbourhood, state: State) -> None:
    """Raises AnotherSubnetError if the interface has networks of a family, and all are outside the section's subnets.

    After a stop and start, or with another instance type, another ENI may have the name (delphix/delphix-platform#385).
    Where the kernel alone tells, networks of one family prove that it is the right one: to an interface's addresses an
    administrator may add some of another network.
    """
    told = around.networks_of(link.name)
    said = link.name in around.facts and around.facts[link.name].subnets

    def fits(some: Iterable[str]) -> bool:
        return any(covers(one, each) or covers(each, one) for one in section.subnets for each in some)

    for version in (4, 6):
        wanted = [each for each in section.subnets if family(each) == version]
        known = [each for each in told if family(each) == version] if wanted else []
        if known and not fits(known if said else told):
            records = (each for each in state.records if each.owner == interface(section.name) and each.index)
            raise AnotherSubnetError(section, link.name, known, any(each.index == link.index for each in records))


def named(overlay: Overlay, observed: Observed) -> Overlay:
    """The overlay with the present names of its interfaces, which the configuration may call by alternative names."""
    device, through = observed.link(overlay.device), observed.link(overlay.via) if overlay.via else None
    names = (device.name if device else overlay.device, through.name if through else overlay.via)
    same = names == (overlay.device, overlay.via)
    return overlay if same else replace(overlay, device=names[0], via=names[1])


def _left_out(profile: Profile, section: Section, facts: FactsByDevice) -> Iterator[str]:
    """Why the profile has no IPv6 although the interface's subnet has it, and which further routes have no router."""
    known = facts.get(profile.device)
    subnets = section.subnets or (known.subnets if known else None) or ()
    said = [each for each in subnets if family(each) == 6]
    where = f"write router = … in [interface.{profile.name}], or --router …"
    if said and not any(family(each) == 6 for each in profile.subnets):
        yield f"IPv6 is not applied: router unknown: no router advertises itself for {said[0]}; {where}"
    routed = {family(router) for router in profile.routers}
    for version in sorted({*map(family, profile.sources)} - routed):
        yield f"its IPv{version} sources have no rules: the interface has no router of IPv{version}; {where}"
    for each in without_a_router(profile):
        version = family(each.destination)
        yield f"route {each.destination} is not applied: the interface has no router of IPv{version}; {where}"


def _possible(desired: Desired, observed: Observed) -> tuple[Desired, Refusal | None]:
    """The items without those of IPv6 where their device has no IPv6: the kernel would refuse them all."""
    devices = {item.device for item in desired.items if isinstance(item, (Address, Route)) and version_of(item) == 6}
    disabled = sorted(name for name in devices for link in [observed.link(name)] if link and not link.ipv6)
    if not disabled:
        return desired, None
    why = f"IPv6 is disabled on {', '.join(disabled)}, so only IPv4 is applied"
    do = f"sysctl net.ipv6.conf.{disabled[0]}.disable_ipv6=0 enables it, or leave IPv6 out of the configuration"
    items = tuple(item for item in desired.items if version_of(item) != 6)
    return replace(desired, items=items), Refusal(desired.owner, f"{why}; {do}")


class TableClaimedError(RefusedError):
    """Two owners in one table would overwrite each other's default route. The one that has it keeps it."""

    def __init__(self, owner: Owner, table: int, other: Owner) -> None:
        self.owner = owner
        self.why = f"table {table} is {other}'s already; write another table = … in [interface.{owner.name}]"
        super().__init__(f"{owner}: {self.why}")


def _claimed(config: Config, state: State, owned: Mapping[Owner, tuple[Item, ...]]) -> dict[int, Owner]:
    """The tables that owners have already: what commands hold, then what the configured interfaces have (`owned`)."""
    configured = {interface(section.name) for section in config.sections}
    having = [*state.held(configured).items(), *((owner, owned.get(owner, ())) for owner in configured)]
    found: dict[int, Owner] = {}
    for owner, items in having:
        for item in items:
            if isinstance(item, Route):
                found.setdefault(item.table, owner)
    return found


def _check_table(profile: Profile, tables: dict[int, Owner]) -> None:
    """Raises TableClaimedError if another owner has the profile's table, or else adds it to `tables`."""
    owner = interface(profile.name)
    other = tables.setdefault(profile.table, owner)
    if other != owner:
        raise TableClaimedError(owner, profile.table, other)


def held_state(given: Config, facts: FactsByDevice, observed: Observed, state: State) -> DesiredState:
    """What a command asks for in place of the configuration. The devices are there. Raises UnknownFactError, and
    CapturedError for what would take another interface's packets.
    """
    links = [(section, find_device(section, observed)) for section in given.sections]
    enis = _devices(given, observed)
    for section, link in links:
        _check_port(interface(section.name), link, observed)
    profiles = [profile_of(each, link.name if link else each.name, facts, observed, enis) for each, link in links]
    around = Neighbourhood(observed, facts, state)
    profiles = [own_sources(*each, around) for each in zip(profiles, given.sections)]
    overlays = [named(each, observed) for each in given.overlays]
    for overlay in overlays:
        check_overlay(overlay, profiles, around)
        _check_port(overlay.owner, observed.link(overlay.device), observed)
    label_of = free_labels(observed)
    found = [Desired(interface(profile.name), profile_items(profile), COMMAND) for profile in profiles]
    found += [Desired(each.owner, overlay_items(each, profiles, label_of), COMMAND) for each in overlays]
    local = LocalTable(observed)
    for each in found:
        local.check(each.owner, each.items)
    return DesiredState(tuple(found), profiles=tuple(profiles), warnings=_misplaced(overlays, profiles))


def held_overlay(
    overlay: Overlay, config: Config, facts: FactsByDevice, observed: Observed, state: State
) -> DesiredState:
    """What a command that holds an overlay address asks for: the rules are those of the configured interface that the
    address is routed to. Raises UnknownFactError, and CapturedError for another interface's address.
    """
    overlay = named(overlay, observed)
    sections = sections_on(config, overlay.via or overlay.device, observed)
    enis = _devices(config, observed)
    profiles = [profile_of(section, device, facts, observed, enis) for section, device in sections]
    check_overlay(overlay, profiles, Neighbourhood(observed, facts, state))
    _check_port(overlay.owner, observed.link(overlay.device), observed)
    desired = Desired(overlay.owner, overlay_items(overlay, profiles, free_labels(observed)), COMMAND)
    LocalTable(observed).check(desired.owner, desired.items)
    warnings = _misplaced([overlay], [*profiles, *config.sections])
    return DesiredState((desired,), profiles=tuple(profiles), warnings=warnings)


def owners_meant(owners: Collection[Owner], config: Config, observed: Observed, state: State) -> tuple[Owner, ...]:
    """The owners that are meant, where an interface is called by another name than its section's.

    A section may name the interface by its MAC or by an alternative name, and a command by the device, or the reverse.
    """
    names = {section.name for section in config.sections} | {each.owner.name for each in state.records}
    found = []
    for owner in owners:
        link = observed.link(owner.name) if owner.kind == INTERFACE and owner.name not in names else None
        links = ((section.name, find_device(section, observed)) for section in config.sections if link)
        mine = [name for name, device in links if device == link]
        mine += [
            record.owner.name
            for record in state.records
            if link and record.owner.kind == INTERFACE and record.index == link.index
        ]
        found.append(interface(mine[0]) if mine else owner)
    return tuple(dict.fromkeys(found))


def sections_on(config: Config, name: str, observed: Observed) -> list[tuple[Section, str]]:
    """The sections of an interface, which may be named by its device or by its section, each with its device."""
    links = ((section, find_device(section, observed)) for section in config.sections)
    return [(section, link.name) for section, link in links if link and name in (link.name, section.name)]


def narrow(config: Config, owners: Collection[Owner], observed: Observed) -> Config:
    """The part of the configuration that these owners need: an overlay needs the profile that its rules are made of."""
    overlays = tuple(each for each in config.overlays if each.owner in owners)
    routed = {each.via or each.device for each in overlays}
    needed = {owner.name for owner in owners if owner.kind == INTERFACE} | routed
    links = [(section, find_device(section, observed)) for section in config.sections]
    sections = tuple(each for each, link in links if each.name in needed or (link and link.name in routed))
    return replace(config, sections=sections, overlays=overlays)


def without(state: DesiredState, suppressed: Collection[Owner]) -> DesiredState:
    """The same, with nothing for the owners that were reverted by hand."""
    if not suppressed:
        return state
    desired = (replace(each, items=()) if each.owner in suppressed else each for each in state.desired)
    return replace(state, desired=tuple(desired))


def profile_of(
    section: Section,
    device: str,
    facts: FactsByDevice,
    observed: Observed,
    enis: Collection[str],
    there: Collection[Item] = (),
    around: Neighbourhood | None = None,
) -> Profile:
    """One interface's profile; `enis` are the devices that are configured.

    The kernel's facts replace those that the metadata service cannot give, unless the profile would then lose one of
    the items that are `there` already. They are compared with the sources that take no packets of what is `around`.
    Raises UnknownFactError, and CapturedError as `own_sources` does.
    """

    def whole(profile: Profile) -> Profile:
        return beside_main(with_metrics(profile, section, observed, there), observed, enis)

    if complete(section):
        return whole(resolve(section, Facts(device)))
    known = facts.get(device, Facts(device))
    try:
        return whole(resolve(section, known))
    except UnknownFactError as wrong:
        unknown = wrong
    routers = (*section.routers, *(known.routers or ()))
    four = tuple(each for each in section.subnets if family(each) == 4)
    if four and not any(family(router) == 6 for router in routers):
        # IPv4 does not wait for the router of IPv6.
        section = replace(section, subnets=four)
    try:
        profile = resolve(section, without_the_service(section, known, kernel_facts(device, observed)))
    except UnknownFactError as wrong:
        why = f"{wrong.why} ({known.unknown})" if known.unknown else wrong.why
        raise UnknownFactError(wrong.owner, why) from None
    profile = whole(profile)
    own = own_sources(profile, section, around) if there and around else profile
    if not set(there) <= set(profile_items(own)):
        raise unknown
    return profile


def held(state: State, besides: Collection[Owner] = ()) -> tuple[Desired, ...]:
    """What commands asked for: desired until it is reverted."""
    return tuple(Desired(owner, items, COMMAND) for owner, items in state.held(besides).items())


def _misplaced(overlays: Iterable[Overlay], ranges: Sequence[Profile | Section]) -> tuple[InsideVpc, ...]:
    inside = inside_vpc(ranges)
    found = ((overlay, inside(overlay)) for overlay in overlays)
    return tuple(InsideVpc(overlay, network) for overlay, network in found if network)
