"""The laboratory does what a VPC and the kernel do, so that what tests see in it is worth something.

The expectations were measured with plain `ip` commands; they say nothing about our agent yet.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.lab.echo import Echo, ask
from tests.lab.eni import METADATA
from tests.lab.modes import umask
from tests.lab.namespace import LabError, Namespace, unique
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

VPC_CIDR, OUTSIDE_NETWORK = IPv4Network("10.0.0.0/16"), IPv4Network("203.0.113.0/24")
OVERLAY = "192.168.10.10"
OVERLAY6 = "2001:db8:a0::10"
SEED = ("rule add from 10.0.1.0/24 table 100 priority 100", "route add default via 10.0.1.1 dev eth1 table 100")
SEED6 = (
    "-6 rule add from 2001:db8:ec2:1::/64 table 100 priority 100",
    "-6 route add default via fe80:ec2::1 dev eth1 table 100",
)


@pytest.fixture
def vpc() -> Iterator[Vpc]:
    with Vpc() as made:
        made.attach("eth1")
        yield made


def lay_seed(vpc: Vpc) -> None:
    vpc.node.ip(*SEED, *SEED6)


def rp_filter(vpc: Vpc, value: int) -> None:
    vpc.node.sysctl({f"ipv4/conf/{each}/rp_filter": value for each in ("all", "eth0", "eth1")})


def without_index(snapshot: str) -> str:
    """A device that comes back has another index; nothing else may differ."""
    return re.sub(r"^\d+: ", "", snapshot, flags=re.MULTILINE)


def device_to(vpc: Vpc, destination: str, source: str) -> str:
    """The device that the node's routing chooses, as `ip route get` says it."""
    words = vpc.node.read("ip", "route", "get", destination, "from", source).split()
    return words[words.index("dev") + 1]


#: Every day the strict one, which drops the most.
every_rp_filter = pytest.mark.parametrize(
    "reverse_path", [1, *(pytest.param(other, marks=pytest.mark.full) for other in (0, 2))]
)


@every_rp_filter
def test_without_policy_routing_the_second_interface_is_silent(vpc: Vpc, reverse_path: int) -> None:
    """The answer leaves by eth0, and the VPC's source check drops it, whatever the node's own filter says."""
    rp_filter(vpc, reverse_path)

    assert vpc.client.ask(vpc.enis["eth0"].address)
    assert not vpc.client.ask(vpc.enis["eth1"].address)


@every_rp_filter
def test_the_rule_by_source_makes_the_second_interface_answer(vpc: Vpc, reverse_path: int) -> None:
    """With a rule from its subnet and a table with its own default route, no reverse path setting is in the way."""
    rp_filter(vpc, reverse_path)
    lay_seed(vpc)

    assert vpc.client.ask(vpc.enis["eth1"].address)


def test_the_same_holds_for_ipv6(vpc: Vpc) -> None:
    """Both halves: silence without the rule, an answer with it."""
    address6 = vpc.enis["eth1"].address6

    assert not vpc.client.ask(address6)
    lay_seed(vpc)
    assert vpc.client.ask(address6)


@every_rp_filter
def test_an_overlay_routed_to_the_primary_interface_answers(vpc: Vpc, reverse_path: int) -> None:
    """It needs no rule: the main table's default route is the way back to where the question came from."""
    rp_filter(vpc, reverse_path)
    vpc.node.ip(f"address add {OVERLAY}/32 dev eth0 label eth0:1")

    assert not vpc.client.ask(OVERLAY)
    vpc.route(OVERLAY, "eth0")
    assert vpc.client.ask(OVERLAY)


@every_rp_filter
def test_an_overlay_routed_to_the_second_interface_needs_its_own_rule(vpc: Vpc, reverse_path: int) -> None:
    """It lies outside of the VPC, so the rule from the subnet never covers it."""
    rp_filter(vpc, reverse_path)
    lay_seed(vpc)
    vpc.node.ip(f"address add {OVERLAY}/32 dev eth1 label eth1:1")
    vpc.route(OVERLAY, "eth1")

    assert not vpc.client.ask(OVERLAY)
    vpc.node.ip(f"rule add from {OVERLAY}/32 table 100 priority 99")
    assert vpc.client.ask(OVERLAY)


def test_an_ipv6_overlay_follows_the_same_rules(vpc: Vpc) -> None:
    """Routed to eth0 it answers; moved to eth1 it is silent until it has its rule."""
    lay_seed(vpc)
    vpc.node.ip(f"address add {OVERLAY6}/128 dev lo")

    vpc.route(OVERLAY6, "eth0")
    assert vpc.client.ask(OVERLAY6)
    vpc.route(OVERLAY6, "eth1")
    assert not vpc.client.ask(OVERLAY6)
    vpc.node.ip(f"-6 rule add from {OVERLAY6}/128 table 100 priority 99")
    assert vpc.client.ask(OVERLAY6)


def test_the_primary_interface_reaches_the_second_subnet_with_a_spoofed_source(vpc: Vpc) -> None:
    """The connected route of eth1 wins for eth0's address too: a packet that the VPC drops."""
    lay_seed(vpc)

    assert device_to(vpc, "10.0.1.77", "10.0.0.10") == "eth1"


#: What `from S lookup T` becomes in each scheme, S being eth1's subnet and T its table.
SCHEMES = {
    "A": ("from 10.0.1.0/24 lookup 100 priority 100",),
    "B": ("from all lookup main suppress_prefixlength 0 priority 90", "from 10.0.1.0/24 lookup 100 priority 100"),
    "C": (
        "from 10.0.1.0/24 to 10.0.0.0/16 lookup 100 priority 80",
        "from all lookup main suppress_prefixlength 0 priority 90",
        "from 10.0.1.0/24 lookup 100 priority 100",
    ),
}

#: Where each scheme sends a packet from eth1's address.
CHOICES = [
    ("172.17.0.5", "a container bridge of the node", {"A": "eth1", "B": "br0", "C": "br0"}),
    ("203.0.113.9", "outside", {"A": "eth1", "B": "eth1", "C": "eth1"}),
    ("10.0.0.77", "eth0's subnet", {"A": "eth1", "B": "eth0", "C": "eth1"}),
    ("10.0.1.77", "its own subnet", {"A": "eth1", "B": "eth1", "C": "eth1"}),
    ("10.0.7.7", "the rest of the VPC", {"A": "eth1", "B": "eth1", "C": "eth1"}),
    ("10.9.0.1", "a peering behind eth0's router", {"A": "eth1", "B": "eth0", "C": "eth0"}),
    ("10.0.200.5", "a bridge inside the VPC's CIDR", {"A": "eth1", "B": "br1", "C": "eth1"}),
]


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_each_rule_scheme_chooses_its_devices(vpc: Vpc, scheme: str) -> None:
    """C is the only one that reaches container bridges and still never leaves by eth0 with eth1's source."""
    vpc.node.ip(
        "link add br0 type bridge",
        "address add 172.17.0.1/16 dev br0",
        "link set br0 up",
        "link add br1 type bridge",
        "address add 10.0.200.1/24 dev br1",
        "link set br1 up",
        "route add 10.9.0.0/16 via 10.0.0.1 dev eth0",
        "route add 10.0.1.0/24 dev eth1 table 100",
        "route add default via 10.0.1.1 dev eth1 table 100",
        *(f"rule add {rule}" for rule in SCHEMES[scheme]),
    )

    chosen = {where: device_to(vpc, address, "10.0.1.10") for address, where, _ in CHOICES}

    assert chosen == {where: devices[scheme] for _, where, devices in CHOICES}


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_a_link_flap_empties_the_table_and_traffic_falls_through(vpc: Vpc, scheme: str) -> None:
    """Nothing says so: the rule is still there, and packets leave by eth0."""
    vpc.node.ip("route add default via 10.0.1.1 dev eth1 table 100", *(f"rule add {rule}" for rule in SCHEMES[scheme]))
    assert device_to(vpc, "203.0.113.9", "10.0.1.10") == "eth1"

    vpc.node.ip("link set eth1 down", "link set eth1 up")

    assert device_to(vpc, "203.0.113.9", "10.0.1.10") == "eth0"


def test_two_interfaces_in_one_subnet_have_links_of_their_own(vpc: Vpc) -> None:
    """A subnet is not a shared wire: the source check tells even neighbours apart."""
    second = vpc.attach("eth2", subnet=1)
    assert (second.subnet, second.address) == ("10.0.1.0/24", "10.0.1.11")
    lay_seed(vpc)

    assert vpc.client.ask(vpc.enis["eth1"].address)
    assert not vpc.client.ask(second.address)
    vpc.node.ip(
        f"rule add from {second.address} table 102 priority 90",
        "route add default via 10.0.1.1 dev eth2 table 102",
    )
    assert vpc.client.ask(second.address)


def test_a_detached_interface_comes_back_as_it_was(vpc: Vpc) -> None:
    """Same MAC, same addresses; while it was away the kernel removed its routes, and only those."""
    before, first = vpc.node.snapshot(), vpc.enis["eth1"]
    vpc.detach("eth1")
    assert vpc.node.run("ip", "link", "show", "eth1").returncode != 0

    assert vpc.attach("eth1") == first
    assert without_index(vpc.node.snapshot()) == without_index(before)


def test_a_detach_leaks_rules() -> None:
    """The kernel forgets the table with the device; rules have no device and stay, for the next owner to hit."""
    with Vpc() as vpc:
        before = vpc.node.snapshot()
        vpc.attach("eth1")
        lay_seed(vpc)
        vpc.detach("eth1")

        assert vpc.node.snapshot() != before
        vpc.node.ip("rule delete priority 100", "-6 rule delete priority 100")
        assert vpc.node.snapshot() == before


def test_a_snapshot_is_stable_at_once(vpc: Vpc) -> None:
    """Nothing comes in by itself later, as link-local addresses and their detection usually do."""
    before = vpc.node.snapshot()
    time.sleep(1.5)

    assert vpc.node.snapshot() == before


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("rule add from 10.0.1.5 lookup 7 priority 7 protocol 5", "rule delete from 10.0.1.5 priority 7"),
        ("route add blackhole 10.7.0.0/16 table 7", "route delete 10.7.0.0/16 table 7"),
        ("address add 10.0.1.5/32 dev eth1", "address delete 10.0.1.5/32 dev eth1"),
        ("address add 2001:db8::5/128 dev eth1 nodad", "address delete 2001:db8::5/128 dev eth1"),
        ("route add 2001:db8:7::/48 dev eth1 table 7", "route delete 2001:db8:7::/48 table 7"),
        ("-6 rule add from 2001:db8::/48 lookup 7 priority 7", "-6 rule delete from 2001:db8::/48 priority 7"),
    ],
)
def test_a_snapshot_shows_every_kind_of_object(vpc: Vpc, change: str, undo: str) -> None:
    """One more object is a difference, and after its removal there is none."""
    before = vpc.node.snapshot()
    vpc.node.ip(change)
    assert vpc.node.snapshot() != before
    vpc.node.ip(undo)
    assert vpc.node.snapshot() == before


def test_the_service_answers_from_the_address_that_was_asked(vpc: Vpc) -> None:
    """A second address of eth0 is not answered for by the first one: the client would not take that for an answer."""
    vpc.node.ip("address add 10.0.0.77/32 dev eth0")
    vpc.route("10.0.0.77", "eth0")

    assert vpc.client.ask("10.0.0.77")


def test_what_happens_inside_stays_inside(vpc: Vpc) -> None:
    """The router, which leads everywhere, has no route but to the simulated networks."""
    routes = vpc.router.read("ip", "-o", "route", "show").split("\n")[:-1]
    networks = [IPv4Network(route.split()[0]) for route in routes]

    assert networks
    assert [each for each in networks if not (each.subnet_of(VPC_CIDR) or each == OUTSIDE_NETWORK)] == []


def test_the_metadata_addresses_are_reached_from_the_node(vpc: Vpc) -> None:
    """They are the router's own; a service that listens there is one that the node can ask, over both families."""
    with Echo(vpc.router):
        assert all(ask(vpc.node, address) for address in METADATA)


@pytest.mark.parametrize("subnet", [0, 1, 3])
def test_a_neighbour_asks_from_inside(vpc: Vpc, subnet: int) -> None:
    """The first interface answers machines in its own subnet and in others, over both families."""
    neighbour, eth0 = vpc.neighbour(subnet), vpc.enis["eth0"]

    assert neighbour.ask(eth0.address) == (subnet != 1)
    assert neighbour.ask(eth0.address6)


def from_metadata(vpc: Vpc, path: str) -> str:
    """What the service tells a plain HTTP client in the node, with a token as IMDSv2 wants it."""
    with vpc.node.entered():
        talking = http.client.HTTPConnection(METADATA[0], timeout=5)
        talking.request("PUT", "/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        token = talking.getresponse().read().decode()
        talking = http.client.HTTPConnection(METADATA[0], timeout=5)
        talking.request("GET", f"/latest/{path}", headers={"X-aws-ec2-metadata-token": token})
        return talking.getresponse().read().decode()


def test_the_metadata_service_knows_what_is_attached(vpc: Vpc) -> None:
    """It follows each attach and detach, and describes each interface as the VPC has it."""
    eth0, eth1 = vpc.enis["eth0"], vpc.enis["eth1"]
    vpc.serve_metadata()
    macs = "meta-data/network/interfaces/macs"

    assert from_metadata(vpc, f"{macs}/").split() == [f"{eth0.mac}/", f"{eth1.mac}/"]
    assert from_metadata(vpc, f"{macs}/{eth1.mac}/local-ipv4s") == eth1.address
    assert from_metadata(vpc, f"{macs}/{eth1.mac}/device-number") == "1"
    vpc.detach("eth1")
    assert from_metadata(vpc, f"{macs}/").split() == [f"{eth0.mac}/"]
    vpc.attach("eth1", listed_after=3600)
    assert from_metadata(vpc, f"{macs}/").split() == [f"{eth0.mac}/"]


def test_a_thread_inside_does_not_move_the_others(vpc: Vpc) -> None:
    """Only the thread that entered sees the namespace; afterwards it is back where it was."""

    def here() -> str:
        return os.readlink("/proc/thread-self/ns/net")

    outside, seen = here(), []
    with vpc.node.entered():
        thread_outside = threading.Thread(target=lambda: seen.append(os.readlink("/proc/self/ns/net")))
        inside = here()
    assert (here(), inside != outside) == (outside, True)
    thread_outside.start()
    thread_outside.join()
    assert seen == [outside]


def test_nothing_is_left_after_a_failure() -> None:
    """Names, processes and threads are gone, though the block ended by an exception and a process ignored SIGTERM."""
    with pytest.raises(RuntimeError, match="in the middle"), Vpc() as vpc:  # noqa: PT012  the block is the subject
        names = [vpc.node.path, vpc.router.path, vpc.client.path]
        stubborn = vpc.node.start(sys.executable, "-c", _STUBBORN, stdout=subprocess.PIPE)
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == "ready\n"
        raise RuntimeError("in the middle")

    with stubborn:
        assert stubborn.wait(timeout=5) == -9
    assert [name for name in names if name.exists()] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("echo lab-")] == []


def test_a_line_that_fails_is_named() -> None:
    """The error has the line and the kernel's own words, not only the number of a line in a batch."""
    namespace = Namespace(unique("broken"))
    Namespace.add_all(namespace)
    try:
        with pytest.raises(LabError, match=r"route add default via 10\.0\.9\.1: .*unreachable|gateway"):
            namespace.ip("link set lo up", "route add default via 10.0.9.1", "link set lo down")
    finally:
        Namespace.remove_all(namespace)


@pytest.fixture
def everybodys(open_path: Path) -> Path:
    """A copy of the laboratory that an ordinary user may read: this checkout may lie in root's home."""
    for program in ("setpriv", "unshare"):
        if not shutil.which(program):
            pytest.skip(f"needs {program} of util-linux")
    with umask():
        shutil.copytree(
            Path(__file__).parent, open_path / "tests" / "lab", ignore=shutil.ignore_patterns("__pycache__")
        )
    return open_path


def write_script(directory: Path) -> None:
    (directory / "try.py").write_text(_TRY, encoding="utf-8")
    (directory / "try.py").chmod(0o644)


def as_nobody(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if not python:
        pytest.skip("needs a python3 in /usr/bin or /usr/local/bin, which every user may run")
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command, python, "try.py"]
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=60)


def test_an_ordinary_user_has_it_too(everybodys: Path) -> None:
    """Inside a user namespace the same laboratory runs, and the same packets are answered and dropped."""
    write_script(everybodys)
    done = as_nobody(everybodys)

    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_an_isolated_script_leaves_nothing_even_when_it_is_killed(everybodys: Path) -> None:
    """As root too: the names of its namespaces are on a /run of its own."""
    die = "    print(vpc.node.name, flush=True)\n    import os\n    os.kill(os.getpid(), 9)\n"
    (everybodys / "try.py").write_text(_TRY + die, encoding="utf-8")
    done = subprocess.run([sys.executable, "try.py"], cwd=everybodys, capture_output=True, text=True, timeout=60)

    answers, name = done.stdout.splitlines()
    assert (done.returncode, answers, done.stderr) == (-9, "True False", "")
    assert not Namespace(name).path.exists()


def test_a_machine_that_forbids_it_gets_one_clear_message(everybodys: Path) -> None:
    """Not a traceback: what was tried, what the machine said, and what to do."""
    write_script(everybodys)
    forbid = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"'
    done = as_nobody(everybodys, "unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")

    assert done.returncode == 1
    assert done.stderr.startswith("cannot make network namespaces here: unshare: ")
    assert "Run it as root, or allow user namespaces" in done.stderr
    assert "Traceback" not in done.stderr


_TRY = """
from tests.lab.isolate import isolate
from tests.lab.vpc import Vpc

isolate()
with Vpc() as vpc:
    eth1 = vpc.attach("eth1")
    print(vpc.client.ask(vpc.enis["eth0"].address), vpc.client.ask(eth1.address))
"""

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
