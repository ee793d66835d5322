"""keepalived's notify script: called again and again, at the same time, in any order of ending."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = Path(__file__).parents[2] / "agent/ec2ident_agent/data/keepalived/notify"

#: Writes down when it begins and ends, and takes its time.
PROGRAM = """#!/bin/sh
echo "begin $*" >>"$LOG"
sleep 0.2
echo "end $*" >>"$LOG"
"""


@pytest.fixture
def notify(tmp_path: Path) -> Callable[[str], subprocess.Popen[bytes]]:
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "LOG": str(tmp_path / "log"),
        "EC2IDENT_RUN": str(tmp_path / "run"),
        "EC2IDENT_FAILOVER": str(program),
        "EC2IDENT_AGENT": str(program),
    }

    def call(state: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sh", SCRIPT, "db", "192.0.2.1", "INSTANCE", "db", state, "99"], env=environment)

    return call


def lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("MASTER", "takeover db"),
        ("MASTER_RX_LOWER_PRI", "takeover db"),
        ("BACKUP", "overlay del 192.0.2.1"),
        ("FAULT", "overlay del 192.0.2.1"),
        ("STOP", "overlay del 192.0.2.1"),
    ],
)
def test_each_state_has_its_verb(
    notify: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path, state: str, words: str
) -> None:
    """A master takes, everybody else lets go."""
    assert 0 == notify(state).wait(10)
    assert [f"begin {words}", f"end {words}"] == lines(tmp_path)


def test_the_last_call_wins_and_those_between_do_nothing(
    notify: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """keepalived waits for no script: what runs ends first, and what was overtaken meanwhile is passed over."""
    running = [notify("MASTER")]
    deadline = time.monotonic() + 10
    while not (tmp_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for state in ("BACKUP", "MASTER", "BACKUP"):
        running.append(notify(state))
        time.sleep(0.03)
    assert [0, 0, 0, 0] == [each.wait(10) for each in running]
    found = lines(tmp_path)
    assert ["begin takeover db", "end takeover db"] == found[:2]
    assert ["begin overlay del 192.0.2.1", "end overlay del 192.0.2.1"] == found[-2:]
    assert 4 == len(found)
