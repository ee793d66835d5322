"""Run a command for at most some seconds, and end all that it started in its group."""

from __future__ import annotations

import os
import time

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: The pause between two looks for the end of a command, in seconds.
_PAUSE = 0.01


class Ended(Value):
    """How a command ended: its exit code, negative for a signal; None with the reason if there is none in time."""

    code: int | None = None
    reason: str = ""


def run(
    command: Sequence[str],
    environ: Mapping[str, str],
    seconds: float,
    *,
    spawn: Callable[..., int] = os.posix_spawnp,
) -> Ended:
    """Run it without standard input and output. Nothing is raised."""
    import signal

    until = time.monotonic() + seconds
    null = [(os.POSIX_SPAWN_OPEN, each, os.devnull, os.O_RDWR, 0) for each in (0, 1)]
    try:
        process = spawn(command[0], command, environ, file_actions=null, setpgroup=0, setsigmask=())
    except OSError as error:
        return Ended(None, f"{command[0]}: {error.strerror or error}")
    try:
        while time.monotonic() < until:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                process = 0
                return Ended(os.waitstatus_to_exitcode(status))
            time.sleep(_PAUSE)
        return Ended(None, f"{command[0]}: no answer in time")
    finally:
        if process:
            # A process that has ended is there until it is waited for, so its group is too.
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
