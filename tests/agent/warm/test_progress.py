"""How far it is, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent.warm import progress

GIB = 1 << 30


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (1 << 20, "1.0 MiB"),
        (3.2 * GIB, "3.2 GiB"),
        (16384 * GIB, "16.0 TiB"),
    ],
)
def test_an_amount_has_the_largest_unit_that_it_fills(count: float, text: str) -> None:
    """Units are powers of 1024, as EBS counts its volumes; nothing is shown as 1024.0 of a unit."""
    assert text == progress.amount(count)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (3599.4, "59:59"), (7509, "2:05:09")]
)
def test_a_duration_is_a_clock(seconds: float, text: str) -> None:
    """Hours only where there are any."""
    assert text == progress.duration(seconds)


def test_a_line_says_share_amount_speed_and_time_left() -> None:
    """The time left is what is left over the speed."""
    assert " 41%  3.3 GiB of 8.0 GiB  256.0 MiB/s  0:19 left" == progress.line(int(3.3 * GIB), 8 * GIB, 256 * 1048576.0)


def test_a_line_without_a_speed_does_not_guess_the_time_left() -> None:
    """Nothing is known of the future of a reader that stands still; an empty volume is read."""
    assert "  0%  0 B of 8.0 GiB  0 B/s" == progress.line(0, 8 * GIB, 0.0)
    assert "100%  0 B of 0 B  0 B/s" == progress.line(0, 0, 0.0)
    assert "  0%  0 B of 8.0 GiB  1 B/s" == progress.line(0, 8 * GIB, 1.0)
    assert "  0%  0 B of 8.0 GiB  0 B/s" == progress.line(0, 8 * GIB, 1e-300)


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.floats(0, 1e12), st.integers(0, 300))
def test_a_bar_fits_the_terminal(done: int, size: int, speed: float, width: int) -> None:
    """A longer line would begin a new one each time it is written."""
    assert len(progress.bar(min(done, size), size, speed, width)) <= width


@pytest.mark.parametrize(("done", "size", "full"), [(0, 8, 0), (1, 8, 3), (4, 8, 12), (8, 8, 24), (0, 0, 24)])
def test_a_bar_is_as_full_as_the_volume_is_read(done: int, size: int, full: int) -> None:
    """Half of a volume is half of the bar; an empty volume is read."""
    assert progress.bar(done, size, 1.0, 80).startswith(f"[{'#' * full}{' ' * (progress.BAR - full)}] ")


def test_the_speed_is_that_of_the_last_seconds() -> None:
    """A volume that becomes slow has its old speed forgotten after the window."""
    speed = progress.Speed()

    found = [speed.add(float(now), 100 * min(now, 20)) for now in range(41)]

    assert [0.0, 100.0, 100.0] == [found[0], found[1], found[20]]
    assert 0 < found[25] < 100
    assert 0.0 == found[40]


def test_blocks_side_by_side_are_one_range() -> None:
    """The ranges are in bytes, as dd and blockdev count; many of them are cut short and marked."""
    assert "0-2097151, 4194304-5242879" == progress.ranges([4194304, 1048576, 5], 1 << 20)
    assert progress.ranges(range(0, 1 << 30, 1 << 22), 1 << 20).endswith(", …")
    assert progress.ranges(range(0, 1 << 30, 1 << 22), 1 << 20).count("-") == 5
