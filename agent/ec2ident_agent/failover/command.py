"""One command of `ec2ident-failover`: its options, its settings, its session, and what it prints."""

from __future__ import annotations

import json
import os

from ec2ident.program.frame import log, say
from ec2ident.value import Value, as_dict
from ec2ident_agent.errors import AgentError
from ec2ident_agent.systemd_journal import ERROR, SystemdJournal

from . import arguments, settings
from .aws import forms
from .aws.deadline import Deadline
from .errors import UsageError
from .parts import order
from .parts.part import Finding, exit_of
from .records.memory import Memory
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .agent_bridge import AgentBridge
    from .parts.part import AnyPart
    from .records.audit import Audit
    from .settings import Service

#: Seconds for one action; a detach and the propagation of a record take longer.
DEADLINE, LONG_DEADLINE = 20.0, 120.0


def complain(error: AgentError, environ: Mapping[str, str] | None) -> None:
    """A line about what ended a command; an error in systemd's journal."""
    journal = SystemdJournal("ec2ident-failover", os.environ if environ is None else environ)
    journal.log(f"ec2ident-failover: {error}", ERROR)


class FailoverCommand:
    """One command: its options, its settings, its session, and its output."""

    def __init__(self, options: argparse.Namespace, environ: Mapping[str, str], root: str) -> None:
        self.options = options
        self.path = options.config or settings.path_from(environ)
        self.settings = self._settings()
        deadline = Deadline(self.settings.deadline or (LONG_DEADLINE if options.slow else DEADLINE))
        self.environ, self.root, name = environ, root, getattr(options, "service", "")
        #: Whether this command cannot wait for the administrator's own.
        self.hurried = False
        memory = Memory(os.path.join(self.state_dir, "failover"), name) if name else None
        self.session = Session(self.settings, deadline, log, environ=environ, root=root, memory=memory)
        if not options.instance or self.session.is_this_node:
            self.session.here = self._bridge()

    def _settings(self) -> settings.Settings:
        """The configuration, with what the options override. Errors name the option or the key of the file."""
        name, kind = getattr(self.options, "service", ""), self.options.verb.partition(" ")[0]
        # A service can only be one of the file.
        tables = settings.load(self.path, required=bool(name) or self.options.config is not None)

        def said(place: str) -> str:
            return f"{tables.where(*place.split('.'))}: {place}"

        configured = settings.read(tables, said)
        service = configured.service(name, self.path) if name else None
        if service and kind in arguments.KEYS and getattr(service, kind) is None:
            raise UsageError(f"{self.path}: service.{name}: has no {kind}")
        values, names = arguments.places(self.options)
        merged = settings.with_places(tables, values)
        return settings.read(merged, lambda place: names.get(place) or said(place))

    def __enter__(self) -> FailoverCommand:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.__exit__()

    @property
    def service(self) -> Service:
        """The service of the configuration, or the one that the options describe."""
        return self.settings.service(self.options.service)

    @property
    def expect(self) -> str:
        """The owner to take from, or "" for any. Raises UsageError."""
        given = self.options.expect
        return forms.named("--expect", forms.owner, given) if given else ""

    @property
    def here(self) -> AgentBridge | None:
        """This node, None if it is to be left alone or is not the target: only --instance may name another node."""
        return None if self.options.no_local else self.session.here

    def _bridge(self) -> AgentBridge:
        from .agent_bridge import AgentBridge

        return AgentBridge(log, self.options.state_dir or "", self.options.agent_config or "")

    @property
    def state_dir(self) -> str:
        """The directory of the agent's run state."""
        from ec2ident_agent.state.journal import STATE_DIRECTORY

        return self.options.state_dir or STATE_DIRECTORY

    def audit(self) -> Audit:
        """The line that says who did this."""
        from .records.audit import Audit

        options, on_move = self.options, None
        if self.settings.on_move:
            from .records.on_move import MoveCommand

            on_move = MoveCommand(self.settings.on_move, self.environ, log, wait=not self.hurried)
        service = getattr(options, "service", "")
        return Audit(
            options.verb, service, state_dir=self.state_dir, root=self.root, environ=self.environ, on_move=on_move
        )

    def part(self) -> AnyPart:
        """The one part that the verb is about."""
        kind = self.options.verb.partition(" ")[0]
        moving = self.options.verb == "eni move"
        found = order.parts_of(self.service, self.here if moving else None, force=moving and self.options.force)
        return next(part for part in found if part.name == kind)

    # Output

    def say(self, values: Iterable[Any], lines: Iterable[object]) -> None:
        """Print a result: one JSON array, or lines for a person."""
        if self.options.json:
            say(json.dumps([_plain(each) for each in values], indent=2))
        else:
            for line in lines:
                say(str(line))

    def plans(self, steps: Iterable[object]) -> int:
        """Print the steps of a plan. Returns 1 if there is one, as `ec2ident-agent plan` does."""
        lines = [str(step) for step in steps]
        self.say(lines, lines)
        return int(bool(lines))

    def finish(self, findings: Iterable[Finding], audit: Audit | None = None) -> int:
        """Print the results and log the rest, as they come. Returns the exit code.

        With --json every finding is printed, and also the error that ended them.
        """
        found: list[Finding] = []
        try:
            for finding in findings:
                found.append(finding)
                if finding.value is None or finding.text != str(finding.value):
                    log(str(finding))
                if finding.value is not None and not self.options.json:
                    self.say((), [finding.value])
        except AgentError as error:
            found.append(Finding(str(error), exit=error.exit))
            raise
        finally:
            if audit:
                audit.findings, audit.exit = found, exit_of(found)
                # What was found before names the instance already, if anything needed it.
                audit.instance = self.session.known_instance
            if self.options.json and found:
                self.say(map(row, found), ())
        return exit_of(found)


def row(finding: Finding) -> dict[str, Any]:
    """A finding for --json: the fields of its result, its text, its exit code, and what kind it is."""
    kind = "warning" if finding.warning else "error" if finding.error else "result" if finding.value else "note"
    kind = "error" if finding.exit > 1 else kind
    value = _plain(finding.value) if finding.value is not None else {}
    return {**value, "kind": kind, "text": finding.text, "exit": finding.exit}


def _plain(value: Any) -> Any:
    if isinstance(value, Finding):
        return row(value)
    if isinstance(value, Value):
        return {name: _plain(each) for name, each in as_dict(value).items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return str(value) if isinstance(value, Exception) else value
