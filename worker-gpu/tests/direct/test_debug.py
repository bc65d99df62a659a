"""Reports work on a worker whose disks fail or hang."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from direct.harness import direct_harness
from fakes.comfy import holding
from models.faulty_store import faulty_store
from models.samples import manifest_bytes, model, settings, silent
from worker_gpu.diagnose.probe import probe
from worker_gpu.diagnose.report import MAX_FILES, debug, health
from worker_gpu.direct.response import wire_size
from worker_gpu.json_readers import JsonObject, maybe_list, maybe_object
from worker_gpu.models.service import Models

PARTS = {"log", "status", "versions", "gpu", "volumes", "disk", "comfyui", "models", "environment_names"}


def breaking(monkeypatch: pytest.MonkeyPatch, folder: Path, fault: Callable[[], None]) -> None:
    """Run `fault` at each read of the usage or the entries of `folder`."""

    def broken(original: Callable[..., Any]) -> Callable[..., Any]:
        def asked(path: Any, *rest: Any, **more: Any) -> Any:
            if str(path).startswith(str(folder)):
                fault()
            return original(path, *rest, **more)

        return asked

    monkeypatch.setattr(shutil, "disk_usage", broken(shutil.disk_usage))
    monkeypatch.setattr(os, "walk", broken(os.walk))


def stale() -> None:
    raise OSError(116, "Stale file handle")


@pytest.mark.asyncio
async def test_report_names_a_failing_volume_and_keeps_its_other_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, well = tmp_path / "volume", tmp_path / "well"
    (volume / "models").mkdir(parents=True)
    well.mkdir()
    breaking(monkeypatch, volume, stale)
    async with direct_harness(tmp_path, holding()) as harness:
        report = await debug(harness.context, {"A": "secret"}, volumes=[volume, well])

    assert set(report) >= PARTS
    assert [maybe_object(one).get("problem") for one in maybe_list(report["volumes"])] == ["OSError", None]
    assert maybe_object(maybe_list(maybe_object(report["models"])["files"])[0])["problem"] == "OSError"
    assert maybe_object(report["comfyui"])["answers"] is True
    assert "secret" not in str(report)


def test_hung_volume_delays_neither_report_nor_shutdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, let_go = tmp_path / "volume", threading.Event()
    (volume / "models").mkdir(parents=True)
    breaking(monkeypatch, volume, lambda: (let_go.wait(), None)[1])

    async def ask() -> JsonObject:
        async with direct_harness(tmp_path, holding()) as harness:
            return await debug(harness.context, {}, timeout_s=0.2, volumes=[volume])

    try:
        # The loop closes while the thread hangs: if the loop waited for the thread, this test would hang.
        report = asyncio.run(ask())
    finally:
        let_go.set()
    assert set(report) >= PARTS
    assert "no answer within" in str(maybe_object(maybe_list(report["volumes"])[0])["problem"])
    assert "no answer within" in str(maybe_list(maybe_object(report["models"])["files"]))
    assert maybe_object(maybe_list(report["disk"])[0])["free_bytes"] is not None


def test_hung_probe_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, threading
from worker_gpu.diagnose.probe import probe
print(asyncio.run(probe(threading.Event().wait, lambda problem: problem, 0.05)))
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    ended = subprocess.run(  # noqa: S603 -- a program of this test
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=30, check=True
    )
    assert "no answer within" in ended.stdout


@pytest.mark.asyncio
async def test_worker_with_a_failing_disk_is_impaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with direct_harness(tmp_path, holding()) as harness:
        breaking(monkeypatch, harness.context.settings.data_dir, stale)
        report, full = await health(harness.context), await debug(harness.context, {}, volumes=[])

    assert (report["status"], report["disk_free_bytes"]) == ("impaired", None)
    assert set(full) >= PARTS


@pytest.mark.asyncio
async def test_report_stays_complete_when_the_state_of_models_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Models) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Models, "health", broken)
    monkeypatch.setattr(Models, "inventory", broken)
    with faulty_store() as store:
        async with direct_harness(tmp_path, holding()) as harness:
            harness.context.models = Models(settings(tmp_path, store.bucket), silent())
            report = await debug(harness.context, {}, volumes=[])

    assert report["status"] == "impaired"
    assert set(report) >= PARTS
    assert maybe_object(report["models"])["manifest"] == [{"problem": "OSError"}]


@pytest.mark.asyncio
async def test_report_fits_the_limit_of_the_gateway_with_the_log_first(tmp_path: Path) -> None:
    files = [model(f"checkpoints/{'x' * 60}-{number}.safetensors", b"x") for number in range(3 * MAX_FILES)]
    with faulty_store() as store:
        store.objects["manifest.json"] = manifest_bytes(*files)
        models = Models(settings(tmp_path, store.bucket), silent())
        await models.start()
        try:
            async with direct_harness(tmp_path, holding()) as harness:
                harness.context.models = models
                report = await debug(harness.context, {}, volumes=[])
        finally:
            await models.close()

    models = maybe_object(report["models"])
    assert (len(maybe_list(models["manifest"])), models["manifest_left_out"]) == (MAX_FILES, 2 * MAX_FILES)
    assert next(iter(report)) == "log"
    assert wire_size(report) < 1_000_000


@pytest.mark.asyncio
async def test_debug_reads_the_node_classes_of_comfyui_on_request(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, holding()) as harness:
        harness.comfy.nodes = {"SaveImage": {}, "EmptyImage": {}}
        without = await debug(harness.context, {}, volumes=[])
        report = await debug(harness.context, {}, volumes=[], with_catalog=True)

        assert "catalog" not in without
        assert maybe_object(report["catalog"]) == {
            "comfyui_version": "0.3.64",
            "hash": hashlib.sha256(b"EmptyImage\nSaveImage").hexdigest(),
            "classes": ["EmptyImage", "SaveImage"],
        }
        assert maybe_object(report["comfyui"])["node_classes"] == 2


@pytest.mark.asyncio
async def test_debug_omits_the_node_classes_when_comfyui_does_not_answer(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, holding()) as harness:
        harness.comfy.unwell = True
        report = await debug(harness.context, {}, volumes=[], with_catalog=True)

        assert "catalog" not in report
        assert set(report) >= PARTS


@pytest.mark.asyncio
async def test_report_names_a_comfyui_that_answers_nonsense(tmp_path: Path) -> None:
    async with direct_harness(tmp_path, holding()) as harness:
        harness.comfy.unwell = True
        report = await debug(harness.context, {}, volumes=[])
    assert report["status"] == "impaired"


@pytest.mark.asyncio
async def test_probe_returns_the_result_or_the_problem() -> None:
    assert await probe(lambda: 1, lambda _problem: 2) == 1
    assert await probe(lambda: 1 // 0, lambda _problem: 2) == 2
