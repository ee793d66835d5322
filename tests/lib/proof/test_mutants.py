"""A bounded run of what scripts/fuzz does for as long as it is told."""

from __future__ import annotations

from random import Random

import pytest

from ec2ident.errors import Ec2IdentError
from ec2ident.proof import document as documents
from ec2ident.proof import layout
from ec2ident.proof.verification import verify
from tests.lib import mutants


def test_the_tree_of_a_genuine_item_is_written_back_to_the_octet() -> None:
    """Otherwise the mutants would be of something else."""
    for sample in mutants.samples():
        if sample.kind != "signature":
            assert sample.blob == mutants.tree(sample.blob).encoded()


def test_no_mutant_is_accepted_with_other_bytes_than_those_signed() -> None:
    """By structure, by octets, in every text form. Some change nothing that is signed: those are the same identity."""
    outcomes = mutants.run(4000, seed=2026)

    assert {"same", "MalformedError", "VerificationError", "UnverifiableError"} >= set(outcomes)
    assert min(outcomes["same"], outcomes["MalformedError"], outcomes["VerificationError"]) > 200, outcomes


def test_what_is_read_by_comparison_has_the_outcome_of_the_full_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same identity or the same words of a refusal, with the mutant's original remembered and with nothing."""
    random, samples = Random(2027), mutants.samples()
    for _ in range(1500):
        sample = random.choice(samples)
        given, document = mutants.mutant(random, sample, samples)
        results = []
        for compare in (True, False):
            with monkeypatch.context() as patch:
                patch.setattr(layout, "_layouts", {})
                patch.setattr(documents, "_forms", ())
                if compare:
                    verify(sample.blob, kind=sample.kind, document=sample.document, trust=sample.trust)
                else:
                    patch.setattr(layout, "read", lambda _: None)
                    patch.setattr(documents, "_by_comparison", lambda _: None)
                results.append(result(sample, given, document))

        assert results[0] == results[1]


def result(sample: mutants.Sample, given: bytes, document: bytes | None) -> object:
    """The identity, or the type and the words of the error."""
    try:
        return verify(given, kind=sample.kind, document=document, trust=sample.trust)
    except Ec2IdentError as error:
        return type(error), str(error), getattr(error, "reason", None), error.document
