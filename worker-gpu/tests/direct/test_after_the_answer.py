"""The response of a direct job does not wait for its cleanup; the next job does."""

import asyncio
import io
import os
from pathlib import Path

import pytest

from direct.harness import direct_harness, entries
from direct.test_answers import SAVE, listing
from fakes.comfy import PNG, holding
from fakes.own_comfyui import engine_settings
from job.test_own_comfyui import SAVE as EXECUTABLE
from job.test_own_comfyui import files_below, slow
from job.test_own_comfyui_lost import SlowToStart
from worker_gpu.direct.run import run_direct
from worker_gpu.json_readers import JsonObject
from worker_gpu.lifecycle.worker_context import Deps, open_worker_context
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts

pytestmark = pytest.mark.asyncio


async def test_answers_before_comfyuis_history_is_deleted(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, listing({"a.png": PNG})) as harness:
        harness.comfy.hold_deletions = asyncio.Event()
        answer = await harness.answer({"workflow": SAVE})

        assert len(entries(answer, "images")) == 1
        assert harness.comfy.deleted == []
        following = asyncio.create_task(harness.answer({"workflow": SAVE}))
        await harness.comfy.notice.until(lambda: "POST /history" in harness.comfy.calls)
        assert harness.comfy.calls.count("POST /prompt") == 1
        harness.comfy.hold_deletions.set()
        await following
        assert harness.comfy.deleted[0] == harness.comfy.prompts[0].prompt_id


async def test_answers_a_timeout_before_comfyui_has_stopped(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, holding(lets_go=False)) as harness:
        answer = await harness.answer({"workflow": SAVE, "timeout": 0.1})

        assert answer["code"] == "timeout"
        assert harness.comfy.deleted == []
        await harness.wait_cleanup()
        assert "POST /interrupt" in harness.comfy.calls
        assert harness.comfy.deleted == [harness.comfy.prompts[0].prompt_id]


async def test_answers_before_a_killed_comfyui_is_restarted(tmp_path: Path) -> None:
    settings, written = engine_settings(tmp_path), io.StringIO()
    assert settings.comfyui_path is not None
    comfy = SlowToStart(settings, settings.comfyui_path, os.environ, Timeouts(), Log(written))
    comfy.let.set()
    await comfy.start()
    comfy.let.clear()
    progressed = asyncio.Event()

    def on_progress(update: JsonObject) -> None:
        if update.get("type") == "progress":
            progressed.set()

    try:
        async with open_worker_context(settings, comfy, Timeouts(), Deps(), Log(written)) as context:
            graph: JsonObject = {"workflow": {**slow(steps=200, seconds=60.0)}}
            running = asyncio.create_task(run_direct(context, "1", graph, on_progress))
            await progressed.wait()
            os.kill(comfy.pid, 9)
            answer = await running

            assert answer["code"] == "comfyui_unavailable"
            following = asyncio.create_task(run_direct(context, "2", {"workflow": {**EXECUTABLE}}, on_progress))
            await comfy.begun.wait()
            assert not following.done()
            comfy.let.set()
            assert len(entries(await following, "images")) == 1
        for folder in ("output", "spool"):
            assert files_below(settings.data_dir / folder) == []
    finally:
        comfy.end()
