"""CMS SignedData (RFC 5652) by its structure, in BER or DER: what one signer signed, and how.

Read is what decides: the content, the signer's algorithms, its signed attributes, its signature. Skipped is what no
signature protects, and therefore nothing may rely on: versions, certificates, CRLs, the signer's name, unsigned
attributes. docs/attestation.md has the table of both.
"""

from __future__ import annotations

from ec2ident.errors import MalformedError
from ec2ident.value import Value, made

from . import algorithms, ber, layout
from .ber import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from .algorithms import Algorithm
    from .layout import Place

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_DATA = bytes.fromhex("2a864886f70d010701")

# Types of attributes, as they stand: tag, length, value.
_OID_OCTETS = 11
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_SIGNING_TIME = bytes.fromhex("06092a864886f70d010905")
_ALGORITHM_PROTECTION = bytes.fromhex("06092a864886f70d010934")
_NAMES = {
    _CONTENT_TYPE: "content type",
    _MESSAGE_DIGEST: "message digest",
    _SIGNING_TIME: "signing time",
    _ALGORITHM_PROTECTION: "algorithm protection",
}

# SignerIdentifier: issuerAndSerialNumber, or [0] subjectKeyIdentifier, whole or in pieces.
_SIGNER_IDENTIFIERS = (ber.SEQUENCE, 0x80, ber.CONTEXT_0)


class SignedData(Value):
    """What a signer signed and how, as it stands in the object: parsed, nothing verified."""

    #: None where the content is not inside (a detached signature).
    content: bytes | None
    digest_algorithm: Algorithm
    signature_algorithm: Algorithm
    #: The bytes that the signature covers: the signed attributes as a SET, in DER (RFC 5652 5.4).
    signed_attributes: bytes
    message_digest: bytes
    #: Aware, UTC; None where it is absent, or written in a form that this version does not know.
    signing_time: datetime | None
    #: Digest and signature algorithm as CMSAlgorithmProtection (RFC 6211) repeats them, signed; None without it.
    algorithm_protection: tuple[Algorithm, Algorithm] | None
    signature: bytes


def parse(blob: bytes) -> SignedData:
    """The signed data in a ContentInfo. Raises MalformedError where it is damaged or not understood by this version."""
    fields = layout.read(blob)
    return walk(blob) if fields is None else made(SignedData, fields)


def walk(blob: bytes) -> SignedData:
    """Like `parse`, but element by element; `parse` compares an object with earlier ones of the same layout."""
    reader = Reader(blob)
    places: dict[str, Place] = {}
    reader.enter(ber.SEQUENCE)  # ContentInfo
    _expect_type(reader, _SIGNED_DATA, "SignedData")
    reader.enter(ber.CONTEXT_0)
    reader.enter(ber.SEQUENCE)  # SignedData
    reader.read(ber.INTEGER)  # version
    reader.enter(ber.SET)  # digestAlgorithms
    listed = []
    while reader.more():
        listed.append(algorithms.read(reader))
    reader.leave()
    content = _content(reader, places)
    for tag in (ber.CONTEXT_0, ber.CONTEXT_1):  # certificates, crls
        if reader.next_is(tag):
            reader.skip()
    reader.enter(ber.SET)  # signerInfos
    if not reader.more():
        raise MalformedError("CMS: no signer")
    signed = _signer(reader, content, places)
    if reader.more():
        raise MalformedError("CMS: more than one signer is not understood by this version (AWS signs once)")
    for _ in range(4):
        reader.leave()
    reader.finish()
    if signed.digest_algorithm not in listed:
        raise MalformedError(
            f"CMS: the signer's digest algorithm {algorithms.dotted(signed.digest_algorithm[0])} is not listed among "
            f"{[algorithms.dotted(oid) for oid, _ in listed[:4]]}"
        )
    layout.remember(blob, signed.__dict__, places)
    return signed


def _expect_type(reader: Reader, oid: bytes, what: str) -> None:
    found = reader.read(ber.OID)
    if found != oid:
        raise MalformedError(
            f"CMS: content of type {algorithms.dotted(found)} ({what}, {algorithms.dotted(oid)}, is expected)"
        )


def _content(reader: Reader, places: dict[str, Place]) -> bytes | None:
    """EncapsulatedContentInfo: the document, where it is inside."""
    content = None
    reader.enter(ber.SEQUENCE)
    _expect_type(reader, _DATA, "data")
    if reader.more():
        reader.enter(ber.CONTEXT_0)
        start = reader.at
        content = reader.octets()
        if reader.endless:
            places["content"] = start, reader.at
        reader.leave()
    reader.leave()
    return content


def _signer(reader: Reader, content: bytes | None, places: dict[str, Place]) -> SignedData:
    reader.enter(ber.SEQUENCE)  # SignerInfo
    reader.read(ber.INTEGER)  # version
    if not any(map(reader.next_is, _SIGNER_IDENTIFIERS)):
        raise MalformedError("CMS: the signer's identifier has a form that is not understood by this version")
    # It says which certificate the signer means. Nothing protects it, and the signed region chooses the key.
    start = reader.at
    reader.skip()
    places["identifier"] = start, reader.at
    digest_algorithm = algorithms.read(reader)
    if not reader.next_is(ber.CONTEXT_0):
        raise MalformedError("CMS: no signed attributes is a form that is not understood by this version")
    start = reader.at
    attributes = reader.contents(ber.CONTEXT_0)
    places["attributes"] = start, reader.at
    signature_algorithm = algorithms.read(reader)
    start = reader.at
    signature = reader.octets()
    places["signature"] = start, reader.at
    if reader.next_is(ber.CONTEXT_1):  # unsignedAttrs
        reader.skip()
    reader.leave()

    found = _attributes(attributes, places)
    content_type = _value(found, _CONTENT_TYPE, ber.OID)
    if content_type != _DATA:
        raise MalformedError(f"CMS: signed content type is {algorithms.dotted(content_type)} (the content's is data)")
    return SignedData(
        content=content,
        digest_algorithm=digest_algorithm,
        signature_algorithm=signature_algorithm,
        # What is signed is the SET OF with its own tag, not the [0] that stands in the object (RFC 5652 5.4).
        signed_attributes=ber.element(ber.SET, attributes),
        message_digest=_value(found, _MESSAGE_DIGEST, ber.OCTET_STRING),
        signing_time=_signing_time(found),
        algorithm_protection=_protection(found),
        signature=signature,
    )


def _attributes(contents: bytes, places: dict[str, Place]) -> dict[bytes, bytes]:
    """Type -> values of each attribute that is known here, each once. Signed attributes are DER (RFC 5652 5.3)."""
    reader = Reader(contents, der=True)
    found: dict[bytes, bytes] = {}
    while reader.more():
        attribute = reader.read(ber.SEQUENCE)
        oid = attribute[:_OID_OCTETS]
        if oid in found:
            raise MalformedError(f"CMS: {_NAMES[oid]} is there twice")
        if oid in _NAMES:
            found[oid] = attribute[_OID_OCTETS:]
            to_the_end = len(contents) - reader.at
            places[_NAMES[oid]] = to_the_end + len(found[oid]), to_the_end
    return found


def _value(attributes: dict[bytes, bytes], oid: bytes, tag: int) -> bytes:
    """The contents of the one value of an attribute that must be there: a SET of one element with this tag."""
    if oid not in attributes:
        raise MalformedError(f"CMS: {_NAMES[oid]} is missing among the signed attributes")
    reader = Reader(attributes[oid], der=True)
    reader.enter(ber.SET)
    value = reader.read(tag)
    reader.leave()
    reader.finish()
    return value


def _signing_time(attributes: dict[bytes, bytes]) -> datetime | None:
    """UTCTime, which ends with 2049, or GeneralizedTime (RFC 5652 11.3). A time decides nothing here, so any may be."""
    for tag in (ber.UTC_TIME, ber.GENERALIZED_TIME):
        try:
            return ber.time(tag, _value(attributes, _SIGNING_TIME, tag))
        except MalformedError:
            continue
    return None


def _protection(attributes: dict[bytes, bytes]) -> tuple[Algorithm, Algorithm] | None:
    if _ALGORITHM_PROTECTION not in attributes:
        return None
    reader = Reader(_value(attributes, _ALGORITHM_PROTECTION, ber.SEQUENCE), der=True)
    found = algorithms.read(reader), algorithms.read(reader, ber.CONTEXT_1)
    reader.finish()
    return found
