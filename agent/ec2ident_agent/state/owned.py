"""Which items the agent has added, for which owner, and who asked for them. Pure; `journal` keeps them in a file."""

from __future__ import annotations

from ec2ident.value import Value, replace
from ec2ident_agent.items import Address, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ec2ident_agent.items import Item, Observed

INTERFACE, OVERLAY = "interface", "overlay"

#: Who asked for an item: the configuration, which is read again at each apply, or a command, which holds until it is
#: reverted. LEAVING: no longer desired, but the item may still be on the node. ADOPTING: an equal object of another
#: program is being taken over, beside the item's own record.
CONFIG, COMMAND, LEAVING, ADOPTING = "config", "command", "leaving", "adopting"


class Owner(Value):
    """What an item is for: an interface, by its section's name, or an overlay address ("192.168.10.10/32")."""

    kind: str
    name: str

    def __str__(self) -> str:
        return self.name if self.kind == INTERFACE else f"{self.kind} {self.name}"


def interface(name: str) -> Owner:
    """The owner of an interface's profile: the section's name, which is the device's unless it names a MAC."""
    return Owner(INTERFACE, name)


def overlay(address: str) -> Owner:
    """The owner of an overlay address, in canonical form ("192.168.10.10/32")."""
    return Owner(OVERLAY, address)


class Record(Value):
    """One item that the agent added: its owner, who asked for it, and the index of its device (0 for none)."""

    owner: Owner
    origin: str
    index: int
    item: Item


class State(Value):
    """All that the agent added."""

    records: tuple[Record, ...] = ()

    def by_owner(self) -> dict[Owner, tuple[Item, ...]]:
        """The items of each owner that has any, without those that are on their way out."""
        return _by_owner(each for each in self.records if each.origin != LEAVING)

    @property
    def adopting(self) -> frozenset[Item]:
        """The items for which equal objects of another program are being taken over."""
        return frozenset(each.item for each in self.records if each.origin == ADOPTING)

    def held(self, besides: Collection[Owner] = ()) -> dict[Owner, tuple[Item, ...]]:
        """The items that commands asked for, by owner: they stay until they are reverted, whatever the configuration
        says.
        """
        return _by_owner(each for each in self.records if each.origin == COMMAND and each.owner not in besides)

    def follow(self, observed: Observed) -> State:
        """The same with each device under its present name: a rename keeps the device's index."""
        names = {link.index: link.name for link in observed.links}

        def now(record: Record) -> Record:
            name = names.get(record.index)
            if not name or not isinstance(record.item, (Address, Route)) or record.item.device == name:
                return record
            return replace(record, item=replace(record.item, device=name))

        return State(tuple(map(now, self.records)))


def _by_owner(records: Iterable[Record]) -> dict[Owner, tuple[Item, ...]]:
    found: dict[Owner, list[Item]] = {}
    for record in records:
        found.setdefault(record.owner, []).append(record.item)
    return {owner: tuple(items) for owner, items in found.items()}
