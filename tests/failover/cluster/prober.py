"""Who answers for an address, asked from outside twenty times a second: a neighbour's question to all (RFC 826)."""

from __future__ import annotations

import socket
import struct
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.namespace import Namespace

#: From <linux/if_ether.h>.
ETH_P_ARP = 0x0806
REQUEST, REPLY = 1, 2
#: Ethernet header; then hardware, protocol, their lengths, operation, sender's and target's MAC and address.
FRAME = "!6s6sH HHBBH 6s4s6s4s"
BROADCAST = b"\xff" * 6


class Prober(threading.Thread):
    """Asks while the `with` block lasts. `names` maps MAC addresses in lower case to those who have them.

    Each question has a sender's address of its own out of a hundred, to which the answer goes: so it is known which
    question was answered, however late this thread sees it. Two who answer one question hold the address at once.
    """

    EVERY = 0.05
    ROUND = 100

    def __init__(self, outside: Namespace, device: str, address: str, names: Mapping[bytes, str]) -> None:
        super().__init__(daemon=True)
        self.address, self.names = socket.inet_aton(address), names
        with outside.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
        self._socket.bind((device, ETH_P_ARP))
        self._socket.settimeout(self.EVERY)
        self._mac = self._socket.getsockname()[4]
        self._over = threading.Event()
        self._asked: dict[int, tuple[float, set[str]]] = {}
        #: When more than one answered, and who.
        self.twice: list[tuple[float, frozenset[str]]] = []
        #: When a question that was answered was asked.
        self.answered: list[float] = []

    def __enter__(self) -> Prober:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._socket.close()

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            number = (number + 1) % self.ROUND
            self._ask(number)
            until = time.monotonic() + self.EVERY
            while time.monotonic() < until:
                self._hear()

    def _ask(self, number: int) -> None:
        self._asked[number] = (time.monotonic(), set())
        sender = socket.inet_aton(f"10.99.0.{100 + number}")
        ethernet = (BROADCAST, self._mac, ETH_P_ARP)
        question = (1, 0x0800, 6, 4, REQUEST, self._mac, sender, bytes(6), self.address)
        self._socket.send(struct.pack(FRAME, *ethernet, *question))

    def _hear(self) -> None:
        try:
            frame = self._socket.recv(2048)
        except (TimeoutError, socket.timeout):  # one class only from Python 3.10 on
            return
        if len(frame) < struct.calcsize(FRAME):
            return
        found = struct.unpack_from(FRAME, frame)
        operation, mac, about, asker = found[7], found[8], found[9], found[11]
        if operation != REPLY or about != self.address or asker[3] - 100 not in self._asked:
            return
        when, who = self._asked[asker[3] - 100]
        if not who:
            self.answered.append(when)
        who.add(self.names.get(mac, mac.hex()))
        if len(who) > 1:
            self.twice.append((when, frozenset(who)))

    def silence(self, since: float) -> float:
        """The longest time without an answer since then, in seconds, up to the last answer."""
        times = [since, *(when for when in self.answered if when >= since)]
        return max((after - before for before, after in zip(times, times[1:])), default=0.0)
