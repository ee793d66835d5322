"""Who deletes which of our objects on which event, and the setting that prevents it.

`THREATS` is the table: for each manager a function from what is known of the node to `Threat`s. What each of them
deletes was measured with the real daemons (systemd 252, NetworkManager 1.42, ifupdown 0.8.41, ISC dhclient 4.4,
SUSE's cloud-netconfig 1.20) or read in their sources, and tests hold the table against the daemons.

Everything here is a question to files of the node: `machine` reads them, `doctor` tells, `remedy` writes.
"""

from __future__ import annotations

from ec2ident.value import Value

from .items import Address, Route, Rule, family
from .layout import FIX, ROWS
from .machine import YES, Machine, is_no, last, lines, named, shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from .items import Item, Link, Observed
    from .profile import Overlay, Profile

    T = TypeVar("T", Address, Route, Rule)

WATCH = "ec2ident-agent-watch.service"

OPEN, RETURNS, PREVENTED = "open", "returns", "prevented"


class Fix(Value):
    """A file that prevents something, and what else it does when that is more than to spare foreign objects."""

    path: str
    content: str
    costs: str = ""


class Threat(Value):
    """One event that takes some of ours away. `spared` names the setting that is in force already."""

    who: str
    event: str
    items: tuple[Item, ...]
    prevent: str
    spared: str = ""
    #: Who lays them again; empty: nobody would notice.
    back: str = ""
    fixes: tuple[Fix, ...] = ()
    #: What makes the setting count.
    then: str = ""

    @property
    def state(self) -> str:
        return PREVENTED if self.spared else RETURNS if self.back else OPEN


class Case(Value):
    """What is known: the node, what it should have, and what is there."""

    machine: Machine
    items: tuple[Item, ...]
    observed: Observed
    #: Paths that `install` laid.
    laid: frozenset[str] = frozenset()
    overlays: tuple[Overlay, ...] = ()
    profiles: tuple[Profile, ...] = ()

    def of(self, kind: type[T], device: str = "") -> tuple[T, ...]:
        return tuple(
            item
            for item in self.items
            if isinstance(item, kind) and (not device or getattr(item, "device", "") == device)
        )

    def on(self, device: str) -> tuple[Item, ...]:
        """What hangs on a device."""
        return (*self.of(Address, device), *self.of(Route, device))

    def devices(self) -> list[Link]:
        """The links that ours hang on and that are there."""
        names = dict.fromkeys(getattr(item, "device", "") for item in self.items)
        return [link for link in map(self.observed.link, filter(None, names)) if link]

    def back(self, manager: str = "") -> str:
        """Who lays again what was taken away: watch, else this manager's hook."""
        if self.machine.enabled(WATCH):
            return "watch lays them again within a second"
        rows = ROWS[manager].rows if manager else ()
        return "its hook lays them again" if any(row.path in self.laid for row in rows) else ""


# -- systemd-networkd -------------------------------------------------------------------------------------------------

_NETWORKD = "systemd-networkd"
_CONF = f"/etc/systemd/networkd.conf.d/{FIX}"
_CONF_TEXT = """\
# Written by ec2ident-agent doctor --fix, taken away by doctor --unfix: rules and routes of others are left alone.
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
"""
_KEEP_TEXT = """\
# Written by ec2ident-agent doctor --fix, taken away by doctor --unfix: what is there stays when networkd begins anew.
[Network]
KeepConfiguration={value}
"""
_RESTART = "systemctl restart systemd-networkd"

#: What a device keeps with each value of KeepConfiguration= (systemd.network(5)); whatever else is there keeps nothing.
STATIC, LEASE = "static", "lease"
KEEPS = {"static": {STATIC}, "dhcp": {LEASE}, "dhcp-on-stop": {LEASE}, **{yes: {STATIC, LEASE} for yes in YES}}


def networkd(case: Case) -> Iterator[Threat]:
    """When it lays a link anew, every rule goes whose protocol is not the kernel's, and all that hangs on the link.

    networkd.conf(5): ManageForeignRoutes= since 246, ManageForeignRoutingPolicyRules= since 249, read at its start.
    """
    machine = case.machine
    if not (machine.enabled("systemd-networkd.service") or machine.runs(_NETWORKD)):
        return
    files = {link.name: machine.network_file(link) for link in case.observed.links if link.name != "lo"}
    managed = [name for name, path in files.items() if path]
    if not managed:
        return
    old = 0 < machine.systemd_version() < 249
    yield Threat(
        _NETWORKD,
        f"it lays {_or(managed)} anew: {_causes(machine)}",
        case.of(Rule),
        "no setting before systemd 249" if old else f"ManageForeignRoutingPolicyRules=no in [Network] of {_CONF}",
        _foreign(machine, "ManageForeignRoutingPolicyRules"),
        case.back("networkd-dispatcher"),
        () if old else (Fix(_CONF, _CONF_TEXT),),
        "" if old else _RESTART,
    )
    for link in case.devices():
        if files.get(link.name):
            beside = [name for name in managed if files[name] == files[link.name]]
            yield from _networkd_link(case, link.name, files[link.name], beside)


def _foreign(machine: Machine, key: str) -> str:
    """The switch, when it is off; and when it was switched off before networkd started, which reads it then."""
    conf = machine.networkd_conf()
    return f"{key}=no" if is_no(conf, "Network", key) and not machine.newer_than(_NETWORKD, _CONF) else ""


def _networkd_link(case: Case, device: str, path: str, beside: Sequence[str]) -> Iterator[Threat]:
    """What hangs on one link. IPv4 routes go with the lease's address, which no setting keeps when it begins anew.

    `beside` are all the links that the same file is about: what is written for one is for all.
    """
    machine, back = case.machine, case.back("networkd-dispatcher")
    addresses, routes = case.of(Address, device), case.of(Route, device)
    routes4 = tuple(route for route in routes if family(route.destination) == 4)
    routes6 = tuple(route for route in routes if family(route.destination) == 6)
    keep = last(machine.network_settings(path), "Network", "KeepConfiguration").lower()
    kept = KEEPS.get(keep, set())
    value = _keep(kept, [item for name in beside for item in case.on(name)], keep)
    here = f"/etc/systemd/network/{path.rpartition('/')[2]}.d/{FIX}"
    drop_in = Fix(here, _KEEP_TEXT.format(value=value))
    keeping = f"KeepConfiguration={value} in [Network] of {here}"
    says = f"KeepConfiguration={keep}"
    anew, reload = f"it lays {device} anew: {_causes(machine)}", "networkctl reload"
    foreign = f"ManageForeignRoutes=no in [Network] of {_CONF}"
    spared = _foreign(machine, "ManageForeignRoutes")
    unkept = "no setting: they go with the address of the lease; ec2ident-agent install lays what lays them again"
    stop = f"it is restarted, as by its package's upgrade: the lease of {device} is given back"
    yield Threat(_NETWORKD, anew, addresses, keeping, says if STATIC in kept else "", back, (drop_in,), reload)
    yield Threat(_NETWORKD, anew, routes6, foreign, spared, back, (Fix(_CONF, _CONF_TEXT),), _RESTART)
    yield Threat(_NETWORKD, anew, routes4, unkept, back=back)
    yield Threat(_NETWORKD, stop, routes4, keeping, says if LEASE in kept else "", back, (drop_in,), reload)


def _keep(kept: set[str], items: Sequence[Item], now: str) -> str:
    """The value of KeepConfiguration= that keeps what is kept now, and what these items need, and no more."""
    addresses = {STATIC} if any(isinstance(item, Address) for item in items) else set()
    routes = [item for item in items if isinstance(item, Route) and family(item.destination) == 4]
    need = kept | addresses | ({LEASE} if routes else set())
    return next((value for value in (now, "static", "dhcp-on-stop") if KEEPS.get(value) == need), "yes")


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _causes(machine: Machine) -> str:
    """Who else makes networkd begin anew."""
    causes = ["networkctl reconfigure", "a reload after its files changed"]
    if machine.exists("/usr/lib/systemd/system/policy-routes@.service", "/usr/bin/setup-policy-routes"):
        causes.append("amazon-ec2-net-utils at each attached ENI and each new secondary address")
    if machine.exists("/etc/netplan") and cloud_init_acts(machine):
        causes.append("cloud-init at each hot-plugged ENI, through netplan")
    return ", ".join(causes)


def cloud_init_acts(machine: Machine) -> bool:
    """Does cloud-init rewrite the network at run time? Only with `when: hotplug`, and never where it is disabled.

    cloud-init documentation, "Network configuration: disabling" and "Events and updates".
    """
    if not machine.exists("/etc/cloud/cloud.cfg") or machine.exists("/etc/cloud/cloud-init.disabled"):
        return False
    files = ["/etc/cloud/cloud.cfg", *machine.layered(["/etc/cloud/cloud.cfg.d"], ".cfg")]
    text = "\n".join(line.partition("#")[0] for path in files for line in machine.text(path).splitlines())
    flat = "".join(text.split())
    return "hotplug" in flat and "network:{config:disabled}" not in flat and "network:config:disabled" not in flat


# -- NetworkManager ---------------------------------------------------------------------------------------------------

_NM = "NetworkManager"
_CLOUD_SETUP = "nm-cloud-setup.service"
_UNIT_FIX = f"/etc/systemd/system/{_CLOUD_SETUP}.d/{FIX}"


def network_manager(case: Case) -> Iterator[Threat]:
    """It lays a device's profile anew, and what the profile does not name goes. It never touches rules.

    A reapply costs addresses, a modify and an activation routes as well. There is no setting that spares foreign
    objects of a device, but to leave the device alone (NetworkManager.conf(5), keyfile.unmanaged-devices).
    """
    machine = case.machine
    if not (machine.enabled("NetworkManager.service") or machine.runs(_NM)):
        return
    conf, back = machine.network_manager_conf(), case.back("networkmanager")
    for link in case.devices():
        reason = unmanaged(machine, conf, link)
        prevent = (
            "no setting that keeps its DHCP; ec2ident-agent install lays the hook and watch, which lay them again."
            f" Where something else configures {link.name}: unmanaged-devices=interface-name:{link.name} in [keyfile]"
            " of a file in /etc/NetworkManager/conf.d, which sets the link down once"
        )
        losses = (
            ("nmcli device reapply, device modify or connection up of", case.of(Address, link.name)),
            ("nmcli device modify or connection up, device disconnect of", case.of(Route, link.name)),
        )
        for event, items in losses:
            yield Threat(_NM, f"{event} {link.name}", items, prevent, reason, back)
        yield from _cloud_setup(case, link, reason, back)


def _cloud_setup(case: Case, link: Link, reason: str, back: str) -> Iterator[Threat]:
    """nm-cloud-setup modifies the device every five minutes, once NM_CLOUD_SETUP_EC2=yes (nm-cloud-setup(8))."""
    machine = case.machine
    if not machine.enabled("nm-cloud-setup.timer") and not machine.enabled(_CLOUD_SETUP):
        return
    words = " ".join(machine.unit_settings(_CLOUD_SETUP).get(("Service", "Environment"), [])).replace('"', " ").split()
    values = [word.partition("=")[2].lower() for word in words if word.startswith("NM_CLOUD_SETUP_EC2=")]
    on = bool(values) and values[-1] in YES
    yield Threat(
        "nm-cloud-setup",
        f"its timer, every 5 minutes, when the addresses of {link.name} change",
        case.on(link.name),
        f"NM_CLOUD_SETUP_EC2=no in [Service] of {_UNIT_FIX}",
        reason or ("" if on else "NM_CLOUD_SETUP_EC2 is not yes"),
        back,
        (
            Fix(
                _UNIT_FIX,
                "# Written by ec2ident-agent doctor --fix, taken away by doctor --unfix.\n"
                "[Service]\nEnvironment=NM_CLOUD_SETUP_EC2=no\n",
                "secondary addresses of the ENIs are no longer configured by it",
            ),
        ),
        "systemctl daemon-reload",
    )


def unmanaged(machine: Machine, conf: dict[tuple[str, str], list[str]], link: Link) -> str:
    """Why NetworkManager leaves this device alone; empty where it does not."""
    specs = last(conf, "keyfile", "unmanaged-devices")
    plain = [spec.strip() for spec in specs.replace(",", ";").split(";") if spec.strip()]
    excepted = any(_device_spec(spec[7:], link) for spec in plain if spec.startswith("except:"))
    if not excepted and any(_device_spec(spec, link) for spec in plain if not spec.startswith("except:")):
        return f"unmanaged-devices={specs}"
    ifcfg = f"/etc/sysconfig/network-scripts/ifcfg-{link.name}"
    return f"NM_CONTROLLED=no in {ifcfg}" if shell(machine.text(ifcfg), "NM_CONTROLLED").lower() == "no" else ""


def _device_spec(spec: str, link: Link) -> bool:
    """NetworkManager.conf(5), "Device List Format"."""
    kind, _, pattern = spec.partition(":")
    if spec == "*":
        return True
    if kind == "interface-name":
        return link.name == pattern[1:] if pattern.startswith("=") else named([pattern.lstrip("~")], [link.name])
    return kind == "mac" and pattern.lower() == link.mac


# -- SUSE's cloud-netconfig -------------------------------------------------------------------------------------------


def cloud_netconfig(case: Case) -> Iterator[Threat]:
    """Its cleanup deletes every rule `from X` where X is not literally an address of this node, whoever owns it.

    Whenever a NIC goes down, and CLOUD_NETCONFIG_MANAGE=no does not stop that: it stops the runs.
    """
    machine = case.machine
    callers = list(_cleanup_callers(machine))
    if not callers:
        return
    addresses = {seen.item.address for seen in case.observed.seen if isinstance(seen.item, Address)}
    here = {address.partition("/")[0] for address in addresses}
    rules = tuple(rule for rule in case.of(Rule) if rule.source and not _is_address(rule.source, here))
    yield Threat(
        "cloud-netconfig",
        "its cleanup, whenever a network interface goes down",
        rules,
        f"take cloud-netconfig-cleanup out of {', '.join(callers)}; CLOUD_NETCONFIG_MANAGE=no does not stop it",
        back=case.back("networkmanager"),
    )


def _is_address(source: str, here: set[str]) -> bool:
    address, _, length = source.partition("/")
    return length in ("32", "128") and address in here


def _cleanup_callers(machine: Machine) -> Iterator[str]:
    """The files on this node that call cloud-netconfig-cleanup."""
    rules = machine.layered([f"{base}/udev/rules.d" for base in ("/etc", "/run", "/usr/lib", "/lib")], ".rules")
    ifcfgs = [f"/etc/sysconfig/network/{name}" for name in machine.names("/etc/sysconfig/network")]
    dispatch = machine.layered([f"{base}/dispatcher.d" for base in NETWORK_MANAGER_DISPATCH], "cloud-netconfig")
    for path in (*rules, *(path for path in ifcfgs if "/ifcfg-" in path), *dispatch):
        text = "\n".join(line for line in machine.text(path).splitlines() if not line.lstrip().startswith("#"))
        if "cloud-netconfig" in text and ("cleanup" in text or path in dispatch):
            yield path


NETWORK_MANAGER_DISPATCH = ("/etc/NetworkManager", "/usr/lib/NetworkManager")


# -- ifupdown, dhclient, wicked, network-scripts ----------------------------------------------------------------------


def ifupdown(case: Case) -> Iterator[Threat]:
    """ifdown takes the addresses off and the link down; the routes go with the link, rules stay and lead nowhere."""
    machine = case.machine
    if not machine.exists("/etc/network/interfaces", "/etc/network/interfaces.d"):
        return
    files = ["/etc/network/interfaces", *machine.layered(["/etc/network/interfaces.d"], "")]
    words = [line.split() for path in files for line in machine.text(path).splitlines()]
    mine = {word[1] for word in words if len(word) > 1 and word[0] == "iface"}
    for link in case.devices():
        if link.name in mine:
            yield _by_hook("ifupdown", f"ifdown {link.name}", case.on(link.name), case, "ifupdown")


def dhclient(case: Case) -> Iterator[Threat]:
    """dhclient-script flushes by label: the bare device's when the lease changes, DEVICE:0 for its alias.

    And all of the device when a lease times out and its router does not answer.
    """
    machine = case.machine
    if not machine.runs("dhclient"):
        return
    for link in case.devices():
        addresses = [item for item in case.of(Address, link.name) if family(item.address) == 4]
        exposed = tuple(item for item in addresses if item.label in ("", link.name, f"{link.name}:0"))
        yield Threat(
            "dhclient",
            f"the lease of {link.name} changes, expires or is released",
            exposed,
            f'label = "{link.name}:1" in the [[overlay]]: dhclient flushes {link.name} and {link.name}:0',
            back=case.back("dhclient"),
        )
        yield _by_hook(
            "dhclient", f"the router does not answer at a TIMEOUT on {link.name}", tuple(addresses), case, "dhclient"
        )


def wicked(case: Case) -> Iterator[Threat]:
    machine = case.machine
    if not (machine.enabled("wicked.service") or machine.runs("wickedd")):
        return
    for link in case.devices():
        path = f"/etc/sysconfig/network/ifcfg-{link.name}"
        if not machine.exists(path):
            continue
        hooked = f"ifup.local.{link.name}" in shell(machine.text(path), "POST_UP_SCRIPT")
        yield Threat(
            "wicked",
            f"wicked ifdown {link.name}, ifreload",
            case.on(link.name),
            f'POST_UP_SCRIPT="compat:suse:ifup.local.{link.name}" in {path} lays them again',
            back=case.back() or ("its hook lays them again" if hooked else ""),
        )


def network_scripts(case: Case) -> Iterator[Threat]:
    """ifdown-eth flushes the device, whatever is on it; of an alias, its label."""
    machine = case.machine
    if not machine.exists("/etc/sysconfig/network-scripts/ifup-post"):
        return
    nm = machine.enabled("NetworkManager.service") or machine.runs(_NM)
    for link in case.devices():
        path = f"/etc/sysconfig/network-scripts/ifcfg-{link.name}"
        by_nm = nm and shell(machine.text(path), "NM_CONTROLLED").lower() != "no"
        if machine.exists(path) and not by_nm:
            yield _by_hook("network-scripts", f"ifdown {link.name}", case.on(link.name), case, "network-scripts")


def _by_hook(who: str, event: str, items: tuple[Item, ...], case: Case, manager: str) -> Threat:
    prevent = "no setting; ec2ident-agent install lays the hook and watch, which lay them again"
    return Threat(who, event, items, prevent, back=case.back(manager))


# -- others -----------------------------------------------------------------------------------------------------------


def net_utils_1(case: Case) -> Iterator[Threat]:
    """amazon-ec2-net-utils 1 owns the tables from 10000: every rule that leads there is its own, it thinks.

    It flushes addresses that are flagged secondary; a /32 never is.
    """
    if not case.machine.exists("/etc/sysconfig/network-scripts/ec2net-functions"):
        return
    rules = tuple(rule for rule in case.of(Rule) if 10000 <= rule.table < 10100)
    where = "another table in the configuration: it takes 10000 + N for ethN"
    yield Threat(
        "amazon-ec2-net-utils 1", "a lease is renewed or an ENI goes", rules, where, back=case.back("dhclient")
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
    text = "".join(f"net.ipv4.conf.{name.replace('.', '/')}.promote_secondaries = 1\n" for name in names)
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


#: The table: who, and how it is told what he deletes.
THREATS: dict[str, Callable[[Case], Iterator[Threat]]] = {
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


def threats(case: Case) -> list[Threat]:
    """Every event that takes at least one of ours away, as the table says. Pure over what the tree says."""
    found = [threat for look in THREATS.values() for threat in look(case)]
    return [threat for threat in found if threat.items]


def culprit(item: Item, machine: Machine, observed: Observed, program: str = "") -> tuple[str, str] | None:
    """Who deletes this item, most likely, and what prevents it; None where nobody is known who would.

    For watch, which sees that something goes again and again, and sometimes the `program` that asked for it (15
    characters of its name): if that one is known to do so it is that one.
    """
    found = [
        threat
        for threat in threats(Case(machine, (item,), observed))
        if threat.state != PREVENTED and threat.who != "the kernel"
    ]
    found.sort(key=lambda threat: threat.who[:15] != program)
    for threat in found:
        return threat.who, threat.prevent + (f", then {threat.then}" if threat.then else "")
    return None
