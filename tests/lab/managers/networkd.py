"""systemd-networkd with networkd-dispatcher: Debian and Ubuntu cloud images, Amazon Linux 2023 (without dispatcher)."""

from __future__ import annotations

from tests.lab.enclosure import wait_until

from .manager import Manager, start_bus

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

_NETWORK = """[Match]
Name={name}
[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
[DHCPv4]
RouteMetric={metric}
[IPv6AcceptRA]
RouteMetric={metric}
"""

_DIRECTORIES = ("system", "network", "netif/links", "netif/leases", "netif/lldp")


class Networkd(Manager):
    """Configures every ethN that comes; `reconfigure` is what it does on its own after many changes."""

    packages = ("networkd-dispatcher", "systemd", "dbus")
    hooks = "/etc/networkd-dispatcher"
    events = ("renew_lease", "reload", "reconfigure", "link_flap", "restart")

    def prepare(self) -> None:
        self.machine.make_directories(*(f"/run/systemd/{each}" for each in _DIRECTORIES))
        self._give_to_networkd()
        for number in range(5):
            text = _NETWORK.format(name=f"eth{number}", metric=512 + number)
            self.machine.write(f"/etc/systemd/network/50-eth{number}.network", text)

    def begin(self) -> None:
        start_bus(self.machine)
        self._start_networkd()
        self._dispatcher: subprocess.Popen[str] | None = None
        self.start_dispatcher()

    def start_dispatcher(self) -> None:
        """Start networkd-dispatcher as Debian's unit does; it reads its directories at each event."""
        self._dispatcher = self.machine.start("networkd-dispatcher", "--run-startup-triggers", "-v", log="dispatcher")
        wait_until(lambda: "Startup complete" in self.machine.text("/run/dispatcher.log"), "networkd-dispatcher runs")

    def reload(self, name: str) -> None:
        """Have all files read again, of which none has changed."""
        self.machine.read("networkctl", "reload")
        self.wait_configured(name)

    def reconfigure(self, name: str) -> None:
        """Have an interface configured anew: foreign objects go."""
        self.machine.read("networkctl", "reconfigure", name)
        self.wait_configured(name)

    def renew_lease(self, name: str) -> None:
        before = self.dhcp.leases_given(self.vpc.enis[name])
        self.machine.read("networkctl", "renew", name)
        wait_until(lambda: self.dhcp.leases_given(self.vpc.enis[name]) > before, f"{name} renews its lease")

    def restart(self, name: str) -> None:
        """Restart the daemon, as an upgrade of the package does."""
        self.machine.stop(self._networkd)
        self._start_networkd()
        self.wait_configured(name)

    def configured(self, name: str) -> bool:
        status = self.machine.run("networkctl", "--no-pager", "--no-legend", "list", name).stdout.split()
        return super().configured(name) and status[-1:] == ["configured"]

    def _start_networkd(self) -> None:
        log = {"SYSTEMD_LOG_TARGET": "console", "SYSTEMD_LOG_LEVEL": "info"}
        self._networkd = self.machine.start("/usr/lib/systemd/systemd-networkd", log="networkd", env=log)
        wait_until(lambda: self.machine.run("networkctl", "list").returncode == 0, "networkd answers")

    def _give_to_networkd(self) -> None:
        """The daemon drops to this user, which exists only where systemd is installed."""
        passwd = self.machine.text("/etc/passwd")
        if "systemd-network:" not in passwd:
            self.machine.write("/etc/passwd", f"{passwd}systemd-network:x:998:998::/:/usr/sbin/nologin\n")
            self.machine.write("/etc/group", f"{self.machine.text('/etc/group')}systemd-network:x:998:\n")
        self.machine.read("chown", "-R", "systemd-network:systemd-network", "/run/systemd/netif")
