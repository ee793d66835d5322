"""`Node`, the agent as an object: what its methods return and raise, and how often each looks."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import ec2ident_agent
from ec2ident_agent import AgentError, ConfigError, KernelError, Node, RefusedError, UnknownError, interface, overlay
from ec2ident_agent.config import parse
from ec2ident_agent.config_file import load
from ec2ident_agent.engine import Look
from ec2ident_agent.items import NAMES_FILE, OURS, Address, Link, Observed, Route, Rule, Seen, Step, TableName
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.kernel.protocol import Failure
from ec2ident_agent.profile import Config, Facts, Section, kernel_facts
from ec2ident_agent.state.journal import Journal
from ec2ident_agent.watch.loop import ConfigFollower
from ec2ident_agent.watch.reconciler import Reconciler
from tests.lab.recipe import CONFIGURATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ec2ident_agent.items import Item

CONFIG = parse("agent.toml", CONFIGURATION.encode())
ETH1, OVERLAY = interface("eth1"), overlay("192.168.10.10/32")
RULE, ADDRESS = Rule("10.0.1.0/24", 100, 100), Address("eth0", "192.168.10.10/32", "eth0:1")


class CountingKernel(FakeKernel):
    """Counts the looks and the changes."""

    def __init__(self, *links: str) -> None:
        super().__init__(*links)
        self.calls: Counter[str] = Counter()

    def observe(self, tables: Collection[int] = ()) -> Observed:
        self.calls["look"] += 1
        return super().observe(tables)

    def observe_links(self) -> tuple[Link, ...]:
        self.calls["links"] += 1
        return super().observe_links()

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        self.calls["change"] += bool(steps)
        return super().do(steps)


@pytest.fixture
def kernel() -> CountingKernel:
    return CountingKernel("eth0", "eth1")


def node_of(directory: Path, kernel: FakeKernel, config: str | Config = CONFIG, **more: object) -> Node:
    files = {"state_dir": str(directory / "state"), "names_dir": str(directory / "names")}
    return Node(config, **files, kernel=kernel, **more)  # type: ignore[arg-type]


@pytest.fixture
def fake(tmp_path: Path, kernel: CountingKernel) -> Node:
    return node_of(tmp_path, kernel)


def ours(kernel: FakeKernel) -> set[Item]:
    return {seen.item for seen in kernel.seen if seen.protocol == OURS}


# -- what is returned


def test_apply_returns_what_there_was_to_do_and_status_what_there_is(fake: Node, kernel: CountingKernel) -> None:
    """The steps of both are the same values; a second apply has none."""
    wanted = fake.status().steps
    done = fake.apply()

    assert wanted == done.steps
    assert {RULE, ADDRESS} < ours(kernel)
    assert ((), True) == (fake.apply().steps, fake.status().in_order)


def test_a_dry_run_returns_the_same_and_changes_nothing(fake: Node, kernel: CountingKernel, tmp_path: Path) -> None:
    """Of every method that changes something; not even a directory is made."""
    before = list(kernel.seen)

    planned = fake.apply(dry_run=True)
    assert planned.steps == fake.plan().steps
    assert fake.hold_overlay("192.168.10.11", device="eth0", dry_run=True).steps
    section = Section("eth1", table=100, subnets=("10.0.1.0/24",), routers=("10.0.1.1",))
    assert fake.hold(Config((section,)), dry_run=True).steps
    assert (before, []) == (kernel.seen, os.listdir(tmp_path))

    fake.apply()
    before = list(kernel.seen)
    assert set(map(str, fake.revert(None, dry_run=True))) == {str(step.undo()) for step in planned.steps}
    assert len(fake.release_overlays("192.168.10.10", dry_run=True)) == 1
    assert before == kernel.seen


def test_each_change_is_logged_as_a_command_before_it_is_done(tmp_path: Path, kernel: CountingKernel) -> None:
    """By the function that the caller gives."""
    said: list[str] = []
    report = node_of(tmp_path, kernel, log=said.append).apply()

    assert [f"[#] {step}" for step in report.steps] == said


def test_a_foreign_object_is_in_the_report_and_no_error(fake: Node, kernel: CountingKernel) -> None:
    """Everything is done for the other owners; the refusal has the owner and the reason as fields."""
    kernel.add(Seen(Route("10.0.1.0/24", "eth0", 100), 3))

    report = fake.apply()

    (refusal,) = report.refusals
    assert (ETH1, frozenset({ETH1})) == (refusal.owner, report.refused)
    assert refusal.why.startswith("table 100 holds a foreign route: 10.0.1.0/24")
    assert {ADDRESS} == ours(kernel)


def test_what_is_unknown_is_in_the_report_and_keeps_what_it_has(tmp_path: Path, kernel: CountingKernel) -> None:
    """By owner, whatever the section's name is: a colon in it divides nothing."""
    section = Section("db: 1", mac=kernel.links[2].mac)
    known = node_of(tmp_path, kernel, Config((section,)), facts=lambda device, _: Facts(
        device, ("10.0.1.0/24",), ("10.0.1.1",), table=100
    ))  # fmt: skip
    known.apply()
    before = ours(kernel)

    report = node_of(tmp_path, kernel, Config((section,)), facts=lambda device, _: Facts(device)).apply()

    assert [interface("db: 1")] == [each.owner for each in report.unknown]
    assert report.unknown[0].why.startswith("subnet unknown: ")
    assert before == ours(kernel)


def test_an_overlay_inside_the_vpc_is_a_warning_in_the_report(fake: Node) -> None:
    """With the address and the range as fields."""
    (warning,) = fake.hold_overlay("10.0.1.77", device="eth1").warnings

    assert ("10.0.1.77/32", "10.0.1.0/24") == (warning.overlay.address, warning.network)


def test_one_owner_is_applied_and_reverted_alone(fake: Node, kernel: CountingKernel) -> None:
    """By its value; an overlay is another owner than an interface of the same name."""
    fake.apply([OVERLAY])
    assert {ADDRESS} == ours(kernel)
    fake.apply([ETH1])

    assert () == fake.revert([interface("192.168.10.10/32")])
    fake.revert([OVERLAY])

    assert RULE in ours(kernel)
    assert ADDRESS not in ours(kernel)


def test_an_owner_that_nothing_is_known_of_is_a_configuration_error(fake: Node) -> None:
    """An interface that is not there, one that is not configured, and an overlay that is not."""
    with pytest.raises(ConfigError, match="eth9: no such interface"):
        fake.status([interface("eth9")])
    with pytest.raises(ConfigError, match=r"eth0: nothing is configured for it; write \[interface\.eth0\]"):
        fake.apply([interface("eth0")])
    with pytest.raises(ConfigError, match=r"overlay 10\.9\.9\.9/32: nothing is configured .*\[\[overlay\]\]"):
        fake.apply([overlay("10.9.9.9/32")])


def test_what_is_held_needs_no_configuration(tmp_path: Path, kernel: CountingKernel) -> None:
    """It is applied again by every apply until it is released, which reads no configuration at all."""
    node_of(tmp_path, kernel).hold_overlay("192.168.10.11/32", device="eth1")
    held = ours(kernel)
    kernel.seen = [seen for seen in kernel.seen if seen.item not in held]
    node_of(tmp_path, kernel, Config()).apply()
    assert held == ours(kernel)

    broken = tmp_path / "agent.toml"
    broken.write_text("[", encoding="utf-8")
    node_of(tmp_path, kernel, str(broken)).release_overlays("192.168.10.11")

    assert set() == ours(kernel)


@pytest.mark.parametrize("insist", [True, False])
def test_a_release_may_insist_where_another_process_hangs(tmp_path: Path, kernel: CountingKernel, insist: bool) -> None:
    """Two nodes must not answer for one address; without insisting it is refused, and nothing has changed."""
    said: list[str] = []
    node = node_of(tmp_path, kernel, note=said.append)
    node.apply()
    with Journal(str(tmp_path / "state")).lock():
        if insist:
            node.release_overlays("192.168.10.10", patience=0.0, insist=True)
        else:
            with pytest.raises(RefusedError, match="held by process"):
                node.release_overlays("192.168.10.10", patience=0.0)

    assert insist == (ADDRESS not in ours(kernel))
    assert insist == any("going on without the lock" in line for line in said)


# -- another table under the same name


def test_another_table_under_the_same_name(tmp_path: Path, kernel: CountingKernel) -> None:
    """The name moves with the table: it is removed from the old number and written for the new one."""
    node_of(tmp_path, kernel).apply()
    moved = parse("agent.toml", CONFIGURATION.replace("= 100\ntable_name", "= 101\ntable_name").encode())
    assert moved != CONFIG

    report = node_of(tmp_path, kernel, moved).apply()

    assert not report.refused
    assert "101\tMYHA" == (tmp_path / "names" / NAMES_FILE).read_text().splitlines()[-1]
    assert {TableName(101, "MYHA")} == {each.item for each in node_of(tmp_path, kernel).kernel.names()
                                        if isinstance(each.item, TableName) and each.protocol == OURS}  # fmt: skip
    assert {101} == {item.table for item in ours(kernel) if isinstance(item, (Route, Rule))}
    assert node_of(tmp_path, kernel, moved).status().in_order


# -- how often each verb looks


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counter[str]:
    """How often each file is read, by its name; the names of tables under one word."""
    from ec2ident_agent import config_file
    from ec2ident_agent.state import statefile

    counted: Counter[str] = Counter()
    read_file, load_config = statefile.read, config_file.load

    def read(path: str) -> bytes | None:
        name = "names" if "rt_tables" in path or path.endswith(NAMES_FILE) else os.path.basename(path)
        counted[f"names {path}" if name == "names" else name] += 1
        return read_file(path)

    def counting_load(path: str, **more: object) -> Config:
        counted["configuration"] += 1
        return load_config(path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(statefile, "read", read)
    monkeypatch.setattr(config_file, "load", counting_load)
    return counted


def drift(node: Node, kernel: CountingKernel) -> None:
    node.apply()
    kernel.flush_table(100)


#: Verb -> how the node comes to it, the call, and how often it looks at the kernel.
VERBS: dict[str, tuple[Callable[[Node, CountingKernel], object], Callable[[Node], object], int]] = {
    "plan": (drift, lambda node: node.plan(), 1),
    "status": (drift, lambda node: node.status(), 1),
    "status of one": (drift, lambda node: node.status([ETH1]), 1),
    "apply, with a change": (drift, lambda node: node.apply(), 2),
    "apply, from nothing": (lambda node, kernel: None, lambda node: node.apply(), 2),
    "apply, with nothing to do": (lambda node, kernel: node.apply(), lambda node: node.apply(), 1),
    "apply of one": (drift, lambda node: node.apply([ETH1]), 2),
    "interface up": (drift, lambda node: node.interface_up("eth1"), 2),
    "revert of one": (drift, lambda node: node.revert([ETH1]), 1),
    "revert of all": (drift, lambda node: node.revert(None), 1),
    "overlay add": (drift, lambda node: node.hold_overlay("192.168.10.11", device="eth0"), 2),
    "overlay add, held": (
        lambda node, kernel: node.hold_overlay("192.168.10.11", device="eth0"),
        lambda node: node.hold_overlay("192.168.10.11", device="eth0"),
        1,
    ),
    "overlay del": (drift, lambda node: node.release_overlays("192.168.10.10"), 1),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_looks_once_and_reads_back_once(
    tmp_path: Path, kernel: CountingKernel, reads: Counter[str], verb: str
) -> None:
    """One look at the kernel, and one read of the journal, the configuration, the list of suppressed owners and each
    file with names. A change is read back: the kernel and the names, once more. Nothing else is read again.
    """
    (tmp_path / "agent.toml").write_text(CONFIGURATION, encoding="utf-8")
    (tmp_path / "agent.toml").chmod(0o644)
    prepare, call, looks = VERBS[verb]
    prepare(node_of(tmp_path, kernel, str(tmp_path / "agent.toml")), kernel)
    kernel.calls.clear()
    reads.clear()

    call(node_of(tmp_path, kernel, str(tmp_path / "agent.toml")))

    configured = 0 if verb.startswith(("revert", "overlay del")) else 1
    assert (looks, 0) == (kernel.calls["look"], kernel.calls["links"])
    assert (1, configured) == (reads["journal"], reads["configuration"])
    assert reads["suppressed"] <= 1
    assert {looks} == {count for name, count in reads.items() if name.startswith("names ")}


def test_with_facts_to_ask_for_the_links_are_looked_at_first(tmp_path: Path, kernel: CountingKernel) -> None:
    """The metadata service is asked before the lock is taken, since it may have to be waited for; then one look."""
    kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 3))
    asked: list[bool] = []

    def facts(device: str, observed: Observed) -> Facts:
        try:
            with Journal(str(tmp_path / "state")).lock(0):
                asked.append(True)
        except RefusedError:
            asked.append(False)
        return kernel_facts(device, observed)

    node_of(tmp_path, kernel, Config((Section("eth1", table=100),)), facts=facts).apply()

    assert [True, False] == asked
    assert (1, 2) == (kernel.calls["links"], kernel.calls["look"])


# -- the documentation


def examples() -> Iterator[str]:
    for name in ("docs/agent.md", "agent/ec2ident_agent/node.py"):
        text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
        if name.endswith(".md"):
            yield from re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        else:
            block = re.search(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
            assert block
            yield "\n".join(line[4:] for line in block[0].splitlines())


@pytest.mark.root
@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("number", range(2))
def test_the_example_runs_and_its_revert_lasts_under_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Of docs/agent.md and of the module's own page, on a real kernel, with the published recipe. Afterwards a look of
    the watch adds nothing of what was reverted.
    """
    config, state, names = tmp_path / "agent.toml", str(tmp_path / "state"), str(tmp_path / "names")
    config.write_text(CONFIGURATION, encoding="utf-8")
    config.chmod(0o644)

    def here(**more: object) -> Node:
        return Node(str(config), state_dir=state, names_dir=names, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ec2ident_agent, "Node", here)
    code = list(examples())[number]

    exec(compile(code, "example", "exec"), {})

    with here() as node:
        there = node.look()
        assert {OVERLAY} == {record.owner for record in there.state.records}
        follower = ConfigFollower(str(config), lambda: load(str(config), required=True, uids={0}, cache=None, now=0))
        Reconciler(node, follower, lambda event: None, lambda lost, seen: {}, lambda: 1000.0).look()
        assert there == Look(node.kernel.observe(), node.journal.read())


def test_every_error_is_an_agent_error() -> None:
    """One `except` serves."""
    assert all(issubclass(each, AgentError) for each in (ConfigError, UnknownError, RefusedError, KernelError))
