"""Whose signatures count: one public key for each region and kind, with its provenance.

AWS publishes a certificate for each cell ("AWS public certificates for instance identity document signatures", EC2 User
Guide). They are self-signed, expire, and were renewed many times on the same key; nothing in them names a region. So
the certificate only carries the key: what is trusted is the SubjectPublicKeyInfo, pinned by its SHA-256 in
`certificates/index.tsv`, and an expired certificate is a warning.
"""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha1, sha256
from pkgutil import get_data

from . import ber, standin
from .errors import MalformedError, UnverifiableError
from .model import Kind
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Callable

#: What AWS signs with each type of key: RSASSA-PKCS1-v1_5 with SHA-256, or DSA with SHA-1.
_HASHES = {"RSA": sha256, "DSA": sha1}
#: Keys of fewer bits are below today's limits (NIST SP 800-131A).
_STRONG = 2048
_LARGEST_CERTIFICATE = 16 * 1024


class PublicKey:
    """A public key as AWS signs with it. Raises MalformedError where the bytes are no RSA or DSA key."""

    __slots__ = ("bits", "hash", "legacy", "sha256", "spki", "type", "verifies")

    def __init__(self, spki: bytes) -> None:
        #: SubjectPublicKeyInfo, DER.
        self.spki = spki
        #: SHA-256 of it, in hex.
        self.sha256 = sha256(spki).hexdigest()
        #: `RSA` or `DSA`.
        self.type: str
        self.bits: int
        #: Whether this key made a signature (first argument) of a message (second). For `ec2ident.verify`; raises
        #: UnverifiableError where the installed OpenSSL refuses the algorithm, as some do DSA and SHA-1.
        self.verifies: Callable[[bytes, bytes], bool]
        self.type, self.bits, self.verifies = _open_key(spki)
        #: The hash that AWS signs with: the key's type decides, never the message.
        self.hash = _HASHES[self.type]
        #: Below today's limits.
        self.legacy = self.bits < _STRONG

    def __str__(self) -> str:
        return f"{self.type}-{self.bits}"

    def __repr__(self) -> str:
        return f"PublicKey({self.sha256})"

    def __eq__(self, other: object) -> bool:
        return self.spki == other.spki if isinstance(other, PublicKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.spki)


class TrustedKey(Value):
    """The key that a region signs one kind with, and where we know it from."""

    partition: str
    region: str
    kind: Kind
    key: PublicKey
    #: SHA-256 of the certificate (DER) that carried the key, in hex.
    certificate_sha256: str
    #: The certificate's validity, aware, UTC. AWS renews certificates on the same key: the end is no end of trust.
    not_before: datetime
    not_after: datetime
    #: All regions for which the same key signs this kind; with more than one, the region rests on the signed text.
    shared_by: tuple[str, ...]
    #: Where exactly this certificate was published.
    sources: tuple[str, ...]


class TrustStore:
    """The public keys to trust, by region and kind. Never changes; `TrustStore()` trusts nothing."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}
        self._keys: dict[tuple[str, str], TrustedKey] = {}
        self._public_keys: dict[str, PublicKey] = {}

    @classmethod
    def bundled(cls) -> TrustStore:
        """The keys that come with this package: all that AWS publishes. One store for the process."""
        global _bundled
        if standin.trust is not None:
            return standin.trust()
        if _bundled is None:
            _bundled = cls()
            _bundled._rows = _read_index()
        return _bundled

    def with_certificate(
        self, pem: str | bytes, *, region: str, kind: Kind | str, partition: str | None = None
    ) -> TrustStore:
        """A new store that also trusts the key of this certificate, for this region and kind, instead of any before.

        For regions whose certificate is not public (the ISO partitions), or newer than this package; there `partition`
        is needed too. Raises MalformedError where this is not one PEM certificate, or its key is none that AWS signs
        this kind with.
        """
        kind = Kind(kind)
        der = _certificate_of(pem)
        not_before, not_after, spki = _read_certificate(der)
        key = PublicKey(spki)
        _check_key_fits(key, kind)
        store = TrustStore()
        store._rows, store._keys = dict(self._rows), dict(self._keys)
        store._public_keys = self._public_keys
        store._rows.pop((region, kind), None)
        store._keys[region, kind] = TrustedKey(
            partition=partition or _partition_of(region),
            region=region,
            kind=kind,
            key=key,
            certificate_sha256=sha256(der).hexdigest(),
            not_before=not_before,
            not_after=not_after,
            shared_by=(region,),
            sources=("added by TrustStore.with_certificate",),
        )
        return store

    def key_for(self, region: str, kind: Kind | str) -> TrustedKey:
        """The key for a region and kind. Raises UnverifiableError where none is known."""
        found = self._keys.get((region, kind))
        if found is None:
            row = self._rows.get((region, kind))
            if row is None:
                raise UnverifiableError(
                    f"{region}: no certificate for {kind} is known here; "
                    "add AWS's with TrustStore.with_certificate, or verify another kind"
                )
            found = self._keys[region, kind] = self._key_of(row)
        return found

    def regions(self, kind: Kind | str) -> tuple[str, ...]:
        """The regions that this store has a key of this kind for."""
        return tuple(sorted(region for region, of in {**self._rows, **self._keys} if of == kind))

    def _key_of(self, row: _Row) -> TrustedKey:
        der = _certificate_of(_package_data(row.file))
        not_before, not_after, spki = _read_certificate(der)
        pin = sha256(spki).hexdigest()
        if pin != row.spki_sha256:
            raise MalformedError(f"{row.file}: key {pin} (index.tsv pins {row.spki_sha256}); reinstall ec2ident")
        key = self._public_keys.get(pin) or self._public_keys.setdefault(pin, PublicKey(spki))
        others = (other for other in self._rows.values() if other.spki_sha256 == row.spki_sha256)
        return TrustedKey(
            partition=row.partition,
            region=row.region,
            kind=Kind(row.kind),
            key=key,
            certificate_sha256=row.cert_sha256,
            not_before=not_before,
            not_after=not_after,
            shared_by=tuple(other.region for other in others),
            sources=tuple(row.sources.split("; ")),
        )


_bundled: TrustStore | None = None


class _Row(Value):
    """A line of index.tsv, its columns by their names."""

    partition: str
    region: str
    kind: str
    file: str
    cert_sha256: str
    spki_sha256: str
    key: str
    sigalg: str
    not_before: str
    not_after: str
    independent_projects: str
    sources: str


def _read_index() -> dict[tuple[str, str], _Row]:
    lines = _package_data("index.tsv").decode().splitlines()[1:]
    rows = (_Row(*line.split("\t")) for line in lines)
    return {(row.region, row.kind): row for row in rows}


def _partition_of(region: str) -> str:
    for row in TrustStore.bundled()._rows.values():
        if row.region == region:
            return row.partition
    raise ValueError(f"partition: unknown for region {region!r}; name it, as in partition='aws-iso'")


def _package_data(name: str) -> bytes:
    data = get_data(__package__, f"certificates/{name}")
    if data is None:
        raise MalformedError(f"{name}: missing from ec2ident/certificates; reinstall ec2ident")
    return data


def _certificate_of(pem: str | bytes) -> bytes:
    """The DER of the one certificate that a PEM text holds (RFC 7468), whatever stands around it."""
    text = pem.encode("utf-8", "replace") if isinstance(pem, str) else bytes(pem)
    if len(text) > _LARGEST_CERTIFICATE or text.count(b"-----BEGIN ") != 1:
        raise MalformedError(
            f"certificate: {len(text)} bytes with {text.count(b'-----BEGIN ')} PEM blocks "
            f"(one -----BEGIN CERTIFICATE-----, at most {_LARGEST_CERTIFICATE} bytes)"
        )
    _, _, rest = text.partition(b"-----BEGIN CERTIFICATE-----")
    body, end, _ = rest.partition(b"-----END CERTIFICATE-----")
    try:
        der = b64decode(b"".join(body.split()), validate=True)
    except ValueError as error:
        raise MalformedError(f"certificate: not base64 ({error})") from error
    if not end or not der:
        raise MalformedError("certificate: no complete -----BEGIN CERTIFICATE----- block")
    return der


def _read_certificate(der: bytes) -> tuple[datetime, datetime, bytes]:
    """Not before, not after and the SubjectPublicKeyInfo of an X.509 certificate (RFC 5280 4.1), version 1 or 3.

    Loading it with cryptography would cost a third more of the start, for fields that nothing here may rely on.
    """
    outer = ber.Reader(der)
    reader = ber.Reader(outer.read(ber.SEQUENCE))
    outer.finish()
    reader = ber.Reader(reader.read(ber.SEQUENCE))
    if reader.next_is(ber.CONTEXT_0):  # version; absent in version 1
        reader.read(ber.CONTEXT_0)
    reader.read(ber.INTEGER)  # serialNumber
    reader.read(ber.SEQUENCE)  # signature algorithm
    reader.read(ber.SEQUENCE)  # issuer
    validity = ber.Reader(reader.read(ber.SEQUENCE))
    not_before, not_after = _time(validity), _time(validity)
    reader.read(ber.SEQUENCE)  # subject
    return not_before, not_after, reader.read(ber.SEQUENCE, whole=True)


def _time(reader: ber.Reader) -> datetime:
    tag = ber.GENERALIZED_TIME if reader.next_is(ber.GENERALIZED_TIME) else ber.UTC_TIME
    return ber.time(tag, reader.read(tag))


def _check_key_fits(key: PublicKey, kind: Kind) -> None:
    """The kinds are told apart by their keys: RSA-2048 for rsa2048, RSA for signature, DSA or (China) RSA for pkcs7."""
    if kind is Kind.RSA2048 and (key.type != "RSA" or key.legacy):
        raise MalformedError(f"certificate: {key} ({kind} is signed with RSA of {_STRONG} bits or more)")
    if kind is Kind.SIGNATURE and key.type != "RSA":
        raise MalformedError(f"certificate: {key} ({kind} is signed with RSA)")


def _open_key(spki: bytes) -> tuple[str, int, Callable[[bytes, bytes], bool]]:
    """Type, bits, and a function that says whether the key made a signature. The one user of cryptography."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError(f"public key: {error}") from error
    if not isinstance(key, (rsa.RSAPublicKey, dsa.DSAPublicKey)):
        raise MalformedError(f"public key: {type(key).__name__} (AWS signs with RSA or DSA)")
    verify: Any = key.verify
    name = "RSA" if isinstance(key, rsa.RSAPublicKey) else "DSA"
    arguments = (padding.PKCS1v15(), SHA256()) if name == "RSA" else (SHA1(),)  # noqa: S303  AWS signs pkcs7 so

    def check(signature: bytes, message: bytes) -> bool:
        try:
            verify(signature, message, *arguments)
        except InvalidSignature:
            return False
        except UnsupportedAlgorithm as error:
            raise UnverifiableError(f"{name}-{key.key_size}: refused by this OpenSSL ({error})") from error
        return True

    return name, key.key_size, check
