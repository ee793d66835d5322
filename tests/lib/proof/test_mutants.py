"""A bounded run of what scripts/fuzz does for as long as it is told."""

from __future__ import annotations

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
