"""Putting pictures beside each other."""

from typing import Literal

import numpy as np

from local_comfyui.pixels.resize import resize
from local_comfyui.pixels.types import Pixels

Direction = Literal["right", "down", "left", "up"]

COLORS: dict[str, tuple[float, float, float]] = {
    "white": (1, 1, 1),
    "black": (0, 0, 0),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
}


def stitch(first: Pixels, second: Pixels, direction: Direction, match_size: bool, gap: int, color: str) -> Pixels:
    """`second` beside `first`, resized to fit (Lanczos) or centred on a border, with `gap` pixels of `color` between.

    The shorter batch repeats its last picture. A coloured border is black: only white and black reach it.
    """
    batch = max(first.shape[0], second.shape[0])
    first, second = _extend(first, batch), _extend(second, batch)
    sideways = direction in ("left", "right")
    if match_size:
        height, width = first.shape[1:3]
        aspect = second.shape[2] / second.shape[1]
        target = (int(height * aspect), height) if sideways else (width, int(width / aspect))
        second = resize(second, *target, "lanczos", "disabled")
    else:
        border = 1.0 if color == "white" else 0.0
        axis = 1 if sideways else 2
        length = max(first.shape[axis], second.shape[axis])
        first, second = _center(first, axis, length, border), _center(second, axis, length, border)
    channels = max(first.shape[-1], second.shape[-1])
    parts = [_opaque(first, channels), _opaque(second, channels)]
    if gap > 0:
        parts.insert(1, _spacer(parts, sideways, gap + gap % 2, COLORS[color]))
    if direction in ("left", "up"):
        parts.reverse()
    return np.concatenate(parts, axis=2 if sideways else 1)


def _extend(images: Pixels, batch: int) -> Pixels:
    missing = batch - images.shape[0]
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images


def _center(images: Pixels, axis: int, length: int, value: float) -> Pixels:
    missing = length - images.shape[axis]
    pads = [(0, 0)] * 4
    pads[axis] = (missing // 2, missing - missing // 2)
    return np.pad(images, pads, constant_values=value)


def _opaque(images: Pixels, channels: int) -> Pixels:
    missing = channels - images.shape[-1]
    return np.pad(images, [(0, 0)] * 3 + [(0, missing)], constant_values=1.0) if missing else images


def _spacer(parts: list[Pixels], sideways: bool, gap: int, color: tuple[float, float, float]) -> Pixels:
    batch, channels = parts[0].shape[0], parts[0].shape[3]
    height = max(part.shape[1] for part in parts) if sideways else gap
    width = gap if sideways else max(part.shape[2] for part in parts)
    spacer = np.zeros((batch, height, width, channels), np.float32)
    spacer[..., : min(3, channels)] = color[: min(3, channels)]
    if channels == 4:
        spacer[..., 3] = 1.0
    return spacer
