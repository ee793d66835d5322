"""The caller's signed GetCallerIdentity: a request that botocore signs, an STS that checks it, and each near miss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ec2ident import Policy
from ec2ident.admission import Admission, Answer, Proof, SqliteStore, Sts, prepare
from ec2ident.admission import caller as callers
from ec2ident.admission.errors import AdmissionUnavailableError, NotAdmittedError
from ec2ident.errors import MalformedError
from tests.lib import forge
from tests.lib.admission.test_admission import ACCOUNT, AUDIENCE, INSTANCE, KEY, body, item
from tests.lib.fake_sts import FakeSts, fake_sts, sign

pytest.importorskip("botocore", reason="needs botocore")

REGION = "af-south-1"
HOST = f"sts.{REGION}.amazonaws.com"
ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/web/{INSTANCE}"


@pytest.fixture
def sts() -> Iterator[FakeSts]:
    with fake_sts(ARN) as one:
        yield one


@pytest.fixture
def admission(tmp_path: Path, sts: FakeSts) -> Admission:
    """Times are real here: botocore signs with the machine's clock."""
    return Admission(
        audience=AUDIENCE,
        policy=Policy(accounts=[ACCOUNT]),
        store=SqliteStore(tmp_path / "admission.db"),
        trust=forge.trust(),
        sts=Sts(roles=["web"], connect=sts.connect),
    )


def proof(admission: Admission, **fields: object) -> Proof:
    return prepare(admission.challenge().to_dict(), item(**fields), KEY, audience=AUDIENCE)  # type: ignore[arg-type]


def answer(admission: Admission, made: Proof, headers: dict[str, str] | None) -> Answer:
    return admission.handle(body(made.to_dict(headers)))


def refused(admission: Admission, made: Proof, headers: dict[str, str] | None, match: str) -> None:
    found = answer(admission, made, headers)
    assert (403, {"error": "refused"}) == (found.status, found.body), found.log
    assert "code=wrong-caller" in found.log
    assert match in found.log


def test_the_instance_itself_is_let_in(admission: Admission, sts: FakeSts) -> None:
    """What botocore signs is accepted, reaches STS with the signed headers alone, and its answer names the instance."""
    made = proof(admission)

    found = answer(admission, made, {**sign(HOST, REGION, made.binding), "X-Not-Signed": "dropped"})

    assert 200 == found.status, found.log
    assert found.admitted
    assert found.admitted.caller == callers.Caller("aws", ACCOUNT, "web", INSTANCE)
    (seen,) = sts.seen
    assert {"host", "x-amz-date", "x-amz-security-token", "x-ec2ident-challenge", "authorization"} <= set(seen)
    assert (HOST, "application/json", "43") == (seen["host"], seen["accept"], seen["content-length"])
    assert "x-not-signed" not in seen


def test_a_service_that_asks_for_the_caller_refuses_a_request_without(admission: Admission) -> None:
    """A copied document and a fresh key are worth nothing."""
    refused(admission, proof(admission), None, "missing")


def test_a_signature_for_another_challenge_is_refused_before_sts_is_asked(admission: Admission, sts: FakeSts) -> None:
    """A signed request that was seen once does not serve again, nor for another key or document."""
    first, second = proof(admission), proof(admission)

    refused(admission, second, sign(HOST, REGION, first.binding), "not that of this request")
    assert [] == sts.seen


def test_a_signature_that_sts_refuses_is_refused(admission: Admission, sts: FakeSts) -> None:
    """The challenge put in afterwards is not what was signed; the fake STS finds that by itself."""
    made = proof(admission)
    headers = {**sign(HOST, REGION, "another"), "X-Ec2ident-Challenge": made.binding}

    refused(admission, made, headers, "STS refuses it (403)")
    assert 1 == len(sts.seen)


@pytest.mark.parametrize(
    ("arn", "match"),
    [
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/web/i-0123456789abcdef1", "session i-0123456789abcdef1"),
        (f"arn:aws:sts::999999999999:assumed-role/web/{INSTANCE}", "account 999999999999"),
        (f"arn:aws-cn:sts::{ACCOUNT}:assumed-role/web/{INSTANCE}", "partition aws-cn"),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/{INSTANCE}", "role admin (allowed: web)"),
        (f"arn:aws:iam::{ACCOUNT}:user/{INSTANCE}", "an assumed role is expected"),
        (f"arn:aws:sts::{ACCOUNT}:federated-user/{INSTANCE}", "an assumed role is expected"),
        (f"arn:aws:iam::{ACCOUNT}:root", "an assumed role is expected"),
        (f"{ARN}\n", "an assumed role is expected"),
    ],
)
def test_another_caller_is_refused(admission: Admission, sts: FakeSts, arn: str, match: str) -> None:
    """Another session, account, partition or role; a user, who could be named like an instance."""
    sts.arn = arn
    made = proof(admission)

    refused(admission, made, sign(HOST, REGION, made.binding), match)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sts.amazonaws.com", "us-east-1"),
        ("sts.eu-west-1.amazonaws.com", "eu-west-1"),
        ("sts.evil.example.com", REGION),
    ],
)
def test_the_sender_does_not_choose_who_vouches(admission: Admission, sts: FakeSts, host: str, region: str) -> None:
    """The host is that of the STS of the document's region; another one is refused, or its signature does not fit."""
    made = proof(admission)
    headers = sign(host, region, made.binding)

    found = answer(admission, made, {**headers, "Host": host})
    assert (403, []) == (found.status, sts.seen), found.log
    again = proof(admission)
    assert 403 == answer(admission, again, sign(host, region, again.binding)).status


def test_an_endpoint_of_ones_own_can_be_configured(tmp_path: Path, sts: FakeSts) -> None:
    """FIPS endpoints, and private ones: by region, by the server's configuration."""
    fips = "sts-fips.af-south-1.amazonaws.com"
    admission = Admission(
        audience=AUDIENCE,
        policy=Policy(accounts=[ACCOUNT]),
        store=SqliteStore(tmp_path / "admission.db"),
        trust=forge.trust(),
        sts=Sts(hosts={REGION: fips}, connect=sts.connect),
    )
    made = proof(admission)

    assert 200 == answer(admission, made, sign(fips, REGION, made.binding)).status


@pytest.mark.parametrize(
    "changed",
    [
        {"Authorization": "Bearer x"},
        {"Authorization": ""},
        {"X-Amz-Date": "yesterday"},
        {"X-Amz-Date": "20260203T040506Z"},
        {"X-Amz-Security-Token": "x" * 10_000},
        {"X-Amz-Security-Token": "a\r\nHost: evil"},
        {"Content-Type": "application/json"},
        {"X-Ec2ident-Challenge": "ü"},
    ],
    ids=range(8),
)
def test_headers_that_are_not_a_signed_request_are_400(
    admission: Admission, sts: FakeSts, changed: dict[str, str]
) -> None:
    """And STS is not asked: nothing that a stranger writes reaches the wire unchecked."""
    made = proof(admission)

    found = answer(admission, made, {**sign(HOST, REGION, made.binding), **changed})

    assert (400, []) == (found.status, sts.seen), found.log


@pytest.mark.parametrize("name", ["Accept", "X-Amz-Target", "Content-Encoding", "X-Forwarded-For"])
def test_a_signed_header_that_is_not_needed_is_400(admission: Admission, sts: FakeSts, name: str) -> None:
    """A header can change what STS does or how it answers; so only those that a signature needs pass."""
    made = proof(admission)

    assert (400, []) == (answer(admission, made, sign(HOST, REGION, made.binding, **{name: "x"})).status, sts.seen)


def test_a_challenge_header_that_is_not_signed_is_400(admission: Admission, sts: FakeSts) -> None:
    """Any bystander could have added it."""
    made = proof(admission)
    headers = sign(HOST, REGION, made.binding)
    headers["Authorization"] = headers["Authorization"].replace(";x-ec2ident-challenge", "")

    assert (400, []) == (answer(admission, made, headers).status, sts.seen)


def test_a_request_that_was_signed_long_ago_is_refused() -> None:
    """Five minutes by the server's clock, in either direction."""
    headers = {name.lower(): text for name, text in sign(HOST, REGION, "bound").items()}
    when = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)

    def check(seconds: float) -> None:
        now = datetime.fromtimestamp(when.timestamp() + seconds, timezone.utc)
        callers.headers_for(tuple(headers.items()), host=HOST, region=REGION, bound="bound", now=now)

    check(300)
    check(-300)
    for seconds in (301, -301):
        with pytest.raises(NotAdmittedError, match="at most 300 s apart"):
            check(seconds)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (200, "text/xml", "<GetCallerIdentityResponse/>"),
        (200, "application/json", "{"),
        (200, "application/json", "[]"),
        (200, "application/json", '{"GetCallerIdentityResponse": {"GetCallerIdentityResult": {"Arn": 5}}}'),
        (200, "application/json", '{"AssumeRoleResponse": {}}'),
        (200, "application/json", "[" * 50_000),
        (302, "text/html", ""),
        (400, "application/json", '{"Error": {"Code": "Throttling"}}'),
        (500, "text/html", ""),
        (503, "text/plain", ""),
        (
            200,
            "application/json",
            json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": {"Arn": ARN}}}) + " " * 70_000,
        ),
    ],
)
def test_what_sts_does_not_say_is_not_a_refusal(
    admission: Admission, sts: FakeSts, status: int, kind: str, text: str
) -> None:
    """503: the machine may come again with a new challenge, and nothing was recorded for it."""
    made = proof(admission)
    sts.instead = (status, kind, text.encode())

    assert 503 == answer(admission, made, sign(HOST, REGION, made.binding)).status
    sts.instead = None
    made = proof(admission)
    found = answer(admission, made, sign(HOST, REGION, made.binding))
    assert found.admitted
    assert found.admitted.first


def test_an_sts_that_cannot_be_reached_is_not_a_refusal(admission: Admission, sts: FakeSts) -> None:
    """A closed port, a name that does not resolve, a certificate that is wrong: 503."""
    identity = admission.admit(body(_answered(admission))).identity
    closed = Sts(connect=lambda host, timeout: _refusing())
    headers = tuple((name.lower(), text) for name, text in sign(HOST, REGION, "bound").items())

    with pytest.raises(AdmissionUnavailableError, match=f"STS at {HOST}: ConnectionRefusedError"):
        closed.identify(headers, identity, "bound", datetime.now(timezone.utc))


def _answered(admission: Admission) -> dict[str, object]:
    made = proof(admission)
    return made.to_dict(sign(HOST, REGION, made.binding))


def _refusing() -> Any:
    import socket
    from http.client import HTTPConnection

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return HTTPConnection("127.0.0.1", port, timeout=5)


@pytest.mark.parametrize("roles", ["web", [], ()])
def test_roles_that_no_machine_can_meet_are_refused_when_they_are_given(roles: Any) -> None:
    """As in a policy: a text is not a list of names, and an empty list is a mistake."""
    with pytest.raises(ValueError, match=r"^roles: "):
        Sts(roles=roles)


def test_without_a_connection_of_ones_own_sts_is_asked_over_verified_tls() -> None:
    """Port 443, the system's authorities, the host's name checked; nothing is connected when it is made."""
    import ssl

    from ec2ident.admission.sts import _connect

    connection: Any = _connect(HOST, 5.0)

    assert (HOST, 443) == (connection.host, connection.port)
    assert (ssl.CERT_REQUIRED, True) == (connection._context.verify_mode, connection._context.check_hostname)


def test_a_session_token_that_is_not_signed_is_400(admission: Admission, sts: FakeSts) -> None:
    """Any bystander could have exchanged it."""
    made = proof(admission)
    headers = sign(HOST, REGION, made.binding)
    headers["Authorization"] = headers["Authorization"].replace(";x-amz-security-token", "")

    found = answer(admission, made, headers)

    assert (400, []) == (found.status, sts.seen)
    assert "x-amz-security-token is not signed" in found.log


def test_the_region_of_the_signature_is_that_of_the_document() -> None:
    """Also where the host is right: STS would refuse it, and need not be asked."""
    headers = {name.lower(): text for name, text in sign(HOST, "eu-west-1", "bound").items()}

    with pytest.raises(NotAdmittedError, match="signed for eu-west-1"):
        callers.headers_for(
            tuple(headers.items()), host=HOST, region=REGION, bound="bound", now=datetime.now(timezone.utc)
        )


def headers_for(**headers: str) -> dict[str, str]:
    """With all headers signed that may be."""
    given = {
        "authorization": f"AWS4-HMAC-SHA256 Credential={'A' * 16}/20260203/{REGION}/sts/aws4_request, "
        f"SignedHeaders={';'.join(sorted(callers._ALLOWED))}, Signature={'0' * 64}",
        "content-type": "application/x-www-form-urlencoded",
        "x-amz-date": "20260203T040506Z",
        "x-amz-security-token": "token",
        callers.CHALLENGE: "bound",
        **headers,
    }
    now = datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    return callers.headers_for(tuple(given.items()), host=HOST, region=REGION, bound="bound", now=now)


def test_all_headers_that_may_be_signed_may_be_signed_at_once() -> None:
    """Other libraries than botocore sign the length and type of the body too."""
    assert callers._ALLOWED <= set(headers_for())


def test_a_long_header_is_refused_and_cut_in_the_message() -> None:
    """8192 characters are read; of a name 64 are shown, of a value 80."""
    assert 8192 == len(headers_for(**{"x-amz-security-token": "x" * 8192})["x-amz-security-token"])
    with pytest.raises(MalformedError, match=f"header '{'n' * 64}' is too long"):
        headers_for(**{"n" * 65: "x" * 8193})
    with pytest.raises(NotAdmittedError, match=f"host '{'h' * 80}' "):
        headers_for(host="h" * 81)
