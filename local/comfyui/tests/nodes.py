"""Running one node without a server."""

import random
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from local_comfyui.folders import Folders
from local_comfyui.json_types import JsonObject
from local_comfyui.nodes import load_nodes
from local_comfyui.nodes.registry import Call, Preview, Result, Surroundings, Value, is_pixels
from local_comfyui.pixels.types import Pixels

IMPLEMENTATIONS = load_nodes(probe_nodes=True)

NOON = datetime(2026, 3, 4, 12, 5, 6)


@dataclass
class Watched:
    """An engine that only takes notes."""

    texts: list[str] = field(default_factory=list[str])
    pictures: list[Image.Image] = field(default_factory=list[Image.Image])
    reports: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def report(self, value: float, maximum: float, preview: Preview | None) -> None:
        del preview
        self.reports.append((value, maximum))

    def send_picture(self, picture: Image.Image) -> None:
        self.pictures.append(picture)

    def show_text(self, text: str) -> None:
        self.texts.append(text)

    def check_interrupt(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        del seconds


def surroundings(folder: Path, *, prompt: JsonObject | None = None, extra: JsonObject | None = None) -> Surroundings:
    """Folders below `folder`, a clock that stands at noon, and loaded dice."""
    folders = Folders(folder / "input", folder / "output", folder / "temp")
    folders.prepare()
    return Surroundings(folders, prompt, extra, lambda: NOON, random.Random(1))


def run(name: str, around: Surroundings | None = None, watched: Watched | None = None, /, **inputs: Value) -> Result:
    """Call node `name` once."""
    here = (
        around
        if around is not None
        else Surroundings(Folders(Path(), Path(), Path()), None, None, lambda: NOON, random.Random(1))
    )
    return IMPLEMENTATIONS[name].run(Call(inputs, here, watched if watched is not None else Watched()))


def array(value: Value) -> Pixels:
    """An output that is an array."""
    assert is_pixels(value)
    return value


def only(result: Result) -> Pixels:
    """The one output, an array of float32."""
    (value,) = result.outputs
    found = array(value)
    assert found.dtype == np.float32
    return found


def noise(*shape: int, seed: int = 1) -> Pixels:
    """Random values in 0..1."""
    values: NDArray[np.float64] = np.random.default_rng(seed).random(shape)
    return values.astype(np.float32)
