"""A node under watch in a network namespace of its own: the time of a repair, and what watch costs meanwhile."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ec2ident_agent.items import OURS, Rule, Step
from ec2ident_agent.kernel.change import NetlinkKernel
from tests.lab.enclosure import wait_until
from tests.lab.namespace import Namespace

#: From linux/rtnetlink.h: the group of announcements about IPv4 rules, and the type of one about a new rule.
RULES, NEW_RULE = 0x80, 32
#: Seconds until watch takes the next loss for the first of a burst (watch/backoff.py: CALM), with room.
CALM = 0.5
#: Watch lets an item rest from the tenth repair within a minute on.
REPAIRS = 8
#: The lines of one `ip -batch`: half of them add a route of main, the others delete it.
CHANGES = 50_000
PATIENCE = 60.0


class WatchLab:
    """`ec2ident-agent watch` in a namespace that is ready for its configuration."""

    def __init__(self, network: Namespace, argv: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.network, self.argv, self.environment, self.log = network, argv, environment, log
        routes = (f"11.{number >> 16}.{number >> 8 & 255}.{number & 255}/32 dev eth0" for number in range(CHANGES // 2))
        self.batch = "".join(f"route add {route}\nroute del {route}\n" for route in routes)
        #: Milliseconds of CPU that watch took during the last storm.
        self.busy = 0.0

    def __enter__(self) -> WatchLab:
        with self.log.open("w") as stream:
            self.process = self.network.start(*self.argv, env=self.environment, stderr=stream)
        with self.network.entered():
            self.kernel = NetlinkKernel()
            self.announcements = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            self.announcements.bind((0, RULES))
            self.announcements.settimeout(PATIENCE)
            wait_until(lambda: bool(self._rules()), "watch adds the rule", PATIENCE)
        self.rule = self._rules()[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.announcements.close()
        self.kernel.close()
        self.process.terminate()
        self.process.wait(PATIENCE)

    def _rules(self) -> list[Rule]:
        """The agent's rules that the kernel has."""
        seen = self.kernel.observe().seen
        return [each.item for each in seen if isinstance(each.item, Rule) and each.protocol == OURS]

    def repair(self) -> float:
        """Delete the rule after a calm; returns the milliseconds until the kernel announces it again."""
        time.sleep(CALM)
        self._drain()
        began = time.perf_counter()
        if failures := self.kernel.do([Step("del", self.rule)]):
            raise SystemExit(f"bench watch: {failures[0]}")
        while not any(kind == NEW_RULE for kind in self._announced()):
            pass
        return (time.perf_counter() - began) * 1000

    def _drain(self) -> None:
        """Pass over what was announced until now."""
        self.announcements.setblocking(False)
        try:
            while self.announcements.recv(1 << 16):
                pass
        except BlockingIOError:
            self.announcements.settimeout(PATIENCE)

    def _announced(self) -> list[int]:
        """Wait for announcements; returns their types. Raises TimeoutError."""
        data, kinds, offset = self.announcements.recv(1 << 16), [], 0
        while offset < len(data):
            kinds.append(int.from_bytes(data[offset + 4 : offset + 6], "little"))
            offset += (int.from_bytes(data[offset : offset + 4], "little") + 3) & ~3
        return kinds

    def storm(self) -> float:
        """Foreign routes of main come and go as fast as one `ip -batch` can; returns its milliseconds."""
        before = self.cpu()
        began = time.perf_counter()
        subprocess.run(["ip", "-n", self.network.name, "-batch", "-"], input=self.batch, text=True, check=True)
        took = (time.perf_counter() - began) * 1000
        time.sleep(CALM)  # What watch puts off until the storm is over counts too.
        self.busy = self.cpu() - before
        return took

    def cpu(self) -> float:
        """Milliseconds of CPU that watch took until now, with all its threads."""
        # What clock_getcpuclockid(3) returns: linux/posix-timers_types.h, CPUCLOCK_SCHED of a process.
        return time.clock_gettime(~self.process.pid << 3 | 2) * 1000

    def resident(self) -> float:
        """The largest resident size of watch until now, in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
