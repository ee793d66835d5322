"""SIGKILL at every effect of apply and of revert, then revert: byte-equal to before.

A child runs the command and kills itself just before its n-th effect: every file that it opens for writing, renames,
removes or truncates, every directory, every lock, every netlink send. Python announces each of them to audit hooks
(PEP 578), so that no code of the project is patched. n grows until a run comes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import engine
from ec2ident_agent.cli import Command
from ec2ident_agent.engine import Look
from ec2ident_agent.items import Observed, Route, Rule, Step
from ec2ident_agent.kernel.change import NetlinkKernel
from ec2ident_agent.kernel.protocol import Failure
from ec2ident_agent.options import parse_command_line
from ec2ident_agent.state.journal import Journal
from tests.lab.recipe import CONFIGURATION

from .conftest import Agent, ip, snapshot

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node"), pytest.mark.timeout(300)]

EFFECTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "fcntl.flock", "socket.sendto"}

CHANGED = """\
[interface.eth1]
subnet = ["10.0.1.0/24", "fd00:0:0:1::/64"]
router = ["10.0.1.254", "fe80::1"]
table  = 100
table_name = "OTHER"
routes = ["10.50.0.0/16", "10.60.0.0/16 via 10.0.1.1 mtu 1400", "fd00:50::/32 advmss 1200"]
mtu    = 1500

[[overlay]]
address = "fd00:5::1/128"
device  = "eth1"
"""


TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.kernel.protocol import Kernel


class OneByOne(NetlinkKernel):
    """A kernel to which every step is sent by itself, so that a crash can come between any two."""

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        return [failure for step in steps for failure in super(OneByOne, self).do([step])]


class Tagless(OneByOne):
    """A kernel that shows no protocol of rules and addresses, as before 4.17 and 5.18: only the journal knows."""

    def observe(self, tables: Collection[int] = ()) -> Observed:
        there = super().observe(tables)
        seen = (each if isinstance(each.item, Route) else replace(each, protocol=None) for each in there.seen)
        return replace(there, seen=tuple(seen))

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        """Such a kernel ignores the protocol in a rule's removal, as this one does for protocol 0."""
        loose = {each for each in steps if each.verb == "del" and isinstance(each.item, Rule)}
        return super().do([replace(each, protocol=0) if each in loose else each for each in steps])


def files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.iterdir()):
        yield path.name, path.read_bytes()


def killed_at(number: int, run: Callable[[], object]) -> bool:
    """Run in a child that kills itself at its n-th effect; False when it came to its end before."""
    child = os.fork()
    if child == 0:
        left = number

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in EFFECTS or writing:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            sys.stdout = sys.stderr = os.fdopen(quiet, "w")
            sys.addaudithook(hook)
            run()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def every_crash(
    agent: Agent,
    prepare: Callable[[], object],
    run: Callable[[], object],
    revert: Callable[[], object] | None = None,
) -> int:
    """Crash `run` at each of its effects, each time from the same beginning; how many there were."""
    before, names = snapshot(), list(files(agent.names))
    number = 0
    while True:
        number += 1
        prepare()
        killed = killed_at(number, run)
        assert 0 == (revert() if revert else agent("revert", "--all")), f"effect {number}: {agent.err}"
        assert before == snapshot(), f"effect {number}"
        assert names == list(files(agent.names)), f"effect {number}"
        assert not (agent.state / "journal").exists()
        if not killed:
            return number


@pytest.fixture(autouse=True)
def loaded() -> None:
    """pyroute2 is imported once here and not in every child."""
    for name in ("fibmsg", "ifaddrmsg", "rtmsg"):
        import_module(f"pyroute2.netlink.rtnl.{name}")


def nothing() -> None:
    """A fresh node."""


def through(kernel: Callable[[], Kernel], agent: Agent, verb: str) -> Callable[[], int]:
    """The command with another kernel than its own."""
    return lambda: Command(parse_command_line(agent.argv(*verb.split())), kernel=kernel()).run()


@pytest.mark.parametrize("kernel", ["pipelined", "one by one"])
def test_killed_at_any_effect_of_apply(agent: Agent, kernel: str) -> None:
    """Whatever is there and the agent's is known at any moment."""
    ip("rule add from 10.0.1.0/24 table 100 priority 100")
    run = through(OneByOne, agent, "apply") if kernel == "one by one" else lambda: agent("apply")

    assert every_crash(agent, nothing, run) > 10


@pytest.mark.parametrize("kernel", ["pipelined", "one by one"])
def test_killed_at_any_effect_of_a_change(agent: Agent, kernel: str) -> None:
    """An apply that replaces a gateway, removes an overlay and adds a family, a name, further routes and an MTU."""
    run = through(OneByOne, agent, "apply") if kernel == "one by one" else lambda: agent("apply")

    def prepare() -> None:
        agent.write(CONFIGURATION)
        assert 0 == agent("apply")
        agent.write(CHANGED)

    assert every_crash(agent, prepare, run) > 10


def test_killed_at_any_effect_of_an_apply_that_one_is_refused(agent: Agent) -> None:
    """What is added for the others is known, and what the refused had before."""
    ip("route add blackhole default table 101")

    def prepare() -> None:
        agent.write(CONFIGURATION)
        assert 0 == agent("apply")
        moved = CONFIGURATION.replace("= 100\ntable_name", "= 101\ntable_name")
        agent.write(moved + '[interface.eth0]\nsubnet = "10.0.0.0/24"\nrouter = "10.0.0.1"\ntable = 102\n')

    assert every_crash(agent, prepare, lambda: agent("apply")) > 5


#: The published recipe by a script: as AWS's guides and rc.local have it, the overlay address without a label.
SCRIPT = (
    "route add 10.0.1.0/24 dev eth1 table 100",
    "route add default via 10.0.1.1 dev eth1 table 100",
    "rule add from 10.0.1.0/24 table 100 priority 100",
    "address add 192.168.10.10/32 dev eth0",
)


def scripted() -> None:
    """What the script adds, on a node without it."""
    for line in SCRIPT:
        ip(line)


def all_there() -> None:
    """Nothing of the recipe is missing, be it the script's or the agent's."""
    there = snapshot()
    for words in ("from 10.0.1.0/24 lookup 100", "10.0.1.0/24 dev eth1 table 100", "inet 192.168.10.10/32"):
        assert words in there, there
    assert "default via 10.0.1.1 dev eth1 table 100" in there


def test_killed_at_any_effect_of_adopt(agent: Agent) -> None:
    """At each moment every object is there, and the next apply ends what was begun; the script's are gone then."""
    begun = 0

    def end() -> int:
        nonlocal begun
        all_there()
        code = agent("apply")
        begun += code == 0
        # Killed before the journal named anything: all is the script's, which apply refuses.
        assert code == 0 or agent("adopt", "--root", str(agent.names)) == 0, agent.err
        assert agent("status") == 0
        assert snapshot().count("lookup 100 proto 236") == snapshot().count("lookup 100") == 1
        return agent("revert", "--all")

    assert every_crash(agent, scripted, through(OneByOne, agent, f"adopt --root {agent.names}"), end) > 10
    assert begun > 8


def test_reverted_after_adopt_was_killed(agent: Agent) -> None:
    """What is the agent's goes, what is still the script's stays, and nothing else is left."""

    def end() -> int:
        all_there()
        code = agent("revert", "--all")
        assert "proto 236" not in snapshot()
        assert "inet 192.168.10.10/32 scope global lo" not in snapshot()
        there = snapshot()
        left = ("inet 192.168.10.10/32", "from 10.0.1.0/24 lookup", "via 10.0.1.1 dev eth1", "/24 dev eth1 table 100")
        for line, words in zip(reversed(SCRIPT), left):
            if words in there:
                ip(line.replace(" add", " del", 1))
        return code

    assert every_crash(agent, scripted, through(OneByOne, agent, f"adopt --root {agent.names}"), end) > 10


def test_killed_while_adopting_where_the_kernel_keeps_no_tag(agent: Agent) -> None:
    """There the journal alone makes an object the agent's, so that nothing but the table's name is added."""
    label = "address add 192.168.10.10/32 dev eth0 label eth0:1"

    def prepare() -> None:
        for line in (*SCRIPT[:3], label):
            ip(line)

    def end() -> int:
        all_there()
        assert 0 == through(Tagless, agent, f"adopt --root {agent.names}")()
        assert 0 == through(Tagless, agent, "status")()
        return through(Tagless, agent, "revert --all")()

    assert every_crash(agent, prepare, through(Tagless, agent, f"adopt --root {agent.names}"), end) > 5


def test_killed_at_any_effect_of_revert(agent: Agent) -> None:
    """Disowned only after it was undone."""

    def prepare() -> None:
        assert 0 == agent("apply")

    assert every_crash(agent, prepare, lambda: agent("revert", "--all")) > 10


def test_killed_where_the_kernel_keeps_no_tag(agent: Agent) -> None:
    """Then the journal alone says what is the agent's, and a rule or an address of others stays what it is."""
    ip("rule add from 10.0.2.0/24 table 100 priority 100")
    ip("address add 192.168.10.11/32 dev eth0")
    revert = through(Tagless, agent, "revert --all")

    assert every_crash(agent, nothing, through(Tagless, agent, "apply"), revert) > 10
    assert every_crash(agent, through(Tagless, agent, "apply"), revert, revert) > 10


def test_killed_at_any_effect_of_a_rollback(agent: Agent) -> None:
    """The kernel refuses a step, and the crash comes while the others are undone."""
    agent.write(CHANGED + '[interface.eth0]\nsubnet = "fd00:9::/64"\nrouter = "fe80::1"\ntable = 9\n')
    Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("1")

    assert every_crash(agent, nothing, lambda: agent("apply")) > 10


def test_a_crash_that_never_comes_is_an_apply(agent: Agent) -> None:
    """The harness itself: without a crash the child does its work, in our namespace."""
    assert not killed_at(10_000, lambda: agent("apply"))

    assert 0 == agent("status")
    journal = Journal(str(agent.state))
    assert {"eth1", "overlay 192.168.10.10/32"} == {str(record.owner) for record in journal.read().records}
    assert () != engine.removals(None, Look(NetlinkKernelOnce().observe(), journal.read()))


class NetlinkKernelOnce:
    """Looks once and lets go."""

    def observe(self, tables: Collection[int] = ()) -> Observed:
        kernel = NetlinkKernel()
        try:
            return kernel.observe(tables)
        finally:
            kernel.close()
