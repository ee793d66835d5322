"""NetworkManager with its dispatcher: RHEL and its kin, SLES 16, and many a desktop."""

from __future__ import annotations

from tests.lab.enclosure import wait_until

from .manager import Manager, start_bus

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

#: `match-device=*`: by default NetworkManager leaves virtual links such as these alone.
_CONFIGURATION = """[main]
plugins=keyfile
auth-polkit=false
dhcp=internal
dns=none
rc-manager=unmanaged
hostname-mode=none
no-auto-default=
[device]
match-device=*
managed=1
[logging]
level=INFO
"""

_PROFILE = """[connection]
id={name}
type=ethernet
interface-name={name}
autoconnect=true
[ipv4]
method=auto
route-metric={metric}
[ipv6]
method=auto
addr-gen-mode=eui64
route-metric={metric}
"""


_PHASES = ("pre-up", "up", "down", "post-down")


class NetworkManager(Manager):
    """Activates a profile for every ethN that comes."""

    packages = ("network-manager", "dbus")
    hooks = "/etc/NetworkManager/dispatcher.d"
    events = ("renew_lease", "reapply", "modify", "connection_up", "link_flap", "restart")

    def prepare(self) -> None:
        self.machine.make_directories("/run/NetworkManager", "/run/udev/data", "/var/lib/NetworkManager")
        # The package's own dispatcher script runs what is in if-up.d and the like, and expects the directories.
        self.machine.make_directories(*(f"/etc/network/if-{each}.d" for each in _PHASES))
        self.machine.write("/etc/NetworkManager/NetworkManager.conf", _CONFIGURATION)
        for number in range(5):
            profile = _PROFILE.format(name=f"eth{number}", metric=512 + number)
            self.machine.write(f"/etc/NetworkManager/system-connections/eth{number}.nmconnection", profile, mode=0o600)

    def begin(self) -> None:
        start_bus(self.machine)
        # The bus would start it through systemd, which is not there.
        self.machine.start("/usr/lib/NetworkManager/nm-dispatcher", "--persist", "--debug", log="dispatcher")
        self._start_manager()

    def reapply(self, name: str) -> None:
        """Have the profile applied to the device again."""
        self.machine.read("nmcli", "device", "reapply", name)
        self.wait_configured(name)

    def modify(self, name: str) -> None:
        """Change the device's settings at run time, as nm-cloud-setup does: one more address."""
        subnet = self.vpc.enis[name].subnet_number
        self.machine.read("nmcli", "device", "modify", name, "+ipv4.addresses", f"10.0.{subnet}.100/24")
        self.wait_configured(name)

    def connection_up(self, name: str) -> None:
        """Activate the profile anew."""
        self.machine.read("nmcli", "--wait", "20", "connection", "up", name)
        self.wait_configured(name)

    def restart(self, name: str) -> None:
        """Restart the daemon, as an upgrade of the package does."""
        self.machine.stop(self._manager)
        self._start_manager()
        self.wait_configured(name)

    def configured(self, name: str) -> bool:
        state = self.machine.run("nmcli", "-g", "GENERAL.STATE", "device", "show", name).stdout
        return super().configured(name) and state.startswith("100 ")

    def _start_manager(self) -> None:
        self._manager: subprocess.Popen[str] = self.machine.start(
            "NetworkManager", "--no-daemon", "--state-file=/run/NetworkManager/state", log="manager"
        )
        wait_until(lambda: self.machine.run("nmcli", "general").returncode == 0, "NetworkManager answers")
