"""A metadata service like EC2's, on its own port; a test can change its state and behaviour at any time."""

from __future__ import annotations

import collections
import threading
import time

from ec2ident.value import Value

from . import identity, wire
from .answers import Call, ServiceState, answer
from .behaviour import Behaviour, Reply
from .instance import Instance
from .server import Server, listeners
from .tokens import Tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

    from ec2ident.proof.trust import TrustStore

    from .instance import Interface
    from .signing import Authority

#: Requests that are remembered; the oldest are forgotten.
REMEMBERED = 10_000


class Exchange(Value):
    """One request as the service saw it, and how it was answered. Never the token itself.

    `status` None: nothing was answered. `token` is `none`, `valid` or `invalid`; `time` is seconds since the epoch.
    """

    method: str
    path: str
    status: int | None
    source: str
    time: float
    token: str
    user_agent: str = ""


class _Rule:
    """A behaviour in force: since when, and how often still."""

    def __init__(self, behaviour: Behaviour, since: float) -> None:
        self.behaviour = behaviour
        self.since = since
        self.left = behaviour.times

    def takes(self, request: wire.WireRequest, now: float) -> bool:
        """Does it change this request? Counts it when it does."""
        behaviour = self.behaviour
        if now < self.since + behaviour.start or (behaviour.end is not None and now >= self.since + behaviour.end):
            return False
        if self.left == 0 or not behaviour.concerns(request):
            return False
        if self.left is not None:
            self.left -= 1
        return True


class MetadataService:
    """A metadata service; use it as a context manager, or call `start` and `stop`.

    `host` is one address or several (`("127.0.0.1", "::1")`), `port` 0 takes a free port. `listeners` are sockets that
    listen already, in whatever network namespace they were made, and take the place of both. An `authority` that is
    given can be shared between services: making its keys takes a moment. `clock` gives seconds since the epoch; `log`
    is called with every request.
    """

    def __init__(
        self,
        instance: Instance | None = None,
        *,
        host: str | Sequence[str] = "127.0.0.1",
        port: int = 0,
        listeners: Sequence[socket.socket] = (),
        authority: Authority | None = None,
        clock: Callable[[], float] = time.time,
        log: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._instance = instance or Instance()
        #: Called after each change of `instance`.
        self.observers: list[Callable[[], None]] = []
        self.host = (host,) if isinstance(host, str) else tuple(host)
        self.port = port
        self._listeners = list(listeners)
        self._authority = authority
        self._clock = clock
        self._log = log
        self._started = clock()
        self._tokens = Tokens()
        self._rules: list[_Rule] = []
        self._requests: collections.deque[Exchange] = collections.deque(maxlen=REMEMBERED)
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._signed: dict[tuple[Instance, bool], Mapping[str, bytes]] = {}
        self._stranger: Authority | None = None

    # The life of the service

    def start(self) -> Self:
        """Listen and answer. After `stop`, listens again on the same port. Raises OSError when it cannot listen."""
        sockets, self._listeners = self._listeners or listeners(self.host, self.port), []
        self.host = tuple(one.getsockname()[0] for one in sockets)
        self.port = sockets[0].getsockname()[1]
        self._server = Server(sockets, self._respond)
        return self

    def stop(self) -> None:
        """Close the port and every connection: from now on a client is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def __enter__(self) -> Self:
        return self if self._server else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    @property
    def endpoint(self) -> str:
        """The URL of the service on its first address, without a final slash."""
        return self.endpoints[0]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The URL of the service on each of its addresses."""
        hosts = [f"[{host}]" if ":" in host else host for host in self.host]
        return tuple(f"http://{host}:{self.port}" for host in hosts)

    # What it describes, and who signs it

    @property
    def instance(self) -> Instance:
        """The instance that the service describes; set another one at any time."""
        return self._instance

    @instance.setter
    def instance(self, instance: Instance) -> None:
        with self._lock:
            self._instance = instance
        for observer in self.observers:
            observer()

    @property
    def authority(self) -> Authority:
        """The throw-away authority that signs the identity items; made when it is first needed."""
        with self._lock:
            if self._authority is None:
                self._authority = self._new_authority()
            return self._authority

    @property
    def trust(self) -> TrustStore:
        """A trust store that trusts this service's authority for the instance's region."""
        return self.authority.trust(self.instance.region, self.instance.partition.name)

    def attach(self, interface: Interface, *, listed_after: float = 0, numbered_after: float = 0) -> None:
        """Attach an interface, which the service learns of as late as EC2's does.

        Its MAC is neither listed nor found for `listed_after` seconds, and its device number reads 0 for
        `numbered_after` seconds, as it does on EC2 until it has propagated.
        """
        stem = f"/macs/{interface.mac}/"
        with self._lock:
            if numbered_after:
                self.behave("body", path=f"{stem}device-number$", body="0", end=numbered_after)
            if listed_after:
                self.behave("hide", path=stem, end=listed_after)
            self.instance = self.instance.attach(interface)

    def detach(self, mac: str) -> None:
        """Detach an interface. Raises KeyError when the instance has none with this MAC."""
        with self._lock:
            self.instance = self.instance.detach(mac)

    def assign(self, mac: str, **changes: Any) -> None:
        """Change fields of one interface: `assign(mac, private_ips=("10.0.0.10", "10.0.0.11"))`."""
        with self._lock:
            self.instance = self.instance.assign(mac, **changes)

    # How it behaves

    def behave(self, do: str, **how: Any) -> Behaviour:
        """Add a behaviour by its name; the fields of `Behaviour` say for which requests. Raises ValueError."""
        return self.add(Behaviour(do, **how))

    def add(self, behaviour: Behaviour) -> Behaviour:
        """Add a behaviour that is made already; its times count from now."""
        with self._lock:
            self._rules.append(_Rule(behaviour, self._clock()))
        return behaviour

    def forget(self, behaviour: Behaviour) -> None:
        """Take one behaviour back; nothing happens when it is not in force."""
        with self._lock:
            self._rules = [rule for rule in self._rules if rule.behaviour is not behaviour]

    def reset(self) -> None:
        """Take every behaviour back: the service is EC2's again."""
        with self._lock:
            self._rules = []

    def forget_tokens(self) -> None:
        """Make every token so far invalid: the next use of one is answered with 401."""
        self._tokens.forget()

    # What it saw

    @property
    def requests(self) -> tuple[Exchange, ...]:
        """Every request so far, oldest first."""
        with self._lock:
            return tuple(self._requests)

    def forget_requests(self) -> None:
        """Start the list of requests anew."""
        with self._lock:
            self._requests.clear()

    # Answering, in the server's thread

    def _respond(self, request: wire.WireRequest | None, source: str) -> Reply:
        now = self._clock()
        if request is None:
            reply, request = Reply(wire.page(400, now)), wire.WireRequest("?", "?", source=source)
        else:
            reply = self._reply(request, now)
        self._remember(request, reply, now)
        return reply

    def _reply(self, request: wire.WireRequest, now: float) -> Reply:
        with self._lock:
            behaviours = [rule.behaviour for rule in self._rules if rule.takes(request, now)]
            state = ServiceState(self.instance, self._tokens, self._items, self._foreign_items, now, self._started)

        def through(call: Call, inner: Sequence[Behaviour]) -> Reply:
            if not inner:
                return Reply(answer(call, state))
            return inner[-1].act(call, lambda call: through(call, inner[:-1]), state)

        return through(Call(request), behaviours)

    def _new_authority(self) -> Authority:
        from .signing import Authority

        return Authority(china=self.instance.partition.name == "aws-cn")

    def _items(self) -> Mapping[str, bytes]:
        with self._lock:
            return self._signed_by(self.authority, self.instance)

    def _foreign_items(self) -> Mapping[str, bytes]:
        with self._lock:
            if self._stranger is None:
                self._stranger = self._new_authority()
            return self._signed_by(self._stranger, self.instance)

    def _signed_by(self, authority: Authority, instance: Instance) -> Mapping[str, bytes]:
        """The identity items; signed once for each instance, as EC2's are once for each launch."""
        key = (instance, authority is self._stranger)
        if key not in self._signed:
            current = {known: items for known, items in self._signed.items() if known[0] == instance}
            self._signed = {**current, key: identity.items(instance, authority)}
        return self._signed[key]

    def _remember(self, request: wire.WireRequest, reply: Reply, now: float) -> None:
        token = request.header(wire.TOKEN_HEADER)
        known = token is not None and self._tokens.remaining(token, now) is not None
        seen = Exchange(
            method=request.method,
            path=request.target,
            status=None if reply.response is None else reply.response.status,
            source=request.source,
            time=now,
            token="none" if token is None else "valid" if known else "invalid",
            user_agent=request.header("user-agent") or "",
        )
        with self._lock:
            self._requests.append(seen)
        if self._log is not None:
            self._log(seen)
