"""The metadata service: its client, the connect race, one HTTP exchange under a deadline, and who answered.

Importing costs nothing: `Imds` and its tables are loaded from their modules when they are first used (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .client import PASSES, Imds
    from .responders import ADVICE

_HOME = {"ADVICE": "responders", "Imds": "client", "PASSES": "client"}

__all__ = ["ADVICE", "PASSES", "Imds"]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
