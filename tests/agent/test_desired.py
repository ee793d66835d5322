"""The desired state as a value: who is absent, and what a part of the configuration needs."""

from __future__ import annotations

import pytest

from ec2ident_agent import interface
from ec2ident_agent.config import parse
from ec2ident_agent.desired import (
    Desired,
    DesiredState,
    InsideVpc,
    Refusal,
    Unknown,
    held_state,
    narrow,
    owners_meant,
    profile_of,
    without,
)
from ec2ident_agent.items import Address, Link, Observed, Seen
from ec2ident_agent.profile import Facts, Overlay, Section
from ec2ident_agent.state.owned import State, overlay

ADDRESS = Address("eth1", "10.0.1.10/24")


def test_only_an_owner_without_items_of_which_nothing_else_is_said_is_absent() -> None:
    """One that is refused, or of which a fact is unknown, has no items either, and is on the node."""
    one, two, three, four = map(interface, ("eth1", "eth2", "eth3", "eth4"))
    state = DesiredState(
        (Desired(one, (ADDRESS,)), *(Desired(each, ()) for each in (two, three, four))),
        unknown=(Unknown(two, "router unknown"),),
        refusals=(Refusal(three, "it would take eth0's packets"),),
    )

    assert (four,) == state.absent


def test_an_overlay_needs_the_section_of_the_device_that_it_is_routed_by() -> None:
    """`via` names it where the address is on another device, such as lo; else it is the device itself."""
    sections = "".join(f'[interface.eth{n}]\nsubnet = "10.0.{n}.0/24"\ntable = {n}00\n' for n in (1, 2, 3))
    text = f'{sections}[[overlay]]\naddress = "192.168.10.1"\ndevice = "lo"\nvia = "eth1"\n'
    text += '[[overlay]]\naddress = "192.168.10.2"\ndevice = "eth2"\n'
    config = parse("agent.toml", text.encode())
    observed = Observed(links=tuple(Link(n, name) for n, name in enumerate(("lo", "eth1", "eth2", "eth3"), 1)))

    for address, section in (("192.168.10.1/32", "eth1"), ("192.168.10.2/32", "eth2")):
        part = narrow(config, [overlay(address)], observed)
        assert ([section], [address]) == (
            [each.name for each in part.sections],
            [each.address for each in part.overlays],
        )


@pytest.mark.parametrize(("device", "via"), [("eth1", ""), ("lo", "eth1"), ("eth0", "eth1")])
def test_the_eni_that_would_need_the_address_is_that_of_the_interface_it_is_routed_to(device: str, via: str) -> None:
    """`via` where it is written, else the device."""
    told = str(InsideVpc(Overlay("10.0.1.77/32", device, via=via), "10.0.0.0/16"))

    assert told.endswith(
        "lies inside the VPC's own 10.0.0.0/16: it cannot be reached, unless eth1's ENI has it as a private address"
    )


@pytest.mark.parametrize("routers", [("fe80::1",), None])
def test_ipv4_does_not_wait_for_a_router_of_ipv6_that_no_source_knows(routers: tuple[str, ...] | None) -> None:
    """One that the metadata service told before it fell silent counts."""
    subnets, vpc = ("10.0.1.0/24", "2600:1f14::/64"), ("10.0.0.0/16", "2600:1f14::/56")
    section = Section("eth1", subnets=subnets, table=100, scheme="split", vpc=vpc)
    known = Facts("eth1", routers=routers, unknown="it answers 500")
    observed = Observed((Link(1, "lo"), Link(2, "eth1")), (Seen(ADDRESS, 16),))

    assert subnets[: 2 if routers else 1] == profile_of(section, "eth1", {"eth1": known}, observed, ()).subnets


#: A section that is named as the device of another section.
CROSSED = """
[interface.eth1]
mac = "06:00:00:00:00:02"
subnet = "10.0.2.0/24"
table = 200
[interface.wan]
mac = "06:00:00:00:00:01"
subnet = "10.0.1.0/24"
table = 100
"""
LINKS = Observed(links=(Link(1, "lo"), Link(2, "eth1", "06:00:00:00:00:01"), Link(3, "eth2", "06:00:00:00:00:02")))


@pytest.mark.parametrize(("name", "section"), [("eth1", "eth1"), ("eth2", "eth1"), ("wan", "wan"), ("eth9", "eth9")])
def test_a_sections_name_comes_before_a_devices(name: str, section: str) -> None:
    """Without a record too: [interface.eth1] is meant, although its MAC is that of the device eth2."""
    config = parse("agent.toml", CROSSED.encode())

    assert (interface(section),) == owners_meant([interface(name)], config, LINKS, State())


def test_what_a_command_holds_is_on_the_device_that_has_the_sections_mac() -> None:
    """The section's own name may be that of another device."""
    config = parse("agent.toml", CROSSED.encode())
    profiles = held_state(config, {}, LINKS, State()).profiles

    assert [("eth1", "eth2"), ("wan", "eth1")] == [(each.name, each.device) for each in profiles]


def test_nothing_is_desired_for_an_owner_that_was_reverted_by_hand() -> None:
    """The others keep their items, and without such an owner all do."""
    one, two = interface("eth1"), interface("eth2")
    state = DesiredState((Desired(one, (ADDRESS,)), Desired(two, (ADDRESS,))))

    assert [(), (ADDRESS,)] == [each.items for each in without(state, [one]).desired]
    assert state == without(state, [])
