"""A ComfyUI that dies, hangs or forgets: the job says so, soon, and may be tried elsewhere."""

import asyncio
import dataclasses
import re
import time
from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, Script, holding, playing
from fakes.harness import JOB, QUICK, job_harness
from fakes.killable import KillableComfy, mortal_of
from fakes.recordings import recording
from worker_gpu.comfy.prompt_state import POLLS_BEFORE_UNREADABLE, UNREADABLE
from worker_gpu.json_readers import JsonObject, maybe_object
from worker_gpu.lifecycle.comfyui import ExternalComfy
from worker_gpu.timeouts import Timeouts

pytestmark = pytest.mark.asyncio

GRAPH: dict[str, JsonObject] = {"2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "t"}}}


def external(url: str, timeouts: Timeouts, _fake: FakeComfy) -> ExternalComfy:
    """Somebody else's ComfyUI."""
    return ExternalComfy(url, timeouts)


async def test_a_comfyui_that_no_longer_answers_fails_the_job(tmp_path: Path) -> None:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        comfy.unwell = True
        await prompt.interrupted.wait()
        return None

    async with job_harness(tmp_path, script, GRAPH) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")
        assert maybe_object(harness.gateway.report["error"])["retryable"] is True


async def test_a_comfyui_that_is_silent_too_long_counts_as_hung(tmp_path: Path) -> None:
    start = time.monotonic()
    async with job_harness(
        tmp_path,
        holding(),
        GRAPH,
        change=lambda job: job.limits.update(silence_s=5),
        now=lambda: start + (time.monotonic() - start) * 20,
    ) as harness:
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code) == ("failed", "execution_error")
        assert (error["at"], error["retryable"]) == ("workflow", False)
        reported = re.search(r"said nothing for (\d+) seconds", str(error["message"]))
        assert reported is not None
        assert int(reported.group(1)) >= 5


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_graph_that_hangs_comfyui_is_not_tried_again_and_its_time_is_told(
    tmp_path: Path, announced: bool, own: bool
) -> None:
    """A node that holds Python's interpreter keeps back even the message that the graph began."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.hang = asyncio.Event()
        if announced:
            await comfy.tell(prompt, "execution_start")
            await comfy.tell(prompt, "executing", node="2")
        await prompt.interrupted.wait()
        return None

    timeouts = dataclasses.replace(QUICK, comfy_call_s=0.5, unreachable_s=0.3)
    async with job_harness(
        tmp_path, script, GRAPH, timeouts=timeouts, engine=KillableComfy if own else external
    ) as harness:
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (error["code"], error["at"], error["retryable"]) == ("execution_error", "workflow", False)
        assert ("node it reported was 2 (SaveImage)" in str(error["message"])) is announced
        assert receipt.execution_ms is not None
        assert receipt.execution_ms >= 300
        assert maybe_object(harness.gateway.report["timings"])["execution_ms"] == receipt.execution_ms


async def test_a_comfyui_that_hangs_on_the_prompt_of_others_is_no_fault_of_the_graph(tmp_path: Path) -> None:
    timeouts = dataclasses.replace(QUICK, comfy_call_s=0.5, unreachable_s=0.3)
    async with job_harness(tmp_path, holding(), GRAPH, timeouts=timeouts) as harness:
        harness.comfy.running = Prompt("other", {}, "other", {})
        await harness.comfy.tell_status()
        running = asyncio.create_task(harness.run())
        await harness.comfy.notice.until(lambda: len(harness.comfy.prompts) == 1)
        harness.comfy.hang = asyncio.Event()
        receipt = await running

        assert (receipt.code, receipt.execution_ms) == ("comfyui_unavailable", None)
        assert maybe_object(harness.gateway.report["error"])["retryable"] is True


async def test_silence_while_others_run_is_no_fault(tmp_path: Path) -> None:
    """A prompt that waits in the queue of a shared ComfyUI is not hung."""
    start = time.monotonic()
    async with job_harness(
        tmp_path,
        holding(),
        GRAPH,
        change=lambda job: job.limits.update(silence_s=1),
        now=lambda: start + (time.monotonic() - start) * 20,
    ) as harness:
        harness.comfy.running = Prompt("other", {}, "other", {})
        harness.gateway.job.deadline_s = 0.5
        receipt = await harness.run()

        assert receipt.code == "timeout"


async def test_a_comfyui_that_answers_nothing_at_all_fails_the_job_before_it_runs(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        harness.comfy.unwell = True
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")


@pytest.mark.parametrize("prompt_too", [False, True])
async def test_a_lost_answer_never_runs_a_prompt_twice(tmp_path: Path, prompt_too: bool) -> None:
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        harness.comfy.lose_answers, harness.comfy.lose_prompts = 1, prompt_too
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert len(harness.comfy.prompts) == 1
        assert harness.comfy.calls.count("POST /prompt") == (2 if prompt_too else 1)


async def test_an_exception_while_comfyui_checks_the_graph_is_the_graphs_fault(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        harness.comfy.answer = (500, "Server got itself in trouble")
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "invalid_workflow")


def reported(done: asyncio.Event) -> Script:
    """A graph that shows a text and ends once `done` is set."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        await done.wait()
        return {"outputs": {"2": {"text": ["hi"]}}, "status": {"status_str": "success", "messages": []}}

    return script


@pytest.mark.parametrize("jobs_api", [False, True])
async def test_a_history_that_comfyui_cannot_tell_is_the_graphs_fault(tmp_path: Path, jobs_api: bool) -> None:
    """A node listed something that is no JSON: the same graph would end so everywhere."""
    done = asyncio.Event()
    async with job_harness(tmp_path, reported(done), GRAPH, jobs_api=jobs_api) as harness:
        harness.comfy.failing |= {"GET /history": 1_000_000, "GET /api": 1_000_000}
        running = asyncio.create_task(harness.run())
        await harness.comfy.notice.until(lambda: harness.comfy.running is not None)
        done.set()
        receipt = await running

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code, error["retryable"]) == ("failed", "execution_error", False)
        assert error["message"] == UNREADABLE


async def test_what_the_history_cannot_tell_the_jobs_api_may(tmp_path: Path) -> None:
    done = asyncio.Event()
    done.set()
    async with job_harness(tmp_path, reported(done), GRAPH, jobs_api=True) as harness:
        harness.comfy.failing["GET /history"] = 1_000_000
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert list(harness.gateway.outputs) == ["2.txt"]


@pytest.mark.parametrize("route", ["GET /history", "GET /queue", "GET /api"])
async def test_an_error_of_comfyuis_own_for_a_moment_is_passed_over(tmp_path: Path, route: str) -> None:
    """It says nothing of the run, least of all that it is lost."""
    done, times = asyncio.Event(), POLLS_BEFORE_UNREADABLE - 1
    async with job_harness(tmp_path, reported(done), GRAPH, jobs_api=route == "GET /api") as harness:
        harness.comfy.failing[route] = times
        running = asyncio.create_task(harness.run())
        await harness.comfy.notice.until(lambda: harness.comfy.failing[route] == 0)
        done.set()

        assert (await running).outcome == "succeeded"


async def test_a_queue_that_stays_broken_is_a_comfyui_that_no_longer_answers(tmp_path: Path) -> None:
    async with job_harness(tmp_path, reported(asyncio.Event()), GRAPH) as harness:
        harness.comfy.failing["GET /queue"] = 1_000_000
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "comfyui_unavailable")
        assert maybe_object(harness.gateway.report["error"])["message"] == "ComfyUI no longer answers."


async def test_the_last_lines_are_those_of_this_job_alone(tmp_path: Path) -> None:
    """Custom nodes print prompts: an earlier job may be somebody else's."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        del comfy
        mortal_of(harness).lines.append("begun")
        await mortal_of(harness).die()
        await prompt.interrupted.wait()
        return None

    async with job_harness(tmp_path, script, GRAPH, engine=KillableComfy) as harness:
        mortal_of(harness).lines.append("the prompt of another tenant")
        await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert maybe_object(error["details"])["comfyui_log"] == ["begun", "Segmentation fault"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_a_disk_that_is_full_is_told_from_a_comfyui_that_is_gone(tmp_path: Path) -> None:
    spool = tmp_path / "worker" / "spool" / f"{JOB}.1"
    spool.mkdir(parents=True)
    (spool / "1").symlink_to("/dev/full")
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "insufficient_resources")
        assert maybe_object(harness.gateway.report["error"])["retryable"] is True
