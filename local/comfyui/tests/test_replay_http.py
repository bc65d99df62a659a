"""The recorded plain HTTP calls, in their order, give the recorded answers."""

import io

import aiohttp
import pytest
from PIL import Image

from local_comfyui.job_folders import FIELD
from local_comfyui.json_types import Json, JsonObject, as_object, parse_json
from tests.conftest import Start
from tests.server import Server
from tests.transcripts import plain, recording

LENGTHS_OF_OUR_OWN = ("/system_stats", "preview=", "channel=", "/history?")
"""Calls whose body has another length: other versions and argv, another build of the picture codecs, other ids."""


def png(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), color).save(buffer, "PNG")
    return buffer.getvalue()


FIRST, OTHER = png((9, 99, 199)), png((1, 2, 3))

UPLOADS = [FIRST, FIRST, OTHER, FIRST]
"""What the recorder uploaded as a.png, in order (the recording only says "multipart")."""


def form(content: bytes, fields: JsonObject) -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("image", content, filename="a.png", content_type="image/png")
    for name, value in fields.items():
        data.add_field(name, str(value))
    return data


async def replay(server: Server, call: JsonObject, uploads: list[bytes]) -> JsonObject:
    request = as_object(call["request"])
    url = server.url + str(call["path"])
    headers = {str(name): str(value) for name, value in as_object(request.get("headers")).items()}
    if request.get("files"):
        data = form(uploads.pop(0), as_object(request.get("data")))
        pending = server.session.request("POST", url, data=data)
    elif "json" in request:
        pending = server.session.request("POST", url, json=request["json"])
    elif "content" in request:
        pending = server.session.request("POST", url, data=str(request["content"]).encode(), headers=headers)
    else:
        pending = server.session.request(str(call["method"]), url, skip_auto_headers=["Content-Type"])
    async with pending as answer:
        raw = await answer.read()
        kept = ("content-type", "content-disposition", "content-length", "accept-ranges", "etag")
        found: JsonObject = {name.lower(): value for name, value in answer.headers.items() if name.lower() in kept}
        kind = answer.headers.get("Content-Type", "")
        body: Json = (
            parse_json(raw) if "json" in kind else raw.decode() if kind.startswith("text") else {"bytes": len(raw)}
        )
        return {"status": answer.status, "headers": found, "body": body}


def comparable(call: JsonObject, answer: JsonObject) -> Json:
    headers: JsonObject = dict(as_object(answer["headers"]))
    path = str(call["path"])
    if "etag" in headers:
        headers["etag"] = "an etag"
    if any(part in path for part in (*LENGTHS_OF_OUR_OWN, "/features")):
        headers["content-length"] = "a length"
    cleaned: JsonObject = {"status": answer["status"], "headers": headers, "body": body_of(path, answer["body"])}
    return plain(cleaned)


def body_of(path: str, body: Json) -> Json:
    if path == "/features":
        return {name: value for name, value in as_object(body).items() if name != FIELD}
    if "/view" in path and any(part in path for part in LENGTHS_OF_OUR_OWN):
        return "some bytes"
    if path != "/system_stats":
        return body
    names: list[Json] = [*sorted(set(as_object(as_object(body)["system"])) - {"development_engine"})]
    return shape({"system": names, "devices": as_object(body)["devices"]})


def shape(value: Json) -> Json:
    """Numbers hidden: memory sizes differ."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "a number" if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.asyncio
async def test_every_recorded_call_is_answered_as_recorded(start: Start) -> None:
    interrupted = recording("interrupted")
    (prompt_id,) = as_object(interrupted["history"])
    server = await start("--probe-nodes", first_number=18, held=True)
    await server.run(
        {
            "1": as_object(interrupted["prompt"])["1"],
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
    )
    listener = await server.listen(str(interrupted["client_id"]))
    body: JsonObject = {"prompt": interrupted["prompt"], "client_id": interrupted["client_id"], "prompt_id": prompt_id}
    await server.post("/prompt", body)
    await server.pauses.reached()
    await server.post("/interrupt", {"prompt_id": prompt_id})
    server.pauses.release()
    await listener.until_over(prompt_id)

    calls = recording("http_calls")["calls"]
    assert isinstance(calls, list) and len(calls) == 32
    uploads = list(UPLOADS)
    for raw in calls:
        call = as_object(raw)
        answer = await replay(server, call, uploads)
        assert comparable(call, answer) == comparable(call, call), call["path"]


@pytest.mark.asyncio
async def test_every_route_also_answers_under_api(server: Server) -> None:
    for path in ("/prompt", "/queue", "/features", "/object_info/SaveImage", "/history", "/system_stats"):
        assert set(await server.get("/api" + path)) == set(await server.get(path))
    async with server.session.get(server.url + "/api/models") as answer:
        assert "checkpoints" in await answer.json()


@pytest.mark.asyncio
async def test_object_info_is_the_recorded_one(server: Server) -> None:
    for name in ("a (1).png", "a.png", "uploaded.png"):
        (server.engine.folders.input / name).write_bytes(FIRST)
    recorded = recording("object_info")
    described = await server.get("/object_info")
    assert len(described) == len(server.engine.catalog.implementations)
    # The recording lacks ComfyUI's own folder of custom nodes.
    newer = {
        "SaveImageWebsocket",
        "EmptyAudio",
        "LoadAudio",
        "SaveAudio",
        "SaveAudioMP3",
        "SaveAudioOpus",
        "PreviewAudio",
        "SaveText",
    }
    assert set(described) - set(recorded) == newer
    assert {name: recorded[name] for name in recorded if name in described} == {
        name: described[name] for name in described if name not in newer
    }


@pytest.mark.asyncio
async def test_every_recorded_node_is_executed_or_rejected_with_advice(server: Server) -> None:
    catalog = server.engine.catalog
    for name in recording("object_info"):
        assert (name in catalog.implementations) != bool(catalog.advice(name)), name
