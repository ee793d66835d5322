"""Write the drop-ins that `doctor` advises, and remove exactly those: through the manifest of `install`.

So they are treated as hooks and units are: named in the manifest before they are written, kept when the administrator
has changed them, never written over a file of the administrator, and removed by `uninstall`. `install` does not touch
them.
"""

from __future__ import annotations

from ec2ident_agent.install.installer import (
    Held,
    Plan,
    leftovers,
    manifest_step,
    perform,
    plan_beside,
    plan_uninstall,
    take_away,
)
from ec2ident_agent.install.layout import FIX, HOME, Row, Thing
from ec2ident_agent.install.manifest import MANIFEST, read_manifest
from ec2ident_agent.install.rootfs import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ec2ident_agent.install.rootfs import RootFs

    from .threats.node_view import DropIn


def fix(tree: RootFs, fixes: Iterable[DropIn], *, dry_run: bool = False) -> Plan:
    """Write these drop-ins; a second time changes nothing. Returns what was done. Raises AgentError."""
    with Held(tree):
        return perform(tree, plan_fix(tree, fixes), dry_run)


def unfix(tree: RootFs, *, dry_run: bool = False) -> Plan:
    """Remove every drop-in that is still as `fix` wrote it. Returns what was done. Raises AgentError."""
    with Held(tree):
        return perform(tree, plan_unfix(tree), dry_run)


def plan_fix(tree: RootFs, fixes: Iterable[DropIn]) -> Plan:
    """The steps that write these drop-ins and record them in the manifest; no steps without drop-ins."""
    wanted = {each.path: each for each in fixes}.values()
    if not wanted:
        return Plan()
    files = [Thing(each.path, File(each.content.encode(), 0o644), Row(each.path)) for each in wanted]
    return plan_beside(tree, files)


def plan_unfix(tree: RootFs) -> Plan:
    """The steps that remove the drop-ins that `plan_fix` wrote; without an install the manifest goes too."""
    owned = {entry.path: entry for entry in read_manifest(tree) or ()}
    clean = leftovers(tree, owned)
    mine = [path for path in owned if path.endswith(f"/{FIX}")]
    if not mine:
        return Plan(tuple(clean))
    going = [
        entry for path, entry in owned.items() if path in mine or any(each.startswith(f"{path}/") for each in mine)
    ]
    steps, notes, left = take_away(tree, going, {step.path for step in clean})
    after = {path: entry for path, entry in owned.items() if entry not in going or entry in left}
    if not after.keys() - {HOME}:
        # There was no install: without the drop-ins the manifest is not needed.
        return plan_uninstall(tree)
    return Plan((*clean, *steps, manifest_step(MANIFEST, after)), tuple(notes))
