"""What a network manager's event means for an interface: one table, and the entry point that every hook calls.

    ec2ident-agent hook [--config FILE] [--state-dir DIR] MANAGER INTERFACE EVENT

An event says when to look; what to do depends on the link as it is now. Events arrive late, twice, or out of date:
NetworkManager runs a queued call even if the state has changed since.

- apply   The link is up: lay what the configuration says, the whole of it, since an overlay address may live here and a
          route may have waited for this link. The link is down: a later event will come.
- revert  The interface goes down: take its profile away. The kernel drops routes with the link but never rules, and
          traffic from its addresses would leave by another interface. Overlay addresses stay, as the kernel keeps them.
- off     The same for a link that is down; that it was down is out of date when it is up.
- gone    The same for an interface that is not there any more; otherwise it is about an earlier one of that name.
"""

from __future__ import annotations

import os

from ec2ident.command import log

from .inet import is_device_name
from .state.journal import CONFIG, STATE_DIRECTORY, Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .state.journal import State

    Run = Callable[[Sequence[str]], int]

APPLY, REVERT, OFF, GONE, NOTHING = "apply", "revert", "off", "gone", "nothing"
UP, DOWN, ABSENT = "up", "down", "absent"

#: Manager -> event -> what it asks for; an event that is not here asks for nothing.
EVENTS: Mapping[str, Mapping[str, str]] = {
    # interfaces(5), by the directory of the script. The second call of an ifdown comes when the link is down: between
    # the two, while a lease is released, watch could have laid everything again.
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
    # dhclient-script(8). ifdown releases the lease after its own hook: RELEASE and STOP must not lay anything again.
    "dhclient": dict.fromkeys(("BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT", "EXPIRE", "FAIL"), APPLY),
}

#: What an event asks for, and the state of the link -> what is done; nothing, where the pair is not here.
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

#: Seconds after which a hook ends itself: a manager must not hang on us. The journal knows what is half done.
PATIENCE = 60

USAGE = f"usage: ec2ident-agent hook [--config FILE] [--state-dir DIR] {{{','.join(EVENTS)}}} INTERFACE EVENT"


def decide(manager: str, event: str, link: str) -> str:
    """apply, revert, gone or nothing. `link` is up, down or absent. Raises KeyError for an unknown manager."""
    return VERBS.get((EVENTS[manager].get(event, NOTHING), link), NOTHING)


def link_state(interface: str, sysfs: str = "/sys/class/net") -> str:
    """Is the interface up? Not its carrier: without that the kernel keeps the routes; it drops them at set down.

    IFF_UP is bit 0 of the flags (linux/if.h).
    """
    try:
        with open(os.path.join(sysfs, interface, "flags"), encoding="ascii") as file:
            return UP if int(file.read(20), 16) & 1 else DOWN
    except (OSError, ValueError):
        return ABSENT


def owners(state: State, interface: str, index: int, *, gone: bool) -> tuple[str, ...]:
    """Whose items go when the interface does: profiles of the configuration, and its overlays when it is gone.

    What a command asked for (`overlay add`, flags) is held until a command reverts it, whatever happens to the link.
    """
    mine = [
        record.owner
        for record in state.records
        if record.origin == CONFIG
        and (getattr(record.item, "device", "") == interface or 0 < index == record.index)
        and (gone or not record.owner.startswith("overlay "))
    ]
    return tuple(dict.fromkeys(mine))


def main(argv: Sequence[str], run: Run, *, sysfs: str = "/sys/class/net", patience: int = PATIENCE) -> int:
    """Do what an event asks for, through `run`, which takes the command line of a verb and returns its exit code.

    Returns that exit code; 0 when there is nothing to do or to do yet, 2 for wrong arguments. Raises JournalError.
    """
    options, words = _split(argv)
    if len(words) != 3 or words[0] not in EVENTS or not is_name(words[1]):
        log(USAGE)
        return 2
    manager, interface, event = words
    done = decide(manager, event, link_state(interface, sysfs))
    if done == NOTHING:
        return 0
    verb = [APPLY, "--event", interface]
    if done != APPLY:
        state = Journal(_value(options, "--state-dir", STATE_DIRECTORY)).read()
        going = owners(state, interface, _index(interface, sysfs), gone=done == GONE)
        if not going:
            return 0
        verb = [REVERT, *going]
    _limit(patience)
    try:
        code = run([*verb, *options])
    finally:
        _limit(0)
    # 1: something waits for its link, which is nothing to report: that link's own event will come.
    return 0 if code == 1 else code


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The leading options, which belong to the verb, and the three words. An interface may have any name."""
    words = list(argv)
    taken = 0
    while len(words) - taken > 3 and words[taken] in ("--config", "--state-dir"):
        taken += 2
    return words[:taken], words[taken:]


def _value(options: Sequence[str], name: str, default: str) -> str:
    return options[options.index(name) + 1] if name in options else default


def _index(interface: str, sysfs: str) -> int:
    """The interface's number, which a rename does not change; 0 for one that is not there."""
    try:
        with open(os.path.join(sysfs, interface, "ifindex"), encoding="ascii") as file:
            return int(file.read(20))
    except (OSError, ValueError):
        return 0


def is_name(interface: str) -> bool:
    """What the kernel takes for a name, except for those that look like options."""
    return is_device_name(interface) and not interface.startswith("-")


def _limit(seconds: int) -> None:
    """End this process after some seconds, as SIGKILL would: the engine is safe against that at every step."""
    # The C module: importing signal also imports enum, which takes as long as a look at the kernel.
    from _signal import SIG_DFL, SIGALRM, alarm, signal  # type: ignore[import-not-found]

    signal(SIGALRM, SIG_DFL)
    alarm(seconds)
