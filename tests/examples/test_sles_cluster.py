"""The cluster of two nodes: crmsh and Pacemaker's scheduler read it, Corosync reads its part, and the files agree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ec2ident_agent.failover import settings
from ec2ident_agent.failover.pacemaker.parameters import PARAMETERS
from tests.failover.cluster.fencing import FENCE
from tests.failover.cluster.pair import PACKAGES, Machine
from tests.lab.enclosure import Enclosure
from tests.lab.namespace import Namespace, unique
from tests.lab.packages import Unavailable, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "examples/sles-cluster"
FILES = {
    name: (FOLDER / name).read_text(encoding="utf-8") for name in ("cluster.crm", "corosync.conf", "failover.toml")
}


def primitives() -> dict[str, tuple[str, dict[str, str]]]:
    """Each resource of the cluster: its agent and its parameters."""
    text = re.sub(r"^#.*\n", "", FILES["cluster.crm"], flags=re.MULTILINE).replace("\\\n", " ")
    found = {}
    for name, agent, rest in re.findall(r"^primitive (\S+) (\S+) +params (.*?)(?= op | meta |$)", text, re.MULTILINE):
        found[name] = (agent, dict(word.split("=", 1) for word in shlex.split(rest)))
    return found


def test_the_cluster_and_failover_describe_the_same_service() -> None:
    """Address, tables, interface, zone, name and region: `policy` allows what the agents do."""
    found = settings.parse(FILES["failover.toml"].encode())
    service = found.service("db")
    (_, overlay), (_, dns) = primitives()["res_AWS_IP"], primitives()["res_AWS_DNS"]

    assert service.route
    assert service.dns
    assert (overlay["address"], overlay["interface"]) == (service.overlay[0].partition("/")[0], service.device)
    assert tuple(overlay["tables"].split(",")) == service.route.select.tables
    assert (dns["zone"], dns["name"], dns["values"]) == (service.dns.zone, service.dns.name, service.dns.values[0])
    assert {found.region} == {given["region"] for _, given in primitives().values()}
    map_of_hosts = primitives()["res_AWS_STONITH"][1]["pcmk_host_map"]
    assert tuple(each.partition(":")[2] for each in map_of_hosts.split(";")) == found.instances


def test_the_agents_know_their_parameters() -> None:
    """By the table that their metadata are made of."""
    for agent, given in primitives().values():
        if agent.startswith("ocf:ec2ident:"):
            known = {each.name for each in PARAMETERS if agent.rpartition(":")[2] in each.kinds}
            assert set() == set(given) - known


@pytest.fixture(scope="module")
def node() -> Iterator[Enclosure]:
    """A node with the agents, and with crmsh, Pacemaker's and Corosync's programs; none of the daemons runs."""
    try:
        packages = tree(*PACKAGES, "pcs", "python3-requests")
    except Unavailable as why:
        pytest.skip(str(why))
    namespace = Namespace(unique("sles"))
    Namespace.add_all(namespace)
    try:
        with Enclosure(namespace, packages) as inside:
            Machine(1, namespace, inside).prepare()
            inside.write("/usr/sbin/fence_aws", FENCE.replace("@NAME@", "fence_aws"), 0o755)
            for name, text in FILES.items():
                inside.write(f"/etc/example/{name}", text)
            yield inside
    finally:
        Namespace.remove_all(namespace)


@pytest.mark.root
@pytest.mark.full
def test_crmsh_loads_it_and_the_scheduler_starts_all_of_it(node: Enclosure) -> None:
    """crm_verify has nothing to say, and with both nodes up the group is on one of them, and fencing is ready."""
    cib = "/run/cib.xml"
    load = f"cibadmin --empty >{cib} && CIB_file={cib} crm configure load update /etc/example/cluster.crm"
    done = node.run("sh", "-c", load)
    assert (0, "") == (done.returncode, done.stdout + done.stderr)

    judged = node.run("crm_verify", "--verbose", "--xml-file", cib)
    assert (0, "") == (judged.returncode, judged.stdout + judged.stderr)

    said = node.read("crm_simulate", "--xml-file", cib, "--node-up", "node1", "--node-up", "node2", "--simulate")
    after = said.partition("Revised Cluster Status:")[2]
    where = dict(re.findall(r"\* (res_AWS_\w+)\s+\(\S+\):\s+Started (node\d)", after))
    assert {"res_AWS_STONITH", "res_AWS_IP", "res_AWS_DNS"} == set(where)
    assert where["res_AWS_IP"] == where["res_AWS_DNS"]


@pytest.mark.root
@pytest.mark.full
def test_corosync_reads_its_part(node: Enclosure) -> None:
    """`corosync -t` accepts it, and refuses it with a cipher that does not exist."""
    node.run("sh", "-c", "head -c 128 /dev/urandom >/etc/corosync/authkey")
    node.write("/etc/corosync/corosync.conf", FILES["corosync.conf"])
    assert 0 == node.run("corosync", "-t").returncode

    node.write("/etc/corosync/corosync.conf", FILES["corosync.conf"].replace("aes256", "aes257"))
    assert 0 != node.run("corosync", "-t").returncode
