"""The agent changes a node in the same way in any environment."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Agent, snapshot

TOP = Path(__file__).parents[2]
PROGRAM = str(TOP / "agent/bin/ec2ident-agent")
BARE = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
ENVIRONMENTS = {
    "nothing": {},
    "optimized": {"PYTHONOPTIMIZE": "1"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "directory for temporary files": {"TMPDIR": "/nonexistent/a b"},
}


def call(agent: Agent, *words: str, shell: str, environ: dict[str, str]) -> int:
    """The exit code of a process with these variables alone, started by a shell line around it."""
    argv = ["sh", "-c", shell, "sh", sys.executable, PROGRAM, *agent.argv(*words)]
    variables = {**BARE, "AWS_EC2_METADATA_DISABLED": "true", **environ}
    return subprocess.run(argv, env=variables, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.root
@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("shell", ['exec "$@"', 'umask 077; exec "$@"', 'exec "$@" <&- >&- 2>&-'])
@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_apply_and_revert_do_the_same_everywhere(agent: Agent, environment: str, shell: str) -> None:
    """Optimized Python has no assertions; with closed standard files the journal could be written to by a log."""
    before, environ = snapshot(), ENVIRONMENTS[environment]
    assert 1 == call(agent, "status", shell=shell, environ=environ)
    assert 0 == call(agent, "apply", shell=shell, environ=environ)
    applied = snapshot()
    assert 0 == call(agent, "status", shell=shell, environ=environ)
    readable = (*agent.names.iterdir(), agent.state / "journal")
    assert {0o644} == {stat.S_IMODE(path.stat().st_mode) for path in readable}

    assert 0 == call(agent, "revert", "--all", shell=shell, environ=environ)
    assert before == snapshot() != applied
