"""A client that asks a thousand times a second, and what it saw.

    python -m tests.failover.region.load ADDRESS|NAME [--resolver ADDRESS] [--rate N]

It runs in the client's namespace until its standard input ends, and then prints one JSON object. A name is resolved as
applications resolve it: the answer is used until its time to live is over, and then asked for again.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.lab.echo import PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Where = Callable[..., list[str]]

TOP = Path(__file__).resolve().parents[3]

#: Seconds after which a request without an answer is lost.
LOST = 1.0


class Request(NamedTuple):
    """A request: when it was sent (monotonic seconds), when its answer came (0: never), and who answered."""

    sent: float
    answered: float
    node: str


class Seen:
    """All requests of one client, in order."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests

    def lost(self, since: float) -> int:
        """How many of the requests since then got no answer in time."""
        return sum(not each.answered for each in self.requests if each.sent >= since)

    def silence(self, since: float) -> float:
        """The longest time from then on in which no request was answered, in seconds; infinite up to the end."""
        longest, last = 0.0, since
        for each in self.requests:
            if each.sent >= since and each.answered:
                longest, last = max(longest, each.sent - last), each.sent
        late = [each for each in self.requests if each.sent >= since]
        return longest if not late or late[-1].answered else float("inf")

    def first(self, since: float) -> float:
        """Seconds from then to the first answer after the first lost request; 0 if none is lost."""
        waiting = False
        for each in self.requests:
            if each.sent >= since:
                waiting = waiting or not each.answered
                if waiting and each.answered:
                    return each.sent - since
        return float("inf") if waiting else 0.0

    def owner(self) -> str:
        """The node that answered last."""
        return next((each.node for each in reversed(self.requests) if each.answered), "none")


class Load:
    """The client, while the `with` block lasts; `seen` is there afterwards.

    `where` turns a command into the one that runs it in the client's namespace.
    """

    def __init__(self, where: Where, target: str, *, resolver: str = "", rate: int = 1000) -> None:
        command = [sys.executable, "-B", "-m", "tests.failover.region.load", target, "--rate", str(rate)]
        self._command = where(*command, *(["--resolver", resolver] if resolver else []))
        self.seen = Seen(())

    def __enter__(self) -> Load:
        environ = {**os.environ, "PYTHONPATH": str(TOP)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(self._command, text=True, env=environ, **pipes)  # type: ignore[call-overload]
        said = self._process.stdout.readline()
        assert said == "ready\n", said
        return self

    def __exit__(self, *_: object) -> None:
        said, _said = self._process.communicate(timeout=60)
        self.seen = Seen([Request(*each) for each in json.loads(said)])


def main() -> None:
    """Ask until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", metavar="ADDRESS|NAME")
    parser.add_argument("--resolver", metavar="ADDRESS")
    parser.add_argument("--rate", type=int, default=1000, metavar="N", help="requests a second; default %(default)s")
    options = parser.parse_args()
    name = Name(options.target, options.resolver) if options.resolver else None
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    found = _ask(options.target, name, options.rate)
    sys.stdout.write(json.dumps(found))


class Name:
    """A name's address, by a stub resolver with a cache. A question that waits for its answer delays no request."""

    #: Seconds before a question without an answer is asked again.
    AGAIN = 0.5

    def __init__(self, name: str, resolver: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((resolver, 53))
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        self._question = labels + b"\0" + struct.pack(">2H", 1, 1)
        self._number = 0
        self.address, self.until, self._asked = "", 0.0, 0.0

    def refresh(self, now: float) -> None:
        """Ask if the time to live is over."""
        if now >= self.until and now - self._asked >= self.AGAIN:
            self._number, self._asked = self._number + 1, now
            self.socket.send(struct.pack(">6H", self._number, 0x0100, 1, 0, 0, 0) + self._question)

    def hear(self, now: float) -> None:
        """Take an answer with one address (as the lab's resolver gives it); an older one is passed over."""
        said = self.socket.recv(512)
        end = 12 + len(self._question)
        if struct.unpack_from(">H", said)[0] == self._number and struct.unpack_from(">H", said, 6)[0]:
            ttl = struct.unpack_from(">I", said, end + 6)[0]
            self.address, self.until = socket.inet_ntoa(said[end + 12 : end + 16]), now + ttl


def _ask(target: str, name: Name | None, rate: int) -> list[Request]:
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sockets = [asking, sys.stdin, *([name.socket] if name else [])]
    sent: list[tuple[float, str]] = []
    answers: dict[int, tuple[float, str]] = {}
    began = time.monotonic()
    over = float("inf")
    while True:
        now = time.monotonic()
        if now >= over:
            break
        # One that is late sends what it missed, so that the rate is what it says.
        while over == float("inf") and began + len(sent) / rate <= now:
            address = target
            if name:
                name.refresh(now)
                address = name.address
            sent.append((time.monotonic(), address))
            if address:
                try:
                    asking.sendto(struct.pack(">Q", len(sent) - 1), (address, PORT))
                except OSError:  # no route: lost
                    continue
        wait = (over if over < float("inf") else began + len(sent) / rate) - time.monotonic()
        ready = select.select(sockets, [], [], max(0.0, wait))[0]
        now = time.monotonic()
        if asking in ready:
            said, (source, _) = asking.recvfrom(64)
            number = struct.unpack_from(">Q", said)[0]
            # From the very address that was asked, and in time.
            if source == sent[number][1] and now - sent[number][0] < LOST:
                answers[number] = (now, said[8:].decode())
        if name and name.socket in ready:
            name.hear(now)
        if sys.stdin in ready and over == float("inf"):
            # What is on its way still counts.
            over, sockets = now + LOST, [each for each in sockets if each is not sys.stdin]
    return [Request(when, *answers.get(number, (0.0, ""))) for number, (when, _) in enumerate(sent)]


if __name__ == "__main__":
    main()
