"""docs/detection.md: its example runs, and its tables are those of the code."""

from __future__ import annotations

import platform
import re
import socket
import sys
from pathlib import Path

import pytest

from ec2ident import Level, detect
from ec2ident.assess import AMAZON_FIELDS, DETAILS, SHARED, WEAK
from ec2ident.cli import main
from ec2ident.imds.connect import METADATA_IPV4
from ec2ident.model import Kind
from ec2ident.testing import Authority, Instance, Interface, MetadataService
from tests.lab.namespace import Namespace, unique

from .machines import EC2, build

pytest_plugins = ["ec2ident.testing.pytest_plugin"]

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "detection.md").read_text(encoding="utf-8")
#: What AWS once signed for an instance with this address, and what its metadata service had said of the interface.
GENUINE = TOP / "tests" / "vectors" / "real" / "cloudinit-us-east-2-2018"
ADDRESS, MAC = "10.41.41.95", "06:11:22:33:44:55"


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its own two lines."""
    below = PAGE.split(f"\n## {heading}\n")[1]
    table = [line for line in below.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([a-z0-9_-]+)`", cell)


@pytest.mark.root
@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86_64: that is what the genuine document is about")
def test_the_example_runs_on_the_machine_that_the_document_is_about(
    metadata_authority: Authority, tmp_path: Path
) -> None:
    """In a namespace with its address, its hardware and the service: what AWS signed is proven, and bound to it."""
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    instance = Instance(interfaces=(Interface(mac=MAC),))
    root = build(tmp_path, EC2["xen pv"])
    here = Namespace(unique("example"))
    Namespace.add_all(here)
    try:
        here.ip(
            *(f"link add eth0 address {MAC} type veth peer name far", "link set eth0 up"),
            *(f"addr add {ADDRESS}/24 dev eth0", f"addr add {METADATA_IPV4.address}/32 dev lo"),
        )
        with here.entered():
            listener = socket.create_server((METADATA_IPV4.address, 80))
        with MetadataService(instance, listeners=[listener], authority=metadata_authority) as service:
            for file in GENUINE.iterdir():
                if file.name.partition(".")[0] in ("document", *Kind):
                    service.behave("body", path=f"/{file.name.partition('.')[0]}$", body=file.read_text())
            inside = ["sh", "-c", 'mount --bind "$0" /sys && exec "$@"', f"{root}/sys", sys.executable, "-c"]
            # A busy machine may load libraries longer than the example waits.
            patient = example.replace("timeout=3", "timeout=30").replace("prove()", "prove(30)")
            done = here.run(*inside, f"{patient}\nprint(identity.document.instance_id)", cwd=TOP)
    finally:
        Namespace.remove_all(here)

    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("yes: AWS's signature verifies over the identity document of i-075f088c72ad3271c")
    assert "i-075f088c72ad3271c" == lines[-1]


def test_the_levels_are_those_of_the_code() -> None:
    """In their order."""
    assert [one.name for one in Level] == [row[0].strip("`") for row in rows("Levels")]


def test_every_fact_that_is_weighed_is_in_the_table() -> None:
    """And no other."""
    listed = [name for row in rows("What each fact is worth") for name in names(row[0])]

    assert {*AMAZON_FIELDS, *SHARED, *DETAILS} == {*listed}
    assert {*WEAK} == {"environment", "sys_vendor", "bios_vendor"}


def test_the_keys_of_the_json_are_all_there(tmp_path: Path) -> None:
    """Those of a verdict, in their order."""
    listed = [name for row in rows("JSON") for name in names(row[0])]

    assert [*detect(network=False, root=str(tmp_path)).to_dict()] == listed


@pytest.mark.parametrize("verb", ["show", "verify", "evidence", "region"])
def test_the_command_has_what_the_page_shows(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option on its line is one of that verb's."""
    block = PAGE.split("\n## The command\n")[1]
    line = next(line for line in block.splitlines() if re.match(rf"ec2ident \[?{verb}\b", line))
    assert 0 == main([verb, "--help"])
    shown = capsys.readouterr().out
    assert [] == [option for option in re.findall(r"--[a-z-]+", line.partition("#")[0]) if option not in shown]
