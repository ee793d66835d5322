"""Servers that misbehave: one that never accepts, one that says nothing, one that drips, one that breaks off."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def full() -> Iterator[str]:
    """A listener with a full queue: connect() hangs, as it does behind a firewall that drops."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        queued = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            queued.append(client)
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for client in queued:
                client.close()


@contextmanager
def serving(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A listener that gives each connection to `answer`, with an event that is set at the end."""
    over = threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)

        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    _request(connection)
                    answer(connection, over)
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(2)


def _request(connection: socket.socket) -> bytes:
    """One request, to its last byte; nothing at the end of the connection."""
    with connection.makefile("rb") as stream:
        head, length = b"", 0
        for line in stream:
            head += line
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
            if line == b"\r\n":
                return head + stream.read(length)
    return b""


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait(60)


def dripping(head: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """`head` at once, and then a byte every 50 ms, for ever."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head)
        while not over.wait(0.05):
            connection.sendall(b"x")

    return answer


def saying(data: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """These bytes, and the end."""
    return lambda connection, over: connection.sendall(data)


def flooding(connection: socket.socket, over: threading.Event) -> None:
    """An answer without end, as fast as it goes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<a>")
    chunk = b"<b>x</b>" * 8192
    while not over.is_set():
        connection.sendall(chunk)


def keeping(data: bytes, times: int, seen: list[int]) -> Callable[[socket.socket, threading.Event], None]:
    """The same answer to so many requests on one connection, which is then closed; `seen` counts them."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        for number in range(1, times + 1):
            seen.append(number)
            connection.sendall(data)
            if number == times or not _request(connection):
                return

    return answer
