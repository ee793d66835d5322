"""A name that moves: compared, written, waited for, confirmed."""

from __future__ import annotations

import shlex
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.aws.model import Change, HostedZone, RecordSet
from ec2ident_agent.failover.dns import resolver
from ec2ident_agent.failover.errors import ApiUnknownError, MalformedResponseError, OutOfTimeError, UsageError
from ec2ident_agent.failover.parts import dns
from ec2ident_agent.failover.parts.dns import DnsDifference
from tests.failover.conftest import configuration
from tests.failover.dns import stub_dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from ec2ident_agent.failover.aws.client import Api
    from tests.failover.fake import Fake

NAME = "db.awslab.mycompany.corp"


@pytest.fixture
def consistent(either_consistency: bool) -> bool:
    """Every test here runs with reads of the present and with old ones."""
    return either_consistency


def part(aws: Fake, *more: str) -> str:
    return "\n".join(["[service.db.dns]", f'zone = "{aws.lab.zone}"', f'name = "{NAME}"', *more])


def test_addresses_become_an_a_and_an_aaaa() -> None:
    """By family; a prefix length is left off."""
    found = dns.wanted("DB.Example.Corp.", ["10.0.0.1", "fd00:0::5/128", "10.0.0.2"], 10)

    assert (
        RecordSet("db.example.corp", "A", 10, ("10.0.0.1", "10.0.0.2")),
        RecordSet("db.example.corp", "AAAA", 10, ("fd00::5",)),
    ) == found
    assert ("10.0.0.1",) == dns.wanted("db", ["10.0.0.1", "10.0.0.1/32"], 10)[0].values
    for values in ([], ["not an address"], ["192.168.10.0/24"], ["10.0.0.1/24"], ["fe80::1%eth0"], ["10.0.0.1/x"]):
        with pytest.raises(UsageError, match="record db"):
            dns.wanted("db", values, 10)
    for name in ("", "a..b", "a b.corp", "a\n.corp"):
        with pytest.raises(UsageError, match="name: "):
            dns.wanted(name, ["10.0.0.1"], 10)


@pytest.mark.parametrize(
    ("found", "differs"),
    [
        (None, True),
        (RecordSet(NAME, "A", 10, ("10.0.0.2", "10.0.0.1")), False),
        (RecordSet(NAME, "A", 11, ("10.0.0.1", "10.0.0.2")), True),
        (RecordSet(NAME, "A", 10, ("10.0.0.1",)), True),
        (RecordSet(NAME, "A", 10, ("10.0.0.1", "10.0.0.3")), True),
    ],
)
def test_values_and_ttl_count_and_order_does_not(found: RecordSet | None, differs: bool) -> None:
    """One value or one second away is a difference."""
    assert differs == bool(DnsDifference(RecordSet(NAME, "A", 10, ("10.0.0.1", "10.0.0.2")), found))


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        (HostedZone("Z1", "awslab.mycompany.corp", False), "is public"),
        (HostedZone("Z1", "lab.mycompany.corp", True), r"Z1 is lab\.mycompany\.corp \(the record is db\.awslab"),
        (HostedZone("Z1", "b.awslab.mycompany.corp", True), "the record is db.awslab"),
        (HostedZone("Z1", "awslab.mycompany.corp", True, (("vpc-2", "us-east-1"),)), r"with vpc-2 \(not with vpc-1\)"),
    ],
)
def test_a_zone_of_another_account_is_refused(zone: HostedZone, said: str) -> None:
    """Public, of another name, a mere ending of the name, of another VPC."""
    with pytest.raises(UsageError, match=said):
        dns.check_zone(zone, NAME, vpc="vpc-1")


def test_a_name_is_written_waited_for_and_then_right(aws: Fake, run: Callable[..., Any]) -> None:
    """One batch for both families; the change's id is shown. The second time it is written without a wait."""
    aws.settings(insync=0.5)
    arguments = ("dns", "ensure", "--zone", aws.lab.zone, "--name", NAME, "--value", "10.0.0.11", "--value", "fd00::5")
    code, lines, log = run(*arguments)

    assert (0, 2, 1) == (code, len(lines), len(aws.calls("ChangeResourceRecordSets")))
    assert [f"upserted: {NAME} 10 IN A 10.0.0.11", f"upserted: {NAME} 10 IN AAAA fd00::5"] == lines
    assert "change C0000000000001FAKE: PENDING\nchange C0000000000001FAKE: INSYNC\n" in log
    aws.settle()
    aws.settings(insync=600)
    code, lines, _ = run(*arguments)
    assert (0, 2) == (code, len(aws.calls("ChangeResourceRecordSets")))
    assert all(line.startswith("right: ") for line in lines)


def test_a_record_that_only_an_old_answer_shows_is_written(aws: Fake, run: Callable[..., Any], api: Api) -> None:
    """Another node wrote its own a moment ago."""
    arguments = ("dns", "ensure", "--zone", aws.lab.zone, "--name", NAME)
    assert 0 == run(*arguments, "--value", "10.0.0.11")[0]
    aws.settle()
    aws.settings(stale=30.0, oldest=True)
    other = RecordSet(NAME, "A", 10, ("10.0.0.12",))
    api.call(actions.change_records(aws.lab.zone, "UPSERT", [other]))
    assert 0 == run(*arguments, "--value", "10.0.0.11")[0]

    aws.settings(stale=0.0)
    assert ("10.0.0.11",) == api.call(actions.list_records(aws.lab.zone, NAME, "A"))[0].values


def test_the_record_after_the_wanted_one_is_not_taken_for_it(aws: Fake, api: Api) -> None:
    """The list goes on with the next name where there is none."""
    api.call(actions.change_records(aws.lab.zone, "UPSERT", [RecordSet(f"x{NAME}", "A", 10, ("10.0.0.9",))]))
    (found,) = dns.compare(api, aws.lab.zone, dns.wanted(NAME, ["10.0.0.9"], 10))

    assert found.found is None


LISTED = (
    "<ListResourceRecordSetsResponse><ResourceRecordSets><ResourceRecordSet>"
    f"<Name>{NAME}.</Name>{{}}</ResourceRecordSet></ResourceRecordSets></ListResourceRecordSetsResponse>"
)
VALUE = "<TTL>60</TTL><ResourceRecords><ResourceRecord><Value>10.0.0.9</Value></ResourceRecord></ResourceRecords>"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            "<Type>A</Type><AliasTarget><HostedZoneId>Z1</HostedZoneId><DNSName>lb.example.</DNSName></AliasTarget>",
            r"AliasTarget lb\.example",
        ),
        (f"<Type>A</Type><SetIdentifier>blue</SetIdentifier><Weight>1</Weight>{VALUE}", "SetIdentifier blue Weight 1"),
        (f"<Type>A</Type><HealthCheckId>abc</HealthCheckId>{VALUE}", "HealthCheckId abc"),
        (f"<Type>A</Type><TrafficPolicyInstanceId>t</TrafficPolicyInstanceId>{VALUE}", "TrafficPolicyInstanceId t"),
        (f"<Type>CNAME</Type>{VALUE}".replace("10.0.0.9", "x.corp."), r"is a CNAME of x\.corp\."),
    ],
)
def test_a_record_that_is_more_than_values_is_not_replaced(aws: Fake, api: Api, record: str, said: str) -> None:
    """An UPSERT would silently make a plain record of an alias; a CNAME it would only find at the end."""
    aws.fault(action="ListResourceRecordSets", body=LISTED.format(record))
    with pytest.raises(UsageError, match=f"{said}.*it must not be replaced"):
        dns.compare(api, aws.lab.zone, dns.wanted(NAME, ["10.0.0.9"], 10))


def test_an_address_that_was_written_differently_is_the_same(aws: Fake, api: Api) -> None:
    """The service keeps each as it was written."""
    api.call(actions.change_records(aws.lab.zone, "UPSERT", [RecordSet(NAME, "AAAA", 10, ("FD00:0::5",))]))
    aws.settle()
    (found,) = dns.compare(api, aws.lab.zone, dns.wanted(NAME, ["fd00::5"], 10))

    assert not found


@pytest.mark.parametrize("verb", ["show", "ensure"])
def test_a_zone_of_another_vpc_is_refused_where_the_vpc_is_named(aws: Fake, run: Callable[..., Any], verb: str) -> None:
    """Staging has the same names as production."""
    config = configuration(aws, part(aws, 'vpc = "vpc-0a1b2c3d"'))
    code, _, log = run("dns", verb, "db", config=config)

    assert (2, []) == (code, aws.calls("ChangeResourceRecordSets"))
    assert f"zone: {aws.lab.zone} is associated with {aws.lab.vpc} (not with vpc-0a1b2c3d)" in log
    assert 2 > run("dns", verb, "db", config=config.replace("vpc-0a1b2c3d", aws.lab.vpc))[0]
    given = ("--zone", aws.lab.zone, "--name", NAME, "--value", "10.0.0.1", "--vpc")
    assert 2 == run("dns", verb, *given, "vpc-0a1b2c3d")[0]
    assert 2 > run("dns", verb, *given, aws.lab.vpc)[0]


def test_an_expected_owner_of_a_name_is_not_an_option(run: Callable[..., Any]) -> None:
    """A record has none; an option that is passed over would promise what it does not hold."""
    assert 2 == run("dns", "ensure", "db", "--expect", "i-0a1b2c3d")[0]


def test_waiting_ends_with_the_deadline_and_tells_the_change(
    aws: Fake, make_api: Callable[..., Api], quiet: Callable[[float], Deadline]
) -> None:
    """The change itself goes on."""
    aws.settings(insync=600)
    api = make_api(quiet(0.5))
    change = dns.upsert(api, aws.lab.zone, dns.compare(api, aws.lab.zone, dns.wanted(NAME, ["10.0.0.9"], 10)))
    assert change
    with pytest.raises(OutOfTimeError, match=f"change {change.id}: still PENDING.*get-change --id {change.id}"):
        dns.wait(api, change, every=0.2)


def test_a_question_without_an_answer_ends_the_wait_with_the_change_too(
    aws: Fake, make_api: Callable[..., Api], quiet: Callable[[float], Deadline]
) -> None:
    """What an operator goes on with is the change's id."""
    aws.settings(insync=600)
    change = dns.upsert(
        make_api(), aws.lab.zone, dns.compare(make_api(), aws.lab.zone, dns.wanted(NAME, ["10.0.0.9"], 10))
    )
    assert change
    aws.fault(action="GetChange", hang=True)
    with pytest.raises(OutOfTimeError, match=f"change {change.id}: still PENDING: not within 1 s; .*--id {change.id}"):
        dns.wait(make_api(quiet(1.0)), change, every=0.2)


def test_throttling_and_a_busy_zone_are_waited_out(aws: Fake, run: Callable[..., Any]) -> None:
    """PriorRequestNotComplete is Route 53's own way to say: later."""
    aws.fault(action="ChangeResourceRecordSets", code="PriorRequestNotComplete", times=1)
    aws.fault(action="ListResourceRecordSets", code="Throttling", message="Rate exceeded", times=1)
    config = configuration(aws, part(aws))

    assert 0 == run("dns", "ensure", "db", config=config)[0]


def test_show_compares_and_a_plan_prints_the_batch(aws: Fake, run: Callable[..., Any]) -> None:
    """Of the configured service; its overlay addresses are the default."""
    config = configuration(aws, part(aws))
    code, lines, _ = run("dns", "show", "db", config=config)
    assert (1, [f"{NAME} A: no record (wanted 192.168.10.5 ttl 10)"]) == (code, lines)
    code, lines, _ = run("dns", "ensure", "db", "--dry-run", config=config)
    assert (1, 1, []) == (code, len(lines), aws.calls("ChangeResourceRecordSets"))
    assert lines[0].startswith(
        f"aws route53 change-resource-record-sets --hosted-zone-id {aws.lab.zone} --change-batch"
    )


@pytest.mark.usefixtures("quiet")
def test_a_resolver_confirms_or_contradicts(aws: Fake, run: Callable[..., Any]) -> None:
    """What clients see is what counts: 0, 1, and without an answer 3."""
    table = {NAME: ["192.168.10.5"]}
    with stub_dns.resolver(table) as server:
        config = configuration(aws, part(aws, f'resolver = "{server}"'))
        assert 0 == run("dns", "ensure", "db", config=config)[0]
        table[NAME] = ["192.168.10.6"]
        code, _, log = run("dns", "ensure", "db", "--deadline", "2.5", config=config)
        assert (1, f"resolver {server}: {NAME} A: 192.168.10.6 ttl 10 (wanted 192.168.10.5 ttl 10)") == (
            code,
            log.strip().splitlines()[-1],
        )
    code, _, log = run("dns", "ensure", "db", "--deadline", "1", config=config)
    assert (3, True) == (code, f"resolver {server}" in log)


def test_show_asks_a_resolver_once(aws: Fake, run: Callable[..., Any]) -> None:
    """Only who has just written has a reason to wait for it."""
    asked: list[str] = []

    class Table(dict):  # type: ignore[type-arg]
        def get(self, key: object, default: object = None) -> object:
            asked.append(str(key))
            return ["192.168.10.6"]

    with stub_dns.resolver(Table()) as server:
        code, _, log = run("dns", "show", "db", config=configuration(aws, part(aws, f'resolver = "{server}"')))

    assert (1, 1) == (code, log.count(f"resolver {server}: {NAME} A: 192.168.10.6"))
    assert 1 == len(asked)


def private(aws: Fake, name: str, vpc: str) -> str:
    """A zone of the test's own."""
    body = (
        f'<CreateHostedZoneRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Name>{name}</Name><VPC>'
        f"<VPCRegion>{aws.region}</VPCRegion><VPCId>{vpc}</VPCId></VPC><CallerReference>{vpc}</CallerReference>"
        "<HostedZoneConfig><Comment/><PrivateZone>true</PrivateZone></HostedZoneConfig></CreateHostedZoneRequest>"
    )
    status, answer = aws._direct("route53", "POST", "/2013-04-01/hostedzone", {}, body.encode())
    assert status == 201
    return answer.decode().partition("<Id>/hostedzone/")[2].partition("<")[0]


def test_of_two_zones_of_a_name_that_of_the_vpc_is_meant(aws: Fake, run: Callable[..., Any]) -> None:
    """Split horizon. Where neither is, that is said before the VPC is touched."""
    vpcs = [
        aws.ask("CreateVpc", CidrBlock=cidr).decode().partition("<vpcId>")[2].partition("<")[0]
        for cidr in ("10.8.0.0/16", "10.9.0.0/16")
    ]
    second = private(aws, "awslab.mycompany.corp", vpcs[0])
    arguments = ("dns", "zone", "--name", "awslab.mycompany.corp", "--vpc")

    assert (0, [aws.lab.zone]) == run(*arguments, aws.lab.vpc)[:2]
    assert second == run(*arguments, vpcs[0])[1][-1]
    aws.journal.clear()
    code, _, log = run(*arguments, vpcs[1])
    assert (2, []) == (code, [call for call in aws.calls() if not call["action"].startswith(("List", "Get"))])
    assert f"is 2 private zones, none of {vpcs[1]}: " in log


def test_a_zone_is_made_once_and_associated(aws: Fake, run: Callable[..., Any]) -> None:
    """With both DNS attributes of the VPC on; what is right is left alone."""
    pytest.importorskip("moto", "5.2", reason="needs moto 5.2: before, a new zone's answer has no id of its VPC")
    aws.ask("ModifyVpcAttribute", VpcId=aws.lab.vpc, **{"EnableDnsHostnames.Value": "false"})
    arguments = ("dns", "zone", "--name", "x.corp", "--vpc", aws.lab.vpc)
    code, first, _ = run(*arguments)
    assert (0, f"{aws.lab.vpc}: enableDnsHostnames switched on") == (code, first[0])
    code, second, _ = run(*arguments)
    assert (0, first[-1:]) == (code, second)
    assert 1 == len(aws.calls("CreateHostedZone"))

    code, lines, _ = run("dns", "zone", "--name", "awslab.mycompany.corp", "--vpc", aws.lab.vpc)
    assert (0, [aws.lab.zone]) == (code, lines)


def test_a_zone_is_planned_and_asked_for_with_one_reference(aws: Fake, run: Callable[..., Any]) -> None:
    """The reference is made from what is asked; if it was used for a zone that was deleted since, the next one is."""
    pytest.importorskip("moto", "5.2", reason="needs moto 5.2: before, a new zone's answer has no id of its VPC")
    aws.ask("ModifyVpcAttribute", VpcId=aws.lab.vpc, **{"EnableDnsHostnames.Value": "false"})
    arguments = ("dns", "zone", "--name", "y.corp", "--vpc", aws.lab.vpc)
    code, plan, _ = run(*arguments, "--plan")
    said = ["modify-vpc-attribute", "create-hosted-zone", "change-tags-for-resource"]
    assert (1, said) == (code, [line.split()[2] for line in plan])
    assert [] == aws.calls("CreateHostedZone", "ModifyVpcAttribute")[1:]

    aws.fault(action="CreateHostedZone", code="HostedZoneAlreadyExists", status=409, times=2)
    code, lines, log = run(*arguments)
    assert 0 == code, log
    assert f"{lines[-1]}: created, associated with {aws.lab.vpc}" in lines
    assert 3 <= len(aws.calls("CreateHostedZone"))
    assert (0, []) == run(*arguments, "--plan")[:2]


def test_a_zone_that_this_program_created_is_tagged(aws: Fake, run: Callable[..., Any], tmp_path: Path) -> None:
    """With its reference and with the tags that are asked for. A run that ended before that is completed by the next.

    The API answers a change of tags with an empty body.
    """
    pytest.importorskip("moto", "5.2", reason="needs moto 5.2: before, a new zone's answer has no id of its VPC")
    arguments = ("dns", "zone", "--name", "z.corp", "--vpc", aws.lab.vpc, "--tag", "Team=db & net")
    code, plan, _ = run(*arguments, "--plan")
    words = shlex.split(plan[-1])
    assert (1, "change-tags-for-resource", "Key=Team,Value=db & net") == (code, words[2], words[8])

    aws.fault(action="ChangeTagsForResource", code="AccessDenied", status=403, times=1)
    assert 4 == run(*arguments)[0]
    aws.fault(action="ChangeTagsForResource", body="", times=1)
    code, lines, log = run(*arguments)
    assert 0 == code, log
    zone = lines[-1]
    assert lines[0].startswith(f"{zone}: tagged: Team=db & net ec2ident=ec2ident-")
    refused, tagged = (tmp_path / "state/failover/audit.log").read_text().splitlines()
    assert "verb=dns-zone " in refused
    assert " exit=4 " in refused
    assert f" what={lines[0]}; {zone}" in tagged
    assert 1 == len(aws.calls("CreateHostedZone"))

    # This server answers without a body in place of the change.
    assert 1 == run(*arguments, "--plan")[0]
    code, lines, _ = run(*arguments)
    assert (0, zone) == (code, lines[-1])
    assert (0, []) == run(*arguments, "--plan")[:2]
    assert (1, [str(actions.tag_zone(zone, {"Team": "net"}))]) == run(*arguments[:-1], "Team=net", "--plan")[:2]


def test_a_zone_of_another_program_keeps_its_tags(aws: Fake, run: Callable[..., Any]) -> None:
    """Its reference does not begin as those of this program."""
    arguments = ("dns", "zone", "--name", "awslab.mycompany.corp", "--vpc", aws.lab.vpc, "--tag", "Team=db")

    assert (0, [aws.lab.zone]) == run(*arguments)[:2]
    assert [] == aws.calls("ChangeTagsForResource", "ListTagsForResource")


def test_an_existing_zone_is_associated_with_a_second_vpc(aws: Fake, run: Callable[..., Any]) -> None:
    """Not made a second time."""
    vpc = aws.ask("CreateVpc", CidrBlock="10.9.0.0/16").decode().partition("<vpcId>")[2].partition("<")[0]
    code, lines, _ = run("dns", "zone", "--name", "awslab.mycompany.corp.", "--vpc", vpc)

    assert (0, f"{aws.lab.zone}: associated with {vpc}") == (code, lines[-2])
    assert [] == aws.calls("CreateHostedZone")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", NAME), "give --zone and --name"),
        (("--zone", "z-1", "--name", NAME), "is not the id of a hosted zone"),
        (("--zone", "Z404", "--name", NAME, "--value", "10.0.0.1"), "NoSuchHostedZone"),
        (("--zone", "ZONE", "--name", "db.other.corp", "--value", "10.0.0.1"), "the record is db.other.corp"),
        (("--zone", "ZONE", "--name", NAME, "--value", "10.0.0.256"), "10.0.0.256"),
    ],
)
def test_a_wrong_zone_or_record_is_wrong_usage(
    aws: Fake, run: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    """Exit 2; nothing is written."""
    code, _, log = run("dns", "ensure", *(aws.lab.zone if each == "ZONE" else each for each in arguments))

    assert (2, []) == (code, aws.calls("ChangeResourceRecordSets"))
    assert said in log


def test_a_denied_change_is_not_a_success(aws: Fake, run: Callable[..., Any]) -> None:
    """It names the zone's ARN."""
    aws.fault(action="ChangeResourceRecordSets", code="AccessDenied", status=403)
    code, _, log = run("dns", "ensure", "db", config=configuration(aws, part(aws)))

    assert 4 == code
    assert f"allow route53:ChangeResourceRecordSets on arn:aws:route53:::hostedzone/{aws.lab.zone}" in log


# The resolver's own packets


def test_a_question_and_its_answer() -> None:
    """As a DNS server reads and writes them."""
    asked = resolver.question("Db.Example", "A", 7)
    found = stub_dns.answer(asked, {"db.example": ["10.0.0.1", "fd00::1"]}, 30)

    assert ("NOERROR", (("10.0.0.1", 30),)) == resolver.read(found, asked, "A")
    assert ("NXDOMAIN", ()) == resolver.read(stub_dns.answer(asked, {}, 1), asked, "A")


@pytest.mark.parametrize("change", [0, 2, 13], ids=["number", "not an answer", "name"])
def test_an_answer_to_another_question_is_none(change: int) -> None:
    """Another number, a question instead of an answer, another name."""
    asked = resolver.question("db.example", "A", 7)
    packet = bytearray(stub_dns.answer(asked, {"db.example": ["10.0.0.1"]}, 30))
    packet[change] ^= 0x81 if change == 2 else 0x01
    with pytest.raises(MalformedResponseError, match="another question"):
        resolver.read(bytes(packet), asked, "A")


@given(st.binary(max_size=80), st.integers(0, 60))
def test_no_packet_raises_anything_else(tail: bytes, cut: int) -> None:
    """Pointers in circles, lengths beyond the end: an answer, or MalformedError."""
    asked = resolver.question("db.example", "A", 7)
    good = struct.pack(">H", 7) + struct.pack(">5H", 0x8180, 1, 3, 0, 0) + asked[12:]
    with suppress(MalformedResponseError):
        resolver.read((good + tail)[: len(good) + cut], asked, "A")


def test_the_longest_name_is_one() -> None:
    """253 characters are 255 bytes on the wire; one more is too long."""
    name = ".".join(["a" * 63] * 3 + ["a" * 61])

    assert (253, 255) == (len(name), len(resolver.question(name, "A", 1)) - 16)
    with pytest.raises(UsageError, match="is not a domain name"):
        resolver.question(f"{name}a", "A", 1)


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["a" * 63] * 4), "bücher.example"])
def test_what_is_not_a_name_is_not_asked(name: str) -> None:
    """Empty labels, long ones, long names, other scripts."""
    with pytest.raises(UsageError, match="name: "):
        resolver.question(name, "A", 1)


def test_a_silent_resolver_ends_with_the_deadline() -> None:
    """Could not tell."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ApiUnknownError, match=r"no answer for db\.example A"):
            resolver.ask(f"127.0.0.1#{sock.getsockname()[1]}", "db.example", "A", Deadline(0.2), 1)


def test_a_change_that_is_in_sync_is_not_asked_for(aws: Fake, api: Api) -> None:
    """No call for what is known."""
    assert Change("C1", "INSYNC") == dns.wait(api, Change("C1", "INSYNC"))
    assert [] == aws.calls()


def test_a_resolver_that_fails_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """SERVFAIL: a name server did not answer the resolver. Seen before: the deep monitor and the move ended at once."""
    monkeypatch.setattr(resolver, "SERVFAIL_PAUSE", 0.01)
    asked: list[int] = []

    def sometimes(query: bytes, table: Any, ttl: int, times: int) -> bytes:
        asked.append(1)
        found = plain(query, table, ttl)
        return found[:3] + bytes([found[3] & 0xF0 | 2]) + found[4:] if len(asked) <= times else found

    plain = stub_dns.answer
    for times, code in ((1, "NOERROR"), (2, "NOERROR"), (9, "SERVFAIL")):
        asked.clear()
        monkeypatch.setattr(stub_dns, "answer", lambda query, table, ttl, n=times: sometimes(query, table, ttl, n))
        with stub_dns.resolver({"db.corp": ["10.0.0.5"]}) as server:
            assert code == resolver.ask(server, "db.corp", "A", Deadline(20), 7)[0]
        assert min(times + 1, 3) == len(asked)
