"""Is a document about this machine? What agrees, what differs, and what proves nothing."""

from __future__ import annotations

import pytest

from ec2ident.assess import AGREES, BINDING
from ec2ident.binding import bind
from ec2ident.document import parse

from . import forge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from ec2ident.model import Fact

TAG = "i-0123456789abcdef0"
HERE = ("10.0.0.10",)
MAC = "06:00:00:00:00:01"


def facts(
    seen: dict[str, str] | None = None,
    addresses: Collection[str] | None = HERE,
    mac: str | None = MAC,
    macs: Collection[str] = (MAC,),
    **fields: Any,
) -> dict[str, Fact]:
    """What was found about an m7g.large, by the check's name."""
    document = parse(forge.document(**fields))
    found = bind(document, seen or {}, "aarch64", addresses, macs, mac)
    return {one.name[len(BINDING) :]: one for one in found}


def test_everything_agrees_on_the_instance_itself() -> None:
    """Board tag, type, architecture, private address and MAC."""
    found = facts({"board_asset_tag": TAG, "product_name": "m7g.large"})

    assert ["instance-id", "instance-type", "architecture", "address", "mac"] == list(found)
    assert {AGREES} == {one.value for one in found.values()}


def test_interfaces_that_cannot_be_listed_are_unknown() -> None:
    """Neither here nor elsewhere: the fact says that it is unknown, and the MAC is not compared at all."""
    found = facts(addresses=None)

    assert (None, "interfaces could not be listed") == (found["address"].value, found["address"].unknown)
    assert "mac" not in found


def test_an_address_that_is_not_here_proves_nothing() -> None:
    """It may be a container's host's: no agreement, and no difference either."""
    found = facts(addresses=("172.17.0.2",))

    assert (None, None) == (found["address"].value, found["address"].unknown)
    assert "10.0.0.10 is on no local interface" in found["address"].source


@pytest.mark.parametrize("mac", ["06:00:00:00:00:02", "06:00:00:00:00:0", ""])
def test_a_mac_that_is_not_here_proves_nothing(mac: str) -> None:
    """One digit away, or no MAC address."""
    assert facts(mac=mac)["mac"].value is None


@pytest.mark.parametrize("mac", ["06:00:00:00:00:01\n", "06:00:00:00:00:0A"])
def test_a_mac_is_compared_whatever_its_letters(mac: str) -> None:
    """The metadata service writes lower case and colons, Windows upper case and dashes."""
    here = mac.strip().upper().replace(":", "-")

    assert AGREES == facts(mac=mac, macs=("02:00:00:00:00:00", here))["mac"].value


@pytest.mark.parametrize(
    "seen",
    [{}, {"board_asset_tag": "Not Specified"}, {"board_asset_tag": ""}, {"product_name": "HVM domU"}],
)
def test_firmware_that_names_no_instance_is_not_compared(seen: dict[str, str]) -> None:
    """Xen instances have no tag, and their product is no instance type: nothing differs."""
    assert {"architecture", "address", "mac"} == set(facts(seen))


def test_a_board_tag_of_another_instance_differs() -> None:
    """One digit away, with both values."""
    (found,) = (one for name, one in facts({"board_asset_tag": TAG[:-1] + "1"}).items() if name == "instance-id")

    assert "differs" == found.value
    assert f"document says {TAG}, firmware {TAG[:-1]}1" == found.source
