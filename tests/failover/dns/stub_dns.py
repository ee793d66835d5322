"""A DNS server that answers A and AAAA from a table which a test may change: UDP and TCP, NXDOMAIN for all else."""

from __future__ import annotations

import argparse
import json
import socket
import socketserver
import struct
import threading
from contextlib import contextmanager
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Table = Mapping[str, Sequence[str]]

KINDS = {1: socket.AF_INET, 28: socket.AF_INET6}


def answer(query: bytes, table: Table, ttl: int) -> bytes:
    """`table` maps a name to its addresses, of both families."""
    labels, offset = [], 12
    while query[offset]:
        labels.append(query[offset + 1 : offset + 1 + query[offset]].decode())
        offset += 1 + query[offset]
    kind = struct.unpack_from(">H", query, offset + 1)[0]
    question = query[12 : offset + 5]
    values = table.get(".".join(labels).lower())
    family = KINDS.get(kind)
    fits = [v for v in values or () if family and (":" in v) == (family == socket.AF_INET6)]
    records = b""
    for value in fits:
        assert family
        data = socket.inet_pton(family, value)
        records += struct.pack(">HHHIH", 0xC00C, kind, 1, ttl, len(data)) + data
    flags = 0x8580 | (0 if values is not None else 3)
    return query[:2] + struct.pack(">5H", flags, 1, len(fits), 0, 0) + question + records


def servers(
    host: str, port: int, table: Callable[[], Table], ttl: int | Callable[[], int]
) -> list[socketserver.TCPServer]:
    def found(query: bytes) -> bytes:
        return answer(query, table(), ttl if isinstance(ttl, int) else ttl())

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            sock.sendto(found(data), self.client_address)

    class Tcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack(">H", self.rfile.read(2))
            said = found(self.rfile.read(length))
            self.wfile.write(struct.pack(">H", len(said)) + said)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    while True:
        udp = socketserver.ThreadingUDPServer((host, port), Udp)
        try:
            return [udp, socketserver.ThreadingTCPServer((host, udp.socket.getsockname()[1]), Tcp)]
        except OSError:
            udp.server_close()
            if port:
                raise  # with any port, one that is free for UDP may be taken for TCP: another one, then


@contextmanager
def resolver(table: Table, ttl: int = 10) -> Iterator[str]:
    """On loopback; yields `ADDRESS#PORT`."""
    found = servers("127.0.0.1", 0, lambda: table, ttl)
    for server in found:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1#{found[0].socket.getsockname()[1]}"
    finally:
        for server in found:
            server.shutdown()
            server.server_close()


def main() -> None:
    """In a namespace of its own: the table is a JSON file, read at each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("table", type=Path)
    options = parser.parse_args()
    found = servers(options.host, 53, lambda: json.loads(options.table.read_text()), 10)
    threading.Thread(target=found[0].serve_forever, daemon=True).start()
    print("ready", flush=True)
    found[1].serve_forever()


if __name__ == "__main__":
    main()
