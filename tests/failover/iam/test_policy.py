"""The generated policy allows every call of a real run, and grants nothing that the run does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from ec2ident_agent.failover import settings
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.model import RecordSet
from ec2ident_agent.failover.errors import ApiError, UsageError
from ec2ident_agent.failover.iam import policy
from tests.failover.conftest import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ec2ident_agent.failover.aws.client import Api
    from tests.failover.fake import Fake

OVERLAY = "192.168.10.5/32"


def whole(aws: Fake, find: str = "") -> str:
    parts = f"""
[service.db.eni]
{find or f'id = "{aws.lab.service_eni}"'}
[service.db.dns]
zone = "{aws.lab.zone}"
name = "db.awslab.mycompany.corp"
"""
    return configuration(aws, parts)


def tagged(aws: Fake) -> str:
    tables = f'tables = ["{aws.lab.tables[0]}", "{aws.lab.tables[1]}"]'
    return whole(aws, 'tag = "Service=web"').replace(tables, 'tag = "Service=web"')


def by_vpc(aws: Fake) -> str:
    tables = f'tables = ["{aws.lab.tables[0]}", "{aws.lab.tables[1]}"]'
    return whole(aws).replace(tables, f'vpc = "{aws.lab.vpc}"')


def awkward(aws: Fake) -> None:
    """Everything has to be done: detach, create and replace, the check, the record and its propagation."""
    aws.ask("AttachNetworkInterface", NetworkInterfaceId=aws.lab.service_eni, InstanceId=aws.lab.node2, DeviceIndex="1")
    aws.ask("DeleteRoute", RouteTableId=aws.lab.tables[0], DestinationCidrBlock=OVERLAY)
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})
    aws.settings(insync=0.5)


@pytest.mark.parametrize("config", [whole, tagged, by_vpc])
def test_every_call_is_allowed_and_every_grant_is_used(
    aws: Fake, run: Callable[..., Any], config: Callable[[Fake], str]
) -> None:
    """By ids, by tag, and by VPC: a take-over runs with the policy that was generated for it, and needs all of it."""
    code, lines, _ = run("policy", config=config(aws))
    assert 0 == code
    document = json.loads("\n".join(lines))
    aws.policy("AKIDTEST", document)
    awkward(aws)
    code, _, log = run("takeover", "db", config=config(aws))

    assert 0 == code, log
    assert [] == [call for call in aws.calls() if call["status"] == 403]
    granted = {action for statement in document["Statement"] for action in statement["Action"]}
    used = {f"{call['service']}:{call['action']}" for call in aws.calls()}
    assert granted == used


VERBS = ("route ensure", "route status", "eni move", "eni status", "dns ensure", "dns status", "takeover")


@pytest.mark.full
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_by_itself_is_allowed_too(aws: Fake, run: Callable[..., Any], verb: str) -> None:
    """All but those that an administrator runs with other permissions: `route delete`, `eni create`, `dns zone`."""
    aws.policy("AKIDTEST", json.loads("\n".join(run("policy", config=whole(aws))[1])))
    awkward(aws)
    code, _, log = run(*verb.split(), "db", config=whole(aws))

    assert int("status" in verb) == code, log
    assert [] == [call for call in aws.calls() if call["status"] == 403]
    assert aws.calls()


@pytest.mark.full
def test_every_statement_is_needed(aws: Fake, run: Callable[..., Any]) -> None:
    """Without any one of them something is denied, and the message says what to allow."""
    document = json.loads("\n".join(run("policy", config=whole(aws))[1]))
    for statement in document["Statement"]:
        aws.reset()
        document = json.loads("\n".join(run("policy", config=whole(aws))[1]))
        less = [each for each in document["Statement"] if each["Sid"] != statement["Sid"]]
        aws.policy("AKIDTEST", {**document, "Statement": less})
        awkward(aws)
        code, lines, log = run("takeover", "db", config=whole(aws))
        assert 4 == code, statement["Sid"]
        assert any(f"; allow {action} on " in "\n".join([*lines, log]) for action in statement["Action"])


def test_neighbours_stay_out_of_reach(aws: Fake, run: Callable[..., Any], make_api: Callable[..., Api]) -> None:
    """One table, one record, one type, one direction of the check, one interface further: denied."""
    aws.policy("AKIDTEST", json.loads("\n".join(run("policy", config=whole(aws))[1])))
    lab, api = aws.lab, make_api()
    main = next(t for t in aws.backend.route_tables if t not in lab.tables)
    zone, name = lab.zone, "db.awslab.mycompany.corp"
    tries = [
        actions.create_route(main, "", OVERLAY, lab.eni1),
        actions.delete_route(lab.tables[0], "", OVERLAY),
        actions.source_dest_check(lab.eni1, "", True),
        actions.source_dest_check(lab.eni3, "", False),
        actions.attach(lab.service_eni, lab.node3, 1, ""),
        actions.attach(lab.eni3, lab.node1, 1, ""),
        actions.change_records(zone, "DELETE", [RecordSet(name, "A", 10, ("192.168.10.5",))]),
        actions.change_records(zone, "UPSERT", [RecordSet(f"x{name}", "A", 10, ("192.168.10.5",))]),
        actions.change_records(zone, "UPSERT", [RecordSet(name, "AAAA", 10, ("fd00::5",))]),
        actions.get_zone("ZOTHER"),
    ]
    for call in tries:
        with pytest.raises(ApiError, match=r"UnauthorizedOperation|AccessDenied"):
            api.call(call)


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")]
)
def test_each_partition_has_its_own_arns(region: str, partition: str) -> None:
    """Every ARN of the document begins with it."""
    text = """
interfaces = ["eni-0a1b2c3d"]
[service.db]
overlay = "192.168.10.5"
[service.db.route]
tables = ["rtb-0a1b2c3d"]
[service.db.dns]
zone = "Z1"
name = "*.Db.example.corp."
"""
    document = policy.document(settings.parse(text.encode()), region, "123456789012")
    arns = [arn for statement in document["Statement"] for arn in statement["Resource"] if arn != "*"]

    assert f"arn:{partition}:ec2:{region}:123456789012:route-table/rtb-0a1b2c3d" in arns
    assert {partition} == {arn.split(":")[1] for arn in arns}
    assert "\\052.db.example.corp" in json.dumps(document).replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no \[service"),
        ("[service.x]\noverlay = '10.9.0.1'", "nothing to allow"),
        ("[service.x]\noverlay = '10.9.0.1'\n[service.x.route]\nvpc = 'vpc-0a1b2c3d'", "interfaces = .* is missing"),
        ("[service.x.eni]\nid = 'eni-0a1b2c3d'", "instances = .* is missing"),
        ("instances = ['i-0a1b2c3d']\n[service.x.eni]\naddress = '10.0.0.9'", "cannot name an address"),
    ],
)
def test_what_is_not_known_is_asked_for(text: str, said: str) -> None:
    """A wildcard instead would not be the least privilege."""
    with pytest.raises(UsageError, match=said):
        policy.document(settings.parse(text.encode()), "us-east-1", "123456789012")


def test_a_role_of_another_account_needs_one_statement_more(run: Callable[..., Any], aws: Fake) -> None:
    """For the nodes' own role."""
    role = "arn:aws:iam::210987654321:role/failover"
    config = configuration(aws, top=f'role_arn = "{role}"\nexternal_id = "x"')
    code, lines, _ = run("policy", "--node-role", config=config)

    assert 0 == code
    (statement,) = json.loads("\n".join(lines))["Statement"]
    assert (["sts:AssumeRole"], [role]) == (statement["Action"], statement["Resource"])


def findings(documents: list[str]) -> list[list[str]]:
    """parliament's verdicts on each. In one process of its own, as it loads what is deprecated, and long."""
    code = (
        "import json, sys; from parliament import analyze_policy_string as analyze;"
        " print(json.dumps([[finding.issue for finding in analyze(each).findings] for each in json.load(sys.stdin)]))"
    )
    command, given = [sys.executable, "-W", "ignore", "-c", code], json.dumps(documents)
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.skipif(not find_spec("parliament"), reason="parliament is not installed")
def test_an_independent_checker_finds_nothing_wrong(run: Callable[..., Any], aws: Fake) -> None:
    """parliament knows every action, its resources and its condition keys."""
    role = f"arn:aws:iam::{aws.lab.account}:role/tables"
    roles = whole(aws).replace("[service.db.route]", f'[service.db.route]\nrole_arn = "{role}"\nexternal_id = "x"')
    zone = f"arn:aws:iam::{aws.lab.account}:role/zones"
    roles = roles.replace("[service.db.dns]", f'[service.db.dns]\nrole_arn = "{zone}"')
    administration = [["--for", "route delete"], ["--for", "dns zone", "--vpc", aws.lab.vpc]]
    administration += [["--for", "eni create", "--subnet", aws.lab.subnet_a, "--group", aws.lab.group]]
    configs = (whole(aws), by_vpc(aws), tagged(aws), whole(aws, f'address = "{aws.lab.service_address}"'), roles)
    asked = [(config, words) for config in configs for words in ([], ["--release"], *administration)]
    asked += [(roles, words) for words in (["--node-role"], ["--role", role], ["--role", zone])]
    unknown = '{"Statement": [{"Effect": "Allow", "Action": "ec2:X", "Resource": "*"}]}'

    documents = ["\n".join(run("policy", *words, config=config)[1]) for config, words in asked]
    *found, wrong = findings([*documents, unknown])

    assert [] == [(words, issues) for (_, words), issues in zip(asked, found) if issues]
    assert len(asked) == len(found)
    assert "UNKNOWN_ACTION" in wrong


# A role for each part


def shared(aws: Fake) -> tuple[str, str, str]:
    """A configuration with roles for the tables and for the zone, and both roles."""
    tables, zones = (f"arn:aws:iam::{number}:role/failover" for number in ("210987654321", "345678901234"))
    text = whole(aws).replace("[service.db.route]", f'[service.db.route]\nrole_arn = "{tables}"\nexternal_id = "x-1"')
    return text.replace("[service.db.dns]", f'[service.db.dns]\nrole_arn = "{zones}"'), tables, zones


def test_each_side_has_its_policy_with_its_own_account(aws: Fake, run: Callable[..., Any]) -> None:
    """The tables are the owner's; instances, interfaces and the check are the node's, which may assume both roles."""
    config, tables, zones = shared(aws)
    nodes = json.loads("\n".join(run("policy", config=config)[1]))
    owner = json.loads("\n".join(run("policy", "--role", tables, config=config)[1]))
    names = json.loads("\n".join(run("policy", "--role", zones, config=config)[1]))

    granted = {
        name: {action for statement in document["Statement"] for action in statement["Action"]}
        for name, document in (("nodes", nodes), ("owner", owner), ("names", names))
    }
    assert {"ec2:DescribeRouteTables", "ec2:CreateRoute", "ec2:ReplaceRoute"} == granted["owner"]
    assert {"GetHostedZone", "ListResourceRecordSets", "ChangeResourceRecordSets", "GetChange"} == {
        action.partition(":")[2] for action in granted["names"]
    }
    assert {"AttachNetworkInterface", "DetachNetworkInterface", "ModifyNetworkInterfaceAttribute", "AssumeRole"} | {
        "DescribeInstances",
        "DescribeNetworkInterfaces",
    } == {action.partition(":")[2] for action in granted["nodes"]}
    accounts = [
        {arn.split(":")[4] for statement in document["Statement"] for arn in statement["Resource"] if ":ec2:" in arn}
        for document in (nodes, owner)
    ]
    assert [{aws.lab.account}, {"210987654321"}] == accounts
    assumed = [statement for statement in nodes["Statement"] if statement["Action"] == ["sts:AssumeRole"]]
    assert [[tables], [zones]] == [statement["Resource"] for statement in assumed]
    assert [{"StringEquals": {"sts:ExternalId": "x-1"}}, None] == [each.get("Condition") for each in assumed]


def test_a_move_with_roles_is_allowed_by_the_policies_of_both_sides(aws: Fake, run: Callable[..., Any]) -> None:
    """And each grant is used by its own side."""
    config, *others = shared(aws)
    mine = [f"arn:aws:iam::{aws.lab.account}:role/{name}" for name in ("tables", "zones")]
    for other, role in zip(others, mine):
        config = config.replace(other, role)
    nodes = json.loads("\n".join(run("policy", config=config)[1]))
    aws.policy("AKIDTEST", nodes)
    for role in mine:
        aws.policy(role, json.loads("\n".join(run("policy", "--role", role, config=config)[1])))
    awkward(aws)
    code, _, log = run("takeover", "db", config=config)

    assert 0 == code, log
    assert [] == [call for call in aws.calls() if call["status"] == 403]
    used = {f"{call['service']}:{call['action']}" for call in aws.calls() if call["key"] == "AKIDTEST"}
    assert {action for statement in nodes["Statement"] for action in statement["Action"]} == used


def test_the_trust_policy_names_the_nodes_role(aws: Fake, run: Callable[..., Any]) -> None:
    """As given, or as STS names it; with the external id that the configuration sends."""
    config, tables, zones = shared(aws)
    node = "arn:aws:iam::123456789012:role/nodes/db"
    code, lines, _ = run("policy", "--trust", tables, "--principal", node, config=config)
    (statement,) = json.loads("\n".join(lines))["Statement"]
    assert (0, {"AWS": node}, "sts:AssumeRole") == (code, statement["Principal"], statement["Action"])
    assert {"StringEquals": {"sts:ExternalId": "x-1"}} == statement["Condition"]
    other = json.loads("\n".join(run("policy", "--trust", zones, "--principal", node, config=config)[1]))
    assert "Condition" not in other["Statement"][0]

    every = json.loads("\n".join(run("policy", "--all", "--principal", node, config=config)[1]))
    assert ["the nodes' own role", tables, zones] == [each["principal"] for each in every]
    assert all(each["policy"]["Statement"] for each in every)
    assert [node, node] == [each["trust"]["Statement"][0]["Principal"]["AWS"] for each in every[1:]]

    assert "arn:aws-cn:iam::123456789012:role/x" == policy.principal_of(
        "arn:aws-cn:sts::123456789012:assumed-role/x/i-1"
    )
    with pytest.raises(UsageError, match="write --principal"):
        policy.principal_of("arn:aws:sts::123456789012:federated-user/x")
    assert 2 == run("policy", "--trust", f"{tables}x", config=config)[0]
    assert 2 == run("policy", "--all", "--role", tables, config=config)[0]


def test_an_interface_by_address_or_tag_is_resolved_once(aws: Fake, run: Callable[..., Any]) -> None:
    """The policy names its id; the log says which. A condition on the tag would hold for the instance too."""
    arn = f"arn:aws:ec2:us-east-1:{aws.lab.account}:network-interface/{aws.lab.service_eni}"
    for find in (f'address = "{aws.lab.service_address}"', 'tag = "Service=web"'):
        code, lines, log = run("policy", config=whole(aws, find))
        move = next(each for each in json.loads("\n".join(lines))["Statement"] if each["Sid"] == "Move")
        assert 0 == code
        assert arn in move["Resource"]
        assert f" is {aws.lab.service_eni}" in log


def test_what_an_administrator_runs_has_a_policy_of_its_own(aws: Fake, run: Callable[..., Any]) -> None:
    """`route delete`, `eni create` and `dns zone` run with what `policy --for` prints."""
    pytest.importorskip("moto", "5.2", reason="needs moto 5.2: before, a new zone's answer has no id of its VPC")
    lab = aws.lab
    config = whole(aws)
    verbs = {
        ("--for", "route delete"): ("route", "delete", "db"),
        ("--for", "eni create", "--subnet", lab.subnet_a, "--group", lab.group): (
            *("eni", "create", "--subnet", lab.subnet_a, "--address", "10.0.0.77", "--group", lab.group),
        ),
        ("--for", "dns zone", "--vpc", lab.vpc): ("dns", "zone", "--name", "new.corp", "--vpc", lab.vpc),
    }
    for words, verb in verbs.items():
        aws.policies.clear()
        code, lines, _ = run("policy", *words, config=config)
        assert 0 == code
        aws.policy("AKIDTEST", json.loads("\n".join(lines)))
        code, _, log = run(*verb, config=config)
        assert 0 == code, log
        aws.policy("AKIDTEST", {"Statement": []})
        assert 4 == run(*verb, config=config)[0], verb
    assert 2 == run("policy", "--for", "eni create", config=config)[0]
    assert 2 == run("policy", "--for", "dns zone", config=config)[0]
