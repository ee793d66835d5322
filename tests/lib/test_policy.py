"""Policies: the near misses of whom a server lets in."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from ec2ident.errors import VerificationError
from ec2ident.model import Identity, Reason
from ec2ident.policy import Policy
from ec2ident.verification import verify

from . import forge

MINUTE = timedelta(minutes=1)
ACCOUNT = "012345678901"


def identity(kind: str = "rsa2048", signed_at: datetime = forge.SIGNED_AT, **fields: object) -> Identity:
    document = forge.document(**fields)  # type: ignore[arg-type]
    return verify(forge.OURS.sign(document, kind, signed_at), kind=kind, document=document, trust=forge.trust())


def refused(policy: Policy, who: Identity, match: str, now: datetime = forge.SIGNED_AT) -> Reason:
    with pytest.raises(VerificationError, match=match) as caught:
        policy.check(who, now=now)
    return caught.value.reason


def test_an_identity_that_meets_all_rules_comes_back() -> None:
    """So that `policy.check(verify(...), now=now)` is one expression."""
    who = identity()
    policy = Policy(
        accounts=[ACCOUNT, "999999999999"],
        regions=["af-south-1"],
        partitions=["aws"],
        instances=["i-0123456789abcdef0"],
        kinds=["rsa2048"],
        max_signed_age=MINUTE,
        max_pending_age=MINUTE,
    )

    assert who is policy.check(who, now=forge.SIGNED_AT + timedelta(seconds=30))


@pytest.mark.parametrize(
    ("policy", "match"),
    [
        (Policy(accounts=["012345678902"]), "account: 012345678901 \\(allowed: 012345678902\\)"),
        (Policy(accounts=None, regions=["af-south-2", "eu-west-1"]), "region: af-south-1 .*af-south-2, eu-west-1"),
        (Policy(accounts=None, partitions=["aws-cn"]), "partition: aws \\(allowed: aws-cn\\)"),
        (Policy(accounts=None, instances=["i-0123456789abcdef1"]), "instance: i-0123456789abcdef0 "),
        (Policy(accounts=None, images=["ami-1"]), r"image: ami-\w+ \(allowed: ami-1\)"),
        (Policy(accounts=None, instance_types=["t3.micro"]), r"instance type: [\w.]+ \(allowed: t3.micro\)"),
        (Policy(accounts=None, zones=["af-south-1z"]), r"zone: af-south-1\w \(allowed: af-south-1z\)"),
        (Policy(accounts=None, product_codes=["code-a"]), r"product codes: none \(one is needed of: code-a\)"),
        (Policy(accounts=None, kinds=["pkcs7"]), "kind: rsa2048 \\(allowed: pkcs7\\)"),
    ],
)
def test_one_digit_away_is_refused_with_both_values(policy: Policy, match: str) -> None:
    """Each rule alone, one character from what it asks for."""
    assert Reason.NOT_ALLOWED is refused(policy, identity(), match)


def test_a_long_list_is_not_printed_whole() -> None:
    """A log line stays a line."""
    accounts = [f"{number:012}" for number in range(1, 100)]
    refused(Policy(accounts=accounts), identity(), "000000000005 and 94 more\\)")


@pytest.mark.parametrize("kind", ["signature", "pkcs7"])
def test_weak_keys_are_let_in_only_where_asked_for(kind: str) -> None:
    """RSA-1024, and DSA-1024 with SHA-1."""
    who = identity(kind)

    assert Reason.NOT_ALLOWED is refused(Policy(accounts=[ACCOUNT]), who, f"kind: {kind} with a legacy key")
    assert who is Policy(accounts=[ACCOUNT], allow_legacy=True).check(who, now=forge.SIGNED_AT)


@pytest.mark.parametrize(("seconds", "allowed"), [(0, True), (60, True), (61, False), (-60, True), (-61, False)])
def test_the_age_of_a_signature_has_two_ends(seconds: int, allowed: bool) -> None:
    """At most so old, and at most a minute ahead of the server's clock; the limits themselves are let in."""
    policy = Policy(accounts=None, max_signed_age=MINUTE)
    now = forge.SIGNED_AT + timedelta(seconds=seconds)

    if allowed:
        policy.check(identity(), now=now)
    elif seconds > 0:
        assert Reason.TOO_OLD is refused(policy, identity(), "signed: 2026-02-03T04:05:06.00:00, 0:01:01 ago", now)
    else:
        assert Reason.NOT_ALLOWED is refused(policy, identity(), "0:01:01 ahead of .* see to the clocks", now)


def test_signing_again_does_not_make_a_start_younger() -> None:
    """AWS signs again while an instance runs: the two ages are two rules."""
    later = forge.SIGNED_AT + timedelta(days=240)
    who = identity(signed_at=later)

    Policy(accounts=None, max_signed_age=MINUTE).check(who, now=later)
    policy = Policy(accounts=None, max_pending_age=MINUTE)
    assert Reason.TOO_OLD is refused(policy, who, "instance started: 2026-02-03T04:05:03.*240 days", later)


def test_a_signature_without_a_time_has_no_age() -> None:
    """The kind `signature` does not say when: that is no yes."""
    policy = Policy(accounts=None, allow_legacy=True, max_signed_age=MINUTE)

    assert Reason.NOT_ALLOWED is refused(policy, identity("signature"), "signed: at an unknown time")


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"accounts": []}, "accounts: empty"),
        ({"accounts": "012345678901"}, "accounts: '012345678901' is one text"),
        ({"accounts": ["12345678901"]}, "accounts: '12345678901' \\(twelve digits"),
        ({"accounts": None, "regions": ()}, "regions: empty"),
        ({"accounts": None, "kinds": ["rsa"]}, "'rsa' is not a valid Kind"),
    ],
)
def test_a_rule_that_nobody_can_meet_is_a_mistake(rules: dict[str, object], match: str) -> None:
    """Found when the policy is made, not when the first machine is refused, or let in."""
    with pytest.raises(ValueError, match=match):
        Policy(**rules)  # type: ignore[arg-type]


def test_accounts_have_no_default() -> None:
    """Any AWS customer has a valid document: to take them all has to be said."""
    with pytest.raises(TypeError, match="accounts"):
        Policy()  # type: ignore[call-arg]


def test_a_policy_is_a_value() -> None:
    """Equal rules are equal, in any order, and cannot be changed by whoever keeps the list."""
    accounts = [ACCOUNT, "999999999999"]
    policy = Policy(accounts=accounts)
    accounts.clear()

    assert Policy(accounts=("999999999999", ACCOUNT)) == policy
    assert hash(Policy(accounts={ACCOUNT, "999999999999"})) == hash(policy)


def test_one_of_the_product_codes_is_enough() -> None:
    """A Marketplace image has one code or several, and a policy may accept several products."""
    who = identity(marketplaceProductCodes=["code-b", "code-c"])

    assert who is Policy(accounts=None, product_codes=["code-a", "code-b"]).check(who, now=forge.SIGNED_AT)
    assert Reason.NOT_ALLOWED is refused(
        Policy(accounts=None, product_codes=["code-a"]),
        who,
        r"product codes: code-b, code-c \(one is needed of: code-a\)",
    )


def test_image_type_and_zone_can_be_asked_for() -> None:
    """The document's own spelling counts."""
    policy = Policy(
        accounts=None, images=["ami-0123456789abcdef0"], instance_types=["m7g.large"], zones=["af-south-1a"]
    )

    assert policy.check(identity(), now=forge.SIGNED_AT)
