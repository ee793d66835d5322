"""Eventual consistency: a read shows the state of a moment of the last seconds, and the next read an earlier one.

Writes, their refusals and dry runs are decided by the present state, as by the real service.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

#: The reads that may be old: routes, interfaces, attachments, Elastic IPs, records. The status of a change is not.
READS = (
    "DescribeRouteTables",
    "DescribeNetworkInterfaces",
    "DescribeInstances",
    "DescribeAddresses",
    "ListResourceRecordSets",
)

#: The access key of a test that reads what is so now.
WITNESS = "T"

#: The attributes of an interface that a move changes.
INTERFACE = ("instance", "device_index", "attachment_id", "source_dest_check", "fake_phase", "fake_due")

#: Its lists, which are changed in place.
LISTS = ("private_ip_addresses", "ipv6_addresses", "fake_prefixes")

#: The attributes of an Elastic IP.
ELASTIC = ("instance", "eni", "association_id", "fake_private")

#: An object, its attribute, and the value.
Moment = list[tuple[Any, str, Any]]


def moment(backend: Any, zones: dict[str, Any]) -> Moment:
    """The state that a move changes, in copies."""
    found: Moment = [(backend, "enis", dict(backend.enis))]
    for table in backend.route_tables.values():
        name = "_routes" if hasattr(table, "_routes") else "routes"
        rows = getattr(table, name)
        found.append((table, name, {key: copy.copy(row) for key, row in rows.items()}))
    for eni in backend.enis.values():
        found += [(eni, name, getattr(eni, name)) for name in INTERFACE if hasattr(eni, name)]
        found += [(eni, name, list(getattr(eni, name))) for name in LISTS if hasattr(eni, name)]
    found += [(eip, name, getattr(eip, name)) for eip in backend.addresses for name in ELASTIC if hasattr(eip, name)]
    for reservation in backend.reservations.values():
        found += [(each, "nics", dict(each.nics)) for each in reservation.instances]
    found += [(zone, "rrsets", [copy.copy(record) for record in zone.rrsets]) for zone in zones.values()]
    return found


class Past:
    """The moments of the last `seconds`."""

    def __init__(self, seconds: float = 0.0, *, oldest: bool = False, seed: int = 0) -> None:
        self.seconds, self.oldest = seconds, oldest
        self.random = random.Random(seed)
        self.moments: list[tuple[float, Moment]] = []

    def remember(self, now: Moment) -> None:
        """This is the state from now on. One moment older than the window is kept: it lasted into it."""
        began = time.monotonic() - self.seconds
        self.moments.append((time.monotonic(), now))
        while len(self.moments) > 1 and self.moments[1][0] <= began:
            del self.moments[0]

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Put a moment of the past in the place of the present."""
        age = self.seconds * (1.0 if self.oldest else self.random.random())
        at = time.monotonic() - age
        then = [found for when, found in self.moments if when <= at][-1:] or [self.moments[0][1]]
        now = [(thing, name, getattr(thing, name)) for thing, name, _ in then[0] if hasattr(thing, name)]
        try:
            _put(then[0])
            yield
        finally:
            _put(now)


def _put(values: Iterable[tuple[Any, str, Any]]) -> None:
    for thing, name, value in values:
        setattr(thing, name, value)
