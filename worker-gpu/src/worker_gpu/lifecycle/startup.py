"""From a started process to a worker that may take jobs: GPU, ComfyUI, boot models and the SDK at the same time.

Nothing waits for a fixed time: ready is when ComfyUI answers, its node list is loaded, and the boot models are here.
"""

import asyncio
import importlib
import time
from pathlib import Path

from worker_gpu import VERSION
from worker_gpu.diagnose.gpu import Gpus, query_gpus
from worker_gpu.diagnose.report import resident_bytes
from worker_gpu.direct.run import run_direct
from worker_gpu.json_readers import ShapeError, decode
from worker_gpu.lifecycle import resources
from worker_gpu.lifecycle.comfyui import Comfy, ComfyDidNotStart
from worker_gpu.lifecycle.ready import Ready
from worker_gpu.lifecycle.worker_context import ComfyInfo, Deps, fetch_comfy_info, open_worker_context
from worker_gpu.log import Log
from worker_gpu.models.errors import ModelError
from worker_gpu.models.service import BootReport, Models
from worker_gpu.models.settings import read_model_settings
from worker_gpu.redaction import public_text
from worker_gpu.settings import Settings
from worker_gpu.timeouts import Timeouts

ADAPTER = "worker_gpu.handler"
"""Holds the RunPod SDK, which takes a second to import: done while ComfyUI starts."""
MB = 1_000_000
COMMIT_CHARS = 12
"""Enough of a commit's name to find it."""


class GpuBroken(Exception):  # noqa: N818 -- a state of the machine, not of the code
    """The machine's GPU does not work: RunPod must replace the worker."""


def make_models(env: "dict[str, str]", log: Log) -> Models | None:
    """The models of this worker; None where no manifest is named or the settings of it are wrong (which is logged: a
    worker without its models still says what it lacks)."""
    try:
        settings = read_model_settings(env)
    except ModelError as error:
        log.error("models are not synced", code=error.code, cause=error.message)
        return None
    return Models(settings, log) if settings.enabled else None


async def start_up(settings: Settings, comfy: Comfy, models: Models | None, timeouts: Timeouts, log: Log) -> Ready:
    """Everything a job needs, started. Raises `GpuBroken`. With a ComfyUI that does not start the worker takes jobs all
    the same: each tries again, and fails with ComfyUI's last lines, rather than to wait for ever in RunPod's queue."""
    began = time.monotonic()
    # Beside a ComfyUI that the worker did not start, nothing else creates this folder.
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    starting = asyncio.create_task(_start_comfy(comfy, timeouts, log))
    looking = asyncio.create_task(asyncio.to_thread(query_gpus))
    loading = asyncio.create_task(asyncio.to_thread(importlib.import_module, ADAPTER))
    booting = asyncio.create_task(_boot_models(models))
    try:
        gpus = await looking
        if gpus.problem is not None:
            raise GpuBroken(gpus.problem)
        (known, comfy_s), _, (booted, models_s) = await asyncio.gather(starting, loading, booting)
    finally:
        for task in (starting, booting):
            task.cancel()
        await asyncio.wait({starting, booting})
    ready = Ready(settings, comfy, known, models, timeouts, log)
    overhead_s = time.monotonic() - began - max(comfy_s, models_s)
    if settings.warmup is not None and known is not None:
        await _warm_up(ready, settings.warmup)
    tell_of_start(ready, gpus, booted)
    log.info(
        "ready",
        seconds=round(time.monotonic() - began, 2),
        comfyui_seconds=round(comfy_s, 2),
        models_seconds=round(models_s, 2),
        overhead_seconds=round(overhead_s, 3),
        worker_memory_mb=resident_bytes() // MB,
        gateway=settings.gateway_origin,
        direct_outputs="bucket" if settings.direct.bucket is not None else "base64",
    )
    return ready


def tell_of_start(ready: Ready, gpus: Gpus, booted: BootReport | None) -> None:
    """One screen that says what this worker is."""
    log, known = ready.log, ready.known
    found = resources.measure(ready.settings.data_dir)
    about = known.about if known is not None else None
    build = ready.settings.build
    log.info("versions", version=VERSION, image=build.image, comfyui=about.version if about is not None else None)
    for name, total, free in zip(gpus.names, gpus.memory_total_bytes, gpus.memory_free_bytes, strict=True):
        log.info("gpu", name=name, driver=gpus.driver, memory_mb=total // MB, free_mb=free // MB)
    if gpus.skipped is not None:
        log.info("gpu check skipped", reason=gpus.skipped, comfyui_runs_on=about.gpu if about is not None else None)
    memory = found.memory_free_bytes
    log.info("room", memory_free_mb=None if memory is None else memory // MB, disk_free_mb=found.disk_free_bytes // MB)
    if booted is not None:
        log.info("models", boot_files=booted.files, fetched=booted.fetched.files, failed=len(booted.errors))
        for error in booted.errors:
            log.error("model unavailable", code=error.code, path=error.path, cause=error.message)
    else:
        log.info("models", sync="off: no MODELS_BUCKET and no MODELS_MANIFEST")
    failed = ready.comfy.failed_imports()
    log.info("nodes", classes=len(known.catalog.classes) if known is not None else None, failed_imports=len(failed))
    if build.nodes is not None:
        built = " ".join(f"{node.name}@{node.commit[:COMMIT_CHARS]}" for node in build.nodes)
        log.info("nodes of the image", digest=build.nodes_digest, nodes=built)
    for name in failed:
        log.error("node not imported", name=public_text(name))


async def _start_comfy(comfy: Comfy, timeouts: Timeouts, log: Log) -> tuple[ComfyInfo | None, float]:
    """What ComfyUI says of itself, and after how many seconds it answered or was given up."""
    began = time.monotonic()
    try:
        await comfy.start()
    except ComfyDidNotStart as error:
        for line in error.tail:
            log.error("comfyui says", line=line)
        log.error("comfyui did not start", cause=str(error))
        return None, time.monotonic() - began
    started_s = time.monotonic() - began
    return await fetch_comfy_info(comfy, timeouts), started_s


async def _boot_models(models: Models | None) -> tuple[BootReport | None, float]:
    """How the boot models came, and after how many seconds."""
    began = time.monotonic()
    if models is None:
        return None, 0.0
    await models.start()
    return await models.boot(), time.monotonic() - began


async def _warm_up(ready: Ready, path: Path) -> None:
    """Run the graph in a file before there are jobs, so that the first finds its models loaded. A failure is logged."""
    try:
        graph = decode(await asyncio.to_thread(path.read_bytes))
    except (OSError, ShapeError) as error:
        ready.log.error("warm-up not run", cause=type(error).__name__)
        return
    began = time.monotonic()
    async with open_worker_context(
        ready.settings, ready.comfy, ready.timeouts, Deps(), ready.log, ready.known, ready.models
    ) as context:
        answer = await run_direct(context, "warm-up", {"workflow": graph}, lambda _update: None, wants_outputs=False)
    code = answer.get("code")
    ready.log.info("warm-up", seconds=round(time.monotonic() - began, 2), code=code if isinstance(code, str) else None)
