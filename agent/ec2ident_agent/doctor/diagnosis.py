"""Which program may delete the agent's objects on this node, what is wrong with them now, and how to correct both.

    ec2ident-agent doctor [--json]                     print what was found; exit code 1 if there is something to do
    ec2ident-agent doctor --fix [PROGRAM…] [--dry-run] write the settings that prevent a deletion
    ec2ident-agent doctor --unfix [--dry-run]          remove the files that --fix has written

A threat is an event at which a program deletes objects of the agent; the package `threats` finds them. A fault is what
is wrong at this moment; the functions of this module find those. Each is printed with its cause and a command or a
setting that corrects it.
"""

from __future__ import annotations

from ec2ident.value import Value, replace
from ec2ident_agent.errors import ConfigError, RefusedError, UnknownError
from ec2ident_agent.items import Route, Rule, diff, family, owner_test
from ec2ident_agent.manager_names import known_name
from ec2ident_agent.notes import NOT_HELD
from ec2ident_agent.profile import inside_vpc

from .threats import threats
from .threats.node_view import OPEN, PREVENTED, WATCH, NodeView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ec2ident_agent.desired import Unknown
    from ec2ident_agent.install.installer import Plan
    from ec2ident_agent.install.rootfs import RootFs

    from .threats.node_view import DropIn, Threat

    Say = Callable[[str], object]

MAIN, LOCAL = 254, 255
#: As it is installed, and as a module.
PROGRAMS = ("ec2ident-agent", "ec2ident_agent")


class Fault(Value):
    """What is wrong at this moment: what it is, why it matters, and what corrects it."""

    what: str
    why: str
    do: str


# -- what is wrong now ------------------------------------------------------------------------------------------------

#: Tables that other software uses: a file that it installs, the first and the last table, its name.
TABLES = (
    ("/usr/sbin/tailscaled", 52, 52, "tailscale"),
    ("/usr/sbin/charon-systemd", 220, 220, "strongSwan"),
    ("/usr/lib/ipsec/charon", 220, 220, "strongSwan"),
    ("/etc/netplan", 101, 115, "cloud-init, 100 + the number of the NIC, with netplan"),
    ("/usr/bin/setup-policy-routes", 10000, 10999, "amazon-ec2-net-utils"),
    ("/etc/sysconfig/network-scripts/ec2net-functions", 10000, 10099, "amazon-ec2-net-utils 1"),
    ("/opt/cni/bin/aws-cni", 1, 99, "amazon-vpc-cni"),
    ("/opt/cni/bin/aws-cni", 10000, 10999, "amazon-vpc-cni"),
    ("/opt/cni/bin/cilium-cni", 10, 99, "Cilium"),
    ("/opt/cni/bin/cilium-cni", 200, 202, "Cilium"),
    ("/opt/cni/bin/cilium-cni", 300, 399, "Cilium"),
    ("/usr/libexec/nm-cloud-setup", 30200, 30499, "nm-cloud-setup"),
    ("/usr/libexec/cloud-netconfig", 30000, 30499, "cloud-netconfig"),
    ("/usr/bin/wg-quick", 51820, 51919, "wg-quick"),
)


def faults(view: NodeView) -> list[Fault]:
    """What is wrong at this moment. Each kind of fault has a function of its own."""
    looks = (_refused, _taken, _conflicts, _watch, _local_rule, _tables, _unserved, _unrouted, _inside)
    return [fault for look in looks for fault in look(view)]


def _refused(view: NodeView) -> Iterator[Fault]:
    """A configuration that `apply` refuses, since it would divert packets of another interface or change its table."""
    for each in view.refusals:
        what, _, do = each.why.rpartition("; ")
        yield Fault(f"{each.owner}: {what}", "apply changes nothing for it", do)


def _taken(view: NodeView) -> Iterator[Fault]:
    """The kernel's own routing decision differs from what the owner's table says."""
    for each in view.taken:
        why = "the VPC drops packets that leave by an interface which does not have their source"
        yield Fault(f"{each.owner}: {each}", why, each.advice)


def _conflicts(view: NodeView) -> Iterator[Fault]:
    """A foreign object where an item should be. `apply` changes neither that object nor any item of the same owner."""
    for conflict in diff(view.items, view.observed, owner_test(view.observed, view.items)).conflicts:
        why = "apply does not change that object, and changes nothing for the owner of the item"
        yield Fault(conflict.what, why, conflict.advice)


def _watch(view: NodeView) -> Iterator[Fault]:
    """The watch is enabled and does not run, so what is deleted is not added again.

    Without /run/systemd/system the root directory is that of an image, where nothing runs.
    """
    node = view.files
    pairs = [pair for words in node.commands() for pair in zip(words, words[1:])]
    running = any(verb == "watch" and program.rpartition("/")[2] in PROGRAMS for program, verb in pairs)
    if view.items and node.enabled(WATCH) and node.exists("/run/systemd/system") and not running:
        yield Fault(
            f"{WATCH} is enabled and does not run",
            "until it runs, what is lost is not added again",
            f"systemctl start {WATCH}; systemctl status {WATCH} says why it ended",
        )


def _local_rule(view: NodeView) -> Iterator[Fault]:
    """A rule of the agent that comes before the rule of the table local, which delivers packets to this node.

    That rule has priority 0 by default; amazon-vpc-cni moves it to 20, and Cilium to 100.
    """
    for seen in view.observed.seen:
        item = seen.item
        if not isinstance(item, Rule) or item.table != LOCAL or item.source or seen.extra not in ((), ("inet6",)):
            continue
        version = 6 if seen.extra else 4
        mine = [rule for rule in view.of(Rule) if family(rule.source or rule.destination) == version]
        early = sorted({rule.priority for rule in mine if rule.priority <= item.priority})
        if early:
            yield Fault(
                f"priority {', '.join(map(str, early))} is not behind the IPv{version} rule of the table local,"
                f" {item.priority}",
                "packets between this node's own addresses may leave through the network card; amazon-vpc-cni moves"
                " that rule to 20, Cilium to 100",
                f"choose priority = {item.priority + 1} or more",
            )


def _tables(view: NodeView) -> Iterator[Fault]:
    """A table of the agent that other software on this node uses too."""
    mine = sorted({item.table for item in view.of(Route)})
    for mark, start, end, who in TABLES:
        for table in mine:
            if start <= table <= end and view.files.exists(mark):
                yield Fault(
                    f"table {table} is one of {who}'s ({start}{f' to {end}' if end > start else ''})",
                    "both would write their routes into it",
                    "choose another table; no software that we know uses those from 23600",
                )


def _unserved(view: NodeView) -> Iterator[Fault]:
    """An interface that no program configures, and an address of an ENI that no program has added."""
    for note in view.notes:
        yield Fault(f"{note.owner}: {note.what}" if note.kind == NOT_HELD else note.what, note.why, note.do)


def _unrouted(view: NodeView) -> Iterator[Fault]:
    """An overlay address that the VPC routes to an interface which is not configured: answers leave by another one."""
    for overlay in view.overlays:
        if overlay.via and not any(profile.carries(overlay) for profile in view.profiles):
            strict = any(
                view.files.sysctl("net/ipv4/conf/{device}/rp_filter", name) == 1 for name in ("all", overlay.via)
            )
            dropped = "; requests are dropped already, by rp_filter = 1" if strict else ""
            yield Fault(
                f"{overlay.owner} is routed to {overlay.via}, which has no [interface.{overlay.via}]",
                f"answers leave by the default route, and the VPC drops them as spoofed{dropped}",
                f"write [interface.{overlay.via}]: its rules then cover the overlay too",
            )


def _inside(view: NodeView) -> Iterator[Fault]:
    """An overlay address inside the address ranges of the VPC."""
    inside = inside_vpc(view.profiles)
    for overlay in view.overlays:
        network = inside(overlay)
        if network:
            yield Fault(
                f"{overlay.owner} lies inside the VPC's own {network}",
                "a VPC delivers its own addresses to the ENI that has them, so this one cannot be reached",
                "choose an overlay address outside the VPC's ranges",
            )


# -- the report -------------------------------------------------------------------------------------------------------


class Diagnosis(Value):
    """All threats and faults that were found. Threats that need action come first."""

    threats: tuple[Threat, ...]
    faults: tuple[Fault, ...]
    #: Files that this process may not read.
    denied: tuple[str, ...] = ()
    #: Owners of which a fact is unknown.
    unknown: tuple[Unknown, ...] = ()

    @property
    def healthy(self) -> bool:
        """True if there is nothing to do: what a program deletes is added again, and no setting would prevent more."""
        return not self.faults and not any(map(to_do, self.threats))


def to_do(threat: Threat) -> bool:
    """True if the administrator should act: no program adds the items again, or a fix without side effects exists."""
    return threat.state == OPEN or (threat.state != PREVENTED and any(not fix.costs for fix in threat.fixes))


def diagnose(view: NodeView) -> Diagnosis:
    """All threats and faults of a node. Threats that need action come first."""
    told = [_about_what_is_there(threat, view) for threat in threats(view)]
    found = sorted(told, key=lambda threat: (not to_do(threat), threat.state == PREVENTED))
    return Diagnosis(tuple(found), tuple(faults(view)), tuple(view.files.denied), view.unknown)


def _about_what_is_there(threat: Threat, view: NodeView) -> Threat:
    """The same about those of its items that are on the node; about all of them if none is."""
    there = tuple(item for item in threat.items if item not in view.missing)
    return replace(threat, items=there or threat.items, there=bool(there))


def lines(diagnosis: Diagnosis) -> Iterator[str]:
    """The report as text: faults, threats that need action, the other threats, and the verdict."""
    for fault in diagnosis.faults:
        yield from (f"WRONG: {fault.what}", f"    because {fault.why}", f"    do: {fault.do}", "")
    for threat in diagnosis.threats:
        if to_do(threat):
            yield from _open(threat)
    rest = [threat for threat in diagnosis.threats if not to_do(threat)]
    for threat in rest:
        yield f"ok: {threat.who}, {threat.event}: " + (
            f"{_count(threat)} kept, {threat.spared}"
            if threat.spared
            else f"{'deletes' if threat.there else 'would delete'} {_count(threat)}; {threat.back}"
        )
    if diagnosis.healthy and diagnosis.denied:
        yield "could not tell: nothing to do according to the files that may be read"
        return
    if diagnosis.healthy:
        yield "nothing to do" if rest else "nothing to do: no program on this node deletes what the agent adds"
        return
    todo = sum(map(to_do, diagnosis.threats))
    yield f"to do: {todo} that may delete what the agent adds, {len(diagnosis.faults)} wrong now"
    if any(not fix.costs for threat in diagnosis.threats if to_do(threat) for fix in threat.fixes):
        yield "ec2ident-agent doctor --fix writes the settings; with --dry-run it prints them"


def _open(threat: Threat) -> Iterator[str]:
    what = f"{_count(threat)} of the agent's"
    yield f"{threat.who} deletes {what}" if threat.there else f"{threat.who} would delete {what}, once they are there"
    yield f"    when: {threat.event}"
    shown = [str(item) for item in threat.items[:4]]
    more = len(threat.items) - len(shown)
    yield from (f"    what: {text}" for text in shown)
    if more:
        yield f"    what: and {more} more"
    yield f"    after: {threat.back or 'they are missing until ec2ident-agent apply is run'}"
    yield f"    prevent: {threat.prevent}"
    if threat.then:
        yield f"             then {threat.then}"
    for fix in threat.fixes:
        if fix.costs:
            yield f"             ec2ident-agent doctor --fix {threat.who} writes it, but {fix.costs}"
    yield ""


def _count(threat: Threat) -> str:
    counts: dict[str, int] = {}
    for item in threat.items:
        name = type(item).__name__.lower()
        counts[name] = counts.get(name, 0) + 1
    plural = {"address": "addresses"}
    words = (f"{n} {name if n == 1 else plural.get(name, name + 's')}" for name, n in counts.items())
    return " and ".join(words)


def as_dict(diagnosis: Diagnosis) -> dict[str, object]:
    """The diagnosis for `--json`."""
    return {
        "healthy": diagnosis.healthy,
        "threats": [
            {
                "who": threat.who,
                "event": threat.event,
                "state": threat.state,
                "to_do": to_do(threat),
                "there": threat.there,
                "items": [str(item) for item in threat.items],
                "prevent": threat.prevent,
                "then": threat.then,
                "spared": threat.spared,
                "back": threat.back,
                "files": [fix.path for fix in threat.fixes],
            }
            for threat in diagnosis.threats
        ],
        "faults": [{"what": each.what, "because": each.why, "do": each.do} for each in diagnosis.faults],
        "unreadable": list(diagnosis.denied),
        "unknown": list(map(str, diagnosis.unknown)),
    }


# -- the verb ---------------------------------------------------------------------------------------------------------


def command(
    tree: RootFs,
    view_of: Callable[[RootFs], NodeView],
    *,
    say: Say,
    log: Say,
    names: Sequence[str] = (),
    fix: bool = False,
    unfix: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Run the verb; return its exit code. `view_of` looks at the node, except for `unfix`. Raises AgentError."""
    if fix and unfix:
        raise ConfigError("doctor: --fix or --unfix, not both")
    if unfix:
        from .fix import unfix as remove

        return _written(remove(tree, dry_run=dry_run), (), as_json, dry_run, say, log)
    if names and not fix:
        raise ConfigError(f"doctor: names of programs need --fix: {' '.join(names)}")
    found = diagnose(view_of(tree))
    if found.denied:
        more = f" and {len(found.denied) - 1} more" if found.denied[1:] else ""
        log(f"ec2ident-agent: {found.denied[0]}{more}: Permission denied (needs root): what is said there is not known")
    code = _answer(found, tree, say, log, names, fix, dry_run, as_json)
    for each in found.unknown:
        log(f"ec2ident-agent: {each}")
    return UnknownError.exit if found.unknown and code == 0 else code


def _answer(
    found: Diagnosis, tree: RootFs, say: Say, log: Say, names: Sequence[str], fix: bool, dry_run: bool, as_json: bool
) -> int:
    if fix:
        from .fix import fix as write

        fixes, then = chosen(found, names)
        return _written(
            write(tree, fixes, dry_run=dry_run), [f"now run: {line}" for line in then], as_json, dry_run, say, log
        )
    if as_json:
        import json

        say(json.dumps(as_dict(found), indent=2))
    else:
        for line in lines(found):
            say(line)
    return 1 if not found.healthy else UnknownError.exit if found.denied else 0


def chosen(found: Diagnosis, names: Sequence[str]) -> tuple[list[DropIn], list[str]]:
    """The drop-ins to write, and the commands to run then. Pure. Raises ConfigError for a name that is not a threat.

    Without `names`, every drop-in that does no more than spare foreign objects; a drop-in that switches something off
    only for a threat that is named.
    """
    known = dict.fromkeys(threat.who for threat in found.threats)
    names = [known_name(name, known) for name in names]
    for name in names:
        if name not in known:
            raise ConfigError(f"doctor: {name} threatens nothing here (known: {', '.join(known) or 'none'})")
    asked = [threat for threat in found.threats if threat.state != PREVENTED and (not names or threat.who in names)]
    fixes = [each for threat in asked for each in threat.fixes if names or not each.costs]
    then = {threat.then for threat in asked if threat.then and any(each in fixes for each in threat.fixes)}
    # A restart last: by then networkd has read what to keep. When it reads its files it deletes the agent's once more.
    run = [*sorted(then, key=lambda line: (" restart " in line, line)), *(["ec2ident-agent apply"] if then else [])]
    return fixes, run


def _written(plan: Plan, then: Sequence[str], as_json: bool, dry_run: bool, say: Say, log: Say) -> int:
    if as_json:
        import json

        say(json.dumps({"steps": [str(step) for step in plan.steps]}, indent=2))
    for step in () if as_json else plan.steps:
        say(str(step))
        for line in step.text:
            say(f"    {line}")
    for note in (*plan.notes, *then):
        log(f"ec2ident-agent: {note}")
    return RefusedError.exit if plan.refused else int(dry_run and bool(plan.steps))
