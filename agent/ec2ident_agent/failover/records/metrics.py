"""Metrics of one service for Prometheus: does this node have it, and what was its last move here. Pure.

docs/operators.md has the table. Each sample names the service, so the files of several services may be read together.
"""

from __future__ import annotations

from ec2ident.program import exit_codes
from ec2ident_agent.exposition import GAUGE, Family, states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .moves import LastMove

#: The answers: three states, of which one is 1. "Cannot tell" is a state of its own and never "no".
YES, NO, UNKNOWN = "yes", "no", "unknown"
STATES = (YES, NO, UNKNOWN)


def state_of(code: int) -> str:
    """The state that an exit code of `status` stands for."""
    return {exit_codes.YES: YES, exit_codes.NO: NO}.get(code, UNKNOWN)


def families(
    version: str, service: str, parts: Mapping[str, int], last: LastMove | None, at: float
) -> tuple[Family, ...]:
    """All metrics. `parts` has the exit code of each part, `at` is now, in seconds since 1970."""
    label = {"service": service}
    whole = state_of(max(parts.values(), default=0))

    def gauge(name: str, text: str, *samples: tuple[Mapping[str, str], float]) -> Family:
        return Family(f"ec2ident_failover_{name}", GAUGE, text, samples)

    found = (
        gauge("info", "The version that looked.", ({**label, "version": version}, 1.0)),
        gauge("last_look_timestamp_seconds", "When this node was last compared with the service.", (label, at)),
        gauge("held", "1 for the state that is so: has this node the service?", *states(label, "state", STATES, whole)),
        gauge(
            "part_held",
            "1 for the state that is so: has this node the part of the service?",
            *(
                each
                for part, code in parts.items()
                for each in states({**label, "part": part}, "state", STATES, state_of(code))
            ),
        ),
    )
    if last is None:
        return found
    return (
        *found,
        gauge("last_move_info", "The verb of the last move on this node.", ({**label, "verb": last.verb}, 1.0)),
        gauge("last_move_timestamp_seconds", "When the last move on this node ended.", (label, last.at)),
        gauge("last_move_duration_seconds", "How long the last move on this node took.", (label, last.seconds)),
        gauge(
            "last_move_exit_code", "Its exit code: 0 done, 3 could not tell, 4 failed or refused.", (label, last.exit)
        ),
    )
