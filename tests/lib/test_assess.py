"""What facts come to: each rung, each veto, and what no combination of facts can do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident.assess import LOWERING, MARKS, weigh
from ec2ident.model import Fact, Level, Reason

from .machines import LOOK_ALIKES, NITRO, UUID, XEN

TOKEN = (Fact("imds-token", "granted"), Fact("imds-server", "EC2ws"))
DOCUMENT = (*TOKEN, Fact("identity-document", "i-04d99e6aac20e7547"))
PROOF = (*DOCUMENT, Fact("signature", "verified"))
BOUND = (*PROOF, Fact("binding-instance-id", "agrees"), Fact("binding-address", "agrees"))
FORGED = (*DOCUMENT, Fact("signature", "wrong-signature: 256 bytes that are not eu-west-1's"))


def facts(fields: dict[str, str]) -> tuple[Fact, ...]:
    return tuple(Fact(name, text or None) for name, text in fields.items())


@pytest.mark.parametrize(
    ("found", "level", "reason"),
    [
        ((), Level.NONE, Reason.NO_EVIDENCE),
        (TOKEN, Level.CLAIM, Reason.METADATA_SERVICE),
        (TOKEN[:1], Level.NONE, Reason.NO_EVIDENCE),
        (TOKEN[1:], Level.NONE, Reason.NO_EVIDENCE),
        (DOCUMENT, Level.DOCUMENT, Reason.IDENTITY_DOCUMENT),
        (PROOF, Level.PROOF, Reason.SIGNATURE_VERIFIED),
        (BOUND, Level.BOUND, Reason.BOUND_TO_THIS_MACHINE),
        (BOUND[:-1], Level.PROOF, Reason.NOT_BOUND),
        ((*BOUND, Fact("binding-mac", None, "06:00 is on no local interface")), Level.PROOF, Reason.NOT_BOUND),
        ((*BOUND, Fact("binding-architecture", "differs")), Level.NONE, Reason.WRONG_MACHINE),
        (FORGED, Level.NONE, Reason.WRONG_SIGNATURE),
        ((*facts(NITRO), *FORGED), Level.NONE, Reason.SUSPECT),
        ((*facts(NITRO), *PROOF), Level.PROOF, Reason.SIGNATURE_VERIFIED),
        ((Fact("sys_vendor", "Hetzner"), *DOCUMENT), Level.DOCUMENT, Reason.IDENTITY_DOCUMENT),
        ((Fact("sys_vendor", "Hetzner"), *PROOF), Level.PROOF, Reason.SIGNATURE_VERIFIED),
        ((Fact("environment", "AWS_EXECUTION_ENV"),), Level.HINT, Reason.ONE_HINT),
        ((Fact("environment", "AWS_EXECUTION_ENV"), Fact("sys_vendor", "Amazon EC2")), Level.HINT, Reason.ONE_HINT),
        ((Fact("pci_vendor", "0x1d0f"), Fact("product_uuid", UUID)), Level.HINT, Reason.ONE_HINT),
        ((Fact("pci_vendor", "0x1d0f"), Fact("sys_vendor", "Amazon EC2")), Level.CLAIM, Reason.FIRMWARE),
    ],
)
def test_each_rung_has_its_facts(found: tuple[Fact, ...], level: Level, reason: Reason) -> None:
    """The table, row by row."""
    weight = weigh(found, level)

    assert (level, reason) == (weight.level, weight.reason), weight.because


def test_the_reason_of_a_failure_is_told_where_more_was_wanted() -> None:
    """A claim stays a claim; why it is not a proof is the service's failure."""
    late = Fact("metadata-service", None, unknown="timeout: no answer within 0.25 s")

    enough, short = weigh([*facts(NITRO), late], Level.CLAIM), weigh([*facts(NITRO), late], Level.PROOF)

    assert (Level.CLAIM, Reason.FIRMWARE) == (enough.level, enough.reason)
    assert (Level.CLAIM, Reason.TIMEOUT, True) == (short.level, short.reason, short.open)
    assert short.because.endswith("no answer within 0.25 s")


def test_a_silent_network_is_no_answer_where_nobody_could_look_at_the_firmware() -> None:
    """Could-not-read is never "no"."""
    silent = Fact("metadata-service", None, unknown="no-route: network is unreachable")
    blind = Fact("firmware", None, unknown="permission denied")

    assert weigh([silent]).open is False
    assert weigh([silent, blind]).open is True


UUIDS = st.sampled_from(["product_uuid", "product_serial", "hypervisor_uuid"])
SHAPES = st.one_of(st.uuids().map(str), st.sampled_from([UUID, UUID.upper(), "45E12AEC-DCD1-B213-94ED-012345ABCDEF"]))


@given(st.lists(st.tuples(UUIDS, SHAPES)))
def test_no_number_of_uuids_is_more_than_a_hint(pairs: list[tuple[str, str]]) -> None:
    """They are one fact in several places, and one random one in 2048 has the shape."""
    assert weigh([Fact(name, text) for name, text in pairs]).level <= Level.HINT


SHARED = {"product_uuid": UUID, "hypervisor_uuid": UUID, "product_serial": UUID, "pci_vendor": "0x1d0f"}


@given(
    st.sampled_from(sorted(name for name, one in LOOK_ALIKES.items() if "made" not in name)),
    st.dictionaries(st.sampled_from(sorted(SHARED)), st.none()),
    st.booleans(),
)
def test_no_look_alike_is_a_claim_without_a_word_of_amazons(name: str, more: dict[str, None], typed: bool) -> None:
    """However many hints it shares with EC2."""
    fields = {**LOOK_ALIKES[name].fields, **{one: SHARED[one] for one in more}}
    fields.update({"product_name": "t3.micro", "environment": "AWS_EXECUTION_ENV"} if typed else {})

    assert weigh(facts(fields)).level <= Level.HINT


EVERY = st.lists(
    st.sampled_from(
        [
            *facts(NITRO),
            *facts({name: text for name, text in XEN.items() if name not in NITRO or name.endswith("version")}),
            *(one for fields in LOOK_ALIKES.values() for one in facts(fields.fields)),
            *BOUND,
            FORGED[-1],
            Fact("signature", None, unknown="unverifiable: no certificate"),
            Fact("metadata-service", None, unknown="timeout: late"),
            Fact("binding-architecture", "differs", "document says arm64"),
            Fact("firmware", None, unknown="permission denied"),
            Fact("environment", "AWS_EXECUTION_ENV"),
        ]
    ),
    unique_by=lambda one: one.name,
)


@given(EVERY, st.sampled_from(list(Level)))
def test_one_more_fact_lowers_nothing_but_by_veto_or_contradiction(found: list[Fact], wanted: Level) -> None:
    """And then the reason says so."""
    for at in range(len(found)):
        before, after = weigh(found[:at], wanted), weigh(found[: at + 1], wanted)
        assert after.level >= before.level or after.reason in LOWERING, (before, after)


@given(EVERY)
def test_the_order_of_facts_does_not_matter(found: list[Fact]) -> None:
    """Facts are weighed, not followed."""
    assert weigh(found).level == weigh(found[::-1]).level


@pytest.mark.parametrize("name", sorted(MARKS))
def test_one_mark_alone_is_a_hint(name: str) -> None:
    """Two facts make a claim, never one."""
    text = {**NITRO, "bios_version": "4.2.amazon", "product_version": "4.2.amazon", "acpi_oem": "AMAZON"}[name]

    assert (Level.HINT, Level.NONE) == (weigh([Fact(name, text)]).level, weigh([Fact(name, f"{text}x")]).level)
