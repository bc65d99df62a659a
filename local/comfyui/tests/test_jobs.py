"""/api/jobs, as newer versions of ComfyUI have it."""

import uuid

import pytest

from local_comfyui.json_types import Json, JsonObject, as_object
from tests.conftest import Start
from tests.server import Server
from tests.test_execution import PICTURE, SAVED, save, slow

SLOW: JsonObject = {"1": PICTURE, "5": slow(), "2": save("5")}


def jobs_of(answer: JsonObject) -> list[tuple[Json, Json]]:
    jobs = answer["jobs"]
    assert isinstance(jobs, list)
    return [(as_object(job)["id"], as_object(job)["status"]) for job in jobs]


@pytest.mark.asyncio
async def test_a_job_goes_from_pending_to_in_progress_to_completed(start: Start) -> None:
    server = await start("--probe-nodes", held=True)
    listener = await server.listen("c")
    await server.post("/prompt", {"prompt": SLOW, "client_id": "c", "prompt_id": "first"})
    await server.pauses.reached()
    await server.post("/prompt", {"prompt": SAVED, "client_id": "c", "prompt_id": "second"})
    assert (await server.get("/api/jobs/first"))["status"] == "in_progress"
    assert (await server.get("/api/jobs/second"))["status"] == "pending"
    assert set(jobs_of(await server.get("/api/jobs"))) == {("first", "in_progress"), ("second", "pending")}
    server.pauses.release()
    await listener.until_over("second")
    job = await server.get("/api/jobs/second")
    start_time, end_time = job["execution_start_time"], job["execution_end_time"]
    assert isinstance(start_time, int) and isinstance(end_time, int) and start_time <= end_time
    file: JsonObject = {"filename": "t_00002_.png", "subfolder": "", "type": "output"}
    assert job["status"] == "completed"
    assert job["outputs"] == {"2": {"images": [file]}}
    assert job["preview_output"] == {**file, "nodeId": "2", "mediaType": "images"}
    assert as_object(job["workflow"])["prompt"] == SAVED


@pytest.mark.asyncio
async def test_cancel_stops_a_running_job_and_drops_a_waiting_one(start: Start) -> None:
    server = await start("--probe-nodes", held=True)
    listener = await server.listen("c")
    await server.post("/prompt", {"prompt": SLOW, "client_id": "c", "prompt_id": "first"})
    await server.pauses.reached()
    await server.post("/prompt", {"prompt": SAVED, "client_id": "c", "prompt_id": "second"})

    assert await server.post("/api/jobs/second/cancel") == (200, {"cancelled": True})
    assert await server.post("/api/jobs/second/cancel") == (200, {"cancelled": False})
    async with server.session.get(server.url + "/api/jobs/second") as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "Job not found"})
    assert await server.post("/api/jobs/first/cancel") == (200, {"cancelled": True})
    server.pauses.release()
    await listener.until_over("first")

    assert (await server.get("/api/jobs/first"))["status"] == "cancelled"
    assert await server.post("/api/jobs/first/cancel") == (200, {"cancelled": False})


@pytest.mark.asyncio
async def test_several_jobs_are_cancelled_at_once(start: Start) -> None:
    server = await start("--probe-nodes", held=True)
    running, waiting = str(uuid.uuid4()), str(uuid.uuid4())
    for prompt_id in (running, waiting):
        await server.post("/prompt", {"prompt": SLOW, "prompt_id": prompt_id})
    await server.pauses.reached()
    bad: JsonObject = {"error": "job_ids contains invalid id(s)", "invalid_ids": ["x"]}
    assert await server.post("/api/jobs/cancel", {"job_ids": [waiting, "x"]}) == (400, bad)
    assert await server.post("/api/jobs/cancel", {"job_ids": [str(uuid.uuid4())]}) == (200, {"cancelled": False})
    assert await server.post("/api/jobs/cancel", {"job_ids": [running, waiting]}) == (200, {"cancelled": True})
    assert (await server.get("/queue"))["queue_pending"] == []


@pytest.mark.asyncio
async def test_a_failed_job_has_its_error_and_a_text_is_a_preview(server: Server) -> None:
    await server.run(
        {"1": PICTURE, "8": {"class_type": "Explode", "inputs": {"image": ["1", 0]}}, "2": save("8")}, prompt_id="bad"
    )
    job = await server.get("/api/jobs/bad")
    assert job["status"] == "failed"
    assert as_object(job["execution_error"])["node_type"] == "Explode"
    text: JsonObject = {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": "x" * 2000}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    await server.run(text, prompt_id="text")
    job = await server.get("/api/jobs/text")
    assert job["preview_output"] == {"content": "x" * 1024, "truncated": True, "nodeId": "2", "mediaType": "text"}
    assert job["outputs_count"] == 0


@pytest.mark.asyncio
async def test_jobs_are_filtered_sorted_and_paged(server: Server) -> None:
    for prompt_id in ("a", "b", "c"):
        await server.run(
            SAVED, prompt_id=prompt_id, extra_data={"extra_pnginfo": {"workflow": {"id": f"w{prompt_id}"}}}
        )
    everything = await server.get("/api/jobs?sort_order=asc")
    assert sorted(jobs_of(everything)) == [("a", "completed"), ("b", "completed"), ("c", "completed")]
    assert everything["pagination"] == {"offset": 0, "limit": None, "total": 3, "has_more": False}
    page = await server.get("/api/jobs?limit=1&offset=1&sort_order=asc&sort_by=execution_duration")
    assert page["pagination"] == {"offset": 1, "limit": 1, "total": 3, "has_more": True}
    assert jobs_of(await server.get("/api/jobs?workflow_id=wb")) == [("b", "completed")]
    assert jobs_of(await server.get("/api/jobs?status=failed,pending")) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["status=x", "sort_by=x", "sort_order=x", "limit=0", "limit=x", "offset=-1"])
async def test_a_bad_query_is_named(server: Server, query: str) -> None:
    async with server.session.get(f"{server.url}/api/jobs?{query}") as answer:
        assert answer.status == 400
        assert query.split("=")[0].split("_")[0] in (await answer.json())["error"].lower()
