"""A network namespace of one's own: made for a test, entered by it, and gone after it."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import pytest

from ec2ident_agent import cli
from ec2ident_agent.kernel.change import NetlinkKernel
from ec2ident_agent.kernel.protocol import Failure
from ec2ident_agent.kernel.table_names import NamedKernel
from tests.lab.recipe import CONFIGURATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ec2ident_agent.items import Step
    from ec2ident_agent.kernel.protocol import Kernel

CLONE_NEWNET = 0x40000000

#: How a program's output becomes text, in every locale and whatever its bytes are.
TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}


def enter(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def ip(*words: str) -> str:
    """Run one `ip` command where we are; its output."""
    argv = ["ip", *" ".join(words).split()]
    done: subprocess.CompletedProcess[str] = subprocess.run(argv, capture_output=True, **TEXT, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


def snapshot() -> str:
    """All rules, routes and addresses, as text: what has to be byte-equal before and after.

    But for the kernel's own multicast routes, which stand in the order in which links happened to come up. An IPv6
    address has its route in the table local when IPv6 comes to it: waited for.
    """
    end = time.monotonic() + 30
    while True:
        text = at_this_moment()
        if all(f"local {address} dev " in text for address in re.findall(r"inet6 ([0-9a-f:]+)", text)):
            return text
        assert time.monotonic() < end, text
        time.sleep(0.005)


def at_this_moment() -> str:
    addresses = (line for line in ip("-d address").splitlines() if line.lstrip().startswith("inet"))
    families = ("-4", "-6")
    routes = [line for family in families for line in ip("-d", family, "route show table all").splitlines()]
    kept = (line for line in routes if not line.startswith("multicast ff00::/8 "))
    return "\n".join([*(ip("-d", family, "rule") for family in families), *kept, *addresses])


@pytest.fixture
def node() -> Iterator[str]:
    """Inside: lo, eth0 10.0.0.10/24 and eth1 10.0.1.10/24, with IPv6, and the other ends in the same place."""
    name = f"ec2ident-{os.getpid()}-{os.urandom(3).hex()}"
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    ip("netns add", name)
    try:
        inside = os.open(f"/run/netns/{name}", os.O_RDONLY)
        enter(inside)
        os.close(inside)
        ip("link set lo up")
        for number in (0, 1):
            plug(f"eth{number}", number)
        yield name
    finally:
        enter(outside)
        os.close(outside)
        ip("netns del", name)


def plug(device: str, number: int) -> None:
    """A veth pair as an ENI. Without link-local addresses, so that nothing settles later by itself."""
    peer = f"r{number}"
    ip("link add", device, f"address 06:00:00:00:00:0{number} type veth peer name", peer)
    for each in (device, peer):
        ip("link set", each, "addrgenmode none")
        ip("link set", each, "up")
    ip("address add", f"10.0.{number}.10/24 dev", device)
    ip("address add", f"fd00:0:0:{number}::10/64 dev", device, "nodad")
    if number == 0:
        ip("route add default via 10.0.0.1 dev", device)
    own = ip_address(f"fd00:0:0:{number}::10")
    settle(f"local {own} dev {device} ", f"multicast ff00::/8 dev {device} ", f"multicast ff00::/8 dev {peer} ")


def settle(*routes: str) -> None:
    """Wait for the routes that IPv6 adds by itself when it comes to it: a snapshot from before would miss them."""
    end = time.monotonic() + 30
    while True:
        there = ip("-6 route show table local")
        if all(route in there for route in routes):
            return
        assert time.monotonic() < end, f"{routes} did not come: {there}"
        time.sleep(0.005)


def refusing(monkeypatch: pytest.MonkeyPatch, *commands: str) -> None:
    """The real kernel, which refuses these steps, as it does when its memory is short."""
    real = NetlinkKernel.do

    def do(self: NetlinkKernel, steps: Sequence[Step]) -> list[Failure]:
        bad = [step for step in steps if str(step) in commands]
        failures = real(self, [step for step in steps if step not in bad])
        return [*failures, *(Failure(step, 12, "Cannot allocate memory") for step in bad)]

    monkeypatch.setattr(NetlinkKernel, "do", do)


class Agent:
    """The command in this process, with files of its own; what it said is kept."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = directory / "agent.toml"
        self.state = directory / "state"
        self.names = directory / "rt_tables.d"
        self.names.mkdir()
        self.write(CONFIGURATION)
        self.out = self.err = ""
        self._capsys = capsys

    def write(self, text: str) -> None:
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(0o644)

    def argv(self, *words: str) -> list[str]:
        files = (("--config", self.config), ("--state-dir", self.state), ("--names-dir", self.names))
        return [*words, *(str(each) for option in files for each in option)]

    def __call__(self, *words: str) -> int:
        self._capsys.readouterr()
        code = cli.main(self.argv(*words))
        self.out, self.err = self._capsys.readouterr()
        return code

    def process(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """The same in a process of its own."""
        argv = [sys.executable, "-m", "ec2ident_agent", *self.argv(*words)]
        top = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": f"{top}:{top / 'agent'}"}
        options = {"capture_output": True, **options}
        return subprocess.run(argv, env=environment, text=True, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(autouse=True)
def no_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that wants one makes it: nothing here asks the service of the machine that the tests run on."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def no_names_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that this machine's own /etc/iproute2 gives to tables do not count: ec2ident may be at work on it."""
    real = NamedKernel.__init__

    def init(self: NamedKernel, kernel: Kernel, directory: str, system: Sequence[str] = ()) -> None:
        real(self, kernel, directory, system)

    monkeypatch.setattr(NamedKernel, "__init__", init)


@pytest.fixture
def agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Agent:
    return Agent(tmp_path, capsys)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Who mended what, where tests with real managers ran; and at the end of the file that --matrix names."""
    from .matrix import CELL, VERSION, table

    reports = [report for each in ("passed", "failed") for report in terminalreporter.stats.get(each, [])]
    told = [pair for report in reports if report.when == "call" for pair in report.user_properties]
    cells = {tuple(value[:4]): value[4] for name, value in told if name == CELL}
    if not cells:
        return
    versions = sorted({value for name, value in told if name == VERSION})
    lines = [*table(cells), "", f"{date.today()}, with {'; '.join(versions)}."]
    terminalreporter.section("who mended what, and for how long it lacked: eth0 · eth1")
    terminalreporter.write("\n".join(lines) + "\n")
    if config.getoption("--matrix"):
        file = Path(config.getoption("--matrix"))
        before = file.read_text(encoding="utf-8").partition(lines[0])[0] if file.exists() else ""
        file.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")
