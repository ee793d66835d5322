"""An authority to throw away: keys of AWS's three types, and signatures in AWS's exact wire form.

The structures are built by hand, because no library writes this mixture of definite and indefinite lengths. The parts
(`tlv`, `indefinite`, `signer_info`, `signed_data`) are for tests that need one piece to be wrong.
"""

from __future__ import annotations

import hashlib
from base64 import encodebytes
from datetime import datetime, timedelta, timezone
from os import urandom

from ec2ident.model import Kind
from ec2ident.proof.trust import TrustStore
from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

OID_DATA = bytes.fromhex("06092a864886f70d010701")
OID_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
OID_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
OID_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
OID_SIGNING_TIME = bytes.fromhex("06092a864886f70d010905")
OID_ALGORITHM_PROTECTION = bytes.fromhex("06092a864886f70d010934")
OID_DIGEST = {"sha1": bytes.fromhex("06052b0e03021a"), "sha256": bytes.fromhex("0609608648016503040201")}
OID_DSA_WITH_SHA1 = bytes.fromhex("06072a8648ce380403")
OID_SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
NULL = b"\x05\0"
VERSION_1 = b"\x02\x01\x01"
#: Issuer and subject of most of AWS's certificates, by the last arc of 2.5.4.x (X.520).
SUBJECT = {6: "US", 8: "Washington State", 7: "Seattle", 10: "Amazon Web Services LLC"}


class Form(Value):
    """How AWS's writing has varied over the years; the default is that of 2021 and after."""

    #: eContent as one primitive OCTET STRING (seen in 2023), instead of a constructed one around it.
    primitive: bool = False
    #: The digest's AlgorithmIdentifier with NULL parameters; rsa2048 has none since 2026.
    null: bool = True
    #: The attribute CMSAlgorithmProtection (RFC 6211); absent until 2021.
    protected: bool = True


TODAY = Form()


class Authority:
    """Signs documents as AWS does, with its own keys, trusted only through `trust`. Made keys stay in memory.

    `china` makes the pkcs7 key RSA-2048, as in the partition aws-cn; elsewhere it is DSA-1024.
    """

    def __init__(self, *, china: bool = False) -> None:
        self.china = china
        self._keys: dict[Kind, RSAPrivateKey | DSAPrivateKey] = {}
        self._certificates: dict[Kind, Certificate] = {}

    def sign(self, document: bytes, kind: Kind | str, signed_at: datetime, form: Form = TODAY) -> str:
        """What the metadata service returns for this kind: base64 in 76 columns, without a final newline.

        `signed_at` is aware; the kind `signature` does not carry it.
        """
        kind = Kind(kind)
        blob = (
            self.raw_signature(kind, document) if kind is Kind.SIGNATURE else self._cms(document, kind, signed_at, form)
        )
        return wire(blob)

    def certificate(self, kind: Kind | str) -> str:
        """The self-signed certificate (PEM) of the key that signs this kind."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return self._certificate(Kind(kind)).public_bytes(Encoding.PEM).decode()

    def trust(self, region: str, partition: str | None = None) -> TrustStore:
        """A store that trusts only this authority, for all three kinds in this region."""
        store = TrustStore()
        for kind in Kind:
            store = store.with_certificate(self.certificate(kind), region=region, kind=kind, partition=partition)
        return store

    def raw_signature(self, kind: Kind, message: bytes) -> bytes:
        """The signature alone, over these bytes, with the key and the algorithms of this kind."""
        from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA1, SHA256

        key = self._key(kind)
        if isinstance(key, DSAPrivateKey):
            return key.sign(message, SHA1())  # noqa: S303  what AWS does
        return key.sign(message, PKCS1v15(), SHA256())

    def algorithms(self, kind: Kind, form: Form = TODAY) -> tuple[str, bytes, bytes]:
        """Of a kind: the digest's name, its AlgorithmIdentifier, and the signature's."""
        if kind is Kind.PKCS7 and not self.china:
            digest, signature = "sha1", tlv(0x30, OID_DSA_WITH_SHA1)
        else:
            digest, signature = "sha256", tlv(0x30, OID_SHA256_WITH_RSA, NULL)
        return digest, tlv(0x30, OID_DIGEST[digest], NULL if form.null else b""), signature

    def _cms(self, document: bytes, kind: Kind, signed_at: datetime, form: Form) -> bytes:
        digest, digest_algorithm, signature_algorithm = self.algorithms(kind, form)
        signed = attributes(
            hashlib.new(digest, document).digest(),
            signed_at,
            (digest_algorithm, signature_algorithm) if form.protected else None,
        )
        signature = self.raw_signature(kind, tlv(0x31, *signed))
        signer = signer_info(self.issuer_and_serial(kind), digest_algorithm, signed, signature_algorithm, signature)
        return signed_data(document, (signer,), digest_algorithm, primitive=form.primitive)

    def issuer_and_serial(self, kind: Kind) -> bytes:
        """IssuerAndSerialNumber of the certificate; AWS names the signer so, though nothing protects it."""
        serial = self._certificate(kind).serial_number.to_bytes(9, "big")
        names = (
            tlv(0x31, tlv(0x30, bytes((0x06, 3, 0x55, 4, attribute)), tlv(0x13, text.encode())))
            for attribute, text in SUBJECT.items()
        )
        return tlv(0x30, tlv(0x30, *names), tlv(0x02, serial))

    def _certificate(self, kind: Kind) -> Certificate:
        if kind not in self._certificates:
            self._certificates[kind] = _self_signed(self._key(kind))
        return self._certificates[kind]

    def _key(self, kind: Kind) -> RSAPrivateKey | DSAPrivateKey:
        from cryptography.hazmat.primitives.asymmetric import dsa, rsa

        if kind not in self._keys:
            if kind is Kind.PKCS7 and not self.china:
                self._keys[kind] = dsa.generate_private_key(1024)  # noqa: S505  the size that AWS uses
            else:
                self._keys[kind] = rsa.generate_private_key(65537, 1024 if kind is Kind.SIGNATURE else 2048)
        return self._keys[kind]


def wire(blob: bytes) -> str:
    """Base64 as the metadata service writes it: lines of 76 columns, no newline at the end."""
    return encodebytes(blob).decode().rstrip("\n")


def tlv(tag: int, *contents: bytes) -> bytes:
    """One element of definite length, in as few length octets as it takes (X.690 10.1)."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def indefinite(tag: int, *contents: bytes) -> bytes:
    """One constructed element of indefinite length."""
    return bytes((tag, 0x80)) + b"".join(contents) + b"\0\0"


def attribute(oid: bytes, *values: bytes) -> bytes:
    """Attribute ::= SEQUENCE { type, values SET } (RFC 5652 5.3)."""
    return tlv(0x30, oid, tlv(0x31, *values))


def attributes(
    message_digest: bytes, signed_at: datetime, algorithms: tuple[bytes, bytes] | None = None
) -> tuple[bytes, ...]:
    """The signed attributes, in DER order; with `algorithms` (digest, signature) CMSAlgorithmProtection among them."""
    made = [
        attribute(OID_CONTENT_TYPE, OID_DATA),
        attribute(OID_SIGNING_TIME, _time(signed_at.astimezone(timezone.utc))),
        attribute(OID_MESSAGE_DIGEST, tlv(0x04, message_digest)),
    ]
    if algorithms:
        digest, signature = algorithms
        made.append(attribute(OID_ALGORITHM_PROTECTION, tlv(0x30, digest, b"\xa1" + signature[1:])))
    return tuple(sorted(made))


def _time(moment: datetime) -> bytes:
    """UTCTime, which ends with 2049, or GeneralizedTime (RFC 5652 11.3)."""
    text = moment.strftime("%Y%m%d%H%M%SZ").encode()
    return tlv(0x17, text[2:]) if 1950 <= moment.year < 2050 else tlv(0x18, text)


def signer_info(
    issuer_and_serial: bytes,
    digest_algorithm: bytes,
    signed_attributes: tuple[bytes, ...],
    signature_algorithm: bytes,
    signature: bytes,
    unsigned: bytes = b"",
) -> bytes:
    """SignerInfo (RFC 5652 5.3); `unsigned` is appended as it is."""
    return tlv(
        0x30,
        VERSION_1,
        issuer_and_serial,
        digest_algorithm,
        tlv(0xA0, *signed_attributes),
        signature_algorithm,
        tlv(0x04, signature),
        unsigned,
    )


def signed_data(
    document: bytes,
    signer_infos: tuple[bytes, ...],
    digest_algorithm: bytes,
    *,
    primitive: bool = False,
    certificates: bytes = b"",
) -> bytes:
    """ContentInfo with SignedData (RFC 5652 5.1), indefinite where AWS is; `certificates` goes in as it is."""
    octets = tlv(0x04, document) if primitive else indefinite(0x24, tlv(0x04, document))
    return indefinite(
        0x30,
        OID_SIGNED_DATA,
        indefinite(
            0xA0,
            indefinite(
                0x30,
                VERSION_1,
                tlv(0x31, digest_algorithm),
                indefinite(0x30, OID_DATA, indefinite(0xA0, octets)),
                certificates,
                tlv(0x31, *signer_infos),
            ),
        ),
    )


def _self_signed(key: RSAPrivateKey | DSAPrivateKey) -> Certificate:
    """A certificate with the subject that AWS's have, so that every length on the wire is the same."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    oids = {attribute: x509.ObjectIdentifier(f"2.5.4.{attribute}") for attribute in SUBJECT}
    name = x509.Name([x509.NameAttribute(oids[attribute], text) for attribute, text in SUBJECT.items()])
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(b"\x80" + urandom(7), "big"))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, SHA256())
    )
