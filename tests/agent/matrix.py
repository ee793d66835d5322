"""Who mended what after which event, and how soon: measured beside a test, and shown as a table at the end of a run."""

from __future__ import annotations

import threading
import time

from ec2ident.value import replace
from ec2ident_agent.config import parse
from ec2ident_agent.items import OURS, Observed, Route
from ec2ident_agent.kernel.dump import Channel, observe
from ec2ident_agent.profile import Facts, free_labels, overlay_items, profile_items, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ec2ident_agent.items import Item
    from tests.lab.namespace import Namespace

#: The name under which a test hands on a cell, and what it knows of versions.
CELL, VERSION = "matrix", "matrix-version"


def items_of(configuration: str) -> frozenset[Item]:
    """What a configuration that leaves nothing open asks for, but for table names."""
    config = parse("agent.toml", configuration.encode())
    profiles = [resolve(section, Facts(section.name)) for section in config.sections]
    labels = free_labels(Observed())
    found = [item for profile in profiles for item in profile_items(profile)]
    found += [item for overlay in config.overlays for item in overlay_items(overlay, profiles, labels)]
    return frozenset(item for item in found if item.rank)


def _plain(item: Item) -> Item:
    """The item without the metrics that it takes from main's default route, which the manager sets."""
    return replace(item, mtu=0, advmss=0) if isinstance(item, Route) else item


class Away(threading.Thread):
    """Looks every few milliseconds which of these items are not there, while the `with` block lasts."""

    EVERY = 0.02

    def __init__(self, namespace: Namespace, items: frozenset[Item]) -> None:
        super().__init__(daemon=True)
        self.items = items
        with namespace.entered():
            self._channel = Channel()
        self._over = threading.Event()
        #: When each look was, and what lacked.
        self.looks: list[tuple[float, frozenset[Item]]] = []

    def __enter__(self) -> Away:
        self._look()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._channel.close()

    def run(self) -> None:
        while not self._over.wait(self.EVERY):
            self._look()

    def _look(self) -> None:
        begun, seen = time.monotonic(), observe(self._channel).seen
        there = {_plain(each.item) for each in seen if each.protocol == OURS and not each.extra}
        self.looks.append((begun, self.items - there))

    def lacking(self, since: float = 0) -> frozenset[Item]:
        """What lacked at the last look; everything, when that was not since then."""
        begun, lacking = self.looks[-1]
        return lacking if begun > since else self.items

    def total(self) -> float:
        """Seconds for which something lacked."""
        pairs = zip(self.looks, self.looks[1:])
        return sum(after - now for (now, lacking), (after, _) in pairs if lacking)

    def back(self) -> float:
        """When everything was there again, of a monotonic clock; at the beginning, if it always was."""
        last = max((number for number, (_, lacking) in enumerate(self.looks) if lacking), default=-1)
        return self.looks[min(last + 1, len(self.looks) - 1)][0]


def cell(by: Iterable[str], seconds: float) -> str:
    """`hook 0.3 s`; a dash where nothing was lost."""
    return f"{' and '.join(by) or 'by itself'} {seconds:.1f} s" if by or seconds else "–"


def table(cells: Mapping[tuple[str, str, str, str], str]) -> list[str]:
    """Markdown: a row for each manager and event, a column for each keeper, in it `eth0 · eth1`. Keys in that order."""
    keepers = list(dict.fromkeys(keeper for _, _, keeper, _ in cells))
    lines = ["| | | " + " | ".join(keepers) + " |", "|---|---|" + "---|" * len(keepers)]
    last = ""
    for manager, event in dict.fromkeys((manager, event) for manager, event, _, _ in cells):
        columns = []
        for keeper in keepers:
            mine = {key[3]: text for key, text in cells.items() if key[:3] == (manager, event, keeper)}
            columns.append(" · ".join(mine[name] for name in sorted(mine)))
        lines.append(f"| {manager if manager != last else ''} | {event} | {' | '.join(columns)} |")
        last = manager
    return lines
