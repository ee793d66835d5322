"""The errors of a move, sorted by what to do about them, each with its exit code.

Each class derives from the agent's class of the same meaning, so `except UnknownError` means one thing everywhere.

The table `KINDS` sorts the codes of API errors. Its sources are the EC2 API Reference ("Error codes"), the Route 53
API Reference and "Retry behavior" of the AWS SDKs.
"""

from __future__ import annotations

from enum import Enum

from ec2ident_agent.errors import AgentError, ConfigError, RefusedError, UnknownError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


#: What is known of this machine's clock after an answer with the same time.
RIGHT = "right"


class ErrorKind(str, Enum):
    """What an error of the API means for the caller. The value is stable: scripts compare it."""

    #: Temporary: retry with back-off.
    RETRY = "retry"
    #: A resource is not in the required state yet.
    WAIT = "wait"
    #: Already done, or another node did it: read the state again.
    LOOK = "look"
    DENIED = "denied"
    CREDENTIALS = "credentials"
    CONFIGURATION = "configuration"
    QUOTA = "quota"


class FailoverError(AgentError):
    """Base of all errors that a move raises on purpose. The text is one line for a person."""

    @property
    def brief(self) -> str:
        """What to do, for places where the whole text is too long."""
        return str(self)


class UsageError(FailoverError, ConfigError):
    """A flag, the configuration or an id is wrong. Nothing was changed."""


class ApiUnknownError(FailoverError, UnknownError):
    """The result is unknown: no answer in time, no credentials, or an answer that cannot be understood."""


class OutOfTimeError(ApiUnknownError):
    """The deadline passed. A request that was sent may have been carried out."""


class MalformedResponseError(ApiUnknownError):
    """The response is not what the service documents: not XML, a missing field, an invalid id, or too long."""


class CredentialsError(ApiUnknownError):
    """No credentials were found, or the service rejects them."""


class MoveRefusedError(FailoverError, RefusedError):
    """The move was refused on purpose: another node owns the resource, or moved it first."""


class ApiError(FailoverError):
    """The service answered with an error. `code` is the service's own code, `kind` is what the code means.

    The class is chosen by the kind: `ApiError(...)` makes an ApiUsageError for a wrong id, an ApiTemporaryError for
    throttling or a failure in the service, an ApiCredentialsError for rejected credentials. All others are refusals of
    the service: exit code 4. `clock` is what the answer's time says about this machine's clock: RIGHT, a text, or "".
    """

    def __new__(
        cls, action: str, code: str, message: str, status: int, resources: Sequence[str] = (), clock: str = ""
    ) -> ApiError:
        """Choose the class."""
        return super().__new__(_CLASSES.get(kind_of(code, status), ApiError))

    def __init__(
        self, action: str, code: str, message: str, status: int, resources: Sequence[str] = (), clock: str = ""
    ) -> None:
        self.clock = clock
        self.action, self.code, self.message, self.status = action, code, message, status
        self.resources = tuple(resources)
        self.kind = kind_of(code, status)
        advice = self._advice()
        super().__init__(
            f"{action}: {code}: {message.rstrip('.')}; {advice}" if advice else f"{action}: {code}: {message}"
        )

    def _advice(self) -> str:
        if self.kind is ErrorKind.DENIED and self.code not in _NO_POLICY:
            return self._allowed_by()
        if self.kind is ErrorKind.CREDENTIALS and self.clock:
            return self.clock if self.clock != RIGHT else _REGION if self.code in _REJECTED else ""
        # Services other than EC2 report a wrong clock as a signature mismatch, with both times in the message.
        times = self.code == "SignatureDoesNotMatch" and any(
            said in self.message for said in ("expired", "not yet current")
        )
        if times or self.code in ("RequestExpired", "InvalidSecurity.RequestHasExpired"):
            return "is this machine's clock right?"
        return ""

    def _allowed_by(self) -> str:
        """Which policy has to change, as the message says: a further Allow does not help against an explicit Deny."""
        import re

        allow = f"allow {self.action} on {', '.join(self.resources) or '*'}"
        denies = re.search(r"explicit deny(?: in (an? [a-zA-Z -]{4,40}))?", self.message)
        lacks = re.search(r"because no ([a-zA-Z -]{4,40}?) allows", self.message)
        if denies:
            return f"{self.action} is denied explicitly" + (f" by {denies[1].rstrip()}" if denies[1] else "")
        return f"{allow} in the {lacks[1]}" if lacks and lacks[1] != "identity-based policy" else allow

    @property
    def brief(self) -> str:
        """The advice alone, where there is any."""
        return self._advice() or str(self)


class ApiUsageError(ApiError, UsageError):
    """The service does not know an id, or a value is wrong. Nothing was changed."""


class ApiTemporaryError(ApiError, ApiUnknownError):
    """Throttled, or a failure in the service. After a failure the request may have been carried out."""


class ApiCredentialsError(ApiError, CredentialsError):
    """The service rejected the credentials. Nothing was changed, and the state is unknown."""


#: The class of an error by its kind; ApiError for all others.
_CLASSES: dict[ErrorKind, type[ApiError]] = {
    ErrorKind.CONFIGURATION: ApiUsageError,
    ErrorKind.RETRY: ApiTemporaryError,
    ErrorKind.CREDENTIALS: ApiCredentialsError,
}


KINDS = {
    ErrorKind.RETRY: (
        "RequestLimitExceeded EC2ThrottledException Throttling ThrottlingException ThrottledException RequestThrottled "
        "RequestThrottledException TooManyRequestsException SlowDown BandwidthLimitExceeded PriorRequestNotComplete "
        "RequestTimeout RequestTimeoutException InternalError InternalFailure ServiceUnavailable Unavailable"
    ),
    ErrorKind.WAIT: (
        "InvalidNetworkInterface.InUse IncorrectState IncorrectInstanceState InvalidInstanceState "
        "InvalidParameterValue.InUse"
    ),
    ErrorKind.LOOK: "InvalidAttachmentID.NotFound RouteAlreadyExists InvalidRoute.NotFound DryRunOperation",
    ErrorKind.DENIED: (
        "UnauthorizedOperation AccessDenied AccessDeniedException NotAuthorizedException OptInRequired Blocked "
        "PendingVerification"
    ),
    ErrorKind.CREDENTIALS: (
        "AuthFailure ExpiredToken ExpiredTokenException RequestExpired InvalidClientTokenId SignatureDoesNotMatch "
        "IncompleteSignature InvalidSecurity.RequestHasExpired MissingAuthenticationToken UnrecognizedClientException"
    ),
    ErrorKind.QUOTA: (
        "AttachmentLimitExceeded RouteLimitExceeded ResourceCountLimitExceeded PrivateIpAddressLimitExceeded "
        "NetworkInterfaceLimitExceeded TooManyHostedZones"
    ),
}
#: The account or the region is not active yet, or the owner has not agreed: an IAM policy does not help.
_NO_POLICY = (
    *("NotAuthorizedException", "OptInRequired", "Blocked", "PendingVerification", "RegionDisabledException"),
    "AuthFailure",
)

#: How a region that an account has not enabled rejects right credentials (AWS Account Management Reference Guide).
_REJECTED = ("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException")
_REGION = "is the region enabled in the account of the credentials?"

#: An id that EC2 does not know, or does not know yet: one that a look has shown exists ("Eventual consistency", EC2 API
#: Reference).
NOT_YET = (
    *("InvalidNetworkInterfaceID.NotFound", "InvalidRouteTableID.NotFound", "InvalidInstanceID.NotFound"),
    "InvalidAllocationID.NotFound",
)
_KIND_OF = {code: kind for kind, codes in KINDS.items() for code in codes.split()}
_PASSING_STATUS = (429, 500, 502, 503, 504, 509)


def kind_of(code: str, status: int) -> ErrorKind:
    """Return what an error code means; an unlisted code is judged by its HTTP status."""
    if code == "AuthFailure" and status == 400:
        # The credentials are right, and the resource is another account's or a service's. With 401 they are wrong.
        return ErrorKind.DENIED
    if code in _KIND_OF:
        return _KIND_OF[code]
    if status in _PASSING_STATUS:
        return ErrorKind.RETRY
    return ErrorKind.DENIED if status == 403 else ErrorKind.CREDENTIALS if status == 401 else ErrorKind.CONFIGURATION


def may_be_done(error: Exception) -> bool:
    """Whether a request that ended with this error may have been carried out; one with rejected credentials was not."""
    return isinstance(error, UnknownError) and not isinstance(error, ApiCredentialsError)
