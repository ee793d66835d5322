"""What WireGuard, the CNI plug-in of Amazon VPC, and the kernel itself delete."""

from __future__ import annotations

from ec2ident_agent.doctor.node_files import lines
from ec2ident_agent.install.layout import FIX
from ec2ident_agent.items import Address, Route, Rule, family

from .node_view import DropIn, Threat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .node_view import NodeView


_SYSCTL_TEXT = (
    "# Written by ec2ident-agent doctor --fix, removed by doctor --unfix: routes stay when an address is replaced.\n"
)


def wireguard(view: NodeView) -> Iterator[Threat]:
    """`wg-quick down` repeats `ip rule delete table main suppress_prefixlength 0` until no such rule is left.

    The kernel deletes the first rule that matches, also one with a source that another program added after the tunnel:
    a rule without a given priority comes before all others.
    """
    node = view.files
    tunnels = [name for name in node.names("/etc/wireguard") if name.endswith(".conf")]
    full = [
        name
        for name in tunnels
        for _, key, value in lines(node.text(f"/etc/wireguard/{name}"))
        if key == "AllowedIPs" and "/0" in value
    ]
    rules = tuple(rule for rule in view.of(Rule) if rule.suppress == 0 and rule.table == 254)
    if full:
        names = ", ".join(dict.fromkeys(name[: -len(".conf")] for name in full))
        prevent = "Table = off in its [Interface], with routes of your own"
        off = all("off" in {v for _, k, v in lines(node.text(f"/etc/wireguard/{n}")) if k == "Table"} for n in full)
        yield Threat(
            "wg-quick",
            f"wg-quick down {names}, if it was up before the agent added its rules",
            rules,
            prevent,
            "Table = off" if off else "",
            view.back(),
        )


def vpc_cni(view: NodeView) -> Iterator[Threat]:
    """It manages every ENI except the first, unless a tag excludes the ENI (amazon-vpc-cni-k8s, README)."""
    node = view.files
    if not node.exists("/etc/cni/net.d/10-aws.conflist", "/opt/cni/bin/aws-cni"):
        return
    first = min((link.index for link in view.observed.links if link.name != "lo"), default=0)
    for link in view.devices():
        if link.index != first:
            tag = "the tag node.k8s.amazonaws.com/no_manage=true on the ENI"
            lost = view.of(Address, link.name)
            yield Threat("amazon-vpc-cni", f"it begins to manage {link.name}", lost, tag, back=view.back())


def kernel(view: NodeView) -> Iterator[Threat]:
    """The kernel deletes the routes of a link that is set down, and of one that loses its last IPv4 address."""
    node, back = view.files, view.back()
    path = f"/etc/sysctl.d/{FIX}"
    names = [link.name for link in view.devices() if view.of(Route, link.name)]
    promoting = "net/ipv4/conf/{device}/promote_secondaries"
    text = _SYSCTL_TEXT + "".join(f"net.ipv4.conf.{name.replace('.', '/')}.promote_secondaries = 1\n" for name in names)
    for name in names:
        routes = view.of(Route, name)
        prevent = "no setting; ec2ident-agent install adds watch, which adds them again"
        yield Threat("the kernel", f"ip link set {name} down", routes, prevent, back=back)
        if node.sysctl(promoting, name) is None:
            continue
        yield Threat(
            "the kernel",
            f"the address of {name} is replaced by another one of its subnet",
            tuple(route for route in routes if family(route.destination) == 4),
            f"net.ipv4.conf.{name.replace('.', '/')}.promote_secondaries = 1 in {path}",
            "promote_secondaries=1" if any(node.sysctl(promoting, each) for each in ("all", name)) else "",
            back,
            (DropIn(path, text),),
            f"sysctl -p {path}",
        )
