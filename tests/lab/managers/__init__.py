"""Real network managers inside the simulated VPC, with the same verbs for each.

    with Vpc(bare=True) as vpc, MANAGERS["networkd"](vpc) as manager:
        manager.hook("/etc/networkd-dispatcher/configured.d", "50-ours", "#!/bin/sh\\n...")
        manager.attach("eth1")
        manager.reconfigure("eth1")

Needs root and Debian's archive: `packages.Unavailable` says what is missing.
"""

from __future__ import annotations

from .ifupdown import Ifupdown
from .manager import Manager
from .networkd import Networkd
from .networkmanager import NetworkManager
from .standins import NetworkScripts, Wicked

MANAGERS: dict[str, type[Manager]] = {
    "networkd": Networkd,
    "networkmanager": NetworkManager,
    "ifupdown": Ifupdown,
    "wicked": Wicked,
    "network-scripts": NetworkScripts,
}

__all__ = ["MANAGERS", "Ifupdown", "Manager", "NetworkManager", "NetworkScripts", "Networkd", "Wicked"]
