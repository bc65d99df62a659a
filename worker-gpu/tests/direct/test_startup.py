"""The start of the worker: parts start concurrently, no job runs before all are ready, failures have reasons."""

import asyncio
import dataclasses
import hashlib
import io
import json
import os
import stat
from pathlib import Path

import pytest
from aiohttp import web

from direct.test_answers import SAVE, listing
from fakes.comfy import PNG, FakeComfy
from fakes.harness import QUICK, make_settings
from fakes.own_comfyui import engine_settings
from fakes.server import serving
from worker_gpu.build_info import read_build
from worker_gpu.diagnose.gpu import query_gpus, read_gpus
from worker_gpu.diagnose.report import describe_volume, list_models
from worker_gpu.direct.settings import DirectSettings, OutputBucket
from worker_gpu.handler import Handler
from worker_gpu.json_readers import maybe_list, maybe_object
from worker_gpu.lifecycle.comfyui import ExternalComfy, OwnComfy
from worker_gpu.lifecycle.startup import GpuBroken, start_up
from worker_gpu.log import Log
from worker_gpu.models.settings import Credentials
from worker_gpu.settings import read_settings
from worker_gpu.timeouts import Timeouts


@pytest.mark.asyncio
async def test_warm_up_runs_before_the_worker_is_ready(tmp_path: Path) -> None:
    comfy, written = FakeComfy(listing({"a.png": PNG})), io.StringIO()
    graph = tmp_path / "warm.json"
    graph.write_text(json.dumps(SAVE))
    async with serving(comfy.application()) as url:
        settings = dataclasses.replace(make_settings(tmp_path, url), warmup=graph)
        await start_up(settings, ExternalComfy(url, QUICK), None, QUICK, Log(written))
    assert len(comfy.prompts) == 1
    lines = written.getvalue().splitlines()
    assert [line for line in lines if "event=warm-up" in line]
    assert "event=ready" in lines[-1]


@pytest.mark.asyncio
async def test_warm_up_discards_its_outputs_of_any_size(tmp_path: Path) -> None:
    calls: list[str] = []

    async def called(request: web.Request) -> web.Response:
        calls.append(f"{request.method} {request.path}")
        return web.Response()

    store = web.Application()
    store.router.add_route("*", "/{any:.*}", called)
    comfy, written = FakeComfy(listing({"a.png": PNG + bytes(20_000)})), io.StringIO()
    graph = tmp_path / "warm.json"
    graph.write_text(json.dumps(SAVE))
    async with serving(comfy.application()) as url, serving(store) as bucket_url:
        bucket = OutputBucket(f"{bucket_url}/bk", Credentials("k", "s", "auto"))
        for direct in (DirectSettings(bucket=bucket), DirectSettings(max_answer_bytes=10_000)):
            settings = dataclasses.replace(make_settings(tmp_path, url), warmup=graph, direct=direct)
            await start_up(settings, ExternalComfy(url, QUICK), None, QUICK, Log(written))
    assert len(comfy.prompts) == 2
    assert calls == []
    assert "code=" not in "".join(line for line in written.getvalue().splitlines() if "event=warm-up" in line)


@pytest.mark.asyncio
async def test_failed_warm_up_is_logged_and_the_worker_starts(tmp_path: Path) -> None:
    comfy, written = FakeComfy(listing({})), io.StringIO()
    comfy.answer = (400, {"error": {"type": "x", "message": "no"}, "node_errors": {}})
    graph = tmp_path / "warm.json"
    graph.write_text(json.dumps(SAVE))
    async with serving(comfy.application()) as url:
        settings = dataclasses.replace(make_settings(tmp_path, url), warmup=graph)
        await start_up(settings, ExternalComfy(url, QUICK), None, QUICK, Log(written))
    assert "code=invalid_workflow" in written.getvalue()


@pytest.mark.asyncio
async def test_start_waits_up_to_ten_minutes_for_a_slow_comfyui(tmp_path: Path) -> None:
    """The start waits until ComfyUI answers, and not for a number of polls or a fixed time."""
    assert Timeouts().start_s == 600
    assert read_settings({"COMFYUI_URL": "http://x"}).start_timeout_s == 600
    comfy, written = FakeComfy(listing({"a.png": PNG})), io.StringIO()
    comfy.unwell = True
    timeouts = dataclasses.replace(QUICK, start_s=600)
    async with serving(comfy.application()) as url:
        starting = asyncio.create_task(
            start_up(make_settings(tmp_path, url), ExternalComfy(url, timeouts), None, timeouts, Log(written))
        )
        await comfy.notice.until(lambda: len(comfy.calls) > 20)
        assert not starting.done()
        assert "event=ready" not in written.getvalue()
        comfy.unwell = False
        ready = await starting
    assert ready.known is not None
    assert "event=ready" in written.getvalue()


@pytest.mark.asyncio
async def test_each_job_fails_with_the_log_of_a_comfyui_that_cannot_start(tmp_path: Path) -> None:
    """Otherwise the worker would exit, and the job would wait in RunPod's queue."""
    written = io.StringIO()
    settings = engine_settings(tmp_path, {"COMFYUI_ARGS": "--no-such-flag"})
    path = settings.comfyui_path
    assert path is not None
    comfy = OwnComfy(settings, path, os.environ, Timeouts(start_s=30.0, terminate_s=0.5), Log(io.StringIO()))
    ready = await start_up(settings, comfy, None, QUICK, Log(written))
    assert "comfyui did not start" in written.getvalue()

    handler = Handler(ready)
    answer = await handler({"id": "1", "input": {"workflow": SAVE}}, lambda _update: None)
    report = await handler({"id": "2", "input": {"action": "debug"}}, lambda _update: None)
    await handler.close()
    assert (answer["code"], answer["refresh_worker"]) == ("comfyui_unavailable", True)
    assert "--no-such-flag" in str(maybe_object(answer["details"])["comfyui_log"])
    assert report["status"] == "impaired"
    assert "--no-such-flag" in str(maybe_list(report["log"])[-1])


@pytest.mark.asyncio
async def test_start_log_has_the_build_of_the_image(tmp_path: Path) -> None:
    record = tmp_path / "nodes.json"
    record.write_text(json.dumps([{"name": "KJNodes", "url": "https://x", "commit": "b" * 40}]))
    build = read_build({"IMAGE_VERSION": "1.4.0", "NODES_RECORD": str(record)})
    comfy, written = FakeComfy(listing({"a.png": PNG})), io.StringIO()
    async with serving(comfy.application()) as url:
        settings = dataclasses.replace(make_settings(tmp_path, url), build=build)
        ready = await start_up(settings, ExternalComfy(url, QUICK), None, QUICK, Log(written))
        handler = Handler(ready)
        report = await handler({"id": "1", "input": {"action": "debug"}}, lambda _update: None)
        await handler.close()
    assert "image=1.4.0" in written.getvalue()
    assert f"KJNodes@{'b' * 12}" in written.getvalue()
    assert report["build"] == {
        "image": "1.4.0",
        "nodes_digest": build.nodes_digest,
        "nodes": [{"name": "KJNodes", "commit": "b" * 40}],
    }


def test_digest_of_nodes_ignores_their_order(tmp_path: Path) -> None:
    def digest(*nodes: tuple[str, str]) -> str | None:
        path = tmp_path / "nodes.json"
        path.write_text(json.dumps([{"name": name, "commit": commit} for name, commit in nodes]))
        return read_build({"NODES_RECORD": str(path)}).nodes_digest

    assert digest(("a", "1"), ("b", "2")) == digest(("b", "2"), ("a", "1")) == hashlib.sha256(b"a 1\nb 2\n").hexdigest()
    assert digest(("a", "2"), ("b", "1")) != digest(("a", "1"), ("b", "2"))


@pytest.mark.parametrize("text", ["", "{}", "no json"])
def test_unreadable_build_record_counts_as_missing(tmp_path: Path, text: str) -> None:
    (tmp_path / "nodes.json").write_text(text)
    assert read_build({"COMFYUI_PATH": str(tmp_path / "app")}).nodes is None


def driver(folder: Path, script: str) -> str:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return str(program)


def test_gpu_check_is_skipped_without_a_driver() -> None:
    found = query_gpus("no-such-program-here")
    assert found.problem is None
    assert "no-such-program-here is not installed" in (found.skipped or "")


def test_gpu_check_reads_the_gpus_of_the_driver(tmp_path: Path) -> None:
    found = query_gpus(driver(tmp_path, "echo 'NVIDIA L4, 570.1, 23034, 22000, 0'"))
    assert (found.names, found.driver, found.problem) == (("NVIDIA L4",), "570.1", None)
    assert found.memory_total_bytes == (23034 * 1024 * 1024,)


def test_gpu_check_reports_a_failing_driver_and_faulty_memory(tmp_path: Path) -> None:
    assert "exited with code 9" in (query_gpus(driver(tmp_path, "echo lost; exit 9")).problem or "")
    assert "lists no GPU" in (read_gpus("").problem or "")
    assert "memory errors" in (read_gpus("NVIDIA L4, 570.1, 23034, 22000, 3").problem or "")


@pytest.mark.asyncio
async def test_broken_gpu_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, "exit 9")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    comfy = FakeComfy(listing({}))
    async with serving(comfy.application()) as url:
        with pytest.raises(GpuBroken, match="exited with code 9"):
            await start_up(make_settings(tmp_path, url), ExternalComfy(url, QUICK), None, QUICK, Log(io.StringIO()))


@pytest.mark.asyncio
async def test_start_log_names_nodes_that_were_not_imported(tmp_path: Path) -> None:
    main = tmp_path / "comfyui" / "main.py"
    main.parent.mkdir()
    main.write_text("print('   0.1 seconds (IMPORT FAILED): /opt/comfyui/custom_nodes/ComfyUI-Broken', flush=True)\n")
    settings = engine_settings(tmp_path / "data", {"COMFYUI_PATH": str(main.parent)})
    comfy = OwnComfy(settings, main.parent, os.environ, Timeouts(start_s=10, terminate_s=0.5), Log(io.StringIO()))
    with pytest.raises(Exception, match="exited with 0"):
        await comfy.start()
    await asyncio.wait_for(comfy.wait_exit(), 10)
    assert comfy.failed_imports() == ["ComfyUI-Broken"]
    assert "IMPORT FAILED" in comfy.tail()[-1]


def test_report_lists_volumes_and_models(tmp_path: Path) -> None:
    (tmp_path / "models" / "loras").mkdir(parents=True)
    (tmp_path / "models" / "loras" / "a.safetensors").write_bytes(b"12345")
    (tmp_path / "models" / "loras" / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    volumes = [describe_volume(folder) for folder in (tmp_path, tmp_path / "none")]
    assert [(one["there"], one["mounted"]) for one in volumes] == [(True, False), (False, False)]
    assert volumes[0]["entries"] == ["models"]
    files = [maybe_object(one) for one in maybe_list(list_models(tmp_path / "models")["files"])]
    assert [(one["path"], one["bytes"], one["link"]) for one in files] == [
        ("loras/a.safetensors", 5, False),
        ("loras/gone.safetensors", None, True),
    ]
