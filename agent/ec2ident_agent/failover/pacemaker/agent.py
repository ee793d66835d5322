"""The agents of Pacemaker: `ocf:ec2ident:overlay`, `bgp`, `eni`, `private`, `eip`, `dns` (OCF Resource Agent API 1.0).

The engine acts on what an agent answers, so each answer is taken from a table:

- a probe runs on every node, also where the resource must not be touched: it looks at this node alone, and writes
  nothing;
- "cannot tell" (throttled, denied, no answer) is neither a failure nor "not running" while this node holds its part;
- a stop is local: it needs no API, no metadata service, no valid configuration. If a stop fails, the node is fenced;
- a start returns 0 only if the monitor that follows will agree: otherwise the engine restarts it without end.

The engine ends an action that takes too long by SIGKILL, without a warning. So every action ends by itself before.
"""

from __future__ import annotations

import os
import sys

from ec2ident.program.frame import OutputError, Uncollected, discard_unwritten, log, prepare, say
from ec2ident_agent.errors import AgentError

from .local_state import ABSENT, HELD, LOCAL_STATES, PARTLY
from .request import OcfRequest, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import ClassVar

    from ec2ident_agent.failover.agent_bridge import AgentBridge
    from ec2ident_agent.failover.parts.part import AnyPart
    from ec2ident_agent.failover.records.audit import Audit
    from ec2ident_agent.failover.records.memory import Memory
    from ec2ident_agent.failover.session import Session
    from ec2ident_agent.failover.settings import Settings

SUCCESS, GENERIC, ARGS, UNIMPLEMENTED, PERMISSION, INSTALLED, CONFIGURED, NOT_RUNNING = range(8)

#: What the API says of the resource.
HERE, ELSEWHERE, UNKNOWN = "here", "elsewhere", "unknown"

#: The answer of a monitor, by what this node has and what the API says. "Not running" is said only if nothing is here;
#: the API is asked only if all of it is. A probe never asks the API, and must report PARTLY like a monitor: the engine
#: then stops the resource here.
ANSWERS = {
    (HELD, HERE): SUCCESS,
    (HELD, UNKNOWN): SUCCESS,
    (HELD, ELSEWHERE): GENERIC,
    (PARTLY, UNKNOWN): GENERIC,
    (ABSENT, UNKNOWN): NOT_RUNNING,
}

#: Exit codes of the command line that are not GENERIC for the engine. A wrong parameter is 2 and not 6: with 6 the
#: engine stops the resource on every node, where it may well be running.
CODES = {2: ARGS}

#: Seconds after which a deep monitor asks again before it says that another node has the resource.
LOOK_AGAIN = 1.0

#: The options that `ec2ident-agent install --ocf` writes into the agents if they are not the defaults.
FILES = {"--state-dir", "--config"}


class OcfAgent:
    """One action. `say` is the log; a test may replace `root` and `bridge`."""

    def __init__(
        self,
        request: OcfRequest,
        environ: Mapping[str, str],
        say: Callable[[str], object],
        root: str = "/",
        bridge: Callable[[], AgentBridge] | None = None,
    ) -> None:
        self.request, self.environ, self.say, self.root = request, environ, say, root
        self.bridge = bridge or self._bridge
        self.local = LOCAL_STATES[request.kind](request, self.bridge, say)

    def _bridge(self) -> AgentBridge:
        from ec2ident_agent.failover.agent_bridge import AgentBridge

        return AgentBridge(self.say, self.request.state_dir, self.request.config)

    def run(self) -> int:
        """The exit code. Raises AgentError, for which `failed` has the code."""
        return self.ACTIONS[self.request.action](self)

    def monitor(self) -> int:
        """Look at this node; a deep monitor also asks the API."""
        here = self.local.look()
        if here == PARTLY:
            self.say(f"{self.request.prefix}{self.local.lacking}")
        there = UNKNOWN
        if here == HELD and self.request.deep and not self.request.probe:
            there = self.ask()
        return ANSWERS[here, there]

    def ask(self) -> str:
        """HERE, ELSEWHERE, or UNKNOWN for whatever prevents an answer."""
        try:
            wrong = self._wrong()
        except Exception as error:  # noqa: BLE001  a bug of this program must not restart a healthy service
            self.say(f"cannot tell: {type(error).__name__}: {error}")
            return UNKNOWN
        if wrong:
            self.say(self.request.reason(wrong))
        return ELSEWHERE if wrong else HERE

    def _wrong(self) -> str:
        """What is otherwise than wanted, or "".

        EC2 is eventually consistent, and the engine looks right after a start: old answers are not a failure. Only a
        look that cannot be so old counts, or with a short time-out the last one that there is time for.
        """
        from ec2ident_agent.failover.aws import consistency

        with self._session() as session:
            deadline = session.deadline
            began, until = deadline.used, min(consistency.SETTLED, deadline.left * 0.6)
            while True:
                looked = deadline.used
                wrong = self._verify(session)
                if not wrong or looked - began >= until:
                    return wrong
                deadline.pause(min(LOOK_AGAIN, until / 4), wrong)

    def _verify(self, session: Session) -> str:
        """The findings that are otherwise than wanted, in one text."""
        findings = [finding for part in self._parts(session.settings) for finding in part.verify(session)]
        return "; ".join(finding.text for finding in findings if finding.exit == 1)

    def _parts(self, settings: Settings, bridge: AgentBridge | None = None) -> tuple[AnyPart, ...]:
        from ec2ident_agent.failover.parts.order import parts_of

        return parts_of(settings.services[0], bridge)

    def _session(self) -> Session:
        from ec2ident_agent.failover.aws.deadline import Deadline
        from ec2ident_agent.failover.session import Session

        # The API has four fifths of the action's time: after that a failed start can still undo and say so.
        deadline = Deadline(self.request.deadline * 0.8)
        return Session(
            self.settings(),
            deadline,
            self.say,
            environ=self.environ,
            root=self.root,
            advise=False,
            # The engine does not repeat a start that failed. A monitor comes again.
            patient=self.request.action == "start",
            here=self.bridge(),
            memory=self._memory(),
        )

    def _memory(self) -> Memory:
        """What this resource needs of the node, for the releases of other services."""
        from ec2ident_agent.failover.records.memory import Memory

        return Memory(os.path.join(self.request.state_dir, "failover"), f"ocf:{self.request.instance}")

    def _audit(self) -> Audit:
        from ec2ident_agent.failover.records.audit import Audit

        request = self.request
        verb, service = f"{request.kind}-{request.action}", request.instance
        return Audit(verb, service, state_dir=request.state_dir, root=self.root, environ=self.environ)

    def settings(self) -> Settings:
        """The settings that the parameters describe. Raises UsageError."""
        from .parameters import settings_of

        return settings_of(self.request.kind, self.request.values)

    def validate(self) -> int:
        """Check the parameters, without asking anything."""
        from ec2ident_agent.failover.errors import UsageError
        from ec2ident_agent.failover.parts import dns

        service = self.settings().services[0]
        if self.request.kind in ("overlay", "bgp"):
            from ec2ident_agent.config import overlay

            label = {"label": service.label} if service.label else {}
            for each in service.overlay:
                overlay({"address": each, "device": service.device, **label})
            if not service.route and not service.bgp:
                raise UsageError("tables: is missing; or give table_tag or vpc")
        if service.dns:
            dns.wanted(service.dns.name, service.dns.values or ["192.0.2.1"], service.dns.ttl)
        return SUCCESS

    def start(self) -> int:
        """Move the resource to this node."""
        from ec2ident_agent.failover.parts.part import exit_of, failures, wanted
        from ec2ident_agent.failover.takeover import Takeover

        self.validate()
        with self._session() as session, self._audit() as audit:
            run = Takeover(session, self._parts(session.settings, self.bridge()))
            decided = run.decide()
            findings = audit.findings = run.run(decided)
            audit.exit, audit.instance = exit_of(findings), session.known_instance
        # A failed start would end a service that runs, because of a table that no start can use.
        counted = wanted(findings)
        if exit_of(counted):
            self.say(self.request.reason(next(iter(failures(counted)), "not all of it moved here; see the log")))
            return GENERIC
        # The marker of what an ENI carries names that ENI only if it moves.
        interfaces = [each.decision.interface for each in decided if each.part.name == "eni"]
        self.local.keep(interfaces[0].mac if interfaces else "")
        if self.local.look() != HELD:
            self.say(f"{self.request.prefix}moved, but not all of it is on this node")
            return GENERIC
        return SUCCESS

    def stop(self) -> int:
        """Remove the resource from this node."""
        if self.local.look() == ABSENT:
            # A drop all the same: of what was added for it something may be left.
            self.local.drop()
        else:
            with self._audit():
                self.local.drop()
        if self.local.look() == ABSENT:
            try:
                self._memory().clear()
            except OSError as error:
                self.say(f"warning: {error}")
            return SUCCESS
        self.say(f"{self.request.prefix}still on this node after its removal")
        return GENERIC

    def describe(self) -> int:
        """Print the metadata."""
        from .parameters import metadata

        say(metadata(self.request.kind).rstrip("\n"))
        return SUCCESS

    ACTIONS: ClassVar[dict[str, Callable[[OcfAgent], int]]] = {
        "start": start,
        "stop": stop,
        "monitor": monitor,
        "status": monitor,
        "validate-all": validate,
        "meta-data": describe,
    }


def failed(action: str, error: AgentError) -> int:
    """The exit code for the engine of an action that ended with this error."""
    return CODES.get(error.exit, GENERIC) if action != "stop" else GENERIC


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """`KIND ACTION [--state-dir DIR] [--config FILE]`, as the engine's executables call it. Returns the exit code.

    It ends the process at the deadline.
    """
    prepare()
    with Uncollected():
        code = _main(sys.argv[1:] if arguments is None else list(arguments), os.environ if environ is None else environ)
    discard_unwritten()
    return code


def _main(words: list[str], environ: Mapping[str, str]) -> int:
    if len(words) < 2 or words[0] not in LOCAL_STATES or words[1] not in OcfAgent.ACTIONS or {*words[2::2]} - FILES:
        log(f"usage: ec2ident-ocf {{{','.join(LOCAL_STATES)}}} {{{','.join(OcfAgent.ACTIONS)}}}")
        return UNIMPLEMENTED
    request = read(words[0], words[1], environ, words[2:])
    _end_at(request)
    try:
        return OcfAgent(request, environ, log).run()
    except AgentError as error:
        log(f"{request.action}: {error}")
        log(request.reason(error))
        return failed(request.action, error)
    except OutputError as error:
        log(request.reason(str(error)))
        return GENERIC
    except OSError as error:
        log(request.reason(error))
        return GENERIC
    except Exception as error:  # noqa: BLE001  a bug of this program: the engine shows one line of it, the log has all
        import traceback

        log(traceback.format_exc())
        log(request.reason(f"{type(error).__name__}: {error}"))
        return GENERIC
    finally:
        _end_never()


def _end_at(request: OcfRequest) -> None:
    """End the process at the deadline. The change under way is in the journal, and the next action continues it."""
    import signal

    def end(*_: object) -> None:
        held = request.action == "monitor" and not request.probe
        log(f"{request.prefix}{request.action}: not done within {request.deadline:g} s")
        # A recurring deep monitor that could not look does not justify a restart of what ran a moment ago.
        os._exit(SUCCESS if held and request.deep else GENERIC)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, request.deadline)


def _end_never() -> None:
    """Stop the timer: Python takes its handler away while it exits, and then the signal kills the process."""
    import signal

    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main())
