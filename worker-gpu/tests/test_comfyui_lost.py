"""A ComfyUI that dies, hangs or forgets: the job says so, soon, and may be tried elsewhere."""

import re
import time
from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, holding, playing
from fakes.recordings import recording
from fakes.stage import staged
from worker_gpu.shape import JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

GRAPH: dict[str, JsonObject] = {"2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "t"}}}


async def test_a_comfyui_that_no_longer_answers_fails_the_job(tmp_path: Path) -> None:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        comfy.unwell = True
        await prompt.interrupted.wait()
        return None

    async with staged(tmp_path, script, GRAPH) as stage:
        receipt = await stage.run()

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")
        assert maybe_object(stage.gateway.report["error"])["retryable"] is True


async def test_a_comfyui_that_is_silent_too_long_counts_as_hung(tmp_path: Path) -> None:
    start = time.monotonic()
    async with staged(
        tmp_path,
        holding(),
        GRAPH,
        change=lambda job: job.limits.update(silence_s=5),
        now=lambda: start + (time.monotonic() - start) * 20,
    ) as stage:
        receipt = await stage.run()

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")
        told = re.search(r"said nothing for (\d+) seconds", str(maybe_object(stage.gateway.report["error"])["message"]))
        assert told is not None
        assert int(told.group(1)) >= 5


async def test_silence_while_others_run_is_no_fault(tmp_path: Path) -> None:
    """A prompt that waits in the queue of a shared ComfyUI is not hung."""
    start = time.monotonic()
    async with staged(
        tmp_path,
        holding(),
        GRAPH,
        change=lambda job: job.limits.update(silence_s=1),
        now=lambda: start + (time.monotonic() - start) * 20,
    ) as stage:
        stage.comfy.running = Prompt("other", {}, "other", {})
        stage.gateway.job.deadline_s = 0.5
        receipt = await stage.run()

        assert receipt.code == "timeout"


async def test_a_comfyui_that_answers_nothing_at_all_fails_the_job_before_it_runs(tmp_path: Path) -> None:
    async with staged(tmp_path, holding(), GRAPH) as stage:
        stage.comfy.unwell = True
        receipt = await stage.run()

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")


@pytest.mark.parametrize("prompt_too", [False, True])
async def test_a_lost_answer_never_runs_a_prompt_twice(tmp_path: Path, prompt_too: bool) -> None:
    case = recording("success_image")
    async with staged(tmp_path, playing(case), case.graph) as stage:
        stage.comfy.lose_answers, stage.comfy.lose_prompts = 1, prompt_too
        receipt = await stage.run()

        assert receipt.outcome == "succeeded"
        assert len(stage.comfy.prompts) == 1
        assert stage.comfy.calls.count("POST /prompt") == (2 if prompt_too else 1)


async def test_an_exception_while_comfyui_checks_the_graph_is_the_graphs_fault(tmp_path: Path) -> None:
    async with staged(tmp_path, holding(), GRAPH) as stage:
        stage.comfy.answer = (500, "Server got itself in trouble")
        receipt = await stage.run()

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")
