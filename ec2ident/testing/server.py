"""The sockets of the service: one thread, one event loop, as many slow connections as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
import sys
import threading

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .behaviour import Reply
    from .wire import WireRequest

    #: Gets a request (None if it is not HTTP) and the address that it came from.
    Respond = Callable[["WireRequest | None", str], Reply]

#: Connections that may be open at one time; what comes above is reset.
MOST_CONNECTIONS = 256

#: How long a client may take to send its request, in seconds.
PATIENCE = 60.0

_POUR = b"x" * 65536


def listeners(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets for every host on one port; port 0 takes a free one. Raises OSError."""
    made: list[socket.socket] = []
    try:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made.append(_listener(family, host, port))
            port = port or made[0].getsockname()[1]
    except OSError:
        for listener in made:
            listener.close()
        raise
    return made


def _listener(family: int, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener


class Server:
    """Serves on listening sockets until it is closed, and closes them then."""

    def __init__(self, sockets: Sequence[socket.socket], respond: Respond) -> None:
        self._sockets = list(sockets)
        self._respond = respond
        # Windows' own default cannot stop accepting and finish what it has accepted.
        self._loop = asyncio.SelectorEventLoop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="ec2ident-testing", daemon=True)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """End every connection and the thread; returns when both are gone."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop ended by itself in between
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        # A signal that the kernel handed to this thread would not wake the main one, which alone acts on signals.
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGALRM})
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()  # made here, because up to Python 3.9 it belongs to the loop that runs now
        servers = [
            await asyncio.start_server(self._connected, sock=one, limit=wire.LARGEST_HEAD) for one in self._sockets
        ]
        self._ready.set()
        await self._stop.wait()
        # Accept no more, then let asyncio finish with what it has accepted: once its server is closed, it drops such a
        # connection without closing the socket.
        for one in self._sockets:
            self._loop.remove_reader(one)
        await asyncio.sleep(0)
        for server in servers:
            server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)  # the transports that were aborted close their sockets in the next turn of the loop

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        task = self._loop.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection is one request: the real service closes after each."""
        source = writer.get_extra_info("peername")[0]
        try:
            request = await asyncio.wait_for(_read(reader, source), PATIENCE)
            reply = self._respond(request, source)
            await _deliver(reply, reader, writer, body=request is None or request.method != "HEAD")
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            pass  # the client left; that is its right, and no request was made
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader, source: str) -> WireRequest | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None
    request = wire.parse(head[:-4], source)
    length = "0" if request is None else request.header("content-length") or "0"
    if not (length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= wire.LARGEST_BODY):
        return None
    await reader.readexactly(int(length))
    return request


async def _deliver(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, body: bool) -> None:
    await asyncio.sleep(reply.delay)
    if reply.response is not None:
        encoded = reply.response.encode(body=body)
        await _send(encoded[: int(len(encoded) * reply.keep)], reply.interval, writer)
    if reply.end == "pour":
        while True:
            writer.write(_POUR)
            await writer.drain()
    if reply.end == "hold":
        while await reader.read(4096):
            pass
    if reply.end == "reset":
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    else:
        await _hang_up(reader, writer)


async def _send(data: bytes, interval: float, writer: asyncio.StreamWriter) -> None:
    if not interval:
        writer.write(data)
        await writer.drain()
        return
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(interval)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close in an orderly way: what the client still sends is read, else the kernel answers it with a reset."""
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        writer.write_eof()
        await asyncio.wait_for(reader.read(wire.LARGEST_BODY), 1.0)
