"""What facts come to: each rung, each veto, and what no combination of facts can do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident.assess import AMAZON_FIELDS, BINDING, DEMOTING_REASONS, NEGATIVE_REASONS, assess
from ec2ident.model import Fact, Level, Reason

from .machines import LOOK_ALIKES, NITRO, UUID, XEN

TOKEN = (Fact("imds-token", "granted"), Fact("imds-server", "EC2ws"))
DOCUMENT = (*TOKEN, Fact("identity-document", "i-04d99e6aac20e7547"))
PROOF = (*DOCUMENT, Fact("signature", "verified"))
BOUND = (*PROOF, Fact("binding-instance-id", "agrees"), Fact("binding-address", "agrees"))
WRONG = Fact("signature", "refuted", reason=Reason.WRONG_SIGNATURE, detail="256 bytes that are not eu-west-1's")
FORGED = (*DOCUMENT, WRONG)
STRANGE = Fact("signature", None, unknown="not understood by this version: cms", reason=Reason.NOT_UNDERSTOOD)
IPV6_ONLY = (*PROOF, Fact("binding-instance-id", "agrees"), Fact("binding-mac", "agrees"))


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
        ((*BOUND, Fact("binding-mac", "inconclusive")), Level.PROOF, Reason.NOT_BOUND),
        ((*BOUND, Fact("binding-architecture", "inconclusive")), Level.PROOF, Reason.NOT_BOUND),
        ((*BOUND[:-1], Fact("binding-address", unknown="psutil cannot be loaded")), Level.PROOF, Reason.NOT_BOUND),
        ((*BOUND, Fact("binding-instance-type", "differs")), Level.NONE, Reason.WRONG_MACHINE),
        (IPV6_ONLY, Level.BOUND, Reason.BOUND_TO_THIS_MACHINE),
        ((*PROOF, IPV6_ONLY[-1]), Level.PROOF, Reason.NOT_BOUND),
        ((*facts(NITRO), *TOKEN, STRANGE), Level.CLAIM, Reason.FIRMWARE),
        ((*TOKEN, STRANGE), Level.CLAIM, Reason.METADATA_SERVICE),
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
    found_ = assess(found, level)

    assert (level, reason) == (found_.level, found_.reason), found_.because


def test_the_reason_of_a_failure_is_told_where_more_was_wanted() -> None:
    """A claim stays a claim; why it is not a proof is the service's failure."""
    late = Fact("metadata-service", None, unknown="no answer within 0.25 s", reason=Reason.TIMEOUT)

    enough, short = assess([*facts(NITRO), late], Level.CLAIM), assess([*facts(NITRO), late], Level.PROOF)

    assert (Level.CLAIM, Reason.FIRMWARE) == (enough.level, enough.reason)
    assert (Level.CLAIM, Reason.TIMEOUT, True) == (short.level, short.reason, short.undecided)
    assert short.because.endswith("no answer within 0.25 s")


def test_only_the_service_and_the_signature_are_an_obstacle() -> None:
    """Another unknown fact is not why the proof is missing."""
    unread = Fact("product_uuid", None, unknown="permission denied", reason=Reason.NOT_UNDERSTOOD)
    found = assess([*facts(NITRO), unread], Level.PROOF)

    assert Reason.NOT_UNDERSTOOD != found.reason
    assert "permission denied" not in found.because


def served(reason: Reason) -> Fact:
    return Fact("metadata-service", None, unknown="it failed", reason=reason)


READ = Fact("bios_version", "4.11.0")
BLIND = Fact("firmware", None, unknown="permission denied")
STRANGE_TABLE = Fact("firmware", None, unknown="not understood by this version", reason=Reason.NOT_UNDERSTOOD)


@pytest.mark.parametrize("reason", [Reason.NO_ROUTE, Reason.REFUSED, Reason.TIMEOUT])
def test_an_absent_service_is_not_an_answer_where_the_firmware_could_not_be_read(reason: Reason) -> None:
    """Could-not-read is never "no"; firmware that is not there is an answer."""
    assert (False, False, True) == tuple(assess([served(reason), *more]).undecided for more in ((), (READ,), (BLIND,)))
    assert reason == assess([served(reason), BLIND]).reason
    strange = assess([served(reason), STRANGE_TABLE])
    assert (Reason.NOT_UNDERSTOOD, True) == (strange.reason, strange.undecided)


@pytest.mark.parametrize("reason", [Reason.NOT_EC2WS, Reason.V1_ONLY, Reason.CAPTIVE_PORTAL])
def test_an_unknown_server_is_a_no_only_where_firmware_was_read(reason: Reason) -> None:
    """In a container without firmware it may be a proxy that stands before EC2's own service."""
    assert (True, False, True) == tuple(assess([served(reason), *more]).undecided for more in ((), (READ,), (BLIND,)))


def test_another_cloud_that_names_itself_outweighs_a_hint_and_no_field_of_amazons() -> None:
    """A variable of a workload that is federated to AWS, and one UUID in 2048, are less than the server's own name."""
    cloud = served(Reason.OTHER_CLOUD)

    hints = (Fact("environment", "AWS_WEB_IDENTITY_TOKEN_FILE"), Fact("product_uuid", UUID))
    assert [False, False] == [assess([one, cloud], Level.PROOF).undecided for one in hints]
    assert assess([Fact("sys_vendor", "Amazon EC2"), cloud], Level.PROOF).undecided is True


@pytest.mark.parametrize("reason", sorted({*Reason} - NEGATIVE_REASONS - {Reason.SUSPECT}))
def test_every_other_failure_is_undecided(reason: Reason) -> None:
    """What could not be read, reached or understood is not "no"."""
    assert assess([served(reason), READ]).undecided is True


UUIDS = st.sampled_from(["product_uuid", "product_serial", "hypervisor_uuid"])
SHAPES = st.one_of(st.uuids().map(str), st.sampled_from([UUID, UUID.upper(), "45E12AEC-DCD1-B213-94ED-012345ABCDEF"]))


@given(st.lists(st.tuples(UUIDS, SHAPES)))
def test_no_number_of_uuids_is_more_than_a_hint(pairs: list[tuple[str, str]]) -> None:
    """They are one fact in several places, and one random one in 2048 has the shape."""
    assert assess([Fact(name, text) for name, text in pairs]).level <= Level.HINT


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

    assert assess(facts(fields)).level <= Level.HINT


EVERY = st.lists(
    st.sampled_from(
        [
            *facts(NITRO),
            *facts({name: text for name, text in XEN.items() if name not in NITRO or name.endswith("version")}),
            *(one for fields in LOOK_ALIKES.values() for one in facts(fields.fields)),
            *BOUND,
            FORGED[-1],
            STRANGE,
            Fact("signature", None, unknown="no certificate", reason=Reason.UNVERIFIABLE),
            served(Reason.TIMEOUT),
            Fact("binding-architecture", "inconclusive", detail="document says arm64"),
            Fact("binding-instance-type", "differs", detail="document says m5.large"),
            BLIND,
            STRANGE_TABLE,
            Fact("environment", "AWS_EXECUTION_ENV"),
        ]
    ),
    unique_by=lambda one: one.name,
)


@given(EVERY, st.sampled_from(list(Level)))
def test_one_more_fact_lowers_nothing_but_by_veto_or_contradiction(found: list[Fact], wanted: Level) -> None:
    """And then the reason says so."""
    for at in range(len(found)):
        before, after = assess(found[:at], wanted), assess(found[: at + 1], wanted)
        assert after.level >= before.level or after.reason in DEMOTING_REASONS, (before, after)


@given(EVERY)
def test_the_order_of_facts_does_not_matter(found: list[Fact]) -> None:
    """Facts are weighed, not followed."""
    assert assess(found).level == assess(found[::-1]).level


@pytest.mark.parametrize("name", sorted(AMAZON_FIELDS))
def test_one_mark_alone_is_a_hint(name: str) -> None:
    """Two facts make a claim, never one."""
    text = {**NITRO, "bios_version": "4.2.amazon", "product_version": "4.2.amazon", "acpi_oem": "AMAZON"}[name]

    assert (Level.HINT, Level.NONE) == (assess([Fact(name, text)]).level, assess([Fact(name, f"x{text}")]).level)


def test_a_comparison_that_could_not_be_made_is_named() -> None:
    """Proof is not bound, and the text says what was unknown, or the comparison's name."""
    proof = Fact("signature", "verified", "rsa2048")
    for check, words in (
        (Fact(f"{BINDING}address", None, unknown="interfaces could not be listed"), "interfaces could not be listed"),
        (Fact(f"{BINDING}mac"), f"{BINDING}mac"),
    ):
        found = assess([*facts(NITRO), proof, check], Level.BOUND)

        assert Reason.NOT_BOUND == found.reason, found
        assert found.because.endswith(f"not tied to this machine: {words}")


def test_what_was_refuted_is_decided() -> None:
    """A signature that is not AWS's is an answer, with Amazon's firmware (suspect) and without (a no)."""
    assert not assess((*facts(NITRO), *FORGED), Level.PROOF).undecided
    assert not assess(FORGED, Level.PROOF).undecided


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sys_vendor": "Amazon EC2"}, "only sys_vendor is 'Amazon EC2', which"),
        (
            {"sys_vendor": "Amazon EC2", "bios_vendor": "Amazon EC2"},
            "sys_vendor and bios_vendor are 'Amazon EC2'",
        ),
        (
            {"sys_vendor": "Amazon EC2", "bios_vendor": "Amazon EC2", "board_vendor": "Amazon EC2"},
            "sys_vendor, bios_vendor and board_vendor are 'Amazon EC2'",
        ),
        (
            {"sys_vendor": "Amazon EC2", "bios_version": "1.0.amazon"},
            "sys_vendor is 'Amazon EC2', bios_version is '1.0.amazon'",
        ),
    ],
)
def test_the_sentence_names_each_value_once_with_its_fields(fields: dict[str, str], words: str) -> None:
    """One field, two and three with the same value; two with different values."""
    assert assess(facts(fields), Level.CLAIM).because.startswith(words)
