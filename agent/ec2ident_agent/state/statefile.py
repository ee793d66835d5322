"""The agent's small files: lines of tab-separated fields between a version and a checksum; written whole or not at all.

    ec2ident-journal 2
    interface	eth1	config	3	rule	10.0.1.0/24	100	100		-1
    end 1 6f1c2a90

Stricter than JSON, and read in microseconds, where importing json takes ten milliseconds. A file that was cut short,
changed or written by a newer version is an error, never an empty file.
"""

from __future__ import annotations

import os
import stat
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Fields = tuple[str, ...]

#: Room for thousands of records. A larger file was not written by this module.
LIMIT = 4 << 20


class DamagedError(ValueError):
    """The file is not as we wrote it; the text says how."""


def pack(kind: str, version: int, records: Iterable[Fields]) -> bytes:
    """The bytes of a file with these records. Raises ValueError for a field that holds a newline."""
    lines = ["\t".join(fields) for fields in records]
    for line in lines:
        if "\n" in line:
            raise ValueError(f"a field holds a newline: {line!r}")
    body = "".join(line + "\n" for line in (f"{kind} {version}", *lines)).encode("utf-8", "surrogateescape")
    return body + f"end {len(lines)} {crc32(body):08x}\n".encode("ascii")


def unpack(kind: str, version: int, data: bytes) -> list[Fields]:
    """The records. Raises DamagedError with the reason, which names a newer version as such."""
    first, _, _ = data.partition(b"\n")
    name, _, number = first.decode("ascii", "replace").partition(" ")
    if name != kind or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise DamagedError(f"damaged: it begins {first[:40]!r}, not {kind} {version}")
    if int(number) != version:
        raise DamagedError(f"version {int(number)}, and this program knows version {version}")
    body, end = data[: data.rstrip(b"\n").rfind(b"\n") + 1], data[data.rstrip(b"\n").rfind(b"\n") + 1 :]
    lines = body.decode("utf-8", "surrogateescape").split("\n")[1:-1]
    if end != f"end {len(lines)} {crc32(body):08x}\n".encode("ascii"):
        raise DamagedError("damaged: it was cut short or changed")
    return [tuple(line.split("\t")) for line in lines]


def read(path: str) -> bytes | None:
    """The bytes, or None when there is no such file.

    Raises OSError, and DamagedError for more than LIMIT bytes and for what is not a regular file.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        check_regular(os.fstat(handle))
        data = os.read(handle, LIMIT + 1)
    finally:
        os.close(handle)
    if len(data) > LIMIT:
        raise DamagedError(f"larger than {LIMIT} bytes")
    return data


def check_regular(found: os.stat_result) -> None:
    """Raises DamagedError for a pipe, a device, a directory: reading one could wait, or set something off."""
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError(f"{_KINDS.get(stat.S_IFMT(found.st_mode), 'a socket')}, not a regular file")


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def check_directory(path: str) -> None:
    """Raises DamagedError for a directory that another user than root and the caller owns or may write.

    A link is followed, as /var/run is one. A directory that is missing is right: it will be made. Raises OSError.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if found.st_uid not in (0, os.geteuid()):
        raise DamagedError(f"owned by uid {found.st_uid}, not by root: chown root {path}")
    if found.st_mode & 0o022:
        raise DamagedError(f"other users may write it (mode {found.st_mode & 0o7777:04o}): chmod go-w {path}")


def write(path: str, data: bytes, mode: int = 0o644) -> None:
    """Replace a file in one step, so that a crash leaves the old one or the new one. Raises OSError.

    What a crash left under the temporary name is removed, never written to: it may be a link or a pipe.

    It has this mode whatever the caller's umask is: ordinary users read table names, and ask for the status.
    """
    temporary = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(temporary, flags, mode)
    except FileExistsError:
        os.unlink(temporary)
        handle = os.open(temporary, flags, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fchmod(handle, mode)
        os.fsync(handle)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(handle)
    os.rename(temporary, path)


def make_directory(path: str) -> None:
    """Make a directory and its missing parents, for all users to read, whatever the umask is. Raises OSError."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above:
        make_directory(above)
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        # Another process was quicker. If it is not a directory, its first use is the error.
        return
    os.chmod(path, 0o755)  # noqa: S103  # ordinary users list table names
