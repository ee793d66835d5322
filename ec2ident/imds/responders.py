"""Who answers at the metadata address: EC2's service, a proxy before it, another cloud, a mock, a login page.

Everything here is decided by what an answer shows, and pure. `Server: EC2ws` can be sent by anyone: it is needed to
take an answer for EC2's, and proves nothing. An answer that no row recognises comes from an unknown server.
"""

from __future__ import annotations

from ec2ident.model import Reason
from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import HttpAnswer

#: The longest token that is accepted, in characters. EC2's have 56.
LONGEST_TOKEN = 1024
#: Where an answer to a request with an invalid token tells more: EC2 answers 401 below `/latest/`, OpenStack lists its
#: versions. A request with an invalid token does not count as use of IMDSv1.
EC2_PATH, OPENSTACK_PATH = "/latest/meta-data/", "/openstack"

#: What to do about each reason.
ADVICE = {
    Reason.NETWORK_DISABLED: "unset AWS_EC2_METADATA_DISABLED to allow it",
    Reason.NO_ROUTE: (
        "not EC2, or this network namespace has no way out; see `ip route get 169.254.169.254`, "
        "on Windows `route print 169.254.*`"
    ),
    Reason.REFUSED: "no service listens there: not EC2, or a local redirect without its listener",
    Reason.TIMEOUT: (
        "not EC2, or something between drops packets: a firewall, a network policy, on Windows a persistent route that "
        "the image brought from another subnet (`route print 169.254.*`); else allow more time"
    ),
    Reason.SLOW: "allow more time; EC2's own answer takes some milliseconds",
    Reason.HOP_LIMIT: (
        "either packets are lost (a filter, or `ethtool -S DEVICE` counts linklocal_allowance_exceeded), or this is a "
        "container and the answer ends at its hop: use the host's network, or "
        "`aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2`"
    ),
    Reason.DISABLED: (
        "the metadata service is switched off for this instance or caller; "
        "`aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled`"
    ),
    Reason.V2_REQUIRED: "it requires a token, and gives none or does not accept its own; is there a proxy between?",
    Reason.V1_ONLY: "it gives no tokens: not today's EC2 but a look-alike or a mock without IMDSv2",
    Reason.THROTTLED: "ask less often: the limit is 1024 packets a second for each network interface, DNS included",
    Reason.SERVER_ERROR: "try again; when it lasts, reboot the instance or move it to another host",
    Reason.PROXY: "let requests to the metadata service's address bypass the proxy",
    Reason.NOT_EC2WS: "another server than EC2's metadata service listens there: a proxy, a mock, another cloud",
    Reason.CAPTIVE_PORTAL: "a login page or a proxy answers in place of the metadata service",
    Reason.OTHER_CLOUD: "not EC2",
    Reason.TOO_LARGE: "not EC2, or an item that is not metadata",
    Reason.MALFORMED: "not EC2, or something between changes the answers",
    Reason.DEPENDENCY: "install it again for this Python and this processor",
}
#: Instead of the above where the process is known to run in a container.
HOP_LIMIT_IN_A_CONTAINER = (
    "the answer was probably lost at the container's hop; run the container in the host's network, or "
    "`aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2`"
)

#: How other clouds name themselves: name, header, and how its value begins.
OTHER_CLOUDS = (
    ("Google Cloud", "metadata-flavor", "Google"),
    ("Google Cloud", "server", "Metadata Server for VM"),
    ("Azure", "server", "IMDS/"),
)


class Trouble(Value):
    """Why an answer is not what was asked for. `advice` is what to do; empty stands for ADVICE's."""

    reason: Reason
    detail: str
    advice: str = ""


class _Middleman(Value):
    """A program that is known to stand before EC2's service, and what to do about it."""

    name: str
    advice: str


_ENVOY = _Middleman(
    "Envoy",
    "the service mesh (Istio, App Mesh) takes what goes to the metadata service; exclude 169.254.169.254 from its "
    "outbound interception, as with traffic.sidecar.istio.io/excludeOutboundIPRanges or App Mesh's egressIgnoredIPs",
)
_KIAM = _Middleman(
    "kiam's agent", "kiam has no rule that lets IMDSv2 pass; run the pod in the host's network, or without kiam"
)
_FORWARDED = (
    "EC2 refuses a token request that a proxy forwarded (with X-Forwarded-For, as kube2iam does); run the pod in the "
    "host's network, or let PUT /latest/api/token bypass the proxy"
)
_OF_GO = "if this is a pod, an agent such as kiam or kube2iam stands before EC2's service; use the host's network"


def clean(value: str | None) -> str | None:
    """A header's value fit for printing: it comes from an unknown server."""
    return None if value is None else ascii(value[:80])[1:-1]


def is_ec2ws(answer: HttpAnswer) -> bool:
    """Does the server call itself EC2's?"""
    return answer.headers.get("server") == "EC2ws"


def other_cloud(answer: HttpAnswer) -> Trouble | None:
    """Trouble where another cloud names itself in a header."""
    for cloud, name, beginning in OTHER_CLOUDS:
        value = answer.headers.get(name, "")
        if value.startswith(beginning):
            return Trouble(Reason.OTHER_CLOUD, f"this is {cloud} ({name}: {clean(value)})")
    return None


def token_trouble(answer: HttpAnswer, path: str) -> Trouble | None:
    """Why the answer to a token request has no token; None where it has one."""
    if answer.status != 200:
        return _by_status(answer, path, {404: Reason.V1_ONLY, 405: Reason.V1_ONLY, 501: Reason.V1_ONLY})
    token = token_in(answer)
    if _is_page(answer) or token.lstrip().startswith("<"):
        return Trouble(Reason.CAPTIVE_PORTAL, f"{path} answers with a page of markup")
    if not (0 < len(token) <= LONGEST_TOKEN and all("!" <= character <= "~" for character in token)):
        reason = Reason.CAPTIVE_PORTAL if _is_html(answer) else Reason.MALFORMED
        return Trouble(reason, f"{path} answers with {len(token)} bytes that are not a token")
    return None


def token_in(answer: HttpAnswer) -> str:
    """The token in an answer. EC2 ends it without a newline, mocks that print it may end it with one."""
    return answer.body.decode("latin-1").rstrip("\r\n")


def item_trouble(answer: HttpAnswer, path: str, *, ec2ws: bool) -> Trouble | None:
    """Why an answer is neither an item (200) nor its absence (404); None where it is.

    `ec2ws`: the server that gave the token called itself EC2ws. Then an absence counts from such a server only.
    """
    if answer.status == 200:
        return Trouble(Reason.CAPTIVE_PORTAL, f"{path} answers 200 with an HTML page") if _is_page(answer) else None
    if answer.status == 404 and (is_ec2ws(answer) or not ec2ws):
        return None
    return _by_status(answer, path, {})


def lacks_slash(answer: HttpAnswer, path: str) -> bool:
    """Is this a redirect to the same path with a slash at its end? EC2 (in 2018, not today) and kiam send it for the
    name of a directory: uswitch/kiam#116, awslabs/aws-sdk-rust#560. The host in it is not used.
    """
    return answer.status in (301, 302, 307, 308) and answer.headers.get("location", "").endswith(f"{path}/")


def doubt(answer: HttpAnswer) -> str:
    """The path of one more request that tells who refused a token; empty where the answer says it already."""
    if _middleman(answer) is not None:
        return ""
    if answer.status == 403:
        return EC2_PATH
    unknown = answer.status in (400, 404, 405, 501) and not is_ec2ws(answer)
    return OPENSTACK_PATH if unknown and other_cloud(answer) is None else ""


def clarified(trouble: Trouble, answer: HttpAnswer) -> Trouble:
    """What the trouble turns out to be with the answer to the request for `doubt`, which carried an invalid token."""
    if trouble.reason is Reason.DISABLED and answer.status != 403 and answer.status < 500:
        detail = f"{trouble.detail}, yet {EC2_PATH} answers {answer.status}: only token requests are refused"
        return Trouble(Reason.PROXY, detail, _FORWARDED)
    if trouble.reason is Reason.NOT_EC2WS and answer.status == 200:
        versions = [line for line in answer.body.decode("latin-1").split() if _is_date(line)]
        if versions:
            return Trouble(Reason.OTHER_CLOUD, f"this is OpenStack ({OPENSTACK_PATH} lists {versions[-1]})")
    return trouble


def _by_status(answer: HttpAnswer, path: str, own: dict[int, Reason]) -> Trouble:
    """`own` are statuses that have a meaning of their own for this request, where EC2 gives them."""
    status, detail = answer.status, f"{path} answers {answer.status}"
    middleman = _middleman(answer)
    if middleman is not None:
        reason = Reason.SERVER_ERROR if status >= 500 else Reason.PROXY
        return Trouble(reason, f"{detail} from {middleman.name}{_excerpt(answer)}", middleman.advice)
    if status in (407, 511) or status // 100 == 3:
        return Trouble(Reason.CAPTIVE_PORTAL, detail)
    if is_ec2ws(answer):
        known = {401: Reason.V2_REQUIRED, 403: Reason.DISABLED, 429: Reason.THROTTLED, 503: Reason.THROTTLED, **own}
        other = Reason.SERVER_ERROR if status // 100 == 5 else Reason.MALFORMED
        return Trouble(known.get(status, other), detail)
    server = clean(answer.headers.get("server"))
    detail = f"{detail}, from {server!r}" if server else f"{detail}, without a Server header"
    if status == 403 and server is None:
        return Trouble(Reason.DISABLED, detail)
    if status in own or status // 100 != 5:
        of_go = server is None and answer.body.startswith(b"404 page not found")
        return Trouble(Reason.NOT_EC2WS, f"{detail}{_excerpt(answer)}", _OF_GO if of_go else "")
    return Trouble(Reason.SERVER_ERROR, f"{detail}{_excerpt(answer)}", ADVICE[Reason.NOT_EC2WS])


def _middleman(answer: HttpAnswer) -> _Middleman | None:
    """The program that answered in place of EC2's service, where it shows itself."""
    headers, server = answer.headers, answer.headers.get("server", "").lower()
    # Envoy adds its name and x-envoy-* headers, and has these bodies (envoyproxy/envoy; istio/istio#17171).
    named = server in ("envoy", "istio-envoy") or any(name.startswith("x-envoy-") for name in headers)
    if named or answer.body.startswith((b"no healthy upstream", b"upstream connect error", b"RBAC: access denied")):
        return _ENVOY
    if b"whitelist-route-regexp" in answer.body[:200]:  # uswitch/kiam#359, #422
        return _KIAM
    if "via" in headers or server.startswith("squid"):
        name = clean(headers.get("via")) or clean(headers.get("server"))
        return _Middleman(f"a proxy ({name})", ADVICE[Reason.PROXY])
    return None


def _is_html(answer: HttpAnswer) -> bool:
    return answer.headers.get("content-type", "").lower().startswith("text/html")


def _is_page(answer: HttpAnswer) -> bool:
    """Is this a page, and not a text that is called HTML, as moto's server (and all of Flask) calls every text?"""
    return _is_html(answer) and answer.body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"", b"<")


def _excerpt(answer: HttpAnswer) -> str:
    """The beginning of a short text as the body; nothing of a page or of binary data."""
    text = answer.body[:200].decode("latin-1").strip()
    plain = text and not _is_html(answer) and not text.startswith("<") and text.isprintable()
    return f" ({ascii(text[:80])[1:-1]})" if plain else ""


def _is_date(text: str) -> bool:
    """Is this a version of OpenStack's tree, `2018-08-27`?"""
    parts = text.split("-")
    return [len(part) for part in parts] == [4, 2, 2] and all(part.isascii() and part.isdigit() for part in parts)
