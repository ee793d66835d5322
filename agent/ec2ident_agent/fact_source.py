"""A facts provider that asks the metadata service, and waits for what the service does not know yet.

It asks only when the last answer is old or incomplete. Waiting has a budget in seconds, and is shown.
"""

from __future__ import annotations

from time import monotonic, sleep, time

from ec2ident.value import replace

from .fact_cache import path_in, read_cache, update_cache
from .facts import CARD, EAGER, FRESH, ITEMS, FactsAnswer, facts_from, others_from, read_item, together
from .inet import is_mac
from .profile import Facts, kernel_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ec2ident import Imds

    from .facts import Key
    from .items import Observed

MACS = "meta-data/network/interfaces/macs/"
PRIMARY = "meta-data/mac"
#: Seconds for one interface, with all its items.
PATIENCE = 2.0
#: Seconds between two requests while waiting: the first pause, and the longest.
PAUSE, LONGEST = 0.2, 1.0


class FactSource:
    """`source(device, observed)` returns the facts of a device. It asks when the last answer is older than `fresh`.

    `directory` is the state directory. `fresh` and `wait` are in seconds; `wait` is for all interfaces together: how
    long to wait for an interface that the service does not know in full yet. `say` gets a line for people. `earned`
    tells whether this machine is EC2 by its firmware: a service that does not answer at all is waited for only then, or
    if it has answered before.
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
        self.path = path_in(directory)
        self.imds, self.fresh, self.wait, self.say = imds, fresh, wait, say
        self.earned, self.now, self.sleep = earned or is_ec2, now, sleep
        self._known: dict[Key, FactsAnswer] | None = None
        #: When a device was last asked about in this process.
        self._asked: dict[Key, float] = {}
        self._began: float | None = None
        self._primary = ""
        #: The MACs that the service lists; None until it has answered.
        self._listed: set[str] | None = None
        #: True if the first interface has a card number: then every interface has one, sooner or later.
        self._cards: bool | None = None
        #: Why the last request to the service failed altogether, when, and whether another may succeed.
        self._failed: tuple[str, float, bool] | None = None
        #: Interfaces for which the failure was logged already.
        self._failing: set[str] = set()

    def __call__(self, device: str, observed: Observed) -> Facts:
        """What is known of a device. A fact that is unknown is None, and `unknown` says why."""
        link, kernel = observed.link(device), kernel_facts(device, observed)
        if link is None or not link.mac:
            return kernel
        if self._known is None:
            self._known = read_cache(self.path)
        key = (link.mac, link.index)
        answer = self._known.get(key, FactsAnswer())
        if not self._good(key, answer):
            answer = self._ask(device, link.mac, answer)
            self._keep(key, answer, observed)
            self._ask_about_others(link.mac, observed)
        return replace(facts_from(device, answer, kernel), others=others_from(key, self._known, observed))

    def _keep(self, key: Key, answer: FactsAnswer, observed: Observed) -> None:
        """Keep an answer, here and in the file, and forget those of interfaces that are gone."""
        assert self._known is not None
        self._asked[key] = self.now()
        there = {(each.mac, each.index) for each in observed.links}
        absent = self._listed if self._listed is not None else {mac for mac, index in self._known if index == 0}
        there |= {(mac, 0) for mac in absent - {each.mac for each in observed.links}}
        self._known = {one: each for one, each in {**self._known, key: answer}.items() if one in there}
        update_cache(self.path, key, answer, there)

    def _ask_about_others(self, mine: str, observed: Observed) -> None:
        """Ask once about every other interface that the service lists: it may share this one's subnet, and have no
        address on the node yet. Nothing of it is waited for.
        """
        for mac in sorted((self._listed or set()) - {mine}):
            if self._failed:
                return
            link = observed.device_of(mac)
            key = (mac, link.index if link else 0)
            before = (self._known or {}).get(key, FactsAnswer())
            if key not in self._asked and not self._good(key, before):
                answer = self._read(mac, before, ITEMS, int(self.now()), monotonic() + PATIENCE)
                self._keep(key, answer, observed)
                # If the configuration names it too, its own turn waits for what is missing.
                if answer.lacks:
                    del self._asked[key]

    def _good(self, key: Key, answer: FactsAnswer) -> bool:
        """True if no request is needed. Within one process a failure is not repeated at once."""
        if key in self._asked:
            return 0 <= self.now() - self._asked[key] < (EAGER if answer.lacks or answer.why else FRESH)
        return not answer.lacks and 0 <= self.now() - answer.at < self.fresh

    def _ask(self, device: str, mac: str, answer: FactsAnswer) -> FactsAnswer:
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
            self.say(f"{device}: {answer.why}; its answer of {self.now() - answer.at:.0f} s ago stays in force")
        return answer

    def _once(self, mac: str, before: FactsAnswer, names: Iterable[str]) -> tuple[FactsAnswer, bool]:
        """Request these items once. Returns the answer, and whether another request may bring more.

        An item that could not be read is as it was before.
        """
        from ec2ident import Imds, ImdsError
        from ec2ident.imds.client import PASSES

        if self._failed and 0 <= self.now() - self._failed[1] < EAGER:
            # Otherwise a silent service would cost each interface the whole time-out.
            return replace(before, why=self._failed[0]), self._failed[2]
        asked, until = int(self.now()), monotonic() + PATIENCE
        self.imds = self.imds or Imds(use_requests=False)
        try:
            self._primary = self._primary or (self.imds.get(PRIMARY, deadline=until) or "").strip().lower()
            listing = (self.imds.get(MACS, deadline=until) or "").lower().replace("/", "").split()
        except ImdsError as failed:
            self._failed = (str(failed), self.now(), failed.reason in PASSES and self._is_there())
            return replace(before, why=str(failed)), self._failed[2]
        self._listed = {each for each in listing if is_mac(each)}
        if mac not in listing:
            return replace(before, why=f"{MACS} does not list {mac}" if before.listed else ""), True
        return self._read(mac, before, names, asked, until), True

    def _read(self, mac: str, before: FactsAnswer, names: Iterable[str], asked: int, until: float) -> FactsAnswer:
        """Request these items of an interface that the service lists."""
        from ec2ident import ImdsError

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
        return FactsAnswer(tuple(said.items()), why, before.at if why else asked, True, mac == self._primary)

    def _is_there(self) -> bool:
        """True if this node has a metadata service: it has answered since boot, or the firmware says EC2."""
        return any(answer.listed for answer in (self._known or {}).values()) or self.earned()

    def _item(self, mac: str, name: str, until: float) -> tuple[str, ...]:
        """One item's values. Raises ImdsError, and ValueError for an answer that makes no sense."""
        assert self.imds
        return read_item(name, self.imds.get(f"{MACS}{mac}/{name}", deadline=until))

    def _has_cards(self, until: float) -> bool:
        """True if this instance has several network cards. Raises as `_item`."""
        if self._cards is None:
            self._cards = bool(self._primary and self._item(self._primary, CARD, until))
        return self._cards


def is_ec2() -> bool:
    """True if this machine's firmware says EC2; no packet is sent."""
    from ec2ident import Level, detect

    return bool(detect(Level.CLAIM, network=False))
