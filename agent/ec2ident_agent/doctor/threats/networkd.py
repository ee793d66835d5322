"""What systemd-networkd deletes, and which programs make it configure a link again."""

from __future__ import annotations

from ec2ident_agent.doctor.node_files import YES, NodeFiles, is_no, last
from ec2ident_agent.install.layout import FIX
from ec2ident_agent.items import Address, Route, Rule, family

from .node_view import DropIn, Threat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ec2ident_agent.items import Item

    from .node_view import NodeView

_NETWORKD = "systemd-networkd"
_CONF = f"/etc/systemd/networkd.conf.d/{FIX}"
_CONF_TEXT = """\
# Written by ec2ident-agent doctor --fix, removed by doctor --unfix: rules and routes of others are left alone.
[Network]
"""
_KEEP_TEXT = """\
# Written by ec2ident-agent doctor --fix, removed by doctor --unfix: what is there stays when networkd begins anew.
[Network]
KeepConfiguration={value}
"""
_RESTART = "systemctl restart systemd-networkd"

#: The first systemd that knows a setting or a value; an older one ignores it: networkd.conf(5), systemd.network(5).
SINCE = {
    "KeepConfiguration": 243,
    "ManageForeignRoutes": 246,
    "ManageForeignRoutingPolicyRules": 249,
    "dynamic": 257,
    "dynamic-on-stop": 257,
}

#: What a device keeps with each value of KeepConfiguration= (systemd.network(5)); any other value keeps nothing.
STATIC, LEASE = "static", "lease"
KEEPS = {
    "static": {STATIC},
    **{value: {LEASE} for value in ("dhcp", "dhcp-on-stop", "dynamic", "dynamic-on-stop")},
    **{value: {STATIC, LEASE} for value in YES},
}


def networkd(view: NodeView) -> Iterator[Threat]:
    """What networkd deletes when it configures a link: the link's routes, and the rules of all interfaces.

    It spares rules of the kernel's own protocol. It reads networkd.conf(5) once, when it starts.
    """
    node = view.files
    if not (node.enabled("systemd-networkd.service") or node.runs(_NETWORKD)):
        return
    files = {link.name: node.network_file(link) for link in view.observed.links if link.name != "lo"}
    managed = [name for name, path in files.items() if path]
    if not managed:
        return
    version = node.systemd_version()
    yield _foreign(
        view,
        "ManageForeignRoutingPolicyRules",
        f"it configures an interface that is attached, or {_or(managed)} anew: {_causes(node)}",
        view.of(Rule),
        version,
    )
    for link in view.devices():
        if files.get(link.name):
            beside = [name for name in managed if files[name] == files[link.name]]
            yield from _networkd_link(view, link.name, files[link.name], beside, version)


def _foreign(view: NodeView, key: str, event: str, items: tuple[Item, ...], version: int) -> Threat:
    """Items that networkd spares if the setting `key` of networkd.conf says no, and said so when networkd started."""
    node, back = view.files, view.back("networkd-dispatcher")
    if not _knows(version, key):
        return Threat(_NETWORKD, event, items, _no_setting(key), back=back)
    files = node.networkd_files()
    told = [path for path in files if ("Network", key) in node.settings([path])]
    read = not any(node.newer_than(_NETWORKD, path) for path in told)
    spared = f"{key}=no" if read and is_no(node.settings(files), "Network", key) else ""
    prevent = f"{key}=no in [Network] of {_CONF}"
    switches = [each for each in ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules") if _knows(version, each)]
    fix = DropIn(_CONF, _CONF_TEXT + "".join(f"{each}=no\n" for each in switches))
    return Threat(_NETWORKD, event, items, prevent, spared, back, (fix,), _RESTART)


def _knows(version: int, key: str) -> bool:
    """Whether a version of systemd has a setting or a value; True if the version is unknown (0)."""
    return version == 0 or version >= SINCE.get(key, 0)


def _no_setting(key: str) -> str:
    return f"no setting before systemd {SINCE[key]}"


def _networkd_link(view: NodeView, device: str, path: str, beside: Sequence[str], version: int) -> Iterator[Threat]:
    """What networkd deletes of one link. IPv4 routes go with the lease's address, which no setting keeps.

    `beside` are all the links that the same .network file matches: a setting in it is for all of them.
    """
    node, back = view.files, view.back("networkd-dispatcher")
    addresses, routes = view.of(Address, device), view.of(Route, device)
    routes4 = tuple(route for route in routes if family(route.destination) == 4)
    routes6 = tuple(route for route in routes if family(route.destination) == 6)
    known = _knows(version, "KeepConfiguration")
    keep = last(node.network_settings(path), "Network", "KeepConfiguration").lower()
    kept: set[str] = KEEPS.get(keep, set()) if known and _knows(version, keep) else set()
    value = _keep(kept, [item for name in beside for item in view.on(name)], keep if kept else "")
    here = f"/etc/systemd/network/{path.rpartition('/')[2]}.d/{FIX}"
    drop_in = (DropIn(here, _KEEP_TEXT.format(value=value)),) if known else ()
    keeping = f"KeepConfiguration={value} in [Network] of {here}" if known else _no_setting("KeepConfiguration")
    says = f"KeepConfiguration={keep}"
    anew, reload = f"it configures {device} anew: {_causes(node)}", "networkctl reload" if known else ""
    unkept = "no setting: they go with the lease's address; the hook and watch of ec2ident-agent install add them again"
    stop = f"it is restarted, as by its package's upgrade: the lease of {device} is given back"
    yield Threat(_NETWORKD, anew, addresses, keeping, says if STATIC in kept else "", back, drop_in, reload)
    yield _foreign(view, "ManageForeignRoutes", anew, routes6, version)
    yield Threat(_NETWORKD, anew, routes4, unkept, back=back)
    yield Threat(_NETWORKD, stop, routes4, keeping, says if LEASE in kept else "", back, drop_in, reload)


def _keep(kept: set[str], items: Sequence[Item], now: str) -> str:
    """The value of KeepConfiguration= that keeps exactly what is kept now and what these items need."""
    addresses = {STATIC} if any(isinstance(item, Address) for item in items) else set()
    routes = [item for item in items if isinstance(item, Route) and family(item.destination) == 4]
    need = kept | addresses | ({LEASE} if routes else set())
    return next((value for value in (now, "static", "dhcp-on-stop") if KEEPS.get(value) == need), "yes")


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _causes(node: NodeFiles) -> str:
    """Commands and programs that make networkd configure a link again, for the report."""
    causes = ["networkctl reconfigure", "a reload after its files changed"]
    if node.exists("/usr/lib/systemd/system/policy-routes@.service", "/usr/bin/setup-policy-routes"):
        causes.append("amazon-ec2-net-utils at each attached ENI and each new secondary address")
    if node.exists("/etc/netplan") and cloud_init_acts(node):
        causes.append("cloud-init at each hot-plugged ENI, through netplan")
    return ", ".join(causes)


def cloud_init_acts(node: NodeFiles) -> bool:
    """True if cloud-init rewrites the network at run time: only with `when: hotplug`, and never where it is disabled.

    cloud-init documentation, "Network configuration: disabling" and "Events and updates".
    """
    if not node.exists("/etc/cloud/cloud.cfg") or node.exists("/etc/cloud/cloud-init.disabled"):
        return False
    files = ["/etc/cloud/cloud.cfg", *node.layered(["/etc/cloud/cloud.cfg.d"], ".cfg")]
    text = "\n".join(line.partition("#")[0] for path in files for line in node.text(path).splitlines())
    flat = "".join(text.split())
    return "hotplug" in flat and "network:{config:disabled}" not in flat and "network:config:disabled" not in flat
