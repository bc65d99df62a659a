"""RunPod's job-stop of a direct job, which reaches the worker as a cancellation."""

import asyncio
from pathlib import Path

import pytest

from direct.stage import direct_stage
from direct.test_answers import SAVE
from fakes.comfy import holding

pytestmark = pytest.mark.asyncio


async def test_next_job_waits_for_cleanup_of_a_job_stopped_twice(tmp_path: Path) -> None:
    """RunPod repeats a stop that it finds not done; the second one breaks off only that somebody waits."""
    async with direct_stage(tmp_path, holding(lets_go=False)) as stage:
        running = asyncio.create_task(stage.run({"workflow": SAVE}))
        await stage.comfy.notice.until(lambda: stage.comfy.running is not None)
        running.cancel()
        await stage.comfy.notice.until(lambda: "POST /interrupt" in stage.comfy.calls)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert stage.place.turn.locked()
        async with asyncio.timeout(10), stage.place.turn:
            assert stage.comfy.deleted == [stage.comfy.prompts[0].prompt_id]
