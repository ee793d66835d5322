"""Every form of CMS against OpenSSL: what we accept, OpenSSL accepts; what it accepts and we refuse is in the docs.

AWS's form is one of them. The rows are what other writers of CMS do, what RFC 5652 allows, and what attackers try. What
is not understood is MalformedError, never VerificationError: that one means "understood, and wrong".
"""

from __future__ import annotations

import re
import shutil
from base64 import b64encode
from pathlib import Path
from typing import Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ec2ident.errors import Ec2IdentError, MalformedError, VerificationError
from ec2ident.proof import algorithms
from ec2ident.proof.verification import verify
from ec2ident.testing.signing import NULL, OID_DATA, OID_SIGNING_TIME, attribute, indefinite, tlv
from ec2ident.value import Value
from tests.lib.proof import cms_forms as forms
from tests.lib.proof.cms_forms import OID_HASH, Signed, algorithm

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")

OURS, MALFORMED, WRONG = "accepted", "not understood", "wrong"
PAGE = (Path(__file__).parents[3] / "docs" / "attestation.md").read_text(encoding="utf-8")


class Case(Value):
    """One form: how it differs from AWS's, what we say, whether OpenSSL accepts it, and where it was met."""

    name: str
    change: Callable[[Signed], object]
    ours: str = OURS
    openssl: bool = True
    key: tuple[object, ...] = ("rsa",)
    #: The keys that are trusted; by default that of the signer.
    trusted: tuple[str, ...] = ()
    #: OpenSSL refuses something inside a part that we skip whole.
    skipped: bool = False


def der(name: str) -> bytes:
    return forms.certificate(name).public_bytes(Encoding.DER)


def put(**parts: object) -> Callable[[Signed], object]:
    return lambda signed: signed.__dict__.update(parts)


def superfluous(tag: int, *contents: bytes) -> bytes:
    """A definite length in four octets more than it takes, which BER allows."""
    body = b"".join(contents)
    return bytes((tag, 0x84)) + len(body).to_bytes(4, "big") + body


def other_content(signed: Signed) -> None:
    """Signed is one document, inside is another."""
    signed.attributes = signed.signed_attributes()
    signed.content = signed.content.replace(b"m7g.large", b"m7g.metal")


def pieces(*sizes: int, length: Callable[..., bytes] = indefinite) -> Callable[[bytes], bytes]:
    def cut(content: bytes) -> bytes:
        found, at = [], 0
        for size in (*sizes, len(content)):
            found.append(tlv(4, content[at : at + size]))
            at += size
        return length(0x24, *found)

    return cut


def second_signer(name: str) -> Callable[[Signed], object]:
    return lambda signed: setattr(signed, "more_signers", (Signed(name).signer(),))


def without_attributes(signed: Signed) -> None:
    signed.attributes = ()


def key_identifier(signed: Signed) -> bytes:
    extension = forms.certificate(signed.name).extensions[0].value
    return extension.digest  # type: ignore[no-any-return]


SHA256, SHA256_BARE = algorithm(OID_HASH["sha256"], NULL), algorithm(OID_HASH["sha256"])
UNKNOWN_ATTRIBUTE = attribute(bytes.fromhex("060b2a864886f70d010910022f"), tlv(0x30))
VERSION_3 = b"\x02\x01\x03"
TIME_STAMP = attribute(bytes.fromhex("060b2a864886f70d010910020e"), tlv(0x30))
UNKNOWN_SISTER = attribute(bytes.fromhex("060b2a864886f70d0109100230"), tlv(0x30))

CASES = (
    # Lengths and encodings
    Case("AWS's form of today", put(protected=True)),
    Case("AWS's form until 2021", put()),
    Case("DER", put(length=tlv, octets=lambda content: tlv(4, content))),
    Case("DER with a constructed content", put(length=tlv, octets=lambda content: tlv(0x24, tlv(4, content)))),
    Case("primitive content in indefinite lengths", put(octets=lambda content: tlv(4, content))),
    Case("everything indefinite but what is signed", put(inner=indefinite)),
    Case("superfluous length octets", put(length=superfluous, inner=superfluous)),
    Case("content in pieces", put(octets=pieces(100, 100))),
    Case("content in pieces, definite", put(octets=pieces(1, 0, length=tlv))),
    Case("pieces of pieces", put(octets=lambda content: indefinite(0x24, indefinite(0x24, tlv(4, content))))),
    Case("signature in pieces", put(wrap=lambda signature: tlv(0x24, tlv(4, signature[:9]), tlv(4, signature[9:])))),
    Case("signed attributes of indefinite length", put(around_attributes=indefinite)),
    Case("signed attributes with superfluous length octets", put(around_attributes=superfluous)),
    Case("octets after the end", put(trailing=b"\0"), MALFORMED),
    # What is skipped
    Case("a certificate inside (vault#12520)", lambda s: put(certificates=indefinite(0xA0, der("rsa")))(s)),
    Case("a stranger's certificate inside", lambda s: put(certificates=tlv(0xA0, der("rsa'")))(s)),
    Case("two certificates inside", lambda s: put(certificates=tlv(0xA0, der("rsa'"), der("p256")))(s)),
    Case("an empty set of certificates", put(certificates=tlv(0xA0)), openssl=False, skipped=True),
    Case("an empty set of certificates in DER", put(certificates=tlv(0xA0), length=tlv)),
    Case("certificates that are none", put(certificates=tlv(0xA0, tlv(0x30, b"\5\0"))), openssl=False, skipped=True),
    Case("an empty set of revocation lists", put(crls=tlv(0xA1))),
    Case("certificates after revocation lists", put(certificates=tlv(0xA1), crls=tlv(0xA0)), MALFORMED, False),
    Case("something unknown before the signers", put(between=tlv(0xA2)), MALFORMED, False),
    Case("a stranger signs, and sends its certificate", lambda s: put(certificates=tlv(0xA0, der("rsa'")))(s), WRONG,
         False, ("rsa'",), ("rsa",)),
    Case("version 3 of the object", put(version=b"\x02\x01\x03")),
    Case("version 5 of the object", put(version=b"\x02\x01\x05")),
    Case("an unsigned attribute", put(unsigned=tlv(0xA1, TIME_STAMP))),
    Case("an unsigned attribute of indefinite length", put(unsigned=indefinite(0xA1, TIME_STAMP))),
    Case("an unsigned signing time", put(unsigned=tlv(0xA1, attribute(OID_SIGNING_TIME, tlv(0x17, b"210903212547Z")))),
         openssl=False, skipped=True),
    Case("signer named by its key",
         lambda s: put(identifier=tlv(0x80, key_identifier(s)), signer_version=VERSION_3)(s)),
    Case("signer named by null", put(identifier=NULL), MALFORMED, False),
    Case("several digest algorithms listed", put(listed=(algorithm(OID_HASH["sha1"], NULL), SHA256))),
    Case("an unknown digest algorithm listed too", put(listed=(algorithm(OID_HASH["md5"], NULL), SHA256))),
    Case("another digest algorithm listed", put(listed=(algorithm(OID_HASH["sha1"], NULL),)), MALFORMED, False),
    Case("no digest algorithm listed", put(listed=()), MALFORMED, False),
    # Signers and signed attributes
    Case("no signer", put(signer=lambda: b""), MALFORMED, False),
    Case("two signers, both known", second_signer("rsa'"), MALFORMED, True, ("rsa",), ("rsa", "rsa'")),
    Case("the same signer twice", second_signer("rsa"), MALFORMED),
    Case("no signed attributes", without_attributes, MALFORMED),
    Case("an unknown signed attribute", put(extra=(UNKNOWN_ATTRIBUTE,))),
    Case("two unknown signed attributes of one family", put(extra=(UNKNOWN_ATTRIBUTE, UNKNOWN_SISTER))),
    Case("no signing time", put(without=OID_SIGNING_TIME)),
    Case("no message digest", put(without=bytes.fromhex("06092a864886f70d010904")), MALFORMED, False),
    Case("no content type", put(without=OID_DATA), MALFORMED, False),
    Case("signing time with a fraction", put(
        without=OID_SIGNING_TIME, extra=(attribute(OID_SIGNING_TIME[:-1] + b"\x05", tlv(0x18, b"20260203040506.5Z")),)
    )),
    Case("signed attributes in another order", lambda s: setattr(s, "attributes", s.signed_attributes()[::-1])),
    Case("two message digests", put(extra=(attribute(bytes.fromhex("06092a864886f70d010904"), tlv(4, bytes(32))),)),
         MALFORMED, False),
    Case("signed content type of another content", lambda s: setattr(s, "attributes", tuple(
        one.replace(OID_DATA, OID_DATA[:-1] + b"\x02") for one in s.signed_attributes()
    )), MALFORMED),
    Case("content of another type", put(content_type=bytes.fromhex("060b2a864886f70d0109100104")), MALFORMED),
    Case("the document is not inside", put(inside=False), OURS),
    Case("another document inside", other_content, WRONG, False),
    # Algorithms
    Case("digest without NULL (AWS, 2026)", put(digest_algorithm=SHA256_BARE)),
    Case("digest without NULL in one place", put(listed=(SHA256_BARE,))),
    Case("signature algorithm without NULL", put(signature_algorithm=algorithm(forms.OID_RSA_WITH["sha256"]))),
    Case("rsaEncryption (AWS, until 2018)", put(signature_algorithm=algorithm(forms.OID_RSA, NULL))),
    Case("protection without NULL", lambda s: put(protection=(SHA256_BARE, s.signature_algorithm))(s)),
    Case("protection of another digest", lambda s: put(protection=(
        algorithm(OID_HASH["sha512"]), algorithm(forms.OID_RSA_WITH["sha512"])
    ))(s), WRONG),
    Case("RSA with SHA-384", put(), key=("rsa", "sha384")),
    Case("RSA with SHA-512", put(), key=("rsa3072", "sha512")),
    Case("RSA-PSS, salt as long as the hash", put(protected=True), key=("rsa", "sha256", 32)),
    Case("RSA-PSS, the longest salt", put(), key=("rsa", "sha256", 222)),
    Case("RSA-PSS without salt", put(), key=("rsa", "sha384", 0)),
    Case("RSA-PSS with its trailer", put(signature_algorithm=forms.pss("sha256", 32, trailer=tlv(0xA3, tlv(2, b"\1")))),
         key=("rsa", "sha256", 32)),
    Case("RSA-PSS with another trailer", put(
        signature_algorithm=forms.pss("sha256", 32, trailer=tlv(0xA3, tlv(2, b"\2")))
    ), MALFORMED, False, ("rsa", "sha256", 32)),
    Case("RSA-PSS with the mask of another hash", put(signature_algorithm=forms.pss("sha256", 32, "sha1")), MALFORMED,
         False, ("rsa", "sha256", 32)),
    Case("RSA-PSS that says another salt", put(signature_algorithm=forms.pss("sha256", 20)), WRONG, False,
         ("rsa", "sha256", 32)),
    Case("RSA-PSS of another hash", put(signature_algorithm=forms.pss("sha512", 32)), WRONG, False,
         ("rsa", "sha256", 32)),
    Case("ECDSA P-256 with SHA-256", put(protected=True), key=("p256",)),
    Case("ECDSA P-256 with SHA-512", put(), key=("p256", "sha512")),
    Case("ECDSA P-384 with SHA-384", put(), key=("p384", "sha384")),
    Case("ECDSA with NULL", put(signature_algorithm=algorithm(forms.OID_ECDSA_WITH["sha256"], NULL)), key=("p256",)),
    Case("DSA with SHA-1", put(protected=True), key=("dsa", "sha1")),
    Case("RSA with SHA-1", put(), WRONG, True, ("rsa", "sha1")),
    Case("ECDSA with SHA-1", put(), WRONG, True, ("p256", "sha1")),
    Case("DSA with SHA-256", put(signature_algorithm=algorithm(forms.OID_DSA_WITH_SHA256)), MALFORMED, True,
         ("dsa", "sha256")),
    Case("RSA with MD5", put(digest_algorithm=algorithm(OID_HASH["md5"])), MALFORMED, False),
    Case("an unknown digest algorithm", put(digest_algorithm=algorithm(OID_HASH["sha3-256"])), MALFORMED, False),
    Case("an unknown signature algorithm", put(signature_algorithm=algorithm(bytes.fromhex("06032b6570"))), MALFORMED,
         False),
    Case("digest parameters that mean nothing", put(digest_algorithm=algorithm(OID_HASH["sha256"], tlv(4, b"x"))),
         MALFORMED),
    Case("ECDSA under RSA's name", put(signature_algorithm=algorithm(forms.OID_RSA_WITH["sha256"])), WRONG, True,
         ("p256",)),
    Case("a digest that the signature algorithm contradicts", put(
        signature_algorithm=algorithm(forms.OID_RSA_WITH["sha512"])
    ), WRONG),
    # Keys
    Case("one of two keys during a rotation", put(), trusted=("rsa'", "rsa")),
    Case("an old and a new kind of key", put(), key=("p256",), trusted=("rsa", "p256")),
    Case("a key that is not trusted", put(), WRONG, False, trusted=("rsa'",)),
)  # fmt: skip


def made(case: Case) -> Signed:
    signed = Signed(*case.key)  # type: ignore[arg-type]
    case.change(signed)
    return signed


def ours(blob: bytes, trusted: tuple[str, ...], content: bytes, document: bytes | None) -> tuple[str, str]:
    try:
        identity = verify(b64encode(blob), kind="pkcs7", trust=forms.trust(*trusted), document=document)
    except MalformedError as error:
        return MALFORMED, str(error)
    except VerificationError as error:
        return WRONG, str(error)
    assert content == identity.document.raw
    return OURS, ""


def outcome(case: Case) -> tuple[bytes, tuple[str, ...], bytes | None, str, str]:
    signed = made(case)
    blob, trusted = signed.blob(), case.trusted or (signed.name,)
    apart = None if signed.inside else signed.content
    return (blob, trusted, apart, *ours(blob, trusted, signed.content, apart))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_form_is_accepted_not_understood_or_wrong(case: Case) -> None:
    """Three answers; and not to understand is never to call it forged."""
    *_, answer, words = outcome(case)

    assert case.ours == answer, words


@needs_openssl
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_openssl_accepts_what_we_accept(case: Case, tmp_path: Path) -> None:
    """By the same certificates alone. `case.openssl` is what OpenSSL does: it is measured, not believed."""
    blob, trusted, apart, answer, _ = outcome(case)
    theirs = forms.openssl_accepts(blob, trusted, tmp_path, apart)

    assert case.openssl == theirs
    assert theirs or answer != OURS or case.skipped
    if answer == OURS and theirs and apart is None:
        assert (tmp_path / "out").read_bytes() == made(case).content


def test_what_openssl_accepts_and_we_refuse_is_in_the_docs() -> None:
    """The list in docs/attestation.md, with a reason for each row, is this table's."""
    table = PAGE.split("| OpenSSL accepts, `verify` does not |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)

    assert [case.name for case in CASES if case.openssl and case.ours != OURS] == listed
    assert [case.name for case in CASES if case.skipped] == re.findall(
        r"^- ([^:\n]+): OpenSSL refuses", PAGE, re.MULTILINE
    )


@pytest.mark.parametrize("case", [case for case in CASES if case.ours == OURS], ids=lambda case: case.name)
def test_no_octet_of_an_accepted_form_changes_what_is_accepted(case: Case) -> None:
    """Each octet changed in one way: refused, or the very same document, time and key come back."""
    blob, trusted, apart, *_ = outcome(case)
    store = forms.trust(*trusted)
    real = verify(b64encode(blob), kind="pkcs7", trust=store, document=apart)
    for at in range(0, len(blob), 3):
        damaged = blob[:at] + bytes([blob[at] ^ 1 << at % 8]) + blob[at + 1 :]
        try:
            assert real == verify(b64encode(damaged), kind="pkcs7", trust=store, document=apart)
        except Ec2IdentError:
            continue


@pytest.mark.parametrize("case", [case for case in CASES if case.ours == OURS], ids=lambda case: case.name)
def test_a_cut_form_is_not_understood_at_any_length(case: Case) -> None:
    """A connection that broke off is not a forgery."""
    blob, trusted, apart, *_ = outcome(case)
    store = forms.trust(*trusted)
    for length in range(1, len(blob)):
        with pytest.raises(MalformedError, match=r"BER|DER|CMS|bytes|ends"):
            verify(b64encode(blob[:length]), kind="pkcs7", trust=store, document=apart)


@pytest.mark.parametrize(("parameters", "said"), [(b"", ""), (b"\x05\x00", " with parameters 0500")])
def test_an_algorithm_that_is_not_known_is_named_with_its_parameters(parameters: bytes, said: str) -> None:
    """Two algorithms may differ in these alone."""
    error = algorithms._unknown("hash", (bytes.fromhex("2b0e03021a"), parameters))

    assert f"hash: 1.3.14.3.2.26{said} is not understood by this version" == str(error)
