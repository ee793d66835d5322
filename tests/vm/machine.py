"""A virtual machine with the firmware strings of any vendor, booted by QEMU in a few seconds, without a network.

    image = build_image(directory)
    with Machine(image, kernel, smbios=["type=1,manufacturer=Amazon EC2,product=t3.micro"]) as machine:
        machine.run(["dmidecode", "-t", "1"]).stdout

The initial RAM disk holds this Python with its standard library, ec2ident, and dmidecode, each at its path on the host,
with the shared libraries that they ask for. QEMU emulates the processor (TCG), so this works inside other machines too.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

from ec2ident.value import Value

from .image import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

TOP = Path(__file__).parents[2]
GUEST = Path(__file__).with_name("guest.py").read_text(encoding="utf-8")

EC2IDENT = """\
#!{python} -I
import sys
sys.path.insert(0, "/opt/ec2ident")
from ec2ident.cli import main
sys.exit(main())
"""

#: The kernel's command line. The first serial port is its console; over the second the guest is told what to run.
KERNEL = "console=ttyS0 quiet panic=-1 tsc=unstable no_timer_check mitigations=off random.trust_cpu=on"


class Result(Value):
    """How a command in the guest ended."""

    exit: int
    stdout: str
    stderr: str


class Machine:
    """A booted machine; leaving the context ends it.

    `smbios` are the arguments of QEMU's `-smbios`, `devices` more arguments of QEMU. Without those it has no network.
    """

    #: MiB.
    memory = 384
    #: Seconds for an answer, or to boot.
    timeout = 90.0
    kernel_arguments = KERNEL

    def __init__(self, image: Path, kernel: Path, smbios: Sequence[str] = (), devices: Sequence[str] = ()) -> None:
        self._command = [
            *("qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max", "-m", str(self.memory), "-smp", "1"),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *(devices or ("-nic", "none"))),
            *("-serial", f"file:{image}.console", "-serial", "stdio"),
            *("-kernel", str(kernel), "-initrd", str(image)),
            *("-append", self.kernel_arguments),
            *(word for one in smbios for word in ("-smbios", one)),
        ]
        self._console = Path(f"{image}.console")
        self._read = b""

    def __enter__(self) -> Machine:
        self._qemu = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        try:
            assert self._line() == {"ready": True}
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._qemu.kill()
        self._qemu.communicate()

    def run(self, argv: Sequence[str], user: str = "root") -> Result:
        """Run a command in the guest, as `root` or as `nobody`."""
        assert self._qemu.stdin is not None
        self._qemu.stdin.write(json.dumps({"argv": list(argv), "user": user}).encode() + b"\n")
        return Result(**self._line())  # type: ignore[arg-type]

    def _line(self) -> dict[str, object]:
        """The next line of JSON from the guest. Raises RuntimeError with the console when there is none in time."""
        assert self._qemu.stdout is not None
        end = time.monotonic() + self.timeout
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._qemu.stdout], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._qemu.stdout.fileno(), 65536) if ready else b""
            if not more:
                raise RuntimeError(f"the guest is silent; its console said:\n{self._last_words()}")
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, object] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._qemu.kill()
        errors = self._qemu.communicate()[1].decode("utf-8", "replace")
        console = self._console.read_text(encoding="utf-8", errors="replace") if self._console.exists() else ""
        return errors + console[-4000:]


def build_image(directory: Path, *, package: Path = TOP / "ec2ident") -> Path:
    """Write the initial RAM disk, and return its path."""
    image = Image()
    python = image.copy_python()
    dmidecode = shutil.which("dmidecode", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if dmidecode:
        image.copy_program(dmidecode)
    image.copy_all(package, "/opt/ec2ident/ec2ident")
    image.file("/init", f"#!{python} -I\n{GUEST}", 0o755)
    image.file("/usr/bin/ec2ident", EC2IDENT.format(python=python), 0o755)
    return image.write(directory / "image.cpio")
