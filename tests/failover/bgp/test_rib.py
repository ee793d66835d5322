"""Which path is the best, and what stays while no session vouches for it."""

from __future__ import annotations

import pytest

from tests.failover.bgp.rib import Path, Rib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "192.168.10.7/32"


def path(peer: str, *as_path: int, med: int = 0, endpoint: str = "a1") -> Path:
    return Path(PREFIX, peer, endpoint, as_path or (65001,), med)


@pytest.mark.parametrize(
    ("paths", "winner"),
    [
        ([path("one", med=5), path("two", med=4)], "two"),
        # A path without a MED has the best one.
        ([path("one", med=1), path("two")], "two"),
        # The length of the AS path is asked first, and counts a prepended number each time.
        ([path("one", 65001, 65001, med=0), path("two", 65002, med=9)], "two"),
        ([path("one", 65001, 65009), path("two", 65002, 65002)], "one"),
        # Equal: the first.
        ([path("one"), path("two", 65002)], "one"),
        ([path("two", 65002), path("one")], "two"),
    ],
)
def test_the_shorter_as_path_wins_and_then_the_lower_med(paths: Sequence[Path], winner: str) -> None:
    """Amazon VPC User Guide, "How Amazon VPC Route Server works"; what is assumed stands in `rib.py`."""
    rib = Rib()
    for number in range(len(paths)):
        rib.hear(paths[: number + 1], 1, float(number))
    assert winner == rib.fib()[PREFIX].peer


def test_an_update_keeps_the_age_of_a_path() -> None:
    """So a device that repeats its route does not lose it to one that is equal."""
    rib = Rib()
    one, two = path("one", med=7), path("two", med=7)
    rib.hear([one, two], 2, 0)
    rib.hear([two, path("one", med=6)], 2, 1)
    rib.hear([two, one], 2, 2)
    assert "one" == rib.fib()[PREFIX].peer


def test_without_persist_the_last_session_takes_its_routes_along() -> None:
    """Also what was read of an endpoint in that very moment."""
    rib = Rib()
    rib.hear([path("one")], 1, 0)
    rib.hear([path("one")], 0, 1)
    assert () == rib.paths


def test_persisted_routes_stay_until_their_time_after_the_first_new_session_is_over() -> None:
    """However long there is none; the time begins with the first session, of whichever device."""
    rib = Rib(persist=60)
    rib.hear([path("one", med=1)], 1, 0)
    rib.hear([], 0, 10)
    rib.hear([], 0, 10_000)
    assert "one" == rib.fib()[PREFIX].peer
    rib.hear([path("two", med=2)], 1, 10_001)
    rib.hear([path("two", med=2)], 1, 10_060)
    # The device that is gone still has the traffic: its route is the better one.
    assert "one" == rib.fib()[PREFIX].peer
    rib.hear([path("two", med=2)], 1, 10_061)
    assert "two" == rib.fib()[PREFIX].peer


def test_a_route_that_is_heard_again_in_time_is_not_lost() -> None:
    """Nor does it have two paths of one source."""
    rib = Rib(persist=60)
    rib.hear([path("one", med=1)], 1, 0)
    rib.hear([], 0, 1)
    rib.hear([], 1, 2)
    rib.hear([path("one", med=3)], 1, 3)
    assert (path("one", med=3),) == rib.paths
    rib.hear([path("one", med=3)], 1, 63)
    assert (path("one", med=3),) == rib.paths


def test_only_what_was_there_at_the_end_persists() -> None:
    """A route that its device has withdrawn, or that BFD took while another session was up, is gone."""
    rib = Rib(persist=60)
    rib.hear([path("one"), path("two", 65002)], 2, 0)
    rib.hear([path("two", 65002)], 1, 1)
    rib.hear([], 0, 2)
    assert (path("two", 65002),) == rib.paths
    rib.hear([], 1, 3)
    # All sessions end once more before the time is over: it begins anew.
    rib.hear([], 0, 62)
    rib.hear([], 1, 100)
    assert (path("two", 65002),) == rib.paths
    rib.hear([], 1, 160)
    assert not rib.fib()
