"""What every network manager can be asked to do, so that one test runs against all of them."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.lab.dhcp import Dhcp
from tests.lab.enclosure import Enclosure, wait_until
from tests.lab.eni import ROUTER6, Eni
from tests.lab.packages import tree
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from types import TracebackType
    from typing import Any, ClassVar

    from typing_extensions import Self


class Manager:
    """A node that a network manager configures, by DHCP, while the `with` block lasts; eth0 is up from the start.

    `events` names the methods, each taking an interface's name, that make the manager do its work again.
    """

    packages: ClassVar[tuple[str, ...]]
    #: Where this manager looks for hooks, as tests of installed hooks want to know.
    hooks: ClassVar[str]
    events: ClassVar[tuple[str, ...]] = ()

    def __init__(self, vpc: Vpc, *, renew_after: int = 1800) -> None:
        self.vpc = vpc
        self.dhcp = Dhcp(vpc, renew_after=renew_after)
        self.machine = Enclosure(vpc.node, tree(*self.packages) if self.packages else None)
        self._inside = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as until_it_runs:
            until_it_runs.enter_context(self.dhcp)
            until_it_runs.enter_context(self.machine)
            self.prepare()
            self.begin()
            self.up("eth0")
            self._inside = until_it_runs.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._inside.close()

    # What each manager does its own way

    def prepare(self) -> None:
        """Write the configuration, before anything runs."""
        raise NotImplementedError

    def begin(self) -> None:
        """Start the daemons."""
        raise NotImplementedError

    def up(self, name: str) -> None:
        """See to it that an interface is configured, and wait until it is."""
        self.wait_configured(name)

    def renew_lease(self, name: str) -> None:
        """Have the lease renewed, or wait until it is."""
        self.dhcp.wait_for_renewal(self.vpc.enis[name])

    # What is the same for all

    def attach(self, name: str, **how: Any) -> Eni:
        """Attach an interface, and wait until the manager has configured it."""
        eni = self.vpc.attach(name, **how)
        self.up(name)
        return eni

    def detach(self, name: str) -> None:
        """Take an interface away. The manager learns of it from the kernel."""
        self.vpc.detach(name)

    def link_flap(self, name: str) -> None:
        """Take a link down and up again, and wait until it is configured anew."""
        self.flap(name)
        self.wait_configured(name)

    def flap(self, name: str) -> None:
        """Take a link down and up again; between them a moment, or a manager may see the end alone."""
        self.vpc.node.ip(f"link set {name} down")
        time.sleep(0.3)
        self.vpc.node.ip(f"link set {name} up")

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program on the node, and wait for it."""
        return self.machine.run(*argv, **options)

    def hook(self, directory: str, name: str, script: str) -> None:
        """Write an executable file into a directory, as an installer would."""
        self.machine.write(f"{directory}/{name}", script, 0o755)

    def configured(self, name: str) -> bool:
        """Whether an interface has the addresses and default routes of both families."""
        eni = self.vpc.enis[name]
        addresses = self.vpc.node.run("ip", "-o", "address", "show", "dev", name).stdout
        routes = self.vpc.node.run("ip", "-4", "route", "show", "default", "dev", name).stdout
        routes += self.vpc.node.run("ip", "-6", "route", "show", "default", "dev", name).stdout
        wanted = (f"inet {eni.address}/", f"inet6 {eni.address6}/", f"via {eni.router} ", f"via {ROUTER6} ")
        return all(each in addresses + routes for each in wanted) and "tentative" not in addresses

    def wait_configured(self, name: str, patience: float = 30) -> None:
        wait_until(lambda: self.configured(name), f"{name} is configured", patience)

    def settle(self, patience: float = 30, quiet: float = 1.0) -> str:
        """Wait until the node's network has not changed for `quiet` seconds, and return its snapshot."""
        deadline = time.monotonic() + patience
        last, since = self.vpc.node.snapshot(), time.monotonic()
        while time.monotonic() - since < quiet and time.monotonic() < deadline:
            time.sleep(0.1)
            now = self.vpc.node.snapshot()
            if now != last:
                last, since = now, time.monotonic()
        return last


class WithoutDaemon(Manager):
    """A manager that does what it is told and keeps nothing running that would look after an interface."""

    events: ClassVar[tuple[str, ...]] = ("ifdown_ifup", "link_flap")

    def begin(self) -> None:
        """Nothing runs."""

    def down(self, name: str) -> None:
        """Take an interface down, as the administrator does."""
        raise NotImplementedError

    def ifdown_ifup(self, name: str) -> None:
        """Down and up again."""
        self.down(name)
        self.up(name)

    def detach(self, name: str) -> None:
        """Take an interface away. udev then has it taken down, without a device to take down."""
        super().detach(name)
        self.down(name)

    def link_flap(self, name: str) -> None:
        """Take a link down and up: no manager notices, so IPv6 addresses and IPv4 routes stay away."""
        self.flap(name)
        wait_until(lambda: "state UP" in self.vpc.node.read("ip", "link", "show", name), f"{name} has a carrier")


#: A bus without rules: who may own and send what is not what these tests are about.
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_type="method_call"/> <allow send_type="signal"/>
    <allow send_requested_reply="true"/> <allow receive_requested_reply="true"/> <allow receive_type="signal"/>
    <allow receive_type="method_call"/> <allow receive_type="method_return"/> <allow receive_type="error"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"""


def start_bus(machine: Enclosure) -> None:
    """Start a D-Bus system bus inside, and wait until it listens."""
    machine.make_directories("/run/dbus")
    machine.write("/run/dbus.conf", _BUS)
    machine.start("dbus-daemon", "--config-file=/run/dbus.conf", "--nofork", "--nopidfile", log="dbus")
    wait_until(lambda: machine.path("/run/dbus/system_bus_socket").exists(), "the system bus listens")
