"""What the call of a database's cluster manager means for a service: take it, release it, or nothing. Pure.

Patroni calls each callback as `COMMAND ACTION ROLE CLUSTER` ("YAML Configuration Settings", callbacks). It ends a
callback that still runs when the next one begins, so one may take its time. The role of a leader was `master` before
Patroni 4. repmgr runs `event_notification_command` with `%e` (event) and `%s` (1 for success), on the node where the
event happened, and waits for it ("Generating event notifications").
"""

from __future__ import annotations

from ec2ident_agent.failover.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TAKE, RELEASE, NOTHING = "take", "release", "nothing"

_LEADERS = ("primary", "master")
#: A reload changes no role. A role that this version does not know does not get the service.
_PATRONI = ("on_start", "on_role_change", "on_restart", "on_stop", "on_reload")

#: Events after which this node is the primary, and those after which another one is.
_PROMOTED = ("repmgrd_failover_promote", "standby_promote", "standby_switchover")
_FOLLOWS = ("repmgrd_failover_follow", "standby_follow", "node_rejoin", "standby_register", "standby_register_sync")


def patroni(words: Sequence[str]) -> str:
    """`ACTION ROLE CLUSTER`. Raises UsageError."""
    if len(words) != 3 or words[0] not in _PATRONI:
        raise UsageError(f"callback patroni: {' '.join(words)!r} is not ACTION ROLE CLUSTER, as Patroni calls it")
    action, role, _ = words
    if action == "on_reload":
        return NOTHING
    return TAKE if role in _LEADERS and action != "on_stop" else RELEASE


def repmgr(words: Sequence[str]) -> str:
    """`EVENT SUCCESS`. An event that failed, or that changes no role, means nothing. Raises UsageError."""
    if len(words) != 2 or words[1] not in ("0", "1"):
        raise UsageError(f"callback repmgr: {' '.join(words)!r} is not EVENT SUCCESS: configure it with %e %s")
    event, success = words
    if success == "0":
        return NOTHING
    return TAKE if event in _PROMOTED else RELEASE if event in _FOLLOWS else NOTHING


ENGINES = {"patroni": patroni, "repmgr": repmgr}
