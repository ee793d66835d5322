"""Which program deletes which of the agent's objects on which event, and the setting that prevents it.

`THREATS` is the table: for each manager a function from what is known of the node to `Threat`s. What each of them
deletes was measured with the real daemons (systemd 252, NetworkManager 1.42, ifupdown 0.8.41, ISC dhclient 4.4,
SUSE's cloud-netconfig 1.20) or read in their sources, and tests hold the table against the daemons.

Everything here is read from files of the node: `node_files` reads them, `diagnosis` reports, `fix` writes. `node_view`
has the values that go in and out; each other module is a family of managers.
"""

from __future__ import annotations

from .networkd import networkd
from .networkmanager import network_manager
from .node_view import PREVENTED, NodeView
from .others import kernel, vpc_cni, wireguard
from .scripts import cloud_netconfig, dhclient, ifupdown, net_utils_1, network_scripts, wicked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ec2ident_agent.doctor.node_files import NodeFiles
    from ec2ident_agent.items import Item, Observed

    from .node_view import Threat

#: Manager -> the function that tells what it deletes.
THREATS: dict[str, Callable[[NodeView], Iterator[Threat]]] = {
    "networkd": networkd,
    "networkmanager": network_manager,
    "cloud-netconfig": cloud_netconfig,
    "ifupdown": ifupdown,
    "dhclient": dhclient,
    "wicked": wicked,
    "network-scripts": network_scripts,
    "net-utils": net_utils_1,
    "wg-quick": wireguard,
    "vpc-cni": vpc_cni,
    "kernel": kernel,
}


def threats(view: NodeView) -> list[Threat]:
    """Every event that deletes at least one of the node's items, as the table says."""
    found = [threat for look in THREATS.values() for threat in look(view)]
    return [threat for threat in found if threat.items]


def culprits(lost: Mapping[Item, str], node: NodeFiles, observed: Observed) -> dict[Item, tuple[str, str]]:
    """The program that most likely deletes each of these items, and what prevents it. Unknown items are left out.

    For watch, which sees that an item is deleted again and again, and sometimes which program asked for it: `lost` has
    15 characters of its name, or "". That program is named if it is known to do so. The node is read once for all.
    """
    known: dict[Item, list[Threat]] = {}
    for threat in threats(NodeView(node, tuple(lost), observed)):
        if threat.state != PREVENTED and threat.who != "the kernel":
            for item in threat.items:
                known.setdefault(item, []).append(threat)
    likely = {item: min(mine, key=lambda each: each.who[:15] != lost[item]) for item, mine in known.items()}
    return {
        item: (threat.who, threat.prevent + (f", then {threat.then}" if threat.then else ""))
        for item, threat in likely.items()
    }
