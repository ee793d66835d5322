"""What a network manager's event means for an interface: two tables, and the decision that every hook asks for.

    ec2ident-agent hook [--config FILE] [--state-dir DIR] MANAGER INTERFACE EVENT

An event says when to look; what to do depends on the link as it is now. Events arrive late, twice, or out of date:
NetworkManager runs a queued call even if the state has changed since.

- apply   The link is up: apply the whole configuration, because an overlay address may be on this interface, and a
          route may have waited for this link. The link is down: wait for a later event.
- revert  The interface goes down: remove its profile. The kernel drops routes with the link but never rules, and
          traffic from its addresses would leave by another interface. Overlay addresses stay, as the kernel keeps them.
- off     The same for a link that is down. If the link is up, the event is out of date.
- gone    The same for an interface that was removed. If the interface exists, the event is about an earlier one of that
          name.
"""

from __future__ import annotations

import os

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .state.owned import Owner, State

APPLY, REVERT, OFF, GONE, NOTHING = "apply", "revert", "off", "gone", "nothing"
UP, DOWN, ABSENT = "up", "down", "absent"

#: Manager -> event -> what it asks for. An event that is not listed asks for nothing.
EVENTS: Mapping[str, Mapping[str, str]] = {
    # interfaces(5), by the directory of the script. The second call of an ifdown comes when the link is down: between
    # the two, while a lease is released, watch may have added everything again.
    "ifupdown": {"if-up.d": APPLY, "if-down.d": REVERT, "if-post-down.d": REVERT},
    # NetworkManager-dispatcher(8). After a carrier loss longer than a flap, and after `device modify`, dhcp4-change
    # is the only or the last call. pre-up comes before the addresses, connectivity-change is about no interface.
    "networkmanager": {
        "up": APPLY,
        "reapply": APPLY,
        "dhcp4-change": APPLY,
        "dhcp6-change": APPLY,
        "pre-down": REVERT,
        "down": REVERT,
    },
    # networkctl(1). A reconfigure ends in configured and may never leave routable. no-carrier keeps the routes.
    "networkd-dispatcher": {"routable": APPLY, "configured": APPLY, "off": OFF, "linger": GONE},
    # wicked's compat:suse, and the directories of SUSE's sysconfig.
    "sysconfig": {
        "post-up": APPLY,
        "pre-down": REVERT,
        "post-down": REVERT,
        "if-up.d": APPLY,
        "if-down.d": REVERT,
    },
    # ifdown-local comes after the addresses were flushed and the link was set down.
    "network-scripts": {"up": APPLY, "down": REVERT},
    # remove also comes when systemd stops the unit at shutdown, with the device still there.
    "udev": {"add": APPLY, "remove": GONE},
    # dhclient-script(8). ifdown releases the lease after its own hook: RELEASE and STOP must not add anything again.
    "dhclient": dict.fromkeys(("BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT", "EXPIRE", "FAIL"), APPLY),
}

#: What an event asks for, and the state of the link -> what is done. A pair that is not listed: nothing.
VERBS: Mapping[tuple[str, str], str] = {
    (APPLY, UP): APPLY,
    (APPLY, ABSENT): GONE,
    (REVERT, UP): REVERT,
    (REVERT, DOWN): REVERT,
    (REVERT, ABSENT): GONE,
    (OFF, DOWN): REVERT,
    (OFF, ABSENT): GONE,
    (GONE, ABSENT): GONE,
}

#: Seconds after which a hook ends itself, so that the manager does not hang. The journal names what is half done.
PATIENCE = 60

USAGE = f"usage: ec2ident-agent hook [OPTION...] MANAGER INTERFACE EVENT\nMANAGER is one of {', '.join(EVENTS)}"


class Action(Value):
    """What a hook has to do: NOTHING, APPLY the configuration, or REVERT these owners."""

    verb: str
    owners: tuple[Owner, ...] = ()


def decide(manager: str, event: str, link: str) -> str:
    """apply, revert, gone or nothing. `link` is up, down or absent. Raises KeyError for an unknown manager."""
    return VERBS.get((EVENTS[manager].get(event, NOTHING), link), NOTHING)


def link_state(interface: str, sysfs: str = "/sys/class/net") -> str:
    """UP, DOWN or ABSENT, by IFF_UP, bit 0 of the flags (linux/if.h).

    The carrier does not count: the kernel keeps routes without it, and drops them when the link is set down.
    """
    try:
        with open(os.path.join(sysfs, interface, "flags"), encoding="ascii") as file:
            return UP if int(file.read(20), 16) & 1 else DOWN
    except (OSError, ValueError):
        return ABSENT


def owners(state: State, interface: str, index: int, *, gone: bool) -> tuple[Owner, ...]:
    """The owners to revert when the interface goes down: profiles that the configuration asked for, and its overlay
    addresses too when the interface is `gone`.

    What a command asked for (`overlay add`, flags) is held until a command reverts it, whatever happens to the link.
    """
    from .state.owned import CONFIG, INTERFACE

    mine = [
        record.owner
        for record in state.records
        if record.origin == CONFIG
        and (getattr(record.item, "device", "") == interface or 0 < index == record.index)
        and (gone or record.owner.kind == INTERFACE)
    ]
    return tuple(dict.fromkeys(mine))


def action(
    manager: str, interface: str, event: str, state_dir: str | None = None, *, sysfs: str = "/sys/class/net"
) -> Action:
    """What an event asks for, by the link as it is now and, when the link goes, by the journal (in `state_dir`).

    Raises JournalError, and KeyError for an unknown manager.
    """
    done = decide(manager, event, link_state(interface, sysfs))
    if done in (NOTHING, APPLY):
        return Action(done)
    from .state.journal import STATE_DIRECTORY, Journal

    # Without the lock: mostly there is nothing to revert, and then this hook need not wait for another one.
    journal = Journal(state_dir or STATE_DIRECTORY)
    going = owners(journal.read(), interface, _index(interface, sysfs), gone=done == GONE)
    return Action(REVERT, going) if going else Action(NOTHING)


class TimeLimit:
    """End this process if the block takes longer than `seconds`, as SIGKILL would: no step of the engine minds."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __enter__(self) -> TimeLimit:
        # The C module: importing signal also imports enum, which takes as long as a look at the kernel.
        from _signal import SIG_DFL, SIGALRM, alarm, signal  # type: ignore[import-not-found]

        signal(SIGALRM, SIG_DFL)
        alarm(self.seconds)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        from _signal import alarm

        alarm(0)


def _index(interface: str, sysfs: str) -> int:
    """The interface's index, which a rename does not change; 0 for an interface that does not exist."""
    try:
        with open(os.path.join(sysfs, interface, "ifindex"), encoding="ascii") as file:
            return int(file.read(20))
    except (OSError, ValueError):
        return 0
