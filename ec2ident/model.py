"""The values that the library speaks in: levels, reasons, facts, documents, identities, verdicts."""

from __future__ import annotations

from enum import Enum, IntEnum

from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from ipaddress import IPv4Address, IPv6Address

    from .errors import Ec2IdentError


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

    # A kind equals its name, so it hashes as its name: in a dict either finds what the other put there.
    __hash__ = str.__hash__

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
    CONTRADICTION = "contradiction"
    SUSPECT = "suspect"
    NETWORK_DISABLED = "network-disabled"
    #: A library that is needed (requests, cryptography, psutil) cannot be loaded.
    DEPENDENCY = "dependency"

    # What the metadata service did.
    NO_ROUTE = "no-route"
    REFUSED = "refused"
    #: No connection was accepted in time. SLOW: one was accepted, and the answer was not complete in time.
    TIMEOUT = "timeout"
    SLOW = "slow"
    HOP_LIMIT = "hop-limit"
    DISABLED = "disabled"
    V2_REQUIRED = "v2-required"
    V1_ONLY = "v1-only"
    THROTTLED = "throttled"
    SERVER_ERROR = "server-error"
    #: A proxy stands before the metadata service, and refuses or changes what passes.
    PROXY = "proxy"
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
    NOT_BOUND = "not-bound"
    NOT_ALLOWED = "not-allowed"
    TOO_OLD = "too-old"

    # Why a proof could be neither made nor refused.
    #: No key is known for the region, or the installed OpenSSL refuses the algorithm.
    UNVERIFIABLE = "unverifiable"
    #: A signed item or the firmware is damaged, or has a form that this version does not understand.
    NOT_UNDERSTOOD = "not-understood"

    def __str__(self) -> str:
        return self.value


class Fact(Value):
    """One observation, with its three possible answers: a value, absent, or unknown.

    `value` is what was seen. With `value` None the fact is absent: the source was read and does not have it. If it
    could not be read, `unknown` says why ("permission denied", "timed out"). `source` is the file, command or URL.
    `reason` is the cause as a value to compare, where there is one; `detail` says more about the value, in words.
    """

    name: str
    value: str | None = None
    source: str = ""
    unknown: str | None = None
    reason: Reason | None = None
    detail: str = ""


class IdentityDocument(Value):
    """What an instance identity document says, typed. `raw` is the bytes that the signature covers, exactly.

    Fields by their AWS names in snake case ("Instance identity documents for Amazon EC2 instances"). A parsed document
    is only a claim: an `Identity` holds one that was proven. The account, the instance, its start and the region are
    always there. Any other field is None, or empty, where the document does not have it; where it has it in a form that
    this version does not know, `extra` keeps it.
    """

    raw: bytes
    #: Twelve digits, leading zeros included.
    account_id: str
    architecture: str | None
    availability_zone: str | None
    image_id: str | None
    instance_id: str
    instance_type: str | None
    #: When the instance was last started, not when it was first launched; aware, UTC.
    pending_time: datetime
    #: None where the instance has no IPv4 address, as in an IPv6-only subnet.
    private_ip: IPv4Address | IPv6Address | None
    region: str
    version: str | None
    kernel_id: str | None = None
    ramdisk_id: str | None = None
    billing_products: tuple[str, ...] = ()
    devpay_product_codes: tuple[str, ...] = ()
    marketplace_product_codes: tuple[str, ...] = ()
    #: Fields that this version does not know, or not in this form, as (name, value): lists as tuples, objects as tuples
    #: of pairs.
    extra: tuple[tuple[str, object], ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The document as JSON has it: times in ISO 8601, addresses as text, the fields by their names here.

        `raw` and `extra` are left out: the first is the same once more, the second is not understood.
        """
        return {name: _plain(getattr(self, name)) for name in self._fields if name not in ("raw", "extra")}


class Identity(Value):
    """A document that AWS signed. Only `ec2ident.verify` makes one, so holding one means that the proof was done."""

    document: IdentityDocument
    kind: Kind
    #: The key is below today's strength limits: RSA-1024 or DSA-1024 with SHA-1.
    legacy: bool
    region: str
    partition: str
    #: When AWS signed, aware, UTC; None for the kind `signature`, which does not say. It may be long after
    #: `document.pending_time`, and says nothing about when the document was fetched.
    signed_at: datetime | None
    #: SHA-256 of the SubjectPublicKeyInfo (DER) that the signature verifies with, in hex.
    key_sha256: str
    #: What is true but weaker than one might think, one sentence each.
    warnings: tuple[str, ...] = ()

    def __init__(self) -> None:
        raise TypeError("an Identity is what ec2ident.verify returns: it cannot be made by hand")

    def to_dict(self) -> dict[str, object]:
        """The identity as JSON has it: times in ISO 8601, the document's fields by their names here."""
        return {
            "kind": self.kind.value,
            "legacy": self.legacy,
            "region": self.region,
            "partition": self.partition,
            "signed_at": None if self.signed_at is None else self.signed_at.isoformat(),
            "key_sha256": self.key_sha256,
            "warnings": list(self.warnings),
            "document": self.document.to_dict(),
        }

    @classmethod
    def _proven(cls, **fields: object) -> Identity:
        """For `verify` alone, when every step of the proof is done."""
        identity = cls.__new__(cls)
        identity.__dict__.update(fields)
        return identity


def _plain(value: object) -> object:
    """A field as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, str) else getattr(value, "isoformat", value.__str__)()


#: Columns of a line that the `repr` of a verdict takes at most.
REPR = 120


class Verdict(Value):
    """The answer to "is this machine EC2?", with all that led to it. True in an `if` only when the answer is yes."""

    level: Level
    reason: Reason
    #: One sentence for a person: what was seen, and what that means.
    because: str
    #: The level that was asked for.
    wanted: Level
    #: True if a higher level is still possible: the answer is then `unknown`, not `no`.
    undecided: bool = False
    facts: tuple[Fact, ...] = ()
    #: What was proven, at PROOF and BOUND.
    identity: Identity | None = None
    #: Seconds that it took.
    elapsed: float = 0.0
    #: Why there is no proof, as an error with its cause; None where there is one, or where none was looked for.
    error: Ec2IdentError | None = None

    @property
    def answer(self) -> str:
        """`yes`, `no`, `unknown` (could not tell) or `suspect` (something claims to be EC2, and the claim is false)."""
        if self.reason in (Reason.SUSPECT, Reason.WRONG_MACHINE):
            return "suspect"
        if self.level >= self.wanted:
            return "yes"
        return "unknown" if self.undecided else "no"

    def __bool__(self) -> bool:
        return self.answer == "yes"

    def __repr__(self) -> str:
        """One line for a log or a prompt, without the facts: `explain` shows them, and `to_dict` has everything."""
        start = f"{type(self).__name__} {self.answer}, level {self.level.name} of {self.wanted.name}, {self.reason}: "
        because = ascii(self.because)
        room = max(REPR - len(start) - len("<>"), len("'...'"))
        return f"<{start}{because if len(because) <= room else f'{because[: room - 4]}...{because[-1]}'}>"

    def explain(self) -> str:
        """The answer, the reason and every fact, for a person to read."""
        width = max((len(fact.name) for fact in self.facts), default=0)
        lines = [
            f"{self.answer}: {self.because}",
            f"level {self.level.name.lower()} ({self.wanted.name.lower()} was asked for), reason {self.reason}",
        ]
        for fact in self.facts:
            lines.append(f"  {fact.name:{width}}  {self._shown(fact)}" + (f"  [{fact.source}]" if fact.source else ""))
        if self.identity is not None:
            lines += [f"  note: {warning}" for warning in self.identity.warnings]
        return "\n".join(lines)

    def _shown(self, fact: Fact) -> str:
        """What was seen, and more about it. Words that are part of the first line are not repeated."""
        if fact.value is not None:
            return repr(fact.value) + (f": {fact.detail}" if fact.detail and fact.detail not in self.because else "")
        if not fact.unknown:
            return "-"
        return f"unknown: {fact.reason if fact.reason and fact.unknown in self.because else fact.unknown}"

    def to_dict(self) -> dict[str, object]:
        """The verdict as JSON has it. Keys are only ever added; `schema` changes if one ever means something else."""
        return {
            "schema": 1,
            "answer": self.answer,
            "level": self.level.name.lower(),
            "wanted": self.wanted.name.lower(),
            "reason": self.reason.value,
            "because": self.because,
            "facts": [
                {
                    "name": fact.name,
                    "value": fact.value,
                    "source": fact.source,
                    "unknown": fact.unknown,
                    "reason": None if fact.reason is None else fact.reason.value,
                    "detail": fact.detail,
                }
                for fact in self.facts
            ],
            "identity": None if self.identity is None else self.identity.to_dict(),
            "elapsed": round(self.elapsed, 6),
        }
