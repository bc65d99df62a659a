"""The graphs that are measured. Each is new for each `seed`: else ComfyUI would answer from its cache."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

SIDE = 836
"""Pixels of a side: noise of that size is a PNG of 2 MB, since it cannot be compressed."""
SMALL_SIDE = 256
"""The same of 0.2 MB."""

Graph = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Case:
    """One kind of job: how many pictures it gives, its graph, and the content of its input file if it has one."""

    title: str
    outputs: int
    graph: Callable[[int], Graph]
    file: Callable[[int], bytes] | None = None

    def job(self, seed: int) -> dict[str, object]:
        """RunPod's `input`."""
        given: dict[str, object] = {"workflow": self.graph(seed)}
        if self.file is not None:
            given["images"] = [{"name": INPUT, "image": base64.b64encode(self.file(seed)).decode()}]
        return given


INPUT = "noise.ppm"


def _save(source: str) -> dict[str, object]:
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": "bench"}}


def _empty(side: int, batch: int, color: int) -> dict[str, object]:
    inputs = {"width": side, "height": side, "batch_size": batch, "color": color}
    return {"class_type": "EmptyImage", "inputs": inputs}


def _noise(seed: int) -> dict[str, object]:
    return {"class_type": "ImageAddNoise", "inputs": {"image": ["1", 0], "seed": seed, "strength": 1.0}}


def noise_ppm(seed: int) -> bytes:
    """A picture of noise as PPM, the simplest form that Pillow reads."""
    pixels = hashlib.shake_256(str(seed).encode()).digest(SIDE * SIDE * 3)
    return f"P6\n{SIDE} {SIDE}\n255\n".encode() + pixels


CASES = (
    Case("one picture of 64 pixels a side", 1, lambda seed: {"1": _empty(64, 1, seed), "2": _save("1")}),
    Case(
        "one picture of 2 MB",
        1,
        lambda seed: {"1": _empty(SIDE, 1, 0x808080), "2": _noise(seed), "3": _save("2")},
    ),
    Case(
        "2 MB in, 2 MB out",
        1,
        lambda _seed: {"1": {"class_type": "LoadImage", "inputs": {"image": INPUT}}, "2": _save("1")},
        noise_ppm,
    ),
    Case(
        "eight pictures of 0.2 MB",
        8,
        lambda seed: {"1": _empty(SMALL_SIDE, 8, 0x808080), "2": _noise(seed), "3": _save("2")},
    ),
)
