"""The user data: cloud-init's own schema, the agent's own reader, and the script that an instance runs."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import ec2ident
from ec2ident_agent import config
from tests.lab.packages import Unavailable, tree

FILE = Path(__file__).parents[2] / "examples/cloud-init/user-data.yaml"
TEXT = FILE.read_text(encoding="utf-8")
FILES: dict[str, dict[str, Any]] = {each["path"]: each for each in yaml.safe_load(TEXT)["write_files"]}
SCRIPT = "/usr/local/sbin/install-ec2ident"
WHEEL = f"ec2ident-{ec2ident.__version__}-py3-none-any.whl"

#: What the script calls, each with a line in $CALLS: `curl` copies, and a venv has a pip and an agent.
STUBS = {
    "curl": 'shift $(($# - 3)); cp "$FROM/$2" "$2"',
    "python3": 'mkdir -p "$3/bin"; for each in pip ec2ident-agent; do cp "$0" "$3/bin/$each"; done',
    "pip": "",
    "ec2ident-agent": '[ "$1" != "$FAILING" ]',
}
CASES = "\n".join(f"{name}) {does or ':'} ;;" for name, does in STUBS.items())
STUB = f'#!/bin/sh\necho "${{0##*/}} $*" >>"$CALLS"\ncase ${{0##*/}} in\n{CASES}\nesac\n'


def test_the_agent_reads_its_configuration() -> None:
    """The embedded file, by the reader that refuses every key that it does not know."""
    found = config.parse("/etc/ec2ident/agent.toml", FILES["/etc/ec2ident/agent.toml"]["content"].encode())

    assert (["eth1"], ["192.168.10.10/32"]) == (
        [each.name for each in found.sections],
        [each.address for each in found.overlays],
    )
    assert ("root:root", "0644") == tuple(FILES["/etc/ec2ident/agent.toml"][key] for key in ("owner", "permissions"))


def test_it_runs_what_it_writes() -> None:
    """The header that makes it cloud-config, the script among its files, and this version's wheel."""
    assert TEXT.startswith("#cloud-config\n")
    assert [[SCRIPT]] == yaml.safe_load(TEXT)["runcmd"]
    assert "0755" == FILES[SCRIPT]["permissions"]
    assert 2 == FILES[SCRIPT]["content"].count(WHEEL)


class Node:
    """A place for the script, with the sums of what is fetched, as an administrator writes them into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        for each in ("from", "stubs", "links"):
            (folder / each).mkdir()
        for name in ("curl", "python3"):
            (folder / "stubs" / name).write_text(STUB)
            (folder / "stubs" / name).chmod(0o755)
        text = FILES[SCRIPT]["content"]
        for name in (WHEEL, "constraints.txt"):
            (folder / "from" / name).write_text(name)
            sum_of_it = hashlib.sha256(name.encode()).hexdigest()
            text, count = re.subn(rf"^0{{64}}(?=  {re.escape(name)}$)", sum_of_it, text, flags=re.MULTILINE)
            assert 1 == count
        for name in ("prefix", "links"):
            text = re.sub(f"^{name}=.*$", f"{name}='{folder / name}'", text, flags=re.MULTILINE)
        self.script = folder / "script"
        # Whether this machine has systemd is its own affair.
        self.script.write_text(text.replace("/run/systemd/system", "/nonexistent"))

    def run(self, failing: str = "") -> int:
        variables = {
            "PATH": f"{self.folder / 'stubs'}:{os.defpath}",
            "CALLS": str(self.calls),
            "FROM": str(self.folder / "from"),
            "FAILING": failing,
        }
        return subprocess.run(["/bin/sh", self.script], env=variables, capture_output=True, timeout=60).returncode

    def steps(self) -> list[str]:
        """What was called since the last time, in short."""
        found = self.calls.read_text().replace(str(self.folder), "").splitlines()
        self.calls.write_text("")
        return [re.sub(r"--(fail|quiet).* (?=-r|--no-deps|--output)", "", each) for each in found]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


FETCHED = [
    f"curl --output {WHEEL} https://artifacts.example.com/ec2ident/{WHEEL}",
    "curl --output constraints.txt https://artifacts.example.com/ec2ident/constraints.txt",
]
INSTALLED = [
    "python3 -m venv /prefix",
    "pip install -r constraints.txt",
    f"pip install --no-deps --force-reinstall ./{WHEEL}",
    "ec2ident-agent apply",
]


def test_the_script_installs_and_may_be_run_again(node: Node) -> None:
    """Libraries by their sums first, then the wheel alone; the configuration is applied before hooks are installed."""
    for _ in range(2):
        assert 0 == node.run()
        assert [*FETCHED, *INSTALLED, "ec2ident-agent install"] == node.steps()
    assert node.folder / "prefix/bin/ec2ident-agent" == (node.folder / "links/ec2ident-agent").readlink()


@pytest.mark.parametrize("name", [WHEEL, "constraints.txt"])
def test_the_script_installs_nothing_with_another_sum(node: Node, name: str) -> None:
    """One byte more in what was fetched, and cloud-init reports a failure."""
    (node.folder / "from" / name).write_text(f"{name} ")

    assert 0 != node.run()
    assert FETCHED == node.steps()


def test_the_script_fails_where_apply_does(node: Node) -> None:
    """No hook is installed for a configuration that is refused."""
    assert 0 != node.run(failing="apply")
    assert [*FETCHED, *INSTALLED] == node.steps()


@pytest.mark.full
def test_cloud_init_finds_its_schema_kept() -> None:
    """By Debian's cloud-init, which refuses a key that it does not know."""
    try:
        packages = tree("cloud-init")
    except Unavailable as error:
        pytest.skip(f"needs Debian's cloud-init: {error}")

    def schema(path: Path) -> subprocess.CompletedProcess[str]:
        argv = ["/usr/bin/python3", "-m", "cloudinit.cmd.main", "schema", "--config-file", str(path)]
        environment = {"PATH": os.defpath, "PYTHONPATH": str(packages / "usr/lib/python3/dist-packages")}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)

    assert (0, f"Valid cloud-config: {FILE}\n") == ((done := schema(FILE)).returncode, done.stdout), done.stderr


@pytest.mark.full
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    """The script as an instance gets it."""
    script = tmp_path / "script"
    script.write_text(FILES[SCRIPT]["content"])
    try:
        done = subprocess.run(["shellcheck", script], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs shellcheck")

    assert (0, "") == (done.returncode, done.stdout)
