"""An interface that moves: found exactly, with patience, and with one owner in the end."""

from __future__ import annotations

import re
import threading
from contextlib import nullcontext

import pytest

from ec2ident.value import replace
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.model import Ec2Instance
from ec2ident_agent.failover.errors import ApiError, MoveRefusedError, OutOfTimeError, UsageError
from ec2ident_agent.failover.parts import eni
from ec2ident_agent.failover.selectors import EniSelector
from tests.failover.conftest import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.deadline import Deadline
    from ec2ident_agent.failover.aws.model import NetworkInterface
    from tests.failover.fake import Fake


@pytest.fixture
def consistent(either_consistency: bool) -> bool:
    """Every test here runs with reads of the present and with old ones."""
    return either_consistency


def move(api: Api, aws: Fake, node: str, **options: Any) -> NetworkInterface:
    return eni.move(api, eni.look(api, EniSelector(id=aws.lab.service_eni), node), **options)


def holder(aws: Fake) -> str:
    found = aws.backend.enis[aws.lab.service_eni]
    return found.instance.id if found.instance else ""


def writes(aws: Fake) -> list[str]:
    """What was done; not what was only asked for."""
    calls_ = [call for call in aws.calls() if "DryRun" not in call["parameters"]]
    return [call["action"] for call in calls_ if not call["action"].startswith("Describe")]


def test_an_interface_that_ends_with_its_instance_is_warned_of(api: Api, aws: Fake) -> None:
    """A service that moves must outlive the node that it is on."""
    attach_there(aws, aws.lab.node2)
    found = eni.find(api, EniSelector(id=aws.lab.service_eni))
    assert found.attachment
    doomed = replace(found, attachment=replace(found.attachment, deleted_with_instance=True))

    assert () == eni._warnings(replace(found, attachment=replace(found.attachment, deleted_with_instance=False)))
    (said,) = eni._warnings(doomed)
    assert f"DeleteOnTermination is on: EC2 deletes it together with {aws.lab.node2}" in said
    assert f"AttachmentId={found.attachment.id},DeleteOnTermination=false" in said


def test_a_free_interface_is_attached_at_the_first_free_index(aws: Fake, api: Api) -> None:
    """Index 0 is taken by the primary interface."""
    found = move(api, aws, aws.lab.node1)

    assert found.attachment
    assert (aws.lab.node1, 1, "attached") == (found.holder, found.attachment.index, found.attachment.status)


def test_it_moves_from_one_instance_to_another(aws: Fake, api: Api) -> None:
    """Detached, waited for, attached, waited for."""
    move(api, aws, aws.lab.node1)
    aws.settings(attach=0.3, detach=0.3)
    move(api, aws, aws.lab.node2)

    assert aws.lab.node2 == holder(aws)
    assert ["AttachNetworkInterface", "DetachNetworkInterface", "AttachNetworkInterface"] == writes(aws)
    # Between the first two it was asked whether the last is allowed.
    assert ["DryRunOperation"] == [call["code"] for call in aws.calls("AttachNetworkInterface") if call["code"]]


def test_already_here_is_nothing_to_do(aws: Fake, api: Api) -> None:
    """Not even a detach, which would be an outage."""
    move(api, aws, aws.lab.node1)
    before = len(writes(aws))
    move(api, aws, aws.lab.node1, expect="i-00000000")

    assert before == len(writes(aws))


def attach_there(aws: Fake, node: str) -> None:
    """Attach the ENI long ago."""
    aws.ask("AttachNetworkInterface", NetworkInterfaceId=aws.lab.service_eni, InstanceId=node, DeviceIndex="1")


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "no kernel"])
def test_an_interface_that_only_an_old_answer_shows_here_is_moved(aws: Fake, api: Api, kernel: bool) -> None:
    """Another node took it a moment ago. The kernel knows; without it, answers that cannot be old are waited for."""
    attach_there(aws, aws.lab.node1)
    old = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node1)
    move(api, aws, aws.lab.node2)

    def present(mac: str) -> bool:
        return holder(aws) == aws.lab.node1

    found = eni.move(api, old, present=present if kernel else None)

    assert (aws.lab.node1, aws.lab.node1) == (holder(aws), found.holder)


def test_an_instance_that_is_still_pending_is_waited_for(aws: Fake, make_api: Callable[..., Api]) -> None:
    """PaloAltoNetworks/terraform-aws-vmseries-modules#97, ansible-collections/amazon.aws#497: a node has booted."""
    pending = aws.ask("DescribeInstances", **{"InstanceId.1": aws.lab.node1}).decode().replace(">running<", ">pending<")
    aws.fault(action="DescribeInstances", body=pending, times=1)
    assert aws.lab.node1 == move(make_api(), aws, aws.lab.node1).holder

    aws.fault(action="DescribeInstances", body=pending)
    with pytest.raises(OutOfTimeError, match=f"{aws.lab.node1}: is pending"):
        eni.look(make_api(0.9), EniSelector(id=aws.lab.service_eni), aws.lab.node1)


@pytest.mark.parametrize("code", ["InvalidNetworkInterfaceID.NotFound", "InvalidInstanceID.NotFound"])
def test_an_attach_that_meets_an_unknown_id_is_tried_again(aws: Fake, api: Api, code: str) -> None:
    """aws/aws-sdk#301, hashicorp/terraform-provider-aws#35568: the look before has shown both."""
    aws.fault(action="AttachNetworkInterface", code=code, message="does not exist", times=2)

    assert aws.lab.node1 == move(api, aws, aws.lab.node1).holder == holder(aws)


def test_a_look_without_the_interface_does_not_end_the_move(aws: Fake, api: Api) -> None:
    """hashicorp/terraform-provider-aws#35568: it was there before. In the middle of a move no instance has it."""
    attach_there(aws, aws.lab.node2)
    seen = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node1)
    nothing = "<DescribeNetworkInterfacesResponse><networkInterfaceSet/></DescribeNetworkInterfacesResponse>"
    aws.fault(action="DescribeNetworkInterfaces", body=nothing, times=2)

    assert aws.lab.node1 == eni.move(api, seen).holder == holder(aws)


def test_an_interface_that_is_gone_ends_the_move(aws: Fake, api: Api) -> None:
    """After looks that cannot be old."""
    seen = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node1)
    nothing = "<DescribeNetworkInterfacesResponse><networkInterfaceSet/></DescribeNetworkInterfacesResponse>"
    aws.fault(action="DescribeNetworkInterfaces", body=nothing)
    with pytest.raises(UsageError, match=f"no {aws.lab.service_eni} in"):
        eni.move(api, seen)


def test_index_0_of_another_network_card_can_move(aws: Fake, api: Api) -> None:
    """ofiwg/libfabric#6: on types with several cards each has an index 0, and one of them is primary."""
    attach_there(aws, aws.lab.node2)
    seen = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node1)
    assert seen.interface.attachment
    for card, primary in ((0, True), (1, False)):
        held = replace(seen.interface.attachment, index=0, card=card)
        found = replace(seen.interface, attachment=held)
        with pytest.raises(UsageError, match="primary interface") if primary else nullcontext():
            eni.check(found, seen.instance)


def test_an_old_answer_does_not_end_the_move(aws: Fake, api: Api) -> None:
    """It was attached here before the other node took it: that attachment is not the one that this move makes."""
    attach_there(aws, aws.lab.node1)
    move(api, aws, aws.lab.node2)
    aws.settle()
    seen = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node1)
    aws.settings(stale=0.6, attach=0.3, detach=0.3)
    found = eni.move(api, seen)

    assert found.attachment
    assert aws.backend.enis[aws.lab.service_eni].attachment_id == found.attachment.id


def test_a_third_owner_of_before_our_attach_is_not_one_of_after(aws: Fake, api: Api) -> None:
    """After the attach was answered, an answer of before it with another holder is waited out."""
    attach_there(aws, aws.lab.node2)
    aws.settings(stale=0.8, oldest=True)
    eni_ = aws.backend.enis[aws.lab.service_eni]
    api.call(actions.detach(eni_.attachment_id, eni_.id, "", ""))
    free = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node1)
    free = replace(free, interface=replace(free.interface, attachment=None))

    assert aws.lab.node1 == eni.move(api, free).holder == holder(aws)


def test_an_attach_of_a_fixed_index_without_an_answer_counts_all_the_same(aws: Fake, api: Api) -> None:
    """Sent again, the index is taken: by this interface."""
    taken = {"code": "InvalidParameterValue", "message": "already has an interface attached at device index '1'."}
    aws.fault(action="AttachNetworkInterface", code="InternalError", status=500, after=True, times=1)
    aws.fault(action="AttachNetworkInterface", **taken)
    found = move(api, aws, aws.lab.node1, index=1)

    assert (aws.lab.node1, aws.lab.node1) == (holder(aws), found.holder)


def test_an_attach_that_is_under_way_here_is_waited_for(aws: Fake, api: Api) -> None:
    """Another process, perhaps an earlier run, attached it already."""
    aws.settings(attach=0.3)
    api.call(actions.attach(aws.lab.service_eni, aws.lab.node1, 1, ""))
    aws.settle()
    found = move(api, aws, aws.lab.node1)

    assert found.attachment
    assert ("attached", 1) == (found.attachment.status, len(aws.calls("AttachNetworkInterface")))


def test_an_attach_without_an_answer_counts_all_the_same(aws: Fake, api: Api) -> None:
    """Sent again it gives InUse, by ourselves."""
    aws.fault(action="AttachNetworkInterface", code="InternalError", status=500, after=True, times=1)
    move(api, aws, aws.lab.node1)

    assert aws.lab.node1 == holder(aws)


def test_a_hanging_detach_is_forced_only_after_the_grace(aws: Fake, api: Api) -> None:
    """Once without force, and once with it."""
    move(api, aws, aws.lab.node1)
    aws.settings(detach=600)
    move(api, aws, aws.lab.node2, grace=0.6)

    forced = [call["parameters"].get("Force") for call in aws.calls("DetachNetworkInterface")]
    assert ([None, "true"], aws.lab.node2) == (forced, holder(aws))


def test_a_detach_that_comes_too_early_is_asked_for_again(aws: Fake, api: Api) -> None:
    """While it is still attaching there; once it was taken, it is not asked for twice."""
    move(api, aws, aws.lab.node1)
    aws.fault(action="DetachNetworkInterface", code="IncorrectState", times=2)
    aws.settings(detach=0.6)
    move(api, aws, aws.lab.node2)

    assert aws.lab.node2 == holder(aws)
    assert [400, 400, 200] == [call["status"] for call in aws.calls("DetachNetworkInterface")]


def test_force_on_demand_is_at_once(aws: Fake, api: Api) -> None:
    """The operator's word."""
    move(api, aws, aws.lab.node1)
    aws.settings(detach=600)
    move(api, aws, aws.lab.node2, force=True)

    assert ["true"] == [call["parameters"].get("Force") for call in aws.calls("DetachNetworkInterface")]


def test_a_hanging_detach_ends_with_the_deadline_and_the_next_run_goes_on(
    aws: Fake, make_api: Callable[..., Api], quiet: Callable[[float], Deadline]
) -> None:
    """Nothing is half done that a second run does not finish."""
    move(make_api(), aws, aws.lab.node1)
    aws.settings(detach=6.0)
    seen = eni.look(make_api(), EniSelector(id=aws.lab.service_eni), aws.lab.node2)
    with pytest.raises(OutOfTimeError, match=rf"detaching \({aws.lab.node1}\) .*run it again to go on from there"):
        eni.move(make_api(quiet(3.0)), seen)
    move(make_api(), aws, aws.lab.node2)

    assert aws.lab.node2 == holder(aws)


def test_time_that_ends_in_a_look_says_where_the_interface_stood(
    aws: Fake, make_api: Callable[..., Api], quiet: Callable[[float], Deadline]
) -> None:
    """Which question got no answer is the lesser half of what an operator must know then."""
    move(make_api(), aws, aws.lab.node1)
    aws.settings(detach=600)
    seen = eni.look(make_api(), EniSelector(id=aws.lab.service_eni), aws.lab.node2)
    aws.fault(action="DescribeNetworkInterfaces", hang=True)
    stood = rf": attached \({aws.lab.node1}\) \(wanted attached to {aws.lab.node2}\): "
    with pytest.raises(OutOfTimeError, match=stood + "ec2:DescribeNetworkInterfaces: "):
        eni.move(make_api(quiet(2.0)), seen)


def test_two_movers_end_with_one_owner_and_the_other_is_told(aws: Fake, make_api: Callable[..., Api]) -> None:
    """Both have seen that it is free; the first to attach has it."""
    aws.settings(attach=0.2, detach=0.3)
    ended: dict[str, object] = {}
    nodes = (aws.lab.node1, aws.lab.node2)
    seen = {node: eni.look(make_api(), EniSelector(id=aws.lab.service_eni), node) for node in nodes}

    def run(node: str) -> None:
        try:
            ended[node] = eni.move(make_api(), seen[node]).holder
        except MoveRefusedError as error:
            ended[node] = error

    threads = [threading.Thread(target=run, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    winner = holder(aws)
    (loser,) = {*nodes} - {winner}
    assert winner == ended[winner]
    assert "another mover was quicker: it is attach" in str(ended[loser])
    assert f"to {winner} (wanted {loser}, was free)" in str(ended[loser])


def test_a_mover_in_the_middle_of_our_detach_is_told_of(aws: Fake, make_api: Callable[..., Api]) -> None:
    """Node 1 had it, we want it for node 2, and node 3's neighbour takes it first."""
    api = make_api()
    third = aws.backend.enis[aws.lab.service_eni]
    move(api, aws, aws.lab.node1)
    seen = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node2)
    # Between our look and our first call.
    third.instance.detach_eni(third)
    aws.backend.attach_network_interface(aws.lab.service_eni, aws.lab.node3, 1)
    with pytest.raises(
        MoveRefusedError, match=f"attached to {aws.lab.node3} .wanted {aws.lab.node2}, was {aws.lab.node1}"
    ):
        eni.move(api, seen)

    assert aws.lab.node3 == holder(aws)


def test_an_index_that_is_taken_meanwhile_is_looked_for_anew(aws: Fake, api: Api) -> None:
    """Unless it was asked for by number."""
    seen = eni.look(api, EniSelector(id=aws.lab.service_eni), aws.lab.node1)
    other = api.call(actions.create_interface(aws.lab.subnet_a, "", [], "", "t"))
    api.call(actions.attach(other.id, aws.lab.node1, 1, ""))
    found = eni.move(api, seen)

    assert found.attachment
    assert 2 == found.attachment.index


def test_what_cannot_be_is_refused_before_anything_is_touched(aws: Fake, api: Api) -> None:
    """Another zone, a primary interface, the wrong owner, a taken index, an instance that is going."""
    move(api, aws, aws.lab.node1)
    before = len(writes(aws))
    service, lab = EniSelector(id=aws.lab.service_eni), aws.lab

    def tries(find: EniSelector, node: str, **options: Any) -> None:
        eni.move(api, eni.look(api, find, node), **options)

    with pytest.raises(UsageError, match=rf"is in us-east-1a \({lab.node3} is in us-east-1b\)"):
        tries(service, lab.node3)
    with pytest.raises(UsageError, match=f"is the primary interface of {lab.node2}"):
        tries(EniSelector(id=lab.eni2), lab.node1)
    with pytest.raises(MoveRefusedError, match=rf"is attached to {lab.node1} \(expected i-00000000\)"):
        tries(service, lab.node2, expect="i-00000000")
    with pytest.raises(MoveRefusedError, match=f"device index: 0 of {lab.node2} is taken by {lab.eni2}"):
        tries(service, lab.node2, index=0)
    aws.power(lab.node2, "stopping")
    with pytest.raises(MoveRefusedError, match=f"{lab.node2}: is stopping"):
        tries(service, lab.node2)
    assert (before, lab.node1) == (len(writes(aws)), holder(aws))


def test_it_is_found_by_id_tag_or_exact_address(aws: Fake, api: Api) -> None:
    """10.0.1.5 is not 10.0.1.50."""
    api.call(actions.create_interface(aws.lab.subnet_a2, "10.0.1.50", [], "", "t"))
    for find in (EniSelector(id=aws.lab.service_eni), EniSelector(tag="Service=web"), EniSelector(address="10.0.1.5")):
        assert aws.lab.service_eni == eni.find(api, find).id


def test_an_address_of_two_interfaces_is_refused_with_both(aws: Fake, api: Api) -> None:
    """Two VPCs may use the same addresses."""
    vpc = re.search(r"(?<=<vpcId>)vpc-[0-9a-f]+", aws.ask("CreateVpc", CidrBlock="10.0.0.0/16").decode())
    assert vpc
    subnet = re.search(
        r"(?<=<subnetId>)subnet-[0-9a-f]+", aws.ask("CreateSubnet", VpcId=vpc[0], CidrBlock="10.0.1.0/24").decode()
    )
    assert subnet
    other = aws.backend.create_network_interface(aws.backend.get_subnet(subnet[0]), "10.0.1.5")
    aws.settle()
    with pytest.raises(UsageError, match=r"address 10\.0\.1\.5 is 2 interfaces") as caught:
        eni.find(api, EniSelector(address="10.0.1.5"))

    assert f"{other.id} in {vpc[0]}" in str(caught.value)


def test_create_may_be_repeated(aws: Fake, run: Callable[..., Any], tmp_path: Path) -> None:
    """The second time the interface that has the address is found. Both have a line in the audit log."""
    arguments = ("eni", "create", "--subnet", aws.lab.subnet_a2, "--address", "10.0.1.77", "--group", aws.lab.group)
    first = run(*arguments)
    aws.settle()
    second = run(*arguments)

    assert (0, 0) == (first[0], second[0])
    assert first[1][0].split()[0] == second[1][0].split()[0]
    assert 1 == len(aws.calls("CreateNetworkInterface"))
    made, found = (tmp_path / "state/failover/audit.log").read_text().splitlines()
    assert "verb=eni-create " in made
    assert f" what=created {first[1][0]}" in made
    assert " what=nothing to do" in found


def test_create_without_an_address_may_be_repeated_too(aws: Fake, run: Callable[..., Any]) -> None:
    """The ENI is found by its tag, and the token is made from what is asked; another wish is another ENI."""
    arguments = ("eni", "create", "--subnet", aws.lab.subnet_a2, "--description", "it's", "--tag", "Service=new")
    code, plan, _ = run(*arguments, "--plan")
    assert (1, []) == (code, aws.calls("CreateNetworkInterface"))
    first = run(*arguments)
    (call,) = aws.calls("CreateNetworkInterface")
    assert call["parameters"]["ClientToken"] in plan[0]
    aws.settle()
    assert (0, []) == run(*arguments, "--plan")[:2]
    assert first[:2] == run(*arguments)[:2]
    other = run(*arguments[:-1], "Service=other")
    assert other[1][0].split()[0] != first[1][0].split()[0]
    tokens = [call["parameters"]["ClientToken"] for call in aws.calls("CreateNetworkInterface")]
    assert 2 == len({*tokens}) == len(tokens)
    assert all(len(token) <= 64 for token in tokens)


def test_an_interface_that_ec2_only_remembers_is_not_created(aws: Fake, run: Callable[..., Any]) -> None:
    """With the token of one that was deleted since, the answer is that of then."""
    arguments = ("eni", "create", "--subnet", aws.lab.subnet_a2)
    eni_ = run(*arguments)[1][0].split()[0]
    answer = aws.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": eni_}).decode()
    item = answer.partition("<networkInterfaceSet>")[2].partition("<item>")[2].rpartition("</item>")[0]
    aws.ask("DeleteNetworkInterface", NetworkInterfaceId=eni_)
    aws.settle()
    body = (
        f"<CreateNetworkInterfaceResponse><networkInterface>{item}</networkInterface></CreateNetworkInterfaceResponse>"
    )
    aws.fault(action="CreateNetworkInterface", body=body)
    code, _, log = run(*arguments)
    assert 4 == code
    assert f"{eni_}: was created by an earlier run and deleted since" in log


def test_show_and_move_by_the_command_line(aws: Fake, run: Callable[..., Any]) -> None:
    """Shown elsewhere (1), planned, moved, shown here (0)."""
    config = configuration(aws, f'[service.db.eni]\nid = "{aws.lab.service_eni}"')
    assert 1 == run("eni", "show", "db", config=config)[0]
    code, lines, _ = run("eni", "move", "db", "--dry-run", config=config)
    assert (1, []) == (code, writes(aws))
    assert lines == [
        (
            f"aws ec2 attach-network-interface --network-interface-id {aws.lab.service_eni}"
            f" --instance-id {aws.lab.node1} --device-index 1"
        )
    ]
    assert 0 == run("eni", "move", "db", config=config)[0]
    aws.settle()
    assert 0 == run("eni", "show", "db", config=config)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--id", "eni-xyz"), "is not the id of a network interface"),
        (("--id", "eni-0a1b2c3d"), "no eni-0a1b2c3d in us-east-1 (is it in another region or account?)"),
        (("--address", "10.0.1"), "not an IP address"),
        (("--address", "10.0.1.200"), "no address 10.0.1.200 in us-east-1"),
        (("--tag", "Service=w*"), "without wildcards"),
        ((), "give either an id"),
    ],
)
def test_a_wrong_interface_is_wrong_usage(run: Callable[..., Any], arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, with what was looked for and where."""
    code, _, log = run("eni", "move", *arguments)

    assert 2 == code
    assert said in log


def test_a_denied_attach_is_found_before_the_detach(aws: Fake, make_api: Callable[..., Api]) -> None:
    """After it no instance would have the interface."""
    move(make_api(), aws, aws.lab.node1)
    before = writes(aws)
    aws.fault(action="AttachNetworkInterface", code="UnauthorizedOperation", status=403)
    with pytest.raises(
        ApiError, match=f"allow ec2:AttachNetworkInterface on .*{aws.lab.node2}, .*{aws.lab.service_eni}"
    ):
        move(make_api(), aws, aws.lab.node2)

    assert (before, aws.lab.node1) == (writes(aws), holder(aws))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AuthFailure", 403),
        ("UnsupportedOperation", 400),
        ("OperationNotPermitted", 400),
        ("InvalidParameterCombination", 400),
    ],
)
def test_every_refusal_of_the_dry_run_comes_before_the_detach(
    aws: Fake, make_api: Callable[..., Api], code: str, status: int
) -> None:
    """Only DryRunOperation means that the attach is allowed."""
    move(make_api(), aws, aws.lab.node1)
    aws.settle()
    before = writes(aws)
    aws.fault(action="AttachNetworkInterface", match={"DryRun": "true"}, code=code, status=status)
    with pytest.raises(ApiError, match=code):
        move(make_api(), aws, aws.lab.node2)

    assert (before, aws.lab.node1) == (writes(aws), holder(aws))


def test_a_full_instance_is_found_before_the_detach_where_the_service_says_so(
    aws: Fake, make_api: Callable[..., Api]
) -> None:
    """It will be as full after it."""
    move(make_api(), aws, aws.lab.node1)
    before = writes(aws)
    aws.fault(action="AttachNetworkInterface", match={"DryRun": "true"}, code="AttachmentLimitExceeded")
    with pytest.raises(ApiError, match="AttachmentLimitExceeded"):
        move(make_api(), aws, aws.lab.node2)

    assert (before, aws.lab.node1) == (writes(aws), holder(aws))


def test_an_instance_without_a_free_index_is_refused() -> None:
    """Whatever the answer says."""
    full = Ec2Instance("i-0a1b2c3d", "running", "a", "vpc-1", dict.fromkeys(range(64), "eni-1"))
    with pytest.raises(MoveRefusedError, match="i-0a1b2c3d has none free from 1 to 63"):
        eni.free_index(full, None)


def test_what_else_the_question_is_answered_does_not_matter(aws: Fake, make_api: Callable[..., Api]) -> None:
    """The service may well look at the state first, in which the attach cannot be yet."""
    move(make_api(), aws, aws.lab.node1)
    aws.fault(
        action="AttachNetworkInterface",
        match={"DryRun": "true"},
        code="InvalidNetworkInterface.InUse",
        message="Interface: in use.",
    )
    move(make_api(), aws, aws.lab.node2)

    assert aws.lab.node2 == holder(aws)


def test_an_attach_that_is_refused_after_the_detach_says_how_to_give_it_back(
    aws: Fake, make_api: Callable[..., Api]
) -> None:
    """A full instance answers only then; no instance has the interface now."""
    said: list[str] = []
    move(make_api(), aws, aws.lab.node1)
    for index in (1, 2):
        other = make_api().call(actions.create_interface(aws.lab.subnet_a, "", [], "", f"t{index}"))
        make_api().call(actions.attach(other.id, aws.lab.node2, index, ""))
    with pytest.raises(ApiError, match="AttachmentLimitExceeded"):
        move(make_api(log=said.append), aws, aws.lab.node2)

    back = f"--network-interface-id {aws.lab.service_eni} --instance-id {aws.lab.node1} --device-index 1"
    assert said[-1] == (
        f"{aws.lab.service_eni}: detached from {aws.lab.node1} and not attached to any instance; to undo:"
        f" aws ec2 attach-network-interface {back}"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--index", "0"), "index: 0 is not from 1 to 255"),
        (("--index", "-1"), "index: -1 is not from 1 to 255"),
        (("--grace", "-1"), "grace: -1.0 is not from 0 to 3600"),
        (("--grace", "nan"), "grace: nan is not from 0 to 3600"),
        (("--expect", "node1"), "expect: 'node1' is neither"),
        (("--deadline", "nan"), "deadline: nan is not from 0.1 to 3600"),
    ],
)
def test_flags_are_read_as_strictly_as_the_configuration(
    aws: Fake, run: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    """Or the attach would be refused after the detach."""
    code, _, log = run("eni", "move", "--id", aws.lab.service_eni, *arguments)

    assert (2, []) == (code, writes(aws))
    assert said in log


def test_a_service_and_another_interface_are_not_both_meant(aws: Fake, run: Callable[..., Any]) -> None:
    """Which of them would be moved?"""
    config = configuration(aws, f'[service.db.eni]\nid = "{aws.lab.service_eni}"')
    code, _, log = run("eni", "move", "db", "--address", "10.0.1.77", config=config)

    assert (2, []) == (code, writes(aws))
    assert "--address: not together with a service" in log


def test_create_does_not_return_a_foreign_primary_interface_as_made(aws: Fake, run: Callable[..., Any]) -> None:
    """It can never move."""
    code, lines, log = run("eni", "create", "--subnet", aws.lab.subnet_a, "--address", "10.0.0.12")

    assert (4, [], []) == (code, lines, writes(aws))
    assert f"10.0.0.12 is held by {aws.lab.eni2}, the primary interface of {aws.lab.node2}" in log


def test_a_denied_detach_names_both_arns(aws: Fake, make_api: Callable[..., Api], run: Callable[..., Any]) -> None:
    """IAM asks about the instance and the interface."""
    move(make_api(), aws, aws.lab.node2)
    aws.fault(action="DetachNetworkInterface", code="UnauthorizedOperation", status=403)
    code, _, log = run("eni", "move", "--id", aws.lab.service_eni)

    stem = "arn:aws:ec2:us-east-1:123456789012"
    assert 4 == code
    assert (
        f"allow ec2:DetachNetworkInterface on {stem}:instance/{aws.lab.node2},"
        f" {stem}:network-interface/{aws.lab.service_eni}" in log
    )


def test_an_old_look_that_shows_it_free_is_not_another_mover(aws: Fake, run: Callable[..., Any], api: Api) -> None:
    """Node 2 has had it for a minute, and the first look is older than that: it moves. An attach of this moment is
    another mover's, and the move is refused."""
    from datetime import datetime, timedelta, timezone

    free = aws.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": aws.lab.service_eni}).decode()
    for ago, code in ((60, 0), (0, 4)):
        aws.reset()
        old = free.replace(re.findall("eni-[0-9a-f]{17}", free)[0], aws.lab.service_eni)
        api.call(actions.attach(aws.lab.service_eni, aws.lab.node2, 1, ""))
        aws.backend.enis[aws.lab.service_eni].attach_time = datetime.now(timezone.utc) - timedelta(seconds=ago)
        aws.settle()
        aws.fault(action="DescribeNetworkInterfaces", body=old, times=1)
        found, _, log = run("eni", "move", "--id", aws.lab.service_eni, "--no-local")

        assert code == found, log
        held = aws.backend.enis[aws.lab.service_eni].instance.id
        assert (aws.lab.node1 if code == 0 else aws.lab.node2) == held
