"""The client of the metadata service: token first, one deadline over everything, and every cause told apart.

What it never does: ask without a token (that counts as use of IMDSv1), resolve a name, use a proxy, follow a redirect,
read without a limit, write a token anywhere. Facts: "Use the Instance Metadata Service to access instance metadata"
and "Retrieve instance metadata" in the Amazon EC2 User Guide.
"""

from __future__ import annotations

import os
import time

from . import connect
from .connect import METADATA_IPV4, METADATA_IPV6, Endpoint, NoAnswerError
from .errors import ImdsError
from .imds_items import Items
from .model import Fact, Kind, Reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from typing_extensions import Self

    from .http import Answer

TOKEN_PATH = "/latest/api/token"  # noqa: S105  a path, not a token
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"

#: The longest life of a token, in seconds, and how long before its end it is renewed.
LONGEST_TTL = 21600
RENEW_BEFORE = 60
#: The longest token that is taken for one, in characters. EC2's have 56.
LONGEST_TOKEN = 1024

#: How long the first connect() may take, in seconds. On an instance it takes less than one millisecond.
CONNECT_WITHIN = 0.25

#: A token request without an answer for this long, in seconds, is not slowness: on an instance it takes 3 ms.
SILENCE = 0.1

#: What may pass by itself: an instance that boots has no route at first, and its service may be late.
PASSES = frozenset(
    {
        *(Reason.NO_ROUTE, Reason.REFUSED, Reason.TIMEOUT, Reason.SLOW),
        *(Reason.THROTTLED, Reason.SERVER_ERROR, Reason.MALFORMED),
    }
)

#: What to do about each reason.
ADVICE = {
    Reason.NETWORK_DISABLED: "unset AWS_EC2_METADATA_DISABLED to allow it",
    Reason.NO_ROUTE: (
        "not EC2, or this network namespace has no way out; see `ip route get 169.254.169.254`, "
        "on Windows `route print 169.254.*`"
    ),
    Reason.REFUSED: "nobody listens there: not EC2, or a local redirect without its listener",
    Reason.TIMEOUT: (
        "not EC2, or something between drops packets: a firewall, a network policy, on Windows a persistent route that "
        "the image brought from another subnet (`route print 169.254.*`); else allow more time"
    ),
    Reason.SLOW: "allow more time; EC2's own answer takes some milliseconds",
    Reason.HOP_LIMIT: (
        "the answer was probably lost at a container's hop; run the container in the host's network, or "
        "`aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2`"
    ),
    Reason.DISABLED: (
        "the metadata service is switched off for this instance or caller; "
        "`aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled`"
    ),
    Reason.V2_REQUIRED: "it wants a token, and does not give one or not accept its own; is there a proxy between?",
    Reason.V1_ONLY: "it gives no tokens: not today's EC2 but a look-alike or a mock without IMDSv2",
    Reason.THROTTLED: "ask less often: the limit is 1024 packets a second for each network interface, DNS included",
    Reason.SERVER_ERROR: "try again; when it lasts, reboot the instance or move it to another host",
    Reason.NOT_EC2WS: "something else than EC2's metadata service listens there",
    Reason.CAPTIVE_PORTAL: "a login page or proxy stands in the way; not EC2",
    Reason.OTHER_CLOUD: "not EC2",
    Reason.TOO_LARGE: "not EC2, or an item that is not metadata",
    Reason.MALFORMED: "not EC2, or something between changes the answers",
}

#: How other clouds give themselves away: name, header, and how its value begins.
OTHER_CLOUDS = (
    ("Google Cloud", "metadata-flavor", "Google"),
    ("Google Cloud", "server", "Metadata Server for VM"),
    ("Azure", "server", "IMDS/"),
)

_PATH_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@+=,!$&'()*;")


class _Token:
    """A session token. It shows itself to nobody: not in a repr, not in an error, not in a log."""

    def __init__(self, secret: str, renew_at: float) -> None:
        self.secret = secret
        self.renew_at = renew_at

    def __repr__(self) -> str:
        return "<token>"


class Imds(Items):
    """A client of the metadata service. Making one sends nothing. Not for use by several threads at once.

    `timeout` (seconds) is for one call with all that it takes: connecting, a token, retries, the last byte. `endpoints`
    are literal addresses, `http://ADDRESS[:PORT]`; all are tried at once and the first that accepts is kept. `retries`
    is how often to try again what may pass by itself; leave it 0 unless local evidence says that this is EC2.
    `environ` (the process's if not given) is asked for AWS_EC2_METADATA_DISABLED only: who sets an environment must not
    choose who answers; see `from_environment` for those who want just that. Items have names too: `Imds().region`.
    """

    def __init__(
        self,
        timeout: float = 1.0,
        *,
        endpoints: str | Endpoint | Sequence[str | Endpoint] = (METADATA_IPV4, METADATA_IPV6),
        retries: int = 0,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self.timeout = timeout
        self.retries = retries
        self.endpoints = _endpoints(endpoints)
        #: The endpoint that accepted, or None before that.
        self.endpoint: Endpoint | None = None
        #: The Server header of the last answer: EC2's says `EC2ws`, and so may anybody. None without one.
        self.server: str | None = None
        #: Has the service given a session token (IMDSv2)?
        self.token_granted = False
        #: Seconds spent in calls so far.
        self.elapsed = 0.0
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._token: _Token | None = None
        self._failed: Reason | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Self:
        """A client of the endpoint that AWS_EC2_METADATA_SERVICE_ENDPOINT or _ENDPOINT_MODE names.

        Only for callers who trust whoever set the environment. Raises ValueError for a name instead of an address.
        """
        environ = os.environ if environ is None else environ
        modes = {"ipv4": METADATA_IPV4, "ipv6": METADATA_IPV6}
        mode = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower()
        if mode and mode not in modes:
            raise ValueError(f"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: {mode!r} is neither ipv4 nor ipv6")
        url = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        chosen = {"endpoints": url or modes[mode]} if url or mode else {}
        return cls(environ=environ, **{**chosen, **options})

    def __repr__(self) -> str:
        return f"Imds(timeout={self.timeout!r}, endpoints={[str(endpoint) for endpoint in self.endpoints]!r})"

    # Asking

    def get(self, path: str, *, deadline: float | None = None) -> str | None:
        """An item as text, or None where the service says that there is none (404).

        `path` is below `/latest/` unless it begins with a slash. `deadline`, on this client's clock, can only shorten
        the timeout. Raises ImdsError, and ValueError for a path that cannot be one.
        """
        body = self.get_bytes(path, deadline=deadline)
        try:
            return None if body is None else body.decode()
        except UnicodeDecodeError:
            raise ImdsError(f"{path}: not UTF-8 text; get_bytes gives it as it is", Reason.MALFORMED) from None

    def get_bytes(self, path: str, *, deadline: float | None = None) -> bytes | None:
        """An item in its exact bytes, or None. Everything else as `get`."""
        target = _target(path)
        began = self._clock()
        until = min(began + self.timeout, began + self.timeout if deadline is None else deadline)
        try:
            return self._persistently(target, until)
        finally:
            self.elapsed += self._clock() - began

    def deadline(self) -> float:
        """The moment, on this client's clock, at which a question of several requests that begins now ends."""
        return self._clock() + self.timeout

    def identity_item(self, kind: Kind | str, *, deadline: float | None = None) -> bytes | None:
        """`document`, or a signed item (see Kind), from below `dynamic/instance-identity/`, in its exact bytes."""
        return self.get_bytes(f"dynamic/instance-identity/{kind}", deadline=deadline)

    # What was learned on the way

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What the answers so far say of the service: `imds-token` and `imds-server`; nothing before a call."""
        source = f"{self.endpoint or self.endpoints[0]}{TOKEN_PATH}"
        if self.token_granted:
            return Fact("imds-token", "granted", source), Fact("imds-server", self.server, source)
        if self._failed is None:
            return ()
        return (Fact("imds-token", None, source, unknown=self._failed.value),)

    # One call

    def _persistently(self, target: str, until: float) -> bytes | None:
        for tries in range(self.retries + 1):
            try:
                body = self._item(target, until)
            except NoAnswerError as failure:
                self._failed = failure.reason
                pause = self._pause(tries)
                last = tries == self.retries or self._clock() + pause >= until
                if last or failure.reason not in PASSES:
                    raise _error(failure, tries) from None
            else:
                self._failed = None
                return body
            self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _pause(self, tries: int) -> float:
        """Twice as long each time, up to a second; a random half of it, so that a fleet does not knock in step."""
        if not self.retries:
            return 0.0
        if self._jitter is None:
            import random

            self._jitter = random.random
        return min(0.1 * 2.0**tries, 1.0) * (0.5 + self._jitter() / 2)

    def _item(self, target: str, until: float) -> bytes | None:
        if self._environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise NoAnswerError(Reason.NETWORK_DISABLED, "AWS_EC2_METADATA_DISABLED is true")
        answer = self._ask("GET", target, self._with_token(until), until)
        if answer.status == 401:
            # A token can end before its time, as when the service restarts; one new one is all that this takes.
            self._token = None
            answer = self._ask("GET", target, self._with_token(until), until)
        return _item_of(answer, target)

    def _with_token(self, until: float) -> Mapping[str, str]:
        if self._token is None or self._clock() >= self._token.renew_at:
            answer = self._ask("PUT", TOKEN_PATH, {TTL_HEADER: str(LONGEST_TTL)}, until)
            secret, seconds = _token_of(answer), _seconds(answer.headers.get(TTL_HEADER.lower()))
            self._token = _Token(secret, self._clock() + max(seconds - RENEW_BEFORE, seconds / 2))
            self.token_granted = True
        return {TOKEN_HEADER: self._token.secret}

    def _ask(self, method: str, target: str, headers: Mapping[str, str], until: float) -> Answer:
        """One request over a connection of its own: the service closes after each answer."""
        connection = self._connect(until)
        from .http import Wire, exchange

        wire = Wire(connection.detach(), until, self._clock)
        began = self._clock()
        try:
            answer = exchange(wire, method, f"{self.endpoint}{target}", headers)
        except NoAnswerError as failure:
            waited = self._clock() - began
            if method == "PUT" and failure.silent and (wire.reset or waited >= SILENCE):
                raise NoAnswerError(
                    Reason.HOP_LIMIT, f"connected and asked for a token, but {failure} ({waited:.2f} s)"
                ) from None
            raise
        self.server = _clean(answer.headers.get("server"))
        _recognise(answer)
        return answer

    def _connect(self, until: float) -> _socket.socket:
        left = max(0.0, until - self._clock())
        if self.endpoint is None or self._failed is not None:
            self.endpoint, connection = connect.race(self.endpoints, min(left, CONNECT_WITHIN), self._clock)
        else:
            self.endpoint, connection = connect.race((self.endpoint,), left, self._clock)
        return connection


def _endpoints(given: str | Endpoint | Sequence[str | Endpoint]) -> tuple[Endpoint, ...]:
    several = (given,) if isinstance(given, (str, Endpoint)) else tuple(given)
    if not several:
        raise ValueError("endpoints: none given; leave the argument out for EC2's own addresses")
    return tuple(one if isinstance(one, Endpoint) else Endpoint.parse(one) for one in several)


def _target(path: str) -> str:
    if not path or not _PATH_CHARACTERS.issuperset(path):
        raise ValueError(f"path: {path!r} is empty or has characters that no metadata path has")
    return path if path.startswith("/") else f"/latest/{path}"


def _recognise(answer: Answer) -> None:
    for cloud, name, beginning in OTHER_CLOUDS:
        value = answer.headers.get(name, "")
        if value.startswith(beginning):
            raise NoAnswerError(Reason.OTHER_CLOUD, f"this is {cloud} ({name}: {_clean(value)})")


def _item_of(answer: Answer, target: str) -> bytes | None:
    """The body of a 200, None for a 404; everything else raises NoAnswerError."""
    if answer.status == 404:
        return None
    _must_be_plain_200(answer, target)
    return answer.body


def _token_of(answer: Answer) -> str:
    """The token in the answer to a token request, or NoAnswerError."""
    if answer.status == 404 and "server" not in answer.headers:
        raise NoAnswerError(Reason.OTHER_CLOUD, "no tokens and no Server header: OpenStack and its like answer so")
    if answer.status in (404, 405, 501):
        reason = Reason.V1_ONLY if answer.headers.get("server") == "EC2ws" else Reason.NOT_EC2WS
        raise NoAnswerError(reason, f"{TOKEN_PATH} answers {answer.status}")
    _must_be_plain_200(answer, TOKEN_PATH)
    token = answer.body.decode("latin-1")
    if token.lstrip().startswith("<"):
        raise NoAnswerError(Reason.CAPTIVE_PORTAL, f"{TOKEN_PATH} answers with a page of markup")
    if not (0 < len(token) <= LONGEST_TOKEN and all("!" <= character <= "~" for character in token)):
        raise NoAnswerError(Reason.MALFORMED, f"{TOKEN_PATH} answers with {len(token)} bytes that are not a token")
    return token


def _must_be_plain_200(answer: Answer, target: str) -> None:
    detail = f"{target} answers {answer.status}"
    if answer.status != 200:
        reason = _reason(answer.status)
        foreign = reason in (Reason.MALFORMED, Reason.V2_REQUIRED) and answer.headers.get("server") != "EC2ws"
        raise NoAnswerError(Reason.NOT_EC2WS if foreign else reason, detail)
    if answer.headers.get("content-type", "").lower().startswith("text/html"):
        raise NoAnswerError(Reason.CAPTIVE_PORTAL, f"{detail} with an HTML page")


def _reason(status: int) -> Reason:
    """What a status other than 200 means. The statuses of EC2 are those of "Retrieve instance metadata"."""
    known = {401: Reason.V2_REQUIRED, 403: Reason.DISABLED, 429: Reason.THROTTLED, 503: Reason.THROTTLED}
    known.update({407: Reason.CAPTIVE_PORTAL, 511: Reason.CAPTIVE_PORTAL})
    by_hundred = {3: Reason.CAPTIVE_PORTAL, 5: Reason.SERVER_ERROR}
    return known.get(status) or by_hundred.get(status // 100, Reason.MALFORMED)


def _seconds(header: str | None) -> int:
    """How long a token lives, from the answer's header; what is not a sane number is what we had asked for."""
    usable = header is not None and header.isascii() and header.isdigit() and len(header) < 10
    return min(int(header), LONGEST_TTL) if header is not None and usable else LONGEST_TTL


def _clean(value: str | None) -> str | None:
    """A header's value fit for printing: it comes from whoever answered."""
    return None if value is None else ascii(value[:80])[1:-1]


def _error(failure: NoAnswerError, tries: int) -> ImdsError:
    tried = f" after {tries + 1} tries" if tries else ""
    return ImdsError(f"metadata service: {failure}{tried}; {ADVICE[failure.reason]}", failure.reason)
