"""Reports about the worker as JSON, for its owner: `health` is small, `debug` has everything that helps to find a
fault. They hold no values of environment variables, and of other jobs only what ComfyUI itself printed."""

import asyncio
import os
import resource
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker_gpu import VERSION
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.diagnose.gpu import NVIDIA_SMI_TIMEOUT_S, Gpus, query_gpus
from worker_gpu.diagnose.probe import PROBE_TIMEOUT_S, probe
from worker_gpu.json_readers import Json, JsonObject, maybe_list, maybe_object
from worker_gpu.lifecycle import resources
from worker_gpu.lifecycle.comfyui import OwnComfy
from worker_gpu.lifecycle.worker_context import WorkerContext
from worker_gpu.models.settings import VOLUMES
from worker_gpu.redaction import without_paths

MAX_FILES = 1000
"""Files listed for each models folder, and for the manifest; the rest are counted. The gateway accepts a report of 1 MB
(docs/operations/monitor.md), and an entry takes 100 to 250 bytes."""
MAX_NAMES = 1000
MAX_LINE_CHARS = 500


@dataclass(frozen=True)
class _ComfyStats:
    """`/system_stats` of ComfyUI, or why it could not be read."""

    stats: JsonObject | None
    problem: str | None


async def health(context: WorkerContext, timeout_s: float = PROBE_TIMEOUT_S) -> JsonObject:
    """Whether a job would run. Never raises. Each part is ready, or names its problem, within `timeout_s`."""
    return await _health(context, await _read_stats(context), timeout_s)


async def debug(
    context: WorkerContext,
    env: Mapping[str, str],
    timeout_s: float = PROBE_TIMEOUT_S,
    volumes: Iterable[Path] = VOLUMES,
    with_catalog: bool = False,
) -> JsonObject:
    """Everything that can explain why a job does not run here. Never raises. Each part is ready, or names its problem,
    within `timeout_s`; only the GPU may take as long as its driver. `with_catalog` adds ComfyUI's current node
    classes."""
    comfy_stats = await _read_stats(context)
    comfy = context.comfy
    own = comfy if isinstance(comfy, OwnComfy) else None
    volumes = tuple(volumes)
    catalog, (health_report, gpus, mounts), disks, files, (manifest, left_out) = await asyncio.gather(
        _catalog(context) if with_catalog else _none(),
        asyncio.gather(
            _health(context, comfy_stats, timeout_s),
            probe(query_gpus, lambda problem: Gpus(problem=problem), NVIDIA_SMI_TIMEOUT_S + timeout_s),
            asyncio.gather(*(_volume(volume, timeout_s) for volume in volumes)),
        ),
        asyncio.gather(*(_disk(folder, timeout_s) for folder in _folders(context))),
        asyncio.gather(*(_models(folder, timeout_s) for folder in _model_folders(context, volumes))),
        probe(lambda: _manifest(context), lambda problem: ([{"problem": problem}], 0), timeout_s),
    )
    return {
        # First, because the end of a long report may be cut off.
        "log": _texts(comfy.tail()),
        **({"catalog": catalog} if catalog is not None else {}),
        **health_report,
        "versions": {"worker": VERSION, "python": sys.version.split()[0], "comfyui": context.info.comfyui_version},
        "build": context.settings.build.to_wire(),
        "gpu": gpus.to_wire(),
        "volumes": list[Json](mounts),
        "disk": list[Json](disks),
        "comfyui": {
            "ours": own is not None,
            "pid": own.pid if own is not None else None,
            "answers": comfy_stats.stats is not None,
            "problem": comfy_stats.problem,
            "system_stats": comfy_stats.stats,
            "node_classes": len(context.known.catalog.classes) if context.known is not None else None,
            "arguments": _texts(own.arguments if own is not None else []),
        },
        "worker_memory_bytes": resident_bytes(),
        "environment_names": _texts(sorted(env)[:MAX_NAMES]),
        "models": {
            "sync": health_report["models"],
            "files": list[Json](files),
            "manifest": manifest,
            "manifest_left_out": left_out,
        },
    }


async def _health(context: WorkerContext, comfy_stats: _ComfyStats, timeout_s: float) -> JsonObject:
    models, folder = context.models, context.settings.data_dir
    model_health, free = await asyncio.gather(
        probe(models.health, _problem, timeout_s) if models is not None else _none(),
        probe(lambda: resources.measure(folder), lambda _problem: None, timeout_s),
    )
    errors = maybe_list(maybe_object(model_health).get("errors"))
    is_ok = (
        comfy_stats.stats is not None
        and free is not None
        and not errors
        and "problem" not in maybe_object(model_health)
    )
    return {
        "status": "ok" if is_ok else "impaired",
        "worker": context.info.to_wire(),
        "comfyui": {"answers": comfy_stats.stats is not None, "problem": comfy_stats.problem},
        "busy": context.job_lock.locked(),
        "memory_free_bytes": free.memory_free_bytes if free is not None else None,
        "disk_free_bytes": free.disk_free_bytes if free is not None else None,
        "failed_nodes": _texts(context.comfy.failed_imports()[:MAX_NAMES]),
        "models": model_health,
    }


async def _read_stats(context: WorkerContext) -> _ComfyStats:
    try:
        stats = await context.client.stats()
        return (
            _ComfyStats(stats, None)
            if "system" in stats
            else _ComfyStats(None, "/system_stats: the answer is not from ComfyUI")
        )
    except ComfyUnreachable as error:
        return _ComfyStats(None, str(error))
    except Exception as error:
        return _ComfyStats(None, type(error).__name__)


async def _catalog(context: WorkerContext) -> JsonObject | None:
    """ComfyUI's current node classes; None if it does not answer."""
    try:
        known = await asyncio.wait_for(context.refresh_comfy_info(), NVIDIA_SMI_TIMEOUT_S)
    except (ComfyUnreachable, TimeoutError):
        return None
    classes = list[Json](known.catalog.classes)
    return {"comfyui_version": known.about.version, "hash": known.catalog.digest, "classes": classes}


async def _volume(volume: Path, timeout_s: float) -> JsonObject:
    return await probe(lambda: describe_volume(volume), lambda problem: _folder_problem(volume, problem), timeout_s)


async def _disk(folder: Path, timeout_s: float) -> JsonObject:
    return await probe(lambda: _usage(folder), lambda problem: _folder_problem(folder, problem), timeout_s)


async def _models(folder: Path, timeout_s: float) -> JsonObject:
    return await probe(
        lambda: list_models(folder), lambda problem: {"folder": str(folder), "problem": problem}, timeout_s
    )


async def _none() -> None:
    return None


def describe_volume(volume: Path) -> JsonObject:
    """Whether a network volume is mounted at `volume`, and its entries. Blocks. Raises `OSError`."""
    exists = volume.is_dir()
    entry: JsonObject = {"path": str(volume), "there": exists, "mounted": exists and os.path.ismount(volume)}
    if exists:
        entry |= _usage(volume)
        entry["entries"] = _texts(sorted(path.name for path in volume.iterdir())[:50])
    return entry


def list_models(folder: Path) -> JsonObject:
    """The files of a models folder with their sizes. Blocks."""
    if not folder.is_dir():
        return {"folder": str(folder), "there": False, "files": [], "left_out": 0}
    found: list[Json] = []
    left_out = 0
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if name.startswith((".", "put_")):
                continue
            if len(found) >= MAX_FILES:
                left_out += 1
                continue
            try:
                size = path.stat().st_size
            except OSError:
                size = None  # A link whose target is missing: worth showing.
            found.append({"path": path.relative_to(folder).as_posix(), "bytes": size, "link": path.is_symlink()})
    return {"folder": str(folder), "there": True, "files": found, "left_out": left_out}


def resident_bytes() -> int:
    """The current memory of this process, or its peak if the system does not report the current one."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _manifest(context: WorkerContext) -> tuple[list[Json], int]:
    listed = context.models.inventory() if context.models is not None else []
    return listed[:MAX_FILES], max(0, len(listed) - MAX_FILES)


def _model_folders(context: WorkerContext, volumes: tuple[Path, ...]) -> list[Path]:
    path = context.settings.comfyui_path
    own = [path / "models"] if path is not None and context.models is None else []
    folders = own + [volume / "models" for volume in volumes]
    if context.models is not None:
        folders.insert(0, context.models.settings.folder)
    return list(dict.fromkeys(folders))


def _folders(context: WorkerContext) -> list[Path]:
    return [context.settings.data_dir, *([context.models.settings.folder] if context.models is not None else [])]


def _usage(folder: Path) -> JsonObject:
    usage = shutil.disk_usage(folder)
    return {"path": str(folder), "bytes": usage.total, "free_bytes": usage.free}


def _problem(problem: str) -> JsonObject:
    return {"problem": problem}


def _folder_problem(folder: Path, problem: str) -> JsonObject:
    return {"path": str(folder), "problem": problem}


def _texts(lines: Iterable[str]) -> list[Json]:
    return [without_paths(line, MAX_LINE_CHARS) for line in lines]
