"""CMS objects of the same layout: the first is parsed element by element, the next ones by comparison.

Objects of one signer differ in five holes: document, name of the signer, signing time, digest and signature.
All lengths around the document are indefinite, so no octet outside the holes depends on one inside. Where all octets
outside are equal to those of an object that was walked through, a walk would find the same things at the same places:
in the holes it only looks whether the signing time is a time, and so does this. Nothing here decides whether an object
is right; tests hold both ways of reading equal over mutants.
"""

from __future__ import annotations

from operator import itemgetter

from ec2ident.errors import MalformedError
from ec2ident.value import Value

from . import ber

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Place = tuple[int, int]


class Layout(Value):
    """How everything after the document is cut, and what stands outside the holes."""

    #: All parts outside the holes, and what they must be.
    outside: Callable[[bytes], tuple[bytes, ...]]
    fixed: tuple[bytes, ...]
    #: Signing time, signed attributes without their tag, digest, signature.
    holes: Callable[[bytes], tuple[bytes, ...]]
    time_tag: int
    #: What was read of the first object: of the next ones, all but what is in the holes.
    fields: dict[str, Any]


#: The octets up to the length of the document -> layouts by the number of octets after the document. Never changed, but
#: replaced by a larger one, so that several threads may read it.
_layouts: dict[bytes, dict[int, Layout]] = {}
_MOST = 64
_SET = bytes((ber.SET,))
#: The document is an OCTET STRING with a length of two octets, in one of indefinite length or by itself.
_OPENINGS = (bytes.fromhex("24800482"), bytes.fromhex("0482"))
#: Tag and length of the SET of an attribute and of its one value, which have fewer than 128 octets.
_VALUE_AT, _LONGEST_VALUES = 4, 129


def read(blob: bytes) -> dict[str, Any] | None:
    """The fields of the signed data if the object has a remembered layout, else None."""
    for head, layouts in _layouts.items():
        if blob.startswith(head):
            start = len(head) + 2
            end = start + int.from_bytes(blob[start - 2 : start], "big")
            layout = layouts.get(len(blob) - end)
            return None if layout is None else _read(layout, blob[start:end], blob[end:])
    return None


def _read(layout: Layout, content: bytes, tail: bytes) -> dict[str, Any] | None:
    if layout.outside(tail) != layout.fixed:
        return None
    time, attributes, digest, signature = layout.holes(tail)
    try:
        signing_time = ber.time(layout.time_tag, time)
    except MalformedError:
        return None
    return {
        **layout.fields,
        "content": content,
        "signed_attributes": _SET + attributes,
        "message_digest": digest,
        "signing_time": signing_time,
        "signature": signature,
    }


def remember(blob: bytes, fields: dict[str, Any], places: dict[str, Place]) -> None:
    """Keep the layout of an object that was walked through, if it is one of those that are read by comparison.

    `places` are those of the content (where all lengths around it are indefinite), identifier, attributes and
    signature, as whole elements; those of the signing time and the digest are of their attributes' values, counted from
    the end of the attributes.
    """
    global _layouts
    if not {"content", "signing time", "message digest"} <= places.keys() or fields["signing_time"] is None:
        return
    content = fields["content"]
    start = places["content"][0]
    opening = next((one for one in _OPENINGS if blob.startswith(one, start)), None)
    if opening is None:
        return
    start += len(opening)
    end = start + 2 + len(content)
    tail = blob[end:]
    layout = _layout(tail, fields, {name: (a - end, b - end) for name, (a, b) in places.items()}, places)
    if layout is None or blob[start:end] != len(content).to_bytes(2, "big") + content:
        return
    known = _layouts if sum(map(len, _layouts.values())) < _MOST else {}
    head = blob[:start]
    _layouts = {**known, head: {**known.get(head, {}), len(tail): layout}}


def _layout(tail: bytes, fields: dict[str, Any], places: dict[str, Place], within: dict[str, Place]) -> Layout | None:
    """The layout of what follows a document, where each part is written in the one way that is compared here."""
    attributes, signature = places["attributes"], places["signature"]
    signature = signature[1] - len(fields["signature"]), signature[1]
    time, digest = (
        (attributes[1] - within[name][0] + _VALUE_AT, attributes[1] - within[name][1])
        for name in ("signing time", "message digest")
    )
    holes = sorted((_inside(tail, places["identifier"]), time, digest, signature))
    ends = [0, *(end for _, end in holes)]
    starts = [*(start for start, _ in holes), len(tail)]
    outside = itemgetter(*map(slice, ends, starts))
    layout = Layout(
        outside=outside,
        fixed=outside(tail),
        holes=itemgetter(*(slice(*place) for place in (time, (attributes[0] + 1, attributes[1]), digest, signature))),
        time_tag=tail[time[0] - 2],
        fields=fields,
    )
    short = all(within[name][0] - within[name][1] <= _LONGEST_VALUES for name in ("signing time", "message digest"))
    # That it reads this very object as the walk did: else some part is written in another way.
    return layout if short and starts == sorted(starts) and _read(layout, fields["content"], tail) == fields else None


def _inside(tail: bytes, place: Place) -> Place:
    """The contents of an element of definite length; of others nothing."""
    start, end = place
    length = tail[start + 1]
    header = 2 + (length - 0x80 if length > 0x80 else 0)
    return (end, end) if length == 0x80 else (start + header, end)
