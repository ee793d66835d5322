"""Which proven identities a server lets in: of which account, from where, of which kind, and how fresh.

A signature proves that AWS wrote the document, for any of its customers. The server decides what follows from that.
"""

from __future__ import annotations

import math

from ec2ident.errors import UnknownNameError, VerificationError
from ec2ident.firmware import instance_id, instance_type
from ec2ident.model import Kind, Reason
from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta
    from typing import Any

    from ec2ident.model import Identity

#: The longest age that a configuration may name, in seconds: a hundred years.
_LONGEST_AGE = 100 * 366 * 86400


class Policy(Value):
    """What an identity must be to be let in. None means that a thing is not asked for; an empty list is an error.

        Policy(accounts=["123456789012"], max_signed_age=timedelta(minutes=5)).check(identity, now=now)

    Raises ValueError where a rule could never be met or was mistyped: a number for an account, a region that does not
    exist, an age without a unit.
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
    #: How far ahead of the server's clock a time may be, in seconds; and how far the start may be after the signature.
    max_ahead: float = 60.0
    #: Take names of regions that this version does not know, where they have the form of one: AWS opens new ones.
    unlisted_regions: bool = False

    def __post_init__(self) -> None:
        for name in ("allow_legacy", "unlisted_regions"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: {getattr(self, name)!r} (True or False is expected)")
        for name, trouble in _LISTS.items():
            self.__dict__[name] = _names(name, getattr(self, name), trouble, self.unlisted_regions)
        if self.kinds is not None:
            self.__dict__["kinds"] = frozenset(map(Kind, self.kinds))
        for name in ("max_signed_age", "max_pending_age"):
            _check_limit(name, getattr(self, name))
        if not _is_number(self.max_ahead) or not 0 <= self.max_ahead < math.inf:
            raise ValueError(f"max_ahead: {self.max_ahead!r} (a number of seconds, 0 or more, is expected)")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Policy:
        """The policy in a table of a configuration file (TOML, JSON); its members have the names of the rules.

        Ages are numbers of seconds there. `accounts` must be present; `"any"`, or null, takes any AWS customer. Raises
        ValueError for an unknown member and for a wrong value.
        """
        from collections.abc import Mapping as AnyMapping
        from datetime import timedelta

        if not isinstance(mapping, AnyMapping):
            raise ValueError(f"policy: {type(mapping).__name__} (a table of rules is expected)")
        rules: dict[str, Any] = dict(mapping)
        for name in rules:
            if name not in cls._fields:
                raise ValueError(f"policy: no rule is named {name!r}{_nearest(name, cls._fields)}")
        if "accounts" not in rules:
            raise ValueError('accounts: missing (a list of account ids, or "any" for any AWS customer)')
        if rules["accounts"] == "any":
            rules["accounts"] = None
        for name in ("max_signed_age", "max_pending_age"):
            seconds = rules.get(name)
            if seconds is None:
                continue
            if not _is_number(seconds) or not 0 < seconds <= _LONGEST_AGE:
                raise ValueError(f"{name}: {seconds!r} (a number of seconds, more than 0, is expected)")
            rules[name] = timedelta(seconds=seconds)
        return cls(**rules)

    def check(self, identity: Identity, *, now: datetime) -> Identity:
        """The identity, where it meets the policy. `now` is aware.

        Raises VerificationError with reason NOT_ALLOWED or TOO_OLD, and both values in the text. Also refused is a
        signature that is older than the start that it is about.
        """
        from datetime import datetime

        if not isinstance(now, datetime) or now.utcoffset() is None:
            raise ValueError(f"now: {now!r} (an aware datetime is expected, such as datetime.now(timezone.utc))")
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
        signed_at = identity.signed_at
        if signed_at is not None and (document.pending_time - signed_at).total_seconds() > self.max_ahead:
            raise VerificationError(
                f"signed: {signed_at.isoformat()}, before the instance started ({document.pending_time.isoformat()})",
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


def _names(
    what: str, given: Iterable[str] | None, trouble: Callable[[str, bool], str], unlisted: bool
) -> frozenset[str] | None:
    """The names as a set. Raises ValueError for a single text, and for an empty list, which would refuse all."""
    from collections.abc import Iterable as AnyIterable
    from collections.abc import Mapping as AnyMapping

    if given is None:
        return None
    if isinstance(given, (str, bytes, AnyMapping)) or not isinstance(given, AnyIterable):
        kind = "text" if isinstance(given, str) else type(given).__name__
        raise ValueError(f"{what}: {given!r} is one {kind} (a list of names is expected)")
    names: list[Any] = list(given)  # what a configuration file gave
    if not names:
        raise ValueError(f"{what}: empty, which no machine can meet (None asks for nothing)")
    for name in names:
        if not isinstance(name, str):
            text = str(name).zfill(12) if what == "accounts" and _is_number(name) else str(name)
            raise ValueError(f"{what}: {name!r} is of type {type(name).__name__} (text is expected: {text!r})")
        wrong = trouble(name, unlisted)
        if wrong:
            raise ValueError(f"{what}: {name!r}{wrong}")
    return frozenset(names)


def _account(name: str, _: bool) -> str:
    return "" if len(name) == 12 and name.isascii() and name.isdigit() else " (twelve digits: leading zeros count)"


def _region(name: str, unlisted: bool) -> str:
    from ec2ident.regions.partitions import Partition

    known = [region for partition in Partition.all() for region in partition.regions]
    if name in known:
        return ""
    try:
        of = Partition.of(name).name
    except UnknownNameError:
        return f" is like no region{_nearest(name, known)}"
    if unlisted and name != f"{of}-global":
        return ""
    return f" is not a region that this version knows{_nearest(name, known)}; unlisted_regions=True takes new ones"


def _partition(name: str, _: bool) -> str:
    from ec2ident.regions.partitions import Partition

    known = [partition.name for partition in Partition.all()]
    return "" if name in known else f" is not a partition{_nearest(name, known)}: {', '.join(known)}"


def _zone(name: str, unlisted: bool) -> str:
    """A zone is a region and a letter; a Local or Wavelength Zone has more in between: us-west-2-lax-1a."""
    import re

    found = re.match(r"[a-z]+(-[a-z]+)+-[0-9]+(?=(-[a-z0-9-]+)?[a-z]$)", name)
    if not found:
        return " has not the form of a zone, such as eu-west-1a"
    wrong = _region(found.group(), unlisted)
    return wrong and f": {found.group()!r}{wrong}"


def _starts(prefix: str) -> Callable[[str, bool], str]:
    def trouble(name: str, _: bool) -> str:
        fits = name.startswith(prefix) and name.isascii() and name[len(prefix) :].isalnum()
        return "" if fits else f" (such as {prefix}0123456789abcdef0)"

    return trouble


def _instance(name: str, _: bool) -> str:
    return "" if instance_id(name) else " (i- and 8 or 17 hex digits, such as i-0123456789abcdef0)"


def _type(name: str, _: bool) -> str:
    return "" if instance_type(name) else " has not the form of an instance type, such as m5.large"


def _code(name: str, _: bool) -> str:
    return "" if name.isascii() and name.replace("-", "").isalnum() else " (letters and digits are expected)"


def _kind(name: str, _: bool) -> str:
    kinds = [kind.value for kind in Kind]
    return "" if name in kinds else f" is not a kind of signature{_nearest(name, kinds)}: {', '.join(kinds)}"


#: The rules that list what is allowed, and what is wrong with a name in one of them: empty where nothing is.
_LISTS: dict[str, Callable[[str, bool], str]] = {
    "accounts": _account,
    "regions": _region,
    "partitions": _partition,
    "instances": _instance,
    "images": _starts("ami-"),
    "instance_types": _type,
    "zones": _zone,
    "product_codes": _code,
    "kinds": _kind,
}


def _check_limit(name: str, limit: object) -> None:
    from datetime import timedelta

    if limit is None:
        return
    if not isinstance(limit, timedelta):
        seconds = f": timedelta(seconds={limit!r})" if _is_number(limit) else ""
        raise ValueError(f"{name}: {limit!r} (a timedelta is expected{seconds})")
    if limit <= timedelta(0):
        raise ValueError(f"{name}: {limit} (more than nothing is expected)")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _nearest(name: object, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(str(name), list(known), 3, 0.6)
    # Two letters that changed places are the likeliest mistake.
    near.sort(key=lambda one: sorted(one) != sorted(str(name)))
    return f" (did you mean {near[0]}?)" if near else ""


def _listed(allowed: Iterable[object], most: int = 5) -> str:
    names = sorted(str(name) for name in allowed)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
