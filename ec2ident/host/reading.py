"""What the readers of all systems share: a bounded read of a file, and "could not look" as a fact."""

from __future__ import annotations

import os

from ec2ident.assess import FIRMWARE
from ec2ident.errors import FirmwareError
from ec2ident.model import Fact, Reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Facts = tuple[Fact, ...]
    #: Starts a program and returns its standard output, as `programs.run` does: its arguments, and seconds.
    Run = Callable[[Sequence[str], float], bytes]
    #: Reads one source within so many seconds.
    Stage = Callable[[float], Facts]

#: The most that is read of a file, in bytes.
LARGEST_FILE = 4096


def below(root: str, path: str) -> str:
    """A path below a root directory, which may be `/`."""
    return f"{root.rstrip('/')}/{path}"


def read(path: str) -> bytes:
    """The beginning of a file. Raises OSError. O_NONBLOCK: a FIFO in its place must not hold us."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        return os.read(descriptor, LARGEST_FILE)
    finally:
        os.close(descriptor)


def unread(name: str, path: str, error: OSError) -> Fact:
    """The fact for a file that could not be read: absent where it does not exist, else unknown.

    A file that is listed and cannot be opened exists: so the kernels of old paravirtual instances show Xen's UUID.
    """
    absent = isinstance(error, (FileNotFoundError, NotADirectoryError)) and not os.path.lexists(path)
    return Fact(name, None, path, unknown=None if absent else (error.strerror or str(error)).lower())


def unknown(source: str, why: str) -> Fact:
    """The fact that says that `source` could not be looked at."""
    return Fact(FIRMWARE, None, source, unknown=why)


def or_unknown(source: str, look: Callable[[], Facts]) -> Facts:
    """What `look` finds; a fact that says why, where it raises FirmwareError."""
    try:
        return look()
    except FirmwareError as error:
        return (unknown(source, str(error)),)


def understood(source: str, parse: Callable[[], Facts]) -> Facts:
    """What `parse` finds in what was read; unknown where that has a form that this version does not understand."""
    try:
        return parse()
    except FirmwareError as error:
        words = f"not understood by this version: {error}"
        return (Fact(FIRMWARE, None, source, unknown=words, reason=Reason.NOT_UNDERSTOOD),)


def tool(argv: Sequence[str], seconds: float, parse: Callable[[bytes], Facts], run: Run | None) -> Facts:
    """What `parse` makes of a program's output. `run` starts it (`programs.run`)."""
    if seconds <= 0:
        return (unknown(argv[0], "no time was left"),)
    from . import programs

    start = run or programs.run
    try:
        output = start(argv, min(seconds, programs.TOOL_SECONDS))
    except FirmwareError as error:
        return (unknown(argv[0], str(error)),)
    return understood(argv[0], lambda: parse(output))
