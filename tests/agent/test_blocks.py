"""The commands for ec2ident-agent in README and the docs, typed as they stand, on a node of their own.

Each block begins on a fresh node with README's configuration. Files below / are those of a Debian in a directory.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent import cli
from tests.agent.install.test_installer import make
from tests.blocks import TOP, Block, run_by

from .conftest import Agent
from .test_trouble import NETWORKD, fill

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

PROGRAM = "/opt/ec2ident/bin/ec2ident-agent"
#: Commands that end with another exit code than 0, in the order in which their pages have them.
CODES = {
    "plan": 1,
    "adopt --dry-run": 1,
    "install --dry-run": 1,
    "warm --dry-run": 1,
    "doctor": 1,
    "doctor --json": 1,
    "doctor --fix --dry-run": 1,
}
#: NetworkManager with nm-cloud-setup, which the doctor switches off where the command names it.
CLOUD_SETUP = {
    "etc/systemd/system/multi-user.target.wants/NetworkManager.service": "",
    "etc/systemd/system/timers.target.wants/nm-cloud-setup.timer": "",
    "etc/systemd/system/nm-cloud-setup.service.d/10-ec2.conf": "[Service]\nEnvironment=NM_CLOUD_SETUP_EC2=yes\n",
}
#: A volume, which a file stands for.
VOLUME = "/dev/nvme1n1"


class Typed:
    """A reader who types commands: where each looks for its files, and how it is run."""

    def __init__(self, agent: Agent, tmp_path: Path, sockets: Path) -> None:
        self.agent, self.root, self.state = agent, str(tmp_path / "root"), str(tmp_path / "warm")
        self.sockets = sockets
        make(tmp_path / "root", "debian")
        # Managers that delete what belongs to others, for the doctor.
        fill(tmp_path / "root", {name: text for name, text in NETWORKD.items() if "ec2ident" not in name})
        fill(tmp_path / "root", CLOUD_SETUP)
        self.volume = tmp_path / "volume"
        self.volume.write_bytes(b"\0" * 4096)

    def __call__(self, *words: str) -> int:
        verb, *options = words
        options = [str(self.volume) if word == VOLUME else word for word in options]
        if verb == "watch":
            return self.watch()
        if verb == "install":
            return cli.main([verb, *options, "--root", self.root, "--program", PROGRAM])
        if verb == "uninstall":
            return cli.main([verb, *options, "--root", self.root])
        if verb == "warm":
            return cli.main([verb, *options, "--state-dir", self.state])
        return self.agent(verb, *options, *(("--root", self.root) if verb in ("adopt", "doctor") else ()))

    def watch(self) -> int:
        """Until it says that it is at work, as to systemd (sd_notify(3)); then the administrator ends it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self.sockets / "manager"))
            manager.settimeout(60)
            paths = {"PYTHONPATH": f"{TOP}:{TOP / 'agent'}", "NOTIFY_SOCKET": str(manager.getsockname())}
            argv = [sys.executable, "-m", "ec2ident_agent", *self.agent.argv("watch")]
            with subprocess.Popen(argv, env={**os.environ, **paths}) as process:
                while b"READY=1" not in manager.recv(4096):
                    pass
                process.terminate()
                return process.wait(60)


@pytest.mark.parametrize("block", run_by(__file__), ids=str)
def test_the_commands_of_a_block_do_what_they_say(block: Block, agent: Agent, tmp_path: Path, open_path: Path) -> None:
    """One after the other, as printed: each is understood, and ends with the exit code that it should."""
    typed = Typed(agent, tmp_path, open_path)

    for program, *words in block.commands():
        assert "ec2ident-agent" == program
        plain = " ".join(word for word in words if word != VOLUME)
        assert CODES.get(plain, 0) == typed(*words), (block.page, words, agent.out, agent.err)


def test_there_are_blocks_to_run() -> None:
    """Of README, the page of the agent, the doctor's, the hooks', the clusters' and that of volumes."""
    pages = {
        "README.md",
        "docs/agent.md",
        "docs/cluster.md",
        "docs/doctor.md",
        "docs/hooks.md",
        "docs/install.md",
        "docs/warm.md",
    }

    assert pages <= {block.page for block in run_by(__file__)}
