"""A direct job answers as worker-comfyui 5.8.5 does: `images` has each file that ComfyUI lists there, videos too."""

import base64
from pathlib import Path

import pytest
from aiohttp import web

from direct.harness import direct_harness, entries
from direct.test_answers import SAVE, SUCCEEDED
from fakes.comfy import CONTENT, PNG, FakeComfy, Prompt, Script, files_in, playing
from fakes.recordings import Recording
from fakes.server import serving
from worker_gpu.direct.settings import DirectSettings, OutputBucket
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object
from worker_gpu.models.settings import Credentials

pytestmark = pytest.mark.asyncio


HAS_A_RESULT = [case for case in SUCCEEDED if case.case != "preview_is_temp_output"]
"""A workflow that only previews fails here; worker-comfyui answers that it succeeded without images."""


def worker_comfyui_answer(entry: JsonObject) -> JsonObject:
    """The response of worker-comfyui for a history entry whose files have `CONTENT`."""
    found: list[Json] = []
    for output in map(maybe_object, maybe_object(entry.get("outputs")).values()):
        for image in map(maybe_object, maybe_list(output.get("images"))):
            if image["type"] != "temp":
                content = CONTENT[str(image["filename"]).rpartition(".")[2]]
                data = base64.b64encode(content).decode()
                found.append({"filename": image["filename"], "type": "base64", "data": data})
    return {"images": found} if found else {"images": [], "status": "success_no_images"}


def listing(output: JsonObject, content: bytes = PNG) -> Script:
    """Node 2 gives `output`; the files that it lists hold `content` and lie in the prompt's folder."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        moved: JsonObject = {
            key: [in_folder(each, prompt.folder) for each in maybe_list(output[key])] for key in output
        }
        comfy.files.update(dict.fromkeys(files_in(moved), content))
        await comfy.tell(prompt, "execution_start")
        return {"outputs": {"2": moved}, "status": {"status_str": "success", "messages": []}}

    return script


def in_folder(listed: Json, folder: str) -> Json:
    if not isinstance(listed, dict):
        return listed
    return {**listed, "subfolder": f"{folder}/{listed.get('subfolder', '')}".rstrip("/")}


def file(name: str, subfolder: str = "", folder: str = "output") -> JsonObject:
    return {"filename": name, "subfolder": subfolder, "type": folder}


def names(answer: JsonObject, kind: str) -> list[tuple[Json, Json]]:
    return [(entry["filename"], entry["subfolder"]) for entry in entries(answer, kind)]


@pytest.mark.parametrize("case", HAS_A_RESULT, ids=str)
async def test_answer_to_a_recorded_run_holds_the_answer_of_worker_comfyui(case: Recording, tmp_path: Path) -> None:
    assert case.entry is not None
    expected = worker_comfyui_answer(case.entry)
    async with direct_harness(tmp_path, playing(case)) as harness:
        answer = await harness.run({"workflow": dict(case.graph)})

        images: list[Json] = [
            {key: entry[key] for key in ("filename", "type", "data")} for entry in entries(answer, "images")
        ]
        found: JsonObject = {"images": images}
        if "status" in answer:
            found["status"] = answer["status"]
        assert found == expected
        assert "videos" not in answer


async def test_images_have_their_subfolder_beside_the_bare_name(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, listing({"images": [file("a.png", "x/y"), file("a.png")]})) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert names(answer, "images") == [("a.png", "x/y"), ("a.png", "")]


@pytest.mark.parametrize(
    "content", [CONTENT["mp4"], b"GIF89a" + b"x" * 20, b"fLaC" + b"x" * 20], ids=["mp4", "gif", "flac"]
)
async def test_images_hold_every_kind_of_file_listed_under_images(tmp_path: Path, content: bytes) -> None:
    async with direct_harness(tmp_path, listing({"images": [file("a.bin", "s")]}, content)) as harness:
        answer = await harness.run({"workflow": SAVE})

        (entry,) = entries(answer, "images")
        assert (entry["filename"], entry["subfolder"], entry["type"]) == ("a.bin", "s", "base64")
        assert base64.b64decode(str(entry["data"])) == content
        assert {"videos", "gifs", "audio", "files"}.isdisjoint(answer)


@pytest.mark.parametrize("keys", [("images", "gifs"), ("gifs", "images")])
async def test_images_hold_a_file_that_another_key_lists_too(tmp_path: Path, keys: tuple[str, str]) -> None:
    output: JsonObject = {key: [file("a.mp4")] for key in keys}
    async with direct_harness(tmp_path, listing(output, CONTENT["mp4"])) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert names(answer, "images") == [("a.mp4", "")]
        assert "videos" not in answer


async def test_a_video_listed_under_another_key_stays_in_videos(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, listing({"gifs": [file("a.mp4", "s")]}, CONTENT["mp4"])) as harness:
        answer = await harness.run({"workflow": SAVE})

        assert names(answer, "videos") == [("a.mp4", "s")]
        assert (answer["images"], answer["status"]) == ([], "success_no_images")


async def test_images_mark_a_file_of_the_temp_folder(tmp_path: Path) -> None:
    output: JsonObject = {"images": [file("a.png"), file("a.png", folder="temp")]}
    async with direct_harness(tmp_path, listing(output)) as harness:
        answer = await harness.run({"workflow": SAVE, "options": {"temp_outputs": True}})

        assert [(entry["filename"], entry.get("temp")) for entry in entries(answer, "images")] == [
            ("a.png", None),
            ("a.png", True),
        ]


async def test_images_in_a_bucket_have_the_bare_name_and_a_link(tmp_path: Path) -> None:
    async def put(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    store = web.Application()
    store.router.add_put("/{key:.*}", put)
    async with serving(store) as url:
        direct = DirectSettings(bucket=OutputBucket(f"{url}/bk", Credentials("k", "s", "auto")))
        async with direct_harness(
            tmp_path, listing({"images": [file("v.mp4", "s")]}, CONTENT["mp4"]), direct
        ) as harness:
            answer = await harness.run({"workflow": SAVE})

            (entry,) = entries(answer, "images")
            assert (entry["filename"], entry["subfolder"], entry["type"]) == ("v.mp4", "s", "s3_url")
            assert str(entry["data"]).startswith(f"{url}/bk/job-1/s/v.mp4?")


async def test_progress_names_an_output_as_the_answer_does(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, listing({"images": [file("a.png", "s")]})) as harness:
        await harness.run({"workflow": SAVE})

        (update,) = [each for each in harness.updates if each["type"] == "output"]
        assert (update["filename"], update["subfolder"]) == ("a.png", "s")
