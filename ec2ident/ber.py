"""A reader for the little BER that AWS uses: tags of one octet, lengths parsed and never searched for.

ITU-T X.690 8.1. Only definite lengths are read, in the one form that DER knows; where AWS writes indefinite ones, the
octets around the contents are always the same, and `expect` compares them. Nothing here recurses: how deep an object
may nest is what its reader's owner reads, and nothing else.
"""

from __future__ import annotations

from datetime import datetime

from .errors import MalformedError

# X.680 8.6, with the constructed bit (0x20) where it is set.
INTEGER = 0x02
OCTET_STRING = 0x04
OID = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0
CONTEXT_1 = 0xA1

#: Length octets from here on say how many length octets follow; alone it says that the length is indefinite.
_LONG = 0x80
#: The smallest length that needs so many octets (X.690 10.1). Three reach 16 MiB, far beyond all that is read here.
_SHORTEST = {1: 0x80, 2: 0x100, 3: 0x10000}

_Z = ord("Z")


class Reader:
    """A cursor over BER bytes. Each method raises MalformedError where the bytes are not what it was told to expect."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._end = len(data)

    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < self._end

    def next_is(self, tag: int) -> bool:
        """Whether the next element has this tag."""
        return self._at < self._end and self._data[self._at] == tag

    def expect(self, octets: bytes, what: str) -> None:
        """The next octets are exactly these, which are `what`."""
        if not self._data.startswith(octets, self._at):
            found = self._data[self._at : self._at + len(octets)]
            raise MalformedError(f"BER: {what} at {self._at} is {found.hex() or 'missing'} (expected {octets.hex()})")
        self._at += len(octets)

    def read(self, tag: int, *, whole: bool = False) -> bytes:
        """The contents of the next element, or the `whole` of it; it has this tag and a definite length."""
        data, at = self._data, self._at
        start = at + 2
        if start > self._end or data[at] != tag:
            found = f"0x{data[at]:02x}" if at < self._end else "the end"
            raise MalformedError(f"BER: tag 0x{tag:02x} expected at {at}, found {found}")
        length = data[at + 1]
        if length >= _LONG:
            start, length = self._long_form(at)
        end = start + length
        if end > self._end:
            raise MalformedError(f"BER: contents of {length} octets at {at} ({self._end - start} are left)")
        self._at = end
        return data[at if whole else start : end]

    def finish(self) -> None:
        """There is nothing after the last element."""
        if self._at != self._end:
            raise MalformedError(f"BER: {self._end - self._at} trailing octets at {self._at}")

    def _long_form(self, at: int) -> tuple[int, int]:
        """Where contents of more than 127 octets start, and how many there are (X.690 8.1.3.5, 10.1)."""
        data = self._data
        octets = data[at + 1] - _LONG
        start = at + 2 + octets
        length = int.from_bytes(data[at + 2 : start], "big")
        if octets in _SHORTEST and length >= _SHORTEST[octets] and start <= self._end:
            return start, length
        if not octets:
            raise MalformedError(f"BER: indefinite length at {at}, where only a definite one may be")
        raise MalformedError(f"BER: length {length} in {octets} octets at {at} (1 to 3, none missing or superfluous)")


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
