"""What can go wrong, and the exit code that says so (ec2ident.exit_codes)."""

from __future__ import annotations

from ec2ident import exit_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .engine import Report
    from .items import Item


class AgentError(Exception):
    """The root of every error that the agent raises on purpose. The text is one line for a person."""

    exit = exit_codes.FAILED


class ConfigError(AgentError):
    """The configuration or a flag is wrong; nothing was touched."""

    exit = exit_codes.USAGE


class UnknownError(AgentError):
    """Could not tell: a fact is neither known nor known to be absent. Nothing was touched."""

    exit = exit_codes.UNKNOWN


class RefusedError(AgentError):
    """Something that is not ours, or not safe, stands in the way. Nothing was touched."""


class ConflictError(RefusedError):
    """Something of somebody else's is in the way of some owners, named in the text: nothing of theirs was touched.

    Everything was done for all others; `report` says what that was.
    """

    def __init__(self, text: str, report: Report) -> None:
        super().__init__(text)
        self.report = report


class JournalError(RefusedError):
    """The journal cannot be read: it is damaged, or written by a newer version. Never taken for an empty one."""


class LockedError(RefusedError):
    """Another process holds the lock, and did not let go within the time limit."""


class KernelError(AgentError):
    """The kernel refused. The text is the command and the kernel's own words.

    `clean` is False when not every step of the same call could be undone. `item` is what the first failed step was
    about, where the kernel refused a step.
    """

    clean = True
    item: Item | None = None
