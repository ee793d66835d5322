"""Hold a service while a leader key says so: the states, the loop, and the process that takes the service.

There is no election here. A yes of the cluster manager is a lease: this node may hold the service for `release_after`
seconds from the moment when the question was sent. A no ends it at once, and an unknown answer changes nothing, so a
manager that cannot be asked ends it by itself. Without a lease the service is released on this node, which needs
neither the API nor the metadata service.

    no lease ── yes ──> taking ── done ──> held ── every minute ──> checking ── in order ──> held
       ^                  │                 │                          │
       └── no, or the lease is over, or SIGTERM: end the process that takes, and release ──────┘

A take-over runs in a process of its own, because it may take longer than the lease.
"""

from __future__ import annotations

import os
import signal
import time

from ec2ident.value import Value
from ec2ident_agent.errors import AgentError

from .question import NO, YES, LeaderAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[[float], LeaderAnswer]

#: Seconds between two checks of a service that is held, and the most between two attempts to take it.
CHECK, MOST = 60.0, 30.0
#: What wakes the loop.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Timing(Value):
    """Seconds: between two questions, for one question, and for how long a yes counts."""

    every: float = 1.0
    timeout: float = 1.0
    release_after: float = 10.0


TAKING, HELD, RELEASED, FAILING = "taking", "held", "released", "not released"


class HoldState(Value):
    """How the service stands on this node, what the leader key says, and why that is unknown or what fails."""

    state: str
    leader: str
    reason: str = ""

    def __str__(self) -> str:
        if self.state == FAILING:
            return f"{self.state}, it is tried again: {self.reason}; leader: {self.leader}"
        return f"{self.state}; leader: {self.leader}{f' ({self.reason})' if self.reason else ''}"


class Lease:
    """For how long this node may hold the service. Pure: the caller gives the times, in seconds of one clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.until = seconds, float("-inf")

    def heard(self, answer: LeaderAnswer, asked: float) -> None:
        """An answer to the question that was sent at `asked`."""
        if answer.leader == YES:
            self.until = asked + self.seconds
        elif answer.leader == NO:
            self.until = float("-inf")

    def left(self, now: float) -> float:
        """Seconds that are left of it; 0 without one."""
        return max(0.0, self.until - now)


class Worker:
    """The process that takes the service, or checks it: `work(checking)`, which returns its exit code."""

    def __init__(self, work: Callable[[bool], int]) -> None:
        self._work = work
        self._process = 0
        self.taken = False
        self._next, self._pause = 0.0, 1.0

    def go(self, now: float) -> None:
        """Begin, if it is time to and nothing is under way; else see what has become of it."""
        if self._process:
            ended, status = os.waitpid(self._process, os.WNOHANG)
            if not ended:
                return
            self._process = 0
            done = os.waitstatus_to_exitcode(status) == 0
            self.taken = done
            self._pause = 1.0 if done else min(MOST, self._pause * 2)
            self._next = now + (CHECK if done else self._pause)
        if now >= self._next:
            self._process = os.fork()
            if not self._process:
                self._child()

    def _child(self) -> None:
        code = 70
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = self._work(self.taken)
        finally:
            os._exit(code)

    def end(self) -> None:
        """End what is under way, at once. The agent's journal names what it has added."""
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
        self._process, self.taken, self._next, self._pause = 0, False, 0.0, 1.0


class Hold:
    """The loop. `release` removes the service from this node and raises for what it cannot; it may be repeated."""

    def __init__(self, ask: Ask, work: Callable[[bool], int], release: Callable[[], object], timing: Timing) -> None:
        self._ask, self._release, self._timing = ask, release, timing
        self._lease, self._worker = Lease(timing.release_after), Worker(work)
        #: Whether something of the service may be on this node. It may be from the start: an earlier process may have
        #: been killed.
        self._may_be_here = True

    def run(self, tell: Callable[[HoldState], object], alive: Callable[[HoldState], object]) -> None:
        """Until SIGTERM or SIGINT; then the service is released.

        `alive` gets the state at each round, `tell` each state that differs from the last.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        told: HoldState | None = None
        try:
            while True:
                asked = _now()
                answer = self._ask(self._seconds(asked))
                self._lease.heard(answer, asked)
                state = self._step(answer)
                alive(state)
                if state != told:
                    tell(state)
                    told = state
                if self._wait(asked + self._timing.every):
                    return
        finally:
            self._worker.end()
            self._release()

    def _seconds(self, now: float) -> float:
        """For the next question: it must not outlast the lease."""
        left = self._lease.left(now)
        return min(self._timing.timeout, left) if left else self._timing.timeout

    def _step(self, answer: LeaderAnswer) -> HoldState:
        now = _now()
        if self._lease.left(now):
            self._may_be_here = True
            self._worker.go(now)
            return HoldState(HELD if self._worker.taken else TAKING, answer.leader, answer.reason)
        self._worker.end()
        if self._may_be_here:
            try:
                self._release()
            except AgentError as error:
                return HoldState(FAILING, answer.leader, str(error))
            self._may_be_here = False
        return HoldState(RELEASED, answer.leader, answer.reason)

    def _wait(self, until: float) -> bool:
        """Wait, at the longest until the lease is over. Returns whether to end."""
        while True:
            now = _now()
            left = min(until - now, self._lease.left(now) or until - now)
            if left <= 0:
                return False
            woken = signal.sigtimedwait(SIGNALS, left)
            if woken is None:
                return False
            if woken.si_signo != signal.SIGCHLD:
                return True
            # The take-over has ended: say so at once.
            if self._lease.left(_now()):
                self._worker.go(_now())


def _now() -> float:
    """Seconds of a clock that goes on while the machine is suspended: a lease must not outlast that."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
