"""The BER reader: lengths are parsed, and nothing but a definite DER length is one."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident import ber
from ec2ident.ber import Reader
from ec2ident.errors import MalformedError
from ec2ident.testing.signing import tlv

TAGS = st.integers(1, 255)


@given(st.lists(st.tuples(TAGS, st.binary(max_size=300))))
def test_what_was_written_is_read(elements: list[tuple[int, bytes]]) -> None:
    """Elements come back in order, contents and whole, and nothing is left after them."""
    encoded = b"".join(tlv(tag, contents) for tag, contents in elements)
    reader, whole = Reader(encoded), Reader(encoded)

    assert elements == [(tag, reader.read(tag)) for tag, _ in elements]
    assert encoded == b"".join(whole.read(tag, whole=True) for tag, _ in elements)
    reader.finish()
    whole.finish()
    assert not reader.more()


@given(TAGS, st.binary(max_size=300), st.data())
def test_a_cut_element_is_refused(tag: int, contents: bytes, data: st.DataObject) -> None:
    """No length is believed that runs past the end."""
    encoded = tlv(tag, contents)
    cut = data.draw(st.integers(0, len(encoded) - 1))

    with pytest.raises(MalformedError, match="BER"):
        Reader(encoded[:cut]).read(tag)


@given(st.binary(max_size=64), TAGS)
def test_any_bytes_give_contents_from_inside_them_or_are_refused(data: bytes, tag: int) -> None:
    """Whatever comes, the reader never leaves its bytes and knows one error."""
    reader = Reader(data)
    try:
        element = reader.read(tag, whole=True)
    except MalformedError:
        return
    assert data.startswith(element)
    assert element[0] == tag


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("30 80 00 00", "indefinite"),
        ("30 81 01 00", "superfluous"),
        ("30 82 00 80" + 128 * "00", "superfluous"),
        ("30 84 00 00 00 01 00", "superfluous"),
        ("30 85 01 00 00 00 00", "length"),
        ("30 ff", "length"),
        ("30 82 01", "length"),
        ("30 02 00", "2 octets"),
        ("30", "found 0x30"),
        ("", "found the end"),
        ("31 00", "found 0x31"),
    ],
)
def test_a_length_has_one_form(encoded: str, why: str) -> None:
    """X.690 10.1: definite, in as few octets as it takes; 0x80, 0xff and superfluous octets are refused."""
    with pytest.raises(MalformedError, match=why):
        Reader(bytes.fromhex(encoded)).read(0x30)


def test_128_octets_are_the_first_that_take_a_long_length() -> None:
    """The near misses: 127 in the short form, 128 and 256 in the long ones."""
    for size in (127, 128, 255, 256, 65535, 65536):
        assert size == len(Reader(tlv(0x04, bytes(size))).read(0x04))


def test_end_of_contents_inside_a_value_is_a_value() -> None:
    """00 00 inside a primitive element ends nothing: a reader that searches for it fails on real signatures."""
    reader = Reader(tlv(0x04, b"\0\0\0\0") + tlv(0x02, b"\x01"))

    assert b"\0\0\0\0" == reader.read(0x04)
    assert b"\x01" == reader.read(0x02)


def test_octets_that_must_be_there_are_compared() -> None:
    """`expect` passes what is equal, and says what it found where it is not."""
    reader = Reader(b"\x30\x80\x06")
    reader.expect(b"\x30\x80", "start")

    with pytest.raises(MalformedError, match="end at 2 is 06 \\(expected 0000\\)"):
        reader.expect(b"\0\0", "end")


def test_trailing_octets_are_counted() -> None:
    """What nobody reads may be anything, so it is refused."""
    reader = Reader(b"\x05\0\0\0")
    reader.read(0x05)

    with pytest.raises(MalformedError, match="2 trailing octets at 2"):
        reader.finish()


@pytest.mark.parametrize(
    ("tag", "octets", "year"),
    [
        (ber.UTC_TIME, b"491231235959Z", 2049),
        (ber.UTC_TIME, b"500101000000Z", 1950),
        (ber.UTC_TIME, b"000101000000Z", 2000),
        (ber.GENERALIZED_TIME, b"20500101000000Z", 2050),
        (ber.GENERALIZED_TIME, b"19491231235959Z", 1949),
    ],
)
def test_two_digits_of_a_year_are_from_1950_to_2049(tag: int, octets: bytes, year: int) -> None:
    """RFC 5280 4.1.2.5.1."""
    assert year == ber.time(tag, octets).year


def test_a_time_is_aware() -> None:
    """Z is UTC."""
    assert datetime(2021, 9, 3, 21, 25, 47, tzinfo=timezone.utc) == ber.time(ber.UTC_TIME, b"210903212547Z")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"Z",
        b"2109032125Z",
        b"210903212547",
        b"210903212547+0000",
        b"210903212547.5Z",
        b"211303212547Z",
        b"210230212547Z",
        b"210903252547Z",
        b"2109032125 7Z",
        b"+10903212547Z",
        b"21090321254\xb2Z",
        b"20210903212547Z",
    ],
)
def test_a_time_has_one_form(octets: bytes) -> None:
    """DER: seconds and Z always, no fractions, no offsets, real dates only."""
    with pytest.raises(MalformedError, match="BER: time"):
        ber.time(ber.UTC_TIME, octets)
