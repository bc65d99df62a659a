"""Resampling by the public definitions of PyTorch's `interpolate` (no aligned corners, no antialiasing) and Pillow.

Every method but Lanczos is separable, so one axis is resampled at a time through gathered, weighted rows.
"""

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from local_comfyui.pixels.types import Pixels, from_bytes8, to_bytes8

Method: TypeAlias = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
METHODS: tuple[Method, ...] = get_args(Method)

CUBIC_A = np.float32(-0.75)
"""The cubic convolution constant of PyTorch's bicubic."""


def resize(images: Pixels, width: int, height: int, method: Method, crop: Literal["disabled", "center"]) -> Pixels:
    """Image batch resampled to `width` x `height`; `center` first cuts the wanted aspect ratio out of the middle."""
    if width < 1 or height < 1:
        raise ValueError(f"Input and output sizes should be greater than 0, but got output (H: {height}, W: {width})")
    if crop == "center":
        images = _crop_to_aspect(images, width, height)
    if method == "lanczos":
        return _lanczos(images, width, height)
    return _resample(_resample(images, 1, height, method), 2, width, method)


def resize_masks(masks: Pixels, width: int, height: int, method: Method = "bilinear") -> Pixels:
    """Masks (batch, height, width) resampled like one-channel images."""
    return resize(masks[..., np.newaxis], width, height, method, "disabled")[..., 0]


def _crop_to_aspect(images: Pixels, width: int, height: int) -> Pixels:
    old_height, old_width = images.shape[1:3]
    old_aspect, new_aspect = old_width / old_height, width / height
    x = y = 0
    if old_aspect > new_aspect:
        x = round((old_width - old_width * (new_aspect / old_aspect)) / 2)
    elif old_aspect < new_aspect:
        y = round((old_height - old_height * (old_aspect / new_aspect)) / 2)
    return images[:, y : old_height - y, x : old_width - x]


def _lanczos(images: Pixels, width: int, height: int) -> Pixels:
    frames: list[Pixels] = []
    for frame in to_bytes8(images):
        picture = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
        scaled = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
        frames.append(from_bytes8(scaled[..., np.newaxis] if frame.shape[-1] == 1 else scaled))
    return np.stack(frames)


def _resample(images: Pixels, axis: int, size: int, method: Method) -> Pixels:
    if images.shape[axis] == size and method != "bicubic":
        return images
    if method == "area":
        return _area(images, axis, size)
    indices, weights = _taps(images.shape[axis], size, method)
    shape = [1] * images.ndim
    shape[axis] = size
    total = np.zeros((*images.shape[:axis], size, *images.shape[axis + 1 :]), np.float32)
    for index, weight in zip(indices, weights, strict=True):
        total += np.take(images, index, axis=axis) * weight.reshape(shape)
    return total


def _taps(old: int, new: int, method: Method) -> tuple[list[NDArray[np.intp]], list[Pixels]]:
    """For each tap: which source row every target row reads, and its weight; in float32, as in PyTorch."""
    scale = np.float32(old) / np.float32(new)
    middle = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale
    if method == "nearest-exact":
        return [np.minimum(np.floor(middle), old - 1).astype(np.intp)], [np.ones(new, np.float32)]
    source = middle - np.float32(0.5)
    if method == "bilinear":
        source = np.maximum(source, np.float32(0.0))
        low = np.minimum(np.floor(source), old - 1).astype(np.intp)
        part = (source - low).astype(np.float32)
        return [low, np.minimum(low + 1, old - 1)], [np.float32(1.0) - part, part]
    start = np.floor(source)
    part = (source - start).astype(np.float32)
    rows = [np.clip(start.astype(np.intp) + offset, 0, old - 1) for offset in (-1, 0, 1, 2)]
    return rows, [_cubic_far(part + 1), _cubic_near(part), _cubic_near(1 - part), _cubic_far(2 - part)]


def _cubic_near(x: Pixels) -> Pixels:
    return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1


def _cubic_far(x: Pixels) -> Pixels:
    return ((CUBIC_A * x - 5 * CUBIC_A) * x + 8 * CUBIC_A) * x - 4 * CUBIC_A


def _area(images: Pixels, axis: int, size: int) -> Pixels:
    """Mean over floor(i * old / new) .. ceil((i + 1) * old / new), PyTorch's adaptive average pooling."""
    old = images.shape[axis]
    rows = np.moveaxis(images, axis, 0)
    means = [rows[i * old // size : -(-(i + 1) * old // size)].mean(axis=0, dtype=np.float32) for i in range(size)]
    return np.moveaxis(np.stack(means), 0, axis)
