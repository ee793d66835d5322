"""What the metadata service says of one interface: a value, none, or unknown, and never a guess. Pure.

After a hot attach the service learns late of an interface: for seconds it does not list the MAC, then single items are
missing below it, and a device number reads 0, which is another interface's. So in an answer that lacks something a
missing item does not mean "none", and `fact_source` asks again.

Items: "Instance metadata categories" in the Amazon EC2 User Guide.
"""

from __future__ import annotations

from ec2ident.value import Value

from .inet import prefix, single
from .items import family
from .profile import Facts, default_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .items import Observed

    #: Item -> its values, () for none. An item that is not in it is unknown.
    Said = Mapping[str, tuple[str, ...]]
    #: A device: its MAC, and its index, which another attach changes.
    Key = tuple[str, int]

#: More lines than any interface has addresses: a longer text is not from EC2.
LINES = 2000
#: Seconds for which an answer is good without asking again, and for which an incomplete one is.
FRESH, EAGER = 60.0, 1.0


def small_number(text: str) -> str:
    """A device number or a card. Raises ValueError from 100 on: the table would be that of another card."""
    if not (text.isascii() and text.isdigit() and int(text) < 100):
        raise ValueError(f"{text[:40]!r} is not a number below 100")
    return str(int(text))


def checked_family(version: int, read: Callable[[str], str]) -> Callable[[str], str]:
    """`read`, for addresses of one IP version. What it returns raises ValueError for the other version."""

    def checked(text: str) -> str:
        found = read(text)
        if family(found) != version:
            raise ValueError(f"{text} is not IPv{version}")
        return found

    return checked


CARD, NUMBER = "network-card", "device-number"
SUBNETS = ("subnet-ipv4-cidr-block", "subnet-ipv6-cidr-blocks")
ADDRESSES = ("local-ipv4s", "ipv6s", "ipv4-prefix", "ipv6-prefix")
VPC = ("vpc-ipv4-cidr-blocks", "vpc-ipv6-cidr-blocks")
#: The items that are asked for, and how a line of each answer is read. Each reader raises ValueError.
ITEMS: Mapping[str, Callable[[str], str]] = {
    NUMBER: small_number,
    CARD: small_number,
    **{name: checked_family(version, prefix) for name, version in zip(SUBNETS, (4, 6))},
    **{name: checked_family(version, prefix) for name, version in zip(VPC, (4, 6))},
    **{
        name: checked_family(version, read)
        for name, version, read in zip(ADDRESSES, (4, 6, 4, 6), (single, single, prefix, prefix))
    },
}


class FactsAnswer(Value):
    """What the service said of one device, and why the last request did not bring all of it."""

    said: tuple[tuple[str, tuple[str, ...]], ...] = ()
    why: str = ""
    #: When the last request brought everything, in seconds since the epoch; 0 for never.
    at: int = 0
    listed: bool = False
    primary: bool = False

    @property
    def lacks(self) -> str:
        """What every interface has and this answer lacks; empty if it lacks nothing."""
        said = dict(self.said)
        if not self.listed:
            return "the interface is not listed"
        unknown = [name for name in ITEMS if name not in said]
        if unknown:
            return f"{unknown[0]} is not known"
        if table(said, self.primary) is None:
            return f"{NUMBER} is {' '.join(said[NUMBER]) or 'missing'}, as before it is known"
        if not any(said[name] for name in SUBNETS):
            return "it has no subnet, as before it is known"
        return ""

    @property
    def again(self) -> tuple[str, ...]:
        """Items still missing, to be requested again immediately."""
        said = dict(self.said)
        placed = table(said, self.primary) is not None
        return tuple(name for name in ITEMS if not said.get(name) or (name in (NUMBER, CARD) and not placed))


def read_item(name: str, text: str | None) -> tuple[str, ...]:
    """An item's values in canonical form; none for None, which is a 404. Raises ValueError for anything else."""
    if text is None:
        return ()
    lines = text.splitlines()
    if not 0 < len(lines) <= LINES:
        raise ValueError(f"{name}: {len(lines)} lines" if lines else f"{name}: empty, as before it is known")
    try:
        return tuple(dict.fromkeys(map(ITEMS[name], lines)))
    except ValueError as wrong:
        raise ValueError(f"{name}: {str(wrong)[:100]!r}") from None


def together(earlier: Said, now: Said) -> tuple[Said, str]:
    """Merge the earlier and the present answers. A missing key means that the item was not read.

    Returns the merge, and the reason why it is incomplete. A 404 means "none" only from a service that knows the
    interface: if an item is missing that every interface has, others may be missing for the same reason.
    """
    late = next((name for name, values in now.items() if not values and needed(name, earlier, now)), "")
    if not late:
        return {**earlier, **now}, ""
    there = {name: values for name, values in now.items() if values}
    return {**earlier, **there}, f"{late}: missing, as before it is known"


def needed(name: str, earlier: Said, now: Said) -> bool:
    """True if the item is always present on this interface.

    Every interface has a device number, a range of its VPC, and in an IPv4 subnet an address; its card and its IPv4
    subnet do not change while it is attached.
    """
    if name == ADDRESSES[0]:
        return bool(now.get(SUBNETS[0]) or earlier.get(SUBNETS[0]))
    return name in (NUMBER, VPC[0]) or (name in (CARD, SUBNETS[0]) and bool(earlier.get(name)))


def table(said: Said, primary: bool) -> int | None:
    """The number of the interface's routing table; None while card and device number are unknown.

    A device number is unique on its network card only. 0 is the primary interface's on the first card, and what the
    service says of every interface before it knows better. No item for the card means that there is one card.
    """
    device, card = said.get(NUMBER), said.get(CARD)
    if not device or card is None:
        return None
    numbers = int(card[0]) if card else 0, int(device[0])
    return default_table(*numbers) if primary or any(numbers) else None


def facts_from(device: str, answer: FactsAnswer, kernel: Facts) -> Facts:
    """An answer as facts. The IPv6 router is the kernel's knowledge, since it advertises itself. Pure."""
    said = dict(answer.said)

    def all_of(names: Iterable[str]) -> tuple[str, ...] | None:
        """None if one is unknown, or if there are none at all: an interface has a subnet and addresses."""
        found = [said.get(name) for name in names]
        return None if None in found else tuple(value for each in found for value in each or ()) or None

    return Facts(
        device,
        subnets=all_of(SUBNETS),
        routers=kernel.routers,
        addresses=all_of(ADDRESSES),
        vpc=all_of(VPC),
        table=table(said, answer.primary),
        unknown=answer.why or answer.lacks,
        primary=answer.primary if answer.listed else None,
    )


def others_from(key: Key, answers: Mapping[Key, FactsAnswer], observed: Observed) -> tuple[Facts, ...]:
    """What was said of every other interface of the instance that is listed. Pure.

    One without a link on this node is under index 0, and goes by its MAC: it was attached just now, or is in another
    network namespace.
    """
    names = {(link.mac, link.index): link.name for link in observed.links}
    macs = {link.mac for link in observed.links}
    found = [
        facts_from(names.get(one, one[0]), answer, Facts(names.get(one, one[0])))
        for one, answer in answers.items()
        if one != key and answer.listed and (one in names or (one[1] == 0 and one[0] not in macs))
    ]
    return tuple(found)
