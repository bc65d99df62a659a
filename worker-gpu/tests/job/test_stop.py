"""Stopping a job: by its owner, by RunPod, by its deadline, by a newer attempt. ComfyUI is idle afterwards."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, holding
from fakes.gateway import Job
from fakes.harness import JOB, Harness, job_harness
from worker_gpu.json_readers import JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

GRAPH: dict[str, JsonObject] = {
    "1": {"class_type": "SlowSteps", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
}


async def started(harness: Harness) -> "asyncio.Task[object]":
    """The job, once ComfyUI runs its prompt and its channel is open."""
    running: asyncio.Task[object] = asyncio.create_task(harness.run())
    await harness.comfy.notice.until(lambda: harness.comfy.running is not None)
    await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
    return running


@pytest.mark.parametrize("jobs_api", [False, True])
async def test_a_cancel_stops_the_prompt_and_is_reported(tmp_path: Path, jobs_api: bool) -> None:
    async with job_harness(tmp_path, holding(), GRAPH, jobs_api=jobs_api) as harness:
        running = await started(harness)
        await harness.gateway.say({"cancel": True, "reason": "client"})
        receipt = await running

        assert harness.comfy.running is None
        assert harness.gateway.report["outcome"] == "canceled"
        assert harness.gateway.report["error"] is None
        assert getattr(receipt, "outcome", None) == "canceled"
        used = f"POST /api/jobs/{JOB}/cancel" if jobs_api else "POST /interrupt"
        assert used in harness.comfy.calls


async def test_a_cancel_sent_twice_cancels_once(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        running = await started(harness)
        await harness.gateway.say({"cancel": True, "reason": "client"})
        with contextlib.suppress(ConnectionError):
            await harness.gateway.say({"cancel": True, "reason": "client"})
        await running

        assert harness.gateway.report["outcome"] == "canceled"


async def test_a_cancel_takes_a_waiting_prompt_out_of_the_queue(tmp_path: Path) -> None:
    """Another client's prompt runs before it on a shared ComfyUI, and is left alone."""
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        other = Prompt("other", {}, "other", {})
        harness.comfy.running = other
        running = asyncio.create_task(harness.run())
        await harness.comfy.notice.until(lambda: len(harness.comfy.pending) == 1)
        await harness.gateway.notice.until(lambda: len(harness.gateway.channels) == 1)
        await harness.gateway.say({"cancel": True, "reason": "client"})
        await running

        assert harness.comfy.pending == []
        assert harness.comfy.running is other
        assert not other.interrupted.is_set()
        assert harness.gateway.report["outcome"] == "canceled"


async def test_runpods_job_stop_is_reported_before_the_cancellation_goes_on(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        running = await started(harness)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert harness.gateway.report["outcome"] == "canceled"
        assert harness.comfy.running is None


async def test_after_a_stop_the_same_worker_runs_the_next_job(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        running = await started(harness)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        harness.gateway.reports.clear()
        harness.gateway.messages.clear()
        harness.gateway.forget_claim()
        again = await started(harness)
        await harness.gateway.say({"cancel": True, "reason": "client"})
        await again

        assert harness.gateway.report["outcome"] == "canceled"


async def test_the_deadline_stops_the_prompt_and_fails_the_job(tmp_path: Path) -> None:
    def soon(job: Job) -> None:
        job.deadline_s = 0.2

    async with job_harness(tmp_path, holding(), GRAPH, change=soon) as harness:
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code) == ("failed", "timeout")
        assert (error["at"], error["retryable"]) == ("worker", False)
        assert harness.comfy.running is None


async def test_deadline_sent_by_the_gateway_is_a_timeout_too(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        running = await started(harness)
        await harness.gateway.say({"cancel": True, "reason": "deadline"})
        await running

        assert maybe_object(harness.gateway.report["error"])["code"] == "timeout"


async def test_a_superseded_attempt_stops_without_a_report(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        running = await started(harness)
        await harness.gateway.say({"cancel": True, "reason": "superseded"})
        receipt = await running

        assert harness.gateway.reports == []
        assert harness.comfy.running is None
        assert (getattr(receipt, "outcome", None), getattr(receipt, "code", None)) == ("canceled", "superseded")


async def test_outputs_that_were_stored_before_a_stop_are_in_the_report(tmp_path: Path) -> None:
    shown: JsonObject = {"images": [{"filename": "t.png", "subfolder": f"{JOB}.1", "type": "output"}]}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.files["output", f"{JOB}.1", "t.png"] = b"content"
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=shown)
        await prompt.interrupted.wait()
        return None

    async with job_harness(tmp_path, script, GRAPH) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "output" in harness.gateway.types)
        await harness.gateway.say({"cancel": True, "reason": "client"})
        await running

        assert harness.gateway.report["outcome"] == "canceled"
        assert list(harness.gateway.outputs) == ["t.png"]


@pytest.mark.parametrize(("code", "reported"), [(4409, "superseded"), (4410, "job_over")])
async def test_a_channel_closed_for_good_stops_the_job(tmp_path: Path, code: int, reported: str) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        running = await started(harness)
        await harness.gateway.channels[-1].close(code=code)
        receipt = await running

        assert harness.comfy.running is None
        assert harness.gateway.reports == []
        assert len(harness.gateway.channels) == 1
        assert getattr(receipt, "code", None) == reported


async def test_a_cancel_while_inputs_are_fetched_never_reaches_comfyui(tmp_path: Path) -> None:
    def with_input(job: Job) -> None:
        job.inputs["a.png"] = b"x" * 100

    async with job_harness(tmp_path, holding(), GRAPH, change=with_input) as harness:
        harness.gateway.hold_inputs = asyncio.Event()
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: harness.gateway.stages == ["inputs"])
        await harness.gateway.say({"cancel": True, "reason": "client"})
        await running

        assert harness.gateway.report["outcome"] == "canceled"
        assert harness.comfy.prompts == []
        assert "POST /interrupt" not in harness.comfy.calls
        harness.gateway.hold_inputs.set()


async def test_a_prompt_that_does_not_let_go_is_given_up_after_a_while(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(lets_go=False), GRAPH) as harness:
        running = await started(harness)
        began = time.monotonic()
        await harness.gateway.say({"cancel": True, "reason": "client"})
        await running

        assert harness.gateway.report["outcome"] == "canceled"
        assert time.monotonic() - began >= harness.context.timeouts.cancel_s


async def test_upload_refused_because_the_job_has_ended_stops_the_prompt(tmp_path: Path) -> None:
    shown: JsonObject = {"images": [{"filename": "t.png", "subfolder": f"{JOB}.1", "type": "output"}]}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.files["output", f"{JOB}.1", "t.png"] = b"content"
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=shown)
        await prompt.interrupted.wait()
        return None

    async with job_harness(tmp_path, script, GRAPH) as harness:
        harness.gateway.faults["uploads"] = [410]
        harness.gateway.problem = "job_over"
        receipt = await harness.run()

        assert harness.comfy.running is None
        assert harness.gateway.reports == []
        assert (receipt.outcome, receipt.code) == ("canceled", "job_over")
