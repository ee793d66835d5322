"""keepalived's notify script: called again and again, at the same time, in any order of ending."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ec2ident_agent.install.layout import InstallRequest, render
from ec2ident_agent.install.rootfs import RootFs
from tests.lab.enclosure import wait_until

#: Writes down when it begins and ends, which is when it is let. It fails as often as its file says.
PROGRAM = """#!/bin/sh
echo "begin $*" >>"$LOG"
while [ ! -e "$GO" ]; do sleep 0.02; done
echo "end $*" >>"$LOG"
read -r left <"$FAIL" || exit 0
[ "$left" -gt 0 ] || exit 0
echo $((left - 1)) >"$FAIL"
exit 3
"""

TAKE = ["begin takeover db", "end takeover db"]
RELEASE = ["begin overlay del 192.0.2.1", "end overlay del 192.0.2.1"]


class Calls:
    """keepalived, as far as the script can see."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        program = directory / "program"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        (directory / "log").touch()
        (directory / "fail").touch()
        self.script = directory / "notify"
        self.script.write_bytes(
            render("keepalived/notify", InstallRequest("/opt/ec2ident/bin/ec2ident-agent"), RootFs("/"))
        )
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "LOG": str(directory / "log"),
            "GO": str(directory / "go"),
            "FAIL": str(directory / "fail"),
            "EC2IDENT_PAUSE": "1",
            "EC2IDENT_RUN": str(directory / "run"),
            "EC2IDENT_FAILOVER": str(program),
            "EC2IDENT_AGENT": str(program),
        }

    def call(self, state: str, *before: str) -> subprocess.Popen[bytes]:
        words = [*before, "sh", str(self.script), "db", "192.0.2.1", "INSTANCE", "db", state, "99"]
        return subprocess.Popen(words, env=self.environment, stdin=subprocess.PIPE if before else subprocess.DEVNULL)

    def numbered(self, call: subprocess.Popen[bytes]) -> None:
        """Wait until this call is the last one that counts."""
        turn = self.directory / "run/db.turn"
        wait_until(lambda: turn.exists() and turn.read_text().strip().isdigit(), "a number")
        wait_until(lambda: int(turn.read_text().strip() or 0) % 4194304 == call.pid, f"the number of {call.pid}")

    def wait(self, count: int) -> None:
        """Until so many lines are in the log."""
        wait_until(lambda: len(self.log) >= count, f"{count} lines in the log")

    def fail(self, times: int) -> None:
        """So often the programs fail from now on."""
        (self.directory / "fail").write_text(f"{times}\n")

    def go(self) -> None:
        """Let every program end."""
        (self.directory / "go").touch()

    @property
    def log(self) -> list[str]:
        return (self.directory / "log").read_text().splitlines()


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path)


@pytest.mark.parametrize(
    ("state", "lines"),
    [("MASTER", TAKE), ("MASTER_RX_LOWER_PRI", TAKE), ("BACKUP", RELEASE), ("FAULT", RELEASE), ("STOP", RELEASE)],
)
def test_each_state_has_its_verb(calls: Calls, state: str, lines: list[str]) -> None:
    """A master takes the service, every other state releases it."""
    calls.go()
    assert 0 == calls.call(state).wait(20)
    assert lines == calls.log


def test_who_takes_waits_for_the_takeover_before_and_those_between_do_nothing(calls: Calls) -> None:
    """keepalived waits for no script, and the routes that were taken first may have been taken back meanwhile."""
    running = [calls.call("MASTER")]
    calls.wait(1)
    for _ in range(3):
        running.append(calls.call("MASTER_RX_LOWER_PRI"))
        calls.numbered(running[-1])
    calls.go()
    assert [0, 0, 0, 0] == [each.wait(20) for each in running]
    assert TAKE * 2 == calls.log


@pytest.mark.parametrize("state", ["BACKUP", "FAULT", "STOP"])
def test_who_lets_go_ends_the_takeover_that_is_under_way(calls: Calls, state: str) -> None:
    """With an API that hangs it would hold the address until its deadline, beside the new master."""
    first = calls.call("MASTER")
    calls.wait(1)
    second = calls.call(state)
    assert -15 == first.wait(20)
    calls.go()
    assert 0 == second.wait(20)
    assert [TAKE[0], *RELEASE] == calls.log


def test_who_lets_go_is_not_ended(calls: Calls) -> None:
    """Not by another one either, and not by the number of a takeover that ended long ago."""
    calls.go()
    assert 0 == calls.call("MASTER").wait(20)
    (calls.directory / "go").unlink()
    first = calls.call("BACKUP")
    calls.wait(3)
    second = calls.call("STOP")
    calls.numbered(second)
    third = calls.call("MASTER")
    calls.numbered(third)
    calls.go()
    assert [0, 0, 0] == [each.wait(20) for each in (first, second, third)]
    assert [*TAKE, *RELEASE, *TAKE] == calls.log


def test_what_was_started_first_and_gets_going_last_does_nothing(calls: Calls) -> None:
    """The order is the one in which keepalived started them, not the one in which the kernel let them run."""
    calls.go()
    # One process all along, which becomes the script when it is told to.
    slow = calls.call("MASTER", "sh", "-c", 'read -r _; exec "$@"', "sh")
    assert 0 == calls.call("BACKUP").wait(20)
    slow.communicate(b"\n", timeout=20)
    assert (0, RELEASE) == (slow.returncode, calls.log)


@pytest.mark.parametrize(("state", "lines"), [("MASTER", TAKE), ("BACKUP", RELEASE)])
def test_what_failed_is_done_again(calls: Calls, state: str, lines: list[str]) -> None:
    """keepalived calls once: without that an API that is away for longer than one takeover would end the service."""
    calls.go()
    calls.fail(2)
    assert 0 == calls.call(state).wait(20)
    assert lines * 3 == calls.log


def test_a_wait_before_another_try_holds_no_lock(calls: Calls) -> None:
    """Neither in the way of one who takes nor of one who lets go; and it takes nothing from them afterwards."""
    calls.go()
    calls.fail(1)
    calls.environment["EC2IDENT_PAUSE"] = "3"
    first = calls.call("MASTER")
    calls.wait(2)
    assert 0 == calls.call("BACKUP").wait(20)
    assert 0 == calls.call("MASTER").wait(20)
    assert 1 == first.wait(20)
    assert [*TAKE, *RELEASE, *TAKE] == calls.log


def test_a_takeover_that_is_tried_again_ends_with_keepalived(calls: Calls) -> None:
    """Its node answers for nothing any more, and the other one has the service: it is not to be taken back."""
    calls.go()
    calls.fail(1000)
    calls.environment["EC2IDENT_PAUSE"] = "4"
    lock = (calls.directory / "run/db.lock").resolve()
    parent = calls.call("MASTER", "sh", "-c", '"$@" & read -r _', "sh")
    calls.wait(2)
    assert [] != _openers(lock)
    parent.communicate(b"\n", timeout=20)
    wait_until(lambda: not _openers(lock), "the script has ended", 30)
    assert 2 == len(calls.log)


def _openers(path: Path) -> list[str]:
    """Who has the file open."""
    found = []
    for each in Path("/proc").glob("[0-9]*/fd/9"):
        try:
            found += [each.parts[2]] if each.readlink() == path else []
        except OSError:
            continue
    return found


def test_the_agent_s_files_are_for_all_users_to_read(calls: Calls) -> None:
    """As without a cluster; but no other process may hold these locks."""
    calls.go()
    calls.environment["EC2IDENT_RUN"] = str(calls.directory / "state/keepalived")
    assert 0 == calls.call("MASTER").wait(20)
    modes = [(calls.directory / each).stat().st_mode & 0o777 for each in ("state", "state/keepalived")]
    assert [0o755, 0o700] == modes
