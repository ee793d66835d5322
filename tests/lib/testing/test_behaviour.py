"""Each way in which the metadata service for tests can misbehave, seen from the wire."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from typing import Any

import pytest

from ec2ident.testing import BEHAVIOURS, Behaviour, MetadataService
from tests.lib.clock import Clock
from tests.lib.rawhttp import TOKEN, TTL, ask, get, raw, token

MAC = "/latest/meta-data/mac"
DOCUMENT = "/latest/dynamic/instance-identity/document"
ITEM = b"GET /latest/meta-data/mac HTTP/1.1\r\n\r\n"
PUT = f"PUT /latest/api/token HTTP/1.1\r\n{TTL}: 60\r\n\r\n".encode()
PATIENCE = 0.3


# What EC2 itself does


def test_with_the_hop_limit_the_put_is_read_and_nothing_comes_back(imds: MetadataService) -> None:
    """The connection stands and the request arrives; only the answer is lost. A GET still works."""
    session = token(imds.endpoint)
    imds.behave("hop-limit")

    with pytest.raises(socket.timeout):
        raw(imds.endpoint, PUT, PATIENCE)

    assert ("PUT", None) == (imds.requests[-1].method, imds.requests[-1].status)
    assert 401 == ask(imds.endpoint, "GET", MAC).status
    assert 200 == ask(imds.endpoint, "GET", MAC, **{TOKEN: session}).status


def test_the_hop_limit_can_end_in_a_reset(imds: MetadataService) -> None:
    """Some containers see `Connection reset by peer` instead of silence."""
    imds.behave("hop-limit-reset")

    with pytest.raises(ConnectionResetError):
        raw(imds.endpoint, PUT)

    assert 401 == ask(imds.endpoint, "GET", MAC).status


def test_where_tokens_are_optional_a_request_without_one_is_answered(imds: MetadataService) -> None:
    """But a wrong token is still 401, and no time to live is in the answer without one."""
    imds.behave("tokens-optional")

    answer = ask(imds.endpoint, "GET", MAC)

    assert (200, "Content-Type") == (answer.status, answer.names[0])
    assert 401 == ask(imds.endpoint, "GET", MAC, **{TOKEN: "AQAEA"}).status
    assert 200 == get(imds.endpoint, MAC).status


def test_where_only_v1_is_there_the_token_path_is_404(imds: MetadataService) -> None:
    """And a token header is not looked at."""
    imds.behave("v1-only")

    assert 404 == ask(imds.endpoint, "PUT", "/latest/api/token", **{TTL: "60"}).status
    assert 200 == ask(imds.endpoint, "GET", MAC).status
    assert 200 == ask(imds.endpoint, "GET", MAC, **{TOKEN: "anything"}).status


@pytest.mark.parametrize(
    ("name", "status"), [("disabled", 403), ("throttled", 503), ("unauthorized", 401), ("status", 500)]
)
def test_a_refusal_has_its_status_on_every_path(imds: MetadataService, name: str, status: int) -> None:
    """The token path too."""
    imds.behave(name)

    statuses = [
        ask(imds.endpoint, "PUT", "/latest/api/token", **{TTL: "60"}).status,
        ask(imds.endpoint, "GET", "/").status,
    ]

    assert [status, status] == statuses


def test_the_answers_of_2020_were_http_1_0_in_another_order(imds: MetadataService) -> None:
    """The captures of 2020 and 2023: `Accept-Ranges: bytes`, and the token's time behind the length."""
    session = token(imds.endpoint)
    imds.behave("http-1.0")

    answer = ask(imds.endpoint, "GET", MAC, **{TOKEN: session})

    assert "HTTP/1.0 200 OK" == answer.line
    assert "bytes" == answer["Accept-Ranges"]
    assert "X-Aws-Ec2-Metadata-Token-Ttl-Seconds" == answer.names[answer.names.index("Content-Length") + 1]
    assert ("close", "EC2ws") == (answer["Connection"], answer["Server"])


def test_a_hidden_item_is_neither_found_nor_listed(imds: MetadataService) -> None:
    """And its neighbours are."""
    imds.behave("hide", path="/placement/region$")

    assert 404 == get(imds.endpoint, "/latest/meta-data/placement/region").status
    assert b"availability-zone\navailability-zone-id" == get(imds.endpoint, "/latest/meta-data/placement/").body


# Which requests, how often, and when


def test_a_behaviour_counts_only_the_requests_that_it_is_about(imds: MetadataService) -> None:
    """Two failures of one path; other paths do not use them up."""
    imds.behave("status", path=f"^{MAC}$", status=500, times=2)

    statuses = [get(imds.endpoint, path).status for path in (MAC, "/latest/meta-data/ami-id", MAC, MAC)]

    assert [500, 200, 500, 200] == statuses


def test_a_behaviour_can_be_about_one_method(imds: MetadataService) -> None:
    """A fault of the PUT leaves the GET alone."""
    session = token(imds.endpoint)
    imds.behave("status", method="^PUT$")

    assert 500 == ask(imds.endpoint, "PUT", "/latest/api/token", **{TTL: "60"}).status
    assert 200 == ask(imds.endpoint, "GET", MAC, **{TOKEN: session}).status


def test_a_behaviour_has_its_time(imds: MetadataService, clock: Clock) -> None:
    """From `start`, up to and without `end`, counted from when it was set."""
    clock.now += 100
    imds.behave("status", path="/mac$", start=2, end=5)

    seen = {}
    for second in (0, 2, 4.9, 5):
        start, clock.now = clock.now, clock.now + second
        seen[second] = get(imds.endpoint, MAC).status
        clock.now = start

    assert {0: 200, 2: 500, 4.9: 500, 5: 200} == seen


def test_the_behaviour_that_was_set_last_has_the_last_word(imds: MetadataService) -> None:
    """And both are in force where they do not contradict each other."""
    session = token(imds.endpoint)
    imds.behave("body", path="/mac$", body="one")
    imds.behave("body", path="/mac$", body="two")
    imds.behave("http-1.0")

    answer = ask(imds.endpoint, "GET", MAC, **{TOKEN: session})

    assert ("HTTP/1.0 200 OK", b"two", "3") == (answer.line, answer.body, answer["Content-Length"])


def test_behaviours_are_taken_back_one_by_one_or_all(imds: MetadataService) -> None:
    """Equal ones are still told apart: what is taken back is the one that was set."""
    session = {TOKEN: token(imds.endpoint)}
    first = imds.behave("status", status=500)
    imds.behave("status", status=500)

    imds.forget(first)
    assert 500 == ask(imds.endpoint, "GET", MAC, **session).status
    imds.reset()
    assert 200 == ask(imds.endpoint, "GET", MAC, **session).status
    imds.forget(first)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"do": "nonsense"}, "no behaviour 'nonsense': there are tokens-optional, "),
        ({"do": "status", "path": "("}, "regular"),
    ],
)
def test_a_behaviour_that_does_not_exist_is_refused(how: dict[str, str], complaint: str) -> None:
    """With the names that do exist."""
    with pytest.raises(ValueError, match=complaint):
        Behaviour(**how)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in BEHAVIOURS if not name.startswith("giant")])
def test_after_any_behaviour_the_service_is_itself_again(imds: MetadataService, name: str) -> None:
    """No behaviour breaks the service: a request in each, then a true answer."""
    session = token(imds.endpoint)
    imds.behave(name, seconds=0.001)
    with socket.create_connection(("127.0.0.1", imds.port)) as client:
        client.settimeout(PATIENCE)
        client.sendall(ITEM.replace(b"\r\n\r\n", f"\r\n{TOKEN}: {session}\r\n\r\n".encode()))
        with contextlib.suppress(OSError):
            client.recv(100)
    imds.reset()

    assert b"06:00:00:00:00:00" == ask(imds.endpoint, "GET", MAC, **{TOKEN: session}).body


# Faults of delivery


def test_silence_holds_the_connection_without_an_answer(imds: MetadataService) -> None:
    """Until the client gives up."""
    imds.behave("silence")

    with pytest.raises(socket.timeout):
        raw(imds.endpoint, ITEM, PATIENCE)


def test_a_reset_is_a_reset_and_a_hang_up_an_empty_answer(imds: MetadataService) -> None:
    """Two ends that clients report differently."""
    reset = imds.behave("reset")
    with pytest.raises(ConnectionResetError):
        raw(imds.endpoint, ITEM)
    imds.forget(reset)
    imds.behave("hang-up")

    assert b"" == raw(imds.endpoint, ITEM)


def test_a_drip_sends_status_headers_and_body_a_byte_at_a_time(imds: MetadataService) -> None:
    """So every time-out for one read is kept, and only a total deadline ends it."""
    session = token(imds.endpoint)
    whole = ask(imds.endpoint, "GET", MAC, **{TOKEN: session})
    imds.behave("drip", seconds=0.004)
    pieces = []
    with socket.create_connection(("127.0.0.1", imds.port)) as client:
        client.sendall(ITEM.replace(b"\r\n\r\n", f"\r\n{TOKEN}: {session}\r\n\r\n".encode()))
        while piece := client.recv(65536):
            pieces.append(piece)

    assert b"".join(pieces).endswith(whole.body)
    assert len(pieces) > 10  # and not one for each byte: a busy machine reads several at once


def test_a_delay_is_before_the_first_byte(imds: MetadataService) -> None:
    """And the answer then is whole."""
    session = token(imds.endpoint)
    imds.behave("delay", seconds=0.2)

    start = time.monotonic()
    answer = ask(imds.endpoint, "GET", MAC, **{TOKEN: session})

    assert time.monotonic() - start >= 0.2
    assert b"06:00:00:00:00:00" == answer.body


def test_a_cut_answer_ends_before_its_length(imds: MetadataService) -> None:
    """Content-Length promises more than comes."""
    session = token(imds.endpoint)
    path = "/latest/meta-data/"
    promised = int(ask(imds.endpoint, "GET", path, **{TOKEN: session})["Content-Length"])
    imds.behave("cut")

    answer = ask(imds.endpoint, "GET", path, **{TOKEN: session})

    assert promised == int(answer["Content-Length"])
    assert 0 < len(answer.body) < promised


def test_giants_are_as_large_as_they_are_told_to_be(imds: MetadataService) -> None:
    """A body with its true length; headers without end."""
    session = token(imds.endpoint)
    giant = imds.behave("giant-body", size=300_000)
    answer = ask(imds.endpoint, "GET", MAC, **{TOKEN: session})
    assert (300_000, "300000") == (len(answer.body), answer["Content-Length"])
    imds.forget(giant)
    imds.behave("giant-headers", size=300_000)

    answer = ask(imds.endpoint, "GET", MAC, **{TOKEN: session})

    assert sum(len(name) + len(value) + 4 for name, value in answer.headers) >= 300_000
    assert b"06:00:00:00:00:00" == answer.body


def test_an_endless_body_pours_until_the_client_leaves(imds: MetadataService) -> None:
    """Without a length: only a cap on the client's side ends it."""
    session = token(imds.endpoint)
    imds.behave("endless-body", path="/mac$")
    received = b""
    with socket.create_connection(("127.0.0.1", imds.port)) as client:
        client.sendall(ITEM.replace(b"\r\n\r\n", f"\r\n{TOKEN}: {session}\r\n\r\n".encode()))
        while len(received) < 3_000_000:
            received += client.recv(65536)

    assert b"Content-Length" not in received.partition(b"\r\n\r\n")[0]


# Forgeries


def test_an_altered_document_differs_in_one_character_alone(imds: MetadataService) -> None:
    """The signatures are still the true ones of the true document."""
    names = ("rsa2048", "document", "pkcs7", "signature")
    stem = DOCUMENT.rpartition("/")[0]
    before = [get(imds.endpoint, f"{stem}/{name}").body for name in names]
    imds.behave("altered-document")

    after = [get(imds.endpoint, f"{stem}/{name}").body for name in names]

    assert [before[0], before[2], before[3]] == [after[0], after[2], after[3]]
    assert len(before[1]) == len(after[1])
    assert 1 == sum(one != two for one, two in zip(before[1], after[1]))


@pytest.mark.parametrize("name", ["junk-signatures", "foreign-signatures"])
def test_forged_signatures_come_with_every_sign_of_ec2(imds: MetadataService, name: str) -> None:
    """`Server: EC2ws` and a document: nothing but the signature tells."""
    stem = DOCUMENT.rpartition("/")[0]
    true = {kind: get(imds.endpoint, f"{stem}/{kind}").body for kind in ("rsa2048", "pkcs7", "signature")}
    imds.behave(name)

    for kind, body in true.items():
        answer = get(imds.endpoint, f"{stem}/{kind}")
        assert (200, "EC2ws") == (answer.status, answer["Server"])
        assert body != answer.body
        base64.b64decode(answer.body)
    assert "i-0123456789abcdef0" == json.loads(get(imds.endpoint, DOCUMENT).body)["instanceId"]


# A proxy, or another server


def test_kube2iam_passes_all_but_the_token_request(imds: MetadataService) -> None:
    """EC2 refuses a token request with X-Forwarded-For, and answers a request with an invalid token as always."""
    imds.behave("kube2iam")

    refused, passed = raw(imds.endpoint, PUT), raw(imds.endpoint, ITEM)

    assert refused.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"Server: EC2ws\r\n" in refused
    assert passed.startswith(b"HTTP/1.1 401 Unauthorized\r\n")


@pytest.mark.parametrize(
    ("name", "request_bytes", "expected"),
    [
        ("kiam", PUT, b'request blocked by whitelist-route-regexp "^$": /latest/api/token\n'),
        ("kiam", ITEM, b"\r\nX-Content-Type-Options: nosniff\r\n"),
        ("envoy", PUT, b"HTTP/1.1 503 Service Unavailable\r\nServer: envoy\r\n"),
        ("squid", PUT, b"\r\nVia: 1.1 proxy (squid/5.7)\r\n"),
        ("go", PUT, b"404 page not found\n"),
        ("nginx", PUT, b"<center>nginx/1.25.3</center>"),
        ("captive-portal", PUT, b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\n"),
        ("captive-portal", ITEM, b"<title>Login</title>"),
        ("redirect", ITEM, b"HTTP/1.1 302 Found\r\n"),
        ("redirect", ITEM.replace(b"\r\n\r\n", b"\r\nHost: x:1\r\n\r\n"), b"\r\nLocation: http://x:1/login\r\n"),
        ("not-http", ITEM, b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        ("openstack", PUT, b"HTTP/1.1 404 Not Found\r\n"),
        ("openstack", b"GET /latest/meta-data/ami-id HTTP/1.1\r\n\r\n", b"ami-00022c1f"),
        ("openstack", b"GET /latest/meta-data/ HTTP/1.1\r\n\r\n", b"placement/\n"),
        ("openstack", b"GET / HTTP/1.1\r\n\r\n", b"2009-04-04\nlatest"),
        ("openstack", b"GET /openstack HTTP/1.1\r\n\r\n", b"2012-08-10\n"),
        ("openstack", f"GET {DOCUMENT} HTTP/1.1\r\n\r\n".encode(), b"HTTP/1.1 404 Not Found\r\n"),
        ("google", PUT, b"HTTP/1.1 404 Not Found\r\nMetadata-Flavor: Google\r\nServer: Metadata Server for VM\r\n"),
        ("google", b"GET / HTTP/1.1\r\n\r\n", b"computeMetadata/\n"),
        ("azure", PUT, b"HTTP/1.1 400 Bad Request\r\nServer: IMDS/150.870.65.1854\r\n"),
        ("azure", b"GET /metadata/instance HTTP/1.1\r\nMetadata: true\r\n\r\n", b"AzurePublicCloud"),
        ("alibaba", PUT, b"HTTP/1.1 400 Bad Request\r\n"),
        ("alibaba", f"GET {DOCUMENT} HTTP/1.1\r\n\r\n".encode(), b'"owner-account-id"'),
    ],
)
def test_every_other_server_answers_in_its_own_way(
    imds: MetadataService, name: str, request_bytes: bytes, expected: bytes
) -> None:
    """And never with `Server: EC2ws`."""
    imds.behave(name)

    answer = raw(imds.endpoint, request_bytes)

    assert expected in answer
    assert b"EC2ws" not in answer


@pytest.mark.parametrize("body", ["grüße", b"\xff\xfe\x00"])
def test_a_body_is_text_or_bytes(imds: MetadataService, body: str | bytes) -> None:
    """Exact bytes reach the client, with the length that belongs to them; text goes as UTF-8."""
    imds.behave("tokens-optional")
    imds.behave("body", path="mac$", body=body)

    answer = ask(imds.endpoint, "GET", MAC)

    assert (body.encode() if isinstance(body, str) else body) == answer.body


@pytest.mark.parametrize(
    "how",
    [
        {"body": 5},
        {"body": None},
        {"status": "403"},
        {"status": 99},
        {"times": 1.5},
        {"seconds": "1"},
        {"path": None},
        {"size": "1k"},
        {"end": "soon"},
        {"start": True},
    ],
)
def test_a_field_of_another_type_is_refused_when_it_is_set(imds: MetadataService, how: dict[str, Any]) -> None:
    """Not with each request, in the thread that answers: there a client sees a connection without an answer."""
    with pytest.raises(ValueError, match=f"^{next(iter(how))}: "):
        imds.behave("status", **how)
    assert 401 == ask(imds.endpoint, "GET", MAC).status


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_service_that_is_switched_off_answers_403_with_nothing(imds: MetadataService, method: str) -> None:
    """As captured from an instance with a disabled endpoint (ansible/ansible#68098): empty, text/plain, EC2ws."""
    imds.behave("disabled")

    answer = ask(imds.endpoint, method, "/latest/api/token" if method == "PUT" else MAC, **{TTL: "60"})

    assert (403, b"") == (answer.status, answer.body)
    assert ("0", "EC2ws", "text/plain") == tuple(
        dict(answer.headers)[name] for name in ("Content-Length", "Server", "Content-Type")
    )
