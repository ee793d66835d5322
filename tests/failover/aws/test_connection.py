"""Connections to the API: addresses raced, proxies tunnelled through, all of it on loopback with real TLS."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading

import pytest

from ec2ident_agent.failover.aws import actions, connection
from ec2ident_agent.failover.aws.client import Access, Api
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.errors import CredentialsError, OutOfTimeError, UsageError
from tests.failover import hostile
from tests.failover.aws.test_client import self_signed
from tests.failover.conftest import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

LOOK = actions.describe_tables({"vpc-id": ["vpc-00000000"]})
PAGE = b"<DescribeRouteTablesResponse><routeTableSet/></DescribeRouteTablesResponse>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(PAGE), PAGE)


@pytest.fixture
def api() -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(url: str, seconds: float = 10.0, environ: Any = None, **access: Any) -> Api:
        given = Access("us-east-1", endpoint=url, **access)
        made.append(Api(given, Deadline(seconds), environ={**ENVIRONMENT, **(environ or {})}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener on loopback, each connection in a thread; yields its port."""

    def one(accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            serve(accepted)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An API over TLS: its URL, and the certificate to trust."""
    pem = self_signed(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as tls:
            hostile._request(tls)
            tls.sendall(ANSWER)

    with listening(serve) as port:
        yield f"https://127.0.0.1:{port}", str(pem)


class HttpProxy:
    """A proxy that understands CONNECT; `heads` are the requests that it got, `answer` a refusal."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.answer = b""

    def serve(self, accepted: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = accepted.recv(1)
            if not more:
                return
            head += more
        self.heads.append(head.decode())
        if self.answer:
            accepted.sendall(self.answer)
            return
        found = re.match(r"CONNECT ([^ ]+):(\d+) HTTP/1\.1\r\n", head.decode())
        if not found:
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        with socket.create_connection((found[1], int(found[2])), 10) as other:
            accepted.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
            back = threading.Thread(target=self._pump, args=(other, accepted), daemon=True)
            back.start()
            self._pump(accepted, other)
            back.join(10)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[tuple[HttpProxy, str]]:
    found = HttpProxy()
    with listening(found.serve) as port:
        yield found, f"127.0.0.1:{port}"


def test_the_api_over_tls_goes_through_the_proxy(
    api: Callable[..., Api], secure: tuple[str, str], proxy: tuple[HttpProxy, str]
) -> None:
    """By CONNECT, so that it sees the name and no request; with its login; NO_PROXY and `none` go past it."""
    (url, pem), (seen, where) = secure, proxy
    assert ((), "") == api(url, ca_bundle=pem, environ={"HTTPS_PROXY": f"http://user:word@{where}"}).call(LOOK)
    host = url.partition("://")[2]
    assert [f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic dXNlcjp3b3Jk\r\n\r\n"] == seen.heads

    assert ((), "") == api(url, ca_bundle=pem, proxy=f"http://{where}").call(LOOK)
    assert 2 == len(seen.heads)
    assert "Proxy-Authorization" not in seen.heads[1]

    environ = {"HTTPS_PROXY": where, "NO_PROXY": "127.0.0.0/8"}
    assert ((), "") == api(url, ca_bundle=pem, environ=environ).call(LOOK)
    assert ((), "") == api(url, ca_bundle=pem, proxy="none", environ={"HTTPS_PROXY": where}).call(LOOK)
    assert 2 == len(seen.heads)


def test_plain_http_never_goes_through_a_proxy(api: Callable[..., Api], proxy: tuple[HttpProxy, str]) -> None:
    """It could read and change every request."""
    seen, where = proxy
    environ = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), f"http://{where}")
    with hostile.serving(hostile.saying(ANSWER)) as url:
        assert ((), "") == api(url, environ=environ, proxy=f"http://{where}").call(LOOK)

    assert [] == seen.heads


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", r"asks for a user and a password \(407\)"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", r"does not let 127\.0\.0\.1:\d+ through \(403\)"),
    ],
)
def test_a_proxy_that_refuses_is_final(
    api: Callable[..., Api], secure: tuple[str, str], proxy: tuple[HttpProxy, str], answer: bytes, said: str
) -> None:
    """One request to it, and what to do; the password is not in the message."""
    (url, pem), (seen, where) = secure, proxy
    seen.answer = answer
    with pytest.raises(UsageError, match=f"proxy http://{where}: {said}") as caught:
        api(url, ca_bundle=pem, proxy=f"http://user:secret@{where}").call(LOOK)
    assert 1 == len(seen.heads)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 "])
def test_a_proxy_that_fails_is_asked_again(
    api: Callable[..., Api], secure: tuple[str, str], proxy: tuple[HttpProxy, str], answer: bytes
) -> None:
    """Until the deadline, and then the proxy is named."""
    (url, pem), (seen, where) = secure, proxy
    seen.answer = answer
    with pytest.raises(OutOfTimeError, match=f"proxy http://{where}: "):
        api(url, 1.0, ca_bundle=pem, proxy=where).call(LOOK)
    assert len(seen.heads) > 1


# Several addresses


def addresses(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    """The name api.example resolves to these."""
    places = [(where.rpartition(":")[0].strip("[]"), int(where.rpartition(":")[2])) for where in (u[7:] for u in urls)]
    families = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port) for host, port in places]
    found = [(family, socket.SOCK_STREAM, 6, "", (host, port)) for family, host, port in families]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_silent_address_costs_a_quarter_of_a_second(api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them in front of one that answers: without the race each would cost a whole attempt (10.5 s were seen)."""
    with hostile.full() as silent, hostile.serving(hostile.saying(ANSWER)) as good:
        addresses(monkeypatch, silent, silent, good)
        # A whole attempt is as long as the deadline: without the race the call would not end in time.
        assert ((), "") == api("http://api.example", 20, attempt=20.0).call(LOOK)


def test_a_refused_address_costs_nothing_and_the_last_error_is_told(
    api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is tried at once."""
    with hostile.serving(hostile.saying(ANSWER)) as good:
        addresses(monkeypatch, "http://127.0.0.1:9", "http://127.0.0.1:9", good)
        monkeypatch.setattr(connection, "NEXT_ADDRESS", 60.0)
        assert ((), "") == api("http://api.example").call(LOOK)
    addresses(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(OutOfTimeError, match="Connection refused"):
        api("http://api.example", 0.5).call(LOOK)


def test_an_address_that_accepts_and_says_nothing_is_not_the_first_again(
    api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt begins with the other one, where the first would be silent until the deadline."""
    with socket.create_server(("127.0.0.2", 0)) as silent, hostile.serving(hostile.saying(ANSWER)) as good:
        addresses(monkeypatch, f"http://127.0.0.2:{silent.getsockname()[1]}", good)
        assert ((), "") == api("http://api.example", 30, attempt=0.5).call(LOOK)


def test_families_alternate() -> None:
    """A network without IPv6 then costs one wait and not one for each address (RFC 8305, 4)."""
    six = [(socket.AF_INET6, 1, 6, "", (f"fd00::{n}", 1)) for n in range(3)]
    four = [(socket.AF_INET, 1, 6, "", (f"10.0.0.{n}", 1)) for n in range(2)]
    assert [six[0], four[0], six[1], four[1], six[2]] == connection._order([*six, *four], set())


def test_no_socket_of_the_race_is_left_open() -> None:
    """Also of the addresses that lost."""
    import gc
    import warnings

    with hostile.full() as silent, hostile.serving(hostile.saying(ANSWER)) as good, warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        ports = [int(url.rpartition(":")[2]) for url in (silent, good)]
        listed = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *_, **__: listed)
            connection.race("api.example", 80, 5.0).close()
        gc.collect()


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
        ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
    ],
)
@pytest.mark.parametrize("source", ["source_profile = base", "credential_source = Environment", "region = us-east-2\n"])
def test_the_role_of_a_profile_is_asked_for_in_the_region_of_the_configuration(
    proxy: tuple[HttpProxy, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    region: str,
    host: str,
    source: str,
) -> None:
    """Through the configured proxy. botocore alone asks sts.amazonaws.com, which has no roles of China and GovCloud."""
    pytest.importorskip("botocore")
    seen, where = proxy
    seen.answer = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    source += "source_profile = base" if source.startswith("region") else ""
    role = "role_arn = arn:aws:iam::123456789012:role/x"
    (tmp_path / "config").write_text(f"[profile base]\n[profile cluster]\n{role}\n{source}\n")
    (tmp_path / "credentials").write_text("[base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "HTTPS_PROXY", "https_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    # botocore is imported within the deadline, on a machine that may be busy.
    found = Api(Access(region, profile="cluster", proxy=where), Deadline(60), environ={})
    with pytest.raises(CredentialsError, match="credentials: "):
        found.call(LOOK)

    assert {f"CONNECT {host}:443 HTTP/1.1"} == {head.partition("\r\n")[0].replace("1.0", "1.1") for head in seen.heads}


def test_the_role_of_a_profile_is_asked_for_with_the_configured_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the configured endpoint, as on a node that reaches STS through a VPC endpoint with a private authority."""
    pytest.importorskip("botocore")
    pem = self_signed(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    asked: list[bytes] = []

    def serve(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as tls:
            asked.append(hostile._request(tls))
            # An answer that botocore's parser does not understand is one line too.
            tls.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    (tmp_path / "config").write_text(
        "[profile cluster]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Environment\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with listening(serve) as port:
        access = Access("eu-central-1", profile="cluster", endpoint=f"https://127.0.0.1:{port}", ca_bundle=str(pem))
        with pytest.raises(CredentialsError, match="credentials: "):
            Api(access, Deadline(60), environ={}).call(LOOK)

    assert asked
    assert b"Action=AssumeRole" in asked[0]
    assert b"/eu-central-1/sts/aws4_request" in asked[0]
