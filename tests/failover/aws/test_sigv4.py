"""Our signature is botocore's, bit by bit."""

from __future__ import annotations

import datetime
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.client import Access, Api, _wire
from ec2ident_agent.failover.aws.model import Credentials
from ec2ident_agent.failover.aws.sigv4 import sign

TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
NOW = datetime.datetime(2026, 1, 31, 23, 59, 59)


def theirs(credentials: Credentials, service: str, region: str, method: str, url: str, body: bytes) -> str:
    auth = pytest.importorskip("botocore.auth")
    request = pytest.importorskip("botocore.awsrequest").AWSRequest(method, url, data=body)
    keys = pytest.importorskip("botocore.credentials").Credentials
    signer = auth.SigV4Auth(keys(credentials.key, credentials.secret, credentials.token or None), service, region)
    # The time is botocore's own effect; it takes none as an argument.
    for name in ("get_current_datetime", "datetime"):
        if hasattr(auth, name):
            fake = (
                mock.Mock(return_value=NOW)
                if name != "datetime"
                else mock.Mock(**{"datetime.utcnow.return_value": NOW})
            )
            with mock.patch.object(auth, name, fake):
                signer.add_auth(request)
            return str(request.headers["Authorization"])
    raise AssertionError("botocore tells the time in some other way")


@given(TEXT, TEXT, st.just("") | TEXT, st.sampled_from(["ec2", "sts"]), st.binary(max_size=100))
def test_a_form_is_signed_as_botocore_signs_it(key: str, secret: str, token: str, service: str, body: bytes) -> None:
    """POST, with and without a session token."""
    credentials = Credentials(key.replace("/", "x"), secret, token)
    ours = sign(
        credentials,
        service=service,
        region="eu-west-1",
        method="POST",
        host="ec2.eu-west-1.amazonaws.com",
        path="/",
        query="",
        body=body,
        now="20260131T235959Z",
    )

    expected = theirs(credentials, service, "eu-west-1", "POST", "https://ec2.eu-west-1.amazonaws.com/", body)
    assert expected == ours["authorization"]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30))
def test_a_query_is_signed_as_botocore_signs_it(name: str) -> None:
    """GET, with whatever may stand in a record's name."""
    call = actions.list_records("Z1", name, "A")
    query, _ = _wire(call)
    credentials = Credentials("AKID", "secret")
    ours = sign(
        credentials,
        service="route53",
        region="us-east-1",
        method="GET",
        host="route53.amazonaws.com",
        path=call.path,
        query=query,
        body=b"",
        now="20260131T235959Z",
    )

    url = f"https://route53.amazonaws.com{call.path}?{query}"
    assert theirs(credentials, "route53", "us-east-1", "GET", url, b"") == ours["authorization"]


def test_credentials_show_nowhere() -> None:
    """Neither secret nor token is in what is printed of them, and the key only by its first letters."""
    shown = repr(Credentials("AKIDEXAMPLE", "the-secret", "the-token"))

    assert "Credentials(key=AKID…, secret=…)" == shown


@pytest.mark.parametrize(
    ("region", "service", "url", "signer"),
    [
        ("eu-west-1", "ec2", "https://ec2.eu-west-1.amazonaws.com", "eu-west-1"),
        ("eu-west-1", "route53", "https://route53.amazonaws.com", "us-east-1"),
        ("cn-north-1", "ec2", "https://ec2.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("cn-north-1", "route53", "https://route53.amazonaws.com.cn", "cn-northwest-1"),
        ("cn-northwest-1", "sts", "https://sts.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1"),
        ("us-gov-east-1", "route53", "https://route53.us-gov.amazonaws.com", "us-gov-west-1"),
        ("eusc-de-east-1", "ec2", "https://ec2.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("eusc-de-east-1", "route53", "https://route53.amazonaws.eu", "eusc-de-east-1"),
        ("us-iso-east-1", "ec2", "https://ec2.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
    ],
)
def test_each_partition_has_its_endpoints_and_signing_regions(region: str, service: str, url: str, signer: str) -> None:
    """Regional for EC2 and STS; Route 53 is one a partition, and signed for one region of it."""
    from ec2ident_agent.failover.aws.deadline import Deadline

    api = Api(Access(region), Deadline(1), environ={})

    assert url == api._endpoint(service)
    assert signer == api.partition.signing_region(service, region)
