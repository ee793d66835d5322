"""Requests lost while a service over BGP moves: no cluster engine, two nodes in two zones, the same client.

Where both nodes announce, nothing but the route server's BFD moves the service. Where the holder announces, an engine
or a person does it: the former holder releases, and then the other node takes over.
"""

from __future__ import annotations

import time

from tests.failover.bgp.nodes import DB, WEB, Nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.failover.region.load import Seen

#: Seconds of traffic before, and after the service has moved.
BEFORE, AFTER = 2.0, 2.0
BOTH, HOLDER, PLANNED = "BGP, both announce", "BGP, the holder", "planned move"


def _cut_off(nodes: Nodes) -> None:
    nodes.region.part(nodes.first)


def _move(nodes: Nodes) -> None:
    nodes.tell(nodes.first, "release", "db")
    nodes.tell(nodes.second, "takeover", "db")


#: What happens, and whether the first node has the service afterwards.
FAULTS: dict[str, tuple[Callable[[Nodes], None], bool]] = {
    "power off": (lambda nodes: nodes.region.cut(nodes.first), False),
    "hang": (lambda nodes: nodes.region.hang(nodes.first), False),
    "cut off from the network": (_cut_off, False),
    "partition between the nodes": (lambda nodes: nodes.region.isolate(True), True),
    PLANNED: (_move, False),
}


def run(faults: Sequence[str]) -> Iterator[tuple[str, str, Seen, float]]:
    """Fault, way, what the client saw, and when the fault was (monotonic seconds)."""
    with Nodes() as nodes:
        for fault in faults:
            yield _measure(nodes, fault)


def _measure(nodes: Nodes, fault: str) -> tuple[str, str, Seen, float]:
    nodes.start()
    happen, stays = FAULTS[fault]
    way, address = (HOLDER, DB) if fault == PLANNED else (BOTH, WEB)
    with nodes.load(address) as client:
        time.sleep(BEFORE)
        since = time.monotonic()
        happen(nodes)
        # In a partition between the nodes the endpoints reach both, so that only time would show a move.
        time.sleep(AFTER if stays else 0)
        nodes.wait(nodes.first if stays else nodes.second, address)
        time.sleep(AFTER)
    if fault == "partition between the nodes":
        nodes.region.isolate(False)
    elif fault != PLANNED:
        if nodes.region.powered(nodes.first):
            nodes.region.cut(nodes.first)
        nodes.region.restore(nodes.first)
    return fault, way, client.seen, since
