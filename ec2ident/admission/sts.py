"""The one request to STS: over TLS, to a host that the server chose, without proxies and redirects, bounded."""

from __future__ import annotations

from ec2ident.dependency import Loading
from ec2ident.regions.partitions import Partition
from ec2ident.value import Value

from . import caller
from .errors import AdmissionUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from http.client import HTTPConnection

    from ec2ident.model import Identity

    from .caller import Caller

_LARGEST_ANSWER = 64 * 1024


class Sts(Value):
    """Asks STS which instance signed a GetCallerIdentity request, and compares it with a proven document.

    The request goes to the STS of the document's own region; `hosts` gives others by region (FIPS, a VPC endpoint).
    `roles` are the names of the roles that count, None all of the account; name those that only EC2 may assume, because
    who may assume a role elsewhere chooses the name of the session. `timeout` is in seconds. `connect` makes the
    connection to a host, for tests.
    """

    roles: Collection[str] | None = None
    hosts: Mapping[str, str] | None = None
    timeout: float = 5.0
    connect: Callable[[str, float], HTTPConnection] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.roles, str) or (self.roles is not None and not self.roles):
            raise ValueError(f"roles: {self.roles!r} (a list of names, or None for all)")

    def identify(self, headers: Sequence[tuple[str, str]], identity: Identity, bound: str, now: datetime) -> Caller:
        """The caller, where it is the instance of this identity.

        Raises MalformedError, NotAdmittedError (`wrong-caller`), and AdmissionUnavailableError where STS gave no
        answer.
        """
        partition = Partition.of(identity.region)
        host = (self.hosts or {}).get(identity.region) or partition.endpoint("sts", identity.region)[len("https://") :]
        signing_region = partition.signing_region("sts", identity.region)
        sent = caller.headers_for(headers, host=host, region=signing_region, bound=bound, now=now)
        found = caller.read_answer(*self._exchange(host, sent))
        caller.check(found, identity, self.roles)
        return found

    def _exchange(self, host: str, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
        from http.client import HTTPException

        connection = (self.connect or _connect)(host, self.timeout)
        try:
            connection.putrequest(caller.METHOD, caller.PATH, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(caller.BODY)
            answer = connection.getresponse()
            body = answer.read(_LARGEST_ANSWER + 1)
        except (OSError, HTTPException) as error:
            raise AdmissionUnavailableError(f"STS at {host}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if len(body) > _LARGEST_ANSWER:
            raise AdmissionUnavailableError(f"STS at {host}: more than {_LARGEST_ANSWER} bytes")
        return answer.status, answer.headers.get("content-type", ""), body


def _connect(host: str, timeout: float) -> HTTPConnection:
    with Loading("ssl", AdmissionUnavailableError):
        from http.client import HTTPSConnection
        from ssl import create_default_context

    return HTTPSConnection(host, timeout=timeout, context=create_default_context())
