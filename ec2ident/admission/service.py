"""The admission of a machine, step by step; the numbers stand at each block below.

(1) The body is a request of the right form and size.
(2) This service made the nonce for this audience, and it has not expired.
(3) AWS signed the item, which says which instance it is about.
(4) The policy lets this instance in.
(5) The sender has the private key, and used it for exactly this request and challenge.
(6) The challenge was not used before.
(7) STS says that the instance of the document signed for this request (where `sts` is given).
(8) The instance runs, by the EC2 API's word (where `alive` is given).
(9) The key is the one that this instance came with first.

The steps that cost a row in the store or a request to AWS come after all checks that a stranger fails.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone

from ec2ident.errors import Ec2IdentError, MalformedError, UnverifiableError, VerificationError
from ec2ident.proof.verification import verify
from ec2ident.value import Value

from . import challenge, keys, request
from .errors import NotAdmittedError
from .store import Claim, Claimed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ec2ident.model import Identity
    from ec2ident.proof.policy import Policy
    from ec2ident.proof.trust import TrustStore

    from .caller import Caller
    from .challenge import Challenge
    from .store import Store
    from .sts import Sts

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Admitted(Value):
    """A machine that was let in: what was proven, and its key (SHA-256 of the SubjectPublicKeyInfo, in hex)."""

    identity: Identity
    key: str
    #: Whether this is the first time that the instance came.
    first: bool
    #: Who signed, according to STS; None if the server does not ask.
    caller: Caller | None = None

    def to_dict(self) -> dict[str, object]:
        """What the machine is told."""
        document = self.identity.document
        return {"account": document.account_id, "instance": document.instance_id, "key": self.key, "first": self.first}


class Answer(Value):
    """An HTTP status and a JSON body for the sender, and a line for the log. Only the first two are for the sender."""

    status: int
    body: dict[str, object]
    log: str
    admitted: Admitted | None = None


class Admission:
    """Lets machines in. Safe in several threads; several servers share a store.

    `audience` names this service to its clients, such as its URL. `policy` says who may come. `sts` and `alive` add
    checks that ask AWS: an `Sts`, and a function that raises NotAdmittedError if the identity's instance is gone.
    A challenge is good for `seconds`. `trust` are the keys to verify with (AWS's published ones), `now` gives seconds
    since the epoch.
    """

    def __init__(
        self,
        *,
        audience: str,
        policy: Policy,
        store: Store,
        sts: Sts | None = None,
        alive: Callable[[Identity], None] | None = None,
        trust: TrustStore | None = None,
        seconds: int = 60,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not audience or not isinstance(audience, str):
            raise ValueError(f"audience: {audience!r} (the name of this service, such as its URL)")
        if not isinstance(seconds, (int, float)) or not 1 <= seconds <= 3600:
            raise ValueError(f"seconds: {seconds!r} (how long a challenge is good: 1 to 3600)")
        self.audience, self.policy, self.store, self.sts, self.alive = audience, policy, store, sts, alive
        self.trust, self.seconds, self._now = trust, int(seconds), now

    def challenge(self) -> Challenge:
        """A new challenge. It is not stored, so requests for challenges cannot fill the store."""
        expires = int(self._now()) + self.seconds
        return challenge.issue(self.store.secret(), self.audience, expires, os.urandom(16))

    def admit(self, body: bytes | str) -> Admitted:
        """Let a machine in. Raises MalformedError, NotAdmittedError and AdmissionUnavailableError."""
        now = self._now()
        clock = _EPOCH + timedelta(seconds=now)

        # (1) A request of the right form and size.
        asked = request.read(body)

        # (2) A nonce that this service made for this audience, not expired.
        nonce = challenge.check(self.store.secret(), self.audience, asked.nonce, now)

        # (3) AWS signed the item, and (4) the policy lets its instance in.
        identity = self._proven(asked, clock)

        # (5) The sender has the private key, and used it for this request and challenge.
        bound = asked.binding(self.audience)
        key = keys.check(asked.key, asked.proof, bound)

        # (6) The challenge was not used before.
        if not self.store.use(nonce.id, nonce.expires, now):
            raise NotAdmittedError("replay", "nonce: used before; this request is a copy, or was sent twice")

        # (7) STS says that the instance of the document signed for this request.
        caller = None
        if self.sts is not None:
            if asked.caller is None:
                raise NotAdmittedError("wrong-caller", "caller: missing, and this service asks for it")
            caller = self.sts.identify(asked.caller, identity, challenge.encode(bound), clock)

        # (8) The instance runs.
        if self.alive is not None:
            self.alive(identity)

        # (9) The key is the one that this instance came with first.
        document = identity.document
        started = (document.pending_time - _EPOCH) // timedelta(microseconds=1)
        claimed = self.store.claim(Claim(document.account_id, document.instance_id, key, started))
        if claimed not in (Claimed.FIRST, Claimed.KNOWN):
            raise NotAdmittedError(claimed.value, f"{document.instance_id}: {_CLAIMS[claimed]}")
        return Admitted(identity, key, claimed is Claimed.FIRST, caller)

    def offer(self, source: str = "") -> Answer:
        """The whole answer to a request for a challenge: 200, or 503 where the store cannot be asked."""
        try:
            made = self.challenge()
        except Ec2IdentError as error:
            return Answer(503, {"error": "try again later"}, f"unavailable{_from(source)}: {_printable(error)}")
        return Answer(200, made.to_dict(), f"challenge{_from(source)}")

    def handle(self, body: bytes | str, source: str = "") -> Answer:
        """The whole answer to a request, for any HTTP server: 200, 400, 403 or 503, and the line for the log.

        The body never says why: a stranger who is refused learns nothing of the policy or of other instances. `source`
        (an address) goes into the log.
        """
        who = _from(source)
        try:
            admitted = self.admit(body)
        except MalformedError as error:
            return Answer(400, {"error": "malformed"}, f"malformed{who}: {_printable(error)}")
        except NotAdmittedError as error:
            return Answer(403, {"error": "refused"}, f"refused code={error.code}{who}: {_printable(error)}")
        except Ec2IdentError as error:  # AdmissionUnavailableError, or a library that cannot be loaded
            return Answer(503, {"error": "try again later"}, f"unavailable{who}: {_printable(error)}")
        document = admitted.identity.document
        log = (
            f"admitted account={document.account_id} instance={document.instance_id} key={admitted.key} "
            f"first={str(admitted.first).lower()}{who}"
        )
        return Answer(200, {"admitted": admitted.to_dict()}, log, admitted)

    def _proven(self, asked: request.Request, clock: datetime) -> Identity:
        document = None
        try:
            identity = verify(asked.item, kind=asked.kind, document=asked.document, trust=self.trust)
            document = identity.document
            return self.policy.check(identity, now=clock)
        except (VerificationError, UnverifiableError) as error:
            code = error.reason.value if isinstance(error, VerificationError) else "unverifiable"
            said = document or error.document
            instance = "" if said is None else f" ({said.instance_id} of account {said.account_id}, by its document)"
            raise NotAdmittedError(code, f"{error}{instance}") from error


_CLAIMS = {
    Claimed.OTHER_KEY: "came with another key first; a copy, or a machine that lost its key (Store.release forgets it)",
    Claimed.KEY_OF_ANOTHER: "comes with the key of another instance; keys must not be part of an image",
    Claimed.OLDER_DOCUMENT: "came with a document of a later start before; this one is a copy",
}


def _from(source: str) -> str:
    return f" source={ascii(source)[1:-1]}" if source else ""


def _printable(error: Exception, longest: int = 500) -> str:
    """An error's text on one line: parts of it may be what a client sent."""
    return ascii(str(error)[:longest])[1:-1]
