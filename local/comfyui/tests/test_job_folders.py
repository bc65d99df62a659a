"""A prompt with folders of its own: worker-gpu's protocol, as its package speaks it inside a real ComfyUI."""

from pathlib import Path

import pytest

from local_comfyui.json_types import Json, JsonObject, as_object
from tests.server import Server

pytestmark = pytest.mark.asyncio

EMPTY: JsonObject = {
    "class_type": "EmptyImage",
    "inputs": {"width": 8, "height": 8, "batch_size": 2, "color": 255},
}
SAVE: JsonObject = {
    "1": EMPTY,
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "sub/t"}},
}


def folders_in(root: Path, scope: str = "a") -> JsonObject:
    """`extra_data` that asks for folders below `root`."""
    folders: JsonObject = {}
    for name in ("input", "output", "temp", "scratch"):
        (root / name).mkdir(parents=True)
        folders[name] = str(root / name)
    return {"comfy_edge": {"scope": scope, "folders": folders, "inputs": {}}}


def files_of(entry: JsonObject) -> list[JsonObject]:
    files = as_object(entry["comfy_edge"])["files"]
    assert isinstance(files, list)
    return [as_object(file) for file in files]


def cached_in(entry: JsonObject) -> Json:
    messages = as_object(entry["status"])["messages"]
    assert isinstance(messages, list)
    pairs = [pair for pair in messages if isinstance(pair, list)]
    (found,) = [as_object(pair[1])["nodes"] for pair in pairs if pair[0] == "execution_cached"]
    return found


async def test_prompt_uses_its_own_folders_and_reports_its_files(server: Server, tmp_path: Path) -> None:
    asked = folders_in(tmp_path / "job")
    first = await server.run(SAVE, extra_data=asked)
    assert files_of(first) == [
        {"type": "output", "path": "sub/t_00001_.png", "node": "2"},
        {"type": "output", "path": "sub/t_00002_.png", "node": "2"},
    ]
    (tmp_path / "job/output/sub/t_00001_.png").rename(tmp_path / "job/input/me.png")
    load: JsonObject = {"class_type": "LoadImage", "inputs": {"image": "me.png"}}
    preview: JsonObject = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    second = await server.run({"1": load, "2": preview}, extra_data=asked)
    (written,) = files_of(second)
    assert (written["type"], written["node"]) == ("temp", "2")
    assert list(server.engine.folders.output.iterdir()) == list(server.engine.folders.temp.iterdir()) == []


async def test_an_output_node_runs_in_every_prompt_and_texts_stay_in_their_scope(
    server: Server, tmp_path: Path
) -> None:
    text: JsonObject = {"class_type": "PrimitiveString", "inputs": {"value": "a"}}
    graph: JsonObject = {**SAVE, "3": text, "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}}}
    await server.run(graph, extra_data=folders_in(tmp_path / "1"))
    again = await server.run(graph, extra_data=folders_in(tmp_path / "2"))
    assert cached_in(again) == ["1", "3"]
    assert len(list((tmp_path / "2/output/sub").iterdir())) == 2
    other = await server.run(graph, extra_data=folders_in(tmp_path / "3", scope="b"))
    assert cached_in(other) == ["1"]


async def test_images_sent_over_the_websocket_are_files_of_the_prompt(server: Server, tmp_path: Path) -> None:
    send: JsonObject = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}
    entry = await server.run({"1": EMPTY, "7": send}, extra_data=folders_in(tmp_path / "job"))
    assert [file["path"] for file in files_of(entry)] == ["7.png", "7_2.png"]
    assert (tmp_path / "job/output/7.png").read_bytes().startswith(b"\x89PNG")


async def test_prompt_without_a_request_uses_the_folders_of_the_engine(server: Server) -> None:
    entry = await server.run(SAVE)
    assert "comfy_edge" not in entry
    assert len(list((server.engine.folders.output / "sub").iterdir())) == 2
