"""`status` proves the effect: it says "taken" exactly when packets show that an address does not answer."""

from __future__ import annotations

import pytest

from ec2ident_agent import cli
from tests.lab.test_agent_in_vpc import SCHEMES, configured
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

#: Rules of other programs that come first. Table 7 leads to the first interface's router, table 6 to its subnet alone,
#: table 9 is empty. `{net}` is eth1's subnet. A client in the network `{out}` asks, and a neighbour in `{first}`.
FORMS = (
    "from {net} lookup 7",
    "from {wide} lookup 7",
    "lookup 7",
    "not fwmark 0x1234 lookup 7",
    "to {out} lookup 7",
    "from {net} to {out} lookup 7",
    "from {net} ipproto udp lookup 7",
    "from {net} uidrange 0-65000 lookup 7",
    "from {net} ipproto udp sport 7 lookup 7",
    "from {net} unreachable",
    "from {net} blackhole",
    "to {out} prohibit",
    "from {net} lookup main",
    "lookup main",
    "from {net} goto 32766",
    "iif lo lookup 7",
    "lookup 8 suppress_prefixlength 0",
    "from {net} to {out} ipproto udp lookup 7",
    "lookup 6",
    "iif lo to {first} lookup 6",
    "not to {net} lookup 7",
    "not ipproto tcp lookup 7",
    "to {wide} lookup 6",
    # Near misses: the address goes on to answer.
    "lookup 9",
    "fwmark 0x1234 lookup 7",
    "from {first} lookup 7",
    "from {net} lookup 6 suppress_prefixlength 64",
    "iif eth0 lookup 7",
    "from {net} lookup 100",
    "lookup 7 suppress_prefixlength 0",
    "from {net} ipproto icmp lookup 9",
)
#: Halves of a default route, as VPNs make them.
HALVES = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}
NAMES = {
    4: {"net": "10.0.1.0/24", "wide": "10.0.0.0/8", "out": "203.0.113.0/24", "first": "10.0.0.0/24"},
    6: {
        "net": "2001:db8:ec2:1::/64",
        "wide": "2001:db8:ec2::/48",
        "out": "2001:db8:113::/64",
        "first": "2001:db8:ec2::/64",
    },
}
ROUTER = {4: "10.0.0.1", 6: "fe80:ec2::1"}


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        made.attach("eth1")
        yield made


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_status_says_so_exactly_when_an_address_is_silent(
    vpc: Vpc, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str, version: int
) -> None:
    """tailscale (5270), strongSwan (220), a VPN's `not fwmark` (r3nor/mullvad-tailscale#13), and what else comes first:
    14 forms of rules left the node silent and status in order. So did those that take some destinations alone, such as
    the subnet of another ENI: wg-quick's `lookup main suppress_prefixlength 0` (denoland/clawpatrol#109).
    """
    file, eth1, neighbour = tmp_path / "agent.toml", vpc.enis["eth1"], vpc.neighbour(0)
    file.write_text(configured(scheme), encoding="utf-8")
    file.chmod(0o644)
    files = ["--config", str(file), "--state-dir", str(tmp_path / "state"), "--names-dir", str(tmp_path / "names")]
    address = eth1.address if version == 4 else eth1.address6
    vpc.node.ip(f"-{version} route add default via {ROUTER[version]} dev eth0 table 7")
    vpc.node.ip(*(f"-{version} route add {half} via {ROUTER[version]} dev eth0 table 8" for half in HALVES[version]))
    vpc.node.ip(f"-{version} route add {NAMES[version]['first']} dev eth0 table 6")
    with vpc.node.entered():
        assert cli.main(["apply", *files]) == 0
    for form in FORMS:
        rule = f"{form.format(**NAMES[version])} priority 50"
        vpc.node.ip(f"-{version} rule add {rule}")
        capsys.readouterr()
        with vpc.node.entered():
            code = cli.main(["status", *files])
        said = capsys.readouterr().out
        patience = 0.5 if code else 2.0
        answers = all(machine.ask(address, timeout=patience) for machine in (vpc.client, neighbour))

        assert (rule, 0 if answers else 1) == (rule, code), said
        assert ("taken" in said, "rule 50: " in said) == (not answers, not answers), said
        vpc.node.ip(f"-{version} rule del {rule}")
