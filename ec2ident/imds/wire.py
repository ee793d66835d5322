"""What one HTTP exchange runs over: a connected socket with one deadline and one limit of bytes over all of it.

The time-outs of HTTP libraries are for one recv(): a server that sends a byte now and then, in the status line, the
headers or the body, holds its client for ever. So deadline and limit sit where every byte passes: in the socket itself.
"""

from __future__ import annotations

import socket
import time
from http.client import IncompleteRead

from ec2ident.model import Reason
from ec2ident.value import Value

from .connect import NoAnswerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

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

    def time_to_send(self) -> float:
        """Seconds until the deadline. Raises NoAnswerError when it has passed."""
        if self.left <= 0:
            raise NoAnswerError(
                Reason.SLOW, "connected, but the time was over before the request was sent", silent=True
            )
        return self.left


def user_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """These headers, and those of every request."""
    return {"User-Agent": "ec2ident", "Accept": "*/*", **headers}


def answer_of(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> HttpAnswer:
    """The answer, of which up to LARGEST_BODY + 1 bytes were read. Raises NoAnswerError where its length is another."""
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    if len(body) > LARGEST_BODY:
        raise NoAnswerError(Reason.TOO_LARGE, f"the answer has more than {LARGEST_BODY} bytes")
    lengths = {each.strip() for each in found.get("content-length", "").split(",")}
    if len(lengths) > 1:
        raise NoAnswerError(Reason.MALFORMED, f"not an HTTP answer: lengths {', '.join(sorted(lengths))!a}")
    length = lengths.pop()
    if length.isdigit() and "transfer-encoding" not in found and int(length) != len(body):
        raise NoAnswerError(Reason.MALFORMED, f"the answer has {len(body)} bytes (its header says {length})")
    return HttpAnswer(status, found, body)


def failure_of(error: Exception, wire: Wire) -> NoAnswerError:
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
