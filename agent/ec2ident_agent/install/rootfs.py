"""A system's root file system, at `/` or in a directory that holds an image: never left, changed atomically.

Symbolic links inside mean what they mean to that system, as after chroot(2): `/sbin -> /usr/sbin` is the image's own
/usr/sbin, and no number of `..` leads out. A link at the end of a path is looked at, never followed.
"""

from __future__ import annotations

import os
import stat

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

#: Links on one path before it counts as a loop, as the kernel counts (path_resolution(7)).
MAX_LINKS = 40

#: A larger file was not installed by the agent.
MAX_SIZE = 1 << 20


class File(Value):
    """A regular file: content, permission bits, and owner."""

    content: bytes
    mode: int
    owner: int = 0


class Symlink(Value):
    """A symbolic link, and the text that it holds."""

    target: str


class Directory(Value):
    """A directory: names inside, permission bits, and owner."""

    names: tuple[str, ...]
    mode: int
    owner: int = 0


class Other(Value):
    """A device, a pipe, a socket, or a file of more than MAX_SIZE bytes."""


if TYPE_CHECKING:
    Inode = Union[File, Symlink, Directory, Other]


class RootFs:
    """The paths are absolute, as that system sees them. All methods raise OSError."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)
        #: Paths that were wanted and may not be read.
        self.denied: set[str] = set()

    def real(self, path: str) -> str:
        """Where a path lies outside; the directories on it are followed inside the tree, its last part is not."""
        todo = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                done = done[:-1]
                continue
            here = os.path.join(self.root, *done, name)
            if todo and os.path.islink(here):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(40, "Too many levels of symbolic links", path)
                target = os.readlink(here)
                done = [] if target.startswith("/") else done
                todo += target.split("/")[::-1]
                continue
            done.append(name)
        return os.path.join(self.root, *done)

    def look(self, path: str) -> Inode | None:
        """What is there; None when nothing is."""
        where = self.real(path)
        try:
            found = os.lstat(where)
        except (FileNotFoundError, NotADirectoryError):
            return None
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode):
            return Symlink(os.readlink(where))
        if stat.S_ISDIR(found.st_mode):
            return Directory(tuple(sorted(os.listdir(where))), mode, found.st_uid)
        if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_SIZE:
            return File(_read(where), mode, found.st_uid)
        return Other()

    def exists(self, path: str) -> bool:
        """Is there anything, links followed to their end inside the tree?"""
        # With "/." the path's last part is one that is passed through.
        return os.path.lexists(self.real(f"{path}/."))

    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory with exactly this mode, whatever the umask. Raises OSError."""
        where = self.real(path)
        # The mode exactly and at once: a directory is never there with another one.
        mask = os.umask(0)
        try:
            os.mkdir(where, mode)
        finally:
            os.umask(mask)

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Whole or not at all: written beside it under another name, flushed to disk, then renamed."""
        where, beside = self.real(path), self.real(beside_name(path))
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            # Last, so that a script cannot be run while only half of it is there.
            os.chmod(handle, mode)
            os.fsync(handle)
        os.rename(beside, where)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, or replace one, atomically. Raises OSError."""
        where, beside = self.real(path), self.real(beside_name(path))
        os.symlink(target, beside)
        os.rename(beside, where)

    def rename(self, path: str, to: str) -> None:
        """Rename inside the tree, atomically. Raises OSError."""
        os.rename(self.real(path), self.real(to))

    def remove(self, path: str) -> None:
        """Remove a file or a link. Raises OSError."""
        os.unlink(self.real(path))

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory. Raises OSError."""
        os.rmdir(self.real(path))


def beside_name(path: str) -> str:
    """The name under which a file is written. With a dot in front run-parts, NetworkManager and udev pass over it."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}.ec2ident-new"


def _read(where: str) -> bytes:
    handle = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        return file.read(MAX_SIZE + 1)
