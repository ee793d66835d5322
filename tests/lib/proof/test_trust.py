"""The keys to trust: what is shipped is what AWS published, and a user's own never leaks into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ec2ident.errors import MalformedError, UnverifiableError
from ec2ident.model import Kind
from ec2ident.proof import trust
from ec2ident.proof.trust import TrustStore
from ec2ident.proof.verification import verify
from ec2ident.value import replace
from tests.lib import forge
from tests.lib.proof import cms_forms as forms

TOP = Path(__file__).parents[3]

#: What is shipped. The one place for these numbers: change them with a certificate that is added.
ROWS, REGIONS, KEYS = 114, 39, 77
#: AWS publishes no certificate for these, as of August 2026.
WITHOUT_PKCS7 = {"ap-east-2", "ap-southeast-6", "eusc-de-east-1"}


def test_the_shipped_certificates_are_those_of_their_table() -> None:
    """The script recomputes every hash, key type and date with another reader than the library's."""
    done = subprocess.run([sys.executable, TOP / "scripts" / "check-certificates"], capture_output=True, text=True)

    assert (0, "", f"certificates: {ROWS} rows, {REGIONS} regions, {KEYS} keys, 0 differences\n") == (
        done.returncode,
        done.stderr,
        done.stdout,
    )


def test_the_script_sees_one_changed_digit(tmp_path: Path) -> None:
    """A row with another pin, a file with other bytes, a file that no row names."""
    for file in (TOP / "ec2ident" / "proof" / "certificates").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    index = tmp_path / "index.tsv"
    index.write_text(index.read_text().replace("\t86accf61", "\t86accf62"))
    (tmp_path / "0000000000000000.pem").write_text((tmp_path / "215bab209298aaf8.pem").read_text())
    script = TOP / "scripts" / "check-certificates"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)

    assert 1 == done.returncode
    assert "aws af-south-1 rsa2048: spki_sha256 86accf62" in done.stderr
    assert "0000000000000000.pem: in no row" in done.stderr
    assert done.stdout.endswith(" 3 differences\n")


def test_every_region_has_its_keys() -> None:
    """Three kinds, but for the cells for which AWS publishes nothing."""
    store = TrustStore.bundled()
    regions = store.regions("rsa2048")

    assert REGIONS == len(regions)
    assert ROWS == sum(len(store.regions(kind)) for kind in Kind)
    assert regions == store.regions(Kind.SIGNATURE)
    assert WITHOUT_PKCS7 == set(regions) - set(store.regions("pkcs7"))
    for kind in Kind:
        for region in store.regions(kind):
            found = store.key_for(region, kind)
            assert (region, kind) == (found.region, found.kind)
            assert found.sources
            assert region in found.shared_by


def test_key_types_are_what_the_kinds_promise() -> None:
    """rsa2048: RSA-2048, the region's own. signature: RSA-1024. pkcs7: DSA-1024, in China RSA-2048."""
    store = TrustStore.bundled()
    types = {
        kind: {str(store.key_for(region, kind).key) for region in store.regions(kind) if not region.startswith("cn-")}
        for kind in ("rsa2048", "signature", "pkcs7")
    }

    assert {"rsa2048": {"RSA-2048"}, "signature": {"RSA-1024"}, "pkcs7": {"DSA-1024"}} == types
    assert "RSA-2048" == str(store.key_for("cn-north-1", "pkcs7").key)
    assert {1} == {len(store.key_for(region, "rsa2048").shared_by) for region in store.regions("rsa2048")}
    assert 17 == len(store.key_for("us-east-1", "signature").shared_by)
    assert 19 == len(store.key_for("us-gov-west-1", "pkcs7").shared_by)


def test_no_key_serves_two_kinds() -> None:
    """Otherwise a signature of one kind could pass for another."""
    store = TrustStore.bundled()
    keys = {kind: {store.key_for(region, kind).key for region in store.regions(kind)} for kind in Kind}

    assert not keys[Kind.RSA2048] & keys[Kind.PKCS7]
    assert not keys[Kind.RSA2048] & keys[Kind.SIGNATURE]
    assert not keys[Kind.PKCS7] & keys[Kind.SIGNATURE]
    assert KEYS == sum(map(len, keys.values()))


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-west-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-east-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_a_key_knows_its_partition(region: str, partition: str) -> None:
    """From the table, not from the look of the name."""
    assert partition == TrustStore.bundled().key_for(region, "rsa2048").partition


def test_a_key_is_parsed_once() -> None:
    """And one that regions share is one object."""
    store = TrustStore.bundled()

    assert store is TrustStore.bundled()
    assert store.key_for("us-east-1", "signature") is store.key_for("us-east-1", Kind.SIGNATURE)
    assert store.key_for("us-east-1", "signature").key is store.key_for("us-west-2", "signature").key


@pytest.mark.parametrize(
    ("region", "kind"),
    [
        *((region, "pkcs7") for region in sorted(WITHOUT_PKCS7)),
        ("us-iso-east-1", "rsa2048"),
        ("us-isob-east-1", "signature"),
        ("me-west-1", "rsa2048"),
        ("us-east-1 ", "rsa2048"),
        ("US-EAST-1", "rsa2048"),
        ("", "pkcs7"),
    ],
)
def test_no_certificate_is_cannot_tell(region: str, kind: str) -> None:
    """Neither yes nor no, and the message says what to do."""
    with pytest.raises(UnverifiableError, match=f"{region}: no certificate for {kind} .*with_certificate"):
        TrustStore.bundled().key_for(region, kind)


def test_an_empty_store_trusts_nothing() -> None:
    """There is no fallback to what is bundled."""
    with pytest.raises(UnverifiableError, match="us-east-1: no certificate"):
        TrustStore().key_for("us-east-1", "rsa2048")


def test_adding_a_certificate_makes_a_new_store() -> None:
    """The old one, and other stores made from it, never see it."""
    base = TrustStore()
    one = base.with_certificate(
        forge.OURS.certificate("rsa2048"), region="us-iso-east-1", kind="rsa2048", partition="x"
    )
    two = base.with_certificate(
        forge.OURS.certificate("rsa2048"), region="us-iso-west-1", kind="rsa2048", partition="x"
    )

    assert (("us-iso-east-1",), ("us-iso-west-1",), ()) == tuple(s.regions("rsa2048") for s in (one, two, base))
    assert "us-iso-east-1" not in TrustStore.bundled().regions("rsa2048")


def test_a_users_certificate_takes_the_place_of_the_bundled_one_in_one_cell() -> None:
    """The same region's other kinds, and the same kind elsewhere, stay as they were."""
    bundled = TrustStore.bundled()
    store = bundled.with_certificate(forge.OURS.certificate("rsa2048"), region="eu-west-1", kind="rsa2048")

    assert bundled.key_for("eu-west-1", "rsa2048").key != store.key_for("eu-west-1", "rsa2048").key
    assert "aws" == store.key_for("eu-west-1", "rsa2048").partition
    assert bundled.key_for("eu-west-1", "pkcs7") == store.key_for("eu-west-1", "pkcs7")
    assert bundled.key_for("eu-west-2", "rsa2048") == store.key_for("eu-west-2", "rsa2048")
    assert bundled.regions("rsa2048") == store.regions("rsa2048")


def test_an_unknown_region_needs_its_partition() -> None:
    """A guess from the name could be wrong."""
    with pytest.raises(ValueError, match="partition: unknown for region 'us-iso-east-1'"):
        TrustStore.bundled().with_certificate(forge.OURS.certificate("rsa2048"), region="us-iso-east-1", kind="rsa2048")


def test_documents_of_an_unknown_region_verify_with_the_users_certificate() -> None:
    """The ISO partitions publish their certificates only inside."""
    document = forge.document("us-iso-east-1")
    store = TrustStore.bundled().with_certificate(
        forge.OURS.certificate("rsa2048").encode(), region="us-iso-east-1", kind=Kind.RSA2048, partition="aws-iso"
    )
    text = forge.OURS.sign(document, "rsa2048", forge.SIGNED_AT)

    assert "aws-iso" == verify(text, kind="rsa2048", trust=store).partition
    with pytest.raises(UnverifiableError, match="us-iso-east-1: no certificate for rsa2048"):
        verify(text, kind="rsa2048")


_POLICY = "error:030000CD:digital envelope routines::keymgmt export failure"


def _refusals() -> list[Exception]:
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm

    return [UnsupportedAlgorithm("refused"), InternalError(f"{_POLICY}{' and more' * 50}", [])]


@pytest.mark.parametrize("error", _refusals())
@pytest.mark.parametrize("when", ["it is loaded", "it is used"])
def test_a_library_that_refuses_the_algorithm_is_cannot_tell(
    when: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some builds of OpenSSL refuse DSA and SHA-1: then a signature is neither good nor forged.

    The double raises what users saw: SecurityInnovation/PGPy#438 when a hash is used, pyca/cryptography#6880 (with
    RHEL's FIPS policy) when a DSA key is taken.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import dsa

    class Refusing:
        key_size = 1024

        def verify(self, *_: object) -> None:
            raise error

    def load(_: bytes) -> Refusing:
        if when == "it is loaded":
            raise error
        return Refusing()

    dsa.DSAPublicKey.register(Refusing)
    text = forge.OURS.sign(forge.document(), "pkcs7", forge.SIGNED_AT)

    monkeypatch.setattr(serialization, "load_der_public_key", load)
    with pytest.raises(UnverifiableError, match=r": refused by this OpenSSL \((refused|error:0300.{107}\.\.\.)\)$"):
        verify(
            text,
            kind="pkcs7",
            trust=TrustStore().with_certificate(
                forge.OURS.certificate("pkcs7"), region="af-south-1", kind="pkcs7", partition="aws"
            ),
        )


PEM = forge.OURS.certificate("signature")


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        ("", "0 PEM blocks"),
        (PEM + PEM, "2 PEM blocks"),
        (PEM.replace("CERTIFICATE", "PUBLIC KEY"), "no complete"),
        (PEM.replace("-----END CERTIFICATE-----", ""), "no complete|not base64"),
        (PEM[:200] + "*" + PEM[200:], "not base64"),
        (PEM[:100] + PEM[165:], "BER"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "BER"),
        (PEM + 17000 * "x", "at most 16384"),
    ],
    # The certificate is made anew in each process, so it may not name a test.
    ids=["nothing", "two", "a key", "no end", "a strange character", "a line short", "no certificate inside", "large"],
)
def test_what_is_not_one_certificate_is_refused(pem: str, why: str) -> None:
    """Not a bundle, not a bare key, not a damaged one."""
    with pytest.raises(MalformedError, match=why):
        TrustStore().with_certificate(pem, region="eu-west-1", kind="signature")


@pytest.mark.parametrize(
    ("certificate", "kind"), [("signature", "rsa2048"), ("pkcs7", "rsa2048"), ("pkcs7", "signature")]
)
def test_a_key_that_aws_would_not_sign_this_kind_with_is_refused(certificate: str, kind: str) -> None:
    """A weak key under the name of the strong kind would weaken what `legacy` promises."""
    with pytest.raises(MalformedError, match=f"certificate: ...-1024 \\({kind} is signed with RSA"):
        TrustStore().with_certificate(forge.OURS.certificate(certificate), region="eu-west-1", kind=kind)


def test_a_file_with_another_key_than_the_pinned_one_is_refused() -> None:
    """The table's pin decides, not the file that lies beside it."""
    row = trust._read_index()["us-east-1", "rsa2048"]
    other = trust._read_index()["us-east-2", "rsa2048"]
    store = TrustStore()
    store._rows["us-east-1", "rsa2048"] = replace(row, file=other.file)

    with pytest.raises(MalformedError, match=f"key {other.spki_sha256} \\(index.tsv pins {row.spki_sha256}"):
        store.key_for("us-east-1", "rsa2048")


@pytest.mark.parametrize(
    ("name", "shown", "legacy"),
    [("rsa", "RSA-2048", False), ("rsa3072", "RSA-3072", False), ("p256", "P-256", False), ("p384", "P-384", False)],
)
@pytest.mark.parametrize("kind", Kind)
def test_keys_that_aws_may_change_to_are_taken_for_every_kind(name: str, shown: str, legacy: bool, kind: Kind) -> None:
    """RSA and ECDSA of today's strength, as PEM or as DER."""
    text = forms.pem(name)
    der = forms.certificate(name).public_bytes(Encoding.DER)
    found = [
        TrustStore().with_certificate(one, region="eu-west-1", kind=kind).key_for("eu-west-1", kind)
        for one in (text, der)
    ]

    assert found[0] == found[1]
    assert (shown, legacy) == (str(found[0].key), found[0].key.legacy)


def test_a_curve_that_is_not_understood_is_refused() -> None:
    """P-521 is not in AWS's use, and no signature of it was ever seen here."""
    with pytest.raises(MalformedError, match=r"521 .RSA of 1024 bits or more, P-256, P-384 or DSA"):
        TrustStore().with_certificate(forms.pem("p521"), region="eu-west-1", kind="rsa2048")


@pytest.mark.parametrize("given", [None, 5, ["-----BEGIN CERTIFICATE-----"]])
def test_what_is_not_text_is_not_a_certificate(given: object) -> None:
    """An error of the library, and no AttributeError."""
    with pytest.raises(MalformedError, match=f"certificate: {type(given).__name__}"):
        TrustStore().with_certificate(given, region="eu-west-1", kind="rsa2048")  # type: ignore[arg-type]


def test_during_a_rotation_both_keys_count() -> None:
    """`beside` adds a key: to AWS's own, to one that was added, and to none."""
    bundled = TrustStore.bundled()
    ours, strangers = (authority.certificate("rsa2048") for authority in (forge.OURS, forge.STRANGER))
    beside = bundled.with_certificate(ours, region="eu-west-1", kind="rsa2048", beside=True)
    three = beside.with_certificate(strangers, region="eu-west-1", kind="rsa2048", beside=True)
    one = three.with_certificate(ours, region="eu-west-1", kind="rsa2048")
    first = TrustStore().with_certificate(ours, region="eu-west-1", kind="rsa2048", beside=True)

    assert [1, 2, 3, 1, 1] == [
        len(store.keys_for("eu-west-1", "rsa2048")) for store in (bundled, beside, three, one, first)
    ]
    assert bundled.key_for("eu-west-1", "rsa2048") in three.keys_for("eu-west-1", "rsa2048")
    for authority in (forge.OURS, forge.STRANGER):
        text = authority.sign(forge.document("eu-west-1"), "rsa2048", forge.SIGNED_AT)
        assert verify(text, kind="rsa2048", trust=three)
    assert three.regions("rsa2048") == bundled.regions("rsa2048")
