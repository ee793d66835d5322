"""The metadata client against the shipped service: what it asks, what it learns, what it says when it fails."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import contextmanager

import pytest
import responses

from ec2ident.errors import ImdsError
from ec2ident.imds.client import CONNECT_WITHIN, Imds
from ec2ident.imds.responders import ADVICE, HOP_LIMIT_IN_A_CONTAINER
from ec2ident.model import Fact, Kind, Reason
from ec2ident.testing import Instance, MetadataService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TOKEN_PATH = "/latest/api/token"
INSTANCE_ID = "meta-data/instance-id"

#: Seconds that a client has where nothing waits for their end, and where something does: on a busy machine, loading a
#: library or an answer over loopback may take half a second.
PATIENCE = 20.0
SHORT = 1.0


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with MetadataService() as service:
        yield service


def client(service: MetadataService, timeout: float = PATIENCE, **options: Any) -> Imds:
    return Imds(timeout, endpoints=service.endpoint, **options)


def asked(service: MetadataService) -> list[tuple[str, str, str]]:
    """Method, path and token of each request that the service saw."""
    return [(seen.method, seen.path, seen.token) for seen in service.requests]


@contextmanager
def refused(reason: Reason, match: str = "^metadata service: ") -> Iterator[pytest.ExceptionInfo[ImdsError]]:
    """The block raises ImdsError for this reason, and the text ends with what to do about it."""
    with pytest.raises(ImdsError, match=match) as caught:
        yield caught

    assert reason == caught.value.reason
    assert str(caught.value).endswith((ADVICE[reason], HOP_LIMIT_IN_A_CONTAINER))


# What it asks


def test_the_first_request_is_for_a_token_and_every_other_carries_it(service: MetadataService) -> None:
    """A GET without a token counts as use of IMDSv1 in the owner's audits: there is none, not even as a fallback."""
    imds = client(service)

    assert service.instance.instance_id == imds.get(INSTANCE_ID)
    assert service.instance.image_id == imds.get("/latest/meta-data/ami-id")
    assert [
        ("PUT", TOKEN_PATH, "none"),
        ("GET", "/latest/meta-data/instance-id", "valid"),
        ("GET", "/latest/meta-data/ami-id", "valid"),
    ] == asked(service)


def test_a_signed_item_takes_two_requests(service: MetadataService) -> None:
    """The PKCS7 carries the document, so a token and `rsa2048` are all that a proof needs.

    On a busy machine an answer may take longer than one exchange may, and the request is repeated.
    """
    item = client(service).identity_item(Kind.RSA2048)

    assert item
    assert [
        ("PUT", TOKEN_PATH, "none"),
        ("GET", "/latest/dynamic/instance-identity/rsa2048", "valid"),
    ] == [*dict.fromkeys(asked(service))]


def test_an_absent_item_is_none(service: MetadataService) -> None:
    """404 is an answer: the service says that there is no such item."""
    assert client(service).get("meta-data/no-such-item") is None


def test_bytes_come_as_they_are(service: MetadataService) -> None:
    """User data need not be text; what is signed must not be touched."""
    service.instance = Instance(user_data=b"\xff\x00\r\n")
    imds = client(service)

    assert b"\xff\x00\r\n" == imds.get_bytes("user-data")
    with pytest.raises(ImdsError, match="user-data: not UTF-8 text; get_bytes gives it as it is"):
        imds.get("user-data")


@pytest.mark.parametrize("path", ["", "meta-data/x y", "meta-data/x\r\nHost: evil", "é", "meta-data/x?y", "a#b", "%2e"])
def test_a_path_that_cannot_be_one_is_refused_before_anything_is_sent(service: MetadataService, path: str) -> None:
    """Foreign text in a path is an error, and never another request."""
    with pytest.raises(ValueError, match="is empty or has characters that no metadata path has"):
        client(service).get(path)
    assert [] == asked(service)


def test_the_kill_switch_sends_nothing(service: MetadataService) -> None:
    """AWS_EC2_METADATA_DISABLED is what every SDK of AWS honours."""
    with refused(Reason.NETWORK_DISABLED, "AWS_EC2_METADATA_DISABLED is true"):
        client(service, environ={"AWS_EC2_METADATA_DISABLED": "True"}).get(INSTANCE_ID)
    assert [] == asked(service)


@pytest.mark.parametrize("value", ["", "false", "0", "no"])
def test_the_kill_switch_is_the_word_true(service: MetadataService, value: str) -> None:
    """As in the SDKs, every other value leaves the service enabled."""
    assert client(service, environ={"AWS_EC2_METADATA_DISABLED": value}).get(INSTANCE_ID)


def test_an_endpoint_of_the_environment_is_taken_only_when_the_caller_says_so(service: MetadataService) -> None:
    """A variable must not choose the server that says that this is EC2."""
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{service.endpoint}/"}

    assert "http://169.254.169.254" == str(Imds(environ=environ).endpoints[0])
    assert service.instance.instance_id == Imds.from_environment(environ, timeout=PATIENCE).get(INSTANCE_ID)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ["http://169.254.169.254", "http://[fd00:ec2::254]"]),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, ["http://[fd00:ec2::254]"]),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv4"}, ["http://169.254.169.254"]),
        (
            {
                "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1338",
            },
            ["http://127.0.0.1:1338"],
        ),
    ],
)
def test_the_environment_names_an_endpoint_as_for_the_sdks(environ: dict[str, str], expected: list[str]) -> None:
    """The endpoint goes before the mode."""
    assert expected == [str(endpoint) for endpoint in Imds.from_environment(environ).endpoints]


def test_an_unknown_mode_of_the_environment_is_refused() -> None:
    """Silence would mean the wrong family."""
    with pytest.raises(ValueError, match="'ipv5' is neither ipv4 nor ipv6"):
        Imds.from_environment({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv5"})


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.ipv6)])
def test_both_families_are_tried_and_the_one_that_accepts_is_kept(host: str) -> None:
    """Instances without IPv4 exist; on most, IPv6 is switched off. Neither may cost the other anything."""
    with MetadataService(host=host) as service:
        port = service.port
        imds = Imds(PATIENCE, endpoints=(f"http://127.0.0.1:{port}", f"http://[::1]:{port}"))

        assert service.instance.instance_id == imds.get(INSTANCE_ID)
        assert host == imds.endpoint.address if imds.endpoint else None


# The token


def test_a_token_that_is_refused_is_renewed_once(service: MetadataService) -> None:
    """Tokens end before their time when the service restarts; the caller does not notice."""
    imds = client(service)
    imds.get(INSTANCE_ID)
    service.forget_tokens()
    service.forget_requests()

    assert service.instance.instance_id == imds.get(INSTANCE_ID)
    assert [
        ("GET", "/latest/meta-data/instance-id", "invalid"),
        ("PUT", TOKEN_PATH, "none"),
        ("GET", "/latest/meta-data/instance-id", "valid"),
    ] == asked(service)


@pytest.mark.parametrize("other", ["kiam", "go", "throttled", "genuine"])
@pytest.mark.parametrize("trouble", ["silence", "reset", "status"])
def test_a_token_goes_to_the_address_that_gave_it_alone(service: MetadataService, other: str, trouble: str) -> None:
    """A proxy at the other address, as uswitch/kiam's agent, is asked when a request is lost, and sees no token."""
    with MetadataService() as proxy:
        imds = Imds(PATIENCE, endpoints=(service.endpoint, proxy.endpoint))
        imds.open_session()
        given, beside = (service, proxy) if str(imds.endpoint) == str(service.endpoint) else (proxy, service)
        if other != "genuine":
            beside.behave(other)
        given.behave(trouble, path=INSTANCE_ID, times=1)

        assert (given if other != "genuine" else beside).instance.instance_id == imds.get(INSTANCE_ID)

    assert ("GET", f"/latest/{INSTANCE_ID}", "valid") in asked(given if other != "genuine" else beside)
    assert ("GET", f"/latest/{INSTANCE_ID}", "invalid") not in [*asked(given), *asked(beside)]


def test_a_service_that_refuses_its_own_tokens_is_not_asked_for_ever(service: MetadataService) -> None:
    """One new token is enough to know."""
    service.behave("unauthorized", method="GET")

    with refused(Reason.V2_REQUIRED, "answers 401"):
        client(service).get(INSTANCE_ID)
    assert ["PUT", "GET", "PUT", "GET"] == [method for method, _, _ in asked(service)]


@pytest.mark.parametrize(("age", "requests"), [(21600 - 61, ["GET"]), (21600 - 60, ["PUT", "GET"])])
def test_a_token_is_renewed_a_minute_before_its_end(service: MetadataService, age: float, requests: list[str]) -> None:
    """The life of a token is what the answer's header says; the client asks for the longest, six hours."""
    now = [1000.0]
    imds = client(service, clock=lambda: now[0])
    imds.get(INSTANCE_ID)
    service.forget_requests()
    now[0] += age
    imds.get(INSTANCE_ID)

    assert requests == [method for method, _, _ in asked(service)]


def test_the_token_is_nowhere_to_be_seen(service: MetadataService, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, not in a log of any library at any level, not in an error nor in what caused it."""
    caplog.set_level(logging.DEBUG)
    imds = client(service)
    imds.get(INSTANCE_ID)
    secret = imds._token.secret if imds._token else ""
    service.behave("not-http", method="GET")
    with pytest.raises(ImdsError) as caught:
        imds.get(INSTANCE_ID)

    shown = [repr(imds), repr(vars(imds)), repr(imds.facts), caplog.text]
    error: BaseException | None = caught.value
    while error is not None:
        shown += [repr(error), repr(vars(error))]
        assert not hasattr(error, "request"), "an error of requests holds the request, and with it the token"
        error = error.__cause__ or error.__context__
    assert len(secret) > 40
    assert secret not in "".join(shown)


# What it learns


def test_the_facts_say_who_gave_a_token(service: MetadataService) -> None:
    """Every server can send `Server: EC2ws`: it is a fact, and never an authority."""
    imds = client(service)
    before = imds.facts
    imds.get(INSTANCE_ID)
    source = service.endpoint + TOKEN_PATH

    assert () == before
    assert (Fact("imds-token", "granted", source), Fact("imds-server", "EC2ws", source)) == imds.facts


def test_a_failure_is_an_unknown_fact(service: MetadataService) -> None:
    """It could not be read, which is neither a value nor its absence."""
    service.behave("disabled")
    imds = client(service)
    with refused(Reason.DISABLED):
        imds.get(INSTANCE_ID)

    (fact,) = imds.facts
    assert ("imds-token", None, service.endpoint + TOKEN_PATH) == (fact.name, fact.value, fact.source)
    assert (Reason.DISABLED, True) == (fact.reason, "answers 403" in (fact.unknown or ""))


def test_a_hostile_server_header_is_made_harmless(service: MetadataService) -> None:
    """It ends up on a terminal."""
    with responses.RequestsMock() as mock:
        mock.put(service.endpoint + TOKEN_PATH, body="t" * 56, headers={"Server": "\x1b[2J" + "x" * 500})
        mock.get(f"{service.endpoint}/latest/{INSTANCE_ID}", status=404, headers={"Server": "\x1b[2J" + "x" * 500})
        imds = client(service)
        imds.get(INSTANCE_ID)

    assert imds.server is not None
    assert imds.server.startswith("\\x1b[2Jxxx")
    assert len(imds.server) < 100


# What it says when it fails

#: What the service can do at the token request, and what it is taken for.
CAUSES = {
    "hop-limit": Reason.HOP_LIMIT,
    "hop-limit-reset": Reason.HOP_LIMIT,
    "v1-only": Reason.V1_ONLY,
    "disabled": Reason.DISABLED,
    "throttled": Reason.THROTTLED,
    "status": Reason.SERVER_ERROR,
    "unauthorized": Reason.V2_REQUIRED,
    "hang-up": Reason.MALFORMED,
    "not-http": Reason.MALFORMED,
    "cut": Reason.MALFORMED,
    "drip": Reason.SLOW,
    "giant-body": Reason.TOO_LARGE,
    "giant-headers": Reason.TOO_LARGE,
    "endless-body": Reason.TOO_LARGE,
    "captive-portal": Reason.CAPTIVE_PORTAL,
    "redirect": Reason.CAPTIVE_PORTAL,
    "openstack": Reason.OTHER_CLOUD,
    "google": Reason.OTHER_CLOUD,
    "azure": Reason.OTHER_CLOUD,
    "alibaba": Reason.NOT_EC2WS,
}
#: Those that end with the deadline and not before.
WAITING = ("hop-limit", "drip")


@pytest.mark.parametrize("behaviour", CAUSES)
def test_each_cause_has_its_reason_and_ends_within_the_deadline(service: MetadataService, behaviour: str) -> None:
    """Whatever answers, or does not, the call ends, and the text says what to do."""
    service.behave(behaviour)
    began = time.monotonic()
    with refused(CAUSES[behaviour]):
        client(service, SHORT if behaviour in WAITING else PATIENCE).get(INSTANCE_ID)

    assert time.monotonic() - began < PATIENCE


#: The same at the item, after a token was given: silence is not the hop limit any more, and 404 is an answer.
CAUSES_AFTER_THE_TOKEN = {
    **{name: reason for name, reason in CAUSES.items() if name not in ("v1-only", "openstack", "alibaba")},
    "hop-limit": Reason.SLOW,
    "hop-limit-reset": Reason.MALFORMED,
}


@pytest.mark.parametrize("behaviour", CAUSES_AFTER_THE_TOKEN)
def test_each_cause_is_told_after_the_token_too(service: MetadataService, behaviour: str) -> None:
    """Only the answer to the token request has the low hop limit."""
    imds = client(service, SHORT if behaviour in WAITING else PATIENCE)
    imds.get(INSTANCE_ID)
    same = {"hop-limit": "silence", "hop-limit-reset": "reset"}
    service.behave(same.get(behaviour, behaviour))
    with refused(CAUSES_AFTER_THE_TOKEN[behaviour]):
        imds.get(INSTANCE_ID)


@pytest.mark.parametrize("in_container", [True, False])
def test_the_hop_limit_says_which_command_raises_it(service: MetadataService, in_container: bool) -> None:
    """It is one of two causes where no sign of a container is seen, and the probable one in a container."""
    service.behave("hop-limit")
    with refused(
        Reason.HOP_LIMIT, "aws ec2 modify-instance-metadata-options .* --http-put-response-hop-limit 2"
    ) as caught:
        client(service, SHORT, in_container=in_container).get(INSTANCE_ID)

    assert in_container != ("either packets are lost" in str(caught.value))


def test_one_silence_is_not_the_hop_limit(service: MetadataService) -> None:
    """A single packet may be lost anywhere: two silent requests are needed, over two connections."""
    service.behave("hop-limit")
    with refused(Reason.SLOW):
        client(service, SHORT, retries=0).get(INSTANCE_ID)
    assert 1 == len(service.requests)
    with refused(Reason.HOP_LIMIT, "2 token requests were sent, and none was answered"):
        client(service, SHORT, retries=1).get(INSTANCE_ID)


def test_a_wait_too_short_to_tell_is_slow_and_not_the_hop_limit(service: MetadataService) -> None:
    """When loading libraries used up the deadline, the service had no time to answer."""
    service.behave("hop-limit")
    with refused(Reason.SLOW):
        client(service, 0.05, retries=0).get(INSTANCE_ID)


@pytest.mark.parametrize(
    ("status", "server", "reason"),
    [
        (404, "EC2ws", Reason.V1_ONLY),
        (405, "EC2ws", Reason.V1_ONLY),
        (501, "EC2ws", Reason.V1_ONLY),
        (404, None, Reason.NOT_EC2WS),
        (404, "nginx", Reason.NOT_EC2WS),
        (405, "nginx", Reason.NOT_EC2WS),
        (501, "SimpleHTTP/0.6 Python/3.11.7", Reason.NOT_EC2WS),
        (400, "EC2ws", Reason.MALFORMED),
        (400, None, Reason.NOT_EC2WS),
        (401, "EC2ws", Reason.V2_REQUIRED),
        (401, "nginx", Reason.NOT_EC2WS),
        (403, "EC2ws", Reason.DISABLED),
        (403, None, Reason.DISABLED),
        (403, "nginx", Reason.NOT_EC2WS),
        (403, "squid/5.7", Reason.PROXY),
        (407, "squid/5.7", Reason.PROXY),
        (407, "nginx", Reason.CAPTIVE_PORTAL),
        (511, "nginx", Reason.CAPTIVE_PORTAL),
        (301, "EC2ws", Reason.CAPTIVE_PORTAL),
        (307, None, Reason.CAPTIVE_PORTAL),
        (429, "EC2ws", Reason.THROTTLED),
        (429, None, Reason.NOT_EC2WS),
        (503, "EC2ws", Reason.THROTTLED),
        (503, None, Reason.SERVER_ERROR),
        (500, "EC2ws", Reason.SERVER_ERROR),
        (502, None, Reason.SERVER_ERROR),
        (204, "EC2ws", Reason.MALFORMED),
        (418, "EC2ws", Reason.MALFORMED),
    ],
)
def test_the_answer_to_a_token_request_is_told_by_status_and_server(
    service: MetadataService, status: int, server: str | None, reason: Reason
) -> None:
    """Without `Server: EC2ws` a refusal says nothing of EC2: whatever else listens there refuses in its own way."""
    headers = {"Server": server} if server else {}
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.put(service.endpoint + TOKEN_PATH, status=status, headers=headers)
        for path in ("/openstack", "/latest/meta-data/"):  # asked to learn more about the refusal
            mock.get(service.endpoint + path, status=status, headers=headers)
        with pytest.raises(ImdsError, match=f"answers {status}") as caught:
            client(service, retries=0).get(INSTANCE_ID)
    assert reason == caught.value.reason


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", Reason.MALFORMED),
        ("two words", Reason.MALFORMED),
        ("line\nline", Reason.MALFORMED),
        ("é", Reason.MALFORMED),
        ("x" * 1025, Reason.MALFORMED),
        ("<html>login", Reason.CAPTIVE_PORTAL),
        ("\n <?xml ?>", Reason.CAPTIVE_PORTAL),
    ],
)
def test_what_cannot_be_a_token_is_not_sent_back(service: MetadataService, token: str, reason: Reason) -> None:
    """It would go into a header of the next request."""
    with responses.RequestsMock() as mock:
        mock.put(service.endpoint + TOKEN_PATH, body=token, content_type="text/plain")
        with refused(reason):
            client(service).get(INSTANCE_ID)


# Trying again


class Sleep:
    """Counts the pauses instead of taking them; time passes on a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def patient(service: MetadataService, sleep: Sleep, **options: Any) -> Imds:
    return client(service, clock=lambda: sleep.now, sleep=sleep, jitter=lambda: 1.0, **options)


@pytest.mark.parametrize("behaviour", ["throttled", "status", "hang-up"])
def test_what_passes_by_itself_is_tried_again_where_it_is_earned(service: MetadataService, behaviour: str) -> None:
    """An instance that boots has no metadata for some seconds; each pause is twice the last."""
    sleep = Sleep()
    service.behave(behaviour, times=2)

    assert service.instance.instance_id == patient(service, sleep, retries=3).get(INSTANCE_ID)
    assert [0.1, 0.2] == sleep.pauses


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_is_the_number_of_repeats(service: MetadataService, retries: int) -> None:
    """Of every failure that may pass, and 0 is one try."""
    for behaviour in ("throttled", "status", "hang-up", "reset", "cut"):
        service.forget_requests()
        service.behave(behaviour)
        with pytest.raises(ImdsError, match=f"after {retries + 1} tries" if retries else r"^(?!.*tries)"):
            patient(service, Sleep(), retries=retries).get(INSTANCE_ID)
        assert retries + 1 == len(service.requests)


@pytest.mark.parametrize("behaviour", ["v1-only", "captive-portal", "google", "giant-body"])
def test_what_does_not_pass_by_itself_is_not_tried_again(service: MetadataService, behaviour: str) -> None:
    """An administrator's decision or another cloud stays what it is."""
    service.behave(behaviour)
    with refused(CAUSES[behaviour]):
        patient(service, Sleep(), retries=5).get(INSTANCE_ID)
    assert 1 == len(service.requests)


def test_a_disabled_service_is_asked_once_more_with_an_invalid_token(service: MetadataService) -> None:
    """To tell it from a proxy that EC2 refuses. A request without any token would count as use of IMDSv1."""
    service.behave("disabled")
    with refused(Reason.DISABLED, "answers 403; the metadata service is switched off"):
        client(service).get(INSTANCE_ID)
    assert [("PUT", TOKEN_PATH, "none"), ("GET", "/latest/meta-data/", "invalid")] == asked(service)


def test_retries_end_with_the_deadline(service: MetadataService) -> None:
    """A pause that would end after the deadline is not begun, and the text says how often was tried."""
    sleep = Sleep()
    service.behave("throttled")
    with refused(Reason.THROTTLED, "after 11 tries"):
        patient(service, sleep, timeout=8.0, retries=50).get(INSTANCE_ID)
    assert [0.1, 0.2, 0.4, 0.8, *[1.0] * 6] == sleep.pauses


def test_pauses_are_jittered_by_up_to_a_half(service: MetadataService) -> None:
    """A thousand instances that boot together do not knock together."""
    sleep = Sleep()
    service.behave("throttled")
    imds = client(service, 9.0, retries=6, clock=lambda: sleep.now, sleep=sleep, jitter=lambda: 0.0)
    with refused(Reason.THROTTLED):
        imds.get(INSTANCE_ID)
    assert [0.05, 0.1, 0.2, 0.4, 0.5, 0.5] == sleep.pauses


def test_a_service_that_comes_late_is_found() -> None:
    """At boot the address refuses at first, and answers later."""
    service = MetadataService()
    with service:
        endpoint = service.endpoint

    def sleep(_: float) -> None:
        service.start()

    try:
        assert (
            Imds(PATIENCE, endpoints=endpoint, retries=1, sleep=sleep).get(INSTANCE_ID) == service.instance.instance_id
        )
    finally:
        service.stop()


# The deadline


def test_one_deadline_is_for_token_and_item_together(service: MetadataService) -> None:
    """Two answers, each slower than half of the deadline, are too slow; peers give each request its own time."""
    service.behave("delay", seconds=1.0)
    with refused(Reason.SLOW):
        client(service, 1.8, retries=0).get(INSTANCE_ID)

    assert [("PUT", TOKEN_PATH, "none"), ("GET", "/latest/meta-data/instance-id", "valid")] == asked(service)


def test_the_callers_deadline_shortens_the_timeout_and_never_lengthens_it(service: MetadataService) -> None:
    """`detect` has one deadline for everything it asks."""
    service.behave("silence", method="GET")
    for timeout, deadline in ((60.0, SHORT), (SHORT, 60.0)):
        began = time.monotonic()
        with refused(Reason.SLOW):
            client(service, timeout).get(INSTANCE_ID, deadline=began + deadline)
        assert time.monotonic() - began < PATIENCE


def test_a_deadline_that_has_passed_sends_no_request(service: MetadataService) -> None:
    """A missing time is None."""
    with refused(Reason.SLOW):
        client(service).get(INSTANCE_ID, deadline=time.monotonic() - 1)
    assert [] == asked(service)


def test_elapsed_counts_what_the_calls_took(service: MetadataService) -> None:
    """Seconds, over all calls."""
    service.behave("delay", seconds=0.2, method="GET")
    imds = client(service)
    imds.get(INSTANCE_ID)
    once = imds.elapsed
    imds.get(INSTANCE_ID)

    assert imds.elapsed >= once + 0.2 >= 0.4


def test_an_absent_service_is_told_without_the_timeout() -> None:
    """A refusal is an answer: the deadline is not waited for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        began = time.monotonic()
        with refused(Reason.REFUSED, r"connection refused \(http://127\.0\.0\.1:"):
            Imds(60.0, endpoints=endpoint).get(INSTANCE_ID)

    assert time.monotonic() - began < 20 * CONNECT_WITHIN


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 10**400])
def test_a_timeout_without_end_is_a_day(timeout: float, service: MetadataService) -> None:
    """The kernel's clock and a socket's timeout have an end of their own."""
    assert service.instance.instance_id == Imds(timeout, endpoints=service.endpoint, retries=0).get(INSTANCE_ID)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"timeout": "1"}, r"^timeout: '1' is not a number of seconds"),
        ({"timeout": float("nan")}, r"^timeout: nan"),
        ({"timeout": -1}, r"^timeout: -1"),
        ({"retries": "3"}, r"^retries: '3' is not a whole number"),
        ({"retries": -1}, r"^retries: -1"),
        ({"endpoints": 5}, r"^endpoints: 5 \(one or several"),
        ({"endpoints": ()}, r"^endpoints: none given"),
        ({"endpoints": [5]}, r"^endpoint: 5 is not http://ADDRESS"),
    ],
)
def test_a_client_that_makes_no_sense_is_refused_when_it_is_made(how: dict[str, Any], match: str) -> None:
    """A mistake of the program is a ValueError at once, and not a failure of the first request."""
    with pytest.raises(ValueError, match=match):
        Imds(**how)


@pytest.mark.parametrize("path", [5, None, "", "a b", b"meta-data/mac"])
def test_a_path_that_is_none_is_a_mistake_of_the_program(path: Any) -> None:
    """Whatever its type."""
    with pytest.raises(ValueError, match=r"^path: "):
        Imds().get(path)


def test_the_room_gives_its_client_without_loading_it_before() -> None:
    """`from ec2ident.imds import Imds` is how people write it; the quick "no" needs the connect race alone."""
    import subprocess
    import sys

    shown = "'ec2ident.imds.client' in sys.modules, room.Imds.__name__, len(room.ADVICE) > 0"
    code = f"import sys, ec2ident.imds as room; print({shown})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False Imds True\n" == done.stdout
