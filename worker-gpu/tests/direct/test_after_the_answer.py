"""A direct job's answer waits for none of what is left to do after it; the next job does."""

import asyncio
import io
import os
from pathlib import Path

import pytest

from direct.stage import direct_stage, entries
from direct.test_answers import SAVE, listing
from fakes.comfy import PNG, holding
from fakes.own import engine_settings
from test_own_comfyui import SAVE as EXECUTABLE
from test_own_comfyui import files_below, slow
from test_own_comfyui_lost import SlowToStart
from worker_gpu.direct.run import run_direct
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.shape import JsonObject
from worker_gpu.workplace import Tools, open_workplace

pytestmark = pytest.mark.asyncio


async def test_answers_before_comfyuis_history_is_deleted(tmp_path: Path) -> None:
    async with direct_stage(tmp_path, listing({"a.png": PNG})) as stage:
        stage.comfy.hold_deletions = asyncio.Event()
        answer = await stage.answer({"workflow": SAVE})

        assert len(entries(answer, "images")) == 1
        assert stage.comfy.deleted == []
        following = asyncio.create_task(stage.answer({"workflow": SAVE}))
        await stage.comfy.notice.until(lambda: "POST /history" in stage.comfy.calls)
        assert stage.comfy.calls.count("POST /prompt") == 1
        stage.comfy.hold_deletions.set()
        await following
        assert stage.comfy.deleted[0] == stage.comfy.prompts[0].prompt_id


async def test_answers_a_timeout_before_comfyui_has_stopped(tmp_path: Path) -> None:
    async with direct_stage(tmp_path, holding(lets_go=False)) as stage:
        answer = await stage.answer({"workflow": SAVE, "timeout": 0.1})

        assert answer["code"] == "timeout"
        assert stage.comfy.deleted == []
        await stage.tidied()
        assert "POST /interrupt" in stage.comfy.calls
        assert stage.comfy.deleted == [stage.comfy.prompts[0].prompt_id]


async def test_answers_before_a_killed_comfyui_is_restarted(tmp_path: Path) -> None:
    settings, written = engine_settings(tmp_path), io.StringIO()
    assert settings.comfyui_path is not None
    comfy = SlowToStart(settings, settings.comfyui_path, os.environ, Patience(), Log(written))
    comfy.let.set()
    await comfy.start()
    comfy.let.clear()
    progressed = asyncio.Event()

    def tell(told: JsonObject) -> None:
        if told.get("type") == "progress":
            progressed.set()

    try:
        async with open_workplace(settings, comfy, Patience(), Tools(), Log(written)) as place:
            graph: JsonObject = {"workflow": {**slow(steps=200, seconds=60.0)}}
            running = asyncio.create_task(run_direct(place, "1", graph, tell))
            await progressed.wait()
            os.kill(comfy.pid, 9)
            answer = await running

            assert answer["code"] == "comfyui_unavailable"
            following = asyncio.create_task(run_direct(place, "2", {"workflow": {**EXECUTABLE}}, tell))
            await comfy.begun.wait()
            assert not following.done()
            comfy.let.set()
            assert len(entries(await following, "images")) == 1
        for folder in ("output", "spool"):
            assert files_below(settings.data_dir / folder) == []
    finally:
        comfy.end()
