"""The desired state as a value: who is absent, and what a part of the configuration needs."""

from __future__ import annotations

from ec2ident_agent import interface
from ec2ident_agent.config import parse
from ec2ident_agent.desired import Desired, DesiredState, Refusal, Unknown, narrow
from ec2ident_agent.items import Address, Link, Observed
from ec2ident_agent.state.owned import overlay

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
