"""A ComfyUI of COMFYUI_URL whose process ends while a graph runs."""

import asyncio
import dataclasses
import io
from pathlib import Path

import pytest

from direct.test_answers import SAVE
from fakes.comfy import FakeComfy, holding
from fakes.harness import QUICK, make_settings
from fakes.server import vanishing
from worker_gpu.direct.run import run_direct
from worker_gpu.lifecycle.comfyui import ExternalComfy
from worker_gpu.lifecycle.worker_context import Deps, open_worker_context
from worker_gpu.log import Log
from worker_gpu.timeouts import Timeouts

NEVER_S = 3600.0


@pytest.mark.asyncio
async def test_refused_connection_fails_sooner_than_a_silent_one(tmp_path: Path) -> None:
    assert Timeouts().refused_s <= 5
    timeouts = dataclasses.replace(QUICK, refused_s=0.2, unreachable_s=NEVER_S, poll_quiet_s=NEVER_S)
    comfy = FakeComfy(holding())
    async with vanishing(comfy.application()) as (url, vanish):
        external = ExternalComfy(url, timeouts)
        settings = make_settings(tmp_path, url)
        async with open_worker_context(settings, external, timeouts, Deps(), Log(io.StringIO())) as context:
            await comfy.notice.until(lambda: comfy.connections > 0)
            job = run_direct(context, "job-1", {"workflow": SAVE}, lambda _update: None)
            running = asyncio.create_task(job)
            await comfy.notice.until(lambda: comfy.running is not None)
            await vanish()
            answer = await running

            assert answer["code"] == "comfyui_unavailable"
            assert answer["message"] == "ComfyUI no longer answers."
