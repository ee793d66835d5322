"""When to look, when to try again and when to rest: tables and random walks over a clock that is a number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec2ident_agent.watch.backoff import Backoff, Debounce, FlapDamper, OnceLog, SettledFile

MOMENTS = st.floats(0, 50, allow_nan=False).map(lambda t: round(t, 3))


def looked(now: float, took: float = 0.01) -> Debounce:
    pace = Debounce(now)
    pace.looked(now, now + took)
    return pace


def test_the_first_look_is_at_once() -> None:
    """A service that starts does not wait for something to happen."""
    assert 7.0 == Debounce(7.0).due


def test_without_events_a_look_comes_now_and_then() -> None:
    """The kernel does not announce everything."""
    assert 100.01 + Debounce.PERIOD == looked(100).due


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ([10.0], 10.0),  # one, after calm
        ([10.0, 10.05, 10.3], 10.0),  # the first of a burst: nothing waits for its end
    ],
)
def test_the_first_event_after_calm_is_looked_at_at_once(events: list[float], due: float) -> None:
    """Most losses are one deletion: its repair needs no pause."""
    pace = looked(0)
    for event in events:
        pace.changed(event)

    assert pytest.approx(due) == pace.due


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ([], 10.0 + Debounce.PERIOD),
        ([10.05], 10.15),  # the echo of the repair, or the next deletion
        ([10.05, 10.1], 10.2),  # the burst goes on
        ([10.05, 10.25], 10.35),  # after its end, without a look in between
        ([10.0 + n * 0.09 for n in range(6)], 10.5),  # and does not end
        ([10.21], 10.21),  # another burst
    ],
)
def test_after_the_first_look_a_burst_has_to_pause(events: list[float], due: float) -> None:
    """A manager that deletes and adds is not interrupted twice; one that never pauses does not stop the repairs."""
    pace = looked(0)
    pace.changed(10.0)
    pace.looked(10.0, 10.0)
    for event in events:
        pace.changed(event)

    assert pytest.approx(due) == pace.due


@given(st.lists(MOMENTS, min_size=1).map(sorted), st.floats(0, 0.2))
def test_no_event_waits_longer_than_half_a_second_and_a_pause(events: list[float], took: float) -> None:
    """Whatever else happens, and however long a look takes."""
    pace, waiting, now = looked(0, took), list[float](), took
    for event in events:
        event = max(event, now)
        while pace.due <= event:
            begun = now = max(pace.due, now)
            longest = Debounce.LATEST + Debounce.LONGEST
            assert all(begun - since <= longest + took + 1e-6 for since in waiting)
            waiting = []
            pace.looked(begun, begun + took)
            now = begun + took
        pace.changed(event)
        waiting.append(event)
        assert pace.due >= event or pace.due - waiting[0] <= Debounce.LATEST + Debounce.LONGEST + took


def test_looks_that_take_long_leave_the_node_room() -> None:
    """A storm of events on a large node costs a third of a core, not all of it; and never more than half a second."""
    pace = looked(10, took=0.2)
    pace.changed(10.2)
    assert pytest.approx(10.6) == pace.due
    pace.looked(11, 15)
    pace.changed(15)
    assert 15.5 == pytest.approx(pace.due)


def test_a_look_asked_for_comes_though_nothing_happens() -> None:
    """A retry, a rest that ends, a file that has come to rest."""
    pace = looked(0)
    pace.at(5)
    pace.at(8)
    pace.at(math.inf)

    assert 5 == pace.due


# -- fights


def lost(fights: FlapDamper, times: list[float]) -> list[float]:
    return [now for now in times if fights.repaired("rule", now)]


def test_a_rival_that_is_as_fast_as_we_are_is_met_less_and_less_often() -> None:
    """Ten times within a minute; then after 1, 2, 4 … 60 s. One warning an hour, and never ten minutes of outage."""
    fights, now, waits, said = FlapDamper(), 100.0, list[float](), list[float]()
    for _ in range(9):
        said += lost(fights, [now])
        now += 1
    while now < 5000:
        said += lost(fights, [now])
        assert frozenset({"rule"}) == fights.resting(now)
        assert fights.next(now) > now
        waits.append(fights.next(now) - now)
        now = fights.next(now)
        assert frozenset() == fights.resting(now)

    assert [1, 2, 4, 8, 16, 32, 60, 60] == waits[:8]
    assert {60.0} == set(waits[8:])
    assert [109.0] == said[:1]
    assert 2 == len(said)
    assert said[1] - said[0] >= FlapDamper.HOUR
    assert math.inf == fights.next(now)


@pytest.mark.parametrize(("calm", "rest"), [(59.0, 4.0), (60.0, 4.0), (60.1, 0.0), (500.0, 0.0)])
def test_an_item_that_stays_for_a_minute_starts_over(calm: float, rest: float) -> None:
    """The rival is gone; the next burst is another one."""
    fights = FlapDamper()
    lost(fights, [float(n) for n in range(10)])
    lost(fights, [10.0])
    assert 12.0 == fights.next(10.0)

    fights.repaired("rule", 12.0 + calm)

    assert (12.0 + calm + rest if rest else math.inf) == fights.next(12.0 + calm)


def test_one_loss_less_or_one_second_more_is_not_a_fight() -> None:
    """Near misses: nine losses, and ten that take longer than a minute."""
    for times in ([float(n) for n in range(9)], [n * 6.7 for n in range(30)]):
        fights = FlapDamper()
        lost(fights, times)
        assert frozenset() == fights.resting(times[-1])
    fights = FlapDamper()
    assert [9 * 6.6] == lost(fights, [n * 6.6 for n in range(10)])
    assert frozenset({"rule"}) == fights.resting(9 * 6.6)


def test_items_are_counted_each_for_itself() -> None:
    """What another owner loses says nothing about the agent's."""
    fights = FlapDamper()
    for now in range(9):
        assert not fights.repaired("one", now)
        assert not fights.repaired("other", now)

    assert fights.repaired("one", 9)
    assert frozenset({"one"}) == fights.resting(9)


def test_what_is_lost_slowly_is_said_once_an_hour_and_added_for_ever() -> None:
    """A job that runs every minute and deletes: a repair each time is better than none."""
    fights = FlapDamper()

    assert [540, 4140] == lost(fights, [float(now) for now in range(0, 7200, 60)])
    assert frozenset() == fights.resting(7140)


def test_what_no_owner_wants_any_more_needs_no_memory() -> None:
    """A node where addresses come and go for years."""
    fights = FlapDamper()
    for number in range(1000):
        for now in range(number % 11):
            fights.repaired(number, float(now))
        fights.keep({number})

    assert all(len(known) <= 1 for known in vars(fights).values())
    fights.forget()
    assert not any(vars(fights).values())


@given(st.lists(st.tuples(MOMENTS, st.sampled_from("abc")), max_size=200))
def test_the_number_of_repairs_of_an_item_is_limited(happened: list[tuple[float, str]]) -> None:
    """Whatever is lost when: ten within a minute, and those after the rests of 1, 2, 4, 8, 16 seconds."""
    fights, added = FlapDamper(), list[tuple[float, str]]()
    for now, item in sorted(happened):
        if item not in fights.resting(now):
            fights.repaired(item, now)
            added.append((now, item))
        assert sum(each == item for _, each in added) <= FlapDamper.LIMIT + 5


# -- what failed


def test_what_failed_is_tried_again_later_and_later() -> None:
    """After 1, 2, 4, 8, 16 and then every 30 seconds."""
    setbacks, now, waits = Backoff(), 0.0, []
    for _ in range(7):
        setbacks.failed("eth1", now, "why")
        waits.append(setbacks.next(now) - now)
        assert frozenset({"eth1"}) == setbacks.waiting(now)
        now = setbacks.next(now)
        assert frozenset() == setbacks.waiting(now)

    assert [1, 2, 4, 8, 16, 30, 30] == waits


def test_what_the_kernel_refuses_waits_longer_while_the_node_is_as_it_was() -> None:
    """Each attempt adds objects and removes them. A node that has changed is worth a try after 30 s at the latest."""
    setbacks, now, waits = Backoff(), 0.0, []
    for _ in range(12):
        setbacks.failed("eth1", now, "why", "before")
        at = now
        while "eth1" in setbacks.waiting(now, "before"):
            now = setbacks.next(now)
        waits.append(now - at)
    assert [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] == waits

    setbacks.failed("eth1", now, "why", "before")
    assert frozenset({"eth1"}) == setbacks.waiting(now + 29, "after")
    assert now + 30 == setbacks.next(now + 1)
    assert frozenset() == setbacks.waiting(now + 30, "after")
    assert frozenset({"eth1"}) == setbacks.waiting(now + 30, "before")
    assert now + 600 == setbacks.next(now + 30)


def test_what_succeeded_begins_anew() -> None:
    """The next failure is the first one again."""
    setbacks = Backoff()
    setbacks.failed("eth1", 0, "why")
    setbacks.failed("eth1", 1, "why")
    assert ("why",) == setbacks.reasons()
    setbacks.keep({"eth2"})
    assert () == setbacks.reasons()
    assert math.inf == setbacks.next(1)

    setbacks.failed("eth1", 2, "why")
    assert 3 == setbacks.next(2)


def test_a_complaint_that_lasts_is_said_once() -> None:
    """And again when it comes back."""
    told = OnceLog()

    assert [["a", "b"], ["c"], [], ["b"]] == [
        told.new(each, 0) for each in (["a", "b", "a"], ["a", "c"], ["a"], ["a", "b"])
    ]
    assert (True, False) == (told.knows("b"), told.knows("c"))


def test_a_complaint_that_is_soon_over_is_not_said() -> None:
    """An interface has no address for a moment; one that never gets it is a line, at the next look after that time."""
    told = OnceLog(10)

    assert ([], 20) == (told.new(["a"], 10), told.next())
    assert ([], 20) == (told.new(["b", "a"], 19.9), told.next())
    assert (["a"], 29.9) == (told.new(["b", "a"], 20), told.next())
    assert ([], math.inf) == (told.new(["a"], 29.9), told.next())
    assert [] == told.new([], 30)
    assert ([], 41) == (told.new(["a"], 31), told.next())


# -- editions of a file


def test_an_edition_counts_when_it_has_come_to_rest() -> None:
    """An editor empties a file before it writes it: what is empty for a moment takes nothing off."""
    edition = SettledFile("old")

    assert not edition.ready("old", 10)
    assert math.inf == edition.next()
    assert not edition.ready("empty", 11)
    assert not edition.ready("half", 11.5)
    assert not edition.ready("half", 12.4)
    assert 12.5 == edition.next()
    assert edition.ready("half", 12.5)


def test_an_edition_that_comes_back_was_never_away() -> None:
    """Vanished and restored under the same mark: nothing to read."""
    edition = SettledFile("old")
    assert not edition.ready(None, 1)

    assert not edition.ready("old", 9)
    assert math.inf == edition.next()


def test_on_request_the_file_is_read_at_once() -> None:
    """SIGHUP: the administrator says that it is finished."""
    assert SettledFile(None, settled=0).ready("any", 3)


def test_what_is_desired_keeps_its_history_and_nothing_else_does() -> None:
    """An item that is no longer desired starts over if it comes back; the others still rest."""
    fights = FlapDamper()
    for item in ("rule", "route"):
        for second in range(FlapDamper.LIMIT):
            fights.repaired(item, float(second))

    fights.keep({"rule"})

    assert frozenset({"rule"}) == fights.resting(FlapDamper.LIMIT - 0.5)
