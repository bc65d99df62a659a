"""Eviction plans are sufficient, minimal, and oldest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_gpu.models.disk.eviction import Eviction, NoRoom, plan_eviction
from worker_gpu.models.disk.file_index import KnownFile
from worker_gpu.models.download.priority import Urgency

SIZES = st.integers(0, 1000)


@st.composite
def held_files(draw: st.DrawFn) -> list[KnownFile]:
    count = draw(st.integers(0, 12))
    return [
        KnownFile(
            *(f"loras/{n}.safetensors", draw(SIZES), 0, n, "0" * 64, draw(st.booleans()), draw(st.integers(0, 5))),
            draw(st.booleans()),
        )
        for n in range(count)
    ]


PINS = st.sets(st.integers(0, 11)).map(lambda ns: {f"loras/{n}.safetensors" for n in ns})


@given(need=SIZES, free=SIZES, reserve=SIZES, held=held_files(), pinned=PINS, may=st.booleans())
def test_eviction_is_sufficient_minimal_and_oldest_first(
    need: int, free: int, reserve: int, held: list[KnownFile], pinned: set[str], may: bool
) -> None:
    able = [one for one in held if may and not one.linked and not one.baked and one.path not in pinned]
    plan = plan_eviction(need, free, reserve, held, pinned, may)
    if isinstance(plan, NoRoom):
        assert plan.missing == need + reserve - free - sum(one.size for one in able) > 0
        return
    assert set(plan.files) <= set(able)
    left = free + sum(one.size for one in plan.files) - need - reserve
    assert left >= 0 or (not plan.files and need + reserve <= free)
    # No file is evicted without need.
    assert all(left - one.size < 0 for one in plan.files)
    # An older file is kept only if it is smaller than the space that remains to be freed.
    for gone in plan.files:
        for stays in able:
            if stays not in plan.files and stays.used_s < gone.used_s:
                assert left < gone.size


@given(held=held_files())
def test_nothing_is_evicted_if_there_is_space(held: list[KnownFile]) -> None:
    assert plan_eviction(10, 30, 20, held, set()) == Eviction(())


@pytest.mark.parametrize("urgency", Urgency)
def test_only_urgent_downloads_evict(urgency: Urgency) -> None:
    old = KnownFile("loras/old.sft", 100, 0, 1, "0" * 64, False, 0)
    plan = plan_eviction(50, 0, 0, [old], set(), urgency is not Urgency.BACKGROUND)
    assert plan == (NoRoom(50) if urgency is Urgency.BACKGROUND else Eviction((old,)))
