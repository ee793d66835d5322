"""A Windows machine: CPython for Windows under Wine, in a network namespace of its own and with given firmware strings.

What is real: CPython's own distribution, its modules `socket`, `select`, `winreg` and `ctypes`, and the wheels of
cryptography and psutil for Windows. What is Wine's: kernel32, ws2_32, the registry and wmic.exe; Wine makes its SMBIOS
table and the registry's BIOS key from the files under /sys/class/dmi/id, which the test writes. There is no PowerShell:
Wine's powershell.exe does nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.lab.namespace import Namespace, unique

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import IO

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


class Done(NamedTuple):
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


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
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End it and remove its network and its files."""
        self.shut_down()
        Namespace.remove_all(self.namespace)
        shutil.rmtree(self.directory / "prefix", ignore_errors=True)  # 700 MB

    def boot(self, firmware: Mapping[str, str] | None = None) -> None:
        """Start Wine's services, as Windows has them running; the first time this makes the prefix.

        They stay until `shut_down`. Wine fills the registry from the firmware that they see.
        """
        (self.directory / "prefix").mkdir(exist_ok=True)
        for argv in ([str(WINESERVER), "--persistent"], [str(WINE), "wineboot", "--init"]):
            with self._start(argv, firmware or {}, subprocess.DEVNULL) as process:
                assert process.wait(240) == 0, argv

    def shut_down(self) -> None:
        """End every process of this prefix, and nothing else."""
        for order in ("--kill", "--wait"):
            subprocess.run([WINESERVER, order], env=self.environment, check=False, timeout=60)

    def python(self, python: Path, *arguments: str, firmware: Mapping[str, str] | None = None) -> Done:
        """Run Python with these arguments, on a machine with these fields of /sys/class/dmi/id, and wait for its end.

        Its output is what is in the pipes then, which hold 64 KiB: Wine hands standard error on to every process that a
        program starts, some of which stay, so that the pipes may have no end.
        """
        with self._start([str(WINE), str(python), *arguments], firmware or {}, subprocess.PIPE) as process:
            try:
                code = process.wait(100)
                return Done(code, _content(process.stdout), _content(process.stderr))
            finally:
                process.kill()

    def _start(self, argv: list[str], firmware: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
        fields = self.directory / "dmi"
        shutil.rmtree(fields, ignore_errors=True)
        fields.mkdir(parents=True)
        for name, text in firmware.items():
            (fields / name).write_text(f"{text}\n", encoding="latin-1")
        # Not `ip netns exec`, which mounts a /sys of its own.
        network = ["nsenter", f"--net={self.namespace.path}", "unshare", "--mount"]
        return subprocess.Popen(
            [*network, "sh", "-euc", _WITH_FIRMWARE, "sh", str(fields), *argv],
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _content(pipe: IO[bytes] | None) -> str:
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    return (pipe.read() or b"").decode()
