"""The question to a cluster manager: yes, no and unknown, each within its time."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from ec2ident_agent.failover.leader.question import NO, UNKNOWN, YES, Url, ask, run, url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@contextmanager
def manager(*pieces: bytes, pause: float = 0.0, close: bool = True) -> Iterator[Url]:
    """A server that sends the same to everyone, piece by piece, and then closes, or waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()
        listening.settimeout(30)

        def serve() -> None:
            one, _ = listening.accept()
            with one:
                one.recv(1000)
                for piece in pieces:
                    try:
                        one.sendall(piece)
                    except OSError:
                        return
                    if over.wait(pause):
                        return
                if not close:
                    over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield url(f"http://127.0.0.1:{listening.getsockname()[1]}/primary")
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    ("pieces", "leader"),
    [
        ([b"HTTP/1.0 200 OK\r\n\r\n{}"], YES),
        ([b"HTTP/1.1 200\r\n\r\n"], YES),
        ([b"HTTP/1.0 503 Service Unavailable\r\n\r\n"], NO),
        ([b"HTTP/1.", b"0 50", b"3 Service", b" Unavailable\r\n"], NO),
        # A wrong path, a proxy, a redirect, a credential that is asked for: none of them says who leads.
        ([b"HTTP/1.0 404 Not Found\r\n\r\n"], UNKNOWN),
        ([b"HTTP/1.0 502 Bad Gateway\r\n\r\n"], UNKNOWN),
        ([b"HTTP/1.0 301 Moved\r\nLocation: /leader\r\n\r\n"], UNKNOWN),
        ([b"HTTP/1.0 401 Unauthorized\r\n\r\n"], UNKNOWN),
        ([b"200 OK\r\n\r\n"], UNKNOWN),
        ([b"HTTP/1.0 2000 OK\r\n\r\n"], UNKNOWN),
        ([b"HTTP/2 200\r\n\r\n"], UNKNOWN),
        ([b"HTTP/1.0 200"], UNKNOWN),
        ([b""], UNKNOWN),
        ([b"x" * 100_000], UNKNOWN),
        ([b"HTTP/1.0\r\n"], UNKNOWN),
    ],
)
def test_a_status_of_200_is_yes_and_503_is_no(pieces: Sequence[bytes], leader: str) -> None:
    """As Patroni answers GET /primary; whatever else a server says is unknown."""
    with manager(*pieces) as where:
        assert leader == ask(where, 5).leader


def test_a_server_that_does_not_answer_in_time_is_unknown() -> None:
    """Silent after the connect, or a byte at a time; a long answer cannot make the time longer."""
    for pieces, pause in (([], 0.0), ([b"H", *[b"x"] * 200], 0.1)):
        with manager(*pieces, pause=pause, close=False) as where:
            began = time.monotonic()
            answer = ask(where, 0.3)
            assert (UNKNOWN, True) == (answer.leader, time.monotonic() - began >= 0.25)
            assert "in time" in answer.reason or "timed out" in answer.reason


def test_a_closed_port_is_unknown_and_named() -> None:
    """The manager is down: that says nothing of who leads."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    answer = ask(url(f"http://127.0.0.1:{port}/primary"), 5)
    assert UNKNOWN == answer.leader
    assert f"127.0.0.1:{port}: " in answer.reason


def test_a_server_without_tls_is_unknown_to_https() -> None:
    """Plain text is never taken for an answer of a server that was to prove its name."""
    with manager(b"HTTP/1.0 200 OK\r\n\r\n") as where:
        assert UNKNOWN == ask(Url(True, where.host, where.port, where.path), 5).leader


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://127.0.0.1:8008/primary", (False, "127.0.0.1", 8008, "/primary")),
        ("http://localhost:8008/leader?lag=1MB", (False, "127.0.0.1", 8008, "/leader?lag=1MB")),
        ("https://[fd00::5]:8008/", (True, "fd00::5", 8008, "/")),
        ("https://[fd00::5]", (True, "fd00::5", 443, "/")),
        ("http://10.0.0.11", (False, "10.0.0.11", 80, "/")),
    ],
)
def test_what_a_url_is(text: str, parts: tuple[bool, str, int, str]) -> None:
    """Scheme, address, port and path; localhost is IPv4's."""
    assert Url(*parts) == url(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("127.0.0.1:8008/primary", "is not http"),
        ("ftp://127.0.0.1/primary", "is not http"),
        ("http:///primary", "is not http"),
        ("http://db.example.com:8008/primary", "no deadline"),
        ("http://user:secret@127.0.0.1:8008/", "is not an address"),
        ("http://127.0.0.1:0/", "port"),
        ("http://127.0.0.1:99999/", "port"),
        ("http://127.0.0.1:8008/a b", "path"),
        ("http://127.0.0.1:8008/a\r\nX: y", "path"),
        ("http://127.0.0.1:8008/ä", "path"),
    ],
)
def test_a_wrong_url_is_refused(text: str, said: str) -> None:
    """A name would be resolved without a deadline, so it is refused too."""
    with pytest.raises(ValueError, match=said):
        url(text)


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_a_command_says_yes_by_0_and_no_by_1(tmp_path: Path) -> None:
    """Any other exit code, a signal, and a program that is missing are unknown, and named."""
    assert YES == run(python("print('noise')"), 30).leader
    assert NO == run(python("raise SystemExit(1)"), 30).leader
    assert "exit code 7" in run(python("raise SystemExit(7)"), 30).reason
    assert "exit code -9" in run(python("import os; os.kill(os.getpid(), 9)"), 30).reason
    missing = run((str(tmp_path / "none"),), 30)
    assert (UNKNOWN, True) == (missing.leader, "No such file" in missing.reason)


def test_a_command_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    """In its time; nothing that it started goes on."""
    sign = tmp_path / "sign"
    answer = run(("sh", "-c", f"(sleep 3; touch {sign}) & sleep 600"), 0.5)
    assert UNKNOWN == answer.leader
    assert "in time" in answer.reason
    time.sleep(3.5)
    assert not sign.exists()
