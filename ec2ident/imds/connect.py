"""Can the metadata service be reached at all? Connects over IPv4 and IPv6 at once, without importing anything.

On a machine that is not EC2 this is the last thing that happens, so it must cost next to nothing: connect() without
blocking, one wait for whichever is first, and the kernel's own word for why it did not work.
"""

from __future__ import annotations

import _socket  # socket without the enumerations that importing it builds, which would be half of the cost of a "no"
import errno
import select
import time

from ec2ident import standin
from ec2ident.model import Reason
from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class NoAnswerError(Exception):
    """Why no usable answer came: a reason and the details. The client turns it into an ImdsError that says what to do.

    `silent` says that a request was sent and that not one byte came back. `advice` is what to do; empty stands for the
    usual advice of the reason.
    """

    def __init__(self, reason: Reason, detail: str, *, silent: bool = False, advice: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.silent = silent
        self.advice = advice


class Endpoint(Value):
    """Where a metadata service listens: a literal address (a name would have to be resolved) and a port."""

    address: str
    port: int = 80

    def __post_init__(self) -> None:
        try:
            _socket.inet_pton(self.family, self.address)
        except OSError:
            raise ValueError(f"endpoint: {self.address!r} is not a literal address; names are not resolved") from None
        if not 0 < self.port < 65536:
            raise ValueError(f"endpoint: {self.port} is not a port number")

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """An endpoint from `http://ADDRESS[:PORT]`, an IPv6 address in brackets. Raises ValueError."""
        import re

        form = r"http://(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?/?"
        match = re.fullmatch(form, url) if isinstance(url, str) else None
        if match is None:
            raise ValueError(f"endpoint: {url!r} is not http://ADDRESS[:PORT] with a literal address; give that")
        return cls(match[1] or match[2], int(match[3] or 80))

    @property
    def family(self) -> int:
        """The address family, as the socket module counts them."""
        return _socket.AF_INET6 if ":" in self.address else _socket.AF_INET

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}" if self.port == 80 else f"http://{host}:{self.port}"


#: EC2's metadata service ("Access instance metadata for an EC2 instance").
METADATA_IPV4 = Endpoint("169.254.169.254")
METADATA_IPV6 = Endpoint("fd00:ec2::254")

#: What the kernel says when it knows no way, or when a local rule forbids it (blackhole, prohibit, a filter). Windows
#: has numbers of its own for sockets, and Python's `errno` has the WSA names for those that it does not translate.
_NO_ROUTE = frozenset(
    getattr(errno, name)
    for name in (
        *("ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EHOSTDOWN", "EADDRNOTAVAIL"),
        *("EAFNOSUPPORT", "EACCES", "EPERM", "EINVAL", "WSAEACCES", "WSAEINVAL"),
    )
    if hasattr(errno, name)
)
_WRITABLE: int = getattr(select, "POLLOUT", 0)  # Windows has no poll(), so no name for it either
#: A connect() that is under way. Windows calls it EWOULDBLOCK.
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})

#: When the endpoints failed for different reasons, the one that leaves most open is the answer.
_MOST_OPEN_FIRST = (Reason.TIMEOUT, Reason.REFUSED, Reason.NO_ROUTE)


def race(
    endpoints: Sequence[Endpoint], seconds: float, clock: Callable[[], float] = time.monotonic
) -> tuple[Endpoint, _socket.socket]:
    """Connect to all endpoints at once and return the first that accepts, with its socket, which is non-blocking.

    Raises NoAnswerError with NO_ROUTE, REFUSED or TIMEOUT when none did within `seconds`.
    """
    until = clock() + seconds
    pending: dict[int, tuple[Endpoint, _socket.socket]] = {}
    failed: dict[Endpoint, int] = {}
    try:
        for endpoint in endpoints:
            _start(endpoint, pending, failed)
        while pending:
            ready = _wait(list(pending), max(0.0, until - clock()))
            if not ready:
                break
            for number in ready:
                endpoint, connection = pending.pop(number)
                error = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
                if not error:
                    return endpoint, connection
                connection.close()
                failed[endpoint] = error
        failed.update({endpoint: errno.ETIMEDOUT for endpoint, _ in pending.values()})
    finally:
        for _, connection in pending.values():
            connection.close()
    raise _failure(failed, seconds)


def _start(
    endpoint: Endpoint, pending: dict[int, tuple[Endpoint, _socket.socket]], failed: dict[Endpoint, int]
) -> None:
    target = endpoint if standin.dial is None else standin.dial(endpoint)
    if target is None:
        failed[endpoint] = errno.EHOSTUNREACH
        return
    try:
        connection = _socket.socket(target.family, _socket.SOCK_STREAM)
    except OSError as error:  # a kernel without this family
        failed[endpoint] = error.errno or errno.EAFNOSUPPORT
        return
    connection.setblocking(False)
    error_number = connection.connect_ex((target.address, target.port))
    if error_number and error_number not in _UNDER_WAY:
        connection.close()
        failed[endpoint] = error_number
    else:
        pending[connection.fileno()] = (endpoint, connection)


def _wait(numbers: list[int], seconds: float) -> list[int]:
    """The sockets on which connect() has ended, in success or failure; none when the time is over."""
    if hasattr(select, "poll"):
        poll = select.poll()
        for number in numbers:
            poll.register(number, _WRITABLE)
        # Rounded up: a wait of less than a millisecond would be a busy loop.
        return sorted((number for number, _ in poll.poll(int(seconds * 1000) + 1)), key=numbers.index)
    _, done, broken = select.select([], numbers, numbers, seconds)  # Windows reports failure as the third kind
    return [number for number in numbers if number in done or number in broken]


def _failure(failed: dict[Endpoint, int], seconds: float) -> NoAnswerError:
    reasons = {_reason(number) for number in failed.values()}
    where: dict[str, list[str]] = {}
    for endpoint, number in failed.items():
        where.setdefault(_words(number, seconds), []).append(str(endpoint))
    details = ", ".join(f"{words} ({', '.join(several)})" for words, several in where.items())
    return NoAnswerError(next(reason for reason in _MOST_OPEN_FIRST if reason in reasons), details)


def _reason(number: int) -> Reason:
    if number in _NO_ROUTE:
        return Reason.NO_ROUTE
    return Reason.TIMEOUT if number == errno.ETIMEDOUT else Reason.REFUSED


def _words(number: int, seconds: float) -> str:
    import os

    if number == errno.ETIMEDOUT:
        return f"no answer within {seconds:.3g} s"
    return windows_words(number) if os.name == "nt" else os.strerror(number).lower()


def windows_words(number: int, format_error: Callable[[int], str] | None = None) -> str:
    """What Windows calls a WSA error number: `strerror` of the C library knows none of them.

    `format_error` is `ctypes.FormatError`, which exists on Windows alone. Where Windows has no text, the number's name.
    """
    if format_error is None:
        import ctypes

        format_error = getattr(ctypes, "FormatError")  # noqa: B009  the type checker looks at another system
    words = format_error(number).strip().rstrip(".")
    return errno.errorcode.get(number, f"error {number}") if not words or words.startswith("<") else words
