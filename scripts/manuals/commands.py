"""The verbs, options and arguments of the three programs as values, read from the tables that the programs use.

Man pages and completion are made of these values, so neither can name an option that a program does not have.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from ec2ident import cli as library
from ec2ident.model import Kind, Level
from ec2ident.program import VERSION
from ec2ident.regions.partitions import Partition
from ec2ident_agent import hook, options, profile
from ec2ident_agent.failover import arguments
from ec2ident_agent.failover.dns import corporate
from ec2ident_agent.install import layout


class Option(NamedTuple):
    """An option: its names, the word that stands for its value (empty for a flag), its help and the possible values."""

    names: tuple[str, ...]
    metavar: str = ""
    text: str = ""
    choices: tuple[str, ...] = ()
    repeated: bool = False
    #: The value may be missing.
    loose: bool = False


class Argument(NamedTuple):
    """A word that is not an option. `repeated`: any number of them."""

    word: str
    choices: tuple[str, ...] = ()
    repeated: bool = False
    text: str = ""


class Verb(NamedTuple):
    """A verb, such as `route ensure`: its words, what it does, what it takes, and the verbs below it."""

    words: tuple[str, ...]
    usage: str
    summary: str
    details: str = ""
    options: tuple[Option, ...] = ()
    arguments: tuple[Argument, ...] = ()
    verbs: tuple[Any, ...] = ()
    aliases: tuple[str, ...] = ()


class Program(NamedTuple):
    """A program. `common` are the options of every verb; `plain` are those that may stand without a verb."""

    name: str
    verbs: tuple[Verb, ...]
    common: tuple[Option, ...]
    plain: tuple[Option, ...] = ()


#: The values of options and arguments, from the tables that check them, where the table of options does not name them.
CHOICES = {
    "--level": tuple(each.name.lower() for each in Level if each),
    "--kind": tuple(each.value for each in Kind),
    "--scheme": tuple(profile.PRIORITY),
    "--manager": tuple(name for name, row in layout.ROWS.items() if name != "always"),
    "--corporate": tuple(corporate.KINDS),
    "MANAGER": tuple(hook.EVENTS),
    "NAME": tuple(name for each in Partition.all() for name in (each.name, *each.regions)),
}
HELP = Option(("-h", "--help"), text="print the help; after a verb, that of the verb")


def programs() -> tuple[Program, ...]:
    """All three."""
    return ec2ident(), agent(), failover()


def leaves(verbs: tuple[Verb, ...]) -> list[Verb]:
    """The verbs that do something, in the order of the help."""
    return [leaf for verb in verbs for leaf in (leaves(verb.verbs) if verb.verbs else [verb])]


def agent() -> Program:
    """From ec2ident_agent.options."""
    verbs = tuple(
        Verb(
            (name,),
            verb.arguments,
            verb.summary,
            verb.details,
            tuple(map(_agents_option, verb.options)),
            tuple(map(_agents_argument, verb.arguments.split())),
        )
        for name, verb in options.VERBS.items()
    )
    common = tuple(_agents_option(name) for name in options.OPTIONS if name in options.COMMON)
    return Program(options.PROGRAM, verbs, (*common, HELP, Option(("--version",), text=VERSION)))


def _agents_option(name: str) -> Option:
    metavar, text = options.OPTIONS[name]
    return Option((name,), metavar, _without_star(text), CHOICES.get(name, ()), name in options.LISTS)


def _agents_argument(word: str) -> Argument:
    """`[INTERFACE...]`, `add|del` or `INTERFACE...|--all`, as usage has it."""
    bare = word.strip("[]").replace("|--all", "")
    name = bare.replace("...", "")
    choices = tuple(name.split("|")) if name.islower() else CHOICES.get(name, ())
    return Argument(name, choices, bare != name)


def ec2ident() -> Program:
    """From the parser of ec2ident.cli."""
    verbs, common = _parsed(library._parser())
    return Program("ec2ident", verbs, common, next(verb.options for verb in verbs if verb.words == ("show",)))


def failover() -> Program:
    """From the parser of ec2ident_agent.failover.arguments; the options of every verb from its table."""
    verbs, common = _parsed(arguments.parser())
    shared = tuple(Option((name,), metavar, text) for name, metavar, text in arguments.SHARED)
    return Program("ec2ident-failover", verbs, (*shared, *common))


def _parsed(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> tuple[tuple[Verb, ...], tuple[Option, ...]]:
    """The verbs below a parser, and the parser's own options."""
    verbs = []
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for entry in group._choices_actions:
                name = entry.dest
                found = group.choices[name]
                aliases = tuple(other for other, same in group.choices.items() if same is found and other != name)
                verbs.append(_verb(found, (*words, name), entry.help or "", aliases))
    return tuple(verbs), tuple(_option(action, parser) for action in parser._actions if action.option_strings)


def _verb(parser: argparse.ArgumentParser, words: tuple[str, ...], summary: str, aliases: tuple[str, ...]) -> Verb:
    below, _ = _parsed(parser, words)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    usage = (parser.usage or "").replace("%(prog)s", "").replace("[OPTION...]", "").strip()
    taken = tuple(_argument(action) for action in shown if not action.option_strings and not below)
    # --help is an option of every verb.
    given = tuple(_option(action, parser) for action in shown if action.option_strings and action.dest != "help")
    return Verb(words, usage, summary, "", given, taken, below, aliases)


def _option(action: argparse.Action, parser: argparse.ArgumentParser) -> Option:
    if action.dest == "help":
        return HELP
    names = tuple(action.option_strings)
    metavar = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    choices = tuple(map(str, action.choices or ())) or CHOICES.get(names[0], ())
    repeated = isinstance(action, argparse._AppendAction)
    return Option(names, metavar, _without_star(text), choices, repeated, action.nargs == "?")


def _argument(action: argparse.Action) -> Argument:
    word = str(action.metavar or action.dest.upper())
    choices = tuple(map(str, action.choices or ())) or CHOICES.get(word, ())
    return Argument(word, choices, action.nargs in ("*", "+"), action.help or "")


def _without_star(text: str) -> str:
    """A help line without the `*` that says in a terminal that the option may be given more than once."""
    return text[:-2] if text.endswith(" *") else text
