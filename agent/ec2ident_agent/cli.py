"""ec2ident-agent: the node's policy routing and overlay addresses, laid and taken off."""

from __future__ import annotations

import sys

from ec2ident import __version__, command, exit_codes

from .errors import AgentError, ConfigError, ConflictError, JournalError, UnknownError
from .options import USAGE, VERBS, read
from .show import as_dict, log, say, table
from .state.journal import COMMAND
from .wanted import Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .doctor.threats.case import Case
    from .engine import Report
    from .install.rootfs import Tree

__all__ = ["VERBS", "Run", "main", "read"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Result on stdout, log on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # After Ctrl-C as after SIGKILL: the journal names what was begun, and the next apply or revert goes on from there.
    return command.run("ec2ident-agent", lambda: _answered(arguments))


def _answered(arguments: Sequence[str]) -> int:
    try:
        return _main(arguments)
    except AgentError as wrong:
        log(f"ec2ident-agent: {wrong}")
        # Who only looks could not tell; who wanted to act was refused.
        verb = next((each for each in arguments if each in VERBS), "")
        looking = isinstance(wrong, JournalError) and verb in ("plan", "status")
        return exit_codes.UNKNOWN if looking else wrong.exit


def _main(arguments: Sequence[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments) or arguments[0] == "help":
        say(USAGE.rstrip())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        say(f"ec2ident-agent {__version__}")
        return 0
    if arguments[0] == "hook":
        from .hook import main as hook

        return hook(arguments[1:], main)
    return Run(read(arguments)).run()


class Run(Wanted):
    """One command: what its verb does with what is wanted."""

    def run(self) -> int:
        verb = self.options.verb
        if verb in ("install", "uninstall"):
            from .install.installer import command

            return command(self.options, say, log)
        verbs = {
            "plan": self.plan,
            "apply": self.apply,
            "status": self.status,
            "revert": self.revert,
            "overlay": self.overlay,
            "watch": self.watch,
            "doctor": self.doctor,
        }
        try:
            return verbs[verb]()
        finally:
            if self._kernel:
                self._kernel.close()

    # -- the verbs --

    def plan(self) -> int:
        return self.verdict(self.planned())

    def planned(self) -> Report:
        report = self.look()
        steps = report.difference.steps
        if self.options.get("--json"):
            self.json(report)
        else:
            for step in steps:
                say(str(step))
        for why in (*report.refusals, *self.unknown):
            log(f"ec2ident-agent: {why}")
        return report

    def status(self) -> int:
        report = self.look()
        if self.options.get("--json"):
            self.json(report)
        else:
            for line in table(report, self.unknown):
                say(line)
        return self.verdict(report)

    def apply(self) -> int:
        if self.options.get("--dry-run"):
            return self.outcome(self.planned())
        from .engine import apply
        from .state import suppressed

        self.ask()
        with self.journal.lock(self.patience()):
            kernel = self.kernel()
            observed = kernel.observe()
            wishes = self.wishes(observed, self.journal.read())
            if self.options.get("--event"):
                suppressed.lift(self.journal, observed.link(self.options.get("--event")))
                wishes = suppressed.without(wishes, self.journal, observed)
            else:
                suppressed.drop(self.journal, None if self.everything() else {wish.owner for wish in wishes})
            try:
                report = apply(wishes, kernel, self.journal, log, everything=self.everything())
            except ConflictError as refused:
                report = refused.report
        return self.done(report)

    def revert(self) -> int:
        from .engine import removals, revert
        from .state import suppressed

        names, everything = self.options.arguments, bool(self.options.get("--all"))
        if bool(names) == everything:
            raise ConfigError("revert: name the interfaces, or write --all")
        owners = None if everything else {*names, *(f"overlay {name}" for name in names)}
        kernel = self.kernel()
        if self.options.get("--dry-run"):
            self.steps(removals(owners, kernel.observe(), self.journal.read()))
            return 0
        with self.journal.lock(self.patience()):
            suppressed.add(self.journal, self.journal.read(), kernel.observe(), owners)
            steps = revert(owners, kernel, self.journal, self.log_step)
        self.steps(steps, quiet=True)
        if names and not steps:
            self.note(f"{' '.join(names)}: nothing of ours is there")
        return 0

    def overlay(self) -> int:
        """`overlay add` and `del`: the cluster engine's verbs, which hold whatever the configuration says."""
        from .engine import Wish, apply, removals, revert
        from .profile import overlay_items
        from .state import suppressed

        if len(self.options.arguments) != 2 or self.options.arguments[0] not in ("add", "del"):
            raise ConfigError("overlay: write  overlay add ADDRESS  or  overlay del ADDRESS")
        verb, text = self.options.arguments
        config = self.configuration()
        overlay = self.which(text, config, adding=verb == "add")
        kernel, dry = self.kernel(), self.options.get("--dry-run")
        with self.journal.lock(self.patience()):
            state, observed = self.journal.read(), kernel.observe()
            if verb == "del":
                owners = {overlay.owner}
                if dry:
                    self.steps(removals(owners, observed, state))
                else:
                    suppressed.add(self.journal, state, observed, owners)
                    self.steps(revert(owners, kernel, self.journal, self.log_step), quiet=True)
                return 0
            self.device(overlay.device, observed)
            profiles = self.profiles(config, overlay.via or overlay.device, observed)
            if overlay.via and not profiles:
                self.device(overlay.via, observed)
            self.warn_inside(overlay, (*profiles, *config.sections))
            wish = Wish(overlay.owner, overlay_items(overlay, profiles, observed), COMMAND)
            if dry:
                from .engine import status

                self.steps(status([wish], observed, state, everything=False).difference.steps)
                return 0
            suppressed.drop(self.journal, {overlay.owner})
            report = apply([wish], kernel, self.journal, log, everything=False)
        return self.done(report)

    def watch(self) -> int:
        from .watch.loop import watch

        if self.options.arguments:
            raise ConfigError(f"watch: takes no arguments: {' '.join(self.options.arguments)}")
        return watch(self, log)

    def doctor(self) -> int:
        from .doctor.diagnosis import command

        code = command(self.options, self.case, say, log)
        for why in self.unknown:
            log(f"ec2ident-agent: {why}")
        return 3 if self.unknown and code == 0 else code

    def case(self, tree: Tree) -> Case:
        """What the doctor looks at: the node's files, what the node should have, and what is there."""
        from .doctor.node_files import Machine
        from .doctor.threats.case import Case
        from .engine import held
        from .install.manifest import read_manifest

        observed, state, config = self.kernel().observe(), self.journal.read(), self.configuration()
        wishes = [*self.configured(config, observed, state), *held(state)]
        items = dict.fromkeys(item for wish in wishes for item in wish.items)
        laid = frozenset(entry.path for entry in read_manifest(tree) or ())
        return Case(Machine(tree), tuple(items), observed, laid, config.overlays, tuple(self.known))

    def look(self) -> Report:
        from .engine import status

        observed, state = self.kernel().observe(), self.journal.read()
        return status(self.wishes(observed, state), observed, state, everything=self.everything())

    # -- answers --

    def verdict(self, report: Report) -> int:
        return UnknownError.exit if self.unknown else 0 if report.in_order else 1

    def done(self, report: Report) -> int:
        if self.options.get("--json"):
            self.json(report)
        for name in report.difference.unnamed:
            self.note(f"warning: {name}: cannot be written here; ip shows the number")
        if self.kernel().refused:
            self.note(f"warning: table names: {self.kernel().refused}; ip shows the number")
        for owner in dict.fromkeys(map(report.owner, report.waiting)):
            log(f"ec2ident-agent: {owner}: waits until its link is up")
        for why in (*report.refusals, *self.unknown):
            log(f"ec2ident-agent: {why}")
        return self.outcome(report)

    def outcome(self, report: Report) -> int:
        """The exit code of an apply, or of one that would be."""
        return ConflictError.exit if report.refused else 3 if self.unknown else 1 if report.waiting else 0

    def log_step(self, text: str) -> None:
        log(text)

    def steps(self, steps: Sequence[object], *, quiet: bool = False) -> None:
        if self.options.get("--json"):
            import json

            say(json.dumps({"steps": [str(step) for step in steps]}, indent=2))
        elif not quiet:
            for step in steps:
                say(str(step))

    def json(self, report: Report) -> None:
        import json

        say(json.dumps(as_dict(report, self.unknown), indent=2))


if __name__ == "__main__":
    sys.exit(main())
