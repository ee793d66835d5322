"""A system's root file system, at `/` or in a directory that holds an image: never left, changed atomically.

Symbolic links inside mean what they mean to that system, as after chroot(2): `/sbin -> /usr/sbin` is the image's own
/usr/sbin, and no number of `..` leads out. A link at the end of a path is looked at, never followed.

Another user may own a directory of an image and replace it by a link at any moment. So no path is given to the kernel
twice: each directory is opened by its name in the one before it, without following a link, and the last name is used
in that open directory. (openat2(2) with RESOLVE_IN_ROOT does the same from Linux 5.6 on; RHEL 8 and SLES 15 SP1 have
older kernels.)
"""

from __future__ import annotations

import errno
import os
import stat

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar, Union

    T = TypeVar("T")

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
        """Where a path is outside, links followed to their end: for messages, and for what is only read."""
        try:
            with self._at(path, follow=True) as place:
                return os.path.join(os.readlink(f"/proc/self/fd/{place.directory}"), place.name)
        except (FileNotFoundError, NotADirectoryError):
            return os.path.join(self.root, path.lstrip("/"))

    def look(self, path: str) -> Inode | None:
        """What is there; None when nothing is."""
        try:
            with self._at(path) as place:
                return _look(place.directory, place.name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Is there anything, links followed to their end inside the tree? False for what may not be searched."""
        try:
            with self._at(path, follow=True) as place:
                os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return False
        return True

    def follow(self, path: str) -> str:
        """The path with every link followed, as that system sees it."""
        return "/" + self.real(path)[len(self.root) :].lstrip("/")

    def untrusted(self, path: str) -> str:
        """The first thing on a path, links followed, that another user owns or may write; "" if there is none.

        Root and the caller are trusted. A directory with the sticky bit, such as /tmp, lets users write, but rename
        their own files only. A missing file has no owner and is passed over. Raises OSError.
        """
        found: list[str] = []

        def see(name: str, status: os.stat_result) -> None:
            kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
            if status.st_uid not in (0, os.geteuid()):
                found.append(f"{name} is owned by uid {status.st_uid}, not by root")
            elif kind != stat.S_IFLNK and mode & 0o022 and not (kind == stat.S_IFDIR and mode & stat.S_ISVTX):
                found.append(f"{name} may be written by other users (mode {mode:04o})")

        try:
            with _Place(self.root, path, follow=True, see=see):
                pass
        except (FileNotFoundError, NotADirectoryError):
            pass
        return found[0] if found else ""

    def status(self, path: str) -> os.stat_result:
        """What stat(2) says of a path; a link at its end is not followed."""
        with self._at(path) as place:
            return os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)

    def open_directory(self, path: str) -> int:
        """A handle on a directory, for example to lock it. The caller closes it."""
        with self._at(path, follow=True) as place:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(place.name, flags, dir_fd=place.directory)

    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory with exactly this mode, whatever the umask. Raises OSError."""
        with self._at(path) as place:
            # The mode exactly and at once: a directory is never there with another one.
            mask = os.umask(0)
            try:
                os.mkdir(place.name, mode, dir_fd=place.directory)
            finally:
                os.umask(mask)

    def write(self, path: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        """Whole or not at all: written beside it under another name, flushed to disk, then renamed.

        `owner` is a user and a group; None for those of the process. Raises OSError.
        """
        with self._at(path) as place:
            beside = _beside(place.name)
            # O_EXCL: never through a link, hard or symbolic, nor into a pipe.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = place.anew(beside, lambda: os.open(beside, flags, 0o600, dir_fd=place.directory))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if owner:
                    os.chown(handle, *owner)
                # Last, so that a script cannot be run while only half of it is there.
                os.chmod(handle, mode)
                os.fsync(handle)
            place.rename(beside)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, or replace one, atomically. Raises OSError."""
        with self._at(path) as place:
            beside = _beside(place.name)
            place.anew(beside, lambda: os.symlink(target, beside, dir_fd=place.directory))
            place.rename(beside)

    def rename(self, path: str, to: str) -> None:
        """Rename inside the tree, atomically. Raises OSError."""
        with self._at(path) as old, self._at(to) as new:
            os.rename(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory)

    def remove(self, path: str) -> None:
        """Remove a file or a link. Raises OSError."""
        with self._at(path) as place:
            os.unlink(place.name, dir_fd=place.directory)

    def remove_free_lock(self, path: str) -> None:
        """Remove a file by which processes exclude each other with flock(2), unless one holds it. Raises OSError."""
        from fcntl import LOCK_EX, LOCK_NB, flock

        with self._at(path) as place:
            # O_NONBLOCK: by now it may be a pipe, which would be waited for.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(place.name, flags, dir_fd=place.directory)
            try:
                flock(handle, LOCK_EX | LOCK_NB)
                named = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
                if os.path.samestat(named, os.fstat(handle)):
                    os.unlink(place.name, dir_fd=place.directory)
            except BlockingIOError:
                return
            finally:
                os.close(handle)

    def remove_directory(self, path: str, *, keep_full: bool = False) -> None:
        """Remove an empty directory; with `keep_full`, keep one with something in it. Raises OSError."""
        with self._at(path) as place:
            try:
                os.rmdir(place.name, dir_fd=place.directory)
            except OSError as failed:
                # POSIX allows both for a directory that is not empty.
                if not keep_full or failed.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    def _at(self, path: str, *, follow: bool = False) -> _Place:
        return _Place(self.root, path, follow=follow)


class _Place:
    """An open directory inside the tree, and a name in it ("." for the directory itself), for a `with` block.

    An error of the file system inside the block gets the whole path as its file name.
    """

    def __init__(
        self, root: str, path: str, *, follow: bool, see: Callable[[str, os.stat_result], None] | None = None
    ) -> None:
        #: `see` is called with the name and status of everything on the way.
        self._root, self._path, self._follow, self._see = root, path, follow, see
        self._open: list[int] = []
        self.name = "."

    @property
    def directory(self) -> int:
        """The handle of the directory."""
        return self._open[-1]

    def __enter__(self) -> _Place:
        try:
            self._open.append(os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            if self._see:
                self._see("/", os.fstat(self.directory))
            self._walk()
        except BaseException as failed:
            self.__exit__(type(failed), failed, None)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        while self._open:
            os.close(self._open.pop())
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = os.path.join(self._root, self._path.lstrip("/"))

    def _walk(self) -> None:
        todo = self._path.split("/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                # Not the kernel's "..": that leads out of a directory that was moved meanwhile.
                if len(self._open) > 1:
                    os.close(self._open.pop())
                continue
            last = not any(part not in ("", ".") for part in todo)
            if last and not (self._follow or todo):
                self.name = name
                return
            target = self._enter(name, last=last)
            if target is not None:
                links += 1
                if links > MAX_LINKS:
                    raise OSError(40, "Too many levels of symbolic links", self._path)
                if target.startswith("/"):
                    while len(self._open) > 1:
                        os.close(self._open.pop())
                todo += target.split("/")[::-1]

    def _enter(self, name: str, *, last: bool) -> str | None:
        """Go into a directory, or return the text of a link. The last name may be of any kind, or missing."""
        try:
            handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory)
        except FileNotFoundError:
            if not last:
                raise
            self.name = name
            return None
        status = os.fstat(handle)
        mode = status.st_mode
        if self._see:
            self._see(name, status)
        if stat.S_ISDIR(mode):
            self._open.append(handle)
            return None
        try:
            if stat.S_ISLNK(mode):
                # Of the handle: what has the name may be another by now.
                return os.readlink("", dir_fd=handle)
        finally:
            os.close(handle)
        if not last:
            raise NotADirectoryError(20, "Not a directory", self._path)
        self.name = name
        return None

    def anew(self, name: str, make: Callable[[], T]) -> T:
        """Make a name that must be new, once more without what a killed install left under it."""
        try:
            return make()
        except FileExistsError:
            os.unlink(name, dir_fd=self.directory)
            return make()

    def rename(self, name: str) -> None:
        """Give the file `name` of this directory the name of this place."""
        os.rename(name, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)


def beside_name(path: str) -> str:
    """The name under which a file is written. With a dot in front run-parts, NetworkManager and udev pass over it."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/{_beside(name)}"


def _beside(name: str) -> str:
    return f".{name}.ec2ident-new"


def _look(directory: int, name: str) -> Inode:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        return Symlink(os.readlink(name, dir_fd=directory))
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        return Other()
    # O_NONBLOCK: by now it may be a pipe, which would be waited for.
    handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = os.fstat(handle)
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISDIR(found.st_mode):
            return Directory(tuple(sorted(os.listdir(handle))), mode, found.st_uid)
        if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_SIZE:
            with os.fdopen(os.dup(handle), "rb") as file:
                return File(file.read(MAX_SIZE + 1), mode, found.st_uid)
    finally:
        os.close(handle)
    return Other()
