"""The agents before those who judge agents: ocf-tester, its DTD, and the RELAX NG schema of resource-agents."""

from __future__ import annotations

import pytest

from tests.failover.cluster.pair import API, lab
from tests.failover.environment import ENVIRONMENT
from tests.lab.packages import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.failover.cluster.pair import Lab

pytestmark = [pytest.mark.root, pytest.mark.full]

DIRECTORY = "/usr/lib/ocf/resource.d/ec2ident"


@pytest.fixture(scope="module")
def court() -> Iterator[Lab]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    try:
        with lab(1, "resource-agents", "libxml2-utils", "psmisc") as found:
            yield found
    except Unavailable as why:
        pytest.skip(str(why))


def parameters(court: Lab, kind: str) -> dict[str, str]:
    ids = court.ids
    mine = {
        "overlay": {"address": "192.168.10.5", "tables": ",".join(ids["tables"])},
        "eni": {"id": ids["service_eni"]},
        "dns": {"zone": ids["zone"], "name": "db.awslab.mycompany.corp", "values": "192.168.10.5", "wait": "no"},
    }
    return {"region": "us-east-1", "endpoint": API, "instance": ids["node1"], **mine[kind]}


@pytest.mark.parametrize("kind", ["overlay", "bgp", "eni", "dns"])
def test_relax_ng(court: Lab, kind: str) -> None:
    """Valid, and printed by an unprivileged user without any network."""
    inside = court.machines[0].inside
    text = f"setpriv --reuid=65534 --regid=65534 --clear-groups env -i {DIRECTORY}/{kind} meta-data >/run/{kind}.xml"
    inside.read("sh", "-c", text)
    schema = "/usr/share/resource-agents/metadata.rng"
    done = inside.run("xmllint", "--noout", "--relaxng", schema, f"/run/{kind}.xml")
    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("kind", ["overlay", "eni", "dns"])
def test_ocf_tester(court: Lab, kind: str) -> None:
    """Every step of it, and afterwards the node is exactly as it was."""
    machine = court.machines[0]
    if kind == "eni":
        found = court.ids["service_eni"]
        mac = _mac(court, found)
        machine.namespace.ip(f"link add eth1 address {mac} type veth peer name far1", "link set eth1 up")
    machine.namespace.settle()
    before = machine.namespace.snapshot()
    words = [word for name, value in parameters(court, kind).items() for word in ("-o", f"{name}={value}")]
    command = ("ocf-tester", "-n", "one", *words, f"{DIRECTORY}/{kind}")
    done = machine.inside.run(*command, env={**ENVIRONMENT, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, timeout=120)
    assert (0, before) == (done.returncode, machine.namespace.snapshot()), done.stdout + done.stderr
    assert "passed all tests" in done.stdout


def _mac(court: Lab, eni: str) -> str:
    import re
    import urllib.request

    body = f"Action=DescribeNetworkInterfaces&Version=2016-11-15&NetworkInterfaceId.1={eni}".encode()
    head = {"Authorization": "AWS4-HMAC-SHA256 Credential=T/20260101/us-east-1/ec2/aws4_request, x"}
    with court.api.entered(), urllib.request.urlopen(urllib.request.Request(API, body, head), timeout=10) as answer:
        found = re.search(r"<macAddress>(.*?)<", answer.read().decode())
    assert found
    return found[1]
