"""What failover's tests share: one fake of the API, which is reset for each of them, and ways to use it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from ec2ident_agent.failover.aws import consistency
from ec2ident_agent.failover.aws.client import Access, Api
from ec2ident_agent.failover.aws.deadline import Deadline

from .environment import ENVIRONMENT as ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from .fake import Fake

#: What outlasts the deadline is left to its thread, with its socket; that is the design, and no leak of a test's. When
#: it is collected is chance, and so is the test that runs then.
LEFT = (
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for each in LEFT:
                item.add_marker(pytest.mark.filterwarnings(each))


@pytest.fixture(scope="session")
def _server() -> Iterator[Fake]:
    pytest.importorskip("moto", "5.1", reason="needs moto 5.1")
    from .fake import Fake

    with Fake() as found:
        yield found


#: How old a read may be in a test of a move, and how long a move then waits to exclude that; in seconds.
STALE, SETTLED = 0.5, 1.0


@pytest.fixture
def consistent() -> bool:
    """Whether every read shows the present. A test module of a move overrides this with `either_consistency`."""
    return True


@pytest.fixture(params=[True, False], ids=["current", "stale"])
def either_consistency(request: pytest.FixtureRequest) -> bool:
    """A test of a move runs twice: with reads of the present, and with reads of any moment of the last STALE."""
    return bool(request.param)


@pytest.fixture(autouse=True)
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a verb remembers without --state-dir stays in the test's own directory."""
    monkeypatch.setattr("ec2ident_agent.state.journal.STATE_DIRECTORY", str(tmp_path / "state"))


@pytest.fixture
def aws(_server: Fake, consistent: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """The fake, reset. A test in which the fake itself broke proves nothing, so it fails."""
    monkeypatch.setattr(consistency, "SETTLED", SETTLED)
    _server.reset()
    _server.settings(stale=0.0 if consistent else STALE)
    yield _server
    assert [] == _server.crashes


class QuietClock:
    """What a deadline counts: its own pauses, and all the time from the first fault that keeps a call waiting.

    The work before and beside that, which may take long on a busy machine, is left out.
    """

    def __init__(self, aws: Fake) -> None:
        self.aws = aws
        self.paused = 0.0

    def __call__(self) -> float:
        met = [fault.met for fault in self.aws.faults if fault.met is not None and (fault.hang or fault.drip)]
        return self.paused + (time.monotonic() - min(met) if met else 0.0)

    def sleep(self, seconds: float) -> None:
        # Threads pause at the same time.
        end = self.paused + seconds
        time.sleep(seconds)
        self.paused = max(self.paused, end)


@pytest.fixture
def quiet(aws: Fake, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Deadline]:
    """Makes deadlines by a QuietClock; those of the command line, which `run` runs, are such ones too."""
    clock = QuietClock(aws)
    made = partial(Deadline, clock=clock, sleep=clock.sleep)
    monkeypatch.setattr("ec2ident_agent.failover.command.Deadline", made)
    return made


@pytest.fixture
def make_api(aws: Fake) -> Iterator[Callable[..., Api]]:
    """An Api on the fake; `log` collects what it said. The deadline is one, or its seconds."""
    made: list[Api] = []

    def make(
        until: Deadline | float = 30.0, environ: Mapping[str, str] = ENVIRONMENT, log: Any = None, **access: Any
    ) -> Api:
        given = {"region": aws.region, "endpoint": aws.url, **access}
        deadline = until if isinstance(until, Deadline) else Deadline(until)
        made.append(Api(Access(**given), deadline, environ=environ, log=log or (lambda line: None)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()


def configuration(aws: Fake, tail: str = "", *, top: str = "") -> str:
    """A whole failover.toml for the fake's laboratory."""
    lab = aws.lab
    return f"""
region = "{lab.region}"
endpoint = "{aws.url}"
account = "{lab.account}"
instances = ["{lab.node1}", "{lab.node2}"]
interfaces = ["{lab.eni1}", "{lab.eni2}"]
deadline = 10
{top}
[service.db]
overlay = ["192.168.10.5/32"]
device = "eth0"
[service.db.route]
tables = ["{lab.tables[0]}", "{lab.tables[1]}"]
{tail}
"""


@pytest.fixture
def run(aws: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command line: returns exit code, output lines, and the log as one text."""
    from ec2ident_agent.failover.cli import main

    path = tmp_path / "failover.toml"

    def call(*arguments: str, config: str | None = None, instance: str = "") -> tuple[int, list[str], str]:
        path.write_text(configuration(aws) if config is None else config, encoding="utf-8")
        path.chmod(0o600)
        words = [*arguments, "--config", str(path), "--instance", instance or aws.lab.node1]
        words += [] if "--state-dir" in arguments else ["--state-dir", str(tmp_path / "state")]
        code = main(words, environ=ENVIRONMENT, root="/nonexistent")
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return call


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the cluster did under each fault, where one ran; and at the end of the file that --matrix names."""
    from .cluster.matrix import ROW, VERSION, table

    reports = [report for each in ("passed", "failed") for report in terminalreporter.stats.get(each, [])]
    told = [pair for report in reports if report.when == "call" for pair in report.user_properties]
    rows = [value for name, value in told if name == ROW]
    if not rows:
        return
    lines = table(rows, (value for name, value in told if name == VERSION))
    terminalreporter.section("faults of a cluster, seen from outside")
    terminalreporter.write("\n".join(lines) + "\n")
    if config.getoption("--matrix"):
        file = Path(config.getoption("--matrix"))
        before = file.read_text(encoding="utf-8").partition(lines[0])[0] if file.exists() else ""
        file.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")
