"""Mask nodes against formulas written out pixel by pixel."""

from collections.abc import Callable

import numpy as np
import pytest

from local_comfyui.pixels.types import Pixels
from tests.nodes import noise, only, run


def test_a_channel_becomes_a_mask_and_a_mask_a_grey_picture() -> None:
    image = noise(2, 4, 5, 4)
    for index, channel in enumerate(("red", "green", "blue", "alpha")):
        mask = only(run("ImageToMask", image=image, channel=channel))
        np.testing.assert_array_equal(mask, image[..., index])
        grey = only(run("MaskToImage", mask=mask))
        assert grey.shape == (2, 4, 5, 3)
        for plane in range(3):
            np.testing.assert_array_equal(grey[..., plane], mask)


def test_the_alpha_of_a_picture_without_one_is_an_error() -> None:
    with pytest.raises(IndexError):
        run("ImageToMask", image=noise(1, 2, 2, 3), channel="alpha")


def test_a_single_mask_counts_as_a_batch_of_one() -> None:
    assert only(run("InvertMask", mask=noise(4, 5))).shape == (1, 4, 5)


def test_color_to_mask_rounds_to_bytes() -> None:
    image = np.array([[[[0.2, 0.4, 0.8], [0.2, 0.4, 0.803], [51.4 / 255, 102.4 / 255, 203.6 / 255]]]], np.float32)
    mask = only(run("ImageColorToMask", image=image, color=0x3366CC))
    np.testing.assert_array_equal(mask, [[[1, 0, 1]]])


def test_solid_invert_threshold_and_crop() -> None:
    np.testing.assert_array_equal(only(run("SolidMask", value=0.25, width=3, height=2)), np.full((1, 2, 3), 0.25))
    mask = noise(2, 6, 7)
    np.testing.assert_array_equal(only(run("InvertMask", mask=mask)), 1 - mask)
    np.testing.assert_array_equal(only(run("ThresholdMask", mask=mask, value=0.5)), (mask > 0.5) * 1.0)
    np.testing.assert_array_equal(only(run("CropMask", mask=mask, x=2, y=1, width=100, height=3)), mask[:, 1:4, 2:])


OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "multiply": lambda a, b: a * b,
    "add": lambda a, b: min(a + b, 1),
    "subtract": lambda a, b: max(a - b, 0),
    "and": lambda a, b: float(round(a) == 1 and round(b) == 1),
    "or": lambda a, b: float(round(a) == 1 or round(b) == 1),
    "xor": lambda a, b: float(round(a) != round(b)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, 2), (9, 9)])
def test_composite_changes_only_where_the_source_lies(operation: str, x: int, y: int) -> None:
    below, above = noise(1, 6, 8), noise(1, 4, 5, seed=2)
    expected = below.copy()
    for row in range(4):
        for column in range(5):
            if y + row < 6 and x + column < 8:
                a, b = float(below[0, y + row, x + column]), float(above[0, row, column])
                expected[0, y + row, x + column] = OPERATIONS[operation](a, b)
    found = only(run("MaskComposite", destination=below, source=above, x=x, y=y, operation=operation))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("left", "top", "right", "bottom"), [(3, 0, 0, 0), (2, 3, 4, 1), (0, 0, 99, 99)])
def test_feather_multiplies_a_ramp_from_each_border(left: int, top: int, right: int, bottom: int) -> None:
    mask = noise(1, 6, 8)
    expected = mask.astype(np.float64)
    for index in range(min(left, 8)):
        expected[:, :, index] *= (index + 1) / min(left, 8)
    for index in range(min(right, 8)):
        expected[:, :, 7 - index] *= (index + 1) / min(right, 8)
    for index in range(min(top, 6)):
        expected[:, index] *= (index + 1) / min(top, 6)
    for index in range(min(bottom, 6)):
        expected[:, 5 - index] *= (index + 1) / min(bottom, 6)
    found = only(run("FeatherMask", mask=mask, left=left, top=top, right=right, bottom=bottom))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def grown_once(mask: Pixels, tapered: bool, shrink: bool) -> Pixels:
    """Each pixel the largest (smallest) of itself and its neighbours inside the picture."""
    _, height, width = mask.shape
    result = mask.copy()
    for y in range(height):
        for x in range(width):
            near = [
                float(mask[0, y + dy, x + dx])
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if 0 <= y + dy < height and 0 <= x + dx < width and not (tapered and dx and dy)
            ]
            result[0, y, x] = min(near) if shrink else max(near)
    return result


@pytest.mark.parametrize("tapered", [True, False])
@pytest.mark.parametrize("expand", [2, -2, 0])
def test_grow_takes_the_extreme_of_the_neighbours(tapered: bool, expand: int) -> None:
    mask = noise(1, 6, 7)
    expected = mask
    for _ in range(abs(expand)):
        expected = grown_once(expected, tapered, expand < 0)
    np.testing.assert_array_equal(only(run("GrowMask", mask=mask, expand=expand, tapered_corners=tapered)), expected)


def test_growing_further_than_the_mask_is_large_stops_early() -> None:
    mask = np.zeros((1, 5, 5), np.float32)
    mask[0, 2, 2] = 1
    np.testing.assert_array_equal(
        only(run("GrowMask", mask=mask, expand=16384, tapered_corners=True)), np.ones((1, 5, 5))
    )
