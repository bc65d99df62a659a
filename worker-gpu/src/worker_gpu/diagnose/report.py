"""Reports on the worker as JSON, for its owner: `health` is small, `debug` has all that helps from afar. No values of
environment variables, no prompts of other jobs beyond what ComfyUI itself printed."""

import asyncio
import os
import resource
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker_gpu import VERSION, resources
from worker_gpu.boot import OwnComfy
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.diagnose.gpu import ASK_S, Gpus, look_at_gpus
from worker_gpu.diagnose.probe import LOOK_S, looked
from worker_gpu.models.settings import VOLUMES
from worker_gpu.public import placeless_text
from worker_gpu.shape import Json, JsonObject, maybe_list, maybe_object
from worker_gpu.workplace import Workplace

MAX_FILES = 1000
"""Model files listed of a folder, and of the manifest; more are counted. The gateway passes on 1 MB of a report
(docs/operations/monitor.md), and an entry takes 100 to 250 bytes."""
MAX_NAMES = 1000
MAX_LINE_CHARS = 500


@dataclass(frozen=True)
class _Answers:
    """What ComfyUI says now, or why it does not."""

    stats: JsonObject | None
    problem: str | None


async def health(place: Workplace, look_s: float = LOOK_S) -> JsonObject:
    """Whether a job would run: quick, and never raises. Each part comes, or says what is wrong, within `look_s`."""
    return await _health(place, await _ask(place), look_s)


async def debug(
    place: Workplace,
    env: Mapping[str, str],
    look_s: float = LOOK_S,
    volumes: Iterable[Path] = VOLUMES,
    with_catalog: bool = False,
) -> JsonObject:
    """Everything that explains why a job does not run here. Never raises. Each part comes, or says what is wrong,
    within `look_s`; the GPU's takes as long as its driver. `with_catalog`: ComfyUI's node classes too, asked anew."""
    answers = await _ask(place)
    comfy = place.comfy
    own = comfy if isinstance(comfy, OwnComfy) else None
    volumes = tuple(volumes)
    catalog, (told, gpus, mounts), disks, files, (manifest, left_out) = await asyncio.gather(
        _catalog(place) if with_catalog else _nothing(),
        asyncio.gather(
            _health(place, answers, look_s),
            looked(look_at_gpus, lambda problem: Gpus(problem=problem), ASK_S + look_s),
            asyncio.gather(*(_volume(volume, look_s) for volume in volumes)),
        ),
        asyncio.gather(*(_disk(folder, look_s) for folder in _folders(place))),
        asyncio.gather(*(_models(folder, look_s) for folder in _model_folders(place, volumes))),
        looked(lambda: _manifest(place), lambda problem: ([{"problem": problem}], 0), look_s),
    )
    return {
        # First, since whoever passes the report on may cut its end.
        "log": _texts(comfy.tail()),
        **({"catalog": catalog} if catalog is not None else {}),
        **told,
        "versions": {"worker": VERSION, "python": sys.version.split()[0], "comfyui": place.info.comfyui_version},
        "build": place.settings.build.to_wire(),
        "gpu": gpus.to_wire(),
        "volumes": list[Json](mounts),
        "disk": list[Json](disks),
        "comfyui": {
            "ours": own is not None,
            "pid": own.pid if own is not None else None,
            "answers": answers.stats is not None,
            "problem": answers.problem,
            "system_stats": answers.stats,
            "node_classes": len(place.known.catalog.classes) if place.known is not None else None,
            "arguments": _texts(own.arguments if own is not None else []),
        },
        "worker_memory_bytes": resident_bytes(),
        "environment_names": _texts(sorted(env)[:MAX_NAMES]),
        "models": {
            "sync": told["models"],
            "files": list[Json](files),
            "manifest": manifest,
            "manifest_left_out": left_out,
        },
    }


async def _health(place: Workplace, answers: _Answers, look_s: float) -> JsonObject:
    models, folder = place.models, place.settings.data_dir
    synced, free = await asyncio.gather(
        looked(models.health, _wrong, look_s) if models is not None else _nothing(),
        looked(lambda: resources.measure(folder), lambda _problem: None, look_s),
    )
    faults = maybe_list(maybe_object(synced).get("errors"))
    well = answers.stats is not None and free is not None and not faults and "problem" not in maybe_object(synced)
    return {
        "status": "ok" if well else "impaired",
        "worker": place.info.to_wire(),
        "comfyui": {"answers": answers.stats is not None, "problem": answers.problem},
        "busy": place.turn.locked(),
        "memory_free_bytes": free.memory_free_bytes if free is not None else None,
        "disk_free_bytes": free.disk_free_bytes if free is not None else None,
        "failed_nodes": _texts(place.comfy.failed_imports()[:MAX_NAMES]),
        "models": synced,
    }


async def _ask(place: Workplace) -> _Answers:
    try:
        stats = await place.client.stats()
        return _Answers(stats, None) if "system" in stats else _Answers(None, "/system_stats: no answer of ComfyUI's")
    except ComfyUnreachable as error:
        return _Answers(None, str(error))
    except Exception as error:
        return _Answers(None, type(error).__name__)


async def _catalog(place: Workplace) -> JsonObject | None:
    """The node classes ComfyUI has now; None when it does not say."""
    try:
        known = await asyncio.wait_for(place.know_again(), ASK_S)
    except (ComfyUnreachable, TimeoutError):
        return None
    classes = list[Json](known.catalog.classes)
    return {"comfyui_version": known.about.version, "hash": known.catalog.digest, "classes": classes}


async def _volume(volume: Path, look_s: float) -> JsonObject:
    return await looked(lambda: look_at_volume(volume), lambda problem: _lost(volume, problem), look_s)


async def _disk(folder: Path, look_s: float) -> JsonObject:
    return await looked(lambda: _usage(folder), lambda problem: _lost(folder, problem), look_s)


async def _models(folder: Path, look_s: float) -> JsonObject:
    return await looked(
        lambda: list_models(folder), lambda problem: {"folder": str(folder), "problem": problem}, look_s
    )


async def _nothing() -> None:
    return None


def look_at_volume(volume: Path) -> JsonObject:
    """Whether a network volume is mounted there, and what is in it. Blocks. Raises `OSError`."""
    there = volume.is_dir()
    entry: JsonObject = {"path": str(volume), "there": there, "mounted": there and os.path.ismount(volume)}
    if there:
        entry |= _usage(volume)
        entry["entries"] = _texts(sorted(path.name for path in volume.iterdir())[:50])
    return entry


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


def _manifest(place: Workplace) -> tuple[list[Json], int]:
    listed = place.models.inventory() if place.models is not None else []
    return listed[:MAX_FILES], max(0, len(listed) - MAX_FILES)


def _model_folders(place: Workplace, volumes: tuple[Path, ...]) -> list[Path]:
    path = place.settings.comfyui_path
    own = [path / "models"] if path is not None and place.models is None else []
    folders = own + [volume / "models" for volume in volumes]
    if place.models is not None:
        folders.insert(0, place.models.settings.folder)
    return list(dict.fromkeys(folders))


def _folders(place: Workplace) -> list[Path]:
    return [place.settings.data_dir, *([place.models.settings.folder] if place.models is not None else [])]


def _usage(folder: Path) -> JsonObject:
    usage = shutil.disk_usage(folder)
    return {"path": str(folder), "bytes": usage.total, "free_bytes": usage.free}


def _wrong(problem: str) -> JsonObject:
    return {"problem": problem}


def _lost(folder: Path, problem: str) -> JsonObject:
    return {"path": str(folder), "problem": problem}


def _texts(lines: Iterable[str]) -> list[Json]:
    return [placeless_text(line, MAX_LINE_CHARS) for line in lines]
