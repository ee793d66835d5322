"""What `install` adds, on a node with a real systemd as its first process: boot, attach, detach, repair, watchdog."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.packages import Unavailable, tree
from tests.lab.recipe import CONFIGURATION
from tests.vm.node import CONFIGURED, ENI, Node, build_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

BOOT, WATCH, OF_ETH1 = "ec2ident-agent.service", "ec2ident-agent-watch.service", "ec2ident-agent@eth1.service"
#: The item of the configuration that is there without eth1, which is absent between the tests.
OVERLAY = "192.168.10.10"
MANIFEST, NAMES = "/etc/ec2ident/manifest.json", "/etc/iproute2/rt_tables.d/ec2ident.conf"
#: Seconds; the processor is emulated, and others work beside it.
PATIENCE = 120
#: CAP_NET_ADMIN alone (linux/capability.h).
NET_ADMIN = 1 << 12


@pytest.fixture(scope="module")
def package(kernel: Path) -> Path:
    """Debian's systemd, udev and kernel, unpacked; what this machine has itself is not among them."""
    try:
        return tree("linux-image-cloud-amd64", "systemd", "udev", "kmod")
    except Unavailable as error:
        pytest.skip(f"needs systemd: {error}")


@pytest.fixture(scope="module")
def node(kernel: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node on which an administrator has just installed the agent, as docs/hooks.md says."""
    image = build_node(package, tmp_path_factory.mktemp("node") / "image.cpio")
    with Node(image, kernel) as found:
        found.booted()
        found.said("ec2ident-agent", "install")
        found.said("systemctl", "start", BOOT, WATCH)
        yield found


def show(node: Node, unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit, systemctl(1)."""
    lines = node.said("systemctl", "show", unit, *(f"--property={name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def rules(node: Node) -> list[str]:
    return [line for line in node.said("ip", "rule").splitlines() if "from all lookup" not in line]


def test_the_units_run_with_one_capability_and_are_well(node: Node) -> None:
    """The watch is up when it says so, with a line for `systemctl status`, and may do no more than it must."""
    assert {"ActiveState": "active", "Result": "success"} == show(node, BOOT, "ActiveState", "Result")
    watch = show(node, WATCH, "ActiveState", "StatusText", "MainPID", "WatchdogUSec")
    assert ("active", "30s") == (watch["ActiveState"], watch["WatchdogUSec"])
    # The ENI of the configuration is attached by the next test.
    assert "1 item: eth1: its interface is not on this node" == watch["StatusText"]
    fields = dict(line.split(":\t", 1) for line in node.said("cat", f"/proc/{watch['MainPID']}/status").splitlines())
    assert [NET_ADMIN] * 2 == [int(fields[name], 16) for name in ("CapEff", "CapBnd")]
    assert ("1", "2") == (fields["NoNewPrivs"], fields["Seccomp"])
    node.wait("ec2ident-agent", "status", OVERLAY)
    assert "inet 192.168.10.10/32 scope global eth0:1" in node.said("ip", "address")


def test_an_eni_attached_while_the_node_runs_is_routed_and_nothing_is_left_when_it_goes(node: Node) -> None:
    """PCI hot plug, udev and the unit of its own, in both directions: only they call the agent, no watch runs."""
    node.said("systemctl", "stop", WATCH)
    try:
        assert [] == rules(node)
        node.attach()
        node.wait("systemctl", "is-active", OF_ETH1)
        node.wait("ec2ident-agent", "status", "eth1")
        assert ["100:\tfrom 10.0.1.0/24 lookup MYHA proto ec2ident"] == rules(node)
        assert "default via 10.0.1.1 dev eth1" in node.said("ip", "route", "show", "table", "MYHA")

        node.detach()
        node.wait("ip", "link", "show", "eth1", exit_code=1)
        node.wait("systemctl", "is-active", OF_ETH1, exit_code=3)
        wait_until(lambda: not rules(node), "the rule of eth1 is gone", PATIENCE)
        # The table's name was the only one.
        node.wait("cat", NAMES, exit_code=1)
        assert "" == node.said("systemctl", "list-units", "--failed", "--no-legend")
    finally:
        node.said("systemctl", "start", WATCH)


@pytest.fixture
def metadata(node: Node) -> Iterator[Callable[..., None]]:
    """The metadata service at its address, and a configuration that leaves nearly all to it. Steers the service."""
    node.said("systemctl", "start", "metadata")
    _configure(node, '[interface.eth1]\nscheme = "split"\n')
    yield lambda *words: node.wait("metadata", "tell", "/run/metadata.socket", *words)
    _configure(node, CONFIGURATION)
    node.said("systemctl", "stop", "metadata")
    node.wait("ec2ident-agent", "status", OVERLAY)


def _configure(node: Node, text: str) -> None:
    node.said("sh", "-c", f'printf %s "$0" >{CONFIGURED}', text)
    node.said("systemctl", "reload", WATCH)


def test_what_the_metadata_service_says_of_an_eni_is_applied(node: Node, metadata: Callable[..., None]) -> None:
    """Asked by units that may talk to no other address; it knows the interface later than the node does."""
    addresses = ("10.0.1.10", "10.0.1.11")
    late = ("listed_after=2", "numbered_after=4")
    metadata(
        "attach", f"mac={ENI}", "subnet=10.0.1.0/24", f"private_ips={json.dumps(addresses)}", "device_number=1", *late
    )
    node.attach()
    wanted = {f"23600:\tfrom {each} to 10.0.0.0/16 lookup 23601 proto ec2ident" for each in addresses}
    wait_until(lambda: wanted <= {*rules(node)}, "both addresses have their rules", PATIENCE)
    node.wait("ec2ident-agent", "status")
    assert {"ActiveState": "active", "NRestarts": "0"} == show(node, WATCH, "ActiveState", "NRestarts")

    metadata("detach", f"mac={ENI}")
    node.detach()
    wait_until(lambda: not rules(node), "the rules of eth1 are gone", PATIENCE)


def test_what_another_program_deletes_is_there_again(node: Node) -> None:
    """By the watch, with nothing but the rights that its unit leaves it."""
    node.said("ip", "address", "del", "192.168.10.10/32", "dev", "eth0")
    node.wait("ec2ident-agent", "status", OVERLAY)


def test_an_administrator_finds_the_repair_by_its_owner_and_its_metric(node: Node) -> None:
    """systemd's own journal took the entry with its fields, and the unit may write the metrics."""
    entries = ("journalctl", "--output=json", f"EC2IDENT_OWNER=overlay {OVERLAY}/32", "--no-pager")
    wait_until(lambda: "ip address add 192.168.10.10/32" in node.said(*entries), "the journal has it", PATIENCE)
    last = json.loads(node.said(*entries).splitlines()[-1])
    assert ("step", "6", "ec2ident-agent", WATCH) == tuple(
        last[name] for name in ("EC2IDENT_EVENT", "PRIORITY", "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT")
    )
    repairs = f'ec2ident_agent_repairs_total{{owner="overlay {OVERLAY}/32"}} '
    wait_until(lambda: f"{repairs}1" in node.said("cat", "/run/ec2ident/watch.prom"), "the metric has it", PATIENCE)


def test_a_watch_that_hangs_is_killed_and_started_again(node: Node) -> None:
    """WatchdogSec; here eight seconds in place of thirty."""
    node.said("mkdir", "-p", f"/run/systemd/system/{WATCH}.d")
    node.said("sh", "-c", f"printf '[Service]\\nWatchdogSec=8\\n' >/run/systemd/system/{WATCH}.d/short.conf")
    node.said("systemctl", "daemon-reload")
    node.said("systemctl", "restart", WATCH)
    before = show(node, WATCH, "MainPID", "NRestarts")
    # It is alive for longer than that.
    time.sleep(12)
    assert before == show(node, WATCH, "MainPID", "NRestarts")

    node.said("kill", "-STOP", before["MainPID"])
    well = {"NRestarts": "1", "ActiveState": "active"}
    wait_until(lambda: well == show(node, WATCH, *well), "the watch was started again", PATIENCE)
    assert before["MainPID"] != show(node, WATCH, "MainPID")["MainPID"]
    node.wait("ec2ident-agent", "status", OVERLAY)


def test_units_that_stop_take_nothing_along(node: Node) -> None:
    """Neither the addresses nor the journal, without which nothing could be reverted."""
    held, journal = node.said("ip", "address"), node.said("cat", "/run/ec2ident/journal")
    node.said("systemctl", "stop", WATCH, BOOT)

    assert (held, journal) == (node.said("ip", "address"), node.said("cat", "/run/ec2ident/journal"))
    node.said("systemctl", "start", BOOT, WATCH)
    assert (held, journal) == (node.said("ip", "address"), node.said("cat", "/run/ec2ident/journal"))
    node.said("systemctl", "reload", BOOT, WATCH)
    node.wait("ec2ident-agent", "status", OVERLAY)


def test_a_node_that_boots_has_its_routing_before_the_first_look(
    node: Node, kernel: Path, package: Path, tmp_path: Path
) -> None:
    """The files that `install` added, on a node that starts with the ENI in place."""
    laid = json.loads(node.said("cat", MANIFEST))["entries"]
    texts = {each["path"]: node.said("cat", each["path"]) for each in laid if each["kind"] == "file"}
    links = {each["path"]: each["before"] for each in laid if each["kind"] == "link"}
    assert {BOOT, WATCH} == {Path(link).name for link in links}
    with Node(build_node(package, tmp_path / "image.cpio", texts, links), kernel, eni=True) as other:
        other.booted()
        for unit in (BOOT, WATCH, OF_ETH1):
            assert {"ActiveState": "active", "NRestarts": "0"} == show(other, unit, "ActiveState", "NRestarts")
        other.wait("ec2ident-agent", "status")
        assert ["100:\tfrom 10.0.1.0/24 lookup MYHA proto ec2ident"] == rules(other)
        assert "192.168.10.10/32" in other.said("ip", "address")


def test_uninstall_leaves_nothing_but_the_configuration(node: Node) -> None:
    """Files, links, units, processes, rules and addresses."""
    node.said("ec2ident-agent", "uninstall")
    wait_until(lambda: "" == node.said("systemctl", "list-units", "--no-legend", "ec2ident*"), "no unit runs", PATIENCE)
    node.said("ec2ident-agent", "revert", "--all")

    assert "" == node.run(["systemctl", "list-unit-files", "--no-legend", "ec2ident*"]).stdout
    assert ["/etc/ec2ident/agent.toml"] == node.said("find", "/etc", "-path", "*ec2ident*", "-type", "f").split()
    assert ([], False) == (rules(node), "192.168.10.10" in node.said("ip", "address"))
    assert "" == node.said("systemctl", "list-units", "--failed", "--no-legend")
