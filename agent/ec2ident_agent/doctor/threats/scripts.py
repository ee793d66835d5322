"""What network managers made of shell scripts delete: ifupdown, dhclient, wicked, network-scripts, cloud-netconfig."""

from __future__ import annotations

from ec2ident_agent.doctor.node_files import shell
from ec2ident_agent.items import Address, Rule, family

from . import networkmanager
from .node_view import Threat, by_hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ec2ident_agent.doctor.node_files import NodeFiles

    from .node_view import NodeView


def ifupdown(view: NodeView) -> Iterator[Threat]:
    """`ifdown` removes the addresses and sets the link down, which deletes its routes. Rules stay, without a route."""
    node = view.files
    if not node.exists("/etc/network/interfaces", "/etc/network/interfaces.d"):
        return
    mine = node.interfaces()
    for link in view.devices():
        if link.name in mine:
            yield by_hook("ifupdown", f"ifdown {link.name}", view.on(link.name), view, "ifupdown")


def dhclient(view: NodeView) -> Iterator[Threat]:
    """dhclient-script deletes addresses by label: DEVICE when the lease changes, and DEVICE:0 for its alias.

    It deletes all addresses of the device when a lease times out and its router does not answer.
    """
    node = view.files
    if not node.runs("dhclient"):
        return
    for link in view.devices():
        addresses = [item for item in view.of(Address, link.name) if family(item.address) == 4]
        exposed = tuple(item for item in addresses if item.label in ("", link.name, f"{link.name}:0"))
        yield Threat(
            "dhclient",
            f"the lease of {link.name} changes, expires or is released",
            exposed,
            f'label = "{link.name}:1" in the [[overlay]]: dhclient flushes {link.name} and {link.name}:0',
            back=view.back("dhclient"),
        )
        yield by_hook(
            "dhclient", f"the router does not answer at a TIMEOUT on {link.name}", tuple(addresses), view, "dhclient"
        )


def wicked(view: NodeView) -> Iterator[Threat]:
    """SUSE's wicked deletes all addresses and routes of an interface on `ifdown` and `ifreload`."""
    node = view.files
    if not (node.enabled("wicked.service") or node.runs("wickedd")):
        return
    for link in view.devices():
        path = f"/etc/sysconfig/network/ifcfg-{link.name}"
        if not node.exists(path):
            continue
        hooked = f"ec2ident.{link.name}" in shell(node.text(path), "POST_UP_SCRIPT")
        yield Threat(
            "wicked",
            f"wicked ifdown {link.name}, ifreload",
            view.on(link.name),
            f'POST_UP_SCRIPT="compat:suse:ec2ident.{link.name}" in {path} adds them again',
            back=view.back() or ("its hook adds them again" if hooked else ""),
        )


def network_scripts(view: NodeView) -> Iterator[Threat]:
    """`ifdown-eth` deletes all addresses of the device; for an alias, those with its label."""
    node = view.files
    if not node.exists("/etc/sysconfig/network-scripts/ifup-post"):
        return
    nm = networkmanager.is_here(node)
    for link in view.devices():
        path = f"/etc/sysconfig/network-scripts/ifcfg-{link.name}"
        by_nm = nm and shell(node.text(path), "NM_CONTROLLED").lower() != "no"
        if node.exists(path) and not by_nm:
            yield by_hook("network-scripts", f"ifdown {link.name}", view.on(link.name), view, "network-scripts")


def cloud_netconfig(view: NodeView) -> Iterator[Threat]:
    """Its cleanup deletes every rule `from X`, of any program, unless X is exactly an address of this node.

    It runs whenever a network interface goes down. CLOUD_NETCONFIG_MANAGE=no stops the other runs, and not this one.
    """
    node = view.files
    callers = list(_cleanup_callers(node))
    if not callers:
        return
    addresses = {seen.item.address for seen in view.observed.seen if isinstance(seen.item, Address)}
    here = {address.partition("/")[0] for address in addresses}
    rules = tuple(rule for rule in view.of(Rule) if rule.source and not _is_address(rule.source, here))
    yield Threat(
        "cloud-netconfig",
        "its cleanup, whenever a network interface goes down",
        rules,
        f"remove cloud-netconfig-cleanup from {', '.join(callers)}; CLOUD_NETCONFIG_MANAGE=no does not stop it",
        back=view.back("networkmanager"),
    )


def _is_address(source: str, here: set[str]) -> bool:
    address, _, length = source.partition("/")
    return length in ("32", "128") and address in here


def _cleanup_callers(node: NodeFiles) -> Iterator[str]:
    """The files on this node that call cloud-netconfig-cleanup."""
    rules = node.layered([f"{base}/udev/rules.d" for base in ("/etc", "/run", "/usr/lib", "/lib")], ".rules")
    ifcfgs = [f"/etc/sysconfig/network/{name}" for name in node.names("/etc/sysconfig/network")]
    dispatch = node.layered([f"{base}/dispatcher.d" for base in NETWORK_MANAGER_DISPATCH], "cloud-netconfig")
    for path in (*rules, *(path for path in ifcfgs if "/ifcfg-" in path), *dispatch):
        text = "\n".join(line for line in node.text(path).splitlines() if not line.lstrip().startswith("#"))
        if "cloud-netconfig" in text and ("cleanup" in text or path in dispatch):
            yield path


NETWORK_MANAGER_DISPATCH = ("/etc/NetworkManager", "/usr/lib/NetworkManager")


def net_utils_1(view: NodeView) -> Iterator[Threat]:
    """amazon-ec2-net-utils 1 uses the tables from 10000, and deletes every rule that leads to one of them.

    Of addresses it deletes those that the kernel flags secondary, which an address with the prefix /32 never is.
    """
    if not view.files.exists("/etc/sysconfig/network-scripts/ec2net-functions"):
        return
    rules = tuple(rule for rule in view.of(Rule) if 10000 <= rule.table < 10100)
    where = "another table in the configuration: it uses 10000 + N for ethN"
    yield Threat(
        "amazon-ec2-net-utils 1", "a lease is renewed or an ENI goes", rules, where, back=view.back("dhclient")
    )
