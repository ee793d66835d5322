"""What the engine asks of a kernel: look, and do. The real one, the one in memory, and a test's wrapper all fit."""

from __future__ import annotations

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from ec2ident_agent.items import Observed, Step

    class Kernel(Protocol):
        """The node as the engine sees it."""

        def observe(self) -> Observed:
            """All links, rules, addresses, and the routes that matter. Raises UnknownError, never guesses."""

        def do(self, steps: Sequence[Step]) -> list[Failure]:
            """Attempt every step in order and return those that failed, in order."""

        def close(self) -> None:
            """Let go of what was opened. Twice is fine."""


#: The answers to a removal that mean: it is gone already. ENOENT a rule, ESRCH a route, ENODEV a device,
#: EADDRNOTAVAIL an address.
GONE = (2, 3, 19, 99)


class Failure(Value):
    """A step that the kernel refused: its error number and its own words."""

    step: Step
    errno: int
    text: str

    @property
    def gone(self) -> bool:
        return self.step.verb == "del" and self.errno in GONE

    def __str__(self) -> str:
        hint = " (needs root, or CAP_NET_ADMIN)" if self.errno == 1 else ""
        return f"{self.step}: {self.text}{hint}"
