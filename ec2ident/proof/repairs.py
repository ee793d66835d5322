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
#: The order of the members in every document seen since 2020; before, it differed from one instance to the next.
_ORDER = (
    *("accountId", "architecture", "availabilityZone", "billingProducts", "devpayProductCodes"),
    *("marketplaceProductCodes", "imageId", "instanceId", "instanceType", "kernelId", "pendingTime", "privateIp"),
    *("ramdiskId", "region", "version"),
)


def candidates(document: bytes, *, reorder: bool = False) -> Iterator[bytes]:
    """What the document may have been before it was changed, the likeliest first: up to three, four with `reorder`."""
    if len(document) > LARGEST:
        return
    seen = {document}
    plain = unmarked(document)
    tried = [plain, plain.replace(b"\r\n", b"\n").strip(_WHITE_SPACE), _as_aws_writes(plain)]
    if reorder:
        tried.append(_as_aws_writes(plain, _ORDER))
    for candidate in tried:
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
        ordered = _as_aws_writes(plain, _ORDER)
        if ordered is None or ordered != _as_aws_writes(original, _ORDER):
            return ""
        same_order = _as_aws_writes(plain) == _as_aws_writes(original)
        done.append(
            "its JSON was formatted anew" if same_order else "the members of its JSON were put into another order"
        )
    return " and ".join(done)


def _as_aws_writes(document: bytes, order: tuple[str, ...] = ()) -> bytes | None:
    """The same JSON in AWS's layout: a member a line, two spaces, ` : `, lists in one line, no final newline.

    With `order` its members are sorted so, and those that it does not name come last.
    """
    import json

    try:
        fields = json.loads(document)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    rest = sorted(set(fields) - set(order)) if order else fields
    names = [name for name in order if name in fields] + [*rest]
    members = (f"  {json.dumps(name)} : {_value(fields[name])}" for name in names)
    return ("{\n" + ",\n".join(members) + "\n}").encode("utf-8", "surrogatepass")


def _value(value: object) -> str:
    import json

    if isinstance(value, list) and value:
        return f"[ {', '.join(map(_value, value))} ]"
    return json.dumps(value)
