"""The answer of a direct job: worker-comfyui's shape, with a list for each kind of output and not only for pictures."""

import asyncio
import base64
from collections.abc import Callable, Iterable
from pathlib import Path

from worker_gpu.contract import Output
from worker_gpu.errors import JobError
from worker_gpu.outputs.upload import NamedFile
from worker_gpu.shape import Json, JsonObject

MAX_RUN_ANSWER_BYTES = 10_000_000
MAX_RUNSYNC_ANSWER_BYTES = 20_000_000
"""RunPod's bounds of a payload, for `/run` and `/runsync` (docs.runpod.io, serverless/endpoints/operation-reference). A
larger answer is refused with 400 after the work is done, and the job ends without a result (worker-comfyui#129)."""
ENVELOPE_BYTES = 64 * 1024
"""Room in the answer for everything that is no file content."""
SYNC_PREFIX = "sync-"
"""How RunPod begins the ids of jobs that came by `/runsync` (reference/runpod.md 2.1)."""

LISTS = ("images", "gifs", "videos", "audio", "3d", "latents", "text", "files")
_LIST_OF: dict[str, str] = {"image": "images", "video": "videos", "latent": "latents", "file": "files"}


def answer_limit(job: str, wanted: int | None) -> int:
    """How many bytes RunPod takes as the answer of `job`; `wanted` (DIRECT_MAX_ANSWER_MB) overrides."""
    if wanted is not None:
        return wanted
    return MAX_RUNSYNC_ANSWER_BYTES if job.startswith(SYNC_PREFIX) else MAX_RUN_ANSWER_BYTES


class KeptFiles:
    """A sink that leaves files where they are, as long as all of them fit into the answer."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[str, int] = {}
        self._paths: dict[str, Path] = {}

    async def put(self, files: list[NamedFile], done: Callable[[NamedFile, str], None]) -> None:
        """See `outputs.upload.Sink`. Raises `JobError` `output_too_large`."""
        for named in files:
            self._sizes[named.name] = (named.file.size_bytes + 2) // 3 * 4
            if sum(self._sizes.values()) > self._limit - ENVELOPE_BYTES:
                raise JobError(
                    "output_too_large",
                    f"The outputs are larger than the {self._limit // 1_000_000} MB that RunPod takes as an answer. "
                    "Set BUCKET_ENDPOINT_URL and the variables with it, and they go to a bucket.",
                )
            self._paths[named.name] = named.file.path
            done(named, "")

    async def data(self, output: Output) -> str:
        """Content of a kept file in base64."""
        raw = await asyncio.to_thread(self._paths[output.name].read_bytes)
        return base64.b64encode(raw).decode()


async def compose(outputs: Iterable[Output], kept: KeptFiles | None, link: Callable[[str], str]) -> JsonObject:
    """`{"images": [...], "videos": [...], …}`: `images` always, the other lists where there is something."""
    lists: dict[str, list[Json]] = {"images": []}
    for output in outputs:
        entry: JsonObject = {"filename": output.name}
        if output.text is not None:
            entry |= {"type": "text", "data": output.text}
        elif kept is not None:
            entry |= {"type": "base64", "data": await kept.data(output)}
        else:
            entry |= {"type": "s3_url", "data": link(output.key or "")}
        entry |= {
            "content_type": output.content_type,
            "size_bytes": output.size_bytes,
            "sha256": output.sha256,
            "node_id": output.node_id,
            "class_type": output.class_type,
        }
        lists.setdefault(list_of(output), []).append(entry)
    return {name: lists[name] for name in LISTS if name in lists}


def list_of(output: Output) -> str:
    """The list an output is in. Moving pictures are in `gifs`, as the nodes that make them say."""
    if output.content_type == "image/gif":
        return "gifs"
    return _LIST_OF.get(output.type, output.type)
