"""How the service can misbehave, or stop being EC2 at all: a table of names, each a small change to the true answer.

A behaviour wraps the answering of one request: it may change the question (no token is required), change the response
(another status), change how it is delivered (a byte at a time), or answer in EC2's place (a captive portal). Several
can be in force: the one that was set last is outermost, so it has the last word.
"""

from __future__ import annotations

import base64
import re

from ec2ident.value import Value, replace

from . import imposters, wire
from .answers import TOKEN_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .answers import Call, ServiceState

    Answer = Callable[[Call], "Reply"]
    Act = Callable[["Behaviour", Call, Answer, ServiceState], "Reply"]


class Reply(Value):
    """A response and how it is delivered. `response` None sends nothing at all.

    `delay` and `interval` (between two bytes; 0 sends all at once) are in seconds. `keep` is the share of the bytes
    that is sent. `end` is what happens then: `close`, `reset`, `hold` until the client leaves, or `pour` for ever.
    """

    response: wire.Response | None
    delay: float = 0.0
    interval: float = 0.0
    keep: float = 1.0
    end: str = "close"


#: The types of the fields of a behaviour: a mistake is an error when it is made, not in the thread that answers.
_TYPES: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "method": (str,),
    "times": (int, type(None)),
    "start": (int, float),
    "end": (int, float, type(None)),
    "status": (int,),
    "body": (str, bytes),
    "size": (int,),
    "seconds": (int, float),
}


class Behaviour(Value):
    """One way to behave, and for which requests.

    `path` and `method` are regular expressions that are searched in the request; empty means: whatever this behaviour
    is about. `times` is how many requests it changes, None for all. It is in force from `start` to `end`, in seconds
    after it was set. The other fields are what some of the names need: `status`, `body` (text or bytes), `size` in
    bytes, `seconds`. Raises ValueError for an unknown name, a value of another type, and a pattern that is none.
    """

    do: str
    path: str = ""
    method: str = ""
    times: int | None = None
    start: float = 0.0
    end: float | None = None
    status: int = 500
    body: str | bytes = b""
    size: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.do not in BEHAVIOURS:
            raise ValueError(f"no behaviour {self.do!r}: there are {', '.join(BEHAVIOURS)}")
        for name, kinds in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise ValueError(f"{name}: {value!r} ({' or '.join(kind.__name__ for kind in kinds)} is expected)")
        if not 100 <= self.status <= 999:
            raise ValueError(f"status: {self.status} (three digits)")
        if isinstance(self.body, str):
            self.__dict__["body"] = self.body.encode()
        for pattern in (self.path, self.method):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None

    def concerns(self, request: wire.WireRequest) -> bool:
        """Is this behaviour about that request?"""
        about = BEHAVIOURS[self.do]
        if about.path is None:
            return True
        return bool(
            re.search(self.path or about.path, request.path) and re.search(self.method or about.method, request.method)
        )

    def act(self, call: Call, answer: Answer, state: ServiceState) -> Reply:
        """The reply to a call: `answer` as this behaviour changes it."""
        return BEHAVIOURS[self.do].act(self, call, answer, state)


class _About(Value):
    """What a name does, and the requests that it is about by default; `path` None: it looks at every request itself."""

    act: Act
    path: str | None = ""
    method: str = ""


# Questions that change: what EC2's own metadata options and its propagation delays do.


def _tokens_optional(_: Behaviour, call: Call, answer: Answer, __: ServiceState) -> Reply:
    return answer(replace(call, token_required=False))


def _v1_only(_: Behaviour, call: Call, answer: Answer, __: ServiceState) -> Reply:
    return answer(replace(call, token_required=False, token_api=False))


def _hide(behaviour: Behaviour, call: Call, answer: Answer, _: ServiceState) -> Reply:
    return answer(replace(call, hidden=(*call.hidden, behaviour.path)))


# Responses that change.


def _status(behaviour: Behaviour, _: Call, __: Answer, state: ServiceState) -> Reply:
    return Reply(wire.page(behaviour.status, state.now))


def _fixed(status: int) -> Act:
    return lambda _behaviour, _call, _answer, state: Reply(wire.page(status, state.now))


def _empty(status: int) -> Act:
    return lambda _behaviour, _call, _answer, state: Reply(wire.empty(status, state.now))


def _body(behaviour: Behaviour, call: Call, answer: Answer, _: ServiceState) -> Reply:
    body = behaviour.body if isinstance(behaviour.body, bytes) else behaviour.body.encode()
    return _changed(answer(call), lambda response: wire.with_body(response, body))


def _giant_body(behaviour: Behaviour, call: Call, answer: Answer, _: ServiceState) -> Reply:
    size = behaviour.size or 10 * 1024 * 1024
    return _changed(answer(call), lambda response: wire.with_body(response, b"x" * size))


def _giant_headers(behaviour: Behaviour, call: Call, answer: Answer, _: ServiceState) -> Reply:
    lines = (behaviour.size or 1024 * 1024) // 100 + 1
    padding = tuple((f"X-Padding-{number}", "x" * 84) for number in range(lines))
    return _changed(answer(call), lambda response: replace(response, headers=(*padding, *response.headers)))


def _http_1_0(_: Behaviour, call: Call, answer: Answer, __: ServiceState) -> Reply:
    return _changed(answer(call), wire.in_http_1_0)


def _altered_document(_: Behaviour, call: Call, answer: Answer, __: ServiceState) -> Reply:
    def alter(response: wire.Response) -> wire.Response:
        return wire.with_body(response, re.sub(rb'("accountId" : ")\d', rb"\g<1>9", response.body))

    return _changed(answer(call), alter)


def _junk_signatures(_: Behaviour, call: Call, answer: Answer, __: ServiceState) -> Reply:
    def junk(response: wire.Response) -> wire.Response:
        raw = bytes(byte * 7 % 251 for byte in range(128))
        return wire.with_body(response, base64.encodebytes(raw)[:-1])

    return _changed(answer(call), junk)


def _foreign_signatures(_: Behaviour, call: Call, answer: Answer, state: ServiceState) -> Reply:
    name = call.request.path.rpartition("/")[2]
    return _changed(answer(call), lambda response: wire.with_body(response, state.foreign()[name]))


def _changed(reply: Reply, change: Callable[[wire.Response], wire.Response]) -> Reply:
    """The reply with its response changed if that is a 200; another response stays as it is."""
    if reply.response is None or reply.response.status != 200:
        return reply
    return replace(reply, response=change(reply.response))


# Deliveries that change.


def _silence(_: Behaviour, __: Call, ___: Answer, ____: ServiceState) -> Reply:
    return Reply(None, end="hold")


def _reset(_: Behaviour, __: Call, ___: Answer, ____: ServiceState) -> Reply:
    return Reply(None, end="reset")


def _hang_up(_: Behaviour, __: Call, ___: Answer, ____: ServiceState) -> Reply:
    return Reply(None)


def _delay(behaviour: Behaviour, call: Call, answer: Answer, _: ServiceState) -> Reply:
    return replace(answer(call), delay=behaviour.seconds or 1.0)


def _drip(behaviour: Behaviour, call: Call, answer: Answer, _: ServiceState) -> Reply:
    return replace(answer(call), interval=behaviour.seconds or 0.05)


def _cut(_: Behaviour, call: Call, answer: Answer, __: ServiceState) -> Reply:
    return replace(answer(call), keep=0.75)


def _endless_body(_: Behaviour, call: Call, answer: Answer, __: ServiceState) -> Reply:
    def endless(response: wire.Response) -> wire.Response:
        return replace(response, headers=tuple(pair for pair in response.headers if pair[0] != "Content-Length"))

    return replace(_changed(answer(call), endless), end="pour")


def _answered_by(imposter: Callable[[wire.WireRequest, float], wire.Response]) -> Act:
    return lambda _behaviour, call, _answer, state: Reply(imposter(call.request, state.now))


_SIGNED = "/dynamic/instance-identity/(signature|pkcs7|rsa2048)$"
_TOKEN = f"^{TOKEN_PATH}$"

#: Every behaviour by its name, with the requests that it is about when it is not told otherwise.
BEHAVIOURS: dict[str, _About] = {
    # what EC2 itself does
    "tokens-optional": _About(_tokens_optional),
    "v1-only": _About(_v1_only),
    "hop-limit": _About(_silence, _TOKEN, "^PUT$"),
    "hop-limit-reset": _About(_reset, _TOKEN, "^PUT$"),
    # Captured as an empty text/plain: ansible/ansible#68098 (switched off), aws-sdk-kotlin#627 (forwarded). One log has
    # the page (amazon-cloudwatch-agent#1139): behave("status", status=403).
    "disabled": _About(_empty(403)),
    "throttled": _About(_fixed(503)),
    "hide": _About(_hide, None),
    "http-1.0": _About(_http_1_0),
    # faults
    "status": _About(_status),
    "unauthorized": _About(_empty(401)),
    "body": _About(_body),
    "silence": _About(_silence),
    "reset": _About(_reset),
    "hang-up": _About(_hang_up),
    "delay": _About(_delay),
    "drip": _About(_drip),
    "cut": _About(_cut),
    "giant-body": _About(_giant_body),
    "giant-headers": _About(_giant_headers),
    "endless-body": _About(_endless_body),
    # forgeries
    "altered-document": _About(_altered_document, "/dynamic/instance-identity/document$"),
    "junk-signatures": _About(_junk_signatures, _SIGNED),
    "foreign-signatures": _About(_foreign_signatures, _SIGNED),
    # a proxy before the service
    # A token request that was forwarded is refused, all else passes: jtblin/kube2iam#241, #345; aws-sdk-kotlin#627.
    "kube2iam": _About(_empty(403), _TOKEN, "^PUT$"),
    "kiam": _About(_answered_by(imposters.kiam)),
    "envoy": _About(_answered_by(imposters.envoy)),
    "squid": _About(_answered_by(imposters.squid)),
    # another server at the address
    "go": _About(_answered_by(imposters.go)),
    "nginx": _About(_answered_by(imposters.nginx)),
    "captive-portal": _About(_answered_by(imposters.captive_portal)),
    "redirect": _About(_answered_by(imposters.redirect)),
    "not-http": _About(_answered_by(imposters.not_http)),
    "openstack": _About(_answered_by(imposters.openstack)),
    "google": _About(_answered_by(imposters.google)),
    "azure": _About(_answered_by(imposters.azure)),
    "alibaba": _About(_answered_by(imposters.alibaba)),
}
