"""Identity items in files: which file is what, read within limits, and saved to be carried to another machine."""

from __future__ import annotations

import os

from .errors import ImdsError, MalformedError
from .model import Kind
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .imds import Imds
    from .model import Verdict

#: The largest file that is read, in bytes; real ones have less than 1.6 KB.
LARGEST = 65536

_NAMES = ("document", *(kind.value for kind in Kind))

#: How the base64 of AWS's CMS begins: up to the digest algorithm, SHA-1 for pkcs7, SHA-256 for rsa2048.
_CMS = b"MIAGCSqGSIb3DQEHAqCAMIACAQEx"
_SHA1 = _CMS + b"CzAJBgUrDgMCGg"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class Saved(Value):
    """What was found: the signed items by kind, and the document where there is one."""

    document: bytes | None
    items: Mapping[Kind, bytes]


def load(paths: Iterable[str], *, kind: Kind | None = None, document: str | None = None) -> Saved:
    """The items in these files, directories (files named after the items in them) or `-` for standard input.

    What a file is, its name tells (`rsa2048`, `pkcs7.b64`, `document.json`), else its content; `kind` says it for all
    of them. `document` names the document's file. Raises OSError, and MalformedError for two files of one kind.
    """
    found: dict[str, bytes] = {}
    if document is not None:
        found["document"] = _read(document)
    for path in _expanded(paths):
        content = _read(path)
        what = kind.value if kind else _by_name(path) or _by_content(path, content)
        if found.setdefault(what, content) is not content:
            raise MalformedError(f"{path}: a second {what}; verify one document at a time")
    return Saved(found.pop("document", None), {Kind(what): content for what, content in found.items()})


def fetch(imds: Imds, verdict: Verdict, deadline: float | None = None) -> tuple[dict[str, bytes], dict[str, ImdsError]]:
    """The items that the service has, by name, where the verdict saw a document; and why others could not be had.

    `deadline`, on the client's clock, is for all of them. An item that the service does not have is in neither.
    """
    found: dict[str, bytes] = {}
    failed: dict[str, ImdsError] = {}
    if not any(fact.name == "identity-document" for fact in verdict.facts):
        return found, failed
    for name in _NAMES:
        try:
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


def _expanded(paths: Iterable[str]) -> list[str]:
    found: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            mine = [os.path.join(path, name) for name in sorted(os.listdir(path)) if _by_name(name)]
            if not mine:
                raise FileNotFoundError(2, f"no file in it is named {', '.join(_NAMES)}", path)
            found += mine
        else:
            found.append(path)
    return found


def _read(path: str) -> bytes:
    if path == "-":
        import sys

        content = sys.stdin.buffer.read(LARGEST + 1)
    else:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise MalformedError(f"{path}: more than {LARGEST} bytes (an identity item has less than 1600)")
    return content


def _by_name(path: str) -> str:
    stem = os.path.basename(path).partition(".")[0].lower()
    return stem if stem in _NAMES else ""


def _by_content(path: str, content: bytes) -> str:
    text = b"".join(content.split())
    if text.startswith(b"{"):
        return "document"
    if text.startswith(_SHA1):
        return Kind.PKCS7.value
    if text.startswith(_CMS):
        return Kind.RSA2048.value
    if text.translate(None, _BASE64):
        raise MalformedError(f"{path}: neither a document nor a signature (JSON or base64 is expected)")
    return Kind.SIGNATURE.value
