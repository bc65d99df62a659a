"""The worker contract in Python: docs/reference/worker-contract.md is the page, src/contract/worker.ts the other side.

Parsers are strict about what the worker needs and ignore what it does not know.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from worker_gpu.errors import JobError
from worker_gpu.json_readers import (
    Json,
    JsonObject,
    ShapeError,
    maybe_list,
    maybe_object,
    maybe_text,
    need_count,
    need_flag,
    need_list,
    need_object,
    need_text,
)

MAX_NAME_BYTES = 255
"""Longest output name in UTF-8 (contract, "uploads")."""
SINGLE_PUT_BYTES = 64 * 1024 * 1024
"""Above this the gateway answers with a multipart upload (contract, "uploads")."""
MAX_PREVIEW_CHARS = 63 * 1024
"""Longest preview in base64 characters (contract, "channel")."""
PART_BYTES = 16 * 1024 * 1024
"""Size of its parts (contract, "uploads")."""
MAX_UPLOADS_PER_CALL = 100
"""Files asked for in one `uploads` call: smaller answers start the first PUT sooner."""
MAX_URLS_PER_CALL = 1000
"""URLs asked for in one `uploads` call, unless it is for one file (contract, "uploads")."""

MAX_MODELS_TOLD = 32
MAX_MODEL_PATH_CHARS = 200
"""Models in `ran_with` (contract, "complete")."""

Stage = Literal["models", "inputs", "executing", "uploading"]
Outcome = Literal["succeeded", "failed", "canceled"]
OutputType = Literal["image", "video", "audio", "text", "3d", "latent", "file"]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True)
class Ticket:
    """What RunPod carries: which attempt of which job, and where and how to ask for it."""

    job: str
    attempt: int
    gateway: str
    token: str

    @staticmethod
    def parse(value: Json, only_origin: str | None = None) -> "Ticket":
        """The ticket in a RunPod job's `input`; `only_origin` is GATEWAY_ORIGIN, where set. Raises `ShapeError`."""
        source = need_object(value, "input")
        gateway = need_text(source, "gateway").rstrip("/")
        if not is_trusted_url(gateway):
            raise ShapeError("gateway: must be https, or http on loopback")
        if only_origin is not None and gateway != only_origin.rstrip("/"):
            raise ShapeError("gateway: is not the one this worker serves")
        return Ticket(_uuid(source, "job"), need_count(source, "attempt", 1), gateway, need_text(source, "token"))


@dataclass(frozen=True)
class WorkerInfo:
    """Who runs the attempt."""

    id: str
    version: str
    comfyui_version: str | None
    gpu: str | None
    image: str | None = None
    nodes: str | None = None

    def to_wire(self) -> JsonObject:
        """The `worker` of claim and complete."""
        return dict(vars(self))


@dataclass(frozen=True)
class InputFile:
    """A file the graph names; `url` is a presigned GET."""

    name: str
    url: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Options:
    """What the client options of the run."""

    previews: bool
    temp_outputs: bool
    metadata: bool


@dataclass(frozen=True)
class Limits:
    """Bounds of the run; 0 means none, save for text, where none then travels inline. `max_output_bytes` is for
    each output."""

    max_output_bytes: int
    max_outputs: int
    max_text_bytes: int
    silence_s: int


@dataclass(frozen=True)
class Claim:
    """A claim that was granted. `time_left_s` counts from the moment the answer came."""

    job: str
    attempt: int
    prompt_id: str
    workflow: dict[str, JsonObject] = field(repr=False)
    inputs: tuple[InputFile, ...] = field(repr=False)
    options: Options
    limits: Limits
    time_left_s: float
    catalog_wanted: bool
    scope: str
    """Whose jobs may share what ComfyUI computed; the attempt's own where the gateway does not say."""

    @staticmethod
    def parse(value: Json) -> "Claim":
        """The body of a 200 to a claim. Raises `ShapeError`."""
        source = need_object(value, "claim")
        options = need_object(source.get("options"), "options")
        limits = need_object(source.get("limits"), "limits")
        left = _instant(source, "deadline") - _instant(source, "server_time")
        job, attempt = _uuid(source, "job"), need_count(source, "attempt", 1)
        return Claim(
            job=job,
            attempt=attempt,
            prompt_id=_uuid(source, "prompt_id"),
            workflow={
                node_id: need_object(node, f"workflow.{node_id}")
                for node_id, node in need_object(source.get("workflow"), "workflow").items()
            },
            inputs=tuple(_input(item) for item in need_list(source.get("inputs"), "inputs")),
            options=Options(
                previews=need_flag(options, "previews"),
                temp_outputs=need_flag(options, "temp_outputs"),
                metadata=need_flag(options, "metadata"),
            ),
            limits=Limits(
                max_output_bytes=need_count(limits, "max_output_bytes"),
                max_outputs=need_count(limits, "max_outputs"),
                max_text_bytes=need_count(limits, "max_text_bytes"),
                silence_s=need_count(limits, "silence_s"),
            ),
            time_left_s=left,
            catalog_wanted=source.get("catalog_wanted") is True,
            scope=maybe_text(source.get("scope")) or f"{job}.{attempt}",
        )


@dataclass(frozen=True)
class Refused:
    """An answer that ends the worker's part: the claim was not granted, or the job is over."""

    status: int
    code: str


@dataclass(frozen=True)
class PutUpload:
    """One PUT of the whole file, with exactly these headers."""

    key: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class MultipartUpload:
    """Equal parts (the last may be shorter), each with its URL, closed by `uploads/finish`."""

    key: str
    upload_id: str
    part_bytes: int
    parts: tuple[tuple[int, str], ...]


Upload: TypeAlias = PutUpload | MultipartUpload


def parse_uploads(value: Json, names: list[str]) -> list[Upload]:
    """The answer to an `uploads` call for files called `names`, in that order. Raises `ShapeError`."""
    found = need_list(need_object(value, "uploads").get("uploads"), "uploads")
    if len(found) != len(names):
        raise ShapeError("uploads: another number of files than asked for")
    return [_upload(item, name) for item, name in zip(found, names, strict=True)]


@dataclass(frozen=True)
class Output:
    """A result of the job, stored: in R2 under `key`, or as `text` here. `keys` of its nodes' outputs list it, such as
    `images`; the gateway does not get them."""

    name: str
    node_id: str
    class_type: str
    type: OutputType
    content_type: str
    size_bytes: int
    sha256: str
    key: str | None
    temp: bool
    text: str | None = None
    keys: frozenset[str] = frozenset()

    def to_wire(self) -> JsonObject:
        """An Output as the channel and complete carry it."""
        wire: JsonObject = {
            "name": self.name,
            "node_id": self.node_id,
            "class_type": self.class_type,
            "type": self.type,
            "content_type": self.content_type,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "key": self.key,
            "temp": self.temp,
        }
        if self.text is not None:
            wire["text"] = self.text
        return wire


@dataclass
class Timings:
    """How long the parts of the run took, in whole milliseconds."""

    claim_ms: int = 0
    inputs_ms: int = 0
    models_ms: int = 0
    queue_ms: int = 0
    execution_ms: int = 0
    upload_ms: int = 0
    total_ms: int = 0

    def to_wire(self) -> JsonObject:
        """The `timings` of complete."""
        return dict(vars(self))


@dataclass(frozen=True)
class Report:
    """How the attempt ended, as `complete` says it."""

    outcome: Outcome
    outputs: tuple[Output, ...] = ()
    error: JobError | None = None


@dataclass(frozen=True)
class RanWith:
    """What the attempt had: models of the manifest as (path, SHA-256), and bytes free when it was over, where known."""

    models: tuple[tuple[str, str], ...] = ()
    memory_free_bytes: int | None = None
    disk_free_bytes: int | None = None

    def to_wire(self) -> JsonObject:
        """Return the `ran_with` of a report. Values over the contract's limits are left out."""
        fitting = [model for model in self.models if len(model[0]) <= MAX_MODEL_PATH_CHARS][:MAX_MODELS_TOLD]
        return {
            "models": [{"path": path, "sha256": sha256} for path, sha256 in fitting],
            "memory_free_bytes": self.memory_free_bytes,
            "disk_free_bytes": self.disk_free_bytes,
        }


@dataclass(frozen=True)
class Receipt:
    """What RunPod gets back: never the result."""

    job: str | None
    attempt: int | None
    outcome: Literal["succeeded", "failed", "canceled", "refused"]
    code: str | None = None
    execution_ms: int | None = None
    refresh_worker: bool = False

    def to_wire(self) -> JsonObject:
        """The handler's return value. Never empty, and without `error`: the SDK reads both as something else."""
        wire: JsonObject = {"job": self.job, "attempt": self.attempt, "outcome": self.outcome}
        if self.code is not None:
            wire["code"] = self.code
        if self.execution_ms is not None:
            wire["execution_ms"] = self.execution_ms
        if self.refresh_worker:
            wire["refresh_worker"] = True
        return wire


def problem_code(body: Json, status: int) -> str:
    """The `code` of a problem document, or one made from the status where the body is none."""
    return maybe_text(maybe_object(body).get("code")) or f"http_{status}"


def missing_names(body: Json) -> list[str]:
    """Names in a 409 `output_missing`, at the top or in `details`."""
    source = maybe_object(body)
    listed = maybe_list(source.get("missing")) or maybe_list(maybe_object(source.get("details")).get("missing"))
    return [name for name in listed if isinstance(name, str)]


def is_trusted_url(url: str) -> bool:
    """True for https, and for http on loopback: nothing else may carry a token or a file."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))


def _uuid(source: JsonObject, name: str) -> str:
    value = need_text(source, name)
    if not _UUID.fullmatch(value):
        raise ShapeError(f"{name}: must be a lower-case UUID")
    return value


def _instant(source: JsonObject, name: str) -> float:
    try:
        moment = datetime.fromisoformat(need_text(source, name))
    except ValueError as error:
        raise ShapeError(f"{name}: must be an ISO 8601 time") from error
    if moment.tzinfo is None:
        raise ShapeError(f"{name}: must name its zone")
    return moment.timestamp()


def _input(value: Json) -> InputFile:
    source = need_object(value, "inputs")
    url, sha256 = need_text(source, "url"), need_text(source, "sha256")
    if not is_trusted_url(url):
        raise ShapeError("inputs.url: must be https, or http on loopback")
    if not _SHA256.fullmatch(sha256):
        raise ShapeError("inputs.sha256: must be lower-case hex")
    return InputFile(need_text(source, "name"), url, sha256, need_count(source, "size_bytes"))


def _upload(value: Json, name: str) -> Upload:
    source = need_object(value, "uploads")
    if need_text(source, "name") != name:
        raise ShapeError("uploads: not in the order asked for")
    key, method = need_text(source, "key"), need_text(source, "method")
    if method == "PUT":
        headers = need_object(source.get("headers"), "uploads.headers")
        return PutUpload(key, _upload_url(source), {field: need_text(headers, field) for field in headers})
    if method != "MULTIPART":
        raise ShapeError("uploads.method: must be PUT or MULTIPART")
    parts = [need_object(part, "uploads.parts") for part in need_list(source.get("parts"), "uploads.parts")]
    return MultipartUpload(
        key,
        need_text(source, "upload_id"),
        need_count(source, "part_bytes", 1),
        tuple((need_count(part, "number", 1), _upload_url(part)) for part in parts),
    )


def _upload_url(source: JsonObject) -> str:
    url = need_text(source, "url")
    if not is_trusted_url(url):
        raise ShapeError("uploads.url: must be https, or http on loopback")
    return url
