"""The command line from its table: what is read, what is refused, and the help that fits a screen."""

from __future__ import annotations

import pytest

from ec2ident_agent import options
from ec2ident_agent.errors import ConfigError
from ec2ident_agent.options import OPTIONS, VERBS, help_for, parse_command_line, usage, verb_usage

#: A terminal as it has always been.
LINES, COLUMNS = 24, 80


def test_words_and_options_in_any_order() -> None:
    """A value behind its option or behind an equals sign; a list in the order that it was given."""
    found = parse_command_line(
        ["--wait=3", "apply", "--subnet", "10.0.1.0/24", "eth1", "--subnet=10.0.2.0/24", "--table", "100"]
    )

    assert ("apply", ("eth1",)) == (found.verb, found.arguments)
    assert {"--wait": "3", "--subnet": ["10.0.1.0/24", "10.0.2.0/24"], "--table": 100} == found.values


def test_an_option_of_an_overlay_goes_with_it_in_each_verb() -> None:
    """`apply` and `plan` take one by --overlay, and `overlay` by its argument."""
    for words in ("apply --overlay 192.168.10.10 --device eth0", "overlay add 192.168.10.10 --device eth0"):
        assert "eth0" == parse_command_line(words.split()).values["--device"]


def test_a_flag_takes_no_word_and_an_option_takes_any_behind_an_equals_sign() -> None:
    """The word behind a flag is an argument; a value may begin with two dashes if nothing stands between."""
    found = parse_command_line(["apply", "--dry-run", "eth1", "--config=--odd"])

    assert (("eth1",), {"--dry-run": True, "--config": "--odd"}) == (found.arguments, found.values)


def test_the_help_of_a_verb_begins_with_its_summary_and_explains_its_star_alone() -> None:
    """The star stands behind options that may be repeated, which `status` has none of."""
    sentence = verb_usage("status").splitlines()[2]
    assert (VERBS["status"].summary, True) == (sentence[0].lower() + sentence[1:-1], sentence[0].isupper())
    assert (True, False) == tuple("may be given more than once" in verb_usage(verb) for verb in ("apply", "status"))


def test_one_dash_alone_is_a_word() -> None:
    """Many programs take it for standard input; here it is an argument like any other."""
    assert ("status", ("-",)) == (
        parse_command_line(["status", "-"]).verb,
        parse_command_line(["status", "-"]).arguments,
    )


def test_behind_two_dashes_each_word_is_an_argument() -> None:
    """An interface may be named so."""
    assert ("-eth1", "--all") == parse_command_line(["status", "--", "-eth1", "--all"]).arguments


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", r"^which verb\? \(known: plan, apply, "),
        ("aply", r"^aply: no such verb \(did you mean apply\?\); see ec2ident-agent --help$"),
        ("fly", r"^fly: no such verb \(known: plan, apply, "),
        ("status --jsn", r"^--jsn: no such option \(did you mean --json\?\); see ec2ident-agent --help$"),
        ("status --dry-run", r"^--dry-run: not an option of status; see ec2ident-agent status --help$"),
        ("status --json=yes", r"^--json: takes no value$"),
        ("status --config", r"^--config: needs a value: --config FILE$"),
        ("status --config --json", r"^--config: needs a value: --config FILE$"),
        ("apply --table x", r"^--table x: not a number$"),
        (f"apply --table {10**19}", r"^--table 10000000000000000000: not a number$"),
        ("apply --device eth0", r"^--device: goes with --overlay ADDRESS$"),
    ],
)
def test_what_is_wrong_is_answered_with_what_to_write(words: str, said: str) -> None:
    """The word, what is wrong about it, and where to look."""
    with pytest.raises(ConfigError, match=said):
        parse_command_line(words.split())


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_help_of_a_verb_fits_a_screen(verb: str) -> None:
    """In ASCII, for any terminal; with each of its options."""
    text = verb_usage(verb)

    assert text.isascii()
    assert len(text.splitlines()) <= LINES
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert [] == [name for name in VERBS[verb].options if f"\n  {name}" not in text]


def test_the_overview_fits_a_screen() -> None:
    """With each verb and the exit codes."""
    assert usage().isascii()
    assert len(usage().splitlines()) <= LINES
    assert max(map(len, usage().splitlines())) <= COLUMNS
    assert [] == [name for name in VERBS if f"\n  {name}" not in usage()]


def test_each_option_is_one_of_a_verb() -> None:
    """And each option of a verb is in the table: no list names one that does not exist."""
    of_verbs = {name for verb in VERBS.values() for name in verb.options}

    assert {*OPTIONS} == of_verbs | options.COMMON
    assert options.LISTS | options.NUMBERS | options.PROFILE | options.OVERLAY <= {*OPTIONS}


def test_only_a_request_for_help_is_one() -> None:
    """The value of an option is not a verb, and a file may be named help."""
    assert None is help_for(["status", "--config", "help"])
    assert usage() == help_for(["help"]) == help_for(["--help"]) == help_for(["--config", "/x", "-h"])
    assert verb_usage("plan") == help_for(["--json", "plan", "--help"])
