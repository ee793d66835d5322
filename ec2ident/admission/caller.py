"""Who signed this GetCallerIdentity request? What of it is sent on to STS, and what STS's answer says.

The request is an instance's, signed with the credentials of its role (Signature Version 4); STS alone can check that.
The server makes the request itself: method, path, body and host are its own, and of the sender it takes a few headers.
So a sender cannot choose which server vouches for it, which action is asked for, or in which form the answer comes. A
server that passed on more was deceived that way (CVE-2020-16250, Vault; CVE-2022-2385, aws-iam-authenticator).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from ec2ident.errors import MalformedError
from ec2ident.value import Value

from .errors import AdmissionUnavailableError, NotAdmittedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ec2ident.model import Identity

METHOD, PATH = "POST", "/"
BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
#: The header in which the sender signs what the request is bound to, in lower case.
CHALLENGE = "x-ec2ident-challenge"

#: How far the time of a request may be from the server's, in seconds. STS itself allows 15 minutes.
LARGEST_SKEW = 300.0
_LONGEST_HEADER = 8192
_TYPES = ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8")
_NEEDED = frozenset({"host", "x-amz-date", CHALLENGE})
_ALLOWED = _NEEDED | {"content-length", "content-type", "x-amz-security-token"}

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[A-Z0-9]{16,128})/(?P<day>[0-9]{8})/(?P<region>[a-z0-9-]{1,32})/sts/"
    r"aws4_request, ?SignedHeaders=(?P<signed>[a-z0-9-]{1,64}(?:;[a-z0-9-]{1,64}){0,15}), ?Signature=[0-9a-f]{64}"
)
_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z0-9-]{1,20})?):sts::(?P<account>[0-9]{12}):assumed-role/"
    r"(?P<role>[A-Za-z0-9_+=,.@-]{1,64})/(?P<session>[A-Za-z0-9_+=,.@-]{2,64})"
)


class Caller(Value):
    """Who signed, according to STS: an assumed role and the name of its session. An instance's session is its id."""

    partition: str
    account: str
    role: str
    session: str


def headers_for(
    given: Sequence[tuple[str, str]], *, host: str, region: str, bound: str, now: datetime
) -> dict[str, str]:
    """The headers to send to STS at `host`, of those that the sender signed.

    `region` is the one that STS's signatures name there, `bound` the text that the challenge header must hold. Raises
    MalformedError, or NotAdmittedError with the code `wrong-caller` where the request is bound to something else.
    """
    headers = dict(given)
    for name, value in headers.items():
        if len(value) > _LONGEST_HEADER or not all(" " <= character <= "~" for character in value):
            raise MalformedError(f"caller: header {name[:64]!a} is too long, or not printable ASCII")
    match = _AUTHORIZATION.fullmatch(headers.pop("authorization", ""))
    if match is None:
        raise MalformedError("caller: no Authorization header of Signature Version 4 for sts")
    signed = set(match["signed"].split(";"))
    if not _NEEDED <= signed <= _ALLOWED:
        raise MalformedError(f"caller: signs {sorted(signed)} (needed: {sorted(_NEEDED)}, allowed: {sorted(_ALLOWED)})")
    fixed = {"host": host, "content-length": str(len(BODY))}
    for name in signed - set(headers):
        if name not in fixed:
            raise MalformedError(f"caller: {name} is signed and missing")
    for name, expected in fixed.items():
        if headers.get(name, expected) != expected:
            raise NotAdmittedError("wrong-caller", f"caller: {name} {headers[name][:80]!a} (expected: {expected})")
    if headers.get("content-type", _TYPES[0]).lower() not in _TYPES:
        raise MalformedError(f"caller: content-type (expected: {_TYPES[1]})")
    if "x-amz-security-token" in headers and "x-amz-security-token" not in signed:
        raise MalformedError("caller: x-amz-security-token is not signed")
    _check_scope(match, headers, region, now)
    if headers[CHALLENGE] != bound:
        raise NotAdmittedError("wrong-caller", f"caller: {CHALLENGE} is not that of this request and challenge")
    return {
        **{name: value for name, value in headers.items() if name in signed},
        "authorization": match[0],
        **fixed,
        "content-type": headers.get("content-type", _TYPES[1]),
        "accept": "application/json",
    }


def _check_scope(match: re.Match[str], headers: Mapping[str, str], region: str, now: datetime) -> None:
    date = headers["x-amz-date"]
    if match["region"] != region:
        raise NotAdmittedError("wrong-caller", f"caller: signed for {match['region']} (expected: {region})")
    try:
        when = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise MalformedError(f"caller: x-amz-date {date[:40]!a} (such as 20260203T040506Z)") from error
    if len(date) != 16 or match["day"] != date[:8]:
        raise MalformedError("caller: x-amz-date and the day of the credential differ")
    if abs(now - when) > timedelta(seconds=LARGEST_SKEW):
        raise NotAdmittedError(
            "wrong-caller",
            f"caller: signed at {date}, it is {now:%Y%m%dT%H%M%SZ} here (at most {LARGEST_SKEW:g} s apart)",
        )


def read_answer(status: int, content_type: str, body: bytes) -> Caller:
    """Who STS says that it was.

    Raises NotAdmittedError (`wrong-caller`) where STS refuses the signature, or the signer is not an assumed role, and
    AdmissionUnavailableError for every other answer: it is neither a yes nor a no.
    """
    import json

    if status in (400, 403) and b"hrottl" not in body:  # AWS's query APIs throttle with 400
        raise NotAdmittedError("wrong-caller", f"caller: STS refuses it ({status}): {body[:200]!a}")
    if status != 200 or content_type.partition(";")[0].strip().lower() != "application/json":
        raise AdmissionUnavailableError(f"STS answers {status}, {content_type[:40]!a} (200, application/json)")
    try:
        arn = json.loads(body)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]["Arn"]
        match = _ARN.fullmatch(arn)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise AdmissionUnavailableError(f"STS: an answer of another form ({type(error).__name__})") from error
    if match is None:
        raise NotAdmittedError("wrong-caller", f"caller: {arn[:200]!a} (an assumed role is expected)")
    return Caller(match["partition"], match["account"], match["role"], match["session"])


def check(caller: Caller, identity: Identity, roles: Collection[str] | None) -> None:
    """Is the caller the instance of the identity? Raises NotAdmittedError with the code `wrong-caller`."""
    document = identity.document
    for what, found, expected in (
        ("partition", caller.partition, identity.partition),
        ("account", caller.account, document.account_id),
        ("session", caller.session, document.instance_id),
    ):
        if found != expected:
            raise NotAdmittedError("wrong-caller", f"caller: {what} {found} (the document says {expected})")
    if roles is not None and caller.role not in roles:
        raise NotAdmittedError("wrong-caller", f"caller: role {caller.role} (allowed: {', '.join(sorted(roles))})")
