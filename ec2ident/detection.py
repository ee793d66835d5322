"""Which probe comes next, and when it is enough: cheap before dear, local before remote, one deadline over all.

Environment and unprivileged sysfs first (microseconds); then what needs root or a program; then, unless another
vendor's firmware has settled it, the metadata service: a token and `rsa2048`, which carries the document, are a proof
in two requests. What is in hand is verified. The module is not called `detect`: importing a module of that name would
silently put the module in the place of the function.
"""

from __future__ import annotations

import time

from . import standin
from .assess import DOCUMENT, FAILED, SIGNATURE, VERIFIED, weigh
from .errors import Ec2IdentError, FirmwareError, ImdsError, MalformedError, UnverifiableError, VerificationError
from .host import FIRMWARE, Host
from .model import Fact, Kind, Level, Reason, Verdict
from .value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .assess import Weight
    from .imds import Imds
    from .model import Identity, IdentityDocument
    from .trust import TrustStore

#: How often to ask again where firmware says that this is EC2, and for how long, in seconds: at boot the service may be
#: late.
RETRIES = 12
RETRY_SECONDS = 5.0

#: Kinds in the order they are asked for: the first that verifies is enough. The last does not carry the document.
KINDS = (Kind.RSA2048, Kind.PKCS7, Kind.SIGNATURE)

#: Failures of a request that say nothing about the next one.
OF_ONE_ITEM = frozenset({Reason.SERVER_ERROR, Reason.TOO_LARGE, Reason.MALFORMED})

#: boot id -> a verdict at BOUND. Only that is remembered: the one answer that costs something, and cannot change while
#: the machine runs. In memory alone: whoever could write a file could write a verdict.
_bound: dict[str, Verdict] = {}


def detect(
    level: Level = Level.CLAIM,
    timeout: float = 1.0,
    *,
    network: bool = True,
    root: str = "/",
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
    search = _Search(level, clock() + timeout, clock, host or (standin.host or Host)(root), trust)
    boot = search.host.boot_id() if own and level > Level.CLAIM else None
    if boot is not None and boot in _bound:
        return replace(_bound[boot], wanted=level, elapsed=0.0)
    search.look()
    if search.open:
        search.ask(imds) if network else search.forgo()
    verdict = search.verdict(timeout)
    if boot is not None and verdict and verdict.level is Level.BOUND:
        _bound[boot] = verdict
    return verdict


def is_ec2(level: Level = Level.CLAIM, timeout: float = 1.0) -> bool:
    """Is this machine EC2, as sure as `level`? A failure of the machine or the network is False; see `detect` for why.

    Raises ValueError for a level or a timeout that makes no sense: that is an error of the calling program.
    """
    level = _checked(level, timeout)
    try:
        return bool(detect(level, timeout))
    except Exception:  # noqa: BLE001  the promise of this function
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

    Raises ImdsError where no document could be had, VerificationError where it is not AWS's or not this machine's,
    UnverifiableError where no key is known for its region, MalformedError where this version does not understand it;
    FirmwareError where firmware is another vendor's. All are Ec2IdentError, and the first two carry a `reason`.
    """
    verdict = detect(Level.BOUND if bind else Level.PROOF, timeout, imds=imds, trust=trust, host=host)
    if verdict and verdict.identity is not None:
        return verdict.identity
    raise _error(verdict)


def _error(verdict: Verdict) -> Ec2IdentError:
    reason, says = verdict.reason, verdict.because
    if reason is Reason.UNVERIFIABLE:
        return UnverifiableError(says)
    if reason is Reason.NOT_UNDERSTOOD:
        return MalformedError(says)
    if reason in (Reason.OTHER_VENDOR, Reason.CONTRADICTION, Reason.NO_EVIDENCE):
        return FirmwareError(says)
    if any(one.name == SIGNATURE for one in verdict.facts):
        return VerificationError(says, reason)
    return ImdsError(says, reason)


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


class _Search:
    """The facts so far, and what they weigh."""

    def __init__(
        self, wanted: Level, until: float, clock: Callable[[], float], host: Host, trust: TrustStore | None
    ) -> None:
        self.wanted, self.until, self.clock, self.host, self.trust = wanted, until, clock, host, trust
        self.facts: dict[str, Fact] = {}
        self.identity: Identity | None = None
        self.weight: Weight = weigh((), wanted)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.until - self.clock()

    @property
    def open(self) -> bool:
        """Is the level not reached, and can the network still add to it?"""
        return self.weight.level < self.wanted and not self.weight.vetoed

    def add(self, *found: Fact) -> None:
        """Take facts in: a value stands, and takes the place of an absence."""
        for one in found:
            known = self.facts.get(one.name)
            if known is None or (known.value is None and one.value is not None):
                self.facts[one.name] = one

    def look(self) -> None:
        """Firmware and the rest of local evidence, until it is settled what they say."""
        for stage in self.host.stages():
            self.add(*stage(self.left))
            self.weight = weigh(self.facts.values(), self.wanted)
            if self.weight.vetoed or self.weight.firmware >= min(self.wanted, Level.CLAIM):
                break
        if any(one.value is not None for name, one in self.facts.items() if name != "environment"):
            self.facts.pop(FIRMWARE, None)  # one way was closed, another was open
            self.weight = weigh(self.facts.values(), self.wanted)

    def ask(self, imds: Imds | None) -> None:
        """The metadata service: a proof in two requests, verified because it is in hand."""
        strong = self.weight.firmware >= Level.CLAIM
        if imds is None:
            from .imds import Imds

            seconds = max(0.0, min(self.left, RETRY_SECONDS))
            imds = Imds(seconds, retries=RETRIES if strong else 0, environ=self.host.environ)
        try:
            self._document(imds)
            if self.identity is not None and self.wanted is Level.BOUND:
                self._bind(self.identity.document, imds)
        except ImdsError as error:
            self.add(Fact(FAILED, None, ", ".join(map(str, imds.endpoints)), unknown=f"{error.reason}: {error}"))
        self.add(*imds.facts)
        self.weight = weigh(self.facts.values(), self.wanted)

    def forgo(self) -> None:
        """Nobody may be asked, so nobody has said no."""
        unknown = f"{Reason.NETWORK_DISABLED}: the metadata service was not asked (network is off)"
        self.add(Fact(FAILED, None, "", unknown=unknown))
        self.weight = weigh(self.facts.values(), self.wanted)

    def _document(self, imds: Imds) -> None:
        """The signed items, until one verifies: whatever one kind does, the others are tried while there is time."""
        seen: list[tuple[Fact, IdentityDocument | None]] = []
        failure = None
        for kind in KINDS:
            try:
                item = imds.identity_item(kind, deadline=self.until)
                if item is None:
                    continue
                apart = imds.identity_item("document", deadline=self.until) if kind is Kind.SIGNATURE else None
            except ImdsError as error:
                failure = failure or error
                if error.reason in OF_ONE_ITEM and imds.token_granted:
                    continue
                break
            seen.append(self._verified(item, kind, apart, imds))
            if self.identity is not None:
                break
        if not seen:
            raise failure or ImdsError(
                f"metadata service: {imds.endpoint} has none of {', '.join(KINDS)}; not EC2, or a mock without them",
                Reason.NOT_EC2WS,
            )
        # What verifies counts; then what was understood and is wrong; then what could not be understood.
        seen.sort(key=lambda one: (one[0].value != VERIFIED, one[0].value is None))
        decisive = seen[0][0]
        for one, document in seen:
            if document is not None:
                self.add(Fact(DOCUMENT, _words(document), one.source))
        self.add(replace(decisive, name=SIGNATURE), *(one for one, _ in seen[1:]))

    def _verified(
        self, item: bytes, kind: Kind, apart: bytes | None, imds: Imds
    ) -> tuple[Fact, IdentityDocument | None]:
        """What becomes of one signed item, and the document in it where it could be read; `identity` if it verifies."""
        from .verification import verify

        name, source = f"{SIGNATURE}-{kind}", f"{imds.endpoint} {kind}"
        try:
            if kind is Kind.SIGNATURE and apart is None:
                raise MalformedError("document: missing beside its signature")
            self.identity = verify(item, kind=kind, document=apart, trust=self.trust)
        except VerificationError as error:
            return Fact(name, f"{error.reason}: {error}", source), error.document
        except UnverifiableError as error:
            return Fact(name, None, source, unknown=f"{Reason.UNVERIFIABLE}: {error}"), error.document
        except MalformedError as error:
            words = f"{Reason.NOT_UNDERSTOOD}: the signed item {kind} is not understood by this version: {error}"
            return Fact(name, None, source, unknown=words), error.document
        return Fact(name, VERIFIED, source), self.identity.document

    def _bind(self, document: IdentityDocument, imds: Imds) -> None:
        from .binding import bind

        seen = {name: one.value for name, one in self.facts.items() if one.value is not None}
        mac = imds.get("meta-data/mac", deadline=self.until)
        addresses, macs = self.host.interfaces()
        self.add(*bind(document, seen, self.host.machine(), addresses, macs, mac))

    def verdict(self, timeout: float) -> Verdict:
        """What it all comes to."""
        weight = self.weight
        reason, because = weight.reason, weight.because
        if FIRMWARE in self.facts and reason is Reason.NO_EVIDENCE:
            because = f"{because} ({self.facts[FIRMWARE].unknown})"
        return Verdict(
            level=weight.level,
            reason=reason,
            because=because,
            wanted=self.wanted,
            open=weight.open,
            facts=tuple(self.facts.values()),
            identity=self.identity if weight.level >= Level.PROOF else None,
            elapsed=timeout - self.left,
        )


def _words(document: IdentityDocument) -> str:
    return f"{document.instance_id} in {document.region}, account {document.account_id}"
