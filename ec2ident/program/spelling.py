"""What an unknown word is answered with: what it is not, and what was meant."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: As many words as a line of a message takes.
FEW = 12


def no_such(what: str, word: str, known: Iterable[str], *, written: str = "", few: int = FEW) -> str:
    """`WORD: no such WHAT`, and the known word that is similar to it, else all of them, up to `few`. Pure.

    `written` stands in the text for the word, such as a key with the tables that it is in.

    Two words are similar when they share seven tenths of their letters in the same order, as difflib counts; the dashes
    of an option do not count.
    """
    from difflib import get_close_matches

    words = {each.lstrip("-"): each for each in known}
    # The time grows with the square of the length, and no known word is long.
    found = get_close_matches(word.lstrip("-")[:64], words, 1, 0.7)
    shown = written or (word if len(word) <= 64 else f"{word[:64]}...")
    hint = (
        f" (did you mean {words[found[0]]}?)"
        if found
        else f" (known: {', '.join(words.values())})"
        if 0 < len(words) <= few
        else ""
    )
    return f"{shown}: no such {what}{hint}"
