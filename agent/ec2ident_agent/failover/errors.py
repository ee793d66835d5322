"""What can go wrong in a move, sorted by what to do about it, with the exit code that says so.

The sorting is the table `KINDS`; its codes are those of the EC2 API Reference ("Error codes"), the Route 53 API
Reference and "Retry behavior" of the AWS SDKs.
"""

from __future__ import annotations

from enum import Enum

from ec2ident_agent import errors
from ec2ident_agent.errors import AgentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Kind(str, Enum):
    """What an error of the API means to us. The value is stable: scripts compare it."""

    #: It passes: try again, later and later.
    RETRY = "retry"
    #: Something is not in the right state yet.
    WAIT = "wait"
    #: It is done already, or another mover was first: look again.
    LOOK = "look"
    DENIED = "denied"
    CREDENTIALS = "credentials"
    CONFIGURATION = "configuration"
    QUOTA = "quota"


class FailoverError(AgentError):
    """The root of every error that a move raises on purpose. The text is one line for a person."""

    @property
    def brief(self) -> str:
        """What to do, where the text does not fit."""
        return str(self)


class UsageError(FailoverError, errors.ConfigError):
    """A flag, the configuration or an id is wrong. Nothing was touched."""

    exit = 2


class UnknownError(FailoverError, errors.UnknownError):
    """Could not tell: no answer in time, no credentials, or an answer that makes no sense."""

    exit = 3


class OutOfTimeError(UnknownError):
    """The deadline came first. What was sent may have been done."""


class MalformedError(UnknownError):
    """An answer is not what the service would send: no XML, a field missing, an id that is none, too long."""


class CredentialsError(UnknownError):
    """There are no credentials, or the service does not take them."""


class RefusedError(FailoverError, errors.RefusedError):
    """It is not done, on purpose: somebody else holds it, or was quicker."""


#: Exit codes of API errors. A wrong id is wrong usage; throttling leaves us not knowing; the rest is a refusal.
_EXIT = {Kind.CONFIGURATION: 2, Kind.RETRY: 3, Kind.CREDENTIALS: 3}


class ApiError(FailoverError):
    """The service answered with an error. `code` is its own word, `kind` is what that means."""

    def __init__(self, action: str, code: str, message: str, status: int, resources: Sequence[str] = ()) -> None:
        self.action, self.code, self.message, self.status = action, code, message, status
        self.resources = tuple(resources)
        self.kind = kind_of(code, status)
        advice = self._advice()
        super().__init__(
            f"{action}: {code}: {message.rstrip('.')}; {advice}" if advice else f"{action}: {code}: {message}"
        )

    @property
    def exit(self) -> int:  # type: ignore[override]
        return _EXIT.get(self.kind, 4)

    def _advice(self) -> str:
        if self.kind is Kind.DENIED and self.code not in _NO_POLICY:
            return f"allow {self.action} on {', '.join(self.resources) or '*'}"
        # Of other services it is a signature that does not match, with the two times in its message.
        times = self.code == "SignatureDoesNotMatch" and any(
            said in self.message for said in ("expired", "not yet current")
        )
        if times or self.code in ("RequestExpired", "InvalidSecurity.RequestHasExpired"):
            return "is this machine's clock right?"
        return ""

    @property
    def brief(self) -> str:
        return self._advice() or str(self)


KINDS = {
    Kind.RETRY: (
        "RequestLimitExceeded EC2ThrottledException Throttling ThrottlingException ThrottledException RequestThrottled "
        "RequestThrottledException TooManyRequestsException SlowDown BandwidthLimitExceeded PriorRequestNotComplete "
        "RequestTimeout RequestTimeoutException InternalError InternalFailure ServiceUnavailable Unavailable"
    ),
    Kind.WAIT: (
        "InvalidNetworkInterface.InUse IncorrectState IncorrectInstanceState InvalidInstanceState "
        "InvalidParameterValue.InUse"
    ),
    Kind.LOOK: "InvalidAttachmentID.NotFound RouteAlreadyExists InvalidRoute.NotFound DryRunOperation",
    Kind.DENIED: (
        "UnauthorizedOperation AccessDenied AccessDeniedException NotAuthorizedException OptInRequired Blocked "
        "PendingVerification"
    ),
    Kind.CREDENTIALS: (
        "AuthFailure ExpiredToken ExpiredTokenException RequestExpired InvalidClientTokenId SignatureDoesNotMatch "
        "IncompleteSignature InvalidSecurity.RequestHasExpired MissingAuthenticationToken UnrecognizedClientException"
    ),
    Kind.QUOTA: (
        "AttachmentLimitExceeded RouteLimitExceeded ResourceCountLimitExceeded PrivateIpAddressLimitExceeded "
        "NetworkInterfaceLimitExceeded TooManyHostedZones"
    ),
}
#: An account that is not open yet, and a VPC whose owner has not agreed: no policy of ours helps.
_NO_POLICY = ("NotAuthorizedException", "OptInRequired", "Blocked", "PendingVerification")
_KIND_OF = {code: kind for kind, codes in KINDS.items() for code in codes.split()}
_PASSING_STATUS = (429, 500, 502, 503, 504, 509)


def kind_of(code: str, status: int) -> Kind:
    """What an error code means; by its HTTP status where the code is not known. Unknown codes are final."""
    if code in _KIND_OF:
        return _KIND_OF[code]
    if status in _PASSING_STATUS:
        return Kind.RETRY
    return Kind.DENIED if status == 403 else Kind.CREDENTIALS if status == 401 else Kind.CONFIGURATION
