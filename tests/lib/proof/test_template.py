"""Documents of one form are read by comparison: always to what reading their JSON gives."""

from __future__ import annotations

import json
from random import Random

import pytest

from ec2ident.errors import MalformedError
from ec2ident.proof import document as documents
from tests.lib import forge, mutants, vectors


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_forms", ())


def read(raw: bytes, how: str = "parse") -> object:
    """The fields of a document, or the words of its refusal."""
    try:
        return vars(getattr(documents, how)(raw))
    except MalformedError as error:
        return str(error)


def compared(raw: bytes) -> object:
    """The fields where the document was read by comparison, else None."""
    try:
        return documents._by_comparison(raw)
    except MalformedError as error:
        return str(error)


@pytest.mark.parametrize("folder", sorted({folder for folder, _ in vectors.GENUINE}))
def test_a_genuine_document_is_remembered_and_read_to_the_same(folder: str) -> None:
    """Every form that AWS has written is one that is read by comparison."""
    raw = vectors.document(folder)
    assert compared(raw) is None

    assert vars(documents.walk(raw)) == compared(raw)


def test_another_document_of_the_same_form_is_read_by_comparison() -> None:
    """Other texts in all members: what they say is its own."""
    documents.walk(forge.document())
    other = forge.document(
        "ap-southeast-2",
        accountId="999999999999",
        instanceType="u7in-32tb.224xlarge",
        instanceId="i-1",
        pendingTime="2025-12-31T23:59:59Z",
        privateIp="fd00::1",
    )

    assert vars(documents.walk(other)) == compared(other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("privateIp", "10.0.0.010"),
        ("privateIp", "10.0.0"),
        ("privateIp", "10.0.0.256"),
        ("privateIp", "10.0.0.1.2"),
        ("privateIp", "\u0661.0.0.1"),
        ("privateIp", "none"),
        ("privateIp", ""),
        ("accountId", "12345678901"),
        ("accountId", "\u0661" * 12),
        ("instanceId", "i-"),
        ("instanceId", "i-0g"),
        ("pendingTime", "2026-02-30T04:05:03Z"),
        ("pendingTime", "2026-02-03T04:05:03.5Z"),
        ("instanceType", ""),
        ("instanceType", "m" * 255),
        ("instanceType", "m" * 256),
        ("instanceType", '"'),
        ("instanceType", "\\"),
        ("instanceType", "\t"),
        ("instanceType", "\x7f"),
        ("instanceType", "\u00e9"),
        ("instanceType", None),
        ("instanceType", 5),
        ("instanceType", ["m7g"]),
        ("region", ""),
    ],
)
def test_a_value_at_a_limit_is_read_as_json_reads_it(name: str, value: object) -> None:
    """The same field, the same `extra`, the same words of a refusal; written with escapes and without."""
    documents.walk(forge.document())
    fields = {**json.loads(forge.document()), name: value}
    for ascii_only in (True, False):
        raw = json.dumps(fields, indent=2, separators=(",", " : "), ensure_ascii=ascii_only).encode()

        assert read(raw, "walk") == read(raw)


@pytest.mark.parametrize(
    "text",
    [
        '{"region" : "a", "x" : {"region" : "b"}}',
        '{"x" : {"region" : "b"}, "region" : "a"}',
        '{"x" : "region", "region" : "a"}',
        '{"x" : ["region"], "region" : "a"}',
        '{"version":"region","region":"version"}',
        # A name that ends like the region's, and the region's own name with an escape.
        '{"\\"region" : "a", "re\\u0067ion" : "a"}',
    ],
)
def test_a_name_that_stands_twice_makes_no_template(text: str) -> None:
    """A hole must be the member itself."""
    text = text[:-1] + ',"accountId":"012345678901","instanceId":"i-1","pendingTime":"2026-02-03T04:05:03Z"}'
    documents.walk(text.encode())

    assert () == documents._forms


def test_mutants_of_what_is_remembered_are_read_as_json_reads_them() -> None:
    """The same fields, or the same words of a refusal, whichever way a document is read."""
    random, samples = Random(12), mutants.samples()
    outcomes = {True: 0, False: 0}
    for _ in range(4000):
        raw = random.choice(samples).identity.document.raw
        documents.walk(raw)
        at = random.randrange(len(raw))
        end = at + random.choice((0, 1, 1, 3))
        piece = random.choice(
            (b"", b"0", b"a", b'"', b"\\", b",", b"}", b"\n", b"\x7f", b"\0", b"\xc3\xa9", b" : null")
        )
        changed = random.choice((raw[:at] + piece + raw[end:], mutants.octets(random, raw, samples)))
        found = compared(changed)
        outcomes[found is not None] += 1
        if found is not None:
            assert read(changed, "walk") == found
    assert min(outcomes.values()) > 400


def test_few_forms_are_kept() -> None:
    """Any client can send new ones: neither memory nor the time of a document grows with them."""
    for size in range(50):
        documents.walk(forge.document().replace(b"{\n", b"{" + b" " * size + b"\n"))

        assert documents._MOST_FORMS >= len(documents._forms) > 0
