"""This machine's own word about itself: files under /sys, firmware tools, Windows, local interfaces.

Each reader answers with facts of three kinds: a value, absent (somebody looked and it was not there), unknown (nobody
could look, and why). Files, programs and tables come in through `Host`, so that all of it runs on captured output too.
This is the only module that imports psutil, and in the library the only one that starts programs.
"""

from __future__ import annotations

import os
import sys
import time

from . import firmware
from .errors import FirmwareError
from .model import Fact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    Facts = tuple[Fact, ...]
    Run = Callable[[Sequence[str], float], bytes]
    Stage = Callable[[float], Facts]

DMI = "sys/class/dmi/id"
#: Readable by everybody, then by root alone (mode 0400).
PUBLIC = tuple(name for name in firmware.STRINGS if name != "product_serial")
PRIVATE = ("product_uuid", "product_serial")

#: The most that is read of a file, and taken from a program, in bytes.
LARGEST_FILE = 4096
LARGEST_OUTPUT = 256 * 1024
#: The longest that one program may take, in seconds.
TOOL_SECONDS = 5.0
#: Where programs are looked for. Not in PATH: it is whoever's started this process.
DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
#: PCI devices that are looked at; the largest instances have some hundred.
MOST_DEVICES = 1024

#: What AWS puts into the environment of a container or a function ("Amazon ECS container metadata", "Lambda
#: environment variables"). The addresses and names in them are not facts about the machine: only that they are there.
ENVIRONMENT = (
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "ECS_CONTAINER_METADATA_URI_V4",
    "ECS_CONTAINER_METADATA_URI",
)

#: The fact that says that nobody could look at the firmware at all.
FIRMWARE = "firmware"

_CIM = (
    "$ErrorActionPreference='Stop';"
    "[Console]::OutputEncoding=[Text.Encoding]::UTF8;"
    "Get-CimInstance Win32_ComputerSystemProduct|"
    "Format-List IdentifyingNumber,Name,UUID,Vendor,Version"
)
_WMIC = ("csproduct", "get", "IdentifyingNumber,Name,UUID,Vendor,Version")
_RSMB = 0x52534D42


def run(argv: Sequence[str], seconds: float) -> bytes:
    """What a program writes to its standard output. Raises FirmwareError: not there, too slow, failed, too much.

    A name without a directory is looked for in DIRECTORIES and nowhere else, and the program gets an environment of its
    own: whoever may set PATH or LD_PRELOAD of a process that runs as root does not choose what it starts.
    """
    import subprocess
    from threading import Thread

    until = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            [_found(argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=None if sys.platform == "win32" else {"PATH": ":".join(DIRECTORIES), "LC_ALL": "C"},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise FirmwareError(f"{argv[0]}: {error.strerror or error}") from error
    read: list[bytes] = []
    # Windows can wait for a pipe only in a thread. It outlives us where a child of the program keeps the pipe open.
    reader = Thread(target=_read_pipe, args=(process.stdout, read), daemon=True)
    reader.start()
    reader.join(seconds)
    try:
        if read and len(read[0]) > LARGEST_OUTPUT:
            raise FirmwareError(f"{argv[0]}: more than {LARGEST_OUTPUT} bytes of output")
        code = process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = None
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()
    if code is None or not read:
        raise FirmwareError(f"{argv[0]}: no answer within {seconds:.3g} s")
    if code:
        raise FirmwareError(f"{argv[0]}: exit code {code}")
    return read[0]


def _read_pipe(pipe: BinaryIO, into: list[bytes]) -> None:
    with pipe:
        into.append(pipe.read(LARGEST_OUTPUT + 1))


def _found(program: str) -> str:
    if os.path.dirname(program):
        return program
    paths = (f"{directory}/{program}" for directory in DIRECTORIES)
    found = next((path for path in paths if os.access(path, os.X_OK)), None)
    if found is None:
        raise FirmwareError(f"{program}: not in {', '.join(DIRECTORIES)}")
    return found


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


class Host:
    """Where this machine is looked at. Making one looks at nothing.

    `root` is the root of the file system; `platform` as `sys.platform`; `privileged` whether firmware tools may work.
    """

    def __init__(
        self,
        root: str = "/",
        *,
        platform: str = sys.platform,
        environ: Mapping[str, str] = os.environ,
        privileged: bool | None = None,
        run: Run = run,
        firmware_table: Callable[[], bytes] = read_firmware_table,
        registry: Callable[[str], str | None] = read_registry,
    ) -> None:
        self.root = root
        self.platform = platform
        self.environ = environ
        self.privileged = getattr(os, "geteuid", lambda: 1)() == 0 if privileged is None else privileged
        self._run = run
        self._firmware_table = firmware_table
        self._registry = registry

    def stages(self) -> Iterator[Stage]:
        """Readers in order of their cost, each given the seconds that it may take. Whoever has enough stops."""
        yield self.environment
        if self.platform.startswith("linux"):
            yield from (self.sysfs, self.sysfs_private, self.kernel, self.dmidecode)
        elif self.platform == "win32":
            yield from (self.windows_table, self.windows_registry, self.windows_cim, self.windows_wmic)
        elif self.platform.startswith(("freebsd", "dragonfly")):
            yield self.kenv
        else:
            yield self.nothing

    # Everywhere

    def environment(self, seconds: float = 0) -> Facts:
        """Is this process in a container or function of AWS's making?"""
        found = [name for name in ENVIRONMENT if self.environ.get(name)]
        return (Fact("environment", ", ".join(found), "environment"),) if found else ()

    def nothing(self, seconds: float = 0) -> Facts:
        """macOS and other systems: no public field of theirs is known to differ on EC2."""
        return (Fact(FIRMWARE, None, self.platform, unknown=f"no local evidence is known for {self.platform}"),)

    # Linux

    def sysfs(self, seconds: float = 0) -> Facts:
        """The SMBIOS fields that everybody may read."""
        found = tuple(self._file(name, f"{DMI}/{name}") for name in PUBLIC)
        if any(one.value for one in found):
            return found
        if any(one.unknown for one in found):
            why = next(one.unknown for one in found if one.unknown)
            return (*found, Fact(FIRMWARE, None, self._path(DMI), unknown=why))
        if not os.path.isdir(self._path("sys/class")):
            return (*found, Fact(FIRMWARE, None, self._path("sys"), unknown="no sysfs is mounted"))
        return found

    def sysfs_private(self, seconds: float = 0) -> Facts:
        """The UUID and the serial number, for root alone, and Xen's, for everybody."""
        private = (self._file(name, f"{DMI}/{name}") for name in PRIVATE)
        return (*private, self._file("hypervisor_uuid", "sys/hypervisor/uuid"))

    def kernel(self, seconds: float = 0) -> Facts:
        """Amazon's devices on the PCI bus, and its name in the ACPI tables (root alone)."""
        return (self._pci(), self._acpi())

    def dmidecode(self, seconds: float = TOOL_SECONDS) -> Facts:
        """Where the kernel shows no firmware at all (before 2.6.23, or built so): root may find it in memory."""
        if not self.privileged or os.path.isdir(self._path(DMI)) or not os.path.exists(self._path("dev/mem")):
            return ()
        argv = ["dmidecode", "-t", "0,1,2,3"]
        return self._tool(argv, seconds, lambda output: firmware.parse_dmidecode(output.decode("latin-1")))

    def _pci(self) -> Fact:
        directory = self._path("sys/bus/pci/devices")
        try:
            devices = sorted(os.listdir(directory))[:MOST_DEVICES]
        except OSError as error:
            return _unread("pci_vendor", directory, error)
        vendors = (self._file("pci_vendor", f"sys/bus/pci/devices/{device}/vendor") for device in devices)
        return next((one for one in vendors if one.value == "0x1d0f"), Fact("pci_vendor", None, directory))

    def _acpi(self) -> Fact:
        # The header of each table: OEMID is six bytes at offset 10 (ACPI 6.5, 5.2.6).
        path = self._path("sys/firmware/acpi/tables/FACP")
        try:
            header = _read(path)[10:16]
        except OSError as error:
            return _unread("acpi_oem", path, error)
        return firmware.fact("acpi_oem", header.decode("latin-1"), path)

    def _path(self, below: str) -> str:
        return f"{self.root.rstrip('/')}/{below}"

    def _file(self, name: str, below: str) -> Fact:
        path = self._path(below)
        try:
            text = _read(path).decode("latin-1")
        except OSError as error:
            return _unread(name, path, error)
        return firmware.fact(name, text, path)

    # Windows and BSD

    def windows_table(self, seconds: float = 0) -> Facts:
        """The SMBIOS table as Windows hands it on."""
        return _or_unknown("firmware table", lambda: firmware.parse_rsmb(self._firmware_table()))

    def windows_registry(self, seconds: float = 0) -> Facts:
        """What the kernel wrote into the registry when it started."""
        return _or_unknown("registry", self._from_registry)

    def _from_registry(self) -> Facts:
        values = ((name, self._registry(key)) for key, name in firmware.REGISTRY.items())
        return tuple(
            Fact(name, None, "registry") if value is None else firmware.fact(name, value, "registry")
            for name, value in values
        )

    def windows_cim(self, seconds: float = TOOL_SECONDS) -> Facts:
        """Win32_ComputerSystemProduct, through PowerShell."""
        argv = [
            self._system32(r"WindowsPowerShell\v1.0\powershell.exe"),
            "-NoProfile",
            "-NonInteractive",
            "-Command",
            _CIM,
        ]
        return self._tool(argv, seconds, lambda out: firmware.parse_list(firmware.decode_console(out), "CIM"))

    def windows_wmic(self, seconds: float = TOOL_SECONDS) -> Facts:
        """The same through wmic, which Windows 11 24H2 no longer has."""
        argv = [self._system32(r"wbem\WMIC.exe"), *_WMIC]
        return self._tool(argv, seconds, lambda out: firmware.parse_columns(firmware.decode_console(out), "wmic"))

    def kenv(self, seconds: float = TOOL_SECONDS) -> Facts:
        """The SMBIOS fields that FreeBSD's loader hands on."""
        return self._tool(["kenv"], seconds, lambda output: firmware.parse_kenv(output.decode("latin-1")))

    def _system32(self, below: str) -> str:
        # With its whole path: Windows would else look in the current directory first.
        return "\\".join((self.environ.get("SystemRoot", r"C:\Windows"), "System32", below))

    def _tool(self, argv: list[str], seconds: float, parse: Callable[[bytes], Facts]) -> Facts:
        if seconds <= 0:
            return (Fact(FIRMWARE, None, argv[0], unknown="no time was left"),)
        return _or_unknown(argv[0], lambda: parse(self._run(argv, min(seconds, TOOL_SECONDS))))

    # What ties a document to this machine

    def boot_id(self) -> str | None:
        """The kernel's name for this boot, or None."""
        try:
            return _read(self._path("proc/sys/kernel/random/boot_id")).decode("latin-1").strip() or None
        except OSError:
            return None

    def machine(self) -> str:
        """The architecture, as the kernel calls it."""
        uname = getattr(os, "uname", None)
        return self.environ.get("PROCESSOR_ARCHITECTURE", "") if uname is None else str(uname().machine)

    def interfaces(self) -> tuple[Collection[str] | None, Collection[str]]:
        """Addresses and MACs of the local interfaces; None where they could not be listed."""
        import psutil

        try:
            every = [one for several in psutil.net_if_addrs().values() for one in several]
        except (OSError, psutil.Error):
            return None, ()
        macs = {one.address for one in every if one.family == psutil.AF_LINK}
        return {one.address.partition("%")[0] for one in every if one.family != psutil.AF_LINK}, macs


def _read(path: str) -> bytes:
    """The beginning of a file. O_NONBLOCK: a FIFO in its place must not hold us."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        return os.read(descriptor, LARGEST_FILE)
    finally:
        os.close(descriptor)


def _unread(name: str, path: str, error: OSError) -> Fact:
    absent = isinstance(error, (FileNotFoundError, NotADirectoryError))
    return Fact(name, None, path, unknown=None if absent else (error.strerror or str(error)).lower())


def _or_unknown(source: str, read: Callable[[], Facts]) -> Facts:
    try:
        return read()
    except FirmwareError as error:
        return (Fact(FIRMWARE, None, source, unknown=str(error)),)
