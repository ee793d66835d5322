"""What this machine says of itself: files under /sys, firmware tools, Windows' tables, local interfaces.

Each reader answers with facts of three kinds: a value, absent (we looked, and it was not there), unknown (we could not
look, and why). Files, programs and tables come in through `Host`, so that all of it runs on captured output too. There
is one module for each kind of system, and only the one that this machine needs is loaded. This package is the only
importer of psutil, and in the library the only one that starts programs.
"""

from __future__ import annotations

import os
import sys

from ec2ident.assess import FIRMWARE
from ec2ident.dependency import Loading
from ec2ident.errors import UnverifiableError
from ec2ident.model import Fact, Reason

from .reading import below, read, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import Any

    from .reading import Facts, Run, Stage

__all__ = ["ENVIRONMENT", "FIRMWARE", "Host"]

#: What AWS puts into the environment of a container or a function, and how the value begins or what it contains where
#: others set the variable too. Only that they are there is a fact: the names and addresses in them are not used.
#: "Amazon ECS container metadata", "Lambda environment variables", "IAM roles for service accounts",
#: "EKS Pod Identity", "Environment variables in build environments" (CodeBuild), "AWS Batch job environment variables".
ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "AWS_EXECUTION_ENV": ("",),
    "AWS_LAMBDA_FUNCTION_NAME": ("",),
    "AWS_LAMBDA_RUNTIME_API": ("",),
    "ECS_CONTAINER_METADATA_URI_V4": ("",),
    "ECS_CONTAINER_METADATA_URI": ("",),
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ("",),
    # The addresses of the agents of ECS and EKS. Programs on a laptop set this variable to localhost.
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": ("http://169.254.170.2", "http://[fd00:ec2::23]"),
    # Where EKS mounts a service account's token. Other clouds' tokens for AWS lie elsewhere.
    "AWS_WEB_IDENTITY_TOKEN_FILE": ("eks.amazonaws.com",),
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": ("eks.amazonaws.com",),
    "CODEBUILD_BUILD_ARN": ("arn:aws",),
    "AWS_BATCH_JOB_ID": ("",),
}


class Host:
    """Where this machine is looked at. Making one looks at nothing.

    `root` is the root of the file system; `platform` as `sys.platform`; `privileged` whether firmware tools may work.
    `run`, `firmware_table`, `registry` and `system_directory` take the place of `programs.run` and of the readers of
    the same purpose in `windows` and `programs`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "/",
        *,
        platform: str = sys.platform,
        environ: Mapping[str, str] | None = None,
        privileged: bool | None = None,
        run: Run | None = None,
        firmware_table: Callable[[], bytes] | None = None,
        registry: Callable[[str], str | None] | None = None,
        system_directory: Callable[[], str] | None = None,
    ) -> None:
        self.root = os.fsdecode(root)
        self.platform = platform
        self.environ = os.environ if environ is None else environ
        self.privileged = getattr(os, "geteuid", lambda: 1)() == 0 if privileged is None else privileged
        self._run = run
        self._firmware_table = firmware_table
        self._registry = registry
        self._system_directory = system_directory

    def stages(self) -> Iterator[Stage]:
        """Readers in order of their cost, each given the seconds that it may take. The caller stops when it has enough.

        Nothing is loaded for a reader that is not reached.
        """
        yield self.environment
        if self.platform.startswith("linux"):
            from .linux import Linux

            yield from Linux(self.root, self.privileged, self._run).stages()
        elif self.platform == "win32":
            from .windows import Windows

            machine = Windows(self._run, self._firmware_table, self._registry, self._system_directory)
            yield from machine.stages()
        elif self.platform.startswith(("freebsd", "dragonfly", "openbsd", "netbsd")):
            from .bsd import stage

            yield stage(self.platform, self._run)
        else:
            yield self.nothing

    def environment(self, seconds: float = 0) -> Facts:
        """Variables of a container or a function that AWS runs."""
        values = {name: self.environ.get(name, "") for name in ENVIRONMENT}
        found = [name for name, text in values.items() if text and any(part in text for part in ENVIRONMENT[name])]
        return (Fact("environment", ", ".join(found), "environment"),) if found else ()

    def nothing(self, seconds: float = 0) -> Facts:
        """macOS and other systems: none of their public fields is known to differ on EC2."""
        return (unknown(self.platform, f"no local evidence is known for {self.platform}"),)

    # What ties a document to this machine

    def boot_id(self) -> str | None:
        """The kernel's name for this boot, or None."""
        try:
            return read(below(self.root, "proc/sys/kernel/random/boot_id")).decode("latin-1").strip() or None
        except OSError:
            return None

    def machine(self) -> str:
        """The architecture, as the kernel calls it."""
        uname = getattr(os, "uname", None)
        return self.environ.get("PROCESSOR_ARCHITECTURE", "") if uname is None else str(uname().machine)

    def interfaces(self) -> tuple[Collection[str] | None, Collection[str]]:
        """Addresses and MACs of the local interfaces; None where they could not be listed.

        Raises UnverifiableError where psutil cannot be loaded.
        """
        with Loading("psutil", lambda says: UnverifiableError(says, Reason.DEPENDENCY)):
            import psutil

        try:
            every = [one for several in psutil.net_if_addrs().values() for one in several]
        except (OSError, psutil.Error, ValueError, RuntimeError, SystemError):
            # Each was seen: names that are not UTF-8 (giampaolo/psutil#652), a failed call of Windows (#1263).
            return None, ()
        macs = {one.address for one in every if one.family == psutil.AF_LINK}
        return {one.address.partition("%")[0] for one in every if one.family != psutil.AF_LINK}, macs


#: The parts of one system under this package's name, where they were while it was one module; loaded when first used.
_HOME = {
    **dict.fromkeys(("DMI", "PUBLIC", "PRIVATE"), "linux"),
    **dict.fromkeys(("LARGEST_OUTPUT", "TOOL_SECONDS", "run"), "programs"),
    **dict.fromkeys(("read_firmware_table", "read_registry", "_CIM"), "windows"),
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
