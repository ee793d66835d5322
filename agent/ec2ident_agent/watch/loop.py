"""The verb watch: keep the node as it should be, and lay again what others took away, within a second.

    ec2ident-agent watch            in the foreground, or by ec2ident-agent-watch.service

A loop: wait, take what the kernel announces (`events`), look when it is time (`pace`), see and repair (`keeper`). What
revert took off stays off until the next apply (`withdrawn`), and a configuration that makes no sense is said, and the
last one that did goes on to count. SIGTERM ends it and leaves everything in place; SIGHUP begins anew.
"""

from __future__ import annotations

import os
from _signal import SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal  # type: ignore[import-not-found]
from time import monotonic, sleep

from ec2ident_agent.config import PATH
from ec2ident_agent.errors import AgentError, UnknownError
from ec2ident_agent.kernel.events import Events
from ec2ident_agent.state import suppressed

from .backoff import Edition
from .fact_refresher import Asker, ask_the_service
from .reconciler import Keeper
from .sd_notify import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ec2ident_agent.engine import Wish
    from ec2ident_agent.items import Item, Observed
    from ec2ident_agent.state.journal import State
    from ec2ident_agent.wanted import Wanted

#: Seconds between taking announcements and waiting for the next: a storm of them wakes us no more often.
COALESCE = 0.02
#: What syslog and systemd's journal take for an error (sd-daemon(3)).
LOUD = "<3>"
#: The mark of a configuration file that is not there.
GONE = (0,)


class Asked:
    """What is asked for now: by the configuration as it last made sense, without what was reverted since."""

    def __init__(self, run: Wanted) -> None:
        self.run, self.path = run, run.options.get("--config", PATH)
        self.edition = Edition(self._mark())
        self.config = run.configuration()
        self.broken: tuple[str, ...] = ()

    def __call__(self, observed: Observed, state: State, now: float) -> tuple[list[Wish], list[str]]:
        self._read(now)
        self.run.unknown = []
        wishes = self.run.configured(self.config, observed, state)
        wishes = suppressed.without(wishes, self.run.journal, observed)
        return wishes, [*self.broken, *self.run.unknown]

    def anew(self) -> None:
        """Read the file, whatever it looks like."""
        self.edition = Edition(None, settled=0)

    def _read(self, now: float) -> None:
        mark = self._mark()
        if not self.edition.ready(mark, now):
            return
        self.edition = Edition(mark)
        try:
            if mark == GONE:
                raise UnknownError(f"{self.path}: no such file")
            self.config, self.broken = self.run.configuration(), ()
        except AgentError as wrong:
            self.broken = (f"{wrong}; what it said before goes on to count",)

    def _mark(self) -> tuple[int, ...]:
        """What tells one edition of the file from another. A file that vanishes is no wish to take everything off."""
        try:
            found = os.stat(self.path)
        except OSError:
            return GONE
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def watch(run: Wanted, say: Callable[[str], object]) -> int:
    """The verb: until SIGTERM or SIGINT, which leave everything in place. Raises AgentError when it cannot begin."""
    from ec2ident_agent.doctor.node_files import Machine
    from ec2ident_agent.doctor.threats import culprits
    from ec2ident_agent.install.rootfs import Tree

    def log(text: str, loud: bool) -> None:
        say(f"{LOUD if loud else ''}{text}" if "JOURNAL_STREAM" in os.environ else text)

    def blame(lost: Mapping[Item, str], observed: Observed) -> Mapping[Item, tuple[str, str]]:
        return culprits(lost, Machine(Tree("/")), observed)

    directory = run.journal.directory
    asker = Asker(directory, ask_the_service(directory, lambda line: log(f"ec2ident-agent: {line}", False)), monotonic)
    run.facts_of = asker
    with run.journal.lock(run.patience(), "watch"):
        asked, events = Asked(run), Events()
        node = Keeper(asked, run.kernel(), run.journal, log, blame, monotonic)
        supervisor = Supervisor(os.environ)
        try:
            with Signals() as signals:
                serve(node, asked, asker, events, signals, supervisor)
        finally:
            asker.close()
            events.close()
            supervisor.stopping()
    return 0


def serve(node: Keeper, asked: Asked, asker: Asker, events: Events, signals: Signals, supervisor: Supervisor) -> None:
    """Wait, take what was announced, look when it is time; until a signal ends it."""
    from select import POLLIN, poll

    waiting = poll()
    for each in (events, signals):
        waiting.register(each, POLLIN)
    beat, begun = monotonic(), False
    while True:
        if monotonic() >= node.pace.due:
            node.look()
            asker.work()
            node.pace.at(min(asked.edition.next(), asker.next()))
            supervisor.status(node.state)
            if not begun:
                begun = True
                supervisor.ready()
        if supervisor.interval and monotonic() >= beat:
            supervisor.alive()
            beat = monotonic() + supervisor.interval
        until = min(node.pace.due, beat if supervisor.interval else node.pace.due)
        waiting.poll(max(0.0, until - monotonic()) * 1000)
        for number in signals.taken():
            if number in (SIGTERM, SIGINT):
                return
            if number == SIGHUP:
                asked.anew()
                asker.anew()
                node.anew()
        if asker.reap():
            node.pace.at(monotonic())
        heard = events.drain(node.links)
        node.heard(heard, program_name)
        if heard.changed:
            sleep(COALESCE)


class Signals:
    """Signals as something to wait for."""

    HEARD = (SIGTERM, SIGINT, SIGHUP, SIGCHLD)

    def __enter__(self) -> Signals:
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = set_wakeup_fd(self._in)
        self._before = {number: signal(number, lambda *_: None) for number in self.HEARD}
        return self

    def __exit__(self, *_: object) -> None:
        set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal(number, handler)
        for each in (self._out, self._in):
            os.close(each)

    def fileno(self) -> int:
        return self._out

    def taken(self) -> tuple[int, ...]:
        """The numbers of the signals that came."""
        try:
            return tuple(os.read(self._out, 64))
        except BlockingIOError:
            return ()


def program_name(process: int) -> str:
    """The name that the kernel has for a process; empty for one that is gone, for the kernel, and for this one."""
    if process in (0, os.getpid()):
        return ""
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as file:
            return file.readline(64).strip()
    except OSError:
        return ""
