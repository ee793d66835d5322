"""An ENI without a section: its address gives no answer, and `doctor` says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ec2ident_agent import Node
from ec2ident_agent.cli import examine
from ec2ident_agent.config import parse
from ec2ident_agent.doctor.diagnosis import faults
from ec2ident_agent.install.rootfs import RootFs
from ec2ident_agent.items import Address, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel

ETH1 = '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\n'


@pytest.mark.parametrize(
    ("text", "rule", "named"),
    [
        (ETH1, None, ["eth2"]),
        ("", None, ["eth1", "eth2"]),
        (ETH1 + ETH1.replace("eth1", "eth2").replace("10.0.1.0", "10.0.2.0").replace("100", "200"), None, []),
        (ETH1, Seen(Rule("10.0.2.10/32", 10002, 10002), 3), []),
    ],
    ids=["one-of-two", "nothing-configured", "both-configured", "served-by-another-program"],
)
def test_an_interface_that_nothing_serves_is_named(
    tmp_path: Path, text: str, rule: Seen | None, named: list[str]
) -> None:
    """eth0 is the first interface, by the metric of its default route in main; a bridge has none."""
    kernel = FakeKernel("eth0", "eth1", "eth2", "br0")
    for number in range(3):
        kernel.add(Seen(Address(f"eth{number}", f"10.0.{number}.10/24"), 16))
        kernel.add(Seen(Route("0.0.0.0/0", f"eth{number}", 254, f"10.0.{number}.1", 100 * number), 16))
    kernel.add(Seen(Address("br0", "172.17.0.1/16"), 2))
    if rule:
        kernel.add(rule)
    config = parse("agent.toml", text.encode())
    node = Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)
    node.apply()

    found = [each.do for each in faults(examine(node, RootFs(str(tmp_path)))) if "nothing leads" in each.what]

    assert [f"write [interface.{name}]" for name in named] == found
