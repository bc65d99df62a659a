"""The pinned RunPod SDK in its production loop against local/runpod, with the worker and a ComfyUI that executes."""

import base64
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from direct.platform import STEP_S, Platform, platform
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object

SAVE: dict[str, Json] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
}


def slow(seconds: float) -> JsonObject:
    steps: JsonObject = {
        "class_type": "SlowSteps",
        "inputs": {"image": ["1", 0], "steps": int(seconds * 20), "seconds": seconds, "preview": False},
    }
    save: JsonObject = {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "t"}}
    return {"workflow": {"1": SAVE["1"], "5": steps, "2": save}}


@pytest.fixture(scope="module")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Generator[Platform]:
    with platform(tmp_path_factory.mktemp("runpod"), {"NODE_DENY": "LoadImage"}) as running:
        yield running


def test_job_completes_with_its_image(runpod: Platform) -> None:
    status = runpod.end_of(runpod.submit({"workflow": SAVE}))
    assert status["status"] == "COMPLETED", status
    (picture,) = maybe_list(maybe_object(status["output"])["images"])
    assert base64.b64decode(str(maybe_object(picture)["data"])).startswith(b"\x89PNG")


def test_failure_has_its_cause_and_details(runpod: Platform) -> None:
    status = runpod.end_of(runpod.submit({"workflow": {"1": {"class_type": "LoadImage", "inputs": {}}}}))
    assert status["status"] == "FAILED"
    assert str(status["error"]).startswith("node_not_allowed: ")
    assert maybe_object(status["output"])["node"] == {"id": "1", "class_type": "LoadImage"}


def test_progress_is_in_the_status_and_never_after_the_end(runpod: Platform) -> None:
    job = runpod.submit(slow(1.5))
    event = runpod.event("job_progress", job=job)
    assert event["job"] == job
    status = runpod.end_of(job)
    assert status["status"] == "COMPLETED"
    last = runpod.event("job_finished", job=job)
    late = runpod.call("GET", f"/admin/events?after={last['n']}&type=report_ignored&job={job}")
    assert late["events"] == []


def test_canceled_job_stops_in_comfyui_and_the_worker_goes_on(runpod: Platform) -> None:
    job = runpod.submit(slow(60))
    runpod.event("job_progress", job=job)
    runpod.call("POST", f"/v2/gpu/cancel/{job}")
    canceled = runpod.end_of(job)
    assert canceled["status"] == "CANCELLED", (canceled, runpod.log())
    status = runpod.end_of(runpod.submit({"workflow": SAVE}))
    assert status["status"] == "COMPLETED"


def test_workflow_that_ignores_a_cancel_is_killed_within_seconds(runpod: Platform) -> None:
    """One step of a minute: ComfyUI checks for an interrupt only between steps."""
    graph = slow(60)
    maybe_object(maybe_object(maybe_object(graph["workflow"])["5"])["inputs"])["steps"] = 1
    job = runpod.submit(graph)
    runpod.event("job_progress", job=job)
    runpod.call("POST", f"/v2/gpu/cancel/{job}")
    began = time.monotonic()
    assert runpod.end_of(runpod.submit({"workflow": SAVE}))["status"] == "COMPLETED"
    assert time.monotonic() - began < STEP_S, "the step was waited for rather than killed"
    assert 'event="prompt does not stop"' in runpod.log()
    assert "seconds=1" in next(line for line in runpod.log().splitlines() if "prompt does not stop" in line)


def test_timed_out_job_stops_in_comfyui_and_the_worker_goes_on(runpod: Platform) -> None:
    job = runpod.submit(slow(60), {"executionTimeout": 5000})
    assert runpod.end_of(job)["status"] == "TIMED_OUT"
    assert runpod.end_of(runpod.submit({"workflow": SAVE}))["status"] == "COMPLETED"


def test_health_and_debug_answer_as_jobs_without_secrets(runpod: Platform) -> None:
    well = maybe_object(runpod.end_of(runpod.submit({"action": "health"}))["output"])
    assert (well["status"], well["busy"]) == ("ok", False)
    report = maybe_object(runpod.end_of(runpod.submit({"action": "debug"}))["output"])
    assert "RUNPOD_AI_API_KEY" in maybe_list(report["environment_names"])
    assert maybe_object(report["comfyui"])["answers"] is True
    assert maybe_object(report["gpu"])["skipped"] is not None
    assert "development engine" in str(maybe_list(report["log"])), "the last lines that ComfyUI printed"
    memory = report["worker_memory_bytes"]
    assert isinstance(memory, int)
    # A worker without models. obstore is imported with the first manifest and costs 9 MB
    # (docs/operations/benchmarks.md).
    assert memory <= 80_000_000


def test_runpod_replaces_a_worker_out_of_memory_twice(tmp_path: Path) -> None:
    with platform(tmp_path) as runpod:
        explode: JsonObject = {"class_type": "Explode", "inputs": {"image": ["1", 0]}}
        save: JsonObject = {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "t"}}
        job = runpod.submit({"workflow": {"1": SAVE["1"], "9": explode, "2": save}})
        status = runpod.end_of(job)
        assert status["status"] == "FAILED"
        assert str(status["error"]).startswith("out_of_memory: ")
        ended = runpod.event("worker_exited")
        assert runpod.end_of(runpod.submit({"workflow": SAVE}))["status"] == "COMPLETED"
        assert runpod.event("worker_ready", after=int(str(ended["n"])))["worker"] != ended["worker"]


def test_streaming_worker_sends_progress_and_then_the_response(tmp_path: Path) -> None:
    with platform(tmp_path, {"DIRECT_STREAM": "true"}) as runpod:
        status = runpod.end_of(runpod.submit(slow(1)))
        chunks = [maybe_object(chunk) for chunk in maybe_list(status["output"])]
        kinds = [chunk.get("type") for chunk in chunks]
        assert kinds[0] == "stage"
        assert "progress" in kinds
        assert len(maybe_list(chunks[-1]["images"])) == 1
