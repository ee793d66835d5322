"""What each of the programs does around its work: standard files, lines of output, and the exit code.

`run` is the frame of a `main`. In it a program prints its result with `say` and what it does with `log`:

- A closed standard file is replaced by /dev/null; no file that the program opens can take its number.
- A terminal or locale that cannot show a character gets a replacement, never a UnicodeEncodeError.
- Control and format characters in names are written as escapes, so that a name can neither control the terminal nor
  look like another one.
- A result that cannot be written ends in one line and an exit code of `exit_codes`. Python itself would write the rest
  once more at exit and end with 120 (`flush_std_files` in CPython's pylifecycle.c).
- A log that cannot be written changes nothing: what was begun is finished.
- An exception that no code expects is a bug: a traceback and exit code 70, never 1, which means "no" or "drift".
- Python's collector of cyclic garbage rests: a program that runs for some milliseconds makes none, and would spend a
  fifth of its own time on looking for it, most of that when it ends. A verb that runs for long starts it again.
"""

from __future__ import annotations

import atexit
import codecs
import gc
import os
import sys

from . import exit_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

#: What a name may hold and a terminal may obey: C0 and C1 controls, except the end of a line.
_CONTROL = (*range(10), *range(11, 32), *range(0x7F, 0xA0))

#: What shows text in another order than it stands, or not at all: Unicode's categories Cf, Zl and Zp. With U+202E
#: (right-to-left override) a name could look like another name.
_INVISIBLE = (
    *(0xAD, 0x61C, 0x6DD, 0x70F, 0x8E2, 0x180E, 0xFEFF, 0x110BD, 0x110CD, 0xE0001),
    *(*range(0x600, 0x606), *range(0x890, 0x892), *range(0x200B, 0x2010), *range(0x2028, 0x202F)),
    *(*range(0x2060, 0x2065), *range(0x2066, 0x2070), *range(0xFFF9, 0xFFFC), *range(0x13430, 0x13440)),
    *(*range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0020, 0xE0080)),
)

#: Every character that `safe` writes as an escape, once one was needed: to write them all takes as long as two imports.
_escapes: dict[int, str] = {}

#: What our own texts use beyond ASCII, for terminals and locales that cannot show it.
ASCII = {"…": "...", "·": "|", "–": "-", "→": "->", "’": "'"}


class OutputError(Exception):
    """Standard output cannot be written: the result is lost. `cause` is the system's error."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output: {cause.strerror}")
        self.cause = cause


class Uncollected:
    """While it lasts, Python does not look for cyclic garbage; afterwards it does as it did before."""

    def __enter__(self) -> None:
        self._before = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        (gc.enable if self._before else gc.disable)()


def run(
    program: str,
    command: Callable[[], int],
    *,
    failed: int = exit_codes.FAILED,
    interrupted: str = "interrupted",
) -> int:
    """Run a command and return the exit code of the program.

    `command` returns its exit code, or raises SystemExit with one as argparse does. `failed` is the code for a result
    that cannot be written or a file that the system refuses; `interrupted` is said after Ctrl-C.
    """
    prepare()
    try:
        try:
            with Uncollected():
                code = command()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else exit_codes.DONE if end.code is None else exit_codes.USAGE
        _flush_output()
    except OutputError as lost:
        if isinstance(lost.cause, BrokenPipeError):
            code = exit_codes.BROKEN_PIPE
        else:
            log(f"{program}: {lost}")
            code = failed
    except KeyboardInterrupt:
        log(f"{program}: {interrupted}")
        code = exit_codes.INTERRUPTED
    except OSError as error:
        if error.filename is None:
            code = _report_bug(program)
        else:
            log(f"{program}: {os.fsdecode(error.filename)}: {error.strerror}")
            code = failed
    except Exception:  # noqa: BLE001  # The frame of a program is the place for this.
        code = _report_bug(program)
    discard_unwritten()
    return code


def prepare() -> None:
    """Make the standard files usable: present, and able to take any text."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            try:
                # The lowest free number, which is this one. Programs that we start have it too.
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            except OSError:
                break
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Python found it closed. What has its number by now may be another file.
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    codecs.register_error("ec2ident-ascii", _replacement)
    # The last look for garbage passes over what there is when the process ends.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        # A test or an application may have put a stream of another kind there.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="ec2ident-ascii")


def safe(text: str) -> str:
    """The text in which surrogates, control and format characters are written as escapes: no terminal obeys them."""
    if text.isprintable():
        return text  # None of those characters is printable.
    return text.encode("utf-8", "backslashreplace").decode().translate(_escapes or _write_escapes())


def _write_escapes() -> dict[int, str]:
    _escapes.update((number, f"\\x{number:02x}") for number in _CONTROL)
    for number in _INVISIBLE:
        _escapes[number] = f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"
    return _escapes


def say(text: str) -> None:
    """Print one line or more of the result. Raises OutputError when it cannot be written."""
    try:
        sys.stdout.write(safe(text) + "\n")
        sys.stdout.flush()
    except OSError as failed:
        raise OutputError(failed) from failed


def log(line: str) -> None:
    """Print a line about what is done on standard error; where that cannot be written, it is lost.

    In one write: threads log at the same time.
    """
    try:
        sys.stderr.write(safe(line) + "\n")
        sys.stderr.flush()
    except OSError:
        return


def discard_unwritten() -> None:
    """Let what could not be written go to /dev/null: Python tries once more at exit, and changes the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _discard(stream)


def _replacement(error: UnicodeError) -> tuple[str, int]:
    """The error handler of the standard files: what stands for characters that an encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError as failed:
        raise OutputError(failed) from failed


def _report_bug(program: str) -> int:
    import traceback

    for line in traceback.format_exc().splitlines():
        log(line)
    log(f"{program}: this is a bug in ec2ident: please report it with the lines above")
    return exit_codes.BUG


def _discard(stream: TextIO) -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except OSError:
        return
