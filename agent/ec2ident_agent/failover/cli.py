"""ec2ident-failover: move a service to this node. Result on stdout, log on stderr."""

from __future__ import annotations

import json
import os
import sys

from ec2ident.command import log as _log
from ec2ident.command import run, say
from ec2ident.exit_codes import ACTING_LEGEND
from ec2ident.value import Value, as_dict, replace
from ec2ident_agent.errors import AgentError

from . import dns, eni, route, settings, this_instance
from .arguments import parser
from .aws.client import Access, Api
from .aws.deadline import Deadline
from .errors import UsageError
from .route_tables import Select, check_select, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .agent_bridge import AgentBridge
    from .settings import Service, Settings

_DESCRIPTION = f"Move a service to this node. Result on stdout, log on stderr; {ACTING_LEGEND}"

#: Seconds for one action; a detach and a record's propagation take their time.
DEADLINE, LONG_DEADLINE = 20.0, 120.0

FLAGS = ("region", "profile", "role_arn", "external_id", "endpoint", "ca_bundle", "instance", "deadline", "account")


def main(argv: Sequence[str] | None = None, *, environ: Mapping[str, str] | None = None, root: str = "/") -> int:
    """Run one command; returns its exit code."""

    def answered() -> int:
        options = parser(_DESCRIPTION).parse_args(argv)
        try:
            with Command(options, os.environ if environ is None else environ, root) as command:
                return VERBS[options.verb](command)
        except AgentError as error:
            _log(f"ec2ident-failover: {error}")
            return error.exit

    return run("ec2ident-failover", answered, interrupted="interrupted; run it again to go on")


class Command:
    """One command: its settings, its deadline, its API."""

    def __init__(self, options: argparse.Namespace, environ: Mapping[str, str], root: str) -> None:
        self.options, self.environ, self.root = options, environ, root
        self.path = options.config or settings.path_from(environ)
        self.settings = self._flagged(settings.load(self.path, required=options.config is not None))
        self.deadline = Deadline(self.settings.deadline or (LONG_DEADLINE if options.slow else DEADLINE))
        self._region = ""
        self._api: Api | None = None

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self._api:
            self._api.close()

    def _flagged(self, found: Settings) -> Settings:
        """Flags override the file, and are read as strictly."""
        given = {name: getattr(self.options, name, None) for name in FLAGS}
        given = {name: value for name, value in given.items() if value is not None}
        # TOML writes a text as JSON does, and nan and inf as Python.
        lines = [f"{n} = {json.dumps(v) if isinstance(v, str) else repr(v)}" for n, v in given.items()]
        strict = settings.parse("\n".join(lines).encode())
        return replace(found, **{name: getattr(strict, name) for name in given})

    @property
    def metadata(self) -> Any:
        return this_instance.metadata_service(self.environ, self.deadline)

    @property
    def region(self) -> str:
        self._region = self._region or this_instance.region_of(self.settings.region, self.environ, self.metadata)
        return self._region

    @property
    def instance(self) -> str:
        return this_instance.instance_of(self.settings.instance, self.root, self.metadata)

    def api(self) -> Api:
        if self._api is None:
            self._api = self._make_api()
        return self._api

    def _make_api(self) -> Api:
        found = self.settings
        access = Access(
            self.region,
            found.profile,
            found.role_arn,
            found.external_id,
            found.endpoint,
            found.ca_bundle,
            found.attempt,
        )
        return Api(access, self.deadline, environ=self.environ, log=_log)

    def local(self) -> AgentBridge:
        from .agent_bridge import AgentBridge

        return AgentBridge(_log, self.options.state_dir or "", self.options.agent_config or "")

    def service(self, *instead: str) -> Service:
        """The service that is named; what describes one `instead` must not be given as well, as it would not count."""
        given = [f"--{name}" for name in instead if getattr(self.options, name)]
        if given:
            raise UsageError(f"{', '.join(given)}: not together with a service of the configuration")
        return self.settings.service(self.options.service, self.path)

    @property
    def expect(self) -> str:
        return route.check_expect(self.options.expect)

    def say(self, values: Iterable[Any], lines: Iterable[object]) -> None:
        """The result: one JSON array, or lines for a person."""
        if self.options.json:
            say(json.dumps([_plain(each) for each in values], indent=2))
        else:
            for line in lines:
                say(str(line))

    def plans(self, calls: Iterable[object]) -> int:
        """Print what would be done. 1 when there is something, as `ec2ident-agent plan` does."""
        lines = [str(call) for call in calls]
        self.say(lines, lines)
        return int(bool(lines))


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return {name: _plain(each) for name, each in as_dict(value).items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Exception) else value


# route


def _route_parts(command: Command) -> tuple[Select, tuple[str, ...], str, bool]:
    """Tables, destinations, interface, and whether to look after the check: by flags, else of the service."""
    options = command.options
    eni_id = eni.check_find(eni.Find(id=options.eni)).id if options.eni else ""
    if options.service:
        service = command.service("overlay", "table", "tag", "vpc")
        if not service.route:
            raise UsageError(f"service.{service.name}: has no route")
        part = service.route
        return part.select, service.overlay, eni_id or part.eni, part.check and not options.keep_check
    select = check_select(Select(tuple(options.table), options.tag, options.vpc))
    if not options.overlay:
        raise UsageError("route: name a service, or give --overlay")
    return select, tuple(map(settings.overlay, options.overlay)), eni_id, not options.keep_check


def _route_sight(command: Command) -> tuple[route.Sight, tuple[str, ...], bool]:
    select, destinations, eni_id, check = _route_parts(command)
    instance = "" if eni_id else command.instance
    return route.look(command.api(), select, destinations, eni=eni_id, instance=instance), destinations, check


def _results(command: Command, result: route.Result) -> int:
    for warning in result.warnings:
        _log(f"warning: {warning}")
    command.say(result.outcomes, result.outcomes)
    if result.check_switched_off:
        _log(f"{result.eni}: source/destination check switched off")
    return result.exit


def route_ensure(command: Command) -> int:
    expect = command.expect
    sight, destinations, check = _route_sight(command)
    for warning in route.warnings(sight, destinations):
        _log(f"warning: {warning}")
    moves = route.decide(sight, destinations, expect=expect)
    if command.options.plan:
        return command.plans(route.plan(sight, moves, check=check))
    return _results(command, route.ensure(command.api(), sight, moves, check=check))


def route_show(command: Command) -> int:
    sight, destinations, _ = _route_sight(command)
    if not sight.interface.check:
        _log(f"{sight.interface.id}: source/destination check is off, as it should be")
    return _results(command, route.show(sight, destinations))


def route_delete(command: Command) -> int:
    (select, destinations, _, _), expect = _route_parts(command), command.expect
    api = command.api()
    if command.options.plan:
        moves = route.removals(describe(api, select), destinations, expect=expect)
        return command.plans(call for call in (move.call() for move in moves) if call)
    return _results(command, route.delete(api, select, destinations, expect=expect))


# eni


def _eni_find(command: Command) -> eni.Find:
    options = command.options
    if options.service:
        service = command.service("id", "tag", "address")
        if not service.eni:
            raise UsageError(f"service.{service.name}: has no eni")
        return service.eni.find
    return eni.check_find(eni.Find(options.id, options.tag, options.address))


def eni_create(command: Command) -> int:
    import uuid

    options = command.options
    made = eni.create(
        command.api(), options.subnet, options.address, options.group, options.description, str(uuid.uuid4())
    )
    command.say([made], [_eni_line(made)])
    return 0


def _eni_line(found: Any) -> str:
    held = found.attachment
    where = f"{held.status} to {held.instance or 'a service of AWS'} index {held.index}" if held else found.status
    check = f"source/destination check {'on' if found.check else 'off'}"
    return f"{found.id} {','.join((*found.addresses, *found.ipv6))} {found.mac} {found.zone} {where}, {check}"


def eni_show(command: Command) -> int:
    find = _eni_find(command)
    found = eni.find(command.api(), find)
    command.say([found], [_eni_line(found)])
    return 0 if eni.here(found, command.instance) else 1


def eni_move(command: Command) -> int:
    options, expect = command.options, command.expect
    find = _eni_find(command)
    part = (command.service().eni if options.service else None) or settings.EniPart(find)
    part = settings.flagged(part, index=options.index, grace=options.grace)
    target, api = command.instance, command.api()
    moving, there = eni.look(api, find, target)
    eni.check(moving, there, expect=expect, index=part.index)
    if options.plan:
        return command.plans(eni.plan(moving, there, index=part.index, force=options.force))
    was_here = eni.here(moving, target)
    moved = eni.move(api, moving, there, index=part.index, expect=expect, grace=part.grace, force=options.force)
    command.say([moved], [_eni_line(moved)])
    if was_here:
        _log(f"{moved.id}: is here already")
    if not options.no_local and _is_this_node(command, target):
        from .takeover import settle

        settle(command.local(), moved, command.deadline, _log)
    return 0


def _is_this_node(command: Command, target: str) -> bool:
    """Only a target that was given can be another node; this one is then known by its board tag alone."""
    return not command.options.instance or this_instance.board_tag(command.root) == target


# dns


def _dns_part(command: Command) -> tuple[settings.DnsPart, tuple[Any, ...], tuple[Any, ...]]:
    """What is configured or given, the record sets, and what the zone says of them."""
    options = command.options
    overlay: tuple[str, ...] = ()
    if options.service:
        service = command.service("zone", "name", "vpc")
        if not service.dns:
            raise UsageError(f"service.{service.name}: has no dns")
        part, overlay = service.dns, service.overlay
    elif options.zone and options.name:
        part = settings.DnsPart(dns.zone_id(options.zone), options.name, vpc=settings.vpc(options.vpc))
    else:
        raise UsageError("dns: name a service, or give --zone and --name")
    resolver = dns.server_of(options.resolver) if options.resolver else part.resolver
    part = replace(part, resolver=resolver, ttl=part.ttl if options.ttl is None else options.ttl)
    values, api = tuple(options.value) or part.values or overlay, command.api()
    own = None if values else route.carrier(api, "", command.instance)
    records = dns.wanted(part.name, own.addresses[:1] if own else values, part.ttl)
    return part, records, dns.look(api, part.zone, records, vpc=part.vpc, own=own.vpc if own else "")


def dns_show(command: Command) -> int:
    part, records, found = _dns_part(command)
    command.say(found, found)
    return max(int(any(found)), _confirm(command, part.resolver, records, once=True))


def dns_ensure(command: Command) -> int:
    part, records, found = _dns_part(command)
    api = command.api()
    if command.options.plan:
        return command.plans(dns.plan(part.zone, found))
    change = dns.upsert(api, part.zone, found)
    command.say(found, [f"{'upserted' if each else 'right'}: {each.wanted}" for each in found])
    if change:
        _log(f"change {change.id}: {change.status}")
        if part.wait and change.status != "INSYNC" and not command.options.no_wait:
            _log(f"change {change.id}: {dns.wait(api, change).status}")
    return _confirm(command, part.resolver, records)


def _confirm(command: Command, resolver: str, records: Sequence[Any], *, once: bool = False) -> int:
    if not resolver:
        return 0
    import random

    number = random.SystemRandom()
    seen = dns.confirm(command.api(), resolver, records, lambda: number.randrange(65536), once=once)
    for each in seen:
        _log(f"resolver {resolver}: {each}")
    return int(any(seen))


def dns_zone(command: Command) -> int:
    import uuid

    options = command.options
    zone, said = dns.zone(command.api(), options.name, options.vpc, command.region, f"ec2ident-{uuid.uuid4()}")
    command.say([{"zone": zone, "done": list(said)}], [*said, zone])
    return 0


# policy, bind, takeover


def policy(command: Command) -> int:
    from .aws import actions
    from .policy import assume, document

    found = command.settings
    if command.options.node_role:
        if not found.role_arn:
            raise UsageError("policy: --node-role is for a configured role_arn")
        say(json.dumps(assume(found.role_arn, found.external_id), indent=2))
        return 0
    account = found.account or (found.role_arn.split(":")[4] if found.role_arn else "")
    account = account or command.api().call(actions.caller_identity())
    say(json.dumps(document(found, command.region, account), indent=2))
    return 0


def bind(command: Command) -> int:
    from .bind import Forwarder, configuration

    options = command.options
    zones = options.zone or [each.dns.name.partition(".")[2] for each in command.settings.services if each.dns]
    wanted = Forwarder(tuple(options.client), tuple(zones), tuple(options.forwarder), tuple(options.listen))
    log = options.log or f"{options.directory.rstrip('/')}/queries.log"
    say(configuration(replace(wanted, port=options.port, directory=options.directory, log=log)).rstrip("\n"))
    return 0


def takeover(command: Command) -> int:
    from .takeover import Takeover

    options, service, expect = command.options, command.service(), command.expect
    target = command.instance
    here = command.local() if not options.no_local and _is_this_node(command, target) else None
    run = Takeover(command.api(), service, target, here, _log)
    decision = run.decide(expect=expect, force=options.force)
    if options.plan:
        return command.plans(run.plan(decision))
    code = run.run(decision)
    said = "is here" if not code else f"exit {code}: run it again to go on"
    command.say([{"service": options.service, "instance": target, "exit": code}], [f"{options.service}: {said}"])
    return code


VERBS = {
    "route ensure": route_ensure,
    "route show": route_show,
    "route delete": route_delete,
    "eni create": eni_create,
    "eni show": eni_show,
    "eni move": eni_move,
    "dns show": dns_show,
    "dns ensure": dns_ensure,
    "dns zone": dns_zone,
    "policy": policy,
    "bind": bind,
    "takeover": takeover,
}


if __name__ == "__main__":
    sys.exit(main())
