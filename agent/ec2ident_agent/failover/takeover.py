"""Move a whole service: its parts in the order that never leaves half of it alone.

All parts look and decide before anything is changed, so a refusal costs nothing. Then:

1. the ENI moves, because everything else may need it, and the agent applies its profile;
2. this node holds the private addresses, and then EC2 assigns them: traffic must not arrive before a node answers;
3. this node holds the overlay addresses, and then the route moves, in all tables at once, or FRR announces them;
4. the Elastic IP moves;
5. the name moves, which takes longest.

If nothing of a part could be moved, the addresses that this run added for it are released again, so that two nodes
never answer for them; those of an earlier run too, if another mover was certainly later everywhere. What cannot be
undone without a second outage (an ENI, some of the tables) stays, and the next run continues from there. The log says
which commands go back instead.
"""

from __future__ import annotations

from ec2ident.program import exit_codes
from ec2ident.value import Value

from .errors import MoveRefusedError, may_be_done
from .parts.address import AddressPart
from .parts.part import Finding, HeldAddress, exit_of, wanted, warnings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ec2ident_agent.errors import AgentError

    from .parts.part import AnyPart, PartSight
    from .session import Session


class Progress(Value):
    """How far one part has come: what was decided, and what was found and done so far."""

    part: AnyPart
    decision: Any
    findings: tuple[Finding, ...] = ()


class Takeover:
    """One service to the instance of a session. The log of the session says what is done."""

    def __init__(self, session: Session, parts: Sequence[AnyPart]) -> None:
        self.session, self.parts = session, parts
        #: Everything that was logged: the name of the part, and its finding.
        self.told: list[tuple[str, Finding]] = []

    def _tell(self, part: str, finding: Finding) -> None:
        self.session.log(str(finding))
        self.told.append((part, finding))

    def decide(self, *, expect: str = "") -> tuple[Progress, ...]:
        """Look, part by part, and decide. Raises what speaks against the move, before anything is changed."""
        found: list[Progress] = []
        seen: list[PartSight] = []
        for part in self.parts:
            sight = part.look(self.session, seen)
            for warning in warnings_of(sight.warnings):
                self._tell(part.name, warning)
            # An ENI can own a route, but it cannot own another ENI.
            owner = "" if part.name == "eni" and expect.startswith("eni-") else expect
            found.append(Progress(part, part.decide(sight, owner)))
            seen.append(sight)
        return tuple(found)

    def plan(self, decided: Sequence[Progress]) -> tuple[str, ...]:
        """Every API call and `ip` command, in order; those that change nothing begin with a #. () without a change."""
        steps = [step for each in decided for step in each.part.plan(each.decision)]
        changes = any(not step.note for step in steps)
        return (*(f"# look: {look}" for look in self.session.looks), *map(str, steps)) if changes else ()

    def run(self, decided: Sequence[Progress]) -> tuple[Finding, ...]:
        """Run the parts in order. Returns all findings; after a part with an error the later parts do not run.

        Raises what ended the move. Unless all is well, the log says which commands go back.
        """
        done: list[Progress] = []
        exit_ = exit_codes.FAILED
        try:
            for each in decided:
                findings: list[Finding] = []
                try:
                    for finding in each.part.run(self.session, each.decision):
                        self._tell(each.part.name, finding)
                        findings.append(finding)
                finally:
                    done.append(Progress(each.part, each.decision, tuple(findings)))
                counted = wanted(findings)
                errors = [finding.error for finding in counted if finding.error]
                if errors and not _moved(findings):
                    done[-2:] = [*self._released(done[-2:], whole=_overtaken(errors))]
                    where = {"route": "moved in no table", "bgp": "not announced"}.get(each.part.name, "not moved")
                    held = any(isinstance(one.part, AddressPart) for one in done[-2:])
                    said = f"{each.part.name}: {where}" + ("; the address is not held here either" if held else "")
                    raise MoveRefusedError(said) from errors[0]
                if errors:
                    results = [finding for finding in counted if finding.value]
                    said = f"{len(errors)} of {len(results)} not moved; run it again to go on"
                    self._tell(each.part.name, Finding(f"{each.part.name}: {said}"))
                # A name that points to half of a service is of no use; the next run changes it.
                if exit_of(counted):
                    break
            found = tuple(finding for each in done for finding in each.findings)
            exit_ = exit_of(wanted(found))
        finally:
            # With exit 1 only a resolver disagrees: it has the old answer in its cache.
            for part, line in self._undo(done) if exit_ > 1 else ():
                self._tell(part, Finding(f"to undo: {line}"))
        return found

    def _released(self, done: Sequence[Progress], *, whole: bool) -> Iterator[Progress]:
        """Release the addresses that this run added, and forget them; with `whole`, those of an earlier run too."""
        for each in done:
            added = [finding.value.address for finding in each.findings if isinstance(finding.value, HeldAddress)]
            if isinstance(each.part, AddressPart):
                for finding in each.part.drop(each.part.addresses if whole else added):
                    self._tell(each.part.name, finding)
            yield Progress(each.part, each.decision, () if added else each.findings)

    @staticmethod
    def _undo(done: Sequence[Progress]) -> list[tuple[str, str]]:
        return [(one.part.name, line) for one in reversed(done) for line in one.part.undo(one.decision, one.findings)]


def _moved(findings: Sequence[Finding]) -> bool:
    """Whether a result is here, or may be: a call without an answer may have been carried out."""
    results = [finding for finding in findings if finding.value]
    return any(
        finding.error is None or may_be_done(finding.error) or getattr(finding.value, "here", False)
        for finding in results
    )


def _overtaken(errors: Sequence[AgentError]) -> bool:
    """Whether another mover certainly has everything. A denied call says nothing of the owner."""
    return all(isinstance(error, MoveRefusedError) for error in errors)
