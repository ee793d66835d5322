"""Small files of our own: whole, of the mode that their readers need, and never waited for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ec2ident_agent.state.statefile import DamagedError, make_directory, pack, read, write


@pytest.fixture(params=[0o077, 0o022, 0o000], ids="{:03o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of the process, while the test runs."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_any_user_may_read_whatever_the_umask_is(tmp_path: Path) -> None:
    """An ordinary user's `ip` reads the table names, and `status` reads the journal; only the owner writes them."""
    make_directory(str(tmp_path / "a/b"))
    write(str(tmp_path / "a/b/file"), b"x")

    assert (0o755, 0o755, 0o644) == tuple(mode(tmp_path / each) for each in ("a", "a/b", "a/b/file"))


@pytest.mark.usefixtures("umask")
def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """An administrator may have closed it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o700)
    make_directory(str(tmp_path / "a"))

    assert 0o700 == mode(tmp_path / "a")


def test_a_leftover_of_a_crash_does_not_give_its_mode(tmp_path: Path) -> None:
    """The file that is written first and then renamed may be there from before."""
    (tmp_path / "file.new").write_bytes(b"half")
    (tmp_path / "file.new").chmod(0o666)
    write(str(tmp_path / "file"), b"x")

    assert (0o644, b"x") == (mode(tmp_path / "file"), (tmp_path / "file").read_bytes())


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Other programs put their files into rt_tables.d."""
    os.mkfifo(tmp_path / "x.conf")

    with pytest.raises(DamagedError, match="a pipe, not a regular file"):
        read(str(tmp_path / "x.conf"))


@pytest.mark.parametrize("kind", ["hard link", "link", "pipe"])
def test_what_has_the_temporary_name_is_not_written_to(tmp_path: Path, kind: str) -> None:
    """Situation: a state directory that was another user's, with a second name of a file of root's in it.

    The other file keeps its content, and a pipe, which has no reader, is not waited for.
    """
    other, temporary = tmp_path / "shadow", tmp_path / "file.new"
    other.write_text("secret")
    if kind == "pipe":
        os.mkfifo(temporary)
    elif kind == "link":
        temporary.symlink_to(other)
    else:
        os.link(other, temporary)

    write(str(tmp_path / "file"), b"new")

    assert (b"new", "secret") == (read(str(tmp_path / "file")), other.read_text())


def test_a_field_with_a_newline_is_refused() -> None:
    """It would be two records when it is read. Also with optimized Python, which drops assertions."""
    with pytest.raises(ValueError, match="a field holds a newline"):
        pack("kind", 1, [("a", "b\nc")])
