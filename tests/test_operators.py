"""What docs/operators.md and docs/alerts.yml say of the metrics is what the programs write."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ec2ident_agent.exposition import COUNTER, Family, exposition
from ec2ident_agent.failover.records import metrics, moves
from ec2ident_agent.watch import event, standing
from tests.lab.packages import Unavailable, tree

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


def test_the_page_has_every_event_of_the_watch() -> None:
    """With `--json`, and in the field EC2IDENT_EVENT of the journal."""
    found = {value for name, value in vars(event).items() if name.isupper() and isinstance(value, str)}
    section = PAGE.read_text(encoding="utf-8").partition("\n### Events of the watch\n")[2].partition("\n##")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert found - {event.STEP} == {*rows}


#: A node "a" that has the service, and a node "b" that does not: an hour in which all is well, in promtool's notation.
WELL = {
    'ec2ident_agent_last_look_timestamp_seconds{instance="a"}': "0+60x60",
    'ec2ident_agent_configuration_valid{instance="a"}': "1x60",
    **{
        f'ec2ident_agent_{name}{{instance="a", owner="eth1"}}': "0x60"
        for name in ("drift_items", "given_up_items", "refused", "unknown", "absent", "repairs_total")
    },
    **{
        f'ec2ident_failover_{name}instance="{node}", service="db", state="{state}"}}': f"{int(state == answer)}x60"
        for name in ("held{", 'part_held{part="address", ')
        for node, answer in (("a", "yes"), ("b", "no"))
        for state in metrics.STATES
    },
    'ec2ident_failover_last_look_timestamp_seconds{instance="a", service="db"}': "0+60x60",
    'ec2ident_failover_last_move_exit_code{instance="a", service="db"}': "0x60",
    'ec2ident_failover_last_move_duration_seconds{instance="a", service="db"}': "3x60",
}

#: Alert -> the beginning of a series' name and labels, and what it is when the alert fires.
TROUBLE = {
    "Ec2identWatchSilent": ("ec2ident_agent_last_look", "0x60"),
    "Ec2identConfigurationWrong": ("ec2ident_agent_configuration_valid", "0x60"),
    "Ec2identDrift": ("ec2ident_agent_drift_items", "2x60"),
    "Ec2identGivenUp": ("ec2ident_agent_given_up_items", "1x60"),
    "Ec2identRefused": ("ec2ident_agent_refused", "1x60"),
    "Ec2identUnknown": ("ec2ident_agent_absent", "1x60"),
    "Ec2identRival": ("ec2ident_agent_repairs_total", "0+5x60"),
    "Ec2identServiceNowhere": ('ec2ident_failover_held{instance="a", service="db", state="yes"', "0x60"),
    "Ec2identServiceTwice": (
        'ec2ident_failover_part_held{part="address", instance="b", service="db", state="yes"',
        "1x60",
    ),
    "Ec2identServiceUnknown": ('ec2ident_failover_held{instance="b", service="db", state="unknown"', "1x60"),
    "Ec2identStatusOld": ("ec2ident_failover_last_look", "0x60"),
    "Ec2identMoveFailed": ("ec2ident_failover_last_move_exit_code", "4x60"),
    "Ec2identMoveSlow": ("ec2ident_failover_last_move_duration", "40x60"),
}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus's own judge of rules and metrics: the machine's, or Debian's, unpacked."""
    found = shutil.which("promtool")
    if found:
        return found
    try:
        return str(tree("prometheus") / "usr/bin/promtool")
    except Unavailable as error:
        pytest.skip(f"needs promtool: {error}")


def judged(*command: str, text: bytes = b"") -> None:
    done = subprocess.run(command, input=text, capture_output=True, timeout=120, check=False)
    assert (0, b"") == (done.returncode, done.stderr), (done.stdout + done.stderr).decode()


@pytest.mark.full
def test_prometheus_has_nothing_to_say_about_the_metrics(promtool: str) -> None:
    """Neither about the format nor about the conventions for names, types and help."""
    judged(promtool, "check", "metrics", text=exposition(families().values()))


@pytest.mark.full
def test_each_alert_fires_for_its_trouble_and_none_while_all_is_well(promtool: str, tmp_path: Path) -> None:
    """Prometheus evaluates the rules over an hour, once for each trouble, and once while all is well."""
    judged(promtool, "check", "rules", str(ALERTS))

    def hour(series: dict[str, str], alert: str) -> dict[str, object]:
        firing = f'count(ALERTS{{alertstate="firing", alertname="{alert}"}}) > bool 0'
        quiet = 'absent(ALERTS{alertstate="firing"})'
        sample = {"labels": "{}" if alert else '{alertstate="firing"}', "value": 1}
        expected = {"expr": firing if alert else quiet, "eval_time": "30m", "exp_samples": [sample]}
        rows = [{"series": name, "values": values} for name, values in series.items()]
        return {"interval": "1m", "input_series": rows, "promql_expr_test": [expected]}

    def troubled(begins: str, values: str) -> dict[str, str]:
        assert 1 == sum(name.startswith(begins) for name in WELL), begins
        return {name: values if name.startswith(begins) else was for name, was in WELL.items()}

    alerts = {
        rule["alert"]
        for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    assert alerts == {*TROUBLE}
    hours = [hour(WELL, ""), *(hour(troubled(*what), alert) for alert, what in TROUBLE.items())]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": hours}))
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
