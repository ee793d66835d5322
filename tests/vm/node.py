"""A node that was booted: real systemd as its first process, real udev and networkd, and the agent. ENIs come and go.

Its network is a hub inside QEMU with no other machine on it: not a packet leaves the virtual machine.
"""

from __future__ import annotations

import json
import lzma
import socket
from pathlib import Path

from tests.lab.enclosure import wait_until
from tests.lab.recipe import CONFIGURATION

from .image import Image
from .machine import GUEST, KERNEL, TOP, Machine
from .smbios import NITRO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

#: What a node needs of Debian's systemd and udev, and the programs that it starts.
DIRECTORIES = tuple(f"/usr/lib/{name}" for name in ("systemd", "udev", "tmpfiles.d", "sysusers.d", "sysctl.d"))
PROGRAMS = (
    *("/usr/bin/env", "/usr/bin/systemd-escape", "/usr/bin/systemd-sysusers", "/usr/bin/systemd-tmpfiles"),
    *(f"/usr/bin/{name}" for name in ("systemctl", "journalctl", "udevadm", "find")),
    *(f"/bin/{name}" for name in ("sh", "mount", "umount", "kill", "cat", "rm", "mkdir", "grep", "ip")),
)

#: What the package and its test service need; tomli is in every environment of the tests, whatever the Python.
DISTRIBUTIONS = (
    *("cffi", "cryptography", "psutil", "pyroute2", "tomli"),
    *("requests", "certifi", "charset-normalizer", "idna", "urllib3"),
)

#: Modules of the kernel for the network card, in the order of their needs.
MODULES = (
    *("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_legacy_dev"),
    *("drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci"),
    *("net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"),
)

#: finit_module(2) of each.
LOAD_MODULES = """\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for path in sys.argv[1:]:
    if libc.syscall(313, os.open(path, os.O_RDONLY), b"", 0):
        sys.exit(f"{path}: {os.strerror(ctypes.get_errno())}")
"""

#: Before anything has a network, and as long as the machine runs.
UNIT = """\
[Unit]
DefaultDependencies=no
Wants=systemd-udevd.service
After=systemd-udevd.service
Before=network-pre.target
[Service]
Type={type}
RemainAfterExit=yes
StandardOutput=null
ExecStart={command}
"""

#: The metadata service, on the node itself: it starts when a test says so. `metadata tell` steers it.
METADATA = "from ec2ident.testing.__main__ import main\nsys.exit(main())\n"
METADATA_UNIT = """\
[Service]
ExecStartPre=/bin/ip address add 169.254.169.254/32 dev lo
ExecStart=/usr/bin/metadata --host 169.254.169.254 --port 80 --control /run/metadata.socket
ExecStopPost=/bin/ip address del 169.254.169.254/32 dev lo
"""

CONFIGURED = "/etc/ec2ident/agent.toml"
FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "/etc/group": "root:x:0:\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/os-release": 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID=12\n',
    "/etc/systemd/network/10-eth0.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.0.10/24\nGateway=10.0.0.1\n",
    "/etc/systemd/network/20-eni.network": "[Match]\nName=eth*\n[Network]\nAddress=10.0.1.10/24\n",
    # QEMU has no network card of Amazon's. All that comes after this rule is as on EC2.
    "/etc/udev/rules.d/81-ena.rules": 'SUBSYSTEM=="net", ENV{ID_NET_DRIVER}=="virtio_net", ENV{ID_NET_DRIVER}="ena"\n',
    CONFIGURED: CONFIGURATION,
}

#: How a command begins: as pip writes it, with the place of its packages.
SHEBANG = "#!{python} -I\nimport sys\nsys.path.insert(0, '/opt/ec2ident')\n"

#: MAC addresses: the primary interface's, and the one of the ENI that is attached while the node runs.
PRIMARY, ENI = "02:00:00:00:00:10", "02:00:00:00:00:11"


def build_node(
    package: Path, path: Path, more: Mapping[str, str] | None = None, links: Mapping[str, str] | None = None
) -> Path:
    """Write a node's initial RAM disk. `package` is where the kernel, systemd and udev lie unpacked."""
    image = Image(package)
    python = image.copy_python()
    image.copy_package("systemd", "udev", below=DIRECTORIES)
    for program in PROGRAMS:
        image.copy_program(program)
    kernel = next((package / "usr" / "lib" / "modules").iterdir()) / "kernel"
    for module in MODULES:
        image.file(f"/modules/{Path(module).name}.ko", _module(kernel / f"{module}.ko"))
    for directory in (TOP / "ec2ident", TOP / "agent" / "ec2ident_agent"):
        image.copy_all(directory, f"/opt/ec2ident/{directory.name}")
    image.copy_distributions(*DISTRIBUTIONS, path="/opt/ec2ident")
    command = (TOP / "agent" / "bin" / "ec2ident-agent").read_text(encoding="utf-8")
    image.file("/usr/bin/ec2ident-agent", SHEBANG.format(python=python) + command, 0o755)

    image.file("/opt/guest.py", GUEST)
    image.file("/opt/modules.py", LOAD_MODULES)
    paths = " ".join(f"/modules/{Path(module).name}.ko" for module in MODULES)
    for name, kind, words in (("modules", "oneshot", f"/opt/modules.py {paths}"), ("guest", "simple", "/opt/guest.py")):
        unit = UNIT.format(type=kind, command=f"{python} -I {words}")
        image.file(f"/etc/systemd/system/{name}.service", unit)
        image.link(f"/etc/systemd/system/sysinit.target.wants/{name}.service", f"../{name}.service")
    image.file("/usr/bin/metadata", SHEBANG.format(python=python) + METADATA, 0o755)
    image.file("/etc/systemd/system/metadata.service", METADATA_UNIT)
    wants = "/etc/systemd/system/multi-user.target.wants"
    image.link(f"{wants}/systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service")
    image.link("/etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
    # There is no login.
    image.link("/etc/systemd/system/getty.target", "/dev/null")
    image.link("/init", "usr/lib/systemd/systemd")
    for empty in ("/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/var/log", "/etc/iproute2/rt_tables.d"):
        image.directory(empty)
    for name, text in {**FILES, **(more or {})}.items():
        image.file(name, text, 0o755 if text.startswith("#!") else 0o644)
    for name, target in (links or {}).items():
        image.link(name, target)
    return image.write(path)


def _module(path: Path) -> bytes:
    """Debian packs modules from version 13 on."""
    return path.read_bytes() if path.exists() else lzma.decompress(Path(f"{path}.xz").read_bytes())


class Node(Machine):
    """A machine with EC2's firmware and eth0, to which an ENI can be attached while it runs, or before with `eni`."""

    memory = 768
    timeout = 300.0
    kernel_arguments = f"{KERNEL} net.ifnames=0 systemd.show_status=0"

    def __init__(self, image: Path, kernel: Path, *, eni: bool = False) -> None:
        self._control = f"{image}.qmp"
        super().__init__(
            image,
            kernel,
            NITRO,
            devices=[
                *("-netdev", "hubport,id=primary,hubid=0", "-netdev", "hubport,id=eni,hubid=0"),
                *("-device", f"virtio-net-pci,netdev=primary,mac={PRIMARY},romfile="),
                *(("-device", f"virtio-net-pci,netdev=eni,mac={ENI},id=eni,romfile=") if eni else ()),
                *("-qmp", f"unix:{self._control},server=on,wait=off"),
            ],
        )

    def __enter__(self) -> Node:
        super().__enter__()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(self._control)
        self._answers = self._socket.makefile("rb")
        self._command_qemu("qmp_capabilities")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if hasattr(self, "_answers"):
            self._answers.close()
            self._socket.close()
        super().__exit__(kind, error, at)

    def attach(self) -> None:
        """As EC2 does it: the card appears on the PCI bus."""
        self._command_qemu("device_add", driver="virtio-net-pci", netdev="eni", mac=ENI, id="eni", romfile="")

    def detach(self) -> None:
        """The guest is asked to let go of the card (ACPI), and does."""
        self._command_qemu("device_del", id="eni")

    def booted(self) -> None:
        """Until all that starts at boot has. Raises AssertionError with what failed."""
        state = ["systemctl", "is-system-running"]
        busy = ("initializing", "starting")
        wait_until(lambda: self.run(state).stdout.strip() not in busy, "the node has booted", self.timeout)
        assert "running" == self.run(state).stdout.strip(), self.run(["systemctl", "--failed", "--no-legend"])

    def said(self, *argv: str) -> str:
        """What a command in the guest printed, which must end with 0."""
        done = self.run(argv)
        assert 0 == done.exit, (argv, done)
        return done.stdout

    def wait(self, *argv: str, exit_code: int = 0) -> None:
        """Until the command ends so. Raises LabError that names it."""
        wait_until(lambda: exit_code == self.run(argv).exit, f"{' '.join(argv)} ends with {exit_code}", 120)

    def _command_qemu(self, name: str, **arguments: str) -> None:
        """QEMU Machine Protocol: a line of JSON each way; events stand between."""
        self._socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self._answers.readline())
            assert "error" not in answer, (name, answer)
            if "return" in answer:
                return
