"""One deadline over everything, causes told apart, and secrets that stay where they are."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ec2ident_agent.errors import ConfigError, UnknownError
from ec2ident_agent.failover.aws import actions, forms
from ec2ident_agent.failover.aws import client as module
from ec2ident_agent.failover.aws.client import Access, Api
from ec2ident_agent.failover.aws.deadline import Deadline, together
from ec2ident_agent.failover.aws.model import RecordSet
from ec2ident_agent.failover.errors import (
    RIGHT,
    ApiError,
    CredentialsError,
    ErrorKind,
    MalformedResponseError,
    OutOfTimeError,
    UsageError,
    kind_of,
    may_be_done,
)
from ec2ident_agent.failover.parts import dns, eni
from ec2ident_agent.failover.parts.route_tables import describe
from ec2ident_agent.failover.selectors import EniSelector, TableSelector
from tests.failover import hostile
from tests.failover.environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from tests.failover.fake import Fake

ZONE_NAME = "awslab.mycompany.corp"

LOOK = actions.describe_tables({"vpc-id": ["vpc-00000000"]})
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"


@contextmanager
def at(url: str, seconds: float = 1.0, log: Any = lambda line: None, **access: Any) -> Iterator[Api]:
    api = Api(Access("us-east-1", endpoint=url, **access), Deadline(seconds), environ=ENVIRONMENT, log=log)
    yield api
    api.close()


#: Seconds that a call has here.
DEADLINE = 1.0

HANGS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "connect": hostile.full,
    "read": lambda: hostile.serving(hostile.silent),
    "dripping status line": lambda: hostile.serving(hostile.dripping(b"HT")),
    "dripping header": lambda: hostile.serving(hostile.dripping(HEAD + b"X-Slow: ")),
    "dripping body": lambda: hostile.serving(hostile.dripping(HEAD + b"Content-Length: 9999\r\n\r\n<a>")),
    "dripping body without end": lambda: hostile.serving(hostile.dripping(HEAD + b"\r\n<a>")),
}


@pytest.mark.parametrize("attempt", [5.0, 0.3], ids=["one attempt", "several"])
@pytest.mark.parametrize("where", HANGS)
def test_a_call_ends_with_its_deadline_wherever_it_hangs(where: str, attempt: float) -> None:
    """At connect, at read, or dripping: a socket's own time-out would not end the last."""
    with HANGS[where]() as url, at(url, DEADLINE, attempt=attempt) as api:
        began = time.monotonic()
        with pytest.raises(OutOfTimeError, match="ec2:DescribeRouteTables"):
            api.call(LOOK)

        # What drips would go on for ever: ten deadlines tell the two apart, on a busy machine too.
        assert time.monotonic() - began < 10 * DEADLINE


def test_a_name_that_does_not_resolve_in_time_ends_too() -> None:
    """getaddrinfo knows no time-out; the deadline does."""
    deadline = Deadline(0.2)
    from ec2ident_agent.failover.aws.deadline import bounded

    with pytest.raises(OutOfTimeError, match=r"look-up: no answer within 0\.2 s"):
        bounded(lambda: time.sleep(5), deadline.left, "look-up")


PASSING = {
    "refused": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "breaks off in the head": b"HTTP/1.1 200 OK\r\nContent-",
    "breaks off in the body": HEAD + b"Content-Length: 100\r\n\r\n<a>",
    "breaks off in a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n<a>",
    "a proxy's page": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops",
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again_until_the_deadline(name: str) -> None:
    """None of them is an answer: the result is unknown."""
    with (
        hostile.serving(hostile.saying(PASSING[name])) as url,
        at(url, 0.7) as api,
        pytest.raises(OutOfTimeError) as caught,
    ):
        api.call(LOOK)

    assert 3 == caught.value.exit


WRONG = {
    "no XML": (HEAD + b"\r\nhello", "not XML"),
    "another answer": (HEAD + b"\r\n<DescribeVpcsResponse/>", "expected DescribeRouteTablesResponse"),
    "a DOCTYPE": (HEAD + b"\r\n<!DOCTYPE a><DescribeRouteTablesResponse/>", "DOCTYPE"),
    "a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        "HTTP status 302",
    ),
    "a page": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\n<html>", "HTTP status 403"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_that_makes_no_sense_is_malformed(name: str) -> None:
    """Said at once, with the call; a redirect is not followed."""
    data, said = WRONG[name]
    with (
        hostile.serving(hostile.saying(data)) as url,
        at(url, 5) as api,
        pytest.raises(MalformedResponseError, match=f"ec2:DescribeRouteTables: .*{said}"),
    ):
        api.call(LOOK)


def test_a_giant_answer_is_not_read_to_its_end() -> None:
    """8 MiB are enough for every table that there can be."""
    with (
        hostile.serving(hostile.flooding) as url,
        at(url, 10, attempt=10.0) as api,
        pytest.raises(MalformedResponseError, match="an answer longer than 8388608 bytes"),
    ):
        api.call(LOOK)


def test_throttling_is_waited_out(aws: Fake, make_api: Callable[..., Api]) -> None:
    """RequestLimitExceeded three times, then the answer."""
    aws.fault(action="DescribeRouteTables", code="RequestLimitExceeded", status=503, times=3)
    said: list[str] = []

    assert ((), "") == make_api(log=said.append).call(LOOK)
    assert [503, 503, 503, 200] == [call["status"] for call in aws.calls()]
    assert 3 == len([line for line in said if "trying again" in line])


def test_the_back_off_grows_and_is_jittered() -> None:
    """Full jitter under a doubling limit, up to three seconds."""
    pauses: list[float] = []
    deadline = Deadline(100, clock=lambda: 0.0, sleep=pauses.append)
    api = Api(Access("us-east-1"), deadline, environ=ENVIRONMENT, jitter=lambda: 1.0)
    for number in range(8):
        api._back_off(number, LOOK, ApiError("ec2:X", "Throttling", "", 400))

    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0] == pauses


def test_without_time_for_another_try_the_last_error_is_told(
    aws: Fake, make_api: Callable[..., Api], quiet: Callable[[float], Deadline]
) -> None:
    """It could not be told, and here is why."""
    aws.fault(code="RequestLimitExceeded", message="Request limit exceeded.", status=503)
    api = make_api(quiet(0.5))
    # Whole pauses: by chance the last attempt could have too little time for any answer.
    api._jitter = lambda: 1.0
    with pytest.raises(OutOfTimeError, match=r"RequestLimitExceeded: Request limit exceeded\..*not within 0\.5 s"):
        api.call(LOOK)


def test_a_denied_call_names_the_action_and_the_arn(aws: Fake, make_api: Callable[..., Api]) -> None:
    """What to allow, ready to be copied."""
    aws.policy("AKIDTEST", {"Statement": []})
    call = actions.replace_route(aws.lab.tables[0], aws.lab.account, "192.168.10.5/32", aws.lab.eni1)
    with pytest.raises(ApiError) as caught:
        make_api().call(call)

    arn = f"arn:aws:ec2:us-east-1:123456789012:route-table/{aws.lab.tables[0]}"
    assert str(caught.value).endswith(f"; allow ec2:ReplaceRoute on {arn}")
    assert (4, ErrorKind.DENIED) == (caught.value.exit, caught.value.kind)
    with pytest.raises(ApiError, match=r"; allow ec2:DescribeRouteTables on \*$"):
        make_api().call(LOOK)


def test_old_credentials_are_renewed_once(aws: Fake, make_api: Callable[..., Api]) -> None:
    """ExpiredToken once is nothing; twice is final, and could not tell."""
    aws.fault(code="ExpiredToken", times=1)
    make_api().call(LOOK)
    aws.fault(code="ExpiredToken", times=2)
    with pytest.raises(ApiError, match="ExpiredToken") as caught:
        make_api().call(LOOK)

    assert 3 == caught.value.exit


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("PriorRequestNotComplete", 400, ErrorKind.RETRY),
        ("NeverHeardOf", 503, ErrorKind.RETRY),
        ("NeverHeardOf", 429, ErrorKind.RETRY),
        ("NeverHeardOf", 400, ErrorKind.CONFIGURATION),
        ("NeverHeardOf", 403, ErrorKind.DENIED),
        ("NotAuthorizedException", 401, ErrorKind.DENIED),
        ("InvalidNetworkInterface.InUse", 400, ErrorKind.WAIT),
        ("InvalidAttachmentID.NotFound", 400, ErrorKind.LOOK),
        ("AuthFailure", 401, ErrorKind.CREDENTIALS),
        # Another account's address: hashicorp/terraform-provider-aws#3572.
        ("AuthFailure", 400, ErrorKind.DENIED),
        ("RegionDisabledException", 403, ErrorKind.DENIED),
        ("RouteLimitExceeded", 400, ErrorKind.QUOTA),
        ("InvalidRouteTableID.NotFound", 400, ErrorKind.CONFIGURATION),
    ],
)
def test_each_code_has_its_meaning(code: str, status: int, kind: ErrorKind) -> None:
    """By name where we know it, else by status; what is unknown is final."""
    assert kind is kind_of(code, status)


@pytest.mark.parametrize(
    ("code", "status", "kind", "exit_"),
    [
        ("Throttling", 400, UnknownError, 3),
        ("InternalError", 500, UnknownError, 3),
        ("NeverHeardOf", 503, UnknownError, 3),
        ("ExpiredToken", 400, CredentialsError, 3),
        ("InvalidRouteTableID.NotFound", 400, ConfigError, 2),
        ("UnauthorizedOperation", 403, ApiError, 4),
        ("RouteLimitExceeded", 400, ApiError, 4),
        ("IncorrectState", 400, ApiError, 4),
    ],
)
def test_the_class_of_an_error_says_the_same_as_its_exit_code(
    code: str, status: int, kind: type[Exception], exit_: int
) -> None:
    """`except UnknownError` catches every error with exit code 3 and no other; `except ConfigError` those with 2."""
    error = ApiError("ec2:X", code, "text", status)

    assert exit_ == error.exit
    assert isinstance(error, ApiError)
    assert isinstance(error, kind)
    assert (exit_ == 3, exit_ == 2) == (isinstance(error, UnknownError), isinstance(error, ConfigError))


def test_a_request_with_rejected_credentials_was_certainly_not_carried_out() -> None:
    """After a failure in the service, or without an answer, it may have been."""
    assert not may_be_done(ApiError("ec2:X", "ExpiredToken", "", 400))
    assert not may_be_done(ApiError("ec2:X", "UnauthorizedOperation", "", 403))
    assert may_be_done(ApiError("ec2:X", "InternalError", "", 500))
    assert may_be_done(OutOfTimeError("ec2:X: not within 1 s"))


@pytest.mark.parametrize(
    ("code", "message", "clock"),
    [
        ("RequestExpired", "Request has expired.", True),
        ("SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z", True),
        ("SignatureDoesNotMatch", "Signature not yet current: 20260101T001000Z is still later than", True),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match", False),
    ],
)
def test_a_clock_that_is_wrong_is_suspected(code: str, message: str, clock: bool) -> None:
    """Each service has its own word for it."""
    assert clock == str(ApiError("sts:AssumeRole", code, message, 403)).endswith("is this machine's clock right?")


def test_what_an_iam_policy_cannot_allow_is_not_asked_for() -> None:
    """A VPC's owner has to agree, an account to be open."""
    assert "allow " not in str(ApiError("route53:AssociateVPCWithHostedZone", "NotAuthorizedException", "no", 401))


def test_pages_are_put_together_and_end() -> None:
    """A service that sends pages without end is malformed, not a reason to hang."""
    page = b"<DescribeRouteTablesResponse><routeTableSet/><nextToken>n</nextToken></DescribeRouteTablesResponse>"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page)
    with (
        hostile.serving(hostile.saying(head + page)) as url,
        at(url, 20) as api,
        pytest.raises(MalformedResponseError, match="more than 100 pages"),
    ):
        api.pages(lambda token: actions.describe_tables({}, token))


def page(action: str, inside: str, token: str = "") -> str:
    more = f"<nextToken>{token}</nextToken>" if token else ""
    return f"<{action}Response>{inside}{more}</{action}Response>"


def test_what_is_on_the_second_page_is_seen(aws: Fake, api: Api) -> None:
    """Of route tables and of interfaces: the token of the first is sent, with the same filters."""
    table = "<item><routeTableId>rtb-0000000{}</routeTableId><vpcId>vpc-0a1b2c3d</vpcId></item>"
    first, second = (f"<routeTableSet>{table.format(number)}</routeTableSet>" for number in (2, 1))
    aws.fault(action="DescribeRouteTables", match={"NextToken": "a+/="}, body=page("DescribeRouteTables", second))
    aws.fault(action="DescribeRouteTables", body=page("DescribeRouteTables", first, "a+/="))
    assert ["rtb-00000001", "rtb-00000002"] == [each.id for each in describe(api, TableSelector(tag="a=b"))]
    assert ["tag:a"] * 2 == [call["parameters"]["Filter.1.Name"] for call in aws.calls("DescribeRouteTables")]

    answer = aws.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": aws.lab.service_eni}).decode()
    nothing = page("DescribeNetworkInterfaces", "<networkInterfaceSet/>", "t")
    aws.fault(action="DescribeNetworkInterfaces", match={"NextToken": "t"}, body=answer)
    aws.fault(action="DescribeNetworkInterfaces", body=nothing)
    assert aws.lab.service_eni == eni.find(api, EniSelector(address="10.0.1.5")).id


def test_an_address_with_its_second_holder_on_the_second_page_is_refused(aws: Fake, api: Api) -> None:
    """One page alone would take the first for the only one."""
    answer = aws.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": aws.lab.service_eni}).decode()
    other = answer.replace(aws.lab.service_eni, "eni-0a1b2c3d")
    token = "<nextToken>t</nextToken></DescribeNetworkInterfacesResponse>"
    aws.fault(action="DescribeNetworkInterfaces", match={"NextToken": "t"}, body=other)
    aws.fault(action="DescribeNetworkInterfaces", body=answer.replace("</DescribeNetworkInterfacesResponse>", token))
    with pytest.raises(UsageError, match=r"is 2 interfaces: eni-.* in vpc-.*, eni-0a1b2c3d in vpc-"):
        eni.find(api, EniSelector(address="10.0.1.5"))


def test_a_list_of_records_that_goes_on_begins_with_the_wanted_one(aws: Fake, api: Api) -> None:
    """Route 53 lists from the name and type that were asked for, so one page has them or they are not there."""
    name = f"db.{ZONE_NAME}"
    every = [RecordSet(f"db{number}.{ZONE_NAME}", "A", 10, ("10.0.0.9",)) for number in range(20)]
    api.call(actions.change_records(aws.lab.zone, "UPSERT", [*every, RecordSet(name, "A", 10, ("10.0.0.5",))]))
    (found,) = dns.compare(api, aws.lab.zone, dns.wanted(name, ["10.0.0.5"], 10))
    assert not found
    assert "10" == aws.calls("ListResourceRecordSets")[-1]["parameters"]["maxitems"]


# Credentials


def test_the_environment_needs_no_botocore(make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import costs more than the call."""
    monkeypatch.setattr(module, "botocore_chain", lambda *_: pytest.fail("botocore was asked"))
    make_api().call(LOOK)


def test_a_session_token_is_sent(aws: Fake, make_api: Callable[..., Api]) -> None:
    """And signed with the rest; none of it is in the log."""
    said: list[str] = []
    environ = {**ENVIRONMENT, "AWS_ACCESS_KEY_ID": "ASIATEST", "AWS_SESSION_TOKEN": "the-token"}
    aws.fault(code="Throttling", times=1)
    make_api(environ=environ, log=said.append).call(LOOK)

    assert "ASIATEST" == aws.calls()[-1]["key"]
    assert said
    assert not [line for line in said if "the-token" in line or "not-a-secret" in line]


def test_a_profile_names_its_keys(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of the shared credentials file, even when the environment has keys too."""
    pytest.importorskip("botocore")
    (tmp_path / "credentials").write_text("[other]\naws_access_key_id=AKIDOTHER\naws_secret_access_key=x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    make_api(profile="other").call(LOOK)

    assert "AKIDOTHER" == aws.calls()[-1]["key"]
    with pytest.raises(CredentialsError, match=r"credentials: The config profile \(missing\) could not be found"):
        make_api(profile="missing").call(LOOK)


def test_no_credentials_anywhere_is_said(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Could not tell, and what to do."""
    pytest.importorskip("botocore")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(CredentialsError, match="none found; AWS_EC2_METADATA_DISABLED keeps") as caught:
        make_api(environ={}).call(LOOK)

    assert (3, []) == (caught.value.exit, aws.calls())


def test_the_instance_role_signs(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By IMDSv2, from a metadata service on loopback."""
    pytest.importorskip("botocore")
    from ec2ident.testing import Instance, MetadataService

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with MetadataService(Instance(role="node")) as imds:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", str(imds.endpoint))
        make_api(environ={}).call(LOOK)

    assert aws.calls()[-1]["key"].startswith("ASIA")


@pytest.mark.parametrize("role", ["node", None])
def test_the_instance_role_alone_needs_no_botocore(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str | None
) -> None:
    """It takes a fifth of a second to load, and says the same: also where there is no role."""
    from ec2ident.testing import Instance, MetadataService

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("ec2ident_agent.failover.aws.client.botocore_chain", None)
    with MetadataService(Instance(role=role)) as imds:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", str(imds.endpoint))
        if role:
            make_api(environ={}).call(LOOK)
            assert aws.calls()[-1]["key"].startswith("ASIA")
        else:
            with pytest.raises(CredentialsError, match="none found; give the instance a role"):
                make_api(environ={}).call(LOOK)


def test_the_instance_role_is_never_asked_through_a_proxy(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys would pass it in clear text, and the request would be signed with whatever it answers."""
    pytest.importorskip("botocore")
    from ec2ident.testing import Instance, MetadataService

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    # Nothing listens at the port of the proxy: a request to it would fail.
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with MetadataService(Instance(role="node")) as imds:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", str(imds.endpoint))
        make_api(environ={}).call(LOOK)

    assert aws.calls()[-1]["key"].startswith("ASIA")


def test_a_metadata_service_that_hangs_does_not_outlast_the_deadline(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore's own limits are per read; the deadline covers everything."""
    pytest.importorskip("botocore")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with hostile.serving(hostile.dripping(HEAD + b"X-Slow: ")) as url:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        with pytest.raises(CredentialsError, match="is the metadata service reachable"):
            make_api(0.5, environ={}).call(LOOK)


def self_signed(path: Path) -> Path:
    """A certificate of 127.0.0.1 that no system trusts, with its key, in one PEM file."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    signed = made.add_extension(address, critical=True).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


def test_an_untrusted_certificate_is_final_and_names_the_key(
    make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection, and no retry: only a change of the configuration helps."""
    import contextlib
    import socket

    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path / "server.pem"))
    accepted: list[int] = []

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                accepted.append(1)
                with connection, contextlib.suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"{url}: its certificate is not trusted: .*as ca_bundle"):
            make_api(endpoint=url).call(LOOK)
        assert [1] == accepted
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_role_of_another_account_is_assumed_once(aws: Fake, make_api: Callable[..., Api]) -> None:
    """One call to STS for all that follows, signed with the node's own keys; the rest with the role's."""
    role = "arn:aws:iam::123456789012:role/network/failover"
    aws.policy("AKIDTEST", {"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role}})
    api = make_api(role_arn=role, external_id="x-1")
    api.call(LOOK)
    api.call(LOOK)

    assert ["AssumeRole", "DescribeRouteTables", "DescribeRouteTables"] == [call["action"] for call in aws.calls()]
    assert "x-1" == aws.calls()[0]["parameters"]["ExternalId"]
    assert ("AKIDTEST", True) == (aws.calls()[0]["key"], aws.calls()[1]["key"] == aws.calls()[2]["key"] != "AKIDTEST")


def test_calls_at_the_same_time_ask_for_credentials_once(aws: Fake, make_api: Callable[..., Api]) -> None:
    """Each look of a move is three calls at once, and STS has a limit too."""
    aws.fault(action="AssumeRole", delay=0.2, times=1)
    api = make_api(role_arn="arn:aws:iam::123456789012:role/failover")
    assert [((), "")] * 5 == together([lambda: api.call(LOOK)] * 5)

    assert 1 == len(aws.calls("AssumeRole"))
    assert 1 == len({call["key"] for call in aws.calls("DescribeRouteTables")})


@pytest.mark.parametrize("by", ["option", "AWS_PROFILE"])
def test_a_profile_may_name_a_role_of_another_account(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """botocore asks STS, at the profile's own endpoint; once for several calls."""
    pytest.importorskip("botocore")
    role = "arn:aws:iam::210987654321:role/failover"
    config = f"""[profile base]
[profile other]
role_arn = {role}
source_profile = base
external_id = x-1
region = us-east-1
endpoint_url = {aws.url}
"""
    (tmp_path / "config").write_text(config)
    (tmp_path / "credentials").write_text("[base]\naws_access_key_id=AKIDBASE\naws_secret_access_key=x\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    if by == "AWS_PROFILE":
        monkeypatch.setenv("AWS_PROFILE", "other")
    api = make_api(30, profile="other" if by == "option" else "", environ={})
    together([lambda: api.call(LOOK)] * 2)

    (asked,) = aws.calls("AssumeRole")
    assert ("AKIDBASE", role) == (asked["key"], asked["parameters"]["RoleArn"])
    assert "x-1" == asked["parameters"]["ExternalId"]
    keys = {call["key"] for call in aws.calls("DescribeRouteTables")}
    assert 1 == len(keys)
    assert keys.pop().startswith("ASIA")


def test_a_role_that_may_not_be_assumed_is_named(aws: Fake, make_api: Callable[..., Api]) -> None:
    """The action and the role's ARN."""
    role = "arn:aws:iam::210987654321:role/failover"
    aws.policy("AKIDTEST", {"Statement": []})
    with pytest.raises(ApiError, match=f"; allow sts:AssumeRole on {role}$"):
        make_api(role_arn=role).call(LOOK)


# Endpoints


DENIED = "User: arn:aws:sts::1:assumed-role/r/i is not authorized to perform: ec2:X on resource: arn:aws:ec2:r:1:t/1"


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("UnauthorizedOperation", "You are not authorized to perform this operation.", "allow ec2:X on arn:1"),
        ("AccessDenied", f"{DENIED} because no identity-based policy allows the ec2:X action", "allow ec2:X on arn:1"),
        (
            "UnauthorizedOperation",
            f"{DENIED} with an explicit deny in a service control policy",
            "ec2:X is denied explicitly by a service control policy",
        ),
        (
            "AccessDenied",
            f"{DENIED} with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o/s/p",
            "ec2:X is denied explicitly by a service control policy",
        ),
        (
            "AccessDenied",
            f"{DENIED} because no VPC endpoint policy allows the ec2:X action",
            "allow ec2:X on arn:1 in the VPC endpoint policy",
        ),
        (
            "AccessDenied",
            f"{DENIED} because no permissions boundary allows the ec2:X action",
            "allow ec2:X on arn:1 in the permissions boundary",
        ),
        ("AccessDenied", f"{DENIED} with an explicit deny", "ec2:X is denied explicitly"),
        ("RegionDisabledException", "STS is not activated in this region for account:1.", None),
        ("AuthFailure", "You do not have permission to access the specified resource.", None),
    ],
)
def test_a_denial_says_which_policy_has_to_change(code: str, message: str, advice: str | None) -> None:
    """Against an explicit Deny no Allow helps: aws/karpenter-provider-aws#8190, aws/aws-cli#5592."""
    status = 400 if code == "AuthFailure" else 403
    error = ApiError("ec2:X", code, message, status, ("arn:1",))

    assert error.brief == (advice or f"ec2:X: {code}: {message}")
    assert (ErrorKind.DENIED, 4) == (error.kind, error.exit)


@contextmanager
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str = "", **answer: str) -> Iterator[None]:
    """This machine has a role, and the metadata service answers `answer` for its credentials."""
    import json

    from ec2ident.imds.client import Imds
    from ec2ident.testing import Instance, MetadataService

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    if config:
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text(config)
    real = Imds.get

    def get(imds: Imds, path: str, **options: Any) -> str | None:
        found = real(imds, path, **options)
        return json.dumps({**json.loads(found or ""), **answer}) if path.endswith("/node") else found

    monkeypatch.setattr(Imds, "get", get)
    with MetadataService(Instance(role="node")) as imds:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", str(imds.endpoint))
        yield


@pytest.mark.parametrize("config", ["", "[default]\noutput = json\n"], ids=["role alone", "botocore"])
def test_credentials_of_the_role_that_seem_to_be_over_are_tried(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    """aws/aws-sdk-js#2440: in an outage EC2 serves old ones that it accepts; or this machine's clock is ahead."""
    pytest.importorskip("botocore")
    with role(tmp_path, monkeypatch, config, Expiration="2020-01-01T00:00:00Z"):
        make_api(environ={}).call(LOOK)

    assert aws.calls()[-1]["key"].startswith("ASIA")


def test_a_role_that_ec2_cannot_assume_is_said_with_the_reason(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aws/aws-cli#2060: the role's trust policy does not name EC2, and the answer has no keys."""
    said = {"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role node."}
    wanted = "instance's role node: AssumeRoleUnauthorizedAccess: EC2 cannot assume the role node"
    with role(tmp_path, monkeypatch, **said), pytest.raises(CredentialsError, match=wanted):
        make_api(environ={}).call(LOOK)


@pytest.mark.parametrize("answer", [[1], "text", 7, {"Code": "Success"}, {"AccessKeyId": "AKIDSECRET"}])
def test_an_answer_about_the_role_of_another_form_is_not_shown(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """It may hold a key. JSON without fields, such as a list, must not end in a traceback."""
    import json

    from ec2ident.imds.client import Imds
    from ec2ident_agent.failover.aws.credentials import InstanceRole

    items = iter(["node", json.dumps(answer)])
    monkeypatch.setattr(Imds, "get", lambda *_, **__: next(items))
    with pytest.raises(CredentialsError, match="the answer is not what EC2 documents") as raised:
        InstanceRole({}, 1.0).retrieve_iam_role_credentials()

    assert "AKIDSECRET" not in str(raised.value)


def test_a_profile_that_asks_for_a_code_is_refused_without_a_terminal(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto/botocore#1573: the prompt would wait for a person who is not there."""
    pytest.importorskip("botocore")
    config = (
        "[profile x]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = b\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/u\n[profile b]\naws_access_key_id = A\naws_secret_access_key = b\n"
    )
    monkeypatch.setattr("sys.stdin", None)
    with role(tmp_path, monkeypatch, config), pytest.raises(CredentialsError, match="asks for an MFA code"):
        make_api(environ={}, profile="x").call(LOOK)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("credential_process = /nonexistent/tool", "No such file or directory: '/nonexistent/tool'"),
        ("role_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = /", "Is a directory: '/'"),
        ("role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = x", "(?i)infinite loop|partial credentials"),
        ("sso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = r", "sso_start_url"),
    ],
)
def test_what_a_profile_lacks_is_said(
    make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, said: str
) -> None:
    """boto/botocore#2351: the file of a token was a directory; the reason is botocore's own."""
    pytest.importorskip("botocore")
    with role(tmp_path, monkeypatch, f"[profile x]\n{config}\n"), pytest.raises(CredentialsError, match=said):
        make_api(environ={}, profile="x").call(LOOK)


def test_a_pod_has_a_role_by_its_token(
    aws: Fake, make_api: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """okigan/awscurl#122: the role of an EKS service account, asked for without a signature."""
    pytest.importorskip("botocore")
    (tmp_path / "token").write_text("header.claims.signature")
    with role(tmp_path, monkeypatch):
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        make_api(environ={}).call(LOOK)

    assert ["AssumeRoleWithWebIdentity", "DescribeRouteTables"] == [call["action"] for call in aws.calls()]
    assert aws.calls()[-1]["key"].startswith("ASIA")


@pytest.mark.parametrize(
    ("names", "token"),
    [({"AWS_SECURITY_TOKEN": "old"}, "old"), ({"AWS_SECURITY_TOKEN": "", "AWS_SESSION_TOKEN": "new"}, "new"), ({}, "")],
)
def test_the_token_has_two_names(make_api: Callable[..., Api], names: dict[str, str], token: str) -> None:
    """hashicorp/terraform#1785, ansible/awx#13297: tools set the older name alone."""
    environ = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "b", **names}

    assert token == make_api(environ=environ).credentials().token


def test_an_endpoint_of_the_environment_is_honoured(aws: Fake, make_api: Callable[..., Api]) -> None:
    """For one service before that for all, and after the configured one."""
    environ = {**ENVIRONMENT, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_EC2": f"{aws.url}/"}
    make_api(environ=environ, endpoint="").call(LOOK)

    assert "DescribeRouteTables" == aws.calls()[-1]["action"]


@pytest.mark.parametrize(
    "url", ["ftp://host", "http://host/path", "host:80", "http://user@host", "http://host\r\nX: y"]
)
def test_an_endpoint_is_a_plain_url(url: str) -> None:
    """No path, no user, no second line."""
    with pytest.raises(UsageError, match="is not https://HOST"):
        forms.endpoint(url)


def test_an_unknown_region_is_wrong_usage() -> None:
    """Before any packet."""
    with pytest.raises(UsageError, match="'mars-north-1' is like no region"):
        Api(Access("mars-north-1"), Deadline(1), environ={})


def test_a_connection_is_kept_and_its_end_is_not_a_failure() -> None:
    """The next call goes over the same one; where that was closed meanwhile, over another, without a pause."""
    page = b"<DescribeRouteTablesResponse><routeTableSet/></DescribeRouteTablesResponse>"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    said: list[str] = []
    seen: list[int] = []
    with hostile.serving(hostile.keeping(answer, 2, seen)) as url, at(url, 5, log=said.append) as api:
        for _ in range(5):
            api.call(LOOK)

    assert ([1, 2, 1, 2, 1], []) == (seen, said)


def test_an_attempt_that_was_given_up_is_not_sent_again() -> None:
    """Over a kept connection it would be sent once more by itself, late: a write could undo what another node did."""
    page = b"<DescribeRouteTablesResponse><routeTableSet/></DescribeRouteTablesResponse>"
    said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    seen: list[int] = []

    def answer(connection: socket.socket, over: threading.Event) -> None:
        seen.append(1)
        connection.sendall(said)
        while hostile._request(connection):
            seen.append(len(seen))
            if len(seen) == 2:
                over.wait(60)
            connection.sendall(said)

    with hostile.serving(answer) as url, at(url, 5, attempt=0.3) as api:
        api.call(LOOK)
        api.call(LOOK)
        time.sleep(0.5)

    # The first call, the attempt without an answer, and the next attempt.
    assert 3 == len(seen)


# Hostile and unhappy answers


def error(code: str, message: str, status: int = 403, head: str = "") -> bytes:
    from xml.sax.saxutils import escape

    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors></Response>"
    )
    return f"HTTP/1.1 {status} No\r\n{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


TOKEN = "IQoJb3JpZ2luX2VjEFsaCWV1LXdlc3QtMSJ" + "HMEUCIQDx/+=%" * 20
QUOTED = (
    "The request signature we calculated does not match the signature you provided. Consult the documentation.\n\n"
    "The Canonical String for this request should have been\n'POST\n/\n\nhost:ec2.amazonaws.com\n"
    f"x-amz-security-token:{TOKEN}\n\nhost;x-amz-security-token\n'"
)


@pytest.mark.parametrize(
    "message",
    [
        QUOTED,
        QUOTED[: QUOTED.index("token:") + 60],
        f"the token {TOKEN} is bad",
        f"bad: {TOKEN[:40]}",
        f"X-Amz-Security-Token={TOKEN[:13]} is bad",
    ],
)
@pytest.mark.parametrize(("code", "status"), [("SignatureDoesNotMatch", 403), ("InternalError", 500), ("", 502)])
def test_no_credential_is_in_a_message(code: str, status: int, message: str) -> None:
    """Services quote the canonical request with the session token, and cut it off anywhere; so do proxies' pages."""
    environ = {
        **ENVIRONMENT,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    }
    body = error(code, message, status) if code else b"HTTP/1.1 502 No\r\n\r\n" + message.encode()
    said: list[str] = []
    with hostile.serving(hostile.saying(body)) as url:
        api = Api(Access("us-east-1", endpoint=url), Deadline(0.5), environ=environ, log=said.append)
        with pytest.raises((ApiError, OutOfTimeError), match="DescribeRouteTables") as caught:
            api.call(LOOK)
        api.close()
    assert not [line for line in [str(caught.value), *said] if TOKEN[:13] in line or "wJalr" in line]


@pytest.mark.parametrize("name", ["AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_credentials_that_fit_into_no_header_are_not_quoted(name: str) -> None:
    """http.client's ValueError has the whole value, which went into a traceback."""
    api = Api(Access("us-east-1"), Deadline(1), environ={**ENVIRONMENT, name: "the-secret\r\nX: y"})
    with pytest.raises(CredentialsError, match="wrong character") as caught:
        api.call(LOOK)
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("date", "now", "said"),
    [
        (
            "Sat, 28 Nov 2026 07:00:00 GMT",
            1795849200 + 3600,
            "this machine's clock is 3600 s ahead: the service has Sat, 28",
        ),
        ("Sat, 28 Nov 2026 07:00:00 GMT", 1795849200 - 900, "this machine's clock is 900 s behind: the service has"),
        ("Sat, 28 Nov 2026 07:00:00 GMT", 1795849200 + 5, ""),
        ("nonsense", 1795849200, "is this machine's clock right?"),
    ],
)
def test_a_wrong_clock_is_named_from_the_answers_date(date: str, now: float, said: str) -> None:
    """With how far it is off; if it is right it is not suspected; without a usable date it is asked about as before."""
    body = error("RequestExpired", "Request has expired.", 400, f"Date: {date}\r\n")
    with hostile.serving(hostile.saying(body)) as url:
        api = Api(Access("us-east-1", endpoint=url), Deadline(5), environ=ENVIRONMENT, now=lambda: now)
        with pytest.raises(CredentialsError, match="RequestExpired: Request has expired") as caught:
            api.call(LOOK)
        api.close()
    assert said in str(caught.value)
    assert bool(said) == ("clock" in str(caught.value))


@pytest.mark.parametrize(
    ("code", "clock", "advice"),
    [
        ("AuthFailure", RIGHT, "is the region enabled in the account of the credentials?"),
        ("InvalidClientTokenId", RIGHT, "is the region enabled in the account of the credentials?"),
        ("ExpiredToken", RIGHT, None),
        ("AuthFailure", "this machine's clock is 900 s behind", "this machine's clock is 900 s behind"),
        ("AuthFailure", "", None),
    ],
)
def test_credentials_that_a_region_rejects_may_be_right(code: str, clock: str, advice: str | None) -> None:
    """fog/fog-aws#585, serverless/serverless#12991: so a region answers that the account has not enabled."""
    error = ApiError("ec2:X", code, "text", 401, (), clock)

    assert error.brief == (advice or f"ec2:X: {code}: text")


def test_the_page_of_a_failure_is_shown_in_one_bounded_line() -> None:
    """It says which proxy or load balancer failed; nothing of it can move a terminal's cursor."""
    page = b"<html>\x1b[2J upstream \xff timed\r\nout" + b" x" * 5000
    with (
        hostile.serving(hostile.saying(b"HTTP/1.1 504 No\r\n\r\n" + page)) as url,
        at(url, 0.5) as api,
        pytest.raises(OutOfTimeError, match="HTTP status 504: <html> ") as caught,
    ):
        api.call(LOOK)
    assert str(caught.value).isprintable()
    assert "timed out" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_each_call_has_a_limit_of_its_own() -> None:
    """A list may be long; the answer of a write is a line."""
    small, large = actions.replace_route("rtb-00000000", "", "10.0.0.1/32", "eni-00000000"), LOOK
    assert small.limit < large.limit
    with (
        hostile.serving(hostile.flooding) as url,
        at(url, 10, attempt=10.0) as api,
        pytest.raises(MalformedResponseError, match=f"an answer longer than {small.limit} bytes"),
    ):
        api.call(small)


def test_an_answer_is_read_in_linear_time() -> None:
    """Text between many elements was appended piece by piece: 2 MB took 5 s, 8 MB minutes."""
    from ec2ident_agent.failover.aws.xml import parse

    def work(size: int) -> float:
        text = b"<a>" + b"xxxxxxxxxxxx<b/>" * (size // 16) + b"</a>"
        gc.disable()  # which looks at every object of the process, as often as it likes
        try:
            began = time.process_time()
            parse(text)
            return time.process_time() - began
        finally:
            gc.enable()

    # In turn, so that a busy moment is in both. In quadratic time it would be 64 times as much.
    rounds = [(work(256 << 10), work(2 << 20)) for _ in range(3)]
    ratio = min(large for _, large in rounds) / min(small for small, _ in rounds)
    assert ratio < 40


def test_the_authorities_are_loaded_while_the_role_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both take as long as several calls, and neither needs the other. A wrong file is said by what needs it."""
    loaded = threading.Event()
    create = ssl.create_default_context

    def load(cafile: str | None = None) -> ssl.SSLContext:
        loaded.set()
        return create(cafile=cafile)

    class Role:
        def retrieve_iam_role_credentials(self) -> dict[str, str]:
            assert loaded.wait(20)
            return {"access_key": "AKIDROLE", "secret_key": "x", "token": "t"}

    monkeypatch.setattr(ssl, "create_default_context", load)
    monkeypatch.setattr(module, "InstanceRole", lambda *_, **__: Role())
    monkeypatch.setattr(module, "only_the_role", lambda *_: True)
    for bundle in ("", str(tmp_path / "missing.pem")):
        loaded.clear()
        api = Api(Access("us-east-1", ca_bundle=bundle), Deadline(30), environ={})

        assert "AKIDROLE" == api.credentials().key
        if bundle:
            with pytest.raises(UsageError, match=f"ca_bundle: {bundle}: "):
                api._tls()
