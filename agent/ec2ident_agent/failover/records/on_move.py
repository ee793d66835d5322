"""The administrator's command after each move: `on_move` of the configuration.

Its environment describes the move and has no credential. It has a bounded time, and
whatever becomes of it, the move and its exit code stay as they are.
"""

from __future__ import annotations

import os

from ec2ident.value import Value
from ec2ident_agent.failover import bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Seconds for the command; then it is ended, with all that it started.
SECONDS = 10.0
#: What it gets of the environment.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


class MoveCommand(Value):
    """The command, and whether the program waits for it: a lease cannot."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    log: Callable[[str], object]
    wait: bool = True

    def run(self, fields: Mapping[str, str]) -> None:
        """Run it with these fields as EC2IDENT_… in its environment. Nothing is raised; a failure is logged."""
        if self.wait:
            self._run(fields)
            return
        try:
            child = os.fork()
            if not child:
                self._child(fields)
            os.waitpid(child, 0)
        except OSError as error:
            self.log(f"warning: on_move: {error}")

    def _run(self, fields: Mapping[str, str]) -> None:
        kept = {name: self.environ[name] for name in KEPT if name in self.environ}
        given = {f"EC2IDENT_{name.upper()}": value.replace("\0", "") for name, value in fields.items()}
        ended = bounded.run(self.command, {**kept, **given}, SECONDS)
        if ended.code:
            self.log(f"warning: on_move: {self.command[0]}: exit code {ended.code}")
        elif ended.code is None:
            self.log(f"warning: on_move: {ended.reason}")

    def _child(self, fields: Mapping[str, str]) -> None:
        """In a process of its own that the first process of the system takes over: no other one waits for it."""
        try:
            if not os.fork():
                self._run(fields)
        finally:
            os._exit(0)
