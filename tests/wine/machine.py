"""A Windows machine: CPython for Windows under Wine, in a network namespace of its own and with given firmware strings.

What is real: CPython's own distribution, its modules `socket`, `select`, `winreg` and `ctypes`, and the wheels of
cryptography and psutil for Windows. What is Wine's: kernel32, ws2_32, the registry and wmic.exe; Wine makes its SMBIOS
table and the registry's BIOS key from the files under /sys/class/dmi/id, which are ours here. There is no PowerShell:
Wine's powershell.exe does nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.namespace import Namespace, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

TOP = Path(__file__).parent.parent.parent
#: Debian's package wine64 has them here, and nothing in /usr/bin.
WINE = Path("/usr/lib/wine/wine64")
WINESERVER = Path("/usr/lib/wine/wineserver64")

#: In a mount namespace of its own: the files that Wine reads firmware from. $1 is the directory that has them.
_WITH_FIRMWARE = """
mount -t tmpfs tmpfs /sys/class
mkdir -p /sys/class/dmi/id
cp -r "$1"/. /sys/class/dmi/id
shift
exec "$@"
"""


class Windows:
    """A Wine prefix with its server, to be entered and left. `directory` holds all its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespace = Namespace(unique("windows"))
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(directory),
            "WINEPREFIX": str(directory / "prefix"),
            "WINEDEBUG": "-all",
            # It would ask for them to be downloaded.
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
        }

    def __enter__(self) -> Windows:
        Namespace.add_all(self.namespace)
        self._wine("wineboot", "--init", firmware={}, check=True, timeout=240)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.shut_down()
        Namespace.remove_all(self.namespace)
        shutil.rmtree(self.directory / "prefix", ignore_errors=True)  # 700 MB

    def shut_down(self) -> None:
        """End every process of this prefix. The next one boots it, and Wine fills the registry from firmware then."""
        for order in ("--kill", "--wait"):
            subprocess.run([WINESERVER, order], env=self.environment, check=False, timeout=60)

    def python(self, python: Path, *arguments: str, firmware: Mapping[str, str] | None = None) -> Done:
        """Run Python with these arguments, on a machine with these fields of /sys/class/dmi/id, and wait."""
        return self._wine(str(python), *arguments, firmware=firmware or {})

    def _wine(self, *argv: str, firmware: Mapping[str, str], timeout: float = 100, check: bool = False) -> Done:
        fields = self.directory / "dmi"
        shutil.rmtree(fields, ignore_errors=True)
        fields.mkdir(parents=True)
        for name, text in firmware.items():
            (fields / name).write_text(f"{text}\n", encoding="latin-1")
        # Not `ip netns exec`, which mounts a /sys of its own.
        network = ["nsenter", f"--net={self.namespace.path}", "unshare", "--mount"]
        return subprocess.run(
            [*network, "sh", "-euc", _WITH_FIRMWARE, "sh", str(fields), str(WINE), *argv],
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
        )


if TYPE_CHECKING:
    Done = subprocess.CompletedProcess[str]
