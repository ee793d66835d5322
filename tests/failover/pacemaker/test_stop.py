"""A stop in a bad hour: it fences the node if it fails, so what hangs or is very long must not hold it up."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ec2ident
import ec2ident_agent
from ec2ident_agent.failover.pacemaker import agent as ocf
from ec2ident_agent.failover.pacemaker.request import read
from ec2ident_agent.items import Address, Link
from ec2ident_agent.kernel import dump as rtnl
from tests.lab.namespace import Namespace, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESSES = ("192.168.10.5", "192.168.10.6", "fd00:10::5")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(Path(each.__path__[0]).parent) for each in (ec2ident, ec2ident_agent)),
}


@pytest.fixture
def node() -> Iterator[Namespace]:
    made = Namespace(unique("node"))
    Namespace.add_all(made)
    try:
        made.ip("link add eth0 type veth peer name far", "link set far up", "link set eth0 up")
        yield made
    finally:
        Namespace.remove_all(made)


class Agent:
    """ec2ident-agent and the engine's agent, with their run state in a directory of the test's."""

    def __init__(self, node: Namespace, state: Path) -> None:
        self.node, self.state = node, state
        self.config = state.parent / "agent.toml"
        self.config.touch(0o600)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        files = ("--state-dir", str(self.state), "--config", str(self.config))
        return self._python("-m", "ec2ident_agent", *words, *files)

    def act(self, action: str) -> subprocess.CompletedProcess[str]:
        given = {"address": ",".join(ADDRESSES), "state_dir": str(self.state), "CRM_meta_timeout": "20000"}
        values = {f"OCF_RESKEY_{name}": value for name, value in given.items()}
        return self._python("-m", "ec2ident_agent.failover.pacemaker.agent", "overlay", action, **values)

    def held(self) -> list[str]:
        shown = self.node.read("ip", "-o", "address", "show")
        return [each for each in ADDRESSES if f" {each}/" in shown]

    def _python(self, *words: str, **values: str) -> subprocess.CompletedProcess[str]:
        return self.node.run(sys.executable, *words, env={**ENVIRONMENT, **values})


@pytest.mark.root
def test_who_hangs_with_the_lock_does_not_keep_the_address(node: Namespace, tmp_path: Path) -> None:
    """Nor do the addresses come back when it releases the lock at last: they are no longer desired."""
    agent = Agent(node, tmp_path / "state")
    for each in ADDRESSES:
        done = agent.run("overlay", "add", each, "--device", "eth0")
        assert 0 == done.returncode, done.stderr
    before = list(ADDRESSES)
    assert before == agent.held()

    with (tmp_path / "state/lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = agent.act("stop")
        assert (ocf.SUCCESS, []) == (done.returncode, agent.held()), done.stderr
    assert ocf.NOT_RUNNING == agent.act("monitor").returncode
    assert 0 == agent.run("apply").returncode
    assert [] == agent.held()


@pytest.mark.parametrize(
    ("held", "down", "answer", "reason"),
    [
        (["eth0"], [], ocf.SUCCESS, ""),
        (["eth0"], ["eth1"], ocf.SUCCESS, ""),
        (["eth0"], ["eth0"], ocf.GENERIC, "the device of the addresses is down: eth0"),
        (["eth0", "lo"], ["eth0"], ocf.SUCCESS, ""),
        ([], ["eth0"], ocf.NOT_RUNNING, ""),
    ],
)
def test_an_address_on_a_device_that_is_down_is_not_a_service(
    monkeypatch: pytest.MonkeyPatch, held: list[str], down: list[str], answer: int, reason: str
) -> None:
    """ClusterLabs/resource-agents#2047 #2056: the address stays there, and nothing reaches it."""
    found = [Address(device, "192.0.2.1/32") for device in held]
    monkeypatch.setattr("ec2ident_agent.failover.agent_bridge.held_of", lambda addresses, private: found)
    links = tuple(Link(1, name, up=name not in down) for name in ("lo", "eth0", "eth1"))
    monkeypatch.setattr("ec2ident_agent.failover.agent_bridge._links", lambda: links)
    said: list[str] = []
    request = read("overlay", "monitor", {"OCF_RESKEY_address": "192.0.2.1"})
    assert answer == ocf.OcfAgent(request, {}, said.append).run()
    assert reason in "".join(said)


def test_a_look_reads_no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that speaks BGP has very many, and they change all the time: a dump of them may never come to its end."""
    asked: list[int] = []
    dump = rtnl.Channel.dump

    def noted(channel: rtnl.Channel, request: int, header: bytes) -> list[bytes]:
        asked.append(request)
        return dump(channel, request, header)

    monkeypatch.setattr(rtnl.Channel, "dump", noted)
    request = read("overlay", "monitor", {"OCF_RESKEY_address": "192.0.2.1"})
    assert ocf.NOT_RUNNING == ocf.OcfAgent(request, {}, print).run()
    assert {rtnl.GET_LINK, rtnl.GET_ADDRESS} == set(asked)
