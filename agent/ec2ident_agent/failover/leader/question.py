"""Is this node the leader? One question to the cluster manager: a GET of Patroni's REST API, or a command.

Yes, no and unknown are three answers. Every question ends within the seconds that the caller gives it.
"""

from __future__ import annotations

import os
import time

from ec2ident.value import Value
from ec2ident_agent.failover import bounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

YES, NO, UNKNOWN = "yes", "no", "unknown"

#: The longest status line that is read, in bytes.
_LINE = 256


class LeaderAnswer(Value):
    """The answer, and why it is unknown."""

    leader: str
    reason: str = ""


class Url(Value):
    """`http(s)://ADDRESS[:PORT]/PATH`, in its parts. The host is an address: a name's resolution has no deadline."""

    tls: bool
    host: str
    port: int
    path: str


def url(text: str) -> Url:
    """Raises ValueError with what is wrong."""
    scheme, slashes, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme not in ("http", "https") or not slashes or not authority:
        raise ValueError("is not http://ADDRESS:PORT/PATH")
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, "443" if scheme == "https" else "80"
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bare = "127.0.0.1" if bare == "localhost" else bare
    if not _is_address(bare):
        raise ValueError(f"{host!r} is not an address: the resolution of a name has no deadline")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"port {port!r} is not from 1 to 65535")
    if not all("!" <= each <= "~" for each in path):
        raise ValueError("the path has a character that a URL has not")
    return Url(scheme == "https", bare, int(port), f"{slash or '/'}{path}")


def _is_address(text: str) -> bool:
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        return bool(inet_pton(AF_INET6 if ":" in text else AF_INET, text))
    except OSError:
        return False


def ask(where: Url, seconds: float, ca: str = "") -> LeaderAnswer:
    """GET: 200 is yes, and 503 is no, as in Patroni's REST API. Everything else is unknown; nothing is raised."""
    until = time.monotonic() + seconds
    try:
        status = _status(where, until, ca)
    except (OSError, ValueError) as error:
        return LeaderAnswer(UNKNOWN, f"{where.host}:{where.port}: {error or type(error).__name__}")
    known = {200: YES, 503: NO}
    return (
        LeaderAnswer(known[status]) if status in known else LeaderAnswer(UNKNOWN, f"{where.path}: HTTP status {status}")
    )


def _status(where: Url, until: float, ca: str) -> int:
    """The status of one answer. Raises OSError, ValueError."""
    from socket import create_connection

    with create_connection((where.host, where.port), _left(until)) as plain:
        connection = _encrypted(plain, where.host, ca, until) if where.tls else plain
        host = f"[{where.host}]" if ":" in where.host else where.host
        connection.settimeout(_left(until))
        connection.sendall(f"GET {where.path} HTTP/1.0\r\nHost: {host}:{where.port}\r\n\r\n".encode("ascii"))
        line = b""
        while b"\n" not in line:
            connection.settimeout(_left(until))
            more = connection.recv(_LINE)
            if not more or len(line) > _LINE:
                raise ValueError("no HTTP answer")
            line += more
    words = line.split(b"\n")[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not (words[1].isdigit() and len(words[1]) == 3):
        raise ValueError("no HTTP answer")
    return int(words[1])


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _encrypted(plain: socket, host: str, ca: str, until: float) -> socket:
    from ssl import create_default_context

    plain.settimeout(_left(until))
    return create_default_context(cafile=ca or None).wrap_socket(plain, server_hostname=host)


def run(command: tuple[str, ...], seconds: float, *, spawn: Callable[..., int] = os.posix_spawnp) -> LeaderAnswer:
    """A command: exit code 0 is yes, and 1 is no. Another one, and none in time, are unknown; nothing is raised.

    All processes that it started in its group are ended with it.
    """
    ended = bounded.run(command, os.environ, seconds, spawn=spawn)
    if ended.code is None:
        return LeaderAnswer(UNKNOWN, ended.reason)
    known = {0: YES, 1: NO}
    if ended.code in known:
        return LeaderAnswer(known[ended.code])
    return LeaderAnswer(UNKNOWN, f"{command[0]}: exit code {ended.code}")
