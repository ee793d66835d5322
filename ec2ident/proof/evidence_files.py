"""Identity items in files: which file is what, read within limits, and saved to be carried to another machine."""

from __future__ import annotations

import os

from ec2ident.errors import ImdsError, MalformedError
from ec2ident.model import Kind, Reason
from ec2ident.value import Value

from . import forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ec2ident.imds.client import Imds
    from ec2ident.model import Verdict

#: The largest file that is read, in bytes: cloud-init's instance data. An identity item has less than 1.6 KB.
LARGEST = forms.LARGEST_JSON

_NAMES = ("document", *(kind.value for kind in Kind))
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_SHA1 = bytes.fromhex("06052b0e03021a")


class Saved(Value):
    """What was found: the signed items by kind, and the document where there is one."""

    document: bytes | None
    items: Mapping[Kind, bytes]
    #: Kinds that only the content told: rsa2048 and pkcs7 have one form, and in China one type of key.
    guessed: frozenset[Kind] = frozenset()
    #: What was guessed and what was left out, a line each.
    notes: tuple[str, ...] = ()


def load(paths: Iterable[str], *, kind: Kind | None = None, document: str | None = None) -> Saved:
    """The items in these files, directories (files named after the items in them) or `-` for standard input.

    What a file is, its name tells (`rsa2048`, `pkcs7.b64`, `document.json`), else its content; `kind` says it for all
    of them. A file of JSON around the items gives all that it holds. `document` names the document's file. Raises
    OSError, and MalformedError for two files of one kind.
    """
    found = _Found(kind)
    if document is not None:
        found.add("document", document, read(document))
    for path, in_directory in _expanded(paths):
        content = read(path)
        if in_directory and _CERTIFICATE in content:
            found.notes.append(f"{path}: left out: a certificate")
        else:
            found.take(path, content)
    return found.saved()


class _Found:
    """The items so far."""

    def __init__(self, kind: Kind | None) -> None:
        self.kind = kind
        self.items: dict[str, bytes] = {}
        self.guessed: set[Kind] = set()
        self.stored: set[str] = set()  # in JSON
        self.notes: list[str] = []

    def add(self, what: str, path: str, content: bytes) -> None:
        if self.items.setdefault(what, content) != content:
            raise MalformedError(f"{path}: a second {what}; verify one document at a time")

    def take(self, path: str, content: bytes) -> None:
        """One file: what it is, or what it holds."""
        named = _by_name(path)
        value: Any = None
        if named != "document" and forms.is_json(content):
            value = _json(path, content)
        if isinstance(value, str):
            value, content = None, value.encode("utf-8", "surrogatepass")
            self.notes.append(f"{path}: read as a string of JSON")
        if value is not None and not forms.is_document(value):
            self._take_stored(path, value)
        elif self.kind or named:
            self.add(self.kind.value if self.kind else named, path, content)
        else:
            self._take_by_content(path, content)

    def _take_stored(self, path: str, value: object) -> None:
        stored = forms.items_in(value)
        if not stored.items:
            raise MalformedError(f"{path}: JSON without a member {', '.join(_NAMES[1:])}, or document")
        self.notes += [f"{path}: {note}" for note in stored.notes]
        for name, text in stored.items.items():
            if self.kind is None or name in (self.kind, "document"):
                self.add(name, path, text)
                self.stored.add(name)

    def _take_by_content(self, path: str, content: bytes) -> None:
        if forms.unmarked(content[:64]).lstrip()[:1] == b"{":
            self.add("document", path, content)
            return
        try:
            blob = forms.octets(content, Kind.SIGNATURE)
        except MalformedError as error:
            raise MalformedError(f"{path}: neither a document nor a signature: {error}") from error
        if not forms.is_cms(blob):
            kind, why = Kind.SIGNATURE, f"{len(blob)} bytes that are not a CMS object"
        elif _SHA1 in blob[:64]:
            kind, why = Kind.PKCS7, "a CMS object with SHA-1"
        else:
            kind, why = Kind.RSA2048, "a CMS object without SHA-1"
        self.add(kind.value, path, content)
        self.guessed.add(kind)
        self.notes.append(f"{path}: taken for {kind}: {why}")

    def saved(self) -> Saved:
        items = dict(self.items)
        document = items.pop("document", None)
        if document is None and Kind.SIGNATURE in self.stored and len(items) > 1:
            del items[Kind.SIGNATURE.value]
            self.notes.append("signature: left out: the document that it signs is not there byte for byte")
        kinds = {Kind(what): content for what, content in items.items()}
        return Saved(document, kinds, frozenset(self.guessed), tuple(self.notes))


def _json(path: str, content: bytes) -> object:
    """The value of a file that may be JSON; None if it is not."""
    try:
        return forms.parsed(content)
    except MalformedError as error:
        if forms.unmarked(content[:64]).lstrip()[:1] == b'"':
            return None
        raise MalformedError(f"{path}: {error}") from error


def fetch(imds: Imds, verdict: Verdict, deadline: float | None = None) -> tuple[dict[str, bytes], dict[str, ImdsError]]:
    """The items that the service has, by name, where the verdict saw a signed one; and why others could not be had.

    `deadline`, on the client's clock, is for all of them: an item that came too late leaves no time for those after it,
    which are not asked for. An item that the service does not have is in neither.
    """
    found: dict[str, bytes] = {}
    failed: dict[str, ImdsError] = {}
    if not any(fact.name in ("identity-document", "signature") for fact in verdict.facts):
        return found, failed
    for name in _NAMES:
        try:
            if failed and not imds.has_time(deadline):
                raise ImdsError("metadata service: the time was over before the request; allow more time", Reason.SLOW)
            item = imds.identity_item(name, deadline=deadline)
        except ImdsError as error:
            failed[name] = error
        else:
            if item is not None:
                found[name] = item
    return found, failed


def save(directory: str, contents: Mapping[str, bytes]) -> list[str]:
    """Write files into a directory that is made if need be; their paths. Raises OSError; overwrites nothing."""
    os.makedirs(directory, exist_ok=True)
    paths = [os.path.join(directory, name) for name in contents]
    for path in paths:
        if os.path.lexists(path):
            raise FileExistsError(17, "already there; name another directory", path)
    for path, content in zip(paths, contents.values()):
        with open(path, "xb") as file:
            file.write(content)
    return paths


def _expanded(paths: Iterable[str]) -> list[tuple[str, bool]]:
    """Each file, and whether a directory that was named led to it."""
    found: list[tuple[str, bool]] = []
    for path in paths:
        if os.path.isdir(path):
            mine = [os.path.join(path, name) for name in sorted(os.listdir(path)) if _by_name(name)]
            if not mine:
                raise FileNotFoundError(2, f"no file in it is named {', '.join(_NAMES)}", path)
            found += [(one, True) for one in mine]
        else:
            found.append((path, False))
    return found


def read(path: str) -> bytes:
    """The content of a file, or of standard input for `-`. Raises OSError, and MalformedError where it is too large."""
    if path == "-":
        import sys

        content = sys.stdin.buffer.read(LARGEST + 1)
    else:
        with open(path, "rb") as file:
            try:
                content = file.read(LARGEST + 1)
            except OSError as error:
                error.filename = path  # which a failed read does not know
                raise
    if len(content) > LARGEST:
        raise MalformedError(f"{path}: more than {LARGEST} bytes (an identity item has less than 1600)")
    return content


def _by_name(path: str) -> str:
    stem = os.path.basename(path).partition(".")[0].lower()
    return stem if stem in _NAMES else ""
