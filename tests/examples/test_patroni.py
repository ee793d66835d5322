"""Patroni's configuration: its own validator, sudo's, and the callbacks that the test of a real Patroni runs."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from ec2ident_agent.failover import settings
from ec2ident_agent.failover.leader.callbacks import RELEASE, TAKE, patroni
from tests.lab import packages, pypi

TOP = Path(__file__).parents[2]
FOLDER = TOP / "examples/patroni"
TEXT = (FOLDER / "patroni.yml").read_text(encoding="utf-8")
CALLBACKS: dict[str, str] = yaml.safe_load(TEXT)["postgresql"]["callbacks"]


def test_the_callbacks_are_those_that_a_real_patroni_has_run() -> None:
    """tests/failover/leader/test_patroni.py takes the lines of the shipped example, word for word."""
    shipped = yaml.safe_load((TOP / "agent/ec2ident_agent/install/data/engines/patroni.yml").read_text("utf-8"))

    assert shipped["postgresql"]["callbacks"] == CALLBACKS


def test_each_call_is_one_that_sudo_allows_for_a_service_that_is_described() -> None:
    """The leader takes it, another role and a stop release it; failover.toml also holds with what it suggests."""
    toml = (FOLDER / "failover.toml").read_text(encoding="utf-8")
    (allowed,) = re.findall(
        r"^postgres ALL=\(root\) NOPASSWD: (.*) \*$", (FOLDER / "sudoers").read_text(), re.MULTILINE
    )
    for line in CALLBACKS.values():
        words = shlex.split(line)
        assert ["sudo", "-n", *allowed.split()] == words
        assert settings.parse(toml.encode()).service(words[-1]).overlay
    calls = [
        ("on_start", "primary"),
        ("on_role_change", "primary"),
        ("on_role_change", "replica"),
        ("on_stop", "primary"),
    ]
    assert {action for action, _ in calls} == set(CALLBACKS)
    assert [TAKE, TAKE, RELEASE, RELEASE] == [patroni([*call, "main"]) for call in calls]

    held, count = re.subn(r"^# (?=\[service\.db\.hold\]|leader = )", "", toml, flags=re.MULTILINE)
    assert 2 == count
    assert settings.parse(held.encode()).service("db").hold


@pytest.mark.full
def test_patroni_finds_its_configuration_valid(tmp_path: Path) -> None:
    """`patroni --validate-config` asks PostgreSQL for its version and etcd for an answer; a mistyped key is named."""
    try:
        environment = pypi.environment("patroni[raft]", "psycopg2-binary")
        roots = (packages.tree("postgresql"), Path("/"))
    except packages.Unavailable as why:
        pytest.skip(str(why))
    binaries = [
        found for root in roots for found in root.glob("usr/lib/postgresql/*/bin") if (found / "initdb").exists()
    ]
    with closing(socket.create_server(("127.0.0.1", 0))) as etcd:
        port = etcd.getsockname()[1]
        text = TEXT.replace("/var/lib/postgresql/15/main", str(tmp_path / "data"))
        text = text.replace("/usr/lib/postgresql/15/bin", str(binaries[0]))
        # What it tries to listen on, and to connect to, is here.
        text = re.sub(r"listen: .*", "listen: 127.0.0.1:0", text)
        text = re.sub(r"hosts: .*", f"hosts: 127.0.0.1:{port}", text)
        path = tmp_path / "patroni.yml"

        def validate(text: str) -> subprocess.CompletedProcess[str]:
            path.write_text(text)
            argv = [str(environment / "bin/python3"), str(environment / "bin/patroni"), "--validate-config", str(path)]
            return subprocess.run(argv, env={"PATH": os.defpath}, capture_output=True, text=True, timeout=60)

        done = validate(text)
        assert (0, "") == (done.returncode, done.stdout + done.stderr)
        done = validate(text.replace("data_dir:", "data_dirs:"))
        assert "data_dir" in done.stdout + done.stderr


@pytest.mark.full
def test_sudo_reads_its_file(tmp_path: Path) -> None:
    """`visudo -c` accepts it, and refuses it without the user."""
    try:
        root = packages.tree("sudo")
    except packages.Unavailable as why:
        pytest.skip(str(why))

    def check(text: str) -> int:
        (tmp_path / "sudoers").write_text(text)
        environment = {"PATH": os.defpath, "LD_LIBRARY_PATH": str(root / "usr/libexec/sudo")}
        argv = [str(root / "usr/sbin/visudo"), "-c", "-f", str(tmp_path / "sudoers")]
        return subprocess.run(argv, env=environment, capture_output=True, timeout=60).returncode

    text = (FOLDER / "sudoers").read_text(encoding="utf-8")
    assert 0 == check(text)
    assert 0 != check(text.replace("postgres ALL", "ALL"))
