"""A virtual machine with the firmware strings of any vendor, booted by QEMU in about two seconds, without a network.

    image = build_image(directory)
    with Machine(image, kernel, smbios=["type=1,manufacturer=Amazon EC2,product=t3.micro"]) as machine:
        machine.run(["dmidecode", "-t", "1"]).stdout

The initial RAM disk holds this Python with its standard library, ec2ident, and dmidecode, each at its path on the host,
with the shared libraries that they ask for. QEMU emulates the processor (TCG), so this works inside other machines too.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

HERE = Path(__file__).parent
TOP = HERE.parent.parent

#: What of the standard library no guest needs.
LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|tkinter|lib2to3|ensurepip|turtledemo|pydoc_data|unittest|site-packages|dist-packages)/"
    r"|/config-3[^/]*/|/_tkinter|/_test|/_ctypes_test|/_ssl|/_sqlite3|/sqlite3/|/(xml|msilib|curses|dbm|wsgiref)/"
    r"|\.opt-[12]\.pyc$|\.a$"
)

EC2IDENT = """\
#!{python} -I
import sys
sys.path.insert(0, "/opt/ec2ident")
from ec2ident.cli import main
sys.exit(main())
"""

MEGABYTES = 384


class Result(Value):
    """How a command in the guest ended."""

    exit: int
    stdout: str
    stderr: str


class Machine:
    """A booted machine; leaving the context ends it. `smbios` are the arguments of QEMU's `-smbios`."""

    def __init__(self, image: Path, kernel: Path, smbios: Sequence[str] = (), timeout: float = 90) -> None:
        self._command = [
            *("qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max", "-m", str(MEGABYTES), "-smp", "1"),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"),
            *("-serial", f"file:{image}.console", "-serial", "stdio"),
            *("-kernel", str(kernel), "-initrd", str(image)),
            *("-append", "console=ttyS0 quiet panic=-1 tsc=unstable mitigations=off random.trust_cpu=on"),
            *(word for one in smbios for word in ("-smbios", one)),
        ]
        self._console = Path(f"{image}.console")
        self._timeout = timeout
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
        end = time.monotonic() + self._timeout
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
    python = os.path.realpath(sys.executable)
    library = Path(sysconfig.get_paths()["stdlib"])
    dmidecode = shutil.which("dmidecode", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    binaries = [python, *([dmidecode] if dmidecode else [])]
    modules = sorted(str(path) for path in library.rglob("*") if path.is_file() and not LEFT_OUT.search(str(path)))
    shared = sorted(_shared_objects([*binaries, *(path for path in modules if path.endswith(".so"))]))
    files: dict[str, bytes] = {path: Path(path).read_bytes() for path in (*binaries, *shared, *modules)}
    for source in package.rglob("*"):
        if source.is_file() and "__pycache__" not in source.parts:
            files[f"/opt/ec2ident/ec2ident/{source.relative_to(package)}"] = source.read_bytes()
    files["/init"] = f"#!{python} -I\n".encode() + (HERE / "guest.py").read_bytes()
    files["/usr/bin/ec2ident"] = EC2IDENT.format(python=python).encode()
    image = directory / "image.cpio"
    with image.open("wb") as out:
        out.writelines(_cpio(files))
    return image


def _shared_objects(binaries: Iterable[str]) -> set[str]:
    """The shared libraries, and the loader, that the binaries ask for, by `ldd`."""
    found = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+) \(0x", found))


def _cpio(files: dict[str, bytes]) -> Iterator[bytes]:
    """The files as an archive in the "newc" form that the kernel unpacks (Documentation/driver-api/early-userspace)."""
    directories: dict[str, None] = {}
    for path in files:
        for parent in reversed(Path(path).parents):
            directories[str(parent)] = None
    for name in directories:
        yield from _entry(name, stat.S_IFDIR | 0o755, b"")
    yield from _entry("/dev/console", stat.S_IFCHR | 0o600, b"", device=(5, 1))
    for name, body in files.items():
        yield from _entry(name, stat.S_IFREG | 0o755, body)
    yield from _entry("TRAILER!!!", 0, b"")


_numbers = iter(range(1, 1 << 30))


def _entry(name: str, mode: int, body: bytes, device: tuple[int, int] = (0, 0)) -> Iterator[bytes]:
    encoded = name.lstrip("/").encode() or b"."
    fields = (next(_numbers), mode, 0, 0, 1, 0, len(body), 0, 0, *device, len(encoded) + 1, 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + encoded + b"\0"
    yield head + b"\0" * (-len(head) % 4)
    yield body + b"\0" * (-len(body) % 4)
