"""The program `vtysh` under a deadline: what it answers, and what it does instead of an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ec2ident_agent.failover.bgp import vtysh
from ec2ident_agent.failover.bgp.vtysh import SpeakerGoneError
from ec2ident_agent.failover.cli import main
from ec2ident_agent.failover.errors import ApiUnknownError, OutOfTimeError, UsageError
from tests.failover.environment import ENVIRONMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]

WORDS = vtysh.command("show bgp summary json")
#: What FRR 8.4.4 says where the daemon does not run (exit code 1), as root and otherwise.
GONE = "Exiting: failed to connect to any daemons.\\n"
HINT = "Hint: if this seems wrong, try running me as a privileged user!\\n"

TOML = """
instance = "i-0a1b2c3d4e5f60001"
[service.db]
overlay = "192.168.10.5"
device = "eth0"
[service.db.bgp]
asn = 65001
endpoint_asn = 65000
endpoints = "10.0.1.11"
"""


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Put a `vtysh` first in PATH that does this, in the shell."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(script: str) -> None:
        path = tmp_path / "vtysh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


def test_an_answer(says: Say) -> None:
    """Each line of a question is one word of the program, which nothing interprets."""
    says('printf "%s|" "$@"')

    assert vtysh.run(vtysh.configuring(["set metric 5", "$(id)"]), 5) == (
        "-d|bgpd|-c|configure terminal|-c|set metric 5|-c|$(id)|"
    )


def test_credentials_of_the_environment_do_not_reach_it(says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor anything else: PATH, and what makes its answers the same everywhere (the shell adds PWD and its own)."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("VTYSH_LOG", "/tmp/log")
    says("env")

    names = {line.partition("=")[0] for line in vtysh.run(WORDS, 5).splitlines()}

    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LC_ALL", "VTYSH_PAGER"}


def test_a_daemon_that_does_not_run(says: Say) -> None:
    """It is certain (4) and not unknown, because then nothing is announced."""
    says(f'printf "{GONE}" >&2; exit 1')

    with pytest.raises(SpeakerGoneError, match="does not run") as caught:
        vtysh.run(WORDS, 5)
    assert caught.value.exit == 4


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f'printf "{GONE}{HINT}" >&2; exit 1', "privileged"),
        (f'printf "{GONE}"; kill -9 $$', "failed to connect"),
        ("echo '% Unknown command'; exit 1", "Unknown command"),
        ("exit 1", "exit code 1"),
        ("printf '\\377'", "not UTF-8"),
        ("yes", "more than"),
    ],
)
def test_what_is_unknown(says: Say, script: str, said: str) -> None:
    """Without the rights the daemon may well run; a command that is refused says nothing about the announcement."""
    says(script)

    with pytest.raises(ApiUnknownError, match=said) as caught:
        vtysh.run(WORDS, 20)
    assert caught.value.exit == 3


@pytest.mark.parametrize(
    "script", ["sleep 60", "exec >&- 2>&-; exec sleep 60", "while :; do printf x; sleep 0.01; done"]
)
def test_a_daemon_that_hangs_costs_its_seconds(
    says: Say, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it closes its output, or drips. The process is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    says(f"echo $$ >pid; {script}")

    with pytest.raises(OutOfTimeError, match="no answer"):
        vtysh.run(WORDS, 0.3)

    assert not Path(f"/proc/{Path('pid').read_text().strip()}").exists()


def test_without_frr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node is not set up: 2."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match="needs FRR"):
        vtysh.run(WORDS, 5)


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (f'printf "{GONE}" >&2; exit 1', 1, "does not run"),
        ("echo nonsense", 3, "not JSON"),
        ("echo '{}'", 2, "no neighbor"),
    ],
)
def test_status_has_three_answers(
    says: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, code: int, said: str
) -> None:
    """A daemon that does not run announces nothing (1); what is not understood is unknown (3)."""
    says(script)
    path = tmp_path / "failover.toml"
    path.write_text(TOML)
    path.chmod(0o600)

    main(["status", "db", "--config", str(path), "--json"], environ=ENVIRONMENT)

    answers = json.loads(capsys.readouterr().out)
    answer = next(each for each in answers if each["part"] == "bgp")
    assert (answer["exit"], answer["answer"]) == (code, {1: "no"}.get(code, "cannot tell"))
    assert said in answer["findings"][0]["text"]
