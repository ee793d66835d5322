"""Which proven identities a server lets in: whose account, from where, of which kind, and how fresh.

A signature proves that AWS wrote the document, for any of its customers. What to make of that is the server's to say.
"""

from __future__ import annotations

from .errors import VerificationError
from .model import Kind, Reason
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from .model import Identity


#: The rules that list what is allowed.
_LISTS = (
    *("accounts", "regions", "partitions", "instances", "images", "instance_types", "zones", "product_codes"),
    "kinds",
)


class Policy(Value):
    """What an identity must be to be let in. None means that a thing is not asked for; an empty list is an error.

        Policy(accounts=["123456789012"], max_signed_age=timedelta(minutes=5)).check(identity, now=now)

    Raises ValueError where a rule could never be met or was mistyped.
    """

    #: Account ids. There is no default: a policy that takes any AWS customer says `accounts=None`.
    accounts: Iterable[str] | None
    regions: Iterable[str] | None = None
    partitions: Iterable[str] | None = None
    instances: Iterable[str] | None = None
    #: AMI ids, such as `ami-0123456789abcdef0`; instance types, such as `m5.large`; zones, such as `eu-west-1a`.
    images: Iterable[str] | None = None
    instance_types: Iterable[str] | None = None
    zones: Iterable[str] | None = None
    #: AWS Marketplace or DevPay product codes, of which the document must list at least one.
    product_codes: Iterable[str] | None = None
    #: The kinds of signature to accept.
    kinds: Iterable[Kind | str] | None = None
    #: Accept keys below today's strength limits too: RSA-1024, and DSA-1024 with SHA-1.
    allow_legacy: bool = False
    #: Greatest age of AWS's signature. The kind `signature` does not carry a time, and never meets this.
    max_signed_age: timedelta | None = None
    #: Greatest age of the instance's last start.
    max_pending_age: timedelta | None = None
    #: How far ahead of the server's clock a time may be, in seconds.
    max_ahead: float = 60.0

    def __post_init__(self) -> None:
        for name in _LISTS:
            self.__dict__[name] = _names(name, getattr(self, name))
        if self.kinds is not None:
            self.__dict__["kinds"] = frozenset(map(Kind, self.kinds))
        bad = [account for account in self.accounts or () if len(account) != 12 or not account.isdigit()]
        if bad:
            raise ValueError(f"accounts: {bad[0]!r} (twelve digits, as text: leading zeros count)")

    def check(self, identity: Identity, *, now: datetime) -> Identity:
        """The identity, where it meets the policy. `now` is aware.

        Raises VerificationError with reason NOT_ALLOWED or TOO_OLD, and both values in the text.
        """
        document = identity.document
        for name, found, allowed in (
            ("account", document.account_id, self.accounts),
            ("region", identity.region, self.regions),
            ("partition", identity.partition, self.partitions),
            ("instance", document.instance_id, self.instances),
            ("image", document.image_id, self.images),
            ("instance type", document.instance_type, self.instance_types),
            ("zone", document.availability_zone, self.zones),
            ("kind", identity.kind, self.kinds),
        ):
            if allowed is not None and (found is None or found not in allowed):
                raise VerificationError(f"{name}: {found} (allowed: {_listed(allowed)})", Reason.NOT_ALLOWED)
        codes = {*document.marketplace_product_codes, *document.devpay_product_codes}
        if self.product_codes is not None and not codes.intersection(self.product_codes):
            raise VerificationError(
                f"product codes: {_listed(codes) or 'none'} (one is needed of: {_listed(self.product_codes)})",
                Reason.NOT_ALLOWED,
            )
        if identity.legacy and not self.allow_legacy:
            raise VerificationError(
                f"kind: {identity.kind} with a legacy key (allowed: RSA-2048 and stronger; ask for rsa2048)",
                Reason.NOT_ALLOWED,
            )
        self._check_age("signed", identity.signed_at, self.max_signed_age, now)
        self._check_age("instance started", document.pending_time, self.max_pending_age, now)
        return identity

    def _check_age(self, what: str, when: datetime | None, limit: timedelta | None, now: datetime) -> None:
        if limit is None:
            return
        if when is None:
            raise VerificationError(
                f"{what}: at an unknown time (at most {limit} ago; ask for rsa2048, which says)", Reason.NOT_ALLOWED
            )
        age = now - when
        if age > limit:
            raise VerificationError(f"{what}: {when.isoformat()}, {age} ago (at most {limit})", Reason.TOO_OLD)
        if -age.total_seconds() > self.max_ahead:
            raise VerificationError(
                f"{what}: {when.isoformat()}, {-age} ahead of {now.isoformat()} (at most {self.max_ahead:g} s; "
                "see to the clocks)",
                Reason.NOT_ALLOWED,
            )


def _names(what: str, given: Iterable[str] | None) -> frozenset[str] | None:
    """The names as a set. A text is no list of names, and an empty list would let nobody in: both are mistakes."""
    if given is None:
        return None
    if isinstance(given, str):
        raise ValueError(f"{what}: {given!r} is one text (a list of them is expected)")
    names = frozenset(given)
    if not names:
        raise ValueError(f"{what}: empty, which nobody can meet (None asks for nothing)")
    return names


def _listed(allowed: Iterable[object], most: int = 5) -> str:
    names = sorted(str(name) for name in allowed)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
