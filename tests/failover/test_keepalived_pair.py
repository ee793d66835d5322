"""A real pair under keepalived: planned move, power cut, and partitions that heal, of which each must end well."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.namespace import LabError
from tests.lab.packages import Unavailable

from .cluster.pair import API, LIBRARY, PROGRAMS, TOP, lab
from .environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from .cluster.pair import Lab, Machine

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(300)]

OVERLAY = "192.168.10.5"
EXAMPLE = TOP / "agent/ec2ident_agent/install/data/keepalived/keepalived.conf"
CONFIGURATION = "/etc/keepalived/keepalived.conf"

SETTINGS = """
region = "us-east-1"
endpoint = "{api}"
instance = "{instance}"
[service.db]
overlay = "{overlay}"
device = "eth0"
[service.db.route]
tables = {tables}
"""

COMMAND = f"""#!/usr/bin/python3
import sys
sys.path.insert(0, {LIBRARY!r})
from ec2ident_agent.failover.cli import main
sys.exit(main())
"""

#: The heals that must all end well. Without either of the two settings, some of them end in a black hole.
HEALS = 6


class Pair:
    """Two nodes with keepalived, configured from the example."""

    def __init__(self, found: Lab) -> None:
        self.lab = found
        self.daemons: dict[str, subprocess.Popen[str]] = {}
        for machine in found.machines:
            self._configure(machine)
            self.start(machine)
            if machine.number == 1:
                arrival(self, "node1")

    def _configure(self, machine: Machine) -> None:
        ids, inside = self.lab.ids, machine.inside
        tables = json.dumps(ids["tables"])
        text = SETTINGS.format(api=API, instance=ids[machine.name], overlay=OVERLAY, tables=tables)
        inside.write("/etc/ec2ident/failover.toml", text)
        inside.write(f"{PROGRAMS}/ec2ident-failover", COMMAND, 0o755)
        inside.write(CONFIGURATION, self._example(machine))

    def _example(self, machine: Machine) -> str:
        """The example, as its first line says: on each node its own addresses and priority."""
        mine, other = machine.number, 3 - machine.number
        text = EXAMPLE.read_text()
        changes = {
            "router_id node1": f"router_id {machine.name}",
            "unicast_src_ip 10.0.0.11": f"unicast_src_ip 10.99.0.{mine}",
            "        10.0.2.12": f"        10.99.0.{other}",
            "priority 99": f"priority {100 - mine}",
        }
        for old, new in changes.items():
            assert 1 == text.count(old), old
            text = text.replace(old, new)
        return text

    def start(self, machine: Machine) -> None:
        words = ("keepalived", "-n", "-l", "-P", "-f", CONFIGURATION, "-p", "/run/ka.pid", "-r", "/run/vrrp.pid")
        self.daemons[machine.name] = machine.inside.start(*words, log="keepalived", env=ENVIRONMENT)

    def stop(self, machine: Machine) -> None:
        """As a service manager does, which moves the service."""
        machine.inside.stop(self.daemons.pop(machine.name))

    def holders(self) -> list[str]:
        return [machine.name for machine in self.lab.machines if machine.answers(OVERLAY)]

    def settled(self, name: str) -> bool:
        """One node answers, all routes lead to it, and no script is at work any more."""
        eni = self.lab.ids[f"eni{name[-1]}"]
        return self.holders() == [name] and self.lab.owners() == {eni} and not self.scripts()

    def scripts(self) -> list[int]:
        """The numbers of the programs that are at work on either node."""
        found = []
        for machine in self.lab.machines:
            for pid in machine.namespace.pids():
                try:
                    words = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if b"ec2ident-failover" in words or b"keepalived-notify" in words or b"ec2ident-agent" in words:
                    found.append(pid)
        return found

    def log(self) -> str:
        return "\n".join(f"{m.name}:\n{m.inside.text('/run/keepalived.log')}" for m in self.lab.machines)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    try:
        with lab(2, "keepalived") as found:
            yield Pair(found)
    except Unavailable as why:
        pytest.skip(str(why))


def arrival(pair: Pair, name: str) -> float:
    """Wait until the service is at this node, and nowhere else, and no script runs any more; returns the seconds."""
    began = time.monotonic()
    try:
        wait_until(lambda: pair.settled(name), f"the service runs on {name} alone", 60)
    except LabError as error:
        raise AssertionError(f"{error}: {pair.holders()} {pair.lab.owners()}\n{pair.log()}") from None
    return time.monotonic() - began


def test_the_example_is_a_valid_configuration(pair: Pair) -> None:
    """keepalived itself says so, of the file as it is shipped too, and has nothing to warn of."""
    inside = pair.lab.machines[0].inside
    inside.write("/etc/example.conf", EXAMPLE.read_text())
    for path in (CONFIGURATION, "/etc/example.conf"):
        done = inside.run("keepalived", "-t", "-f", path)
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_a_planned_move_and_back(pair: Pair) -> None:
    """The first keepalived is stopped, the other one takes over, and keeps the service when the first comes back."""
    first, second = pair.lab.machines
    pair.stop(first)
    arrival(pair, "node2")
    pair.start(first)
    wait_until(lambda: "Entering BACKUP STATE" in first.inside.text("/run/keepalived.log"), "node 1 is a backup")
    arrival(pair, "node2")
    pair.stop(second)
    arrival(pair, "node1")
    pair.start(second)
    arrival(pair, "node1")


def test_what_was_refused_is_taken_when_it_is_allowed(pair: Pair) -> None:
    """keepalived calls its script once. The API refuses the takeover again and again, and then no longer."""
    first = pair.lab.machines[0]

    def refused() -> int:
        return len([call for call in pair.lab.control("journal") if call["status"] == 403])

    before = refused()
    pair.lab.control("fault", code="UnauthorizedOperation", status=403)
    try:
        pair.stop(first)
        wait_until(lambda: refused() > before, "the first refusal", 60)
        once = refused()
        time.sleep(1)
        wait_until(lambda: refused() > once, "a refusal once more", 60)
    finally:
        pair.lab.control("clear")
    arrival(pair, "node2")
    pair.start(first)
    pair.stop(pair.lab.machines[1])
    arrival(pair, "node1")
    pair.start(pair.lab.machines[1])
    arrival(pair, "node1")


def test_every_partition_that_heals_ends_with_one_node(pair: Pair) -> None:
    """While they do not hear each other both take the routes; afterwards the one of the higher priority has it all."""
    node2 = {pair.lab.ids["eni2"]}
    for number in range(HEALS):
        pair.lab.isolate(True)
        wait_until(lambda: pair.lab.owners() == node2, "node 2 took the routes", 60)
        assert ["node1", "node2"] == pair.holders()
        # However long it was, and with scripts at work or not.
        time.sleep(number * 0.3)
        pair.lab.isolate(False)
        print(f"heal {number}: {arrival(pair, 'node1'):.2f} s")


def test_a_partition_that_heals_while_the_api_hangs_leaves_one_node(pair: Pair) -> None:
    """The loser lets go at once, whatever its takeover waits for; the winner takes the routes when the API answers."""
    pair.lab.isolate(True)
    wait_until(lambda: pair.lab.owners() == {pair.lab.ids["eni2"]}, "node 2 took the routes", 60)
    pair.lab.control("fault", hang=True)
    try:
        pair.lab.isolate(False)
        wait_until(lambda: pair.holders() == ["node1"], "node 2 let go", 60)
    finally:
        pair.lab.control("clear")
    arrival(pair, "node1")


def test_the_power_cut_moves_it(pair: Pair) -> None:
    """Every process of node 1 ends without a word, and its cable with it. It is the last test: node 1 is gone."""
    first = pair.lab.machines[0]
    arrival(pair, "node1")
    first.namespace.ip("link set eth0 down")
    pids = [int(first.inside.text(f"/run/{name}.pid")) for name in ("ka", "vrrp")]
    first.inside.run("sh", "-c", f"kill -9 {pids[0]} {pids[1]}")
    first.inside.close()
    pair.lab.machines.remove(first)
    print(f"power cut: {arrival(pair, 'node2'):.2f} s")
