"""The journal: strict, whole or not at all, and locked."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent.errors import JournalError, LockedError
from ec2ident_agent.items import Address, Route, Rule, TableName
from ec2ident_agent.state.journal import BEFORE, KIND, VERSION, Journal
from ec2ident_agent.state.owned import Record, State, interface, overlay
from ec2ident_agent.state.statefile import DamagedError, pack, unpack

STATE = State(
    (
        Record(interface("eth1"), "config", 0, TableName(100, "MYHA")),
        Record(interface("eth1"), "config", 3, Route("0.0.0.0/0", "eth1", 100, "10.0.1.1")),
        Record(interface("eth1"), "config", 3, Route("10.50.0.0/16", "eth1", 100, "10.0.1.1", 0, 1500, 1460)),
        Record(interface("eth1"), "command", 0, Rule("10.0.1.0/24", 100, 100)),
        Record(overlay("192.168.10.10/32"), "command", 2, Address("eth0", "192.168.10.10/32", "eth0:1")),
    )
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every kind of item, with every field."""
    journal = Journal(str(tmp_path))
    journal.write(STATE)

    assert STATE == journal.read()


def test_no_file_is_nothing_owned(tmp_path: Path) -> None:
    """A fresh node, and one after a full revert, look the same."""
    journal = Journal(str(tmp_path / "not there"))

    assert State() == journal.read()


def test_an_empty_journal_leaves_no_file(tmp_path: Path) -> None:
    """After a revert nothing of the agent's is left but the lock; twice is fine."""
    journal = Journal(str(tmp_path))
    journal.write(STATE)
    journal.write(State())
    journal.write(State())

    assert [] == os.listdir(tmp_path)


def test_a_device_name_that_is_not_text_survives(tmp_path: Path) -> None:
    """The kernel's names are bytes; Python shows the odd ones as surrogates."""
    journal = Journal(str(tmp_path))
    state = State((Record(interface("x"), "config", 3, Address("\udcff\udcfe", "10.0.0.1/32")),))
    journal.write(state)

    assert state == journal.read()


def test_cut_anywhere_it_is_refused(tmp_path: Path) -> None:
    """A journal that lost its end is never taken for a shorter or an empty one."""
    journal = Journal(str(tmp_path))
    journal.write(STATE)
    whole = Path(journal.path).read_bytes()
    for length in range(len(whole)):
        Path(journal.path).write_bytes(whole[:length])
        with pytest.raises(JournalError, match="damaged"):
            journal.read()


def test_changed_anywhere_it_is_refused(tmp_path: Path) -> None:
    """One bit, at any place."""
    journal = Journal(str(tmp_path))
    journal.write(STATE)
    whole = bytearray(Path(journal.path).read_bytes())
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        Path(journal.path).write_bytes(changed)
        with pytest.raises(JournalError, match=r"damaged|version"):
            journal.read()


def test_a_journal_of_the_version_before_is_read(tmp_path: Path) -> None:
    """An upgrade forgets nothing: its routes had no mtu and no advmss."""
    rows = [("interface", "eth1", "config", "3", "route", "0.0.0.0/0", "eth1", "100", "10.0.1.1", "0")]
    (tmp_path / "journal").write_bytes(pack(KIND, BEFORE, rows))

    assert State((STATE.records[1],)) == Journal(str(tmp_path)).read()


def test_a_newer_version_is_named(tmp_path: Path) -> None:
    """Both numbers are in the text: who downgrades has to know what to do."""
    journal = Journal(str(tmp_path))
    Path(journal.path).write_bytes(pack(KIND, VERSION + 1, [("whatever",)]))

    with pytest.raises(JournalError, match=f"version {VERSION + 1}, and this program knows version {VERSION}"):
        journal.read()


@pytest.mark.parametrize(
    "fields",
    [
        ("eth1", "config", "3"),
        ("eth1", "nobody", "3", "rule", "10.0.1.0/24", "100", "100", "", "-1"),
        ("eth1", "config", "3", "rule", "10.0.1.0/24", "100", "100", ""),
        ("eth1", "config", "3", "tunnel", "x"),
        ("eth1", "config", "three", "name", "100", "MYHA"),
        ("eth1", "config", "3", "name", "x", "MYHA"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(tmp_path: Path, fields: tuple[str, ...]) -> None:
    """A right checksum over a wrong record: another program wrote it."""
    journal = Journal(str(tmp_path))
    Path(journal.path).write_bytes(pack(KIND, VERSION, [fields]))

    with pytest.raises(JournalError, match="makes no sense"):
        journal.read()


def test_a_giant_is_refused(tmp_path: Path) -> None:
    """Nothing that the agent writes is that large."""
    journal = Journal(str(tmp_path))
    Path(journal.path).write_bytes(b"\0" * (5 << 20))

    with pytest.raises(JournalError, match="larger than"):
        journal.read()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither to read nor to write what is elsewhere."""
    journal = Journal(str(tmp_path))
    (tmp_path / "elsewhere").write_bytes(pack(KIND, VERSION, []))
    os.symlink(tmp_path / "elsewhere", journal.path)

    with pytest.raises(JournalError, match="Too many levels of symbolic links"):
        journal.read()


text = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))


@given(st.lists(st.lists(text, min_size=1).map(tuple)))
def test_records_come_back_as_they_were(rows: list[tuple[str, ...]]) -> None:
    """Any fields without tab and newline."""
    assert rows == unpack("test", 1, pack("test", 1, rows))


@given(st.binary())
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    """Never another exception."""
    with contextlib.suppress(DamagedError):
        unpack("test", 1, data)


HOLDER = """
import sys, time
sys.path[:0] = sys.argv[2:]
from ec2ident_agent.state.journal import Journal
with Journal(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_waits_and_then_says_who_holds_it(tmp_path: Path) -> None:
    """A time limit, the holder's process id, and no stale lock: it dies with its holder."""
    paths = [path for path in sys.path if path]
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), *paths], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()

        with pytest.raises(LockedError, match=rf"held by process {holder.pid} \(waited 0\.1 s\)"):
            Journal(str(tmp_path)).lock(0.1).__enter__()
        holder.kill()

    with Journal(str(tmp_path)).lock(5):
        assert f"{os.getpid()}\n" == (tmp_path / "lock").read_text()


def test_a_lock_whose_file_was_removed_is_taken_on_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Situation: an uninstall removes the lock that a hook waits for. Else two processes would hold it."""
    import fcntl

    locked = fcntl.flock
    removed: list[int] = []

    def flock(handle: int, how: int) -> None:
        locked(handle, how)
        if not removed:
            removed.append(handle)
            (tmp_path / "lock").unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    journal = Journal(str(tmp_path))

    with journal.lock(0.1):
        assert removed
        assert f"{os.getpid()}\n" == (tmp_path / "lock").read_text()
        with pytest.raises(LockedError, match="held by process"):
            journal.lock(0.0).__enter__()


@pytest.mark.parametrize("name", ["lock", "watch"])
def test_the_lock_is_for_no_other_user_to_open(tmp_path: Path, name: str) -> None:
    """An exclusive flock needs no more than the right to read (flock(2))."""
    with Journal(str(tmp_path)).lock(5, name):
        assert 0o600 == (tmp_path / name).stat().st_mode & 0o777


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match="Not a directory"):
        Journal(str(tmp_path / "file" / "state")).lock().__enter__()


@pytest.mark.parametrize("name", ["journal", "lock", "watch"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_in_the_state_directory_is_said_and_hangs_nothing(
    tmp_path: Path, name: str, kind: str
) -> None:
    """Situation: a pipe has the name of one of our files. Opening a pipe waits for its other end, for ever."""
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        try:
            os.mknod(tmp_path / name, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    journal = Journal(str(tmp_path))

    use = journal.read if name == "journal" else journal.lock(0, name).__enter__

    with pytest.raises(JournalError, match=f"{name}: .*not a regular file"):
        use()


def test_the_lock_does_not_write_into_another_file(tmp_path: Path) -> None:
    """Situation: the lock's name is a hard link to a file of root's: the process number would replace its content."""
    (tmp_path / "state").mkdir()
    (tmp_path / "shadow").write_text("secret")
    os.link(tmp_path / "shadow", tmp_path / "state/lock")

    with (
        pytest.raises(JournalError, match="a hard link, the file has 2 names"),
        Journal(str(tmp_path / "state")).lock(0),
    ):
        pass

    assert "secret" == (tmp_path / "shadow").read_text()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_state_directory_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Who may write the directory may replace the journal, and so has root remove what the journal names."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    journal = Journal(str(state))
    for use in (journal.read, journal.lock(0).__enter__):
        with pytest.raises(JournalError, match=f"other users may write it .mode {mode:04o}.: chmod go-w"):
            use()

    assert [] == os.listdir(state)


@pytest.mark.root
def test_a_state_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """As a configuration of another user: the owner may write it at any time."""
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    os.chown(state, 65534, 65534)

    with pytest.raises(JournalError, match="owned by uid 65534, not by root"):
        Journal(str(state)).read()
