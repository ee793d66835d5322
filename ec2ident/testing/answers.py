"""What EC2 answers: a request and the state of the instance in, a response out. No sockets, no clock."""

from __future__ import annotations

import re

from ec2ident.value import Value

from . import wire
from .tokens import LONGEST
from .tree import VERSIONS, listing, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .instance import Instance
    from .tokens import Tokens
    from .wire import Response, WireRequest

TOKEN_PATH = "/latest/api/token"  # noqa: S105  a path, not a token


class ServiceState(Value):
    """What an answer depends on. `now` and `started` are seconds since the epoch.

    `signed` gives the identity items by name, and `foreign` the same items signed by an untrusted authority.
    """

    instance: Instance
    tokens: Tokens
    signed: Callable[[], Mapping[str, bytes]]
    foreign: Callable[[], Mapping[str, bytes]]
    now: float
    started: float


class Call(Value):
    """A request and what behaviours changed of how it is answered: is a token required, which paths are hidden."""

    request: WireRequest
    token_required: bool = True
    token_api: bool = True
    hidden: tuple[str, ...] = ()


def answer(call: Call, state: ServiceState) -> Response:
    """The response of EC2 to one request."""
    request = call.request
    if request.path == TOKEN_PATH:
        return _token(request, state) if call.token_api else wire.page(404, state.now)
    if request.method not in ("GET", "HEAD"):
        return wire.empty(405, state.now, allow="OPTIONS, GET, HEAD")
    presented = call.token_api and request.header(wire.TOKEN_HEADER) is not None
    ttl = remaining(request, state) if presented else None
    if ttl is None and (call.token_required or presented):
        return wire.empty(401, state.now)
    body = find(request.path, items(call, state))
    if body is None:
        return wire.page(404, state.now)
    return wire.item(body, state.now, modified=state.started, ttl=ttl, content_type=_content_type(request.path))


def remaining(request: WireRequest, state: ServiceState) -> int | None:
    """The seconds that the request's token still lives; None without a valid one."""
    token = request.header(wire.TOKEN_HEADER)
    return None if token is None else state.tokens.remaining(token, state.now)


def items(call: Call, state: ServiceState) -> dict[str, bytes]:
    """Every item that the path may be about, without those that are hidden. Signing waits until it is asked for."""
    if "/dynamic" in call.request.path:
        found = {f"dynamic/instance-identity/{name}": body for name, body in state.signed().items()}
    else:
        found = tree(state.instance, state.now)
    hidden = [re.compile(pattern) for pattern in call.hidden]
    return {path: body for path, body in found.items() if not any(p.search(f"/latest/{path}") for p in hidden)}


def find(path: str, items: Mapping[str, bytes]) -> bytes | None:
    """The item or listing at an absolute path, with or without a final slash; None when there is neither."""
    version, _, rest = path.lstrip("/").partition("/")
    if not version:
        return "\n".join(VERSIONS).encode()
    if version not in VERSIONS:
        return None
    name = rest[:-1] if rest.endswith("/") else rest  # botocore asks for placement/availability-zone/
    return items[name] if name in items else listing(items, name)


def _token(request: WireRequest, state: ServiceState) -> Response:
    if request.method == "OPTIONS":
        return wire.empty(200, state.now, allow="OPTIONS, PUT")
    if request.method != "PUT":
        return wire.empty(405, state.now, allow="OPTIONS, PUT")
    if request.header("x-forwarded-for") is not None:
        return wire.empty(403, state.now)
    asked = request.header(wire.TTL_HEADER) or ""
    if not (asked.isascii() and asked.isdigit() and len(asked) < 10 and 1 <= int(asked) <= LONGEST):
        return wire.page(400, state.now)
    return wire.token(state.tokens.issue(state.now, int(asked)), int(asked), state.now)


def _content_type(path: str) -> str:
    return "application/octet-stream" if path.endswith("/user-data") else "text/plain"
