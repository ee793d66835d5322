"""What docs/operators.md and docs/alerts.yml say of the metrics is what the programs write."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ec2ident_agent.exposition import COUNTER, Family
from ec2ident_agent.failover import metrics, moves
from ec2ident_agent.watch import event, standing

PAGE = Path(__file__).parent.parent / "docs" / "operators.md"
ALERTS = PAGE.with_name("alerts.yml")


def families() -> dict[str, Family]:
    """Every metric that there is, with samples of an owner, a service and a part."""
    count = standing.LookCount(1, 1e9, 0.5, True)
    agent = standing.families("1.2.3", count, [standing.OwnerStanding("eth1", 4)], {"eth1": 0})
    move = moves.LastMove("takeover", 1e9, 0.5, 0)
    return {each.name: each for each in (*agent, *metrics.families("1.2.3", "db", {"route": 0}, move, 1e9))}


def test_the_page_has_every_metric_with_its_labels() -> None:
    """And names none that is not there."""
    rows = re.findall(r"^\| `(ec2ident_\w+)` \|\s*([^|]*?)\s*\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: {*re.findall(r"`(\w+)`", labels)} for name, labels in rows}

    assert {name: {*each.samples[0][0]} for name, each in families().items()} == documented


def test_names_follow_the_conventions() -> None:
    """Base units at the end of the name, `_total` for a counter alone, `_info` for what is always 1."""
    for name, family in families().items():
        assert re.fullmatch(r"ec2ident_(agent|failover)_[a-z_]+", name)
        assert (family.kind == COUNTER) == name.endswith("_total"), name
        assert not re.search(r"(milli|minutes|hours|percent|bytes_total_)", name)
        assert ("timestamp" in name or "duration" in name) == name.endswith("_seconds"), name
        if name.endswith("_info"):
            assert [1.0] == [value for _, value in family.samples]
        assert family.help.endswith((".", "?")) or ":" in family.help


def test_the_sample_alerts_name_metrics_and_labels_that_exist() -> None:
    """A misspelt name would be an alert that never fires."""
    known = families()
    rules = [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    assert len(rules) == len({rule["alert"] for rule in rules}) > 8
    used = set()
    for rule in rules:
        assert (
            {"alert", "expr", "labels", "annotations"} <= {*rule} <= {"alert", "expr", "labels", "annotations", "for"}
        )
        assert {"summary", "action"} == {*rule["annotations"]}
        assert rule["labels"]["severity"] in ("warning", "critical")
        names = re.findall(r"\bec2ident_\w+", rule["expr"])
        assert names
        assert set() == {*names} - {*known}, rule["alert"]
        labels = {"instance"}.union(*(known[name].samples[0][0] for name in names))
        said = {*re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))}
        selected = re.findall(r'(\w+)="', rule["expr"])
        assert said | {*selected} <= labels, rule["alert"]
        used |= {*names}
    assert {"ec2ident_agent_drift_items", "ec2ident_failover_held", "ec2ident_failover_last_move_exit_code"} <= used


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_takes_the_sample_alerts() -> None:
    """Prometheus's own reader of rules, where it is installed."""
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_page_has_every_event_of_the_watch() -> None:
    """With `--json`, and in the field EC2IDENT_EVENT of the journal."""
    found = {value for name, value in vars(event).items() if name.isupper() and isinstance(value, str)}
    section = PAGE.read_text(encoding="utf-8").partition("\n### Events of the watch\n")[2].partition("\n##")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert found - {event.STEP} == {*rows}
