"""Lines for systemd's journal: over a real datagram socket, in the journal's native protocol."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent import systemd_journal
from ec2ident_agent.cli import Command, main
from ec2ident_agent.items import Route, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.options import parse_command_line
from ec2ident_agent.systemd_journal import ERROR, SystemdJournal, datagram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def entry(data: bytes) -> dict[str, str]:
    """What the journal reads of a datagram, by the text of the protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found: dict[str, str] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, end, rest = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert b"\n" == end
        found[name.decode()] = value.decode()
        data = rest
    return found


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(10)
        yield journal


def standard_error() -> dict[str, str]:
    """What systemd sets where its journal reads a service's standard error."""
    found = os.fstat(2)
    return {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}


def test_an_entry_has_fields_for_programs(
    listening: socket.socket, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The owner of the socket gets the message, its priority and our fields; standard error gets nothing."""
    journal = SystemdJournal("ec2ident-agent", standard_error(), str(tmp_path / "socket"))
    journal.log("eth1: refused", ERROR, {"owner": "eth1", "event": "trouble", "item": ""})

    assert {
        "MESSAGE": "eth1: refused",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "ec2ident-agent",
        "EC2IDENT_OWNER": "eth1",
        "EC2IDENT_EVENT": "trouble",
    } == entry(listening.recv(65536))
    assert "" == capfd.readouterr().err


@pytest.mark.parametrize("stream", ["", "8:1", "8", "x:y"])
def test_without_the_journal_lines_are_plain(stream: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where the variable names the file of another process's standard error, as below a shell in a service."""
    SystemdJournal("ec2ident-agent", {"JOURNAL_STREAM": stream}, str(tmp_path / "socket")).log("one", ERROR, {"a": "b"})
    assert "one\n" == capfd.readouterr().err


@pytest.mark.parametrize("why", ["missing", "full", "too long"])
def test_what_the_journal_does_not_take_goes_to_standard_error(
    why: str, listening: socket.socket, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the priority in front of each line, which the journal reads there (sd-daemon(3)). Nothing waits."""
    journal = SystemdJournal("ec2ident-agent", standard_error(), str(tmp_path / "socket"))
    text = "first\nsecond"
    if why == "missing":
        (tmp_path / "socket").unlink()
    elif why == "full":
        while not capfd.readouterr().err:
            journal.log("fill")
    else:
        text += "x" * (16 << 20)
    journal.log(text, ERROR)

    first, second = capfd.readouterr().err.splitlines()
    assert "<3>first" == first
    assert second.startswith("<3>second")


NAMES = st.text("ABCXYZ_", min_size=1, max_size=8)


@given(
    st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["C", "Z"], include_characters="\n =")), max_size=5)
)
def test_any_value_is_read_back(fields: dict[str, str]) -> None:
    """Ends of lines, signs of equality, and nothing at all."""
    assert fields == entry(datagram(fields))


def test_no_value_is_a_field_of_its_own() -> None:
    """A name of another program's cannot add a field, and controls are escapes."""
    assert {"MESSAGE": "a\nPRIORITY=0", "OWNER": "\\x1b"} == entry(
        datagram({"MESSAGE": "a\nPRIORITY=0", "OWNER": "\x1b"})
    )


def test_a_closed_standard_error_is_no_journal() -> None:
    """The program finds none, and does not fail."""
    listens = "SystemdJournal('x', {'JOURNAL_STREAM': ''}).listens"
    code = f"from ec2ident_agent.systemd_journal import SystemdJournal\nassert not {listens}"
    shell = '"$0" -c "$1" 2>&-'
    path = os.pathsep.join(map(str, (Path(__file__).parents[2], Path(__file__).parents[2] / "agent")))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(["sh", "-c", shell, sys.executable, code], env=environment, timeout=60, check=False)
    assert 0 == done.returncode


def test_what_an_apply_refuses_is_an_error_of_its_owner(
    listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at boot, where the unit's standard error is the journal; an error of the whole command has no owner."""
    monkeypatch.setattr(systemd_journal, "SOCKET", str(tmp_path / "socket"))
    for name, value in standard_error().items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "agent.toml"
    config.write_text("[interface.eth1]\nsubnet = '10.0.1.0/24'\ntable = 100\n")
    config.chmod(0o644)
    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(Route("0.0.0.0/0", "eth1", 100, "10.0.1.99"), 3))
    words = ["apply", "--config", str(config), "--state-dir", str(tmp_path / "state")]
    words += ["--names-dir", str(tmp_path / "names")]
    assert 4 == Command(parse_command_line(words), kernel=kernel).run()
    found = entry(listening.recv(65536))
    assert ("3", "eth1") == (found["PRIORITY"], found["EC2IDENT_OWNER"])
    assert "table 100 holds a foreign route" in found["MESSAGE"]

    config.write_text("nonsense")
    assert 2 == main(["apply", *words[1:]])
    found = entry(listening.recv(65536))
    assert ("3", False) == (found["PRIORITY"], "EC2IDENT_OWNER" in found)
