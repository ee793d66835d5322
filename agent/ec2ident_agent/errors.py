"""What can go wrong, and the exit code that says so (ec2ident.program.exit_codes)."""

from __future__ import annotations

from ec2ident.program import exit_codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .items import Item
    from .state.owned import Owner


class AgentError(Exception):
    """The root of every error that the agent raises on purpose. The text is one line for a person."""

    exit = exit_codes.FAILED


class ConfigError(AgentError):
    """The configuration or a flag is wrong; nothing was touched."""

    exit = exit_codes.USAGE


class DeviceNeededError(ConfigError):
    """An overlay address is to be held, and neither the configuration nor the caller says on which device.

    `where` says where a person can write the device down.
    """

    def __init__(self, address: str, where: str = "--device IF, or [[overlay]] in the configuration") -> None:
        super().__init__(f"overlay {address}: on which device? write {where}")


class UnknownError(AgentError):
    """Could not tell: a fact is neither known nor known to be absent. Nothing was touched."""

    exit = exit_codes.UNKNOWN


class UnknownFactError(UnknownError):
    """A fact that an owner needs is unknown; `why` says which, and where to write it down."""

    def __init__(self, owner: Owner, why: str) -> None:
        super().__init__(f"{owner}: {why}")
        self.owner, self.why = owner, why


class RefusedError(AgentError):
    """A foreign object, or something that is not safe, stands in the way. Nothing was touched."""


class JournalError(RefusedError):
    """The journal cannot be read: it is damaged, or written by a newer version. Never taken for an empty one."""


class LockedError(RefusedError):
    """Another process holds the lock, and did not release it within the time limit."""


class KernelError(AgentError):
    """The kernel refused, or did not answer. The text is the command and the kernel's own words.

    `item` is what the first refused step was about; None when no single step was refused. `clean` is True when every
    step of the call is known to be undone. Otherwise the journal names everything that may be on the node.
    """

    def __init__(self, text: str, *, item: Item | None = None, clean: bool = False) -> None:
        super().__init__(text)
        self.item, self.clean = item, clean
