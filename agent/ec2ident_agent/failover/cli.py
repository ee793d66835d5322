"""ec2ident-failover: move a service to this node. Results go to stdout, the log to stderr."""

from __future__ import annotations

import json
import os
import sys

from ec2ident.program.frame import log, run, say
from ec2ident.value import Value, as_dict, replace
from ec2ident_agent.errors import AgentError

from . import arguments, dns, eni, parts, route, settings
from .aws import forms
from .aws.deadline import Deadline
from .errors import UsageError
from .part import Finding, exit_of, wanted
from .route_tables import describe
from .session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from .agent_bridge import AgentBridge
    from .part import AnyPart
    from .settings import Service

#: Seconds for one action; a detach and the propagation of a record take longer.
DEADLINE, LONG_DEADLINE = 20.0, 120.0


def main(argv: Sequence[str] | None = None, *, environ: Mapping[str, str] | None = None, root: str = "/") -> int:
    """Run one command; returns its exit code."""

    def answered() -> int:
        options = arguments.parser().parse_args(argv)
        try:
            with FailoverCommand(options, os.environ if environ is None else environ, root) as command:
                return VERBS[options.verb](command)
        except AgentError as error:
            log(f"ec2ident-failover: {error}")
            return error.exit

    return run("ec2ident-failover", answered, interrupted="interrupted; run it again to go on")


class FailoverCommand:
    """One command: its options, its settings, its session, and its output."""

    def __init__(self, options: argparse.Namespace, environ: Mapping[str, str], root: str) -> None:
        self.options = options
        self.path = options.config or settings.path_from(environ)
        self.settings = self._settings()
        deadline = Deadline(self.settings.deadline or (LONG_DEADLINE if options.slow else DEADLINE))
        self.session = Session(self.settings, deadline, log, environ=environ, root=root)
        if not options.instance or self.session.is_this_node:
            self.session.here = self._bridge()

    def _settings(self) -> settings.Settings:
        """The configuration, with what the options override. Errors name the option or the key of the file."""
        tables = settings.load(self.path, required=self.options.config is not None)

        def said(place: str) -> str:
            return f"{tables.where(*place.split('.'))}: {place}"

        configured = settings.read(tables, said)
        name, kind = getattr(self.options, "service", ""), self.options.verb.partition(" ")[0]
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

    def part(self) -> AnyPart:
        """The one part that the verb is about."""
        kind = self.options.verb.partition(" ")[0]
        moving = self.options.verb == "eni move"
        found = parts.parts_of(self.service, self.here if moving else None, force=moving and self.options.force)
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

    def finish(self, findings: Iterator[Finding]) -> int:
        """Print the results and log the rest, as they come. Returns the exit code."""
        found: list[Finding] = []
        try:
            for finding in findings:
                found.append(finding)
                if finding.value is None or finding.text != str(finding.value):
                    log(finding.text)
                if finding.value is not None and not self.options.json:
                    self.say((), [finding.value])
        finally:
            results = [finding.value for finding in found if finding.value is not None]
            if self.options.json and results:
                self.say(results, ())
        return exit_of(found)


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return {name: _plain(each) for name, each in as_dict(value).items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Exception) else value


# One part


def ensure(command: FailoverCommand) -> int:
    """`route ensure`, `eni move`, `dns ensure`: run one part, or print its plan."""
    expect, part = command.expect, command.part()
    sight = part.look(command.session)
    for warning in sight.warnings:
        log(f"warning: {warning}")
    decision = part.decide(sight, expect)
    if command.options.dry_run:
        return command.plans(step for step in part.plan(decision) if not step.note)
    return command.finish(part.run(command.session, decision))


def status(command: FailoverCommand) -> int:
    """`route status`, `eni status`, `dns status`: verify one part."""
    return command.finish(command.part().verify(command.session))


def route_delete(command: FailoverCommand) -> int:
    """`route delete`: remove the route from its tables."""
    expect, part, api = command.expect, command.part(), command.session.api()
    assert isinstance(part, route.RoutePart)
    if command.options.dry_run:
        tables = describe(api, part.settings.select)
        moves = route.removals(tables, part.destinations, expect=expect)
        return command.plans(call for call in (move.call() for move in moves) if call)
    result = route.delete(api, part.settings.select, part.destinations, expect=expect)
    return command.finish(route.findings(result.outcomes))


def eni_create(command: FailoverCommand) -> int:
    """`eni create`: create an ENI, or find the one that has the address."""
    import uuid

    options, token = command.options, str(uuid.uuid4())
    api = command.session.api()
    made = eni.create(api, options.subnet, options.address, options.group, options.description, token)
    command.say([made], [made])
    return 0


def dns_zone(command: FailoverCommand) -> int:
    """`dns zone`: make sure that a VPC has a private zone."""
    import uuid

    options, session = command.options, command.session
    zone, done = dns.zone(session.api(), options.name, options.vpc, session.region, f"ec2ident-{uuid.uuid4()}")
    command.say([{"zone": zone, "done": list(done)}], [*done, zone])
    return 0


# The whole configuration


def policy(command: FailoverCommand) -> int:
    """`policy`: print what IAM must allow."""
    from .aws import actions
    from .policy import assume, document

    found, session = command.settings, command.session
    if command.options.node_role:
        if not found.role_arn:
            raise UsageError("policy: --node-role needs a configured role_arn")
        say(json.dumps(assume(found.role_arn, found.external_id), indent=2))
        return 0
    account = found.account or (found.role_arn.split(":")[4] if found.role_arn else "")
    account = account or session.api().call(actions.caller_identity())
    say(json.dumps(document(found, session.region, account), indent=2))
    return 0


def bind(command: FailoverCommand) -> int:
    """`bind`: print the named.conf of a forwarder."""
    from .bind import Forwarder, configuration

    options = command.options
    zones = options.zone or [each.dns.name.partition(".")[2] for each in command.settings.services if each.dns]
    wanted = Forwarder(tuple(options.client), tuple(zones), tuple(options.forwarder), tuple(options.listen))
    queries = options.log or f"{options.directory.rstrip('/')}/queries.log"
    wanted = replace(wanted, port=options.port, directory=options.directory, log=queries)
    say(configuration(wanted).rstrip("\n"))
    return 0


def takeover(command: FailoverCommand) -> int:
    """`takeover`: run all parts of a service, or print their plan."""
    from .takeover import Takeover

    options, expect, session = command.options, command.expect, command.session
    session.advise = False
    run = Takeover(session, parts.parts_of(command.service, command.here, force=options.force))
    decided = run.decide(expect=expect)
    if options.dry_run:
        return command.plans(run.plan(decided))
    findings = run.run(decided)
    code, moved = exit_of(findings), not exit_of(wanted(findings))
    said = "is here" if moved else f"exit {code}: run it again to go on"
    if moved and code:
        said += f", but exit {code}: the log names the settings to correct"
    command.say(
        [{"service": options.service, "instance": session.instance, "exit": code}], [f"{options.service}: {said}"]
    )
    return code


VERBS = {
    "route ensure": ensure,
    "route status": status,
    "route delete": route_delete,
    "eni create": eni_create,
    "eni status": status,
    "eni move": ensure,
    "dns status": status,
    "dns ensure": ensure,
    "dns zone": dns_zone,
    "policy": policy,
    "bind": bind,
    "takeover": takeover,
}


if __name__ == "__main__":
    sys.exit(main())
