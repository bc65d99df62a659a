"""The worker's package inside ComfyUI itself: folders, cache, nodes' memory, the process, what is handed over."""

import asyncio
import base64
import io
import json
import os
import shutil
import struct
from collections.abc import Generator
from pathlib import Path

import aiohttp
import pytest

from direct.harness import entries
from fakes.gateway import Job
from fakes.own_comfyui import OwnHarness, own_harness
from job.test_own_comfyui import Engine, files_below, png
from worker_gpu.direct.run import run_direct
from worker_gpu.json_readers import Json, JsonObject, decode, maybe_object
from worker_gpu.lifecycle.comfyui import Comfy, ExternalComfy, OwnComfy
from worker_gpu.lifecycle.worker_context import Deps, open_worker_context
from worker_gpu.log import Log
from worker_gpu.settings import read_settings
from worker_gpu.timeouts import Timeouts

PATHS = [Path(path) for path in os.environ["REAL_COMFYUI"].split(":")]
PROBES = Path(__file__).with_name("probe_nodes")

pytestmark = pytest.mark.asyncio

EMPTY: JsonObject = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 4242}}
SAVE: JsonObject = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}}


def text_of(class_type: str, **inputs: Json) -> dict[str, JsonObject]:
    """A graph that shows the text a probe gives, as `9.txt`."""
    return {
        "8": {"class_type": class_type, "inputs": inputs},
        "9": {"class_type": "PreviewAny", "inputs": {"source": ["8", 0]}},
    }


@pytest.fixture(scope="module", params=PATHS, ids=[path.name for path in PATHS])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    path: Path = request.param
    data = tmp_path_factory.mktemp("real")
    paths = data / "probes.yaml"
    paths.write_text(f"probes:\n  custom_nodes: {json.dumps(str(PROBES))}\n")
    settings = read_settings(
        {
            "COMFYUI_PATH": str(path),
            "COMFYUI_PYTHON": os.environ["REAL_COMFYUI_PYTHON"],
            "COMFYUI_ARGS": f"--cpu --extra-model-paths-config {paths}",
            "WORKER_DATA_DIR": str(data),
            "RUNPOD_POD_ID": "worker-1",
            "MIN_FREE_MEMORY_MB": "0",
            "MIN_FREE_DISK_MB": "0",
        }
    )
    comfy = OwnComfy(settings, path, os.environ, Timeouts(start_s=300.0), Log(io.StringIO()))
    asyncio.run(comfy.start())
    try:
        yield Engine(settings, comfy)
    finally:
        comfy.end()


async def run(engine: Engine, graph: dict[str, JsonObject], **inputs: bytes) -> OwnHarness:
    """One job of a scope of its own. `inputs` are files by name, with `.` for `_`."""

    return await run_on(engine.comfy, engine, graph, inputs)


async def run_on(comfy: Comfy, engine: Engine, graph: dict[str, JsonObject], inputs: dict[str, bytes]) -> OwnHarness:
    def change(job: Job) -> None:
        job.inputs.update({name.replace("_", "."): content for name, content in inputs.items()})
        job.options["temp_outputs"] = True

    async with own_harness(engine.settings, comfy, graph, change) as harness:
        await harness.run()
        return harness


def outcome(harness: OwnHarness) -> str:
    return str(harness.gateway.report["outcome"])


def shown(harness: OwnHarness) -> str:
    assert outcome(harness) == "succeeded", harness.gateway.report["error"]
    return str(harness.gateway.outputs["9.txt"]["text"])


def states(harness: OwnHarness) -> dict[str, str]:
    reported = [maybe_object(m.get("nodes")) for m in harness.gateway.messages if m["type"] == "progress"]
    return {node: str(maybe_object(state)["state"]) for nodes in reported for node, state in nodes.items()}


def graph_in(picture: bytes) -> Json:
    """The graph that ComfyUI wrote into a PNG."""
    at = 8
    while at < len(picture):
        (size,) = struct.unpack(">I", picture[at : at + 4])
        kind, data = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        if kind == b"tEXt" and data.startswith(b"prompt\0"):
            return decode(data[7:])
        at += 12 + size
    raise AssertionError("no graph")


async def test_the_same_job_gives_the_same_bytes_with_the_graph_as_it_was_sent(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "me.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "sub/x"}, "_meta": {}},
    }
    found: list[dict[str, bytes]] = []
    for _ in range(2):
        harness = await run(engine, graph, me_png=png(7))
        assert outcome(harness) == "succeeded", harness.gateway.report["error"]
        found.append({name: harness.gateway.content(name) for name in harness.gateway.outputs})
    assert found[0] == found[1]
    assert list(found[0]) == ["sub/x_00001_.png"]
    assert graph_in(found[0]["sub/x_00001_.png"]) == graph


async def test_a_cache_key_that_a_client_sends_counts_for_nothing(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "me.png"}, "is_changed": ["x"]},
        "2": SAVE,
    }
    pictures: list[bytes] = []
    for color in (7, 9):
        harness = await run(engine, graph, me_png=png(color))
        pictures.append(harness.gateway.content("ComfyUI_00001_.png"))
    assert pictures[0] != pictures[1]


async def test_a_preview_of_the_job_before_is_no_output_by_its_exact_name(engine: Engine) -> None:
    first = await run(engine, {"1": EMPTY, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})
    names = [name.removeprefix("temp/") for name in first.gateway.outputs]
    assert len(names) == 2
    # Beside the folders of jobs: a folder of another scope among them is deleted before the next job.
    kept = engine.data / "another" / "temp"
    kept.mkdir(parents=True)
    try:
        for name in names:
            (kept / name).write_bytes(first.gateway.content(f"temp/{name}"))
            for form in (f"temp/{name}", name, f"{name} [temp]", f"../../../another/temp/{name}", str(kept / name)):
                model: JsonObject = {"class_type": "Preview3D", "inputs": {"model_file": form}}
                harness = await run(engine, {"7": model, "1": EMPTY, "2": SAVE})
                assert list(harness.gateway.outputs) == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"], form
                if keeps_to_its_folder(engine) or name == form.removesuffix(" [temp]"):
                    harness = await run(
                        engine, {"1": {"class_type": "LoadImage", "inputs": {"image": form}}, "2": SAVE}
                    )
                    assert outcome(harness) == "failed"
    finally:
        shutil.rmtree(kept.parent)


def keeps_to_its_folder(engine: Engine) -> bool:
    """Loaders of a ComfyUI before 0.28 open any path of the disk (CVE-2026-56673)."""
    assert engine.settings.comfyui_path is not None
    return "is_within_directory" in (engine.settings.comfyui_path / "folder_paths.py").read_text("utf-8")


@pytest.mark.parametrize("sender", ["SaveImageWebsocket", "ETN_SendImageWebSocket"])
async def test_pictures_sent_over_the_socket_are_outputs(engine: Engine, sender: str) -> None:
    inputs: JsonObject = {"images": ["1", 0], **({"format": "PNG"} if sender.startswith("ETN") else {})}
    for _ in range(2):
        harness = await run(engine, {"1": EMPTY, "2": {"class_type": sender, "inputs": inputs}})
        assert outcome(harness) == "succeeded", harness.gateway.report["error"]
        reported = {name: (o["node_id"], o["content_type"]) for name, o in harness.gateway.outputs.items()}
        assert reported == {"2.png": ("2", "image/png"), "2_2.png": ("2", "image/png")}


@pytest.mark.parametrize(("form", "text"), [("txt", "hello"), ("json", '{"a":1}')])
async def test_a_text_that_is_saved_is_one_output(engine: Engine, form: str, text: str) -> None:
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": text}},
        "2": {"class_type": "SaveText", "inputs": {"text": ["1", 0], "filename_prefix": "t", "format": form}},
    }
    harness = await run(engine, graph)
    if not keeps_to_its_folder(engine):
        assert "SaveText" in str(harness.gateway.report["error"])  # a node of newer versions
        return
    assert list(harness.gateway.outputs) == [f"t_00001.{form}"]


async def test_results_of_numbers_alone_are_kept_for_every_scope_and_others_are_not(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "1": EMPTY,
        "2": SAVE,
        "8": {"class_type": "PrimitiveString", "inputs": {"value": "a text"}},
        "9": {"class_type": "PreviewAny", "inputs": {"source": ["8", 0]}},
    }
    await run(engine, graph)
    again = await run(engine, graph)
    assert states(again) == {"1": "cached", "2": "finished", "8": "finished", "9": "finished"}


async def test_what_a_node_remembers_of_one_scope_is_forgotten_in_the_next(engine: Engine) -> None:
    assert shown(await run(engine, text_of("ProbeMemory", text="first"))) == "first"
    assert shown(await run(engine, text_of("ProbeMemory", text="second"))) == "second"


async def test_a_file_is_read_again_when_it_is_another_under_the_same_name(engine: Engine) -> None:
    for content in (b"mine", b"yours"):
        assert shown(await run(engine, text_of("ProbeReader", text="me.txt"), me_txt=content)) == content.decode()


async def test_a_node_that_lists_the_input_folder_sees_the_jobs_own_files(engine: Engine) -> None:
    graph = text_of("ProbeListing", order="up")
    assert shown(await run(engine, graph, me_txt=b"1", two_txt=b"2")) == "me.txt two.txt"
    assert shown(await run(engine, graph, other_txt=b"1")) == "other.txt"


async def test_a_node_that_kept_the_output_folders_path_gives_an_output_of_its_job(
    engine: Engine,
) -> None:
    harness = await run(engine, text_of("ProbeImportedPath", text="mine"))
    assert harness.gateway.content("imported.txt") == b"mine"
    assert harness.gateway.outputs["imported.txt"]["node_id"] == "8"
    harness = await run(engine, text_of("ProbeMemory", text="mine"))
    assert list(harness.gateway.outputs) == ["9.txt"]


async def test_environment_working_folder_and_temporary_files_of_a_job_end_with_it(engine: Engine) -> None:
    for text in ("first", "second"):
        reported = shown(await run(engine, text_of("ProbeProcess", text=text)))
        assert reported.startswith("nothing ")
        assert Path(reported.removeprefix("nothing ")).is_relative_to(engine.data / "jobs")
    # The working folder is ComfyUI's again: it finds its own files by it.
    assert outcome(await run(engine, {"1": EMPTY, "2": SAVE})) == "succeeded"


async def direct(engine: Engine, graph: dict[str, JsonObject], **files: bytes) -> JsonObject:
    """A direct job: all are of one scope."""
    images: list[Json] = [
        {"name": name.replace("_", "."), "image": base64.b64encode(content).decode()} for name, content in files.items()
    ]
    given: JsonObject = {"workflow": dict(graph), "images": images}
    async with open_worker_context(engine.settings, engine.comfy, Timeouts(), Deps(), Log(io.StringIO())) as context:
        return await run_direct(context, "job", given, lambda _: None)


def direct_text(answer: JsonObject) -> Json:
    assert "error" not in answer, answer
    return entries(answer, "text")[0]["data"]


async def test_in_one_scope_a_file_of_another_content_is_read_again_and_of_the_same_is_not(engine: Engine) -> None:
    graph = text_of("ProbeReader", text="me.txt")
    assert direct_text(await direct(engine, graph, me_txt=b"mine")) == "mine"
    assert direct_text(await direct(engine, graph, me_txt=b"yours")) == "yours"
    assert direct_text(await direct(engine, graph, me_txt=b"yours")) == "yours"


async def test_in_one_scope_a_node_that_writes_in_mid_graph_writes_again(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "7": {"class_type": "ProbeWriter", "inputs": {"text": "middle"}},
        **text_of("ProbeOpen", text=["7", 0]),
    }
    for _ in range(3):
        assert direct_text(await direct(engine, graph)) == "middle"


async def test_in_one_scope_a_node_keeps_what_it_remembers(engine: Engine) -> None:
    await direct(engine, text_of("ProbeMemory", text="a"))
    assert direct_text(await direct(engine, text_of("ProbeMemory", text="b"))) == "a b"


async def test_history_queue_and_view_have_nothing_of_a_job_that_is_over(engine: Engine) -> None:
    await run(engine, {"1": EMPTY, "2": SAVE})
    async with aiohttp.ClientSession(engine.comfy.url) as http:
        async with http.get("/history") as response:
            assert decode(await response.read()) == {}
        async with http.get("/queue") as response:
            assert decode(await response.read()) == {"queue_running": [], "queue_pending": []}
        async with http.get("/view?filename=ComfyUI_00001_.png&type=output") as response:
            assert response.status == 404
        async with http.get("/object_info/LoadImage") as response:
            assert response.status == 200


async def test_nothing_of_any_job_is_left_in_the_workers_folder(engine: Engine) -> None:
    await run(engine, {"1": EMPTY, "2": SAVE})
    kept = {path.relative_to(engine.data).as_posix() for path in files_below(engine.data)}
    assert kept <= {"worker_paths.yaml", "comfyui.db", "comfyui.db.lock"}


async def run_shared(engine: Engine, graph: dict[str, JsonObject], **inputs: bytes) -> OwnHarness:
    """One job on the same ComfyUI as if somebody else had started it (`COMFYUI_URL`)."""
    return await run_on(ExternalComfy(engine.comfy.url, Timeouts()), engine, graph, inputs)


async def test_where_folders_are_shared_a_file_of_before_is_no_output_by_its_exact_name(engine: Engine) -> None:
    names = ("temp/secret.png", "secret.glb", "secret.glb [temp]", "output/x/secret.glb")
    for folder in ("temp", "output", "output/x"):
        for name in ("secret.png", "secret.glb"):
            (engine.data / folder).mkdir(exist_ok=True)
            (engine.data / folder / name).write_bytes(png(7))
    for name in names:
        shown: JsonObject = {"class_type": "Preview3D", "inputs": {"model_file": name}}
        harness = await run_shared(engine, {"7": shown, "1": EMPTY, "2": SAVE})
        assert list(harness.gateway.outputs) == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"], name


async def test_where_folders_are_shared_results_come_again_for_the_same_graph(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "1": EMPTY,
        "2": SAVE,
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "4": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
    }
    for _ in range(2):
        harness = await run_shared(engine, graph)
        assert outcome(harness) == "succeeded", harness.gateway.report["error"]
        found = sorted(name for name in harness.gateway.outputs if not name.startswith("temp/"))
        assert found == ["4.png", "4_2.png", "ComfyUI_00001_.png", "ComfyUI_00002_.png"]
        assert len(harness.gateway.outputs) == 6
