"""The parallel reader, on files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ec2ident_agent.warm import reader as module
from ec2ident_agent.warm.reader import FAILURES, Rate, Unread, VolumeReader
from ec2ident_agent.warm.volume import BLOCK, Volume, open_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 20 * BLOCK + 777


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A file with a size that is not a multiple of a block."""
    path = tmp_path / "volume"
    path.write_bytes(os.urandom(SIZE))
    opened = open_volume(str(path))
    yield opened
    opened.close()


def run(volume: Volume, *, first: int = 0, depth: int = 4) -> VolumeReader:
    """A reader that has come to its end."""
    reader = VolumeReader(volume, first=first, depth=depth, rate=Rate(None))
    reader.start()
    assert reader.join(60)
    return reader


def recorded(monkeypatch: pytest.MonkeyPatch, answer: Callable[[int], int]) -> list[int]:
    """Put a function in the place of reading; returns the offsets that it is asked for."""
    asked: list[int] = []

    def of(_: Volume) -> Callable[[int], int]:
        def read(offset: int) -> int:
            asked.append(offset)
            return answer(offset)

        return read

    monkeypatch.setattr(module, "block_reader", of)
    return asked


@pytest.mark.parametrize("depth", [1, 4, 64])
def test_every_byte_is_read_once(volume: Volume, depth: int) -> None:
    """Whatever the number of threads is, also when they are more than the blocks."""
    reader = run(volume, depth=depth)

    assert (SIZE, SIZE, True) == (reader.done, reader.position, reader.complete)


def test_every_block_is_asked_for_once(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share the blocks among them."""
    asked = recorded(monkeypatch, lambda offset: min(BLOCK, SIZE - offset))

    run(volume, depth=8)

    assert [*range(0, SIZE, BLOCK)] == sorted(asked)


def test_a_short_read_is_continued(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel may return less than was asked for."""
    asked = recorded(monkeypatch, lambda offset: min(BLOCK // 2, SIZE - offset))

    reader = run(volume)

    assert reader.complete
    assert [*range(0, SIZE, BLOCK // 2)] == sorted(asked)


def test_a_run_begins_where_the_last_one_ended(volume: Volume) -> None:
    """What was read before is not read again."""
    reader = run(volume, first=18 * BLOCK)

    assert (2 * BLOCK + 777, True) == (reader.done, reader.complete)


def test_the_position_is_before_every_block_that_is_being_read(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block takes long: blocks after it are read, and none of them counts until it has come."""
    come = threading.Event()

    def answer(offset: int) -> int:
        if offset == BLOCK:
            come.wait(60)
        return min(BLOCK, SIZE - offset)

    recorded(monkeypatch, answer)
    reader = VolumeReader(volume, first=0, depth=2, rate=Rate(None))
    reader.start()
    try:
        while reader.done < SIZE - BLOCK:
            assert not reader.join(0.01)
        assert (BLOCK, BLOCK) == (reader.position, reader.resume)
    finally:
        come.set()
    assert reader.join(60)
    assert SIZE == reader.position


def test_a_block_that_fails_is_named_and_the_rest_is_read(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later run begins at the block that failed."""

    def answer(offset: int) -> int:
        if offset == 3 * BLOCK:
            raise OSError(5, "Input/output error")
        return min(BLOCK, SIZE - offset)

    recorded(monkeypatch, answer)
    reader = run(volume)

    assert [Unread(3 * BLOCK, "Input/output error")] == reader.failures
    assert (SIZE - BLOCK, 3 * BLOCK, False, False) == (reader.done, reader.resume, reader.complete, reader.gave_up)


def test_a_volume_that_fails_everywhere_is_given_up(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that has gone answers every read with an error at once."""

    def answer(_: int) -> int:
        raise OSError(6, "No such device or address")

    monkeypatch.setattr(module, "BLOCK", 512)
    asked = recorded(monkeypatch, answer)
    reader = run(volume, depth=4)

    assert reader.gave_up
    assert FAILURES <= len(asked) < FAILURES + 4


def test_a_file_that_was_cut_short_is_a_failure(volume: Volume) -> None:
    """Nothing says that the rest was read."""
    os.truncate(volume.path, 5 * BLOCK)

    reader = run(volume)

    assert (5 * BLOCK, 5 * BLOCK, False) == (reader.done, reader.resume, reader.complete)
    assert {"the volume ends here: it was made smaller"} == {each.why for each in reader.failures}


def test_a_reader_that_is_stopped_begins_no_further_block(volume: Volume) -> None:
    """At one byte a second the second block would come after days; the position stays before it."""
    reader = VolumeReader(volume, first=0, depth=2, rate=Rate(1.0))
    reader.start()
    while not reader.done:
        assert not reader.join(0.01)

    reader.stop()

    assert reader.join(60)
    assert (BLOCK, BLOCK, False) == (reader.done, reader.position, reader.complete)


def test_the_rate_spaces_reads_out() -> None:
    """A clock that is given: each read waits for the ones before it, and time that passes is made up for."""
    now = [10.0]
    rate = Rate(100.0, lambda: now[0])

    assert [0.0, 1.0, 2.0] == [rate.delay(100) for _ in range(3)]
    now[0] = 12.5
    assert [0.5, 1.5] == [rate.delay(100) for _ in range(2)]
    now[0] = 1000.0
    assert [0.0, 1.0] == [rate.delay(100) for _ in range(2)]


def test_no_rate_never_waits() -> None:
    """The default."""
    assert {0.0} == {Rate(None).delay(1 << 40) for _ in range(3)}
