"""Open a connection to the API: all addresses of a name are raced, through a proxy if there is one, with TLS.

One address that does not answer costs a quarter of a second ("Happy Eyeballs", RFC 8305) and not a whole attempt.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time

from ec2ident_agent.failover.errors import UsageError

from .endpoints import Proxy, host_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Sequence
    from http.client import HTTPConnection
    from typing import Any, Callable

#: Seconds until the next address is tried beside those that have not answered (RFC 8305, 5).
NEXT_ADDRESS = 0.25

#: More addresses than this are not tried.
ADDRESSES = 16


class ProxyError(OSError):
    """The proxy could not open the connection; a later attempt may succeed."""


def open_connection(
    url: str, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext], seconds: float, avoid: Collection[str] = ()
) -> HTTPConnection:
    """A connection to an endpoint that is established, and does not reconnect by itself.

    The time-out of the socket is for one read. `avoid` are addresses to try last. Raises OSError, UsageError for a
    proxy that refuses.
    """
    from http.client import HTTPConnection

    host, port = host_of(url)
    if proxy:
        try:
            connected = race(proxy.host, proxy.port, seconds, avoid)
        except OSError as error:
            raise ProxyError(f"{proxy}: {error.strerror or error}") from None
    else:
        connected = race(host, port, seconds, avoid)
    try:
        if proxy:
            _tunnel(connected, proxy, host, port)
        if url.startswith("https://"):
            connected = tls().wrap_socket(connected, server_hostname=host)
    except BaseException:
        connected.close()
        raise
    # It closes itself after an answer with `Connection: close`; to reconnect it would know neither race nor proxy.
    connection = HTTPConnection(host, port, timeout=seconds)
    connection.sock, connection.auto_open = connected, 0
    return connection


def _tunnel(connected: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """CONNECT (RFC 9110, 9.3.6). The server speaks after the client in TLS, so no byte of it can be read here."""
    from http.client import HTTPException, HTTPResponse

    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if proxy.login:
        import base64

        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(proxy.login.encode()).decode()}")
    connected.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    answer = HTTPResponse(connected, method="CONNECT")
    try:
        answer.begin()
    except HTTPException as error:
        raise ProxyError(f"{proxy}: {type(error).__name__}") from None
    finally:
        answer.close()
    if answer.status == 407:
        raise UsageError(f"{proxy}: asks for a user and a password (407); write http://USER:PASSWORD@HOST:PORT")
    if 400 <= answer.status < 500:
        raise UsageError(f"{proxy}: does not let {where} through ({answer.status}); ask its administrator")
    if answer.status != 200:
        raise ProxyError(f"{proxy}: no connection to {where} ({answer.status})")


def race(host: str, port: int, seconds: float, avoid: Collection[str] = ()) -> socket.socket:
    """Connect to the first address of a name that accepts; each starts a little after the one before it.

    Raises OSError: the last address's, or ETIMEDOUT. The resolution of the name has no time-out of its own.
    """
    waiting = _order(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), avoid)
    until, start = time.monotonic() + seconds, 0.0
    failed: OSError | None = None
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                now = time.monotonic()
                if now >= until:
                    break
                if waiting and (now >= start or not selector.get_map()):
                    start = now + NEXT_ADDRESS
                    failed = _begin(waiting.pop(0), selector) or failed
                    continue
                for key, _ in selector.select(min(until, start if waiting else until) - now):
                    connecting = key.data
                    number = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    selector.unregister(connecting)
                    if not number:
                        connecting.setblocking(True)
                        connecting.settimeout(seconds)
                        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        return connecting  # type: ignore[no-any-return]
                    connecting.close()
                    failed, start = OSError(number, os.strerror(number)), 0.0
        finally:
            for key in [*selector.get_map().values()]:
                key.data.close()
    raise failed or OSError(errno.ETIMEDOUT, f"no answer within {seconds:.1f} s")


def _begin(address: Any, selector: selectors.BaseSelector) -> OSError | None:
    """Begin to connect without waiting; the error if that is impossible."""
    family, kind, protocol, _, where = address
    try:
        connecting = socket.socket(family, kind, protocol)
    except OSError as error:
        return error
    connecting.setblocking(False)
    number = connecting.connect_ex(where)
    if number not in (0, errno.EINPROGRESS):
        connecting.close()
        return OSError(number, os.strerror(number))
    selector.register(connecting, selectors.EVENT_WRITE, connecting)
    return None


def _order(found: Sequence[Any], avoid: Collection[str]) -> list[Any]:
    """The addresses with alternating families, beginning with the resolver's first; those to avoid at the end."""
    first = [each for each in found if each[0] == found[0][0]]
    second = [each for each in found if each[0] != found[0][0]]
    mixed = [each for pair in zip(first, second) for each in pair]
    mixed += first[len(second) :] + second[len(first) :]
    return sorted(mixed[:ADDRESSES], key=lambda each: each[4][0] in avoid)
