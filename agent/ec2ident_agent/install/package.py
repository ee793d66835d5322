"""What a distribution's package has of `layout.ROWS`, in the directories that are for packages.

`install` adds to /etc what the node at hand needs, and remembers it in a manifest. A package is made before its nodes
are known, and the package manager remembers what it holds. So a package has the hooks of every manager of its
distribution: a hook does nothing until its manager calls it. It has the cluster agents too.
"""

from __future__ import annotations

from .installer import adding
from .layout import HOME, ROWS, WANTS, InstallRequest, is_packaged, render, vendor_path, wanted
from .rootfs import RootFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: The managers of each family, as `ROWS` names them. Not network-scripts: /sbin/ifup-local is the administrator's file.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "debian": ("always", "ifupdown", "networkmanager", "networkd-dispatcher", "dhclient", "systemd", "udev", "ocf"),
    "suse": ("always", "networkmanager", "sysconfig", "systemd", "udev", "ocf"),
    "redhat": ("always", "networkmanager", "systemd", "udev", "ocf"),
}

#: The private environment of a package, and the agent in it.
PREFIX = vendor_path(HOME)
PROGRAM = f"{PREFIX}/bin/ec2ident-agent"


def add(root: str, family: str) -> None:
    """Write into `root`, which already has `PROGRAM`, all that a package of this family has. Raises OSError, KeyError.

    Missing are the links that start units at boot, which the package's scripts make as the distribution wants it, and
    the script that removes what the manifest names.
    """
    tree = RootFs(root)
    # On SUSE one script serves every interface.
    request = InstallRequest(PROGRAM, interfaces=("",), packaged=True)
    without = (vendor_path(WANTS), vendor_path(f"{HOME}/uninstall"))
    for thing in wanted(tree, FAMILIES[family], request, ()):
        if not thing.path.startswith(without):
            adding(thing).do(tree)


def uninstall_script() -> str:
    """The script that removes all from a node without Python, as a package of Debian's needs it for a purge."""
    return render("uninstall", InstallRequest(PROGRAM, packaged=True), RootFs("/")).decode()


def packaged(tree: RootFs) -> frozenset[str]:
    """The paths of `ROWS` for which a distribution's package has its file on this node."""
    if not is_packaged(tree):
        return frozenset()
    rows = [row.path for manager in ROWS.values() for row in manager.rows if "{interface}" not in row.path]
    return frozenset(path for path in rows if tree.exists(vendor_path(path)))
