"""It lets go, and says how it stands: release, status, dns wait, zones by name, --json, and the audit line."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ec2ident_agent.failover import settings
from ec2ident_agent.failover.iam import policy
from ec2ident_agent.failover.parts.part import Finding, HeldAddress
from ec2ident_agent.failover.records import moves
from ec2ident_agent.failover.records.audit import Audit
from ec2ident_agent.failover.records.memory import Memory
from ec2ident_agent.failover.records.on_move import MoveCommand

from .conftest import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .fake import Fake

NAME = "db.awslab.mycompany.corp"


@pytest.fixture
def consistent(either_consistency: bool) -> bool:
    """Every test here runs with reads of the present and with old ones."""
    return either_consistency


def service(aws: Fake, zone: str = "", **more: str) -> str:
    """A service with a route and a name; no address is held on this machine."""
    lines = "".join(f"{key} = {value}\n" for key, value in more.items())
    return configuration(aws, f'[service.db.dns]\nzone = "{zone or aws.lab.zone}"\nname = "{NAME}"\n{lines}')


def records(aws: Fake) -> dict[str, tuple[int, list[str]]]:
    from moto.route53.models import route53_backends

    zone = route53_backends[aws.account]["aws"].zones[aws.lab.zone]
    return {r.name.rstrip("."): (int(str(r.ttl)), [*r.records]) for r in zone.rrsets if r.name.startswith("db.")}


def check_of(aws: Fake) -> bool:
    return bool(aws.backend.enis[aws.lab.eni1].source_dest_check)


def switch_on(aws: Fake) -> None:
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})


def take(aws: Fake, run: Callable[..., Any], *words: str) -> Any:
    return run("takeover", "db", "--no-local", *words, config=service(aws))


def release(aws: Fake, run: Callable[..., Any], *words: str) -> Any:
    return run("release", "db", "--no-local", *words, config=service(aws))


def test_release_puts_back_the_check_and_the_record(aws: Fake, run: Callable[..., Any]) -> None:
    """The check was on, and there was no record. The routes stay: another node takes them."""
    switch_on(aws)
    assert 0 == take(aws, run)[0]
    assert (False, {NAME: (10, ["192.168.10.5"])}) == (check_of(aws), records(aws))

    code, _, log = release(aws, run)
    assert (0, True, {}) == (code, check_of(aws), records(aws)), log
    assert f"{aws.lab.eni1}: source/destination check switched on again" in log
    before = len(aws.journal)
    assert 0 == release(aws, run)[0]
    assert [] == [call for call in aws.journal[before:] if call["action"].startswith(("Change", "Modify"))]


def test_the_record_of_another_node_comes_back_with_its_ttl(aws: Fake, run: Callable[..., Any]) -> None:
    """Exactly as the take-over found it, even after two take-overs."""
    assert 0 == run("dns", "ensure", "--zone", aws.lab.zone, "--name", NAME, "--value", "10.0.0.12", "--ttl", "33")[0]
    aws.settle()
    for _ in range(2):
        assert 0 == take(aws, run)[0]
        aws.settle()

    assert 0 == release(aws, run)[0]
    assert {NAME: (33, ["10.0.0.12"])} == records(aws)


def test_a_record_that_another_program_changed_since_stays(aws: Fake, run: Callable[..., Any]) -> None:
    """The batch names exactly what this node wrote, so Route 53 itself compares: there is no race."""
    assert 0 == take(aws, run)[0]
    assert 0 == run("dns", "ensure", "--zone", aws.lab.zone, "--name", NAME, "--value", "10.0.0.12")[0]

    code, _, log = release(aws, run)
    assert (0, {NAME: (10, ["10.0.0.12"])}) == (code, records(aws))
    assert "changed since by another program, and left as it is" in log


def test_what_was_so_before_stays_so(aws: Fake, run: Callable[..., Any]) -> None:
    """A check that was off and a record that was right are not changed by a release."""
    assert 0 == run("dns", "ensure", "--zone", aws.lab.zone, "--name", NAME, "--value", "192.168.10.5")[0]
    aws.settle()
    assert 0 == take(aws, run)[0]

    assert (0, []) == release(aws, run, "--plan")[:2]
    assert 0 == release(aws, run)[0]
    assert (False, {NAME: (10, ["192.168.10.5"])}) == (check_of(aws), records(aws))


def test_the_plan_of_a_release_shows_each_call_and_changes_nothing(aws: Fake, run: Callable[..., Any]) -> None:
    """Exit 1 while there is something to do, as every plan."""
    switch_on(aws)
    assert 0 == take(aws, run)[0]
    code, lines, _ = release(aws, run, "--dry-run")

    assert 1 == code
    assert (
        f"aws ec2 modify-network-interface-attribute --network-interface-id {aws.lab.eni1} --source-dest-check" in lines
    )
    assert any('"Action": "DELETE"' in line and '"192.168.10.5"' in line for line in lines)
    assert (False, {NAME: (10, ["192.168.10.5"])}) == (check_of(aws), records(aws))


def test_a_check_that_another_service_needs_stays_off(aws: Fake, run: Callable[..., Any]) -> None:
    """The last service that goes switches it on, whichever of them switched it off."""
    switch_on(aws)
    both = service(aws) + service(aws)[service(aws).index("[service.db]") :].replace("service.db", "service.web")
    both = both.replace('name = "db.', 'name = "web.', 1)
    for name in ("db", "web"):
        assert 0 == run("takeover", name, "--no-local", config=both)[0]
        aws.settle()

    code, _, log = run("release", "db", "--no-local", config=both)
    assert (0, False) == (code, check_of(aws)), log
    assert 0 == run("release", "web", "--no-local", config=both)[0]
    assert check_of(aws)


def test_a_call_that_is_denied_does_not_hide_the_others(aws: Fake, run: Callable[..., Any]) -> None:
    """Each part is tried; the next release does the rest."""
    switch_on(aws)
    assert 0 == take(aws, run)[0]
    aws.fault(action="ModifyNetworkInterfaceAttribute", code="UnauthorizedOperation", status=403)

    code, _, log = release(aws, run)
    assert (4, False, {}) == (code, check_of(aws), records(aws))
    assert "allow ec2:ModifyNetworkInterfaceAttribute on " in log
    aws.faults.clear()
    assert 0 == release(aws, run)[0]
    assert check_of(aws)


def test_a_damaged_memory_puts_back_nothing(aws: Fake, run: Callable[..., Any], tmp_path: Path) -> None:
    """What cannot be read is unknown, and unknown changes nothing."""
    switch_on(aws)
    assert 0 == take(aws, run)[0]
    file = tmp_path / "state/failover/service-db"
    file.write_bytes(file.read_bytes()[:-3])

    assert (0, []) == release(aws, run)[:2]
    assert not check_of(aws)


def test_release_needs_the_permissions_that_policy_shows(aws: Fake, run: Callable[..., Any]) -> None:
    """`policy` alone is for a take-over; `policy --release` is exactly enough for both."""
    switch_on(aws)
    aws.policy("AKIDTEST", json.loads("\n".join(run("policy", "--release", config=service(aws))[1])))
    assert 0 == take(aws, run)[0]
    assert 0 == release(aws, run)[0]
    assert (True, {}) == (check_of(aws), records(aws))


def test_a_check_that_a_release_switched_on_is_switched_off_whatever_an_old_look_says(
    aws: Fake, run: Callable[..., Any]
) -> None:
    """The next take-over reads the check as it was before the release: off. With it on, no traffic would pass."""
    switch_on(aws)
    assert 0 == take(aws, run)[0]
    aws.settle()
    aws.settings(stale=60.0, oldest=True)
    assert 0 == release(aws, run)[0]
    assert check_of(aws)

    assert 0 == run("route", "ensure", "db", "--deadline", "2", config=service(aws))[0] or not check_of(aws)
    assert not check_of(aws)


# Status


def test_status_answers_for_every_part(aws: Fake, run: Callable[..., Any]) -> None:
    """Yes, no, cannot tell; the exit code is the greatest, and one part that cannot tell does not hide another."""
    # The address of the example is not on this machine, so --no-local of status would be a lie: another node is asked.
    other = service(aws)
    code, lines, _ = run("status", "db", config=other, instance=aws.lab.node2)
    assert (1, ["route", "route", "route", "dns"]) == (code, [line.split()[0] for line in lines])
    assert "yes" in lines[0]
    assert "no" in lines[3].split()

    aws.fault(action="ListResourceRecordSets", code="AccessDenied", status=403)
    code, lines, _ = run("status", "db", "--json", config=other, instance=aws.lab.node2)
    rows = {row["part"]: row for row in json.loads("\n".join(lines))}
    assert (4, "yes", "cannot tell") == (code, rows["route"]["answer"], rows["dns"]["answer"])
    assert {"created", "right"} & {each.get("verb") for each in rows["route"]["findings"]}
    assert 4 == rows["dns"]["exit"]


def test_status_counts_a_warning_as_no_answer(aws: Fake, run: Callable[..., Any]) -> None:
    """It is shown in the JSON with its kind, and the answer stays yes."""
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni2, **{"SourceDestCheck.Value": "true"})
    code, lines, _ = run("status", "db", "--json", config=configuration(aws), instance=aws.lab.node2)
    (row,) = json.loads("\n".join(lines))
    kinds = {each["kind"]: each["text"] for each in row["findings"]}

    assert (0, "yes") == (code, row["answer"])
    assert "source/destination check is on" in kinds["warning"]


def samples(path: Path) -> dict[str, float]:
    """The metrics of the file, as the parser of Prometheus's own client reads them: name and labels -> value."""
    found = text_string_to_metric_families(path.read_text())
    rows = [sample for family in found for sample in family.samples]
    assert {"db"} == {row.labels.pop("service") for row in rows}
    return {" ".join([row.name[len("ec2ident_failover_") :], *row.labels.values()]): row.value for row in rows}


def test_metrics_say_who_has_the_service_and_what_was_moved_last(
    aws: Fake, run: Callable[..., Any], tmp_path: Path
) -> None:
    """Yes, no and cannot tell are three series. The file is for all to read; a look without a move has no last move."""
    path = tmp_path / "ec2ident.prom"
    assert 1 == run("status", "db", "--metrics", str(path), config=service(aws), instance=aws.lab.node1)[0]
    found = samples(path)
    assert 0o644 == path.stat().st_mode & 0o777
    assert {"held yes": 0, "held no": 1, "held unknown": 0} == {k: v for k, v in found.items() if k.startswith("held")}
    assert not any(name.startswith("last_move") for name in found)

    began = time.time()
    assert 0 == take(aws, run)[0]
    aws.settle()
    run("status", "db", "--metrics", str(path), config=service(aws), instance=aws.lab.node1)
    found = samples(path)
    assert 1 == found["part_held route yes"]
    assert (1, 0) == (found["last_move_info takeover"], found["last_move_exit_code"])
    assert began <= found["last_move_timestamp_seconds"] <= found["last_look_timestamp_seconds"] <= time.time()
    assert 0 < found["last_move_duration_seconds"] <= time.time() - began


def test_in_the_metrics_unknown_is_no_answer(aws: Fake, run: Callable[..., Any], tmp_path: Path) -> None:
    """A denied look: neither yes nor no. A move that is refused is told by its exit code."""
    path = tmp_path / "ec2ident.prom"
    aws.fault(action="ListResourceRecordSets", code="AccessDenied", status=403)
    assert 4 == take(aws, run)[0]
    assert 4 == run("status", "db", "--metrics", str(path), config=service(aws), instance=aws.lab.node2)[0]
    found = samples(path)

    assert {"yes": 0, "no": 0, "unknown": 1} == {state: found[f"held {state}"] for state in ("yes", "no", "unknown")}
    assert (1, 1) == (found["part_held route yes"], found["part_held dns unknown"])
    assert 4 == found["last_move_exit_code"]


def test_metrics_go_to_a_name_that_the_collector_reads(aws: Fake, run: Callable[..., Any], tmp_path: Path) -> None:
    """It reads *.prom alone, so another name is refused before anything is asked."""
    before = len(aws.journal)
    code, _, log = run("status", "db", "--metrics", str(tmp_path / "x.txt"), config=service(aws))
    assert (2, before) == (code, len(aws.journal)), log
    assert "names that end in .prom" in log
    code, _, log = run("status", "db", "--metrics", str(tmp_path / "no/x.prom"), config=service(aws))
    assert (4, True) == (code, "No such file or directory" in log), log


@pytest.mark.parametrize("damage", [b"", b"ec2ident-failover-moved 1\nend 0 00000000\n", None])
def test_a_damaged_record_of_the_last_move_is_none(tmp_path: Path, damage: bytes | None) -> None:
    """What cannot be read is unknown; and what cannot be written fails no move."""
    moves.remember(str(tmp_path), "db", moves.LastMove("takeover", 1e9, 0.25, 3))
    assert moves.LastMove("takeover", 1e9, 0.25, 3) == moves.last_move(str(tmp_path), "db")
    (path,) = (tmp_path / "failover").iterdir()
    path.unlink()
    path.mkdir() if damage is None else path.write_bytes(damage)

    assert moves.last_move(str(tmp_path), "db") is None
    if damage is None:
        moves.remember(str(tmp_path), "db", moves.LastMove("takeover", 1e9, 0.25, 3))
        assert moves.last_move(str(tmp_path), "db") is None


# Names of zones, and changes


@pytest.mark.parametrize("spelling", ["{}", "/hostedzone/{}", "arn:aws:route53:::hostedzone/{}"])
def test_a_zone_has_three_spellings_and_a_name(aws: Fake, run: Callable[..., Any], spelling: str) -> None:
    """As the console, the CLI and a policy show it."""
    for zone in (spelling.format(aws.lab.zone), "awslab.mycompany.corp", "AWSLAB.mycompany.corp."):
        code, _, log = run("dns", "ensure", "--zone", zone, "--name", NAME, "--value", "10.0.0.11")
        assert 0 == code, log
    assert {aws.lab.zone} == {call["resources"][0][0].rpartition("/")[2] for call in aws.calls("GetHostedZone")}


def public_zone(aws: Fake, name: str = "mycompany.example") -> str:
    body = (
        f'<CreateHostedZoneRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Name>{name}</Name>'
        "<CallerReference>public</CallerReference></CreateHostedZoneRequest>"
    )
    answer = aws._direct("route53", "POST", "/2013-04-01/hostedzone", {}, body.encode())[1]
    aws.settle()
    found = re.search(r"<Id>/hostedzone/(.*?)</Id>", answer.decode())
    assert found
    return found[1]


def test_a_public_zone_needs_the_switch(aws: Fake, run: Callable[..., Any]) -> None:
    """A private address would be shown to the world; an Elastic IP is what a public name is for."""
    zone = public_zone(aws)
    words = ("dns", "ensure", "--zone", zone, "--name", "db.mycompany.example", "--value", "198.51.100.7")
    code, _, log = run(*words)
    assert 2 == code
    assert "is public" in log
    assert 0 == run(*words, "--public")[0]
    assert 0 == run(*words[:3], "mycompany.example", *words[4:], "--public")[0]


def test_a_name_that_no_zone_or_several_have_is_refused(aws: Fake, run: Callable[..., Any]) -> None:
    """With what to write instead."""
    for name, said in (("nothing.example", "0 private zones"), ("mycompany.example", "0 private zones")):
        code, _, log = run("dns", "status", "--zone", name, "--name", f"db.{name}", "--value", "10.0.0.1")
        assert (2, True) == (code, said in log), log


def test_dns_wait_ends_when_all_name_servers_have_it(aws: Fake, run: Callable[..., Any]) -> None:
    """0 INSYNC, 2 for a change that does not exist, 3 at the deadline."""
    aws.settings(insync=0.3)
    words = ("dns", "ensure", "--zone", aws.lab.zone, "--name", NAME, "--value", "10.0.0.11", "--no-wait")
    found = re.search(r"change (\w+): PENDING", run(*words)[2])
    assert found

    assert (0, [f"change {found[1]}: INSYNC"]) == run("dns", "wait", f"/change/{found[1]}")[:2]
    assert 2 == run("dns", "wait", "CNEVER")[0]
    assert 2 == run("dns", "wait", "not a change")[0]
    aws.settings(insync=60.0)
    found = re.search(r"change (\w+): PENDING", run(*words[:-2], "10.0.0.12", "--no-wait")[2])
    assert found
    assert 3 == run("dns", "wait", found[1], "--deadline", "0.5")[0]


def test_policy_takes_the_id_of_a_zone_that_is_named(aws: Fake, run: Callable[..., Any]) -> None:
    """ARNs have ids; the name is looked up once, and each node needs to look it up too."""
    by_id, by_name = (
        json.loads("\n".join(run("policy", config=service(aws, zone))[1]))["Statement"]
        for zone in (aws.lab.zone, "awslab.mycompany.corp")
    )
    (more,) = [each for each in by_name if each not in by_id]
    assert (["route53:ListHostedZonesByName"], ["*"]) == (more["Action"], more["Resource"])
    aws.policy("AKIDTEST", {"Version": "2012-10-17", "Statement": by_name})
    assert 0 == run("takeover", "db", "--no-local", config=service(aws, "awslab.mycompany.corp"))[0]


# JSON


def test_the_json_of_a_takeover_has_every_finding(aws: Fake, run: Callable[..., Any]) -> None:
    """Of every part, also what the log says of a move that failed, and the commands that take it back."""
    (row,) = json.loads("\n".join(take(aws, run, "--json")[1]))
    assert ("db", aws.lab.node1, 0) == (row["service"], row["instance"], row["exit"])
    assert ["route", "route", "dns", "dns"] == [each["part"] for each in row["findings"]]
    assert aws.lab.tables[0] in {each.get("table") for each in row["findings"]}

    aws.reset()
    aws.fault(action="ChangeResourceRecordSets", code="AccessDenied", status=403)
    code, lines, _ = take(aws, run, "--json")
    (row,) = json.loads("\n".join(lines))
    assert (4, 4) == (code, row["exit"])
    texts = [each["text"] for each in row["findings"]]
    assert any(text.startswith("to undo: aws ec2 replace-route") for text in texts)
    assert any("AccessDenied" in text for text in texts)


# The audit line


def test_a_line_says_who_moved_what_when_and_how_long(aws: Fake, run: Callable[..., Any], tmp_path: Path) -> None:
    """One line for each action that writes, also for a refused one; none for a look or a plan."""
    take(aws, run)
    take(aws, run, "--plan")
    run("route", "status", "db")
    aws.fault(action="ReplaceRoute", code="UnauthorizedOperation", status=403)
    take(aws, run)
    lines = (tmp_path / "state/failover/audit.log").read_text().splitlines()

    assert 2 == len(lines)
    form = (
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ verb=takeover service=db instance={aws.lab.node1} exit=0 seconds=\d+\.\d\d"
    )
    assert re.match(form + r" uid=\d+ (sudo=\w+ )?parent=\S+\[\d+\] what=rtb-", lines[0]), lines[0]
    assert "exit=4" in lines[1]
    assert "UnauthorizedOperation" in lines[1]


def test_the_line_goes_to_the_systems_log_without_waiting(tmp_path: Path) -> None:
    """As one datagram, with the program's name; a log that is full or missing holds nothing."""
    (tmp_path / "dev").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "dev/log"))
        for _ in range(2000):
            with Audit(
                "start", "db", state_dir=str(tmp_path), root=str(tmp_path), environ={"SUDO_USER": "al ice"}
            ) as audit:
                audit.findings = [Finding("x\n\x1b[2Jy" + "ä" * 3000, HeldAddress("x"))]
        line = log.recv(65536)

    assert line.startswith(b"<29>ec2ident-failover[")
    assert b" sudo=alice " in line
    assert b"\x1b" not in line
    assert len(line) < 2100


def test_the_file_of_the_lines_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit it becomes audit.log.1, in place of an older one."""
    monkeypatch.setattr("ec2ident_agent.failover.records.audit.FILE", 300)
    for number in range(20):
        with Audit("start", f"s{number}", state_dir=str(tmp_path), root=str(tmp_path)):
            pass

    files = [*(tmp_path / "failover").glob("audit.log*")]
    assert sum(file.stat().st_size for file in files) < 1000
    assert "service=s19" in "".join(file.read_text() for file in files)


def test_nothing_about_the_file_fails_the_action(tmp_path: Path) -> None:
    """A link, a pipe, a directory in its place, no directory at all."""
    (tmp_path / "failover").mkdir()
    path = tmp_path / "failover/audit.log"
    makers: tuple[Callable[[], object], ...] = (
        partial(os.mkfifo, path),
        partial(path.symlink_to, tmp_path / "target"),
        path.mkdir,
    )
    for make in makers:
        make()
        with Audit("start", "db", state_dir=str(tmp_path), root=str(tmp_path)):
            pass
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert not (tmp_path / "target").exists()


def test_a_move_is_an_entry_of_the_journal_with_fields(tmp_path: Path) -> None:
    """In place of the line for syslog, which the journal would take too; a move that failed is an error."""
    (tmp_path / "run/systemd/journal").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "run/systemd/journal/socket"))
        for code in (0, 4):
            with Audit("route ensure", "db", state_dir=str(tmp_path), root=str(tmp_path), environ={}) as audit:
                audit.instance, audit.exit = "i-0a1b2c3d4e5f60001", code
            lines = journal.recv(65536).decode().splitlines()
            fields = dict(line.split("=", 1) for line in lines)
            assert ("3" if code else "5") == fields["PRIORITY"]
            assert ("ec2ident-failover", "route-ensure", "db", "i-0a1b2c3d4e5f60001", str(code)) == tuple(
                fields[name]
                for name in (
                    *("SYSLOG_IDENTIFIER", "EC2IDENT_VERB", "EC2IDENT_SERVICE", "EC2IDENT_INSTANCE", "EC2IDENT_EXIT"),
                )
            )
            assert fields["MESSAGE"].startswith("verb=route-ensure service=db ")


# The administrator's command


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "moved"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def with_command(aws: Fake, command: str) -> str:
    return f"on_move = {json.dumps([command, 'argument'])}\n{configuration(aws)}"


def test_the_command_hears_of_each_move_and_of_no_secret(aws: Fake, run: Callable[..., Any], tmp_path: Path) -> None:
    """Also of one that is refused; not of a look, nor of a dry run."""
    log = tmp_path / "log"
    config = with_command(aws, script(tmp_path, f'env | sort >>"{log}"; echo "$1" >>"{log}"; echo noise'))
    run("route", "status", "db", config=config)
    run("takeover", "db", "--no-local", "--dry-run", config=config)
    assert not log.exists()
    code, lines, _ = run("takeover", "db", "--no-local", "--json", config=config)
    assert 0 == code
    assert "db" == json.loads("\n".join(lines))[0]["service"]
    text = log.read_text()
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert text.endswith("argument\n")
    assert ("takeover", "db", aws.lab.node1, "0") == tuple(
        found[f"EC2IDENT_{name}"] for name in ("VERB", "SERVICE", "INSTANCE", "EXIT")
    )
    assert set() == {name for name in found if name.startswith(("AWS", "aws"))}

    log.unlink()
    aws.fault(action="ReplaceRoute", code="UnauthorizedOperation", status=403)
    assert 4 == run("takeover", "db", "--no-local", config=config)[0]
    assert "EC2IDENT_EXIT=4" in log.read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exit 7", "exit code 7"),
        ("kill -9 $$", "exit code -9"),
        ("sleep 600 & sleep 600", "no answer in time"),
        (None, "No such file"),
    ],
)
def test_whatever_becomes_of_the_command_the_move_is_done(
    text: str | None, says: str, aws: Fake, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a warning in the log. One that hangs is ended, with what it started."""
    monkeypatch.setattr("ec2ident_agent.failover.records.on_move.SECONDS", 0.3)
    command = str(tmp_path / "nowhere") if text is None else script(tmp_path, text)
    code, _, log = run("takeover", "db", "--no-local", config=with_command(aws, command))
    assert (0, True) == (code, f"warning: on_move: {command}: {says}" in log), log


def test_a_command_without_its_path_is_a_wrong_configuration(aws: Fake, run: Callable[..., Any]) -> None:
    """An engine's search path is another one than a shell's."""
    code, _, log = run("status", "db", config=with_command(aws, "moved"))
    assert (2, True) == (code, "on_move: 'moved' is not an absolute path" in log), log


def test_who_cannot_wait_does_not(tmp_path: Path) -> None:
    """The command of a lease's release runs in a process of its own, and leaves no zombie behind."""
    go, done = tmp_path / "go", tmp_path / "done"
    wait = f'until [ -e "{go}" ]; do sleep 0.05; done'
    command = script(tmp_path, f'{wait}; echo "$EC2IDENT_VERB" >"{done}.new"; mv "{done}.new" "{done}"')
    MoveCommand((command,), {"PATH": os.environ["PATH"]}, print, wait=False).run({"verb": "release"})
    go.touch()
    for _ in range(600):
        if done.exists():
            break
        time.sleep(0.05)
    assert "release\n" == done.read_text()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# Memory


def test_a_memory_is_one_file_a_service(tmp_path: Path) -> None:
    """It vanishes with its last record, and any name of a service is a file's name."""
    memory = Memory(str(tmp_path), "../a b/ä")
    memory.note(("check", "eni-1"), ("123", "switched off"))
    (file,) = tmp_path.iterdir()
    assert "service-%2e%2e%2fa%20b%2f%c3%a4" == file.name
    assert ("123", "switched off") == Memory(str(tmp_path), "../a b/ä").get("check", "eni-1")
    assert [file.name] == Memory(str(tmp_path), "other").others("check", "eni-1")

    memory.forget("check", "eni-1")
    assert [] == [*tmp_path.iterdir()]


def test_long_names_of_services_have_files_of_their_own(tmp_path: Path) -> None:
    """A file's name has 255 bytes at most, and two names may differ in their last character alone."""
    for name in ("数" * 99 + "一", "数" * 99 + "二"):
        Memory(str(tmp_path), name).note(("check", name), ("123", "switched off"))
        assert ("123", "switched off") == Memory(str(tmp_path), name).get("check", name)

    assert 2 == len([*tmp_path.iterdir()])


def test_release_is_allowed_nothing_more_than_it_does() -> None:
    """The check in both directions, and three actions for the same record."""
    text = """
    interfaces = ["eni-0a1b2c3d"]
    [service.db]
    overlay = "192.168.10.5"
    route.vpc = "vpc-0a1b2c3d"
    dns = { zone = "Z1", name = "db.example.corp" }
    """
    found = settings.parse(text.encode())
    less, more = (policy.document(found, "eu-west-1", "123456789012", release=each) for each in (False, True))
    differ = [two["Condition"] for one, two in zip(less["Statement"], more["Statement"]) if one != two]

    assert len(differ) == 2
    assert {"StringEquals": {"ec2:Attribute/SourceDestCheck": ["false", "true"]}} in differ


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("release", "db", "--local"), "release --local: --instance names another node"),
        (("hold", "db"), "service.db: has no hold"),
    ],
)
def test_what_another_node_or_the_configuration_has_to_do_is_wrong_usage(
    words: tuple[str, ...], said: str, aws: Fake, run: Callable[..., Any]
) -> None:
    """Only this node's addresses can be removed without the API, and only a service with a leader key can be held."""
    code, lines, log = run(*words, config=service(aws))

    assert (2, []) == (code, lines)
    assert said in log
    assert [] == aws.calls()
