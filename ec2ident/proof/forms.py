"""Every form in which people keep an identity item, and back to the octets that the metadata service meant.

The service sends base64. AWS's own verification steps put PEM lines around it, or decode it; cloud-init, Vault, SPIRE
and Ansible put it into JSON; shells and editors rewrap it, quote it, encode it once more, and write it as UTF-16. For a
signature all of these say the same octets. A document is never changed here: its signature covers every byte.
"""

from __future__ import annotations

from base64 import b64decode

from ec2ident.errors import MalformedError
from ec2ident.model import Kind
from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Octets of a file or a text of JSON. The instance data of cloud-init, with its whole configuration, is the largest.
LARGEST_JSON = 1024 * 1024

_WHITE_SPACE = b" \t\n\v\f\r"
_PRINTABLE = bytes(range(0x20, 0x7F)) + _WHITE_SPACE
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
#: White space and the slash as strings of JSON, C and shells write them.
_ESCAPES = ((b"\\r", b""), (b"\\n", b"\n"), (b"\\t", b" "), (b"\\/", b"/"))
_UTF8_MARK = b"\xef\xbb\xbf"
#: Labels between which people keep these items (RFC 7468). AWS's steps say PKCS7.
_LABELS = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA", b"SIGNATURE")
#: A CMS object begins with a SEQUENCE: 0x30, then a length of two octets or more, or an indefinite one.
_SEQUENCE = 0x30

#: Names in JSON, without their case and punctuation, by the item: those of AWS, cloud-init, Vault, SPIRE, step-ca;
#: Ansible's have a prefix.
_MEMBERS = {
    "rsa2048": Kind.RSA2048.value,
    "signaturersa2048": Kind.RSA2048.value,
    "rsa2048signature": Kind.RSA2048.value,
    "pkcs7": Kind.PKCS7.value,
    "signature": Kind.SIGNATURE.value,
    "document": "document",
    "identity": "document",
    "identitydocument": "document",
    "instanceidentitydocument": "document",
}
#: What tells a document from an object that holds one.
_IN_DOCUMENTS = ("instanceId", "accountId", "pendingTime")


class Stored(Value):
    """The items that a text of JSON holds: their texts by name, and what was guessed or left out."""

    items: Mapping[str, bytes]
    notes: tuple[str, ...] = ()


def is_cms(blob: bytes) -> bool:
    """Whether octets begin as a CMS object does, and not as any text does."""
    return len(blob) > 1 and blob[0] == _SEQUENCE and blob[1] >= 0x80


def octets(text: bytes, kind: Kind) -> bytes:
    """The octets of a signature: from base64 in any dress, from PEM, or as they are. Raises MalformedError."""
    plain = unmarked(text)
    if is_cms(text):
        return text
    strange = plain.translate(None, _PRINTABLE)
    if strange and kind is Kind.SIGNATURE:
        return text  # no text: the signature itself
    if strange:
        raise MalformedError(
            f"signature: neither base64 nor a CMS object (octet 0x{strange[0]:02x} at {plain.index(strange[:1])})"
        )
    for written, meant in _ESCAPES:
        plain = plain.replace(written, meant)
    plain = _unquoted(_between_pem_lines(_after_headers(plain)))
    body = plain.translate(None, _WHITE_SPACE).translate(_URL_SAFE)
    digits = body.rstrip(b"=")
    if not digits:
        raise MalformedError("signature: empty (base64 is expected)")
    try:
        blob = b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError as error:
        raise MalformedError(f"signature: not base64 ({error}): {_strange(digits)}") from error
    return blob if not blob or blob.translate(None, _PRINTABLE) else _decoded_again(blob, kind)


def _decoded_again(text: bytes, kind: Kind) -> bytes:
    """What was encoded once more as a whole, as for a Kubernetes Secret; the text itself where it is something else."""
    try:
        return octets(text, kind)
    except MalformedError:
        return text


def unmarked(text: bytes) -> bytes:
    """The text in UTF-8 without a byte order mark, where it is UTF-16 (as PowerShell's `>` writes) or has a mark."""
    if text.startswith(_UTF8_MARK):
        return text[len(_UTF8_MARK) :]
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif text[1:2] == b"\0":
        encoding = "utf-16-le"
    elif text[:1] == b"\0":
        encoding = "utf-16-be"
    else:
        return text
    try:
        return text.decode(encoding).encode("ascii")
    except ValueError:
        return text


def is_json(text: bytes) -> bool:
    """Whether a text can be JSON that holds items: an object, a list or a string."""
    return unmarked(text[:64]).lstrip(_WHITE_SPACE)[:1] in (b"{", b"[", b'"')


def is_document(value: object) -> bool:
    """Whether a JSON value is an identity document itself, and not an object around one."""
    return isinstance(value, dict) and any(name in value for name in _IN_DOCUMENTS)


def parsed(text: bytes) -> object:
    """The value of a text of JSON. Raises MalformedError."""
    import json

    try:
        return json.loads(unmarked(text))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON ({error})") from error


def items_in(value: object) -> Stored:
    """The items in a JSON value, wherever in it they stand. Raises MalformedError for two that differ."""
    found: dict[str, bytes] = {}
    places: dict[str, str] = {}
    notes = []
    for name, place, member in _members(value):
        text = _text_of(member)
        if name == "document" and text is not None:
            text, decoded = _document_text(text)
            if decoded:
                notes.append(f"{place}: the document was decoded from base64")
        if text is None:
            notes.append(f"{place}: left out, since {_why_not(name, member)}")
        elif found.setdefault(name, text) != text:
            raise MalformedError(f"{place}: another {name} than at {places[name]}; verify one document at a time")
        else:
            places.setdefault(name, place)
            notes.append(f"{place}: taken for the {name}")
    return Stored(found, tuple(notes))


def _members(value: object) -> Iterator[tuple[str, str, object]]:
    """(item, place, value) of each member that has the name of an item, the outer ones first."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        place, one = waiting.pop(0)
        if isinstance(one, list):
            waiting += [(f"{place}[{at}]", inner) for at, inner in enumerate(one) if isinstance(inner, (dict, list))]
        if not isinstance(one, dict):
            continue
        for name, inner in one.items():
            where = f"{place}.{name}" if place else name
            item = _item(name)
            if item and (isinstance(inner, str) or _text_of(inner) is not None or is_document(inner)):
                yield item, _printable(where), inner
            elif isinstance(inner, (dict, list)):
                waiting.append((where, inner))
            elif item and inner is not None:
                yield item, _printable(where), inner


def _item(name: str) -> str | None:
    """The item that a member is named after. Ansible names it `ansible_ec2_instance_identity_rsa2048`."""
    letters = "".join(filter(str.isalnum, name)).lower()
    return _MEMBERS.get(letters) or _MEMBERS.get(letters.rpartition("instanceidentity")[2])


def _text_of(value: object) -> bytes | None:
    """A text, or a list of its lines as cloud-init's documentation shows them."""
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "surrogatepass")


def _document_text(text: bytes) -> tuple[bytes, bool]:
    """A document as it is, or from base64 as Vault's login has it; and whether it was decoded."""
    if not text.lstrip(_WHITE_SPACE).startswith(b"{"):
        try:
            decoded = b64decode(text.translate(None, _WHITE_SPACE), validate=True)
        except ValueError:
            return text, False
        if decoded.lstrip(_WHITE_SPACE).startswith(b"{"):
            return decoded, True
    return text, False


def _why_not(name: str, value: object) -> str:
    if name == "document" and isinstance(value, dict):
        return "it was parsed, and the bytes that AWS signed are lost"
    return f"it is a JSON {type(value).__name__} (text is expected)"


def _after_headers(text: bytes) -> bytes:
    """What follows the header lines of S/MIME, as OpenSSL writes it, or of HTTP, as `curl -i` does."""
    head, blank, body = text.replace(b"\r\n", b"\n").partition(b"\n\n")
    first = head.lstrip(_WHITE_SPACE).partition(b"\n")[0]
    return body if blank and (first.startswith(b"HTTP/") or b": " in first) else text


def _between_pem_lines(text: bytes) -> bytes:
    """What stands between the lines BEGIN and END, where there are any."""
    if b"-----BEGIN " not in text:
        return text
    label, _, rest = text.partition(b"-----BEGIN ")[2].partition(b"-----")
    body, end, after = rest.partition(b"-----END " + label + b"-----")
    if label not in _LABELS or not end or b"-----BEGIN " in after:
        says = label[:40].decode("ascii", "replace")
        raise MalformedError(f"signature: PEM lines of {says!r} (one block, BEGIN to END, of PKCS7 or CMS is expected)")
    return body


def _unquoted(text: bytes) -> bytes:
    inner = text.strip(_WHITE_SPACE)
    if inner[:2] in (b"b'", b'b"'):  # as Python prints bytes
        inner = inner[1:]
    if len(inner) > 1 and inner[:1] in (b"'", b'"') and inner[-1:] == inner[:1]:
        return inner[1:-1]
    return inner


def _strange(digits: bytes) -> str:
    at = next((at for at, one in enumerate(digits) if not (bytes((one,)).isalnum() or one in b"+/")), len(digits))
    return f"{digits[at : at + 8].decode('ascii')!a} at {at}" if at < len(digits) else f"{len(digits)} digits"


def _printable(place: str) -> str:
    text = ascii(place)[1:-1]
    return text if len(text) <= 80 else f"{text[:40]}...{text[-37:]}"
