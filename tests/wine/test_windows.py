"""The library and its command on CPython for Windows, under Wine: what is real there, `machine.py` says."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ec2ident.model import Kind

from .machine import TOP, Windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.full, pytest.mark.root, pytest.mark.timeout(400)]

INSTANCE = "i-0123456789abcdef0"
NITRO = {
    "sys_vendor": "Amazon EC2",
    "product_name": "m5.large",
    "bios_vendor": "Amazon EC2",
    "bios_version": "1.0",
    "board_vendor": "Amazon EC2",
    "board_asset_tag": INSTANCE,
    "chassis_vendor": "Amazon EC2",
}
XEN = {
    "sys_vendor": "Xen",
    "product_name": "HVM domU",
    "product_version": "4.11.amazon",
    "bios_vendor": "Xen",
    "bios_version": "4.11.amazon",
}
QEMU = {"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)", "bios_vendor": "SeaBIOS"}


def test_every_module_imports(windows: Windows, python: Path) -> None:
    """None needs what only Unix has; the pytest plugin needs pytest, which is not there."""
    code = """
import importlib, pkgutil, ec2ident
names = [one.name for one in pkgutil.walk_packages(ec2ident.__path__, "ec2ident.")]
names = [name for name in names if not name.endswith(("__main__", "pytest_plugin"))]
print(len([importlib.import_module(name) for name in names]))
"""
    done = windows.python(python, "-c", code)

    assert (0, "") == (done.returncode, done.stderr)
    assert int(done.stdout) > 25


@pytest.mark.parametrize(
    ("firmware", "due"), [(NITRO, "True"), (XEN, "True"), (QEMU, "False")], ids=["nitro", "xen", "qemu"]
)
def test_the_firmware_table_says_whether_it_is_ec2(
    firmware: dict[str, str], due: str, windows: Windows, python: Path
) -> None:
    """GetSystemFirmwareTable through ctypes, without any program and without the network."""
    code = """
import sys, ec2ident
print(ec2ident.is_ec2(), *sorted({"subprocess", "requests", "psutil"} & set(sys.modules)))
"""
    done = windows.python(python, "-c", code, firmware=firmware)

    assert (due, "") == (done.stdout.strip(), done.stderr)


@pytest.mark.parametrize(
    ("firmware", "answer", "code"),
    [(NITRO, "yes", 0), (QEMU, "no", 1), ({}, "unknown", 3)],
    ids=["nitro", "qemu", "none"],
)
def test_the_command_answers_by_text_json_and_exit_code(
    firmware: dict[str, str], answer: str, code: int, windows: Windows, python: Path
) -> None:
    """`python -m ec2ident`; a machine with firmware without strings, that may not ask, is unknown."""
    done = windows.python(python, "-m", "ec2ident", "--json", "--no-network", firmware=firmware)
    text = windows.python(python, "-m", "ec2ident", "--explain", "--no-network", firmware=firmware)

    assert (code, code, "", "") == (done.returncode, text.returncode, done.stderr, text.stderr)
    assert answer == json.loads(done.stdout)["answer"]
    assert text.stdout.startswith(f"{answer}: ")
    assert "[firmware table RSMB]" in text.stdout


def test_bad_input_is_one_line_and_exit_code_2(windows: Windows, python: Path) -> None:
    """A file that is not there is named in Windows' way of writing paths too."""
    done = windows.python(python, "-m", "ec2ident", "verify", r"C:\nowhere\document")

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert r"C:\nowhere\document" in done.stderr


def test_a_document_that_aws_signed_verifies(windows: Windows, python: Path) -> None:
    """A genuine one, offline, with cryptography's wheel for Windows; one changed digit, and it does not."""
    item = next((TOP / "tests/vectors/real").glob("*/rsa2048*"))
    changed = windows.directory / "changed"
    changed.write_bytes(item.read_bytes().replace(b"A", b"B", 40))

    good = windows.python(python, "-m", "ec2ident", "verify", f"Z:{item}")
    bad = windows.python(python, "-m", "ec2ident", "verify", "--kind", "rsa2048", f"Z:{changed}")

    assert (0, "") == (good.returncode, good.stderr)
    assert "signed by AWS for" in good.stdout
    assert bad.returncode in (1, 3)
    assert not bad.stdout


@contextmanager
def service(windows: Windows, directory: Path) -> Iterator[str]:
    """The test service in the machine's network, run by the Python of this system; its endpoint."""
    command = (sys.executable, "-m", "ec2ident.testing", "--certificates", str(directory), "--quiet")
    with windows.namespace.start(*command, cwd=TOP, stdout=-1) as running:
        try:
            assert running.stdout is not None
            said = dict(line.split(maxsplit=1) for line in iter(running.stdout.readline, "ready\n"))
            yield said["endpoint"].strip()
        finally:
            running.terminate()


def test_a_machine_proves_that_it_is_an_instance(windows: Windows, python: Path, tmp_path: Path) -> None:
    """Against the test service on loopback: a proof over a socket of Windows, and bound, for its interfaces are those
    that the document and the service name."""
    windows.namespace.ip(
        "link add nic address 06:00:00:00:00:00 type bridge", "address add 10.0.0.10/24 dev nic", "link set nic up"
    )
    try:
        with service(windows, tmp_path) as endpoint:
            code = f"""
from pathlib import Path
from ec2ident import Imds, Level, TrustStore, detect
trust = TrustStore()
for kind in {[str(kind) for kind in Kind]}:
    trust = trust.with_certificate(Path(r"Z:{tmp_path}", kind + ".pem").read_text(), region="eu-west-1", kind=kind)
verdict = detect(Level.BOUND, 20, imds=Imds(10, endpoints="{endpoint}"), trust=trust)
print(verdict.explain() if verdict.level < Level.BOUND else verdict.identity.document.instance_id)
"""
            done = windows.python(python, "-c", code, firmware=NITRO)
    finally:
        windows.namespace.ip("link delete nic")

    assert (INSTANCE, "") == (done.stdout.strip(), done.stderr)


def test_the_test_service_runs_on_windows_too(windows: Windows, python: Path) -> None:
    """So a user's tests work there: it starts, is asked, and ends without a word on standard error."""
    code = """
from ec2ident import Imds, prove
from ec2ident.testing import MetadataService
with MetadataService() as service:
    imds = Imds(10, endpoints=service.endpoints[0])
    print(prove(20, imds=imds, trust=service.trust, bind=False).document.instance_id)
"""
    done = windows.python(python, "-c", code)

    assert (0, INSTANCE, "") == (done.returncode, done.stdout.strip(), done.stderr)


def test_no_route_and_a_refusal_have_names_and_advice(windows: Windows, python: Path) -> None:
    """A machine without a route to the metadata service, and a port without a listener, in words that Windows has."""
    code = """
from ec2ident import Imds, ImdsError
for endpoint in ("http://169.254.169.254", "http://127.0.0.1:9"):
    try:
        Imds(10, endpoints=endpoint).get("meta-data/mac")
    except ImdsError as error:
        print(error.reason, error)
"""
    done = windows.python(python, "-c", code)
    route, refused = done.stdout.splitlines()

    assert "" == done.stderr
    assert route.startswith("no-route metadata service: ")
    assert "route print 169.254.*" in route
    assert refused.startswith("refused metadata service: ")
    assert "Unknown error" not in done.stdout


def test_the_registry_and_wmic_are_read(windows: Windows, python: Path) -> None:
    """Wine's registry has what its firmware table has; its wmic, a real program with UTF-16 output, knows the serial
    number alone (and says 0)."""
    code = """
from ec2ident.host.windows import Windows
for stage in (Windows().registry, Windows().wmic):
    print(*(f"{one.name}={one.value or one.unknown}" for one in stage(60)), sep=";")
"""
    windows.shut_down()
    windows.boot(NITRO)
    try:
        done = windows.python(python, "-c", code, firmware=NITRO)
    finally:
        windows.shut_down()
        windows.boot()

    assert "" == done.stderr
    registry, wmic = done.stdout.splitlines()
    assert "sys_vendor=Amazon EC2;product_name=m5.large;bios_vendor=Amazon EC2;bios_version=1.0" == registry
    assert "product_serial=0" == wmic


def test_a_program_is_found_and_started_whatever_the_environment_says(windows: Windows, python: Path) -> None:
    """By the system directory that Windows names, and with nothing of the caller's environment."""
    code = r"""
import os
os.environ.update(SystemRoot=r"C:\evil", PSModulePath=r"C:\evil", COR_PROFILER_PATH=r"C:\evil.dll")
from ec2ident.host import programs
directory = programs.system_directory()
print(directory)
print(programs.run([directory + r"\cmd.exe", "/c", "set"], 60).decode())
"""
    done = windows.python(python, "-c", code)

    assert "" == done.stderr
    assert done.stdout.lower().startswith(r"c:\windows\system32")
    assert "evil" not in done.stdout
    assert r"SystemRoot=C:\windows" in done.stdout


def test_files_are_warmed(windows: Windows, python: Path, tmp_path: Path) -> None:
    """`warm` reads files on Windows too. For whole disks docs/warm.md names Amazon's own recipe."""
    image = tmp_path / "image"
    image.write_bytes(bytes(5 << 20))
    code = f"import sys; sys.path.insert(0, {as_windows(TOP / 'agent')!r}); from ec2ident_agent.cli import main; "
    code += f"sys.exit(main(['warm', {as_windows(image)!r}, '--json']))"

    done = windows.python(python, "-c", code)

    assert 0 == done.returncode
    assert "no direct reads here" in done.stderr
    (volume,) = json.loads(done.stdout)["volumes"]
    assert ("read", 5 << 20, 5 << 20) == (volume["state"], volume["size"], volume["done"])


def as_windows(path: Path) -> str:
    r"""The path as Wine shows it to programs: drive Z: is the root directory."""
    return "Z:" + str(path).replace("/", "\\")
