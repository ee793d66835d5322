"""Is a document about this machine? What agrees, what differs, and what proves nothing."""

from __future__ import annotations

import pytest

from ec2ident.assess import AGREES, BINDING, DIFFERS, INCONCLUSIVE
from ec2ident.binding import Interfaces, bind
from ec2ident.proof.document import parse

from . import forge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from ec2ident.model import Fact

TAG = "i-0123456789abcdef0"
MAC = "06:00:00:00:00:01"
HERE = Interfaces(("127.0.0.1", "10.0.0.10", "2600:1f18::a"), (MAC,))


def facts(
    seen: dict[str, str] | None = None,
    here: Interfaces = HERE,
    mac: str | None = MAC,
    ipv6s: Collection[str] = (),
    machine: str = "aarch64",
    **fields: Any,
) -> dict[str, Fact]:
    """What was found about an m7g.large, by the check's name."""
    document = parse(forge.document(**fields))
    found = bind(document, seen or {}, machine, here, mac, ipv6s)
    return {one.name[len(BINDING) :]: one for one in found}


def test_everything_agrees_on_the_instance_itself() -> None:
    """Board tag, type, architecture, private address and MAC."""
    found = facts({"board_asset_tag": TAG, "product_name": "m7g.large"})

    assert ["instance-id", "instance-type", "architecture", "address", "mac"] == list(found)
    assert {AGREES} == {one.value for one in found.values()}


def test_interfaces_that_cannot_be_listed_are_unknown() -> None:
    """Neither here nor elsewhere: the fact says that it is unknown, and the MAC is not compared at all."""
    found = facts(here=Interfaces(unknown="psutil cannot be loaded"))

    assert (None, "psutil cannot be loaded") == (found["address"].value, found["address"].unknown)
    assert "mac" not in found


def test_an_address_that_is_not_here_proves_nothing() -> None:
    """It may be a container's host's: no agreement, and no difference either."""
    found = facts(here=Interfaces(("172.17.0.2",), ()))

    assert INCONCLUSIVE == found["address"].value
    assert "10.0.0.10 is on no local interface" in found["address"].detail


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "i686"])
def test_another_architecture_is_not_another_machine(machine: str) -> None:
    """Rosetta and qemu-user show a processor that the machine does not have (munki#1061, rustup#3438)."""
    found = facts({"board_asset_tag": TAG}, machine=machine)

    assert (AGREES, INCONCLUSIVE) == (found["instance-id"].value, found["architecture"].value)
    assert f"document says arm64, kernel {machine}" in found["architecture"].detail


@pytest.mark.parametrize(
    ("ipv6s", "value"),
    [(["2600:1f18::b", "2600:1F18:0:0::A"], AGREES), (["2600:1f18::b"], INCONCLUSIVE), (["nonsense"], INCONCLUSIVE)],
)
def test_an_ipv6_only_instance_is_compared_by_the_addresses_that_the_service_names(
    ipv6s: list[str], value: str
) -> None:
    """Its document has no address (prometheus#16047). An address is the same however it is written."""
    found = facts({"board_asset_tag": TAG}, ipv6s=ipv6s, privateIp=None)

    assert (AGREES, value, AGREES) == (found["instance-id"].value, found["ipv6"].value, found["mac"].value)
    assert "address" not in found


def test_the_services_addresses_do_not_count_where_the_document_has_one() -> None:
    """The document's is signed."""
    assert "ipv6" not in facts(ipv6s=["2600:1f18::a"])


@pytest.mark.parametrize("mac", ["06:00:00:00:00:02", "06:00:00:00:00:0", ""])
def test_a_mac_that_is_not_here_proves_nothing(mac: str) -> None:
    """One digit away, or no MAC address."""
    assert INCONCLUSIVE == facts(mac=mac)["mac"].value


@pytest.mark.parametrize("mac", ["06:00:00:00:00:01\n", "06:00:00:00:00:0A"])
def test_a_mac_is_compared_whatever_its_letters(mac: str) -> None:
    """The metadata service writes lower case and colons, Windows upper case and dashes."""
    here = Interfaces(macs=("02:00:00:00:00:00", mac.strip().upper().replace(":", "-")))

    assert AGREES == facts(mac=mac, here=here)["mac"].value


@pytest.mark.parametrize(
    "seen",
    [{}, {"board_asset_tag": "Not Specified"}, {"board_asset_tag": ""}, {"product_name": "HVM domU"}],
)
def test_firmware_that_names_no_instance_is_not_compared(seen: dict[str, str]) -> None:
    """Xen instances have no tag, and their product is not an instance type: nothing differs."""
    assert {"architecture", "address", "mac"} == set(facts(seen))


def test_a_document_without_a_type_or_an_architecture_is_not_compared_by_it() -> None:
    """An optional field that is absent differs from nothing."""
    assert "instance-type" not in facts({"product_name": "m7g.large"}, instanceType=None)
    assert "architecture" not in facts({}, architecture=None)


def test_a_board_tag_of_another_instance_differs() -> None:
    """One digit away, with both values."""
    (found,) = (one for name, one in facts({"board_asset_tag": TAG[:-1] + "1"}).items() if name == "instance-id")

    assert DIFFERS == found.value
    assert f"document says {TAG}, firmware {TAG[:-1]}1" == found.detail
