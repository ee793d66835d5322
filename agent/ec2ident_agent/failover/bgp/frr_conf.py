"""Install FRR's configuration where FRR reads it, through the manifest of `ec2ident-agent install`.

So it is treated as hooks and units are: named in the manifest before it is written, replaced by a later install, never
written over a file of another program or of the administrator, and removed by `uninstall` if it is unchanged.
"""

from __future__ import annotations

from ec2ident.value import replace
from ec2ident_agent.errors import RefusedError
from ec2ident_agent.failover.errors import ApiUnknownError, OutOfTimeError, UsageError
from ec2ident_agent.install.installer import Held, differences, perform, plan_beside
from ec2ident_agent.install.layout import FRR, Row, Thing
from ec2ident_agent.install.rootfs import Directory, File, RootFs

from . import vtysh
from .frr import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ec2ident_agent.install.installer import Plan

    from .frr import Speaker

    Say = Callable[[str], object]

DIRECTORY, DAEMONS = "/etc/frr", "/etc/frr/daemons"
#: As the packages of Debian and of FRR have it.
MODE = 0o640
#: The one line of Debian's own frr.conf that is not a comment. This configuration has it too.
DEFAULT = "log syslog informational"
#: FRR starts a daemon for every other value (frrcommon.sh, daemon_list).
OFF = ("", "no", "0")


class FrrConf:
    """The file for one speaker, in the file system `root`; FRR's parser has `seconds` to read it."""

    def __init__(self, speaker: Speaker, root: str, seconds: float) -> None:
        self._speaker, self._tree, self._seconds = speaker, RootFs(root), seconds
        self._text = configuration(speaker)

    def install(self, say: Say, log: Say, *, dry_run: bool = False, compare_only: bool = False) -> int:
        """Write the file unless it is up to date. Returns the exit code; FRR is not restarted.

        Raises RefusedError if another program or the administrator wrote or changed the file, and if FRR's parser
        refuses the configuration; UsageError without FRR; OutOfTimeError; AgentError for the file system's errors.
        """
        with Held(self._tree):
            plan = self._plan()
            if plan.steps:
                self._check(log)
            differs = differences(self._tree, plan) if compare_only else []
            perform(self._tree, plan, dry_run or compare_only)
        lines = plan.shown if dry_run else plan.lines
        for line in (differs or [f"{FRR}: as this configuration makes it"]) if compare_only else lines:
            say(line)
        for note in [*self._switched_off(), *(["now run: systemctl restart frr"] if plan.steps else [])]:
            log(f"ec2ident-failover: {note}")
        return int((dry_run or compare_only) and bool(plan.steps))

    def _plan(self) -> Plan:
        if not self._tree.exists(DIRECTORY):
            raise UsageError(f"{DIRECTORY}: is not there: install FRR on this node first")
        content = self._text.encode()
        self._check_hidden()
        plan = plan_beside(self._tree, [Thing(FRR, File(content, MODE), Row(FRR))], self._gives_way)
        here = self._tree.look(FRR)
        if not any(step.path == FRR for step in plan.steps) and not (
            isinstance(here, File) and here.content == content
        ):
            raise RefusedError(
                f"{FRR}: another program or an administrator wrote or changed it; it was not changed. Add by hand what"
                " `ec2ident-failover bgp` prints, or move the file away and install again"
            )
        status = self._tree.status(f"{DIRECTORY}/.")
        owner = (status.st_uid, status.st_gid)
        return replace(
            plan, steps=tuple(replace(each, owner=owner) if each.path == FRR else each for each in plan.steps)
        )

    def _gives_way(self, content: bytes) -> bool:
        """Whether a file that was not installed says nothing, or the same."""
        return _said(content) <= {DEFAULT} or content == self._text.encode()

    def _check_hidden(self) -> None:
        """Without frr.conf each daemon reads a file of its own, and with it none does. Raises RefusedError."""
        there = self._tree.look(f"{DIRECTORY}/.")
        if isinstance(there, Directory) and "frr.conf" not in there.names:
            for name in there.names:
                here = self._tree.look(f"{DIRECTORY}/{name}") if name.endswith(("d.conf", "zebra.conf")) else None
                if isinstance(here, File) and _said(here.content):
                    raise RefusedError(
                        f"{DIRECTORY}/{name}: FRR reads no such file beside {FRR}; nothing was changed. Write that one"
                        " by hand, with what both say"
                    )

    def _check(self, log: Say) -> None:
        try:
            vtysh.check(self._text, self._seconds)
        except UsageError:
            log(f"ec2ident-failover: {vtysh.PROGRAM} is not there: the configuration is not checked with FRR's parser")
        except OutOfTimeError:
            raise
        except ApiUnknownError as error:
            raise RefusedError(f"{FRR}: not changed, because FRR's parser refuses the configuration: {error}") from None

    def _switched_off(self) -> Iterator[str]:
        """What to write into the file that belongs to FRR's package, which is not edited here."""
        here = self._tree.look(DAEMONS)
        said = {}
        for line in here.content.decode("utf-8", "replace").splitlines() if isinstance(here, File) else ():
            name, equals, value = line.strip().partition("=")
            if equals:
                said[name] = value.partition("#")[0].strip().strip("\"'")
        for name in ("bgpd", *(["bfdd"] if self._speaker.bfd else [])):
            if said.get(name, "") in OFF:
                yield f"{DAEMONS}: {name} is not switched on: write the line {name}=yes"


def _said(content: bytes) -> set[str]:
    """The lines of a configuration without comments."""
    lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    return {line for line in lines if line and not line.startswith(("#", "!"))}
