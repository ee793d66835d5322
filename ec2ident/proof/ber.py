"""A reader for BER (ITU-T X.690): by structure, in one pass, with every length parsed and none searched for.

BER may write one value in several ways: lengths definite or indefinite, lengths in more octets than needed, an OCTET
STRING in pieces. All of them are read. With `der` only the one way that DER allows is read, for what was signed as DER.
Nothing recurses: the caller says how deep it enters, and `skip` counts instead.
"""

from __future__ import annotations

from datetime import datetime

from ec2ident.errors import MalformedError

# X.680 8.6, with the constructed bit (0x20) where it is set.
INTEGER = 0x02
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
OCTET_STRING_IN_PIECES = 0x24
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0
CONTEXT_1 = 0xA1
CONTEXT_2 = 0xA2
CONTEXT_3 = 0xA3

_CONSTRUCTED = 0x20
#: A tag number of 31 or more follows in octets of its own.
_LONG_TAG = 0x1F
_LONGEST_TAG = 4
#: Length octets from here on say how many length octets follow; alone it says that the length is indefinite.
_LONG = 0x80
_END_OF_CONTENTS = b"\0\0"
#: How deep the pieces of an OCTET STRING may nest. OpenSSL reads five levels.
_DEEPEST_PIECES = 5

_Z = ord("Z")


class Reader:
    """A cursor over BER bytes. Each method raises MalformedError where the bytes are not what it was told to expect."""

    __slots__ = ("_at", "_data", "_der", "_end", "_indefinite", "_outer")

    def __init__(self, data: bytes, *, der: bool = False) -> None:
        self._data = data
        self._der = der
        self._at = 0
        #: Where the element that was entered last ends; if its length is indefinite, where it ends at the latest.
        self._end = len(data)
        self._indefinite = False
        self._outer: list[tuple[int, bool]] = []

    @property
    def at(self) -> int:
        """How many octets were read."""
        return self._at

    @property
    def endless(self) -> bool:
        """Whether all elements that were entered have an indefinite length."""
        return self._indefinite and all(indefinite for _, indefinite in self._outer[1:])

    def more(self) -> bool:
        """Whether the element that was entered last holds another one."""
        if self._indefinite:
            return not self._data.startswith(_END_OF_CONTENTS, self._at)
        return self._at < self._end

    def next_is(self, tag: int) -> bool:
        """Whether the next element has this tag."""
        return self._at < self._end and self._data[self._at] == tag

    def read(self, tag: int, *, whole: bool = False) -> bytes:
        """The contents of the next element, or the `whole` of it; it has this tag and a definite length."""
        data, at = self._data, self._at
        start = at + 2
        if start > self._end or data[at] != tag:
            raise self._unexpected(tag)
        length = data[at + 1]
        if length >= _LONG:
            start, length = self._long_form(at + 1)
        end = start + length
        if end > self._end:
            raise MalformedError(f"BER: contents of {length} octets at {at} ({self._end - start} are left)")
        self._at = end
        return data[at if whole else start : end]

    def enter(self, tag: int) -> None:
        """Go into the next element, which has this tag; `leave` goes out of it."""
        data, at = self._data, self._at
        start = at + 2
        if start > self._end or data[at] != tag:
            raise self._unexpected(tag)
        self._outer.append((self._end, self._indefinite))
        length = data[at + 1]
        if length == _LONG and not self._der:
            self._indefinite, self._at = True, start
            return
        if length > _LONG - 1:
            start, length = self._long_form(at + 1)
        if start + length > self._end:
            raise MalformedError(f"BER: contents of {length} octets at {at} ({self._end - start} are left)")
        self._indefinite, self._at, self._end = False, start, start + length

    def leave(self) -> None:
        """Go out of the element that was entered last: everything in it was read."""
        if self._indefinite:
            if self._at + 2 > self._end or not self._data.startswith(_END_OF_CONTENTS, self._at):
                raise MalformedError(f"BER: end of contents expected at {self._at}, found {self._found()}")
            self._at += 2
        else:
            self.finish()
        self._end, self._indefinite = self._outer.pop()

    def skip(self) -> bytes:
        """The whole of the next element, whatever it is; what is inside is not looked at."""
        start = self._at
        unclosed = 0
        while True:
            if unclosed and self._data.startswith(_END_OF_CONTENTS, self._at):
                self._at += 2
                unclosed -= 1
            else:
                unclosed += self._skip_one()
            if self._at > self._end:
                raise MalformedError(f"BER: the element at {start} ends after {self._end}")
            if not unclosed:
                return self._data[start : self._at]

    def contents(self, tag: int) -> bytes:
        """The contents of the next element, which has this tag, whatever is in it and however its length is written."""
        self.enter(tag)
        start = self._at
        if self._indefinite:
            while self.more():
                self.skip()
        else:
            self._at = self._end
        found = self._data[start : self._at]
        self.leave()
        return found

    def octets(self) -> bytes:
        """The value of an OCTET STRING, which may be in pieces (X.690 8.7.3)."""
        if self.next_is(OCTET_STRING):
            return self.read(OCTET_STRING)
        pieces = []
        self.enter(OCTET_STRING_IN_PIECES)
        depth = 1
        while depth:
            if not self.more():
                self.leave()
                depth -= 1
            elif depth < _DEEPEST_PIECES and self.next_is(OCTET_STRING_IN_PIECES):
                self.enter(OCTET_STRING_IN_PIECES)
                depth += 1
            else:
                pieces.append(self.read(OCTET_STRING))
        return b"".join(pieces)

    def finish(self) -> None:
        """There is nothing after the last element."""
        if self._at != self._end:
            raise MalformedError(f"BER: {self._end - self._at} trailing octets at {self._at}")

    def _skip_one(self) -> int:
        """Past one element of definite length, or past the header of one of indefinite length; the answer is 0 or 1."""
        data, at, end = self._data, self._at, self._end
        if at + 2 > end or not data[at]:
            raise MalformedError(f"BER: an element expected at {at}, found {self._found()}")
        length_at = at + 1
        if data[at] & _LONG_TAG == _LONG_TAG:
            while length_at < end and data[length_at] & _LONG:
                length_at += 1
            length_at += 1
            if length_at >= end or length_at - at > _LONGEST_TAG:
                raise MalformedError(f"BER: tag of more than {_LONGEST_TAG} octets at {at}, or cut off")
        length = data[length_at]
        if length == _LONG and data[at] & _CONSTRUCTED and not self._der:
            self._at = length_at + 1
            return 1
        start = length_at + 1
        if length >= _LONG:
            start, length = self._long_form(length_at)
        self._at = start + length
        return 0

    def _long_form(self, at: int) -> tuple[int, int]:
        """Where contents start and how many octets they have, from length octets at `at` (X.690 8.1.3.5, 10.1)."""
        data = self._data
        octets = data[at] - _LONG
        start = at + 1 + octets
        if not octets:
            raise MalformedError(f"BER: indefinite length at {at}, where only a definite one may be")
        length = int.from_bytes(data[at + 1 : start], "big")
        if start > self._end:
            raise MalformedError(f"BER: length of {octets} octets at {at} ({self._end - at - 1} are left)")
        if self._der and (length < _LONG or not data[at + 1]):
            raise MalformedError(f"BER: length {length} in {octets} octets at {at} (superfluous in DER)")
        return start, length

    def _unexpected(self, tag: int) -> MalformedError:
        return MalformedError(f"BER: tag 0x{tag:02x} expected at {self._at}, found {self._found()}")

    def _found(self) -> str:
        return f"0x{self._data[self._at]:02x}" if self._at < self._end else "the end"


def element(tag: int, contents: bytes) -> bytes:
    """The DER of an element."""
    size = len(contents)
    if size < _LONG:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG + len(length))) + length + contents


def time(tag: int, octets: bytes) -> datetime:
    """The contents of a UTCTime or GeneralizedTime, aware: in DER always with seconds and Z (RFC 5280 4.1.2.5)."""
    short = tag == UTC_TIME
    if len(octets) != (13 if short else 15) or octets[-1] != _Z or not octets[:-1].isdigit():
        raise MalformedError(f"BER: time {octets[:32]!r} (expected yymmddhhmmssZ or yyyymmddhhmmssZ)")
    text = octets.decode("ascii")
    if short:
        text = ("20" if text < "50" else "19") + text
    try:
        return datetime.fromisoformat(
            f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}+00:00"
        )
    except ValueError as error:
        raise MalformedError(f"BER: time {octets!r} ({error})") from error
