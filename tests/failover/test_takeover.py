"""A whole service moves, in the order that leaves no half of it alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent.errors import ConfigError, KernelError
from ec2ident_agent.failover import settings
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.aws.forms import NO_OWNER
from ec2ident_agent.failover.errors import ApiError, MoveRefusedError
from ec2ident_agent.failover.parts.order import parts_of
from ec2ident_agent.failover.parts.part import exit_of
from ec2ident_agent.failover.session import Session
from ec2ident_agent.failover.takeover import Progress, Takeover

from .conftest import configuration
from .environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Take = Callable[..., "Taking"]

    from .fake import Fake

TOP = Path(__file__).parent.parent.parent


@pytest.fixture
def consistent(either_consistency: bool) -> bool:
    """Every test here runs with reads of the present and with old ones."""
    return either_consistency


class Here:
    """A local side that writes down what it is asked for, between the calls of the fake."""

    def __init__(self, aws: Fake, *, broken: bool = False, profile: bool = True) -> None:
        self.aws, self.broken, self.profile = aws, broken, profile
        self.held: set[str] = set()
        self.said: list[str] = []

    def _say(self, line: str) -> None:
        self.said.append(line)
        self.aws.journal.append({"action": line, "status": 0, "service": "local"})

    def plan(self, address: str, device: str, label: str) -> list[str]:
        return [] if address in self.held else [f"ip address add {address} dev {device}"]

    def hold(self, address: str, device: str, label: str) -> list[str]:
        if self.broken:
            raise KernelError("ip address add: no")
        steps = self.plan(address, device, label)
        self.held.add(address)
        self._say(f"hold {address}")
        return steps

    def release(self, address: str) -> None:
        self.held.discard(address)
        self._say(f"release {address}")

    def device(self, mac: str, deadline: object) -> str:
        self._say(f"device {mac}")
        return "eth1"

    def shows(self, mac: str) -> bool:
        (eni,) = [each for each in self.aws.backend.enis.values() if each.mac_address == mac]
        return eni.instance is not None and eni.instance.id == self.aws.lab.node1

    def apply(self, device: str) -> str:
        if not self.profile:
            raise ConfigError("eth1: nothing is configured for it")
        self._say(f"apply {device}")
        return ""


def text(aws: Fake) -> str:
    return configuration(
        aws,
        f"""
[service.db.eni]
id = "{aws.lab.service_eni}"
[service.db.dns]
zone = "{aws.lab.zone}"
name = "db.awslab.mycompany.corp"
""",
    )


class Taking:
    """A take-over of the service `db` to node 1, with a deadline of its own."""

    def __init__(self, aws: Fake, here: Here | None, said: list[str] | None = None, seconds: float = 30.0) -> None:
        configured = replace(settings.parse(text(aws).encode()), instance=aws.lab.node1)
        log = ([] if said is None else said).append
        self.session = Session(configured, Deadline(seconds), log, environ=ENVIRONMENT, advise=False)
        parts = parts_of(configured.service("db"), here)  # type: ignore[arg-type]
        self.takeover = Takeover(self.session, parts)

    def decide(self, expect: str = "") -> tuple[Progress, ...]:
        return self.takeover.decide(expect=expect)

    def plan(self, decided: tuple[Progress, ...]) -> tuple[str, ...]:
        return self.takeover.plan(decided)

    def run(self, decided: tuple[Progress, ...]) -> int:
        return exit_of(self.takeover.run(decided))


@pytest.fixture
def taking(aws: Fake) -> Iterator[Callable[..., Taking]]:
    """Make a take-over; its connections are closed in the end."""
    with ExitStack() as stack:

        def make(*given: Any, **options: Any) -> Taking:
            found = Taking(aws, *given, **options)
            stack.enter_context(found.session)
            return found

        yield make


def effects(aws: Fake) -> list[str]:
    looking = ("Describe", "Get", "List")
    return [call["action"] for call in aws.calls() if not call["action"].startswith(looking)]


def test_interface_address_route_and_name_move_in_this_order(aws: Fake, taking: Take) -> None:
    """Traffic must not arrive before a node answers, and everything else may need the interface."""
    here = Here(aws)
    run = taking(here)
    assert 0 == run.run(run.decide())

    mac = aws.backend.enis[aws.lab.service_eni].mac_address
    assert [
        "AttachNetworkInterface",
        f"device {mac}",
        "apply eth1",
        "hold 192.168.10.5/32",
        "ReplaceRoute",
        "ReplaceRoute",
        "ChangeResourceRecordSets",
    ] == effects(aws)


def test_twice_is_once(aws: Fake, taking: Take) -> None:
    """The second run writes the same route and record again, and asks the agent to see to its side."""
    here = Here(aws)
    run = taking(here)
    run.run(run.decide())
    before = len(effects(aws))
    assert 0 == run.run(run.decide())

    again = {"ReplaceRoute", "ChangeResourceRecordSets"}
    assert {"apply eth1", "hold 192.168.10.5/32", *again} == {
        each for each in effects(aws)[before:] if not each.startswith("device")
    }


def test_a_table_that_does_not_exist_stops_neither_the_other_nor_the_name(aws: Fake, run: Callable[..., Any]) -> None:
    """The service ran without it, and no repetition helps. There is nothing to undo; exit code 2 asks for a person."""
    config = text(aws).replace(aws.lab.tables[1], "rtb-00000000")
    code, lines, log = run("takeover", "db", "--no-local", config=config)

    assert (2, ["db: is here, but exit 2: the log names the settings to correct"]) == (code, lines)
    # What was not shown by the look is asked for by the write.
    writes = [(call["action"], call["status"]) for call in aws.calls("ReplaceRoute", "ChangeResourceRecordSets")]
    assert [("ChangeResourceRecordSets", 200), ("ReplaceRoute", 200), ("ReplaceRoute", 400)] == sorted(writes)
    assert "rtb-00000000 missing: no such route table in us-east-1" in log
    assert "to undo" not in log
    assert "not moved" not in log


def test_a_refusal_costs_nothing(aws: Fake, taking: Take) -> None:
    """Another node's route, or another VPC's zone: decided before anything is changed."""
    run = taking(Here(aws))
    with pytest.raises(MoveRefusedError, match="expected i-00000000"):
        run.decide(expect="i-00000000")

    assert [] == effects(aws)


def test_without_an_owner_means_the_interface_too(aws: Fake, taking: Take) -> None:
    """Not only the route."""
    for table in aws.lab.tables:
        aws.ask("DeleteRoute", RouteTableId=table, DestinationCidrBlock="192.168.10.5/32")
    aws.ask("AttachNetworkInterface", NetworkInterfaceId=aws.lab.service_eni, InstanceId=aws.lab.node2, DeviceIndex="1")
    run = taking(Here(aws))
    with pytest.raises(MoveRefusedError, match=rf"is attached to {aws.lab.node2} \(expected {NO_OWNER}\)"):
        run.decide(expect="nobody")


def test_a_zone_that_is_not_of_this_vpc_is_warned_of(aws: Fake, taking: Take) -> None:
    """A resolver's rules may lead there all the same, so no more than that."""
    answer = (
        f"<GetHostedZoneResponse><HostedZone><Id>/hostedzone/{aws.lab.zone}</Id><Name>awslab.mycompany.corp.</Name>"
        "<Config><PrivateZone>true</PrivateZone></Config></HostedZone><VPCs><VPC><VPCRegion>us-east-1</VPCRegion>"
        "<VPCId>vpc-0a1b2c3d</VPCId></VPC></VPCs></GetHostedZoneResponse>"
    )
    aws.fault(action="GetHostedZone", body=answer)
    said: list[str] = []
    taking(Here(aws), said).decide()

    assert said == [
        f"warning: zone: {aws.lab.zone} is associated with vpc-0a1b2c3d, not with this node's {aws.lab.vpc}"
    ]


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "ExpiredToken"])
def test_where_no_table_moves_the_address_is_released_again(aws: Fake, taking: Take, code: str) -> None:
    """Two nodes must not answer for it. A request with rejected credentials was not carried out."""
    aws.fault(action="ReplaceRoute", code=code, status=403)
    here, said = Here(aws), list[str]()
    run = taking(here, said)
    with pytest.raises(MoveRefusedError, match="moved in no table; the address is not held here either"):
        run.run(run.decide())

    assert set() == here.held
    assert [] == aws.calls("ChangeResourceRecordSets")
    assert 2 == len([line for line in said if code in line])
    assert 2 * (code == "UnauthorizedOperation") == len([line for line in said if "allow ec2:ReplaceRoute on" in line])


def test_an_address_that_was_here_before_stays(aws: Fake, taking: Take) -> None:
    """Only what this run added is undone."""
    aws.fault(action="ReplaceRoute", code="UnauthorizedOperation", status=403)
    here = Here(aws)
    here.held.add("192.168.10.5/32")
    run = taking(here)
    with pytest.raises(MoveRefusedError, match="moved in no table"):
        run.run(run.decide())

    assert {"192.168.10.5/32"} == here.held


def test_where_one_table_moves_the_address_stays_and_the_next_run_finishes(
    aws: Fake, taking: Callable[..., Taking]
) -> None:
    """Half a move back would be a second outage."""
    match = {"RouteTableId": aws.lab.tables[1]}
    aws.fault(action="ReplaceRoute", match=match, code="UnauthorizedOperation", status=403)
    here, said = Here(aws), list[str]()
    run = taking(here, said)
    assert 4 == run.run(run.decide())
    assert {"192.168.10.5/32"} == here.held
    assert "route: 1 of 2 not moved; run it again to go on" in said
    aws.faults.clear()
    assert 0 == run.run(run.decide())


def test_where_it_is_not_known_whether_a_table_moved_the_address_stays(
    aws: Fake, taking: Callable[..., Taking]
) -> None:
    """A call without an answer may have been done: then this node must answer."""
    aws.fault(action="ReplaceRoute", hang=True)
    here = Here(aws)
    run = taking(here, seconds=1.5)
    assert 3 == run.run(run.decide())

    assert {"192.168.10.5/32"} == here.held
    assert [] == aws.calls("ChangeResourceRecordSets")


def test_what_takes_it_back_is_said_when_a_step_fails(aws: Fake, taking: Take) -> None:
    """Every call and every line, the last first: for those who would rather go back than on."""
    lab = aws.lab
    aws.ask("AttachNetworkInterface", NetworkInterfaceId=lab.service_eni, InstanceId=lab.node2, DeviceIndex="1")
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=lab.eni1, **{"SourceDestCheck.Value": "true"})
    aws.ask("DeleteRoute", RouteTableId=lab.tables[0], DestinationCidrBlock="192.168.10.5/32")
    aws.fault(action="GetChange", code="AccessDenied", status=403)
    aws.settings(insync=60)
    said: list[str] = []
    run = taking(Here(aws), said)
    with pytest.raises(ApiError, match="allow route53:GetChange"):
        run.run(run.decide())

    undo = [line.partition("to undo: ")[2] for line in said if line.startswith("to undo: ")]
    assert undo[0].startswith(f"aws route53 change-resource-record-sets --hosted-zone-id {lab.zone}")
    assert '"Action": "DELETE"' in undo[0]
    route = "--destination-cidr-block 192.168.10.5/32"
    assert {
        f"aws ec2 delete-route --route-table-id {lab.tables[0]} {route}",
        f"aws ec2 replace-route --route-table-id {lab.tables[1]} {route} --network-interface-id {lab.eni2}",
    } == {*undo[1:3]}
    attachment = aws.backend.enis[lab.service_eni].attachment_id
    assert [
        f"aws ec2 modify-network-interface-attribute --network-interface-id {lab.eni1} --source-dest-check",
        "ec2ident-agent overlay del 192.168.10.5/32",
        f"aws ec2 detach-network-interface --attachment-id {attachment}",
        (
            f"aws ec2 attach-network-interface --network-interface-id {lab.service_eni} --instance-id {lab.node2}"
            " --device-index 1"
        ),
    ] == undo[3:]


def test_what_was_let_go_of_is_not_to_be_undone(aws: Fake, taking: Take) -> None:
    """And without a failure there is nothing to say."""
    said: list[str] = []
    run = taking(Here(aws), said)
    assert 0 == run.run(run.decide())
    assert [] == [line for line in said if "undo" in line]

    aws.reset()
    aws.fault(action="ReplaceRoute", code="UnauthorizedOperation", status=403)
    run = taking(Here(aws), said)
    with pytest.raises(MoveRefusedError, match="moved in no table"):
        run.run(run.decide())
    assert ["to undo: aws ec2 detach-network-interface"] == [line[:41] for line in said if "undo" in line]


def test_an_address_that_the_kernel_refuses_stops_before_the_route(aws: Fake, taking: Take) -> None:
    """Otherwise traffic would arrive where no node answers."""
    run = taking(Here(aws, broken=True))
    with pytest.raises(KernelError, match="ip address add: no"):
        run.run(run.decide())

    assert [] == aws.calls("ReplaceRoute")


def test_without_a_profile_the_interface_moves_and_it_is_said(aws: Fake, taking: Take) -> None:
    """The agent applies what is configured; failover does not guess."""
    said: list[str] = []
    run = taking(Here(aws, profile=False), said)
    assert 0 == run.run(run.decide())

    assert "warning: eth1: no profile applied: eth1: nothing is configured for it" in said


def test_the_plan_is_every_call_and_every_line_in_order(aws: Fake, taking: Take) -> None:
    """And nothing is done."""
    run = taking(Here(aws))
    lab = aws.lab
    route = "--destination-cidr-block 192.168.10.5/32 --network-interface-id"
    plan = [line for line in run.plan(run.decide()) if not line.startswith("# ") or "wait for" in line]

    assert [
        (
            f"aws ec2 attach-network-interface --network-interface-id {lab.service_eni} --instance-id {lab.node1}"
            " --device-index 1"
        ),
        f"# wait for {aws.backend.enis[lab.service_eni].mac_address}, then: ec2ident-agent apply",
        "ip address add 192.168.10.5/32 dev eth0",
        *(f"aws ec2 replace-route --route-table-id {table} {route} {lab.eni1}" for table in sorted(lab.tables)),
    ] == plan[:-1]
    assert plan[-1].startswith(f"aws route53 change-resource-record-sets --hosted-zone-id {lab.zone}")
    assert [] == effects(aws)


def test_no_call_is_made_that_the_plan_does_not_show(aws: Fake, taking: Take) -> None:
    """Those that look, ask or wait too, behind a #."""
    aws.settings(insync=0.1)
    from_other = {"NetworkInterfaceId": aws.lab.service_eni, "InstanceId": aws.lab.node2, "DeviceIndex": "1"}
    aws.ask("AttachNetworkInterface", **from_other)
    here = Here(aws)
    run = taking(here)
    decision = run.decide()
    plan = run.plan(decision)
    assert 0 == run.run(decision)

    shown = {found[1] for line in plan if (found := re.search(r"aws (?:ec2|route53) (\S+)", line))}
    calls = [call["action"] for call in aws.calls() if call["service"] != "local"]
    made = {re.sub(r"(?<!^)(?=[A-Z])", "-", action).lower() for action in calls}
    assert made == shown
    assert () == run.plan(run.decide())


def test_another_node_is_served_without_touching_this_one(aws: Fake, run: Callable[..., Any]) -> None:
    """With --instance of another node only the cloud's side moves."""
    code, lines, log = run("takeover", "db", config=text(aws))

    assert (0, ["db: is here"]) == (code, lines)
    assert "held here" not in log


def test_each_part_may_have_a_role(aws: Fake, run: Callable[..., Any]) -> None:
    """A shared VPC's tables and a central zone are other accounts'; what is the node's own is done with its own keys.

    Each role is assumed with the node's own keys too, never with those of another role.
    """
    tables, zones = (f"arn:aws:iam::{aws.lab.account}:role/{name}" for name in ("tables", "zones"))
    roles = text(aws).replace("[service.db.route]", f'[service.db.route]\nrole_arn = "{tables}"\nexternal_id = "x-1"')
    roles = roles.replace("[service.db.dns]", f'[service.db.dns]\nrole_arn = "{zones}"')
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})
    assert (0, ["db: is here"]) == run("takeover", "db", config=roles)[:2]

    keys: dict[str, set[str]] = {}
    for call in aws.calls():
        keys.setdefault(call["action"], set()).add("own" if call["key"] == "AKIDTEST" else "role")
    own = {"AssumeRole", "DescribeInstances", "DescribeNetworkInterfaces", "ModifyNetworkInterfaceAttribute"}
    own |= {"AttachNetworkInterface"}
    theirs = {"DescribeRouteTables", "ReplaceRoute", "GetHostedZone", "ListResourceRecordSets"}
    theirs |= {"ChangeResourceRecordSets"}
    assert {action: {"own"} for action in own} == {action: found for action, found in keys.items() if action in own}
    assert {action: {"role"} for action in theirs} == {a: found for a, found in keys.items() if a in theirs}
    asked = {(call["parameters"]["RoleArn"], call["parameters"].get("ExternalId")) for call in aws.calls("AssumeRole")}
    assert {(tables, "x-1"), (zones, None)} == asked


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    """A namespace with eth0 and a fake API of its own."""
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.lab.namespace import Namespace, unique

    found = Namespace(unique("takeover"))
    Namespace.add_all(found)
    try:
        found.ip("link add eth0 type veth peer name far0")
        # Without addresses of their own, which would come and go while we compare.
        found.ip(*(f"link set {name} addrgenmode none up" for name in ("eth0", "far0")))
        yield found
    finally:
        Namespace.remove_all(found)


@pytest.mark.root
def test_a_take_over_on_a_real_kernel(node: Any, tmp_path: Path) -> None:
    """Planned with its ip command, done, held under its label, and removed again to exactly what was there before."""
    before = node.snapshot()
    fake = node.start(sys.executable, "-m", "tests.failover.fake", stdout=subprocess.PIPE, cwd=TOP)
    hello = json.loads(fake.stdout.readline())
    lab = hello["lab"]
    path = tmp_path / "failover.toml"
    path.write_text(
        f"""
region = "us-east-1"
endpoint = "{hello["url"]}"
instance = "{lab["node1"]}"
[service.db]
overlay = "192.168.10.5"
device = "eth0"
[service.db.route]
tables = {json.dumps(lab["tables"])}
"""
    )
    path.chmod(0o600)
    environ = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}

    def run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *words, "--state-dir", str(tmp_path / "state")]
        done: subprocess.CompletedProcess[str] = node.run(*command, env=environ)
        return done

    failover = ("ec2ident_agent.failover.cli", "takeover", "db", "--config", str(path))
    planned = run(*failover, "--dry-run")
    lines = [line for line in planned.stdout.splitlines() if not line.startswith("#")]
    assert (1, "ip address add 192.168.10.5/32 dev eth0 label eth0:1") == (planned.returncode, lines[0])
    assert 3 == len(lines)
    assert before == node.snapshot()

    done = run(*failover)
    assert 0 == done.returncode, done.stderr
    assert "inet 192.168.10.5/32 scope global eth0:1" in node.read("ip", "address", "show", "dev", "eth0")
    assert (0, "") == (lambda again: (again.returncode, again.stdout))(run(*failover, "--dry-run"))
    assert 0 == run("ec2ident_agent.cli", "overlay", "del", "192.168.10.5/32").returncode
    assert before == node.snapshot()

    assert 0 == run(*failover).returncode
    release = ("ec2ident_agent.failover.cli", "release", "db", "--config", str(path))
    planned = run(*release, "--plan")
    assert (1, "ip address del 192.168.10.5/32 dev eth0 label eth0:1\n") == (planned.returncode, planned.stdout)
    status = run("ec2ident_agent.failover.cli", "status", "db", "--config", str(path))
    assert (0, ["address", "yes"]) == (status.returncode, status.stdout.splitlines()[0].split()), status.stderr
    done = run(*release, "--endpoint", "http://127.0.0.1:1")
    assert 0 == done.returncode, done.stderr
    assert before == node.snapshot()
    assert (0, "") == (lambda again: (again.returncode, again.stdout))(run(*release, "--plan"))
    fake.terminate()
    fake.wait()
    fake.stdout.close()
