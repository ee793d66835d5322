"""ec2ident-failover: move a service to this node. Results go to stdout, the log to stderr."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from itertools import chain

from ec2ident.program import exit_codes
from ec2ident.program.frame import log, run, say
from ec2ident.value import Value, as_dict, replace
from ec2ident_agent.errors import AgentError
from ec2ident_agent.systemd_journal import ERROR, INFO, SystemdJournal

from . import arguments
from .aws import forms
from .aws.deadline import each_ended
from .aws.model import Change
from .command import FailoverCommand, complain, row
from .dns import zone
from .errors import UsageError
from .parts import dns, eni, order, route
from .parts.part import Finding, exit_of, wanted, warnings_of
from .parts.route_tables import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .parts.part import AnyPart
    from .session import Session


def main(argv: Sequence[str] | None = None, *, environ: Mapping[str, str] | None = None, root: str = "/") -> int:
    """Run one command; returns its exit code."""

    def answered() -> int:
        options = arguments.parser().parse_args(argv)
        try:
            with FailoverCommand(options, os.environ if environ is None else environ, root) as command:
                return VERBS[options.verb](command)
        except AgentError as error:
            complain(error, environ)
            return error.exit

    return run("ec2ident-failover", answered, interrupted="interrupted; run it again to go on")


# One part


def ensure(command: FailoverCommand) -> int:
    """`route ensure`, `eni move`, `private ensure`, `eip ensure`, `dns ensure`: run one part, or print its plan."""
    expect, part = command.expect, command.part()
    sight = part.look(command.session)
    if command.options.dry_run:
        for warning in warnings_of(sight.warnings):
            log(str(warning))
        return command.plans(step for step in part.plan(part.decide(sight, expect)) if not step.note)
    with command.audit() as audit:
        decision = part.decide(sight, expect)
        return command.finish(chain(warnings_of(sight.warnings), part.run(command.session, decision)), audit)


def status(command: FailoverCommand) -> int:
    """`route status` and its like: verify one part."""
    return command.finish(command.part().verify(command.session))


def route_delete(command: FailoverCommand) -> int:
    """`route delete`: remove the route from its tables."""
    expect, part = command.expect, command.part()
    assert isinstance(part, route.RoutePart)
    api = command.session.api_for(part.settings)
    if command.options.dry_run:
        tables = describe(api, part.settings.select)
        moves = route.removals(tables, part.destinations, expect=expect)
        return command.plans(call for call in (move.call() for move in moves) if call)
    with command.audit() as audit:
        outcomes = route.delete(api, part.settings.select, part.destinations, expect=expect)
        return command.finish(route.findings(outcomes), audit)


def eni_create(command: FailoverCommand) -> int:
    """`eni create`: create an ENI, or find the one that has the address or that this verb made."""
    options, api = command.options, command.session.api()
    wanted = eni.creation(api, options.subnet, options.address, options.group, options.description, options.tag)
    if options.dry_run:
        return command.plans(() if wanted.found else [wanted.call])
    with command.audit() as audit:
        made = eni.create(api, wanted)
        audit.findings = [] if wanted.found else [Finding(f"created {made}", made)]
    command.say([made], [made])
    return 0


def dns_zone(command: FailoverCommand) -> int:
    """`dns zone`: make sure that a VPC has a private zone."""
    options, session = command.options, command.session
    if options.dry_run:
        sight = zone.look(session.api(), options.name, options.vpc, session.region, tags=options.tag)
        return command.plans(sight.calls())
    with command.audit() as audit:
        found = zone.ensure(session.api(), options.name, options.vpc, session.region, tags=options.tag)
        audit.findings = [Finding(str(found), found)] if found.done else []
    command.say([found], [*found.done, found.zone])
    return 0


def dns_wait(command: FailoverCommand) -> int:
    """`dns wait`: wait until every name server has a change."""
    change = Change(forms.named("CHANGE", forms.change, command.options.change), "PENDING")
    done = dns.wait(command.session.api(), change, first=0.0)
    command.say([done], [f"change {done.id}: {done.status}"])
    return 0


# A whole service


def service_status(command: FailoverCommand) -> int:
    """`status`: verify all parts of a service at the same time. A part that cannot tell does not hide the others."""
    options = command.options
    if options.metrics and not options.metrics.endswith(".prom"):
        raise UsageError(f"--metrics {options.metrics}: the collector reads only names that end in .prom")
    answers = _answers(command)
    command.say(answers, [line for answer in answers for line in answer.lines()])
    for answer in answers if not options.json else ():
        for finding in answer.findings:
            if finding.warning:
                log(f"{answer.part}: {finding}")
    if options.metrics:
        # Last: a file that cannot be written must not keep the answer from a person.
        _write_metrics(command, answers)
    return max((answer.exit for answer in answers), default=0)


def _write_metrics(command: FailoverCommand, answers: Sequence[PartStatus]) -> None:
    """Replace the file of `--metrics`. Raises OSError."""
    import time

    from ec2ident import __version__
    from ec2ident_agent.exposition import exposition
    from ec2ident_agent.state import statefile

    from .records.metrics import families
    from .records.moves import last_move

    service = command.options.service
    parts_ = {answer.part: answer.exit for answer in answers}
    found = families(__version__, service, parts_, last_move(command.state_dir, service), time.time())
    statefile.write(command.options.metrics, exposition(found))


def _answers(command: FailoverCommand) -> list[PartStatus]:
    found = order.parts_of(command.service, command.here)
    ended = each_ended(partial(_verified, command.session), found)
    return [_answer(part.name, done) for part, done in zip(found, ended)]


def _verified(session: Session, part: AnyPart) -> list[Finding]:
    return list(part.verify(session))


class PartStatus(Value):
    """How one part stands: `answer` is yes (as it should be on this node), no, or cannot tell."""

    part: str
    answer: str
    exit: int
    findings: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """For a person: the answer, and each thing found."""
        said = [finding.text for finding in self.findings if not finding.warning]
        return [f"{self.part:<8} {self.answer:<11} {text}".rstrip() for text in said or [""]]


def _answer(part: str, done: list[Finding] | BaseException) -> PartStatus:
    if isinstance(done, AgentError):
        done = [Finding(str(done), exit=done.exit)]
    elif isinstance(done, BaseException):
        raise done
    exit_ = exit_of(done)
    return PartStatus(part, {0: "yes", 1: "no"}.get(exit_, "cannot tell"), exit_, tuple(done))


def release(command: FailoverCommand) -> int:
    """`release`: let all parts go, this node's first, or print the plan. Each is tried, whatever became of another."""
    session, options = command.session, command.options
    found = order.parts_of(command.service, command.here)
    # What needs no API comes first: two nodes must not answer for an address.
    ordered = order.in_order_of_release(found)
    if options.local:
        return _release_here(command)
    if options.dry_run:
        return command.plans(line for part in ordered for step in part.release(session) for line in step.commands)
    with command.audit() as audit:
        return command.finish((finding for part in ordered for finding in _released(session, part)), audit)


def _released(session: Session, part: AnyPart) -> Iterator[Finding]:
    try:
        for step in part.release(session):
            yield from step.do()
    except AgentError as error:
        yield Finding(f"{part.name}: {error}", exit=error.exit, error=error)


#: Seconds to wait for the agent's lock before the addresses are removed without it.
LOCK = 1.0


def _release_here(command: FailoverCommand) -> int:
    """Withdraw the service's addresses, and remove them. It needs neither the API nor the metadata service."""
    from .parts.address import AddressPart
    from .parts.bgp import BgpPart

    here = command.here
    if here is None:
        raise UsageError("release --local: --instance names another node")
    found = order.parts_of(command.service, here)
    held = [part for part in found if isinstance(part, AddressPart) and not part.kept]
    announcing = [part for part in found if isinstance(part, BgpPart)]
    addresses = [each for part in held for each in part.addresses]
    if not addresses and not announcing:
        return exit_codes.DONE
    if command.options.dry_run:
        withdrawn = (line for part in announcing for step in part.release(command.session) for line in step.commands)
        return command.plans(chain(withdrawn, here.removal(*addresses) if addresses else ()))

    def let_go() -> Iterator[Finding]:
        for part in announcing:
            yield from part.let_go()
        if addresses:
            here.let_go(*addresses, wait=LOCK)
        yield from (Finding(f"{each}: not on this node") for each in addresses)

    with command.audit() as audit:
        return command.finish(let_go(), audit)


# Under a manager that has elected a leader


def _other(command: FailoverCommand, verb: str) -> FailoverCommand:
    """The same command line with another verb, and with a deadline that begins now."""
    import argparse

    given = {**vars(command.options), "verb": verb, "force": False, "no_local": False, "local": verb == "release"}
    return FailoverCommand(argparse.Namespace(**given), command.environ, command.root)


def _took(command: FailoverCommand) -> int:
    """Take the service. Returns the exit code, of an error too."""
    try:
        with _other(command, "takeover") as taking:
            return takeover(taking)
    except AgentError as error:
        complain(error, command.environ)
        return error.exit


def _let_go(command: FailoverCommand, *, hurried: bool = False) -> int:
    with _other(command, "release") as releasing:
        releasing.hurried = hurried
        return _release_here(releasing)


def hold(command: FailoverCommand) -> int:
    """`hold`: hold a service while its leader key says so. Ends with SIGTERM, and releases it first."""
    import time

    from ec2ident_agent.watch.sd_notify import Supervisor

    from .leader import question
    from .leader.hold import FAILING, Hold, HoldState, Timing

    wanted = command.service.hold
    if wanted is None:
        raise UsageError(f"{command.path}: service.{command.options.service}: has no hold")

    def ask(seconds: float) -> question.LeaderAnswer:
        if wanted.leader:
            return question.ask(wanted.leader, seconds, wanted.ca)
        return question.run(wanted.command, seconds)

    def work(checking: bool) -> int:
        if checking:
            with _other(command, "status") as looking:
                # Only a part that is certainly elsewhere is taken again.
                if not any(answer.exit == exit_codes.NO for answer in _answers(looking)):
                    return exit_codes.DONE
        return _took(command)

    supervisor, journal = Supervisor(command.environ), SystemdJournal("ec2ident-failover", command.environ)
    service = command.options.service

    def alive(state: HoldState) -> None:
        supervisor.alive()
        supervisor.status(str(state))

    def told(state: HoldState) -> None:
        fields = {"event": "hold", "service": service, "state": state.state, "leader": state.leader}
        journal.log(str(state), ERROR if state.state == FAILING else INFO, fields)
        if command.options.json:
            say(json.dumps({"time": round(time.time(), 3), "event": "hold", "service": service, **as_dict(state)}))

    supervisor.ready()
    timing = Timing(wanted.every, wanted.timeout, wanted.release_after)
    try:
        Hold(ask, work, lambda: _let_go(command, hurried=True), timing).run(told, alive)
    finally:
        supervisor.stopping()
    return exit_codes.DONE


def callback(command: FailoverCommand) -> int:
    """`callback`: do what an engine's call means. Patroni ends a call by the next one, so there it is repeated."""
    import time

    from .leader.callbacks import ENGINES, NOTHING, RELEASE

    engine = command.options.engine
    wanted, pause = ENGINES[engine](command.options.words), 1.0
    if wanted == NOTHING:
        return exit_codes.DONE
    while True:
        code = _let_go(command) if wanted == RELEASE else _took(command)
        if engine != "patroni" or code in (exit_codes.DONE, exit_codes.NO, exit_codes.USAGE):
            return code
        time.sleep(pause)
        pause = min(60.0, pause * 2)


# The whole configuration


def policy(command: FailoverCommand) -> int:
    """`policy`: print what IAM must allow."""
    from .iam.command import PolicyCommand

    say(json.dumps(PolicyCommand(command.options, command.session, command.settings).document(), indent=2))
    return 0


def bind(command: FailoverCommand) -> int:
    """`bind`: print the named.conf of a forwarder, or the lines for the resolvers outside."""
    from .dns.bind import Forwarder, configuration, internal

    options, found = command.options, command.settings
    zones = options.zone or [each.dns.name.partition(".")[2] for each in found.services if each.dns]
    if not options.zone and zones:
        zones = [*zones, *internal(found.region)]
    if options.corporate:
        from .dns.corporate import lines

        say(lines(options.corporate, zones, options.forwarder).rstrip("\n"))
        return 0
    wanted = Forwarder(tuple(options.client), tuple(zones), tuple(options.forwarder), tuple(options.listen))
    queries = options.log or f"{options.directory.rstrip('/')}/queries.log"
    wanted = replace(wanted, port=options.port, directory=options.directory, log=queries)
    say(configuration(wanted).rstrip("\n"))
    return 0


def bgp(command: FailoverCommand) -> int:
    """`bgp`: print or install the frr.conf of this node, for one service or for all that FRR announces."""
    from .agent_bridge import source_to
    from .bgp import frr
    from .bgp.speaker import speaker

    options = command.options
    if (options.check or options.dry_run) and not options.install:
        raise UsageError("--check, --dry-run: only with --install; without it nothing is changed")
    services = [each for each in command.settings.services if each.bgp and options.service in ("", each.name)]
    if not services:
        raise UsageError(f"{command.path}: no [service.….bgp] is configured")
    address = forms.named("--address", forms.ipv4, options.address) if options.address else ""
    wanted = speaker(services, address, source_to)
    if options.install:
        from .bgp.frr_conf import FrrConf

        conf = FrrConf(wanted, command.root, command.session.deadline.left)
        return conf.install(say, log, dry_run=options.dry_run, compare_only=options.check)
    say(frr.configuration(wanted).rstrip("\n"))
    return 0


def takeover(command: FailoverCommand) -> int:
    """`takeover`: run all parts of a service, or print their plan."""
    from .takeover import Takeover

    options, expect, session = command.options, command.expect, command.session
    session.advise = False
    run = Takeover(session, order.parts_of(command.service, command.here, force=options.force))
    if options.dry_run:
        return command.plans(run.plan(run.decide(expect=expect)))
    ended = {"service": options.service, "instance": "", "exit": exit_codes.FAILED}
    with command.audit() as audit:
        try:
            findings = run.run(run.decide(expect=expect))
            code, moved = exit_of(findings), not exit_of(wanted(findings))
            ended["instance"], ended["exit"] = session.known_instance, code
        except AgentError as error:
            ended["exit"] = error.exit
            run.told.append(("", Finding(str(error), exit=error.exit)))
            raise
        finally:
            audit.findings, audit.exit = [finding for _, finding in run.told], int(ended["exit"])
            audit.instance = session.known_instance
            told = [{"part": part, **row(finding)} for part, finding in run.told]
            command.say([{**ended, "findings": told}] if options.json else (), ())
    said = "is here" if moved else f"exit {code}: run it again to go on"
    if moved and code:
        said += f", but exit {code}: the log names the settings to correct"
    if not options.json:
        say(f"{options.service}: {said}")
    return code


VERBS = {
    "route ensure": ensure,
    "route status": status,
    "route delete": route_delete,
    "eni create": eni_create,
    "eni status": status,
    "eni move": ensure,
    "private status": status,
    "private ensure": ensure,
    "eip status": status,
    "eip ensure": ensure,
    "dns status": status,
    "dns ensure": ensure,
    "dns wait": dns_wait,
    "dns zone": dns_zone,
    "hold": hold,
    "callback": callback,
    "policy": policy,
    "bind": bind,
    "bgp": bgp,
    "takeover": takeover,
    "release": release,
    "status": service_status,
}


if __name__ == "__main__":
    sys.exit(main())
