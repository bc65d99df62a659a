"""Nodes that join, cut and count batches."""

import numpy as np

from local_comfyui.nodes.registry import Call, Result, Theme, WrongInput
from local_comfyui.pixels.composite import match_channels
from local_comfyui.pixels.resize import resize

NODES = Theme()


@NODES.node("ImageBatch")
def image_batch(call: Call) -> Result:
    """Two batches in one; the second is resized to the first, and both get alpha when one has it."""
    first, second = call.image("image1"), call.image("image2")
    wider = first if first.shape[-1] >= second.shape[-1] else second
    first, second = match_channels(wider, first), match_channels(wider, second)
    if first.shape[1:3] != second.shape[1:3]:
        second = resize(second, first.shape[2], first.shape[1], "bilinear", "center")
    return Result((np.concatenate([first, second]),))


@NODES.node("RepeatImageBatch")
def repeat_image_batch(call: Call) -> Result:
    """The whole batch again and again."""
    return Result((np.tile(call.image("image"), (call.integer("amount"), 1, 1, 1)),))


@NODES.node("ImageFromBatch")
def image_from_batch(call: Call) -> Result:
    """Some pictures of a batch; index and length are brought into its range."""
    image = call.image("image")
    start = min(len(image) - 1, call.integer("batch_index"))
    return Result((image[start : start + call.integer("length")],))


@NODES.node("RebatchImages", takes_lists=True)
def rebatch_images(call: Call) -> Result:
    """All pictures of a list in batches of a given size, as a list."""
    size = call.items("batch_size")[0]
    if not isinstance(size, int):
        raise WrongInput("batch_size: expected a whole number")
    singles = [batch[i : i + 1] for batch in call.images("images") for i in range(len(batch))]
    return Result(([np.concatenate(singles[i : i + size]) for i in range(0, len(singles), size)],))


@NODES.node("GetImageSize")
def get_image_size(call: Call) -> Result:
    """Width, height and batch size, also shown on the node."""
    batch, height, width, _ = call.image("image").shape
    call.running.show_text(f"width: {width}, height: {height}\n batch size: {batch}")
    return Result((width, height, batch))
