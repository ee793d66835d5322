"""The client of the AWS API: credentials, signing, sending and retries, all under one deadline.

Requests are in `actions.py`, responses in `response.py`, and where credentials come from in `credentials.py`. Where the
API is, and through which proxy, is decided in `endpoints.py`.
"""

from __future__ import annotations

import os
import threading
import time

from ec2ident.value import Value
from ec2ident_agent.failover.errors import (
    NOT_YET,
    RIGHT,
    ApiError,
    ApiUnknownError,
    CredentialsError,
    ErrorKind,
    FailoverError,
    MalformedResponseError,
    OutOfTimeError,
    UsageError,
)

from . import actions, consistency, endpoints, response, shared_config
from .chain import only_the_role
from .connection import ProxyError, open_connection
from .credentials import InstanceRole, botocore_chain, checked, none_found
from .deadline import bounded
from .endpoints import Access as Access
from .endpoints import Surroundings
from .model import Credentials
from .redaction import SHOWN, line, redacted
from .xml import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from http.client import HTTPConnection
    from typing import Any

    from .actions import ApiCall
    from .deadline import Deadline

    Log = Callable[[str], object]

#: Back-off with full jitter: the longest first pause in seconds, which doubles each time, and its cap.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0


#: Seconds that a clock may be off: services accept five minutes or more ("Troubleshoot Signature Version 4").
CLOCK = 240.0


class HttpReply(Value):
    """What one exchange brought."""

    status: int
    body: bytes
    #: The header of that name, "" without one.
    date: str = ""


class _PassingError(ApiUnknownError):
    """This attempt had no usable response: refused, reset, broken off, or none in time. Try again."""


class Api:
    """The API with one role, under one deadline. Several threads may use it at once.

    `patient` says whether to wait until the deadline for the metadata service, which has the role's credentials.
    """

    def __init__(
        self,
        access: Access,
        deadline: Deadline,
        *,
        environ: Mapping[str, str] | None = None,
        jitter: Callable[[], float] | None = None,
        log: Log = lambda line: None,
        now: Callable[[], float] = time.time,
        patient: bool = False,
    ) -> None:
        from ec2ident.errors import Ec2IdentError
        from ec2ident.regions.partitions import Partition

        try:
            self.partition = Partition.of(access.region)
        except Ec2IdentError as error:
            raise UsageError(str(error)) from None
        self.access, self.deadline, self.log, self.patient = access, deadline, log, patient
        self._environ = os.environ if environ is None else environ
        self._shared: dict[str, str] | None = None
        self._context: ssl.SSLContext | None = None
        #: Held while the authorities' certificates are loaded, which takes as long as several calls.
        self._loading = threading.Lock()
        #: Addresses that accepted a connection and then gave no answer: the next attempt tries others first.
        self._silent: set[str] = set()
        self._now, self._jitter = now, jitter
        self._lock = threading.Lock()
        #: Held while credentials are requested, so that concurrent calls request them once. The key says whether they
        #: are the source credentials, which the request for those of a role needs.
        self._asking = {True: threading.Lock(), False: threading.Lock()}
        self._credentials: dict[bool, Credentials] = {}
        self._idle: dict[str, list[HTTPConnection]] = {}
        #: Every call so far that changed nothing, as a person would type it.
        self.looks: set[str] = set()

    def moment(self, ago: float = 0.0) -> str:
        """The time some seconds ago, in the form of the API's answers."""
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._now() - ago))

    def close(self) -> None:
        """Close the connections that are kept for the next call."""
        with self._lock:
            for connection in (each for idle in self._idle.values() for each in idle):
                connection.close()
            self._idle.clear()

    # Calling

    def call(self, call: ApiCall) -> Any:
        """Send a call and return its response as a value. Retries temporary errors until the deadline.

        A call that is only advice is tried once, in at most a quarter of the time that is left. Raises ApiError,
        OutOfTimeError, MalformedResponseError, CredentialsError.
        """
        if call.writes:
            self.log(f"[#] {call}")
        else:
            self.looks.add(str(call))
        pauses, refreshed, began = 0, False, self.deadline.used
        last: FailoverError | None = None
        while True:
            try:
                return self._once(call)
            except OutOfTimeError:
                if last is None:
                    raise
                raise OutOfTimeError(f"{call.name}: {last}: not within {self.deadline.seconds:g} s") from None
            except ApiError as error:
                if error.kind is ErrorKind.CREDENTIALS and not refreshed:
                    refreshed = True
                    self._forget()
                    continue
                waits = call.waits and error.kind is ErrorKind.WAIT
                unknown = call.seen and error.code in NOT_YET and self.deadline.used - began < consistency.SETTLED
                if not (error.kind is ErrorKind.RETRY or waits or unknown):
                    raise
                last = error
            except _PassingError as error:
                last = error
            if call.advice:
                raise last
            self._back_off(pauses, call, last)
            pauses += 1

    def _back_off(self, pauses: int, call: ApiCall, last: FailoverError) -> None:
        pause = self._random() * min(LONGEST_PAUSE, FIRST_PAUSE * 2**pauses)
        self.log(f"{call.name}: {last}; trying again in {pause:.2f} s")
        self.deadline.pause(pause, f"{call.name}: {last}")

    def _random(self) -> float:
        if self._jitter is None:
            import random

            self._jitter = random.SystemRandom().random
        return self._jitter()

    def pages(self, make: Callable[[str], ApiCall]) -> tuple[Any, ...]:
        """All items of a call that answers in pages. Raises MalformedResponseError after more than 100 pages."""
        found, token = self.call(make(""))
        for _ in range(100):
            if not token:
                return tuple(found)
            more, token = self.call(make(token))
            found += more
        raise MalformedResponseError(f"{make('').name}: more than 100 pages")

    def _once(self, call: ApiCall) -> Any:
        left = self.deadline.left
        if not left:
            raise OutOfTimeError(f"{call.name}: not within {self.deadline.seconds:g} s")
        attempt = min(left / 4 if call.advice else left, self.access.attempt)
        credentials = self.credentials(source=call.service == "sts")

        def answered() -> Any:
            reply = self._exchange(call, credentials, attempt)
            if reply.status in (200, 201) and reply.body:
                # A long response takes time to read too.
                return self._read(call, reply.body)
            if reply.status == 200 and call.empty:
                return None
            raise self._error(call, reply)

        try:
            return bounded(answered, attempt, call.name)
        except OutOfTimeError:
            raise _PassingError(f"no answer within {attempt:.1f} s") from None

    def _read(self, call: ApiCall, body: bytes) -> Any:
        try:
            root = parse(body)
            if root.tag != f"{call.action}Response":
                raise MalformedResponseError(f"the answer is {root.tag[:64]!r} (expected {call.action}Response)")
            return call.read(root)
        except MalformedResponseError as error:
            raise MalformedResponseError(f"{call.name}: {error}") from None

    def _error(self, call: ApiCall, reply: HttpReply) -> Exception:
        status = reply.status
        if status < 300:
            return _PassingError(f"HTTP status {status} and nothing more")
        found = response.error(reply.body)
        if found:
            arns = call.arns(self.partition.name, self.access.region)
            said = self._safe(found[1])
            return ApiError(call.name, line(found[0]), said, status, arns, self._clock(reply.date))
        shown = self._safe(reply.body[:2000].decode("utf-8", "replace"))[:SHOWN]
        shown = f": {shown}" if shown else ""
        if status == 429 or status >= 500:
            return _PassingError(f"HTTP status {status}{shown}")
        return MalformedResponseError(f"{call.name}: HTTP status {status} without a known error{shown}")

    def _safe(self, text: str) -> str:
        """A text of the service in one line, bounded, and without what signs requests."""
        known = [text for each in [*self._credentials.values()] for text in (each.secret, each.token)]
        return line(redacted(text, known))[:512]

    def _clock(self, date: str) -> str:
        """What an answer's Date says about this machine's clock: how far it is off, or "" if it is right or unknown."""
        from email.utils import parsedate_to_datetime

        try:
            there = parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError, OverflowError):
            return ""
        off = self._now() - there
        if abs(off) < CLOCK:
            return RIGHT
        said = f"{abs(off):.0f} s {'ahead' if off > 0 else 'behind'}: the service has {line(date)[:40]}"
        return f"this machine's clock is {said}"

    # One exchange, in a thread that may be abandoned

    def _exchange(self, call: ApiCall, credentials: Credentials, seconds: float) -> HttpReply:
        from http.client import HTTPException

        began = self.deadline.used
        url = self._endpoint(call.service)
        try:
            connection, fresh = self._connection(url, seconds)
        except ProxyError as error:
            raise _PassingError(f"{url}: {line(str(error))}") from None
        except OSError as error:
            if type(error).__name__ == "SSLCertVerificationError":
                raise _untrusted(url, error) from None
            raise _PassingError(f"{url}: {_reason(error)}") from None
        peer = _peer(connection)
        try:
            with self._lock:
                self._silent.add(peer)
            reply = self._talk(connection, call, credentials, url)
            with self._lock:
                self._silent.discard(peer)
        except (OSError, HTTPException, MalformedResponseError) as error:
            connection.close()
            if isinstance(error, MalformedResponseError):
                raise
            if fresh or self.deadline.used - began >= seconds:
                raise _PassingError(f"{url}: {_reason(error)}") from None
            # A server may close an idle connection at any time: retry on a new one. Not after the attempt was given up:
            # a write that is sent late could undo what another node did.
            return self._exchange(call, credentials, seconds)
        if connection.sock is not None:
            with self._lock:
                self._idle.setdefault(url, []).append(connection)
        return reply

    def _talk(self, connection: HTTPConnection, call: ApiCall, credentials: Credentials, url: str) -> HttpReply:
        query, body = _wire(call)
        headers = self._sign(call, credentials, url, query, body)
        if body:
            headers["content-type"] = _CONTENT[call.service]
        connection.putrequest(call.method, f"{call.path}?{query}" if query else call.path, True, True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if call.method == "POST":
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        # An unclosed response would keep the socket open after the connection is closed.
        with connection.getresponse() as response:
            data = response.read(call.limit + 1)
            if len(data) > call.limit:
                raise MalformedResponseError(f"{call.name}: an answer longer than {call.limit} bytes")
            if not response.isclosed():
                # The body is shorter than Content-Length says; only a read of all of it raises IncompleteRead.
                response.read()
        if response.will_close:
            connection.close()
        return HttpReply(response.status, data, response.getheader("date") or "")

    def _sign(self, call: ApiCall, credentials: Credentials, url: str, query: str, body: bytes) -> dict[str, str]:
        from .sigv4 import sign

        return sign(
            credentials,
            service=call.service,
            region=self.partition.signing_region(call.service, self.access.region),
            method=call.method,
            host=url.partition("://")[2],
            path=call.path,
            query=query,
            body=body,
            now=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now())),
        )

    @property
    def _around(self) -> Surroundings:
        with self._lock:
            if self._shared is None:
                self._shared = shared_config.read(self._environ, self.access.profile)
            return Surroundings(self._environ, self._shared)

    def _endpoint(self, service: str) -> str:
        """The URL of a service. Raises UsageError."""
        return endpoints.url(service, self.access, self.partition, self._around)

    def _connection(self, url: str, seconds: float) -> tuple[HTTPConnection, bool]:
        with self._lock:
            idle = self._idle.get(url)
            if idle:
                return idle.pop(), False
            avoid = {*self._silent}
        proxy = endpoints.proxy(url, self.access, self._environ)
        # The time-out of the socket ends a thread that was abandoned; the caller itself waits by the clock.
        return open_connection(url, proxy, self._tls, seconds, avoid), True

    @property
    def ca_bundle(self) -> str:
        """The PEM file of the authorities to trust, "" for those of the system. Raises UsageError."""
        return self.access.ca_bundle or self._environ.get("AWS_CA_BUNDLE") or self._around.shared.get("ca_bundle", "")

    def _tls(self) -> ssl.SSLContext:
        import ssl

        bundle = self.ca_bundle
        with self._loading:
            if self._context is None:
                try:
                    self._context = ssl.create_default_context(cafile=bundle or None)
                except OSError as error:
                    raise UsageError(f"ca_bundle: {bundle}: {error}") from None
            return self._context

    def _load_authorities(self) -> None:
        """Begin to load the certificates for TLS, while this thread waits for credentials. OpenSSL reads them without
        the interpreter's lock. What is wrong with them is said by the first call, which needs them.
        """

        def load() -> None:
            try:
                if self._endpoint("ec2").startswith("https://"):
                    self._tls()
            except UsageError:
                return

        threading.Thread(target=load, daemon=True).start()

    # Credentials

    def credentials(self, *, source: bool = False) -> Credentials:
        """The credentials to sign with: those of the configured role, or with `source` those that may assume it."""
        source = source or not self.access.role_arn
        with self._asking[source]:
            found = self._credentials.get(source)
            if found is None:
                found = self._credentials[source] = checked(self._chain() if source else self._assume())
        return found

    def _forget(self) -> None:
        self._credentials.clear()

    def _assume(self) -> Credentials:
        found: Credentials = self.call(
            actions.assume_role(self.access.role_arn, "ec2ident-failover", self.access.external_id)
        )
        return found

    def _chain(self) -> Credentials:
        key, secret = self._environ.get("AWS_ACCESS_KEY_ID"), self._environ.get("AWS_SECRET_ACCESS_KEY")
        if key and secret and not self.access.profile:
            # They are first in the chain, and need no import.
            # The first name is the older one; botocore asks for it first too.
            tokens = (self._environ.get(name) for name in ("AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"))
            return Credentials(key, secret, next(filter(None, tokens), ""))
        self._load_authorities()
        # The process's environment, as the rest of the chain.
        if not self.access.profile and only_the_role(os.environ, _is_there):
            return self._role()
        try:
            return bounded(
                lambda: botocore_chain(
                    self.access.profile, self.deadline.left, self._sts_options(), patient=self.patient
                ),
                self.deadline.left,
                "credentials",
            )
        except OutOfTimeError as error:
            raise CredentialsError(f"{error}; is the metadata service reachable?") from None

    def _sts_options(self) -> dict[str, Any]:
        """How botocore's own client reaches STS, for a profile with a role: as our calls do."""
        url = self._endpoint("sts")
        proxy = endpoints.proxy(url, self.access, self._environ)
        return {
            "region_name": self.access.region,
            "endpoint_url": url,
            "verify": self.ca_bundle or None,
            "proxies": {"https": proxy.url} if proxy else {},
        }

    def _role(self) -> Credentials:
        """Those of the instance's role, without botocore."""
        left = self.deadline.left
        try:
            role = InstanceRole(os.environ, left, patient=self.patient)
            found = bounded(role.retrieve_iam_role_credentials, left, "credentials")
        except OutOfTimeError as error:
            raise CredentialsError(f"{error}; is the metadata service reachable?") from None
        if not found:
            raise none_found()
        return Credentials(found["access_key"], found["secret_key"], found["token"])


def _is_there(path: str) -> bool:
    return os.path.lexists(os.path.expanduser(path))


_CONTENT = {
    "ec2": "application/x-www-form-urlencoded; charset=utf-8",
    "sts": "application/x-www-form-urlencoded; charset=utf-8",
    "route53": "text/xml",
}


def _wire(call: ApiCall) -> tuple[str, bytes]:
    """Query and body."""
    from urllib.parse import quote, urlencode

    if call.service == "route53":
        return urlencode(sorted(call.fields), quote_via=quote, safe="-_.~"), call.body.encode()
    form = (("Action", call.action), ("Version", actions.VERSIONS[call.service]), *call.fields)
    return "", urlencode(form, quote_via=quote, safe="-_.~").encode()


def _untrusted(url: str, error: OSError) -> UsageError:
    """Another attempt would not help. The request was not sent."""
    said = line(str(getattr(error, "verify_message", "") or error))[:200]
    clock = "; is this machine's clock right?" if "expired" in said or "not yet valid" in said else ""
    help_ = f"; name the PEM file of its authority as ca_bundle{clock}"
    return UsageError(f"{url}: its certificate is not trusted: {said}{help_}")


def _peer(connection: HTTPConnection) -> str:
    try:
        return str(connection.sock.getpeername()[0])
    except OSError:
        return ""


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {line(str(error))[:200]}" if str(error) else type(error).__name__
