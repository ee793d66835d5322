"""What tunnels and containers take, and the kernel itself."""

from __future__ import annotations

from ec2ident_agent.doctor.node_files import lines
from ec2ident_agent.install.layout import FIX
from ec2ident_agent.items import Address, Route, Rule, family

from .case import Fix, Threat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .case import Case


_SYSCTL_TEXT = (
    "# Written by ec2ident-agent doctor --fix, taken away by doctor --unfix: routes stay when an address is replaced.\n"
)


def wireguard(case: Case) -> Iterator[Threat]:
    """wg-quick down deletes `table main suppress_prefixlength 0` until no such rule of everybody's is left.

    That is a pattern, and what comes first goes first: ours, though they name a source, when they were laid after the
    tunnel. (Without a priority of its own a rule gets the one below all others.)
    """
    machine = case.machine
    tunnels = [name for name in machine.names("/etc/wireguard") if name.endswith(".conf")]
    full = [
        name
        for name in tunnels
        for _, key, value in lines(machine.text(f"/etc/wireguard/{name}"))
        if key == "AllowedIPs" and "/0" in value
    ]
    rules = tuple(rule for rule in case.of(Rule) if rule.suppress == 0 and rule.table == 254)
    if full:
        names = ", ".join(dict.fromkeys(name[: -len(".conf")] for name in full))
        prevent = "Table = off in its [Interface], with routes of your own"
        off = all("off" in {v for _, k, v in lines(machine.text(f"/etc/wireguard/{n}")) if k == "Table"} for n in full)
        yield Threat(
            "wg-quick",
            f"wg-quick down {names}, when it was up before ours were laid",
            rules,
            prevent,
            "Table = off" if off else "",
            case.back(),
        )


def vpc_cni(case: Case) -> Iterator[Threat]:
    """It takes over every ENI but the first, unless a tag says otherwise (amazon-vpc-cni-k8s, README)."""
    machine = case.machine
    if not machine.exists("/etc/cni/net.d/10-aws.conflist", "/opt/cni/bin/aws-cni"):
        return
    first = min((link.index for link in case.observed.links if link.name != "lo"), default=0)
    for link in case.devices():
        if link.index != first:
            tag = "the tag node.k8s.amazonaws.com/no_manage=true on the ENI"
            lost = case.of(Address, link.name)
            yield Threat("amazon-vpc-cni", f"it takes over {link.name}", lost, tag, back=case.back())


def kernel(case: Case) -> Iterator[Threat]:
    """The kernel drops the routes of a link that is set down, and of one that loses its last IPv4 address."""
    machine, back = case.machine, case.back()
    path = f"/etc/sysctl.d/{FIX}"
    names = [link.name for link in case.devices() if case.of(Route, link.name)]
    promoting = "net/ipv4/conf/{device}/promote_secondaries"
    text = _SYSCTL_TEXT + "".join(f"net.ipv4.conf.{name.replace('.', '/')}.promote_secondaries = 1\n" for name in names)
    for name in names:
        routes = case.of(Route, name)
        prevent = "no setting; ec2ident-agent install lays watch, which lays them again"
        yield Threat("the kernel", f"ip link set {name} down", routes, prevent, back=back)
        if machine.sysctl(promoting, name) is None:
            continue
        yield Threat(
            "the kernel",
            f"the address of {name} is replaced by another one of its subnet",
            tuple(route for route in routes if family(route.destination) == 4),
            f"net.ipv4.conf.{name.replace('.', '/')}.promote_secondaries = 1 in {path}",
            "promote_secondaries=1" if any(machine.sysctl(promoting, each) for each in ("all", name)) else "",
            back,
            (Fix(path, text),),
            f"sysctl -p {path}",
        )
