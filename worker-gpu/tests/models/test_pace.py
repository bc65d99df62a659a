"""How many lanes there are, and which of them is too slow."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.samples import QUICK
from worker_gpu.models.pace import BUSY_SHARE, IDLE_SHARE, NEEDED, WATCH_S, Crew, Pace, Slow
from worker_gpu.models.wire import Passing


@given(st.lists(st.tuples(st.floats(0.05, 60.0), st.floats(0.0, 1.0)), max_size=100), st.integers(1, 9))
def test_lanes_that_compute_stay_few_and_lanes_that_wait_become_many(told: list[tuple[float, float]], few: int) -> None:
    crew = Crew(few, 64, 2)
    waited = 0
    for spent, share in told:
        waited += crew.told(spent, spent * share, 0.0)
    assert crew.size == min(64, few + sum(spent * share < IDLE_SHARE * spent for spent, share in told))
    assert waited == crew.size - few


def test_there_are_never_more_lanes_than_allowed() -> None:
    assert Crew(6, 4, 2).size == 4
    crew = Crew(2, 4, 2)
    assert [crew.told(1.0, 0.0, 0.0) for _ in range(4)] == [True, True, False, False]


def test_lanes_that_wait_for_the_processors_are_not_joined_by_more() -> None:
    crew = Crew(6, 16, 2)
    assert not crew.told(1.0, 0.0, 2 * BUSY_SHARE)
    assert crew.told(1.0, 0.0, 2 * BUSY_SHARE - 0.01)


class Clock:
    moment = 0.0

    def __call__(self) -> float:
        return self.moment


NO_FLOOR = replace(QUICK, floor_bytes_s=0)


def test_a_lane_is_slow_only_against_others_and_after_a_while() -> None:
    clock = Clock()
    pace = Pace(NO_FLOOR, clock)
    run, patient = pace.start(), pace.start(may_be_slow=True)
    clock.moment = QUICK.slow_grace_s + 1
    assert run.look(0) == clock.moment + WATCH_S
    for _ in range(NEEDED):
        pace.done(1000.0)
    enough = int(QUICK.slow_share * 1000 * clock.moment)
    with pytest.raises(Slow):
        run.look(enough - 1)
    run.look(enough + 1)
    patient.look(0)
    clock.moment = QUICK.slow_grace_s - 1
    run.look(0)


@pytest.mark.parametrize("may_be_slow", [True, False])
def test_what_hardly_moves_is_as_good_as_silent_whatever_others_do(may_be_slow: bool) -> None:
    clock = Clock()
    run = Pace(QUICK, clock).start(may_be_slow)
    per_look = int(QUICK.floor_bytes_s * QUICK.floor_s)
    # However fast it was before: the last while counts.
    for turn in range(1, 4):
        clock.moment = QUICK.floor_s * turn
        run.look(per_look * turn)
    clock.moment += QUICK.floor_s - 0.1
    run.look(per_look * 3)
    clock.moment += 0.1
    with pytest.raises(Passing, match="only 1 bytes came in 20 s"):
        run.look(per_look * 3 + 1)


def test_the_median_is_of_the_chunks_that_came_through() -> None:
    clock = Clock()
    pace = Pace(NO_FLOOR, clock)
    for speed in (10, 20, 30, 1000):
        run = pace.start()
        clock.moment += 1.0
        run.done(speed)
    assert pace.typical == 25
