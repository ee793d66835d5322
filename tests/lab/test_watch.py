"""The watch on a real kernel: whatever is taken away comes back, and what it must not do it does not do."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.namespace import LabError
from tests.lab.recipe import BOTH_FAMILIES, without
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

TOP = Path(__file__).parents[2]

CONFIGURATION = without(BOTH_FAMILIES, "table_name", "priority")

#: Seconds within which a busy machine comes round; how soon it is mended otherwise is measured with real managers.
PATIENCE = 30

LOSSES = {
    "a rule": ["rule del from 10.0.1.0/24 lookup 100"],
    "an IPv6 rule": ["-6 rule del from 2001:db8:ec2:1::/64 lookup 100"],
    "a table": ["route flush table 100", "-6 route flush table 100"],
    "the overlay": ["address del 192.168.10.10/32 dev eth0"],
    "what hangs on a link that flaps": ["link set eth1 down", "link set eth1 up"],
    "all of it": [
        "rule del from 10.0.1.0/24 lookup 100", "-6 rule del from 2001:db8:ec2:1::/64 lookup 100",
        "route flush table 100", "-6 route flush table 100", "address del 192.168.10.10/32 dev eth0",
    ],
}  # fmt: skip


class Node:
    """A node of the simulated VPC with eth0 and eth1, and the agent."""

    def __init__(self, vpc: Vpc, directory: Path) -> None:
        self.vpc, self.directory = vpc, directory
        self.config, self.log = directory / "agent.toml", directory / "log"
        self.write(CONFIGURATION)
        self.watches: list[subprocess.Popen[str]] = []

    def write(self, text: str) -> None:
        self.config.write_text(text)
        self.config.chmod(0o644)

    def argv(self, *words: str) -> list[str]:
        files = {"--config": self.config, "--state-dir": self.directory / "state", "--names-dir": self.directory / "n"}
        return [sys.executable, "-m", "ec2ident_agent", *words, *(str(word) for pair in files.items() for word in pair)]

    def agent(self, *words: str) -> int:
        return self.vpc.node.run(*self.argv(*words), env=self.environment()).returncode

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{TOP}:{TOP / 'agent'}", **more}

    def start(self, *words: str, under: tuple[str, ...] = (), **environ: str) -> subprocess.Popen[str]:
        """Start a watch; what it says is in the log."""
        with self.log.open("a") as log:
            process = self.vpc.node.start(
                *under, *self.argv("watch", *words), env=self.environment(**environ), stderr=log
            )
        self.watches.append(process)
        return process

    def watch(self, under: tuple[str, ...] = (), verdict: str = "in order", **environ: str) -> subprocess.Popen[str]:
        """Start a watch, and wait until the verdict of `status` is this one."""
        process = self.start(under=under, **environ)
        self.in_order("added by the watch", verdict)
        return process

    def in_order(self, what: str, verdict: str = "in order") -> None:
        told: list[str] = []

        def agrees() -> bool:
            told[:] = self.vpc.node.run(*self.argv("status"), env=self.environment()).stdout.splitlines()
            return told[-1:] == [verdict]

        try:
            wait_until(agrees, f"{what}: {verdict}", PATIENCE)
        except LabError as late:
            raise AssertionError("\n".join([f"{late}; status:", *told, "the watch:", self.said()])) from None

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def end(self) -> None:
        for process in self.watches:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Vpc() as vpc:
        vpc.attach("eth1")
        made = Node(vpc, tmp_path)
        try:
            yield made
        finally:
            made.end()


@contextmanager
def rival(node: Node, line: str) -> Iterator[int]:
    """A program that deletes again and again, while the block lasts; its process number."""
    over = threading.Event()
    process = node.vpc.node.start(
        "ip", "-force", "-batch", "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin

    def delete() -> None:
        while not over.wait(0.02):
            process.stdin.write(f"{line}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield process.pid
    finally:
        over.set()
        thread.join()
        process.communicate(timeout=PATIENCE)


def test_whatever_is_lost_comes_back_byte_for_byte(node: Node) -> None:
    """Rules, routes of both families, the overlay with its label; also what the kernel drops without a word."""
    node.watch()
    whole = node.vpc.node.snapshot()
    for what, lines in LOSSES.items():
        node.vpc.node.ip(*lines)
        if what.endswith("flaps"):
            node.vpc.configure("eth1")
        node.in_order(what)
        assert sorted(whole.splitlines()) == sorted(node.vpc.node.snapshot().splitlines()), what


def test_a_detached_interface_leaves_no_rule_and_comes_back(node: Node) -> None:
    """And another program's rule that differs only in its mark stays where it is."""
    node.vpc.node.ip("rule add from 10.0.1.0/24 lookup 100 priority 100 protocol 201")
    node.watch()
    node.vpc.detach("eth1")

    def ours() -> list[str]:
        lines = node.vpc.node.read("ip", "-N", "-d", "rule").splitlines()
        return [line for line in lines if "proto 236" in line]

    wait_until(lambda: not ours(), f"{ours()} is gone", PATIENCE)
    assert "proto 201" in node.vpc.node.read("ip", "-N", "-d", "rule")
    node.vpc.attach("eth1")
    node.in_order("attached again")
    assert 1 == len(ours())


def test_an_interface_that_says_nothing_itself_is_applied_when_it_has_an_address(node: Node) -> None:
    """Known by its MAC; its subnet is the one of its address, which comes later than the link."""
    mac = node.vpc.enis["eth1"].mac
    node.vpc.detach("eth1")
    node.write(f'[interface.second]\nmac = "{mac}"\ntable = 100\n')
    node.watch(verdict="drift: 1 absent")
    node.vpc.attach("eth1", configured=False)
    node.vpc.node.ip("link set eth1 up")
    wait_until(lambda: "second: subnet unknown" in node.said(), f"{node.said()} says what is not known", PATIENCE)

    node.vpc.configure("eth1")

    wait_until(lambda: "from 10.0.1.0/24" in node.vpc.node.read("ip", "rule"), "its rule is there", PATIENCE)
    node.in_order("its profile")


@pytest.mark.timeout(240)
def test_what_the_metadata_service_knows_late_is_applied_when_it_is_known(node: Node) -> None:
    """Meanwhile everything else is repaired; and what is assigned later comes too, at once when it is asked for."""
    service = node.vpc.serve_metadata()
    node.vpc.detach("eth1")
    node.write('[interface.eth1]\nscheme = "split"\n' + CONFIGURATION[CONFIGURATION.index("[[overlay]]") :])
    watch = node.watch(verdict="drift: 1 absent")
    eni = node.vpc.attach("eth1", listed_after=1, numbered_after=2.5)

    def rules() -> str:
        return node.vpc.node.read("ip", "-N", "rule")

    node.vpc.node.ip("address del 192.168.10.10/32 dev eth0")
    wait_until(lambda: "inet 192.168.10.10/32" in node.vpc.node.snapshot(), "the overlay is repaired", PATIENCE)
    wait_until(
        lambda: "from 10.0.1.10 to 10.0.0.0/16 lookup 23601" in rules(), f"{rules()} has eth1's: {node.said()}", 60
    )

    service.assign(eni.mac, private_ips=(eni.address, "10.0.1.77"))
    watch.send_signal(signal.SIGHUP)
    wait_until(
        lambda: "from 10.0.1.77 to 10.0.0.0/16 lookup 23601" in rules(), f"{rules()} has the new one: {node.said()}", 60
    )
    service.behave("status", status=500)
    watch.send_signal(signal.SIGHUP)
    node.vpc.node.ip("route flush table 23601")
    wait_until(lambda: "table 23601" in node.vpc.node.snapshot(), "what was said last goes on to count", PATIENCE)
    assert "from 10.0.1.77 to 10.0.0.0/16 lookup 23601" in rules()


def test_a_rival_slows_down_one_item_loudly_and_nothing_else(node: Node) -> None:
    """Named, with the number of its process. After it is gone, a repair comes by itself."""
    node.watch()
    with rival(node, "rule del from 10.0.1.0/24 lookup 100") as process:
        wait_until(lambda: "so repairs wait" in node.said(), f"{node.said()} says so", PATIENCE)
        line = next(line for line in node.said().splitlines() if "so repairs wait" in line)
        assert f"from 10.0.1.0/24 table 100 priority 100: by ip (process {process})" in line
        assert line.startswith("ec2ident-agent: ")
        assert node.said().count("[#] ip rule add from 10.0.1.0/24") <= 12

        node.vpc.node.ip("address del 192.168.10.10/32 dev eth0", "route flush table 100")
        shown = ("inet 192.168.10.10/32", "default via 10.0.1.1 dev eth1 table 100 ")
        wait_until(lambda: all(each in node.vpc.node.snapshot() for each in shown), "all else is added", PATIENCE)
    node.in_order("after the rest")
    assert 1 == node.said().count("so repairs wait")


def test_what_an_administrator_reverts_stays_off(node: Node) -> None:
    """Until the next apply; and what a command adds is held from then on."""
    before = node.vpc.node.snapshot()
    node.watch()
    assert 0 == node.agent("revert", "--all")
    node.vpc.node.ip("address add 192.168.99.1/32 dev lo", "address del 192.168.99.1/32 dev lo")
    time.sleep(1)
    assert before == node.vpc.node.snapshot()

    assert 0 == node.agent("overlay", "add", "192.168.10.11", "--device", "eth1")
    node.vpc.node.ip("address del 192.168.10.11/32 dev eth1")
    wait_until(lambda: "192.168.10.11/32" in node.vpc.node.snapshot(), "the overlay is held", PATIENCE)
    assert "10.0.1.0/24 lookup" not in node.vpc.node.snapshot()
    assert 0 == node.agent("apply")
    node.vpc.node.ip("route flush table 100")
    node.in_order("applied again")


def test_sigterm_leaves_everything_in_place(node: Node) -> None:
    """Exit code 0; an upgrade of the agent must not take the network away."""
    watch = node.watch()
    whole = node.vpc.node.snapshot()

    watch.terminate()

    assert 0 == watch.wait(PATIENCE)
    assert whole == node.vpc.node.snapshot()


def test_a_second_watch_is_refused_and_one_that_waits_takes_over(node: Node) -> None:
    """Two that repair would count each other's repairs as fights."""
    first = node.watch()
    refused = node.start("--wait", "0.2")
    assert 4 == refused.wait(PATIENCE)
    assert f"held by process {first.pid}" in node.said()

    node.start("--wait", "60")
    first.terminate()
    first.wait(PATIENCE)
    node.vpc.node.ip("route flush table 100")
    node.in_order("by the second")


def test_systemd_is_told_how_it_is(node: Node, open_path: Path) -> None:
    """Ready after the first look, alive as often as it asked for, stopping at the end."""
    path = open_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(PATIENCE)
        watch = node.start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="200000")
        told: list[bytes] = []
        while told.count(b"WATCHDOG=1") < 3:
            told.append(heard.recv(1000))
        assert [b"STATUS=7 items: in order", b"READY=1", b"WATCHDOG=1"] == told[:3]

        watch.terminate()
        while told[-1] != b"STOPPING=1":
            told.append(heard.recv(1000))
    assert 0 == watch.wait(PATIENCE)


def test_the_units_one_capability_is_enough(node: Node) -> None:
    """CAP_NET_ADMIN alone, as the unit leaves it."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    alone = ("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs")
    node.watch(under=alone)
    node.vpc.node.ip("route flush table 100", "rule del from 10.0.1.0/24 lookup 100")
    node.in_order("with one capability")
    node.vpc.detach("eth1")
    wait_until(lambda: "proto 236" not in node.vpc.node.read("ip", "-N", "-d", "rule"), "no rule is left", PATIENCE)


def resident(process: subprocess.Popen[str]) -> int:
    """KiB of memory (proc(5))."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def storm(node: Node, count: int) -> None:
    """Rules of another program come and go, faster than the watch can read."""
    one = "rule add from 10.99.0.0/24 lookup 99 priority 7\nrule del from 10.99.0.0/24 lookup 99 priority 7\n"
    node.vpc.node.run("ip", "-batch", "-", input=one * (count // 2))


def test_a_storm_of_events_loses_nothing(node: Node) -> None:
    """The socket overruns while the watch is stopped: it looks, and what was lost meanwhile is there again."""
    watch = node.watch()
    watch.send_signal(signal.SIGSTOP)
    storm(node, 10_000)
    node.vpc.node.ip("rule del from 10.0.1.0/24 lookup 100")
    storm(node, 10_000)
    watch.send_signal(signal.SIGCONT)

    node.in_order("after the storm")


@pytest.mark.full
def test_memory_stays_as_it_is(node: Node) -> None:
    """Over thousands of events and hundreds of repairs. The bound is generous: a leak of 4 KiB an event breaks it."""
    watch = node.watch()
    rounds = list(LOSSES["all of it"])

    def work(times: int) -> int:
        for _ in range(times):
            storm(node, 100)
            node.vpc.node.ip(*rounds)
            node.in_order("in between")
            watch.send_signal(signal.SIGHUP)
        return resident(watch)

    before = work(5)
    after = work(25)

    assert after < before + 8 * 1024


@pytest.mark.full
def test_killed_at_any_moment_it_begins_where_it_was(node: Node) -> None:
    """SIGKILL while it repairs; the next one goes on, and a revert is exact."""
    before = node.vpc.node.snapshot()
    chance = random.Random(7)
    for _ in range(12):
        watch = node.start()
        time.sleep(chance.uniform(0, 0.6))
        node.vpc.node.run("ip", "-force", "-batch", "-", input="\n".join(LOSSES["all of it"]) + "\n")
        time.sleep(chance.uniform(0, 0.4))
        watch.kill()
        watch.wait(PATIENCE)
    watch = node.watch()
    watch.terminate()
    watch.wait(PATIENCE)

    assert 0 == node.agent("revert", "--all")
    assert before == node.vpc.node.snapshot()
