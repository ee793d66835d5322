"""What is to be read: a block device or a file, its size, and what identifies it after an interruption."""

from __future__ import annotations

import os
import stat

from ec2ident.value import Value
from ec2ident_agent.errors import AgentError, ConfigError

#: Bytes of one read, as in Amazon's recipe with dd and fio.
BLOCK = 1 << 20

#: The model of a disk in the host itself: its blocks never come from a snapshot.
INSTANCE_STORE = "Amazon EC2 NVMe Instance Storage"

#: Bytes of a file under /sys or /proc that are read at most.
_LIMIT = 4096


class Volume(Value):
    """An open block device or file. `close` it after use."""

    path: str
    handle: int
    #: Bytes.
    size: int
    #: What tells this volume from every other one, also after a restart of the node where the hardware allows it.
    identity: str
    #: The hardware's name of its kind; empty when there is none.
    model: str = ""
    #: False when the file system has no direct reads: then the page cache may answer in place of the volume.
    direct: bool = True

    @property
    def never_from_a_snapshot(self) -> bool:
        """True for a disk with blocks that never come from a snapshot."""
        return self.model == INSTANCE_STORE

    def close(self) -> None:
        """Close the file."""
        os.close(self.handle)


def open_volume(path: str, *, sysfs: str = "/sys", proc: str = "/proc") -> Volume:
    """Open a block device or a regular file for reading alone.

    Raises ConfigError for a path that is missing or is neither, and AgentError for one that the system refuses.
    """
    handle, direct = _open(path)
    try:
        found = os.fstat(handle)
        if not (stat.S_ISBLK(found.st_mode) or stat.S_ISREG(found.st_mode)):
            raise ConfigError(f"{path}: neither a block device nor a file: name a volume, such as /dev/nvme1n1")
        size = os.lseek(handle, 0, os.SEEK_END)
        boot = _first_line(f"{proc}/sys/kernel/random/boot_id")
        if stat.S_ISREG(found.st_mode):
            if not direct and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            identity = f"file {found.st_dev}:{found.st_ino} of {size} bytes in boot {boot}"
            return Volume(path, handle, size, identity, direct=direct)
        device = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        serial, partition, model = _hardware(f"{sysfs}/dev/block/{device}")
        # Without a serial number the next volume of another boot may have the same device number.
        known = f"volume {serial} partition {partition}" if serial else f"device {device} in boot {boot}"
        return Volume(path, handle, size, f"{known} of {size} bytes", model, direct)
    except BaseException:
        os.close(handle)
        raise


def _open(path: str) -> tuple[int, bool]:
    """The file descriptor, and whether its reads are direct."""
    # O_NONBLOCK: opening a pipe would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    direct = getattr(os, "O_DIRECT", 0)
    try:
        if direct:
            try:
                return os.open(path, flags | direct), True
            except OSError as refused:
                import errno

                if refused.errno != errno.EINVAL:
                    raise
        return os.open(path, flags), False
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path}: no such device or file") from None
    except (IsADirectoryError, ValueError):
        raise ConfigError(f"{path}: neither a block device nor a file: name a volume, such as /dev/nvme1n1") from None
    except OSError as failed:
        hint = " (a device needs root)" if isinstance(failed, PermissionError) else ""
        raise AgentError(f"{path}: {failed.strerror}{hint}") from failed


def _hardware(place: str) -> tuple[str, str, str]:
    """Serial number, number of the partition (0: the whole disk) and model of the device at this place of sysfs."""
    partition = _first_line(f"{place}/partition") or "0"
    disk = place if partition == "0" else os.path.join(os.path.realpath(place), "..")
    return _first_line(f"{disk}/device/serial"), partition, _first_line(f"{disk}/device/model")


def _first_line(path: str) -> str:
    """The first line of a small file, without spaces around it; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            lines = file.read(_LIMIT).splitlines()
    except OSError:
        return ""
    # Tabs and control characters of a device that lies must not reach the lines of a state file.
    return (
        " ".join("".join(c if c.isprintable() else " " for c in lines[0].decode("utf-8", "replace")).split())
        if lines
        else ""
    )
