"""RunPod's job-stop of a direct job, which reaches the worker as a cancellation."""

import asyncio
from pathlib import Path

import pytest

from direct.harness import direct_harness
from direct.test_answers import SAVE
from fakes.comfy import holding

pytestmark = pytest.mark.asyncio


async def test_next_job_waits_for_cleanup_of_a_job_stopped_twice(tmp_path: Path) -> None:
    """RunPod sends a stop again if the job still runs. The second one cancels only the wait for the first."""
    async with direct_harness(tmp_path, holding(lets_go=False)) as harness:
        running = asyncio.create_task(harness.run({"workflow": SAVE}))
        await harness.comfy.notice.until(lambda: harness.comfy.running is not None)
        running.cancel()
        await harness.comfy.notice.until(lambda: "POST /interrupt" in harness.comfy.calls)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert harness.context.job_lock.locked()
        async with asyncio.timeout(10), harness.context.job_lock:
            assert harness.comfy.deleted == [harness.comfy.prompts[0].prompt_id]
