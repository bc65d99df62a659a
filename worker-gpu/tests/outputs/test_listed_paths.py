"""Outputs that a node lists as strings and values instead of file entries."""

import json
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.comfy import CONTENT, PNG, FakeComfy, Prompt, Script
from fakes.gateway import Job
from fakes.harness import JOB, job_harness
from job.test_job import SAVE, listing
from job.test_own_folders import folders_in
from worker_gpu.comfy.client import changed_ns
from worker_gpu.json_readers import Json, JsonObject, maybe_object

pytestmark = pytest.mark.asyncio

FOLDER = f"{JOB}.1"
GLB = b"glTF\x02\x00\x00\x00"
WITH_BACKGROUND: JsonObject = {"result": [f"{FOLDER}/m.glb", {}, "temp/bg_1.png"]}
"""The output of Preview3D with a background image: model, camera, image (ComfyUI 0.33.0, `PreviewUI3D`)."""
MODEL_AND_BACKGROUND = {("output", FOLDER, "m.glb"): GLB, ("temp", "", "bg_1.png"): PNG}


def wanting_temp(job: Job) -> None:
    job.options["temp_outputs"] = True


async def test_model_in_temp_is_an_output_but_its_background_image_is_not(tmp_path: Path) -> None:
    async with job_harness(tmp_path, listing(WITH_BACKGROUND, MODEL_AND_BACKGROUND), SAVE) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert list(harness.gateway.outputs) == ["m.glb"]


async def test_background_image_in_temp_is_an_output_with_temp_outputs(tmp_path: Path) -> None:
    script = listing(WITH_BACKGROUND, MODEL_AND_BACKGROUND)
    async with job_harness(tmp_path, script, SAVE, change=wanting_temp) as harness:
        await harness.run()

        assert {name: o["temp"] for name, o in harness.gateway.outputs.items()} == {
            "m.glb": False,
            "temp/bg_1.png": True,
        }
        assert harness.gateway.content("temp/bg_1.png") == PNG


async def test_folder_in_brackets_names_the_folder_of_the_file(tmp_path: Path) -> None:
    output: JsonObject = {"result": ["a.glb [temp]", f"{FOLDER}/b.glb [output]", "c.glb [input]"]}
    files = {("temp", "", "a.glb"): GLB + b"a", ("output", FOLDER, "b.glb"): GLB + b"b", ("input", "", "c.glb"): GLB}
    async with job_harness(tmp_path, listing(output, files), SAVE) as harness:
        await harness.run()

        assert {name: harness.gateway.content(name)[-1:] for name in harness.gateway.outputs} == {
            "a.glb": b"a",
            "b.glb": b"b",
        }


@pytest.mark.parametrize("own", [False, True])
async def test_string_that_names_no_file_is_not_an_output(tmp_path: Path, own: bool) -> None:
    output: JsonObject = {"result": ["camera.glb", None], "notes": "see a.png", "text": ["done"]}
    folders = folders_in(tmp_path) if own else None
    async with job_harness(tmp_path, listing(output, {}), SAVE, folders=folders) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert list(harness.gateway.outputs) == ["2.txt"]


async def test_file_named_under_any_key_is_found_by_url(tmp_path: Path) -> None:
    output: JsonObject = {"video_path": ["/srv/ComfyUI/output/clips/v.mp4"], "model_file": "output/m.glb"}
    files = {("output", "clips", "v.mp4"): CONTENT["mp4"], ("output", "", "m.glb"): GLB}
    async with job_harness(tmp_path, listing(output, files), SAVE) as harness:
        await harness.run()

        assert {name: harness.gateway.content(name) for name in harness.gateway.outputs} == {
            "clips/v.mp4": CONTENT["mp4"],
            "m.glb": GLB,
        }


async def test_missing_listed_file_with_an_absolute_path_fails_the_job(tmp_path: Path) -> None:
    output: JsonObject = {"gifs": [{"filename": "/srv/ComfyUI/output/a.mp4", "type": "output"}], "text": ["done"]}
    async with job_harness(tmp_path, listing(output, {}), SAVE) as harness:
        receipt = await harness.run()

        error = maybe_object(harness.gateway.report["error"])
        assert receipt.code == "output_missing"
        assert error["node"] == {"id": "2", "class_type": "SaveImage"}
        assert "/srv" not in str(error)


async def test_shown_numbers_and_booleans_are_text_outputs(tmp_path: Path) -> None:
    async with job_harness(tmp_path, listing({"value": [3.14], "text": [42, True]}, {}), SAVE) as harness:
        await harness.run()

        texts = {name: o["text"] for name, o in harness.gateway.outputs.items()}
        assert texts == {"2.txt": "3.14", "2_2.txt": "42", "2_3.txt": "true"}


async def test_workflow_with_only_previews_says_so(tmp_path: Path) -> None:
    output: JsonObject = {"images": [{"filename": "p.png", "subfolder": "", "type": "temp"}]}
    async with job_harness(tmp_path, listing(output, {("temp", "", "p.png"): PNG}), SAVE) as harness:
        receipt = await harness.run()

        assert receipt.code == "output_missing"
        assert "options.temp_outputs" in str(maybe_object(harness.gateway.report["error"])["message"])


def saving(listed: str) -> Script:
    """A model in the job's output folder `{output}`, listed by `listed`."""

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        own = prompt.own.output
        (own / "3d").mkdir()
        (own / "3d" / "m.glb").write_bytes(GLB)
        (own.parent / "linked").symlink_to(own)
        output: Json = {"result": [listed.format(output=own)]}
        await comfy.tell(prompt, "executed", node="2", display_node="2", output=output)
        return {"outputs": {"2": output}, "status": {"status_str": "success", "completed": True, "messages": []}}

    return script


@pytest.mark.parametrize(
    "listed",
    [
        "{output}/3d/m.glb",
        "{output}/../output/3d/m.glb [output]",
        "{output}/../linked/3d/m.glb",
        "./3d//m.glb",
        "output/3d/m.glb",
    ],
)
async def test_file_is_one_output_in_any_form_of_listing(tmp_path: Path, listed: str) -> None:
    async with job_harness(tmp_path, saving(listed), SAVE, folders=folders_in(tmp_path)) as harness:
        await harness.run()

        assert {name: o["node_id"] for name, o in harness.gateway.outputs.items()} == {"3d/m.glb": "2"}
        assert harness.gateway.puts == 1


@pytest.mark.parametrize("own", [False, True])
async def test_file_with_a_backslash_in_its_name_becomes_an_output(tmp_path: Path, own: bool) -> None:
    # ComfyUI on Linux saves a prefix that a node computed as `a\\b` into a file of that very name.
    image: JsonObject = {"filename": "a\\b_00001_.png", "subfolder": "" if own else FOLDER, "type": "output"}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        if own:
            (prompt.own.output / "a\\b_00001_.png").write_bytes(PNG)
        return await listing({"images": [image]}, {} if own else {("output", FOLDER, "a\\b_00001_.png"): PNG})(
            comfy, prompt
        )

    folders = folders_in(tmp_path) if own else None
    async with job_harness(tmp_path, script, SAVE, folders=folders) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert {name: harness.gateway.content(name) for name in harness.gateway.outputs} == {"a_b_00001_.png": PNG}


async def test_missing_file_is_named_without_its_windows_folder(tmp_path: Path) -> None:
    output: JsonObject = {"gifs": [{"filename": "C:\\Users\\me\\a.mp4", "type": "output"}]}
    async with job_harness(tmp_path, listing(output, {}), SAVE) as harness:
        receipt = await harness.run()

        assert receipt.code == "output_missing"
        assert "Users" not in str(harness.gateway.report["error"])


async def test_absolute_path_outside_comfyuis_folders_is_not_an_output(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    (tmp_path / "secret.png").write_bytes(PNG)
    output: JsonObject = {"result": [str(tmp_path / "secret.png"), "../secret.png"], "text": ["done"]}
    async with job_harness(tmp_path, listing(output, {}), SAVE, folders=folders) as harness:
        await harness.run()

        assert list(harness.gateway.outputs) == ["2.txt"]


@pytest.mark.parametrize(
    ("name", "content", "outputs"),
    [
        ("t.txt", b"hello", ["t.txt"]),
        ("t.json", b'{\n  "a": 1\n}', ["t.json"]),
        ("t.txt", b"hello you", ["2.txt", "t.txt"]),
        ("t.bin", b"hello", ["2.txt", "t.bin"]),
    ],
)
async def test_text_that_is_saved_and_listed_is_one_output(
    tmp_path: Path, name: str, content: bytes, outputs: list[str]
) -> None:
    """As SaveText of ComfyUI 0.33.0 does, with JSON in another layout."""
    text = '{"a":1}' if name.endswith(".json") else "hello"
    output: JsonObject = {"text": [text], "files": [{"filename": name, "subfolder": FOLDER, "type": "output"}]}
    async with job_harness(tmp_path, listing(output, {("output", FOLDER, name): content}), SAVE) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert sorted(harness.gateway.outputs) == outputs


OLD_S = 60.0
GONE_BY: JsonObject = {
    "result": ["temp/secret.png", "m.glb", "secret.glb [temp]", "/srv/ComfyUI/output/x/secret.glb"],
    "images": [{"filename": "shown.png", "subfolder": "", "type": "temp"}],
    "text": ["done"],
}


@pytest.mark.parametrize("early", [True, False])
async def test_file_from_before_the_run_is_not_an_output(tmp_path: Path, early: bool) -> None:
    """Preview3D lists any name. With shared folders, the time of the file decides."""
    files = {
        ("temp", "", "secret.png"): PNG,
        ("temp", "", "secret.glb"): GLB,
        ("output", "x", "secret.glb"): GLB,
        ("output", "", "m.glb"): GLB,
        ("temp", "", "shown.png"): PNG,
    }

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        entry = await listing(GONE_BY, files)(comfy, prompt)
        if early:
            await comfy.tell(prompt, "executed", node="2", display_node="2", output=GONE_BY)
        return entry

    async with job_harness(tmp_path, script, SAVE, change=wanting_temp) as harness:
        old = time.time() - OLD_S
        harness.comfy.written = {ref: old for ref in files if ref[2] != "m.glb"}
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert sorted(harness.gateway.outputs) == ["2.txt", "m.glb"]


async def test_file_of_unknown_age_is_an_output_only_if_listed_as_a_file(tmp_path: Path) -> None:
    output: JsonObject = {
        "result": ["temp/secret.png"],
        "images": [{"filename": "shown.png", "subfolder": "", "type": "output"}],
    }
    files = {("temp", "", "secret.png"): PNG, ("output", "", "shown.png"): PNG}

    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        entry = await listing(output, files)(comfy, prompt)
        assert entry is not None
        return {**entry, "status": {"status_str": "success", "messages": [["execution_start", {}]]}}

    async with job_harness(tmp_path, script, SAVE, change=wanting_temp) as harness:
        await harness.run()

        assert list(harness.gateway.outputs) == ["shown.png"]


@pytest.mark.parametrize(
    ("headers", "changed"),
    [
        ({"etag": '"18bcfe5686a-3f"', "last-modified": "Thu, 01 Jan 1970 00:28:20 GMT"}, 1_700_000_000_106),
        ({"etag": '"18bcfe5686a-3f"', "last-modified": "Thu, 01 Jan 1970 00:28:21 GMT"}, 1_700_000_000_106),
        ({"etag": 'W/"18bcfe5686a-3f"', "last-modified": "Thu, 01 Jan 1970 00:28:20 GMT"}, 1_700_000_000_106),
        ({"etag": '"18bcfe5686a-3f"', "last-modified": "Thu, 01 Jan 1970 00:28:18 GMT"}, 1_698_999_999_999),
        ({"etag": '"abc"', "last-modified": "Thu, 01 Jan 1970 00:28:20 GMT"}, 1_700_999_999_999),
        ({"etag": '"18bcfe5686a-3f"'}, None),
        ({"last-modified": "yesterday"}, None),
    ],
)
async def test_time_of_a_served_file_comes_from_its_headers(headers: dict[str, str], changed: int | None) -> None:
    assert changed_ns(headers) == changed


def sending(messages: Callable[[FakeComfy, Prompt], Awaitable[None]]) -> Script:
    async def script(comfy: FakeComfy, prompt: Prompt) -> JsonObject | None:
        await comfy.tell(prompt, "execution_start")
        await comfy.tell(prompt, "executing", node="2", display_node="2")
        await messages(comfy, prompt)
        return {"outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}

    return script


SEND: dict[str, JsonObject] = {"2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
JPEG = b"\xff\xd8\xff\xe0picture"


@pytest.mark.parametrize("previews", [True, False])
async def test_images_sent_over_the_websocket_are_outputs(tmp_path: Path, previews: bool) -> None:
    async def messages(comfy: FakeComfy, prompt: Prompt) -> None:
        await comfy.send(prompt, struct.pack(">II", 1, 2) + PNG)
        about = json.dumps({"display_node_id": "2", "prompt_id": prompt.prompt_id, "image_type": "image/jpeg"}).encode()
        await comfy.send(prompt, struct.pack(">II", 4, len(about)) + about + JPEG)

    def wishing(job: Job) -> None:
        job.options["previews"] = previews

    async with job_harness(tmp_path, sending(messages), SEND, change=wishing) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        message = {name: (o["node_id"], o["content_type"]) for name, o in harness.gateway.outputs.items()}
        assert message == {"2.png": ("2", "image/png"), "2_2.jpg": ("2", "image/jpeg")}
        assert harness.gateway.content("2.png") == PNG
        assert harness.gateway.previews == []


async def test_job_fails_when_sent_images_may_be_lost(tmp_path: Path) -> None:
    async def messages(comfy: FakeComfy, prompt: Prompt) -> None:
        await comfy.send(prompt, struct.pack(">II", 1, 2) + PNG)
        connections = comfy.connections
        await comfy.drop_sockets()
        await comfy.notice.until(lambda: comfy.connections > connections)

    async with job_harness(tmp_path, sending(messages), SEND) as harness:
        receipt = await harness.run()

        assert receipt.code == "output_missing"
        error = maybe_object(harness.gateway.report["error"])
        assert error["node"] == {"id": "2", "class_type": "SaveImageWebsocket"}
