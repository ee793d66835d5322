"""BSD: what the loader or the kernel passes on of SMBIOS, through `kenv` and `sysctl`."""

from __future__ import annotations

from ec2ident import firmware

from . import programs
from .programs import TOOL_SECONDS
from .reading import tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .reading import Facts, Run, Stage


def stage(platform: str, start: Run | None = None) -> Stage:
    """The reader for a platform, as `sys.platform` names it; `start` starts programs (`programs.run`)."""
    if platform.startswith("openbsd"):
        return lambda seconds: openbsd(seconds, start)
    if platform.startswith("netbsd"):
        return lambda seconds: netbsd(seconds, start)
    return lambda seconds: freebsd(seconds, start)


def freebsd(seconds: float = TOOL_SECONDS, start: Run | None = None) -> Facts:
    """The SMBIOS fields that the loader of FreeBSD and DragonFly passes on."""
    return tool(["kenv"], seconds, lambda output: firmware.parse_kenv(output.decode("latin-1")), start)


def openbsd(seconds: float = TOOL_SECONDS, start: Run | None = None) -> Facts:
    """The fields that OpenBSD's kernel takes from SMBIOS, for every user."""
    return _sysctl(tuple(firmware.OPENBSD), firmware.OPENBSD, seconds, start)


def netbsd(seconds: float = TOOL_SECONDS, start: Run | None = None) -> Facts:
    """The fields that NetBSD's kernel takes from SMBIOS; the serial number and the UUID for root alone.

    The whole tree is asked for: a kernel without one of the names would make it an error to ask by name.
    """
    return _sysctl(("machdep.dmi",), firmware.NETBSD, seconds, start)


def _sysctl(names: Sequence[str], fields: dict[str, str], seconds: float, start: Run | None) -> Facts:
    return tool(
        ["sysctl", *names],
        seconds,
        lambda out: firmware.parse_sysctl(out.decode("latin-1"), fields),
        lambda argv, limit: programs.output(argv, limit, start),
    )
