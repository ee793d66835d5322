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

from ec2ident_agent.failover import policy, settings

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
    form = {"Action": "AttachNetworkInterface", "Version": "2016-11-15", **target}
    head = {"Authorization": f"AWS4-HMAC-SHA256 Credential=T/20260101/{lab['region']}/ec2/aws4_request, x"}
    urllib.request.urlopen(urllib.request.Request(url, urlencode(form).encode(), head), timeout=20).close()


@pytest.mark.root
def test_the_plan_is_what_comes_out(node: Any, tmp_path: Path) -> None:
    """On a node that has nothing yet, of a service that another node has."""
    fake = node.start(
        *(sys.executable, "-m", "tests.failover.fake", "--region", "eu-west-1"), stdout=subprocess.PIPE, cwd=TOP
    )
    hello = json.loads(fake.stdout.readline())
    pairs = translation(hello["lab"])
    with node.entered():
        attach(hello["url"], hello["lab"])
    path = tmp_path / "failover.toml"
    first = next(iter(pairs.values()))
    path.write_text(f'endpoint = "{hello["url"]}"\ninstance = "{first}"\n' + replaced(block("toml"), pairs))
    path.chmod(0o600)
    environ = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
    command, _, shown = block("console").partition("\n")
    words = command.partition("$ ec2ident-failover ")[2].split()
    files = ("--config", str(path), "--state-dir", str(tmp_path / "state"))
    done = node.run(sys.executable, "-m", "ec2ident_agent.failover.cli", *words, *files, env=environ)
    fake.terminate()
    fake.wait()
    fake.stdout.close()

    said = replaced(done.stdout, {new: old for old, new in pairs.items()})
    said = re.sub(r"(?<=# wait for )[0-9a-f:]{17}", "06:0a:1b:2c:3d:4e", said)
    said = re.sub(r"eni-attach-[0-9a-f]{17}", "eni-attach-0a1b2c3d4e5f60005", said)
    assert shown.splitlines() == said.splitlines(), done.stderr
    assert 1 == done.returncode
