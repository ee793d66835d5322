"""A reader for the little BER that AWS uses: tags of one octet, lengths parsed and never searched for.

ITU-T X.690 8.1. AWS mixes definite and indefinite lengths in one object, so the reader is a cursor with a stack of open
containers. It never recurses: how deep an object may nest is what its caller opens, and nothing else.
"""

from __future__ import annotations

from .errors import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

# X.680 8.6, with the constructed bit (0x20) where AWS sets it.
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OID = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
CONSTRUCTED_OCTET_STRING = 0x24
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0
CONTEXT_1 = 0xA1

_CONSTRUCTED = 0x20
_INDEFINITE = 0x80
#: Three length octets reach 16 MiB, far beyond anything that is read here.
_LONGEST_LENGTH = 3


class Reader:
    """A cursor over BER bytes. Each method raises MalformedError where the bytes are not what it was told to expect."""

    __slots__ = ("_data", "_limit", "_outer", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        #: The position of the next element.
        self.at = 0
        #: Where the innermost open container ends at the latest; one of indefinite length inherits it from around it.
        self._limit = len(data)
        #: For each open container, the limit around it, and whether its own length is indefinite.
        self._outer: list[tuple[int, bool]] = []

    def next_is(self, tag: int) -> bool:
        """Whether the next element of the open container has this tag."""
        return self.at < self._limit and self._data[self.at] == tag

    def more(self) -> bool:
        """Whether the open container holds another element."""
        if self._outer and self._outer[-1][1]:
            return self._data[self.at : self.at + 2] != b"\0\0"
        return self.at < self._limit

    def read(self, tag: int, *, whole: bool = False) -> bytes:
        """The contents of the next element, or the `whole` of it; it has this tag and a definite length."""
        data, at = self._data, self.at
        start = at + 2
        if start > self._limit or data[at] != tag:
            raise self._unexpected(tag)
        end = start + data[at + 1]
        if end >= start + _INDEFINITE:
            start, end = self._long_form(at)
        if end > self._limit:
            raise MalformedError(f"BER: contents of {end - start} octets at {at} ({self._limit - start} are left)")
        self.at = end
        return data[at if whole else start : end]

    def open(self, tag: int, first: bytes = b"") -> None:
        """Step into an element, past its `first` octets, which must be exactly these.

        Its length is definite, or indefinite where the element is constructed.
        """
        at, limit = self.at, self._limit
        start = at + 2
        if start <= limit and self._data[at + 1] == _INDEFINITE and self._data[at] == tag and tag & _CONSTRUCTED:
            self._outer.append((limit, True))
        else:
            size = len(self.read(tag))
            self._limit = self.at
            start = self.at - size
            self._outer.append((limit, False))
        if not self._data.startswith(first, start, self._limit):
            found = self._data[start : min(start + len(first), self._limit)]
            raise MalformedError(f"BER: {found.hex() or 'nothing'} at {start} (expected {first.hex()})")
        self.at = start + len(first)

    def close(self) -> None:
        """Step out of the innermost open element, which must hold nothing more."""
        at = self.at
        outer, indefinite = self._outer.pop()
        if indefinite:
            if self._data[at : at + 2] != b"\0\0" or at + 2 > outer:
                raise MalformedError(f"BER: end of contents expected at {at}, found {self._found()}")
            self.at = at + 2
        elif at != self._limit:
            raise MalformedError(f"BER: {self._limit - at} octets too many at {at}")
        self._limit = outer

    def finish(self) -> None:
        """There is nothing after the last element."""
        if self.at != len(self._data):
            raise MalformedError(f"BER: {len(self._data) - self.at} trailing octets at {self.at}")

    def _long_form(self, at: int) -> tuple[int, int]:
        """Start and end of contents longer than 127 octets (X.690 8.1.3.5), in the one form that DER knows."""
        octets = self._data[at + 1] - _INDEFINITE
        if not octets:
            raise MalformedError(f"BER: indefinite length at {at}, where only a definite one may be")
        start = at + 2 + octets
        length = int.from_bytes(self._data[at + 2 : start], "big")
        if octets > _LONGEST_LENGTH or start > self._limit or length < max(_INDEFINITE, 1 << 8 * (octets - 1)):
            raise MalformedError(f"BER: length in {octets} octets at {at} (1 to {_LONGEST_LENGTH}, none superfluous)")
        return start, start + length

    def _unexpected(self, tag: int) -> MalformedError:
        return MalformedError(f"BER: tag 0x{tag:02x} expected at {self.at}, found {self._found()}")

    def _found(self) -> str:
        return f"0x{self._data[self.at]:02x}" if self.at < self._limit else "the end"


def time(reader: Reader) -> datetime:
    """UTCTime or GeneralizedTime in their DER form, always with seconds and Z (RFC 5652 11.3, RFC 5280 4.1.2.5)."""
    from datetime import datetime, timezone

    tag = GENERALIZED_TIME if reader.next_is(GENERALIZED_TIME) else UTC_TIME
    text = reader.read(tag)
    digits = text[:-1]
    if tag == UTC_TIME:
        digits = (b"20" if digits[:2] < b"50" else b"19") + digits
    if len(digits) != 14 or not digits.isdigit() or text[-1:] != b"Z":
        raise MalformedError(f"BER: time {text!r} (yymmddhhmmssZ or yyyymmddhhmmssZ)")
    year, month, day, hour, minute, second = int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError as error:
        raise MalformedError(f"BER: time {text!r} ({error})") from error
