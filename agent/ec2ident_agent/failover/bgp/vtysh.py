"""FRR's own shell `vtysh`: one command or several for one daemon, under a deadline. The only module that starts it."""

from __future__ import annotations

import os
import time

from ec2ident_agent.failover.errors import ApiUnknownError, MoveRefusedError, OutOfTimeError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "vtysh"
#: The longest answer, in bytes. A session that lets nothing in has answers of some kilobytes.
MOST = 1 << 20
#: What vtysh says if the daemon does not run. Without the rights it says the same and adds a hint.
_GONE, _HINT = "failed to connect to any daemons", "privileged user"


class SpeakerGoneError(MoveRefusedError):
    """The daemon does not run, so nothing is announced."""


def command(*lines: str, daemon: str = "bgpd") -> tuple[str, ...]:
    """The argument vector that runs these lines."""
    words = [word for line in lines for word in ("-c", line)]
    return (PROGRAM, "-d", daemon, *words)


def configuring(lines: Sequence[str]) -> tuple[str, ...]:
    """The argument vector that configures these lines, of the running daemon alone."""
    return command("configure terminal", *lines)


def typed(words: Sequence[str]) -> str:
    """An argument vector as a person would type it."""
    import shlex

    return shlex.join(words)


def check(text: str, seconds: float) -> None:
    """Let FRR's own parser read a whole configuration; no daemon is asked. Raises as `run` does."""
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile("w", prefix="ec2ident-", suffix=".conf", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        run((PROGRAM, "-C", "-f", file.name), seconds)


def run(words: Sequence[str], seconds: float) -> str:
    """Run it, and return what it says. It is ended after `seconds`.

    Raises SpeakerGoneError if the daemon does not run, UsageError if vtysh is not installed, OutOfTimeError, and
    ApiUnknownError for a command that FRR refuses and for an answer that is too long or not UTF-8.
    """
    import subprocess

    until = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Credentials of the environment are not for FRR; a pager would wait for a key.
            env={"PATH": os.environ.get("PATH", os.defpath), "VTYSH_PAGER": "cat", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise UsageError(f"{words[0]}: is not installed: a service with bgp needs FRR on this node") from None
    except OSError as error:
        raise ApiUnknownError(f"{words[0]}: {error.strerror or error}") from None
    with process:
        try:
            said = _read(process.stdout.fileno() if process.stdout else -1, until, words)
            code = process.wait(max(0.01, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise OutOfTimeError(f"{typed(words)}: no answer within {seconds:.1f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
    return _judged(words, code, said)


def _read(pipe: int, until: float, words: Sequence[str]) -> bytes:
    """Everything until the end. Raises OutOfTimeError, ApiUnknownError."""
    import select

    said = b""
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise OutOfTimeError(f"{typed(words)}: no answer in time (does the daemon hang?)")
        more = os.read(pipe, 65536)
        if not more:
            return said
        said += more
        if len(said) > MOST:
            raise ApiUnknownError(f"{typed(words)}: more than {MOST} bytes")


def _judged(words: Sequence[str], code: int, said: bytes) -> str:
    try:
        text = said.decode()
    except UnicodeDecodeError:
        raise ApiUnknownError(f"{typed(words)}: the answer is not UTF-8") from None
    line = " ".join(text.split())[:200]
    if code == 1 and _GONE in text and _HINT not in text:
        raise SpeakerGoneError(f"FRR's {words[2]} does not run, so nothing is announced (systemctl start frr)")
    if code:
        raise ApiUnknownError(f"{typed(words)}: {line or f'exit code {code}'}")
    return text
