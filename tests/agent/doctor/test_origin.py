"""Where an object comes from: the files of each network manager and of scripts that add it, and near misses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import Node
from ec2ident_agent.cli import Command
from ec2ident_agent.config import parse
from ec2ident_agent.doctor.origin import Line, as_dict, lines, mentions, origins
from ec2ident_agent.install.rootfs import RootFs
from ec2ident_agent.items import Address, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.options import parse_command_line
from tests.lab.recipe import CONFIGURATION, without

from .test_diagnosis import fill

SUBNET, OUT = Route("10.0.1.0/24", "eth1", 100), Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")
RULE, OVERLAY = Rule("10.0.1.0/24", 100, 100), Address("eth0", "192.168.10.10/32", "eth0:1")
NAMES = {"etc/iproute2/rt_tables": "# comment\n255 local\n100 MYHA\nx y\n"}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node on which a script has added everything."""
    kernel = FakeKernel("eth0", "eth1")
    for seen in (Seen(SUBNET, 3), Seen(OUT, 3), Seen(RULE, 0), Seen(OVERLAY)):
        kernel.add(seen)
    config = parse("agent.toml", without(CONFIGURATION, "table_name").encode())
    return Node(config, state_dir=str(tmp_path / "s"), names_dir=str(tmp_path / "n"), kernel=kernel)


@pytest.mark.parametrize(
    ("path", "text", "named"),
    [
        (
            "etc/network/interfaces",
            "iface eth1 inet dhcp\n up ip route add default via 10.0.1.1 table MYHA\n up ip rule add from 10.0.1.0/24",
            {"route": 2, "rule": 3},
        ),
        (
            "etc/network/interfaces.d/overlay",
            "iface eth0:1 inet static\n  address 192.168.10.10/32\n",
            {"address": 2},
        ),
        ("etc/sysconfig/network-scripts/route-eth1", "default via 10.0.1.1 dev eth1 table 100\n", {"route": 1}),
        ("etc/sysconfig/network-scripts/rule-eth1", "from 10.0.1.0/24 table MYHA priority 100\n", {"rule": 1}),
        ("etc/sysconfig/network/ifroute-eth1", "default 10.0.1.1 - eth1 table MYHA\n", {"route": 1}),
        ("etc/sysconfig/network/ifcfg-eth0", "IPADDR_1='192.168.10.10/32'\nLABEL_1='1'\n", {"address": 1}),
        (
            "etc/sysconfig/network/scripts/ifup-local",
            'SUBNET="10.0.1.0/24"\nip rule add from $SUBNET table MYHA priority 100\n',
            {"rule": 1},
        ),
        (
            "etc/NetworkManager/system-connections/eth1.nmconnection",
            "[ipv4]\nroute-table=100\nrouting-rule1=priority 100 from 10.0.1.0/24 table 100\n",
            {"route": 2, "rule": 3},
        ),
        ("etc/NetworkManager/dispatcher.d/50-vip", "ip addr add 192.168.10.10 dev $1\n", {"address": 1}),
        (
            "etc/netplan/60-eth1.yaml",
            "routes:\n- to: 0.0.0.0/0\n  table: 100\nrouting-policy:\n- from: 10.0.1.0/24\n",
            {"route": 3, "rule": 5},
        ),
        (
            "etc/systemd/network/eth1.network",
            "[Route]\nGateway=10.0.1.1\nTable=100\n[RoutingPolicyRule]\nFrom=10.0.1.0/24\nTable=MYHA\n",
            {"route": 3, "rule": 5},
        ),
        ("etc/rc.local", "#!/bin/sh\nip -4 rule add from 10.0.1.0/24 table 100\n", {"rule": 2}),
        ("usr/local/sbin/ha-up", 'ip address add "192.168.10.10/32" dev eth0:1;\n', {"address": 1}),
    ],
)
def test_the_lines_that_add_an_object_are_named(
    tmp_path: Path, node: Node, path: str, text: str, named: dict[str, int]
) -> None:
    """By the source of a rule, the address of an overlay, or the routing table by number or name; once each."""
    tree = fill(tmp_path, NAMES, {path: text}).tree

    found = origins(node.adopt(dry_run=True), tree)

    told = {type(each.seen.item).__name__.lower(): each.lines for each in found.found}
    for kind in ("rule", "route", "address"):
        numbers = [line.number for line in told[kind]]
        assert named[kind] in numbers if kind in named else not numbers, kind
        assert {f"/{path}"} >= {line.path for line in told[kind]}


@pytest.mark.parametrize(
    "line",
    [
        "ip rule add from 10.0.1.0/25 table 1000",
        "ip rule add from 110.0.1.0/24 lookup 10",
        "# ip rule add from 10.0.1.0/24 table MYHA",
        "timetable 100",
        "table MYHA2",
        "ip route add 10.0.1.0/24 dev eth1",
        "",
    ],
)
def test_a_line_about_something_else_is_not_named(line: str) -> None:
    """Other prefixes that begin alike, comments, other tables, a route in main."""
    assert not mentions(RULE, {100: {"MYHA"}})(line)


def test_a_line_about_a_rule_names_no_route() -> None:
    """Both name the table."""
    line = "ip rule add from 10.0.1.0/24 table 100"
    assert (True, False) == (mentions(RULE, {})(line), mentions(OUT, {})(line))


def test_an_ipv6_address_is_a_word() -> None:
    """`ip -6 address add 2001:db8::1/128`, and YAML's colon at the end of a key."""
    test = mentions(Address("eth0", "2001:db8::1/128"), {})
    assert test("ip -6 address add 2001:db8::1/128 dev eth0")
    assert test("  2001:db8::1: {}")
    assert not test("2001:db8::11")


def test_a_file_about_nothing_else_is_to_go_as_a_whole(tmp_path: Path, node: Node) -> None:
    """The script that the recipe publishes; of rc.local, which does more, the lines."""
    script = "#!/bin/sh\n# recipe\nip rule add from 10.0.1.0/24 table MYHA\nip addr add 192.168.10.10/32 dev eth0:1\n"
    tree = fill(
        tmp_path,
        NAMES,
        {
            "etc/network/if-up.d/myha": script,
            "etc/rc.local": f"touch /x\n{script}",
            "etc/rc.d/rc.local": "exit 0\n",
        },
    ).tree

    found = origins(node.adopt(dry_run=True), tree)
    said = list(lines(found, done=False))

    assert {"/etc/network/if-up.d/myha"} == found.whole
    assert "  /etc/network/if-up.d/myha: the whole file" in said
    assert "  /etc/rc.local:4: ip rule add from 10.0.1.0/24 table MYHA" in said
    assert not any("/etc/rc.d/rc.local" in line for line in said)
    assert Line("/etc/rc.local", 5, "ip addr add 192.168.10.10/32 dev eth0:1") in found.lines


def test_our_own_files_and_binary_ones_are_passed_over(tmp_path: Path, node: Node) -> None:
    """They name the same objects."""
    tree = fill(
        tmp_path,
        {"etc/network/if-up.d/ec2ident": "from 10.0.1.0/24\n", "usr/local/bin/tool": "\0from 10.0.1.0/24\n"},
    ).tree
    found = origins(node.adopt(dry_run=True), tree)
    assert () == found.lines
    assert "retire: no file that is known names these objects; whatever added them may do so again" in lines(
        found, done=True
    )


def test_what_is_left_says_why(tmp_path: Path, node: Node) -> None:
    """NetworkManager's route-table gives its metric, and the source address."""
    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(replace(OUT, metric=101), 16))
    kernel.add(Seen(RULE, 18))
    kernel.add(Seen(replace(RULE, priority=7), 99))
    node = Node(node.configuration(), state_dir=str(tmp_path / "t"), names_dir=str(tmp_path / "n"), kernel=kernel)

    said = "\n".join(lines(origins(node.adopt(dry_run=True), RootFs(str(tmp_path))), done=False))

    assert "left     eth1  default via 10.0.1.1 dev eth1 table 100 metric 101 proto 16" in said
    assert "because metric is 101, not 0" in said
    assert "made by: a network manager, from DHCP (proto 16)" in said
    assert "made by: keepalived (proto 18)" in said
    assert "made by: a program with this protocol number (proto 99)" in said


def test_nothing_to_adopt_is_said(tmp_path: Path) -> None:
    """On a node without anything of other programs."""
    node = Node(parse("agent.toml", b""), state_dir=str(tmp_path / "s"), kernel=FakeKernel("eth0"))
    found = origins(node.adopt(dry_run=True), RootFs(str(tmp_path)))
    assert ["nothing to adopt: no object of another program equals or resembles what is configured"] == [
        *lines(found, done=False)
    ]


def test_json_has_the_same(tmp_path: Path, node: Node) -> None:
    """For scripts: the object that is there, its protocol, the files, and what to retire."""
    tree = fill(tmp_path, NAMES, {"etc/rc.local": "ip rule add from 10.0.1.0/24 table MYHA\nexit 0\n"}).tree
    told = json.loads(json.dumps(as_dict(origins(node.adopt(dry_run=True), tree), done=False)))

    rule = next(each for each in told["adopt"] if each["item"] == str(RULE))
    assert [{"path": "/etc/rc.local", "line": 1, "text": "ip rule add from 10.0.1.0/24 table MYHA"}] == rule["named_in"]
    assert [{"path": "/etc/rc.local", "whole_file": False}] == told["retire"]
    assert (False, [], "eth1", 0) == (told["done"], told["left"], rule["owner"], rule["protocol"])


def test_the_verb_and_its_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 for a dry run that would change something and while something is left, 0 when all is taken over, 4 refused."""
    kernel = FakeKernel("eth0", "eth1")
    for seen in (Seen(SUBNET, 3), Seen(OUT, 3), Seen(RULE, 0)):
        kernel.add(seen)
    file = tmp_path / "agent.toml"
    file.write_text(CONFIGURATION, encoding="utf-8")
    file.chmod(0o644)
    files = ["--config", str(file), "--state-dir", str(tmp_path / "s"), "--names-dir", str(tmp_path), "--root"]

    def run(*words: str) -> int:
        capsys.readouterr()
        return Command(parse_command_line([*words, *files, str(tmp_path)]), kernel=kernel).run()

    assert 1 == run("adopt", "--dry-run")
    said = capsys.readouterr().out
    assert f"adopt    eth1  {RULE}\n" in said
    assert f"ip rule add {RULE}\nip rule del {RULE} protocol 0\n" in said
    assert 1 == run("adopt", "--dry-run", "--json")
    assert 3 == len(json.loads(capsys.readouterr().out)["adopt"])
    assert 0 == run("adopt")
    assert f"adopted  eth1  {RULE}\n" in capsys.readouterr().out
    assert 0 == run("adopt", "eth1")
    kernel.add(Seen(replace(RULE, priority=99), 0))
    assert 1 == run("adopt")
    kernel.flush_table(100)
    kernel.add(Seen(replace(OUT, gateway="10.0.1.9"), 3))
    assert 4 == run("adopt")
    assert "gateway is 10.0.1.9, not 10.0.1.1" in capsys.readouterr().out
