"""The SDK of AWS takes the service for EC2: its own fetchers, over the wire."""

from __future__ import annotations

import pytest

from ec2ident.testing import Instance, MetadataService

session = pytest.importorskip("botocore.session", reason="needs botocore")
utils = pytest.importorskip("botocore.utils", reason="needs botocore")

pytest_plugins = ["ec2ident.testing.pytest_plugin"]


@pytest.fixture
def imds(metadata_service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> MetadataService:
    """The service, no proxy before it, which botocore would ask, and time for a busy machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "20")
    return metadata_service


def test_botocore_gets_the_credentials_of_the_role(imds: MetadataService) -> None:
    """Through the session's own provider: token, role, credentials."""
    resolver = session.Session().get_component("credential_provider")
    credentials = resolver.get_provider("iam-role").load()

    assert ("ASIATESTINGTESTINGTE", "iam-role") == (credentials.access_key, credentials.method)
    stem = "/latest/meta-data/iam/security-credentials/"
    assert [
        ("PUT", "/latest/api/token", 200, "none"),
        ("GET", stem, 200, "valid"),
        ("GET", f"{stem}ec2ident-testing", 200, "valid"),
    ] == [(seen.method, seen.path, seen.status, seen.token) for seen in imds.requests]


def test_botocore_finds_no_credentials_without_a_role(imds: MetadataService) -> None:
    """404 for the role is not an error to it, just nothing."""
    imds.instance = Instance(role=None)

    assert session.Session().get_component("credential_provider").get_provider("iam-role").load() is None


@pytest.mark.parametrize(
    ("region", "zone"),
    [("eu-west-1", "eu-west-1a"), ("cn-north-1", "cn-north-1b"), ("us-gov-west-1", "us-gov-west-1a")],
)
def test_botocore_finds_the_region(imds: MetadataService, region: str, zone: str) -> None:
    """It takes the availability zone and cuts its letter."""
    imds.instance = Instance(region=region, availability_zone=zone)

    assert region == utils.IMDSRegionProvider(session.Session()).provide()


def test_botocore_gives_up_where_the_hop_limit_swallows_the_token(imds: MetadataService) -> None:
    """As in a container on EC2: it waits for the token, goes on without one, and is refused."""
    imds.behave("hop-limit")

    fetcher = utils.InstanceMetadataFetcher(timeout=1.0, config={"ec2_metadata_service_endpoint": imds.endpoint})

    assert {} == fetcher.retrieve_iam_role_credentials()
    assert [("PUT", None), ("GET", 401)] == [(seen.method, seen.status) for seen in imds.requests]


def test_botocore_retries_what_is_throttled(imds: MetadataService) -> None:
    """A service that fails once is asked again."""
    imds.behave("throttled", path="/iam/security-credentials/ec2ident-testing$", times=1)

    fetcher = utils.InstanceMetadataFetcher(20.0, 2, config={"ec2_metadata_service_endpoint": imds.endpoint})

    assert "ASIATESTINGTESTINGTE" == fetcher.retrieve_iam_role_credentials()["access_key"]
    assert [200, 200, 503, 200] == [seen.status for seen in imds.requests]
