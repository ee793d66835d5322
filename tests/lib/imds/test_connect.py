"""The connect race: which way of not being there is which, on loopback and in network namespaces of their own."""

from __future__ import annotations

import errno
import socket
import time
from pathlib import Path

import pytest

from ec2ident.errors import ImdsError
from ec2ident.imds.client import CONNECT_WITHIN, Imds
from ec2ident.imds.connect import METADATA_IPV4, METADATA_IPV6, Endpoint, NoAnswerError, race, windows_words
from ec2ident.imds.responders import ADVICE
from ec2ident.model import Reason
from ec2ident.testing import MetadataService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.namespace import Namespace


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("http://169.254.169.254", "169.254.169.254", 80),
        ("http://169.254.169.254/", "169.254.169.254", 80),
        ("http://127.0.0.1:1338", "127.0.0.1", 1338),
        ("http://[fd00:ec2::254]", "fd00:ec2::254", 80),
        ("http://[::1]:8080/", "::1", 8080),
        ("http://[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1),
    ],
)
def test_an_endpoint_is_a_literal_address(url: str, address: str, port: int) -> None:
    """Written as in a URL, and back."""
    endpoint = Endpoint.parse(url)

    assert (address, port) == (endpoint.address, endpoint.port)
    assert url.rstrip("/") == str(endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "169.254.169.254",
        "https://169.254.169.254",
        "http://localhost",
        "http://metadata.google.internal",
        "http://instance-data.ec2.internal",
        "http://169.254.169.254.evil.example",
        "http://169.254.169.254:80:80",
        "http://169.254.169.254:",
        "http://169.254.169.254:0",
        "http://169.254.169.254:65536",
        "http://169.254.169.254/latest",
        "http://user@169.254.169.254",
        "http://169.254.169.254@127.0.0.1",
        "http://[::1",
        "http://::1",
        "http://[127.0.0.1]x",
        "http://[fe80::1%eth0]",
        "http://2130706433",
        "http://0x7f.1",
        "http://127.1",
        "http://0177.0.0.1",
        "http://127.0.0.1\n",
        "http://１２７.0.0.1",
    ],
)
def test_what_would_have_to_be_resolved_or_guessed_is_refused(url: str) -> None:
    """A name can be made to point anywhere, and short forms of addresses mean different things to different readers."""
    with pytest.raises(ValueError, match="endpoint: "):
        Endpoint.parse(url)


def test_no_endpoint_is_refused() -> None:
    """An empty list is a mistake, not a wish for silence."""
    with pytest.raises(ValueError, match="endpoints: none given"):
        Imds(endpoints=())


# The race, on loopback


def listening(address: str) -> tuple[socket.socket, Endpoint]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family)
    return listener, Endpoint(address, listener.getsockname()[1])


def unused(address: str = "127.0.0.1") -> Endpoint:
    """An endpoint without a listener: a port that was free a moment ago."""
    listener, endpoint = listening(address)
    listener.close()
    return endpoint


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.ipv6
def test_the_one_that_accepts_wins_over_the_one_that_refuses(address: str) -> None:
    """Whichever it is, and in whichever place."""
    listener, endpoint = listening(address)
    with listener:
        for endpoints in ((unused(), endpoint), (endpoint, unused("::1"))):
            winner, connection = race(endpoints, 5.0)
            assert (winner, endpoint.port) == (endpoint, connection.getpeername()[1])
            connection.close()


@pytest.mark.ipv6
def test_of_two_that_accept_one_is_returned_and_the_other_closed() -> None:
    """A connection that is left open would hold a place in the service."""
    (first, one), (second, two) = listening("127.0.0.1"), listening("::1")
    with first, second:
        winner, connection = race((one, two), 5.0)
        loser = second if winner == one else first
        loser.settimeout(5)
        accepted, _ = loser.accept()
        with accepted:
            accepted.settimeout(5)
            assert b"" == accepted.recv(1)
        connection.close()


@pytest.mark.parametrize(
    ("number", "text", "words"),
    [
        (
            10061,
            "No connection could be made because the target machine actively refused it.\r\n",
            "No connection could",
        ),
        (errno.ECONNREFUSED, "<no description>", "ECONNREFUSED"),
        (99999, "<no description>", "error 99999"),
    ],
)
def test_on_windows_an_error_has_windows_words(number: int, text: str, words: str) -> None:
    """Its C library says "Unknown error" to every number of a socket; FormatError knows them, with some gaps."""
    said = windows_words(number, lambda _: text)

    assert said.startswith(words)
    assert not said.endswith((".", "\n"))


@pytest.mark.ipv6
@pytest.mark.parametrize("reason", [Reason.NO_ROUTE, Reason.TIMEOUT])
def test_advice_about_routes_names_the_command_of_windows(reason: Reason) -> None:
    """An image that was made in another subnet keeps persistent routes to the service by a gateway that is not there
    (aws/amazon-ssm-agent#24, #48, #348; taskcluster/community-tc-config#444 shows `route print`)."""
    assert "`route print 169.254.*`" in ADVICE[reason]


def test_a_refusal_everywhere_is_refused() -> None:
    """With the kernel's word for each."""
    with pytest.raises(
        NoAnswerError, match=r"^connection refused \(http://127\.0\.0\.1:\d+, http://\[::1\]:\d+\)$"
    ) as caught:
        race((unused(), unused("::1")), 60.0)
    assert Reason.REFUSED == caught.value.reason


@pytest.fixture
def full() -> Iterator[Endpoint]:
    """An endpoint with a full queue of connections: it neither accepts nor refuses."""
    listener, endpoint = listening("127.0.0.1")
    listener.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    try:
        for one in waiting:
            one.setblocking(False)
            assert one.connect_ex((endpoint.address, endpoint.port)) in (0, errno.EINPROGRESS)
        time.sleep(0.05)
        yield endpoint
    finally:
        for one in [listener, *waiting]:
            one.close()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux: elsewhere a full queue refuses")
@pytest.mark.ipv6
def test_silence_ends_after_the_given_time_and_leaves_more_open_than_a_refusal(full: Endpoint) -> None:
    """One family refused and the other silent: something may be there, so it is not `refused`."""
    began = time.monotonic()
    given = 0.2
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.2 s") as caught:
        race((full, unused("::1")), given)

    assert Reason.TIMEOUT == caught.value.reason
    assert given / 2 < time.monotonic() - began < 20 * given


# In namespaces: the real addresses


def dropped(here: Namespace, *, answers_arp: bool) -> None:
    """A way out that leads nowhere: no interface has the router's MAC, or ARP for the router has no answer."""
    here.ip(
        "link add out type veth peer name far",
        "link set out up",
        "link set far up",
        "addr add 192.0.2.2/24 dev out",
        "-6 addr add 2001:db8::2/64 dev out nodad",
        *(
            (
                "neigh add 192.0.2.1 lladdr 02:00:00:00:00:99 dev out nud permanent",
                "-6 neigh add 2001:db8::1 lladdr 02:00:00:00:00:99 dev out nud permanent",
            )
            if answers_arp
            else ()
        ),
        "route add default via 192.0.2.1 dev out",
        "-6 route add default via 2001:db8::1 dev out",
    )


#: How a machine that is not EC2 is connected, and what its "no" is called.
GROUNDS: dict[str, tuple[Reason, Callable[[Namespace], None]]] = {
    "no route": (Reason.NO_ROUTE, lambda _: None),
    "no listener": (Reason.REFUSED, lambda here: here.ip("addr add 169.254.169.254/32 dev lo")),
    "packets are dropped": (Reason.TIMEOUT, lambda here: dropped(here, answers_arp=True)),
    "arp has no answer": (Reason.TIMEOUT, lambda here: dropped(here, answers_arp=False)),
    "blackhole": (Reason.NO_ROUTE, lambda here: here.ip("route add blackhole 169.254.169.254/32")),
    "prohibit": (Reason.NO_ROUTE, lambda here: here.ip("route add prohibit 169.254.169.254/32")),
    "unreachable": (Reason.NO_ROUTE, lambda here: here.ip("route add unreachable 169.254.169.254/32")),
}


@pytest.fixture
def here() -> Iterator[Namespace]:
    from tests.lab.namespace import Namespace, unique

    namespace = Namespace(unique("imds"))
    Namespace.add_all(namespace)
    try:
        yield namespace
    finally:
        Namespace.remove_all(namespace)


@pytest.mark.root
@pytest.mark.parametrize("ground", GROUNDS)
def test_a_machine_that_is_not_ec2_says_no_at_once(here: Namespace, ground: str) -> None:
    """Whichever way there is no service: the wait for a connection is all that it costs, whatever the timeout."""
    reason, lay = GROUNDS[ground]
    lay(here)
    with here.entered():
        began = time.monotonic()
        with pytest.raises(ImdsError) as caught:
            Imds(60.0).get("meta-data/instance-id")
        took = time.monotonic() - began

    assert reason == caught.value.reason
    assert took < 20 * CONNECT_WITHIN


@pytest.mark.root
def test_an_arp_failure_is_a_missing_route_once_the_kernel_says_so(here: Namespace) -> None:
    """It takes the kernel three seconds to say that ARP has no answer: longer than the race."""
    dropped(here, answers_arp=False)
    with here.entered(), pytest.raises(NoAnswerError, match="no route to host") as caught:
        race((METADATA_IPV4,), 20.0)
    assert Reason.NO_ROUTE == caught.value.reason


@pytest.mark.root
def test_retries_go_on_until_the_deadline_and_not_beyond(here: Namespace) -> None:
    """With local evidence, a booting instance is waited for; without an answer the deadline is the end."""
    dropped(here, answers_arp=True)
    timeout = 1.5
    with here.entered():
        began = time.monotonic()
        with pytest.raises(ImdsError, match=r"after [2-9] tries") as caught:
            Imds(timeout, retries=1000).get("meta-data/instance-id")
        took = time.monotonic() - began

    assert Reason.TIMEOUT == caught.value.reason
    assert timeout / 2 < took < 3 * timeout


@pytest.mark.root
@pytest.mark.parametrize("address", [METADATA_IPV4.address, METADATA_IPV6.address])
def test_the_service_is_found_at_its_real_address_over_either_family(here: Namespace, address: str) -> None:
    """An instance without IPv4 has the service at fd00:ec2::254 only."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    here.ip(f"-6 addr add {address}/128 dev lo nodad" if ":" in address else f"addr add {address}/32 dev lo")
    with here.entered():
        listener = socket.create_server((address, 80), family=family)
        with MetadataService(listeners=[listener]) as service:
            imds = Imds(20.0)
            assert service.instance.instance_id == imds.get("meta-data/instance-id")

    assert imds.endpoint in (METADATA_IPV4, METADATA_IPV6)
    assert address == (imds.endpoint.address if imds.endpoint else None)
