"""Changing the kernel: requests on our own socket, many a send, an answer for each.

What encodes them is loaded under the lock, when there is a change to make: of several hooks at once the first then pays
for it, and the others find nothing to do.
"""

from __future__ import annotations

import os

from ec2ident_agent.errors import KernelError

from .dump import ERROR, Channel, failure, links, lookup, observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ec2ident_agent.items import Link, Observed, Step

    from .messages import Encoder
    from .protocol import Decision, Failure, Query

#: Messages in one send: the gain of more is small, and a failure is noticed after at most this many.
BATCH = 64


class NetlinkKernel:
    """The kernel of the network namespace that this thread was in when it first looked."""

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._encoder: Encoder | None = None

    @property
    def channel(self) -> Channel:
        """The netlink socket, opened at first use. Raises UnknownError."""
        if self._channel is None:
            self._channel = Channel()
        return self._channel

    def close(self) -> None:
        """Close the socket, if it was opened."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def observe(self, tables: Collection[int] = ()) -> Observed:
        """All links, rules, addresses, and the routes that matter. Raises UnknownError."""
        return observe(self.channel, tables)

    def observe_links(self) -> tuple[Link, ...]:
        """The links alone: one dump in place of seven. Raises UnknownError."""
        return links(self.channel)

    def lookup(self, queries: Sequence[Query]) -> list[Decision]:
        """The kernel's own routing decision for each packet. Raises UnknownError."""
        return lookup(self.channel, queries)

    def routers(self, device: str, *, seek: bool) -> tuple[str, ...]:
        """The IPv6 routers among a link's neighbours. With `seek`, they are asked for, which takes up to a second.

        Raises UnknownError.
        """
        from . import routers

        link = next((each for each in links(self.channel) if each.name == device), None)
        if link is None:
            return ()
        found = routers.neighbours(self.channel, link.index)
        return found or (routers.seek(self.channel, link.index) if seek and link.up else ())

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        """Attempt every step, in order, and return those that failed. Raises KernelError when the socket fails."""
        from .messages import Encoder, load

        load()
        encoder = self._encoder = self._encoder or Encoder()
        indexes = {link.name: link.index for link in links(self.channel)}
        self.channel.enlarge()
        failures: list[Failure] = []
        for start in range(0, len(steps), BATCH):
            failures += self._batch(steps[start : start + BATCH], indexes, encoder)
        return failures

    def _batch(self, steps: Sequence[Step], indexes: dict[str, int], encoder: Encoder) -> list[Failure]:
        from .protocol import Failure

        asked: dict[int, Step] = {}
        failures: list[Failure] = []
        joined = b""
        for step in steps:
            device = getattr(step.item, "device", None)
            if device is not None and device not in indexes:
                failures.append(Failure(step, 19, f"no such device {device}"))
                continue
            sequence = self.channel.number()
            asked[sequence] = step
            joined += encoder(step, indexes[device] if device else 0, sequence)
        try:
            if joined:
                self.channel.send(joined)
            while asked:
                for kind, flags, sequence, payload in self.channel.messages():
                    if kind == ERROR and sequence in asked:
                        step = asked.pop(sequence)
                        number, text = failure(kind, flags, payload)
                        if number:
                            failures.append(Failure(step, number, text))
        except OSError as failed:
            words = os.strerror(failed.errno) if failed.errno else str(failed)
            raise KernelError(f"netlink: no answer to {next(iter(asked.values()))}: {words}") from failed
        return failures
