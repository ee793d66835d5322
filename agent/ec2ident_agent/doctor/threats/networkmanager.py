"""What NetworkManager deletes, also on behalf of nm-cloud-setup."""

from __future__ import annotations

from ec2ident_agent.doctor.node_files import YES, is_no, last, named, shell
from ec2ident_agent.install.layout import FIX
from ec2ident_agent.items import Address, Route

from .node_view import DropIn, Threat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ec2ident_agent.doctor.node_files import NodeFiles
    from ec2ident_agent.items import Link

    from .node_view import NodeView

_NM = "NetworkManager"
_CLOUD_SETUP = "nm-cloud-setup.service"
_UNIT_FIX = f"/etc/systemd/system/{_CLOUD_SETUP}.d/{FIX}"


def is_here(node: NodeFiles) -> bool:
    """True if NetworkManager is enabled or runs."""
    return node.enabled("NetworkManager.service") or node.runs(_NM)


def network_manager(view: NodeView) -> Iterator[Threat]:
    """When it applies a device's profile again, it deletes what the profile does not name. It never changes rules.

    A reapply deletes addresses; a modify and an activation delete routes as well. No setting spares foreign objects of
    a device that it manages; a device can be excluded (NetworkManager.conf(5), keyfile.unmanaged-devices).
    """
    node = view.files
    if not is_here(node):
        return
    conf, back = node.network_manager_conf(), view.back("networkmanager")
    for link in view.devices():
        reason = unmanaged(node, conf, link)
        prevent = (
            "no setting that keeps its DHCP; ec2ident-agent install adds the hook and watch, which add them again."
            f" Where something else configures {link.name}: unmanaged-devices=interface-name:{link.name} in [keyfile]"
            " of a file in /etc/NetworkManager/conf.d, which sets the link down once"
        )
        losses = (
            ("nmcli device reapply, device modify or connection up of", view.of(Address, link.name)),
            ("nmcli device modify or connection up, device disconnect of", view.of(Route, link.name)),
        )
        for event, items in losses:
            yield Threat(_NM, f"{event} {link.name}", items, prevent, reason, back)
        yield from _cloud_setup(view, link, reason, back)


def _cloud_setup(view: NodeView, link: Link, reason: str, back: str) -> Iterator[Threat]:
    """nm-cloud-setup modifies the device every five minutes, once NM_CLOUD_SETUP_EC2=yes (nm-cloud-setup(8))."""
    node = view.files
    if not node.enabled("nm-cloud-setup.timer") and not node.enabled(_CLOUD_SETUP):
        return
    words = " ".join(node.unit_settings(_CLOUD_SETUP).get(("Service", "Environment"), [])).replace('"', " ").split()
    values = [word.partition("=")[2].lower() for word in words if word.startswith("NM_CLOUD_SETUP_EC2=")]
    on = bool(values) and values[-1] in YES
    yield Threat(
        "nm-cloud-setup",
        f"its timer, every 5 minutes, when the addresses of {link.name} change",
        view.on(link.name),
        f"NM_CLOUD_SETUP_EC2=no in [Service] of {_UNIT_FIX}",
        reason or ("" if on else "NM_CLOUD_SETUP_EC2 is not yes"),
        back,
        (
            DropIn(
                _UNIT_FIX,
                "# Written by ec2ident-agent doctor --fix, removed by doctor --unfix.\n"
                "[Service]\nEnvironment=NM_CLOUD_SETUP_EC2=no\n",
                "secondary addresses of the ENIs are no longer configured by it",
            ),
        ),
        "systemctl daemon-reload",
    )


def unmanaged(node: NodeFiles, conf: dict[tuple[str, str], list[str]], link: Link) -> str:
    """The setting by which NetworkManager does not manage this device; empty if it does."""
    specs = ";".join([last(conf, "keyfile", "unmanaged-devices"), *conf.get(("keyfile", "unmanaged-devices+"), [])])
    if _listed(specs, link):
        return f"unmanaged-devices={specs.strip(';')}"
    for section in dict.fromkeys(section for section, _ in conf if section.startswith("device")):
        if is_no(conf, section, "managed") and _listed(last(conf, section, "match-device", "*"), link):
            return f"managed=no in [{section}]"
    plugins = last(conf, "main", "plugins").replace(",", ";").split(";")
    managed = last(conf, "ifupdown", "managed", "no").lower() in YES
    if "ifupdown" in plugins and not managed and link.name in node.interfaces():
        return "managed=no in [ifupdown]"
    ifcfg = f"/etc/sysconfig/network-scripts/ifcfg-{link.name}"
    return f"NM_CONTROLLED=no in {ifcfg}" if shell(node.text(ifcfg), "NM_CONTROLLED").lower() == "no" else ""


def _listed(specs: str, link: Link) -> bool:
    """NetworkManager.conf(5), "Device List Format"."""
    plain = [spec.strip() for spec in specs.replace(",", ";").split(";") if spec.strip()]
    excepted = any(_device_spec(spec[7:], link) for spec in plain if spec.startswith("except:"))
    return not excepted and any(_device_spec(spec, link) for spec in plain if not spec.startswith("except:"))


def _device_spec(spec: str, link: Link) -> bool:
    kind, _, pattern = spec.partition(":")
    if spec == "*":
        return True
    if kind == "interface-name":
        return link.name == pattern[1:] if pattern.startswith("=") else named([pattern.lstrip("~")], [link.name])
    return kind == "mac" and pattern.lower() == link.mac
