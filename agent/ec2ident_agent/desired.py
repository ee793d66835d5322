"""Desired state: which items each owner should have, from the configuration, the facts and one look at the node. Pure.

If a fact of an owner is unknown, the owner keeps the items that it has, since unknown never removes anything. It is
listed as `Unknown`.
"""

from __future__ import annotations

from ec2ident.value import Value, replace

from .errors import UnknownFactError
from .profile import (
    Facts,
    complete,
    find_device,
    inside_vpc,
    kernel_facts,
    overlay_items,
    profile_items,
    resolve,
    without_the_service,
)
from .state.owned import COMMAND, CONFIG, INTERFACE, State, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .items import Item, Observed
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
    #: The profiles of the configured interfaces that are on the node and of which everything is known.
    profiles: tuple[Profile, ...] = ()
    warnings: tuple[InsideVpc, ...] = ()


def devices_to_ask(config: Config, observed: Observed) -> tuple[str, ...]:
    """The devices of which the configuration leaves something open, so their facts are needed."""
    links = (find_device(each, observed) for each in config.sections if not complete(each))
    return tuple(dict.fromkeys(link.name for link in links if link))


def desired_state(config: Config, facts: FactsByDevice, observed: Observed, state: State) -> DesiredState:
    """What the configuration asks for. Raises ConfigError where the configuration and the facts contradict."""
    found: list[Desired] = []
    unknown: list[Unknown] = []
    profiles: list[Profile] = []
    unresolved: set[str] = set()
    for section in config.sections:
        owner, link = interface(section.name), find_device(section, observed)
        if link is None:
            found.append(Desired(owner, ()))
            continue
        there = state.of(owner)
        try:
            profile = profile_of(section, link.name, facts, observed, there)
        except UnknownFactError as wrong:
            unknown.append(Unknown(wrong.owner, wrong.why))
            unresolved |= {link.name, section.name}
            found.append(Desired(owner, there))
            continue
        profiles.append(profile)
        found.append(Desired(owner, profile_items(profile)))
    held = state.held()
    overlays = [each for each in config.overlays if each.owner not in held]
    for overlay in overlays:
        items = overlay_items(overlay, profiles, observed) if observed.link(overlay.device) else ()
        if items and (overlay.via or overlay.device) in unresolved:
            items = tuple(dict.fromkeys((*items, *state.of(overlay.owner))))  # The rules that it has stay.
        found.append(Desired(overlay.owner, items))
    return DesiredState(tuple(found), tuple(unknown), tuple(profiles), _misplaced(overlays, profiles))


def held_state(given: Config, facts: FactsByDevice, observed: Observed) -> DesiredState:
    """What a command asks for in place of the configuration. The devices are there. Raises UnknownFactError."""
    links = [(section, find_device(section, observed)) for section in given.sections]
    profiles = [profile_of(section, link.name if link else section.name, facts, observed) for section, link in links]
    found = [Desired(interface(profile.name), profile_items(profile), COMMAND) for profile in profiles]
    found += [Desired(each.owner, overlay_items(each, profiles, observed), COMMAND) for each in given.overlays]
    return DesiredState(tuple(found), (), tuple(profiles), _misplaced(given.overlays, profiles))


def held_overlay(overlay: Overlay, config: Config, facts: FactsByDevice, observed: Observed) -> DesiredState:
    """What a command that holds an overlay address asks for: the rules are those of the configured interface that the
    address is routed to. Raises UnknownFactError.
    """
    sections = sections_on(config, overlay.via or overlay.device, observed)
    profiles = [profile_of(section, device, facts, observed) for section, device in sections]
    desired = Desired(overlay.owner, overlay_items(overlay, profiles, observed), COMMAND)
    return DesiredState((desired,), (), tuple(profiles), _misplaced([overlay], [*profiles, *config.sections]))


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
    section: Section, device: str, facts: FactsByDevice, observed: Observed, there: Collection[Item] = ()
) -> Profile:
    """One interface's profile.

    The kernel's facts replace those that the metadata service cannot give, unless the profile would then lose one of
    the items that are `there` already. Raises UnknownFactError.
    """
    if complete(section):
        return resolve(section, Facts(device))
    known = facts.get(device, Facts(device))
    try:
        return resolve(section, known)
    except UnknownFactError as wrong:
        unknown = wrong
    try:
        profile = resolve(section, without_the_service(section, known, kernel_facts(device, observed)))
    except UnknownFactError as wrong:
        why = f"{wrong.why} ({known.unknown})" if known.unknown else wrong.why
        raise UnknownFactError(wrong.owner, why) from None
    if not set(there) <= set(profile_items(profile)):
        raise unknown
    return profile


def held(state: State, besides: Collection[Owner] = ()) -> tuple[Desired, ...]:
    """What commands asked for: desired until it is reverted."""
    return tuple(Desired(owner, items, COMMAND) for owner, items in state.held(besides).items())


def _misplaced(overlays: Iterable[Overlay], ranges: Sequence[Profile | Section]) -> tuple[InsideVpc, ...]:
    found = ((overlay, inside_vpc(overlay, ranges)) for overlay in overlays)
    return tuple(InsideVpc(overlay, network) for overlay, network in found if network)
