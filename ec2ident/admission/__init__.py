"""Let machines in because AWS vouches for them: challenge, proof of possession of a key, first use, and the caller:

    admission = Admission(audience="https://join.example.com", policy=Policy(accounts=["123456789012"]),
                          store=SqliteStore("/var/lib/join/admission.db"))
    admission.challenge()   # what the server sends first
    admission.handle(body)  # what it answers to the request that follows, and the line that it logs

docs/attestation.md has the protocol, a whole server and client, and what each step protects against. Importing costs
nothing: each public name is loaded from its module when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .caller import Caller
    from .challenge import Challenge
    from .errors import AdmissionUnavailableError, NotAdmittedError
    from .limits import RateLimit
    from .liveness import check_described
    from .request import Proof, prepare
    from .service import Admission, Admitted, Answer
    from .store import Claim, SqliteStore, Store
    from .sts import Sts

_HOME = {
    "Admission": "service",
    "AdmissionUnavailableError": "errors",
    "Admitted": "service",
    "Answer": "service",
    "Caller": "caller",
    "Challenge": "challenge",
    "Claim": "store",
    "NotAdmittedError": "errors",
    "Proof": "request",
    "RateLimit": "limits",
    "SqliteStore": "store",
    "Store": "store",
    "Sts": "sts",
    "check_described": "liveness",
    "prepare": "request",
}

__all__ = [
    "Admission",
    "AdmissionUnavailableError",
    "Admitted",
    "Answer",
    "Caller",
    "Challenge",
    "Claim",
    "NotAdmittedError",
    "Proof",
    "RateLimit",
    "SqliteStore",
    "Store",
    "Sts",
    "check_described",
    "prepare",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
