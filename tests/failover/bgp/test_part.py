"""The part in a take-over and in a release, with an FRR that is played: each answer has the form of the real one's.

`test_announcing.py` does the same with real daemons.
"""

from __future__ import annotations

import json
import re

import pytest

from ec2ident.value import replace
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.aws.model import RouteTable, VpcRoute
from ec2ident_agent.failover.bgp import frr, vtysh
from ec2ident_agent.failover.bgp.vtysh import SpeakerGoneError
from ec2ident_agent.failover.cli import main
from ec2ident_agent.failover.errors import ApiUnknownError, MoveRefusedError, OutOfTimeError, UsageError
from ec2ident_agent.failover.pacemaker.agent import OcfAgent
from ec2ident_agent.failover.pacemaker.request import read
from ec2ident_agent.failover.parts import bgp
from ec2ident_agent.failover.parts.address import AddressPart
from ec2ident_agent.failover.parts.bgp import BgpPart
from ec2ident_agent.failover.parts.order import in_order_of_release, parts_of
from ec2ident_agent.failover.parts.part import exit_of
from ec2ident_agent.failover.session import Session
from ec2ident_agent.failover.settings import parse
from ec2ident_agent.failover.takeover import Takeover
from tests.failover.environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tests.failover.fake import Fake

BLOCK, ENDPOINT = "192.168.10.5/32", "10.0.1.11"
TEXT = """
region = "us-east-1"
instance = "i-0a1b2c3d4e5f60001"
[service.db]
overlay = "192.168.10.5"
device = "eth0"
[service.db.bgp]
asn = 65001
endpoint_asn = 65000
"""


class Played:
    """What FRR and the kernel have, and every change of it in order."""

    def __init__(self) -> None:
        self.networks: dict[str, tuple[int, int]] = {}
        self.held: set[str] = set()
        self.done: list[str] = []
        self.state, self.bfd, self.filtered, self.also = "Established", "Up", True, ""
        #: Raised by a question, and by a command.
        self.silent: Exception | None = None
        self.refuses: Exception | None = None

    # FRR

    def run(self, words: Sequence[str], seconds: float) -> str:
        assert 0 < seconds <= bgp.ASK
        lines = list(words[4::2])
        if lines[0] != "configure terminal":
            return self._ask(words[-1])
        if self.refuses:
            raise self.refuses
        network = next(line for line in lines if "network" in line)
        block = re.findall(r"network (\S+)", network)[0]
        self.done.append(network.partition(" route-map")[0])
        if network.startswith("no "):
            if self.networks.pop(block, None) is None:
                raise ApiUnknownError("vtysh: % Can't find static route specified")
            return ""
        metric = next(int(line.split()[-1]) for line in lines if line.startswith("set metric"))
        longer = next((len(line.split()) - 3 for line in lines if "prepend" in line), 0)
        self.networks[block] = metric, longer
        return ""

    def _ask(self, line: str) -> str:
        if self.silent:
            raise self.silent
        if line == "show bgp neighbors json":
            filters = {"incomingUpdatePrefixFilterList": "I", "outgoingUpdatePrefixFilterList": "O"}
            family = {"ipv4Unicast": filters if self.filtered else {}}
            session = {"remoteAs": 65000, "localAs": 65001, "bgpState": self.state, "addressFamilyInfo": family}
            other = {**session, "remoteAs": 64999}
            return json.dumps({ENDPOINT: {**session, "peerBfdInfo": {"status": self.bfd}}, "10.9.9.9": other})
        if "advertised-routes" in line:
            return json.dumps({"advertisedRoutes": {each: {} for each in [*self.networks, self.also] if each}})
        block = line.split()[4]
        if block not in self.networks:
            return "{}"
        metric, longer = self.networks[block]
        path = {"aspath": {"length": longer}, "metric": metric, "sourced": True, "valid": block in self.held}
        to: dict[str, Any] = {"advertisedTo": {ENDPOINT: {}}} if self.state == "Established" else {}
        return json.dumps({"prefix": block, **to, "paths": [{**path, "bestpath": {"overall": True}}]})

    # This node

    def plan(self, address: str, device: str, label: str) -> list[str]:
        return [] if address in self.held else [f"ip address add {address} dev {device}"]

    def hold(self, address: str, device: str, label: str) -> list[str]:
        self.done.append(f"hold {address}")
        new = [] if address in self.held else [address]
        self.held.add(address)
        return new

    def release(self, address: str) -> None:
        self.let_go(address, wait=1)

    def removal(self, *addresses: str, private: bool = False) -> list[str]:
        return [f"ip address del {each}" for each in addresses if each in self.held]

    def let_go(self, *addresses: str, wait: float, private: bool = False) -> None:
        self.done += [f"remove {each}" for each in addresses]
        self.held -= {*addresses}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Played:
    """The node, where nothing is announced."""
    found = Played()
    monkeypatch.setattr(vtysh, "run", found.run)
    return found


def session_of(node: Any, text: str = TEXT, seconds: float = 5.0, **more: Any) -> Session:
    more = {"log": lambda line: None, "environ": ENVIRONMENT, "here": node, **more}
    return Session(parse(text.encode()), Deadline(seconds), **more)


def part_of(session: Session) -> BgpPart:
    return next(each for each in parts_of(session.settings.services[0]) if isinstance(each, BgpPart))


def taken(node: Played, text: str = TEXT, seconds: float = 5.0) -> int:
    """A whole take-over; returns the exit code."""
    with session_of(node, text, seconds) as session:
        move = Takeover(session, parts_of(session.settings.services[0], node))  # type: ignore[arg-type]
        return exit_of(move.run(move.decide()))


def released(node: Played, text: str = TEXT) -> list[str]:
    """A whole release; returns what it found."""
    with session_of(node, text) as session:
        parts = in_order_of_release(parts_of(session.settings.services[0], node))  # type: ignore[arg-type]
        steps = [step for part in parts for step in part.release(session)]
        return [str(finding) for step in steps for finding in step.do()]


def test_held_then_announced_and_withdrawn_then_removed(node: Played) -> None:
    """Traffic never leads to a node without the address."""
    assert 0 == taken(node)
    assert 0 == taken(node)
    released(node)
    assert [] == released(node)

    twice = [f"hold {BLOCK}", f"network {BLOCK}"] * 2
    assert node.done == [*twice, f"no network {BLOCK}", f"remove {BLOCK}"]


def test_the_plan_and_what_takes_it_back(node: Played) -> None:
    """Every command as a person would type it. Where it is announced, a plan has nothing to do."""
    with session_of(node) as session:
        part = part_of(session)
        sight = part.look(session)
        steps = [str(step) for step in part.plan(part.decide(sight))]
        node.held.add(BLOCK)
        done = list(part.run(session, sight))
        again = part.plan(part.look(session))

        assert steps[0].startswith(
            "vtysh -d bgpd -c 'configure terminal' -c 'route-map EC2IDENT-192.168.10.5 permit 10'"
        )
        assert steps[1].startswith("# until an endpoint has it: vtysh -d bgpd -c 'show bgp ipv4 unicast")
        assert all(step.note for step in again)
        assert part.undo(sight, []) == ()
        (undo,) = part.undo(sight, done)
        assert f"no network {BLOCK}" in undo
        (undo,) = part.undo(part.look(session), done)
        assert f"set metric {sight.metric}" in undo


def test_a_daemon_that_ended_meanwhile_leaves_no_address(node: Played) -> None:
    """It certainly announces nothing, so the address that this run added is released again."""
    node.refuses = SpeakerGoneError("gone")
    with pytest.raises(MoveRefusedError, match="not announced; the address is not held"):
        taken(node)
    assert node.done == [f"hold {BLOCK}", f"remove {BLOCK}"]


@pytest.mark.parametrize("state", ["Active", "Idle"])
def test_without_a_session_it_is_unknown_and_the_address_stays(node: Played, state: str) -> None:
    """The session may be there a moment later, and then the endpoint has it."""
    node.state = state
    assert 3 == taken(node, seconds=0.3)
    assert node.held == {BLOCK}


@pytest.mark.parametrize(
    ("silent", "error"),
    [(SpeakerGoneError("gone"), SpeakerGoneError), (OutOfTimeError("hangs"), OutOfTimeError)],
)
def test_what_speaks_against_it_is_said_before_anything_changes(
    node: Played, silent: Exception, error: type[Exception]
) -> None:
    """A daemon that is gone or hangs, another node, and an FRR without this configuration."""
    node.silent = silent
    with pytest.raises(error, match=str(silent)):
        taken(node)
    node.silent = None
    for text, said in (
        (TEXT.replace("65001", "65002"), "differ: 65001 with 65000 and 65002 with 65000"),
        (TEXT + 'endpoints = ["10.0.1.11", "10.0.1.12"]\n', "no neighbor 10.0.1.12"),
        (TEXT.replace("65000", "65009"), "with the AS number 65009"),
    ):
        with pytest.raises(UsageError, match=said):
            taken(node, text)
    with session_of(None) as session:
        with pytest.raises(UsageError, match="another node"):
            part_of(session).look(session)
        assert list(part_of(session).release(session)) == []
    assert node.done == []


def test_a_start_waits_for_a_daemon_that_is_restarted(node: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine does not repeat a start, and a service manager restarts the daemon after a moment."""
    run, asked = node.run, [0]

    def late(words: Sequence[str], seconds: float) -> str:
        asked[0] += 1
        if asked[0] < 3:
            raise SpeakerGoneError("gone")
        return run(words, seconds)

    monkeypatch.setattr(vtysh, "run", late)
    with session_of(node, patient=True) as session:
        assert part_of(session).look(session).sessions[0].established


def test_a_release_never_depends_on_an_answer(node: Played) -> None:
    """FRR hangs, or refuses: the address is removed all the same, with a warning. A daemon that is gone is done."""
    for silent, refuses, said in (
        (OutOfTimeError("hangs"), OutOfTimeError("hangs"), "warning: 192.168.10.5/32: cannot tell whether"),
        (None, ApiUnknownError("refused"), "warning: 192.168.10.5/32: cannot tell whether"),
        (None, SpeakerGoneError("gone"), "not announced: FRR's bgpd does not run"),
    ):
        node.silent, node.refuses = None, None
        assert 0 == taken(node)
        node.silent, node.refuses = silent, refuses
        found = released(node)
        assert any(said in line for line in found), found
        assert node.held == set()
    node.silent = SpeakerGoneError("gone")
    assert [] == released(node)


def test_both_announce(node: Played) -> None:
    """A release makes the path longer and keeps the address; that it cannot is an error, as nothing else withdraws."""
    text = TEXT + 'announce = "both"\nprepend = 2\n'
    assert 0 == taken(node, text)
    assert node.networks[BLOCK][1] == 0
    assert ["192.168.10.5/32 longer path"] == released(node, text)
    assert node.held == {BLOCK}
    assert node.networks[BLOCK] == (frr.WORST, 2)
    assert [] == released(node, text)
    with session_of(node, text) as session:
        part = part_of(session)
        assert exit_of(list(part.verify(session))) == 1
        node.refuses = OutOfTimeError("hangs")
        assert exit_of(list(part.let_go())) == 3
        assert "prepend" in part.undo(part.look(session), list(part.run(session, part.look(session))))[0]


def verified(node: Played, text: str = TEXT, **more: Any) -> tuple[int, str]:
    with session_of(node, text, **more) as session:
        found = list(part_of(session).verify(session))
        return exit_of(found), "\n".join(map(str, found))


def test_status(node: Played) -> None:
    """Yes, no, and what will not work."""
    assert verified(node)[0] == 1
    assert 0 == taken(node)
    assert verified(node) == (0, f"{BLOCK} announced -> {ENDPOINT} (metric {node.networks[BLOCK][0]})")
    for name, value, said in (
        ("bfd", "Down", "BFD is Down"),
        ("filtered", False, "no prefix list in each direction"),
        ("also", "10.0.0.0/8", "also announces 10.0.0.0/8"),
    ):
        before = getattr(node, name)
        setattr(node, name, value)
        assert (0, True) == (verified(node)[0], said in verified(node)[1])
        setattr(node, name, before)
    node.networks[BLOCK] = frr.WORST, 0
    assert "take over again" in verified(node)[1]
    node.state = "Active"
    code, text = verified(node)
    assert code == 1
    assert "the session is Active" in text
    node.silent = SpeakerGoneError("gone")
    assert verified(node) == (1, "gone")


def test_the_tables_are_read_if_the_settings_name_them(aws: Fake, node: Played) -> None:
    """DescribeRouteTables alone. A denied call is unknown, and hides nothing that FRR said."""
    assert 0 == taken(node)
    lab = aws.lab
    named = TEXT + f"tables = {json.dumps([*lab.tables])}\n"
    for instance, code in ((lab.node2, 0), (lab.node1, 1)):
        text = named.replace("i-0a1b2c3d4e5f60001", instance).replace("region", f'endpoint = "{aws.url}"\nregion', 1)
        assert verified(node, text)[0] == code
        assert verified(node, text + f'eni = "{lab.eni2}"\n')[0] == 0
    assert {each["action"] for each in aws.journal} == {"DescribeRouteTables"}
    assert verified(node, text.replace(lab.tables[0], "rtb-0123456789abcdef0"))[0] == 2
    aws.fault(action="DescribeRouteTables", code="UnauthorizedOperation", status=403)
    code, said = verified(node, text)
    assert code == 4
    assert "announced ->" in said


def test_a_route_without_an_instance_cannot_be_compared() -> None:
    """Whether AWS names it for such a route is not documented: without `eni` that is unknown, and not wrong."""
    absent = RouteTable("rtb-1", "vpc-1", "1")
    there = replace(absent, routes=(VpcRoute(BLOCK, eni="eni-1"),))
    assert bgp._target(absent, BLOCK, "i-1", "")[1] == 1
    assert bgp._target(there, BLOCK, "i-1", "")[1] == 3
    assert bgp._target(there, BLOCK, "i-1", "eni-1")[1] == 0
    assert bgp._target(there, BLOCK, "i-1", "eni-2")[1] == 1
    dead = replace(absent, routes=(VpcRoute(BLOCK, eni="eni-1", state="blackhole"),))
    assert bgp._target(dead, BLOCK, "i-1", "eni-1")[1] == 1


def test_the_stop_of_the_agent(node: Played, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """It withdraws before it removes; what is not a number was never announced, and the stop goes on."""
    monkeypatch.setattr(
        "ec2ident_agent.failover.agent_bridge.held_of", lambda addresses, private: [_Held(each) for each in node.held]
    )
    (tmp_path / "journal").touch()
    for asn, withdrawn in (("65001", [f"no network {BLOCK}"]), ("x", []), ("0", [])):
        assert 0 == taken(node)
        node.done.clear()
        environ = {
            **ENVIRONMENT,
            "OCF_RESKEY_address": BLOCK,
            "OCF_RESKEY_asn": asn,
            "OCF_RESKEY_endpoint_asn": "65000",
            "OCF_RESKEY_state_dir": str(tmp_path),
        }
        said: list[str] = []
        bridge: Callable[[], Any] = lambda: node  # noqa: E731
        agent = OcfAgent(read("bgp", "stop", environ), environ, said.append, "/nonexistent", bridge)
        assert agent.run() == 0
        assert node.done == [*withdrawn, f"remove {BLOCK}"]


def test_what_managers_call_takes_the_part_as_it_takes_a_route(
    node: Played, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """keepalived and `hold` call `takeover` and `release --local`, Patroni and repmgr `callback`."""
    path = tmp_path / "failover.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    monkeypatch.setattr("ec2ident_agent.failover.agent_bridge.AgentBridge", lambda *_: node)
    moved = [f"hold {BLOCK}", f"network {BLOCK}", f"no network {BLOCK}", f"remove {BLOCK}"]
    release = ["release", "db", "--local"]
    for take, leave in (
        (["takeover", "db"], release),
        (
            ["callback", "patroni", "db", "on_role_change", "primary", "c"],
            ["callback", "patroni", "db", "on_stop", "primary", "c"],
        ),
        (["callback", "repmgr", "db", "standby_promote", "1"], ["callback", "repmgr", "db", "standby_follow", "1"]),
    ):
        assert 0 == main([*take, "--config", str(path)], environ=ENVIRONMENT)
        capsys.readouterr()
        assert 1 == main([*release, "--dry-run", "--config", str(path)], environ=ENVIRONMENT)
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["vtysh", "ip"]
        assert 0 == main([*leave, "--config", str(path)], environ=ENVIRONMENT)
        assert node.done == moved
        node.done.clear()


class _Held:
    def __init__(self, address: str) -> None:
        self.address, self.device = address, "none"


def test_the_addresses_of_both_are_kept(node: Played) -> None:
    """The part of the address says so, and drops them only if a move fails."""
    service = parse((TEXT + 'announce = "both"\n').encode()).services[0]
    kept = [each.kept for each in parts_of(service, node) if isinstance(each, AddressPart)]  # type: ignore[arg-type]

    assert kept == [True]
