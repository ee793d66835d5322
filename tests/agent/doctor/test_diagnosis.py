"""Who deletes what, told from directories that look like nodes: each row of the table, and its near misses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent.cli import main
from ec2ident_agent.doctor.diagnosis import command, diagnose, faults, lines
from ec2ident_agent.doctor.node_files import NodeFiles, is_no, shell
from ec2ident_agent.doctor.threats import culprits, threats
from ec2ident_agent.doctor.threats.node_view import OPEN, PREVENTED, RETURNS, WATCH, NodeView, Threat
from ec2ident_agent.install.rootfs import RootFs
from ec2ident_agent.items import Address, Link, Observed, Route, Rule, Seen
from ec2ident_agent.profile import Overlay, Profile
from ec2ident_agent.show import log, say
from tests.agent import ordinary_user
from tests.agent.conftest import Agent, ip
from tests.lab.modes import umask
from tests.lab.recipe import CONFIGURATION

OVERLAY = Address("eth0", "192.168.10.10/32", "eth0:1")
OUT = Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")
OUT6 = Route("::/0", "eth1", 100, "fe80:ec2::1", 1024)
RULE = Rule("10.0.1.0/24", 100, 100)
ITEMS = (OVERLAY, OUT, OUT6, RULE)
LINKS = (Link(1, "lo"), Link(2, "eth0", "06:00:00:00:00:00"), Link(3, "eth1", "06:00:00:00:00:01"))

#: What each kind of node has. Directories end in a slash; the value is a file's content, or a link's target after "->".
NETWORKD = {
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "->/usr/lib/systemd/system/x",
    "etc/systemd/network/50-eth.network": "[Match]\nName=eth*\n[Network]\nDHCP=yes\n",
}
NM = {"etc/systemd/system/multi-user.target.wants/NetworkManager.service": "->/usr/lib/systemd/system/x"}
CLOUD_SETUP = {
    **NM,
    "etc/systemd/system/timers.target.wants/nm-cloud-setup.timer": "->/usr/lib/systemd/system/x",
    "usr/lib/systemd/system/nm-cloud-setup.service": "[Service]\nExecStart=/usr/libexec/nm-cloud-setup\n",
    "etc/systemd/system/nm-cloud-setup.service.d/10-ec2.conf": "[Service]\nEnvironment=NM_CLOUD_SETUP_EC2=yes\n",
}
CLEANUP = 'POST_DOWN_SCRIPT="compat:suse:cloud-netconfig-cleanup"\n'
CONF, KEEP = "etc/systemd/networkd.conf.d/50-site.conf", "etc/systemd/network/50-eth.network.d/50-site.conf"


@umask()
def fill(root: Path, *parts: dict[str, str]) -> NodeFiles:
    for path, content in {key: value for part in parts for key, value in part.items()}.items():
        where = root / path
        where.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            where.symlink_to(content[2:])
        else:
            where.write_text(content, encoding="utf-8")
    return NodeFiles(RootFs(str(root)))


def view(node: NodeFiles, *items: Address | Route | Rule, **fields: object) -> NodeView:
    return NodeView(node, items or ITEMS, Observed(LINKS), **fields)  # type: ignore[arg-type]


def of(node: NodeFiles, who: str, *items: Address | Route | Rule) -> dict[tuple[object, ...], Threat]:
    """What one of them threatens, by what it takes."""
    return {threat.items: threat for threat in threats(view(node, *items)) if threat.who == who}


def taken(node: NodeFiles, who: str, *items: Address | Route | Rule) -> set[object]:
    """Everything that one of them takes and nothing spares."""
    found = [each for each in threats(view(node, *items)) if each.who == who and each.state != PREVENTED]
    return {item for threat in found for item in threat.items}


# -- systemd-networkd -------------------------------------------------------------------------------------------------


def test_networkd_takes_everything_by_default(tmp_path: Path) -> None:
    """Rules of any protocol but the kernel's, addresses, and routes of both families (measured, systemd 252)."""
    assert set(ITEMS) == taken(fill(tmp_path, NETWORKD), "systemd-networkd")


@pytest.mark.parametrize(
    ("files", "spared"),
    [
        ({CONF: "[Network]\nManageForeignRoutingPolicyRules=no\n"}, {RULE}),
        ({CONF: "[Network]\nManageForeignRoutes=false\n"}, {OUT6}),
        ({KEEP: "[Network]\nKeepConfiguration=static\n"}, {OVERLAY}),
        ({KEEP: "[Network]\nKeepConfiguration=yes\n"}, {OVERLAY}),
        # Near misses: the section, the file, the value, the device, and a file that does not end as it must.
        ({CONF: "[Networks]\nManageForeignRoutingPolicyRules=no\n"}, set()),
        ({CONF: "[Network]\n#ManageForeignRoutingPolicyRules=no\n"}, set()),
        ({CONF: "[Network]\nManageForeignRoutingPolicyRules=never\n"}, set()),
        ({CONF: "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutingPolicyRules=yes\n"}, set()),
        ({CONF: "[Network]\nKeepConfiguration=yes\n"}, set()),
        ({KEEP: "[Network]\nManageForeignRoutingPolicyRules=no\n"}, set()),
        ({KEEP: "[DHCPv4]\nKeepConfiguration=static\n"}, set()),
        ({KEEP: "[Network]\nKeepConfiguration=dhcp\n"}, set()),
        ({"etc/systemd/network/50-ens.network.d/a.conf": "[Network]\nKeepConfiguration=yes\n"}, set()),
        ({"etc/systemd/networkd.conf.d/a.off": "[Network]\nManageForeignRoutingPolicyRules=no\n"}, set()),
        # A file of the same name in /etc hides that of the package.
        (
            {
                CONF: "",
                CONF.replace("etc/", "usr/lib/"): "[Network]\nManageForeignRoutingPolicyRules=no\n",
            },
            set(),
        ),
        ({CONF.replace("etc/", "usr/lib/"): "[Network]\nManageForeignRoutingPolicyRules=no\n"}, {RULE}),
        ({"etc/systemd/networkd.conf": "[Network]\nManageForeignRoutingPolicyRules=no\n"}, {RULE}),
    ],
)
def test_networkds_settings_spare_what_they_did_when_measured(
    tmp_path: Path, files: dict[str, str], spared: set[object]
) -> None:
    """Each setting in its own file and section; what is not that spares nothing."""
    assert set(ITEMS) - spared == taken(fill(tmp_path, NETWORKD, files), "systemd-networkd")


def test_a_restart_of_networkd_gives_back_leases_unless_it_keeps_them(tmp_path: Path) -> None:
    """With the last address the kernel drops the IPv4 routes; dhcp-on-stop is enough."""
    node = fill(tmp_path, NETWORKD)
    by_event = {t.event: t for t in threats(view(node)) if t.who == "systemd-networkd" and t.items == (OUT,)}
    states = {event.partition(" ")[2][:12]: threat.state for event, threat in by_event.items()}
    assert {"configures e": OPEN, "is restarted": OPEN} == states

    fill(tmp_path, {KEEP: "[Network]\nKeepConfiguration=dhcp-on-stop\n"})
    by_event = {t.event: t for t in threats(view(node)) if t.who == "systemd-networkd" and t.items == (OUT,)}
    states = {event.partition(" ")[2][:12]: threat.state for event, threat in by_event.items()}
    assert {"configures e": OPEN, "is restarted": PREVENTED} == states


@pytest.mark.parametrize(
    "parts",
    [
        {"etc/systemd/network/50-eth.network": NETWORKD["etc/systemd/network/50-eth.network"]},
        {**NETWORKD, "etc/systemd/system/systemd-networkd.service": "->/dev/null"},
        {**NETWORKD, "etc/systemd/network/50-eth.network": "[Match]\nName=wl* ens*\n"},
        {**NETWORKD, "run/systemd/netif/links/2": "ADMIN_STATE=unmanaged\n", "run/systemd/netif/links/3": "#\n"},
    ],
    ids=["not enabled", "masked", "other interfaces", "unmanaged"],
)
def test_a_networkd_that_does_nothing_here_is_not_a_threat(tmp_path: Path, parts: dict[str, str]) -> None:
    """It is installed everywhere; that alone says nothing."""
    assert {} == of(fill(tmp_path, parts), "systemd-networkd")


def test_networkd_is_seen_by_its_process_too(tmp_path: Path) -> None:
    """However it was started; the kernel keeps 15 characters of a name."""
    running = {"proc/71/comm": "systemd-network\n", "proc/self/comm": "x\n"}
    files = {path: content for path, content in NETWORKD.items() if path.endswith(".network")}
    assert set(ITEMS) == taken(fill(tmp_path, files, running), "systemd-networkd")


def test_a_link_is_matched_by_its_mac(tmp_path: Path) -> None:
    """As cloud-init writes it; the other link has no file and keeps what hangs on it."""
    by_mac = {"etc/systemd/network/50-eth.network": "[Match]\nPermanentMACAddress=06:00:00:00:00:01\n"}
    assert {OUT, OUT6, RULE} == taken(fill(tmp_path, {**NETWORKD, **by_mac}), "systemd-networkd")


def test_a_setting_that_networkd_has_not_read_yet_spares_nothing(tmp_path: Path) -> None:
    """It reads networkd.conf when it starts: a drop-in that is newer than the process is not in force."""
    written = {"etc/systemd/networkd.conf.d/90-ec2ident-doctor.conf": "[Network]\nManageForeignRoutingPolicyRules=no\n"}
    started = {"proc/stat": "btime 1000\n", "proc/71/comm": "systemd-network\n"}
    stat = {"proc/71/stat": "71 (systemd-network) S " + "0 " * 18 + f"{os.sysconf('SC_CLK_TCK') * 50} 0\n"}
    node = fill(tmp_path, NETWORKD, written, started, stat)
    drop_in = next(tmp_path.glob("etc/systemd/networkd.conf.d/*"))

    os.utime(drop_in, (2000, 2000))
    assert RULE in taken(node, "systemd-networkd")
    os.utime(drop_in, (1040, 1040))
    assert RULE not in taken(node, "systemd-networkd")
    # Whichever program wrote it.
    drop_in.rename(drop_in.with_name("10-mine.conf"))
    assert RULE not in taken(node, "systemd-networkd")
    os.utime(drop_in.with_name("10-mine.conf"), (2000, 2000))
    assert RULE in taken(node, "systemd-networkd")


SETTINGS = {OVERLAY: "KeepConfiguration", OUT6: "ManageForeignRoutes", RULE: "ManageForeignRoutingPolicyRules"}
EVERYTHING = {
    CONF: "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n",
    KEEP: "[Network]\nKeepConfiguration=yes\n",
}


@pytest.mark.parametrize(
    ("library", "spared"),
    [
        ("libsystemd-shared-239.so", set()),
        ("libsystemd-shared-245.so", {OVERLAY}),
        ("libsystemd-shared-247.3-7.amzn2023.so", {OVERLAY, OUT6}),
        ("libsystemd-shared-249.so", {OVERLAY, OUT6, RULE}),
        ("libsystemd-shared-257-9.el10.so", {OVERLAY, OUT6, RULE}),
        ("somebody-elses-239.so", {OVERLAY, OUT6, RULE}),
    ],
)
def test_a_setting_that_this_systemd_does_not_know_spares_nothing(
    tmp_path: Path, library: str, spared: set[Address | Route | Rule]
) -> None:
    """And none is written: systemd would pass over it, and the administrator would trust it."""
    version = {f"usr/lib/x86_64-linux-gnu/systemd/{library}": ""}
    assert set(ITEMS) - spared == taken(fill(tmp_path / "a", NETWORKD, EVERYTHING, version), "systemd-networkd")

    here = fill(tmp_path / "b", NETWORKD, version)
    assert (RULE in spared) == ("no setting before systemd 249" != of(here, "systemd-networkd")[(RULE,)].prevent)
    text = "".join(fix.content for threat in threats(view(here)) for fix in threat.fixes)
    assert {SETTINGS[item] for item in spared} == {key for key in SETTINGS.values() if f"{key}=" in text}


@pytest.mark.parametrize("value", ["dynamic", "dynamic-on-stop"])
@pytest.mark.parametrize(("version", "counts"), [("252", False), ("257", True)])
def test_the_newer_name_of_a_value_counts_where_it_is_known(
    tmp_path: Path, value: str, version: str, counts: bool
) -> None:
    """KeepConfiguration=dynamic is what dhcp was called until 257, and nothing at all before."""
    library = {f"usr/lib/systemd/libsystemd-shared-{version}.so": ""}
    node = fill(tmp_path, NETWORKD, library, {KEEP: f"[Network]\nKeepConfiguration={value}\n"})
    states = {t.state for t in threats(view(node)) if t.items == (OUT,) and "is restarted" in t.event}
    assert {PREVENTED if counts else OPEN} == states


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"usr/bin/setup-policy-routes": ""}, "amazon-ec2-net-utils"),
        (
            {"etc/netplan/50.yaml": "", "etc/cloud/cloud.cfg": "updates:\n network: {when: [boot, hotplug]}"},
            "cloud-init",
        ),
    ],
)
def test_who_makes_networkd_begin_anew_is_named(tmp_path: Path, files: dict[str, str], told: str) -> None:
    """They delete nothing themselves, and everything through networkd."""
    assert told in of(fill(tmp_path, NETWORKD, files), "systemd-networkd")[(RULE,)].event


@pytest.mark.parametrize(
    "extra",
    [
        {"etc/cloud/cloud.cfg.d/99.cfg": "network: {config: disabled}\n"},
        {"etc/cloud/cloud-init.disabled": ""},
        {"etc/cloud/cloud.cfg": "# updates: hotplug\n"},
    ],
)
def test_a_cloud_init_that_is_told_not_to_is_not_named(tmp_path: Path, extra: dict[str, str]) -> None:
    """Disabled for the network, disabled altogether, or never asked to follow hot plugs."""
    acting = {"etc/netplan/50.yaml": "", "etc/cloud/cloud.cfg": "updates:\n  network:\n    when: [hotplug]\n"}
    assert "cloud-init" not in of(fill(tmp_path, NETWORKD, acting, extra), "systemd-networkd")[(RULE,)].event


# -- NetworkManager ---------------------------------------------------------------------------------------------------


def test_networkmanager_takes_addresses_and_routes_and_never_rules(tmp_path: Path) -> None:
    """Measured with 1.42: reapply, modify, connection up."""
    assert {OVERLAY, OUT, OUT6} == taken(fill(tmp_path, NM), "NetworkManager")


@pytest.mark.parametrize(
    ("spec", "spared"),
    [
        ("interface-name:eth0", {OVERLAY}),
        ("interface-name:eth*", {OVERLAY, OUT, OUT6}),
        ("interface-name:=eth1;interface-name:docker*", {OUT, OUT6}),
        ("mac:06:00:00:00:00:01", {OUT, OUT6}),
        ("*,except:interface-name:eth0", {OUT, OUT6}),
        ("interface-name:eth01", set()),
        ("mac:06:00:00:00:00:02", set()),
        ("type:wifi", set()),
    ],
)
def test_networkmanager_spares_devices_that_it_does_not_manage(tmp_path: Path, spec: str, spared: set[object]) -> None:
    """NetworkManager.conf(5), "Device List Format"; in another section it says nothing."""
    conf = {"etc/NetworkManager/conf.d/10-ours.conf": f"[keyfile]\nunmanaged-devices={spec}\n"}
    assert {OVERLAY, OUT, OUT6} - spared == taken(fill(tmp_path / "a", NM, conf), "NetworkManager")
    wrong = {"etc/NetworkManager/conf.d/10-ours.conf": f"[main]\nunmanaged-devices={spec}\n"}
    assert {OVERLAY, OUT, OUT6} == taken(fill(tmp_path / "b", NM, wrong), "NetworkManager")


@pytest.mark.parametrize(
    ("conf", "spared"),
    [
        ("[device-ours]\nmatch-device=interface-name:eth1\nmanaged=0\n", {OUT, OUT6}),
        ("[device]\nmanaged=false\n", {OVERLAY, OUT, OUT6}),
        ("[device-ours]\nmatch-device=interface-name:eth1\nmanaged=1\n", set()),
        ("[main]\nplugins=ifupdown,keyfile\n[ifupdown]\nmanaged=false\n", {OVERLAY}),
        ("[main]\nplugins=ifupdown,keyfile\n", {OVERLAY}),
        ("[main]\nplugins=ifupdown,keyfile\n[ifupdown]\nmanaged=true\n", set()),
        ("[main]\nplugins=keyfile\n[ifupdown]\nmanaged=false\n", set()),
    ],
)
def test_there_are_other_ways_to_keep_networkmanager_from_a_device(
    tmp_path: Path, conf: str, spared: set[object]
) -> None:
    """A section for devices; and on Debian, what ifupdown's files name."""
    files = {"etc/NetworkManager/NetworkManager.conf": conf, "etc/network/interfaces": "iface eth0 inet dhcp\n"}
    assert {OVERLAY, OUT, OUT6} - spared == taken(fill(tmp_path, NM, files), "NetworkManager")


def test_a_list_of_unmanaged_devices_may_be_longer_by_another_file(tmp_path: Path) -> None:
    """NetworkManager.conf(5): += appends."""
    files = {
        "etc/NetworkManager/NetworkManager.conf": "[keyfile]\nunmanaged-devices=interface-name:eth0\n",
        "etc/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices+=interface-name:eth1\n",
    }
    assert set() == taken(fill(tmp_path, NM, files), "NetworkManager")


def test_an_ifcfg_file_can_keep_networkmanager_away(tmp_path: Path) -> None:
    """NM_CONTROLLED=no, for its own device alone."""
    ifcfg = {"etc/sysconfig/network-scripts/ifcfg-eth0": 'DEVICE=eth0\nNM_CONTROLLED="no"\n'}
    assert {OUT, OUT6} == taken(fill(tmp_path, NM, ifcfg), "NetworkManager")


def test_nm_cloud_setup_counts_only_when_it_is_told_that_this_is_ec2(tmp_path: Path) -> None:
    """The timer is on wherever the package is; NM_CLOUD_SETUP_EC2=yes makes it act."""
    assert {OVERLAY, OUT, OUT6} == taken(fill(tmp_path / "a", CLOUD_SETUP), "nm-cloud-setup")
    off = {
        "etc/systemd/system/nm-cloud-setup.service.d/20-off.conf": '[Service]\nEnvironment="NM_CLOUD_SETUP_EC2=no"\n'
    }
    assert set() == taken(fill(tmp_path / "b", CLOUD_SETUP, off), "nm-cloud-setup")
    without = {path: content for path, content in CLOUD_SETUP.items() if not path.endswith(".timer")}
    assert {} == of(fill(tmp_path / "c", without), "nm-cloud-setup")


# -- others -----------------------------------------------------------------------------------------------------------


def test_cloud_netconfigs_cleanup_takes_rules_with_a_foreign_source(tmp_path: Path) -> None:
    """CLOUD_NETCONFIG_MANAGE=no does not stop the cleanup, only the runs; the rule of an address that is here stays."""
    mine = Rule("10.0.1.10/32", 100, 100)
    node = fill(
        tmp_path,
        {"etc/sysconfig/network/ifcfg-eth1": f"CLOUD_NETCONFIG_MANAGE='no'\n{CLEANUP}"},
    )
    here = Observed(LINKS, (Seen(Address("eth1", "10.0.1.10/24")),))
    found = [t for t in threats(NodeView(node, (RULE, mine), here)) if t.who == "cloud-netconfig"]
    assert [((RULE,), OPEN)] == [(threat.items, threat.state) for threat in found]
    assert "/etc/sysconfig/network/ifcfg-eth1" in found[0].prevent


def test_without_its_cleanup_cloud_netconfig_is_not_a_threat(tmp_path: Path) -> None:
    """Commented out, or in a file that is none of its own."""
    files = {"etc/sysconfig/network/ifcfg-eth1": f"# {CLEANUP}", "etc/sysconfig/network/config": CLEANUP}
    assert {} == of(fill(tmp_path, files), "cloud-netconfig")


def test_a_udev_rule_calls_the_cleanup_too(tmp_path: Path) -> None:
    """At each removal of a NIC; a rule of that name in /etc that links to nothing hides it."""
    rule = {"usr/lib/udev/rules.d/51-x.rules": 'ACTION=="remove", RUN+="/usr/libexec/cloud-netconfig-cleanup"\n'}
    node = fill(tmp_path, rule)
    assert {RULE} == taken(node, "cloud-netconfig")
    fill(tmp_path, {"etc/udev/rules.d/51-x.rules": "->/dev/null"})
    assert set() == taken(node, "cloud-netconfig")


def test_dhclient_flushes_its_labels(tmp_path: Path) -> None:
    """The bare device's and :0 with the lease; :1 only when the router does not answer."""
    node = fill(tmp_path, {"proc/9/comm": "dhclient\n"})
    for label, exposed in (("", 2), ("eth0:0", 2), ("eth0:1", 1)):
        item = replace(OVERLAY, label=label)
        found = [t for t in threats(view(node, item)) if t.who == "dhclient" and item in t.items]
        assert exposed == len(found), label
    assert {} == of(fill(tmp_path / "b", {"sbin/dhclient": ""}), "dhclient")


def test_ifupdown_is_about_the_interfaces_that_it_names(tmp_path: Path) -> None:
    """The overlay's device is in a file of its own; the other one is nowhere."""
    files = {
        "etc/network/interfaces": "auto lo\niface lo inet loopback\n",
        "etc/network/interfaces.d/a": "iface eth0 inet dhcp\n",
    }
    assert {OVERLAY} == taken(fill(tmp_path, files), "ifupdown")
    # As Debian's images for EC2 name interfaces that udev finds.
    found = {"run/network/interfaces.d/eth1": "auto eth1\niface eth1 inet dhcp\n"}
    assert {OVERLAY, OUT, OUT6} == taken(fill(tmp_path, files, found), "ifupdown")


def test_network_scripts_are_not_asked_where_networkmanager_is(tmp_path: Path) -> None:
    """It takes over every ifcfg file but those that keep it away."""
    scripts = {
        "etc/sysconfig/network-scripts/ifup-post": "",
        "etc/sysconfig/network-scripts/ifcfg-eth0": "DEVICE=eth0\n",
    }
    assert {OVERLAY} == taken(fill(tmp_path / "a", scripts), "network-scripts")
    assert set() == taken(fill(tmp_path / "b", scripts, NM), "network-scripts")


def test_wicked_adds_again_only_what_its_file_names(tmp_path: Path) -> None:
    """It calls no script that POST_UP_SCRIPT does not name."""
    enabled = {"etc/systemd/system/multi-user.target.wants/wicked.service": "->/x"}
    ifcfg = "etc/sysconfig/network/ifcfg-eth1"
    for name, text, state in (("a", "", OPEN), ("b", "POST_UP_SCRIPT=compat:suse:ec2ident.eth1\n", RETURNS)):
        node = fill(tmp_path / name, enabled, {ifcfg: f"BOOTPROTO=dhcp\n{text}"})
        assert state == of(node, "wicked")[(OUT, OUT6)].state


def test_net_utils_1_thinks_that_tables_from_10000_are_its_own(tmp_path: Path) -> None:
    """What the agent has outside of them stays."""
    node = fill(tmp_path, {"etc/sysconfig/network-scripts/ec2net-functions": ""})
    inside = replace(RULE, table=10001)
    assert {inside} == taken(node, "amazon-ec2-net-utils 1", inside, RULE)


def test_wg_quick_takes_rules_that_look_past_the_default_route(tmp_path: Path) -> None:
    """Only a tunnel with a default route makes such rules, and Table = off none."""
    ours = Rule("10.0.1.0/24", 254, 23601, suppress=0)
    tunnel = "[Interface]\nPrivateKey = x\n{}[Peer]\nAllowedIPs = 0.0.0.0/0, ::/0\n"
    node = fill(tmp_path / "a", {"etc/wireguard/wg0.conf": tunnel.format("")})
    assert {ours} == taken(node, "wg-quick", ours, RULE)
    assert set() == taken(
        fill(tmp_path / "b", {"etc/wireguard/wg0.conf": tunnel.format("Table = off\n")}), "wg-quick", ours
    )
    narrow = "[Peer]\nAllowedIPs = 10.8.0.0/24\n"
    assert set() == taken(fill(tmp_path / "c", {"etc/wireguard/wg0.conf": narrow}), "wg-quick", ours)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_the_delete_that_wg_quick_repeats_hits_the_agents_first() -> None:
    """The kernel takes the pattern, and the agent's, with a source, comes before its own."""
    ip("rule add table main suppress_prefixlength 0")
    ip("rule add from 10.0.1.0/24 table main suppress_prefixlength 0 priority 23601 protocol 236")
    ip("rule delete table main suppress_prefixlength 0")

    left = ip("rule show")
    assert "from 10.0.1.0/24" not in left
    assert "from all lookup main suppress_prefixlength 0" in left


def test_the_vpc_cni_takes_over_every_interface_but_the_first(tmp_path: Path) -> None:
    """An overlay on the primary stays."""
    other = replace(OVERLAY, device="eth1", label="eth1:1")
    node = fill(tmp_path, {"etc/cni/net.d/10-aws.conflist": "{}"})
    assert {other} == taken(node, "amazon-vpc-cni", OVERLAY, other)


def test_a_replaced_address_takes_the_table_unless_secondaries_are_promoted(tmp_path: Path) -> None:
    """One switch for all devices, or one for each; where it cannot be told nothing is said."""
    paths = [f"proc/sys/net/ipv4/conf/{name}/promote_secondaries" for name in ("all", "eth1")]
    for name, values, state in (("a", "00", OPEN), ("b", "10", PREVENTED), ("c", "01", PREVENTED)):
        node = fill(tmp_path / name, dict(zip(paths, values)))
        assert state == of(node, "the kernel")[(OUT,)].state
    assert (OUT,) not in of(fill(tmp_path / "d"), "the kernel")


# -- all of them ------------------------------------------------------------------------------------------------------


def test_a_node_without_managers_has_only_the_kernel_to_fear(tmp_path: Path) -> None:
    """Nothing is invented."""
    assert {"the kernel"} == {threat.who for threat in threats(view(fill(tmp_path)))}
    assert [] == [t for t in threats(view(fill(tmp_path, NETWORKD, NM), OVERLAY)) if t.who == "the kernel"]


def test_watch_brings_everything_back(tmp_path: Path) -> None:
    """And what comes back and has no setting is nothing to do."""
    node = fill(tmp_path, NM, {f"etc/systemd/system/multi-user.target.wants/{WATCH}": "->/x"})
    assert {RETURNS} == {threat.state for threat in threats(view(node))}
    assert diagnose(view(node)).healthy


def test_a_hook_brings_back_what_its_own_manager_takes(tmp_path: Path) -> None:
    """Not what the kernel takes; another program's script of that name is not the agent's hook."""
    hook = "/etc/NetworkManager/dispatcher.d/90-ec2ident"
    node = fill(tmp_path, NM, {hook[1:]: ""})
    for laid, state in ((frozenset({hook}), RETURNS), (frozenset[str](), OPEN)):
        states = {(t.who, t.state) for t in threats(view(node, installed=laid))}
        assert {("NetworkManager", state), ("the kernel", OPEN)} == states


def test_the_culprit_is_named_with_what_stops_it(tmp_path: Path) -> None:
    """For who sees only that something goes again and again. Of several the one that was seen, else the first."""
    here = Observed(LINKS)
    both = fill(tmp_path / "a", NETWORKD, NM)
    found = culprits({RULE: "", OVERLAY: ""}, both, here)
    assert ["systemd-networkd"] * 2 == [found[item][0] for item in (RULE, OVERLAY)]
    assert "ManageForeignRoutingPolicyRules=no" in found[RULE][1]
    assert "systemctl restart systemd-networkd" in found[RULE][1]
    assert "KeepConfiguration=static" in found[OVERLAY][1]
    seen = culprits({RULE: "NetworkManager", OVERLAY: "NetworkManager"}, both, here)
    assert ["systemd-networkd", "NetworkManager"] == [seen[item][0] for item in (RULE, OVERLAY)]
    assert {} == culprits({RULE: ""}, fill(tmp_path / "c", NM), here)


# -- what is wrong now ------------------------------------------------------------------------------------------------


def wrong(root: Path, *seen: Seen, files: dict[str, str] | None = None, **fields: object) -> str:
    found = faults(NodeView(fill(root, files or {}), ITEMS, Observed(LINKS, seen), **fields))  # type: ignore[arg-type]
    return "\n".join(fault.what for fault in found)


@pytest.mark.parametrize(("priority", "told"), [(0, False), (20, False), (99, False), (100, True), (200, True)])
def test_a_rule_that_does_not_come_after_local_is_wrong(tmp_path: Path, priority: int, told: bool) -> None:
    """amazon-vpc-cni moves it to 20, which is before the agent's; Cilium to 100, which is the same as the agent's."""
    local = Rule("", 255, priority)
    assert told == ("rule of the table local" in wrong(tmp_path, Seen(local, 2)))
    assert "" == wrong(tmp_path, Seen(local, 2, ("inet6",)))


def test_a_table_that_other_software_takes_is_named(tmp_path: Path) -> None:
    """When that software is here, and the number is in its range."""
    files = {"usr/bin/setup-policy-routes": "", "opt/cni/bin/cilium-cni": ""}
    node = fill(tmp_path, files)
    for table, told in ((9999, 0), (10001, 1), (200, 1), (203, 0)):
        assert told == len(faults(view(node, replace(OUT, table=table)))), table


def test_an_overlay_routed_to_an_interface_without_a_profile_is_wrong(tmp_path: Path) -> None:
    """Its answers leave elsewhere; a strict filter drops even the requests."""
    profile = Profile("eth1", "eth1", ("10.0.1.0/24",), ("10.0.1.1",), 100, "", 100, "by-source", ("10.0.1.0/24",))
    overlays = (Overlay("192.168.10.10/32", "eth0", via="eth1"),)
    assert "" == wrong(tmp_path, overlays=overlays, profiles=(profile,))
    assert "has no [interface.eth1]" in wrong(tmp_path, overlays=overlays)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("10.0.1.77/32", True),
        ("10.0.2.77/32", True),
        ("10.1.0.1/32", False),
        ("192.168.1.1/32", False),
        ("fd00::1/128", False),
    ],
)
def test_an_overlay_inside_the_vpc_is_wrong(tmp_path: Path, address: str, told: bool) -> None:
    """The subnet's, or a range of the VPC that is known."""
    profile = Profile(
        "eth1", "eth1", ("10.0.1.0/24",), ("10.0.1.1",), 100, "", 100, "split", ("10.0.1.0/24",), ("10.0.0.0/16",)
    )
    found = wrong(tmp_path, overlays=(Overlay(address, "eth0"),), profiles=(profile,))
    assert told == ("lies inside the VPC" in found)


@pytest.mark.parametrize(
    ("process", "told"),
    [
        ("/usr/bin/python3\0/opt/venv/bin/ec2ident-agent\0watch\0", False),
        ("python3\0-m\0ec2ident_agent\0watch\0--wait\0" + "60\0", False),
        ("/usr/bin/python3\0/opt/venv/bin/ec2ident-agent\0status\0", True),
        ("watch\0-x\0ec2ident-agent\0status\0", True),
        ("", True),
    ],
)
def test_a_watch_that_is_enabled_and_does_not_run_is_wrong(tmp_path: Path, process: str, told: bool) -> None:
    """Near misses: another verb, another program; and an image, where nothing runs."""
    enabled = {f"etc/systemd/system/multi-user.target.wants/{WATCH}": "->/x", "proc/71/cmdline": process}
    (tmp_path / "node/run/systemd/system").mkdir(parents=True)
    assert told == any("does not run" in each.what for each in faults(view(fill(tmp_path / "node", enabled))))
    assert [] == faults(view(fill(tmp_path / "image", enabled)))


# -- files ------------------------------------------------------------------------------------------------------------


def test_hostile_files_say_nothing(tmp_path: Path) -> None:
    """Bytes that are not text, links in a circle, links that lead out, and directories where files belong."""
    node = fill(tmp_path, NETWORKD)
    conf = tmp_path / "etc/systemd/networkd.conf.d"
    conf.mkdir()
    (conf / "a.conf").write_bytes(b"\xff\xfe[Network\n=\n[Network]\n\0=\n")
    (conf / "b.conf").symlink_to("b.conf")
    (conf / "c.conf").symlink_to("../../../../../../../../etc/passwd")
    (conf / "d.conf").mkdir()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/1").write_text("no directory", encoding="ascii")

    assert set(ITEMS) == taken(node, "systemd-networkd")


@pytest.mark.parametrize(
    ("text", "value"), [("A=1\nA='no' # x\n", "no"), ("export A=no", "no"), ("#A=no", ""), ("AA=no", "")]
)
def test_a_shells_variable_is_its_last_assignment(text: str, value: str) -> None:
    """Without quotes and comments."""
    assert value == shell(text, "A")


def test_what_is_not_a_boolean_changes_nothing() -> None:
    """systemd passes over it; an empty value is the default again."""
    assert is_no({("N", "K"): ["no", "perhaps"]}, "N", "K")
    assert not is_no({("N", "K"): ["no", ""]}, "N", "K")
    assert not is_no({}, "N", "K")


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def doctor(tmp_path: Path) -> Path:
    """A root in trouble; `agent("doctor", "--root", ...)` is about it and this namespace."""
    root = tmp_path / "root"
    fill(root, NETWORKD)
    return root


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_fix_and_unfix_leave_the_tree_as_it_was(doctor: Path, agent: Agent) -> None:
    """Twice is once; what the fix can do is then no longer to do; and then nothing of the agent's is there."""
    before = listing(doctor)
    here = ("--root", str(doctor))
    assert 1 == agent("doctor", *here)
    assert "ManageForeignRoutingPolicyRules=no" in agent.out
    assert 1 == agent("doctor", "--fix", "--dry-run", *here)
    assert before == listing(doctor)

    assert 0 == agent("doctor", "--fix", *here)
    assert "now run: systemctl restart systemd-networkd" in agent.err
    fixed = listing(doctor)
    assert 0 == agent("doctor", "--fix", *here)
    assert (fixed, "") == (listing(doctor), agent.out)
    assert 0 == agent("doctor", "--fix", "networkd", *here)
    assert (fixed, "") == (listing(doctor), agent.out)
    assert 1 == agent("doctor", "--json", *here)
    states = {(each["who"], each["state"]) for each in json.loads(agent.out)["threats"] if each["files"]}
    assert {("systemd-networkd", PREVENTED)} == states

    assert 1 == agent("doctor", "--unfix", "--dry-run", *here)
    assert fixed == listing(doctor)
    dry = agent.out, agent.err
    assert 0 == agent("doctor", "--unfix", *here)
    assert before == listing(doctor)
    assert dry == (agent.out, agent.err)
    # A program that has read them uses them until it is told.
    assert ["networkctl reload", "systemctl restart systemd-networkd"] == [
        line.partition(": now run: ")[2] for line in agent.err.splitlines()
    ]
    assert 0 == agent("doctor", "--unfix", *here)
    assert ("", "") == (agent.out, agent.err)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_a_promoted_address_is_taken_back_by_its_number(
    doctor: Path, agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel keeps what sysctl told it; the file alone takes nothing back."""
    fill(doctor, {"proc/sys/net/ipv4/conf/eth1/promote_secondaries": "0\n"})
    here = ("--root", str(doctor))
    assert 0 == agent("doctor", "--fix", "--json", *here)
    assert "now run: sysctl -p /etc/sysctl.d/90-ec2ident-doctor.conf\n" in agent.err
    assert "install -m 0644 /dev/stdin /etc/sysctl.d/90-ec2ident-doctor.conf" in json.loads(agent.out)["steps"]

    assert 0 == main(["uninstall", *here])
    assert "now run: sysctl -w net.ipv4.conf.eth1.promote_secondaries=0\n" in capsys.readouterr().err


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_an_install_keeps_the_fix_and_an_uninstall_takes_it(doctor: Path, agent: Agent) -> None:
    """One manifest for both; in either order."""
    before = listing(doctor)
    here = ("--root", str(doctor))
    assert 0 == agent("doctor", "--fix", *here)
    files = fixes(doctor)
    assert 0 == main(["install", "--program", "/opt/agent", *here])
    assert files == fixes(doctor)
    with_both = [line.split()[0] for line in listing(doctor)]
    assert 0 == agent("doctor", "--unfix", *here)
    assert [] == fixes(doctor)
    assert 0 == agent("doctor", "--fix", *here)
    assert with_both == [line.split()[0] for line in listing(doctor)]

    assert 0 == main(["uninstall", *here])
    assert before == listing(doctor)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_an_administrators_file_is_neither_overwritten_nor_removed(doctor: Path, agent: Agent) -> None:
    """One that is there already: refused. One that the administrator changed: kept."""
    here = ("--root", str(doctor))
    theirs = doctor / "etc/systemd/networkd.conf.d/90-ec2ident-doctor.conf"
    theirs.parent.mkdir()
    theirs.write_text("# mine\n", encoding="ascii")
    assert 4 == agent("doctor", "--fix", *here)
    assert "not installed by ec2ident-agent" in agent.err
    assert "# mine\n" == theirs.read_text(encoding="ascii")
    theirs.unlink()

    assert 0 == agent("doctor", "--fix", *here)
    theirs.write_text("# changed\n", encoding="ascii")
    assert 0 == agent("doctor", "--unfix", *here)
    assert "kept, changed" in agent.err
    assert "# changed\n" == theirs.read_text(encoding="ascii")


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_what_switches_a_tool_off_is_written_only_by_name(doctor: Path, agent: Agent) -> None:
    """nm-cloud-setup configures secondary addresses; that is not for the agent to remove unasked."""
    fill(doctor, CLOUD_SETUP)
    here = ("--root", str(doctor))
    path = doctor / "etc/systemd/system/nm-cloud-setup.service.d/90-ec2ident-doctor.conf"
    assert 0 == agent("doctor", "--fix", *here)
    assert not path.exists()
    assert 0 == agent("doctor", "--fix", "nm-cloud-setup", *here)
    assert "NM_CLOUD_SETUP_EC2=no" in path.read_text(encoding="ascii")


@pytest.mark.root
@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fix", "--unfix"), "not both"),
        (("eth1",), "names of programs need --fix"),
        (("--fix", "nobody"), "threatens nothing here"),
        (("--fix", "--table", "3"), "not an option of doctor"),
    ],
)
def test_a_wrong_command_line_is_2(doctor: Path, agent: Agent, words: tuple[str, ...], said: str) -> None:
    """And nothing is written."""
    before = listing(doctor)
    assert 2 == agent("doctor", *words, "--root", str(doctor))
    assert said in agent.err
    assert before == listing(doctor)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_plan_apply_and_status_warn_of_an_overlay_inside_the_vpc(agent: Agent) -> None:
    """It is installed all the same: the administrator may know better."""
    agent.write(CONFIGURATION.replace("192.168.10.10/32", "10.0.1.77/32"))
    for verb in ("plan", "apply", "status"):
        agent(verb)
        assert "overlay 10.0.1.77/32 lies inside the VPC's own 10.0.1.0/24" in agent.err
    agent.write(CONFIGURATION)
    agent("status")
    assert "inside" not in agent.err


@pytest.mark.root
def test_what_an_ordinary_user_may_not_read_is_not_nothing(open_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 3 and the place, instead of "nothing to do"; root is told that."""
    fill(open_path / "root", {"etc/wireguard/wg0.conf": "[Peer]\nAllowedIPs = ::/0\n"})
    (open_path / "root/etc/wireguard").chmod(0o700)
    tree = RootFs(str(open_path / "root"))

    def doctor() -> int:
        return command(tree, lambda tree: view(NodeFiles(tree), RULE), say=say, log=log)

    assert 0 == doctor()
    assert "nothing to do" in capfd.readouterr().out

    assert 3 == ordinary_user.exit_code(doctor)
    out, err = capfd.readouterr()
    assert "could not tell: nothing to do according to the files that may be read\n" == out
    assert "ec2ident-agent: /etc/wireguard: Permission denied (needs root): what is said there is not known\n" == err


def test_what_people_read_says_who_when_what_and_how(tmp_path: Path) -> None:
    """In this order; and what is prevented in one line."""
    conf = {CONF: "[Network]\nManageForeignRoutes=no\n"}
    text = "\n".join(lines(diagnose(view(fill(tmp_path, NETWORKD, conf)))))
    first = text[: text.index("\n\n")].splitlines()
    assert "systemd-networkd deletes 1 rule of the agent's" == first[0]
    assert ["when", "what", "after", "prevent", "then"] == [line.split(":")[0].split()[0] for line in first[1:]]
    assert "1 route kept, ManageForeignRoutes=no" in text


def fixes(root: Path) -> list[str]:
    return [line for line in listing(root) if line.split()[0].endswith("-doctor.conf")]


def listing(root: Path) -> list[str]:
    """Every path, with the content of files and the mode."""
    found = []
    for path in sorted(root.rglob("*")):
        content = path.read_text(encoding="utf-8") if path.is_file() and not path.is_symlink() else ""
        found.append(f"{path.relative_to(root)} {path.lstat().st_mode:o} {content!r}")
    return found
