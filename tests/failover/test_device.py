"""`device` and `interface=` choose the ENI of the route by its MAC address, as in aws-vpc-move-ip, on a real kernel.

Seen before: the address went to eth1, and the route to the ENI of eth0; start and deep monitor both answered 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent.failover.cli import main
from tests.failover.conftest import ENVIRONMENT, configuration
from tests.failover.fake.lab import OVERLAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.failover.fake import Fake

pytestmark = pytest.mark.root

TOP = Path(__file__).parents[2]


class Room:
    """Node 1 with two ENIs, eth0 and eth1, and a fake API, all in one namespace."""

    def __init__(self, namespace: Any, directory: Path, url: str, lab: dict[str, Any]) -> None:
        self.namespace, self.directory, self.url, self.lab = namespace, directory, url, lab
        self.environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}

    def ask(self, action: str, **form: str) -> str:
        """An answer of the EC2 API."""
        import urllib.request
        from urllib.parse import urlencode

        body = urlencode({"Action": action, "Version": "2016-11-15", **form}).encode()
        scope = f"AWS4-HMAC-SHA256 Credential=T/20260101/{self.lab['region']}/ec2/aws4_request, x"
        request = urllib.request.Request(self.url, body, {"Authorization": scope})
        with self.namespace.entered(), urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())

    def targets(self) -> set[str]:
        """The ENIs that the overlay's route goes to, over both tables."""
        import re

        rows = re.findall(
            r"<destinationCidrBlock>192\.168\.10\.5/32<.*?</item>", self.ask("DescribeRouteTables"), re.DOTALL
        )
        return {eni for row in rows for eni in re.findall(r"<networkInterfaceId>(.*?)<", row)}

    def failover(self, *words: str, service: str = "", agent: str = "") -> tuple[int, str]:
        """Exit code and log of the command, with these lines in [service.db], and this configuration of the agent."""
        file, theirs = self.directory / "failover.toml", self.directory / "agent.toml"
        file.write_text(
            f'region = "{self.lab["region"]}"\nendpoint = "{self.url}"\ninstance = "{self.lab["node1"]}"\n'
            f'[service.db]\noverlay = "{OVERLAY}"\n{service}\n'
            f"[service.db.route]\ntables = {json.dumps(self.lab['tables'])}\n"
        )
        theirs.write_text(agent)
        for each in (file, theirs):
            each.chmod(0o600)
        files = ("--config", str(file), "--agent-config", str(theirs), "--state-dir", str(self.directory / "state"))
        done = self._run("ec2ident_agent.failover.cli", *words, *files)
        return done.returncode, done.stderr

    def ocf(self, action: str, level: int = 0, **values: str) -> int:
        """The exit code of an action of the overlay agent."""
        given = {
            "address": OVERLAY.partition("/")[0],
            "tables": ",".join(self.lab["tables"]),
            "region": self.lab["region"],
            "endpoint": self.url,
            "instance": self.lab["node1"],
            "state_dir": str(self.directory / "state"),
            **values,
        }
        more = {f"OCF_RESKEY_{name}": value for name, value in given.items()}
        more |= {"OCF_RESKEY_CRM_meta_timeout": "30000", "OCF_RESKEY_CRM_meta_interval": "10000"}
        done = self._run(
            "ec2ident_agent.failover.pacemaker.agent", "overlay", action, OCF_CHECK_LEVEL=str(level), **more
        )
        return int(done.returncode)

    def _run(self, module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        found: subprocess.CompletedProcess[str] = self.namespace.run(
            sys.executable, "-m", module, *words, env={**self.environment, **environment}
        )
        return found


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.lab.namespace import Namespace, unique

    namespace = Namespace(unique("device"))
    Namespace.add_all(namespace)
    try:
        fake = namespace.start(sys.executable, "-m", "tests.failover.fake", stdout=subprocess.PIPE, cwd=TOP)
        assert fake.stdout
        hello = json.loads(fake.stdout.readline())
        found = Room(namespace, tmp_path, hello["url"], hello["lab"])
        second = {"NetworkInterfaceId": found.lab["service_eni"], "InstanceId": found.lab["node1"], "DeviceIndex": "1"}
        found.ask("AttachNetworkInterface", **second)
        for name, eni in (("eth0", found.lab["eni1"]), ("eth1", found.lab["service_eni"])):
            answer = found.ask("DescribeNetworkInterfaces", **{"NetworkInterfaceId.1": eni})
            mac = answer.partition("<macAddress>")[2].partition("<")[0]
            namespace.ip(f"link add {name} address {mac} type veth peer name far-{name}", f"link set {name} up")
        namespace.ip("link property add dev eth1 altname enp0s6")
        yield found
        fake.kill()
        fake.wait()
        fake.stdout.close()
    finally:
        Namespace.remove_all(namespace)


def test_the_route_goes_to_the_eni_of_the_device_that_has_the_address(room: Room) -> None:
    """For a take-over, and for the status afterwards; by an alternative name too; with `lo` it is the first ENI."""
    assert 0 == room.failover("takeover", "db", service='device = "eth1"')[0]
    assert {room.lab["service_eni"]} == room.targets()
    assert OVERLAY in room.namespace.read("ip", "address", "show", "dev", "eth1")
    assert 0 == room.failover("route", "status", "db", service='device = "eth1"')[0]
    assert 0 == room.failover("route", "status", "db", service='device = "enp0s6"')[0]
    assert 1 == room.failover("route", "status", "db", service='device = "eth0"')[0]
    assert 1 == room.failover("route", "status", "db", service='device = "lo"')[0]


def test_the_option_and_the_agents_configuration_choose_it_too(room: Room) -> None:
    """`--device`; [[overlay]] of agent.toml where failover.toml names no device, with `via` before `device`."""
    assert 0 == room.failover("route", "ensure", "db", "--device", "eth1")[0]
    assert {room.lab["service_eni"]} == room.targets()

    overlay = f'[[overlay]]\naddress = "{OVERLAY}"\ndevice = '
    assert 0 == room.failover("route", "status", "db", agent=f'{overlay}"eth1"\n')[0]
    assert 0 == room.failover("route", "status", "db", agent=f'{overlay}"lo"\nvia = "eth1"\n')[0]
    assert 1 == room.failover("route", "status", "db", agent=f'{overlay}"eth0"\n')[0]


def test_a_device_without_an_eni_is_warned_of(room: Room) -> None:
    """Of several ENIs the first one gets the route, which may be wrong; `eni` chooses, whatever the device is."""
    room.namespace.ip("link add bridge0 type bridge")
    code, log = room.failover("route", "ensure", "db", service='device = "bridge0"')
    assert (0, {room.lab["eni1"]}) == (code, room.targets())
    assert "warning: device bridge0 (" in log
    assert f"the route goes to the first one, {room.lab['eni1']}; to choose another, write eni" in log

    code, log = room.failover("route", "ensure", "db", "--eni", room.lab["service_eni"], service='device = "bridge0"')
    assert (0, {room.lab["service_eni"]}) == (code, room.targets())
    assert "bridge0" not in log


def test_pacemakers_start_and_deep_monitor_agree_about_the_device(room: Room) -> None:
    """A route to the ENI of another device is otherwise than wanted."""
    assert 0 == room.ocf("start", interface="eth1")
    assert {room.lab["service_eni"]} == room.targets()
    assert 0 == room.ocf("monitor", level=10, interface="eth1")

    assert 0 == room.failover("route", "ensure", "db", service='device = "eth0"')[0]
    assert {room.lab["eni1"]} == room.targets()
    assert 1 == room.ocf("monitor", level=10, interface="eth1")
    assert 0 == room.ocf("stop", interface="eth1")


def test_of_another_node_no_device_is_looked_at(
    aws: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This node's eth1 says nothing about that of the node that --instance names."""
    from ec2ident_agent.failover import agent_bridge

    def never(device: str) -> str:
        raise AssertionError(device)

    monkeypatch.setattr(agent_bridge, "link_of", never)
    path = tmp_path / "failover.toml"
    path.write_text(configuration(aws))
    path.chmod(0o600)
    words = ["route", "ensure", "db", "--config", str(path), "--instance", aws.lab.node1]

    assert 0 == main(words, environ=ENVIRONMENT, root="/nonexistent"), capsys.readouterr().err
