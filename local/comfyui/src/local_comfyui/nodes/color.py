"""Nodes that change the values of pixels where they are."""

from typing import get_args

import numpy as np

from local_comfyui.nodes.choices import choice
from local_comfyui.nodes.registry import Call, Result, Theme
from local_comfyui.pixels.composite import match_channels
from local_comfyui.pixels.filters import BlendMode, add_noise, blend, gaussian_blur, quantize, sharpen
from local_comfyui.pixels.resize import resize

NODES = Theme()


@NODES.node("ImageInvert")
def image_invert(call: Call) -> Result:
    """One minus every channel."""
    return Result((1.0 - call.image("image"),))


@NODES.node("ImageBlend")
def image_blend(call: Call) -> Result:
    """Two pictures mixed; the second is resized to the first."""
    base, layer = call.image("image1"), call.image("image2")
    layer = match_channels(base, layer)
    if layer.shape[1:3] != base.shape[1:3]:
        layer = resize(layer, base.shape[2], base.shape[1], "bicubic", "center")
    return Result((blend(base, layer, call.number("blend_factor"), choice(call, "blend_mode", get_args(BlendMode))),))


@NODES.node("ImageBlur")
def image_blur(call: Call) -> Result:
    """Gaussian blur."""
    return Result((gaussian_blur(call.image("image"), call.integer("blur_radius"), call.number("sigma")),))


@NODES.node("ImageSharpen")
def image_sharpen(call: Call) -> Result:
    """Unsharp mask."""
    image, radius = call.image("image"), call.integer("sharpen_radius")
    return Result((sharpen(image, radius, call.number("sigma"), call.number("alpha")),))


@NODES.node("ImageQuantize")
def image_quantize(call: Call) -> Result:
    """A palette of few colours; transparency is kept."""
    image = call.image("image")
    reduced = quantize(image[..., :3], call.integer("colors"), call.text("dither"))
    return Result((np.concatenate([reduced, image[..., 3:]], axis=-1),))


@NODES.node("ImageAddNoise")
def image_add_noise(call: Call) -> Result:
    """Gaussian noise from a seed."""
    return Result((add_noise(call.image("image"), call.integer("seed"), call.number("strength")),))
