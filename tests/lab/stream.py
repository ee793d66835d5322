"""A steady stream of questions to the echo service, to count how many remain without an answer."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

from .echo import PORT, wait_long

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .namespace import Namespace

#: Seconds between two questions, and the time that the last answers have.
PACE, LAST = 0.0005, 2.0


class Stream:
    """Ask an address every half millisecond while the `with` block lasts; `lost` is known after it."""

    def __init__(self, namespace: Namespace, address: str, *, source: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with namespace.entered():
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        wait_long(self._socket)
        self._socket.bind((source, 0))
        # Connected: an answer from another address does not count.
        self._socket.connect((address, PORT))
        self._answered: set[int] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"stream {address}", daemon=True)
        #: How many questions were asked.
        self.sent = 0

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        self._socket.close()

    @property
    def lost(self) -> int:
        """How many questions remained without an answer."""
        return self.sent - len(self._answered)

    def _run(self) -> None:
        while not self._end.is_set():
            self._socket.send(struct.pack("!Q", self.sent))
            self.sent += 1
            self._read(PACE)
        deadline = time.monotonic() + LAST
        while self.lost and time.monotonic() < deadline:
            self._read(0.05)

    def _read(self, patience: float) -> None:
        while select.select([self._socket], [], [], patience)[0]:
            try:
                self._answered.add(struct.unpack("!Q", self._socket.recv(64))[0])
            except OSError:  # An ICMP error does not count as an answer.
                return
            patience = 0
