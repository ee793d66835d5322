"""The fake holds where moto does not: each test is one gap, and what AWS does there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.model import RecordSet
from ec2ident_agent.failover.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import Attachment, NetworkInterface

    from .fake import Fake

OVERLAY = "192.168.10.5/32"
ZONE_NAME = "awslab.mycompany.corp"


def _raw(action: str, form: tuple[tuple[str, str], ...]) -> ApiCall:
    """A call by other credentials."""
    return actions.ApiCall("ec2", action, lambda node: node, action, form)


def refused(api: Api, call: ApiCall) -> tuple[str, int]:
    with pytest.raises(ApiError) as caught:
        api.call(call)
    return caught.value.code, caught.value.status


def attachment(api: Api, eni: str) -> Attachment:
    found = interface(api, eni).attachment
    assert found
    return found


def interface(api: Api, eni: str) -> NetworkInterface:
    found: NetworkInterface = api.call(actions.describe_interfaces({"network-interface-id": [eni]}))[0][0]
    return found


def test_a_detach_takes_its_time_and_the_old_attachment_stays_visible(aws: Fake, api: Api) -> None:
    """During a detach the interface is in-use and its attachment says detaching; then it is available."""
    api.call(actions.attach(aws.lab.service_eni, aws.lab.node1, 1, ""))
    aws.settings(detach=0.2)
    held = attachment(api, aws.lab.service_eni)
    api.call(actions.detach(held.id, "", "", ""))

    during = interface(api, aws.lab.service_eni)
    assert ("in-use", "detaching", aws.lab.node1) == (
        during.status,
        during.attachment and during.attachment.status,
        during.holder,
    )
    time.sleep(0.25)
    after = interface(api, aws.lab.service_eni)
    assert ("available", None) == (after.status, after.attachment)


def test_an_attach_is_attaching_first(aws: Fake, api: Api) -> None:
    """Attached comes later than the answer to the attach."""
    aws.settings(attach=0.2)
    api.call(actions.attach(aws.lab.service_eni, aws.lab.node1, 1, ""))

    assert "attaching" == attachment(api, aws.lab.service_eni).status
    time.sleep(0.25)
    assert "attached" == attachment(api, aws.lab.service_eni).status


def test_what_cannot_be_attached_is_refused(aws: Fake, api: Api) -> None:
    """In use, index taken, other zone, instance not ready, no such thing: each has its code."""
    lab = aws.lab

    assert ("InvalidParameterValue", 400) == refused(api, actions.attach(lab.service_eni, lab.node1, 0, ""))
    assert ("InvalidParameterCombination", 400) == refused(api, actions.attach(lab.service_eni, lab.node3, 1, ""))
    assert ("InvalidNetworkInterface.InUse", 400) == refused(api, actions.attach(lab.eni2, lab.node1, 1, ""))
    assert ("InvalidInstanceID.NotFound", 400) == refused(api, actions.attach(lab.service_eni, "i-00000000", 1, ""))
    assert ("InvalidInstanceID.Malformed", 400) == refused(api, actions.attach(lab.service_eni, "i-xyz", 1, ""))
    aws.power(lab.node1, "stopping")
    assert ("IncorrectState", 400) == refused(api, actions.attach(lab.service_eni, lab.node1, 1, ""))


def test_an_interface_that_is_detaching_is_in_use(aws: Fake, api: Api) -> None:
    """The window in which a second mover fails."""
    api.call(actions.attach(aws.lab.service_eni, aws.lab.node1, 1, ""))
    aws.settings(detach=60)
    api.call(actions.detach(attachment(api, aws.lab.service_eni).id, "", "", ""))

    again = actions.attach(aws.lab.service_eni, aws.lab.node2, 1, "")
    assert ("InvalidNetworkInterface.InUse", 400) == refused(api, again)


def test_the_primary_interface_cannot_be_detached(aws: Fake, api: Api) -> None:
    """Device index 0 is for ever."""
    held = attachment(api, aws.lab.eni1)

    assert ("OperationNotPermitted", 400) == refused(api, actions.detach(held.id, "", "", ""))


def test_a_second_detach_of_what_is_gone_finds_no_attachment(aws: Fake, api: Api) -> None:
    """What the second of two movers is told."""
    api.call(actions.attach(aws.lab.service_eni, aws.lab.node1, 1, ""))
    detach = actions.detach(attachment(api, aws.lab.service_eni).id, "", "", "")
    api.call(detach)

    assert ("InvalidAttachmentID.NotFound", 400) == refused(api, detach)


def test_an_attached_interface_is_not_deleted(aws: Fake, api: Api) -> None:
    """moto deletes it."""
    call = _raw("DeleteNetworkInterface", (("NetworkInterfaceId", aws.lab.eni1),))

    assert ("InvalidNetworkInterface.InUse", 400) == refused(api, call)


def test_a_route_shows_instance_owner_and_interface(aws: Fake, api: Api) -> None:
    """All three, as long as the interface is attached."""
    table = api.call(actions.describe_tables({"route-table-id": [aws.lab.tables[0]]}))[0][0]
    route = table.route(OVERLAY)

    assert (aws.lab.node2, aws.lab.account, aws.lab.eni2) == (route.instance, route.owner, route.eni)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("running", "active"), ("stopping", "active"), ("stopped", "blackhole"), ("terminated", "blackhole")],
)
def test_a_route_is_a_black_hole_once_its_instance_is_down(aws: Fake, api: Api, state: str, expected: str) -> None:
    """While the instance is stopping it still says active."""
    aws.power(aws.lab.node2, state)
    table = api.call(actions.describe_tables({"route-table-id": [aws.lab.tables[0]]}))[0][0]

    assert expected == table.route(OVERLAY).state
    found = api.call(actions.describe_tables({"route.state": ["blackhole"]}))[0]
    assert (expected == "blackhole") == bool(found)


def test_a_route_to_a_detached_interface_is_a_black_hole(aws: Fake, api: Api) -> None:
    """And to a deleted one too."""
    table, eni = aws.lab.tables[0], aws.lab.service_eni
    api.call(actions.replace_route(table, "", OVERLAY, eni))

    assert "blackhole" == api.call(actions.describe_tables({"route-table-id": [table]}))[0][0].route(OVERLAY).state
    api.call(_raw("DeleteNetworkInterface", (("NetworkInterfaceId", eni),)))
    assert "blackhole" == api.call(actions.describe_tables({"route-table-id": [table]}))[0][0].route(OVERLAY).state


def test_create_does_not_overwrite_and_replace_does_not_create(aws: Fake, api: Api) -> None:
    """Two calls with two codes; one of them is told by its message alone."""
    table = aws.lab.tables[0]

    assert ("RouteAlreadyExists", 400) == refused(api, actions.create_route(table, "", OVERLAY, aws.lab.eni1))
    with pytest.raises(ApiError, match=r"InvalidParameterValue: There is no route defined for '192\.168\.10\.6/32'"):
        api.call(actions.replace_route(table, "", "192.168.10.6/32", aws.lab.eni1))
    assert ("InvalidRoute.NotFound", 400) == refused(api, actions.delete_route(table, "", "192.168.10.6/32"))


@pytest.mark.parametrize(
    ("destination", "extra", "code"),
    [
        ("192.168.10.7/24", (), "InvalidParameterValue"),
        ("10.0.0.128/25", (), "InvalidParameterValue"),
        ("192.168.10.8/32", (("GatewayId", "igw-00000000"),), "InvalidParameterCombination"),
    ],
)
def test_a_route_that_cannot_be_is_refused(
    aws: Fake, api: Api, destination: str, extra: tuple[tuple[str, str], ...], code: str
) -> None:
    """Host bits, inside the VPC without being a subnet, two targets."""
    call = actions.create_route(aws.lab.tables[0], "", destination, aws.lab.eni1)

    assert (code, 400) == refused(api, _raw("CreateRoute", (*call.fields, *extra)))


def test_an_instance_with_several_interfaces_is_not_a_target(aws: Fake, api: Api) -> None:
    """Nor may its source/destination check be changed through the instance."""
    target = (("InstanceId", aws.lab.node1),)
    replace = _raw("ReplaceRoute", (("RouteTableId", aws.lab.tables[0]), ("DestinationCidrBlock", OVERLAY), *target))
    modify = _raw("ModifyInstanceAttribute", (*target, ("SourceDestCheck.Value", "false")))
    api.call(replace)
    api.call(modify)
    api.call(actions.attach(aws.lab.service_eni, aws.lab.node1, 1, ""))

    assert ("InvalidInstanceID", 400) == refused(api, replace)
    assert ("InvalidInstanceID", 400) == refused(api, modify)


def test_the_check_is_one_value(aws: Fake, api: Api) -> None:
    """What is set through the instance shows on its interface."""
    api.call(_raw("ModifyInstanceAttribute", (("InstanceId", aws.lab.node1), ("SourceDestCheck.Value", "true"))))

    assert interface(api, aws.lab.eni1).check


def test_a_dry_run_does_nothing(aws: Fake, api: Api) -> None:
    """412 DryRunOperation; moto runs the route calls. Assign and ModifyVpcAttribute know no DryRun."""
    call = actions.delete_route(aws.lab.tables[0], "", OVERLAY)

    assert ("DryRunOperation", 412) == refused(api, _raw("DeleteRoute", (*call.fields, ("DryRun", "true"))))
    assert api.call(actions.describe_tables({"route-table-id": [aws.lab.tables[0]]}))[0][0].route(OVERLAY)
    assert ("UnknownParameter", 400) == refused(api, _raw("ModifyVpcAttribute", (("DryRun", "true"),)))


def test_an_address_has_one_holder(aws: Fake, api: Api) -> None:
    """Refused without AllowReassignment; with it the old holder loses the address."""
    first = (("NetworkInterfaceId", aws.lab.eni1), ("PrivateIpAddress.1", "10.0.0.50"))
    second = (("NetworkInterfaceId", aws.lab.eni2), ("PrivateIpAddress.1", "10.0.0.50"))
    api.call(_raw("AssignPrivateIpAddresses", first))

    assert ("Resource.AlreadyAssigned", 400) == refused(api, _raw("AssignPrivateIpAddresses", second))
    api.call(_raw("AssignPrivateIpAddresses", (*second, ("AllowReassignment", "true"))))
    assert ("10.0.0.11",) == interface(api, aws.lab.eni1).addresses
    found = api.call(actions.describe_interfaces({"addresses.private-ip-address": ["10.0.0.50"]}))[0]
    assert [aws.lab.eni2] == [eni.id for eni in found]


def test_ipv6_on_a_subnet_without_it_is_refused(aws: Fake, api: Api) -> None:
    """moto answers 500."""
    call = _raw("AssignIpv6Addresses", (("NetworkInterfaceId", aws.lab.eni1), ("Ipv6AddressCount", "1")))

    assert ("InvalidParameterValue", 400) == refused(api, call)


def test_a_change_is_pending_and_has_an_id_of_its_own(aws: Fake, api: Api) -> None:
    """INSYNC comes later; another id is NoSuchChange."""
    aws.settings(insync=0.2)
    records = [RecordSet("db.awslab.mycompany.corp", "A", 10, ("10.0.0.1",))]
    first = api.call(actions.change_records(aws.lab.zone, "UPSERT", records))
    second = api.call(actions.change_records(aws.lab.zone, "UPSERT", records))

    assert ("PENDING", True) == (first.status, first.id != second.id)
    time.sleep(0.25)
    assert "INSYNC" == api.call(actions.get_change(first.id)).status
    assert ("NoSuchChange", 404) == refused(api, actions.get_change("C404"))


@pytest.mark.parametrize(
    ("name", "kind", "values", "action", "said"),
    [
        ("db.other.corp", "A", ("10.0.0.1",), "UPSERT", "not permitted in zone"),
        ("db.notawslab.mycompany.corp", "A", ("10.0.0.1",), "UPSERT", "not permitted in zone"),
        ("db.awslab.mycompany.corp", "A", ("10.0.0.256",), "UPSERT", "Invalid Resource Record"),
        ("db.awslab.mycompany.corp", "AAAA", ("10.0.0.1",), "UPSERT", "Invalid Resource Record"),
        ("db.awslab.mycompany.corp", "A", ("10.0.0.1",), "DELETE", "do not match the current values"),
    ],
)
def test_a_record_that_cannot_be_is_an_invalid_change_batch(
    aws: Fake, api: Api, name: str, kind: str, values: tuple[str, ...], action: str, said: str
) -> None:
    """Wrong zone (also by a mere ending), a value that is none, a delete that does not fit."""
    with pytest.raises(ApiError, match=f"InvalidChangeBatch: .*{said}"):
        api.call(actions.change_records(aws.lab.zone, action, [RecordSet(name, kind, 10, values)]))


def test_the_resolver_of_the_service_can_be_asked(aws: Fake, api: Api) -> None:
    """TestDNSAnswer, which moto has not."""
    api.call(
        actions.change_records(aws.lab.zone, "UPSERT", [RecordSet("db.awslab.mycompany.corp", "A", 9, ("10.0.0.9",))])
    )
    fields = (("hostedzoneid", aws.lab.zone), ("recordname", "db.awslab.mycompany.corp"), ("recordtype", "A"))
    call = actions.ApiCall(
        "route53", "TestDNSAnswer", lambda node: node, "", fields, "GET", "/2013-04-01/testdnsanswer"
    )

    assert "10.0.0.9" == api.call(call).get("RecordData/RecordDataEntry")


# IAM


def allow(actions: list[str], resources: list[str], **condition: object) -> dict[str, object]:
    statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return {"Statement": [{**statement, **({"Condition": condition} if condition else {})}]}


def table_arn(aws: Fake, table: str) -> str:
    return f"arn:aws:ec2:{aws.region}:{aws.lab.account}:route-table/{table}"


def test_a_policy_is_held_against_each_resource(aws: Fake, api: Api) -> None:
    """The table that is named is allowed, its neighbour is not; looking is another action."""
    aws.policy("AKIDTEST", allow(["ec2:ReplaceRoute"], [table_arn(aws, aws.lab.tables[0])]))

    api.call(actions.replace_route(aws.lab.tables[0], "", OVERLAY, aws.lab.eni1))
    other = actions.replace_route(aws.lab.tables[1], "", OVERLAY, aws.lab.eni1)
    assert ("UnauthorizedOperation", 403) == refused(api, other)
    assert ("UnauthorizedOperation", 403) == refused(api, actions.describe_tables({"vpc-id": [aws.lab.vpc]}))
    assert aws.lab.account == api.call(actions.caller_identity()).account


def test_a_call_with_two_resources_needs_both(aws: Fake, api: Api) -> None:
    """Attach asks about the instance and about the interface."""
    stem = f"arn:aws:ec2:{aws.region}:{aws.lab.account}"
    instance, eni = f"{stem}:instance/{aws.lab.node1}", f"{stem}:network-interface/{aws.lab.service_eni}"
    call = actions.attach(aws.lab.service_eni, aws.lab.node1, 1, "")
    for lacking in ([instance], [eni]):
        aws.policy("AKIDTEST", allow(["ec2:AttachNetworkInterface"], lacking))
        assert ("UnauthorizedOperation", 403) == refused(api, call)
    aws.policy("AKIDTEST", allow(["ec2:AttachNetworkInterface"], [instance, eni]))
    api.call(call)


def test_conditions_count(aws: Fake, api: Api) -> None:
    """A tag of the table, and the record's name, type and action; all values of a batch must be allowed."""
    tagged = {"StringEquals": {"aws:ResourceTag/Service": "web"}}
    other = {"StringEquals": {"aws:ResourceTag/Service": "mail"}}
    call = actions.replace_route(aws.lab.tables[0], "", OVERLAY, aws.lab.eni1)
    aws.policy("AKIDTEST", allow(["ec2:ReplaceRoute"], [table_arn(aws, "*")], **other))
    assert ("UnauthorizedOperation", 403) == refused(api, call)
    aws.policy("AKIDTEST", allow(["ec2:ReplaceRoute"], [table_arn(aws, "*")], **tagged))
    api.call(call)

    names = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
    condition = {"ForAllValues:StringEquals": {names: ["db.awslab.mycompany.corp"]}}
    aws.policy("AKIDTEST", allow(["route53:ChangeResourceRecordSets"], ["arn:aws:route53:::hostedzone/*"], **condition))
    mine = RecordSet("DB.awslab.mycompany.corp.", "A", 10, ("10.0.0.1",))
    foreign = RecordSet("mail.awslab.mycompany.corp", "A", 10, ("10.0.0.1",))
    api.call(actions.change_records(aws.lab.zone, "UPSERT", [mine]))
    assert ("AccessDenied", 403) == refused(api, actions.change_records(aws.lab.zone, "UPSERT", [mine, foreign]))


def test_a_deny_wins(aws: Fake, api: Api) -> None:
    """Whatever else is allowed."""
    deny = {"Statement": {"Effect": "Deny", "Action": "ec2:Replace*", "Resource": "*"}}
    aws.policy("127.0.0.1", allow(["*"], ["*"]), deny)

    assert ("UnauthorizedOperation", 403) == refused(
        api, actions.replace_route(aws.lab.tables[0], "", OVERLAY, "eni-1")
    )


def test_a_condition_that_the_evaluator_does_not_know_is_an_error() -> None:
    """So that no test is fooled by one that is passed over."""
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from .fake import iam

    with pytest.raises(KeyError, match="NumericLessThan"):
        iam.allowed([allow(["*"], ["*"], NumericLessThan={"aws:x": "1"})], "ec2:X", [("*", {"aws:x": ["0"]})])


# Faults and the journal


def test_a_fault_fits_its_action_parameters_and_times(aws: Fake, make_api: Callable[..., Api]) -> None:
    """The first that fits decides; it is used up; another table goes through."""
    rule = {"action": "ReplaceRoute", "match": {"RouteTableId": aws.lab.tables[1]}}
    aws.fault(**rule, code="UnauthorizedOperation", status=403, times=1)
    first = actions.replace_route(aws.lab.tables[0], "", OVERLAY, aws.lab.eni1)
    second = actions.replace_route(aws.lab.tables[1], "", OVERLAY, aws.lab.eni1)
    api = make_api()

    api.call(first)
    assert ("UnauthorizedOperation", 403) == refused(api, second)
    api.call(second)


def test_the_journal_tells_who_called_what_and_how_it_ended(aws: Fake, api: Api) -> None:
    """One entry for each call, refused ones too, without any secret."""
    api.call(actions.describe_tables({"vpc-id": [aws.lab.vpc]}))
    refused(api, actions.create_route(aws.lab.tables[0], "", OVERLAY, aws.lab.eni1))

    first, second = aws.calls()
    assert ("DescribeRouteTables", 200, "127.0.0.1", "AKIDTEST") == tuple(
        first[name] for name in ("action", "status", "source", "key")
    )
    assert ("CreateRoute", 400, "RouteAlreadyExists") == tuple(second[name] for name in ("action", "status", "code"))
    assert aws.lab.tables[0] == second["parameters"]["RouteTableId"]
    assert "not-a-secret" not in json.dumps(aws.journal)


def test_a_reset_puts_the_laboratory_back(aws: Fake, make_api: Callable[..., Api]) -> None:
    """Whatever a test changed, added or removed, the next one finds the same objects, and other regions empty."""
    name = f"db.{ZONE_NAME}"

    def all_that_is_there() -> list[str]:
        api, elsewhere = make_api(), make_api(region="eu-west-1")
        tables, interfaces = actions.describe_tables({}), actions.describe_interfaces({})
        found = (*map(api.call, (tables, interfaces, actions.list_records(aws.lab.zone, name, "A"))),)
        return [*map(repr, found), repr(len(elsewhere.call(tables)[0]))]

    before = all_that_is_there()
    aws.ask("DeleteRoute", RouteTableId=aws.lab.tables[0], DestinationCidrBlock=OVERLAY)
    aws.ask("DeleteNetworkInterface", NetworkInterfaceId=aws.lab.service_eni)
    make_api().call(actions.change_records(aws.lab.zone, "UPSERT", [RecordSet(name, "A", 60, ("10.0.0.9",))]))
    make_api(region="eu-west-1").call(_raw("CreateVpc", (("CidrBlock", "10.9.0.0/16"),)))
    assert [then == now for then, now in zip(before, all_that_is_there())] == [False] * 4

    aws.reset()

    assert all_that_is_there() == before


def test_an_unsigned_call_is_refused(aws: Fake) -> None:
    """As by AWS."""
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(aws.url, b"Action=DescribeVpcs", timeout=5)


def test_the_fake_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    """It says where it is and what exists, is controlled over HTTP, and writes its journal to a file."""
    pytest.importorskip("moto", "5.1", reason="needs moto")
    command = [sys.executable, "-m", "tests.failover.fake", "--journal", str(tmp_path / "journal")]
    top = Path(__file__).parent.parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=top) as process:
        try:
            assert process.stdout
            hello = json.loads(process.stdout.readline())
            body = json.dumps({"action": "DescribeVpcs", "code": "Throttling", "status": 503}).encode()
            urllib.request.urlopen(f"{hello['url']}/_fake/fault", body, timeout=5).read()
            signed = "AWS4-HMAC-SHA256 Credential=K/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host"
            ask = urllib.request.Request(hello["url"], b"Action=DescribeVpcs", {"Authorization": signed})
            with pytest.raises(urllib.error.HTTPError, match="503") as caught:
                urllib.request.urlopen(ask, timeout=5)
            caught.value.close()
            line = json.loads((tmp_path / "journal").read_text())
            assert ("DescribeVpcs", "Throttling") == (line["action"], line["code"])
            assert re.fullmatch(r"rtb-[0-9a-f]+", hello["lab"]["tables"][0])
        finally:
            process.terminate()
