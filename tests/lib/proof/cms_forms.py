"""CMS objects in every form that BER and RFC 5652 allow, made by keys to throw away, and OpenSSL's word on each.

`Signed` has the parts of an object; a test replaces some before `blob()` puts them together. The signature is always
made over the signed attributes as they then are, so that only the replaced part is unusual.
"""

from __future__ import annotations

import hashlib
import subprocess
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any, Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ec2ident.proof.trust import TrustStore
from ec2ident.testing.signing import NULL, OID_DATA, OID_SIGNED_DATA, VERSION_1, attributes, indefinite, tlv
from tests.lib import forge

HASHES: dict[str, Any] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
OID_HASH = {
    "md5": bytes.fromhex("06082a864886f70d0205"),
    "sha1": bytes.fromhex("06052b0e03021a"),
    "sha224": bytes.fromhex("0609608648016503040204"),
    "sha256": bytes.fromhex("0609608648016503040201"),
    "sha384": bytes.fromhex("0609608648016503040202"),
    "sha512": bytes.fromhex("0609608648016503040203"),
    "sha3-256": bytes.fromhex("0609608648016503040208"),
}
CURVES: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
OID_RSA = bytes.fromhex("06092a864886f70d010101")
OID_RSA_WITH = {
    "sha1": bytes.fromhex("06092a864886f70d010105"),
    "sha256": bytes.fromhex("06092a864886f70d01010b"),
    "sha384": bytes.fromhex("06092a864886f70d01010c"),
    "sha512": bytes.fromhex("06092a864886f70d01010d"),
}
OID_PSS = bytes.fromhex("06092a864886f70d01010a")
OID_MGF1 = bytes.fromhex("06092a864886f70d010108")
OID_DSA_WITH_SHA1 = bytes.fromhex("06072a8648ce380403")
OID_DSA_WITH_SHA256 = bytes.fromhex("0609608648016503040302")
OID_ECDSA_WITH = {
    "sha1": bytes.fromhex("06072a8648ce3d0401"),
    "sha256": bytes.fromhex("06082a8648ce3d040302"),
    "sha384": bytes.fromhex("06082a8648ce3d040303"),
    "sha512": bytes.fromhex("06082a8648ce3d040304"),
}


@cache
def key(name: str) -> Any:
    """A private key: `rsa`, `rsa3072`, `p256`, `p384`, `p521`, `dsa`; with a prime after it (`rsa'`), another one."""
    plain = name.rstrip("'")
    if plain.startswith("rsa"):
        return rsa.generate_private_key(65537, int(plain[3:] or 2048))
    if plain == "dsa":
        return dsa.generate_private_key(1024)
    return ec.generate_private_key(CURVES[plain])


@cache
def certificate(name: str) -> x509.Certificate:
    """The self-signed certificate of a key, with a subject key identifier."""
    private = key(name)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, f"Throw-away {name}")])
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(0x1234)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )


def pem(name: str) -> str:
    return certificate(name).public_bytes(Encoding.PEM).decode()


def trust(*names: str, region: str = "af-south-1", kind: str = "pkcs7") -> TrustStore:
    """Trusts these keys, all of them for one region and kind."""
    store = TrustStore()
    for name in names:
        store = store.with_certificate(pem(name), region=region, kind=kind, beside=True)
    return store


def algorithm(oid: bytes, parameters: bytes = b"", length: Callable[..., bytes] = tlv) -> bytes:
    return length(0x30, oid, parameters)


def pss(hash_name: str, salt: int, mask: str | None = None, trailer: bytes = b"") -> bytes:
    """AlgorithmIdentifier of RSASSA-PSS."""
    hashed = algorithm(OID_HASH[hash_name], NULL)
    masked = algorithm(OID_MGF1, algorithm(OID_HASH[mask or hash_name], NULL))
    number = salt.to_bytes(salt.bit_length() // 8 + 1, "big")
    return algorithm(OID_PSS, tlv(0x30, tlv(0xA0, hashed), tlv(0xA1, masked), tlv(0xA2, tlv(2, number)), trailer))


class Signed:
    """The parts of an object as AWS writes it, each of which a test may replace."""

    def __init__(self, name: str = "rsa", hash_name: str = "sha256", salt: int | None = None) -> None:
        self.name, self.hash_name, self.salt = name, hash_name, salt
        self.content = forge.document()
        #: How outer elements, AlgorithmIdentifiers and signed attributes write their lengths.
        self.length: Callable[..., bytes] = indefinite
        self.inner: Callable[..., bytes] = tlv
        self.around_attributes: Callable[..., bytes] = tlv
        self.digest_algorithm = algorithm(OID_HASH[hash_name], NULL)
        self.signature_algorithm = self._signature_algorithm()
        self.listed: tuple[bytes, ...] | None = None
        self.octets: Callable[[bytes], bytes] = lambda content: indefinite(0x24, tlv(4, content))
        self.inside = True
        self.version = self.signer_version = VERSION_1
        self.content_type = OID_DATA
        issuer, serial = certificate(name).issuer.public_bytes(), certificate(name).serial_number
        self.identifier = tlv(0x30, issuer, tlv(2, serial.to_bytes(2, "big")))
        self.certificates = self.crls = self.unsigned = self.between = self.trailing = b""
        self.protected = False
        self.protection: tuple[bytes, bytes] | None = None
        self.extra: tuple[bytes, ...] = ()
        self.without: bytes | None = None
        self.attributes: tuple[bytes, ...] | None = None
        self.wrap: Callable[[bytes], bytes] = lambda signature: tlv(4, signature)
        self.more_signers: tuple[bytes, ...] = ()

    def _signature_algorithm(self) -> bytes:
        if self.salt is not None:
            return pss(self.hash_name, self.salt)
        if self.name.startswith("rsa"):
            return algorithm(OID_RSA_WITH[self.hash_name], NULL)
        if self.name.startswith("dsa"):
            return algorithm(OID_DSA_WITH_SHA1)
        return algorithm(OID_ECDSA_WITH[self.hash_name])

    def signed_attributes(self) -> tuple[bytes, ...]:
        if self.attributes is not None:
            return self.attributes
        digest = hashlib.new(self.hash_name, self.content).digest()
        protection = self.protection or ((self.digest_algorithm, self.signature_algorithm) if self.protected else None)
        made = (*attributes(digest, forge.SIGNED_AT, protection), *self.extra)
        return tuple(sorted(one for one in made if not self.without or self.without not in one))

    def sign(self, message: bytes) -> bytes:
        private, hashed = key(self.name), HASHES[self.hash_name]()
        if isinstance(private, rsa.RSAPrivateKey):
            how = padding.PKCS1v15() if self.salt is None else padding.PSS(padding.MGF1(hashed), self.salt)
            return private.sign(message, how, hashed)
        if isinstance(private, dsa.DSAPrivateKey):
            return private.sign(message, hashed)
        return bytes(private.sign(message, ec.ECDSA(hashed)))

    def signer(self) -> bytes:
        made = self.signed_attributes()
        return self.inner(
            0x30,
            self.signer_version,
            self.identifier,
            self.digest_algorithm,
            self.around_attributes(0xA0, *made) if made else b"",
            self.signature_algorithm,
            self.wrap(self.sign(tlv(0x31, *made) if made else self.content)),
            self.unsigned,
        )

    def blob(self) -> bytes:
        listed = (self.digest_algorithm,) if self.listed is None else self.listed
        inside = self.length(0xA0, self.octets(self.content)) if self.inside else b""
        signed = self.length(
            0x30,
            self.version,
            self.inner(0x31, *listed),
            self.length(0x30, self.content_type, inside),
            self.certificates,
            self.crls,
            self.between,
            self.inner(0x31, self.signer(), *self.more_signers),
        )
        return self.length(0x30, OID_SIGNED_DATA, self.length(0xA0, signed)) + self.trailing


def openssl_accepts(blob: bytes, names: tuple[str, ...], directory: Path, content: bytes | None = None) -> bool:
    """Whether `openssl cms -verify` accepts the object by these certificates alone, and gives out the same document."""
    (directory / "blob").write_bytes(blob)
    (directory / "certificates").write_text("".join(map(pem, names)))
    command = ["openssl", "cms", "-verify", "-noverify", "-binary", "-nointern", "-inform", "DER", "-in", "blob"]
    if content is not None:
        (directory / "content").write_bytes(content)
        command += ["-content", "content"]
    done = subprocess.run(
        [*command, "-certfile", "certificates", "-out", "out"], cwd=directory, capture_output=True, timeout=60
    )
    return done.returncode == 0
