"""The configuration of FRR: what it says, and that FRR's own parser takes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent.failover.bgp import frr
from ec2ident_agent.failover.bgp.frr import Speaker, configuration, metric_at
from ec2ident_agent.failover.bgp.speaker import speaker
from ec2ident_agent.failover.cli import main
from ec2ident_agent.failover.errors import UsageError
from ec2ident_agent.failover.iam.policy import document
from ec2ident_agent.failover.parts.order import in_order_of_release, parts_of
from ec2ident_agent.failover.settings import parse
from tests.failover.environment import ENVIRONMENT

SIMPLE = Speaker(65001, 65000, ("10.0.1.11", "10.0.1.12"), "10.0.1.10", ("192.168.10.5/32",))
WIDE = replace(SIMPLE, asn=4200000001, holder=("192.168.10.5/32", "2001:db8::5/128"), both=("192.168.10.6/32",))
SERVICE = """
[service.{name}]
overlay = "192.168.10.{name}"
device = "eth0"
[service.{name}.bgp]
asn = 65001
endpoint_asn = 65000
endpoints = ["10.0.1.11", "10.0.1.12"]
"""
TEXT = SERVICE.format(name="5")


def checked(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    """FRR's own parser of a whole configuration."""
    if not shutil.which("vtysh"):
        pytest.skip("needs vtysh, from the Debian package frr")
    path = tmp_path / "frr.conf"
    path.write_text(text)
    return subprocess.run(["vtysh", "-C", "-f", str(path)], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("wanted", [SIMPLE, WIDE, replace(SIMPLE, bfd=False), replace(WIDE, holder=())])
def test_frrs_own_parser_takes_it(tmp_path: Path, wanted: Speaker) -> None:
    """Both families, both ways to announce, and with or without BFD."""
    done = checked(tmp_path, configuration(wanted))

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_frrs_own_parser_refuses_what_is_wrong(tmp_path: Path) -> None:
    """The judge can say no: one letter of one line."""
    done = checked(tmp_path, configuration(SIMPLE).replace("advertisement-interval", "advertisment-interval"))

    assert done.returncode
    assert "Unknown command" in done.stderr


def test_nothing_but_the_overlay_addresses_may_go_out_and_nothing_may_come_in() -> None:
    """Every neighbor of every family has both lists, and each list ends with a deny."""
    lines = configuration(WIDE).splitlines()

    permitted = [line.split()[-1] for line in lines if " permit " in line and "prefix-list" in line]
    assert permitted == ["192.168.10.5/32", "192.168.10.6/32", "2001:db8::5/128"]
    for word in ("ip", "ipv6"):
        for name in ("EC2IDENT-OUT", "EC2IDENT-IN"):
            assert f"{word} prefix-list {name} seq 1000000 deny any" in lines
    for endpoint in WIDE.endpoints:
        for way in ("IN in", "OUT out"):
            assert 2 == lines.count(f"  neighbor {endpoint} prefix-list EC2IDENT-{way}")
    assert not [line for line in lines if "redistribute" in line or "aggregate" in line]


def test_the_router_id_is_the_nodes_own_address() -> None:
    """FRR's default is the highest address: an overlay address that is added would reset every session."""
    assert " bgp router-id 10.0.1.10" in configuration(SIMPLE).splitlines()


def test_a_silent_endpoint_is_given_up_after_three_keepalives() -> None:
    """RFC 4271, 10 suggests a third of the hold time; without BFD it says how long a lost endpoint is not noticed."""
    lines = configuration(replace(SIMPLE, bfd=False)).splitlines()

    assert [f" neighbor {endpoint} timers 3 9" for endpoint in SIMPLE.endpoints] == [
        line for line in lines if " timers " in line and "connect" not in line
    ]


def test_a_later_take_over_has_a_lower_metric() -> None:
    """It is preferred, also to an announcement that no take-over made. It stays a number of 32 bits."""
    assert metric_at(1_800_000_000.3) < metric_at(1_800_000_000) < frr.WORST
    assert 0 == metric_at(2**33) < metric_at(2_800_000_000) < metric_at(0) < frr.WORST < 2**32


def test_the_commands_of_a_move() -> None:
    """What a person would type."""
    network = ("router bgp 65001", "address-family ipv4 unicast")
    assert frr.announce(65001, "192.168.10.5/32", 7) == (
        "route-map EC2IDENT-192.168.10.5 permit 10",
        "set metric 7",
        "exit",
        *network,
        "network 192.168.10.5/32 route-map EC2IDENT-192.168.10.5",
    )
    assert frr.withdraw(65001, "192.168.10.5/32") == (*network, "no network 192.168.10.5/32")
    assert "set as-path prepend 65001 65001" in frr.stand_by(65001, "192.168.10.5/32", 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("asn = 65001\n", ""), "asn: is missing"),
        (("endpoint_asn = 65000\n", ""), "endpoint_asn: is missing"),
        (("asn = 65001", "asn = 65000"), "route server's number too"),
        (("asn = 65001", "asn = 4294967296"), "not from 1 to"),
        (("asn = 65001", "asn = true"), "is not a number"),
        (("10.0.1.12", "10.0.1.11"), "twice"),
        (("10.0.1.12", "fd00::1"), "not an IPv4 address"),
        (("10.0.1.12", "10.0.1.12\\n network 0.0.0.0/0"), "endpoints"),
        (("asn = 65001", 'asn = 65001\naddress = "10.0.1.11"'), "own one"),
        (("asn = 65001", 'asn = 65001\nliveness = "ping"'), "neither bfd nor bgp-keepalive"),
        (("asn = 65001", 'asn = 65001\nannounce = "all"'), "neither holder nor both"),
        (("asn = 65001", "asn = 65001\nprepend = 0"), "not from 1 to 10"),
        (("asn = 65001", 'asn = 65001\npeers = "10.0.1.11"'), "no such key"),
        (
            ("asn = 65001", 'asn = 65001\ntables = "rtb-0a1b2c3d4e5f60001"\nvpc = "vpc-0a1b2c3d4e5f60001"'),
            "give either",
        ),
        (("192.168.10.5", "192.168.10.0/24"), "whole network"),
        (('overlay = "192.168.10.5"\n', ""), "needs an overlay address"),
    ],
)
def test_wrong_settings_are_refused(change: tuple[str, str], said: str) -> None:
    """By the key, in one line."""
    with pytest.raises(UsageError, match=said):
        parse(TEXT.replace(*change).encode())


def test_a_route_of_the_api_beside_it_is_refused() -> None:
    """It has priority over what a route server writes, so the announcement would move nothing."""
    with pytest.raises(UsageError, match="together with a route"):
        parse(f'{TEXT}[service.5.route]\ntables = "rtb-0a1b2c3d4e5f60001"\n'.encode())


def test_one_speaker_serves_all_services_of_a_node() -> None:
    """Its sessions are one thing: what differs between services is refused."""
    found = parse((TEXT + SERVICE.format(name="6") + 'announce = "both"\n').encode()).services
    made = speaker(found, "", lambda _: "10.0.1.10")

    assert made.holder == ("192.168.10.5/32",)
    assert made.both == ("192.168.10.6/32",)
    assert made.address == "10.0.1.10"
    for change in ("65001", "10.0.1.12"):
        other = parse((TEXT + SERVICE.format(name="6").replace(change, change[:-1])).encode()).services
        with pytest.raises(UsageError, match="differs between 5, 6"):
            speaker(other, "", lambda _: "10.0.1.10")
    with pytest.raises(UsageError, match="overlay address"):
        speaker(found, "192.168.10.5", lambda _: "10.0.1.10")
    lacking = parse(TEXT.replace('endpoints = ["10.0.1.11", "10.0.1.12"]', "").encode()).services
    with pytest.raises(UsageError, match="endpoints is missing"):
        speaker(lacking, "10.0.1.10", lambda _: "")
    with pytest.raises(UsageError, match="two of them"):
        speaker((*found[:1], *found[:1]), "10.0.1.10", lambda _: "")


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For one service or all; without such a service it is an error of the configuration."""
    path = tmp_path / "failover.toml"
    path.write_text(TEXT + SERVICE.format(name="6"))
    path.chmod(0o600)
    words = ["--config", str(path), "--address", "10.0.1.10"]

    assert 0 == main(["bgp", "5", *words], environ=ENVIRONMENT)
    assert capsys.readouterr().out == configuration(replace(SIMPLE))
    assert 0 == main(["bgp", *words], environ=ENVIRONMENT)
    assert "permit 192.168.10.6/32" in capsys.readouterr().out
    path.write_text('[service.5]\noverlay = "192.168.10.5"\n')
    assert 2 == main(["bgp", *words], environ=ENVIRONMENT)


def test_the_policy_only_reads() -> None:
    """DescribeRouteTables alone, and only if the tables are named; without them there is nothing to allow."""
    with pytest.raises(UsageError, match="nothing to allow"):
        document(parse(TEXT.encode()), "eu-west-1", "123456789012")
    settings = parse((TEXT + 'tables = "rtb-0a1b2c3d4e5f60001"\n').encode())

    found = document(settings, "eu-west-1", "123456789012", release=True)["Statement"]

    assert [each["Action"] for each in found] == [["ec2:DescribeRouteTables"]]


def test_a_release_withdraws_before_the_address_goes() -> None:
    """Traffic must not come to a node that has stopped to answer, so the announcement is the first to go."""
    service = parse((TEXT + '[service.5.dns]\nzone = "Z0123456789ABCDEFGHIJ"\nname = "a.b"\n').encode()).services[0]
    here = object()
    found = parts_of(service, here)  # type: ignore[arg-type]

    assert [part.name for part in found] == ["address", "bgp", "dns"]
    assert [part.name for part in in_order_of_release(found)] == ["bgp", "address", "dns"]
