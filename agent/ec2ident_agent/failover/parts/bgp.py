"""The part `bgp` of a service: FRR on this node announces the overlay addresses to the endpoints of a route server.

What a node can know is what its own FRR says: the sessions, and to which endpoints each address was sent. Whether the
route server prefers the announcement, and wrote it into the route tables, only the API tells: `verify` asks it if the
settings name the tables.

A take-over announces with a metric that the time of the take-over makes: if two nodes announce one address after a
partition, the later one is preferred. A release withdraws before the address is removed; it needs nothing but this
node, and a daemon that does not run has nothing to withdraw.
"""

from __future__ import annotations

import time
from functools import partial

from ec2ident.value import Value
from ec2ident_agent.errors import AgentError
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.bgp import answers, frr, vtysh
from ec2ident_agent.failover.bgp.answers import Announcement
from ec2ident_agent.failover.bgp.vtysh import SpeakerGoneError
from ec2ident_agent.failover.errors import ApiUnknownError, OutOfTimeError, UsageError
from ec2ident_agent.failover.parts.part import Finding, Planned, Release, warnings_of
from ec2ident_agent.failover.parts.route import DEAD
from ec2ident_agent.failover.parts.route_tables import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ec2ident_agent.failover.aws.model import NetworkInterface, RouteTable
    from ec2ident_agent.failover.bgp.answers import BgpSession
    from ec2ident_agent.failover.parts.part import PartSight
    from ec2ident_agent.failover.session import Session
    from ec2ident_agent.failover.settings import BgpSettings

#: Seconds for one question to FRR, which answers within some hundredths, and between two looks for an effect.
ASK, LOOK_EVERY = 2.0, 0.05
#: Seconds that a start waits for a daemon that does not run: a service manager restarts it after some seconds.
RESTART = 10.0
#: Seconds for a withdrawal: the address is removed all the same, and FRR's import check then withdraws it.
WITHDRAW = 1.0


class BgpSight(Value):
    """What FRR says: its sessions with the endpoints, and how it announces each address."""

    sessions: tuple[BgpSession, ...]
    announcements: tuple[Announcement, ...]
    #: The metric of a take-over now.
    metric: int
    interface: NetworkInterface | None = None
    warnings: tuple[str, ...] = ()


class BgpOutcome(Value):
    """The result for one address: `verb` is announced, standby, absent, withdrawn or failed."""

    block: str
    verb: str
    to: tuple[str, ...] = ()
    metric: int = 0
    error: AgentError | None = None
    #: Whether this node announces it as the holder, whatever became of the command.
    here: bool = False

    @property
    def exit(self) -> int:
        """0, 1 for what is not announced as the holder does, else the exit code of the error."""
        return self.error.exit if self.error else int(self.verb in ("absent", "standby"))

    def __str__(self) -> str:
        to = f" -> {', '.join(self.to)} (metric {self.metric})" if self.to else ""
        return f"{self.block} {self.verb}{to}" + (f": {self.error}" if self.error else "")


class BgpPart(Value):
    """The announcement of overlay addresses by this node's FRR."""

    settings: BgpSettings
    blocks: tuple[str, ...]

    name = "bgp"

    def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> BgpSight:
        """Ask FRR. Raises UsageError for an FRR without this configuration, SpeakerGoneError, ApiUnknownError."""
        if session.here is None:
            raise UsageError("bgp: only the FRR of this node can announce for it (--instance names another node)")
        found = self._sessions(session.deadline, patient=session.patient)
        self._require_configured(found)
        announcements = tuple(self._announcement(each, session.deadline) for each in self.blocks)
        return BgpSight(found, announcements, frr.metric_at(time.time()), warnings=tuple(self._warnings(found)))

    def _sessions(self, deadline: Deadline, *, patient: bool) -> tuple[BgpSession, ...]:
        """The sessions with the endpoints, in their order. With `patient`, wait for a daemon that is restarted."""
        began = deadline.used
        while True:
            try:
                found = answers.sessions(_ask(deadline, "show bgp neighbors json"))
                known = {each.endpoint: each for each in found}
                own = [name for name, each in known.items() if each.asn == self.settings.endpoint_asn]
                return tuple(known[each] for each in self.settings.endpoints or own if each in known)
            except SpeakerGoneError as error:
                if not patient or deadline.used - began >= RESTART:
                    raise
                deadline.pause(LOOK_EVERY * 10, str(error))

    def _require_configured(self, found: Sequence[BgpSession]) -> None:
        """Raises UsageError unless FRR has a session of these numbers with every endpoint."""
        wanted = self.settings
        said = "write its configuration: ec2ident-failover bgp"
        missing = sorted({*wanted.endpoints} - {each.endpoint for each in found})
        if missing or not found:
            lacking = ", ".join(missing) or f"with the AS number {wanted.endpoint_asn}"
            raise UsageError(f"bgp: FRR has no neighbor {lacking}; {said}")
        for each in found:
            numbers, right = (each.own_asn, each.asn), (wanted.asn, wanted.endpoint_asn)
            if numbers != right:
                shown = " and ".join(f"{a} with {b}" for a, b in (numbers, right))
                raise UsageError(f"bgp: neighbor {each.endpoint}: FRR and the settings differ: {shown}; {said}")

    def _warnings(self, found: Sequence[BgpSession]) -> Iterator[str]:
        for each in found:
            if not each.established:
                yield f"{each.endpoint}: the session is {each.state}"
            elif self.settings.bfd and each.bfd.lower() != "up":
                yield f"{each.endpoint}: BFD is {each.bfd or 'not configured'}: a dead node is noticed late"
            families = {frr.family(block) for block in self.blocks}
            if any(family in families and not (out and in_) for family, out, in_ in each.filters):
                yield f"{each.endpoint}: FRR has no prefix list in each direction; write its configuration again"

    def _announcement(self, block: str, deadline: Deadline) -> Announcement:
        return answers.announcement(_ask(deadline, _showing(block)), block)

    def decide(self, sight: BgpSight, expect: str = "") -> BgpSight:
        """Announce all of them: this node does not know what another one announces, so `expect` does not apply."""
        return sight

    def plan(self, decision: BgpSight) -> tuple[Planned, ...]:
        """The commands, and the look for the effect."""
        found: list[Planned] = []
        for each in decision.announcements:
            words = vtysh.configuring(frr.announce(self.settings.asn, each.block, decision.metric))
            said = "announced again, so that this take-over is the latest one:" if each.holds else ""
            found.append(Planned(vtysh.typed(words), said))
            found.append(Planned(vtysh.typed(vtysh.command(_showing(each.block))), "until an endpoint has it:"))
        return tuple(found)

    def run(self, session: Session, decision: BgpSight) -> Iterator[Finding]:
        """Announce all, and wait until FRR has sent each address to an endpoint."""
        deadline, metric = session.deadline, decision.metric
        refused = {each.block: self._configured(deadline, each.block, metric) for each in decision.announcements}
        for block, error in refused.items():
            done = BgpOutcome(block, "failed", error=error) if error else self._seen(deadline, block, metric)
            yield Finding(str(done), done, done.exit, done.error)

    def _configured(self, deadline: Deadline, block: str, metric: int) -> AgentError | None:
        try:
            vtysh.run(vtysh.configuring(frr.announce(self.settings.asn, block, metric)), _seconds(deadline))
        except AgentError as error:
            return error
        return None

    def _seen(self, deadline: Deadline, block: str, metric: int) -> BgpOutcome:
        now = Announcement(block)
        try:
            while True:
                now = self._announcement(block, deadline)
                if now.holds and now.to and now.metric == metric:
                    return BgpOutcome(block, "announced", now.to, now.metric, here=True)
                deadline.pause(LOOK_EVERY, "")
        except AgentError as error:
            said = f"configured, but {self._why(now, metric)}"
            said += "" if isinstance(error, OutOfTimeError) else f": {error}"
            return BgpOutcome(block, "failed", now.to, now.metric, ApiUnknownError(said), now.holds)

    def _why(self, now: Announcement, metric: int) -> str:
        if not now.valid:
            return "FRR does not announce it: does this node hold the address, and does zebra run?"
        if not now.holds or now.metric != metric:
            return "FRR announces another path (vtysh -c 'show running-config')"
        return f"no endpoint has it: a session must be Established, and {frr.OUT} must permit it"

    def undo(self, decision: BgpSight, findings: Sequence[Finding]) -> tuple[str, ...]:
        """The commands that announce as before, or withdraw."""
        done = {each.value.block for each in findings if isinstance(each.value, BgpOutcome)}
        found = []
        for before in reversed(decision.announcements):
            if before.block in done:
                found.append(vtysh.typed(vtysh.configuring(self._before(before))))
        return tuple(found)

    def _before(self, before: Announcement) -> tuple[str, ...]:
        if before.holds:
            return frr.announce(self.settings.asn, before.block, before.metric)
        return self._letting_go(before.block)

    def _letting_go(self, block: str) -> tuple[str, ...]:
        wanted = self.settings
        if wanted.both:
            return frr.stand_by(wanted.asn, block, wanted.prepend)
        return frr.withdraw(wanted.asn, block)

    def verify(self, session: Session) -> Iterator[Finding]:
        """Compare what FRR says with what the holder should announce; then the tables, if the settings name them."""
        try:
            sight = self.look(session)
        except SpeakerGoneError as error:
            yield Finding(str(error), exit=1)
            return
        yield from warnings_of(sight.warnings)
        for each in sight.announcements:
            verb = "announced" if each.holds and each.to else "standby" if each.valid and each.length else "absent"
            done = BgpOutcome(each.block, verb, each.to, each.metric, here=each.holds)
            yield Finding(str(done), done, done.exit)
            if each.holds and each.metric == frr.WORST:
                said = "FRR was restarted since the take-over, and announces with the worst metric; take over again"
                yield Finding(f"{each.block}: {said}", warning=True)
        yield from warnings_of(self._leaks(session, sight.sessions))
        if self.settings.tables:
            try:
                yield from self._in_tables(session)
            except AgentError as error:
                yield Finding(f"route tables: {error}", exit=error.exit)

    def _leaks(self, session: Session, found: Sequence[BgpSession]) -> Iterator[str]:
        """What FRR has sent to an endpoint besides the overlay addresses of the services of this configuration."""
        known = {block for each in session.settings.services if each.bgp for block in each.overlay}
        for each in found:
            for family, _, _ in each.filters if each.established else ():
                words = f"show bgp {family} unicast neighbors {each.endpoint} advertised-routes json"
                for block in answers.advertised(_ask(session.deadline, words)):
                    if block not in known:
                        yield f"{each.endpoint}: FRR also announces {block}, which belongs to none of the services"

    def _in_tables(self, session: Session) -> Iterator[Finding]:
        assert self.settings.tables
        select = self.settings.tables
        tables = describe(session.api(), select)
        for table in tables:
            for block in self.blocks:
                text, code = _target(table, block, session.instance, self.settings.eni)
                yield Finding(f"{table.id} {block} {text}", exit=code)
        for missing in sorted({*select.tables} - {table.id for table in tables}):
            yield Finding(f"{missing}: no such route table in {session.region}", exit=UsageError.exit)

    def release(self, session: Session) -> Iterator[Release]:
        """Withdraw, or announce the longer path. Nothing if FRR certainly announces none of them as the holder."""
        if session.here is None:
            return
        for block in self.blocks:
            try:
                if not self._announcement(block, session.deadline).holds:
                    continue
            except SpeakerGoneError:
                return
            except AgentError as error:
                # A release must not depend on an answer.
                session.log(f"warning: {block}: {error}")
            words = vtysh.configuring(self._letting_go(block))
            yield Release((vtysh.typed(words),), partial(self.let_go, block))

    def let_go(self, *blocks: str, seconds: float = WITHDRAW) -> Iterator[Finding]:
        """Withdraw these addresses, by default all, and yield a Finding for each.

        It is a warning if FRR does not say that it did: without the address its import check withdraws it too. Where
        both nodes announce, the address stays, so that is an error.
        """
        until = Deadline(seconds)
        for block in blocks or self.blocks:
            try:
                self._let_go(block, until)
            except SpeakerGoneError:
                yield Finding(f"{block}: not announced: FRR's bgpd does not run", BgpOutcome(block, "withdrawn"))
            except AgentError as error:
                if self.settings.both:
                    yield Finding(f"{block}: {error}", BgpOutcome(block, "failed", error=error), error.exit, error)
                else:
                    yield Finding(f"{block}: cannot tell whether it is withdrawn: {error}", warning=True)
            else:
                done = BgpOutcome(block, "longer path" if self.settings.both else "withdrawn")
                yield Finding(str(done), done)

    def _let_go(self, block: str, until: Deadline) -> None:
        """Withdraw, and look for the effect. FRR refuses to withdraw what it does not have, so that alone decides."""
        refused: AgentError | None = None
        try:
            vtysh.run(vtysh.configuring(self._letting_go(block)), _seconds(until))
        except (SpeakerGoneError, OutOfTimeError):
            raise
        except AgentError as error:
            refused = error
        while True:
            now = self._announcement(block, until)
            if not now.holds:
                return
            until.pause(LOOK_EVERY, str(refused or f"{block}: FRR still announces it"))


def _showing(block: str) -> str:
    return f"show bgp {frr.family(block)} unicast {block} json"


def _seconds(deadline: Deadline) -> float:
    return max(0.05, min(ASK, deadline.left))


def _ask(deadline: Deadline, line: str) -> str:
    return vtysh.run(vtysh.command(line), _seconds(deadline))


def _target(table: RouteTable, block: str, instance: str, eni: str) -> tuple[str, int]:
    """What one table says of a prefix, and the exit code of a Finding. Pure.

    The interface of a route that a route server wrote is the one of the peer address. Without its instance in the
    answer, and without `eni` in the settings, it cannot be compared.
    """
    route = table.route(block)
    if route is None:
        return "absent", 1
    if eni or route.instance:
        right = (route.eni == eni if eni else route.instance == instance) and route.state not in DEAD
        return f"{'right' if right else 'other'} -> {route.holder} ({route.state})", int(not right)
    return f"-> {route.holder}: cannot tell which instance that is; write eni", ApiUnknownError.exit
