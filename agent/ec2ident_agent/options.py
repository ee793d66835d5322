"""The command line of ec2ident-agent: one table of verbs and one of options, read by hand; the help is made of both.

Importing argparse costs as much as starting Python, and a hook or a monitor would pay it each time to find that there
is nothing to do.
"""

from __future__ import annotations

from ec2ident.program import DRY_RUN, JSON, columns
from ec2ident.program.exit_codes import ACTING_LEGEND
from ec2ident.value import Value

from .errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

PROGRAM = "ec2ident-agent"

#: Option, the word that stands for its value (empty for a flag), and its line of help.
OPTIONS: Mapping[str, tuple[str, str]] = {
    "--config": ("FILE", "default /etc/ec2ident/agent.toml"),
    "--state-dir": ("DIR", "the journal; default /run/ec2ident"),
    "--names-dir": ("DIR", "table names; default /etc/iproute2/rt_tables.d"),
    "--wait": ("SECONDS", "for another ec2ident-agent and for metadata; default 10"),
    "--json": ("", JSON),
    "--dry-run": ("", DRY_RUN),
    "--all": ("", "everything that the agent added"),
    "--subnet": ("CIDR", "subnet of the interface *"),
    "--router": ("ADDRESS", "its router; default: the subnet's first address *"),
    "--table": ("N", "number of its routing table"),
    "--table-name": ("NAME", "name of its routing table"),
    "--priority": ("N", "priority of its policy rules"),
    "--scheme": ("NAME", "which traffic its rules select: by-source or split"),
    "--source": ("CIDR", "further source addresses for its rules *"),
    "--vpc": ("CIDR", "address range of the VPC *"),
    "--route": ("ROUTE", 'further route in its table: "10.50.0.0/16 via 10.0.1.1" *'),
    "--mtu": ("BYTES", "MTU of its default route"),
    "--advmss": ("BYTES", "the same for the segment size that TCP announces"),
    "--overlay": ("ADDRESS", "hold this overlay address; needs --device"),
    "--device": ("IF", "the interface that holds the overlay address"),
    "--label": ("IF:N", "label of the address; default: the next free one"),
    "--via": ("IF", "the interface that the address is routed to"),
    "--fix": ("", "write the settings that prevent the deletions"),
    "--unfix": ("", "remove the settings that --fix wrote"),
    "--rate": ("MIB", "at most this many MiB a second, over all volumes"),
    "--depth": ("N", "reads of each volume at the same time; default 32"),
    "--restart": ("", "read from the beginning, whatever was read before"),
    "--root": ("DIR", "the node's file system; default /"),
    "--program": ("PATH", "the program that hooks and units call"),
    "--manager": ("NAME", "also the hooks of this network manager *"),
    "--check": ("", "only name what is not of this version; exit code 1 if anything"),
    "--ocf": ("", "also the resource agents for Pacemaker"),
}
#: Options that may be given more than once, and those with a number as their value.
LISTS = {"--subnet", "--router", "--source", "--vpc", "--route", "--manager"}
NUMBERS = {"--table", "--priority", "--mtu", "--advmss", "--rate", "--depth"}
COMMON = {"--config", "--state-dir", "--names-dir", "--wait"}
PROFILE = {
    "--subnet", "--router", "--table", "--table-name", "--priority", "--scheme", "--source", "--vpc", "--route",
    "--mtu", "--advmss",
}  # fmt: skip
#: Where the configuration's key has another name.
KEYS = {"route": "routes"}
OVERLAY = {"--device", "--label", "--via"}


class Verb(Value):
    """A verb: its arguments as usage shows them, its line in the overview, what it does, and its own options."""

    arguments: str
    summary: str
    details: str
    options: tuple[str, ...] = ()


_PROFILE = (*(name for name in OPTIONS if name in PROFILE), "--overlay", "--device", "--label", "--via")

VERBS: Mapping[str, Verb] = {
    "plan": Verb(
        "[INTERFACE...]",
        "print what apply would do, as ip commands",
        "Options in place of the configuration describe one interface.\nExit code 1 when there is something to do.",
        ("--json", *_PROFILE),
    ),
    "apply": Verb(
        "[INTERFACE...]",
        "make the node as configured",
        "Options in place of the configuration describe one interface.",
        ("--json", "--dry-run", *_PROFILE),
    ),
    "adopt": Verb(
        "[INTERFACE...]",
        "apply, and take over what equals it, in place",
        "What a script or another program has added, and what equals the configuration,\n"
        "becomes the agent's without a gap. With --dry-run: what that is, which program\n"
        "made it, and which lines and files add it again.\n"
        "Exit code 1 when something that resembles a wanted object is left.",
        ("--json", "--dry-run", "--root"),
    ),
    "status": Verb(
        "[INTERFACE...]",
        "compare the node with the configuration",
        "A line for each rule, route and address. Exit code 1 on drift.",
        ("--json",),
    ),
    "revert": Verb(
        "INTERFACE...|--all",
        "remove what the agent added",
        "`watch` does not add it again until the next `apply` of the interface.",
        ("--json", "--dry-run", "--all"),
    ),
    "overlay": Verb(
        "add|del ADDRESS",
        "hold an overlay address, or release it",
        "`add` holds the address until `del` or a reboot, whatever is configured.",
        ("--json", "--dry-run", *(name for name in OPTIONS if name in OVERLAY)),
    ),
    "watch": Verb(
        "",
        "repair what other programs delete, until SIGTERM",
        "Runs in the foreground. SIGTERM leaves everything in place; SIGHUP starts over.\n"
        "With --json each event is a line. Metrics for Prometheus: watch.prom in the\n"
        "directory of the journal.",
        ("--json",),
    ),
    "doctor": Verb(
        "[PROGRAM...]",
        "say which program deletes what the agent adds",
        "Exit code 1 when a program does, or would. With --fix, PROGRAM names the\n"
        "programs to configure; default: every fix without side effects.",
        ("--json", "--dry-run", "--fix", "--unfix", "--root"),
    ),
    "warm": Verb(
        "DEVICE|FILE...",
        "read whole volumes that were made from snapshots",
        "Later reads are fast then. Nothing is written to a volume. After an interruption\n"
        "the same command goes on; its position is in /var/lib/ec2ident, or --state-dir.",
        ("--json", "--dry-run", "--rate", "--depth", "--restart"),
    ),
    "hook": Verb(
        "MANAGER INTERFACE EVENT",
        "what the hooks of network managers call",
        "Options stand before MANAGER. `install` writes the hooks.",
    ),
    "install": Verb(
        "",
        "write hooks, units and a sample configuration",
        "For each network manager that the node has. Never overwrites a file of another\nprogram.",
        ("--check", "--dry-run", "--root", "--program", "--manager", "--ocf"),
    ),
    "uninstall": Verb(
        "",
        "remove exactly what install wrote",
        "A file that was changed since is kept and named.",
        ("--dry-run", "--root"),
    ),
}


class Options(Value):
    """The command line, read."""

    verb: str
    arguments: tuple[str, ...]
    values: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option; `default` when it was not given."""
        return self.values.get(name, default)


def parse_command_line(arguments: Sequence[str]) -> Options:
    """The command line. After `--` each word is an argument. Raises ConfigError with what to write instead."""
    words: list[str] = []
    values: dict[str, Any] = {}
    left = iter(arguments)
    for each in left:
        if each == "--":
            words += left
        elif not each.startswith("-") or each == "-":
            words.append(each)
        else:
            name, equals, value = each.partition("=")
            _keep(values, name, value if equals else _next(name, left), bool(equals))
    verb = words[0] if words else ""
    _check(verb, values)
    return Options(verb, tuple(words[1:]), values)


def help_for(arguments: Sequence[str]) -> str | None:
    """The help that the words ask for: `help [VERB]`, or `--help` anywhere. None when they do not ask for help.

    Raises ConfigError for a word after `help` that is not a verb.
    """
    if arguments[:1] == ["help"]:
        words = arguments[1:2]
    elif {"-h", "--help"} & {*arguments}:
        words = [word for word in arguments if word in VERBS][:1]
    else:
        return None
    return verb_usage(words[0]) if words else usage()


def usage() -> str:
    """The overview: every verb with its line, and the options of all of them."""
    verbs = [(f"{name} {verb.arguments}".rstrip(), verb.summary) for name, verb in VERBS.items()]
    lines = [
        f"usage: {PROGRAM} VERB [ARGUMENT...] [OPTION...]",
        "",
        *columns([*verbs, ("help VERB", "the options of a verb; also VERB --help")]),
        "",
        "options of every verb:",
        *columns(_lines(name for name in OPTIONS if name in COMMON)),
        "  --help, --version",
        "",
        ACTING_LEGEND,
    ]
    return "\n".join(lines)


def verb_usage(name: str) -> str:
    """The help of one verb. Raises ConfigError for a word that is not a verb."""
    if name not in VERBS:
        raise ConfigError(_no_such("verb", name, VERBS))
    verb = VERBS[name]
    lines = [
        " ".join(f"usage: {PROGRAM} {name} {verb.arguments} [OPTION...]".split()),
        "",
        f"{verb.summary[:1].upper()}{verb.summary[1:]}.",
        verb.details,
        "",
        *columns(_lines(verb.options)),
        *(["  *  may be given more than once"] if LISTS & {*verb.options} else []),
        f"  {', '.join(name for name in OPTIONS if name in COMMON)}: see {PROGRAM} --help",
    ]
    return "\n".join(lines)


# -- reading ----------------------------------------------------------------------------------------------------------


def _next(name: str, left: Iterator[str]) -> str:
    """The word after an option that takes a value; nothing for a flag and for an unknown option."""
    return next(left, "") if OPTIONS.get(name, ("", ""))[0] else ""


def _keep(values: dict[str, Any], name: str, value: str, equals: bool) -> None:
    if name not in OPTIONS:
        raise ConfigError(f"{_no_such('option', name, OPTIONS)}; see {PROGRAM} --help")
    metavar, _ = OPTIONS[name]
    if not metavar:
        if equals:
            raise ConfigError(f"{name}: takes no value")
        values[name] = True
    elif not value or (value.startswith("--") and not equals):
        raise ConfigError(f"{name}: needs a value: {name} {metavar}")
    elif name in LISTS:
        values[name] = [*values.get(name, []), value]
    else:
        values[name] = _number(name, value) if name in NUMBERS else value


def _no_such(what: str, word: str, known: Iterable[str]) -> str:
    from ec2ident.program.spelling import no_such

    return no_such(what, word, known)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise ConfigError(f"{name} {value[:40]}: not a number")
    return int(value)


def _check(verb: str, values: Iterable[str]) -> None:
    """Raises ConfigError for an unknown verb, and for an option that is not one of the verb."""
    if verb not in VERBS:
        raise ConfigError(
            f"{_no_such('verb', verb, VERBS)}; see {PROGRAM} --help"
            if verb
            else f"which verb? (known: {', '.join(VERBS)}); see {PROGRAM} --help"
        )
    known = {*VERBS[verb].options, *COMMON}
    for name in values:
        if name not in known:
            raise ConfigError(f"{name}: not an option of {verb}; see {PROGRAM} {verb} --help")
        if name in OVERLAY and verb != "overlay" and "--overlay" not in values:
            raise ConfigError(f"{name}: goes with --overlay ADDRESS")


# -- help -------------------------------------------------------------------------------------------------------------


def _lines(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(f"{name} {OPTIONS[name][0]}".rstrip(), OPTIONS[name][1]) for name in names]
