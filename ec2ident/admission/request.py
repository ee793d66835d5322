"""The request of a machine: read strictly by the server, and made by the client.

A JSON object with the signed item under its kind, and `nonce`, `key`, `proof`; `document` with the kind `signature`,
and `caller` where the server asks for it. All are texts, `caller` is an object of header names and texts.
"""

from __future__ import annotations

from ec2ident.errors import MalformedError
from ec2ident.model import Kind
from ec2ident.value import Value

from .challenge import binding, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .keys import PrivateKey

#: The most that is read, in bytes. A request with all three items and a session token has about 8,000.
LARGEST = 32 * 1024
_TEXTS = ("nonce", "key", "proof")


class Request(Value):
    """A well-formed request; nothing in it is checked yet. `key` is DER, `proof` the octets of a signature."""

    kind: Kind
    item: str
    document: str | None
    nonce: str
    key: bytes
    proof: bytes
    caller: tuple[tuple[str, str], ...] | None = None

    def binding(self, audience: str) -> bytes:
        """What the proof must sign."""
        return binding(audience, self.nonce, self.kind.value, self.item, self.document, self.key)


def read(body: bytes | str) -> Request:
    """The request in a body. Raises MalformedError; what is too large is refused before it is looked at."""
    found = _object(body)
    caller = found.pop("caller", None)
    for name, value in found.items():
        if not isinstance(value, str):
            raise MalformedError(f"{name!a}: {type(value).__name__} (text is expected)")
    kinds = [kind for kind in Kind if kind.value in found]
    if len(kinds) != 1:
        raise MalformedError(f"{len(kinds)} signed items (one of {', '.join(Kind)} is expected)")
    kind = kinds[0]
    allowed = {*_TEXTS, kind.value, "document"}
    if set(found) - allowed or not set(found) >= {*_TEXTS, kind.value}:
        raise MalformedError(f"fields {sorted(found)!a} (expected: {', '.join(sorted(allowed))}, caller)")
    if kind is Kind.SIGNATURE and "document" not in found:
        raise MalformedError("document: missing beside a signature")
    return Request(
        kind=kind,
        item=found[kind.value],
        document=found.get("document"),
        nonce=found["nonce"],
        key=decode("key", found["key"]),
        proof=decode("proof", found["proof"]),
        caller=None if caller is None else _headers(caller),
    )


def _object(body: bytes | str) -> dict[str, Any]:
    import json

    if not isinstance(body, (bytes, str)):
        raise MalformedError(f"body: {type(body).__name__} (bytes or text are expected)")
    if len(body) > LARGEST:
        raise MalformedError(f"body: {len(body)} bytes (at most {LARGEST})")
    try:
        found = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # fails for half of a surrogate pair, such as "\\ud800"
    except RecursionError as error:
        raise MalformedError("body: too many levels of JSON") from error
    except ValueError as error:  # UnicodeError is one, and MalformedError
        raise MalformedError(f"body: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise MalformedError(f"body: {type(found).__name__} (a JSON object is expected)")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedError("body: a field occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise MalformedError(f"body: {name} is not JSON")


def _headers(caller: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(caller, dict) or not all(isinstance(value, str) for value in caller.values()):
        raise MalformedError("caller: an object of header names and texts is expected")
    names = [name.lower() for name in caller]
    if len(set(names)) != len(names):
        raise MalformedError("caller: a header occurs twice")
    return tuple(zip(names, caller.values()))


class Proof(Value):
    """The answer of a machine to a challenge, before it is sent: `to_dict` is the body.

    `binding` is the text that the header `X-Ec2ident-Challenge` of a signed GetCallerIdentity request has to hold.
    """

    fields: tuple[tuple[str, str], ...]
    binding: str

    def to_dict(self, caller: Mapping[str, str] | None = None) -> dict[str, object]:
        """The body as JSON has it. `caller` are the headers of the signed GetCallerIdentity request."""
        return {**dict(self.fields), **({} if caller is None else {"caller": dict(caller)})}


def prepare(
    challenge: Mapping[str, Any],
    item: str | bytes,
    key: PrivateKey,
    *,
    audience: str,
    kind: Kind | str = Kind.RSA2048,
    document: str | bytes | None = None,
) -> Proof:
    """Answer a server's challenge with a signed item of the metadata service and a private key of this machine.

    `audience` is the server that the client means to talk to. Raises ValueError where the challenge names another one:
    a dishonest server could pass on the challenge of another server. It is also raised for an answer that is not a
    challenge. `key` is a private key of `cryptography`: Ed25519, or EC on P-256 or P-384. `document` belongs to the
    kind `signature`.
    """
    from . import keys

    try:
        nonce, named = challenge["nonce"], challenge["audience"]
    except (TypeError, LookupError):
        nonce = named = None
    if not isinstance(nonce, str) or not isinstance(named, str):
        raise ValueError(f"challenge: {str(challenge)[:80]!a} (an object with nonce and audience is expected)")
    if named != audience:
        raise ValueError(f"challenge: for {named!r} (not for {audience!r}); do not answer it")
    kind, item = Kind(kind), _text(item)
    document = None if document is None else _text(document)
    public = keys.public_of(key)
    bound = binding(audience, nonce, kind.value, item, document, public)
    fields = {
        kind.value: item,
        **({} if document is None else {"document": document}),
        "nonce": nonce,
        "key": encode(public),
        "proof": encode(keys.sign(key, bound)),
    }
    return Proof(tuple(fields.items()), encode(bound))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8")
