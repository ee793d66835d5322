"""The one shape of CMS SignedData (RFC 5652) that AWS sends, and nothing else.

One signer, the content attached, signed attributes, no certificates, no CRLs, no unsigned attributes. Whatever has
another shape is refused rather than understood: each thing that nobody checks is a way to be fooled.
"""

from __future__ import annotations

from . import ber
from .ber import Reader
from .errors import MalformedError
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Callable, TypeVar

    T = TypeVar("T")

# As they stand in the object, tag and length included.
_VERSION_1 = b"\x02\x01\x01"
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_DATA = bytes.fromhex("06092a864886f70d010701")

# Types of attributes.
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_SIGNING_TIME = bytes.fromhex("2a864886f70d010905")
_ALGORITHM_PROTECTION = bytes.fromhex("2a864886f70d010934")
_NAMES = {
    _CONTENT_TYPE: "content type",
    _MESSAGE_DIGEST: "message digest",
    _SIGNING_TIME: "signing time",
    _ALGORITHM_PROTECTION: "algorithm protection",
}


class SignedData(Value):
    """What a signer signed and how, as it stands in the object: parsed, nothing verified."""

    content: bytes
    #: AlgorithmIdentifier, DER.
    digest_algorithm: bytes
    #: AlgorithmIdentifier, DER.
    signature_algorithm: bytes
    #: The bytes that the signature covers: the signed attributes as a SET (RFC 5652 5.4).
    signed_attributes: bytes
    message_digest: bytes
    signing_time: datetime
    #: CMSAlgorithmProtection (RFC 6211): the two algorithms once more, but signed. AWS has it since 2021.
    algorithm_protection: tuple[bytes, bytes] | None
    signature: bytes


def parse(blob: bytes) -> SignedData:
    """The signed data in a ContentInfo. Raises MalformedError where it is anything but AWS's shape."""
    reader = Reader(blob)
    reader.open(ber.SEQUENCE, _SIGNED_DATA)  # ContentInfo
    reader.open(ber.CONTEXT_0)
    reader.open(ber.SEQUENCE, _VERSION_1)  # SignedData
    digest_algorithms = reader.read(ber.SET)
    content = _encapsulated(reader)
    if reader.next_is(ber.CONTEXT_0) or reader.next_is(ber.CONTEXT_1):
        raise MalformedError("CMS: certificates or CRLs are embedded (AWS embeds none, and none would be trusted)")
    reader.open(ber.SET)
    signed = _signer(reader, content)
    if reader.more():
        raise MalformedError("CMS: more than one signer (AWS signs once)")
    for _ in ("signers", "SignedData", "[0]", "ContentInfo"):
        reader.close()
    reader.finish()
    if digest_algorithms != signed.digest_algorithm:
        raise MalformedError(
            f"CMS: digest algorithms {digest_algorithms.hex()} (the signer's is {signed.digest_algorithm.hex()})"
        )
    return signed


def _encapsulated(reader: Reader) -> bytes:
    """EncapsulatedContentInfo: the document, in an OCTET STRING that is primitive or made of primitive ones."""
    reader.open(ber.SEQUENCE, _DATA)
    reader.open(ber.CONTEXT_0)
    if reader.next_is(ber.OCTET_STRING):
        content = reader.read(ber.OCTET_STRING)
    else:
        reader.open(ber.CONSTRUCTED_OCTET_STRING)
        content = reader.read(ber.OCTET_STRING)
        while reader.more():
            content += reader.read(ber.OCTET_STRING)
        reader.close()
    reader.close()
    reader.close()
    return content


def _signer(reader: Reader, content: bytes) -> SignedData:
    reader.open(ber.SEQUENCE, _VERSION_1)
    # Issuer and serial say which certificate the signer means. Nothing protects them, and the key is chosen by the
    # region in the signed text, so they are not looked at.
    reader.read(ber.SEQUENCE)
    digest_algorithm = reader.read(ber.SEQUENCE, whole=True)
    if not reader.next_is(ber.CONTEXT_0):
        raise MalformedError("CMS: no signed attributes (AWS always has them)")
    signed_attributes = reader.read(ber.CONTEXT_0, whole=True)
    signature_algorithm = reader.read(ber.SEQUENCE, whole=True)
    signature = reader.read(ber.OCTET_STRING)
    if reader.more():
        raise MalformedError("CMS: unsigned attributes (AWS has none)")
    reader.close()

    attributes = _attributes(signed_attributes)
    if attributes.get(_CONTENT_TYPE) != _DATA:
        raise MalformedError(f"CMS: signed content type is {attributes.get(_CONTENT_TYPE)!r} (expected {_DATA!r})")
    protected = _ALGORITHM_PROTECTION in attributes
    return SignedData(
        content=content,
        digest_algorithm=digest_algorithm,
        signature_algorithm=signature_algorithm,
        # Signed is the SET OF with its own tag, not the [0] that stands in the object (RFC 5652 5.4).
        signed_attributes=b"\x31" + signed_attributes[1:],
        message_digest=_one(attributes, _MESSAGE_DIGEST, _octets),
        signing_time=_one(attributes, _SIGNING_TIME, ber.time),
        algorithm_protection=_one(attributes, _ALGORITHM_PROTECTION, _protection) if protected else None,
        signature=signature,
    )


def _attributes(encoded: bytes) -> dict[bytes, bytes]:
    """Attribute type -> what its SET of values holds. In DER order, each type once (RFC 5652 5.3, 11)."""
    reader = Reader(encoded)
    reader.open(ber.CONTEXT_0)
    found: dict[bytes, bytes] = {}
    last = b""
    while reader.more():
        start = reader.at
        reader.open(ber.SEQUENCE)
        oid, value = reader.read(ber.OID), reader.read(ber.SET)
        reader.close()
        attribute = encoded[start : reader.at]
        if oid in found or attribute < last:
            raise MalformedError(f"CMS: {_NAMES.get(oid, oid.hex())} is there twice, or out of order (DER sorts them)")
        found[oid] = value
        last = attribute
    return found


def _one(attributes: dict[bytes, bytes], oid: bytes, read: Callable[[Reader], T]) -> T:
    """The one value of an attribute that must be there."""
    if oid not in attributes:
        raise MalformedError(f"CMS: no {_NAMES[oid]} among the signed attributes")
    reader = Reader(attributes[oid])
    value = read(reader)
    reader.finish()
    return value


def _octets(reader: Reader) -> bytes:
    return reader.read(ber.OCTET_STRING)


def _protection(reader: Reader) -> tuple[bytes, bytes]:
    reader.open(ber.SEQUENCE)
    digest, signature = reader.read(ber.SEQUENCE, whole=True), reader.read(ber.CONTEXT_1, whole=True)
    reader.close()
    # Here an implicit tag stands where the AlgorithmIdentifier has that of a SEQUENCE.
    return digest, b"\x30" + signature[1:]
