"""Secondary private addresses, delegated prefixes and Elastic IPs move between ENIs, whatever goes wrong."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ec2ident_agent.failover import settings
from ec2ident_agent.failover.aws.forms import NO_OWNER
from ec2ident_agent.failover.errors import UsageError
from ec2ident_agent.failover.pacemaker.parameters import settings_of
from ec2ident_agent.failover.parts.order import parts_of
from tests.failover.conftest import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.failover.fake import Fake

    Run = Callable[..., Any]

ADDRESS, PREFIX = "10.0.0.50", "10.0.0.64/28"


@pytest.fixture
def consistent(either_consistency: bool) -> bool:
    """Every test here runs with reads of the present and with old ones."""
    return either_consistency


def subnet6(aws: Fake) -> str:
    """The IPv6 block of node 1's subnet, which the laboratory does not have by itself."""
    lab = aws.lab
    answer = aws.ask("DescribeVpcs", **{"VpcId.1": lab.vpc})
    block = re.findall(rb"<ipv6CidrBlock>(.*?)<", answer)[0].decode()
    # In its normal spelling, as EC2 answers.
    found = str(ipaddress.ip_network(f"{block.partition('/')[0]}/64"))
    aws.ask("AssociateSubnetCidrBlock", SubnetId=lab.subnet_a, Ipv6CidrBlock=found)
    return found


def give(aws: Fake, key: str, eni: str = "") -> str:
    """Node 2 has it."""
    six, prefix = ":" in key, "/" in key
    name = f"Ipv{6 if six else 4}Prefix" if prefix else "Ipv6Addresses" if six else "PrivateIpAddress"
    action = "AssignIpv6Addresses" if six else "AssignPrivateIpAddresses"
    if prefix:
        aws.backend.enis[eni or aws.lab.eni2].fake_prefixes = [key]
        aws.settle()
    else:
        aws.ask(action, NetworkInterfaceId=eni or aws.lab.eni2, **{f"{name}.1": key})
    return key


def elastic(aws: Fake, eni: str = "") -> str:
    """An Elastic IP, associated with node 2's ENI, or with none for "-"."""
    found = re.search(rb"<allocationId>(.*?)<", aws.ask("AllocateAddress", Domain="vpc"))
    assert found
    allocation = found[1].decode()
    if eni != "-":
        aws.ask("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=eni or aws.lab.eni2)
    return allocation


def holders(aws: Fake, key: str) -> list[str]:
    """The ENIs that have it, now."""
    from tests.failover.fake import gate

    if key.startswith("eipalloc-"):
        return [each.eni.id for each in aws.backend.addresses if each.allocation_id == key and each.eni]
    return [eni.id for eni in aws.backend.enis.values() if key in gate.held_by(eni)]


KINDS = ("address", "address6", "prefix", "prefix6", "eip")


@pytest.fixture(params=KINDS)
def key(aws: Fake, request: pytest.FixtureRequest) -> str:
    """One of each kind, which node 2 has."""
    if request.param == "eip":
        return elastic(aws)
    if request.param.endswith("6"):
        host = subnet6(aws).partition("::")[0]
        return give(aws, f"{host}::50" if request.param == "address6" else f"{host}:1::/80")
    return give(aws, ADDRESS if request.param == "address" else PREFIX)


def words(key: str) -> tuple[str, ...]:
    return ("eip", "--allocation", key) if key.startswith("eipalloc-") else ("private", "--address", key)


def ensure(run: Run, key: str, *more: str, **options: Any) -> Any:
    part, *rest = words(key)
    return run(part, "ensure", *rest, *more, **options)


def status(run: Run, key: str, **options: Any) -> Any:
    part, *rest = words(key)
    return run(part, "status", *rest, **options)


def test_each_kind_moves_and_moves_back(aws: Fake, run: Run, key: str) -> None:
    """It has one holder before and after; status says no, then yes; again changes nothing."""
    assert ([aws.lab.eni2], 1) == (holders(aws, key), status(run, key)[0])
    for instance, eni in ((aws.lab.node1, aws.lab.eni1), (aws.lab.node2, aws.lab.eni2)):
        code, lines, log = ensure(run, key, instance=instance)
        assert (0, [eni]) == (code, holders(aws, key)), log
        assert f"{key} assigned -> " in lines[0]
        aws.settle()
        assert 0 == status(run, key, instance=instance)[0]
        assert 0 == ensure(run, key, instance=instance)[0]
        assert [eni] == holders(aws, key)


def test_the_aws_cli_reads_the_same_holders(aws: Fake, run: Run, tmp_path: Path) -> None:
    """moto has no prefixes, so what the fake answers is held against the AWS CLI, which reads it by AWS's own model."""
    program = Path(sys.executable).with_name("aws")
    if not find_spec("awscli") or not program.exists():
        pytest.skip("the AWS CLI (PyPI: awscli) is not installed")
    host = subnet6(aws).partition("::")[0]
    keys = [give(aws, each) for each in (ADDRESS, f"{host}::50", PREFIX, f"{host}:1::/80")]
    assert 0 == run("private", "ensure", *(word for key in keys for word in ("--address", key)))[0]
    aws.settle()
    login = {"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}
    command = ["ec2", "describe-network-interfaces", "--output", "json", "--endpoint-url"]
    said = subprocess.run(
        [str(program), *command, aws.url, "--region", aws.region],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **login},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    ).stdout
    rows = {row["NetworkInterfaceId"]: row for row in json.loads(said)["NetworkInterfaces"]}
    for eni, held in ((aws.lab.eni1, keys), (aws.lab.eni2, [])):
        row = rows[eni]
        seen = [each["PrivateIpAddress"] for each in row["PrivateIpAddresses"] if not each["Primary"]]
        seen += [each["Ipv6Address"] for each in row["Ipv6Addresses"]]
        seen += [each["Ipv4Prefix"] for each in row.get("Ipv4Prefixes", ())]
        seen += [each["Ipv6Prefix"] for each in row.get("Ipv6Prefixes", ())]
        assert held == seen


def test_one_that_no_interface_has_is_assigned(aws: Fake, run: Run) -> None:
    """The first move."""
    for key in (ADDRESS, PREFIX, elastic(aws, "-")):
        assert 1 == status(run, key)[0]
        assert 0 == ensure(run, key)[0]
        assert [aws.lab.eni1] == holders(aws, key)


def test_an_old_look_that_says_right_is_not_believed(aws: Fake, run: Run, key: str) -> None:
    """Node 1 had it, node 2 took it a moment ago, and every read still shows node 1: the move writes all the same."""
    assert 0 == ensure(run, key)[0]
    aws.settle()
    aws.settings(stale=1.0, oldest=True)
    assert 0 == ensure(run, key, instance=aws.lab.node2)[0]
    aws.settle()
    aws.settings(stale=0.9, oldest=True)
    steal(aws, key)

    assert 0 == ensure(run, key)[0]
    assert [aws.lab.eni1] == holders(aws, key)


def steal(aws: Fake, key: str) -> None:
    """Node 2 takes it by calls that reads do not show yet."""
    from tests.failover.fake import gate

    with aws.lock:
        if key.startswith("eipalloc-"):
            for each in aws.backend.addresses:
                each.eni = aws.backend.enis[aws.lab.eni2]
                each.fake_private = each.eni.private_ip_address
        else:
            for eni in aws.backend.enis.values():
                gate.lose(eni, key)
            eni = aws.backend.enis[aws.lab.eni2]
            if "/" in key:
                eni.fake_prefixes = [key]
            elif ":" in key:
                eni.ipv6_addresses.append(key)
            else:
                eni.private_ip_addresses.append({"Primary": False, "PrivateIpAddress": key})
        aws._remember()


def test_a_lost_answer_ends_as_assigned(aws: Fake, run: Run, key: str) -> None:
    """The call was carried out, and its repetition may be refused because of that."""
    for action in ("AssignPrivateIpAddresses", "AssignIpv6Addresses", "AssociateAddress"):
        aws.fault(action=action, code="InternalError", status=500, after=True, times=1)
    code, _, log = ensure(run, key)

    assert (0, [aws.lab.eni1]) == (code, holders(aws, key)), log


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "IncorrectInstanceState",
            "The pending-instance-creation instance to which 'eni-1' is attached is not in a valid",
        ),
        ("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID 'eni-1' does not exist"),
    ],
)
def test_a_write_that_comes_too_early_is_tried_again(aws: Fake, run: Run, key: str, code: str, message: str) -> None:
    """hashicorp/terraform-provider-aws#6189 #19699, ansible-collections/amazon.aws#1872."""
    for action in ("AssignPrivateIpAddresses", "AssignIpv6Addresses", "AssociateAddress"):
        aws.fault(action=action, code=code, message=message, times=1)
    exit_, _, log = ensure(run, key)

    assert (0, [aws.lab.eni1]) == (exit_, holders(aws, key)), log


def test_an_elastic_ip_that_another_one_displaces_is_warned_of(aws: Fake, run: Run) -> None:
    """nginxinc/aws-ha-elastic-ip#1: EC2 takes the node's own one away ("AssociateAddress", EC2 API Reference)."""
    allocation = elastic(aws)
    answer = aws.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": aws.lab.eni1}).decode()
    association = "<association><publicIp>192.0.2.1</publicIp><allocationId>{}</allocationId></association>"
    said = f"warning: {aws.lab.eni1}: 10.0.0.11 has eipalloc-0a1b2c3d, and loses it"
    for there, warned in (("eipalloc-0a1b2c3d", True), (allocation, False), ("", False)):
        row = f"<item><privateIpAddress>10.0.0.11</privateIpAddress>{association.format(there)}</item>"
        rows = f"<privateIpAddressesSet>{row}</privateIpAddressesSet>"
        body = re.sub("<privateIpAddressesSet>.*?</privateIpAddressesSet>", rows, answer, flags=re.DOTALL)
        aws.faults.clear()
        aws.fault(action="DescribeNetworkInterfaces", body=body)
        code, _, log = ensure(run, allocation)
        assert (0, warned) == (code, said in log), log


def test_an_interface_with_ipv6_alone_has_no_elastic_ip_and_a_name(aws: Fake, run: Run) -> None:
    """aws/amazon-vpc-cni-k8s#3681: the private IPv4 address is absent."""
    allocation = elastic(aws)
    answer = aws.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": aws.lab.eni1}).decode()
    six = "<ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address></item></ipv6AddressesSet>"
    for pattern, text in (
        (r"<privateIpAddress>.*?</privateIpAddress>", ""),
        (r"<privateIpAddressesSet>.*?</privateIpAddressesSet>", "<privateIpAddressesSet/>"),
        (r"<ipv6AddressesSet ?/>|<ipv6AddressesSet>.*?</ipv6AddressesSet>", ""),
        (r"<privateIpAddressesSet/>", f"<privateIpAddressesSet/>{six}"),
    ):
        answer = re.sub(pattern, text, answer, flags=re.DOTALL)
    aws.fault(action="DescribeNetworkInterfaces", body=answer)
    code, _, log = ensure(run, allocation)
    assert (2, [aws.lab.eni2]) == (code, holders(aws, allocation))
    assert f"{aws.lab.eni1} has no private IPv4 address, which an Elastic IP goes to" in log

    name = "db.awslab.mycompany.corp"
    code, lines, _ = run("dns", "status", "--zone", aws.lab.zone, "--name", name)
    assert (1, [f"{name} AAAA: no record (wanted 2001:db8::1 ttl 10)"]) == (code, lines)


def test_a_denied_write_leaves_it_where_it_is(aws: Fake, run: Run, key: str) -> None:
    """Even where the holder must lose it first: the write is asked for before that."""
    for action in ("AssignPrivateIpAddresses", "AssignIpv6Addresses", "AssociateAddress"):
        aws.fault(action=action, code="UnauthorizedOperation", status=403)
    code, lines, _ = ensure(run, key)

    assert (4, [aws.lab.eni2]) == (code, holders(aws, key))
    assert "allow ec2:As" in "".join(lines)
    assert [] == aws.calls("UnassignPrivateIpAddresses", "UnassignIpv6Addresses")


def test_it_is_taken_only_from_the_expected_owner(aws: Fake, run: Run, key: str) -> None:
    """By instance, by ENI, or from no owner, for which EC2 itself compares."""
    code, _, log = ensure(run, key, "--expect", aws.lab.node3)
    assert (4, [aws.lab.eni2]) == (code, holders(aws, key)), log
    assert "nothing was changed" in log
    assert (4, [aws.lab.eni2]) == (ensure(run, key, "--expect", NO_OWNER)[0], holders(aws, key))
    assert 0 == ensure(run, key, "--expect", aws.lab.eni2)[0]
    assert [aws.lab.eni1] == holders(aws, key)


def test_a_plan_shows_the_calls_and_changes_nothing(aws: Fake, run: Run, key: str) -> None:
    """Exit 1 with something to do; the calls are those that a run makes."""
    code, lines, _ = ensure(run, key, "--plan")
    assert (1, [aws.lab.eni2]) == (code, holders(aws, key))
    _, _, log = ensure(run, key)
    done = [line.partition("[#] ")[2] for line in log.splitlines() if "[#] " in line]
    assert {*lines} <= {*done}
    aws.settle()
    assert (0, []) == ensure(run, key, "--plan")[:2]


def test_a_primary_address_never_moves(aws: Fake, run: Run) -> None:
    """Neither another node's nor, as a secondary one, this node's own."""
    for address in ("10.0.0.12", "10.0.0.11"):
        code, _, log = ensure(run, address)
        assert 4 == code
        assert "is the primary address of eni-" in log
    assert [] == aws.calls("AssignPrivateIpAddresses")


def test_an_address_of_another_subnet_is_refused_before_anything_is_changed(aws: Fake, run: Run) -> None:
    """With both subnets. One that no ENI has is EC2's to refuse."""
    give(aws, "10.0.2.50", aws.lab.eni3)
    code, _, log = ensure(run, "10.0.2.50")
    assert (2, []) == (code, aws.calls("AssignPrivateIpAddresses"))
    assert f"is of {aws.lab.subnet_b}, and {aws.lab.eni1} is in {aws.lab.subnet_a}" in log
    code, lines, _ = ensure(run, "10.0.2.51")
    assert 2 == code
    assert "does not fall within the subnet" in "".join(lines)


def test_an_allocation_that_does_not_exist_is_named(aws: Fake, run: Run) -> None:
    """Before anything is changed."""
    code, _, log = ensure(run, "eipalloc-0123456789abcdef0")
    assert 2 == code
    assert "allocation: no eipalloc-0123456789abcdef0 in us-east-1" in log


def test_an_elastic_ip_goes_to_the_private_address_that_is_wanted(aws: Fake, run: Run) -> None:
    """On the right ENI with another private address it is not right."""
    pytest.importorskip("moto", "5.2", reason="needs moto 5.2: before, an Elastic IP does not move on its ENI")
    allocation = elastic(aws, aws.lab.eni1)
    give(aws, ADDRESS, aws.lab.eni1)
    assert 0 == status(run, allocation)[0]
    assert 1 == run("eip", "status", "--allocation", allocation, "--address", ADDRESS)[0]
    assert 0 == run("eip", "ensure", "--allocation", allocation, "--address", ADDRESS)[0]
    aws.settle()
    assert 0 == run("eip", "status", "--allocation", allocation, "--address", ADDRESS)[0]


def whole(aws: Fake, allocation: str) -> str:
    return configuration(
        aws, f'[service.db.private]\naddresses = "{ADDRESS}"\n[service.db.eip]\nallocation = "{allocation}"\n'
    )


def test_a_take_over_moves_them_in_order_and_undoes_them(aws: Fake, run: Run) -> None:
    """The private address before the route, the Elastic IP after it; a later failure says how to give both back."""
    allocation = elastic(aws)
    give(aws, ADDRESS)
    config = whole(aws, allocation)
    code, _, log = run("takeover", "db", "--no-local", config=config)
    assert (0, [aws.lab.eni1], [aws.lab.eni1]) == (code, holders(aws, ADDRESS), holders(aws, allocation)), log
    wrote = [call["action"] for call in aws.calls("AssignPrivateIpAddresses", "ReplaceRoute", "AssociateAddress")]
    assert ["AssignPrivateIpAddresses", "ReplaceRoute", "ReplaceRoute", "AssociateAddress"] == wrote
    assert 0 == run("release", "db", "--no-local", config=config)[0]
    aws.settle()

    aws.fault(action="AssociateAddress", code="UnauthorizedOperation", status=403)
    code, _, log = run("takeover", "db", "--no-local", config=config, instance=aws.lab.node2)
    assert (4, [aws.lab.eni2], [aws.lab.eni1]) == (code, holders(aws, ADDRESS), holders(aws, allocation))
    said = f"to undo: aws ec2 assign-private-ip-addresses --network-interface-id {aws.lab.eni1} --private-ip-addresses"
    assert f"{said} {ADDRESS} --allow-reassignment" in log


def test_policy_allows_exactly_what_they_need(aws: Fake, run: Run, key: str) -> None:
    """Both nodes move it under the policy; a stranger's ENI stays out of reach."""
    part = "eip" if key.startswith("eipalloc-") else "private"
    name = "allocation" if part == "eip" else "addresses"
    config = configuration(aws).partition("[service.db]")[0] + f'[service.db.{part}]\n{name} = "{key}"\n'
    aws.policy("AKIDTEST", json.loads("\n".join(run("policy", config=config)[1])))
    for instance in (aws.lab.node1, aws.lab.node2, aws.lab.node1):
        code, _, log = run("takeover", "db", "--no-local", config=config, instance=instance)
        assert 0 == code, log
        aws.settle()
    assert [] == [call for call in aws.calls() if call["status"] == 403]
    found = re.search(rb"<networkInterfaceId>(.*?)<", aws.ask("CreateNetworkInterface", SubnetId=aws.lab.subnet_a))
    assert found
    assert 4 == ensure(run, key, "--eni", found[1].decode())[0]


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        ('private.addresses = ["10.0.1.0/24"]', "neither one address nor a prefix that EC2 delegates"),
        ('private.addresses = ["fd00::/64"]', "neither one address nor a prefix that EC2 delegates"),
        ('private.addresses = ["10.0.1.65/28"]', "not a CIDR block"),
        ("private = {}", "addresses: is missing"),
        ("eip = {}", "allocation: is missing"),
        ('eip.allocation = "eip-1"', "is not the id of an Elastic IP"),
        ('eip = { allocation = "eipalloc-0a1b2c3d", adress = "10.0.0.1" }', "did you mean address"),
    ],
)
def test_settings_are_read_strictly(tail: str, said: str) -> None:
    """Each error names the key and what is wrong."""
    with pytest.raises(UsageError, match=re.escape(said)):
        settings.parse(f"[service.db]\n{tail}\n".encode())


def test_addresses_with_a_device_are_held_before_they_are_assigned() -> None:
    """Without a device another program holds them, and a prefix belongs to no device."""
    here: Any = object()

    def names(text: str) -> list[str]:
        service = settings.parse(f"[service.db]\n{text}\n".encode()).service("db")
        return [part.name for part in parts_of(service, here)]

    single, prefix = 'private.addresses = ["10.0.1.5", "fd00::5"]', 'private.addresses = "10.0.1.16/28"'
    assert ["address", "private"] == names(f'device = "eth0"\n{single}')
    assert ["private"] == names(single) == names(f'device = "eth0"\n{prefix}')
    more = 'overlay = "192.168.10.5"\nroute.vpc = "vpc-0a1b2c3d"\neip.allocation = "eipalloc-0a1b2c3d"'
    assert ["address", "private", "address", "route", "eip"] == names(f'device = "eth0"\n{single}\n{more}')


def test_the_parameters_of_the_agents_are_the_same_settings() -> None:
    """As awsvip and awseip have them."""
    found = settings_of("private", {"addresses": "10.0.1.5, 10.0.1.16/28", "device": "eth1"}).services[0]
    assert found.private
    assert (("10.0.1.5", "10.0.1.16/28"), "eth1") == (found.private.addresses, found.device)
    found = settings_of("eip", {"allocation_id": "eipalloc-0a1b2c3d", "private_address": "10.0.1.5"}).services[0]
    assert found.eip
    assert ("eipalloc-0a1b2c3d", "10.0.1.5") == (found.eip.allocation, found.eip.address)
