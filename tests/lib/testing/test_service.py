"""The metadata service for tests answers as EC2's does, byte for byte where captures are known."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

import pytest

from ec2ident.testing import Instance, Interface, MetadataService
from ec2ident.value import replace
from tests.lib.clock import Clock
from tests.lib.rawhttp import TOKEN, TTL, ask, get, raw, token

SECOND = "06:00:00:00:00:01"


def test_a_token_has_the_captured_status_line_headers_and_length(imds: MetadataService) -> None:
    """The capture of 2025: this order, `Content-Type` last, 56 characters that begin with AQAEA."""
    answer = ask(imds.endpoint, "PUT", "/latest/api/token", **{TTL: "21600"})

    assert "HTTP/1.1 200 OK" == answer.line
    assert (
        ("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600"),
        ("Content-Length", "56"),
        ("Date", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("Server", "EC2ws"),
        ("Connection", "close"),
        ("Content-Type", "text/plain"),
    ) == answer.headers
    assert 56 == len(answer.body)
    assert answer.body.startswith(b"AQAEA")


def test_an_item_has_the_captured_headers_and_says_what_is_left_of_the_token(
    imds: MetadataService, clock: Clock
) -> None:
    """The capture of 2024: the time to live counts down, and ranges are not offered."""
    session = token(imds.endpoint)
    clock.now += 82

    answer = ask(imds.endpoint, "GET", "/latest/meta-data/instance-id", **{TOKEN: session})

    assert "HTTP/1.1 200 OK" == answer.line
    assert (
        ("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21518"),
        ("Content-Type", "text/plain"),
        ("Accept-Ranges", "none"),
        ("Last-Modified", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("Content-Length", "19"),
        ("Date", "Fri, 15 Jan 2027 08:01:22 GMT"),
        ("Server", "EC2ws"),
        ("Connection", "close"),
    ) == answer.headers
    assert b"i-0123456789abcdef0" == answer.body


@pytest.mark.parametrize("path", ["/", "/latest/meta-data/", "/latest/dynamic/instance-identity/document", "/nothing"])
@pytest.mark.parametrize("headers", [{}, {TOKEN: "AQAEA" + "A" * 51}, {TOKEN: "not base64!"}, {TOKEN: ""}])
def test_without_a_valid_token_the_answer_is_401_without_a_body(
    imds: MetadataService, path: str, headers: dict[str, str]
) -> None:
    """Whatever the path: three captures agree, `GET /` among them."""
    answer = ask(imds.endpoint, "GET", path, **headers)

    assert "HTTP/1.1 401 Unauthorized" == answer.line
    assert ["Content-Length", "Date", "Server", "Connection", "Content-Type"] == answer.names
    assert ("0", "EC2ws", "text/plain") == (answer["Content-Length"], answer["Server"], answer["Content-Type"])
    assert b"" == answer.body


def test_the_wrong_method_on_the_token_path_is_405_and_names_the_right_ones(imds: MetadataService) -> None:
    """The capture of 2020: `Not Allowed`, not `Method Not Allowed`."""
    answer = ask(imds.endpoint, "GET", "/latest/api/token")

    assert "HTTP/1.1 405 Not Allowed" == answer.line
    assert ["Allow", "Content-Length", "Date", "Server", "Connection", "Content-Type"] == answer.names
    assert "OPTIONS, PUT" == answer["Allow"]
    assert b"" == answer.body


@pytest.mark.parametrize("ttl", ["0", "21601", "-1", "1.5", "", "sixty", "٣", "9" * 400])
def test_a_token_is_refused_for_a_life_that_is_out_of_range(imds: MetadataService, ttl: str) -> None:
    """1 to 21600 seconds; all else is 400 with the XHTML page."""
    request = f"PUT /latest/api/token HTTP/1.1\r\n{TTL}: {ttl}\r\n\r\n".encode()

    answer = raw(imds.endpoint, request)

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"<title>400 - Bad Request</title>" in answer


@pytest.mark.parametrize("ttl", ["1", "21600"])
def test_a_token_is_given_for_the_shortest_and_the_longest_life(imds: MetadataService, ttl: str) -> None:
    """Both ends of the range are inside."""
    assert 200 == ask(imds.endpoint, "PUT", "/latest/api/token", **{TTL: ttl}).status


def test_a_token_is_refused_without_the_header_and_through_a_proxy(imds: MetadataService) -> None:
    """No lifetime is 400; a request that names the client it was forwarded for is 403."""
    assert 400 == ask(imds.endpoint, "PUT", "/latest/api/token").status
    forwarded = {TTL: "60", "X-Forwarded-For": "10.0.0.1"}
    assert 403 == ask(imds.endpoint, "PUT", "/latest/api/token", **forwarded).status


def test_a_token_ends_when_its_time_is_over(imds: MetadataService, clock: Clock) -> None:
    """Valid in its last instant, 401 after it."""
    session = token(imds.endpoint, 60)
    clock.now += 59.9
    assert 200 == ask(imds.endpoint, "GET", "/latest/meta-data/mac", **{TOKEN: session}).status
    clock.now += 0.1

    assert 401 == ask(imds.endpoint, "GET", "/latest/meta-data/mac", **{TOKEN: session}).status


def test_a_token_of_another_service_is_not_accepted(imds: MetadataService) -> None:
    """Nor is one of the service's own with one character changed."""
    with MetadataService() as other:
        foreign = token(other.endpoint)
    own = token(imds.endpoint)
    damaged = own[:20] + ("A" if own[20] != "A" else "B") + own[21:]

    statuses = [ask(imds.endpoint, "GET", "/", **{TOKEN: text}).status for text in (foreign, damaged, own)]

    assert [401, 401, 200] == statuses


def test_forgotten_tokens_are_401_and_a_new_one_works(imds: MetadataService) -> None:
    """As after a restart of the service under a client that kept its token."""
    old = token(imds.endpoint)

    imds.forget_tokens()

    assert 401 == ask(imds.endpoint, "GET", "/latest/meta-data/mac", **{TOKEN: old}).status
    assert 200 == get(imds.endpoint, "/latest/meta-data/mac").status


def test_an_unknown_path_is_404_with_the_page(imds: MetadataService) -> None:
    """XHTML, so that a client that parses JSON sees what it meets on EC2."""
    answer = get(imds.endpoint, "/latest/meta-data/nothing")

    assert "HTTP/1.1 404 Not Found" == answer.line
    assert "text/html" == answer["Content-Type"]
    assert answer.body.startswith(b'<?xml version="1.0" encoding="iso-8859-1"?>')
    assert b"<title>404 - Not Found</title>" in answer.body
    assert str(len(answer.body)) == answer["Content-Length"]


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_metadata_can_only_be_read(imds: MetadataService, method: str) -> None:
    """Other methods are 405, and never change anything."""
    before = get(imds.endpoint, "/latest/meta-data/mac").body

    assert 405 == ask(imds.endpoint, method, "/latest/meta-data/mac").status
    assert before == get(imds.endpoint, "/latest/meta-data/mac").body


def test_head_is_get_without_the_body(imds: MetadataService) -> None:
    """The headers are those of GET, the length too."""
    session = token(imds.endpoint)

    one = ask(imds.endpoint, "GET", "/latest/meta-data/mac", **{TOKEN: session})
    two = ask(imds.endpoint, "HEAD", "/latest/meta-data/mac", **{TOKEN: session})

    assert (one.line, one.headers, b"") == (two.line, two.headers, two.body)


def test_directories_are_listed_with_trailing_slashes(imds: MetadataService) -> None:
    """Asked for with or without the final slash; items have none."""
    listed = get(imds.endpoint, "/latest/meta-data/").body.decode().split("\n")

    assert listed == get(imds.endpoint, "/latest/meta-data").body.decode().split("\n")
    assert {"network/", "placement/", "services/", "iam/", "mac", "instance-id"} <= set(listed)
    assert b"dynamic\nmeta-data" == get(imds.endpoint, "/latest/").body
    assert b"0=testing" == get(imds.endpoint, "/latest/meta-data/public-keys/").body
    assert b"openssh-key" == get(imds.endpoint, "/latest/meta-data/public-keys/0/").body


def test_an_item_is_found_with_a_final_slash_too(imds: MetadataService) -> None:
    """botocore asks so for the availability zone; two slashes are another path."""
    assert b"06:00:00:00:00:00" == get(imds.endpoint, "/latest/meta-data/mac/").body
    assert 404 == get(imds.endpoint, "/latest/meta-data/mac//").status


def test_every_version_answers_and_no_other(imds: MetadataService) -> None:
    """cloud-init asks for dated versions; the root lists them all."""
    versions = get(imds.endpoint, "/").body.decode().split("\n")

    assert {"1.0", "2009-04-04", "2021-03-23", "latest"} <= set(versions)
    assert {200} == {get(imds.endpoint, f"/{version}/meta-data/mac").status for version in versions}
    assert 404 == get(imds.endpoint, "/2009-04-05/meta-data/mac").status


def test_what_an_item_says_is_what_the_instance_is(imds: MetadataService) -> None:
    """The values of the instance are at the paths that AWS documents."""
    imds.instance = Instance(
        region="us-west-2",
        availability_zone="us-west-2-lax-1a",
        instance_type="t3.micro",
        user_data=b"#!/bin/sh\n",
        tags=(("Name", "web"),),
        interfaces=(Interface(public_ip="203.0.113.9", ipv6s=("2600:1f14::5",)),),
    )
    expected = {
        "meta-data/placement/region": "us-west-2",
        "meta-data/placement/availability-zone": "us-west-2-lax-1a",
        "meta-data/placement/availability-zone-id": "usw2-az1",
        "meta-data/services/partition": "aws",
        "meta-data/services/domain": "amazonaws.com",
        "meta-data/instance-type": "t3.micro",
        "meta-data/local-ipv4": "10.0.0.10",
        "meta-data/local-hostname": "ip-10-0-0-10.us-west-2.compute.internal",
        "meta-data/public-ipv4": "203.0.113.9",
        "meta-data/public-hostname": "ec2-203-0-113-9.us-west-2.compute.amazonaws.com",
        "meta-data/ipv6": "2600:1f14::5",
        "meta-data/tags/instance/Name": "web",
        "meta-data/network/interfaces/macs/06:00:00:00:00:00/ipv4-associations/203.0.113.9": "10.0.0.10",
        "user-data": "#!/bin/sh\n",
    }

    answers = {path: get(imds.endpoint, f"/latest/{path}").body.decode() for path in expected}

    assert expected == answers
    assert "application/octet-stream" == get(imds.endpoint, "/latest/user-data")["Content-Type"]


@pytest.mark.parametrize(
    ("region", "partition", "domain"),
    [
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
        ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ("us-east-1", "aws", "amazonaws.com"),
    ],
)
def test_the_partition_follows_from_the_region(imds: MetadataService, region: str, partition: str, domain: str) -> None:
    """And so does the domain of its endpoints."""
    imds.instance = Instance(region=region)

    answers = [
        get(imds.endpoint, f"/latest/meta-data/services/{name}").body.decode() for name in ("partition", "domain")
    ]

    assert [partition, domain] == answers


@pytest.mark.parametrize("missing", ["ipv4-prefix", "ipv6-prefix", "network-card", "ipv6s", "subnet-ipv6-cidr-blocks"])
def test_what_is_not_assigned_is_404_and_not_empty(imds: MetadataService, missing: str) -> None:
    """On EC2 "absent" and "not yet" look the same; the listing does not show it either."""
    stem = "/latest/meta-data/network/interfaces/macs/06:00:00:00:00:00/"

    assert 404 == get(imds.endpoint, stem + missing).status
    assert missing not in get(imds.endpoint, stem).body.decode().split("\n")


def test_an_instance_without_role_or_user_data_has_none(imds: MetadataService) -> None:
    """404, and the listings do not show them."""
    imds.instance = Instance(role=None)

    assert 404 == get(imds.endpoint, "/latest/meta-data/iam/security-credentials/").status
    assert 404 == get(imds.endpoint, "/latest/user-data").status
    assert "iam/" not in get(imds.endpoint, "/latest/meta-data/").body.decode().split("\n")


def test_credentials_are_json_as_plain_text_and_still_to_end(imds: MetadataService) -> None:
    """The content type is text/plain though it is JSON, as captured."""
    role = get(imds.endpoint, "/latest/meta-data/iam/security-credentials/").body.decode()

    answer = get(imds.endpoint, f"/latest/meta-data/iam/security-credentials/{role}")

    assert "text/plain" == answer["Content-Type"]
    assert "2027-01-15T14:00:00Z" == json.loads(answer.body)["Expiration"]


def test_interfaces_come_and_go_while_the_service_runs(imds: MetadataService) -> None:
    """Attach, assign a secondary address and a prefix, detach: each is seen by the next request."""
    macs = "/latest/meta-data/network/interfaces/macs/"

    imds.attach(Interface(mac=SECOND, device_number=1, subnet="10.0.1.0/24", private_ips=("10.0.1.10",)))
    assert f"06:00:00:00:00:00/\n{SECOND}/" == get(imds.endpoint, macs).body.decode()
    imds.assign(SECOND, private_ips=("10.0.1.10", "10.0.1.11"), prefixes=("10.0.1.16/28",))
    assert b"10.0.1.10\n10.0.1.11" == get(imds.endpoint, f"{macs}{SECOND}/local-ipv4s").body
    assert b"10.0.1.16/28" == get(imds.endpoint, f"{macs}{SECOND}/ipv4-prefix").body
    imds.detach(SECOND)

    assert 404 == get(imds.endpoint, f"{macs}{SECOND}/").status
    assert b"06:00:00:00:00:00" == get(imds.endpoint, "/latest/meta-data/mac").body


def test_an_attached_interface_is_as_late_as_on_ec2(imds: MetadataService, clock: Clock) -> None:
    """First it is not listed, then its device number reads 0, then all is right."""
    path = f"/latest/meta-data/network/interfaces/macs/{SECOND}/device-number"
    imds.attach(Interface(mac=SECOND, device_number=1), listed_after=5, numbered_after=8)

    seen = []
    for _ in range(3):
        seen.append((get(imds.endpoint, path).status, get(imds.endpoint, path).body[:1]))
        clock.now += 5

    assert [(404, b"<"), (200, b"0"), (200, b"1")] == seen


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Interface(mac="06:00"), "mac: '06:00' is not six bytes"),
        (lambda: Interface(private_ips=()), "has at least one address"),
        (lambda: Interface(private_ips=("10.0.0.256",)), "10.0.0.256"),
        (lambda: Interface(subnet="10.0.0.0/24", private_ips=(), ipv6s=("2001:db8::5",)), "EC2 has both or neither"),
        (lambda: Interface(subnet=""), "EC2 has both or neither"),
        (lambda: Interface(subnet="10.0.0.1/24"), "host bits set"),
        (lambda: Instance(pending_time="yesterday"), "yesterday"),
        (lambda: Instance(region="mars-1"), "mars-1"),
        (lambda: Instance(interfaces=()), "at least one interface"),
        (lambda: Instance(interfaces=(Interface(), Interface())), "two interfaces with one MAC"),
    ],
)
def test_an_instance_that_makes_no_sense_is_refused(make: object, complaint: str) -> None:
    """A test with a typing error shall fail where the error is."""
    with pytest.raises(ValueError, match=complaint):
        make()  # type: ignore[operator]


def test_the_log_knows_every_request_and_no_token(imds: MetadataService) -> None:
    """Method, path, status, source, time, and whether the token was valid; the token itself never."""
    session = token(imds.endpoint)
    ask(imds.endpoint, "GET", "/latest/meta-data/mac", **{TOKEN: session, "User-Agent": "test/1"})
    ask(imds.endpoint, "GET", "/latest/meta-data/mac?x=1", **{TOKEN: "AAAA"})

    seen = imds.requests

    assert [("PUT", 200, "none"), ("GET", 200, "valid"), ("GET", 401, "invalid")] == [
        (one.method, one.status, one.token) for one in seen
    ]
    assert ("/latest/meta-data/mac", "127.0.0.1", 1_800_000_000.0, "test/1") == (
        *(seen[1].path, seen[1].source, seen[1].time, seen[1].user_agent),
    )
    assert session not in repr(seen)
    imds.forget_requests()
    assert () == imds.requests


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
def test_what_is_not_a_request_is_400_and_the_service_lives_on(imds: MetadataService, garbage: bytes) -> None:
    """A TLS hello, half a line, headers without end, a giant body."""
    assert raw(imds.endpoint, garbage).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert 200 == get(imds.endpoint, "/latest/meta-data/mac").status


@pytest.mark.ipv6
def test_it_listens_on_both_families_at_one_port(clock: Clock) -> None:
    """The same service, asked over IPv4 and IPv6."""
    with MetadataService(host=("127.0.0.1", "::1")) as both:
        assert (f"http://127.0.0.1:{both.port}", f"http://[::1]:{both.port}") == both.endpoints
        sources = [get(endpoint, "/latest/meta-data/mac").status for endpoint in both.endpoints]

        assert [200, 200] == sources
        assert {"127.0.0.1", "::1"} == {one.source for one in both.requests}


def test_it_serves_on_sockets_that_it_is_given() -> None:
    """A socket belongs to the network namespace in which it was made: so the service can answer in any of them."""
    listener = socket.create_server(("127.0.0.2", 0))

    with MetadataService(listeners=[listener]) as imds:
        assert f"http://127.0.0.2:{listener.getsockname()[1]}" == imds.endpoint
        assert 200 == get(imds.endpoint, "/latest/meta-data/mac").status


def test_a_port_that_is_taken_is_an_error_with_both_values(imds: MetadataService) -> None:
    """The address, the port, and the kernel's words."""
    with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1 port {imds.port}: Address already in use"):
        MetadataService(port=imds.port).start()


def test_a_stopped_service_refuses_and_can_be_started_again(imds: MetadataService) -> None:
    """On the same port, with the same state: as a service that comes back."""
    endpoint = imds.endpoint

    imds.stop()
    with pytest.raises(ConnectionRefusedError):
        get(endpoint, "/")
    imds.stop()
    imds.start()

    assert endpoint == imds.endpoint
    assert 200 == get(endpoint, "/").status


def test_stopping_ends_every_thread_and_connection() -> None:
    """Also those that a behaviour keeps waiting for ever."""
    before = set(threading.enumerate())
    with MetadataService() as imds:
        imds.behave("silence")
        held = [socket.create_connection(("127.0.0.1", imds.port)) for _ in range(20)]
        for connection in held:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while len(imds.requests) < 20:
            threading.Event().wait(0.01)
        assert 1 == len(set(threading.enumerate()) - before)

    assert before >= set(threading.enumerate())
    for connection in held:
        with connection, contextlib.suppress(ConnectionResetError):
            connection.settimeout(30)
            assert b"" == connection.recv(1)


def test_many_clients_at_once_all_get_their_answer(imds: MetadataService) -> None:
    """As a node with sixty containers at boot."""
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: statuses.append(get(imds.endpoint, "/latest/meta-data/mac", Connection="keep-alive").status)
        )
        for _ in range(60)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [200] * 60 == statuses


def test_the_listing_of_one_path_never_shows_a_neighbour(imds: MetadataService) -> None:
    """A near miss: a MAC that begins like another one is another directory."""
    imds.instance = replace(
        imds.instance, interfaces=(Interface(), Interface(mac="06:00:00:00:00:0a", device_number=1))
    )

    stem = "/latest/meta-data/network/interfaces/macs/06:00:00:00:00:0"

    assert 404 == get(imds.endpoint, stem).status
    assert b"1" == get(imds.endpoint, f"{stem}a/device-number").body


@pytest.mark.parametrize("subnet", [{}, {"subnet": ""}])
def test_an_interface_in_a_subnet_with_ipv6_alone_has_no_ipv4_items(
    imds: MetadataService, subnet: dict[str, Any]
) -> None:
    """Both its block and its addresses are 404, and it is named by the instance id."""
    eth1 = Interface(
        mac="06:00:00:00:00:09",
        device_number=1,
        private_ips=(),
        subnets_ipv6=("2001:db8::/64",),
        ipv6s=("2001:db8::5",),
        **subnet,
    )
    imds.instance = Instance(interfaces=(eth1,))
    imds.behave("tokens-optional")
    stem = f"/latest/meta-data/network/interfaces/macs/{eth1.mac}"
    name = b"i-0123456789abcdef0.eu-west-1.compute.internal"

    seen = {item: ask(imds.endpoint, "GET", f"{stem}/{item}") for item in ("subnet-ipv4-cidr-block", "local-ipv4s")}
    listed = ask(imds.endpoint, "GET", f"{stem}/").body.split(b"\n")

    assert {404} == {answer.status for answer in seen.values()}
    assert not {b"subnet-ipv4-cidr-block", b"local-ipv4s"} & {*listed}
    assert b"2001:db8::5" == ask(imds.endpoint, "GET", f"{stem}/ipv6s").body
    assert name == ask(imds.endpoint, "GET", f"{stem}/local-hostname").body
    assert name == ask(imds.endpoint, "GET", "/latest/meta-data/local-hostname").body
    assert 404 == ask(imds.endpoint, "GET", "/latest/meta-data/local-ipv4").status


def test_the_ipv4_block_goes_with_the_last_address_and_comes_with_the_first() -> None:
    """`assign` never leaves a state that EC2 does not have."""
    mac = Interface().mac
    without = Instance().assign(mac, private_ips=(), ipv6s=("2001:db8::5",))

    assert "" == without.primary.subnet
    assert "10.0.0.0/24" == without.assign(mac, private_ips=("10.0.0.7",)).primary.subnet
