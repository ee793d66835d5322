"""Who answers at the metadata address, told by what the answer shows; and what is due then."""

from __future__ import annotations

import pytest

from ec2ident import Imds, ImdsError, Level, Reason, detect
from ec2ident.host import Host
from ec2ident.imds.responders import ADVICE, clarified, doubt, item_trouble, other_cloud, token_trouble
from ec2ident.imds.wire import HttpAnswer
from ec2ident.testing import MetadataService
from tests.lib.machines import EC2, LOOK_ALIKES, Machine, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["ec2ident.testing.pytest_plugin"]

PATH = "/latest/api/token"
PATIENCE = 30.0


def answer(status: int, body: str = "", **headers: str) -> HttpAnswer:
    return HttpAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


EC2WS = {"server": "EC2ws"}
GO = {"content_type": "text/plain; charset=utf-8", "x_content_type_options": "nosniff"}


@pytest.mark.parametrize(
    ("found", "reason", "says"),
    [
        # kiam: uswitch/kiam#359, #422
        (answer(404, 'request blocked by whitelist-route-regexp "^$": /x\n', **GO), Reason.PROXY, "kiam's agent"),
        # Go's router, without a Server header: kube2iam, aws-vault
        (answer(404, "404 page not found\n", **GO), Reason.NOT_EC2WS, "without a Server header (404 page not found)"),
        (answer(404, "<html>nginx</html>", server="nginx/1.25.3"), Reason.NOT_EC2WS, "from 'nginx/1.25.3'"),
        (answer(404), Reason.NOT_EC2WS, "without a Server header"),
        (answer(404, **EC2WS), Reason.V1_ONLY, "answers 404"),
        # Envoy: istio/istio#17171, aws/aws-app-mesh-controller-for-k8s
        (answer(503, "no healthy upstream", server="envoy"), Reason.SERVER_ERROR, "from Envoy (no healthy upstream)"),
        (answer(503, "upstream connect error or disconnect"), Reason.SERVER_ERROR, "from Envoy (upstream connect"),
        (answer(500, server="envoy"), Reason.SERVER_ERROR, "from Envoy"),
        (answer(404, server="envoy"), Reason.PROXY, "from Envoy"),
        (answer(404, server="EC2ws", x_envoy_upstream_service_time="1"), Reason.PROXY, "from Envoy"),
        (answer(502, server="istio-envoy"), Reason.SERVER_ERROR, "from Envoy"),
        (answer(403, "RBAC: access denied", server="istio-envoy"), Reason.PROXY, "from Envoy (RBAC: access denied)"),
        (answer(403, "<html>", via="1.1 proxy (squid)"), Reason.PROXY, "from a proxy (1.1 proxy (squid))"),
        (answer(503, "<html>", server="squid/5.7"), Reason.SERVER_ERROR, "from a proxy (squid/5.7)"),
        (answer(403, **EC2WS), Reason.DISABLED, "answers 403"),
        (answer(403, server="nginx"), Reason.NOT_EC2WS, "from 'nginx'"),
        (answer(503, **EC2WS), Reason.THROTTLED, "answers 503"),
        (answer(500, **EC2WS), Reason.SERVER_ERROR, "answers 500"),
        (answer(418, **EC2WS), Reason.MALFORMED, "answers 418"),
        (answer(407, server="nginx"), Reason.CAPTIVE_PORTAL, "answers 407"),
        (answer(511), Reason.CAPTIVE_PORTAL, "answers 511"),
        (answer(408, server="nginx"), Reason.NOT_EC2WS, "answers 408"),
        (answer(503, server="nginx"), Reason.SERVER_ERROR, "from 'nginx'"),
        (answer(200, "<html>login</html>"), Reason.CAPTIVE_PORTAL, "page of markup"),
        (answer(200, "\ufeff <html>", content_type="text/html"), Reason.CAPTIVE_PORTAL, "page of markup"),
        (answer(200, "", content_type="text/html"), Reason.CAPTIVE_PORTAL, "page of markup"),
        (answer(200, "please log in", content_type="text/html"), Reason.CAPTIVE_PORTAL, "13 bytes that are not"),
        (answer(302, location="http://login/"), Reason.CAPTIVE_PORTAL, "answers 302"),
        (answer(200, ""), Reason.MALFORMED, "0 bytes that are not a token"),
    ],
)
def test_who_refuses_a_token_is_told_by_the_answer(found: HttpAnswer, reason: Reason, says: str) -> None:
    """A reason, the words, and what to do: advice fits what was seen."""
    trouble = token_trouble(found, PATH)

    assert trouble is not None
    assert (reason, True) == (trouble.reason, says in trouble.detail), trouble.detail
    assert trouble.advice or ADVICE[reason]


def test_a_token_changes_nothing() -> None:
    """56 characters, of any server; with a newline behind them, and under the name that Flask gives to every text.

    getmoto/moto#1496 asks for moto's metadata over HTTP: its server, 5.2.5, calls `fake-imdsv2-token` text/html.
    """
    assert token_trouble(answer(200, "AQAEA" + "x" * 51), PATH) is None
    assert token_trouble(answer(200, "AQAEA" + "x" * 51 + "\r\n"), PATH) is None
    assert token_trouble(answer(200, "fake-imdsv2-token", content_type="text/html; charset=utf-8"), PATH) is None


@pytest.mark.parametrize(
    ("body", "page"), [("us-east-1", False), ("<html>", True), ("\n<!DOCTYPE html>", True), ("", True)]
)
def test_an_item_that_is_called_html_is_a_page_where_it_is_one(body: str, page: bool) -> None:
    """moto's server calls the region text/html."""
    trouble = item_trouble(answer(200, body, content_type="text/html; charset=utf-8"), PATH, ec2ws=False)

    assert page == (trouble is not None and trouble.reason is Reason.CAPTIVE_PORTAL)


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\u202e", "a\nb", "x" * 100_000, "\x00"], ids=["escape", "bidi", "lines", "long", "nul"]
)
@pytest.mark.parametrize("where", ["body", "server", "via"])
def test_hostile_answers_are_one_short_printable_line(hostile: str, where: str) -> None:
    """They end on a terminal."""
    found = answer(404, hostile) if where == "body" else answer(404, **{where: hostile})

    trouble = token_trouble(found, PATH)

    assert trouble is not None
    assert trouble.detail.isprintable()
    assert trouble.detail.isascii()
    assert len(trouble.detail) < 300


@pytest.mark.parametrize(
    ("first", "path"),
    [
        (answer(403, **EC2WS), "/latest/meta-data/"),
        (answer(404), "/openstack"),
        (answer(405, server="nginx"), "/openstack"),
        (answer(501, server="SimpleHTTP/0.6"), "/openstack"),
        (answer(502, server="nginx"), ""),
        (answer(400), "/openstack"),
        (answer(404, **EC2WS), ""),
        (answer(404, server="envoy"), ""),
        (answer(403, via="1.1 squid"), ""),
        (answer(500), ""),
        (answer(200, "<html>"), ""),
    ],
)
def test_one_more_request_is_sent_where_it_tells_more(first: HttpAnswer, path: str) -> None:
    """And nowhere else."""
    assert path == doubt(first)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        # kube2iam: aws-sdk-kotlin#627, jtblin/kube2iam#241
        (answer(403, **EC2WS), answer(401, **EC2WS), Reason.PROXY),
        (answer(403, **EC2WS), answer(200, "ami-id", **EC2WS), Reason.PROXY),
        (answer(403, **EC2WS), answer(403, **EC2WS), Reason.DISABLED),
        (answer(403, **EC2WS), answer(500, **EC2WS), Reason.DISABLED),
        (answer(404), answer(200, "2012-08-10\n2018-08-27\nlatest"), Reason.OTHER_CLOUD),
        (answer(404), answer(200, "<html>2012-08-10x</html>"), Reason.NOT_EC2WS),
        (answer(404), answer(200, "latest"), Reason.NOT_EC2WS),
        (answer(404), answer(404), Reason.NOT_EC2WS),
        # EC2's own service said what is wrong already.
        (answer(404, **EC2WS), answer(200, "2012-08-10\n2018-08-27\nlatest"), Reason.V1_ONLY),
    ],
)
def test_the_second_answer_tells_who_it_is(first: HttpAnswer, second: HttpAnswer, reason: Reason) -> None:
    """OpenStack only by its own tree, and switched off only where every request is refused."""
    trouble = token_trouble(first, PATH)

    assert trouble is not None
    assert reason is clarified(trouble, second).reason


def test_other_clouds_name_themselves() -> None:
    """In a header; another value is not a name."""
    assert other_cloud(answer(404, metadata_flavor="Google")) is not None
    assert other_cloud(answer(400, server="IMDS/150.870.65.1854")) is not None
    assert other_cloud(answer(404, server="Google Frontend")) is None


def test_an_absence_counts_from_the_server_that_gave_the_token() -> None:
    """A 404 of a proxy that let the token request pass says nothing of the item."""
    absent, foreign = answer(404, **EC2WS), answer(404, server="envoy")

    assert item_trouble(absent, "/x", ec2ws=True) is None
    assert item_trouble(answer(404), "/x", ec2ws=False) is None
    trouble = item_trouble(foreign, "/x", ec2ws=True)
    assert trouble is not None
    assert Reason.PROXY is trouble.reason


SHOWN = {
    "kiam": (Reason.PROXY, "kiam's agent"),
    "kube2iam": (Reason.PROXY, "X-Forwarded-For"),
    "envoy": (Reason.SERVER_ERROR, "Istio, App Mesh"),
    "squid": (Reason.PROXY, "bypass the proxy"),
    "go": (Reason.NOT_EC2WS, "if this is a pod"),
    "nginx": (Reason.NOT_EC2WS, "another server than EC2's"),
    "openstack": (Reason.OTHER_CLOUD, "this is OpenStack (/openstack lists "),
    "disabled": (Reason.DISABLED, "--http-endpoint enabled"),
}


@pytest.mark.parametrize("behaviour", SHOWN)
def test_the_advice_fits_what_was_seen(behaviour: str, metadata_service: MetadataService) -> None:
    """Over real sockets; every request but the token's carries a token, be it an invalid one."""
    metadata_service.behave(behaviour)
    reason, says = SHOWN[behaviour]

    with pytest.raises(ImdsError) as caught:
        Imds(PATIENCE, endpoints=metadata_service.endpoint).get("meta-data/mac")

    assert (reason, True) == (caught.value.reason, says in str(caught.value)), str(caught.value)
    assert "switched off" not in str(caught.value) or behaviour == "disabled"
    assert {"invalid"} >= {one.token for one in metadata_service.requests if one.method == "GET"}


@pytest.mark.parametrize("behaviour", SHOWN)
def test_an_unknown_server_is_unknown_without_firmware_and_beside_amazons(
    behaviour: str, metadata_service: MetadataService, tmp_path: Path
) -> None:
    """Never "no: OpenStack". Where firmware was read and is not Amazon's, an unknown server is a no."""
    metadata_service.behave(behaviour)
    neutral = Machine({"bios_version": "4.11.0"}, *[(Level.NONE, Reason.NO_EVIDENCE)] * 2)
    answers = []
    for name, machine in (
        ("none", LOOK_ALIKES["no firmware"]),
        ("nitro", EC2["nitro t3.micro, AL2023"]),
        ("neutral", neutral),
    ):
        host = Host(build(tmp_path / name, machine), environ={}, platform="linux")
        imds = Imds(PATIENCE, endpoints=metadata_service.endpoint)
        answers.append(detect(Level.PROOF, PATIENCE, host=host, imds=imds).answer)

    due = {"openstack": ["no", "unknown", "no"], "go": ["unknown", "unknown", "no"]}
    assert due.get(behaviour.replace("nginx", "go"), ["unknown"] * 3) == answers
