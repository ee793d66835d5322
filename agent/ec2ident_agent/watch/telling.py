"""Where what watch sees and does goes: the log for people, a stream of JSON for programs, a file of metrics.

None of them may stop a repair. Where an entry cannot be written at once it is dropped, and the next one says how many
were.
"""

from __future__ import annotations

import sys
from time import time

from ec2ident.program.frame import say
from ec2ident_agent.exposition import exposition
from ec2ident_agent.state import statefile
from ec2ident_agent.systemd_journal import ERROR, INFO, SystemdJournal

from .event import STEP
from .standing import LookCount, families

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .event import WatchEvent
    from .reconciler import Reconciler

PROGRAM = "ec2ident-agent"

#: A pipe that is not full has room for so many bytes at least (PIPE_BUF of pipe(7)): a longer line could wait there.
#: So many characters of a text remain of it, each of which may be six bytes of JSON.
ROOM, CUT = 4096, 400


class Teller:
    """Takes each event. Raises OutputError only when the reader of the stream has gone."""

    def __init__(self, environ: Mapping[str, str], *, as_json: bool = False) -> None:
        self.journal = SystemdJournal(PROGRAM, environ)
        self.as_json = as_json
        self._dropped = 0

    def __call__(self, event: WatchEvent) -> None:
        """Log the event's line, and print the event."""
        if event.kind == STEP:
            self.journal.log(f"[#] {event.text}", INFO, event.fields())
        elif event.text:
            self.log(event.text, event.fields(), loud=event.loud)
        public = event.public() if self.as_json else {}
        if public:
            self._print(public)

    def log(self, text: str, fields: Mapping[str, str] | None = None, *, loud: bool = False) -> None:
        """A line for people; a loud one has the priority of an error."""
        self.journal.log(f"{PROGRAM}: {text}", ERROR if loud else INFO, fields)

    def _print(self, public: dict[str, object]) -> None:
        import json

        if not _takes_a_line():
            self._dropped += 1
            return
        if self._dropped:
            public, self._dropped = {**public, "dropped": self._dropped}, 0
        line = json.dumps({"time": round(time(), 3), **public})
        if len(line) >= ROOM:
            line = json.dumps({"time": round(time(), 3), **public, "text": f"{str(public.get('text', ''))[:CUT]}…"})
        say(line)


def _takes_a_line() -> bool:
    """False while standard output is a pipe that is full: its reader is slow, and repairs must not wait for it."""
    from select import POLLOUT, poll

    waiting = poll()
    try:
        waiting.register(sys.stdout.fileno(), POLLOUT)
    except (OSError, ValueError):
        # A stream of an application's or a test's own.
        return True
    return bool(waiting.poll(0))


class MetricsFile:
    """The metrics of watch, replaced as a whole after each look, for all users to read."""

    def __init__(self, path: str, tell: Teller) -> None:
        self.path, self._tell = path, tell
        self._at: float | None = None
        self._error = ""

    def write(self, watch: Reconciler) -> None:
        """Write how it is now. What prevents that is logged once."""
        from ec2ident import __version__

        complete = watch.standings is not None
        if complete:
            self._at = time()
        count = LookCount(watch.looks, self._at, watch.seconds, complete, watch.configuration_valid)
        try:
            statefile.write(self.path, exposition(families(__version__, count, watch.standings, watch.repairs)))
        except OSError as error:
            if str(error) != self._error:
                self._error = str(error)
                self._tell.log(f"metrics: {error}", loud=True)
        else:
            self._error = ""
