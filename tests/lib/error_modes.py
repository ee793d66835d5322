"""Every way in which the shipped service can behave, and what is due then: the answer, the reason, the error."""

from __future__ import annotations

from ec2ident.errors import Ec2IdentError, ImdsError, VerificationError
from ec2ident.model import Reason
from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ec2ident.testing import MetadataService


class Due(Value):
    """On a machine without firmware that is asked for a proof. `error` is what `prove` raises, None where it does not.

    `suspect`: beside Amazon's firmware it is more than a no. `waits`: there is no answer before the deadline; all
    others answer at once, so that their deadline can be generous.
    """

    answer: str
    reason: Reason
    error: type[Ec2IdentError] | None = None
    suspect: bool = False
    waits: bool = False

    @property
    def timeout(self) -> float:
        """Seconds to give it: what does not wait for them has plenty, for a busy machine."""
        return 1.5 if self.waits else 30.0


PROVEN = Due("yes", Reason.SIGNATURE_VERIFIED)


def _open(reason: Reason) -> Due:
    return Due("unknown", reason, ImdsError)


def _late(reason: Reason) -> Due:
    return Due("unknown", reason, ImdsError, waits=True)


def _no(reason: Reason) -> Due:
    return Due("no", reason, ImdsError)


ERROR_MODES = {
    # what EC2 itself does
    "tokens-optional": PROVEN,
    "v1-only": _open(Reason.V1_ONLY),  # of an unknown server, where no firmware is to be read
    "hop-limit": _late(Reason.HOP_LIMIT),
    "hop-limit-reset": _open(Reason.HOP_LIMIT),
    "disabled": _open(Reason.DISABLED),
    "throttled": _open(Reason.THROTTLED),
    "hide": _open(Reason.NOT_EC2WS),
    "http-1.0": PROVEN,
    # faults
    "status": _open(Reason.SERVER_ERROR),
    "unauthorized": _open(Reason.V2_REQUIRED),
    "body": _open(Reason.MALFORMED),
    "silence": _late(Reason.HOP_LIMIT),
    "reset": _open(Reason.HOP_LIMIT),
    "hang-up": _open(Reason.MALFORMED),
    "delay": _late(Reason.HOP_LIMIT),
    "drip": _late(Reason.SLOW),
    "cut": _open(Reason.MALFORMED),
    "giant-body": _open(Reason.TOO_LARGE),
    "giant-headers": _open(Reason.TOO_LARGE),
    "endless-body": _open(Reason.TOO_LARGE),
    # forgeries
    "altered-document": PROVEN,  # the signed one is inside rsa2048
    # rsa2048 and pkcs7 are not understood; `signature` is, and it is wrong
    "junk-signatures": Due("no", Reason.WRONG_SIGNATURE, VerificationError, suspect=True),
    "foreign-signatures": Due("no", Reason.WRONG_SIGNATURE, VerificationError, suspect=True),
    # a proxy before the service
    "kube2iam": _open(Reason.PROXY),
    "kiam": _open(Reason.PROXY),
    "envoy": _open(Reason.SERVER_ERROR),
    "squid": _open(Reason.PROXY),
    # another server at the address
    "go": _open(Reason.NOT_EC2WS),
    "nginx": _open(Reason.NOT_EC2WS),
    "captive-portal": _open(Reason.CAPTIVE_PORTAL),
    "redirect": _open(Reason.CAPTIVE_PORTAL),
    "not-http": _open(Reason.MALFORMED),
    "openstack": _no(Reason.OTHER_CLOUD),
    "google": _no(Reason.OTHER_CLOUD),
    "azure": _no(Reason.OTHER_CLOUD),
    "alibaba": _open(Reason.NOT_EC2WS),
}

#: What some of them need.
HOW: dict[str, dict[str, Any]] = {"hide": {"path": "/instance-identity/"}, "delay": {"seconds": 600.0}}


def misbehave(service: MetadataService, name: str) -> None:
    """Behave so from now on."""
    service.behave(name, **HOW.get(name, {}))
