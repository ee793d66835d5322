"""Programs: started by an absolute path, with an environment of their own, bounded in time and output.

The caller who sets PATH, LD_PRELOAD, SystemRoot or PSModulePath of a process that runs as root does not choose what
that process starts.
"""

from __future__ import annotations

import os
import time

from ec2ident.errors import FirmwareError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, BinaryIO

    from .reading import Run

#: The most that is taken from a program, in bytes.
LARGEST_OUTPUT = 256 * 1024
#: The longest that one program may take, in seconds.
TOOL_SECONDS = 5.0
#: Where programs are looked for, except on Windows. PATH is not used: the caller of this process sets it.
DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
#: Windows' own programs, where Windows cannot be asked for the directory (captured output on another system).
SYSTEM32 = r"C:\Windows\System32"


class ExitCodeError(FirmwareError):
    """A program ended with an exit code other than 0. `output` is what it wrote to its standard output."""

    def __init__(self, program: str, code: int, output: bytes) -> None:
        super().__init__(f"{program}: exit code {code}")
        self.output = output


def run(argv: Sequence[str], seconds: float) -> bytes:
    """What a program writes to its standard output.

    A name without a directory is looked for in DIRECTORIES and nowhere else. Raises FirmwareError: not there, too slow,
    too much output; ExitCodeError: it failed.
    """
    import subprocess
    from threading import Thread

    until = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            [_found(argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise FirmwareError(f"{argv[0]}: {error.strerror or error}") from error
    read: list[bytes] = []
    # Windows can wait for a pipe only in a thread. It outlives us where a child of the program keeps the pipe open.
    reader = Thread(target=_read_pipe, args=(process.stdout, read), daemon=True)
    reader.start()
    reader.join(seconds)
    try:
        if read and len(read[0]) > LARGEST_OUTPUT:
            raise FirmwareError(f"{argv[0]}: more than {LARGEST_OUTPUT} bytes of output")
        code = process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = None
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()
    if code is None or not read:
        raise FirmwareError(f"{argv[0]}: no answer within {seconds:.3g} s")
    if code:
        raise ExitCodeError(argv[0], code, read[0])
    return read[0]


def output(argv: Sequence[str], seconds: float, start: Run | None = None) -> bytes:
    """As `run` (or `start`), whatever the exit code: sysctl and wmic fail for one name that they do not know or may not
    show, and write the others all the same. The caller's parser decides whether that is an answer."""
    try:
        return (start or run)(argv, seconds)
    except ExitCodeError as error:
        return error.output


def _read_pipe(pipe: BinaryIO, into: list[bytes]) -> None:
    with pipe:
        into.append(pipe.read(LARGEST_OUTPUT + 1))


def installed(program: str) -> str | None:
    """The path of a program in one of DIRECTORIES; None where it is in none of them."""
    paths = (f"{directory}/{program}" for directory in DIRECTORIES)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def _found(program: str) -> str:
    found = program if os.path.dirname(program) else installed(program)
    if found is None:
        raise FirmwareError(f"{program}: not in {', '.join(DIRECTORIES)}")
    return found


def _environment() -> dict[str, str]:
    """All that a program gets as its environment."""
    if os.name != "nt":
        return {"PATH": ":".join(DIRECTORIES), "LC_ALL": "C"}
    return windows_environment(system_directory())


def windows_environment(directory: str) -> dict[str, str]:
    """What a program of Windows needs to start, from its system directory alone.

    PowerShell does not start without SystemRoot; it would load what PSModulePath and COR_PROFILER name.
    """
    windows = directory.rpartition("\\")[0]
    temporary = rf"{windows}\Temp"
    names = {"SystemRoot": windows, "windir": windows, "SystemDrive": windows[:2], "PATH": directory}
    return {**names, "TEMP": temporary, "TMP": temporary}


def system_directory(load: Callable[..., Any] | None = None) -> str:
    r"""The directory of Windows' own programs, `C:\Windows\system32`, in Windows' words (GetSystemDirectoryW).

    `load` loads a library as `ctypes.WinDLL` does, which it defaults to. The environment's SystemRoot is not believed:
    the caller of this process sets it.
    """
    import ctypes

    load = load or getattr(ctypes, "WinDLL", None)
    buffer = ctypes.create_unicode_buffer(260)  # MAX_PATH, which the directory always fits into
    if load is not None and 0 < load("kernel32").GetSystemDirectoryW(buffer, len(buffer)) < len(buffer):
        return buffer.value
    return SYSTEM32
