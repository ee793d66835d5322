"""What an uninstall removes of the state directory, where processes of this project keep caches, locks and marks.

The journal names what is applied on this node. While it is there, a `revert` needs the directory, and only the owners
that a revert suppressed are forgotten, so that the next install starts anew. A lock that another process holds stays,
because a third process would make a new file of that name and hold it too. What failover remembers of a service stays,
because a later `release` puts it back.
"""

from __future__ import annotations

from .rootfs import Directory, File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rootfs import RootFs

SUPPRESSED = "suppressed"
CACHES = ("config", "facts", "watch.prom", SUPPRESSED)
LOCKS = ("lock", "watch", "facts.lock")
#: Directory -> how the names begin that are removed in it.
DIRECTORIES: dict[str, tuple[str, ...]] = {
    "ifupdown": ("",),
    "ocf": ("",),
    "keepalived": ("",),
    "failover": ("audit.log", "moved-"),
}


def removals(tree: RootFs, state: str) -> Iterator[tuple[str, str]]:
    """The verb and the path of each step. Raises OSError."""
    here = tree.look(state)
    if not isinstance(here, Directory):
        return
    if "journal" in here.names:
        if isinstance(tree.look(f"{state}/{SUPPRESSED}"), File):
            yield "rm", f"{state}/{SUPPRESSED}"
        return
    for name in here.names:
        path = f"{state}/{name}"
        found = tree.look(path)
        if isinstance(found, Directory) and name in DIRECTORIES:
            inside = (f"{path}/{each}" for each in found.names if each.startswith(DIRECTORIES[name]))
            yield from (("rm", each) for each in inside if isinstance(tree.look(each), File))
            yield "rmdir if empty", path
        elif isinstance(found, File) and name in CACHES:
            yield "rm", path
    for name in LOCKS:
        if isinstance(tree.look(f"{state}/{name}"), File):
            yield "rm if free", f"{state}/{name}"
    yield "rmdir if empty", state
