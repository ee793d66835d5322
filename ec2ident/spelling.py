"""What an unknown word is answered with: what it is not, and what was meant."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def no_such(what: str, word: str, known: Iterable[str]) -> str:
    """`WORD: no such WHAT`, and the known word that is similar to it, else all of them. Pure.

    Two words are similar as difflib counts: at least three fifths of their letters, in the same order.
    """
    from difflib import get_close_matches

    words = sorted({*known})
    # The time grows with the square of the length, and no word of ours is long.
    found = get_close_matches(word[:64], words, 1)
    shown = word if len(word) <= 64 else f"{word[:64]}…"
    hint = f" (did you mean {found[0]}?)" if found else f" (known: {', '.join(words)})" if words else ""
    return f"{shown}: no such {what}{hint}"
