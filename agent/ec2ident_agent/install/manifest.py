"""The manifest: what was installed on a node. It is in /etc, because images carry /etc and often not /var."""

from __future__ import annotations

import json

from ec2ident.value import Value
from ec2ident_agent.errors import RefusedError

from .layout import HOME
from .rootfs import File, RootFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFEST = f"{HOME}/manifest.json"
VERSION = 1


class Entry(Value):
    """One line of the manifest. `kind` is file, link or directory; `mark` is the digest or the target."""

    path: str
    kind: str
    mark: str = ""
    mode: int = 0
    #: What an earlier install may have left there: for a file the digest that an upgrade is about to replace, for a
    #: link that enables a unit its target, once that was installed. Empty: nothing was there before.
    before: str = ""


def read_manifest(tree: RootFs) -> tuple[Entry, ...] | None:
    """What was installed; None without a manifest. Raises RefusedError for one that is damaged or newer."""
    here = tree.look(MANIFEST)
    if here is None:
        return None
    try:
        assert isinstance(here, File)
        found = json.loads(here.content)
        if found["version"] != VERSION:
            raise RefusedError(f"{MANIFEST}: version {found['version']}, this program knows {VERSION}; use a newer one")
        return tuple(_read_entry(fields) for fields in found["entries"])
    except (AssertionError, ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise RefusedError(f"{MANIFEST}: damaged; nothing was changed. Restore it from a backup") from wrong


def _read_entry(fields: dict[str, object]) -> Entry:
    entry = Entry(
        str(fields["path"]),
        str(fields["kind"]),
        str(fields["mark"]),
        int(str(fields["mode"]), 8),
        str(fields["before"]),
    )
    if (
        entry.kind not in ("file", "link", "directory")
        or not entry.path.startswith("/")
        or ".." in entry.path.split("/")
    ):
        raise ValueError(entry.path)
    return entry


def manifest(entries: Iterable[Entry]) -> bytes:
    """The file with these entries, in their order."""
    listed = [
        {
            "path": entry.path,
            "kind": entry.kind,
            "mark": entry.mark,
            "mode": f"{entry.mode:04o}",
            "before": entry.before,
        }
        for entry in entries
    ]
    return (json.dumps({"version": VERSION, "entries": listed}, indent=1) + "\n").encode()
