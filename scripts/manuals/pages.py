"""Man pages in roff, with the macros of man(7), which groff and mandoc both read. Pure.

They have no date: the same tables give the same bytes, and the version in the footer says what a page belongs to.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from ec2ident import __version__
from ec2ident.program.exit_codes import TABLE

from . import commands, keys

if TYPE_CHECKING:
    from collections.abc import Iterable

#: In the order in which SEE ALSO names them.
PAGES = {
    "ec2ident": 1,
    "ec2ident-agent": 8,
    "ec2ident-failover": 8,
    "ec2ident-agent.toml": 5,
    "ec2ident-failover.toml": 5,
}


class Words(NamedTuple):
    """What no table of a program says: paragraphs, files and variables with a line each, and examples."""

    summary: str
    about: str
    files: dict[str, str]
    environment: dict[str, str]
    examples: dict[str, str]


#: For pages of programs.
PROGRAMS = {
    "ec2ident": Words(
        "tell whether this machine is Amazon EC2, and prove it",
        """
        Weighs the firmware, the metadata service and the signed instance identity document, and verifies the signature
        of AWS offline. The answer is one of `yes`, `no`, `unknown` and `suspect`, with the reason. Without a verb,
        `show` is meant.

        The result goes to standard output, errors and notes to standard error.
        """,
        {},
        {"AWS_EC2_METADATA_DISABLED": "`true`: the metadata service is not asked, as in the tools of AWS"},
        {
            "ec2ident": "yes, no, unknown or suspect, and why, in one line",
            "ec2ident --level bound --explain": "a proof that is about this very machine, with every fact",
            "ec2ident verify rsa2048": "whether AWS signed what the file rsa2048 holds; sends no packet",
            "ec2ident evidence --save evidence": "save what another machine can verify",
            "ec2ident region cn-north-1": "the partition and the endpoints of a region",
        },
    ),
    "ec2ident-agent": Words(
        "policy routing for attached ENIs and overlay addresses",
        """
        Adds the policy rules, routing tables and addresses that `ec2ident-agent.toml`(5) describes, repairs what other
        programs delete, and removes exactly what it added. It never changes a rule, route or address of another
        program, except what `adopt` takes over.

        The result goes to standard output. The log goes to standard error: each change as the command of ip(8) that
        does the same, behind `[#]`.
        """,
        {
            "/etc/ec2ident/agent.toml": "the configuration",
            "/etc/ec2ident/uninstall": "removes everything without Python; written by `install`",
            "/etc/iproute2/rt_tables.d/ec2ident.conf": "names of routing tables",
            "/run/ec2ident": "the journal, and the last answers of the metadata service",
            "/run/ec2ident/watch.prom": "metrics of `watch`, for the textfile collector of Prometheus",
            "/var/lib/ec2ident": "where `warm` goes on after an interruption",
        },
        {},
        {
            "ec2ident-agent plan": "print the commands that apply would run",
            "ec2ident-agent apply": "run all of them, or none",
            "ec2ident-agent status": "in order: exit code 0; drift: exit code 1, and a line for each item",
            "ec2ident-agent overlay add 192.168.10.10 --device eth0": "hold an overlay address",
            "ec2ident-agent doctor": "which program deletes what the agent adds, and what prevents it",
            "ec2ident-agent revert --all": "restore what was there before",
        },
    ),
    "ec2ident-failover": Words(
        "move an ENI, an overlay route or a DNS name to this node",
        """
        Moves the parts of a service that `ec2ident-failover.toml`(5) describes to this node: an ENI, secondary private
        addresses, an overlay address with its routes in the route tables of the VPC, an Elastic IP, a name in a hosted
        zone. A cluster engine or an administrator decides when.

        Each verb looks, decides, acts and reads back what it has written, within one deadline. It may be repeated: it
        completes what an earlier run began. The result goes to standard output, the log to standard error.
        """,
        {
            "/etc/ec2ident/failover.toml": "the configuration",
            "/run/ec2ident": "the journal of ec2ident-agent, and what is known of earlier moves",
            "/run/ec2ident/failover/audit.log": "one line for each move: what, when, how long, and which program asked",
        },
        {
            "EC2IDENT_FAILOVER_CONFIG": "another configuration file",
            "AWS_REGION, AWS_DEFAULT_REGION": "the region, where neither an option nor the file names it",
            "AWS_PROFILE, AWS_CONFIG_FILE, AWS_CA_BUNDLE, AWS_ENDPOINT_URL": "as in the tools of AWS",
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN": "credentials, as in the tools of AWS",
            "HTTPS_PROXY, NO_PROXY": "the proxy for the API; the metadata service is never asked through one",
        },
        {
            "ec2ident-failover takeover db --dry-run": "print every AWS call and every ip command, and change nothing",
            "ec2ident-failover takeover db": "move the whole service to this node",
            "ec2ident-failover status db": "how each of its parts stands",
            "ec2ident-failover policy": "print the minimal IAM policy",
        },
    ),
}
#: For pages of files.
FILES = {
    "ec2ident-agent.toml": Words(
        "configuration of ec2ident-agent",
        """
        The file is /etc/ec2ident/agent.toml, or what `--config` names: TOML, owned by root or by the user that runs the
        command, and writable by its owner alone. Each `[interface.NAME]` is an attached ENI, and each `[[overlay]]` an
        overlay address. Nothing is done for an interface that the file does not name. Every key of an interface is
        optional: the metadata service and the kernel say the rest. A key that does not exist is an error.
        """,
        {},
        {},
        {},
    ),
    "ec2ident-failover.toml": Words(
        "configuration of ec2ident-failover",
        """
        The file is /etc/ec2ident/failover.toml, or what `--config` or EC2IDENT_FAILOVER_CONFIG names: TOML, owned by
        root or by the user that runs the command, and writable by its owner alone. Options override its keys. A key
        that does not exist is an error. The service is named db here.
        """,
        {},
        {},
        {},
    ),
}


def pages() -> dict[str, str]:
    """File name to text, for each page."""
    found = {f"{program.name}.{PAGES[program.name]}": program_page(program) for program in commands.programs()}
    found["ec2ident-agent.toml.5"] = file_page("ec2ident-agent.toml", keys.agent())
    found["ec2ident-failover.toml.5"] = file_page("ec2ident-failover.toml", keys.failover())
    return found


def program_page(program: commands.Program) -> str:
    """The page of a program."""
    words = PROGRAMS[program.name]
    verbs = commands.leaves(program.verbs)
    synopsis = [f"`{program.name} {' '.join(verb.words)}` {verb.usage}".rstrip() for verb in verbs]
    lines = _head(program.name, words)
    lines += [".SH SYNOPSIS", *([f"{_text(f'`{program.name}`')} [OPTION...]", ".br"] if program.plain else [])]
    lines += "\n.br\n".join(f"{_text(each)} [OPTION...]" for each in synopsis).splitlines()
    lines += _about(words)
    lines += [".SH VERBS"]
    for verb in verbs:
        lines += [f".SS {_text(' '.join(verb.words))}", *_sentences(verb)]
        lines += _list((_name(each), _help(each)) for each in verb.options)
        lines += _list((f"_{each.word}_", each.text) for each in verb.arguments if each.text)
    lines += [".SH OPTIONS", "Every verb has these options." if len(program.common) > 2 else "Without a verb:"]
    lines += _list((_name(each), _help(each)) for each in program.common)
    lines += [".SH EXIT STATUS"]
    column = 1 if program.name == "ec2ident" else 2
    lines += _list((f"`{row[0]}`", str(row[column])) for row in TABLE)
    for heading, table in (("FILES", words.files), ("ENVIRONMENT", words.environment)):
        if table:
            lines += [f".SH {heading}", *_list((f"`{name}`", text) for name, text in table.items())]
    lines += [".SH EXAMPLES", *_list((f"`{command}`", text) for command, text in words.examples.items())]
    return _page([*lines, *_see_also(program.name)])


def file_page(name: str, tables: Iterable[keys.Table]) -> str:
    """The page of a configuration file: each table, and each key with an example of its value."""
    words = FILES[name]
    lines = [*_head(name, words), *_about(words), ".SH KEYS"]
    for table in tables:
        lines += [f".SS {_text(table.heading or 'Above all tables')}"]
        lines += [_text(_sentence(table.text))] if table.text else []
        for entry in table.entries:
            lines += _item([f"`{key}` = {value}" for key, value in entry.keys], _sentence(entry.text))
    return _page([*lines, *_see_also(name)])


def _head(name: str, words: Words) -> list[str]:
    title = f'.TH "{_text(name.upper())}" {PAGES[name]} "" "ec2ident {__version__}"'
    return [title, ".nh", ".ad l", ".SH NAME", f"{_text(name)} \\- {_text(words.summary)}"]


def _about(words: Words) -> list[str]:
    lines = [".SH DESCRIPTION"]
    for number, paragraph in enumerate(words.about.split("\n\n")):
        lines += [*([".PP"] if number else []), _text(" ".join(paragraph.split()))]
    return lines


def _see_also(name: str) -> list[str]:
    others = ", ".join(f"`{other}`({section})" for other, section in PAGES.items() if other != name)
    return [".SH SEE ALSO", _text(others)]


def _sentences(verb: commands.Verb) -> list[str]:
    aliases = " and ".join(f"`{' '.join((*verb.words[:-1], each))}`" for each in verb.aliases)
    lines = [_sentence(verb.summary), verb.details.replace("\n", " ")]
    lines += [f"{aliases} is another name of it."] if aliases else []
    return [_text(line) for line in lines if line]


def _name(option: commands.Option) -> str:
    value = f" _{option.metavar}_" if option.metavar else ""
    if option.loose:
        value = f" [{value.strip()}]"
    return ", ".join(f"`{name}`{value}" for name in option.names)


def _help(option: commands.Option) -> str:
    text = _sentence(option.text)
    return f"{text} May be given more than once." if option.repeated and "may be given" not in text else text


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def _list(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, text in rows for line in _item([name], _sentence(text))]


def _item(names: list[str], text: str) -> list[str]:
    return [".TP", _text(names[0]), *(line for name in names[1:] for line in (".TQ", _text(name))), _text(text)]


#: What the tables contain besides ASCII, as roff writes it.
_ROFF = {"\\": "\\e", "-": "\\-", "…": "...", "×": "x", "'": "\\(aq", "`": "", "^": "\\(ha", "~": "\\(ti"}


def _text(text: str) -> str:
    """Text for roff: `bold`, and _VALUE_ in italics. A line never begins with a control character."""
    parts = re.split(r"(`[^`]*`|(?<![\w`])_[A-Z][A-Z:_]*_(?!\w))", text)
    found = ""
    for part in parts:
        bare = (
            part.strip("`") if part.startswith("`") else part[1:-1] if re.fullmatch(r"_[A-Z][A-Z:_]*_", part) else part
        )
        escaped = "".join(_ROFF.get(letter, letter) for letter in bare)
        mark = "B" if part.startswith("`") else "I" if bare != part else ""
        found += f"\\f{mark}{escaped}\\fR" if mark else escaped
    return f"\\&{found}" if found.startswith(".") else found


def _page(lines: list[str]) -> str:
    """The lines, those with text broken where they are long: mandoc's lint asks for 80 columns of source."""
    found = ['.\\" Made by scripts/manual from the tables of the programs.']
    for line in lines:
        pieces = (
            [line] if line.startswith(".") else textwrap.wrap(line, 78, break_long_words=False, break_on_hyphens=False)
        )
        found += [f"\\&{piece}" if piece.startswith(".") and piece != line else piece for piece in pieces]
    return "\n".join([*found, ""])
