"""The last action of each service that moved something on this node, for the metrics.

One small file a service in `/run/ec2ident/failover`, written when the action ends, by the command line and by the
agents of a cluster engine. It is gone after a reboot. Nothing else depends on it.
"""

from __future__ import annotations

import os

from ec2ident.value import Value

from .memory import quoted

_KIND, _VERSION = "ec2ident-failover-moved", 1


class LastMove(Value):
    """One action: its verb, when it ended (seconds since 1970), how many seconds it took, and its exit code."""

    verb: str
    at: float
    seconds: float
    exit: int


def remember(state_dir: str, service: str, move: LastMove) -> None:
    """Remember it in place of the one before. What prevents that must not fail the move: nothing is raised."""
    from ec2ident_agent.state import statefile

    path = _path(state_dir, service)
    row = (move.verb, f"{move.at:.3f}", f"{move.seconds:.3f}", str(move.exit))
    try:
        statefile.make_directory(os.path.dirname(path))
        statefile.write(path, statefile.pack(_KIND, _VERSION, [row]))
    except (OSError, ValueError):
        return


def last_move(state_dir: str, service: str) -> LastMove | None:
    """The last action of this service on this node; None if there was none, or the file cannot be read."""
    from ec2ident_agent.state import statefile

    try:
        data = statefile.read(_path(state_dir, service))
        ((verb, at, seconds, exit_),) = statefile.unpack(_KIND, _VERSION, data or b"")
        return LastMove(verb, float(at), float(seconds), int(exit_))
    except (OSError, ValueError):
        return None


def _path(state_dir: str, service: str) -> str:
    return os.path.join(state_dir, "failover", f"moved-{quoted(service)}")
