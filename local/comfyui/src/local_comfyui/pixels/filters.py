"""Blur, sharpen, blend, quantise, noise."""

import math
from typing import Literal

import numpy as np
from PIL import Image

from local_comfyui.pixels.types import Bytes8, Pixels, from_bytes8

BlendMode = Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"]


def gaussian_blur(images: Pixels, radius: int, sigma: float) -> Pixels:
    """Gaussian of 2 * radius + 1 taps over -1..1 (sigma is in that unit, not in pixels), mirrored at the borders.

    Raises `ValueError` when the mirror would need more pixels than there are.
    """
    height, width = images.shape[1:3]
    if radius >= min(height, width):
        raise ValueError(
            f"Padding size should be less than the corresponding input dimension, but got: padding ({radius}, {radius})"
            f" for an image of {width}x{height}"
        )
    x = np.linspace(-1, 1, 2 * radius + 1, dtype=np.float32)
    taps = np.exp(-(x * x) / np.float32(2.0 * sigma * sigma))
    taps /= taps.sum()
    padded = np.pad(images, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="reflect")
    rows = np.zeros((images.shape[0], height, *padded.shape[2:]), np.float32)
    for offset, tap in enumerate(taps):
        rows += padded[:, offset : offset + height] * tap
    result = np.zeros(images.shape, np.float32)
    for offset, tap in enumerate(taps):
        result += rows[:, :, offset : offset + width] * tap
    return result


def sharpen(images: Pixels, radius: int, sigma: float, alpha: float) -> Pixels:
    """Unsharp mask of weight 10 * alpha, clipped to 0..1."""
    weight = np.float32(alpha * 10)
    return np.clip(images + (images - gaussian_blur(images, radius, sigma)) * weight, 0, 1).astype(np.float32)


def blend(base: Pixels, layer: Pixels, factor: float, mode: BlendMode) -> Pixels:
    """`layer` combined with `base` by `mode`, mixed in by `factor`, clipped to 0..1. Shapes are equal."""
    mixed = _combine(base, layer, mode)
    return np.clip(base * np.float32(1 - factor) + mixed * np.float32(factor), 0, 1).astype(np.float32)


def _combine(base: Pixels, layer: Pixels, mode: BlendMode) -> Pixels:
    match mode:
        case "normal":
            return layer
        case "multiply":
            return base * layer
        case "screen":
            return 1 - (1 - base) * (1 - layer)
        case "overlay":
            return np.where(base <= 0.5, 2 * base * layer, 1 - 2 * (1 - base) * (1 - layer))
        case "soft_light":
            lifted = np.where(base <= 0.25, ((16 * base - 12) * base + 4) * base, np.sqrt(np.maximum(base, 0)))
            darker = base - (1 - 2 * layer) * base * (1 - base)
            return np.where(layer <= 0.5, darker, base + (2 * layer - 1) * (lifted - base))
        case "difference":
            return base - layer


def quantize(images: Pixels, colors: int, dither: str) -> Pixels:
    """Each RGB image in its own palette of `colors` (Pillow's); dither is none, floyd-steinberg or bayer-N."""
    frames: list[Pixels] = []
    for frame in (images * np.float32(255.0)).astype(np.uint8):
        picture = Image.fromarray(frame)
        palette = picture.quantize(colors=colors)
        if dither.startswith("bayer-"):
            picture = Image.fromarray(_ordered(frame, palette, int(dither.removeprefix("bayer-"))))
        mode = Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Image.Dither.NONE
        reduced = picture.quantize(palette=palette, dither=mode)
        frames.append(from_bytes8(np.asarray(reduced.convert("RGB"))))
    return np.stack(frames)


def _ordered(frame: Bytes8, palette: Image.Image, order: int) -> Bytes8:
    entries = len(palette.getpalette() or []) // 3
    matrix = 2 * 256 / entries * _bayer(round(math.log2(order))) + 0.5
    height, width = frame.shape[:2]
    tiled = np.tile(matrix, (-(-height // order), -(-width // order)))[:height, :width, np.newaxis]
    return np.clip(frame.astype(np.float32) + tiled, 0, 255).astype(np.uint8)


def _bayer(level: int) -> Pixels:
    """The Bayer threshold matrix of side 2**level, centred on 0 and within -0.5..0.5."""
    if level == 0:
        return np.zeros((1, 1), np.float32)
    quarter = 4**level * _bayer(level - 1)
    return (np.block([[quarter - 1.5, quarter + 0.5], [quarter + 1.5, quarter - 0.5]]) / 4**level).astype(np.float32)


def add_noise(images: Pixels, seed: int, strength: float) -> Pixels:
    """Gaussian noise added and clipped to 0..1, with the numbers PyTorch's CPU generator gives for `seed`."""
    noise = torch_normal(images.size, seed).reshape(images.shape)
    return np.clip(images + noise * np.float32(strength), 0, 1).astype(np.float32)


def torch_normal(count: int, seed: int) -> Pixels:
    """What `torch.randn(count)` gives after `manual_seed(seed)` for 16 numbers or more.

    Mersenne Twister (32-bit seeding), 24-bit uniforms, Box-Muller in blocks of 16; a short last block is redrawn.
    """
    generator = np.random.RandomState(seed & 0xFFFFFFFF)
    whole = max(count, 16)
    uniform = _uniform24(generator, whole)
    full = whole // 16 * 16
    result = uniform.copy()
    result[:full] = _box_muller(uniform[:full].reshape(-1, 16)).reshape(-1)
    if full != whole:
        result[-16:] = _box_muller(_uniform24(generator, 16).reshape(1, 16)).reshape(-1)
    return result[:count]


def _uniform24(generator: np.random.RandomState, count: int) -> Pixels:
    words = generator.randint(0, 2**32, size=count, dtype=np.uint32)
    return ((words & 0xFFFFFF).astype(np.float32)) * np.float32(2.0**-24)


def _box_muller(blocks: Pixels) -> Pixels:
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - blocks[:, :8]))
    angle = np.float32(2 * math.pi) * blocks[:, 8:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
