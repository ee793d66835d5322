"""The files of a guest as an initial RAM disk: of this machine, of packages that are only unpacked, and our own."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: What of the standard library no guest needs.
LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|tkinter|lib2to3|ensurepip|turtledemo|pydoc_data|site-packages|dist-packages)/"
    r"|/config-3[^/]*/|/_tkinter|/_test|/_ctypes_test|/(xml|msilib|curses|dbm|wsgiref)/"
    r"|\.opt-[12]\.pyc$|\.a$"
)

#: Directories that are links into /usr, as Debian has them.
MERGED = ("bin", "sbin", "lib", "lib64")


class Image:
    """Files by their path in the guest. Packages that lie unpacked in `package` outrank what is installed here."""

    def __init__(self, package: Path | None = None) -> None:
        self._package = package
        #: Mode, time in seconds since 1970, contents.
        self._entries: dict[str, tuple[int, int, bytes]] = {}
        self._binaries: list[str] = []
        for name in MERGED:
            self._entries[f"/{name}"] = (stat.S_IFLNK | 0o777, 0, f"usr/{name}".encode())

    def file(self, path: str, body: str | bytes, mode: int = 0o644, time: int = 0) -> None:
        self._entries[_merged(path)] = (stat.S_IFREG | mode, time, body.encode() if isinstance(body, str) else body)

    def link(self, path: str, target: str) -> None:
        self._entries[_merged(path)] = (stat.S_IFLNK | 0o777, 0, target.encode())

    def directory(self, path: str) -> None:
        self._entries[_merged(path)] = (stat.S_IFDIR | 0o755, 0, b"")

    def copy(self, source: Path, path: str) -> None:
        """One file, or a link as it stands. What a program is linked to comes with it."""
        if source.is_symlink():
            return self.link(path, os.readlink(source))
        body = source.read_bytes()
        if body.startswith(b"\x7fELF"):
            self._binaries.append(str(source))
        found = source.stat()
        # With its time, without which what Python compiled of it does not count.
        return self.file(path, body, found.st_mode & 0o7777, int(found.st_mtime))

    def copy_all(self, top: Path, path: str, left_out: re.Pattern[str] = re.compile(r"\.opt-[12]\.pyc$")) -> None:
        """All files below a directory."""
        for source in sorted(top.rglob("*")):
            if not source.is_dir() and not left_out.search(str(source)):
                self.copy(source, f"{path}/{source.relative_to(top)}")

    def copy_program(self, path: str) -> None:
        """One that is unpacked, or installed here. Raises FileNotFoundError."""
        unpacked = Path(f"{self._package}{_merged(path)}")
        self.copy((unpacked if self._package and unpacked.exists() else Path(path)).resolve(), path)

    def copy_package(self, *names: str, below: Sequence[str]) -> None:
        """What Debian packages that are installed here, and all that are unpacked, have below these directories."""
        listed = subprocess.run(["dpkg-query", "--listfiles", *names], capture_output=True, text=True, check=False)
        for path in map(_merged, listed.stdout.splitlines()):
            if path.startswith(tuple(f"{each}/" for each in below)) and not Path(path).is_dir():
                self.copy(Path(path), path)
        for each in below:
            self.copy_all(Path(f"{self._package}{each}"), each)

    def copy_distributions(self, *names: str, path: str) -> None:
        """Python packages as pip installed them, without their commands. Raises PackageNotFoundError."""
        for name in names:
            for each in distribution(name).files or ():
                source = Path(str(each.locate()))
                if ".." not in each.parts and source.exists():
                    self.copy(source, f"{path}/{each}")

    def copy_python(self) -> str:
        """This Python and its standard library, at its own path, which is returned."""
        python = os.path.realpath(sys.executable)
        library = sysconfig.get_paths()["stdlib"]
        self.copy(Path(python), python)
        self.copy_all(Path(library), library, LEFT_OUT)
        return python

    def write(self, path: Path) -> Path:
        with path.open("wb") as out:
            out.writelines(self._archive())
        return path

    def _archive(self) -> Iterator[bytes]:
        """In the "newc" form that the kernel unpacks (Documentation/driver-api/early-userspace)."""
        for library in sorted(_shared_objects(self._binaries, self._package)):
            inside = library[len(str(self._package)) :] if library.startswith(f"{self._package}/") else library
            self.file(inside, Path(library).read_bytes(), 0o755)
        for name in sorted({str(parent) for path in self._entries for parent in Path(path).parents}):
            if name not in self._entries:
                yield from _entry(name, stat.S_IFDIR | 0o755, b"")
        yield from _entry("/dev/console", stat.S_IFCHR | 0o600, b"", device=(5, 1))
        for path, (mode, time, body) in sorted(self._entries.items()):
            yield from _entry(path, mode, body, time)
        yield from _entry("TRAILER!!!", 0, b"")


def _merged(path: str) -> str:
    return re.sub(rf"^/({'|'.join(MERGED)})/", r"/usr/\1/", path)


def _shared_objects(binaries: Iterable[str], package: Path | None) -> set[str]:
    """The shared libraries, and the loader, that the binaries ask for, by `ldd`."""
    environ = dict(os.environ)
    if package:
        directories = (package / "usr" / "lib").glob("*-linux-gnu")
        environ["LD_LIBRARY_PATH"] = ":".join(f"{each}:{each}/systemd" for each in directories)
    found = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False, env=environ).stdout
    return set(re.findall(r"(/\S+) \(0x", found))


_numbers = iter(range(1, 1 << 30))


def _entry(name: str, mode: int, body: bytes, time: int = 0, device: tuple[int, int] = (0, 0)) -> Iterator[bytes]:
    encoded = name.lstrip("/").encode() or b"."
    fields = (next(_numbers), mode, 0, 0, 1, time, len(body), 0, 0, *device, len(encoded) + 1, 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + encoded + b"\0"
    yield head + b"\0" * (-len(head) % 4)
    yield body + b"\0" * (-len(body) % 4)
