"""The Ansible role: ansible-lint, and the configuration files that it writes, by the programs' own readers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

import ec2ident
from ec2ident_agent import config
from ec2ident_agent.failover import settings
from tests.lab import pypi
from tests.lab.packages import Unavailable

FOLDER = Path(__file__).parents[2] / "examples/ansible"
ROLE = FOLDER / "roles/ec2ident"
NODES = yaml.safe_load((FOLDER / "inventory.yml").read_text("utf-8"))["nodes"]
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))


def rendered(name: str, **variables: Any) -> bytes:
    """A template of the role as Ansible renders it: blocks end with their line, and an unknown name is an error."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    text = (ROLE / f"templates/{name}.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render({**DEFAULTS, **NODES["vars"], **variables}).encode()


def test_the_agents_configuration_is_what_the_inventory_says() -> None:
    """Sections and overlays with any of their keys; without any, a file that configures nothing."""
    found = config.parse("agent.toml", rendered("agent.toml"))
    assert (["eth1"], 0) == ([each.name for each in found.sections], len(found.overlays))

    eth1 = {"name": "eth1", "subnet": "10.0.1.0/24", "routes": ["10.50.0.0/16"], "table": 100, "scheme": "split"}
    overlay = {"address": "192.168.10.10/32", "device": "eth0", "label": "eth0:1"}
    found = config.parse("agent.toml", rendered("agent.toml", ec2ident_interfaces=[eth1], ec2ident_overlays=[overlay]))
    (section,), (held,) = found.sections, found.overlays
    assert (("10.0.1.0/24",), 100, "split") == (section.subnets, section.table, section.scheme)
    assert ("192.168.10.10/32", "eth0", "eth0:1") == (held.address, held.device, held.label)

    assert () == tuple(config.parse("agent.toml", rendered("agent.toml", ec2ident_interfaces=[])).sections)


def test_the_configuration_of_failover_is_what_the_inventory_says() -> None:
    """Each service with its tables; the keys before them as they stand in the inventory."""
    given = NODES["vars"]["ec2ident_failover"]
    found = settings.parse(rendered("failover.toml"))

    (service,) = given["services"]
    read = found.service(service["name"])
    assert read.route
    assert (given["region"], tuple(given["instances"])) == (found.region, found.instances)
    assert (service["device"], tuple(service["tables"])) == (read.device, read.route.select.tables)


def test_the_wheel_is_this_versions() -> None:
    """The name that the role copies is that which scripts/build makes."""
    assert f"ec2ident-{ec2ident.__version__}-py3-none-any.whl" == Path(DEFAULTS["ec2ident_wheel"]).name


@pytest.mark.full
def test_ansible_lint_finds_nothing(tmp_path: Path) -> None:
    """By its strictest profile; among its rules is `ansible-playbook --syntax-check`."""
    try:
        environment = pypi.environment("ansible-lint==25.*")
    except Unavailable as why:
        pytest.skip(str(why))
    # The environment was moved to where it is, so its programs are started by its Python.
    for program in environment.glob("bin/ansible*"):
        start = tmp_path / "bin" / program.name
        start.parent.mkdir(exist_ok=True)
        start.write_text(f'#!/bin/sh\nexec {environment}/bin/python3 {program} "$@"\n')
        start.chmod(0o755)
    # It writes caches beside what it reads.
    shutil.copytree(FOLDER, tmp_path / "ansible")
    variables = {
        "PATH": f"{tmp_path / 'bin'}:{os.defpath}",
        "HOME": str(tmp_path),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
    }
    argv = [str(tmp_path / "bin/ansible-lint"), "--offline", "--profile", "production", "--nocolor"]
    done = subprocess.run(argv, cwd=tmp_path / "ansible", env=variables, capture_output=True, text=True, timeout=110)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Passed: 0 failure(s), 0 warning(s) in 9 files" in done.stderr
