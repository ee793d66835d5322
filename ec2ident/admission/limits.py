"""How often one source may ask: a token bucket for each, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock


class RateLimit:
    """At most `per_minute` requests a minute from one source, `burst` of them at once. Safe in several threads.

    A source is any text, such as an address; an IPv6 client has a whole /64, so use that. `most_sources` are
    remembered, the longest silent are forgotten first. Several servers count each for itself.
    """

    def __init__(self, per_minute: float = 30, burst: int = 10, most_sources: int = 100_000) -> None:
        if not (per_minute > 0 and burst >= 1 and most_sources >= 1):
            raise ValueError(f"rate limit: {per_minute!r} a minute, burst {burst!r}, {most_sources!r} sources")
        self._per_second, self._burst, self._most = per_minute / 60, float(burst), most_sources
        self._sources: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def allows(self, source: str, now: float) -> bool:
        """May this source ask now? Counts it when it may. `now` is in seconds, on any clock that never goes back."""
        with self._lock:
            left, before = self._sources.pop(source, (self._burst, now))
            left = min(self._burst, left + max(0.0, now - before) * self._per_second)
            allowed = left >= 1
            self._sources[source] = (left - 1 if allowed else left, now)
            if len(self._sources) > self._most:
                self._sources.popitem(last=False)
            return allowed
