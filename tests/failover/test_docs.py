"""docs/failover.md shows what comes out: the plan of a takeover on a real kernel, and the policy of that cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ec2ident_agent.failover import settings
from ec2ident_agent.failover.iam import policy

from .environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

TOP = Path(__file__).parents[2]
EXAMPLE = (TOP / "docs/failover.md").read_text(encoding="utf-8").partition("## An example\n")[2].partition("\n## ")[0]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", EXAMPLE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_policy_is_that_of_the_example() -> None:
    """As the command prints it, but for line ends."""
    found = settings.parse(block("toml").encode())

    assert json.loads(block("json")) == policy.document(found, found.region, found.account)


@pytest.fixture
def node() -> Iterator[Any]:
    """A namespace with eth0."""
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.lab.namespace import Namespace, unique

    found = Namespace(unique("docs"))
    Namespace.add_all(found)
    try:
        found.ip("link add eth0 type veth peer name far0", "link set eth0 up", "link set far0 up")
        yield found
    finally:
        Namespace.remove_all(found)


def translation(lab: Mapping[str, Any]) -> dict[str, str]:
    """The example's ids -> those of the fake, which are others each time."""
    text = block("toml")
    found = settings.parse(text.encode())
    (service,) = found.services
    assert service.route
    assert service.eni
    assert service.dns
    pairs = {
        **dict(zip(found.instances, (lab["node1"], lab["node2"]))),
        **dict(zip(found.interfaces, (lab["eni1"], lab["eni2"]))),
        # Tables are shown in the order of their ids.
        **dict(zip(sorted(service.route.select.tables), sorted(lab["tables"]))),
        service.eni.find.id: lab["service_eni"],
        service.dns.zone: lab["zone"],
    }
    assert all(each in text for each in pairs)
    return pairs


def replaced(text: str, pairs: Mapping[str, str]) -> str:
    for old, new in pairs.items():
        text = text.replace(old, new)
    return text


def attach(url: str, lab: Mapping[str, Any]) -> None:
    """The interface is at the other node."""
    target = {"NetworkInterfaceId": lab["service_eni"], "InstanceId": lab["node2"], "DeviceIndex": "1"}
    ask(url, lab, Action="AttachNetworkInterface", **target)


def ask(url: str, lab: Mapping[str, Any], **form: str) -> str:
    """A call of the test's own."""
    head = {"Authorization": f"AWS4-HMAC-SHA256 Credential=T/20260101/{lab['region']}/ec2/aws4_request, x"}
    body = urlencode({"Version": "2016-11-15", **form}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=20) as answer:
        return str(answer.read().decode())


class Example:
    """The cluster of the example, on a fake API; this node is its first."""

    def __init__(self, node: Any, directory: Path) -> None:
        self.node, self.directory = node, directory
        self.fake = node.start(
            *(sys.executable, "-m", "tests.failover.fake", "--region", "eu-west-1"), stdout=subprocess.PIPE, cwd=TOP
        )
        hello = json.loads(self.fake.stdout.readline())
        self.url, self.lab, self.pairs = hello["url"], hello["lab"], translation(hello["lab"])
        self.path = directory / "failover.toml"
        first = next(iter(self.pairs.values()))
        top = f'endpoint = "{self.url}"\ninstance = "{first}"\n'
        self.path.write_text(top + replaced(block("toml"), self.pairs))
        self.path.chmod(0o600)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command of the example."""
        environ = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
        files = ("--config", str(self.path), "--state-dir", str(self.directory / "state"))
        command = (sys.executable, "-m", "ec2ident_agent.failover.cli", *words, *files)
        done: subprocess.CompletedProcess[str] = self.node.run(*command, env=environ)
        return done

    def shown(self, said: str) -> list[str]:
        """What comes out, with the ids of the example."""
        said = replaced(said, {new: old for old, new in self.pairs.items()})
        said = re.sub(r"(?<=# wait for )[0-9a-f:]{17}", "06:0a:1b:2c:3d:4e", said)
        return re.sub(r"eni-attach-[0-9a-f]{17}", "eni-attach-0a1b2c3d4e5f60005", said).splitlines()

    def add_interface(self) -> None:
        """The kernel shows the ENI as soon as it is attached."""
        with self.node.entered():
            form = {"Action": "DescribeNetworkInterfaces", "NetworkInterfaceId.1": self.lab["service_eni"]}
            mac = ask(self.url, self.lab, **form).partition("<macAddress>")[2].partition("<")[0]
        self.node.ip(f"link add eth1 address {mac} type veth peer name far1", "link set eth1 up", "link set far1 up")

    def close(self) -> None:
        self.fake.terminate()
        self.fake.wait()
        self.fake.stdout.close()


@pytest.mark.root
def test_the_plans_are_what_comes_out(node: Any, tmp_path: Path) -> None:
    """Of a take-over on a node that has nothing yet, of a service that another node has; and then of a release."""
    example = Example(node, tmp_path)
    try:
        with node.entered():
            attach(example.url, example.lab)
        example.add_interface()
        for words, shown in consoles():
            done = example.run(*words)
            assert shown == example.shown(done.stdout), done.stderr
            assert 1 == done.returncode
            done = example.run("takeover", "db")
            assert 0 == done.returncode, done.stderr
    finally:
        example.close()


def consoles() -> list[tuple[list[str], list[str]]]:
    """The words of each command that is shown, and what it prints."""
    found = re.findall(r"^```console\n\$ ec2ident-failover (.*?)\n(.*?)^```$", EXAMPLE, re.MULTILINE | re.DOTALL)
    return [(words.split(), shown.splitlines()) for words, shown in found]
