"""CMS by its structure: every form that says the same is read; what is not understood is neither yes nor no."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Callable

import pytest

from ec2ident.errors import Ec2IdentError, MalformedError, VerificationError
from ec2ident.model import Kind
from ec2ident.proof import cms
from ec2ident.proof.policy import Policy
from ec2ident.proof.verification import verify
from ec2ident.testing.signing import (
    NULL,
    OID_CONTENT_TYPE,
    OID_DIGEST,
    OID_MESSAGE_DIGEST,
    OID_SIGNING_TIME,
    Form,
    attribute,
    indefinite,
    tlv,
)
from tests.lib import forge, vectors
from tests.lib.proof import cms_forms as forms

RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")


@pytest.mark.parametrize("kind", [Kind.RSA2048, Kind.PKCS7])
def test_the_parts_put_together_unchanged_verify(kind: Kind) -> None:
    """Every refusal below is for its one replaced part."""
    parts = forge.Parts(kind)

    assert parts.content == verify(parts.text(), kind=kind, trust=forge.trust()).document.raw


@pytest.mark.parametrize(("folder", "kind"), vectors.WITH_CONTENT)
def test_the_throw_away_authority_writes_aws_form_to_the_octet(folder: str, kind: str) -> None:
    """Everything that is neither key nor signature is byte-equal to what AWS sent in that year."""
    real = b64decode(vectors.signature(folder, kind))
    parsed = cms.parse(real)
    form = Form(
        primitive=folder.startswith("chalk"),
        null=any(oid + NULL in real for oid in OID_DIGEST.values()),
        protected=parsed.algorithm_protection is not None,
    )
    assert parsed.content is not None
    assert parsed.signing_time is not None
    ours = b64decode(forge.OURS.sign(parsed.content, kind, parsed.signing_time, form))
    again = cms.parse(ours)

    if RSA_ENCRYPTION not in parsed.signature_algorithm:  # until 2018
        assert parsed.signature_algorithm == again.signature_algorithm
        assert parsed.signed_attributes == again.signed_attributes
    assert parsed.digest_algorithm == again.digest_algorithm
    before_the_serial = real.index(b"Amazon Web Services LLC")
    # The length of the DSA signature varies, and with it two lengths around it.
    if kind == "rsa2048":
        assert real[:before_the_serial] == ours[:before_the_serial]
    assert 2 >= abs(len(real) - len(ours))


def test_all_forms_of_the_years_verify() -> None:
    """Both forms of the OCTET STRING, with and without NULL, with and without CMSAlgorithmProtection."""
    for number in range(8):
        form = Form(primitive=bool(number & 1), null=bool(number & 2), protected=bool(number & 4))
        for kind in (Kind.RSA2048, Kind.PKCS7):
            text = forge.OURS.sign(forge.document(), kind, forge.SIGNED_AT, form)

            assert forge.SIGNED_AT == verify(text, kind=kind, trust=forge.trust()).signed_at


def test_pieces_nest_no_deeper_than_openssl_reads_them() -> None:
    """Five levels are read, six are not: nesting has no use but to exhaust a parser."""
    parts = forge.Parts()
    plain = nested = indefinite(0x24, tlv(4, parts.content))
    for _ in range(4):
        nested = indefinite(0x24, nested)

    blob = parts.blob()
    assert verify(b64encode(blob.replace(plain, nested)), kind="rsa2048", trust=forge.trust())
    with pytest.raises(MalformedError, match=r"tag 0x04 expected at .*, found 0x24"):
        verify(b64encode(blob.replace(plain, indefinite(0x24, nested))), kind="rsa2048", trust=forge.trust())


@pytest.mark.parametrize(
    "blob",
    [
        b"\x30\x80" * 6000,
        b"\xa0\x80" * 6000,
        b"\x24\x80" * 6000,
        bytes.fromhex("308006092a864886f70d010702a0803080020101") + b"\x31\x80" * 5000,
        bytes.fromhex(
            "308006092a864886f70d010702a0803080020101310f300d06096086480165030402010500308006092a864886f70d010701a080"
        )
        + b"\x24\x80" * 5000,
        bytes(12000),
        b"\x30\x83\xff\xff\xff",
    ],
)
def test_bombs_are_refused_at_once(blob: bytes) -> None:
    """Deep nesting, endless containers, absurd lengths: nothing recurses and nothing is allocated for a length."""
    with pytest.raises(MalformedError, match="BER"):
        verify(b64encode(blob), kind="rsa2048")


@pytest.mark.parametrize(("folder", "kind"), vectors.WITH_CONTENT)
def test_a_cut_object_is_refused_at_every_length(folder: str, kind: str) -> None:
    """No prefix of a genuine object is one."""
    blob = b64decode(vectors.signature(folder, kind))
    for length in range(len(blob)):
        with pytest.raises(MalformedError, match=r"BER|DER|CMS|bytes|ends"):
            cms.parse(blob[:length])


@pytest.mark.parametrize(("folder", "kind"), vectors.WITH_CONTENT)
def test_no_damaged_octet_changes_what_is_accepted(folder: str, kind: str) -> None:
    """Each octet of each genuine object changed in two ways: refused, or the very same document comes back.

    Some octets may change: nothing signs issuer and serial, for instance. That is why a blob is not an identity.
    """
    blob = b64decode(vectors.signature(folder, kind))
    real = verify(b64encode(blob), kind=kind)
    tolerated = 0
    for at in range(len(blob)):
        for flip in (0x01, 0x80):
            damaged = blob[:at] + bytes([blob[at] ^ flip]) + blob[at + 1 :]
            try:
                found = verify(b64encode(damaged), kind=kind)
            except Ec2IdentError:
                continue
            assert real == found
            tolerated += 1
    assert 2 * 130 > tolerated


def with_attributes(parts: forge.Parts, change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> bytes:
    """The object with signed attributes that were changed before they were signed."""
    made = change(parts.signed_attributes())
    parts.signed_attributes = lambda: made  # type: ignore[method-assign]
    return parts.text()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ((tlv(4, bytes(32)), tlv(4, bytes(32))), "34 trailing octets"),
        ((), "found the end"),
        ((tlv(5, bytes(32)),), "tag 0x04 expected"),
        ((indefinite(0x24, tlv(4, bytes(32))),), "tag 0x04 expected"),
    ],
)
def test_a_known_attribute_has_one_value(values: tuple[bytes, ...], why: str) -> None:
    """Two values in one attribute, none, or another type: not understood."""
    text = with_attributes(
        forge.Parts(),
        lambda made: (
            *(one for one in made if OID_MESSAGE_DIGEST not in one),
            attribute(OID_MESSAGE_DIGEST, *values),
        ),
    )
    with pytest.raises(MalformedError, match=why):
        verify(text, kind="rsa2048", trust=forge.trust())


@pytest.mark.parametrize(("oid", "name"), [(OID_CONTENT_TYPE, "content type"), (OID_MESSAGE_DIGEST, "message digest")])
def test_attributes_that_say_what_is_signed_must_be_there_once(oid: bytes, name: str) -> None:
    """RFC 5652 5.3 and 11: without them the signature covers less than it seems to."""
    text = with_attributes(forge.Parts(), lambda made: tuple(one for one in made if oid not in one))
    with pytest.raises(MalformedError, match=f"{name} is missing"):
        verify(text, kind="rsa2048", trust=forge.trust())
    text = with_attributes(forge.Parts(), lambda made: tuple(one for one in made for _ in range(1 + (oid in one))))
    with pytest.raises(MalformedError, match=f"{name} is there twice"):
        verify(text, kind="rsa2048", trust=forge.trust())


@pytest.mark.parametrize("time", [None, tlv(0x18, b"20260203040506.5Z"), tlv(0x17, b"2602030405Z"), NULL])
def test_a_signing_time_that_cannot_be_read_is_none_and_said(time: bytes | None) -> None:
    """It decides nothing in `verify`; a policy that asks for its age refuses it."""
    text = with_attributes(
        forge.Parts(),
        lambda made: (
            tuple(sorted(one for one in made if OID_SIGNING_TIME not in one))
            + ((attribute(OID_SIGNING_TIME, time),) if time else ())
        ),
    )
    identity = verify(text, kind="rsa2048", trust=forge.trust())

    assert identity.signed_at is None
    assert "does not say when it was made" in identity.warnings[0]
    with pytest.raises(VerificationError, match="signed: at an unknown time"):
        Policy(accounts=None, max_signed_age=timedelta(days=1)).check(identity, now=forge.SIGNED_AT)


def test_a_detached_signature_needs_its_document() -> None:
    """The document may come apart; then it is the one with the digest that was signed."""
    signed = forms.Signed()
    signed.inside = False
    store, blob = forms.trust("rsa"), b64encode(signed.blob())

    with pytest.raises(MalformedError, match="not inside this CMS object"):
        verify(blob, kind="pkcs7", trust=store)
    with pytest.raises(VerificationError, match="digest: signed is ") as caught:
        verify(blob, kind="pkcs7", trust=store, document=signed.content.replace(b"m7g.large", b"m7g.metal"))
    assert caught.value.document is not None
    assert "m7g.metal" == caught.value.document.instance_type
