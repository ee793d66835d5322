"""ec2ident-agent: the command line. It reads the words, calls one method of `Node`, and prints what that returns."""

from __future__ import annotations

import os
import sys

from ec2ident.program import exit_codes, frame
from ec2ident.program.frame import log, say

from .errors import AgentError, ConfigError, DeviceNeededError, JournalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import ClassVar

    from .doctor.threats.node_view import NodeView
    from .engine import Report
    from .install.rootfs import RootFs
    from .items import Step
    from .kernel.protocol import Kernel
    from .node import FactsOf, Node
    from .options import Options
    from .profile import Config, Overlay
    from .state.owned import Owner

PROGRAM = "ec2ident-agent"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Result on stdout, log on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # After Ctrl-C as after SIGKILL: the journal names what was begun, and the next apply or revert goes on from there.
    return frame.run(PROGRAM, lambda: _answered(arguments))


def _answered(arguments: Sequence[str]) -> int:
    try:
        return _main(arguments)
    except AgentError as wrong:
        complain(str(wrong))
        # A journal that cannot be read: a verb that only looks could not tell, a verb that changes was refused.
        from .options import VERBS

        verb = next((each for each in arguments if each in VERBS), "")
        looking = isinstance(wrong, JournalError) and verb in ("plan", "status")
        return exit_codes.UNKNOWN if looking else wrong.exit


def _main(arguments: Sequence[str]) -> int:
    # Most calls are a hook's with nothing to do: it comes before everything that the other verbs import.
    if arguments[:1] == ["hook"] and not {"-h", "--help"} & {*arguments}:
        return hook(arguments[1:])
    from .options import help_for, parse_command_line

    text = help_for(arguments)
    if text:
        say(text)
        return exit_codes.DONE
    if arguments[:1] == ["--version"]:
        from ec2ident import __version__

        say(f"{PROGRAM} {__version__}")
        return exit_codes.DONE
    return Command(parse_command_line(arguments)).run()


def hook(arguments: Sequence[str], *, sysfs: str = "/sys/class/net") -> int:
    """`hook [OPTION…] MANAGER INTERFACE EVENT`: what the network managers' hooks call. Returns the exit code."""
    from .hook import APPLY, EVENTS, NOTHING, PATIENCE, USAGE, TimeLimit, action
    from .inet import is_device_name

    # Options come first: an interface may have nearly any name.
    options, words = list(arguments[:-3]), arguments[-3:]
    if len(words) == 3 and words[0] not in EVENTS:
        from .manager_names import known_name

        words = [known_name(words[0], EVENTS), *words[1:]]
    if len(words) != 3 or words[0] not in EVENTS or not is_device_name(words[1]) or not _common(options):
        log(USAGE)
        return exit_codes.USAGE
    manager, device, event = words
    command = _applying(options) if options else None
    state_dir = command.options.get("--state-dir") if command else None
    wanted = action(manager, device, event, state_dir, sysfs=sysfs)
    if wanted.verb == NOTHING:
        return exit_codes.DONE
    command = command or _applying(options)
    with TimeLimit(PATIENCE), command.node() as node:
        if wanted.verb == APPLY:
            code = command.done(node.interface_up(device))
            # An item that waits for its link needs no report: that link's own event will come.
            return exit_codes.DONE if code == exit_codes.DRIFT else code
        node.revert(wanted.owners)
    return exit_codes.DONE


def _common(options: Sequence[str]) -> bool:
    """True for options that every verb has, each with the word after it."""
    if not options:
        return True
    from .options import COMMON

    return len(options) % 2 == 0 and COMMON.issuperset(options[::2])


def _applying(options: Sequence[str]) -> Command:
    from .options import parse_command_line

    return Command(parse_command_line(["apply", *options]))


class Command:
    """One command line, carried out. `facts` and `kernel` are those of this node, unless given."""

    def __init__(self, options: Options, facts: FactsOf | None = None, kernel: Kernel | None = None) -> None:
        self.options, self._facts, self._kernel = options, facts, kernel

    def run(self) -> int:
        """Do what the verb says; returns the exit code. Raises AgentError."""
        return self.METHODS[self.options.verb](self)

    def node(self, facts: FactsOf | None = None) -> Node:
        """The node that the options describe, with these facts unless the command was given others."""
        from .kernel.table_names import DIRECTORY
        from .node import Node
        from .state.journal import STATE_DIRECTORY

        return Node(
            self.options.get("--config"),
            state_dir=self.options.get("--state-dir", STATE_DIRECTORY),
            names_dir=self.options.get("--names-dir", DIRECTORY),
            facts=self._facts or facts,
            kernel=self._kernel,
            patience=self.patience(),
            log=log,
            note=note,
        )

    def patience(self) -> float:
        """`--wait`, in seconds. Raises ConfigError."""
        try:
            seconds = float(self.options.get("--wait", 10))
            if 0 <= seconds <= 3600:
                return seconds
        except ValueError:
            pass
        raise ConfigError(f"--wait {self.options.get('--wait')}: not a number of seconds from 0 to 3600")

    # -- the verbs --

    def plan(self) -> int:
        """`plan`: print the commands that `apply` would run. Exit code 1 if there is something to do."""
        given = self.given()
        with self.node() as node:
            report = node.hold(given, dry_run=True) if given else node.plan(self.owners())
            if not (report.desired or report.steps):
                where = node.config_path
                note(f"nothing is configured: {where}{'' if os.path.exists(where) else ' does not exist'}")
        self.planned(report)
        return verdict(report, report.applied)

    def status(self) -> int:
        """`status`: compare the node with what is configured. Exit code 1 on drift."""
        with self.node() as node:
            report = node.status(self.owners())
        warn(report)
        if self.options.get("--json"):
            say_report(report)
        else:
            from .show import table

            for line in table(report):
                say(line)
        return verdict(report, report.in_order)

    def apply(self) -> int:
        """`apply`: add what is missing, remove what is not configured; all or nothing for each owner and family."""
        given, dry_run = self.given(), bool(self.options.get("--dry-run"))
        with self.node() as node:
            report = node.hold(given, dry_run=dry_run) if given else node.apply(self.owners(), dry_run=dry_run)
        if not dry_run:
            return self.done(report)
        self.planned(report)
        return outcome(report) or changes(report.steps)

    def adopt(self) -> int:
        """`adopt`: apply, and take over what equals the configuration. Exit code 1 if something like it is left."""
        from .doctor.origin import as_dict, lines, origins
        from .install.rootfs import RootFs

        dry_run = bool(self.options.get("--dry-run"))
        with self.node() as node:
            report = node.adopt(self.owners(), dry_run=dry_run)
        found = origins(report, RootFs(self.options.get("--root", "/")))
        if self.options.get("--json"):
            from .show import as_dict as report_as_dict

            say_json({**report_as_dict(report), **as_dict(found, done=not dry_run)})
        else:
            for line in lines(found, done=not dry_run):
                say(line)
            self.steps(report.steps, quiet=not dry_run)
        code = self.said(report)
        return code or (changes(report.steps) if dry_run else 0) or exit_codes.DRIFT * bool(report.near_misses)

    def revert(self) -> int:
        """`revert`: remove the objects of the named owners, or all. Raises ConfigError for both or none."""
        names, dry_run = self.options.arguments, bool(self.options.get("--dry-run"))
        if bool(names) == bool(self.options.get("--all")):
            raise ConfigError("revert: name the interfaces, or write --all")
        owners: Collection[Owner] | None = None
        if names:
            from .state.owned import interface

            owners = {owner for name in names for owner in (interface(name), owner_of(name))}
        with self.node() as node:
            steps = node.revert(owners, dry_run=dry_run)
        self.steps(steps, quiet=not dry_run)
        if dry_run:
            return changes(steps)
        if names and not steps:
            note(f"{' '.join(names)}: the agent has added nothing for it")
        return exit_codes.DONE

    def overlay(self) -> int:
        """`overlay add` and `del`: a cluster's verbs, which hold whatever the configuration says."""
        from .options import OVERLAY

        if len(self.options.arguments) != 2 or self.options.arguments[0] not in ("add", "del"):
            raise ConfigError("overlay: write  overlay add ADDRESS  or  overlay del ADDRESS")
        verb, address = self.options.arguments
        dry_run = bool(self.options.get("--dry-run"))
        with self.node() as node:
            if verb == "del":
                steps = node.release_overlays(address, dry_run=dry_run)
                self.steps(steps, quiet=not dry_run)
                return changes(steps) if dry_run else exit_codes.DONE
            flags = {name[2:]: self.options.get(name, "") for name in sorted(OVERLAY)}
            report = node.hold_overlay(address, **flags, dry_run=dry_run)
        if not dry_run:
            return self.done(report)
        warn(report)
        self.steps(report.steps)
        return outcome(report) or changes(report.steps)

    def watch(self) -> int:
        """`watch`: keep the configuration applied until a signal ends the process."""
        import gc

        from .state.journal import STATE_DIRECTORY
        from .watch.loop import watch

        if self.options.arguments:
            raise ConfigError(f"watch: takes no arguments: {' '.join(self.options.arguments)}")
        gc.enable()  # It runs for months.
        state_dir = self.options.get("--state-dir", STATE_DIRECTORY)
        return watch(self.node, state_dir, as_json=bool(self.options.get("--json")))

    def doctor(self) -> int:
        """`doctor`: print, and with --fix prevent, what other programs would delete."""
        from .doctor.diagnosis import command as doctor
        from .install.rootfs import RootFs

        def view_of(tree: RootFs) -> NodeView:
            with self.node() as node:
                return examine(node, tree)

        options = self.options
        return doctor(
            RootFs(options.get("--root", "/")),
            view_of,
            say=say,
            log=log,
            names=options.arguments,
            fix=bool(options.get("--fix")),
            unfix=bool(options.get("--unfix")),
            dry_run=bool(options.get("--dry-run")),
            as_json=bool(options.get("--json")),
        )

    def warm(self) -> int:
        """`warm`: read every block of the named volumes."""
        from .warm.command import DEPTH, command
        from .warm.position import DIRECTORY

        options = self.options
        return command(
            say=say,
            log=log,
            paths=options.arguments,
            rate=options.get("--rate"),
            depth=options.get("--depth", DEPTH),
            state_dir=options.get("--state-dir", DIRECTORY),
            restart=bool(options.get("--restart")),
            dry_run=bool(options.get("--dry-run")),
            as_json=bool(options.get("--json")),
        )

    def install(self) -> int:
        """`install` and `uninstall`: add or remove hooks and units."""
        from .install.installer import command as install

        options = self.options
        if options.arguments:
            raise ConfigError(f"{options.verb}: takes no arguments: {' '.join(options.arguments)}")
        return install(
            say=say,
            log=log,
            remove=options.verb == "uninstall",
            called_as=sys.argv[0],
            root=options.get("--root", "/"),
            program=options.get("--program", ""),
            config=options.get("--config", ""),
            state_dir=options.get("--state-dir", ""),
            managers=tuple(options.get("--manager", ())),
            ocf=bool(options.get("--ocf")),
            dry_run=bool(options.get("--dry-run")),
            compare_only=bool(options.get("--check")),
        )

    #: Every verb of `options.VERBS` but hook, which reads its words itself.
    METHODS: ClassVar[dict[str, Callable[[Command], int]]] = {
        "plan": plan,
        "apply": apply,
        "adopt": adopt,
        "status": status,
        "revert": revert,
        "overlay": overlay,
        "watch": watch,
        "doctor": doctor,
        "warm": warm,
        "install": install,
        "uninstall": install,
    }

    # -- what the words mean --

    def owners(self) -> tuple[Owner, ...] | None:
        """The owners that the command names; None for the whole node."""
        return tuple(map(owner_of, self.options.arguments)) or None

    def given(self) -> Config | None:
        """What the flags describe in place of the configuration; None without such flags. Raises ConfigError."""
        from .options import KEYS, PROFILE

        options = self.options
        flags = {name[2:].replace("-", "_"): value for name, value in options.values.items() if name in PROFILE}
        address = options.get("--overlay")
        if not flags and not address:
            return None
        from .config import section
        from .profile import Config

        names = options.arguments
        if len(names) > 1 or (flags and not names):
            raise ConfigError(
                f"{' '.join(sorted('--' + flag.replace('_', '-') for flag in flags))}: name one interface"
            )
        overlays = (self._overlay(address),) if address else ()
        keys = {KEYS.get(name, name): value for name, value in flags.items()}
        return Config(tuple(section(name, keys) for name in names), overlays)

    def _overlay(self, address: str) -> Overlay:
        from .config import overlay
        from .options import OVERLAY

        given = {name[2:]: self.options.values[name] for name in OVERLAY if name in self.options.values}
        if "device" not in given:
            raise DeviceNeededError(address)
        return overlay({"address": address, **given})

    # -- answers --

    def planned(self, report: Report) -> None:
        """Print what would be done."""
        warn(report)
        if self.options.get("--json"):
            say_report(report)
        else:
            self.steps(report.steps)
        complain_of(report)

    def done(self, report: Report) -> int:
        """Say what an apply could not do; returns its exit code."""
        if self.options.get("--json"):
            say_report(report)
        return self.said(report)

    def said(self, report: Report) -> int:
        """Log what could not be done; returns the exit code of an apply."""
        warn(report)
        for name in report.difference.unnamed:
            note(f"warning: {name}: cannot be written here; ip shows the number")
        if report.unnamed:
            note(f"warning: table names: {report.unnamed}; ip shows the number")
        for owner in dict.fromkeys(map(report.owner, report.waiting)):
            note(f"{owner}: waits until its link is up")
        complain_of(report)
        return outcome(report)

    def steps(self, steps: Sequence[Step], *, quiet: bool = False) -> None:
        """Print the steps, one a line or as JSON."""
        if self.options.get("--json"):
            say_json({"steps": [str(step) for step in steps]})
        elif not quiet:
            for step in steps:
                say(str(step))


def note(line: str) -> None:
    """A line for people."""
    log(f"ec2ident-agent: {line}")


def complain(line: str, owner: str = "") -> None:
    """A line for people about what could not be done; an error in systemd's journal, with its owner."""
    from .systemd_journal import ERROR, SystemdJournal

    SystemdJournal(PROGRAM, os.environ).log(f"{PROGRAM}: {line}", ERROR, {"owner": owner})


def complain_of(report: Report) -> None:
    """What is refused and what is unknown, each with its owner."""
    for refusal in report.refusals:
        complain(str(refusal), str(refusal.owner or ""))
    for unknown in report.unknown:
        complain(str(unknown), str(unknown.owner))


def warn(report: Report) -> None:
    """The overlay addresses that cannot be reached where they are configured."""
    for warning in report.warnings:
        note(f"warning: {warning}")


def say_report(report: Report) -> None:
    """Print a report as JSON."""
    from .show import as_dict

    say_json(as_dict(report))


def say_json(found: dict[str, object]) -> None:
    """Print a value as JSON."""
    import json

    say(json.dumps(found, indent=2))


def verdict(report: Report, good: bool) -> int:
    """The exit code of a look: 0 good, 1 drift, 3 could not tell."""
    return exit_codes.UNKNOWN if report.unknown else exit_codes.DONE if good else exit_codes.DRIFT


def outcome(report: Report) -> int:
    """The exit code of an apply, or of an apply that would be: 0 done, 1 an item waits, 3 could not tell, 4 refused."""
    if report.refusals or report.unknown:
        return exit_codes.FAILED if report.refusals else exit_codes.UNKNOWN
    return exit_codes.DRIFT if report.waiting else exit_codes.DONE


def changes(steps: Sequence[Step]) -> int:
    """The exit code of a dry run that could be done: 1 when it would change something, as of `plan`."""
    return exit_codes.DRIFT if steps else exit_codes.DONE


def owner_of(word: str) -> Owner:
    """The owner that a word names: an overlay by its address, alone or as `status` prints it; else an interface."""
    from .state.owned import interface, overlay

    text = word.removeprefix("overlay ")
    if text != word or text[:1].isdigit() or ":" in text:
        from .inet import single

        try:
            return overlay(single(text))
        except ValueError:
            pass
    return interface(word)


def examine(node: Node, tree: RootFs) -> NodeView:
    """What the doctor looks at: the node's files, what the node should have, what is there, and what is unknown."""
    from .desired import held
    from .doctor.node_files import NodeFiles
    from .doctor.threats.node_view import NodeView
    from .install.manifest import read_manifest
    from .install.package import packaged
    from .items import KEPT

    survey = node.survey()
    desired = (*survey.state.desired, *held(survey.look.state))
    items = dict.fromkeys(item for each in desired for item in each.items)
    there = {seen.item for seen in survey.look.observed.seen if seen.protocol in KEPT}
    installed = packaged(tree).union(entry.path for entry in read_manifest(tree) or ())
    return NodeView(
        NodeFiles(tree),
        tuple(items),
        survey.look.observed,
        missing=frozenset(items).difference(there),
        installed=installed,
        overlays=survey.config.overlays,
        profiles=survey.state.profiles,
        unknown=survey.state.unknown,
        refusals=survey.state.refusals,
        taken=node.taken(desired, survey.look.observed),
        notes=survey.state.notes,
    )


if __name__ == "__main__":
    sys.exit(main())
