"""The table local is asked after the interface's rules: the node would not answer at its own addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident_agent import Node, interface
from ec2ident_agent.config import parse
from ec2ident_agent.errors import RefusedError
from ec2ident_agent.items import OURS, Address, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.state.owned import overlay

ETH1 = '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n'
OVERLAY = '[[overlay]]\naddress = "192.168.10.10"\ndevice = "eth1"\n'
MINE = Seen(Rule("10.0.1.0/24", 100, 100), OURS)


def node_of(directory: Path, kernel: FakeKernel, text: str = ETH1) -> Node:
    config = parse("agent.toml", text.encode())
    return Node(config, state_dir=str(directory / "s"), names_dir=str(directory / "n"), kernel=kernel)


def kernel_without_local() -> FakeKernel:
    """A kernel of which the rules for the table local were deleted, as before they are added at another priority."""
    kernel = FakeKernel("eth0", "eth1")
    kernel.seen = [each for each in kernel.seen if not (isinstance(each.item, Rule) and each.item.table == 255)]
    kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 2))
    return kernel


def local(priority: int, *extra: str) -> Seen:
    return Seen(Rule("", 255, priority), 2, extra)


@pytest.mark.parametrize(
    ("rules", "text", "refused"),
    [
        ([local(0)], ETH1, False),
        ([local(20)], ETH1, False),
        ([local(200)], ETH1, True),
        ([local(200)], ETH1 + "priority = 202\n", False),
        ([local(0), local(200)], ETH1, False),
        ([local(100)], ETH1, False),
        ([MINE, local(100)], ETH1, True),
        ([local(100), MINE], ETH1, False),
        ([local(200, "inet6")], ETH1, False),
        ([], ETH1, False),
        ([Seen(Rule("", 255, 200), 2, ("tos 16",))], ETH1, False),
    ],
    ids=[
        "as-the-kernel-makes-it", "amazon-vpc-cni", "late", "configured", "two", "cilium-was-first",
        "cilium-came-later", "cilium-was-first-and-there", "the-other-family", "none", "for-some-packets",
    ],
)  # fmt: skip
def test_rules_before_the_table_local_are_refused(tmp_path: Path, rules: list[Seen], text: str, refused: bool) -> None:
    """canonical/k8s-snap#903: Cilium moves the rule for the table local to 100, the published recipe's priority;
    amazon-vpc-cni moves it to 20. A neighbour's packet, and even the router's ARP, is sent back then and not taken.

    Of equal priorities the kernel evaluates first what was added first.
    """
    kernel = kernel_without_local()
    for each in rules:
        kernel.add(each)

    report = node_of(tmp_path, kernel, text).apply()

    assert [interface("eth1")] * refused == [each.owner for each in report.refusals]
    if refused:
        advice = f"write priority = {rules[-1].item.priority + 2} or more"  # type: ignore[union-attr]
        assert f"{advice} in [interface.eth1]" in report.refusals[0].why
    mine = [seen for seen in kernel.seen if seen.protocol == OURS]
    assert bool(mine) == (not refused or MINE in rules)


def test_what_is_there_stays_and_commands_are_refused_too(tmp_path: Path) -> None:
    """The rule moves while the agent's rules are there: each owner is named, and nothing is removed."""
    kernel = kernel_without_local()
    node = node_of(tmp_path, kernel, ETH1 + OVERLAY)
    node.apply()
    kernel.add(local(100))
    before = list(kernel.seen)

    report = node.apply()

    assert [interface("eth1"), overlay("192.168.10.10/32")] == [each.owner for each in report.refusals]
    assert "in its interface's section" in report.refusals[1].why
    assert not node.status().in_order
    with pytest.raises(RefusedError, match="come before the table local"):
        node.hold_overlay("192.168.10.10")
    with pytest.raises(RefusedError, match="come before the table local"):
        node.hold(parse("agent.toml", ETH1.encode()))
    assert before == kernel.seen
