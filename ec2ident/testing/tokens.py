"""Session tokens as the metadata service issues them: opaque, 56 characters, valid for as long as was asked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import os

#: The longest life of a token, in seconds ("Use IMDSv2").
LONGEST = 21600

_HEAD = b"\x01\x00\x04\x00"  # why the tokens of EC2 begin with AQAEA
_MAC = 20


class Tokens:
    """Issues tokens and knows its own again.

    A token carries its own end under a MAC, so nothing is stored; forgetting all tokens is taking another key.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Make every token so far invalid, as a restart of the service does."""
        self._key = os.urandom(32)

    def issue(self, now: float, ttl: int) -> str:
        """A token that is valid for `ttl` seconds from `now`, both in seconds."""
        body = int((now + ttl) * 1000).to_bytes(8, "big") + os.urandom(8)
        return base64.b64encode(_HEAD + body + self._mac(body)).decode()

    def remaining(self, token: str, now: float) -> int | None:
        """The seconds that a token still lives, rounded up; None if this service did not make it, or it has expired."""
        try:
            raw = base64.b64decode(token, validate=True)
        except ValueError:
            return None
        head, body, mac = raw[: len(_HEAD)], raw[len(_HEAD) : -_MAC], raw[-_MAC:]
        if head != _HEAD or len(body) != 16 or not hmac.compare_digest(mac, self._mac(body)):
            return None
        left = int.from_bytes(body[:8], "big") / 1000 - now
        return math.ceil(left) if left > 0 else None

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_MAC]
