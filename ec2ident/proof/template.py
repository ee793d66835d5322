"""Identity documents of the same form: the first is read as JSON, the next ones by comparison with it.

AWS writes every document with the same program: two documents of one form differ in the texts of some members alone. A
template is one document with holes for those texts. A text that matches has the same JSON tokens everywhere outside the
holes, and what it has in a hole can neither end the string nor stand for another character; so JSON would read the same
names, with the same values but for those of the holes. Nothing here decides whether a document is right; tests hold
both ways of reading equal over mutants.
"""

from __future__ import annotations

import re

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Callable

#: A text of a hole, as a pattern: printable ASCII but for the quotation mark, which ends a string, and the backslash,
#: which begins an escape.
PLAIN = r"[ !#-\[\]-~]"


class Template(Value):
    """A document with holes. `match` of a text gives the texts in the holes as its groups, or None."""

    match: Callable[[str], re.Match[str] | None]
    #: The member that each hole belongs to.
    names: tuple[str, ...]


def of(text: str, members: Mapping[str, str], holes: Mapping[str, str]) -> Template | None:
    """The template of a text of JSON with a hole for each of these members, which are given in their order.

    `holes` has the pattern of what may be in each; it matches no quotation mark, backslash or control character. None
    where the text is not plain ASCII, has a name twice, or has something in a hole that the pattern does not match.
    """
    if not text.isascii() or "\\" in text:
        return None
    pattern, end = "", 0
    for name, value in members.items():
        opening = re.compile(rf'"{name}"[ \t\r\n]*:[ \t\r\n]*"').search(text, end)
        if opening is None or text.count(f'"{name}"') != 1:
            return None
        pattern += f"{re.escape(text[end : opening.end()])}({holes[name]})"
        end = opening.end() + len(value)
    match = re.compile(pattern + re.escape(text[end:])).fullmatch
    found = match(text)
    # That it reads this very text as JSON did.
    return Template(match, tuple(members)) if found and found.groups() == tuple(members.values()) else None
