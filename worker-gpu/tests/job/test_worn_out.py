"""A gateway's job that meets the end of the worker's memory, GPU or patience with node classes."""

import dataclasses
from pathlib import Path

import pytest

from direct.test_answers import out_of_memory
from fakes.comfy import PNG, FakeComfy, Prompt, holding
from fakes.harness import Harness, job_harness
from worker_gpu.job.node_policy import NodePolicy
from worker_gpu.json_readers import JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

GRAPH: dict[str, JsonObject] = {
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
}


async def test_memory_that_ran_out_once_is_freed_and_nobody_hears_of_it(tmp_path: Path) -> None:
    async with job_harness(tmp_path, out_of_memory(1), GRAPH) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.refresh_worker) == ("succeeded", False)
        assert list(harness.gateway.outputs) == ["a.png"]
        shown = [float(str(m["value"])) for m in harness.gateway.messages if m["type"] == "progress"]
        assert shown == sorted(shown)


async def test_memory_that_ran_out_twice_is_reported_and_the_receipt_asks_for_another_worker(tmp_path: Path) -> None:
    async with job_harness(tmp_path, out_of_memory(2), GRAPH) as harness:
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "out_of_memory")
        assert receipt.to_wire()["refresh_worker"] is True
        assert maybe_object(harness.gateway.report["error"])["retryable"] is True
        assert len(harness.comfy.prompts) == 2


async def test_outputs_of_a_first_try_that_ran_out_of_memory_are_in_the_final_report(tmp_path: Path) -> None:
    names = iter(("a.png", "b.png"))
    stages: list[Harness] = []

    def reported() -> list[str]:
        return [str(maybe_object(m["output"])["name"]) for m in stages[0].gateway.messages if m["type"] == "output"]

    async def a_picture_then_no_memory(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        name = next(names)
        comfy.files[("output", prompt.folder, name)] = PNG
        output: JsonObject = {"images": [{"filename": name, "subfolder": prompt.folder, "type": "output"}]}
        await comfy.tell(prompt, "execution_start")
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=output)
        await stages[0].gateway.notice.until(lambda: name in reported())
        error: JsonObject = {"exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out of memory"}
        return {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", error]]}}

    async with job_harness(tmp_path, a_picture_then_no_memory, GRAPH) as harness:
        stages.append(harness)
        receipt = await harness.run()

        assert receipt.code == "out_of_memory"
        assert reported() == ["a.png", "b.png"]
        assert list(harness.gateway.outputs) == ["a.png", "b.png"]


async def test_a_lost_cuda_context_asks_for_another_worker_without_another_try(tmp_path: Path) -> None:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        error: JsonObject = {
            "exception_type": "RuntimeError",
            "exception_message": "CUDA error: unspecified launch failure",
        }
        return {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", error]]}}

    async with job_harness(tmp_path, script, GRAPH) as harness:
        receipt = await harness.run()

        assert (receipt.code, receipt.refresh_worker) == ("execution_error", True)
        assert len(harness.comfy.prompts) == 1


async def test_a_node_that_this_worker_does_not_run_fails_the_job_whatever_the_gateway_allows(tmp_path: Path) -> None:
    async with job_harness(tmp_path, holding(), GRAPH) as harness:
        harness.context.settings = dataclasses.replace(
            harness.context.settings, nodes=NodePolicy.parse("", "SaveImage")
        )
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "node_not_allowed")
        error = maybe_object(harness.gateway.report["error"])
        assert error["node"] == {"id": "2", "class_type": "SaveImage"}
        assert harness.comfy.prompts == []
