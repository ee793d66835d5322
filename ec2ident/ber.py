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

    __slots__ = ("_at", "_data", "_indefinite", "_limits")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        #: Where the innermost open container ends at the latest; indefinite ones inherit it from around them.
        self._limits = [len(data)]
        self._indefinite = [False]

    def next_is(self, tag: int) -> bool:
        """Whether the next element of the open container has this tag. Moves nothing."""
        return self._at < self._limits[-1] and self._data[self._at] == tag

    def more(self) -> bool:
        """Whether the open container holds another element."""
        if self._indefinite[-1]:
            return self._data[self._at : self._at + 2] != b"\0\0"
        return self._at < self._limits[-1]

    def read(self, tag: int) -> bytes:
        """The contents of the next element, which has this tag and a definite length."""
        start, end = self._header(tag)
        self._at = end
        return self._data[start:end]

    def element(self, tag: int) -> bytes:
        """The next element whole, header and contents; it has this tag and a definite length."""
        first = self._at
        self._at = self._header(tag)[1]
        return self._data[first : self._at]

    def open(self, tag: int) -> None:
        """Step into a constructed element, of definite or indefinite length."""
        start, end = self._header(tag, indefinite=bool(tag & _CONSTRUCTED))
        self._at = start
        self._indefinite.append(end < 0)
        self._limits.append(self._limits[-1] if end < 0 else end)

    def close(self) -> None:
        """Step out of the innermost open element, which must hold nothing more."""
        limit = self._limits.pop()
        if self._indefinite.pop():
            if self._data[self._at : self._at + 2] != b"\0\0" or self._at + 2 > limit:
                raise MalformedError(f"BER: end of contents expected at {self._at}, found {self._found()}")
            self._at += 2
        elif self._at != limit:
            raise MalformedError(f"BER: {limit - self._at} octets too many at {self._at}")

    def finish(self) -> None:
        """There is nothing after the last element."""
        if self._at != len(self._data):
            raise MalformedError(f"BER: {len(self._data) - self._at} trailing octets at {self._at}")

    def _header(self, tag: int, indefinite: bool = False) -> tuple[int, int]:
        """Where the contents of the next element start and end; the end is -1 where the length is indefinite."""
        data, at, limit = self._data, self._at, self._limits[-1]
        if at + 2 > limit or data[at] != tag:
            raise MalformedError(f"BER: tag 0x{tag:02x} expected at {at}, found {self._found()}")
        length = data[at + 1]
        start = at + 2
        if length >= _INDEFINITE:
            if length == _INDEFINITE:
                if indefinite:
                    return start, -1
                raise MalformedError(f"BER: indefinite length at {at}, where only a definite one may be")
            start += length - _INDEFINITE
            length = self._long_length(at + 2, start, limit)
        end = start + length
        if end > limit:
            raise MalformedError(f"BER: length {length} at {at} runs past the end ({limit - start} octets left)")
        return start, end

    def _long_length(self, first: int, start: int, limit: int) -> int:
        """A length of more than 127, in as few octets as it takes: the one form that DER knows and AWS writes."""
        octets = start - first
        length = int.from_bytes(self._data[first:start], "big")
        if octets > _LONGEST_LENGTH or start > limit or length < max(_INDEFINITE, 1 << 8 * (octets - 1)):
            raise MalformedError(
                f"BER: length of {octets} octets at {first} (1 to {_LONGEST_LENGTH}, none superfluous)"
            )
        return length

    def _found(self) -> str:
        return f"0x{self._data[self._at]:02x}" if self._at < self._limits[-1] else "the end"


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
