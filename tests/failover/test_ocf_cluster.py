"""A real cluster of two nodes with fencing: whatever goes wrong, one node answers, and the service comes back."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.enclosure import wait_until
from tests.lab.packages import Unavailable

from .cluster.pair import API, TOP, lab, start_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .cluster.pair import Lab, Machine

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(300)]

OVERLAY = "192.168.10.5"

#: A switch of the power: it asks for it by a file, and waits for the answer. The test holds the plug.
FENCE = """#!/bin/sh
action= plug=
while IFS='=' read -r key value; do
    case $key in action) action=$value ;; plug|port|nodename) [ "$plug" ] || plug=$value ;; esac
done
case $action in
    metadata) cat <<END
<?xml version="1.0"?>
<resource-agent name="fence_lab" shortdesc="lab"><longdesc>lab</longdesc><vendor-url/>
<parameters><parameter name="action" required="1"><content type="string" default="off"/></parameter>
<parameter name="plug" required="1" obsoletes="port"><content type="string"/></parameter></parameters>
<actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="list"/>
<action name="monitor"/><action name="metadata"/></actions></resource-agent>
END
    ;;
    status) [ -e @DIR@/$plug.done ] && exit 2 || exit 0 ;;
    off|reboot) touch @DIR@/$plug.off
        for _ in $(seq 100); do [ -e @DIR@/$plug.done ] && exit 0; sleep 0.1; done; exit 1 ;;
esac
exit 0
"""

CONFIGURATION = """primitive st stonith:fence_lab params pcmk_host_list="node1 node2" pcmk_host_check=static-list
primitive db ocf:ec2ident:overlay params address={overlay} tables="{tables}" region=us-east-1 endpoint={api} \\
    op start timeout=10s interval=0 op stop timeout=10s interval=0 op monitor interval=2s timeout=10s \\
    op monitor interval=5s timeout=5s OCF_CHECK_LEVEL=10 meta priority=10
location prefer db 100: node1
rsc_defaults resource-stickiness=1000
property stonith-enabled=true stonith-action=off stonith-timeout=30s no-quorum-policy=ignore \\
    priority-fencing-delay=3
"""


class Cluster:
    """The pair, the plug of each node, and a watch over who answers."""

    def __init__(self, found: Lab, directory: Path) -> None:
        self.lab, self.directory = found, directory
        self.alive = {machine.name: machine for machine in found.machines}
        self.twice: list[str] = []
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for name in list(self.alive):
                if (self.directory / f"{name}.off").exists():
                    self.power_off(self.alive[name])
            if len(self.holders()) > 1:
                self.twice.append(f"{time.time()}: {self.holders()}")

    def holders(self) -> list[str]:
        return [name for name, machine in list(self.alive.items()) if machine.answers(OVERLAY)]

    def power_off(self, machine: Machine) -> None:
        machine.namespace.ip("link set eth0 down")
        self.alive.pop(machine.name, None)
        machine.inside.close()
        (self.directory / f"{machine.name}.done").touch()

    def settled(self, name: str) -> bool:
        eni = self.lab.ids[f"eni{name[-1]}"]
        return self.holders() == [name] and self.lab.owners() == {eni}

    def crm(self, *words: str) -> str:
        return next(iter(self.alive.values())).inside.read(*words)

    def end(self) -> None:
        self._over.set()
        self._watch.join()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    directory = tmp_path_factory.mktemp("plugs")
    try:
        with lab(2) as found, ExitStack() as stack:
            for machine in found.machines:
                machine.inside.write("/usr/sbin/fence_lab", FENCE.replace("@DIR@", str(directory)), 0o755)
                # What a Nitro instance's firmware says of it stands in for a metadata service, which is away all along.
                tag = f'[ -z "$OCF_RESKEY_instance" ] && export OCF_RESKEY_instance={found.ids[machine.name]}\n'
                path = machine.inside.path("/usr/lib/ocf/resource.d/ec2ident/overlay")
                path.write_text(path.read_text().replace("unset ", f"{tag}unset ", 1))
                start_engine(machine)
            cluster = Cluster(found, directory)
            stack.callback(cluster.end)
            first = found.machines[0].inside
            both = "Online: [ node1 node2 ]"
            wait_until(lambda: both in first.run("crm_mon", "-1").stdout, "both nodes are online", 90)
            text = CONFIGURATION.format(overlay=OVERLAY, tables=",".join(found.ids["tables"]), api=API)
            first.write("/etc/lab.crm", text)
            first.read("crm", "configure", "load", "update", "/etc/lab.crm")
            wait_until(lambda: cluster.settled("node1"), "the service runs on node 1", 60)
            yield cluster
    except Unavailable as why:
        pytest.skip(str(why))


FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"hang": True},
    "throttle": {"code": "RequestLimitExceeded", "status": 503},
    "denied": {"code": "UnauthorizedOperation", "status": 403},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_api_moves_nothing(cluster: Cluster, fault: str) -> None:
    """Nor does a probe of every node meanwhile. The metadata service is away all the time."""
    cluster.lab.control("fault", **FAULTS[fault])
    try:
        cluster.crm("crm_resource", "--refresh", "--resource", "db")
        time.sleep(7)
        assert ["node1"] == cluster.holders()
    finally:
        cluster.lab.control("clear")
    assert cluster.settled("node1")
    assert [] == cluster.twice


def test_a_planned_move_and_back(cluster: Cluster) -> None:
    """One node answers at every moment, and all routes follow."""
    for name in ("node2", "node1"):
        cluster.crm("crm_resource", "--move", "--resource", "db", "--node", name)
        began = time.monotonic()
        wait_until(lambda name=name: cluster.settled(name), f"the service runs on {name}", 30)  # type: ignore[misc]
        print(f"planned move to {name}: {time.monotonic() - began:.2f} s")
        cluster.crm("crm_resource", "--clear", "--resource", "db")
    assert [] == cluster.twice


def test_a_start_that_may_write_one_table_only_goes_back(cluster: Cluster) -> None:
    """Node 2 is denied one table: the service returns to node 1 whole."""
    match = {"RouteTableId": cluster.lab.ids["tables"][1]}
    denied = {"code": "UnauthorizedOperation", "status": 403, "source": "10.99.0.2"}
    cluster.lab.control("fault", action="ReplaceRoute", match=match, **denied)
    try:
        cluster.crm("crm_resource", "--move", "--resource", "db", "--node", "node2", "--lifetime", "PT10S")
        wait_until(lambda: "node2" in cluster.crm("crm_mon", "-1", "--failcounts"), "the start failed on node 2", 30)
        wait_until(lambda: cluster.settled("node1"), "the service is back on node 1", 30)
    finally:
        cluster.lab.control("clear")
    cluster.crm("crm_resource", "--clear", "--resource", "db")
    cluster.crm("crm_resource", "--cleanup", "--resource", "db")
    assert [] == cluster.twice


def test_the_examples_for_crmsh_load(cluster: Cluster) -> None:
    """As they are, under the names of the examples, into a file of their own."""
    inside = cluster.lab.machines[0].inside
    example = (TOP / "agent/ec2ident_agent/data/cluster/crmsh").read_text()
    # Which fencing a cluster has is its own affair; without any it is not valid.
    example += 'primitive st stonith:fence_lab params pcmk_host_list="node1 node2"\n'
    inside.write("/etc/example.crm", example)
    done = inside.run(
        "sh", "-c", "crm -F cib new example empty && crm -c example configure load update /etc/example.crm"
    )
    assert (0, False) == (done.returncode, "ERROR" in done.stderr), done.stderr


def test_in_a_partition_one_node_survives_with_all_of_it(cluster: Cluster) -> None:
    """Both reach the API; the active node wins the race of the fences."""
    cluster.lab.isolate(True)
    wait_until(lambda: len(cluster.alive) == 1, "one node is fenced", 40)
    survivor = next(iter(cluster.alive))
    wait_until(lambda: cluster.settled(survivor), "the survivor has all of it", 40)
    assert "node1" == survivor
    assert [] == cluster.twice
