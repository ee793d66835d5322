"""The client of the metadata service: token first, one deadline over everything, and every cause told apart.

What it never does: ask without a token (that counts as use of IMDSv1), resolve a name, use a proxy, follow a redirect,
read without a limit, write a token anywhere. Facts: "Use the Instance Metadata Service to access instance metadata"
and "Retrieve instance metadata" in the Amazon EC2 User Guide. Who answers, and what that means, is in `responders`.

A first request that is lost or reset is ordinary (aws-sdk-rust#1233, aws-sdk-java-v2#3846). So one exchange has a
second, or a third of the time that is left, and is then repeated over a new connection, at the other address if there
is one.
"""

from __future__ import annotations

import os
import time

from ec2ident.dependency import Loading
from ec2ident.errors import ImdsError
from ec2ident.model import Fact, Kind, Reason

from . import connect, responders
from .connect import METADATA_IPV4, METADATA_IPV6, Endpoint, NoAnswerError
from .items import Items
from .responders import ADVICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeVar

    from typing_extensions import Self

    from .wire import HttpAnswer, Wire

    T = TypeVar("T")

TOKEN_PATH = "/latest/api/token"  # noqa: S105  a path, not a token
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"

#: The longest timeout, in seconds: a day. A longer one, or infinity, is cut to it: the kernel's clock ends somewhere.
LONGEST_TIMEOUT = 86400.0
#: The longest life of a token, in seconds, and how long before its end it is renewed.
LONGEST_TTL = 21600
RENEW_BEFORE = 60

#: How long the first connect() may take, in seconds. On an instance it takes less than one millisecond.
CONNECT_WITHIN = 0.25

#: How long one exchange may take at first, in seconds; after two that were silent it is doubled each time.
PATIENCE = 1.0
#: A token request without an answer for this long, in seconds, is not slowness: on an instance it takes 3 ms.
SILENCE = 0.1
#: How often a request that failed at once (reset, hang-up, 5xx) is repeated where the caller does not say.
REPEATS = 2
#: The most repeats of silent requests in one call, and the time in seconds that a further request needs.
MOST_REPEATS = 20
WORTH_WHILE = 0.02

#: No server accepts a connection.
NOT_THERE = frozenset({Reason.NO_ROUTE, Reason.REFUSED, Reason.TIMEOUT})
#: Failures that may pass: an instance that boots has no route at first, its service may be late, a packet may be lost.
PASSES = NOT_THERE | {
    *(Reason.SLOW, Reason.HOP_LIMIT, Reason.THROTTLED, Reason.SERVER_ERROR, Reason.MALFORMED),
}
#: Failures that another address cannot change.
_SETTLED = frozenset({Reason.NETWORK_DISABLED, Reason.OTHER_CLOUD, Reason.DEPENDENCY})

#: Variables and files of a container ("Amazon ECS container metadata"; Kubernetes; Docker and Podman).
_CONTAINER_VARIABLES = ("KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI_V4", "container")
_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")

_PATH_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@+=,!$&'()*;")


class _Token:
    """A session token. It is secret: it is in no repr, no error and no log, and only its endpoint sees it again."""

    def __init__(self, secret: str, renew_at: float, endpoint: Endpoint | None) -> None:
        self.secret = secret
        self.renew_at = renew_at
        self.endpoint = endpoint

    def __repr__(self) -> str:
        return "<token>"


class _Call:
    """What one call has tried so far, and how it failed."""

    def __init__(self, retries: int | None) -> None:
        self.retries = retries
        self.repeats = 0
        #: Repeats of requests that failed at once, and requests that were silent.
        self.hasty = self.silent = 0
        #: Token requests without an answer: at least two show the hop limit, or a filter.
        self.silent_tokens: list[str] = []
        #: Endpoints that gave a final answer, which are not asked again; those that failed in passing, oldest first.
        self.closed: list[Endpoint] = []
        self.tired: list[Endpoint] = []
        self.failures: list[NoAnswerError] = []

    @property
    def last(self) -> bool:
        """True if no repeat is left, so that this exchange may use all the remaining time."""
        return self.retries is not None and self.repeats >= self.retries


class Imds(Items):
    """A client of the metadata service. Making one sends nothing. Not for use by several threads at once.

    `timeout` (seconds) is for one call with all that it takes: connecting, a token, repeats, the last byte. `endpoints`
    are literal addresses, `http://ADDRESS[:PORT]`. All are tried at once and the first that accepts is kept; the others
    are asked where its answer is not EC2's. `retries` is how often a failure that may pass is repeated: a service that
    is not there, no answer, a reset, a 5xx. Without it, a service that is not there is not waited for, a request that
    was not answered is repeated until the timeout, and one that failed at once twice.
    `environ` (default: the process's) is asked for AWS_EC2_METADATA_DISABLED. It does not choose who answers;
    `from_environment` is for callers who want that. `in_container` says whether this process runs in a container, which
    makes a lost token more likely to be the hop limit's doing; None looks for the usual signs. With `use_requests`
    False the standard library carries the requests: it loads in a third of the time. Items have names too:
    `Imds().region`.
    """

    def __init__(
        self,
        timeout: float = 1.0,
        *,
        endpoints: str | Endpoint | Sequence[str | Endpoint] = (METADATA_IPV4, METADATA_IPV6),
        retries: int | None = None,
        environ: Mapping[str, str] | None = None,
        in_container: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] | None = None,
        use_requests: bool = True,
    ) -> None:
        if not isinstance(timeout, (int, float)) or not timeout >= 0:
            raise ValueError(f"timeout: {timeout!r} is not a number of seconds")
        if retries is not None and (not isinstance(retries, int) or retries < 0):
            raise ValueError(f"retries: {retries!r} is not a whole number, or None")
        self.timeout = min(timeout, LONGEST_TIMEOUT)
        self.retries = retries
        self.endpoints = _endpoints(endpoints)
        #: The endpoint that accepted, or None before that.
        self.endpoint: Endpoint | None = None
        #: The Server header of the last answer: EC2's says `EC2ws`, and any other server may. None without one.
        self.server: str | None = None
        #: True once the service has given a session token (IMDSv2).
        self.token_granted = False
        #: Seconds spent in calls so far.
        self.elapsed = 0.0
        self._environ = os.environ if environ is None else environ
        self._in_container = in_container
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._use_requests = use_requests
        self._token: _Token | None = None
        self._call = _Call(retries)
        #: The failure of the last call, or None.
        self._failed: ImdsError | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Self:
        """A client of the endpoint that AWS_EC2_METADATA_SERVICE_ENDPOINT or _ENDPOINT_MODE names.

        Only for callers who trust their environment. Raises ValueError for a name instead of an address.
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
        return self._persistently(lambda until: self._item(target, until), deadline)

    def open_session(self, *, deadline: float | None = None) -> None:
        """Get a session token unless there is one that is still good. Raises ImdsError."""
        self._persistently(self._with_token, deadline)

    def deadline(self) -> float:
        """The moment, on this client's clock, at which a question of several requests that begins now ends."""
        return self._clock() + self.timeout

    def has_time(self, deadline: float | None) -> bool:
        """True if enough time for a request is left before the deadline, a moment on this client's clock."""
        return deadline is None or self._clock() + WORTH_WHILE < deadline

    def elsewhere(self) -> Imds | None:
        """A client of the addresses other than the one that answers, with the same options; None if there is none."""
        others = [one for one in self.endpoints if one != self.endpoint]
        if not others:
            return None
        return Imds(
            self.timeout,
            endpoints=others,
            retries=self.retries,
            environ=self._environ,
            in_container=self._in_container,
            clock=self._clock,
            sleep=self._sleep,
            jitter=self._jitter,
        )

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
        return (Fact("imds-token", None, source, unknown=str(self._failed), reason=self._failed.reason),)

    # One call

    def _persistently(self, ask: Callable[[float], T], deadline: float | None) -> T:
        """The result of `ask`, repeated while that may help. Raises ImdsError."""
        began = self._clock()
        until = began + self.timeout if deadline is None else min(began + self.timeout, deadline)
        call = self._call = _Call(self.retries)
        try:
            while True:
                try:
                    found = ask(until)
                except NoAnswerError as failure:
                    pause = self._before_the_next(call, failure, until)
                    if pause is None:
                        self._failed = self._error(call)
                        # The cause is kept where a library could not be loaded. No other cause adds anything.
                        raise self._failed from failure.__cause__
                else:
                    self._failed = None
                    return found
                if pause:
                    self._sleep(pause)
        finally:
            self.elapsed += self._clock() - began

    def _before_the_next(self, call: _Call, failure: NoAnswerError, until: float) -> float | None:
        """Seconds to wait before the next request; None where another one would not help."""
        call.failures.append(failure)
        absent, silent = failure.reason in NOT_THERE, failure.reason is Reason.SLOW
        if failure.reason not in PASSES:
            if self.endpoint is not None:
                call.closed.append(self.endpoint)
            # The same question to the other address is not a repeat.
            others = [one for one in self.endpoints if one not in call.closed]
            return 0.0 if others and failure.reason not in _SETTLED else None
        if absent and call.closed:
            # The first address has answered, and the other one is not there. One silent connect() may be a lost packet.
            if failure.reason is not Reason.TIMEOUT or call.hasty or call.last or not self.has_time(until):
                return None
            call.repeats += 1
            call.hasty += 1
            return 0.0
        if self.endpoint is not None and not absent:
            call.tired = [*(one for one in call.tired if one != self.endpoint), self.endpoint]
        if call.retries is not None:
            goes_on = not call.last
        elif silent:
            goes_on = call.silent < MOST_REPEATS
        else:
            # In default mode a service is not waited for that has never accepted a connection.
            goes_on = call.hasty < REPEATS and self.endpoint is not None
        pause = 0.0 if silent or not goes_on else self._pause(call.hasty)
        if not goes_on or not self.has_time(until) or self._clock() + pause >= until:
            return None
        call.repeats += 1
        call.silent += silent
        call.hasty += not silent
        return pause

    def _pause(self, repeats: int) -> float:
        """Twice as long each time, up to a second; a random half of it, so that a fleet does not ask in step."""
        if self._jitter is None:
            import random

            self._jitter = random.random
        return float(min(0.1 * 2.0**repeats, 1.0)) * (0.5 + self._jitter() / 2)

    def _item(self, target: str, until: float) -> bytes | None:
        token = self._with_token(until)
        ec2ws = self.server == "EC2ws"
        answer = self._ask("GET", target, token, until)
        if answer.status == 401:
            # A token can end before its time, as when the service restarts; one new token shows whether it did.
            self._token = None
            answer = self._ask("GET", target, self._with_token(until), until)
        if responders.lacks_slash(answer, target):
            target += "/"
            answer = self._ask("GET", target, self._with_token(until), until)
        trouble = responders.item_trouble(answer, target, ec2ws=ec2ws)
        if trouble is not None:
            raise NoAnswerError(trouble.reason, trouble.detail, advice=trouble.advice)
        return answer.body if answer.status == 200 else None

    def _with_token(self, until: float) -> Mapping[str, str]:
        if self._environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise NoAnswerError(Reason.NETWORK_DISABLED, "AWS_EC2_METADATA_DISABLED is true")
        if self._token is None or self._clock() >= self._token.renew_at:
            self._token = None
            answer = self._ask("PUT", TOKEN_PATH, {TTL_HEADER: str(LONGEST_TTL)}, until)
            trouble = responders.token_trouble(answer, TOKEN_PATH)
            if trouble is not None:
                trouble = self._clarified(trouble, answer, until)
                raise NoAnswerError(trouble.reason, trouble.detail, advice=trouble.advice)
            seconds = _seconds(answer.headers.get(TTL_HEADER.lower()))
            renew_at = self._clock() + max(seconds - RENEW_BEFORE, seconds / 2)
            self._token = _Token(responders.token_in(answer), renew_at, self.endpoint)
            self.token_granted = True
            self._call.silent_tokens = []
        return {TOKEN_HEADER: self._token.secret}

    def _clarified(self, trouble: responders.Trouble, answer: HttpAnswer, until: float) -> responders.Trouble:
        """The trouble, after one more request where that tells who refused. It carries an invalid token."""
        path, server = responders.doubt(answer), self.server
        if not path:
            return trouble
        try:
            return responders.clarified(trouble, self._ask("GET", path, {TOKEN_HEADER: "none"}, until))
        except NoAnswerError:
            return trouble
        finally:
            self.server = server

    def _ask(self, method: str, target: str, headers: Mapping[str, str], until: float) -> HttpAnswer:
        """One request over a connection of its own: the service closes after each answer."""
        connection = self._connect(until)
        if TOKEN_HEADER in headers and self._token and self.endpoint != self._token.endpoint:
            # A token goes to the endpoint that gave it alone: the other one may be a proxy.
            connection.close()
            self._token = None
            headers = self._with_token(until)
            connection = self._connect(until, self.endpoint)
        try:
            wire_of, exchange = self._library()
        except NoAnswerError:
            connection.close()
            raise
        began = self._clock()
        wire = wire_of(connection.detach(), self._end_of_exchange(began, until), self._clock)
        try:
            answer = exchange(wire, method, f"{self.endpoint}{target}", headers)
        except NoAnswerError as failure:
            waited = self._clock() - began
            if method == "PUT" and failure.silent and (wire.reset or waited >= SILENCE):
                self._call.silent_tokens.append("reset" if wire.reset else f"{waited:.2f} s")
            raise
        self.server = responders.clean(answer.headers.get("server"))
        trouble = responders.other_cloud(answer)
        if trouble is not None:
            raise NoAnswerError(trouble.reason, trouble.detail)
        return answer

    def _library(self) -> tuple[type[Wire], Callable[[Wire, str, str, Mapping[str, str]], HttpAnswer]]:
        """What carries a request. Raises NoAnswerError where it cannot be loaded."""
        from .wire import Wire

        if not self._use_requests:
            from .plain import exchange as plainly

            return Wire, plainly
        with Loading("requests", lambda says: NoAnswerError(Reason.DEPENDENCY, says)):
            from .http import exchange
        return Wire, exchange

    def _end_of_exchange(self, now: float, until: float) -> float:
        """When to stop waiting for this answer: a lost packet must not cost the whole time."""
        if self._call.last:
            return until
        patience = PATIENCE * 2.0 ** max(0, self._call.silent - 1)
        return min(until, now + max(SILENCE, min(patience, (until - now) / 3)))

    def _connect(self, until: float, at: Endpoint | None = None) -> _socket.socket:
        """A connection to `at`; without it, to an endpoint that has not failed in this call, then to one that has."""
        call, failed = self._call, None
        fresh = [one for one in self.endpoints if one not in call.closed and one not in call.tired]
        if self.endpoint in fresh and self._failed is None:
            fresh = [self.endpoint]
        for candidates in (fresh, call.tired) if at is None else ([at],):
            if not candidates:
                continue
            now = self._clock()
            within = max(0.0, min(until - now, CONNECT_WITHIN))
            if candidates == [self.endpoint]:
                within = max(within, self._end_of_exchange(now, until) - now)
            try:
                self.endpoint, connection = connect.race(candidates, within, self._clock)
            except NoAnswerError as failure:
                failed = failed or failure
                call.tired = [*(one for one in candidates if one not in call.tired), *call.tired]
            else:
                return connection
        raise failed or AssertionError("an endpoint is always left to ask")

    def _is_contained(self) -> bool:
        if self._in_container is not None:
            return self._in_container
        return any(map(self._environ.get, _CONTAINER_VARIABLES)) or any(map(os.path.exists, _CONTAINER_FILES))

    def _error(self, call: _Call) -> ImdsError:
        """What went wrong in a call: the last answer, or silence, and not the other address's absence."""
        answers = [one for one in call.failures if one.reason not in NOT_THERE]
        failure = (answers or call.failures)[-1]
        if failure.reason is Reason.SLOW:
            # A server that sent a part of an answer, even once, is slow: nothing was lost at a hop.
            failure = next((one for one in answers if one.reason is Reason.SLOW and not one.silent), failure)
        reason, advice = failure.reason, failure.advice or ADVICE[failure.reason]
        detail = str(failure)
        if failure.silent and len(call.silent_tokens) > 1:
            reason, waited = Reason.HOP_LIMIT, ", ".join(call.silent_tokens[:8])
            detail = f"{len(call.silent_tokens)} token requests were sent, and none was answered ({waited})"
            advice = responders.HOP_LIMIT_IN_A_CONTAINER if self._is_contained() else ADVICE[reason]
        final = (str(one) for one in answers[:-1] if one.reason not in PASSES and str(one) != str(failure))
        detail += "".join(f"; before that {other}" for other in dict.fromkeys(final))
        tried = f" after {call.repeats + 1} tries" if call.repeats else ""
        return ImdsError(f"metadata service: {detail}{tried}; {advice}", reason)


def _endpoints(given: str | Endpoint | Sequence[str | Endpoint]) -> tuple[Endpoint, ...]:
    try:
        several = (given,) if isinstance(given, (str, Endpoint)) else tuple(given)
    except TypeError:
        raise ValueError(f"endpoints: {given!r} (one or several of http://ADDRESS[:PORT] are expected)") from None
    if not several:
        raise ValueError("endpoints: none given; leave the argument out for EC2's own addresses")
    return tuple(one if isinstance(one, Endpoint) else Endpoint.parse(one) for one in several)


def _target(path: str) -> str:
    if not isinstance(path, str) or not path or not _PATH_CHARACTERS.issuperset(path):
        raise ValueError(f"path: {path!r} is empty or has characters that no metadata path has")
    return path if path.startswith("/") else f"/latest/{path}"


def _seconds(header: str | None) -> int:
    """How long a token lives, from the answer's header; what is not a sane number is what we had asked for."""
    usable = header is not None and header.isascii() and header.isdigit() and len(header) < 10
    return min(int(header), LONGEST_TTL) if header is not None and usable else LONGEST_TTL
