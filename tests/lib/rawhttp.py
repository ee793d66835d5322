"""HTTP as bytes, for tests of what is on the wire: one request, one connection, nothing hidden by a library."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from ec2ident.value import Value

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


class Answer(Value):
    """What came back: the status line, the headers in their order, the body."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.headers]

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]


def raw(endpoint: str, request: bytes, timeout: float = 30.0) -> bytes:
    """Send bytes, and read until the other side closes."""
    url = urlsplit(endpoint)
    assert url.hostname
    assert url.port
    with socket.create_connection((url.hostname, url.port), timeout) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(endpoint: str, method: str, path: str, **headers: str) -> Answer:
    """One request; header names are written with `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 169.254.169.254"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head, _, body = raw(endpoint, "\r\n".join([*lines, "", ""]).encode()).partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    pairs = tuple((name, value) for name, _, value in (header.partition(": ") for header in rest))
    return Answer(line, pairs, body)


def token(endpoint: str, ttl: int = 21600) -> str:
    return ask(endpoint, "PUT", "/latest/api/token", **{TTL: str(ttl)}).body.decode()


def get(endpoint: str, path: str, **more: str) -> Answer:
    """A GET with a fresh token."""
    return ask(endpoint, "GET", path, **{TOKEN: token(endpoint), **more})
