"""Run every sample here and on another ComfyUI, and say where they differ: `python -m tests.compare http://127.0.0.1:8188`.

Not a test: it needs that other server. It uploads the samples' pictures to it and leaves files named compare_* in its
output folder. The result of the last run is in README.md.
"""

import asyncio
import io
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TypeAlias

import aiohttp
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from local_comfyui.json_types import Json, JsonObject, as_object, parse_json
from tests.samples import INPUTS, SOURCES, Sample, input_picture, samples
from tests.server import serve

LIMIT_SECONDS = 60.0

Found: TypeAlias = "Json | NDArray[np.uint8]"


def graph_of(sample: Sample, outputs: list[str]) -> JsonObject:
    """The sample with a node for every output: saved pictures, saved masks, shown values."""
    graph: JsonObject = {}
    inputs: JsonObject = dict(sample.values)
    for name, source in sample.links.items():
        node, slot = SOURCES[source]
        graph[source] = node
        inputs[name] = [source, slot]
    graph["node"] = {"class_type": sample.class_type, "inputs": inputs}
    for slot, kind in enumerate(outputs):
        link: Json = ["node", slot]
        if kind == "MASK":
            graph[f"image{slot}"] = {"class_type": "MaskToImage", "inputs": {"mask": link}}
            link = [f"image{slot}", 0]
        if kind in ("IMAGE", "MASK"):
            graph[f"out{slot}"] = {"class_type": "SaveImage", "inputs": {"images": link, "filename_prefix": "compare"}}
        else:
            graph[f"out{slot}"] = {"class_type": "PreviewAny", "inputs": {"source": link}}
    return graph


class Other:
    """A server reached over HTTP only."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def json(self, path: str) -> JsonObject:
        async with self._session.get(self._url + path) as answer:
            return as_object(parse_json(await answer.read()))

    async def upload(self, name: str, content: bytes) -> None:
        form = aiohttp.FormData()
        form.add_field("image", content, filename=name, content_type="image/png")
        form.add_field("overwrite", "true")
        async with self._session.post(f"{self._url}/upload/image", data=form) as answer:
            answer.raise_for_status()

    async def results(self, graph: JsonObject) -> list[Found]:
        """What the graph's out* nodes gave: pictures as arrays, the rest as reported; or the refusal or error."""
        body: JsonObject = {"prompt": graph, "prompt_id": str(uuid.uuid4()), "client_id": "compare"}
        async with self._session.post(f"{self._url}/prompt", json=body) as answer:
            accepted = as_object(parse_json(await answer.read()))
        if "prompt_id" not in accepted or accepted["node_errors"]:
            return [f"refused: {accepted}"]
        entry = await self._wait(str(accepted["prompt_id"]))
        outputs = as_object(entry["outputs"])
        if not as_object(entry["status"])["completed"]:
            return [f"failed: {str(as_object(entry['status'])['messages'])[-300:]}"]
        found: list[Found] = []
        for node in sorted(outputs):
            report = as_object(outputs[node])
            images = report.get("images")
            if not isinstance(images, list):
                found.append(report.get("text"))
                continue
            for image in images:
                item = as_object(image)
                query = {key: str(item[key]) for key in ("filename", "subfolder", "type")}
                async with self._session.get(f"{self._url}/view", params=query) as answer:
                    found.append(np.asarray(Image.open(io.BytesIO(await answer.read()))))
        return found

    async def _wait(self, prompt_id: str) -> JsonObject:
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                history = await self.json(f"/history/{prompt_id}")
                if prompt_id in history:
                    return as_object(history[prompt_id])
                await asyncio.sleep(0.01)


def difference(ours: Found, theirs: Found) -> str:
    """Nothing when equal; by how much, for pictures of one shape; else both."""
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        if ours.shape != theirs.shape:
            return f"shape {ours.shape} instead of {theirs.shape}"
        by = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        return "" if not by.any() else f"up to {by.max()} of 255 in {np.count_nonzero(by) / by.size:.1%} of values"
    same = not isinstance(ours, np.ndarray) and not isinstance(theirs, np.ndarray) and ours == theirs
    return "" if same else f"{str(ours)[:300]} instead of {str(theirs)[:300]}"


async def compare(url: str) -> int:
    """Print the differences; the number of samples that differ."""
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        async with serve(Path(folder), [], first_number=0, held=False) as server, aiohttp.ClientSession() as session:
            ours, theirs = Other(server.url, session), Other(url, session)
            described = await theirs.json("/object_info")
            for name in INPUTS:
                buffer = io.BytesIO()
                Image.fromarray(input_picture(name)).save(buffer, "PNG")
                await ours.upload(name, buffer.getvalue())
                await theirs.upload(name, buffer.getvalue())
            for sample in samples():
                kinds = as_object((await ours.json(f"/object_info/{sample.class_type}"))[sample.class_type])["output"]
                assert isinstance(kinds, list)
                if sample.class_type not in described:
                    print(f"{sample.name}: not there")
                    continue
                graph = graph_of(sample, [str(kind) for kind in kinds])
                here, there = await ours.results(graph), await theirs.results(graph)
                notes = [difference(a, b) for a, b in zip(here, there, strict=False)]
                if len(here) != len(there):
                    notes.append(f"{len(here)} results instead of {len(there)}: {str(there)[:200]}")
                if any(notes):
                    differing += 1
                    print(f"{sample.name}: {'; '.join(note for note in notes if note)}")
    print(f"{len(samples())} samples, {differing} differ")
    return differing


if __name__ == "__main__":
    asyncio.run(compare(sys.argv[1]))
