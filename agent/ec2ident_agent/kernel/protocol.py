"""What the agent asks of a kernel: look, and change. The real one, the one in memory and a test's wrapper fit."""

from __future__ import annotations

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from ec2ident_agent.items import Link, Observed, Step

    class Kernel(Protocol):
        """The kernel of one network namespace."""

        def observe(self) -> Observed:
            """All links, rules, addresses, and the routes that matter. Raises UnknownError, never guesses."""

        def observe_links(self) -> tuple[Link, ...]:
            """The links alone. Raises UnknownError."""

        def do(self, steps: Sequence[Step]) -> list[Failure]:
            """Attempt every step in order and return those that failed, in order. Raises KernelError when the kernel
            does not answer: then it is unknown which steps took effect.
            """

        def close(self) -> None:
            """Close what was opened; may be called twice."""


#: Error numbers by which the kernel answers that an object to be removed does not exist: ENOENT for a rule, ESRCH for a
#: route, ENODEV for a device, EADDRNOTAVAIL for an address.
GONE = (2, 3, 19, 99)


class Failure(Value):
    """A step that the kernel refused: its error number and its own words."""

    step: Step
    errno: int
    text: str

    @property
    def gone(self) -> bool:
        """True if a removal failed because the object is gone already."""
        return self.step.verb == "del" and self.errno in GONE

    def __str__(self) -> str:
        hint = " (needs root, or CAP_NET_ADMIN)" if self.errno == 1 else ""
        return f"{self.step}: {self.text}{hint}"
