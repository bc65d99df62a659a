"""The environment, read once. README.md lists the variables."""

import re
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import split
from typing import Literal

from worker_gpu.build_info import Build, read_build
from worker_gpu.direct.settings import BucketIncomplete, DirectSettings, read_bucket
from worker_gpu.job.node_policy import NodePolicy

MIB = 1024 * 1024
DEFAULT_MIN_FREE_MEMORY_MB = 512
"""Below half a gigabyte free a run was always lost."""
DEFAULT_MIN_FREE_DISK_MB = 1024
"""Room for the outputs of one video job and ComfyUI's temporary files."""

RUNPOD_INIT_TIMEOUT_S = 420
"""How long RunPod lets a worker start where the endpoint says nothing (reference/runpod.md 5)."""
START_MARGIN_S = 300
"""For what comes before and after ComfyUI's start: the container, the GPU's check, boot models."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class BadSetting(Exception):  # noqa: N818 -- one line for the person who starts the worker
    """A variable that is missing or malformed; the message names it."""


@dataclass(frozen=True)
class Settings:
    """How this worker was asked to run. Exactly one of `comfyui_url` and `comfyui_path` is set."""

    comfyui_url: str | None
    comfyui_path: Path | None
    comfyui_python: str
    comfyui_args: tuple[str, ...]
    comfyui_port: int | None
    data_dir: Path
    gateway_origin: str | None
    worker_id: str
    min_free_memory_bytes: int
    min_free_disk_bytes: int
    start_timeout_s: float
    log_form: Literal["json", "text"]
    cancel_grace_s: float = 1.0
    warmup: Path | None = None
    nodes: NodePolicy = field(default_factory=NodePolicy)
    direct: DirectSettings = field(default_factory=DirectSettings)
    build: Build = field(default_factory=Build)


def read_settings(env: Mapping[str, str]) -> Settings:
    """Settings from `env`. Raises `BadSetting`."""
    url = env.get("COMFYUI_URL") or None
    path = env.get("COMFYUI_PATH") or None
    if url is None and path is None:
        raise BadSetting("set COMFYUI_PATH (a ComfyUI folder to start) or COMFYUI_URL (one that runs)")
    if url is not None and not url.startswith(("http://", "https://")):
        raise BadSetting("COMFYUI_URL: must start with http:// or https://")
    if url is None and path is not None and not (Path(path) / "main.py").is_file():
        raise BadSetting("COMFYUI_PATH: holds no main.py")
    form = env.get("LOG_FORMAT", "text")
    if form not in ("json", "text"):
        raise BadSetting("LOG_FORMAT: must be json or text")
    port = _count(env, "COMFYUI_PORT", 0, most=65535)
    # A folder for each worker: several may share a machine, and a ComfyUI empties its temp folder when it starts.
    base = Path(env.get("WORKER_DATA_DIR") or Path(tempfile.gettempdir()) / "worker-gpu")
    pod = env.get("RUNPOD_POD_ID") or ""
    return Settings(
        comfyui_url=url.rstrip("/") if url else None,
        comfyui_path=Path(path).absolute() if path and url is None else None,
        comfyui_python=env.get("COMFYUI_PYTHON") or sys.executable,
        comfyui_args=_arguments(env),
        comfyui_port=port or None,
        data_dir=(base / (_UNSAFE.sub("_", pod).strip(".") or "worker")).absolute(),
        gateway_origin=env.get("GATEWAY_ORIGIN") or None,
        worker_id=pod or str(uuid.uuid4()),
        min_free_memory_bytes=_count(env, "MIN_FREE_MEMORY_MB", DEFAULT_MIN_FREE_MEMORY_MB) * MIB,
        min_free_disk_bytes=_count(env, "MIN_FREE_DISK_MB", DEFAULT_MIN_FREE_DISK_MB) * MIB,
        start_timeout_s=float(_count(env, "COMFYUI_START_TIMEOUT_S", 600)),
        log_form="json" if form == "json" else "text",
        cancel_grace_s=float(_count(env, "CANCEL_GRACE_S", 1)),
        warmup=Path(env["WARMUP_WORKFLOW"]).absolute() if env.get("WARMUP_WORKFLOW") else None,
        nodes=NodePolicy.parse(env.get("NODE_ALLOW", ""), env.get("NODE_DENY", "")),
        direct=_direct(env),
        build=read_build(env),
    )


def start_advice(env: Mapping[str, str], settings: Settings) -> str | None:
    """Return advice when RunPod stops waiting for a worker before ComfyUI's start limit; None when all is well."""
    if settings.comfyui_url is not None or not env.get("RUNPOD_ENDPOINT_ID"):
        return None
    given = env.get("RUNPOD_INIT_TIMEOUT", "")
    limit_s = int(given) if given.isdecimal() else RUNPOD_INIT_TIMEOUT_S
    if limit_s > settings.start_timeout_s:
        return None
    return (
        f"RunPod counts a worker as unhealthy after {limit_s} s, ComfyUI may take {settings.start_timeout_s:.0f} s to"
        f" start: set RUNPOD_INIT_TIMEOUT to {settings.start_timeout_s + START_MARGIN_S:.0f} on the endpoint"
    )


def _count(env: Mapping[str, str], name: str, default: int, most: int = 2**31) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isdecimal() or int(text) > most:
        raise BadSetting(f"{name}: must be a whole number from 0 to {most}")
    return int(text)


def _direct(env: Mapping[str, str]) -> DirectSettings:
    try:
        bucket = read_bucket(env)
    except BucketIncomplete as error:
        raise BadSetting(str(error)) from error
    most = _count(env, "DIRECT_MAX_ANSWER_MB", 0)
    return DirectSettings(
        bucket=bucket,
        max_answer_bytes=most * 1_000_000 or None,
        timeout_s=float(_count(env, "DIRECT_TIMEOUT_S", 600) or 600),
        silence_s=float(_count(env, "DIRECT_SILENCE_S", 0)),
        stream=env.get("DIRECT_STREAM", "").lower() in ("1", "true"),
        comfy_org_api_key=env.get("COMFY_ORG_API_KEY") or None,
    )


def _arguments(env: Mapping[str, str]) -> tuple[str, ...]:
    given = split(env.get("COMFYUI_ARGS", ""))
    if env.get("COMFYUI_DISABLE_METADATA", "").lower() in ("1", "true") and "--disable-metadata" not in given:
        given.append("--disable-metadata")
    return tuple(given)
