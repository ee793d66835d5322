"""Route 53 where moto is too kind: change ids that are PENDING for a while, and values that are checked."""

from __future__ import annotations

import ipaddress
import itertools
import re
import time
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from .request import RefusalError, Request

INFO = re.compile(rb"<ChangeInfo>.*?</ChangeInfo>", re.DOTALL)


@dataclass
class Changes:
    """Every change made here, and when it will have reached all name servers."""

    seconds: float = 0.0
    known: dict[str, tuple[float, str]] = field(default_factory=dict)
    counter: Any = field(default_factory=lambda: itertools.count(1))

    def begin(self, comment: str) -> str:
        change = f"C{next(self.counter):013d}FAKE"
        self.known[change] = (time.monotonic() + self.seconds, comment)
        return change

    def info(self, change: str) -> bytes:
        if change not in self.known:
            raise RefusalError("NoSuchChange", f"A change with id {change} does not exist", 404)
        due, comment = self.known[change]
        status = "INSYNC" if time.monotonic() >= due else "PENDING"
        said = f"<Comment>{comment}</Comment>" if comment else ""
        return (
            f"<ChangeInfo><Id>/change/{change}</Id><Status>{status}</Status>"
            f"<SubmittedAt>2026-01-01T00:00:00.000Z</SubmittedAt>{said}</ChangeInfo>"
        ).encode()


def rewrite(answer: bytes, info: bytes) -> bytes:
    return INFO.sub(lambda _: info, answer)


def text(node: ElementTree.Element, path: str) -> str:
    return (node.findtext(path) or "").strip()


def kind_of(record: Any) -> str:
    """A record set's type; moto renamed it."""
    return str(getattr(record, "type", None) or getattr(record, "type_", ""))


def normal(name: str) -> str:
    return name.rstrip(".").lower()


def changes_of(request: Request) -> list[ElementTree.Element]:
    return request.xml().findall("ChangeBatch/Changes/Change")


def check(request: Request, zone: Any) -> None:
    """Raises RefusalError for what ChangeResourceRecordSets does not take. Changes of a batch follow one another."""
    deleted: set[tuple[str, str, str]] = set()
    for change in changes_of(request):
        record = change.find("ResourceRecordSet")
        if record is None:
            raise RefusalError("InvalidInput", "Change without a ResourceRecordSet")
        action, name, kind = text(change, "Action"), normal(text(record, "Name")), text(record, "Type")
        values = [text(value, "Value") for value in record.iter("ResourceRecord")]
        _ordered(record)
        if not (name == normal(zone.name) or name.endswith("." + normal(zone.name))):
            said = f"RRSet with DNS name {name}. is not permitted in zone {zone.name}"
            raise RefusalError("InvalidChangeBatch", f"[{said}]")
        for value in values:
            _value(kind, value)
        stored = [
            r
            for r in zone.rrsets
            if normal(r.name) == name and kind_of(r) == kind and (name, kind, r.set_identifier or "") not in deleted
        ]
        _against(stored, action, name, kind, text(record, "SetIdentifier"), values)
        if action == "DELETE":
            deleted.add((name, kind, text(record, "SetIdentifier")))


def _ordered(record: ElementTree.Element) -> None:
    order = ["Name", "Type", "SetIdentifier", "Weight", "TTL", "ResourceRecords"]
    found = [child.tag for child in record if child.tag in order]
    if found != sorted(found, key=order.index):
        raise RefusalError("InvalidInput", "Invalid XML ; cvc-complex-type.2.4.a: Invalid content was found")


def _value(kind: str, value: str) -> None:
    family = {"A": ipaddress.IPv4Address, "AAAA": ipaddress.IPv6Address}.get(kind)
    try:
        family and family(value)
    except ValueError as error:
        raise RefusalError("InvalidChangeBatch", f"[Invalid Resource Record: '{error}' in {kind} record]") from error


def _against(stored: list[Any], action: str, name: str, kind: str, identifier: str, values: list[str]) -> None:
    same = [r for r in stored if (r.set_identifier or "") == identifier]
    if action == "CREATE" and same:
        said = f"Tried to create resource record set [name='{name}.', type='{kind}'] but it already exists"
        raise RefusalError("InvalidChangeBatch", f"[{said}]")
    if action == "DELETE" and not (same and sorted(same[0].records) == sorted(values)):
        said = (
            f"Tried to delete resource record set [name='{name}.', type='{kind}'] but the values provided do not match"
        )
        raise RefusalError("InvalidChangeBatch", f"[{said} the current values]")
    if action != "DELETE" and any(bool(r.set_identifier) != bool(identifier) for r in stored):
        said = f"RRSet with DNS name {name}., type {kind} cannot be created as other RRSets exist with the same name"
        raise RefusalError("InvalidChangeBatch", f"[{said} and type.]")
