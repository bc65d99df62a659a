"""Arithmetic on masks: growing, feathering, combining, and the mask of an outpainting border."""

from typing import Literal

import numpy as np

from local_comfyui.pixels.types import Pixels

Operation = Literal["multiply", "add", "subtract", "and", "or", "xor"]


def grow(masks: Pixels, amount: int, tapered: bool) -> Pixels:
    """Grey dilation (amount > 0) or erosion (< 0), |amount| times, by a 3 x 3 cross (tapered) or square."""
    pick = np.maximum if amount > 0 else np.minimum
    result = masks
    for _ in range(abs(amount)):
        padded = np.pad(result, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
        if tapered:
            shifted = [padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
        else:
            height, width = result.shape[1:]
            shifted = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
        grown = result
        for neighbour in shifted:
            grown = pick(grown, neighbour)
        if np.array_equal(grown, result):
            break
        result = grown
    return result.copy()


def feather(masks: Pixels, left: int, top: int, right: int, bottom: int) -> Pixels:
    """Linear ramps of the given widths (pixels) from each border inward."""
    height, width = masks.shape[1:]
    across, down = np.ones(width, np.float32), np.ones(height, np.float32)
    for ramp, begin, end in ((across, left, right), (down, top, bottom)):
        begin, end = min(begin, len(ramp)), min(end, len(ramp))
        ramp[:begin] *= np.arange(1, begin + 1, dtype=np.float32) / np.float32(max(begin, 1))
        ramp[len(ramp) - end :] *= np.arange(end, 0, -1, dtype=np.float32) / np.float32(max(end, 1))
    return masks * across * down[:, np.newaxis]


def combine(destination: Pixels, source: Pixels, x: int, y: int, operation: Operation) -> Pixels:
    """`source` laid on `destination` at (x, y) by `operation`, clipped to 0..1; what falls outside is cut off."""
    result = destination.copy()
    height, width = destination.shape[1:]
    right, bottom = min(x + source.shape[2], width), min(y + source.shape[1], height)
    if right <= x or bottom <= y:
        return np.clip(result, 0, 1)
    below = result[:, y:bottom, x:right]
    above = source[:, : bottom - y, : right - x]
    result[:, y:bottom, x:right] = _operate(below, above, operation)
    return np.clip(result, 0, 1)


def _operate(below: Pixels, above: Pixels, operation: Operation) -> Pixels:
    match operation:
        case "multiply":
            return below * above
        case "add":
            return below + above
        case "subtract":
            return below - above
        case "and" | "or" | "xor":
            bits = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[operation]
            return bits(np.round(below) != 0, np.round(above) != 0).astype(np.float32)


def outpaint_edge(height: int, width: int, sides: tuple[bool, bool, bool, bool], feathering: int) -> Pixels:
    """Mask of the old picture in a padded one: 0, rising squared to 1 at padded `sides` (left, top, right, bottom).

    All 0 when feathering is off or does not fit twice into the picture.
    """
    if feathering <= 0 or feathering * 2 >= height or feathering * 2 >= width:
        return np.zeros((height, width), np.float32)
    left, top, right, bottom = sides
    rows, columns = np.arange(height)[:, np.newaxis], np.arange(width)[np.newaxis, :]
    nearest = np.full((height, width), max(height, width))
    for applies, distance in ((top, rows), (bottom, height - rows), (left, columns), (right, width - columns)):
        if applies:
            nearest = np.minimum(nearest, distance)
    return (np.maximum(feathering - nearest, 0) / feathering).astype(np.float32) ** 2
