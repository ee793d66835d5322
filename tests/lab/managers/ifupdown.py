"""ifupdown with ISC dhclient: Debian's own way, and in spirit Alpine's and RHEL 7's.

The kernel itself takes the default route of IPv6 from router advertisements.
"""

from __future__ import annotations

from tests.lab.dhcp import HOSTS
from tests.lab.vpc import Vpc

from .manager import WithoutDaemon

_INTERFACES = """auto lo
iface lo inet loopback
{stanzas}"""

_DHCP = """
iface {name} inet dhcp
    metric {metric}
"""

_STATIC = """
iface {name} inet static
    address {address}/24
    gateway {router}
    metric {metric}
"""

_INET6 = """
iface {name} inet6 static
    address {address6}/128
    dad-attempts 0
"""


class Ifupdown(WithoutDaemon):
    """`up` and `down` call ifup and ifdown, as udev and the init script do."""

    packages = ("ifupdown", "isc-dhcp-client")
    hooks = "/etc/network"
    events = ("renew_lease", "ifdown_ifup", "link_flap")

    def __init__(self, vpc: Vpc, *, renew_after: int = 1800, static: bool = False) -> None:
        super().__init__(vpc, renew_after=renew_after)
        self._stanza = (_STATIC if static else _DHCP) + _INET6

    def prepare(self) -> None:
        stanzas = [
            self._stanza.format(
                name=f"eth{number}", metric=512 + number, address=eni.address, router=eni.router, address6=eni.address6
            )
            for number, eni in enumerate(self.dhcp.known[:: len(HOSTS)])
        ]
        self.machine.write("/etc/network/interfaces", _INTERFACES.format(stanzas="".join(stanzas)))
        phases = ("pre-up", "up", "down", "post-down")
        self.machine.make_directories("/var/lib/dhcp", *(f"/etc/network/if-{phase}.d" for phase in phases))

    def begin(self) -> None:
        self.machine.read("ifup", "lo")

    def up(self, name: str) -> None:
        self.machine.read("ifup", name)
        self.wait_configured(name)

    def down(self, name: str) -> None:
        """Take an interface down; what of it cannot be done without a device is passed over."""
        self.machine.run("ifdown", "--force", name)
