"""A service is held while a yes is a lease, and at no other time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ec2ident_agent.errors import AgentError
from ec2ident_agent.failover import settings
from ec2ident_agent.failover.errors import UsageError
from ec2ident_agent.failover.leader.hold import Hold, Lease, Timing, Worker
from ec2ident_agent.failover.leader.question import NO, UNKNOWN, YES, LeaderAnswer
from tests.failover.environment import ENVIRONMENT
from tests.lab.enclosure import wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@given(
    some.lists(some.tuples(some.floats(0.1, 20), some.sampled_from([YES, NO, UNKNOWN])), max_size=30),
    some.floats(0.5, 30),
    some.floats(0, 60),
)
def test_a_lease_is_exactly_as_long_as_the_last_yes_says(
    answers: list[tuple[float, str]], seconds: float, later: float
) -> None:
    """From the moment when the question was sent; a later no ends it, unknown answers change nothing."""
    lease, now, last = Lease(seconds), 0.0, float("-inf")
    for pause, answer in answers:
        now += pause
        lease.heard(LeaderAnswer(answer), now)
        last = now if answer == YES else float("-inf") if answer == NO else last
    assert (last + seconds - (now + later) > 0) == (lease.left(now + later) > 0)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A process that leaves a line for each start, takes its time, and ends as the file `code` says."""

    def work(checking: bool) -> int:
        with (tmp_path / "starts").open("a") as file:
            file.write(f"{'check' if checking else 'take'} {os.getpid()}\n")
        while not (tmp_path / "code").exists():
            time.sleep(0.01)
        return int((tmp_path / "code").read_text())

    made = Worker(work)
    yield made
    made.end()


def gone(worker: Worker, now: float) -> bool:
    """Look once; whether the process that was under way has ended."""
    worker.go(now)
    return not worker._process


def starts(tmp_path: Path) -> list[str]:
    found = tmp_path / "starts"
    return found.read_text().splitlines() if found.exists() else []


def test_one_process_takes_the_service_and_a_later_one_checks_it(worker: Worker, tmp_path: Path) -> None:
    """The next begins when the last has ended and its time has come; one that failed is repeated ever more slowly."""
    worker.go(0.0)
    wait_until(lambda: starts(tmp_path), "it has begun")
    worker.go(100.0)
    assert (1, False) == (len(starts(tmp_path)), worker.taken)
    (tmp_path / "code").write_text("4")
    wait_until(lambda: gone(worker, 1.0), "it has ended")
    assert (False,) == (worker.taken,)
    worker.go(2.9)
    assert 1 == len(starts(tmp_path))
    (tmp_path / "code").write_text("0")
    worker.go(3.1)
    wait_until(lambda: gone(worker, 3.2), "it has ended")
    assert worker.taken
    worker.go(60.0)
    assert ["take", "take"] == [line.split()[0] for line in starts(tmp_path)]
    worker.go(64.0)
    wait_until(lambda: len(starts(tmp_path)) == 3, "it is checked")
    assert starts(tmp_path)[2].startswith("check ")


def test_what_is_under_way_is_ended_at_once(worker: Worker, tmp_path: Path) -> None:
    """A take-over must not go on when the lease is over: its process is gone when `end` returns."""
    worker.go(0.0)
    wait_until(lambda: starts(tmp_path), "it has begun")
    process = int(starts(tmp_path)[0].split()[1])
    worker.end()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    # The next lease begins anew, without a pause.
    worker.go(0.0)
    wait_until(lambda: len(starts(tmp_path)) == 2, "it begins again")


class Manager:
    """Answers in turn, the last one for ever; after `then` rounds this process gets SIGTERM."""

    def __init__(self, *answers: str, then: int = 0) -> None:
        self.answers, self.rounds, self.then = list(answers), 0, then or len(answers)

    def __call__(self, seconds: float) -> LeaderAnswer:
        self.rounds += 1
        if self.rounds == self.then:
            # To this thread, which blocks it; another thread of the test runner would end the process.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return LeaderAnswer(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


@pytest.fixture
def unblocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("unblocked")
def test_the_loop_takes_with_a_yes_and_releases_with_a_no_and_at_its_end() -> None:
    """Also at its begin: an earlier process may have been killed."""
    released: list[str] = []
    states: list[str] = []
    manager = Manager(NO, YES, YES, NO, UNKNOWN, YES)
    hold = Hold(manager, lambda checking: 0, lambda: released.append(states[-1] if states else ""), Timing(0.3, 1, 9))
    hold.run(lambda line: None, lambda state: states.append(str(state)))
    short = [line.partition(";")[0] for line in states]
    assert ["released", "taking"] == short[:2]
    assert ("released", "released") == (short[3], short[4])
    # At the begin, after the second lease's no, and at the end; not at each round.
    assert 3 == len(released)


@pytest.mark.usefixtures("unblocked")
def test_a_manager_that_cannot_be_asked_ends_the_lease() -> None:
    """After exactly so long that one lost answer does not."""
    released: list[float] = []
    asked: list[float] = []
    answers = Manager(YES, UNKNOWN, then=8)

    def ask(seconds: float) -> LeaderAnswer:
        asked.append(time.monotonic())
        return answers(seconds)

    Hold(ask, lambda checking: 0, lambda: released.append(time.monotonic()), Timing(0.2, 0.1, 0.9)).run(print, print)
    assert released[0] - asked[0] >= 0.85
    assert len([when for when in asked if when < released[0]]) >= 2


@pytest.mark.usefixtures("unblocked")
def test_a_release_that_fails_is_repeated() -> None:
    """It is said, and the loop goes on: to end would not remove the address either."""
    tries: list[int] = []
    states: list[str] = []

    def release() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise AgentError("the kernel refuses")

    Hold(Manager(NO, NO, NO), lambda checking: 0, release, Timing(0.1, 0.1, 9)).run(
        lambda line: None, lambda state: states.append(str(state))
    )
    assert ["not released, it is tried again: the kernel refuses", "released", "released"] == [
        line.partition(";")[0] for line in states
    ]
    assert 3 == len(tries)


TABLES = """
[service.db]
overlay = "192.168.10.5"
[service.db.hold]
{}
"""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "one of leader, command"),
        ('leader = "http://127.0.0.1/"\ncommand = ["true"]', "one of leader, command"),
        ('leader = "http://db.example.com/"', "no deadline"),
        ('command = "true"\nrelease_after = 2', "one lost answer"),
        ('command = "true"\nevery = 0', "from 0.1 to 60"),
        ('command = "true"\nlease = 3', "lease"),
    ],
)
def test_wrong_settings_are_refused(lines: str, said: str) -> None:
    """By the name of the key."""
    with pytest.raises(UsageError, match=rf"service\.db\.hold.*{said}"):
        settings.parse(TABLES.format(lines).encode())


def test_the_settings_have_defaults() -> None:
    """A question a second, and a lease of ten."""
    service = settings.parse(TABLES.format('leader = "http://127.0.0.1:8008/primary"').encode()).service("db")
    assert service.hold
    assert (1.0, 1.0, 10.0, ()) == (
        service.hold.every,
        service.hold.timeout,
        service.hold.release_after,
        service.hold.command,
    )


def test_each_state_is_a_line_of_json(tmp_path: Path) -> None:
    """While another node leads; SIGTERM ends it with exit code 0. The log is as without --json."""
    config = tmp_path / "failover.toml"
    config.write_text(
        '[service.db.dns]\nzone = "Z0123456789ABCDEFGHIJ"\nname = "db.example.corp"\n'
        '[service.db.hold]\ncommand = ["false"]\nevery = 0.1\n'
    )
    config.chmod(0o600)
    words = ("hold", "db", "--json", "--config", str(config), "--state-dir", str(tmp_path / "state"))
    environment = {**ENVIRONMENT, "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-m", "ec2ident_agent.failover.cli", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        found = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        rest, log = process.communicate(timeout=60)

    assert found.pop("time") > 1e9
    assert {"event": "hold", "service": "db", "state": "released", "leader": "no", "reason": ""} == found
    assert ("", "released; leader: no\n", 0) == (rest, log, process.returncode)
