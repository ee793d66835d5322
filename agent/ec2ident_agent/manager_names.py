"""Network managers under the names that their own documentation gives them: `NetworkManager`, `systemd-networkd`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: What a name may begin with; the rest is the same program.
PREFIXES = ("systemd-", "amazon-", "the ")
UNIT = ".service"


def known_name(word: str, known: Iterable[str]) -> str:
    """The known name that is the same but for case, hyphens, `systemd-` and `.service`; the word itself if none is."""
    same = (each for each in known if _plain(each) == _plain(word))
    return next(same, word)


def _plain(name: str) -> str:
    plain = name.lower()
    plain = plain[: -len(UNIT)] if plain.endswith(UNIT) else plain
    for prefix in PREFIXES:
        plain = plain[len(prefix) :] if plain.startswith(prefix) else plain
    return plain.replace("-", "")
