"""docs/trouble.md, the agent's symptoms: the commands there print what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.symptoms import shown

from .conftest import Agent, ip
from .test_trouble import NETWORKD, fill

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

#: eth1 alone, as in the published recipe.
ETH1 = """\
[interface.eth1]
subnet = "10.0.1.0/24"
table = 100
table_name = "MYHA"
"""


class Reader:
    """A reader of the page who types what it shows, in order; `root` are the files of the node."""

    def __init__(self, agent: Agent, symptom: str, root: Path) -> None:
        self.agent, self.root = agent, root
        root.mkdir(exist_ok=True)
        self.left = shown(symptom)

    def types(self, words: str) -> None:
        command, text = self.left.pop(0)
        assert f"ec2ident-agent {words}" == command
        self.agent(*words.split(), *(("--root", str(self.root)) if words == "doctor" else ()))
        assert text == self.agent.out + self.agent.err


def test_no_answer_from_eth1(agent: Agent, tmp_path: Path) -> None:
    """The interface has no section; then another program's rule comes before the agent's."""
    agent.write('[[overlay]]\naddress = "192.168.10.10/32"\ndevice = "eth0"\n')
    agent("apply")
    ip("route add default via 10.0.1.1 dev eth1 metric 200")
    reader = Reader(agent, "No answer from eth1", tmp_path / "root")
    reader.types("status")
    ip("route del default via 10.0.1.1 dev eth1 metric 200")
    agent.write(ETH1)
    agent("apply")
    ip("rule add from 10.0.1.10 table main priority 50")
    reader.types("status")
    reader.types("doctor")

    assert [] == reader.left


def test_my_rule_vanished(agent: Agent, tmp_path: Path) -> None:
    """systemd-networkd has deleted the rule, and the page's drop-in prevents it."""
    fill(tmp_path / "root", NETWORKD)
    agent.write(ETH1)
    agent("apply")
    ip("rule del priority 100")
    reader = Reader(agent, "My rule vanished", tmp_path / "root")
    reader.types("status")
    reader.types("doctor")
    reader.types("apply")

    assert [] == reader.left


def test_drift_after_every_lease(agent: Agent, tmp_path: Path) -> None:
    """dhclient flushes the label eth0:0 when its lease changes; another label is the remedy."""
    fill(tmp_path / "root", {"proc/9/comm": "dhclient\n"})
    overlay = '[[overlay]]\naddress = "192.168.10.10/32"\ndevice = "eth0"\nlabel = "eth0:0"\n'
    agent.write(overlay)
    agent("apply")
    ip("address del 192.168.10.10/32 dev eth0")
    reader = Reader(agent, "Drift after every lease", tmp_path / "root")
    reader.types("status")
    reader.types("doctor")
    agent.write(overlay.replace("eth0:0", "eth0:1"))
    reader.types("apply")
    reader.types("doctor")

    assert [] == reader.left
