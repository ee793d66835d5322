"""A metadata service like EC2's for tests: real headers, real error codes, and documents that are really signed.

    from ec2ident.testing import MetadataService

    with MetadataService() as imds:
        imds.behave("hop-limit")
        ...  # point a client at imds.endpoint, and see what it does
        assert imds.requests[0].path == "/latest/api/token"

See docs/testing.md. Importing costs nothing: each public name is loaded from its module when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .behaviour import BEHAVIOURS, Behaviour
    from .control import Remote
    from .instance import Instance, Interface
    from .pretending import pretend
    from .service import Exchange, MetadataService
    from .signing import Authority

_HOME = {
    "Authority": "signing",
    "BEHAVIOURS": "behaviour",
    "Behaviour": "behaviour",
    "Instance": "instance",
    "Interface": "instance",
    "pretend": "pretending",
    "Exchange": "service",
    "MetadataService": "service",
    "Remote": "control",
}

__all__ = [
    "BEHAVIOURS",
    "Authority",
    "Behaviour",
    "Exchange",
    "Instance",
    "Interface",
    "MetadataService",
    "Remote",
    "pretend",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
