"""Resampling against the definitions, computed pixel by pixel in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from local_comfyui.pixels.resize import METHODS, Method, resize
from local_comfyui.pixels.types import Pixels
from tests.nodes import noise

sizes = st.integers(1, 17)

BY_FORMULA: tuple[Method, ...] = ("nearest-exact", "bilinear", "area", "bicubic")


def sampled(row: list[float], new: int, method: Method) -> list[float]:
    """One row of pixels resampled, by the formula of the method."""
    old = len(row)
    scale = old / new
    result: list[float] = []
    for target in range(new):
        middle = (target + 0.5) * scale
        if method == "nearest-exact":
            result.append(row[min(int(middle), old - 1)])
        elif method == "area":
            first, last = math.floor(target * old / new), math.ceil((target + 1) * old / new)
            result.append(sum(row[first:last]) / (last - first))
        elif method == "bilinear":
            at = min(max(middle - 0.5, 0.0), old - 1)
            low = int(at)
            high = min(low + 1, old - 1)
            result.append(row[low] + (row[high] - row[low]) * (at - low))
        else:
            at = middle - 0.5
            total = 0.0
            for tap in range(math.floor(at) - 1, math.floor(at) + 3):
                total += row[min(max(tap, 0), old - 1)] * cubic(abs(at - tap))
            result.append(total)
    return result


def cubic(distance: float) -> float:
    """Keys' cubic convolution with a = -0.75."""
    a = -0.75
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return 0.0


def by_hand(image: Pixels, width: int, height: int, method: Method) -> Pixels:
    columns = [
        [sampled([float(v) for v in line], width, method) for line in image[:, :, c]] for c in range(image.shape[2])
    ]
    planes = [[sampled([row[x] for row in plane], height, method) for x in range(width)] for plane in columns]
    return np.array(planes, np.float32).transpose(2, 1, 0)


def at_a_tie(old: int, new: int) -> bool:
    """True when a target pixel falls exactly between two source pixels: float32 may then take either."""
    return any(abs((i + 0.5) * old / new - round((i + 0.5) * old / new)) < 1e-5 for i in range(new))


@pytest.mark.parametrize("method", BY_FORMULA)
@settings(max_examples=40, deadline=None)
@given(old=st.tuples(sizes, sizes), new=st.tuples(sizes, sizes))
def test_every_pixel_follows_the_definition(method: Method, old: tuple[int, int], new: tuple[int, int]) -> None:
    image = noise(1, *old, 3)
    if method == "nearest-exact" and (at_a_tie(old[0], new[0]) or at_a_tie(old[1], new[1])):
        return
    found = resize(image, new[1], new[0], method, "disabled")
    np.testing.assert_allclose(found[0], by_hand(image[0], new[1], new[0], method), atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_size_keeps_every_pixel(method: Method) -> None:
    image = np.round(noise(2, 9, 7, 3) * 255).astype(np.float32) / np.float32(255)
    np.testing.assert_allclose(resize(image, 7, 9, method, "disabled"), image, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_flat_picture_stays_flat(method: Method) -> None:
    image = np.full((1, 11, 13, 3), 0.4, np.float32)
    np.testing.assert_allclose(resize(image, 29, 5, method, "disabled"), 0.4, atol=1 / 255)


def test_lanczos_is_pillows_on_bytes() -> None:
    image = noise(1, 20, 30, 3)
    expected = Image.fromarray((image[0] * 255).astype(np.uint8)).resize((17, 41), Image.Resampling.LANCZOS)
    found = resize(image, 17, 41, "lanczos", "disabled")[0]
    np.testing.assert_allclose(found * np.float32(255), np.asarray(expected), atol=1e-4)


@pytest.mark.parametrize(
    ("width", "height", "box"), [(10, 20, (10, 0, 20, 20)), (30, 10, (0, 5, 30, 15)), (15, 10, (0, 0, 30, 20))]
)
def test_center_crops_to_the_wanted_aspect_first(width: int, height: int, box: tuple[int, int, int, int]) -> None:
    image = noise(1, 20, 30, 3)
    left, top, right, bottom = box
    expected = resize(image[:, top:bottom, left:right], width, height, "area", "disabled")
    np.testing.assert_array_equal(resize(image, width, height, "area", "center"), expected)


def test_resize_accepts_every_size() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        resize(noise(1, 4, 4, 3), 0, 4, "area", "disabled")
