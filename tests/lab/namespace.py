"""Network namespaces: make one, work inside it, read its whole state, remove it.

They are named, as `ip netns` names them, so that a person can look inside while a test sleeps:
`ip -n NAME route`, `ip netns exec NAME ...`.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import itertools
import os
import re
import signal
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Where iproute2 keeps the names; compiled into it.
NAMES = Path("/run/netns")

#: From <linux/sched.h>. `os.setns` has it from Python 3.12 on.
CLONE_NEWNET = 0x40000000

#: From <linux/sockios.h>, <linux/if.h> and <linux/ethtool.h>; netdevice(7).
SIOCGIFFLAGS = 0x8913
SIOCETHTOOL = 0x8946
ETHTOOL_GLINK = 0x0A
IFF_UP = 0x1
IFF_RUNNING = 0x40
#: From <linux/if_addr.h> (IFA_F_TENTATIVE): the kernel still looks for another node with the same address.
TENTATIVE = 0x40

_libc = ctypes.CDLL(None, use_errno=True)
_counter = itertools.count()

#: What counts down by itself: lifetimes of leased addresses, of router advertisements and of cached routes.
_LIFETIMES = re.compile(r"((?:valid|preferred)_lft|expires|age) \d+sec")


class LabError(Exception):
    """The laboratory itself is broken: a command of its own failed. Never the answer to a test's question."""


def ip(*lines: str, namespace: str = "") -> None:
    """Run lines as `ip` would each, `-6 rule ...` included, few processes for many. Raises LabError with the line."""
    where = ["-n", namespace] if namespace else []
    for family, group in itertools.groupby(lines, key=_family):
        _batch([*family, *where], [line[len("-6 ") if family else 0 :] for line in group])


def _family(line: str) -> tuple[str, ...]:
    return tuple(line.split()[:1]) if line.startswith(("-4 ", "-6 ")) else ()


def _batch(options: list[str], lines: list[str]) -> None:
    """A batch stops at the first line that fails, and names it by its number."""
    done = subprocess.run(
        ["ip", *options, "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=30
    )
    if done.returncode:
        number = re.search(r"Command failed -:(\d+)", done.stderr)
        line = lines[int(number[1]) - 1] if number else "; ".join(lines)
        raise LabError(f"ip {' '.join([*options, line])}: {done.stderr.strip().splitlines()[0]}")


def unique(role: str) -> str:
    """A name that no other laboratory has: the process's number and a counter are in it."""
    return f"lab-{os.getpid()}-{next(_counter)}-{role}"


class Namespace:
    """One network namespace, known by name, with everything that happens inside it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def path(self) -> Path:
        return NAMES / self.name

    @staticmethod
    def add_all(*namespaces: Namespace) -> None:
        """Make several at once, with their loopback up."""
        ip(*(f"netns add {namespace.name}" for namespace in namespaces))
        for namespace in namespaces:
            namespace.ip("link set lo up")

    @staticmethod
    def remove_all(*namespaces: Namespace) -> None:
        """End every process inside and remove the names. Those that are gone already are passed over."""
        there = [namespace for namespace in namespaces if namespace.path.exists()]
        for namespace in there:
            namespace.end_processes()
        if there:
            ip(*(f"netns delete {namespace.name}" for namespace in there))

    def ip(self, *lines: str) -> None:
        """Run `ip` lines inside: `node.ip("link set eth1 up", "-6 rule add from 2001:db8::/64 lookup 100")`."""
        ip(*lines, namespace=self.name)

    def command(self, *argv: str) -> list[str]:
        """The command line that runs argv inside, with a /sys that shows this namespace's interfaces."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program inside and wait; never raises for its exit code. Options are those of `subprocess.run`."""
        return subprocess.run(self.command(*argv), capture_output=True, text=True, timeout=timeout, **options)

    def read(self, *argv: str) -> str:
        """The output of a program that must succeed. Raises LabError with what it said."""
        done = self.run(*argv)
        if done.returncode:
            raise LabError(f"{' '.join(argv)} in {self.name}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program inside and do not wait. It ends with the namespace at the latest."""
        return subprocess.Popen(self.command(*argv), text=True, **options)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is inside; a socket made here stays inside for its whole life.

        Other threads do not notice. /sys keeps showing the interfaces of where the process was started.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _set_namespace(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _set_namespace(home)
        finally:
            os.close(home)

    def sysctl(self, settings: dict[str, object]) -> None:
        """Set kernel parameters by their path under /proc/sys/net, in order: `sysctl({"ipv4/ip_forward": 1})`.

        Raises LabError for one that this kernel does not have, which is IPv6 where it was switched off at boot.
        """
        with self.entered():
            for path, value in settings.items():
                try:
                    Path("/proc/sys/net", path).write_text(f"{value}\n", encoding="ascii")
                except FileNotFoundError:
                    raise LabError(f"{path}: this kernel has no such parameter") from None

    def wait_running(self, device: str, patience: float = 5.0) -> None:
        """Wait until a link that is up carries packets, and the IPv6 addresses here are heard.

        The kernel starts its queue a moment after `link set up`, and what is sent earlier is lost. Raises LabError when
        it takes too long.
        """
        deadline = time.monotonic() + patience
        with self.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16sH14x", device.encode("ascii"), 0)
            while not struct.unpack_from("H", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)[0] & IFF_RUNNING:
                if time.monotonic() > deadline:
                    raise LabError(f"{device} in {self.name}: no carrier after {patience} s")
                time.sleep(0.001)
            _wait_for_kernel_routes()

    def snapshot(self) -> str:
        """Every rule, route and address of both families as text, for a byte-equal comparison.

        Numbers in place of names, so that a name added to rt_tables makes no difference; without what counts down by
        itself.
        """
        with self.entered():
            _wait_for_kernel_routes()
        return "".join(f"# IPv{family}\n{self._state(family)}" for family in (4, 6))

    def settle(self, patience: float = 30) -> None:
        """Wait until the kernel has finished with every IPv6 address, also with looking for duplicates of it.

        Raises LabError with the addresses that are still tentative.
        """
        deadline = time.monotonic() + patience
        with self.entered():
            while waiting := [words for words in _table("if_inet6") if int(words[4], 16) & TENTATIVE]:
                if time.monotonic() > deadline:
                    raise LabError(f"{self.name}: after {patience} s still tentative: {waiting}")
                time.sleep(0.02)

    def _state(self, family: int) -> str:
        dump = "rule show\nroute show table all\naddress show\n"
        done = subprocess.run(
            ["ip", f"-{family}", "-n", self.name, "-N", "-d", "-o", "-batch", "-"],
            input=dump,
            capture_output=True,
            text=True,
            timeout=30,
        )
        if done.returncode:
            raise LabError(f"snapshot of {self.name}: {done.stderr.strip()}")
        lines = _LIFETIMES.sub(r"\1 -", done.stdout).splitlines(keepends=True)
        # The kernel's own multicast routes stand in the order in which links happened to come up.
        return "".join(sorted(lines, key=lambda line: line if re.search(r"\bff00::/8 dev ", line) else ""))

    def pids(self) -> list[int]:
        """The processes with this network namespace, but for this very process (of which a thread may visit)."""
        found = ip_output("netns", "pids", self.name) if self.path.exists() else ""
        return [pid for pid in map(int, found.split()) if pid != os.getpid()]

    def end_processes(self, patience: float = 2.0) -> None:
        """Ask every process inside to end, and kill what is left after `patience` seconds."""
        deadline = time.monotonic() + patience
        sign = signal.SIGTERM
        while True:
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                _signal(pid, sign)
            if time.monotonic() > deadline + patience:
                raise LabError(f"{self.name}: processes {pids} do not end")
            sign = signal.SIGKILL if time.monotonic() > deadline else sign
            time.sleep(0.02)


def _wait_for_kernel_routes(patience: float = 3.0) -> None:
    """Wait for the routes that the kernel adds in the background, for a new IPv6 address or a link that came up.

    Some never come (the link went down in between), so this gives up without an error.
    """
    deadline = time.monotonic() + patience
    while (_addresses6() - _local_routes6() or _links6() - _multicast_links6()) and time.monotonic() < deadline:
        time.sleep(0.002)


def _addresses6() -> set[str]:
    """The node's IPv6 addresses in hex, except for tentative ones."""
    return {words[0] for words in _table("if_inet6") if not int(words[4], 16) & TENTATIVE}


def _links6() -> set[str]:
    """The links that are up, have a carrier and speak IPv6.

    The carrier itself counts: the kernel says RUNNING, and adds the routes, up to a second after it (linkwatch).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return {name for _, name in socket.if_nameindex() if name != "lo" and _speaks6(any_socket, name)}


def _speaks6(any_socket: socket.socket, name: str) -> bool:
    try:
        request = struct.pack("16sH14x", os.fsencode(name), 0)
        flags = struct.unpack_from("H", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)[0]
        disabled = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").read_text(encoding="ascii")
    except OSError:  # the link is gone, or the kernel has no IPv6
        return False
    if not flags & IFF_UP or disabled.strip() != "0":
        return False
    return bool(flags & IFF_RUNNING) or _carrier(any_socket, name)


def _carrier(any_socket: socket.socket, name: str) -> bool:
    """Whether the driver reports a carrier; False for a link without that question."""
    value = array.array("I", [ETHTOOL_GLINK, 0])
    request = struct.pack("16sP16x", os.fsencode(name), value.buffer_info()[0])
    try:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)
    except OSError:
        return False
    return bool(value[1])


def _multicast_links6() -> set[str]:
    """The links with the multicast route that each link gets."""
    return {words[9] for words in _table("ipv6_route") if words[0].startswith("ff00") and words[1] == "08"}


def _local_routes6() -> set[str]:
    """The destinations of local IPv6 routes (RTF_LOCAL) in hex."""
    return {words[0] for words in _table("ipv6_route") if int(words[8], 16) & 0x80000000}


def _table(name: str) -> list[list[str]]:
    path = Path("/proc/thread-self/net", name)
    return [line.split() for line in path.read_text(encoding="ascii").splitlines()]


def ip_output(*argv: str) -> str:
    done = subprocess.run(["ip", *argv], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise LabError(f"ip {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())} (is this root, or inside isolate()?)")
