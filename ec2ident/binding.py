"""Is a proven document about this very machine? Each check compares one field with one local fact.

A document verifies for ever, wherever it is copied to. Two things tie it to a machine: what the hypervisor shows to
that machine alone (the board's asset tag and product name on Nitro), and the addresses and hardware of its interfaces.
"""

from __future__ import annotations

from .assess import AGREES, BINDING, DIFFERS, INCONCLUSIVE
from .firmware import instance_id, instance_type
from .model import Fact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .model import IdentityDocument

#: How the document names an architecture, by the kernel's name for it. mac2 instances are arm64_mac, mac1 x86_64_mac.
ARCHITECTURES = {
    "x86_64": ("x86_64", "x86_64_mac", "i386"),
    "amd64": ("x86_64", "x86_64_mac", "i386"),
    "i686": ("i386", "x86_64"),
    "i386": ("i386", "x86_64"),
    "aarch64": ("arm64",),
    "arm64": ("arm64", "arm64_mac"),
}


class Interfaces:
    """The addresses and MACs of this machine's interfaces; `unknown` says why they could not be listed."""

    def __init__(self, addresses: Collection[str] = (), macs: Collection[str] = (), unknown: str = "") -> None:
        self.addresses = {_canonical(one) for one in addresses}
        self.macs = {one.lower().replace("-", ":") for one in macs}
        self.unknown = unknown


def bind(
    document: IdentityDocument,
    seen: Mapping[str, str],
    machine: str,
    here: Interfaces,
    mac: str | None,
    ipv6s: Collection[str] = (),
) -> tuple[Fact, ...]:
    """A fact for each check that could be made, with the value `agrees`, `differs` or `inconclusive`.

    `seen` are local facts by name, `machine` is the kernel's architecture, `here` this machine's interfaces. `mac` and
    `ipv6s` are what the metadata service says of the primary interface; they are not signed, so they confirm and never
    tie: the document of an IPv6-only instance has no address, so its board tag ties it. `differs` is only for what no
    honest machine shows: another board tag or type. An address that is not here may be a container's host's, and an
    architecture may be that of an emulator (Rosetta, qemu-user): those are inconclusive.
    """
    found = []
    for name, stated, local, form in (
        ("instance-id", document.instance_id, seen.get("board_asset_tag"), instance_id),
        ("instance-type", document.instance_type, seen.get("product_name"), instance_type),
    ):
        if stated and local is not None and form(local):
            otherwise = DIFFERS if form(stated) else INCONCLUSIVE  # another form is not another machine
            found.append(_check(name, stated == local, f"document says {stated}, firmware {local}", otherwise))
    known = ARCHITECTURES.get(machine.lower())
    if known and document.architecture:
        says = f"document says {document.architecture}, kernel {machine}"
        agrees = document.architecture in known
        found.append(_check("architecture", agrees, says if agrees else f"{says} (translated or emulated?)"))
    if here.unknown:
        found.append(Fact(f"{BINDING}address", source=_SOURCE, unknown=here.unknown))
        return tuple(found)
    found += _addresses(document, here, ipv6s)
    if mac is not None:
        mac = mac.strip().lower()
        found.append(_local("mac", mac in here.macs, f"MAC {mac!r}"))
    return tuple(found)


_SOURCE = "identity document, local facts"


def _addresses(document: IdentityDocument, here: Interfaces, ipv6s: Collection[str]) -> list[Fact]:
    address = document.private_ip
    if address is not None:
        return [_local("address", _canonical(str(address)) in here.addresses, f"private address {address}")]
    # An IPv6-only instance: the document has no address.
    if ipv6s:
        shown = next((one for one in ipv6s if _canonical(one) in here.addresses), next(iter(ipv6s)))
        return [_local("ipv6", _canonical(shown) in here.addresses, f"IPv6 address {shown[:64]!r}")]
    return []


def _check(name: str, agrees: bool, says: str, otherwise: str = INCONCLUSIVE) -> Fact:
    return Fact(f"{BINDING}{name}", AGREES if agrees else otherwise, _SOURCE, detail=says)


def _local(name: str, here: bool, what: str) -> Fact:
    where = "on a local interface" if here else "on no local interface (a container has interfaces of its own)"
    return _check(name, here, f"{what} is {where}")


def _canonical(address: str) -> str:
    """An address as one text, however it was written; another text as it is."""
    from ipaddress import ip_address

    try:
        return str(ip_address(address.strip()))
    except ValueError:
        return address
