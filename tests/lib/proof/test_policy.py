"""Policies: the near misses of what a server lets in."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from ec2ident.errors import VerificationError
from ec2ident.model import Identity, Kind, Reason
from ec2ident.proof.policy import Policy
from ec2ident.proof.verification import verify
from ec2ident.regions.partitions import Partition
from tests.lib import forge

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
        (Policy(accounts=None, regions=["eu-south-1", "eu-west-1"]), "region: af-south-1 .*eu-south-1, eu-west-1"),
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
    """The kind `signature` does not say when: that is not a yes."""
    policy = Policy(accounts=None, allow_legacy=True, max_signed_age=MINUTE)

    assert Reason.NOT_ALLOWED is refused(policy, identity("signature"), "signed: at an unknown time")


NAN, NAIVE = float("nan"), forge.SIGNED_AT.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"accounts": []}, "accounts: empty"),
        ({"accounts": "012345678901"}, "accounts: '012345678901' is one text"),
        ({"accounts": b"012345678901"}, "accounts: b'012345678901' is one bytes"),
        ({"accounts": {"012345678901": True}}, "accounts: .* is one dict"),
        ({"accounts": 437526006925}, "accounts: 437526006925 is one int"),
        ({"accounts": [437526006925]}, "accounts: 437526006925 is of type int \\(text is expected: '437526006925'\\)"),
        ({"accounts": [12345678901]}, "accounts: 12345678901 is of type int \\(text is expected: '012345678901'\\)"),
        ({"regions": [12]}, "regions: 12 is of type int \\(text is expected: '12'\\)"),
        ({"accounts": [None]}, "accounts: None is of type NoneType \\(text is expected: 'None'\\)"),
        ({"accounts": ["12345678901"]}, "accounts: '12345678901' \\(twelve digits"),
        ({"accounts": ["１２３４５６７８９０１２"]}, "twelve digits"),
        ({"regions": ()}, "regions: empty"),
        ({"regions": ["us-esat-2"]}, "regions: 'us-esat-2' is not a region .*did you mean us-east-2\\?"),
        ({"regions": ["us-east-2a"]}, "regions: 'us-east-2a' is like no region \\(did you mean us-east-2\\?"),
        ({"regions": ["US-EAST-2"]}, "regions: 'US-EAST-2' is like no region"),
        ({"regions": ["aws-global"]}, "regions: 'aws-global' is not a region"),
        ({"regions": ["aws-global"], "unlisted_regions": True}, "regions: 'aws-global' is not a region"),
        ({"regions": ["moon-1"], "unlisted_regions": True}, "regions: 'moon-1' is like no region"),
        ({"partitions": ["aws-gov"]}, "partitions: 'aws-gov' is not a partition \\(did you mean aws-us-gov\\?\\)"),
        ({"zones": ["eu-wets-1a"]}, "zones: 'eu-wets-1a': 'eu-wets-1' is .*did you mean eu-west-1\\?"),
        ({"zones": ["eu-west-1"]}, "zones: 'eu-west-1' has not the form of a zone"),
        ({"instances": ["i-123"]}, "instances: 'i-123' \\(i- and 8 or 17 hex digits"),
        ({"instances": ["I-0123456789abcdef0"]}, "instances: "),
        ({"images": ["0123456789abcdef0"]}, "images: .*such as ami-"),
        ({"images": ["ami-*"]}, "images: 'ami-\\*' \\(such as ami-"),
        ({"instance_types": ["m5"]}, "instance_types: 'm5' has not the form"),
        ({"product_codes": ["a b"]}, "product_codes: 'a b' "),
        ({"kinds": ["rsa"]}, "kinds: 'rsa' is not a kind of signature.*: rsa2048, pkcs7, signature"),
        ({"kinds": ["rsa2047"]}, "did you mean rsa2048\\?"),
        ({"allow_legacy": "false"}, "allow_legacy: 'false' \\(True or False is expected\\)"),
        ({"allow_legacy": 0}, "allow_legacy: 0 "),
        ({"unlisted_regions": "no"}, "unlisted_regions: 'no' "),
        ({"max_signed_age": 300}, "max_signed_age: 300 \\(a timedelta is expected: timedelta\\(seconds=300\\)"),
        ({"max_pending_age": NAN}, "max_pending_age: nan \\(a timedelta"),
        ({"max_pending_age": "5m"}, "max_pending_age: '5m' \\(a timedelta"),
        ({"max_pending_age": forge.SIGNED_AT}, "max_pending_age: .*a timedelta"),
        ({"max_pending_age": timedelta(0)}, "more than nothing"),
        ({"max_pending_age": -MINUTE}, "more than nothing"),
        ({"max_ahead": NAN}, "max_ahead: nan"),
        ({"max_ahead": float("inf")}, "max_ahead: inf"),
        ({"max_ahead": -1}, "max_ahead: -1"),
        ({"max_ahead": "60"}, "max_ahead: '60'"),
        ({"max_ahead": True}, "max_ahead: True"),
    ],
)
def test_a_rule_that_no_machine_can_meet_is_a_mistake(rules: dict[str, object], match: str) -> None:
    """Found when the policy is made, not when the first machine is refused, or let in."""
    with pytest.raises(ValueError, match=match):
        Policy(**{"accounts": None, **rules})  # type: ignore[arg-type]


def test_a_region_newer_than_this_version_can_be_named_on_purpose() -> None:
    """AWS opens new ones, and their certificate can be added too."""
    policy = Policy(accounts=None, regions=["eu-north-2"], zones=["eu-north-2a"], unlisted_regions=True)

    assert ({"eu-north-2"}, {"eu-north-2a"}) == (policy.regions, policy.zones)


def test_every_region_partition_and_kind_of_zone_is_a_name() -> None:
    """Also Local and Wavelength Zones."""
    for partition in Partition.all():
        zones = [f"{region}a" for region in partition.regions]
        assert Policy(accounts=None, regions=partition.regions, partitions=[partition.name], zones=zones)
    assert Policy(accounts=None, zones=["us-west-2-lax-1a", "us-east-1-wl1-bos-wlz-1a"])


@pytest.mark.parametrize("now", [NAIVE, "2026-02-03T04:05:06Z", 1770091506, None])
def test_a_clock_that_is_not_aware_is_a_mistake_of_the_server(now: object) -> None:
    """Found also where no age is asked for."""
    with pytest.raises(ValueError, match=r"now: .*an aware datetime is expected"):
        Policy(accounts=None).check(identity(), now=now)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "allowed"), [(0, True), (60, True), (61, False), (86400, False)])
def test_an_instance_does_not_start_after_its_document_was_signed(seconds: int, allowed: bool) -> None:
    """AWS signs one to thirteen seconds after the start, or again later; clocks may differ by `max_ahead`."""
    started = forge.SIGNED_AT + timedelta(seconds=seconds)
    who = identity(pendingTime=started.strftime("%Y-%m-%dT%H:%M:%SZ"))

    if allowed:
        assert Policy(accounts=None).check(who, now=forge.SIGNED_AT)
    else:
        reason = refused(Policy(accounts=None), who, "signed: 2026-02-03T04:05:06.*before the instance started")
        assert Reason.NOT_ALLOWED is reason


def test_a_policy_is_read_from_configuration() -> None:
    """The table of a TOML or JSON file: names as they are here, ages in seconds."""
    rules = {
        "accounts": [ACCOUNT],
        "regions": ["af-south-1"],
        "kinds": ["rsa2048"],
        "allow_legacy": False,
        "max_pending_age": 300,
        "max_signed_age": 0.5,
        "max_ahead": 5,
    }

    made = Policy(
        accounts=[ACCOUNT],
        regions=["af-south-1"],
        kinds=[Kind.RSA2048],
        max_pending_age=timedelta(minutes=5),
        max_signed_age=timedelta(milliseconds=500),
        max_ahead=5,
    )
    assert made == Policy.from_mapping(rules) == Policy.from_mapping(json.loads(json.dumps(rules)))
    assert Policy(accounts=None) == Policy.from_mapping({"accounts": "any"}) == Policy.from_mapping({"accounts": None})


@pytest.mark.parametrize(
    ("mapping", "match"),
    [
        ({}, 'accounts: missing .a list of account ids, or "any"'),
        ({"acounts": ["012345678901"]}, "no rule is named 'acounts' \\(did you mean accounts\\?\\)"),
        ({"accounts": "any", "_fields": 1}, "no rule is named '_fields'"),
        ({"accounts": "any", 5: 1}, "no rule is named 5"),
        ({"accounts": "any", "max_pending_age": "5m"}, "max_pending_age: '5m' \\(a number of seconds"),
        ({"accounts": "any", "max_pending_age": NAN}, "max_pending_age: nan \\(a number of seconds"),
        ({"accounts": "any", "max_pending_age": 10**400}, "max_pending_age: 10+ \\(a number of seconds"),
        ({"accounts": "any", "max_pending_age": True}, "max_pending_age: True \\(a number of seconds"),
        ({"accounts": "any", "max_signed_age": 0}, "max_signed_age: 0 "),
        ({"accounts": "any", "regions": "us-east-1"}, "regions: 'us-east-1' is one text"),
        ({"accounts": "any", "allow_legacy": "yes"}, "allow_legacy: 'yes'"),
        ({"accounts": "all"}, "accounts: 'all' is one text"),
        (["accounts"], "policy: list \\(a table of rules is expected\\)"),
    ],
)
def test_configuration_that_makes_no_sense_is_refused(mapping: object, match: str) -> None:
    """One line that names the rule."""
    with pytest.raises(ValueError, match=match) as caught:
        Policy.from_mapping(mapping)  # type: ignore[arg-type]
    assert 1 == len(str(caught.value).splitlines())


def test_accounts_have_no_default() -> None:
    """Any AWS customer has a valid document: to take them all has to be said."""
    with pytest.raises(TypeError, match="accounts"):
        Policy()  # type: ignore[call-arg]


def test_a_policy_is_a_value() -> None:
    """Equal rules are equal, in any order, and a change of the list that was given does not reach them."""
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
