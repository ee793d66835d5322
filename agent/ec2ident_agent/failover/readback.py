"""Read back what was written, until it is seen or another mover has certainly been later (see `consistency`)."""

from __future__ import annotations

from ec2ident.value import Value

from . import consistency
from .errors import ApiUnknownError, FailoverError, MoveRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .aws.deadline import Deadline


class Written(Value):
    """Something that was written: its wanted owner and the one before; "" for none."""

    wanted: str
    before: str = ""


class Confirmation(Value):
    """What reading back ended with: the owner of the last look, and the error unless that is the wanted one."""

    now: str = ""
    error: FailoverError | None = None


def read_back(
    deadline: Deadline, written: Mapping[str, Written], look: Callable[[], Mapping[str, str]]
) -> dict[str, Confirmation]:
    """Look until every owner is the wanted one, or a third one in a look that began SETTLED seconds from now.

    `look` returns the owners by the same keys. An owner as before, or none, is "not seen yet". What is not seen at
    the deadline has an ApiUnknownError, what another mover took a MoveRefusedError.
    """
    began, pause = deadline.used, consistency.FIRST_LOOK
    found: dict[str, Confirmation] = {}
    waiting = dict.fromkeys(written, "")
    try:
        while True:
            age = deadline.used - began
            owners = look()
            for key in [*waiting]:
                now, wanted = owners.get(key, ""), written[key]
                waiting[key] = now
                if now == wanted.wanted:
                    found[key] = Confirmation(now)
                elif age >= consistency.SETTLED and now not in ("", wanted.before):
                    said = f"written, but reading back shows {now} (expected {wanted.wanted}): another mover was later"
                    found[key] = Confirmation(now, MoveRefusedError(said))
                if key in found:
                    del waiting[key]
            if not waiting:
                return found
            deadline.pause(pause, "reading back")
            pause = min(2 * pause, consistency.LONGEST_LOOK)
    except FailoverError as error:
        for key, now in waiting.items():
            said = f"written, not confirmed: {error}; the last look showed {now or 'no owner'}"
            found[key] = Confirmation(now, ApiUnknownError(said))
        return found
