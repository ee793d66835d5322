"""Is a proven document about this very machine? Each check compares one field with one local fact.

A document verifies for ever, wherever it is copied to. What ties it to a machine is what the hypervisor shows to that
machine alone: the board's asset tag and product name on Nitro, the addresses and hardware of its interfaces.
"""

from __future__ import annotations

from .assess import AGREES, BINDING, DIFFERS
from .firmware import instance_id, instance_type
from .model import Fact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .model import IdentityDocument

#: How the document names an architecture, by what kernels call it. mac2 instances are arm64_mac, mac1 x86_64_mac.
ARCHITECTURES = {
    "x86_64": ("x86_64", "x86_64_mac", "i386"),
    "amd64": ("x86_64", "x86_64_mac", "i386"),
    "i686": ("i386", "x86_64"),
    "i386": ("i386", "x86_64"),
    "aarch64": ("arm64",),
    "arm64": ("arm64", "arm64_mac"),
}


def bind(
    document: IdentityDocument,
    seen: Mapping[str, str],
    machine: str,
    addresses: Collection[str] | None,
    macs: Collection[str],
    mac: str | None,
) -> tuple[Fact, ...]:
    """A fact for each check that could be made: `agrees`, `differs`, or neither where it proves nothing.

    `seen` are local facts by name, `addresses` and `macs` those of this machine's interfaces (None: could not be
    listed), `mac` what the metadata service says. An address that is not here may be a container's host's, so it only
    leaves the proof unbound; a board tag that differs is another machine's.
    """
    found = []
    for name, theirs, ours, form in (
        ("instance-id", document.instance_id, seen.get("board_asset_tag"), instance_id),
        ("instance-type", document.instance_type, seen.get("product_name"), instance_type),
    ):
        if theirs is not None and ours is not None and form(ours):
            found.append(_check(name, theirs == ours, f"document says {theirs}, firmware {ours}"))
    known = ARCHITECTURES.get(machine.lower())
    if known and document.architecture is not None:
        says = f"document says {document.architecture}, kernel {machine}"
        found.append(_check("architecture", document.architecture in known, says))
    found.append(_address(document, addresses))
    if mac is not None and addresses is not None:
        here = mac.strip().lower() in {one.lower().replace("-", ":") for one in macs}
        found.append(Fact(f"{BINDING}mac", AGREES if here else None, f"MAC {mac.strip()!r} is {_here(here)}"))
    return tuple(found)


def _check(name: str, agrees: bool, says: str) -> Fact:
    return Fact(f"{BINDING}{name}", AGREES if agrees else DIFFERS, says)


def _address(document: IdentityDocument, addresses: Collection[str] | None) -> Fact:
    name, address = f"{BINDING}address", document.private_ip
    if address is None:
        return Fact(name, None, "the document has no private address", unknown="no private address")
    if addresses is None:
        return Fact(name, None, "local interfaces could not be listed", unknown="interfaces could not be listed")
    here = str(address) in addresses
    return Fact(name, AGREES if here else None, f"private address {address} is {_here(here)}")


def _here(here: bool) -> str:
    return "on a local interface" if here else "on no local interface (a container's are its own)"
