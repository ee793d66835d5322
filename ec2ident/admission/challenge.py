"""Challenges without a memory: random octets, an end and an audience, under a MAC that any of the servers can check.

A stranger who asks for a million challenges fills nothing. A challenge takes room in the store only when it is used,
and by then AWS has signed the document and the policy has accepted it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from ec2ident.errors import MalformedError
from ec2ident.value import Value

from .errors import NotAdmittedError

_RANDOM, _END, _MAC = 16, 8, 16


class Challenge(Value):
    """What a server sends first: a nonce, the audience that it is for, and its end in seconds since the epoch."""

    nonce: str
    audience: str
    expires: int

    def to_dict(self) -> dict[str, object]:
        """The challenge as JSON has it."""
        return {"nonce": self.nonce, "audience": self.audience, "expires": self.expires}


class Nonce(Value):
    """A nonce that this service made. `id` must be used once; do not compare texts, because base64 can vary."""

    id: bytes
    expires: int


def issue(secret: bytes, audience: str, expires: int, random: bytes) -> Challenge:
    """A challenge that ends at `expires`, in seconds since the epoch; `random` are 16 octets."""
    text = random + expires.to_bytes(_END, "big")
    return Challenge(encode(text + _mac(secret, audience, text)), audience, expires)


def check(secret: bytes, audience: str, nonce: str, now: float) -> Nonce:
    """The nonce, if this service made it for this audience and it has not expired.

    Raises MalformedError, or NotAdmittedError with the code `foreign-challenge` or `stale-challenge`.
    """
    raw = decode("nonce", nonce)
    if len(raw) != _RANDOM + _END + _MAC:
        raise MalformedError(f"nonce: {len(raw)} octets ({_RANDOM + _END + _MAC} are expected)")
    text, mac = raw[:-_MAC], raw[-_MAC:]
    if not hmac.compare_digest(mac, _mac(secret, audience, text)):
        raise NotAdmittedError("foreign-challenge", f"nonce: not issued by these servers for {audience}")
    expires = int.from_bytes(text[_RANDOM:], "big")
    if now >= expires:
        raise NotAdmittedError(
            "stale-challenge", f"nonce: ended {now - expires:.0f} s ago; the client is slow, or a copy"
        )
    return Nonce(text[:_RANDOM], expires)


def binding(audience: str, nonce: str, kind: str, item: str, document: str | None, key: bytes) -> bytes:
    """What a proof signs: SHA-256 of all that belongs together. `key` is the SubjectPublicKeyInfo, DER.

    Each part is preceded by its length, so no two requests have the same octets.
    """
    parts = ("ec2ident-admission-1", audience, nonce, kind, item, "" if document is None else document)
    digest = sha256()
    for part in (*(part.encode("utf-8") for part in parts), key):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def encode(octets: bytes) -> str:
    """Base64 for URLs, without padding."""
    return urlsafe_b64encode(octets).decode("ascii").rstrip("=")


def decode(what: str, text: str) -> bytes:
    """The octets of `encode`. Raises MalformedError."""
    if not text or not set(text) <= _ALPHABET:
        raise MalformedError(f"{what}: not base64 for URLs without padding")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise MalformedError(f"{what}: not base64 for URLs without padding ({error})") from error


_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def _mac(secret: bytes, audience: str, text: bytes) -> bytes:
    return hmac.new(secret, audience.encode("utf-8") + b"\0" + text, sha256).digest()[:_MAC]
