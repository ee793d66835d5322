"""Every verb against an unmodified moto server, with the AWS CLI as the witness of what is there afterwards.

The fake of the other tests is written by the same people as the program: an error that both share would be invisible.
Neither moto nor the AWS CLI knows this project. docs/testing.md has the table of what the witness confirms.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from ec2ident_agent.failover.cli import main
from tests.failover.conftest import ENVIRONMENT
from tests.lab.enclosure import wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

REGION, OVERLAY, ZONE = "eu-west-1", "192.168.10.5/32", "awslab.mycompany.corp"
AWS = Path(sys.executable).with_name("aws")


class Cloud:
    """A moto server in a process of its own, and the AWS CLI."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home, self.path = url, home, home / "failover.toml"

    def aws(self, *words: str) -> Any:
        """The answer of the AWS CLI."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "AWS_ACCESS_KEY_ID": "AKIDWITNESS",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [str(AWS), *words, "--endpoint-url", self.url, "--region", REGION, "--output", "json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout or "null")

    def route(self, table: str, destination: str = OVERLAY) -> str:
        """The ENI that a route goes to, as the AWS CLI sees it; "" for no route."""
        (found,) = self.aws("ec2", "describe-route-tables", "--route-table-ids", table)["RouteTables"]
        rows = [row for row in found["Routes"] if row.get("DestinationCidrBlock") == destination]
        return str(rows[0]["NetworkInterfaceId"]) if rows else ""

    def interface(self, eni: str) -> Mapping[str, Any]:
        found: list[dict[str, Any]] = self.aws("ec2", "describe-network-interfaces", "--network-interface-ids", eni)[
            "NetworkInterfaces"
        ]
        return found[0]

    def record(self, zone: str, name: str) -> list[str]:
        every = self.aws("route53", "list-resource-record-sets", "--hosted-zone-id", zone)["ResourceRecordSets"]
        same = [each for each in every if each["Name"] == f"{name}." and each["Type"] == "A"]
        return [value["Value"] for each in same for value in each["ResourceRecords"]]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    if not find_spec("awscli") or not shutil.which(str(AWS)):
        pytest.skip("the AWS CLI (PyPI: awscli) is not installed")
    home = tmp_path_factory.mktemp("witness")
    (home / "images.json").write_text("[]")
    environ = {**os.environ, "MOTO_AMIS_PATH": str(home / "images.json")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5).close()
        except OSError:
            return False
        return True

    try:
        wait_until(answers, "moto answers", 60)
        yield Cloud(url, home)
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def ids(cloud: Cloud) -> dict[str, str]:
    """A VPC with two nodes in one subnet, two route tables, and an ENI that moves, made with the AWS CLI."""
    ec2 = ("ec2",)
    vpc = cloud.aws(*ec2, "create-vpc", "--cidr-block", "10.0.0.0/16")["Vpc"]["VpcId"]
    made = cloud.aws(*ec2, "create-subnet", "--vpc-id", vpc, "--cidr-block", "10.0.0.0/24")
    found = {"vpc": vpc, "subnet": made["Subnet"]["SubnetId"]}
    nodes = cloud.aws(
        *ec2, "run-instances", "--image-id", "ami-12c6146b", "--count", "2", "--subnet-id", found["subnet"]
    )["Instances"]
    for number, node in enumerate(nodes, 1):
        found[f"node{number}"] = node["InstanceId"]
        found[f"eni{number}"] = node["NetworkInterfaces"][0]["NetworkInterfaceId"]
    for name in ("table1", "table2"):
        found[name] = cloud.aws(*ec2, "create-route-table", "--vpc-id", vpc)["RouteTable"]["RouteTableId"]
    route = ("--destination-cidr-block", OVERLAY, "--network-interface-id", found["eni2"])
    cloud.aws(*ec2, "create-route", "--route-table-id", found["table1"], *route)
    return found


@pytest.fixture
def run(cloud: Cloud, ids: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a verb on a node: exit code, lines, log. The command line has no option that is for moto alone."""

    def call(*words: str, node: str = "node1", tail: str = "") -> tuple[int, list[str], str]:
        cloud.path.write_text(
            f'region = "{REGION}"\nendpoint = "{cloud.url}"\ndeadline = 60\n'
            f'instances = ["{ids["node1"]}", "{ids["node2"]}"]\ninterfaces = ["{ids["eni1"]}", "{ids["eni2"]}"]\n'
            f'[service.db]\noverlay = "{OVERLAY}"\n'
            f'[service.db.route]\ntables = ["{ids["table1"]}", "{ids["table2"]}"]\n{tail}'
        )
        cloud.path.chmod(0o600)
        state = ["--state-dir", str(cloud.home / "state")]
        words = (*words, "--config", str(cloud.path), "--instance", ids[node], *state)
        code = main(words, environ=ENVIRONMENT, root="/nonexistent")
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return call


def test_the_witness_sees_what_every_verb_says(cloud: Cloud, ids: dict[str, str], run: Callable[..., Any]) -> None:
    """eni create, dns zone, takeover of all parts there and back, status, release, route delete, policy."""
    create = ("eni", "create", "--subnet", ids["subnet"], "--description", "service", "--tag", "Service=db")
    code, plan, log = run(*create, "--plan")
    assert (1, True) == (code, plan[0].startswith("aws ec2 create-network-interface ")), log
    code, lines, log = run(*create)
    assert 0 == code, log
    eni = lines[0].split()[0]
    assert {"Key": "Service", "Value": "db"} in cloud.interface(eni)["TagSet"]
    assert (0, eni) == (lambda again: (again[0], again[1][0].split()[0]))(run(*create))
    assert (0, []) == run(*create, "--plan")[:2]
    described = cloud.aws("ec2", "describe-network-interfaces", "--filters", "Name=description,Values=service")
    assert [eni] == [each["NetworkInterfaceId"] for each in described["NetworkInterfaces"]]

    zone_words = ("dns", "zone", "--name", ZONE, "--vpc", ids["vpc"], "--tag", "Service=db")
    code, plan, log = run(*zone_words, "--plan")
    assert (1, True) == (code, any("aws route53 create-hosted-zone " in line for line in plan)), log
    code, lines, log = run(*zone_words)
    assert 0 == code, log
    zone = lines[-1]
    assert (0, [zone]) == run(*zone_words)[:2]
    found = cloud.aws("route53", "get-hosted-zone", "--id", zone)
    assert (f"{ZONE}.", ids["vpc"]) == (found["HostedZone"]["Name"], found["VPCs"][0]["VPCId"])
    tags = cloud.aws("route53", "list-tags-for-resource", "--resource-type", "hostedzone", "--resource-id", zone)
    assert {"Key": "Service", "Value": "db"} in tags["ResourceTagSet"]["Tags"]
    attribute = ("ec2", "describe-vpc-attribute", "--vpc-id", ids["vpc"], "--attribute", "enableDnsHostnames")
    assert cloud.aws(*attribute)["EnableDnsHostnames"]["Value"] is True

    tail = f'[service.db.eni]\nid = "{eni}"\n[service.db.dns]\nzone = "{zone}"\nname = "db.{ZONE}"\n'
    for node in ("node1", "node2", "node1"):
        number = node[-1]
        assert 1 == run("takeover", "db", "--plan", node=node, tail=tail)[0]
        code, lines, log = run("takeover", "db", node=node, tail=tail)
        assert (0, ["db: is here"]) == (code, lines), log
        assert [ids[f"eni{number}"]] * 2 == [cloud.route(ids[table]) for table in ("table1", "table2")]
        assert ids[node] == cloud.interface(eni)["Attachment"]["InstanceId"]
        assert cloud.interface(ids[f"eni{number}"])["SourceDestCheck"] is False
        assert [OVERLAY.partition("/")[0]] == cloud.record(zone, f"db.{ZONE}")
        for verb in ("route", "eni", "dns"):
            assert 0 == run(verb, "status", "db", node=node, tail=tail)[0], verb
        assert 1 == run("route", "status", "db", node="node2" if node == "node1" else "node1", tail=tail)[0]

    code, lines, log = run("policy", tail=tail)
    assert 0 == code, log
    account = cloud.aws("sts", "get-caller-identity")["Account"]
    assert f":{account}:route-table/{ids['table1']}" in "\n".join(lines)

    code, lines, log = run("release", "db", tail=tail)
    assert 0 == code, log
    code, lines, log = run("route", "delete", "db", tail=tail)
    assert 0 == code, log
    assert ["", ""] == [cloud.route(ids[table]) for table in ("table1", "table2")]


def test_the_witness_sees_private_addresses_and_elastic_ips(
    cloud: Cloud, ids: dict[str, str], run: Callable[..., Any]
) -> None:
    """Assigned to the node that takes over; an Elastic IP to one ENI alone.

    moto takes no private address away, and has no prefixes.
    """
    allocation = cloud.aws("ec2", "allocate-address", "--domain", "vpc")["AllocationId"]
    address, six = "10.0.0.50", "2001:db8::50"
    tail = f'[service.db.private]\naddresses = ["{address}", "{six}"]\n[service.db.eip]\nallocation = "{allocation}"\n'
    for node in ("node2", "node1", "node1"):
        code, lines, log = run("takeover", "db", node=node, tail=tail)
        assert (0, ["db: is here"]) == (code, lines), log
        eni = ids[f"eni{node[-1]}"]
        assert address in [each["PrivateIpAddress"] for each in cloud.interface(eni)["PrivateIpAddresses"]]
        assert six in [each["Ipv6Address"] for each in cloud.interface(eni)["Ipv6Addresses"]]
        (seen,) = cloud.aws("ec2", "describe-addresses", "--allocation-ids", allocation)["Addresses"]
        assert eni == seen["NetworkInterfaceId"]
        for verb in ("private", "eip"):
            assert 0 == run(verb, "status", "db", node=node, tail=tail)[0], verb
    assert 0 == run("status", "db", tail=tail)[0]
    assert 0 == run("release", "db", tail=tail)[0]
    assert 0 == run("policy", tail=tail)[0]
