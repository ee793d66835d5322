"""The command line of ec2ident-agent, read by hand from one table.

Importing argparse costs as much as starting Python, and a hook or a monitor would pay it each time to find that there
is nothing to do.
"""

from __future__ import annotations

from ec2ident.exit_codes import ACTING_LEGEND
from ec2ident.value import Value

from .errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

USAGE = (
    """\
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

"""
    + ACTING_LEGEND
)

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
#: Every option of some verb.
KNOWN = FLAGS | COMMON | set().union(*VERBS.values())


class Options(Value):
    """The command line, read."""

    verb: str
    arguments: tuple[str, ...]
    values: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)


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
        if name not in KNOWN:
            raise ConfigError(f"{name}: no such option; see ec2ident-agent --help")
        if name in FLAGS and equals:
            raise ConfigError(f"{name}: takes no value; see ec2ident-agent --help")
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
        raise ConfigError(f"{f'{verb}: no such verb' if verb else 'which verb?'} (known: {', '.join(VERBS)})")
    for name in values:
        if name not in VERBS[verb] | COMMON:
            raise ConfigError(f"{name}: no option of {verb}; see ec2ident-agent --help")
        if name in OVERLAY and verb != "overlay" and "--overlay" not in values:
            raise ConfigError(f"{name}: goes with --overlay ADDRESS")
    return Options(verb, tuple(words[1:]), values)


def _value(name: str, value: str) -> object:
    if name in NUMBERS:
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise ConfigError(f"{name} {value[:40]}: not a number")
        return int(value)
    return value
