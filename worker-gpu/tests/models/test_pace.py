"""How many lanes there are, and which of them is too slow."""

from hypothesis import given
from hypothesis import strategies as st

from models.samples import QUICK
from worker_gpu.models.pace import BUSY_SHARE, IDLE_SHARE, NEEDED, Crew, Pace


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


def test_a_lane_is_slow_only_against_others_and_after_a_while() -> None:
    moment = [0.0]
    pace = Pace(QUICK, lambda: moment[0])
    began = pace.start()
    moment[0] = QUICK.slow_grace_s + 1
    assert not pace.is_slow(began, 0)
    for _ in range(NEEDED):
        pace.done(moment[0] - 1, 1000)
    assert pace.is_slow(began, int(QUICK.slow_share * 1000 * moment[0]) - 1)
    assert not pace.is_slow(began, int(QUICK.slow_share * 1000 * moment[0]) + 1)
    moment[0] = QUICK.slow_grace_s - 1
    assert not pace.is_slow(began, 0)
