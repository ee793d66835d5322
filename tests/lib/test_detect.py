"""From a machine's files and a metadata service to a verdict, with real sockets and really signed documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ec2ident
from ec2ident import Imds, Level, Reason, detect, detection, is_ec2, prove
from ec2ident.errors import (
    Ec2IdentError,
    FirmwareError,
    ImdsError,
    MalformedError,
    UnverifiableError,
    VerificationError,
)
from ec2ident.host import Host
from ec2ident.proof.trust import TrustStore
from ec2ident.testing import BEHAVIOURS, Instance, Interface, MetadataService
from ec2ident.value import replace

from .error_modes import ERROR_MODES, misbehave
from .machines import EC2, LOOK_ALIKES, MACHINES, NITRO, Machine, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

pytest_plugins = ["ec2ident.testing.pytest_plugin"]

TOP = Path(__file__).parents[2]
TAG = NITRO["board_asset_tag"]

#: Seconds for what does not wait for their end, however busy the machine is.
PATIENCE = 30.0


class Here(Host):
    """A machine with these interfaces, of this architecture."""

    def __init__(self, root: str, *addresses: str, mac: str = "06:00:00:00:00:00", machine: str = "x86_64") -> None:
        super().__init__(root, environ={}, platform="linux")
        self._addresses, self._mac, self._architecture = addresses, mac, machine

    def interfaces(self) -> tuple[Collection[str] | None, Collection[str]]:
        return self._addresses, (self._mac,)

    def machine(self) -> str:
        return self._architecture


@pytest.fixture
def service(metadata_service: MetadataService) -> MetadataService:
    """A t3.micro with the board tag of the table's Nitro machine."""
    metadata_service.instance = Instance(
        instance_id=TAG, instance_type="t3.micro", interfaces=(Interface(private_ips=("10.0.0.10",)),)
    )
    return metadata_service


def client(service: MetadataService, timeout: float = PATIENCE) -> Imds:
    return Imds(timeout, endpoints=service.endpoint)


@pytest.mark.parametrize("privileged", [True, False], ids=["root", "nobody"])
@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_machine_gets_its_verdict(name: str, privileged: bool, tmp_path: Path) -> None:
    """From its files alone, for root and for an ordinary user."""
    machine = MACHINES[name]
    root = build(tmp_path, machine, privileged=privileged)

    verdict = detect(Level.BOUND, network=False, host=Host(root, environ={}, platform="linux"))

    level, reason = machine.root if privileged else machine.nobody
    assert level == verdict.level, verdict.explain()
    open_reasons = {Reason.FIRMWARE, Reason.ONE_HINT, Reason.NO_EVIDENCE}
    assert (Reason.NETWORK_DISABLED if reason in open_reasons else reason) == verdict.reason
    claim = detect(network=False, host=Host(root, environ={}, platform="linux"))
    assert (level >= Level.CLAIM) == bool(claim)


@pytest.mark.parametrize(
    "name", sorted(name for name, one in LOOK_ALIKES.items() if one.nobody[1] is Reason.OTHER_VENDOR)
)
def test_nothing_is_asked_where_firmware_is_another_vendors(
    name: str, tmp_path: Path, service: MetadataService
) -> None:
    """Not one request, though the service would answer, and verify."""
    root = build(tmp_path, LOOK_ALIKES[name])

    verdict = detect(Level.BOUND, root=root, imds=client(service), trust=service.trust)

    assert ("no", Reason.OTHER_VENDOR) == (verdict.answer, verdict.reason)
    assert () == tuple(service.requests)


def test_a_claim_from_firmware_sends_no_request(tmp_path: Path, service: MetadataService) -> None:
    """Two fields that agree are what was asked for."""
    verdict = detect(root=build(tmp_path, EC2["nitro t3.micro, AL2023"]), imds=client(service))

    assert ("yes", Level.CLAIM, ()) == (verdict.answer, verdict.level, tuple(service.requests))


def test_a_proof_takes_two_requests(tmp_path: Path, service: MetadataService) -> None:
    """The token, and the item that carries the document."""
    root = build(tmp_path, EC2["xen pv"])

    verdict = detect(Level.PROOF, PATIENCE, root=root, imds=client(service), trust=service.trust)

    assert verdict, verdict.explain()
    assert verdict.identity is not None
    assert TAG == verdict.identity.document.instance_id
    paths = [request.path for request in service.requests]
    assert ["/latest/api/token", "/latest/dynamic/instance-identity/rsa2048"] == paths


@pytest.mark.parametrize(
    ("missing", "kind"), [("rsa2048$", "pkcs7"), ("(rsa2048|pkcs7)$", "signature")], ids=["pkcs7", "signature"]
)
def test_another_kind_is_the_proof_where_rsa2048_is_missing(
    missing: str, kind: str, tmp_path: Path, service: MetadataService
) -> None:
    """As on very old services. `signature` does not carry the document, which is fetched beside it."""
    service.behave("hide", path=missing)
    host = Here(build(tmp_path, EC2["nitro t3.micro, AL2023"]), "10.0.0.10")

    verdict = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert verdict, verdict.explain()
    assert verdict.identity is not None
    assert (kind, TAG) == (verdict.identity.kind, verdict.identity.document.instance_id)


@pytest.mark.parametrize("which", ["document", "signature"])
def test_a_signature_and_its_document_are_one_proof(which: str, tmp_path: Path, service: MetadataService) -> None:
    """One byte changed in the document, or another signature, and nothing is proven; nor without the document."""
    service.behave("hide", path="(rsa2048|pkcs7)$")
    service.behave({"document": "altered-document", "signature": "junk-signatures"}[which])
    root = build(tmp_path, EC2["xen pv"])

    changed = detect(Level.PROOF, PATIENCE, root=root, imds=client(service), trust=service.trust)
    service.behave("hide", path="document$")
    alone = detect(Level.PROOF, PATIENCE, root=root, imds=client(service), trust=service.trust)

    assert ("no", Reason.WRONG_SIGNATURE) == (changed.answer, changed.reason), changed.explain()
    assert (Level.CLAIM, Reason.NOT_UNDERSTOOD, None) == (alone.level, alone.reason, alone.identity), alone.explain()


def test_a_forged_signature_on_amazons_firmware_is_suspect(tmp_path: Path, service: MetadataService) -> None:
    """Never a quiet yes, though the firmware alone would have been a claim."""
    service.behave("foreign-signatures")
    root = build(tmp_path, EC2["nitro t3.micro, AL2023"])

    verdict = detect(Level.PROOF, PATIENCE, root=root, imds=client(service), trust=service.trust)

    assert ("suspect", Reason.SUSPECT, None) == (verdict.answer, verdict.reason, verdict.identity)


@pytest.mark.parametrize("behaviour", ["foreign-signatures", "junk-signatures"])
def test_an_imposter_without_firmware_is_no(behaviour: str, tmp_path: Path, service: MetadataService) -> None:
    """It calls itself EC2ws and gives tokens: what it signs shows what it is, even where a claim was asked for."""
    service.behave(behaviour)

    verdict = detect(Level.CLAIM, PATIENCE, root=build(tmp_path, LOOK_ALIKES["no firmware"]), imds=client(service))

    assert ("no", Level.NONE) == (verdict.answer, verdict.level), verdict.explain()


def test_a_document_of_this_machine_is_bound(tmp_path: Path, service: MetadataService) -> None:
    """Board tag, product name, architecture, address and MAC agree."""
    host = Here(build(tmp_path, EC2["nitro t3.micro, AL2023"]), "127.0.0.1", "10.0.0.10")

    verdict = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert ("yes", Level.BOUND) == (verdict.answer, verdict.level), verdict.explain()
    agreed = {one.name for one in verdict.facts if one.value == "agrees"}
    checks = ("instance-id", "instance-type", "architecture", "address", "mac")
    assert {f"binding-{check}" for check in checks} == agreed
    assert verdict.identity == prove(PATIENCE, host=host, imds=client(service), trust=service.trust)


@pytest.mark.parametrize("changed", [{"instance_id": TAG[:-1] + "8"}, {"instance_type": "t3.small"}])
def test_a_document_of_another_machine_is_suspect(
    changed: dict[str, str], tmp_path: Path, service: MetadataService
) -> None:
    """A copied document verifies for ever; one field away from this machine it is another machine's."""
    service.instance = replace(service.instance, **changed)
    host = Here(build(tmp_path, EC2["nitro t3.micro, AL2023"]), "10.0.0.10")

    verdict = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert ("suspect", Reason.WRONG_MACHINE) == (verdict.answer, verdict.reason), verdict.explain()
    with pytest.raises(VerificationError, match="another machine's") as caught:
        prove(PATIENCE, host=host, imds=client(service), trust=service.trust)
    assert caught.value.reason is Reason.WRONG_MACHINE


def test_in_a_container_the_proof_stands_unbound(tmp_path: Path, service: MetadataService) -> None:
    """Its interfaces are its own: neither a contradiction nor a binding."""
    host = Here(build(tmp_path, EC2["nitro t3.micro, AL2023"]), "172.17.0.2")

    verdict = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert ("unknown", Level.PROOF, Reason.NOT_BOUND) == (verdict.answer, verdict.level, verdict.reason)
    assert TAG == prove(PATIENCE, bind=False, host=host, imds=client(service), trust=service.trust).document.instance_id
    with pytest.raises(UnverifiableError, match="on no local interface") as caught:
        prove(PATIENCE, host=host, imds=client(service), trust=service.trust)
    assert caught.value.reason is Reason.NOT_BOUND


IPV6 = "2600:1f14:eeb:2201::10"


@pytest.mark.parametrize(
    ("addresses", "mac", "level"),
    [
        (("::1", IPV6), "06:00:00:00:00:00", Level.BOUND),
        (("::1", "2600:1f14:eeb:2201::11"), "06:00:00:00:00:00", Level.PROOF),
        (("::1", IPV6), "06:00:00:00:00:01", Level.PROOF),
    ],
)
def test_an_ipv6_only_instance_is_bound_by_its_tag(
    addresses: tuple[str, ...], mac: str, level: Level, tmp_path: Path, service: MetadataService
) -> None:
    """Its document has no address (prometheus#16047): board tag, type, MAC and the service's IPv6 addresses tie it."""
    subnet = ("2600:1f14:eeb:2201::/64",)
    interface = Interface(mac="06:00:00:00:00:00", private_ips=(), subnets_ipv6=subnet, ipv6s=(IPV6,))
    service.instance = replace(service.instance, interfaces=(interface,))
    host = Here(build(tmp_path, EC2["nitro t3.micro, AL2023"]), *addresses, mac=mac)

    verdict = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert level is verdict.level, verdict.explain()
    assert verdict.identity is not None
    assert verdict.identity.document.private_ip is None


def test_without_a_board_tag_nothing_ties_an_ipv6_only_document(tmp_path: Path, service: MetadataService) -> None:
    """What the service says of its interface is not signed."""
    interface = Interface(private_ips=(), subnets_ipv6=("2600:1f14:eeb:2201::/64",), ipv6s=(IPV6,))
    service.instance = replace(service.instance, interfaces=(interface,))
    host = Here(build(tmp_path, EC2["xen pv"]), IPV6, mac=interface.mac)

    verdict = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert (Level.PROOF, Reason.NOT_BOUND) == (verdict.level, verdict.reason), verdict.explain()


def test_another_architecture_leaves_the_proof_unbound(tmp_path: Path, service: MetadataService) -> None:
    """Rosetta and qemu-user (munki#1061, rustup#3438) show a processor that the machine does not have."""
    service.instance = replace(service.instance, architecture="arm64_mac")
    host = Here(build(tmp_path, EC2["nitro t3.micro, AL2023"]), "10.0.0.10")

    verdict = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert ("unknown", Level.PROOF, Reason.NOT_BOUND) == (verdict.answer, verdict.level, verdict.reason)
    assert "translated or emulated" in verdict.because


def test_one_wrong_kind_does_not_hide_a_proof(tmp_path: Path, service: MetadataService) -> None:
    """AWS renews the keys of one kind at a time: then rsa2048 is wrong to an old version, and pkcs7 is right."""
    service.behave("foreign-signatures", path="/rsa2048$")
    root = build(tmp_path, EC2["nitro t3.micro, AL2023"])

    verdict = detect(Level.PROOF, PATIENCE, root=root, imds=client(service), trust=service.trust)

    assert verdict, verdict.explain()
    wrong = next(one for one in verdict.facts if one.name == "signature-rsa2048")
    assert ("refuted", Reason.WRONG_SIGNATURE) == (wrong.value, wrong.reason)


@pytest.mark.parametrize("body", ["", "%%%", "bm90IENNUw==", "\x00\x01", "A" * 30_000])
@pytest.mark.parametrize("machine", ["nitro t3.micro, AL2023", "no firmware"])
def test_an_item_that_is_not_understood_is_not_forged(
    body: str, machine: str, tmp_path: Path, service: MetadataService
) -> None:
    """Of every kind: the level of the other facts stays, and `prove` raises MalformedError."""
    service.behave("body", path="/(rsa2048|pkcs7|signature)$", body=body)
    host = Here(build(tmp_path, MACHINES[machine]), "10.0.0.10")

    verdict = detect(Level.PROOF, PATIENCE, host=host, imds=client(service), trust=service.trust)

    assert ("unknown", Level.CLAIM, Reason.NOT_UNDERSTOOD) == (verdict.answer, verdict.level, verdict.reason)
    with pytest.raises(MalformedError, match=r"^(signature|BER): "):
        prove(PATIENCE, host=host, imds=client(service), trust=service.trust)


def test_the_verdict_keeps_the_error_that_prove_raises(tmp_path: Path, service: MetadataService) -> None:
    """The same object, with its own reason and cause; None where nothing failed."""
    service.behave("foreign-signatures")
    root = build(tmp_path, EC2["nitro t3.micro, AL2023"])

    suspect = detect(Level.PROOF, PATIENCE, root=root, imds=client(service), trust=service.trust)
    claim = detect(Level.CLAIM, root=root)

    assert isinstance(suspect.error, VerificationError)
    assert (Reason.SUSPECT, Reason.WRONG_SIGNATURE) == (suspect.reason, suspect.error.reason)
    assert claim.error is None


def test_why_there_is_no_proof_is_the_error(tmp_path: Path, service: MetadataService) -> None:
    """Each cause has its class, and its reason."""
    disabled = service.behave("disabled")
    host = Here(build(tmp_path / "one", EC2["xen pv"]))
    with pytest.raises(ImdsError, match="switched off") as caught:
        prove(PATIENCE, host=host, imds=client(service))
    assert caught.value.reason is Reason.DISABLED
    service.forget(disabled)
    with pytest.raises(UnverifiableError, match="eu-west-1: no certificate for rsa2048 is known here"):
        prove(PATIENCE, host=host, imds=client(service), trust=TrustStore())
    with pytest.raises(FirmwareError, match="Hetzner"):
        prove(PATIENCE, host=Here(build(tmp_path / "two", LOOK_ALIKES["hetzner"])), imds=client(service))


def test_every_behaviour_has_its_due() -> None:
    """A new way to behave is a new row."""
    assert [*BEHAVIOURS] == [*ERROR_MODES]


@pytest.mark.parametrize("name", ERROR_MODES)
def test_each_error_mode_ends_in_time_with_its_answer_and_reason(
    name: str, tmp_path: Path, service: MetadataService
) -> None:
    """Without firmware; beside Amazon's, where the answer is as sure as the firmware or a lie is out; and `prove`."""
    misbehave(service, name)
    due = ERROR_MODES[name]
    alone, amazon = (build(tmp_path / row, MACHINES[row]) for row in ("no firmware", "nitro t3.micro, AL2023"))
    began = time.monotonic()

    found = detect(Level.PROOF, due.timeout, root=alone, imds=client(service, 300.0), trust=service.trust)
    beside = detect(Level.PROOF, due.timeout, root=amazon, imds=client(service, 300.0), trust=service.trust)
    try:
        prove(due.timeout, bind=False, imds=client(service, 300.0), trust=service.trust, host=Here(amazon))
        raised = None
    except Ec2IdentError as error:
        raised = error

    assert time.monotonic() - began < 3 * 2 * due.timeout  # of three calls, and not the client's own 300 s
    assert (due.answer, due.reason) == (found.answer, found.reason), found.explain()
    if due.suspect:
        assert ("suspect", Reason.SUSPECT, VerificationError) == (beside.answer, beside.reason, type(raised))
    elif due.error is None:
        assert ("yes", due.reason, None) == (beside.answer, beside.reason, raised)
    else:
        assert ("unknown", due.reason, Level.CLAIM) == (beside.answer, beside.reason, beside.level), beside.explain()
        assert due.error is type(raised)
        assert getattr(raised, "reason", due.reason) is due.reason


def test_a_service_that_stays_silent_ends_with_the_deadline(tmp_path: Path, service: MetadataService) -> None:
    """The answer is not "no": the hop limit may be the cause."""
    service.behave("silence")
    began = time.monotonic()

    verdict = detect(Level.PROOF, 1.0, root=build(tmp_path, EC2["xen pv"]), imds=client(service, 300.0))

    assert ("unknown", Level.HINT, Reason.HOP_LIMIT) == (verdict.answer, verdict.level, verdict.reason)
    assert time.monotonic() - began < PATIENCE  # not the client's own 300 s


def test_an_explanation_says_everything_once(tmp_path: Path, service: MetadataService) -> None:
    """The first line says what the service did and what to do about it; its fact repeats the reason alone."""
    service.behave("disabled")
    verdict = detect(Level.CLAIM, PATIENCE, root=build(tmp_path, EC2["xen pv"]), imds=client(service))

    first, second, *facts = verdict.explain().splitlines()

    assert first.startswith("unknown: only hypervisor_uuid is 'ec2")
    assert first.endswith("--http-endpoint enabled`")
    assert "level hint (claim was asked for), reason disabled" == second
    assert [f"  metadata-service   unknown: disabled  [{service.endpoint}]"] == [f for f in facts if "metadata-s" in f]
    blind = detect(network=False, root=str(tmp_path / "no"))
    assert "  firmware           unknown: no sysfs is mounted  [" in blind.explain()


def test_a_root_is_a_path_in_each_form_that_python_has(tmp_path: Path) -> None:
    """A text, bytes, or an object for a path."""
    root = build(tmp_path, EC2["nitro m5.large, SLES"])
    forms: tuple[Any, ...] = (root, tmp_path, os.fsencode(root), f"{root}/")

    assert {"yes"} == {detect(network=False, root=one).answer for one in forms}


def test_firmware_is_unknown_where_there_is_no_sysfs(tmp_path: Path) -> None:
    """An empty root is not a machine without firmware."""
    verdict = detect(Level.CLAIM, network=False, root=str(tmp_path))

    assert ("unknown", True) == (verdict.answer, any(one.name == "firmware" and one.unknown for one in verdict.facts))


@pytest.mark.parametrize("ask", [is_ec2, detect])
@pytest.mark.parametrize("level", [Level.NONE, "bogus", "claim", 7, None, [], {}])
def test_a_level_that_makes_no_sense_is_a_mistake_of_the_program(ask: Callable[..., object], level: object) -> None:
    """A misspelt level must not read as "no" on every instance; the error names the levels that there are."""
    with pytest.raises(ValueError, match=r"^level: .* is none of Level\.HINT, .*Level\.BOUND$"):
        ask(level)


@pytest.mark.parametrize("ask", [is_ec2, detect])
@pytest.mark.parametrize("timeout", [-1, 0, float("nan"), float("inf"), "2", None])
def test_a_timeout_that_makes_no_sense_is_a_mistake_of_the_program(ask: Callable[..., object], timeout: object) -> None:
    """The same for seconds, whatever their type."""
    with pytest.raises(ValueError, match=r"^timeout: "):
        ask(Level.CLAIM, timeout)


def test_is_ec2_answers_false_where_the_machine_or_the_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise of `is_ec2`: what goes wrong on the machine is not a yes, and not an exception."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a failure of another kind")

    monkeypatch.setattr("ec2ident.detection.Host", fails)

    assert is_ec2() is False


def test_a_verdict_as_json_has_its_documented_keys(tmp_path: Path, service: MetadataService) -> None:
    """Stable, and made of JSON's own types."""
    root = build(tmp_path, EC2["xen pv"])

    verdict = detect(Level.PROOF, PATIENCE, root=root, imds=client(service), trust=service.trust)

    loaded = json.loads(json.dumps(verdict.to_dict()))
    keys = ["schema", "answer", "level", "wanted", "reason", "because", "facts", "identity", "elapsed"]
    assert keys == list(loaded)
    assert TAG == loaded["identity"]["document"]["instance_id"]
    assert all(["name", "value", "source", "unknown", "reason", "detail"] == list(one) for one in loaded["facts"])
    assert verdict.because in verdict.explain()


def test_hostile_firmware_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    """Control characters are shown, not obeyed."""
    root = build(tmp_path, Machine({"sys_vendor": "Evil\x1b[2J\x9b"}, *[(Level.NONE, Reason.OTHER_VENDOR)] * 2))

    text = detect(network=False, root=root).explain()

    assert r"Evil\x1b[2J" in text
    assert not {"\x1b", "\x9b"} & set(text)


@pytest.mark.parametrize(
    "statements",
    [
        "from ec2ident import detect",
        "import ec2ident.detection; from ec2ident import detect",
        "from ec2ident import detect; import ec2ident.detection",
        "import ec2ident; ec2ident.is_ec2; from ec2ident import detect",
    ],
)
def test_detect_is_the_function_in_every_order_of_imports(statements: str) -> None:
    """Importing a module puts it into its package under its name, so the module has another one."""
    code = f"{statements}; assert type(detect).__name__ == 'function'"

    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(TOP)}, capture_output=True, text=True)

    assert ("", 0) == (done.stderr, done.returncode)


def test_yes_from_firmware_loads_little(tmp_path: Path) -> None:
    """Nothing beyond the standard library, and of that nothing that costs."""
    root = build(tmp_path, EC2["nitro t3.micro, AL2023"])
    code = f"import sys, ec2ident; v = ec2ident.detect(root={root!r}); assert v; print(*sorted(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(TOP)}, capture_output=True, text=True
    )

    heavy = {"requests", "cryptography", "psutil", "re", "typing", "json", "socket", "subprocess", "dataclasses"}
    assert "" == done.stderr
    assert set() == heavy & set(done.stdout.split())


def test_the_public_names_are_there() -> None:
    """What README and the docs use."""
    for name in ("is_ec2", "detect", "prove", "Verdict", "Imds", "Partition"):
        assert name in ec2ident.__all__
        assert getattr(ec2ident, name)


def test_only_what_was_bound_in_this_boot_is_remembered(
    tmp_path: Path, service: MetadataService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For this machine alone: a call with a root, a client or keys of its own gets an answer of its own."""
    boot = Host().boot_id()
    if boot is None:
        pytest.skip("this kernel does not name its boots")
    host = Here(build(tmp_path, EC2["nitro t3.micro, AL2023"]), "10.0.0.10")
    bound = detect(Level.BOUND, PATIENCE, host=host, imds=client(service), trust=service.trust)
    assert bound.level is Level.BOUND
    assert boot not in detection._bound

    monkeypatch.setitem(detection._bound, boot, bound)

    remembered = detect(Level.PROOF, network=False)
    assert (bound.identity, Level.PROOF, bound.facts) == (remembered.identity, remembered.wanted, remembered.facts)
    assert not detect(Level.PROOF, network=False, root=str(tmp_path))
    monkeypatch.setitem(detection._bound, "another boot", detection._bound.pop(boot))
    assert not detect(Level.PROOF, network=False)


@pytest.mark.parametrize("because", ["", "short", "it's long " * 30, "\u202e\n\0" * 30, "ü" * 300])
@pytest.mark.parametrize("reason", [Reason.SUSPECT, max(Reason, key=len)])
def test_the_repr_of_a_verdict_is_one_line(because: str, reason: Reason) -> None:
    """In a log or at a prompt: the answer, the level and the reason, without the facts, which took 2,000 columns."""
    level = Level.DOCUMENT
    verdict = ec2ident.Verdict(level, reason, because, level, facts=(ec2ident.Fact("name", "value" * 99),))

    text = repr(verdict)

    assert len(text) <= 120
    assert text.isascii()
    assert text.isprintable()
    assert text.startswith(f"<Verdict {verdict.answer}, level DOCUMENT of DOCUMENT, {reason}: ")
    assert ("'short'>" in text) == (because == "short")
    assert (len(text) == 120) == (len(because) > 5), "it is cut where it must be, and no earlier"


def test_an_explanation_does_not_repeat_what_its_first_line_says() -> None:
    """The detail of a fact that decided is part of that line; of the others it is beside them."""
    decided = ec2ident.Fact("signature", "refuted", detail="256 bytes that are not eu-west-1's")
    beside = ec2ident.Fact("binding-architecture", "inconclusive", detail="document says arm64")
    because = f"the signature is wrong: {decided.detail}"
    verdict = ec2ident.Verdict(Level.NONE, Reason.SUSPECT, because, Level.PROOF, facts=(decided, beside))

    assert 1 == verdict.explain().count(decided.detail)
    assert "'inconclusive': document says arm64" in verdict.explain()
