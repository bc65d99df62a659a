"""Laying one picture over another: masked pasting, Porter-Duff, alpha, and matching of channels."""

from collections.abc import Callable

import numpy as np

from local_comfyui.pixels.resize import resize_masks
from local_comfyui.pixels.types import Pixels, repeat_to_batch


def match_channels(destination: Pixels, source: Pixels) -> Pixels:
    """`source` with as many channels as `destination`: surplus cut off, a missing alpha opaque."""
    wanted, has = destination.shape[-1], source.shape[-1]
    if has > wanted:
        return source[..., :wanted]
    if has < wanted:
        return np.concatenate([source, np.ones((*source.shape[:-1], wanted - has), np.float32)], axis=-1)
    return source


def paste(destination: Pixels, source: Pixels, x: int, y: int, mask: Pixels | None) -> Pixels:
    """`source` on `destination` at (x, y), weighted by `mask` (resized to the source); the rest is cut off."""
    result = destination.copy()
    source = repeat_to_batch(source, destination.shape[0])
    height, width = source.shape[1:3]
    bottom, right = min(y + height, result.shape[1]), min(x + width, result.shape[2])
    if bottom <= y or right <= x:
        return result
    above = source[:, : bottom - y, : right - x]
    if mask is None:
        result[:, y:bottom, x:right] = above
        return result
    weights = repeat_to_batch(resize_masks(mask, width, height), source.shape[0])
    weight = weights[:, : bottom - y, : right - x, np.newaxis]
    result[:, y:bottom, x:right] = weight * above + (1 - weight) * result[:, y:bottom, x:right]
    return result


Formula = Callable[[Pixels, Pixels, Pixels, Pixels], tuple[Pixels, Pixels]]


def _union(sa: Pixels, da: Pixels) -> Pixels:
    return np.subtract(sa + da, sa * da, dtype=np.float32)


def _around(s: Pixels, sa: Pixels, d: Pixels, da: Pixels) -> Pixels:
    return np.add((1 - da) * s, (1 - sa) * d, dtype=np.float32)


# (source, its alpha, destination, its alpha), colours premultiplied, to (colour, alpha).
# Porter & Duff 1984; the blends are SVG's.
PORTER_DUFF: dict[str, Formula] = {
    "ADD": lambda s, sa, d, da: (np.clip(s + d, 0, 1), np.clip(sa + da, 0, 1)),
    "CLEAR": lambda s, sa, d, da: (np.zeros_like(d), np.zeros_like(da)),
    "DARKEN": lambda s, sa, d, da: (_around(s, sa, d, da) + np.minimum(s, d), _union(sa, da)),
    "DST": lambda s, sa, d, da: (d, da),
    "DST_ATOP": lambda s, sa, d, da: (sa * d + (1 - da) * s, sa),
    "DST_IN": lambda s, sa, d, da: (d * sa, sa * da),
    "DST_OUT": lambda s, sa, d, da: ((1 - sa) * d, (1 - sa) * da),
    "DST_OVER": lambda s, sa, d, da: (d + (1 - da) * s, da + (1 - da) * sa),
    "LIGHTEN": lambda s, sa, d, da: (_around(s, sa, d, da) + np.maximum(s, d), _union(sa, da)),
    "MULTIPLY": lambda s, sa, d, da: (s * d, sa * da),
    "OVERLAY": lambda s, sa, d, da: (
        np.where(2 * d < da, 2 * s * d, sa * da - 2 * (da - s) * (sa - d)),
        _union(sa, da),
    ),
    "SCREEN": lambda s, sa, d, da: (s + d - s * d, _union(sa, da)),
    "SRC": lambda s, sa, d, da: (s, sa),
    "SRC_ATOP": lambda s, sa, d, da: (da * s + (1 - sa) * d, da),
    "SRC_IN": lambda s, sa, d, da: (s * da, sa * da),
    "SRC_OUT": lambda s, sa, d, da: ((1 - da) * s, (1 - da) * sa),
    "SRC_OVER": lambda s, sa, d, da: (s + (1 - sa) * d, sa + (1 - sa) * da),
    "XOR": lambda s, sa, d, da: (_around(s, sa, d, da), (1 - da) * sa + (1 - sa) * da),
}


def porter_duff(
    source: Pixels, source_mask: Pixels, destination: Pixels, destination_mask: Pixels, mode: str
) -> tuple[Pixels, Pixels]:
    """Composite of equal-sized batches. Masks are ComfyUI's (1 = transparent), also in the result (image, mask)."""
    source_alpha, destination_alpha = 1 - source_mask[..., np.newaxis], 1 - destination_mask[..., np.newaxis]
    color, alpha = PORTER_DUFF[mode](
        source * source_alpha, source_alpha, destination * destination_alpha, destination_alpha
    )
    visible = alpha > 1e-5
    plain = np.where(visible, color / np.where(visible, alpha, 1), 0)
    return np.clip(plain, 0, 1).astype(np.float32), (1 - alpha[..., 0]).astype(np.float32)
