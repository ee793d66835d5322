"""Fault rules: the first that fits decides; times are counted down, and -1 is for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .request import RefusalError, Request


@dataclass
class Fault:
    """What goes wrong for which calls.

    `code` and `status` answer an error; `after` answers it only when the call was done (its answer is lost on the
    way). `delay` seconds come first; `hang` never answers. `drip` sends one byte each so many seconds. `giant` sends so
    many bytes of XML. `body` replaces the answer. `cut` ends the connection in the middle of the answer.
    """

    action: str = "*"
    match: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    code: str | None = None
    message: str = "injected"
    status: int = 400
    after: bool = False
    delay: float = 0.0
    hang: bool = False
    drip: float = 0.0
    giant: int = 0
    body: str | None = None
    cut: bool = False
    times: int = -1
    #: When a call met it first, on the monotonic clock.
    met: float | None = None

    def fits(self, request: Request) -> bool:
        values = {**request.form, "Id": request.id}
        return (
            self.times != 0
            and self.action in ("*", request.action)
            and self.source in (None, request.source)
            and all(values.get(name) == value for name, value in self.match.items())
        )

    def refusal(self) -> RefusalError:
        assert self.code is not None
        return RefusalError(self.code, self.message, self.status)


def pick(faults: list[Fault], request: Request) -> Fault | None:
    for fault in faults:
        if fault.fits(request):
            fault.times -= fault.times > 0
            fault.met = fault.met or time.monotonic()
            return fault
    return None


def giant(size: int) -> Iterator[bytes]:
    """Well-formed as far as it goes, and it goes on."""
    yield b"<DescribeRouteTablesResponse><routeTableSet>"
    chunk = b"<item><routeTableId>rtb-00000000</routeTableId></item>" * 1000
    for _ in range(size // len(chunk) + 1):
        yield chunk


def as_fault(rule: dict[str, Any]) -> Fault:
    return Fault(**rule)
