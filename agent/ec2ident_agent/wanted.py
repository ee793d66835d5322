"""What this node should have: by flags, or by the configuration with the facts that it leaves out.

`Wanted` is one command's view: where its files are, its kernel, whom it asks. The verbs stand on it (`cli`), and so do
the watch and a takeover, which want the same by other ways.
"""

from __future__ import annotations

import os

from ec2ident.value import replace

from .errors import ConfigError, UnknownError
from .options import OVERLAY, PROFILE
from .show import log
from .state.journal import COMMAND, LEAVING, STATE_DIRECTORY, Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any

    from .config import Config
    from .engine import Wish
    from .items import Item, Observed
    from .kernel.protocol import Kernel
    from .kernel.table_names import NamedKernel
    from .options import Options
    from .profile import Facts, Overlay, Profile, Section
    from .state.journal import State

    #: What a provider knows of a device; by default what the metadata service says.
    FactsOf = Callable[[str, Observed], Facts]


class Wanted:
    """What is wanted by one command line. `facts_of` and `kernel` are those of this node, unless given."""

    def __init__(self, options: Options, facts_of: FactsOf | None = None, kernel: Kernel | None = None) -> None:
        self.options = options
        self.journal = Journal(options.get("--state-dir", STATE_DIRECTORY))
        self.facts_of = facts_of
        #: Why something could not be told; nothing of it is touched, and the exit code is 3.
        self.unknown: list[str] = []
        #: The configured interfaces that are there, and of which everything is known.
        self.known: list[Profile] = []
        self._kernel: NamedKernel | None = self._named(kernel) if kernel else None

    def patience(self) -> float:
        try:
            seconds = float(self.options.get("--wait", 10))
            if 0 <= seconds <= 3600:
                return seconds
        except ValueError:
            pass
        raise ConfigError(f"--wait {self.options.get('--wait')}: not a number of seconds from 0 to 3600")

    def kernel(self) -> NamedKernel:
        if self._kernel is None:
            from .kernel.change import NetlinkKernel

            self._kernel = self._named(NetlinkKernel())
        return self._kernel

    def _named(self, kernel: Kernel) -> NamedKernel:
        from .kernel.table_names import DIRECTORY, NamedKernel

        return NamedKernel(kernel, self.options.get("--names-dir", DIRECTORY))

    def configuration(self) -> Config:
        from time import time

        from .config import PATH, load

        path = self.options.get("--config")
        cache = os.path.join(self.journal.directory, "config")
        return load(path or PATH, required=path is not None, uids={0, os.geteuid()}, cache=cache, now=time())

    def everything(self) -> bool:
        """Without names a verb is about the whole node, and with them about no more than them."""
        return not (self.options.arguments or self.options.get("--overlay"))

    def wishes(self, observed: Observed, state: State) -> list[Wish]:
        """What is asked for: by flags one interface, else by the configuration all of it or the named part."""
        flags = self.flags()
        if flags or self.options.get("--overlay"):
            return self.flagged(flags, observed)
        from .engine import held

        config = self.configuration()
        wishes = self.configured(self.named(config, observed), observed, state)
        names = self.options.arguments
        if not names:
            return wishes
        wishes += held(state, {wish.owner for wish in wishes})
        for name in names:
            if not any(wish.owner == name for wish in wishes):
                self.device(name, observed)
                raise ConfigError(f"{name}: nothing is configured for it; write [interface.{name}], or flags")
            section = next((each for each in config.sections if each.name == name), None)
            if section and not section.mac:
                self.device(name, observed)
        return [wish for wish in wishes if wish.owner in names]

    def named(self, config: Config, observed: Observed) -> Config:
        """The part of the configuration that the command is about: all of it, where it names nothing.

        An overlay needs the profile of the interface that it is routed to.
        """
        from .profile import find_device

        names = self.options.arguments
        if not names:
            return config
        overlays = tuple(each for each in config.overlays if each.owner in names)
        routed = {each.via or each.device for each in overlays}
        links = [(section, find_device(section, observed)) for section in config.sections]
        needed = {*names, *routed}
        sections = tuple(each for each, link in links if each.name in needed or (link and link.name in routed))
        return replace(config, sections=sections, overlays=overlays)

    def flagged(self, flags: dict[str, Any], observed: Observed) -> list[Wish]:
        """What the command line describes; it is held until reverted, since no configuration would repeat it."""
        from .config import section
        from .engine import Wish
        from .profile import find_device, overlay_items, profile_items

        names = self.options.arguments
        if len(names) > 1 or (flags and not names):
            raise ConfigError(
                f"{' '.join(sorted('--' + flag.replace('_', '-') for flag in flags))}: name one interface"
            )
        wishes, profiles = [], []
        for name in names:
            each = section(name, flags)
            link = find_device(each, observed)
            self.device(link.name if link else name, observed)
            profiles.append(self.profile(each, link.name if link else name, observed))
            wishes.append(Wish(name, profile_items(profiles[0]), COMMAND))
        if self.options.get("--overlay"):
            overlay = self.which(self.options.get("--overlay"), None, adding=True)
            for name in filter(None, (overlay.device, overlay.via)):
                self.device(name, observed)
            self.warn_inside(overlay, profiles)
            wishes.append(Wish(overlay.owner, overlay_items(overlay, profiles, observed), COMMAND))
        return wishes

    def configured(self, config: Config, observed: Observed, state: State) -> list[Wish]:
        """What the configuration asks for. What is unknown stays as it is, and is said."""
        from .engine import Wish, held
        from .profile import find_device, overlay_items, profile_items

        def kept(owner: str) -> tuple[Item, ...]:
            return tuple(each.item for each in state.records if each.owner == owner and each.origin != LEAVING)

        wishes: list[Wish] = []
        self.known = profiles = []
        unknown: set[str] = set()
        by_command = {wish.owner for wish in held(state)}
        for section in config.sections:
            link = find_device(section, observed)
            if link is None:
                wishes.append(Wish(section.name, ()))
                continue
            laid = kept(section.name)
            try:
                profile = self.profile(section, link.name, observed, laid)
            except UnknownError as wrong:
                self.unknown.append(str(wrong))
                unknown |= {link.name, section.name}
                wishes.append(Wish(section.name, laid))
                continue
            profiles.append(profile)
            wishes.append(Wish(section.name, profile_items(profile)))
        for overlay in config.overlays:
            if overlay.owner not in by_command:
                there = observed.link(overlay.device)
                if self.options.verb not in ("doctor", "watch"):
                    self.warn_inside(overlay, profiles)
                items = overlay_items(overlay, profiles, observed) if there else ()
                if there and (overlay.via or overlay.device) in unknown:
                    items = tuple(dict.fromkeys((*items, *kept(overlay.owner))))  # the rules that it has
                wishes.append(Wish(overlay.owner, items))
        return wishes

    def profiles(self, config: Config, device: str, observed: Observed) -> list[Profile]:
        """The profiles of an interface: what an overlay that is routed to it needs rules for."""
        from .profile import find_device

        links = ((section, find_device(section, observed)) for section in config.sections)
        mine = ((section, link) for section, link in links if link and device in (link.name, section.name))
        return [self.profile(section, link.name, observed) for section, link in mine]

    def profile(self, section: Section, device: str, observed: Observed, laid: Collection[Item] = ()) -> Profile:
        """One interface's profile; facts are asked for only where the section leaves something open.

        What the metadata service cannot say the kernel may, unless that would take away something of what is `laid`.
        Raises UnknownError.
        """
        from .profile import Facts, complete, kernel_facts, profile_items, resolve, without_the_service

        if complete(section):
            return resolve(section, Facts(device))
        facts = self.facts()(device, observed)
        try:
            return resolve(section, facts)
        except UnknownError as wrong:
            unknown = wrong
        try:
            profile = resolve(section, without_the_service(section, facts, kernel_facts(device, observed)))
        except UnknownError as wrong:
            raise UnknownError(f"{wrong} ({facts.unknown})" if facts.unknown else str(wrong)) from None
        if not set(laid) <= set(profile_items(profile)):
            raise unknown
        return profile

    def facts(self) -> FactsOf:
        """Who knows what the configuration does not say: the metadata service, and what it said last."""
        if self.facts_of is None:
            from .facts import FRESH, Source

            acting = self.options.verb == "apply"
            wait = 0.0 if not acting or self.options.get("--dry-run") else self.patience()
            self.facts_of = Source(self.journal.directory, fresh=FRESH if not acting else 0.0, wait=wait, say=self.note)
        return self.facts_of

    def ask(self) -> None:
        """Ask for the facts that will be needed, before anything is locked: somebody may have to be waited for."""
        from .config import Config, section
        from .profile import complete, find_device

        flags = self.flags()
        if flags or self.options.get("--overlay"):
            config = Config(tuple(section(name, flags) for name in self.options.arguments))
        else:
            config = self.configuration()
        if all(map(complete, config.sections)):
            return
        observed = self.kernel().observe()
        sections = self.named(config, observed).sections
        for link in (find_device(each, observed) for each in sections if not complete(each)):
            if link:
                self.facts()(link.name, observed)

    def flags(self) -> dict[str, Any]:
        """What the command line says of an interface, by the configuration's keys."""
        return {name[2:].replace("-", "_"): value for name, value in self.options.values.items() if name in PROFILE}

    def note(self, line: str) -> None:
        log(f"ec2ident-agent: {line}")

    def which(self, text: str, config: Config | None, *, adding: bool) -> Overlay:
        """The overlay that an address means: with the flags, else as configured. A deletion needs the address alone."""
        from .config import overlay
        from .inet import single

        try:
            address = single(text)
        except ValueError as wrong:
            raise ConfigError(f"overlay: {wrong}") from None
        flags = {name[2:]: self.options.values[name] for name in OVERLAY if name in self.options.values}
        for each in config.overlays if config and "device" not in flags else ():
            if each.address == address:
                said = {"device": each.device, "label": each.label, "via": each.via}
                flags = {key: value for key, value in {**said, **flags}.items() if value}
        if "device" not in flags and not adding:
            flags["device"] = "lo"
        if "device" not in flags:
            raise ConfigError(
                f"overlay {address}: on which device? write --device IF, or [[overlay]] in the configuration"
            )
        return overlay({"address": address, **flags})

    def warn_inside(self, overlay: Overlay, ranges: Sequence[Profile | Section]) -> None:
        """Say so when an overlay address is one of the VPC's own, as far as it is known."""
        from .profile import inside_vpc

        inside = inside_vpc(overlay, ranges)
        if inside:
            where = f"{overlay.owner} lies inside the VPC's own {inside}"
            unless = f"unless {overlay.via or overlay.device}'s ENI has it as a private address"
            self.note(f"warning: {where}: nobody reaches it, {unless}")

    def device(self, name: str, observed: Observed) -> None:
        """Raises ConfigError for an interface that is not there."""
        if not observed.link(name):
            there = ", ".join(sorted(link.name for link in observed.links))
            raise ConfigError(f"{name}: no such interface (this node has {there})")
