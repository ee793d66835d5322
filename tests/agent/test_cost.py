"""What a look may load: the way of a hook, a monitor and a status that find nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent import config_file

from .conftest import Agent, ip, snapshot

#: Each of them takes longer than the whole look, or is a part of something that does.
HEAVY = {
    "argparse", "asyncio", "collections", "cryptography", "dataclasses", "enum", "functools", "ipaddress", "json",
    "logging", "pathlib", "psutil", "pyroute2", "re", "requests", "socket", "ssl", "subprocess", "tempfile",
    "threading", "tomli", "tomllib", "typing", "urllib",
}  # fmt: skip

#: Modules of the project that each path may load. A module costs 0.1 ms and more, at each hook, monitor and status.
BUDGET = {"hook hostname": 10, "hook down": 18, "hook up": 32, "status": 31, "plan": 31, "apply": 33}


def loaded(code: str) -> set[str]:
    """What a fresh interpreter without site has loaded after this."""
    top = Path(__file__).parents[2]
    path = [str(top), str(top / "agent")]
    code = f"import sys\nsys.path[:0] = {path}\n{code}\nprint('modules', *sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def warm(agent: Agent) -> None:
    """The configuration was read before, some time ago."""
    agent.state.mkdir(exist_ok=True)
    cache = str(agent.state / "config")
    config_file.load(str(agent.config), required=True, uids={os.geteuid()}, cache=cache, now=4e9)


def ours(found: set[str]) -> set[str]:
    """The modules of the project."""
    return {name for name in found if name.split(".")[0] in ("ec2ident", "ec2ident_agent")}


def heavy_in(verb: str, agent: Agent, code: int = 0) -> set[str]:
    """What a verb loads of HEAVY."""
    return HEAVY & loaded_by(verb, agent, code)


def loaded_by(verb: str, agent: Agent, code: int = 0) -> set[str]:
    """What a verb loads, by the very script that is installed."""
    script = Path(__file__).parents[2] / "agent/bin/ec2ident-agent"
    run = f"try:\n    exec(open({str(script)!r}).read())\nexcept SystemExit as end:\n    assert end.code == {code}"
    return loaded(f"sys.argv = {['ec2ident-agent', *agent.argv(*verb.split())]!r}\n{run}")


@pytest.mark.root
@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("verb", ["status", "plan", "apply", "apply eth1", "overlay add 192.168.10.10"])
def test_with_nothing_to_do_nothing_heavy_is_loaded(agent: Agent, verb: str) -> None:
    """Neither pyroute2 nor TOML nor any of the standard library's larger parts."""
    agent("apply")
    agent("overlay", "add", "192.168.10.10")
    warm(agent)

    allowed = {"ipaddress", "functools", "collections"} if verb.startswith("overlay") else set()
    found = loaded_by(verb, agent)
    assert set() == HEAVY & found - allowed
    assert len(ours(found)) <= BUDGET.get(verb, BUDGET["apply"])


@pytest.mark.root
@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("event", ["up", "hostname", "down"])
def test_a_hook_with_nothing_to_do_loads_nothing_heavy(agent: Agent, tmp_path: Path, event: str) -> None:
    """An interface that comes up in order, a foreign event, and one that removes nothing of the agent's."""
    agent("apply")
    warm(agent)
    device = "eth1" if event == "up" else "eth7"
    (tmp_path / "sys" / device).mkdir(parents=True)
    (tmp_path / "sys" / device / "flags").write_text("0x1003\n")
    options = [] if event == "hostname" else agent.argv()[:6]
    words = [*options, "networkmanager", device, event]

    run = f"from ec2ident_agent.cli import hook\nassert 0 == hook({words!r}, sysfs={str(tmp_path / 'sys')!r})"
    found = loaded(run)

    assert set() == HEAVY & found
    assert len(ours(found)) <= BUDGET[f"hook {event}"]
    assert ("ec2ident_agent.node" in found) == (event == "up")


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_drift_is_seen_without_pyroute2(agent: Agent) -> None:
    """Looking never needs it, whatever is found; changing does."""
    agent("apply")
    warm(agent)
    ip("route flush table 100")

    assert "pyroute2" not in heavy_in("status", agent, 1)
    assert "pyroute2" not in heavy_in("plan", agent, 1)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_without_pyroute2_one_line_says_so(agent: Agent) -> None:
    """A broken installation can still look, and takes nothing for done."""
    warm(agent)
    before = snapshot()

    heavy_in("apply", agent, 4)

    assert before == snapshot()
    assert 0 == agent("revert", "--all")


def test_importing_the_agent_loads_nothing() -> None:
    """The package is a name until something of it is used."""
    assert set() == HEAVY & loaded("import ec2ident_agent")


def test_the_watch_loads_nothing_large_until_there_is_something_to_change_or_to_ask() -> None:
    """It runs on every node for ever, and mostly listens: what it waits with is small."""
    assert set() == HEAVY & loaded("import ec2ident_agent.watch.loop")
