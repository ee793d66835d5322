"""The verb watch: keep the node as it should be, and repair within a second what other programs delete.

    ec2ident-agent watch            in the foreground, or by ec2ident-agent-watch.service

Theory of operation. One thread, one loop, and for facts one child process. At any moment the watch is in one state:

    starting ──look──► in order ◄──────────────────────────────┐
                          │  an event, the period of 30 s,      │ nothing differs
                          │  a new edition of the configuration,│
                          │  the child has ended                │
                          ▼                                     │
                        due ──Debounce: it is time──► look ─────┤
                                                       │ steps  │
                                                       ▼        │
                                   lock, look again, repair ────┤
                                                       │        │
                          ┌────────────────────────────┼────────┘
                          ▼                            ▼
        backing off (an owner, or the node)      resting (an item)
        tried again after 1, 2, 4 … 30 s, 600 s  repaired 10 times in 60 s: the next repair waits for 1, 2, 4 … 60 s

    event                        who tells               what follows
    ------------------------------------------------------------------------------------------------------------
    the kernel announces         kernel.events           Debounce.changed: a look at once after 0.2 s of calm, else
                                                         0.1 s after the last event, 0.5 s after the first at the latest
    nothing, for 30 s            Debounce.PERIOD         a look: the kernel does not announce every loss
    the file has changed         SettledFile             used once it has been the same for 1 s. A file that is wrong
                                                         or gone is logged, and the last good one counts
    a fact is old or missing     FactRefresher           a child asks the metadata service; when it ends, a look.
                                                         What is unknown keeps what it has
    a link is down or gone       Reconciler.down         its items wait for it; losing them counts as no flap
    the kernel refuses a step    KernelError             what the owner has in that family is as it was, and backs off,
                                                         for up to 600 s while the node stays as it is; everything else
                                                         is repaired at once
    a foreign object in the way  Report.refused          nothing of that owner is changed; logged once
    reverted by hand             state.suppressed        the owner desires nothing until the next apply
    SIGHUP                       the administrator       configuration and facts are read now, everything is tried again
    SIGTERM, SIGINT              systemd                 the watch ends, and everything stays in place

Items change state alone: an item that rests or waits does not keep the others from being repaired. State that
must outlive the process is in the state directory; all of the above starts anew with the process.
"""

from __future__ import annotations

import os
from _signal import SIGCHLD, SIGHUP, SIGINT, SIGTERM, set_wakeup_fd, signal  # type: ignore[import-not-found]
from time import monotonic, sleep

from ec2ident_agent.errors import AgentError, UnknownError
from ec2ident_agent.kernel.events import Events

from .backoff import SettledFile
from .fact_refresher import FactRefresher, ask_the_service
from .reconciler import Reconciler
from .sd_notify import Supervisor
from .telling import MetricsFile, Teller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ec2ident_agent.items import Item, Observed
    from ec2ident_agent.node import FactsOf, Node
    from ec2ident_agent.profile import Config

#: Seconds between taking announcements and waiting for the next: a storm of them wakes the process no more often.
COALESCE = 0.02
#: The metrics, in the state directory: the one place that the unit may write.
METRICS = "watch.prom"
#: The mark of a configuration file that does not exist.
GONE = (0,)


class ConfigFollower:
    """The configuration that counts now: the last edition of the file that settled and was right."""

    def __init__(self, path: str, load: Callable[[], Config]) -> None:
        """`load` reads the file at `path`; it is called now. Raises what it raises."""
        self.path, self.load = path, load
        self.edition = SettledFile(self._mark())
        self.config = load()
        self.broken: tuple[str, ...] = ()

    def __call__(self, now: float) -> tuple[Config, tuple[str, ...]]:
        """The configuration, and what is wrong with the file."""
        mark = self._mark()
        if self.edition.ready(mark, now):
            self.edition = SettledFile(mark)
            try:
                if mark == GONE:
                    # A missing file does not mean "remove everything".
                    raise UnknownError(f"{self.path}: no such file")
                self.config, self.broken = self.load(), ()
            except AgentError as wrong:
                self.broken = (f"{wrong}; the last configuration that was right stays in force",)
        return self.config, self.broken

    def anew(self) -> None:
        """Read the file at the next call, whether or not it has changed or settled."""
        self.edition = SettledFile(None, settled=0)

    def _mark(self) -> tuple[int, ...]:
        """A value that differs between two editions of the file."""
        try:
            found = os.stat(self.path)
        except OSError:
            return GONE
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def watch(make_node: Callable[[FactsOf], Node], state_dir: str, *, as_json: bool = False) -> int:
    """The verb: until SIGTERM or SIGINT, which leave everything in place. Raises AgentError when it cannot begin.

    `make_node` makes the node with the facts provider that it gets. With `as_json` each event is a line on standard
    output.
    """
    from ec2ident_agent.doctor.node_files import NodeFiles
    from ec2ident_agent.doctor.threats import culprits
    from ec2ident_agent.install.rootfs import RootFs

    tell = Teller(os.environ, as_json=as_json)

    def blame(lost: Mapping[Item, str], observed: Observed) -> Mapping[Item, tuple[str, str]]:
        return culprits(lost, NodeFiles(RootFs("/")), observed)

    refresher = FactRefresher(state_dir, ask_the_service(state_dir, tell.log), monotonic)
    with make_node(refresher) as node, node.journal.lock(node.patience, "watch"):
        follower, events = ConfigFollower(node.config_path, node.configuration), Events()
        reconciler = Reconciler(node, follower, tell, blame, monotonic)
        metrics = MetricsFile(os.path.join(state_dir, METRICS), tell)
        supervisor = Supervisor(os.environ)
        try:
            with Signals() as signals:
                serve(reconciler, follower, refresher, events, signals, supervisor, metrics)
        finally:
            refresher.close()
            events.close()
            supervisor.stopping()
    return 0


def serve(
    reconciler: Reconciler,
    follower: ConfigFollower,
    refresher: FactRefresher,
    events: Events,
    signals: Signals,
    supervisor: Supervisor,
    metrics: MetricsFile,
) -> None:
    """Wait, take what was announced, look when it is time; until a signal ends it."""
    from select import POLLIN, poll

    waiting = poll()
    for each in (events, signals):
        waiting.register(each, POLLIN)
    debounce = reconciler.debounce
    beat, begun = monotonic(), False
    while True:
        if monotonic() >= debounce.due:
            reconciler.look()
            refresher.work()
            debounce.at(min(follower.edition.next(), refresher.next()))
            supervisor.status(reconciler.state)
            metrics.write(reconciler)
            if not begun:
                begun = True
                supervisor.ready()
        if supervisor.interval and monotonic() >= beat:
            supervisor.alive()
            beat = monotonic() + supervisor.interval
        until = min(debounce.due, beat if supervisor.interval else debounce.due)
        waiting.poll(max(0.0, until - monotonic()) * 1000)
        for number in signals.taken():
            if number in (SIGTERM, SIGINT):
                return
            if number == SIGHUP:
                follower.anew()
                refresher.anew()
                reconciler.anew()
        if refresher.reap():
            debounce.at(monotonic())
        heard = events.drain(reconciler.links)
        reconciler.heard(heard, program_name)
        if heard.changed and monotonic() < debounce.due:
            sleep(COALESCE)


class Signals:
    """Signals as a file descriptor that a poll can wait for."""

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
        """The number of the pipe that signals write to, for `select`."""
        return self._out

    def taken(self) -> tuple[int, ...]:
        """The numbers of the signals that arrived."""
        try:
            return tuple(os.read(self._out, 64))
        except BlockingIOError:
            return ()


def program_name(process: int) -> str:
    """The kernel's name for a process; empty for a process that has ended, for the kernel and for this process."""
    if process in (0, os.getpid()):
        return ""
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as file:
            return file.readline(64).strip()
    except OSError:
        return ""
