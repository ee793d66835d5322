"""The readers of a machine, on files, captured outputs and programs that misbehave."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
import threading
from pathlib import Path

import pytest

from ec2ident.detection import detect
from ec2ident.errors import FirmwareError
from ec2ident.firmware import LARGEST_TABLE
from ec2ident.host import Host, bsd
from ec2ident.host.linux import DMI, PRIVATE, Linux
from ec2ident.host.programs import (
    LARGEST_OUTPUT,
    SYSTEM32,
    TOOL_SECONDS,
    ExitCodeError,
    run,
    system_directory,
    windows_environment,
)
from ec2ident.host.windows import Windows, read_firmware_table, read_registry
from ec2ident.imds.client import Imds
from ec2ident.model import Level, Reason
from tests.lib.machines import EC2, WINDOWS, build
from tests.lib.test_firmware import ROW, TABLE, XEN_ROW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ec2ident.host.reading import Run


class Programs:
    """Programs by the end of their name, and what they print; every other is not there."""

    def __init__(self, **outputs: bytes) -> None:
        self.outputs = outputs
        self.started: list[str] = []

    def __call__(self, argv: Sequence[str], seconds: float) -> bytes:
        name = argv[0].rpartition("\\")[2].partition(".")[0]
        self.started.append(name)
        if name not in self.outputs:
            raise FirmwareError(f"{argv[0]}: not there")
        return self.outputs[name]


def no_table() -> bytes:
    raise FirmwareError("firmware table: access denied")


def absent(_: str) -> None:
    return None


RSMB = bytes([0, 2, 7, 0]) + struct.pack("<I", len(TABLE)) + TABLE


def test_value_absent_and_unknown_are_three_answers(tmp_path: Path) -> None:
    """A file with a value, none, and one that cannot be read."""
    root = build(tmp_path, EC2["nitro m5.large, SLES"])
    (tmp_path / DMI / "bios_vendor").mkdir()

    found = {one.name: one for one in Linux(root).sysfs()}

    assert ("Amazon EC2", None) == (found["sys_vendor"].value, found["sys_vendor"].unknown)
    assert (None, None) == (found["board_vendor"].value, found["board_vendor"].unknown)
    assert (None, "is a directory") == (found["bios_vendor"].value, found["bios_vendor"].unknown)


@pytest.mark.parametrize("make", ["fifo", "giant"])
def test_a_strange_file_neither_holds_nor_fills_us(make: str, tmp_path: Path) -> None:
    """A FIFO without a writer has nothing; of a giant only a page is read, and that is not a value."""
    (tmp_path / DMI).mkdir(parents=True)
    path = tmp_path / DMI / "sys_vendor"
    if make == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"Amazon EC2" * 100_000)

    assert None is next(one.value for one in Linux(str(tmp_path)).sysfs() if one.name == "sys_vendor")


@pytest.mark.parametrize(("vendor", "level"), [("0x1d0f", Level.HINT), ("0x1d0e", Level.NONE)])
def test_amazons_devices_are_a_hint(vendor: str, level: Level, tmp_path: Path) -> None:
    """One digit away they are another vendor's."""
    for device, its in (("0000:00:00.0", "0x8086"), ("0000:00:05.0", vendor)):
        (tmp_path / "sys/bus/pci/devices" / device).mkdir(parents=True)
        (tmp_path / "sys/bus/pci/devices" / device / "vendor").write_text(f"{its}\n")

    assert level == detect(network=False, host=Host(str(tmp_path), environ={}, platform="linux")).level


def test_acpi_tables_name_their_maker(tmp_path: Path) -> None:
    """Root may read them; six bytes at offset 10."""
    (tmp_path / "sys/firmware/acpi/tables").mkdir(parents=True)
    (tmp_path / "sys/firmware/acpi/tables/FACP").write_bytes(b"FACP\x14\x01\0\0\x03\x09AMAZONAMZNFACP\x01\0\0\0")

    found = {one.name: one.value for one in Linux(str(tmp_path)).kernel()}

    assert {"acpi_oem": "AMAZON", "pci_vendor": None} == found


def test_dmidecode_runs_only_for_root_and_where_the_kernel_shows_nothing(tmp_path: Path) -> None:
    """It is slow, and says nothing that sysfs does not."""
    programs = Programs(
        dmidecode=b"Handle 0x0001\nSystem Information\n\tManufacturer: Amazon EC2\n\tProduct Name: t3.micro\n"
    )
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/mem").touch()

    def look(privileged: bool) -> Level:
        host = Host(str(tmp_path), platform="linux", environ={}, privileged=privileged, run=programs)
        return detect(network=False, host=host).level

    assert (Level.NONE, []) == (look(False), programs.started)
    assert (Level.CLAIM, ["dmidecode"]) == (look(True), programs.started)
    (tmp_path / DMI).mkdir(parents=True)
    assert (Level.NONE, ["dmidecode"]) == (look(True), programs.started)


def test_a_machine_without_smbios_and_without_dmidecode_has_no_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """canonical/cloud-init#2883, virt-s1/os-tests#220: s390x has neither. Root is told "no", as other users are."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/mem").touch()
    monkeypatch.setattr("ec2ident.host.programs.DIRECTORIES", (str(tmp_path),))

    assert () == Linux(str(tmp_path), privileged=True).dmidecode()


def _mask(device: Path, how: str) -> None:
    """Take the firmware's fields away, as runtimes of containers do."""
    if how == "a file each":
        for file in device.iterdir():
            file.write_bytes(b"")
        return
    for file in device.iterdir():
        file.unlink()
    if how == "no device":
        device.rmdir()
        device.symlink_to("../../devices/virtual/dmi/id")


@pytest.mark.parametrize("how", ["no device", "an empty directory", "a file each"])
def test_masked_firmware_is_unknown(how: str, tmp_path: Path) -> None:
    """nestybox/sysbox#405: a runtime mounts over /sys/devices/virtual/dmi. The kernel's class shows that there is some.

    Dead links, an empty directory and empty files are three ways to mask it.
    """
    root = build(tmp_path, EC2["nitro t3.micro, AL2023"], privileged=False)
    for name in PRIVATE:
        (tmp_path / DMI / name).rmdir()
    _mask(tmp_path / DMI, how)

    facts = Linux(root).sysfs()

    assert ["there is firmware, and all its fields are hidden"] == [one.unknown for one in facts if one.unknown]


@pytest.mark.parametrize("field", ["sys_vendor", "modalias"])
def test_firmware_that_says_nothing_is_not_masked(field: str, tmp_path: Path) -> None:
    """The kernel ends an empty text with a newline, and every device has a modalias."""
    (tmp_path / DMI).mkdir(parents=True)
    (tmp_path / DMI / field).write_text("\n")

    assert not [one.unknown for one in Linux(str(tmp_path)).sysfs() if one.unknown]


def test_a_xen_uuid_that_is_listed_and_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    """cfengine/masterfiles#2717: on a paravirtual instance with CentOS 6, opening the file ends with ENOENT."""
    (tmp_path / "sys/class").mkdir(parents=True)
    (tmp_path / "sys/hypervisor").mkdir()
    (tmp_path / "sys/hypervisor/uuid").symlink_to("not/there")

    found = {one.name: one.unknown for one in Linux(str(tmp_path)).sysfs_private()}

    assert "no such file or directory" == found["hypervisor_uuid"] == found["firmware"]
    assert None is found["product_uuid"]


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"\xf8", 0, 1, "invalid start byte"),  # giampaolo/psutil#652
        RuntimeError("GetAdaptersAddresses() syscall failed."),  # giampaolo/psutil#1263
        PermissionError(1, "Operation not permitted"),  # giampaolo/psutil#797
        SystemError("returned a result with an exception set"),
    ],
)
def test_interfaces_that_psutil_cannot_list_are_unknown(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Detection raises nothing for what the machine does."""
    import psutil

    def fails() -> None:
        raise error

    monkeypatch.setattr(psutil, "net_if_addrs", fails)

    assert (None, ()) == Host().interfaces()


def windows(programs: Programs, table: bytes | None = None, registry: dict[str, str] | None = None) -> Host:
    return Host(
        platform="win32",
        environ={},
        run=programs,
        firmware_table=no_table if table is None else lambda: table,
        registry=absent if registry is None else registry.get,
    )


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_every_windows_machine_gets_its_verdict(name: str) -> None:
    """From its registry and what its programs write; what is empty is not there, or not ready."""
    machine = WINDOWS[name]
    programs = Programs(WMIC=machine.wmic, powershell=machine.powershell)

    verdict = detect(Level.BOUND, network=False, host=windows(programs, registry=machine.registry))

    level, reason = machine.due
    found = (verdict.level, verdict.reason)
    assert (level, reason if reason is Reason.OTHER_VENDOR else Reason.NETWORK_DISABLED) == found, verdict.explain()
    claim = detect(network=False, host=windows(programs, registry=machine.registry))
    assert (level >= Level.CLAIM) == bool(claim)


def test_the_windows_firmware_table_settles_it_alone() -> None:
    """No program is started."""
    programs = Programs()

    assert (Level.CLAIM, []) == (detect(network=False, host=windows(programs, RSMB)).level, programs.started)


def test_the_windows_registry_is_next() -> None:
    """It has neither serial nor UUID, but the vendor and the type."""
    programs = Programs()
    registry = {"SystemManufacturer": "Amazon EC2", "SystemProductName": "t3a.small", "BIOSVendor": "Amazon EC2"}

    verdict = detect(network=False, host=windows(programs, registry=registry))

    assert (Level.CLAIM, Reason.FIRMWARE, []) == (verdict.level, verdict.reason, programs.started)


def test_wmic_is_last_and_may_be_gone() -> None:
    """Windows 11 24H2 has none; an old Windows has no other."""
    old = Programs(WMIC=b"\xff\xfe" + (ROW + XEN_ROW).encode("utf-16-le"))
    new = Programs(
        powershell=b"Vendor  : Xen\r\nVersion : 4.2.amazon\r\nUUID : 5A352AEC-CD91-E85F-BBFC-CC891D0BF9D6\r\n"
    )

    assert Level.CLAIM == detect(network=False, host=windows(old)).level
    assert ["powershell", "WMIC"] == old.started
    assert Level.CLAIM == detect(network=False, host=windows(new)).level
    assert ["powershell"] == new.started


def test_windows_where_nothing_answers_is_unknown() -> None:
    """WMI may not be ready at boot."""
    verdict = detect(network=False, host=windows(Programs(powershell=b"", WMIC=b"UUID  \r\r\n\r\r\n")))

    assert ("unknown", Level.NONE) == (verdict.answer, verdict.level)
    assert any(one.name == "firmware" and one.unknown for one in verdict.facts)


def test_programs_on_windows_are_named_by_the_system_directory_that_windows_names() -> None:
    """Not by their bare name, which Windows would look for in the current directory first, and not by the SystemRoot
    of the environment, which the caller of this process sets."""
    seen: list[str] = []

    def run(argv: Sequence[str], seconds: float) -> bytes:
        seen.append(argv[0])
        raise FirmwareError("not there")

    def started(**options: Any) -> list[str]:
        seen.clear()
        environ = {"SystemRoot": r"C:\Users\me\evil"}
        detect(network=False, host=Host(platform="win32", environ=environ, run=run, registry=absent, **options))
        return [*seen]

    below = (r"WindowsPowerShell\v1.0\powershell.exe", r"wbem\WMIC.exe")
    assert [rf"D:\Win\system32\{name}" for name in below] == started(system_directory=lambda: r"D:\Win\system32")
    assert [rf"{SYSTEM32}\{name}" for name in below] == started()


def test_the_question_to_powershell_is_allowed_in_its_constrained_language() -> None:
    """Where AppLocker or WDAC constrains PowerShell, setting a property and naming a .NET type is an error
    (wslutilities/wslu#297, oliverschwendener/ueli#519)."""
    asked: list[str] = []

    def run(argv: Sequence[str], seconds: float) -> bytes:
        asked.extend(argv)
        raise FirmwareError("not there")

    Windows(run).cim()

    assert asked[-2:-1] == ["-Command"]
    assert "[" not in asked[-1]
    assert asked[-1].count("=") == 1
    assert asked[-1].startswith("$ErrorActionPreference='Stop';Get-CimInstance ")


def test_wmic_that_does_not_know_csproduct_is_asked_for_the_serial_number() -> None:
    """Wine's is one, and fails with words on standard error; the answer is a UUID of EC2's shape, which is a hint."""
    questions: list[tuple[str, ...]] = []

    def run(argv: Sequence[str], seconds: float) -> bytes:
        questions.append(tuple(argv[1:]))
        if argv[1] == "csproduct":
            raise ExitCodeError(argv[0], 1, b"")
        return b"\xff\xfe" + "SerialNumber\r\nec2d6aad-f59b-a10d-5784-ca9b7ba4f727  \r\n".encode("utf-16-le")

    found = {one.name: one.value for one in Windows(run).wmic()}

    assert ["csproduct", "bios"] == [question[0] for question in questions]
    assert {"product_serial": "ec2d6aad-f59b-a10d-5784-ca9b7ba4f727"} == found


def test_a_program_of_windows_gets_an_environment_of_its_own() -> None:
    """PowerShell would load what PSModulePath and COR_PROFILER_PATH name, and does not start without SystemRoot."""
    environment = windows_environment(r"D:\Win\system32")

    assert (r"D:\Win", "D:", r"D:\Win\system32") == tuple(environment[n] for n in ("SystemRoot", "SystemDrive", "PATH"))
    assert {"SystemRoot", "windir", "SystemDrive", "PATH", "TEMP", "TMP"} == set(environment)


@pytest.mark.parametrize(
    ("platform", "programs"), [("win32", 2), ("freebsd14", 1), ("openbsd7", 1), ("netbsd10", 1), ("linux", 1)]
)
def test_each_program_has_its_time_limit_within_what_is_left(platform: str, programs: int, tmp_path: Path) -> None:
    """One that hangs takes its own share and no more; when the time is over, the next is not even started."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/mem").touch()
    now = [1000.0]

    def limits(timeout: float) -> list[float]:
        given: list[float] = []

        def run(argv: Sequence[str], seconds: float) -> bytes:
            given.append(seconds)
            now[0] += seconds
            raise FirmwareError(f"{argv[0]}: no answer within {seconds:.3g} s")

        host = Host(str(tmp_path), platform=platform, environ={}, privileged=True, run=run, registry=absent)
        verdict = detect(network=False, host=host, timeout=timeout, clock=lambda: now[0])
        assert "unknown" == verdict.answer
        return given

    assert [TOOL_SECONDS] * programs == limits(60.0)
    assert [2.0] == limits(2.0)
    assert [TOOL_SECONDS, 1.5][:programs] == limits(TOOL_SECONDS + 1.5)


@pytest.mark.parametrize("platform", ["darwin", "sunos5", "aix"])
def test_other_systems_say_that_they_have_no_evidence(platform: str) -> None:
    """Not "no": we do not know where to look."""
    verdict = detect(network=False, host=Host(platform=platform, environ={}))

    assert ("unknown", Level.NONE) == (verdict.answer, verdict.level)
    assert f"no local evidence is known for {platform}" == verdict.facts[0].unknown


def test_freebsd_has_kenv() -> None:
    """What its loader hands on."""
    programs = Programs(kenv=b'smbios.system.maker="Amazon EC2"\nsmbios.system.product="t3.micro"\n')

    assert Level.CLAIM == detect(network=False, host=Host(platform="freebsd14", environ={}, run=programs)).level


#: `sysctl hw` of OpenBSD as ansible/ansible has it in its tests, captured on a virtual machine of QEMU.
OPENBSD_QEMU = """\
hw.ncpufound=1
hw.vendor=QEMU
hw.product=Standard PC (i440FX + PIIX, 1996)
hw.version=pc-i440fx-5.1
hw.uuid=5833415a-eefc-964f-a306-fa434d44d117
hw.physmem=1056804864
"""
#: The form is that of the capture above. OpenBSD 7.9 on a Graviton instance is known to print `smbios0: Amazon EC2
#: t4g.nano`; that the other values are those which Linux shows on such an instance is assumed.
OPENBSD_NITRO = """\
hw.vendor=Amazon EC2
hw.product=t4g.nano
hw.uuid=ec24f7a0-034a-ac60-1c01-d03ed0ae0484
hw.serialno=ec24f7a0-034a-ac60-1c01-d03ed0ae0484
"""
#: Assumed likewise, with the values that Linux shows on Xen.
OPENBSD_XEN = """\
hw.vendor=Xen
hw.product=HVM domU
hw.version=4.2.amazon
hw.serialno=ec2d6aad-f59b-a10d-5784-ca9b7ba4f727
hw.uuid=ec2d6aad-f59b-a10d-5784-ca9b7ba4f727
"""
#: `sysctl machdep.dmi` of NetBSD 10.1 for evbarm, captured on a virtual machine of QEMU; without the serial number, of
#: which it wrote to standard error `second level name system-serial in machdep.dmi.system-serial is invalid`.
NETBSD_QEMU = """\
machdep.dmi.system-vendor = QEMU
machdep.dmi.system-product = QEMU Virtual Machine
machdep.dmi.system-version = virt-11.0
machdep.dmi.system-uuid = 00000000-0000-0000-0000-000000000000
"""
#: The form is that of the capture above, the names are those of the kernel's source, the values are assumed to be those
#: which Linux shows. Serial number and UUID are for root alone.
NETBSD_NITRO = """\
machdep.dmi.system-vendor = Amazon EC2
machdep.dmi.system-product = m5.large
machdep.dmi.bios-vendor = Amazon EC2
machdep.dmi.bios-version = 1.0
machdep.dmi.board-vendor = Amazon EC2
machdep.dmi.board-asset-tag = i-0af01c0123456789a
"""


@pytest.mark.parametrize(
    ("platform", "output", "answer", "level"),
    [
        ("openbsd7", OPENBSD_NITRO, "yes", Level.CLAIM),
        ("openbsd7", OPENBSD_XEN, "yes", Level.CLAIM),
        ("openbsd7", OPENBSD_QEMU, "no", Level.NONE),
        ("openbsd7", "", "unknown", Level.NONE),
        ("netbsd10", NETBSD_NITRO, "yes", Level.CLAIM),
        ("netbsd10", NETBSD_QEMU, "no", Level.NONE),
        ("netbsd10", "kern.ostype = NetBSD\n", "unknown", Level.NONE),
    ],
)
def test_openbsd_and_netbsd_have_sysctl(platform: str, output: str, answer: str, level: Level) -> None:
    """What their kernels pass on of SMBIOS; where they pass nothing on, it is unknown and not "no"."""
    programs = Programs(sysctl=output.encode())

    verdict = detect(network=False, host=Host(platform=platform, environ={}, run=programs))

    assert (answer, level, ["sysctl"]) == (verdict.answer, verdict.level, programs.started), verdict.explain()


def test_sysctl_that_fails_for_one_name_has_the_others() -> None:
    """NetBSD's ends with 1 where it may not show the UUID; its exit code does not matter."""

    def fails(output: bytes) -> Run:
        def run(argv: Sequence[str], seconds: float) -> bytes:
            raise ExitCodeError(argv[0], 1, output)

        return run

    facts = {one.name: one.value for one in bsd.netbsd(start=fails(NETBSD_NITRO.encode()))}
    assert ("Amazon EC2", "i-0af01c0123456789a") == (facts["sys_vendor"], facts["board_asset_tag"])
    assert ["not understood by this version: sysctl: no firmware field in ''"] == [
        one.unknown for one in bsd.netbsd(start=fails(b""))
    ]


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("raise SystemExit(1)", "exit code 1"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
        ("import os, time; os.close(1); time.sleep(60)", "no answer within 0.5 s"),
        (f"print('x' * {LARGEST_OUTPUT + 1})", "more than"),
        ("while True: print('x' * 4096)", "more than"),
    ],
)
def test_a_program_that_misbehaves_is_an_error(code: str, match: str) -> None:
    """Failed, too slow, too much, and too much without an end."""
    seconds = 0.5 if "sleep" in code else 30.0
    with pytest.raises(FirmwareError, match=match):
        run([sys.executable, "-c", code], seconds)


def test_a_program_that_misbehaves_is_ended(tmp_path: Path) -> None:
    """It does not stay behind, whether it says nothing or too much."""
    loud = f"head -c {2 * LARGEST_OUTPUT} /dev/zero;"
    for name, first, seconds, match in (("quiet", "", 1.0, "no answer"), ("loud", loud, 30.0, "more than")):
        with pytest.raises(FirmwareError, match=match):
            run(["sh", "-c", f'echo $$ >"$0"; {first} exec sleep 60', str(tmp_path / name)], seconds)

        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)


def test_a_child_that_keeps_the_pipe_does_not_hold_us(tmp_path: Path) -> None:
    """The program has ended; what it left behind has the other end of the pipe."""
    before = set(threading.enumerate())
    with pytest.raises(FirmwareError, match=r"no answer within 1 s"):
        run(["sh", "-c", 'sleep 60 & echo $! >"$0"', str(tmp_path / "pid")], 1.0)

    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    for reader in set(threading.enumerate()) - before:
        reader.join(30)
    assert before >= set(threading.enumerate())


def test_who_sets_path_does_not_choose_what_root_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of the right name in PATH is not started, and what is started gets an environment of its own."""
    for name in ("dmidecode-of-mine", "env"):
        (tmp_path / name).write_text("#!/bin/sh\necho mine\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_PRELOAD_OF_MINE", "1")

    with pytest.raises(FirmwareError, match="dmidecode-of-mine: not in /usr/sbin, /sbin, /usr/bin, /bin"):
        run(["dmidecode-of-mine"], 1)
    assert b"PATH=/usr/sbin:/sbin:/usr/bin:/bin\nLC_ALL=C\n" == run(["env"], 30)


def test_a_program_that_is_not_there_is_an_error() -> None:
    """And says which, by its name or by its whole path."""
    for program in ("ec2ident-no-such-program", "/nonexistent/ec2ident-no-such-program"):
        with pytest.raises(FirmwareError, match="ec2ident-no-such-program: "):
            run([program], 1)


class Kernel32:
    """GetSystemFirmwareTable as Windows has it: called through ctypes, it fills the memory that it is given."""

    def __init__(self, buffer: bytes, *, grown: int = 0) -> None:
        def get(signature: int, table: int, memory: int | None, size: int) -> int:
            # What Windows knows is b'RSMB' read as a big-endian number; any other signature has no table.
            if (signature, table) != (int.from_bytes(b"RSMB", "big"), 0):
                return 0
            if memory is None or size < len(buffer) + grown:
                return len(buffer) + (grown if memory else 0)
            ctypes.memmove(memory, buffer, len(buffer))
            return len(buffer)

        types = (ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
        self.GetSystemFirmwareTable = ctypes.CFUNCTYPE(ctypes.c_uint32, *types)(get)

    def __call__(self, name: str, *, use_last_error: bool) -> Kernel32:
        assert ("kernel32", True) == (name, use_last_error)
        return self


def test_the_firmware_table_is_read_as_windows_gives_it() -> None:
    """Twice: how large it is, then all of it."""
    assert RSMB == read_firmware_table(Kernel32(RSMB))


def test_the_system_directory_is_what_windows_says() -> None:
    """Where it cannot be asked, or answers that the buffer is too small, it is where every Windows has it."""

    class Kernel:
        def __init__(self, text: str, length: int) -> None:
            self.text, self.length = text, length

        def GetSystemDirectoryW(self, buffer: Any, size: int) -> int:  # noqa: N802
            buffer.value = self.text
            return self.length

        def __call__(self, name: str) -> Kernel:
            assert name == "kernel32"
            return self

    assert r"D:\Win\system32" == system_directory(Kernel(r"D:\Win\system32", 15))
    assert SYSTEM32 == system_directory(Kernel("", 0)) == system_directory(Kernel("", 400))
    if sys.platform != "win32":
        assert SYSTEM32 == system_directory()


@pytest.mark.parametrize("size", [0, LARGEST_TABLE + 9])
def test_no_firmware_table_or_a_giant_is_an_error(size: int) -> None:
    """0 is how Windows says that it failed."""
    with pytest.raises(FirmwareError, match=f"firmware table: {size} bytes"):
        read_firmware_table(Kernel32(bytes(size)))


def test_a_firmware_table_that_grew_meanwhile_is_not_a_table() -> None:
    """Nothing was written into our memory then; that is not taken for a table."""
    machine = Windows(firmware_table=lambda: read_firmware_table(Kernel32(RSMB, grown=8)))

    assert [None] == [one.value for one in machine.table()]


class Winreg:
    """The part of the module `winreg` that is used, over a dictionary; a value that is an error is raised."""

    HKEY_LOCAL_MACHINE = 0x80000002

    def __init__(self, values: dict[str, str | OSError]) -> None:
        self.values = values

    @contextlib.contextmanager
    def OpenKey(self, key: int, below: str) -> Iterator[dict[str, str | OSError]]:  # noqa: N802
        assert (self.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\BIOS") == (key, below)
        yield self.values

    def QueryValueEx(self, key: dict[str, str | OSError], name: str) -> tuple[str, int]:  # noqa: N802
        value = key.get(name, FileNotFoundError(2, "The system cannot find the file specified"))
        if isinstance(value, OSError):
            raise value
        return value, 1


def test_the_registry_has_a_value_none_or_an_error() -> None:
    """Absent is one answer, denied another."""
    fake = Winreg({"SystemManufacturer": "Amazon EC2", "BIOSVendor": PermissionError(13, "Access is denied")})

    assert "Amazon EC2" == read_registry("SystemManufacturer", fake)
    assert None is read_registry("SystemProductName", fake)
    with pytest.raises(FirmwareError, match="registry: Access is denied"):
        read_registry("BIOSVendor", fake)


@pytest.mark.skipif(sys.platform == "win32", reason="they exist there")
def test_what_only_windows_has_is_an_error_elsewhere() -> None:
    """The real readers, not the captured ones."""
    machine = Windows()
    assert ["firmware table: not on Windows", "registry: not on Windows"] == [
        stage()[0].unknown for stage in (machine.table, machine.registry)
    ]


def test_interfaces_of_this_machine() -> None:
    """The loopback address is everywhere."""
    addresses, _ = Host().interfaces()

    assert addresses is not None
    assert {"127.0.0.1", "::1"} & set(addresses)


def test_environment_names_are_taken_and_their_values_left(tmp_path: Path) -> None:
    """A URI in it may hold a secret."""
    host = Host(str(tmp_path), environ={"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/secret", "PATH": "/"})

    assert ["ECS_CONTAINER_METADATA_URI_V4"] == [one.value for one in host.environment()]
    assert () == Host(environ={"AWS_REGION": "us-east-1"}).environment()


EKS = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"
PODS = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_LAMBDA_FUNCTION_NAME": "f"},
        {"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"},
        # amazon-cloudwatch-agent#2107, amazon-cloudwatch-container-insights#56
        {"AWS_WEB_IDENTITY_TOKEN_FILE": EKS, "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[fd00:ec2::23]/v1/credentials"},
        {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": PODS},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x"},
        # hashicorp/packer#7133
        {"CODEBUILD_BUILD_ARN": "arn:aws-cn:codebuild:cn-north-1:123456789012:build/b:1"},
        {"AWS_BATCH_JOB_ID": "x"},
    ],
)
def test_a_place_of_aws_without_firmware_is_a_hint_and_unknown(environ: dict[str, str], tmp_path: Path) -> None:
    """No DMI and no route to the service: never "no"."""
    (tmp_path / "sys/class").mkdir(parents=True)
    imds = Imds(endpoints="http://127.0.0.1:9")

    verdict = detect(host=Host(str(tmp_path), environ=environ, platform="linux"), imds=imds)

    assert ("unknown", Level.HINT) == (verdict.answer, verdict.level), verdict.explain()


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/tokens/gcp-ksa/token"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost:9911/credentials"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1338/latest"},
        {"CODEBUILD_BUILD_ARN": "local"},
        {"AWS_REGION": "us-east-1", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"},
        {"AWS_BATCH_JOB_ID": ""},
    ],
)
def test_variables_that_others_set_too_are_not_a_hint(environ: dict[str, str], tmp_path: Path) -> None:
    """Another cloud's workload that uses AWS, and a credential server on a laptop."""
    assert () == Host(str(tmp_path), environ=environ).environment()


@pytest.mark.parametrize("path", ["dev/nsm", "sys/class/misc/nsm/dev"])
def test_a_nitro_enclave_is_a_hint(path: str, tmp_path: Path) -> None:
    """It has neither network nor firmware, and a security module (containers/gvisor-tap-vsock#512)."""
    (tmp_path / "sys/class").mkdir(parents=True)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()

    verdict = detect(host=Host(str(tmp_path), environ={}, platform="linux"), imds=Imds(endpoints="http://127.0.0.1:9"))

    assert ("unknown", Level.HINT) == (verdict.answer, verdict.level), verdict.explain()


@pytest.mark.parametrize(
    ("table", "reason"), [(b"\0\2\7\0\4\0\0\0abcd", Reason.NOT_UNDERSTOOD), (None, Reason.REFUSED)]
)
def test_a_table_that_is_not_understood_is_unknown_with_that_reason(table: bytes | None, reason: Reason) -> None:
    """Neither absent nor another vendor's, and not the same as one that could not be had."""

    def read() -> bytes:
        if table is None:
            raise FirmwareError("firmware table: access denied")
        return table

    host = Host(platform="win32", environ={}, firmware_table=read, registry=lambda _: None, run=nothing)
    verdict = detect(host=host, imds=Imds(endpoints="http://127.0.0.1:9"))

    assert ("unknown", reason) == (verdict.answer, verdict.reason), verdict.explain()


def nothing(argv: Sequence[str], seconds: float) -> bytes:
    raise FirmwareError(f"{argv[0]}: not there")
