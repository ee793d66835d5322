"""The child that asks the metadata service for the watch: when it is started, and that the loop never waits for it."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ec2ident_agent.fact_cache import update_cache
from ec2ident_agent.facts import FRESH, ITEMS, FactsAnswer
from ec2ident_agent.items import Observed
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.watch.fact_refresher import LATER, SOON, FactRefresher
from tests.agent import ordinary_user

# The children here do nothing that another thread of the test runner could hold a lock for.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PATIENCE = 30.0
SAID = {
    "device-number": ("1",),
    "network-card": (),
    "subnet-ipv4-cidr-block": ("10.0.1.0/24",),
    "local-ipv4s": ("10.0.1.10/32",),
    "vpc-ipv4-cidr-blocks": ("10.0.0.0/16",),
}
WHOLE = FactsAnswer(tuple((name, SAID.get(name, ())) for name in ITEMS), at=1, listed=True)


class Node:
    """Two interfaces, what the service said of them, and a child that writes down for which it was started."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.now = directory, 100.0
        self.kernel = FakeKernel("eth0", "eth1")
        self.refresher = FactRefresher(str(directory), self.ask, lambda: self.now)
        self.slow = False

    def ask(self, devices: tuple[str, ...]) -> None:
        (self.directory / "asked").write_text(" ".join(devices))
        if self.slow:
            time.sleep(PATIENCE)

    def asked(self) -> str:
        """For which a child was started, once it has written that down."""
        path, end = self.directory / "asked", time.monotonic() + PATIENCE
        while not (path.exists() and path.read_text()):
            assert time.monotonic() < end
            time.sleep(0.01)
        text = path.read_text()
        path.unlink()
        return text

    def said(self, **answers: FactsAnswer) -> None:
        keys = {link.name: (link.mac, link.index) for link in self.kernel.links}
        for name, answer in answers.items():
            update_cache(str(self.directory / "facts"), keys[name], answer, list(keys.values()))

    def observed(self) -> Observed:
        return self.kernel.observe()

    def ended(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.refresher.reap():
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.refresher.close()


def test_no_request_is_sent_for_what_is_not_needed(node: Node) -> None:
    """A configuration that says everything itself never costs a request."""
    node.refresher.work()

    assert (0, float("inf")) == (node.refresher.child, node.refresher.next())
    assert not node.refresher.reap()


def test_what_was_said_last_is_told_and_what_is_missing_is_asked_for(node: Node) -> None:
    """At once, and the answer comes with the next look after the child has ended."""
    assert node.refresher("eth1", node.observed()).unknown
    node.refresher.work()
    assert "eth1" == node.asked()
    node.ended()
    node.said(eth1=WHOLE)

    facts = node.refresher("eth1", node.observed())

    assert (("10.0.1.0/24",), 23601, "") == (facts.subnets, facts.table, facts.unknown)
    assert node.now + 2 * SOON == node.refresher.next()


def pauses(node: Node, count: int) -> list[float]:
    """From the end of each of so many children to the next."""
    found = []
    for _ in range(count):
        node.refresher("eth1", node.observed())
        node.now = max(node.now, node.refresher.next())
        node.refresher.work()
        child = node.refresher.child
        node.refresher("eth1", node.observed())
        node.refresher.work()
        assert child == node.refresher.child
        node.asked()
        node.ended()
        node.refresher("eth1", node.observed())
        found.append(node.refresher.next() - node.now)
    return found


def test_what_is_known_is_asked_again_more_and_more_rarely(node: Node) -> None:
    """IPv6 is known later than IPv4, and until then it looks as if there were none; another attach begins anew."""
    node.said(eth1=WHOLE)
    assert [2 * SOON, 4 * SOON, 8 * SOON, 16 * SOON, 32 * SOON, FRESH, FRESH] == pauses(node, 7)

    node.kernel.unplug("eth1")
    node.kernel.plug("eth1")
    node.said(eth1=WHOLE)
    assert [2 * SOON, 4 * SOON] == pauses(node, 2)


def test_one_child_at_a_time_and_later_and_later_while_something_is_missing(node: Node) -> None:
    """A node that is not on EC2, or has its metadata service switched off."""
    assert [2 * SOON, 4 * SOON, 8 * SOON, 16 * SOON, LATER, LATER, LATER] == pauses(node, 7)


def test_another_interface_does_not_wait_for_the_one_that_is_waited_for(node: Node) -> None:
    """A child may wait for half a minute: it is ended, and the next one asks for both."""
    node.slow = True
    node.refresher("eth0", node.observed())
    node.refresher.work()
    assert "eth0" == node.asked()
    first = node.refresher.child

    node.refresher("eth0", node.observed())
    node.refresher("eth1", node.observed())
    node.refresher.work()

    assert "eth0 eth1" == node.asked()
    assert first != node.refresher.child
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_an_interface_that_comes_back_is_a_new_one(node: Node) -> None:
    """Another attach, another index: what was said of the device before is not about it."""
    node.said(eth1=WHOLE)
    assert not node.refresher("eth1", node.observed()).unknown
    node.kernel.unplug("eth1")
    assert node.refresher("eth1", node.observed()).table is None
    node.kernel.plug("eth1")

    assert node.refresher("eth1", node.observed()).unknown
    assert node.refresher.next() < node.now


def test_a_child_holds_nothing_of_the_watch(node: Node) -> None:
    """When the watch dies while a child waits, its lock is free for the next one; and signals mean what they mean."""
    node.slow = True
    with (node.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node.refresher("eth1", node.observed())
        node.refresher.work()
        node.asked()
    with (node.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    os.kill(node.refresher.child, signal.SIGTERM)
    assert signal.SIGTERM == os.waitpid(node.refresher.child, 0)[1]
    node.refresher.child = 0


@pytest.mark.root
def test_without_room_for_a_child_it_is_tried_again_later(node: Node) -> None:
    """A machine that is out of processes needs its routes all the same."""
    node.refresher("eth1", node.observed())

    def tried() -> int:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        node.refresher.work()
        later = node.refresher.next() - node.now
        return 0 if (node.refresher.child, later) == (0, 2 * SOON) else 1

    assert 0 == ordinary_user.exit_code(tried)
