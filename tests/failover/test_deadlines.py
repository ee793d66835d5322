"""Every verb and every agent's action ends within its deadline, wherever the API, or anything else, hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from ec2ident_agent.failover.aws.deadline import Deadline, bounded
from ec2ident_agent.failover.pacemaker import agent as ocf

from . import hostile
from .conftest import configuration
from .environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from .fake import Fake

pytestmark = pytest.mark.full

TOP = Path(__file__).parents[2]

#: Seconds that a verb gets here, and what a busy machine may add; a socket's own limits, and botocore's, are longer.
DEADLINE, PATIENCE = "0.3", 8.0

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<a>"
HANGS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "at connect": hostile.full,
    "at read": lambda: hostile.serving(hostile.silent),
    "dripping": lambda: hostile.serving(hostile.dripping(HEAD)),
}

ENI, TABLE, SUBNET, VPC = "eni-0a1b2c3d", "rtb-0a1b2c3d", "subnet-0a1b2c3d", "vpc-0a1b2c3d"
NAME = ("--zone", "Z0123456789", "--name", "db.example.corp")
VERBS: dict[str, tuple[str, ...]] = {
    "route ensure": ("--overlay", "192.168.10.5", "--table", TABLE),
    "route status": ("--overlay", "192.168.10.5", "--tag", "Service=db"),
    "route delete": ("--overlay", "192.168.10.5", "--vpc", VPC),
    "eni create": ("--subnet", SUBNET),
    "eni status": ("--id", ENI),
    "eni move": ("--address", "10.0.1.5"),
    "dns status": (*NAME, "--value", "10.0.0.1"),
    "dns ensure": NAME,
    "dns zone": ("--name", "example.corp", "--vpc", VPC),
    "takeover db": (),
    "policy": ("--account", ""),
}


def whole(aws: Fake) -> str:
    parts = f'[service.db.eni]\nid = "{aws.lab.service_eni}"\n[service.db.dns]\nzone = "{aws.lab.zone}"\n'
    return configuration(aws, f'{parts}name = "db.awslab.mycompany.corp"\nwait = true')


@pytest.mark.parametrize("where", HANGS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_ends_while_the_api_hangs(
    aws: Fake, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, verb: str, where: str
) -> None:
    """Could not tell (3), with the call that it hung in. The time begins with the first call."""
    first: list[float] = []

    def begins(*given: Any) -> Any:
        first.append(time.monotonic())
        return bounded(*given)

    monkeypatch.setattr("ec2ident_agent.failover.aws.client.bounded", begins)
    clock = partial(Deadline, clock=lambda: time.monotonic() - first[0] if first else 0.0)
    monkeypatch.setattr("ec2ident_agent.failover.command.Deadline", clock)
    config = whole(aws).replace(f'account = "{aws.lab.account}"\n', "")
    words = [word for word in (*verb.split(), *VERBS[verb]) if word != "--account"]
    with HANGS[where]() as url:
        began = time.monotonic()
        code, _, log = run(*filter(None, words), "--endpoint", url, "--deadline", DEADLINE, config=config)
        spent = time.monotonic() - began

    assert 3 == code, log
    assert "within 0.3 s" in log or "no answer within" in log
    assert any(service in log for service in ("ec2:", "route53:", "sts:"))
    assert spent < PATIENCE


#: Each verb that writes, in each of its writes: some of it is done then, and a second run does the rest.
WRITES = (
    ("route ensure db", "ReplaceRoute"),
    ("route delete db", "DeleteRoute"),
    ("eni create --subnet SUBNET", "CreateNetworkInterface"),
    ("eni move db", "AttachNetworkInterface"),
    ("dns ensure db", "ChangeResourceRecordSets"),
    ("dns ensure db", "GetChange"),
    ("takeover db", "AttachNetworkInterface"),
    ("takeover db", "ReplaceRoute"),
    ("takeover db", "ChangeResourceRecordSets"),
    ("takeover db", "GetChange"),
)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("verb", "action"), WRITES)
def test_a_verb_ends_while_a_write_hangs_and_the_next_run_finishes(
    aws: Fake, run: Callable[..., Any], verb: str, action: str
) -> None:
    """Could not tell: it may have been done."""
    words = verb.replace("SUBNET", aws.lab.subnet_a2).split()
    aws.settings(insync=0.2)
    aws.fault(action=action, hang=True)
    began = time.monotonic()
    code, lines, log = run(*words, "--deadline", "4", config=whole(aws))
    spent = time.monotonic() - began

    assert (3, True) == (code, action in log), (lines, log)
    assert spent < 10 * PATIENCE
    aws.faults.clear()
    assert 0 == run(*words, config=whole(aws))[0]


@pytest.mark.parametrize("verb", ["route ensure", "dns ensure", "eni status", "takeover db"])
@pytest.mark.parametrize("where", HANGS)
def test_a_verb_ends_while_the_metadata_service_hangs(
    aws: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, where: str
) -> None:
    """Which is asked for the region and the instance where nothing else tells them."""
    from ec2ident_agent.failover.cli import main

    path = tmp_path / "failover.toml"
    path.write_text(whole(aws).replace(f'region = "{aws.lab.region}"\n', ""))
    path.chmod(0o600)
    with HANGS[where]() as url:
        environ = {**ENVIRONMENT, "AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
        began = time.monotonic()
        words = [*verb.split(), *VERBS[verb], "--config", str(path), "--deadline", DEADLINE]
        code = main(words, environ=environ, root="/nonexistent")
        spent = time.monotonic() - began

    assert (3, True) == (code, "metadata service: " in capsys.readouterr().err)
    assert spent < PATIENCE
    assert [] == aws.calls()


# The cluster's agents, each in a process of its own, as the engine starts them


def agent(kind: str, action: str, tmp_path: Path, **given: str) -> tuple[int, str, float]:
    """Run an action with two seconds to live; returns its exit code, its log and the seconds it took."""
    mine = {
        "overlay": {"address": "192.0.2.5", "tables": TABLE},
        "eni": {"id": ENI},
        "dns": {"zone": "Z0123456789", "name": "db.example.corp"},
    }
    common = {"region": "us-east-1", "instance": "i-0a1b2c3d", "state_dir": str(tmp_path)}
    environ = {
        **ENVIRONMENT,
        "PYTHONPATH": f"{TOP}:{TOP / 'agent'}",
        "PATH": os.environ["PATH"],
        "OCF_RESKEY_CRM_meta_timeout": "2000",
        "OCF_RESKEY_CRM_meta_interval": "10000",
        "OCF_CHECK_LEVEL": "10",
        **{f"OCF_RESKEY_{name}": value for name, value in {**common, **mine[kind], **given}.items()},
    }
    began = time.monotonic()
    command = [sys.executable, "-m", "ec2ident_agent.failover.pacemaker.agent", kind, action]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr, time.monotonic() - began


@pytest.mark.parametrize("where", HANGS)
@pytest.mark.parametrize("kind", ["overlay", "eni", "dns"])
def test_an_agents_start_ends_while_the_api_hangs(tmp_path: Path, kind: str, where: str) -> None:
    """As a failure, with its reason in the engine's form, before the engine would kill it."""
    with HANGS[where]() as url:
        code, log, spent = agent(kind, "start", tmp_path, endpoint=url)

    assert (ocf.GENERIC, 1) == (code, log.count("ocf-exit-reason:")), log
    assert "within" in log
    assert spent < 2 + PATIENCE


@pytest.mark.parametrize("where", HANGS)
def test_an_agents_deep_monitor_ends_while_the_api_hangs(tmp_path: Path, where: str) -> None:
    """As a success, because it cannot tell; and a stop asks nothing."""
    (tmp_path / "ocf").mkdir()
    (tmp_path / "ocf/dns-dns").touch()
    with HANGS[where]() as url:
        code, log, spent = agent("dns", "monitor", tmp_path, endpoint=url)
        # On a busy machine the time may end before the call that cannot tell.
        assert (ocf.SUCCESS, True) == (code, "cannot tell: " in log or "not done within" in log), log
        assert spent < 2 + PATIENCE
        assert ocf.SUCCESS == agent("dns", "stop", tmp_path, endpoint=url)[0]


def test_a_stop_does_not_wait_for_a_journal_that_is_a_pipe(tmp_path: Path) -> None:
    """Opening a pipe without a writer would wait for ever. The address is not on this node, so the stop is done."""
    os.mkfifo(tmp_path / "journal")
    code, log, spent = agent("overlay", "stop", tmp_path)

    assert (ocf.SUCCESS, True) == (code, f"{tmp_path}/journal" in log), log
    assert spent < 2 + PATIENCE


def test_the_deadline_does_not_end_an_action_that_is_done() -> None:
    """Python takes its signal handlers away while it exits: the timer would kill the process, with SIGALRM for a code.

    The process lives on here, past the action's deadline of 0.2 s.
    """
    script = (
        "import sys, time\n"
        "from ec2ident_agent.failover.pacemaker import agent as ocf\n"
        "code = ocf.main(['dns', 'meta-data'], {'OCF_RESKEY_CRM_meta_timeout': '200'})\n"
        "time.sleep(0.6)\n"
        "sys.exit(code)\n"
    )
    environ = {"PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=30)

    assert (ocf.SUCCESS, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("action", "interval", "level", "code"),
    [
        ("start", "", "", ocf.GENERIC),
        ("stop", "", "", ocf.GENERIC),
        ("monitor", "10000", "10", ocf.SUCCESS),
        ("monitor", "10000", "0", ocf.GENERIC),
        ("monitor", "0", "10", ocf.GENERIC),
    ],
)
def test_an_agent_that_is_ended_says_what_harms_least(action: str, interval: str, level: str, code: int) -> None:
    """A deep monitor, which could not ask: it runs as before. All others could not look at this node, or not act."""
    script = (
        "import sys, time\n"
        "from ec2ident_agent.failover.pacemaker import agent as ocf\n"
        "from ec2ident_agent.failover.pacemaker.request import read\n"
        f"given = {{'OCF_RESKEY_CRM_meta_timeout': '700', 'OCF_RESKEY_CRM_meta_interval': {interval!r},"
        f" 'OCF_CHECK_LEVEL': {level!r}}}\n"
        f"ocf._end_at(read('dns', {action!r}, given))\n"
        "time.sleep(60)\n"
    )
    environ = {"PYTHONPATH": f"{TOP}:{TOP / 'agent'}"}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=30)

    assert (code, f"ocf-exit-reason:{action}: not done within 0.2 s\n") == (done.returncode, done.stderr)
