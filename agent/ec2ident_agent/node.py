"""The agent as an object: what `ec2ident-agent` does, for Python programs.

    from ec2ident_agent import Node, interface

    with Node() as node:
        report = node.status()
        if not report.in_order:
            node.apply()
        node.revert([interface("eth1")])

A `Node` joins the configuration, the kernel with its table names, the journal and its lock, the owners that were
reverted by hand, and the facts that the configuration leaves open. Each method looks once at the kernel, and reads the
journal, the names and the configuration once; a change is read back. Methods return values and raise subclasses of
`AgentError`: ConfigError, UnknownError, RefusedError and KernelError.
"""

from __future__ import annotations

import os

from ec2ident.value import Value, replace

from . import engine
from .desired import (
    DesiredState,
    desired_state,
    devices_to_ask,
    held,
    held_overlay,
    held_state,
    narrow,
    owners_meant,
    sections_on,
    without,
)
from .engine import Look, Report
from .errors import ConfigError, DeviceNeededError, JournalError, LockedError
from .items import Address, Observed
from .kernel.table_names import DIRECTORY, NamedKernel
from .profile import Config, complete, find_device
from .state.journal import STATE_DIRECTORY, Journal
from .state.owned import INTERFACE, State
from .state.owned import overlay as overlay_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from types import TracebackType

    from .desired import Desired
    from .effect import Taken
    from .items import Step
    from .kernel.protocol import Kernel
    from .profile import Facts, Overlay
    from .state.journal import Lock
    from .state.owned import Owner
    from .state.suppressed import SuppressedFile

    Log = Callable[[str], object]
    #: A facts provider: what is known of a device, given one look at the node.
    FactsOf = Callable[[str, Observed], Facts]


def quiet(_: str) -> None:
    """A log that keeps nothing."""


class Survey(Value):
    """The configuration, one look at the node, and the desired state that follows from both."""

    config: Config
    look: Look
    state: DesiredState


class Node:
    """The node that this process runs on, or what the arguments put in its place.

    `config` is the path of the configuration file or what it would say; without it, /etc/ec2ident/agent.toml counts if
    it exists. `state_dir` holds the journal, `names_dir` the table names. `facts` says what is known of a device; by
    default the metadata service is asked. `kernel` is by default that of this process's network namespace. `patience`
    is in seconds: for another process that holds the lock, and for the metadata service to know a new interface.
    `log` gets each change as the command that does the same, before it is done; `note` gets what a person should know.
    """

    def __init__(
        self,
        config: str | Config | None = None,
        *,
        state_dir: str = STATE_DIRECTORY,
        names_dir: str = DIRECTORY,
        facts: FactsOf | None = None,
        kernel: Kernel | None = None,
        patience: float = 10.0,
        log: Log = quiet,
        note: Log = quiet,
    ) -> None:
        self.config, self.names_dir, self.patience, self.log, self.note = config, names_dir, patience, log, note
        self.journal = Journal(state_dir)
        self._facts = facts
        self._kernel = NamedKernel(kernel, names_dir) if kernel else None
        #: Tables that were found to be desired: a look shows all their routes.
        self._tables: frozenset[int] = frozenset()

    def _log_step(self, step: Step) -> None:
        self.log(f"[#] {step}")

    def __enter__(self) -> Node:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the kernel's socket. The next method opens it again."""
        if self._kernel:
            self._kernel.close()

    @property
    def kernel(self) -> NamedKernel:
        """The kernel together with the names of its tables."""
        if self._kernel is None:
            from .kernel.change import NetlinkKernel

            self._kernel = NamedKernel(NetlinkKernel(), self.names_dir)
        return self._kernel

    @property
    def suppressed(self) -> SuppressedFile:
        """The list of owners that were reverted by hand."""
        # Imported when it is needed: a look does without.
        from .state.suppressed import SuppressedFile

        return SuppressedFile(self.journal.directory)

    # -- looking --

    @property
    def config_path(self) -> str:
        """The configuration file's path; empty if the configuration was given as a value."""
        from .config_file import PATH

        return "" if isinstance(self.config, Value) else self.config or PATH

    def configuration(self) -> Config:
        """What the configuration says. Raises ConfigError, RefusedError and UnknownError as `config_file.load` does."""
        if isinstance(self.config, Value):
            return self.config
        from time import time

        from .config_file import PATH, load

        required, cache = self.config is not None, os.path.join(self.journal.directory, "config")
        return load(self.config or PATH, required=required, uids={0, os.geteuid()}, cache=cache, now=time())

    def look(self) -> Look:
        """One look at the kernel and one read of the journal. Raises UnknownError and JournalError."""
        state = self.journal.read()
        tables = self._tables | engine.tables_of(record.item for record in state.records)
        return Look(self.kernel.observe(tables), state)

    def _see(self, config: Config, desire: Callable[[Look], DesiredState]) -> tuple[Look, DesiredState]:
        """One look, and the desired state that follows from it; another look when a table that is desired was not read
        yet. Only on a node with very many routes does the kernel leave out other tables.
        """
        self._tables |= {section.table for section in config.sections if section.table}
        while True:
            look = self.look()
            state = desire(look)
            unread = look.observed.unread(engine.tables_of(item for each in state.desired for item in each.items))
            if not unread:
                return look, state
            self._tables |= unread

    def survey(self, config: Config | None = None) -> Survey:
        """The configuration (by default the file's), one look, and the desired state of the whole node."""
        config = self.configuration() if config is None else config
        source = self._source(acting=False)
        look, state = self._see(config, lambda look: self._desired(config, look, None, source))
        return Survey(config, look, state)

    def status(self, owners: Collection[Owner] | None = None) -> Report:
        """How the node, or these owners' part of it, differs from what it should be, and the steps to mend it.

        Raises ConfigError for an owner that the configuration does not name, UnknownError, and JournalError.
        """
        config, source = self.configuration(), self._source(acting=False)
        look, state = self._see(config, lambda look: self._desired(config, look, owners, source))
        report = self._report(engine.compare(state.desired, look, everything=owners is None), state)
        return replace(report, taken=self.taken(report.desired, look.observed))

    plan = status

    def taken(self, desired: Iterable[Desired], observed: Observed) -> tuple[Taken, ...]:
        """The packets of these owners' sources that the kernel sends another way than by their interface and router.

        One request to the kernel for each source; nothing is sent to the network. Raises UnknownError.
        """
        from .effect import judge, questions, ways

        desired = tuple(desired)
        asked = questions(ways(desired, observed), observed)
        answers = self.kernel.lookup([query for _, query in asked]) if asked else []
        return judge(asked, answers, desired, observed)

    # -- changing --

    def apply(self, owners: Collection[Owner] | None = None, *, dry_run: bool = False) -> Report:
        """Make the node, or these owners' part of it, as the configuration says. Owners that were reverted count again.

        Of an owner that is refused or unknown nothing is changed; the others get what they should have. Returns the
        report of what there was to do. Raises KernelError with everything undone when nothing else could be done;
        ConfigError, UnknownError, LockedError and JournalError with nothing changed.
        """
        return self._apply(owners, dry_run=dry_run)

    def adopt(self, owners: Collection[Owner] | None = None, *, dry_run: bool = False) -> Report:
        """Apply, and take over the objects of other programs that equal a wanted item, without a gap in between.

        Nothing of an owner is taken over that is refused or unknown. The report says what was taken over (`adopted`),
        and what resembles an item and was left alone (`near_misses`). Raises as `apply`.
        """
        return self._apply(owners, dry_run=dry_run, adopting=True)

    def interface_up(self, device: str) -> Report:
        """Apply the configuration because an interface came up. Owners that were reverted stay so, except the profile
        of this interface. Returns and raises as `apply`.
        """
        return self._apply(None, came_up=device)

    def _apply(
        self, owners: Collection[Owner] | None, *, dry_run: bool = False, came_up: str = "", adopting: bool = False
    ) -> Report:
        config, source = self.configuration(), self._source(acting=True, wait=not dry_run)
        everything = owners is None

        def wanted(look: Look) -> DesiredState:
            return self._desired(config, look, owners, source)

        if dry_run:
            look, state = self._see(config, wanted)
            intending = engine.adopting(state.desired, look, everything=everything) if adopting else look
            report = self._report(engine.compare(state.desired, intending, everything=everything), state)
            return engine.with_near_misses(report, look) if adopting else report
        from .state import suppressed

        self._ask_before_locking(config, owners, source)
        with self._lock():
            look, state = self._see(config, wanted)
            before = self.suppressed.read()
            if came_up:
                link = look.observed.link(came_up)
                after = suppressed.without_profiles_on(before, link.index) if link else before
                state = without(state, suppressed.in_force(after, look.observed))
            else:
                after = suppressed.without(before, _meant(owners, config, look))
            self.suppressed.write(before, after)
            act = engine.adopt if adopting else engine.apply
            report = act(state.desired, look, self.kernel, self.journal, self._log_step, everything=everything)
        report = self._report(report, state)
        return engine.with_near_misses(report, look) if adopting else report

    def hold(self, given: Config, *, dry_run: bool = False) -> Report:
        """Apply `given` in place of the configuration, and hold it until it is reverted. Returns and raises as `apply`.

        Raises ConfigError for an interface that is not on this node, and UnknownError where a fact is unknown.
        """

        def wanted(look: Look) -> DesiredState:
            links = [(each.name, find_device(each, look.observed)) for each in given.sections]
            named = [link.name if link else name for name, link in links]
            for name in (*named, *(name for each in given.overlays for name in (each.device, each.via) if name)):
                check_device(name, look.observed)
            return held_state(given, self._facts_of(given, look.observed, source), look.observed, look.state)

        source = self._source(acting=True, wait=not dry_run)
        if not dry_run:
            self._ask_before_locking(given, None, source)
        return self._hold(given, wanted, dry_run)

    def hold_overlay(
        self, address: str, *, device: str = "", label: str = "", via: str = "", dry_run: bool = False
    ) -> Report:
        """Hold an overlay address until `release_overlays` or a reboot, whether or not the configuration names it.

        What is empty is as configured; `device` must be given for an address that the configuration does not name.
        Returns and raises as `apply`.
        """
        config = self.configuration()
        overlay = self._overlay(address, config, {"device": device, "label": label, "via": via})
        source = self._source(acting=False)

        def wanted(look: Look) -> DesiredState:
            check_device(overlay.device, look.observed)
            on = sections_on(config, overlay.via or overlay.device, look.observed)
            if overlay.via and not on:
                check_device(overlay.via, look.observed)
            needed = replace(config, sections=tuple(section for section, _ in on))
            facts = self._facts_of(needed, look.observed, source)
            return held_overlay(overlay, config, facts, look.observed, look.state)

        return self._hold(config, wanted, dry_run)

    def overlay_device(self, address: str) -> str:
        """The interface that packets to a configured overlay address come through: `via`, else `device`, or "".

        Raises ConfigError.
        """
        address = _canonical(address)
        return next((each.via or each.device for each in self.configuration().overlays if each.address == address), "")

    def _hold(self, config: Config, wanted: Callable[[Look], DesiredState], dry_run: bool) -> Report:
        if dry_run:
            look, state = self._see(config, wanted)
            return self._report(engine.compare(state.desired, look, everything=False), state)
        from .state import suppressed

        with self._lock():
            look, state = self._see(config, wanted)
            before = self.suppressed.read()
            self.suppressed.write(before, suppressed.without(before, {each.owner for each in state.desired}))
            report = engine.apply(state.desired, look, self.kernel, self.journal, self._log_step, everything=False)
        return self._report(report, state)

    def revert(self, owners: Collection[Owner] | None, *, dry_run: bool = False) -> tuple[Step, ...]:
        """Remove everything of these owners (None: everything that the agent added) from the node; returns the steps.

        Needs neither the configuration nor the facts. Until the next `apply`, watch and hooks leave these owners
        alone. Raises KernelError with all failures, after everything else was removed; LockedError and JournalError
        with nothing changed.
        """
        if dry_run:
            look = self.look()
            return engine.removals(_meant(owners, Config(), look), look)
        with self._lock():
            return self._revert(owners)

    def release_overlays(
        self, *addresses: str, patience: float | None = None, insist: bool = False, dry_run: bool = False
    ) -> tuple[Step, ...]:
        """Stop holding overlay addresses, configured or not, and remove them; returns the steps. Raises as `revert`.

        With `insist`, go on without the lock after `patience` seconds: a process that holds it for so long hangs, and
        since the addresses are struck out of the journal, it will not add them again when it goes on.
        """
        owners = [overlay_owner(_canonical(each)) for each in addresses]
        if dry_run:
            return engine.removals(owners, self.look())
        try:
            with self._lock(patience):
                return self._revert(owners)
        except LockedError as error:
            if not insist:
                raise
            self.note(f"{error}: going on without the lock")
        return self._revert(owners)

    def _revert(self, owners: Collection[Owner] | None) -> tuple[Step, ...]:
        from .state import suppressed

        look = self.look()
        owners = _meant(owners, Config(), look)
        before = self.suppressed.read()
        try:
            self.suppressed.write(before, suppressed.with_reverted(before, owners, look.state, look.observed))
        except JournalError as failed:
            self.note(f"{failed}; watch will add again what is reverted now")
        others = engine.unlisted(look) if owners is None else ()
        if others:
            from .items import Step

            why = "another agent's, or this journal was lost; apply enters what is configured"
            first = Step("del", others[0].item)
            self.note(f"not in {self.journal.path}, so left in place ({why}): {len(others)}, the first by: {first}")
        return engine.revert(owners, look, self.kernel, self.journal, self._log_step)

    # -- the parts --

    def _lock(self, patience: float | None = None) -> Lock:
        return self.journal.lock(self.patience if patience is None else patience)

    def _source(self, *, acting: bool, wait: bool = False) -> FactsOf:
        """The facts provider for one verb. A change asks the metadata service anew; a look takes what it said within
        the last minute.
        """
        if self._facts is not None:
            given = self._facts
            return lambda device, observed: self._with_router(given(device, observed), observed, seek=False)
        made: list[FactsOf] = []

        def facts_of(device: str, observed: Observed) -> Facts:
            if not made:
                # Imported when a fact is needed: most configurations leave nothing open.
                from .fact_source import FactSource
                from .facts import FRESH

                fresh, seconds = 0.0 if acting else FRESH, self.patience if wait else 0.0
                made.append(FactSource(self.journal.directory, fresh=fresh, wait=seconds, say=self.note))
            return self._with_router(made[0](device, observed), observed, seek=acting)

        return facts_of

    def _with_router(self, known: Facts, observed: Observed, *, seek: bool) -> Facts:
        """The same with an IPv6 router from the neighbours, where IPv6 is there and no route names a router."""
        if not observed.seen or any(":" in each for each in known.routers or ()):
            return known  # Without a whole look, what the routes say is not known yet.
        there = (seen.item.address for seen in observed.seen if isinstance(seen.item, Address))
        if not any(":" in each for each in (*(known.subnets or ()), *(known.addresses or ()), *there)):
            return known
        found = self.kernel.routers(known.device, seek=seek)
        return replace(known, routers=(*(known.routers or ()), *found)) if found else known

    def _facts_of(self, config: Config, observed: Observed, source: FactsOf) -> dict[str, Facts]:
        return {device: source(device, observed) for device in devices_to_ask(config, observed)}

    def _ask_before_locking(self, config: Config, owners: Collection[Owner] | None, source: FactsOf) -> None:
        """Ask for the facts that will be needed: the metadata service may have to be waited for, and meanwhile others
        may need the lock. The links are enough to know the interfaces by.
        """
        if not all(map(complete, config.sections)):
            observed = Observed(self.kernel.observe_links())
            owners = _meant(owners, config, Look(observed, State()))
            self._facts_of(config if owners is None else narrow(config, owners, observed), observed, source)

    def _desired(self, config: Config, look: Look, owners: Collection[Owner] | None, source: FactsOf) -> DesiredState:
        """The desired state of the whole node, or of these owners alone."""
        owners, observed = _meant(owners, config, look), look.observed
        needed = config if owners is None else narrow(config, owners, observed)
        state = desired_state(needed, self._facts_of(needed, observed, source), observed, look.state)
        return state if owners is None else _only(owners, state, config, look)

    def _overlay(self, address: str, config: Config, given: dict[str, str]) -> Overlay:
        """The overlay with this address: as given, otherwise as configured. Raises ConfigError."""
        from .config import overlay

        address = _canonical(address)
        given = {key: value for key, value in given.items() if value}
        for each in config.overlays if "device" not in given else ():
            if each.address == address:
                said = {"device": each.device, "label": each.label, "via": each.via}
                given = {**{key: value for key, value in said.items() if value}, **given}
        if "device" not in given:
            raise DeviceNeededError(address)
        return overlay({"address": address, **given})

    def _report(self, report: Report, state: DesiredState) -> Report:
        return replace(
            report,
            unknown=state.unknown,
            harmful=state.refusals,
            warnings=state.warnings,
            notes=state.notes,
            unnamed=self._kernel.refused if self._kernel else "",
        )


def _meant(owners: Collection[Owner] | None, config: Config, look: Look) -> Collection[Owner] | None:
    return None if owners is None else owners_meant(owners, config, look.observed, look.state)


def _only(owners: Collection[Owner], state: DesiredState, config: Config, look: Look) -> DesiredState:
    """The part of the desired state that is about these owners. Raises ConfigError for an owner without any."""
    desired = (*state.desired, *held(look.state, {each.owner for each in state.desired}))
    known = {each.owner for each in desired}
    by_name = {section.name for section in config.sections if not section.mac}
    for owner in owners:
        if owner.kind == INTERFACE and (owner not in known or owner.name in by_name):
            check_device(owner.name, look.observed)
        if owner not in known:
            table = f"[interface.{owner.name}]" if owner.kind == INTERFACE else "[[overlay]]"
            raise ConfigError(f"{owner}: nothing is configured for it; write {table}, or flags")
    notes = tuple(each for each in state.notes if each.owner in owners)
    return replace(state, desired=tuple(each for each in desired if each.owner in owners), notes=notes)


def check_device(name: str, observed: Observed) -> None:
    """Raises ConfigError for an interface that is not on this node."""
    if not observed.link(name):
        there = ", ".join(sorted(link.name for link in observed.links))
        raise ConfigError(f"{name}: no such interface (this node has {there})")


def _canonical(address: str) -> str:
    """An overlay address with its length. Raises ConfigError."""
    from .inet import single

    try:
        return single(address)
    except ValueError as wrong:
        raise ConfigError(f"overlay: {wrong}") from None
