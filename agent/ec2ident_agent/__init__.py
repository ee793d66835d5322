"""The node's agent: policy routing for attached ENIs and overlay addresses, exactly reversible.

Importing costs nothing: each public name is loaded from its module when it is first used (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .desired import Desired, InsideVpc, Refusal, Unknown
    from .engine import Report
    from .errors import (
        AgentError,
        ConfigError,
        JournalError,
        KernelError,
        LockedError,
        RefusedError,
        UnknownError,
    )
    from .node import Node
    from .profile import Config, Facts, Overlay, Section
    from .state.owned import Owner, interface, overlay

_HOME = {
    "Node": "node",
    "Report": "engine",
    "Refusal": "desired",
    "Desired": "desired",
    "InsideVpc": "desired",
    "Unknown": "desired",
    "Owner": "state.owned",
    "interface": "state.owned",
    "overlay": "state.owned",
    "Config": "profile",
    "Facts": "profile",
    "Overlay": "profile",
    "Section": "profile",
    "AgentError": "errors",
    "ConfigError": "errors",
    "JournalError": "errors",
    "KernelError": "errors",
    "LockedError": "errors",
    "RefusedError": "errors",
    "UnknownError": "errors",
}

__all__ = [
    "AgentError",
    "Config",
    "ConfigError",
    "Desired",
    "Facts",
    "InsideVpc",
    "JournalError",
    "KernelError",
    "LockedError",
    "Node",
    "Overlay",
    "Owner",
    "Refusal",
    "RefusedError",
    "Report",
    "Section",
    "Unknown",
    "UnknownError",
    "interface",
    "overlay",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib: to import that first would cost as much as two of these modules.
    value = getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
