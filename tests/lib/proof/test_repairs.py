"""What was done to a document, in words."""

from __future__ import annotations

import pytest

from ec2ident.proof.repairs import change

SIGNED = b'{\n  "accountId" : "123456789012",\n  "region" : "eu-west-1"\n}'


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (SIGNED, ""),
        (SIGNED + b"\n", "a final newline was added"),
        (SIGNED + b" \n", "white space around it changed"),
        (SIGNED.replace(b"\n", b"\r\n"), "its line ends became CRLF"),
        (b"\xef\xbb\xbf" + SIGNED, "a byte order mark was added"),
        (SIGNED.replace(b" : ", b":"), "its JSON was formatted anew"),
        (b'{"region":"eu-west-1","accountId":"123456789012"}', "the members of its JSON were put into another order"),
        (b'{"accountId":"123456789013","region":"eu-west-1"}', ""),
        (b"not JSON", ""),
    ],
)
def test_a_change_is_named_where_the_values_are_the_signed_ones(document: bytes, words: str) -> None:
    """Another value is not a change of form: nothing explains it."""
    assert words == change(document, SIGNED)
