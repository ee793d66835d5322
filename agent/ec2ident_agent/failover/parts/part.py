"""The shape of every part of a service: look, decide, plan, run, undo, verify, release.

A part is one thing that moves: an ENI, an overlay address on this node, a route, a Route 53 name. `takeover` runs the
parts of a service in order, a verb such as `route ensure` runs one part, and a deep monitor verifies parts.

    sight = part.look(session, earlier)     asks AWS, changes nothing
    decision = part.decide(sight, expect)   pure; raises what speaks against the move
    part.plan(decision)                     the steps that `run` will do; changes nothing
    part.run(session, decision)             does them, and yields a Finding after each
    part.undo(decision, findings)           pure; the commands that take back what the findings say was done
    part.verify(session)                    looks, and yields what is as it should be and what is not
    part.release(session)                   yields the steps that let the part go, for the caller to print or do
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws.forms import NO_OWNER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, Protocol, TypeVar

    from ec2ident_agent.errors import AgentError
    from ec2ident_agent.failover.aws.model import NetworkInterface
    from ec2ident_agent.failover.session import Session

    S = TypeVar("S", bound="PartSight")
    D = TypeVar("D")

    class Owned(Protocol):
        """What an ENI has, such as a route."""

        @property
        def eni(self) -> str:
            """The ENI."""

        @property
        def instance(self) -> str:
            """The instance that the ENI is attached to, "" if none or unknown."""

    class PartSight(Protocol):
        """What a look showed. Each part has its own values besides these."""

        @property
        def interface(self) -> NetworkInterface | None:
            """The ENI that carries the service's traffic, for the parts that follow; None if unknown."""

        @property
        def warnings(self) -> tuple[str, ...]:
            """What does not prevent the move, but will not work."""

    class Part(Protocol[S, D]):
        """One thing that moves. Instances are values: they hold settings, not the state of a move."""

        @property
        def name(self) -> str:
            """What a message calls it: eni, address, route, dns."""

        def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> S:
            """Read the state; `earlier` is what the parts before this one saw. Raises FailoverError."""

        def decide(self, sight: S, expect: str = "") -> D:
            """Decide what to do. With `expect`, take only from that owner. Raises MoveRefusedError or UsageError."""

        def plan(self, decision: D) -> tuple[Planned, ...]:
            """The steps of `run` in order, with those that only ask or wait. Raises UsageError for wrong settings."""

        def run(self, session: Session, decision: D) -> Iterator[Finding]:
            """Do it; after an error, the findings so far say what was done."""

        def undo(self, decision: D, findings: Sequence[Finding]) -> tuple[str, ...]:
            """The commands that take back what was done, the last step first."""

        def verify(self, session: Session) -> Iterator[Finding]:
            """Compare the state with the settings; a Finding with exit 1 is otherwise than wanted."""

        def release(self, session: Session) -> Iterator[Release]:
            """The steps that let it go. Those that change this node come first, and need no API."""

    AnyPart = Part[Any, Any]


class Planned(Value):
    """A step of a plan: the command as a person would type it. A `note` marks a step that changes nothing."""

    command: str
    note: str = ""

    def __str__(self) -> str:
        return f"# {self.note} {self.command}" if self.note else self.command


class Finding(Value):
    """One thing that a part found, did, or could not do."""

    #: The line for the log.
    text: str
    #: The result for stdout and --json, if this is one.
    value: Value | None = None
    #: 0 done or in order, 1 otherwise than wanted, else the exit code of the error.
    exit: int = 0
    error: AgentError | None = None
    #: Whether the move goes on without this, because no repetition helps: the settings name what cannot be used.
    skipped: bool = False
    #: Whether this does not prevent the move, but will not work.
    warning: bool = False

    def __str__(self) -> str:
        return f"warning: {self.text}" if self.warning else self.text


class Release(Value):
    """A step that lets a part go: the commands as a person would type them, and a function that does the same."""

    commands: tuple[str, ...]
    #: Yields a Finding for each thing done; raises AgentError.
    do: Callable[[], Iterator[Finding]]


class HeldAddress(Value):
    """An overlay address that was added to this node."""

    address: str


def warnings_of(warnings: Iterable[str]) -> Iterator[Finding]:
    """A Finding for each warning of a look."""
    for warning in warnings:
        yield Finding(warning, warning=True)


def is_owned(holder: Owned, owner: str) -> bool:
    """Whether this owner has it: an instance or an ENI, as in `--expect`. What has a holder is not NO_OWNER's."""
    return owner != NO_OWNER and owner in (holder.eni, holder.instance)


def exit_of(findings: Sequence[Finding]) -> int:
    """The exit code of a verb that ended with these findings."""
    return max((finding.exit for finding in findings), default=0)


def wanted(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that decide whether the move succeeded: all but the skipped ones."""
    return [finding for finding in findings if not finding.skipped]


def failures(findings: Sequence[Finding]) -> tuple[AgentError, ...]:
    """The errors of the findings."""
    return tuple(finding.error for finding in findings if finding.error)
