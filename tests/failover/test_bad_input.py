"""What the API says may be wrong, and may be no: each verb says so in one line, and the next run finishes."""

from __future__ import annotations

import pytest

from .conftest import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .fake import Fake

pytestmark = pytest.mark.full

VERBS = (
    "route ensure db",
    "route status db",
    "route delete db",
    "eni create --subnet SUBNET --address 10.0.1.77",
    "eni status db",
    "eni move db",
    "dns status db",
    "dns ensure db",
    "dns zone --name new.corp --vpc VPC",
    "takeover db",
)

BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>'
ANSWERS: dict[str, dict[str, Any]] = {
    "another page": {"body": "<html>hello</html>"},
    "no XML": {"body": "\x00\x01"},
    "an entity bomb": {"body": BOMB},
    "too deep": {"body": "<a>" * 200 + "</a>" * 200},
    "giant": {"giant": 12_000_000},
}


def whole(aws: Fake) -> str:
    parts = f'[service.db.eni]\nid = "{aws.lab.service_eni}"\n[service.db.dns]\nzone = "{aws.lab.zone}"\n'
    return configuration(aws, f'{parts}name = "db.awslab.mycompany.corp"')


def words(aws: Fake, verb: str) -> list[str]:
    return verb.replace("SUBNET", aws.lab.subnet_a2).replace("VPC", aws.lab.vpc).split()


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("verb", VERBS)
def test_an_answer_that_makes_no_sense_ends_it_before_anything_is_written(
    aws: Fake, run: Callable[..., Any], verb: str, answer: str
) -> None:
    """Could not tell (3), in one line that names the call; not a word of the answer's own to the terminal."""
    aws.fault(**ANSWERS[answer])
    code, lines, log = run(*words(aws, verb), config=whole(aws))

    assert (3, []) == (code, lines), log
    assert 1 == len(log.strip().splitlines())
    assert log.startswith(("ec2ident-failover: ec2:", "ec2ident-failover: route53:"))
    assert log.strip().isprintable()
    assert [] == [call for call in aws.calls() if not call["action"].startswith(("Describe", "Get", "List"))]


def needs(verb: str) -> None:
    if verb.startswith("dns zone"):
        pytest.importorskip("moto", "5.2", reason="needs moto 5.2: before, a new zone's answer has no id of its VPC")


#: Each write, answered by nonsense: it may have been done. And what each verb writes, denied.
WRITES = (
    ("route ensure db", "ec2:ReplaceRoute", "route-table/TABLE0"),
    ("route ensure db", "ec2:ModifyNetworkInterfaceAttribute", "network-interface/ENI1"),
    ("route delete db", "ec2:DeleteRoute", "route-table/TABLE0"),
    ("eni create --subnet SUBNET --address 10.0.1.77", "ec2:CreateNetworkInterface", "subnet/SUBNET"),
    ("eni move db", "ec2:AttachNetworkInterface", "network-interface/SERVICE"),
    ("dns ensure db", "route53:ChangeResourceRecordSets", "hostedzone/ZONE"),
    ("dns zone --name new.corp --vpc VPC", "route53:CreateHostedZone", "*"),
    ("takeover db", "ec2:AttachNetworkInterface", "instance/NODE1"),
    ("takeover db", "ec2:ReplaceRoute", "route-table/TABLE1"),
    ("takeover db", "route53:ChangeResourceRecordSets", "hostedzone/ZONE"),
    ("takeover db", "route53:GetChange", "change/C"),
)

LOOKS = (
    ("route status db", "ec2:DescribeRouteTables", "*"),
    ("route status db", "ec2:DescribeNetworkInterfaces", "*"),
    ("eni move db", "ec2:DescribeInstances", "*"),
    ("dns status db", "route53:ListResourceRecordSets", "hostedzone/ZONE"),
    ("dns status db", "route53:GetHostedZone", "hostedzone/ZONE"),
    ("dns zone --name new.corp --vpc VPC", "route53:ListHostedZonesByName", "*"),
    ("dns zone --name new.corp --vpc VPC", "ec2:DescribeVpcAttribute", "vpc/VPC"),
)


def resource(aws: Fake, text: str) -> str:
    lab = aws.lab
    ids = {"TABLE0": lab.tables[0], "TABLE1": lab.tables[1], "ENI1": lab.eni1, "SERVICE": lab.service_eni}
    ids = {**ids, "SUBNET": lab.subnet_a2, "VPC": lab.vpc, "ZONE": lab.zone, "NODE1": lab.node1}
    for name, value in ids.items():
        text = text.replace(name, value)
    return text


@pytest.mark.parametrize(("verb", "action", "text"), [*WRITES, *LOOKS])
def test_a_denied_call_names_the_action_and_the_arn_and_once_allowed_the_rest_is_done(
    aws: Fake, run: Callable[..., Any], verb: str, action: str, text: str
) -> None:
    """Exit 4; and the next run finishes, whatever this one had done."""
    needs(verb)
    aws.settings(insync=0.1)
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})
    service, _, name = action.partition(":")
    aws.fault(action=name, code="UnauthorizedOperation" if service == "ec2" else "AccessDenied", status=403)
    code, lines, log = run(*words(aws, verb), config=whole(aws))

    said = "\n".join([*lines, log])
    assert 4 == code, said
    assert f"; allow {action} on " in said
    assert resource(aws, text) in said.partition(f"; allow {action} on ")[2]
    aws.faults.clear()
    code, _, log = run(*words(aws, verb), config=whole(aws))
    assert int("status" in verb) == code, log


@pytest.mark.parametrize(("verb", "action", "text"), WRITES)
def test_a_write_that_is_answered_by_nonsense_is_found_done_by_the_next_run(
    aws: Fake, run: Callable[..., Any], verb: str, action: str, text: str
) -> None:
    """Could not tell (3)."""
    needs(verb)
    aws.settings(insync=0.1)
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})
    aws.fault(action=action.partition(":")[2], body="<html>hello</html>", times=2)
    code, lines, log = run(*words(aws, verb), config=whole(aws))
    assert (3, True) == (code, action in "\n".join([*lines, log])), (lines, log)

    aws.faults.clear()
    code, _, log = run(*words(aws, verb), config=whole(aws))
    assert 0 == code, log
