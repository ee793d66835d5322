"""What the metadata service says of each interface, by its MAC: a value, none, or unknown, and never a guess.

After a hot attach the service learns late: for seconds it does not list the MAC, then single items are missing below
it, and a device number reads 0, which is another interface's. So an answer that lacks something is not taken for
"none", and whoever has time waits for the rest, with a budget that is shown.

What was said is kept beside the journal. It is good for a minute, so that a monitor costs no request, and when the
service fails what it said last goes on to count: unknown never removes.

Items: "Instance metadata categories" in the Amazon EC2 User Guide.
"""

from __future__ import annotations

import os
from time import monotonic, sleep, time

from ec2ident.value import Value, replace

from .errors import AgentError
from .inet import prefix, single
from .items import family
from .profile import Facts, default_table, kernel_facts
from .state import statefile
from .state.journal import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ec2ident import Imds

    from .items import Observed

    #: Item -> its values, () for none; one that is not there is unknown.
    Said = Mapping[str, tuple[str, ...]]
    #: A device: its MAC, and its index, which another attach changes.
    Key = tuple[str, int]

KIND, VERSION = "ec2ident-facts", 1
MACS = "meta-data/network/interfaces/macs/"
PRIMARY = "meta-data/mac"
#: More lines than any interface has addresses; whatever is longer is not from EC2.
LINES = 2000
#: Seconds for which what was said is good without asking again, and for what is not all there yet.
FRESH, EAGER = 60.0, 1.0
#: Seconds for one interface, with all its items.
PATIENCE = 2.0
#: Seconds between two questions while waiting: the first pause, and the longest.
PAUSE, LONGEST = 0.2, 1.0


def number(text: str) -> str:
    """A device number or a card: small, or it would be another's table."""
    if not (text.isascii() and text.isdigit() and int(text) < 100):
        raise ValueError(f"{text[:40]!r} is no number below 100")
    return str(int(text))


def of(version: int, read: Callable[[str], str]) -> Callable[[str], str]:
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
#: What is asked of an interface, and how a line of the answer is read. Each reader raises ValueError.
ITEMS: Mapping[str, Callable[[str], str]] = {
    NUMBER: number,
    CARD: number,
    **{name: of(version, prefix) for name, version in zip(SUBNETS, (4, 6))},
    **{name: of(version, prefix) for name, version in zip(VPC, (4, 6))},
    **{
        name: of(version, read)
        for name, version, read in zip(ADDRESSES, (4, 6, 4, 6), (single, single, prefix, prefix))
    },
}


class Answer(Value):
    """What was said of one device, and why not all of it this time."""

    said: tuple[tuple[str, tuple[str, ...]], ...] = ()
    why: str = ""
    #: Seconds since the epoch of the last time that nothing failed; 0 for never.
    at: int = 0
    listed: bool = False
    primary: bool = False

    @property
    def lacks(self) -> str:
        """What every interface has, and the service has not said of this one; empty for nothing."""
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
        """What is worth asking again at once: the rest was said."""
        said = dict(self.said)
        placed = table(said, self.primary) is not None
        return tuple(name for name in ITEMS if not said.get(name) or (name in (NUMBER, CARD) and not placed))


def read(name: str, text: str | None) -> tuple[str, ...]:
    """An item's values in canonical form; none where the service has no such item. Raises ValueError for all else."""
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
    """What counts when this was said earlier and that now, and why not all of it. What is not there was not read.

    "None" is an answer only from a service that knows the interface: where something is missing that every interface
    has, the rest may be missing for the same reason.
    """
    late = next((name for name, values in now.items() if not values and needed(name, earlier, now)), "")
    if not late:
        return {**earlier, **now}, ""
    there = {name: values for name, values in now.items() if values}
    return {**earlier, **there}, f"{late}: missing, as before it is known"


def needed(name: str, earlier: Said, now: Said) -> bool:
    """Has every interface this? A number, a range of its VPC, and in an IPv4 subnet an address; and on which card and
    in which IPv4 subnet it is does not change while it is attached.
    """
    if name == ADDRESSES[0]:
        return bool(now.get(SUBNETS[0]) or earlier.get(SUBNETS[0]))
    return name in (NUMBER, VPC[0]) or (name in (CARD, SUBNETS[0]) and bool(earlier.get(name)))


def table(said: Said, primary: bool) -> int | None:
    """The table's number: None while card and device number are not known.

    A device number is unique on its network card only. 0 is the primary's on the first card, and what the service says
    of every interface before it knows. No item for the card means that there is one card.
    """
    device, card = said.get(NUMBER), said.get(CARD)
    if not device or card is None:
        return None
    numbers = int(card[0]) if card else 0, int(device[0])
    return default_table(*numbers) if primary or any(numbers) else None


def facts_from(device: str, answer: Answer, kernel: Facts) -> Facts:
    """An answer as facts. The router of IPv6 is the kernel's knowledge: it advertises itself. Pure."""
    said = dict(answer.said)

    def all_of(names: Iterable[str]) -> tuple[str, ...] | None:
        """None where one is unknown, and where there are none at all: an interface has a subnet and addresses."""
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
    )


class Source:
    """Facts by device: `source(device, observed)`. Asks only when what was said is older than `fresh` seconds.

    `directory` is where to keep what was said; `wait` the seconds, for all interfaces together, to wait for one that
    the service does not know in full yet; `say` gets a line for people. `earned` tells whether this machine is EC2 by
    its firmware: only then, or when it has answered before, is a service waited for that does not answer at all.
    """

    def __init__(
        self,
        directory: str,
        imds: Imds | None = None,
        *,
        fresh: float = FRESH,
        wait: float = 0.0,
        say: Callable[[str], object] = lambda line: None,
        earned: Callable[[], bool] | None = None,
        now: Callable[[], float] = time,
        sleep: Callable[[float], object] = sleep,
    ) -> None:
        self.path = os.path.join(directory, "facts")
        self.imds, self.fresh, self.wait, self.say = imds, fresh, wait, say
        self.earned, self.now, self.sleep = earned or is_ec2, now, sleep
        self._known: dict[Key, Answer] | None = None
        #: When a device was last asked about in this process.
        self._asked: dict[Key, float] = {}
        self._began: float | None = None
        self._primary = ""
        #: Has the first interface a card number? Then every one has, and one without is not known yet.
        self._cards: bool | None = None
        #: Why the service as a whole failed when it was asked last, when, and whether that may pass.
        self._failed: tuple[str, float, bool] | None = None
        #: Interfaces of which it was said already that the service fails.
        self._failing: set[str] = set()

    def __call__(self, device: str, observed: Observed) -> Facts:
        """What is known of a device; what is not is None, and `unknown` says why."""
        link, kernel = observed.link(device), kernel_facts(device, observed)
        if link is None or not link.mac:
            return kernel
        if self._known is None:
            self._known = remembered(self.path)
        key = (link.mac, link.index)
        answer = self._known.get(key, Answer())
        if not self._good(key, answer):
            answer = self._ask(device, link.mac, answer)
            self._asked[key] = self.now()
            there = {(each.mac, each.index) for each in observed.links}
            self._known = {one: each for one, each in {**self._known, key: answer}.items() if one in there}
            keep(self.path, key, answer, there)
        return facts_from(device, answer, kernel)

    def _good(self, key: Key, answer: Answer) -> bool:
        """Need nobody be asked? In one process a failure is not repeated at once, and a success is for a minute."""
        if key in self._asked:
            return 0 <= self.now() - self._asked[key] < (EAGER if answer.lacks or answer.why else FRESH)
        return not answer.lacks and 0 <= self.now() - answer.at < self.fresh

    def _ask(self, device: str, mac: str, answer: Answer) -> Answer:
        """Ask, and ask again while there is time and something is missing."""
        began = self._began = self.now() if self._began is None else self._began
        pause, told, names = PAUSE, "", tuple(ITEMS)
        while True:
            answer, passes = self._once(mac, answer, names)
            spent, missing = self.now() - began, answer.lacks
            if not missing or spent + pause > self.wait or not passes:
                break
            missing = (answer.why or missing).removeprefix("metadata service: ")
            if missing != told:
                self.say(f"{device}: waiting for the metadata service: {missing} ({spent:.1f} s of {self.wait:g} s)")
            told = missing
            self.sleep(pause)
            pause, names, self._failed = min(1.5 * pause, LONGEST), answer.again, None
        if not answer.why:
            self._failing.discard(mac)
        elif not answer.lacks and mac not in self._failing:
            self._failing.add(mac)
            self.say(f"{device}: {answer.why}; what it said {self.now() - answer.at:.0f} s ago goes on to count")
        return answer

    def _once(self, mac: str, before: Answer, names: Iterable[str]) -> tuple[Answer, bool]:
        """These items once, and whether it may be better soon. What could not be read is what it was."""
        from ec2ident import Imds, ImdsError
        from ec2ident.imds import PASSES

        if self._failed and 0 <= self.now() - self._failed[1] < EAGER:
            # A service that is silent would cost each interface the whole time-out.
            return replace(before, why=self._failed[0]), self._failed[2]
        asked, until = int(self.now()), monotonic() + PATIENCE
        self.imds = self.imds or Imds()
        try:
            self._primary = self._primary or (self.imds.get(PRIMARY, deadline=until) or "").strip().lower()
            listing = (self.imds.get(MACS, deadline=until) or "").lower().replace("/", "").split()
        except ImdsError as failed:
            self._failed = (str(failed), self.now(), failed.reason in PASSES and self._is_there())
            return replace(before, why=str(failed)), self._failed[2]
        if mac not in listing:
            return replace(before, why=f"{MACS} does not list {mac}" if before.listed else ""), True
        now: dict[str, tuple[str, ...]] = {}
        why = ""
        for name in names:
            try:
                values = self._item(mac, name, until)
                new = name == CARD and CARD not in dict(before.said) and mac != self._primary
                if new and not values and self._has_cards(until):
                    raise ValueError(f"{CARD}: missing, as before it is known: the first interface has one")
                now[name] = values
            except (ValueError, ImdsError) as failed:
                why = why or (f"{name}: {failed}" if isinstance(failed, ImdsError) else str(failed))
                if monotonic() >= until:
                    self._failed = (why, self.now(), True)
                    break
        said, late = together(dict(before.said), now)
        why = why or late
        return Answer(tuple(said.items()), why, before.at if why else asked, True, mac == self._primary), True

    def _is_there(self) -> bool:
        """Has this node such a service? It has answered since the node booted, or the firmware says EC2."""
        return any(answer.listed for answer in (self._known or {}).values()) or self.earned()

    def _item(self, mac: str, name: str, until: float) -> tuple[str, ...]:
        """One item's values. Raises ImdsError, and ValueError for what makes no sense."""
        assert self.imds
        return read(name, self.imds.get(f"{MACS}{mac}/{name}", deadline=until))

    def _has_cards(self, until: float) -> bool:
        """Has this instance several network cards? Raises as `_item`."""
        if self._cards is None:
            self._cards = bool(self._primary and self._item(self._primary, CARD, until))
        return self._cards


def is_ec2() -> bool:
    """By this machine's firmware alone; no packet is sent."""
    from ec2ident import Level, detect

    return bool(detect(Level.CLAIM, network=False))


# -- what was said last -----------------------------------------------------------------------------------------------


def remembered(path: str) -> dict[Key, Answer]:
    """What `keep` wrote. What cannot be read, or is not ours, or makes no sense, is nothing: it is asked for anew."""
    found: dict[Key, Answer] = {}
    try:
        data = statefile.read(path)
        if data is None or os.stat(path, follow_symlinks=False).st_uid not in {0, os.geteuid()}:
            return {}
        for mac, index, at, flags, name, *values in statefile.unpack(KIND, VERSION, data):
            key = (mac, int(index))
            answer = found.get(key, Answer((), "", int(at), "l" in flags, "p" in flags))
            said = (*answer.said, (name, tuple(map(ITEMS[name], values)))) if name else answer.said
            found[key] = replace(answer, said=said)
    except (OSError, ValueError, KeyError):
        return {}
    return found


def keep(path: str, key: Key, answer: Answer, there: Collection[Key]) -> None:
    """Write down what was said of one device, beside what others wrote of those that are still there.

    Where that is not possible the next process asks anew.
    """
    directory, name = os.path.split(path)
    try:
        with Lock(directory, f"{name}.lock", patience=1.0):
            known = {**remembered(path), key: answer}
            lines = [line for one, each in known.items() if one in there for line in _lines(one, each)]
            statefile.write(path, statefile.pack(KIND, VERSION, lines))
    except (OSError, AgentError):
        return


def _lines(key: Key, answer: Answer) -> list[tuple[str, ...]]:
    flags = ("l" if answer.listed else "") + ("p" if answer.primary else "")
    head = (key[0], str(key[1]), str(answer.at), flags)
    return [(*head, name, *values) for name, values in (("", ()), *answer.said)]
