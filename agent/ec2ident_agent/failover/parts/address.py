"""The overlay addresses on this node, which the agent adds and removes."""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.errors import AgentError

from .part import Finding, HeldAddress, Planned, Release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ec2ident_agent.failover.agent_bridge import AgentBridge
    from ec2ident_agent.failover.aws.model import NetworkInterface
    from ec2ident_agent.failover.session import Session

    from .part import PartSight


class AddressSight(Value):
    """Nothing: the agent reads the kernel itself, at the moment of each step."""

    interface: NetworkInterface | None = None
    warnings: tuple[str, ...] = ()


class AddressPart(Value):
    """Overlay addresses that this node holds until they are released or it reboots."""

    here: AgentBridge
    addresses: tuple[str, ...]
    device: str = ""
    label: str = ""
    #: Whether they are addresses of the subnet: then the node may have the same ones by DHCP, see `held_of`.
    private: bool = False
    #: Whether a release leaves them here, because every node of the service holds them.
    kept: bool = False

    name = "address"

    def look(self, session: Session, earlier: Sequence[PartSight] = ()) -> AddressSight:
        """See AddressSight."""
        return AddressSight()

    def decide(self, sight: AddressSight, expect: str = "") -> tuple[str, ...]:
        """The addresses to hold: another node that holds one too is the concern of the route."""
        return self.addresses

    def plan(self, decision: tuple[str, ...]) -> tuple[Planned, ...]:
        """The `ip` commands. Raises AgentError."""
        steps = [step for each in decision for step in self.here.plan(each, self.device, self.label)]
        return tuple(Planned(str(step)) for step in steps)

    def run(self, session: Session, decision: tuple[str, ...]) -> Iterator[Finding]:
        """Hold all of them, or none. Yields those that this run added. Raises AgentError."""
        held: list[str] = []
        try:
            for each in decision:
                if self.here.hold(each, self.device, self.label):
                    held.append(each)
        except AgentError:
            yield from self.drop(held)
            raise
        for each in held:
            yield Finding(f"{each}: held here", HeldAddress(each))

    def drop(self, addresses: Sequence[str]) -> Iterator[Finding]:
        """Release addresses that `run` added. Raises AgentError."""
        for each in addresses:
            self.here.release(each)
            yield Finding(f"{each}: released again")

    def undo(self, decision: tuple[str, ...], findings: Sequence[Finding]) -> tuple[str, ...]:
        """The agent's commands that release what was added."""
        added = [each.value.address for each in findings if isinstance(each.value, HeldAddress)]
        return tuple(f"ec2ident-agent overlay del {each}" for each in reversed(added))

    def verify(self, session: Session) -> Iterator[Finding]:
        """What the agent would still have to do. Raises AgentError."""
        for step in self.plan(self.addresses):
            yield Finding(f"missing on this node: {step}", exit=1)

    def release(self, session: Session) -> Iterator[Release]:
        """Remove what was added for them, and then the addresses themselves. Raises AgentError."""
        if self.kept:
            return
        steps = self.here.removal(*self.addresses, private=self.private)

        def removed() -> Iterator[Finding]:
            self.here.let_go(*self.addresses, wait=session.deadline.left / 4, private=self.private)
            for each in self.addresses:
                yield Finding(f"{each}: released", HeldAddress(each))

        if steps:
            yield Release(tuple(map(str, steps)), removed)
