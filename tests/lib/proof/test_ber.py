"""The BER reader: lengths are parsed, in every form that BER has; with `der` in the one form that DER has."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident.errors import MalformedError
from ec2ident.proof import ber
from ec2ident.proof.ber import Reader
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
        ("30 85 01 00 00 00 00", "contents of 4294967296 octets"),
        ("30 ff", "length"),
        ("30 82 01", "length"),
        ("30 02 00", "2 octets"),
        ("30", "found 0x30"),
        ("", "found the end"),
        ("31 00", "found 0x31"),
    ],
)
def test_a_length_of_der_has_one_form(encoded: str, why: str) -> None:
    """X.690 10.1: definite, in as few octets as it takes; 0x80, 0xff and superfluous octets are refused."""
    with pytest.raises(MalformedError, match=why):
        Reader(bytes.fromhex(encoded), der=True).read(0x30)


@pytest.mark.parametrize("encoded", ["30 81 01 07", "30 82 00 01 07", "30 84 00 00 00 01 07", "30 01 07"])
def test_a_length_of_ber_may_have_superfluous_octets(encoded: str) -> None:
    """X.690 8.1.3.5: only DER forbids them."""
    assert b"\x07" == Reader(bytes.fromhex(encoded)).read(0x30)


@pytest.mark.parametrize("encoded", ["30 80 02 01 07 00 00", "30 03 02 01 07", "30 81 03 02 01 07"])
def test_an_element_is_entered_and_left_however_its_length_is_written(encoded: str) -> None:
    """Definite or indefinite: the same elements are inside, and the same are after it."""
    reader = Reader(bytes.fromhex(encoded) + b"\x05\0")
    reader.enter(0x30)
    assert (True, b"\x07", False) == (reader.more(), reader.read(0x02), reader.more())
    reader.leave()

    assert b"" == reader.read(0x05)
    reader.finish()


def test_an_element_is_left_only_when_all_of_it_was_read() -> None:
    """Otherwise an octet that was not read could mean something to another reader."""
    for encoded, why in (("30 03 02 01 07", "3 trailing octets"), ("30 80 02 01 07 00 00", "end of contents expected")):
        reader = Reader(bytes.fromhex(encoded))
        reader.enter(0x30)
        with pytest.raises(MalformedError, match=why):
            reader.leave()


@pytest.mark.parametrize(
    "encoded",
    [
        "30 80 30 80 04 02 00 00 00 00 00 00",
        "30 00",
        "a0 80 30 03 02 01 05 00 00",
        "1f 81 01 01 00",
        "3f 81 01 80 05 00 00 00",
        "30 81 02 05 00",
    ],
)
def test_any_element_is_skipped_whole(encoded: str) -> None:
    """Nested indefinite lengths, tags of several octets: all of it, and nothing after it."""
    element = bytes.fromhex(encoded)
    reader = Reader(element + b"\x05\0")

    assert element == reader.skip() == Reader(element).skip(), "with an element behind it, and without"
    assert b"" == reader.read(0x05)


@pytest.mark.parametrize(
    "encoded",
    ["", "30", "00 00", "30 80", "30 80 30 80 00 00", "30 05 00", "04 80 00 00", "1f ff ff ff ff 01 00", "1f"],
)
def test_what_does_not_end_is_not_skipped(encoded: str) -> None:
    """Cut off, without its end of contents, or indefinite where BER allows only definite lengths."""
    with pytest.raises(MalformedError, match="BER"):
        Reader(bytes.fromhex(encoded)).skip()


def test_pieces_of_an_octet_string_are_joined() -> None:
    """X.690 8.7.3: one value in pieces, which may themselves be in pieces, five levels as OpenSSL reads them."""
    for encoded in (
        "04 02 61 62",
        "24 80 04 01 61 04 01 62 00 00",
        "24 06 04 01 61 04 01 62",
        "24 80 24 80 04 02 61 62" + 8 * "00",
    ):
        assert b"ab" == Reader(bytes.fromhex(encoded)).octets(), encoded
    assert b"" == Reader(bytes.fromhex("24 80 00 00")).octets()
    assert b"a" == Reader(bytes.fromhex(5 * "2480" + "040161" + 5 * "0000")).octets()
    with pytest.raises(MalformedError, match="tag 0x04 expected at 10, found 0x24"):
        Reader(bytes.fromhex(6 * "2480" + "040161" + 6 * "0000")).octets()


@given(st.lists(st.binary(max_size=200)), st.booleans())
def test_what_was_put_into_an_element_comes_out(parts: list[bytes], indefinitely: bool) -> None:
    """`contents` gives the octets between the ends, however the length is written."""
    inside = b"".join(tlv(0x04, part) for part in parts)
    encoded = b"\xa0\x80" + inside + b"\0\0" if indefinitely else ber.element(0xA0, inside)
    reader = Reader(encoded)

    assert inside == reader.contents(0xA0)
    reader.finish()
    assert tlv(0xA0, inside) == ber.element(0xA0, inside)


def test_128_octets_are_the_first_that_take_a_long_length() -> None:
    """The near misses: 127 in the short form, 128 and 256 in the long ones."""
    for size in (127, 128, 255, 256, 65535, 65536):
        assert size == len(Reader(tlv(0x04, bytes(size))).read(0x04))


def test_end_of_contents_inside_a_value_is_a_value() -> None:
    """00 00 inside a primitive element ends nothing: a reader that searches for it fails on real signatures."""
    reader = Reader(tlv(0x04, b"\0\0\0\0") + tlv(0x02, b"\x01"))

    assert b"\0\0\0\0" == reader.read(0x04)
    assert b"\x01" == reader.read(0x02)


def test_trailing_octets_are_counted() -> None:
    """What is not read may be anything, so it is refused."""
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


@pytest.mark.parametrize(("outer", "expected"), [("30 80", True), ("30 0a", False)])
def test_an_element_is_endless_if_all_around_it_are(outer: str, expected: bool) -> None:
    """Where one of them has a length, that one says where the element ends."""
    reader = Reader(bytes.fromhex(f"{outer} a0 80 04 02 00 00 00 00 00 00"))
    reader.enter(0x30)
    reader.enter(0xA0)

    assert expected == reader.endless


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_an_element_that_is_written_is_read_as_der(size: int) -> None:
    """Its length has the one form of DER, at the edges of each number of octets."""
    contents = bytes(size)

    assert contents == Reader(ber.element(ber.OCTET_STRING, contents), der=True).read(ber.OCTET_STRING)
