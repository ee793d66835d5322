"""`adopt` under traffic: the objects of a script become the agent's, and every packet is answered meanwhile."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from ec2ident_agent import cli
from tests.lab.enclosure import wait_until
from tests.lab.recipe import BOTH_FAMILIES
from tests.lab.stream import Stream
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

OVERLAY = "192.168.10.10"
#: What the published scripts do, with an unlabelled overlay address as `dev eth0:1` gives it.
SCRIPT = (
    "route add 10.0.1.0/24 dev eth1 table 100",
    "route add default via 10.0.1.1 dev eth1 table 100",
    "rule add from 10.0.1.0/24 table 100 priority 100",
    "-6 route add 2001:db8:ec2:1::/64 dev eth1 table 100",
    "-6 route add default via fe80:ec2::1 dev eth1 table 100",
    "-6 rule add from 2001:db8:ec2:1::/64 table 100 priority 100 protocol 4",
    f"address add {OVERLAY}/32 dev eth0",
)


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        made.attach("eth1")
        made.route(OVERLAY, "eth0")
        yield made


def asks_on(streams: list[Stream]) -> None:
    """Wait until each of them has asked ten more questions: on a busy machine a stream begins late."""
    wanted = [each.sent + 10 for each in streams]
    wait_until(lambda: all(each.sent >= count for each, count in zip(streams, wanted)), "each stream asks")


def test_no_packet_is_lost_while_a_script_becomes_the_agents(vpc: Vpc, tmp_path: Path) -> None:
    """The seed recipe's objects, both families: questions go to eth1's addresses and the overlay every half
    millisecond, through five adoptions. Each is answered, by the right interface: the VPC drops what leaves by
    another one.
    """
    file, eth1 = tmp_path / "agent.toml", vpc.enis["eth1"]
    file.write_text(BOTH_FAMILIES, encoding="utf-8")
    file.chmod(0o644)
    (tmp_path / "names").mkdir()
    files = ["--config", str(file), "--state-dir", str(tmp_path / "state"), "--names-dir", str(tmp_path / "names")]
    streams: list[Stream] = []
    for _ in range(5):
        vpc.node.ip(*SCRIPT)
        asked = [
            (eth1.address, vpc.client.address),
            (eth1.address6, vpc.client.address6),
            (OVERLAY, vpc.client.address),
        ]
        assert all(vpc.client.ask(address) for address, _ in asked)
        with ExitStack() as running:
            streams += [running.enter_context(Stream(vpc.client, address, source=source)) for address, source in asked]
            asks_on(streams[-len(asked) :])
            with vpc.node.entered():
                assert cli.main(["adopt", "--root", str(tmp_path), *files]) == 0
            asks_on(streams[-len(asked) :])
        with vpc.node.entered():
            assert cli.main(["status", *files]) == 0
        rules = vpc.node.read("ip", "-N", "rule", "show") + vpc.node.read("ip", "-N", "-6", "rule", "show")
        assert rules.count("lookup 100 proto 236") == rules.count("lookup 100") == 2
        with vpc.node.entered():
            assert cli.main(["revert", "--all", *files]) == 0
        assert "lookup 100" not in vpc.node.read("ip", "rule", "show")

    assert [0] * len(streams) == [each.lost for each in streams]


def test_the_stream_notices_a_gap(vpc: Vpc, tmp_path: Path) -> None:
    """A near miss of the test above: a script that removes its rule and adds it again loses packets."""
    vpc.node.ip(*SCRIPT)
    eth1 = vpc.enis["eth1"]
    assert vpc.client.ask(eth1.address)
    with Stream(vpc.client, eth1.address, source=vpc.client.address) as stream:
        asks_on([stream])
        vpc.node.ip(SCRIPT[2].replace("add", "del"))
        vpc.node.ip(SCRIPT[2])

    assert stream.lost > 0
