"""What the cluster's agents answer, with everything that can go wrong in the API."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from ec2ident.program import exit_codes
from ec2ident_agent.errors import AgentError, KernelError
from ec2ident_agent.failover.pacemaker import agent as ocf
from ec2ident_agent.failover.pacemaker.local_state import ABSENT, HELD
from ec2ident_agent.failover.pacemaker.parameters import KINDS, PARAMETERS, given, metadata, settings_of
from ec2ident_agent.failover.pacemaker.request import TIMEOUT, read
from ec2ident_agent.failover.settings import DnsSettings
from tests.failover.environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from tests.failover.fake import Fake

OVERLAY = "192.168.10.5/32"
#: The agents that ask the API. `bgp` asks FRR: tests/failover/bgp.
ASKING = tuple(kind for kind in KINDS if kind != "bgp")


@pytest.fixture
def consistent(either_consistency: bool) -> bool:
    """Every test here runs with reads of the present and with old ones."""
    return either_consistency


class Node:
    """This node: what it holds, as the agent and the kernel would say."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.taken: set[str] = set()

    def plan(self, address: str, device: str, label: str) -> list[str]:
        return []

    def hold(self, address: str, device: str, label: str) -> list[str]:
        new = [] if address in self.held else [address]
        self.held.add(address)
        return new

    def release(self, address: str) -> None:
        self.held.discard(address)

    def device(self, mac: str, deadline: object) -> str:
        return "eth1"

    def shows(self, mac: str) -> bool:
        return mac not in self.taken

    def apply(self, device: str) -> str:
        return ""


class Side:
    """The addresses, asked of that node in place of a kernel."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def look(self) -> str:
        return HELD if self.node.held else ABSENT

    def keep(self, mac: str) -> None:
        pass

    def drop(self) -> None:
        self.node.held.clear()


@pytest.fixture
def act(aws: Fake, tmp_path: Path) -> Callable[..., Any]:
    """Run one action: returns the exit code and the lines of its log."""
    lab = aws.lab
    node = Node()
    mine = {
        "overlay": {"address": OVERLAY, "tables": ",".join(lab.tables)},
        "eni": {"id": lab.service_eni},
        "private": {"addresses": "10.0.0.50 10.0.0.64/28"},
        "eip": {"allocation_id": allocated(aws)},
        "dns": {"zone": lab.zone, "name": "db.awslab.mycompany.corp", "values": "192.168.10.5", "wait": "no"},
    }

    def call(  # type: ignore[no-untyped-def]
        kind: str,
        action: str,
        *,
        timeout: float = 6.0,
        deep: bool = False,
        probe: bool = False,
        variables: Mapping[str, str] = ENVIRONMENT,
        **other: str,
    ):
        common = {"region": lab.region, "endpoint": aws.url, "instance": lab.node1, "state_dir": str(tmp_path)}
        values = {**common, **mine[kind], **other}
        environ = {
            **variables,
            **{f"OCF_RESKEY_{name}": value for name, value in values.items()},
            "OCF_RESKEY_CRM_meta_timeout": str(int(timeout * 1000)),
            "OCF_RESKEY_CRM_meta_interval": "0" if probe else "10000",
            "OCF_CHECK_LEVEL": "10" if deep else "0",
        }
        said: list[str] = []
        request = read(kind, action, environ)
        agent = ocf.OcfAgent(request, environ, said.append, "/nonexistent", lambda: node)  # type: ignore[arg-type, return-value]
        if kind == "overlay":
            agent.local = Side(node)  # type: ignore[assignment]
        try:
            return agent.run(), said
        except AgentError as error:
            return ocf.failed(action, error), [*said, request.reason(error)]

    call.node = node  # type: ignore[attr-defined]
    return call


def allocated(aws: Fake) -> str:
    """An Elastic IP."""
    return aws.ask("AllocateAddress", Domain="vpc").decode().partition("<allocationId>")[2].partition("<")[0]


#: Seconds that the engine gives an action here. A fault would hang for ever: ten of them tell the two apart.
PATIENCE = 1.5

FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"hang": True},
    "drip": {"drip": 0.2},
    "throttle": {"code": "RequestLimitExceeded", "status": 503},
    "denied": {"code": "UnauthorizedOperation", "status": 403},
    "broken": {"code": "InternalError", "status": 500},
    "cut": {"cut": True},
    "nonsense": {"body": "<html>hello</html>"},
    "expired": {"code": "RequestExpired", "status": 400},
}


#: Every day each fault meets the agent that calls most.
each_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "overlay" else [pytest.mark.full]) for kind in ASKING]
)


@pytest.mark.parametrize("kind", ASKING)
def test_a_whole_life(act: Callable[..., Any], kind: str) -> None:
    """Not running, started, running at both depths, started again, stopped, stopped again."""
    assert ocf.NOT_RUNNING == act(kind, "monitor", probe=True)[0]
    for action, options, code in (
        ("start", {}, ocf.SUCCESS),
        ("monitor", {}, ocf.SUCCESS),
        ("monitor", {"deep": True}, ocf.SUCCESS),
        ("monitor", {"probe": True}, ocf.SUCCESS),
        ("start", {}, ocf.SUCCESS),
        ("stop", {}, ocf.SUCCESS),
        ("monitor", {}, ocf.NOT_RUNNING),
        ("stop", {}, ocf.SUCCESS),
    ):
        found, said = act(kind, action, **options)
        assert code == found, (action, said)


@pytest.mark.parametrize("fault", FAULTS)
@each_kind
def test_what_runs_goes_on_running_while_the_api_does_not_answer(
    aws: Fake, act: Callable[..., Any], kind: str, fault: str
) -> None:
    """A monitor at every depth says running, a probe too, and a stop succeeds; none of them writes anything.

    All but the deep monitor do without the API: an endpoint that listens has no connection in the end. (A count of the
    fake's calls would be a race with the last one that the deep monitor gave up.)
    """
    assert ocf.SUCCESS == act(kind, "start")[0]
    before = len(_writes(aws))
    aws.fault(**FAULTS[fault])
    began = time.monotonic()
    assert ocf.SUCCESS == act(kind, "monitor", timeout=PATIENCE, deep=True)[0]
    assert time.monotonic() - began < 10 * PATIENCE
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert ocf.SUCCESS == act(kind, "monitor", endpoint=endpoint)[0]
        assert ocf.SUCCESS == act(kind, "monitor", probe=True, deep=True, endpoint=endpoint)[0]
        assert ocf.SUCCESS == act(kind, "stop", endpoint=endpoint)[0]
        assert ocf.NOT_RUNNING == act(kind, "monitor", endpoint=endpoint)[0]

        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert before == len(_writes(aws))


@pytest.mark.parametrize("fault", FAULTS)
@each_kind
def test_a_start_without_the_api_fails_in_time_and_says_why_in_one_line(
    aws: Fake, act: Callable[..., Any], kind: str, fault: str
) -> None:
    """Never 0, never later than the engine waits, at most one reason of at most 128 characters."""
    aws.fault(**FAULTS[fault])
    began = time.monotonic()
    code, said = act(kind, "start", timeout=PATIENCE)
    assert time.monotonic() - began < 10 * PATIENCE
    assert ocf.GENERIC == code
    reasons = [line for line in said if line.startswith("ocf-exit-reason:")]
    assert 1 == len(reasons)
    assert len(reasons[0]) <= len("ocf-exit-reason:") + 128
    assert "\n" not in reasons[0]
    assert ocf.NOT_RUNNING == act(kind, "monitor", probe=True)[0]


def _writes(aws: Fake) -> list[Any]:
    return [call for call in aws.calls() if not call["action"].startswith(("Describe", "Get", "List"))]


def test_an_interface_that_is_gone_from_this_node_fails_its_monitor(
    aws: Fake, act: Callable[..., Any], tmp_path: Path
) -> None:
    """The marker has its MAC address. An empty marker, as a start that was cut leaves it, must not stop what runs."""
    assert 0 == act("eni", "start")[0]
    (mark,) = (tmp_path / "ocf").iterdir()
    mac = aws.backend.enis[aws.lab.service_eni].mac_address
    assert mac == mark.read_text()
    act.node.taken.add(mac)  # type: ignore[attr-defined]
    asked = len(aws.journal)

    assert (1, ["ocf-exit-reason:the interface is not on this node any more"]) == act("eni", "monitor")
    assert (1, 0) == (act("eni", "monitor", deep=True)[0], len(aws.journal) - asked)
    mark.write_bytes(b"")
    assert 0 == act("eni", "monitor")[0]
    mark.write_text(mac)
    assert (0, 7) == (act("eni", "stop")[0], act("eni", "monitor")[0])


def test_one_denied_table_fails_the_start_and_the_stop_lets_go(aws: Fake, act: Callable[..., Any]) -> None:
    """Half a move is a failure, and the engine's stop that follows leaves nothing here."""
    aws.fault(
        action="ReplaceRoute", match={"RouteTableId": aws.lab.tables[1]}, code="UnauthorizedOperation", status=403
    )
    code, said = act("overlay", "start")
    assert ocf.GENERIC == code
    stem = f"arn:aws:ec2:us-east-1:{aws.lab.account}:route-table"
    assert f"ocf-exit-reason:allow ec2:ReplaceRoute on {stem}/{aws.lab.tables[1]}" == said[-1]
    assert ocf.SUCCESS == act("overlay", "stop")[0]
    assert ocf.NOT_RUNNING == act("overlay", "monitor")[0]


def test_one_resource_moves_addresses_of_both_families(aws: Fake, act: Callable[..., Any]) -> None:
    """Every address has its route in every table before the start succeeds, and a deep monitor looks at each."""
    addresses = "192.168.10.5, 192.168.10.6 fd00:10::5"
    code, said = act("overlay", "start", address=addresses)
    assert ocf.SUCCESS == code, said
    routes = {
        (call["parameters"].get("DestinationCidrBlock") or call["parameters"].get("DestinationIpv6CidrBlock"), each)
        for call in aws.calls("CreateRoute", "ReplaceRoute")
        for each in [call["parameters"]["RouteTableId"]]
    }
    destinations = ("192.168.10.5/32", "192.168.10.6/32", "fd00:10::5/128")
    assert {(each, table) for each in destinations for table in aws.lab.tables} == routes
    assert ocf.SUCCESS == act("overlay", "monitor", address=addresses, deep=True)[0]
    gone = {"RouteTableId": aws.lab.tables[1], "DestinationIpv6CidrBlock": "fd00:10::5/128"}
    aws.ask("DeleteRoute", **gone)
    assert ocf.GENERIC == act("overlay", "monitor", address=addresses, deep=True)[0]
    assert ocf.SUCCESS == act("overlay", "stop", address=addresses)[0]
    assert ocf.NOT_RUNNING == act("overlay", "monitor", address=addresses)[0]


def test_a_table_that_does_not_exist_fails_the_first_start_only(aws: Fake, act: Callable[..., Any]) -> None:
    """The service runs in the other table: a failed start would end it, and the next node's start too."""
    tables = f"{aws.lab.tables[0]},rtb-00000000"
    code, said = act("overlay", "start", tables=tables)
    assert ocf.SUCCESS == code, said
    assert any(line.startswith("rtb-00000000 missing: no such route table") for line in said)
    assert ocf.SUCCESS == act("overlay", "monitor", tables=tables, deep=True)[0]

    assert ocf.SUCCESS == act("overlay", "stop", tables=tables)[0]
    for table in aws.lab.tables:
        aws.ask("DeleteRoute", RouteTableId=table, DestinationCidrBlock=OVERLAY)
    aws.settle()
    code, said = act("overlay", "start", tables=tables)
    assert ocf.CODES[exit_codes.USAGE] == code
    assert "ocf-exit-reason:tables: rtb-00000000 missing: no such route table" in said[-1]
    assert ocf.NOT_RUNNING == act("overlay", "monitor", tables=tables)[0]


DENIALS = (
    ("overlay", "ReplaceRoute", "ec2:ReplaceRoute on arn:aws:ec2:us-east-1:123456789012:route-table/rtb-"),
    ("overlay", "DescribeRouteTables", "ec2:DescribeRouteTables on *"),
    ("eni", "AttachNetworkInterface", "ec2:AttachNetworkInterface on arn:aws:ec2:us-east-1:123456789012:instance/i-"),
    ("dns", "ChangeResourceRecordSets", "route53:ChangeResourceRecordSets on arn:aws:route53:::hostedzone/"),
    ("dns", "GetHostedZone", "route53:GetHostedZone on arn:aws:route53:::hostedzone/"),
)


@pytest.mark.parametrize(("kind", "action", "text"), DENIALS)
def test_the_engine_shows_what_to_allow(aws: Fake, act: Callable[..., Any], kind: str, action: str, text: str) -> None:
    """In 128 characters: the action and the ARN; the service's own words, which would fill them, are in the log."""
    code = "AccessDenied" if kind == "dns" else "UnauthorizedOperation"
    aws.fault(action=action, code=code, status=403, message="You are not authorized to perform this operation. " * 3)
    found, said = act(kind, "start")
    assert ocf.GENERIC == found
    assert said[-1].startswith(f"ocf-exit-reason:allow {text}")


def test_an_error_of_the_program_is_not_an_answer() -> None:
    """A deep monitor that breaks says in the log why it cannot tell, and what runs goes on running."""

    class Broken(dict):  # type: ignore[type-arg]
        def get(self, *_: object) -> object:
            raise ZeroDivisionError("a bug")

    values = {"zone": "Z1", "name": "db.example.corp", "region": "us-east-1", "instance": "i-0a1b2c3d"}
    request = read("dns", "monitor", {f"OCF_RESKEY_{name}": value for name, value in values.items()})
    said: list[str] = []
    assert ocf.UNKNOWN == ocf.OcfAgent(request, Broken(), said.append).ask()
    assert ["cannot tell: ZeroDivisionError: a bug"] == said


@pytest.mark.parametrize("kind", ASKING)
def test_only_a_deep_monitor_sees_that_another_node_has_it(aws: Fake, act: Callable[..., Any], kind: str) -> None:
    """Then it has failed; it is not called stopped while this node still holds its part."""
    assert ocf.SUCCESS == act(kind, "start")[0]
    others = {
        "overlay": {"instance": aws.lab.node2},
        "eni": {"instance": aws.lab.node2},
        "private": {"instance": aws.lab.node2},
        "eip": {"instance": aws.lab.node2},
        "dns": {"values": "192.0.2.9"},
    }
    aws.settle()
    assert ocf.SUCCESS == act(kind, "monitor", **others[kind])[0]
    code, said = act(kind, "monitor", deep=True, **others[kind])
    assert ocf.GENERIC == code
    assert 1 == len([line for line in said if line.startswith("ocf-exit-reason:")])


def test_an_answer_of_a_moment_ago_is_not_a_failure(aws: Fake, act: Callable[..., Any]) -> None:
    """EC2 is eventually consistent, and the engine looks right after the start: a Describe may show what was before."""
    before = raw(aws, "DescribeRouteTables")
    assert ocf.SUCCESS == act("overlay", "start")[0]
    aws.fault(action="DescribeRouteTables", body=before, times=1)
    assert (ocf.SUCCESS, []) == act("overlay", "monitor", deep=True)
    aws.fault(action="DescribeRouteTables", body=before)
    assert ocf.GENERIC == act("overlay", "monitor", deep=True)[0]


def raw(aws: Fake, action: str) -> str:
    """The whole answer of a call."""
    scope = f"Credential=T/20260101/{aws.lab.region}/ec2/aws4_request, x"
    head = {"Authorization": f"AWS4-HMAC-SHA256 {scope}"}
    body = f"Action={action}&Version=2016-11-15".encode()
    with urllib.request.urlopen(urllib.request.Request(aws.url, body, head), timeout=20) as answer:
        return str(answer.read().decode())


@contextmanager
def late(monkeypatch: pytest.MonkeyPatch, seconds: float, instance_id: str = "i-0a1b2c3d") -> Iterator[dict[str, str]]:
    """A metadata service that refuses connections for some seconds; the variables with which an agent asks it."""
    from ec2ident.testing import Instance, MetadataService

    port = socket.socket()
    port.bind(("127.0.0.1", 0))
    service = MetadataService(Instance(role="node", instance_id=instance_id), listeners=[port])
    endpoint = f"http://127.0.0.1:{port.getsockname()[1]}"

    def appear() -> None:
        port.listen(128)
        service.start()

    # Credentials are looked for in the process's environment, and there is nothing else that has any.
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
    timer = threading.Timer(seconds, appear)
    timer.start()
    try:
        yield {"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint}
    finally:
        timer.cancel()
        timer.join()
        service.stop()
        port.close()


@pytest.mark.parametrize("given", ["instance", "nothing"])
def test_a_start_waits_for_a_metadata_service_that_is_late(
    aws: Fake, act: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """The engine never repeats a start that failed on a node: a moment without the service would end the failover.

    The service is asked for the instance, or only for the credentials of the role where a parameter has the instance.
    """
    known = {"instance": aws.lab.node1 if given == "instance" else ""}
    with late(monkeypatch, 0.7, aws.lab.node1) as variables:
        code, said = act("dns", "start", timeout=30, variables=variables, **known)
    assert ocf.SUCCESS == code, said
    assert aws.calls()[-1]["key"].startswith("ASIA")


def test_a_start_without_a_metadata_service_fails_within_its_time(
    aws: Fake, act: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, before the engine would end it without one. On a busy machine the time may be over before the
    service is asked for credentials; that error names the service too.
    """
    with late(monkeypatch, 600) as variables:
        code, said = act("dns", "start", timeout=2, variables=variables, instance="")
    assert (ocf.GENERIC, True) == (code, "metadata service" in said[-1]), said
    assert [] == aws.calls()


def test_a_deep_monitor_does_not_wait_for_a_metadata_service_that_is_not_there(
    aws: Fake, act: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again in some seconds, and cannot tell until then."""
    assert ocf.SUCCESS == act("dns", "start")[0]
    with late(monkeypatch, 600) as variables:
        code, said = act("dns", "monitor", deep=True, timeout=30, variables=variables, instance="")
    assert (ocf.SUCCESS, True, False) == (code, "cannot tell: " in said[-1], " tries" in " ".join(said)), said


BAD = (
    ("overlay", {"address": "nonsense"}, "address: "),
    ("overlay", {"tables": "rtb-zz"}, "tables: "),
    ("overlay", {"tables": ""}, "tables: "),
    ("overlay", {"region": "moon-1"}, "region: "),
    ("overlay", {"label": "x" * 16}, "label"),
    ("overlay", {"address": "\U0001f642"}, "address: "),
    ("overlay", {"profile": "\udcff"}, "profile: "),
    ("eni", {"id": "eni-1;reboot"}, "id: "),
    ("eni", {"index": "one"}, "index: "),
    ("dns", {"zone": "../../x"}, "zone: "),
    ("dns", {"values": "300.1.1.1"}, "values: "),
    ("overlay", {"interface": "a b"}, "interface: "),
    ("dns", {"name": ""}, "name: "),
    ("dns", {"wait": "perhaps"}, "wait: "),
)


@pytest.mark.parametrize(("kind", "values", "text"), BAD)
def test_a_wrong_parameter_is_the_code_that_harms_no_other_node(
    aws: Fake, act: Callable[..., Any], kind: str, values: dict[str, str], text: str
) -> None:
    """2, and not 6, with which the engine would stop the resource everywhere; a stop needs no right parameters."""
    code, said = act(kind, "validate-all", **values)
    assert (ocf.ARGS, True) == (code, text in said[-1]), said
    assert ocf.ARGS == act(kind, "start", **values)[0]
    assert ocf.SUCCESS == act(kind, "stop", **values)[0]
    assert [] == aws.calls()


def test_unknown_is_never_not_running() -> None:
    """The whole table: 7 only where nothing is here."""
    assert [(ABSENT, ocf.UNKNOWN)] == [key for key, code in ocf.ANSWERS.items() if code == ocf.NOT_RUNNING]
    assert ocf.CONFIGURED not in [*ocf.ANSWERS.values(), *ocf.CODES.values()]


def test_a_kernel_that_cannot_be_read_is_a_failure_of_a_probe() -> None:
    """With 7 a second node would start while this one may still answer."""
    request = read("overlay", "monitor", {})
    assert ocf.GENERIC == ocf.failed(request.action, KernelError("netlink: no answer"))


@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "9" * 20])
def test_a_time_out_that_is_not_a_number_is_not_said(text: str) -> None:
    """The environment is the engine's, but not only."""
    assert TIMEOUT == read("dns", "start", {"OCF_RESKEY_CRM_meta_timeout": text}).timeout


@pytest.mark.parametrize("seconds", [1, 5, 20, 180])
def test_an_action_has_given_up_before_the_engine_ends_it(seconds: int) -> None:
    """SIGKILL comes without a warning."""
    request = read("dns", "start", {"OCF_RESKEY_CRM_meta_timeout": str(seconds * 1000)})
    assert 0 < request.deadline <= seconds - 0.5


def test_every_parameter_comes_to_its_place() -> None:
    """The defaults too, which the engine does not fill in."""
    values = given("dns", {"OCF_RESKEY_zone": " Z0123456789 ", "OCF_RESKEY_name": "db.example.corp"})
    found = settings_of("dns", values)

    assert 5.0 == found.attempt
    assert DnsSettings("Z0123456789", "db.example.corp", (), 10, True) == found.services[0].dns


def test_a_quote_in_a_parameter_stays_in_it() -> None:
    """A parameter is one value, whatever characters it has; it can never become another key."""
    values = {"address": OVERLAY, "label": 'a"\nregion = "x', "profile": "team-\U0001f600"}
    found = settings_of("overlay", values)

    assert ('a"\nregion = "x', "team-\U0001f600", "") == (found.services[0].label, found.profile, found.region)


@pytest.mark.parametrize("kind", KINDS)
def test_the_metadata_names_every_parameter(kind: str) -> None:
    """Without any parameter, and without looking at anything."""
    text = metadata(kind)
    for each in PARAMETERS:
        assert (kind in each.kinds) == (f'<parameter name="{each.name}"' in text)


def test_the_agent_s_files_are_those_it_was_installed_with() -> None:
    """Unless the resource says otherwise. An empty parameter says nothing."""
    installed = ("--config", "/srv/agent.toml", "--state-dir", "/run/other")
    for given_, expected in ((None, "/run/other"), ("", "/run/other"), ("/run/mine", "/run/mine")):
        environ = {} if given_ is None else {"OCF_RESKEY_state_dir": given_}
        request = read("eni", "start", environ, installed)
        assert (expected, "/srv/agent.toml") == (request.state_dir, request.config)
    assert ("/run/ec2ident", "") == (lambda r: (r.state_dir, r.config))(read("eni", "start", {}))


@pytest.mark.parametrize(
    "words", [[], ["overlay"], ["overlay", "promote"], ["route", "start"], ["overlay", "start", "--force", "x"]]
)
def test_what_is_not_implemented_is_said_so(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """3, without touching anything."""
    assert ocf.UNIMPLEMENTED == ocf.main(words, {})
    assert capsys.readouterr().err.startswith("usage:")


def test_a_cheap_monitor_imports_no_client(tmp_path: Path) -> None:
    """It runs every few seconds, for years."""
    import sys

    top = Path(__file__).parents[3]
    heavy = "requests,botocore,pyroute2,ssl,http.client,argparse,json,cryptography,psutil"
    code = (
        "import sys; from ec2ident_agent.failover.pacemaker.agent import main;"
        f"main(['dns','monitor'], {{'OCF_RESKEY_state_dir': {str(tmp_path)!r}}});"
        f"main(['overlay','monitor'], {{'OCF_RESKEY_address': '192.0.2.1'}});"
        f"print([m for m in {heavy!r}.split(',') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{top}:{top / 'agent'}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "[]" == done.stdout.strip(), done.stderr
