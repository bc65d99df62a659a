"""Settings for model files, read from the environment once. docs/guides/models.md lists the variables."""

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker_gpu.json_readers import ShapeError
from worker_gpu.models.cpus import usable_cpus
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.urls import parse_url

MIB = 1024 * 1024
DEFAULT_MIN_FREE_MB = 2048
"""Disk space that downloads leave free: twice what the outputs of a video job and ComfyUI's temporary files need."""
CONNECTIONS_PER_CPU = 8
MIN_CONNECTIONS, MAX_CONNECTIONS = 16, 64
"""One connection to R2 gives 20 to 30 MB/s, so throughput depends on the number of connections: 64 give about 1.6 GB/s
(reference/gpu-worker.md section 1.1)."""
VOLUMES = (Path("/runpod-volume"), Path("/workspace"))
"""Where RunPod mounts a network volume: on serverless, then on pods (reference/runpod.md)."""
HUB = "https://huggingface.co"
_NUMBER = re.compile(r"[0-9]{1,18}")
_BUCKET_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
"""obstore panics while it signs a request whose URL contains another character."""


@dataclass(frozen=True)
class Credentials:
    """The keys that sign requests. The secret is not part of `repr`."""

    key_id: str
    secret: str = field(repr=False)
    region: str = "auto"


@dataclass(frozen=True)
class Bucket:
    """An S3-compatible bucket. `endpoint` has no trailing slash and may have a path. `prefix` is empty or ends in
    `/`."""

    endpoint: str
    name: str
    credentials: Credentials
    prefix: str = ""


@dataclass(frozen=True)
class TransferTimeouts:
    """Timeouts and retries of reads from a store, before a download fails."""

    read_timeout_s: float = 15.0
    """Time without a byte on a connection. A healthy connection sends something every few milliseconds."""
    attempts: int = 8
    """Attempts per chunk. With the pauses below they take about a minute: a longer outage of the store fails the job
    instead of billing a GPU that waits."""
    corrupt_attempts: int = 3
    """Attempts per chunk whose bytes arrive complete but wrong. A retry fixes a flipped bit, but not a wrong object."""
    first_pause_s: float = 0.2
    max_pause_s: float = 15.0
    slow_share: float = 0.25
    """A connection slower than this share of the median speed is replaced (reference/gpu-worker.md section 5.1)."""
    slow_grace_s: float = 4.0
    """The speed of a connection counts only after this time."""
    slow_replacements: int = 3
    """After this many replacements a chunk keeps its slow connection."""
    min_bytes_per_s: int = 64 * 1024
    min_speed_window_s: float = 20.0
    """A connection slower than `min_bytes_per_s` over this time counts as failed, however slow the others are. The
    limit is 1/300 of R2's speed. At 1 KB/s a chunk of 64 MiB would take 18 hours of GPU time; this way it fails
    after `attempts`."""
    check_interval_s: float = 0.25
    """How often a thread that waits for bytes checks whether it has to stop and whether the connection is too slow."""
    freed_blocks_s: float = 2.0
    """How long to wait for free space after files were deleted: XFS frees their blocks in the background."""


@dataclass(frozen=True)
class ModelSettings:
    """How this worker gets and stores model files. Without `bucket` and `manifest` it downloads nothing."""

    folder: Path
    bucket: Bucket | None = None
    manifest: Path | None = None
    connections: int = MIN_CONNECTIONS
    min_free_bytes: int = DEFAULT_MIN_FREE_MB * MIB
    volume: Path | None = None
    volume_write: bool = False
    volume_check_all: bool = False
    """Hash every byte of a file on a read-only volume at each start, instead of samples."""
    hub: str = HUB
    hub_token: str | None = field(default=None, repr=False)
    hub_caches: tuple[Path, ...] = ()
    timeouts: TransferTimeouts = TransferTimeouts()

    @property
    def enabled(self) -> bool:
        """Whether a manifest is configured."""
        return self.bucket is not None or self.manifest is not None


def read_model_settings(
    env: Mapping[str, str], cpus: int | None = None, is_mount: Callable[[Path], bool] = Path.is_mount
) -> ModelSettings:
    """Parse settings from `env`. Raises `ModelError` bad_setting, which names the variable."""
    data = Path(env.get("WORKER_DATA_DIR") or Path(tempfile.gettempdir()) / "worker-gpu")
    comfyui = env.get("COMFYUI_PATH")
    folder = Path(env.get("MODELS_DIR") or (Path(comfyui) / "models" if comfyui else data / "models")).absolute()
    manifest = env.get("MODELS_MANIFEST")
    cpus = cpus or usable_cpus()
    lanes = min(MAX_CONNECTIONS, max(MIN_CONNECTIONS, CONNECTIONS_PER_CPU * cpus))
    volume = _volume(env, is_mount)
    return ModelSettings(
        folder=folder,
        bucket=_bucket(env),
        manifest=Path(manifest).absolute() if manifest else None,
        connections=_int(env, "MODELS_LANES", lanes, 1, 256),
        min_free_bytes=_int(env, "MODELS_MIN_FREE_MB", DEFAULT_MIN_FREE_MB, 0, 2**31) * MIB,
        volume=volume,
        volume_write=_flag(env, "MODELS_VOLUME_WRITE"),
        volume_check_all=_flag(env, "MODELS_VOLUME_CHECK_ALL"),
        hub=_url(env, "HF_ENDPOINT", HUB),
        hub_token=_token(env, "HF_TOKEN") or None,
        hub_caches=_hub_caches(env),
    )


def _bucket(env: Mapping[str, str]) -> Bucket | None:
    name = env.get("MODELS_BUCKET", "").strip()
    if not name:
        return None
    if not _BUCKET_NAME.fullmatch(name):
        raise ModelError("bad_setting", "MODELS_BUCKET: must be letters, digits, dots, hyphens and underscores")
    required = ("MODELS_ENDPOINT_URL", "MODELS_ACCESS_KEY_ID", "MODELS_SECRET_ACCESS_KEY")
    missing = [variable for variable in required if not env.get(variable, "").strip()]
    if missing:
        raise ModelError("bad_setting", f"MODELS_BUCKET is set, so set {' and '.join(missing)} too")
    prefix = _prefix(env)
    credentials = Credentials(
        _token(env, "MODELS_ACCESS_KEY_ID"),
        _token(env, "MODELS_SECRET_ACCESS_KEY"),
        _token(env, "MODELS_REGION") or "auto",
    )
    return Bucket(_url(env, "MODELS_ENDPOINT_URL", ""), name, credentials, f"{prefix}/" if prefix else "")


def _volume(env: Mapping[str, str], is_mount: Callable[[Path], bool]) -> Path | None:
    """The models folder on the network volume. `MODELS_VOLUME` names it, and an empty value means none. If it is
    unset, this is the first of `VOLUMES` that is a mount: a plain folder is on the container's disk, where copies
    waste space."""
    given = env.get("MODELS_VOLUME")
    if given is not None:
        return Path(given).absolute() if given else None
    return next((volume / "models" for volume in VOLUMES if is_mount(volume)), None)


def _hub_caches(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Folders that contain `models--owner--name`: the one of the environment, and RunPod's cache of models
    (reference/runpod.md)."""
    home = env.get("HF_HOME")
    named = env.get("HF_HUB_CACHE") or (str(Path(home) / "hub") if home else None)
    return (*((Path(named),) if named else ()), Path("/runpod-volume/huggingface-cache/hub"))


def _url(env: Mapping[str, str], name: str, default: str) -> str:
    text = (env.get(name, "").strip() or default).rstrip("/")
    try:
        parts = parse_url(text)
    except ShapeError as error:
        raise ModelError("bad_setting", f"{name}: {error}") from None
    if not _URL_CHARACTERS.fullmatch(text):
        raise ModelError("bad_setting", f"{name}: must contain only URL characters; percent-encode the others")
    if "?" in text or "#" in text or "@" in parts.netloc:
        raise ModelError("bad_setting", f"{name}: must be an http or https URL without a query or user name")
    return text


def _token(env: Mapping[str, str], name: str) -> str:
    """A value that goes into a header. Surrounding white space is dropped: a copied key often ends in a line break."""
    text = env.get(name, "").strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ModelError("bad_setting", f"{name}: must contain only printable ASCII characters without spaces")
    return text


def _prefix(env: Mapping[str, str]) -> str:
    text = env.get("MODELS_PREFIX", "").strip().strip("/")
    if not text.isprintable():
        raise ModelError("bad_setting", "MODELS_PREFIX: must contain only printable characters")
    if text and any(part in ("", ".", "..") for part in text.split("/")):
        raise ModelError("bad_setting", "MODELS_PREFIX: must not contain an empty part, '.' or '..'")
    return text


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").lower()
    if text not in ("", "0", "1", "false", "true"):
        raise ModelError("bad_setting", f"{name}: must be true or false")
    return text in ("1", "true")


def _int(env: Mapping[str, str], name: str, default: int, minimum: int, maximum: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not _NUMBER.fullmatch(text) or not minimum <= int(text) <= maximum:
        raise ModelError("bad_setting", f"{name}: must be a whole number from {minimum} to {maximum}")
    return int(text)
