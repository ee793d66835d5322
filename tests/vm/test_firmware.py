"""A real kernel and a real dmidecode over real firmware tables: what ec2ident says, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.vm import smbios
from tests.vm.machine import Machine, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.full

BIOS = ("Amazon EC2", "1.0", "10/16/2017")

#: Each machine: its firmware, the exit code of `ec2ident`, and the level, as root and as nobody.
MACHINES = {
    "nitro": (smbios.NITRO, 0, "CLAIM", "CLAIM"),
    "metal": (smbios.METAL, 0, "CLAIM", "CLAIM"),
    "xen": (smbios.XEN, 0, "CLAIM", "CLAIM"),
    "hetzner": (smbios.HETZNER, 1, "NONE", "NONE"),
    "hyper-v": (smbios.HYPER_V, 1, "NONE", "NONE"),
    "qemu": (smbios.QEMU, 1, "NONE", "NONE"),
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


class Booted:
    """A booted machine and what is known of it."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name = name
        self.machine = machine
        self.firmware, self.exit, self.level_of_root, self.level_of_nobody = MACHINES[name]

    def strings(self, user: str) -> dict[str, str | None]:
        python = os.path.realpath(sys.executable)
        done = self.machine.run([python, "-I", "-c", _READ], user)
        assert 0 == done.exit, done.stderr
        found: dict[str, str | None] = json.loads(done.stdout)
        return found

    def ec2ident(self, user: str, *arguments: str) -> Result:
        return self.machine.run(["/usr/bin/ec2ident", *arguments], user)


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
        assert strings[name] == booted.machine.run(["dmidecode", "-s", keyword]).stdout.strip()

    denied = booted.machine.run(["dmidecode", "-s", "system-uuid"], "nobody")

    assert (1, True) == (denied.exit, "Permission denied" in denied.stderr)


def test_bare_metal_does_not_call_itself_a_virtual_machine(booted: Booted) -> None:
    """All others do, but for QEMU's own defaults: the one bit in which i3.metal differs."""
    told = "System is a virtual machine" in booted.machine.run(["dmidecode", "-t", "0"]).stdout

    assert (booted.name not in ("metal", "qemu")) == told
