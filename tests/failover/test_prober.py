"""The prober that watches a cluster sees what it is there to see: two who answer at once, and silence."""

from __future__ import annotations

import time

import pytest

from tests.failover.cluster.prober import Prober
from tests.lab.enclosure import wait_until
from tests.lab.namespace import Namespace, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

OVERLAY = "192.168.10.5"


class Segment:
    """A bridge, and on it node1, which holds the address, and node2, which does not."""

    def __init__(self) -> None:
        self.outside, self.node1, self.node2 = (Namespace(unique(each)) for each in ("outside", "node1", "node2"))

    def __enter__(self) -> Segment:
        Namespace.add_all(self.outside, self.node1, self.node2)
        self.outside.ip("link add br0 type bridge", "link set br0 up")
        for number, node in enumerate((self.node1, self.node2), 1):
            mac = f"06:00:00:00:00:0{number}"
            self.outside.ip(f"link add v{number} type veth peer name eth0 address {mac} netns {node.name}")
            self.outside.ip(f"link set v{number} master br0 up")
            node.ip("link set lo up", "link set eth0 up", f"address add 10.99.0.{number}/24 dev eth0")
        self.take(self.node1)
        return self

    def __exit__(self, *_: object) -> None:
        Namespace.remove_all(self.outside, self.node1, self.node2)

    def take(self, node: Namespace) -> None:
        node.ip(f"address add {OVERLAY}/32 dev eth0")

    def release(self, node: Namespace) -> None:
        node.ip(f"address del {OVERLAY}/32 dev eth0")


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment() as made:
        yield made


@pytest.fixture
def prober(segment: Segment) -> Iterator[Prober]:
    names = {bytes.fromhex(f"06000000000{number}"): f"node{number}" for number in (1, 2)}
    with Prober(segment.outside, "br0", OVERLAY, names) as asking:
        wait_until(lambda: len(asking.answered) > 3, "a node answers", 30)
        yield asking


def test_one_who_answers_is_one(prober: Prober) -> None:
    """A hundred questions later still."""
    wait_until(lambda: len(prober.answered) > 20, "twenty answers", 30)

    assert [] == prober.twice


def test_two_who_answer_are_seen(segment: Segment, prober: Prober) -> None:
    """And named: without this a cluster's test of it could not fail."""
    segment.take(segment.node2)

    wait_until(lambda: bool(prober.twice), "two answer", 30)

    assert {"node1", "node2"} == prober.twice[0][1]


def test_one_after_the_other_is_not_two(segment: Segment, prober: Prober) -> None:
    """A move: a node that released it before the other took it never answers the same question."""
    for leaving, taking in ((segment.node1, segment.node2), (segment.node2, segment.node1)):
        segment.release(leaving)
        segment.take(taking)
        enough = len(prober.answered) + 3
        wait_until(lambda enough=enough: len(prober.answered) > enough, "a node answers", 30)  # type: ignore[misc]

    assert [] == prober.twice


def test_silence_is_measured(segment: Segment, prober: Prober) -> None:
    """From the last answer before it to the first one after."""
    begin = time.monotonic()
    segment.release(segment.node1)
    time.sleep(0.6)
    segment.take(segment.node1)
    enough = len(prober.answered) + 3
    wait_until(lambda: len(prober.answered) > enough, "a node answers", 30)

    assert 0.5 <= prober.silence(begin)
