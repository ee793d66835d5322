"""What watch tells programs: the metrics, read by the parser of Prometheus's own client, and the events."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ec2ident_agent.errors import UnknownError
from ec2ident_agent.items import Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.watch.telling import MetricsFile, Teller

from .test_loop import OVERLAY, RULE, Node, fight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Observed


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def metrics(node: Node, path: Path | None = None) -> dict[tuple[str, str], float]:
    """The samples of the file: name without prefix, owner or version -> value."""
    path = path or node.state / "watch.prom"
    MetricsFile(str(path), Teller({})).write(node.watch)
    found = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    samples = [sample for family in found for sample in family.samples]
    assert all(sample.name.startswith("ec2ident_agent_") for sample in samples)
    return {
        (sample.name[len("ec2ident_agent_") :], "".join(sample.labels.values())): sample.value for sample in samples
    }


OWNERS = ("eth1", "overlay 192.168.10.10/32")


def test_in_order_nothing_differs(node: Node) -> None:
    """Every owner has its samples from the first look on, so that a rate of repairs has a beginning."""
    found = metrics(node)

    assert {(each, 3.0 if each == "eth1" else 1.0) for each in OWNERS} == {
        (owner, value) for (name, owner), value in found.items() if name == "items"
    }
    for name in ("drift_items", "given_up_items", "refused", "unknown", "absent", "repairs_total"):
        assert dict.fromkeys(OWNERS, 0.0) == {owner: v for (each, owner), v in found.items() if each == name}
    assert (1.0, 1.0, 1.0) == tuple(
        found[name, ""] for name in ("looks_total", "last_look_complete", "configuration_valid")
    )
    assert found["last_look_timestamp_seconds", ""] > 1e9
    assert [1.0] == [value for (name, _), value in found.items() if name == "info"]


def test_a_repair_is_counted_for_its_owner(node: Node) -> None:
    """And nothing differs after it. What is configured newly does not count as one."""
    node.lose(RULE)
    node.look()
    found = metrics(node)

    assert (1.0, 0.0, 0.0) == tuple(
        found[each] for each in (("repairs_total", "eth1"), ("repairs_total", OWNERS[1]), ("drift_items", "eth1"))
    )


def test_what_is_deleted_again_and_again_is_given_up_for_a_while(node: Node) -> None:
    """It differs, and its repair waits; of the other owner nothing is said but that it is in order."""
    fight(node, RULE, 13, every=0.1)
    node.lose(RULE)
    node.look(0.1)
    found = metrics(node)

    assert (1.0, 1.0) == (found["drift_items", "eth1"], found["given_up_items", "eth1"])
    assert (0.0, 0.0) == (found["drift_items", OWNERS[1]], found["given_up_items", OWNERS[1]])


def test_a_foreign_object_in_the_way_is_refused(node: Node) -> None:
    """Its owner is named; what differs of it is not given up, because watch does not wait to repair it."""
    node.kernel.seen = [each for each in node.kernel.seen if each.item != OVERLAY]
    node.kernel.seen.append(Seen(OVERLAY, 0))
    node.look()
    found = metrics(node)

    assert (1.0, 1.0, 0.0) == tuple(found[name, OWNERS[1]] for name in ("refused", "drift_items", "given_up_items"))
    assert 0.0 == found["refused", "eth1"]


def test_an_interface_that_is_away_has_no_drift_and_is_absent(node: Node) -> None:
    """Unknown is never 0: what it should have is not compared with anything."""
    node.write("[interface.eth7]\nsubnet = '10.0.7.0/24'\ntable = 7\n")
    node.watch.follow.anew()  # type: ignore[attr-defined]
    node.look()
    found = metrics(node)

    assert 1.0 == found["absent", "eth7"]
    assert ("drift_items", "eth7") not in found


def test_a_fact_that_is_unknown_is_named(tmp_path: Path) -> None:
    """Without the metadata service the table of eth1 is unknown; the overlay is in order."""
    node = Node(tmp_path, "[interface.eth1]\n[[overlay]]\naddress = '192.168.10.10'\ndevice = 'eth0'\n")
    found = metrics(node)

    assert (1.0, 0.0) == (found["unknown", "eth1"], found["unknown", OWNERS[1]])
    assert ("drift_items", "eth1") not in found


def test_after_a_look_that_failed_nothing_is_said_of_the_owners(tmp_path: Path) -> None:
    """The time of the last complete look stays, and the counters; the file says that the last look was not complete."""

    class Deaf(FakeKernel):
        deaf = False

        def observe(self, tables: object = ()) -> Observed:
            if self.deaf:
                raise UnknownError("the kernel does not answer")
            return super().observe()

    kernel = Deaf("eth0", "eth1")
    node = Node(tmp_path, kernel=kernel)
    file = MetricsFile(str(tmp_path / "watch.prom"), Teller({}))
    file.write(node.watch)
    before = (tmp_path / "watch.prom").read_text()
    kernel.deaf = True
    node.look()
    file.write(node.watch)
    after = (tmp_path / "watch.prom").read_text()

    def line(text: str, name: str) -> str:
        return next(each for each in text.splitlines() if each.startswith(name))

    assert "ec2ident_agent_last_look_complete 0" in after
    assert line(before, "ec2ident_agent_last_look_timestamp") == line(after, "ec2ident_agent_last_look_timestamp")
    assert 'repairs_total{owner="eth1"} 0' in after
    assert "drift_items" not in after
    assert "refused" not in after


def test_a_broken_configuration_is_a_metric(node: Node) -> None:
    """The last one that was right is in force."""
    node.write("nonsense")
    node.watch.follow.anew()  # type: ignore[attr-defined]
    node.look()

    assert 0.0 == metrics(node)["configuration_valid", ""]


def test_the_file_is_replaced_as_a_whole_and_all_may_read_it(node: Node, tmp_path: Path) -> None:
    """Whatever the umask is; a reader that has it open goes on to read the old one."""
    before = os.umask(0o077)
    try:
        path = tmp_path / "watch.prom"
        metrics(node, path)
        with path.open() as old:
            metrics(node, path)
            assert old.read().endswith("\n")
            assert os.fstat(old.fileno()).st_ino != path.stat().st_ino
    finally:
        os.umask(before)
    assert 0o644 == stat.S_IMODE(path.stat().st_mode)
    assert not (tmp_path / "watch.prom.new").exists()


def test_a_file_that_cannot_be_written_is_one_line(
    node: Node, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And the watch goes on."""
    file = MetricsFile(str(tmp_path / "nowhere/watch.prom"), Teller({}))
    for _ in range(3):
        file.write(node.watch)
    assert 1 == capfd.readouterr().err.count("ec2ident-agent: metrics: ")
