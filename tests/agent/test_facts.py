"""What the metadata service says of an interface: a value, none, or unknown; and unknown never removes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident import Imds
from ec2ident.testing import Instance, Interface, MetadataService
from ec2ident.value import replace
from ec2ident_agent import cli, options
from ec2ident_agent.errors import AgentError
from ec2ident_agent.fact_source import FactSource
from ec2ident_agent.facts import ADDRESSES, CARD, ITEMS, NUMBER, SUBNETS, VPC, needed, read_item, table
from ec2ident_agent.items import OURS, Address, Link, Observed, Route, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.profile import Facts

from .conftest import Agent

PRIMARY = Interface(vpc_cidrs=("10.0.0.0/16", "10.9.0.0/16"))
SECOND = Interface(
    mac="06:00:00:00:00:01",
    subnet="10.0.1.0/24",
    private_ips=("10.0.1.10", "10.0.1.11"),
    device_number=1,
    subnets_ipv6=("2600:1f14:eeb:2201::/64",),
    ipv6s=("2600:1f14:eeb:2201::10",),
    prefixes=("10.0.1.16/28",),
    prefixes_ipv6=("2600:1f14:eeb:2201:1::/80",),
    vpc_cidrs=("10.0.0.0/16", "10.9.0.0/16"),
    vpc_cidrs_ipv6=("2600:1f14:eeb:2200::/56",),
)
ROUTER = Route("::/0", "eth1", 254, "fe80:ec2::1", 1024)
NODE = Observed(
    (Link(1, "lo", "", True), Link(2, "eth0", "06:00:00:00:00:00", True), Link(3, "eth1", "06:00:00:00:00:01", True)),
    (Seen(Address("eth1", "10.0.1.10/24"), None), Seen(ROUTER, 9)),
)
ALL = Facts(
    "eth1",
    subnets=("10.0.1.0/24", "2600:1f14:eeb:2201::/64"),
    routers=("fe80:ec2::1",),
    addresses=(
        *("10.0.1.10/32", "10.0.1.11/32", "2600:1f14:eeb:2201::10/128"),
        *("10.0.1.16/28", "2600:1f14:eeb:2201:1::/80"),
    ),
    vpc=("10.0.0.0/16", "10.9.0.0/16", "2600:1f14:eeb:2200::/56"),
    table=23601,
)


#: Seconds for the answers of a service that answers: no result may depend on how busy the machine is.
PATIENT = 60.0


class Time:
    """A clock that only waiting moves; other things may happen during a wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.then: dict[float, Callable[[], object]] = {}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for when in [when for when in self.then if when <= self.now]:
            self.then.pop(when)()


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with MetadataService(Instance(interfaces=(PRIMARY, SECOND))) as running:
        yield running


@pytest.fixture
def time() -> Time:
    return Time()


class Asking:
    """A source over a service, made anew like a process is; what it said to people is kept."""

    def __init__(self, service: MetadataService, time: Time, directory: Path) -> None:
        self.service, self.time, self.directory = service, time, directory
        self.said: list[str] = []
        #: Seconds; short where a test is about silence.
        self.timeout = PATIENT

    def source(self, *, fresh: float = 60.0, wait: float = 0.0, earned: bool = False) -> FactSource:
        return FactSource(
            str(self.directory),
            Imds(self.timeout, endpoints=self.service.endpoint, environ={}),
            fresh=fresh,
            wait=wait,
            say=self.said.append,
            earned=lambda: earned,
            now=self.time,
            sleep=self.time.sleep,
        )

    def whole(self, device: str = "eth1", **options: float) -> Facts:
        return self.source(**options)(device, NODE)  # type: ignore[arg-type]

    def __call__(self, device: str = "eth1", **options: float) -> Facts:
        """What is known of the device itself, without the other interfaces."""
        return replace(self.whole(device, **options), others=(), primary=None)

    def asked(self, without: str = PRIMARY.mac) -> int:
        """How many requests there were, but for those about the other interface's items."""
        count = sum(f"macs/{without}/" not in each.path for each in self.service.requests)
        self.service.forget_requests()
        return count


@pytest.fixture
def ask(service: MetadataService, time: Time, tmp_path: Path) -> Asking:
    return Asking(service, time, tmp_path / "state")


# What is said


def test_all_that_the_service_says_of_an_interface(ask: Asking) -> None:
    """Both families, secondary addresses, delegated prefixes, the VPC's ranges, a table by card and device number."""
    assert ALL == ask()


def test_the_primary_has_number_0(ask: Asking) -> None:
    """There it is true: its MAC is the instance's."""
    assert 23600 == ask("eth0").table


def test_a_card_of_its_own_makes_a_table_of_its_own(ask: Asking) -> None:
    """A device number is unique on its card only: number 0 on the second card is this interface alone."""
    ask.service.assign(SECOND.mac, device_number=0, network_card=1)

    assert 23700 == ask().table


def test_what_is_not_there_is_none_and_not_unknown(ask: Asking) -> None:
    """404 for prefixes and IPv6: the interface has none."""
    ask.service.assign(SECOND.mac, prefixes=(), prefixes_ipv6=(), ipv6s=(), subnets_ipv6=(), vpc_cidrs_ipv6=())

    found = ask()

    assert ("10.0.1.0/24",) == found.subnets
    assert ("10.0.1.10/32", "10.0.1.11/32") == found.addresses
    assert "" == found.unknown


def test_a_link_without_an_address_of_its_own_has_no_profile(ask: Asking) -> None:
    """Loopback, tunnels: the service is not even asked."""
    assert Facts("lo") == ask("lo")
    assert 0 == ask.asked()


DAMAGE: dict[str, dict[str, object]] = {
    "500": {"do": "status", "status": 500},
    "garbage": {"do": "body", "body": "garbage"},
    "empty": {"do": "body", "body": ""},
    "reset": {"do": "reset"},
}
FIELDS = {
    "table": (NUMBER, CARD),
    "subnets": SUBNETS,
    "addresses": ADDRESSES,
    "vpc": VPC,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("field", "name"), [(field, name) for field, names in FIELDS.items() for name in names])
def test_an_item_that_cannot_be_read_is_unknown(ask: Asking, field: str, name: str, damage: str) -> None:
    """Never none: what depends on it is None, the reason names the item, and everything else is known."""
    ask.service.assign(SECOND.mac, network_card=0)
    ask.service.behave(path=f"/{SECOND.mac}/{name}$", **DAMAGE[damage])  # type: ignore[arg-type]

    found = ask()

    assert found.unknown.startswith(f"{name}: ")
    assert replace(ALL, **{field: None}) == replace(found, unknown="")


@pytest.mark.parametrize(
    "do", ["disabled", "throttled", "captive-portal", "not-http", "openstack", "google", "redirect", "hang-up"]
)
def test_a_service_that_fails_knows_nothing_and_says_why(ask: Asking, do: str) -> None:
    """All is unknown; only the router is the kernel's own knowledge."""
    ask.service.behave(do)

    found = ask()

    assert Facts("eth1", routers=("fe80:ec2::1",), unknown=found.unknown) == found
    assert "" != found.unknown


@pytest.mark.parametrize("name", [NUMBER, "vpc-ipv4-cidr-blocks", "local-ipv4s"])
def test_what_every_interface_has_is_never_none(ask: Asking, name: str) -> None:
    """404 on one of these is a service that does not know yet."""
    ask.service.behave("hide", path=f"/{SECOND.mac}/{name}$")

    assert f"{name}: missing, as before it is known" == ask().unknown


@pytest.mark.parametrize("name", ["subnet-ipv4-cidr-block", NUMBER, CARD, "vpc-ipv4-cidr-blocks", "local-ipv4s"])
def test_what_an_interface_keeps_is_not_gone_when_the_service_says_so(ask: Asking, name: str) -> None:
    """While it is attached its number, its card and its subnet stay what they were."""
    ask.service.assign(SECOND.mac, network_card=0)
    assert ALL == ask()
    ask.service.behave("hide", path=f"/{SECOND.mac}/{name}$")

    assert ALL == replace(ask(fresh=0.0), unknown="")


# Hostile answers


@given(st.sampled_from(sorted(ITEMS)), st.text(max_size=60))
def test_any_text_is_canonical_values_or_refused(name: str, text: str) -> None:
    """What comes out reads as the same value again, and fits its family."""
    try:
        found = read_item(name, text)
    except ValueError as wrong:
        found, says = (), str(wrong)
    else:
        says = f"{name}: "
    assert says.startswith(f"{name}: ")
    assert len(says) < 300
    assert not found or found == read_item(name, "\n".join(found))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (NUMBER, "-1"),
        (NUMBER, "100"),
        (NUMBER, "1\n2\n" * 2000),
        (NUMBER, "١"),
        ("subnet-ipv4-cidr-block", "10.0.1.5/24"),
        ("subnet-ipv4-cidr-block", "2600::/64"),
        ("subnet-ipv6-cidr-blocks", "10.0.1.0/24"),
        ("local-ipv4s", "10.0.1.0/24"),
        ("local-ipv4s", "0.0.0.0"),
        ("local-ipv4s", "224.0.0.1"),
        ("ipv6s", "fe80::1%eth0"),
        ("ipv4-prefix", "10.0.1.16"),
        ("local-ipv4s", "<html>"),
        ("local-ipv4s", "\n".join(f"10.{i >> 8}.{i & 255}.1" for i in range(2001))),
    ],
)
def test_what_is_not_a_value_of_its_kind_is_refused(name: str, text: str) -> None:
    """Host bits, the other family, too many, another script's digits."""
    with pytest.raises(ValueError, match=rf"^{name}: "):
        read_item(name, text)


# A hot attach


def test_after_a_hot_attach_it_is_waited_for_and_said(ask: Asking, time: Time) -> None:
    """Not listed, then number 0, then all of it; each wait is a line with the budget."""
    mac = SECOND.mac
    unlisted = ask.service.behave("hide", path=f"/macs/{mac}/")
    ask.service.behave("body", path=f"/macs/{mac}/{NUMBER}$", body="0", times=2)
    time.then[1002.0] = lambda: ask.service.forget(unlisted)

    assert ALL == ask(wait=10.0)
    assert [
        "eth1: waiting for the metadata service: the interface is not listed (0.0 s of 10 s)",
        f"eth1: waiting for the metadata service: {NUMBER} is 0, as before it is known (2.6 s of 10 s)",
    ] == ask.said


def test_the_wait_has_an_end(ask: Asking, time: Time) -> None:
    """The budget is for all interfaces of a process together; then what is not known is unknown."""
    ask.service.behave("hide", path=f"/macs/{SECOND.mac}/")
    source = ask.source(wait=5.0)

    assert "the interface is not listed" == source("eth1", NODE).unknown
    assert 4.0 < time.now - 1000 <= 5.0
    ask.service.behave("hide", path=f"/macs/{PRIMARY.mac}/")
    source("eth0", NODE)
    assert time.now <= 1005.0


@pytest.mark.parametrize(("earned", "waits"), [(True, True), (False, False)])
def test_a_service_that_does_not_answer_is_waited_for_only_on_ec2(
    ask: Asking, time: Time, earned: bool, waits: bool
) -> None:
    """At boot it may be late; elsewhere there is none, and no command should wait for it."""
    ask.service.stop()

    ask(wait=5.0, earned=earned)

    assert waits == (time.now > 1000)


def test_a_service_that_has_answered_before_is_waited_for(ask: Asking, time: Time) -> None:
    """Whatever the firmware says: an interface is attached just when the service is slow."""
    ask.service.detach(SECOND.mac)
    assert 23600 == ask("eth0").table
    ask.service.attach(SECOND)
    slow = ask.service.behave("throttled")
    time.then[1003.0] = lambda: ask.service.forget(slow)

    assert ALL == ask(wait=10.0)
    assert ask.said[0].startswith("eth1: waiting for the metadata service: /latest/")


def test_a_number_0_is_another_interfaces_until_it_is_known() -> None:
    """Two interfaces with one table would overwrite each other's default route."""
    assert None is table({NUMBER: ("0",), CARD: ()}, primary=False)
    assert None is table({NUMBER: ("1",)}, primary=False)
    assert None is table({CARD: ()}, primary=True)
    assert 23600 == table({NUMBER: ("0",), CARD: ()}, primary=True)
    assert 23601 == table({NUMBER: ("1",), CARD: ()}, primary=False)
    assert 23700 == table({NUMBER: ("0",), CARD: ("1",)}, primary=False)


def test_a_card_is_late_where_the_first_interface_has_one(ask: Asking) -> None:
    """Number 1 of the second card would get the table of number 1 of the first, and both be refused."""
    ask.service.assign(PRIMARY.mac, network_card=0)
    ask.service.assign(SECOND.mac, network_card=1)
    ask.service.behave("status", status=404, path=f"/{SECOND.mac}/{CARD}$", times=2)

    found = ask()

    assert None is found.table
    assert f"{CARD}: missing, as before it is known: the first interface has one" == found.unknown
    assert 23701 == ask(wait=10.0).table


def test_while_waiting_only_what_is_missing_is_asked_for(ask: Asking) -> None:
    """One item that always fails costs the listing and three tries a round, not dozens; the wait still ends."""
    ask.service.behave("status", path="/ipv6s$", status=500)

    assert "ipv6s: " in ask(wait=10.0).unknown

    rounds = [each.path for each in ask.service.requests].count("/latest/meta-data/network/interfaces/macs/")
    assert 8 < rounds < 16
    mine = [each.path for each in ask.service.requests if PRIMARY.mac not in each.path]
    asked = [path.rpartition("/")[2] for path in mine]
    assert {"ipv6s": 3 * rounds, "local-ipv4s": 1, NUMBER: 1} == {
        name: asked.count(name) for name in ("ipv6s", "local-ipv4s", NUMBER)
    }


@pytest.mark.parametrize("behaviour", ["silence", "reset", "status", "hang-up"])
@pytest.mark.parametrize("path", ["/api/token$", "/macs/$", "/device-number$"])
def test_one_lost_packet_does_not_end_the_wait(ask: Asking, behaviour: str, path: str) -> None:
    """After an attach one request may be lost as at any time (aws-sdk-java-v2#3846): the facts are complete."""
    ask.service.behave(behaviour, path=path, times=1)

    assert ALL == ask()


@pytest.mark.parametrize("path", ["", "/macs/."], ids=["at once", "below the interfaces"])
def test_a_silent_service_costs_one_time_out_for_all_interfaces(ask: Asking, path: str, time: Time) -> None:
    """Ten of them would be a monitor's whole time; a second later it is asked again."""
    ask.service.behave("silence", path=path)
    ask.timeout = 5.0 if path else 0.2
    source = ask.source()

    assert "" != source("eth1", NODE).unknown
    ask.asked()
    assert "" != source("eth0", NODE).unknown
    assert 0 == ask.asked()
    time.now += 2
    ask.service.reset()
    assert 23600 == source("eth0", NODE).table


def test_what_several_processes_heard_at_once_is_kept_of_all(ask: Asking) -> None:
    """Two interfaces come up together, and each hook asks for its own."""
    one, other = ask.source(), ask.source()
    one("eth1", NODE)
    other("eth0", NODE)
    ask.service.assign(SECOND.mac, private_ips=("10.0.1.10",))
    ask.source(fresh=0.0)("eth1", NODE)
    other("eth0", NODE)
    ask.service.stop()

    assert 23600 == ask("eth0").table
    assert "10.0.1.11/32" not in (ask().addresses or ())


# The other interfaces


def test_what_the_service_says_of_the_others_is_known_too(ask: Asking, time: Time) -> None:
    """The first interface, and one that has no link on this node yet, under its MAC; each is asked about once."""
    third = replace(SECOND, mac="06:00:00:00:00:02", device_number=2, private_ips=("10.0.1.99",), ipv6s=())
    ask.service.attach(third)

    eth0, other = sorted(ask.whole().others, key=lambda each: each.device == third.mac)

    assert ("eth0", 23600, True) == (eth0.device, eth0.table, eth0.primary)
    assert (third.mac, ("10.0.1.0/24", "2600:1f14:eeb:2201::/64"), False) == (
        other.device,
        other.subnets,
        other.primary,
    )
    paths = [each.path for each in ask.service.requests]
    # The eleventh: has the first interface a card?
    assert [11, 10] == [sum(f"/{mac}/" in path for path in paths) for mac in (PRIMARY.mac, third.mac)]
    ask.service.forget_requests()
    time.now += 59
    assert 2 == len(ask.whole().others)
    assert [] == [*ask.service.requests]
    ask.service.detach(third.mac)
    time.now += 60
    assert ["eth0"] == [each.device for each in ask.whole().others]


def test_another_interface_that_is_not_known_in_full_is_not_waited_for(ask: Asking, time: Time) -> None:
    """Nothing is configured for it: what it lacks costs no time, and what is known of it counts."""
    ask.service.behave("status", path=f"/{PRIMARY.mac}/ipv6s$", status=500)

    (eth0,) = ask.whole(wait=10.0).others

    assert (1000.0, ("10.0.0.0/24",), None) == (time.now, eth0.subnets, eth0.addresses)


# What was said last


def test_for_a_minute_no_request_is_sent_again(ask: Asking, time: Time) -> None:
    """A monitor every ten seconds costs one round of requests a minute; another process remembers."""
    assert ALL == ask()
    # A token, the instance's MAC, the listing, ten items.
    assert 13 == ask.asked()
    time.now += 59
    assert ALL == ask()
    assert 0 == ask.asked()
    time.now += 2
    assert ALL == ask()
    assert 13 == ask.asked()


def test_a_command_that_acts_asks_anew(ask: Asking) -> None:
    """What was said a second ago may not be true any more."""
    assert ALL == ask()
    ask.service.assign(SECOND.mac, prefixes=())

    assert "10.0.1.16/28" not in (ask(fresh=0.0).addresses or ())


@pytest.mark.parametrize("do", ["status", "silence", "throttled", "disabled", "unauthorized", "captive-portal"])
def test_while_the_service_fails_what_it_said_goes_on_to_count(ask: Asking, time: Time, do: str) -> None:
    """And that is said, once."""
    assert ALL == ask()
    ask.service.behave(do)
    ask.timeout = 0.2
    time.now += 3600
    source = ask.source()

    found = source("eth1", NODE)
    time.now += 5
    source("eth1", NODE)

    assert ALL == replace(found, unknown="", others=(), primary=None)
    assert 1 == len(ask.said)
    assert ask.said[0].endswith("its answer of 3600 s ago stays in force")


def test_one_item_that_fails_is_what_it_was_and_the_others_are_new(ask: Asking) -> None:
    """Field by field."""
    assert ALL == ask()
    ask.service.assign(SECOND.mac, private_ips=("10.0.1.10", "10.0.1.12"), prefixes=())
    ask.service.behave("status", path="/ipv4-prefix$", status=500)

    found = ask(fresh=0.0).addresses or ()

    assert "10.0.1.12/32" in found
    assert "10.0.1.11/32" not in found
    assert "10.0.1.16/28" in found


def test_another_attach_is_another_interface(ask: Asking) -> None:
    """The same ENI in another slot has another index, and another number: nothing of the earlier one counts."""
    assert ALL == ask()
    again = Observed((*NODE.links[:2], Link(7, "eth1", SECOND.mac, True)), NODE.seen)
    ask.service.stop()

    assert Facts("eth1", routers=("fe80:ec2::1",)) == replace(ask.source()("eth1", again), unknown="", others=())


@pytest.mark.parametrize("damage", [b"", b"{}", b"ec2ident-facts 2\nend 0 00000000\n", b"\xff" * 100])
def test_a_damaged_memory_is_none(ask: Asking, damage: bytes) -> None:
    """It only saves requests; it is asked for anew."""
    assert ALL == ask()
    (ask.directory / "facts").write_bytes(damage)

    assert ALL == ask()
    assert ALL == ask()


def test_where_nothing_can_be_kept_it_is_asked_each_time(ask: Asking, time: Time) -> None:
    """An ordinary user's status."""
    ask.directory.write_bytes(b"")

    assert ALL == ask()
    assert ALL == ask()


# What is done with it


@pytest.fixture
def kernel() -> FakeKernel:
    fake = FakeKernel()
    fake.links = list(NODE.links)
    for seen in NODE.seen:
        fake.add(seen)
    return fake


SPLIT = """\
[interface.eth1]
scheme = "split"

[[overlay]]
address = "192.168.10.10"
device = "eth1"
"""

#: What the service does, and whether the whole of it fails.
FAILURES: dict[str, Callable[[MetadataService], object]] = {
    "500": lambda service: service.behave("status", status=500),
    "404": lambda service: service.behave("status", status=404),
    "404 below the interface": lambda service: service.behave("status", status=404, path=f"/{SECOND.mac}/"),
    "500 now and then": lambda service: service.behave("status", status=500, path="ipv4s|vpc|number", times=5),
    "nothing answers": lambda service: service.behave("silence"),
    "no listener": lambda service: service.stop(),
    "no token is given": lambda service: service.behave("status", status=500, path="/api/token"),
    "the token is not accepted any more": lambda service: service.behave("unauthorized", path="/macs/"),
    "no token is accepted": lambda service: service.behave("unauthorized"),
    "switched off": lambda service: service.behave("disabled"),
    "throttled": lambda service: service.behave("throttled"),
    "a login page": lambda service: service.behave("captive-portal"),
    "another cloud": lambda service: service.behave("openstack"),
    "garbage": lambda service: service.behave("body", body="garbage"),
    "nothing": lambda service: service.behave("body", body=""),
    "it is not listed": lambda service: service.behave("hide", path=f"/macs/{SECOND.mac}/"),
    "it is number 0": lambda service: service.behave("body", path=f"/{NUMBER}$", body="0"),
    "cut": lambda service: service.behave("cut", path="/macs/"),
    "addresses are late": lambda service: service.behave("hide", path="/local-ipv4s$"),
}


#: The path of each request that is made, in order.
REQUESTS = ("/api/token$", "/meta-data/mac$", "/macs/$", *(f"/{SECOND.mac}/{name}$" for name in ITEMS), "/")


class Node:
    """The command over a kernel in memory and a metadata service; each call is a process of its own."""

    def __init__(self, agent: Agent, kernel: FakeKernel, ask: Asking) -> None:
        self.agent, self.kernel, self.ask = agent, kernel, ask

    def __call__(self, *words: str, fresh: float = 0.0) -> int:
        run = cli.Command(
            options.parse_command_line(self.agent.argv(*words)), self.ask.source(fresh=fresh), self.kernel
        )
        try:
            return run.run()
        except AgentError as wrong:
            return wrong.exit

    def ours(self) -> set[str]:
        return {str(seen.item) for seen in self.kernel.seen if seen.protocol == OURS}


@pytest.fixture
def on(agent: Agent, kernel: FakeKernel, ask: Asking) -> Node:
    agent.write(SPLIT)
    return Node(agent, kernel, ask)


@pytest.mark.parametrize("forgotten", [False, True], ids=["remembered", "forgotten"])
@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_the_service_does_nothing_that_works_is_removed(on: Node, failure: str, forgotten: bool) -> None:
    """At a look, at an apply, at a hook; and what another program removes meanwhile is added again."""
    assert 0 == on("apply")
    before = on.ours()
    assert 15 + 3 + 4 + 1 < len(before)
    FAILURES[failure](on.ask.service)
    on.ask.timeout = 0.2 if failure == "nothing answers" else PATIENT
    if forgotten:
        (on.ask.directory / "facts").unlink()

    for verb in ("status", "apply", "plan", "apply"):
        assert on(verb) in (0, 3)
        assert before == on.ours()
    on.kernel.flush_table(23601)
    assert before != on.ours()
    assert on("apply") in (0, 3)
    assert before == on.ours()

    on.ask.service.reset()
    on.ask.timeout = PATIENT
    if failure == "no listener":
        on.ask.service.start()
    assert (0, 0) == (on("apply"), on("status"))
    assert before == on.ours()


def test_what_is_gone_is_taken_away(on: Node) -> None:
    """A prefix that the ENI has no more: 404 is an answer, and its rules go; nothing else does."""
    assert 0 == on("apply")
    before = on.ours()
    on.ask.service.assign(SECOND.mac, prefixes=())

    assert 0 == on("apply")

    gone = before - on.ours()
    assert on.ours() < before
    assert 5 == len(gone)
    assert all("from 10.0.1.16/28 " in item or "from all to 10.0.1.16/28 " in item for item in gone)


@pytest.mark.parametrize("count", range(14))
def test_whichever_request_fails_nothing_is_removed(on: Node, count: int) -> None:
    """From the first, for a token, to the last: some items are new then, and the others are what they were."""
    assert 0 == on("apply")
    before = on.ours()
    on.ask.service.behave("reset", path=REQUESTS[count])

    assert on("apply") in (0, 3)
    assert before == on.ours()


def test_without_a_service_the_kernel_says_what_it_knows(agent: Agent, kernel: FakeKernel, ask: Asking) -> None:
    """On premises, or where it is switched off: the subnet of the address, and the table from the configuration."""
    agent.write("[interface.eth1]\ntable = 100\n")
    ask.service.stop()
    on = Node(agent, kernel, ask)

    assert (0, 0, 0) == (on("apply"), on("apply"), on("status"))
    assert {
        "10.0.1.0/24 dev eth1 table 100 scope link",
        "default via 10.0.1.1 dev eth1 table 100",
        "from 10.0.1.0/24 table 100 priority 100",
    } == on.ours()


def test_an_overlay_is_held_while_the_service_fails(on: Node) -> None:
    """A cluster moves an address in just such an hour: its rules are known from what was said last."""
    assert 0 == on("apply")
    on.ask.service.stop()

    assert 0 == on("overlay", "add", "192.168.10.11", "--device", "eth1")
    assert "from 192.168.10.11/32 table 23601 priority 23602" in on.ours()


def test_ipv4_does_not_wait_for_the_router_of_ipv6(on: Node) -> None:
    """It advertises itself some seconds after the link is up. Until then IPv6 is unknown, and that is said."""
    on.kernel.seen = [seen for seen in on.kernel.seen if seen.item != ROUTER]

    assert 3 == on("apply")
    assert any("via 10." in item for item in on.ours())
    assert not any("2600:" in item for item in on.ours())
    on.kernel.add(Seen(ROUTER, 9))
    assert 0 == on("apply")
    assert any("via fe80:ec2::1 dev eth1 table 23601" in item for item in on.ours())
    before = on.ours()
    on.kernel.seen = [seen for seen in on.kernel.seen if seen.item != ROUTER]
    assert 3 == on("apply")
    assert before == on.ours()


def test_a_configuration_that_says_all_sends_no_request(agent: Agent, kernel: FakeKernel, ask: Asking) -> None:
    """The published recipe works where there is no metadata service, and costs no request where there is one."""
    on = Node(agent, kernel, ask)

    agent.write(agent.config.read_text().replace("eth0", "eth1"))
    assert (0, 0) == (on("apply"), on("status"))
    assert 0 == ask.asked()


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        ({}, {}, False),
        ({}, {SUBNETS[0]: ("10.0.1.0/24",)}, True),
        ({SUBNETS[0]: ("10.0.1.0/24",)}, {}, True),
        ({SUBNETS[1]: ("2600:1f14::/64",)}, {SUBNETS[1]: ("2600:1f14::/64",)}, False),
    ],
)
def test_an_address_is_needed_in_a_subnet_of_ipv4_alone(
    earlier: dict[str, tuple[str, ...]], now: dict[str, tuple[str, ...]], expected: bool
) -> None:
    """An interface in a subnet of IPv6 alone has none, and its 404 is an answer."""
    assert expected == needed(ADDRESSES[0], earlier, now)
