"""Objects with the same layout are read by comparison: always to what walking through them gives."""

from __future__ import annotations

from base64 import b64decode
from random import Random

import pytest

from ec2ident.errors import MalformedError
from ec2ident.model import Kind
from ec2ident.proof import cms, layout
from ec2ident.testing.signing import indefinite, tlv
from tests.lib import forge, mutants, vectors
from tests.lib.proof.cms_forms import Signed


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_layouts", {})


def walked(blob: bytes) -> cms.SignedData | str:
    try:
        return cms.walk(blob)
    except MalformedError:
        return "refused"


@pytest.mark.parametrize(("folder", "kind"), vectors.WITH_CONTENT)
def test_a_genuine_object_is_remembered_and_read_to_the_same(folder: str, kind: str) -> None:
    """Every form that AWS has sent is one that is read by comparison."""
    blob = b64decode(vectors.signature(folder, kind))
    assert layout.read(blob) is None

    assert cms.walk(blob).__dict__ == layout.read(blob)


def test_another_object_of_the_same_signer_is_read_by_comparison() -> None:
    """Another document of another length, another time: what it says is its own."""
    cms.walk(b64decode(forge.OURS.sign(forge.document(), Kind.RSA2048, forge.SIGNED_AT)))
    later = forge.SIGNED_AT.replace(month=7)
    other = b64decode(forge.OURS.sign(forge.document(instanceType="m7g.metal-48xl"), Kind.RSA2048, later))
    read = layout.read(other)

    assert read is not None
    assert (later, True) == (read["signing_time"], b"m7g.metal-48xl" in read["content"])
    assert cms.walk(other).__dict__ == read


def test_mutants_of_what_is_remembered_are_read_as_a_walk_reads_them() -> None:
    """The same value, or left to the walk; never something that the walk refuses."""
    random, samples = Random(11), [one for one in mutants.samples() if one.kind is not Kind.SIGNATURE]
    compared = 0
    for _ in range(3000):
        sample = random.choice(samples)
        cms.walk(sample.blob)
        change = mutants.structure if random.random() < 0.5 else mutants.octets
        blob = change(random, sample.blob, samples)
        read = layout.read(blob)
        if read is not None:
            compared += 1
            found = walked(blob)
            assert isinstance(found, cms.SignedData)
            assert found.__dict__ == read
    assert compared > 100


@pytest.mark.parametrize("at", range(0, 1500, 7))
def test_a_changed_octet_of_a_remembered_object_is_read_as_a_walk_reads_it(at: int) -> None:
    """Each place, holes and between them."""
    blob = b64decode(vectors.signature("metaphor-a-ap-southeast-2-2026", "rsa2048"))
    cms.walk(blob)
    for octet in (0x00, 0x04, 0x30, 0x80, 0xFF):
        changed = blob[:at] + bytes((octet,)) + blob[at + 1 :]
        read = layout.read(changed)
        found = walked(changed)
        assert read is None or found == "refused" or found.__dict__ == read
        assert read is None or found != "refused"


def test_the_first_octet_behind_the_document_is_compared() -> None:
    """The parts that are compared begin there, and a slice that began one octet later would miss it."""
    blob = b64decode(vectors.signature("metaphor-a-ap-southeast-2-2026", "rsa2048"))
    content = cms.walk(blob).content
    assert content is not None
    after = blob.index(content) + len(content)

    assert layout.read(blob) is not None
    for octet in range(256):
        if octet != blob[after]:
            assert layout.read(blob[:after] + bytes((octet,)) + blob[after + 1 :]) is None


def test_what_other_lengths_depend_on_is_not_remembered() -> None:
    """In DER the length of the document is part of the lengths around it."""
    signed = Signed()
    signed.length = lambda tag, *inside: tlv(tag, *inside)
    cms.walk(signed.blob())

    assert {} == layout._layouts


def test_a_document_in_parts_is_not_remembered() -> None:
    """Its octets do not stand in one place: what would be compared behind them began inside its last part."""
    signed = Signed()
    signed.octets = lambda content: indefinite(0x24, tlv(4, content[:300]), tlv(4, content[300:]))

    assert signed.content == cms.walk(signed.blob()).content
    assert {} == layout._layouts


def test_few_layouts_are_kept() -> None:
    """Any client can send new ones: memory does not grow with them."""
    for size in range(200):
        signed = Signed()
        signed.unsigned = tlv(0xA1, bytes((0x04, 1 + size % 100, *range(1 + size % 100))))
        signed.certificates = tlv(0xA0, bytes(size))
        cms.walk(signed.blob())

        assert layout._MOST >= sum(map(len, layout._layouts.values())) > 0
