"""Requests and responses as bytes: the status lines, headers and pages of the real service, in its order.

Captured answers of 2016 to 2026 all have `Server: EC2ws` and `Connection: close`. Three layouts of headers are known,
by what is answered; the older one of 2020 to 2023 spoke HTTP/1.0.
"""

from __future__ import annotations

from email.utils import formatdate

from ec2ident.value import Value, replace

#: What one request may have: the first line and the headers together, and the body, in bytes.
LARGEST_HEAD = 16 * 1024
LARGEST_BODY = 64 * 1024

TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105  a header name, not a token
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"

_TTL = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
_TOKEN_LAYOUT = (_TTL, "Content-Length", "Date", "Server", "Connection", "Content-Type")
_ITEM_LAYOUT = (
    *(_TTL, "Content-Type", "Accept-Ranges", "Last-Modified", "Content-Length", "Date", "Server", "Connection"),
)
_OLD_ITEM_LAYOUT = (
    *("Content-Type", "Accept-Ranges", "ETag", "Last-Modified", "Content-Length", _TTL),
    *("Connection", "Date", "Server"),
)
_REFUSAL_LAYOUT = ("Allow", "Content-Length", "Date", "Server", "Connection", "Content-Type")

_PHRASES = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

_PAGE = """\
<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{title}</title>
 </head>
 <body>
  <h1>{title}</h1>
 </body>
</html>
"""


class WireRequest(Value):
    """One request: header names in lower case, `source` the address that it came from."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    source: str = ""

    @property
    def path(self) -> str:
        """The request's target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The first header of this name (lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)


class Response(Value):
    """One response, headers in the order in which they are sent."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    version: str = "HTTP/1.1"

    def encode(self, *, body: bool = True) -> bytes:
        """The bytes on the wire; without the body for HEAD."""
        line = f"{self.version} {self.status} {_PHRASES.get(self.status, 'Unknown')}"
        head = "".join(f"{text}\r\n" for text in (line, *(f"{name}: {value}" for name, value in self.headers), ""))
        return head.encode("latin-1") + (self.body if body else b"")


def parse(head: bytes, source: str) -> WireRequest | None:
    """A request from its first line and headers; None if it is not HTTP."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[0].isalpha():
        return None
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if line and (not colon or not name or name != name.strip()):
            return None
        if line:
            headers.append((name.lower(), value.strip()))
    return WireRequest(words[0], words[1], tuple(headers), source)


def token(text: str, ttl: int, now: float) -> Response:
    """The answer to a PUT that asked for a token of `ttl` seconds."""
    return _response(200, _TOKEN_LAYOUT, text.encode(), now, {_TTL: str(ttl), "Content-Type": "text/plain"})


def item(body: bytes, now: float, *, modified: float, ttl: int | None, content_type: str = "text/plain") -> Response:
    """A metadata item; `ttl` is what is left of the session's token in seconds, None without a token."""
    more = {"Content-Type": content_type, "Accept-Ranges": "none", "Last-Modified": formatdate(modified, usegmt=True)}
    return _response(200, _ITEM_LAYOUT, body, now, more if ttl is None else {_TTL: str(ttl), **more})


def empty(status: int, now: float, *, allow: str | None = None) -> Response:
    """An answer without a body: 401, 403, and 405 with the methods that are allowed."""
    more = {"Content-Type": "text/plain"}
    return _response(status, _REFUSAL_LAYOUT, b"", now, more if allow is None else {"Allow": allow, **more})


def page(status: int, now: float) -> Response:
    """An error with the XHTML page that the service has always sent."""
    body = _PAGE.format(title=f"{status} - {_PHRASES.get(status, 'Unknown')}").encode("latin-1")
    return _response(status, _REFUSAL_LAYOUT, body, now, {"Content-Type": "text/html"})


def in_http_1_0(response: Response) -> Response:
    """The same answer in the layout of the captures of 2020 to 2023: HTTP/1.0, other order, an ETag."""
    values = dict(response.headers)
    if "Accept-Ranges" in values:
        values |= {"Accept-Ranges": "bytes", "ETag": f'"{sum(response.body) % 10**10}"'}
        ordered = tuple((name, values[name]) for name in _OLD_ITEM_LAYOUT if name in values)
        return replace(response, headers=ordered, version="HTTP/1.0")
    return replace(response, version="HTTP/1.0")


def with_body(response: Response, body: bytes) -> Response:
    """The same answer with another body, and the length that belongs to it."""
    length = str(len(body))
    headers = tuple((name, length if name == "Content-Length" else value) for name, value in response.headers)
    return replace(response, headers=headers, body=body)


def _response(status: int, layout: tuple[str, ...], body: bytes, now: float, more: dict[str, str]) -> Response:
    values = {
        "Content-Length": str(len(body)),
        "Date": formatdate(now, usegmt=True),
        "Server": "EC2ws",
        "Connection": "close",
        **more,
    }
    return Response(status, tuple((name, values[name]) for name in layout if name in values), body)
