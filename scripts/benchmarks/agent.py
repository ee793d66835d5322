"""What the agent costs, beside `ip` and `ip -batch` in the same run, in a network namespace of its own.

    agent.py            all tables; needs root and iproute2; about half a minute
    agent.py --quick    fewer rounds

Work in process: N addresses, N rules and a table of two routes for every fifty of them, added, looked at and removed.
Whole processes: what a hook, a monitor or the first apply of the published recipe costs, with the interpreter's start.
Rounds of all alternate, and each figure is the best of its rounds: other work on the machine only ever slows.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP), str(TOP / "agent")]

from ec2ident_agent.desired import Desired  # noqa: E402  the checkout's own, installed or not
from ec2ident_agent.engine import Look, apply, compare, revert  # noqa: E402
from ec2ident_agent.items import OURS, Address, Route, Rule, Step, diff, owner_test  # noqa: E402
from ec2ident_agent.kernel.change import NetlinkKernel  # noqa: E402
from ec2ident_agent.state.journal import Journal  # noqa: E402
from ec2ident_agent.state.owned import interface  # noqa: E402

if TYPE_CHECKING:
    from ec2ident_agent.items import Item

#: From linux/sched.h.
CLONE_NEWNET = 0x40000000
SIZES = (1, 10, 50, 750)

#: One link that leads nowhere, for an empty network namespace.
LINKS = (
    *("link add eth0 type veth peer name router", "link set lo up", "link set eth0 up", "link set router up"),
    "address add 10.0.0.10/24 dev eth0",
)

#: The most that each may cost: milliseconds, MiB, or times `python -c pass`.
APPLY_WITHIN_MS, LOOK_WITHIN_MS, FIRST_WITHIN_MS = 250, 10, 300
IDLE_TIMES, IDLE_MIB = 2.0, 16

CONFIGURATION = """\
[interface.eth0]
subnet = "10.0.0.0/24"
router = "10.0.0.1"
table = 100
table_name = "MYHA"

[[overlay]]
address = "192.168.10.10/32"
device = "eth0"
label = "eth0:1"
"""


def ip(*words: str, stdin: str = "") -> None:
    """Run one `ip` command. Raises CalledProcessError."""
    subprocess.run(["ip", *words], input=stdin, text=True, check=True, stdout=subprocess.DEVNULL)


def enter() -> None:
    """Leave this machine's network for an empty one, with one link that leads nowhere; it ends with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise SystemExit(f"bench agent: no network namespace: {os.strerror(ctypes.get_errno())}")
    for line in LINKS:
        ip(*line.split())


def wishes(count: int, each: int = 50) -> list[Desired]:
    """The desired state: this many overlay addresses, and an owner with a table for `each` of them."""
    found = []
    for start in range(0, count, each):
        table = 1000 + start // each
        addresses = [f"10.99.{number >> 8}.{number & 255}/32" for number in range(start, min(count, start + each))]
        found.append(
            Desired(
                interface(f"table {table}"),
                (
                    Route("10.0.0.0/24", "eth0", table),
                    Route("0.0.0.0/0", "eth0", table, "10.0.0.1"),
                    *(Address("eth0", address, "eth0:1") for address in addresses),
                    *(Rule(address, table, 100) for address in addresses),
                ),
            )
        )
    return found


def commands(count: int) -> tuple[list[str], list[str]]:
    """What `ip` is told to add the same and to remove it, without the first word."""
    steps = [Step("add", item) for wish in wishes(count) for item in wish.items]
    steps.sort(key=lambda step: step.item.rank)
    lay = [str(step).partition(" ")[2] for step in steps]
    return lay, [str(step.undo()).partition(" ")[2] for step in reversed(steps)]


def one_by_one(lines: Iterable[str]) -> None:
    """Run each line as an `ip` process of its own."""
    for line in lines:
        ip(*line.split())


def batch(lines: Iterable[str]) -> None:
    """Run all lines in one `ip -batch` process."""
    ip("-batch", "-", stdin="\n".join(lines) + "\n")


class Pyroute2:
    """What `wishes` asks for, added and removed by pyroute2's own calls: a request and its answer for each object."""

    def __init__(self, count: int) -> None:
        from pyroute2 import IPRoute

        self.route = IPRoute()
        self.device = self.route.link_lookup(ifname="eth0")[0]
        self.items = sorted((item for wish in wishes(count) for item in wish.items), key=lambda item: item.rank)

    def __enter__(self) -> Pyroute2:
        return self

    def __exit__(self, *_: object) -> None:
        self.route.close()

    def add(self) -> None:
        """Add everything, in the agent's order."""
        for item in self.items:
            self._do("add", item)

    def remove(self) -> None:
        """Remove everything, in the other order."""
        for item in reversed(self.items):
            self._do("del", item)

    def _do(self, verb: str, item: Item) -> None:
        if isinstance(item, Address):
            address, _, length = item.address.partition("/")
            self.route.addr(verb, index=self.device, address=address, prefixlen=int(length), label=item.label)
        elif isinstance(item, Route):
            way = {"gateway": item.gateway} if item.gateway else {"scope": 253}
            self.route.route(verb, dst=item.destination, oif=self.device, table=item.table, proto=OURS, **way)
        elif isinstance(item, Rule):
            source, _, length = item.source.partition("/")
            self.route.rule(verb, src=source, src_len=int(length), table=item.table, priority=item.priority)


def look(items: list[Item], kernel: NetlinkKernel) -> None:
    """Read the kernel and assert that every item is there."""
    observed = kernel.observe()
    assert not diff(items, observed, owner_test(observed, ()))


def took(function: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


class Bench:
    """The tables, and what of them was not kept."""

    def __init__(self, directory: Path, rounds: int) -> None:
        self.directory = directory
        self.rounds = rounds
        self.missed: list[str] = []

    def must(self, held: bool, what: str) -> str:
        """Record a missed target; returns the line that reports it."""
        if not held:
            self.missed.append(what)
        return f"   {what}: {'yes' if held else 'NO'}"

    def work(self) -> None:
        """In process: everything is imported, and the files are where they always are."""
        print("apply / revert, milliseconds; and look: dump and diff with everything in place")
        print(f"{'N':>5} {'agent':>15} {'ip -batch':>15} {'ip':>17} {'agent : batch':>13} {'look':>6} {'4 × ip':>7}")
        journal, kernel = Journal(str(self.directory / "work")), NetlinkKernel()
        (self.directory / "work").mkdir()
        for count in SIZES:
            wanted, (lay, undo) = wishes(count), commands(count)
            times: dict[str, list[float]] = {}

            def there() -> Look:
                return Look(kernel.observe(), journal.read())

            def note(name: str, function: Callable[[], object], times: dict[str, list[float]] = times) -> None:
                times.setdefault(name, []).append(took(function))

            for turn in range(self.rounds):
                note("apply", lambda wanted=wanted: apply(wanted, there(), kernel, journal, bool))  # type: ignore[misc]
                state = journal.read()
                items = [item for wish in wanted for item in wish.items]
                for _ in range(5):
                    note("look", lambda items=items: look(items, kernel))  # type: ignore[misc]
                    note("4 × ip", lambda: one_by_one(("rule", "-6 rule", "route", "address")))
                assert compare(wanted, Look(kernel.observe(), state)).in_order
                note("revert", lambda: revert(None, there(), kernel, journal, bool))
                note("batch", lambda lay=lay: batch(lay))  # type: ignore[misc]
                note("unbatch", lambda undo=undo: batch(undo))  # type: ignore[misc]
                if turn == 0 or count < 750:
                    note("ip", lambda lay=lay: one_by_one(lay))  # type: ignore[misc]
                    note("unip", lambda undo=undo: one_by_one(undo))  # type: ignore[misc]
            best = {name: min(values) for name, values in times.items()}
            pairs = [("apply", "revert"), ("batch", "unbatch"), ("ip", "unip")]
            columns = [f"{best[first]:.1f} / {best[second]:.1f}" for first, second in pairs]
            ratio = best["apply"] / best["batch"]
            print(
                f"{count:>5} {columns[0]:>15} {columns[1]:>15} {columns[2]:>17} {ratio:>13.1f}"
                f" {best['look']:>6.2f} {best['4 × ip']:>7.1f}"
            )
        print(self.must(best["apply"] <= APPLY_WITHIN_MS, f"apply of 750 in {APPLY_WITHIN_MS} ms"))
        print(self.must(best["look"] <= LOOK_WITHIN_MS, f"look at 750 in {LOOK_WITHIN_MS} ms"))
        kernel.close()

    def processes(self) -> None:
        """Whole processes. The configuration was read before, as on every node but a new one."""
        config = self.directory / "agent.toml"
        config.write_text(CONFIGURATION, encoding="utf-8")
        config.chmod(0o644)
        os.utime(config, (1, 1))
        # The script that is installed; beside it what pip would write for an entry point.
        pip = "import re, sys; from ec2ident_agent.cli import main; sys.exit(main())"
        files = ["--config", str(config), "--state-dir", str(self.directory / "state")]
        files += ["--names-dir", str(self.directory / "names")]
        (self.directory / "names").mkdir()
        run = [sys.executable, str(TOP / "agent/bin/ec2ident-agent")]
        hook = [*run, "hook", *files[:4], "networkmanager", "eth0"]
        rows: dict[str, list[str]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "first apply": [*run, "apply", *files],
            "status": [*run, "status", *files],
            "status, entry point": [sys.executable, "-c", pip, "status", *files],
            "apply, nothing to do": [*run, "apply", *files],
            "hook, not our event": [*hook, "hostname"],
            "revert": [*run, "revert", "--all", *files],
            "4 × ip, add": ["sh", "-ec", LAY],
            "4 × ip, delete": ["sh", "-ec", UNDO],
            "4 × ip, show": ["sh", "-ec", "ip rule; ip -6 rule; ip route show table all; ip address"],
        }
        # The configuration is kept once the file has settled; its ctime is now.
        time.sleep(2.1)
        best = dict.fromkeys(rows, (1e9, 0.0))
        for _ in range(self.rounds * 3):
            for name, argv in rows.items():
                best[name] = min(best[name], whole(argv))
        bare = best["python -c pass"][0]
        print(f"\n{'whole process':<24} {'ms':>7} {'times pass':>11} {'peak MiB':>9}")
        for name, (spent, peak) in best.items():
            print(f"{name:<24} {spent:>7.1f} {spent / bare:>11.2f} {peak:>9.1f}")
        for name in ("status", "apply, nothing to do", "hook, not our event"):
            spent, peak = best[name]
            held = spent <= IDLE_TIMES * bare and peak <= IDLE_MIB
            print(self.must(held, f"{name}: {IDLE_TIMES:g} times python -c pass, {IDLE_MIB} MiB"))
        print(self.must(best["first apply"][0] <= FIRST_WITHIN_MS, f"first apply in {FIRST_WITHIN_MS} ms"))


LAY = """\
ip address add 192.168.10.10/32 dev eth0 label eth0:1
ip route add 10.0.0.0/24 dev eth0 table 100 scope link
ip route add default via 10.0.0.1 dev eth0 table 100
ip rule add from 10.0.0.0/24 table 100 priority 100"""
UNDO = "\n".join(line.replace(" add ", " del ").replace(" label eth0:1", "") for line in reversed(LAY.splitlines()))


#: A small process that starts another one and tells its milliseconds and its largest resident size in KiB. That size is
#: never less than the starter's own, so it has to be small: in a child of this process it would be this process's.
_WATCH = """
import os, sys, time
null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, code, used = os.wait4(pid, 0)
print((time.perf_counter() - start) * 1000, used.ru_maxrss)
sys.exit(os.WEXITSTATUS(code))
"""


def whole(argv: list[str]) -> tuple[float, float]:
    """Milliseconds from start to end of a process, and its largest resident size in MiB."""
    watch = [sys.executable, "-I", "-S", "-c", _WATCH, *argv]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
    done = subprocess.run(watch, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr}")
    spent, peak = done.stdout.split()
    return float(spent), int(peak) / 1024


def main() -> int:
    """Measure, print, and return exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("bench agent: needs root and iproute2, for a network namespace of its own", file=sys.stderr)
        return 2
    enter()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), 3 if quick else 7)
        bench.work()
        bench.processes()
    print(f"\nmissed: {'; '.join(bench.missed)}" if bench.missed else "\nall figures hold")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
