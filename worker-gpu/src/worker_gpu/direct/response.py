"""The answer of a direct job: that of worker-comfyui 5.8.5, and a list for each kind of output that it leaves out."""

import asyncio
import json
from collections.abc import Callable, Iterable

import pybase64

from worker_gpu.contract import Output
from worker_gpu.errors import JobError
from worker_gpu.outputs.names import TEMP_FOLDER
from worker_gpu.outputs.upload import NamedFile
from worker_gpu.shape import Json, JsonObject, maybe_list

MAX_RUN_ANSWER_BYTES = 10_000_000
MAX_RUNSYNC_ANSWER_BYTES = 20_000_000
"""RunPod's bounds of a payload, for `/run` and `/runsync` (docs.runpod.io, serverless/endpoints/operation-reference). A
larger answer is refused with 400 after the work is done, and the job ends without a result (worker-comfyui#129)."""
AROUND_BYTES = 4096
"""Room for what is around the outputs: the names of the lists, prompt id, timings, and RunPod's own few fields."""
SYNC_PREFIX = "sync-"
"""How RunPod begins the ids of jobs that came by `/runsync` (reference/runpod.md 2.1)."""

IMAGES = "images"
NO_IMAGES = "success_no_images"
LISTS = (IMAGES, "gifs", "videos", "audio", "3d", "latents", "text", "files")
_LIST_OF: dict[str, str] = {"image": IMAGES, "video": "videos", "latent": "latents", "file": "files"}
_SEPARATOR_BYTES = 2


def answer_limit(job: str, wanted: int | None) -> int:
    """How many bytes RunPod takes as the answer of `job`; `wanted` (DIRECT_MAX_ANSWER_MB) overrides."""
    if wanted is not None:
        return wanted
    return MAX_RUNSYNC_ANSWER_BYTES if job.startswith(SYNC_PREFIX) else MAX_RUN_ANSWER_BYTES


def sent_bytes(value: Json) -> int:
    """Bytes of `value` as RunPod's SDK sends it."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def answer_bytes(answer: JsonObject) -> int:
    """Bytes of an answer as RunPod's SDK sends it. Base64, most of it, has as many as it has characters: it is counted,
    and not written for that."""
    counted, rest = 0, dict(answer)
    for name in LISTS:
        entries: list[Json] = []
        for entry in maybe_list(answer.get(name)):
            if isinstance(entry, dict) and entry.get("type") == "base64" and isinstance(data := entry["data"], str):
                counted += len(data)
                entry = {**entry, "data": ""}
            entries.append(entry)
        if name in rest:
            rest[name] = entries
    return counted + sent_bytes(rest)


class AnswerRoom:
    """Counts what the outputs take of the answer while they come, so that a graph that gives too much fails before the
    rest of it is brought in. Its `check` of the whole answer decides. `advice` is what to do about it."""

    def __init__(self, limit: int, base64_files: bool, advice: str) -> None:
        self._limit = limit
        self._base64_files = base64_files
        self._advice = advice
        self._taken = AROUND_BYTES
        self._names: set[str] = set()

    def begin_again(self) -> None:
        """Forget what was counted: the graph is run anew."""
        self._taken = AROUND_BYTES
        self._names.clear()

    def take(self, output: Output) -> None:
        """Count an output. Raises `JobError` `output_too_large` when the answer cannot hold it."""
        if output.name in self._names:
            return
        self._names.add(output.name)
        entry = sent_bytes(_entry(output, "text", output.text or "")) + _SEPARATOR_BYTES
        content = (output.size_bytes + 2) // 3 * 4 if self._base64_files and output.text is None else 0
        self._taken += entry + content
        if self._taken > self._limit:
            raise self._too_large()

    def check(self, answer: JsonObject) -> None:
        """Raises `JobError` `output_too_large` for an answer that RunPod would refuse."""
        if answer_bytes(answer) + AROUND_BYTES > self._limit:
            raise self._too_large()

    def _too_large(self) -> JobError:
        return JobError("output_too_large", f"{too_large(self._limit)} {self._advice}")


def too_large(limit: int) -> str:
    """What is wrong with an answer of more than `limit` bytes."""
    return f"The outputs are larger than the {limit / 1_000_000:g} MB that RunPod takes as an answer."


class KeptFiles:
    """A sink that keeps what files hold, in base64, for the answer."""

    reads_once = True

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    async def put(self, files: list[NamedFile], done: Callable[[NamedFile, str], None]) -> None:
        """See `outputs.upload.Sink`. `done` comes first: it may find that the answer cannot hold the file."""
        for named in files:
            done(named, "")
            content = named.file.content
            if content is None:
                content = await asyncio.to_thread(named.file.read)
            self._texts[named.name] = pybase64.b64encode_as_string(content)

    def data(self, output: Output) -> str:
        """Content of a kept file in base64."""
        return self._texts[output.name]


class DroppedFiles:
    """A sink for a run whose outputs nobody wants."""

    reads_once = True

    async def put(self, files: list[NamedFile], done: Callable[[NamedFile, str], None]) -> None:
        """See `outputs.upload.Sink`."""
        for named in files:
            done(named, "")


def compose(outputs: Iterable[Output], kept: KeptFiles | None, link: Callable[[str], str]) -> JsonObject:
    """`{"images": [...], "videos": [...], …}`: `images` always, the other lists where there is something. Without
    images the `status` says so, as worker-comfyui does."""
    lists: dict[str, list[Json]] = {IMAGES: []}
    for output in outputs:
        if output.text is not None:
            entry = _entry(output, "text", output.text)
        elif kept is not None:
            entry = _entry(output, "base64", kept.data(output))
        else:
            entry = _entry(output, "s3_url", link(output.key or ""))
        lists.setdefault(list_of(output), []).append(entry)
    status: JsonObject = {} if lists[IMAGES] else {"status": NO_IMAGES}
    return {**{name: lists[name] for name in LISTS if name in lists}, **status}


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


def list_of(output: Output) -> str:
    """The list that an output is in: `images` if ComfyUI lists it there, as worker-comfyui does, else by its kind.
    Moving pictures are in `gifs`, as the nodes that make them call them."""
    if IMAGES in output.keys:
        return IMAGES
    if output.content_type == "image/gif":
        return "gifs"
    return _LIST_OF.get(output.type, output.type)
