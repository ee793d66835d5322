"""The proof that AWS signed a document: `verify` raises, or returns what was proven.

The module is not called verify: the package's attribute `ec2ident.verify` is the function, and importing a module of
that name would silently put the module in its place.

The proof, step by step; the numbers stand at each block below.

(1) The octets of the signature come from the text in any form, of sensible size.
(2) The kinds `rsa2048` and `pkcs7`: the octets are CMS with one signer, understood by structure; what nothing signs is
    skipped (`cms.py`).
(3) A document that came separately is, byte for byte, the one that is signed.
(4) The signed bytes parse as an identity document; nothing else says which region it is from.
(5) The keys are those pinned for that region and this kind; what the signature claims about its signer does not count.
(6) The algorithms are ones that the key allows, and where they were signed too, the same.
(7) The signed digest is that of the document.
(8) The signature over the signed attributes (`signature`: over the document itself) verifies with such a key.

A step that cannot be made because something is damaged or unknown raises MalformedError or UnverifiableError: neither
yes nor no. VerificationError means that a step was made and failed.

What is left to the caller: that the document is fresh, and that it belongs to its sender (`ec2ident.Policy`, and
docs/attestation.md). A copied document verifies for ever.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode

from ec2ident.errors import Ec2IdentError, MalformedError, UnverifiableError, VerificationError
from ec2ident.model import Identity, Kind, Reason

from . import algorithms, cms
from . import document as documents
from .trust import TrustStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from ec2ident.model import IdentityDocument

    from .algorithms import Scheme
    from .cms import SignedData
    from .trust import TrustedKey

#: Characters of a signature in base64 or PEM; real ones have 172 to 1511. Of JSON around it, which is read elsewhere.
_LARGEST, _LARGEST_JSON = 64 * 1024, 1024 * 1024
_KINDS: dict[str, Kind] = {kind.value: kind for kind in Kind}


def verify(
    signature: str | bytes,
    *,
    kind: Kind | str | None = None,
    document: str | bytes | None = None,
    trust: TrustStore | None = None,
    search: bool = False,
) -> Identity:
    """Prove that AWS signed an identity document, offline.

    `signature` is what the metadata service returned for `kind`, in any form in which people keep it: base64 with any
    wrapping, PEM lines, the octets themselves, or JSON that holds it. `document` is what the service returned for
    `document`, byte for byte: needed for the kind `signature`, compared for the others, which carry it. `trust`
    defaults to AWS's published keys. Where the signature is wrong, `search` also tries the keys of all other regions,
    to name the one that signed, and the members of the document in AWS's order: some forty key operations, for a person
    who wants to know.

    Raises MalformedError (damaged, or of a form that this version does not understand), VerificationError (with
    `.reason`: not signed by AWS, or not this), UnverifiableError (no key is known for the region that the document
    names: neither yes nor no). `.document` of the error is what the document claims, where it could be read.

    Do not use the blob as a key or for deduplication: parts of it are not signed, so one document can come in many.
    """
    if kind is None:
        _as_bytes("signature", signature, _LARGEST_JSON)
        raise ValueError(f"kind: missing (one of {', '.join(Kind)}: which item of the metadata service this is)")
    kind = _KINDS.get(kind) or Kind(kind)
    trust = TrustStore.bundled() if trust is None else trust

    # (1) The octets of the signature, from any form.
    blob, document = _read(signature, kind, document)

    # (2) CMS with one signer, understood by structure.
    signed = None if kind is Kind.SIGNATURE else cms.parse(blob)

    # (3) A document that came separately is the one that is signed.
    raw = _signed_bytes(signed, document)

    # (4) The signed bytes are an identity document, and name the region.
    parsed = _parse(raw, blob, kind, trust)
    try:
        # (5) The keys that are pinned for that region and this kind.
        keys = trust.keys_for(parsed.region, kind)

        if signed:
            # (6) The algorithms are ones that a key allows, and what is signed about them agrees.
            scheme = _scheme(signed, keys)

            # (7) The signed digest is that of the document.
            _check_digest(signed, raw, scheme)

            # (8) The signature over the signed attributes.
            trusted = _signer(keys, signed.signature, signed.signed_attributes, scheme)
        else:
            # (8) The signature over the document itself.
            trusted = _signer(keys, blob, raw)
        if trusted is None:
            raise _wrong_signature(keys, blob, raw, signed, trust if search else None)
    except Ec2IdentError as error:
        error.document = parsed
        raise

    signed_at = signed.signing_time if signed else None
    return Identity._proven(
        document=parsed,
        kind=kind,
        legacy=trusted.key.legacy,
        region=trusted.region,
        partition=trusted.partition,
        signed_at=signed_at,
        key_sha256=trusted.key.sha256,
        warnings=_warnings(parsed, trusted, signed, signed_at),
    )


def _read(signature: str | bytes, kind: Kind, document: str | bytes | None) -> tuple[bytes, bytes | None]:
    """The octets of the signature, and the document that came with it."""
    given = None if document is None else _as_bytes("document", document, documents.LARGEST)
    text = _as_bytes("signature", signature, _LARGEST_JSON)
    try:
        # What the metadata service sends: base64 in lines. All other forms are told apart where this fails.
        if len(text) <= _LARGEST:
            blob = b64decode(text.replace(b"\n", b""), validate=True)
            if not blob.isascii():  # else it is a text once more
                return blob, given
    except ValueError:
        pass
    from . import forms

    if forms.is_json(text):
        return _from_json(text, kind, given)
    if len(text) > _LARGEST:
        raise MalformedError(f"signature: {len(text)} characters (at most {_LARGEST})")
    return forms.octets(text, kind), given


def _from_json(text: bytes, kind: Kind, document: bytes | None) -> tuple[bytes, bytes | None]:
    """From JSON that holds the items, or from a string of it."""
    from . import forms

    try:
        value = forms.parsed(text)
    except MalformedError as error:
        if len(text) > _LARGEST or not text.lstrip().startswith(b'"'):
            raise MalformedError(f"signature: {error}") from error
        value = None
    if value is None or isinstance(value, str):
        inner = text if value is None else value.encode("utf-8", "surrogatepass")
        return forms.octets(inner, kind), document
    stored = forms.items_in(value)
    found = stored.items.get(kind.value)
    if found is None:
        has = f"it has {', '.join(sorted(stored.items))}" if stored.items else "nor any other item"
        notes = "".join(f"; {note}" for note in stored.notes if "left out" in note)
        raise MalformedError(f"signature: JSON without a member {kind} ({has}{notes})")
    return forms.octets(found, kind), stored.items.get("document") if document is None else document


def _signed_bytes(signed: SignedData | None, given: bytes | None) -> bytes:
    if signed is None:
        if given is None:
            raise ValueError("document: needed for the kind signature, which does not carry it")
        return given
    if signed.content is None:
        if given is None:
            raise MalformedError("document: not inside this CMS object (a detached signature); give it too")
        return given
    if given is not None and given != signed.content:
        from .repairs import change

        how = change(given, signed.content)
        raise VerificationError(
            f"document: {len(given)} bytes, differs from byte {_first_difference(given, signed.content)} on "
            f"(signed are {len(signed.content)} bytes{f'; {how}' if how else ''}); "
            "fetch both again and keep every byte, also of white space",
            Reason.DOCUMENT_DIFFERS,
        )
    return signed.content


def _parse(raw: bytes, blob: bytes, kind: Kind, trust: TrustStore) -> IdentityDocument:
    try:
        return documents.parse(raw)
    except MalformedError as error:
        if kind is Kind.SIGNATURE:
            _check_changed(raw, blob, trust, error)
        raise


def _scheme(signed: SignedData, keys: tuple[TrustedKey, ...]) -> Scheme:
    scheme = algorithms.scheme(signed.digest_algorithm, signed.signature_algorithm)
    for trusted in keys:
        if trusted.key.allows(scheme):
            break
    else:
        raise VerificationError(
            f"algorithm: {scheme} ({keys[0].region} signs {keys[0].kind} with {_named(keys)}, which does not allow it)",
            Reason.WRONG_ALGORITHM,
        )
    used = signed.digest_algorithm, signed.signature_algorithm
    if signed.algorithm_protection not in (None, used):
        protected = algorithms.scheme(*signed.algorithm_protection)
        raise VerificationError(
            f"algorithm protection: {protected} is signed ({scheme} is used)", Reason.WRONG_ALGORITHM
        )
    return scheme


def _check_digest(signed: SignedData, raw: bytes, scheme: Scheme) -> None:
    digest = _hash(scheme.hash, raw)
    if signed.message_digest != digest:
        raise VerificationError(
            f"digest: signed is {signed.message_digest[:64].hex()} (the document has {digest.hex()})",
            Reason.WRONG_DIGEST,
        )


def _hash(name: str, raw: bytes) -> bytes:
    """Raises UnverifiableError: under a FIPS policy OpenSSL may refuse SHA-1, or Python may be built without it."""
    try:
        digest: bytes = getattr(hashlib, name)(raw).digest()
    except (ValueError, AttributeError) as error:
        raise UnverifiableError(f"digest: this OpenSSL refuses SHA-{name[3:]} ({error})") from error
    return digest


def _signer(
    keys: tuple[TrustedKey, ...], signature: bytes, message: bytes, scheme: Scheme | None = None
) -> TrustedKey | None:
    """The key that made the signature. A `signature` does not name its scheme: each key's own scheme is tried."""
    for trusted in keys:
        how = scheme or trusted.key.bare_scheme
        if trusted.key.allows(how) and trusted.key.verifies(signature, message, how):
            return trusted
    return None


def _wrong_signature(
    keys: tuple[TrustedKey, ...], blob: bytes, raw: bytes, signed: SignedData | None, search: TrustStore | None
) -> Ec2IdentError:
    """Why no key made this signature, as far as it can be told with two more key operations, or by a search."""
    signature, message, scheme = blob, raw, None
    if signed:
        signature, message = signed.signature, signed.signed_attributes
        scheme = algorithms.scheme(signed.digest_algorithm, signed.signature_algorithm)
    else:
        sizes = {trusted.key.bits // 8 for trusted in keys if trusted.key.type == "RSA"}
        if sizes and len(blob) not in sizes and len(sizes) == len(keys):
            return MalformedError(
                f"signature: {len(blob)} bytes is a form that is not understood by this version "
                f"(a signature of {_named(keys)} has {' or '.join(map(str, sorted(sizes)))})"
            )
        changed = _changed(keys, blob, raw, reorder=search is not None)
        if changed:
            return changed
    region = keys[0].region
    if search:
        for other in search.regions(keys[0].kind):
            if other != region and _signer(search.keys_for(other, keys[0].kind), signature, message, scheme):
                return VerificationError(f"region: signed by {other}'s key (document says {region})", Reason.WRONG_KEY)
    hint = "" if signed else "; every byte of the document counts, also white space"
    return VerificationError(
        f"signature: {len(signature)} bytes that are not {region}'s signature of this document "
        f"({_named(keys)}, key {' or '.join(trusted.key.sha256[:16] for trusted in keys)}){hint}",
        Reason.WRONG_SIGNATURE,
    )


def _changed(
    keys: tuple[TrustedKey, ...], signature: bytes, document: bytes, *, reorder: bool = False
) -> VerificationError | None:
    """An error that names the change, where the signature is that of the document before a usual change."""
    from .repairs import candidates, change

    for candidate in candidates(document, reorder=reorder):
        if _signer(keys, signature, candidate):
            how = change(document, candidate) or "its white space changed"
            return VerificationError(
                f"document: changed after AWS signed it: {how} ({len(document)} bytes, signed are {len(candidate)}); "
                "keep every byte as the metadata service sent it",
                Reason.DOCUMENT_DIFFERS,
            )
    return None


def _check_changed(raw: bytes, blob: bytes, trust: TrustStore, cause: MalformedError) -> None:
    """A document that cannot be read, because it is UTF-16 or has a mark, beside the signature of what it was."""
    from .repairs import candidates

    for candidate in candidates(raw):
        try:
            parsed = documents.parse(candidate)
            changed = _changed(trust.keys_for(parsed.region, Kind.SIGNATURE), blob, raw)
        except Ec2IdentError:
            continue
        if changed:
            changed.document = parsed
            raise changed from cause
        return  # all candidates were tried


def _named(keys: tuple[TrustedKey, ...]) -> str:
    return " or ".join(dict.fromkeys(str(trusted.key) for trusted in keys))


def _warnings(
    document: IdentityDocument, trusted: TrustedKey, signed: SignedData | None, signed_at: datetime | None
) -> tuple[str, ...]:
    when = signed_at or document.pending_time
    found = []
    if signed and signed_at is None:
        found.append("the signature does not say when it was made, or not in a form that this version reads")
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


def _as_bytes(what: str, value: str | bytes, largest: int) -> bytes:
    """The value as bytes; what is too large is refused before it is copied."""
    if not isinstance(value, (str, bytes, bytearray, memoryview)):
        raise MalformedError(f"{what}: {type(value).__name__} (str or bytes is expected)")
    size = len(value) if isinstance(value, str) else memoryview(value).nbytes
    if size > largest:
        raise MalformedError(
            f"{what}: {size} {'characters' if isinstance(value, str) else 'bytes'} (at most {largest})"
        )
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise MalformedError(f"{what}: not text that can be encoded ({error})") from error
    return bytes(value)


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = zip(one, other)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
