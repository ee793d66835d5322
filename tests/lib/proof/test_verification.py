"""The proof: what AWS signed verifies, to the byte; what it did not sign never does."""

from __future__ import annotations

import gc
import hashlib
import json
import pickle
import statistics
import subprocess
import sys
import tracemalloc
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ec2ident
from ec2ident.errors import MalformedError, UnverifiableError, VerificationError
from ec2ident.model import Identity, Kind, Reason
from ec2ident.proof import document as documents
from ec2ident.proof import layout, verification
from ec2ident.proof.trust import TrustedKey, TrustStore
from ec2ident.proof.verification import verify
from ec2ident.testing.signing import NULL, OID_DIGEST, OID_SHA256_WITH_RSA, Authority, tlv, wire
from ec2ident.value import replace
from tests.lib import forge, vectors


def given_document(folder: str, kind: str) -> bytes | None:
    return vectors.document(folder) if kind == "signature" else None


def check(folder: str, kind: str) -> Identity:
    return verify(vectors.signature(folder, kind), kind=kind, document=given_document(folder, kind))


# What AWS signed


@pytest.mark.parametrize(("folder", "kind"), vectors.GENUINE)
def test_every_genuine_document_verifies_to_the_byte(folder: str, kind: str) -> None:
    """Documents of 2017 to 2026, three kinds, with the keys of today."""
    identity = check(folder, kind)

    assert vectors.document(folder) == identity.document.raw
    assert Kind(kind) is identity.kind
    assert (kind != "rsa2048") == identity.legacy
    assert identity.document.region == identity.region
    assert "aws" == identity.partition
    assert (identity.signed_at is None) == (kind == "signature")


@pytest.mark.parametrize(("folder", "kind"), vectors.GENUINE)
def test_json_says_when_it_was_signed(folder: str, kind: str) -> None:
    """The time in ISO 8601 with its zone; null for the kind `signature` alone, which carries none."""
    identity = check(folder, kind)
    signed_at = identity.to_dict()["signed_at"]

    assert (kind == "signature") == (signed_at is None)
    if identity.signed_at is not None:
        assert isinstance(signed_at, str)
        assert identity.signed_at == datetime.fromisoformat(signed_at)
        assert signed_at.endswith("+00:00")


@pytest.mark.parametrize(("folder", "kind"), vectors.WITH_CONTENT)
def test_a_separate_document_is_compared_not_needed(folder: str, kind: str) -> None:
    """As bytes or as text; the answer is the same."""
    raw, text = vectors.document(folder), vectors.signature(folder, kind)

    assert (
        check(folder, kind) == verify(text, kind=kind, document=raw) == verify(text, kind=kind, document=raw.decode())
    )


def test_signing_time_may_be_long_after_pending_time() -> None:
    """AWS signed this document again eight months after the instance started."""
    identity = check("smallstep-us-west-1-2017", "pkcs7")

    assert datetime(2018, 7, 30, 23, 31, 4, tzinfo=timezone.utc) == identity.signed_at
    assert datetime(2017, 11, 21, 0, 25, 23, tzinfo=timezone.utc) == identity.document.pending_time


def test_white_space_in_base64_does_not_matter() -> None:
    """Published copies come on one line, in 64 columns, with spaces, with CRLF; as text or bytes; kind as a word."""
    text = vectors.signature("teleport-us-west-2-2021", "rsa2048")
    line = "".join(text.split())
    wrapped = "\r\n".join(line[at : at + 64] for at in range(0, len(line), 64))
    expected = verify(text, kind=Kind.RSA2048)

    for form in (line, wrapped, f"\n\t {wrapped} \n", line.encode(), " ".join(line)):
        assert expected == verify(form, kind="rsa2048")


_SMIME = (
    'MIME-Version: 1.0\nContent-Disposition: attachment; filename="smime.p7m"\n'
    'Content-Type: application/x-pkcs7-mime; smime-type=signed-data; name="smime.p7m"\n'
    "Content-Transfer-Encoding: base64"
)


def forms_of(text: str) -> dict[str, str | bytes]:
    """Every form in which people keep one signature."""
    line = "".join(text.split())
    blob = b64decode(line)
    url_safe = line.replace("+", "-").replace("/", "_")
    return {
        "as AWS sends it": text,
        "with the lines of AWS's verification steps": f"-----BEGIN PKCS7-----\n{text}\n-----END PKCS7-----\n",
        "with the lines of OpenSSL": f"\r\n-----BEGIN CMS-----\r\n{text}\r\n-----END CMS-----",
        "decoded": blob,
        "decoded, in a bytearray": bytearray(blob),  # type: ignore[dict-item]
        "without padding": line.rstrip("="),
        "url-safe": url_safe,
        "url-safe without padding": url_safe.rstrip("="),
        "quoted": f'"{line}"',
        "quoted by a shell": f"'{text}'\n",
        "as Python prints bytes": repr(text.encode()),
        "with a byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "UTF-16 of PowerShell": text.encode("utf-16"),
        "UTF-16, big endian": b"\xfe\xff" + text.encode("utf-16-be"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "UTF-16 of PEM lines": f"-----BEGIN PKCS7-----\r\n{text}\r\n-----END PKCS7-----\r\n".encode("utf-16"),
        "copied out of JSON": text.replace("\n", "\\n"),
        "a JSON string": json.dumps(text),
        "a JSON string that escapes more": json.dumps(text).replace("+", "\\u002b").replace("/", "\\/"),
        "encoded twice, BetterCloud/vault-java-driver#118": b64encode(text.encode()),
        "PEM lines in a Kubernetes Secret": b64encode(f"-----BEGIN PKCS7-----\n{text}\n-----END PKCS7-----\n".encode()),
        "S/MIME of OpenSSL": f"{_SMIME}\n\n{text}\n\n",
        "with the head that curl -i shows": f"HTTP/1.1 200 OK\r\nServer: EC2ws\r\n\r\n{text}",
        "in a memoryview": memoryview(text.encode()),  # type: ignore[dict-item]
        "PEM lines in one line": f"-----BEGIN PKCS7-----\\n{line}\\n-----END PKCS7-----\\n",
    }


@pytest.mark.parametrize("form", forms_of("AAAA"))
@pytest.mark.parametrize("kind", Kind)
def test_a_signature_is_read_in_every_form_in_which_people_keep_it(form: str, kind: Kind) -> None:
    """AWS's own verification steps add PEM lines to rsa2048 and pkcs7 and decode `signature`; hashicorp/vault#1582."""
    folder = "cloudinit-us-east-2-2018"
    given = forms_of(vectors.signature(folder, kind))[form]

    assert check(folder, kind) == verify(given, kind=kind, document=given_document(folder, kind))


def stored(folder: str) -> dict[str, object]:
    """The JSON in which cloud-init, Vault and SPIRE keep or send the items."""
    document = vectors.document(folder).decode()
    rsa2048, pkcs7, signature = (vectors.signature(folder, kind) for kind in ("rsa2048", "pkcs7", "signature"))
    lines = {
        name: text.split("\n") for name, text in (("rsa2048", rsa2048), ("pkcs7", pkcs7), ("signature", signature))
    }
    cloud_init = {
        "ds": {"dynamic": {"instance-identity": {"document": json.loads(document), **lines}}},
        "v1": {"a": []},
    }
    return {
        "cloud-init": cloud_init,
        "vault pkcs7": {"role": "dev", "pkcs7": pkcs7.replace("\n", ""), "nonce": "n"},
        "vault identity": {
            "role": "dev", "identity": b64encode(document.encode()).decode(), "signature": signature.replace("\n", "")
        },
        "spire": {"document": document, "signature": signature, "rsa2048": rsa2048},
        "spire, older": {"document": document, "signature": signature, "signatureRSA2048": rsa2048},
        "a list": [{"x": 1}, {"instanceIdentity": {"pkcs7": pkcs7, "rsa2048": rsa2048}}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ("cloud-init", ("rsa2048", "pkcs7")),
        ("vault pkcs7", ("pkcs7",)),
        ("vault identity", ("signature",)),
        ("spire", ("rsa2048", "signature")),
        ("spire, older", ("rsa2048", "signature")),
        ("a list", ("rsa2048", "pkcs7")),
    ],
)
def test_an_item_is_found_in_json(form: str, kinds: tuple[str, ...]) -> None:
    """By the names that cloud-init, Vault and SPIRE use, wherever they stand."""
    folder = "cloudinit-us-east-2-2018"
    text = json.dumps(stored(folder)[form])
    for kind in kinds:
        assert check(folder, kind) == verify(text, kind=kind) == verify(text.encode("utf-16"), kind=kind)


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ('{"pkcs7": "MIAG"}', "rsa2048", "JSON without a member rsa2048 \\(it has pkcs7\\)"),
        ('{"a": 1}', "rsa2048", "JSON without a member rsa2048 \\(nor any other item\\)"),
        ('{"rsa2048": 5}', "rsa2048", "rsa2048: left out, since it is a JSON int \\(text is expected\\)"),
        ('{"a": {"rsa2048": "AA"}, "b": {"rsa2048": "BB"}}', "rsa2048", "b.rsa2048: another rsa2048 than at a.rsa2048"),
        ("{", "rsa2048", "signature: not JSON"),
        ("[" * 100000, "rsa2048", "signature: not JSON"),
        ('{"rsa2048": "\\ud800"}', "rsa2048", "BER|base64"),
        ('{"\\u001b[2J": {"rsa2048": 5}}', "rsa2048", "left out"),
    ],
)
def test_json_without_the_item_says_what_it_has(text: str, kind: str, why: str) -> None:
    """One line, and nothing in it could control a terminal."""
    with pytest.raises(MalformedError, match=why) as caught:
        verify(text, kind=kind)

    assert str(caught.value).isprintable()


def test_what_is_weaker_than_it_looks_is_said() -> None:
    """A strong key of one region: nothing to say. A shared weak one: two things."""
    assert () == check("cloudinit-us-east-2-2018", "rsa2048").warnings
    weak, shared = check("cloudinit-us-east-2-2018", "signature").warnings
    assert weak.startswith("RSA-1024 is below today's strength limits")
    assert shared == "the region rests on the document: 17 regions share this key"


def test_a_certificate_that_ended_is_a_warning() -> None:
    """The key is what is trusted; every renewal so far kept it."""
    far = datetime(2049, 12, 31, tzinfo=timezone.utc)
    (warning,) = verify(forge.OURS.sign(forge.document(), "rsa2048", far), kind="rsa2048", trust=forge.trust()).warnings

    assert warning.startswith("signed on 2049-12-31, after the certificate of this key ended")


def test_the_key_is_named() -> None:
    """SHA-256 of the SubjectPublicKeyInfo: the same before and after a renewal."""
    identity = check("taskcluster-us-west-2-2019", "signature")

    assert "8a61ba393a4aa067e73b9b5e75851ea4345aa5e6dab02538e8c1acd435b1f93f" == identity.key_sha256


@pytest.mark.parametrize(
    ("region", "partition", "authority"),
    [
        ("af-south-1", "aws", forge.OURS),
        ("ap-southeast-6", "aws", forge.OURS),
        ("cn-north-1", "aws-cn", forge.CHINA),
        ("us-gov-west-1", "aws-us-gov", forge.OURS),
        ("eusc-de-east-1", "aws-eusc", forge.OURS),
        ("us-iso-east-1", "aws-iso", forge.OURS),
    ],
)
@pytest.mark.parametrize("kind", Kind)
def test_regions_without_public_documents_verify_in_the_same_form(
    region: str, partition: str, authority: Authority, kind: Kind
) -> None:
    """No document from China, GovCloud, the EU sovereign cloud or an opt-in region is public: these are made here."""
    document = forge.document(region)
    text = authority.sign(document, kind, forge.SIGNED_AT)
    identity = verify(text, kind=kind, document=document, trust=forge.trust(region, authority, partition))

    assert (document, region, partition) == (identity.document.raw, identity.region, identity.partition)
    # China's pkcs7 key is RSA-2048, so that kind is not legacy there.
    assert identity.legacy == (kind is Kind.SIGNATURE or (kind is Kind.PKCS7 and authority is not forge.CHINA))


# What AWS did not sign


@pytest.mark.parametrize(
    ("folder", "kind", "error", "why"),
    [
        ("ncbi-us-east-1-2019", "pkcs7", MalformedError, "BER: tag 0x30 expected at 0"),
        ("metaphor-a-ap-southeast-2-2026", "signature", VerificationError, "not ap-southeast-2's signature"),
        ("taskcluster-us-west-2-2019", "signature", VerificationError, "not us-west-2's signature"),
    ],
)
def test_a_wrong_signature_is_refused(folder: str, kind: str, error: type[Exception], why: str) -> None:
    """The peers' own negatives."""
    with pytest.raises(error, match=why):
        verify(
            (vectors.REAL / folder / f"NEGATIVE-{kind}.b64").read_text(), kind=kind, document=vectors.document(folder)
        )


@pytest.mark.parametrize("kind", ["rsa2048", "signature"])
def test_fields_removed_from_a_document_are_missed(kind: str) -> None:
    """The plain document beside a genuine signature, shortened."""
    folder = "metaphor-a-ap-southeast-2-2026"
    with pytest.raises((MalformedError, VerificationError), match=r"instanceId is missing|differs from byte 6 on"):
        verify(vectors.signature(folder, kind), kind=kind, document=vectors.document(folder, "NEGATIVE-document.json"))


def test_a_start_two_days_later_is_another_document() -> None:
    """The near miss of a server that checks the age."""
    folder = "taskcluster-us-west-2-2019"
    with pytest.raises(VerificationError, match="not us-west-2's signature") as caught:
        verify(
            vectors.signature(folder, "signature"),
            kind="signature",
            document=vectors.document(folder, "NEGATIVE-document.json"),
        )
    assert Reason.WRONG_SIGNATURE is caught.value.reason


@pytest.mark.parametrize("folder", sorted({folder for folder, kind in vectors.GENUINE if kind == "signature"}))
def test_no_bit_of_a_document_can_change_under_the_kind_signature(folder: str) -> None:
    """Every bit of the signed document flipped: never accepted, whatever the reason."""
    raw, text = vectors.document(folder), vectors.signature(folder, "signature")
    for at in range(len(raw)):
        flipped = raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :]
        with pytest.raises((MalformedError, VerificationError, UnverifiableError)):
            verify(text, kind="signature", document=flipped)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(vectors.GENUINE), st.integers(0, 10**6), st.integers(0, 7))
def test_no_flipped_bit_in_the_signed_document_verifies(case: tuple[str, str], position: int, bit: int) -> None:
    """Any genuine signature, any bit of its document, inside the object and beside it."""
    folder, kind = case
    raw = vectors.document(folder)
    at = position % len(raw)
    flipped = raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]
    text: str | bytes = vectors.signature(folder, kind)
    document: bytes | None = flipped
    if kind != "signature":
        with pytest.raises(VerificationError, match="differs from byte"):
            verify(text, kind=kind, document=flipped)
        text, document = b64encode(b64decode(text).replace(raw, flipped)), None
    with pytest.raises((MalformedError, VerificationError, UnverifiableError)):
        verify(text, kind=kind, document=document)


@pytest.mark.parametrize(("remove", "add"), [(0, b"\n"), (1, b""), (1, b" }"), (475, b"")])
def test_a_separate_document_must_be_equal_to_the_byte(remove: int, add: bytes) -> None:
    """A final newline, added by an editor, is the usual way; the message counts both."""
    folder = "teleport-us-west-2-2021"
    raw = vectors.document(folder)
    other = raw[: len(raw) - remove] + add

    with pytest.raises(VerificationError, match=f"{len(other)} bytes, .*signed are {len(raw)} bytes") as caught:
        verify(vectors.signature(folder, "rsa2048"), kind="rsa2048", document=other)
    assert Reason.DOCUMENT_DIFFERS is caught.value.reason


def test_a_changed_region_inside_the_object_is_a_wrong_digest() -> None:
    """A document moved to another region, everything else left as it was."""
    raw = vectors.document("teleport-us-west-2-2021")
    blob = b64decode(vectors.signature("teleport-us-west-2-2021", "rsa2048"))
    moved = blob.replace(raw, raw.replace(b'"us-west-2"', b'"us-west-1"'))
    assert moved != blob

    with pytest.raises(VerificationError, match=r"digest: signed is 087d9d26.* \(the document has ") as caught:
        verify(b64encode(moved), kind="rsa2048")
    assert Reason.WRONG_DIGEST is caught.value.reason


def test_a_forged_digest_is_a_wrong_signature() -> None:
    """The document and its signed digest changed together: then the signature does not cover the attributes."""
    parts = forge.Parts()
    blob = parts.blob()
    content = parts.content.replace(b"m7g.large", b"m7g.metal")
    other = forge.Parts(content=content)
    forged = blob.replace(parts.content, content).replace(parts.message_digest, other.message_digest)

    with pytest.raises(VerificationError, match="256 bytes that are not af-south-1's signature") as caught:
        verify(b64encode(forged), kind="rsa2048", trust=forge.trust())
    assert Reason.WRONG_SIGNATURE is caught.value.reason


def test_another_authority_is_refused() -> None:
    """All is right but the key."""
    for kind in Kind:
        text = forge.STRANGER.sign(forge.document(), kind, forge.SIGNED_AT)
        with pytest.raises(VerificationError, match="not af-south-1's signature of this document") as caught:
            verify(text, kind=kind, document=forge.document(), trust=forge.trust())
        assert Reason.WRONG_SIGNATURE is caught.value.reason


def test_a_throw_away_signature_is_nothing_to_the_bundled_keys() -> None:
    """What tests sign never passes where AWS is asked for."""
    for kind in Kind:
        text = forge.OURS.sign(forge.document(), kind, forge.SIGNED_AT)
        with pytest.raises(VerificationError, match="not af-south-1's signature"):
            verify(text, kind=kind, document=forge.document())


def test_another_regions_key_is_named() -> None:
    """Both values stand in the message."""
    store = forge.trust("eu-west-1").with_certificate(
        forge.STRANGER.certificate("rsa2048"), region="us-east-1", kind="rsa2048"
    )
    text = forge.OURS.sign(forge.document("us-east-1"), "rsa2048", forge.SIGNED_AT)

    with pytest.raises(
        VerificationError, match="region: signed by eu-west-1's key \\(document says us-east-1\\)"
    ) as caught:
        verify(text, kind="rsa2048", trust=store, search=True)
    assert Reason.WRONG_KEY is caught.value.reason


def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What each key operation is about, from now on."""
    operations: list[object] = []
    signer = verification._signer

    def count(keys: tuple[TrustedKey, ...], *rest: Any) -> TrustedKey | None:
        operations.extend(keys)
        return signer(keys, *rest)

    monkeypatch.setattr(verification, "_signer", count)
    return operations


@pytest.mark.parametrize("kind", Kind)
def test_refusing_a_wrong_signature_takes_three_key_operations_at_most(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any client can send one: to try the keys of all regions is for a person who asks for it."""
    text = forge.STRANGER.sign(forge.document("us-east-1"), kind, forge.SIGNED_AT)
    operations = counted(monkeypatch)

    for search, most in ((False, 3), (True, 60)):
        operations.clear()
        with pytest.raises(VerificationError, match="not us-east-1's signature"):
            verify(text, kind=kind, document=forge.document("us-east-1"), search=search)
        assert 1 <= len(operations) <= most
    assert len(operations) > 3


REFORMATTED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a final newline": (lambda raw: raw + b"\n", "a final newline was added"),
    "CRLF": (lambda raw: raw.replace(b"\n", b"\r\n"), "its line ends became CRLF"),
    "CRLF and a final one": (
        lambda raw: (raw + b"\n").replace(b"\n", b"\r\n"),
        "its line ends became CRLF and a final newline was added",
    ),
    "blanks": (lambda raw: b" " + raw + b"\n\n", "white space around it changed"),
    "jq": (lambda raw: json.dumps(json.loads(raw), indent=2).encode(), "its JSON was formatted anew"),
    "compact": (lambda raw: json.dumps(json.loads(raw), separators=(",", ":")).encode(), "its JSON was formatted anew"),
    "one line": (lambda raw: b" ".join(raw.split()), "its JSON was formatted anew"),
    "a mark": (lambda raw: b"\xef\xbb\xbf" + raw, "a byte order mark was added"),
    "UTF-16": (lambda raw: raw.decode().encode("utf-16"), "it became UTF-16"),
    "PowerShell": (
        lambda raw: (raw.decode().replace("\n", "\r\n") + "\r\n").encode("utf-16"),
        "it became UTF-16 and its line ends became CRLF",
    ),
}


@pytest.mark.parametrize("change", REFORMATTED)
@pytest.mark.parametrize("folder", ["cloudinit-us-east-2-2018", "rspamd-b-us-east-1-2024"])
def test_a_reformatted_document_is_refused_and_the_change_named(
    change: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual reason of "does not verify" (hashicorp/vault#1582): it is said, and never accepted."""
    alter, words = REFORMATTED[change]
    operations = counted(monkeypatch)
    with pytest.raises(VerificationError, match=f"document: changed after AWS signed it: .*{words}") as caught:
        verify(vectors.signature(folder, "signature"), kind="signature", document=alter(vectors.document(folder)))

    assert Reason.DOCUMENT_DIFFERS is caught.value.reason
    assert caught.value.document is not None
    assert 3 >= len(operations)


@pytest.mark.parametrize("change", REFORMATTED)
def test_a_reformatted_document_beside_an_object_is_refused_and_the_change_named(change: str) -> None:
    """There the signed document is inside: no key operation is needed to compare."""
    folder = "cloudinit-us-east-2-2018"
    alter, words = REFORMATTED[change]
    with pytest.raises(VerificationError, match=f"differs from byte .*{words}") as caught:
        verify(vectors.signature(folder, "rsa2048"), kind="rsa2048", document=alter(vectors.document(folder)))
    assert Reason.DOCUMENT_DIFFERS is caught.value.reason


@pytest.mark.parametrize(
    "alter",
    [
        lambda raw: raw.replace(b"t2.micro", b"t2.metal"),
        lambda raw: raw.replace(b"t2.micro", b"t2.metal") + b"\n",
        lambda raw: json.dumps(dict(reversed(list(json.loads(raw).items())))).encode(),
    ],
)
def test_another_document_is_not_called_reformatted(alter: Callable[[bytes], bytes]) -> None:
    """The near miss: one value changed, or the members in another order."""
    folder = "cloudinit-us-east-2-2018"
    other = alter(vectors.document(folder))
    with pytest.raises(VerificationError, match="are not us-east-2's signature") as caught:
        verify(vectors.signature(folder, "signature"), kind="signature", document=other)
    assert Reason.WRONG_SIGNATURE is caught.value.reason


def test_members_in_another_order_are_named_where_a_person_asks() -> None:
    """`jq -S`: documents since 2020 have one order. It takes a key operation more, so it is part of the search."""
    folder = "metaphor-a-ap-southeast-2-2026"
    text = vectors.signature(folder, "signature")
    for changed in (
        json.dumps(json.loads(vectors.document(folder)), indent=2, sort_keys=True).encode(),
        json.dumps(dict(reversed(list(json.loads(vectors.document(folder)).items())))).encode() + b"\n",
    ):
        with pytest.raises(VerificationError, match="its JSON were put into another order") as caught:
            verify(text, kind="signature", document=changed, search=True)
        assert Reason.DOCUMENT_DIFFERS is caught.value.reason
        with pytest.raises(VerificationError, match="every byte of the document counts"):
            verify(text, kind="signature", document=changed)
        with pytest.raises(VerificationError, match=r"differs from byte .*were put into another order"):
            verify(vectors.signature(folder, "rsa2048"), kind="rsa2048", document=changed)


def test_an_error_keeps_what_the_document_claims() -> None:
    """For a log or an answer: it is a claim, and not proven."""
    raw = forge.document("me-west-1")
    with pytest.raises(UnverifiableError) as unknown:
        verify(forge.OURS.sign(raw, "rsa2048", forge.SIGNED_AT), kind="rsa2048")
    with pytest.raises(VerificationError) as forged:
        verify(forge.STRANGER.sign(raw, "rsa2048", forge.SIGNED_AT), kind="rsa2048", trust=forge.trust("me-west-1"))
    with pytest.raises(MalformedError) as damaged:
        verify("MIAG", kind="rsa2048")

    assert unknown.value.document == forged.value.document
    assert (raw, None) == (forged.value.document and forged.value.document.raw, damaged.value.document)


@pytest.mark.parametrize(("kind", "other"), [("rsa2048", "pkcs7"), ("pkcs7", "rsa2048")])
def test_the_blob_of_another_kind_is_refused(kind: str, other: str) -> None:
    """The kind decides the key, and the key the algorithms."""
    with pytest.raises(
        VerificationError, match=f"algorithm: .* \\(us-east-2 signs {kind} with .*does not allow it"
    ) as caught:
        verify(vectors.signature("cloudinit-us-east-2-2018", other), kind=kind)
    assert Reason.WRONG_ALGORITHM is caught.value.reason


@pytest.mark.parametrize("kind", ["rsa2048", "pkcs7"])
def test_a_bare_signature_is_not_a_signed_object(kind: str) -> None:
    """And an object is not a bare signature."""
    folder = "cloudinit-us-east-2-2018"
    with pytest.raises(MalformedError, match="BER: tag 0x30 expected at 0"):
        verify(vectors.signature(folder, "signature"), kind=kind)
    with pytest.raises(MalformedError, match=r"not understood .*\(a signature of RSA-1024 has 128\)"):
        verify(vectors.signature(folder, kind), kind="signature", document=vectors.document(folder))


@pytest.mark.parametrize("how", ["refused", "missing"])
def test_without_sha_1_a_signature_is_neither_right_nor_forged(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Under a FIPS policy `hashlib.sha1()` raises ValueError, and Python may be built without it; exit code 3."""

    def refuse(*_: object) -> None:
        raise ValueError("[digital envelope routines] unsupported")

    if how == "refused":
        monkeypatch.setattr(hashlib, "sha1", refuse)
    else:
        monkeypatch.delattr(hashlib, "sha1")
    folder = next(folder for folder, kind in vectors.GENUINE if kind == "pkcs7")
    with pytest.raises(UnverifiableError, match=r"digest: this OpenSSL refuses SHA-1 \(") as caught:
        check(folder, "pkcs7")

    assert Reason.UNVERIFIABLE is caught.value.reason
    assert caught.value.document is not None


def test_the_key_decides_the_algorithms() -> None:
    """An RSA key with SHA-1, or under DSA's name, is not how AWS signs."""
    parts = forge.Parts()
    parts.digest_algorithm = parts.outer_digest_algorithm = tlv(0x30, OID_DIGEST["sha1"], NULL)
    with pytest.raises(VerificationError, match=r"RSA with SHA-256 .the digest algorithm is sha1") as caught:
        verify(parts.text(), kind="rsa2048", trust=forge.trust())
    assert Reason.WRONG_ALGORITHM is caught.value.reason

    parts = forge.Parts()
    parts.signature_algorithm = tlv(0x30, bytes.fromhex("06072a8648ce380403"))
    with pytest.raises(VerificationError, match=r"DSA with SHA-1 .the digest algorithm is sha256"):
        verify(parts.text(), kind="rsa2048", trust=forge.trust())


def test_algorithms_that_are_signed_too_must_be_those_used() -> None:
    """RFC 6211: otherwise they could be exchanged, as nothing else protects them."""
    parts = forge.Parts()
    parts.protected = (parts.digest_algorithm, tlv(0x30, bytes.fromhex("06092a864886f70d010101"), NULL))
    with pytest.raises(VerificationError, match=r"algorithm protection: .* is signed \(.* is used\)") as caught:
        verify(parts.text(), kind="rsa2048", trust=forge.trust())
    assert Reason.WRONG_ALGORITHM is caught.value.reason


def test_null_may_be_absent_from_the_signature_algorithm_too() -> None:
    """AWS stopped writing it for digests in 2026."""
    parts = forge.Parts()
    parts.signature_algorithm = tlv(0x30, OID_SHA256_WITH_RSA)
    parts.protected = (parts.digest_algorithm, parts.signature_algorithm)

    assert parts.content == verify(parts.text(), kind="rsa2048", trust=forge.trust()).document.raw


def test_a_well_signed_document_with_a_duplicate_name_is_refused() -> None:
    """A signature makes nothing of it unambiguous."""
    raw = forge.document().replace(b'"region"', b'"region" : "us-east-1",\n  "region"')
    text = forge.OURS.sign(raw, "rsa2048", forge.SIGNED_AT)

    with pytest.raises(MalformedError, match="'region' is there twice"):
        verify(text, kind="rsa2048", trust=forge.trust())


@pytest.mark.parametrize("region", ["ap-east-2", "ap-southeast-6", "eusc-de-east-1", "us-isof-south-1", "me-west-1"])
def test_without_a_certificate_there_is_no_verdict(region: str) -> None:
    """It is not the same as a wrong signature, and no subclass of it."""
    text = forge.OURS.sign(forge.document(region), "pkcs7", forge.SIGNED_AT)

    with pytest.raises(UnverifiableError, match=f"{region}: no certificate for pkcs7"):
        verify(text, kind="pkcs7")
    assert not issubclass(UnverifiableError, (VerificationError, MalformedError))


# What is not a signature at all


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        (b"", "empty"),
        ("====", "not base64|empty"),
        ("MIAG*SqG", "not base64"),
        ("MIAGC", "not base64"),
        ("MIAGCSqG=MIAG", "not base64"),
        ("-----BEGIN PKCS7-----\nMIAG\n", "PEM lines of 'PKCS7' \\(one block, BEGIN to END"),
        ("-----BEGIN CERTIFICATE-----\nMIAG\n-----END CERTIFICATE-----", "PEM lines of 'CERTIFICATE'"),
        (2 * "-----BEGIN PKCS7-----\nMIAG\n-----END PKCS7-----\n", "PEM lines of 'PKCS7' \\(one block"),
        ("MIAG\u00a0CSqG", "neither base64 nor a CMS object \\(octet 0xc2 at 4\\)"),
        ("MIAG\ud800", "cannot be encoded|can be encoded"),
        (b"\xff\xfe", "empty"),
        ('"', "not base64"),
        ("MIAG\\xCSqG", "not base64"),
        ("<html>", "not base64"),
        ("A" * 65537, "65537 characters \\(at most 65536\\)"),
        ("A" * 65536, "BER"),
    ],
)
def test_what_is_not_strict_base64_is_refused(text: str | bytes, why: str) -> None:
    """White space apart, nothing is skipped; giants are not decoded."""
    with pytest.raises(MalformedError, match=why):
        verify(text, kind="pkcs7")


def test_truncated_base64_is_refused_at_every_length() -> None:
    """A connection that broke off."""
    text = vectors.signature("metaphor-b-ap-southeast-2-2026", "pkcs7")
    for length in range(len(text.rstrip("=\n"))):
        with pytest.raises(MalformedError, match=r"BER|CMS|base64|empty"):
            verify(text[:length], kind="pkcs7")


def test_mistakes_of_the_caller_are_python_errors() -> None:
    """An unknown kind and a missing document are ValueError, which is neither a yes nor a no about the document."""
    with pytest.raises(ValueError, match="'rsa4096' is not a valid Kind"):
        verify("MIAG", kind="rsa4096")
    with pytest.raises(ValueError, match="document: needed for the kind signature"):
        verify("MIAG", kind="signature")


@pytest.mark.parametrize("value", [5, None, {"rsa2048": "MIAG"}, ["MIAG"], 1.5, True])
def test_what_a_client_sends_in_place_of_text_is_malformed(value: object) -> None:
    """A server passes on what it read from JSON: that is the client's fault, and no TypeError (500) of the server."""
    with pytest.raises(MalformedError, match=f"signature: {type(value).__name__} \\(str or bytes is expected\\)"):
        verify(value, kind="pkcs7")  # type: ignore[arg-type]
    with pytest.raises(MalformedError, match="document: "):
        verify("MIAG", kind="signature", document=value or 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("giant", ["A" * 10**8, b"A" * 10**8, bytearray(10**8), "\u20ac" * 10**7])
def test_giants_are_refused_before_they_are_copied(giant: str | bytes) -> None:
    """Refusing costs no memory: not even that of the encoded text."""
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match=r"signature: 10+ (characters|bytes) \(at most"):
            verify(giant, kind="pkcs7")
        with pytest.raises(MalformedError, match=r"document: 10+ (characters|bytes) \(at most"):
            verify("MIAG", kind="signature", document=giant)
        assert 10**6 > tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_giant_document_is_refused() -> None:
    """Before it is parsed."""
    with pytest.raises(MalformedError, match="document: 17000 bytes"):
        verify(vectors.signature("rspamd-b-us-east-1-2024", "signature"), kind="signature", document=b" " * 17000)


# What comes back


def test_only_verify_makes_an_identity() -> None:
    """Who holds one knows that the proof was done: it cannot be made, changed or derived by hand."""
    identity = check("teleport-us-west-2-2021", "rsa2048")

    with pytest.raises(TypeError, match=r"what ec2ident\.verify returns"):
        Identity()
    with pytest.raises(TypeError, match="unexpected keyword"):
        replace(identity, region="us-east-1")
    with pytest.raises(AttributeError, match="frozen"):
        identity.region = "us-east-1"  # type: ignore[misc]
    assert list(Identity._fields) == list(identity.__dict__)


def test_two_blobs_of_one_document_are_one_identity() -> None:
    """The blob does not identify: octets that nothing signs can change under it."""
    blob = b64decode(vectors.signature("teleport-us-west-2-2021", "rsa2048"))
    other = blob.replace(b"Seattle", b"seattle")
    assert other != blob

    assert verify(wire(blob), kind="rsa2048") == verify(wire(other), kind="rsa2048")
    assert 1 == len({verify(wire(blob), kind="rsa2048"), verify(wire(other), kind="rsa2048")})


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "from ec2ident import verify",
        "import ec2ident; verify = ec2ident.verify",
        "import ec2ident.proof.verification; from ec2ident import verify",
        "from ec2ident import verify; import ec2ident.proof.verification; import ec2ident; verify = ec2ident.verify",
        "from ec2ident.proof.verification import verify",
    ],
)
def test_verify_is_the_function_whatever_was_imported_first(code: str) -> None:
    """A module of the same name would take the function's place in the package once it is imported."""
    assert "function ec2ident.proof.verification" == run(f"{code}\nprint(type(verify).__name__, verify.__module__)")


def test_importing_the_module_does_not_import_cryptography() -> None:
    """It comes with the first key that is used."""
    modules = "ec2ident.proof.verification, ec2ident.proof.policy, sys"
    code = f"import {modules}; print([n for n in sys.modules if n == 'cryptography'])"
    assert "[]" == run(code)


def test_verifying_again_and_again_keeps_nothing() -> None:
    """Memory does not grow with documents verified or refused; scripts/bench measures a million."""
    signed = vectors.signature("metaphor-a-ap-southeast-2-2026", "rsa2048")
    forged = forge.STRANGER.sign(forge.document("us-east-1"), "rsa2048", forge.SIGNED_AT)

    def some(count: int) -> None:
        for _ in range(count):
            verify(signed, kind="rsa2048")
            with pytest.raises(VerificationError, match="not us-east-1's signature"):
                verify(forged, kind="rsa2048")

    def grown(count: int) -> int:
        before = sys.getallocatedblocks()
        some(count)
        gc.collect()
        return sys.getallocatedblocks() - before

    grown(100)  # what is loaded and cached once
    batches = [grown(100) for _ in range(5)]
    # One object kept of each document would be a hundred in every batch.
    assert 50 > statistics.median(batches), batches


def test_threads_may_verify_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While others make it forget and remember forms of documents and objects: each gets its own identity."""
    monkeypatch.setattr(layout, "_MOST", 2)
    monkeypatch.setattr(documents, "_MOST_FORMS", 2)
    expected = {case: check(*case) for case in vectors.GENUINE}
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda case: (case, check(*case)), vectors.GENUINE * 40))
    finally:
        sys.setswitchinterval(before)

    assert all(expected[case] == identity for case, identity in found)


@pytest.mark.parametrize("case", [("teleport-us-west-2-2021", "rsa2048"), ("rspamd-b-us-east-1-2024", "signature")])
def test_an_identity_and_an_error_pass_between_processes(case: tuple[str, str]) -> None:
    """What a process pool returns or raises is the same on the other side."""
    identity = check(*case)
    assert identity == pickle.loads(pickle.dumps(identity))
    with pytest.raises(VerificationError) as raised:
        verify(vectors.signature(*case), kind=case[1], document=vectors.document(case[0]).replace(b"t2", b"t3") + b" ")
    error = pickle.loads(pickle.dumps(raised.value))

    assert (str(raised.value), raised.value.reason, raised.value.document) == (str(error), error.reason, error.document)


def test_the_package_names_what_servers_need() -> None:
    """Public names, loaded when first used."""
    names = {"verify", "Identity", "IdentityDocument", "TrustStore", "Policy", "Kind", "Reason"}

    assert names <= set(ec2ident.__all__)
    assert ec2ident.TrustStore is TrustStore


@pytest.mark.parametrize("sent", [5, None, {"rsa2048": 5}])
def test_what_is_not_text_is_malformed_before_a_kind_is_missed(sent: object) -> None:
    """`verify(5)` raises MalformedError, and not TypeError."""
    with pytest.raises(MalformedError, match=f"signature: {type(sent).__name__}"):
        verify(sent)  # type: ignore[arg-type]


def test_a_kind_that_is_missing_is_a_mistake_of_the_program() -> None:
    """The error names the kinds: nothing in a signature says for sure which item it was."""
    with pytest.raises(ValueError, match=r"^kind: missing .*rsa2048, pkcs7, signature"):
        verify("MIAG")
