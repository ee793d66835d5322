"""Firmware's words as each source prints them: captured outputs, and what must not pass for one."""

from __future__ import annotations

import contextlib
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident.errors import FirmwareError
from ec2ident.firmware import (
    LARGEST_TABLE,
    OPENBSD,
    amazon_xen,
    clean,
    decode_console,
    ec2_uuid,
    fact,
    instance_id,
    instance_type,
    parse_columns,
    parse_dmidecode,
    parse_kenv,
    parse_list,
    parse_rsmb,
    parse_smbios,
    parse_sysctl,
    parse_wmic,
)
from ec2ident.model import Fact

PLAIN = "EC2AE145-D1DC-13B2-94ED-012345ABCDEF"
SWAPPED = "45E12AEC-DCD1-B213-94ED-012345ABCDEF"

T4G = """\
# dmidecode 3.3
Getting SMBIOS data from sysfs.
SMBIOS 2.7 present.

Handle 0x0001, DMI type 1, 27 bytes
System Information
\tManufacturer: Amazon EC2
\tProduct Name: t4g.large
\tVersion: Not Specified
\tSerial Number: ec24f7a0-034a-ac60-1c01-d03ed0ae0484
\tUUID: ec24f7a0-034a-ac60-1c01-d03ed0ae0484
\tWake-up Type: Power Switch
\tSKU Number: Not Specified
\tFamily: Not Specified

Handle 0x0004, DMI type 4, 48 bytes
Processor Information
\tManufacturer: AWS
\tVersion: AWS Graviton2
"""


def values(facts: tuple[Fact, ...]) -> dict[str, str | None]:
    return {one.name: one.value for one in facts}


@pytest.mark.parametrize("text", [PLAIN, PLAIN.lower(), SWAPPED, SWAPPED.lower(), PLAIN.replace("-", "")])
def test_a_uuid_of_ec2s_shape(text: str) -> None:
    """Both byte orders, both cases."""
    assert ec2_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ec2", "ec1ae145-d1dc-13b2-94ed-012345abcdef", "45e13aec-dcd1-b213-94ed-012345abcdef"),
        *(PLAIN[:-1], PLAIN + "0", PLAIN[:-1] + "g", "ec2-ae145d1dc13b294ed012345abcdef00"),
    ],
)
def test_nearly_a_uuid_of_ec2s_shape(text: str) -> None:
    """One digit away, too short, too long, no hexadecimal."""
    assert not ec2_uuid(text)


@given(st.text())
def test_any_text_is_a_uuid_or_not(text: str) -> None:
    """Nothing raises."""
    assert ec2_uuid(text) in (True, False)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (
            instance_id,
            ["i-0af01c01", "i-0af01c0123456789a"],
            ["i-0af01c0", "i-0AF01C01", "j-0af01c01", "i-0af01c0123456789", "i-gaf01c01"],
        ),
        (
            amazon_xen,
            ["4.11.amazon", "4.2.amazon", "3.4.3.amazon"],
            ["4.11.0", "4.amazon", "4..amazon", "1.2.3.4.amazon", "4.11.amazon2", "x.2.amazon", "4.²4.amazon"],
        ),
        (
            instance_type,
            ["t3.micro", "r8g.metal-24xl", "u-6tb1.metal", "m5.xlarge", "u7i-12tb.224xlarge"],
            ["HVM domU", "T3.micro", "t3.", ".micro", "", "m5.axlarge", "m5.-2xlarge", "m5.²xlarge"],
        ),
    ],
)
def test_forms_of_names(form: object, good: list[str], bad: list[str]) -> None:
    """What has the form, and what is one character away from it."""
    assert callable(form)
    assert [True] * len(good) == [form(text) for text in good]
    assert [False] * len(bad) == [form(text) for text in bad]


@pytest.mark.parametrize(
    "text",
    [
        *("", " \n", "\xff" * 8 + "\n", "....", "x" * 257),
        *("Not Specified", "Not Settable", "To Be Filled By O.E.M.", "<BAD INDEX>", "<OUT OF SPEC>"),
    ],
)
def test_what_says_nothing_is_absent(text: str) -> None:
    """Firmware writes many kinds of nothing."""
    assert clean(text) is None


def test_the_longest_value_is_a_value() -> None:
    """256 characters are read, and 257 say nothing."""
    assert "x" * 256 == clean("x" * 256)


@pytest.mark.parametrize("text", ["0" * 8 + "-0000-0000-0000-" + "0" * 12, "f" * 8 + "-ffff-ffff-ffff-" + "F" * 12])
def test_a_uuid_of_all_zeros_or_ones_is_absent(text: str) -> None:
    """DSP0134 7.2.1: not present, or not set; dom0 on EC2 has the first."""
    assert Fact("hypervisor_uuid", None, "here") == fact("hypervisor_uuid", text, "here")


def test_dmidecode_of_a_graviton_instance() -> None:
    """Only the structures that we know: the processor's manufacturer is not the system's."""
    uuid_ = "ec24f7a0-034a-ac60-1c01-d03ed0ae0484"

    found = values(parse_dmidecode(T4G))

    assert {
        "sys_vendor": "Amazon EC2",
        "product_name": "t4g.large",
        "product_version": None,
        "product_serial": uuid_,
        "product_uuid": uuid_,
    } == found


def test_dmidecode_of_a_xen_instance() -> None:
    """The version of BIOS and system is Amazon's build; the revision beside it is not looked at."""
    output = (
        "Handle 0x0000, DMI type 0, 24 bytes\nBIOS Information\n\tVendor: Xen\n\tVersion: 4.2.amazon\n"
        "\tRelease Date: 05/23/2014\n\tAddress: 0xE8000\n\tRuntime Size: 96 kB\n\tBIOS Revision: 4.2\n\n"
        "Handle 0x0100, DMI type 1, 27 bytes\nSystem Information\n\tManufacturer: Xen\n\tProduct Name: HVM domU\n"
        "\tVersion: 4.11.amazon\n"
    )

    assert {
        "bios_vendor": "Xen",
        "bios_version": "4.2.amazon",
        "sys_vendor": "Xen",
        "product_name": "HVM domU",
        "product_version": "4.11.amazon",
    } == values(parse_dmidecode(output))


@pytest.mark.parametrize(
    "output",
    [
        "",
        "# dmidecode 3.3\n/dev/mem: Permission denied\n",
        "System Information\n\tUUID: x\n",
        # a layout that is not known
        "Handle 0x0001, DMI type 1, 27 bytes\nSystem Information\n        Manufacturer: Amazon EC2\n",
    ],
)
def test_dmidecode_without_a_structure_is_an_error(output: str) -> None:
    """It was not allowed to look: that is not absence."""
    with pytest.raises(FirmwareError, match="needs root"):
        parse_dmidecode(output)


def test_what_dmidecode_indents_twice_is_a_line_of_a_list() -> None:
    """A list's line may hold a colon, such as an OEM string; a field is indented once."""
    text = "Handle 0x0001, DMI type 1\nSystem Information\n\t\tProduct Name: a list's\n\tProduct Name: m5.xlarge\n"

    assert {"product_name": "m5.xlarge"} == values(parse_dmidecode(text))


def test_dmidecode_that_found_no_smbios_is_absence() -> None:
    """sonic-net/sonic-buildimage#15731: it searched the memory, and there is none. That is not a failure to look."""
    output = "# dmidecode 3.3\nScanning /dev/mem for entry point.\n# No SMBIOS nor DMI entry point found, sorry.\n"

    assert () == parse_dmidecode(output)


def structure(kind: int, formatted: bytes, *strings: bytes) -> bytes:
    head = struct.pack("<BBH", kind, 4 + len(formatted), kind)
    return head + formatted + b"".join(text + b"\0" for text in strings) + (b"\0" if strings else b"\0\0")


RAW = uuid.UUID(PLAIN)
TABLE = (
    structure(0, bytes([1, 2, 0, 0, 3, 0]), b"Amazon EC2", b"1.0", b"10/16/2017")
    + structure(1, bytes([1, 2, 0, 3]) + RAW.bytes_le, b"Amazon EC2", b"t3.micro", b"serial")
    + structure(1, bytes([1, 1, 1, 1]) + bytes(16), b"second")
    + structure(2, bytes([1, 0, 0, 0, 2]), b"Amazon EC2", b"i-0af01c0123456789a")
    + structure(127, b"")
)


def test_the_windows_firmware_table() -> None:
    """An 8-byte header, then the structures; of each type the first counts."""
    found = values(parse_rsmb(bytes([0, 2, 7, 0]) + struct.pack("<I", len(TABLE)) + TABLE))

    assert ("Amazon EC2", "t3.micro", "i-0af01c0123456789a") == (
        found["sys_vendor"],
        found["product_name"],
        found["board_asset_tag"],
    )
    assert PLAIN.lower() == found["product_uuid"]
    assert "serial" == found["product_serial"]
    assert found["product_version"] is None


@pytest.mark.parametrize(("version", "raw"), [((2, 4), RAW.bytes), ((2, 6), RAW.bytes_le), ((3, 0), RAW.bytes_le)])
def test_the_byte_order_of_the_uuid_is_the_versions(version: tuple[int, int], raw: bytes) -> None:
    """Little-endian fields from SMBIOS 2.6 on; what is read in the wrong order has the other shape of EC2's."""
    table = structure(1, bytes([1, 0, 0, 0]) + raw, b"Xen")

    assert PLAIN.lower() == values(parse_smbios(table, version, "table"))["product_uuid"]


def test_what_follows_the_end_of_the_table_is_not_read() -> None:
    """Structure 127 ends it (DSP0134 7.44); a kernel may hand out a page with something else behind."""
    behind = b"\x02\x01\0\0\0\0"

    assert values(parse_smbios(TABLE, (2, 7), "table")) == values(parse_smbios(TABLE + behind, (2, 7), "table"))


def test_four_bytes_behind_a_structure_begin_another_one() -> None:
    """Fewer end the table (DSP0134 6.1.2); a structure of four bytes without the end of its strings is cut off."""
    table = structure(1, bytes([1, 2]), b"Xen", b"HVM domU")

    assert parse_smbios(table, (2, 7), "table") == parse_smbios(table + b"\x02\x04\0", (2, 7), "table")
    with pytest.raises(FirmwareError, match="type 2 at byte"):
        parse_smbios(table + b"\x02\x04\0\0", (2, 7), "table")


@pytest.mark.parametrize("size", range(0, len(TABLE), 7))
def test_a_table_cut_off_is_an_error_or_less(size: int) -> None:
    """Never another exception, and never a value that the whole does not have."""
    try:
        found = values(parse_smbios(TABLE[:size], (2, 7), "table"))
    except FirmwareError:
        return
    assert found.items() <= values(parse_smbios(TABLE, (2, 7), "table")).items()


def test_a_table_of_more_than_64_kib_is_read() -> None:
    """SMBIOS 3 has 32-bit lengths, and machines with many memory modules need them; those are not even looked at."""
    modules = b"".join(structure(17, bytes(88), b"DIMM", b"Samsung") for _ in range(700))
    table = TABLE[: -len(structure(127, b""))] + structure(3, bytes(13), b"") + modules + structure(127, b"")
    assert len(table) > 70_000
    head = bytes([0, 3, 4, 0])

    assert "Amazon EC2" == values(parse_rsmb(head + struct.pack("<I", len(table)) + table))["sys_vendor"]
    cut = table[:-300]
    assert "Amazon EC2" == values(parse_rsmb(head + struct.pack("<I", len(cut)) + cut))["sys_vendor"]
    with pytest.raises(FirmwareError, match=f"{LARGEST_TABLE + 1} bytes"):
        parse_smbios(bytes(LARGEST_TABLE + 1), (3, 4), "table")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_an_error(blob: bytes) -> None:
    """The table comes from outside."""
    for read in (parse_rsmb, lambda data: parse_smbios(data, (2, 7), "table")):
        with contextlib.suppress(FirmwareError):
            assert read(blob)


@pytest.mark.parametrize("digit", "0f")
def test_only_a_uuid_of_one_digit_says_nothing(digit: str) -> None:
    """A serial number of zeros is what its maker wrote."""
    assert 8 * digit == fact("product_serial", 8 * digit, "x").value
    assert fact("product_uuid", 32 * digit, "x").value is None


@pytest.mark.parametrize(("text", "named"), [("m5.large", True), ("5m.large", False), ("-5m.large", False)])
def test_an_instance_type_begins_with_a_letter(text: str, named: bool) -> None:
    """Another vendor's product with a dot and a size is none."""
    assert named == instance_type(text)


WMIC_UUID = "UUID                                  \r\r\nEC20EBD7-8E03-06A8-645F-2D22E5A3BA4B  \r\r\n\r\r\n"
ROW = "IdentifyingNumber                     Name      UUID                                  Vendor  Version\r\r\n"
XEN_ROW = (
    "ec2a355a-91cd-5fe8-bbfc-cc891d0bf9d6  HVM domU  5A352AEC-CD91-E85F-BBFC-CC891D0BF9D6  Xen     4.2.amazon  "
    "\r\r\n\r\r\n"
)


@pytest.mark.parametrize("encode", [lambda text: text.encode(), lambda text: b"\xff\xfe" + text.encode("utf-16-le")])
def test_wmic_as_a_program_and_as_a_file_sees_it(encode: object) -> None:
    r"""One byte a character, or UTF-16 with its mark; lines end in \r\r\n."""
    assert callable(encode)
    output = decode_console(encode(WMIC_UUID))

    assert {"product_uuid": "EC20EBD7-8E03-06A8-645F-2D22E5A3BA4B"} == values(parse_columns(output, "wmic"))


def test_wmics_columns_hold_values_with_blanks() -> None:
    """The header says where each begins."""
    assert {
        "product_serial": "ec2a355a-91cd-5fe8-bbfc-cc891d0bf9d6",
        "product_name": "HVM domU",
        "product_uuid": "5A352AEC-CD91-E85F-BBFC-CC891D0BF9D6",
        "sys_vendor": "Xen",
        "product_version": "4.2.amazon",
    } == values(parse_columns(ROW + XEN_ROW, "wmic"))


def test_wmic_with_more_than_one_row_counts_the_first() -> None:
    """A third line of the table is not an error, and its values replace no others."""
    second = XEN_ROW.replace("HVM domU", "HVM domX")

    assert values(parse_columns(ROW + XEN_ROW, "wmic")) == values(parse_columns(ROW + XEN_ROW + second, "wmic"))


@pytest.mark.parametrize("output", ["", "UUID  \r\r\n\r\r\n", "Node - PC\r\r\nERROR:\r\r\n"])
def test_wmic_with_a_header_only_or_an_error_is_not_absence(output: str) -> None:
    """WMI may not be ready at boot: a "no" from that would be wrong."""
    with pytest.raises(FirmwareError, match="wmic"):
        parse_columns(output, "wmic")


SERIAL = "ec2d6aad-f59b-a10d-5784-ca9b7ba4f727"


@pytest.mark.parametrize(
    "output",
    [
        f"SerialNumber                          \r\r\n{SERIAL}  \r\r\n\r\r\n",
        f"SerialNumber\r\n{SERIAL}  \r\n",
        f"\r\r\n\r\r\nSerialNumber={SERIAL}\r\r\n\r\r\n\r\r\n",
        f"\r\r\nNode,SerialNumber\r\r\nPC-1,{SERIAL}\r\r\n",
    ],
    ids=["table", "of Wine", "list", "csv"],
)
@pytest.mark.parametrize("encoding", ["ascii", "utf-16", "utf-16-le", "utf-8-sig"])
def test_the_serial_number_of_win32_bios_in_each_form(output: str, encoding: str) -> None:
    """`wmic bios get serialnumber`, as it is and with /format:list and /format:csv; UTF-16 with its mark or without."""
    assert {"product_serial": SERIAL} == values(parse_wmic(decode_console(output.encode(encoding))))


def test_wmics_csv_and_list_have_every_field() -> None:
    """Its CSV begins with the name of the machine, and quotes nothing: a comma in a value makes it unreadable."""
    fields = {"IdentifyingNumber": SERIAL, "Name": "HVM domU", "UUID": SERIAL, "Vendor": "Xen", "Version": "4.2.amazon"}
    csv = f"\r\r\nNode,{','.join(fields)}\r\r\nPC-1,{','.join(fields.values())}\r\r\n"
    listed = "".join(f"{name}={value}\r\r\n" for name, value in fields.items())

    due = {"product_serial": SERIAL, "product_name": "HVM domU", "product_uuid": SERIAL, "sys_vendor": "Xen"}
    assert {**due, "product_version": "4.2.amazon"} == values(parse_wmic(csv)) == values(parse_wmic(listed))
    with pytest.raises(FirmwareError, match=r"wmic: 7 values .*\(the header has 6\)"):
        parse_wmic(csv.replace("Xen", "Xen, Inc."))


def test_of_wmics_rows_the_first_counts() -> None:
    """A third line is another object's row, not a part of the first."""
    output = f"{WMIC_UUID.rstrip()}  \r\r\n36CC511A-F0DE-EA11-8106-842AFDCE34D0  \r\r\n\r\r\n"

    assert {"product_uuid": "EC20EBD7-8E03-06A8-645F-2D22E5A3BA4B"} == values(parse_wmic(output))


def test_of_two_labels_of_one_field_the_first_counts() -> None:
    """Classes of WMI name the serial number in two ways."""
    output = f"IdentifyingNumber={SERIAL}\r\nSerialNumber=another\r\n"

    assert {"product_serial": SERIAL} == values(parse_wmic(output))


def test_a_column_with_a_name_that_is_part_of_anothers_is_found_in_its_own_place() -> None:
    """`Name` stands in `UserName` too."""
    output = "UserName  Name      Vendor  \r\r\nme        HVM domU  Xen     \r\r\n"

    assert {"product_name": "HVM domU", "sys_vendor": "Xen"} == values(parse_columns(output, "wmic"))


@given(st.binary(max_size=300))
def test_any_output_of_a_program_is_facts_or_an_error(blob: bytes) -> None:
    """Programs' outputs come from outside as well."""
    with contextlib.suppress(FirmwareError):
        assert parse_wmic(decode_console(blob))
    with contextlib.suppress(FirmwareError):
        assert parse_list(decode_console(blob), "CIM")
    with contextlib.suppress(FirmwareError):
        assert parse_sysctl(blob.decode("latin-1"), OPENBSD)


def test_half_a_utf16_character_is_an_error() -> None:
    """Cut off output is not guessed at."""
    with pytest.raises(FirmwareError, match="UTF-16"):
        decode_console(b"\xff\xfeU")


def test_powershells_list() -> None:
    """Values may hold colons; a field without a value is absent."""
    output = "\r\n\r\nIdentifyingNumber : a:b\r\nVendor            : Amazon EC2\r\nVersion           : \r\n\r\n"

    assert {"product_serial": "a:b", "sys_vendor": "Amazon EC2", "product_version": None} == values(
        parse_list(output, "CIM")
    )
    with pytest.raises(FirmwareError, match="no field"):
        parse_list("Get-CimInstance : Access denied", "CIM")


def test_kenv_of_freebsd() -> None:
    """Values in quotation marks, among all else that the loader hands on."""
    uuid_ = "ec2fb75c-7a36-7938-4efa-8e40b4ac634b"
    output = f'acpi.oem="AMAZON"\nsmbios.system.maker="Amazon EC2"\nsmbios.system.uuid="{uuid_}"\n'

    assert {"sys_vendor": "Amazon EC2", "product_uuid": uuid_} == values(parse_kenv(output))
    with pytest.raises(FirmwareError, match="smbios"):
        parse_kenv('hw.pci="1"\n')
