"""The response of a direct job: every output of every type, or an error with its reason."""

import asyncio
import base64
from pathlib import Path

import pytest

from direct.harness import direct_harness, entries
from fakes.comfy import CONTENT, PNG, FakeComfy, Prompt, Script, holding, playing
from fakes.recordings import Recording, all_recordings, recording
from worker_gpu.direct.response import MAX_RUN_RESPONSE_BYTES, MAX_RUNSYNC_RESPONSE_BYTES, response_limit
from worker_gpu.direct.settings import DirectSettings
from worker_gpu.job.node_policy import NodePolicy
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object

pytestmark = pytest.mark.asyncio

SAVE: dict[str, Json] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
}
SUCCEEDED = [
    r for r in all_recordings() if r.accepted and maybe_object((r.entry or {}).get("status")).get("completed") is True
]


def listing(files: dict[str, bytes]) -> Script:
    """Node 2 lists `files` in the prompt's folder."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        listed: list[Json] = []
        for name, content in files.items():
            comfy.files[("output", prompt.folder, name)] = content
            listed.append({"filename": name, "subfolder": prompt.folder, "type": "output"})
        await comfy.tell(prompt, "execution_start")
        return {"outputs": {"2": {"anything": listed}}, "status": {"status_str": "success", "messages": []}}

    return script


@pytest.mark.parametrize("case", SUCCEEDED, ids=str)
async def test_response_has_the_files_and_texts_of_a_recorded_run(case: Recording, tmp_path: Path) -> None:
    async with direct_harness(tmp_path, playing(case)) as harness:
        answer = await harness.run({"workflow": dict(case.graph), "options": {"temp_outputs": True}})

        assert "error" not in answer
        listed = [
            (str(entry["filename"]), entry)
            for name, entries_ in answer.items()
            if name not in ("timings", "prompt_id")
            for entry in map(maybe_object, maybe_list(entries_))
        ]
        assert listed
        for name, entry in listed:
            if entry["type"] == "base64":
                assert base64.b64decode(str(entry["data"])) == CONTENT[name.rpartition(".")[2]]
        assert harness.updates[-1] == {"type": "stage", "stage": "uploading"} or harness.updates[-1]["type"] == "output"


async def test_response_has_a_list_for_each_type_and_always_images(tmp_path: Path) -> None:
    files = {
        "a.png": PNG,
        "b.mp4": CONTENT["mp4"],
        "c.gif": b"GIF89a" + b"x" * 20,
        "d.flac": b"fLaC" + b"x" * 20,
        "e.ply": b"ply\n" + b"x" * 20,
        "f.zip": b"PK\x03\x04",
    }
    async with direct_harness(tmp_path, listing(files)) as harness:
        answer = await harness.run({"workflow": SAVE})

        lists = ("images", "videos", "gifs", "audio", "3d", "files")
        assert {name: [entry["filename"] for entry in entries(answer, name)] for name in lists} == {
            "images": ["a.png"],
            "videos": ["b.mp4"],
            "gifs": ["c.gif"],
            "audio": ["d.flac"],
            "3d": ["e.ply"],
            "files": ["f.zip"],
        }
        (video,) = entries(answer, "videos")
        assert (video["type"], video["content_type"]) == ("base64", "video/mp4")


async def test_response_has_a_text_as_text_and_an_empty_images_list(tmp_path: Path) -> None:
    case = recording("text_preview_any")
    async with direct_harness(tmp_path, playing(case)) as harness:
        answer = await harness.run({"workflow": dict(case.graph)})

        (text,) = entries(answer, "text")
        assert (text["type"], text["data"]) == ("text", "hello")
        assert answer["images"] == []


async def test_input_files_and_params_reach_the_workflow(tmp_path: Path) -> None:
    graph: JsonObject = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "me.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }
    plain = base64.b64encode(PNG).decode()
    async with direct_harness(tmp_path, listing({"a.png": PNG})) as harness:
        for text in (plain, f"data:image/png;base64,{plain}"):
            await harness.run(
                {
                    "workflow": graph,
                    "images": [{"name": "me.png", "image": text}],
                    "params": {"2": {"filename_prefix": "mine"}},
                }
            )
        first, second = harness.comfy.prompts
        loaded = maybe_object(maybe_object(first.graph["1"])["inputs"])["image"]
        assert harness.comfy.inputs == {str(loaded): PNG}
        assert maybe_object(maybe_object(second.graph["1"])["inputs"])["image"] == loaded
        prefix = str(maybe_object(maybe_object(first.graph["2"])["inputs"])["filename_prefix"])
        assert prefix == f"{first.folder}/mine"
        assert first.folder != second.folder


@pytest.mark.parametrize("field", ["comfy_org_api_key", "api_key_comfy_org"])
async def test_api_node_key_reaches_comfyui_but_not_the_log(tmp_path: Path, field: str) -> None:
    async with direct_harness(tmp_path, listing({"a.png": PNG})) as harness:
        await harness.run({"workflow": SAVE, field: "secret-key"})

        assert harness.comfy.prompts[0].extra["api_key_comfy_org"] == "secret-key"
        assert "secret-key" not in harness.log.getvalue()


@pytest.mark.parametrize("metadata", [True, False])
async def test_images_keep_the_workflow_unless_metadata_is_false(tmp_path: Path, metadata: bool) -> None:
    text = b"prompt\0" + b'{"2": {"class_type": "SaveImage"}}'
    chunk = len(text).to_bytes(4, "big") + b"tEXt" + text + bytes(4)
    picture = b"\x89PNG\r\n\x1a\n" + chunk + bytes(4) + b"IEND\xae\x42\x60\x82"
    async with direct_harness(tmp_path, listing({"a.png": picture})) as harness:
        answer = await harness.run({"workflow": SAVE, "options": {"metadata": metadata}})

        (entry,) = entries(answer, "images")
        given = base64.b64decode(str(entry["data"]))
        assert given == (picture if metadata else picture.replace(chunk, b""))
        assert entry["size_bytes"] == len(given)


async def test_response_has_the_prompt_id_of_comfyui(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, listing({"a.png": PNG})) as harness:
        answer = await harness.run({"workflow": SAVE})
        assert answer["prompt_id"] == harness.comfy.prompts[0].prompt_id


async def test_response_over_the_limit_of_runpod_fails_with_advice(tmp_path: Path) -> None:
    """worker-comfyui#129: RunPod rejects the result with 400 after the work is done."""
    small = DirectSettings(max_answer_bytes=100_000)
    async with direct_harness(tmp_path, listing({"a.png": PNG + bytes(75_000)}), small) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert answer["code"] == "output_too_large"
        assert "BUCKET_ENDPOINT_URL" in str(answer["error"])


async def test_response_limit_depends_on_run_or_runsync() -> None:
    assert response_limit("sync-1", None) == MAX_RUNSYNC_RESPONSE_BYTES == 20_000_000
    assert response_limit("1-u1", None) == MAX_RUN_RESPONSE_BYTES == 10_000_000


EDITOR: JsonObject = {"last_node_id": 3, "nodes": [{"id": 3, "type": "KSampler"}], "links": []}


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"workflow": EDITOR}, "invalid_workflow", "Export (API)"),
        ({"workflow": "not json"}, "invalid_workflow", "is not JSON"),
        ({"workflow": {"1": {}}}, "invalid_workflow", "node 1 has no class_type"),
        ({"workflow": SAVE, "images": [{"name": "a"}]}, "invalid_request", "image"),
        ({"workflow": SAVE, "images": [{"name": "a", "image": "*"}]}, "invalid_request", "not base64"),
        ({"workflow": SAVE, "images": [{"name": "a", "image": "https://x/y"}]}, "invalid_request", "is a URL"),
        ({"workflow": SAVE, "params": {"9": {"x": 1}}}, "invalid_request", "no node 9"),
        ({"workflow": SAVE, "timeout": -1}, "invalid_request", "timeout"),
        ({"workflow": SAVE, "options": {"metadata": "no"}}, "invalid_request", "options.metadata"),
    ],
)
async def test_invalid_request_is_rejected_with_a_reason_and_runs_nothing(
    tmp_path: Path, given: JsonObject, code: str, words: str
) -> None:
    async with direct_harness(tmp_path, holding()) as harness:
        answer = await harness.run(given)

        assert answer["code"] == code
        assert words in str(answer["error"])
        assert harness.comfy.prompts == []


async def test_workflow_rejected_by_comfyui_fails_with_node_errors(tmp_path: Path) -> None:
    case = recording("one_output_invalid_answers_200")
    async with direct_harness(tmp_path, holding()) as harness:
        harness.comfy.answer = (200, case.answer)
        answer = await harness.run({"workflow": dict(case.graph)})

        assert answer["code"] == "invalid_workflow"
        assert "9" in maybe_object(maybe_object(answer["details"])["node_errors"])


async def test_error_after_an_image_was_saved_fails_the_job(tmp_path: Path) -> None:
    """worker-comfyui answers COMPLETED with `errors` beside the image."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        comfy.files[("output", prompt.folder, "a.png")] = PNG
        saved: JsonObject = {"images": [{"filename": "a.png", "subfolder": prompt.folder, "type": "output"}]}
        await comfy.tell(prompt, "execution_start")
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=saved)
        error: JsonObject = {"exception_type": "ValueError", "exception_message": "bad latent", "node_id": "1"}
        messages: list[Json] = [["execution_error", error]]
        return {"outputs": {"2": saved}, "status": {"status_str": "error", "messages": messages}}

    async with direct_harness(tmp_path, script) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert answer["error"] == "execution_error: bad latent"
        assert answer["node"] == {"id": "1", "class_type": "EmptyImage"}
        assert "images" not in answer


async def test_job_over_its_time_limit_stops_with_timeout(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, holding()) as harness:
        answer = await harness.run({"workflow": SAVE, "timeout": 0.2})

        assert answer["code"] == "timeout"
        assert "POST /interrupt" in harness.comfy.calls
        await harness.comfy.notice.until(lambda: harness.comfy.running is None)


async def test_canceled_job_leaves_comfyui_idle(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, holding()) as harness:
        running = asyncio.create_task(harness.run({"workflow": SAVE}))
        await harness.comfy.notice.until(lambda: harness.comfy.running is not None)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert "POST /interrupt" in harness.comfy.calls
        await harness.comfy.notice.until(lambda: harness.comfy.running is None)


async def test_denied_node_is_rejected(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, holding(), nodes=NodePolicy.parse("", "Save*")) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert answer["code"] == "node_not_allowed"
        assert answer["node"] == {"id": "2", "class_type": "SaveImage"}
        assert harness.comfy.prompts == []


def out_of_memory(times: int) -> Script:
    """The first `times` runs fail because memory runs out."""
    runs = 0

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        nonlocal runs
        runs += 1
        if runs > times:
            return await listing({"a.png": PNG})(comfy, prompt)
        await comfy.tell(prompt, "execution_start")
        error: JsonObject = {"exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out of memory"}
        return {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", error]]}}

    return script


async def test_job_succeeds_after_it_ran_out_of_memory_once(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, out_of_memory(1)) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert [entry["filename"] for entry in entries(answer, "images")] == ["a.png"]
        assert len(harness.comfy.prompts) == 2
        calls = harness.comfy.calls
        assert calls.index("POST /free") < len(calls) - 1 - calls[::-1].index("POST /prompt")


async def test_job_out_of_memory_twice_fails_and_replaces_the_worker(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, out_of_memory(2)) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert (answer["code"], answer["refresh_worker"]) == ("out_of_memory", True)
        assert len(harness.comfy.prompts) == 2


async def test_lost_cuda_context_replaces_the_worker_without_a_retry(tmp_path: Path) -> None:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        error: JsonObject = {
            "exception_type": "RuntimeError",
            "exception_message": "CUDA error: unspecified launch failure",
        }
        return {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", error]]}}

    async with direct_harness(tmp_path, script) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert (answer["code"], answer["refresh_worker"]) == ("execution_error", True)
        assert len(harness.comfy.prompts) == 1
