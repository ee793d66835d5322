"""An instance identity document: from the exact bytes that AWS signs to a typed value.

The form is JSON ("Instance identity documents for Amazon EC2 instances"). What two parsers could read differently is
refused: duplicate names, NaN, bytes that are not UTF-8. Fields that AWS may add later are kept, not refused.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from json import JSONDecoder

from .errors import MalformedError
from .model import IdentityDocument
from .value import made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

#: Real documents have 422 to 503 bytes.
LARGEST = 16 * 1024
_LONGEST_TEXT = 255
_ACCOUNT_DIGITS = 12


def parse(raw: bytes) -> IdentityDocument:
    """The document that these bytes spell. Raises MalformedError, which names the field and what it should be."""
    if len(raw) > LARGEST:
        raise MalformedError(f"document: {len(raw)} bytes (at most {LARGEST})")
    try:
        text = raw.decode().strip(" \t\r\n")
        fields, end = _decoder.raw_decode(text)
        if end != len(text):
            raise MalformedError(f"document: {len(text) - end} characters after the JSON object")
        if not isinstance(fields, dict):
            raise MalformedError(f"document: a JSON {type(fields).__name__} (an object is expected)")
        known: dict[str, Any] = {"raw": raw}
        extra = []
        for name, value in fields.items():
            if name in _FIELDS:
                field, read = _FIELDS[name]
                known[field] = read(name, value)
            else:
                extra.append((name, _frozen(value)))
    except MalformedError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"document: not JSON in UTF-8 ({error})") from error
    known["extra"] = tuple(extra)
    if len(known) < len(IdentityDocument._fields):
        _complete(known)
    return made(IdentityDocument, known)


def _complete(known: dict[str, Any]) -> None:
    """Fill in what AWS did not write at all times. Raises MalformedError where anything else is missing."""
    for name, (field, read) in _FIELDS.items():
        if field not in known:
            if read not in (_optional, _codes):
                raise MalformedError(f"document: {name} is missing")
            known[field] = read(name, None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise MalformedError(f"document: {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _no_constant(name: str) -> None:
    raise MalformedError(f"document: {name} is not JSON")


_decoder = JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return tuple((name, _frozen(inner)) for name, inner in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _text(name: str, value: object) -> str:
    """ASCII that can be printed, so that it may stand in a log or on a terminal."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= _LONGEST_TEXT:
        return value
    raise MalformedError(f"document: {name} is {_short(value)} (expected: 1 to {_LONGEST_TEXT} printable characters)")


def _account(name: str, value: object) -> str:
    text = _text(name, value)
    if len(text) != _ACCOUNT_DIGITS or not text.isdigit():
        raise MalformedError(f"document: {name} is {_short(text)} ({_ACCOUNT_DIGITS} digits are expected)")
    return text


def _instance(name: str, value: object) -> str:
    text = _text(name, value)
    if not text.startswith("i-") or len(text) < 3 or text[2:].strip("0123456789abcdef"):
        raise MalformedError(f"document: {name} is {_short(text)} (i- and hex digits are expected)")
    return text


def _time(name: str, value: object) -> datetime:
    """`2021-03-31T05:44:30Z`, always with seconds and Z; no other spelling of ISO 8601."""
    text = _text(name, value)
    try:
        # fromisoformat knows other spellings too, from Python 3.11 on.
        if len(text) != len("2021-03-31T05:44:30Z") or text[4::3] != "--T::Z":
            raise ValueError
        return datetime.fromisoformat(text[:-1] + "+00:00")
    except ValueError:
        raise MalformedError(f"document: {name} is {_short(text)} (like 2021-03-31T05:44:30Z is expected)") from None


def _address(name: str, value: object) -> IPv4Address | IPv6Address | None:
    """What EC2 writes for an instance without IPv4 is not published: null and an empty string both say none."""
    if value is None or value == "":
        return None
    text = _text(name, value)
    try:
        return IPv6Address(text) if ":" in text else IPv4Address(text)
    except ValueError as error:
        raise MalformedError(f"document: {name} is {_short(text)} (an IP address is expected)") from error


def _optional(name: str, value: object) -> str | None:
    return None if value is None else _text(name, value)


def _codes(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise MalformedError(f"document: {name} is {_short(value)} (a list or null is expected)")
    return tuple(_text(name, item) for item in value)


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


#: The field in the document, the field of ours, and how to read it.
_FIELDS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    "accountId": ("account_id", _account),
    "architecture": ("architecture", _text),
    "availabilityZone": ("availability_zone", _text),
    "billingProducts": ("billing_products", _codes),
    "devpayProductCodes": ("devpay_product_codes", _codes),
    "imageId": ("image_id", _text),
    "instanceId": ("instance_id", _instance),
    "instanceType": ("instance_type", _text),
    "kernelId": ("kernel_id", _optional),
    "marketplaceProductCodes": ("marketplace_product_codes", _codes),
    "pendingTime": ("pending_time", _time),
    "privateIp": ("private_ip", _address),
    "ramdiskId": ("ramdisk_id", _optional),
    "region": ("region", _text),
    "version": ("version", _text),
}
