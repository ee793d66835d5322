"""Requests that are lost, reset or refused: what is asked again, where, how often, and within which time.

Lost first requests are ordinary: aws-sdk-rust#1233, aws-sdk-java-v2#3846, code-dot-org#25821.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from ec2ident import Imds, ImdsError, Level, Reason, detect
from ec2ident.imds import connect
from ec2ident.imds.connect import NoAnswerError
from ec2ident.testing import Instance, MetadataService
from tests.lib.machines import EC2, LOOK_ALIKES, NITRO, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from ec2ident.imds.connect import Endpoint

pytest_plugins = ["ec2ident.testing.pytest_plugin"]

ITEM = "meta-data/instance-id"
#: Seconds, however busy the machine is; and for what may wait for their end.
PATIENCE = 30.0
SHORT = 2.0


@pytest.fixture
def service(metadata_service: MetadataService) -> MetadataService:
    metadata_service.instance = Instance(instance_id=NITRO["board_asset_tag"], instance_type="t3.micro")
    return metadata_service


@pytest.fixture
def two() -> Iterator[tuple[MetadataService, MetadataService]]:
    """Two servers on one port: the first over IPv4, the second, EC2's own, over IPv6."""
    with ExitStack() as stack:
        first = stack.enter_context(MetadataService(host="127.0.0.1"))
        listener = socket.create_server(("::1", first.port), family=socket.AF_INET6)
        yield first, stack.enter_context(MetadataService(listeners=[listener]))


def both(two: tuple[MetadataService, MetadataService], timeout: float = PATIENCE, **options: Any) -> Imds:
    return Imds(timeout, endpoints=tuple(one.endpoint for one in two), **options)


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize(
    ("behaviour", "how"),
    [
        ("silence", {}),
        ("reset", {}),
        ("hang-up", {}),
        ("cut", {}),
        *(("status", {"status": status}) for status in (500, 502, 503)),
    ],
)
def test_one_lost_request_is_asked_again(
    behaviour: str, how: dict[str, Any], method: str, service: MetadataService
) -> None:
    """Over a new connection, without any evidence for EC2, and the answer is complete."""
    service.behave(behaviour, method=method, times=1, **how)

    assert Imds(PATIENCE, endpoints=service.endpoint).get(ITEM) == service.instance.instance_id
    assert 3 == len(service.requests)


def test_a_silent_request_has_a_second_and_not_the_whole_time(service: MetadataService) -> None:
    """However long the timeout is. The second repeat has a second too, the third twice as long, never a third of it."""
    service.behave("silence", times=3)
    imds = Imds(300.0, endpoints=service.endpoint)

    assert imds.get(ITEM) == service.instance.instance_id
    assert imds.elapsed < PATIENCE
    first, second, third, fourth = (one.time for one in service.requests[:4])
    assert 0.8 < second - first < PATIENCE
    assert 0.8 < third - second < PATIENCE
    assert 1.6 < fourth - third < PATIENCE


def test_a_silent_request_has_a_third_of_a_short_time(service: MetadataService) -> None:
    """Two may be lost within a timeout of two seconds."""
    service.behave("silence", times=2)
    imds = Imds(SHORT, endpoints=service.endpoint)

    imds.open_session()

    assert 3 == len(service.requests)
    assert imds.elapsed < SHORT


def test_silence_is_repeated_until_the_deadline_and_no_longer(service: MetadataService) -> None:
    """The caller allowed the time; the reason names two causes only after two silent requests."""
    service.behave("silence", method="PUT")
    imds = Imds(SHORT, endpoints=service.endpoint)

    with pytest.raises(ImdsError) as caught:
        imds.get(ITEM)

    assert Reason.HOP_LIMIT is caught.value.reason
    assert 2 < len(service.requests) < 20
    assert SHORT / 2 < imds.elapsed < PATIENCE


def test_a_silent_item_is_not_the_hop_limit(service: MetadataService) -> None:
    """The token has come: only its answer has the low hop limit."""
    service.behave("silence", method="PUT", times=1)
    service.behave("silence", method="GET")

    with pytest.raises(ImdsError, match="no answer in time") as caught:
        Imds(SHORT, endpoints=service.endpoint).get(ITEM)

    assert Reason.SLOW is caught.value.reason


def test_a_failing_service_is_repeated_twice_without_evidence(service: MetadataService) -> None:
    """A service that fails at once is not asked for as long as the caller would wait for a silent one."""
    service.behave("status")

    with pytest.raises(ImdsError, match="answers 500 after 3 tries"):
        Imds(PATIENCE, endpoints=service.endpoint).get(ITEM)
    assert 3 == len(service.requests)


@pytest.mark.parametrize("behaviour", ["silence", "reset", "status", "hang-up"])
def test_the_other_address_is_asked_where_one_fails(
    behaviour: str, two: tuple[MetadataService, MetadataService]
) -> None:
    """The one that accepts first need not be the one that answers."""
    for failing, good in (two, two[::-1]):
        for one in two:
            one.reset()
        failing.behave(behaviour)
        imds = both((failing, good))

        assert good.instance.instance_id == imds.get(ITEM)
        assert imds.endpoint is not None
        assert good.endpoint == str(imds.endpoint)


@pytest.mark.parametrize("behaviour", ["kiam", "go", "nginx", "captive-portal", "disabled", "squid", "giant-body"])
def test_the_other_address_is_asked_before_giving_up(
    behaviour: str, two: tuple[MetadataService, MetadataService]
) -> None:
    """kiam and kube2iam redirect IPv4 only (uswitch/kiam#359, jtblin/kube2iam#345); it is not a repeat."""
    proxy, ec2 = two
    proxy.behave(behaviour)

    imds = both(two, retries=0)

    assert ec2.instance.instance_id == imds.get(ITEM)
    assert ec2.instance.image_id == imds.get("meta-data/ami-id")
    assert str(imds.endpoint) == ec2.endpoint, "the address that answered is kept"


@pytest.mark.parametrize(("lost", "answers"), [(1, True), (2, False)])
def test_one_lost_connection_is_not_the_absence_of_the_other_address(
    lost: int, answers: bool, two: tuple[MetadataService, MetadataService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel repeats a lost SYN after a second, which is longer than a connection is waited for."""
    two[0].behave("captive-portal")
    race, attempts = connect.race, []

    def losing(endpoints: Sequence[Endpoint], *more: Any) -> tuple[Endpoint, Any]:
        if two[0].endpoint in map(str, endpoints):
            return race(endpoints, *more)
        attempts.append(endpoints)
        if len(attempts) <= lost:
            raise NoAnswerError(Reason.TIMEOUT, "no answer within 0.25 s")
        return race(endpoints, *more)

    monkeypatch.setattr(connect, "race", losing)

    if answers:
        assert both(two).get(ITEM) == two[1].instance.instance_id
    else:
        with pytest.raises(ImdsError, match="page of markup"):
            both(two).get(ITEM)
        assert 2 == len(attempts)


def test_both_failures_are_told(two: tuple[MetadataService, MetadataService]) -> None:
    """The last answer decides, and the first is not forgotten."""
    proxy, ec2 = two
    proxy.behave("kiam")
    ec2.behave("disabled")

    with pytest.raises(
        ImdsError, match=r"answers 403; before that /latest/api/token answers 404 from kiam's"
    ) as caught:
        both(two).get(ITEM)

    assert Reason.DISABLED is caught.value.reason


def test_a_cloud_that_names_itself_settles_it(two: tuple[MetadataService, MetadataService]) -> None:
    """There is no second metadata service behind Google's."""
    two[0].behave("google")
    two[1].behave("google")

    with pytest.raises(ImdsError) as caught:
        both(two).get(ITEM)

    assert Reason.OTHER_CLOUD is caught.value.reason
    assert 1 == len(two[0].requests) + len(two[1].requests)


def test_the_reset_of_a_token_request_passes_where_firmware_is_strong(service: MetadataService, tmp_path: Path) -> None:
    """It was taken for the hop limit at once, which ended the wait for a service that boots."""
    service.behave("reset", method="PUT", times=2)
    root = build(tmp_path, EC2["nitro t3.micro, AL2023"])

    imds = Imds(PATIENCE, endpoints=service.endpoint)
    assert detect(Level.PROOF, PATIENCE, root=root, imds=imds, trust=service.trust)


@pytest.mark.parametrize(
    ("behaviour", "how"), [("silence", {}), ("giant-body", {}), ("status", {}), ("body", {"body": "%%%"}), ("drip", {})]
)
def test_the_other_kinds_are_tried_while_there_is_time(
    behaviour: str, how: dict[str, Any], service: MetadataService, tmp_path: Path
) -> None:
    """An item that never arrives, or that is not understood, takes half of the time at most."""
    service.behave(behaviour, path="/rsa2048$", **{"seconds": 1.0, **how} if behaviour == "drip" else how)
    root = build(tmp_path, LOOK_ALIKES["no firmware"])

    imds = Imds(PATIENCE, endpoints=service.endpoint)
    verdict = detect(Level.PROOF, 4.0, root=root, imds=imds, trust=service.trust)

    assert verdict, verdict.explain()
    assert verdict.identity is not None
    assert "pkcs7" == verdict.identity.kind
