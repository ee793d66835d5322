"""Items by their usual names: the values, what may be missing, and what a missing item of every instance means."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ec2ident.errors import ImdsError
from ec2ident.imds.client import Imds
from ec2ident.imds.items import Items
from ec2ident.model import Reason
from ec2ident.testing import Instance, Interface, MetadataService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ETH0 = Interface(
    mac="06:00:00:00:00:00",
    private_ips=("10.0.0.10", "10.0.0.11"),
    ipv6s=("2001:db8::10",),
    public_ip="203.0.113.10",
    security_groups=("default", "web"),
)
ETH1 = Interface(mac="06:00:00:00:00:01", device_number=1, private_ips=("10.0.0.20",))
INSTANCE = Instance(interfaces=(ETH0, ETH1), user_data=b"\xff\x00", tags=(("Name", "web"), ("team:a", "b c")))
BARE = Instance(interfaces=(Interface(),), role=None)


@pytest.fixture(scope="module")
def service() -> Iterator[MetadataService]:
    with MetadataService(INSTANCE) as service:
        yield service


@pytest.fixture
def bare() -> Iterator[MetadataService]:
    with MetadataService(BARE) as service:
        yield service


def client(service: MetadataService) -> Imds:
    return Imds(20.0, endpoints=service.endpoint)


EXPECTED = {
    "instance_id": "i-0123456789abcdef0",
    "instance_type": "m5.large",
    "image_id": "ami-0123456789abcdef0",
    "ami_id": "ami-0123456789abcdef0",
    "region": "eu-west-1",
    "availability_zone": "eu-west-1a",
    "availability_zone_id": "euw1-az1",
    "partition": "aws",
    "domain": "amazonaws.com",
    "mac": "06:00:00:00:00:00",
    "macs": ("06:00:00:00:00:00", "06:00:00:00:00:01"),
    "reservation_id": "r-0123456789abcdef0",
    "account_id": "123456789012",
    "local_ipv4": "10.0.0.10",
    "private_ipv4": "10.0.0.10",
    "public_ipv4": "203.0.113.10",
    "ipv6": "2001:db8::10",
    "local_hostname": "ip-10-0-0-10.eu-west-1.compute.internal",
    "private_hostname": "ip-10-0-0-10.eu-west-1.compute.internal",
    "public_hostname": "ec2-203-0-113-10.eu-west-1.compute.amazonaws.com",
    "kernel_id": None,
    "life_cycle": "on-demand",
    "security_groups": ("default", "web"),
    "iam_role": "ec2ident-testing",
    "user_data": b"\xff\x00",
    "tags": {"Name": "web", "team:a": "b c"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_item_has_its_usual_name(name: str, service: MetadataService) -> None:
    """The name is the item's with underscores, or the one of the package ec2-metadata."""
    assert EXPECTED[name] == getattr(client(service), name)


def test_every_name_has_a_value_here() -> None:
    """A property that is added later is tested, too."""
    names = {name for name, thing in vars(Items).items() if isinstance(thing, property)}

    assert {*EXPECTED, "instance_identity_document"} == names


def test_the_identity_document_is_parsed_and_can_be_written_as_json(service: MetadataService) -> None:
    """`to_dict` has JSON's own types, and no bytes."""
    document = client(service).instance_identity_document

    assert datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc) == document.pending_time
    plain = document.to_dict()
    assert ("10.0.0.10", "2026-01-02T03:04:05+00:00", []) == (
        plain["private_ip"],
        plain["pending_time"],
        plain["billing_products"],
    )
    assert "raw" not in plain


@pytest.mark.parametrize("name", ["public_ipv4", "ipv6", "public_hostname", "iam_role", "user_data", "tags"])
def test_what_an_instance_may_be_without_is_none(name: str, bare: MetadataService) -> None:
    """404 for such an item is an answer. For tags it also means that access to them is not allowed."""
    assert getattr(client(bare), name) is None


@pytest.mark.parametrize("name", ["instance_id", "region", "mac", "account_id", "macs"])
def test_what_every_instance_has_is_never_none(name: str, bare: MetadataService) -> None:
    """Its absence shows that another server answers, which is an error and not a value."""
    bare.behave("hide", path="/meta-data/|/dynamic/")

    with pytest.raises(ImdsError, match="does not exist") as caught:
        getattr(client(bare), name)
    assert Reason.NOT_EC2WS is caught.value.reason


class Recorded(Items):
    """A client that answers from memory, and records the deadline of each request."""

    def __init__(self, keys: str = "a\nb\ngone") -> None:
        self.keys = keys
        self.deadlines: list[float | None] = []
        self.now = 0.0

    def deadline(self) -> float:
        self.now += 1.0
        return self.now + 10.0

    def get(self, path: str, *, deadline: float | None = None) -> str | None:
        self.deadlines.append(deadline)
        self.now += 4.0
        if " " in path:
            raise ValueError(f"path: {path!r}")
        return {"meta-data/tags/instance": self.keys, "meta-data/tags/instance/gone": None}.get(path, "value")


def test_a_key_that_cannot_be_asked_for_is_a_failure_of_the_service() -> None:
    """aws/aws-cli#6914: EC2 refuses spaces in keys where tags are metadata; look-alikes and mocks do not."""
    with pytest.raises(ImdsError, match="Patch Group") as caught:
        assert Recorded("a\nPatch Group").tags
    assert Reason.MALFORMED is caught.value.reason


def test_an_empty_listing_of_tags_shows_none() -> None:
    """aws/amazon-ec2-metadata-mock#189: EC2 answers 200 without a text where access to tags is not allowed."""
    assert Recorded("").tags is None


def test_the_mock_of_aws_lists_what_is_below_each_interface() -> None:
    """aws/amazon-ec2-metadata-mock#173: a line for each item, where EC2 has one for each interface."""

    class Mock(Recorded):
        def get(self, path: str, *, deadline: float | None = None) -> str | None:
            return "0e:49:61:0f:c3:11/device-number\n0e:49:61:0f:c3:11/mac\n0e:49:61:0f:c3:22/"

    assert ("0e:49:61:0f:c3:11", "0e:49:61:0f:c3:22") == Mock().macs


def test_all_tags_together_have_one_deadline() -> None:
    """Four requests do not last four timeouts; a tag that was removed meanwhile is left out."""
    client = Recorded()

    assert {"a": "value", "b": "value"} == client.tags
    assert [11.0] * 4 == client.deadlines
