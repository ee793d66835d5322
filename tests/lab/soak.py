"""What watch costs while an ENI is attached and detached for minutes: its memory, its repairs and how often it wakes.

    python -m tests.lab.soak [MINUTES]

The node of the simulated VPC has the metadata service, eth0 with an overlay address, and eth1 with a profile for both
families. Every few seconds eth1 is detached and attached, or an object of the agent is deleted, and each time the
kernel has everything again before the next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

from tests.lab.enclosure import wait_until
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TOP = Path(__file__).parents[2]
#: Seconds for a repair on a busy machine, and between two events.
PATIENCE, EVERY = 60, 2.0
#: KiB by which the heap of the last minute may exceed that of the first one. Resident memory grows a little longer: it
#: counts the pages of the heap that were used at least once.
GROWTH = 512

CONFIGURATION = """\
[interface.eth1]

[[overlay]]
address = "192.168.10.10/32"
device = "eth0"
"""


class Watched:
    """A process of watch, and what it has cost so far."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def status(self, key: str) -> int:
        """A number of /proc/PID/status (proc(5))."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))

    def cpu(self) -> float:
        """Seconds of a core, of this process alone."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def said(self) -> list[str]:
        """The lines of its log."""
        return self.log.read_text("utf-8", "replace").splitlines()

    def numbers(self) -> dict[str, float]:
        """All that the table shows."""
        said = self.said()
        return {
            "rss": self.status("VmRSS"),
            "heap": self.status("VmData"),
            "files": len(os.listdir(f"/proc/{self.process.pid}/fd")),
            "added": sum(line.startswith("[#]") and " add " in line for line in said),
            "loud": sum(line.startswith("ec2ident-agent: ") for line in said),
            "wakes": self.status("voluntary_ctxt_switches"),
            "cpu": self.cpu(),
        }


def events(vpc: Vpc, there: Callable[[str], None]) -> list[Callable[[], None]]:
    """What happens to the node, in turn; each ends when everything is there again."""

    def attach_again() -> None:
        vpc.detach("eth1")
        there("without eth1")
        vpc.attach("eth1")

    def lose(*lines: str) -> Callable[[], None]:
        return lambda: vpc.node.ip(*lines)

    return [
        attach_again,
        lose("rule flush protocol 236"),
        lose("address del 192.168.10.10/32 dev eth0"),
        attach_again,
        lose("route flush table 101"),
        lose("-6 rule flush protocol 236"),
    ]


def soak(minutes: int) -> int:
    """Run it; returns the exit code."""
    with Vpc() as vpc, tempfile.TemporaryDirectory() as directory:
        vpc.serve_metadata()
        vpc.attach("eth1")
        config, log = Path(directory, "agent.toml"), Path(directory, "log")
        config.write_text(CONFIGURATION)
        config.chmod(0o644)
        files = ("--config", str(config), "--state-dir", f"{directory}/state", "--names-dir", f"{directory}/names")
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
        argv = (sys.executable, "-m", "ec2ident_agent")

        def there(what: str) -> None:
            verdict = "drift: 1 absent" if what == "without eth1" else "in order"

            def agrees() -> bool:
                done = vpc.node.run(*argv, "status", *files, env=environment)
                return done.stdout.splitlines()[-1:] == [verdict]

            wait_until(agrees, f"{what}: {verdict}", PATIENCE)

        with log.open("w") as stream:
            process = vpc.node.start(*argv, "watch", *files, env=environment, stderr=stream)
        try:
            there("the first look")
            return _table(Watched(process, log), minutes, cycle(events(vpc, there)), there)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _table(watched: Watched, minutes: int, happening: cycle[Callable[[], None]], there: Callable[[str], None]) -> int:
    columns = ("minute", "RSS, KiB", "heap, KiB", "files", "events", "objects added", "loud lines", "wakes", "CPU, ms")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    first = before = watched.numbers()
    for minute in range(1, minutes + 1):
        end, count = time.monotonic() + 60, 0
        while time.monotonic() < end:
            next(happening)()
            there("repaired")
            count += 1
            time.sleep(EVERY)
        now = watched.numbers()
        more = {key: now[key] - before[key] for key in now}
        print(
            f"| {minute} | {now['rss']:.0f} | {now['heap']:.0f} | {now['files']:.0f} | {count} | {more['added']:.0f} "
            f"| {more['loud']:.0f} | {more['wakes']:.0f} | {1000 * more['cpu']:.0f} |",
            flush=True,
        )
        first = now if minute == 1 else first
        before = now
    for line in sorted({line for line in watched.said() if line.startswith("ec2ident-agent: ")}):
        print(line)
    return int(before["heap"] - first["heap"] > GROWTH)


if __name__ == "__main__":
    sys.exit(soak(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
