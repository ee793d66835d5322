"""A real kernel and a real dmidecode over real firmware tables: what ec2ident says, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.vm import smbios
from tests.vm.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

pytestmark = pytest.mark.full

BIOS = ("Amazon EC2", "1.0", "10/16/2017")

#: Each machine: its firmware, the exit code of `ec2ident`, the level as root and as nobody, and the reason.
MACHINES = {
    "nitro": (smbios.NITRO, 0, "claim", "claim", "firmware"),
    "metal": (smbios.METAL, 0, "claim", "claim", "firmware"),
    "xen": (smbios.XEN, 0, "claim", "claim", "firmware"),
    "hetzner": (smbios.HETZNER, 1, "none", "none", "other-vendor"),
    "hyper-v": (smbios.HYPER_V, 1, "none", "none", "other-vendor"),
    "qemu": (smbios.QEMU, 1, "none", "none", "other-vendor"),
    "nameless": (smbios.NAMELESS, 3, "hint", "none", "network-disabled"),
}

#: Every firmware string that the kernel shows, None where it may not be read.
_READ = """
import json, os
found = {}
for name in os.listdir("/sys/class/dmi/id"):
    path = f"/sys/class/dmi/id/{name}"
    if os.path.isfile(path):
        try:
            found[name] = open(path).read().rstrip("\\n")
        except PermissionError:
            found[name] = None
print(json.dumps(found))
"""

#: Runs its arguments in a mount namespace of their own in which /sys is gone (CLONE_NEWNS, MNT_DETACH).
_WITHOUT_SYSFS = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000) == 0
assert libc.umount2(b"/sys", 2) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


class Booted:
    """A booted machine and what is known of it."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name = name
        self.machine = machine
        self.firmware, self.exit, root, nobody, self.reason = MACHINES[name]
        self.level = {"root": root, "nobody": nobody}

    def strings(self, user: str) -> dict[str, str | None]:
        python = os.path.realpath(sys.executable)
        done = self.machine.run([python, "-I", "-c", _READ], user)
        assert 0 == done.exit, done.stderr
        found: dict[str, str | None] = json.loads(done.stdout)
        return found

    def show(self, user: str, *before: str) -> dict[str, Any]:
        """What `ec2ident show` says, and its exit code; `before` is a command that runs it."""
        done = self.machine.run([*before, "/usr/bin/ec2ident", "show", "--json", "--no-network"], user)
        assert "Traceback" not in done.stderr
        verdict: dict[str, Any] = json.loads(done.stdout)
        return {**verdict, "exit": done.exit}


@pytest.fixture(scope="module", params=list(MACHINES))
def booted(
    request: pytest.FixtureRequest, kernel: Path, image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Booted]:
    """Each machine is booted once; all the tests run in it."""
    arguments = MACHINES[request.param][0]
    if request.param == "metal":
        arguments = (smbios.bare_metal_bios(tmp_path_factory.mktemp("bios"), *BIOS), *arguments)
    with Machine(image, kernel, arguments) as machine:
        yield Booted(request.param, machine)


def test_the_kernel_shows_the_uuid_to_root_alone(booted: Booted) -> None:
    """This is what an ordinary user has to do without, on Nitro as anywhere."""
    hidden = {"product_uuid", "product_serial", "board_serial", "chassis_serial"}

    as_root, as_nobody = booted.strings("root"), booted.strings("nobody")

    assert set() == {name for name, text in as_root.items() if text is None}
    assert hidden & set(as_root) == {name for name, text in as_nobody.items() if text is None}
    uuid = next(part for text in booted.firmware for part in text.split(",") if part.startswith("uuid="))
    assert uuid == f"uuid={as_root['product_uuid']}"


def test_dmidecode_agrees_with_the_kernel(booted: Booted) -> None:
    """The same strings, from the tables; and another user gets none of them from it."""
    strings = booted.strings("root")
    for keyword, name in (
        ("system-manufacturer", "sys_vendor"),
        ("system-uuid", "product_uuid"),
        ("bios-version", "bios_version"),
    ):
        shown = strings[name] or "Not Specified"
        assert shown == booted.machine.run(["dmidecode", "-s", keyword]).stdout.strip()

    denied = booted.machine.run(["dmidecode", "-s", "system-uuid"], "nobody")

    assert (1, True) == (denied.exit, "Permission denied" in denied.stderr)


def test_bare_metal_does_not_call_itself_a_virtual_machine(booted: Booted) -> None:
    """All others do, but for SeaBIOS, which QEMU leaves to itself: the one bit in which i3.metal differs."""
    told = "System is a virtual machine" in booted.machine.run(["dmidecode", "-t", "0"]).stdout

    assert (booted.name not in ("metal", "qemu")) == told


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_ec2ident_says_what_the_machine_is(booted: Booted, user: str) -> None:
    """The right level, reason and exit code for each machine and user, from its firmware alone."""
    verdict = booted.show(user)

    assert (booted.exit, booted.level[user], booted.reason) == tuple(
        verdict[name] for name in ("exit", "level", "reason")
    )


def test_dmidecode_answers_where_sysfs_is_missing(booted: Booted) -> None:
    """Root gets the same verdict from the tables in memory, and the facts name their source."""
    python = os.path.realpath(sys.executable)

    verdict = booted.show("root", python, "-I", "-c", _WITHOUT_SYSFS)

    expected = (booted.exit, booted.level["root"], booted.reason)
    assert expected == tuple(verdict[name] for name in ("exit", "level", "reason"))
    assert {"dmidecode"} == {fact["source"] for fact in verdict["facts"] if fact["value"]}


def test_what_may_not_be_read_is_unknown_and_not_absent(booted: Booted) -> None:
    """Only where the firmware that any user may read leaves it open is the UUID asked for at all."""
    facts = {fact["name"]: fact for fact in booted.show("nobody")["facts"]}

    if booted.name == "nameless":
        assert (None, "permission denied") == (facts["product_uuid"]["value"], facts["product_uuid"]["unknown"])
    else:
        assert "product_uuid" not in facts
