"""Nodes that make and change masks."""

from typing import get_args

import numpy as np

from local_comfyui.nodes.choices import choice
from local_comfyui.nodes.registry import Call, Result, Theme
from local_comfyui.pixels.masks import Operation, combine, feather, grow

NODES = Theme()

CHANNELS = ("red", "green", "blue", "alpha")


@NODES.node("ImageToMask")
def image_to_mask(call: Call) -> Result:
    """One channel as a mask. Raises `IndexError` for the alpha of a picture that has none, as ComfyUI does."""
    return Result((call.image("image")[..., CHANNELS.index(call.text("channel"))],))


@NODES.node("MaskToImage")
def mask_to_image(call: Call) -> Result:
    """A grey picture."""
    return Result((np.repeat(call.mask("mask")[..., np.newaxis], 3, axis=-1),))


@NODES.node("ImageColorToMask")
def image_color_to_mask(call: Call) -> Result:
    """1 where a pixel, rounded to 8 bits, has exactly the colour 0xRRGGBB."""
    levels = np.round(np.clip(call.image("image"), 0, 1) * np.float32(255)).astype(np.int64)
    packed = (levels[..., 0] << 16) + (levels[..., 1] << 8) + levels[..., 2]
    return Result(((packed == call.integer("color")).astype(np.float32),))


@NODES.node("SolidMask")
def solid_mask(call: Call) -> Result:
    """One value everywhere."""
    return Result((np.full((1, call.integer("height"), call.integer("width")), call.number("value"), np.float32),))


@NODES.node("InvertMask")
def invert_mask(call: Call) -> Result:
    """One minus the mask."""
    return Result((1.0 - call.mask("mask"),))


@NODES.node("CropMask")
def crop_mask(call: Call) -> Result:
    """A rectangle of the mask; it ends where the mask ends."""
    x, y = call.integer("x"), call.integer("y")
    return Result((call.mask("mask")[:, y : y + call.integer("height"), x : x + call.integer("width")],))


@NODES.node("MaskComposite")
def mask_composite(call: Call) -> Result:
    """One mask laid on another by an operation."""
    operation = choice(call, "operation", get_args(Operation))
    destination, source = call.mask("destination"), call.mask("source")
    return Result((combine(destination, source, call.integer("x"), call.integer("y"), operation),))


@NODES.node("FeatherMask")
def feather_mask(call: Call) -> Result:
    """Linear ramps at the borders."""
    left, top, right, bottom = (call.integer(side) for side in ("left", "top", "right", "bottom"))
    return Result((feather(call.mask("mask"), left, top, right, bottom),))


@NODES.node("GrowMask")
def grow_mask(call: Call) -> Result:
    """Grown, or shrunk where the number is negative."""
    return Result((grow(call.mask("mask"), call.integer("expand"), call.flag("tapered_corners")),))


@NODES.node("ThresholdMask")
def threshold_mask(call: Call) -> Result:
    """1 above a value, else 0."""
    return Result(((call.mask("mask") > np.float32(call.number("value"))).astype(np.float32),))
