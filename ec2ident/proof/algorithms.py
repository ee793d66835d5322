"""What an AlgorithmIdentifier of CMS means: which hash, which type of key, which padding (RFC 3370, 4056, 5754, 5758).

This version does not understand any other algorithm; that says nothing about the signature.
"""

from __future__ import annotations

from ec2ident.errors import MalformedError, VerificationError
from ec2ident.model import Reason
from ec2ident.value import Value

from . import ber

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: The object identifier (contents octets), and the parameters as they stand: empty where absent or NULL.
    Algorithm = tuple[bytes, bytes]

_NULL = b"\x05\0"

_HASHES = {
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
_RSASSA_PSS = bytes.fromhex("2a864886f70d01010a")
_MGF1 = bytes.fromhex("2a864886f70d010108")
#: Type of key, and the hash where the identifier names one: rsaEncryption leaves it to the digest algorithm.
_SIGNATURES = {
    bytes.fromhex("2a864886f70d010101"): ("RSA", None),
    bytes.fromhex("2a864886f70d010105"): ("RSA", "sha1"),
    bytes.fromhex("2a864886f70d01010b"): ("RSA", "sha256"),
    bytes.fromhex("2a864886f70d01010c"): ("RSA", "sha384"),
    bytes.fromhex("2a864886f70d01010d"): ("RSA", "sha512"),
    bytes.fromhex("2a8648ce380403"): ("DSA", "sha1"),
    bytes.fromhex("2a8648ce3d0401"): ("EC", "sha1"),
    bytes.fromhex("2a8648ce3d040302"): ("EC", "sha256"),
    bytes.fromhex("2a8648ce3d040303"): ("EC", "sha384"),
    bytes.fromhex("2a8648ce3d040304"): ("EC", "sha512"),
}
#: RSASSA-PSS-params (RFC 4055 3.1): what an absent field means, and the longest salt that an RSA-4096 key has room for.
_DEFAULT_HASH, _DEFAULT_SALT, _TRAILER = "sha1", 20, 1
_LONGEST_SALT = 512


class Scheme(Value):
    """How a signature is made."""

    #: `RSA`, `DSA` or `EC`.
    key: str
    #: The name of the hash, as `hashlib` has it.
    hash: str
    #: Octets of salt of RSASSA-PSS, with MGF1 of the same hash; None for every other scheme.
    salt: int | None = None

    def __str__(self) -> str:
        name = {"RSA": "RSA", "DSA": "DSA", "EC": "ECDSA"}[self.key]
        return f"{name}{'' if self.salt is None else '-PSS'} with {self.hash.upper().replace('SHA', 'SHA-')}"


def read(reader: ber.Reader, tag: int = ber.SEQUENCE) -> Algorithm:
    """The next AlgorithmIdentifier. Parameters that are NULL or absent say the same, and AWS has written both."""
    reader.enter(tag)
    oid = reader.read(ber.OID)
    parameters = reader.skip() if reader.more() else b""
    reader.leave()
    return oid, b"" if parameters == _NULL else parameters


#: (digest, signature) -> scheme, for the few that are in use.
_schemes: dict[tuple[Algorithm, Algorithm], Scheme] = {}
_MOST_SCHEMES = 64


def scheme(digest: Algorithm, signature: Algorithm) -> Scheme:
    """What both algorithms of a signer come to.

    Raises MalformedError where one is not understood, and VerificationError where they contradict each other.
    """
    found = _schemes.get((digest, signature))
    if found is None:
        found = _scheme(digest, signature)
        if len(_schemes) < _MOST_SCHEMES:
            _schemes[digest, signature] = found
    return found


def _scheme(digest: Algorithm, signature: Algorithm) -> Scheme:
    hashed = _hash("digest algorithm", digest)
    if signature[0] == _RSASSA_PSS:
        named, salt = _pss(signature[1])
        found = Scheme("RSA", named, salt)
    else:
        key, of = _SIGNATURES.get(signature[0], ("", None))
        if not key or signature[1]:
            raise _unknown("signature algorithm", signature)
        found = Scheme(key, of or hashed)
    if found.hash != hashed:
        raise VerificationError(
            f"signature algorithm: {found} (the digest algorithm is {hashed}, and both must be the same)",
            Reason.WRONG_ALGORITHM,
        )
    return found


def _hash(what: str, algorithm: Algorithm) -> str:
    name = _HASHES.get(algorithm[0])
    if name is None or algorithm[1]:
        raise _unknown(what, algorithm)
    return name


def _pss(parameters: bytes) -> tuple[str, int]:
    """The hash and the octets of salt in RSASSA-PSS-params. MGF1 must use the same hash: nothing else is in use."""
    hashed, masked, salt, trailer = _DEFAULT_HASH, _DEFAULT_HASH, _DEFAULT_SALT, _TRAILER
    reader = ber.Reader(parameters or b"\x30\0")
    reader.enter(ber.SEQUENCE)
    if reader.next_is(ber.CONTEXT_0):
        reader.enter(ber.CONTEXT_0)
        hashed = _hash("PSS hash", read(reader))
        reader.leave()
    if reader.next_is(ber.CONTEXT_1):
        reader.enter(ber.CONTEXT_1)
        mask = read(reader)
        reader.leave()
        if mask[0] != _MGF1:
            raise _unknown("PSS mask", mask)
        masked = _hash("PSS mask", read(ber.Reader(mask[1])))
    if reader.next_is(ber.CONTEXT_2):
        salt = _small_integer(reader, ber.CONTEXT_2)
    if reader.next_is(ber.CONTEXT_3):
        trailer = _small_integer(reader, ber.CONTEXT_3)
    reader.leave()
    reader.finish()
    if masked != hashed or not 0 <= salt <= _LONGEST_SALT or trailer != _TRAILER:
        raise MalformedError(
            f"PSS parameters: hash {hashed}, mask {masked}, salt {salt}, trailer {trailer} "
            f"(this version understands one hash, salt up to {_LONGEST_SALT}, trailer {_TRAILER})"
        )
    return hashed, salt


def _small_integer(reader: ber.Reader, tag: int) -> int:
    reader.enter(tag)
    octets = reader.read(ber.INTEGER)
    reader.leave()
    if not 0 < len(octets) <= 4:
        raise MalformedError(f"PSS parameters: a number of {len(octets)} octets (1 to 4)")
    return int.from_bytes(octets, "big", signed=True)


def _unknown(what: str, algorithm: Algorithm) -> MalformedError:
    oid, parameters = algorithm
    with_parameters = f" with parameters {parameters[:32].hex()}" if parameters else ""
    return MalformedError(f"{what}: {dotted(oid)}{with_parameters} is not understood by this version")


def dotted(oid: bytes) -> str:
    """An object identifier as people write it: 1.2.840.113549.1.9.4."""
    arcs, value = [], 0
    for octet in oid[:64]:
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(value)
            value = 0
    if not arcs:
        return "(empty)"
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
