"""Time that a test moves."""

from __future__ import annotations


class Clock:
    """Seconds since the epoch, which stand still until a test moves them."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
