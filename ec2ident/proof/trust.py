"""The trusted public keys for each region and kind, with their provenance.

AWS publishes a certificate for each cell ("AWS public certificates for instance identity document signatures", EC2 User
Guide). They are self-signed, expire, and were renewed many times on the same key; nothing in them names a region. So
the certificate only carries the key: what is trusted is the SubjectPublicKeyInfo, pinned by its SHA-256 in
`certificates/index.tsv`, and an expired certificate is a warning.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from hashlib import sha256
from pkgutil import get_data

from ec2ident import standin
from ec2ident.dependency import Loading
from ec2ident.errors import MalformedError, UnverifiableError
from ec2ident.model import Kind, Reason
from ec2ident.value import Value

from . import ber
from .algorithms import Scheme

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Callable

#: What each type of key may sign with. The key decides, never the message. AWS signs with SHA-256, and with DSA SHA-1.
_HASHES = {"RSA": ("sha256", "sha384", "sha512"), "EC": ("sha256", "sha384", "sha512"), "DSA": ("sha1",)}
#: RSA and DSA keys of fewer bits are below today's limits (NIST SP 800-131A), and no RSA key has fewer than 1024.
_STRONG, _FEWEST = 2048, 1024
#: Curves by their size: P-256 and P-384. The hash of a bare ECDSA signature is as strong as the curve.
_CURVES = {"secp256r1": "sha256", "secp384r1": "sha384"}
_LARGEST_CERTIFICATE = 16 * 1024
_DER_START = b"0"  # the tag of a SEQUENCE


class PublicKey:
    """A public key as AWS may sign with it. Raises MalformedError for bytes other than an RSA, ECDSA or DSA key."""

    __slots__ = ("bare_scheme", "bits", "legacy", "sha256", "spki", "type", "verifies")

    def __init__(self, spki: bytes) -> None:
        #: SubjectPublicKeyInfo, DER.
        self.spki = spki
        #: SHA-256 of it, in hex.
        self.sha256 = sha256(spki).hexdigest()
        #: `RSA`, `EC` or `DSA`.
        self.type: str
        self.bits: int
        #: How a signature is made that does not say it: the kind `signature`.
        self.bare_scheme: Scheme
        #: Whether this key made a signature (first argument) of a message (second), with a scheme that it allows. For
        #: `ec2ident.verify`. Raises UnverifiableError where the installed OpenSSL refuses the algorithm, as some do DSA
        #: and SHA-1.
        self.verifies: Callable[[bytes, bytes, Scheme], bool]
        self.type, self.bits, self.bare_scheme, self.verifies = _open_key(spki)
        #: Below today's limits: RSA and DSA of fewer than 2048 bits, and DSA at all, which AWS uses with SHA-1.
        self.legacy = self.type == "DSA" or (self.type == "RSA" and self.bits < _STRONG)

    def allows(self, scheme: Scheme) -> bool:
        """Whether a signature of this key may be made so."""
        return scheme.key == self.type and scheme.hash in _HASHES[self.type]

    def __str__(self) -> str:
        return f"P-{self.bits}" if self.type == "EC" else f"{self.type}-{self.bits}"

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
    #: The certificate's validity (aware, UTC). Expiry is a warning: AWS renews certificates on the same key.
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
        self._keys: dict[tuple[str, str], tuple[TrustedKey, ...]] = {}
        self._public_keys: dict[str, PublicKey] = {}

    @classmethod
    def bundled(cls) -> TrustStore:
        """The keys that come with this package: all that AWS publishes. One store for the process."""
        global _bundled
        if standin.trust is not None:
            return standin.trust()
        if _bundled is None:
            store = cls()
            store._rows = _read_index()
            _bundled = store
        return _bundled

    def with_certificate(
        self,
        pem: str | bytes,
        *,
        region: str,
        kind: Kind | str,
        partition: str | None = None,
        beside: bool = False,
    ) -> TrustStore:
        """A new store that also trusts the key of this certificate (PEM or DER), for this region and kind.

        It takes the place of any key before; with `beside` it is trusted in addition, as during a rotation. For regions
        that are newer than this package or keep their certificate private (the ISO partitions); these need `partition`
        too. The key is RSA, ECDSA (P-256 or P-384) or DSA. Raises MalformedError if this is not one certificate, or
        if AWS does not sign this kind with such a key.
        """
        kind = Kind(kind)
        der = _certificate_of(pem)
        not_before, not_after, spki = _read_certificate(der)
        key = PublicKey(spki)
        _check_key_fits(key, kind)
        added = TrustedKey(
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
        known = self.keys_for(region, kind) if beside and kind in self._kinds(region) else ()
        store = TrustStore()
        store._rows, store._keys = dict(self._rows), dict(self._keys)
        store._public_keys = self._public_keys
        store._rows.pop((region, kind), None)
        store._keys[region, kind] = (added, *known)
        return store

    def key_for(self, region: str, kind: Kind | str) -> TrustedKey:
        """The key for a region and kind; of several, the one that was added last. Raises as `keys_for` does."""
        return self.keys_for(region, kind)[0]

    def keys_for(self, region: str, kind: Kind | str) -> tuple[TrustedKey, ...]:
        """All keys for a region and kind. Raises UnverifiableError where none is known."""
        found = self._keys.get((region, kind))
        if found is None:
            row = self._rows.get((region, kind))
            if row is None:
                raise UnverifiableError(
                    f"{region}: no certificate for {kind} is known here; add AWS's with TrustStore.with_certificate "
                    "(ec2ident --certificate FILE --region R --kind K), or verify another kind"
                )
            found = self._keys[region, kind] = (self._key_of(row),)
        return found

    def _kinds(self, region: str) -> set[str]:
        return {kind for of, kind in (*self._rows, *self._keys) if of == region}

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
        raise MalformedError(f"{name}: missing from ec2ident/proof/certificates; reinstall ec2ident")
    return data


def _certificate_of(certificate: str | bytes) -> bytes:
    """The DER of the one certificate: as it is, or in a PEM text (RFC 7468), whatever stands around it there."""
    if not isinstance(certificate, (str, bytes, bytearray)):
        raise MalformedError(f"certificate: {type(certificate).__name__} (PEM text or DER bytes are expected)")
    if len(certificate) > _LARGEST_CERTIFICATE:
        raise MalformedError(f"certificate: {len(certificate)} bytes (at most {_LARGEST_CERTIFICATE})")
    text = certificate.encode("utf-8", "replace") if isinstance(certificate, str) else bytes(certificate)
    if text[:1] == _DER_START:
        return text
    if text.count(b"-----BEGIN ") != 1:
        raise MalformedError(
            f"certificate: {len(text)} bytes with {text.count(b'-----BEGIN ')} PEM blocks "
            "(one -----BEGIN CERTIFICATE-----)"
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
    outer = ber.Reader(der, der=True)
    reader = ber.Reader(outer.read(ber.SEQUENCE), der=True)
    outer.finish()
    reader = ber.Reader(reader.read(ber.SEQUENCE), der=True)
    if reader.next_is(ber.CONTEXT_0):  # version; absent in version 1
        reader.read(ber.CONTEXT_0)
    reader.read(ber.INTEGER)  # serialNumber
    reader.read(ber.SEQUENCE)  # signature algorithm
    reader.read(ber.SEQUENCE)  # issuer
    validity = ber.Reader(reader.read(ber.SEQUENCE), der=True)
    not_before, not_after = _time(validity), _time(validity)
    reader.read(ber.SEQUENCE)  # subject
    return not_before, not_after, reader.read(ber.SEQUENCE, whole=True)


def _time(reader: ber.Reader) -> datetime:
    tag = ber.GENERALIZED_TIME if reader.next_is(ber.GENERALIZED_TIME) else ber.UTC_TIME
    return ber.time(tag, reader.read(tag))


def _check_key_fits(key: PublicKey, kind: Kind) -> None:
    """The kinds differ in their keys: strong ones for rsa2048, any but DSA for signature, any at all for pkcs7."""
    if kind is Kind.RSA2048 and key.legacy:
        raise MalformedError(f"certificate: {key} ({kind} is signed with RSA of {_STRONG} bits or more, or ECDSA)")
    if kind is Kind.SIGNATURE and key.type == "DSA":
        raise MalformedError(f"certificate: {key} ({kind} is signed with RSA or ECDSA)")


def _open_key(spki: bytes) -> tuple[str, int, Scheme, Callable[[bytes, bytes, Scheme], bool]]:
    """Type, bits, scheme of a bare signature, and a function that says whether the key made a signature."""
    with Loading("cryptography", lambda says: UnverifiableError(says, Reason.DEPENDENCY)):
        from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512
        from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(spki)
    except (UnsupportedAlgorithm, InternalError) as error:
        # So a policy (FIPS 186-5 has no DSA) or a build of OpenSSL refuses it; InternalError is for what cryptography
        # did not expect of OpenSSL (pyca/cryptography#6880).
        raise UnverifiableError(f"public key: refused by this OpenSSL ({_short(error)})") from error
    except ValueError as error:
        raise MalformedError(f"public key: {error}") from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _FEWEST:
        bare = Scheme("RSA", "sha256")
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        bare = Scheme("EC", _CURVES[key.curve.name])
    elif isinstance(key, dsa.DSAPublicKey):
        bare = Scheme("DSA", "sha1")
    else:
        size = getattr(key, "key_size", "")
        raise MalformedError(
            f"public key: {type(key).__name__} {size} (RSA of {_FEWEST} bits or more, P-256, P-384 or DSA)"
        )
    usable: Any = key
    hashes = {made.name: made() for made in (SHA1, SHA256, SHA384, SHA512)}
    pkcs1 = padding.PKCS1v15()

    def check(signature: bytes, message: bytes, scheme: Scheme) -> bool:
        algorithm = hashes[scheme.hash]
        try:
            if scheme.salt is not None:
                usable.verify(signature, message, padding.PSS(padding.MGF1(algorithm), scheme.salt), algorithm)
            elif scheme.key == "RSA":
                # What verify does, with less around the same operation: a tenth of its time.
                digest: bytes = usable.recover_data_from_signature(signature, pkcs1, algorithm)
                expected: bytes = getattr(hashlib, scheme.hash)(message).digest()
                return digest == expected
            else:
                usable.verify(signature, message, ec.ECDSA(algorithm) if scheme.key == "EC" else algorithm)
        except InvalidSignature:
            return False
        except (UnsupportedAlgorithm, InternalError, ValueError) as error:
            raise UnverifiableError(f"{bare.key}-{key.key_size}: refused by this OpenSSL ({_short(error)})") from error
        return True

    return bare.key, key.key_size, bare, check


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 120 else f"{text[:117]}..."
