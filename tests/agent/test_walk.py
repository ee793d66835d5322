"""A random walk on a real kernel: profiles change, others come and go beside us, the kernel refuses at random.

After every change either the desired state is there or nothing has changed, and whatever is another program's is
untouched. The seed is printed with a failure; `WALK_SEED` repeats it.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from ec2ident_agent import engine
from ec2ident_agent.desired import Desired
from ec2ident_agent.engine import Look
from ec2ident_agent.errors import ConfigError, KernelError
from ec2ident_agent.items import OURS, Observed, Route, Step, TableName
from ec2ident_agent.kernel.change import NetlinkKernel
from ec2ident_agent.kernel.protocol import Failure
from ec2ident_agent.kernel.table_names import NamedKernel
from ec2ident_agent.profile import (
    ExtraRoute,
    Facts,
    Overlay,
    Section,
    free_labels,
    overlay_items,
    profile_items,
    resolve,
)
from ec2ident_agent.state.journal import Journal
from ec2ident_agent.state.owned import COMMAND, CONFIG, State, interface

from .conftest import ip, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Identity

TABLES = (100, 101, 1000)
DEVICES = {"eth0": ("10.0.0.0/24", "fd00::/64"), "eth1": ("10.0.1.0/24", "fd00:0:0:1::/64")}
FURTHER = (
    ExtraRoute("10.50.0.0/16"),
    ExtraRoute("10.60.0.0/16", mtu=1400, advmss=1300),
    ExtraRoute("10.80.0.0/16"),
)
FURTHER_6 = (*FURTHER, ExtraRoute("fd00:50::/32"), ExtraRoute("fd00:60::/32", "fe80::2", 1300))
OVERLAYS = ("192.168.10.10/32", "192.168.10.11/32", "fd00:5::1/128")


NOBODY = 65534


class Flaky(NetlinkKernel):
    """The real kernel, which at random refuses a step, or loses it to another program after it said yes."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.rate = 0.0
        self.rolling = self.harmed = False

    def do_surely(self, steps: Sequence[Step]) -> list[Failure]:
        """What the kernel does without chance."""
        return super().do(steps)

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        failures = []
        for step in steps:
            chance = self.chance.random()
            failures += self.refused(step) if chance < self.rate else self.do_surely([step])
            self.rolling = self.rolling or bool(failures)
            # A rollback says yes for the last time: what is lost after it is drift.
            if self.rate <= chance < self.rate * 1.2 and step.verb == "add" and not self.rolling:
                self.do_surely([step.undo()])
                self.harmed = True
        return failures

    def refused(self, step: Step) -> list[Failure]:
        """The kernel itself says no, without a question: EPERM, for any step, with no other effect."""
        self.harmed = True
        os.seteuid(NOBODY)
        try:
            return self.do_surely([step])
        finally:
            os.seteuid(0)


#: What a step may be that does not change what is wanted.
BESIDES = ("other", "drift", "reverted")


#: RTPROT_KERNEL.
KERNEL = 2


class Walk:
    """One node, its wishes, and the others on it."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.chance = random.Random(seed)
        self.flaky = Flaky(self.chance)
        names = directory / "names"
        names.mkdir()
        self.kernel = NamedKernel(self.flaky, str(names), ())
        self.journal = Journal(str(directory / "state"))
        os.mkdir(directory / "state")
        self.others: list[str] = []
        self.wished: list[Desired] = []

    def profile(self, device: str, table: int) -> Desired:
        choose = self.chance.choice
        four, six = DEVICES[device]
        both = self.chance.random() < 0.5
        router = str(four).replace("0/24", choose(("1", "1", "254")))
        section = Section(
            device,
            subnets=(four, six) if both else (four,),
            routers=(router, "fe80::1") if both else (router,),
            table=table,
            table_name=choose(("", f"T{table}")),
            priority=choose((100, 200, 23600)),
            scheme=choose(("by-source", "split")),
            vpc=("10.0.0.0/16", "fd00::/56"),
            routes=tuple(self.chance.sample(FURTHER_6 if both else FURTHER, self.chance.randrange(3))),
            mtu=choose((0, 0, 1500, 1400)),
            advmss=choose((0, 0, 1200)),
        )
        return Desired(interface(device), profile_items(resolve(section, Facts(device))), choose((CONFIG, COMMAND)))

    def look(self) -> Look:
        return Look(self.kernel.observe(), self.journal.read())

    def wishes(self) -> list[Desired]:
        sample = self.chance.sample
        tables = sample(TABLES, 2)
        found = [self.profile(device, table) for device, table in zip(DEVICES, tables) if self.chance.random() < 0.7]
        there = self.kernel.observe()
        for address in OVERLAYS:
            if self.chance.random() < 0.5:
                overlay = Overlay(address, self.chance.choice(tuple(DEVICES)))
                found.append(Desired(overlay.owner, overlay_items(overlay, (), free_labels(there))))
        return found

    def one_more(self) -> list[Desired]:
        """What was wanted last, and one overlay address more, or with another device."""
        overlay = Overlay(self.chance.choice(OVERLAYS), self.chance.choice(tuple(DEVICES)))
        one = Desired(overlay.owner, overlay_items(overlay, (), free_labels(self.kernel.observe())))
        return [*(each for each in self.wished if each.owner != overlay.owner), one]

    def other(self) -> None:
        """Another program acts. Each kind has its own protocol: a removal without one takes the first match."""
        choose, number = self.chance.choice, self.chance.randrange(4)
        table = choose((*TABLES, 254, 77))
        subnet, _ = DEVICES[choose(tuple(DEVICES))]
        come = choose(
            (
                f"rule add from {subnet} table {table} priority {choose((100, 200))} protocol 201",
                f"rule add from {subnet} table {table} priority 100 fwmark {number + 1} protocol 202",
                f"rule add from {subnet} to 10.{number}.0.0/16 table {table} priority 100 protocol 203",
                f"-6 rule add from fd00::/64 table {table} priority 100 protocol {choose((201, 4))}",
                f"route add 10.7{number}.0.0/16 dev eth1 table {choose((254, 77))}",
                f"route add blackhole 10.8{number}.0.0/16 table {choose(TABLES)}",
                f"route add 10.5{number}.0.0/16 dev eth1 table {choose(TABLES)}",
                f"route add blackhole default table {choose(TABLES)}",
                f"address add 192.168.10.1{number}/32 dev eth1",
                f"address add 192.168.10.10/2{number} dev eth0",
            )
        )
        if self.others and self.chance.random() < 0.6:
            gone = self.others.pop(self.chance.randrange(len(self.others)))
            ip(gone.replace(" add ", " del "))
        elif subprocess.run(["ip", *come.split()], capture_output=True, check=False, timeout=30).returncode == 0:
            self.others.append(come)

    def drift(self) -> None:
        """Another program removes what is the agent's."""
        ours = [seen.item for seen in self.flaky.observe().seen if seen.protocol == OURS and not seen.extra]
        if ours:
            self.flaky.do_surely([Step("del", self.chance.choice(ours))])

    def step(self) -> str:
        """One change; what became of it."""
        what = self.chance.random()
        if what < 0.25:
            self.other()
            return "other"
        if what < 0.35:
            self.drift()
            return "drift"
        if what < 0.45:
            engine.revert(None, self.look(), self.kernel, self.journal, lambda _: None)
            self.nothing_of_ours()
            return "reverted"
        return self.change()

    def change(self) -> str:
        small = self.chance.random() < 0.2
        wishes = self.wished = self.one_more() if small else self.wishes()
        before, files, theirs, state = snapshot(), self.kernel.names(), self.theirs(), self.journal.read()
        there = self.kernel.observe()
        # A change of one owner is rolled back as a whole; of several owners it is done in part.
        self.flaky.rate = self.chance.choice((0, 0, 0.5 if small else 0.1))
        self.flaky.rolling = self.flaky.harmed = False
        try:
            report = engine.apply(wishes, Look(there, state), self.kernel, self.journal, lambda _: None)
        except ConfigError:
            assert (before, files) == (snapshot(), self.kernel.names())
            return "contradiction"
        except KernelError as failed:
            self.flaky.rate = 0
            if not self.flaky.harmed:
                raise
            if failed.clean:
                assert sorted(before.splitlines()) == sorted(snapshot().splitlines())
                assert state == self.journal.read()
                return "rolled back"
            self.mend(wishes)
            return "mended"
        finally:
            self.flaky.rate = 0
            assert theirs == self.theirs()
        if report.failed:
            # Of other owners, and of the other family, everything is there; the next apply adds the rest.
            assert self.flaky.harmed
            self.mend(wishes)
            return "in part"
        if report.refused:
            self.only_the_others(wishes, report, there, state)
            return "refused"
        left = engine.compare(wishes, self.look())
        if left.difference.conflicts:
            # A further route in conflict is left out alone.
            assert all(isinstance(each.item, Route) and each.item.further for each in left.difference.conflicts)
            assert (left.steps, left.waiting, left.refused) == ((), (), frozenset())
            return "applied but for a route"
        assert left.in_order, left.difference
        return "applied"

    def mend(self, wishes: list[Desired]) -> None:
        """What could not be undone, or was taken away meanwhile: the next apply gets there."""
        engine.apply(wishes, self.look(), self.kernel, self.journal, lambda _: None)
        left = engine.compare(wishes, self.look())
        assert ((), ()) == (left.steps, left.waiting)

    def only_the_others(self, wishes: list[Desired], report: engine.Report, before: Observed, state: State) -> None:
        """Of the refused nothing has changed, in the kernel or in the journal; the others have what they should."""
        mine = {record.item.identity for record in state.records if record.owner in report.refused}
        mine |= {item.identity for each in report.desired if each.owner in report.refused for item in each.items}
        after, now = self.kernel.observe(), self.journal.read()
        assert kept(before, mine) == kept(after, mine)
        records = [[record for record in each.records if record.owner in report.refused] for each in (state, now)]
        assert records[0] == records[1]
        left = engine.compare(wishes, Look(after, now))
        assert ((), report.refused) == (left.steps, left.refused)

    def theirs(self) -> list[str]:
        """But for main's routes by the kernel, which come and go with the agent's IPv6 addresses."""
        there = (seen for seen in self.kernel.observe().seen if seen.protocol != OURS or seen.extra)
        return sorted(str(seen) for seen in there if seen.protocol != KERNEL or not isinstance(seen.item, Route))

    def nothing_of_ours(self) -> None:
        assert [] == [seen for seen in self.kernel.observe().seen if seen.protocol == OURS]
        assert () == self.journal.read().records


def kept(observed: Observed, identities: set[Identity]) -> list[str]:
    """What of the agent's is there under these identities."""
    return sorted(str(seen) for seen in observed.seen if seen.protocol == OURS and seen.item.identity in identities)


@pytest.mark.root
@pytest.mark.usefixtures("node")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("changes", [100, pytest.param(1000, marks=pytest.mark.full)])
def test_a_random_walk_ends_where_it_began(tmp_path: Path, changes: int) -> None:
    """Always the desired state or a clean rollback; others' objects as they left them."""
    seed = int(os.environ.get("WALK_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"WALK_SEED={seed}")
    before = snapshot()
    for name in ("fibmsg", "ifaddrmsg", "rtmsg"):
        import_module(f"pyroute2.netlink.rtnl.{name}")  # another user may not be able to read where it is installed
    walk = Walk(seed, tmp_path)
    met: list[str] = []
    try:
        while sum(each not in BESIDES for each in met) < changes:
            met.append(walk.step())
        while walk.others:
            ip(walk.others.pop().replace(" add ", " del "))
        engine.revert(None, walk.look(), walk.kernel, walk.journal, lambda _: None)
        walk.nothing_of_ours()
    finally:
        walk.kernel.close()

    assert before == snapshot()
    assert "applied" in met
    # A short walk may miss what is rare.
    assert changes < 1000 or {*BESIDES, "refused", "rolled back", "mended", "in part"} <= set(met)
    assert not any(isinstance(seen.item, TableName) for seen in walk.kernel.names())
