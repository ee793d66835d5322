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

# The octets around the contents: SEQUENCEs and [0] of indefinite length, and what ends them. They are the same in every
# object seen from 2016 to 2026.
_START = bytes.fromhex("3080 06092a864886f70d010702 a080 3080 020101")  # ContentInfo: signedData; SignedData: version 1
_CONTENT = bytes.fromhex("3080 06092a864886f70d010701 a080")  # EncapsulatedContentInfo: data
_CHUNKS = bytes.fromhex("2480")  # OCTET STRING, constructed
_END_OF_CONTENTS = bytes(2)
_CONTENT_END = _END_OF_CONTENTS * 2
_SIGNED_DATA_END = _END_OF_CONTENTS * 3
_VERSION_1 = bytes.fromhex("020101")

# Types of attributes, as they stand: tag, length, value.
_OID_OCTETS = 11
#: A SET with an empty element, and one with 127 octets after its header.
_SHORTEST_VALUE, _LONGEST_VALUE = 4, 129
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
#: What the content type must be: a SET of one, data.
_ONLY_DATA = bytes.fromhex("310b 06092a864886f70d010701")


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
    #: Contents of CMSAlgorithmProtection (RFC 6211), which names both algorithms again, signed. AWS has it since 2021.
    algorithm_protection: bytes | None
    signature: bytes


def parse(blob: bytes) -> SignedData:
    """The signed data in a ContentInfo. Raises MalformedError where it is anything but AWS's shape."""
    reader = Reader(blob)
    reader.expect(_START, "start of SignedData")
    digest_algorithms = reader.read(ber.SET)
    reader.expect(_CONTENT, "start of the content")
    content = _octets(reader)
    reader.expect(_CONTENT_END, "end of the content")
    if not reader.next_is(ber.SET):
        raise MalformedError("CMS: certificates, CRLs or nothing, where the signers are expected (AWS embeds none)")
    signers = Reader(reader.read(ber.SET))
    reader.expect(_SIGNED_DATA_END, "end of SignedData")
    reader.finish()
    signed = _signer(Reader(signers.read(ber.SEQUENCE)), content)
    if signers.more():
        raise MalformedError("CMS: more than one signer (AWS signs once)")
    if digest_algorithms != signed.digest_algorithm:
        raise MalformedError(
            f"CMS: digest algorithms {digest_algorithms[:64].hex()} (the signer's is {signed.digest_algorithm.hex()})"
        )
    return signed


def _octets(reader: Reader) -> bytes:
    """An OCTET STRING, primitive, or constructed of primitive ones."""
    if reader.next_is(ber.OCTET_STRING):
        return reader.read(ber.OCTET_STRING)
    reader.expect(_CHUNKS, "document")
    content = reader.read(ber.OCTET_STRING)
    while reader.next_is(ber.OCTET_STRING):
        content += reader.read(ber.OCTET_STRING)
    reader.expect(_END_OF_CONTENTS, "end of the document")
    return content


def _signer(reader: Reader, content: bytes) -> SignedData:
    reader.expect(_VERSION_1, "version of the signer")
    # Issuer and serial say which certificate the signer means. Nothing protects them, and the key is chosen by the
    # region in the signed text, so they are not looked at.
    reader.read(ber.SEQUENCE)
    digest_algorithm = reader.read(ber.SEQUENCE, whole=True)
    if not reader.next_is(ber.CONTEXT_0):
        raise MalformedError("CMS: no signed attributes (AWS always has them)")
    # What is signed is the SET OF with its own tag, not the [0] that stands in the object (RFC 5652 5.4).
    signed_attributes = b"\x31" + reader.read(ber.CONTEXT_0, whole=True)[1:]
    signature_algorithm = reader.read(ber.SEQUENCE, whole=True)
    signature = reader.read(ber.OCTET_STRING)
    if reader.more():
        raise MalformedError("CMS: unsigned attributes (AWS has none)")

    attributes = _attributes(signed_attributes)
    content_type = attributes.get(_CONTENT_TYPE)
    if content_type != _ONLY_DATA:
        raise MalformedError(f"CMS: signed content type is {(content_type or b'').hex()} (expected {_ONLY_DATA.hex()})")
    protection = None
    if _ALGORITHM_PROTECTION in attributes:
        protection = _one(attributes, _ALGORITHM_PROTECTION, ber.SEQUENCE)
    return SignedData(
        content=content,
        digest_algorithm=digest_algorithm,
        signature_algorithm=signature_algorithm,
        signed_attributes=signed_attributes,
        message_digest=_one(attributes, _MESSAGE_DIGEST, ber.OCTET_STRING),
        signing_time=_signing_time(attributes),
        algorithm_protection=protection,
        signature=signature,
    )


def _signing_time(attributes: dict[bytes, bytes]) -> datetime:
    """UTCTime, which ends with 2049, or GeneralizedTime (RFC 5652 11.3)."""
    values = attributes.get(_SIGNING_TIME, b"")
    tag = ber.GENERALIZED_TIME if len(values) > 2 and values[2] == ber.GENERALIZED_TIME else ber.UTC_TIME
    return ber.time(tag, _one(attributes, _SIGNING_TIME, tag))


def _attributes(encoded: bytes) -> dict[bytes, bytes]:
    """Type -> values of each attribute that is known here. All in DER order, each once (RFC 5652 5.3, X.690 11.6)."""
    reader = Reader(Reader(encoded).read(ber.SET))
    found = {}
    last = (0, b"")
    while reader.more():
        attribute = reader.read(ber.SEQUENCE)
        oid = attribute[:_OID_OCTETS]
        place = (len(attribute), attribute)
        if oid in found or place <= last:
            raise MalformedError(f"CMS: {_NAMES.get(oid, oid.hex())} is there twice, or out of order (DER sorts them)")
        if oid in _NAMES:
            found[oid] = attribute[_OID_OCTETS:]
        last = place
    return found


def _one(attributes: dict[bytes, bytes], oid: bytes, tag: int) -> bytes:
    """The contents of the one value of an attribute that must be there.

    None is as long as 128 octets, so DER has one way to write them, and it is compared rather than parsed: a SET of one
    element with this tag.
    """
    values = attributes.get(oid, b"")
    size = len(values)
    fits = _SHORTEST_VALUE <= size <= _LONGEST_VALUE and values[1] == size - 2 and values[3] == size - 4
    if not fits or values[0] != ber.SET or values[2] != tag:
        raise MalformedError(f"CMS: {_NAMES[oid]} is {values[:32].hex() or 'missing'} (expected one value)")
    return values[4:]
