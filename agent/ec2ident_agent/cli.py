"""ec2ident-agent: the node's policy routing and overlay addresses, laid and taken off.

The command line is read by hand from one table, because importing argparse costs as much as starting Python, and a hook
or a monitor pays it each time to find that there is nothing to do.
"""

from __future__ import annotations

import os
import sys

from ec2ident.value import Value

from .errors import AgentError, ConfigError, ConflictError, JournalError, UnknownError
from .journal import COMMAND, LEAVING, STATE_DIRECTORY, Journal
from .show import as_dict, log, say, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any

    from .config import Config
    from .engine import Report, Wish
    from .items import Item, Observed
    from .journal import State
    from .kernel import Kernel
    from .names import NamedKernel
    from .profile import Facts, Overlay, Profile, Section
    from .threats.case import Case
    from .tree import Tree

    #: What a provider knows of a device; by default what the metadata service says.
    FactsOf = Callable[[str, Observed], Facts]

USAGE = """\
usage: ec2ident-agent VERB [ARGUMENT…] [OPTION…]

  plan    [IF…]           what apply would do, as ip commands; exit 1 when there is something
  apply   [IF…]           lay what the configuration says, or leave everything as it was
  status  [IF…]           in order (exit 0), or drift (exit 1)
  revert  [IF…|--all]     take off what is ours
  overlay add ADDRESS     hold an overlay address until it is deleted or the node reboots
  overlay del ADDRESS     let go of it
  watch                   keep it so: repair what others delete, until SIGTERM; SIGHUP: begin anew
  doctor  [--fix [WHO…]]  who deletes what is ours, and when (exit 1); --fix writes the settings that prevent it,
          [--unfix]       --unfix takes them away
  hook MANAGER IF EVENT   what the network managers call
  install, uninstall      lay hooks, units and a sample configuration, and take exactly those away
                          [--root DIR] [--program PATH] [--manager NAME] [--ocf]

everywhere:
  --config FILE           default /etc/ec2ident/agent.toml
  --state-dir DIR         the journal; default /run/ec2ident
  --names-dir DIR         table names; default /etc/iproute2/rt_tables.d
  --wait SECONDS          for another ec2ident-agent to finish, and for the metadata service to know an interface
                          that was attached just now; default 10
  --dry-run  --json  --help  --version

instead of the configuration, for plan and apply of one interface:
  --subnet CIDR  --router ADDRESS  --table N  --table-name NAME  --priority N
  --scheme seed|split  --source CIDR  --vpc CIDR        (each but table… more than once)
  --overlay ADDRESS       together with --device IF [--label IF:N] [--via IF]

exit codes: 0 done, in order · 1 drift · 2 usage · 3 could not tell · 4 failed or refused
"""

#: Option to the key under which it is kept; a flag takes no value, a list may come more than once.
FLAGS = {"--json", "--dry-run", "--all", "--ocf", "--fix", "--unfix", "--help", "-h", "--version"}
LISTS = {"--subnet", "--router", "--source", "--vpc", "--manager"}
NUMBERS = {"--table", "--priority"}
COMMON = {"--config", "--state-dir", "--names-dir", "--wait"}
PROFILE = {"--subnet", "--router", "--table", "--table-name", "--priority", "--scheme", "--source", "--vpc"}
OVERLAY = {"--device", "--label", "--via"}
VERBS: dict[str, set[str]] = {
    "plan": {"--json", "--overlay", *PROFILE, *OVERLAY},
    "apply": {"--json", "--dry-run", "--overlay", *PROFILE, *OVERLAY},
    "status": {"--json"},
    "revert": {"--json", "--dry-run", "--all"},
    "overlay": {"--json", "--dry-run", *OVERLAY},
    "watch": set(),
    "doctor": {"--json", "--dry-run", "--fix", "--unfix", "--root"},
    "install": {"--dry-run", "--root", "--program", "--manager", "--ocf"},
    "uninstall": {"--dry-run", "--root"},
}


class Options(Value):
    """The command line, read."""

    verb: str
    arguments: tuple[str, ...]
    values: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Result on stdout, log on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(arguments)
    except AgentError as wrong:
        log(f"ec2ident-agent: {wrong}")
        # Who only looks could not tell; who wanted to act was refused.
        looking = isinstance(wrong, JournalError) and arguments[0] in ("plan", "status")
        return 3 if looking else wrong.exit
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 4


def _main(arguments: Sequence[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments) or arguments[0] == "help":
        say(USAGE.rstrip())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        say(f"ec2ident-agent {version('ec2ident')}")
        return 0
    if arguments[0] == "hook":
        from .hook import main as hook

        return hook(arguments[1:], main)
    return Run(read(arguments)).run()


def read(arguments: Sequence[str]) -> Options:
    """The command line. Raises ConfigError with what to write instead."""
    words: list[str] = []
    values: dict[str, Any] = {}
    left = iter(arguments)
    for each in left:
        if not each.startswith("-") or each == "-":
            words.append(each)
            continue
        name, equals, value = each.partition("=")
        if name in FLAGS:
            values[name] = True
            continue
        if not equals:
            value = next(left, "")
        if not value or value.startswith("--"):
            raise ConfigError(f"{name}: needs a value; see ec2ident-agent --help")
        values[name] = [*values.get(name, []), value] if name in LISTS else _value(name, value)
    verb = words[0] if words else ""
    if verb not in VERBS:
        raise ConfigError(f"{verb or arguments[0]}: no such verb (known: {', '.join(VERBS)})")
    for name in values:
        if name not in VERBS[verb] | COMMON:
            raise ConfigError(f"{name}: no option of {verb}; see ec2ident-agent --help")
    return Options(verb, tuple(words[1:]), values)


def _value(name: str, value: str) -> object:
    if name in NUMBERS:
        if not (value.isascii() and value.isdigit()):
            raise ConfigError(f"{name} {value}: not a number")
        return int(value)
    return value


class Run:
    """One command: its files, its kernel, and what it is about."""

    def __init__(self, options: Options, facts_of: FactsOf | None = None, kernel: Kernel | None = None) -> None:
        self.options = options
        self.journal = Journal(options.get("--state-dir", STATE_DIRECTORY))
        self.facts_of = facts_of
        #: Why something could not be told; nothing of it is touched, and the exit code is 3.
        self.unknown: list[str] = []
        #: The configured interfaces that are there, and of which everything is known.
        self.known: list[Profile] = []
        self._kernel: NamedKernel | None = self._named(kernel) if kernel else None

    def run(self) -> int:
        verb = self.options.verb
        if verb in ("install", "uninstall"):
            from .install import command

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
        report = self.look()
        steps = report.difference.steps
        if self.options.get("--json"):
            self.json(report)
        else:
            for step in steps:
                say(str(step))
        for why in (*report.refusals, *self.unknown):
            log(f"ec2ident-agent: {why}")
        return self.verdict(report)

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
            return min(self.plan(), 0) if not self.unknown else 3
        from . import withdrawn
        from .engine import apply

        self.ask()
        with self.journal.lock(self.patience()):
            kernel = self.kernel()
            wishes = self.wishes(kernel.observe(), self.journal.read())
            withdrawn.drop(self.journal, None if self.everything() else {wish.owner for wish in wishes})
            try:
                report = apply(wishes, kernel, self.journal, log, everything=self.everything())
            except ConflictError as refused:
                report = refused.report
        return self.done(report)

    def revert(self) -> int:
        from . import withdrawn
        from .engine import removals, revert

        names, everything = self.options.arguments, bool(self.options.get("--all"))
        if bool(names) == everything:
            raise ConfigError("revert: name the interfaces, or write --all")
        owners = None if everything else {*names, *(f"overlay {name}" for name in names)}
        kernel = self.kernel()
        if self.options.get("--dry-run"):
            self.steps(removals(owners, kernel.observe(), self.journal.read()))
            return 0
        with self.journal.lock(self.patience()):
            withdrawn.add(self.journal, self.journal.read(), kernel.observe(), owners)
            self.steps(revert(owners, kernel, self.journal, self.log_step), quiet=True)
        return 0

    def overlay(self) -> int:
        """`overlay add` and `del`: the cluster engine's verbs, which hold whatever the configuration says."""
        from . import withdrawn
        from .engine import Wish, apply, removals, revert
        from .profile import overlay_items

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
                    withdrawn.add(self.journal, state, observed, owners)
                    self.steps(revert(owners, kernel, self.journal, self.log_step), quiet=True)
                return 0
            self.device(overlay.device, observed)
            profiles = self.profiles(config, overlay.via or overlay.device, observed)
            self.warn_inside(overlay, (*profiles, *config.sections))
            wish = Wish(overlay.owner, overlay_items(overlay, profiles, observed), COMMAND)
            if dry:
                from .engine import status

                self.steps(status([wish], observed, state, everything=False).difference.steps)
                return 0
            withdrawn.drop(self.journal, {overlay.owner})
            report = apply([wish], kernel, self.journal, log, everything=False)
        return self.done(report)

    def watch(self) -> int:
        from .watch import watch

        if self.options.arguments:
            raise ConfigError(f"watch: takes no arguments: {' '.join(self.options.arguments)}")
        return watch(self, log)

    def doctor(self) -> int:
        from .doctor import command

        code = command(self.options, self.case, say, log)
        for why in self.unknown:
            log(f"ec2ident-agent: {why}")
        return 3 if self.unknown and code == 0 else code

    def case(self, tree: Tree) -> Case:
        """What the doctor looks at: the node's files, what the node should have, and what is there."""
        from .engine import held
        from .install import read_manifest
        from .machine import Machine
        from .threats.case import Case

        observed, state, config = self.kernel().observe(), self.journal.read(), self.configuration()
        wishes = [*self.configured(config, observed, state), *held(state)]
        items = dict.fromkeys(item for wish in wishes for item in wish.items)
        laid = frozenset(entry.path for entry in read_manifest(tree) or ())
        return Case(Machine(tree), tuple(items), observed, laid, config.overlays, tuple(self.known))

    # -- what they share --

    def patience(self) -> float:
        try:
            seconds = float(self.options.get("--wait", 10))
            if 0 <= seconds <= 3600:
                return seconds
        except ValueError:
            pass
        raise ConfigError(f"--wait {self.options.get('--wait')}: not a number of seconds from 0 to 3600")

    def kernel(self) -> NamedKernel:
        if self._kernel is None:
            from .netlink import NetlinkKernel

            self._kernel = self._named(NetlinkKernel())
        return self._kernel

    def _named(self, kernel: Kernel) -> NamedKernel:
        from .names import DIRECTORY, NamedKernel

        return NamedKernel(kernel, self.options.get("--names-dir", DIRECTORY))

    def configuration(self) -> Config:
        from time import time

        from .config import PATH, load

        path = self.options.get("--config")
        cache = os.path.join(self.journal.directory, "config")
        return load(path or PATH, required=path is not None, uids={0, os.geteuid()}, cache=cache, now=time())

    def everything(self) -> bool:
        """Without names a verb is about the whole node, and with them about no more than them."""
        return not (self.options.arguments or self.options.get("--overlay"))

    def look(self) -> Report:
        from .engine import status

        observed, state = self.kernel().observe(), self.journal.read()
        return status(self.wishes(observed, state), observed, state, everything=self.everything())

    def wishes(self, observed: Observed, state: State) -> list[Wish]:
        """What is asked for: by flags one interface, else by the configuration all of it or the named part."""
        flags = self.flags()
        if flags or self.options.get("--overlay"):
            return self.flagged(flags, observed)
        from .engine import held

        config = self.configuration()
        wishes = self.configured(config, observed, state)
        names = self.options.arguments
        if not names:
            return wishes
        wishes += held(state, {wish.owner for wish in wishes})
        for name in names:
            if not any(wish.owner == name for wish in wishes):
                self.device(name, observed)
                raise ConfigError(f"{name}: nothing is configured for it; write [interface.{name}], or flags")
            section = next((each for each in config.sections if each.name == name), None)
            if section and not section.mac:
                self.device(name, observed)
        return [wish for wish in wishes if wish.owner in names]

    def flagged(self, flags: dict[str, Any], observed: Observed) -> list[Wish]:
        """What the command line describes; it is held until reverted, since no configuration would repeat it."""
        from .config import section
        from .engine import Wish
        from .profile import find_device, overlay_items, profile_items

        names = self.options.arguments
        if len(names) > 1 or (flags and not names):
            raise ConfigError(
                f"{' '.join(sorted('--' + flag.replace('_', '-') for flag in flags))}: name one interface"
            )
        wishes, profiles = [], []
        for name in names:
            each = section(name, flags)
            link = find_device(each, observed)
            self.device(link.name if link else name, observed)
            profiles.append(self.profile(each, link.name if link else name, observed))
            wishes.append(Wish(name, profile_items(profiles[0]), COMMAND))
        if self.options.get("--overlay"):
            overlay = self.which(self.options.get("--overlay"), None, adding=True)
            self.device(overlay.device, observed)
            self.warn_inside(overlay, profiles)
            wishes.append(Wish(overlay.owner, overlay_items(overlay, profiles, observed), COMMAND))
        return wishes

    def configured(self, config: Config, observed: Observed, state: State) -> list[Wish]:
        """What the configuration asks for. What is unknown stays as it is, and is said."""
        from .engine import Wish, held
        from .profile import find_device, overlay_items, profile_items

        def kept(owner: str) -> tuple[Item, ...]:
            return tuple(each.item for each in state.records if each.owner == owner and each.origin != LEAVING)

        wishes: list[Wish] = []
        self.known = profiles = []
        unknown: set[str] = set()
        by_command = {wish.owner for wish in held(state)}
        for section in config.sections:
            link = find_device(section, observed)
            if link is None:
                wishes.append(Wish(section.name, ()))
                continue
            laid = kept(section.name)
            try:
                profile = self.profile(section, link.name, observed, laid)
            except UnknownError as wrong:
                self.unknown.append(str(wrong))
                unknown.add(link.name)
                wishes.append(Wish(section.name, laid))
                continue
            profiles.append(profile)
            wishes.append(Wish(section.name, profile_items(profile)))
        for overlay in config.overlays:
            if overlay.owner not in by_command:
                there = observed.link(overlay.device)
                if self.options.verb not in ("doctor", "watch"):
                    self.warn_inside(overlay, profiles)
                items = overlay_items(overlay, profiles, observed) if there else ()
                if there and (overlay.via or overlay.device) in unknown:
                    items = tuple(dict.fromkeys((*items, *kept(overlay.owner))))  # the rules that it has
                wishes.append(Wish(overlay.owner, items))
        return wishes

    def profiles(self, config: Config, device: str, observed: Observed) -> list[Profile]:
        """The profiles of an interface: what an overlay that is routed to it needs rules for."""
        from .profile import find_device

        links = ((section, find_device(section, observed)) for section in config.sections)
        return [self.profile(section, link.name, observed) for section, link in links if link and link.name == device]

    def profile(self, section: Section, device: str, observed: Observed, laid: Collection[Item] = ()) -> Profile:
        """One interface's profile; facts are asked for only where the section leaves something open.

        What the metadata service cannot say the kernel may, unless that would take away something of what is `laid`.
        Raises UnknownError.
        """
        from .profile import Facts, complete, kernel_facts, profile_items, resolve, without_the_service

        if complete(section):
            return resolve(section, Facts(device))
        facts = self.facts()(device, observed)
        try:
            return resolve(section, facts)
        except UnknownError as wrong:
            unknown = wrong
        try:
            profile = resolve(section, without_the_service(section, facts, kernel_facts(device, observed)))
        except UnknownError as wrong:
            raise UnknownError(f"{wrong} ({facts.unknown})" if facts.unknown else str(wrong)) from None
        if not set(laid) <= set(profile_items(profile)):
            raise unknown
        return profile

    def facts(self) -> FactsOf:
        """Who knows what the configuration does not say: the metadata service, and what it said last."""
        if self.facts_of is None:
            from .facts import FRESH, Source

            acting = self.options.verb == "apply"
            wait = 0.0 if not acting or self.options.get("--dry-run") else self.patience()
            self.facts_of = Source(self.journal.directory, fresh=FRESH if not acting else 0.0, wait=wait, say=self.note)
        return self.facts_of

    def ask(self) -> None:
        """Ask for the facts that will be needed, before anything is locked: somebody may have to be waited for."""
        from .config import section
        from .profile import complete, find_device

        flags = self.flags()
        sections = [section(name, flags) for name in self.options.arguments] if flags else self.configuration().sections
        if all(map(complete, sections)):
            return
        observed = self.kernel().observe()
        for link in (find_device(each, observed) for each in sections if not complete(each)):
            if link:
                self.facts()(link.name, observed)

    def flags(self) -> dict[str, Any]:
        """What the command line says of an interface, by the configuration's keys."""
        return {name[2:].replace("-", "_"): value for name, value in self.options.values.items() if name in PROFILE}

    def note(self, line: str) -> None:
        log(f"ec2ident-agent: {line}")

    def which(self, text: str, config: Config | None, *, adding: bool) -> Overlay:
        """The overlay that an address means: with the flags, else as configured. A deletion needs the address alone."""
        from .config import overlay
        from .inet import single

        try:
            address = single(text)
        except ValueError as wrong:
            raise ConfigError(f"overlay: {wrong}") from None
        for each in config.overlays if config else ():
            if each.address == address and not self.options.get("--device"):
                return each
        flags = {name[2:]: self.options.values[name] for name in OVERLAY if name in self.options.values}
        if "device" not in flags and not adding:
            flags["device"] = "lo"
        if "device" not in flags:
            raise ConfigError(
                f"overlay {address}: on which device? write --device IF, or [[overlay]] in the configuration"
            )
        return overlay({"address": address, **flags})

    def warn_inside(self, overlay: Overlay, ranges: Sequence[Profile | Section]) -> None:
        """Say so when an overlay address is one of the VPC's own, as far as it is known."""
        from .profile import inside_vpc

        inside = inside_vpc(overlay, ranges)
        if inside:
            log(f"ec2ident-agent: warning: {overlay.owner} lies inside the VPC's own {inside}: nobody reaches it")

    def device(self, name: str, observed: Observed) -> None:
        """Raises ConfigError for an interface that is not there."""
        if not observed.link(name):
            there = ", ".join(sorted(link.name for link in observed.links))
            raise ConfigError(f"{name}: no such interface (this node has {there})")

    # -- answers --

    def verdict(self, report: Report) -> int:
        return UnknownError.exit if self.unknown else 0 if report.in_order else 1

    def done(self, report: Report) -> int:
        if self.options.get("--json"):
            self.json(report)
        for name in report.difference.unnamed:
            log(f"ec2ident-agent: warning: {name}: cannot be written here; ip shows the number")
        for owner in dict.fromkeys(map(report.owner, report.waiting)):
            log(f"ec2ident-agent: {owner}: waits until its link is up")
        for why in (*report.refusals, *self.unknown):
            log(f"ec2ident-agent: {why}")
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
