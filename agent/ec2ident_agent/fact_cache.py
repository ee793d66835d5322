"""What the metadata service said last of each device, in a file beside the journal.

An answer is good for a minute, so that a monitor sends no request; and when the service fails, its last answer stays in
force: unknown never removes anything.
"""

from __future__ import annotations

import os

from ec2ident.value import replace

from .errors import AgentError
from .facts import ITEMS, FactsAnswer
from .state import statefile
from .state.journal import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from .facts import Key

KIND, VERSION = "ec2ident-facts", 1


def path_in(directory: str) -> str:
    """The file's path in the state directory."""
    return os.path.join(directory, "facts")


def read_cache(path: str) -> dict[Key, FactsAnswer]:
    """What `update_cache` wrote. A file of another user, or one that makes no sense, counts as empty."""
    found: dict[Key, FactsAnswer] = {}
    try:
        data = statefile.read(path)
        if data is None or os.stat(path, follow_symlinks=False).st_uid not in {0, os.geteuid()}:
            return {}
        for mac, index, at, flags, name, *values in statefile.unpack(KIND, VERSION, data):
            key = (mac, int(index))
            answer = found.get(key, FactsAnswer((), "", int(at), "l" in flags, "p" in flags))
            said = (*answer.said, (name, tuple(map(ITEMS[name], values)))) if name else answer.said
            found[key] = replace(answer, said=said)
    except (OSError, ValueError, KeyError):
        return {}
    return found


def update_cache(path: str, key: Key, answer: FactsAnswer, there: Collection[Key]) -> None:
    """Write the answer about one device, and keep the others' answers about devices that are still `there`.

    If that is not possible, the next process asks again.
    """
    directory, name = os.path.split(path)
    try:
        with Lock(directory, f"{name}.lock", patience=1.0):
            known = {**read_cache(path), key: answer}
            lines = [line for one, each in known.items() if one in there for line in _lines(one, each)]
            statefile.write(path, statefile.pack(KIND, VERSION, lines))
    except (OSError, AgentError):
        return


def _lines(key: Key, answer: FactsAnswer) -> list[tuple[str, ...]]:
    flags = ("l" if answer.listed else "") + ("p" if answer.primary else "")
    head = (key[0], str(key[1]), str(answer.at), flags)
    return [(*head, name, *values) for name, values in (("", ()), *answer.said)]
