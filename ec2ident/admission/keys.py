"""Keys of machines: which are accepted, and whether a proof was made with one.

Ed25519 (RFC 8032), and ECDSA on P-256 with SHA-256 or P-384 with SHA-384 (FIPS 186-5), in the usual encodings: the key
as SubjectPublicKeyInfo, the ECDSA signature as DER.
"""

from __future__ import annotations

from hashlib import sha256

from ec2ident.dependency import Loading
from ec2ident.errors import MalformedError

from .errors import AdmissionUnavailableError, NotAdmittedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurve, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    PrivateKey = Union[EllipticCurvePrivateKey, Ed25519PrivateKey]

#: The longest key, in octets; one on P-384 has 120.
LARGEST = 256


def check(spki: bytes, proof: bytes, bound: bytes) -> str:
    """The SHA-256 of the key in hex, where the proof was made with its private key over `bound`.

    Raises MalformedError for what is not such a key, NotAdmittedError with the code `wrong-proof`, and
    AdmissionUnavailableError where the library for it cannot be loaded.
    """
    with Loading("cryptography", AdmissionUnavailableError):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

    if len(spki) > LARGEST:
        raise MalformedError(f"key: {len(spki)} octets (at most {LARGEST})")
    try:
        key = load_der_public_key(spki)
    except Exception as error:  # several classes, by the version of the library
        raise MalformedError(f"key: not a public key ({type(error).__name__})") from error
    if not isinstance(key, (Ed25519PublicKey, EllipticCurvePublicKey)):
        raise MalformedError(f"key: {type(key).__name__} (Ed25519, or EC on P-256 or P-384, is expected)")
    # One key has one name: an encoding with, say, a compressed point would be another name for it.
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise MalformedError("key: not in the usual encoding of a SubjectPublicKeyInfo")
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(proof, bound)
        else:
            key.verify(proof, bound, _algorithm(key.curve))
    except InvalidSignature as error:
        raise NotAdmittedError(
            "wrong-proof", "proof: not made with this key, for this request and challenge"
        ) from error
    return sha256(spki).hexdigest()


def sign(key: PrivateKey, bound: bytes) -> bytes:
    """The proof. Raises ValueError for a key of another type."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    if isinstance(key, EllipticCurvePrivateKey):
        return key.sign(bound, _algorithm(key.curve))
    return key.sign(bound)


def public_of(key: PrivateKey) -> bytes:
    """The SubjectPublicKeyInfo (DER) of a private key. Raises ValueError for a key of another type."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(key, (Ed25519PrivateKey, EllipticCurvePrivateKey)):
        raise ValueError(f"key: {type(key).__name__} (Ed25519, or EC on P-256 or P-384, is expected)")
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _algorithm(curve: EllipticCurve) -> ECDSA:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384

    if curve.name not in ("secp256r1", "secp384r1"):
        raise MalformedError(f"key: on {curve.name} (P-256 or P-384 is expected)")
    return ECDSA(SHA256() if curve.name == "secp256r1" else SHA384())
