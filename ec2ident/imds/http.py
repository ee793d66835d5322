"""One HTTP request and its answer through requests, with one deadline and one limit of bytes over all of it.

The time-out of requests is for one recv(): a server that sends a byte now and then, in the status line, the headers or
the body, holds its client for ever. So the deadline and the limit sit where every byte passes: in the socket itself.
The connection is made by the caller to a literal address, and requests is given the connected socket. So there is no
name to resolve, no proxy and no redirect to follow: nothing of the environment can send a token elsewhere.

This is the only module that imports requests, and it is imported when something has accepted a connection.
"""

from __future__ import annotations

import socket
import time
from http.client import IncompleteRead

import requests.adapters
import urllib3

from ec2ident.model import Reason
from ec2ident.value import Value

from .connect import NoAnswerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from requests.models import PreparedRequest, Response

#: The largest body, in bytes. User data, the largest item of the metadata service, has at most 16 KiB.
LARGEST_BODY = 32 * 1024
#: The largest answer with its headers. http.client gives up on a line at 64 KiB, so this limit is hit first.
LARGEST_ANSWER = LARGEST_BODY + 16 * 1024


class HttpAnswer(Value):
    """Status, headers (names in lower case) and body, as they came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire(socket.socket):
    """A connected socket that reads at most LARGEST_ANSWER bytes, and none after its deadline."""

    def __init__(self, fileno: int, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(fileno=fileno)
        self._deadline = deadline
        self._clock = clock
        self.received = 0
        self.late = False
        self.reset = False

    @property
    def left(self) -> float:
        """Seconds until the deadline; below zero after it."""
        return self._deadline - self._clock()

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Every read of http.client ends here."""
        left = self.left
        self.late = left <= 0
        if self.late or self.received > LARGEST_ANSWER:
            raise socket.timeout("deadline" if self.late else "too large")
        self.settimeout(left)
        try:
            count = super().recv_into(buffer, nbytes, flags)
        except socket.timeout:
            self.late = True
            raise
        except ConnectionResetError:
            self.reset = True
            raise
        self.received += count
        return count


def exchange(wire: Wire, method: str, url: str, headers: Mapping[str, str]) -> HttpAnswer:
    """Send one request over a connected wire, read the whole answer, close. Raises NoAnswerError."""
    request = requests.Request(method, url, headers={"User-Agent": "ec2ident", "Accept": "*/*", **headers}).prepare()
    adapter = _Adapter(wire)
    try:
        return _read(_sent(adapter, request, wire))
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        failure = _failure(error, wire)
    finally:
        adapter.close()
        wire.close()
    # Raised out here, so that it does not carry the foreign error, which holds the request, which holds the token.
    raise failure


class _Adapter(requests.adapters.HTTPAdapter):
    """Speaks over the one wire that it is given, and never connects by itself."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        wire = self._wire

        class Pool(urllib3.HTTPConnectionPool):
            def _new_conn(self) -> Any:
                connection: Any = super()._new_conn()
                connection.sock, connection.auto_open = wire, 0
                return connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


def _sent(adapter: _Adapter, request: PreparedRequest, wire: Wire) -> Response:
    if wire.left <= 0:
        raise NoAnswerError(Reason.SLOW, "connected, but the time was over before the request was sent", silent=True)
    return adapter.send(request, stream=True, timeout=wire.left)


def _read(response: Response) -> HttpAnswer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    with response:
        # As it came: an answer that is compressed was not asked for, and may be a bomb.
        body = response.raw.read(LARGEST_BODY + 1, decode_content=False)
    if len(body) > LARGEST_BODY:
        raise NoAnswerError(Reason.TOO_LARGE, f"the answer has more than {LARGEST_BODY} bytes")
    length = headers.get("content-length", "")
    if length.isdigit() and "transfer-encoding" not in headers and int(length) != len(body):
        raise NoAnswerError(Reason.MALFORMED, f"the answer has {len(body)} bytes (its header says {length})")
    return HttpAnswer(response.status_code, headers, body)


def _failure(error: Exception, wire: Wire) -> NoAnswerError:
    """What went wrong, told by what the wire saw: the texts and the nesting of the foreign errors change."""
    silent = wire.received == 0
    if wire.late:
        return NoAnswerError(Reason.SLOW, f"{'no' if silent else 'only a part of an'} answer in time", silent=silent)
    if wire.received > LARGEST_ANSWER or "got more than" in str(error):  # http.client's limit of header lines
        return NoAnswerError(Reason.TOO_LARGE, f"more than {LARGEST_ANSWER} bytes or 100 headers")
    if silent and wire.reset:
        return NoAnswerError(Reason.MALFORMED, "the connection was reset instead of an answer", silent=True)
    if silent:
        return NoAnswerError(Reason.MALFORMED, "the connection was closed without an answer")
    cause = _innermost(error)
    if isinstance(cause, IncompleteRead):
        return NoAnswerError(Reason.MALFORMED, "the answer is not as long as it says")
    return NoAnswerError(Reason.MALFORMED, f"not an HTTP answer: {_short(cause)}")


def _innermost(error: BaseException) -> BaseException:
    """What went wrong first: requests and urllib3 wrap it, each as the last argument of its own error."""
    while error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    return error


def _short(error: BaseException) -> str:
    text = ascii(str(error).strip())
    return text if len(text) < 120 else f"{text[:117]}..."
