"""Input and output files over a store that fails: each file arrives complete, or the job fails with a reason."""

from pathlib import Path

import pytest

from fakes.comfy import FakeComfy, Prompt, Script, playing
from fakes.gateway import Job
from fakes.harness import JOB, job_harness
from fakes.recordings import recording
from worker_gpu.json_readers import JsonObject, maybe_list, maybe_object

pytestmark = pytest.mark.asyncio

CASE = recording("success_image")
LOAD: dict[str, JsonObject] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "my photo.png", "upload": "image"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    "3": {"class_type": "Other", "inputs": {"files": ["my photo.png", "x"], "note": "my photo.png!"}},
}


def saving(content: bytes) -> Script:
    """Node 2 saves one file of `content`."""
    folder = f"{JOB}.1"
    output: JsonObject = {"images": [{"filename": "big.bin", "subfolder": folder, "type": "output"}]}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.files["output", folder, "big.bin"] = content
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=output)
        return {"outputs": {"2": output}, "status": {"status_str": "success", "completed": True, "messages": []}}

    return script


def with_input(job: Job) -> None:
    job.inputs["my photo.png"] = b"picture"


async def test_large_file_is_uploaded_in_equal_parts_with_retries(tmp_path: Path) -> None:
    content = bytes(range(256)) * 41
    async with job_harness(tmp_path, saving(content), CASE.graph) as harness:
        harness.gateway.single_put_bytes, harness.gateway.part_bytes = 1000, 4096
        harness.gateway.faults["part"] = [503, 0]
        harness.gateway.faults["finish"] = [500]
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.content("big.bin") == content
        assert harness.gateway.puts == 3


async def test_file_over_the_memory_limit_is_streamed(tmp_path: Path) -> None:
    content = bytes(9 * 1024 * 1024)
    async with job_harness(tmp_path, saving(content), CASE.graph) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.content("big.bin") == content


@pytest.mark.parametrize("multipart", [False, True])
async def test_rejected_url_is_replaced_by_a_new_one(tmp_path: Path, multipart: bool) -> None:
    async with job_harness(tmp_path, saving(bytes(5000)), CASE.graph) as harness:
        if multipart:
            harness.gateway.single_put_bytes, harness.gateway.part_bytes = 1000, 4096
        harness.gateway.faults["part" if multipart else "put"] = [403]
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.calls.count("uploads") == 2


async def test_missing_multipart_upload_is_started_again(tmp_path: Path) -> None:
    async with job_harness(tmp_path, saving(bytes(5000)), CASE.graph) as harness:
        harness.gateway.single_put_bytes, harness.gateway.part_bytes = 1000, 4096
        harness.gateway.faults["finish"] = [409]
        harness.gateway.problem = "output_missing"
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.content("big.bin") == bytes(5000)


async def test_store_that_rejects_every_url_fails_the_job(tmp_path: Path) -> None:
    async with job_harness(tmp_path, playing(CASE), CASE.graph) as harness:
        harness.gateway.faults["put"] = [403] * 10
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code) == ("failed", "upload_failed")
        assert error["retryable"] is True


async def test_outputs_too_large_for_the_gateway_fail_the_job(tmp_path: Path) -> None:
    async with job_harness(tmp_path, playing(CASE), CASE.graph) as harness:
        harness.gateway.faults["uploads"] = [413]
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "output_too_large")


@pytest.mark.parametrize("times", [1, 2])
async def test_outputs_lost_by_the_store_are_uploaded_again(tmp_path: Path, times: int) -> None:
    async with job_harness(tmp_path, playing(CASE), CASE.graph) as harness:
        harness.gateway.lose_after_complete = times
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert harness.gateway.puts == 1 + times


async def test_outputs_lost_repeatedly_fail_the_job(tmp_path: Path) -> None:
    async with job_harness(tmp_path, playing(CASE), CASE.graph) as harness:
        harness.gateway.lose_after_complete = 3
        receipt = await harness.run()

        assert (receipt.outcome, receipt.code) == ("failed", "upload_failed")
        assert harness.gateway.puts == 3


async def test_inputs_are_stored_by_hash_and_their_names_rewritten(tmp_path: Path) -> None:
    async with job_harness(tmp_path, playing(CASE), LOAD, change=with_input) as harness:
        harness.gateway.faults["inputs"] = [503, 0]
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        ((path, content),) = harness.comfy.inputs.items()
        assert content == b"picture"
        assert path.startswith("job-inputs/")
        assert path.endswith("/my_photo.png")
        graph = harness.comfy.prompts[0].graph
        assert maybe_object(maybe_object(graph["1"])["inputs"]) == {"image": path, "upload": "image"}
        other = maybe_object(maybe_object(graph["3"])["inputs"])
        assert maybe_list(other["files"]) == [path, "x"]
        assert other["note"] == "my photo.png!"


@pytest.mark.parametrize("status", [403, 404])
async def test_unreadable_input_fails_the_job(tmp_path: Path, status: int) -> None:
    async with job_harness(tmp_path, playing(CASE), LOAD, change=with_input) as harness:
        harness.gateway.faults["inputs"] = [status]
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert (receipt.outcome, receipt.code) == ("failed", "input_fetch_failed")
        assert error["message"] == f"The input my photo.png could not be read: status {status}."
        assert harness.comfy.prompts == []


@pytest.mark.parametrize(
    ("served", "said"),
    [(b"forgery", "its hash differs"), (b"pictures", "it is larger than announced"), (b"pic", "it is smaller than")],
)
async def test_input_with_another_hash_fails_the_job(tmp_path: Path, served: bytes, said: str) -> None:
    async with job_harness(tmp_path, playing(CASE), LOAD, change=with_input) as harness:
        harness.gateway.serve_instead = served
        receipt = await harness.run()

        assert receipt.code == "input_fetch_failed"
        assert said in str(maybe_object(harness.gateway.report["error"])["message"])
