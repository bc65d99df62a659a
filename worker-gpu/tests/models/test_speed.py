"""When a connection is too slow."""

from dataclasses import replace

import pytest

from models.samples import QUICK
from worker_gpu.models.download.speed import MIN_CHUNKS, SlowConnection, SpeedTracker
from worker_gpu.models.download.transport import TransientError


class Clock:
    moment = 0.0

    def __call__(self) -> float:
        return self.moment


NO_FLOOR = replace(QUICK, min_bytes_per_s=0)


def test_connection_is_slow_only_relative_to_others_after_slow_grace_s() -> None:
    clock = Clock()
    tracker = SpeedTracker(NO_FLOOR, clock)
    run, patient = tracker.start(), tracker.start(allow_slow=True)
    clock.moment = QUICK.slow_grace_s + 1
    run.check(0)
    for _ in range(MIN_CHUNKS):
        tracker.record(1000.0)
    enough = int(QUICK.slow_share * 1000 * clock.moment)
    with pytest.raises(SlowConnection):
        run.check(enough - 1)
    run.check(enough + 1)
    patient.check(0)
    clock.moment = QUICK.slow_grace_s - 1
    run.check(0)


@pytest.mark.parametrize("may_be_slow", [True, False])
def test_connection_below_the_minimum_speed_fails(may_be_slow: bool) -> None:
    clock = Clock()
    run = SpeedTracker(QUICK, clock).start(may_be_slow)
    per_look = int(QUICK.min_bytes_per_s * QUICK.min_speed_window_s)
    # Only the last window counts, however fast the connection was before.
    for job_lock in range(1, 4):
        clock.moment = QUICK.min_speed_window_s * job_lock
        run.check(per_look * job_lock)
    clock.moment += QUICK.min_speed_window_s - 0.1
    run.check(per_look * 3)
    clock.moment += 0.1
    with pytest.raises(TransientError, match="only 1 bytes in 20 s"):
        run.check(per_look * 3 + 1)


def test_median_speed_uses_finished_chunks() -> None:
    clock = Clock()
    tracker = SpeedTracker(NO_FLOOR, clock)
    for speed in (10, 20, 30, 1000):
        run = tracker.start()
        clock.moment += 1.0
        run.finish(speed)
    assert tracker.median_speed == 25
