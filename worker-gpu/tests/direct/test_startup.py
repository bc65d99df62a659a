"""The boot: everything at once, nothing taken before it is ready, and the reason when it cannot be."""

import asyncio
import dataclasses
import io
import json
import os
import stat
from pathlib import Path

import pytest

from direct.test_answers import SAVE, listing
from fakes.comfy import PNG, FakeComfy
from fakes.own import engine_settings
from fakes.server import serving
from fakes.stage import QUICK, make_settings
from worker_gpu.boot import ExternalComfy, OwnComfy
from worker_gpu.diagnose.gpu import look_at_gpus, read_gpus
from worker_gpu.diagnose.report import list_models, look_at_volumes
from worker_gpu.log import Log
from worker_gpu.patience import Patience
from worker_gpu.shape import maybe_list, maybe_object
from worker_gpu.startup import GpuBroken, start_up


@pytest.mark.asyncio
async def test_the_warm_up_graph_runs_before_the_worker_is_ready(tmp_path: Path) -> None:
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
async def test_a_warm_up_that_fails_is_logged_and_the_worker_works(tmp_path: Path) -> None:
    comfy, written = FakeComfy(listing({})), io.StringIO()
    comfy.answer = (400, {"error": {"type": "x", "message": "no"}, "node_errors": {}})
    graph = tmp_path / "warm.json"
    graph.write_text(json.dumps(SAVE))
    async with serving(comfy.application()) as url:
        settings = dataclasses.replace(make_settings(tmp_path, url), warmup=graph)
        await start_up(settings, ExternalComfy(url, QUICK), None, QUICK, Log(written))
    assert "code=invalid_workflow" in written.getvalue()


def driver(folder: Path, script: str) -> str:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return str(program)


def test_a_machine_without_a_driver_is_skipped_with_the_reason() -> None:
    found = look_at_gpus("no-such-program-here")
    assert found.problem is None
    assert "no no-such-program-here here" in (found.skipped or "")


def test_a_driver_that_works_tells_its_gpus(tmp_path: Path) -> None:
    found = look_at_gpus(driver(tmp_path, "echo 'NVIDIA L4, 570.1, 23034, 22000, 0'"))
    assert (found.names, found.driver, found.problem) == (("NVIDIA L4",), "570.1", None)
    assert found.memory_total_bytes == (23034 * 1024 * 1024,)


def test_a_driver_that_fails_and_worn_memory_are_problems(tmp_path: Path) -> None:
    assert "ended with 9" in (look_at_gpus(driver(tmp_path, "echo lost; exit 9")).problem or "")
    assert "lists no GPU" in (read_gpus("").problem or "")
    assert "memory errors" in (read_gpus("NVIDIA L4, 570.1, 23034, 22000, 3").problem or "")


@pytest.mark.asyncio
async def test_a_broken_gpu_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, "exit 9")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    comfy = FakeComfy(listing({}))
    async with serving(comfy.application()) as url:
        with pytest.raises(GpuBroken, match="ended with 9"):
            await start_up(make_settings(tmp_path, url), ExternalComfy(url, QUICK), None, QUICK, Log(io.StringIO()))


@pytest.mark.asyncio
async def test_nodes_that_comfyui_could_not_import_are_named(tmp_path: Path) -> None:
    main = tmp_path / "comfyui" / "main.py"
    main.parent.mkdir()
    main.write_text("print('   0.1 seconds (IMPORT FAILED): /opt/comfyui/custom_nodes/ComfyUI-Broken', flush=True)\n")
    settings = engine_settings(tmp_path / "data", {"COMFYUI_PATH": str(main.parent)})
    comfy = OwnComfy(settings, main.parent, os.environ, Patience(start_s=10, terminate_s=0.5), Log(io.StringIO()))
    with pytest.raises(Exception, match="exited with 0"):
        await comfy.start()
    await asyncio.wait_for(comfy.wait_exit(), 10)
    assert comfy.failed_imports() == ["ComfyUI-Broken"]
    assert "IMPORT FAILED" in comfy.tail()[-1]


def test_the_report_tells_volumes_and_models(tmp_path: Path) -> None:
    (tmp_path / "models" / "loras").mkdir(parents=True)
    (tmp_path / "models" / "loras" / "a.safetensors").write_bytes(b"12345")
    (tmp_path / "models" / "loras" / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    volumes = [maybe_object(one) for one in look_at_volumes([tmp_path, tmp_path / "none"])]
    assert [(one["there"], one["mounted"]) for one in volumes] == [(True, False), (False, False)]
    assert volumes[0]["entries"] == ["models"]
    files = [maybe_object(one) for one in maybe_list(list_models(tmp_path / "models")["files"])]
    assert [(one["path"], one["bytes"], one["link"]) for one in files] == [
        ("loras/a.safetensors", 5, False),
        ("loras/gone.safetensors", None, True),
    ]
