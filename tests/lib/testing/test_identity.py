"""The identity items of the service: the form is AWS's byte for byte, the signatures are real, forgeries are found."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

import ec2ident
from ec2ident import Kind
from ec2ident.testing import Authority, Instance, Interface, MetadataService
from ec2ident.testing.identity import document
from ec2ident.value import replace
from tests.lib.rawhttp import get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

REAL = Path(__file__).parents[2] / "vectors" / "real"

#: Genuine documents in today's key order (2020 and later), by the names of their directories.
TODAY = sorted(
    path.parent.name
    for path in REAL.glob("*/document.json")
    if path.read_bytes().startswith(b'{\n  "accountId"') and b'"architecture"' in path.read_bytes().split(b"\n")[2]
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def imds(authority: Authority) -> Iterator[MetadataService]:
    with MetadataService(authority=authority) as service:
        yield service


def item(imds: MetadataService, name: str) -> bytes:
    return get(imds.endpoint, f"/latest/dynamic/instance-identity/{name}").body


def described(fields: dict[str, object]) -> Instance:
    """The instance that a genuine document is about."""
    address = str(fields["privateIp"])
    subnet = str(ipaddress.ip_network(f"{address}/24", strict=False))
    return Instance(
        region=str(fields["region"]),
        availability_zone=str(fields["availabilityZone"]),
        account_id=str(fields["accountId"]),
        instance_id=str(fields["instanceId"]),
        instance_type=str(fields["instanceType"]),
        architecture=str(fields["architecture"]),
        image_id=str(fields["imageId"]),
        pending_time=str(fields["pendingTime"]),
        interfaces=(Interface(private_ips=(address,), subnet=subnet),),
        billing_products=tuple(fields["billingProducts"] or ()),  # type: ignore[arg-type]
        marketplace_product_codes=tuple(fields["marketplaceProductCodes"] or ()),  # type: ignore[arg-type]
    )


def test_there_are_genuine_documents_to_compare_with() -> None:
    """Else the next test would pass with nothing."""
    assert len(TODAY) >= 5


@pytest.mark.parametrize("name", TODAY)
def test_a_document_is_written_as_aws_writes_it(name: str) -> None:
    """The same instance gives the very bytes that AWS signed: blanks, order, lists, no final newline."""
    genuine = (REAL / name / "document.json").read_bytes()

    assert genuine == document(described(json.loads(genuine)))


@pytest.mark.parametrize("kind", list(Kind))
def test_what_the_service_signed_verifies(imds: MetadataService, kind: Kind) -> None:
    """With its own trust store; the identity is the instance's."""
    identity = ec2ident.verify(item(imds, str(kind)), kind=kind, document=item(imds, "document"), trust=imds.trust)

    assert (imds.instance.instance_id, "eu-west-1", "aws") == (
        identity.document.instance_id,
        identity.region,
        identity.partition,
    )
    assert (kind is not Kind.RSA2048) == identity.legacy


@pytest.mark.parametrize("kind", list(Kind))
def test_no_other_store_trusts_the_authority(imds: MetadataService, kind: Kind) -> None:
    """AWS's own keys refuse what the service signs: it is good for tests and nothing else."""
    with pytest.raises(ec2ident.VerificationError, match="not eu-west-1's signature"):
        ec2ident.verify(item(imds, str(kind)), kind=kind, document=item(imds, "document"))


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("forgery", ["junk-signatures", "foreign-signatures", "altered-document"])
def test_every_forgery_is_found(imds: MetadataService, forgery: str, kind: Kind) -> None:
    """Junk is malformed or wrong, a stranger's signature is wrong, an altered document differs."""
    imds.behave(forgery)

    with pytest.raises((ec2ident.VerificationError, ec2ident.MalformedError)):
        ec2ident.verify(item(imds, str(kind)), kind=kind, document=item(imds, "document"), trust=imds.trust)


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"])
def test_any_region_is_signed_for_and_only_that_one_is_trusted(authority: Authority, region: str) -> None:
    """China's pkcs7 key is RSA; the trust store is the region's alone."""
    with MetadataService(Instance(region=region)) as imds:
        for kind in (Kind.RSA2048, Kind.PKCS7):
            identity = ec2ident.verify(item(imds, str(kind)), kind=kind, trust=imds.trust)
            assert (region, imds.instance.partition.name) == (identity.region, identity.partition)
            assert (region,) == imds.trust.regions(kind)


def test_the_items_are_listed_in_ec2s_order_and_stay_the_same(imds: MetadataService) -> None:
    """As seen in 2021. DSA signs differently each time, so what is signed once is kept, until the instance changes."""
    assert b"rsa2048\ndocument\npkcs7\nsignature" == item(imds, "")
    first = item(imds, "pkcs7")
    assert first == item(imds, "pkcs7")

    imds.instance = replace(imds.instance, instance_type="t3.nano")

    assert first != item(imds, "pkcs7")
    identity = ec2ident.verify(item(imds, "pkcs7"), kind="pkcs7", trust=imds.trust)
    assert "t3.nano" == identity.document.instance_type


def test_text_is_wrapped_as_aws_wraps_it(imds: MetadataService) -> None:
    """76 columns, no newline at the end; `signature` has 174 characters."""
    signature = item(imds, "signature")

    assert [76, 76, 20] == [len(line) for line in signature.split(b"\n")]
    for name in ("pkcs7", "rsa2048"):
        *lines, last = item(imds, name).split(b"\n")
        assert {76} == {len(line) for line in lines}
        assert 0 < len(last) <= 76


def test_an_instance_without_ipv4_has_a_document_without_address(imds: MetadataService) -> None:
    """null, as for everything that an instance does not have."""
    imds.instance = Instance(interfaces=(Interface(private_ips=(), ipv6s=("2600:1f14::5",)),))

    assert json.loads(item(imds, "document"))["privateIp"] is None
