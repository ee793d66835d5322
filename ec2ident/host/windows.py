"""Windows: the SMBIOS table through kernel32, the registry, and then CIM and wmic, which are programs."""

from __future__ import annotations

import time

from ec2ident import firmware
from ec2ident.errors import FirmwareError
from ec2ident.model import Fact

from . import programs
from .reading import or_unknown, tool, understood, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .reading import Facts, Run, Stage

# Nothing here sets a property or names a .NET type: where AppLocker or WDAC puts PowerShell into its constrained
# language mode, either is an error. Out-String keeps Format-List from wrapping long values at the console's width.
_CIM = (
    "$ErrorActionPreference='Stop';"
    "Get-CimInstance Win32_ComputerSystemProduct|"
    "Format-List IdentifyingNumber,Name,UUID,Vendor,Version|"
    "Out-String -Width 4096"
)
_PRODUCT = ("csproduct", "get", "IdentifyingNumber,Name,UUID,Vendor,Version")
#: Asked where csproduct has no answer: Wine's wmic knows nothing else.
_SERIAL = ("bios", "get", "SerialNumber")

#: The provider of SMBIOS tables: 'RSMB' read as a big-endian number.
_RSMB = 0x52534D42


class Windows:
    """Readers of a Windows machine. What is None is done by the functions of this module and of `programs`."""

    def __init__(
        self,
        run: Run | None = None,
        firmware_table: Callable[[], bytes] | None = None,
        registry: Callable[[str], str | None] | None = None,
        system_directory: Callable[[], str] | None = None,
    ) -> None:
        self._run = run
        self._firmware_table = firmware_table or read_firmware_table
        self._registry = registry or read_registry
        self._system_directory = system_directory or programs.system_directory

    def stages(self) -> Iterator[Stage]:
        """The readers in order of their cost."""
        yield from (self.table, self.registry, self.cim, self.wmic)

    def table(self, seconds: float = 0) -> Facts:
        """The SMBIOS table as Windows passes it on."""
        try:
            table = self._firmware_table()
        except FirmwareError as error:
            return (unknown("firmware table", str(error)),)
        return understood("firmware table", lambda: firmware.parse_rsmb(table))

    def registry(self, seconds: float = 0) -> Facts:
        """What the kernel wrote into the registry when it started."""
        return or_unknown("registry", self._from_registry)

    def _from_registry(self) -> Facts:
        values = ((name, self._registry(key)) for key, name in firmware.REGISTRY.items())
        return tuple(
            Fact(name, None, "registry") if value is None else firmware.fact(name, value, "registry")
            for name, value in values
        )

    def cim(self, seconds: float = programs.TOOL_SECONDS) -> Facts:
        """Win32_ComputerSystemProduct, through PowerShell."""
        program = self._program(r"WindowsPowerShell\v1.0\powershell.exe")
        argv = [program, "-NoProfile", "-NonInteractive", "-Command", _CIM]
        return tool(argv, seconds, lambda out: firmware.parse_list(firmware.decode_console(out), "CIM"), self._run)

    def wmic(self, seconds: float = programs.TOOL_SECONDS) -> Facts:
        """The same through wmic, which Windows 11 24H2 no longer has; else Win32_BIOS's serial number."""
        program, until = self._program(r"wbem\WMIC.exe"), time.monotonic() + seconds

        def parse(output: bytes) -> Facts:
            try:
                return _parse_wmic(output)
            except FirmwareError:
                # It ran, and did not answer this question: another one may have an answer.
                serial = tool([program, *_SERIAL], until - time.monotonic(), _parse_wmic, self._run)
                if not any(one.value for one in serial):
                    raise
                return serial

        return tool([program, *_PRODUCT], seconds, parse, lambda argv, limit: programs.output(argv, limit, self._run))

    def _program(self, name: str) -> str:
        # With its whole path: Windows would else look in the current directory first.
        return rf"{self._system_directory()}\{name}"


def _parse_wmic(output: bytes) -> Facts:
    return firmware.parse_wmic(firmware.decode_console(output))


def read_firmware_table(load: Callable[..., Any] | None = None) -> bytes:
    """The buffer of GetSystemFirmwareTable('RSMB'). Raises FirmwareError, also where this is not Windows.

    `load` loads a library as `ctypes.WinDLL` does, which it defaults to.
    """
    import ctypes

    load = load or getattr(ctypes, "WinDLL", None)
    if load is None:
        raise FirmwareError("firmware table: not on Windows")
    table = load("kernel32", use_last_error=True).GetSystemFirmwareTable
    table.argtypes = [ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32]
    table.restype = ctypes.c_uint32
    size = table(_RSMB, 0, None, 0)
    if not 0 < size <= firmware.LARGEST_TABLE + 8:
        raise FirmwareError(f"firmware table: {size} bytes (1 to {firmware.LARGEST_TABLE + 8})")
    buffer = ctypes.create_string_buffer(size)
    filled = table(_RSMB, 0, buffer, size)
    return buffer.raw[: min(size, filled)]


def read_registry(name: str, winreg: Any = None) -> str | None:
    """A value below HKLM\\HARDWARE\\DESCRIPTION\\System\\BIOS, None where it is absent. Raises FirmwareError.

    `winreg` is the module of that name, which only Windows has.
    """
    if winreg is None:
        try:
            import winreg
        except ImportError as error:
            raise FirmwareError("registry: not on Windows") from error
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\BIOS") as key:
            return str(winreg.QueryValueEx(key, name)[0])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FirmwareError(f"registry: {error.strerror or error}") from error
