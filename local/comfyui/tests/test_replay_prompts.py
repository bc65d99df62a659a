"""Every recorded prompt of a single client gives the recorded answer, messages and history."""

import io
from dataclasses import dataclass

import aiohttp
import pytest
from PIL import Image

from local_comfyui.json_types import Json, JsonObject, as_object
from tests.conftest import Start
from tests.server import Server
from tests.transcripts import comparable, make_room, plain, recorded_messages, recording


@dataclass(frozen=True)
class Case:
    """A recording, the one before it (its results are still cached), and the pauses before it was interrupted."""

    name: str
    after: str | None = None
    interrupted_after: int | None = None


RUN = [
    Case("success_image"),
    Case("success_cached", after="success_image"),
    Case("progress_with_previews", after="success_cached"),
    Case("progress_without_previews", after="progress_with_previews"),
    Case("preview_is_temp_output", after="progress_without_previews"),
    Case("two_outputs_subfolder", after="preview_is_temp_output"),
    Case("batch_of_three", after="two_outputs_subfolder"),
    Case("animated_webp", after="batch_of_three"),
    Case("save_video_mp4", after="animated_webp"),
    Case("save_webm", after="save_video_mp4"),
    Case("text_preview_any", after="save_webm"),
    Case("load_uploaded_image", after="text_preview_any"),
    Case("execution_error", after="load_uploaded_image"),
    Case("interrupted", after="execution_error", interrupted_after=9),
]

REFUSED = [
    "invalid_unknown_class",
    "invalid_missing_input",
    "invalid_value_out_of_range",
    "invalid_no_outputs",
    "invalid_missing_file",
]


async def upload(server: Server) -> Json:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), (9, 99, 199)).save(buffer, "PNG")
    form = aiohttp.FormData()
    form.add_field("image", buffer.getvalue(), filename="uploaded.png", content_type="image/png")
    form.add_field("overwrite", "true")
    async with server.session.post(f"{server.url}/upload/image", data=form) as answer:
        body: Json = await answer.json()
        return body


def prompt_of(recorded: JsonObject) -> JsonObject:
    return as_object(recorded["prompt"])


def number_of(recorded: JsonObject) -> int:
    number = as_object(as_object(recorded["prompt_response"])["body"])["number"]
    assert isinstance(number, int)
    return number


@pytest.mark.asyncio
@pytest.mark.parametrize("case", RUN, ids=lambda case: case.name)
async def test_run_is_as_recorded(start: Start, case: Case) -> None:
    recorded = recording(case.name)
    held = case.interrupted_after is not None
    server = await start("--probe-nodes", first_number=number_of(recorded) - (case.after is not None), held=held)
    if recorded["upload_response"] is not None:
        assert await upload(server) == recorded["upload_response"]
    if case.after is not None:
        if case.after == "load_uploaded_image":
            await upload(server)
        await server.run(prompt_of(recording(case.after)))
    if case.name != "success_cached":
        make_room(server.engine.folders.output, recorded["history"])

    client_id, (prompt_id,) = str(recorded["client_id"]), as_object(recorded["history"])
    listener = await server.listen(client_id)
    answer = await server.post(
        "/prompt", {"prompt": prompt_of(recorded), "client_id": client_id, "prompt_id": prompt_id}
    )
    if case.interrupted_after is not None:
        server.pauses.allow(case.interrupted_after)
        await listener.until("progress", value=case.interrupted_after)
        assert await server.post("/interrupt", {"prompt_id": prompt_id}) == (200, {})
        server.pauses.allow()
    await listener.until_over(prompt_id)

    response = as_object(recorded["prompt_response"])
    assert answer == (response["status"], response["body"])
    expected = [comparable(message) for message in recorded_messages(recorded["websocket_messages"])]
    assert [comparable(message) for message in listener.messages] == expected
    assert plain(await server.get(f"/history/{prompt_id}")) == plain(recorded["history"])


@pytest.mark.asyncio
@pytest.mark.parametrize("name", REFUSED)
async def test_rejection_is_as_recorded(start: Start, name: str) -> None:
    recorded = recording(name)
    server = await start("--probe-nodes")
    listener = await server.listen(str(recorded["client_id"]))

    status, body = await server.post("/prompt", {"prompt": prompt_of(recorded), "client_id": recorded["client_id"]})

    response = as_object(recorded["prompt_response"])
    assert (status, body) == (response["status"], response["body"])
    assert [comparable(message) for message in listener.messages] == [
        comparable(message) for message in recorded_messages(recorded["websocket_messages"])
    ]
    assert await server.get("/history") == {}


@pytest.mark.asyncio
async def test_node_that_needs_a_model_is_rejected_with_advice(server: Server) -> None:
    """The one recording that does not replay: ComfyUI knows the node and misses the model file."""
    status, body = await server.post("/prompt", {"prompt": prompt_of(recording("invalid_missing_model"))})

    error = as_object(body["error"])
    assert status == 400
    assert (error["type"], error["message"]) == (
        "invalid_prompt",
        "Cannot execute because node CheckpointLoaderSimple does not exist.",
    )
    assert "development engine" in str(error["details"]) and "COMFYUI_URL" in str(error["details"])
