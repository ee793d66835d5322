"""What is worth a note, as values."""

from __future__ import annotations

import pytest

from ec2ident_agent.items import Address, Observed, Route, Seen
from ec2ident_agent.notes import not_held
from ec2ident_agent.profile import Facts, Section, resolve


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, ""),
        (2, "10.0.1.11 belongs to its ENI and is on no interface of this node"),
        (3, "10.0.1.11, 10.0.1.12 belong to its ENI and are on no interface of this node"),
        (5, "10.0.1.11, 10.0.1.12, 10.0.1.13, 10.0.1.14 belong to its ENI"),
        (7, "10.0.1.11, 10.0.1.12, 10.0.1.13, 10.0.1.14 and 2 more belong to its ENI"),
    ],
)
def test_of_many_addresses_that_answer_nothing_the_first_are_named(count: int, said: str) -> None:
    """An interface may have 50 addresses: a line names four of them, and how many there are beside these."""
    section = Section("eth1", subnets=("10.0.1.0/24",), routers=("10.0.1.1",), table=100)
    addresses = tuple(f"10.0.1.{number}/32" for number in range(10, 10 + count))
    profile = resolve(section, Facts("eth1", addresses=addresses))
    found = [str(note) for note in not_held([profile], Observed((), (Seen(Address("eth1", "10.0.1.10/24"), 16),)))]

    assert bool(said) == bool(found)
    assert all(said in text for text in found), found


@pytest.mark.parametrize(("there", "said"), [("10.0.1.17/32", []), ("10.0.1.33/32", ["10.0.1.16/28 is delegated"])])
def test_any_address_in_a_delegated_prefix_uses_it(there: str, said: list[str]) -> None:
    """Its first address is one like the others, and may be on no interface."""
    section = Section("eth1", subnets=("10.0.1.0/24",), routers=("10.0.1.1",), table=100)
    profile = resolve(section, Facts("eth1", addresses=("10.0.1.10/32", "10.0.1.16/28")))
    items = (Address("eth1", "10.0.1.10/24"), Address("eth1", there), Route("10.0.1.0/24", "eth1", 254))
    observed = Observed((), tuple(Seen(each, 16) for each in items))

    assert said == [str(note)[:25] for note in not_held([profile], observed)]
