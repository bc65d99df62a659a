"""Filters against their formulas, and noise against numbers from PyTorch."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from local_comfyui.pixels.filters import torch_normal
from local_comfyui.pixels.types import Pixels
from tests.nodes import noise, only, run


def kernel(radius: int, sigma: float) -> Pixels:
    """The square Gaussian, entry by entry: distances from the centre count in units of the radius."""
    weights = [
        [math.exp(-((x / radius) ** 2 + (y / radius) ** 2) / (2 * sigma**2)) for x in range(-radius, radius + 1)]
        for y in range(-radius, radius + 1)
    ]
    return (np.array(weights) / np.sum(weights)).astype(np.float32)


def convolved(image: Pixels, weights: Pixels) -> Pixels:
    """Every pixel as the weighted sum of its neighbourhood; the picture is mirrored about its border pixels."""
    radius = weights.shape[0] // 2
    batch, height, width, channels = image.shape
    result = np.zeros(image.shape, np.float64)
    for y in range(height):
        for x in range(width):
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    result[:, y, x] += (
                        image[:, mirrored(y + dy, height), mirrored(x + dx, width)] * weights[dy + radius, dx + radius]
                    )
    assert result.shape == (batch, height, width, channels)
    return result.astype(np.float32)


def mirrored(index: int, size: int) -> int:
    index = abs(index)
    return index if index < size else 2 * (size - 1) - index


@pytest.mark.parametrize(("radius", "sigma"), [(1, 1.0), (3, 0.3), (5, 10.0)])
def test_blur_is_a_mirrored_gaussian(radius: int, sigma: float) -> None:
    image = noise(2, 8, 9, 3)
    found = only(run("ImageBlur", image=image, blur_radius=radius, sigma=sigma))
    np.testing.assert_allclose(found, convolved(image, kernel(radius, sigma)), atol=1e-5)


def test_a_blur_wider_than_the_picture_fails_as_pytorchs_padding_does() -> None:
    with pytest.raises(ValueError, match="Padding size should be less"):
        run("ImageBlur", image=noise(1, 4, 9, 3), blur_radius=4, sigma=1.0)


@pytest.mark.parametrize(("radius", "sigma", "alpha"), [(1, 1.0, 1.0), (2, 0.5, 0.2), (1, 1.0, 0.0)])
def test_sharpen_is_one_convolution_and_a_clip(radius: int, sigma: float, alpha: float) -> None:
    image = noise(1, 7, 8, 3)
    weights = kernel(radius, sigma) * np.float32(-10 * alpha)
    weights[radius, radius] += 1 - weights.sum()
    found = only(run("ImageSharpen", image=image, sharpen_radius=radius, sigma=sigma, alpha=alpha))
    np.testing.assert_allclose(found, np.clip(convolved(image, weights), 0, 1), atol=1e-4)


def soft_light(a: float, b: float) -> float:
    if b <= 0.5:
        return a - (1 - 2 * b) * a * (1 - a)
    lifted = ((16 * a - 12) * a + 4) * a if a <= 0.25 else math.sqrt(a)
    return a + (2 * b - 1) * (lifted - a)


MODES: dict[str, Callable[[float, float], float]] = {
    "normal": lambda a, b: b,
    "multiply": lambda a, b: a * b,
    "screen": lambda a, b: a + b - a * b,
    "overlay": lambda a, b: 2 * a * b if a <= 0.5 else 1 - 2 * (1 - a) * (1 - b),
    "soft_light": soft_light,
    "difference": lambda a, b: a - b,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0])
def test_blend_follows_its_formula(mode: str, factor: float) -> None:
    base, layer = noise(1, 5, 6, 3), noise(1, 5, 6, 3, seed=2)
    expected = [
        min(max(float(a) * (1 - factor) + MODES[mode](float(a), float(b)) * factor, 0), 1)
        for a, b in zip(base.ravel(), layer.ravel(), strict=True)
    ]
    found = only(run("ImageBlend", image1=base, image2=layer, blend_factor=factor, blend_mode=mode))
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)


def test_quantize_uses_no_more_colors_than_asked_and_keeps_alpha() -> None:
    image = noise(1, 16, 16, 4)
    for dither in ("none", "floyd-steinberg", "bayer-2", "bayer-16"):
        found = only(run("ImageQuantize", image=image, colors=5, dither=dither))
        colors = {tuple(pixel) for pixel in np.round(found[..., :3] * 255).astype(int).reshape(-1, 3).tolist()}
        assert 2 <= len(colors) <= 5
        np.testing.assert_array_equal(found[..., 3], image[..., 3])


def test_noise_has_pytorchs_numbers() -> None:
    """First and last numbers of `torch.manual_seed(seed); torch.randn(count)` in PyTorch 2.13."""
    np.testing.assert_allclose(torch_normal(16, 0)[:3], TORCH_16_SEED_0, atol=1e-6)
    np.testing.assert_allclose(torch_normal(20, 2**40 + 5)[-3:], TORCH_20_SEED_BIG_TAIL, atol=1e-6)


TORCH_16_SEED_0 = [-1.125840, -1.152360, -0.250579]
TORCH_20_SEED_BIG_TAIL = [0.031657, -1.172414, -1.506940]


def test_noise_is_scaled_and_clipped() -> None:
    image = np.full((1, 8, 8, 3), 0.5, np.float32)
    expected = np.clip(0.5 + 0.25 * torch_normal(image.size, 9).reshape(image.shape), 0, 1)
    np.testing.assert_allclose(only(run("ImageAddNoise", image=image, seed=9, strength=0.25)), expected, atol=1e-6)


def test_invert() -> None:
    image = noise(1, 3, 4, 3)
    np.testing.assert_array_equal(only(run("ImageInvert", image=image)), 1 - image)
