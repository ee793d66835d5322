"""Which change explains a document that does not verify: an editor's newline, CRLF, another layout, UTF-16.

A signature covers every byte. The usual changes are undone only to say which one it was; a document that was changed is
never accepted.
"""

from __future__ import annotations

from .document import LARGEST
from .forms import unmarked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_WHITE_SPACE = b" \t\r\n"


def candidates(document: bytes) -> Iterator[bytes]:
    """What the document may have been before it was changed, at most three, the likeliest first."""
    if len(document) > LARGEST:
        return
    seen = {document}
    plain = unmarked(document)
    for candidate in (plain, plain.replace(b"\r\n", b"\n").strip(_WHITE_SPACE), _as_aws_writes(plain)):
        if candidate is not None and candidate not in seen:
            seen.add(candidate)
            yield candidate


def change(document: bytes, original: bytes) -> str:
    """In words, what was done to `original` to make `document` of it; empty where no usual change explains it."""
    done = []
    plain = unmarked(document)
    if plain != document:
        done.append("it became UTF-16" if b"\0" in document else "a byte order mark was added")
    unix = plain.replace(b"\r\n", b"\n")
    if unix != plain and b"\r\n" not in original:
        done.append("its line ends became CRLF")
        plain = unix
    if plain != original and plain.strip(_WHITE_SPACE) == original.strip(_WHITE_SPACE):
        done.append("a final newline was added" if plain == original + b"\n" else "white space around it changed")
    elif plain != original:
        if _as_aws_writes(plain) is None or _as_aws_writes(plain) != _as_aws_writes(original):
            return ""
        done.append("its JSON was laid out anew")
    return " and ".join(done)


def _as_aws_writes(document: bytes) -> bytes | None:
    """The same JSON in AWS's layout: a member a line, two spaces, ` : `, lists in one line, no final newline."""
    import json

    try:
        fields = json.loads(document)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    members = (f"  {json.dumps(name)} : {_value(value)}" for name, value in fields.items())
    return ("{\n" + ",\n".join(members) + "\n}").encode("utf-8", "surrogatepass")


def _value(value: object) -> str:
    import json

    if isinstance(value, list) and value:
        return f"[ {', '.join(map(_value, value))} ]"
    return json.dumps(value)
