"""The values that the library speaks in: levels, reasons, facts, documents, identities, verdicts."""

from __future__ import annotations

from enum import Enum, IntEnum

from .value import Value


class Level(IntEnum):
    """How strong the evidence is. Levels compare: `verdict.level >= Level.CLAIM`."""

    NONE = 0
    #: One unauthenticated fact that others share. One random UUID in 2048 looks like EC2's.
    HINT = 1
    #: Two independent facts that agree, and none that contradicts.
    CLAIM = 2
    #: An identity document that parses and is sane, not yet verified.
    DOCUMENT = 3
    #: AWS's signature over the document's exact bytes verifies with the pinned key of its own region.
    PROOF = 4
    #: Proof, and the document is about this very machine.
    BOUND = 5


class Kind(str, Enum):
    """The metadata items that carry a signature, by the name under `/latest/dynamic/instance-identity/`."""

    RSA2048 = "rsa2048"
    PKCS7 = "pkcs7"
    SIGNATURE = "signature"

    def __str__(self) -> str:
        return self.value


class Reason(str, Enum):
    """Why an answer is what it is. The value is stable: scripts compare it."""

    # Why the level is as high as it is.
    FIRMWARE = "firmware"
    METADATA_SERVICE = "metadata-service"
    IDENTITY_DOCUMENT = "identity-document"
    SIGNATURE_VERIFIED = "signature-verified"
    BOUND_TO_THIS_MACHINE = "bound-to-this-machine"

    # Why it is not higher.
    NO_EVIDENCE = "no-evidence"
    ONE_HINT = "one-hint"
    OTHER_VENDOR = "other-vendor"
    OTHER_CLOUD = "other-cloud"
    SUSPECT = "suspect"
    NETWORK_DISABLED = "network-disabled"

    # What the metadata service did.
    NO_ROUTE = "no-route"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    HOP_LIMIT = "hop-limit"
    DISABLED = "disabled"
    V2_REQUIRED = "v2-required"
    V1_ONLY = "v1-only"
    THROTTLED = "throttled"
    SERVER_ERROR = "server-error"
    NOT_EC2WS = "not-ec2ws"
    CAPTIVE_PORTAL = "captive-portal"
    TOO_LARGE = "too-large"
    MALFORMED = "malformed"

    # Which step of a proof failed.
    WRONG_SIGNATURE = "wrong-signature"
    WRONG_DIGEST = "wrong-digest"
    WRONG_ALGORITHM = "wrong-algorithm"
    WRONG_KEY = "wrong-key"
    DOCUMENT_DIFFERS = "document-differs"
    WRONG_MACHINE = "wrong-machine"
    NOT_ALLOWED = "not-allowed"
    TOO_OLD = "too-old"
    UNVERIFIABLE = "unverifiable"

    def __str__(self) -> str:
        return self.value


class Fact(Value):
    """One observation, with its three possible answers: a value, absent, or unknown.

    `value` is what was seen. With `value` None the fact is absent: somebody looked and it was not there, unless
    `unknown` says why nobody could look ("permission denied", "timed out"). `source` is the file, command or path.
    """

    name: str
    value: str | None = None
    source: str = ""
    unknown: str | None = None
