"""An overlay route: created, replaced, or left alone, in every table; and told which."""

from __future__ import annotations

import json

import pytest

from ec2ident_agent.failover.aws import actions, forms
from ec2ident_agent.failover.aws.forms import NO_OWNER
from ec2ident_agent.failover.aws.model import NetworkInterface, RouteTable, VpcRoute
from ec2ident_agent.failover.errors import MoveRefusedError, UsageError
from ec2ident_agent.failover.parts import route
from ec2ident_agent.failover.parts.carrier import carrier
from ec2ident_agent.failover.parts.route import RouteSight
from ec2ident_agent.failover.parts.route_tables import describe
from ec2ident_agent.failover.selectors import TableSelector, check_one
from ec2ident_agent.failover.session import Device
from tests.failover.conftest import configuration
from tests.failover.fake import cloud

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.deadline import Deadline
    from tests.failover.fake import Fake

OVERLAY = "192.168.10.5/32"
OVERLAY6 = "fd00:10::5/128"
MINE, THEIRS = "eni-0000000a", "eni-0000000b"


def worst(outcomes: Iterable[route.RouteOutcome]) -> int:
    """The exit code of a verb with these outcomes."""
    return max(each.exit for each in outcomes)


@pytest.fixture
def consistent(either_consistency: bool) -> bool:
    """Every test here runs with reads of the present and with old ones."""
    return either_consistency


def interface(check: bool = False) -> NetworkInterface:
    return NetworkInterface(MINE, "in-use", "a", "subnet-1", "vpc-1", "1", "06:00:00:00:00:01", check, ("10.0.0.1",))


def sight(*routes: VpcRoute) -> RouteSight:
    return RouteSight((RouteTable("rtb-1", "vpc-1", "1", routes),), interface())


def writes(aws: Fake) -> list[tuple[str, int]]:
    return [(call["action"], call["status"]) for call in aws.calls() if not call["action"].startswith("Describe")]


def holders(aws: Fake, destination: str = OVERLAY) -> list[str]:
    """The interface that each table truly has."""
    found = []
    for table in aws.lab.tables:
        rows = cloud.routes(aws.backend.route_tables[table])
        same = [row for row in rows if destination in (row.destination_cidr_block, row.destination_ipv6_cidr_block)]
        found.append(cloud.target(same[0]).id if same else "")
    return found


@pytest.mark.parametrize(
    ("before", "verb"),
    [
        (None, "create"),
        (VpcRoute(OVERLAY, THEIRS), "replace"),
        (VpcRoute(OVERLAY, MINE), "keep"),
        (VpcRoute(OVERLAY, THEIRS, state="blackhole"), "replace"),
        (VpcRoute("192.168.10.5/31", THEIRS), "create"),
        (VpcRoute(OVERLAY, other="igw-1"), "replace"),
    ],
)
def test_what_is_done_depends_on_what_is_there(before: VpcRoute | None, verb: str) -> None:
    """Exactly this destination counts, and only our interface is right."""
    (move,) = route.decide(sight(*([before] if before else [])), [OVERLAY])

    assert verb == move.verb


@pytest.mark.parametrize("expect", ["i-0000000b", THEIRS])
def test_the_expected_owner_may_be_relieved(expect: str) -> None:
    """Named by instance or by interface."""
    (move,) = route.decide(sight(VpcRoute(OVERLAY, THEIRS, "i-0000000b")), [OVERLAY], expect=expect)

    assert "replace" == move.verb


@pytest.mark.parametrize("expect", ["i-0000000c", "i-0000000", NO_OWNER])
def test_no_other_user_is(expect: str) -> None:
    """Nor an id that merely begins alike. A missing route and our own are taken from no one."""
    with pytest.raises(MoveRefusedError, match=rf"rtb-1 .* -> i-0000000b \(expected {expect}\); nothing was changed"):
        route.decide(sight(VpcRoute(OVERLAY, THEIRS, "i-0000000b")), [OVERLAY], expect=expect)
    assert route.decide(sight(), [OVERLAY], expect=expect)
    assert route.decide(sight(VpcRoute(OVERLAY, MINE)), [OVERLAY], expect=expect)


@pytest.mark.parametrize("expect", ["", "i-0000000b"])
def test_the_vpcs_own_route_is_not_an_overlay(expect: str) -> None:
    """EC2 would let its target be replaced, and all of the VPC's traffic would go there."""
    local = sight(VpcRoute("10.0.0.0/16", other="local"))
    with pytest.raises(UsageError, match=r"10\.0\.0\.0/16 is the VPC's own block in rtb-1"):
        route.decide(local, ["10.0.0.0/16"], expect=expect)
    with pytest.raises(UsageError, match="is the VPC's own block"):
        route.removals(local.tables, ["10.0.0.0/16"], expect=expect)


def test_the_route_moves_in_all_tables_with_one_look_before_and_one_after(
    aws: Fake, consistent: bool, run: Callable[..., Any]
) -> None:
    """And a second time the same is written again: the look may be old. With old answers it looks more often."""
    code, lines, _ = run("route", "ensure", "db")

    assert (0, 2) == (code, len(lines))
    assert all(f"replaced -> {aws.lab.eni1}, was {aws.lab.node2}" in line for line in lines)
    assert [("ReplaceRoute", 200)] * 2 == writes(aws)
    looks = [call["parameters"].get("Filter.1.Name") for call in aws.calls("DescribeRouteTables")]
    assert 2 == looks.count("route-table-id") if consistent else 2 <= looks.count("route-table-id")
    aws.settle()
    code, lines, _ = run("route", "ensure", "db")
    assert (0, [("ReplaceRoute", 200)] * 4) == (code, writes(aws))
    assert all(" right -> " in line for line in lines)


def test_ipv6_is_moved_as_well_and_created_where_missing(aws: Fake, run: Callable[..., Any], api: Api) -> None:
    """Each destination in each table, by tag this time."""
    arguments = ("--tag", "Service=web", "--overlay", OVERLAY, "--overlay", "fd00:10::5")
    code, lines, _ = run("route", "ensure", *arguments)

    assert (0, 4) == (code, len(lines))
    assert [("CreateRoute", 200)] * 2 + [("ReplaceRoute", 200)] * 2 == sorted(writes(aws))
    assert [aws.lab.eni1] * 2 == holders(aws) == holders(aws, OVERLAY6)


def test_tables_are_found_by_vpc(aws: Fake, run: Callable[..., Any]) -> None:
    """All of them, the main table too."""
    code, lines, _ = run("route", "ensure", "--vpc", aws.lab.vpc, "--overlay", OVERLAY, "--eni", aws.lab.eni1)

    assert (0, 3) == (code, len(lines))


def test_a_gateways_table_is_none_of_the_vpcs(aws: Fake, api: Api) -> None:
    """It routes what comes in from outside, and takes no overlay; by its id it is what was asked for."""
    item = (
        "<item><routeTableId>{0}</routeTableId><vpcId>vpc-0a1b2c3d</vpcId><associationSet><item>"
        "<routeTableAssociationId>rtbassoc-1</routeTableAssociationId>{1}</item></associationSet></item>"
    )
    items = item.format("rtb-0000000a", "<gatewayId>igw-0a1b2c3d</gatewayId>") + item.format("rtb-0000000b", "")
    answer = f"<DescribeRouteTablesResponse><routeTableSet>{items}</routeTableSet></DescribeRouteTablesResponse>"
    aws.fault(action="DescribeRouteTables", body=answer)

    assert ["rtb-0000000b"] == [each.id for each in describe(api, TableSelector(vpc="vpc-0a1b2c3d"))]
    assert ["rtb-0000000a"] == [each.id for each in describe(api, TableSelector(("rtb-0000000a",)))]


def test_a_plan_writes_nothing(aws: Fake, run: Callable[..., Any]) -> None:
    """It prints the commands, and says by its exit code that there is something."""
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})
    code, lines, _ = run("route", "ensure", "db", "--dry-run")

    expected = [
        f"aws ec2 modify-network-interface-attribute --network-interface-id {aws.lab.eni1} --no-source-dest-check"
    ]
    expected += [
        f"aws ec2 replace-route --route-table-id {table} --destination-cidr-block {OVERLAY}"
        f" --network-interface-id {aws.lab.eni1}"
        for table in sorted(aws.lab.tables)
    ]
    assert (1, expected, []) == (code, lines, writes(aws))


def test_the_check_is_switched_off_on_the_interface_that_carries_the_traffic(
    aws: Fake, run: Callable[..., Any], api: Api
) -> None:
    """Shown first; not on another interface; left alone on demand."""
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})
    assert f"{aws.lab.eni1}: source/destination check is on" in run("route", "show", "db")[2]
    run("route", "ensure", "db", "--keep-check")
    assert carrier(api, aws.lab.eni1, "")[0].check

    code, _, log = run("route", "ensure", "db")
    assert (0, False) == (code, aws.backend.enis[aws.lab.eni1].source_dest_check)
    assert f"{aws.lab.eni1}: source/destination check switched off" in log
    assert [aws.lab.eni1] == [
        c["parameters"]["NetworkInterfaceId"] for c in aws.calls("ModifyNetworkInterfaceAttribute")
    ]


def test_one_denied_table_does_not_keep_the_others(aws: Fake, run: Callable[..., Any], api: Api) -> None:
    """Which one moved and which not is said, with action and ARN; the next run finishes."""
    second = aws.lab.tables[1]
    aws.fault(action="ReplaceRoute", match={"RouteTableId": second}, code="UnauthorizedOperation", status=403)
    code, lines, _ = run("route", "ensure", "db")

    assert (4, [aws.lab.eni1, aws.lab.eni2]) == (code, holders(aws))
    failed = next(line for line in lines if line.startswith(second))
    assert f"allow ec2:ReplaceRoute on arn:aws:ec2:us-east-1:123456789012:route-table/{second}" in failed
    aws.faults.clear()
    assert 0 == run("route", "ensure", "db")[0]
    assert [aws.lab.eni1] * 2 == holders(aws)


#: What is said of a table that does not exist.
NO_TABLE = "no such route table in us-east-1 (is it in another region or account?)"


def foreign_table(aws: Fake) -> tuple[str, str]:
    """Make a table in a second VPC. Returns its id and its VPC."""
    vpc = aws.backend.create_vpc("10.99.0.0/16").id
    return aws.backend.create_route_table(vpc).id, vpc


def test_a_running_service_moves_without_a_table_of_another_region(
    aws: Fake, run: Callable[..., Any], api: Api
) -> None:
    """Refusing would turn one wrong id into an outage. The message names the table and the reason."""
    config = configuration(aws).replace(aws.lab.tables[1], "rtb-00000000")
    code, lines, _ = run("route", "ensure", "db", config=config)

    assert (2, aws.lab.eni1) == (code, holders(aws)[0])
    assert f"rtb-00000000 missing: {NO_TABLE}" == lines[-1]
    code, lines, _ = run("route", "status", "db", config=config)
    assert (2, f"rtb-00000000 missing: {NO_TABLE}") == (code, lines[-1])


def test_a_running_service_moves_without_a_table_of_another_vpc(aws: Fake, run: Callable[..., Any]) -> None:
    """EC2 refuses a route to an ENI of another VPC, so it is not asked for one."""
    table, vpc = foreign_table(aws)
    config = configuration(aws).replace(aws.lab.tables[1], table)
    code, lines, _ = run("route", "ensure", "db", config=config)

    assert (2, aws.lab.eni1, [("ReplaceRoute", 200)]) == (code, holders(aws)[0], writes(aws))
    reason = f"is a table of {vpc}, and {aws.lab.eni1} is in {aws.lab.vpc}: no route of it can point there"
    assert f"{table} foreign: {reason}" == lines[-1]


@pytest.mark.parametrize("verb", [("route", "ensure"), ("takeover",)])
@pytest.mark.parametrize("foreign", [False, True])
def test_the_first_move_needs_every_table(
    aws: Fake, run: Callable[..., Any], verb: tuple[str, ...], foreign: bool
) -> None:
    """No table has the route, so nothing runs that a refusal could end: a person corrects the settings first."""
    for table in aws.lab.tables:
        aws.ask("DeleteRoute", RouteTableId=table, DestinationCidrBlock=OVERLAY)
    aws.settle()
    before = writes(aws)
    wrong = foreign_table(aws)[0] if foreign else "rtb-00000000"
    config = configuration(aws).replace(aws.lab.tables[1], wrong)
    code, lines, err = run(*verb, "db", config=config)

    assert (2, [], before, ["", ""]) == (code, lines, writes(aws), holders(aws))
    assert f"tables: {wrong} {'foreign: is a table of vpc-' if foreign else f'missing: {NO_TABLE}'}" in err
    assert "; nothing was changed" in err


@pytest.mark.parametrize("verb", [("route", "ensure"), ("takeover",)])
@pytest.mark.parametrize("foreign", [False, True])
def test_a_plan_needs_every_table(aws: Fake, run: Callable[..., Any], verb: tuple[str, ...], foreign: bool) -> None:
    """Also of a service that runs: a plan is for the person who can correct the settings."""
    wrong = foreign_table(aws)[0] if foreign else "rtb-00000000"
    config = configuration(aws).replace(aws.lab.tables[1], wrong)
    code, lines, err = run(*verb, "db", "--dry-run", config=config)

    assert (2, [], []) == (code, lines, writes(aws))
    assert f"tables: {wrong} " in err


def test_a_faster_node_turns_create_into_replace_and_back(aws: Fake, api: Api) -> None:
    """What was seen by the first look need not be so any more."""
    select = TableSelector(aws.lab.tables)
    seen = route.look(api, select, [OVERLAY], instance=aws.lab.node1)
    aws.ask("DeleteRoute", RouteTableId=aws.lab.tables[0], DestinationCidrBlock=OVERLAY)
    outcomes, _ = route.ensure(api, seen, route.decide(seen, [OVERLAY]))
    assert ["created", "replaced"] == [each.verb for each in sorted(outcomes, key=lambda o: o.verb)]

    for table in aws.lab.tables:
        aws.ask("DeleteRoute", RouteTableId=table, DestinationCidrBlock=OVERLAY)
    seen = route.look(api, select, [OVERLAY], instance=aws.lab.node1)
    aws.ask(
        "CreateRoute", RouteTableId=aws.lab.tables[0], DestinationCidrBlock=OVERLAY, NetworkInterfaceId=aws.lab.eni2
    )
    outcomes, _ = route.ensure(api, seen, route.decide(seen, [OVERLAY]))
    assert (0, ["created", "replaced"]) == (worst(outcomes), sorted(each.verb for each in outcomes))
    assert [aws.lab.eni1] * 2 == holders(aws)


@pytest.mark.parametrize(("card", "shown"), [(True, 1), (False, 1), (True, -1)])
def test_an_eni_that_the_kernel_shows_before_ec2_does_is_waited_for(
    aws: Fake, api: Api, card: bool, shown: int
) -> None:
    """hashicorp/terraform-provider-aws#21629: else the route went to the first ENI, and the address to the second."""
    lab = aws.lab
    first = aws.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": lab.eni1}).decode()
    aws.ask("AttachNetworkInterface", NetworkInterfaceId=lab.service_eni, InstanceId=lab.node1, DeviceIndex="1")
    mac = aws.backend.enis[lab.service_eni].mac_address
    aws.fault(action="DescribeNetworkInterfaces", body=first, times=shown)
    found, _ = carrier(api, "", lab.node1, Device("eth1", mac, card))

    assert (lab.service_eni if card and shown > 0 else lab.eni1) == found.id


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("CreateRoute", "InvalidRouteTableID.NotFound"),
        ("CreateRoute", "InvalidNetworkInterfaceID.NotFound"),
        ("ReplaceRoute", "InvalidRouteTableID.NotFound"),
        ("ReplaceRoute", "InvalidNetworkInterfaceID.NotFound"),
        ("ReplaceRoute", "InvalidRoute.NotFound"),
        ("ReplaceRoute", "IncorrectState"),
    ],
)
def test_what_a_look_has_shown_is_not_unknown_to_a_write(
    aws: Fake, run: Callable[..., Any], action: str, code: str
) -> None:
    """hashicorp/terraform#7104 #7156: a write meets a part of EC2 that does not know the table or the ENI yet."""
    if action == "CreateRoute":
        aws.ask("DeleteRoute", RouteTableId=aws.lab.tables[0], DestinationCidrBlock=OVERLAY)
    aws.fault(action=action, code=code, message="x does not exist", times=1)
    exit_, _, log = run("route", "ensure", "db")

    assert (0, [aws.lab.eni1] * 2) == (exit_, holders(aws)), log


def test_what_no_write_knows_is_an_error(aws: Fake, run: Callable[..., Any]) -> None:
    """A table that was deleted between the look and the write is not waited for without end."""
    aws.fault(
        action="ReplaceRoute", match={"RouteTableId": aws.lab.tables[0]}, code="InvalidRouteTableID.NotFound", times=-1
    )
    exit_, lines, _ = run("route", "ensure", "db")

    assert (2, aws.lab.eni1) == (exit_, holders(aws)[1])
    assert f"{aws.lab.tables[0]} {OVERLAY} failed: ec2:ReplaceRoute: InvalidRouteTableID.NotFound" in "".join(lines)


@pytest.mark.parametrize("there", [True, False])
def test_a_table_that_one_look_does_not_show_is_written(aws: Fake, run: Callable[..., Any], there: bool) -> None:
    """hashicorp/terraform-provider-aws#25791 #31895: what is left out would go on pointing to the other node."""
    if not there:
        aws.ask("DeleteRoute", RouteTableId=aws.lab.tables[1], DestinationCidrBlock=OVERLAY)
    body = aws.ask("DescribeRouteTables", **{"RouteTableId.1": aws.lab.tables[0]}).decode()
    aws.fault(action="DescribeRouteTables", match={"Filter.1.Name": "route-table-id"}, body=body, times=1)
    exit_, lines, log = run("route", "ensure", "db")

    assert (0, [aws.lab.eni1] * 2) == (exit_, holders(aws)), log
    assert f"{aws.lab.tables[1]} {OVERLAY} {'replaced' if there else 'created'} -> {aws.lab.eni1}" in lines


def test_a_table_that_the_look_does_not_show_is_not_taken_from_an_owner(aws: Fake, run: Callable[..., Any]) -> None:
    """With --expect nothing is written where the owner is not known."""
    body = aws.ask("DescribeRouteTables", **{"RouteTableId.1": aws.lab.tables[0]}).decode()
    aws.fault(action="DescribeRouteTables", match={"Filter.1.Name": "route-table-id"}, body=body, times=1)
    exit_, lines, _ = run("route", "ensure", "db", "--expect", aws.lab.eni2)

    assert (2, [aws.lab.eni1, aws.lab.eni2]) == (exit_, holders(aws))
    assert f"{aws.lab.tables[1]} missing: {NO_TABLE}" in lines


def test_a_propagated_route_is_not_replaced() -> None:
    """ansible/ansible#43415: EC2 refuses that. A static route beside it has priority."""
    propagated = VpcRoute(OVERLAY, "", "", "", "vgw-1", "active", True)
    for routes, verb in (((propagated,), "create"), ((propagated, VpcRoute(OVERLAY, THEIRS)), "replace")):
        (move,) = route.decide(sight(*routes), [OVERLAY])
        assert verb == move.verb
    with pytest.raises(MoveRefusedError, match="-> vgw-1"):
        route.decide(sight(propagated), [OVERLAY], expect="i-0000000b")


def test_what_is_confirmed_stays_so_when_the_time_ends(
    aws: Fake, make_api: Callable[..., Api], quiet: Callable[[float], Deadline]
) -> None:
    """One table was read back as it should be; of the other it is not known."""
    api = make_api(quiet(2.0))
    seen = route.look(api, TableSelector(aws.lab.tables), [OVERLAY], instance=aws.lab.node1)
    done = "<ReplaceRouteResponse><return>true</return></ReplaceRouteResponse>"
    aws.fault(action="ReplaceRoute", match={"RouteTableId": aws.lab.tables[1]}, body=done)
    outcomes, _ = route.ensure(api, seen, route.decide(seen, [OVERLAY]))

    said = {each.table: str(each) for each in outcomes}
    assert 3 == worst(outcomes)
    assert said[aws.lab.tables[0]].endswith(f"replaced -> {aws.lab.eni1}, was {aws.lab.node2}")
    unsure = f"written, not confirmed: reading back: not within 2 s; the last look showed {aws.lab.node2}"
    assert unsure in said[aws.lab.tables[1]]


def test_a_move_from_no_owner_does_not_take_from_a_faster_one(aws: Fake, api: Api) -> None:
    """A create is refused if there is a route. A route that points here, by a call with a lost answer, is created."""
    for table in aws.lab.tables:
        aws.ask("DeleteRoute", RouteTableId=table, DestinationCidrBlock=OVERLAY)
    seen = route.look(api, TableSelector(aws.lab.tables), [OVERLAY], instance=aws.lab.node1)
    moves = route.decide(seen, [OVERLAY], expect=NO_OWNER)
    first, second = aws.lab.tables
    aws.ask("CreateRoute", RouteTableId=first, DestinationCidrBlock=OVERLAY, NetworkInterfaceId=aws.lab.eni2)
    aws.fault(
        action="CreateRoute", match={"RouteTableId": second}, code="InternalError", status=500, after=True, times=1
    )
    outcomes, _ = route.ensure(api, seen, moves)

    assert [aws.lab.eni2, aws.lab.eni1] == holders(aws)
    assert {first: "failed", second: "created"} == {each.table: each.verb for each in outcomes}
    assert 4 == worst(outcomes)
    assert f"another mover was quicker: it is {aws.lab.node2}'s (expected {NO_OWNER})" in str(
        next(each for each in outcomes if each.error)
    )


def later(aws: Fake, eni: str) -> None:
    """What another mover writes right after this one."""
    form = {"RouteTableId": aws.lab.tables[0], "DestinationCidrBlock": OVERLAY, "NetworkInterfaceId": eni}
    aws.ask("ReplaceRoute", **form)


def written(aws: Fake, api: Api) -> tuple[tuple[route.RouteMove, ...], list[route.RouteOutcome]]:
    """The moves and outcomes of one table that this node has just written; node 2 had it before."""
    seen = route.look(api, TableSelector(aws.lab.tables[:1]), [OVERLAY], instance=aws.lab.node1)
    return route.decide(seen, [OVERLAY]), [route.RouteOutcome(aws.lab.tables[0], OVERLAY, "replaced", "", aws.lab.eni1)]


def test_a_third_owner_was_later(aws: Fake, api: Api) -> None:
    """A write succeeded, and yet a look that cannot be old shows a new target: the move failed."""
    moves, outcomes = written(aws, api)
    later(aws, aws.lab.eni3)
    (outcome,) = route._confirmed(api, moves, outcomes)

    said = f"reading back shows {aws.lab.node3} (expected {aws.lab.eni1}): another mover was later"
    assert said in str(outcome.error)
    assert (4, False) == (outcome.exit, outcome.here)


def test_what_is_as_before_is_not_seen_yet(
    aws: Fake, make_api: Callable[..., Api], quiet: Callable[[float], Deadline]
) -> None:
    """Until the deadline, however long before; then it is written and not confirmed, and not another mover's."""
    api = make_api(quiet(2.0))
    moves, outcomes = written(aws, api)
    (outcome,) = route._confirmed(api, moves, outcomes)

    assert (3, "replaced") == (outcome.exit, outcome.verb)
    assert f"written, not confirmed: reading back: not within 2 s; the last look showed {aws.lab.node2}" in str(outcome)
    assert route.undo(moves, (outcome,))


def test_a_third_owner_of_before_is_not_one_of_after(aws: Fake, api: Api) -> None:
    """The first look was old, and so is the next: node 3 had the route in between."""
    moves, outcomes = written(aws, api)
    later(aws, aws.lab.eni3)
    aws.settings(stale=0.8, oldest=True)
    api.call(actions.replace_route(aws.lab.tables[0], "", OVERLAY, aws.lab.eni1))
    (outcome,) = route._confirmed(api, moves, outcomes)

    assert (0, None) == (outcome.exit, outcome.error)


def test_a_route_that_only_an_old_answer_shows_here_is_moved(aws: Fake, run: Callable[..., Any]) -> None:
    """Node 2 took it a moment ago, and Describe still says that it is here: it is written all the same."""
    assert 0 == run("route", "ensure", "db")[0]
    old = aws.ask("DescribeRouteTables").decode()
    assert 0 == run("route", "ensure", "db", instance=aws.lab.node2)[0]
    # The look before, the one at other tables, and the first reading back.
    aws.fault(action="DescribeRouteTables", body=old, times=3)
    code, lines, _ = run("route", "ensure", "db")

    assert (0, [aws.lab.eni1] * 2) == (code, holders(aws))
    assert all(" right -> " in line for line in lines)


def test_a_refused_write_of_a_route_that_is_here_leaves_it_here(aws: Fake, api: Api) -> None:
    """Then the address must stay: the outcome says so, beside the error."""
    seen = route.look(api, TableSelector(aws.lab.tables), [OVERLAY], instance=aws.lab.node2)
    aws.fault(action="ReplaceRoute", code="UnauthorizedOperation", status=403)
    outcomes, _ = route.ensure(api, seen, route.decide(seen, [OVERLAY]))

    assert (4, [True, True]) == (worst(outcomes), [each.here for each in outcomes])


def test_a_write_without_an_answer_is_sent_again(aws: Fake, run: Callable[..., Any], api: Api) -> None:
    """Replace and Create may be: the second answer, or the reading back, tells."""
    aws.fault(action="ReplaceRoute", code="InternalError", status=500, after=True, times=2)
    assert 0 == run("route", "ensure", "db")[0]
    assert [aws.lab.eni1] * 2 == holders(aws)
    for table in aws.lab.tables:
        api.call(actions.delete_route(table, "", OVERLAY))
    aws.fault(action="CreateRoute", code="InternalError", status=500, after=True, times=2)
    assert 0 == run("route", "ensure", "db")[0]
    assert [aws.lab.eni1] * 2 == holders(aws)


def test_warnings_are_given_and_nothing_else_is_stopped(aws: Fake, run: Callable[..., Any], api: Api) -> None:
    """A black hole, an address inside the VPC, other tables that hold the route."""
    aws.power(aws.lab.node2, "stopped")
    _, _, log = run("route", "show", "--table", aws.lab.tables[0], "--overlay", OVERLAY, "--overlay", "10.0.0.0/24")

    assert f"{aws.lab.tables[0]}: {OVERLAY} -> {aws.lab.node2} is a black hole" in log
    assert f"{aws.lab.tables[0]}: 10.0.0.0/24 lies inside the VPC's 10.0.0.0/16: not an overlay address" in log
    assert f"{aws.lab.tables[1]}: also holds {OVERLAY} -> {aws.lab.node2}" in log


def test_other_tables_are_warned_of_when_found_by_tag(aws: Fake, run: Callable[..., Any]) -> None:
    """One that lost its tag would be forgotten; all of a VPC has no others."""
    aws.ask("DeleteTags", **{"ResourceId.1": aws.lab.tables[1], "Tag.1.Key": "Service", "Tag.1.Value": "web"})
    said = f"{aws.lab.tables[1]}: also holds {OVERLAY} -> {aws.lab.node2}"

    assert said in run("route", "show", "--tag", "Service=web", "--overlay", OVERLAY)[2]
    assert "also holds" not in run("route", "show", "--vpc", aws.lab.vpc, "--overlay", OVERLAY)[2]


def test_show_tells_here_from_elsewhere(aws: Fake, run: Callable[..., Any]) -> None:
    """Exit 1 while it points elsewhere, 0 when here; as JSON too."""
    code, lines, _ = run("route", "show", "db", "--json")
    assert (1, ["other", "other"]) == (
        code,
        [each["verb"] for each in json.loads("\n".join(lines)) if each["kind"] == "result"],
    )
    assert 0 == run("route", "show", "db", instance=aws.lab.node2)[0]


def test_delete_takes_it_out_only_from_the_expected(aws: Fake, run: Callable[..., Any], api: Api) -> None:
    """And it may be repeated."""
    assert 4 == run("route", "delete", "db", "--expect", aws.lab.node1)[0]
    assert [aws.lab.eni2] * 2 == holders(aws)
    assert (1, 2) == (lambda found: (found[0], len(found[1])))(run("route", "delete", "db", "--dry-run"))
    assert 0 == run("route", "delete", "db", "--expect", aws.lab.node2)[0]
    assert ["", ""] == holders(aws)
    assert 0 == run("route", "delete", "db")[0]


@pytest.mark.usefixtures("quiet")
def test_delete_is_believed_when_reading_back_shows_nothing(aws: Fake, run: Callable[..., Any]) -> None:
    """A success without an effect is told of."""
    done = "<DeleteRouteResponse><return>true</return></DeleteRouteResponse>"
    aws.fault(action="DeleteRoute", match={"RouteTableId": aws.lab.tables[0]}, body=done)
    code, lines, _ = run("route", "delete", "db", "--deadline", "2.5")

    said = {line.split()[0]: line for line in lines}
    assert 3 == code
    assert f"not within 2.5 s; the last look showed {aws.lab.node2}" in said[aws.lab.tables[0]]
    assert f"{aws.lab.tables[1]} {OVERLAY} deleted, was {aws.lab.node2}" == said[aws.lab.tables[1]]


def test_a_route_that_another_node_deleted_first_is_gone_already(aws: Fake, api: Api) -> None:
    """Which is what was wanted: exit 0."""
    for table in aws.lab.tables:
        match = {"RouteTableId": table}
        aws.fault(action="DeleteRoute", match=match, code="InternalError", status=500, after=True, times=1)
    outcomes = route.delete(api, TableSelector(aws.lab.tables), [OVERLAY])

    assert (0, ["gone already"] * 2) == (worst(outcomes), [each.verb for each in outcomes])


def test_a_plan_to_delete_refuses_what_delete_would(aws: Fake, run: Callable[..., Any]) -> None:
    """The expected owner is part of the question."""
    code, lines, log = run("route", "delete", "db", "--dry-run", "--expect", aws.lab.node1)

    assert (4, [], True) == (code, lines, f"(expected {aws.lab.node1}); nothing was changed" in log)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("fault", [{"hang": True}, {"drip": 0.05}, {"code": "RequestLimitExceeded", "status": 503}])
def test_every_action_ends_within_its_deadline(aws: Fake, run: Callable[..., Any], fault: dict[str, Any]) -> None:
    """Could not tell: exit 3, and what it was."""
    aws.fault(**fault)
    for verb in ("show", "ensure", "delete"):
        code, _, log = run("route", verb, "db", "--deadline", "0.6")
        assert 3 == code
        assert "ec2:Describe" in log


@pytest.mark.usefixtures("quiet")
def test_a_hang_between_look_and_write_says_which_is_not_known(aws: Fake, run: Callable[..., Any]) -> None:
    """The other table moved; this one may have."""
    aws.fault(action="ReplaceRoute", match={"RouteTableId": aws.lab.tables[1]}, hang=True)
    code, lines, _ = run("route", "ensure", "db", "--deadline", "2")

    assert 3 == code
    assert "failed: ec2:ReplaceRoute" in next(line for line in lines if line.startswith(aws.lab.tables[1]))
    assert "replaced" in next(line for line in lines if line.startswith(aws.lab.tables[0]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--overlay", OVERLAY), "give either ids, or a tag"),
        (("--overlay", OVERLAY, "--table", "rtb-0a1b2c3d", "--vpc", "vpc-0a1b2c3d"), "give either ids, or a tag"),
        (("--overlay", OVERLAY, "--table", "eni-0a1b2c3d"), "is not the id of a route table"),
        (("--overlay", "192.168.10.5/24", "--table", "rtb-0a1b2c3d"), "has host bits set"),
        (("--table", "rtb-0a1b2c3d"), "give --overlay"),
        (("--overlay", OVERLAY, "--tag", "Service"), "is not KEY=VALUE"),
        (("--overlay", OVERLAY, "--vpc", "rtb-0a1b2c3d"), "is not the id of a VPC"),
        (("--overlay", OVERLAY, "--tag", "Service=nothing"), "none found by tag Service=nothing in us-east-1"),
        (
            ("--overlay", OVERLAY, "--table", "rtb-0a1b2c3d", "--eni", "eni-0a1b2c3d"),
            "target: no eni-0a1b2c3d in us-east-1 (is it in another region or account?)",
        ),
    ],
)
def test_wrong_arguments_are_wrong_usage(run: Callable[..., Any], arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, and what to write."""
    code, _, log = run("route", "ensure", *arguments)

    assert 2 == code
    assert said in log


@pytest.mark.parametrize("verb", ["ensure", "delete"])
def test_a_tag_that_finds_nothing_is_not_a_success(run: Callable[..., Any], verb: str) -> None:
    """Nor for delete."""
    code, _, log = run("route", verb, "--overlay", OVERLAY, "--tag", "Service=nothing")

    assert (2, True) == (code, "none found by tag Service=nothing" in log)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--expect", "node2"), "'node2' is neither an instance"),
        (("--table", "rtb-0a1b2c3d"), "--table: not together with a service"),
        (("--overlay", OVERLAY, "--vpc", "vpc-0a1b2c3d"), "--overlay, --vpc: not together with a service"),
    ],
)
def test_what_would_be_passed_over_is_refused(
    aws: Fake, run: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    """An owner that cannot be, and tables that would not count."""
    code, _, log = run("route", "ensure", "db", *arguments)

    assert (2, []) == (code, writes(aws))
    assert said in log


def test_selecting_is_checked() -> None:
    """By the library as by the command line. A tag without a value must not become no filter at all."""
    with pytest.raises(UsageError, match="give either"):
        check_one(TableSelector())
    for tag in ("Service=", "=web", "Service=w*", "Service=we?"):
        with pytest.raises(UsageError, match="is not KEY=VALUE"):
            forms.tag(tag)
    assert {"tag:Service": [""]} == TableSelector(tag="Service=").filters()


@pytest.mark.parametrize("fault", [{"code": "RequestLimitExceeded", "status": 503}, {"hang": True}, {"code": "X"}])
def test_a_look_that_serves_a_warning_takes_no_time_from_the_move(
    aws: Fake, run: Callable[..., Any], fault: dict[str, Any]
) -> None:
    """Throttled or without an answer, it is tried once; seen before: repeated until the deadline, and nothing moved."""
    aws.fault(action="DescribeRouteTables", match={"Filter.1.Name": "route.destination-cidr-block"}, **fault)
    code, _, log = run("route", "ensure", "db")

    assert 0 == code, log
    assert "warning: other tables with the route: cannot tell: " in log
