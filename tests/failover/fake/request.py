"""One call as the wire brought it: which service, action, region, caller, and with what parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

#: Method and path of the Route 53 calls (Route 53 API Reference); `id` names the zone or the change.
ROUTE53 = (
    ("POST", r"/2013-04-01/hostedzone/(?P<id>[^/]+)/rrset/?", "ChangeResourceRecordSets"),
    ("GET", r"/2013-04-01/hostedzone/(?P<id>[^/]+)/rrset", "ListResourceRecordSets"),
    ("POST", r"/2013-04-01/hostedzone/(?P<id>[^/]+)/associatevpc", "AssociateVPCWithHostedZone"),
    ("GET", r"/2013-04-01/hostedzone/(?P<id>[^/]+)", "GetHostedZone"),
    ("DELETE", r"/2013-04-01/hostedzone/(?P<id>[^/]+)", "DeleteHostedZone"),
    ("POST", r"/2013-04-01/hostedzone", "CreateHostedZone"),
    ("POST", r"/2013-04-01/tags/hostedzone/(?P<id>[^/]+)", "ChangeTagsForResource"),
    ("GET", r"/2013-04-01/tags/hostedzone/(?P<id>[^/]+)", "ListTagsForResource"),
    ("GET", r"/2013-04-01/hostedzone", "ListHostedZones"),
    ("GET", r"/2013-04-01/hostedzonesbyname", "ListHostedZonesByName"),
    ("GET", r"/2013-04-01/hostedzonesbyvpc", "ListHostedZonesByVPC"),
    ("GET", r"/2013-04-01/change/(?P<id>[^/]+)", "GetChange"),
    ("GET", r"/2013-04-01/testdnsanswer", "TestDNSAnswer"),
)

SCOPE = re.compile(r"Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class RefusalError(Exception):
    """The answer is an error: code, message and HTTP status as AWS gives them."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


@dataclass
class Request:
    service: str
    action: str
    region: str
    key: str
    source: str
    #: Form fields (EC2, STS) or query fields (Route 53).
    form: dict[str, str] = field(default_factory=dict)
    #: The zone's or change's id in a Route 53 path.
    id: str = ""
    body: bytes = b""

    def numbered(self, name: str) -> list[str]:
        """`InstanceId.1`, `InstanceId.2` ... in their order; some lists are spelled without a number."""
        found = ((re.fullmatch(rf"{name}\.(\d+)", key), value) for key, value in self.form.items())
        return [value for _, value in sorted((int(match[1]), value) for match, value in found if match)]

    def xml(self) -> ElementTree.Element:
        """The body without its namespace."""
        text = re.sub(rb'\sxmlns="[^"]*"', b"", self.body)
        try:
            return ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise RefusalError("InvalidInput", f"Invalid XML: {error}") from error

    @property
    def parameters(self) -> dict[str, str]:
        """What the journal shows."""
        fields = {key: value for key, value in self.form.items() if key not in ("Action", "Version")}
        return {**fields, **({"Id": self.id} if self.id else {}), **({"Body": self.body.decode()} if self.id else {})}


def read(environ: dict[str, Any], body: bytes) -> Request:
    """Raises RefusalError for a request that is not a signed AWS call."""
    scope = SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if not scope and b"Action=AssumeRoleWithWebIdentity&" in body:
        # The one call without a signature: its token is the proof (API Reference of STS).
        scope = SCOPE.search("Credential=none/20260101/us-east-1/sts/aws4_request")
    if not scope:
        raise RefusalError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    common: dict[str, Any] = {**scope.groupdict(), "source": environ["REMOTE_ADDR"], "body": body}
    if scope["service"] != "route53":
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return Request(action=form.get("Action", "?"), form=form, **common)
    query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
    for method, path, action in ROUTE53:
        match = re.fullmatch(path, environ["PATH_INFO"])
        if match and method == environ["REQUEST_METHOD"]:
            return Request(action=action, form=query, id=match.groupdict().get("id") or "", **common)
    raise RefusalError("UnknownOperationException", f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}", 404)


def error_body(service: str, refusal: RefusalError) -> bytes:
    """The three error forms: EC2's, STS's and Route 53's."""
    from xml.sax.saxutils import escape

    inside = f"<Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
    forms = {
        "route53": '<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">'
        f"<Error><Type>Sender</Type>{inside}</Error><RequestId>fake</RequestId></ErrorResponse>",
        "sts": '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<Error><Type>Sender</Type>{inside}</Error><RequestId>fake</RequestId></ErrorResponse>",
    }
    ec2 = f"<Response><Errors><Error>{inside}</Error></Errors><RequestID>fake</RequestID></Response>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{forms.get(service, ec2)}'.encode()
