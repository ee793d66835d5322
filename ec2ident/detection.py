"""Which probe comes next, and when to stop: cheap before expensive, local before remote, one deadline over all.

First environment and unprivileged sysfs (microseconds); then what needs root or a program; then, unless the firmware is
another vendor's, the metadata service: a token and `rsa2048`, which carries the document, are a proof in two requests.
A signed item that was fetched is verified. The module is not called `detect`: importing a module of that name would
silently put the module in the place of the function.
"""

from __future__ import annotations

import os
import time

from . import standin
from .assess import DOCUMENT, FAILED, FIRMWARE, REFUTED, SIGNATURE, VERIFIED, assess
from .dependency import PASSING
from .errors import Ec2IdentError, FirmwareError, ImdsError, MalformedError, UnverifiableError, VerificationError
from .host import Host
from .model import Fact, Kind, Level, Reason, Verdict
from .value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .assess import Assessment
    from .imds.client import Imds
    from .model import Identity, IdentityDocument
    from .proof.trust import TrustStore

#: How often to ask again where firmware says that this is EC2, and for how long, in seconds: at boot the service may be
#: late.
RETRIES = 12
RETRY_SECONDS = 5.0

#: Kinds in the order they are asked for; the first that verifies is enough. The last does not carry the document.
KINDS = (Kind.RSA2048, Kind.PKCS7, Kind.SIGNATURE)

#: boot id -> a verdict at BOUND. Only that is remembered: it is the one answer that is expensive and cannot change
#: while the machine runs. It is kept in memory only: a process that can write a file could write a verdict.
_bound: dict[str, Verdict] = {}


def detect(
    level: Level = Level.CLAIM,
    timeout: float = 1.0,
    *,
    network: bool = True,
    root: str | os.PathLike[str] = "/",
    imds: Imds | None = None,
    trust: TrustStore | None = None,
    host: Host | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Verdict:
    """Is this machine EC2? Looks until `level` is reached or nothing is left to look at, `timeout` seconds at most.

    With `network` false no packet is sent, and none is sent where firmware is another vendor's. `root` is the root of
    the file system to look at; `imds` a client to ask instead of one for EC2's own addresses; `trust` the keys to
    verify with (AWS's published ones); `host` all of the local machine. Raises ValueError for a level or a timeout that
    makes no sense, and nothing for what the machine or the network does.
    """
    level = _checked(level, timeout)
    own = host is None and imds is None and trust is None and root == "/"
    search = _Search(level, clock() + timeout, clock, host or (standin.host or Host)(os.fsdecode(root)), trust)
    boot = search.host.boot_id() if own and level > Level.CLAIM else None
    if boot is not None and boot in _bound:
        return replace(_bound[boot], wanted=level, elapsed=0.0)
    search.look()
    if search.undecided:
        search.ask(imds) if network else search.forgo()
    verdict = search.verdict(timeout)
    if boot is not None and verdict and verdict.level is Level.BOUND:
        _bound[boot] = verdict
    return verdict


def is_ec2(level: Level = Level.CLAIM, timeout: float = 1.0) -> bool:
    """Is this machine EC2, as sure as `level`? Any failure of the machine or the network is False; `detect` says why.

    Ctrl-C and the end of the process pass through. A panic of a library returns False, although its class is not an
    Exception. Raises ValueError for a wrong level or timeout: that is an error of the calling program.
    """
    level = _checked(level, timeout)
    try:
        return bool(detect(level, timeout))
    except PASSING:
        raise
    except BaseException:  # noqa: BLE001  the promise of this function
        return False


def prove(
    timeout: float = 3.0,
    *,
    bind: bool = True,
    imds: Imds | None = None,
    trust: TrustStore | None = None,
    host: Host | None = None,
) -> Identity:
    """This machine's identity, signed by AWS and, with `bind`, compared with the machine itself.

    Raises ImdsError where no document could be had, VerificationError where it is not AWS's or another machine's,
    UnverifiableError where it could not be verified or not be tied to this machine, MalformedError where this version
    does not understand it, FirmwareError where the firmware is another vendor's. All are Ec2IdentError, and ImdsError,
    VerificationError and UnverifiableError carry a `reason`.
    """
    verdict = detect(Level.BOUND if bind else Level.PROOF, timeout, imds=imds, trust=trust, host=host)
    if verdict and verdict.identity is not None:
        return verdict.identity
    raise verdict.error or FirmwareError(verdict.because)


def _checked(level: Level, timeout: float) -> Level:
    """The level. Raises ValueError, also for values of other types: both are the calling program's mistakes."""
    try:
        found = Level(level)
    except ValueError:
        found = Level.NONE
    if found is Level.NONE:
        names = ", ".join(f"Level.{one.name}" for one in Level if one)
        raise ValueError(f"level: {level!r} is none of {names}")
    if not isinstance(timeout, (int, float)) or not 0 < timeout < 86400:
        raise ValueError(f"timeout: {timeout!r} is not a number of seconds above 0 and below 86400")
    return found


class _Judged:
    """One signed item: what its verification came to, as a fact and as an error; the lowest rank decides."""

    def __init__(
        self, rank: int, fact: Fact, error: Ec2IdentError | None, document: IdentityDocument | None = None
    ) -> None:
        self.rank, self.fact, self.error = rank, fact, error
        #: The document in the item, where it could be read. It is a claim until the item verifies.
        self.document = document


class _Search:
    """The facts so far, and the assessment of them."""

    def __init__(
        self, wanted: Level, until: float, clock: Callable[[], float], host: Host, trust: TrustStore | None
    ) -> None:
        self.wanted, self.until, self.clock, self.host, self.trust = wanted, until, clock, host, trust
        self.facts: dict[str, Fact] = {}
        self.identity: Identity | None = None
        #: Why the metadata service, or the verification of what it gave, has not led to a proof.
        self.error: Ec2IdentError | None = None
        self.assessment: Assessment = assess((), wanted)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.until - self.clock()

    @property
    def undecided(self) -> bool:
        """True while the level is not reached and the network can still add to it."""
        return self.assessment.level < self.wanted and not self.assessment.foreign_vendor

    def add(self, *found: Fact) -> None:
        """Take facts in: a value stays, and replaces an absence."""
        for one in found:
            known = self.facts.get(one.name)
            if known is None or (known.value is None and one.value is not None):
                self.facts[one.name] = one

    def assess(self) -> None:
        self.assessment = assess(self.facts.values(), self.wanted)

    def look(self) -> None:
        """Read firmware and other local evidence, until the level is reached or all has been read."""
        for stage in self.host.stages():
            self.add(*stage(self.left))
            self.assess()
            if self.assessment.foreign_vendor or self.assessment.firmware >= min(self.wanted, Level.CLAIM):
                break
        if any(one.value is not None for name, one in self.facts.items() if name != "environment"):
            self.facts.pop(FIRMWARE, None)  # another source supplied the firmware fields
            self.assess()

    def ask(self, imds: Imds | None) -> None:
        """Ask the metadata service: a proof in two requests. What was fetched is verified."""
        strong = self.assessment.firmware >= Level.CLAIM
        if imds is None:
            from .imds.client import Imds

            seconds = max(0.0, min(self.left, RETRY_SECONDS))
            imds = Imds(seconds, retries=RETRIES if strong else None, environ=self.host.environ)
        self._ask(imds)
        unproven = self.identity is None and not isinstance(self.error, VerificationError)
        if unproven and imds.token_granted and imds.server != "EC2ws":
            # A mock or an agent that gives tokens, and nothing that AWS signed: EC2 may be at the other address.
            other = imds.elsewhere()
            if other is not None:
                self._ask(other)
        self.assess()

    def _ask(self, imds: Imds) -> None:
        try:
            imds.open_session(deadline=self.until)
            self._prove(imds)
        except ImdsError as error:
            self._failed(error, ", ".join(map(str, imds.endpoints)))
        self.add(*imds.facts)

    def forgo(self) -> None:
        """The network is off, so the metadata service's answer is unknown (not "no")."""
        off = "the metadata service was not asked (network is off)"
        self._failed(ImdsError(off, Reason.NETWORK_DISABLED), "")
        self.assess()

    def _failed(self, error: ImdsError, source: str) -> None:
        self.error = self.error or error
        self.add(Fact(FAILED, None, source, unknown=str(error), reason=error.reason))

    def _prove(self, imds: Imds) -> None:
        """Verify the signed items, one kind after the other, until one is a proof. Raises ImdsError.

        A kind that is missing, does not arrive, or is not understood must not hide the others: each has half of the
        time that is left. Nor must a kind with a wrong signature: AWS renews the keys of one kind at a time.
        """
        lost: ImdsError | None = None
        judged: list[_Judged] = []
        for kind in KINDS:
            until = self.until if kind is KINDS[-1] else self.clock() + self.left / 2
            try:
                item = imds.identity_item(kind, deadline=until)
                if item is None:
                    continue
                apart = imds.identity_item("document", deadline=until) if kind is Kind.SIGNATURE else None
            except ImdsError as error:
                lost = lost or error
                continue
            judged.append(self._judge(item, kind, apart, f"{imds.endpoint} {kind}"))
            if self.identity is not None:
                break
        if not judged:
            raise lost or ImdsError(
                f"metadata service: {imds.endpoint} has none of {', '.join(KINDS)}; not EC2, or a mock without them",
                Reason.NOT_EC2WS,
            )
        # What verifies decides; then what was understood and is false; then no key; then what is not understood.
        decisive, *others = sorted(judged, key=lambda one: one.rank)
        self.error = decisive.error
        for one in (decisive, *others):
            if one.document is not None:
                self.add(Fact(DOCUMENT, _words(one.document), one.fact.source))
        self.add(replace(decisive.fact, name=SIGNATURE), *(one.fact for one in others))
        if self.identity is not None and self.wanted is Level.BOUND:
            self._bind(self.identity.document, imds)

    def _judge(self, item: bytes, kind: Kind, apart: bytes | None, source: str) -> _Judged:
        """What the verification of one signed item comes to; `identity` is known where it verifies."""
        from .proof.verification import verify

        name = f"{SIGNATURE}-{kind}"
        try:
            if kind is Kind.SIGNATURE and apart is None:
                raise MalformedError("document: missing beside its signature")
            self.identity = verify(item, kind=kind, document=apart, trust=self.trust)
        except VerificationError as error:
            return _Judged(
                1, Fact(name, REFUTED, source, reason=error.reason, detail=str(error)), error, error.document
            )
        except UnverifiableError as error:
            return _Judged(2, Fact(name, None, source, unknown=str(error), reason=error.reason), error, error.document)
        except MalformedError as error:
            words = f"the signed item {kind} is not understood by this version: {error}"
            # A document that only stands beside an unreadable signature is not part of a signed item.
            document = None if kind is Kind.SIGNATURE else error.document
            return _Judged(3, Fact(name, None, source, unknown=words, reason=Reason.NOT_UNDERSTOOD), error, document)
        return _Judged(0, Fact(name, VERIFIED, source), None, self.identity.document)

    def _bind(self, document: IdentityDocument, imds: Imds) -> None:
        from .binding import Interfaces, bind

        seen = {name: one.value for name, one in self.facts.items() if one.value is not None}
        mac = self._asked(imds, "meta-data/mac")
        ipv6s = None
        if document.private_ip is None and mac:
            ipv6s = self._asked(imds, f"meta-data/network/interfaces/macs/{mac.strip().lower()}/ipv6s")
        try:
            addresses, macs = self.host.interfaces()
            unknown = "" if addresses is not None else "local interfaces could not be listed"
        except UnverifiableError as error:
            addresses, macs, unknown, self.error = None, (), str(error), error
        here = Interfaces(addresses or (), macs, unknown)
        self.add(*bind(document, seen, self.host.machine(), here, mac, (ipv6s or "").split()[:100]))

    def _asked(self, imds: Imds, path: str) -> str | None:
        """An item that confirms a binding; None where the service does not give it."""
        try:
            return imds.get(path, deadline=self.until)
        except (ImdsError, ValueError):  # ValueError: a MAC that is none makes a path that is none
            return None

    def verdict(self, timeout: float) -> Verdict:
        """The answer that the facts give."""
        found = self.assessment
        return Verdict(
            level=found.level,
            reason=found.reason,
            because=found.because,
            wanted=self.wanted,
            undecided=found.undecided,
            facts=tuple(self.facts.values()),
            identity=self.identity if found.level >= Level.PROOF else None,
            elapsed=timeout - self.left,
            error=None if found.level >= self.wanted else self._error(),
        )

    def _error(self) -> Ec2IdentError | None:
        reason, because = self.assessment.reason, self.assessment.because
        if reason is Reason.WRONG_MACHINE:
            return VerificationError(because, reason)
        if reason is Reason.NOT_BOUND:
            unbound = UnverifiableError(because, reason)
            unbound.__cause__ = self.error  # why nothing could be compared, if that is so
            return unbound
        if reason in (Reason.OTHER_VENDOR, Reason.CONTRADICTION, Reason.NO_EVIDENCE):
            return FirmwareError(because)
        return self.error


def _words(document: IdentityDocument) -> str:
    return f"{document.instance_id} in {document.region}, account {document.account_id}"
