"""The IPv6 router of an interface without a default route, judged by packets: neighbours, and solicitations."""

from __future__ import annotations

import pytest

from ec2ident_agent.kernel.change import NetlinkKernel
from tests.lab.test_one_subnet import apply
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        made.serve_metadata()
        yield made


def forget_routers(vpc: Vpc) -> None:
    """What is left where forwarding is enabled with accept_ra = 1: no default route of IPv6, by no interface."""
    vpc.node.sysctl({"ipv6/conf/all/forwarding": 1})
    for device in vpc.attached:
        vpc.node.ip(f"-6 route flush default dev {device}", f"-6 neigh flush dev {device}")


def test_where_docker_enabled_forwarding_the_router_is_asked_for(vpc: Vpc, tmp_path: Path) -> None:
    """moby#43466, docker/for-linux#844: the kernel forgets its advertised routers. apply asks the link, and from then
    on the neighbour table knows the router.
    """
    eth1 = vpc.attach("eth1")
    forget_routers(vpc)

    assert apply(vpc, tmp_path, "[interface.eth1]\n") == 0

    assert vpc.client.ask(eth1.address6)
    assert vpc.client.ask(eth1.address)
    with vpc.node.entered():
        kernel = NetlinkKernel()
        try:
            assert ("fe80:ec2::1",) == kernel.routers("eth1", seek=False)
            assert () == kernel.routers("lo", seek=True)
            assert () == kernel.routers("eth9", seek=True)
        finally:
            kernel.close()


def test_the_neighbours_are_those_that_ip_shows(vpc: Vpc) -> None:
    """Routers alone, of this link alone, and none that has failed to answer."""
    vpc.attach("eth1")
    vpc.node.ip(
        "-6 neigh flush dev eth1",
        "-6 neigh add fe80::7 dev eth1 lladdr 06:00:00:00:00:77 router nud permanent",
        "-6 neigh add fe80::8 dev eth1 lladdr 06:00:00:00:00:78 nud permanent",
        "-6 neigh add fe80::9 dev eth0 lladdr 06:00:00:00:00:79 router nud permanent",
        "-6 neigh add 2001:db8::9 dev eth1 lladdr 06:00:00:00:00:79 router nud permanent",
        "-6 neigh add fe80::a dev eth1 router nud failed",
    )
    with vpc.node.entered():
        kernel = NetlinkKernel()
        try:
            assert ("fe80::7",) == kernel.routers("eth1", seek=False)
        finally:
            kernel.close()


def test_without_an_answer_ipv6_is_said_and_ipv4_is_applied(vpc: Vpc, tmp_path: Path) -> None:
    """Exit code 3, within a second more: the link has no router of IPv6 that answers."""
    eth1 = vpc.attach("eth1")
    forget_routers(vpc)
    port = "to-eth1"
    vpc.router.ip(f"-6 address flush dev {port}")

    assert apply(vpc, tmp_path, "[interface.eth1]\n") == 3

    assert vpc.client.ask(eth1.address)
    rules = vpc.node.run("ip", "-6", "rule", "show").stdout
    assert eth1.subnet6 not in rules
