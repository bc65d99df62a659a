"""The worker with a ComfyUI that it starts itself: the CPU engine, which executes for real."""

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import os
import struct
import uuid
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from fakes.gateway import Job
from fakes.own_comfyui import ENGINE, engine_settings, own_harness
from worker_gpu.json_readers import JsonObject, maybe_object
from worker_gpu.lifecycle.comfyui import ComfyDidNotStart, OwnComfy, scrubbed
from worker_gpu.log import Log
from worker_gpu.settings import Settings
from worker_gpu.timeouts import Timeouts

pytestmark = pytest.mark.asyncio

SAVE: dict[str, JsonObject] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "sub/t"}},
}


WITHOUT_PACKAGE = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"supports_preview_metadata": true}')

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
"""A ComfyUI that could not load it."""


def slow(steps: int, seconds: float) -> dict[str, JsonObject]:
    return {
        "1": SAVE["1"],
        "5": {
            "class_type": "SlowSteps",
            "inputs": {"image": ["1", 0], "steps": steps, "seconds": seconds, "preview": True},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "t"}},
    }


def png(color: int) -> bytes:
    """A picture of 2 x 2 pixels of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([color] * 6) for _ in range(2))
    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@dataclass(frozen=True)
class Engine:
    settings: Settings
    comfy: OwnComfy

    @property
    def data(self) -> Path:
        return self.settings.data_dir


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@contextlib.contextmanager
def running_engine(data: Path) -> Generator[Engine]:
    """A ComfyUI that runs."""
    settings = engine_settings(data)
    path = settings.comfyui_path
    assert path is not None
    comfy = OwnComfy(settings, path, os.environ, Timeouts(start_s=30.0, terminate_s=0.5), Log(io.StringIO()))
    asyncio.run(comfy.start())
    try:
        yield Engine(settings, comfy)
    finally:
        comfy.end()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


async def test_a_picture_is_made_uploaded_and_nothing_stays_behind(engine: Engine) -> None:
    async with own_harness(engine.settings, engine.comfy, SAVE) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        output = harness.gateway.outputs["sub/t_00001_.png"]
        assert (output["node_id"], output["class_type"], output["type"]) == ("2", "SaveImage", "image")
        assert harness.gateway.content("sub/t_00001_.png").startswith(b"\x89PNG")
        for folder in ("jobs", "input", "output", "temp", "spool"):
            assert files_below(engine.data / folder) == []


@pytest.mark.parametrize("metadata", [True, False])
async def test_the_graph_is_in_its_files_unless_the_job_says_otherwise(engine: Engine, metadata: bool) -> None:
    """Own files and those that only `/view` gives; hash and size are those of what is stored."""
    graph: dict[str, JsonObject] = {**SAVE, "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}

    def wishing(job: Job) -> None:
        job.options |= {"metadata": metadata, "temp_outputs": True}

    async with own_harness(engine.settings, engine.comfy, graph, wishing) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded"
        assert len(harness.gateway.outputs) == 2
        for name, output in harness.gateway.outputs.items():
            content = harness.gateway.content(name)
            assert (b"EmptyImage" in content) == metadata
            assert output["sha256"] == hashlib.sha256(content).hexdigest()
            assert output["size_bytes"] == len(content)


async def test_the_same_graph_again_on_a_warm_comfyui_gives_its_files_again(engine: Engine) -> None:
    """The cache of ComfyUI lists files of the first run, which are gone (reference/comfyui.md section 6)."""
    job_id = str(uuid.uuid4())
    for attempt in (1, 2):

        def as_attempt(job: Job, number: int = attempt) -> None:
            job.id, job.attempt, job.prompt_id = job_id, number, str(uuid.uuid4())

        async with own_harness(engine.settings, engine.comfy, SAVE, as_attempt) as harness:
            receipt = await harness.run()

            assert receipt.outcome == "succeeded"
            assert list(harness.gateway.outputs) == ["sub/t_00001_.png"]


async def test_an_output_node_without_a_path_runs_in_every_job_and_what_it_needs_does_not(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {**SAVE, "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    states: dict[str, str] = {}
    for _ in range(2):
        async with own_harness(engine.settings, engine.comfy, graph) as harness:
            await harness.run()

            reported = [maybe_object(m.get("nodes")) for m in harness.gateway.messages if m["type"] == "progress"]
            states = {node: str(maybe_object(state)["state"]) for nodes in reported for node, state in nodes.items()}
    assert states == {"1": "cached", "2": "finished", "3": "finished"}


async def test_a_computed_prefix_saves_where_it_says(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "1": SAVE["1"],
        "3": {"class_type": "PrimitiveString", "inputs": {"value": "linked/x"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": ["3", 0]}},
    }
    for _ in range(2):
        async with own_harness(engine.settings, engine.comfy, graph) as harness:
            receipt = await harness.run()

            assert receipt.outcome == "succeeded"
            assert list(harness.gateway.outputs) == ["linked/x_00001_.png"]
            progress = [m for m in harness.gateway.messages if m["type"] == "progress"]
            assert progress[-1]["nodes_total"] == 3
    assert files_below(engine.data / "output") == []


async def test_a_short_disk_is_cleared_of_what_earlier_jobs_left(engine: Engine) -> None:
    left = engine.data / "jobs" / "of-a-job-whose-files-could-not-be-deleted"
    left.mkdir(parents=True)
    (left / "a.png").write_bytes(png(1))
    greedy = dataclasses.replace(engine.settings, min_free_disk_bytes=2**60)
    async with own_harness(greedy, engine.comfy, SAVE) as harness:
        assert (await harness.run()).code == "insufficient_resources"
    assert not left.exists()
    async with own_harness(engine.settings, engine.comfy, SAVE) as harness:
        assert (await harness.run()).outcome == "succeeded"


async def test_an_input_file_reaches_the_graph_and_is_removed(engine: Engine) -> None:
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "my photo.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }
    async with own_harness(
        engine.settings, engine.comfy, graph, lambda job: job.inputs.update({"my photo.png": png(7)})
    ) as harness:
        receipt = await harness.run()

        assert receipt.outcome == "succeeded", harness.log.getvalue()
        assert harness.gateway.stages == ["inputs", "executing", "uploading"]
        assert files_below(engine.data / "input") == []


async def test_progress_and_previews_come_while_the_graph_runs(engine: Engine) -> None:
    async with own_harness(engine.settings, engine.comfy, slow(steps=4, seconds=1.6)) as harness:
        await harness.run()

        progress = [m for m in harness.gateway.messages if m["type"] == "progress"]
        assert [p["current_node"] for p in progress if "step" in p] != []
        assert all(p["nodes_total"] == 3 for p in progress)
        assert progress[-1]["value"] == 1
        assert len(harness.gateway.previews) >= 2


async def test_cancel_stops_comfyui_within_a_second(engine: Engine) -> None:
    async with own_harness(engine.settings, engine.comfy, slow(steps=200, seconds=60.0)) as harness:
        running = asyncio.create_task(harness.run())
        await harness.gateway.notice.until(lambda: "progress" in harness.gateway.types)
        began = asyncio.get_running_loop().time()
        await harness.gateway.say({"cancel": True, "reason": "client"})
        receipt = await running

        assert receipt.outcome == "canceled"
        assert harness.gateway.report["outcome"] == "canceled"
        assert asyncio.get_running_loop().time() - began < 1.0
        status = await harness.context.client.queued(harness.gateway.job.id)
        assert type(status).__name__ == "Missing"


async def test_a_comfyui_that_cannot_start_is_told_with_its_last_lines(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path, {"COMFYUI_ARGS": "--no-such-flag"})
    path = settings.comfyui_path
    assert path is not None
    comfy = OwnComfy(settings, path, os.environ, Timeouts(start_s=30.0, terminate_s=0.5), Log(io.StringIO()))
    with pytest.raises(ComfyDidNotStart) as failure:
        await comfy.start()
    assert "--no-such-flag" in "\n".join(failure.value.tail)


async def test_comfyui_gets_no_secret_of_the_worker() -> None:
    env = {"PATH": "/bin", "RUNPOD_AI_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "k", "CUDA_VISIBLE_DEVICES": "0"}
    assert scrubbed(env) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "PYTHONUNBUFFERED": "1"}


def results_in(file: str) -> JsonObject:
    return maybe_object(yaml.safe_load(Path(file).read_text("utf-8")))


async def test_files_that_a_killed_worker_left_are_deleted_when_the_next_starts(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path)
    left = settings.data_dir / "jobs" / "of-an-earlier-process" / "output"
    left.mkdir(parents=True)
    (left / "a.png").write_bytes(png(1))
    comfy = OwnComfy(settings, ENGINE, os.environ, Timeouts(), Log(io.StringIO()))
    comfy.launch()
    comfy.end()

    assert not left.parent.exists()


@pytest.mark.parametrize(
    ("given", "whitelist"),
    [
        ("--cpu", None),
        ("--disable-all-custom-nodes", ["comfy_edge"]),
        ("--whitelist-custom-nodes a b --cpu --disable-all-custom-nodes", ["a", "b", "comfy_edge"]),
        ("--disable-all-custom-nodes --whitelist-custom-nodes a --whitelist-custom-nodes b", ["b", "comfy_edge"]),
    ],
)
async def test_the_workers_package_is_loaded_where_no_other_custom_node_is(
    tmp_path: Path, given: str, whitelist: list[str] | None
) -> None:
    settings = engine_settings(tmp_path, {"COMFYUI_ARGS": given})
    arguments = OwnComfy(settings, ENGINE, os.environ, Timeouts(), Log(io.StringIO())).arguments
    flags = [at for at, word in enumerate(arguments) if word == "--whitelist-custom-nodes"]
    if whitelist is None:
        assert flags == []
    else:
        last = arguments[flags[-1] + 1 :]
        assert last[: len(whitelist) + 1] == [*whitelist, "--listen"]


async def test_a_comfyui_without_the_workers_package_does_not_start(tmp_path: Path) -> None:
    """It would run jobs in one another's folders."""
    (tmp_path / "main.py").write_text(WITHOUT_PACKAGE)
    settings = engine_settings(tmp_path / "data", {"COMFYUI_PATH": str(tmp_path)})
    assert settings.comfyui_path is not None
    timeouts = Timeouts(start_s=30.0, terminate_s=0.5)
    comfy = OwnComfy(settings, settings.comfyui_path, os.environ, timeouts, Log(io.StringIO()))
    with pytest.raises(ComfyDidNotStart, match="comfy_edge"):
        await comfy.start()


async def test_datasets_are_saved_in_the_output_folder_where_the_worker_finds_them(tmp_path: Path) -> None:
    settings = engine_settings(tmp_path / "da: ta")
    comfy = OwnComfy(settings, ENGINE, os.environ, Timeouts(), Log(io.StringIO()))
    comfy.launch()
    comfy.end()

    files = [value for flag, value in pairwise(comfy.arguments) if flag == "--extra-model-paths-config"]
    reported = maybe_object(results_in(files[-1])["results"])
    output = str(settings.data_dir / "output")
    assert (reported["base_path"], reported["datasets"], reported["is_default"]) == (output, ".", True)
    assert output in comfy.arguments
