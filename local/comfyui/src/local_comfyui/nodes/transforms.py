"""Nodes that change size, shape or place of pixels."""

import math
from typing import Literal, get_args

import numpy as np

from local_comfyui.nodes.choices import choice
from local_comfyui.nodes.registry import Call, Result, Theme
from local_comfyui.pixels.layout import Direction, stitch
from local_comfyui.pixels.masks import outpaint_edge
from local_comfyui.pixels.resize import METHODS, Method, resize
from local_comfyui.pixels.types import Pixels

NODES = Theme()

MEGAPIXEL = 1024 * 1024
"""What ComfyUI's nodes count as a megapixel."""

Crop = Literal["disabled", "center"]
CROPS: tuple[Crop, ...] = get_args(Crop)


@NODES.node("ImageScale")
def image_scale(call: Call) -> Result:
    """To a size; 0 for one side keeps the aspect ratio, 0 for both keeps the picture."""
    image, width, height = call.image("image"), call.integer("width"), call.integer("height")
    if width == 0 and height == 0:
        return Result((image,))
    if width == 0:
        width = max(1, round(image.shape[2] * height / image.shape[1]))
    elif height == 0:
        height = max(1, round(image.shape[1] * width / image.shape[2]))
    method: Method = choice(call, "upscale_method", METHODS)
    return Result((resize(image, width, height, method, choice(call, "crop", CROPS)),))


def _scaled(call: Call, image: Pixels, width: int, height: int, method_input: str = "upscale_method") -> Pixels:
    return resize(image, width, height, choice(call, method_input, METHODS), "disabled")


@NODES.node("ImageScaleBy")
def image_scale_by(call: Call) -> Result:
    """By a factor."""
    image, factor = call.image("image"), call.number("scale_by")
    return Result((_scaled(call, image, round(image.shape[2] * factor), round(image.shape[1] * factor)),))


@NODES.node("ImageScaleToTotalPixels")
def image_scale_to_total_pixels(call: Call) -> Result:
    """To an area in megapixels, keeping the aspect ratio."""
    image = call.image("image")
    factor = math.sqrt(int(call.number("megapixels") * MEGAPIXEL) / (image.shape[2] * image.shape[1]))
    return Result((_scaled(call, image, round(image.shape[2] * factor), round(image.shape[1] * factor)),))


@NODES.node("ImageScaleToMaxDimension")
def image_scale_to_max_dimension(call: Call) -> Result:
    """So that the longer side has a given length."""
    image, largest = call.image("image"), call.integer("largest_size")
    height, width = image.shape[1:3]
    if height > width:
        width, height = round(width / height * largest), largest
    elif width > height:
        width, height = largest, round(height / width * largest)
    else:
        width = height = largest
    return Result((_scaled(call, image, width, height),))


@NODES.node("ResizeAndPadImage")
def resize_and_pad_image(call: Call) -> Result:
    """Fitted into a size, centred on white or black."""
    image, width, height = call.image("image"), call.integer("target_width"), call.integer("target_height")
    factor = min(width / image.shape[2], height / image.shape[1])
    inner = _scaled(call, image, int(image.shape[2] * factor), int(image.shape[1] * factor), "interpolation")
    value = 0.0 if call.text("padding_color") == "black" else 1.0
    result = np.full((image.shape[0], height, width, image.shape[3]), value, np.float32)
    y, x = (height - inner.shape[1]) // 2, (width - inner.shape[2]) // 2
    result[:, y : y + inner.shape[1], x : x + inner.shape[2]] = inner
    return Result((result,))


@NODES.node("ImageCrop")
def image_crop(call: Call) -> Result:
    """A rectangle of the picture; it ends where the picture ends."""
    image = call.image("image")
    x, y = min(call.integer("x"), image.shape[2] - 1), min(call.integer("y"), image.shape[1] - 1)
    return Result((image[:, y : y + call.integer("height"), x : x + call.integer("width")],))


@NODES.node("ImagePadForOutpaint")
def image_pad_for_outpaint(call: Call) -> Result:
    """Grey borders, and a mask of them that fades into the picture."""
    image = call.image("image")
    left, top, right, bottom = (call.integer(side) for side in ("left", "top", "right", "bottom"))
    batch, height, width, channels = image.shape
    padded = np.full((batch, height + top + bottom, width + left + right, channels), 0.5, np.float32)
    padded[:, top : top + height, left : left + width] = image
    mask = np.ones(padded.shape[1:3], np.float32)
    sides = (left != 0, top != 0, right != 0, bottom != 0)
    mask[top : top + height, left : left + width] = outpaint_edge(height, width, sides, call.integer("feathering"))
    return Result((padded, mask[np.newaxis]))


@NODES.node("ImageFlip")
def image_flip(call: Call) -> Result:
    """Mirrored: about the x-axis (upside down) or the y-axis (left to right)."""
    axis = 1 if call.text("flip_method").startswith("x") else 2
    return Result((np.flip(call.image("image"), axis=axis),))


@NODES.node("ImageRotate")
def image_rotate(call: Call) -> Result:
    """Clockwise by quarter turns."""
    turns = {"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3}[call.text("rotation")]
    return Result((np.rot90(call.image("image"), k=turns, axes=(2, 1)),))


@NODES.node("ImageStitch")
def image_stitch(call: Call) -> Result:
    """Two pictures side by side or one above the other."""
    first, second = call.image("image1"), call.optional_image("image2")
    if second is None:
        return Result((first,))
    direction = choice(call, "direction", get_args(Direction))
    match_size, gap = call.flag("match_image_size"), call.integer("spacing_width")
    return Result((stitch(first, second, direction, match_size, gap, call.text("spacing_color")),))
