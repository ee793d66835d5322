"""An unknown word is answered with the one that was meant, or with those that there are."""

from __future__ import annotations

import pytest

from ec2ident.program.spelling import FEW, no_such

VERBS = ("show", "verify", "evidence", "region")


@pytest.mark.parametrize(
    ("word", "meant"), [("shw", "show"), ("vreify", "verify"), ("evidences", "evidence"), ("reigon", "region")]
)
def test_a_slip_is_recognised(word: str, meant: str) -> None:
    """One letter left out, exchanged or added."""
    assert f"{word}: no such verb (did you mean {meant}?)" == no_such("verb", word, VERBS)


def test_the_dashes_of_an_option_do_not_make_it_similar() -> None:
    """Else each option would be like each other one."""
    assert "--colour: no such option (known: --source, --json)" == no_such("option", "--colour", ["--source", "--json"])
    assert "--jsn: no such option (did you mean --json?)" == no_such("option", "--jsn", ["--source", "--json"])


def test_a_long_list_is_not_shown() -> None:
    """A line of a message takes a few words."""
    words = [f"word{number}" for number in range(FEW + 1)]

    assert "x: no such key" == no_such("key", "x", words)
    assert f"x: no such key (known: {', '.join(words[:FEW])})" == no_such("key", "x", words[:FEW])
    assert "x: no such key (known: word0, word1)" == no_such("key", "x", words[:2])
    assert "x: no such key" == no_such("key", "x", [])


def test_a_long_word_is_cut() -> None:
    """The time that a comparison takes grows with the square of the length."""
    assert f"{'x' * 64}...: no such key (known: a)" == no_such("key", "x" * 1_000_000, ["a"])
