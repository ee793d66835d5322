"""The forms in which people keep the items: what is text, what is a CMS object, and what the error names."""

from __future__ import annotations

from base64 import b64encode

import pytest

from ec2ident.errors import MalformedError
from ec2ident.model import Kind
from ec2ident.proof import forms

TEXT = '{"region": "eu-west-1"}'


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "ascii"])
def test_a_text_is_read_in_each_encoding_that_programs_write(encoding: str) -> None:
    """UTF-16 in both orders of bytes, with a byte order mark and without."""
    assert TEXT.encode() == forms.unmarked(TEXT.encode(encoding))
    assert forms.is_json(TEXT.encode(encoding))
    assert {"region": "eu-west-1"} == forms.parsed(TEXT.encode(encoding))


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        (b"\x30\x80\x06", True),
        (b"\x30\x82\x01\x00", True),
        # The digit 0 of base64 is the tag of a SEQUENCE. A signature is longer than 127 octets.
        (b"0AAA", False),
        (b"\x30\x7f\x06", False),
        (b"\x31\x80\x06", False),
        (b"\x30", False),
        (b"", False),
    ],
)
def test_a_cms_object_does_not_begin_as_text_does(blob: bytes, expected: bool) -> None:
    """Its length has a second octet, or is indefinite."""
    assert expected == forms.is_cms(blob)


def test_base64_that_begins_with_the_digit_0_is_base64() -> None:
    """0x30 is that digit and the tag of a SEQUENCE."""
    signed = b"\xd0" + bytes(127)

    assert b64encode(signed).startswith(b"0")
    assert signed == forms.octets(b64encode(signed), Kind.SIGNATURE)


@pytest.mark.parametrize(
    ("text", "said"), [(b"AA+/A!AAAAAAAAA", "'!AAAAAAA' at 5"), (b"AAAAA", "5 digits"), (b"A+/A:", "':' at 4")]
)
def test_an_error_of_base64_shows_the_first_strange_character(text: bytes, said: str) -> None:
    """+ and / are digits; a wrong number of digits is counted."""
    with pytest.raises(MalformedError, match="not base64") as caught:
        forms.octets(text, Kind.RSA2048)

    assert str(caught.value).endswith(f": {said}")


def test_an_object_that_has_an_item_s_name_is_searched() -> None:
    """Instances of a cloud's inventory keep the items below such names."""
    stored = forms.items_in({"signature": {"rsa2048": "AAAA"}})

    assert dict(forms.items_in({"rsa2048": "AAAA"}).items) == dict(stored.items) != {}


def test_a_member_without_a_value_is_not_an_item() -> None:
    """null says that there is none, whatever the member's name is."""
    assert {} == dict(forms.items_in({"signature": None, "Document": None}).items)


@pytest.mark.parametrize("quotes", [b"''", b'""', b"b''"])
def test_quotes_around_nothing_are_an_empty_signature(quotes: bytes) -> None:
    """What a shell or Python prints of a variable that is not set."""
    with pytest.raises(MalformedError, match=r"^signature: empty"):
        forms.octets(quotes, Kind.RSA2048)


def test_a_list_of_other_values_than_texts_is_not_the_lines_of_an_item() -> None:
    """A list of lines is joined; any other list holds no item."""
    assert {} == dict(forms.items_in({"rsa2048": ["AAAA", 1]}).items)
