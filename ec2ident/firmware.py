"""Firmware's own words: SMBIOS strings, UUIDs in two byte orders, and what tools print of them, as facts.

Every source (sysfs, dmidecode, the Windows firmware table, WMI, kenv, sysctl) tells the same SMBIOS fields; here they
get the names that Linux gives them under `/sys/class/dmi/id`. DMTF DSP0134, "System Management BIOS Reference
Specification".
"""

from __future__ import annotations

from .errors import FirmwareError
from .model import Fact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: The fields we look at, and where SMBIOS has them: structure type, and the offset of the string's number.
#: product_uuid is 16 bytes at offset 8 of type 1. DSP0134, 7.1 to 7.4.
STRINGS = {
    "bios_vendor": (0, 4),
    "bios_version": (0, 5),
    "sys_vendor": (1, 4),
    "product_name": (1, 5),
    "product_version": (1, 6),
    "product_serial": (1, 7),
    "board_vendor": (2, 4),
    "board_asset_tag": (2, 8),
    "chassis_vendor": (3, 4),
    "chassis_asset_tag": (3, 8),
}
FIELDS = (*STRINGS, "product_uuid")
_UUID_TYPE, _UUID_OFFSET = 1, 8

#: What firmware writes where it has nothing to say, and dmidecode where a string cannot be read; in lower case.
_EMPTY = frozenset(
    {
        *("not specified", "not present", "none", "unknown", "na", "n/a", "default string", "system serial number"),
        *("not settable", "<bad index>", "<out of spec>"),
    }
)
_EMPTY_TO_FILL = "to be filled by o.e.m."
_HEX = frozenset("0123456789abcdef")

#: The largest value that is taken for one, in characters; an SMBIOS string seldom has more than 64.
LONGEST = 256
#: The largest SMBIOS table that is read, in bytes. DSP0134 has a 16-bit length in 5.2.1 and a 32-bit length in 5.2.2
#: (SMBIOS 3): a machine with 700 memory modules has 77 KB.
LARGEST_TABLE = 4 * 1024 * 1024


def clean(value: str) -> str | None:
    """The value without padding, or None where it says nothing: blank, 0xff bytes, dots, "Not Specified"."""
    text = value.strip().strip("\0").strip()
    if not text or len(text) > LONGEST or not text.strip(".\xff\ufffd"):
        return None
    lower = text.lower()
    return None if lower in _EMPTY or lower.startswith(_EMPTY_TO_FILL) else text


def fact(name: str, value: str, source: str) -> Fact:
    """A fact from a field's text; absent where the text says nothing, and for a UUID that is all zeros or all ones."""
    text = clean(value)
    if text is not None and name.endswith("uuid"):
        digits = text.replace("-", "").lower()
        if not digits.strip("0") or not digits.strip("f"):
            text = None
    return Fact(name, text, source)


def ec2_uuid(text: str) -> bool:
    """Is this UUID of the shape that EC2 gives, in either byte order?

    "Identify EC2 instances" in the Amazon EC2 User Guide: it begins with ec2, or, where the first field is
    little-endian, with xxxx2yec. One random UUID in 2048 does. Raises nothing: another text is not of the shape.
    """
    lower = text.lower()
    first = lower.split("-")[0]
    if len(lower.replace("-", "")) != 32 or not _HEX.issuperset(lower.replace("-", "")) or len(first) not in (8, 32):
        return False
    return lower.startswith("ec2") or (first[4] == "2" and first[6:8] == "ec")


def instance_id(text: str) -> bool:
    """Is this `i-` and 8 or 17 hexadecimal digits ("Amazon EC2 resource IDs")?"""
    return text.startswith("i-") and len(text) in (10, 19) and _HEX.issuperset(text[2:])


def amazon_xen(text: str) -> bool:
    """Is this the version of Amazon's build of Xen, `4.11.amazon`, on the oldest hosts `3.4.3.amazon`?"""
    *numbers, build = text.split(".")
    return build == "amazon" and len(numbers) in (2, 3) and all(map(_number, numbers))


def instance_type(text: str) -> bool:
    """Does this have the form of an instance type: `t3.micro`, `u7i-12tb.224xlarge`, `r8g.metal-24xl`?

    "Amazon EC2 instance types": a family with the number of its generation, and one of the sizes.
    """
    family, _, size = text.partition(".")
    letters = family.replace("-", "")
    named = (
        text.isascii() and letters.isalnum() and letters.islower() and not letters.isalpha() and letters[0].isalpha()
    )
    several = size.endswith("xlarge") and _number(size[: -len("xlarge")])
    return named and (size in _SIZES or several or size.startswith("metal"))


_SIZES = frozenset({"nano", "micro", "small", "medium", "large", "xlarge"})


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()


# -- dmidecode --------------------------------------------------------------------------------------------------------

#: The heading of a structure in dmidecode's output, and its labels, to our names.
_DMIDECODE = {
    "BIOS Information": {"Vendor": "bios_vendor", "Version": "bios_version"},
    "System Information": {
        "Manufacturer": "sys_vendor",
        "Product Name": "product_name",
        "Version": "product_version",
        "Serial Number": "product_serial",
        "UUID": "product_uuid",
    },
    "Base Board Information": {"Manufacturer": "board_vendor", "Asset Tag": "board_asset_tag"},
    "Chassis Information": {"Manufacturer": "chassis_vendor", "Asset Tag": "chassis_asset_tag"},
}

#: What dmidecode prints after it searched the memory and found nothing; a search that was not allowed ends without it.
_NO_SMBIOS = "No SMBIOS nor DMI entry point found"


def parse_dmidecode(output: str) -> tuple[Fact, ...]:
    """The facts in the output of `dmidecode`: of each structure the first, and each label once; none where dmidecode
    looked and found no SMBIOS.

    Raises FirmwareError where it holds no structure that is known, as when dmidecode was not allowed to look.
    """
    found: dict[str, Fact] = {}
    labels: Mapping[str, str] = {}
    structures = 0
    for line in output.splitlines():
        if line and not line[0].isspace():
            structures += line.startswith("Handle ")
            labels = _DMIDECODE.get(line.strip(), {})
        elif line.startswith("\t") and not line.startswith("\t\t"):
            label, _, value = line.strip().partition(":")
            name = labels.get(label)
            if name and name not in found:
                found[name] = fact(name, value, "dmidecode")
    if not (structures and found) and _NO_SMBIOS not in output:
        raise FirmwareError(f"dmidecode: no structure in its output ({_excerpt(output)}); it needs root")
    return tuple(found.values())


# -- the SMBIOS table itself ------------------------------------------------------------------------------------------


def parse_smbios(table: bytes, version: tuple[int, int], source: str) -> tuple[Fact, ...]:
    """The facts in an SMBIOS structure table, from the first structure of each type.

    From version 2.6 on the UUID's first three fields are little-endian (DSP0134 7.2.1); before that they are as they
    stand. Raises FirmwareError for a table that is cut off, too large or not a table.
    """
    found: dict[str, Fact] = {}
    missing = {kind for kind, _ in STRINGS.values()}
    for kind, formatted, strings in _structures(table):
        if kind not in missing:
            continue
        missing.remove(kind)
        for name, (of, offset) in STRINGS.items():
            if of == kind and offset < len(formatted):
                number = formatted[offset]
                text = strings[number - 1] if 0 < number <= len(strings) else ""
                found[name] = fact(name, text, source)
        if kind == _UUID_TYPE and len(formatted) >= _UUID_OFFSET + 16:
            raw = formatted[_UUID_OFFSET : _UUID_OFFSET + 16]
            found["product_uuid"] = fact("product_uuid", _uuid_text(raw, version), source)
        if not missing:
            break  # what follows, memory modules above all, cannot change an answer
    if not found:
        raise FirmwareError(f"{source}: {len(table)} bytes without a system structure (not an SMBIOS table?)")
    return tuple(found.values())


def _structures(table: bytes) -> Iterator[tuple[int, bytes, list[str]]]:
    """Each structure: type, formatted area, strings. DSP0134 6.1.2 and 6.1.3."""
    if len(table) > LARGEST_TABLE:
        raise FirmwareError(f"SMBIOS: a table of {len(table)} bytes (at most {LARGEST_TABLE})")
    offset = 0
    while offset + 4 <= len(table):
        kind, length = table[offset], table[offset + 1]
        end = table.find(b"\0\0", offset + length)
        if length < 4 or offset + length > len(table) or end < 0:
            raise FirmwareError(f"SMBIOS: structure type {kind} at byte {offset} does not fit into {len(table)} bytes")
        strings = table[offset + length : end].split(b"\0")
        yield kind, table[offset : offset + length], [text.decode("latin-1") for text in strings if text]
        offset = end + 2
        if kind == 127:  # end of table
            return


def _uuid_text(raw: bytes, version: tuple[int, int]) -> str:
    if version >= (2, 6):
        raw = raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


# -- Windows ----------------------------------------------------------------------------------------------------------

#: How Win32_ComputerSystemProduct names the fields, and Win32_BIOS the serial number.
WMI = {
    "IdentifyingNumber": "product_serial",
    "SerialNumber": "product_serial",
    "Name": "product_name",
    "UUID": "product_uuid",
    "Vendor": "sys_vendor",
    "Version": "product_version",
}

#: How the registry names them, below HARDWARE\\DESCRIPTION\\System\\BIOS; neither serial nor UUID is there.
REGISTRY = {
    "SystemManufacturer": "sys_vendor",
    "SystemProductName": "product_name",
    "BIOSVendor": "bios_vendor",
    "BIOSVersion": "bios_version",
}


def parse_rsmb(buffer: bytes) -> tuple[Fact, ...]:
    """The facts in what GetSystemFirmwareTable('RSMB') fills: an 8-byte header, then the SMBIOS table.

    "GetSystemFirmwareTable function", RawSMBIOSData. Raises FirmwareError.
    """
    length = int.from_bytes(buffer[4:8], "little")
    if len(buffer) < 8 or length > len(buffer) - 8:
        raise FirmwareError(f"firmware table: says {length} bytes (holds {len(buffer) - 8})")
    return parse_smbios(buffer[8 : 8 + length], (buffer[1], buffer[2]), "firmware table RSMB")


def decode_console(output: bytes) -> str:
    """What a Windows console program wrote: UTF-16, as wmic writes where it is redirected, else one byte a character.

    Raises FirmwareError for an odd number of UTF-16 bytes.
    """
    marked = output.startswith((b"\xff\xfe", b"\xfe\xff"))
    if marked or output[1:2] == b"\0":
        try:
            return output.decode("utf-16" if marked else "utf-16-le")
        except UnicodeDecodeError as error:
            raise FirmwareError(f"console output: not UTF-16 ({error.reason})") from error
    if output.startswith(b"\xef\xbb\xbf"):
        output = output[3:]
    # In a code page that is not told to us. All that we compare is ASCII, which is the same in each.
    return output.decode("utf-8", "replace")


def parse_list(output: str, source: str, separator: str = ":") -> tuple[Fact, ...]:
    """The facts in lines `Name : value`, as PowerShell's Format-List writes them, whatever ends the lines.

    Raises FirmwareError where not one field is found.
    """
    pairs = (line.partition(separator) for line in _lines(output))
    return _wmi_facts(((name, value) for name, _, value in pairs), source, output)


def parse_wmic(output: str) -> tuple[Fact, ...]:
    r"""The facts in what wmic prints: a table, or with `/format:list` and `/format:csv` lines `Name=value` and CSV.

    Lines end in \r\r\n, and empty ones are anywhere. Of several rows the first counts. Raises FirmwareError where no
    field has a row, as when WMI is not ready.
    """
    first = next(iter(_lines(output)), "")
    if "=" in first and first.partition("=")[0].strip() in WMI:
        return parse_list(output, "wmic", "=")
    if first.startswith("Node,"):
        return _parse_csv(output, "wmic")
    return parse_columns(output, "wmic")


def parse_columns(output: str, source: str) -> tuple[Fact, ...]:
    """The facts in wmic's table: a header, padded to the width of its columns, and the row below it.

    Raises FirmwareError where there is no row under the header, or no header.
    """
    header, row = _header_and_row(output, source)
    names, starts, at = header.split(), [], 0
    for name in names:
        at = header.index(name, at)
        starts.append(at)
        at += len(name)
    return _wmi_facts(((n, row[at:to]) for n, at, to in zip(names, starts, [*starts[1:], None])), source, output)


def _parse_csv(output: str, source: str) -> tuple[Fact, ...]:
    # wmic quotes nothing: a value with a comma in it cannot be told from two.
    header, row = (line.split(",") for line in _header_and_row(output, source))
    if len(header) != len(row):
        raise FirmwareError(f"{source}: {len(row)} values in {_excerpt(output)} (the header has {len(header)})")
    return _wmi_facts(zip(header, row), source, output)


def _header_and_row(output: str, source: str) -> list[str]:
    lines = _lines(output)[:2]
    if len(lines) < 2:
        raise FirmwareError(f"{source}: {len(lines)} lines in {_excerpt(output)} (a header and a row)")
    return lines


def _lines(output: str) -> list[str]:
    return [line for line in output.replace("\r", "\n").split("\n") if line.strip()]


def _wmi_facts(pairs: Iterable[tuple[str, str]], source: str, output: str) -> tuple[Fact, ...]:
    found: dict[str, Fact] = {}
    for label, value in pairs:
        name = WMI.get(label.strip())
        if name and name not in found:
            found[name] = fact(name, value, source)
    if not found:
        raise FirmwareError(f"{source}: no field in {_excerpt(output)}")
    return tuple(found.values())


def _excerpt(output: str) -> str:
    return repr(" ".join(output.split())[:80])


# -- BSD --------------------------------------------------------------------------------------------------------------

#: How the FreeBSD loader hands SMBIOS on, smbios(4).
KENV = {
    "smbios.bios.vendor": "bios_vendor",
    "smbios.bios.version": "bios_version",
    "smbios.system.maker": "sys_vendor",
    "smbios.system.product": "product_name",
    "smbios.system.version": "product_version",
    "smbios.system.serial": "product_serial",
    "smbios.system.uuid": "product_uuid",
    "smbios.planar.maker": "board_vendor",
    "smbios.planar.tag": "board_asset_tag",
    "smbios.chassis.maker": "chassis_vendor",
    "smbios.chassis.tag": "chassis_asset_tag",
}


#: How OpenBSD's sysctl names them: sysctl(2), CTL_HW. Its kernel takes them from SMBIOS (smbios(4), dev/smbios).
OPENBSD = {
    "hw.vendor": "sys_vendor",
    "hw.product": "product_name",
    "hw.version": "product_version",
    "hw.serialno": "product_serial",
    "hw.uuid": "product_uuid",
}

#: How NetBSD's sysctl names them, below machdep.dmi: sys/arch/x86/x86/platform.c.
NETBSD = {
    "machdep.dmi.system-vendor": "sys_vendor",
    "machdep.dmi.system-product": "product_name",
    "machdep.dmi.system-version": "product_version",
    "machdep.dmi.system-serial": "product_serial",
    "machdep.dmi.system-uuid": "product_uuid",
    "machdep.dmi.bios-vendor": "bios_vendor",
    "machdep.dmi.bios-version": "bios_version",
    "machdep.dmi.board-vendor": "board_vendor",
    "machdep.dmi.board-asset-tag": "board_asset_tag",
}


def parse_sysctl(output: str, fields: Mapping[str, str]) -> tuple[Fact, ...]:
    """The facts in the output of `sysctl`, each name once: lines `name=value` of OpenBSD, `name = value` of NetBSD.

    `fields` is OPENBSD or NETBSD. Raises FirmwareError where none of its names is there.
    """
    found: dict[str, Fact] = {}
    for line in output.split("\n"):
        label, equals, value = line.partition("=")
        name = fields.get(label.strip()) if equals else None
        if name and name not in found:
            found[name] = fact(name, value, "sysctl")
    if not found:
        raise FirmwareError(f"sysctl: no firmware field in {_excerpt(output)}")
    return tuple(found.values())


def parse_kenv(output: str) -> tuple[Fact, ...]:
    """The facts in the output of `kenv`: lines `name="value"`. Raises FirmwareError where there is none."""
    pairs = (line.partition("=") for line in output.splitlines())
    found = tuple(fact(KENV[name], value.strip('"'), "kenv") for name, _, value in pairs if name in KENV)
    if not found:
        raise FirmwareError(f"kenv: no smbios.* in {_excerpt(output)}")
    return found
