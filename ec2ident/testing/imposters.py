"""Who else answers at the metadata address: portals, other clouds, EC2-compatible ones. Each is a pure function."""

from __future__ import annotations

import json
from email.utils import formatdate

from .tree import listing
from .wire import Response, WireRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LOGIN = b"<!DOCTYPE html>\n<html><head><title>Login</title></head><body><h1>Please log in</h1></body></html>\n"

#: The tree of an EC2-compatible OpenStack, with the ids and fillers that Nova gives.
_NOVA = {
    "ami-id": "ami-00022c1f",
    "ami-launch-index": "0",
    "ami-manifest-path": "FIXME",
    "block-device-mapping/ami": "vda",
    "block-device-mapping/root": "/dev/vda",
    "hostname": "server.novalocal",
    "instance-action": "none",
    "instance-id": "i-00b18f3e",
    "instance-type": "hg-30-ssd-flex",
    "local-hostname": "server.novalocal",
    "local-ipv4": "10.0.0.10",
    "placement/availability-zone": "nova",
    "public-hostname": "server.novalocal",
    "public-ipv4": "",
    "reservation-id": "r-5dsm7n8x",
    "security-groups": "default",
}
_NOVA_VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01"),
    *("2009-04-04", "latest"),
)

_ALIBABA_DOCUMENT = {
    "owner-account-id": "1234567890123456",
    "instance-id": "i-bp1hvd0jz2ddabcdefgh",
    "zone-id": "cn-hangzhou-i",
    "serial-number": "4ab32de5-a4e4-4c5a-9b5a-3f5d0c4d1e7f",
    "private-ipv4": "192.168.0.10",
    "region-id": "cn-hangzhou",
}


def captive_portal(_: WireRequest, now: float) -> Response:
    """200 and a login page, whatever is asked."""
    return _plain(200, _LOGIN, now, "text/html", server="nginx")


def redirect(request: WireRequest, now: float) -> Response:
    """302 to a login page on this very machine, so that a client that follows it is seen."""
    headers = (("Server", "nginx"), ("Date", formatdate(now, usegmt=True)), ("Content-Type", "text/html"))
    target = f"http://{request.header('host') or 'localhost'}/login"
    return Response(302, (*headers, ("Content-Length", "0"), ("Connection", "close"), ("Location", target)))


class Banner(Response):
    """What is not HTTP at all: the bytes as they are."""

    def encode(self, *, body: bool = True) -> bytes:
        """The bytes to send: the body alone, without a status line or headers."""
        return self.body


def not_http(_: WireRequest, __: float) -> Response:
    """Something else listens there, and greets in its own way."""
    return Banner(0, (), b"SSH-2.0-OpenSSH_9.2p1\r\n")


def openstack(request: WireRequest, now: float) -> Response:
    """Nova's EC2-compatible tree: no token, no identity document, no `Server: EC2ws`."""
    version, _, rest = request.path.lstrip("/").partition("/")
    items = {f"meta-data/{name}": text.encode() for name, text in _NOVA.items()}
    body: bytes | None = "\n".join(_NOVA_VERSIONS).encode() if not version else None
    if version in _NOVA_VERSIONS:
        body = items.get(rest, listing(items, rest.rstrip("/")))
    if version == "openstack":
        body = b"2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\nlatest" if not rest else None
    if body is None:
        return _plain(404, b"<html><head><title>404 Not Found</title></head></html>", now, "text/html; charset=UTF-8")
    return _plain(200, body, now, "text/plain; charset=UTF-8")


def google(request: WireRequest, now: float) -> Response:
    """Google's server: its two headers on every answer, and its own tree behind a header of the request."""
    more = (("Metadata-Flavor", "Google"),)
    server = "Metadata Server for VM"
    if request.path == "/":
        return _plain(200, b"computeMetadata/\n", now, "application/text", server=server, more=more)
    if request.path.startswith("/computeMetadata/") and request.header("metadata-flavor") == "Google":
        return _plain(200, b"instance/\noslogin/\nproject/\n", now, "application/text", server=server, more=more)
    return _plain(404, b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", now, "text/html", server, more)


def azure(request: WireRequest, now: float) -> Response:
    """Azure's server: it refuses what does not carry `Metadata: true`, and knows only `/metadata/`."""
    server = "IMDS/150.870.65.1854"
    if request.header("metadata") != "true":
        error = {"error": "Bad request. Required metadata header not specified"}
        return _plain(400, _json(error), now, "application/json; charset=utf-8", server)
    if request.path.startswith("/metadata/instance"):
        body = {"compute": {"azEnvironment": "AzurePublicCloud", "location": "westeurope"}}
        return _plain(200, _json(body), now, "application/json; charset=utf-8", server)
    return _plain(404, _json({"error": "Not found"}), now, "application/json; charset=utf-8", server)


def alibaba(request: WireRequest, now: float) -> Response:
    """Alibaba's service: EC2's paths, but another token header and another document."""
    if request.path == "/latest/api/token":
        accepted = request.method == "PUT" and request.header("x-aliyun-ecs-metadata-token-ttl-seconds")
        return _plain(200 if accepted else 400, b"AQAAAABhbGliYWJhLXRva2Vu" if accepted else b"", now, "text/plain")
    if request.path == "/latest/dynamic/instance-identity/document":
        return _plain(200, _json(_ALIBABA_DOCUMENT), now, "text/plain; charset=utf-8")
    if request.path == "/latest/meta-data/instance-id":
        return _plain(200, _ALIBABA_DOCUMENT["instance-id"].encode(), now, "text/plain; charset=utf-8")
    return _plain(404, b"<html><head><title>404 - Not Found</title></head></html>", now, "text/html")


def kiam(request: WireRequest, now: float) -> Response:
    """kiam's agent, which lets nothing pass but its own credentials.

    Text: uswitch/kiam#359 and #422. Headers: #177; those are what Go's `http.Error` adds, and there is no Server.
    """
    text = f'request blocked by whitelist-route-regexp "^$": {request.path}\n'
    return _of_go(404, text, now)


def go(_: WireRequest, now: float) -> Response:
    """The answer of Go's own router to an unknown path, as of kube2iam, aws-vault and other credential servers.

    Text and headers: `http.NotFound` of Go's net/http.
    """
    return _of_go(404, "404 page not found\n", now)


def nginx(_: WireRequest, now: float) -> Response:
    """nginx's page for an unknown path. Text: nginx's source, ngx_http_special_response.c; the version is made up."""
    page = (
        b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n"
    )
    page += b"<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n"
    return _plain(404, page, now, "text/html", "nginx/1.25.3")


def envoy(_: WireRequest, now: float) -> Response:
    """Envoy, the proxy of Istio and App Mesh, without a healthy upstream: istio/istio#17171. Headers are assumed."""
    return _plain(503, b"no healthy upstream", now, "text/plain", "envoy")


def squid(_: WireRequest, now: float) -> Response:
    """A squid that takes all HTTP and refuses this address. Headers are assumed from squid's documentation."""
    more = (("X-Squid-Error", "ERR_ACCESS_DENIED 0"), ("Via", "1.1 proxy (squid/5.7)"))
    return _plain(403, b"<html><title>ERROR</title></html>", now, "text/html;charset=utf-8", "squid/5.7", more)


def _of_go(status: int, text: str, now: float) -> Response:
    return _plain(
        status, text.encode(), now, "text/plain; charset=utf-8", more=(("X-Content-Type-Options", "nosniff"),)
    )


def _plain(
    status: int, body: bytes, now: float, kind: str, server: str = "", more: tuple[tuple[str, str], ...] = ()
) -> Response:
    named = (("Server", server),) if server else ()
    length = ("Content-Length", str(len(body)))
    when = ("Date", formatdate(now, usegmt=True))
    return Response(status, (*more, *named, ("Content-Type", kind), length, when, ("Connection", "close")), body)


def _json(data: Mapping[str, object]) -> bytes:
    return json.dumps(data).encode()
