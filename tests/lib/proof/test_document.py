"""Documents: typed, exact, and one meaning only."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest

from ec2ident.errors import MalformedError
from ec2ident.proof import document as documents
from ec2ident.value import as_dict
from tests.lib import vectors

FIELDS: dict[str, object] = json.loads(vectors.document("rspamd-b-us-east-1-2024"))


def changed(**fields: object) -> bytes:
    return json.dumps({**FIELDS, **fields}, indent=2).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in FIELDS.items() if key != name}).encode()


def test_a_real_document_is_typed() -> None:
    """Times are aware, addresses are addresses, lists are tuples; the bytes stay what they were."""
    raw = vectors.document("cloudinit-us-east-2-2018")
    document = documents.parse(raw)

    assert {
        "raw": raw,
        "account_id": "437526006925",
        "architecture": "x86_64",
        "availability_zone": "us-east-2b",
        "image_id": "ami-079638aae7046bdd2",
        "instance_id": "i-075f088c72ad3271c",
        "instance_type": "t2.micro",
        "pending_time": datetime(2018, 10, 5, 20, 10, 43, tzinfo=timezone.utc),
        "private_ip": ip_address("10.41.41.95"),
        "region": "us-east-2",
        "version": "2017-09-30",
        "kernel_id": None,
        "ramdisk_id": None,
        "billing_products": (),
        "devpay_product_codes": (),
        "marketplace_product_codes": (),
        "extra": (),
    } == as_dict(document)


def test_a_list_of_product_codes_is_a_tuple() -> None:
    """The one real document with a marketplace product code."""
    document = documents.parse(vectors.document("rspamd-b-us-east-1-2024"))

    assert (FIELDS["marketplaceProductCodes"],) == (list(document.marketplace_product_codes),)
    assert 1 == len(document.marketplace_product_codes)


@pytest.mark.parametrize("folder", sorted({folder for folder, _ in vectors.GENUINE}))
def test_every_real_document_parses_and_keeps_its_bytes(folder: str) -> None:
    """Key orders and versions of nine years."""
    raw = vectors.document(folder)

    assert raw == documents.parse(raw).raw


def test_a_field_of_the_future_is_kept() -> None:
    """AWS added one in 2017: an unknown field is reachable, frozen, and breaks nothing."""
    document = documents.parse(changed(outpost={"arn": ["a", {"b": None}]}, size=3))

    assert (("outpost", (("arn", ("a", (("b", None),))),)), ("size", 3)) == document.extra
    assert isinstance(hash(document), int)


def test_the_field_added_in_2017_may_be_absent() -> None:
    """Version 2010-08-31 has no marketplaceProductCodes."""
    assert () == documents.parse(without("marketplaceProductCodes")).marketplace_product_codes


def test_a_duplicate_name_is_refused_even_with_the_same_value() -> None:
    """Two parsers may take different ones: at the top and below."""
    raw = changed().replace(b'"region": "us-east-1"', b'"region": "us-east-1", "region": "us-east-1"')
    assert raw != changed()

    with pytest.raises(MalformedError, match="'region' is there twice"):
        documents.parse(raw)
    with pytest.raises(MalformedError, match="'a' is there twice"):
        documents.parse(changed(extra=1).replace(b'"extra": 1', b'"extra": {"a": 1, "a": 1}'))


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_know_is_refused(name: str) -> None:
    """RFC 8259 6: no NaN, no infinities."""
    with pytest.raises(MalformedError, match=f"{name} is not JSON"):
        documents.parse(changed(extra=1).replace(b'"extra": 1', f'"extra": {name}'.encode()))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"{",
        b"{}x",
        b'{"region": "us-east-1",}',
        changed(region="ä").replace(b"\\u00e4", b"\xe4"),
        b'{"a":' * 3000,
        b"[" * 16000,
        b"9" * 16000,
    ],
)
def test_what_is_not_json_in_utf8_is_refused(raw: bytes) -> None:
    """Also what would drive a careless parser into recursion."""
    with pytest.raises(MalformedError, match="document: "):
        documents.parse(raw)


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"region"', b"17"])
def test_a_document_is_an_object(raw: bytes) -> None:
    """Other JSON is not a document."""
    with pytest.raises(MalformedError, match="an object is expected"):
        documents.parse(raw)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("accountId", "who owns the instance"),
        ("instanceId", "about no instance"),
        ("pendingTime", "when the instance started"),
        ("region", "no key can be chosen"),
    ],
)
def test_a_missing_field_that_decides_is_named(name: str, why: str) -> None:
    """Each with its own words; there is no other required field."""
    with pytest.raises(MalformedError, match=f"{name} is missing; without it .*{why}"):
        documents.parse(without(name))


OPTIONAL = sorted(set(FIELDS) - {"accountId", "instanceId", "pendingTime", "region"})


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_field_that_decides_nothing_may_be_absent_null_or_empty(name: str) -> None:
    """All three say none; an IPv6-only instance has no privateIp (prometheus/prometheus#16047)."""
    nothing: list[object] = [None, () if name.endswith(("Products", "Codes")) else ""]
    field = documents._FIELDS[name][0]
    for raw in (without(name), *(changed(**{name: list(one) if one == () else one}) for one in nothing)):
        document = documents.parse(raw)

        assert raw == document.raw
        assert getattr(document, field) in (None, ())
        assert () == document.extra


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("architecture", True, True),
        ("availabilityZone", ["us-east-1a", "us-east-1b"], ("us-east-1a", "us-east-1b")),
        ("imageId", {"id": "ami-1"}, (("id", "ami-1"),)),
        ("kernelId", 1, 1),
        ("instanceType", "x" * 256, "x" * 256),
        ("version", "2017\u202809", "2017\u202809"),
        ("billingProducts", "bp-1", "bp-1"),
        ("billingProducts", [1], (1,)),
        ("billingProducts", {"bp": 1}, (("bp", 1),)),
        ("marketplaceProductCodes", [{"id": "x"}], ((("id", "x"),),)),
        ("privateIp", "10.0.0.256", "10.0.0.256"),
        ("privateIp", "10.0.0.010", "10.0.0.010"),
        ("privateIp", ["10.0.0.1"], ("10.0.0.1",)),
        ("privateIp", 167772161, 167772161),
        ("privateIp", False, False),
    ],
)
def test_a_field_that_decides_nothing_may_have_another_form(name: str, value: object, kept: object) -> None:
    """It is none for us, and kept as it is; the signed bytes are untouched."""
    raw = changed(**{name: value})
    document = documents.parse(raw)

    assert (raw, ((name, kept),)) == (document.raw, document.extra)
    assert getattr(document, documents._FIELDS[name][0]) in (None, ())


@pytest.mark.parametrize(
    "text",
    [
        "2021-03-31T05:44:30Z",
        "2021-03-31T05:44:30.000Z",
        "2021-03-31T05:44:30+00:00",
        "2021-03-31T07:44:30+02:00",
        "2021-03-31T00:14:30-0530",
        "2021-03-31T05:44:30.000000000Z",
    ],
)
def test_a_time_may_be_spelt_in_other_ways(text: str) -> None:
    """RFC 3339: fractions of a second, an offset in place of Z; always in UTC here."""
    found = documents.parse(changed(pendingTime=text)).pending_time

    assert datetime(2021, 3, 31, 5, 44, 30, tzinfo=timezone.utc) == found
    assert timezone.utc == found.tzinfo


def test_fractions_of_a_second_are_kept_to_the_microsecond() -> None:
    """Python's datetime has no more."""
    assert 123456 == documents.parse(changed(pendingTime="2021-03-31T05:44:30.123456789Z")).pending_time.microsecond


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accountId", 123456789012),
        ("accountId", "12345678901"),
        ("accountId", "1234567890123"),
        ("accountId", "12345678901a"),
        ("accountId", "１２３４５６７８９０１２"),
        ("accountId", None),
        ("instanceId", "075f088c72ad3271c"),
        ("instanceId", "i-"),
        ("instanceId", "i-075F088C"),
        ("instanceId", "i-g75f088c"),
        ("instanceId", "i-" + "0" * 254),
        ("instanceId", "i-075f\n088c"),
        ("instanceId", "s.i-0123456789abcdef0"),
        ("region", None),
        ("region", ""),
        ("region", ["us-east-1"]),
        ("region", "us-east-1\u001b[2J"),
        ("region", "x" * 256),
        ("pendingTime", None),
        ("pendingTime", "2021-03-31 05:44:30Z"),
        ("pendingTime", "2021-03-31T05:44:30"),
        ("pendingTime", "2021-W13-3T05:44:30Z"),
        ("pendingTime", "2021-02-30T05:44:30Z"),
        ("pendingTime", "2021-02-30T05:44:30.5Z"),
        ("pendingTime", "0001-01-01T00:00:00+23:59"),
        ("pendingTime", "2021-03-31T05:44:30+99:00"),
        ("pendingTime", "20210331T054430Z"),
        ("pendingTime", 1617169470),
    ],
)
def test_a_wrong_value_that_decides_is_refused_and_shown(name: str, value: object) -> None:
    """The message names the field and says what it should be; nothing of it could control a terminal."""
    with pytest.raises(MalformedError, match=f"document: {name} is .*expected") as caught:
        documents.parse(changed(**{name: value}))

    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["a\x7fb", "a\u0085b", "a\nb", "\u202e", "ä"])
def test_text_that_cannot_be_printed_is_not_a_field(text: str) -> None:
    """However it stands in the JSON, escaped or not: it is kept, but never a field that a log or a terminal shows."""
    for ensure_ascii in (True, False):
        raw = json.dumps({**FIELDS, "imageId": text}, ensure_ascii=ensure_ascii).encode()
        document = documents.parse(raw)

        assert (None, (("imageId", text),)) == (document.image_id, document.extra)
        with pytest.raises(MalformedError, match="region is "):
            documents.parse(json.dumps({**FIELDS, "region": text}, ensure_ascii=ensure_ascii).encode())


def test_one_character_is_a_text() -> None:
    """The empty text says nothing; the shortest other one is a value."""
    assert "x" == documents.parse(changed(imageId="x")).image_id


def test_leading_zeros_of_an_account_count() -> None:
    """Accounts are text of twelve digits."""
    assert "000000000001" == documents.parse(changed(accountId="000000000001")).account_id


def test_a_giant_document_is_refused_unread() -> None:
    """Real ones have some 500 bytes."""
    with pytest.raises(MalformedError, match="at most 16384"):
        documents.parse(changed(extra="x" * 17000))


@pytest.mark.parametrize(("length", "shown"), [(58, "'" + "x" * 58 + "'"), (59, "'" + "x" * 56 + "...")])
def test_a_long_value_is_cut_in_the_message(length: int, shown: str) -> None:
    """60 characters with its quotes are shown whole, of 61 the first 57."""
    with pytest.raises(MalformedError) as caught:
        documents.parse(changed(instanceId="x" * length))

    assert shown in str(caught.value)
