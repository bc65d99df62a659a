"""The arrays that nodes pass to each other, and how they print and become bytes."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.float32]
"""float32, 0..1: images (batch, height, width, channels), masks (batch, height, width)."""

Bytes8: TypeAlias = NDArray[np.uint8]


def to_bytes8(pixels: Pixels) -> Bytes8:
    """0..1 to 0..255: clipped, then cut off (not rounded), as ComfyUI's save nodes do."""
    return np.clip(pixels * np.float32(255.0), 0, 255).astype(np.uint8)


def from_bytes8(values: Bytes8) -> Pixels:
    """0..255 to 0..1."""
    return values.astype(np.float32) / np.float32(255.0)


def repeat_to_batch(pixels: Pixels, batch: int) -> Pixels:
    """`pixels` cut or repeated from its beginning until it holds `batch` entries."""
    if pixels.shape[0] >= batch:
        return pixels[:batch]
    return np.concatenate([pixels] * -(-batch // pixels.shape[0]))[:batch]


def describe(pixels: Pixels) -> str:
    """The array as PyTorch prints a tensor: that is what ComfyUI shows of inputs in errors and in PreviewAny."""
    threshold = 1000  # torch.set_printoptions: more elements than this are summarised
    body = np.array2string(
        pixels, precision=4, separator=", ", prefix="tensor(", floatmode="fixed", threshold=threshold, edgeitems=3
    )
    return f"tensor({body})"
