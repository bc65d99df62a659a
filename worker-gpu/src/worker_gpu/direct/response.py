"""The response of a direct job: that of worker-comfyui 5.8.5, with a list for each other type of output."""

import asyncio
import json
from collections.abc import Callable, Iterable

import pybase64

from worker_gpu.errors import JobError
from worker_gpu.json_readers import Json, JsonObject, maybe_list
from worker_gpu.outputs.names import TEMP_FOLDER
from worker_gpu.outputs.upload import NamedFile
from worker_gpu.wire.contract import Output

MAX_RUN_RESPONSE_BYTES = 10_000_000
MAX_RUNSYNC_RESPONSE_BYTES = 20_000_000
"""RunPod's limits of a payload for `/run` and `/runsync` (docs.runpod.io, serverless/endpoints/operation-reference). It
rejects a larger response with 400 after the job has run, and the result is lost (worker-comfyui#129)."""
ENVELOPE_BYTES = 4096
"""Reserved for the rest of the response: the names of the lists, prompt id, timings, and RunPod's own fields."""
SYNC_PREFIX = "sync-"
"""Start of the ids of jobs submitted by `/runsync` (reference/runpod.md 2.1)."""

IMAGES = "images"
NO_IMAGES = "success_no_images"
LIST_NAMES = (IMAGES, "gifs", "videos", "audio", "3d", "latents", "text", "files")
_LIST_OF: dict[str, str] = {"image": IMAGES, "video": "videos", "latent": "latents", "file": "files"}
_SEPARATOR_BYTES = 2


def response_limit(job: str, override: int | None) -> int:
    """The largest response that RunPod accepts for `job`, in bytes; `override` is DIRECT_MAX_ANSWER_MB."""
    if override is not None:
        return override
    return MAX_RUNSYNC_RESPONSE_BYTES if job.startswith(SYNC_PREFIX) else MAX_RUN_RESPONSE_BYTES


def wire_size(value: Json) -> int:
    """Size of `value` as RunPod's SDK serializes it, in bytes."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def response_size(response: JsonObject) -> int:
    """Size of a response as RunPod's SDK serializes it, in bytes. The size of base64, which is most of it, is its
    length, so it is not serialized for this."""
    counted, rest = 0, dict(response)
    for name in LIST_NAMES:
        entries: list[Json] = []
        for entry in maybe_list(response.get(name)):
            if isinstance(entry, dict) and entry.get("type") == "base64" and isinstance(data := entry["data"], str):
                counted += len(data)
                entry = {**entry, "data": ""}
            entries.append(entry)
        if name in rest:
            rest[name] = entries
    return counted + wire_size(rest)


class ResponseBudget:
    """Counts the size of the outputs while they are collected, so that a job whose response is too large fails early.
    `check` of the whole response decides. `advice` tells the user what to do."""

    def __init__(self, limit: int, base64_files: bool, advice: str) -> None:
        self._limit = limit
        self._base64_files = base64_files
        self._advice = advice
        self._used = ENVELOPE_BYTES
        self._names: set[str] = set()

    def reset(self) -> None:
        """Start counting again, because the workflow runs again."""
        self._used = ENVELOPE_BYTES
        self._names.clear()

    def add(self, output: Output) -> None:
        """Count an output. Raises `JobError` `output_too_large` if the response cannot hold it."""
        if output.name in self._names:
            return
        self._names.add(output.name)
        entry = wire_size(_entry(output, "text", output.text or "")) + _SEPARATOR_BYTES
        content = (output.size_bytes + 2) // 3 * 4 if self._base64_files and output.text is None else 0
        self._used += entry + content
        if self._used > self._limit:
            raise self._too_large()

    def check(self, response: JsonObject) -> None:
        """Raises `JobError` `output_too_large` for a response that RunPod would reject."""
        if response_size(response) + ENVELOPE_BYTES > self._limit:
            raise self._too_large()

    def _too_large(self) -> JobError:
        return JobError("output_too_large", f"{too_large_message(self._limit)} {self._advice}")


def too_large_message(limit: int) -> str:
    """The error text for a response of more than `limit` bytes."""
    return f"The outputs are larger than the {limit / 1_000_000:g} MB that RunPod accepts in a response."


class InlineFiles:
    """An `UploadSink` that keeps the content of files as base64 for the response."""

    reads_once = True

    def __init__(self) -> None:
        self._base64: dict[str, str] = {}

    async def put(self, files: list[NamedFile], done: Callable[[NamedFile, str], None]) -> None:
        """See `UploadSink`. `done` is called first, because it may find that the response cannot hold the file."""
        for named in files:
            done(named, "")
            content = named.file.content
            if content is None:
                content = await asyncio.to_thread(named.file.read)
            self._base64[named.name] = pybase64.b64encode_as_string(content)

    def data(self, output: Output) -> str:
        """The content of a file as base64."""
        return self._base64[output.name]


class DiscardedFiles:
    """An `UploadSink` that discards the outputs, for the warm-up."""

    reads_once = True

    async def put(self, files: list[NamedFile], done: Callable[[NamedFile, str], None]) -> None:
        """See `UploadSink`."""
        for named in files:
            done(named, "")


def build_response(outputs: Iterable[Output], inline: InlineFiles | None, link: Callable[[str], str]) -> JsonObject:
    """`{"images": [...], "videos": [...], …}`: `images` always, the other lists if they are not empty. Without images
    `status` says so, as in worker-comfyui."""
    lists: dict[str, list[Json]] = {IMAGES: []}
    for output in outputs:
        if output.text is not None:
            entry = _entry(output, "text", output.text)
        elif inline is not None:
            entry = _entry(output, "base64", inline.data(output))
        else:
            entry = _entry(output, "s3_url", link(output.key or ""))
        lists.setdefault(list_name(output), []).append(entry)
    status: JsonObject = {} if lists[IMAGES] else {"status": NO_IMAGES}
    return {**{name: lists[name] for name in LIST_NAMES if name in lists}, **status}


def file_name(output: Output) -> JsonObject:
    """`filename` and `subfolder` as ComfyUI lists them; `temp` marks a file of its temp folder."""
    path = output.name.removeprefix(f"{TEMP_FOLDER}/") if output.temp else output.name
    subfolder, _, filename = path.rpartition("/")
    named: JsonObject = {"filename": filename, "subfolder": subfolder}
    return {**named, "temp": True} if output.temp else named


def _entry(output: Output, kind: str, data: str) -> JsonObject:
    return {
        **file_name(output),
        "type": kind,
        "data": data,
        "content_type": output.content_type,
        "size_bytes": output.size_bytes,
        "sha256": output.sha256,
        "node_id": output.node_id,
        "class_type": output.class_type,
    }


def list_name(output: Output) -> str:
    """The list that an output is in: `images` if ComfyUI lists it there, as in worker-comfyui, else the list of its
    type. Animated GIF images are in `gifs`, the key that their nodes use."""
    if IMAGES in output.keys:
        return IMAGES
    if output.content_type == "image/gif":
        return "gifs"
    return _LIST_OF.get(output.type, output.type)
