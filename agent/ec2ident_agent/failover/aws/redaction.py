"""What a message may show of a text that a service sent: one line, without credentials. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Characters of a response that is not an error of the API, for a message.
SHOWN = 200
#: Every piece of a secret that is as long as this is removed from a message, and every text that may be a token.
PIECE, TOKEN = 12, 100

#: How services begin to quote the request that was signed.
_QUOTATION = r"\s*(?:The )?(?:canonical string|string-to-sign|canonical request)\b"


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """A text of a service without credentials. Pure.

    A service that rejects a signature quotes the canonical request with the session token in it, and may cut it off
    anywhere. So the whole quotation is removed, and every beginning of a known secret, and what may be a token.
    """
    import re

    text = re.split(_QUOTATION, text, maxsplit=1, flags=re.IGNORECASE)[0]
    for secret in secrets:
        head, found = secret[:PIECE], 0
        while len(head) == PIECE and (found := text.find(head, found)) >= 0:
            pairs = zip(text[found:], secret)
            length = next(
                (n for n, (one, other) in enumerate(pairs) if one != other), min(len(text) - found, len(secret))
            )
            text, found = f"{text[:found]}…{text[found + length :]}", found + 1
    text = re.sub(r"(?i)(x-amz-security-token|authorization)(\s*[:=]\s*)\S+", r"\1\2…", text)
    return re.sub(rf"[A-Za-z0-9+/=_%-]{{{TOKEN},}}", "…", text)


def line(text: str) -> str:
    """One line that is safe to print on a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
