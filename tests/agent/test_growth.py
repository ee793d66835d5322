"""The work of a look grows as the number of overlay addresses does, in the uncommon states of a node too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ec2ident_agent import Config, Facts, Node, Overlay, Section
from ec2ident_agent.items import Address, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.kernel.protocol import Decision, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

SECTION = Section("eth0", subnets=("10.0.0.0/24",), routers=("10.0.0.1",), table=100)
#: Twice as many addresses may take this many times the calls: a little more than twice. Squares would take four times.
MOST = 2.2


class Quick(FakeKernel):
    """Walks no rules for a routing decision: what the kernel's own walk costs is another matter."""

    def lookup(self, queries: Sequence[Query]) -> list[Decision]:
        return [Decision("eth0", "10.0.0.1", 100)] * len(queries)


def calls(count: int, state: str, directory: Path) -> int:
    """The function calls of one status with so many overlay addresses that are in place."""
    kernel = Quick("eth0")
    kernel.add(Seen(Address("eth0", "10.0.0.10/24"), 16))
    label = "" if state == "without labels" else "eth0:1"
    overlays = tuple(Overlay(f"10.99.{n >> 8}.{n & 255}/32", "eth0", label) for n in range(count))
    where = {"state_dir": str(directory / f"{count}"), "names_dir": str(directory / "names"), "kernel": kernel}
    Node(Config((SECTION,), overlays), **where).apply()  # type: ignore[arg-type]
    section = SECTION
    if state == "facts unknown":
        section = Section("eth0")
    if state == "link down":
        kernel.link_down("eth0")
    node = Node(Config((section,), overlays), facts=lambda device, _: Facts(device, unknown="asked"), **where)  # type: ignore[arg-type]
    found = 0

    def count_call(_: FrameType, event: str, __: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    node.status()  # Imports and constructors are done from here on.
    sys.setprofile(count_call)
    try:
        report = node.status()
    finally:
        sys.setprofile(None)
    assert count + 1 == len(report.desired)
    assert bool(report.unknown) == (state == "facts unknown")
    assert bool(report.waiting) == (state == "link down")
    return found


@pytest.mark.parametrize("state", ["in order", "without labels", "facts unknown", "link down"])
def test_twice_the_addresses_take_twice_the_calls(state: str, tmp_path: Path) -> None:
    """A node may have 750 overlay addresses, and no label, no answer about its ENI, or no link."""
    assert calls(160, state, tmp_path) <= MOST * calls(80, state, tmp_path)
