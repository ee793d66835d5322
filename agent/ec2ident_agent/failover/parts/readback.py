"""Read back what was written, until it is seen or another mover has certainly been later (see `consistency`)."""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws import consistency
from ec2ident_agent.failover.errors import ApiUnknownError, FailoverError, MoveRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from ec2ident_agent.failover.aws.deadline import Deadline

    Key = TypeVar("Key")


class Written(Value):
    """Something that was written: its wanted owner, "" for none, and the owners that mean "not seen yet"."""

    wanted: str
    earlier: tuple[str, ...]


class Shown(Value):
    """What a look showed: the owner, "" for none, and what a message calls it if that is not the same."""

    owner: str
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.owner or "nothing"


class Confirmation(Value):
    """What reading back ended with: what the last look showed, and the error unless that is the wanted owner."""

    now: str = ""
    error: FailoverError | None = None


def read_back(
    deadline: Deadline, written: Mapping[Key, Written], look: Callable[[], Mapping[Key, Shown]]
) -> dict[Key, Confirmation]:
    """Look until every owner is the wanted one, or a third one in a look that began SETTLED seconds from now.

    `look` returns what it showed by the same keys; what it does not show is not seen yet. What is not seen at the
    deadline, or cannot be read, has an ApiUnknownError, and what another mover took a MoveRefusedError.
    """
    began, pause = deadline.used, consistency.FIRST_LOOK
    found: dict[Key, Confirmation] = {}
    waiting: dict[Key, Shown | None] = dict.fromkeys(written)
    try:
        while True:
            age = deadline.used - began
            seen = look()
            for key in [*waiting]:
                now, wrote = seen.get(key), written[key]
                waiting[key] = now
                if now is None:
                    continue
                if now.owner == wrote.wanted:
                    found[key] = Confirmation(str(now))
                elif age >= consistency.SETTLED and now.owner not in wrote.earlier:
                    said = f"written, but reading back shows {now} (expected {wrote.wanted or 'nothing'})"
                    found[key] = Confirmation(str(now), MoveRefusedError(f"{said}: another mover was later"))
                if key in found:
                    del waiting[key]
            if not waiting:
                return found
            deadline.pause(pause, "reading back")
            pause = min(2 * pause, consistency.LONGEST_LOOK)
    except FailoverError as error:
        for key, last in waiting.items():
            said = f"written, not confirmed: {error}" + (f"; the last look showed {last}" if last else "")
            found[key] = Confirmation(str(last or ""), ApiUnknownError(said))
        return found
