"""Is this machine Amazon EC2, how sure are we, and can it prove it?

Importing costs nothing: each public name is loaded from its module when it is first used (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .detection import detect, is_ec2, prove
    from .errors import (
        Ec2IdentError,
        FirmwareError,
        ImdsError,
        MalformedError,
        UnknownNameError,
        UnverifiableError,
        VerificationError,
    )
    from .imds.client import Imds
    from .model import Fact, Identity, IdentityDocument, Kind, Level, Reason, Verdict
    from .proof.policy import Policy
    from .proof.trust import TrustStore
    from .proof.verification import verify
    from .regions.partitions import Partition

__version__ = "0.1.0"

_HOME = {
    "detect": "detection",
    "is_ec2": "detection",
    "prove": "detection",
    "Ec2IdentError": "errors",
    "FirmwareError": "errors",
    "ImdsError": "errors",
    "MalformedError": "errors",
    "UnknownNameError": "errors",
    "UnverifiableError": "errors",
    "VerificationError": "errors",
    "Imds": "imds.client",
    "Fact": "model",
    "Identity": "model",
    "IdentityDocument": "model",
    "Kind": "model",
    "Level": "model",
    "Reason": "model",
    "Verdict": "model",
    "Partition": "regions.partitions",
    "Policy": "proof.policy",
    "TrustStore": "proof.trust",
    "verify": "proof.verification",
}

__all__ = [
    "Ec2IdentError",
    "Fact",
    "FirmwareError",
    "Identity",
    "IdentityDocument",
    "Imds",
    "ImdsError",
    "Kind",
    "Level",
    "MalformedError",
    "Partition",
    "Policy",
    "Reason",
    "TrustStore",
    "UnknownNameError",
    "UnverifiableError",
    "Verdict",
    "VerificationError",
    "detect",
    "is_ec2",
    "prove",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib: importing it costs as much as two modules of this package.
    value = getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
