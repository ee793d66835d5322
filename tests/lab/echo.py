"""A UDP echo service that answers from the address it was asked at, and the question whether an address answers.

The answer's source is what policy routing is about: a service bound to the wildcard address that did not care would
answer from whatever address the route prefers. Echo is RFC 862; IP_PKTINFO is in ip(7), IPV6_PKTINFO in RFC 3542.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .namespace import Namespace

PORT = 7
#: Seconds after which an unanswered question is sent again: a busy machine loses or delays one, and a kernel drops what
#: waits too long for a neighbour's address.
AGAIN = 0.25

_IP_PKTINFO = 8
#: SO_RCVBUFFORCE, socket(7): root may go beyond the limit of net.core.rmem_max.
_RECEIVE_BUFFER_FORCE = 33
_ANCILLARY_SIZE = 256


class Echo:
    """The service, in a thread, inside a namespace; it answers at every address, also those that come later."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.entered():
            self._sockets = listeners()
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=f"echo {namespace.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering. Twice is fine."""
        if self._sockets:
            self._stopped.close()
            self._thread.join()
            for each in (self._stop, *self._sockets):
                each.close()
            self._sockets = []

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._stop, *self._sockets], [], [])
            if self._stop in ready:
                return
            for each in ready:
                answer(each)


def ask(namespace: Namespace, address: str, *, source: str | None = None, timeout: float = 2.0) -> bool:
    """Whether the echo service at an address answers, from that very address, within `timeout` seconds."""
    return heard(namespace, address, source=source, timeout=timeout) == b""


def heard(namespace: Namespace, address: str, *, source: str | None = None, timeout: float = 2.0) -> bytes | None:
    """What the service adds to its answer; None if there is no answer from that very address in time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with namespace.entered():
        asking = socket.socket(family, socket.SOCK_DGRAM)
    with asking:
        question = os.urandom(16)
        try:
            if source:
                asking.bind((source, 0))
            # Connected: the kernel then passes on what comes from the address that was asked, and nothing else.
            asking.connect((address, PORT))
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0:
                asking.send(question)
                if select.select([asking], [], [], min(AGAIN, left))[0]:
                    said = asking.recv(64)
                    return said[len(question) :] if said.startswith(question) else None
        except OSError:  # no route, or an ICMP error: no answer, either of them
            pass
        return None


def listeners() -> list[socket.socket]:
    """The service's sockets, one for each family, in the namespace of the calling thread."""
    return [_listen(socket.AF_INET, "0.0.0.0"), _listen(socket.AF_INET6, "::")]


def wait_long(asked: socket.socket) -> None:
    """Give a socket room for what comes while a busy machine does not run this process for tenths of a second."""
    try:
        asked.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, 1 << 22)
    except PermissionError:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)


def _listen(family: int, address: str) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        listening.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    wait_long(listening)
    listening.bind((address, PORT))
    return listening


def answer(listening: socket.socket, more: bytes = b"") -> None:
    """Answer one question with itself, and with `more`."""
    question, ancillary, _, sender = listening.recvmsg(2048, _ANCILLARY_SIZE)
    try:
        listening.sendmsg([question, more], [_from_destination(*item) for item in ancillary], 0, sender)
    except OSError:
        # No route back, or the address went away in between: no answer is heard, as on a real node.
        return


def _from_destination(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Packet information for the answer: its source is the question's destination, its device the routing's choice."""
    if level == socket.IPPROTO_IPV6:  # struct in6_pktinfo: address, interface index
        return level, kind, data[:16] + struct.pack("=I", 0)
    # struct in_pktinfo: interface index, local address to send from, destination address of the header
    return level, kind, struct.pack("=I", 0) + data[8:12] + bytes(4)
