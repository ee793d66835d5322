"""The VPC's DHCP and router advertisements, by dnsmasq: every interface gets the address that its ENI has."""

from __future__ import annotations

import time
from contextlib import ExitStack

from .enclosure import Enclosure, wait_until
from .eni import Eni
from .packages import tree
from .vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

#: Subnets that have a DHCP range, and the hosts in each that have a fixed address.
SUBNETS = range(5)
HOSTS = range(10, 14)


class Dhcp:
    """dnsmasq at the router's ports, for interfaces that are there and for those that come.

    A lease is renewed after `renew_after` seconds, which EC2 does after half an hour: tests do not wait that long.
    """

    def __init__(self, vpc: Vpc, *, renew_after: int = 1800) -> None:
        self._machine = Enclosure(vpc.router, tree("dnsmasq-base"))
        self._renew_after = renew_after
        #: The interfaces that get the addresses of their own: the first few of each subnet.
        self.known = [Eni(f"eth{subnet}", subnet, host) for subnet in SUBNETS for host in HOSTS]
        self._inside = ExitStack()

    def __enter__(self) -> Dhcp:
        with ExitStack() as until_it_runs:
            until_it_runs.enter_context(self._machine)
            self._machine.start("dnsmasq", *self._options(), log="dnsmasq")
            wait_until(lambda: "started" in self.log(), "dnsmasq runs")
            self._inside = until_it_runs.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._inside.close()

    def log(self) -> str:
        return self._machine.text("/run/dnsmasq.log")

    def leases_given(self, eni: Eni) -> int:
        """How often an interface was given its IPv4 lease, renewals included."""
        return sum("DHCPACK(" in line and eni.mac in line for line in self.log().splitlines())

    def wait_for_renewal(self, eni: Eni, patience: float = 30) -> None:
        """Wait until the client renews its lease by itself."""
        before = self.leases_given(eni)
        wait_until(lambda: self.leases_given(eni) > before, f"{eni.name} renews its lease", patience)
        # The acknowledgement is on its way; the client and its hooks act on it now.
        time.sleep(0.2)

    def _options(self) -> list[str]:
        fixed = "--keep-in-foreground --log-facility=- --log-dhcp --port=0 --conf-file=/dev/null --no-hosts --no-resolv"
        listening = "--bind-dynamic --interface=to-* --user=root --pid-file= --leasefile-ro --dhcp-authoritative"
        times = [f"--dhcp-option=option:T1,{self._renew_after}s", f"--dhcp-option=option:T2,{self._renew_after * 2}s"]
        first = self.known[:: len(HOSTS)]
        return [
            *f"{fixed} {listening} --enable-ra".split(),
            *times,
            *(f"--dhcp-range={eni.address},{eni.in_subnet(99)},255.255.255.0,1h" for eni in first),
            *(f"--dhcp-range={eni.address6},{eni.in_subnet6(HOSTS[-1])},64,1h" for eni in first),
            *(f"--dhcp-host={eni.mac},{eni.address},[{eni.address6}]" for eni in self.known),
        ]
