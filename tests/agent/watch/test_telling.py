"""What watch tells programs: the metrics, read by the parser of Prometheus's own client, and the events."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ec2ident.program.frame import OutputError
from ec2ident_agent.errors import UnknownError
from ec2ident_agent.items import OURS, Seen
from ec2ident_agent.kernel.events import Deletion, Heard
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.watch.event import WatchEvent
from ec2ident_agent.watch.telling import MetricsFile, Teller
from tests.lab.recipe import NAMELESS as CONFIGURATION

from .test_loop import DEFAULT, OVERLAY, RULE, Node, Stubborn, fight

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


# The stream of events


def told(node: Node, *kinds: str) -> list[dict[str, object]]:
    """The public events of these kinds since the last call."""
    found = [event.public() for event in node.events if event.kind in kinds]
    node.events.clear()
    return found


def test_a_loss_and_its_repair_are_two_events(node: Node) -> None:
    """Each names the owner, the item, and the program that the kernel named."""
    assert 4 == len(told(node, "added"))
    node.watch.heard(Heard(True, (Deletion(Seen(RULE, OURS), 77),)), {77: "systemd-network"}.get)  # type: ignore[arg-type]
    node.lose(RULE)
    node.look()

    about = {"owner": "eth1", "item": str(RULE), "by": "systemd-network", "process": 77}
    assert [{"event": "drift", **about}, {"event": "repaired", **about}] == told(
        node, "drift", "repaired", "added", "removed", "state"
    )


def test_what_is_not_configured_any_more_is_removed(node: Node) -> None:
    """Its owner is the one that the journal names, also in the line of the log with the command."""
    node.events.clear()
    node.write(CONFIGURATION.partition("[[overlay]]")[0])
    node.watch.follow.anew()  # type: ignore[attr-defined]
    node.look()

    assert [OWNERS[1]] == [each.fields()["owner"] for each in node.events if each.kind == "step"]
    assert [{"event": "removed", "owner": OWNERS[1], "item": str(OVERLAY)}] == told(
        node, "drift", "removed", "repaired"
    )


def test_what_is_given_up_names_program_and_prevention(node: Node) -> None:
    """Every item is an event; the line for people is in the first one alone."""
    node.known = ("wg-quick", "Table = off")
    for _ in range(12):
        node.kernel.flush_table(100)
        node.look(0.2)
    first, second = told(node, "given_up")

    assert ("eth1", "Table = off") == (first["owner"], first["prevent"])
    assert str(first["text"]).startswith("deleted again 10 times within 60 s, so repairs wait")
    assert ("eth1", "Table = off", False) == (second["owner"], second["prevent"], "text" in second)
    assert first["item"] != second["item"]


def test_trouble_names_its_owner_once_and_the_state_follows(node: Node) -> None:
    """A foreign address in the place of the overlay's; after it is gone, the state is in order again."""
    node.events.clear()
    node.kernel.seen = [each for each in node.kernel.seen if each.item != OVERLAY]
    node.kernel.seen.append(Seen(OVERLAY, 0))
    node.look()
    node.look()
    trouble, state = told(node, "trouble", "state")
    assert ("trouble", OWNERS[1]) == (trouble["event"], trouble["owner"])
    assert {"event": "state", "state": state["state"], "in_order": False} == state

    node.kernel.seen = [each for each in node.kernel.seen if each.item != OVERLAY]
    node.look()
    (state,) = told(node, "state")
    assert {"event": "state", "state": "4 items: in order", "in_order": True} == state


def test_what_the_kernel_refuses_is_trouble_of_its_owner(tmp_path: Path) -> None:
    """The items of that owner and family wait, so they count as given up; the other owner has nothing of it."""
    kernel = Stubborn("eth0", "eth1")
    kernel.refused = DEFAULT
    node = Node(tmp_path, kernel=kernel)
    (trouble,) = told(node, "trouble")
    found = metrics(node)

    assert ("eth1", True) == (trouble["owner"], str(trouble["text"]).startswith("ip route add default"))
    assert found["drift_items", "eth1"] == found["given_up_items", "eth1"] > 0
    assert (0.0, 1.0) == (found["given_up_items", OWNERS[1]], found["last_look_complete", ""])


def test_each_event_is_a_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    """With the time in seconds since 1970. What is for people alone is on standard error."""
    tell = Teller({}, as_json=True)
    tell(WatchEvent("step", "ip rule add", owner="eth1"))
    tell(WatchEvent("trouble", "eth1: no", loud=True, owner="eth1"))
    out, err = capfd.readouterr()

    (line,) = out.splitlines()
    found = json.loads(line)
    assert found.pop("time") > 1e9
    assert {"event": "trouble", "owner": "eth1", "text": "eth1: no"} == found
    assert "[#] ip rule add\nec2ident-agent: eth1: no\n" == err


def test_a_line_is_never_longer_than_what_a_pipe_takes_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Its text is cut; a longer line could wait for a slow reader."""
    Teller({}, as_json=True)(WatchEvent("trouble", "ä" * 5000, owner="eth1"))
    (line,) = capfd.readouterr().out.splitlines()

    assert len(line) < 4096
    assert ("eth1", "ä" * 400 + "…") == (json.loads(line)["owner"], json.loads(line)["text"])


def test_a_slow_reader_does_not_hold_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that is full: events are dropped, and the next one that is written says how many were."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as writer:
        monkeypatch.setattr("sys.stdout", writer)
        tell = Teller({}, as_json=True)
        for _ in range(5000):
            tell(WatchEvent("drift", owner="eth1", item="x" * 100))
        taken = [json.loads(reader.readline()) for _ in range(100)]
        assert not any("dropped" in each for each in taken)
        tell(WatchEvent("repaired", owner="eth1"))
        last: dict[str, object] = {}
        while last.get("event") != "repaired":
            last = json.loads(reader.readline())
            taken.append(last)

    assert 5001 - len(taken) == last["dropped"]


def test_a_reader_that_has_gone_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of every program; the exit code is the one of a broken pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(os.dup(1), "w"), os.fdopen(writing, "w") as writer:
        monkeypatch.setattr("sys.stdout", writer)
        with pytest.raises(OutputError, match="Broken pipe"):
            Teller({}, as_json=True)(WatchEvent("drift"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer.fileno())
