"""Nodes in trouble, as docs/agent.md and docs/doctor.md show them: what the commands say there comes out here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ec2ident_agent import cli, options
from ec2ident_agent.errors import AgentError
from ec2ident_agent.profile import Facts

from .conftest import Agent, ip, plug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Observed

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "agent.md").read_text(encoding="utf-8").partition("## A node in trouble\n")[2].partition("\n### ")[0]
#: Verb -> what the page shows of it.
SHOWN = dict(re.findall(r"^\$ ec2ident-agent (\w+); echo \$\?\n(.*?)(?=^\$|^```)", PAGE, re.MULTILINE | re.DOTALL))

#: The page's own.
CONFIGURATION = """\
[interface.eth1]
subnet     = "10.0.1.0/24"
table      = 100
table_name = "MYHA"

[interface.eth2]
subnet = "10.0.2.0/24"
table  = 102

[interface.eth3]
subnet = "10.0.3.0/24"
table  = 103

[interface.eth4]

[interface.eth5]

[[overlay]]
address = "192.168.10.10"
device  = "eth0"
"""

#: The files of a node with systemd-networkd.
NETWORKD = {
    "etc/systemd/network/50-eth.network": "[Match]\nName=eth1\n[Network]\nDHCP=yes\n",
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "",
    "etc/systemd/system/multi-user.target.wants/ec2ident-agent-watch.service": "",
}


def fill(root: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")


class Trouble:
    """The node, and its metadata service, which is silent."""

    def __init__(self, agent: Agent, root: Path) -> None:
        self.agent, self.root = agent, root
        fill(root, NETWORKD)
        for number in (2, 3, 4):
            plug(f"eth{number}", number)
        agent.write(CONFIGURATION)
        assert 3 == self("apply")
        ip("route flush table 100")
        ip("rule del from 10.0.2.0/24")
        ip("route flush table 102")
        ip("route add blackhole default table 102")
        ip("link set eth3 down")

    def facts(self, device: str, _: Observed) -> Facts:
        return Facts(device, unknown="metadata service: no answer within 2 s")

    def __call__(self, *words: str) -> int:
        agent = self.agent
        agent._capsys.readouterr()
        where = ("--root", str(self.root)) if words[0] == "doctor" else ()
        try:
            code = cli.Command(options.parse_command_line(agent.argv(*words, *where)), self.facts).run()
        except AgentError as wrong:
            code = wrong.exit
        agent.out, agent.err = agent._capsys.readouterr()
        return code


@pytest.fixture
def trouble(agent: Agent, tmp_path: Path) -> Trouble:
    return Trouble(agent, tmp_path / "root")


@pytest.mark.parametrize("verb", ["status", "plan", "apply", "doctor"])
def test_the_page_shows_what_comes_out(trouble: Trouble, verb: str) -> None:
    """The result, what is said about it, and the exit code."""
    code = trouble(verb)

    assert SHOWN[verb] == f"{trouble.agent.out}{trouble.agent.err}{code}\n"


def test_scripts_are_told_the_same(trouble: Trouble) -> None:
    """Every row of the table, the steps of the plan, and in words who is refused and what is unknown."""
    trouble("status")
    rows = [line.split(None, 1) for line in trouble.agent.out.splitlines()[:-1]]
    trouble("plan")
    plan = trouble.agent.out.splitlines()

    assert 3 == trouble("status", "--json")
    told = json.loads(trouble.agent.out)
    assert [row[0] for row in rows] == [item["state"] for item in told["items"]]
    assert (False, plan) == (told["in_order"], told["steps"])
    assert ["eth2", "eth4"] == [line.split(":")[0] for line in (*told["refused"], *told["unknown"])]


def test_when_each_trouble_is_over_all_is_in_order(trouble: Trouble) -> None:
    """The foreign route goes, the link comes up, the administrator names the table and removes what is not there."""
    ip("route del blackhole default table 102")
    ip("link set eth3 up")
    configuration = CONFIGURATION.replace("[interface.eth5]\n", "")
    trouble.agent.write(configuration.replace("[interface.eth4]", "[interface.eth4]\ntable = 104"))

    assert (0, 0) == (trouble("apply"), trouble("status"))
    assert "in order" == trouble.agent.out.splitlines()[-1]


def test_the_doctors_page_shows_what_comes_out(agent: Agent, tmp_path: Path) -> None:
    """Another node, with a file for each link, after the table of the published recipe was flushed."""
    root, where = tmp_path / "root", ("--root", str(tmp_path / "root"))
    fill(root, {path: content for path, content in NETWORKD.items() if "/system/" in path})
    for device in ("eth0", "eth1"):
        text = f"[Match]\nName={device}\n[Network]\nDHCP=yes\n"
        fill(root, {f"etc/systemd/network/50-{device}.network": text})
    agent("apply")
    ip("route flush table 100")

    page = (DOCS / "doctor.md").read_text(encoding="utf-8").partition("## What it looks like\n")[2]
    shown = re.findall(r"^\$ ec2ident-agent (.*?)\n(.*?)(?=^\$|^```)", page, re.MULTILINE | re.DOTALL)

    assert 4 == len(shown)
    for words, text in shown:
        agent(*words.split(), *(where if words.startswith("doctor") else ()))
        assert text == agent.out + agent.err
