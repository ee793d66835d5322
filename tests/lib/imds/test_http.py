"""The metadata client and hostile bytes: drips, floods and lies over real sockets, and nothing left behind."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ec2ident.errors import ImdsError
from ec2ident.imds import http
from ec2ident.imds import plain as plain_http
from ec2ident.imds.client import Imds
from ec2ident.imds.connect import NoAnswerError
from ec2ident.imds.wire import LARGEST_BODY, Wire
from ec2ident.model import Reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    #: What a server sends for a request, piece by piece; a number is a pause in seconds.
    Script = Callable[[bytes], "Iterable[bytes | float]"]

TOKEN = b"AQAEA" + b"x" * 49 + b"=="
HEAD = b"HTTP/1.1 200 OK\r\nServer: EC2ws\r\nConnection: close\r\n"
#: Seconds that a client has where a server does not end, and where it does, however busy the machine is.
TIMEOUT = 1.0
PATIENCE = 20.0


@pytest.fixture(params=[True, False], ids=["requests", "http.client"], autouse=True)
def use_requests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every test runs with both libraries that may carry the requests."""
    assert Imds.__init__.__kwdefaults__
    monkeypatch.setitem(Imds.__init__.__kwdefaults__, "use_requests", request.param)
    return bool(request.param)


def plain(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Server:
    """A TCP server of one thread that follows a script for each connection, and remembers the requests."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.02)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.requests: list[bytes] = []
        self.connections = 0
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except socket.timeout:
                continue
            self.connections += 1
            with connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        try:
            request = connection.recv(65536)
            if not request:
                return
            self.requests.append(request)
            for step in self._script(request):
                if self._stop.is_set():
                    return
                if isinstance(step, bytes):
                    connection.sendall(step)
                else:
                    self._stop.wait(step)
        except OSError:
            return  # the client has had enough


def at_the_item(script: Script) -> Script:
    """A good token first; what the script does comes at the item."""
    return lambda request: [plain(TOKEN)] if request.startswith(b"PUT") else script(request)


def dripping(data: bytes) -> Iterator[bytes | float]:
    for position in range(len(data)):
        yield data[position : position + 1]
        yield 0.03


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def ask(server: Server, timeout: float = PATIENCE) -> str | None:
    return Imds(timeout, endpoints=server.endpoint).get("meta-data/x")


def fails(script: Script, reason: Reason, match: str = "^metadata service: ", timeout: float = PATIENCE) -> float:
    """Asking a server with this script raises ImdsError for this reason; gives the seconds that it took."""
    with Server(script) as server:
        began = time.monotonic()
        with pytest.raises(ImdsError, match=match) as caught:
            ask(server, timeout)
        took = time.monotonic() - began
    assert reason == caught.value.reason
    return took


# Time


@pytest.mark.parametrize(
    "script",
    [
        lambda _: dripping(b"HTTP/1.1 200 " + b"O" * 1000),
        lambda _: [b"HTTP/1.1 200 OK\r\n", *dripping(b"X-Padding: " + b"x" * 1000)],
        lambda _: [HEAD + b"Content-Length: 1000\r\n\r\n", *dripping(b"x" * 1000)],
        lambda _: [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *dripping(b"1\r\nx\r\n" * 1000)],
    ],
    ids=["status line", "headers", "body", "chunks"],
)
@pytest.mark.parametrize("at", ["token", "item"])
def test_a_server_that_drips_meets_the_deadline(script: Script, at: str) -> None:
    """Each byte comes well within the time-out of one recv(); only a deadline over all of them ends it."""
    chosen = script if at == "token" else at_the_item(script)
    took = fails(chosen, Reason.SLOW, "only a part of an answer in time", TIMEOUT)

    assert TIMEOUT / 2 < took < 10 * TIMEOUT


def test_a_drip_that_ends_in_time_is_an_answer() -> None:
    """Slow is not wrong."""
    script = at_the_item(lambda _: [HEAD, 0.05, b"Content-Length: 3\r\n\r\n", 0.05, b"a", 0.05, b"bc"])
    with Server(script) as server:
        assert "abc" == ask(server)


def test_silence_after_the_token_is_a_timeout() -> None:
    """Plain answers have no low hop limit, so it is not that."""
    fails(at_the_item(lambda _: [60.0]), Reason.SLOW, "no answer in time", TIMEOUT)


# Size


@pytest.mark.parametrize(
    "script",
    [
        lambda _: [HEAD + b"\r\n", *([b"x" * 4096] * 100)],
        lambda _: [HEAD + b"Content-Length: %d\r\n\r\n" % 10**12, *([b"x" * 4096] * 100)],
        lambda _: [HEAD, *([b"X-Padding: x\r\n"] * 5000)],
        lambda _: [HEAD, b"X-Padding: ", *([b"x" * 4096] * 100)],
        lambda _: [b"HTTP/1.1 200 ", *([b"x" * 4096] * 100)],
        lambda _: [b"HTTP/1.1 100 Continue\r\n\r\n"] * 5000,
        lambda _: [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *([b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 100)],
        lambda _: [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1" * 100_000],
        lambda _: endless(b"\r\n" * 1000),
    ],
    ids=[
        *("endless body", "announced body", "many headers", "long header", "long status line"),
        *("for ever continue", "many chunks", "long chunk size", "blank lines"),
    ],
)
@pytest.mark.parametrize("at", ["token", "item"])
def test_a_flood_is_cut_off(script: Script, at: str) -> None:
    """Whatever part of HTTP is without an end, reading it has one; nothing of that size is held in memory."""
    with Server(script if at == "token" else at_the_item(script)) as server, pytest.raises(ImdsError) as caught:
        ask(server)

    assert caught.value.reason in (Reason.TOO_LARGE, Reason.MALFORMED)  # and not the deadline


@pytest.mark.parametrize(
    "script",
    [
        lambda _: [HEAD + b"\r\n", *([b"x" * 4096] * 100)],
        lambda _: [HEAD, *([b"X-Padding: x\r\n"] * 5000)],
        lambda _: [HEAD, b"X-Padding: ", *([b"x" * 4096] * 100)],
    ],
    ids=["body", "many headers", "long header"],
)
def test_a_giant_is_called_too_large(script: Script) -> None:
    """The reason says that the item is too big, and not that the server is broken."""
    fails(at_the_item(script), Reason.TOO_LARGE, "more than ")


def test_the_largest_item_of_the_service_fits_twice() -> None:
    """User data has at most 16 KiB ("Instance user data", EC2 User Guide); the limit in bytes is a promise."""
    assert 2 * 16 * 1024 == LARGEST_BODY


@pytest.mark.parametrize(("size", "fits"), [(LARGEST_BODY, True), (LARGEST_BODY + 1, False)])
def test_the_limit_is_exact(size: int, fits: bool) -> None:
    """The largest item of the service has half of it."""
    with Server(at_the_item(lambda _: [plain(b"x" * size)])) as server:
        if fits:
            assert "x" * size == ask(server)
        else:
            with pytest.raises(ImdsError, match=f"more than {LARGEST_BODY} bytes"):
                ask(server)


def test_nothing_is_unpacked() -> None:
    """We ask for no compression, so what comes compressed was not asked for, and is a bomb at worst."""
    bomb = gzip.compress(b"x" * 10_000_000)
    answer = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    with Server(at_the_item(lambda _: [answer])) as server:
        assert bomb == Imds(PATIENCE, endpoints=server.endpoint).get_bytes("meta-data/x")


# Lies


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (b"", "closed without an answer"),
        (b"\x00\xff" * 100, "not an HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "not an HTTP answer"),
        (HEAD + b"Content-Length: 9\r\n\r\nshort", "not as long as it says|has 5 bytes"),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "not an HTTP answer"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "not as long as it says"),
    ],
)
def test_what_is_not_http_is_malformed(answer: bytes, match: str) -> None:
    """One line, printable, whatever came."""
    fails(at_the_item(lambda _: [answer]), Reason.MALFORMED, match)


def test_a_chunked_answer_is_an_answer() -> None:
    """The real service does not send it; a proxy before it may."""
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    with Server(at_the_item(lambda _: [chunked])) as server:
        assert "abc" == ask(server)


#: Pieces of which nearly every answer is made, and every way to break one.
FRAGMENTS = [
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 Not Found\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/9.9 -1 \r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: -5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: \xb2\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Server: \xff\r\n", b"Location: //\r\n", b": \r\n"),
    *(
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        b"ffffffffffffffffff\r\n",
    ),
]


@pytest.mark.parametrize("library", [http, plain_http])
@given(data=st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=20), max_size=12).map(b"".join))
@example(data=b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nhello")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_is_an_answer_or_a_failure_with_a_reason(library: ModuleType, data: bytes) -> None:
    """No other exception ever leaves the exchange, whichever library would have raised it."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        try:
            answer = library.exchange(Wire(ours.detach(), time.monotonic() + 20), "GET", "http://127.0.0.1/", {})
            outcome: object = len(answer.body) <= len(data)
        except NoAnswerError as failure:
            outcome = failure.reason

    assert outcome in (True, Reason.MALFORMED)


# What is sent, and where


def test_the_requests_are_small_and_say_only_what_they_must() -> None:
    """The service refuses a PUT with X-Forwarded-For, and a body of any length would be wrong."""
    with Server(at_the_item(lambda _: [plain(b"ok")])) as server:
        ask(server)
        host = server.endpoint.removeprefix("http://").encode()

    put, get = (request.decode().split("\r\n") for request in server.requests)
    assert "PUT /latest/api/token HTTP/1.1" == put[0]
    assert {
        f"Host: {host.decode()}",
        "Accept-Encoding: identity",
        "User-Agent: ec2ident",
        "Accept: */*",
        "X-aws-ec2-metadata-token-ttl-seconds: 21600",
        "Content-Length: 0",
        "",
    } == {*put[1:]}
    assert "GET /latest/meta-data/x HTTP/1.1" == get[0]
    assert f"X-aws-ec2-metadata-token: {TOKEN.decode()}" in get


def test_a_proof_is_two_connections() -> None:
    """The connection that won the race carries the first request; none is made to be thrown away."""
    with Server(at_the_item(lambda _: [plain(b"ok")])) as server:
        Imds(PATIENCE, endpoints=server.endpoint).identity_item("rsa2048")
        time.sleep(0.05)

    assert 2 == len(server.requests)
    assert 2 == server.connections


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"])
def test_no_proxy_is_used_whatever_the_environment_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy, another host gets the token, and the answer is about another instance."""
    with Server(lambda _: [plain(TOKEN)]) as proxy, Server(at_the_item(lambda _: [plain(b"ok")])) as server:
        monkeypatch.setenv(name, proxy.endpoint)
        for other in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(other, raising=False)

        assert "ok" == ask(server)
    assert 0 == proxy.connections


def test_no_credentials_of_the_user_are_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """requests reads ~/.netrc by itself where it may."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n", encoding="ascii")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(at_the_item(lambda _: [plain(b"ok")])) as server:
        ask(server)

    assert not [request for request in server.requests if b"uthorization" in request]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    """A redirect would carry the token to wherever it points."""
    with Server(lambda _: [plain(TOKEN)]) as elsewhere:
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.endpoint}/\r\nContent-Length: 0\r\n\r\n".encode()
        fails(at_the_item(lambda _: [moved]), Reason.CAPTIVE_PORTAL, f"answers {status}")
        fails(lambda _: [moved], Reason.CAPTIVE_PORTAL, f"answers {status}")
    assert 0 == elsewhere.connections


@pytest.mark.parametrize("location", ["http://169.254.169.254{}/", "{}/", "http://elsewhere.example{}/"])
@pytest.mark.parametrize("status", [301, 308])
def test_the_name_of_a_directory_gets_its_slash(status: int, location: str) -> None:
    """uswitch/kiam#116: EC2 once redirected to the slash, kiam still does. The same server is asked."""
    paths: list[bytes] = []

    def answers(request: bytes) -> list[bytes]:
        path = request.split(b" ")[1]
        paths.append(path)
        to = location.format(path.decode())
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
        return [plain(b"role") if path.endswith(b"/") else moved]

    with Server(at_the_item(answers)) as server:
        assert "role" == ask(server)
    assert [paths[0], paths[0] + b"/"] == paths


def test_no_cookie_is_kept() -> None:
    """Nothing that one answer sets comes with the next request."""
    answer = HEAD + b"Set-Cookie: a=b\r\nContent-Length: %d\r\n\r\n" % len(TOKEN) + TOKEN
    with Server(lambda request: [answer if request.startswith(b"PUT") else plain(b"ok")]) as server:
        ask(server)

    assert b"ookie" not in b"".join(server.requests)


# Nothing is left behind


#: In a process of its own, where no other test's threads and sockets come and go.
LEFT = """
import os, threading
from ec2ident import Imds, ImdsError

def ask():
    try:
        Imds(0.3, endpoints={endpoint!r}).get("meta-data/x")
    except ImdsError:
        pass

def left():
    return threading.active_count(), len(os.listdir("/proc/self/fd"))

ask()  # what is imported and opened once
before = left()
ask()
ask()
print(before == left() or (before, left()))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc, to count open descriptors")
@pytest.mark.parametrize(
    "script",
    [
        at_the_item(lambda _: [plain(b"ok")]),
        at_the_item(lambda _: [HEAD + b"\r\n", *([b"x" * 4096] * 100)]),
        at_the_item(lambda _: [b"garbage\r\n\r\n"]),
        lambda _: dripping(b"HTTP/1.1 200 " + b"O" * 1000),
        lambda _: [1.0],
    ],
    ids=["answer", "flood", "garbage", "drip", "silence"],
)
def test_no_thread_and_no_socket_is_left(script: Script) -> None:
    """No watchdog that outlives its call: the deadline needs none."""
    with Server(script) as server:
        assert ["True"] == run(LEFT.format(endpoint=server.endpoint))


def run(code: str) -> list[str]:
    """The lines that a fresh interpreter prints."""
    top = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(top)}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_no_does_not_import_requests() -> None:
    """On a machine that is not EC2 nothing accepts, and a library that is not needed is not loaded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        code = f"""
import sys
before = set(sys.modules)
from ec2ident.errors import ImdsError
from ec2ident.imds.client import Imds
try:
    Imds(endpoints="http://127.0.0.1:{free.getsockname()[1]}").get("meta-data/x")
except ImdsError as error:
    print(error.reason)
heavy = {{"requests", "urllib3", "ssl", "http", "email", "socket", "typing", "dataclasses", "random", "ipaddress"}}
print(*sorted(heavy & (set(sys.modules) - before)))
"""
        assert ["refused"] == run(code)
