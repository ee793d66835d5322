"""Facts for the watch: a child process asks the metadata service, so the watch never waits for it.

A service that is slow, or that learns late of an interface, would keep a loop that asks it from repairing everything
else. So the watch reads what the service said last, and a child asks: it can wait for what is missing, writes down what
was said, and ends; its memory ends with it. Only what the configuration leaves open is ever asked for.
"""

from __future__ import annotations

import os

from ec2ident.value import replace
from ec2ident_agent.errors import AgentError
from ec2ident_agent.fact_cache import path_in, read_cache
from ec2ident_agent.facts import FRESH, FactsAnswer, facts_from, others_from
from ec2ident_agent.profile import Facts, kernel_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ec2ident_agent.items import Observed

    #: Asks for the facts of these devices, and writes them down; in the child.
    Ask = Callable[[tuple[str, ...]], object]

#: Seconds for which a child waits for what the service does not know yet.
WAIT = 30.0
#: Seconds until the next child: the first pause after an attach, which doubles, and the longest while a fact is
#: missing. With nothing missing the pause grows to FRESH: IPv6 facts come later than the others, unannounced.
SOON, LATER = 1.0, 20.0


class FactRefresher:
    """A facts provider: what the service said last. `work` starts a child when facts are old, or some are missing."""

    def __init__(self, directory: str, ask: Ask, clock: Callable[[], float]) -> None:
        self.directory, self.ask, self.clock = directory, ask, clock
        self.child = 0
        #: Devices that were looked up since the last child began -> whether a fact of it is missing.
        self._wanted: dict[str, bool] = {}
        self._devices: dict[str, tuple[str, int]] = {}
        self._pause, self._ended = SOON, float("-inf")

    def __call__(self, device: str, observed: Observed) -> Facts:
        """What is known of a device. Sends no request."""
        link, kernel = observed.link(device), kernel_facts(device, observed)
        if link is None or not link.mac:
            return kernel
        key = (link.mac, link.index)
        known = read_cache(path_in(self.directory))
        answer = known.get(key, FactsAnswer())
        self._wanted[device] = bool(answer.lacks)
        if self._devices.get(device) != key:
            # Attached just now: do not wait for a child that waits for another device.
            self._devices[device] = key
            self.anew()
        return replace(facts_from(device, answer, kernel), others=others_from(key, known, observed))

    def anew(self) -> None:
        """Ask at once."""
        self.close()
        self._pause, self._ended = SOON, float("-inf")

    def next(self) -> float:
        """When the next child is due, by the clock."""
        if self.child or not self._wanted:
            return float("inf")
        return self._ended + min(self._pause, LATER if any(self._wanted.values()) else FRESH)

    def work(self) -> None:
        """Start a child when it is time; it ends by itself."""
        if self.clock() < self.next():
            return
        devices = tuple(self._wanted)
        self._pause = min(2 * self._pause, FRESH)
        self._devices = {device: key for device, key in self._devices.items() if device in devices}
        try:
            self.child = os.fork()
        except OSError:
            # No room for a process: the watch continues to repair, and tries to start the next child later.
            self._ended = self.clock()
            return
        self._wanted = {}
        if not self.child:
            try:
                leave_the_watch()
                self.ask(devices)
            finally:
                os._exit(0)

    def reap(self) -> bool:
        """True if the child has ended, so there may be new facts."""
        if not self.child or os.waitpid(self.child, os.WNOHANG)[0] == 0:
            return False
        self.child, self._ended = 0, self.clock()
        return True

    def close(self) -> None:
        """End a child that is still waiting; what it has not written down yet is lost."""
        if self.child:
            os.kill(self.child, 9)
            os.waitpid(self.child, 0)
            self.child = 0


def leave_the_watch() -> None:
    """In the child: close the watch's sockets and lock, and handle signals as a new process does."""
    from _signal import SIG_DFL, SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal  # type: ignore[import-not-found]

    set_wakeup_fd(-1)
    for number in (SIGCHLD, SIGHUP, SIGINT, SIGTERM):
        signal(number, SIG_DFL)
    os.closerange(3, 1 << 10)


def ask_the_service(directory: str, say: Callable[[str], object]) -> Ask:
    """What a child does: it looks at the links itself, asks, and waits for what is missing."""

    def ask(devices: tuple[str, ...]) -> None:
        from ec2ident_agent.fact_source import FactSource
        from ec2ident_agent.kernel.change import NetlinkKernel

        source = FactSource(directory, fresh=0.0, wait=WAIT, say=say)
        try:
            observed = NetlinkKernel().observe()
            for device in devices:
                source(device, observed)
        except AgentError as wrong:
            say(str(wrong))

    return ask
