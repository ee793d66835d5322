"""The proof that AWS signed a document: `verify` raises, or returns what was proven.

The module is not called verify: the package's attribute `ec2ident.verify` is the function, and importing a module of
that name would silently put the module in its place.

The proof, step by step; the numbers stand at each block below.

(1) The text is strict base64 of sensible size.
(2) The kinds `rsa2048` and `pkcs7`: the bytes are CMS of exactly AWS's shape, with the document inside.
(3) A document that came separately is, byte for byte, the one that is signed.
(4) The signed bytes parse as an identity document; nothing else says which region it is from.
(5) The key is the one pinned for that region and this kind; what the signature claims about its signer does not count.
(6) The algorithms are those that AWS uses with this type of key, and where they were signed too, the same.
(7) The signed digest is that of the document.
(8) The signature over the signed attributes (`signature`: over the document itself) verifies with the key.

What is left to the caller: that the document is fresh, and that it belongs to whoever sent it (`ec2ident.Policy`, and
docs/attestation.md). A copied document verifies for ever.
"""

from __future__ import annotations

from base64 import b64decode

from . import cms
from . import document as documents
from .cms import SignedData
from .errors import MalformedError, VerificationError
from .model import Identity, Kind, Reason
from .trust import TrustStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from .model import IdentityDocument
    from .trust import TrustedKey

#: Characters of base64; real ones have 172 to 1511.
LARGEST = 16 * 1024
_WHITE_SPACE = b" \t\n\v\f\r"

_SHA1 = bytes.fromhex("06052b0e03021a")
_SHA256 = bytes.fromhex("0609608648016503040201")
_DSA_WITH_SHA1 = bytes.fromhex("06072a8648ce380403")
_RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d010101")
_SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")


def _identifiers(oid: bytes, *, null: tuple[bytes, ...] = (b"", b"\x05\0")) -> set[bytes]:
    """AlgorithmIdentifiers (DER) of an algorithm without parameters: AWS wrote NULL until 2026, now also nothing."""
    return {bytes((0x30, len(oid + end))) + oid + end for end in null}


#: What AWS signs with, by type of key: the AlgorithmIdentifiers of the digest and of the signature.
_ALGORITHMS = {
    "RSA": (_identifiers(_SHA256), _identifiers(_RSA_ENCRYPTION) | _identifiers(_SHA256_WITH_RSA)),
    # dsa-with-sha1 never has parameters (RFC 3279 2.2.2).
    "DSA": (_identifiers(_SHA1), _identifiers(_DSA_WITH_SHA1, null=(b"",))),
}


def verify(
    signature: str | bytes,
    *,
    kind: Kind | str,
    document: str | bytes | None = None,
    trust: TrustStore | None = None,
) -> Identity:
    """Prove that AWS signed an identity document, offline.

    `signature` is the text that the metadata service returned for `kind`; white space in it does not matter. `document`
    is what it returned for `document`, byte for byte: needed for the kind `signature`, compared for the others, which
    carry it. `trust` defaults to AWS's published keys.

    Raises MalformedError (not such a text, or not such a document), VerificationError (with `.reason`: not signed by
    AWS, or not this), UnverifiableError (no key is known for the region that the document names: neither yes nor no).

    A blob is no name for an identity: parts of it are not signed, so the same document can come in many.
    """
    kind = Kind(kind)
    trust = TrustStore.bundled() if trust is None else trust

    # (1) Strict base64 of sensible size.
    blob = _decode(signature)

    # (2) CMS of exactly AWS's shape, with the document inside.
    signed = None if kind is Kind.SIGNATURE else cms.parse(blob)

    # (3) A document that came separately is the one that is signed.
    raw = _signed_bytes(signed, document)

    # (4) The signed bytes are an identity document, and name the region.
    parsed = documents.parse(raw)

    # (5) The key that is pinned for that region and this kind.
    trusted = trust.key_for(parsed.region, kind)

    if signed:
        # (6) The algorithms are AWS's for this key, and what is signed about them agrees.
        _check_algorithms(signed, trusted)

        # (7) The signed digest is that of the document.
        _check_digest(signed, trusted)

        # (8) The signature over the signed attributes.
        _check_signature(trust, trusted, signed.signature, signed.signed_attributes)
    else:
        # (8) The signature over the document itself.
        _check_signature(trust, trusted, blob, raw)

    signed_at = signed.signing_time if signed else None
    return Identity._proven(
        document=parsed,
        kind=kind,
        legacy=trusted.key.legacy,
        region=trusted.region,
        partition=trusted.partition,
        signed_at=signed_at,
        key_sha256=trusted.key.sha256,
        warnings=_warnings(parsed, trusted, signed_at),
    )


def _decode(signature: str | bytes) -> bytes:
    text = _as_bytes("signature", signature)
    if len(text) > LARGEST:
        raise MalformedError(f"signature: {len(text)} characters (at most {LARGEST})")
    try:
        blob = _strict_base64(text)
    except ValueError as error:
        raise MalformedError(f"signature: not base64 ({error})") from error
    if not blob:
        raise MalformedError("signature: empty (base64 is expected)")
    return blob


def _strict_base64(text: bytes) -> bytes:
    """Raises ValueError. The metadata service breaks lines with a line feed; other white space is rarely looked for."""
    try:
        return b64decode(text.replace(b"\n", b""), validate=True)
    except ValueError:
        return b64decode(text.translate(None, _WHITE_SPACE), validate=True)


def _signed_bytes(signed: SignedData | None, document: str | bytes | None) -> bytes:
    given = None if document is None else _as_bytes("document", document)
    if signed is None:
        if given is None:
            raise ValueError("document: needed for the kind signature, which does not carry it")
        return given
    if given is not None and given != signed.content:
        raise VerificationError(
            f"document: {len(given)} bytes, differs from byte {_first_difference(given, signed.content)} on "
            f"(signed are {len(signed.content)} bytes); fetch both again and keep every byte, also of white space",
            Reason.DOCUMENT_DIFFERS,
        )
    return signed.content


def _check_algorithms(signed: SignedData, trusted: TrustedKey) -> None:
    digests, signatures = _ALGORITHMS[trusted.key.type]
    if signed.digest_algorithm not in digests:
        raise _wrong_algorithm("digest algorithm", signed.digest_algorithm, digests, trusted)
    if signed.signature_algorithm not in signatures:
        raise _wrong_algorithm("signature algorithm", signed.signature_algorithm, signatures, trusted)
    # RFC 6211: the same identifiers, the signature's with the tag [1] in place of its own.
    used = signed.digest_algorithm + b"\xa1" + signed.signature_algorithm[1:]
    if signed.algorithm_protection not in (None, used):
        raise VerificationError(
            f"algorithm protection: {(signed.algorithm_protection or b'').hex()} is signed ({used.hex()} is used)",
            Reason.WRONG_ALGORITHM,
        )


def _wrong_algorithm(what: str, found: bytes, allowed: set[bytes], trusted: TrustedKey) -> VerificationError:
    return VerificationError(
        f"{what}: {found[:32].hex()} ({trusted.region} signs {trusted.kind} with {trusted.key}: "
        f"{' or '.join(sorted(identifier.hex() for identifier in allowed))})",
        Reason.WRONG_ALGORITHM,
    )


def _check_digest(signed: SignedData, trusted: TrustedKey) -> None:
    digest = trusted.key.hash(signed.content).digest()
    if signed.message_digest != digest:
        raise VerificationError(
            f"digest: signed is {signed.message_digest[:64].hex()} (the document has {digest.hex()})",
            Reason.WRONG_DIGEST,
        )


def _check_signature(trust: TrustStore, trusted: TrustedKey, signature: bytes, message: bytes) -> None:
    if trusted.key.verifies(signature, message):
        return
    for region in trust.regions(trusted.kind):
        other = trust.key_for(region, trusted.kind)
        if other.key != trusted.key and other.key.type == trusted.key.type and other.key.verifies(signature, message):
            raise VerificationError(
                f"region: signed by {region}'s key (document says {trusted.region})", Reason.WRONG_KEY
            )
    raise VerificationError(
        f"signature: {len(signature)} bytes that are not {trusted.region}'s signature of this document "
        f"({trusted.key}, key {trusted.key.sha256[:16]})",
        Reason.WRONG_SIGNATURE,
    )


def _warnings(document: IdentityDocument, trusted: TrustedKey, signed_at: datetime | None) -> tuple[str, ...]:
    when = signed_at or document.pending_time
    found = []
    if trusted.key.legacy:
        found.append(f"{trusted.key} is below today's strength limits; rsa2048 is not")
    if len(trusted.shared_by) > 1:
        found.append(f"the region rests on the document: {len(trusted.shared_by)} regions share this key")
    if when > trusted.not_after:
        found.append(
            f"signed on {when:%Y-%m-%d}, after the certificate of this key ended ({trusted.not_after:%Y-%m-%d}); "
            "AWS has renewed certificates on the same key so far: see whether a newer ec2ident knows the new one"
        )
    return tuple(found)


def _as_bytes(what: str, value: str | bytes) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise MalformedError(f"{what}: not text that can be encoded ({error})") from error
    if not isinstance(value, bytes):
        # What a client sent, such as a number in a JSON body, ends here too: it is malformed, not a bug of the server.
        raise MalformedError(f"{what}: {type(value).__name__} (text or bytes are expected)")
    return value


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = zip(one, other)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
