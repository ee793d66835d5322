"""What probe, monitor and stop do to a real node: the kernel is watched, and the API's journal is read."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.failover.cluster.pair import API, lab
from tests.failover.environment import ENVIRONMENT
from tests.lab.enclosure import wait_until
from tests.lab.packages import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.failover.cluster.pair import Lab
    from tests.lab.namespace import Namespace

    Act = Callable[..., int]

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(120)]

DIRECTORY, STATE = "/usr/lib/ocf/resource.d/ec2ident", "/run/ec2ident"
KINDS = ("overlay", "eni", "private", "eip", "dns")
ADDRESSES = ("192.168.10.5", "192.168.10.6")
PRIVATE = "10.0.0.50"
SUCCESS, GENERIC, NOT_RUNNING = 0, 1, 7

FAULTS: dict[str, dict[str, Any]] = {
    "well": {},
    "hang": {"hang": True},
    "denied": {"code": "UnauthorizedOperation", "status": 403},
}


@pytest.fixture(scope="module")
def room() -> Iterator[Lab]:
    """One node. Its metadata service never answers."""
    pytest.importorskip("moto", "5.1", reason="needs moto")
    try:
        with lab(1, "resource-agents", "libxml2-utils", "psmisc") as found:
            service = found.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": found.ids["service_eni"]})
            mac = service.partition("<macAddress>")[2].partition("<")[0]
            machine = found.machines[0]
            machine.namespace.ip(
                f"link add eth1 address {mac} type veth peer name far1", "link set far1 up", "link set eth1 up"
            )
            # Until the kernel has heard its own IPv6 addresses, a state is not the one that comes back.
            wait_until(lambda: _settled(machine.namespace), "the links are up", 20)
            yield found
    except Unavailable as why:
        pytest.skip(str(why))


def _settled(namespace: Namespace) -> bool:
    found = namespace.read("ip", "-6", "-o", "address", "show", "scope", "link")
    return "tentative" not in found and all(f" {each} " in found for each in ("eth0", "eth1", "far1"))


def allocated(room: Lab) -> str:
    """An Elastic IP."""
    return room.ask("AllocateAddress", Domain="vpc").partition("<allocationId>")[2].partition("<")[0]


@pytest.fixture
def act(room: Lab) -> Iterator[Act]:
    """Run one action of an agent as the engine does; afterwards everything is stopped."""
    ids, inside = room.ids, room.machines[0].inside
    mine = {
        "overlay": {"address": " ".join(ADDRESSES), "tables": ",".join(ids["tables"])},
        "eni": {"id": ids["service_eni"]},
        "private": {"addresses": PRIVATE, "device": "eth0"},
        "eip": {"allocation_id": allocated(room)},
        "dns": {"zone": ids["zone"], "name": "db.awslab.mycompany.corp", "values": ADDRESSES[0], "wait": "no"},
    }

    def run(kind: str, action: str, *, interval: int = 10000, level: int = 0, known: bool = True) -> int:
        values = {"region": "us-east-1", "endpoint": API, **mine[kind], **({"instance": ids["node1"]} if known else {})}
        environ = {
            **ENVIRONMENT,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "OCF_ROOT": "/usr/lib/ocf",
            "OCF_RESOURCE_INSTANCE": kind,
            "OCF_CHECK_LEVEL": str(level),
            "OCF_RESKEY_CRM_meta_timeout": "10000" if action == "start" else "2500",
            **({"OCF_RESKEY_CRM_meta_interval": str(interval)} if interval else {}),
            **{f"OCF_RESKEY_{name}": value for name, value in values.items()},
        }
        return inside.run(f"{DIRECTORY}/{kind}", action, env=environ, timeout=30).returncode

    yield run
    room.control("clear")
    for kind in KINDS:
        assert SUCCESS == run(kind, "stop")


def _changes(room: Lab, monitor: subprocess.Popen[str]) -> str:
    """What the kernel announced until now. A route of our own, and its removal, mark where that is."""
    namespace = room.machines[0].namespace
    namespace.ip("route add 203.0.113.77/32 dev lo", "route del 203.0.113.77/32 dev lo")
    assert monitor.stdout
    said = ""
    while "Deleted 203.0.113.77" not in said:
        line = monitor.stdout.readline()
        assert line, "ip monitor has ended"
        said += line
    return "".join(line for line in said.splitlines(keepends=True) if "203.0.113.77" not in line)


@contextmanager
def unchanged(room: Lab, *, silent: bool) -> Iterator[None]:
    """Neither the kernel, nor a file, nor the API is changed; when silent, the API is not even asked."""
    machine = room.machines[0]
    command = machine.namespace.command("stdbuf", "-oL", "ip", "monitor", "address", "route", "rule", "link")
    monitor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        _begun(room, monitor)
        before = machine.namespace.snapshot(), _files(room), len(room.control("journal"))
        yield
        assert "" == _changes(room, monitor)
        assert before[:2] == (machine.namespace.snapshot(), _files(room))
        made = [call["action"] for call in room.control("journal")[before[2] :]]
        assert [] == [each for each in made if silent or not each.startswith(("Describe", "List", "Get"))]
    finally:
        monitor.kill()
        monitor.communicate()


def _begun(room: Lab, monitor: subprocess.Popen[str]) -> None:
    """Until it listens: what happens before is not announced to it."""
    import select

    assert monitor.stdout
    deadline = time.monotonic() + 20
    while not select.select([monitor.stdout], [], [], 0.05)[0]:
        assert time.monotonic() < deadline, "ip monitor does not listen"
        room.machines[0].namespace.ip("route add 203.0.113.78/32 dev lo", "route del 203.0.113.78/32 dev lo")
    _changes(room, monitor)


def _files(room: Lab) -> dict[str, tuple[int, bytes]]:
    """The agent's run state: names, times and contents."""
    top = Path(room.machines[0].inside.path(STATE))
    found = (each for each in top.rglob("*") if each.is_file())
    return {str(each.relative_to(top)): (each.stat().st_mtime_ns, each.read_bytes()) for each in found}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_probe_and_monitor_write_nothing_and_a_stop_needs_no_service(
    room: Lab, act: Act, kind: str, fault: str
) -> None:
    """Not running, running, and (where an address can be taken away) partly running.

    A probe and a plain monitor answer from this node alone, the same whatever the API does; and without an instance
    id, which would be the metadata service's to tell.
    """
    base = room.machines[0].namespace.snapshot().splitlines()

    def looks(expected: int, deep: int) -> None:
        with unchanged(room, silent=True):
            assert expected == act(kind, "monitor", interval=0, known=False)
            assert expected == act(kind, "monitor", interval=0, level=10, known=False)
            assert expected == act(kind, "monitor", known=False)
        with unchanged(room, silent=False):
            assert deep == act(kind, "monitor", level=10)
            assert deep == act(kind, "monitor", level=10, known=False)

    if FAULTS[fault]:
        room.control("fault", **FAULTS[fault])
    looks(NOT_RUNNING, NOT_RUNNING)
    room.control("clear")
    assert SUCCESS == act(kind, "start")
    if FAULTS[fault]:
        room.control("fault", **FAULTS[fault])
    looks(SUCCESS, SUCCESS)
    if kind == "overlay":
        room.machines[0].namespace.ip(f"address del {ADDRESSES[1]}/32 dev eth0")
        looks(GENERIC, GENERIC)
    asked = len(room.control("journal"))
    assert SUCCESS == act(kind, "stop", known=False)
    assert base == room.machines[0].namespace.snapshot().splitlines()
    assert asked == len(room.control("journal"))
    with unchanged(room, silent=True):
        assert SUCCESS == act(kind, "stop", known=False)


def test_an_interface_that_was_taken_away_is_seen_without_the_api(room: Lab, act: Act) -> None:
    """Known by its MAC address: under another name it is the same, and another one under its name is not."""
    namespace = room.machines[0].namespace

    def looks(expected: int) -> None:
        with unchanged(room, silent=True):
            assert expected == act("eni", "monitor", known=False)
            assert expected == act("eni", "monitor", interval=0, known=False)

    def rename(old: str, new: str, mac: str = "") -> None:
        address = [f"link set {old} address {mac}"] if mac else []
        namespace.ip(f"link set {old} down", *address, f"link set {old} name {new}", f"link set {new} up")
        wait_until(lambda: "tentative" not in namespace.read("ip", "-6", "address"), "the link is up", 20)

    mac = namespace.read("ip", "-o", "link", "show", "eth1").partition("link/ether ")[2].split()[0]
    assert SUCCESS == act("eni", "start")
    try:
        rename("eth1", "ens6")
        looks(SUCCESS)
        rename("ens6", "eth1", "02:00:00:00:00:77")
        looks(GENERIC)
        assert SUCCESS == act("eni", "stop", known=False)
        looks(NOT_RUNNING)
    finally:
        rename("eth1", "eth1", mac)
    assert SUCCESS == act("eni", "start")
    looks(SUCCESS)
