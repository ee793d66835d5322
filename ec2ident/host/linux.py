"""Linux: the SMBIOS fields that the kernel shows under /sys, Amazon's devices and ACPI tables, and dmidecode."""

from __future__ import annotations

import os

from ec2ident import firmware
from ec2ident.model import Fact

from .reading import below, read, tool, unknown, unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reading import Facts, Run, Stage

#: The kernel makes the class only where it found SMBIOS, and its device with `modalias` and each field that the
#: firmware has (drivers/firmware/dmi-id.c). Containers mask the device, in whole or file by file.
CLASS = "sys/class/dmi"
DMI = f"{CLASS}/id"
#: What every user may read, and what root alone may read (mode 0400).
PUBLIC = tuple(name for name in firmware.STRINGS if name != "product_serial")
PRIVATE = ("product_uuid", "product_serial")

#: PCI devices that are looked at; the largest instances have some hundred.
MOST_DEVICES = 1024
#: Where the driver of a Nitro Enclave's security module shows itself (AWS Nitro Enclaves NSM API).
NSM = ("dev/nsm", "sys/class/misc/nsm")


class Linux:
    """Readers of a Linux machine with its file system at `root`."""

    def __init__(self, root: str = "/", privileged: bool = False, run: Run | None = None) -> None:
        self.root = root
        self.privileged = privileged
        self._run = run

    def stages(self) -> Iterator[Stage]:
        """The readers in order of their cost."""
        yield from (self.sysfs, self.sysfs_private, self.kernel, self.dmidecode)

    def sysfs(self, seconds: float = 0) -> Facts:
        """The SMBIOS fields that every user may read."""
        found = tuple(self._file(name, f"{DMI}/{name}") for name in PUBLIC)
        if any(one.value for one in found):
            return found
        if any(one.unknown for one in found):
            why = next(one.unknown for one in found if one.unknown)
            return (*found, unknown(below(self.root, DMI), why))
        if not os.path.isdir(below(self.root, "sys/class")):
            return (*found, unknown(below(self.root, "sys"), "no sysfs is mounted"))
        if os.path.lexists(below(self.root, CLASS)) and not any(map(self._shows, ("modalias", *PUBLIC))):
            return (*found, unknown(below(self.root, CLASS), "there is firmware, and all its fields are hidden"))
        return found

    def _shows(self, name: str) -> bool:
        """Whether a field has a byte: the kernel ends an empty text with a newline too, and a mask is an empty file."""
        try:
            return bool(read(below(self.root, f"{DMI}/{name}")))
        except OSError:
            return False

    def sysfs_private(self, seconds: float = 0) -> Facts:
        """The UUID and the serial number, for root alone, and Xen's UUID, for every user."""
        private = (self._file(name, f"{DMI}/{name}") for name in PRIVATE)
        xen = self._file("hypervisor_uuid", "sys/hypervisor/uuid")
        # On a paravirtual instance it is all that there is.
        return (*private, xen, *((unknown(xen.source, xen.unknown),) if xen.unknown else ()))

    def kernel(self, seconds: float = 0) -> Facts:
        """Amazon's devices: on the PCI bus, a Nitro Enclave's; and its name in the ACPI tables (root alone)."""
        return (self._pci(), self._acpi(), *self._nsm())

    def dmidecode(self, seconds: float = 5.0) -> Facts:
        """Where the kernel shows no firmware at all (before 2.6.23, or built so): root may find it in memory.

        Without the program nothing is missing: every newer kernel that finds SMBIOS shows it.
        """
        shown = os.path.isdir(below(self.root, DMI))
        if not self.privileged or shown or not os.path.exists(below(self.root, "dev/mem")):
            return ()
        if self._run is None:
            from .programs import installed

            if not installed("dmidecode"):
                return ()
        argv = ["dmidecode", "-t", "0,1,2,3"]
        return tool(argv, seconds, lambda output: firmware.parse_dmidecode(output.decode("latin-1")), self._run)

    def _pci(self) -> Fact:
        directory = below(self.root, "sys/bus/pci/devices")
        try:
            devices = sorted(os.listdir(directory))[:MOST_DEVICES]
        except OSError as error:
            return unread("pci_vendor", directory, error)
        vendors = (self._file("pci_vendor", f"sys/bus/pci/devices/{device}/vendor") for device in devices)
        return next((one for one in vendors if one.value == "0x1d0f"), Fact("pci_vendor", None, directory))

    def _nsm(self) -> Facts:
        found = [path for path in (below(self.root, name) for name in NSM) if os.path.exists(path)]
        return (Fact("nsm_device", found[0], found[0]),) if found else ()

    def _acpi(self) -> Fact:
        # The header of each table: OEMID is six bytes at offset 10 (ACPI 6.5, 5.2.6).
        path = below(self.root, "sys/firmware/acpi/tables/FACP")
        try:
            header = read(path)[10:16]
        except OSError as error:
            return unread("acpi_oem", path, error)
        return firmware.fact("acpi_oem", header.decode("latin-1"), path)

    def _file(self, name: str, where: str) -> Fact:
        path = below(self.root, where)
        try:
            text = read(path).decode("latin-1")
        except OSError as error:
            return unread(name, path, error)
        return firmware.fact(name, text, path)
