"""What the agent asks of a kernel: look, and change. The real one, the one in memory and a test's wrapper fit."""

from __future__ import annotations

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Protocol

    from ec2ident_agent.items import Link, Observed, Step

    class Kernel(Protocol):
        """The kernel of one network namespace."""

        def observe(self, tables: Collection[int] = ()) -> Observed:
            """All links, rules, addresses, and the routes that matter. Raises UnknownError, never guesses.

            `tables` are those in which a route could be owned or in the way; `Observed.tables` says which were read.
            """

        def observe_links(self) -> tuple[Link, ...]:
            """The links alone. Raises UnknownError."""

        def lookup(self, queries: Sequence[Query]) -> list[Decision]:
            """The kernel's own routing decision for each packet; nothing is sent. Raises UnknownError."""

        def routers(self, device: str, *, seek: bool) -> tuple[str, ...]:
            """The IPv6 routers on a link by its neighbours; with `seek`, after asking for them. Raises UnknownError."""

        def do(self, steps: Sequence[Step]) -> list[Failure]:
            """Attempt every step in order and return those that failed, in order. Raises KernelError when the kernel
            does not answer: then it is unknown which steps took effect.
            """

        def close(self) -> None:
            """Close what was opened; may be called twice."""


class Query(Value):
    """A packet that this node might send. `tos` is the whole byte; a port of 0 means none."""

    source: str
    destination: str
    mark: int = 0
    user: int = 0
    protocol: int = 6
    source_port: int = 0
    destination_port: int = 0
    tos: int = 0

    def __str__(self) -> str:
        usual = Query(self.source, self.destination)
        names = ("mark", "user", "protocol", "source_port", "destination_port", "tos")
        more = [f"{name.replace('_', ' ')} {getattr(self, name)}" for name in names]
        more = [text for name, text in zip(names, more) if getattr(self, name) != getattr(usual, name)]
        return " ".join((self.source, "to", self.destination, *more))


class Decision(Value):
    """Where a packet would go: the device, the router (empty for none) and the table that says so.

    Without a device it would be dropped, with this error number.
    """

    device: str = ""
    gateway: str = ""
    table: int = 0
    errno: int = 0

    def __str__(self) -> str:
        if self.device:
            return f"by {self.device}" + (f" via {self.gateway}" if self.gateway else "")
        return {101: "unreachable", 113: "unreachable", 13: "prohibited", 22: "black hole"}.get(
            self.errno, f"error {self.errno}"
        )


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
