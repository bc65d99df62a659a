"""Reports on the worker as JSON, for its owner: `health` is small, `debug` has all that helps from afar. No values of
environment variables, no prompts of other jobs beyond what ComfyUI itself printed."""

import asyncio
import os
import resource
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker_gpu import VERSION, resources
from worker_gpu.boot import OwnComfy
from worker_gpu.comfy.client import ComfyUnreachable
from worker_gpu.diagnose.gpu import look_at_gpus
from worker_gpu.errors import public_text
from worker_gpu.models.settings import VOLUMES
from worker_gpu.shape import Json, JsonObject, maybe_list, maybe_object
from worker_gpu.workplace import Workplace

MAX_FILES = 2000
"""Model files listed; more are counted."""
MAX_LINE_CHARS = 500


async def health(place: Workplace) -> JsonObject:
    """Whether a job would run: quick, and never raises."""
    answers, problem = await _ask(place)
    info = place.info
    found = resources.measure(place.settings.data_dir)
    faults = maybe_list(maybe_object(place.models.health()).get("errors")) if place.models is not None else []
    return {
        "status": "ok" if answers is not None and not faults else "impaired",
        "worker": info.to_wire(),
        "comfyui": {"answers": answers is not None, "problem": problem},
        "busy": place.turn.locked(),
        "memory_free_bytes": found.memory_free_bytes,
        "disk_free_bytes": found.disk_free_bytes,
        "failed_nodes": _texts(place.comfy.failed_imports()),
        "models": place.models.health() if place.models is not None else None,
    }


async def debug(place: Workplace, env: Mapping[str, str]) -> JsonObject:
    """Everything that explains why a job does not run here. Never raises."""
    answers, problem = await _ask(place)
    comfy = place.comfy
    own = comfy if isinstance(comfy, OwnComfy) else None
    gpus, volumes, files = await asyncio.gather(
        asyncio.to_thread(look_at_gpus), asyncio.to_thread(look_at_volumes), asyncio.to_thread(_model_files, place)
    )
    return {
        **await health(place),
        "versions": {"worker": VERSION, "python": sys.version.split()[0], "comfyui": place.info.comfyui_version},
        "build": place.settings.build.to_wire(),
        "gpu": gpus.to_wire(),
        "volumes": volumes,
        "disk": [_disk(folder) for folder in _folders(place)],
        "comfyui": {
            "ours": own is not None,
            "pid": own.pid if own is not None else None,
            "answers": answers is not None,
            "problem": problem,
            "system_stats": answers,
            "node_classes": len(place.known.catalog.classes) if place.known is not None else None,
            "arguments": _texts(own.arguments if own is not None else []),
        },
        "failed_nodes": _texts(comfy.failed_imports()),
        "models": {
            "sync": place.models.health() if place.models is not None else None,
            "manifest": place.models.inventory() if place.models is not None else [],
            "files": files,
        },
        "worker_memory_bytes": resident_bytes(),
        "environment_names": _texts(sorted(env)),
        "log": _texts(comfy.tail()),
    }


async def _ask(place: Workplace) -> tuple[JsonObject | None, str | None]:
    """What ComfyUI says now, or why it does not."""
    try:
        return await place.client.stats(), None
    except ComfyUnreachable as error:
        return None, str(error)


def look_at_volumes(volumes: Iterable[Path] = VOLUMES) -> list[Json]:
    """Where RunPod mounts network volumes: is one there, and what is in it."""
    told: list[Json] = []
    for volume in volumes:
        there = volume.is_dir()
        entry: JsonObject = {"path": str(volume), "there": there, "mounted": there and os.path.ismount(volume)}
        if there:
            entry |= _disk(volume)
            try:
                entry["entries"] = _texts(sorted(path.name for path in volume.iterdir())[:50])
            except OSError as error:
                entry["problem"] = type(error).__name__
        told.append(entry)
    return told


def list_models(folder: Path) -> JsonObject:
    """Files below a models folder with their sizes: what ComfyUI's loaders can offer. Blocks."""
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
                size = None  # a link whose target is gone: worth seeing
            found.append({"path": path.relative_to(folder).as_posix(), "bytes": size, "link": path.is_symlink()})
    return {"folder": str(folder), "there": True, "files": found, "left_out": left_out}


def resident_bytes() -> int:
    """Memory this process holds now; the most it held, where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _model_files(place: Workplace) -> list[Json]:
    path = place.settings.comfyui_path
    own = [path / "models"] if path is not None and place.models is None else []
    folders = own + [volume / "models" for volume in VOLUMES if (volume / "models").is_dir()]
    if place.models is not None:
        folders.insert(0, place.models.settings.folder)
    return [list_models(folder) for folder in dict.fromkeys(folders)]


def _folders(place: Workplace) -> list[Path]:
    models = [place.models.settings.folder] if place.models is not None else []
    return [folder for folder in (place.settings.data_dir, *models) if folder.is_dir()]


def _disk(folder: Path) -> JsonObject:
    usage = shutil.disk_usage(folder)
    return {"path": str(folder), "bytes": usage.total, "free_bytes": usage.free}


def _texts(lines: Iterable[str]) -> list[Json]:
    return [public_text(line, MAX_LINE_CHARS) for line in lines]
