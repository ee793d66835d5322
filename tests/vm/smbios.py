"""The firmware strings of real machines, as arguments for QEMU's `-smbios`."""

from __future__ import annotations

import struct
from pathlib import Path

UUID = "ec2d1f00-1c1c-4a4a-8b8b-0123456789ab"
INSTANCE = "i-0123456789abcdef0"

NITRO = (
    "type=0,vendor=Amazon EC2,version=1.0,date=10/16/2017",
    f"type=1,manufacturer=Amazon EC2,product=t3.micro,version=,serial={UUID},uuid={UUID}",
    f"type=2,manufacturer=Amazon EC2,product=,version=,serial=,asset={INSTANCE}",
    "type=3,manufacturer=Amazon EC2,version=,serial=,asset=Amazon EC2",
)
METAL = (NITRO[1].replace("t3.micro", "i3.metal"), *NITRO[2:])
XEN = (
    "type=0,vendor=Xen,version=4.11.amazon,date=08/24/2006",
    f"type=1,manufacturer=Xen,product=HVM domU,version=4.11.amazon,serial={UUID},uuid={UUID}",
    "type=3,manufacturer=Xen,version=,serial=,asset=",
)
HETZNER = (
    "type=0,vendor=Hetzner,version=20171111,date=11/11/2017",
    "type=1,manufacturer=Hetzner,product=vServer,version=20171111,uuid=545f25ec-662d-4691-b311-23cf1794b78c",
    "type=3,manufacturer=QEMU,version=NotSpecified",
)
HYPER_V = (
    "type=0,vendor=Microsoft Corporation,version=Hyper-V UEFI Release v4.1,date=05/13/2024",
    "type=1,manufacturer=Microsoft Corporation,product=Virtual Machine,uuid=a83f26ec-1234-5678-abcd-ef0123456789",
    "type=2,manufacturer=Microsoft Corporation,product=Virtual Machine",
    "type=3,manufacturer=Microsoft Corporation,version=Hyper-V UEFI Release v4.1",
)
#: No vendor at all, and the UUID of an EC2 instance: all there is to see is a hint, and for root alone.
NAMELESS = (
    "type=0,vendor=,version=,date=01/01/2020",
    f"type=1,manufacturer=,product=,version=,serial=,uuid={UUID}",
    "type=3,manufacturer=,version=,serial=,asset=",
)
#: QEMU's own strings; only the UUID was drawn from the 1 in 2048 that looks like EC2's.
QEMU = (f"type=1,uuid={UUID}",)


def bare_metal_bios(directory: Path, vendor: str, version: str, date: str) -> str:
    """An argument for a type 0 structure that does not say "system is a virtual machine", as QEMU's own always does.

    Bit 4 of the second byte of the BIOS characteristics extension, offset 0x13 (DMTF DSP0134, 7.1.2.2).
    """
    strings = b"".join(text.encode() + b"\0" for text in (vendor, version, date)) + b"\0"
    fixed = struct.pack("<BBHBBHBBQBBBBBB", 0, 24, 0, 1, 2, 0xE800, 3, 0, 1 << 3, 0, 0x04, 0, 0, 0xFF, 0xFF)
    file = directory / "type0.bin"
    file.write_bytes(fixed + strings)
    return f"file={file}"
