"""Nodes that lay pictures over each other, and split and join transparency."""

import numpy as np

from local_comfyui.nodes.registry import Call, Result, Theme
from local_comfyui.pixels.composite import match_channels, paste, porter_duff
from local_comfyui.pixels.resize import resize, resize_masks
from local_comfyui.pixels.types import repeat_to_batch

NODES = Theme()


@NODES.node("ImageCompositeMasked")
def image_composite_masked(call: Call) -> Result:
    """A picture pasted onto another, through a mask if there is one."""
    destination, source = call.image("destination"), call.image("source")
    source = match_channels(destination, source)
    if call.flag("resize_source"):
        source = resize(source, destination.shape[2], destination.shape[1], "bilinear", "disabled")
    return Result((paste(destination, source, call.integer("x"), call.integer("y"), call.optional_mask("mask")),))


@NODES.node("PorterDuffImageComposite")
def porter_duff_image_composite(call: Call) -> Result:
    """Porter-Duff and blend modes on pictures with transparency; everything is resized to the destination."""
    source, destination = call.image("source"), call.image("destination")
    source_mask, destination_mask = call.mask("source_alpha"), call.mask("destination_alpha")
    batch = min(len(source), len(source_mask), len(destination), len(destination_mask))
    height, width = destination.shape[1:3]
    if source.shape[1:3] != (height, width):
        source = resize(source, width, height, "bicubic", "center")
    masks = [
        mask[:batch]
        if mask.shape[1:] == (height, width)
        else resize(mask[:batch, ..., np.newaxis], width, height, "bicubic", "center")[..., 0]
        for mask in (source_mask, destination_mask)
    ]
    return Result(porter_duff(source[:batch], masks[0], destination[:batch], masks[1], call.text("mode")))


@NODES.node("SplitImageWithAlpha")
def split_image_with_alpha(call: Call) -> Result:
    """Colour, and transparency as a mask."""
    image = call.image("image")
    alpha = image[..., 3] if image.shape[-1] > 3 else np.ones(image.shape[:3], np.float32)
    return Result((image[..., :3], 1.0 - alpha))


@NODES.node("JoinImageWithAlpha")
def join_image_with_alpha(call: Call) -> Result:
    """Colour with a mask as transparency; the shorter batch repeats."""
    image, mask = call.image("image"), call.mask("alpha")
    batch = max(len(image), len(mask))
    image, mask = repeat_to_batch(image, batch), repeat_to_batch(mask, batch)
    alpha = 1.0 - resize_masks(mask, image.shape[2], image.shape[1])
    return Result((np.concatenate([image[..., :3], alpha[..., np.newaxis]], axis=-1),))
