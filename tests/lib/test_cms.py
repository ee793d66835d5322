"""The one shape of CMS that AWS sends: every other is refused, also where its signature is right."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest

from ec2ident import cms
from ec2ident.errors import Ec2IdentError, MalformedError
from ec2ident.model import Kind
from ec2ident.testing.signing import (
    NULL,
    OID_DATA,
    OID_DIGEST,
    OID_MESSAGE_DIGEST,
    OID_SIGNING_TIME,
    Form,
    attribute,
    attributes,
    indefinite,
    tlv,
)
from ec2ident.verification import verify

from . import forge, vectors


def refused(parts: forge.Parts, match: str) -> None:
    with pytest.raises(MalformedError, match=match):
        verify(parts.text(), kind=parts.kind, trust=forge.trust())


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
        null=parsed.digest_algorithm.endswith(NULL),
        protected=parsed.algorithm_protection is not None,
    )
    ours = b64decode(forge.OURS.sign(parsed.content, kind, parsed.signing_time, form))
    again = cms.parse(ours)

    if b"\x01\x01\x01\x05\0" not in parsed.signature_algorithm:  # rsaEncryption, until 2018
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


def test_a_document_in_several_chunks_is_joined() -> None:
    """A writer of BER may cut the content anywhere; the pieces are primitive OCTET STRINGs."""
    parts = forge.Parts()
    cut = parts.blob().replace(
        indefinite(0x24, tlv(4, parts.content)),
        indefinite(0x24, tlv(4, parts.content[:100]), tlv(4, parts.content[100:])),
    )

    assert parts.content == verify(b64encode(cut), kind="rsa2048", trust=forge.trust()).document.raw


def test_chunks_within_chunks_are_refused() -> None:
    """Nesting has no use but to exhaust a parser."""
    parts = forge.Parts()
    plain = indefinite(0x24, tlv(4, parts.content))
    nested = parts.blob().replace(plain, indefinite(0x24, plain))

    with pytest.raises(MalformedError, match=r"tag 0x04 expected at .*, found 0x24"):
        verify(b64encode(nested), kind="rsa2048", trust=forge.trust())


def test_two_signers_are_refused() -> None:
    """Even where both signatures are right: which one would count?"""
    parts = forge.Parts()
    parts.signers = 2
    refused(parts, "more than one signer")


def test_no_signer_is_refused() -> None:
    """An empty set of signers makes nothing true."""
    parts = forge.Parts()
    parts.signers = 0
    refused(parts, "tag 0x30 expected at 0, found the end")


@pytest.mark.parametrize("tag", [0xA0, 0xA1])
def test_embedded_certificates_and_crls_are_refused(tag: int) -> None:
    """A key that comes with the message is the sender's word for the sender."""
    parts = forge.Parts()
    parts.certificates = tlv(tag, tlv(0x30, b""))
    refused(parts, "certificates, CRLs or nothing")


def test_unsigned_attributes_are_refused() -> None:
    """Nothing protects them."""
    parts = forge.Parts()
    parts.unsigned = tlv(0xA1, attribute(OID_SIGNING_TIME, tlv(0x17, b"210903212547Z")))
    refused(parts, "unsigned attributes")


def test_trailing_octets_are_refused() -> None:
    """One octet after the end is enough."""
    parts = forge.Parts()
    parts.trailing = b"\0"
    refused(parts, "1 trailing octets")


def test_a_duplicate_attribute_is_refused() -> None:
    """Signed or not, the second could mean another document."""
    parts = forge.Parts()
    parts.extra_attributes = (attribute(OID_MESSAGE_DIGEST, tlv(4, bytes(32))),)
    refused(parts, "message digest is there twice")
    parts.extra_attributes = (attribute(OID_MESSAGE_DIGEST, tlv(4, bytes(200))),)
    refused(parts, "message digest is there twice")


def test_an_attribute_has_one_value() -> None:
    """Two values in one attribute, or none."""
    for values in ((tlv(4, bytes(32)), tlv(4, bytes(32))), (), (tlv(4, b""), NULL), (tlv(5, bytes(32)),)):
        parts = forge.Parts()
        content_type, time, _ = attributes(parts.message_digest, forge.SIGNED_AT)
        made = tuple(sorted((content_type, time, attribute(OID_MESSAGE_DIGEST, *values)), key=lambda a: (len(a), a)))
        parts.signed_attributes = lambda made=made: made  # type: ignore[method-assign,misc]

        refused(parts, "message digest is .*expected one value")


def test_attributes_out_of_order_are_refused() -> None:
    """What is signed is the DER form, in which a SET is sorted (RFC 5652 5.4)."""
    parts = forge.Parts()
    parts.sort = False
    parts.extra_attributes = (attribute(bytes.fromhex("06012a"), NULL),)
    refused(parts, "out of order")


def test_an_unknown_signed_attribute_is_no_reason_to_refuse() -> None:
    """AWS added one in 2021; it is signed, and says nothing that we rely on."""
    parts = forge.Parts()
    parts.extra_attributes = (attribute(bytes.fromhex("06012a"), NULL),)

    assert parts.content == verify(parts.text(), kind="rsa2048", trust=forge.trust()).document.raw


@pytest.mark.parametrize("name", ["message digest", "signing time"])
def test_attributes_that_aws_always_sends_must_be_there(name: str) -> None:
    """Without them the signature covers less than it seems to."""
    oid = next(oid for oid, found in cms._NAMES.items() if found == name)
    parts = forge.Parts()
    rest = tuple(made for made in parts.signed_attributes() if oid not in made)
    assert len(rest) == len(parts.signed_attributes()) - 1
    parts.signed_attributes = lambda: rest  # type: ignore[method-assign]

    refused(parts, f"{name} is missing")


def test_a_signed_content_type_must_be_there() -> None:
    """RFC 5652 5.3: signed attributes without it are none."""
    parts = forge.Parts()
    rest = tuple(made for made in parts.signed_attributes() if OID_DATA not in made)
    parts.signed_attributes = lambda: rest  # type: ignore[method-assign]

    refused(parts, r"signed content type is  \(expected")


def test_the_signed_content_type_is_data() -> None:
    """RFC 5652 11.1: it must be that of the content."""
    parts = forge.Parts()
    made = parts.signed_attributes()
    other = tuple(item.replace(OID_DATA, OID_DATA[:-1] + b"\x02") for item in made)
    assert other != made
    parts.signed_attributes = lambda: other  # type: ignore[method-assign]

    refused(parts, "signed content type is 310b06092a864886f70d010702")


def test_no_signed_attributes_is_refused() -> None:
    """Without them the signature would be over the document itself: a way to swap one for the other."""
    parts = forge.Parts()
    made = parts.signed_attributes()
    blob = parts.blob()
    signer = parts.signer(made)
    bare = tlv(0x30, signer[4:].replace(tlv(0xA0, *made), b""))

    with pytest.raises(MalformedError, match="no signed attributes"):
        verify(b64encode(blob.replace(tlv(0x31, signer), tlv(0x31, bare))), kind="rsa2048", trust=forge.trust())


def test_the_digest_algorithms_are_the_signers() -> None:
    """The set at the top is not signed: it must not say anything else."""
    parts = forge.Parts()
    parts.outer_digest_algorithm = tlv(0x30, OID_DIGEST["sha1"], NULL)
    refused(parts, "digest algorithms")


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
        with pytest.raises(MalformedError):
            cms.parse(blob[:length])


@pytest.mark.parametrize(("folder", "kind"), vectors.WITH_CONTENT)
def test_no_damaged_octet_changes_what_is_accepted(folder: str, kind: str) -> None:
    """Each octet of each genuine object changed in two ways: refused, or the very same document comes back.

    Some octets may change: nothing signs issuer and serial, for instance. That is why a blob is no identity.
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
