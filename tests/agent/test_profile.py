"""From sections and facts to profiles, and from profiles to items."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from ec2ident.value import replace
from ec2ident_agent.errors import ConfigError, UnknownError
from ec2ident_agent.items import Address, Link, Observed, Route, Rule, Seen, TableName
from ec2ident_agent.profile import (
    SPLIT,
    ExtraRoute,
    Facts,
    Overlay,
    Profile,
    Section,
    check_label,
    check_routers,
    check_routes,
    complete,
    default_table,
    find_device,
    free_labels,
    inside_vpc,
    kernel_facts,
    overlay_items,
    profile_items,
    resolve,
    with_metrics,
    without_the_service,
)

BY_SOURCE = Section("eth1", subnets=("10.0.1.0/24",), routers=("10.0.1.1",), table=100, table_name="MYHA", priority=100)
KNOWN = Facts(
    "eth1",
    subnets=("10.0.1.0/24", "2600:1f14::/64"),
    routers=("fe80::1",),
    addresses=("10.0.1.10/32", "2600:1f14::10/128", "10.0.1.208/28"),
    vpc=("10.0.0.0/16", "2600:1f14::/56"),
    table=23601,
)


def test_the_published_recipe() -> None:
    """Table, link, way out, rule."""
    assert (
        TableName(100, "MYHA"),
        Route("10.0.1.0/24", "eth1", 100),
        Route("0.0.0.0/0", "eth1", 100, "10.0.1.1"),
        Rule("10.0.1.0/24", 100, 100),
    ) == profile_items(resolve(BY_SOURCE, Facts("eth1")))


def test_all_of_it_from_facts() -> None:
    """Both families; IPv4's router is the first address of the subnet, IPv6's the one that advertises itself."""
    assert (
        Route("10.0.1.0/24", "eth1", 23601),
        Route("2600:1f14::/64", "eth1", 23601, metric=1024),
        Route("::/0", "eth1", 23601, "fe80::1", 1024),
        Route("0.0.0.0/0", "eth1", 23601, "10.0.1.1"),
        Rule("10.0.1.0/24", 23601, 100),
        Rule("2600:1f14::/64", 23601, 100),
    ) == profile_items(resolve(Section("eth1"), KNOWN))


def test_split_from_facts() -> None:
    """Addresses and delegated prefixes of the interface are the sources, each with the VPC's ranges of its family."""
    items = profile_items(resolve(Section("eth1", scheme="split"), KNOWN))

    assert [
        "from 10.0.1.10/32 to 10.0.0.0/16 table 23601 priority 23600",
        "from 10.0.1.10/32 table 254 suppress_prefixlength 0 priority 23601",
        "from 10.0.1.10/32 table 23601 priority 23602",
        "from 2600:1f14::10/128 to 2600:1f14::/56 table 23601 priority 23600",
        "from 2600:1f14::10/128 table 254 suppress_prefixlength 0 priority 23601",
        "from 2600:1f14::10/128 table 23601 priority 23602",
        "from 10.0.1.208/28 to 10.0.0.0/16 table 23601 priority 23600",
        "from 10.0.1.208/28 table 254 suppress_prefixlength 0 priority 23601",
        "from 10.0.1.208/28 table 23601 priority 23602",
    ] == [str(item) for item in items if isinstance(item, Rule)]


def test_two_interfaces_in_one_subnet_differ_in_table_and_source() -> None:
    """Rules by address, since the subnet is the same."""
    second = Facts("eth2", KNOWN.subnets, KNOWN.routers, ("10.0.1.20/32",), KNOWN.vpc, 23602)
    one = profile_items(resolve(Section("eth1", scheme="split"), KNOWN))
    two = profile_items(resolve(Section("eth2", scheme="split"), second))

    assert set() == {item.identity for item in one} & {item.identity for item in two}


@pytest.mark.parametrize(
    ("section", "facts", "missing"),
    [
        (Section("eth1"), Facts("eth1"), "subnet"),
        (Section("eth1", subnets=("10.0.1.0/24",)), Facts("eth1"), "table"),
        (Section("eth1", scheme="split", table=5), Facts("eth1", ("10.0.1.0/24",)), "vpc"),
        (Section("eth1", subnets=("2600::/64",), table=5), Facts("eth1", routers=("10.0.1.1",)), "router"),
    ],
)
def test_what_no_source_knows_is_unknown(section: Section, facts: Facts, missing: str) -> None:
    """Not guessed, and not left out: the text says what to write, and why the metadata service does not say it."""
    if missing != "router":
        with pytest.raises(UnknownError, match=f"{missing} unknown: it answers 500; write {missing} = …"):
            resolve(replace(section, sources=("10.0.1.10/32",)), replace(facts, unknown="it answers 500"))
    with pytest.raises(UnknownError, match=rf"eth1: {missing} unknown: .*; write {missing} = … in \[interface\.eth1\]"):
        resolve(section, facts)


@pytest.mark.parametrize("router", ["10.0.2.1", "2600:1f15::1"])
def test_a_router_off_the_link_is_a_contradiction(router: str) -> None:
    """Both values are in the text."""
    with pytest.raises(ConfigError, match=f"router {router} is not in its subnet"):
        resolve(Section("eth1", routers=(router,), table=5), KNOWN)


def test_a_section_that_says_all_needs_no_facts() -> None:
    """Then none are asked for."""
    assert complete(BY_SOURCE)
    assert not complete(Section("eth1", subnets=("10.0.1.0/24",), table=100))
    assert not complete(Section("eth1", "", BY_SOURCE.subnets, BY_SOURCE.routers, 100, scheme="split"))


@pytest.mark.parametrize(("card", "number", "table"), [(0, 0, 23600), (0, 1, 23601), (1, 1, 23701), (3, 14, 23914)])
def test_a_table_by_card_and_device_number(card: int, number: int, table: int) -> None:
    """The same whatever else is attached: a device number is unique on its network card only."""
    assert table == default_table(card, number)


def observed(*seen: Seen) -> Observed:
    links = (Link(1, "lo"), Link(2, "eth0", "06:00:00:00:00:00"), Link(3, "ens6", "06:00:00:00:00:01"))
    return Observed(links, seen)


def test_a_device_is_found_by_mac_whatever_its_name() -> None:
    """A rename, another slot: the MAC is what the metadata service knows it by."""
    assert "ens6" == getattr(find_device(Section("second", "06:00:00:00:00:01"), observed()), "name", None)
    assert find_device(Section("ens6", "06:00:00:00:00:99"), observed()) is None
    assert "eth0" == getattr(find_device(Section("eth0"), observed()), "name", None)


def test_what_the_kernel_knows_of_an_interface() -> None:
    """Its addresses but for the agent's, their subnets, nothing of its neighbour; None where it knows nothing."""
    there = observed(
        Seen(Address("ens6", "10.0.1.10/24"), None),
        Seen(Address("ens6", "10.0.1.11/24"), None),
        Seen(Address("ens6", "192.168.10.10/32"), 236),
        Seen(Address("ens6", "2600::1/128"), None),
        Seen(Address("eth0", "10.0.0.10/24"), None),
        Seen(Route("::/0", "ens6", 254, "fe80::1", 1024), 9),
        Seen(Route("0.0.0.0/0", "ens6", 100, "10.0.1.7"), 236),
    )

    there = replace(there, seen=(*there.seen, Seen(Route("::/0", "eth0", 254, "fe80:ec2::1", 1024), 9)))

    own = ("10.0.1.10/32", "10.0.1.11/32", "2600::1/128")
    assert Facts("ens6", ("10.0.1.0/24",), ("fe80::1",), own) == kernel_facts("ens6", there)
    assert Facts("lo") == kernel_facts("lo", there)


def test_the_router_of_the_vpc_is_every_interface_s() -> None:
    """Where another interface's default route of IPv6 names it, among objects of all kinds."""
    others = Seen(Address("eth0", "10.0.0.10/24"), None), Seen(Rule("10.0.0.0/24", 7, 50), 3)
    there = observed(*others, Seen(Route("::/0", "eth0", 254, "fe80:ec2::1", 1024), 9))

    assert ("fe80:ec2::1",) == kernel_facts("ens6", there).routers
    assert kernel_facts("ens6", observed(*others)).routers is None


def test_without_the_service_a_source_is_the_kernels_address_and_no_subnet() -> None:
    """Two interfaces may be in one subnet, and the rules of one must not take the other's packets."""
    kernel = Facts("eth1", ("10.0.1.0/24",), None, ("10.0.1.10/32", "192.168.10.10/32", "2600:1f14::10/128"))
    section = Section("eth1", scheme="split", vpc=("10.0.0.0/16", "2600:1f14::/56"), table=100)
    subnets, routers = ("10.0.1.0/24", "2600:1f14::/64"), ("10.0.1.1", "fe80::1")

    def sources(section: Section, facts: Facts) -> tuple[str, ...]:
        return resolve(section, without_the_service(section, facts, kernel)).sources

    assert ("10.0.1.10/32",) == sources(section, Facts("eth1", unknown="silent"))
    written = replace(section, subnets=subnets, routers=routers)
    assert ("10.0.1.10/32", "2600:1f14::10/128") == sources(written, Facts("eth1"))
    elsewhere = replace(section, subnets=("10.0.2.0/24",))
    assert ("10.0.2.0/24",) == sources(elsewhere, Facts("eth1")), "it has no address there yet"
    assert KNOWN.addresses == sources(section, replace(KNOWN, subnets=None, vpc=None, unknown="half of it"))


def test_an_overlay_routed_to_an_eni_needs_its_own_rule() -> None:
    """As many as the scheme has; none where it is routed to an interface without a profile."""
    by_source = resolve(BY_SOURCE, Facts("eth1"))
    split = resolve(Section("eth1", scheme="split"), KNOWN)
    overlay = Overlay("192.168.10.10/32", "eth0", "eth0:1", via="eth1")

    def rules(overlay: Overlay, profile: Profile) -> list[str]:
        items = overlay_items(overlay, [profile], free_labels(observed()))
        return [str(item) for item in items if isinstance(item, Rule)]

    assert ["from 192.168.10.10/32 table 100 priority 100"] == rules(overlay, by_source)
    assert 3 == len(rules(overlay, split))
    assert 1 == len(rules(Overlay("192.168.10.10/32", "eth1"), by_source))
    assert [] == rules(Overlay("192.168.10.10/32", "eth0"), by_source)


def test_a_label_is_kept_or_the_next_free_one() -> None:
    """Never DEVICE:0, which dhclient flushes; none for IPv6."""
    overlay = Overlay("192.168.10.10/32", "eth0")
    mine = Seen(Address("eth0", "192.168.10.10/32", "eth0:7"), 236)
    taken = [Seen(Address("eth0", f"10.9.9.{n}/32", f"eth0:{n}"), None) for n in (1, 2, 4)]
    elsewhere = Seen(Address("ens6", "192.168.10.10/32", "ens6:5"), None)

    assert "eth0:7" == free_labels(observed(*taken, mine))(overlay)
    assert "eth0:3" == free_labels(observed(*taken, elsewhere))(overlay)
    assert "eth0:1" == free_labels(observed())(overlay)
    assert "" == free_labels(observed())(Overlay("fd00::1/128", "eth0"))


@pytest.mark.parametrize("label", ["eth0", "eth0:", "eth1:1", "eth0:a b", "eth0:\x01", "eth0:\u00a0"])
def test_a_label_that_no_tool_can_show_is_refused(label: str) -> None:
    """Of another device, without a name of its own, or with a space or a control character in it."""
    with pytest.raises(ConfigError, match="label"):
        check_label(Overlay("192.168.10.10/32", "eth0", label=label))
    check_label(Overlay("192.168.10.10/32", "eth0", label="eth0:\u00fc"))


@pytest.mark.parametrize("section", [replace(BY_SOURCE, mtu=1500), replace(BY_SOURCE, advmss=1400)])
def test_a_configured_metric_is_not_completed_by_main_s(section: Section) -> None:
    """Either of mtu and advmss says that the administrator has decided."""
    main = Seen(Route("0.0.0.0/0", "eth1", 254, "10.0.1.1", mtu=9001, advmss=8961), 16)
    profile = resolve(section, Facts("eth1"))

    assert profile == with_metrics(profile, section, observed(main), ())
    assert profile != with_metrics(resolve(BY_SOURCE, Facts("eth1")), BY_SOURCE, observed(main), ())


def test_a_router_of_ipv6_that_is_neither_link_local_nor_in_the_subnet_is_refused() -> None:
    """And a link-local one of IPv4 too: only IPv6 has routers there."""
    check_routers("eth1", ("2600:1f14::/64",), ("fe80::1",))
    for subnets, router in ((("2600:1f14::/64",), "2600:1f15::1"), (("10.0.1.0/24",), "169.254.0.1")):
        with pytest.raises(ConfigError, match="is not in its subnet"):
            check_routers("eth1", subnets, (router,))


@pytest.mark.parametrize(
    ("subnet", "destination", "via", "said"),
    [
        ("10.0.1.0/24", "192.0.2.0/24", "10.0.1.7", ""),
        ("10.0.1.0/24", "192.0.2.0/24", "10.0.2.7", "router 10.0.2.7 is not in its subnet"),
        ("10.0.1.0/24", "192.0.2.0/24", "169.254.0.1", "router 169.254.0.1 is not in its subnet"),
        ("10.0.1.0/24", "10.0.1.0/24", "", "that is the interface's own subnet"),
        ("10.0.1.0/24", "10.0.1.7/32", "10.0.1.7", "its router is the destination itself"),
        ("2600:1f14::/64", "2001:db8::/64", "2600:1f15::1", "router 2600:1f15::1 is not in its subnet"),
        ("2600:1f14::/64", "2001:db8::/64", "fe80::7", ""),
        ("2600:1f14::/64", "2001:db8::/64", "", ""),
    ],
)
def test_a_further_route_goes_through_a_router_on_the_link(subnet: str, destination: str, via: str, said: str) -> None:
    """Of link-local routers only those of IPv6 are on every link."""
    section = Section("eth1", routes=(ExtraRoute(destination, via),))
    with pytest.raises(ConfigError, match=said) if said else nullcontext():
        check_routes(section, (subnet,))


def test_split_without_the_service_s_addresses_is_for_the_subnet() -> None:
    """Where nothing failed and no address is known, the sources are the subnets."""
    section = Section("eth1", subnets=("10.0.1.0/24",), table=100, scheme=SPLIT, vpc=("10.0.0.0/16",))

    assert ("10.0.1.0/24",) == resolve(section, Facts("eth1")).sources


def test_an_overlay_without_a_label_gets_one() -> None:
    """The address that is added carries the next free label, so that it can be told from the lease's."""
    items = overlay_items(Overlay("192.168.10.10/32", "eth0"), [], free_labels(observed()))

    assert (Address("eth0", "192.168.10.10/32", "eth0:1"),) == items


def test_routes_of_each_family_have_the_kernel_s_own_metric() -> None:
    """IPv6 routes without a metric get 1024 (IP6_RT_PRIO_USER in the kernel's headers), IPv4 routes 0."""
    routed = Section("eth1", subnets=("fd00::/64", "10.0.1.0/24"), routers=("fe80::1", "10.0.1.1"), table=100)
    profile = resolve(routed, Facts("eth1"))
    routes = [item for item in profile_items(profile) if isinstance(item, Route)]

    assert {"fd00::/64": 1024, "10.0.1.0/24": 0, "::/0": 1024, "0.0.0.0/0": 0} == {
        route.destination: route.metric for route in routes
    }


@pytest.mark.parametrize(("device", "label"), [("enp135s0f0np0", "enp135s0f0np0:1"), ("enx0601020304a", "")])
def test_a_name_as_long_as_a_label_leaves_no_room_for_one(device: str, label: str) -> None:
    """The kernel refuses a label of more than 15 characters; the address needs none."""
    assert label == free_labels(observed())(Overlay("192.168.10.10/32", device))


@pytest.mark.parametrize(
    ("address", "via", "inside"),
    [
        ("10.0.1.11", "", ""),
        ("10.0.1.210", "", ""),
        ("2600:1f14::b", "", ""),
        ("10.0.1.12", "", "10.0.0.0/16"),
        ("10.0.1.11", "eth0", "10.0.0.0/16"),
        ("192.168.10.10", "", ""),
    ],
)
def test_an_address_of_the_interfaces_own_is_reached(address: str, via: str, inside: str) -> None:
    """A secondary private address or one of a delegated prefix; not where it is routed to another interface."""
    own = ("10.0.1.10/32", "10.0.1.11/32", "10.0.1.208/28", "2600:1f14::b/128")
    profile = resolve(Section("eth1", scheme="split"), replace(KNOWN, addresses=own))
    overlay = Overlay(f"{address}/{128 if ':' in address else 32}", "eth1", via=via)

    assert inside == inside_vpc([profile])(overlay)
