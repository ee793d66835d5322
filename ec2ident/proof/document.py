"""An instance identity document: from the exact bytes that AWS signs to a typed value.

The form is JSON ("Instance identity documents for Amazon EC2 instances"). What two parsers could read differently is
refused: duplicate names, NaN, bytes that are not UTF-8. Only the fields that decide something are required: region,
instance id, account id and pending time. Any other may be absent or have another form; then it is None (a list: empty),
and what stands in the document is kept in `extra`, as are fields that AWS may add later.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from json import JSONDecoder

from ec2ident.errors import MalformedError
from ec2ident.model import IdentityDocument
from ec2ident.value import Value, made

from . import template as templates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from typing_extensions import TypeGuard

    from .template import Template

#: Real documents have 422 to 503 bytes.
LARGEST = 16 * 1024
_LONGEST_TEXT = 255
_ACCOUNT_DIGITS = 12
_OCTETS = {str(octet): octet for octet in range(256)}


class _OtherFormError(ValueError):
    """A field that decides nothing has a form that this version does not know."""


def parse(raw: bytes) -> IdentityDocument:
    """The document that these bytes spell. Raises MalformedError, which names the field and what it should be."""
    known = _by_comparison(raw)
    return walk(raw) if known is None else made(IdentityDocument, known)


def walk(raw: bytes) -> IdentityDocument:
    """Like `parse`, but member by member; `parse` compares a document with earlier ones of the same form."""
    if len(raw) > LARGEST:
        raise MalformedError(f"document: {len(raw)} bytes (at most {LARGEST})")
    known = {**_ABSENT, "raw": raw}
    extra = []
    try:
        text = raw.decode()
        stripped = text.strip(" \t\r\n")
        fields, end = _decoder.raw_decode(stripped)
        if end != len(stripped):
            raise MalformedError(f"document: {len(stripped) - end} characters after the JSON object")
        if not isinstance(fields, dict):
            raise MalformedError(f"document: a JSON {type(fields).__name__} (an object is expected)")
        for name, value in fields.items():
            if value is None and name in _NULLABLE:
                continue
            try:
                field, read = _FIELDS[name]
                known[field] = read(name, value)
            except (KeyError, _OtherFormError):
                extra.append((name, _frozen(value)))
    except MalformedError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"document: not JSON in UTF-8 ({error})") from error
    if extra:
        known["extra"] = tuple(extra)
    for field, name, why in _REQUIRED:
        if known[field] is None:
            raise MalformedError(f"document: {name} is missing; {why}")
    _remember(text, fields, known)
    return made(IdentityDocument, known)


class _Form(Value):
    """Documents of one form: the template, and what was read of the first."""

    template: Template
    #: The attribute for each hole.
    attributes: tuple[str, ...]
    #: The holes of a time or an address: attribute, how to read it, name.
    checked: tuple[tuple[str, Callable[[str, object], Any], str], ...]
    #: The fields of the first document: of the next ones, all but what is in the holes.
    known: dict[str, Any]


#: Never changed, but replaced by a longer one, so that several threads may read it.
_forms: tuple[_Form, ...] = ()
_MOST_FORMS = 8


def _by_comparison(raw: bytes) -> dict[str, Any] | None:
    """The fields of a document of a remembered form, else None."""
    try:
        text = raw.decode("ascii")
        for form in _forms:
            found = form.template.match(text)
            if found:
                known = {**form.known, **dict(zip(form.attributes, found.groups())), "raw": raw}
                for attribute, read, name in form.checked:
                    known[attribute] = read(name, known[attribute])
                return known
    except (UnicodeDecodeError, _OtherFormError):
        pass
    return None


def _remember(text: str, fields: dict[str, Any], known: dict[str, Any]) -> None:
    """Keep the form of a document that was read as JSON. Its holes are the members that are one text."""
    global _forms
    members = {name: value for name, value in fields.items() if name in _HOLES and known[_FIELDS[name][0]] is not None}
    template = templates.of(text, members, _HOLES)
    if template is None:
        return
    checked = tuple((*_FIELDS[name], name) for name in members if _FIELDS[name][1] in (_time, _address))
    form = _Form(template, tuple(_FIELDS[name][0] for name in members), checked, known)
    _forms = (*(_forms if len(_forms) < _MOST_FORMS else ()), form)


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


def _is_text(value: object) -> TypeGuard[str]:
    """ASCII that can be printed, so that it may stand in a log or on a terminal."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= _LONGEST_TEXT


def _required(name: str, value: object) -> str:
    if not _is_text(value):
        raise MalformedError(
            f"document: {name} is {_short(value)} (expected: 1 to {_LONGEST_TEXT} printable characters)"
        )
    return value


def _account(name: str, value: object) -> str:
    text = _required(name, value)
    if len(text) != _ACCOUNT_DIGITS or not text.isdigit():
        raise MalformedError(f"document: {name} is {_short(text)} ({_ACCOUNT_DIGITS} digits are expected)")
    return text


def _instance(name: str, value: object) -> str:
    text = _required(name, value)
    if not text.startswith("i-") or len(text) < 3 or text[2:].strip("0123456789abcdef"):
        raise MalformedError(f"document: {name} is {_short(text)} (i- and hex digits are expected)")
    return text


def _time(name: str, value: object) -> datetime:
    """AWS writes `2021-03-31T05:44:30Z`. Other spellings of RFC 3339 are read: a fraction, an offset in place of Z."""
    text = _required(name, value)
    try:
        if len(text) != len("2021-03-31T05:44:30Z") or text[4::3] != "--T::Z":
            text = _plain_time(text)
        return datetime.fromisoformat(text[:-1] + "+00:00") if text[-1] == "Z" else _in_utc(text)
    except (ValueError, OverflowError):
        raise MalformedError(f"document: {name} is {_short(value)} (like 2021-03-31T05:44:30Z is expected)") from None


def _plain_time(text: str) -> str:
    """A time of RFC 3339 as every Python's fromisoformat reads it: a fraction of six digits, an offset with a colon."""
    import re

    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)", text, re.ASCII)
    if not found:
        raise ValueError(text)
    seconds, fraction, zone = found.groups()
    offset = "+00:00" if zone == "Z" else f"{zone[:3]}:{zone[-2:]}"
    return f"{seconds}.{(fraction or '0'):0<6.6}{offset}"


def _in_utc(text: str) -> datetime:
    from datetime import timezone

    return datetime.fromisoformat(text).astimezone(timezone.utc)


def _optional(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if not _is_text(value):
        raise _OtherFormError(name)
    return value


def _address(name: str, value: object) -> IPv4Address | IPv6Address | None:
    """What EC2 writes for an instance without IPv4 is not published: absent, null and an empty string all say none."""
    if value is None or value == "":
        return None
    if not _is_text(value):
        raise _OtherFormError(name)
    try:
        # The usual form, in a third of the time that IPv4Address takes to read a text.
        a, b, c, d = value.split(".")
        return IPv4Address(_OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d])
    except (KeyError, ValueError):
        pass
    try:
        return IPv6Address(value) if ":" in value else IPv4Address(value)
    except ValueError as error:
        raise _OtherFormError(name) from error


def _codes(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(map(_is_text, value)):
        raise _OtherFormError(name)
    return tuple(value)


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


#: The field in the document, the attribute of `Document`, and how to read it.
_FIELDS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    "accountId": ("account_id", _account),
    "architecture": ("architecture", _optional),
    "availabilityZone": ("availability_zone", _optional),
    "billingProducts": ("billing_products", _codes),
    "devpayProductCodes": ("devpay_product_codes", _codes),
    "imageId": ("image_id", _optional),
    "instanceId": ("instance_id", _instance),
    "instanceType": ("instance_type", _optional),
    "kernelId": ("kernel_id", _optional),
    "marketplaceProductCodes": ("marketplace_product_codes", _codes),
    "pendingTime": ("pending_time", _time),
    "privateIp": ("private_ip", _address),
    "ramdiskId": ("ramdisk_id", _optional),
    "region": ("region", _required),
    "version": ("version", _optional),
}

#: The fields that are one text, and what they may be where documents are read by comparison.
_HOLES = {name: f"{templates.PLAIN}{{1,{_LONGEST_TEXT}}}" for name, (_, read) in _FIELDS.items() if read is not _codes}
_HOLES.update(accountId=f"[0-9]{{{_ACCOUNT_DIGITS}}}", instanceId=f"i-[0-9a-f]{{1,{_LONGEST_TEXT - 2}}}")

#: The fields that decide something: the attribute, its name in the document, and what it is needed for.
_REQUIRED = (
    ("region", "region", "without it no key can be chosen"),
    ("instance_id", "instanceId", "without it the document is about no instance"),
    ("account_id", "accountId", "without it nothing says who owns the instance"),
    ("pending_time", "pendingTime", "without it nothing says when the instance started"),
)

#: For these null says the same as nothing.
_NULLABLE = frozenset(_FIELDS) - {name for _, name, _ in _REQUIRED}

#: What a field is where the document does not have it.
_ABSENT: dict[str, Any] = {field: getattr(IdentityDocument, field, None) for field in IdentityDocument._fields}
